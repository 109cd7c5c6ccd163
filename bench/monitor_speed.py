"""What a univariate report costs, beside Evidently and NannyML, in one run.

Run: ``python bench/monitor_speed.py``.  Two tables of 100,000 rows and 30 columns (20 of numbers,
10 of text), one of which has shifted in one column.  Each tool makes its report in a process of its
own, the peers in environments below ``build/bench-venvs``; counted are the processor seconds of all
threads, without imports and without reading the files, the median of some rounds.

assay does more than it is compared with: it makes the cells, counts both tables in them, and gives
every effect size.  Its KS is that of the cells, and so at most that of the values; the difference
is printed.  The other tools start with the rows each time; in assay a window is counted once, and
what is kept for later windows is the profile, whose size is printed.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from monitor_truth import environment
from scipy import stats

from assay.monitor import profiles

ROWS, NUMBERS, TEXTS = 100_000, 20, 10
ROUNDS = {"assay": 7, "evidently": 3, "nannyml": 3}
GOALS = {"evidently": 25, "nannyml": 10}
DOES = {
    "assay": "cells, 2 profiles, PSI, JS, KS, Wasserstein, chi2, V",
    "evidently": "KS and chi2, p-values",
    "nannyml": "KS and chi2, each with JS, one chunk",
}


def table(seed: int, shift: float) -> pl.DataFrame:
    """Normal, skewed, whole and zero-inflated numbers, and categories."""
    rng = np.random.default_rng(seed)
    kinds = (
        lambda: rng.normal(size=ROWS),
        lambda: rng.lognormal(10, 1, ROWS),
        lambda: rng.integers(16, 95, ROWS).astype(np.float64),
        lambda: np.where(rng.random(ROWS) < 0.3, 0, rng.gamma(2, 100, ROWS)),
    )
    columns: dict[str, Any] = {f"n{i}": kinds[i % len(kinds)]() for i in range(NUMBERS)}
    columns["n0"] += shift
    names = np.array([f"v{i}" for i in range(8)])
    columns |= {f"c{i}": rng.choice(names, ROWS) for i in range(TEXTS)}
    return pl.DataFrame(columns)


def measure(tool: str, folder: Path) -> dict[str, Any] | None:
    """What a tool needs and finds; None where it cannot be installed."""
    python = Path(sys.executable) if tool == "assay" else environment(tool)
    if python is None:
        return None
    script = Path(__file__).with_name("_monitor_speed_peers.py")
    quiet = {"DO_NOT_TRACK": "1", "NML_DISABLE_USAGE_LOGGING": "1", "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(
        [str(python), str(script), tool, str(folder), str(ROUNDS[tool])],
        capture_output=True,
        text=True,
        env={**os.environ, **quiet},
    )
    if done.returncode:
        print(f"  {tool}: {(done.stderr.strip().splitlines() or ['?'])[-1][:200]}")
        return None
    return json.loads(done.stdout.splitlines()[-1])


def ks(a: pl.Series, b: pl.Series) -> float:
    """Of the values themselves."""
    found: Any = stats.ks_2samp(a.to_numpy(), b.to_numpy(), method="asymp")
    return float(found.statistic)


def main() -> None:
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        reference, current = table(1, 0.0), table(2, 0.1)
        reference.write_parquet(folder / "reference.parquet")
        current.write_parquet(folder / "current.parquet")
        print(f"Univariate report, {ROWS:,} rows x {NUMBERS + TEXTS} columns, processor seconds\n")
        found = {tool: told for tool in ROUNDS if (told := measure(tool, folder)) is not None}
    seconds = {tool: statistics.median(told["seconds"]) for tool, told in found.items()}
    for tool, spent in seconds.items():
        goal = f"{spent / seconds['assay']:6.1f} x  (goal {GOALS[tool]})" if tool in GOALS else ""
        print(f"{tool:10}{spent:8.3f}  {goal:24}{DOES[tool]}")
    ours = found["assay"]["found"]
    if "nannyml" in found:
        theirs = found["nannyml"]["found"]
        chi2 = max(abs(ours[f"c{i}"] - theirs[f"c{i}"]) for i in range(TEXTS))
        print(f"\nchi2 differs from NannyML's by at most {chi2:.1e}")
    exact = [ks(reference[f"n{i}"], current[f"n{i}"]) - ours[f"n{i}"] for i in range(NUMBERS)]
    print(
        f"the KS of the cells is below that of the values by {min(exact):.4f} to {max(exact):.4f}"
    )
    layout = profiles.layout(reference)
    profile = profiles.measure(reference, layout)
    sizes = [len(json.dumps(made.to_dict())) / 1_000 for made in (layout, profile)]
    print(f"\nkept: {sizes[0]:.1f} kB of cells once, {sizes[1]:.1f} kB of counts for each window")


if __name__ == "__main__":
    main()
