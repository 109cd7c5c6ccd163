from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from assay.isolation.capability import Capability
from assay.isolation.limits import MIB, Limits
from assay.isolation.probe import probe
from assay.isolation.process import Job, Process

SMALL = Limits(
    memory_bytes=512 * MIB, cpu_seconds=5, wall_seconds=20, threads=8, answer_bytes=1 << 16
)


@pytest.fixture(autouse=True)
def _targets_are_importable(monkeypatch: pytest.MonkeyPatch) -> None:  # pyright: ignore
    monkeypatch.syspath_prepend(str(Path(__file__).parent))


def at_level(level: str) -> Capability:
    """What this machine offers, taken back to `level`; skips the test where it offers less.

    Below ``full``, without a user id of its own or bubblewrap: what is tested there is what the
    system call filter does alone; ``landlock`` is that and Landlock.
    """
    offered = probe()
    plain = replace(offered, uid_separation=False, user_namespace=False, bubblewrap=None)
    if level == "full":
        capability = offered
    elif level == "landlock":
        capability, level = plain, "full"
    elif level == "process":
        capability = replace(plain, landlock_abi=0)
    else:
        capability = Capability(
            limits=level == "limits",
            landlock_abi=0,
            seccomp=False,
            uid_separation=False,
            user_namespace=False,
            bubblewrap=None,
        )
    if capability.level != level:
        pytest.skip(f"this machine reaches {offered.level}: {offered.notes}")
    return capability


Attempt = Callable[..., bytes]


@pytest.fixture
def attempt() -> Attempt:
    """Run one hostile probe in a process confined at a level; its answer."""

    def attempt(
        name: str,
        told: dict[str, Any],
        level: str,
        *,
        inputs: Sequence[Path] = (),
        **changes: Any,
    ) -> bytes:
        limits = replace(SMALL, **changes)
        job = Job("hostile_probes:attempt", False, inputs, (), limits)
        deadline = time.monotonic() + limits.wall_seconds
        process = Process(job, at_level(level))
        try:
            return process.exchange(json.dumps({"probe": name, "told": told}).encode(), deadline)
        finally:
            process.end()

    return attempt
