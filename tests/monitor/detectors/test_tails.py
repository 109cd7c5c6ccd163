"""Tails of Fisher's noncentral hypergeometric law: never too small, and tight."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats

from assay.monitor.detectors.tails import Law, log_factorial, log_upper


def law_of(drawn: int, marked: int, total: int, log_odds: float = 0.0) -> Law:
    return Law(np.array([1.0 * drawn]), np.array([1.0 * marked]), np.array([1.0 * total]), log_odds)


def upper(drawn: int, marked: int, total: int, seen: int, log_odds: float = 0.0) -> float:
    law = law_of(drawn, marked, total, log_odds)
    return float(log_upper(law, np.array([float(seen)]))[0])


def exact(drawn: int, marked: int, total: int, seen: int, log_odds: float) -> float:
    xs = np.arange(max(0, drawn + marked - total), min(drawn, marked) + 1)
    terms = stats.hypergeom.logpmf(xs, total, marked, drawn) + xs * log_odds
    tail = terms[xs >= seen]
    return float(special.logsumexp(tail) - special.logsumexp(terms)) if len(tail) else -math.inf


def test_the_lady_tasting_tea_has_a_p_value_of_one_in_seventy() -> None:
    assert math.exp(upper(4, 4, 8, 4)) == pytest.approx(1 / 70, rel=1e-12)
    assert math.exp(upper(4, 4, 8, 3)) == pytest.approx(17 / 70, rel=1e-12)


def test_fishers_twins_have_the_published_p_value() -> None:
    """Fisher 1935: 10 of 13 monozygotic and 2 of 17 dizygotic twins of criminals, convicted."""
    assert math.exp(upper(13, 12, 30, 10)) == pytest.approx(0.0004652, rel=1e-3)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_tail_is_never_too_small_and_at_most_one_percent_too_large(data: st.DataObject) -> None:
    total = data.draw(st.integers(1, 3000))
    drawn, marked = data.draw(st.integers(0, total)), data.draw(st.integers(0, total))
    log_odds = data.draw(st.sampled_from([0.0, 0.0, 0.05, 0.3, 1.5, 4.0, 12.0, -0.4]))
    seen = data.draw(st.integers(max(0, drawn + marked - total), min(drawn, marked)))
    got, true = (
        upper(drawn, marked, total, seen, log_odds),
        exact(drawn, marked, total, seen, log_odds),
    )
    assert got >= true - 1e-9
    law = law_of(drawn, marked, total, log_odds)
    if seen > law.mode()[0] and true > -500:
        assert got <= true + 0.01


@pytest.mark.parametrize(("total", "drawn"), [(10**6, 10**4), (10**8, 10**6), (10**9, 10**8)])
def test_a_large_table_costs_no_more_and_is_as_exact(total: int, drawn: int) -> None:
    marked = total // 7
    spread = math.sqrt(drawn / 7 * 6 / 7 * (total - drawn) / total)
    for far in (2, 5, 9):
        seen = math.ceil(drawn / 7 + far * spread)
        span = np.arange(seen, seen + int(20 * spread))
        true = special.logsumexp(stats.hypergeom.logpmf(span, total, marked, drawn))
        assert true - 1e-4 <= upper(drawn, marked, total, seen) <= true + 0.011


def test_an_odds_ratio_of_the_tolerance_makes_the_tail_larger() -> None:
    tails = [upper(500, 900, 3000, 190, tolerance) for tolerance in (0.0, 0.1, 0.2, 0.4)]
    assert tails == sorted(tails)
    assert tails[0] < tails[-1]


def test_the_impossible_has_probability_zero_and_the_certain_one() -> None:
    assert upper(5, 3, 10, 4) == -math.inf
    assert upper(5, 3, 10, 0) == 0.0
    assert upper(0, 3, 10, 0) == 0.0
    assert upper(10, 3, 10, 3) == 0.0


def test_factorials_are_right_on_both_sides_of_the_table() -> None:
    values = np.array([0, 1, 2, 10, 510, 511, 512, 513, 5000, 10**7], dtype=np.float64)
    assert log_factorial(values) == pytest.approx(special.gammaln(values + 1), rel=1e-14, abs=1e-12)


@given(data=st.data(), drawn=st.integers(1, 3_000), rest=st.integers(1, 3_000))
def test_no_tail_is_below_what_its_distance_from_the_mean_allows(
    data: st.DataObject, drawn: int, rest: int
) -> None:
    """What `shift` passes over has no evidence: see there."""
    total = drawn + rest
    marked = data.draw(st.integers(1, total - 1))
    mean = drawn * marked / total
    seen = data.draw(st.integers(math.ceil(mean), min(drawn, marked)))
    variance = mean * (1 - marked / total) * (1 - drawn / total)
    assert upper(drawn, marked, total, seen) >= -max(4.0, (seen - mean) ** 2 / variance)
