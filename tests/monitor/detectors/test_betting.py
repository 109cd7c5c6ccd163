"""Betting on losses: fair to the null by enumeration, quick to find a loss that grew."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from assay import errors
from assay.monitor.detectors.betting import STAKES, Losses, Risk, _log_gain, tolerated


def zero_one(n: int, wrong: int) -> Losses:
    return Losses(n, float(wrong), float(wrong))


@pytest.mark.parametrize("m", [0.01, 0.1, 0.5, 0.95])
@pytest.mark.parametrize("n", [1, 7, 200])
def test_no_stake_gains_on_average_while_the_loss_is_what_is_tolerated(m: float, n: int) -> None:
    wrong = np.arange(n + 1)
    money = np.exp([_log_gain(zero_one(n, int(w)), m) for w in wrong])
    assert (stats.binom.pmf(wrong, n, m) @ money <= 1 + 1e-9).all()


def test_for_losses_of_zero_and_one_the_gain_is_the_gamblers_product() -> None:
    m, losses = 0.2, [0, 1, 1, 0, 0]
    product = np.prod([1 + STAKES * (loss - m) / m for loss in losses], axis=0)
    assert np.exp(_log_gain(zero_one(5, 2), m)) == pytest.approx(product)


def test_between_zero_and_one_no_stake_gains_either_with_or_without_squares() -> None:
    values, law = np.array([0.0, 0.1, 0.3, 1.0]), np.array([0.4, 0.3, 0.2, 0.1])
    m = float(values @ law)
    for squares in (False, True):
        mean = np.zeros(len(STAKES))
        for drawn in itertools.product(range(4), repeat=4):
            some = values[list(drawn)]
            told = Losses(4, float(some.sum()), float((some**2).sum()) if squares else None)
            mean += np.prod(law[list(drawn)]) * np.exp(_log_gain(told, m))
        assert (mean <= 1 + 1e-9).all()


@settings(max_examples=200, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.floats(0.01, 0.99))
def test_sums_never_say_more_than_the_losses_themselves(values: list[float], m: float) -> None:
    losses = np.array(values)
    told = Losses(len(values), float(losses.sum()), float((losses**2).sum()))
    product = np.log1p(STAKES[:, None] * (losses - m) / m).sum(axis=1)
    assert (_log_gain(told, m) <= product + 1e-7).all()


def test_squares_make_a_steady_loss_that_grew_a_little_visible_sooner() -> None:
    told = Losses(2000, 2000 * 0.12, 2000 * (0.12**2 + 0.0001))
    plain = Losses(2000, 2000 * 0.12)
    assert Risk(0.1, 365).update(told).log_e > Risk(0.1, 365).update(plain).log_e + 10


def test_the_money_follows_shiryaev_and_roberts() -> None:
    risk, money = Risk(0.3, 1e6), np.zeros(len(STAKES))
    for n, wrong in ((10, 3), (20, 9), (5, 1)):
        money = (1 + money) * np.exp(_log_gain(zero_one(n, wrong), 0.3))
        assert risk.update(zero_one(n, wrong)).log_e == pytest.approx(math.log(money.mean()))


def test_the_mean_time_to_a_false_alarm_is_at_least_what_was_asked_for() -> None:
    rng = np.random.default_rng(8)
    times: list[int] = []
    for _ in range(60):
        risk = Risk(0.1, 10)
        # A history that is cut off counts for less than it is worth.
        crossed = (risk.update(zero_one(50, int(rng.binomial(50, 0.1)))).crossed for _ in range(60))
        times.append(next((t + 1 for t, alarm in enumerate(crossed) if alarm), 60))
    assert np.mean(times) >= 10


def test_a_loss_that_doubles_is_found_within_days_and_dated() -> None:
    rng = np.random.default_rng(9)
    risk = Risk(tolerated(zero_one(5000, 500), margin=0.1), 365)
    for _ in range(30):
        assert not risk.update(zero_one(200, int(rng.binomial(200, 0.1)))).crossed
    readings = [risk.update(zero_one(200, int(rng.binomial(200, 0.2)))) for _ in range(8)]
    first = next(reading for reading in readings if reading.crossed)
    assert first.number <= 34
    assert first.since[""] >= 29


def test_after_an_alarm_the_stakes_begin_anew_unless_told_otherwise() -> None:
    for restart, after in ((True, False), (False, True)):
        risk = Risk(0.1, 10, restart=restart)
        assert risk.update(zero_one(300, 150)).crossed
        assert risk.update(zero_one(10, 1)).crossed is after


def test_a_slice_is_found_although_the_whole_looks_well_and_is_named() -> None:
    risk = Risk({"": 0.12, "sex=1": 0.12, "sex=2": 0.12}, 365)
    reading = risk.update(
        {"": zero_one(1000, 100), "sex=1": zero_one(800, 40), "sex=2": zero_one(200, 60)}
    )
    assert reading.crossed
    assert max(reading.by_stream, key=lambda name: reading.by_stream[name]) == "sex=2"
    assert reading.by_stream[""] < 0


def test_weights_are_shares_of_the_money() -> None:
    even = Risk({"a": 0.1, "b": 0.1}, 100).update({"a": zero_one(100, 30)})
    mostly = Risk({"a": 0.1, "b": 0.1}, 100, weights={"a": 9, "b": 1}).update(
        {"a": zero_one(100, 30)}
    )
    assert mostly.by_stream["a"] == pytest.approx(even.by_stream["a"] + math.log(0.9 / 0.5))
    none = Risk({"a": 0.1, "b": 0.1}, 100, weights={"a": 0}).update({"a": zero_one(100, 90)})
    assert not none.crossed


def test_windows_without_labels_say_so_and_cannot_alarm() -> None:
    risk = Risk(0.1, 1)
    for _ in range(50):
        reading = risk.update(Losses(0, 0.0))
        assert (reading.state, reading.crossed) == ("empty", False)
    assert risk.update({}).state == "empty"


def test_where_nothing_is_tolerated_the_first_loss_is_proof_and_where_all_is_nothing_is() -> None:
    assert not Risk(0.0, 365).update(zero_one(1000, 0)).crossed
    assert Risk(0.0, 365).update(zero_one(1000, 1)).crossed
    assert not Risk(1.0, 365).update(zero_one(1000, 1000)).crossed


def test_a_long_run_of_losses_does_not_overflow() -> None:
    risk = Risk(0.01, 365, restart=False)
    readings = [risk.update(zero_one(10**6, 10**6)) for _ in range(50)]
    reading = readings[-1]
    assert reading.crossed
    assert math.isfinite(reading.log_e)


@pytest.mark.parametrize(("n", "wrong"), [(50, 5), (50, 0), (2000, 200), (100_000, 10_000)])
def test_what_is_tolerated_lies_above_the_measured_loss_and_comes_near_with_rows(
    n: int, wrong: int
) -> None:
    limit = tolerated(zero_one(n, wrong))
    mean = wrong / n
    exact = stats.beta.ppf(0.99, wrong + 1, n - wrong)
    assert mean < limit <= mean + 1.4 * (exact - mean)
    assert tolerated(zero_one(n, wrong), margin=0.1) == pytest.approx(min(1, 1.1 * limit))


@pytest.mark.parametrize("m", [0.02, 0.2, 0.6])
def test_what_is_tolerated_covers_the_true_loss_as_often_as_it_says(m: float) -> None:
    n = 150
    wrong = np.arange(n + 1)
    below = np.array([tolerated(zero_one(n, int(w)), doubt=0.05) < m for w in wrong])
    assert stats.binom.pmf(wrong, n, m) @ below <= 0.05


def test_without_a_measurement_every_loss_is_tolerated() -> None:
    assert tolerated(Losses(0, 0.0)) == 1.0


@pytest.mark.parametrize(
    ("n", "total", "squares"),
    [
        (10, 11.0, None),
        (10, -1.0, None),
        (-1, 0.0, None),
        (10, math.nan, None),
        (10, 5.0, 6.0),
        (10, 5.0, 2.0),
        (10, 5.0, math.inf),
    ],
)
def test_sums_that_no_losses_between_zero_and_one_have_are_refused(
    n: int, total: float, squares: float | None
) -> None:
    with pytest.raises(errors.Usage, match="cannot all lie in"):
        Losses(n, total, squares)


@pytest.mark.parametrize(
    ("m", "arl", "weights"),
    [
        (1.5, 10, None),
        (-0.1, 10, None),
        (math.nan, 10, None),
        ({}, 10, None),
        (0.1, 0, None),
        (0.1, math.inf, None),
        ({"a": 0.1}, 10, {"a": 0}),
        ({"a": 0.1}, 10, {"a": -1}),
    ],
)
def test_a_knob_out_of_range_is_refused(m: Any, arl: float, weights: Any) -> None:
    with pytest.raises(errors.Usage):
        Risk(m, arl, weights=weights)


def test_losses_of_a_stream_that_is_not_known_are_refused() -> None:
    with pytest.raises(errors.Usage, match="sex=3"):
        Risk({"sex=1": 0.1}, 10).update({"sex=3": zero_one(5, 1)})


@pytest.mark.parametrize(("margin", "doubt"), [(-0.1, 0.01), (math.nan, 0.01), (0, 0), (0, 1)])
def test_a_margin_or_doubt_out_of_range_is_refused(margin: float, doubt: float) -> None:
    with pytest.raises(errors.Usage):
        tolerated(zero_one(10, 1), margin=margin, doubt=doubt)


def test_years_without_labels_or_a_limit_do_not_add_up_to_an_alarm() -> None:
    detector = Risk({"all": 0.1, "free": 1.0}, arl=10)
    for _ in range(2_000):
        assert detector.update({"free": Losses(50, 50.0)}).log_evidence == 0
    assert not detector.update({"all": Losses(1, 0.0), "free": Losses(50, 50.0)}).crossed
