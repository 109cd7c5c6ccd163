"""The modules among staged files: found there as Python will find them in the staged folders."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from assay.pipeline.staging import SUFFIXES


def stem(name: str) -> str | None:
    """The module that a file of this name is; None for one that is no module."""
    for end in SUFFIXES:
        if name.endswith(end):
            bare = name.removesuffix(end)
            return bare if bare.isidentifier() else None
    return None


@dataclass(frozen=True, slots=True)
class Module:
    """A module among the staged files."""

    name: str
    path: str | None
    """Its file; None for a namespace package."""
    locations: tuple[str, ...] | None = None
    """A package's folders; None for a plain module."""


class Snapshot:
    """The staged files, and the modules they make: as Python will find them in these folders."""

    def __init__(self, files: dict[str, bytes], root_names: Sequence[str]) -> None:
        self.files = files
        self._roots = tuple(root_names)
        self._found: dict[str, Module | None] = {}

    @cached_property
    def _folders(self) -> frozenset[str]:
        found: set[str] = set()
        for path in self.files:
            while "/" in path:
                path = path.rpartition("/")[0]
                if path in found:
                    break
                found.add(path)
        return frozenset(found)

    def find(self, name: str) -> Module | None:
        """The module of that dotted name."""
        if name not in self._found:
            self._found[name] = self._find(name)
        return self._found[name]

    def _find(self, name: str) -> Module | None:
        above, _, tail = name.rpartition(".")
        places: tuple[str, ...] | None = self._roots
        if above:
            parent = self.find(above)
            places = parent.locations if parent else None
        bare: list[str] = []
        for place in places or ():
            base = f"{place}/{tail}"
            for end in SUFFIXES:
                if f"{base}/__init__{end}" in self.files:
                    return Module(name, f"{base}/__init__{end}", (base,))
            for end in SUFFIXES:
                if f"{base}{end}" in self.files:
                    return Module(name, f"{base}{end}")
            if base in self._folders:
                bare.append(base)
        return Module(name, None, tuple(bare)) if bare else None

    def below(self, module: Module) -> Iterator[str]:
        """The names of a package's direct submodules."""
        names: set[str] = set()
        for path in [*self.files, *self._folders]:
            place, _, last = path.rpartition("/")
            if place in (module.locations or ()):
                names.add(stem(last) or last)
        return (f"{module.name}.{name}" for name in sorted(names) if name.isidentifier())

    def owner(self, path: str) -> str | None:
        """The package that a data file belongs to: of the nearest folder with an ``__init__``."""
        folder = path.rpartition("/")[0]
        while "/" in folder:
            if any(f"{folder}/__init__{end}" in self.files for end in SUFFIXES):
                return folder.partition("/")[2].replace("/", ".")
            folder = folder.rpartition("/")[0]
        return None
