"""Plans of changes: what may be retrained and promoted by itself, decided by people beforehand.

AI Act, Annex IV 2(f), asks for "a detailed description of pre-determined changes to the AI system
and its performance"; what the provider foresaw so is no substantial modification (Art. 3(23) and
43(4)).  The FDA's guidance on Predetermined Change Control Plans (PCCP, final of December 2024)
asks for three parts: a description of the modifications, a protocol by which they are made and
accepted, and an assessment of their impact.  A plan here (``assay/change-plan/v1``) is the first
two as data: which code may be run, what may vary within which ranges, what must hold, how often,
until when.  `assay.evidence.bounds` holds a version to it.

A plan is known by the digest of its canonical bytes: whoever approves it approves these bytes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from datetime import timedelta
from decimal import Decimal
from typing import Annotated, Any, Literal, TypeAlias, cast

import msgspec

from assay import canonical
from assay.clock import parse_timestamp
from assay.errors import AssayError, Usage
from assay.types import Digest, check_name

FORMAT = "assay/change-plan/v1"
SCHEDULE = "schedule"
"""Among `Plan.triggers`: it may be retrained without an alert."""
REGISTERED = (
    *("purpose", "label", "positive", "threshold", "sensitive", "leave_out"),
    *("format", "kind", "classes", "features"),
)
"""What a version is registered with that a plan has to bound, every one of them."""
LOSSES = ("zero_one", "brier")

Bound: TypeAlias = dict[str, Any]
"""``{"is": V}``, ``{"one_of": [V, …]}``, or ``{"least": N, "most": N}`` with one of the two or
both."""

_Sha256: TypeAlias = Annotated[str, msgspec.Meta(pattern=r"\Asha256:[0-9a-f]{64}\Z")]
_Text: TypeAlias = Annotated[str, msgspec.Meta(min_length=1, max_length=2_000)]
_Share: TypeAlias = Annotated[float, msgspec.Meta(ge=0, le=1)]
_Count: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=2**53 - 1)]
_DURATION = re.compile(r"([0-9]{1,6})([smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_SHAPES = ({"is"}, {"one_of"}, {"least"}, {"most"}, {"least", "most"})


class _Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A part of a plan: nothing may stand in it that nobody reads."""


class Pipeline(_Record, frozen=True, kw_only=True):
    """What is run: named by the digests of its code and of the libraries that it runs with."""

    source: _Text
    """``FILE[:PIPELINE]``, as ``assay run`` takes it."""
    function: _Text
    """``module:function``."""
    data: _Text
    """The parameter that is given the name of the collected rows."""
    code: _Sha256
    """Of every file that the pipeline reaches."""
    environment: _Sha256
    """Of the installed libraries that it imports."""
    seed: Annotated[int, msgspec.Meta(ge=0, le=2**53 - 1)] = 0


class Data(_Record, frozen=True, kw_only=True):
    """On which rows: those of the prediction log whose labels came, and what is named here."""

    least: str = "0s"
    """The shortest stretch of the log."""
    most: str = "365d"
    """The longest."""
    reserve: str = "0s"
    """How much of the newest is left out, so that there are requests to compare on at once."""
    least_rows: _Count = 1
    others: dict[str, _Sha256] = {}
    """Registered datasets that the pipeline may read as well, each by its content."""


class Rules(_Record, frozen=True, kw_only=True):
    """How a challenger must beat the champion: see `assay.monitor.challenge`."""

    loss: Literal["zero_one", "brier"] = "brier"
    alpha: Annotated[float, msgspec.Meta(ge=1e-9, le=0.1)] = 0.01
    """How probable it may be that one that is no better is found to be better."""
    improvement: Annotated[float, msgspec.Meta(ge=0, lt=1)] = 0.0
    """By how much the mean loss must be lower, at least."""
    least_rows: _Count = 200
    horizon: str = "30d"
    """How long is waited for the label of a request: only those older than that count, because
    labels that come early are not like those that come late."""
    slices: tuple[_Text, ...] = ()
    """Columns in none of whose values it may do harm."""
    most_harm: _Share = 0.05
    """By how much the mean loss may be higher within a slice: the upper confidence bound counts."""
    slice_rows: _Count = 100
    """Slices with fewer labelled rows are put together."""


class Plan(_Record, frozen=True, kw_only=True):
    """A plan of changes."""

    format: str
    model: str
    """The model, and the endpoint of that name."""
    why: _Text
    valid_until: str
    every: str
    """The least time between two retrainings."""
    most: Annotated[int, msgspec.Meta(ge=1, le=10_000)]
    """How many retrainings, in all."""
    triggers: Annotated[tuple[_Text, ...], msgspec.Meta(min_length=1)]
    """The kinds of alerts that may start one; and ``schedule``."""
    pipeline: Pipeline
    parameters: dict[str, Bound] = {}
    data: Data = Data()
    registered: dict[str, Bound]
    """What the version is registered with: see `REGISTERED`."""
    holds: dict[str, Bound]
    """Facts about the version, by name, and what they must be."""
    challenge: Rules = Rules()


class PlanApproval(msgspec.Struct, frozen=True):
    """A person's word on a plan, signed by a key of their own; the last one counts."""

    plan: _Sha256
    approved: bool


def read(value: Any) -> Plan:
    """A plan from plain data; raises `Usage` naming what is wrong with it."""
    told = cast("dict[str, Any]", value).get("format") if isinstance(value, dict) else None
    if told != FORMAT:
        raise _wrong(f"its format is {str(told)[:40]!r}", f'write format = "{FORMAT}"')
    try:
        plan = msgspec.convert(value, Plan)
    except msgspec.ValidationError as error:
        raise _wrong(str(error), "docs/retraining.md shows one") from error
    check_name(plan.model, what="model name")
    try:
        parse_timestamp(plan.valid_until)
    except Usage as error:
        raise _wrong(error.message, 'write valid_until = "2027-06-30T00:00:00Z"') from error
    for text in (plan.every, *_lengths(plan.data), plan.challenge.horizon):
        duration(text)
    if not duration(plan.challenge.horizon):
        raise _wrong("no time is waited for labels", 'write horizon = "30d" under [challenge]')
    if duration(plan.data.least) > duration(plan.data.most):
        raise _wrong("data.least is longer than data.most", "swap them")
    _check_bounds(plan)
    try:
        canonical.encode(plan)
    except ValueError as error:
        raise _wrong(f"{error}", "write numbers that JSON can carry exactly") from error
    return plan


def _check_bounds(plan: Plan) -> None:
    named = {
        **{f"parameters.{name}": bound for name, bound in plan.parameters.items()},
        **{f"registered.{name}": bound for name, bound in plan.registered.items()},
        **{f"holds.{name}": bound for name, bound in plan.holds.items()},
    }
    for name, bound in named.items():
        numbers = [bound[key] for key in ("least", "most") if key in bound]
        fits = set(bound) in _SHAPES and all(map(_is_number, numbers))
        if not fits or not isinstance(bound.get("one_of", []), list):
            raise _wrong(
                f"{name} is no bound",
                "write {is = V}, {one_of = [V, W]} or {least = 0.1, most = 0.2}",
            )
        if len(numbers) == 2 and numbers[0] > numbers[1]:
            raise _wrong(f"{name} has a least above its most", "swap them")
    missing = [name for name in REGISTERED if name not in plan.registered]
    unknown = sorted(set(plan.registered) - set(REGISTERED))
    if missing or unknown:
        raise _wrong(
            f"it bounds not exactly what a version is registered with: "
            f"{', '.join(missing or unknown)}",
            "assay change propose fills in what the present version has",
        )
    if not plan.holds:
        raise _wrong("nothing must hold", 'name facts: [holds] "quality.auc_lower" = {least = 0.7}')
    if plan.pipeline.data in plan.parameters:
        raise _wrong(
            f"the parameter {plan.pipeline.data} is given the collected rows, and bounded as well",
            "leave it out of [parameters]",
        )


def _lengths(data: Data) -> tuple[str, ...]:
    return (data.least, data.most, data.reserve)


def digest_of(plan: Plan) -> Digest:
    """What a plan is known by."""
    return canonical.digest(canonical.encode(plan))


def duration(text: str) -> timedelta:
    """``90m``, ``12h``, ``30d``, ``4w``; raises `Usage`."""
    found = _DURATION.fullmatch(text)
    if found is None:
        raise Usage(
            f"{text[:40]!r} is no length of time",
            remedy="write a number and s, m, h, d or w: 30d",
            code="duration",
        )
    return timedelta(**{_UNITS[found[2]]: int(found[1])})


def is_within(bound: Bound, value: Any) -> bool:
    """Whether a plain value is inside of a bound.  True and 1 are different things."""
    if "is" in bound:
        return _same(bound["is"], value)
    if "one_of" in bound:
        return any(_same(allowed, value) for allowed in cast("Iterable[Any]", bound["one_of"]))
    if not _is_number(value):
        return False
    number = _exact(value)
    least, most = bound.get("least"), bound.get("most")
    if least is None and most is None:
        return False
    return (least is None or _exact(least) <= number) and (most is None or number <= _exact(most))


def in_words(bound: Bound) -> str:
    """A bound as people say it."""
    if "is" in bound:
        return f"{bound['is']!r}"
    if "one_of" in bound:
        return "one of " + ", ".join(repr(value) for value in bound["one_of"])
    parts = [f"at {key} {bound[key]}" for key in ("least", "most") if key in bound]
    return " and ".join(parts)


def plain_fact(value: Any) -> Any:
    """The value of a fact, from how Cedar spells it: decimals as exact numbers."""
    match value:
        case {"__extn": {"fn": "decimal", "arg": str(text)}}:
            return Decimal(text)
        case {"__extn": {"arg": str(text)}}:
            return text
        case _:
            return value


def fact(facts: Mapping[str, Any], name: str) -> Any:
    """A fact by its dotted name; None where there is none."""
    found: Any = facts
    for part in name.split("."):
        found = cast("dict[str, Any]", found).get(part) if isinstance(found, dict) else None
    return plain_fact(found)


def _exact(value: Any) -> Decimal:
    return value if isinstance(value, Decimal) else Decimal(repr(value))


def _same(one: Any, other: Any) -> bool:
    if _is_number(one) and _is_number(other):
        return _exact(one) == _exact(other)
    try:
        return canonical.encode(one) == canonical.encode(other)
    except (ValueError, AssayError):
        return False


def _is_number(value: Any) -> bool:
    if isinstance(value, bool):
        return False
    return isinstance(value, (int, Decimal)) or (isinstance(value, float) and math.isfinite(value))


def _wrong(what: str, remedy: str) -> Usage:
    return Usage(f"the plan of changes: {what}", remedy=remedy, code="change.plan")
