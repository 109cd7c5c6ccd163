"""Inclusion proofs as files of their own: C2SP tlog-proof.

The text holds a checkpoint, an index and the audit path, so that anyone with the ledger's key can
check offline that a leaf is on the ledger.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence

from assay.errors import Corrupt
from assay.evidence import merkle
from assay.evidence.notes import Checkpoint, parse_checkpoint
from assay.evidence.signers import PublicKey

_HEADER = "c2sp.org/tlog-proof@v1"
_INDEX = re.compile(r"index (0|[1-9][0-9]{0,18})")


def encode(index: int, path: Sequence[bytes], note: bytes) -> bytes:
    """The text of a proof that leaf `index` is under the checkpoint `note`."""
    lines = [_HEADER, f"index {index}", *(base64.b64encode(node).decode() for node in path)]
    return "\n".join(lines).encode() + b"\n\n" + note


def verify(proof: bytes, leaf: bytes, origin: str, key: PublicKey) -> tuple[int, Checkpoint]:
    """The index and checkpoint under which `leaf` (a leaf hash) is proven to be.

    Raises `Corrupt` for malformed text (extra data is refused: nothing authenticates it) and
    `Verification` when the checkpoint or the path does not hold.
    """
    head, _, note = proof.partition(b"\n\n")
    checkpoint = parse_checkpoint(note, origin, key)
    try:
        lines = head.decode("ascii").split("\n")
        index = _INDEX.fullmatch(lines[1]) if len(lines) > 1 else None
        path = [base64.b64decode(line, validate=True) for line in lines[2:]]
    except (UnicodeDecodeError, binascii.Error, ValueError) as error:
        raise Corrupt("tlog-proof: malformed", code="proof") from error
    if index is None or encode(int(index[1]), path, note) != proof:
        raise Corrupt(f"tlog-proof: not in the form of {_HEADER}", code="proof")
    merkle.verify_inclusion(leaf, int(index[1]), checkpoint.size, path, checkpoint.root)
    return int(index[1]), checkpoint
