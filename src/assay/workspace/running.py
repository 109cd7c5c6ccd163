"""Which decisions a living process is working on, and what killed ones left lying.

For each decision that is being done there is a locked file: a lock ends with its process, however
that ends, so recovery never takes up what somebody else is still doing.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Collection, Generator
from pathlib import Path

from assay import files
from assay.errors import Unavailable


class Running:
    """The lock files in ``doing/`` and the working folders in ``work/`` of a workspace."""

    def __init__(self, root: Path) -> None:
        self._doing = root / "doing"
        self._work = root / "work"

    @contextlib.contextmanager
    def mark(self, decision: str) -> Generator[None]:
        """Hold the lock that tells recovery to leave this decision alone."""
        files.make_folder(self._doing)
        path = self._doing / decision
        with files.Lock(path):
            try:
                yield
            finally:
                path.unlink(missing_ok=True)

    def is_alive(self, decision: str) -> bool:
        """Whether a process works on it."""
        path = self._doing / decision
        if not path.exists():
            return False
        try:
            with files.Lock(path, wait=False):
                path.unlink(missing_ok=True)
                return False
        except Unavailable:
            return True

    def clear(self, closed: Collection[str]) -> list[str]:
        """Remove what processes that were killed left lying, plain copies of models above all.

        A lock file may be one that a process has just made and not locked yet, so only those of
        `closed` decisions go.
        """
        done: list[str] = []
        for left in sorted(self._work.iterdir()) if self._work.is_dir() else []:
            if not self.is_alive(left.name):
                shutil.rmtree(left, ignore_errors=True)
                done.append(f"removed {left}, left by a process that stopped")
        for left in list(self._doing.iterdir()) if self._doing.is_dir() else []:
            if left.name in closed:
                left.unlink(missing_ok=True)
        return done
