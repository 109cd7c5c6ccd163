"""What a step was seen to use, held against what its key covers.

First-party code and package files that are used and not covered keep the result from being stored:
they are named, and the remedy is to import them where everybody can see it.  Libraries load others
at will (pandas uses pyarrow where there is one), so those are verified as they are now and noted
beside the result, which is used again only while they are the same, and while what was looked for
in vain is still not there.
"""

from __future__ import annotations

import importlib.machinery
from dataclasses import dataclass

from assay.pipeline.confined import Answer
from assay.pipeline.environment import providers
from assay.pipeline.graph import Node
from assay.pipeline.host import Found
from assay.pipeline.plan import Plan

_OWN = frozenset({"assay"})


@dataclass(frozen=True, slots=True)
class Seen:
    """What a step used besides what its key covers."""

    unstored: list[str]
    """First-party files, and libraries of no known distribution."""
    imports: tuple[str, ...]
    distributions: dict[str, str]
    missing: tuple[str, ...]


def compare(answer: Answer, node: Node, plan: Plan) -> Seen:
    """Hold what a step says it used against its key."""
    covered = plan.covered(node.target)
    unstored = [f"it read {path.partition('/')[2]}" for path in answer.code if path not in covered]
    closure = plan.codebase.closure(node.target.partition(":")[0])
    keyed = plan.installed(closure.third_party).distributions
    known = providers(answer.libraries, memo=plan.memo)
    for name in answer.libraries:
        if name not in known and name not in _OWN:
            unstored.append(f"it used {name}, which no installed distribution lists")
    extra = tuple(
        sorted(
            name
            for name, (distribution, _) in known.items()
            if distribution not in keyed and name not in _OWN
        )
    )
    imports = tuple(sorted({known[name][1] for name in extra}))
    found = plan.installed(imports).distributions if imports else {}
    added = {name: value for name, value in found.items() if name not in keyed}
    return Seen(unstored, imports, added, _absent(answer.missing))


def _absent(names: list[str]) -> tuple[str, ...]:
    return tuple(name for name in sorted(names) if name.isidentifier())


def stale(known: Found, plan: Plan) -> str:
    """Why a result found under a key cannot be used: what it noted besides the key has changed."""
    if known.imports:
        now = plan.installed(known.imports).distributions
        for name, value in known.distributions.items():
            if now.get(name) != value:
                return f"installed {name}, which a library loads, is not what it was"
    roots = [name for name in known.missing if _is_there(name, plan)]
    if roots:
        return f"the module {roots[0]} is there now, and was not when the result was made"
    return ""


def _is_there(name: str, plan: Plan) -> bool:
    """Whether a step could import a top-level module now.  Nothing is imported here."""
    if plan.codebase.has(name):
        return True
    return importlib.machinery.PathFinder.find_spec(name) is not None
