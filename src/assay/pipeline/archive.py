"""Staged files as one archive, and as files again.

The archive is a ZIP file without compression, of sorted names and fixed times: equal files give
equal bytes.  A reader takes only those very bytes, which leaves no room for two files of one name,
links, paths that lead elsewhere, or data in between.
"""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path

from assay.errors import Corrupt, Unavailable, Usage
from assay.pipeline.staging import MOST_BYTES, MOST_FILES

_EPOCH = (1980, 1, 1, 0, 0, 0)
_MODE = 0o100644 << 16
_MOST_PATH = 1024
# Names and headers of the files come on top of their bytes.
_MOST_ARCHIVE = MOST_BYTES + MOST_FILES * 4 * _MOST_PATH


def check_path(path: str) -> str:
    """`path` if it stays in the folder it is put in; else `Corrupt`."""
    parts = path.split("/")
    safe = all(part not in ("", ".", "..") for part in parts)
    if not safe or not path.isprintable() or "\\" in path or len(path) > _MOST_PATH:
        raise Corrupt(f"{path[:80]!a} is no path of staged code", code="pipeline.archive")
    return path


def pack_code(files: Mapping[str, bytes]) -> bytes:
    """One archive of `files`, ``ROOT/relative/path`` to bytes."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for path in sorted(files):
            entry = zipfile.ZipInfo(check_path(path), _EPOCH)
            entry.create_system = 3
            entry.external_attr = _MODE
            archive.writestr(entry, files[path])
    return stream.getvalue()


def unpack_code(data: bytes) -> dict[str, bytes]:
    """The files of an archive that `pack_code` made; raises `Corrupt` for any other bytes."""
    if len(data) > _MOST_ARCHIVE:
        raise Corrupt("the archive of code is too large", code="pipeline.archive")
    files: dict[str, bytes] = {}
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
            whole = sum(entry.file_size for entry in entries)
            stored = all(entry.compress_type == zipfile.ZIP_STORED for entry in entries)
            if len(entries) > MOST_FILES or whole > len(data) or not stored:
                raise Corrupt("the archive of code is too large", code="pipeline.archive")
            for entry in entries:
                files[check_path(entry.filename)] = archive.read(entry)
        same = pack_code(files) == data
    except (zipfile.BadZipFile, ValueError, EOFError, OSError, NotImplementedError) as error:
        raise Corrupt(f"not an archive of code: {error}", code="pipeline.archive") from error
    except RuntimeError as error:  # An encrypted file.
        raise Corrupt(f"not an archive of code: {error}", code="pipeline.archive") from error
    if not same:
        raise Corrupt("the archive of code is not in its one form", code="pipeline.archive")
    return files


def write_code(files: Mapping[str, bytes], into: Path) -> None:
    """Write staged files below `into`, a folder that does not exist yet or is empty."""
    try:
        into.mkdir(mode=0o755, parents=True, exist_ok=True)
        if any(into.iterdir()):
            raise Usage(f"{into} is not empty", remedy="name a new folder", code="pipeline.stage")
        made: set[str] = set()
        for path in sorted(files):
            folder = check_path(path).rpartition("/")[0]
            if folder not in made:
                made.add(folder)
                (into / folder).mkdir(mode=0o755, parents=True, exist_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            with os.fdopen(os.open(into / path, flags, 0o644), "wb") as stream:
                stream.write(files[path])
    except OSError as error:
        raise Unavailable(
            f"cannot stage code in {into}: {error.strerror}",
            remedy="free disk space, or name another folder",
            code="write",
        ) from error
