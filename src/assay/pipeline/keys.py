"""The key of a result: everything that it depends on, by name, and one digest over all of it.

Format ``assay/step-key/v1``: SHA-256 over that name and a newline, then for each component, sorted
by name, the length of the name, the name, the length of the value and the value, lengths as eight
bytes, big-endian, and text as UTF-8.  No two different sets of components have the same encoding.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence

from assay import __version__
from assay.pipeline.code import Closure
from assay.pipeline.environment import Environment
from assay.pipeline.graph import Node
from assay.types import Digest

FORMAT = "assay/step-key/v1"

Components = dict[str, str]
"""``code:pkg.helpers`` → its digest, ``input:rows`` → the digests of what it reads, …"""


def digest(components: Mapping[str, str]) -> Digest:
    """The key."""
    hasher = hashlib.sha256(FORMAT.encode() + b"\n")
    for name in sorted(components):
        for text in (name, components[name]):
            data = text.encode("utf-8", "surrogatepass")
            hasher.update(len(data).to_bytes(8, "big"))
            hasher.update(data)
    return Digest(f"sha256:{hasher.hexdigest()}")


def of_code(closure: Closure, data: Mapping[str, Digest], environment: Environment) -> Components:
    """What every task of a step depends on: its code, the packages' data, and what is installed.

    `data` is all package data that a step can read, of whichever package.
    """
    return {
        "python": environment.python,
        "platform": environment.platform,
        "assay": __version__,
        **{f"code:{module}": value for module, value in closure.modules.items()},
        **{f"data:{path}": value for path, value in data.items()},
        **({"names": closure.names} if closure.names else {}),
        **{f"installed:{name}": value for name, value in environment.distributions.items()},
    }


def of_step(project: str, node: Node) -> Components:
    """What all tasks of one node have in common, besides code."""
    return {
        "project": project,
        "step": node.target,
        **{f"codec:{name}": codec for name, codec in node.codecs.items()},
        **{
            f"codec:→{number}": f"{output.codec} {output.name} {'list' if output.many else 'one'}"
            for number, output in enumerate(node.outputs)
        },
    }


def of_variables(values: Mapping[str, str]) -> Components:
    """Declared environment variables; `values` are already keyed digests, because a value may be a
    secret, and guessable."""
    return {f"variable:{name}": value for name, value in values.items()}


def of_plain(name: str, value: object) -> Components:
    """An argument that is a plain value: numbers exactly, 1 apart from 1.0, -0.0 from 0.0.  A step
    gets mappings sorted (`signatures.plain`), so that their order does not count."""
    return {f"argument:{name}": json.dumps(value, sort_keys=True, allow_nan=False)}


def of_input(name: str, digests: Sequence[str], *, many: bool) -> Components:
    """An argument that other steps, datasets or files gave, by content."""
    return {f"input:{name}": ("list " if many else "") + " ".join(digests)}


def changed(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """In words, which components differ, what matters most first."""
    rank = {kind: number for number, kind in enumerate(_WORDS)}
    names = sorted(
        (name for name in {*before, *now} if before.get(name) != now.get(name)),
        key=lambda name: (rank.get(name.partition(":")[0], len(rank)), name),
    )
    return [_told(name, before.get(name), now.get(name)) for name in names]


_WORDS = {
    "step": "the step",
    "code": "code of",
    "data": "package file",
    "names": "the list of code files",
    "argument": "argument",
    "input": "input",
    "variable": "environment variable",
    "seed": "seed",
    "installed": "installed",
    "codec": "how it is kept:",
    "python": "Python",
    "platform": "platform",
    "assay": "assay",
    "project": "project",
}


def _told(name: str, before: str | None, now: str | None) -> str:
    kind, _, what = name.partition(":")
    words = f"{_WORDS.get(kind, kind)} {what}".strip()
    if before is None:
        return f"{words} is new"
    if now is None:
        return f"{words} is gone"
    if kind in ("argument", "seed", "python", "platform", "assay"):
        return f"{words} was {before[:60]}, is {now[:60]}"
    if kind == "installed":
        old, new = before.partition(" ")[0], now.partition(" ")[0]
        return f"{words} was {old}, is {new}" if old != new else f"{words} has other files"
    return f"{words} changed"
