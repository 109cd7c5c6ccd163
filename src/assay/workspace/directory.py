"""Names of actors: the one place where an id becomes a person, and it can be erased.

The ledger carries random ids only.  The directory is a sealed file outside the ledger; erasing an
entry leaves every statement valid and nobody named.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from assay import canonical, files
from assay.errors import AssayError, NotFound
from assay.evidence.ledger import Sealer
from assay.evidence.state import WORKSPACE

FORMAT = "assay/directory/v1"


class _Document(msgspec.Struct, forbid_unknown_fields=True):
    format: str
    names: dict[str, str]


class Directory:
    """Actor id → name, sealed under the workspace's ring."""

    def __init__(self, path: Path, sealer: Sealer) -> None:
        self._path = path
        self._sealer = sealer

    def names(self) -> dict[str, str]:
        """Every name, by actor id; raises `Verification` when the file was altered."""
        if not self._path.exists():
            return {}
        sealed = files.read(self._path, limit=1 << 24, what="directory")
        data = canonical.decode(self._sealer.open(WORKSPACE, sealed), what="directory")
        return msgspec.convert(data, _Document).names

    def name(self, actor: str) -> str:
        """The name, or the id where there is none (any more) or the file cannot be opened."""
        try:
            return self.names().get(actor, actor)
        except AssayError:
            return actor

    def find(self, name: str) -> str:
        """The actor of that name (or id); raises `NotFound`."""
        names = self.names()
        for actor, known in names.items():
            if name in (known, actor):
                return actor
        raise NotFound(
            f"nobody called {name!r} is enrolled",
            remedy=f"enrolled: {', '.join(sorted(names.values()))}",
            code="actor",
        )

    def put(self, actor: str, name: str) -> None:
        self._write({**self.names(), actor: name})

    def erase(self, actor: str) -> None:
        self._write({a: n for a, n in self.names().items() if a != actor})

    def _write(self, names: dict[str, str]) -> None:
        plain = canonical.encode(_Document(FORMAT, names))
        files.write(self._path, self._sealer.seal(WORKSPACE, plain))
