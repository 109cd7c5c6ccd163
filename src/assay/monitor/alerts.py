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

import math
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal, TypeAlias

import msgspec

from assay import canonical
from assay.errors import Usage

PRODUCER = "assay.monitor.alerts/1"

Severity: TypeAlias = Literal["info", "warning", "critical"]
SEVERITIES: tuple[Severity, ...] = ("info", "warning", "critical")
KINDS = (
    *("data_drift", "prediction_drift", "estimated_performance", "performance"),
    *("quality", "log"),
)
QUIET = 3
"""Judged windows without a signal after which an alert is resolved.  A detector that began anew
after its alarm needs some windows to see the same again: one quiet window proves little."""
GROWS = 2.0
"""An alert is told again when its value is this many times what it was when it was last told."""

_SMALL = 0.1
"""PSI below which a drift is small: Siddiqi, Credit Risk Scorecards (2006); as an effect size it
says how much to care, never whether there is anything."""
_WELL_OVER = 1.1
_HALF = 0.5
_MOST = 2**53 - 1
_WINDOWS = 10**9
_CAUSES = 8
_TEXT = 200
_NUMBERS = ("psi", "from_share", "to_share", "log_evidence")
_NAMES = ("feature", "slice", "measure", "words")


class Signal(msgspec.Struct, frozen=True):
    """What a detector says of one window; see `read`."""

    kind: str
    number: int
    """Of the window.  Numbers of one endpoint never go back, whichever version answers."""
    version: str = ""
    measure: str = ""
    key: str = ""
    """Of which slice or feature, where each has an alert of its own."""
    value: float | None = None
    limit: float | None = None
    log_evidence: float | None = None
    since: int | None = None
    """The window in which the evidence began."""
    from_: str = msgspec.field(name="from", default="")
    to: str = ""
    causes: list[dict[str, Any]] = []
    promise: str = ""


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


# -- signals --------------------------------------------------------------------------------------


def read(raw: Mapping[str, Any]) -> Signal:
    """A signal from plain data: bounded, finite, and free of fields that nobody knows.

    Raises `Usage` for what names no kind or no window.
    """
    kind, number = raw.get("kind"), raw.get("number")
    if kind not in KINDS or type(number) is not int or not 0 <= number < _WINDOWS:
        raise Usage(
            f"a signal of kind {str(kind)[:40]!r} and window {str(number)[:40]!r} is none",
            remedy=f"kind is one of {', '.join(KINDS)}, number a whole number from 0",
            code="alerts.signal",
        )
    since = raw.get("since")
    causes: Any = raw.get("causes")
    listed: list[Any] = list(causes) if isinstance(causes, list | tuple) else []
    return Signal(
        kind=str(kind),
        number=number,
        version=_text(raw.get("version")),
        measure=_text(raw.get("measure")),
        key=_text(raw.get("key")),
        value=_number(raw.get("value")),
        limit=_number(raw.get("limit")),
        log_evidence=_number(raw.get("log_evidence")),
        since=since if type(since) is int and 0 <= since <= number else None,
        from_=_text(raw.get("from")),
        to=_text(raw.get("to")),
        causes=[_cause(cause) for cause in listed[:_CAUSES] if isinstance(cause, Mapping)],
        promise=_text(raw.get("promise")),
    )


def _cause(raw: Mapping[str, Any]) -> dict[str, Any]:
    told: dict[str, Any] = {name: _text(raw[name]) for name in _NAMES if raw.get(name)}
    numbers = {name: _number(raw.get(name)) for name in _NUMBERS}
    return told | {name: value for name, value in numbers.items() if value is not None}


def _text(value: object) -> str:
    """Bounded text that UTF-8 can carry; names of columns may hold anything."""
    text = "" if value is None else str(value)
    return text.encode("utf-8", "replace").decode()[:_TEXT]


def _number(value: object) -> float | None:
    """A finite number, or None: a figure that could not be computed is never a zero."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    # What is larger than JSON carries exactly is large: it must not pass for unmeasured.
    return None if math.isnan(value) or math.isinf(value) else float(max(-_MOST, min(_MOST, value)))


def severity(signal: Signal | Mapping[str, Any]) -> Severity:
    """How soon a person should look: ``info`` when there is time, ``warning`` today, ``critical``
    now.

    A change of the inputs or of the scores harms nobody by itself, however large: at most a
    warning, and an info while its effect (PSI) is small.  An estimate of the performance presumes
    that labels depend on inputs as before: a warning.  Labels that confirm a loss well over what
    is tolerated, inputs that have become unusable (another type, mostly missing), and answers that
    are not recorded are critical.  Figures that are missing make nothing less severe.
    """
    s = signal if isinstance(signal, Signal) else read(signal)
    if s.kind in ("data_drift", "prediction_drift"):
        sizes = [c["psi"] for c in s.causes if "psi" in c]
        if s.measure == "psi" and s.value is not None:
            sizes.append(s.value)
        return "info" if sizes and max(sizes) < _SMALL else "warning"
    if s.kind == "performance":
        if s.value is None or s.limit is None:
            return "critical"
        return "critical" if _well_over(s.measure, s.value, s.limit) else "warning"
    if s.kind == "quality":
        grave = s.measure in ("type", "absent", "unreadable")
        most = s.measure == "missing" and (s.value is None or s.value >= _HALF)
        return "critical" if grave or most else "warning"
    if s.kind == "log":
        return "warning" if s.measure == "empty" else "critical"
    return "warning"


def _well_over(measure: str, value: float, limit: float) -> bool:
    """Whether a value is on the bad side of its limit by a tenth: of a loss above it, of a metric
    that should be high below it."""
    if measure in HIGHER_IS_BETTER:
        return value * _WELL_OVER < limit
    return value > limit * _WELL_OVER


HIGHER_IS_BETTER = frozenset({"accuracy", "auc", "f1", "precision", "recall"})
"""Measures of which less is worse; every other measure is a loss, a distance or a share."""


def fingerprint(project: str, endpoint: str, signal: Signal) -> str:
    """What makes two signals the same alert: sixteen hexadecimal digits.

    Not the causes: which feature leads changes from window to window while the drift is one.
    """
    parts = [project, endpoint, signal.version, signal.kind, signal.measure, signal.key]
    return canonical.digest(canonical.encode(parts)).removeprefix("sha256:")[:16]


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
    return SEVERITIES.index(severity(signal)), signal.value or 0.0


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
    if held.value is None or worst.value is None or held.value <= 0:
        return False
    if worst.measure in HIGHER_IS_BETTER:  # Half of the distance that was left to nothing.
        return worst.value <= held.value / GROWS
    return worst.value >= held.value * GROWS


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
