"""What a user waits for before anything happens, in CPU time, beside a bare interpreter."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Sequence

RUNS = 7


def cpu(command: Sequence[str]) -> float:
    """The least processor time of several runs, in milliseconds: user and system."""
    best = float("inf")
    for _ in range(RUNS):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env={**os.environ})
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        best = min(best, 1000 * used)
    return best


def main() -> None:
    python = sys.executable
    bare = cpu([python, "-c", "pass"])
    print(f"least of {RUNS} runs, CPU ms; in brackets without the bare interpreter's {bare:.0f}\n")
    for name, command, limit in (
        ("import assay", [python, "-c", "import assay"], 150),
        ("assay --help", [python, "-m", "assay", "--help"], 300),
        ("assay model --help", [python, "-m", "assay", "model", "--help"], 300),
    ):
        used = cpu(command)
        print(f"  {name:<20} {used:>6.0f} ({used - bare:.0f})   at most {limit}")


if __name__ == "__main__":
    main()
