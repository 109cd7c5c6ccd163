"""A table described: its columns, and bounded statistics that name nobody.

Statistics are for comparing tables (drift, representativeness), so they must be shareable where
the rows are not.  Nothing is said about fewer than `SMALL` rows, or fewer than `SMALL` people
where a column identifies them: rare categories become *other*, histogram bins are joined until
each holds enough, and the ends of a distribution are not given (the threshold rule of statistical
disclosure control, see Hundepool et al., *Handbook on Statistical Disclosure Control*, 2010, 3.2).
This lowers the risk; it is no proof against an attacker with two versions of the same table.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from assay.data.kinds import kind_of

SMALL = 10
"""The least number of rows, and of people, that a figure may be about."""

_BINS = 20
_CATEGORIES = 20
_SHOWN = 80
_COLUMNS = 1_000
_QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)


def schema(frame: pl.DataFrame) -> list[dict[str, Any]]:
    """Each column as ``{name, type, nullable, categories}``, in order.

    `type` is ``float``, ``int``, ``string``, ``bool`` or ``date``; `nullable` says whether a value
    is missing in this table; `categories` counts the distinct values of a string column and is
    None for others.
    """
    return [
        {
            "name": column.name,
            "type": kind_of(column.dtype),
            "nullable": column.null_count() > 0,
            "categories": column.drop_nulls().n_unique() if column.dtype == pl.String else None,
        }
        for column in frame.get_columns()
    ]


def profile(frame: pl.DataFrame, subject_column: str | None) -> dict[str, Any]:
    """Bounded statistics of a checked table, as plain JSON.

    ``{rows, subjects, columns: [{name, type, missing, ...}], omitted}``.  Numbers and dates get
    moments, quantiles and a histogram (``cuts`` are the inner edges: bin *i* holds the values from
    cut *i-1* up to, not including, cut *i*); text, truth values and numbers of few distinct values
    get categories.  The column that identifies people (`subject_column`) is only counted.  A
    figure that would be about fewer than `SMALL` rows or people is absent, but for the counts of
    missing and of infinite values.
    """
    subjects = frame[subject_column].rank("dense") if subject_column else None
    columns = frame.get_columns()[:_COLUMNS]
    return {
        "rows": frame.height,
        "subjects": subjects.drop_nulls().n_unique() if subjects is not None else None,
        "subject_column": subject_column,
        "threshold": SMALL,
        "columns": [
            _identifier(column) if column.name == subject_column else _column(column, subjects)
            for column in columns
        ],
        "omitted": frame.width - len(columns),
    }


def _identifier(column: pl.Series) -> dict[str, Any]:
    return {
        "name": column.name,
        "type": kind_of(column.dtype),
        "missing": column.null_count(),
        "identifies": True,
    }


def _column(column: pl.Series, subjects: pl.Series | None) -> dict[str, Any]:
    kind = kind_of(column.dtype)
    described: dict[str, Any] = {
        "name": column.name,
        "type": kind,
        "missing": column.null_count(),
        "missing_share": _finite(column.null_count() / max(column.len(), 1)),
    }
    whose = subjects if subjects is not None else pl.int_range(column.len(), eager=True)
    rows = pl.DataFrame({"value": column, "whose": whose}).drop_nulls("value")
    if _people(rows) < SMALL:
        return described
    if kind in ("string", "bool") or rows["value"].n_unique() <= _CATEGORIES:
        return described | _categories(rows)
    if kind == "date":
        return described | _dates(rows)
    return described | _numbers(rows.with_columns(pl.col("value").cast(pl.Float64)))


def _people(rows: pl.DataFrame) -> int:
    # Rows of nobody known count as one person: the safe side.
    return rows["whose"].n_unique()


def _categories(rows: pl.DataFrame) -> dict[str, Any]:
    counted = (
        rows.group_by("value")
        .agg(pl.len().alias("rows"), pl.col("whose").n_unique().alias("people"))
        .sort("rows", "value", descending=[True, False])
    )
    shown = counted.filter(pl.col("people") >= SMALL).head(_CATEGORIES)
    # Few others could be told by subtraction, so the smallest category shown joins them.
    while True:
        others = rows.filter(~pl.col("value").is_in(shown["value"].implode()))
        if others.is_empty() or _people(others) >= SMALL or shown.is_empty():
            break
        shown = shown.head(-1)
    return {
        "distinct": counted.height,
        "categories": [
            {"value": _spelt(value), "rows": count}
            for value, count in zip(shown["value"], shown["rows"], strict=True)
        ],
        "other": others.height,
    }


def _spelt(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)[:_SHOWN]


def _dates(rows: pl.DataFrame) -> dict[str, Any]:
    """Dates as days since 1970-01-01, with quantiles spelt as dates."""
    days = rows.with_columns(
        pl.col("value").cast(pl.Datetime("us")).dt.epoch("us").cast(pl.Float64) / 86_400e6
    )
    described = _numbers(days)
    for name, value in described.get("quantiles", {}).items():
        at = np.datetime64(math.floor(value), "D")
        described["quantiles"][name] = str(at)
    return {"unit": "days since 1970-01-01", **described}


def _numbers(rows: pl.DataFrame) -> dict[str, Any]:
    finite = rows.filter(pl.col("value").is_finite())
    described: dict[str, Any] = {"infinite": rows.height - finite.height}
    people = _people(finite)
    if people < SMALL:
        return described
    values = finite["value"].sort()
    described["moments"] = {
        "mean": _finite(values.mean()),
        "std": _finite(values.std()),
        "skewness": _finite(values.skew()),
    }
    described["quantiles"] = {
        f"{q:g}": _finite(values.quantile(q, "linear"))
        for q in _QUANTILES
        if min(q, 1 - q) * people >= SMALL
    }
    return described | _histogram(finite, values.to_numpy())


def _histogram(rows: pl.DataFrame, ordered: NDArray[np.float64]) -> dict[str, Any]:
    low, high = float(ordered[SMALL - 1]), float(ordered[-SMALL])
    if not low < high or not math.isfinite(high - low):
        return {}
    cuts = np.linspace(low, high, _BINS + 1)[1:-1]
    binned = rows.select(
        pl.Series("bin", np.searchsorted(cuts, rows["value"].to_numpy(), side="right")), "whose"
    )
    # Joining from the left keeps each bin's people distinct, not only its rows.
    joined: list[tuple[int, set[int]]] = []
    kept: list[float] = []
    count, people = 0, set[int]()
    for place in range(_BINS):
        here = binned.filter(pl.col("bin") == place)
        count += here.height
        if len(people) < SMALL:
            people |= set(here["whose"].unique().to_list())
        if len(people) >= SMALL and place < _BINS - 1:
            joined.append((count, people))
            kept.append(float(cuts[place]))
            count, people = 0, set[int]()
    if len(people) >= SMALL or not joined:
        joined.append((count, people))
    else:
        # What is left at the right end is too little to stand alone.
        last, _ = joined.pop()
        kept.pop()
        joined.append((last + count, people))
    return {"histogram": {"cuts": kept, "rows": [n for n, _ in joined]}}


def _finite(value: Any) -> float | None:
    """A plain float; None where there is none (overflow, a single value's spread)."""
    return float(value) if value is not None and math.isfinite(value) else None
