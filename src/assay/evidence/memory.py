"""The newest checkpoint this user has seen, kept outside the workspace.

Whoever can restore an older copy of a ledger's folder cannot take this with it: a ledger that is
smaller than remembered was rolled back, one that does not extend what is remembered was forked.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from assay import files
from assay.errors import Corrupt, NotFound, Verification
from assay.evidence.notes import LIMIT, Checkpoint, parse_checkpoint
from assay.evidence.signers import PublicKey


class CheckpointMemory:
    """One file per origin under `folder`: the checkpoint's note, exactly as it was signed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, origin: str) -> Path:
        """The file for a ledger."""
        return self._folder / f"{hashlib.sha256(origin.encode()).hexdigest()[:32]}.checkpoint"

    def note(self, origin: str) -> bytes | None:
        """The remembered note, not verified; None when this ledger was never seen."""
        try:
            return files.read(self.path(origin), limit=LIMIT, what="remembered checkpoint")
        except NotFound:
            return None

    def parse(self, note: bytes, origin: str, key: PublicKey) -> Checkpoint:
        """A remembered note, verified; raises `Corrupt` naming the file when it does not hold."""
        try:
            return parse_checkpoint(note, origin, key)
        except (Corrupt, Verification) as error:
            raise Corrupt(
                f"the remembered checkpoint {self.path(origin)} is altered or of another key: "
                f"{error.message}",
                remedy="compare the ledger with another copy or witness, then remove the file",
                code="checkpoint.memory",
            ) from error

    def remember(self, note: bytes, checkpoint: Checkpoint, key: PublicKey) -> None:
        """Keep a note unless a newer one is kept already; durable when this returns."""
        path = self.path(checkpoint.origin)
        files.make_folder(self._folder)
        with files.Lock(path.with_suffix(".lock")):
            held = self.note(checkpoint.origin)
            if held is None or (self.parse(held, checkpoint.origin, key).size < checkpoint.size):
                files.write(path, note)
