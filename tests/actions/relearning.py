"""A town whose model went stale: its requests are logged and labelled, and a pipeline can learn
from them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import msgspec
from monitor.logged import META
from workspace.town import Town

from assay import ids
from assay.actions import proposing
from assay.actions.changes import ApproveChange
from assay.actions.feedback import AddFeedback
from assay.actions.prediction_records import naming_key, ring_for, spools_of
from assay.actions.predictions import SealPredictions
from assay.actions.retraining import Carried, Wanted, carry_out
from assay.monitor.log import PredictionLog
from assay.monitor.segments import Column
from assay.monitor.spool import Values

NUMBERS = msgspec.structs.replace(META, inputs=[Column(name, "FP32") for name in "abc"], extras=[])

PIPELINE = """
import polars as pl
from sklearn.linear_model import LogisticRegression

from assay.pipeline import check, pipeline, publish, read, register, step


@step
def split(rows: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    half = rows.height // 2
    return rows.head(half), rows.slice(half)


@step
def fit(rows: pl.DataFrame, strength: float) -> LogisticRegression:
    return LogisticRegression(C=strength).fit(rows.drop("y"), rows["y"])


@pipeline(purpose="scoring")
def train(dataset: str, strength: float = 1.0) -> object:
    training, test = split(read(dataset))
    rows = check(publish(training, dataset="relearned"), label="y")
    held = publish(test, dataset="relearned-test")
    model = fit(rows, strength)
    return register(
        model, name="score", train=rows, test=held, label="y", positive=1, description="again"
    )
"""

PLAN = """
format = "assay/change-plan/v1"
model = "score"
why = "what people do changes with the seasons"
valid_until = 2026-12-31
every = "1d"
most = 3
triggers = ["data_drift", "performance", "schedule"]

[pipeline]
source = "retrain.py:train"
data = "dataset"

[parameters]
strength = {least = 0.1, most = 10}

[data]
most = "60d"
least_rows = 300

[registered]
format = "skops"

[holds]
"quality.auc_lower" = {least = 0.7}
"quality.rows" = {least = 200}

[challenge]
horizon = "30m"
loss = "brier"
alpha = 0.05
least_rows = 200
"""


@dataclass
class Request:
    """An answered request of many rows."""

    values: list[list[float]]
    actor: str = "id-web"
    id: str = field(default_factory=ids.new_id)

    @property
    def columns(self) -> dict[str, list[Any]]:
        return {name: [row[at] for row in self.values] for at, name in enumerate("abc")}

    extras: dict[str, list[Any]] = field(default_factory=dict[str, list[Any]])

    @property
    def outputs(self) -> list[Values]:
        count = len(self.values)
        return [
            Values("label", [count], [1] * count),
            Values("probabilities", [count, 2], [0.5, 0.5] * count),
        ]


def drifted(count: int, seed: int) -> list[list[float]]:
    """Rows like the town's, whose label follows from other columns than it did."""
    rows: list[list[float]] = []
    for row in range(count):
        digits = hashlib.sha256(f"drifted/{seed}/{row}".encode()).digest()
        a, b, c, noise = (int.from_bytes(digits[i : i + 4], "big") / 2**32 for i in (0, 4, 8, 12))
        rows.append([round(a, 6), round(b, 6), round(c, 6), int(c + (1 - a) / 2 + noise > 1.25)])
    return rows


def answer(town: Town, count: int, seed: int, *, labels: bool = True) -> Request:
    """Log requests, seal them, and say what turned out true."""
    rows = drifted(count, seed)
    rings = town.ws.store.rings
    log = PredictionLog(
        spools_of(town.ws.layout, "alpha", "score"),
        lambda: ring_for(rings, "alpha", town.clock.now()),
        NUMBERS,
        clock=town.clock,
        naming=naming_key(rings, "alpha"),
        subject="who",
    )
    request = Request([row[:3] for row in rows])
    log.answered(request)
    log.roll()
    town.do("oli", SealPredictions(project="alpha", endpoint="score"))
    if labels:
        label(town, request, rows)
    return request


def label(town: Town, request: Request, rows: list[list[float]]) -> None:
    """Give the labels of a request."""
    given = [{"id": f"{request.id}/{at}", "label": int(row[3])} for at, row in enumerate(rows)]
    town.do("sam", AddFeedback.of("alpha", "score", given))


def stale(town: Town, count: int = 900) -> Town:
    """Deploy the town's model, and let it answer what it never saw."""
    (town.repo / "retrain.py").write_text(PIPELINE)
    town.deploy()
    town.clock.advance(timedelta(hours=1))
    answer(town, count, 1)
    town.clock.advance(timedelta(hours=1))
    return town


def propose(town: Town, *approvers: str, text: str = PLAN) -> str:
    """The digest of a plan for the pipeline that lies in the town."""
    file = town.repo / "change-plan.toml"
    file.write_text(text)
    done = town.do("eve", proposing.from_file(town.ws, "alpha", file, folder=town.repo))
    for name in approvers:
        town.do(name, ApproveChange(project="alpha", plan=done["plan"]))
    return str(done["plan"])


def go(town: Town, who: str = "eve", **wanted: Any) -> Carried:
    """One call of the loop."""
    return carry_out(town.ws, town.who(who), "alpha", "score", Wanted(**wanted), folder=town.repo)
