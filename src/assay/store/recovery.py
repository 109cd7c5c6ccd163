"""Reopening rings whose root key is lost, from files and the recovery secret alone.

secret, recipient = generate_recovery()          # print the secret, keep it off line
backup = rings.backup(recipient)                 # or give Rings the recipient, and later
backup = carried_backup(folder)                  # collect what every ring file carries
recover(backup, secret, folder, LocalKeyService.create(path))
"""

from __future__ import annotations

import contextlib
from pathlib import Path

import msgspec

from assay import canonical, files
from assay.errors import Conflict, Corrupt, NotFound, Usage, Verification
from assay.store import ringfile
from assay.store.keys import KeyService
from assay.store.recipients import check_recipient, generate_recovery, recipient_of
from assay.store.ringfile import BACKUP, STONE, BackupMade, Document, Recovered, Recovery
from assay.store.rings import Backup, Entry, encode_backup

__all__ = ["Reopened", "carried_backup", "check_recipient", "generate_recovery", "recover"]


class Reopened(msgspec.Struct, frozen=True):
    """What `recover` did: names of rings."""

    restored: list[str]
    """They open under the new root key."""
    destroyed: list[str]
    """In the backup, but destroyed since: left so."""
    missing: list[str]
    """In the folder, but not in the backup: they still need the lost root key."""


def carried_backup(folder: Path) -> bytes:
    """A backup file made of what the ring files themselves carry; needs no key at all.

    Raises `NotFound` when they carry nothing, `Conflict` when it is for more than one recipient.
    """
    entries: list[Entry] = []
    found: set[str] = set()
    destroyed = set(ringfile.names_in(folder, STONE))
    for name in ringfile.names_in(folder):
        if name in destroyed:
            continue
        document = ringfile.read(folder, name)
        if document.recovery is not None:
            found.add(document.recovery.recipient)
            entries.append(Entry(name, document.id, document.recovery.sealed))
    if not entries:
        raise NotFound(
            f"no ring in {folder} carries keys for a recovery recipient",
            remedy="recover from a backup file, if one was made",
            code="recovery",
        )
    if len(found) > 1:
        raise Conflict(
            f"the rings in {folder} carry keys for {len(found)} recovery recipients",
            remedy="recover from a backup file made for one of them",
            code="recovery",
        )
    return encode_backup(found.pop(), entries)


def recover(backup: bytes, secret: str, folder: Path, service: KeyService) -> Reopened:
    """Write the rings of a backup into `folder` under a new root key.

    What was destroyed stays destroyed.  A ring file that is there must be the backup's ring, with
    no generation that the backup lacks; all of this is checked before anything is written, and
    doing it again after an interruption is harmless.  Raises `Usage` for a mistyped secret,
    `Verification` for another secret's or an altered backup, or one of other rings or too old.
    """
    document = _decode(backup)
    recipient = recipient_of(secret)
    if document.recipient != recipient:
        raise Verification(
            f"this backup is for the recipient {document.recipient[:60]!r}, "
            f"and the secret is that of {recipient}",
            remedy="use the other secret, or another backup",
            code="recovery",
        )
    files.make_folder(folder)
    with files.Lock(folder / "lock"):
        destroyed = set(ringfile.names_in(folder, STONE))
        rings = {entry.ring: entry for entry in document.entries if entry.ring not in destroyed}
        writes = {
            name: _rewritten(backup, entry, recipient, secret, folder, service)
            for name, entry in rings.items()
        }
        missing = [
            name
            for name in ringfile.names_in(folder)
            if name not in writes and name not in destroyed and not _opens(folder, name, service)
        ]
        for name in sorted(destroyed):
            with contextlib.suppress(Corrupt):  # Unreadable or not, it says: destroyed.
                receipt, proven_by = ringfile.receipt_of(folder, name, None)
                if proven_by != service.id:
                    ringfile.bury(folder, receipt, service)
        for name, data in sorted(writes.items()):
            if data is not None:
                path = ringfile.path_of(folder, name)
                files.make_folder(path.parent)
                files.point("rings.recovered.staged")
                files.write(path, data)
                files.point("rings.recovered.committed")
    gone = [entry.ring for entry in document.entries if entry.ring in destroyed]
    return Reopened(sorted(writes), sorted(gone), missing)


def _decode(backup: bytes) -> Backup:
    try:
        document = msgspec.convert(canonical.decode(backup, what="recovery backup"), Backup)
    except msgspec.ValidationError as error:
        raise Corrupt(f"recovery backup: {error}", code="recovery") from error
    if document.format != BACKUP:
        raise Corrupt(
            f"recovery backup: unknown format {document.format[:40]!r}",
            remedy=f"this assay reads {BACKUP}; a newer one wrote this file",
            code="recovery",
        )
    names = [entry.ring for entry in document.entries]
    if len(set(names)) != len(names):
        raise Corrupt("recovery backup: a ring is in it twice", code="recovery")
    return document


def _rewritten(
    backup: bytes, entry: Entry, recipient: str, secret: str, folder: Path, service: KeyService
) -> bytes | None:
    """The new file of a ring, or None when it opens under the new root key already."""
    sealed = Recovery(recipient, entry.sealed)
    holds = ringfile.open_recovery(secret, entry.ring, entry.id, sealed)
    if not holds.generations or len(holds.generations) != len(holds.keys.generations):
        raise Corrupt(f"recovery backup: ring {entry.ring} lacks generations", code="recovery")
    there = _existing(folder, entry.ring)
    if there is not None:
        _same_ring(there, entry, holds)
        if _opens(folder, entry.ring, service):
            return None
        _not_stale(there, entry, holds)
    backups = [] if there is None else there.backups
    made = BackupMade(holds.made, recipient, canonical.digest(backup))
    if holds.made and made not in backups:
        backups = [*backups, made]
    return ringfile.make(
        service, entry.ring, entry.id, holds.generations, backups, holds.keys, recipient
    )


def _existing(folder: Path, name: str) -> Document | None:
    """The ring file there now; None when it is missing or damaged: that is why one recovers."""
    try:
        return ringfile.read(folder, name)
    except (NotFound, Corrupt):
        return None


def _same_ring(there: Document, entry: Entry, holds: Recovered) -> None:
    if there.id != entry.id or not ringfile.recognises(there, holds.keys):
        raise Verification(
            f"the backup's ring {entry.ring} is not the ring {entry.ring} in the folder",
            remedy="use a backup of this workspace, or move the ring's file away to replace it",
            code="recovery.other",
        )


def _not_stale(there: Document, entry: Entry, holds: Recovered) -> None:
    if there.generations[: len(holds.generations)] != holds.generations or (
        len(there.generations) > len(holds.generations)
    ):
        raise Verification(
            f"the backup knows {len(holds.generations)} generations of ring {entry.ring}, the "
            f"file has {len(there.generations)}: what the later ones sealed would be lost",
            remedy="use a newer backup; or move the ring's file away to recover the earlier ones",
            code="recovery.stale",
        )


def _opens(folder: Path, name: str, service: KeyService) -> bool:
    try:
        ringfile.load(folder, name, service)
    except (Corrupt, Verification, Usage):
        return False
    return True
