"""Segments: what one append added, sealed project by project, in one file.

A segment is written durably before the checkpoint that commits it, so it is the stage and the
store at once: tiles are published from it, and can be published from it again at any time.  Its
public part (which leaf belongs to which project, and the commitments) and its sealed sections are
signed by the ledger's key, so that nobody can pass off a leaf as one of a destroyed ring.

File: ``assay/segment/v1``, newline, four bytes of header length, a msgpack header, the sealed
sections, and a 64-byte Ed25519 signature (see `_signed`).  Each section is a sealed msgpack
`_Opened`.  It lies at ``sealed/<number>/<first>-<count>.seg``, where the number is
``first // 256`` in tile notation; no append spans more than `MAX_LEAVES`, so that a leaf's
segment is found by looking at few folders however long the ledger is.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import msgspec

from assay import files
from assay.errors import Corrupt, NotFound, Unavailable, Usage, Verification
from assay.evidence.merkle import WIDTH
from assay.evidence.signers import PublicKey, Signer
from assay.evidence.tiles import numbered, split

MAGIC = b"assay/segment/v1\n"
OPENED = "assay/segment-section/v1"
MAX_LEAVES = 1 << 16
"""Leaves in one append."""
MAX_BYTES = 1 << 30
"""Bytes in one segment file."""
SHREDDED = "shredded"
"""The code a `Sealer` gives the `NotFound` it raises when a ring was destroyed."""

_NAME = re.compile(r"(0|[1-9][0-9]{0,18})-([1-9][0-9]{0,5})\.seg")
_SIGNATURE = 64
_REMEDY = "restore the file from a copy of the ledger: it cannot be made again"


class Sealer(Protocol):
    """Seals what lies on the ledger so that only this workspace reads it, project by project."""

    def seal(self, project: str, plaintext: bytes) -> bytes:
        """Seal under the project's evidence ring."""
        ...

    def open(self, project: str, sealed: bytes) -> bytes:
        """Open it; raises `NotFound` with the code ``not_found.shredded`` after destruction."""
        ...


class Entry(msgspec.Struct, frozen=True):
    """What to append: an envelope's bytes, and the project under whose ring they are sealed."""

    project: str
    envelope: bytes


class Leaf(msgspec.Struct, frozen=True):
    """A verified leaf.

    `commitment` is SHA-256(nonce ‖ envelope), 32 bytes.  `envelope` and `nonce` are None when the
    project's ring was destroyed: that the leaf existed remains provable, what it said does not.
    """

    index: int
    nonce: bytes | None
    project: str
    envelope: bytes | None
    commitment: bytes


class _Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    origin: str
    first: int
    projects: list[str]
    owners: list[int]
    commitments: bytes
    sections: list[int]


class _Opened(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    format: str
    entries: list[tuple[int, bytes, bytes]]
    """Leaf index, nonce, envelope."""


_header = msgspec.msgpack.Decoder(_Header)
_opened = msgspec.msgpack.Decoder(_Opened)
_encode = msgspec.msgpack.Encoder().encode


class Segment(msgspec.Struct, frozen=True):
    """A decoded segment whose signature holds; the sections are still sealed."""

    path: str
    first: int
    projects: list[str]
    owners: list[int]
    """For each leaf, which of `projects` it belongs to."""
    commitments: list[bytes]
    sections: list[bytes]

    @property
    def end(self) -> int:
        return self.first + len(self.commitments)

    def leaves(self, sealer: Sealer, start: int, stop: int) -> Iterator[Leaf]:
        """The leaves in ``[start, stop)``, opened and checked against their commitments."""
        wanted = set(self.owners[start - self.first : stop - self.first])
        opened = {owner: self._open(sealer, owner) for owner in wanted}
        for index in range(start, stop):
            owner = self.owners[index - self.first]
            commitment = self.commitments[index - self.first]
            section = opened[owner]
            if section is None:
                yield Leaf(index, None, self.projects[owner], None, commitment)
                continue
            nonce, envelope = section.get(index, (b"", b""))
            if hashlib.sha256(nonce + envelope).digest() != commitment or len(nonce) != 32:
                raise Corrupt(
                    f"ledger: {self.path}: leaf {index} is not what its commitment says",
                    remedy=_REMEDY,
                    code="segment",
                )
            yield Leaf(index, nonce, self.projects[owner], envelope, commitment)

    def _open(self, sealer: Sealer, owner: int) -> Mapping[int, tuple[bytes, bytes]] | None:
        project = self.projects[owner]
        try:
            opened = _opened.decode(sealer.open(project, self.sections[owner]))
        except NotFound as error:
            if error.code != f"{NotFound.kind}.{SHREDDED}":
                raise
            return None
        except (Verification, Corrupt, msgspec.MsgspecError) as error:
            raise Corrupt(
                f"ledger: {self.path}: the part of project {project} cannot be opened: {error}",
                remedy="check the project's ring with `assay keys`; else restore the file",
                code="segment",
            ) from error
        if opened.format != OPENED:
            raise Corrupt(
                f"ledger: {self.path}: unknown format {opened.format[:40]!r}",
                remedy=f"this assay reads {OPENED}; a newer one wrote this file",
                code="segment",
            )
        return {index: (nonce, envelope) for index, nonce, envelope in opened.entries}


def build(
    origin: str, first: int, entries: Sequence[Entry], sealer: Sealer, signer: Signer
) -> tuple[bytes, list[bytes]]:
    """A segment's bytes and the commitments of its leaves, with a fresh nonce for each."""
    if len(entries) > MAX_LEAVES or sum(len(e.envelope) for e in entries) > MAX_BYTES // 2:
        raise Usage(
            f"an append takes at most {MAX_LEAVES} leaves and {MAX_BYTES >> 21} MiB",
            remedy="append in several groups",
            code="ledger.append",
        )
    nonces = split(os.urandom(32 * len(entries)))
    numbers: dict[str, int] = {}
    owners = [numbers.setdefault(entry.project, len(numbers)) for entry in entries]
    opened: list[list[tuple[int, bytes, bytes]]] = [[] for _ in numbers]
    commitments: list[bytes] = []
    for at, (entry, nonce, owner) in enumerate(zip(entries, nonces, owners, strict=True)):
        opened[owner].append((first + at, nonce, entry.envelope))
        commitments.append(hashlib.sha256(nonce + entry.envelope).digest())
    sections = [
        sealer.seal(project, _encode(_Opened(OPENED, opened[owner])))
        for project, owner in numbers.items()
    ]
    lengths = [len(section) for section in sections]
    header = _encode(_Header(origin, first, [*numbers], owners, b"".join(commitments), lengths))
    body = b"".join([MAGIC, len(header).to_bytes(4, "big"), header, *sections])
    return body + signer.sign(_signed(origin, body)), commitments


def _signed(origin: str, body: bytes | memoryview) -> bytes:
    """What the ledger's key signs: the format's name, the origin, the SHA-256 of the rest."""
    return MAGIC + origin.encode() + b"\n" + hashlib.sha256(body).digest()


class Segments:
    """The segment files of one ledger."""

    def __init__(self, folder: Path, origin: str, key: PublicKey) -> None:
        self._folder = folder
        self._origin = origin
        self._key = key

    def path(self, first: int, count: int) -> str:
        """Where the segment of an append lies, relative to the ledger's folder."""
        return f"sealed/{numbered(first // WIDTH)}/{first}-{count}.seg"

    def listed(self, number: int) -> list[tuple[int, int]]:
        """(first, count) of the segments that begin in a range of 256 leaves, in order."""
        folder = self._folder / "sealed" / numbered(number)
        try:
            names = [path.name for path in folder.iterdir()]
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise Unavailable(f"cannot read {folder}: {error.strerror}", code="read") from error
        found = [_NAME.fullmatch(name) for name in names]
        pairs = [(int(match[1]), int(match[2])) for match in found if match]
        return sorted(pair for pair in pairs if pair[0] // WIDTH == number)

    def find(self, index: int, size: int) -> tuple[int, int]:
        """(first, count) of the segment that holds leaf `index` of a ledger of `size` leaves."""
        last = index // WIDTH
        for number in range(last, max(-1, last - MAX_LEAVES // WIDTH - 1), -1):
            for first, count in reversed(self.listed(number)):
                if first <= index < first + count <= size:
                    return first, count
                if first <= index:
                    break  # Segments do not overlap: what holds it would begin later.
            else:
                continue
            break
        raise Corrupt(
            f"ledger: the segment {self._missing(index)} with leaf {index} is missing",
            remedy=_REMEDY,
            code="segment",
        )

    def _missing(self, index: int) -> str:
        return f"sealed/{numbered(index // WIDTH)}/{index}-*.seg"

    def load(self, first: int, count: int) -> Segment:
        """Read a segment and verify its signature; raises `Corrupt` naming it."""
        path = self.path(first, count)
        try:
            data = files.read(self._folder / path, limit=MAX_BYTES, what="ledger segment")
        except NotFound as error:
            raise Corrupt(f"ledger: {path} is missing", remedy=_REMEDY, code="segment") from error
        altered = Corrupt(f"ledger: {path} is altered or truncated", remedy=_REMEDY, code="segment")
        if not data.startswith(MAGIC):
            raise altered
        body = memoryview(data)[:-_SIGNATURE]
        try:
            self._key.verify(data[-_SIGNATURE:], _signed(self._origin, body))
            start = len(MAGIC) + 4
            end = start + int.from_bytes(body[len(MAGIC) : start], "big")
            header = _header.decode(body[start:end])
        except (Verification, msgspec.MsgspecError) as error:
            raise altered from error
        bounds = list(itertools.accumulate(header.sections, initial=end))
        named = (
            header.origin == self._origin
            and header.first == first
            and len(header.owners) == count
            and len(header.commitments) == 32 * count
            and len(header.projects) == len(header.sections)
            and all(0 <= owner < len(header.projects) for owner in header.owners)
            and bounds[-1] == len(body)
        )
        if not named:
            raise altered
        sections = [bytes(body[a:b]) for a, b in itertools.pairwise(bounds)]
        return Segment(
            path, first, header.projects, header.owners, split(header.commitments), sections
        )
