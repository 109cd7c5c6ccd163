"""How right answers were: figures with intervals, and losses for tests.

The intervals are at 95 % and answer for the luck of the draw of these rows.

- shares: Wilson (JASA 22 (1927) 209-212)
- AUC: the variance of DeLong, DeLong & Clarke-Pearson (Biometrics 44 (1988) 837-845), with the
  interval on the logit scale; where every pair is in order, Clopper and Pearson's for as many rows
  as the rarer class has
- F1: Wilson's for the share of rightly called rows among those that are positive or called so, of
  which F1 is an increasing function
- Brier score: normal, within [0, 1]
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from assay.errors import Usage
from assay.monitor.edges import Floats

Bools: TypeAlias = NDArray[np.bool_]
Codes: TypeAlias = NDArray[np.int64]
Z = 1.959963984540054
"""The normal quantile of two-sided 95 %."""
_TOLERANCE = 1e-3

METHOD = {
    "level": 0.95,
    "shares": "Wilson interval",
    "auc": "Mann-Whitney; DeLong variance on the logit scale; exact at 0 and 1",
    "f1": "Wilson interval of the share of rightly called rows among those positive or called so",
    "brier": "normal interval; half the summed squares over the classes, so between 0 and 1",
}
"""For those who read the figures."""


@dataclass(frozen=True, slots=True)
class Answered:
    """What a model answered, row by row.

    `score` is the probability of the positive class; with more than two classes, that of the class
    that was called.  `called` are places in `classes`.
    """

    classes: list[int | str]
    positive: int | None
    score: Floats
    called: Codes
    matrix: Floats
    cut: float
    """From which score on the positive class is called."""

    def __len__(self) -> int:
        return len(self.score)

    def take(self, rows: Bools) -> Answered:
        """Some of the rows."""
        score, called, matrix = self.score[rows], self.called[rows], self.matrix[rows]
        return Answered(self.classes, self.positive, score, called, matrix, self.cut)


@dataclass(frozen=True, slots=True)
class Judged:
    """The same with the truth: `right`, and losses between 0 and 1."""

    answered: Answered
    truth: Codes
    brier: Floats

    @property
    def right(self) -> Bools:
        return self.answered.called == self.truth

    @property
    def hit(self) -> Bools:
        """What a score speaks of: the positive class; or, with more classes, the called one."""
        positive = self.answered.positive
        return self.right if positive is None else self.truth == positive

    def take(self, rows: Bools) -> Judged:
        """Some of the rows."""
        return Judged(self.answered.take(rows), self.truth[rows], self.brier[rows])


def answered(
    matrix: ArrayLike,
    classes: Sequence[int | str],
    positive: int | str | None = None,
    threshold: float = 0.5,
) -> Answered:
    """Probabilities, rows × classes (or, of two classes, those of the positive one, a row or a
    column), as calls; raises `Usage` for what are none.

    Without `positive`, the second of two classes is it.
    """
    named = list(classes)
    if len(named) < 2:
        raise Usage(
            f"the model tells {len(named)} classes apart; there are at least two",
            remedy="register it with the classes that it predicts",
            code="performance.classes",
        )
    place = None
    if len(named) == 2:
        place = named.index(positive) if positive in named else 1
    table = np.asarray(matrix, dtype=np.float64)
    if table.ndim == 1:
        table = table[:, None]
    if place is not None and table.ndim == 2 and table.shape[1] == 1:
        both = (1 - table, table)
        table = np.hstack(both if place == 1 else both[::-1])
    if table.ndim != 2 or table.shape[1] != len(named):
        raise Usage(
            f"the scores have the shape {np.shape(matrix)} for {len(named)} classes",
            code="performance.scores",
        )
    wrong = ~probable(table)
    if wrong.any():
        raise Usage(
            f"the scores of {int(wrong.sum()):,} of {len(table):,} rows are no probabilities",
            remedy="a model that answers so is broken: hold it, and look at its inputs",
            code="performance.scores",
        )
    table = np.clip(table, 0, 1)
    if place is not None:
        score = table[:, place]
        called = np.where(score >= threshold, place, 1 - place).astype(np.int64)
    else:
        called = table.argmax(axis=1).astype(np.int64)
        score = table[np.arange(len(table)), called]
    return Answered(named, place, np.ascontiguousarray(score), called, table, threshold)


def probable(scores: Floats) -> Bools:
    """In which rows all scores are probabilities."""
    fits = np.isfinite(scores) & (scores >= -_TOLERANCE) & (scores <= 1 + _TOLERANCE)
    return fits if fits.ndim == 1 else np.logical_and.reduce(fits, axis=1)


def judge(given: Answered, labels: Sequence[int | str]) -> Judged:
    """Answers beside the truth; raises `Usage` for a label that is none of the classes."""
    if len(labels) != len(given):
        raise Usage(
            f"there are {len(labels):,} labels for {len(given):,} rows", code="performance.labels"
        )
    places = {label: place for place, label in enumerate(given.classes)}
    truth = np.array([places.get(label, -1) for label in labels], dtype=np.int64)
    if (truth < 0).any():
        raise Usage(
            f"{int((truth < 0).sum()):,} labels are none of the classes "
            f"{', '.join(map(str, given.classes))[:200]}",
            remedy="spell labels as the model's classes are spelt",
            code="performance.labels",
        )
    hits = np.zeros_like(given.matrix)
    hits[np.arange(len(truth)), truth] = 1
    # Half the squared distance: for two classes that of the positive one alone; at most 1.
    brier = np.clip(np.square(given.matrix - hits).sum(axis=1) / 2, 0, 1)
    return Judged(given, truth, brier)


def losses(judged: Judged) -> dict[str, dict[str, float | int]]:
    """Sums of losses between 0 and 1: ``{zero_one: {sum, n}, brier: {sum, squares, n}}``."""
    n = len(judged.truth)
    return {
        "zero_one": {"sum": int((~judged.right).sum()), "n": n},
        "brier": {
            "sum": float(judged.brier.sum()),
            "squares": float(judged.brier @ judged.brier),
            "n": n,
        },
    }


def figures(judged: Judged) -> dict[str, dict[str, Any]]:
    """``{metric: {value, lower, upper}}``; a metric that these rows cannot tell has the value None
    and says `why`."""
    n = len(judged.truth)
    if not n:
        return {"accuracy": unknown("no rows"), "brier": unknown("no rows")}
    found = {"accuracy": share(int(judged.right.sum()), n), "brier": _mean(judged.brier)}
    positive = judged.answered.positive
    if positive is None:
        return found
    truth, called = judged.truth == positive, judged.answered.called == positive
    both, either = int((truth & called).sum()), int((truth | called).sum())
    found["auc"] = auc(truth, judged.answered.score)
    found["precision"] = share(both, int(called.sum()), "nothing was called positive")
    found["recall"] = share(both, int(truth.sum()), "no row is positive")
    jaccard = share(both, either, "no row is positive or called so")
    found["f1"] = {
        key: 2 * value / (1 + value) if isinstance(value, float) else value
        for key, value in jaccard.items()
    }
    found["called_positive"] = share(int(called.sum()), n)
    found["positive"] = share(int(truth.sum()), n)
    return found


def unknown(why: str) -> dict[str, Any]:
    """A metric that cannot be told."""
    return {"value": None, "lower": None, "upper": None, "why": why}


def share(hits: int, n: int, why: str = "no rows") -> dict[str, Any]:
    """A share with Wilson's interval."""
    if not n:
        return unknown(why)
    value = hits / n
    centre = (value + Z * Z / (2 * n)) / (1 + Z * Z / n)
    reach = Z * math.sqrt(value * (1 - value) / n + Z * Z / (4 * n * n)) / (1 + Z * Z / n)
    return {
        "value": value,
        "lower": 0.0 if hits == 0 else max(0.0, centre - reach),
        "upper": 1.0 if hits == n else min(1.0, centre + reach),
    }


def _mean(values: Floats) -> dict[str, Any]:
    value, n = float(values.mean()), len(values)
    # A single row shows no spread; it is given the widest there can be.
    deviation = float(values.std(ddof=1)) if n > 1 else 1.0
    reach = Z * deviation / math.sqrt(n)
    return {"value": value, "lower": max(0.0, value - reach), "upper": min(1.0, value + reach)}


def auc(positive: Bools, score: Floats) -> dict[str, Any]:
    """The area under the ROC curve."""
    high, low = score[positive], score[~positive]
    if not len(high) or not len(low):
        return unknown("one class only")
    ranks = stats.rankdata(np.concatenate((high, low)))
    of_high = (ranks[: len(high)] - stats.rankdata(high)) / len(low)
    of_low = 1 - (ranks[len(high) :] - stats.rankdata(low)) / len(high)
    value = float(of_high.mean())
    pairs = min(len(high), len(low))
    if value in (0.0, 1.0) or pairs == 1:
        tail = 0.025 ** (1 / pairs)
        bounds = {0.0: (0.0, 1 - tail), 1.0: (tail, 1.0)}.get(value, (0.0, 1.0))
        return {"value": value, "lower": bounds[0], "upper": bounds[1]}
    variance = float(of_high.var(ddof=1)) / len(high) + float(of_low.var(ddof=1)) / len(low)
    centre = math.log(value / (1 - value))
    reach = Z * math.sqrt(variance) / (value * (1 - value))
    lower, upper = (1 / (1 + math.exp(-x)) for x in (centre - reach, centre + reach))
    return {"value": value, "lower": lower, "upper": upper}
