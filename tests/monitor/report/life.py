"""What a ledger says of an endpoint after some weeks, made by the parts that say it in earnest."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import numpy as np
import polars as pl

from assay.clock import timestamp
from assay.monitor import baseline as baselines
from assay.monitor import performance
from assay.monitor.alerts import Acknowledgement
from assay.monitor.alerts import Alert as Told
from assay.monitor.plans import make
from assay.monitor.report.model import Reading
from assay.monitor.watch import Watch, estimated

ROWS = 800
START = datetime(2026, 1, 5, tzinfo=timezone.utc)


def people(seed: int, rows: int, *, old: float) -> tuple[pl.DataFrame, Any, list[int]]:
    """Rows, the scores of a model that hardly saw the old, and the truth."""
    rng = np.random.default_rng(seed)
    aged = rng.random(rows) < old
    age = np.where(aged, rng.integers(65, 90, rows), rng.integers(18, 65, rows)).astype(float)
    town = rng.choice(["north", "south", "west"], rows, p=[0.5, 0.3, 0.2])
    truth = rng.random(rows) < np.where(aged, 0.1, 0.2 + 0.6 * (age < 45))
    scores = 0.2 + 0.6 * (age < 45) * ~aged + 0.6 * aged
    group = np.where(aged, "65+", "below 65")
    frame = pl.DataFrame({"age": age, "town": town, "group": group})
    return frame, np.column_stack([1 - scores, scores]), [int(y) for y in truth]


def baseline(version: str = "3") -> dict[str, Any]:
    frame, scores, labels = people(1, 8_000, old=0.02)
    plan = make(window="1d", slices=("group",))
    told = baselines.build(frame, ["age", "town"], scores, labels, plan, classes=[0, 1], positive=1)
    return {"version": version, "data": {"name": "people-test"}, **told}


def window(
    told: dict[str, Any], number: int, *, old: float = 0.02, rows: int = ROWS
) -> dict[str, Any]:
    frame, scores, _ = people(100 + number, rows, old=old)
    group = frame["group"]
    log = frame.drop("group").rename(lambda n: f"in.{n}").with_columns(group.alias("extra.group"))
    reference = baselines.read(told)
    seen = estimated(reference, reference.observe(log, scores))
    state = "empty" if not rows else "ok" if seen["profile"]["columns"] else "few"
    return {**_where(told, number), "state": state, **seen}


def labelled(told: dict[str, Any], number: int, *, old: float = 0.02) -> dict[str, Any]:
    frame, scores, labels = people(100 + number, ROWS, old=old)
    held = baselines.read(told)
    judged = performance.judge(held.answered(scores), labels)
    parts = [
        {
            "column": name,
            "value": value,
            "labelled": int(rows.sum()),
            "loss": performance.losses(judged.take(rows)),
            "metrics": performance.figures(judged.take(rows)),
        }
        for name, assigned in baselines.slices(frame, held.slicing, prefixes=("",)).items()
        for value, rows in assigned.parts()
    ]
    return {
        **_where(told, number),
        "rows": ROWS,
        "labelled": ROWS,
        "metrics": performance.figures(judged),
        "loss": performance.losses(judged),
        "slices": parts,
        "counts": {"rows": ROWS, "labelled": ROWS, "used": ROWS, "duplicate": 2, "late": 0},
        "final": True,
    }


def _where(told: dict[str, Any], number: int) -> dict[str, Any]:
    begin = START + timedelta(days=number)
    span = {"from": timestamp(begin), "to": timestamp(begin + timedelta(days=1))}
    return {"number": number, "version": told["version"], **span}


def windows(
    told: dict[str, Any], count: int, *, old_from: int | None = None
) -> list[dict[str, Any]]:
    """`count` days, with the old among those who come from `old_from` on."""
    opened = [old_from is not None and number >= old_from for number in range(count)]
    return [window(told, n, old=0.3 if now else 0.02) for n, now in enumerate(opened)]


def reread(
    recorded: list[dict[str, Any]],
    windows: list[dict[str, Any]],
    performances: list[dict[str, Any]],
) -> list[Reading]:
    """What the detectors say of each window of each version."""
    found: list[Reading] = []
    for told in recorded:
        watch = Watch(baselines.read(told))
        for window in windows:
            if window.get("version") == told["version"]:
                found.append(watch.window(window).reading)
        mine = [p for p in performances if p.get("version") == told["version"]]
        found += [watch.performance(p).reading for p in mine]
    return found


def alert(number: int, **changes: Any) -> Told:
    known: dict[str, Any] = {
        "id": "3f9a01c2d4e5b677-1",
        "fingerprint": "3f9a01c2d4e5b677",
        "episode": 1,
        "step": 1,
        "event": "raised",
        "endpoint": "people",
        "version": "3",
        "kind": "data_drift",
        "measure": "",
        "severity": "warning",
        "since": number,
        "seen": number + 1,
        "causes": [{"feature": "group", "from_share": 0.02, "to_share": 0.3, "psi": 0.8}],
        "title": "people: the inputs are no longer those that the model was tested on (group)",
        "next": ["assay retrain people --alert 3f9a01c2d4e5b677-1 --project p"],
        "raised": timestamp(START + timedelta(days=number + 2)),
    }
    return Told(**{**known, **changes})


SEEN = Acknowledgement(actor="a-1", reason="we opened the service", at="2026-02-01", step=1)
