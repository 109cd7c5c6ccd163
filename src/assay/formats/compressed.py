"""Compressed streams, inflated within bounds.

joblib compresses a whole file with one of these and recognises them by their first bytes; so does
this module.  A stream must be one single member with nothing behind it: Python's own readers
accept several members in a row, and a reader that stops earlier than the victim's is a hiding
place.  lz4 and zstd need a library each, which the extra ``scan`` brings; without it such a
stream is refused like any other that cannot be read.
"""

from __future__ import annotations

import bz2
import importlib
import lzma
import zlib
from typing import Any, Protocol

from assay.errors import Usage

_PIECE = 1 << 20

PREFIXES: tuple[tuple[bytes, str], ...] = (
    (b"\x1f\x8b", "gzip"),
    (b"BZh", "bz2"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"]\x00", "lzma"),
    (b"\x04\x22\x4d\x18", "lz4"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"x", "zlib"),
)


class _Stream(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = ..., /) -> bytes: ...


class _Zlib:
    """zlib's decompressor behind the interface of the other two."""

    def __init__(self, bits: int) -> None:
        self._inner = zlib.decompressobj(bits)

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def decompress(self, data: bytes, max_length: int = 0, /) -> bytes:
        return self._inner.decompress(self._inner.unconsumed_tail + data, max_length)


def _lz4() -> tuple[_Stream, type[Exception]]:
    # Blocks of a frame are of 4 MiB at most, so that little more than the output is held.
    return importlib.import_module("lz4.frame").LZ4FrameDecompressor(), RuntimeError


def _zstd() -> tuple[_Stream, type[Exception]]:
    try:
        library: Any = importlib.import_module("compression.zstd")  # Python 3.14
    except ImportError:
        library = importlib.import_module("backports.zstd")
    window = {library.DecompressionParameter.window_log_max: 27}  # 128 MiB
    return library.ZstdDecompressor(options=window), library.ZstdError


_OPTIONAL = {"lz4": _lz4, "zstd": _zstd}


def compression(head: bytes) -> str | None:
    """The compression a file's first bytes announce, or None."""
    for prefix, name in PREFIXES:
        if head.startswith(prefix):
            # 'x' alone is any text: a zlib header is a multiple of 31 (RFC 1950, section 2.2).
            if name == "zlib" and (len(head) < 2 or int.from_bytes(head[:2]) % 31):
                continue
            return name
    return None


def inflate(data: bytes | memoryview, *, limit: int, partial: bool = False) -> bytes:
    """The content of one compressed stream of at most `limit` bytes inflated.

    With `partial`, a stream that is longer gives its first `limit` bytes instead.  Raises `Usage`
    (``compressed.*``) for an unsupported compression, damage, a second member or too much output.
    """
    name = compression(bytes(data[:8])) or "unknown"
    stream: _Stream
    own_error: type[Exception] = EOFError
    if name in ("zlib", "gzip"):
        stream = _Zlib(31 if name == "gzip" else 15)
    elif name == "bz2":
        stream = bz2.BZ2Decompressor()
    elif name in ("xz", "lzma"):
        stream = lzma.LZMADecompressor(memlimit=256 << 20)
    elif name in _OPTIONAL:
        try:
            stream, own_error = _OPTIONAL[name]()
        except ImportError as error:
            raise Usage(
                f"compression {name} cannot be read without its library",
                remedy="install assay[scan], or save the model with zlib, gzip or xz",
                code="compressed.kind",
            ) from error
    else:
        raise Usage(
            f"compression {name} is not supported",
            remedy="save the model uncompressed, or with zlib, gzip, bz2, xz, lzma, lz4 or zstd",
            code="compressed.kind",
        )
    out = bytearray()
    position = 0
    try:
        while not stream.eof and len(out) <= limit:
            piece = bytes(data[position : position + _PIECE])
            position += len(piece)
            inflated = stream.decompress(piece, limit + 1 - len(out))
            out += inflated
            if not piece and not inflated:
                break
    except (zlib.error, lzma.LZMAError, OSError, EOFError, ValueError, own_error) as error:
        raise Usage(f"the {name} data is damaged ({error})", code="compressed.damaged") from error
    if len(out) > limit:
        if partial:
            return bytes(out[:limit])
        raise Usage(
            f"the {name} data inflates to more than {limit} bytes", code="compressed.too_large"
        )
    if partial:
        return bytes(out)
    if not stream.eof:
        raise Usage(f"the {name} data is cut short", code="compressed.damaged")
    if stream.unused_data or position < len(data):
        raise Usage(
            f"there are bytes behind the end of the {name} data", code="compressed.trailing"
        )
    return bytes(out)
