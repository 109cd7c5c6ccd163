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
from typing import Any, Literal, TypeAlias

import numpy as np

from assay.monitor.edges import Floats
from assay.monitor.layouts import Cells, Number
from assay.monitor.profiles import Counts, Integers, Profile, check_alike

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
    check_alike(reference, current)
    made: dict[str, dict[str, Any]] = {}
    for cells, before, now in zip(
        reference.layout.columns, reference.columns, current.columns, strict=True
    ):
        if reference.state != "ok":
            made[cells.name] = _nothing("no_reference")
        elif current.state != "ok":
            made[cells.name] = _nothing(current.state)
        else:
            made[cells.name] = compare(cells, before, now)
    return made


def compare(cells: Cells, reference: Counts, current: Counts) -> dict[str, Any]:
    """The figures above as plain JSON, None where one has no meaning, and the `state`:

    ``no_reference`` or ``empty`` (one of them has no rows: no figures), ``absent`` (no such column
    came), ``mistyped`` (text for numbers, or the reverse, came), ``missing`` (nothing but missing
    values came), ``new`` (values that the reference has not), else ``ok``.
    """
    p, q = reference.vector(), current.vector()
    if not p.sum():
        return _nothing("no_reference")
    if not q.sum():
        return _nothing("empty")
    chi2, degrees = _chi2(p, q)
    found: dict[str, Any] = {
        "state": _state(reference, current, p, q),
        "psi": _psi(p, q),
        "psi_noise": degrees * (1 / int(p.sum()) + 1 / int(q.sum())),
        "js": _js(p / p.sum(), q / q.sum()),
        "ks": None,
        "wasserstein": None,
        "wasserstein_sd": None,
        "chi2": chi2,
        "degrees": degrees,
        "cramers_v": math.sqrt(chi2 / int(p.sum() + q.sum())),
        "new": float(q[p == 0].sum() / q.sum()),
        "missing": [_share(reference), _share(current)],
    }
    if isinstance(cells, Number) and reference.present and current.present:
        found |= _ordered(cells, reference, current)
    return found


def _nothing(state: State) -> dict[str, Any]:
    return {"state": state, **dict.fromkeys(FIGURES), "missing": [None, None]}


def _state(reference: Counts, current: Counts, p: Integers, q: Integers) -> State:
    if current.absent:
        return "absent"
    if current.mistyped:
        return "mistyped"
    if current.missing == current.rows and reference.missing < reference.rows:
        return "missing"
    return "new" if q[:-1][p[:-1] == 0].any() else "ok"


def _share(counts: Counts) -> float:
    return (counts.missing + counts.absent) / counts.rows


def _psi(p: Integers, q: Integers) -> float:
    used = (p + q) > 0
    a, b = p[used].astype(np.float64), q[used].astype(np.float64)
    if (a == 0).any() or (b == 0).any():
        a, b = a + 0.5, b + 0.5
    a, b = a / a.sum(), b / b.sum()
    return float(np.sum((b - a) * np.log(b / a)))


def _js(p: Floats, q: Floats) -> float:
    middle = (p + q) / 2
    divergence = sum(float(np.sum(x[x > 0] * np.log2(x[x > 0] / middle[x > 0]))) for x in (p, q))
    return math.sqrt(min(1.0, max(0.0, divergence / 2)))


def _chi2(p: Integers, q: Integers) -> tuple[float, int]:
    used = (p + q) > 0
    a, b = p[used].astype(np.float64), q[used].astype(np.float64)
    n, m = a.sum(), b.sum()
    # For two rows of counts Pearson's sum is this one, without the expected counts.
    value = float(np.sum((a * math.sqrt(m / n) - b * math.sqrt(n / m)) ** 2 / (a + b)))
    return value, int(used.sum()) - 1


def _ordered(cells: Number, reference: Counts, current: Counts) -> dict[str, Any]:
    p, q = (np.array(c.counts) / c.present for c in (reference, current))
    apart = np.abs(np.cumsum(p - q))[:-1]
    if not len(apart):
        return {"ks": 0.0, "wasserstein": 0.0, "wasserstein_sd": 0.0}
    moved = float(apart @ np.diff(centres(cells)))
    deviation = reference.moments.deviation if reference.moments else 0.0
    return {
        "ks": float(apart.max()),
        "wasserstein": moved if math.isfinite(moved) else None,
        "wasserstein_sd": moved / deviation if deviation and math.isfinite(moved) else None,
    }


def centres(cells: Number) -> Floats:
    """Where the rows of each cell are taken to lie."""
    edges = np.array(cells.edges)
    return np.concatenate((edges[:1], edges[:-1] / 2 + edges[1:] / 2, edges[-1:]))
