"""Actions about plans of changes: propose one, and approve it with a key of one's own.

A plan says beforehand what may be retrained and promoted by itself; see `assay.evidence.plans`.
Whoever approves it answers for everything that it lets pass, so it counts like the approval of a
version: people other than who proposed it, each with their own key, as many as the project asks
for.  An approver can take their word back at any time.
"""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from typing import Any, ClassVar

import msgspec

from assay import canonical
from assay.actions.people import project_target, subject_of
from assay.errors import Conflict, NotFound, Usage
from assay.evidence import envelope as dsse
from assay.evidence import plans
from assay.evidence.plan_records import (
    LOOP,
    PLAN,
    Ledger,
    approvals_of,
    find_plan,
    retrainings,
)
from assay.evidence.plans import Plan
from assay.types import Digest
from assay.workspace.action import Action, Doing, Outcome, Target
from assay.workspace.credentials import Person
from assay.workspace.view import View


@dataclass(frozen=True, slots=True)
class Proposed:
    """A plan on the ledger."""

    digest: Digest
    plan: Plan
    proposer: str
    issued: str
    approvals: list[dict[str, Any]]
    """By people other than who proposed it."""
    begun: list[str]
    """When retrainings began under it."""


def ledger_of(view: View, project: str) -> Ledger:
    """The statements of a project, as plans are looked for."""
    return Ledger(view.evidence, view.state, project)


def plans_subject(project: str) -> dict[str, Digest]:
    """Under which all plans of a project are filed."""
    return subject_of(f"change-plans:{project}")


def proposed(view: View, project: str, model: str = "") -> list[Proposed]:
    """The plans of a project, or of one model, oldest first."""
    ledger = ledger_of(view, project)
    (about,) = plans_subject(project).values()
    known: dict[Digest, Proposed] = {}
    for item in ledger.told(about, PLAN, LOOP):
        digest = Digest(str(item.statement.predicate.get("digest")))
        found = find_plan(ledger, digest)
        if found is None or digest in known or model not in ("", found[0].model):
            continue
        known[digest] = Proposed(
            digest,
            *found,
            item.statement.header.issued,
            approvals_of(ledger, digest, but=[found[1]]),
            [begun.statement.header.issued for begun in retrainings(ledger, digest, "begun")],
        )
    return list(known.values())


def plan_called(view: View, project: str, which: str) -> Proposed:
    """The plan with this digest, or of which that is the beginning; raises `NotFound`."""
    known = proposed(view, project)
    wanted = which.removeprefix("sha256:")
    same = [p for p in known if len(wanted) >= 6 and p.digest[len("sha256:") :].startswith(wanted)]
    if len(same) == 1:
        return same[0]
    listed = ", ".join(p.digest[:19] for p in (same or known)[-3:])
    raise NotFound(
        f"no plan of changes {which[:80]} in project {project}"
        if not same
        else f"{which[:80]} is the beginning of {len(same)} plans",
        remedy=f"there are: {listed}; all: assay change list"
        if known
        else "assay change propose FILE",
        code="change.plan",
    )


class ProposeChange(Action, frozen=True, kw_only=True):
    """Put a plan of changes before those who approve it."""

    name: ClassVar[str] = "proposeChange"
    redo: ClassVar[bool] = True
    plan: dict[str, Any]
    """As `assay.evidence.plans.Plan` has it."""

    def target(self, view: View) -> Target:
        plan = plans.read(self.plan)
        digest = plans.digest_of(plan)
        if not view.versions(self.project, plan.model):
            raise NotFound(
                f"there is no model {plan.model} in project {self.project}",
                remedy="assay model list shows those that there are",
                code="model",
            )
        if find_plan(ledger_of(view, self.project), digest) is not None:
            raise Conflict(
                f"this plan was proposed before, as {digest}",
                remedy=f"assay change show {digest[:19]}",
                code="change.proposed",
            )
        made = project_target(view, self.project, {}, f"digest:{digest}")
        made.words = {"project": self.project, "model": plan.model}
        return made

    def apply(self, doing: Doing) -> Outcome:
        plan = plans.read(self.plan)
        digest = plans.digest_of(plan)
        predicate = {
            "plan": msgspec.to_builtins(plan),
            "digest": digest,
            "proposer": doing.actor,
        }
        subject = {
            f"change-plan:{plan.model}": digest,
            **plans_subject(self.project),
            **subject_of(f"monitor:{self.project}/{plan.model}"),
        }
        statement = doing.attest("change-plan", subject, predicate, producer=LOOP)
        return Outcome({"plan": digest, "model": plan.model}, [statement])


class ApproveChange(Action, frozen=True, kw_only=True):
    """A person's signed word on a plan of changes, by a key of their own: the last one counts."""

    name: ClassVar[str] = "approveChange"
    plan: str
    """Its digest."""
    approved: bool = True
    """False takes an approval back."""
    comment: str = ""

    def target(self, view: View) -> Target:
        found = plan_called(view, self.project, self.plan)
        made = project_target(view, self.project, {}, f"digest:{found.digest}")
        made.words = {"project": self.project, "model": found.plan.model}
        return made

    def asked_by(self, view: View, actor: str) -> dict[str, Any]:
        return {"own": plan_called(view, self.project, self.plan).proposer == actor}

    def apply(self, doing: Doing) -> Outcome:
        found = plan_called(doing.view, self.project, self.plan)
        if not isinstance(doing.credential, Person):
            raise Usage(
                "only a person can approve, with a key of their own",
                remedy=f"assay change approve {found.digest[:19]} --as NAME",
                code="approve.person",
            )
        predicate = {
            "plan": found.digest,
            "approved": self.approved,
            "comment": self.comment,
            "as_of": doing.view.state.size,
            # Two keys that one user of one machine can read are not two people.
            "held_by": {"uid": os.getuid(), "host": canonical.digest(platform.node().encode())},
            "mfa": doing.credential.protected,
        }
        subject = {f"change-plan:{found.plan.model}": found.digest}
        statement = doing.attest("change-approval", subject, predicate, producer="person")
        signed = dsse.sign(statement, doing.credential.signer)
        value = {"plan": found.digest, "model": found.plan.model, "approved": self.approved}
        return Outcome(value, signed=[signed])
