"""Where records come from: a folder, a zip as osv.dev publishes it (``all.zip``), or one JSON file.

Bounded in count, size and inflation.  Nothing is unpacked to disk, and a name in an archive is
only ever shown.
"""

from __future__ import annotations

import os
import stat
import zipfile
from collections.abc import Iterator
from pathlib import Path

import msgspec

from assay import files
from assay.errors import NotFound, Usage
from assay.supply.advisories import osv

MOST_RECORDS = 1_000_000
MOST_RECORD_BYTES = 16 << 20
MOST_BYTES = 8 << 30
"""Of all records of a dump together, inflated."""
MOST_FILE_BYTES = 2 << 30
"""Of one zip, or of one JSON file with many records."""
_DEEPEST = 16
_INFLATION = 200
_SPARED = 64 << 20
"""Bytes from which the inflation of a zip is looked at."""


class _Bounds:
    """What has been read of a dump so far."""

    def __init__(self, where: Path) -> None:
        self._where = where
        self._entries = 0
        self._bytes = 0

    def entry(self) -> None:
        self._entries += 1
        if self._entries > MOST_RECORDS:
            raise _refused(f"{self._where} holds more than {MOST_RECORDS:,} files or records")

    def read(self, count: int, packed: int | None = None) -> None:
        self._bytes += count
        bomb = packed is not None and self._bytes > max(_SPARED, packed * _INFLATION)
        if self._bytes > MOST_BYTES or bomb:
            raise _refused(f"{self._where} inflates to too much to be a dump of advisories")


def records(source: Path) -> Iterator[osv.Record]:
    """Every record at `source`, in an order of no meaning; raises `Usage` for anything else."""
    bounds = _Bounds(source)
    if source.is_symlink():
        raise _refused(f"{source} is a symbolic link, which is not followed")
    if source.is_dir():
        for path, where in _folder(source, bounds):
            data = _read(path, MOST_RECORD_BYTES)
            bounds.read(len(data))
            yield osv.decode(data, where)
        return
    with files.open_input(source, what="dump") as stream:
        size = os.fstat(stream.fileno()).st_size
        head = stream.read(4)
    if size > MOST_FILE_BYTES:
        raise _refused(f"{source} is larger than {MOST_FILE_BYTES >> 20} MiB")
    if head in (b"PK\3\4", b"PK\5\6"):
        yield from _zip(source, size, bounds)
    else:
        yield from _json(source, bounds)


def _folder(source: Path, bounds: _Bounds) -> Iterator[tuple[Path, str]]:
    waiting = [(source, "", 0)]
    while waiting:
        folder, prefix, depth = waiting.pop()
        for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
            bounds.entry()
            where = f"{prefix}{entry.name}"
            mode = entry.stat(follow_symlinks=False).st_mode
            if stat.S_ISDIR(mode):
                if entry.name.startswith("."):
                    continue  # Of version control.
                if depth >= _DEEPEST:
                    raise _refused(f"{where} lies deeper than {_DEEPEST} folders")
                waiting.append((Path(entry.path), f"{where}/", depth + 1))
            elif entry.name.endswith(".json"):
                if not stat.S_ISREG(mode):
                    raise _refused(f"{where} is not a regular file")
                yield Path(entry.path), where


def _zip(source: Path, size: int, bounds: _Bounds) -> Iterator[osv.Record]:
    try:
        with zipfile.ZipFile(source) as archive:
            seen: set[str] = set()
            for info in archive.infolist():
                bounds.entry()
                name = info.filename
                if name.startswith(("/", "\\")) or "\\" in name or ".." in name.split("/"):
                    raise _refused(f"{name[:80]!r} in {source.name} leads out of the archive")
                if name in seen:
                    raise _refused(f"{name[:80]!r} is in {source.name} twice")
                seen.add(name)
                if info.is_dir() or not name.endswith(".json"):
                    continue
                if info.flag_bits & 1:
                    raise _refused(f"{name[:80]!r} in {source.name} is encrypted")
                with archive.open(info) as stream:
                    data = stream.read(MOST_RECORD_BYTES + 1)
                if len(data) > MOST_RECORD_BYTES:
                    raise _refused(f"{name[:80]!r} inflates to more than {MOST_RECORD_BYTES:,}")
                bounds.read(len(data), size)
                yield osv.decode(data, name)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
        raise _refused(f"{source} cannot be read as a zip: {error}") from error
    except (OSError, ValueError) as error:
        raise _refused(f"{source} cannot be read as a zip: {error}") from error
    except Exception as error:  # zlib.error, lzma.LZMAError and whatever else a codec raises.
        if isinstance(error, Usage) or type(error).__module__ not in ("zlib", "_lzma", "_bz2"):
            raise
        raise _refused(f"{source} cannot be read as a zip: {error}") from error


class _Many(msgspec.Struct):
    vulns: list[msgspec.Raw]


def _json(source: Path, bounds: _Bounds) -> Iterator[osv.Record]:
    """One record, an array of them, or ``{"vulns": [...]}`` as OSV's API answers."""
    data = _read(source, MOST_FILE_BYTES)
    text = data.lstrip()
    try:
        if text.startswith(b"["):
            many = msgspec.json.decode(text, type=list[msgspec.Raw])
        elif text.startswith(b"{") and b'"vulns"' in text[:64]:
            many = msgspec.json.decode(text, type=_Many).vulns
        else:
            yield osv.decode(data, source.name)
            return
    except (msgspec.MsgspecError, RecursionError) as error:
        raise osv.wrong(source.name, str(error)) from error
    for number, raw in enumerate(many):
        bounds.entry()
        yield osv.decode(raw, f"{source.name} [{number}]")


def _read(path: Path, limit: int) -> bytes:
    try:
        with files.open_input(path, what="dump") as stream:
            data = stream.read(limit + 1)
    except NotFound as error:
        raise _refused(f"{path} went away while it was read") from error
    if len(data) > limit:
        raise _refused(f"{path} is larger than {limit:,} bytes")
    return data


def _refused(why: str) -> Usage:
    return Usage(
        why,
        remedy="give a folder or zip of OSV records (JSON), such as osv.dev's all.zip of one "
        "ecosystem",
        code="advisories.source",
    )
