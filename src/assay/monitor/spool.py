"""Records as they come, on disk before they are acknowledged: ``assay/spool/v1``.

A spool is one file of one process.  `Spool.append` returns when the bytes are with the kernel, so
that a killed process loses nothing it acknowledged; a thread syncs them to the disk within `SYNC`
seconds, so that a power cut loses no more than that.  Each record is sealed under a key of the
file's own, which a ring wraps, with its number as the nonce: a record that was altered, moved,
repeated or taken from elsewhere does not open.

The file is locked (flock) by whoever writes it.  What can be locked by somebody else is therefore
closed, or its process is dead: `recover` reads those.  The bytes are described in
`assay.monitor.spoolfile`.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import threading
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from secrets import token_bytes
from typing import Any

import msgspec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from assay import canonical, files, ids
from assay.errors import Unavailable, Usage
from assay.monitor.spoolfile import (
    ABOUT,
    CLOSED,
    MAGIC,
    RECORD,
    SUFFIX,
    Damage,
    Header,
    Recovered,
    count,
    frame,
    read,
)
from assay.store import Ring

__all__ = [
    "Damage",
    "Header",
    "Record",
    "Recovered",
    "Spool",
    "Values",
    "read",
    "recover",
    "unsealed",
    "waiting",
    "written",
]

SYNC = 0.05
"""Seconds between a record's acknowledgement and the beginning of its sync to the disk, at most."""
MOST_RECORD = 32 << 20
_KEY = 32


class Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One answered request, as the prediction log keeps it."""

    id: str
    """The request's prediction id, a UUIDv7."""
    at: str
    """When it was answered: RFC 3339 in UTC with milliseconds."""
    version: str
    actor: str
    columns: dict[str, list[Any]]
    """What the model was given: one value, or list of values, for each row."""
    extras: dict[str, list[Any]]
    """What else is logged beside it."""
    outputs: list[Values]
    subject: list[str | None] | None = None
    """Whom each row is about: keyed hashes, never a name (see `assay.monitor.log`)."""

    @property
    def rows(self) -> int:
        """How many rows were asked about."""
        return len(next(iter(self.columns.values()), ()))


class Values(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One output tensor; data is flat, row-major."""

    name: str
    shape: list[int]
    data: list[Any]


class Spool:
    """A file that records are appended to, by any thread of one process.  Make one with `open`."""

    def __init__(self, path: Path, handle: int, key: bytes, size: int) -> None:
        self.path = path
        self.id = path.stem
        self.records = 0
        """How many were acknowledged."""
        self.size = size
        self._handle = handle
        self._aead = AESGCM(key)
        self._number = 0
        self._failed: OSError | None = None
        self._lock = threading.Lock()
        self._dirty = threading.Event()
        self._ended = threading.Event()
        self._syncing: threading.Thread | None = None

    @classmethod
    def open(
        cls, folder: Path, ring: Ring, about: Mapping[str, Any], *, kind: str = "predictions"
    ) -> Spool:
        """A new spool in `folder`; `about` is sealed as its first content.

        Raises `Unavailable` when it cannot be made durable.
        """
        files.make_folder(folder)
        for _ in range(8):
            with contextlib.suppress(_Taken):
                return cls._create(folder, ring, about, kind)
        raise Unavailable(f"{folder} is being cleaned by others", code="spool")

    @classmethod
    def _create(cls, folder: Path, ring: Ring, about: Mapping[str, Any], kind: str) -> Spool:
        header = Header(kind, ids.new_id(), ring.name, ring.id)
        said = canonical.encode(header)
        key = token_bytes(_KEY)
        sealed = ring.seal(key, "spool", canonical.digest(said))
        start = MAGIC + len(said).to_bytes(4, "big") + said + sealed
        path = folder / f"{header.id}{SUFFIX}"
        temporary = folder / f".{header.id}.tmp"
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        try:
            handle = os.open(temporary, flags, 0o600)
        except OSError as error:
            raise _unwritable(path, error) from error
        made = cls(path, handle, key, 0)
        try:
            # Locked under a name that nobody looks for, so that it is never seen without its lock.
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            made._write(start)
            made._frame(ABOUT, msgspec.msgpack.encode(about))
            os.fsync(handle)
            files.point("spool.staged")
            temporary.rename(path)
            files.sync_folder(folder)
            files.point("spool.opened")
        except BaseException as error:
            os.close(handle)
            temporary.unlink(missing_ok=True)
            path.unlink(missing_ok=True)
            if isinstance(error, BlockingIOError | FileNotFoundError):
                raise _Taken from error
            if isinstance(error, OSError):
                raise _unwritable(path, error) from error
            raise
        made._syncing = threading.Thread(target=made._sync, name="spool", daemon=True)
        made._syncing.start()
        return made

    def append(self, record: bytes) -> int:
        """Write a record; returns its number, from 1, once the kernel has it.

        Raises `Unavailable` when it cannot be kept: then it is not in the file, nothing more is
        taken by this spool, and the caller must not acknowledge what the record stands for.
        """
        if len(record) > MOST_RECORD:
            raise Usage(
                f"a record of {len(record)} bytes is larger than the {MOST_RECORD} that are kept",
                remedy="send fewer rows at once",
                code="spool.record",
            )
        with self._lock:
            if self._handle < 0:
                raise Unavailable(f"{self.path} is closed", code="spool.closed")
            if self._failed is not None:
                raise _unwritable(self.path, self._failed)
            try:
                self._frame(RECORD, record)
            except OSError as error:
                self._failed = error
                raise _unwritable(self.path, error) from error
            self.records += 1
            self._dirty.set()
            return self.records

    def roll(self) -> Path | None:
        """Close the file, so that it can be sealed; None when it holds no record and is removed."""
        with self._lock:
            if self._handle < 0:
                return None
            handle, self._handle = self._handle, -1
            try:
                if not self.records:
                    self.path.unlink(missing_ok=True)
                    return None
                with contextlib.suppress(OSError):
                    # Without it the records stand all the same, only their end is not noted.
                    if self._failed is None:
                        self._frame(CLOSED, b"", handle)
                    os.fsync(handle)
                return self.path
            finally:
                self._ended.set()
                self._dirty.set()
                # Its lock ends here, and not when the thread that syncs has closed its copy.
                fcntl.flock(handle, fcntl.LOCK_UN)
                os.close(handle)

    def __enter__(self) -> Spool:
        return self

    def __exit__(self, *_: object) -> None:
        self.roll()

    # -- inside -----------------------------------------------------------------------------------

    def _frame(self, letter: bytes, content: bytes, handle: int = -1) -> None:
        made = frame(self._aead, self._number, letter, content)
        # Whatever becomes of this write, no other content is ever sealed with this number.
        self._number += 1
        self._write(made, handle)

    def _write(self, data: bytes, handle: int = -1) -> None:
        """All of `data` at the end of the file, or none of it; raises `OSError`."""
        handle = self._handle if handle < 0 else handle
        done = 0
        try:
            while done < len(data):
                done += os.pwrite(handle, data[done:], self.size + done)
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(handle, self.size)
            raise
        self.size += done

    def _sync(self) -> None:
        """Sync what was written, again and again, until the spool is closed."""
        while not self._ended.is_set():
            self._dirty.wait()
            with self._lock:
                self._dirty.clear()
                if self._handle < 0:
                    return
                handle = os.dup(self._handle)
            try:
                os.fdatasync(handle)
                if not os.fstat(handle).st_nlink:
                    # Somebody removed the file: what is written to it reaches nobody.
                    raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))
            except OSError as error:
                # The kernel may have dropped what it had; nothing more is promised by this file.
                self._failed = error
            finally:
                os.close(handle)
            self._ended.wait(SYNC)


class _Taken(Exception):
    """Whoever cleans up took a file in the moment before it was locked."""


def _unwritable(path: Path, error: OSError) -> Unavailable:
    remedy = {
        errno.ENOSPC: "free disk space",
        errno.EDQUOT: "raise the disk quota",
        errno.EROFS: "make the file system writable",
        errno.EACCES: "give this user access to the folder",
    }.get(error.errno or 0, "check the disk")
    return Unavailable(f"cannot write {path}: {error.strerror}", remedy=remedy, code="spool.write")


# -- reading --------------------------------------------------------------------------------------


def recover(folder: Path, ring_of: Callable[[str], Ring]) -> Generator[Recovered]:
    """Every spool that no living process writes, oldest first, each locked while it is looked at.

    Raises what `ring_of` raises, except that a ring was destroyed or is not there: that is said of
    the spool.
    """
    if not folder.exists():
        return
    for path in sorted(folder.glob(".*.tmp")):
        with _claimed(path) as handle:
            if handle is not None:
                path.unlink(missing_ok=True)  # Its process died before it could hold a record.
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        with _claimed(path) as handle:
            if handle is not None:
                yield read(path, ring_of)


def waiting(folder: Path) -> list[Path]:
    """The spools that `recover` would yield now."""
    found: list[Path] = []
    for path in sorted(folder.glob(f"*{SUFFIX}")) if folder.exists() else []:
        with _claimed(path) as handle:
            if handle is not None:
                found.append(path)
    return found


def unsealed(folder: Path) -> int:
    """The records in all spools, also those that living processes write: see `spoolfile.count`."""
    return sum(map(count, folder.glob(f"*{SUFFIX}"))) if folder.exists() else 0


def written(folder: Path) -> int:
    """The records in spools that living processes write."""
    return unsealed(folder) - sum(map(count, waiting(folder)))


@contextlib.contextmanager
def _claimed(path: Path) -> Generator[int | None]:
    """A lock on a file; None when somebody else has it, or has removed the file meanwhile."""
    try:
        handle = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        yield None
        return
    except OSError as error:
        raise Unavailable(f"cannot open {path}: {error.strerror}", code="spool") from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            there = os.fstat(handle).st_nlink > 0
        except BlockingIOError:
            there = False
        yield handle if there else None
    finally:
        os.close(handle)
