"""Figures, times and names as a reader sees them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime

from assay.clock import parse_timestamp
from assay.errors import Usage
from assay.monitor.report.model import Figure

MOST = 300
"""Characters shown of one text."""

STREAMS = {
    "data_drift": "inputs",
    "prediction_drift": "answers",
    "performance": "errors, measured",
    "estimated_performance": "errors, estimated",
    "quality": "input quality",
    "log": "prediction log",
}
METRICS = {"auc": "AUC", "f1": "F1", "brier": "Brier score", "log_loss": "log loss"}


def shown(text: object, most: int = MOST) -> str:
    """One line without control, format or direction characters: they are spelt ``\\u202e``."""
    whole = str(text)
    cut = whole if len(whole) <= most else whole[: most - 1] + "…"
    return "".join(c if c.isprintable() else _spelt(c) for c in cut)


def _spelt(character: str) -> str:
    number = ord(character)
    short = {0x0A: "\\n", 0x0D: "\\r", 0x09: "\\t"}
    if number in short:
        return short[number]
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}"


def stream(name: str) -> str:
    return STREAMS.get(name, name.replace("_", " "))


def metric(name: str) -> str:
    return METRICS.get(name, name.replace("_", " "))


def moment(text: str) -> datetime | None:
    """A time of the ledger; None for what is none."""
    try:
        return parse_timestamp(text)
    except Usage:
        return None


def day(text: str) -> str:
    """``12 Mar 2026``; the text itself where it is no time."""
    at = moment(text)
    return shown(text, 40) if at is None else f"{at.day} {at:%b %Y}"


def minute(text: str) -> str:
    """``12 Mar 2026, 14:05 UTC``."""
    at = moment(text)
    return shown(text, 40) if at is None else f"{at.day} {at:%b %Y, %H:%M} UTC"


def span(begin: str, end: str) -> str:
    """From when to when, said once where both are the same day."""
    first, last = moment(begin), moment(end)
    if first is None or last is None:
        return f"{day(begin)} to {day(end)}"
    if first.date() == last.date():
        return f"{day(begin)}, {first:%H:%M} to {last:%H:%M}"
    return f"{day(begin)} to {day(end)}"


def number(value: float | None) -> str:
    """Three digits that matter; a figure that there is not is a dash, never a zero."""
    if value is None or not math.isfinite(value):
        return "–"
    if value and abs(value) < 0.001:
        return f"{value:.1e}"
    return f"{value:.3f}" if abs(value) < 10 else f"{value:,.1f}"


def figure(found: Figure | None) -> str:
    """``0.812 (0.790 to 0.834)``."""
    if found is None:
        return "–"
    if found.lower is None or found.upper is None:
        return number(found.value)
    return f"{number(found.value)} ({number(found.lower)} to {number(found.upper)})"


def percent(share: float | None) -> str:
    """Without saying 0 % of what is there, or 100 % of what is not all."""
    if share is None or not math.isfinite(share):
        return "–"
    if 0 < share < 0.001:
        return "<0.1 %"
    if 0.999 < share < 1:
        return ">99.9 %"
    whole = share in (0, 1) or 0.1 <= share < 0.99
    return f"{100 * share:.0f} %" if whole else f"{100 * share:.1f} %"


def ratio(log_e: float, limit: float) -> float:
    """How many times over the alarm line, as a power of ten: 0 is the line, -1 a tenth of it."""
    if math.isnan(log_e) or math.isnan(limit):
        return -math.inf
    if math.isinf(log_e) or math.isinf(limit):
        return log_e if math.isinf(log_e) and log_e != limit else -math.inf
    return (log_e - limit) / math.log(10)


def of_line(log_e: float, limit: float) -> str:
    """Evidence as a share of what an alarm needs: ``3 %``, ``12 ×``."""
    power = ratio(log_e, limit)
    if power >= 4:
        return ">10,000 ×"
    if power >= 1:
        return f"{10**power:,.0f} ×"
    if power >= 0:
        return f"{math.floor(10 * 10**power) / 10:.1f} ×"
    if power < -3:
        return "<0.1 %"
    share = 100 * 10**power
    # Never rounded up to the line: what is below it has not rung.
    return f"{share:.1f} %" if share < 10 else f"{min(math.floor(share), 99)} %"


def count(found: int, noun: str) -> str:
    return f"{found:,} {noun}{'' if found == 1 else 's'}"


def listed(names: Sequence[str], most: int = 3) -> str:
    """``a, b, c and 4 more``."""
    head = ", ".join(names[:most])
    return f"{head} and {len(names) - most} more" if len(names) > most else head


def odds(log_odds: float) -> str:
    """A tolerance, as the factor by which odds may change."""
    return f"{math.exp(min(abs(log_odds), 20)):.2f}"
