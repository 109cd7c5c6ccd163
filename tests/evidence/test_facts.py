"""Facts: the worst of the evidence that counts, and nothing where it cannot be read."""

from __future__ import annotations

import math
from datetime import datetime, timezone
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from assay.canonical import digest
from assay.clock import FixedClock
from assay.evidence.facts import (
    ISSUED,
    Evidence,
    FactDeclaration,
    FactSet,
    TrustedProducer,
    collect,
    value_of,
)
from assay.evidence.statement import Statement, predicate_type

CLOCK = FixedClock(datetime(2026, 3, 4, 5, 6, 7, 891000, tzinfo=timezone.utc))
QUALITY = predicate_type("quality")
PRODUCER = "assay.assess.quality/1"
TRUSTED = TrustedProducer(PRODUCER, [QUALITY], "workspace")
KINDS = {"ours": {"workspace"}, "alice": {"person"}, "both": {"workspace", "person"}}


def declare(name: str = "quality.value", of: Any = "decimal", **changed: Any) -> FactDeclaration:
    worse = {"bool": "false", "string": ""}.get(of, "lower")
    fields: dict[str, Any] = {
        "name": name,
        "type": of,
        "predicate_type": QUALITY,
        "path": "value",
        "worse": worse,
        "order": [],
        "description": "A value.",
        "remedy": "assay model assess {model}@{version}",
        "seconds": 10,
        **changed,
    }
    return FactDeclaration(**fields)


def evidence(
    value: Any,
    index: int = 0,
    *,
    keys: tuple[str, ...] = ("ours",),
    producer: str = PRODUCER,
    kind: str = QUALITY,
    predicate: dict[str, Any] | None = None,
) -> Evidence:
    statement = Statement.new(
        subject={"m": digest(b"m")},
        predicate_type=kind,
        predicate={"value": value} if predicate is None else predicate,
        project="fraud",
        producer=producer,
        clock=CLOCK,
    )
    return Evidence(index, digest(f"{index}".encode()), statement, list(keys), producer)


def gather(found: list[Evidence], *declared: FactDeclaration, **changed: Any) -> FactSet:
    given_arguments: dict[str, Any] = {"key_kinds": KINDS, "superseded": (), **changed}
    producers = given_arguments.pop("producers", [TRUSTED])
    return collect(found, declared or [declare()], producers, **given_arguments)


def only(found: list[Evidence], declared: FactDeclaration, **changed: Any) -> Any:
    """The one fact's plain Cedar value; None when there is none."""
    values = gather(found, declared, **changed).values
    for part in declared.name.split("."):
        values = values.get(part, {})
    if isinstance(values, dict) and "__extn" in values:
        return values["__extn"]["arg"]
    return None if values == {} else values


# -- what counts ----------------------------------------------------------------------------------


def test_a_fact_is_the_value_with_the_envelopes_it_comes_from() -> None:
    found = gather([evidence(0.75, 3)])
    assert found.values == {"quality": {"value": {"__extn": {"fn": "decimal", "arg": "0.7500"}}}}
    assert found.sources == {"quality.value": [digest(b"3")]}


@pytest.mark.parametrize(
    "other",
    [
        {"producer": "assay.assess.quality/2"},
        {"producer": ""},
        {"kind": predicate_type("privacy-membership")},
        {"kind": "https://assay.dev/evidence/quality/v2"},
        {"keys": ("alice",)},
        {"keys": ("unknown",)},
        {"keys": ()},
    ],
)
def test_what_is_not_trusted_counts_neither_for_nor_against(other: dict[str, Any]) -> None:
    assert gather([evidence(0.9, **other)]).values == {}
    assert only([evidence(0.9, 1), evidence(0.1, 2, **other)], declare()) == "0.9000"
    assert only([evidence(0.9, 1), evidence("junk", 2, **other)], declare()) == "0.9000"


def test_nobody_is_trusted_by_default() -> None:
    assert gather([evidence(0.9)], producers=[]).values == {}


def test_one_signature_of_the_right_kind_is_enough() -> None:
    for keys in (("alice", "ours"), ("both",), ("unknown", "both")):
        assert only([evidence(0.9, keys=keys)], declare()) == "0.9000"


def test_a_producer_may_be_trusted_for_both_kinds_of_key_in_any_order() -> None:
    person = msgspec.structs.replace(TRUSTED, key_kind="person")
    for producers in ([TRUSTED, person], [person, TRUSTED]):
        for keys in (("ours",), ("alice",)):
            found = [evidence(0.9, keys=keys)]
            assert only(found, declare(), producers=producers) == "0.9000"
    assert only([evidence(0.9)], declare(), producers=[person]) is None


def test_a_superseded_statement_no_longer_counts() -> None:
    found = [evidence(0.9, 1), evidence(0.1, 2), evidence("junk", 3)]
    assert only(found, declare()) is None
    assert only(found, declare(), superseded=[digest(b"3")]) == "0.1000"
    assert only(found, declare(), superseded={digest(b"2"), digest(b"3")}) == "0.9000"
    assert only(found, declare(), superseded=[digest(b"%d" % n) for n in (1, 2, 3)]) is None


# -- the worst wins -------------------------------------------------------------------------------

ORDERED = ["critical", "medium", "none"]
VALUES: dict[str, tuple[FactDeclaration, st.SearchStrategy[Any]]] = {
    "long lower": (declare(of="long"), st.integers(-(2**53) + 1, 2**53 - 1)),
    "long higher": (declare(of="long", worse="higher"), st.integers(-5, 5)),
    "decimal lower": (declare(), st.floats(-1e9, 1e9)),
    "decimal higher": (declare(worse="higher"), st.floats(-1, 1)),
    "bool false": (declare(of="bool"), st.booleans()),
    "bool true": (declare(of="bool", worse="true"), st.booleans()),
    "string": (declare(of="string", order=ORDERED), st.sampled_from(ORDERED)),
    "datetime": (
        declare(of="datetime"),
        st.datetimes(datetime(1970, 1, 2), datetime(2100, 1, 1)).map(  # noqa: DTZ001
            lambda at: at.isoformat(timespec="microseconds") + "Z"
        ),
    ),
}


def worst(name: str, values: list[Any]) -> Any:
    if name == "string":
        return min(values, key=ORDERED.index)
    best_is_last = name.endswith(("lower", "false", "datetime"))
    return min(values) if best_is_last else max(values)


@settings(max_examples=150, deadline=None)
@given(data=st.data(), name=st.sampled_from(sorted(VALUES)))
def test_the_worst_value_wins_in_any_order(data: st.DataObject, name: str) -> None:
    declared, values = VALUES[name]
    drawn = data.draw(st.lists(values, min_size=1, max_size=6))
    found = [evidence(value, index) for index, value in enumerate(drawn)]
    shuffled = data.draw(st.permutations(found))
    result = gather(shuffled, declared)
    assert result == gather(found, declared)
    alone = gather([evidence(worst(name, drawn))], declared)
    assert result.values == alone.values
    sources = result.sources[declared.name]
    assert sorted(sources) == sorted(item.envelope_digest for item in found)
    first = next(item for item in found if item.envelope_digest == sources[0])
    assert first.statement.predicate["value"] == worst(name, drawn)


def test_another_run_cannot_better_a_fact() -> None:
    found = [evidence(0.5, 0)]
    for index in range(1, 20):
        found.append(evidence(0.9, index))
        assert only(found, declare()) == "0.5000"


def test_strings_without_an_order_must_agree() -> None:
    declared = declare(of="string")
    assert only([evidence("a", 1), evidence("a", 2)], declared) == "a"
    assert only([evidence("a", 1), evidence("b", 2)], declared) is None
    latest = declare(of="string", combine="latest")
    assert only([evidence("b", 2), evidence("a", 1)], latest) == "b"


def test_the_latest_is_the_last_on_the_ledger() -> None:
    declared = declare(combine="latest")
    found = [evidence(0.2, 7), evidence(0.9, 9), evidence(0.1, 8)]
    assert only(found, declared) == "0.9000"
    assert gather(found, declared).sources == {declared.name: [digest(b"9")]}
    assert only([*found, evidence("junk", 10)], declared) is None
    assert only([*found, evidence("junk", 6)], declared) == "0.9000"
    assert only(found, declared, superseded=[digest(b"9")]) == "0.1000"


# -- what cannot be read --------------------------------------------------------------------------

UNREADABLE: dict[str, list[Any]] = {
    "long": [True, 1.5, "1", None, [], {}, math.nan, math.inf, -math.inf, 1e300, 2**63, 10**400],
    "decimal": [
        *(True, "0.5", None, [], {}, math.nan, math.inf, -math.inf),
        *(922337203685477.7, -922337203685477.7, 1e300, 10**400, -(10**400)),
    ],
    "bool": [0, 1, "true", None, [], {}],
    "string": [1, True, None, [], {}, ["none"], "Critical", "critical ", ""],
    "datetime": [
        *(0, True, None, "", "soon", "2026-01-01", "2026-01-01T00:00:00"),
        *("0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", ["2026-01-01T00:00:00Z"]),
    ],
}


@pytest.mark.parametrize(
    ("of", "value"), [(of, value) for of, values in UNREADABLE.items() for value in values]
)
def test_a_value_that_is_not_of_its_type_closes_the_fact(of: Any, value: Any) -> None:
    declared = declare(of=of, order=ORDERED if of == "string" else [])
    good = {"long": 1, "decimal": 0.5, "bool": True, "string": "none"}
    sound = good.get(of, "2026-01-01T00:00:00Z")
    assert only([evidence(sound, 1)], declared) is not None
    assert only([evidence(value, 2)], declared) is None
    # Trusted, and unreadable: it must not be outvoted by one that can be read.
    assert only([evidence(sound, 1), evidence(value, 2)], declared) is None
    assert only([evidence(value, 1), evidence(sound, 2)], declared) is None


@pytest.mark.parametrize(
    "predicate",
    [{}, {"a": 1}, {"a": {}}, {"a": {"b": None}}, {"a": [{"b": 1}]}, {"a.b": 1}, {"a": "b"}],
)
def test_a_path_that_leads_nowhere_is_no_fact(predicate: dict[str, Any]) -> None:
    declared = declare(path="a.b")
    assert only([evidence(0, predicate=predicate)], declared) is None
    assert only([evidence(0, predicate={"a": {"b": 1}})], declared) == "1.0000"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=5,
)


@settings(max_examples=300, deadline=None)
@given(
    value=JSON,
    of=st.sampled_from(sorted(UNREADABLE)),
    second=st.booleans(),
    combine=st.sampled_from(["worst", "latest"]),
)
def test_no_value_raises(value: Any, of: Any, second: bool, combine: str) -> None:
    for worse in ("lower", "higher", "true", "false", ""):
        declared = declare(of=of, worse=worse, combine=combine)
        found = [evidence(value, 1), *([evidence(0, 2)] if second else [])]
        result = gather(found, declared)
        assert set(result.sources) <= {declared.name}
        assert bool(result.values) == bool(result.sources)


# -- Cedar's values -------------------------------------------------------------------------------


@settings(max_examples=300, deadline=None)
@given(value=st.floats(-1e9, 1e9) | st.integers(-(10**9), 10**9))
def test_decimals_are_rounded_against_the_asker(value: float) -> None:
    low = Decimal(only([evidence(value)], declare()))
    high = Decimal(only([evidence(value)], declare(worse="higher")))
    exact = Decimal(repr(value))
    assert low <= exact <= high
    assert high - low <= Decimal("0.0001")
    if exact == round(exact, 4):
        assert low == high


@pytest.mark.parametrize(
    ("value", "lower", "higher"),
    [
        (0.7, "0.7000", "0.7000"),
        (0.69999, "0.6999", "0.7000"),
        (0.70001, "0.7000", "0.7001"),
        (-0.00001, "-0.0001", "0.0000"),
        (0.00001, "0.0000", "0.0001"),
        (-0.0, "0.0000", "0.0000"),
        (5e-324, "0.0000", "0.0001"),
        (1, "1.0000", "1.0000"),
        (2**49, "562949953421312.0000", "562949953421312.0000"),
        (922337203685477, "922337203685477.0000", "922337203685477.0000"),
        (-922337203685477, "-922337203685477.0000", "-922337203685477.0000"),
    ],
)
def test_decimals_have_four_digits(value: float, lower: str, higher: str) -> None:
    assert only([evidence(value)], declare()) == lower
    assert only([evidence(value)], declare(worse="higher")) == higher


def test_other_types_stand_as_cedar_has_them() -> None:
    assert only([evidence(3.0)], declare(of="long")) == 3
    assert only([evidence(2**53 - 1)], declare(of="long")) == 2**53 - 1
    assert only([evidence(False)], declare(of="bool")) is False
    assert only([evidence("é")], declare(of="string")) == "é"
    text = "2026-01-01T01:00:00.1239+01:00"
    assert only([evidence(text)], declare(of="datetime")) == "2026-01-01T00:00:00.123Z"
    later = declare(of="datetime", worse="higher")
    assert only([evidence(text)], later) == "2026-01-01T00:00:00.124Z"


def test_the_time_of_a_statement_can_be_a_fact() -> None:
    declared = declare(of="datetime", path=ISSUED)
    assert value_of(declared, evidence(0).statement) == "2026-03-04T05:06:07.891Z"
    assert only([evidence(0)], declared) == "2026-03-04T05:06:07.891Z"
    # A predicate cannot claim to be newer than its statement.
    claimed = evidence(0, predicate={ISSUED: "2099-01-01T00:00:00.000Z"})
    assert only([claimed], declared) == "2026-03-04T05:06:07.891Z"


# -- declarations ---------------------------------------------------------------------------------


def test_facts_are_nested_by_the_dots_in_their_names() -> None:
    declared = [declare(name) for name in ("a.b.c", "a.b.d", "a.e", "f")]
    value = {"__extn": {"fn": "decimal", "arg": "1.0000"}}
    found = gather([evidence(1)], *declared)
    assert found.values == {"a": {"b": {"c": value, "d": value}, "e": value}, "f": value}
    assert list(found.sources) == ["a.b.c", "a.b.d", "a.e", "f"]


@settings(max_examples=100, deadline=None)
@given(
    names=st.lists(
        st.text("ab.", min_size=1, max_size=5) | st.just("a.__extn.fn"), min_size=1, max_size=5
    )
)
def test_names_that_collide_make_no_fact_and_no_crash(names: list[str]) -> None:
    found = gather([evidence(1)], *(declare(name) for name in names))
    sound = {name for name in names if all(name.split(".")) and "__" not in name}
    records = {other[:at] for other in names for at, sign in enumerate(other) if sign == "."}
    assert set(found.sources) == sound - records


@settings(max_examples=50, deadline=None)
@given(order=st.permutations(["a", "a.b", "a.b.c", "d"]))
def test_a_name_that_is_also_a_record_is_dropped_in_any_order(order: list[str]) -> None:
    found = gather([evidence(1)], *(declare(name) for name in order))
    value = {"__extn": {"fn": "decimal", "arg": "1.0000"}}
    assert found.values == {"a": {"b": {"c": value}}, "d": value}


def test_a_name_declared_twice_otherwise_is_dropped() -> None:
    twice = [declare(), declare(path="other")]
    for declared in (twice, twice[::-1]):
        assert gather([evidence(1)], *declared).values == {}
    assert gather([evidence(1)], declare(), declare()).sources == {"quality.value": [digest(b"0")]}


@pytest.mark.parametrize("of", sorted(UNREADABLE))
def test_a_declaration_that_does_not_say_what_is_worse_makes_no_fact(of: Any) -> None:
    good = {"long": 1, "decimal": 0.5, "bool": True, "string": "x"}
    found = [evidence(good.get(of, "2026-01-01T00:00:00Z"))]
    assert only(found, declare(of=of)) is not None
    assert only(found, declare(of=of, worse="lowre")) is None


@settings(max_examples=50, deadline=None)
@given(drop=st.integers(0, 4), values=st.lists(st.floats(0, 1), min_size=1, max_size=5))
def test_less_evidence_is_never_worse_and_none_is_no_fact(drop: int, values: list[float]) -> None:
    assume(drop < len(values))
    found = [evidence(value, index) for index, value in enumerate(values)]
    fewer = found[:drop] + found[drop + 1 :]
    whole = Decimal(only(found, declare()))
    rest = only(fewer, declare())
    assert rest is None if not fewer else Decimal(rest) >= whole
