"""How much a confined process may use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from assay.errors import Usage

Level: TypeAlias = Literal["none", "limits", "process", "full"]

LEVELS: tuple[Level, ...] = ("none", "limits", "process", "full")
"""How confined a process is, weakest first; each level includes those before it.

``none``
    A process of its own with a clean environment and no inherited file descriptors.
``limits``
    Bounded memory, processor time and file size.  Reads and writes what this user may.
``process``
    A list of allowed system calls (seccomp): no other programs or processes, no network, no
    signals, no tracing, no writing.  *Reads* what this user may, keys included.
``full``
    Reads only the libraries and the declared inputs (Landlock).

What a function was granted (`assay.isolation.grants`) is an exception to this, and as narrow as it
says at level ``full`` only.  At level ``process`` a scratch folder lets it write wherever its user
may, and processes let it start every program; ports are denied.  Below, it could do all that, and
leave the group of processes that is ended with it.
"""

MIB = 1 << 20
GIB = 1 << 30
PAYLOAD_LIMIT = 256 * MIB
"""The most bytes that one call may be given; larger things are declared inputs, named by path."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one call may use; `Usage` for a value that is not positive (`file_bytes` may be 0).

    memory_bytes
        Address space of the process (RLIMIT_AS): counts what is mapped, not only what is touched;
        a process with ONNX Runtime maps about 1.5 GiB before it does anything.
    cpu_seconds
        Processor seconds of one call, all threads together (RLIMIT_CPU, whole seconds).
    wall_seconds
        Seconds from asking to the whole answer, starting the process included.
    file_bytes
        The longest file that may be written (RLIMIT_FSIZE), the log included.  From level
        ``process`` up, nothing is writable but what was granted.  A log ends earlier, at 64 MiB.
    scratch_bytes
        What the scratch folder may hold in all, seen several times a second.  A file that is open
        and has no name any more is bounded by `file_bytes` alone.
    threads
        The most threads, where they can be counted (a user id or user namespace of its own); of a
        function that may start processes, threads and processes.
    answer_bytes
        The longest answer accepted.
    """

    memory_bytes: int = 4 * GIB
    cpu_seconds: int = 60
    wall_seconds: float = 120.0
    file_bytes: int = 0
    scratch_bytes: int = 64 * GIB
    threads: int = 64
    answer_bytes: int = 64 * MIB

    def __post_init__(self) -> None:
        for name in (
            "memory_bytes",
            "cpu_seconds",
            "wall_seconds",
            "threads",
            "answer_bytes",
            "scratch_bytes",
        ):
            if not getattr(self, name) > 0:
                raise Usage(f"the limit {name} must be more than 0", code="isolation.limits")
        if self.file_bytes < 0:
            raise Usage("the limit file_bytes must not be negative", code="isolation.limits")
