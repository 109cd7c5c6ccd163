"""The prediction log in a workspace: sealed once, whatever dies; read by whom policy lets."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from workspace.town import WORKSPACE, Killed, Town, killed_at_point

from assay.actions.administration import CollectGarbage, DestroyRing
from assay.actions.prediction_records import (
    KIND,
    LOSS,
    Log,
    losses_of,
    naming_key,
    ring_for,
    segments_of,
    spools_of,
)
from assay.actions.predictions import EraseSubjects, ReadPredictions, SealPredictions
from assay.clock import timestamp
from assay.errors import Denied, NotFound, Usage
from assay.monitor.log import PredictionLog
from assay.monitor.spool import waiting

sys.path.insert(0, str(Path(__file__).parents[1] / "monitor"))

from logged import META, Answered

SEAL = SealPredictions(project="alpha", endpoint="score")
READ = ReadPredictions(project="alpha", endpoint="score")


@pytest.fixture
def serving(town: Town) -> Town:
    town.deploy()
    return town


def logging(town: Town, **given: Any) -> PredictionLog:
    """A log such as a serving process has."""
    rings = town.ws.store.rings
    return PredictionLog(
        spools_of(town.ws.layout, "alpha", "score"),
        lambda: ring_for(rings, "alpha", town.clock.now()),
        META,
        clock=town.clock,
        naming=naming_key(rings, "alpha"),
        subject="who",
        **given,
    )


def answer(town: Town, *answers: Answered) -> None:
    """Log answers and close the spool."""
    log = logging(town)
    for each in answers or (Answered(rows=3),):
        log.answered(each)
    log.roll()


def read(town: Town, **given: Any) -> Log:
    return town.do("sam", ReadPredictions(project="alpha", endpoint="score", **given))


def test_what_was_answered_is_sealed_once_and_can_be_read(serving: Town) -> None:
    answers = [Answered(rows=2), Answered(rows=1, people=["ann"]), Answered(value=0.9)]
    answer(serving, *answers)
    done = serving.do("oli", SEAL)
    assert (done["rows"], len(done["segments"]), done["lost"]) == (4, 1, [])
    log = read(serving)
    assert log.frame["prediction_id"].unique(maintain_order=True).to_list() == [
        each.id for each in answers
    ]
    assert log.frame["in.a"].to_list() == [0.5, 0.5, 0.5, 0.9]
    assert log.frame["subject"].null_count() == 3
    (segment,) = segments_of(serving.ws.view, "alpha", "score")
    assert (segment.rows, segment.requests, segment.subjects) == (4, 3, 1)
    assert serving.do("oli", SEAL)["segments"] == []
    serving.check()
