"""How far two columns of counts are apart: sizes, never alarms.

A p-value of one day says little about a day and much about its number of rows; whether something
has changed is asked of `detectors`.  These figures say how much, in the usual words:

================  =================================================================================
`psi`             population stability index, the sum of (q - p) ln(q / p) over the cells
`psi_noise`       what `psi` is on average without any change, for so many rows and cells
                  (Yurdakul & Naranjo, Journal of Risk Model Validation 14 (2020) 89-100)
`js`              Jensen-Shannon distance to the base 2, between 0 and 1 (Lin, IEEE Transactions on
                  Information Theory 37 (1991) 145-151)
`ks`              Kolmogorov-Smirnov distance at the edges: the most that the shares below one of
                  them differ; at most the distance of the uncut values
`wasserstein`     how far rows have to be moved on average, in the unit of the column, with each row
                  in the middle of its cell and those at the ends on the outermost edge
`wasserstein_sd`  the same in standard deviations of the reference
`chi2`            Pearson's statistic for two rows of counts, with `degrees` of freedom
`cramers_v`       sqrt(chi2 / rows), between 0 and 1 (Cramér, Mathematical Methods of Statistics,
                  1946, 21.9)
`new`             the share of the current rows in cells where the reference has none
================  =================================================================================

`psi`, `js`, `chi2` and `cramers_v` count what is in no cell, and what is missing, as two more
cells; `ks` and the Wasserstein distances are of the values present, and of numbers only.  Where a
cell is empty in one of the two, half a row is added to each cell of both for `psi`, which would be
infinite.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

import numpy as np

from assay.monitor.edges import Floats
from assay.monitor.layouts import Cells, Number
from assay.monitor.profiles import Counts, Profile, check_alike

State: TypeAlias = Literal[
    "ok", "empty", "withheld", "absent", "mistyped", "missing", "new", "no_reference"
]
FIGURES = (
    *("psi", "psi_noise", "js", "ks", "wasserstein", "wasserstein_sd"),
    *("chi2", "degrees", "cramers_v", "new"),
)


def of_profiles(reference: Profile, current: Profile) -> dict[str, dict[str, Any]]:
    """`compare` for each column; raises `Usage` for profiles of different layouts.

    A profile that says nothing gives the state ``empty`` or ``withheld`` for every column.
    """
    return Against(reference).of(current)


class Against:
    """A reference that many profiles are compared with, each as by `of_profiles`."""

    def __init__(self, reference: Profile) -> None:
        self._reference = reference
        self._names = [cells.name for cells in reference.layout.columns]
        self._columns = _Columns(reference.layout.columns, reference.columns)

    def of(self, current: Profile) -> dict[str, dict[str, Any]]:
        """`compare` for each column."""
        check_alike(self._reference, current)
        if self._reference.state != "ok":
            return {name: _nothing("no_reference") for name in self._names}
        if current.state != "ok":
            return {name: _nothing(current.state) for name in self._names}
        return dict(zip(self._names, self._columns.compare(current.columns), strict=True))


def compare(cells: Cells, reference: Counts, current: Counts) -> dict[str, Any]:
    """The figures above as plain JSON, None where one has no meaning, and the `state`:

    ``no_reference`` or ``empty`` (one of them has no rows: no figures), ``absent`` (no such column
    came), ``mistyped`` (text for numbers, or the reverse, came), ``missing`` (nothing but missing
    values came), ``new`` (values that the reference has not), else ``ok``.
    """
    return _Columns([cells], [reference]).compare([current])[0]


class _Columns:
    """All columns at once: a row for each, with zeros beyond its cells, its others and missing."""

    def __init__(self, cells: Sequence[Cells], reference: Sequence[Counts]) -> None:
        self._before = reference
        widths = np.array([column.cells + 2 for column in cells], dtype=np.int64)
        self._shape = len(cells), int(widths.max(initial=2))
        rows = np.repeat(np.arange(len(cells)), widths)
        starts = np.cumsum(widths) - widths
        self._places = rows, np.arange(len(rows)) - np.repeat(starts, widths)
        place = np.arange(self._shape[1])
        self._cells, self._known = place < widths[:, None] - 2, place < widths[:, None] - 1
        self._numbers = [isinstance(column, Number) for column in cells]
        self._steps = np.zeros(self._shape)
        for row, column in enumerate(cells):
            if isinstance(column, Number):
                apart = np.diff(centres(column))
                self._steps[row, : len(apart)] = apart
        self._p = self._matrix(reference)

    def _matrix(self, columns: Sequence[Counts]) -> Floats:
        made = np.zeros(self._shape)
        made[self._places] = [
            count
            for c in columns
            for count in (*c.counts, c.other + c.mistyped, c.missing + c.absent)
        ]
        return made

    def compare(self, current: Sequence[Counts]) -> list[dict[str, Any]]:
        """The figures of each column."""
        p, q = self._p, self._matrix(current)
        # Where a side has no rows the figures are none, and what is calculated here is not told.
        with np.errstate(all="ignore"):
            ks, moved = self._apart(p, q)
            fresh = np.where(p == 0, q, 0.0)
            told = {
                "psi": _psi(p, q),
                "js": _js(p / p.sum(axis=1)[:, None], q / q.sum(axis=1)[:, None]),
                "chi2": _chi2(p, q),
                "new": fresh.sum(axis=1) / q.sum(axis=1),
            }
        held = {name: values.tolist() for name, values in told.items()}
        used = np.count_nonzero(p + q, axis=1).tolist()
        sizes = [side.sum(axis=1).astype(np.int64).tolist() for side in (p, q)]
        present = np.all([(side * self._cells).any(axis=1) for side in (p, q)], axis=0).tolist()
        unknown = np.any(fresh * self._known, axis=1).tolist()
        made: list[dict[str, Any]] = []
        for row, (before, now) in enumerate(zip(self._before, current, strict=True)):
            n, m = sizes[0][row], sizes[1][row]
            if not n or not m:
                made.append(_nothing("empty" if n else "no_reference"))
                continue
            chi2, degrees = held["chi2"][row], used[row] - 1
            figures: dict[str, Any] = {
                "state": _state(before, now, n, m, unknown[row]),
                "psi": held["psi"][row],
                "psi_noise": degrees * (1 / n + 1 / m),
                "js": held["js"][row],
                "ks": None,
                "wasserstein": None,
                "wasserstein_sd": None,
                "chi2": chi2,
                "degrees": degrees,
                "cramers_v": math.sqrt(chi2 / (n + m)),
                "new": held["new"][row],
                "missing": [(c.missing + c.absent) / k for c, k in ((before, n), (now, m))],
            }
            if self._numbers[row] and present[row]:
                figures |= _ordered(before, ks[row], moved[row])
            made.append(figures)
        return made

    def _apart(self, p: Floats, q: Floats) -> tuple[list[float], list[float]]:
        """Kolmogorov and Smirnov's distance, and Wasserstein's, of the values present."""
        p, q = p * self._cells, q * self._cells
        shares = p / p.sum(axis=1)[:, None] - q / q.sum(axis=1)[:, None]
        apart = np.abs(np.cumsum(shares, axis=1))
        # Below the last edge lies everything, up to rounding.
        inner = np.zeros_like(self._cells)
        inner[:, :-1] = self._cells[:, 1:]
        apart = np.where(inner, apart, 0.0)
        return apart.max(axis=1).tolist(), (apart * self._steps).sum(axis=1).tolist()


def _nothing(state: State) -> dict[str, Any]:
    return {"state": state, **dict.fromkeys(FIGURES), "missing": [None, None]}


def _state(reference: Counts, current: Counts, n: int, m: int, new: bool) -> State:
    if current.absent:
        return "absent"
    if current.mistyped:
        return "mistyped"
    if current.missing == m and reference.missing < n:
        return "missing"
    return "new" if new else "ok"


def _psi(p: Floats, q: Floats) -> Floats:
    used = (p + q) > 0
    half = 0.5 * (used & ((p == 0) | (q == 0))).any(axis=1)[:, None] * used
    a, b = p + half, q + half
    a, b = a / a.sum(axis=1)[:, None], b / b.sum(axis=1)[:, None]
    return np.where(used, (b - a) * np.log(b / a), 0.0).sum(axis=1)


def _js(p: Floats, q: Floats) -> Floats:
    middle = (p + q) / 2
    terms = (np.where(x > 0, x * np.log2(x / middle), 0.0).sum(axis=1) for x in (p, q))
    return np.sqrt(np.clip(sum(terms) / 2, 0.0, 1.0))


def _chi2(p: Floats, q: Floats) -> Floats:
    n, m = p.sum(axis=1)[:, None], q.sum(axis=1)[:, None]
    # For two rows of counts Pearson's sum is this one, without the expected counts.
    terms = (p * np.sqrt(m / n) - q * np.sqrt(n / m)) ** 2 / (p + q)
    return np.where(p + q > 0, terms, 0.0).sum(axis=1)


def _ordered(reference: Counts, ks: float, moved: float) -> dict[str, Any]:
    if len(reference.counts) == 1:
        return {"ks": 0.0, "wasserstein": 0.0, "wasserstein_sd": 0.0}
    deviation = reference.moments.deviation if reference.moments else 0.0
    finite = math.isfinite(moved)
    return {
        "ks": ks,
        "wasserstein": moved if finite else None,
        "wasserstein_sd": moved / deviation if deviation and finite else None,
    }


def centres(cells: Number) -> Floats:
    """Where the rows of each cell are taken to lie."""
    edges = np.array(cells.edges)
    return np.concatenate((edges[:1], edges[:-1] / 2 + edges[1:] / 2, edges[-1:]))
