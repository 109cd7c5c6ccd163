"""The difference of a figure now and before, with its interval.

On the same rows both models see the same luck, so the rows are compared in pairs; figures of
different rows have only their own intervals to go by.

- Means of rows, and areas under ROC curves: the rows are drawn again with replacement, both models'
  scores of a row together, and the interval is corrected for bias and skewness (BCa: Efron, JASA 82
  (1987) 171-185).  Rows are drawn within each class for an area.
- Shares of the same rows: Newcombe, Statistics in Medicine 17 (1998) 2635-2650, method 10.  A
  bootstrap would take two models that agree on fifty rows to agree on all.
- Shares of different rows: Newcombe, Statistics in Medicine 17 (1998) 873-890, method 10.
- Two figures with intervals: MOVER, Zou & Donner, Statistics in Medicine 27 (2008) 1693-1702.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from assay.ci.model import Difference, Estimate, Method
from assay.errors import Usage

Floats: TypeAlias = NDArray[np.float64]

LEVEL = 0.95
DRAWS = 2_000
_LEAST_DRAWS = 400
_WORK = 200_000_000
"""Rows drawn altogether: more rows get fewer draws, since they need fewer."""
MOST_ROWS = 2_000_000
_AT_ONCE = 4_000_000
_NOTHING = 1e-12


def figures(now: Estimate, base: Estimate, *, level: float = LEVEL) -> Difference:
    """``now - base`` from their intervals, as for different rows; none where one has none."""
    value = now.value - base.value
    if now.lower is None or now.upper is None or base.lower is None or base.upper is None:
        return Difference(value=value, level=level)
    return _mover(now, base, 0.0, "MOVER", level)


def shares(now: tuple[int, int], base: tuple[int, int], *, level: float = LEVEL) -> Difference:
    """``now - base`` of two shares, each (hits, rows), of different rows."""
    return _mover(wilson(*now, level=level), wilson(*base, level=level), 0.0, "Newcombe", level)


def paired_shares(
    now: NDArray[np.bool_], base: NDArray[np.bool_], *, level: float = LEVEL
) -> Difference:
    """``now - base`` of the shares of rows that each model got right; the same rows."""
    _same_rows(now, base)
    both, neither = int((now & base).sum()), int((~now & ~base).sum())
    only_now, only_base = int((now & ~base).sum()), int((~now & base).sum())
    n = len(now)
    ones = (both + only_now, only_base + neither, both + only_base, only_now + neither)
    excess = both * neither - only_now * only_base
    if excess > 0:
        # Method 10's correction for continuity: with few rows a correlation is easily overrated.
        excess = max(excess - n / 2, 0)
    correlation = excess / math.sqrt(math.prod(ones)) if all(ones) else 0.0
    first, second = (wilson(int(hits.sum()), n, level=level) for hits in (now, base))
    return _mover(first, second, correlation, "Newcombe, paired", level)


def wilson(hits: int, rows: int, *, level: float = LEVEL) -> Estimate:
    """A share with Wilson's interval (JASA 22 (1927) 209-212)."""
    if not 0 <= hits <= rows or rows == 0:
        raise Usage(
            f"{hits} of {rows} rows is no share",
            remedy="count the hits among at least one row",
            code="ci.comparison",
        )
    z, value = _z(level), hits / rows
    centre = (value + z * z / (2 * rows)) / (1 + z * z / rows)
    reach = z * math.sqrt(value * (1 - value) / rows + z * z / (4 * rows * rows))
    reach /= 1 + z * z / rows
    lower = 0.0 if hits == 0 else max(0.0, centre - reach)
    upper = 1.0 if hits == rows else min(1.0, centre + reach)
    return Estimate(value=value, lower=lower, upper=upper)


def paired_means(
    now: Floats, base: Floats, *, seed: int, root: bool = False, level: float = LEVEL
) -> Difference:
    """``now - base`` of the means over the same rows, or with `root` of the means' square roots.

    Pass one figure a row: a loss, a squared error (with `root` the RMSE), a reward.
    """
    _same_rows(now, base)
    # Squares keep the roots real; a mean that is negative has none.
    if root and (now.min() < 0 or base.min() < 0):
        raise Usage(
            "a square root of a negative mean was asked for",
            remedy="pass squared errors, which are not negative",
            code="ci.comparison",
        )

    def figure(mean: Floats) -> Floats:
        return np.sqrt(mean) if root else mean

    means = np.array([now.mean(), base.mean()])
    slopes = _slopes(means) if root else np.ones(2)
    influence = (now - means[0]) * slopes[0] - (base - means[1]) * slopes[1]
    value = float(figure(means)[0] - figure(means)[1])

    def draw(random: np.random.Generator, draws: int) -> Floats:
        rows = random.integers(0, len(now), size=(draws, len(now)))
        return figure(now[rows].mean(axis=1)) - figure(base[rows].mean(axis=1))

    return _bootstrap(value, influence, draw, seed, level)


def _slopes(means: Floats) -> Floats:
    """How fast a root grows; nothing where it is nothing, since all its rows are."""
    return np.divide(0.5, np.sqrt(means), out=np.zeros(2), where=means > 0)


def paired_areas(
    positive: NDArray[np.bool_], now: Floats, base: Floats, *, seed: int, level: float = LEVEL
) -> Difference:
    """``now - base`` of the areas under the ROC curves of two models' scores of the same rows."""
    _same_rows(now, base)
    if len(positive) != len(now) or not 0 < int(positive.sum()) < len(now):
        raise Usage(
            "an area under a ROC curve needs a label for each row, and rows of both classes",
            remedy="pass the labels of the rows that were scored",
            code="ci.comparison",
        )
    curves = [_Curve(positive, scores) for scores in (now, base)]
    influence = curves[0].influence() - curves[1].influence()
    value = curves[0].area() - curves[1].area()
    high, low = np.flatnonzero(positive), np.flatnonzero(~positive)

    def draw(random: np.random.Generator, draws: int) -> Floats:
        found = np.empty(draws)
        for number in range(draws):
            counts = np.zeros(len(now))
            for rows in (high, low):
                picked = rows[random.integers(0, len(rows), size=len(rows))]
                counts += np.bincount(picked, minlength=len(now))
            found[number] = curves[0].area(counts) - curves[1].area(counts)
        return found

    return _bootstrap(value, influence, draw, seed, level)


class _Curve:
    """A ROC curve whose rows can be counted several times; sorted once."""

    def __init__(self, positive: NDArray[np.bool_], scores: Floats) -> None:
        _, self._rank = np.unique(scores, return_inverse=True)
        self._size = int(self._rank.max()) + 1
        self._positive = positive

    def _below(self, weights: Floats) -> Floats:
        """For each distinct score the weight of lower ones, and half of its own."""
        at = np.bincount(self._rank, weights=weights, minlength=self._size)
        return np.cumsum(at) - at / 2

    def area(self, counts: Floats | None = None) -> float:
        counts = np.ones(len(self._rank)) if counts is None else counts
        high, low = counts * self._positive, counts * ~self._positive
        won = float(high @ self._below(low)[self._rank])
        return won / (float(high.sum()) * float(low.sum()))

    def influence(self) -> Floats:
        """How much each row moves the area (DeLong's components, Biometrics 44 (1988) 837-845)."""
        high, low = int(self._positive.sum()), int((~self._positive).sum())
        of_high = self._below((~self._positive).astype(np.float64))[self._rank] / low
        of_low = 1 - self._below(self._positive.astype(np.float64))[self._rank] / high
        components = np.where(self._positive, of_high, of_low) - self.area()
        return components * len(self._rank) / np.where(self._positive, high, low)


def _bootstrap(
    value: float,
    influence: Floats,
    draw: Callable[[np.random.Generator, int], Floats],
    seed: int,
    level: float,
) -> Difference:
    method: Method = "paired bootstrap"
    if not np.abs(influence).max() > _NOTHING:
        # The same in every row: drawing them again shows nothing else.
        return Difference(value=value, lower=value, upper=value, method=method, level=level)
    rows = len(influence)
    draws = max(_LEAST_DRAWS, min(DRAWS, _WORK // rows))
    at_once = max(1, _AT_ONCE // rows)
    random = np.random.default_rng(seed)
    found = np.concatenate(
        [draw(random, min(at_once, draws - done)) for done in range(0, draws, at_once)]
    )
    ends = _bca(found, value, influence, level)
    return Difference(
        value=value,
        lower=min(value, float(ends[0])),
        upper=max(value, float(ends[1])),
        method=method,
        level=level,
    )


def _bca(found: Floats, value: float, influence: Floats, level: float) -> Floats:
    """The quantiles of the draws that bound the interval."""
    below = (float((found < value).sum()) + float((found == value).sum()) / 2) / len(found)
    least = 0.5 / len(found)
    bias = float(special.ndtri(min(max(below, least), 1 - least)))
    cubes, squares = float((influence**3).sum()), float((influence**2).sum())
    skew = cubes / (6 * squares**1.5)
    # Few rows have longer tails than a normal law: Student's quantile, spread by n / (n - 1).
    n = len(influence)
    z = float(stats.t.ppf(0.5 + level / 2, n - 1)) * math.sqrt(n / (n - 1))
    shifted = bias + np.array([-z, z])
    corrected = bias + shifted / np.maximum(1 - skew * shifted, 0.1)
    return np.quantile(found, special.ndtr(corrected))


def _mover(
    now: Estimate, base: Estimate, correlation: float, method: Method, level: float
) -> Difference:
    value = now.value - base.value
    below = _reach(_down(now), _up(base), correlation)
    above = _reach(_up(now), _down(base), correlation)
    return Difference(
        value=value, lower=value - below, upper=value + above, method=method, level=level
    )


def _down(figure: Estimate) -> float:
    return figure.value - (figure.value if figure.lower is None else figure.lower)


def _up(figure: Estimate) -> float:
    return (figure.value if figure.upper is None else figure.upper) - figure.value


def _reach(mine: float, other: float, correlation: float) -> float:
    return math.sqrt(max(0.0, mine * mine + other * other - 2 * correlation * mine * other))


def _z(level: float) -> float:
    if not 0.5 <= level < 1:
        raise Usage(f"{level} is no level of confidence", remedy="use 0.95", code="ci.comparison")
    return float(stats.norm.ppf(0.5 + level / 2))


def _same_rows(now: NDArray[np.generic], base: NDArray[np.generic]) -> None:
    rows = len(now)
    finite = all(np.isfinite(part.astype(np.float64)).all() for part in (now, base))
    if now.shape != (rows,) or base.shape != (rows,) or not 2 <= rows <= MOST_ROWS or not finite:
        raise Usage(
            f"rows cannot be compared in pairs: shapes {now.shape} and {base.shape}",
            remedy=f"pass one finite figure of each model for each of 2 to {MOST_ROWS:,} rows",
            code="ci.comparison",
        )
