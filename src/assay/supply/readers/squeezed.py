"""Compressed streams, as joblib writes them and as archives come: inflated, and scanned again."""

from __future__ import annotations

import zlib
from dataclasses import replace

from assay.errors import Usage
from assay.formats.compressed import compression, inflate
from assay.supply.readers import pickled
from assay.supply.readers.part import Part

_SUFFIXES = (".gz", ".bz2", ".xz", ".lzma", ".zst", ".lz4", ".z")
_PARTIAL = 64 << 20


def read(part: Part, head: bytes) -> str | None:
    """The format of what is inside; None where the bytes are not compressed."""
    kind = compression(head[:8])
    if kind is None:
        return None
    if kind == "zlib" and _is_text(head[:64]):
        _probe_text(part)
        return None
    packed = memoryview(part.buffer)[part.start : part.end]
    room = part.report.room
    try:
        inner = inflate(packed, limit=room)
    except Usage as error:
        part.find("compressed", "unscannable", error.message)
        try:
            inner = inflate(packed, limit=min(room, _PARTIAL), partial=True)
        except Usage:
            return str(kind)
    finally:
        packed.release()
    part.inflated(len(inner))
    name = part.name
    suffix = next((s for s in _SUFFIXES if name.lower().endswith(s)), "")
    inside = replace(
        part,
        buffer=inner,
        start=0,
        end=len(inner),
        where=f"{part.where}!{kind}",
        name=name[: -len(suffix)] if suffix else "",
        depth=part.depth + 1,
    )
    return part.scan(inside)


def _probe_text(part: Part) -> None:
    """A text that begins as zlib's streams do, and may be one: all of it can be written in letters.

    joblib unpickles a stream while it inflates it, however it ends.
    """
    stream = zlib.decompressobj()
    out = bytearray()
    try:
        for position in range(part.start, part.end, 64):
            piece = part.buffer[position : min(position + 64, part.end)]
            out += stream.decompress(piece, _PARTIAL)
            if len(out) >= _PARTIAL or stream.eof:
                break
    except zlib.error:
        pass
    part.inflated(len(out))
    pickled.probe(bytes(out), 0, len(out), f"{part.where}!zlib", part.report, part.name)
    if stream.eof or len(out) >= _PARTIAL:
        part.find("compressed", "unscannable", "is text and a compressed stream as well")


def _is_text(head: bytes) -> bool:
    """Whether what begins like zlib's header (``x``) is text; its last character may be cut."""
    text = head.decode("utf-8", "ignore")
    plain = len(text.encode()) > len(head) - 4
    return plain and all(c >= " " or c in "\t\r\n" for c in text)
