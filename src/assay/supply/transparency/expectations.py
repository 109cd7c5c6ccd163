"""What whoever watches a log knows of it beforehand."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import msgspec

from assay import canonical
from assay.errors import Corrupt, Usage
from assay.evidence import merkle, tiles
from assay.evidence.cosignatures import VerifierKey


class Expected(msgspec.Struct, frozen=True):
    """What whoever watches knows beforehand."""

    known: Mapping[int, bytes] = {}
    """Index → leaf hash: leaves that must be on the log, at their places."""
    only: Collection[bytes] | None = None
    """Leaf hashes: a new leaf that is not among them is unexpected."""
    most_new: int | None = None
    """How many leaves may be new at one look."""
    max_age: int | None = None
    """Seconds after which a checkpoint is stale."""
    witnesses: Sequence[VerifierKey] = ()
    least: int = 0
    """How many of the witnesses must have cosigned."""


def known_leaves(bundle: Any) -> dict[int, bytes]:
    """Index → leaf hash of an exported bundle's leaves, from its JSON (`assay/bundle/v1`).

    Raises `Corrupt` for what is none.
    """
    found: dict[int, bytes] = {}
    try:
        for leaf in bundle["body"]["leaves"]:
            nonce = canonical.unb64(leaf["nonce"], what="bundle: nonce")
            raw = canonical.encode(leaf["envelope"])
            commitment = hashlib.sha256(nonce + raw).digest()
            found[int(leaf["index"])] = merkle.leaf_hash(tiles.leaf_bytes(commitment))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise Corrupt(f"not a bundle: {error}", code="bundle") from error
    return found


def expected_leaves(text: bytes) -> set[bytes]:
    """Leaf hashes from a list of commitments: 64 hexadecimal digits a line; raises `Usage`."""
    found: set[bytes] = set()
    for number, line in enumerate(text.decode("ascii", "replace").splitlines(), 1):
        word = line.partition("#")[0].strip()
        if not word:
            continue
        try:
            commitment = bytes.fromhex(word)
            if len(word) != 64 or len(commitment) != 32:
                raise ValueError
        except ValueError as error:
            raise Usage(
                f"line {number} of the list is no commitment",
                remedy="write 64 hexadecimal digits a line, as the log's owner lists them",
                code="monitor.expect",
            ) from error
        found.add(merkle.leaf_hash(tiles.leaf_bytes(commitment)))
    return found
