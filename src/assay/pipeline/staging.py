"""First-party files: where they are looked for, and reading each of them once.

A module is looked for as Python itself does it (`importlib.machinery.FileFinder`), without
importing its parents: a package, then an extension module, then a source file, then a folder that
may be part of a namespace package.  What is found is read whole, as one *top-level package* or as
the plain modules of one folder, and from then on only what was read exists: names are resolved in
it, it is what is hashed, and it is what a confined process gets.
"""

from __future__ import annotations

import errno
import os
import stat
import sysconfig
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from importlib.machinery import EXTENSION_SUFFIXES, FileFinder, ModuleSpec, SourceFileLoader
from importlib.machinery import ExtensionFileLoader as _Extension
from pathlib import Path

from assay.errors import Conflict, Usage
from assay.isolation.paths import search_path
from assay.pipeline.imports import is_standard

MOST_FILES = 20_000
MOST_BYTES = 256 << 20
MOST_FILE_BYTES = 64 << 20
_MOST_DEPTH = 32
_TRIES = 3

SOURCE = ".py"
SUFFIXES = (*EXTENSION_SUFFIXES, SOURCE)
"""How modules end, in the order in which Python looks for them."""

_LEFT_OUT = (".pyc", ".pyo", ".pyi")
_NEVER = frozenset({"__pycache__", "node_modules", "site-packages"})
# Not namespace packages, even where code imports a library of that name.
_NEVER_ON_TOP = _NEVER | {"build", "dist", "venv", "env", "assay"}


@dataclass(frozen=True, slots=True)
class Portion:
    """What one root has under a top-level name."""

    path: Path
    package: bool
    """Whether `path` is a folder with an ``__init__``; else it is a file, or a bare folder."""
    bare: bool = False


def roots(folder: Path, first: Path | None, path: Sequence[str]) -> tuple[Path, ...]:
    """Where first-party modules are looked for, in order: never a library folder."""
    libraries = {Path(entry) for entry in search_path()}
    standard = Path(sysconfig.get_path("stdlib")).resolve()
    scripts = Path(sysconfig.get_path("scripts")).resolve()
    found: list[Path] = []
    wanted = [*([first] if first else []), folder, folder / "src"]
    for entry in [*wanted, *(Path(text) for text in path if text)]:
        if not entry.is_absolute() or not entry.is_dir():
            continue
        real = entry.resolve()
        library = real in libraries or real.is_relative_to(standard) or real == scripts
        if library or real in found or (entry not in wanted and _in_environment(real)):
            continue
        found.append(real)
    return tuple(found)


def _in_environment(folder: Path) -> bool:
    return any((above / "pyvenv.cfg").exists() for above in (folder, *folder.parents))


def _finder(folder: Path) -> FileFinder:
    # Without the loader of sourceless *.pyc files, which are not staged.
    return FileFinder(
        str(folder), (_Extension, list(EXTENSION_SUFFIXES)), (SourceFileLoader, [SOURCE])
    )


class Places:
    """The roots of a project, and which files lie under a top-level name."""

    def __init__(self, folders: Sequence[Path], project: Path) -> None:
        self.folders = tuple(folders)
        self._project = project.resolve()
        self._finders = {folder: _finder(folder) for folder in self.folders}
        self._libraries = [_finder(Path(entry)) for entry in search_path()]
        self._count = 0
        self._bytes = 0

    def shown(self, path: Path) -> str:
        """How messages name a file."""
        return str(path.relative_to(self._project) if self._inside(path) else path)

    def _inside(self, path: Path) -> bool:
        return path.is_relative_to(self._project)

    def portions(self, name: str) -> list[tuple[Path, Portion]]:
        """What Python would take for the top-level module `name`, with the root it lies in.

        Empty when that is nothing of ours; several for a namespace package.
        """
        bare: list[tuple[Path, Portion]] = []
        for root in self.folders:
            spec = self._finders[root].find_spec(name)
            if spec is None:
                continue
            portion = _portion(spec)
            if (portion.path / "pyvenv.cfg").exists():
                continue
            if not portion.bare:
                return [(root, portion)]
            if name not in _NEVER_ON_TOP and portion.path.is_dir():
                bare.append((root, portion))
        return bare if bare and self.library(name) is not True else []

    def library(self, name: str) -> bool | None:
        """Whether the libraries have the top-level module; None for a namespace package."""
        if is_standard(name):
            return True
        found: bool | None = False
        for finder in self._libraries:
            spec = finder.find_spec(name)
            if spec is not None and spec.loader is not None:
                return True
            found = None if spec is not None else found
        return found

    def read(
        self, root: Path, portion: Portion, held: Container[str]
    ) -> dict[str, tuple[Path, bytes]]:
        """The files of a portion: their paths relative to `root`, where they lie, their bytes.

        But for those `held` already: each file is read once.
        """
        if portion.package or portion.bare:
            self._real(portion.path)
            listed = list(self._walk(portion.path, portion.package, ()))
        else:
            listed = [(portion.path, self._real(portion.path))]
            listed += self._beside(root, portion.path)
        new = {
            text: (path, real)
            for path, real in listed
            if (text := _relative(path, root)) not in held
        }
        self._bound(portion.path, [real for _, real in new.values()])
        return {text: (path, self._bytes_of(path, real)) for text, (path, real) in new.items()}

    def _beside(self, root: Path, module: Path) -> Iterator[tuple[Path, Path]]:
        """The other plain modules of a folder: those that can be read and hide no library."""
        for entry in sorted(_scan(root), key=lambda entry: entry.name):
            name = entry.name.removesuffix(SOURCE)
            path = root / entry.name
            if name == entry.name or not name.isidentifier() or path == module:
                continue
            if self.library(name):
                continue
            try:
                real = self._real(path)
            except Usage:
                continue
            if stat.S_ISREG(_status(real).st_mode) and os.access(real, os.R_OK):
                yield path, real

    def _walk(
        self, folder: Path, package: bool, above: tuple[Path, ...]
    ) -> Iterator[tuple[Path, Path]]:
        """Every file below a folder; in one that is no package, only modules and packages."""
        real_folder = folder.resolve()
        if len(above) >= _MOST_DEPTH or real_folder in above:
            raise Usage(
                f"{self.shown(folder)} lies too deep, or inside of itself through a symbolic link",
                remedy="remove the link",
                code="pipeline.source",
            )
        entries = sorted(_scan(folder), key=lambda entry: entry.name)
        if any(entry.name == "pyvenv.cfg" for entry in entries):
            return
        inits = {f"__init__{end}" for end in SUFFIXES}
        package = package or any(entry.name in inits for entry in entries)
        for entry in entries:
            if entry.name.startswith(".") or entry.name in _NEVER:
                continue
            path = folder / entry.name
            real = self._real(path)
            mode = _status(real).st_mode
            if stat.S_ISDIR(mode):
                yield from self._walk(path, package, (*above, real_folder))
            elif stat.S_ISREG(mode) and _kept(entry.name, package=package):
                yield path, real

    def _real(self, path: Path) -> Path:
        """Where a path leads; refuses one that leads out of the project."""
        if not path.is_symlink():
            return path
        try:
            real = path.resolve(strict=True)
        except (OSError, RuntimeError) as error:
            raise Usage(
                f"{self.shown(path)} is a symbolic link to nothing",
                remedy="remove the link",
                code="pipeline.link",
            ) from error
        if not self._inside(real) and not any(real.is_relative_to(root) for root in self.folders):
            raise Usage(
                f"{self.shown(path)} is a symbolic link that leads out of the project",
                remedy="copy the file into the project, or declare it as an input of a step",
                code="pipeline.link",
            )
        return real

    def _bound(self, what: Path, files: Sequence[Path]) -> None:
        sizes = [(_status(path).st_size, path) for path in files]
        self._count += len(sizes)
        self._bytes += sum(size for size, _ in sizes)
        largest, path = max(sizes, default=(0, what), key=lambda pair: pair[0])
        if self._count > MOST_FILES:
            why = f"brings the code to {self._count} files; {MOST_FILES} are allowed"
        elif largest > MOST_FILE_BYTES or self._bytes > MOST_BYTES:
            why = (
                f"brings the code to {self._bytes >> 20} MiB; {MOST_BYTES >> 20} are allowed, "
                f"{MOST_FILE_BYTES >> 20} in one file (the largest is {self.shown(path)})"
            )
        else:
            return
        raise Usage(
            f"{self.shown(what)} {why}",
            remedy="move data out of the package and declare it as an input of a step",
            code="pipeline.size",
        )

    def _bytes_of(self, path: Path, real: Path) -> bytes:
        for _ in range(_TRIES):
            data = _read(real, self.shown(path))
            if data is not None:
                return data
        raise Conflict(
            f"{self.shown(path)} changes while it is read",
            remedy="wait until whatever writes it is done",
            code="pipeline.source",
        )


def _kept(name: str, *, package: bool) -> bool:
    """Whether a file counts: not what is derived or for type checkers; in a package, data too."""
    return not name.endswith(_LEFT_OUT) and (package or name.endswith(SUFFIXES))


def _portion(spec: ModuleSpec) -> Portion:
    if spec.loader is None:
        return Portion(Path(next(iter(spec.submodule_search_locations or ()))), False, bare=True)
    origin = Path(spec.origin or "")
    package = spec.submodule_search_locations is not None
    return Portion(origin.parent if package else origin, package)


def _relative(path: Path, root: Path) -> str:
    text = path.relative_to(root).as_posix()
    if not text.isprintable() or "\\" in text:  # Surrogates, for bytes that are not UTF-8, too.
        raise Usage(
            f"the name of the file {text!a} has control signs, a backslash or is not UTF-8",
            remedy="rename it",
            code="pipeline.source",
        )
    return text


def _unreadable(shown: str, error: OSError) -> Usage:
    return Usage(
        f"cannot read {shown}: {error.strerror}",
        remedy="make it readable, or move it out of the package",
        code="pipeline.source",
    )


def _scan(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as error:
        raise _unreadable(str(folder), error) from error


def _status(path: Path) -> os.stat_result:
    try:
        return os.stat(path, follow_symlinks=False)  # noqa: PTH116 - already resolved.
    except OSError as error:
        raise _unreadable(str(path), error) from error


def _read(path: Path, shown: str) -> bytes | None:
    """The bytes of a regular file; None when it changed meanwhile."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno == errno.ELOOP:
            return None
        raise _unreadable(shown, error) from error
    try:
        before = os.fstat(handle)
        if not stat.S_ISREG(before.st_mode):
            return None
        pieces: list[bytes] = []
        left = before.st_size + 1
        while left > 0 and (piece := os.read(handle, min(left, 1 << 24))):
            pieces.append(piece)
            left -= len(piece)
        after = os.fstat(handle)
    except OSError as error:
        raise _unreadable(shown, error) from error
    finally:
        os.close(handle)
    same = (before.st_size, before.st_mtime_ns, before.st_ctime_ns) == (
        after.st_size,
        after.st_mtime_ns,
        after.st_ctime_ns,
    )
    return b"".join(pieces) if same and left == 1 else None
