"""Tables as Parquet: deterministic, and never pickled.

Polars, pandas and pyarrow share one format, so that a step may read with one what another wrote
with the other.  Each frame is held against what reading it back gives, and refused, naming the
column, where that is not the same.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from assay.errors import Corrupt, Unavailable, Usage
from assay.pipeline.codec_hints import any_of, lineage, said, wrong

_POLARS = "polars.dataframe.frame.DataFrame"
_PANDAS = frozenset({"pandas.DataFrame", "pandas.core.frame.DataFrame"})
_ARROW = "pyarrow.lib.Table"
_FRAMES = frozenset({_POLARS, _ARROW, *_PANDAS})
_HOMES = frozenset({"polars", "pandas", "pyarrow", "pandera"})
"""Who may define a kind of frame: one of the user's own would come back as its base."""

_ROWS = 1 << 18
_PAGE = 1 << 20
_LEVEL = 3
_OLDEST_ARROW = 15
"""Before it, reading a file could unpickle an extension type that the file brought."""
_EXTENSIONS = ("arrow.", "pandas.")


class ParquetCodec:
    """Parquet for the frames of Polars and pandas, and tables of pyarrow."""

    name = "parquet/1"
    kind: Literal["data", "model"] = "data"
    suffix = ".parquet"

    def accepts(self, hint: Any) -> bool:
        names = lineage(hint)
        return any_of(_FRAMES, hint) is not None and names[0].partition(".")[0] in _HOMES

    def encode(self, value: Any, hint: Any, into: Path) -> None:
        found = any_of(_FRAMES, hint)
        if found not in lineage(type(value)):
            raise wrong(value, hint, _conversion(value))
        if found == _POLARS:
            _write_polars(value, into)
        elif found == _ARROW:
            _write_arrow(value, into)
        else:
            _write_pandas(value, into)

    def decode(self, path: Path, hint: Any) -> Any:
        found = any_of(_FRAMES, hint)
        if found == _POLARS:
            return _read_polars(path)
        table = _read_arrow(path)
        return table if found == _ARROW else _to_pandas(table)


def _conversion(value: Any) -> str:
    return {
        "polars.LazyFrame": "call .collect() on it",
        "polars.Series": "call .to_frame() on it",
        "pandas.Series": "call .to_frame() on it",
        "pyarrow.RecordBatch": "take pyarrow.Table.from_batches([x])",
    }.get(said(value), "")


def _unsupported(column: str, what: str, remedy: str) -> Usage:
    return Usage(
        f"the column {column!r} {what}",
        remedy=remedy,
        code="codec.column",
        details={"column": column},
    )


def _changed(column: str) -> Usage:
    return _unsupported(
        column,
        "would not come back from Parquet as it is",
        "cast it to a plain type: numbers, text, dates, times, categories that all occur",
    )


# -- Polars ---------------------------------------------------------------------------------------


def _write_polars(frame: Any, into: Path) -> None:
    import polars as pl

    for column, dtype in frame.schema.items():
        for part in _dtypes(dtype):
            if isinstance(part, pl.Object):
                raise _unsupported(
                    column,
                    "holds Python objects, which only pickle could carry",
                    "cast it to a type of its values: text, numbers, lists or structs of them",
                )
    try:
        # Chunks follow from how the frame came about, and must not show in its bytes.
        frame.rechunk().write_parquet(
            into,
            compression="zstd",
            compression_level=_LEVEL,
            statistics=True,
            row_group_size=_ROWS,
            data_page_size=_PAGE,
        )
        back = pl.scan_parquet(into, glob=False, hive_partitioning=False)
        schema = back.collect_schema()
        rows = int(back.select(pl.len()).collect().item())
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise _not_parquet(error) from error
    for (column, dtype), (name, other) in zip(frame.schema.items(), schema.items(), strict=True):
        if (column, dtype) != (name, other):
            raise _changed(column)
    if rows != frame.height:
        raise _no_columns()


def _no_columns() -> Usage:
    return Usage(
        "a frame with rows and without columns cannot be kept",
        remedy="give it a column, for example the number of each row",
        code="codec.column",
    )


def _dtypes(dtype: Any) -> Iterator[Any]:
    """A Polars type and those inside it."""
    yield dtype
    inner = getattr(dtype, "inner", None)
    if inner is not None:
        yield from _dtypes(inner)
    for field in getattr(dtype, "fields", ()):
        yield from _dtypes(field.dtype)


def _read_polars(path: Path) -> Any:
    import polars as pl

    try:
        return pl.read_parquet(path, glob=False, hive_partitioning=False)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise _damaged(error) from error


def _not_parquet(error: Exception) -> Usage:
    return Usage(
        f"the frame cannot be written as Parquet: {str(error)[:300]}",
        remedy="cast its columns to plain types: numbers, text, dates, times, lists of them",
        code="codec.column",
    )


def _damaged(error: Exception) -> Corrupt:
    return Corrupt(
        f"the stored frame cannot be read ({type(error).__name__}: {str(error)[:200]})",
        remedy="run the step again without its cached result",
        code="codec.parquet",
    )


# -- pyarrow and pandas ---------------------------------------------------------------------------


def _arrow() -> tuple[Any, Any]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise Unavailable(
            "pandas frames and Arrow tables are kept as Parquet, which needs pyarrow",
            remedy="install pyarrow, or return a Polars frame",
            code="codec.pyarrow",
        ) from error
    if int(pa.__version__.partition(".")[0]) < _OLDEST_ARROW:
        raise Unavailable(
            f"pyarrow {pa.__version__} may unpickle what a file brings",
            remedy=f"install pyarrow {_OLDEST_ARROW} or later",
            code="codec.pyarrow",
        )
    return pa, pq


def _write_arrow(table: Any, into: Path) -> Any:
    """Write a table; what reading it gives."""
    pa, pq = _arrow()
    _check_arrow(table.schema)
    try:
        pq.write_table(
            table.unify_dictionaries().combine_chunks(),
            into,
            compression="zstd",
            compression_level=_LEVEL,
            version="2.6",
            row_group_size=_ROWS,
            data_page_size=_PAGE,
            store_schema=True,
        )
    except (pa.ArrowException, ValueError, OverflowError) as error:
        raise _not_parquet(error) from error
    try:
        back = _read_arrow(into)
    except Corrupt as error:
        raise _not_parquet(error) from error
    for field, other in zip(table.schema, back.schema, strict=True):
        if not field.equals(other, check_metadata=True):
            raise _changed(field.name)
    if back.num_rows != table.num_rows:
        raise _no_columns()
    return back


def _check_arrow(schema: Any) -> None:
    names = list(schema.names)
    for name in names:
        if names.count(name) > 1:
            raise _unsupported(name, "occurs twice", "give each column a name of its own")
    for field in schema:
        for part in _fields(field):
            label = getattr(part.type, "extension_name", "")
            if label and not label.startswith(_EXTENSIONS):
                raise _unsupported(
                    field.name,
                    f"has the extension type {label}, whose code would be needed to read it",
                    "cast it to the type it is stored as (x.storage)",
                )
            if (part.metadata or {}).get(b"ARROW:extension:name") == b"arrow.py_extension_type":
                raise _unsupported(field.name, "brings a pickle", "cast it to a plain type")


def _fields(field: Any) -> Iterator[Any]:
    """An Arrow field and those inside it."""
    yield field
    held = getattr(field.type, "storage_type", field.type)
    for index in range(held.num_fields):
        yield from _fields(held.field(index))


def _read_arrow(path: Path) -> Any:
    pa, pq = _arrow()
    try:
        with pq.ParquetFile(path) as file:
            schema = file.schema_arrow
            _check_arrow(schema)
            table = file.read()
            stored = (file.metadata.metadata or {}).get(b"ARROW:schema")
            if stored is None or not file.metadata.created_by.startswith("parquet-cpp-arrow"):
                return table
            # Parquet's reader restores most types, but not the inner ones of a dictionary.
            wanted = pa.ipc.read_schema(pa.BufferReader(base64.b64decode(stored)))
            return table if table.schema.equals(wanted, check_metadata=True) else table.cast(wanted)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise _damaged(error) from error


def _write_pandas(frame: Any, into: Path) -> None:
    import pandas as pd

    pa, _ = _arrow()
    _check_pandas(frame, pd)
    try:
        table = pa.Table.from_pandas(frame, preserve_index=None, nthreads=1)
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        raise _not_parquet(error) from error
    if not table.num_columns and len(frame):
        raise _no_columns()
    back = _to_pandas(_write_arrow(table, into))
    if not (back.index.equals(frame.index) and back.index.name == frame.index.name):
        raise _index()
    for column in frame.columns:
        if not _same_series(frame[column], back[column]):
            raise _changed(column)
    if back.attrs != frame.attrs:
        raise Usage(
            "the frame's attrs would not come back from Parquet as they are",
            remedy="return them as a result of their own",
            code="codec.column",
        )


def _index() -> Usage:
    return Usage(
        "the frame's index is not a plain count of its rows",
        remedy="call reset_index() to make it a column, or reset_index(drop=True) to leave it out",
        code="codec.index",
    )


def _check_pandas(frame: Any, pd: Any) -> None:
    import numpy as np

    if type(frame.index) is not pd.RangeIndex:
        raise _index()
    columns = frame.columns
    if isinstance(columns, pd.MultiIndex) or not all(type(name) is str for name in columns):
        raise Usage(
            "the names of the frame's columns are not all text",
            remedy="set them: frame.columns = [str(name) for name in frame.columns]",
            code="codec.column",
        )
    if columns.name is not None:
        raise Usage(
            f"the frame's columns have a name of their own, {columns.name!r}",
            remedy="call rename_axis(columns=None)",
            code="codec.column",
        )
    if not columns.is_unique:
        name = columns[columns.duplicated()][0]
        raise _unsupported(name, "occurs twice", "give each column a name of its own")
    for name, dtype in zip(columns, frame.dtypes, strict=True):
        inner = dtype.categories.dtype if isinstance(dtype, pd.CategoricalDtype) else dtype
        if inner.kind == "O" and isinstance(inner, np.dtype):
            raise _unsupported(
                name,
                "holds Python objects, which only pickle could carry",
                f'say what they are, for example frame[{name!r}].astype("str")',
            )
        if isinstance(dtype, pd.SparseDtype):
            raise _unsupported(name, "is sparse", "call .sparse.to_dense() on it")


def _same_series(one: Any, other: Any) -> bool:
    if one.dtype != other.dtype:
        return False
    if str(one.dtype) == "category":  # Equal whatever the order of unordered categories.
        mine, others = one.cat.categories, other.cat.categories
        if mine.dtype != others.dtype or not mine.equals(others):
            return False
    return bool(one.equals(other))


def _to_pandas(table: Any) -> Any:
    import pandas as pd

    pa, _ = _arrow()
    if b"pandas" in (table.schema.metadata or {}):
        return table.to_pandas()
    # Written by Polars or pyarrow.  Whole numbers with gaps would become doubles.
    nullable: dict[Any, Any] = {
        **{getattr(pa, f"int{n}")(): getattr(pd, f"Int{n}Dtype")() for n in (8, 16, 32, 64)},
        **{getattr(pa, f"uint{n}")(): getattr(pd, f"UInt{n}Dtype")() for n in (8, 16, 32, 64)},
        pa.bool_(): pd.BooleanDtype(),
    }
    gaps = {
        name
        for name, column in zip(table.column_names, table.columns, strict=True)
        if column.null_count and column.type in nullable
    }
    if not gaps:
        return table.to_pandas()
    parts = table.select([name for name in table.column_names if name in gaps])
    made = table.to_pandas()
    for name, column in parts.to_pandas(types_mapper=nullable.get).items():
        made[name] = column
    return made


PARQUET = ParquetCodec()
