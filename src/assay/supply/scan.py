"""Scan a model file, or a folder of files: would loading it run code of the file's choosing?

Closed by default.  *clean* says that every file was read to its last byte and that everything in it
is on a list of things known to be harmless; what cannot be read is *unscannable*, what is not
known is *suspicious*, and neither is clean.  Nothing from the file is executed or imported, and its
name does not decide what it is: whatever else a file is, it is also read as a pickle, because a
loader may.  The file must not change meanwhile: give a copy that nobody else can write to.
"""

from __future__ import annotations

import gc
import mmap
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from assay import files
from assay.errors import NotFound, Usage
from assay.supply import allowed
from assay.supply.content import scan_content
from assay.supply.findings import MOST_BYTES, MOST_FILES, Broken, Report

KIND = "scan"
PRODUCER = "assay.supply.scan/1"

Progress = Callable[[str], None]


def scan(path: Path, *, where: str = "", progress: Progress | None = None) -> dict[str, Any]:
    """The predicate ``https://assay.dev/evidence/scan/v1`` about a file or folder.

    `where` is the path of a file in the folder that it is a part of, which is read otherwise than
    one alone.  `progress` is called with the name of each file.  Raises `NotFound` or `Usage` where
    there is nothing to scan; hostile content never raises.
    """
    report = Report()
    collecting = gc.isenabled()
    gc.disable()  # Following a large pickle makes millions of stand-ins, none of them garbage yet.
    try:
        return _scan(path, where, report, progress)
    finally:
        if collecting:
            gc.enable()


def _scan(path: Path, where: str, report: Report, progress: Progress | None) -> dict[str, Any]:
    if path.is_dir() and not path.is_symlink():
        kind, size = _scan_folder(path, report, progress)
    else:
        kind, size = _scan_file(path, where, report, progress)
    return {
        "scanner": PRODUCER,
        "format": kind,
        "clean": report.verdict == "clean",
        "verdict": report.verdict,
        "findings": report.findings,
        "findings_count": report.count,
        "globals": sorted(report.globals),
        "files": report.files,
        "bytes": size,
        "allow_list": allowed.digest(),
    }


def scan_confined(payload: bytes) -> bytes:
    """`scan` for a path in UTF-8, its answer in JSON: the form that `assay.isolation.run` calls."""
    return msgspec.json.encode(scan(Path(payload.decode())))


def _scan_file(
    path: Path, where: str, report: Report, progress: Progress | None
) -> tuple[str, int]:
    if progress is not None:
        progress(where or path.name)
    report.files += 1
    report.work = 0
    with files.open_input(path, what="model") as stream:
        size = os.fstat(stream.fileno()).st_size
        if not size:
            if not where:
                report.add("empty", "unscannable", where, 0, "the file is empty")
            return "empty", 0
        if size > MOST_BYTES:
            what = f"the file claims {size} bytes, more than the {MOST_BYTES} that a scan reads"
            report.add("file.size", "unscannable", where, 0, what)
            return "unknown", size
        try:
            with mmap.mmap(stream.fileno(), size, access=mmap.ACCESS_READ) as content:
                # A link of a model hub leads to a file that is called by its digest.
                name = where.rpartition("/")[2] or path.name
                return scan_content(content, 0, size, where, name, report), size
        except Broken as error:
            report.broken(error, where)
        except (MemoryError, RecursionError, OSError, ValueError, OverflowError) as error:
            # The last line of defence: what a reader could not bear was not read.
            what = f"the file cannot be read ({type(error).__name__})"
            report.add("file.unreadable", "unscannable", where, 0, what)
        return "unknown", size


def _entries(folder: Path, prefix: str, report: Report) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            return sorted(found, key=lambda entry: entry.name)
    except OSError as error:
        what = f"the folder cannot be listed: {error.strerror}"
        report.add("folder.entry", "unscannable", prefix.rstrip("/"), 0, what)
        return []


def _scan_folder(path: Path, report: Report, progress: Progress | None) -> tuple[str, int]:
    kinds: set[str] = set()
    total = 0
    waiting = [(path, "")]
    while waiting:
        folder, prefix = waiting.pop()
        for entry in _entries(folder, prefix, report):
            where = f"{prefix}{entry.name}"
            try:
                mode = entry.stat(follow_symlinks=False).st_mode
            except OSError as error:
                report.add("folder.entry", "unscannable", where, 0, str(error.strerror))
                continue
            if report.files >= MOST_FILES:
                report.add("folder.files", "unscannable", where, 0, "there are too many files")
                return "folder", total
            if stat.S_ISDIR(mode):
                waiting.append((Path(entry.path), f"{where}/"))
            elif stat.S_ISREG(mode):
                try:
                    kind, size = _scan_file(Path(entry.path), where, report, progress)
                except (NotFound, Usage) as error:
                    report.add("folder.entry", "unscannable", where, 0, error.message)
                    continue
                kinds.add(kind)
                total += size
            else:
                what = "a symbolic link" if stat.S_ISLNK(mode) else "not a regular file"
                report.files += 1
                report.add("folder.entry", "unscannable", where, 0, f"is {what}, not followed")
    if not report.files:
        report.add("empty", "unscannable", "", 0, "the folder has no files")
    models = sorted(kinds - {"json", "text", "empty"})
    return (models[0] if len(models) == 1 else "folder"), total
