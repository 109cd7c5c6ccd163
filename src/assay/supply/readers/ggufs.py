"""GGUF, the format of llama.cpp: metadata, a table of tensors, and their numbers.

Source: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, versions 2 and 3.
"""

from __future__ import annotations

import struct
from typing import Any

from assay.supply.findings import Broken
from assay.supply.readers import templates
from assay.supply.readers.part import Part

MAGIC = b"GGUF"
_MOST = 1_000_000
"""Metadata entries or tensors; the largest vocabularies are arrays of 300,000 texts."""
_MOST_ITEMS = 20_000_000
_LONGEST_KEY = 65535
_WIDTHS = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_TEXT, _ARRAY = 8, 9
_BLOCKS = {
    0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34),
    9: (32, 36), 10: (256, 84), 11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210),
    15: (256, 292), 16: (256, 66), 17: (256, 74), 18: (256, 98), 19: (256, 50), 20: (32, 18),
    21: (256, 110), 22: (256, 82), 23: (256, 136), 24: (1, 1), 25: (1, 2), 26: (1, 4), 27: (1, 8),
    28: (1, 8), 29: (256, 56), 30: (1, 2), 34: (256, 54), 35: (256, 66), 39: (32, 17),
}  # fmt: skip
"""ggml's types: elements of a block, and its bytes."""


def read(part: Part) -> str:
    """Walk the metadata and the table of tensors; the format."""
    _Reader(part).read()
    return "gguf"


class _Reader:
    def __init__(self, part: Part) -> None:
        self._part = part
        self._buffer = part.buffer
        self._position = part.start
        self._items = 0

    def _broken(self, what: str) -> Broken:
        return Broken("gguf", self._position, what)

    def _take(self, count: int) -> bytes:
        first = self._position
        if count > self._part.end - first:
            raise self._broken("a value lies beyond the end")
        self._position += count
        return self._buffer[first : self._position]

    def _number(self, width: int) -> int:
        return int.from_bytes(self._take(width), "little")

    def _skip_text(self, limit: int) -> tuple[int, int]:
        length = self._number(8)
        first = self._position
        if length > limit or length > self._part.end - first:
            raise self._broken("a text is too long")
        self._position += length
        return first, self._position

    def _text(self, limit: int) -> str:
        first, last = self._skip_text(limit)
        try:
            return self._buffer[first:last].decode("utf-8")
        except UnicodeDecodeError as error:
            raise self._broken("a text is not UTF-8") from error

    def read(self) -> None:
        self._take(4)
        version = self._number(4)
        if version not in (2, 3):
            raise self._broken(f"version {version} is not known")
        tensors, entries = self._number(8), self._number(8)
        if tensors > _MOST or entries > _MOST:
            raise self._broken("there are too many tensors or metadata entries")
        alignment = self._metadata(entries)
        self._tensors(tensors, alignment)

    def _metadata(self, entries: int) -> int:
        """Walk the metadata; the alignment that it sets."""
        keys: set[str] = set()
        alignment = 32
        for _ in range(entries):
            key = self._text(_LONGEST_KEY)
            if key in keys:
                raise self._broken(f"the key {key[:80]!r} occurs twice")
            keys.add(key)
            kind = self._number(4)
            at = self._position
            value = self._value(kind, 0, keep=key.startswith("tokenizer.chat_template"))
            if key == "general.alignment":
                alignment = int.from_bytes(self._buffer[at : self._position], "little")
                if kind != 4 or not 8 <= alignment <= 1 << 16 or alignment % 8:
                    raise self._broken("the alignment is unusual")
            elif isinstance(value, str):
                templates.check(self._part, value)
        return alignment

    def _value(self, kind: int, depth: int, *, keep: bool = False) -> Any:
        if kind in _WIDTHS:
            data = self._take(_WIDTHS[kind])
            if kind == 7 and data not in (b"\0", b"\1"):
                raise self._broken("a truth value is neither true nor false")
            return None
        if kind == _TEXT:
            if keep:
                return self._text(1 << 24)
            self._skip_text(1 << 30)
            return None
        if kind != _ARRAY or depth > 3:
            raise self._broken(f"values of the type {kind} are not known")
        inner, count = self._number(4), self._number(8)
        if inner in _WIDTHS:
            size = count * _WIDTHS[inner]
            if size > self._part.end - self._position:
                raise self._broken("an array lies beyond the end")
            self._position += size
            return None
        self._items += count
        if self._items > _MOST_ITEMS or count > self._part.end - self._position:
            raise self._broken("an array is too long")
        if inner == _TEXT:
            self._skip_texts(count)
        else:
            for _ in range(count):
                self._value(inner, depth + 1)
        return None

    def _skip_texts(self, count: int) -> None:
        """An array of texts, which vocabularies make long."""
        buffer, position, end = self._buffer, self._position, self._part.end
        unpack = struct.Struct("<Q").unpack_from
        for _ in range(count):
            if position + 8 > end:
                raise self._broken("an array lies beyond the end")
            position += 8 + unpack(buffer, position)[0]
            if position > end:
                raise self._broken("an array lies beyond the end")
        self._position = position

    def _tensors(self, count: int, alignment: int) -> None:
        found: list[tuple[int, int, str]] = []
        names: set[str] = set()
        for _ in range(count):
            name = self._text(1024)
            if name in names:
                raise self._broken(f"two tensors are named {name[:80]!r}")
            names.add(name)
            dimensions = self._number(4)
            if dimensions > 8:
                raise self._broken("a tensor has too many dimensions")
            shape = [self._number(8) for _ in range(dimensions)]
            kind, offset = self._number(4), self._number(8)
            if kind not in _BLOCKS:
                raise self._broken(f"a tensor is of the unknown type {kind}")
            elements, size = _BLOCKS[kind]
            total = 1
            for dimension in shape:
                if not 0 < dimension < 1 << 63:
                    raise self._broken("a tensor has an impossible shape")
                total *= dimension
            if (shape[0] if shape else 1) % elements or offset % alignment:
                raise self._broken(f"the tensor {name[:80]!r} is not made of whole blocks")
            found.append((offset, total // elements * size, name))
        first = self._part.start + -(-(self._position - self._part.start) // alignment) * alignment
        self._check_padding(self._position, min(first, self._part.end))
        self._check_layout(sorted(found), first, alignment)

    def _check_layout(self, found: list[tuple[int, int, str]], first: int, alignment: int) -> None:
        """The tensors cover the rest of the file, but for zeros up to their alignment."""
        if not found:
            if self._part.end > first:
                self._check_padding(first, self._part.end)
            return
        at = last = 0
        for offset, size, name in found:
            if offset != at or first + offset + size > self._part.end:
                what = f"the data of tensor {name[:80]!r} overlaps, leaves a gap or is cut short"
                raise self._broken(what)
            last = first + offset + size
            at = -(-(offset + size) // alignment) * alignment
            self._check_padding(last, min(first + at, self._part.end))
        # Some writers pad the last tensor and some do not.
        if self._part.end not in (first + at, last):
            raise self._broken("the file does not end with its last tensor")

    def _check_padding(self, first: int, last: int) -> None:
        if any(self._buffer[first:last]):
            raise self._broken("the padding between tensors is not of zeros")
