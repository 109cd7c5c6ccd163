"""The folder a confined process may write to, seen from outside: handed over, read, removed.

What lies in it was made by foreign code.  These functions never follow a link in it and never
open anything but plain files and folders, whatever is there, and hold at any depth.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
import sys
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NoReturn

from assay.errors import NotFound, Unavailable, Usage, Verification

_DEPTH = 32
_DEEPEST = 200
_MOST_FILES = 10_000
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Not blocking: opening a named pipe for reading would wait for a writer.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_CODE = "isolation.scratch"


@dataclass(frozen=True, slots=True)
class ScratchFile:
    path: str
    """Relative to the folder, with slashes."""
    size: int


def check(folder: Path) -> str:
    """The real path of an empty folder; `NotFound` or `Usage` where it is something else."""
    try:
        real = folder.resolve(strict=True)
        if folder.is_symlink() or not real.is_dir() or real.parent == real:
            _unfit(folder, "is not a folder")
        if next(real.iterdir(), None) is not None:
            _unfit(folder, "is not empty")
    except (OSError, RuntimeError) as error:
        raise NotFound(
            f"the scratch folder {folder} does not exist", remedy="make it first", code=_CODE
        ) from error
    return str(real)


def _unfit(folder: Path, why: str) -> NoReturn:
    raise Usage(
        f"{folder} {why}, so it cannot be a scratch folder",
        remedy="make a new folder for each call",
        code=_CODE,
    )


def hand_over(folder: str, uid: int | None) -> None:
    """Make the folder private to user `uid` (None: to this one)."""
    try:
        handle = os.open(folder, _FOLDER)
        try:
            os.fchmod(handle, 0o700)
            if uid is not None:
                os.fchown(handle, uid, uid)
        finally:
            os.close(handle)
    except OSError as error:
        raise Unavailable(
            f"cannot hand the scratch folder {folder} to a confined process: {error.strerror}",
            remedy="place it where this user may write; root needs the capabilities CAP_CHOWN and "
            "CAP_DAC_OVERRIDE for it",
            code=_CODE,
        ) from error


def take_back(folder: str, uid: int | None) -> None:
    """Make what a process left behind readable and removable for this user again.

    Changes files that belonged to the process, found by what they are and not by their names, and
    no deeper than `files` looks.  The process must have ended.
    """
    if sys.platform != "linux":  # There the process had this user's id all along.
        return
    owner = os.geteuid() if uid is None else uid
    _own(folder, None, owner, _DEPTH)


def _own(name: str, parent: int | None, owner: int, depth: int) -> None:
    with contextlib.suppress(OSError), _placed(name, parent) as (place, itself):
        status = os.fstat(place)
        if status.st_uid != owner or not _plain(status):
            return
        if owner != os.geteuid():
            os.chown(itself, os.geteuid(), os.getegid())
        os.chmod(itself, 0o700 if stat.S_ISDIR(status.st_mode) else 0o600)  # noqa: PTH101
        if stat.S_ISDIR(status.st_mode) and depth:
            handle = os.open(itself, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                for entry in os.listdir(handle):  # noqa: PTH208 - by descriptor.
                    _own(entry, handle, owner, depth - 1)
            finally:
                os.close(handle)


@contextlib.contextmanager
def _placed(name: str, parent: int | None) -> Generator[tuple[int, str]]:
    """A descriptor that names what is there (a link itself, too) without opening it, and a path
    that leads to exactly that, whatever happens to the name meanwhile."""
    place = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    try:
        yield place, f"/proc/self/fd/{place}"
    finally:
        os.close(place)


def _plain(status: os.stat_result) -> bool:
    """A folder, or a file that has no second name."""
    return stat.S_ISDIR(status.st_mode) or (stat.S_ISREG(status.st_mode) and status.st_nlink == 1)


class Room:
    """How much a scratch folder holds, while foreign code writes to it; nothing is followed."""

    def __init__(self, folder: str, most: int) -> None:
        self._folder = folder
        self._most = most

    def check(self) -> None:
        """`Unavailable` when it holds more than it may at this moment."""
        if self._used(self._folder, None, _DEEPEST) <= self._most:
            return
        raise Unavailable(
            f"the confined process has more than {self._most} bytes in its scratch folder, or "
            f"folders more than {_DEEPEST} deep",
            remedy="let it write less, or remove what it needs no more",
            code="isolation.disk",
        )

    def _used(self, name: str, parent: int | None, depth: int) -> int:
        """Bytes of the disk; more than may be, where its folders are too deep to tell."""
        if depth < 0:
            return self._most + 1
        used = 0
        with contextlib.suppress(OSError):  # It was removed meanwhile.
            handle = os.open(name, _FOLDER, dir_fd=parent)
            try:
                for entry in os.listdir(handle):  # noqa: PTH208 - by descriptor.
                    with contextlib.suppress(OSError):
                        status = os.stat(entry, dir_fd=handle, follow_symlinks=False)
                        used += 512 * status.st_blocks
                        if stat.S_ISDIR(status.st_mode):
                            used += self._used(entry, handle, depth - 1)
            finally:
                os.close(handle)
        return used


def files(folder: Path, *, most: int = _MOST_FILES) -> list[ScratchFile]:
    """The files in a scratch folder, sorted by path; nothing is followed.

    `Verification` where there is anything but folders and plain files (a link, a device, a pipe, a
    second name of a file), a name that is not printable text, or more than `most` entries, or
    folders too deep.
    """
    found: list[ScratchFile] = []
    left = most

    def look(handle: int, above: str, depth: int) -> None:
        nonlocal left
        for name in os.listdir(handle):
            path = f"{above}{name}"
            left -= 1
            if left < 0:
                _refuse(folder, f"has more than {most} entries")
            if not name.isprintable():  # Undecodable bytes are not printable, either.
                _refuse(folder, f"has a file name that is not plain text: {path[:200]!a}")
            status = os.stat(name, dir_fd=handle, follow_symlinks=False)
            if not _plain(status):
                _refuse(folder, f"has something that is not a plain file: {path[:200]!a}")
            if stat.S_ISREG(status.st_mode):
                found.append(ScratchFile(path, status.st_size))
                continue
            if not depth:
                _refuse(folder, f"has folders more than {_DEPTH} deep")
            inner = os.open(name, _FOLDER, dir_fd=handle)
            try:
                look(inner, f"{path}/", depth - 1)
            finally:
                os.close(inner)

    try:
        handle = os.open(folder, _FOLDER)
        try:
            look(handle, "", _DEPTH)
        finally:
            os.close(handle)
    except OSError as error:
        raise Unavailable(
            f"cannot look into the scratch folder {folder}: {error.strerror}", code=_CODE
        ) from error
    return sorted(found, key=lambda file: file.path)


def _refuse(folder: Path, why: str) -> NoReturn:
    raise Verification(
        f"the scratch folder {folder} {why}",
        remedy="let the function leave plain files only",
        code=_CODE,
    )


def open_file(folder: Path, path: str) -> BinaryIO:
    """Open one plain file of a scratch folder for reading, following no link on the way.

    `NotFound` where there is none, `Verification` where it is something else.
    """
    parts = path.split("/")
    if any(part in ("", ".", "..") or "\0" in part for part in parts):
        _refuse(folder, f"cannot contain {path[:200]!a}")
    handle = -1
    try:
        handle = os.open(folder, _FOLDER)
        for part in parts[:-1]:
            inner = os.open(part, _FOLDER, dir_fd=handle)
            os.close(handle)
            handle = inner
        opened = os.open(parts[-1], _FILE, dir_fd=handle)
    except FileNotFoundError as error:
        raise NotFound(f"{folder} has no file {path[:200]!a}", code=_CODE) from error
    except OSError as error:  # ELOOP or ENOTDIR: a link; ENXIO: a device.
        raise Verification(
            f"{path[:200]!a} in {folder} is not a plain file: {error.strerror}", code=_CODE
        ) from error
    finally:
        if handle >= 0:
            os.close(handle)
    status = os.fstat(opened)
    if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
        os.close(opened)
        _refuse(folder, f"has something that is not a plain file: {path[:200]!a}")
    return os.fdopen(opened, "rb")


def remove(folder: Path) -> None:
    """Remove a scratch folder with all that is in it, however deep; links are not followed.

    Folders are first moved up, so that a path never grows long nor the stack deep.
    """
    top = os.open(folder, _FOLDER)
    try:
        while names := os.listdir(top):  # noqa: PTH208 - by descriptor.
            for name in names:
                if not _unlinked(name, top):
                    _empty(name, top)
                    os.rmdir(name, dir_fd=top)
    finally:
        os.close(top)
    folder.rmdir()


def _unlinked(name: str, parent: int) -> bool:
    try:
        if stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
            return False
        os.unlink(name, dir_fd=parent)
    except FileNotFoundError:
        pass
    return True


def _empty(name: str, top: int) -> None:
    handle = _open_whatever_its_mode(name, top)
    try:
        for inner in os.listdir(handle):  # noqa: PTH208 - by descriptor.
            if not _unlinked(inner, handle):
                # Moving a folder writes to it: its link to the folder above.
                os.close(_open_whatever_its_mode(inner, handle))
                os.rename(inner, secrets.token_hex(16), src_dir_fd=handle, dst_dir_fd=top)
    finally:
        os.close(handle)


def _open_whatever_its_mode(name: str, parent: int) -> int:
    if sys.platform != "linux":
        return os.open(name, _FOLDER, dir_fd=parent)
    with _placed(name, parent) as (place, itself):
        if stat.S_IMODE(os.fstat(place).st_mode) & 0o700 != 0o700:
            os.chmod(itself, 0o700)  # noqa: PTH101
        return os.open(itself, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
