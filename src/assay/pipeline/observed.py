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

from assay.isolation.paths import search_path
from assay.pipeline.confined import Answer
from assay.pipeline.graph import Node
from assay.pipeline.host import Found
from assay.pipeline.installed import import_name
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
    keyed = plan.installed(closure.third_party)
    others = [name for name in answer.libraries if name not in keyed.covers | _OWN]
    imports = tuple(sorted({found for name in others if (found := import_name(name))}))
    added = plan.installed(imports) if imports else None
    known = added.covers if added else frozenset[str]()
    unstored += [
        f"it used {name}, which belongs to no installed distribution"
        for name in others
        if name not in known
    ]
    return Seen(
        unstored,
        imports,
        dict(added.distributions) if added else {},
        tuple(name for name in sorted(answer.missing) if name.isidentifier()),
    )


def stale(known: Found, plan: Plan) -> str:
    """Why a result found under a key cannot be used: what it noted besides the key has changed."""
    if known.imports:
        now = plan.installed(known.imports).distributions
        for name, value in known.distributions.items():
            if now.get(name) != value:
                return f"installed {name}, which a library loads, is not what it was"
    for name in known.missing:
        if _is_there(name, plan):
            return f"the module {name} is there now, and was not when the result was made"
    return ""


def _is_there(name: str, plan: Plan) -> bool:
    """Whether a step could import a top-level module now.  Nothing is imported here."""
    if plan.codebase.find(name) is not None:
        return True
    return importlib.machinery.PathFinder.find_spec(name, list(search_path())) is not None
