"""Other rules for drift alarms, on the counts of one history: for `bench/monitor_truth.py`.

A history is, for each feature, a reference (cells) and windows (days x cells).  A rule answers, day
by day, whether it is in alarm.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special, stats

from assay.monitor.detectors import shift
from assay.monitor.detectors.cuts import cuts_of

Floats = npt.NDArray[np.float64]
Alarms = npt.NDArray[np.bool_]
TILTS = np.array([0.5, 1.0, 2.0, 4.0, 8.0])


@dataclass(frozen=True)
class History:
    """Counts of each feature: a reference and a row for each day."""

    kinds: dict[str, str]
    reference: dict[str, npt.NDArray[np.int64]]
    days: dict[str, npt.NDArray[np.int64]]

    @property
    def length(self) -> int:
        return len(next(iter(self.days.values())))

    def day(self, number: int) -> dict[str, npt.NDArray[np.int64]]:
        return {name: counts[number] for name, counts in self.days.items()}


def assay(history: History, arl: float, tolerance: float) -> Alarms:
    """What this project does."""
    readings = shift.run(
        history.reference,
        (history.day(number) for number in range(history.length)),
        history.kinds,
        arl=arl,
        tolerance=tolerance,
    )
    return np.array([reading.crossed for reading in readings])


def _shares(counts: Floats) -> Floats:
    return counts / counts.sum(axis=-1, keepdims=True)


def psi_rule(history: History) -> Alarms:
    """Any feature with PSI > 0.2, empty cells counted as a share of 0.0001, as is customary."""
    alarms = np.zeros(history.length, dtype=bool)
    for name, reference in history.reference.items():
        a = np.maximum(_shares(reference[:-1].astype(np.float64)), 1e-4)
        b = np.maximum(_shares(history.days[name][:, :-1].astype(np.float64)), 1e-4)
        alarms |= ((b - a) * np.log(b / a)).sum(axis=1) > 0.2
    return alarms


def p_values(history: History) -> Floats:
    """Days x features: the chi-squared test of the day against the reference."""
    found: list[Floats] = []
    for name, reference in history.reference.items():
        a, b = reference[:-1].astype(np.float64), history.days[name][:, :-1].astype(np.float64)
        whole = a + b
        rows = b.sum(axis=1, keepdims=True)
        expected = whole * rows / (rows + a.sum())
        rest = whole - expected
        chi2 = ((b - expected) ** 2 / expected + (a - rest) ** 2 / rest).sum(axis=1)
        found.append(np.asarray(stats.chi2.sf(chi2, len(a) - 1), dtype=np.float64))
    return np.stack(found, axis=1)


def p_rule(history: History) -> Alarms:
    """Any feature with p < 0.05."""
    return np.asarray((p_values(history) < 0.05).any(axis=1))


def bh_rule(history: History) -> Alarms:
    """Benjamini and Hochberg's procedure at 0.05, each day."""
    p = np.sort(p_values(history), axis=1)
    steps = 0.05 * np.arange(1, p.shape[1] + 1) / p.shape[1]
    return np.asarray((p <= steps).any(axis=1))


def evidently_scores(history: History) -> Floats:
    """Days x features: what Evidently 0.7 computes by default for more than 1,000 reference rows.

    Numbers of more than 5 values: Wasserstein's distance divided by the reference's deviation.
    Categories: the Jensen-Shannon distance.  The values of an ordered feature are 0, 1, 2, ..
    """
    found: list[Floats] = []
    for name, reference in history.reference.items():
        a = _shares(reference[:-1].astype(np.float64))
        b = _shares(history.days[name][:, :-1].astype(np.float64))
        if history.kinds[name] == "ordered":
            values = np.arange(len(a))
            deviation = np.sqrt(a @ values**2 - (a @ values) ** 2)
            found.append(np.abs(np.cumsum(b - a, axis=1)).sum(axis=1) / deviation)
        else:
            middle = (a + b) / 2
            apart = special.rel_entr(a, middle) + special.rel_entr(b, middle)
            found.append(np.sqrt(np.maximum(apart.sum(axis=1) / 2, 0.0)))
    return np.stack(found, axis=1)


def evidently_column(history: History) -> Alarms:
    """Any column that Evidently's defaults call drifted (0.1 or more)."""
    return np.asarray((evidently_scores(history) >= 0.1).any(axis=1))


def evidently_dataset(history: History) -> Alarms:
    """Evidently's dataset drift: half of the columns or more."""
    return np.asarray((evidently_scores(history) >= 0.1).mean(axis=1) >= 0.5)


def _e_values(history: History) -> tuple[Floats, Floats]:
    """log e for each day, cut and tilt: each day against all before it; and the cuts' weights.

    From the normal approximation, which is generous: exact p-values are larger.
    """
    cuts = cuts_of(history.reference, history.kinds)
    reference = np.concatenate([history.reference[name] for name in cuts.features])
    days = np.concatenate([history.days[name] for name in cuts.features], axis=1)
    inside, among = cuts.tables(days)
    marked, total = cuts.tables(reference + np.cumsum(days, axis=0))
    share = marked / np.maximum(total, 1)
    variance = among * share * (1 - share) * (total - among) / np.maximum(total - 1, 1)
    z = np.where(variance > 0.5, (inside - among * share) / np.sqrt(np.maximum(variance, 0.5)), 0)
    log_e = z[..., None] * TILTS - TILTS**2 / 2
    return np.where((variance > 0.5)[..., None], log_e, 0.0), cuts.weights


def shiryaev_roberts(history: History, arl: float) -> Alarms:
    """The weighted mean of Shiryaev-Roberts e-detectors, started anew after an alarm.

    Its promise is not proven for several cuts: see `assay.monitor.detectors.shift`.
    """
    log_e, weights = _e_values(history)
    e = np.exp(np.minimum(log_e, 200.0))
    money = np.zeros(e.shape[1:])
    alarms = np.zeros(len(e), dtype=bool)
    for day, gain in enumerate(e):
        money = np.minimum((1 + money) * gain, 1e200)
        alarms[day] = weights @ money.mean(axis=1) >= arl
        if alarms[day]:
            money = np.zeros_like(money)
    return alarms


def backward(history: History, arl: float) -> Alarms:
    """The largest mean product of e-values over the last days: proven by Ville's inequality."""
    log_e, weights = _e_values(history)
    e = np.exp(np.minimum(log_e, 200.0))
    products = np.zeros((0, *e.shape[1:]))
    alarms = np.zeros(len(e), dtype=bool)
    for day, gain in enumerate(e):
        products = np.concatenate([products, np.ones((1, *gain.shape))])[-32:] * gain
        products = np.minimum(products, 1e200)
        alarms[day] = (products.mean(axis=2) @ weights).max() >= arl
        if alarms[day]:
            products = products[:0]
    return alarms
