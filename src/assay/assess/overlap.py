"""Whether the rows a model is judged on are among those it was trained on.

Judged on its own training rows, a model that learned them by heart looks perfect, loses no AUC on
"others" and cannot be caught by membership inference.  So rows are compared, not files: another
order, another name, another identifier or one changed row does not make them held out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import polars as pl

from assay.formats.schema import Column

_TOLERATED = 0.05


def shared_rows(test: Sequence[Column], train: Sequence[Column]) -> dict[str, Any]:
    """``{share, expected, suspicious}`` of rows of `test` that equal, feature for feature, one of
    `train`; both are the columns of the features only.

    Where people are alike, rows repeat by themselves: as many rows of `test` are `expected` to be
    in `train` as rows of `train` have a double there.  It is suspicious when clearly more are.
    Numbers are compared as float32, which is what most converted models take; columns by name, or
    by place where the names differ, because a model of one matrix takes any.
    """
    tested, trained = _frame(test), _frame(train)
    names = [name for name in trained.columns if name in tested.columns]
    if len(names) < trained.width == tested.width:
        tested.columns = names = trained.columns
    alike = [name for name in names if tested.schema[name] == trained.schema[name]]
    if not alike:
        return {"share": 0.0, "expected": 0.0, "suspicious": False}
    tested, trained = tested.select(alike), trained.select(alike)
    found = tested.join(trained.unique(), on=alike, how="semi", nulls_equal=True)
    share = found.height / tested.height
    expected = float(trained.is_duplicated().sum()) / trained.height
    chance = 3 * math.sqrt(expected * (1 - expected) / tested.height)
    return {
        "share": share,
        "expected": expected,
        "suspicious": share > expected + chance + _TOLERATED,
    }


def _frame(columns: Sequence[Column]) -> pl.DataFrame:
    """The rows, with one spelling of zero and one of a missing value."""
    return pl.DataFrame(
        [
            pl.Series(column.name, column.values, dtype=pl.String)
            if column.dtype == "string"
            else pl.Series(column.name, column.values, dtype=pl.Float64)
            .cast(pl.Float32)
            .fill_nan(None)
            + 0.0
            for column in columns
        ]
    )
