"""What a step was seen to use, held against what its key covers.

First-party code and package files that are used and not covered keep the result from being stored:
they are named, and the remedy is to import them where everybody can see it.  Libraries load others
at will (pandas uses pyarrow where there is one), so those are verified as they are now and noted
beside the result, which is used again only while they are the same, and while what was looked for
in vain is still not there.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from assay.isolation.paths import search_path
from assay.pipeline import installed, watching
from assay.pipeline.confined import Answer
from assay.pipeline.environment import Environment
from assay.pipeline.graph import Node
from assay.pipeline.host import Found
from assay.pipeline.installed import import_name
from assay.pipeline.judging import differs_there
from assay.pipeline.plan import Plan
from assay.plugins import Finished

_OWN = frozenset({"assay"})
_EVERYTHING = "(the list of what is installed)"
_MOST_NAMED = 20


@dataclass(frozen=True, slots=True)
class Seen:
    """What a step used besides what its key covers."""

    unstored: list[str]
    """First-party files, and libraries of no known distribution."""
    imports: tuple[str, ...]
    distributions: dict[str, str]
    missing: tuple[str, ...]
    problems: tuple[str, ...] = ()
    """What is wrong with libraries that were used and that nothing said beforehand would be."""


def compare(answer: Answer, node: Node, plan: Plan) -> Seen:
    """Hold what a step says it used against its key."""
    used = answer.used
    covered = plan.covered(node.target)
    unstored = [f"it read {path.partition('/')[2]}" for path in used.code if path not in covered]
    closure = plan.codebase.closure(node.target.partition(":")[0])
    keyed = plan.installed(closure.third_party)
    others = [name for name in used.libraries if name not in keyed.covers | _OWN]
    imports = tuple(sorted({found for name in others if (found := import_name(name))}))
    added = plan.installed(imports) if imports else None
    known = added.covers if added else frozenset[str]()
    distributions = dict(added.distributions) if added else {}
    for name in others:
        if name in known:
            continue
        if name.endswith(installed.METADATA):
            # What is said of a distribution, which need not be used.
            distributions[name] = _metadata(name)
        else:
            unstored.append(f"it used {name}, which belongs to no installed distribution")
    if used.listed:
        distributions[_EVERYTHING] = _everything()
    problems = [text for text in added.problems if text not in keyed.problems] if added else []
    return Seen(
        _bounded(unstored),
        imports,
        distributions,
        tuple(name for name in sorted(used.missing) if _is_name(name)),
        tuple(_bounded(problems)),
    )


def others(answer: Answer, environment: Environment) -> list[str]:
    """The modules of libraries that a step used and that an environment does not cover."""
    names = [name for name in answer.used.libraries if name not in environment.covers | _OWN]
    return sorted({found for name in names if (found := import_name(name))})


def check_there(finished: Finished, answer: Answer, plan: Plan, name: str) -> None:
    """Hold what a step loaded on another machine against what this one has; raises `AssayError`.

    What its task names, the machine has verified to be the same.
    """
    if finished.loaded is not None:
        imports = others(answer, plan.environment)
        here = plan.installed(imports).distributions if imports else {}
        if finished.loaded != here:
            raise differs_there(finished.loaded, here, name, finished.where)


def stale(known: Found, plan: Plan) -> str:
    """Why a result found under a key cannot be used: what it noted besides the key has changed."""
    if known.imports or known.distributions:
        now = dict(plan.installed(known.imports).distributions) if known.imports else {}
        if _EVERYTHING in known.distributions:
            now[_EVERYTHING] = _everything()
        for name, value in known.distributions.items():
            if name.endswith(installed.METADATA):
                now[name] = _metadata(name)
            if now.get(name) != value:
                return (
                    "another library was installed or removed, and it looks at which there are"
                    if name == _EVERYTHING
                    else f"installed {name}, which a library loads, is not what it was"
                )
    for name in known.missing:
        if plan.has_module(name):
            return f"the module {name} is there now, and was not when the result was made"
    return ""


def _is_name(text: str) -> bool:
    return len(text) <= 500 and all(part.isidentifier() for part in text.split("."))


def _bounded(texts: list[str]) -> list[str]:
    """No step can fill the ledger with what it says it did."""
    listed = [text[:500] for text in texts[:_MOST_NAMED]]
    more = len(texts) - len(listed)
    return [*listed, f"and {more} more"] if more else listed


def _everything() -> str:
    """The names of all that lies in the library folders; a distribution's has its version."""
    hasher = hashlib.sha256()
    for entry in search_path():
        if entry.endswith(watching.SITES):
            names = sorted(set(installed.names(entry)) - {"__pycache__"})
            hasher.update(repr((entry, names)).encode("utf-8", "surrogateescape"))
    return f"sha256:{hasher.hexdigest()}"


def _metadata(entry: str) -> str:
    """The content of a distribution's metadata, as the library folders have it now."""
    hasher = hashlib.sha256()
    for site in search_path():
        folder = Path(site, entry)
        for path in sorted(folder.rglob("*")) if folder.is_dir() else [folder]:
            data = installed.read_file(path)
            if data is not None:
                hasher.update(repr((str(path), len(data))).encode("utf-8", "surrogateescape"))
                hasher.update(data)
    return f"sha256:{hasher.hexdigest()}"
