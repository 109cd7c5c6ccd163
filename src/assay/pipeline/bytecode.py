"""Compiled files of libraries, made here from source that was verified.

Python prefers a compiled file in ``__pycache__`` whenever its noted time and size fit the source.
Nobody vouches for those: a planted one, or one left over from a file of the same time and size,
runs instead of the source.  To read none costs seconds in every process.  So a confined process
gets a folder of its own (``-X pycache_prefix``), filled by compiling, which runs none of the code.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import marshal
import os
import shutil
import stat
import struct
import sys
import sysconfig
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from assay import errors, files
from assay.errors import Conflict, Unavailable
from assay.pipeline import installed
from assay.pipeline.environment import Environment, library_folders

_LEFT_OUT = frozenset({"test", "tests", "_tests", "testing", "idlelib", "lib2to3", "turtledemo"})
"""Folders that a pipeline does not import.  If one does, Python compiles the file each time."""
_KEPT = 8
_LOCK = "lock"
_LIBRARIES = frozenset({"site-packages", "dist-packages", "__pycache__"})


def compiled_for(environment: Environment, again: Callable[[], Environment], cache: Path) -> Path:
    """The folder of compiled files for an environment, below `cache`; made once.

    `again` takes the environment anew: what changed while it was compiled is thrown away.  Whoever
    can write to `cache` can run code in every step, as they could by writing to the libraries;
    it belongs to this user alone.  Raises `Conflict` or `Unavailable`.
    """
    place = cache / _name(environment)
    files.make_folder(cache)
    _check_private(cache)
    if place.is_dir():
        return place
    with files.Lock(cache / _LOCK):  # Compiling takes seconds, so one process does it for all.
        return place if place.is_dir() else _made(environment, again, cache, place)


def _name(environment: Environment) -> str:
    """Of libraries with this digest where they lie here: compiled files hold for these paths."""
    own = Path(errors.__file__).resolve().parent
    paths = [sysconfig.get_path("stdlib"), *library_folders(), own]
    told = "\n".join([environment.digest, *map(str, paths)])
    return hashlib.sha256(told.encode("utf-8", "surrogateescape")).hexdigest()


def cache_folder() -> Path:
    """Where this user's compiled files lie: below ``XDG_CACHE_HOME``, or ``~/.cache``."""
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (base if base.is_absolute() else Path.home() / ".cache") / "assay" / "bytecode"


def _check_private(cache: Path) -> None:
    state = cache.lstat()
    ours = stat.S_ISDIR(state.st_mode) and state.st_uid == os.geteuid()
    if not ours or state.st_mode & 0o022:
        raise Unavailable(
            f"others can write to {cache}, and so could run code in every step",
            remedy="remove it: it is made again",
            code="bytecode",
        )


def _made(
    environment: Environment, again: Callable[[], Environment], cache: Path, place: Path
) -> Path:
    _prune(cache)
    made = Path(tempfile.mkdtemp(dir=cache, prefix="new-"))
    try:
        compile_libraries(environment, made)
        if again().digest != environment.digest:
            raise Conflict(
                "the installed libraries changed while they were compiled",
                remedy="run it again when the installation is finished",
                code="environment.changed",
            )
        with contextlib.suppress(FileExistsError):  # Another process was faster.
            made.rename(place)
    except OSError as error:
        if not place.is_dir():
            raise Unavailable(
                f"cannot write {place}: {error.strerror}", remedy="free disk space", code="write"
            ) from error
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return place


def _prune(cache: Path) -> None:
    """Keep the newest few: one for each environment that is still worked with."""
    for left in cache.glob("new-*"):  # Of a process that was killed: whoever makes one holds it.
        shutil.rmtree(left, ignore_errors=True)
    folders = [entry for entry in cache.iterdir() if entry.name != _LOCK]
    there = sorted(folders, key=lambda entry: entry.stat().st_mtime, reverse=True)
    for old in there[_KEPT:]:
        shutil.rmtree(old, ignore_errors=True)


def compile_libraries(
    environment: Environment, into: Path, *, sites: Sequence[Path] | None = None
) -> int:
    """Fill `into`, an empty folder, for ``-X pycache_prefix``; how many files were compiled.

    Takes the standard library and what `environment` covers.  The sources are read again, so take
    the environment again afterwards, and use the folder only while it has the same digest.
    """
    count = 0
    for source in _sources(environment, library_folders() if sites is None else sites):
        data = installed.read_file(source)
        compiled = None if data is None else _compile(source, data)
        if compiled is None:
            continue
        path = into / source.parent.relative_to("/") / f"{source.stem}.{_tag()}.pyc"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(compiled)
        except OSError as error:
            raise Unavailable(
                f"cannot write {path}: {error.strerror}", remedy="free disk space", code="write"
            ) from error
        count += 1
    return count


def _tag() -> str:
    return sys.implementation.cache_tag or "python"


def _sources(environment: Environment, sites: Sequence[Path]) -> Iterator[Path]:
    yield from _below(Path(sysconfig.get_path("stdlib")))
    own = Path(errors.__file__).resolve().parent
    outside = own.parent not in [site.resolve() for site in sites]
    if outside and "assay" in environment.covers:  # An editable installation.
        yield from _below(own)
    for site in sites:
        for entry in sorted(environment.covers):
            if (site / entry).is_dir():
                yield from _below(site / entry)
            elif entry.endswith(".py") and (site / entry).is_file():
                yield site / entry


def _below(folder: Path) -> Iterator[Path]:
    for base, folders, names in os.walk(folder):
        folders[:] = sorted(set(folders) - _LEFT_OUT - _LIBRARIES)
        yield from (Path(base) / name for name in sorted(names) if name.endswith(".py"))


def _compile(source: Path, data: bytes) -> bytes | None:
    """A compiled file that counts while the source has this time and size; None if it is none."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            code = compile(data, str(source), "exec", dont_inherit=True, optimize=0)
        modified = int(source.stat().st_mtime)
    except (SyntaxError, ValueError, RecursionError, MemoryError, OSError):
        return None
    # PEP 552: valid by time and size, as low 32 bits.
    head = struct.pack("<III", 0, modified & 0xFFFFFFFF, len(data) & 0xFFFFFFFF)
    return importlib.util.MAGIC_NUMBER + head + marshal.dumps(code)
