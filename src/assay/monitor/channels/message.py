"""What is told: an alert in the forms that receivers read.

Names of columns and slices, and figures; no value of any row, and nothing that a detector wrote in
its own words.  Whatever a column is called, it is one line of printable text here.

Sources: Alertmanager's API v2 (``postableAlerts`` in
https://github.com/prometheus/alertmanager/blob/main/api/v2/openapi.yaml) and its webhook payload,
version 4 (https://prometheus.io/docs/alerting/latest/configuration/#webhook_config).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec

from assay.clock import timestamp
from assay.monitor import alert_words as words
from assay.monitor.alerts import SEVERITIES, Alert

STANDS = timedelta(days=30)
"""How long an alert stands at Alertmanager without being told again.  Long: a monitor that has
stopped must not look like an alert that is over."""
_TEST = timedelta(minutes=5)
_NEVER = "0001-01-01T00:00:00Z"
_LONGEST = 1000
LISTED = 10
"""Alerts named in one text."""


class Message(msgspec.Struct, frozen=True):
    """An alert to be told, of which project, and whether it only tests the channel."""

    project: str
    alert: Alert
    test: bool = False

    @property
    def key(self) -> dict[str, Any]:
        """What of it was told: an alert, as it was at a step."""
        return {"alert": self.alert.id, "step": self.alert.step, "event": self.alert.event}

    @property
    def firing(self) -> bool:
        return self.alert.open


def one_line(text: object) -> str:
    """Printable text on one line, bounded."""
    shown = "".join(c if c.isprintable() else "?" for c in str(text))
    return shown if len(shown) <= _LONGEST else shown[: _LONGEST - 1] + "…"


def labels(message: Message, severity: str = "") -> dict[str, str]:
    """What identifies an alert: the same as long as it lasts, except for its severity."""
    a = message.alert
    name = "".join(part.capitalize() for part in a.kind.split("_"))
    made = {
        "alertname": "AssayTest" if message.test else f"Assay{name}",
        "project": message.project,
        "endpoint": a.endpoint,
        "version": a.version,
        "measure": a.measure,
        "key": a.key,
        "severity": severity or a.severity,
        "fingerprint": a.fingerprint,
    }
    if message.test:
        made["test"] = "true"
    return {name: one_line(value) for name, value in made.items() if value}


def notes(message: Message) -> dict[str, str]:
    """What a person reads of it."""
    a = message.alert
    made = {
        "summary": headline(message),
        "figures": words.figures(a),
        "causes": "; ".join(words.causes(a)),
        "next": a.next[0] if a.next else "",
        "promise": a.promise,
        "state": a.why if not a.open else "it has grown" if a.step > 1 else "new",
        "id": a.id,
    }
    return {name: one_line(value) for name, value in made.items() if value}


def headline(message: Message) -> str:
    """The alert in one line."""
    title = message.alert.title or words.title(message.alert)
    over = "" if message.alert.open else "over: "
    return one_line(("TEST, nothing is wrong: " if message.test else over) + title)


def text(message: Message) -> str:
    """The alert as a short text for people."""
    a = message.alert
    parts = [
        words.figures(a),
        f"since window {a.since}, version {a.version or '?'}, project {message.project}",
        *(f"- {cause}" for cause in words.causes(a)),
        *([f"next: {a.next[0]}"] if a.next else []),
        *([a.why] if a.why else []),
        a.promise,
        f"alert {a.id}, told {a.step} time{'' if a.step == 1 else 's'}",
    ]
    return "\n".join(one_line(part) for part in parts if part)


class Letter(msgspec.Struct, frozen=True):
    """What a person is sent: of one alert, or of all that an endpoint has at once."""

    title: str
    body: str
    severity: str
    """The gravest of those that are not over; ``over`` where all are."""


def letter(messages: Sequence[Message]) -> Letter:
    """The messages of one endpoint as one text: thirty columns that break at once are one event."""
    firing = [m for m in messages if m.firing]
    ranked = sorted(messages, key=lambda m: (not m.firing, -SEVERITIES.index(m.alert.severity)))
    first = ranked[0]
    severity = first.alert.severity if firing else "over"
    if len(messages) == 1:
        return Letter(f"[{severity}] {headline(first)}", text(first), severity)
    ended = len(messages) - len(firing)
    counted = f"{len(firing)} alerts" + (f", {ended} over" if ended else "")
    lines = [f"[{m.alert.severity}] {headline(m)} ({m.alert.id})" for m in ranked[:LISTED]]
    if len(ranked) > LISTED:
        lines.append(f"and {len(ranked) - LISTED} more: assay alerts list {first.alert.endpoint}")
    body = "\n".join([*map(one_line, lines), "", "the first of them:", text(first)])
    title = f"[{severity}] {first.alert.endpoint}: {counted}"
    return Letter(one_line(f"{title}; {headline(first)}"), body, severity)


# -- Alertmanager ---------------------------------------------------------------------------------


def alertmanager(messages: Sequence[Message], now: datetime) -> list[dict[str, Any]]:
    """``postableAlerts``.  The severity is a label, by which routes choose, so an alert that has
    grown is another one there: what it was before is over."""
    made: list[dict[str, Any]] = []
    for message in messages:
        a = message.alert
        stands = _TEST if message.test else STANDS
        ends = timestamp(now + stands) if message.firing else a.changed
        made.append(_posted(message, a.severity, ends))
        lesser = SEVERITIES[: SEVERITIES.index(a.severity)] if a.step > 1 else ()
        made.extend(_posted(message, severity, a.changed) for severity in lesser)
    return made


def _posted(message: Message, severity: str, ends: str) -> dict[str, Any]:
    return {
        "labels": labels(message, severity),
        "annotations": notes(message),
        "startsAt": message.alert.raised,
        # Alertmanager refuses what ends before it began.
        "endsAt": max(ends, message.alert.raised),
    }


# -- webhook --------------------------------------------------------------------------------------


def webhook(messages: Sequence[Message], receiver: str) -> dict[str, Any]:
    """Alertmanager's webhook payload, for the alerts of one endpoint."""
    listed = [_hooked(message) for message in messages]
    group = {name: listed[0]["labels"][name] for name in ("endpoint", "project")}
    quoted = ", ".join(f"{name}={_quoted(value)}" for name, value in group.items())
    return {
        "version": "4",
        "groupKey": f"{{}}:{{{quoted}}}",
        "truncatedAlerts": 0,
        "status": "firing" if any(m.firing for m in messages) else "resolved",
        "receiver": receiver,
        "groupLabels": group,
        "commonLabels": _common([alert["labels"] for alert in listed]),
        "commonAnnotations": _common([alert["annotations"] for alert in listed]),
        "externalURL": "",
        "alerts": listed,
    }


def _hooked(message: Message) -> dict[str, Any]:
    a = message.alert
    return {
        "status": "firing" if message.firing else "resolved",
        "labels": labels(message),
        "annotations": notes(message),
        "startsAt": a.raised,
        "endsAt": _NEVER if message.firing else a.changed,
        "generatorURL": "",
        "fingerprint": a.fingerprint,
    }


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _common(each: Sequence[dict[str, str]]) -> dict[str, str]:
    return {
        name: value
        for name, value in each[0].items()
        if all(other.get(name) == value for other in each)
    }
