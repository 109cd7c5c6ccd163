"""What is wrong with a table's rows: repeats, near repeats, empty columns, doubtful labels.

Counts only; no value is told.  Everything here gives the same answer for the same rows.
"""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Collection
from typing import Any

import polars as pl

from assay.data.kinds import kind_of
from assay.errors import Unavailable, Usage
from assay.isolation.limits import GIB, Limits
from assay.isolation.run import run

_GRID = 100
"""Numbers nearer to each other than a hundredth of their spread are near."""
_MOST_ROWS = 50_000
_MOST_CELLS = 20_000_000
"""Eight bytes each: what is sent to the confined process is bounded."""
_MOST_CLASSES = 100
_MOST_MISSING = 0.5
LEAST_PER_CLASS = 5


def duplicates(frame: pl.DataFrame, subject_column: str = "") -> dict[str, Any]:
    """``{rows, exact, near, share, ignored}``: rows that repeat an earlier one, exactly or nearly.

    Columns that only tell rows apart (`ignored`: the one that identifies people, running numbers,
    text that never repeats) are left out, or nothing would ever repeat.  Of a table with few
    columns many rows repeat by themselves; what share is too much is for policy to say.
    """
    ignored = [c.name for c in frame.get_columns() if _tells_apart(c, subject_column)]
    if len(ignored) == frame.width:
        ignored = []
    kept = frame.drop(ignored)
    exact = frame.height - kept.n_unique()
    near = frame.height - kept.select(_coarse(c) for c in kept.get_columns()).n_unique()
    return {
        "rows": frame.height,
        "exact": exact,
        "near": max(0, near - exact),
        "share": exact / frame.height,
        "ignored": ignored,
    }


def _tells_apart(column: pl.Series, subject_column: str) -> bool:
    if column.name == subject_column:
        return True
    kind = kind_of(column.dtype)
    if kind not in ("int", "string") or column.null_count() or column.n_unique() < column.len():
        return False
    if kind == "string":
        return column.len() > 1
    low, high = column.min(), column.max()
    running = isinstance(low, int) and isinstance(high, int) and high - low == column.len() - 1
    return column.len() > 1 and (running or column.is_sorted())


def _coarse(column: pl.Series) -> pl.Expr:
    """The column so that what is near is the same."""
    kind = kind_of(column.dtype)
    value = pl.col(column.name)
    if kind == "string":
        return value.str.to_lowercase().str.replace_all(r"[^\p{L}\p{N}]+", " ").str.strip_chars()
    if kind == "float":
        spread = column.drop_nulls().std()
        if isinstance(spread, float) and 0 < spread < float("inf"):
            return (value / (spread / _GRID)).round(0)
    return value


def alarms(frame: pl.DataFrame) -> list[dict[str, Any]]:
    """Columns that say nothing: ``{column, what, share}`` with ``constant``, ``empty``, or
    ``mostly_missing`` (more than half)."""
    found: list[dict[str, Any]] = []
    for column in frame.get_columns():
        missing = column.null_count() / max(1, column.len())
        what = ""
        if missing == 1:
            what = "empty"
        elif column.drop_nulls().n_unique() == 1:
            what = "constant"
        elif missing > _MOST_MISSING:
            what = "mostly_missing"
        if what:
            found.append({"column": column.name, "what": what, "missing_share": missing})
    return found


def label_outliers(
    frame: pl.DataFrame, label: str, *, leave_out: Collection[str] = ()
) -> dict[str, Any]:
    """``{label, rows, classes, outliers, share, skipped, isolation}``: rows whose label a model of
    the other rows holds for wrong, by confident learning (Northcutt et al., JAIR 70, 2021).

    A gradient-boosted classifier predicts each row out of fold, with a fixed seed, in a confined
    process; cleanlab counts.  Of more than 50,000 rows evenly many are taken.  `skipped` are rows
    without a label or of classes of fewer than `LEAST_PER_CLASS` rows.  Raises `Usage` for a label
    that is no class, `Unavailable` where the extra is not installed.
    """
    for module in ("cleanlab", "sklearn"):
        if importlib.util.find_spec(module) is None:
            raise Unavailable(
                "looking for doubtful labels needs cleanlab and scikit-learn",
                remedy="pip install 'assay[checks]'",
                code="data.checks",
            )
    if label not in frame.columns:
        raise Usage(
            f"there is no column {label[:100]!r}",
            remedy=f"--label with one of: {', '.join(frame.columns[:20])}",
            code="data.label",
        )
    labelled = frame.filter(pl.col(label).is_not_null())
    counted = labelled[label].value_counts(sort=True)
    kind = kind_of(frame.schema[label])
    if kind in ("float", "date") or counted.height > _MOST_CLASSES:
        raise Usage(
            f"the label {label!r} is no class: it has {counted.height:,} values of type {kind}",
            remedy=f"name a label of at most {_MOST_CLASSES} classes (text or whole numbers)",
            code="data.label",
        )
    kept = counted.filter(pl.col("count") >= LEAST_PER_CLASS)[label]
    if kept.len() < 2:
        raise Usage(
            f"the label {label!r} has fewer than two classes of {LEAST_PER_CLASS} rows",
            remedy="name another label, or give more rows",
            code="data.label",
        )
    rows = labelled.filter(pl.col(label).is_in(kept.implode()))
    most = min(_MOST_ROWS, _MOST_CELLS // max(1, rows.width))
    if rows.height > most:
        rows = rows[[place * rows.height // most for place in range(most)]]
    features = [
        _feature(c) for c in rows.get_columns() if c.name != label and c.name not in leave_out
    ]
    features = [c for c in features if c.n_unique() > 1]
    if not features:
        raise Usage(
            f"nothing but {label!r} varies, so no row's label can be doubted",
            remedy="give a table with features",
            code="data.label",
        )
    sent = io.BytesIO()
    ranks = rows[label].cast(pl.String).rank("dense").cast(pl.Int64) - 1
    table = [ranks.alias("label")]
    table += [c.alias(f"f{place}") for place, c in enumerate(features)]
    pl.DataFrame(table).write_ipc(sent)
    outcome = run(
        "assay.data.label_scan:confined",
        sent.getvalue(),
        limits=Limits(memory_bytes=16 * GIB, cpu_seconds=1200, wall_seconds=1200),
    )
    outliers = int(outcome.value)
    return {
        "label": label,
        "rows": rows.height,
        "classes": kept.len(),
        "outliers": outliers,
        "share": outliers / rows.height,
        "skipped": frame.height - labelled.filter(pl.col(label).is_in(kept.implode())).height,
        "isolation": outcome.level,
    }


def _feature(column: pl.Series) -> pl.Series:
    """A column as numbers: text as the rank of its commonness, which trees can use."""
    kind = kind_of(column.dtype)
    if kind == "date":
        return column.cast(pl.Datetime("us")).dt.epoch("us").cast(pl.Float64)
    if kind != "string":
        return column.cast(pl.Float64)
    order = column.drop_nulls().value_counts(sort=False).sort("count", column.name)[column.name]
    place = pl.Series(range(order.len()), dtype=pl.Float64)
    return column.replace_strict(order, place, default=None, return_dtype=pl.Float64)
