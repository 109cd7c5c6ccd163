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

Choosing categories does spoil them: the most frequent ones of very many were lucky, and the others
will be met more often in later rows than in these.  So where some are not listed, one half of the
rows (`choosers`) chooses, and detectors count the other half.
"""

from __future__ import annotations

import itertools
import math
from functools import cached_property
from typing import Any, Literal, TypeAlias

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from assay import canonical
from assay.errors import Corrupt, Usage
from assay.monitor.edges import BINS, LEAST, Floats, cut, is_whole

FORMAT = "assay/profile-layout/v1"
CATEGORIES = 32
_MOST_COLUMNS = 1_000
_LONGEST = 200
"""Characters of a category that may be listed; longer texts are *other*."""
_DAY = 86_400e6


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
        named = listed(column, categories, least)
        # Few others could be told by subtraction, so the rarest value listed joins them.
        others = column.len() - column.null_count() - sum(named.values())
        while 0 < others < least and named:
            others += named.popitem()[1]
        return Category(column.name, list(named))
    values = numbers(column)
    if values is None:
        raise Usage(
            f"column {column.name[:80]!r} is of type {column.dtype}, which cannot be counted",
            remedy="leave it out of what is watched, or give numbers, text, truth values or times",
            code="profile.type",
        )
    finite = values[np.isfinite(values)]
    made = cut(finite, bins=bins, least=least)
    return Number(column.name, made, is_whole(finite))


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


def frequent(column: pl.Series, categories: int, least: int) -> dict[str, int]:
    """The values of text that at least so many rows have, the most frequent first, and how many."""
    counted = tally(column).drop_nulls()
    short = pl.col("value").str.len_chars() <= _LONGEST
    listed = counted.filter((pl.col("rows") >= least) & short)
    listed = listed.sort("rows", "value", descending=[True, False]).head(categories)
    return dict(zip(listed["value"].to_list(), listed["rows"].to_list(), strict=True))


def listed(column: pl.Series, categories: int, least: int) -> dict[str, int]:
    """The values of text that are named, and how many rows have each: all, or the most frequent
    ones of the rows that choose."""
    named = frequent(column, categories, least)
    present = column.len() - column.null_count()
    if sum(named.values()) == present:
        return named
    chosen = frequent(column.filter(choosers(column.len())), categories, least)
    counted = tally(column).filter(pl.col("value").is_in(list(chosen)))
    rows = dict(zip(counted["value"].to_list(), counted["rows"].to_list(), strict=True))
    return {value: rows[value] for value in chosen}


def choosers(rows: int) -> NDArray[np.bool_]:
    """Which of so many rows choose the categories that are named: about half, the same every time,
    and in no order that data could have."""
    return np.random.default_rng(rows).random(rows) < 0.5


def tally(column: pl.Series) -> pl.DataFrame:
    """The values of text and their `rows`, missing ones too."""
    return column.cast(pl.String).alias("value").value_counts(name="rows")
