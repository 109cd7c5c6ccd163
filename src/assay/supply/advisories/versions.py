"""How the versions of an ecosystem compare.

PyPI by PEP 440, npm and crates.io by Semantic Versioning 2.0.0.  Of any other ecosystem nothing is
compared: a package of it is not looked up, and counted as such.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import Any, TypeAlias

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

Key: TypeAlias = Any
"""Compares with every other key of the same ecosystem."""

_SEMVER = re.compile(
    r"(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)"
    r"(?:-((?:0|[1-9][0-9]*|[0-9]*[A-Za-z-][0-9A-Za-z-]*)"
    r"(?:\.(?:0|[1-9][0-9]*|[0-9]*[A-Za-z-][0-9A-Za-z-]*))*))?"
    r"(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?"
)
_SHORT = re.compile(r"v?([0-9]+(?:\.[0-9]+)?)")
_LONGEST = 256


@functools.lru_cache(maxsize=1 << 16)
def pep440(text: str) -> Key | None:
    """None for what PEP 440 does not know."""
    try:
        return Version(text) if len(text) <= _LONGEST else None
    except (InvalidVersion, ValueError):
        return None


@functools.lru_cache(maxsize=1 << 16)
def semver(text: str) -> Key | None:
    """None for what is no semantic version; build metadata does not count."""
    found = _SEMVER.fullmatch(text) if len(text) <= _LONGEST else None
    if found is None:
        return None
    numbers = (int(found[1]), int(found[2]), int(found[3]))
    if found[4] is None:
        return (*numbers, 1, ())
    # Numbers come before words; a version with fewer parts before one that goes on.
    parts = tuple((0, int(p), "") if p.isdigit() else (1, 0, p) for p in found[4].split("."))
    return (*numbers, 0, parts)


def _bound(text: str) -> Key | None:
    """A bound of a range: ``1`` and ``1.2`` stand for ``1.0.0`` and ``1.2.0`` in many records."""
    text = text.removeprefix("v")
    short = _SHORT.fullmatch(text)
    return semver(short[1] + ".0" * (2 - short[1].count("."))) if short else semver(text)


def _pypi_name(name: str) -> str:
    return canonicalize_name(name)


def _crate_name(name: str) -> str:
    return name.lower().replace("_", "-")


def _same(name: str) -> str:
    return name


class Scheme:
    """An ecosystem whose versions can be compared."""

    def __init__(
        self,
        name: Callable[[str], str],
        version: Callable[[str], Key | None],
        bound: Callable[[str], Key | None],
    ) -> None:
        self.name = name
        """A name in the one spelling that it is filed under."""
        self.version = version
        self.bound = bound

    def keys(self, text: str) -> list[Key]:
        """The versions to look up for `text`; none where it is no version.

        ``2.0.0+cpu`` is also ``2.0.0``: who builds a library again rarely mends it, and by PEP 440
        alone a local build of the last affected version would come after it.
        """
        key = self.version(text)
        if key is None:
            return []
        if isinstance(key, Version) and key.local is not None:
            return [key, Version(key.public)]
        return [key]


SCHEMES: dict[str, Scheme] = {
    "PyPI": Scheme(_pypi_name, pep440, pep440),
    "npm": Scheme(_same, semver, _bound),
    "crates.io": Scheme(_crate_name, semver, _bound),
}

PURL_TYPES = {
    "pypi": "PyPI",
    "npm": "npm",
    "cargo": "crates.io",
    "golang": "Go",
    "maven": "Maven",
    "gem": "RubyGems",
    "nuget": "NuGet",
    "composer": "Packagist",
    "hex": "Hex",
    "pub": "Pub",
    "cran": "CRAN",
    "conan": "ConanCenter",
    "swift": "SwiftURL",
    "hackage": "Hackage",
    "huggingface": "Hugging Face",
}
"""What a package URL calls an ecosystem, and what OSV calls it."""


def filed_as(ecosystem: str, name: str) -> str:
    """The name under which a package is filed."""
    scheme = SCHEMES.get(ecosystem)
    return scheme.name(name) if scheme else name
