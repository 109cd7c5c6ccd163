"""Proofs that travel beside what they are about: C2SP tlog-proof, with our leaf's opening.

The text holds a checkpoint (with its witnesses' cosignatures), an index and the path between, so
that anybody who knows the log's key checks offline that a leaf is on it.  What the leaf says rides
in the `extra` line, which the format does not authenticate and which is therefore believed only as
far as it hashes to that leaf: either the opened statement, or the bare commitment.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import Any

import msgspec

from assay import canonical
from assay.errors import Corrupt, Usage
from assay.evidence import envelope as dsse
from assay.evidence import merkle
from assay.evidence.cosignatures import Note, VerifierKey, check_log, read_note
from assay.evidence.envelope import Envelope
from assay.evidence.tiles import leaf_bytes

HEADER = "c2sp.org/tlog-proof@v1"
SUFFIX = ".tlog-proof"
OPENING = "assay/opening/v1"
LIMIT = 24 << 20
"""Bytes of the largest proof read: an envelope of 16 MiB in base64."""
_INDEX = re.compile(r"index (0|[1-9][0-9]{0,18})")
_LONGEST_PATH = 63


class Proof(msgspec.Struct, frozen=True):
    """A proof, taken apart; nothing of it is verified."""

    index: int
    path: tuple[bytes, ...]
    note: bytes
    """The checkpoint, with all signatures."""
    extra: bytes | None = None


class Opening(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a leaf of ours is made of: a commitment alone, or the envelope and its nonce."""

    format: str
    commitment: str = ""
    nonce: str = ""
    envelope: Any = None


def encode(index: int, path: Sequence[bytes], note: bytes, extra: bytes | None = None) -> bytes:
    """The text of a proof that leaf `index` is under the checkpoint `note`."""
    lines = [HEADER]
    if extra is not None:
        lines.append(f"extra {canonical.b64(extra)}")
    lines += [f"index {index}", *map(canonical.b64, path)]
    return "\n".join(lines).encode() + b"\n\n" + note


def decode(data: bytes) -> Proof:
    """A proof from its text; raises `Corrupt` for any but the one spelling `encode` gives."""
    if len(data) > LIMIT:
        raise Corrupt(f"tlog-proof: larger than {LIMIT:,} bytes", code="proof")
    head, _, note = data.partition(b"\n\n")
    try:
        lines = head.decode("ascii").split("\n")
    except UnicodeDecodeError as error:
        raise Corrupt("tlog-proof: not text", code="proof") from error
    extra = None
    if len(lines) > 1 and lines[1].startswith("extra "):
        extra = canonical.unb64(lines.pop(1).removeprefix("extra "), what="tlog-proof: extra")
    index = _INDEX.fullmatch(lines[1]) if len(lines) > 1 else None
    if index is None or lines[0] != HEADER or len(lines) > 2 + _LONGEST_PATH:
        raise Corrupt(f"tlog-proof: not in the form of {HEADER}", code="proof")
    path = tuple(canonical.unb64(line, what="tlog-proof: path") for line in lines[2:])
    if any(len(node) != 32 for node in path):
        raise Corrupt("tlog-proof: a hash of another length than 32 bytes", code="proof")
    return Proof(int(index[1]), path, note, extra)


def verify(proof: Proof, leaf: bytes, log: VerifierKey) -> Note:
    """The checkpoint under which `leaf` (a leaf hash) is proven to be; raises `Verification`."""
    note = read_note(proof.note)
    check_log(note, log)
    merkle.verify_inclusion(leaf, proof.index, note.size, proof.path, note.root)
    return note


def opening(commitment: bytes, nonce: bytes | None = None, envelope: bytes | None = None) -> bytes:
    """The `extra` of a proof: with nonce and envelope everybody reads the statement."""
    if nonce is None or envelope is None:
        made = Opening(OPENING, commitment=canonical.b64(commitment))
    else:
        made = Opening(OPENING, nonce=canonical.b64(nonce), envelope=msgspec.json.decode(envelope))
    return canonical.encode(made)


class Opened(msgspec.Struct, frozen=True):
    """A leaf from a proof's `extra`: its hash, and what it says where that was opened."""

    hash: bytes
    envelope: Envelope | None


def opens(extra: bytes | None, envelope: bytes) -> bool:
    """Whether the leaf that `extra` describes holds this envelope; raises as `open_leaf` does."""
    found = open_leaf(extra).envelope
    return found is not None and dsse.encode(found) == envelope


def open_leaf(extra: bytes | None) -> Opened:
    """The leaf that `extra` describes, to be verified with; raises `Corrupt` or `Usage`."""
    if extra is None:
        raise Usage(
            "the proof does not say what its leaf is made of, so there is nothing to compare",
            remedy="check it with the leaf that lies beside it, or with the tool of that log",
            code="proof.extra",
        )
    plain = canonical.decode(extra, what="tlog-proof: extra")
    try:
        made = msgspec.convert(plain, Opening)
    except msgspec.ValidationError as error:
        raise Corrupt(f"tlog-proof: extra: {error}", code="proof.extra") from error
    if made.format != OPENING:
        raise Corrupt(
            f"tlog-proof: unknown format {made.format[:40]!r} of its extra data",
            remedy=f"this assay reads {OPENING}; use a newer one",
            code="proof.extra",
        )
    if made.commitment and not made.nonce and made.envelope is None:
        commitment = canonical.unb64(made.commitment, what="tlog-proof: commitment")
        envelope = None
    elif made.nonce and made.envelope is not None and not made.commitment:
        raw = canonical.encode(made.envelope)
        nonce = canonical.unb64(made.nonce, what="tlog-proof: nonce")
        if len(nonce) != 32:
            raise Corrupt("tlog-proof: a nonce of another length than 32 bytes", code="proof.extra")
        commitment = hashlib.sha256(nonce + raw).digest()
        envelope = dsse.decode(raw)
    else:
        raise Corrupt("tlog-proof: extra holds neither or both", code="proof.extra")
    if len(commitment) != 32:
        raise Corrupt("tlog-proof: a commitment is 32 bytes", code="proof.extra")
    return Opened(merkle.leaf_hash(leaf_bytes(commitment)), envelope)
