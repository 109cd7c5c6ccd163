"""Key rings: named keys that can be turned, moved to another root key, backed up, destroyed.

Every change is one file that appears whole (see `assay.store.ringfile`).  Destroying a ring writes
its tombstone, from which moment nothing of it is opened, then overwrites and removes its file.
"""

from __future__ import annotations

import os
import secrets
from base64 import b64decode
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from assay import canonical, files
from assay.clock import Clock, timestamp
from assay.errors import Conflict, Corrupt, NotFound, Unavailable, Verification
from assay.store import recipients, ringfile, sealing
from assay.store.keys import KeyService
from assay.store.ringfile import (
    BACKUP,
    DESTROYED,
    RING,
    STONE,
    BackupMade,
    Document,
    Generation,
    Keys,
    Receipt,
    Recovered,
)

SEALED = b"assay/sealed/v1\n"
SHREDDED = "shredded"
"""`NotFound` with this code says that a ring was destroyed: ``not_found.shredded``."""

_NUMBER = 4
_NOTE = (
    "Copies of the ring's file made earlier (backups and snapshots of the file system, replicas) "
    "still hold its keys for whoever also has the root key of that time, and the recovery backups "
    "listed here for whoever has their recovery secret. Destroy those copies; or move the other "
    "rings to a new root key, destroy the old one, and make new recovery backups."
)


class Ring:
    """An open ring: it seals, and opens what it sealed.  It holds keys, and shows none."""

    def __init__(self, name: str, ring_id: str, secret: bytes, keys: list[bytes]) -> None:
        self.name = name
        self.id = ring_id
        """Names the ring where its name must not be known: in the blob store."""
        self.generation = len(keys)
        """The generation that seals now; all earlier ones still open."""
        self._secret = secret
        self._keys = keys

    def __repr__(self) -> str:
        return f"Ring({self.name}, generation {self.generation})"

    def seal(self, plaintext: bytes, purpose: str, *about: str) -> bytes:
        """Small things sealed whole, bound to this ring, a purpose, and what they are about.

        ``assay/sealed/v1``, newline, four bytes of generation, the sealed message.
        """
        body = sealing.seal(self._keys[-1], plaintext, self.bound(purpose, *about))
        return SEALED + self.generation.to_bytes(_NUMBER, "big") + body

    def open(self, sealed: bytes, purpose: str, *about: str, what: str = "") -> bytes:
        """The inverse of `seal`; `Verification` for anything that this ring did not seal so."""
        what = what or f"what ring {self.name} should have sealed"
        start = len(SEALED) + _NUMBER
        number = int.from_bytes(sealed[len(SEALED) : start], "big")
        if not sealed.startswith(SEALED) or not 0 < number <= self.generation:
            raise Verification(
                f"{what} is not of the format assay/sealed/v1, or needs a generation that ring "
                f"{self.name} does not have",
                remedy="restore it, or the ring's file, from a copy",
                code="sealed",
            )
        bound_to = self.bound(purpose, *about)
        return sealing.unseal(self._keys[number - 1], sealed[start:], bound_to, what=what)

    def bound(self, purpose: str, *about: str) -> bytes:
        """The context that seals of this ring are bound to."""
        return sealing.context("assay/sealed/v1", self.id, self.name, purpose, *about)

    def derive(self, purpose: str) -> bytes:
        """A 32-byte key for a purpose, the same in every generation: for names and MACs."""
        return ringfile.derived(self._secret, self.id, purpose)


SEALED_KEY = len(SEALED) + _NUMBER + sealing.sealed_size(sealing.KEY)
"""Length of a 32-byte key sealed by `Ring.seal`."""


class Rings:
    """All rings of a workspace: one folder, one root key, and perhaps a recovery recipient.

    Raises `NotFound` for a ring that is not there (``not_found.shredded`` once destroyed),
    `Corrupt` for an altered file, `Verification` for one that another root key wraps, and
    `Unavailable` when the key service or the disk is.
    """

    def __init__(
        self, folder: Path, service: KeyService, *, clock: Clock, recipient: str | None = None
    ) -> None:
        """`recipient` gets every ring written from now on; rings keep the one they have."""
        self.folder = folder
        self.clock = clock
        self._service = service
        self._recipient = None if recipient is None else recipients.check_recipient(recipient)
        self._held: dict[str, tuple[tuple[int, ...], Ring]] = {}

    # -- reading ----------------------------------------------------------------------------------

    def names(self) -> list[str]:
        """The rings that are not destroyed, sorted."""
        gone = set(ringfile.names_in(self.folder, STONE))
        return [name for name in ringfile.names_in(self.folder) if name not in gone]

    def ring(self, name: str) -> Ring:
        """An open ring; its file is read again whenever it changed, also by another process."""
        if ringfile.path_of(self.folder, name, STONE).exists():
            self._held.pop(name, None)
            raise NotFound(
                f"ring {name} was destroyed: what it sealed can never be opened again",
                code=SHREDDED,
            )
        try:
            status = ringfile.path_of(self.folder, name).stat()
        except FileNotFoundError as error:
            self._held.pop(name, None)
            raise ringfile.missing(name) from error
        seen = (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        held = self._held.get(name)
        if held is None or held[0] != seen:
            document, keys = ringfile.load(self.folder, name, self._service)
            generations = [b64decode(key) for key in keys.generations]
            held = (seen, Ring(name, document.id, b64decode(keys.secret), generations))
            self._held[name] = held
        return held[1]

    def receipts(self) -> list[Receipt]:
        """The receipts of destroyed rings, each proven by the root key."""
        gone = ringfile.names_in(self.folder, STONE)
        return [ringfile.receipt_of(self.folder, name, self._service)[0] for name in gone]

    def check(self) -> list[tuple[Path, str]]:
        """Each ring file or receipt that does not hold, and why."""
        broken: list[tuple[Path, str]] = []
        for read, suffix in ((ringfile.load, RING), (ringfile.receipt_of, STONE)):
            for name in ringfile.names_in(self.folder, suffix):
                try:
                    read(self.folder, name, self._service)
                except (Corrupt, Verification) as error:
                    broken.append((ringfile.path_of(self.folder, name, suffix), error.message))
        return broken

    # -- changing ---------------------------------------------------------------------------------

    def create(self, name: str) -> Ring:
        """A new ring of one generation; raises `Conflict` if the name is or ever was in use."""
        path = ringfile.path_of(self.folder, name)
        files.make_folder(path.parent)
        with self._changing():
            if path.exists() or path.with_suffix(STONE).exists():
                raise Conflict(
                    f"ring {name} exists or was destroyed: a name is not used twice",
                    remedy="choose another name",
                    code="ring.exists",
                )
            keys = Keys(ringfile.random_key(), [ringfile.random_key()])
            made = [Generation(1, self._now())]
            self._write(name, secrets.token_hex(16), made, [], keys, None, "rings.created")
        return self.ring(name)

    def rotate(self, name: str) -> int:
        """A new generation, which seals from now on; returns its number.

        What earlier generations sealed stays readable and is not touched.
        """
        with self._changing():
            self.ring(name)
            old, keys = ringfile.load(self.folder, name, self._service)
            number = len(old.generations) + 1
            made = [*old.generations, Generation(number, self._now())]
            keys = Keys(keys.secret, [*keys.generations, ringfile.random_key()])
            self._write(name, old.id, made, old.backups, keys, old, "rings.rotated")
        return number

    def rewrap(self, to: KeyService) -> list[str]:
        """Move every ring and receipt to another root key; returns the rings that were moved.

        Each file changes whole, one after the other: after an interruption run it again with the
        same two keys.  Once it has returned, destroying the old root key makes every older copy of
        a ring's file useless.
        """
        moved: list[str] = []
        with self._changing():
            for name in ringfile.names_in(self.folder, STONE):
                if ringfile.receipt_of(self.folder, name, None)[1] != to.id:
                    receipt, _ = ringfile.receipt_of(self.folder, name, self._service)
                    ringfile.bury(self.folder, receipt, to)
                    files.point("rings.rewrapped.receipt")
            for name in self.names():
                if ringfile.read(self.folder, name).service == to.id:
                    continue
                old, keys = ringfile.load(self.folder, name, self._service)
                self._write(
                    name, old.id, old.generations, old.backups, keys, old, "rings.rewrapped", to
                )
                moved.append(name)
            self._service = to
        return moved

    def destroy(self, name: str) -> Receipt:
        """Destroy a ring: afterwards nothing it sealed can be opened.  Repeating it is harmless.

        The receipt names the recovery backups that may still hold its keys.  A stream that is open
        already keeps its data key until it is closed.
        """
        path = ringfile.path_of(self.folder, name)
        with self._changing():
            if not path.with_suffix(STONE).exists():
                if not path.exists():
                    raise ringfile.missing(name)
                receipt = self._last_words(name)
                files.point("rings.destroyed.staged")
                ringfile.bury(self.folder, receipt, self._service)
                files.point("rings.destroyed.committed")
            self._held.pop(name, None)
            self._scrub(path)
            return ringfile.receipt_of(self.folder, name, self._service)[0]

    def backup(self, recipient: str) -> bytes:
        """A file (``assay/ring-backup/v1``) with every ring, sealed to an offline recipient.

        That it was made is noted in each ring first, so that a receipt can name it.  It holds the
        generations of this moment: make a new one after creating or turning a ring, or give
        `Rings` the recipient, so that every ring file carries its own (`carried_backup`).
        """
        recipients.check_recipient(recipient)
        with self._changing():
            rings = {name: ringfile.load(self.folder, name, self._service) for name in self.names()}
            now = self._now()
            entries = [
                _entry(name, document, recipient, Recovered(now, document.generations, keys))
                for name, (document, keys) in rings.items()
            ]
            data = encode_backup(recipient, entries)
            made = BackupMade(now, recipient, canonical.digest(data))
            for name, (old, keys) in rings.items():
                backups = [*old.backups, made]
                self._write(name, old.id, old.generations, backups, keys, old, "rings.backed_up")
        return data

    def recover(self) -> list[str]:
        """Finish destructions that were interrupted, remove temporaries; says what was done."""
        done: list[str] = []
        if not self.folder.exists():
            return done
        with self._changing():
            for name in ringfile.names_in(self.folder, STONE):
                path = ringfile.path_of(self.folder, name)
                if path.exists():
                    self._scrub(path)
                    done.append(f"finished the destruction of ring {name}")
            for left in sorted(self.folder.glob("*/.*.tmp")):
                _overwrite(left)
                files.remove(left)
                done.append(f"removed what an interrupted write left: {left.name}")
        return done

    # -- inside -----------------------------------------------------------------------------------

    @contextmanager
    def _changing(self) -> Generator[None]:
        files.make_folder(self.folder)
        with files.Lock(self.folder / "lock"):
            yield

    def _now(self) -> str:
        return timestamp(self.clock.now())

    def _write(
        self,
        name: str,
        ring_id: str,
        generations: list[Generation],
        backups: list[BackupMade],
        keys: Keys,
        old: Document | None,
        point: str,
        service: KeyService | None = None,
    ) -> None:
        recipient = self._recipient
        if recipient is None and old is not None and old.recovery is not None:
            recipient = old.recovery.recipient
        data = ringfile.make(
            service or self._service, name, ring_id, generations, backups, keys, recipient
        )
        files.point(f"{point}.staged")
        files.write(ringfile.path_of(self.folder, name), data)
        files.point(f"{point}.committed")

    def _last_words(self, name: str) -> Receipt:
        try:
            document, _ = ringfile.load(self.folder, name, self._service)
        except (Corrupt, Verification) as error:
            # What cannot be opened can still be destroyed, but what it says is not believed.
            note = f"The ring's file could not be opened ({error.message}). {_NOTE}"
            return Receipt(DESTROYED, name, "", self._now(), 0, [], note)
        count = len(document.generations)
        return Receipt(DESTROYED, name, document.id, self._now(), count, document.backups, _NOTE)

    def _scrub(self, path: Path) -> None:
        """Overwrite and remove a destroyed ring's file, and what was left of writing it."""
        for left in [*path.parent.glob(f".{path.name}.*.tmp"), path]:
            if left.exists():
                _overwrite(left)
                files.point("rings.destroyed.scrubbed")
                files.remove(left)
        files.point("rings.destroyed.cleaned")


class RingSealer:
    """Seals a project's ledger entries under its ring ``<project>/evidence``.

    It has the shape that the ledger asks of its sealer; opening raises ``not_found.shredded`` after
    the ring was destroyed.
    """

    def __init__(self, rings: Rings) -> None:
        self._rings = rings

    def seal(self, project: str, plaintext: bytes) -> bytes:
        """`plaintext` under the project's evidence ring."""
        return self._rings.ring(f"{project}/evidence").seal(plaintext, "evidence")

    def open(self, project: str, sealed: bytes) -> bytes:
        """The inverse; `Verification` unless that very ring sealed it."""
        return self._rings.ring(f"{project}/evidence").open(sealed, "evidence")


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One ring in a backup; `sealed` is bound to name, id and recipient."""

    ring: str
    id: str
    sealed: str


class Backup(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A recovery backup file."""

    format: str
    recipient: str
    entries: list[Entry]


def _entry(name: str, document: Document, recipient: str, holds: Recovered) -> Entry:
    sealed = ringfile.seal_recovery(recipient, name, document.id, holds).sealed
    return Entry(name, document.id, sealed)


def encode_backup(recipient: str, entries: list[Entry]) -> bytes:
    """The bytes of a backup file."""
    return canonical.encode(Backup(BACKUP, recipient, entries))


def _overwrite(path: Path) -> None:
    """Overwrite in place: a hard link loses the keys as well, and free blocks do not keep them.

    Copy-on-write file systems and flash may keep the old blocks: the receipt's note stands.
    """
    try:
        with path.open("r+b") as stream:
            stream.write(os.urandom(path.stat().st_size))
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        raise Unavailable(
            f"cannot overwrite {path}: {error.strerror}",
            remedy="make it writable, then run `assay recover`",
            code="write",
        ) from error
