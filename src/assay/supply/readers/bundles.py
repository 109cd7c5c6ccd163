"""TensorFlow's checkpoints: an index (a table of LevelDB) and files of raw numbers beside it.

Source: ``tensorflow/core/util/tensor_bundle``, ``tensorflow/core/lib/io/table_format.txt``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from assay.supply.findings import Broken
from assay.supply.readers.part import Part
from assay.supply.readers.wire import Tables, Walker, fields, varint

_MAGIC = b"\x57\xfb\x80\x8b\x24\x75\x47\xdb"
_FOOTER = 48
_MOST = 1_000_000
DATA = re.compile(r".*\.data-\d{5}-of-\d{5}")
"""The name of a file of numbers; the index tells what they are."""

_TABLES: Tables = {
    "Header": fields("Header", "1 shards v, 2 order v, 3 version b"),
    "Entry": fields(
        "Entry", "1 type v, 2 shape b, 3 shard v, 4 offset v, 5 size v, 6 crc 4, 7 slices b"
    ),
}


def looks_like_index(part: Part) -> bool:
    """Whether the file ends as a table of LevelDB does."""
    return part.size > _FOOTER and part.tail(8) == _MAGIC


def read_index(part: Part) -> str:
    """Every entry of the index; the format."""
    footer = part.end - _FOOTER
    _, _, position = _handle(part, footer)
    first, size, _ = _handle(part, position)
    count = 0
    walker = Walker(part.buffer, _TABLES, "checkpoint", lambda *_: None)
    for _, value_first, _ in _entries(part, first, size):
        at, length, _ = _handle(part, value_first)
        for key, start, end in _entries(part, at, length):
            count += 1
            if count > _MOST:
                raise Broken("checkpoint", start, "the index has too many entries")
            walker.walk(start, end, "Entry" if key else "Header")
    return "checkpoint-index"


def _handle(part: Part, position: int) -> tuple[int, int, int]:
    """Where a block lies and its length, and the position behind the handle."""
    offset, position = varint(part.buffer, position, part.end, "checkpoint")
    size, position = varint(part.buffer, position, part.end, "checkpoint")
    if offset + size + 5 > part.size:
        raise Broken("checkpoint", position, "a block lies beyond the end")
    return part.start + offset, size, position


def _entries(part: Part, first: int, size: int) -> Iterator[tuple[bytes, int, int]]:
    """The keys of a block, and where their values lie."""
    if part.buffer[first + size] != 0:
        raise Broken("checkpoint", first, "a block is compressed, which is not read")
    if size < 4:
        raise Broken("checkpoint", first, "a block is too short")
    restarts = int.from_bytes(part.buffer[first + size - 4 : first + size], "little")
    last = first + size - 4 - 4 * restarts
    position, key = first, b""
    while position < last:
        shared, position = varint(part.buffer, position, last, "checkpoint")
        own, position = varint(part.buffer, position, last, "checkpoint")
        length, position = varint(part.buffer, position, last, "checkpoint")
        behind = position + own + length
        if behind > last or shared > len(key) or own > 1 << 16:
            raise Broken("checkpoint", position, "an entry is damaged")
        key = key[:shared] + part.buffer[position : position + own]
        yield key, position + own, behind
        position = behind
    if position != last:
        raise Broken("checkpoint", position, "a block is damaged")
