"""Parquet and Arrow files: tables of data, whose footers may name other files or carry pickles.

An Arrow extension type written by old versions of PyArrow is a pickle, which reading the file
unpickles (CVE-2023-47248); it lies in the schema, in Parquet as base64.

Sources: https://github.com/apache/parquet-format, ``parquet.thrift`` and the Thrift compact
protocol; https://arrow.apache.org/docs/format/Columnar.html#ipc-file-format
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any

from assay.supply.findings import Broken
from assay.supply.machine import Buffer
from assay.supply.readers.part import Part

_PICKLED = (b"arrow.py_extension_type", b"pickle", b"cloudpickle")
_BASE64 = re.compile(rb"[A-Za-z0-9+/]{64,}={0,2}")
_FOOTER_LIMIT = 64 << 20
_MOST_VALUES = 2_000_000
_DEEPEST = 32


def read(part: Part, head: bytes) -> str | None:
    """The format of a table; None for anything else."""
    if head.startswith(b"PAR1"):
        return _parquet(part)
    if head.startswith(b"ARROW1\0\0"):
        return _arrow(part)
    return None


def _parquet(part: Part) -> str:
    tail = part.tail(8)
    length = int.from_bytes(tail[:4], "little")
    if (
        part.size < 12
        or tail[4:] != b"PAR1"
        or not 0 < length <= min(part.size - 12, _FOOTER_LIMIT)
    ):
        raise Broken("parquet", part.start, "the file does not end with its footer")
    first = part.end - 8 - length
    thrift = _Thrift(part.buffer, first, part.end - 8)
    footer = thrift.struct(0)
    if thrift.position != part.end - 8:
        raise Broken("parquet", thrift.position, "bytes in the footer belong to nothing")
    for group in _list(footer.get(4)):
        for column in _list(group.get(1) if isinstance(group, dict) else None):
            if isinstance(column, dict) and column.get(1):
                what = f"a column lies in the file {column[1][:100]!r}"
                part.find("parquet.external", "malicious", what, first)
    _check_schema(part, part.buffer[first : part.end - 8], first)
    return "parquet"


def _arrow(part: Part) -> str:
    tail = part.tail(10)
    length = int.from_bytes(tail[:4], "little")
    if part.size < 20 or tail[4:] != b"ARROW1" or not 0 < length <= min(part.size - 18, 64 << 20):
        raise Broken("arrow", part.start, "the file does not end with its footer")
    first = part.end - 10 - length
    _check_schema(part, part.buffer[first : part.end - 10], first)
    # The schema at the start is what a reader of streams takes.
    start = int.from_bytes(part.buffer[part.start + 12 : part.start + 16], "little")
    _check_schema(part, part.head(min(start + 16, _FOOTER_LIMIT)), part.start)
    return "arrow"


def _check_schema(part: Part, data: bytes, position: int) -> None:
    texts = [data]
    for found in _BASE64.finditer(data):
        raw = found[0]
        try:
            texts.append(base64.b64decode(raw[: len(raw) // 4 * 4]))
        except (binascii.Error, ValueError):
            continue
    if any(word in text for text in texts for word in _PICKLED):
        what = "the schema has a type whose description is a pickle"
        part.find("table.pickle", "malicious", what, position)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


class _Thrift:
    """Thrift's compact protocol, read into plain values; raises `Broken`."""

    def __init__(self, buffer: Buffer, start: int, end: int) -> None:
        self._buffer = buffer
        self.position = start
        self._end = end
        self._count = 0

    def _broken(self) -> Broken:
        return Broken("parquet", self.position, "the footer is damaged")

    def _byte(self) -> int:
        if self.position >= self._end:
            raise self._broken()
        self.position += 1
        return self._buffer[self.position - 1]

    def _varint(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7
            if shift > 63:
                raise self._broken()

    def _skip(self, count: int) -> bytes:
        if count > self._end - self.position:
            raise self._broken()
        self.position += count
        return self._buffer[self.position - count : self.position]

    def struct(self, depth: int) -> dict[int, Any]:
        """A struct's fields by their numbers."""
        found: dict[int, Any] = {}
        number = 0
        while True:
            head = self._byte()
            if head == 0:
                return found
            step, kind = head >> 4, head & 0x0F
            if step:
                number += step
            else:
                coded = self._varint()
                number = (coded >> 1) ^ -(coded & 1)
            if number in found:
                raise self._broken()
            # The truth of a field is its type.
            found[number] = kind == 1 if kind in (1, 2) else self._value(kind, depth + 1)

    def _value(self, kind: int, depth: int) -> Any:
        self._count += 1
        if depth > _DEEPEST or self._count > _MOST_VALUES:
            raise self._broken()
        match kind:
            case 1 | 2 | 3:
                return self._byte()
            case 4 | 5 | 6:
                return self._varint()
            case 7:
                return self._skip(8)
            case 8:
                return self._skip(self._varint())
            case 9 | 10:
                head = self._byte()
                size = head >> 4 if head >> 4 != 15 else self._varint()
                return [self._value(head & 0x0F, depth + 1) for _ in range(self._room(size))]
            case 11:
                size = self._room(self._varint())
                if not size:
                    return {}
                kinds = self._byte()
                for _ in range(size):
                    self._value(kinds >> 4, depth + 1)
                    self._value(kinds & 0x0F, depth + 1)
                return {}
            case 12:
                return self.struct(depth)
            case _:
                raise self._broken()

    def _room(self, size: int) -> int:
        if size > self._end - self.position:
            raise self._broken()
        return size
