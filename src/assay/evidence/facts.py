"""Facts: typed values read from verified statements, ready for policy.

A fact counts only from a producer that the policy bundle trusts *for that predicate type*, signed
by a key of the kind the bundle asks for.  Among the statements that count the worst value wins, so
that nobody reruns an assessor until lucky, unless an approver superseded a statement by name.  What
cannot be read, or is not of its declared type, is no fact: and without the fact the gate is closed.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Any, Literal, TypeAlias

import msgspec

from assay.clock import parse_timestamp, timestamp
from assay.errors import AssayError
from assay.evidence.statement import Statement
from assay.types import Digest

ISSUED = "@issued"
"""The path of a fact that is the time at which the statement was issued."""

FactType: TypeAlias = Literal["long", "decimal", "bool", "string", "datetime"]
Combine: TypeAlias = Literal["worst", "latest"]

_DIGITS = Decimal("0.0001")
# Cedar's decimal is an integer of ten-thousandths in 64 bits, and its long one of 64 bits.
_MOST_DECIMAL = Decimal("922337203685477.5807")
_MOST_LONG = (1 << 63) - 1


class FactDeclaration(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A fact that gates may ask for, and where in which predicate it stands.

    name
        Dotted: ``quality.auc_lower`` is ``context.facts.quality.auc_lower`` in Cedar.
    path
        Dotted, into the predicate; or ``@issued``.
    worse
        Which of two values is the worse: ``lower`` or ``higher``, for truth values ``false`` or
        ``true``, for strings empty, because `order` lists them from worst to best.
    combine
        ``worst`` for facts about bytes, which never change; ``latest`` for facts about something
        that does, such as the state of the workspace.
    remedy, seconds
        The command that produces the evidence, and about how long it takes.
    """

    name: str
    type: FactType
    predicate_type: str
    path: str
    worse: str
    order: list[str]
    description: str
    remedy: str
    seconds: int
    combine: Combine = "worst"


class TrustedProducer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who may claim what: a producer's name, its predicate types and the kind of key it needs."""

    producer: str
    predicate_types: list[str]
    key_kind: Literal["workspace", "person"]


class Evidence(msgspec.Struct, frozen=True):
    """A statement on the ledger and the ids of the keys whose signatures count at its leaf."""

    index: int
    envelope_digest: Digest
    statement: Statement
    keyids: list[str]
    producer: str


class FactSet(msgspec.Struct, frozen=True):
    """The facts as Cedar values, nested by the dots in their names, and where each comes from."""

    values: dict[str, Any]
    sources: dict[str, list[Digest]]
    """Fact name → digests of the envelopes that count for it (the worst ones first)."""


def collect(
    evidence: Iterable[Evidence],
    declarations: Sequence[FactDeclaration],
    producers: Sequence[TrustedProducer],
    *,
    key_kinds: Mapping[str, Collection[str]],
    superseded: Collection[str],
) -> FactSet:
    """The facts that follow from `evidence`; `key_kinds` maps key ids to ``workspace``/``person``.

    Deterministic in the set of evidence, whatever its order.
    """
    trusted = {(p.producer, kind): p.key_kind for p in producers for kind in p.predicate_types}
    by_type: dict[str, list[Evidence]] = {}
    for item in evidence:
        kind = trusted.get((item.producer, item.statement.predicateType))
        counts = kind is not None and any(kind in key_kinds.get(k, ()) for k in item.keyids)
        if counts and item.envelope_digest not in superseded:
            by_type.setdefault(item.statement.predicateType, []).append(item)
    values: dict[str, Any] = {}
    sources: dict[str, list[Digest]] = {}
    for declared in declarations:
        found = sorted(by_type.get(declared.predicate_type, []), key=lambda item: item.index)
        if declared.combine == "latest":
            found = found[-1:]
        read = [(value_of(declared, item.statement), item) for item in found]
        # A trusted statement whose value cannot be read must not be outvoted by others.
        if not read or any(value is None for value, _ in read):
            continue
        ranked = sorted(read, key=lambda pair: (_rank(declared, pair[0]), pair[1].index))
        _place(values, declared.name, _cedar(declared, ranked[0][0]))
        sources[declared.name] = [item.envelope_digest for _, item in ranked]
    return FactSet(values, sources)


def value_of(declared: FactDeclaration, statement: Statement) -> Any:
    """The plain value of a fact in a statement; None when it is absent or not of its type."""
    if declared.path == ISSUED:
        value: Any = statement.header.issued
    else:
        value = statement.predicate
        for part in declared.path.split("."):
            value = value.get(part) if isinstance(value, dict) else None
    return value if _is_of(declared, value) else None


def _is_of(declared: FactDeclaration, value: Any) -> bool:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    match declared.type:
        case "bool":
            return isinstance(value, bool)
        case "long":
            whole = number and math.isfinite(value) and value == int(value)
            return whole and abs(value) <= _MOST_LONG
        case "decimal":
            return number and math.isfinite(value) and abs(Decimal(value)) <= _MOST_DECIMAL
        case "string":
            return isinstance(value, str) and (not declared.order or value in declared.order)
        case "datetime":
            return isinstance(value, str) and _time(value) is not None


def _time(text: str) -> str | None:
    try:
        return timestamp(parse_timestamp(text))
    except (AssayError, OverflowError):
        return None


def _rank(declared: FactDeclaration, value: Any) -> Any:
    """Smaller is worse."""
    match declared.type:
        case "bool":
            return value if declared.worse == "false" else not value
        case "string":
            return declared.order.index(value) if declared.order else value
        case "datetime":
            at = parse_timestamp(value).timestamp()
            return at if declared.worse == "lower" else -at
        case _:
            return value if declared.worse == "lower" else -value


def _cedar(declared: FactDeclaration, value: Any) -> Any:
    """The value as Cedar's JSON has it; decimals keep four digits, rounded against the asker."""
    match declared.type:
        case "decimal":
            against = ROUND_FLOOR if declared.worse == "lower" else ROUND_CEILING
            # The shortest spelling of a float, not its binary expansion: 0.7 is 0.7000.
            rounded = Decimal(repr(value)).quantize(_DIGITS, rounding=against)
            return {"__extn": {"fn": "decimal", "arg": f"{rounded:f}"}}
        case "datetime":
            return {"__extn": {"fn": "datetime", "arg": _time(value)}}
        case "long":
            return int(value)
        case _:
            return value


def _place(values: dict[str, Any], name: str, value: Any) -> None:
    *folders, last = name.split(".")
    for folder in folders:
        values = values.setdefault(folder, {})
    values[last] = value
