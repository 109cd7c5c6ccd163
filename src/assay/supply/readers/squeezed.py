"""Compressed streams, as joblib writes them and as archives come: inflated, and scanned again."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

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
        if kind in ("lz4", "zstd"):
            inner = _inflate_other(part, kind, packed, room)
            if inner is None:
                return kind
        else:
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


def _inflate_other(part: Part, kind: str, packed: memoryview, room: int) -> bytes | None:
    """One frame of lz4 or zstd, whose libraries are optional; None where it cannot be inflated.

    zstd has no bound on what a step gives, so its steps are small: 2 KiB make 64 MiB at most.
    """
    stream: Any
    try:
        if kind == "lz4":
            import lz4.frame

            stream, step = lz4.frame.LZ4FrameDecompressor(), 1 << 16
        else:
            import zstandard

            stream, step = zstandard.ZstdDecompressor(max_window_size=1 << 27).decompressobj(), 2048
    except ImportError:
        library = {"lz4": "lz4", "zstd": "zstandard"}[kind]
        what = f"reading {kind} data needs the library {library}"
        part.find("compressed", "unscannable", what)
        return None
    out = bytearray()
    position = 0
    try:
        while position < len(packed) and not stream.eof and len(out) <= room:
            out += stream.decompress(bytes(packed[position : position + step]))
            position += step
    except Exception as error:  # Both libraries have errors of their own.
        part.find("compressed", "unscannable", f"the {kind} data is damaged ({error})")
        return None
    if len(out) > room:
        part.find("compressed", "unscannable", f"the {kind} data inflates beyond measure")
        return None
    if not stream.eof or stream.unused_data or position < len(packed):
        what = f"the {kind} data is cut short, or more follows it"
        part.find("compressed", "unscannable", what)
    return bytes(out)


def _is_text(head: bytes) -> bool:
    """Whether what begins like zlib's header (``x``) is text; its last character may be cut."""
    text = head.decode("utf-8", "ignore")
    plain = len(text.encode()) > len(head) - 4
    return plain and all(c >= " " or c in "\t\r\n" for c in text)
