"""Plans of changes: what one has to say, and what is inside of a bound."""

from __future__ import annotations

import math
from datetime import timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.errors import Usage
from assay.evidence import plans

from .planned import plan


def test_a_plan_reads_back_the_same_and_so_does_its_digest() -> None:
    made = plans.read(plan())
    again = plans.read(msgspec.json.decode(msgspec.json.encode(made)))
    assert again == made
    assert plans.digest_of(again) == plans.digest_of(made)


def test_any_other_word_in_a_plan_is_another_plan() -> None:
    first = plans.digest_of(plans.read(plan()))
    assert plans.digest_of(plans.read(plan(why="other"))) != first
    assert plans.digest_of(plans.read(plan(most=4))) != first


WRONG: dict[str, dict[str, Any]] = {
    "of another format": {"format": "assay/change-plan/v2"},
    "without a reason": {"why": ""},
    "with a word that nobody reads": {"also": 1},
    "valid until no time": {"valid_until": "next year"},
    "without a rhythm": {"every": "often"},
    "for no retraining": {"most": 0},
    "that nothing may begin": {"triggers": []},
    "with a name that is none": {"model": "../score"},
    "in which nothing must hold": {"holds": {}},
    "that bounds not all of what is registered": {"registered": {"label": {"is": "y"}}},
    "that bounds what nothing is registered with": {
        "registered": {**plan()["registered"], "colour": {"is": "red"}}
    },
    "with an empty bound": {"parameters": {"leaves": {}}},
    "with a bound of two kinds": {"parameters": {"leaves": {"is": 1, "least": 0}}},
    "with a bound that is text": {"parameters": {"leaves": {"least": "1"}}},
    "with a bound that is true": {"parameters": {"leaves": {"most": True}}},
    "with a list that is none": {"parameters": {"leaves": {"one_of": "abc"}}},
    "with an unknown word in a bound": {"parameters": {"leaves": {"atleast": 1}}},
    "whose least is above its most": {"parameters": {"leaves": {"least": 2, "most": 1}}},
    "that bounds the rows as a parameter": {"parameters": {"dataset": {"is": "x"}}},
    "with too much luck": {"challenge": {"alpha": 0.2}},
    "with no luck at all": {"challenge": {"alpha": 0.0}},
    "with a loss that is none": {"challenge": {"loss": "auc"}},
    "with harm above one": {"challenge": {"most_harm": 1.5}},
    "with a negative improvement": {"challenge": {"improvement": -0.1}},
    "with a stretch that is none": {"data": {"most": "long"}},
    "with stretches the wrong way round": {"data": {"least": "2d", "most": "1d"}},
    "with data that is no digest": {"data": {"others": {"old": "old.csv"}}},
    "with code that is no digest": {"pipeline": {**plan()["pipeline"], "code": "HEAD"}},
    "with a number that JSON cannot carry": {"parameters": {"n": {"is": 2**60}}},
}


@pytest.mark.parametrize("what", WRONG)
def test_a_plan_is_refused(what: str) -> None:
    with pytest.raises(Usage) as caught:
        plans.read(plan(**WRONG[what]))
    assert caught.value.remedy


@pytest.mark.parametrize("value", [None, [], "plan", 3, {}, {"format": plans.FORMAT}])
def test_what_is_no_plan_is_refused(value: Any) -> None:
    with pytest.raises(Usage):
        plans.read(value)


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("90m", timedelta(minutes=90)),
        ("12h", timedelta(hours=12)),
        ("30d", timedelta(days=30)),
        ("2w", timedelta(days=14)),
        ("0s", timedelta(0)),
    ],
)
def test_a_length_of_time(text: str, length: timedelta) -> None:
    assert plans.duration(text) == length


@pytest.mark.parametrize("text", ["", "d", "1", "-1d", "1.5d", "1 d", "1y", "1D", "9999999d", "१d"])
def test_what_is_no_length_of_time(text: str) -> None:
    with pytest.raises(Usage):
        plans.duration(text)


@pytest.mark.parametrize(
    ("bound", "value", "inside"),
    [
        ({"is": 0.5}, 0.5, True),
        ({"is": 1}, 1.0, True),
        ({"is": 1}, True, False),
        ({"is": True}, 1, False),
        ({"is": "1"}, 1, False),
        ({"is": None}, None, True),
        ({"is": None}, 0, False),
        ({"is": [1, 2]}, [1, 2], True),
        ({"is": [1, 2]}, [2, 1], False),
        ({"is": []}, None, False),
        ({"one_of": ["a", 2]}, 2, True),
        ({"one_of": ["a", 2]}, "b", False),
        ({"one_of": []}, None, False),
        ({"least": 0.1}, 0.1, True),
        ({"least": 0.1, "most": 0.3}, 0.3, True),
        ({"least": 0.1, "most": 0.3}, 0.30000000000000004, False),
        ({"most": 1}, Decimal("1.0000"), True),
        ({"most": 1}, Decimal("1.0001"), False),
        ({"least": 0}, True, False),
        ({"least": 0}, "5", False),
        ({"least": 0}, None, False),
        ({"least": 0}, float("nan"), False),
        ({"least": 0}, math.inf, False),
        ({}, 0, False),
    ],
)
def test_what_is_inside_of_a_bound(bound: dict[str, Any], value: Any, inside: bool) -> None:
    assert plans.is_within(bound, value) is inside


@given(
    st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(allow_nan=False, allow_infinity=False),
    st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(allow_nan=False, allow_infinity=False),
    st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(allow_nan=False, allow_infinity=False),
)
def test_a_range_holds_what_lies_between_exactly(least: float, value: float, most: float) -> None:
    inside = Decimal(repr(least)) <= Decimal(repr(value)) <= Decimal(repr(most))
    assert plans.is_within({"least": least, "most": most}, value) is inside


@given(st.recursive(st.none() | st.booleans() | st.text() | st.floats(), st.lists))
def test_a_bound_never_breaks_on_what_it_is_given(value: Any) -> None:
    for bound in ({"is": 1}, {"one_of": ["a"]}, {"least": 0}, {"is": value}):
        assert plans.is_within(bound, value) in (True, False)


def test_facts_are_read_as_policy_spells_them() -> None:
    facts = {
        "quality": {"auc": {"__extn": {"fn": "decimal", "arg": "0.7000"}}, "rows": 3},
        "doctor": {"issued": {"__extn": {"fn": "datetime", "arg": "2026-01-01T00:00:00.000Z"}}},
    }
    assert plans.fact(facts, "quality.auc") == Decimal("0.7")
    assert plans.fact(facts, "quality.rows") == 3
    assert plans.fact(facts, "doctor.issued") == "2026-01-01T00:00:00.000Z"
    for name in ("quality.none", "none", "quality.rows.more", ""):
        assert plans.fact(facts, name) is None


def test_bounds_are_said_in_words() -> None:
    assert plans.in_words({"is": "tree"}) == "'tree'"
    assert plans.in_words({"one_of": [1, 2]}) == "one of 1, 2"
    assert plans.in_words({"least": 1, "most": 2}) == "at least 1 and at most 2"
