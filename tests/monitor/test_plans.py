"""The plan of a baseline: few knobs, each checked, each explained."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay import canonical
from assay.errors import Corrupt, Usage
from assay.monitor import plans
from assay.monitor.plans import Plan


def test_the_default_is_a_window_a_day_and_one_false_alarm_a_year() -> None:
    plan = plans.make()
    assert (plan.every_seconds, plan.rows) == (86_400, None)
    assert plan.arl == pytest.approx(365.25)
    assert plan.promise == "at most one false alarm a year"
    assert plan.horizon_seconds == 30 * 86_400


@pytest.mark.parametrize(
    ("given", "seconds", "arl"),
    [
        ({"window": "12h"}, 43_200, 730.5),
        ({"window": "1w", "false_alarms": "0.5/year"}, 604_800, 2 * 365.25 / 7),
        ({"window": "30m", "false_alarms": "2/month"}, 1_800, 48 * 365.25 / 24),
    ],
)
def test_what_is_promised_follows_from_window_and_rate(
    given: dict[str, Any], seconds: int, arl: float
) -> None:
    plan = plans.make(**given)
    assert plan.every_seconds == seconds
    assert plan.arl == pytest.approx(arl)


@pytest.mark.parametrize("text", ["5000rows", "5000 rows", "5_000rows", "5,000 rows"])
def test_a_window_may_be_a_number_of_rows(text: str) -> None:
    plan = plans.make(window=text, windows_a_year=52, horizon="4windows")
    assert (plan.rows, plan.every_seconds) == (5_000, None)
    assert plan.arl == 52
    assert (plan.horizon_windows, plan.horizon_seconds) == (4, None)


@pytest.mark.parametrize(
    ("code", "given"),
    [
        ("window", {"window": ""}),
        ("window", {"window": "1y"}),
        ("window", {"window": "-1d"}),
        ("window", {"window": "0d"}),
        ("window", {"window": "367d"}),
        ("window", {"window": "49rows"}),
        ("window", {"window": "1d;drop"}),
        ("horizon", {"horizon": "forever"}),
        ("horizon", {"horizon": "0windows"}),
        ("horizon", {"horizon": "999999w"}),
        ("false_alarms", {"false_alarms": "1"}),
        ("false_alarms", {"false_alarms": "0/year"}),
        ("false_alarms", {"false_alarms": "1/decade"}),
        ("false_alarms", {"false_alarms": "40/year"}),
        ("false_alarms_a_year", {"false_alarms": "0.0001/year"}),
        ("smallest_shift", {"smallest_shift": -1.0}),
        ("smallest_shift", {"smallest_shift": 5.0}),
        ("smallest_shift", {"smallest_shift": float("nan")}),
        ("windows_a_year", {"windows_a_year": 10.0}),
        ("windows_a_year", {"window": "5000rows", "windows_a_year": 0.0}),
        ("windows_a_year", {"window": "5000rows", "windows_a_year": float("inf")}),
        ("label_cap", {"label_cap": 0}),
        ("slices", {"slices": ["a", "a"]}),
        ("slices", {"slices": [f"c{i}" for i in range(9)]}),
    ],
)
def test_a_knob_turned_too_far_is_refused_by_name(code: str, given: dict[str, Any]) -> None:
    with pytest.raises(Usage) as caught:
        plans.make(**given)
    assert caught.value.code == f"usage.plan.{code}"


@given(st.text(max_size=20))
def test_no_text_is_a_window_by_accident(text: str) -> None:
    try:
        plan = plans.make(window=text)
    except Usage:
        return
    assert re.fullmatch(r"\s*([1-9]\d*[mhdw]|[1-9][\d_,]* ?rows?)\s*", text)
    assert (plan.rows is None) != (plan.every_seconds is None)


@pytest.mark.parametrize("given", [{}, {"window": "5000rows", "horizon": "4windows"}])
def test_a_plan_reads_back_as_it_was_written(given: dict[str, Any]) -> None:
    plan = plans.make(**given, slices=["SEX"])
    assert Plan.from_dict(canonical.decode(canonical.encode(plan.to_dict()))) == plan


@pytest.mark.parametrize(
    "change",
    [
        {"window": {}},
        {"window": {"every": "1d", "rows": 5}},
        {"window": {"rows": 1}},
        {"window": {"every": 5}},
        {"window": {"often": "1d"}},
        {"false_alarms_a_year": 0},
        {"false_alarms_a_year": 1e9},
        {"horizon": {"days": 4}},
        {"slices": "SEX"},
        {"unknown": 1},
    ],
)
def test_a_recorded_plan_that_makes_no_sense_is_corrupt(change: dict[str, Any]) -> None:
    with pytest.raises(Corrupt):
        Plan.from_dict({**plans.make().to_dict(), **change})


def test_every_knob_is_explained_with_its_value() -> None:
    plan = plans.make(slices=["SEX", "RACE"], smallest_shift=0.2)
    words = plan.words()
    assert list(words) == [
        *("window", "false_alarms", "smallest_shift", "horizon", "slices", "label_cap")
    ]
    assert "one day" in words["window"]
    assert "365 windows" in words["false_alarms"]
    assert "50 % may move to 55.0 %" in words["smallest_shift"]
    assert "30 days" in words["horizon"]
    assert "SEX, RACE" in words["slices"]
    assert "any change" in plans.make(smallest_shift=0).words()["smallest_shift"]
    assert "taken to be 365 times a year" in plans.make(window="500rows").words()["window"]
    assert "can hide" in plans.make().words()["slices"]
    assert "4 windows" in plans.make(horizon="4windows").words()["horizon"]
