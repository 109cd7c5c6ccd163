"""Folders as one content: the sorted manifest ``assay/tree/v1`` of (path, size, digest).

Paths are relative, in ``/`` form, and safe on every file system: no ``..``, no control characters,
no two that differ only by case or by Unicode form.  Links and devices are refused, empty folders
are not kept, and neither are modes and times.
"""

from __future__ import annotations

import os
import stat
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO, NoReturn

import msgspec

from assay import canonical
from assay.errors import Corrupt, Usage
from assay.types import Digest, check_digest

FORMAT = "assay/tree/v1"
MOST_FILES = 100_000
MOST_BYTES = 64 << 20
"""Bytes in one manifest."""
_MOST_DEPTH = 64
_MOST_LENGTH = 1024


class TreeEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One file of a tree."""

    path: str
    size: int
    digest: Digest


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A tree: its files sorted by path (by the UTF-8 bytes)."""

    format: str
    files: list[TreeEntry]


class _Paths:
    """Refuses a path that is unsafe, or that another file system would take for an earlier one."""

    def __init__(self) -> None:
        self._folders: dict[str, str] = {}
        self._files: dict[str, str] = {}

    def add(self, path: str) -> None:
        parts = path.split("/")
        if len(path) > _MOST_LENGTH or len(parts) > _MOST_DEPTH:
            raise _refused(path, "is too long or too deep", "shorten it")
        for part in parts:
            if part in ("", ".", ".."):
                raise _refused(path, "leads out of its folder", "rename it")
            if "\\" in part or any(unicodedata.category(sign) in ("Cc", "Cs") for sign in part):
                raise _refused(path, "has a control sign, a backslash or is not UTF-8", "rename it")
        for depth in range(1, len(parts)):
            prefix = "/".join(parts[:depth])
            folded = _folded(prefix)
            earlier = self._files.get(folded) or self._folders.setdefault(folded, prefix)
            if folded in self._files or earlier != prefix:
                raise _refused(path, f"collides with {_shown(earlier)}", "rename one of them")
        folded = _folded(path)
        earlier = self._files.get(folded) or self._folders.get(folded)
        if earlier is not None:
            raise _refused(path, f"collides with {_shown(earlier)}", "rename one of them")
        self._files[folded] = path


def _folded(path: str) -> str:
    """What a file system that ignores case and Unicode form sees."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", path).casefold())


Opening = Callable[[], AbstractContextManager[BinaryIO]]


def walk(folder: Path) -> Iterator[tuple[str, Opening]]:
    """Every regular file below `folder`: its path, and how to open that very file.

    Nothing is followed and nothing is skipped: links, devices and unreadable folders raise `Usage`.
    """

    def unreadable(error: OSError) -> NoReturn:
        raise Usage(f"cannot read {error.filename}: {error.strerror}", code="tree") from error

    if folder.is_symlink() or not folder.is_dir():
        raise Usage(
            f"{folder} is not a folder, or a symbolic link to one",
            remedy="name the folder itself",
            code="tree",
        )
    for base, folders, names, handle in os.fwalk(folder, onerror=unreadable):
        above = Path(base).relative_to(folder)
        for name in [*folders, *names]:
            path = (above / name).as_posix()
            mode = os.stat(name, dir_fd=handle, follow_symlinks=False).st_mode
            if stat.S_ISDIR(mode):
                continue
            if not stat.S_ISREG(mode):
                raise _refused(path, "is a link or no regular file", "replace or remove it")
            yield path, _opening(name, handle, path)


def _opening(name: str, handle: int, path: str) -> Opening:
    def opened() -> AbstractContextManager[BinaryIO]:
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            file = os.open(name, flags, dir_fd=handle)
        except OSError as error:
            raise _refused(path, f"cannot be read: {error.strerror}", "mend it") from error
        if not stat.S_ISREG(os.fstat(file).st_mode):
            os.close(file)
            raise _refused(path, "is a link or no regular file", "replace or remove it")
        return os.fdopen(file, "rb")

    return opened


def check_paths(paths: Iterator[str]) -> None:
    """Raise `Usage` unless these paths may be one tree."""
    seen = _Paths()
    count = 0
    for path in paths:
        count += 1
        if count > MOST_FILES:
            raise Usage(
                f"a tree has at most {MOST_FILES} files", remedy="pack them first", code="tree"
            )
        seen.add(path)
    if not count:
        raise Usage("the folder holds no file", remedy="name a folder with files", code="tree")


def encode(entries: list[TreeEntry]) -> bytes:
    """A manifest's canonical bytes; its SHA-256 is the tree's digest."""
    check_paths(entry.path for entry in entries)
    ordered = sorted(entries, key=lambda entry: entry.path.encode())
    return canonical.encode(Manifest(FORMAT, ordered))


def decode(data: bytes, *, what: str) -> Manifest:
    """The inverse; `Corrupt` for anything that `encode` does not write."""
    try:
        manifest = msgspec.convert(canonical.decode(data, what=what), Manifest)
        if manifest.format != FORMAT:
            raise Corrupt(f"{what} is not of the format {FORMAT}", code="tree")
        for entry in manifest.files:
            check_digest(entry.digest)
        if encode(manifest.files) != data:
            raise Corrupt(f"{what} is not sorted", code="tree")
    except (Usage, msgspec.ValidationError) as error:
        raise Corrupt(f"{what} is not of the format {FORMAT}: {error}", code="tree") from error
    return manifest


def _refused(path: str, why: str, remedy: str) -> Usage:
    return Usage(f"{_shown(path)} {why}", remedy=remedy, code="tree.path")


def _shown(path: str) -> str:
    return ascii(path[:120])
