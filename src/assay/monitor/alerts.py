"""Alerts: what the signals of a monitor mean for a person, told once for each episode.

A *signal* says of one window that something is as it should not be.  It is recomputed by everybody
who looks, and there is one for every window as long as it lasts.  An *alert* is what a person hears
of it: opened once for each **fingerprint** (endpoint, version, kind, measure, key) and **episode**,
told again only when it has *grown*, and *resolved* when windows that were judged no longer show it.
That nothing was judged (no rows, no labels yet) resolves nothing: absence of evidence is not
evidence of absence.

Everything here is a pure function of what was recorded and of the signals; `assay.actions.alerts`
records it.  See `docs/alerts.md`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal

import msgspec

from assay.monitor.signals import (
    HIGHER_IS_BETTER,
    KINDS,
    SEVERITIES,
    WHOLE,
    Severity,
    Signal,
    fingerprint,
    read,
    severity,
)

__all__ = [
    "KINDS",
    "PRODUCER",
    "QUIET",
    "SEVERITIES",
    "WHOLE",
    "Acknowledgement",
    "Alert",
    "Plan",
    "Severity",
    "Signal",
    "closed",
    "find",
    "fingerprint",
    "fold",
    "plan",
    "predicate",
    "read",
    "severity",
]

PRODUCER = "assay.monitor.alerts/1"

QUIET = 3
"""Windows after the last signal, the newest of them judged, after which an alert is resolved.  A
detector that began anew after its alarm needs some windows to see the same again: one quiet window
proves little."""
GROWS = 2.0
"""An alert is told again when its value (without one, its largest PSI) is this many times what it
was when it was last told."""


class Acknowledgement(msgspec.Struct, frozen=True):
    """Somebody has seen an alert, as it was at `step`."""

    actor: str
    reason: str
    at: str
    step: int
    closed: bool = False


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """One episode of one fingerprint, as it was recorded last."""

    id: str
    """``FINGERPRINT-EPISODE``: whoever computes it anew, after a crash too, gets the same."""
    fingerprint: str
    episode: int
    step: int
    """How often it was told: 1 when raised, one more for each growth."""
    event: Literal["raised", "escalated", "resolved"]
    endpoint: str
    version: str
    kind: str
    measure: str
    key: str = ""
    severity: Severity
    since: int
    seen: int
    """The last window known to show it when this was recorded."""
    from_: str = msgspec.field(name="from", default="")
    to: str = ""
    value: float | None = None
    limit: float | None = None
    log_evidence: float | None = None
    causes: list[dict[str, Any]] = []
    upstream: list[dict[str, str]] = []
    """What changed before it, on the ledger: versions, data, baselines."""
    promise: str = ""
    title: str = ""
    next: list[str] = []
    """Commands, the most likely one first."""
    raised: str = ""
    """When the episode was first recorded; the same in all of its statements."""
    changed: str = ""
    why: str = ""
    """Why it was resolved."""
    acknowledged: Acknowledgement | None = None

    @property
    def open(self) -> bool:
        return self.event != "resolved"

    @property
    def state(self) -> str:
        """``open``, ``acknowledged``, ``resolved`` or ``closed`` (by a person)."""
        ack = self.acknowledged
        if not self.open:
            return "closed" if ack is not None and ack.closed else "resolved"
        # What somebody acknowledged was smaller than what it has grown to.
        return "acknowledged" if ack is not None and ack.step >= self.step else "open"


# -- what is new ----------------------------------------------------------------------------------


class Plan(msgspec.Struct, frozen=True):
    """What is to be recorded, and of which signals it follows."""

    changes: list[Alert]
    signals: list[Signal]
    """As few of the signals as lead to the same plan."""


def plan(
    recorded: Sequence[Alert],
    signals: Sequence[Signal],
    *,
    project: str,
    endpoint: str,
    window: int,
    judged: Collection[str],
    quiet: int = QUIET,
    now: str = "",
) -> Plan:
    """What has to be told, given the newest alert of each episode and every signal until `window`.

    A signal of a window that an alert has seen is known, so the same signals given again change
    nothing.  `judged` are the kinds that could be judged in `window`: only of those an alert can be
    resolved, `quiet` windows after its last signal.
    """
    latest: dict[str, Alert] = {}
    for alert in recorded:
        held = latest.get(alert.fingerprint)
        if held is None or alert.episode >= held.episode:
            latest[alert.fingerprint] = alert
    grouped: dict[str, list[Signal]] = {}
    for signal in signals:
        grouped.setdefault(fingerprint(project, endpoint, signal), []).append(signal)
    changes: list[Alert] = []
    kept: list[Signal] = []
    for mark in sorted({*latest, *grouped}):
        held = latest.get(mark)
        seen = held.seen if held else -1
        new = sorted((s for s in grouped.get(mark, []) if s.number > seen), key=_order)
        found = _told(held, new, mark, endpoint, now)
        current = found or held
        last = new[-1].number if new else seen
        gone = window - last >= quiet
        if current is not None and current.open and current.kind in judged and gone:
            why = f"no sign of it in the {quiet} windows or more since window {last}"
            found = [*([found] if found else []), _resolved(current, last, why, now)]
        elif found:
            found = [found]
        changes.extend(found or [])
        if found or (held is not None and held.open):
            kept.extend(_fewest(new))
    return Plan(changes, kept)


def _order(signal: Signal) -> tuple[int, float]:
    return signal.number, signal.log_evidence or 0.0


def _size(signal: Signal) -> tuple[int, float]:
    """How bad a signal is, next to others of its fingerprint."""
    extent = _extent(signal) or 0.0
    return SEVERITIES.index(severity(signal)), extent


def _extent(of: Signal | Alert) -> float | None:
    """How far it has gone: more is worse, also of what should be high."""
    if of.value is not None:
        return -of.value if of.measure in HIGHER_IS_BETTER else of.value
    return max((cause["psi"] for cause in of.causes if "psi" in cause), default=None)


def _fewest(new: Sequence[Signal]) -> list[Signal]:
    if not new:
        return []
    chosen = {id(s): s for s in (new[0], max(new, key=_size), new[-1])}
    return [s for s in new if id(s) in chosen]


def _told(
    held: Alert | None, new: Sequence[Signal], mark: str, endpoint: str, now: str
) -> Alert | None:
    """The alert that new signals open or make larger; None when they tell nothing new."""
    if not new:
        return None
    worst, last = max(new, key=_size), new[-1]
    level = severity(worst)
    if held is None or not held.open:
        first, episode = new[0].number, 1 if held is None else held.episode + 1
        begun = [s.since for s in new if s.since is not None]
        # Evidence of an episode that is over is not evidence of the next one.
        earliest = -1 if held is None else held.seen + 1
        return Alert(
            id=f"{mark}-{episode}",
            fingerprint=mark,
            episode=episode,
            step=1,
            event="raised",
            endpoint=endpoint,
            since=max(min([first, *begun]), earliest),
            raised=now,
            changed=now,
            **_figures(worst, last, level),
        )
    graver = SEVERITIES.index(level) > SEVERITIES.index(held.severity)
    if not graver and not _grown(held, worst):
        return None
    level = level if graver else held.severity
    return msgspec.structs.replace(
        held,
        step=held.step + 1,
        event="escalated",
        changed=now,
        **_figures(worst, last, level),
    )


def _grown(held: Alert, worst: Signal) -> bool:
    before, now = _extent(held), _extent(worst)
    if before is None or now is None or before == 0:
        return False
    # Of what should be high, half of what was left has gone.
    return now >= before * GROWS if before > 0 else now >= before / GROWS


def _figures(worst: Signal, last: Signal, level: Severity) -> dict[str, Any]:
    return {
        "version": worst.version,
        "kind": worst.kind,
        "measure": worst.measure,
        "key": worst.key,
        "severity": level,
        "seen": last.number,
        "from_": worst.from_,
        "to": last.to,
        "value": worst.value,
        "limit": worst.limit,
        "log_evidence": worst.log_evidence,
        "causes": worst.causes,
        "promise": worst.promise,
    }


def _resolved(alert: Alert, last: int, why: str, now: str) -> Alert:
    return msgspec.structs.replace(
        alert, event="resolved", seen=max(alert.seen, last), changed=now, why=why
    )


def closed(alert: Alert, *, through: int, why: str, now: str) -> Alert:
    """The alert as a person ends it: what windows until `through` show is dealt with."""
    return _resolved(alert, through, why, now)


# -- reading what was recorded --------------------------------------------------------------------


def fold(statements: Sequence[tuple[str, Mapping[str, Any]]]) -> list[Alert]:
    """Every episode, oldest first, as its last statement has it; from (kind, predicate) in the
    order of the ledger.  What cannot be read is left out, never guessed."""
    found: dict[str, Alert] = {}
    for kind, predicate in statements:
        plain = {name: value for name, value in predicate.items() if name != "decision"}
        try:
            if kind == "alert":
                alert = msgspec.convert(plain, Alert)
                held = found.get(alert.id)
                # What a person said of it is in statements of its own.
                ack = held.acknowledged if held else None
                found[alert.id] = msgspec.structs.replace(alert, acknowledged=ack)
            elif kind == "acknowledgement":
                ack = msgspec.convert(plain, Acknowledgement)
                if (held := found.get(str(plain.get("alert")))) is not None:
                    found[held.id] = msgspec.structs.replace(held, acknowledged=ack)
        except msgspec.ValidationError:
            continue
    return list(found.values())


def predicate(alert: Alert) -> dict[str, Any]:
    """What a statement says of an alert."""
    told: dict[str, Any] = msgspec.to_builtins(alert)
    del told["acknowledged"]
    return told


_ID = re.compile(r"[0-9a-f]{4,16}(-[0-9]{1,6})?")


def find(alerts: Sequence[Alert], text: str) -> Alert | None:
    """The alert with the id `text`; or the newest episode of the one fingerprint that begins so."""
    if _ID.fullmatch(text) is None:
        return None
    mark, _, episode = text.partition("-")
    close = [a for a in alerts if a.fingerprint.startswith(mark)]
    if len({a.fingerprint for a in close}) != 1:
        return None
    found = [a for a in close if not episode or a.episode == int(episode)]
    return max(found, key=lambda a: a.episode, default=None)
