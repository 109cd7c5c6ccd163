"""Taking one statement out, to be proven beside the artifact that it is about."""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec

from assay.actions.release import version_target
from assay.errors import NotFound
from assay.evidence.state import kind_of
from assay.types import Digest
from assay.workspace.action import Action, Doing, Outcome, Target
from assay.workspace.view import View

REGISTRATION = "model-version"


class Taken(msgspec.Struct, frozen=True):
    """A leaf, opened: whoever has this can show what it says."""

    index: int
    nonce: bytes
    envelope: bytes
    commitment: bytes


class TakeStatement(Action, frozen=True, kw_only=True):
    """The newest statement of a kind about a version, opened; it leaves the workspace."""

    name: ClassVar[str] = "exportEvidence"
    model: str
    version: str
    kind: str = REGISTRATION

    def target(self, view: View) -> Target:
        return version_target(view, self.project, self.model, self.version, {})

    def apply(self, doing: Doing) -> Outcome:
        found = doing.view.version(self.project, self.model, self.version)
        digests: list[Digest] = [found.artifact, *([found.served] if found.served else [])]
        of_kind = [
            item
            for item in doing.view.evidence(self.project, *digests)
            if kind_of(item.statement) == self.kind and _is_about(item.statement.predicate, found)
        ]
        if not of_kind:
            raise NotFound(
                f"{self.model}@{found.version} has no statement of the kind {self.kind!r}",
                remedy=f"assay passport {self.model}@{found.version} shows those there are",
                code="statement",
            )
        leaf = doing.view.leaf(of_kind[-1].index)
        if leaf.envelope is None or leaf.nonce is None:
            raise NotFound("what that leaf says was destroyed with its ring", code="shredded")
        return Outcome(Taken(leaf.index, leaf.nonce, leaf.envelope, leaf.commitment))


def _is_about(predicate: Any, found: Any) -> bool:
    """Whether a statement that names a version (not only bytes) names this one."""
    named = {name: predicate.get(name) for name in ("name", "version")}
    same = {"name": found.name, "version": found.version}
    return all(named[key] in (None, same[key]) for key in same)
