"""A cosigned checkpoint for a file that was made before there was one.

A bundle carries the checkpoint of the moment it was exported, and nothing can be added to it.  So
beside it lies the proof that its checkpoint is the beginning of one that witnesses cosigned: the
old size, the consistency proof and that checkpoint, as the body of C2SP tlog-witness has them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime

from assay import canonical
from assay.errors import Corrupt
from assay.evidence import merkle
from assay.evidence.cosignatures import (
    Cosignature,
    Note,
    VerifierKey,
    check_log,
    quorum,
    read_note,
)
from assay.evidence.notes import LIMIT as NOTE_LIMIT

SUFFIX = ".cosigned"
LIMIT = NOTE_LIMIT + 64 * 64
_OLD = re.compile(r"old (0|[1-9][0-9]{0,18})")
_MOST_HASHES = 63


def encode(old: int, proof: Sequence[bytes], note: bytes) -> bytes:
    """The text: that the tree of `old` leaves is the beginning of the one of `note`."""
    lines = [f"old {old}", *map(canonical.b64, proof)]
    return "\n".join(lines).encode() + b"\n\n" + note


def decode(data: bytes) -> tuple[int, list[bytes], bytes]:
    """The old size, the proof and the checkpoint; raises `Corrupt` for any other text."""
    head, blank, note = data.partition(b"\n\n")
    try:
        first, *lines = head.decode("ascii").split("\n")
    except UnicodeDecodeError as error:
        raise Corrupt("it is not text", code="witnessed") from error
    old = _OLD.fullmatch(first)
    if not blank or old is None or len(lines) > _MOST_HASHES or len(data) > LIMIT:
        raise Corrupt("it is not: old SIZE, hashes, an empty line, a checkpoint", code="witnessed")
    proof = [canonical.unb64(line, what="consistency proof") for line in lines]
    if any(len(node) != 32 for node in proof):
        raise Corrupt("a hash of another length than 32 bytes", code="witnessed")
    return int(old[1]), proof, note


def verify(
    data: bytes,
    old: Note,
    log: VerifierKey,
    witnesses: Sequence[VerifierKey],
    least: int,
    *,
    now: datetime | None = None,
) -> list[Cosignature]:
    """The witnesses of the checkpoint that `old`, verified already, is the beginning of.

    Raises `Verification` when it is not its beginning, or too few cosigned it.
    """
    size, proof, raw = decode(data)
    note = read_note(raw)
    check_log(note, log)
    if size != old.size:
        raise Corrupt(f"it is about {size} leaves, not {old.size}", code="witnessed")
    merkle.verify_consistency(old.size, note.size, old.root, note.root, proof)
    return quorum(note, log, witnesses, least, now=now)
