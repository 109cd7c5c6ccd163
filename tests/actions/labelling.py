"""An endpoint, and short ways to give it labels and to look at them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import polars as pl
import pytest
from workspace.town import Town, copy_of

from assay import ids
from assay.actions.feedback import (
    AddFeedback,
    SealFeedback,
    read_labels,
)
from assay.actions.feedback import feedback_recorder as recorder_of
from assay.actions.feedback_recorder import Recorder
from assay.actions.feedback_records import (
    Batch,
    batches,
)
from assay.workspace.action import Doing, Outcome

DAY = timedelta(days=1)


def deploy(built: Town, factory: pytest.TempPathFactory) -> Town:
    """A town with an endpoint, to be copied for each test."""
    with pytest.MonkeyPatch.context() as environment:
        town = copy_of(built, factory.mktemp("deployed") / "town", environment)
        town.deploy()
        town.close()
        return town


def name(row: int = 0) -> str:
    return f"{ids.new_id()}/{row}"


def some(count: int, value: Any = 1) -> list[dict[str, Any]]:
    return [{"id": name(), "label": value} for _ in range(count)]


def add(town: Town, labels: Sequence[dict[str, Any]], who: str = "sam") -> dict[str, Any]:
    return town.do(who, AddFeedback.of("alpha", "score", labels))


def seal(town: Town, who: str = "eve") -> dict[str, Any]:
    return town.do(who, SealFeedback(project="alpha", endpoint="score"))


def held(town: Town) -> list[Batch]:
    town.ws.view.follow()
    return batches(town.ws.view, "alpha", "score")


def body(*labels: dict[str, Any]) -> bytes:
    return json.dumps({"labels": labels}).encode()


def recorder(town: Town, **given: Any) -> Recorder:
    made = recorder_of(town.ws, "alpha", "score")
    for key, value in given.items():
        setattr(made, key, value)
    return made


class Look(SealFeedback, frozen=True, kw_only=True):
    """Reads labels as an action of monitoring does."""

    def apply(self, doing: Doing) -> Outcome:
        return Outcome(read_labels(doing, self.endpoint, doing.clock.now() - 400 * DAY))


def look(town: Town) -> pl.DataFrame:
    return town.do("eve", Look(project="alpha", endpoint="score"))
