"""How a column is cut into cells, so that tables can be compared without their rows.

A layout is made once, from the reference, and everything later is counted in its cells.  It names
nothing that fewer than `least` reference rows have: rarer categories are *other*, a cell of a
number holds at least `least` reference rows or none at all, and its edges are round numbers between
values instead of values.

Numbers are cut at quantiles, with narrow cells for both ends of the range and one cell for each
value that many rows share; whole numbers of few different values (codes) get a cell each, and empty
cells between and beyond them, so that a value never seen shows.  Cell *i* holds the values from
edge *i-1* up to, not including, edge *i*.

Choosing edges at fixed ranks of the reference does not spoil the exact tests of `detectors`: with h
reference rows below an edge between two of them, the share below it has a beta law, and the counts
of a later window then have the very tails of Fisher's test (Wilks, Annals of Mathematical
Statistics 13 (1942) 400-409).  Rounding moves an edge by few ranks.
"""

from __future__ import annotations

import itertools
import math
from decimal import Decimal
from functools import cached_property
from typing import Any, Literal, TypeAlias

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from assay import canonical
from assay.errors import Corrupt, Usage

FORMAT = "assay/profile-layout/v1"
LEAST = 10
"""The least number of rows that a figure may be about."""
BINS = 16
CATEGORIES = 32
_MOST_COLUMNS = 1_000
_LONGEST = 200
"""Characters of a category that may be listed; longer texts are *other*."""
_DAY = 86_400e6

Floats: TypeAlias = NDArray[np.float64]


class Number(msgspec.Struct, frozen=True, tag_field="kind", tag="number"):
    """A column of numbers, truth values or times: its cells lie between these edges."""

    name: str
    edges: list[float]
    whole: bool = False
    """Whether the reference has whole numbers only."""

    @property
    def cells(self) -> int:
        return len(self.edges) + 1

    def names(self) -> list[str]:
        """What each cell holds, in words."""
        if not self.edges:
            return ["any number"]
        first, last = f"{self.edges[0]:.12g}", f"{self.edges[-1]:.12g}"
        inner = [self._between(a, b) for a, b in itertools.pairwise(self.edges)]
        return [f"below {first}", *inner, f"{last} and above"]

    def _between(self, a: float, b: float) -> str:
        if not self.whole:
            return f"{a:.12g} to below {b:.12g}"
        lowest, highest = math.ceil(a), math.ceil(b) - 1
        return str(lowest) if lowest == highest else f"{lowest} to {highest}"


class Category(msgspec.Struct, frozen=True, tag_field="kind", tag="category"):
    """A column of text: one cell for each of these values."""

    name: str
    values: list[str]

    @property
    def cells(self) -> int:
        return len(self.values)

    def names(self) -> list[str]:
        """What each cell holds, in words."""
        return list(self.values)


Cells: TypeAlias = Number | Category


class Layout(msgspec.Struct, frozen=True, dict=True):
    """The cells of every column, in order."""

    format: Literal["assay/profile-layout/v1"]
    least: int
    columns: list[Cells]
    omitted: int = 0
    """Columns beyond the most that a profile describes."""

    @cached_property
    def digest(self) -> str:
        """Names the layout: counts are comparable when they are of the same one."""
        return canonical.digest(canonical.encode(self))

    def to_dict(self) -> dict[str, Any]:
        return msgspec.to_builtins(self)

    @classmethod
    def from_dict(cls, value: Any) -> Layout:
        """A layout from its JSON; raises `Corrupt` for what is none."""
        try:
            found = msgspec.convert(value, cls)
        except msgspec.ValidationError as error:
            raise Corrupt(f"not an {FORMAT}: {error}", code="profile.layout") from error
        found._check()
        return found

    def _check(self) -> None:
        names = [column.name for column in self.columns]
        if len(set(names)) < len(names):
            raise Corrupt("the layout names a column twice", code="profile.layout")
        if self.least < 1 or self.omitted < 0:
            raise Corrupt("the layout has no threshold", code="profile.layout")
        for column in self.columns:
            if isinstance(column, Number):
                wrong = not all(map(math.isfinite, column.edges)) or any(
                    a >= b for a, b in itertools.pairwise(column.edges)
                )
            else:
                wrong = len(set(column.values)) < len(column.values)
            if wrong:
                raise Corrupt(
                    f"the cells of {column.name[:80]!r} are not in order", code="profile.layout"
                )


def layout(
    frame: pl.DataFrame, *, bins: int = BINS, categories: int = CATEGORIES, least: int = LEAST
) -> Layout:
    """The cells of each column of a reference table; raises `Usage` for what cannot be counted."""
    for name, value, low, high in (
        ("bins", bins, 2, 256),
        ("categories", categories, 1, 1_000),
        ("least", least, 1, 1_000_000),
    ):
        if not low <= value <= high:
            raise Usage(
                f"{name} is {value}; it lies between {low} and {high}", code=f"profile.{name}"
            )
    columns = frame.get_columns()[:_MOST_COLUMNS]
    made = [_cells(column, bins, categories, least) for column in columns]
    return Layout(FORMAT, least, made, frame.width - len(columns))


def _cells(column: pl.Series, bins: int, categories: int, least: int) -> Cells:
    if is_text(column.dtype):
        return Category(column.name, frequent(column, categories, least))
    values = numbers(column)
    if values is None:
        raise Usage(
            f"column {column.name[:80]!r} is of type {column.dtype}, which cannot be counted",
            remedy="leave it out of what is watched, or give numbers, text, truth values or times",
            code="profile.type",
        )
    finite = values[np.isfinite(values)]
    return Number(column.name, edges(finite, bins=bins, least=least), is_whole(finite))


def is_text(dtype: pl.DataType) -> bool:
    return isinstance(dtype, pl.String | pl.Categorical | pl.Enum)


def numbers(column: pl.Series) -> Floats | None:
    """A column as the model gets it, NaN where a value is missing; None for what is no number.

    Times are days since 1970, truth values 0 and 1.
    """
    dtype = column.dtype
    if isinstance(dtype, pl.Date | pl.Datetime):
        column = column.cast(pl.Datetime("us")).dt.epoch("us") / _DAY
    elif not (dtype.is_numeric() or isinstance(dtype, pl.Boolean | pl.Null)):
        return None
    return column.cast(pl.Float64).to_numpy()


def frequent(column: pl.Series, categories: int, least: int) -> list[str]:
    """The values of text that at least so many rows have, the most frequent first."""
    counted = (
        pl.DataFrame({"value": column.cast(pl.String)})
        .drop_nulls()
        .group_by("value")
        .agg(pl.len().alias("rows"))
        .filter((pl.col("rows") >= least) & (pl.col("value").str.len_chars() <= _LONGEST))
        .sort("rows", "value", descending=[True, False])
    )
    return counted["value"].head(categories).to_list()


def is_whole(finite: Floats) -> bool:
    return bool(len(finite)) and bool((finite == np.floor(finite)).all())


def edges(
    values: Floats, *, bins: int = BINS, least: int = LEAST, ends: bool = True
) -> list[float]:
    """Edges for these finite numbers; without `ends` there are no narrow cells for the extremes."""
    if not len(values):
        return []
    found, counts = np.unique(values + 0.0, return_counts=True)  # + 0.0: -0 is 0
    below = np.concatenate(([0], np.cumsum(counts)))
    if len(found) <= 2 * bins:
        whole = is_whole(found) and bool(np.abs(found).max() < 2**52)
        made = _codes(found) if whole else _gaps(found, below, range(len(found) + 1))
    else:
        made = _quantiles(found, counts, below, bins)
        made += _ends(found, counts, below, least) if ends else []
    return fold(sorted(set(made)), found, counts, least)


def _codes(found: Floats) -> list[float]:
    return [edge for value in found.tolist() for edge in (value - 0.5, value + 0.5)]


def _quantiles(
    found: Floats, counts: NDArray[np.int64], below: NDArray[np.int64], bins: int
) -> list[float]:
    rows = int(below[-1])
    wanted = rows * np.arange(1, bins) / bins
    after = np.searchsorted(below, wanted)
    nearer = wanted - below[after - 1] < below[after] - wanted
    inner = set((after - nearer).tolist())
    heavy = np.flatnonzero(counts * bins >= rows)
    around = {*heavy.tolist(), *(heavy + 1).tolist()}
    slack = rows // (8 * bins)
    made = _gaps(found, below, sorted(inner - around), slack, slack)
    return made + _gaps(found, below, sorted(around))


def _ends(
    found: Floats, counts: NDArray[np.int64], below: NDArray[np.int64], least: int
) -> list[float]:
    """Beyond them lie `least` rows or some more, or nothing where many share the last value."""
    if counts[0] >= least:
        made = _gaps(found, below, [0])
    else:
        made = _gaps(found, below, [int(np.searchsorted(below, least))], 0, least)
    if counts[-1] >= least:
        made += _gaps(found, below, [len(found)])
    else:
        last = int(np.searchsorted(below, int(below[-1]) - least, side="right")) - 1
        made += _gaps(found, below, [last], least, 0)
    return made


def _gaps(
    found: Floats, below: NDArray[np.int64], gaps: Any, down: int = 0, up: int = 0
) -> list[float]:
    """An edge in each of these gaps (gap *i* is before value *i*), or so many rows further down or
    up, where that makes it rounder."""
    last = len(found) - 1
    made: list[float] = []
    for gap in gaps:
        if gap == 0:
            a, b = float(found[0]) - _step(found[:2]), float(found[0])
        elif gap > last:
            a, b = float(found[-1]), float(found[-1]) + _step(found[-2:])
        else:
            first = int(np.searchsorted(below, below[gap] - down)) - 1
            final = int(np.searchsorted(below, below[gap] + up, side="right")) - 1
            a, b = float(found[max(first, 0)]), float(found[min(final, last)])
        edge = between(a, b)
        if math.isfinite(edge):
            made.append(edge)
    return made


def _step(pair: Floats) -> float:
    """How far beyond its end a range is taken to reach: as far as to the value before."""
    if len(pair) == 2:
        return min(float(pair[1]) - float(pair[0]), 1e300)
    return max(abs(float(pair[0])), 1.0) / 1_000


def between(a: float, b: float) -> float:
    """The roundest number between a and b (a < b), near the middle; b where there is none."""
    middle, width = a / 2 + b / 2, b - a
    if not math.isfinite(width):
        return 0.0 if a < 0 < b else middle
    if width <= 0:
        return b
    largest = math.floor(math.log10(width)) + 1
    for exponent in (largest, largest - 1, largest - 2):
        step = Decimal(1).scaleb(exponent)
        edge = float((Decimal(middle) / step).to_integral_value() * step)
        if a < edge < b:
            return edge
    return middle if a < middle < b else b


def fold(
    made: list[float],
    found: Floats,
    counts: NDArray[np.int64],
    least: int,
    keep: float | None = None,
) -> list[float]:
    """Edges without those beside a cell of fewer than `least` rows, unless it is empty; the edge
    `keep` stays as long as there is another to go."""
    left = list(made)
    while left:
        places = np.searchsorted(np.array(left), found, side="right")
        cells = np.bincount(places, weights=counts, minlength=len(left) + 1).astype(np.float64)
        small = np.flatnonzero((cells > 0) & (cells < least))
        if not len(small):
            break
        cell = int(small[np.argmin(cells[small])])
        left.pop(_drop(cell, cells, left, keep))
    return left


def _drop(cell: int, cells: Floats, left: list[float], keep: float | None) -> int:
    """Which edge of a cell goes: that towards its smaller neighbour which is not empty."""
    choices = [edge for edge in (cell - 1, cell) if 0 <= edge < len(left)]
    free = [edge for edge in choices if left[edge] != keep] or choices

    def rank(edge: int) -> tuple[bool, float]:
        other = cells[edge] if edge < cell else cells[edge + 1]
        return other == 0, float(other)

    return min(free, key=rank)
