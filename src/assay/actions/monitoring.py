"""Watch an endpoint: close its windows, count its labels, and raise what follows.

Each step asks the door only when there is something to do, finds what is recorded already, and
records what it did in one append.  A monitor that is killed anywhere, or two of them at once, leave
nothing that the next run does not go on from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from assay.actions import alerts, notifications
from assay.actions.alerts import alert_target
from assay.actions.feedback import SealFeedback, joined
from assay.actions.feedback_records import batches, spool_of
from assay.actions.monitor_records import (
    PERFORMANCE,
    PRODUCER,
    WINDOW,
    Predicate,
    Recorded,
    about,
    closing,
    due_windows,
    pending,
    readings,
    recorded,
)
from assay.actions.prediction_records import Segment, open_segment, segments_of, spools_of
from assay.actions.predictions import SealPredictions
from assay.clock import parse_timestamp
from assay.errors import NotFound
from assay.monitor.windows import Window
from assay.store import SHREDDED
from assay.workspace.action import Action, Doing, Outcome, Target
from assay.workspace.layout import Layout
from assay.workspace.view import View

if TYPE_CHECKING:
    import numpy as np
    import polars as pl

    from assay.monitor.baseline import Baseline
    from assay.monitor.segments import Meta

_MOST = 64
"""Windows in one append."""
_COMPLETE = 1.0

Perform = Callable[[Action], Any]


class _OfWindows(Action, frozen=True, kw_only=True):
    """An action about an endpoint's windows, of which two cannot be done at once."""

    endpoint: str

    def target(self, view: View) -> Target:
        target = alert_target(view, self.project, self.endpoint, {})
        subject = about(self.project, self.endpoint)
        digest = subject[f"monitor-windows:{self.project}/{self.endpoint}"]
        target.subjects = [f"digest:{digest}"]
        return target


class CloseWindows(_OfWindows, frozen=True, kw_only=True):
    """Count what came in the windows that are over; one statement for each."""

    name: ClassVar[str] = "observe"

    def apply(self, doing: Doing) -> Outcome:
        from assay.monitor import baseline

        held = recorded(doing.view, self.project, self.endpoint)
        reference = {v: baseline.read(dict(told)) for v, told in held.baselines.items()}
        segments = {s.id: s for s in segments_of(doing.view, self.project, self.endpoint)}
        number = max([0, *(window["number"] for window in held.windows)])
        made: list[dict[str, Any]] = []
        for window in due_windows(doing.view, held)[:_MOST]:
            number += 1
            doing.progress(f"window {number}: {window.rows:,} rows")
            counted = _counted(doing, window, segments, reference[window.version])
            told = {
                "endpoint": self.endpoint,
                "model": self.endpoint,
                "version": window.version,
                "number": number,
                **window.span,
                "segments": list(window.segments),
            }
            made.append({**told, **counted})
        subject = about(self.project, self.endpoint)
        statements = [doing.attest(WINDOW, subject, told, producer=PRODUCER) for told in made]
        return Outcome([_brief(told) for told in made], statements)


def _counted(
    doing: Doing, window: Window, segments: Mapping[str, Segment], reference: Baseline
) -> dict[str, Any]:
    """What the rows of a window are, in the cells of the baseline."""
    import polars as pl

    from assay.monitor.watch import estimated

    frame, metas, lost = _rows(doing, [segments[name] for name in window.segments])
    if frame is None:
        state = "unreadable" if lost else "empty"
        observed: dict[str, Any] = {"rows": 0, "profile": None, "scores": None, "slices": []}
    else:
        observed = estimated(reference, reference.observe(frame, _matrix(frame, metas, reference)))
        state = "ok" if observed["profile"]["columns"] else "few"
        first, last = frame["prediction_id"].min(), frame["prediction_id"].max()
        observed["ids"] = [first, last]
        observed["requests"] = frame.select(pl.col("prediction_id").n_unique()).item()
    return {**observed, "unreadable": lost, "state": state}


def _rows(doing: Doing, segments: Iterable[Segment]) -> tuple[pl.DataFrame | None, list[Meta], int]:
    """The rows of segments, what their columns mean, and how many rows cannot be read any more:
    those of people who were erased, and of destroyed rings."""
    import polars as pl

    frames: list[pl.DataFrame] = []
    metas: list[Meta] = []
    lost = 0
    for segment in segments:
        try:
            frame, meta = open_segment(doing, segment)
        except NotFound as error:
            if error.code != f"{NotFound.kind}.{SHREDDED}":
                raise
            lost += segment.rows
            continue
        lost += meta.erased
        if frame.height:
            frames.append(frame)
            metas.append(meta)
    return (pl.concat(frames, how="diagonal_relaxed") if frames else None), metas, lost


def _matrix(frame: pl.DataFrame, metas: list[Meta], reference: Baseline) -> np.ndarray:
    """The probabilities of the rows: of the positive class, or rows × classes."""
    import numpy as np

    from assay.monitor import segments

    told = reference.about["scores"]
    if told["positive"] is not None:
        return segments.scores(frame, metas[-1], told["positive"])
    columns = [segments.scores(frame, metas[-1], name) for name in told["classes"]]
    return np.column_stack(columns)


def _brief(told: Predicate) -> dict[str, Any]:
    named = ("number", "version", "from", "to", "rows", "state", "labelled", "coverage")
    return {name: told[name] for name in named if name in told}


class MeasurePerformance(_OfWindows, frozen=True, kw_only=True):
    """How right the answers were, by rows whose truth is known: of the windows whose horizon has
    passed, for good; and once before, of those of which every label is in.

    Before the horizon nothing is final: whoever is first to label everything, with a stolen token
    perhaps, must not shut out who corrects or contradicts.
    """

    name: ClassVar[str] = "observe"

    def apply(self, doing: Doing) -> Outcome:
        held = recorded(doing.view, self.project, self.endpoint)
        segments = {s.id: s for s in segments_of(doing.view, self.project, self.endpoint)}
        subject = about(self.project, self.endpoint)
        made: list[dict[str, Any]] = []
        former = {number: told["sources"] for number, told in held.figures().items()}
        for window in due_labels(doing.view, held)[:_MOST]:
            number = window["number"]
            doing.progress(f"labels of window {number}")
            # What was said of it early is no custom by which it is judged for good.
            former.pop(number, None)
            told = _judged(doing, held, window, segments, list(former.values()))
            if told is not None:
                made.append(told)
                former[number] = told["sources"]
        statements = [doing.attest(PERFORMANCE, subject, told, producer=PRODUCER) for told in made]
        return Outcome([_brief(told) for told in made], statements)


def due_labels(view: View, held: Recorded) -> list[Predicate]:
    """The windows whose labels can be closed, or of which all may be in."""
    figures, now = held.figures(), parse_timestamp(view.now())
    final = {number for number, told in figures.items() if told["final"]}
    waiting = [
        window
        for window in held.windows
        if window["number"] not in final and window["rows"] and window["version"] in held.baselines
    ]
    if not waiting:
        return []
    given = batches(view, held.project, held.endpoint)
    found: list[Predicate] = []
    for window in waiting:
        closes = closing(held, window)
        first, last = window["ids"]
        there = sum(b.accepted for b in given if b.blob and b.ids[0] <= last and b.ids[1] >= first)
        complete = there >= window["rows"] and window["number"] not in figures
        if complete or (closes is not None and now >= closes):
            found.append(window)
    return found


def _judged(
    doing: Doing,
    held: Recorded,
    window: Predicate,
    segments: Mapping[str, Segment],
    former: list[Any],
) -> dict[str, Any] | None:
    """The figures of a window; None where labels are still waited for."""
    from assay.monitor import baseline, performance

    reference = baseline.read(dict(held.baselines[window["version"]]))
    frame, metas, _ = _rows(doing, [segments[name] for name in window["segments"]])
    if frame is None:
        return None
    now = parse_timestamp(doing.view.now())
    closes = closing(held, window)
    found = joined(
        doing,
        held.endpoint,
        frame,
        since=parse_timestamp(window["from"]),
        closes=closes or now,
        until=now,
        known=lambda lost: _elsewhere(doing, held, window, segments, lost),
        former=former,
    )
    final = closes is not None and now >= closes
    if not final and found.coverage < _COMPLETE:
        return None
    rows = _readable(found.labelled, reference)
    strange = found.counts["labelled"] - rows.height
    told: dict[str, Any] = {
        "endpoint": held.endpoint,
        "version": window["version"],
        "number": window["number"],
        "from": window["from"],
        "to": window["to"],
        "rows": found.counts["rows"],
        "labelled": rows.height,
        "coverage": rows.height / found.counts["rows"],
        "counts": {**found.counts, "unreadable": found.counts["unreadable"] + strange},
        "sources": found.sources,
        "final": final,
    }
    if not rows.height:
        return {**told, "metrics": {}, "loss": {}, "slices": []}
    given = reference.answered(_matrix(rows, metas, reference))
    judged = performance.judge(given, rows["label"].to_list())
    parts = [
        {
            "column": name,
            "value": value,
            "labelled": int(chosen.sum()),
            "metrics": performance.figures(judged.take(chosen)),
            "loss": performance.losses(judged.take(chosen)),
        }
        for name, assigned in baseline.slices(reference.unfold(rows), reference.slicing).items()
        for value, chosen in assigned.parts()
        if chosen.sum() >= reference.layout.least
    ]
    return {
        **told,
        "metrics": performance.figures(judged),
        "loss": performance.losses(judged),
        "slices": parts,
    }


def _readable(rows: pl.DataFrame, reference: Baseline) -> pl.DataFrame:
    """The rows whose label is a class of the version that answered, as it spells them.

    Where versions of a model spell theirs differently, or of one nobody knows how, a label comes as
    the JSON text that it was given as.
    """
    import polars as pl

    from assay.monitor.labels import spell

    known = {str(spell(name)): name for name in reference.about["scores"]["classes"]}

    def read(label: int | str) -> int | str | None:
        if isinstance(label, str) and label in known:
            return known[label]
        return known.get(str(spell(label)))

    labels = [read(label) for label in rows["label"].to_list()]
    return rows.with_columns(pl.Series("label", labels)).filter(pl.col("label").is_not_null())


def _elsewhere(
    doing: Doing,
    held: Recorded,
    window: Predicate,
    segments: Mapping[str, Segment],
    lost: pl.DataFrame,
) -> pl.DataFrame:
    """The predictions of other windows that some of these labels may be for."""
    first, last = lost["prediction_id"].min(), lost["prediction_id"].max()
    near = [
        segments[name]
        for other in held.windows
        if other["number"] != window["number"]
        and other.get("ids")
        and other["ids"][0] <= last
        and other["ids"][1] >= first
        for name in other["segments"]
    ]
    frame, _, _ = _rows(doing, near)
    return lost.clear() if frame is None else frame


# -- one round ------------------------------------------------------------------------------------


def observe(
    perform: Perform, view: View, layout: Layout, project: str, endpoint: str
) -> dict[str, Any]:
    """One round: seal what came, close windows, count labels, raise alerts and tell the channels.

    What it did, as plain data.  Every step is found done by the next round, wherever this one ends.
    """
    from assay.monitor import spool

    done: dict[str, Any] = {"endpoint": endpoint, "windows": [], "measured": []}
    if spool.waiting(spools_of(layout, project, endpoint)):
        done["sealed"] = perform(SealPredictions(project=project, endpoint=endpoint))
    if spool.waiting(spool_of(layout, project, endpoint)):
        done["labels"] = perform(SealFeedback(project=project, endpoint=endpoint))
    while due_windows(view, recorded(view, project, endpoint)):
        done["windows"] += perform(CloseWindows(project=project, endpoint=endpoint))
    while due_labels(view, recorded(view, project, endpoint)):
        closed = perform(MeasurePerformance(project=project, endpoint=endpoint))
        done["measured"] += closed
        if not closed:
            break
    done["alerts"] = raise_alerts(perform, view, project, endpoint)
    held = recorded(view, project, endpoint)
    done["version"], done["watched"] = held.serving, held.serving in held.baselines
    done["next"] = msgspec.to_builtins(found) if (found := pending(view, layout, held)) else None
    done["told"] = notifications.notify(perform, view, layout, project, endpoint)
    return done


def raise_alerts(perform: Perform, view: View, project: str, endpoint: str) -> list[dict[str, Any]]:
    """What all windows say, as alerts: those that are new, have grown or are over."""
    held = recorded(view, project, endpoint)
    # The same statements say the same: they are read again when there are more of them.
    key = f"alerts/{project}/{endpoint}"
    if view.memo.get(key) == held.mark.encode():
        return []
    found = readings(held)
    changed: list[dict[str, Any]] = []
    for said in (found.said, found.confirmed):
        if said:
            last = max(said)
            signals = [s for number in sorted(said) for s in said[number].signals]
            changed += alerts.watch(
                perform,
                view,
                project,
                endpoint,
                signals,
                window=last,
                judged=said[last].judged,
            )
    view.memo.put(key, held.mark.encode())
    return changed
