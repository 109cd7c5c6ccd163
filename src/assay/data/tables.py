"""Reading a table that somebody else made.

Everything that can be wrong with it ends as one line naming the file, the rule and the remedy.
Messages name lines and columns, never the values in them: those may be about people.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, Literal

import polars as pl

from assay import files
from assay.data import json_rows, parquet
from assay.data.kinds import kind_of
from assay.data.rows import (
    DEFAULT_LIMITS,
    Limits,
    bounded,
    pieces,
    shape,
)
from assay.errors import Usage

MISSING = frozenset({"", "NA", "N/A", "n/a", "NaN", "nan", "NULL", "null", "None", "#N/A"})
"""Spellings of *no value*, read as such in columns that hold nothing but numbers besides."""

_NO_LINES = 1 << 62
"""A line longer than any: where lines mean nothing."""
_DATE = r"^\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d|$)"


@dataclass(frozen=True, slots=True)
class Table:
    """A checked table: `frame` has distinct, printable column names, at least one row, no NaN
    (missing is null) and only `kinds.Kind`s of values; `format` says what the bytes were."""

    frame: pl.DataFrame
    format: Literal["csv", "parquet", "json"]
    name: str


def read_table(
    path: Path,
    *,
    expect: Sequence[Mapping[str, Any]] | None = None,
    target: str | None = None,
    text: Collection[str] = (),
    limits: Limits = DEFAULT_LIMITS,
) -> Table:
    """The table in a CSV, Parquet or JSON file; which of them, its content decides.

    `expect` is a `schema` the columns must agree with, in any order; the frame comes back in the
    order of `expect`.  `target` names a column that must have a finite value in every row.  The
    columns in `text` are strings even where they look like numbers (account numbers, codes).

    Raises `NotFound` or `Usage`.
    """
    check_path(path)
    with files.open_input(path, what="table") as stream:
        return read_stream(
            stream, path.name, expect=expect, target=target, text=text, limits=limits
        )


def check_path(path: Path) -> None:
    """Refuse a path that hides where it leads; raises `Usage`."""
    if not str(path).isprintable():
        raise Usage(
            f"the path {str(path)[:100]!r} has unprintable characters",
            remedy="rename the file",
            code="data.path",
        )
    if ".." in path.parts:
        raise Usage(
            f"the path {path} goes up through '..'",
            remedy="name the file by a path without '..'",
            code="data.path",
        )


def read_stream(
    stream: BinaryIO,
    name: str,
    *,
    expect: Sequence[Mapping[str, Any]] | None = None,
    target: str | None = None,
    text: Collection[str] = (),
    limits: Limits = DEFAULT_LIMITS,
) -> Table:
    """`read_table` for an open stream, for example of a sealed dataset; `name` is for messages."""
    source = pieces(stream)
    start = next(source, b"")
    source = itertools.chain([start], source)
    strings = set(text) | {str(c["name"]) for c in expect or () if c["type"] == "string"}
    if start.startswith(b"PAR1"):
        found = Table(parquet.read(source, name, limits), "parquet", name)
    elif json_rows.begins(start):
        # One line may hold the whole array.
        content = bounded(source, name, replace(limits, line_bytes=_NO_LINES))
        frame = json_rows.read(content, name, limits)
        columns = [c if c.name in strings else dated(c) for c in frame.get_columns()]
        found = Table(pl.DataFrame(columns), "json", name)
    else:
        content = bounded(source, name, limits).rstrip(b"\r\n")
        frame = _read_csv(content, name, limits)
        columns = [c if c.name in strings else _typed(c, name) for c in frame.get_columns()]
        found = Table(pl.DataFrame(columns), "csv", name)
    if expect is not None:
        found = Table(_as_expected(found.frame, name, expect), found.format, name)
    if target is not None:
        check_target(found, target)
    return found


def _read_csv(content: bytes, name: str, limits: Limits) -> pl.DataFrame:
    """Every column as text."""
    outline = shape(content, name, limits)
    try:
        frame = pl.read_csv(content, new_columns=outline.names, infer_schema=False)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise Usage(
            f"{name} is not a valid CSV file",
            remedy="export the table again",
            code="data.unreadable",
            # The parser's message can quote cells, so it stays out.
            details={"error": type(error).__name__},
        ) from None
    if frame.columns != outline.names or frame.height != outline.rows:
        raise Usage(
            f"{name}: {outline.rows:,} rows by RFC 4180, {frame.height:,} by the parser",
            remedy='quote whole fields, and write a quote inside one as ""',
            code="data.quote",
        )
    return frame


def _typed(column: pl.Series, name: str) -> pl.Series:
    """A column of text as what all of its values are; half numbers, half text is refused."""
    values = column.str.strip_chars()
    values = values.set(values.is_in(MISSING), None)
    present = values.len() - values.null_count()
    if not present:
        return column
    numbers = values.cast(pl.Float64, strict=False)
    numeric = numbers.len() - numbers.null_count()
    if numeric == present:
        return column if _identifies(values) else _number(values, numbers)
    if 2 * numeric >= present:
        row = (numbers.is_null() & values.is_not_null()).arg_max() or 0
        raise Usage(
            f"{name}: column {column.name!r} mixes numbers with text, first in row {row + 1}",
            remedy="correct the cells (an empty one means no value), or declare the column as text",
            code="data.mixed",
        )
    lower = values.str.to_lowercase()
    if lower.is_in(["true", "false"]).sum() == present:
        return lower == "true"
    found = dated(values)
    return found if found is not values else column


def dated(column: pl.Series) -> pl.Series:
    """A column of text as dates or moments, if every value spells one; else the very column."""
    missing, present = column.null_count(), column.len() - column.null_count()
    if column.dtype == pl.String and present and column.str.contains(_DATE).sum() == present:
        for parsed in (column.str.to_date(strict=False), _moments(column)):
            if parsed.null_count() == missing:
                return parsed
    return column


def _identifies(values: pl.Series) -> bool:
    """Whether digits are a name, not a quantity: with leading zeros, or too long for 64 bits."""
    if values.str.contains(r"^[-+]?0\d").any():
        return True
    whole = values.str.contains(r"^[-+]?\d+$").all()
    return whole and values.cast(pl.Int64, strict=False).null_count() > values.null_count()


def _number(values: pl.Series, numbers: pl.Series) -> pl.Series:
    whole = values.cast(pl.Int64, strict=False)
    return whole if whole.null_count() == values.null_count() else numbers


def _moments(values: pl.Series) -> pl.Series:
    try:
        return values.str.to_datetime(strict=False)
    except pl.exceptions.PolarsError:  # No format fits even one value.
        return values.clear(values.len())


def _as_expected(
    frame: pl.DataFrame, name: str, expect: Sequence[Mapping[str, Any]]
) -> pl.DataFrame:
    wanted = [str(column["name"]) for column in expect]
    missing = [c for c in wanted if c not in frame.columns]
    surplus = [c for c in frame.columns if c not in wanted]
    if missing or surplus:
        parts = [
            f"lacks {_listed(missing)}" if missing else "",
            f"has {_listed(surplus)} besides" if surplus else "",
        ]
        raise Usage(
            f"{name} has the wrong columns: it {' and '.join(filter(None, parts))}",
            remedy=f"give exactly these columns: {_listed(wanted)}",
            code="data.columns",
            details={"missing": missing[:100], "surplus": surplus[:100]},
        )
    return pl.DataFrame([_one_expected(frame[str(c["name"])], name, c) for c in expect])


def _one_expected(column: pl.Series, name: str, wanted: Mapping[str, Any]) -> pl.Series:
    found, kind = kind_of(column.dtype), wanted["type"]
    if column.null_count() == column.len():
        types = {"int": pl.Int64, "float": pl.Float64, "bool": pl.Boolean, "date": pl.Date}
        column = column.cast(types.get(kind, pl.String))
    elif found == "int" and kind == "float":
        column = column.cast(pl.Float64)
    elif found != kind:
        raise Usage(
            f"{name}: column {column.name!r} holds {found} values; {kind} was expected",
            remedy=f"correct the column so that every cell is empty or of type {kind}",
            code="data.column_type",
        )
    if column.null_count() and not wanted.get("nullable", True):
        row = column.is_null().arg_max() or 0
        raise Usage(
            f"{name}: column {column.name!r} has {column.null_count():,} rows without a value, "
            f"first row {row + 1}",
            remedy="fill in every row of this column",
            code="data.missing_value",
        )
    return column


def check_target(table: Table, target: str) -> None:
    """Raises `Usage` unless column `target` has a finite value in every row."""
    if target not in table.frame.columns:
        raise Usage(
            f"{table.name} has no column {target[:100]!r}",
            remedy=f"name the target column, one of: {_listed(table.frame.columns)}",
            code="data.target",
        )
    column = table.frame[target]
    bad = column.is_null()
    if column.dtype.is_float():
        bad = bad | ~column.is_finite().fill_null(value=False)
    if count := int(bad.sum()):
        raise Usage(
            f"{table.name}: the target {target!r} is missing, NaN or infinite in {count:,} rows, "
            f"first in row {(bad.arg_max() or 0) + 1}",
            remedy="drop those rows, or fill in their true value",
            code="data.target_missing",
        )


def _listed(names: Sequence[str], limit: int = 8) -> str:
    shown = ", ".join(repr(n)[1:-1] for n in names[:limit])
    return shown + (f" and {len(names) - limit} more" if len(names) > limit else "")
