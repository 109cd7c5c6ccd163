"""Which files a scan of several paths reads: every regular file below them, each once.

A symbolic link below a folder is followed only to a regular file inside the same folder, or, in the
cache of a model hub, from ``snapshots/REVISION`` to the ``blobs`` beside; what else is not read is
said, never left out.
"""

from __future__ import annotations

import fnmatch
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from assay.errors import Usage
from assay.supply.findings import MOST_BYTES, MOST_FILES

TOGETHER = 256
"""Roots that one confined process is given."""


@dataclass(frozen=True, slots=True)
class Target:
    """One file: where it lies, what it is called, and why it will not be read, if so."""

    path: Path
    """Absolute, without links."""
    shown: str
    """As the user named it."""
    size: int
    inside: str = ""
    """Its name in the folder that was named; empty where the file itself was."""
    roots: tuple[Path, ...] = ()
    """What a process that reads it may see: the paths that were named, it among or below them."""
    rule: str = ""
    problem: str = ""


@dataclass(slots=True)
class Targets:
    """What was found."""

    files: list[Target] = field(default_factory=list[Target])
    excluded: int = 0
    """Entries left out because the user said so; of a folder nothing below it is counted."""


def find(paths: Sequence[Path], exclude: Iterable[str] = ()) -> Targets:
    """The files below `paths`, in order; raises `Usage` for a path that does not exist.

    `exclude` are patterns as of a shell, held against each name and each path below a folder.
    """
    found = Targets()
    patterns = tuple(exclude)
    seen: set[str] = set()
    given = [_named(path) for path in paths]
    for first in range(0, len(given), TOGETHER):
        part = given[first : first + TOGETHER]
        there = [real for _, real, mode in part if not _special(mode)]
        roots = tuple(dict.fromkeys([*there, *filter(None, map(_blobs, there))]))
        for path, real, mode in part:
            for target in _below(path, real, mode, roots, patterns, found):
                if target.shown in seen:
                    continue
                seen.add(target.shown)
                if len(found.files) >= MOST_FILES:
                    what = f"there are more than {MOST_FILES:,} files; the others were not read"
                    found.files.append(
                        Target(target.path, target.shown, 0, rule="folder.files", problem=what)
                    )
                    return found
                found.files.append(target)
    return found


def _named(path: Path) -> tuple[Path, Path, int]:
    try:
        mode = path.lstat().st_mode
        real = path.parent.resolve(strict=True) / path.name if path.name not in ("", "..") else None
    except (OSError, RuntimeError, ValueError) as error:
        raise Usage(
            f"{os.fspath(path)} does not exist or cannot be reached",
            remedy="check the path",
            code="scan.path",
        ) from error
    return path, (real or path.resolve()), mode


def _special(mode: int) -> bool:
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def _blobs(real: Path) -> Path | None:
    """Where the files of a hub's snapshot lie that are linked from it."""
    blobs = real.parent.parent / "blobs"
    if real.parent.name != "snapshots" or blobs.is_symlink() or not blobs.is_dir():
        return None
    return blobs


def _below(
    path: Path,
    real: Path,
    mode: int,
    roots: tuple[Path, ...],
    patterns: tuple[str, ...],
    found: Targets,
) -> Iterator[Target]:
    shown = os.fspath(path)
    if not stat.S_ISDIR(mode):
        yield _target(real, shown, "", roots, ())
        return
    within = tuple(filter(None, (real, _blobs(real))))
    count = 0
    prefix = "" if shown == "." else f"{shown.rstrip('/')}/"
    waiting = [(os.fspath(real), "")]
    while waiting:
        folder, inside = waiting.pop()
        try:
            with os.scandir(folder) as listed:
                entries = sorted(listed, key=lambda entry: entry.name)
        except OSError as error:
            what = f"the folder cannot be read: {error.strerror}"
            yield Target(Path(folder), prefix + inside, 0, rule="file.unreadable", problem=what)
            count += 1
            continue
        below: list[tuple[str, str]] = []
        for entry in entries:
            name = f"{inside}{entry.name}"
            if any(fnmatch.fnmatchcase(text, p) for p in patterns for text in (entry.name, name)):
                found.excluded += 1
            elif entry.is_dir(follow_symlinks=False):
                below.append((entry.path, f"{name}/"))
            else:
                count += 1
                yield _target(Path(entry.path), prefix + name, name, roots, within)
        waiting += reversed(below)
    if not count:
        what = "the folder has no files to read"
        yield Target(real, shown, 0, rule="empty", problem=what)


def _target(
    path: Path, shown: str, inside: str, roots: tuple[Path, ...], within: tuple[Path, ...]
) -> Target:
    """A file, or why it is not read; a link may lead to a place within these folders."""

    def unread(rule: str, problem: str) -> Target:
        return Target(path, shown, 0, rule=rule, problem=problem)

    try:
        status = path.lstat()
        if stat.S_ISLNK(status.st_mode):
            path = path.resolve(strict=True) if within else path
            if not any(path.is_relative_to(folder) for folder in within):
                return unread("file.linked", "is a symbolic link, which is not followed")
            status = path.lstat()
    except (OSError, RuntimeError) as error:
        why = getattr(error, "strerror", None) or "a link that leads nowhere"
        return unread("file.unreadable", f"cannot be read: {why}")
    if not stat.S_ISREG(status.st_mode):
        return unread("file.special", "is not a regular file")
    if status.st_size > MOST_BYTES:
        what = f"has {status.st_size:,} bytes, more than the {MOST_BYTES:,} that are read"
        return unread("file.too_large", what)
    return Target(path, shown, status.st_size, inside, roots)
