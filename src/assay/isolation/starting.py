"""Starts processes from one thread, which lives as long as this process does.

A confined process ends with whoever started it (`identity.end_with_parent`), and to the kernel that
is a *thread*.  Callers' threads come and go while the process that they asked for works on.
"""

from __future__ import annotations

import os
import queue
import subprocess
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

_Asked = tuple[Sequence[str], dict[str, Any], "Future[subprocess.Popen[bytes]]"]

_lock = threading.Lock()
_asked: queue.SimpleQueue[_Asked] | None = None


def start(words: Sequence[str], **options: Any) -> subprocess.Popen[bytes]:
    """``subprocess.Popen(words, **options)``, of bytes."""
    answer: Future[subprocess.Popen[bytes]] = Future()
    _starter().put((words, options, answer))
    interrupted: BaseException | None = None
    while True:
        try:
            child = answer.result()
            break
        except BaseException as error:
            if answer.done() and error is answer.exception():
                raise interrupted or error from None
            # Ctrl-C.  What is being started uses descriptors that the caller is about to close.
            interrupted = error
    if interrupted is not None:
        child.kill()
        child.wait()
        raise interrupted
    return child


def _starter() -> queue.SimpleQueue[_Asked]:
    global _asked
    with _lock:
        if _asked is None:
            _asked = queue.SimpleQueue()
            threading.Thread(
                target=_serve, args=(_asked,), name="assay-starter", daemon=True
            ).start()
        return _asked


def _serve(asked: queue.SimpleQueue[_Asked]) -> None:
    while True:
        words, options, answer = asked.get()
        try:
            answer.set_result(subprocess.Popen[bytes](words, **options))
        except BaseException as error:
            answer.set_exception(error)
        del answer  # Not kept while waiting for the next.


def _forget() -> None:
    """In a copy of this process, where the thread is not."""
    global _asked, _lock
    _asked, _lock = None, threading.Lock()


os.register_at_fork(after_in_child=_forget)
