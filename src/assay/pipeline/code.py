"""First-party code: which files a module can reach, and the digests of exactly those.

Nothing is imported and nothing runs.  Every file is read once; its bytes are what is hashed and
what is staged, so that no edit can come between.  A closure follows every import that stands in
the text; what a module imports by a computed name is not in it, and whoever runs the code sees it
loaded from a path that is not in `Closure.paths`.
"""

from __future__ import annotations

import keyword
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from assay import canonical
from assay.errors import NotFound, Usage
from assay.pipeline import imports, snapshot, staging, syntax
from assay.pipeline.archive import pack_code, unpack_code, write_code
from assay.pipeline.imports import Found, Request, Sight
from assay.pipeline.snapshot import Module, Snapshot
from assay.pipeline.staging import SOURCE, Places
from assay.types import Digest

__all__ = ["Closure", "Codebase", "pack_code", "unpack_code", "write_code"]

Precision = Literal["syntax", "syntax and docstrings", "every byte"]
_PRECISION: dict[Sight, Precision] = {
    Sight.SYNTAX: "syntax",
    Sight.DOCSTRINGS: "syntax and docstrings",
    Sight.BYTES: "every byte",
}


@dataclass(frozen=True, slots=True)
class Closure:
    """All first-party code that importing one module can bring in."""

    modules: dict[str, Digest]
    """First-party module → digest."""
    data: dict[str, Digest]
    """Package data of those modules' packages: ``pkg/data/x.json`` → SHA-256."""
    third_party: tuple[str, ...]
    """Top-level names outside the standard library and first-party code, installed or not."""
    paths: frozenset[str]
    """The staged paths that belong to it."""
    digest: Digest
    names: Digest | None = None
    """Of the names of all that is staged, where the code can see where it lies: whether another
    module is there can be asked without opening it."""
    precision: Precision = "syntax"
    """What of the source counts.  More than syntax where code, or a library, can see it."""


@dataclass(frozen=True, slots=True)
class _Parsed:
    """One source file, whatever it is called."""

    found: Found
    digests: dict[Sight, Digest]


@dataclass(frozen=True, slots=True)
class _Staged:
    """What was read: the files, how messages name them, and what was found out about them."""

    files: dict[str, bytes]
    shown: dict[str, str]
    shared: frozenset[str]
    """Namespace packages of ours that installed libraries have parts of too."""
    parsed: dict[bytes, _Parsed]


class Codebase:
    """First-party code as it is at one moment: each file is read once, hashed and staged."""

    def __init__(self, module: str, staged: _Staged) -> None:
        self.module = module
        """The dotted module of the target."""
        self._staged = staged
        self._snapshot = Snapshot(staged.files, _roots_of(staged.files))
        self._closures: dict[str, Closure] = {}

    @classmethod
    def read(
        cls, target: Path | str, *, folder: Path, path: Sequence[str] | None = None
    ) -> Codebase:
        """The code that `target` reaches: ``pipelines/credit.py`` or ``pkg.module``.

        `folder` is the project's folder; `path` are further entries to look for modules in, by
        default those of `sys.path`, of which library folders are left out.

        Raises `Usage` or `NotFound` naming the file, the rule and the remedy.
        """
        folder = folder.absolute()
        module, first = _target(str(target), folder)
        places = Places(staging.roots(folder, first, sys.path if path is None else path), folder)
        return _Reading(places).read(module, str(target))

    def files(self) -> dict[str, bytes]:
        """All that is staged: ``ROOT/relative/path`` → bytes."""
        return dict(self._snapshot.files)

    @property
    def roots(self) -> tuple[str, ...]:
        """The folders of `files`, in search order."""
        return _roots_of(self._snapshot.files)

    @cached_property
    def digest(self) -> Digest:
        """Of `files`."""
        listed = {path: canonical.digest(data) for path, data in self._snapshot.files.items()}
        return canonical.digest(canonical.encode({"format": "assay/staged/v1", "files": listed}))

    @cached_property
    def data(self) -> dict[str, Digest]:
        """All package data that is staged, of whichever package."""
        return {
            _unrooted(path): canonical.digest(data)
            for path, data in sorted(self._snapshot.files.items())
            if _is_data(path)
        }

    @cached_property
    def _data_of(self) -> dict[str, list[str]]:
        """Package → the staged paths of its data."""
        owned: dict[str, list[str]] = {}
        for path in self._snapshot.files:
            if _is_data(path) and (package := self._snapshot.owner(path)):
                owned.setdefault(package, []).append(path)
        return owned

    def closure(self, module: str) -> Closure:
        """What importing `module` can bring in; raises `NotFound` for one that is not staged."""
        if module not in self._closures:
            found = self._snapshot.find(module)
            if found is None:
                raise NotFound(
                    f"the module {module} is not part of the code of {self.module}",
                    remedy=f"import it in {self.module}, or in a module that this one imports",
                    code="pipeline.module",
                )
            self._closures[module] = self._close(module)
        return self._closures[module]

    def _close(self, module: str) -> Closure:
        reached, names, _ = _reach(self, module)
        third_party = tuple(sorted(names))
        modules = {name: found for name, found in sorted(reached.items()) if found.path}
        sight = imports.sight_through(third_party)
        for found in modules.values():
            sight = max(sight, self.found(found).sight)
        paths = {found.path for found in modules.values() if found.path}
        data: dict[str, Digest] = {}
        for package in reached:
            for path in self._data_of.get(package, ()):
                paths.add(path)
                data[_unrooted(path)] = canonical.digest(self._snapshot.files[path])
        digests = {name: self._digest(found, sight) for name, found in modules.items()}
        data = dict(sorted(data.items()))
        whole = {
            "format": "assay/closure/v1",
            "modules": digests,
            "data": data,
            "third_party": list(third_party),
        }
        names = None
        if sight is Sight.BYTES:
            names = canonical.digest(canonical.encode(sorted(self._snapshot.files)))
            whole["names"] = names
        return Closure(
            digests,
            data,
            third_party,
            frozenset(paths),
            canonical.digest(canonical.encode(whole)),
            names,
            _PRECISION[sight],
        )

    def find(self, name: str) -> Module | None:
        """The staged module of that name."""
        return self._snapshot.find(name)

    def below(self, module: Module) -> Iterator[str]:
        """The names of a package's direct submodules."""
        return self._snapshot.below(module)

    def found(self, module: Module) -> Found:
        """What a module's file asks for; raises `Usage` for one that is not valid Python."""
        return self._parsed(module.path).found if module.path else Found()

    def shared(self, top: str) -> bool:
        """Whether installed libraries have parts of this namespace package of ours."""
        return top in self._staged.shared

    def _parsed(self, path: str) -> _Parsed:
        data = self._snapshot.files[path]
        parsed = self._staged.parsed.get(data)
        if parsed is None:
            if path.endswith(SOURCE):
                tree = syntax.parse(data, self._staged.shown[path])
                whole, bare = syntax.digests(tree)
                digests = {
                    Sight.SYNTAX: bare,
                    Sight.DOCSTRINGS: whole,
                    Sight.BYTES: syntax.raw_digest(data),
                }
                parsed = _Parsed(imports.find(tree), digests)
            else:
                # Compiled: it may look at anything.  What it imports is seen when it is loaded.
                whole = canonical.digest(data)
                parsed = _Parsed(Found(sight=Sight.BYTES), dict.fromkeys(Sight, whole))
            self._staged.parsed[data] = parsed
        return parsed

    def _digest(self, module: Module, sight: Sight) -> Digest:
        own = self._parsed(module.path or "").digests[sight]
        # The same text means something else as a package's: relative imports lead elsewhere.
        return own if module.locations is None else canonical.digest(f"package {own}".encode())


def _roots_of(files: dict[str, bytes]) -> tuple[str, ...]:
    return tuple(sorted({path.partition("/")[0] for path in files}, key=int))


def _unrooted(path: str) -> str:
    return path.partition("/")[2]


def _is_data(path: str) -> bool:
    # A shared library is data too: one that modules link to is loaded without an import.
    return not path.endswith(SOURCE) or snapshot.stem(path.rpartition("/")[2]) is None


def _reach(code: Codebase, module: str) -> tuple[dict[str, Module], set[str], set[str]]:
    """The modules that `module` can import, itself and parents included; the libraries that it
    names; and other names, which count only if they are modules of ours."""
    reached: dict[str, Module] = {}
    libraries: set[str] = set()
    maybe: set[str] = set()
    waiting = [(Request(module), module, True)]
    while waiting:
        request, importer, package = waiting.pop()
        for name in _named(code, request, importer, package=package):
            top = name.partition(".")[0]
            ours = top != "assay" and code.find(top) is not None
            if not ours or code.shared(top):
                (maybe if request.ours or imports.is_standard(top) else libraries).add(top)
            for part in _ancestry(name) if ours else ():
                found = code.find(part)
                if found is None:
                    break
                if part not in reached:
                    reached[part] = found
                    own = found.locations is not None
                    waiting += [(wanted, part, own) for wanted in code.found(found).requests]
    return reached, libraries, maybe


def _ancestry(name: str) -> Iterator[str]:
    """``a.b.c`` → ``a``, ``a.b``, ``a.b.c``: what Python imports, in this order."""
    parts = name.split(".")
    return (".".join(parts[:count]) for count in range(1, len(parts) + 1))


def _named(code: Codebase, request: Request, importer: str, *, package: bool) -> Iterator[str]:
    """The absolute names that one import may bring in."""
    base = request.base
    if request.level:
        parts = importer.split(".")
        kept = len(parts) - request.level + (1 if package else 0)
        if kept < 1:
            return  # Leads out of the package; Python raises an ImportError.
        base = ".".join([*parts[:kept], *([base] if base else [])])
    yield base
    owner = code.find(base)
    if owner is None or owner.locations is None:
        return
    for name in request.names:
        if name != "*":
            yield f"{base}.{name}"
            continue
        exported = code.found(owner).exported
        if exported is None:  # Computed: it may be any of them.
            yield from code.below(owner)
        else:
            yield from (f"{base}.{name}" for name in exported)


class _Reading:
    """Reads what a target reaches: a top-level name at a time, until no import asks for more."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self._files: dict[Path, dict[str, tuple[Path, bytes]]] = {}
        self._shared: set[str] = set()
        self._parsed: dict[bytes, _Parsed] = {}

    def read(self, module: str, target: str) -> Codebase:
        asked: set[str] = set()
        wanted = {module.partition(".")[0]}
        while True:
            for name in sorted(wanted - asked):
                self._stage(name)
            asked |= wanted
            code = Codebase(module, self._staged())
            if code.find(module) is None:
                raise NotFound(
                    f"{target} names no module of this project",
                    remedy="name a file (pipelines/credit.py) or a module (pkg.module)",
                    code="pipeline.target",
                )
            _, libraries, maybe = _reach(code, module)
            wanted = libraries | maybe
            if wanted <= asked:
                return code

    def _stage(self, name: str) -> None:
        """Read whatever of ours `name` is."""
        if name in ("assay", "__main__") or not name.isidentifier():
            return
        for root, portion in self._places.portions(name):
            if imports.is_standard(name):
                raise Usage(
                    f"{self._places.shown(portion.path)} has the name of the standard library's "
                    f"module {name}, which libraries that import it would get instead",
                    remedy="rename it",
                    code="pipeline.shadow",
                )
            if portion.bare and self._places.library(name) is None:
                self._shared.add(name)
            held = self._files.setdefault(root, {})
            held.update(self._places.read(root, portion, held))

    def _staged(self) -> _Staged:
        files: dict[str, bytes] = {}
        shown: dict[str, str] = {}
        used = [root for root in self._places.folders if self._files.get(root)]
        for number, root in enumerate(used):
            for path, (place, data) in self._files[root].items():
                files[f"{number}/{path}"] = data
                shown[f"{number}/{path}"] = self._places.shown(place)
        return _Staged(files, shown, frozenset(self._shared), self._parsed)


def _target(target: str, folder: Path) -> tuple[str, Path | None]:
    """The module that a target names, and the folder to look in first."""
    if target.endswith(".ipynb"):
        raise Usage(
            f"{target} is a notebook, whose cells have no fixed order to run in",
            remedy="write the steps to a file: `%%writefile pipeline.py` as a cell's first line, "
            f"or `jupyter nbconvert --to script {target}`",
            code="pipeline.notebook",
        )
    if not target.endswith(SOURCE) and "/" not in target:
        return _module_name(target, target), None
    path = folder / target
    if path.is_dir():
        raise Usage(
            f"{target} is a folder", remedy="name a file or a module", code="pipeline.target"
        )
    if not path.is_file():
        raise NotFound(
            f"there is no file {target} in {folder}",
            remedy="check the path",
            code="pipeline.target",
        )
    parts = [] if path.stem == "__init__" else [path.stem]
    if path.suffix != SOURCE:
        raise Usage(
            f"{target} is not a Python file", remedy="name a .py file", code="pipeline.target"
        )
    root = path.absolute().parent
    while (root / "__init__.py").exists():
        parts.insert(0, root.name)
        root = root.parent
    return _module_name(".".join(parts), target), root.resolve()


def _module_name(module: str, target: str) -> str:
    for part in module.split("."):
        if not part.isidentifier() or not part.isascii() or keyword.iskeyword(part):
            raise Usage(
                f"{target} does not name a module: {part[:60]!r} is no Python name",
                remedy="rename it with letters, digits and underscores, not beginning with a digit",
                code="pipeline.target",
            )
    if module.partition(".")[0] == "assay":
        raise Usage(
            f"{target} is part of assay itself", remedy="name your own code", code="pipeline.target"
        )
    return module
