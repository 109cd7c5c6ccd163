"""Has the loss grown?  Betting on losses as their labels come in, with a promise.

`Risk` watches losses in [0, 1] (a wrong answer is 1, or squared error of a probability, ..) of
which the mean may be at most `m`.

The promise
-----------
As long as the expectation of each loss, given everything before it, is at most m, an alarm within T
windows has probability at most T / (2 arl), as in `shift`; so several detectors that share out the
false alarms by weights keep the promise together, and the mean time to the first alarm of any is at
least `arl`.  Nothing else is assumed: not independence, not a constant distribution.

Why it holds
------------
A gambler who stakes the fraction c of his money on losses above m multiplies it by 1 + c (l - m)/m
for each loss l: with 0 <= c < 1 that is positive and, while the mean is at most m, not above 1 in
expectation (Waudby-Smith and Ramdas, *Estimating means of bounded random variables by betting*,
JRSS-B 2024, arXiv 2010.09686; as a monitor of deployed models: Podkopaev and Ramdas, *Tracking the
risk of a deployed model*, ICLR 2022, arXiv 2110.06177).  The product e_t over a window is an
e-value given the past, and M_t = (1 + M_{t-1}) e_t a Shiryaev-Roberts e-detector: M_t - t is a
supermartingale (Shin, Ramdas, Rinaldo, *E-detectors*, 2022, arXiv 2203.03532).  So the mean of M,
when it first reaches a limit or else at T, is at most T, and it reaches 2 arl within T windows with
probability at most T / (2 arl).  Averages over fixed stakes c, and over streams (slices) with fixed
weights, are e-detectors as well: all live in the one filtration of everything seen.  Where a window
has no label nobody starts, which makes M only smaller.

Windows are given as sums, because sums are what is kept.  Two lower bounds of the gambler's
product need no more, and the larger one, stake by stake, is used; below a true product, the promise
only becomes safer:

* log(1 + c (l-m)/m) is concave in l, hence above its chord on [0, 1]; for losses that are 0 or 1 it
  is the product itself;
* log(1 + c y) >= c y + (log(1-c) + c) y^2 for y >= -1 (Fan, Grama, Liu, *Exponential inequalities
  for martingales*, 2015), with the sum of squares: better for losses that vary little.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from assay import errors
from assay.monitor.detectors.cuts import Floats

STAKES: Floats = np.array([0.001, 0.002, 0.005, 0.01, 0.02, 0.04, 0.08, 0.15, 0.3, 0.6])
"""Fractions of the money: small stakes find small excesses, large ones find large excesses soon."""

_MOST = 700.0
"""Money is counted up to exp(700): above that only the fact matters."""


@dataclass(frozen=True, slots=True)
class Losses:
    """The losses of a window's labelled rows, each in [0, 1]: how many, their sum, of squares."""

    n: int
    total: float
    squares: float | None = None

    def __post_init__(self) -> None:
        squares = self.total if self.squares is None else self.squares
        slack = 1e-9 * max(1, self.n)
        fits = self.n >= 0 and math.isfinite(self.total) and math.isfinite(squares)
        if not (
            fits
            and -slack <= squares <= self.total + slack
            and self.total <= self.n + slack
            # The mean square is never below the squared mean.
            and squares * self.n >= self.total**2 - slack * max(1, self.n)
        ):
            raise errors.Usage(
                f"{self.n} losses with sum {self.total} and squares {self.squares} cannot all lie "
                "in [0, 1]",
                remedy="watch a loss that is bounded: 0 or 1 for right and wrong, squared error "
                "of a probability, or one divided by its largest value",
                code="monitor.losses",
            )


@dataclass(frozen=True, slots=True)
class RiskReading:
    """What the detector says at the end of a window."""

    number: int
    state: str
    """`ok`, or `empty`: no labelled row."""
    log_e: float
    """log of the money, averaged over stakes and streams."""
    log_limit: float
    crossed: bool
    by_stream: dict[str, float]
    """log of each stream's money, its weight included."""
    since: dict[str, int]
    """For each stream, the number of the window where its evidence began (Page 1954)."""

    @property
    def log_evidence(self) -> float:
        """Another name for `log_e`, not below 0."""
        return max(0.0, self.log_e)


class Risk:
    """Watches the mean loss of one stream, or of several (slices) with weights."""

    def __init__(
        self,
        m: float | Mapping[str, float],
        arl: float,
        *,
        weights: Mapping[str, float] | None = None,
        restart: bool = True,
    ) -> None:
        """`m` is the mean loss that is tolerated: see `tolerated`.  A name for each stream, or one.

        `restart`: after an alarm all stakes begin anew, so that a loss that stays too high is
        alarmed again, and one that has come back is not.
        """
        self.m = {"": float(m)} if isinstance(m, float | int) else dict(m)
        if not self.m or not all(0 <= limit <= 1 for limit in self.m.values()):
            raise errors.Usage(
                f"the tolerated mean loss is {m}; it must lie in [0, 1]",
                remedy="take the upper bound of the loss that was measured before release",
                code="monitor.risk",
            )
        if not (math.isfinite(arl) and arl >= 1):
            raise errors.Usage(
                f"one false alarm in {arl} windows was asked for; it must be at least 1 window",
                remedy="divide the windows of a year by the false alarms a year you can bear",
                code="monitor.arl",
            )
        given = {name: float((weights or {}).get(name, 1.0)) for name in self.m}
        whole = sum(given.values())
        if not all(math.isfinite(w) and w >= 0 for w in given.values()) or whole <= 0:
            raise errors.Usage(
                "the weights of the streams are not all finite, at least 0, and some above",
                remedy="mend the weights, or leave them out (then all are 1)",
                code="monitor.weights",
            )
        self._log_weights = {
            name: math.log(weight / whole) if weight else -math.inf
            for name, weight in given.items()
        }
        self.log_limit, self.restart, self.number = math.log(2 * arl), restart, 0
        self._start()

    def update(self, losses: Losses | Mapping[str, Losses]) -> RiskReading:
        """Take in the losses of the next window; a stream that is left out has had no label."""
        streams = {"": losses} if isinstance(losses, Losses) else losses
        unknown = sorted(streams.keys() - self.m.keys())
        if unknown:
            raise errors.Usage(
                f"losses were given for {unknown}, for which no tolerated loss is known",
                remedy="give losses for the slices of the baseline",
                code="monitor.stream",
            )
        self.number += 1
        for name, limit in self.m.items():
            if name not in streams or not streams[name].n or limit >= 1:
                # Nobody starts on a window that decides no bet: years without labels, or without a
                # limit, would otherwise add up to an alarm.
                continue
            gain = _log_gain(streams[name], limit)
            self._money[name] = np.minimum(np.logaddexp(0.0, self._money[name]) + gain, _MOST)
            # Page's sums date the change: a stake whose gains since then are lost begins anew.
            fresh = self._gains[name] <= 0
            self._begun[name] = np.where(fresh, self.number, self._begun[name])
            self._gains[name] = np.where(fresh, 0.0, self._gains[name]) + gain
        by_stream = {
            name: _log_mean(money) + self._log_weights[name] for name, money in self._money.items()
        }
        log_e = float(np.logaddexp.reduce(np.array(list(by_stream.values()))))
        crossed = log_e >= self.log_limit and any(part.n for part in streams.values())
        reading = RiskReading(
            number=self.number,
            state="ok" if any(part.n for part in streams.values()) else "empty",
            log_e=log_e,
            log_limit=self.log_limit,
            crossed=crossed,
            by_stream=by_stream,
            since={
                name: int(self._begun[name][np.argmax(gains)])
                for name, gains in self._gains.items()
            },
        )
        if crossed and self.restart:
            self._start()
        return reading

    def _start(self) -> None:
        self._money = {name: np.full(len(STAKES), -np.inf) for name in self.m}
        self._gains = {name: np.zeros(len(STAKES)) for name in self.m}
        self._begun = {name: np.full(len(STAKES), self.number + 1) for name in self.m}


def tolerated(losses: Losses, *, margin: float = 0.0, doubt: float = 0.01) -> float:
    """The mean loss to tolerate, from the losses measured before release.

    That is an upper bound of the true mean, wrong with probability at most `doubt`, times
    1 + `margin`: the rise that is not worth an alarm.  The reference is finite; a detector that
    took its mean for the truth would cry wolf on every model that was a little lucky there.

    The bound is Hoeffding's (1963, theorem 1), for independent losses in [0, 1]: the mean m for
    which n times the Kullback-Leibler divergence of the measured mean from m is log(1/doubt).
    """
    if not 0 < doubt < 1 or not (math.isfinite(margin) and margin >= 0):
        raise errors.Usage(
            f"a margin of {margin} with doubt {doubt} is not at least 0 and between 0 and 1",
            remedy="a margin of 0.1 tolerates a loss that is 10 % higher than measured",
            code="monitor.risk",
        )
    if losses.n == 0:
        return 1.0
    mean = min(max(losses.total / losses.n, 0.0), 1.0)
    enough = -math.log(doubt) / losses.n
    low, high = mean, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if divergence(mean, middle) < enough else (low, middle)
    return min(1.0, high * (1 + margin))


def divergence(mean: float, m: float) -> float:
    """Kullback and Leibler's, of a coin with `mean` from one with `m`."""
    parts = ((mean, m), (1 - mean, 1 - m))
    return sum(a * math.log(a / b) if b else math.inf for a, b in parts if a)


def _log_gain(losses: Losses, m: float) -> Floats:
    """For each stake, a lower bound of the log of what the money is multiplied by."""
    n, total = losses.n, min(max(losses.total, 0.0), float(losses.n))
    if m <= 0:
        # Nothing is tolerated: the first loss is proof.
        return np.full(len(STAKES), _MOST if total > 0 else 0.0)
    chord = total * np.log1p(STAKES * (1 - m) / m) + (n - total) * np.log1p(-STAKES)
    if losses.squares is None:
        return np.clip(chord, -_MOST, _MOST)
    first = total / m - n
    second = max(0.0, losses.squares / (m * m) - 2 * total / m + n)
    curved = STAKES * first + (np.log1p(-STAKES) + STAKES) * second
    return np.clip(np.maximum(chord, curved), -_MOST, _MOST)


def _log_mean(values: npt.NDArray[np.float64]) -> float:
    return float(np.logaddexp.reduce(values) - math.log(len(values)))
