"""What watching a version has found, for its passport."""

from __future__ import annotations

from typing import TYPE_CHECKING

from assay.evidence.state import VersionState
from assay.govern.drift import Line, Watched
from assay.workspace.view import View

if TYPE_CHECKING:
    from assay.monitor.report.model import Window

_STREAMS = ("data_drift", "prediction_drift", "performance", "estimated_performance")


def watched(view: View, found: VersionState) -> Watched:
    """What the endpoint named after the model saw while this version answered."""
    if f"{found.project}/{found.name}" not in view.state.endpoints:
        return Watched(tone="unknown", title="It was never put to use here, so nothing was watched")
    from msgspec.structs import replace

    from assay.actions.monitor_reports import report_of
    from assay.monitor.report import words
    from assay.monitor.report.verdict import verdict

    whole = report_of(view, found.project, found.name, version=found.version)
    windows = tuple(w for w in whole.windows if w.version == found.version)
    alerts = tuple(alert for alert in whole.alerts if alert.version == found.version)
    # Incidents, and the labels of other versions, are not about this one.
    report = replace(whole, windows=windows, alerts=alerts, incidents=(), labels=None)
    said = verdict(report)
    tone, title, lines = said.tone, said.title, list(said.why)
    serving = str(view.state.endpoints[f"{found.project}/{found.name}"]["version"])
    if found.version != serving and not any(alert.lasts for alert in alerts):
        tone = "unknown"
        title = f"Version {serving} answers in its place now" if windows else "It has not answered"
        lines = [f"While it answered, {words.count(len(windows), 'window')} were looked at."]
    if (promise := whole.promise) is not None:
        tolerated = words.count(round(promise.false_alarms_a_year), "false alarm")
        if promise.false_alarms_a_year != round(promise.false_alarms_a_year):
            tolerated = f"{promise.false_alarms_a_year:g} false alarms"
        lines.append(f"Promised: at most {tolerated} a year while nothing changes.")
    return Watched(
        tone=tone,
        title=title,
        lines=tuple(lines),
        begins=tuple(words.day(window.begin) for window in windows),
        evidence=tuple(_lines(windows)),
        source=f"recomputed as of checkpoint {whole.about.checkpoint_size}"
        + (f"; baseline: leaf {whole.baseline.leaf}" if whole.baseline else ""),
    )


def _lines(windows: tuple[Window, ...]) -> list[Line]:
    from assay.monitor.report import words

    seen = {name for window in windows for name in window.streams}
    return [
        Line(words.stream(name), tuple(_power(window, name) for window in windows))
        for name in _STREAMS
        if name in seen
    ]


def _power(window: Window, name: str) -> float | None:
    from assay.monitor.report import words

    evidence = window.streams.get(name)
    if evidence is None:
        return None
    # Bounded, for JSON knows no infinity.
    return round(min(99.0, max(-99.0, words.ratio(evidence.log_e, evidence.limit))), 3)
