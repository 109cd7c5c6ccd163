"""Ask an endpoint for the first rows of a table: ``ask.py URL MODEL TABLE LABEL``, token on stdin.

Open Inference Protocol v2, with nothing but the standard library and a table.
"""

from __future__ import annotations

import csv
import json
import sys
import time
import urllib.request
from pathlib import Path

ROWS = 3
PATIENCE = 60.0


def wait(url: str) -> None:
    until = time.monotonic() + PATIENCE
    while True:
        try:
            urllib.request.urlopen(f"{url}/v2/health/live", timeout=1)
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.1)
        else:
            return


def main(url: str, model: str, table: str, label: str) -> None:
    token = sys.stdin.readline().strip()
    with Path(table).open(encoding="utf-8", newline="") as stream:
        rows = [row for row, _ in zip(csv.DictReader(stream), range(ROWS), strict=False)]
    inputs = [
        {
            "name": name,
            "shape": [len(rows), 1],
            "datatype": "FP64",
            "data": [float(row[name]) for row in rows],
        }
        for name in rows[0]
        if name != label
    ]
    wait(url)
    request = urllib.request.Request(
        f"{url}/v2/models/{model}/infer",
        data=json.dumps({"inputs": inputs}).encode(),
        headers={"Content-Type": "application/json", "Authorization": f"Bearer {token}"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        for output in json.load(answer)["outputs"]:
            print(output["name"], output["data"])


if __name__ == "__main__":
    main(*sys.argv[1:])
