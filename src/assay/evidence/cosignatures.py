"""Verifier keys and cosignatures: who else saw a checkpoint, and when.

C2SP signed-note and tlog-cosignature.  A *verifier key* is a line of text that names a key and how
it signs.  A *cosignature* says that a witness checked that the log only grew, and that this was the
largest tree it had seen of it at that time.  Whoever holds out for k witnesses cannot be shown
another history than they saw, unless k of them help.

Checkpoints of other people's logs are read here too: unlike `notes.parse_checkpoint`, which reads
our own, these may have extension lines and need no timestamp.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import Literal, TypeAlias

import msgspec

from assay import canonical
from assay.clock import TOLERANCE, timestamp
from assay.errors import AssayError, Corrupt, Usage, Verification
from assay.evidence.notes import check_origin, key_id, raw_ed25519, read_body, split_note
from assay.evidence.signers import PublicKey, Signer

Kind: TypeAlias = Literal[1, 4]
NOTE: Kind = 1
"""Ed25519 over the note's text: how a log signs."""
COSIGNATURE: Kind = 4
"""Timestamped Ed25519 (cosignature/v1): how a witness signs."""

_SPKI = bytes.fromhex("302a300506032b6570032100")
_VKEY = re.compile(r"([^+]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/=]+)")
_MAX_TIME = 253402300799  # 9999-12-31T23:59:59Z, the last second a datetime can hold


class VerifierKey(msgspec.Struct, frozen=True):
    """A name, an Ed25519 public key, and what its signatures mean."""

    name: str
    kind: Kind
    public: PublicKey

    @classmethod
    def of(cls, name: str, public: PublicKey, kind: Kind = NOTE) -> VerifierKey:
        """The verifier key of a signer's public key; raises `Usage` unless it is Ed25519."""
        raw_ed25519(public)
        return cls(check_origin(name), kind, public)

    @classmethod
    def parse(cls, text: str) -> VerifierKey:
        """``NAME+ID+KEY``, as other tools write it too; raises `Usage` for anything else."""
        wrong = Usage(
            f"{text[:120]!r} is not a verifier key",
            remedy="give NAME+ID+KEY as its owner published it, in quotation marks",
            code="vkey",
        )
        found = _VKEY.fullmatch(text)
        if found is None:
            raise wrong
        try:
            data = canonical.unb64(found[3], what="verifier key")
            kind: Kind = NOTE if data[:1] == b"\x01" else COSIGNATURE
            if len(data) != 33 or data[0] != kind:
                raise wrong
            made = cls.of(found[1], PublicKey("ed25519", canonical.b64(_SPKI + data[1:])), kind)
            _ = made.public.keyid  # Refuses what is no point, or a weak one.
        except Corrupt as error:
            raise wrong from error
        if made.id.hex() != found[2]:
            raise wrong
        return made

    @property
    def id(self) -> bytes:
        """The four bytes that, with `name`, find its signatures."""
        return key_id(self.name, bytes([self.kind]), self.raw)

    @property
    def raw(self) -> bytes:
        return raw_ed25519(self.public)

    def __str__(self) -> str:
        return f"{self.name}+{self.id.hex()}+{canonical.b64(bytes([self.kind]) + self.raw)}"

    def verify(self, signature: bytes, text: bytes) -> datetime | None:
        """When it signed (of a cosignature); raises `Verification` when it did not."""
        try:
            if self.kind == NOTE:
                self.public.verify(signature, text)
                return None
            seconds = int.from_bytes(signature[:8], "big")
            if len(signature) != 72 or seconds > _MAX_TIME:
                raise Verification("a cosignature of a wrong length or time", code="cosignature")
            self.public.verify(signature[8:], cosigned(seconds, text))
        except Verification as error:
            raise Verification(
                f"the signature of {self.name} does not hold",
                remedy="the checkpoint was altered, or signed by another key of that name",
                code="checkpoint.signature",
            ) from error
        return datetime.fromtimestamp(seconds, timezone.utc)


class Note(msgspec.Struct, frozen=True):
    """A checkpoint of any log, taken apart; nothing of it is verified."""

    text: bytes
    origin: str
    size: int
    root: bytes
    signatures: tuple[tuple[str, bytes], ...]
    """Key name; key id and signature."""


def read_note(note: bytes) -> Note:
    """A checkpoint's parts; raises `Corrupt` for what is not a checkpoint."""
    text, signatures = split_note(note)
    origin, size, root = read_body(text, extensions=True)
    return Note(text, origin, size, root, tuple(signatures))


def signed_by(note: Note, keys: Sequence[VerifierKey]) -> dict[VerifierKey, datetime | None]:
    """Which of `keys` signed, and when (of cosignatures; the newest where one signed again).

    Signatures of unknown keys are ignored; raises `Verification` if one of a known key does not
    hold (signed-note).
    """
    found: dict[VerifierKey, datetime | None] = {}
    known = {(key.name, key.id): key for key in keys}
    for name, blob in note.signatures:
        key = known.get((name, blob[:4]))
        if key is None:
            continue
        at, before = key.verify(blob[4:], note.text), found.get(key)
        if at is None or before is None or at > before:
            found[key] = at
    return found


def check_log(note: Note, key: VerifierKey) -> datetime | None:
    """Raise `Verification` unless the log that `key` names signed; its own time, if it gave one."""
    if note.origin != key.name:
        raise Verification(
            f"the checkpoint is of the log {note.origin[:80]!r}, not {key.name!r}",
            remedy="compare the log's verifier key with its owner",
            code="checkpoint.origin",
        )
    timed = VerifierKey(key.name, COSIGNATURE, key.public)
    found = signed_by(note, [key, timed])
    if key not in found:
        raise Verification(
            f"checkpoint of {note.size} leaves: the signature of {key.name} is missing",
            remedy="it was not written by this log's key",
            code="checkpoint.signature",
        )
    return found.get(timed)


class Cosignature(msgspec.Struct, frozen=True):
    """A witness that saw a checkpoint, and when."""

    witness: str
    at: datetime

    @property
    def time(self) -> str:
        return timestamp(self.at)


def quorum(
    note: Note,
    log: VerifierKey,
    witnesses: Sequence[VerifierKey],
    least: int,
    *,
    now: datetime | None = None,
) -> list[Cosignature]:
    """The cosignatures by `witnesses`; raises `Verification` for fewer than `least`.

    One key counts once, whatever names it goes by, and the log's own not at all.  With `now`, a
    cosignature from the future does not count.
    """
    check_quorum(log, witnesses, least)
    found = [
        Cosignature(key.name, at)
        for key, at in signed_by(note, witnesses).items()
        if at is not None and (now is None or at <= now + TOLERANCE)
    ]
    if len(found) < least:
        seen = ", ".join(cosignature.witness for cosignature in found) or "none"
        raise Verification(
            f"the checkpoint of {note.size} leaves has the cosignatures of {len(found)} of the "
            f"{least} witnesses that are asked for ({seen})",
            remedy="ask the log's owner for a checkpoint that the witnesses cosigned",
            code="cosignature.quorum",
        )
    return sorted(found, key=lambda cosignature: cosignature.witness)


def check_quorum(log: VerifierKey, witnesses: Sequence[VerifierKey], least: int) -> None:
    """Raise `Usage` for witnesses and a number that could not do what they are for."""
    raws = [key.raw for key in witnesses]
    if any(key.kind != COSIGNATURE for key in witnesses):
        raise Usage(
            "a verifier key that is given is not one of a witness: it makes no cosignatures",
            remedy="give the key as the witness published it; a log's own key is another",
            code="vkey.witness",
        )
    if len(set(raws)) != len(raws) or log.raw in raws:
        raise Usage(
            "the witnesses are not that many: one key is given twice, or is the log's own",
            remedy="give each witness once, and witnesses that others run",
            code="vkey.witness",
        )
    if not 1 <= least <= len(witnesses):
        raise Usage(
            f"a quorum of {least} of {len(witnesses)} witnesses makes no sense",
            remedy="give as many --witness as --quorum asks for, or more",
            code="quorum",
        )


def cosigned(seconds: int, text: bytes) -> bytes:
    """The message that a cosignature/v1 signs."""
    return f"cosignature/v1\ntime {seconds}\n".encode() + text


def cosign(text: bytes, name: str, signer: Signer, at: datetime) -> bytes:
    """A witness's signature line over a checkpoint's text."""
    seconds = int(at.timestamp())
    key = VerifierKey.of(name, signer.public, COSIGNATURE)
    blob = key.id + struct.pack(">Q", seconds) + signer.sign(cosigned(seconds, text))
    return _line(name, blob)


def _line(name: str, blob: bytes) -> bytes:
    return f"— {name} {canonical.b64(blob)}\n".encode()


def merge(note: bytes, lines: bytes, keys: Sequence[VerifierKey]) -> bytes:
    """`note` with what of `lines` are good signatures by `keys`; a newer one replaces an older.

    `lines` are signature lines as a witness answers them: others in it are ignored.  Raises
    `Corrupt` for what are no signature lines, `Verification` for one by `keys` that does not hold.
    """
    held = read_note(note)
    try:
        added = read_note(held.text + b"\n" + lines)
    except AssayError as error:
        raise Corrupt("the answer is not made of signature lines", code="cosignature") from error
    known = {(key.name, key.id): key for key in keys}
    signed_by(added, keys)
    parts: dict[tuple[str, bytes], bytes] = {}
    for name, blob in held.signatures:
        parts[name, blob[:4]] = blob
    for name, blob in added.signatures:
        place = (name, blob[:4])
        if place in known and blob[4:12] >= parts.get(place, b"")[4:12]:
            parts[place] = blob
    return held.text + b"\n" + b"".join(_line(name, blob) for (name, _), blob in parts.items())


def only(note: Note, log: VerifierKey) -> bytes:
    """A checkpoint with the log's own signatures alone: the note's, and the timed one."""
    timed = VerifierKey(log.name, COSIGNATURE, log.public)
    wanted = {(key.name, key.id) for key in (log, timed)}
    lines = [_line(name, blob) for name, blob in note.signatures if (name, blob[:4]) in wanted]
    return note.text + b"\n" + b"".join(lines)


def as_json(found: Sequence[Cosignature]) -> list[Mapping[str, str]]:
    """What a report says of cosignatures."""
    return [{"witness": c.witness, "time": c.time} for c in found]
