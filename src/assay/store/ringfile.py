"""A ring on disk: ``<project>/<kind>.ring``, and ``<kind>.destroyed`` once it is gone.

A ring file is canonical JSON (``assay/ring/v1``).  Its keys are sealed under a key of the file's
own, which the key service wraps; that seal is bound to every other field, so no byte of the file
is free.  With a recovery recipient the same keys are in it a second time, sealed to the recipient,
so that files and the recovery secret are enough even when the root key is lost.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from base64 import b64decode, b64encode
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from assay import canonical, files
from assay.errors import Corrupt, NotFound, Usage, Verification
from assay.store import recipients, sealing
from assay.store.keys import KeyService
from assay.types import Digest, check_name

FORMAT = "assay/ring/v1"
DESTROYED = "assay/ring-destroyed/v1"
BACKUP = "assay/ring-backup/v1"
RING = ".ring"
STONE = ".destroyed"
LIMIT = 1 << 20


class BackupMade(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A recovery backup that holds a ring: when, for which recipient, and the file's digest."""

    made: str
    recipient: str
    digest: Digest


class Receipt(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """That a ring was destroyed, and where its keys may still be."""

    format: str
    ring: str
    id: str
    """Names the ring's blobs; empty when the file was too damaged to be believed."""
    destroyed_at: str
    generations: int
    backups: list[BackupMade]
    note: str


class Generation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One key of a ring: a number from 1, and when it was made."""

    number: int
    created: str


class Recovery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A ring's generations and keys, sealed to the offline recovery recipient (base64)."""

    recipient: str
    sealed: str


class Keys(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is secret (base64): a secret that lasts, and one key for each generation."""

    secret: str
    generations: list[str]

    def __repr__(self) -> str:
        return "Keys(…)"


class Recovered(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What `Recovery.sealed` holds; `made` is empty where a ring file carries it itself."""

    made: str
    generations: list[Generation]
    keys: Keys


class Document(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A ring file.  `sealed` is bound to all other fields; `check` recognises the secret."""

    format: str
    ring: str
    id: str
    service: str
    generations: list[Generation]
    backups: list[BackupMade]
    check: str
    recovery: Recovery | None
    wrapped: str
    sealed: str

    def bound(self) -> bytes:
        """What `sealed` is bound to: everything else."""
        return canonical.encode(msgspec.structs.replace(self, sealed=""))


class _Tombstone(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    format: str
    receipt: Receipt
    service: str
    proof: str
    """The digest of the receipt, wrapped by the key service."""


def derived(secret: bytes, ring_id: str, purpose: str) -> bytes:
    """A 32-byte key from a ring's lasting secret."""
    info = sealing.context("assay/ring-derived/v1", ring_id, purpose)
    return HKDFExpand(hashes.SHA512(), 32, info).derive(secret)


def random_key() -> str:
    """A new key as `Keys` holds it."""
    return b64encode(secrets.token_bytes(sealing.KEY)).decode()


# -- names ----------------------------------------------------------------------------------------


def path_of(folder: Path, name: str, suffix: str = RING) -> Path:
    """Where a ring lies; raises `Usage` unless the name is ``PROJECT/KIND``."""
    project, slash, kind = name.partition("/")
    if not slash:
        raise Usage(
            f"ring {name[:80]!r} is not PROJECT/KIND", remedy="fraud/data", code="ring.name"
        )
    if project != "_workspace":
        check_name(project, what="project of a ring")
    return folder / project / (check_name(kind, what="kind of a ring") + suffix)


def names_in(folder: Path, suffix: str = RING) -> list[str]:
    """The names of all rings with such a file, sorted."""
    found = [path for path in folder.glob(f"*/*{suffix}") if re.match(r"[a-z0-9]", path.name)]
    return sorted(f"{path.parent.name}/{path.name.removesuffix(suffix)}" for path in found)


# -- ring files -----------------------------------------------------------------------------------


def make(
    service: KeyService,
    name: str,
    ring_id: str,
    generations: list[Generation],
    backups: list[BackupMade],
    keys: Keys,
    recipient: str | None,
) -> bytes:
    """The bytes of a ring file, under a fresh key of its own."""
    kek = secrets.token_bytes(sealing.KEY)
    recovery = None
    if recipient is not None:
        recovery = seal_recovery(recipient, name, ring_id, Recovered("", generations, keys))
    document = Document(
        format=FORMAT,
        ring=name,
        id=ring_id,
        service=service.id,
        generations=generations,
        backups=backups,
        check=_check(ring_id, keys),
        recovery=recovery,
        wrapped=b64encode(service.wrap(kek, _wrapping(name, ring_id))).decode(),
        sealed="",
    )
    sealed = sealing.seal(kek, canonical.encode(keys), document.bound())
    return canonical.encode(msgspec.structs.replace(document, sealed=b64encode(sealed).decode()))


def read(folder: Path, name: str) -> Document:
    """A ring file as it stands, with nothing in it verified; `Corrupt` if it is none."""
    data = files.read(path_of(folder, name), limit=LIMIT, what="ring")
    try:
        document = msgspec.convert(canonical.decode(data), Document)
    except (Corrupt, msgspec.ValidationError) as error:
        raise altered(folder, name) from error
    if document.format != FORMAT or document.ring != name or not document.generations:
        raise altered(folder, name)
    return document


def load(folder: Path, name: str, service: KeyService) -> tuple[Document, Keys]:
    """A verified ring file and its keys; `Verification` when another root key wraps it."""
    document = read(folder, name)
    _same_service("ring", name, document.service, service)
    try:
        kek = service.unwrap(_base64(document.wrapped), _wrapping(name, document.id))
        what = f"ring {name}"
        opened = sealing.unseal(kek, _base64(document.sealed), document.bound(), what=what)
        keys = msgspec.convert(canonical.decode(opened), Keys)
    except (Corrupt, Verification, ValueError) as error:
        raise altered(folder, name) from error
    if len(keys.generations) != len(document.generations) or not recognises(document, keys):
        raise altered(folder, name)
    return document, keys


def recognises(document: Document, keys: Keys) -> bool:
    """Whether these keys belong to that ring file: can be told even when its root key is lost."""
    return hmac.compare_digest(_check(document.id, keys), document.check)


# -- recovery -------------------------------------------------------------------------------------


def seal_recovery(recipient: str, name: str, ring_id: str, holds: Recovered) -> Recovery:
    """A ring's keys for the recovery recipient."""
    info = sealing.context(BACKUP, recipient, name, ring_id)
    sealed = recipients.seal_to(recipient, canonical.encode(holds), info)
    return Recovery(recipient, b64encode(sealed).decode())


def open_recovery(secret: str, name: str, ring_id: str, recovery: Recovery) -> Recovered:
    """The inverse; `Verification` for another secret or an altered byte."""
    info = sealing.context(BACKUP, recovery.recipient, name, ring_id)
    try:
        opened = recipients.open_with(secret, _base64(recovery.sealed), info)
        holds = msgspec.convert(canonical.decode(opened), Recovered)
    except (Corrupt, ValueError) as error:
        raise Verification(
            f"the backup of ring {name} is altered",
            remedy="use another copy of the backup",
            code="recovery",
        ) from error
    return holds


# -- tombstones -----------------------------------------------------------------------------------


def bury(folder: Path, receipt: Receipt, service: KeyService) -> None:
    """Write that a ring is destroyed, proven by the key service; durable when this returns."""
    digest = hashlib.sha256(canonical.encode(receipt)).digest()
    proof = b64encode(service.wrap(digest, _burying(receipt))).decode()
    path = path_of(folder, receipt.ring, STONE)
    files.make_folder(path.parent)
    files.write(path, canonical.encode(_Tombstone(DESTROYED, receipt, service.id, proof)))


def receipt_of(folder: Path, name: str, service: KeyService | None) -> tuple[Receipt, str]:
    """A receipt, and the id of the root key that proves it.

    With `service` the proof is checked; without, because its root key is lost, it is taken as is:
    believing it can only keep something destroyed.
    """
    try:
        data = files.read(path_of(folder, name, STONE), limit=LIMIT, what="receipt")
        stone = msgspec.convert(canonical.decode(data), _Tombstone)
    except (Corrupt, msgspec.ValidationError) as error:
        raise altered(folder, name, STONE) from error
    receipt = stone.receipt
    if stone.format != DESTROYED or receipt.format != DESTROYED or receipt.ring != name:
        raise altered(folder, name, STONE)
    if service is not None:
        _same_service("receipt of ring", name, stone.service, service)
        try:
            proven = service.unwrap(_base64(stone.proof), _burying(receipt))
        except (Verification, ValueError) as error:
            raise altered(folder, name, STONE) from error
        digest = hashlib.sha256(canonical.encode(receipt)).digest()
        if not hmac.compare_digest(proven, digest):
            raise altered(folder, name, STONE)
    return receipt, stone.service


# -- inside ---------------------------------------------------------------------------------------


def altered(folder: Path, name: str, suffix: str = RING) -> Corrupt:
    """The error for a ring file or receipt that does not hold."""
    return Corrupt(
        f"{path_of(folder, name, suffix)} is altered, or of a newer format than this assay reads",
        remedy="restore the file from a copy, or recover it with `assay keys recover`",
        code="ring",
    )


def _same_service(what: str, name: str, found: str, service: KeyService) -> None:
    if found != service.id:
        raise Verification(
            f"{what} {name} is wrapped by the root key {found[:80]}, not by {service.id}",
            remedy="name that key service; if a change of root key was interrupted, run it again",
            code="ring.service",
        )


def missing(name: str) -> NotFound:
    """The error for a ring that never was."""
    return NotFound(
        f"there is no ring {name}",
        remedy=f"create project {name.partition('/')[0]}, or recover its rings",
        code="ring",
    )


def _wrapping(name: str, ring_id: str) -> bytes:
    return sealing.context(FORMAT, ring_id, name)


def _burying(receipt: Receipt) -> bytes:
    return sealing.context(DESTROYED, receipt.id, receipt.ring)


def _check(ring_id: str, keys: Keys) -> str:
    return derived(b64decode(keys.secret), ring_id, "check").hex()


def _base64(text: str) -> bytes:
    """Strict base64: one spelling for each value."""
    data = b64decode(text, validate=True)
    if b64encode(data).decode() != text:
        raise ValueError("not canonical base64")
    return data
