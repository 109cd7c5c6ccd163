"""Estimates with confidence intervals: areas under ROC curves, shares, means, differences.

An `Estimate` keeps how much each row moved it (its influence), so that a difference between two
estimates from the same rows gets the interval of a *paired* comparison.

- AUC: DeLong, DeLong & Clarke-Pearson, Biometrics 44 (1988) 837-845, computed in O(n log n) as in
  Sun & Xu, IEEE Signal Processing Letters 21 (2014) 1389-1393; the interval is taken on the logit
  scale (Pepe 2003, 5.2.5), which stays in [0, 1].  For two classes it is widened to that of
  Newcombe, Statistics in Medicine 25 (2006) 559-573, method 5, where that reaches further: with
  few positives and a high AUC the sample hides its own variance, and DeLong's bound is too high in
  one sample of ten rather than one of forty.
- Shares: Wilson, JASA 22 (1927) 209-212.
- Differences: MOVER, Zou, Psychological Methods 12 (2007) 399-413, from the two intervals and
  their correlation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats

Floats: TypeAlias = NDArray[np.float64]
Bools: TypeAlias = NDArray[np.bool_]

LEVEL = 0.95
"""The level of two-sided intervals: each bound alone is exceeded with probability 2.5 %."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure, its interval, and its influence per row, whose squares sum to the variance."""

    value: float
    lower: float
    upper: float
    influence: Floats

    def as_dict(self) -> dict[str, float]:
        return {
            "value": float(self.value),
            "lower": float(self.lower),
            "upper": float(self.upper),
            "standard_error": math.sqrt(self.variance),
        }

    @property
    def variance(self) -> float:
        return float(self.influence @ self.influence)


def z_of(level: float) -> float:
    """The standard normal quantile of a two-sided interval."""
    return float(stats.norm.ppf(0.5 + level / 2))


def auc(positive: Bools, scores: Floats, level: float = LEVEL) -> Estimate:
    """The area under the ROC curve of `scores` (n,) against `positive` (n,).

    Needs at least one positive and one negative.  Where every pair is in order the data show no
    variance, but not certainty: then the bound is Clopper-Pearson's for the min(positives,
    negatives) pairs that share no row.
    """
    influence, value = _auc_influence(positive, scores)
    high, low = int(positive.sum()), int((~positive).sum())
    found = _bounded_estimate(value, influence, min(high, low), level)
    if not found.lower < value < found.upper:
        return found
    lower, upper = _newcombe(value, high, low, z_of(level))
    return replace(found, lower=min(lower, found.lower), upper=max(upper, found.upper))


def _newcombe(value: float, high: int, low: int, z: float) -> tuple[float, float]:
    """The AUCs that are just z of their own standard errors (Hanley & McNeil 1982) away."""

    def beyond(x: float) -> float:
        spread = 1 + ((high + low) / 2 - 1) * ((1 - x) / (2 - x) + x / (1 + x))
        return (value - x) ** 2 - z * z * x * (1 - x) * spread / (high * low)

    below, above = (
        optimize.root_scalar(beyond, bracket=ends).root for ends in ((0, value), (value, 1))
    )
    return float(below), float(above)


def macro_auc(classes: NDArray[np.int64], scores: Floats, level: float = LEVEL) -> Estimate:
    """The mean of one-versus-rest AUCs over the classes that occur: `classes` (n,) are indices
    of the columns of `scores` (n, k)."""
    present = [k for k in range(scores.shape[1]) if 0 < int((classes == k).sum()) < len(classes)]
    parts = [_auc_influence(classes == k, scores[:, k]) for k in present]
    value = float(np.mean([value for _, value in parts]))
    influence = np.mean([influence for influence, _ in parts], axis=0)
    pairs = min(min(int((classes == k).sum()), int((classes != k).sum())) for k in present)
    return _bounded_estimate(value, influence, pairs, level)


def _auc_influence(positive: Bools, scores: Floats) -> tuple[Floats, float]:
    """DeLong's structural components, centred and scaled so that their squares sum to his
    variance, in the order of the rows; and the AUC."""
    high, low = scores[positive], scores[~positive]
    ranks = stats.rankdata(np.concatenate((high, low)))
    of_high = (ranks[: len(high)] - stats.rankdata(high)) / len(low)
    of_low = 1 - (ranks[len(high) :] - stats.rankdata(low)) / len(high)
    influence = np.empty(len(scores))
    for rows, components in ((positive, of_high), (~positive, of_low)):
        count = len(components)
        # A single row shows no spread; it is given the widest there can be.
        spread = components - components.mean() if count > 1 else np.array([0.5])
        influence[rows] = spread / math.sqrt(count * max(count - 1, 1))
    return influence, float(of_high.mean())


def _bounded_estimate(value: float, influence: Floats, pairs: int, level: float) -> Estimate:
    """A share-like estimate with a logit interval, exact where the logit does not exist."""
    error = math.sqrt(float(influence @ influence))
    least, most = clopper_pearson(value * pairs, pairs, level)
    if not 0 < value < 1:
        return Estimate(value, least, most, influence)
    if error == 0:
        # Ties everywhere: a score that does not depend on the row is 0.5 for certain.
        return Estimate(value, value, value, influence)
    centre, reach = math.log(value / (1 - value)), z_of(level) * error / (value * (1 - value))
    lower, upper = _expit(centre - reach), _expit(centre + reach)
    return Estimate(value, lower, upper, influence)


def _expit(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x > -700 else 0.0


def clopper_pearson(successes: float, trials: int, level: float = LEVEL) -> tuple[float, float]:
    """The exact interval of a share (Clopper & Pearson, Biometrika 26 (1934) 404-413)."""
    tail = (1 - level) / 2
    lower = stats.beta.ppf(tail, successes, trials - successes + 1) if successes > 0 else 0.0
    upper = (
        stats.beta.ppf(1 - tail, successes + 1, trials - successes) if successes < trials else 1.0
    )
    return float(lower), float(upper)


def share(hits: Bools, level: float = LEVEL) -> Estimate:
    """The share of true values, with Wilson's interval."""
    n, value = len(hits), float(np.mean(hits))
    z = z_of(level)
    centre = (value + z * z / (2 * n)) / (1 + z * z / n)
    reach = z * math.sqrt(value * (1 - value) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    lower = 0.0 if value == 0 else max(0.0, centre - reach)
    upper = 1.0 if value == 1 else min(1.0, centre + reach)
    return Estimate(value, lower, upper, (hits - value) / n)


def mean(values: Floats, level: float = LEVEL) -> Estimate:
    """The mean of at least two values, with Student's interval."""
    n, value = len(values), float(np.mean(values))
    influence = (values - value) / math.sqrt(n * (n - 1))
    reach = float(stats.t.ppf(0.5 + level / 2, n - 1)) * math.sqrt(float(influence @ influence))
    return Estimate(value, value - reach, value + reach, influence)


def known(value: float, rows: int) -> Estimate:
    """A figure without uncertainty, for example the AUC of a score that is the same for all."""
    return Estimate(value, value, value, np.zeros(rows))


def difference(a: Estimate, b: Estimate, *, paired: bool) -> dict[str, float]:
    """``a - b`` with its interval, as plain JSON; `paired` when both are of the same rows."""
    if paired and a.value == b.value and np.array_equal(a.influence, b.influence):
        # The same in every row: no sample tells them apart, however skewed each interval is.
        return {"value": 0.0, "lower": 0.0, "upper": 0.0}
    correlation = 0.0
    if paired and a.variance > 0 and b.variance > 0:
        correlation = float(a.influence @ b.influence) / math.sqrt(a.variance * b.variance)
    value = a.value - b.value
    below = _reach(a.value - a.lower, b.upper - b.value, correlation)
    above = _reach(a.upper - a.value, b.value - b.lower, correlation)
    return {"value": value, "lower": value - below, "upper": value + above}


def _reach(mine: float, other: float, correlation: float) -> float:
    return math.sqrt(max(0.0, mine * mine + other * other - 2 * correlation * mine * other))
