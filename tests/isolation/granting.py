"""Run a function with grants, at a level, for the tests."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from assay.errors import AssayError
from assay.isolation import group, scratch
from assay.isolation.capability import Capability
from assay.isolation.grants import Grants
from assay.isolation.limits import MIB, Limits
from assay.isolation.probe import attempt as works
from assay.isolation.probe import probe
from assay.isolation.process import Job, Process

LIMITS = Limits(
    memory_bytes=512 * MIB,
    cpu_seconds=5,
    wall_seconds=20,
    threads=16,
    file_bytes=MIB,
    answer_bytes=1 << 16,
)
LEVELS = ("full", "landlock", pytest.param("bubblewrap", marks=pytest.mark.slow))


def held(how: str) -> Capability:
    """All this machine offers; or Landlock and the filter alone; or those inside bubblewrap."""
    offered = probe()
    if offered.level != "full":
        pytest.skip(f"this machine reaches {offered.level}: {offered.notes}")
    plain = replace(offered, uid_separation=False, user_namespace=False, bubblewrap=None)
    if how == "landlock":
        return plain
    if how == "full":
        return offered
    program = shutil.which("bwrap")
    wrapped = replace(plain, bubblewrap=program)
    if program is None or works(wrapped) is not None:
        pytest.skip("bubblewrap does not work here")
    return wrapped


@dataclass
class Granted:
    """A scratch folder, a log beside it, and functions to run with them."""

    folder: Path
    capability: Capability
    module: str = "granted_targets"
    pid: int = 0

    @property
    def scratch(self) -> Path:
        return self.folder / "scratch"

    @property
    def log(self) -> Path:
        return self.folder / "log"

    def run(
        self,
        target: str,
        payload: bytes,
        grants: Grants,
        *,
        inputs: Sequence[Path] = (),
        preload: Sequence[str] = (),
        **changes: Any,
    ) -> bytes:
        limits = replace(LIMITS, **changes)
        job = Job(target, False, inputs, preload, limits, grants)
        deadline = time.monotonic() + limits.wall_seconds
        process = Process(job, self.capability)
        self.pid = process.pid
        try:
            return process.exchange(payload, deadline)
        finally:
            process.end()
            assert not [m for m in group.members(self.pid) if m.alive]

    def do(
        self, what: str, told: dict[str, Any] | None = None, *, limits: Any = None, **grants: Any
    ) -> Any:
        """What the function returned; or a text that begins with ``stopped: ``."""
        if "scratch" not in grants:
            self.scratch.mkdir(exist_ok=True)
            grants["scratch"] = self.scratch
        payload = json.dumps({"do": what, "told": told or {}}).encode()
        said = self.run(f"{self.module}:attempt", payload, Grants(**grants), **(limits or {}))
        return said.decode() if said.startswith(b"stopped: ") else json.loads(said)

    def clear(self) -> None:
        scratch.remove(self.scratch)

    def fails(self, what: str, told: dict[str, Any] | None = None, **grants: Any) -> AssayError:
        with pytest.raises(AssayError) as caught:
            self.do(what, told, **grants)
        return caught.value


def victims(folder: Path) -> dict[str, str]:
    """Files and folders that any user may write, so that only confinement can be what stops it."""
    folder.mkdir()
    folder.chmod(0o777)
    file = folder / "file"
    file.write_bytes(b"secret")
    file.chmod(0o666)
    os.utime(file, (1000, 1000))
    return {"path": str(file), "new": str(folder / "new")}
