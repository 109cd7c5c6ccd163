"""Pictures in documentation: crossed from their first byte to their last, so that nothing hides
behind them.  What is inside goes to whoever shows the page, not to whoever loads the model.

Sources: the PNG specification (third edition), ITU T.81 (JPEG), GIF89a, RFC 9649 (WebP).
"""

from __future__ import annotations

import struct
import zlib

from assay.supply.findings import Broken
from assay.supply.readers.part import Part

_MOST_PIECES = 100_000


def read(part: Part, head: bytes) -> str | None:
    """The format of a picture; None for anything else."""
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        last, kind = _png(part), "png"
    elif head.startswith(b"\xff\xd8\xff"):
        last, kind = _jpeg(part), "jpeg"
    elif head.startswith((b"GIF87a", b"GIF89a")):
        last, kind = _gif(part), "gif"
    elif head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        last, kind = part.start + 8 + int.from_bytes(head[4:8], "little"), "webp"
    else:
        return None
    if last != part.end:
        raise Broken("picture", min(last, part.end), f"the {kind} ends before or behind the file")
    return kind


def _broken(position: int) -> Broken:
    return Broken("picture", position, "the picture is damaged")


def _png(part: Part) -> int:
    position = part.start + 8
    for _ in range(_MOST_PIECES):
        if position + 12 > part.end:
            raise _broken(position)
        length, kind = struct.unpack_from(">I4s", part.buffer, position)
        last = position + 12 + length
        if last > part.end:
            raise _broken(position)
        checksum = zlib.crc32(part.buffer[position + 4 : last - 4])
        if checksum != int.from_bytes(part.buffer[last - 4 : last]):
            raise _broken(position)
        if kind == b"IEND":
            return last
        position = last
    raise _broken(position)


def _jpeg(part: Part) -> int:
    buffer, position, end = part.buffer, part.start + 2, part.end
    for _ in range(_MOST_PIECES):
        if position + 4 > end:
            if buffer[position:end] == b"\xff\xd9":
                return end
            raise _broken(position)
        if buffer[position] != 0xFF:
            raise _broken(position)
        kind = buffer[position + 1]
        if kind == 0xD9:
            return position + 2
        position += 2 + int.from_bytes(buffer[position + 2 : position + 4])
        while kind == 0xDA:  # The picture's data, up to a marker that is no restart.
            position = buffer.find(b"\xff", position, end)
            if position < 0 or position + 2 > end:
                raise _broken(end)
            if buffer[position + 1] == 0 or 0xD0 <= buffer[position + 1] <= 0xD7:
                position += 2
            else:
                break
    raise _broken(position)


def _gif(part: Part) -> int:
    buffer, end = part.buffer, part.end
    position = part.start + 13
    if position > end:
        raise _broken(end)
    flags = buffer[part.start + 10]
    position += 3 << (flags & 7) + 1 if flags & 0x80 else 0
    for _ in range(_MOST_PIECES):
        if position + 11 > end:
            if buffer[position:end] == b";":
                return end
            raise _broken(position)
        kind = buffer[position]
        if kind == 0x3B:
            return position + 1
        if kind == 0x2C:
            flags = buffer[position + 9]
            position += 11 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
        elif kind == 0x21:
            position += 2
        else:
            raise _broken(position)
        while position < end and buffer[position]:
            position += 1 + buffer[position]
        position += 1
    raise _broken(position)
