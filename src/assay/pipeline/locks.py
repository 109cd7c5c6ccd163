"""Lock files: which version of each distribution a project wants.

Read as data: ``uv.lock``, ``pylock.toml`` (PEP 751), ``poetry.lock`` and ``requirements*.txt``.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from assay import files
from assay.errors import NotFound, Usage

_MOST_BYTES = 64 << 20
_LOCKS = ("uv.lock", "pylock.toml", "poetry.lock")


@dataclass(frozen=True, slots=True)
class Lock:
    """What one lock file, or the requirement files of one folder, say."""

    shown: str
    versions: dict[str, frozenset[str]]
    """Normalised name → the versions it may have (one for each kind of machine)."""
    whole: bool
    """Whether it names everything that should be installed."""

    def problem(self, name: str, version: str) -> str:
        """What is wrong about `version` of `name` being installed; empty when nothing is."""
        wanted = self.versions.get(name)
        if wanted is None:
            missing = f"{name} {version} is installed, {self.shown} does not name it"
            return missing if self.whole else ""
        if any(self._same(version, other) for other in wanted):
            return ""
        return f"{name} {version} is installed, {self.shown} says {' or '.join(sorted(wanted))}"

    def _same(self, installed: str, wanted: str) -> bool:
        try:
            have, want = Version(installed), Version(wanted)
        except InvalidVersion:
            return installed == wanted
        # A requirement of 2.0 is met by 2.0+cpu (PEP 440); a lock names the very build.
        loose = not self.whole and want.local is None and have.public == want.public
        return have == want or loose


def find(folder: Path) -> Lock | None:
    """The nearest lock at or above `folder`, no further up than its repository."""
    folder = folder.absolute()
    above = [folder, *folder.parents]
    tops = [number for number, place in enumerate(above) if (place / ".git").exists()]
    for place in above[: tops[0] + 1 if tops else 1]:
        for name in _LOCKS:
            if (place / name).is_file():
                return _toml(place / name)
        requirements = sorted(place.glob("requirements*.txt"))
        pins = _pins(requirements)
        if pins:
            shown = ", ".join(path.name for path in requirements)
            return Lock(shown, pins, whole=False)
    return None


def _read(path: Path) -> str:
    try:
        return files.read(path, limit=_MOST_BYTES, what="lock file").decode("utf-8")
    except (UnicodeDecodeError, NotFound) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> Usage:
    return Usage(
        f"cannot read the lock file {path}: {error}",
        remedy="write it again (`uv lock`, `poetry lock`)",
        code="pipeline.lock",
    )


def _toml(path: Path) -> Lock:
    try:
        told = tomllib.loads(_read(path))
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise _unreadable(path, error) from error
    packages: Any = told.get("packages" if path.name == "pylock.toml" else "package", [])
    pairs: list[tuple[str, str]] = []
    try:
        for package in packages:
            # A folder of the project itself may have no version.
            if "version" in package:
                pairs.append((package["name"], package["version"]))
    except (TypeError, KeyError, AttributeError) as error:
        raise _unreadable(path, error) from error
    if not all(isinstance(text, str) for pair in pairs for text in cast("list[Any]", pair)):
        raise _unreadable(path, TypeError("a name or version is no text"))
    return Lock(path.name, _collect(pairs), whole=True)


def _collect(pairs: Iterable[tuple[str, str]]) -> dict[str, frozenset[str]]:
    found: dict[str, set[str]] = {}
    for name, version in pairs:
        found.setdefault(canonicalize_name(name), set()).add(version)
    return {name: frozenset(versions) for name, versions in found.items()}


def _pins(paths: Iterable[Path]) -> dict[str, frozenset[str]]:
    """The lines that pin one exact version; others say nothing that could be checked."""
    pairs: list[tuple[str, str]] = []
    for path in paths:
        for line in re.sub(r"\\\r?\n", " ", _read(path)).splitlines():
            text = re.sub(r"(^|\s)#.*", "", line).partition(" --")[0].strip()
            if not text or text.startswith("-"):
                continue
            try:
                wanted = Requirement(text)
            except InvalidRequirement:
                continue
            pins = [each for each in wanted.specifier if each.operator in ("==", "===")]
            exact = len(pins) == 1 and not pins[0].version.endswith(".*")
            if exact and (wanted.marker is None or wanted.marker.evaluate()):
                pairs.append((wanted.name, pins[0].version))
    return _collect(pairs)
