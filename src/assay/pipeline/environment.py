"""The environment of a step: Python, and the installed distributions that its code can bring in,
each verified against what it was installed with.

Two things are left to whoever runs the code.  Python must not take compiled files from the
``__pycache__`` folders of libraries: a planted one would run instead of the source that was
verified (see `assay.pipeline.bytecode`).  And code that loads a library which is not in
`Environment.covers` depends on more than this says.
"""

from __future__ import annotations

import hashlib
import platform
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

import msgspec
from packaging.markers import default_environment
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from assay import __version__, canonical, errors
from assay.isolation.paths import search_path
from assay.pipeline import installed, locks
from assay.pipeline.imports import is_standard
from assay.pipeline.installed import Distribution
from assay.pipeline.verified import FORMAT, Checker, Memo, remembered
from assay.types import Digest

__all__ = ["Environment", "Memo", "State", "environment", "library_folders"]

State = Literal["locked", "verified", "altered"]

# What assay itself loads inside a confined process, besides what a step's values ask for.  The last
# msgspec takes where it is installed.
_OWN_LIBRARIES = ("msgspec", "rfc8785", "uuid6", "typing-extensions")
_SITES = ("site-packages", "dist-packages")


@dataclass(frozen=True, slots=True)
class Environment:
    """Python and the libraries that some code depends on, as they were found."""

    state: State
    """``locked``: as verified, and at the locked versions; ``verified``: each file is the one it
    was installed with; ``altered``: not so, see `problems`."""
    python: str
    platform: str
    distributions: dict[str, str]
    """Name → ``version sha256:…``, the digest of its files."""
    problems: tuple[str, ...]
    digest: Digest
    covers: frozenset[str] = frozenset()
    """The entries of the library folders that were verified: ``numpy``, ``numpy.libs``."""


class _Needed(msgspec.Struct, frozen=True):
    """A distribution to verify, with the metadata folders of those that share its folders."""

    distribution: Distribution
    beside: list[str]


class _Plan(msgspec.Struct, frozen=True):
    """What some imports come to, among what is installed."""

    needed: list[_Needed]
    unowned: list[str]
    """Imports that no distribution provides; mostly of libraries that are not installed."""
    problems: list[str]


def environment(
    imports: Sequence[str],
    *,
    memo: Memo,
    folder: Path,
    sites: Sequence[Path] | None = None,
    now: Callable[[], int] = time.time_ns,
    checker: Checker | None = None,
) -> Environment:
    """What code that imports these top-level names depends on, besides itself.

    `folder` is where a lock file is looked for, `sites` the library folders (this interpreter's).
    Environments that are taken at one moment can share a `checker`, which looks at each file once.
    Raises `Conflict` when the libraries change meanwhile, `Usage` for a lock that cannot be read.
    """
    places = tuple(sites) if sites is not None else library_folders()
    python = f"{sys.implementation.name}-{platform.python_version()}"
    tag = sysconfig.get_platform()
    checker = checker or Checker(memo, now)
    plan = _plan(sorted(set(imports)), places, memo, python)
    lock = locks.find(folder)
    problems = list(plan.problems)
    found: dict[str, str] = {}
    covers: set[str] = set()
    locked = lock is not None
    for needed in plan.needed:
        known = needed.distribution
        checked = checker.distribution(known, needed.beside)
        name = known.name if known.name not in found else f"{known.name} ({known.info})"
        found[name] = f"{known.version} {checked.digest}"
        problems += checked.problems
        covers.update(known.entries)
        if lock is not None:
            locked = locked and known.name in lock.versions
            if problem := lock.problem(known.name, known.version):
                problems.append(problem)
    for site, entry in _loose(plan.unowned, places):
        found[f"{entry} (of no distribution)"] = f"unknown {checker.tree(str(site), entry)}"
        problems.append(f"{site / entry} belongs to no installed distribution")
        covers.add(entry)
    own = _own_folder(places)
    if own is not None:
        found["assay"] = f"{__version__} {checker.tree(str(own.parent), own.name)}"
        covers.add("assay")
    found = dict(sorted(found.items()))
    whole = {"format": FORMAT, "python": python, "platform": tag, "distributions": found}
    return Environment(
        "altered" if problems else "locked" if locked else "verified",
        python,
        tag,
        found,
        tuple(problems),
        canonical.digest(canonical.encode(whole)),
        frozenset(covers),
    )


def library_folders() -> tuple[Path, ...]:
    """Where this interpreter's installed libraries lie, in search order."""
    return tuple(Path(entry) for entry in search_path() if Path(entry).name in _SITES)


def _own_folder(sites: Sequence[Path]) -> Path | None:
    """Where assay's own code lies, if not in a library folder: an editable installation."""
    own = Path(errors.__file__).resolve().parent
    return None if any(own.is_relative_to(site.resolve()) for site in sites) else own


def _loose(names: Sequence[str], sites: Sequence[Path]) -> Iterator[tuple[Path, str]]:
    """Modules in the library folders that no distribution owns."""
    wanted = set(names)
    for site in sites if wanted else ():
        for entry in sorted(installed.names(site)):
            if installed.import_name(entry) in wanted:
                yield site, entry


def _plan(imports: Sequence[str], sites: Sequence[Path], memo: Memo, python: str) -> _Plan:
    """The distributions behind `imports` and all that they require."""
    signature, found = installed.listing(sites)
    told = "\n".join([python, signature, *_OWN_LIBRARIES, "", *imports])
    asked = hashlib.sha256(told.encode()).hexdigest()
    key = f"{FORMAT}/plan/{asked}"
    kept = remembered(memo, key, _Plan)
    if kept is None:
        kept = _Planner(installed.distributions(found)).plan(imports)
        memo.put(key, msgspec.msgpack.encode(kept))
    return kept


class _Planner:
    """Finds the distributions behind imports."""

    def __init__(self, known: Sequence[Distribution]) -> None:
        self._owners = installed.owners(known)
        self._named: dict[str, list[Distribution]] = {}
        for distribution in known:
            self._named.setdefault(distribution.name, []).append(distribution)
        self._providers: dict[str, list[Distribution]] = {}
        for (_, entry), owners in self._owners.items():
            if (name := installed.import_name(entry)) is not None:
                self._providers.setdefault(name, []).extend(owners)
        self._markers = cast("dict[str, str]", default_environment())

    def plan(self, imports: Sequence[str]) -> _Plan:
        waiting: list[tuple[Distribution, str]] = []
        unowned: list[str] = []
        problems: list[str] = []
        for name in imports:
            providers = self._providers.get(name, [])
            if not providers and not is_standard(name) and name != "assay":
                unowned.append(name)
                if (known := self._editable(name)) is not None:
                    problems.append(
                        f"{known.name} {known.version} is installed editable by an import hook, "
                        "which a confined process does not have"
                    )
            waiting += [(provider, "") for provider in providers]
        for name in ("assay", *_OWN_LIBRARIES):
            waiting += [(known, "") for known in self._named.get(name, [])]
        reached = self._reach(waiting)
        needed = [_Needed(known, self._beside(known)) for known in reached if not known.editable]
        for known in reached:
            twice = [other.info for other in self._named[known.name] if other.site == known.site]
            if len(twice) > 1 and known.info == twice[0]:
                problems.append(f"{known.name} is installed twice: {' and '.join(twice)}")
        return _Plan(needed, unowned, problems)

    def _editable(self, name: str) -> Distribution | None:
        named = self._named.get(canonicalize_name(name), [])
        return next((known for known in named if known.editable), None)

    def _reach(self, waiting: list[tuple[Distribution, str]]) -> list[Distribution]:
        """What these require, extras included, and whatever shares a folder with one of them."""
        done: set[tuple[str, str, str]] = set()
        reached: dict[tuple[str, str], Distribution] = {}
        while waiting:
            known, extra = waiting.pop()
            if (known.site, known.info, extra) in done:
                continue
            done.add((known.site, known.info, extra))
            reached[known.site, known.info] = known
            for entry in known.entries:
                waiting += [(other, "") for other in self._owners[known.site, entry]]
            # What assay requires is for its driver.
            for text in known.requires if known.name != "assay" else ():
                waiting += self._required(text, extra)
        return sorted(reached.values(), key=lambda known: (known.name, known.site, known.info))

    def _required(self, text: str, extra: str) -> Iterator[tuple[Distribution, str]]:
        try:
            wanted = Requirement(text)
            if wanted.marker and not wanted.marker.evaluate({**self._markers, "extra": extra}):
                return
        except InvalidRequirement:
            return
        for known in self._named.get(canonicalize_name(wanted.name), []):
            yield known, ""
            for name in wanted.extras:
                yield known, name

    def _beside(self, known: Distribution) -> list[str]:
        """The metadata folders of those that share a folder with it."""
        infos = {other.info for entry in known.entries for other in self._owners[known.site, entry]}
        return sorted(infos - {known.info})
