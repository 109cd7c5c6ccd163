"""The bytes of a spool, ``assay/spool/v1``, and how they are read when something happened to them.

1. ``assay/spool/v1``, newline, four bytes of length, the canonical JSON of `Header`;
2. the 32-byte key as ``assay/sealed/v1``, bound to that header;
3. frames: ``M`` (what the records are about, first), ``R`` (a record) or ``C`` (closed, last), four
   bytes of length, four of check (CRC-32 of the first five XOR the frame's number), the sealed
   content (AES-256-GCM, nonce: the number, from 0; additional data: the letter).

A frame that ends with the file was being written when its process died: it was never acknowledged.
Anything else that cannot be read is damage: what comes after it is found again, and what is missing
is counted by the numbers.
"""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from assay import canonical, files
from assay.errors import AssayError, Corrupt, NotFound, Usage, Verification
from assay.store import SHREDDED, Ring
from assay.store.rings import SEALED_KEY

FORMAT = "assay/spool/v1"
SUFFIX = ".spool"
MOST_BYTES = 256 << 20
"""A spool larger than this is not read: whoever writes one closes it long before."""

MAGIC = FORMAT.encode() + b"\n"
ABOUT, RECORD, CLOSED = b"M", b"R", b"C"
_HEAD = 9
_NONCE = 12
_MOST_HEADER = 1 << 16
_MOST_GAP = 1 << 20
_FURTHER = re.compile(b"[RC]")


def frame(aead: AESGCM, number: int, letter: bytes, content: bytes) -> bytes:
    """One frame.  No two contents may be sealed with the same number."""
    sealed = aead.encrypt(number.to_bytes(_NONCE, "big"), content, letter)
    lead = letter + len(sealed).to_bytes(4, "big")
    check = zlib.crc32(lead) ^ (number & 0xFFFFFFFF)
    return lead + check.to_bytes(4, "big") + sealed


class Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is said in the clear: nothing about anybody."""

    kind: str
    id: str
    ring: str
    ring_id: str


class Damage(msgspec.Struct, frozen=True):
    """What of a spool cannot be read although it was written."""

    records: int = 0
    """Records that are known to be missing between others, or before the end that was noted."""
    bytes: int = 0
    """Bytes that hold no readable record and no torn one."""
    why: str = ""


class Recovered(msgspec.Struct):
    """A spool that nobody writes any more; locked while `assay.monitor.spool.recover` yields it."""

    path: Path
    header: Header | None
    """None when not even that can be read."""
    about: dict[str, Any]
    records: list[tuple[int, bytes]]
    """Number (from 1) and bytes of every record that is whole, in the order of writing."""
    closed: bool
    """Whether its process closed it; otherwise that died."""
    torn: int
    """Bytes of a record that was being written: it was never acknowledged."""
    damage: Damage | None
    shredded: bool = False
    """Whether its ring was destroyed: then nothing of it can be read ever again."""

    def remove(self) -> None:
        """Remove the file durably; what it held must be elsewhere by now."""
        files.remove(self.path)

    def set_aside(self) -> Path:
        """Keep a damaged file for people, under a name that is not looked at again."""
        kept = self.path.with_suffix(".damaged")
        self.path.rename(kept)
        files.sync_folder(kept.parent)
        return kept


def read(path: Path, ring_of: Callable[[str], Ring]) -> Recovered:
    """What a spool holds, damaged or not; see `assay.monitor.spool.recover`, which locks it."""
    try:
        data = files.read(path, limit=MOST_BYTES, what="spool")
        header, said, start = _header(path, data)
    except Corrupt as error:
        size = path.stat().st_size
        return Recovered(path, None, {}, [], False, 0, Damage(0, size, error.message))
    try:
        ring = ring_of(header.ring)
    except (NotFound, Usage) as error:
        if error.code != f"{NotFound.kind}.{SHREDDED}":
            return Recovered(path, header, {}, [], False, 0, Damage(0, len(data), error.message))
        return Recovered(path, header, {}, [], False, 0, None, shredded=True)
    try:
        sealed = data[start : start + SEALED_KEY]
        key = ring.open(sealed, "spool", canonical.digest(said), what=f"spool {path}")
    except Verification as error:
        return Recovered(path, header, {}, [], False, 0, Damage(0, len(data), error.message))
    return _Reader(path, header, AESGCM(key), data, start + SEALED_KEY).read()


def _header(path: Path, data: bytes) -> tuple[Header, bytes, int]:
    at = len(MAGIC) + 4
    length = int.from_bytes(data[len(MAGIC) : at], "big")
    said = data[at : at + length]
    damaged = Corrupt(
        f"{path} is no spool, is damaged, or of a newer format than {FORMAT}", code="spool"
    )
    if not data.startswith(MAGIC) or length > _MOST_HEADER or len(said) != length:
        raise damaged
    try:
        header = msgspec.convert(canonical.decode(said), Header)
    except (AssayError, msgspec.ValidationError) as error:
        raise damaged from error
    if header.id != path.stem:
        raise damaged  # A copy under another name: its records may be known already.
    return header, said, at + length


def count(path: Path) -> int:
    """How many records a spool says it has, by the heads of its frames: nothing is opened, so
    nothing is proven.  Whoever writes it may go on meanwhile."""
    try:
        with path.open("rb") as stream:
            at = len(MAGIC) + 4
            length = stream.read(at)[len(MAGIC) :]
            stream.seek(at + int.from_bytes(length, "big") + SEALED_KEY)
            records = 0
            while len(head := stream.read(_HEAD)) == _HEAD and head[:1] in (ABOUT, RECORD):
                stream.seek(int.from_bytes(head[1:5], "big"), os.SEEK_CUR)
                records += head[:1] == RECORD
            return records
    except OSError:
        return 0  # It was sealed and removed meanwhile.


class _Reader:
    """Reads the frames of one spool, and goes on after what is damaged where it can."""

    def __init__(self, path: Path, header: Header, aead: AESGCM, data: bytes, at: int) -> None:
        self._found = Recovered(path, header, {}, [], False, 0, None)
        self._aead = aead
        self._data = data
        self._at = at
        self._next = 0
        self._missing = 0
        self._skipped = 0

    def read(self) -> Recovered:
        data, found = self._data, self._found
        while self._at < len(data) and not found.closed:
            number, content = self._frame(self._at)
            if number == self._next and content is not None:
                self._take(content)
            elif self._is_torn(number):
                found.torn = len(data) - self._at
                break
            elif not self._resume():
                break
        self._skipped += len(data) - self._at - found.torn
        if self._skipped or self._missing:
            why = f"{found.path}: something in it is altered, missing, or more than it was"
            found.damage = Damage(self._missing, self._skipped, why)
        return found

    def _is_torn(self, number: int) -> bool:
        """Whether what begins here was being written when the process or the power went."""
        data, at = self._data, self._at
        if number == self._next:
            return at + _HEAD + self._length(at) > len(data)
        # Less than a frame's head, or blocks that the disk had not got yet.
        return len(data) - at < _HEAD or data.count(0, at) == len(data) - at

    def _take(self, content: bytes) -> None:
        letter = self._data[self._at : self._at + 1]
        if letter == ABOUT and self._next == 0:
            self._found.about = msgspec.msgpack.decode(content)
        elif letter == CLOSED:
            self._found.closed = True
        elif letter == RECORD:
            self._found.records.append((self._next, content))
        self._at += _HEAD + self._length(self._at)
        self._next += 1

    def _length(self, at: int) -> int:
        return int.from_bytes(self._data[at + 1 : at + 5], "big")

    def _frame(self, at: int) -> tuple[int, bytes | None]:
        """The number a frame's head says (-1 for none), and its content if it may come next and
        opens."""
        data = self._data
        head = data[at : at + _HEAD]
        if len(head) < _HEAD or head[:1] not in (ABOUT, RECORD, CLOSED):
            return -1, None
        number = int.from_bytes(head[5:], "big") ^ zlib.crc32(head[:5])
        end = at + _HEAD + self._length(at)
        # A head that was met by chance mostly says a number that cannot be: nothing is opened then.
        if end > len(data) or not self._next <= number <= self._next + _MOST_GAP:
            return number, None
        try:
            nonce = number.to_bytes(_NONCE, "big")
            return number, self._aead.decrypt(nonce, data[at + _HEAD : end], head[:1])
        except (InvalidTag, ValueError):
            return number, None

    def _resume(self) -> bool:
        """Go on at the next frame that opens and comes later; whether there is one."""
        for found in _FURTHER.finditer(self._data, self._at):
            at = found.start()
            number, content = self._frame(at)
            if content is not None and number > 0:
                self._missing += number - max(self._next, 1)  # Frame 0 is no record.
                self._skipped += at - self._at
                self._at, self._next = at, number
                return True
        return False
