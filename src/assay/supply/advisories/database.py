"""The advisories of a dump in one file, found by ecosystem and name.

``assay/advisories/v1`` is one MessagePack document.  It depends on the records alone, not on how
they were packed or in which order they came, so that the same dump has the same digest everywhere.
What is said of one package is decoded only when that package is looked up.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from assay import canonical, files
from assay.clock import SystemClock, parse_timestamp, timestamp
from assay.errors import AssayError, Corrupt, Usage
from assay.supply.advisories import osv, sources
from assay.supply.advisories.osv import Entry
from assay.supply.advisories.versions import filed_as
from assay.types import Digest

FORMAT = "assay/advisories/v1"
LIMIT = 1 << 30
"""Bytes of a database."""
_AHEAD = timedelta(days=1)
"""How far in the future a record may have been changed: clocks differ, years do not."""
_SHRUNK = 0.9


class _Document(msgspec.Struct, forbid_unknown_fields=True):
    format: str
    modified: str
    records: int
    withdrawn: int
    ecosystems: dict[str, int]
    packages: dict[str, dict[str, msgspec.Raw]]


_ENTRIES = msgspec.msgpack.Decoder(list[Entry])


class Database:
    """Advisories by package.  `digest` is that of its bytes."""

    def __init__(self, document: _Document, digest: Digest, size: int) -> None:
        self._document = document
        self.digest = digest
        self.size = size

    @classmethod
    def decode(cls, data: bytes) -> Database:
        """A database from its bytes; `Corrupt` for anything else."""
        try:
            document = msgspec.msgpack.decode(data, type=_Document)
            parse_timestamp(document.modified)
        except (msgspec.MsgspecError, RecursionError, AssayError, UnicodeDecodeError) as error:
            raise _corrupt(str(error)) from error
        if document.format != FORMAT:
            raise _corrupt(f"its format is {document.format[:60]!r}, not {FORMAT}")
        if document.records < 1:
            raise _corrupt("it has no records")
        return cls(document, canonical.digest(data), len(data))

    @classmethod
    def open(cls, path: Path) -> Database:
        """A database from a file that a user names."""
        with files.open_input(path, what="database") as stream:
            data = stream.read(LIMIT + 1)
        if len(data) > LIMIT:
            raise _corrupt(f"it is larger than {LIMIT >> 20} MiB")
        return cls.decode(data)

    @property
    def modified(self) -> str:
        """When the newest record was changed."""
        return self._document.modified

    @property
    def records(self) -> int:
        """How many records there are, withdrawn ones included."""
        return self._document.records

    @property
    def withdrawn(self) -> int:
        return self._document.withdrawn

    @property
    def ecosystems(self) -> dict[str, int]:
        """Records that stand, for each ecosystem that has any."""
        return self._document.ecosystems

    def holds(self, ecosystem: str) -> bool:
        """Whether anything can be said of this ecosystem's packages."""
        return self.ecosystems.get(ecosystem, 0) > 0

    def entries(self, ecosystem: str, name: str) -> list[Entry]:
        """All that is said of a package, withdrawn records included."""
        raw = self._document.packages.get(ecosystem, {}).get(filed_as(ecosystem, name))
        if raw is None:
            return []
        try:
            return _ENTRIES.decode(raw)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise _corrupt(f"the entries of {name[:80]}: {error}") from error

    def about(self) -> dict[str, Any]:
        """What every result says of the database it was made with."""
        return {"digest": self.digest, "modified": self.modified, "records": self.records}

    def described(self) -> dict[str, Any]:
        """`about`, and how many records it has of what."""
        return {**self.about(), "withdrawn": self.withdrawn, "ecosystems": dict(self.ecosystems)}

    def age_days(self, now: datetime) -> int:
        """Whole days since the newest change."""
        return max(0, (now - parse_timestamp(self.modified)).days)


def build(found: Iterable[osv.Record], *, now: datetime) -> bytes:
    """The bytes of a database; raises `Usage` for records that contradict each other, that come
    from the future, or that are none."""
    packages: dict[str, dict[str, dict[str, list[Entry]]]] = {}
    seen: dict[str, tuple[datetime, bytes]] = {}
    for record in found:
        said = msgspec.msgpack.encode(record)
        held = seen.get(record.id)
        if held is not None:
            if held[0] == record.modified and held[1] != said:
                raise Usage(
                    f"{record.id} is there twice, and differs though it was changed at one time",
                    remedy="import one dump at a time",
                    code="advisories.twice",
                )
            if held[0] >= record.modified:
                continue
        latest = max(record.modified, record.withdrawn or record.modified)
        if latest > now + _AHEAD:
            raise Usage(
                f"{record.id} was changed on {latest:%Y-%m-%d}, which is in the future",
                remedy="correct the clock, or get the dump again: this one looks too fresh",
                code="advisories.future",
            )
        seen[record.id] = (record.modified, said)
        _forget(packages, record.id) if held is not None else None
        for ecosystem, name, entry in osv.entries(record, record.id):
            filed = packages.setdefault(ecosystem, {}).setdefault(filed_as(ecosystem, name), {})
            filed.setdefault(record.id, []).append(entry)
    if not seen:
        raise Usage(
            "there is no advisory in it",
            remedy="give a folder or zip of OSV records (JSON)",
            code="advisories.empty",
        )
    return msgspec.msgpack.encode(_document(packages, seen))


def _forget(packages: dict[str, dict[str, dict[str, list[Entry]]]], name: str) -> None:
    """An older edition of a record may have named other packages."""
    for names in packages.values():
        for filed in names.values():
            filed.pop(name, None)


def _document(
    packages: dict[str, dict[str, dict[str, list[Entry]]]],
    seen: dict[str, tuple[datetime, bytes]],
) -> _Document:
    standing: dict[str, set[str]] = {}
    withdrawn: set[str] = set()
    written: dict[str, dict[str, msgspec.Raw]] = {}
    for ecosystem in sorted(packages):
        for name in sorted(packages[ecosystem]):
            held = packages[ecosystem][name]
            told = [
                entry
                for record in sorted(held)
                for entry in sorted(held[record], key=msgspec.msgpack.encode)
            ]
            for entry in told:
                if entry.withdrawn:
                    withdrawn.add(entry.id)
                else:
                    standing.setdefault(ecosystem, set()).add(entry.id)
            if told:
                raw = msgspec.Raw(msgspec.msgpack.encode(told))
                written.setdefault(ecosystem, {})[name] = raw
    return _Document(
        format=FORMAT,
        modified=timestamp(max(at for at, _ in seen.values())),
        records=len(seen),
        withdrawn=len(withdrawn),
        ecosystems={ecosystem: len(ids) for ecosystem, ids in sorted(standing.items())},
        packages=written,
    )


def import_dump(source: Path, into: Path, *, now: datetime | None = None) -> Database:
    """Read a dump of OSV records and write it as a database to `into`."""
    data = build(sources.records(source), now=now or SystemClock().now())
    if len(data) > LIMIT:
        raise Usage(
            f"the advisories take {len(data) >> 20} MiB, and {LIMIT >> 20} MiB is the most",
            remedy="import the ecosystems that you use",
            code="advisories.size",
        )
    files.write(into, data)
    return Database.decode(data)


def import_confined(payload: bytes) -> bytes:
    """Build a database from ``{"source": path, "now": time}``: the form for `isolation.run`."""
    asked = msgspec.json.decode(payload, type=dict[str, str])
    now = parse_timestamp(asked["now"])
    return build(sources.records(Path(asked["source"])), now=now)


def check_newer(held: dict[str, Any], made: Database) -> None:
    """Raise `Usage` where a database would know less than the one it replaces.

    `held` is what `Database.described` said of that one.
    """
    if parse_timestamp(made.modified) < parse_timestamp(str(held["modified"])):
        raise _less(f"it is of {made.modified}, and the one in use of {held['modified']}")
    for ecosystem, count in held["ecosystems"].items():
        have = made.ecosystems.get(ecosystem, 0)
        if have < count * _SHRUNK:
            raise _less(f"it has {have:,} records of {ecosystem}, and the one in use {count:,}")


def _less(why: str) -> Usage:
    return Usage(
        f"these advisories know less than those in use: {why}",
        remedy="get a newer and whole dump; if this one is right, add --replace",
        code="advisories.less",
    )


def _corrupt(why: str) -> Corrupt:
    return Corrupt(
        f"the database of advisories cannot be read: {why[:300]}",
        remedy="import the dump again: assay vulns import PATH",
        code="advisories.database",
    )
