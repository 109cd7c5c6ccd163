"""Statements: in-toto v1 in one spelling, read strictly."""

from __future__ import annotations

import contextlib
import json
from datetime import datetime, timezone
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay import canonical, ids
from assay.canonical import digest
from assay.clock import FixedClock
from assay.errors import Corrupt, Usage
from assay.evidence.statement import Header, Statement, predicate_type

CLOCK = FixedClock(datetime(2026, 3, 4, 5, 6, 7, 891000, tzinfo=timezone.utc))
MODEL = digest(b"model")


def make(predicate: dict[str, Any] | None = None, **changed: Any) -> Statement:
    fields: dict[str, Any] = {
        "subject": {"model": MODEL},
        "predicate_type": predicate_type("quality"),
        "predicate": {"auc": 0.5} if predicate is None else predicate,
        "project": "fraud",
        "producer": "test/1",
        "clock": CLOCK,
        **changed,
    }
    return Statement.new(**fields)


def plain(**changed: Any) -> dict[str, Any]:
    """A good statement as plain JSON, with changes."""
    document: dict[str, Any] = json.loads(make().encode())
    return {**document, **changed}


def test_it_has_the_shape_of_in_toto_v1() -> None:
    document = json.loads(make().encode())
    assert document["_type"] == "https://in-toto.io/Statement/v1"
    assert document["subject"] == [{"name": "model", "digest": {"sha256": MODEL[7:]}}]
    assert document["predicateType"] == "https://assay.dev/evidence/quality/v1"
    assert document["predicate"] == {"auc": 0.5}
    header = document.pop("assay")
    assert set(document) == {"_type", "subject", "predicateType", "predicate"}
    assert ids.is_id(header["id"])
    assert header["issued"] == "2026-03-04T05:06:07.891Z"
    assert (header["project"], header["producer"]) == ("fraud", "test/1")


def test_it_reads_back_equal_and_in_the_order_of_its_subjects() -> None:
    made = make(subject={"b": digest(b"b"), "a": digest(b"a")})
    read = Statement.decode(made.encode())
    assert read == made
    assert read.digests == [digest(b"b"), digest(b"a")]


def test_foreign_digests_stand_beside_ours() -> None:
    subject = [
        {"name": "commit", "digest": {"gitCommit": "0" * 40}},
        {"name": "m", "digest": {"sha256": MODEL[7:], "sha512": "1"}},
    ]
    read = Statement.decode(canonical.encode(plain(subject=subject)))
    assert read.digests == [MODEL]


def test_ids_are_fresh_and_sort_by_time() -> None:
    made = [make().header.id for _ in range(50)]
    assert sorted(made) == made
    assert len(set(made)) == 50


def test_a_statement_about_nothing_is_not_made() -> None:
    with pytest.raises(Usage, match="about something"):
        make(subject={})
    with pytest.raises(Usage, match="not a digest"):
        make(subject={"m": "sha256:12"})


DEEP: Any = "end"
for _ in range(64):
    DEEP = [DEEP]


@pytest.mark.parametrize(
    "value",
    [
        float("nan"),
        float("inf"),
        2**53,
        10**400,
        "\ud800",
        {1: 2},
        {"\ud800": 1},
        object(),
        DEEP,
    ],
)
def test_what_json_cannot_carry_is_not_signed(value: Any) -> None:
    with pytest.raises(ValueError, match=r".+"):
        make({"x": value}).encode()


def test_nesting_without_end_is_not_signed() -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(ValueError, match="nested"):
        make({"x": loop}).encode()


def test_more_subjects_than_can_be_read_are_not_signed() -> None:
    subject = {str(number): MODEL for number in range(10_001)}
    with pytest.raises(ValueError, match="too much"):
        make(subject=subject).encode()


@pytest.mark.parametrize("depth", [0, 1, 62, 63])
def test_nesting_up_to_the_bound_is_read(depth: int) -> None:
    value: Any = 1
    for level in range(depth):
        value = [value] if level % 2 else {"a": value}
    made = make({"x": value, "wide": [[]] * 100})
    assert Statement.decode(made.encode()) == made


@pytest.mark.parametrize("depth", [64, 65, 300, 900, 5_000])
def test_nesting_beyond_the_bound_is_refused_however_deep_the_stack(depth: int) -> None:
    data = make({"x": "@"}).encode().replace(b'"@"', b"[" * depth + b"]" * depth)

    def at(calls: int) -> None:
        if calls:
            at(calls - 1)
            return
        with pytest.raises(Corrupt):
            Statement.decode(data)

    at(0)
    at(300)


@pytest.mark.parametrize(
    "changed",
    [
        {"_type": "https://in-toto.io/Statement/v0.1"},
        {"extra": 1},
        {"subject": []},
        {"subject": {}},
        {"subject": [{"name": "m", "digest": {}}]},
        {"subject": [{"name": "m"}]},
        {"subject": [{"name": "m", "digest": {"sha256": MODEL}}]},
        {"subject": [{"name": "m", "digest": {"sha256": MODEL[7:].upper()}}]},
        {"subject": [{"name": "m", "digest": {"sha256": MODEL[7:] + "\n"}}]},
        {"subject": [{"name": "m", "digest": {"sha256": 1}}]},
        {"subject": [{"name": "m", "digest": {"sha256": MODEL[7:]}, "uri": "x"}]},
        {"predicate": None},
        {"predicate": []},
        {"predicateType": 1},
        {"assay": {}},
    ],
)
def test_another_shape_is_refused(changed: dict[str, Any]) -> None:
    with pytest.raises(Corrupt):
        Statement.decode(canonical.encode(plain(**changed)))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("id", "1"),
        ("id", "019CB8C0-0000-7000-8000-000000000000"),
        ("id", "{019cb8c0-0000-7000-8000-000000000000}"),
        ("issued", "yesterday"),
        ("issued", "2026-01-01T00:00:00"),
        ("issued", "0001-01-01T00:00:00+23:59"),
        ("issued", "9999-12-31T23:59:59-23:59"),
        ("project", 1),
        ("more", "x"),
    ],
)
def test_another_header_is_refused(field: str, value: Any) -> None:
    document = plain()
    document["assay"][field] = value
    with pytest.raises(Corrupt):
        Statement.decode(canonical.encode(document))


@pytest.mark.parametrize("field", ["_type", "subject", "predicateType", "predicate", "assay"])
def test_a_missing_field_is_refused(field: str) -> None:
    document = plain()
    del document[field]
    with pytest.raises(Corrupt):
        Statement.decode(canonical.encode(document))


def test_only_the_canonical_spelling_is_read() -> None:
    data = make().encode()
    document = json.loads(data)
    for other in (
        data + b" ",
        b" " + data,
        json.dumps(document).encode(),
        json.dumps(document, separators=(",", ":")).encode().replace(b"fraud", b"\\u0066raud"),
        data.replace(b'{"_type"', b'{"_type":"x","_type"'),
        data.replace(b'"predicate":{', b'"predicate":{"auc":1,'),
        data.replace(b"0.5", b"5e-1"),
        data.replace(b"0.5", b"0.50"),
        data.replace(b"0.5", b"-0"),
        data.replace(b"0.5", b"NaN"),
        data.replace(b"0.5", b"1e999"),
        data.replace(b"fraud", b"fra\xffd"),
        data.replace(b"fraud", b"fra\\ud800d"),
        b"\xef\xbb\xbf" + data,
        b"",
        b"null",
        b"[]",
    ):
        assert other != data
        with pytest.raises(Corrupt):
            Statement.decode(other)


@settings(max_examples=200, deadline=None)
@given(data=st.binary(max_size=60), at=st.integers(0, 2**16), cut=st.integers(0, 40))
def test_junk_is_refused_and_nothing_else_is_raised(data: bytes, at: int, cut: int) -> None:
    good = make().encode()
    at %= len(good)
    spoilt = good[:at] + data + good[at + cut :]
    with contextlib.suppress(Corrupt):
        assert Statement.decode(spoilt).encode() == spoilt


def test_a_statement_does_not_change_with_what_it_was_made_from() -> None:
    given_predicate: dict[str, Any] = {"auc": 1}
    made = make(given_predicate)
    given_predicate["auc"] = 0
    assert made.predicate == {"auc": 1}
    with pytest.raises(AttributeError):
        made.header = Header("", "", "", "")  # pyright: ignore[reportAttributeAccessIssue]
    assert msgspec.structs.replace(made) == made
