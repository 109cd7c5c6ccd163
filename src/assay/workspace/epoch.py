"""The epoch: a number in a mapped file that moves with every change of state.

A decision may be cached as long as the epoch it was made in lasts.  Reading it is one memory load,
so an endpoint asks at every request.  A writer makes the number odd before it commits and even
after: an odd epoch means that a change is under way (or that a writer died), and nothing may be
cached.  `recover` settles an epoch left odd.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import struct
from collections.abc import Generator
from pathlib import Path

from assay import files
from assay.errors import Unavailable

_SIZE = 8
_FORMAT = "<Q"


class Epoch:
    """The epoch file of one workspace, mapped shared."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            with contextlib.suppress(FileExistsError):
                files.write(path, bytes(_SIZE), replace=False)
        self._lock = path.with_name("epoch.lock")
        try:
            handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            raise Unavailable(f"cannot open {path}: {error.strerror}", code="epoch") from error
        try:
            if os.fstat(handle).st_size != _SIZE:
                # In place: other processes may have it mapped.  Whatever it counts from now on,
                # what was cached before ends with its lease.
                os.ftruncate(handle, _SIZE)
            self._map = mmap.mmap(handle, _SIZE)
        except (OSError, ValueError) as error:
            raise Unavailable(f"{path} is not an epoch file: {error}", code="epoch") from error
        finally:
            os.close(handle)

    def read(self) -> int | None:
        """The epoch, or None while a change is under way (then nothing may be cached)."""
        (value,) = struct.unpack(_FORMAT, self._map)
        return None if value & 1 else value

    @contextlib.contextmanager
    def changing(self) -> Generator[None]:
        """Mark a change of state: caches end before it is committed and may start again after."""
        with files.Lock(self._lock):
            (value,) = struct.unpack(_FORMAT, self._map)
            odd = value | 1
            self._map[:] = struct.pack(_FORMAT, odd)
            try:
                yield
            finally:
                # Also after a failure: the state is then what the ledger says, and is read anew.
                self._map[:] = struct.pack(_FORMAT, odd + 1)
