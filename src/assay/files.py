"""Durable files: the only way assay writes anything that must survive.

A write is: temporary file, fsync, rename, fsync of the folder.  `point` marks the places where a
test may kill the process; `recorder` lets a test replay the writes with the unsynced ones dropped.
Both are `None` in production and cost one comparison.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import stat
from collections.abc import Callable, Generator
from pathlib import Path
from typing import BinaryIO

from assay.errors import Corrupt, NotFound, Unavailable, Usage

failpoint: Callable[[str], None] | None = None
"""Called with the name of each crash point passed; set by fault tests only."""

recorder: Callable[[str, Path, Path | bytes | None], None] | None = None
"""Called as (operation, path, argument) with ``write``, ``fsync``, ``rename``, ``link``,
``unlink``, ``mkdir`` or ``fsync_dir``; set by fault tests only."""


def point(name: str) -> None:
    """A named place where a crash must be survivable."""
    if failpoint is not None:
        failpoint(name)


def _record(operation: str, path: Path, argument: Path | bytes | None = None) -> None:
    if recorder is not None:
        recorder(operation, path, argument)


def _unavailable(path: Path, error: OSError) -> Unavailable:
    remedies = {
        errno.ENOSPC: "free disk space, then run `assay recover`",
        errno.EDQUOT: "raise the disk quota, then run `assay recover`",
        errno.EROFS: "make the file system writable, then run `assay recover`",
        errno.EACCES: "give this user access to the folder (`assay doctor` checks permissions)",
    }
    return Unavailable(
        f"cannot write {path}: {error.strerror}",
        remedy=remedies.get(error.errno or 0, "check the disk, then run `assay recover`"),
        code="write",
    )


def make_folder(path: Path, mode: int = 0o700) -> None:
    """Create a folder and its missing parents, each durable in its own parent."""
    missing: list[Path] = []
    here = path
    while not here.exists():
        missing.append(here)
        here = here.parent
    for folder in reversed(missing):
        try:
            folder.mkdir(mode=mode, exist_ok=True)
        except OSError as error:
            raise _unavailable(folder, error) from error
        _record("mkdir", folder)
        sync_folder(folder.parent)


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        raise _unavailable(path, error) from error
    _record("fsync_dir", path)


@contextlib.contextmanager
def new_file(path: Path, *, mode: int = 0o600, replace: bool = True) -> Generator[BinaryIO]:
    """Write a file that appears whole and durable, or not at all.

    Yields a stream; the file is under `path` when the block ends.  With ``replace=False`` an
    existing file raises `FileExistsError` and stays as it was.  A failed block leaves nothing.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
    try:
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    except OSError as error:
        raise _unavailable(path, error) from error
    try:
        with os.fdopen(handle, "wb") as stream:
            yield stream
            stream.flush()
            if recorder is not None:
                _record("write", temporary, temporary.read_bytes())
            os.fsync(stream.fileno())
            _record("fsync", temporary)
        if replace:
            temporary.replace(path)
            _record("rename", temporary, path)
        else:
            os.link(temporary, path)
            _record("link", temporary, path)
            temporary.unlink()
            _record("unlink", temporary)
        sync_folder(path.parent)
    except FileExistsError:
        temporary.unlink(missing_ok=True)
        raise
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise _unavailable(path, error) from error
    except Exception:
        temporary.unlink(missing_ok=True)
        raise


def write(path: Path, data: bytes, *, mode: int = 0o600, replace: bool = True) -> None:
    """`new_file` for bytes already in hand."""
    with new_file(path, mode=mode, replace=replace) as stream:
        stream.write(data)


def remove(path: Path) -> None:
    """Remove a file durably; a missing file is fine."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise _unavailable(path, error) from error
    _record("unlink", path)
    sync_folder(path.parent)


def read(path: Path, *, limit: int, what: str = "file") -> bytes:
    """The bytes of a small file of ours; `NotFound` if missing, `Corrupt` if over `limit` bytes."""
    try:
        with path.open("rb") as stream:
            data = stream.read(limit + 1)
    except FileNotFoundError as error:
        raise NotFound(f"{what} {path} does not exist", code="file") from error
    except OSError as error:
        raise Unavailable(f"cannot read {what} {path}: {error.strerror}", code="read") from error
    if len(data) > limit:
        raise Corrupt(f"{what} {path} is larger than {limit} bytes", code="too_large")
    return data


def open_input(path: Path, *, what: str = "file") -> BinaryIO:
    """Open a file a user named: a regular file, not reached through a symbolic link of that name.

    Raises `NotFound` or `Usage`; devices, pipes and folders are refused without blocking.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise NotFound(
            f"{what} {path} does not exist", remedy="check the path", code="file"
        ) from error
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise Usage(
                f"{what} {path} is a symbolic link, which is not followed",
                remedy="name the file it points to",
                code="symlink",
            ) from error
        raise Usage(f"cannot read {what} {path}: {error.strerror}", code="read") from error
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise Usage(
            f"{what} {path} is not a regular file", remedy="name a plain file", code="not_regular"
        )
    return os.fdopen(handle, "rb")


class Lock:
    """An exclusive advisory lock (flock) on a file, held for a ``with`` block.

    Raises `Unavailable` when `wait` is false and another process holds it.
    """

    def __init__(self, path: Path, *, wait: bool = True) -> None:
        self._path = path
        self._wait = wait
        self._handle = -1

    def __enter__(self) -> Lock:
        try:
            self._handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._handle, fcntl.LOCK_EX | (0 if self._wait else fcntl.LOCK_NB))
        except BlockingIOError as error:
            os.close(self._handle)
            raise Unavailable(
                f"another process holds {self._path}", remedy="wait for it to finish", code="locked"
            ) from error
        except OSError as error:
            raise _unavailable(self._path, error) from error
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._handle)
