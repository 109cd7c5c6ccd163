"""Checkpoints: signed notes that say what the ledger is.

C2SP signed-note, tlog-checkpoint and tlog-cosignature.  A checkpoint of ours carries two
signature lines by the ledger's Ed25519 key, both named by the origin: the plain note signature
(type 0x01), which any tlog client checks, and a ``cosignature/v1`` (type 0x04), which is where its
time comes from.  Both must hold.
"""

from __future__ import annotations

import hashlib
import re
import struct
from datetime import datetime, timezone

import msgspec

from assay import canonical
from assay.clock import timestamp
from assay.errors import Corrupt, Usage, Verification
from assay.evidence.signers import PublicKey, Signer

LIMIT = 1 << 16
"""Bytes of the largest note read."""

_NOTE = b"\x01"
_COSIGNATURE = b"\x04"
_ED25519_SPKI = bytes.fromhex("302a300506032b6570032100")
_SIGNATURES = 64
_DECIMAL = re.compile(r"0|[1-9][0-9]{0,18}")
_MAX_TIME = 253402300799  # 9999-12-31T23:59:59Z, the last second a datetime can hold


class Checkpoint(msgspec.Struct, frozen=True):
    """A tree head: `size` leaves hash to `root` (32 bytes) at `time` (UTC, whole seconds)."""

    origin: str
    size: int
    root: bytes
    time: datetime


def time_text(checkpoint: Checkpoint) -> str:
    """The checkpoint's time in RFC 3339."""
    return timestamp(checkpoint.time)


def check_origin(origin: str) -> str:
    """`origin` if it can name a key in a signed note; raises `Usage` otherwise."""
    bad = any(c.isspace() or c == "+" or ord(c) < 0x20 or ord(c) == 0x7F for c in origin)
    if not origin or bad or len(origin.encode()) > 255:
        raise Usage(
            f"the ledger's origin {origin[:80]!r} is not allowed",
            remedy="use a schema-less URL such as example.com/ledger, without spaces or '+'",
            code="ledger.origin",
        )
    return origin


def raw_ed25519(key: PublicKey) -> bytes:
    """The 32 bytes of an Ed25519 public key; raises `Usage` for another algorithm."""
    spki = canonical.unb64(key.spki, what="public key")
    if (
        key.algorithm != "ed25519"
        or len(spki) != len(_ED25519_SPKI) + 32
        or not spki.startswith(_ED25519_SPKI)
    ):
        raise Usage(
            f"the ledger key is {key.algorithm}: checkpoints need an Ed25519 key",
            remedy="generate the ledger's key with algorithm ed25519",
            code="ledger.key",
        )
    return spki[len(_ED25519_SPKI) :]


def key_id(name: str, kind: bytes, raw_key: bytes) -> bytes:
    """The four bytes that, with `name`, tell verifiers which key signed (signed-note)."""
    return hashlib.sha256(name.encode() + b"\n" + kind + raw_key).digest()[:4]


def sign_checkpoint(origin: str, size: int, root: bytes, at: datetime, signer: Signer) -> bytes:
    """The note for a tree head, signed twice; `at` is cut to whole seconds."""
    check_origin(origin)
    raw = raw_ed25519(signer.public)
    text = f"{origin}\n{size}\n{canonical.b64(root)}\n".encode()
    seconds = int(at.timestamp())
    plain = key_id(origin, _NOTE, raw) + signer.sign(text)
    timed = (
        key_id(origin, _COSIGNATURE, raw)
        + struct.pack(">Q", seconds)
        + signer.sign(_cosigned(seconds, text))
    )
    lines = [f"— {origin} {canonical.b64(sig)}\n".encode() for sig in (plain, timed)]
    return text + b"\n" + b"".join(lines)


def parse_checkpoint(note: bytes, origin: str, key: PublicKey) -> Checkpoint:
    """A checkpoint of the log `origin`, verified with its `key`.

    Signatures by keys other than `key` must be well-formed and are ignored (signed-note).  Raises
    `Corrupt` for what is not a checkpoint of exactly three lines, `Verification` when it is of
    another log or a signature is missing or wrong.
    """
    text, signatures = split_note(note)
    found, size, root = read_body(text)
    if found != origin:
        raise Verification(
            f"the checkpoint is of the ledger {found[:80]!r}, not {origin!r}",
            remedy="open the ledger this trust root belongs to",
            code="checkpoint.origin",
        )
    raw = raw_ed25519(key)
    known = {key_id(origin, _NOTE, raw): _NOTE, key_id(origin, _COSIGNATURE, raw): _COSIGNATURE}
    held: dict[bytes, bytes] = {}
    for name, blob in signatures:
        kind = known.get(blob[:4])
        if name != origin or kind is None:
            continue
        if kind in held:
            raise Corrupt("checkpoint: one key signed it twice", code="checkpoint")
        held[kind] = blob[4:]
    for kind, what in ((_NOTE, "the ledger's signature"), (_COSIGNATURE, "its timestamp")):
        if kind not in held:
            raise Verification(
                f"checkpoint of {size} leaves: {what} is missing",
                remedy="it was not written by this ledger's key; restore it from a copy",
                code="checkpoint.signature",
            )
    seconds = int.from_bytes(held[_COSIGNATURE][:8], "big")
    try:
        key.verify(held[_NOTE], text)
        key.verify(held[_COSIGNATURE][8:], _cosigned(seconds, text))
    except Verification as error:
        raise Verification(
            f"checkpoint of {size} leaves: a signature of the ledger's key does not hold",
            remedy="it was altered, or written by another key; restore it from a copy",
            code="checkpoint.signature",
        ) from error
    if seconds > _MAX_TIME:
        raise Corrupt("checkpoint: its time is beyond the year 9999", code="checkpoint")
    return Checkpoint(origin, size, root, datetime.fromtimestamp(seconds, timezone.utc))


def _cosigned(seconds: int, text: bytes) -> bytes:
    return f"cosignature/v1\ntime {seconds}\n".encode() + text


def split_note(note: bytes) -> tuple[bytes, list[tuple[str, bytes]]]:
    """A signed note's text, and its signatures as (key name, key id and signature).

    Raises `Corrupt` for what is no signed note; nothing of it is verified.
    """
    wrong = Corrupt("checkpoint: not a signed note", code="checkpoint")
    if len(note) > LIMIT:
        raise Corrupt(f"checkpoint: larger than {LIMIT} bytes", code="checkpoint")
    if any(byte < 0x20 and byte != 0x0A for byte in note):
        raise wrong
    text, blank, tail = note.rpartition(b"\n\n")
    try:
        lines = tail.decode().split("\n")
        text.decode()
    except UnicodeDecodeError as error:
        raise wrong from error
    if not blank or len(lines) < 2 or lines.pop() or len(lines) > _SIGNATURES:
        raise wrong
    signatures: list[tuple[str, bytes]] = []
    for line in lines:
        parts = line.split(" ")
        if len(parts) != 3 or parts[0] != "—" or not parts[1] or "+" in parts[1]:
            raise wrong
        if any(c.isspace() for c in parts[1]):
            raise wrong
        blob = canonical.unb64(parts[2], what="checkpoint signature")
        if len(blob) < 5:
            raise wrong
        signatures.append((parts[1], blob))
    return text + b"\n", signatures


def read_body(text: bytes, *, extensions: bool = False) -> tuple[str, int, bytes]:
    """Origin, size and root of a checkpoint's text; raises `Corrupt`.

    Exactly three lines, because extensions would go unaudited.  With `extensions`, for logs of
    others, more lines may follow.
    """
    lines = text.decode().split("\n")
    whole = len(lines) >= 4 and not lines[-1] and all(lines[:-1])
    if not whole or (len(lines) > 4 and not extensions) or not _DECIMAL.fullmatch(lines[1]):
        raise Corrupt("checkpoint: not an origin, a size and a root hash", code="checkpoint")
    root = canonical.unb64(lines[2], what="checkpoint root")
    size = int(lines[1])
    if len(root) != 32 or size >= 1 << 63:
        raise Corrupt("checkpoint: the size or the root hash is malformed", code="checkpoint")
    return lines[0], size, root
