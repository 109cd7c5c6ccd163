"""Run one function, once, in a confined process."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from assay.isolation.limits import Level, Limits
from assay.isolation.probe import probe
from assay.isolation.process import Job, Process

_DEFAULT = Limits()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a confined function answered, and how it was held."""

    value: bytes
    level: Level
    cpu_seconds: float
    """Processor seconds of the whole process, its start and imports included; 0 if unknown."""
    max_rss: int
    """The most memory resident at once, in bytes; 0 where the kernel does not tell."""


def run(
    target: str,
    payload: bytes,
    *,
    inputs: Sequence[Path] = (),
    preload: Sequence[str] = (),
    limits: Limits = _DEFAULT,
    require: Level | None = None,
) -> Outcome:
    """Call ``function(payload) -> bytes`` in a fresh process, confined as far as this machine can.

    `target` is ``module:function``.  The module is imported *after* confinement; `preload` names
    trusted modules to import before it, which is needed only where they would not import confined.
    The function can read the interpreter's libraries, its own top-level package and `inputs`
    (files or folders, as absolute real paths), and nothing else: keep keys out of a package's
    folder.  It gets no environment, no current folder, no standard streams, and no keys.

    Raises
        `Denied` (``isolation.level``) when the machine does not reach the level `require`;
        `Unavailable` (``isolation.timeout``, ``.cpu``, ``.memory``, ``.crashed``, ``.answer``,
        ``.protocol``, ``.start``, ``.confine``) when there is no answer;
        what the function raised, where that is a `Usage`, `NotFound`, `Verification`, `Corrupt` or
        `Unavailable`, and `Verification` (``isolation.raised``) for anything else it raised;
        `Usage` or `NotFound` for a target, input or limit that is wrong.
    """
    capability = probe()
    level = capability.demand(require)
    deadline = time.monotonic() + limits.wall_seconds
    process = Process(Job(target, False, inputs, preload, limits), capability)
    try:
        value = process.exchange(payload, deadline)
        cpu_seconds, max_rss = process.usage()
    finally:
        process.end()
    return Outcome(value, level, cpu_seconds, max_rss)
