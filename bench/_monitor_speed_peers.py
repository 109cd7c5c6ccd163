"""The univariate report of one tool, in an environment that has it: for `bench/monitor_speed.py`.

Run: ``python _monitor_speed_peers.py assay|evidently|nannyml FOLDER ROUNDS``.  FOLDER holds
``reference.parquet`` and ``current.parquet``; printed is JSON: the processor seconds of each round
(all threads, without imports and without reading), and what was found of some columns.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Report = Callable[[], dict[str, float]]


def assay(folder: Path) -> Report:
    """A layout, both profiles and every effect size."""
    polars: Any = importlib.import_module("polars")
    effects: Any = importlib.import_module("assay.monitor.effects")
    profiles: Any = importlib.import_module("assay.monitor.profiles")
    reference = polars.read_parquet(folder / "reference.parquet")
    current = polars.read_parquet(folder / "current.parquet")

    def report() -> dict[str, float]:
        layout = profiles.layout(reference)
        before, now = (profiles.measure(frame, layout) for frame in (reference, current))
        found = effects.of_profiles(before, now)
        json.dumps([before.to_dict(), now.to_dict()])
        return {
            name: told["chi2"] if told["ks"] is None else told["ks"] for name, told in found.items()
        }

    return report


def evidently(folder: Path) -> Report:
    """Kolmogorov-Smirnov for numbers and chi-squared for categories: p-values."""
    pandas: Any = importlib.import_module("pandas")
    kind: Any = importlib.import_module("evidently").Report
    preset: Any = importlib.import_module("evidently.presets").DataDriftPreset
    reference = pandas.read_parquet(folder / "reference.parquet")
    current = pandas.read_parquet(folder / "current.parquet")

    def report() -> dict[str, float]:
        made = kind([preset(num_method="ks", cat_method="chisquare")]).run(current, reference)
        metrics = json.loads(made.json())["metrics"]
        return {
            m["config"]["column"]: float(m["value"]) for m in metrics if "column" in m["config"]
        }

    return report


def nannyml(folder: Path) -> Report:
    """Kolmogorov-Smirnov and chi-squared, each with Jensen-Shannon, in one chunk."""
    pandas: Any = importlib.import_module("pandas")
    calculator: Any = importlib.import_module("nannyml").UnivariateDriftCalculator
    reference = pandas.read_parquet(folder / "reference.parquet")
    current = pandas.read_parquet(folder / "current.parquet")
    texts = [name for name in reference.columns if name.startswith("c")]

    def report() -> dict[str, float]:
        made = calculator(
            column_names=list(reference.columns),
            treat_as_categorical=texts,
            continuous_methods=["kolmogorov_smirnov", "jensen_shannon"],
            categorical_methods=["chi2", "jensen_shannon"],
            chunk_number=1,
        )
        made.fit(reference)
        frame = made.calculate(current).filter(period="analysis").to_df()
        return {
            name: float(
                frame[(name, "chi2" if name in texts else "kolmogorov_smirnov", "value")].iloc[0]
            )
            for name in reference.columns
        }

    return report


def main() -> None:
    tool, folder, rounds = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    report = {"assay": assay, "evidently": evidently, "nannyml": nannyml}[tool](folder)
    seconds: list[float] = []
    found: dict[str, float] = {}
    for _ in range(rounds):
        start = time.process_time()
        found = report()
        seconds.append(time.process_time() - start)
    sys.stdout.write(json.dumps({"seconds": seconds, "found": found}) + "\n")


if __name__ == "__main__":
    main()
