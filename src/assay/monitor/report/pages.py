"""The page: one self-contained HTML document, the verdict first.

It holds no script, asks for nothing from anywhere, and says so to the browser: its policy allows
one style sheet, by its hash.  It is bounded, whatever it is given: what is most telling is shown,
and how much is left out is said.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from assay.monitor.report import charts, timeline, words
from assay.monitor.report.model import Alert, Feature, Figure, Report, Slice, Window
from assay.monitor.report.verdict import coverage, verdict

MOST_BYTES = 300_000
"""Of the whole page."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """How many of each are shown."""

    drawn: int = 400
    """Windows in a drawing; earlier ones are left out."""
    listed: int = 40
    """Windows in the table."""
    metrics: int = 4
    cards: int = 12
    """Features with drawings."""
    features: int = 48
    """Features in the table."""
    slices: int = 20
    alerts: int = 12
    incidents: int = 8
    happenings: int = 12
    notes: int = 8
    text: int = 200
    """Characters of one text."""

    def smaller(self) -> Bounds:
        """Half of everything."""
        return Bounds(
            **{
                name: max(1, getattr(self, name) // 2)
                for name in Bounds.__dataclass_fields__
                if name != "text"
            },
            text=max(24, self.text // 2),
        )


GLOSSARY: dict[str, str] = {
    "evidence": "How rarely chance alone shows as much while nothing changes: evidence of 100 is "
    "seen in at most one of a hundred windows. It is computed so that looking every day, at every "
    "input and group, raises no more false alarms than promised.",
    "alarm line": "The evidence at which an alarm rings. It follows from one number: how many "
    "false alarms a year are tolerated. With 365 windows and one false alarm a year it is 365.",
    "window": "A stretch of requests that are looked at together.",
    "baseline": "What is normal for this version: its test data, measured once and signed.",
    "estimated": "Computed from the model's own scores, which the baseline says how far to trust. "
    "It cannot see that the same inputs now lead to other outcomes.",
    "measured": "From the labels that came back. It is about the rows with a label, which may not "
    "be like the others: their share is shown beside every figure.",
    "PSI": "Population stability index: how far two distributions lie apart. A size of a change, "
    "not a reason for an alarm: with few rows it is large by chance.",
    "checkpoint": "The signed state of the ledger at one moment.",
}


def render(report: Report) -> str:
    """The page.  Long names make it show less, never grow."""
    bounds = Bounds()
    page = _render(report, bounds)
    while len(page.encode()) > MOST_BYTES and bounds.drawn > 1:
        bounds = bounds.smaller()
        page = _render(report, bounds)
    return page


def _render(report: Report, bounds: Bounds) -> str:
    environment = Environment(
        loader=PackageLoader("assay.monitor.report", "templates"),
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["shown"] = lambda text: words.shown(text, bounds.text)
    style = environment.get_template("monitor.css").render()
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    found = environment.get_template("monitor.html").render(
        r=report,
        w=words,
        style_hash=f"sha256-{digest}",
        glossary=GLOSSARY,
        **context(report, bounds),
    )
    return f"{found}\n"


def context(report: Report, bounds: Bounds) -> dict[str, Any]:
    """What the template shows, chosen and drawn."""
    drawn = report.windows[-bounds.drawn :]
    ranked = ranked_features(report.features)
    cards = ranked[: bounds.cards]
    rest = ranked[bounds.cards : bounds.cards + bounds.features]
    groups = ranked_slices(report.slices)
    names = metric_names(report)
    alerts = sorted(report.alerts, key=_alert_order)
    return {
        "verdict": verdict(report),
        "coverage": coverage(report),
        "rows": sum(window.rows for window in report.windows),
        "timeline": timeline.draw(drawn) if drawn else "",
        "earlier": len(report.windows) - len(drawn),
        "listed": (listed := listed_windows(report.windows, bounds.listed)),
        "unlisted": len(report.windows) - len(listed),
        "metrics": [_metric(report, drawn, name) for name in names[: bounds.metrics]],
        "more_metrics": names[bounds.metrics :],
        "cards": [_card(feature, report) for feature in cards],
        "rest": rest,
        "more_features": len(ranked) - len(cards) - len(rest),
        "groups": _groups(groups[: bounds.slices]),
        "more_groups": max(0, len(groups) - bounds.slices),
        "alerts": alerts[: bounds.alerts],
        "more_alerts": max(0, len(alerts) - bounds.alerts),
        "incidents": report.incidents[: bounds.incidents],
        "more_incidents": max(0, len(report.incidents) - bounds.incidents),
        "happenings": report.happenings[-bounds.happenings :],
        "more_happenings": max(0, len(report.happenings) - bounds.happenings),
        "notes": report.notes[: bounds.notes],
        "streams": sorted({name for window in report.windows for name in window.streams}),
    }


# -- choosing -------------------------------------------------------------------------------------

_METRICS = ("auc", "accuracy", "f1", "precision", "recall", "brier", "log_loss")


def metric_names(report: Report) -> list[str]:
    """Every metric that anybody estimated or measured, those that most people know first."""
    found = {name for w in report.windows for name in (*w.estimated, *w.measured)}
    if report.baseline is not None:
        found |= report.baseline.metrics.keys()

    def order(name: str) -> tuple[int, str]:
        return (_METRICS.index(name) if name in _METRICS else len(_METRICS), name)

    return sorted(found, key=order)


def ranked_features(features: Sequence[Feature]) -> list[Feature]:
    """By the evidence against them, then by how far they moved."""

    def order(found: Feature) -> tuple[float, float, str]:
        return -words.ratio(found.log_e, found.limit), -found.effects.get("psi", 0.0), found.name

    return sorted(features, key=order)


def ranked_slices(slices: Sequence[Slice]) -> list[Slice]:
    """By the evidence in them, then by how much their share moved."""

    def order(found: Slice) -> tuple[float, float, str, str]:
        power = -words.ratio(found.log_e, found.limit) if found.log_e is not None else 0.0
        moved = (found.share_current or 0.0) - (found.share_reference or 0.0)
        return min(0.0, power), -abs(moved), found.column, found.value

    return sorted(slices, key=order)


def _alert_order(found: Alert) -> tuple[bool, int, str]:
    severity = ("critical", "warning", "info").index(found.severity)
    return not found.lasts, severity, found.raised


def listed_windows(windows: Sequence[Window], most: int) -> list[Window]:
    """The newest, and those in which an alarm rang: the newest of both where they are too many."""

    def telling(window: Window) -> bool:
        return any(found.crossed for found in window.streams.values())

    rung = [window for window in windows if telling(window)][-most:]
    chosen = {window.number for window in rung}
    for window in reversed(windows):
        if len(chosen) >= most:
            break
        chosen.add(window.number)
    return [window for window in windows if window.number in chosen][-most:][::-1]


# -- drawing --------------------------------------------------------------------------------------


def _metric(report: Report, drawn: Sequence[Window], name: str) -> dict[str, Any]:
    reference = report.baseline.metrics.get(name) if report.baseline else None
    return {
        "name": words.metric(name),
        "reference": reference,
        "estimated": _newest(drawn, lambda window: window.estimated.get(name)),
        "measured": _newest(drawn, lambda window: window.measured.get(name)),
        "drawing": charts.performance(name, drawn, reference) if drawn else "",
    }


def _newest(
    windows: Sequence[Window], get: Callable[[Window], Figure | None]
) -> tuple[Window, Figure] | None:
    for window in reversed(windows):
        if (found := get(window)) is not None:
            return window, found
    return None


def _card(found: Feature, report: Report) -> dict[str, Any]:
    title = f"Evidence against {words.shown(found.name, 60)} over {len(report.windows)} windows"
    before, now = charts.shares(found.reference), charts.shares(found.current)
    same = len(before) == len(now)
    chosen = charts.most_changed(before, now, 8) if same else []
    return {
        "f": found,
        "drawing": charts.feature(found),
        "spark": charts.spark(found.history, found.limit, title),
        "cells": [
            (found.labels[i] if i < len(found.labels) else f"#{i + 1}", before[i], now[i])
            for i in chosen
        ],
        "more_cells": len(before) - len(chosen) if same else 0,
    }


def _groups(chosen: Sequence[Slice]) -> list[tuple[Slice, Any]]:
    low, high = charts.group_range(chosen)
    return [(found, charts.group(found, low, high) if found.metric else "") for found in chosen]
