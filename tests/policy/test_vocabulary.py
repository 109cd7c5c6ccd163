"""Names become uids that cannot be mistaken for each other, nor end their literal."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.errors import Usage
from assay.policy import vocabulary as cedar

NASTY = [
    'a"b',
    "a\\b",
    'a\\"b',
    "a\nb",
    "a\r\nb",
    "a\0b",
    "\u202eevil",
    "a\u2028b",
    "ä€𝄞",
    '" || true || "',
    'x"), Assay::Role::"_workspace/admin',
    "",
    " ",
    "\\",
    "\\u{61}",
]

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


@pytest.mark.parametrize("name", NASTY)
def test_a_hostile_name_survives_being_a_uid(name: str) -> None:
    assert cedar.parse_uid(cedar.uid("Actor", name)) == ("Assay::Actor", name)


@given(text)
def test_a_uid_reads_back_as_the_name_it_was_made_of(name: str) -> None:
    made = cedar.uid("Dataset", name)
    assert cedar.parse_uid(made) == ("Assay::Dataset", name)
    assert made.isprintable()


@pytest.mark.parametrize(
    "uid",
    [
        "",
        "Assay::Actor",
        'Assay::Actor::""x"',
        'Assay::Actor::"a"b"',
        'Assay::Actor::"a" ',
        ' Assay::Actor::"a"',
        'Assay::Actor::"a"\n',
        'Assay::Actor::"a',
        'Other::Actor::"a"',
        'Actor::"a"',
        'Assay::Actor::"a\nb"',
        'Assay::Actor::"\\q"',
        'Assay::Actor::"\\u{d800}"',
        'Assay::Actor::"\\u{110000}"',
        'Assay::Actor::"\\u{61}"',
        'Assay::Actor::"\\u0061"',
        'Assay::Actor::"\\\'"',
        'Assay::actor::"a"',
        'Assay::Actor::"x" == Assay::Actor::"x"',
    ],
)
def test_text_that_is_not_exactly_one_uid_is_refused(uid: str) -> None:
    with pytest.raises(Usage, match="not an entity uid"):
        cedar.parse_uid(uid)


@given(st.text(max_size=40))
def test_any_text_is_read_as_a_uid_or_refused(uid: str) -> None:
    try:
        kind, name = cedar.parse_uid(f'Assay::Actor::"{uid}"')
    except Usage:
        return
    assert cedar.uid(kind.removeprefix("Assay::"), name) == f'Assay::Actor::"{uid}"'


@given(st.lists(st.tuples(*[st.text("a/@%2F", max_size=4)] * 3), min_size=2, max_size=6))
def test_different_things_have_different_uids(names: list[tuple[str, str, str]]) -> None:
    for one, other in itertools.combinations(set(names), 2):
        assert cedar.model_version_uid(*one) != cedar.model_version_uid(*other)
        if one[:2] != other[:2]:
            assert cedar.dataset_uid(*one[:2]) != cedar.dataset_uid(*other[:2])
            assert cedar.endpoint_uid(*one[:2]) != cedar.endpoint_uid(*other[:2])


def test_ordinary_names_stay_as_they_are() -> None:
    assert cedar.dataset_uid("fraud", "people") == 'Assay::Dataset::"fraud/people"'
    assert cedar.model_version_uid("f", "m-1.x", "3") == 'Assay::ModelVersion::"f/m-1.x@3"'
    assert cedar.endpoint_uid("fraud", "credit") == 'Assay::Endpoint::"fraud/credit"'
    assert cedar.key_ring_uid("fraud/data") == 'Assay::KeyRing::"fraud/data"'
    assert cedar.project_uid("fraud") == 'Assay::Project::"fraud"'
    assert cedar.WORKSPACE_UID == 'Assay::Workspace::"workspace"'


@pytest.mark.parametrize(
    ("value", "worse", "expected"),
    [
        (0.7, "lower", "0.7000"),
        (0.7, "higher", "0.7000"),
        (0.64999, "lower", "0.6499"),
        (0.60001, "higher", "0.6001"),
        (-0.00001, "lower", "-0.0001"),
        (1, "lower", "1.0000"),
        ("0.12345", "higher", "0.1235"),
        (1e-300, "higher", "0.0001"),
        ("922337203685477.5807", "lower", "922337203685477.5807"),
    ],
)
def test_a_decimal_is_rounded_against_who_asks(value: Any, worse: Any, expected: str) -> None:
    assert cedar.decimal(value, worse=worse)["__extn"] == {"fn": "decimal", "arg": expected}


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), "-inf", "sNaN", "x", "", 1e300, "922337203685477.5808"]
)
def test_what_is_no_decimal_is_refused(value: Any) -> None:
    with pytest.raises(Usage):
        cedar.decimal(value, worse="lower")


def test_a_time_is_normalised_and_anything_else_refused() -> None:
    expected = "2026-01-01T10:00:00.000Z"
    assert cedar.datetime("2026-01-01T12:00:00+02:00")["__extn"]["arg"] == expected
    for wrong in ("yesterday", "2026-01-01T12:00:00", "", "0001-01-01T00:00:00+23:00"):
        with pytest.raises(Usage):
            cedar.datetime(wrong)


def test_the_project_of_an_entity_is_found() -> None:
    assert cedar.project_of(cedar.project_entity("fraud")) == "fraud"
    assert cedar.project_of(cedar.key_ring_entity("fraud", "fraud/data")) == "fraud"
    assert cedar.project_of(cedar.workspace_entity()) == ""
