"""Evidently and NannyML, each in its own environment: adapters for `bench/monitor_truth.py`.

Run: ``python _monitor_peers.py evidently FOLDER`` or ``python _monitor_peers.py nannyml FOLDER``.
FOLDER holds what is to be looked at as Parquet, and gets ``answer.json``.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from pathlib import Path
from typing import Any


def evidently(folder: Path) -> dict[str, Any]:
    """Each window's drift scores, by the report with default settings."""
    pandas: Any = importlib.import_module("pandas")
    report: Any = importlib.import_module("evidently").Report
    preset: Any = importlib.import_module("evidently.presets").DataDriftPreset
    reference = pandas.read_parquet(folder / "reference.parquet")
    answer: dict[str, Any] = {"windows": []}
    for path in sorted(folder.glob("window-*.parquet")):
        found = json.loads(report([preset()]).run(pandas.read_parquet(path), reference).json())
        columns, share = {}, None
        for metric in found["metrics"]:
            config = metric["config"]
            if "column" in config:
                columns[config["column"]] = [metric["value"], config["method"], config["threshold"]]
            elif "drift_share" in config:
                share = metric["value"]["share"]
        answer["windows"].append({"columns": columns, "share": share})
    return answer


def nannyml(folder: Path) -> dict[str, Any]:
    """CBPE on the windows, and the processor time it took."""
    pandas: Any = importlib.import_module("pandas")
    cbpe: Any = importlib.import_module("nannyml").CBPE
    reference = pandas.read_parquet(folder / "reference.parquet")
    analysis = pandas.read_parquet(folder / "analysis.parquet")
    metrics = ["accuracy", "precision", "recall", "specificity", "f1", "roc_auc"]
    start = time.process_time()
    model = cbpe(
        problem_type="classification_binary",
        y_pred_proba="score",
        y_pred="answer",
        y_true="label",
        metrics=metrics,
        chunk_number=36,
    )
    model.fit(reference)
    frame = model.estimate(analysis).filter(period="analysis").to_df()
    return {
        "seconds": time.process_time() - start,
        "bounds": [
            [int(first), int(last) + 1]
            for first, last in zip(
                frame[("chunk", "start_index")], frame[("chunk", "end_index")], strict=True
            )
        ],
        "metrics": {name: [float(v) for v in frame[(name, "value")]] for name in metrics},
        "errors": {name: [float(v) for v in frame[(name, "sampling_error")]] for name in metrics},
    }


def main() -> None:
    peer, folder = sys.argv[1], Path(sys.argv[2])
    answer = {"evidently": evidently, "nannyml": nannyml}[peer](folder)
    (folder / "answer.json").write_text(json.dumps(answer))


if __name__ == "__main__":
    main()
