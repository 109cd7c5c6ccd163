"""A process and all that it started: how much they use together, and ending them all.

They are found by their process group.  A confined process leads one of its own, and neither it nor
a descendant can leave it: setsid and setpgid are refused (from level ``process`` up).  Signalling
a group is atomic: a process that is being forked meanwhile is either signalled, too, or not made
(the kernel's ``copy_process``), so no fork outruns it.

Linux only: reads ``/proc``.
"""

from __future__ import annotations

import contextlib
import os
import select
import time
from dataclasses import dataclass
from pathlib import Path

from assay.errors import Unavailable
from assay.isolation.limits import Limits

_TICKS = os.sysconf("SC_CLK_TCK")
_DEAD = (b"Z", b"X", b"x")
_WRAPPERS = 2  # Bubblewrap's own.


@dataclass(frozen=True, slots=True)
class Member:
    pid: int
    alive: bool
    cpu_seconds: float
    """Its own, and that of its children that ended and were waited for."""


def members(leader: int) -> list[Member]:
    """The processes of a group, those that ended and were not yet waited for included."""
    found: list[Member] = []
    for name in os.listdir("/proc"):  # noqa: PTH208 - names only.
        if not name.isdigit():
            continue
        try:
            # Of every process of the machine, after every step: as plainly as can be.
            with open(f"/proc/{name}/stat", "rb", buffering=0) as stream:  # noqa: PTH123
                told = stream.read()
        except OSError:  # It has ended meanwhile.
            continue
        # proc_pid_stat(5): the name in parentheses may itself contain any character.
        state, _, group, *rest = told.rpartition(b")")[2].split()
        if int(group) == leader:
            # utime, stime, cutime, cstime are fields 14 to 17; `rest` begins with field 6.
            used = sum(map(int, rest[8:12])) / _TICKS
            found.append(Member(int(name), state not in _DEAD, used))
    return found


def memory(of: list[Member]) -> int:
    """The bytes resident that belong to no file: what is shared counts once for each process."""
    total = 0
    for member in of:
        with contextlib.suppress(OSError, ValueError):
            for line in Path(f"/proc/{member.pid}/status").read_text().splitlines():
                if line.startswith(("RssAnon:", "RssShmem:")):
                    total += int(line.split()[1]) * 1024
    return total


def wait(pid: int, seconds: float) -> None:
    """Wait up to `seconds` for a child to end, and leave its status to be collected."""
    handle = os.pidfd_open(pid)
    try:
        poller = select.poll()  # select cannot wait for descriptors from 1024 up.
        poller.register(handle, select.POLLIN)
        poller.poll(1000 * seconds)
    finally:
        os.close(handle)


def wait_until_dead(leader: int, seconds: float) -> bool:
    """Whether every member has ended within `seconds`; they must have been killed before.

    The leader must not have been waited for, so that its number cannot name another group.
    """
    deadline = time.monotonic() + seconds
    while alive := [member.pid for member in members(leader) if member.alive]:
        for pid in alive:
            with contextlib.suppress(ProcessLookupError):
                handle = os.pidfd_open(pid)
                try:
                    poller = select.poll()
                    poller.register(handle, select.POLLIN)
                    left = deadline - time.monotonic()
                    if left <= 0 or not poller.poll(left * 1000):
                        return False
                finally:
                    os.close(handle)
    return True


class Family:
    """A process that may start others, and the limits of all together."""

    def __init__(self, leader: int, limits: Limits) -> None:
        self._leader = leader
        self._limits = limits
        self.most_memory = 0
        """The most bytes they were seen to have at once."""

    def cpu_seconds(self) -> float:
        return sum(member.cpu_seconds for member in members(self._leader))

    def check(self) -> None:
        """`Unavailable` when together they use more than the limits at this moment."""
        found = members(self._leader)
        limits = self._limits
        self.most_memory = max(self.most_memory, resident := memory(found))
        if len(found) > limits.threads + _WRAPPERS:
            what, code = f"{limits.threads} processes and threads", "processes"
        elif resident > limits.memory_bytes:
            what, code = f"{limits.memory_bytes} bytes of memory", "memory"
        elif sum(member.cpu_seconds for member in found) > limits.cpu_seconds:
            what, code = f"{limits.cpu_seconds} processor seconds", "cpu"
        else:
            return
        raise Unavailable(
            f"the confined process and those it started used more than their {what}",
            remedy="raise the limit, or give it less to do at once",
            code=f"isolation.{code}",
        )
