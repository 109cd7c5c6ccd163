"""Quality for the people in each slice of a sensitive column.

A slice of fewer than `LEAST` rows is named with its size and given no figure: its interval would
span everything, and somebody would read the middle of it.  Values of fewer than `SHOWN` rows are
not even named, because that could name people.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from assay.assess.intervals import Bools, share
from assay.assess.scored import Scored, discrimination
from assay.errors import Usage

LEAST = 50
SHOWN = 10
_SLICES = 20


def slices(
    scored: Scored, called: NDArray[np.int64], columns: Mapping[str, Any], level: float
) -> dict[str, Any]:
    """``{least_rows, columns: {name: [slice, ...]}, worst}``.

    Each slice has its value, rows, AUC, accuracy and, for two classes, the share called positive
    and the shares called right of the truly positive and truly negative.  `worst` is the lowest
    lower bound of any slice's AUC, and whose; it is absent when no slice could be figured.
    Numbers of more than 20 values are cut at their quartiles.
    """
    figured = {
        name: [
            _slice(scored, called, value, rows, level)
            for value, rows in _groups(values, name, len(scored))
        ]
        for name, values in columns.items()
    }
    found: dict[str, Any] = {"least_rows": LEAST, "columns": figured}
    bounds = [
        (part["auc"]["lower"], name, part["value"])
        for name, parts in figured.items()
        for part in parts
        if "auc" in part
    ]
    if bounds:
        lower, name, value = min(bounds)
        found["worst"] = {"auc_lower": lower, "column": name, "value": value}
    return found


def _groups(values: Any, name: str, expected: int) -> list[tuple[str, Bools]]:
    """The rows of each value, the most frequent first; the rare ones together, as ``other``."""
    array = np.asarray(values)
    if array.shape != (expected,):
        raise Usage(
            f"the sensitive column {name!r} has the shape {array.shape}; {expected:,} values "
            "were expected",
            remedy="pass one value for each test row",
            code="assess.sensitive",
        )
    missing = np.array([value is None or value != value for value in array.tolist()])
    keys = _quartiles(array, missing)
    if keys is None:
        keys = np.array([_spelt(value) for value in array.tolist()], dtype=object)
    keys[missing] = "missing"
    found, counts = np.unique(keys.astype(str), return_counts=True)
    order = sorted(zip(-counts, found, strict=True))
    kept = [str(key) for count, key in order if -count >= SHOWN][:_SLICES]
    groups = [(key, keys == key) for key in kept]
    rest = ~np.isin(keys.astype(str), kept)
    return [*groups, ("other", rest)] if rest.any() else groups


def _spelt(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)[:80]


def _quartiles(array: NDArray[Any], missing: Bools) -> NDArray[Any] | None:
    """Which quarter each number lies in; None for what is not numbers, or few of them."""
    if array.dtype.kind == "O" and all(
        isinstance(value, int | float) for value in array[~missing].tolist()
    ):
        array = np.where(missing, np.nan, array).astype(np.float64)
    if array.dtype.kind not in "iuf" or len(np.unique(array[~missing])) <= _SLICES:
        return None
    cuts = np.unique(np.quantile(array[~missing], (0.25, 0.5, 0.75)))
    names = [f"below {cuts[0]:g}"]
    names += [f"{a:g} to below {b:g}" for a, b in itertools.pairwise(cuts)]
    names += [f"{cuts[-1]:g} and above"]
    return np.array(names, dtype=object)[np.searchsorted(cuts, array, side="right")]


def _slice(
    scored: Scored, called: NDArray[np.int64], value: str, rows: Bools, level: float
) -> dict[str, Any]:
    found: dict[str, Any] = {"value": value, "rows": int(rows.sum())}
    if found["rows"] < LEAST:
        return {**found, "figured": "too small"}
    part, said = scored.take(rows), called[rows]
    if len(np.unique(part.truth)) < 2:
        found["figured"] = "one class only: no AUC"
    else:
        found["auc"] = discrimination(part, level).as_dict()
    found["accuracy"] = share(said == part.truth, level).as_dict()
    if part.positive is not None:
        found["called_positive"] = share(said == part.positive, level).as_dict()
        for name, truth in (("sensitivity", part.positive), ("specificity", 1 - part.positive)):
            concerned = part.truth == truth
            if concerned.sum() >= SHOWN:
                found[name] = share(said[concerned] == truth, level).as_dict()
    return found
