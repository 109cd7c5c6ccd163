"""What is on the ledger about an endpoint, as a report to look at.

Nothing is decided or kept here: `view` is what `ReadEvidence` gave the caller, and every figure is
recomputed from statements that count.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from assay import canonical
from assay.actions import monitor_story
from assay.actions.alerts import alerts_of
from assay.actions.feedback_records import batches
from assay.actions.incidents import incidents_of
from assay.actions.monitor_records import Recorded as Held
from assay.actions.monitor_records import readings, recorded
from assay.actions.people import subject_of
from assay.clock import parse_timestamp
from assay.errors import AssayError
from assay.evidence import notes
from assay.evidence.facts import Evidence
from assay.evidence.state import kind_of
from assay.monitor import incidents
from assay.monitor.report.build import Given, Recorded, build
from assay.monitor.report.model import About, Deadline, Happening, Incident, Reading, Report
from assay.workspace.view import View


def report_of(
    view: View,
    project: str,
    endpoint: str,
    *,
    version: str = "",
    names: Mapping[str, str] | None = None,
) -> Report:
    """The report of an endpoint as of the checkpoint that `view` follows.

    It compares what came with the baseline of `version`, by default the one that answers now.
    `names` are what the directory calls actors.  Raises `NotFound` for an endpoint that was never
    deployed.
    """
    held = recorded(view, project, endpoint)
    told = _counting(view, project, endpoint)
    said: list[str] = []
    given = Given(
        about=_about(view, held, version or held.serving),
        baselines=_baselines(held, told),
        windows=held.windows,
        performances=held.performances,
        readings=_readings(held, said),
        alerts=alerts_of(view, project, endpoint),
        names=names or {},
        waiting=_waiting(view, held),
        incidents=_incidents(view, project, endpoint),
        happenings=[found for item in told if (found := _happening(item)) is not None],
        notes=said,
    )
    return build(given)


def _about(view: View, held: Held, number: str) -> About:
    state = view.state.endpoints[f"{held.project}/{held.endpoint}"]
    version = view.version(held.project, state["model"], number)
    return About(
        project=held.project,
        endpoint=held.endpoint,
        model=str(state["model"]),
        version=number,
        stage=str(state["stage"]),
        stopped=bool(state["killed"] or version.revoked or version.hold),
        workspace=view.state.workspace,
        checkpoint_size=view.checkpoint.size,
        checkpoint_time=notes.time_text(view.checkpoint),
        checkpoint_root=canonical.b64(view.checkpoint.root),
    )


def _readings(held: Held, said: list[str]) -> list[Reading]:
    try:
        return readings(held).readings()
    except (AssayError, KeyError, TypeError, ValueError) as error:
        # A page without evidence must not look like one without alarms.
        why = error.message if isinstance(error, AssayError) else type(error).__name__
        said.append(f"The evidence could not be recomputed, so no alarm can be shown: {why}.")
        return []


def _waiting(view: View, held: Held) -> int:
    """Labels that came for windows that are not counted yet; at most as many as their rows."""
    measured = held.figures()
    waiting = [w for w in held.windows if w["number"] not in measured and w.get("ids")]
    if not waiting:
        return 0
    came = sum(
        batch.accepted
        for batch in batches(view, held.project, held.endpoint)
        if batch.blob
        and any(batch.ids[0] <= w["ids"][1] and batch.ids[1] >= w["ids"][0] for w in waiting)
    )
    return min(came, sum(w["rows"] for w in waiting))


# -- what happened --------------------------------------------------------------------------------


def _counting(view: View, project: str, endpoint: str) -> list[Evidence]:
    """What the workspace itself recorded of an endpoint's life, in the order of the ledger."""
    name = f"monitor:{project}/{endpoint}"
    return view.own(project, subject_of(name)[name])


def _baselines(held: Held, told: list[Evidence]) -> list[Recorded]:
    """Those that count, with the leaf that each is on."""
    found: list[Recorded] = []
    for predicate in held.baselines.values():
        leaf = next(
            (item for item in reversed(told) if item.statement.predicate is predicate), None
        )
        if leaf is None:
            found.append(Recorded(predicate))
        else:
            issued = leaf.statement.header.issued
            found.append(Recorded(predicate, leaf.index, issued, leaf.envelope_digest))
    return found


def _happening(item: Evidence) -> Happening | None:
    """A statement as a line of the story; None for those that are shown elsewhere."""
    said = monitor_story.line(item.producer, kind_of(item.statement), item.statement.predicate)
    if said is None:
        return None
    title, text, tone = said
    issued, source = item.statement.header.issued, f"leaf {item.index}"
    return Happening(at=issued, title=title, text=text, tone=tone, source=source)


def _incidents(view: View, project: str, endpoint: str) -> list[Incident]:
    now = parse_timestamp(view.now())
    return [_incident(found, now) for found in incidents_of(view, project, endpoint)]


def _incident(found: incidents.Incident, now: datetime) -> Incident:
    clocks = incidents.clocks(found, now)
    return Incident(
        id=found.id,
        title=found.what,
        severity="critical" if any(clock.state == "overdue" for clock in clocks) else "warning",
        state="closed" if found.closed else "open",
        opened=found.opened,
        alerts=tuple(found.alerts),
        deadlines=tuple(
            Deadline(name=clock.article, due=clock.due, state=clock.state, words=clock.words)
            for clock in clocks
        ),
    )
