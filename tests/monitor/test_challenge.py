"""Champion and challenger: betting on paired losses, against analytic figures and simulations."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from assay.errors import Usage
from assay.evidence.plans import Rules
from assay.monitor import challenge

Floats = NDArray[np.float64]


def verdict(d: Floats, *, alpha: float = 0.05, improvement: float = 0.0) -> challenge.Verdict:
    """Over differences in [-1, 1]."""
    return challenge.judge(
        np.maximum(d, 0), np.maximum(-d, 0), alpha=alpha, improvement=improvement
    )


# -- analytic -------------------------------------------------------------------------------------


def test_the_money_of_a_gambler_who_always_wins_is_known_exactly() -> None:
    n = 40
    found = verdict(np.ones(n))
    stakes = challenge.STAKES
    # Each stake c multiplies the money by 1 + c for d = 1 against a mean of 0.
    expected = np.logaddexp.reduce(n * np.log1p(stakes)) - math.log(len(stakes))
    assert found.log_e == pytest.approx(expected)
    assert (found.value, found.rows, found.won, found.lost) == (1.0, n, True, False)


def test_the_money_against_an_improvement_is_known_exactly() -> None:
    found = verdict(np.full(30, -1.0), improvement=0.25)
    stakes = challenge.STAKES
    expected = np.logaddexp.reduce(30 * np.log1p(-stakes)) - math.log(len(stakes))
    assert found.log_e == pytest.approx(expected)
    assert found.lost


def test_without_rows_nothing_is_known() -> None:
    found = verdict(np.empty(0))
    assert (found.rows, found.log_e, found.won, found.lost) == (0, 0.0, False, False)
    assert (found.lower, found.upper) == (pytest.approx(-1), pytest.approx(1))


def test_two_that_answer_alike_are_neither_better_nor_worse() -> None:
    found = verdict(np.zeros(10_000))
    assert found.log_e == pytest.approx(0.0, abs=1e-9)
    assert not found.won
    assert found.lower < 0 < found.upper


def test_the_order_of_rows_does_not_matter() -> None:
    d = np.random.default_rng(1).uniform(-1, 1, 500)
    assert verdict(d) == verdict(d[::-1].copy())


def test_the_interval_is_close_to_the_one_for_a_known_number_of_rows() -> None:
    """It answers at every time, and costs less than twice the width of the t interval for it."""
    d = np.clip(np.random.default_rng(2).normal(0.02, 0.2, 5_000), -1, 1)
    found = verdict(d, alpha=0.025)
    t = stats.t.interval(0.95, len(d) - 1, d.mean(), d.std(ddof=1) / math.sqrt(len(d)))
    assert t[1] - t[0] < found.upper - found.lower < 2.2 * (t[1] - t[0])


# -- the promise ----------------------------------------------------------------------------------


def ever_won(d: Floats, m: float, alpha: float) -> bool:
    """Whether who looks after every single row ever sees a win."""
    gains = np.log1p(challenge.STAKES[:, None] * (d - m)[None, :] / (1 + m))
    money = np.logaddexp.reduce(np.cumsum(gains, axis=1), axis=0) - math.log(len(gains))
    return bool(money.max() >= -math.log(alpha))


@pytest.mark.parametrize("kind", ["signs", "rare", "smooth", "improvement"])
def test_one_that_is_no_better_is_ever_found_better_as_seldom_as_promised(kind: str) -> None:
    rng = np.random.default_rng(3)
    alpha, runs, m = 0.1, 400, 0.1 if kind == "improvement" else 0.0
    wins = 0
    for _ in range(runs):
        match kind:
            case "signs":
                d = rng.choice([-1.0, 1.0], 1_500)
            case "rare":
                d = rng.choice([-1.0, 0.0, 1.0], 1_500, p=[0.02, 0.96, 0.02])
            case "smooth":
                d = rng.uniform(-0.3, 0.3, 1_500)
            case _:
                d = np.where(rng.uniform(size=1_500) < 0.55, 1.0, -1.0)
        wins += ever_won(d, m, alpha)
    # The 99.9 % bound of a share of at most alpha.
    assert wins <= stats.binom.ppf(0.999, runs, alpha)


def test_the_mean_lies_in_the_interval_as_often_as_promised() -> None:
    rng = np.random.default_rng(4)
    missed = 0
    for _ in range(300):
        d = np.where(rng.uniform(size=400) < 0.1, -1.0, 0.12)
        found = verdict(d, alpha=0.05)
        missed += not found.lower <= 0.9 * 0.12 - 0.1 <= found.upper
    assert missed <= stats.binom.ppf(0.999, 300, 0.1)


def test_one_that_is_better_is_found_within_a_known_number_of_rows() -> None:
    """4 % better on 0/1 losses where one in ten rows differs: growth 0.0082 a row, so 99 in 100
    are found by 1,500 rows at alpha 0.01."""
    rng = np.random.default_rng(5)
    found = [
        verdict(rng.choice([-1.0, 0.0, 1.0], 1_500, p=[0.03, 0.9, 0.07]), alpha=0.01).won
        for _ in range(100)
    ]
    assert sum(found) >= 95


# -- invariants -----------------------------------------------------------------------------------

differences = st.lists(st.floats(-1, 1), min_size=1, max_size=60).map(np.array)


@settings(max_examples=60)
@given(differences, st.floats(0.001, 0.5), st.floats(0, 0.9))
def test_it_has_won_just_when_the_lower_bound_is_above_the_improvement(
    d: Floats, alpha: float, improvement: float
) -> None:
    found = verdict(d, alpha=alpha, improvement=improvement)
    assert found.lower <= found.upper
    assert found.lower >= -1
    assert found.upper <= 1
    if abs(found.lower - improvement) > 1e-6:
        assert found.won == (found.lower > improvement)
    assert not (found.won and found.lost)


@settings(max_examples=60)
@given(differences)
def test_swapping_the_two_turns_the_figures_round(d: Floats) -> None:
    one, other = verdict(d), verdict(-d)
    assert one.value == pytest.approx(-other.value)
    assert one.lower == pytest.approx(-other.upper)


@settings(max_examples=60)
@given(differences, st.floats(0, 0.5))
def test_rounding_never_helps_whoever_has_to_show_something(d: Floats, improvement: float) -> None:
    exact = np.log1p(challenge.STAKES[:, None] * (d - improvement)[None, :] / (1 + improvement))
    money = np.logaddexp.reduce(exact.sum(axis=1)) - math.log(len(challenge.STAKES))
    assert verdict(d, improvement=improvement).log_e <= money + 1e-4


@pytest.mark.parametrize(
    "losses",
    [
        np.array([0.5, 1.01]),
        np.array([-0.1, 0.5]),
        np.array([np.nan, 0.5]),
        np.array([np.inf, 0.5]),
        np.array([0.5]),
        np.array([[0.5, 0.5]]),
    ],
)
def test_what_is_no_loss_is_refused(losses: Floats) -> None:
    for pair in ((losses, np.array([0.1, 0.2])), (np.array([0.1, 0.2]), losses)):
        with pytest.raises(Usage):
            challenge.judge(*pair, alpha=0.05, improvement=0.0)


# -- slices ---------------------------------------------------------------------------------------


def pair(d: Floats) -> tuple[dict[str, Floats], dict[str, Floats]]:
    made = np.maximum(d, 0), np.maximum(-d, 0)
    return tuple({"brier": loss, "zero_one": np.round(loss)} for loss in made)  # type: ignore


def test_harm_in_a_slice_shows_where_the_whole_is_better() -> None:
    d = np.concatenate([np.full(900, 0.2), np.full(300, -0.2)])
    values = ["many"] * 900 + ["few"] * 300
    told = challenge.compare(*pair(d), Rules(slices=("group",), horizon="1d"), {"group": values})
    assert told["won"]
    harm = {part["value"]: part["harm"] for part in told["slices"]}
    assert harm["few"]["lower"] > 0.1
    assert harm["few"]["value"] == pytest.approx(0.2)
    assert harm["many"]["upper"] < 0


def test_a_slice_about_which_little_is_known_may_be_harmed() -> None:
    d = np.full(600, 0.1)
    values = ["a"] * 590 + ["b"] * 10
    rules = Rules(slices=("group",), slice_rows=5)
    told = challenge.compare(*pair(d), rules, {"group": values})
    harm = {part["value"]: part["harm"]["upper"] for part in told["slices"]}
    assert harm["b"] > 0.2 > 0 > harm["a"]


def test_rare_values_are_put_together_and_no_row_is_left_out() -> None:
    values = ["a"] * 500 + ["b"] * 300 + ["c"] * 40 + ["d"] * 30 + [None] * 5
    found = {name: int(rows.sum()) for name, rows in challenge.pooled(values, 70)}
    assert found == {"a": 500, "b": 300, challenge.OTHER: 75}
    # Those that are too few together take the next rarest in.
    found = {name: int(rows.sum()) for name, rows in challenge.pooled(values, 100)}
    assert found == {"a": 500, challenge.OTHER: 375}
    assert challenge.pooled([], 10) == []
    ((name, rows),) = challenge.pooled(["x"] * 3, 10)
    assert (name, rows.sum()) == (challenge.OTHER, 3)


@settings(max_examples=60)
@given(st.lists(st.sampled_from(["a", "b", "c", None, 1, 2.5])), st.integers(1, 20))
def test_every_row_is_in_exactly_one_slice(values: list[object], least: int) -> None:
    found = challenge.pooled(values, least)
    counts = sum((rows.astype(int) for _, rows in found), np.zeros(len(values), dtype=int))
    assert (counts == 1).all()
    if len(values) >= least:
        assert all(rows.sum() >= least for _, rows in found)


def test_too_few_rows_are_no_win_however_clear() -> None:
    told = challenge.compare(*pair(np.ones(100)), Rules(least_rows=101), {})
    assert not told["won"]
    assert challenge.compare(*pair(np.ones(100)), Rules(least_rows=100), {})["won"]


def test_the_level_is_shared_among_slices() -> None:
    d = np.full(400, 0.05)
    one = challenge.compare(*pair(d), Rules(slices=("a",)), {"a": ["x"] * 400})
    two = challenge.compare(
        *pair(d), Rules(slices=("a", "b")), {"a": ["x"] * 400, "b": ["y"] * 400}
    )
    assert two["slices"][0]["harm"]["upper"] > one["slices"][0]["harm"]["upper"]
