"""Actions on the workspace itself: projects, policy bundles, key rings."""

from __future__ import annotations

from typing import ClassVar

from assay import canonical
from assay.actions.people import subject_of, workspace_target
from assay.errors import NotFound, Usage
from assay.evidence.state import WORKSPACE
from assay.policy import vocabulary as cedar
from assay.types import check_digest, check_name
from assay.workspace.action import Action, Doing, Outcome, Target
from assay.workspace.opening import POLICY_RING, project_rings
from assay.workspace.view import View


class CreateProject(Action, frozen=True, kw_only=True):
    """A new project: the unit of isolation, with key rings of its own."""

    name: ClassVar[str] = "createProject"
    redo: ClassVar[bool] = True
    new: str
    owner: str
    """The actor who gets every role but approver in it, to begin with."""

    def target(self, view: View) -> Target:
        check_name(self.new, what="project")
        if self.new in view.state.projects:
            raise Usage(f"project {self.new} exists already", code="project")
        if self.owner not in view.state.actors:
            raise NotFound(f"actor {self.owner} is not enrolled", code="actor")
        return workspace_target(view, {}, f"project:{self.new}")

    def apply(self, doing: Doing) -> Outcome:
        existing = set(doing.store.rings.names())
        for ring in project_rings(self.new):
            if ring not in existing:
                doing.store.rings.create(ring)
        statement = doing.attest("project", subject_of(f"project:{self.new}"), {"project": self.new})
        return Outcome({"project": self.new}, [statement])


class ApplyPolicy(Action, frozen=True, kw_only=True):
    """Make a policy bundle the active one."""

    name: ClassVar[str] = "applyPolicy"
    redo: ClassVar[bool] = True
    bundle: str
    """The digest of the canonical bundle, already put under seal by the caller."""
    summary: str = ""

    def target(self, view: View) -> Target:
        check_digest(self.bundle)
        return workspace_target(view, {})

    def apply(self, doing: Doing) -> Outcome:
        bundle = check_digest(self.bundle)
        if not doing.store.exists(POLICY_RING, bundle):
            raise NotFound(f"the bundle {bundle} is not in the store", code="bundle")
        before = doing.view.state.bundle or ""
        predicate = {"bundle": bundle, "before": before, "summary": self.summary}
        statement = doing.attest("policy", {"policy-bundle": bundle}, predicate)
        return Outcome({"bundle": bundle, "before": before}, [statement])


class RotateRing(Action, frozen=True, kw_only=True):
    """A new generation of a key ring: later blobs are wrapped by it, earlier ones stay readable."""

    name: ClassVar[str] = "manageKeys"
    ring: str

    def target(self, view: View) -> Target:
        return _ring_target(view, self.ring, {"reason": "rotation"})

    def apply(self, doing: Doing) -> Outcome:
        generation = doing.store.rings.rotate(self.ring)
        predicate = {"ring": self.ring, "generation": generation}
        statement = doing.attest("ring-rotation", subject_of(f"ring:{self.ring}"), predicate)
        return Outcome({"ring": self.ring, "generation": generation}, [statement])


class DestroyRing(Action, frozen=True, kw_only=True):
    """Destroy a key ring: whatever it sealed can never be read again, by anyone."""

    name: ClassVar[str] = "destroyRing"
    ring: str
    reason: str
    ticket: str

    def target(self, view: View) -> Target:
        return _ring_target(view, self.ring, {"reason": self.reason, "ticket": self.ticket})

    def apply(self, doing: Doing) -> Outcome:
        receipt = doing.store.rings.destroy(self.ring)
        predicate = {
            "ring": self.ring,
            "reason": self.reason,
            "ticket": self.ticket,
            "receipt": canonical.decode(canonical.encode(receipt)),
        }
        statement = doing.attest("ring-destruction", subject_of(f"ring:{self.ring}"), predicate)
        return Outcome(predicate, [statement])


def _ring_target(view: View, ring: str, context: dict[str, str]) -> Target:
    project = ring.partition("/")[0]
    if project == WORKSPACE:
        raise Usage(
            f"{ring} holds the workspace's own evidence; it cannot be turned alone",
            code="ring",
        )
    return Target(
        uid=cedar.key_ring_uid(ring),
        entities=[cedar.key_ring_entity(project, ring), view.project_entity(project)],
        context=dict(context),
        subjects=[f"project:{project}"],
        words={"project": project},
    )


