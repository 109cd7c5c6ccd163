"""Functions that the tests run confined, and that end for nothing but a signal."""

from __future__ import annotations

import os
import signal
import threading


def stay(payload: bytes) -> bytes:
    """Deaf to every signal that can be ignored, as busy as can be, and with a thread besides."""
    del payload
    for number in range(1, 32):
        if number not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_turn).start()
    with open("here", "w") as stream:  # noqa: PTH123
        stream.write("here")
    _turn()
    return b""


def stay_with_children(payload: bytes) -> bytes:
    """So are copies of this process."""
    if os.fork() == 0 and os.fork() == 0:
        return stay(payload)
    while True:
        signal.pause()


def _turn() -> None:
    while True:
        pass
