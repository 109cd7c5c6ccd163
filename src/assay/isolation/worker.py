"""A long-lived confined process that answers many calls: what an endpoint is served by."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from pathlib import Path

from assay.isolation.limits import Level, Limits
from assay.isolation.probe import probe
from assay.isolation.process import Job, Process

_DEFAULT = Limits()


class Worker:
    """``factory(init) -> handler`` is called once, confined; then ``handler(request) -> bytes``.

    Calls are answered one at a time; threads that share a worker wait for each other.  A worker
    that crashed, hung or broke the protocol is ended and stays ended: `alive` is then false, and
    starting another is the caller's decision.  An error the handler raises leaves it alive.
    """

    def __init__(self, process: Process, level: Level, limits: Limits) -> None:
        self._process = process
        self._limits = limits
        self._turn = threading.Lock()
        self.level = level
        """The level of confinement reached."""

    @classmethod
    def start(
        cls,
        target: str,
        init: bytes,
        *,
        inputs: Sequence[Path] = (),
        preload: Sequence[str] = (),
        limits: Limits = _DEFAULT,
        require: Level | None = None,
    ) -> Worker:
        """Start a worker and wait until its factory is done.

        As `assay.isolation.run.run`, with these differences: `limits.wall_seconds` bounds the
        start and then each call by itself, and `limits.cpu_seconds` does not apply, because
        the kernel would count it over the worker's whole life.
        """
        capability = probe()
        level = capability.demand(require)
        deadline = time.monotonic() + limits.wall_seconds
        process = Process(Job(target, True, inputs, preload, limits), capability)
        try:
            process.exchange(init, deadline)
        except BaseException:
            process.end()
            raise
        return cls(process, level, limits)

    @property
    def alive(self) -> bool:
        """Whether the worker can be called: it was not ended and has not died."""
        return self._process.alive

    @property
    def pid(self) -> int:
        return self._process.pid

    def call(self, request: bytes) -> bytes:
        """The handler's answer; raises as `assay.isolation.run.run` does.

        `Unavailable` (``isolation.closed``) when the worker has ended before.
        """
        with self._turn:
            return self._process.exchange(request, time.monotonic() + self._limits.wall_seconds)

    def close(self) -> None:
        """End the worker at once; a call in progress in another thread fails."""
        self._process.end()

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
