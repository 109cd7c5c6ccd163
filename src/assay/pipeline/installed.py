"""What is installed: which distribution owns which files, and whether those are the ones it came
with.

Only metadata and bytes are read.  A distribution is verified against its RECORD: each file that it
lists, and that its folders hold no other.  Compiled files in ``__pycache__`` are not looked at;
whoever runs the code must not let Python read them (see `assay.pipeline.bytecode`).
"""

from __future__ import annotations

import csv
import hashlib
import os
import posixpath
import stat
from collections.abc import Iterator, Mapping, Sequence
from importlib.machinery import EXTENSION_SUFFIXES
from io import BufferedReader
from pathlib import Path

import msgspec
from packaging.utils import canonicalize_name

from assay.errors import Usage

METADATA = (".dist-info", ".egg-info")
"""How the metadata of a distribution ends in a library folder."""
_CACHE = "__pycache__"
_MOST_METADATA = 64 << 20


class Distribution(msgspec.Struct, frozen=True):
    """One installed distribution, by its metadata."""

    name: str
    """Normalised."""
    version: str
    site: str
    """The library folder it lies in."""
    info: str
    """Its metadata folder there."""
    entries: tuple[str, ...]
    """What it has in the library folder: ``numpy``, ``numpy.libs``, ``six.py``."""
    outside: tuple[str, ...]
    """Files elsewhere: scripts, mostly."""
    requires: tuple[str, ...]
    editable: bool
    recorded: bool
    """Whether it says which files are its own."""


class Listed(msgspec.Struct, frozen=True):
    """One line of a RECORD; the digest is empty where it gives none."""

    digest: str
    size: int


def signature(status: os.stat_result) -> str:
    """What changes whenever a file's content does.  (Setting the time back changes the ctime.)"""
    return f"{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns} {status.st_ino}"


def listing(sites: Sequence[Path]) -> tuple[str, list[tuple[Path, str]]]:
    """The metadata folders in the library folders, and a signature over the files in question."""
    hasher = hashlib.sha256()
    found: list[tuple[Path, str]] = []
    for site in sites:
        infos = [n for n in names(site) if n.endswith(METADATA)]
        for name in sorted(infos):
            found.append((site, name))
            base = f"{site}/{name}"
            for file in ("RECORD", "METADATA", "direct_url.json"):
                try:
                    told = signature(os.stat(f"{base}/{file}"))  # noqa: PTH116
                except OSError:
                    told = "-"
                hasher.update(f"{base}/{file}\0{told}\n".encode("utf-8", "surrogateescape"))
    return hasher.hexdigest(), found


def names(folder: Path | str) -> list[str]:
    """What a folder holds; nothing, where it cannot be read."""
    try:
        return os.listdir(folder)  # noqa: PTH208 - names are all that is needed.
    except OSError:
        return []


def distributions(found: Sequence[tuple[Path, str]]) -> list[Distribution]:
    """The metadata of all of them."""
    return [known for site, info in found if (known := _distribution(site, info)) is not None]


def _distribution(site: Path, info: str) -> Distribution | None:
    folder = site / info
    if info.endswith(".egg-info"):
        return _old(site, info)
    heads = _heads(_text(folder / "METADATA"))
    if not heads.get("name") or not heads.get("version"):
        return None
    record = read_record(folder)
    inside: set[str] = set()
    outside: list[str] = []
    for path in record or ():
        if path.startswith("../"):
            outside.append(path)
        elif _CACHE not in path:
            inside.add(path.partition("/")[0])
    return Distribution(
        canonicalize_name(heads["name"][0]),
        heads["version"][0],
        str(site),
        info,
        tuple(sorted(inside)) if record is not None else (info, *_top_level(folder)),
        tuple(outside),
        tuple(heads.get("requires-dist", ())),
        _is_editable(folder),
        record is not None,
    )


def _old(site: Path, info: str) -> Distribution | None:
    """A distribution with metadata of before wheels, which list no digests."""
    folder = site / info
    heads = _heads(_text(folder / "PKG-INFO" if folder.is_dir() else folder))
    if not heads.get("name") or not heads.get("version"):
        return None
    name, version = heads["name"][0], heads["version"][0]
    entries = (info, *(_top_level(folder) if folder.is_dir() else (name, f"{name}.py")))
    return Distribution(
        canonicalize_name(name), version, str(site), info, entries, (), (), False, False
    )


def _top_level(folder: Path) -> tuple[str, ...]:
    modules = _text(folder / "top_level.txt").split()
    return tuple(entry for name in modules for entry in (name, f"{name}.py"))


def _heads(text: str) -> dict[str, list[str]]:
    """The headers of core metadata that count here; the description follows an empty line."""
    heads: dict[str, list[str]] = {}
    for line in text.splitlines():
        if not line:
            break
        key, colon, value = line.partition(":")
        if colon and key.lower() in ("name", "version", "requires-dist"):
            heads.setdefault(key.lower(), []).append(value.strip())
    return heads


def _text(path: Path) -> str:
    data = read_file(path)
    return "" if data is None else data.decode("utf-8", "surrogateescape")


def _is_editable(folder: Path) -> bool:
    try:
        told = msgspec.json.decode(read_file(folder / "direct_url.json") or b"{}")
        return bool(told.get("dir_info", {}).get("editable"))
    except (msgspec.DecodeError, AttributeError):
        return False


def read_record(folder: Path) -> dict[str, Listed] | None:
    """The lines of a RECORD, by path relative to the library folder; None where there is none.

    Raises `Usage` for one that cannot be read.
    """
    data = read_file(folder / "RECORD")
    if data is None:
        return None
    found: dict[str, Listed] = {}
    try:
        for path, told, size in csv.reader(data.decode("utf-8").splitlines()):
            if path.startswith("/"):
                path = os.path.relpath(path, folder.parent)
            # Nothing but SHA-256 is written by any installer; anything else counts for nothing.
            found[posixpath.normpath(path)] = Listed(
                told.removeprefix("sha256=") if told.startswith("sha256=") else "",
                int(size) if size else -1,
            )
    except (ValueError, csv.Error) as error:
        raise Usage(
            f"{folder / 'RECORD'} cannot be read: {error}",
            remedy=f"install {folder.name.partition('-')[0]} again",
            code="pipeline.environment",
        ) from error
    return found


def read_file(path: Path | str, limit: int = _MOST_METADATA) -> bytes | None:
    """The bytes of a regular file of at most `limit` bytes; None for anything else."""
    try:
        with _opened(path) as stream:
            data = stream.read(limit + 1)
    except (OSError, ValueError):
        return None
    return data if len(data) <= limit else None


def hash_file(path: str) -> str | None:
    """The SHA-256 of a regular file in hexadecimal; None for anything that cannot be read."""
    try:
        with _opened(path) as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except (OSError, ValueError):
        return None


def _opened(path: Path | str) -> BufferedReader:
    """Opens a regular file; never waits for a pipe."""
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError("not a regular file")
    return os.fdopen(handle, "rb")


def walk(site: str, entry: str) -> Iterator[tuple[str, str]]:
    """Every file at or below an entry of a library folder: its path there, and its signature.

    Compiled files in ``__pycache__`` are left out.  A link to a folder is not entered: it appears
    as a file that no RECORD lists.
    """
    try:
        status = os.stat(f"{site}/{entry}", follow_symlinks=False)  # noqa: PTH116
    except OSError:
        return
    if not stat.S_ISDIR(status.st_mode):
        yield entry, _signature_of(f"{site}/{entry}", status)
        return
    waiting = [entry]
    while waiting:
        folder = waiting.pop()
        try:
            with os.scandir(f"{site}/{folder}") as items:
                for item in items:
                    path = f"{folder}/{item.name}"
                    if item.is_dir(follow_symlinks=False):
                        if item.name != _CACHE:
                            waiting.append(path)
                        continue
                    yield path, _signature_of(item.path, item.stat(follow_symlinks=False))
        except OSError as error:
            # Whatever cannot be listed differs from everything that can.
            yield f"{folder}/", f"unreadable {error.errno}"


def _signature_of(path: str, status: os.stat_result) -> str:
    if stat.S_ISREG(status.st_mode):
        return signature(status)
    try:
        return f"{signature(status)} to {signature(os.stat(path))}"  # noqa: PTH116 - follows.
    except OSError:
        return f"{signature(status)} to nothing"


def import_name(entry: str) -> str | None:
    """The top-level module that an entry of a library folder is; None for what is no module."""
    for end in (*EXTENSION_SUFFIXES, ".py"):
        if entry.endswith(end):
            entry = entry.removesuffix(end)
            break
    return entry if entry.isidentifier() else None


def owners(known: Sequence[Distribution]) -> Mapping[tuple[str, str], list[Distribution]]:
    """Which distributions have files under an entry of a library folder."""
    found: dict[tuple[str, str], list[Distribution]] = {}
    for distribution in known:
        for entry in distribution.entries:
            found.setdefault((distribution.site, entry), []).append(distribution)
    return found
