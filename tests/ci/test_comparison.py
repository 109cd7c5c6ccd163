"""Differences of figures: against published examples, against counting, and by simulation."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.ci import comparison
from assay.ci.comparison import figures, paired_areas, paired_means, paired_shares, shares
from assay.ci.model import Difference, Estimate
from assay.errors import Usage


def ends(found: Difference, digits: int = 4) -> tuple[float, float]:
    assert found.lower is not None
    assert found.upper is not None
    return round(found.lower, digits), round(found.upper, digits)


def holds(found: Difference, value: float) -> bool:
    lower, upper = ends(found, 12)
    return lower <= value <= upper


# -- published figures -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("now", "base", "interval"),
    [
        ((56, 70), (48, 80), (0.0524, 0.3339)),
        ((9, 10), (3, 10), (0.1705, 0.8090)),
        ((6, 7), (2, 7), (0.0582, 0.8062)),
        ((5, 56), (0, 29), (-0.0381, 0.1926)),
        ((0, 10), (0, 20), (-0.1611, 0.2775)),
        ((0, 10), (0, 10), (-0.2775, 0.2775)),
        ((10, 10), (0, 20), (0.6791, 1.0000)),
        ((10, 10), (0, 10), (0.6075, 1.0000)),
    ],
)
def test_shares_of_different_rows_have_newcombes_published_intervals(
    now: tuple[int, int], base: tuple[int, int], interval: tuple[float, float]
) -> None:
    """Newcombe 1998 (17:873), table II, method 10."""
    assert ends(shares(now, base)) == interval


@pytest.mark.parametrize(
    ("cells", "interval", "digits"),
    [
        # Newcombe 1998 (17:2635), table III, method 10.
        ((36, 12, 2, 0), (0.0569, 0.3404), 4),
        # Bentur 2009 as worked in Fagerland, Lydersen & Laake, Statistical Analysis of
        # Contingency Tables (2017), table 8.5.
        ((1, 1, 7, 12), (-0.507, -0.026), 3),
    ],
)
def test_shares_of_the_same_rows_have_published_intervals(
    cells: tuple[int, int, int, int], interval: tuple[float, float], digits: int
) -> None:
    both, only_now, only_base, neither = cells
    now = np.repeat([True, True, False, False], [both, only_now, only_base, neither])
    base = np.repeat([True, False, True, False], [both, only_now, only_base, neither])
    assert ends(paired_shares(now, base), digits) == interval


# -- against counting ------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 12), st.integers(1, 12), st.booleans())
def test_an_area_is_the_share_of_pairs_in_order(seed: int, high: int, low: int, ties: bool) -> None:
    random = np.random.default_rng(seed)
    positive = np.array([True] * high + [False] * low)
    scores = random.integers(0, 4, high + low).astype(float) if ties else random.random(high + low)
    counts = random.integers(0, 3, high + low).astype(float)
    counts[[0, -1]] = 1
    curve = comparison._Curve(positive, scores)
    pairs = [
        (counts[i] * counts[j], 1.0 if scores[i] > scores[j] else 0.5 * (scores[i] == scores[j]))
        for i in range(high)
        for j in range(high, high + low)
    ]
    expected = sum(w * won for w, won in pairs) / sum(w for w, _ in pairs)
    assert curve.area(counts) == pytest.approx(expected)
    assert abs(float(curve.influence().sum())) < 1e-9


def test_means_are_compared_by_row_and_so_more_sharply() -> None:
    random = np.random.default_rng(1)
    luck = random.normal(size=400)
    now, base = luck + 0.1 + random.normal(size=400) * 0.1, luck
    found = paired_means(now, base, seed=1)
    assert found.lower is not None
    assert found.lower > 0.08
    apart = figures(
        Estimate(value=0.1, lower=0.0, upper=0.2), Estimate(value=0.0, lower=-0.1, upper=0.1)
    )
    assert holds(apart, 0.0)


def test_a_root_is_taken_of_the_means_and_not_of_the_rows() -> None:
    now, base = np.array([4.0, 0.0, 4.0, 0.0]), np.array([1.0, 1.0, 1.0, 1.0])
    found = paired_means(now, base, seed=3, root=True)
    assert found.value == pytest.approx(math.sqrt(2) - 1)
    assert paired_means(np.zeros(9), np.zeros(9), seed=1, root=True).value == 0


def test_the_seed_decides_and_nothing_else() -> None:
    random = np.random.default_rng(5)
    now, base = random.normal(size=(2, 100))
    assert paired_means(now, base, seed=1) == paired_means(now.copy(), base.copy(), seed=1)
    assert paired_means(now, base, seed=1) != paired_means(now, base, seed=2)


def test_the_same_scores_differ_by_nothing_for_certain() -> None:
    scores = np.random.default_rng(5).normal(size=50)
    positive = scores > 0.3
    for found in (
        paired_means(scores, scores, seed=1),
        paired_areas(positive, scores, scores, seed=1),
    ):
        assert (found.value, *ends(found)) == (0, 0, 0)


def test_agreeing_on_few_rows_proves_no_agreement_on_all() -> None:
    right = np.array([True] * 45 + [False] * 5)
    lower, upper = ends(paired_shares(right, right))
    assert lower < 0 < upper


def test_many_rows_get_fewer_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparison, "_WORK", 100_000)
    monkeypatch.setattr(comparison, "_AT_ONCE", 1_000)
    drawn: list[int] = []

    def draw(random: np.random.Generator, draws: int) -> comparison.Floats:
        drawn.append(draws)
        return random.normal(size=draws)

    comparison._bootstrap(0.0, np.linspace(-1, 1, 500), draw, 1, 0.95)
    assert sum(drawn) == comparison._LEAST_DRAWS
    assert max(drawn) == 2


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: paired_means(np.ones(3), np.ones(4), seed=1),
        lambda: paired_means(np.ones(1), np.ones(1), seed=1),
        lambda: paired_means(np.ones((2, 2)), np.ones((2, 2)), seed=1),
        lambda: paired_means(np.array([1.0, np.nan]), np.ones(2), seed=1),
        lambda: paired_means(np.array([-1.0, 1.0]), np.ones(2), seed=1, root=True),
        lambda: paired_areas(np.ones(3, bool), np.ones(3), np.ones(3), seed=1),
        lambda: paired_areas(np.zeros(2, bool), np.ones(3), np.ones(3), seed=1),
        lambda: shares((3, 2), (1, 2)),
        lambda: shares((0, 0), (1, 2)),
        lambda: shares((1, 2), (1, 2), level=95),
    ],
)
def test_what_cannot_be_compared_is_refused(wrong: Callable[[], object]) -> None:
    with pytest.raises(Usage):
        wrong()


def test_a_figure_without_an_interval_gives_a_difference_without_one() -> None:
    found = figures(Estimate(value=0.5), Estimate(value=0.25, lower=0.2, upper=0.3))
    assert (found.value, found.lower, found.upper, found.method) == (0.25, None, None, "none")


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 0.5), st.floats(0, 0.5))
def test_an_interval_holds_its_difference(a: float, b: float, below: float, above: float) -> None:
    found = figures(
        Estimate(value=a, lower=a - below, upper=a + above),
        Estimate(value=b, lower=b - above, upper=b + below),
    )
    assert holds(found, round(found.value, 12))


# -- coverage --------------------------------------------------------------------------------------

TRIALS = 400
LEAST = 0.915
"""95 % less three standard errors of 400 trials."""


@pytest.mark.slow
def test_a_paired_mean_covers_the_truth_19_times_in_20() -> None:
    random = np.random.default_rng(11)
    hits = 0
    for trial in range(TRIALS):
        luck = random.exponential(size=60)
        now, base = luck + random.exponential(0.5, size=60), luck * 0.9
        hits += holds(paired_means(now, base, seed=trial), 0.6)
    assert hits / TRIALS >= LEAST


@pytest.mark.slow
def test_a_paired_area_covers_the_truth_19_times_in_20(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparison, "DRAWS", 600)
    random = np.random.default_rng(12)
    positive = np.arange(90) < 30
    # The difference of two normal score laws: AUC = Phi(d / sqrt(2 * variance)).
    from scipy import stats

    truth = float(
        stats.norm.cdf(1.2 / math.sqrt(2 * 1.09)) - stats.norm.cdf(1.0 / math.sqrt(2 * 1.25))
    )
    hits = 0
    for trial in range(TRIALS):
        luck = random.normal(size=90)
        now = luck + random.normal(size=90) * 0.3 + positive * 1.2
        base = luck + random.normal(size=90) * 0.5 + positive * 1.0
        hits += holds(paired_areas(positive, now, base, seed=trial), truth)
    assert hits / TRIALS >= LEAST


@pytest.mark.slow
@pytest.mark.parametrize("rows", [20, 200])
def test_shares_cover_the_truth_19_times_in_20(rows: int) -> None:
    random = np.random.default_rng(13)
    apart = paired = 0
    for _ in range(2_000):
        now, base = random.binomial(rows, 0.9), random.binomial(rows, 0.8)
        apart += holds(shares((int(now), rows), (int(base), rows)), 0.1)
        hard = random.random(rows)
        paired += holds(paired_shares(hard < 0.9, (hard + random.random(rows) * 0.02) < 0.81), 0.1)
    assert apart / 2_000 >= 0.935
    assert paired / 2_000 >= 0.935
