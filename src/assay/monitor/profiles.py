"""Tables as counts: bounded, mergeable, and about nobody.

`measure` counts a table in the cells of a `Layout`, in one pass; profiles of parts `merge` into the
profile of the whole, in any order.  Every row is in exactly one place of every column: a cell,
*other* (a category that is not listed, a number that is not finite), *missing*, *absent* (the table
had no such column) or *mistyped* (it held text for numbers, or the reverse).  So nothing that is
wrong with a table looks like zero.

What is written down says nothing of fewer than `least` rows at a time: a profile of fewer rows is
written as their number alone (*withheld*), and moments of fewer values are left out.  Moments are
of values clipped to the outermost edges, so that one value far out cannot be read from a mean.  A
count in a common cell may still be small: it says that somebody was there, not who.  This lowers
the risk; it is no proof against somebody with two profiles that differ by a row.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import msgspec
import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from assay.errors import Corrupt, Usage
from assay.monitor import layouts
from assay.monitor.edges import Floats, cut, fold
from assay.monitor.layouts import LEAST, Category, Cells, Layout, Number, is_text, numbers, tally

FORMAT = "assay/profile/v1"
SCORE_BINS = 40
_FEW_VALUES = 1_000
_MOST_ROWS = 2**53
_FEW_EDGES = 24
"""Up to this many edges, counting what lies beyond each is faster than sorting into cells."""

layout = layouts.layout

Integers: TypeAlias = NDArray[np.int64]
State: TypeAlias = Literal["ok", "empty", "withheld"]


class Moments(msgspec.Struct, frozen=True):
    """Number, mean and summed squared deviations of the clipped values."""

    n: int
    mean: float
    m2: float

    def plus(self, other: Moments) -> Moments:
        """Both together (Chan, Golub & LeVeque, COMPSTAT 1982)."""
        n, apart = self.n + other.n, other.mean - self.mean
        return Moments(
            n,
            (self.n * self.mean + other.n * other.mean) / n,
            self.m2 + other.m2 + apart * apart * (self.n * other.n / n),
        )

    @property
    def deviation(self) -> float:
        """The standard deviation."""
        return math.sqrt(self.m2 / self.n) if self.n else 0.0


class Counts(msgspec.Struct, frozen=True):
    """Where the rows of one column lie."""

    name: str
    counts: list[int]
    other: int = 0
    missing: int = 0
    absent: int = 0
    mistyped: int = 0
    moments: Moments | None = None

    @property
    def present(self) -> int:
        """Rows in a cell."""
        return sum(self.counts)

    @property
    def rows(self) -> int:
        return self.present + self.other + self.missing + self.absent + self.mistyped

    def vector(self) -> Integers:
        """The cells, then what is in none of them, then what is missing: for detectors."""
        rest = (self.other + self.mistyped, self.missing + self.absent)
        return np.array([*self.counts, *rest], dtype=np.int64)

    def plus(self, more: Counts) -> Counts:
        a, b = self.moments, more.moments
        return Counts(
            self.name,
            [x + y for x, y in zip(self.counts, more.counts, strict=True)],
            self.other + more.other,
            self.missing + more.missing,
            self.absent + more.absent,
            self.mistyped + more.mistyped,
            a.plus(b) if a and b else a or b,
        )


@dataclass(frozen=True, slots=True)
class Profile:
    """The counts of a table, column by column in the order of its layout.

    Of `withheld` among its `rows` it is known that they were there, and nothing more.
    """

    layout: Layout
    rows: int
    columns: tuple[Counts, ...]
    withheld: int = 0

    @property
    def state(self) -> State:
        """``empty``: there were no rows; ``withheld``: too few to say anything about them."""
        if not self.rows:
            return "empty"
        return "ok" if self.rows > self.withheld else "withheld"

    def __getitem__(self, name: str) -> Counts:
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(name)

    def vectors(self) -> dict[str, Integers]:
        """What a detector takes: see `Counts.vector`."""
        return {column.name: column.vector() for column in self.columns}

    def kinds(self) -> dict[str, Literal["ordered", "category"]]:
        """Whether the cells of a column are in order."""
        return {
            column.name: "ordered" if isinstance(column, Number) else "category"
            for column in self.layout.columns
        }

    def merge(self, other: Profile) -> Profile:
        """The profile of both tables together; raises `Usage` when they are of other layouts."""
        check_alike(self, other)
        pairs = zip(self.columns, other.columns, strict=True)
        return Profile(
            self.layout,
            self.rows + other.rows,
            tuple(mine.plus(theirs) for mine, theirs in pairs),
            self.withheld + other.withheld,
        )

    def to_dict(self) -> dict[str, Any]:
        """What may be written down: `assay/profile/v1`, without the layout, which it names."""
        known = self.rows - self.withheld
        least = self.layout.least
        tell = known >= least
        return {
            "format": FORMAT,
            "layout": self.layout.digest,
            "rows": self.rows,
            "withheld": self.withheld if tell else self.rows,
            "columns": [_told(c, least) for c in self.columns] if tell else [],
        }

    @classmethod
    def from_dict(cls, value: Any, layout: Layout) -> Profile:
        """A profile from its JSON; raises `Corrupt` for what is none, and `Usage` when it is of
        another layout."""
        try:
            told = msgspec.convert(value, _Told)
        except msgspec.ValidationError as error:
            raise Corrupt(f"not an {FORMAT}: {error}", code="profile") from error
        if told.layout != layout.digest:
            raise _other_layout()
        if not told.columns and told.withheld == told.rows >= 0:
            return Profile(layout, told.rows, empty(layout).columns, told.rows)
        made = cls(layout, told.rows, tuple(told.columns), told.withheld)
        made._check()
        return made

    def _check(self) -> None:
        names = [column.name for column in self.columns]
        if (
            names != [cells.name for cells in self.layout.columns]
            or not 0 <= self.withheld <= self.rows <= _MOST_ROWS
        ):
            raise Corrupt("the profile has not the columns of its layout", code="profile")
        for counts, cells in zip(self.columns, self.layout.columns, strict=True):
            parts = [*counts.counts, counts.other, counts.missing, counts.absent, counts.mistyped]
            moments = counts.moments or Moments(0, 0.0, 0.0)
            if (
                len(counts.counts) != cells.cells
                or min(parts) < 0
                or sum(parts) != self.rows - self.withheld
                or not 0 <= moments.n <= counts.present
                or not (math.isfinite(moments.mean) and 0 <= moments.m2 < math.inf)
            ):
                raise Corrupt(
                    f"the counts of {counts.name[:80]!r} do not add up to the rows", code="profile"
                )


class _Told(msgspec.Struct, frozen=True):
    format: Literal["assay/profile/v1"]
    layout: str
    rows: int
    withheld: int
    columns: list[Counts]


def _told(counts: Counts, least: int) -> dict[str, Any]:
    made: dict[str, Any] = msgspec.to_builtins(counts)
    if counts.moments is not None and counts.moments.n < least:
        made["moments"] = None
    return made


def empty(layout: Layout) -> Profile:
    """The profile of no rows, which changes nothing that it is merged with."""
    return Profile(layout, 0, tuple(Counts(c.name, [0] * c.cells) for c in layout.columns))


def merge(layout: Layout, profiles: list[Profile]) -> Profile:
    """The profile of all these tables together."""
    whole = empty(layout)
    for profile in profiles:
        whole = whole.merge(profile)
    return whole


def check_alike(a: Profile, b: Profile) -> None:
    """Raise `Usage` for profiles that count different cells: another version's, for example."""
    if a.layout.digest != b.layout.digest:
        raise _other_layout()


def _other_layout() -> Usage:
    return Usage(
        "the profile was measured in the cells of another layout: that of another version",
        remedy="compare it with the baseline of the version that it names",
        code="profile.other_layout",
    )


def measure(frame: pl.DataFrame, layout: Layout, *, prefix: str = "") -> Profile:
    """Count a table in the cells of a layout; a column is looked for under `prefix` + its name."""
    made: list[Counts] = []
    there = set(frame.columns)
    for cells in layout.columns:
        name = prefix + cells.name
        if name not in there:
            made.append(Counts(cells.name, [0] * cells.cells, absent=frame.height))
        elif isinstance(cells, Number):
            made.append(_number(cells, frame[name]))
        else:
            made.append(_category(cells, frame[name]))
    return Profile(layout, frame.height, tuple(made))


def _mistyped(cells: Cells, column: pl.Series) -> Counts:
    missing = column.null_count()
    return Counts(cells.name, [0] * cells.cells, missing=missing, mistyped=column.len() - missing)


def _number(cells: Number, column: pl.Series) -> Counts:
    values = numbers(column)
    if values is None:
        return _mistyped(cells, column)
    known = np.isfinite(values)
    finite = values if known.all() else values[known]
    infinite = int(np.isinf(values).sum()) if len(finite) < len(values) else 0
    return Counts(
        cells.name,
        count(finite, cells.edges).tolist(),
        other=infinite,
        missing=len(values) - len(finite) - infinite,
        moments=_moments(finite, cells.edges),
    )


def count(values: Floats, edges: list[float]) -> Integers:
    """How many of these finite values lie in each cell."""
    if len(edges) > _FEW_EDGES:
        places = np.searchsorted(np.array(edges), values, side="right")
        return np.bincount(places, minlength=len(edges) + 1)
    beyond = [len(values), *(int(np.count_nonzero(values >= edge)) for edge in edges), 0]
    return -np.diff(np.array(beyond, dtype=np.int64))


def _moments(values: Floats, edges: list[float]) -> Moments | None:
    if not len(values) or len(edges) < 2:
        return None
    with np.errstate(all="ignore"):
        apart = np.clip(values, edges[0], edges[-1])
        mean = float(apart.mean())
        apart -= mean
        # Not a dot product: that would wake a pool of threads for each column.
        m2 = float(np.einsum("i,i->", apart, apart))
    # Values near the largest number there is have no moments that a number could hold.
    return Moments(len(values), mean, m2) if math.isfinite(mean) and math.isfinite(m2) else None


def _category(cells: Category, column: pl.Series) -> Counts:
    if not is_text(column.dtype):
        return _mistyped(cells, column)
    missing = column.null_count()
    counted = tally(column)
    few = counted.height <= _FEW_VALUES
    listed = counted if few else counted.filter(pl.col("value").is_in(cells.values))
    rows = dict(zip(listed["value"].to_list(), listed["rows"].to_list(), strict=True))
    counts = [rows.get(value, 0) for value in cells.values]
    return Counts(cells.name, counts, other=column.len() - missing - sum(counts), missing=missing)


def score_edges(
    values: ArrayLike,
    *,
    threshold: float | None = None,
    bins: int = SCORE_BINS,
    least: int = LEAST,
) -> list[float]:
    """Edges for the histogram of a model's scores; the threshold is one of them, so that the cells
    tell exactly how many rows were called positive."""
    array = _as_scores(values)
    finite = array[np.isfinite(array)]
    made = cut(finite, bins=bins, least=least)
    if threshold is None:
        return made
    at = float(threshold)
    return fold(sorted({*made, at}), np.sort(finite), least, keep=at)


def scores(values: ArrayLike, edges: list[float]) -> Integers:
    """How many scores lie in each cell; raises `Usage` for scores that are not finite."""
    array = _as_scores(values)
    if not np.isfinite(array).all():
        raise Usage(
            f"{int((~np.isfinite(array)).sum()):,} of {len(array):,} scores are not finite",
            remedy="a model that answers so is broken: hold it, and look at its inputs",
            code="profile.scores",
        )
    return count(array, edges)


def _as_scores(values: ArrayLike) -> Floats:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1:
        raise Usage(
            f"scores have the shape {array.shape}; one number a row was expected",
            code="profile.scores",
        )
    return array
