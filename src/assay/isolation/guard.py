"""Ends a group of processes when whoever started them is gone, however that came about.

The kernel ends a confined process with its parent (`identity.end_with_parent`), but not those that
it started itself.  For these there is a guard: a small process outside of their group and session,
which holds a pipe from their parent.  Where the pipe ends without a word, it kills the group.

As a script, ``python -I -S -B guard.py LEADER``, this is the guard: it needs nothing but the
standard library, and gets nothing but a number.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys

_DONE = b"done"


class Guard:
    """A guard of one group; raises `OSError` when it cannot be started."""

    def __init__(self, leader: int, interpreter: str) -> None:
        from assay.isolation import starting

        self._child = starting.start(
            [interpreter, "-I", "-S", "-B", __file__, str(leader)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            close_fds=True,
            cwd="/",
            env={},
            start_new_session=True,
        )

    def dismiss(self) -> None:
        """The group is gone: there is nothing left to guard."""
        pipe = self._child.stdin
        assert pipe is not None  # noqa: S101 - asked for above.
        try:
            pipe.write(_DONE)
            pipe.close()
        except OSError:  # Somebody killed it.
            pass
        self._child.wait()


def of(leader: int, interpreter: str) -> Guard:
    """A guard of the group of `leader`; raises `Unavailable`."""
    from assay.errors import Unavailable

    try:
        return Guard(leader, interpreter)
    except OSError as error:
        raise Unavailable(
            f"cannot start the guard of a confined process: {error.strerror}",
            remedy="check memory and process limits of this machine",
            code="isolation.start",
        ) from error


def main(leader: int) -> None:
    """Wait for the word, or for the end of whoever would say it."""
    said = b""
    while len(said) < len(_DONE):
        piece = os.read(0, len(_DONE) - len(said))
        if not piece:
            os.killpg(leader, signal.SIGKILL)
            return
        said += piece


if __name__ == "__main__":
    main(int(sys.argv[1]))
