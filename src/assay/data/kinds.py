"""The five kinds of values a table may hold."""

from __future__ import annotations

from typing import Literal, TypeAlias

import polars as pl

from assay.errors import Usage

Kind: TypeAlias = Literal["float", "int", "string", "bool", "date"]


def kind_of(dtype: pl.DataType) -> Kind | None:
    """The kind of values a Polars type holds; None for what is no table value (lists, bytes)."""
    if dtype.is_integer():
        return "int"
    if dtype.is_float() or dtype.is_decimal():
        return "float"
    if isinstance(dtype, pl.String | pl.Categorical | pl.Enum):
        return "string"
    if isinstance(dtype, pl.Boolean):
        return "bool"
    if isinstance(dtype, pl.Date | pl.Datetime):
        return "date"
    return None


def plain(frame: pl.DataFrame, name: str) -> pl.DataFrame:
    """Each column as one of the five kinds, with missing values as nulls."""
    columns: list[pl.Series] = []
    for column in frame.get_columns():
        kind = kind_of(column.dtype)
        if column.dtype == pl.Null:
            column = column.cast(pl.String)
        elif kind is None:
            raise Usage(
                f"{name}: column {column.name!r} is of type {column.dtype}, "
                "which is not a number, text, truth value or date",
                remedy="flatten or drop the column",
                code="data.type",
            )
        elif kind == "string":
            column = column.cast(pl.String)
        elif kind == "float":
            column = column.cast(pl.Float64).fill_nan(None)
        columns.append(column)
    return pl.DataFrame(columns)
