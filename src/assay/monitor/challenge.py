"""Is the challenger better than the champion?  Betting on paired losses, at any time.

Both answered the same labelled requests.  For each, d is the champion's loss minus that of the
challenger: between -1 and 1, above 0 where the challenger did better.  The question is whether the
mean of d is above the smallest `improvement` that is worth a change.

The promise
-----------
While the challenger is no better (the expectation of each d, given the past, is at most
`improvement`), the probability that it is *ever* found to have won is at most `alpha`, however
often and whenever one looks.  So a challenge may be looked at every day, until it is won or given
up.

Why it holds
------------
A gambler who stakes the fraction c of his money on d above m multiplies it by
1 + c (d - m)/(1 + m), which is positive for c < 1 and, as long as the mean is at most m, not above
1 in expectation.  His money, averaged over fixed stakes c, is a nonnegative supermartingale that
began at 1, and Ville's inequality says that it ever reaches 1/alpha with probability at most alpha:
Waudby-Smith and Ramdas, *Estimating means of bounded random variables by betting*, JRSS-B 86 (2024)
1-27, arXiv 2010.09686.  All m that a gambler could not exclude so make a confidence sequence: its
lower bound is the largest m against which he won 1/alpha.  Each bound holds alone at level alpha.

With fixed stakes the money depends on the differences and not on their order, so counts are
enough.  They are counted in cells of a thousandth, rounded *against* whoever has something to show:
down for the lower bound and the money, up for the upper bound.  That can only lose power.

No harm to a slice is shown by the upper bound of its loss, and not by the absence of a difference:
a slice about which little is known is one in which harm may be done.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from assay.errors import Usage
from assay.evidence.plans import Rules

Floats = NDArray[np.float64]

_CELLS = 1_000
STAKES: Floats = np.array([0.003, 0.006, 0.0125, 0.025, 0.05, 0.1, 0.17, 0.25, 0.35, 0.5, 0.7, 0.9])
"""Fractions of the money: for differences that are small and large, in few rows and many."""
_STEPS = 40
OTHER = "(others)"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the paired differences show."""

    rows: int
    value: float
    """The mean difference."""
    lower: float
    upper: float
    log_e: float
    """log of the gambler's money against the smallest improvement."""
    won: bool
    lost: bool
    """Whether it is shown that the challenger is not better by as much as is asked for."""


def judge(champion: Floats, challenger: Floats, *, alpha: float, improvement: float) -> Verdict:
    """The verdict over losses of both on the same rows, each in [0, 1]; raises `Usage`."""
    d = _differences(champion, challenger)
    log_e = _log_money(_counts(d, down=True), improvement)
    lower, upper = _lower(d, alpha), -_lower(-d, alpha)
    return Verdict(
        rows=len(d),
        value=_average(d),
        lower=lower,
        upper=upper,
        log_e=log_e,
        won=log_e >= -math.log(alpha),
        lost=upper < improvement,
    )


def compare(
    champion: Mapping[str, Floats],
    challenger: Mapping[str, Floats],
    rules: Rules,
    slices: Mapping[str, Sequence[Any]],
) -> dict[str, Any]:
    """What a statement says of a challenge: `champion` and `challenger` map each loss to what it
    was, row by row; `slices` map columns to their values in the same rows."""
    loss = rules.loss
    found = judge(
        champion[loss], challenger[loss], alpha=rules.alpha, improvement=rules.improvement
    )
    parts = [
        (column, value, rows)
        for column in rules.slices
        for value, rows in pooled(slices[column], rules.slice_rows)
    ]
    return {
        "rows": found.rows,
        "loss": loss,
        "alpha": rules.alpha,
        "improvement": rules.improvement,
        "mean": _figure(found.value, found.lower, found.upper),
        "log_e": found.log_e,
        # Few rows can be lucky, and never less than the plan asks for.
        "won": found.won and found.rows >= rules.least_rows,
        "lost": found.lost,
        "losses": {
            name: {
                "champion": _mean(champion[name]),
                "challenger": _mean(challenger[name]),
            }
            for name in sorted(champion)
        },
        "slices": [
            {
                "column": column,
                "value": value,
                "rows": int(rows.sum()),
                "harm": _harm(
                    champion[loss][rows], challenger[loss][rows], rules.alpha / len(parts)
                ),
            }
            for column, value, rows in parts
        ],
    }


def pooled(values: Sequence[Any], least: int) -> list[tuple[str, NDArray[np.bool_]]]:
    """The rows of each value of a column.  Values with fewer rows than `least` are put together,
    with the next rarest ones as long as they still are too few, so that no row is left out."""
    named = np.array(["(missing)" if value is None else str(value) for value in values])
    names, places, counts = np.unique(named, return_inverse=True, return_counts=True)
    order = sorted(range(len(names)), key=lambda at: (counts[at], names[at]))
    together = [at for at in order if counts[at] < least]
    held = int(sum(counts[at] for at in together))
    for at in order[len(together) :]:
        if not together or held >= least:
            break
        together.append(at)
        held += int(counts[at])
    alone = sorted(set(range(len(names))) - set(together))
    found = [(str(names[at]), places == at) for at in alone]
    if together:
        found.append((OTHER, np.isin(places, together)))
    return found


def _differences(champion: Floats, challenger: Floats) -> Floats:
    pair = [np.asarray(losses, dtype=np.float64) for losses in (champion, challenger)]
    fits = all(losses.ndim == 1 and bool(np.all((losses >= 0) & (losses <= 1))) for losses in pair)
    if not fits or len(pair[0]) != len(pair[1]):
        raise Usage(
            "the losses of champion and challenger are not one number in [0, 1] for each row",
            remedy="compare models that both answer with probabilities",
            code="challenge.losses",
        )
    return pair[0] - pair[1]


def _counts(d: Floats, *, down: bool) -> NDArray[np.int64]:
    """How many differences lie in each cell from -1 to 1."""
    # What is a whole number of cells but for the last bits of a float stays there.
    cells = np.round(d * _CELLS, 6)
    rounded = np.floor(cells) if down else np.ceil(cells)
    return np.bincount(rounded.astype(np.int64) + _CELLS, minlength=2 * _CELLS + 1)


def _log_money(counts: NDArray[np.int64], m: float) -> float:
    """log of what a gambler has who bet on a mean above `m`, averaged over his stakes."""
    at = np.flatnonzero(counts)
    if not len(at) or m >= 1:
        return 0.0
    values = (at - _CELLS) / _CELLS
    gains = np.log1p(STAKES[:, None] * ((values - m) / (1 + m))[None, :])
    money = gains @ counts[at].astype(np.float64)
    return float(np.logaddexp.reduce(money) - math.log(len(STAKES)))


def _lower(d: Floats, alpha: float) -> float:
    """The lower bound of the confidence sequence of the mean of `d` at level alpha."""
    counts, limit = _counts(d, down=True), -math.log(alpha)
    low, high = -1.0, 1.0
    # A bet against m wins less, the larger m is.  At -1 itself nothing is at stake.
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if _log_money(counts, middle) >= limit:
            low = middle
        else:
            high = middle
    return low


def _harm(champion: Floats, challenger: Floats, alpha: float) -> dict[str, float]:
    """By how much the challenger's mean loss is higher."""
    d = _differences(challenger, champion)
    return _figure(_average(d), _lower(d, alpha), -_lower(-d, alpha))


def _figure(value: float, lower: float, upper: float) -> dict[str, float]:
    return {"value": round(value, 9), "lower": round(lower, 9), "upper": round(upper, 9)}


def _average(values: Floats) -> float:
    """Of no values 0; the same in any order."""
    return math.fsum(values.tolist()) / len(values) if len(values) else 0.0


def _mean(losses: Floats) -> float:
    return round(_average(losses), 9)
