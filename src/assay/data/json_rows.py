"""Tables in JSON: an array of flat objects, or JSON Lines (one object a line).

JSON says what is a number and what is text, so nothing is guessed but dates (see
`assay.data.tables.dated`).  What two readers could understand differently is refused: a key twice
in an object, NaN and infinities, numbers beyond 64 bits, values in values.  A key that an object
lacks is a missing value.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, NoReturn

import polars as pl

from assay.data.cells import Columns
from assay.data.rows import Limits, check_names
from assay.errors import Usage

_BATCH = 20_000
_FILE_BYTES = 1 << 30
"""Text is held whole, and twice: as bytes and as characters."""
_START = re.compile(rb'(?:\xef\xbb\xbf)?[ \t\r\n]*(?:\[[ \t\r\n]*)?\{[ \t\r\n]*"')
_SPACE = re.compile(r"[ \t\r\n]*")


class _BadError(ValueError):
    """What is wrong with an object, without its values."""


def begins(start: bytes) -> bool:
    """Whether a file that begins so is JSON: ``[{"`` or ``{"``.

    No CSV that is read begins so: a quote within an unquoted name is refused.
    """
    return _START.match(start) is not None


def read(content: bytes, name: str, limits: Limits) -> pl.DataFrame:
    """The table; raises `Usage`."""
    if len(content) > min(_FILE_BYTES, limits.file_bytes):
        raise Usage(
            f"{name} is larger than {_FILE_BYTES:,} bytes, the most that is read of JSON",
            remedy="export it as Parquet or CSV",
            code="data.too_large",
        )
    columns = Columns(name, limits, remedy="write it as text, or leave the column out")
    batch: list[dict[str, Any]] = []
    known: dict[str, None] = {}
    for row in _rows(content.decode("utf-8-sig"), name):
        batch.append(row)
        known.update(dict.fromkeys(row))
        if len(known) > limits.columns or len(batch) == _BATCH:
            _flush(columns, batch, check_names(list(known), name, limits))
    if batch:
        _flush(columns, batch, check_names(list(known), name, limits))
    return columns.frame()


def _flush(columns: Columns, batch: list[dict[str, Any]], names: list[str]) -> None:
    for column in names:
        columns.add(column, [row.get(column) for row in batch])
    columns.end_batch(len(batch))
    batch.clear()


def _rows(text: str, name: str) -> Iterator[dict[str, Any]]:
    decoder = json.JSONDecoder(
        object_pairs_hook=_object, parse_constant=_constant, parse_float=_float
    )
    at = _after_space(text, 0)
    listed = text.startswith("[", at)
    at = _after_space(text, at + 1) if listed else at
    row, closed = 0, not listed
    while at < len(text):
        if listed and text.startswith("]", at) and not row:
            closed, at = True, _after_space(text, at + 1)
            break
        row += 1
        try:
            value, end = decoder.raw_decode(text, at)
        except _BadError as error:
            raise _refused(name, row, str(error)) from None
        except (ValueError, RecursionError):
            # The parser's message can quote what it read, so it stays out.
            raise _refused(name, row, "is not valid JSON") from None
        if not isinstance(value, dict):
            raise _refused(name, row, "is not an object")
        yield value
        at = _after_space(text, end)
        if not listed:
            if at < len(text) and "\n" not in text[end:at]:
                raise _refused(name, row, "is followed by something on the same line")
            continue
        mark = text[at : at + 1]
        at = _after_space(text, at + 1)
        if mark == "]":
            closed = True
            break
        if mark != ",":
            raise _refused(name, row, "is not followed by a comma or the end of the array")
    if not closed:
        raise _refused(name, row + 1, "is missing: the array does not end")
    if at < len(text):
        raise _refused(name, row, "is not the last thing in the file, though the array ends")


def _after_space(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) != len(pairs):
        raise _BadError("has a key twice")
    for key, value in pairs:
        if isinstance(value, (dict, list)):
            shown = key[:80] if key.isprintable() else "one"
            raise _BadError(f"has a value within a value: column {shown!r} is not flat")
    return row


def _constant(_: str) -> NoReturn:
    raise _BadError("holds NaN or an infinity, which JSON has no word for (write null)")


def _float(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise _BadError("holds a number too large for a float")
    return value


def _refused(name: str, row: int, what: str) -> Usage:
    return Usage(
        f"{name}: row {row:,} {what}",
        remedy="write an array of flat objects, or one flat object a line, with plain values",
        code="data.json",
    )
