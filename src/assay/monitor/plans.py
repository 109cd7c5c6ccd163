"""How an endpoint is watched: few knobs, each checked, each explained in one sentence."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

import msgspec

from assay.errors import Corrupt, Usage

YEAR = 365.25 * 86_400
_UNITS = {"m": 60, "h": 3_600, "d": 86_400, "w": 7 * 86_400}
_UNIT_WORDS = {"m": "minute", "h": "hour", "d": "day", "w": "week"}
_PERIODS = {"day": 365.25, "week": 365.25 / 7, "month": 12.0, "year": 1.0}
_DURATION = re.compile(r"([1-9][0-9]{0,5})([mhdw])")
_ROWS = re.compile(r"([1-9][0-9_,]{0,14}) ?rows?")
_WINDOWS = re.compile(r"([1-9][0-9]{0,4}) ?windows?")
_RATE = re.compile(r"([0-9]+(?:\.[0-9]+)?)/(day|week|month|year)")

LEAST_ROWS = 50
"""Of a window that is closed by its number of rows."""
LEAST_ARL = 10.0
"""Windows between false alarms, on average."""
SHIFT = 0.2
"""A share of one half that moves to 55 %, or a PSI of 0.01 between a cell and the others: in three
years of a census nothing raised an alarm above 0.15 (`bench/monitor_truth.py`)."""
MOST_SHIFT = 2.0
LABEL_CAP = 1_000_000
MOST_SLICES = 8
_LONGEST = 10 * YEAR


class Plan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The plan of a baseline.  Make one with `make`, which checks it."""

    window: dict[str, str | int]
    """``{"every": "1d"}`` or ``{"rows": 5000}``."""
    windows_a_year: float
    false_alarms_a_year: float
    smallest_shift: float
    """Log-odds: shifts up to this are not worth an alarm."""
    horizon: str | dict[str, int]
    """``"30d"`` or ``{"windows": 4}``: how long labels are waited for."""
    slices: list[str]
    label_cap: int
    """The most labels that count from one source in a day."""

    @property
    def arl(self) -> float:
        """Windows for each false alarm that is put up with: what detectors promise."""
        return self.windows_a_year / self.false_alarms_a_year

    @property
    def every_seconds(self) -> int | None:
        """How long a window is; None when it is closed by its number of rows."""
        every = self.window.get("every")
        return seconds(every) if isinstance(every, str) else None

    @property
    def rows(self) -> int | None:
        """How many rows a window has; None when it is closed by time."""
        rows = self.window.get("rows")
        return rows if isinstance(rows, int) else None

    @property
    def horizon_seconds(self) -> int | None:
        return seconds(self.horizon) if isinstance(self.horizon, str) else None

    @property
    def horizon_windows(self) -> int | None:
        return None if isinstance(self.horizon, str) else self.horizon["windows"]

    @property
    def promise(self) -> str:
        """What is promised of alarms, in words."""
        return f"at most {_count(self.false_alarms_a_year, 'false alarm')} a year"

    def to_dict(self) -> dict[str, Any]:
        return msgspec.to_builtins(self)

    @classmethod
    def from_dict(cls, value: Any) -> Plan:
        """A plan from its JSON; raises `Corrupt` for what is none."""
        try:
            found = msgspec.convert(value, cls)
            _check(found)
        except (msgspec.ValidationError, Usage) as error:
            raise Corrupt(f"not a plan of monitoring: {error}", code="plan") from error
        return found

    def words(self) -> dict[str, str]:
        """Each knob and what it does, with what it costs."""
        share = 1 / (1 + math.exp(-self.smallest_shift))
        if self.rows is None:
            window = (
                f"what came within {_spelt(str(self.window['every']))} is looked at together: "
                "longer windows find smaller changes, later"
            )
        else:
            window = (
                f"{self.rows:,} rows are looked at together, taken to be "
                f"{self.windows_a_year:g} times a year: if there are more windows, there are as "
                "many more false alarms"
            )
        horizon = (
            _spelt(self.horizon)
            if isinstance(self.horizon, str)
            else _count(self.horizon["windows"], "window")
        )
        weight = self.smallest_shift * math.tanh(self.smallest_shift / 4)
        shift = (
            "any change is worth an alarm, however small"
            if self.smallest_shift == 0
            else f"a share of 50 % may move to {100 * share:.1f} %, and any other by as much (a "
            f"PSI of {weight:.2g}), without an alarm, since small drifts are everywhere"
        )
        return {
            "window": window,
            "false_alarms": f"{self.promise}, over all features and slices together "
            f"({self.arl:,.0f} windows for each): fewer false alarms mean later true ones",
            "smallest_shift": shift,
            "horizon": f"labels are waited for during {horizon}; what comes later is counted and "
            "changes no figure",
            "slices": f"each of {', '.join(self.slices)} is watched by itself as well"
            if self.slices
            else "only the whole is watched, so that a change for few can hide in it",
            "label_cap": f"at most {self.label_cap:,} labels a day of one source count, so that a "
            "flood of them changes little",
        }


def make(
    *,
    window: str = "1d",
    false_alarms: str = "1/year",
    windows_a_year: float | None = None,
    smallest_shift: float = SHIFT,
    horizon: str = "30d",
    slices: Sequence[str] = (),
    label_cap: int = LABEL_CAP,
) -> Plan:
    """A plan from what a person writes; raises `Usage` naming the knob, the rule and an example."""
    by_rows = _ROWS.fullmatch(window.strip())
    if by_rows:
        told: dict[str, str | int] = {"rows": int(re.sub("[_,]", "", by_rows[1]))}
        often = 365.0 if windows_a_year is None else float(windows_a_year)
    else:
        told = {"every": window.strip()}
        often = YEAR / seconds(window.strip(), what="window", example="1d, 12h or 5000rows")
        if windows_a_year is not None:
            raise Usage(
                f"a window of {window} says itself how many windows a year has",
                remedy="leave --windows-a-year out; it is for windows of so many rows",
                code="plan.windows_a_year",
            )
    in_windows = _WINDOWS.fullmatch(horizon.strip())
    made = Plan(
        window=told,
        windows_a_year=often,
        false_alarms_a_year=rate(false_alarms),
        smallest_shift=float(smallest_shift),
        horizon={"windows": int(in_windows[1])} if in_windows else horizon.strip(),
        slices=list(slices),
        label_cap=label_cap,
    )
    _check(made)
    return made


def seconds(text: str, *, what: str = "duration", example: str = "30d or 12h") -> int:
    """The seconds of ``90m``, ``12h``, ``30d`` or ``4w``; raises `Usage`."""
    found = _DURATION.fullmatch(text)
    if found is None:
        raise Usage(
            f"the {what} {text[:40]!r} is no length of time",
            remedy=f"write {example} (m, h, d, w)",
            code=f"plan.{what}",
        )
    return int(found[1]) * _UNITS[found[2]]


def rate(text: str) -> float:
    """The false alarms a year of ``1/year`` or ``2/month``; raises `Usage`."""
    found = _RATE.fullmatch(text.strip())
    if found is None or not float(found[1]):
        raise Usage(
            f"{text[:40]!r} does not say how many false alarms there may be",
            remedy="write --false-alarms 1/year or 2/month; none at all is not to be had",
            code="plan.false_alarms",
        )
    return float(found[1]) * _PERIODS[found[2]]


def _check(plan: Plan) -> None:
    _check_window(plan)
    _check_horizon(plan)
    for name, value, low, high in (
        ("windows_a_year", plan.windows_a_year, 1.0, YEAR / 60),
        ("false_alarms_a_year", plan.false_alarms_a_year, 1e-3, YEAR / 60),
        ("smallest_shift", plan.smallest_shift, 0.0, MOST_SHIFT),
        ("label_cap", plan.label_cap, 1, 2**53),
    ):
        if not low <= value <= high:
            option = f"--{name.removesuffix('_a_year') if name[0] == 'f' else name}"
            raise Usage(
                f"{name} is {value:g}, which is not between {low:g} and {high:g}",
                remedy=f"give {option.replace('_', '-')} a value between them",
                code=f"plan.{name}",
            )
    if plan.arl < LEAST_ARL:
        raise Usage(
            f"{plan.false_alarms_a_year:g} false alarms in {plan.windows_a_year:g} windows a year "
            f"are one in {plan.arl:.1f} windows: nobody would look at them",
            remedy=f"allow at most one in {LEAST_ARL:g} windows, or take shorter windows",
            code="plan.false_alarms",
        )
    if len(set(plan.slices)) < len(plan.slices) or len(plan.slices) > MOST_SLICES:
        raise Usage(
            f"{len(plan.slices)} slice columns were given",
            remedy=f"name each once, and at most {MOST_SLICES}: each costs detection power",
            code="plan.slices",
        )


def _check_window(plan: Plan) -> None:
    every, rows = plan.window.get("every"), plan.window.get("rows")
    if len(plan.window) == 1 and isinstance(every, str):
        if seconds(every, what="window") > YEAR:
            raise Usage(f"a window of {every} is longer than a year", code="plan.window")
    elif not (len(plan.window) == 1 and isinstance(rows, int) and rows >= LEAST_ROWS):
        raise Usage(
            f"a window of {rows} rows says nothing about anything",
            remedy=f"take at least {LEAST_ROWS} rows, or a length of time: 5000rows, 1d",
            code="plan.window",
        )


def _check_horizon(plan: Plan) -> None:
    if isinstance(plan.horizon, str):
        if seconds(plan.horizon, what="horizon", example="30d or 4windows") > _LONGEST:
            raise Usage(f"a horizon of {plan.horizon} is too long", code="plan.horizon")
    elif set(plan.horizon) != {"windows"} or not 1 <= plan.horizon["windows"] <= 10_000:
        raise Usage(
            "the horizon names no number of windows", remedy="4windows", code="plan.horizon"
        )


def _spelt(text: str) -> str:
    return _count(int(text[:-1]), _UNIT_WORDS[text[-1]])


def _count(number: float, noun: str) -> str:
    words = "one" if number == 1 else f"{number:,g}"
    return f"{words} {noun}{'' if number == 1 else 's'}"
