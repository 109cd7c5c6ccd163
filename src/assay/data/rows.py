"""Which bytes are a well-formed CSV: decided before a parser sees them.

Polars is fast and forgiving: it fills short rows with nulls, renames a repeated column and
inflates compressed input.  So the shape is settled here first, in two bounded passes: `bounded`
reads it piece by piece and stops at the first byte, line or file that is out of bounds;
`shape` counts the fields of every row (RFC 4180).
"""

from __future__ import annotations

import codecs
import csv
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, TypeAlias

import numpy as np
from numpy.typing import NDArray

from assay.errors import Usage

IntArray: TypeAlias = NDArray[np.int64]

_PIECE = 1 << 20
_NAME_LIMIT = 200

_OTHER_KINDS = (
    (b"PK\x03\x04", "a ZIP archive or an Excel workbook", "save the sheet as CSV (UTF-8)"),
    (b"\x1f\x8b", "compressed with gzip", "decompress it first (gunzip)"),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd", "decompress it first (unzstd)"),
    (b"BZh", "compressed with bzip2", "decompress it first (bunzip2)"),
    (b"\xfd7zXZ\x00", "compressed with xz", "decompress it first (unxz)"),
    (b"\xff\xfe", "UTF-16 text", "save it as UTF-8"),
    (b"\xfe\xff", "UTF-16 text", "save it as UTF-8"),
    (b"\x80", "a pickle or another binary file", "export it as CSV or Parquet"),
    (b"SQLite format 3\x00", "an SQLite database", "export the table as CSV or Parquet"),
    (b"ARROW1", "an Arrow IPC file", "export it as Parquet"),
)
"""First bytes of what people hand over by mistake."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much of a table is read before it is refused."""

    file_bytes: int = 4 << 30
    line_bytes: int = 1 << 20
    columns: int = 10_000
    cells: int = 500_000_000
    """Rows × columns, for formats that compress: a small file can claim a large table."""


DEFAULT_LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Shape:
    """The header and the number of data rows of a well-formed CSV."""

    names: list[str]
    rows: int


def pieces(stream: BinaryIO) -> Iterator[bytes]:
    """What is left of `stream`, a megabyte at a time."""
    return iter(lambda: stream.read(_PIECE), b"")


def bounded(source: Iterable[bytes], name: str, limits: Limits) -> bytes:
    """Everything in `source`, if it is UTF-8 text of lines no longer than `limits.line_bytes`.

    Holds no more than was read when the first rule broke: a line of a gigabyte costs
    `limits.line_bytes` and a piece.  Raises `Usage` naming `name`, the line and the remedy.
    """
    text = bytearray()
    decoder = codecs.getincrementaldecoder("utf-8")("strict")
    line_start = 0
    for piece in source:
        if not text:
            _refuse_other_kinds(piece, name)
        if (at := piece.find(b"\0")) >= 0:
            raise Usage(
                f"{name}, line {_line(text + piece[:at])}: a NUL byte, which no text has",
                remedy="export the table again as CSV (UTF-8) or Parquet",
                code="data.nul",
            )
        before = len(text)
        text += piece
        _check_utf8(decoder, piece, text, before, name, final=False)
        line_start = _check_lines(text, before, line_start, name, limits)
        if len(text) > limits.file_bytes:
            raise _too_large(name, limits)
    _check_utf8(decoder, b"", text, len(text), name, final=True)
    return bytes(text)


def _too_large(name: str, limits: Limits) -> Usage:
    return Usage(
        f"{name} is larger than {limits.file_bytes:,} bytes",
        remedy="split the table, or keep only the columns that are needed",
        code="data.too_large",
    )


def bounded_binary(source: Iterable[bytes], name: str, limits: Limits) -> bytes:
    """Everything in `source`, if no more than `limits.file_bytes`."""
    content = bytearray()
    for piece in source:
        content += piece
        if len(content) > limits.file_bytes:
            raise _too_large(name, limits)
    return bytes(content)


def _refuse_other_kinds(start: bytes, name: str) -> None:
    for magic, kind, remedy in _OTHER_KINDS:
        if start.startswith(magic):
            raise Usage(f"{name} is {kind}, not CSV or Parquet", remedy=remedy, code="data.kind")


def _check_utf8(
    decoder: codecs.IncrementalDecoder,
    piece: bytes,
    text: bytearray,
    before: int,
    name: str,
    *,
    final: bool,
) -> None:
    pending = len(decoder.getstate()[0])
    try:
        decoder.decode(piece, final)
    except UnicodeDecodeError as error:
        at = before - pending + error.start
        raise Usage(
            f"{name}, line {_line(text[:at])}: byte 0x{text[at]:02x} is not UTF-8",
            remedy="save the file as UTF-8, for example: iconv -f LATIN1 -t UTF-8",
            code="data.encoding",
        ) from error


def _check_lines(text: bytearray, before: int, line_start: int, name: str, limits: Limits) -> int:
    """Checks the lines that end or go on after `before`; returns where the open one starts."""
    if len(text) - before <= limits.line_bytes - (before - line_start):
        # Even one line through all of the new piece would be short enough.
        return max(line_start, text.rfind(b"\n", before) + 1)
    new = np.frombuffer(bytes(memoryview(text)[before:]), dtype=np.uint8)
    ends = np.flatnonzero(new == 10) + before
    starts = np.concatenate(([line_start], ends + 1))
    lengths = np.concatenate((ends, [len(text)])) - starts
    if lengths.max() > limits.line_bytes:
        start = int(starts[int(np.argmax(lengths > limits.line_bytes))])
        raise Usage(
            f"{name}, line {_line(text[:start])}: longer than {limits.line_bytes:,} bytes",
            remedy="check that the file is a CSV with one row per line",
            code="data.line_too_long",
        )
    return int(starts[-1])


def _line(text: bytes | bytearray) -> int:
    return text.count(b"\n") + 1


def shape(text: bytes, name: str, limits: Limits) -> Shape:
    """The header and row count of CSV `text`; raises `Usage` when its rows are not all alike.

    Quotes are RFC 4180's: a quote in an unquoted field is refused, because two parsers would
    disagree about where that field ends.
    """
    stop = len(text.rstrip(b"\r\n"))
    if not stop:
        raise Usage(
            f"{name} is empty",
            remedy="give a CSV or Parquet file with a header and at least one row",
            code="data.no_rows",
        )
    names: list[str] = []
    begin, rows = 0, -1
    for ends, fields in _rows(text, stop, name):
        if not names:
            names = _header(text[: int(ends[0])], name, limits)
        wrong = np.flatnonzero(fields != len(names))
        if len(wrong):
            first = int(wrong[0])
            begin = int(ends[first - 1]) + 1 if first else begin
            raise _ragged(text, begin, int(fields[first]), len(names), name)
        rows += len(ends)
        begin = int(ends[-1]) + 1
    if not rows:
        raise Usage(
            f"{name} has a header and no rows",
            remedy="give a table with at least one row under its header",
            code="data.no_rows",
        )
    return Shape(names, rows)


def _rows(text: bytes, stop: int, name: str) -> Iterator[tuple[IntArray, IntArray]]:
    """Where rows end (at least one a time), and how many fields each has; the header is one."""
    commas, quoted, begin = 0, 0, 0
    for at in range(0, stop, _PIECE):
        new = np.frombuffer(text, dtype=np.uint8, count=min(_PIECE, stop - at), offset=at)
        # A comma or line feed counts only after an even number of quotes; uint8 keeps the parity.
        outside = ((new == 34).cumsum(dtype=np.uint8) + np.uint8(quoted)) % 2 == 0
        separators = np.flatnonzero((new == 44) & outside)
        ends = np.flatnonzero((new == 10) & outside)
        quoted = int(not outside[-1])
        if len(ends):
            passed = np.searchsorted(separators, ends)
            yield ends + at, np.diff(passed, prepend=-commas) + 1
            commas = len(separators) - int(passed[-1])
            begin = at + int(ends[-1]) + 1
        else:
            commas += len(separators)
    if quoted:
        raise Usage(
            f"{name}, line {_line(text[:begin])}: a quote is opened and never closed",
            remedy='quote whole fields, and write a quote inside one as ""',
            code="data.quote",
        )
    yield np.array([stop]), np.array([commas + 1])


def _ragged(text: bytes, begin: int, found: int, expected: int, name: str) -> Usage:
    line = _line(text[:begin])
    empty = text[begin : begin + 2].lstrip(b"\r").startswith(b"\n")
    what = "is empty" if empty else f"has {found} fields, the header has {expected}"
    return Usage(
        f"{name}, line {line} {what}",
        remedy="give every row as many fields as the header; quote fields that hold commas",
        code="data.ragged",
    )


def _header(text: bytes, name: str, limits: Limits) -> list[str]:
    try:
        (found,) = csv.reader([text.decode("utf-8-sig").rstrip("\r")], strict=True)
    except (csv.Error, ValueError) as error:
        raise Usage(
            f"{name}, line 1: the header is not valid CSV",
            remedy='quote whole names, and write a quote inside one as ""',
            code="data.header",
        ) from error
    if len(found) == 1 and any(mark in found[0] for mark in ";\t|"):
        raise Usage(
            f"{name} separates its columns with something other than commas",
            remedy="save it with commas",
            code="data.separator",
        )
    return check_names(found, name, limits)


def check_names(found: list[str], name: str, limits: Limits) -> list[str]:
    """Column names that are distinct, printable and not too many or too long; else `Usage`.

    One nameless column is called after its place (``column_1``): R writes its row numbers so.
    """
    if len(found) > limits.columns:
        raise Usage(
            f"{name} has {len(found):,} columns; {limits.columns:,} are read at most",
            remedy="keep only the columns that are needed",
            code="data.columns",
        )
    names = [column or f"column_{place}" for place, column in enumerate(found, start=1)]
    seen: set[str] = set()
    for place, column in enumerate(names, start=1):
        if len(column) > _NAME_LIMIT or not column.isprintable():
            raise Usage(
                f"{name}: the name of column {place} is too long or has unprintable characters",
                remedy=f"use printable names of at most {_NAME_LIMIT} characters",
                code="data.header",
            )
        if column in seen or (not found[place - 1] and found.count("") > 1):
            raise Usage(
                f"{name}: the column name {column!r} occurs twice"
                if column in seen
                else f"{name}: several columns have no name",
                remedy="give every column a name of its own",
                code="data.duplicate_column",
            )
        seen.add(column)
    return names
