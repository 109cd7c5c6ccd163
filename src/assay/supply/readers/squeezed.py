"""Compressed streams, as joblib writes them and as archives come: inflated, and scanned again."""

from __future__ import annotations

from dataclasses import replace

from assay.errors import Usage
from assay.formats.compressed import compression, inflate
from assay.supply.readers.part import Part

_SUFFIXES = (".gz", ".bz2", ".xz", ".lzma", ".zst", ".lz4", ".z")
_PARTIAL = 64 << 20


def read(part: Part, head: bytes) -> str | None:
    """The format of what is inside; None where the bytes are not compressed."""
    kind = compression(head[:8])
    if kind is None or (kind == "zlib" and _is_text(head[:64])):
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


def _is_text(head: bytes) -> bool:
    """Whether what begins like zlib's header (``x``) is text; its last character may be cut."""
    text = head.decode("utf-8", "ignore")
    plain = len(text.encode()) > len(head) - 4
    return plain and all(c >= " " or c in "\t\r\n" for c in text)
