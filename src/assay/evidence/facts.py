"""Facts: typed values read from verified statements, ready for policy.

A fact counts only from a producer that the policy bundle trusts *for that predicate type*, signed
by a key of the kind the bundle asks for.  Among the statements that count the worst value wins, so
that nobody reruns an assessor until lucky, unless an approver superseded a statement by name.  What
cannot be read, or is not of its declared type, is no fact: and without the fact the gate is closed.

Where the latest counts, a later statement can be better than the ones before.  Then it has to be
about what is asked about by *name* too: the same bytes under another name are another version, with
another author and another origin.  And what was found out about a list (of libraries, of licences)
counts as long as the newest list is that one.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Any, Literal, TypeAlias

import msgspec

from assay.clock import parse_timestamp, timestamp
from assay.errors import AssayError
from assay.evidence.statement import Statement, predicate_type
from assay.types import Digest

ISSUED = "@issued"
"""The path of a fact that is the time at which the statement was issued."""

FactType: TypeAlias = Literal["long", "decimal", "bool", "string", "datetime"]
Combine: TypeAlias = Literal["worst", "latest"]

_DIGITS = Decimal("0.0001")
# Cedar's decimal is an integer of ten-thousandths in 64 bits, and its long one of 64 bits.
_MOST_DECIMAL = Decimal("922337203685477.5807")
_MOST_LONG = (1 << 63) - 1
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_LIST = predicate_type("bom")
LISTED = "inventory"
"""The field in which a bill of materials, and what was found out about it, name what it lists."""
_WORSE: dict[FactType, tuple[str, ...]] = {
    "long": ("lower", "higher"),
    "decimal": ("lower", "higher"),
    "bool": ("false", "true"),
    "string": ("",),
    "datetime": ("lower", "higher"),
}


class FactDeclaration(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A fact that gates may ask for, and where in which predicate it stands.

    name
        Dotted: ``quality.auc_lower`` is ``context.facts.quality.auc_lower`` in Cedar.
    path
        Dotted, into the predicate; or ``@issued``.
    worse
        Which of two values is the worse: ``lower`` or ``higher``, for truth values ``false`` or
        ``true``, for strings empty, because `order` lists them from worst to best.  Of a string
        without an order no value is the worse: statements that disagree make no fact.
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
    named: Mapping[Digest, Collection[str]] | None = None,
) -> FactSet:
    """The facts that follow from `evidence`; `key_kinds` maps key ids to ``workspace``/``person``.

    `named` are the names under which bytes are asked about: of facts of which the latest counts,
    what was said of the same bytes under other names does not.  Deterministic in the set of
    evidence, whatever its order.
    """
    trusted: dict[tuple[str, str], set[str]] = {}
    for producer in producers:
        for kind in producer.predicate_types:
            trusted.setdefault((producer.producer, kind), set()).add(producer.key_kind)
    by_type: dict[str, list[Evidence]] = {}
    for item in evidence:
        kinds = trusted.get((item.producer, item.statement.predicateType), set[str]())
        counts = any(not kinds.isdisjoint(key_kinds.get(keyid, ())) for keyid in item.keyids)
        if counts and item.envelope_digest not in superseded:
            by_type.setdefault(item.statement.predicateType, []).append(item)
    values: dict[str, Any] = {}
    sources: dict[str, list[Digest]] = {}
    for declared in _usable(declarations):
        found = sorted(by_type.get(declared.predicate_type, []), key=lambda item: item.index)
        if declared.combine == "latest":
            found = _current(found, by_type.get(_LIST, []), named or {})[-1:]
        read = [(value_of(declared, item.statement), item) for item in found]
        # A trusted statement whose value cannot be read must not be outvoted by others.
        if not read or any(value is None for value, _ in read):
            continue
        if declared.type == "string" and not declared.order and len({v for v, _ in read}) > 1:
            continue
        ranked = sorted(read, key=lambda pair: (_rank(declared, pair[0]), pair[1].index))
        _place(values, declared.name, _cedar(declared, ranked[0][0]))
        sources[declared.name] = [item.envelope_digest for _, item in ranked]
    return FactSet(values, sources)


def _current(
    found: list[Evidence], lists: Iterable[Evidence], named: Mapping[Digest, Collection[str]]
) -> list[Evidence]:
    """Those that are about what is asked about by its name, and about the newest list of it."""
    if not named:
        return found
    ours = [item for item in lists if _is_named(item, named)]
    newest = max(ours, key=lambda item: item.index).statement.predicate if ours else {}
    return [
        item
        for item in found
        if _is_named(item, named)
        and item.statement.predicate.get(LISTED) in (None, newest.get(LISTED))
    ]


def _is_named(item: Evidence, named: Mapping[Digest, Collection[str]]) -> bool:
    """Whether a statement calls these bytes by one of their names; also if it is not about them."""
    called = [
        subject.name in named[digest]
        for subject in item.statement.subject
        if (digest := Digest(f"sha256:{subject.digest.get('sha256', '')}")) in named
    ]
    return not called or any(called)


def _usable(declarations: Sequence[FactDeclaration]) -> list[FactDeclaration]:
    """The declarations that can be told apart and ranked; of the others no fact is made.

    A policy bundle is refused for any of these when it is built; here nothing may depend on that.
    """
    distinct = {declared.name: declared for declared in declarations}
    records = {name[:at] for name in distinct for at, sign in enumerate(name) if sign == "."}
    return [
        declared
        for name, declared in distinct.items()
        if name not in records
        and all(part and not part.startswith("__") for part in name.split("."))
        and declared.worse in _WORSE[declared.type]
        and all(other == declared for other in declarations if other.name == name)
    ]


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
    match declared.type:
        case "bool":
            return isinstance(value, bool)
        case "long":
            return _is_number(value, _MOST_LONG) and value == int(value)
        case "decimal":
            return _is_number(value, _MOST_DECIMAL)
        case "string":
            return isinstance(value, str) and (not declared.order or value in declared.order)
        case "datetime":
            return isinstance(value, str) and _time(declared, value) is not None


def _is_number(value: Any, most: int | Decimal) -> bool:
    # Bounded before anything is computed: an int may have any length.
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return (isinstance(value, int) or math.isfinite(value)) and -most <= value <= most


def _time(declared: FactDeclaration, text: str) -> str | None:
    """The time in milliseconds, rounded against the asker; None when it cannot be told."""
    try:
        at = parse_timestamp(text)
        if declared.worse == "higher":
            at += timedelta(microseconds=-at.microsecond % 1000)
        return timestamp(at)
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
            since = parse_timestamp(value) - _EPOCH
            return since if declared.worse == "lower" else -since
        case _:
            return value if declared.worse == "lower" else -value


def _cedar(declared: FactDeclaration, value: Any) -> Any:
    """The value as Cedar's JSON has it; decimals keep four digits, rounded against the asker."""
    match declared.type:
        case "decimal":
            against = ROUND_FLOOR if declared.worse == "lower" else ROUND_CEILING
            # The shortest spelling of a float, not its binary expansion: 0.7 is 0.7000.
            rounded = Decimal(repr(value)).quantize(_DIGITS, rounding=against)
            if not rounded:
                rounded = abs(rounded)  # Zero has no sign.
            return {"__extn": {"fn": "decimal", "arg": f"{rounded:f}"}}
        case "datetime":
            return {"__extn": {"fn": "datetime", "arg": _time(declared, value)}}
        case "long":
            return int(value)
        case _:
            return value


def _place(values: dict[str, Any], name: str, value: Any) -> None:
    *folders, last = name.split(".")
    for folder in folders:
        values = values.setdefault(folder, {})
    values[last] = value
