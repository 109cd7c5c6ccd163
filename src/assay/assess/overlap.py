"""Whether the rows a model is judged on are among those it was trained on.

Judged on its own training rows, a model that learned them by heart looks perfect, loses no AUC on
"others" and cannot be caught by membership inference.  So rows are compared, not files: another
order, another name, another identifier or one changed row does not make them held out.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

_TOLERATED = 0.05
_MULTIPLIERS = (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)

_Hashes: TypeAlias = NDArray[np.uint64]


def shared_rows(test: Sequence[Any], train: Sequence[Any]) -> dict[str, Any]:
    """``{share, expected, suspicious}`` of rows of `test` that equal, feature for feature, one of
    `train`; both are columns (`assay.formats.schema.Column`) of the features only.

    Where people are alike, rows repeat by themselves: as many rows of `test` are `expected` to be
    in `train` as rows of `train` have a double there.  It is suspicious when clearly more are.
    Numbers are compared as float32, which is what most converted models take; columns by name, or
    by place where the names differ, because a model of one matrix takes any.
    """
    named = {column.name for column in train}
    names: set[Any] = named & {column.name for column in test}
    if len(names) < len(train) == len(test):
        names = set(range(len(train)))
        tested, trained = _hashes(enumerate(test), names), _hashes(enumerate(train), names)
    else:
        tested = _hashes(((c.name, c) for c in test), names)
        trained = _hashes(((c.name, c) for c in train), names)
    share = float(np.isin(tested, trained).mean())
    _, place, counts = np.unique(trained, return_inverse=True, return_counts=True)
    expected = float((counts[place] > 1).mean())
    chance = 3 * math.sqrt(expected * (1 - expected) / len(tested))
    return {
        "share": share,
        "expected": expected,
        "suspicious": bool(names) and share > expected + chance + _TOLERATED,
    }


def _hashes(columns: Iterable[tuple[Any, Any]], names: set[Any]) -> _Hashes:
    """64 bits of each row; the same in this process for equal rows, whatever the columns' order."""
    found = np.zeros(1, dtype=np.uint64)
    for name, column in sorted(columns, key=lambda pair: pair[0]):
        if name in names:
            found = _mixed(found ^ _values(column))
    return found


def _values(column: Any) -> _Hashes:
    if column.dtype == "string":
        known = {value: hash(value) & 0xFFFFFFFFFFFFFFFF for value in set(column.values)}
        return np.array([known[value] for value in column.values], dtype=np.uint64)
    with np.errstate(over="ignore"):
        numbers = np.array(column.values, dtype=np.float64).astype(np.float32)
    # One spelling of zero and one of a missing value.
    numbers = np.where(np.isnan(numbers), np.float32(np.nan), numbers + np.float32(0))
    return numbers.astype(np.float32).view(np.uint32).astype(np.uint64)


def _mixed(values: _Hashes) -> _Hashes:
    """SplitMix64's step: a bijection, after which each bit depends on all."""
    values = values + np.uint64(_MULTIPLIERS[0])
    values = (values ^ (values >> np.uint64(30))) * np.uint64(_MULTIPLIERS[1])
    values = (values ^ (values >> np.uint64(27))) * np.uint64(_MULTIPLIERS[2])
    return values ^ (values >> np.uint64(31))
