"""Answers of an endpoint as the prediction log is given them, and a place to keep them in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from assay import ids
from assay.clock import FixedClock, timestamp
from assay.monitor.log import PredictionLog
from assay.monitor.segments import Column, Meta, Output
from assay.monitor.spool import Record, Values
from assay.store import LocalKeyService, Rings

START = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)
NAMING = b"n" * 32
META = Meta(
    "score",
    "1",
    "sha256:" + "0" * 64,
    [Column("a", "FP32"), Column("b", "FP32"), Column("c", "BYTES")],
    [Output("label", "INT64", [-1]), Output("probabilities", "FP32", [-1, 2], [0, 1])],
    [Column("region", "BYTES")],
)


@dataclass
class Answered:
    """What an endpoint says of one answered request."""

    actor: str = "id-web"
    rows: int = 1
    people: Sequence[Any] | None = None
    """Whom the rows are about: then there is a subject column ``who``."""
    value: float = 0.5
    id: str = field(default_factory=ids.new_id)

    @property
    def columns(self) -> dict[str, list[Any]]:
        return {"a": [self.value] * self.rows, "b": [1.0] * self.rows, "c": ["x"] * self.rows}

    @property
    def extras(self) -> dict[str, list[Any]]:
        who = {} if self.people is None else {"who": list(self.people)}
        return {"region": ["north"] * self.rows, **who}

    @property
    def outputs(self) -> list[Values]:
        return [
            Values("label", [self.rows], [1] * self.rows),
            Values("probabilities", [self.rows, 2], [1 - self.value, self.value] * self.rows),
        ]


def record(*, at: datetime = START, **given: Any) -> Record:
    """A record as the log keeps one."""
    answer = Answered(**given)
    extras = {"region": answer.extras["region"]}
    people = None if answer.people is None else list(answer.people)
    return Record(
        answer.id, timestamp(at), "1", answer.actor, answer.columns, extras, answer.outputs, people
    )


def rings_in(folder: Path) -> Rings:
    """Rings of a project ``p``, with one for its log."""
    clock = FixedClock(START)
    made = (folder / "root.key").exists()
    key = folder / "root.key"
    service = LocalKeyService.load(key) if made else LocalKeyService.create(key)
    rings = Rings(folder / "rings", service, clock=clock)
    if not made:
        rings.create("p/predictions")
    return rings


def log_in(folder: Path, rings: Rings, **given: Any) -> PredictionLog:
    """A log that keeps its spools in a folder."""
    given = {"clock": FixedClock(START), "naming": NAMING, "subject": "who", **given}
    return PredictionLog(folder, lambda: rings.ring("p/predictions"), META, **given)
