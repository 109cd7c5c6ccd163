"""Segments: the predictions of one spool as one Parquet file, ``assay/predictions/v1``.

A row is one row of one request.  Its columns are ``prediction_id``, ``row``, ``at``, ``version``,
``actor``, ``subject``, then ``in.NAME``, ``extra.NAME`` and ``out.NAME``.  What they are is fixed
by `Meta`, which is in the file's own metadata, so that every segment of an endpoint's version has
the same columns whatever the requests held.

With a `Sealer`, what a row says of a person is not in those columns: it is in ``sealed``, under a
key of that person alone (see `assay.monitor.subjects`), and ``key`` names the key.  `read` puts it
back for whoever can open it, leaves out the rows whose key was destroyed, and counts them.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from assay import canonical
from assay.errors import Corrupt, Usage
from assay.monitor.spool import Record

if TYPE_CHECKING:
    import numpy as np
    import polars as pl

FORMAT = "assay/predictions/v1"
MOST_BYTES = 1 << 30
"""A segment is never larger: a spool is closed long before."""
_NAME = "assay"
_FLOATS = ("FP16", "FP32", "FP64")

Sealer = Callable[[Sequence[tuple[str, datetime, str, bytes]]], list[tuple[bytes, bytes]]]
"""Seals what rows say of people: (subject, time, place, content) → (key's name, sealed content),
both empty where it is to be forgotten."""
Opener = Callable[[Sequence[tuple[bytes, str, bytes]]], "list[bytes | None]"]
"""The inverse: (key's name, place, sealed content) → content, None where the key was destroyed."""


class Column(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An input, of the model or beside it.  `datatype` is that of the Open Inference Protocol;
    `width` is None for one value in each row."""

    name: str
    datatype: str
    width: int | None = None

    @property
    def dtype(self) -> str:
        """Of the frame's column: numbers are floats, whatever the model takes."""
        plain = "text" if self.datatype == "BYTES" else "number"
        return plain if self.width is None else f"{plain}s"


class Output(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An output of the model; `classes` names the columns of probabilities."""

    name: str
    datatype: str
    shape: list[int]
    classes: list[int | str] = []

    @property
    def dtype(self) -> str:
        """Of the frame's column."""
        if self.datatype == "BYTES":
            plain = "text"
        else:
            plain = "number" if self.datatype in _FLOATS else "integer"
        return plain if len(self.shape) == 1 else f"{plain}s"


class Meta(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the rows of a segment are about, and what their columns mean."""

    endpoint: str
    version: str
    digest: str
    """Of what is served."""
    inputs: list[Column]
    outputs: list[Output]
    extras: list[Column] = []
    """Inputs that are logged and not given to the model; without the subject."""
    format: Literal["assay/predictions/v1"] = FORMAT
    segment: str = ""
    """The segment's id: that of the spool it was made of."""
    erased: int = 0
    """Rows that cannot be read any more, because the keys of the people they are about were
    destroyed: they are not in the frame.  Counted by `read`; nothing of it is stored."""


def describe(
    endpoint: str,
    version: str,
    digest: str,
    inputs: Iterable[Any],
    outputs: Iterable[Any],
    extras: Iterable[Any] = (),
) -> Meta:
    """`Meta` from inputs and outputs of any kind that have the attributes of these."""
    return Meta(
        endpoint,
        version,
        digest,
        [Column(i.name, i.datatype, i.width) for i in inputs],
        [Output(o.name, o.datatype, list(o.shape), list(o.classes)) for o in outputs],
        [Column(i.name, i.datatype, i.width) for i in extras],
    )


# -- writing --------------------------------------------------------------------------------------


def check(record: Record, meta: Meta) -> None:
    """Raise `Corrupt` for a record that does not fit `meta`."""
    rows = record.rows
    wrong = record.columns.keys() != {given.name for given in meta.inputs} or any(
        len(values) != rows for values in (*record.columns.values(), *record.extras.values())
    )
    outputs = {output.name: output for output in record.outputs}
    wrong = wrong or outputs.keys() != {output.name for output in meta.outputs}
    wrong = wrong or any(output.shape[:1] != [rows] for output in record.outputs)
    wrong = wrong or (record.subject is not None and len(record.subject) != rows)
    if wrong:
        raise Corrupt(
            f"the record of prediction {record.id} does not fit {meta.endpoint}@{meta.version}",
            remedy="this is a mistake of whatever wrote it; report it",
            code="predictions.record",
        )


def frame_of(records: Sequence[Record], meta: Meta) -> pl.DataFrame:
    """The rows of `records`; raises `Corrupt` for one that does not fit `meta`."""
    import polars as pl

    for record in records:
        check(record, meta)
    counts = [record.rows for record in records]

    def each(value: Callable[[Record], Any]) -> list[Any]:
        return [v for record, n in zip(records, counts, strict=True) for v in [value(record)] * n]

    made: list[pl.Series] = [
        pl.Series("prediction_id", each(lambda r: r.id), pl.String),
        pl.Series("row", [i for n in counts for i in range(n)], pl.Int32),
        _times(each(lambda r: r.at)),
        pl.Series("version", each(lambda r: r.version), pl.String),
        pl.Series("actor", each(lambda r: r.actor), pl.String),
        pl.Series(
            "subject",
            [v for r, n in zip(records, counts, strict=True) for v in r.subject or [None] * n],
            pl.String,
        ),
    ]
    for given in meta.inputs:
        values = [v for r in records for v in r.columns[given.name]]
        made.append(_series(f"in.{given.name}", values, given.dtype))
    for given in meta.extras:
        held = [
            r.extras.get(given.name) or [None] * n for r, n in zip(records, counts, strict=True)
        ]
        made.append(_series(f"extra.{given.name}", [v for h in held for v in h], given.dtype))
    for output in meta.outputs:
        values = [v for r, n in zip(records, counts, strict=True) for v in _rows_of(r, output, n)]
        made.append(_series(f"out.{output.name}", values, output.dtype))
    return pl.DataFrame(made)


def build(records: Sequence[Record], description: Meta, *, seal: Sealer | None = None) -> bytes:
    """A segment's bytes.  With `seal`, what rows that have a subject say is sealed by it."""
    import polars as pl

    frame = frame_of(records, description)
    if seal is not None:
        frame = _sealed(frame, seal)
    else:
        frame = frame.with_columns(
            pl.lit(None, pl.Binary).alias("key"), pl.lit(None, pl.Binary).alias("sealed")
        )
    stored = msgspec.structs.replace(description, erased=0)
    out = io.BytesIO()
    said = canonical.encode(stored).decode()
    frame.write_parquet(out, compression="zstd", metadata={_NAME: said})
    return out.getvalue()


def _sealed(frame: pl.DataFrame, seal: Sealer) -> pl.DataFrame:
    """`frame` with what is said of people in ``sealed`` alone."""
    import polars as pl

    about = frame["subject"].is_not_null()
    names = _personal(frame.columns)
    rows = frame.filter(about)
    contents = [msgspec.msgpack.encode(row) for row in rows.select(names).iter_rows()]
    places = _places(rows)
    times = rows["at"].to_list()
    answers = iter(seal(list(zip(rows["subject"].to_list(), times, places, contents, strict=True))))
    pairs = [next(answers) if person else (None, None) for person in about.to_list()]
    return frame.with_columns(
        pl.when(about).then(None).otherwise(pl.col(name)).alias(name) for name in names
    ).with_columns(
        pl.Series("key", [key for key, _ in pairs], pl.Binary),
        pl.Series("sealed", [content for _, content in pairs], pl.Binary),
    )


def _personal(columns: Iterable[str]) -> list[str]:
    """What is sealed of a row about somebody: all but its place, time, version and asker."""
    return [c for c in columns if c == "subject" or c.partition(".")[0] in ("in", "extra", "out")]


def _places(rows: pl.DataFrame) -> list[str]:
    """What each sealed content is bound to: it opens nowhere else."""
    ids = zip(rows["prediction_id"].to_list(), rows["row"].to_list(), strict=True)
    return [f"{prediction}/{row}" for prediction, row in ids]


# -- reading --------------------------------------------------------------------------------------


def read(data: bytes, *, open_sealed: Opener | None = None) -> tuple[pl.DataFrame, Meta]:
    """A segment's rows, and what they are.

    Rows about people are opened by `open_sealed`; those that it cannot open, and without it all of
    them, are left out and counted in `Meta.erased`.  Raises `Corrupt` for bytes that are no
    segment, or of a format that is not known.  The bytes come out of a seal that nobody else can
    make: what was altered ends there, for the reader of Parquet itself would not survive it.
    """
    import polars as pl

    try:
        said = pl.read_parquet_metadata(io.BytesIO(data)).get(_NAME, "")
        frame = pl.read_parquet(io.BytesIO(data))
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        raise _no_segment() from error
    try:
        meta = msgspec.convert(canonical.decode(said.encode()), Meta)
    except (Corrupt, msgspec.ValidationError) as error:
        raise _no_segment() from error
    if not {"prediction_id", "row", "key", "sealed"} <= set(frame.columns):
        raise _no_segment()
    sealed = frame["key"].is_not_null()
    if sealed.any():
        frame, erased = _opened(frame, sealed, open_sealed)
        meta = msgspec.structs.replace(meta, erased=erased)
    return frame.drop("key", "sealed"), meta


def _opened(
    frame: pl.DataFrame, sealed: pl.Series, open_sealed: Opener | None
) -> tuple[pl.DataFrame, int]:
    import polars as pl

    rows = frame.filter(sealed)
    asked = list(zip(rows["key"].to_list(), _places(rows), rows["sealed"].to_list(), strict=True))
    contents = open_sealed(asked) if open_sealed else [None] * len(asked)
    readable = pl.Series([content is not None for content in contents], dtype=pl.Boolean)
    names = _personal(frame.columns)
    schema = {name: frame.schema[name] for name in names}
    held = [msgspec.msgpack.decode(content) for content in contents if content is not None]
    back = pl.DataFrame(held, schema=schema, orient="row")
    rows = rows.filter(readable).with_columns(back.get_columns())
    # In the order of writing, as if nothing had been sealed.
    numbered = frame.with_row_index("_at")
    places = numbered.filter(sealed).filter(readable)["_at"]
    clear = numbered.filter(~sealed)
    rows = rows.with_columns(places.alias("_at")).select(clear.columns)
    joined = pl.concat([clear, rows]).sort("_at").drop("_at")
    return joined, len(contents) - len(held)


def _no_segment() -> Corrupt:
    return Corrupt(
        f"the segment is damaged, or of a newer format than {FORMAT}",
        remedy="restore the blob from a copy; a newer assay may have written it",
        code="predictions.segment",
    )


def scores(frame: pl.DataFrame, meta: Meta, positive: int | str) -> np.ndarray:
    """The score of the class `positive` for each row, NaN where the model gave none.

    Raises `Usage` when the model's outputs have no such score.
    """
    import numpy as np

    for output in meta.outputs:
        name = f"out.{output.name}"
        if output.datatype not in _FLOATS or frame.height == 0:
            continue
        if len(output.shape) == 1:
            return frame[name].to_numpy().astype(np.float64)
        at = _column_of(output, positive)
        if at is not None:
            picked = frame[name].list.get(at, null_on_oob=True)
            return picked.fill_null(float("nan")).to_numpy().astype(np.float64)
    if frame.height == 0:
        return np.empty(0)
    raise Usage(
        f"no output of {meta.endpoint}@{meta.version} is a score of {str(positive)[:80]!r}",
        remedy=f"its classes: {', '.join(str(c) for o in meta.outputs for c in o.classes)}",
        code="predictions.positive",
    )


def _column_of(output: Output, positive: int | str) -> int | None:
    if output.classes:
        named = [str(given) for given in output.classes]
        return named.index(str(positive)) if str(positive) in named else None
    # Without names the columns are the classes 0, 1, ...
    width = output.shape[1]
    return int(positive) if str(positive).isdigit() and int(positive) < max(width, 2) else None


# -- inside ---------------------------------------------------------------------------------------


def _rows_of(record: Record, output: Output, rows: int) -> list[Any]:
    (found,) = [given for given in record.outputs if given.name == output.name]
    if len(found.shape) == 1:
        return found.data if len(output.shape) == 1 else [[value] for value in found.data]
    width = len(found.data) // rows if rows else 0
    parts = [found.data[i * width : (i + 1) * width] for i in range(rows)]
    return [part[0] for part in parts] if len(output.shape) == 1 else parts


def _series(name: str, values: list[Any], dtype: str) -> pl.Series:
    import polars as pl

    plain = {"number": pl.Float64(), "integer": pl.Int64(), "text": pl.String()}
    if dtype in plain:
        return pl.Series(name, values, plain[dtype], strict=False)
    inner = plain[dtype.removesuffix("s")]
    # Where the caller decides how many values a row has, a single one may come as itself.
    rows: list[list[Any]] = [value if isinstance(value, list) else [value] for value in values]
    kind = pl.List(pl.Float64() if dtype == "integers" else inner)
    return pl.Series(name, rows, kind, strict=False)


def _times(texts: list[str]) -> pl.Series:
    import polars as pl

    made = pl.Series("at", texts, pl.String)
    return made.str.to_datetime(
        "%Y-%m-%dT%H:%M:%S%.fZ", time_unit="us", strict=True
    ).dt.replace_time_zone("UTC")
