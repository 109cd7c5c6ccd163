"""Digests of files that have not changed since they were hashed, kept in a file: opt-in.

A file counts as unchanged while its device, inode, size, and times of change (mtime and ctime, in
nanoseconds) are the same.  That trusts the file system and whoever can write to the cache: the
kernel sets a ctime at each write and no program can set it back, but someone who writes to the disk
under the file system, or sets the machine's clock back, can change a file unseen.  On network file
systems a server decides these numbers.  So use it where a model is signed again and again on one's
own disk, and not for what others hand over.

What was written within two seconds before it was hashed is not remembered: another write could have
got the same times.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import msgspec

from assay import canonical, files
from assay.errors import Corrupt, NotFound, Usage, Verification
from assay.types import Digest, check_digest

FORMAT = "assay/hash-cache/v1"
_LIMIT = 64 << 20
_SETTLED = 2_000_000_000


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, array_like=True):
    """What a file was like when it was hashed.

    The times are text: they are beyond the whole numbers that JSON carries exactly.
    """

    device: str
    inode: str
    size: int
    mtime_ns: str
    ctime_ns: str
    digest: Digest


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    format: Literal["assay/hash-cache/v1"]
    model: str
    entries: dict[str, Entry]
    digest: str
    """Of the entries, so that damage is noticed."""


class Cache:
    """The digests of one model's files; `save` keeps those that were used or made."""

    def __init__(self, path: Path, model: Path, *, now: Callable[[], int] = time.time_ns) -> None:
        self._path = path
        self._model = str(model.resolve())
        self._now = now
        self._known: dict[str, Entry] = {}
        self._kept: dict[str, Entry] = {}

    @classmethod
    def load(cls, path: Path, model: Path, *, now: Callable[[], int] = time.time_ns) -> Cache:
        """The cache in a file; empty where there is none, or one for another model.

        Raises `Verification` when others may write to it, `Corrupt` when it is damaged.
        """
        found = cls(path, model, now=now)
        try:
            with files.open_input(path, what="cache") as stream:
                status = os.fstat(stream.fileno())
                data = stream.read(_LIMIT + 1)
        except NotFound:
            return found
        if stat.S_IMODE(status.st_mode) & 0o022 or status.st_uid not in (os.geteuid(), 0):
            raise Verification(
                f"others than you can write to the cache {path}",
                remedy=f"remove it: rm {path}",
                code="signing.cache",
            )
        try:
            document = msgspec.convert(canonical.decode(data, what=f"cache {path}"), _File)
            for entry in document.entries.values():
                check_digest(entry.digest)
            if document.digest != _digest(document.entries):
                raise ValueError("its digest does not match")
        except (Corrupt, Usage, ValueError) as error:
            raise Corrupt(
                f"the cache {path} is damaged, or of a newer format than {FORMAT}",
                remedy=f"remove it: rm {path}",
                code="signing.cache",
            ) from error
        if document.model == found._model:
            found._known = document.entries
        return found

    def find(self, path: str, status: os.stat_result) -> Digest | None:
        """The digest of a file that is as it was, or None."""
        entry = self._known.get(path)
        if entry is None or entry != _entry(status, entry.digest):
            return None
        self._kept[path] = entry
        return entry.digest

    def note(self, path: str, status: os.stat_result, digest: Digest) -> None:
        """Remember a digest, unless the file is too young."""
        if self._now() - max(status.st_mtime_ns, status.st_ctime_ns) > _SETTLED:
            self._kept[path] = _entry(status, digest)

    def save(self) -> None:
        """Write what is known of the files that are there."""
        document = _File("assay/hash-cache/v1", self._model, self._kept, _digest(self._kept))
        files.write(self._path, canonical.encode(document), mode=0o600)


def _entry(status: os.stat_result, digest: Digest) -> Entry:
    return Entry(
        str(status.st_dev),
        str(status.st_ino),
        status.st_size,
        str(status.st_mtime_ns),
        str(status.st_ctime_ns),
        digest,
    )


def _digest(entries: dict[str, Entry]) -> str:
    return canonical.digest(canonical.encode(entries))
