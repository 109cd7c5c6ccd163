"""Keyed fingerprints of rows: which rows two tables share, without reading either again.

A row's fingerprint is the first 16 bytes of HMAC-SHA-256 over its canonical form under a key of
the project.  Whoever lacks the key learns from the fingerprints how many rows there are and how
many repeat; whoever has it can test a guess at a row, so the set is sealed like the rows.

``assay/rows/v1``: that line, the number of rows as 8 bytes big-endian, and the fingerprints in
ascending order, repeats included.

The canonical form of a row is ``assay/row/v1``, newline, then for each column in the order of
names (by code point) its name and its value, each as length in bytes, colon, bytes.  A value is
``n`` (none), ``b0``/``b1``, ``s`` and text, ``t`` and microseconds since 1970-01-01 UTC, ``f`` and
the 64 bits of an IEEE float as a signed decimal integer (negative zero as zero), or ``i`` and
digits for an integer beyond ±2^53, from where floats leave some out.  So 5 and 5.0 are the same
value, and a date is its midnight.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass

import polars as pl

from assay.errors import Corrupt

MAGIC = b"assay/rows/v1\n"
_ROW = "assay/row/v1\n"
SIZE = 16
_COUNT = 8
_EXACT = 1 << 53
_BATCH = 100_000
MOST_BYTES = 16 << 30


@dataclass(frozen=True, slots=True)
class Shared:
    """How two tables compare, in rows with their repeats."""

    shared: int
    """Rows of the one that are rows of the other, each matched once."""
    only_first: int
    only_second: int


def fingerprint(frame: pl.DataFrame, key: bytes) -> bytes:
    """The fingerprints of all rows, in `MAGIC`'s format."""
    return encode(row_fingerprints(frame, key))


def row_fingerprints(frame: pl.DataFrame, key: bytes) -> list[bytes]:
    """The fingerprint of each row, in the order of the rows."""
    found: list[bytes] = []
    base = hmac.new(key, digestmod=hashlib.sha256)
    for start in range(0, frame.height, _BATCH):
        for text in _canonical(frame.slice(start, _BATCH)):
            each = base.copy()
            each.update(text.encode())
            found.append(each.digest()[:SIZE])
    return found


def encode(rows: list[bytes]) -> bytes:
    """Fingerprints as a file."""
    return MAGIC + len(rows).to_bytes(_COUNT, "big") + b"".join(sorted(rows))


def decode(data: bytes) -> pl.DataFrame:
    """A file's fingerprints counted: columns ``high``, ``low`` and ``rows``; `Corrupt` if it is
    none."""
    start = len(MAGIC) + _COUNT
    count = int.from_bytes(data[len(MAGIC) : start], "big")
    if not data.startswith(MAGIC) or len(data) != start + count * SIZE:
        raise Corrupt(
            "the fingerprints of a dataset's rows are damaged, or of a newer format than "
            "assay/rows/v1",
            remedy="register the dataset again",
            code="data.fingerprints",
        )
    import numpy as np

    words = np.frombuffer(data, dtype=">u8", offset=start).astype(np.uint64).reshape(-1, 2)
    halves = pl.DataFrame({"high": words[:, 0], "low": words[:, 1]})
    return halves.group_by("high", "low").agg(pl.len().cast(pl.Int64).alias("rows"))


def compare(first: bytes, second: bytes) -> Shared:
    """What two files of fingerprints, made under the same key, have in common."""
    one, other = decode(first), decode(second)
    joined = one.join(other, on=["high", "low"], how="inner", suffix="_other")
    shared = int(joined.select(pl.min_horizontal("rows", "rows_other").sum()).item())
    return Shared(
        shared=shared,
        only_first=int(one["rows"].sum()) - shared,
        only_second=int(other["rows"].sum()) - shared,
    )


def _canonical(frame: pl.DataFrame) -> pl.Series:
    parts: list[pl.Expr] = [pl.lit(_ROW)]
    for name in sorted(frame.columns):
        parts += [pl.lit(_framed(name)), _with_length(_value(pl.col(name), frame.schema[name]))]
    return frame.select(pl.concat_str(parts).alias("row"))["row"]


def _framed(text: str) -> str:
    return f"{len(text.encode())}:{text}"


def _with_length(value: pl.Expr) -> pl.Expr:
    return pl.concat_str([value.str.len_bytes().cast(pl.String), pl.lit(":"), value])


def _value(column: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    if dtype == pl.Boolean:
        made = pl.when(column).then(pl.lit("b1")).otherwise(pl.lit("b0"))
    elif dtype == pl.String:
        made = pl.lit("s") + column
    elif dtype.is_temporal():
        moments = column.cast(pl.Datetime("us")) if dtype == pl.Date else column
        made = pl.lit("t") + moments.dt.epoch("us").cast(pl.String)
    elif dtype.is_float():
        made = _bits(column)
    else:
        exact = column.cast(pl.Int64).is_between(-_EXACT, _EXACT)
        made = (
            pl.when(exact)
            .then(_bits(column.cast(pl.Float64)))
            .otherwise(pl.lit("i") + column.cast(pl.String))
        )
    return pl.when(column.is_null()).then(pl.lit("n")).otherwise(made)


def _bits(numbers: pl.Expr) -> pl.Expr:
    one_zero = pl.when(numbers == 0.0).then(pl.lit(0.0)).otherwise(numbers)
    return pl.lit("f") + one_zero.reinterpret(dtype=pl.Int64).cast(pl.String)
