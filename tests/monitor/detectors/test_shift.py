"""The scan for a shift: it keeps its promise, finds what is there, and says where it is."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

from assay import errors
from assay.monitor import detectors
from assay.monitor.detectors.shift import Shift

BINS = np.full(8, 1 / 8)


def draw(rng: np.random.Generator, rows: int, shares: np.ndarray = BINS) -> np.ndarray:
    return np.append(rng.multinomial(rows, shares), 0)


def fisher(table: list[list[int]]) -> float:
    result: Any = stats.fisher_exact(table, alternative="greater")
    return float(result.pvalue)


def test_a_two_cell_feature_is_fishers_exact_test_with_its_weight() -> None:
    detector = Shift({"f": [60, 40, 0]}, {"f": "category"}, arl=10)
    reading = detector.update({"f": [90, 10, 0]})
    # Cuts: first against second, both ways; missing, both ways, with a quarter of the weight.
    p = fisher([[90, 10], [60, 40]])
    assert reading.log_evidence == pytest.approx(math.log(3 / 8) - math.log(p), abs=0.01)
    assert reading.crossed
    assert reading.causes[0].cells == (0,)
    assert (reading.causes[0].from_share, reading.causes[0].to_share) == (0.6, 0.9)


def test_a_rate_is_asked_only_whether_it_rose() -> None:
    worse = Shift({"e": [200, 800]}, {"e": "rate"}, arl=10).update({"e": [350, 650]})
    better = Shift({"e": [200, 800]}, {"e": "rate"}, arl=10).update({"e": [50, 950]})
    p = fisher([[350, 650], [200, 800]])
    assert worse.log_evidence == pytest.approx(-math.log(p), abs=0.01)
    assert worse.crossed
    assert better.log_evidence == 0.0


def test_without_a_shift_alarms_are_rarer_than_promised() -> None:
    rng = np.random.default_rng(5)
    windows = alarms = 0
    for _ in range(40):
        kinds = {f"f{i}": "ordered" for i in range(5)}
        reference = {name: draw(rng, 400) for name in kinds}
        batches = [{name: draw(rng, 150) for name in kinds} for _ in range(40)]
        readings = detectors.run(reference, batches, kinds, arl=20)
        windows += len(readings)
        alarms += sum(reading.crossed for reading in readings)
    assert alarms <= windows / 20


def test_a_small_lasting_shift_is_found_and_dated() -> None:
    rng = np.random.default_rng(6)
    tilted = BINS * np.exp(0.15 * np.linspace(-1, 1, 8))
    tilted /= tilted.sum()
    detector = Shift({"f": draw(rng, 20000)}, {"f": "ordered"}, arl=365)
    for _ in range(20):
        assert not detector.update({"f": draw(rng, 1000)}).crossed
    readings = [detector.update({"f": draw(rng, 1000, tilted)}) for _ in range(12)]
    first = next(reading for reading in readings if reading.crossed)
    assert 19 <= (first.since or 0) <= first.number
    assert first.causes[0].to_share > first.causes[0].from_share


def test_a_shift_within_the_tolerance_is_not_alarmed_however_many_rows() -> None:
    shares = np.array([0.5, 0.5])
    odds = math.exp(0.15)
    moved = np.array([odds / (1 + odds), 1 / (1 + odds)])
    rng = np.random.default_rng(7)
    reference = {"f": draw(rng, 10**6, shares)}
    batches = [{"f": draw(rng, 10**6, moved)} for _ in range(5)]
    tolerant = detectors.run(reference, batches, {"f": "category"}, arl=100, tolerance=0.2)
    strict = detectors.run(reference, batches, {"f": "category"}, arl=100, tolerance=0.1)
    assert not any(reading.crossed for reading in tolerant)
    assert strict[0].crossed


def test_counts_of_another_layout_are_refused() -> None:
    detector = Shift({"f": [5, 5, 0]}, {"f": "category"}, arl=10)
    with pytest.raises(errors.Usage, match="4 cells where the reference has 3"):
        detector.update({"f": [1, 2, 3, 4]})


def test_a_reference_without_rows_is_refused_and_a_feature_without_is_named() -> None:
    with pytest.raises(errors.Usage, match="no rows"):
        Shift({"f": [0, 0, 0]}, {"f": "category"}, arl=10)
    detector = Shift({"f": [0, 0, 0], "g": [5, 5, 0]}, {"f": "category", "g": "category"}, arl=10)
    reading = detector.update({"g": [3, 3, 0]})
    assert reading.unwatched == ["f"]
    assert "f" not in reading.by_feature


def test_an_empty_window_says_so_and_does_not_alarm() -> None:
    detector = Shift({"f": [50, 50, 0]}, {"f": "category"}, arl=10)
    reading = detector.update({"f": [0, 0, 0]})
    assert (reading.state, reading.crossed, reading.absent) == ("empty", False, ["f"])
    assert detector.update({}).state == "empty"
