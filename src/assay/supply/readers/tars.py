"""tar archives, read strictly: ustar with the extensions of POSIX (pax) and of GNU.

The same bytes are read differently by different programs wherever headers repeat or contradict each
other (a size in a pax record beside another in the header is how an archive hides files from a
scanner).  So a member has one name and one size, and what follows the end is zeros.

Sources: POSIX.1-2017 ``pax``, "ustar Interchange Format" and "pax Extended Header";
the GNU tar manual, "Basic Tar Format".
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from assay.supply.findings import MOST_FILES, Broken
from assay.supply.readers.part import Part, leaves_folder

_BLOCK = 512
_LONGEST_HEADER = 1 << 20
_PIECE = 1 << 20
_OCTAL = re.compile(rb" *([0-7]+)[ \0]*")
_MOST_OCTAL = 0o77777777777
_REGULAR = (b"0", b"\0", b"7")
_DEVICES = {b"3": "a device", b"4": "a device", b"6": "a pipe"}
_IGNORED = frozenset(
    {
        "atime",
        "mtime",
        "ctime",
        "uid",
        "gid",
        "uname",
        "gname",
        "comment",
        "LIBARCHIVE.creationtime",
    }
)


@dataclass(slots=True)
class _Pending:
    """What extension headers say about the member that follows them."""

    said: dict[str, str] = field(default_factory=dict[str, str])

    def put(self, key: str, value: str, position: int) -> None:
        if key in self.said:
            raise Broken("tar.header", position, f"a member's {key} is given twice")
        self.said[key] = value


def looks_like_tar(head: bytes) -> bool:
    """Whether the first block is a tar header, by its checksum."""
    if len(head) < _BLOCK or head[0] == 0:
        return False
    try:
        return _number(head, 148, 8, 0) == _checksum(head)
    except Broken:
        return False


def looks_like_tar_to_any(head: bytes) -> bool:
    """Whether a reader less strict than this one would take the first block for a tar header.

    Python adds signed bytes as well, and reads numbers with prefixes and underscores.
    """
    if len(head) < _BLOCK or not head[0]:
        return False
    try:
        said = int(head[148:156].partition(b"\0")[0].strip() or b"0", 8)
    except ValueError:
        return False
    return said in (_checksum(head), _checksum(head) - 256 * sum(
        byte > 127 for byte in head[:148] + head[156:_BLOCK]
    ))  # fmt: skip


def read(part: Part) -> str:
    """Scan every member; the format."""
    position = part.start
    names: set[str] = set()
    folded: set[str] = set()
    pending = _Pending()
    for _ in range(MOST_FILES):
        block = part.buffer[position : min(position + _BLOCK, part.end)]
        if len(block) < _BLOCK:
            raise Broken("tar.truncated", position, "the archive has no end")
        if not any(block):
            if pending.said:
                raise Broken("tar.header", position, "an extension header belongs to no member")
            _check_zeros(part, position, part.end, "tar.trailing", "bytes follow the end")
            return "tar"
        if _number(block, 148, 8, position) != _checksum(block):
            raise Broken("tar.header", position, "a header's checksum is wrong")
        size = _number(block, 124, 12, position)
        kind = block[156:157]
        first = position + _BLOCK
        if kind in (b"x", b"g", b"L", b"K"):
            _extend(part, pending, kind, first, size)
        else:
            size = _member(part, block, position, size, pending, names, folded)
            pending = _Pending()
        last = first + size
        position = first + -(-size // _BLOCK) * _BLOCK
        if position > part.end:
            raise Broken("tar.truncated", first, "a member lies beyond the end")
        _check_zeros(part, last, position, "tar.padding", "bytes between members belong to none")
    raise Broken("tar.header", position, f"there are more than {MOST_FILES} members")


def _member(
    part: Part,
    block: bytes,
    position: int,
    size: int,
    pending: _Pending,
    names: set[str],
    folded: set[str],
) -> int:
    """Check and scan one member; its size."""
    said = pending.said
    name = said.get("path") or _name(block)
    size = _size(said, size, position)
    kind = block[156:157]
    if leaves_folder(name):
        part.find("tar.path", "malicious", f"member {name!r} would leave its folder", position)
    plain = name.rstrip("/").removeprefix("./")
    if plain in names:
        part.find("tar.duplicate", "unscannable", f"two members are named {name!r}", position)
    elif plain.casefold() in folded:
        what = f"two members have the name {name!r} but for the case of letters"
        part.find("tar.duplicate", "suspicious", what, position)
    names.add(plain)
    folded.add(plain.casefold())
    if kind in (b"1", b"2"):
        target = said.get("linkpath") or _text(block[157:257])
        out = leaves_folder(target)
        what = f"member {name!r} is a link to {target!r}"
        part.find("tar.link", "malicious" if out else "suspicious", what, position)
        return 0
    if kind in _DEVICES:
        part.find("tar.special", "malicious", f"member {name!r} is {_DEVICES[kind]}", position)
        return 0
    if kind == b"5":
        if size:
            part.find("tar.header", "unscannable", f"the folder {name!r} has a size", position)
        return size
    if kind == b"\0" and name.endswith("/"):
        if size:
            # In the oldest archives this is a folder, behind which some readers expect no content.
            raise Broken("tar.header", position, f"the folder {name!r} has a size")
        return size
    if kind not in _REGULAR:
        what = f"member {name!r} is of the kind {kind!r}, which is not read"
        raise Broken("tar.kind", position, what)
    first = position + _BLOCK
    if first + size > part.end:
        raise Broken("tar.truncated", position, "a member lies beyond the end")
    part.inside(part.buffer, first, first + size, name)
    return size


def _size(said: dict[str, str], size: int, position: int) -> int:
    if "size" not in said:
        return size
    text = said["size"]
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise Broken("tar.header", position, "a member's size is not a number")
    if int(text) != size and not (size == 0 and int(text) > _MOST_OCTAL):
        raise Broken("tar.header", position, "a member has two sizes")
    return int(text)


def _extend(part: Part, pending: _Pending, kind: bytes, first: int, size: int) -> None:
    """A header that speaks about the next member, or (``g``) about all that follow."""
    if size > _LONGEST_HEADER or first + size > part.end:
        raise Broken("tar.header", first, "an extension header is too long")
    data = part.buffer[first : first + size]
    if kind in (b"L", b"K"):
        pending.put("path" if kind == b"L" else "linkpath", _text(data), first)
        return
    for key, value in _records(data, first):
        if key in ("path", "linkpath", "size") and kind == b"x":
            pending.put(key, value, first)
        elif key not in _IGNORED and not key.startswith("SCHILY."):
            raise Broken("tar.header", first, f"a header's {key[:60]!r} is not read")


def _records(data: bytes, first: int) -> list[tuple[str, str]]:
    """The records of a pax header: ``length key=value`` and a newline, the length of it all."""
    found: list[tuple[str, str]] = []
    position = 0
    while position < len(data):
        digits, space, _ = data[position : position + 12].partition(b" ")
        if not space or not digits.isdigit():
            raise Broken("tar.header", first, "a pax record has no length")
        last = position + int(digits)
        record = data[position + len(digits) + 1 : last]
        key, equals, value = record.partition(b"=")
        if last > len(data) or not record.endswith(b"\n") or not equals:
            raise Broken("tar.header", first, "a pax record is damaged")
        try:
            found.append((key.decode(), value[:-1].decode()))
        except UnicodeDecodeError as error:
            raise Broken("tar.header", first, "a pax record is not text") from error
        position = last
    return found


def _name(block: bytes) -> str:
    name, prefix = _text(block[:100]), _text(block[345:500])
    ustar = block[257:263] == b"ustar\0"
    return f"{prefix}/{name}" if ustar and prefix else name


def _text(data: bytes) -> str:
    return data.partition(b"\0")[0].decode("utf-8", "backslashreplace")


def _number(block: bytes, first: int, width: int, position: int) -> int:
    raw = block[first : first + width]
    if raw[0] == 0x80:  # GNU: the rest is the number itself.
        return int.from_bytes(raw[1:])
    if not raw.strip(b" \0"):
        return 0
    parsed = _OCTAL.fullmatch(raw)
    if parsed is None:
        raise Broken("tar.header", position, "a number in a header is damaged")
    return int(parsed[1], 8)


def _checksum(block: bytes) -> int:
    return sum(block[:148]) + 8 * 0x20 + sum(block[156:_BLOCK])


def _check_zeros(part: Part, first: int, last: int, rule: str, what: str) -> None:
    for position in range(first, last, _PIECE):
        piece = part.buffer[position : min(position + _PIECE, last)]
        if piece.count(0) != len(piece):
            raise Broken(rule, position, what)
