"""Invariants of the scan, against a scan that computes everything, and bad input."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from assay import errors
from assay.monitor import detectors
from assay.monitor.detectors.cuts import cuts_of
from assay.monitor.detectors.shift import LOOKBACKS, Shift

counts = st.lists(st.integers(0, 60), min_size=5, max_size=5)
some = counts.filter(any)
kinds = st.sampled_from(["ordered", "category"])


def evidence(readings: list[Any]) -> list[float]:
    return [reading.log_evidence for reading in readings]


def every_test(reference: list[int], windows: list[list[int]], kind: str) -> float:
    """The evidence after the last window: all cuts, all look-backs, with scipy's tails."""
    cuts = cuts_of({"f": np.array(reference)}, {"f": kind})
    lengths = [*(length for length in LOOKBACKS if length < len(windows)), len(windows)]
    best = 0.0
    for length in lengths:
        block = np.sum(windows[-length:], axis=0)
        whole = np.sum([reference, *windows], axis=0)
        for cut, weight in zip(cuts.cuts, cuts.weights, strict=True):
            x, n = block[list(cut.inside)].sum(), block[list(cut.among)].sum()
            marked, total = whole[list(cut.inside)].sum(), whole[list(cut.among)].sum()
            tail = stats.hypergeom.logsf(x - 1, total, marked, n)
            best = max(best, math.log(weight / len(lengths)) - float(tail))
    return best


@settings(max_examples=80, deadline=None)
@given(some, st.lists(counts, min_size=1, max_size=5), kinds)
def test_the_scan_finds_what_computing_every_tail_finds(
    reference: list[int], windows: list[list[int]], kind: str
) -> None:
    readings = detectors.run(
        {"f": reference}, [{"f": w} for w in windows], {"f": kind}, arl=10, restart=False
    )
    expected = every_test(reference, windows, kind) if any(windows[-1]) else 0.0
    # Below 3 standard deviations or so tails are not looked at: nothing there reaches a limit.
    if expected > 3:
        assert readings[-1].log_evidence == pytest.approx(expected, abs=0.011)
    else:
        assert readings[-1].log_evidence <= 3.0


@settings(max_examples=40, deadline=None)
@given(some, st.lists(counts, min_size=1, max_size=4), st.permutations(range(4)))
def test_the_names_of_categories_do_not_matter(
    reference: list[int], windows: list[list[int]], order: list[int]
) -> None:
    def turn(row: list[int]) -> dict[str, list[int]]:
        return {"f": [*(row[cell] for cell in order), row[4]]}

    plain = detectors.run({"f": reference}, [{"f": w} for w in windows], {"f": "category"}, arl=10)
    turned = detectors.run(turn(reference), map(turn, windows), {"f": "category"}, arl=10)
    assert evidence(turned) == pytest.approx(evidence(plain), abs=1e-9)


@settings(max_examples=40, deadline=None)
@given(some, st.lists(counts, min_size=1, max_size=4))
def test_the_direction_of_an_order_does_not_matter(
    reference: list[int], windows: list[list[int]]
) -> None:
    def turn(row: list[int]) -> dict[str, list[int]]:
        return {"f": [*row[3::-1], row[4]]}

    plain = detectors.run({"f": reference}, [{"f": w} for w in windows], {"f": "ordered"}, arl=10)
    turned = detectors.run(turn(reference), map(turn, windows), {"f": "ordered"}, arl=10)
    assert evidence(turned) == pytest.approx(evidence(plain), abs=1e-9)


@settings(max_examples=40, deadline=None)
@given(some, counts, counts, kinds)
def test_merging_two_windows_loses_nothing_but_the_choice_among_look_backs(
    reference: list[int], first: list[int], second: list[int], kind: str
) -> None:
    apart = detectors.run(
        {"f": reference}, [{"f": first}, {"f": second}], {"f": kind}, arl=10, restart=False
    )
    merged = Shift({"f": reference}, {"f": kind}, arl=10).update({"f": np.add(first, second)})
    if any(second) and merged.log_evidence > 3:
        assert apart[1].log_evidence >= merged.log_evidence - math.log(2) - 0.011


@settings(max_examples=30, deadline=None)
@given(some, st.lists(counts, min_size=2, max_size=6), st.booleans())
def test_readings_do_not_depend_on_what_comes_later(
    reference: list[int], windows: list[list[int]], restart: bool
) -> None:
    batches = [{"f": w} for w in windows]
    whole = detectors.run({"f": reference}, batches, {"f": "ordered"}, arl=2, restart=restart)
    part = detectors.run({"f": reference}, batches[:-1], {"f": "ordered"}, arl=2, restart=restart)
    assert whole[:-1] == part


def test_each_feature_has_its_own_evidence_and_the_largest_decides() -> None:
    reference = {"a": [500, 500, 0], "b": [500, 500, 0], "c": [500, 500, 0]}
    window = {"a": [300, 200, 0], "b": [250, 250, 0], "c": [400, 100, 0]}
    reading = Shift(reference, dict.fromkeys(reference, "category"), arl=100).update(window)
    assert [cause.feature for cause in reading.causes] == ["c", "a"]
    assert reading.by_feature["b"] == 0.0
    assert reading.log_evidence == reading.by_feature["c"] > reading.by_feature["a"] > 0
    assert reading.log_e == reading.log_evidence


def test_weights_move_evidence_between_features_and_only_their_ratio_counts() -> None:
    reference = {"a": [500, 500, 0], "b": [500, 500, 0]}
    window = {"a": [350, 150, 0], "b": [250, 250, 0]}
    kind = dict.fromkeys(reference, "category")

    def found(**weights: float) -> float:
        return Shift(reference, kind, arl=100, weights=weights).update(window).log_evidence

    assert found(a=3, b=3) == pytest.approx(found())
    assert found(a=9, b=1) == pytest.approx(found() + math.log(0.9 / 0.5))
    assert found(a=0, b=1) == 0.0
    with pytest.raises(errors.Usage, match="weight 0"):
        found(a=0, b=0)
    with pytest.raises(errors.Usage, match="at least 0"):
        found(a=-1)


def test_after_an_alarm_what_alarmed_is_set_aside_and_a_lasting_shift_alarms_again() -> None:
    usual, odd = {"f": [500, 500, 0]}, {"f": [800, 200, 0]}
    batches = [usual] * 5 + [odd] * 3 + [usual] * 5
    readings = detectors.run(usual, batches, {"f": "category"}, arl=365)
    assert [reading.crossed for reading in readings] == [False] * 5 + [True] * 3 + [False] * 5
    assert {reading.since for reading in readings[5:8]} == {6, 7, 8}
    kept = detectors.run(usual, batches, {"f": "category"}, arl=365, restart=False)
    assert [reading.crossed for reading in kept[:8]] == [False] * 5 + [True] * 3
    # Nothing forgotten: the odd windows are part of every later comparison.
    assert kept[8].crossed


def test_a_slow_creep_is_found_by_comparing_all_of_it_with_the_reference() -> None:
    reference = {"f": [50_000, 50_000, 0]}
    batches = [{"f": [500 + 2 * day, 500 - 2 * day, 0]} for day in range(40)]
    readings = detectors.run(reference, batches, {"f": "category"}, arl=365)
    assert any(reading.crossed for reading in readings)
    assert not any(reading.crossed for reading in readings[:8])


def test_missing_values_and_a_new_category_are_found_at_once() -> None:
    reference = {"n": [1000, 1000, 0], "c": [1500, 500, 0, 0]}
    kind = {"n": "ordered", "c": "category"}
    missing = Shift(reference, kind, arl=365, tolerance=0.2).update(
        {"n": [85, 90, 25], "c": [150, 50, 0, 0]}
    )
    assert missing.crossed
    assert (missing.causes[0].feature, missing.causes[0].cells) == ("n", (2,))
    new = Shift(reference, kind, arl=365, tolerance=0.2).update(
        {"n": [100, 100, 0], "c": [135, 45, 20, 0]}
    )
    assert new.crossed
    assert (new.causes[0].feature, new.causes[0].cells) == ("c", (2,))


def test_a_window_larger_than_the_reference_is_compared_all_the_same() -> None:
    same = Shift({"f": [30, 30, 0]}, {"f": "category"}, arl=10).update({"f": [10**7, 10**7, 0]})
    other = Shift({"f": [30, 30, 0]}, {"f": "category"}, arl=10).update({"f": [10**6, 10**7, 0]})
    assert not same.crossed
    assert other.crossed


def test_one_bin_one_row_and_a_constant_are_no_error() -> None:
    detector = Shift({"f": [7, 0], "g": [1, 0, 0]}, {"f": "ordered", "g": "category"}, arl=10)
    for window in ({"f": [9, 0], "g": [0, 1, 0]}, {"f": [1, 0], "g": [1, 0, 0]}):
        assert not detector.update(window).crossed


def test_a_feature_that_goes_away_is_named_and_the_others_are_watched_on() -> None:
    detector = Shift({"f": [50, 50, 0], "g": [50, 50, 0]}, dict.fromkeys("fg", "category"), arl=10)
    reading = detector.update({"g": [100, 0, 0]})
    assert (reading.state, reading.absent) == ("ok", ["f"])
    assert reading.crossed


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ([1, -1, 0], "at least 0"),
        ([1.5, 1, 0], "whole numbers"),
        ([math.nan, 1, 0], "finite"),
        (["a", "b", "c"], "row of numbers"),
        ([[1, 2, 3]], "row of numbers"),
        ([2**62, 1, 0], "more than"),
        ([1e300, 1, 0], "more than"),
    ],
)
def test_what_is_no_count_is_refused_before_anything_is_taken_in(wrong: Any, why: str) -> None:
    detector = Shift({"f": [5, 5, 0], "g": [5, 5, 0]}, dict.fromkeys("fg", "category"), arl=10)
    with pytest.raises(errors.Usage, match=why) as caught:
        detector.update({"f": [5, 5, 0], "g": wrong})
    assert "'g'" in caught.value.message
    assert detector.update({"f": [5, 5, 0], "g": [5, 5, 0]}).number == 1


@pytest.mark.parametrize(("name", "value"), [("arl", 0.5), ("arl", math.inf), ("tolerance", -1.0)])
def test_a_knob_out_of_range_is_refused(name: str, value: float) -> None:
    knobs: dict[str, Any] = {"arl": 10.0, name: value}
    with pytest.raises(errors.Usage):
        Shift({"f": [5, 5, 0]}, {"f": "category"}, **knobs)


def test_an_unknown_kind_and_a_rate_with_three_cells_are_refused() -> None:
    with pytest.raises(errors.Usage, match="ordered, category and rate"):
        Shift({"f": [5, 5, 0]}, {"f": "colour"}, arl=10)
    with pytest.raises(errors.Usage, match="ordered, category and rate"):
        Shift({"f": [5, 5, 0]}, {}, arl=10)
    with pytest.raises(errors.Usage, match="a rate has two"):
        Shift({"f": [5, 5, 0]}, {"f": "rate"}, arl=10)


def test_a_table_of_a_thousand_columns_is_watched_in_bounded_memory() -> None:
    rng = np.random.default_rng(3)
    reference = {
        f"f{i}": np.append(rng.multinomial(5000, np.full(16, 1 / 16)), 0) for i in range(1000)
    }
    detector = Shift(reference, dict.fromkeys(reference, "ordered"), arl=365)
    window = dict(reference)
    window["f77"] = np.append(5000 - 16 * 300, np.append(np.full(15, 320), 0))[[0, *range(1, 17)]]
    reading = detector.update(window)
    assert reading.causes[0].feature == "f77"


def test_a_long_life_keeps_only_the_look_backs() -> None:
    detector = Shift({"f": [500, 500, 0]}, {"f": "category"}, arl=365)
    for _ in range(600):
        assert not detector.update({"f": [5, 5, 0]}).crossed
    assert len(detector._sums) == LOOKBACKS[-1] + 1
    reading = detector.update({"f": [60, 0, 0]})
    assert (reading.number, reading.crossed, reading.since) == (601, True, 601)
