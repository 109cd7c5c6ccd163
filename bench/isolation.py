"""What confinement costs: starting a confined process, and calling a confined worker.

The call is compared with the least that any two processes can do: echo the same bytes over a
socket pair, unconfined, with nothing else.  Run: ``python bench/isolation.py``.
"""

from __future__ import annotations

import os
import socket
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

from assay.isolation.limits import MIB, Limits
from assay.isolation.probe import probe
from assay.isolation.run import run
from assay.isolation.worker import Worker

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "isolation"))

ECHO = "confined_targets:echo"
LIMITS = Limits(memory_bytes=512 * MIB)


def microseconds(call: Callable[[], object], *, times: int, rounds: int = 7) -> float:
    """The median over rounds of the mean time of one call: one slow round changes nothing."""
    found: list[float] = []
    for _ in range(rounds):
        start = time.perf_counter_ns()
        for _ in range(times):
            call()
        found.append((time.perf_counter_ns() - start) / times / 1000)
    return statistics.median(found)


def bare(payload: bytes) -> float:
    """Two processes that echo over a socket pair."""
    ours, theirs = socket.socketpair()
    child = os.fork()
    if child == 0:
        ours.close()
        while piece := theirs.recv(1 << 16):
            theirs.sendall(piece)
        os._exit(0)
    theirs.close()

    def call() -> None:
        ours.sendall(payload)
        missing = len(payload)
        while missing:
            missing -= len(ours.recv(1 << 16))

    found = microseconds(call, times=2000)
    ours.close()
    os.waitpid(child, 0)
    return found


def main() -> None:
    capability = probe()
    print(f"level {capability.level}, Landlock ABI {capability.landlock_abi}")
    for size in (64, 4096, 60_000):
        payload = bytes(size)
        least = bare(payload)
        with Worker.start("confined_targets:echo_factory", b"", limits=LIMITS) as worker:
            confined = microseconds(lambda w=worker, p=payload: w.call(p), times=2000)
        print(
            f"call, {size:6} bytes: bare {least:6.1f} µs, confined {confined:6.1f} µs, "
            f"ratio {confined / least:4.2f}"
        )
    start = microseconds(lambda: run(ECHO, b"", limits=LIMITS), times=5, rounds=3)
    print(f"run, start to end: {start / 1000:.0f} ms")


if __name__ == "__main__":
    main()
