"""How good is the model on rows whose labels are not known yet?  Estimated from its scores.

The idea (confidence-based performance estimation, as in NannyML; Kull et al. and Garg et al. 2022
study the same): if a score is a calibrated probability, it says how often the answer is wrong.  The
baseline holds, for each bin of the score, how many of the reference rows were positive.  Made
monotone by isotonic regression (pool adjacent violators: Ayer et al. 1955; for calibration,
Zadrozny and Elkan 2002), that is the calibration q; for a window of which only the histogram of
scores is known, the expected confusion matrix follows, and every metric of it.

What it cannot see: a change of what the scores *mean* (concept drift).  Only labels show that.  It
is right when inputs change and P(label | score) does not.

The error of an estimate
------------------------
``error`` is a standard deviation of (realised metric - estimate), given the scores of the window
and the assumption above.  Both the window's unknown share of positives in each bin (c rows) and the
calibration of each block of bins that were pooled (n reference rows) vary about the truth, with
variance q(1-q)/c and q(1-q)/n; a metric changes by its gradient with respect to the bins' shares
(delta method), in which what a block has wrong all its bins have wrong together.  Variances use
(k + 1/2)/(n + 1) for a block with k of n positives, so that a block without positives is not taken
for certain.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from assay import errors
from assay.monitor.detectors.betting import Losses
from assay.monitor.detectors.cuts import Floats, as_counts

METRICS: tuple[str, ...] = ("accuracy", "precision", "recall", "specificity", "f1", "auc")


@dataclass(frozen=True, slots=True)
class Estimate:
    """A metric without labels: `value`, the standard deviation of its error, and a 95 % range."""

    value: float
    error: float

    @property
    def lower(self) -> float:
        return max(0.0, self.value - 1.96 * self.error)

    @property
    def upper(self) -> float:
        return min(1.0, self.value + 1.96 * self.error)


@dataclass(frozen=True, slots=True)
class Calibration:
    """The share of positives in each bin of the score, as measured on the reference."""

    share: Floats
    smooth: Floats
    rows: Floats
    """Reference rows behind the share: those of the whole block that was pooled."""
    positive: npt.NDArray[np.bool_]
    """Whether the model answers "positive" in the bin."""


def calibrate(
    counts: npt.ArrayLike, positives: npt.ArrayLike, edges: npt.ArrayLike, threshold: float
) -> Calibration:
    """The calibration of a baseline.

    `counts` and `positives` are per bin of the score; bin i holds scores from `edges[i]` up to
    `edges[i+1]` (one more edge than bins).  The threshold must be an edge: inside a bin it would
    not be known what the model answers.
    """
    rows = as_counts("scores", counts)
    hits = as_counts("positives", positives, len(rows))
    borders = np.asarray(edges, dtype=np.float64)
    if len(borders) != len(rows) + 1 or not (np.diff(borders) > 0).all():
        raise _bad(f"{len(borders)} edges do not bound {len(rows)} bins in rising order")
    if (hits > rows).any():
        raise _bad("a bin has more positives than rows")
    if not rows.sum():
        raise _bad("the reference has no labelled rows")
    scale = max(1.0, float(np.abs(borders[np.isfinite(borders)]).max(initial=0.0)))
    if np.abs(borders - threshold).min() > 1e-9 * scale:
        raise _bad(f"the threshold {threshold} is not an edge of the score's bins")
    block = pool_adjacent_violators(hits.astype(np.float64), rows.astype(np.float64))
    total = np.bincount(block, weights=rows).astype(np.float64)
    found = np.bincount(block, weights=hits).astype(np.float64)
    share, smooth = found / total, (found + 0.5) / (total + 1)
    return Calibration(
        share[block], smooth[block], total[block], borders[:-1] >= threshold - 1e-9 * scale
    )


def pool_adjacent_violators(hits: Floats, rows: Floats) -> npt.NDArray[np.int64]:
    """For each bin, the number of its block: the shares hits/rows of the blocks rise.

    A bin without rows joins the block before it (the first ones, the block after).
    """
    blocks: list[list[float]] = []
    for hit, row in zip(hits.tolist(), rows.tolist(), strict=True):
        if blocks and (row == 0 or blocks[-1][1] == 0):
            last = blocks[-1]
            blocks[-1] = [last[0] + hit, last[1] + row, last[2] + 1]
        else:
            blocks.append([hit, row, 1])
        # hits/rows of the earlier block >= those of the later one, without dividing
        while len(blocks) > 1 and blocks[-2][0] * blocks[-1][1] >= blocks[-1][0] * blocks[-2][1]:
            later = blocks.pop()
            earlier = blocks.pop()
            blocks.append([a + b for a, b in zip(earlier, later, strict=True)])
    return np.repeat(np.arange(len(blocks)), [int(block[2]) for block in blocks])


def estimate(score_counts: npt.ArrayLike, calibration: Calibration) -> dict[str, Estimate]:
    """Each metric of a window, of which only the histogram of scores is known.

    A metric that is not defined (no rows; precision without a positive answer; AUC with one class
    only) is left out: it is never 0 for want of data.
    """
    counts = as_counts("scores", score_counts, len(calibration.share)).astype(np.float64)
    if not counts.sum():
        return {}
    used = counts > 0
    q, c = calibration.share[used], counts[used]
    positive, s = calibration.positive[used], calibration.smooth[used]
    own = s * (1 - s) / c
    # The shares of blocks rise, so where they do not, it is the same block.
    block = np.cumsum(np.diff(q, prepend=q[0]) > 0)
    first = np.flatnonzero(np.diff(block, prepend=-1))
    common = (s * (1 - s) / np.maximum(calibration.rows[used], 0.5))[first]
    found: dict[str, Estimate] = {}
    for name in METRICS:
        metric = _METRICS[name]
        value = metric(q, c, positive)
        if not math.isnan(value):
            slope = _gradient(metric, q, c, positive)
            together = np.bincount(block, weights=slope)
            variance = np.sum(slope**2 * own) + np.sum(together**2 * common)
            found[name] = Estimate(value, math.sqrt(variance))
    return found


def expected_losses(score_counts: npt.ArrayLike, calibration: Calibration) -> Losses:
    """The window's expected 0/1 losses, row by row: for `betting.Risk`, before labels are known.

    The expected loss of a row is a number in [0, 1] that depends on its score only, so the promise
    of `betting.Risk` holds for it: no alarm as long as the *estimated* error rate has not grown.
    """
    counts = as_counts("scores", score_counts, len(calibration.share))
    loss = np.where(calibration.positive, 1 - calibration.share, calibration.share)
    return Losses(int(counts.sum()), float(counts @ loss), float(counts @ loss**2))


def _accuracy(q: Floats, c: Floats, positive: npt.NDArray[np.bool_]) -> float:
    return float(np.sum(c * np.where(positive, q, 1 - q)) / np.sum(c))


def _share(above: Floats | float, below: Floats | float) -> float:
    return float(above / below) if below > 0 else math.nan


def _precision(q: Floats, c: Floats, positive: npt.NDArray[np.bool_]) -> float:
    return _share(np.sum((c * q)[positive]), np.sum(c[positive]))


def _recall(q: Floats, c: Floats, positive: npt.NDArray[np.bool_]) -> float:
    return _share(np.sum((c * q)[positive]), np.sum(c * q))


def _specificity(q: Floats, c: Floats, positive: npt.NDArray[np.bool_]) -> float:
    return _share(np.sum((c * (1 - q))[~positive]), np.sum(c * (1 - q)))


def _f1(q: Floats, c: Floats, positive: npt.NDArray[np.bool_]) -> float:
    return _share(2 * np.sum((c * q)[positive]), np.sum(c[positive]) + np.sum(c * q))


def _auc(q: Floats, c: Floats, positive: npt.NDArray[np.bool_]) -> float:
    """Pairs in order, half of those in one bin: the scores inside a bin are not told apart."""
    del positive
    ones, zeros = c * q, c * (1 - q)
    lower = np.cumsum(zeros) - zeros
    return _share(np.sum(ones * (lower + zeros / 2)), np.sum(ones) * np.sum(zeros))


_Metric = Callable[[Floats, Floats, npt.NDArray[np.bool_]], float]

_METRICS: dict[str, _Metric] = {
    "accuracy": _accuracy,
    "precision": _precision,
    "recall": _recall,
    "specificity": _specificity,
    "f1": _f1,
    "auc": _auc,
}


def _gradient(metric: _Metric, q: Floats, c: Floats, positive: npt.NDArray[np.bool_]) -> Floats:
    """The slope with respect to each bin's share of positives, by central differences."""
    slope = np.zeros_like(q)
    for place in range(len(q)):
        low, high = q.copy(), q.copy()
        low[place], high[place] = max(0.0, q[place] - 1e-4), min(1.0, q[place] + 1e-4)
        slope[place] = (metric(high, c, positive) - metric(low, c, positive)) / (
            high[place] - low[place]
        )
    return np.nan_to_num(slope)


def _bad(what: str) -> errors.Usage:
    return errors.Usage(
        f"the baseline's scores cannot be used: {what}",
        remedy="record the baseline anew: assay monitor baseline",
        code="monitor.calibration",
    )
