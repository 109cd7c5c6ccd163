"""The loop killed anywhere: the next call goes on from the ledger, and nothing is done twice."""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from datetime import timedelta
from pathlib import Path

import pytest
from workspace.town import Killed, Town, copy_of, killed_at_point

from assay import files
from assay.actions.reading import ExportEvidence
from assay.actions.retraining_steps import retrainings
from assay.govern.verify import verify

from .relearning import answer, go, propose, stale

STEPS = ("retraining.before", "retraining.after", "door.decided", "door.applied", "door.recorded")


@pytest.fixture(scope="module")
def ready(built: Town, tmp_path_factory: pytest.TempPathFactory) -> Town:
    """A town with labelled requests and an approved plan, in which nothing was retrained yet."""
    with pytest.MonkeyPatch.context() as environment:
        town = copy_of(built, tmp_path_factory.mktemp("ready") / "town", environment)
        stale(town)
        propose(town, "ann", "abe")
        town.close()
        return town


def survive(town: Town) -> None:
    """As the next process would find it."""
    town.reopen().recover()
    town.check()


@contextlib.contextmanager
def killed_once_at(number: int) -> Generator[None]:
    """Kill the process at the `number`-th step of the loop or of the door."""
    passed: list[str] = []

    def count(name: str) -> None:
        if name in STEPS:
            if len(passed) == number:
                raise Killed(name)
            passed.append(name)

    files.failpoint = count
    try:
        yield
    finally:
        files.failpoint = None


def finished(town: Town, number: int) -> bool:
    """Whether a call came to its end before the `number`-th step."""
    try:
        with killed_once_at(number):
            go(town, "ci", by_itself=True)
    except Killed:
        survive(town)
        return False
    return True


def check_once(town: Town) -> None:
    """One retraining, one version, one promotion: and all of it can be proven."""
    view = town.ws.view
    view.follow()
    (found,) = retrainings(view, "alpha", "score")
    assert found.ended is not None
    assert found.ended["end"] == "promoted"
    assert [v.version for v in view.versions("alpha", "score")] == ["1", "2"]
    aliases = [s.predicate["version"] for s in town.statements("alias")]
    assert aliases == ["1", "2"]
    data = town.do("eve", ExportEvidence(project="alpha", model="score", version="2"))
    report = verify(data, now=town.clock.at, pinned=town.ws.layout.pinned)
    assert [(d.outcome, d.beaten) for d in report.decisions if d.outcome == "done"] == [
        ("done", "1")
    ]


@pytest.mark.slow
def test_a_loop_that_is_killed_a_little_later_each_time_comes_to_the_same_end(
    ready: Town, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    town = copy_of(ready, tmp_path / "town", monkeypatch)
    number = 0
    while not finished(town, number):
        number += 3
    assert number > 6
    assert go(town, "ci", by_itself=True).state == "waits for labels"
    town.clock.advance(timedelta(hours=1))
    answer(town, 600, 2)
    town.clock.advance(timedelta(hours=1))
    number = 0
    while not finished(town, number):
        number += 1
    assert number > 6
    check_once(town)


@pytest.mark.slow
def test_a_loop_that_is_killed_at_a_write_comes_to_the_same_end(
    ready: Town, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = 90
    town = copy_of(ready, tmp_path / "town", monkeypatch)
    with contextlib.suppress(Killed), killed_at_point(number):
        go(town, "ci", by_itself=True)
    survive(town)
    go(town, "ci", by_itself=True)
    town.clock.advance(timedelta(hours=1))
    answer(town, 600, 2)
    town.clock.advance(timedelta(hours=1))
    with contextlib.suppress(Killed), killed_at_point(number // 3):
        go(town, "ci", by_itself=True)
    survive(town)
    with contextlib.suppress(Killed), killed_at_point(number // 2):
        go(town, "ci", by_itself=True)
    survive(town)
    found = retrainings(town.ws.view, "alpha", "score")
    if found[-1].ended is None:
        go(town, "ci", by_itself=True)
    check_once(town)
