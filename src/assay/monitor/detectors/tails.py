"""Tail probabilities of Fisher's noncentral hypergeometric law, never too small, at fixed cost.

Two samples of ``drawn`` and ``total - drawn`` rows hold ``marked`` rows of one kind between them.
Given that, the number of marked rows in the first sample follows Fisher's noncentral hypergeometric
law with the odds ratio of the two samples (Fisher 1935; with odds ratio 1 it is the hypergeometric
law of his exact test).  `log_upper` gives the logarithm of P(X >= seen), for whole arrays at once.

A p-value may be reported too large, never too small, so what is computed is an upper bound, tight
to better than one percent where it matters.  The terms ``f(x)`` are log-concave, hence

* between two points their logarithm lies *above* the chord: the sum over all x, the denominator, is
  bounded from below by geometric series between some sixty points around the mode;
* beyond a point the ratio of neighbours only falls: the sum over the tail, the numerator, is
  bounded from above by geometric series, block by block.

Both are exact where the law is narrow (the blocks are then single terms).  So the cost of a tail
does not grow with the number of rows.  Rounding: logarithms of factorials are good to some 1e-15
of their size, so a tail of 10^8 rows is off by less than one part in 10^5.
"""

from __future__ import annotations

import math
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.float64]

_TABLE: Floats = np.cumsum(np.log(np.maximum(np.arange(512, dtype=np.float64), 1.0)))
_AROUND: Floats = np.linspace(-7.0, 7.0, 57)
_BEYOND: Floats = np.concatenate([np.arange(0, 2, 0.125), np.arange(2, 5.01, 0.25)])
_HALF_LOG_TWO_PI = 0.5 * math.log(2 * math.pi)


def log_factorial(value: Floats) -> Floats:
    """log(value!) for whole numbers: a table, and Stirling's series beyond it."""
    x = np.maximum(value, 1.0)
    inverse = 1.0 / x
    square = inverse * inverse
    series = inverse * (1 / 12 - square * (1 / 360 - square * (1 / 1260)))
    far = (x + 0.5) * np.log(x) - x + _HALF_LOG_TWO_PI + series
    near = _TABLE[np.minimum(x, len(_TABLE) - 1).astype(np.intp)]
    return np.where(x < len(_TABLE), near, far)


class Law:
    """An array of such laws: `log_odds` is the logarithm of the odds ratio."""

    def __init__(
        self, drawn: Floats, marked: Floats, total: Floats, log_odds: float | Floats = 0.0
    ) -> None:
        self.drawn, self.marked, self.total = drawn, marked, total
        self.log_odds = np.broadcast_to(np.asarray(log_odds, dtype=np.float64), drawn.shape)
        self.least = np.maximum(0.0, drawn + marked - total)
        self.most = np.minimum(drawn, marked)

    def __getitem__(self, chosen: object) -> Law:
        take = np.asarray(chosen)
        return Law(self.drawn[take], self.marked[take], self.total[take], self.log_odds[take])

    def mode(self) -> Floats:
        """Where f(x+1) = f(x), within the support: a root of a quadratic (Liao and Rosen 2001)."""
        odds = np.exp(self.log_odds)
        rest = self.total - self.marked - self.drawn
        b = odds * (self.drawn + self.marked) + rest + 2
        c = odds * self.drawn * self.marked - rest - 1
        root = np.sqrt(np.maximum(b * b - 4 * (odds - 1) * c, 0.0))
        return np.clip(np.ceil(2 * c / (b + root)), self.least, self.most)

    def deviation(self, mode: Floats) -> Floats:
        """About the standard deviation: the curvature of log f at the mode."""
        rest = self.total - self.marked - self.drawn
        parts = [mode, self.drawn - mode, self.marked - mode, rest + mode]
        return 1.0 / np.sqrt(sum(1.0 / (part + 0.5) for part in parts))

    def log_term(self, x: Floats, shift: Floats) -> Floats:
        """log f(x), up to a constant; `shift` is the point where the odds term is zero.

        `x` has one more axis, at the end, than the laws.
        """
        drawn, marked, total = self.drawn[..., None], self.marked[..., None], self.total[..., None]
        return (
            (x - shift[..., None]) * self.log_odds[..., None]
            - log_factorial(x)
            - log_factorial(drawn - x)
            - log_factorial(marked - x)
            - log_factorial(total - marked - drawn + x)
        )

    def log_ratio(self, x: Floats) -> Floats:
        """log f(x+1) - log f(x); minus infinity at the end of the support."""
        drawn, marked, total = self.drawn[..., None], self.marked[..., None], self.total[..., None]
        above = np.maximum(drawn - x, 0.0) * np.maximum(marked - x, 0.0)
        below = (x + 1) * (total - marked - drawn + x + 1)
        with np.errstate(divide="ignore"):
            return np.log(above / below) + self.log_odds[..., None]


def log_upper(law: Law, seen: Floats) -> Floats:
    """log P(X >= seen), rounded up; exactly 0 (that is, P = 1) up to the mode."""
    mode = law.mode()
    step = law.deviation(mode)
    beyond = seen > mode
    answer = np.zeros(seen.shape)
    if beyond.any():
        part, x = law[beyond], seen[beyond]
        centre, width = mode[beyond], step[beyond]
        whole = _from_below(part, centre, width)
        tail = _from_above(part, x, centre, width)
        answer[beyond] = np.minimum(tail - whole, 0.0)
        answer[seen > law.most] = -np.inf
    return answer


def _from_below(law: Law, mode: Floats, width: Floats) -> Floats:
    """A lower bound of log(sum of all f): the chords of log f lie below it."""
    at = np.round(mode[..., None] + width[..., None] * _AROUND)
    at = np.clip(at, law.least[..., None], law.most[..., None])
    terms = law.log_term(at, mode)
    blocks = terms[..., :-1] + _log_series(np.diff(terms, axis=-1), np.diff(at, axis=-1))
    return _log_sum(np.concatenate([blocks, terms[..., -1:]], axis=-1))


def _from_above(law: Law, seen: Floats, mode: Floats, width: Floats) -> Floats:
    """An upper bound of log(sum of f from `seen` on): ratios of neighbours only fall."""
    at = np.ceil(seen[..., None] + width[..., None] * _BEYOND)
    at = np.minimum(at, law.most[..., None])
    terms, ratios = law.log_term(at, mode), law.log_ratio(at)
    steps = np.diff(at, axis=-1)
    with np.errstate(invalid="ignore"):
        drops = np.where(steps > 0, ratios[..., :-1] * steps, 0.0)
    blocks = terms[..., :-1] + _log_series(drops, steps)
    # Beyond the mode every ratio is at most one; the last series goes on for ever.
    last = terms[..., -1] - np.log(np.maximum(-np.expm1(ratios[..., -1]), 1e-12))
    return _log_sum(np.concatenate([blocks, last[..., None]], axis=-1))


def _log_series(drop: Floats, steps: Floats) -> Floats:
    """log of 1 + r + ... + r^(steps-1), where r^steps = exp(drop); minus infinity for no step."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = drop / steps
        value = np.where(np.abs(ratio) < 1e-9, steps, np.expm1(drop) / np.expm1(ratio))
        value = np.where(np.isneginf(drop), 1.0, value)
        return np.where(steps > 0, np.log(value), -np.inf)


def _log_sum(values: Floats) -> Floats:
    peak = np.max(values, axis=-1)
    safe = np.where(np.isfinite(peak), peak, 0.0)
    return safe + np.log(np.sum(np.exp(values - safe[..., None]), axis=-1))
