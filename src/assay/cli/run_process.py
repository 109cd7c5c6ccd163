"""The process that works on a run on this machine: found by the lock it holds, and asked to end."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

from assay.errors import Unavailable
from assay.workspace.running import Running

PATIENCE = 30.0
"""Seconds to wait for it to end."""
_PAUSE = 0.05
_PROCESSES = Path("/proc")


def stop(root: Path, run: str) -> bool:
    """Ask the process that works on `run` to end, and wait for it; whether it has ended."""
    number = holder(root / "doing" / run)
    if number is None:
        raise Unavailable(
            f"run {run} goes on, but not in a process of this machine that you may stop",
            remedy="stop it where it was started: Ctrl-C in its terminal, or end its job",
            code="run.elsewhere",
        )
    with contextlib.suppress(ProcessLookupError):
        os.kill(number, signal.SIGTERM)
    running = Running(root)
    until = time.monotonic() + PATIENCE
    while running.is_alive(run):
        if time.monotonic() > until:
            return False
        time.sleep(_PAUSE)
    return True


def holder(lock: Path) -> int | None:
    """The process that has this very file open.  Nothing that is written down anywhere is believed:
    a number in a file could be that of any process by now, or of another machine's.

    Where a child has inherited the file, its parent is meant.
    """
    try:
        wanted = lock.stat()
    except OSError:
        return None
    found = {
        int(entry.name)
        for entry in (_PROCESSES.iterdir() if _PROCESSES.is_dir() else ())
        if entry.name.isdigit() and int(entry.name) != os.getpid() and _has_open(entry, wanted)
    }
    return next((number for number in sorted(found) if _parent(number) not in found), None)


def _has_open(process: Path, wanted: os.stat_result) -> bool:
    with contextlib.suppress(OSError):
        for handle in (process / "fd").iterdir():
            with contextlib.suppress(OSError):
                there = handle.stat()
                if (there.st_dev, there.st_ino) == (wanted.st_dev, wanted.st_ino):
                    return True
    return False


def _parent(number: int) -> int:
    with contextlib.suppress(OSError, ValueError, IndexError):
        told = (_PROCESSES / str(number) / "stat").read_text()
        return int(told.rpartition(")")[2].split()[1])
    return 0
