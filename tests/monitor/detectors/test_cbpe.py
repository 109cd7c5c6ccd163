"""Performance without labels: right where it can be, honest about its error, silent otherwise."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics
from sklearn.isotonic import isotonic_regression

from assay import errors
from assay.monitor.detectors.cbpe import (
    Calibration,
    calibrate,
    estimate,
    expected_losses,
    pool_adjacent_violators,
)

EDGES = np.linspace(0, 1, 51)


def histogram(scores: np.ndarray) -> np.ndarray:
    return np.histogram(scores, EDGES)[0]


def calibration_of(scores: np.ndarray, labels: np.ndarray) -> Calibration:
    return calibrate(histogram(scores), histogram(scores[labels]), EDGES, 0.5)


def test_a_calibrated_uniform_score_has_the_known_figures() -> None:
    """P(right) = E max(s, 1-s) = 3/4; recall and precision 3/4; AUC = 5/6."""
    rows = np.full(50, 10**6)
    middle = (EDGES[:-1] + EDGES[1:]) / 2
    found = estimate(rows, calibrate(rows, np.round(rows * middle), EDGES, 0.5))
    for name in ("accuracy", "precision", "recall", "specificity", "f1"):
        assert found[name].value == pytest.approx(0.75, abs=1e-6)
    assert found["auc"].value == pytest.approx(5 / 6, abs=1e-3)


def test_on_the_reference_itself_the_confusion_matrix_comes_back() -> None:
    rng = np.random.default_rng(1)
    scores = rng.beta(0.7, 0.7, 20_000)
    labels = rng.random(20_000) < scores**1.3
    found = estimate(histogram(scores), calibration_of(scores, labels))
    said = scores >= 0.5
    assert found["accuracy"].value == pytest.approx(metrics.accuracy_score(labels, said), abs=0.002)
    assert found["f1"].value == pytest.approx(metrics.f1_score(labels, said), abs=0.002)
    assert found["auc"].value == pytest.approx(metrics.roc_auc_score(labels, scores), abs=0.003)


def test_under_a_shift_of_inputs_the_error_is_as_large_as_it_says() -> None:
    rng = np.random.default_rng(2)
    apart: list[list[float]] = []
    for _ in range(150):
        scores = rng.beta(0.7, 0.7, 3000)
        calibration = calibration_of(scores, rng.random(3000) < scores)
        scores = rng.beta(0.8, 1.2, 500)
        labels = rng.random(500) < scores
        found = estimate(histogram(scores), calibration)
        said = scores >= 0.5
        true = {
            "accuracy": metrics.accuracy_score(labels, said),
            "precision": metrics.precision_score(labels, said),
            "recall": metrics.recall_score(labels, said),
            "f1": metrics.f1_score(labels, said),
            "auc": metrics.roc_auc_score(labels, scores),
        }
        apart.append([(true[m] - found[m].value) / found[m].error for m in true])
    assert np.abs(np.mean(apart, axis=0)).max() < 0.4
    assert np.std(apart, axis=0) == pytest.approx(np.ones(5), abs=0.25)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), min_size=1, max_size=15))
def test_pooling_adjacent_violators_is_isotonic_regression(bins: list[tuple[int, int]]) -> None:
    rows = np.array([float(a + b) for a, b in bins])
    hits = np.array([float(a) for a, _ in bins])
    block = pool_adjacent_violators(hits, rows)
    assert (np.diff(block) >= 0).all()
    if not rows.any():
        return
    share = np.bincount(block, hits) / np.bincount(block, rows)
    used = rows > 0
    expected = isotonic_regression(hits[used] / rows[used], sample_weight=rows[used])
    assert share[block][used] == pytest.approx(expected, abs=1e-9)
    assert (np.diff(share) > 0).all()


def test_what_is_not_defined_is_left_out_and_never_zero() -> None:
    calibration = calibrate([50, 50], [5, 45], [0, 0.5, 1], 0.5)
    assert estimate([0, 0], calibration) == {}
    assert "precision" not in estimate([10, 0], calibration)
    certain = calibrate([50, 50], [0, 0], [0, 0.5, 1], 0.5)
    found = estimate([10, 0], certain)
    assert "auc" not in found
    assert "recall" not in found
    assert found["accuracy"].value == 1.0


def test_a_bin_without_positives_is_not_taken_for_certain() -> None:
    found = estimate([10, 10], calibrate([20, 20], [0, 20], [0, 0.5, 1], 0.5))
    assert found["accuracy"].value == 1.0
    assert found["accuracy"].error > 0.02
    assert found["accuracy"].upper == 1.0
    assert found["accuracy"].lower < 0.98


def test_fewer_reference_rows_make_the_error_larger() -> None:
    small = calibrate([50, 50], [10, 40], [0, 0.5, 1], 0.5)
    large = calibrate([5000, 5000], [1000, 4000], [0, 0.5, 1], 0.5)
    assert estimate([500, 500], small)["auc"].error > estimate([500, 500], large)["auc"].error


def test_the_expected_loss_is_one_minus_the_expected_accuracy() -> None:
    rng = np.random.default_rng(4)
    scores = rng.beta(0.7, 0.9, 5000)
    calibration = calibration_of(scores, rng.random(5000) < scores)
    told = expected_losses(histogram(scores), calibration)
    accuracy = estimate(histogram(scores), calibration)["accuracy"].value
    assert told.n == 5000
    assert told.total / told.n == pytest.approx(1 - accuracy)
    assert told.squares is not None
    assert told.total**2 / told.n <= told.squares <= told.total


def test_a_score_bin_that_the_reference_never_had_borrows_from_its_neighbours() -> None:
    calibration = calibrate([40, 0, 60], [10, 0, 54], [0, 0.3, 0.5, 1], 0.5)
    assert calibration.share[1] == calibration.share[0]
    first = calibrate([0, 40, 60], [0, 10, 54], [0, 0.3, 0.5, 1], 0.5)
    assert first.share[0] == first.share[1] == 0.25


@pytest.mark.parametrize(
    ("counts", "positives", "edges", "threshold", "why"),
    [
        ([5, 5], [1, 4], [0, 0.5, 1], 0.4, "not an edge"),
        ([5, 5], [1, 6], [0, 0.5, 1], 0.5, "more positives than rows"),
        ([5, 5], [1, 4], [0, 1], 0.5, "do not bound"),
        ([5, 5], [1, 4], [0, 0.5, 0.5], 0.5, "do not bound"),
        ([0, 0], [0, 0], [0, 0.5, 1], 0.5, "no labelled rows"),
        ([5, 5], [1], [0, 0.5, 1], 0.5, "1 cells"),
        ([5, -5], [1, 4], [0, 0.5, 1], 0.5, "at least 0"),
    ],
)
def test_a_baseline_that_makes_no_sense_is_refused(
    counts: Any, positives: Any, edges: Any, threshold: float, why: str
) -> None:
    with pytest.raises(errors.Usage, match=why):
        calibrate(counts, positives, edges, threshold)


def test_scores_of_another_layout_are_refused() -> None:
    calibration = calibrate([5, 5], [1, 4], [0, 0.5, 1], 0.5)
    with pytest.raises(errors.Usage, match="3 cells where the reference has 2"):
        estimate([1, 2, 3], calibration)


def test_the_range_covers_what_comes_true_when_the_reference_is_smaller_than_the_window() -> None:
    rng = np.random.default_rng(12)
    edges = np.linspace(0, 1, 41)
    share = 0.3 + 0.4 * (edges[:-1] + 0.0125)
    covered = 0
    for _ in range(300):
        rows = rng.multinomial(1_500, np.full(40, 1 / 40))
        calibration = calibrate(rows, rng.binomial(rows, share), edges, 0.5)
        window = rng.multinomial(20_000, np.full(40, 1 / 40))
        hits = rng.binomial(window, share)
        right = np.where(calibration.positive, hits, window - hits).sum() / 20_000
        told = estimate(window, calibration)["accuracy"]
        covered += told.lower <= right <= told.upper
    assert covered >= 0.91 * 300
