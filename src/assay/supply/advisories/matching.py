"""Which advisories a package has: OSV's evaluation, and what could not be evaluated.

Source: https://ossf.github.io/osv-schema/#evaluation.  It departs from that on the safe side only:
events at one version are taken in the order that affects more; a local build (``2.0+cpu``) is also
looked up as what it was built from; and where the specification would pass over what cannot be
compared, the package counts as not looked up.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from assay.supply.advisories import severity as severities
from assay.supply.advisories.database import Database
from assay.supply.advisories.osv import Entry, Range
from assay.supply.advisories.severity import Rating
from assay.supply.advisories.versions import SCHEMES, Key, Scheme

# At one version: a fix that came with the next introduction does not undo it, and the last
# affected version is affected.
_ORDER = {"fixed": 0, "introduced": 1, "last_affected": 2}


class Package(msgspec.Struct, frozen=True):
    """A package as it was named; `version` is empty where nobody said."""

    ecosystem: str
    name: str
    version: str
    purl: str = ""
    """Where it was named by one."""


UNLISTED = Package("", "(what the bill does not list)", "")
"""Stands for the rest of a list of which nobody knows how it goes on."""


class Advisory(msgspec.Struct, frozen=True):
    """One record behind a finding."""

    id: str
    aliases: tuple[str, ...]
    modified: str

    @property
    def names(self) -> frozenset[str]:
        return frozenset({self.id, *self.aliases})


class Finding(msgspec.Struct, frozen=True):
    """One vulnerability of one package, whichever advisories describe it."""

    id: str
    aliases: tuple[str, ...]
    package: Package
    severity: str
    """``critical``, ``high``, ``medium``, ``low`` or ``unrated``."""
    score: float | None
    rated_by: str
    fixed: tuple[str, ...]
    """The first version after this one that each advisory calls fixed."""
    summary: str
    exploited: str
    epss: str
    advisories: tuple[Advisory, ...]
    vex: dict[str, str] | None = None
    """What a trusted VEX statement says of it here."""

    @property
    def answered(self) -> bool:
        return self.vex is not None and self.vex.get("counts") == "no"


class Unmatched(msgspec.Struct, frozen=True):
    """A package that could not be looked up, and why."""

    package: Package
    why: str


class Result(msgspec.Struct, frozen=True):
    """What a database says of some packages."""

    findings: tuple[Finding, ...]
    unmatched: tuple[Unmatched, ...]
    packages: int
    """How many were asked about."""
    listed: int
    """How many of those that were looked up some advisory names, whatever the version."""
    unlisted: int
    """How many no advisory names."""
    ecosystems: tuple[str, ...] = ()
    """Those of the packages asked about."""

    def count(self, severity: str) -> int:
        """Vulnerabilities of a severity that no VEX statement answers."""
        return sum(f.severity == severity and not f.answered for f in self.findings)


def match(database: Database, packages: Iterable[Package]) -> Result:
    """Look every package up once."""
    findings: list[Finding] = []
    unmatched: list[Unmatched] = []
    asked = _distinct(packages)
    listed = unlisted = 0
    for package in asked:
        scheme = SCHEMES.get(package.ecosystem)
        if scheme is None:
            why = "no package URL says which package it is"
            if package.ecosystem:
                why = f"versions of {package.ecosystem} cannot be compared here"
            elif package == UNLISTED:
                why = "the bill says that nobody knows which libraries there are"
            unmatched.append(Unmatched(package, why))
            continue
        why = _cannot(database, package, scheme)
        if why:
            unmatched.append(Unmatched(package, why))
            continue
        entries = [e for e in database.entries(package.ecosystem, package.name) if not e.withdrawn]
        listed += bool(entries)
        unlisted += not entries
        affecting: list[Entry] = []
        undecided: list[str] = []
        for entry in entries:
            match affects(entry, package.version, scheme):
                case True:
                    affecting.append(entry)
                case None:
                    undecided.append(entry.id)
                case False:
                    pass
        findings += [_finding(package, group, scheme) for group in _groups(affecting)]
        # What another advisory found already needs no second look.
        named = {name for entry in affecting for name in (entry.id, *entry.aliases)}
        if left := [i for i in undecided if i not in named]:
            names = f"{', '.join(left[:3])}{f' and {len(left) - 3} more' if len(left) > 3 else ''}"
            why = f"which versions are affected cannot be told from {names}"
            unmatched.append(Unmatched(package, why))
    findings.sort(key=_order)
    ecosystems = sorted({package.ecosystem for package in asked} - {""})
    return Result(
        tuple(findings), tuple(unmatched), len(asked), listed, unlisted, tuple(ecosystems)
    )


def _distinct(packages: Iterable[Package]) -> list[Package]:
    found: dict[tuple[str, str, str], Package] = {}
    for package in packages:
        scheme = SCHEMES.get(package.ecosystem)
        name = scheme.name(package.name) if scheme else package.name
        found.setdefault((package.ecosystem, name, package.version), package)
    return [found[key] for key in sorted(found)]


def _cannot(database: Database, package: Package, scheme: Scheme) -> str:
    """Why a package cannot be looked up; empty when it can."""
    if not database.holds(package.ecosystem):
        return f"the database has no advisories of {package.ecosystem}"
    if not package.name:
        return "it has no name"
    if not package.version:
        return "its version is not known"
    if not scheme.keys(package.version):
        return f"{package.version[:40]!r} is no version of {package.ecosystem}"
    return ""


def affects(entry: Entry, version: str, scheme: Scheme) -> bool | None:
    """Whether an advisory is about a version; None when that cannot be told."""
    keys = scheme.keys(version)
    if version in entry.versions:
        return True
    listed = [scheme.version(text) for text in entry.versions]
    if any(key == other for key in keys for other in listed if other is not None):
        return True
    decided: list[bool | None] = [
        _in_range(found, keys, scheme) for found in entry.ranges if found.type != "GIT"
    ]
    if any(decided):
        return True
    if None in decided or not (decided or entry.versions):
        return None
    return False


def _in_range(found: Range, keys: Sequence[Key], scheme: Scheme) -> bool | None:
    events: list[tuple[Key | None, str]] = []
    limits: list[Key | None] = []
    for kind, text in found.events:
        lowest = kind == "introduced" and text == "0"
        endless = kind == "limit" and text == "*"
        key = None if lowest or endless else scheme.bound(text)
        if key is None and not lowest and not endless:
            return None
        if kind == "limit":
            limits.append(key)
        else:
            events.append((key, kind))
    if not events:
        return None
    # ``0`` comes before every version, pre-releases included.
    events.sort(key=lambda event: _ORDER[event[1]])
    first = [event for event in events if event[0] is None]
    rest = [event for event in events if event[0] is not None]
    rest.sort(key=_version_of)
    return any(_included(key, [*first, *rest]) and _before(key, limits) for key in keys)


def _version_of(event: tuple[Key, str]) -> Key:
    return event[0]


def _included(version: Key, events: Sequence[tuple[Key | None, str]]) -> bool:
    affected = False
    for at, kind in events:
        if kind == "introduced" and (at is None or version >= at):
            affected = True
        elif (kind == "fixed" and version >= at) or (kind == "last_affected" and version > at):
            affected = False
    return affected


def _before(version: Key, limits: Sequence[Key | None]) -> bool:
    return not limits or any(limit is None or version < limit for limit in limits)


# -- one vulnerability, several advisories --------------------------------------------------------


def _groups(entries: Sequence[Entry]) -> list[list[Entry]]:
    """Advisories that share an id or an alias describe one vulnerability."""
    groups: list[tuple[set[str], list[Entry]]] = []
    for entry in entries:
        names = {entry.id, *entry.aliases}
        group = [entry]
        apart: list[tuple[set[str], list[Entry]]] = []
        for other, members in groups:
            if names & other:
                names |= other
                group = [*members, *group]
            else:
                apart.append((other, members))
        groups = [*apart, (names, group)]
    return [members for _, members in groups]


def _finding(package: Package, group: Sequence[Entry], scheme: Scheme) -> Finding:
    first = min(group, key=lambda entry: (_preferred(entry.id), entry.id))
    rating = max((severities.rate(entry) for entry in group), key=Rating.rank)
    names = {name for entry in group for name in (entry.id, *entry.aliases)}
    by_id = {entry.id: entry for entry in group}
    return Finding(
        id=first.id,
        aliases=tuple(sorted(names - {first.id})),
        package=package,
        severity=rating.severity,
        score=rating.score,
        rated_by=rating.by,
        fixed=_fixed(group, package.version, scheme),
        summary=first.summary or next((e.summary for e in group if e.summary), ""),
        exploited=next((e.exploited for e in group if e.exploited), ""),
        epss=max(e.epss for e in group),
        advisories=tuple(
            Advisory(entry.id, tuple(entry.aliases), entry.modified)
            for _, entry in sorted(by_id.items())
        ),
    )


def _preferred(name: str) -> int:
    return next((n for n, p in enumerate(("MAL-", "GHSA-", "PYSEC-")) if name.startswith(p)), 9)


def _fixed(group: Sequence[Entry], version: str, scheme: Scheme) -> tuple[str, ...]:
    """For each advisory the first fix after `version`, sorted."""
    (key, *_) = scheme.keys(version)
    found: dict[str, Key] = {}
    for entry in group:
        later = [
            (at, text)
            for told in entry.ranges
            for kind, text in told.events
            if kind == "fixed" and (at := scheme.bound(text)) is not None and at > key
        ]
        if later:
            at, text = min(later, key=lambda pair: pair[0])
            found[text] = at
    return tuple(sorted(found, key=lambda text: found[text]))


def _order(finding: Finding) -> tuple[int, str, str, str]:
    package = finding.package
    return (-severities.RANKS[finding.severity], package.name, package.version, finding.id)
