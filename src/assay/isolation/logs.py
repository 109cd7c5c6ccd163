"""What a confined process prints, on its way into a file: a pipe, so that the file is bounded.

RLIMIT_FSIZE would bound it by what the process may write into *any* file, which is much more.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path

from assay.isolation.grants import open_log

MOST_BYTES = 64 << 20
"""Bytes of one log; what comes after them is lost."""
_PIECE = 1 << 16
_ENDING_SECONDS = 10.0


class Log:
    """A new file, and the end of a pipe (`handle`) that leads into it.

    Raises what `open_log` does, and `OSError`.
    """

    def __init__(self, path: Path, most: int) -> None:
        self._room = min(most, MOST_BYTES)
        self._file = open_log(path)
        try:
            self._reading, self.handle = os.pipe()
        except OSError:
            os.close(self._file)
            raise
        self._pump = threading.Thread(target=self._carry, name="assay-log", daemon=True)

    def begin(self) -> None:
        """The process has `handle` now, or there is none."""
        os.close(self.handle)
        self._pump.start()

    def finish(self) -> None:
        """Wait until all is in the file that was said; those who could say it have ended."""
        self._pump.join(_ENDING_SECONDS)

    def _carry(self) -> None:
        try:
            while piece := os.read(self._reading, _PIECE):
                self._write(piece[: self._room])
        finally:
            os.close(self._reading)
            os.close(self._file)

    def _write(self, piece: bytes) -> None:
        rest = memoryview(piece)
        try:
            while rest:
                done = os.write(self._file, rest)
                self._room -= done
                rest = rest[done:]
        except OSError:  # The disk is full.  The process goes on, and so must the pipe.
            self._room = 0
