"""A key for each person whom predictions are about, so that one of them can be forgotten.

A ring of its own for everybody would be a file, and a call to the key service, for everybody.  Here
they are some 90 bytes each in tables of one ring: ``PROJECT/subjects``.  A person is known by a
keyed hash (see `assay.monitor.log.pseudonym`), a key by a name that says nothing of the person but
which of `SHARDS` tables it lies in.

To forget somebody is to write all tables without that key under a *new* ring, then to destroy the
old one: older copies of the tables (in backups, in free blocks of the disk) are of no use to anyone
from then on, but to who also has a copy of the destroyed ring's file and its root key.  The cost is
one pass over 90 bytes a person, however many predictions there are.

On disk, below `folder`: ``N/`` for the N-th ring, in it ``head`` and a table ``XX`` for each shard,
each MessagePack (``assay/subject-keys/v1``) sealed by that ring and bound to its name.  The ring
with the lowest number that is not destroyed is the one that counts.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from secrets import token_bytes
from typing import TypeVar

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from assay import files
from assay.clock import timestamp
from assay.errors import Conflict, Corrupt, NotFound, Verification
from assay.store import SHREDDED, Ring, Rings
from assay.store.sealing import context

FORMAT = "assay/subject-keys/v1"
SHARDS = 64
KEY = 32
NAME = 16
_GENERATION = 4
_NONCE = 12
_SHREDDED = f"{NotFound.kind}.{SHREDDED}"
_LIMIT = 1 << 30
_HEAD = "head"


class Forgotten(msgspec.Struct):
    """That somebody's predictions until a time are not to be read, by any key there was."""

    until: str
    keys: list[bytes]
    """Their names."""


class _Head(msgspec.Struct, forbid_unknown_fields=True):
    format: str
    since: int
    """The number of the ring since which no table was lost; those before were destroyed."""


class _Shard(msgspec.Struct, forbid_unknown_fields=True):
    format: str
    keys: dict[str, tuple[bytes, bytes]] = {}
    """Person → name of the key, key."""
    forgotten: dict[str, Forgotten] = {}


T = TypeVar("T", _Head, _Shard)
K = TypeVar("K")


class SubjectKeys:
    """The keys of the people of one project, shared by all its processes.

    Raises `Corrupt` for a table that is missing or damaged, and for a key that no table has: what
    was not destroyed on purpose is never taken for destroyed.
    """

    def __init__(self, folder: Path, rings: Rings, project: str) -> None:
        self._folder = folder
        self._rings = rings
        self._project = project
        self._held: dict[Path, tuple[tuple[int, int, int], _Shard]] = {}

    # -- using ------------------------------------------------------------------------------------

    def give(
        self, latest: Mapping[str, str]
    ) -> tuple[dict[str, tuple[bytes, bytes]], dict[str, str]]:
        """The key (name, key) of each person, and until when predictions about whom are forgotten.

        `latest` says of each person when the last of the predictions was made that are to be
        sealed.  A key is made, and durable, for those who have none, but not where all of them are
        to be forgotten.
        """
        found: dict[str, tuple[bytes, bytes]] = {}
        until: dict[str, str] = {}
        with self._changing():
            ring, number = self._current(make=True)
            for shard, people in _sharded(latest, _shard_of).items():
                table = self._read(ring, number, shard)
                noted = {
                    who: table.forgotten[who].until for who in people if who in table.forgotten
                }
                wanted = [who for who in people if latest[who] > noted.get(who, "")]
                missing = [who for who in wanted if who not in table.keys]
                for who in missing:
                    table.keys[who] = (_new_name(shard, number), token_bytes(KEY))
                if missing:
                    self._write(ring, number, shard, table)
                    files.point("subjects.given")
                found |= {who: table.keys[who] for who in wanted}
                until |= noted
        return found, until

    def find(self, names: Collection[bytes]) -> dict[bytes, bytes | None]:
        """The keys of these names; None for one that was destroyed."""
        with self._changing():
            return self._find(names)

    def _find(self, names: Collection[bytes]) -> dict[bytes, bytes | None]:
        try:
            ring, number = self._current()
        except NotFound as error:
            if error.code == _SHREDDED:
                return dict.fromkeys(names)
            raise
        since = self._head(ring, number)
        found: dict[bytes, bytes | None] = {}
        for shard, wanted in _sharded(names, lambda name: name[0] % SHARDS).items():
            table = self._read(ring, number, shard)
            held = dict(table.keys.values())
            gone = {name for each in table.forgotten.values() for name in each.keys}
            for name in wanted:
                found[name] = held.get(name)
                destroyed = name in gone or _generation(name) < since
                if name not in held and not destroyed:
                    raise Corrupt(
                        f"no table of {self._folder / str(number)} has a key that predictions of "
                        f"project {self._project} are sealed under",
                        remedy="restore that folder from a copy as new as the predictions",
                        code="subjects.lost",
                    )
        return found

    # -- forgetting -------------------------------------------------------------------------------

    def forget(self, people: Collection[str], until: str) -> int:
        """Destroy the keys of people; idempotent, and to be repeated after a crash.

        What was predicted until `until` and comes to be sealed later is forgotten as well.  Returns
        how many of the people had a key, now or when an earlier attempt began.
        """
        with self._changing():
            ring, number = self._current(make=True)
            wanted = _sharded(people, _shard_of)
            if not all(
                self._is_done(self._read(ring, number, shard), some, until)
                for shard, some in wanted.items()
            ):
                ring, number = self._rewritten(ring, number, wanted, until)
            held = [
                person
                for shard, some in wanted.items()
                for table in [self._read(ring, number, shard)]
                for person in some
                if table.forgotten[person].keys
            ]
        return len(held)

    @staticmethod
    def _is_done(table: _Shard, people: Collection[str], until: str) -> bool:
        return all(
            person not in table.keys
            and person in table.forgotten
            and table.forgotten[person].until >= until
            for person in people
        )

    def _rewritten(
        self, old: Ring, number: int, people: dict[int, list[str]], until: str
    ) -> tuple[Ring, int]:
        """All tables under a new ring, without the keys of `people`; the old ring is destroyed."""
        new, following = self._next(number)
        folder = self._folder / str(following)
        if folder.exists():
            shutil.rmtree(folder)  # Of an attempt that did not come to its end.
        self._seal(new, following, _HEAD, _Head(FORMAT, self._head(old, number)))
        try:
            for shard in range(SHARDS):
                table = self._read(old, number, shard)
                for person in people.get(shard, ()):
                    noted = table.forgotten.get(person, Forgotten("", []))
                    name, _ = table.keys.pop(person, (b"", b""))
                    names = [*noted.keys, name] if name else noted.keys
                    table.forgotten[person] = Forgotten(max(until, noted.until), names)
                if table.keys or table.forgotten:
                    self._write(new, following, shard, table)
            files.point("subjects.rewritten")
            self._rings.destroy(self._ring_name(number))
        finally:
            self._held.clear()  # They were changed, whether or not the old ring is gone.
        files.point("subjects.destroyed")
        shutil.rmtree(self._folder / str(number), ignore_errors=True)
        return new, following

    def _next(self, number: int) -> tuple[Ring, int]:
        """A ring after the one that counts, new or of an attempt that did not come to its end."""
        while True:
            number += 1
            with contextlib.suppress(NotFound):
                return self._made(number), number

    # -- inside -----------------------------------------------------------------------------------

    def _changing(self) -> files.Lock:
        files.make_folder(self._folder)
        return files.Lock(self._folder / "lock")

    def _ring_name(self, number: int) -> str:
        return f"{self._project}/subjects" + (f".{number}" if number > 1 else "")

    def _made(self, number: int) -> Ring:
        """The ring of this number; `NotFound` when it was destroyed."""
        try:
            return self._rings.create(self._ring_name(number))
        except Conflict:
            return self._rings.ring(self._ring_name(number))

    def _current(self, *, make: bool = False) -> tuple[Ring, int]:
        """The ring that counts, and its number; `NotFound` when there is none and none is made:
        ``not_found.shredded`` when there were some."""
        number = self._lowest()
        gone: NotFound | None = None
        while True:
            try:
                ring = self._rings.ring(self._ring_name(number))
            except NotFound as error:
                if error.code == _SHREDDED:
                    gone = error
                    number += 1
                    continue
                if not make:
                    raise gone or error from None
                # The first, or the first after all there were have been destroyed.
                ring = self._made(number)
                self._seal(ring, number, _HEAD, _Head(FORMAT, number))
                return ring, number
            if make and not (self._folder / str(number) / _HEAD).exists():
                # Its maker died before the head: what it cannot name is not taken for destroyed.
                self._seal(ring, number, _HEAD, _Head(FORMAT, 1))
            return ring, number

    def _lowest(self) -> int:
        """A number below which every ring was destroyed: the tables of those are removed."""
        numbers = [path.name for path in self._folder.glob("[1-9]*")]
        return min((int(name) for name in numbers if name.isdigit()), default=1)

    def _head(self, ring: Ring, number: int) -> int:
        return self._open(ring, number, _HEAD, _Head).since

    def _read(self, ring: Ring, number: int, shard: int) -> _Shard:
        """A table, decrypted again only when its file is another one."""
        path = self._folder / str(number) / _file(shard)
        try:
            status = path.stat()
        except FileNotFoundError:
            self._held.pop(path, None)
            return _Shard(FORMAT)
        seen = (status.st_ino, status.st_size, status.st_mtime_ns)
        held = self._held.get(path)
        if held is None or held[0] != seen:
            held = self._held[path] = (seen, self._open(ring, number, path.name, _Shard))
        return held[1]

    def _write(self, ring: Ring, number: int, shard: int, table: _Shard) -> None:
        self._held.pop(self._folder / str(number) / _file(shard), None)
        self._seal(ring, number, _file(shard), table)

    def _seal(self, ring: Ring, number: int, name: str, content: _Head | _Shard) -> None:
        sealed = ring.seal(msgspec.msgpack.encode(content), "subject-keys", name)
        folder = self._folder / str(number)
        files.make_folder(folder)
        files.write(folder / name, sealed)

    def _open(self, ring: Ring, number: int, name: str, kind: type[T]) -> T:
        path = self._folder / str(number) / name
        damaged = Corrupt(
            f"{path} is missing, damaged, or of a newer format than {FORMAT}",
            remedy="restore it from a copy",
            code="subjects.table",
        )
        try:
            sealed = files.read(path, limit=_LIMIT, what="table of keys")
            plain = ring.open(sealed, "subject-keys", name, what=f"table of keys {path}")
            content = msgspec.msgpack.decode(plain, type=kind)
        except (NotFound, msgspec.MsgspecError) as error:
            raise damaged from error
        if content.format != FORMAT:
            raise damaged
        return content


# -- rows -----------------------------------------------------------------------------------------


def seal(
    keys: SubjectKeys, rows: Sequence[tuple[str, datetime, str, bytes]]
) -> list[tuple[bytes, bytes]]:
    """Rows (person, time, place, content), each under the key of its person: (key's name, sealed).

    Both are empty for a row that is to be forgotten.  Sealed is a random nonce of 12 bytes and
    AES-256-GCM, bound to the place.
    """
    latest: dict[str, str] = {}
    times = [timestamp(at) for _, at, *_ in rows]
    for (person, *_), at in zip(rows, times, strict=True):
        latest[person] = max(at, latest.get(person, ""))
    given, until = keys.give(latest)
    held = {person: (name, AESGCM(key)) for person, (name, key) in given.items()}
    sealed: list[tuple[bytes, bytes]] = []
    for (person, _, place, content), at in zip(rows, times, strict=True):
        if at <= until.get(person, ""):
            sealed.append((b"", b""))
            continue
        name, aead = held[person]
        nonce = token_bytes(_NONCE)
        sealed.append((name, nonce + aead.encrypt(nonce, content, context(FORMAT, place))))
    return sealed


def unseal(keys: SubjectKeys, rows: Sequence[tuple[bytes, str, bytes]]) -> list[bytes | None]:
    """The contents of rows (key's name, place, sealed); None where the key was destroyed.

    Raises `Verification` for a row that was altered or belongs elsewhere.
    """
    names = {name for name, *_ in rows if name}
    held = keys.find(names) if names else {}
    aeads = {name: AESGCM(key) for name, key in held.items() if key is not None}
    opened: list[bytes | None] = []
    for name, place, sealed in rows:
        if name not in aeads:
            opened.append(None)
            continue
        try:
            nonce, rest = sealed[:_NONCE], sealed[_NONCE:]
            opened.append(aeads[name].decrypt(nonce, rest, context(FORMAT, place)))
        except (InvalidTag, ValueError) as error:
            raise Verification(
                f"what is sealed about prediction {place} is altered",
                remedy="restore the segment from a copy",
                code="subjects.sealed",
            ) from error
    return opened


# -- inside ---------------------------------------------------------------------------------------


def _sharded(wanted: Collection[K], shard: Callable[[K], int]) -> dict[int, list[K]]:
    found: dict[int, list[K]] = {}
    for each in wanted:
        found.setdefault(shard(each), []).append(each)
    return found


def _file(shard: int) -> str:
    return f"{shard:02x}"


def _shard_of(person: str) -> int:
    return int(person[:2], 16) % SHARDS


def _new_name(shard: int, number: int) -> bytes:
    rest = token_bytes(NAME - 1 - _GENERATION)
    return bytes([shard]) + number.to_bytes(_GENERATION, "big") + rest


def _generation(name: bytes) -> int:
    return int.from_bytes(name[1 : 1 + _GENERATION], "big")
