"""Run one function, once, in a confined process."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from assay.errors import AssayError
from assay.isolation.grants import NO_GRANTS, Grants
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
    grants: Grants = NO_GRANTS,
    on_start: Callable[[Callable[[], None]], None] | None = None,
) -> Outcome:
    """Call ``function(payload) -> bytes`` in a fresh process, confined as far as this machine can.

    `target` is ``module:function``.  The module is imported *after* confinement; `preload` names
    trusted modules to import before it, which is needed only where they would not import confined.
    The function can read the interpreter's libraries, its own top-level package and `inputs`
    (files or folders, as absolute real paths), and nothing else: keep keys out of a package's
    folder.  It gets no environment, no current folder, no standard streams, and no keys.  `grants`
    adds what it may do besides.

    `on_start` is handed a function that ends the process at once, callable from any thread, as
    soon as there is a process; after that call there is no answer, only ``isolation.ended``.

    Raises
        `Denied` (``isolation.level``) when the machine does not reach the level `require`, or
        (``isolation.network``) cannot hold the function to the ports it was granted;
        `Unavailable` (``isolation.timeout``, ``.cpu``, ``.memory``, ``.crashed``, ``.answer``,
        ``.protocol``, ``.start``, ``.confine``; with `on_start` ``.ended``; with `grants`
        ``.processes``, ``.scratch``, ``.disk``, ``.log``, ``.left``) when there is no answer;
        what the function raised, where that is a `Usage`, `NotFound`, `Verification`, `Corrupt` or
        `Unavailable`, and `Verification` (``isolation.raised``) for anything else it raised;
        `Usage` or `NotFound` for a target, input or limit that is wrong.
    """
    capability = probe()
    level = capability.demand(require)
    deadline = time.monotonic() + limits.wall_seconds
    process = Process(Job(target, False, inputs, preload, limits, grants), capability, on_start)
    try:
        value = process.exchange(payload, deadline)
        cpu_seconds, max_rss = process.usage()
    except AssayError as error:
        process.raise_if_stopped(error)
        raise
    finally:
        process.end()
    process.raise_if_stopped(None)
    return Outcome(value, level, cpu_seconds, max_rss)
