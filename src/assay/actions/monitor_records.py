"""What monitoring has recorded of an endpoint, and what follows from it: looked up, never kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from assay import canonical
from assay.actions.baselines import baseline_of
from assay.actions.people import subject_of
from assay.actions.prediction_records import segments_of, spools_of
from assay.actions.serving import never_deployed
from assay.clock import parse_timestamp
from assay.evidence.state import kind_of
from assay.monitor import windows
from assay.monitor.windows import Pending, Segment, Window
from assay.types import Digest
from assay.workspace.layout import Layout
from assay.workspace.view import View

if TYPE_CHECKING:
    from assay.monitor.plans import Plan
    from assay.monitor.watch import Said

WINDOW = "window"
PERFORMANCE = "performance"
PRODUCER = "assay.monitor/1"

Predicate = Mapping[str, Any]


def about(project: str, endpoint: str) -> dict[str, Digest]:
    """What statements about windows are about: an endpoint's life, and its windows alone, so that
    they are found without reading everything else."""
    here = f"{project}/{endpoint}"
    return {**subject_of(f"monitor:{here}"), **subject_of(f"monitor-windows:{here}")}


@dataclass(frozen=True, slots=True)
class Recorded:
    """The windows of an endpoint, and of those whose labels are in, the figures; each in the order
    of the ledger.  `baselines` has the newest of each version that has one."""

    project: str
    endpoint: str
    serving: str
    """The version that answers now."""
    baselines: Mapping[str, dict[str, Any]]
    windows: Sequence[Predicate]
    performances: Sequence[Predicate]
    mark: str
    """Names these statements, all of them."""

    @property
    def closed(self) -> frozenset[str]:
        """The segments that are in a window."""
        return frozenset(segment for window in self.windows for segment in window["segments"])

    def plans(self) -> dict[str, Plan]:
        """How each version is watched."""
        from assay.monitor.plans import Plan

        return {v: Plan.from_dict(told["plan"]) for v, told in self.baselines.items()}

    def figures(self) -> dict[int, Predicate]:
        """The newest figures of each window; a window has its place by the first of them."""
        return {told["number"]: told for told in self.performances}


def recorded(view: View, project: str, endpoint: str) -> Recorded:
    """What there is; raises `NotFound` for an endpoint that was never deployed."""
    held = view.state.endpoints.get(f"{project}/{endpoint}")
    if held is None:
        raise never_deployed(view, project, endpoint)
    found: dict[str, list[Predicate]] = {WINDOW: [], PERFORMANCE: []}
    marks: list[str] = []
    subject = about(project, endpoint)[f"monitor-windows:{project}/{endpoint}"]
    for item in view.own(project, subject):
        kind = kind_of(item.statement)
        if kind in found and item.producer == PRODUCER:
            found[kind].append(item.statement.predicate)
            marks.append(item.envelope_digest)
    versions = [v.version for v in view.versions(project, endpoint)]
    told = {v: baseline_of(view, project, endpoint, v) for v in versions}
    marks += [f"{v}:{predicate['decision']}" for v, predicate in told.items() if predicate]
    return Recorded(
        project,
        endpoint,
        str(held["version"]),
        {v: predicate for v, predicate in told.items() if predicate is not None},
        found[WINDOW],
        found[PERFORMANCE],
        canonical.digest(canonical.encode(marks)),
    )


# -- what is due ----------------------------------------------------------------------------------


def _segments(view: View, held: Recorded) -> list[Segment]:
    return [
        Segment(
            id=segment.id,
            version=segment.version,
            rows=segment.rows,
            start=parse_timestamp(segment.first),
            end=parse_timestamp(segment.last),
        )
        for segment in segments_of(view, held.project, held.endpoint)
    ]


def due_windows(view: View, held: Recorded) -> list[Window]:
    """The windows that can be closed now, in their order."""
    plans = held.plans()
    if not plans:
        return []
    ends = [w["to"] for w in held.windows if w["version"] == held.serving]
    return windows.due(
        _segments(view, held),
        held.closed,
        plans,
        serving=held.serving,
        now=parse_timestamp(view.now()),
        since=parse_timestamp(max(ends)) if ends else None,
    )


def pending(view: View, layout: Layout, held: Recorded) -> Pending | None:
    """What waits for the next window of the version that answers; None where it is not watched."""
    from assay.monitor import spool

    plan = held.plans().get(held.serving)
    if plan is None:
        return None
    return windows.pending(
        _segments(view, held),
        held.closed,
        plan,
        serving=held.serving,
        now=parse_timestamp(view.now()),
        unsealed=spool.unsealed(spools_of(layout, held.project, held.endpoint)),
    )


def closing(held: Recorded, window: Predicate) -> datetime | None:
    """When the labels of a window are closed; None while that cannot be known yet, because its
    horizon is so many windows and not as many have followed."""
    plan = held.plans()[window["version"]]
    if plan.horizon_seconds is not None:
        return parse_timestamp(window["to"]) + timedelta(seconds=plan.horizon_seconds)
    after = [w for w in held.windows if w["number"] > window["number"]]
    wanted = plan.horizon_windows or 1
    return parse_timestamp(after[wanted - 1]["to"]) if len(after) >= wanted else None


# -- what follows ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Readings:
    """What the detectors say of all windows: recomputed from the statements each time."""

    said: dict[int, Said] = field(default_factory=dict[int, "Said"])
    """Of each window, from its counts."""
    confirmed: dict[int, Said] = field(default_factory=dict[int, "Said"])
    """Of each window whose labels are in."""

    def signals(self) -> list[dict[str, Any]]:
        """Every signal since the beginning, by window."""
        both = [*self.said.items(), *self.confirmed.items()]
        return [s for _, said in sorted(both, key=lambda pair: pair[0]) for s in said.signals]

    def readings(self) -> list[Any]:
        """What reports show: one `assay.monitor.report.model.Reading` for each window."""
        from msgspec.structs import replace

        merged: list[Any] = []
        for number, said in sorted(self.said.items()):
            reading = said.reading
            if (later := self.confirmed.get(number)) is not None:
                reading = replace(
                    reading,
                    streams={**reading.streams, **later.reading.streams},
                    slices={**reading.slices, **later.reading.slices},
                )
            merged.append(reading)
        return merged


def readings(held: Recorded) -> Readings:
    """Run the detectors of every version over its windows."""
    from assay.monitor import baseline
    from assay.monitor.watch import Watch

    watches = {v: Watch(baseline.read(dict(told))) for v, told in held.baselines.items()}
    made = Readings()
    for window in held.windows:
        if (watch := watches.get(window["version"])) is not None and _fits(watch, window):
            made.said[window["number"]] = watch.window(window)
    for told in held.figures().values():
        # The errors of a window are no evidence where its counts are none.
        if told["number"] in made.said:
            watch = watches[told["version"]]
            made.confirmed[told["number"]] = watch.performance(told)
    return made


def _fits(watch: Any, window: Predicate) -> bool:
    """Whether a window was counted in the cells of the newest baseline: those that were closed
    under an earlier one are history, and no evidence against another."""
    profile = window.get("profile")
    return profile is None or profile["layout"] == watch.baseline.layout.digest
