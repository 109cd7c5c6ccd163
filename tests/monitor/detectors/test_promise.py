"""The proofs of `detectors.shift`, checked by counting every possible outcome of small cases."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from scipy import stats

from assay.monitor.detectors.shift import Shift, log_odds_at
from assay.monitor.detectors.tails import Law, log_upper


def outcomes(rows: int, shares: Sequence[float]) -> Iterator[tuple[tuple[int, ...], float]]:
    """Every way in which so many rows fall into the cells, with its probability."""
    for counts in itertools.product(range(rows + 1), repeat=len(shares)):
        if sum(counts) == rows:
            ways = math.factorial(rows)
            for count in counts:
                ways //= math.factorial(count)
            yield counts, ways * math.prod(s**c for s, c in zip(shares, counts, strict=True))


@pytest.mark.parametrize("shares", [(0.5, 0.3, 0.2), (0.9, 0.05, 0.05), (1 / 3, 1 / 3, 1 / 3)])
@pytest.mark.parametrize("kind", ["category", "ordered"])
@pytest.mark.parametrize("arl", [1.0, 2.0])
def test_a_window_without_change_alarms_with_at_most_the_promised_probability(
    shares: tuple[float, ...], kind: str, arl: float
) -> None:
    alarmed = 0.0
    for reference, probability in outcomes(6, shares):
        for window, also in outcomes(6, shares):
            detector = Shift({"f": [*reference, 0]}, {"f": kind}, arl=arl)
            if detector.update({"f": [*window, 0]}).crossed:
                alarmed += probability * also
    assert alarmed <= 1 / (2 * arl)


def test_a_second_window_keeps_the_promise_too_with_both_look_backs() -> None:
    shares, alarmed = (0.6, 0.4), 0.0
    for reference, a in outcomes(7, shares):
        for first, b in outcomes(6, shares):
            for second, c in outcomes(6, shares):
                detector = Shift({"f": [*reference, 0]}, {"f": "category"}, arl=1.5, restart=False)
                detector.update({"f": [*first, 0]})
                if detector.update({"f": [*second, 0]}).crossed:
                    alarmed += a * b * c
    assert 0 < alarmed <= 1 / 3


@pytest.mark.parametrize("ratio", [1.0, 1.5, 3.0])
def test_rows_whose_odds_differ_within_the_tolerance_keep_the_p_value_valid(ratio: float) -> None:
    """Not even of one kind: each row has odds of its own, at most `ratio` times any earlier one."""
    low = 0.4
    history = [low, low * 1.1, low * 1.3, low * 2, low * ratio * 1.5]
    block = [low * ratio, low * ratio, low * ratio * 0.9, low * ratio * 0.5]

    def law_of_sum(odds: list[float]) -> np.ndarray:
        law = np.ones(1)
        for one in odds:
            law = np.convolve(law, [1 / (1 + one), one / (1 + one)])
        return law

    before, after = law_of_sum(history), law_of_sum(block)
    outcome: list[tuple[float, float]] = []
    for h, a in enumerate(before):
        for x, b in enumerate(after):
            law = Law(np.array([4.0]), np.array([float(h + x)]), np.array([9.0]), math.log(ratio))
            outcome.append((math.exp(log_upper(law, np.array([float(x)]))[0]), a * b))
    for level in {p for p, _ in outcome}:
        assert sum(share for p, share in outcome if p <= level) <= level + 1e-12


def test_two_cuts_are_no_e_values_given_the_past_of_both() -> None:
    """Why averaged e-detectors over several cuts were not built: the module's example."""
    shares, rows, grid = (0.4, 0.4, 0.2), 2, (np.arange(200) + 0.5) / 200

    def p(seen: int, marked: int, total: int) -> np.ndarray:
        """The randomised p-value of a window of two rows, for each value of the coin."""
        above = stats.hypergeom.sf(seen, total, marked, rows)
        return above + grid * stats.hypergeom.pmf(seen, total, marked, rows)

    alone, both = np.zeros(2), np.zeros(2)
    for reference, a in outcomes(rows, shares):
        for first, b in outcomes(rows, shares):
            pooled = np.add(reference, first)
            small = [p(first[cut], int(pooled[cut]), 4) <= 0.5 for cut in (0, 1)]
            gain = sum(
                c * 5 * np.mean(p(second[0], int(pooled[0] + second[0]), 6) <= 0.2)
                for second, c in outcomes(rows, shares)
            )
            alone += a * b * small[0].mean() * np.array([1.0, gain])
            both += a * b * (small[0] & small[1]).mean() * np.array([1.0, gain])
    assert alone[1] / alone[0] == pytest.approx(1.0, abs=1e-9)
    assert both[1] / both[0] == pytest.approx(1.07, abs=0.005)


def test_the_tolerance_weighs_the_same_psi_at_every_share() -> None:
    shares = np.array([0.5, 0.3, 0.9, 0.05, 0.001])
    total = np.full(5, 1e6)
    apart = np.asarray(log_odds_at(0.2, shares * total, total))
    assert apart[0] == pytest.approx(0.2, abs=1e-6)
    logit = np.log(shares / (1 - shares))
    above, below = 1 / (1 + np.exp(-logit - apart / 2)), 1 / (1 + np.exp(-logit + apart / 2))
    assert (above - below) * apart == pytest.approx(np.full(5, 0.01), rel=1e-3)
    assert (apart[1:] > 0.2).all()


def test_no_tolerance_is_none_at_every_share_and_empty_cells_are_no_error() -> None:
    assert log_odds_at(0.0, np.array([1.0]), np.array([2.0])) == 0.0
    assert np.isfinite(log_odds_at(0.2, np.array([0.0, 5.0, 0.0]), np.array([9.0, 5.0, 0.0]))).all()
