from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import roc_auc_score

from assay.assess.intervals import (
    Estimate,
    auc,
    clopper_pearson,
    difference,
    known,
    macro_auc,
    mean,
    share,
    z_of,
)

# Albumin, total protein, K-G score and outcome of the patients in DeLong, DeLong & Clarke-Pearson
# (1988), as complete cases; the figures are those that SAS/STAT's PROC LOGISTIC prints for them
# (User's Guide, "Comparing Receiver Operating Characteristic Curves").
OVARIAN = np.array(
    # Six to a line, as printed: a table is checked by eye.
    """
    3.0 5.8 10 0  3.2 6.3 5 1  3.9 6.8 3 1  2.8 4.8 6 0  3.2 5.8 3 1  0.9 4.0 5 0  2.5 5.7 8 0
    1.6 5.6 5 1  3.8 5.7 5 1  3.7 6.7 6 1  3.2 5.4 4 1  3.8 6.6 6 1  4.1 6.6 5 1  3.6 5.7 5 1
    4.3 7.0 4 1  3.6 6.7 4 0  2.3 4.4 6 1  4.2 7.6 4 0  4.0 6.6 6 0  3.5 5.8 6 1  3.8 6.8 7 1
    3.0 4.7 8 0  4.5 7.4 5 1  3.7 7.4 5 1  3.1 6.6 6 1  4.1 8.2 6 1  4.3 7.0 5 1  4.3 6.5 4 1
    3.2 5.1 5 1  2.6 4.7 6 1  3.3 6.8 6 0  1.7 4.0 7 0  3.7 6.1 5 1  3.3 6.3 7 1  4.2 7.7 6 1
    3.5 6.2 5 1  2.9 5.7 9 0  2.1 4.8 7 1  2.8 6.2 8 0  4.0 7.0 7 1  3.3 5.7 6 1  3.7 6.9 5 1
    3.6 6.6 5 1
    """.split(),  # noqa: SIM905
    dtype=float,
).reshape(-1, 4)
OUTCOME = OVARIAN[:, 3] == 1
TESTS = {"albumin": OVARIAN[:, 0], "protein": OVARIAN[:, 1], "kg": 10 - OVARIAN[:, 2]}


@pytest.mark.parametrize(
    ("test", "area", "error"),
    [("albumin", 0.7366, 0.0927), ("protein", 0.6478, 0.1000), ("kg", 0.7258, 0.1028)],
)
def test_areas_and_errors_are_those_published(test: str, area: float, error: float) -> None:
    found = auc(OUTCOME, TESTS[test])
    assert found.value == pytest.approx(area, abs=5e-5)
    assert math.sqrt(found.variance) == pytest.approx(error, abs=5e-5)


@pytest.mark.parametrize(("test", "gain", "error"), [
    ("albumin", 0.0108, 0.0953), ("protein", -0.0780, 0.1046),
])  # fmt: skip
def test_paired_differences_are_those_published(test: str, gain: float, error: float) -> None:
    one, other = auc(OUTCOME, TESTS[test]), auc(OUTCOME, TESTS["kg"])
    moved = one.influence - other.influence
    assert one.value - other.value == pytest.approx(gain, abs=5e-5)
    assert math.sqrt(moved @ moved) == pytest.approx(error, abs=5e-5)
    found = difference(one, other, paired=True)
    half = (found["upper"] - found["lower"]) / 2
    assert half == pytest.approx(1.96 * error, rel=0.15)


def normal_scores(
    generator: np.random.Generator, area: float, positives: int, negatives: int
) -> tuple[np.ndarray, np.ndarray]:
    """Scores of two normal populations whose true AUC is `area`."""
    shift = math.sqrt(2) * stats.norm.ppf(area)
    truth = np.arange(positives + negatives) < positives
    return truth, generator.normal(size=len(truth)) + shift * truth


def test_the_error_is_that_of_the_bootstrap() -> None:
    generator = np.random.default_rng(7)
    truth, scores = normal_scores(generator, 0.8, 120, 200)
    other = scores + generator.normal(size=len(scores))
    rows = [
        np.concatenate((generator.integers(0, 120, 120), generator.integers(120, 320, 200)))
        for _ in range(1500)
    ]
    areas = np.array([[auc(truth[r], s[r]).value for s in (scores, other)] for r in rows])
    one, two = auc(truth, scores), auc(truth, other)
    assert math.sqrt(one.variance) == pytest.approx(areas[:, 0].std(), rel=0.06)
    gain = difference(one, two, paired=True)
    lower, upper = np.quantile(areas[:, 0] - areas[:, 1], (0.025, 0.975))
    assert gain["lower"] == pytest.approx(lower, abs=0.012)
    assert gain["upper"] == pytest.approx(upper, abs=0.012)


@pytest.mark.parametrize("area", [0.6, 0.9, 0.99])
@pytest.mark.parametrize(("positives", "negatives"), [(20, 20), (20, 200), (100, 100)])
def test_a_bound_is_missed_no_more_often_than_it_says(
    area: float, positives: int, negatives: int
) -> None:
    generator = np.random.default_rng(11)
    found = [auc(*normal_scores(generator, area, positives, negatives)) for _ in range(250)]
    # 2.5 % of 250 is 6; more than 15 has a chance of less than 1 in 1000.
    assert sum(e.lower > area for e in found) <= 15
    assert sum(e.upper < area for e in found) <= 15


def test_perfect_order_in_few_rows_is_no_certainty() -> None:
    truth = np.array([False] * 100 + [True] * 10)
    found = auc(truth, truth.astype(float))
    assert (found.value, found.upper) == (1, 1)
    assert found.lower == pytest.approx(0.025 ** (1 / 10))
    worst = auc(truth, 1 - truth.astype(float))
    assert (worst.value, worst.lower) == (0, 0)
    assert worst.upper == pytest.approx(1 - 0.025 ** (1 / 10))


def test_a_score_that_ignores_the_row_is_a_half_for_certain() -> None:
    found = auc(OUTCOME, np.ones(len(OUTCOME)))
    assert (found.value, found.lower, found.upper) == (0.5, 0.5, 0.5)


@given(
    data=st.lists(st.tuples(st.booleans(), st.integers(-3, 3)), min_size=2, max_size=60).filter(
        lambda rows: len({truth for truth, _ in rows}) == 2
    )
)
@settings(max_examples=300, deadline=None)
def test_an_interval_holds_its_value_and_lies_in_its_range(data: list[tuple[bool, int]]) -> None:
    truth = np.array([t for t, _ in data])
    scores = np.array([float(s) for _, s in data])
    found = auc(truth, scores)
    assert found.value == pytest.approx(roc_auc_score(truth, scores))
    assert 0 <= found.lower <= found.value <= found.upper <= 1
    mirrored = auc(~truth, -scores)
    assert mirrored.value == pytest.approx(found.value)
    assert mirrored.variance == pytest.approx(found.variance)
    same = difference(found, found, paired=True)
    assert same["lower"] <= same["value"] == 0 <= same["upper"]
    assert same["upper"] - same["lower"] < 1e-6 or found.variance == 0


def test_many_classes_are_averaged_one_against_the_rest() -> None:
    generator = np.random.default_rng(3)
    classes = generator.integers(0, 4, 300)
    scores = generator.dirichlet(np.ones(4), 300) + np.eye(4)[classes]
    scores /= scores.sum(axis=1, keepdims=True)
    found = macro_auc(classes, scores)
    expected = roc_auc_score(classes, scores, multi_class="ovr", average="macro")
    assert found.value == pytest.approx(expected)
    resampled = [
        macro_auc(classes[r], scores[r]).value
        for r in (generator.integers(0, 300, 300) for _ in range(400))
    ]
    assert math.sqrt(found.variance) == pytest.approx(np.std(resampled), rel=0.15)


def test_an_absent_class_is_left_out_of_the_average() -> None:
    classes = np.array([0, 1] * 30)
    scores = np.tile([[0.6, 0.3, 0.1], [0.2, 0.7, 0.1]], (30, 1))
    assert macro_auc(classes, scores).value == 1


def test_shares_have_wilsons_interval() -> None:
    hits = np.arange(250) < 200
    found = share(hits)
    expected = stats.binomtest(200, 250).proportion_ci(method="wilson")
    assert (found.lower, found.upper) == pytest.approx((expected.low, expected.high))
    assert share(np.ones(10, bool)).upper == 1
    assert share(np.zeros(10, bool)).lower == 0


def test_exact_shares_are_clopper_and_pearsons() -> None:
    for hits in (0, 3, 10):
        expected = stats.binomtest(hits, 10).proportion_ci(method="exact")
        assert clopper_pearson(hits, 10) == pytest.approx((expected.low, expected.high))


def test_means_have_students_interval() -> None:
    values = np.random.default_rng(1).exponential(size=40)
    found = mean(values)
    expected = stats.ttest_1samp(values, 0).confidence_interval()
    assert (found.lower, found.upper) == pytest.approx((expected.low, expected.high))


def test_against_a_known_figure_a_difference_is_the_interval_shifted() -> None:
    found = auc(OUTCOME, TESTS["albumin"])
    gain = difference(found, known(0.5, len(OUTCOME)), paired=True)
    assert gain["lower"] == pytest.approx(found.lower - 0.5)
    assert gain["upper"] == pytest.approx(found.upper - 0.5)


def test_pairing_narrows_what_moves_together() -> None:
    generator = np.random.default_rng(5)
    truth, scores = normal_scores(generator, 0.75, 100, 100)
    one = auc(truth, scores)
    two = auc(truth, scores + 0.1 * generator.normal(size=200))
    paired, apart = difference(one, two, paired=True), difference(one, two, paired=False)
    assert paired["upper"] - paired["lower"] < 0.3 * (apart["upper"] - apart["lower"])


def test_an_estimate_is_plain_numbers() -> None:
    found = Estimate(np.float64(0.5), np.float64(0.4), np.float64(0.6), np.zeros(3)).as_dict()
    assert {type(value) for value in found.values()} == {float}
    assert z_of(0.95) == pytest.approx(1.959964, abs=1e-6)
