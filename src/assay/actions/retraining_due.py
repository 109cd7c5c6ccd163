"""What the loop would retrain by itself now, and under which plan."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from assay.actions.changes import Proposed, proposed
from assay.actions.retraining_steps import retrainings
from assay.clock import parse_timestamp
from assay.evidence import plans
from assay.evidence.plan_records import frequency
from assay.workspace.door import Workspace
from assay.workspace.view import View


@dataclass(slots=True)
class Wanted:
    """What is asked for, where a retraining is to begin.  One that has begun knows itself."""

    source: str = ""
    """A pipeline, where no plan names it."""
    data: str = "dataset"
    """The parameter that is given the name of the collected rows."""
    plan: str = ""
    """A plan of changes, by its digest; by default the newest that is approved and still valid,
    unless `source` says what to run."""
    alert: str = ""
    parameters: dict[str, Any] = field(default_factory=dict[str, Any])
    window: str = ""
    """How much of the log: ``30d``."""
    seed: int = 0
    by_itself: bool = False
    ticket: str = ""


def followed(workspace: Workspace) -> View:
    """What the ledger says now, with the limits of the active policy."""
    workspace.view.follow()
    workspace.engine()
    return workspace.view


def due(workspace: Workspace, project: str, endpoint: str) -> Wanted | None:
    """What the loop would do by itself for an endpoint now; None for nothing.

    It goes on with what has begun; and begins one under an approved plan that is valid, because of
    an open alert for which none was begun, or, where the plan has a schedule, when it is time.
    """
    from assay.actions.alerts import alerts_of

    view = followed(workspace)
    found = retrainings(view, project, endpoint)
    if found and found[-1].ended is None:
        return Wanted(by_itself=True)
    held = view.state.endpoints.get(f"{project}/{endpoint}")
    plan = usable_plan(view, project, held["model"]) if held is not None else None
    if plan is None or frequency(plan.plan, plan.begun, view.now()):
        return None
    handled = {r.begun["alert"] for r in found}
    for alert in alerts_of(view, project, endpoint):
        fits = alert.kind in plan.plan.triggers and alert.id not in handled
        if fits and alert.state in ("open", "acknowledged"):
            return Wanted(plan=plan.digest, alert=alert.id, by_itself=True)
    scheduled = plans.SCHEDULE in plan.plan.triggers
    return Wanted(plan=plan.digest, by_itself=True) if scheduled else None


def usable_plan(view: View, project: str, model: str) -> Proposed | None:
    """The newest plan for a model that enough people approved and that is still valid."""
    least = int(view.settings(project)["min_approvers"])
    now = parse_timestamp(view.now())
    for found in reversed(proposed(view, project, model)):
        if len(found.approvals) >= least and now <= parse_timestamp(found.plan.valid_until):
            return found
    return None
