"""What code loads, opens and looks for, noted from the inside of its process (PEP 578).

This is for keeping honest code honest: code can lie about what it read, and so poison only what is
stored under its own key.  What it could read at all, the kernel bounds.
"""

from __future__ import annotations

import importlib.machinery
import os
import sys
import sysconfig
from collections.abc import Iterable, Sequence
from importlib import metadata
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec

SITES = ("site-packages", "dist-packages")
"""How folders of installed libraries are called."""
_IMPORTER = "<frozen importlib"


class Used(msgspec.Struct):
    """What some code used of what it could read."""

    code: list[str]
    """First-party files that were loaded, opened or looked for, ``ROOT/relative/path``."""
    libraries: list[str]
    """Entries of the library folders, likewise: ``numpy``, ``six.py``, ``six-1.0.dist-info``."""
    missing: list[str]
    """Modules that were looked for in vain.  If one were there, it might do something else."""
    listed: bool
    """Whether it looked at the list of all that is installed."""


class Watch:
    """Notes what is imported, opened and looked for from now on."""

    def __init__(self) -> None:
        self._opened: set[str] = set()
        self._sought: set[str] = set()
        self._listed = False
        sys.meta_path.insert(0, _Recorder(self._sought))
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: Sequence[Any]) -> None:
        if event == "open" and isinstance(arguments[0], (str, bytes)):
            self._opened.add(os.path.abspath(os.fsdecode(arguments[0])))  # noqa: PTH100
        elif event in ("os.listdir", "os.scandir") and isinstance(arguments[0], (str, bytes)):
            # Which modules there are is known by listing, too; the importer lists all the time.
            frame = sys._getframe(1)  # pyright: ignore[reportPrivateUsage]
            asking = frame.f_code.co_filename
            if asking == metadata.__file__:
                self._listed = (
                    True  # Of every folder of modules, the metadata of what is installed.
                )
            elif not asking.startswith(_IMPORTER):
                listed = os.path.abspath(os.fsdecode(arguments[0]))  # noqa: PTH100
                self._opened.add(f"{listed}/")
        elif event == "import":
            self._sought.add(str(arguments[0]))

    def used(self, roots: Sequence[Path]) -> Used:
        """What was used of first-party code, below `roots`, and of the library folders."""
        found = set(self._opened)
        for module in list(sys.modules.values()):
            place = getattr(module, "__file__", None)
            if isinstance(place, str):
                found.add(place)
        missing: set[str] = set()
        for name in sorted(self._sought - set(sys.modules)):
            if name.partition(".")[0] != "assay":
                _looked_for(name, roots, found, missing)
        folders = _library_folders(roots)
        code: set[str] = set()
        libraries: set[str] = set()
        for path in found:
            for root in roots:
                if f"{path}/".startswith(f"{root}/"):
                    code.add(f"{root.name}{path[len(str(root)) :]}")
            for folder in folders:
                if path.startswith(f"{folder}/"):
                    libraries.add(path[len(folder) + 1 :].partition("/")[0])
        # The name of a library folder itself is empty: it was listed.
        sites = [folder for folder in folders if folder.endswith(SITES)]
        listed = self._listed or any(f"{folder}/" in found for folder in sites)
        libraries.discard("")
        return Used(sorted(code), sorted(libraries), sorted(missing), listed)


class _Recorder:
    """Stands first among the importer's finders, finds nothing, and notes what is sought: a name
    that is only looked for (`importlib.util.find_spec`) is never imported."""

    def __init__(self, sought: set[str]) -> None:
        self._sought = sought

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        del path, target
        self._sought.add(name)
        return None


def _library_folders(roots: Iterable[Path]) -> list[str]:
    own = {str(root) for root in roots}
    standard = sysconfig.get_path("stdlib")
    folders = [p for p in sys.path if p not in own and not p.startswith(standard)]
    # Site-packages lies inside of the standard library's folder.
    return folders + [p for p in sys.path if p.endswith(SITES)]


def _looked_for(name: str, roots: Sequence[Path], found: set[str], missing: set[str]) -> None:
    """A module that was sought and is not loaded: it is missing, or there and only looked at."""
    above, _, _ = name.rpartition(".")
    parent = sys.modules.get(above) if above else None
    if above and parent is None:
        return  # Its parent is missing, and noted.
    try:
        spec = PathFinder.find_spec(name, list(parent.__path__) if parent is not None else None)
    except (ImportError, AttributeError, TypeError, ValueError):
        spec = None
    if spec is not None:
        places = [spec.origin] if spec.has_location and spec.origin else []
        found.update(places or list(spec.submodule_search_locations or ()))
    elif parent is None or _is_open(parent, roots):
        missing.add(name)


def _is_open(package: ModuleType, roots: Sequence[Path]) -> bool:
    """Whether a module can be added to a package without changing a distribution's own folder:
    a package of ours, or one that several distributions share."""
    place = getattr(package, "__file__", None)
    return not isinstance(place, str) or any(place.startswith(f"{root}/") for root in roots)


def is_there(name: str, path: Sequence[str]) -> bool:
    """Whether a module could be imported from these folders.  Nothing is imported."""
    places: Sequence[str] | None = path
    parts = name.split(".")
    for count in range(1, len(parts) + 1):
        try:
            found = importlib.machinery.PathFinder.find_spec(".".join(parts[:count]), places)
        except (ImportError, ValueError, KeyError):
            return False
        if found is None:
            return False
        places = list(found.submodule_search_locations or ())
    return True
