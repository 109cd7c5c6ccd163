"""A process that starts a confined one, for the tests that kill it."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from dataclasses import fields
from pathlib import Path

from assay.isolation.capability import Capability
from assay.isolation.grants import Grants
from assay.isolation.limits import MIB, Limits
from assay.isolation.process import Job, Process


def main() -> None:
    """``driver.py CAPABILITY FOLDER TARGET``: prints the number of what it started, and waits."""
    told = json.loads(sys.argv[1])
    capability = Capability(**{f.name: told[f.name] for f in fields(Capability) if f.name in told})
    folder, target = Path(sys.argv[2]), sys.argv[3]
    grants = Grants(scratch=folder, processes=target == "stay_with_children")
    limits = Limits(
        memory_bytes=512 * MIB, cpu_seconds=600, wall_seconds=600, threads=16, file_bytes=MIB
    )
    job = Job(f"outlive:{target}", False, (), (), limits, grants)
    made: list[Process] = []
    # The thread that asked for it ends before this process does.
    asking = threading.Thread(target=lambda: made.append(Process(job, capability)))
    asking.start()
    asking.join()
    (process,) = made
    print(process.pid, flush=True)  # noqa: T201
    process.exchange(b"", time.monotonic() + 600)


if __name__ == "__main__":
    sys.path.insert(0, os.path.dirname(__file__))  # noqa: PTH120
    main()
