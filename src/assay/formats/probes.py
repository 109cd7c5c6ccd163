"""The rows on which an original and its conversion are compared, beyond a sample of real ones.

Conversions agree on the middle of the data and differ at its edges: a missing value, a category
never seen, a number beside the float32 that a tree splits at.  Each probe is a real row with one
value changed, so that a difference names its cause.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from assay.formats.schema import Column

SAMPLE_ROWS = 2000
ROWS_A_COLUMN = 12
SPLITS = 256
"""Split thresholds tried, evenly spread over those of the model."""
UNSEEN = "\N{SNOWMAN} never seen"

_MAGNITUDES = (0.0, -0.0, 1e-40, 16_777_217.0)
"""Zero twice, a float32 below the normal ones, and the first whole number that float32 lacks."""


def missing(columns: Sequence[Column], name: str) -> list[Column]:
    """Sample rows with the value of one column missing."""
    return changed(columns, name, [None] * ROWS_A_COLUMN)


def unseen(columns: Sequence[Column], name: str) -> list[Column]:
    """Sample rows with a category that no training data holds."""
    return changed(columns, name, [UNSEEN] * ROWS_A_COLUMN)


def float32_edges(columns: Sequence[Column], name: str) -> list[Column]:
    """Sample rows with a column at the float32 numbers beside its own, and at odd magnitudes."""
    beside = [edge for value in _spread(columns, name) for edge in neighbours(value)]
    return changed(columns, name, [*beside, *(float(np.float32(m)) for m in _MAGNITUDES)])


def rounding(columns: Sequence[Column], name: str) -> list[Column]:
    """Sample rows with a column rounded to float32."""
    values = [float(np.float32(value)) for value in _spread(columns, name)]
    return changed(columns, name, [value for value in values if np.isfinite(value)])


def splits(columns: Sequence[Column], found: Sequence[tuple[str, float]]) -> Iterator[list[Column]]:
    """Sample rows with a column at the float32 numbers beside the thresholds of trees."""
    for name, thresholds in _by_column(found).items():
        yield changed(columns, name, [edge for t in thresholds for edge in neighbours(t)])


def split_cells(
    columns: Sequence[Column], found: Sequence[tuple[str, float]]
) -> Iterator[list[Column]]:
    """Sample rows with a column at the thresholds of trees, as float32 has them.

    A model in double precision may have its threshold anywhere in the cell of numbers that round to
    this float32, so that it tells apart what no float32 input can.
    """
    for name, thresholds in _by_column(found).items():
        yield changed(columns, name, thresholds)


def neighbours(value: float) -> list[float]:
    """The two float32 beside the one nearest to a number, as doubles; none beyond float32."""
    with np.errstate(over="ignore"):
        near = np.float32(value)
        beside = (np.nextafter(near, np.float32(-np.inf)), np.nextafter(near, np.float32(np.inf)))
    return [float(edge) for edge in beside if np.isfinite(edge)]


def _spread(columns: Sequence[Column], name: str) -> list[float]:
    """Eight values of a column, from its smallest to its largest."""
    column = next(column for column in columns if column.name == name)
    known = sorted({float(v) for v in column.values if v is not None})
    return known[:: max(1, len(known) // 8)][:8]


def _by_column(found: Sequence[tuple[str, float]]) -> dict[str, list[float]]:
    """Thresholds by column; few ones several times, as in one row a split may decide nothing."""
    chosen: dict[str, list[float]] = {}
    some = list(found)[:: max(1, len(found) // SPLITS)][:SPLITS]
    for name, threshold in some * min(ROWS_A_COLUMN, max(1, SPLITS // max(1, len(some)))):
        chosen.setdefault(name, []).append(threshold)
    return chosen


def changed(columns: Sequence[Column], name: str, values: Sequence[Any]) -> list[Column]:
    """Sample rows, one for each of `values`, which replaces the value of the column `name`."""
    count = len(columns[0].values)
    rows = [int(i * max(1, count // max(1, len(values)))) % count for i in range(len(values))]
    return [
        Column(c.name, c.dtype, list(values) if c.name == name else [c.values[i] for i in rows])
        for c in columns
    ]


def joined(first: Sequence[Column], second: Sequence[Column]) -> list[Column]:
    """The rows of `first`, then those of `second`; both have the same columns."""
    return [
        Column(a.name, a.dtype, [*a.values, *b.values]) for a, b in zip(first, second, strict=True)
    ]


def rows_where(columns: Sequence[Column], keep: Sequence[int]) -> list[Column]:
    """The rows of the given numbers."""
    return [Column(c.name, c.dtype, [c.values[i] for i in keep]) for c in columns]
