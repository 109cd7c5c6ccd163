"""ZIP archives, read strictly: every byte belongs to one member or to the directory.

Readers disagree about archives: some trust the directory at the end, some the headers on the way;
some ignore checksums and encryption flags; some take the first of two members of a name, some the
last.  So an archive in which they could disagree is not clean, and its members are scanned by
whichever account finds them.

Source: PKWARE APPNOTE 6.3.10, sections 4.3 and 4.5.3.
"""

from __future__ import annotations

import stat
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass

from assay.supply.findings import MOST_FILES, Broken, Report
from assay.supply.machine import Buffer
from assay.supply.readers.part import leaves_folder

_LOCAL = struct.Struct("<4s5H3I2H")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_END = struct.Struct("<4s4H2IH")
_END_64 = struct.Struct("<4sQ2H2I4Q")
_LOCATOR = struct.Struct("<4sIQI")
_ENCRYPTED = 0x2061
"""Flags for encryption, patches, strong encryption and a masked directory."""
_DESCRIPTOR = 0x08
_STORED, _DEFLATED = 0, 8
_PIECE = 1 << 20
_MOST_RATIO = 500
_RATIO_FROM = 256 << 20
"""Deflate reaches 1030 to one, but only where there is nothing: refused once it could hurt."""


@dataclass(frozen=True, slots=True)
class Member:
    """One member: its name, method, checksum, where its content lies and how long it becomes."""

    name: str
    flags: int
    method: int
    crc: int
    first: int
    packed: int
    size: int
    header: int
    mode: int = 0
    """Of Unix: what kind of file it is."""


def members(buffer: Buffer, start: int, end: int, where: str, report: Report) -> list[Member]:
    """The members of an archive, by its directory if that can be read, else by their headers.

    Everything that another reader could see otherwise is added to the report.
    """

    def find(rule: str, position: int, what: str) -> None:
        report.add(f"zip.{rule}", "unscannable", where, position - start, what)

    try:
        found, directory = _directory(buffer, start, end)
    except Broken as error:
        report.broken(error, where, start)
        return _walk(buffer, start, end)
    _check_room(found, end - start, report, find)
    names: set[str] = set()
    position = start
    for member in sorted(found, key=lambda member: member.header):
        if member.header != position:
            word = "overlap" if member.header < position else "leave a gap"
            find("layout", member.header, f"members {word}")
        # Windows, macOS and readers in C see fewer differences than there are.
        plain = member.name.partition("\0")[0].replace("\\", "/").casefold()
        if plain in names:
            find("duplicate", member.header, f"two members are named {member.name!r}")
        names.add(plain)
        if "\0" in member.name or "\ufffd" in member.name:
            find("name", member.header, f"the name {member.name!r} is not plain text")
        if member.flags & _ENCRYPTED:
            find("encrypted", member.header, f"member {member.name!r} claims to be encrypted")
        if leaves_folder(member.name):
            what = f"member {member.name!r} would be unpacked outside its folder"
            report.add("zip.path", "malicious", where, member.header - start, what)
        _check_kind(buffer, member, find)
        position = member.first + member.packed
        if member.flags & _DESCRIPTOR:
            position += (behind := _descriptor(buffer, position, member))
            if not behind:
                find("layout", position, "a member lacks the sizes that should follow it")
    if position != directory:
        find("layout", position, "bytes before the directory belong to no member")
    return found


def content(buffer: Buffer, member: Member, where: str, report: Report, base: int) -> bytes | None:
    """A compressed member's bytes, within the scan's bounds; None when there are none to scan."""

    def find(rule: str, what: str) -> None:
        report.add(f"zip.{rule}", "unscannable", where, member.first - base, what)

    if member.method != _DEFLATED:
        find("method", f"compression method {member.method} is not supported")
        return None
    limit = min(report.room, max(member.size, 1 << 16))
    stream = zlib.decompressobj(-15)
    out = bytearray()
    position, last = member.first, member.first + member.packed
    try:
        while not stream.eof and len(out) <= limit:
            piece = stream.unconsumed_tail
            if not piece:
                if position >= last:
                    break
                piece = buffer[position : min(position + _PIECE, last)]
                position += len(piece)
            out += stream.decompress(piece, limit + 1 - len(out))
    except zlib.error:
        find("damaged", "the compressed data is damaged")
    if len(out) > limit:
        find("bomb", "inflates to more than it declares, or than a scan may inflate")
    elif not stream.eof or stream.unused_data or position < last:
        find("damaged", "the compressed data is cut short, or more follows it")
    if len(out) != member.size or zlib.crc32(out) != member.crc:
        find("checksum", "the content does not have the declared length and checksum")
    return bytes(out)


def check_stored(buffer: Buffer, member: Member, where: str, report: Report, base: int) -> None:
    """Length and checksum of a member that is stored as it is."""
    crc = 0
    last = member.first + member.packed
    for position in range(member.first, last, _PIECE):
        crc = zlib.crc32(buffer[position : min(position + _PIECE, last)], crc)
    if member.packed != member.size or crc != member.crc:
        what = "the content does not have the declared length and checksum"
        report.add("zip.checksum", "unscannable", where, member.first - base, what)


def _check_kind(buffer: Buffer, member: Member, find: Callable[[str, int, str], None]) -> None:
    """Programs that unpack make links and devices of members that say so."""
    kind = stat.S_IFMT(member.mode)
    if kind == stat.S_IFLNK:
        target = buffer[member.first : member.first + min(member.packed, 200)]
        what = f"member {member.name!r} is a link to {target.decode('utf-8', 'replace')!r}"
        find("link", member.header, what)
    elif kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        find("link", member.header, f"member {member.name!r} is a device or pipe")


def _check_room(
    found: list[Member], size: int, report: Report, find: Callable[[str, int, str], None]
) -> None:
    """Refuse a bomb by what the members claim together, before anything is inflated."""
    claimed = sum(member.size for member in found if member.method != _STORED)
    if claimed > report.room or (claimed > _MOST_RATIO * size and claimed > _RATIO_FROM):
        first = min(member.header for member in found)
        find("bomb", first, f"the members claim to become {claimed} bytes")


def _descriptor(buffer: Buffer, position: int, member: Member) -> int:
    """The length of the data descriptor behind a member's content; 0 when there is none."""
    for signature in (b"PK\x07\x08", b""):
        for width in (4, 8):
            expected = signature + struct.pack("<I", member.crc)
            expected += member.packed.to_bytes(width, "little")
            expected += member.size.to_bytes(width, "little")
            if buffer[position : position + len(expected)] == expected:
                return len(expected)
    return 0


def _directory(buffer: Buffer, start: int, end: int) -> tuple[list[Member], int]:
    """The members that the directory lists, and where it begins; raises `Broken`."""

    def wrong(position: int, what: str) -> Broken:
        return Broken("zip.directory", position, what)

    at = end - _END.size
    if at < start or buffer[at : at + 4] != b"PK\x05\x06":
        raise wrong(max(at, start), "the archive does not end with its directory")
    _, disk, first_disk, here, count, size, offset, comment = _END.unpack(buffer[at:end])
    if disk or first_disk or here != count or comment:
        raise wrong(at, "the archive is of several parts or has a comment")
    last = at
    locator = at - _LOCATOR.size
    if locator >= start and buffer[locator : locator + 4] == b"PK\x06\x07":
        _, _, where_64, _ = _LOCATOR.unpack(buffer[locator:at])
        at_64 = start + where_64
        if at_64 + _END_64.size != locator or buffer[at_64 : at_64 + 4] != b"PK\x06\x06":
            raise wrong(locator, "the 64-bit end of the directory is not where it should be")
        plain = (count, size, offset)
        *_, disks, first_disk, here, count, size, offset = _END_64.unpack(buffer[at_64:locator])
        wide = ((count, 0xFFFF), (size, 0xFFFFFFFF), (offset, 0xFFFFFFFF))
        # Some readers take these numbers only where the old ones have no room for them.
        if any(n not in pair for n, pair in zip(plain, wide, strict=True)) or disks or first_disk:
            raise wrong(at, "the two ends of the directory differ")
        if here != count:
            raise wrong(at, "the archive is of several parts or has a comment")
        last = at_64
    if count > MOST_FILES or start + offset + size != last:
        raise wrong(at, "the directory is not where the archive says, or too long")
    position = start + offset
    found: list[Member] = []
    for _ in range(count):
        member, position = _entry(buffer, position, last, start)
        found.append(member)
    if position != last:
        raise wrong(position, "bytes behind the directory belong to nothing")
    return found, start + offset


def _entry(buffer: Buffer, position: int, last: int, start: int) -> tuple[Member, int]:
    """A directory entry checked against the member's own header, and where the next begins."""

    def wrong(what: str) -> Broken:
        return Broken("zip.directory", position, what)

    if position + _CENTRAL.size > last or buffer[position : position + 4] != b"PK\x01\x02":
        raise wrong("an entry of the directory is damaged")
    fields = _CENTRAL.unpack(buffer[position : position + _CENTRAL.size])
    _, _, _, flags, method, _, _, crc, packed, size, names, extras, comment, disk, *rest = fields
    _, attributes, offset = rest
    text = position + _CENTRAL.size
    behind = text + names + extras + comment
    if behind > last or comment or disk:
        raise wrong("an entry of the directory is cut short or has a comment")
    raw = buffer[text : text + names]
    extra = buffer[text + names : text + names + extras]
    sizes = _sizes(extra, [size, packed, offset], raw, position)
    size, packed, offset = sizes
    header = start + offset
    local = buffer[header : header + _LOCAL.size]
    if header + _LOCAL.size > last or local[:4] != b"PK\x03\x04":
        raise wrong("an entry of the directory points to no member")
    _, _, its_flags, its_method, _, _, its_crc, its_packed, its_size, n, m = _LOCAL.unpack(local)
    first = header + _LOCAL.size + n + m
    name_at = header + _LOCAL.size
    if first + packed > last:
        raise wrong("a member lies beyond the end")
    if buffer[name_at : name_at + n] != raw or its_flags != flags or its_method != method:
        raise wrong("a member and its entry in the directory differ")
    its = _sizes(buffer[name_at + n : first], [its_size, its_packed], raw, header)
    later = flags & _DESCRIPTOR and its in ([0, 0], [0xFFFFFFFF, 0xFFFFFFFF]) and not its_crc
    if not later and (its != [size, packed] or its_crc != crc):
        raise wrong("a member and its entry in the directory differ")
    name = raw.decode("utf-8", "replace")
    made = Member(name, flags, method, crc, first, packed, size, header, attributes >> 16)
    return made, behind


def _sizes(extra: bytes, values: list[int], raw: bytes, at: int) -> list[int]:
    """Sizes and offset, with the 64-bit ones of the extra field where they did not fit.

    A field that gives the member another name, or two sizes, is where readers part: `Broken`.
    """
    position = 0
    wide: list[int] | None = None
    while position + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, position)
        held = extra[position + 4 : position + 4 + length]
        position += 4 + length
        if position > len(extra):
            raise Broken("zip.directory", at, "an extra field is longer than its place")
        if kind == 1:
            if wide is not None:
                raise Broken("zip.directory", at, "a member has its 64-bit sizes twice")
            wide = list(struct.unpack_from(f"<{len(held) // 8}Q", held))
        elif kind == 0x7075 and held[5:] != raw:
            raise Broken("zip.directory", at, "a member has another name in an extra field")
    if wide is None:
        return values
    rest = iter(wide)
    return [next(rest, value) if value == 0xFFFFFFFF else value for value in values]


def _walk(buffer: Buffer, start: int, end: int) -> list[Member]:
    """Members by their headers, for an archive whose directory cannot be read."""
    found: list[Member] = []
    position = start
    while len(found) < 1000:
        position = buffer.find(b"PK\x03\x04", position, end)
        if position < 0 or position + _LOCAL.size > end:
            break
        _, _, flags, method, _, _, crc, packed, size, names, extras = _LOCAL.unpack(
            buffer[position : position + _LOCAL.size]
        )
        text = position + _LOCAL.size
        first = text + names + extras
        name = buffer[text : text + names].decode("utf-8", "replace")
        packed = min(packed or end - first, max(0, end - first))
        found.append(Member(name, flags, method, crc, first, packed, size, position))
        position += 4
    return found
