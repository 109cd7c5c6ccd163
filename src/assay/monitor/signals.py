"""Signals: what a detector says of one window, as plain data that anybody can recompute.

``read`` makes one of whatever a detector hands on: bounded, finite, free of what nobody knows.
``severity`` says how soon a person should look at it, ``fingerprint`` which signals are one alert.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

import msgspec

from assay import canonical
from assay.errors import Usage

Severity: TypeAlias = Literal["info", "warning", "critical"]
SEVERITIES: tuple[Severity, ...] = ("info", "warning", "critical")
KINDS = (
    *("data_drift", "prediction_drift", "estimated_performance", "performance"),
    *("quality", "log"),
)
WHOLE = "all rows"
"""What detectors call the rows that are in no slice of their own."""
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
    are not recorded are critical.  Figures that are missing make nothing less severe; and those of
    all rows do not say how much a slice suffers.
    """
    s = signal if isinstance(signal, Signal) else read(signal)
    if s.kind in ("data_drift", "prediction_drift"):
        sizes = [c["psi"] for c in s.causes if "psi" in c]
        if s.measure == "psi" and s.value is not None:
            sizes.append(s.value)
        return "info" if sizes and max(sizes) < _SMALL else "warning"
    if s.kind == "performance":
        led = s.causes[0].get("slice", WHOLE) if s.causes else WHOLE
        if s.value is None or s.limit is None or led != WHOLE:
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
