"""Plain values, batch by batch, made into columns: what databases and JSON hand over.

Each column gets one type that holds every one of its values exactly, or the table is refused.
Integers and floats share a column of floats only while no integer loses a digit by it; numbers and
text, or truth values and anything else, share none.  Messages name the column and the first row,
never a value.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Literal, TypeAlias

import polars as pl

from assay.data.rows import Limits
from assay.errors import Usage

Cell: TypeAlias = Literal["null", "bool", "int", "float", "string", "date", "datetime"]

_DTYPES: dict[Cell, Any] = {
    "null": pl.Null,
    "bool": pl.Boolean,
    "int": pl.Int64,
    "float": pl.Float64,
    "string": pl.String,
    "date": pl.Date,
    "datetime": pl.Datetime("us"),
}
_EXACT = 1 << 53
_MOST_INT = 1 << 63
TEXT_BYTES = 1 << 20
"""The longest text of one cell, as the longest line of a CSV."""


class Columns:
    """A table in the making.  `name` is for messages; `remedy` for values no column can hold."""

    def __init__(self, name: str, limits: Limits, *, remedy: str) -> None:
        self.rows = 0
        self.bytes: int = 0
        self._name = name
        self._limits = limits
        self._remedy = remedy
        self._parts: dict[str, list[pl.Series]] = {}
        self._kinds: dict[str, Cell] = {}

    def add(self, column: str, values: Sequence[Any]) -> None:
        """The next rows of a column; one batch has as many for each, then `end_batch` is called."""
        kind: Cell = "null"
        cells: list[Any] = []
        for place, value in enumerate(values):
            found, cell = self._cell(value, column, place)
            cells.append(cell)
            if found not in ("null", kind):
                kind = self._joined(kind, found, column, place)
        if kind == "float":
            cells = [self._as_float(c, column, n) for n, c in enumerate(cells)]
        elif kind == "datetime":
            cells = [_as_moment(c) for c in cells]
        part = pl.Series(column, cells, dtype=_DTYPES[kind])
        known = self._kinds.get(column, "null")
        self._kinds[column] = self._joined(known, kind, column, 0) if kind != "null" else known
        parts = self._parts.setdefault(column, [])
        if not parts and self.rows:
            parts.append(pl.Series(column, [None] * self.rows, dtype=pl.Null))
        parts.append(part)
        self.bytes += int(part.estimated_size())

    def end_batch(self, rows: int) -> None:
        """Columns without values in this batch get none; refuses what has become too large."""
        self.rows += rows
        for column, parts in self._parts.items():
            missing = self.rows - sum(part.len() for part in parts)
            if missing:
                parts.append(pl.Series(column, [None] * missing, dtype=pl.Null))
        width = len(self._parts)
        if width > self._limits.columns:
            raise Usage(
                f"{self._name} has more than {self._limits.columns:,} columns",
                remedy="keep only the columns that are needed",
                code="data.columns",
            )
        if self.rows * width > self._limits.cells or self.bytes > self._limits.file_bytes:
            raise Usage(
                f"{self._name} has more than {self._limits.cells:,} values or "
                f"{self._limits.file_bytes:,} bytes",
                remedy="take fewer rows, or only the columns that are needed",
                code="data.too_large",
            )

    def frame(self) -> pl.DataFrame:
        """The whole table; refuses one without rows."""
        if not self.rows or not self._parts:
            raise Usage(
                f"{self._name} has no rows",
                remedy="look at what it asks for: a table has at least one row",
                code="data.no_rows",
            )
        return pl.DataFrame([self._column(name) for name in self._parts])

    def _column(self, name: str) -> pl.Series:
        kind = self._kinds[name]
        dtype = pl.String if kind == "null" else _DTYPES[kind]
        if kind == "float":
            for part in self._parts[name]:
                if part.dtype == pl.Int64 and (part.abs() > _EXACT).any():
                    raise self._inexact(name, 0)
        return pl.concat([part.cast(dtype) for part in self._parts[name]])

    def _cell(self, value: Any, column: str, place: int) -> tuple[Cell, Any]:
        match value:
            case None:
                return "null", None
            case bool():
                return "bool", value
            case int():
                if not -_MOST_INT <= value < _MOST_INT:
                    raise self._refused(column, place, "a whole number of more than 64 bits")
                return "int", value
            case float():
                return ("float", value) if not math.isnan(value) else ("null", None)
            case Decimal():
                return self._decimal(value, column, place)
            case str():
                if len(value) > TEXT_BYTES:
                    raise self._refused(column, place, f"more than {TEXT_BYTES:,} characters")
                try:
                    value.encode()
                except UnicodeEncodeError:
                    raise self._refused(column, place, "text that is not Unicode") from None
                return "string", value
            case datetime.datetime():
                if value.tzinfo is not None:
                    value = value.astimezone(datetime.timezone.utc).replace(tzinfo=None)
                return "datetime", value
            case datetime.date():
                return "date", value
            case _:
                raise self._refused(column, place, f"a value of type {type(value).__name__}")

    def _decimal(self, value: Decimal, column: str, place: int) -> tuple[Cell, Any]:
        """A decimal as the number that prints the same; refused where a float has too few digits.

        NaN is no value, as everywhere.
        """
        if value.is_nan():
            return "null", None
        if not value.is_finite():
            return "float", float(value)
        if value.as_tuple().exponent == 0 and -_MOST_INT <= value < _MOST_INT:
            return "int", int(value)
        near = float(value)
        if not math.isfinite(near) or Decimal(repr(near)) != value:
            raise self._inexact(column, place)
        return "float", near

    def _joined(self, kind: Cell, found: Cell, column: str, place: int) -> Cell:
        if kind in ("null", found):
            return found
        pair = {kind, found}
        if pair == {"int", "float"}:
            return "float"
        if pair == {"date", "datetime"}:
            return "datetime"
        one, other = sorted(pair)
        raise Usage(
            f"{self._name}: column {column!r} mixes values of type {one} and {other}, "
            f"in or before row {self.rows + place + 1}",
            remedy="give every row of a column the same type, for example by a cast in the query",
            code="data.mixed",
        )

    def _as_float(self, cell: Any, column: str, place: int) -> float | None:
        if isinstance(cell, int) and abs(cell) > _EXACT:
            raise self._inexact(column, place)
        return None if cell is None else float(cell)

    def _inexact(self, column: str, place: int) -> Usage:
        return self._refused(column, place, "a number with more digits than a float holds")

    def _refused(self, column: str, place: int, what: str) -> Usage:
        return Usage(
            f"{self._name}: column {column!r} has {what}, in or before row {self.rows + place + 1}",
            remedy=self._remedy,
            code="data.value",
        )


def _as_moment(cell: Any) -> Any:
    """Midnight of a date that stands among moments."""
    if isinstance(cell, datetime.date) and not isinstance(cell, datetime.datetime):
        return datetime.datetime.combine(cell, datetime.time())
    return cell
