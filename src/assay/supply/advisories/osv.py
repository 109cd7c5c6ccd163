"""Records of the OSV schema, read strictly.

Source: https://ossf.github.io/osv-schema/.  Fields that the schema may gain are ignored, as it
asks; a field of the wrong type, or a record of another major version, refuses the whole dump: half
a dump would call safe what the other half warns of.  A range that says nothing sensible is kept as
*undecidable* instead, and a package it names then counts as not looked up.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, TypeAlias, cast

import msgspec

from assay.clock import timestamp
from assay.errors import Usage

SCHEMA_MAJOR = "1"
_LONGEST = {"id": 128, "name": 512, "version": 256, "vector": 512, "summary": 240}
_MOST_ALIASES = 1_000
_RATINGS = {
    "critical": "critical",
    "high": "high",
    "moderate": "medium",
    "medium": "medium",
    "low": "low",
}
_KINDS = ("introduced", "fixed", "last_affected", "limit")

Event: TypeAlias = tuple[str, str]
"""What happens (``introduced``, ``fixed``, ``last_affected``, ``limit``), and at which version."""


class Severity(msgspec.Struct, frozen=True, array_like=True):
    """A kind of score (``CVSS_V3``) and its vector."""

    type: str
    score: str


class Range(msgspec.Struct, frozen=True, array_like=True):
    """One range of versions; without events it cannot be decided."""

    type: str
    events: list[Event]


class Entry(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What one advisory says of one package."""

    id: str
    aliases: list[str]
    modified: str
    withdrawn: str
    """When it was taken back; empty while it stands."""
    summary: str
    severity: list[Severity]
    rated: str
    """What the publisher calls the severity, where there is no score: ``high``; or empty."""
    ranges: list[Range]
    versions: list[str]
    exploited: str
    """Since when, or whether (``yes``), it is known to be exploited; empty where nothing says so.
    OSV has no field for it: read from ``database_specific``."""
    epss: str
    """The probability that it will be, as FIRST's EPSS gives it; empty where nothing says."""


class _Severity(msgspec.Struct):
    type: str
    score: str


class _Event(msgspec.Struct):
    introduced: str | None = None
    fixed: str | None = None
    last_affected: str | None = None
    limit: str | None = None


class _Range(msgspec.Struct):
    type: str
    events: list[_Event] = []


class _Package(msgspec.Struct):
    ecosystem: str
    name: str


class _Affected(msgspec.Struct):
    package: _Package | None = None
    severity: list[_Severity] | None = None
    ranges: list[_Range] | None = None
    versions: list[str] | None = None
    database_specific: dict[str, Any] | None = None


class Record(msgspec.Struct):
    """The fields of a record that count here."""

    id: str
    modified: datetime
    schema_version: str = "1.0.0"
    withdrawn: datetime | None = None
    aliases: list[str] | None = None
    summary: str | None = None
    severity: list[_Severity] | None = None
    affected: list[_Affected] | None = None
    database_specific: dict[str, Any] | None = None


_DECODER = msgspec.json.Decoder(Record)


def decode(data: bytes | msgspec.Raw, where: str) -> Record:
    """One record; `where` names it in the `Usage` that anything else raises."""
    try:
        record = _DECODER.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise wrong(where, str(error)) from error
    if record.schema_version.partition(".")[0] != SCHEMA_MAJOR:
        raise wrong(where, f"schema_version {record.schema_version[:40]!r} is not 1.x")
    _text(record.id, "id", where)
    if len(record.aliases or ()) > _MOST_ALIASES:
        raise wrong(where, f"more than {_MOST_ALIASES} aliases")
    for alias in record.aliases or ():
        _text(alias, "id", where)
    for at in (record.modified, record.withdrawn):
        if at is not None and at.tzinfo is None:
            raise wrong(where, "a time without a timezone")
    return record


def entries(record: Record, where: str) -> list[tuple[str, str, Entry]]:
    """(ecosystem, name, what is said) for each package that a record is about."""
    specific = record.database_specific or {}
    found: list[tuple[str, str, Entry]] = []
    for affected in record.affected or ():
        if affected.package is None:
            continue  # About a repository: nothing that a package could be looked up by.
        _text(affected.package.ecosystem, "name", where)
        _text(affected.package.name, "name", where)
        for version in affected.versions or ():
            _text(version, "version", where)
        own = affected.database_specific or {}
        entry = Entry(
            id=record.id,
            aliases=sorted(set(record.aliases or ()) - {record.id}),
            modified=_time(record.modified, where),
            withdrawn=_time(record.withdrawn, where) if record.withdrawn else "",
            summary=" ".join((record.summary or "").split())[: _LONGEST["summary"]],
            severity=_severity(affected.severity or record.severity or (), where),
            rated=_rated(own) or _rated(specific),
            ranges=[_range(found, where) for found in affected.ranges or ()],
            versions=sorted(set(affected.versions or ())),
            exploited=_exploited(own) or _exploited(specific),
            epss=_epss(own) or _epss(specific),
        )
        found.append((affected.package.ecosystem, affected.package.name, entry))
    return found


def _time(at: datetime, where: str) -> str:
    try:
        return timestamp(at)
    except (OverflowError, ValueError) as error:
        raise wrong(where, "a time beyond the calendar") from error


def _range(given: _Range, where: str) -> Range:
    events: list[Event] = []
    if given.type not in ("SEMVER", "ECOSYSTEM"):
        return Range(given.type[:40], [])  # Commits: no version can be compared with them.
    for event in given.events:
        told = [(kind, value) for kind in _KINDS if (value := getattr(event, kind)) is not None]
        if len(told) != 1:
            return Range(given.type, [])
        _text(told[0][1], "version", where)
        events.append(told[0])
    if not any(kind == "introduced" for kind, _ in events):
        return Range(given.type, [])
    return Range(given.type, events)


def _severity(given: list[_Severity] | tuple[()], where: str) -> list[Severity]:
    for severity in given:
        _text(severity.score, "vector", where)
    return [Severity(severity.type[:40], severity.score) for severity in given]


def _rated(specific: dict[str, Any]) -> str:
    told = specific.get("severity")
    return _RATINGS.get(told.lower(), "") if isinstance(told, str) else ""


def _exploited(specific: dict[str, Any]) -> str:
    for key in ("kev", "cisa_kev", "known_exploited"):
        match specific.get(key):
            case True:
                return "yes"
            case str(since) if since:
                return since[:40]
            case dict(told):
                since = cast("dict[str, Any]", told).get("date_added")
                return since[:40] if isinstance(since, str) and since else "yes"
            case _:
                pass
    return ""


def _epss(specific: dict[str, Any]) -> str:
    told = specific.get("epss")
    if isinstance(told, dict):
        given = cast("dict[str, Any]", told)
        told = given.get("score", given.get("probability"))
    try:
        value = float(told) if isinstance(told, (int, float, str)) else -1.0
    except (ValueError, OverflowError):
        return ""
    return f"{value:.5f}" if 0 <= value <= 1 else ""


def _text(text: str, kind: str, where: str) -> None:
    if not text or len(text) > _LONGEST[kind] or not text.isprintable() or text != text.strip():
        raise wrong(where, f"{text[:60]!r} is no {kind}")


def wrong(where: str, why: str) -> Usage:
    return Usage(
        f"{where[:200]}: not a record of the OSV schema: {why[:300]}",
        remedy="get the dump again; one that is partly unreadable is not imported at all",
        code="advisories.record",
    )
