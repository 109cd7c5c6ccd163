"""Has what comes in changed?  A scan of exact tests with a promise about false alarms.

The promise
-----------
With ``arl = A`` windows (a year's windows, divided by the false alarms a year that are tolerated):

    as long as nothing has changed, each window is in alarm with probability at most 1/(2A).

(With ``restart=True``: is the first to be in alarm.)  So a false alarm within T windows has
probability at most T/(2A); the mean time to the first one is at least A windows (the sum over T of
1 - T/(2A)); and without restarts at most half a false alarm is to be expected in A windows.
Several detectors that share out the false alarms, each with A divided by its share, keep this
together.  It holds for every number of rows in reference and windows, for any dependence among
features and cuts, and without any asymptotics.

Why it holds
------------
*Assumed*: rows are independent, and as long as nothing has changed, the odds of each cut (see
`cuts`) in any later row are at most w times those in any earlier one, and at least 1/w times;
reference rows come first, and had no say in what the cuts are (see `monitor.layouts`: edges are no
harm, and names of categories are chosen by other rows).  With tolerance 0, w = 1: identically
distributed.  Otherwise w is exp(tolerance) for a cut through the middle, and more for an uneven
one: see `log_odds_at`.

At the end of window T, and for each of some look-backs L fixed in advance, the last L windows (the
*block*) are compared with everything before them (reference and earlier windows, the *history*).
For a cut, let X be the rows inside in the block, H those in the history, N = X + H.

1. Tolerance 0: given N (and the numbers of rows), X is hypergeometric whatever the unknown share
   is, since N is sufficient for it.  Therefore p = P(X' >= X | N) is a valid p-value: P(p <= u) <=
   u.  The reference is finite and that costs nothing: this is Fisher's exact test.
2. Tolerance > 0: let b be the largest odds in the block and a the smallest in the history, b <= wa.
   X is a sum of independent Bernoulli variables with odds at most b, so X is smaller than
   Binomial(n, b/(1+b)) in the likelihood ratio order, which convolution of log-concave laws keeps
   (Shaked and Shanthikumar, Stochastic Orders, 2007, theorem 1.C.9); H is larger than its binomial
   with a.  The conditional law of X given N has probabilities proportional to P(X=x) P(H=N-x), so
   it is smaller, in the same order, than Fisher's noncentral law with odds ratio b/a, and so than
   the one with w.  The p-value under w is therefore valid for *every* drift within the tolerance,
   also for one that changes from row to row.  (w may depend on N, on which all is conditional.)
3. Cuts and look-backs have weights that sum to one; the window is in alarm when p <= weight / (2A)
   for one of them.  By the union bound that has probability at most 1/(2A).
4. `tails` rounds every p-value up, and cuts whose p-value is not computed only take chances away.

What was not built, and why
---------------------------
Shiryaev-Roberts e-detectors (Shin, Ramdas, Rinaldo, *E-detectors*, 2022, arXiv 2203.03532) over
the p-values of single windows against the pooled past: for *one* cut this is right: the randomised
p-values of successive windows are independent and uniform (given the pooled counts N_t and all that
came later, p_t is uniform: a backward filtration), the exact ones are larger, and a decreasing
calibrator (Vovk and Wang, *E-values*, 2021) keeps that order.  But an average over many cuts or
features needs all of them to be e-values in *one* forward filtration, and there they are not: the
joint law of two cuts' p-values depends on the pooled counts, and so do later p-values.  A small
example: shares 0.4, 0.4, 0.2, two rows in the reference and in each window, cuts "first" and
"second" category.  The e-value 5 x [p <= 1/5] of the second window's first cut has mean 1 given
that cut's own past, and 1.07 given that both cuts had p <= 1/2 in the first window (a test computes
it; in general: Choe and Ramdas, *Combining evidence across filtrations*, 2024, arXiv 2402.09698).
In the backward filtration all are e-values, so that the averaged product of e_s..e_T exceeds A for
some s with probability at most 1/A, by Ville's inequality read backwards.  That is right, but it
compares a window with a history that already holds the change, and needs more evidence for an alarm
than the exact p-value of the whole block (a calibrated p is never above 1/p).
``bench/monitor_truth.py`` prints all three side by side.

After an alarm
--------------
`restart=True` (default): the windows of the block that alarmed are set aside, and never enter the
history; comparison begins anew with the next window.  A change that stays is alarmed again as soon
as its evidence is there again, and what was a passing incident does not spoil the history.
`restart=False`: nothing is forgotten.  Up to the first alarm both are the same, and so is the
promise; after a false alarm, the reference that caused it is still there and may cause another.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from assay import errors
from assay.monitor.detectors import tails
from assay.monitor.detectors.cuts import Floats, Integers, Places, as_counts, cuts_of, row_of

LOOKBACKS: tuple[int, ...] = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)
"""In windows; besides them, always, everything since the reference (or the last alarm)."""

CANDIDATES = 12
"""For how many cuts and look-backs of a feature the exact tail is computed, the best first."""


@dataclass(frozen=True, slots=True)
class Cause:
    """The cut of a feature that carries its evidence: its cells' share rose from.. to.."""

    feature: str
    cells: tuple[int, ...]
    """The cells whose share, among `among`, is larger than it was."""
    among: tuple[int, ...]
    from_share: float
    to_share: float
    rows: int
    """In the block that is compared."""
    since: int
    """The number of the first window of that block; the first window of all has the number 1."""
    log_evidence: float


@dataclass(frozen=True, slots=True)
class Reading:
    """What the detector says at the end of a window."""

    number: int
    state: str
    """`ok`, or `empty`: there was no row of any watched feature."""
    log_evidence: float
    """-log of the probability that chance alone shows as much in a window; at least 0."""
    log_limit: float
    crossed: bool
    by_feature: dict[str, float]
    """The evidence of each feature, on the scale of `log_evidence`, which is their maximum."""
    causes: list[Cause] = field(default_factory=list[Cause])
    """The features with evidence, the strongest first."""
    absent: list[str] = field(default_factory=list[str])
    """Watched features that had no counts in this window."""
    unwatched: list[str] = field(default_factory=list[str])
    """Features whose reference has no rows: nothing can be said about them."""

    @property
    def log_e(self) -> float:
        """Another name for `log_evidence`."""
        return self.log_evidence

    @property
    def since(self) -> int | None:
        """Where the evidence begins, as the number of a window."""
        return self.causes[0].since if self.causes else None


class Shift:
    """Watches the counts of many features, window by window; see the module."""

    def __init__(
        self,
        reference: Mapping[str, npt.ArrayLike],
        kinds: Mapping[str, str],
        *,
        arl: float,
        tolerance: float = 0.0,
        weights: Mapping[str, float] | None = None,
        restart: bool = True,
    ) -> None:
        if not (math.isfinite(arl) and arl >= 1):
            raise errors.Usage(
                f"one false alarm in {arl} windows was asked for; it must be at least 1 window",
                remedy="divide the windows of a year by the false alarms a year you can bear",
                code="monitor.arl",
            )
        if not (math.isfinite(tolerance) and 0 <= tolerance <= 20):
            raise errors.Usage(
                f"the tolerance {tolerance} is not a logarithm of an odds ratio from 0 to 20",
                remedy="0 alarms on any change, 0.2 on odds that change by more than about 20 %",
                code="monitor.tolerance",
            )
        counts = {name: as_counts(name, values) for name, values in reference.items()}
        self.unwatched = [name for name, values in counts.items() if not values.sum()]
        if len(self.unwatched) == len(counts):
            raise errors.Usage(
                "the reference has no rows, so there is nothing to compare with",
                remedy="record a baseline from rows that the model has been tested on",
                code="monitor.reference",
            )
        self.log_limit, self.tolerance, self.restart = math.log(2 * arl), float(tolerance), restart
        watched = {name: c for name, c in counts.items() if name not in self.unwatched}
        self._cuts = cuts_of(watched, kinds, weights)
        self._history = np.concatenate(list(watched.values()))
        sides, shares = self._cuts.sides, np.append(self._cuts.weights, 0.0)
        # The larger weight of the two directions.
        larger = np.maximum(shares[sides.cut], shares[sides.turned])
        self._log_weights = np.log(np.maximum(larger, 1e-300))
        self._starts = np.array([place.start for place in self._cuts.cells.values()])
        self._begin()
        self.number = 0

    def update(self, counts: Mapping[str, npt.ArrayLike]) -> Reading:
        """Take in the next window's counts, and say what follows."""
        cells = row_of(counts, self._cuts.cells, len(self._history))
        rows = np.add.reduceat(cells, self._starts)
        absent = [self._cuts.features[place] for place in np.flatnonzero(rows == 0)]
        self._sums.append(self._sums[-1] + cells)
        self._tables.append(self._cuts.sides.tables(self._sums[-1]))
        self.number += 1
        self._since += 1
        best = self._scan() if cells.any() else []
        by_feature = dict.fromkeys(self._cuts.features, 0.0)
        by_feature.update({cause.feature: cause.log_evidence for cause in best})
        evidence = best[0].log_evidence if best else 0.0
        reading = Reading(
            number=self.number,
            state="ok" if cells.any() else "empty",
            log_evidence=evidence,
            log_limit=self.log_limit,
            crossed=bool(best) and evidence >= self.log_limit,
            by_feature=by_feature,
            causes=best,
            absent=absent,
            unwatched=self.unwatched,
        )
        if reading.crossed and self.restart:
            self._start_again(best[0].since)
        return reading

    def _lookbacks(self) -> list[int]:
        short = [length for length in LOOKBACKS if length < self._since]
        return [*short, self._since]

    def _begin(self) -> None:
        """No window since the reference, or since the restart."""
        # Sums of all windows since then, after 0, 1, .. of them, and their tables; the oldest are
        # let go.
        self._sums = deque([np.zeros_like(self._history)], LOOKBACKS[-1] + 1)
        self._tables = deque([self._cuts.sides.tables(self._sums[0])], LOOKBACKS[-1] + 1)
        self._before = self._cuts.sides.tables(self._history)
        self._since = 0

    def _place(self, windows: int) -> int:
        """Where the sum of the first so many windows is; -1 where that is none, or let go."""
        return len(self._sums) - 1 - (self._since - windows) if windows else -1

    def _sum(self, windows: int) -> Integers:
        """The sum of the first so many windows since the restart."""
        return self._sums[self._place(windows)] if windows else np.zeros_like(self._history)

    def _scan(self) -> list[Cause]:
        """Each feature's best cut and look-back, the strongest first, where there is evidence."""
        lengths = self._lookbacks()
        rows, columns, law, seen = self._far(lengths)
        if not len(rows):
            return []
        marked, total, mode = law.marked, law.total, law.mode()
        terms = law.log_term(np.stack([mode, seen], axis=-1), mode)
        weights = np.log(self._cuts.weights[columns] / len(lengths))
        score = np.where(seen > mode, terms[:, 0] - terms[:, 1], 0.0) + weights
        chosen = _best(self._cuts.feature[columns], score, CANDIDATES)
        evidence = weights[chosen] - tails.log_upper(law[chosen], seen[chosen])
        owner = self._cuts.feature[columns[chosen]]
        causes: list[Cause] = []
        for at in _best(owner, evidence, 1):
            if evidence[at] > 0:
                place = int(chosen[at])
                cut, n = self._cuts.cuts[int(columns[place])], law.drawn[place]
                earlier, x = total[place] - n, seen[place]
                causes.append(
                    Cause(
                        feature=cut.feature,
                        cells=cut.inside,
                        among=cut.among,
                        from_share=float((marked[place] - x) / earlier),
                        to_share=float(x / n),
                        rows=int(n),
                        since=self.number - lengths[int(rows[place])] + 1,
                        log_evidence=float(evidence[at]),
                    )
                )
        return sorted(causes, key=lambda cause: (-cause.log_evidence, cause.feature))

    def _far(self, lengths: list[int]) -> tuple[Places, Places, tails.Law, Floats]:
        """The look-backs and cuts that may carry evidence, with their laws and the rows inside.

        The rest is passed over, which is never a false alarm, and costs no evidence either: a tail
        z standard deviations beyond the mean is about exp(-z^2/2), and never was found to be below
        exp(-z^2) (a test looks for one); what is not below its weight is no evidence.
        """
        sides = self._cuts.sides
        (now, now_all), (first, first_all) = self._tables[-1], self._before
        marked, total = first + now, first_all + now_all
        share = marked / np.maximum(total, 1)[sides.among]
        wanted = np.maximum(4.0, math.log(len(lengths)) - self._log_weights)
        wanted = wanted * share * (1 - share)
        found: list[tuple[Floats, ...]] = []
        for at, length in enumerate(lengths):
            place = self._place(self._since - length)
            old, old_all = self._tables[place] if place >= 0 else (0.0, 0.0)
            inside, block = now - old, now_all - old_all
            among = block[sides.among]
            apart = inside - among * share
            spread = (block * (1 - block / np.maximum(total, 1)))[sides.among]
            far = np.flatnonzero(apart * apart > wanted * spread)
            up = apart[far] > 0
            x, n, m, whole = inside[far], among[far], marked[far], total[sides.among[far]]
            column = np.where(up, sides.cut[far], sides.turned[far])
            x, m = np.where(up, x, n - x), np.where(up, m, whole - m)
            # Whether it is beyond the mode of the law, which for a larger tolerance is higher.
            grown = (x + 1) * (whole - m - n + x + 1)
            kept = grown > (n - x) * (m - x) * math.exp(self.tolerance)
            kept &= (column >= 0) & (self._cuts.weights[column] > 0)
            made = (np.full(len(far), at), column, x, n, m, whole)
            found.append(tuple(part[kept] for part in made))
        rows, columns, seen, drawn, marked, total = map(np.concatenate, zip(*found, strict=True))
        order = np.lexsort((columns, rows))
        rows, columns, seen, drawn = rows[order], columns[order], seen[order], drawn[order]
        marked, total = marked[order], total[order]
        odds = log_odds_at(self.tolerance, marked, total)
        return rows, columns, tails.Law(drawn, marked, total, odds), seen

    def _start_again(self, since: int) -> None:
        """Set aside the windows from `since` on; those before it are history."""
        kept = self._sum(self._since - (self.number - since + 1))
        self._history = self._history + kept
        self._begin()


def log_odds_at(tolerance: float, marked: Floats, total: Floats) -> Floats | float:
    """The log odds ratio that weighs as much at the share marked/total as `tolerance` at one half.

    Weighed by the PSI of the two cells, (b - a) * log odds ratio, with a and b on either side of
    the share: so a rare category may change its odds by more than a common one, by as much as
    would be called as small a shift.
    """
    if tolerance == 0:
        return 0.0
    logits, found = _scale(tolerance)
    with np.errstate(divide="ignore", invalid="ignore"):
        logit = np.nan_to_num(np.log(marked) - np.log(total - marked), posinf=30.0, neginf=-30.0)
    return np.interp(np.abs(logit), logits, found)


@lru_cache(maxsize=16)
def _scale(tolerance: float) -> tuple[Floats, Floats]:
    logits = np.linspace(0.0, 30.0, 3001)
    wanted = tolerance * math.tanh(tolerance / 4)
    low, high = np.full_like(logits, tolerance), np.full_like(logits, 2 * 30.0 + 2 * tolerance)
    for _ in range(60):
        middle = (low + high) / 2
        apart = 1 / (1 + np.exp(-logits - middle / 2)) - 1 / (1 + np.exp(-logits + middle / 2))
        enough = apart * middle >= wanted
        low, high = np.where(enough, low, middle), np.where(enough, middle, high)
    return logits, high


def _best(owner: Places, score: Floats, most: int) -> Places:
    """The places of the `most` highest scores of each owner."""
    order = np.lexsort((-score, owner))
    ranked = owner[order]
    first = np.searchsorted(ranked, ranked, side="left")
    return order[np.arange(len(order)) - first < most]


def run(
    reference: Mapping[str, npt.ArrayLike],
    batches: Iterable[Mapping[str, npt.ArrayLike]],
    kinds: Mapping[str, str],
    *,
    arl: float,
    tolerance: float = 0.0,
    weights: Mapping[str, float] | None = None,
    restart: bool = True,
) -> list[Reading]:
    """The readings of all windows: the same for everyone who has the same counts."""
    detector = Shift(
        reference, kinds, arl=arl, tolerance=tolerance, weights=weights, restart=restart
    )
    return [detector.update(counts) for counts in batches]
