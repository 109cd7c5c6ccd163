"""What one process found out and another need not find out again: sealed, so that it is believed.

Each entry is a file, sealed under the workspace's ring together with its key.  An entry that is
absent, altered or another one's costs time and nothing else.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from assay import canonical, files
from assay.errors import AssayError
from assay.evidence.ledger import Sealer
from assay.evidence.state import WORKSPACE

FORMAT = "assay/memo/v1"
_LIMIT = 1 << 28


class _Entry(msgspec.Struct, forbid_unknown_fields=True):
    format: str
    key: str
    value: bytes


class Memo:
    """Key → bytes, for what can be found out anew at any time."""

    def __init__(self, folder: Path, sealer: Sealer) -> None:
        self._folder = folder
        self._sealer = sealer

    def get(self, key: str) -> bytes | None:
        """What was put under `key`; None when there is nothing that can be believed."""
        try:
            sealed = files.read(self._path(key), limit=_LIMIT, what="memo")
            entry = msgspec.msgpack.decode(self._sealer.open(WORKSPACE, sealed), type=_Entry)
        except (AssayError, msgspec.MsgspecError):
            return None
        return entry.value if (entry.format, entry.key) == (FORMAT, key) else None

    def put(self, key: str, value: bytes) -> None:
        """Keep `value`; failing to is no failure."""
        entry = msgspec.msgpack.encode(_Entry(FORMAT, key, value))
        try:
            files.make_folder(self._folder)
            files.write(self._path(key), self._sealer.seal(WORKSPACE, entry))
        except AssayError:
            return

    def _path(self, key: str) -> Path:
        return self._folder / canonical.digest(key.encode()).partition(":")[2]
