"""The prediction log in a workspace: sealed once, whatever dies; read by whom policy lets."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from workspace.town import WORKSPACE, Killed, Town, at_point, copy_of, killed_at_point

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

sys.path.insert(0, str(Path(__file__).parents[1]))

from monitor.logged import META, Answered

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


def test_two_servers_of_one_endpoint_lose_and_double_nothing(serving: Town) -> None:
    first, second = logging(serving), logging(serving)
    answers = [Answered() for _ in range(6)]
    for number, each in enumerate(answers):
        (first, second)[number % 2].answered(each)
    first.roll()
    assert serving.do("oli", SEAL)["rows"] == 3
    second.roll()
    assert serving.do("oli", SEAL)["rows"] == 3
    assert sorted(read(serving).frame["prediction_id"]) == sorted(each.id for each in answers)


def test_two_who_seal_at_once_seal_each_spool_once(serving: Town) -> None:
    from assay.workspace.opening import open_workspace

    answer(serving)
    answer(serving, Answered())
    other = open_workspace(serving.repo, clock=serving.clock)
    told: list[Any] = []

    def meanwhile() -> None:
        told.append(other.perform(serving.who("eve"), SEAL))

    with at_point("predictions.sealed", meanwhile):
        mine = serving.do("oli", SEAL)
    assert mine["rows"] + told[0]["rows"] == 4
    assert told[0]["rows"] == 1, "the one that was not being sealed"
    assert read(serving).frame.height == 4
    assert len(serving.statements(KIND)) == 2


def test_what_a_living_server_writes_waits(serving: Town) -> None:
    log = logging(serving)
    log.answered(Answered())
    assert serving.do("oli", SEAL)["segments"] == []
    log.roll()
    assert serving.do("oli", SEAL)["rows"] == 1


def test_versions_with_other_columns_are_read_together(serving: Town) -> None:
    answer(serving)
    log = logging(serving)
    log.meta = msgspec.structs.replace(META, version="2", extras=[])
    other = Answered()
    log.answered(other)
    log.roll()
    serving.do("oli", SEAL)
    found = read(serving)
    assert found.frame["version"].to_list() == ["1", "1", "1", "2"]
    assert read(serving, version="2").frame["prediction_id"].to_list() == [other.id]
    assert [meta.version for meta in found.metas] == ["1", "2"]


def test_a_time_is_read_to_the_millisecond(serving: Town) -> None:
    times: list[str] = []
    log = logging(serving)
    for _ in range(4):
        times.append(timestamp(serving.clock.now()))
        log.answered(Answered())
        serving.clock.advance(timedelta(hours=11))
    log.roll()
    serving.do("oli", SEAL)
    assert read(serving, since=times[1], until=times[3]).frame.height == 2
    assert read(serving, since=times[3]).frame.height == 1
    assert read(serving, until=times[0]).frame.height == 0
    with pytest.raises(Usage):
        read(serving, since=times[1], until=times[1])
    segments = segments_of(serving.ws.view, "alpha", "score")
    assert [len({segment.first[:10], segment.last[:10]}) for segment in segments] == [1, 1]


def test_rows_leave_the_log_for_the_purpose_of_the_data_and_no_other(serving: Town) -> None:
    answer(serving)
    serving.do("oli", SEAL)
    assert read(serving, purpose="scoring").frame.height == 3
    other = ReadPredictions(project="alpha", endpoint="score", purpose="marketing")
    assert serving.refused("sam", other) == ["predictions.purpose"]
    assert serving.refused("oli", READ) != []
    with pytest.raises(Denied):
        serving.do("sam", SEAL)


def test_garbage_collection_keeps_what_was_sealed(serving: Town) -> None:
    answer(serving)
    serving.do("oli", SEAL)
    serving.clock.advance(timedelta(days=3))
    serving.do("ada", CollectGarbage(project=WORKSPACE))
    assert read(serving).frame.height == 3


def test_to_destroy_a_month_is_to_lose_that_month_and_it_is_counted(serving: Town) -> None:
    answer(serving)
    serving.do("oli", SEAL)
    serving.clock.advance(timedelta(days=40))
    answer(serving, Answered())
    serving.do("oli", SEAL)
    rings = [segment.ring for segment in segments_of(serving.ws.view, "alpha", "score")]
    assert rings == ["alpha/predictions.2026-01", "alpha/predictions.2026-02"]
    destroy = DestroyRing(project=WORKSPACE, ring=rings[0], reason="retention", ticket="T1")
    serving.do("ada", destroy)
    log = read(serving)
    assert (log.frame.height, log.shredded, log.erased) == (1, 3, 0)
    serving.do("ada", CollectGarbage(project=WORKSPACE))
    assert read(serving).frame.height == 1


def test_after_this_months_ring_is_destroyed_the_log_goes_on_under_another(serving: Town) -> None:
    answer(serving)
    serving.do("oli", SEAL)
    ring = "alpha/predictions.2026-01"
    serving.do("ada", DestroyRing(project=WORKSPACE, ring=ring, reason="leak", ticket="T1"))
    answer(serving, Answered())
    serving.do("oli", SEAL)
    log = read(serving)
    assert (log.frame.height, log.shredded) == (1, 3)


def test_a_spool_whose_ring_was_destroyed_is_written_down_as_lost(serving: Town) -> None:
    answer(serving)
    ring = "alpha/predictions.2026-01"
    serving.do("ada", DestroyRing(project=WORKSPACE, ring=ring, reason="leak", ticket="T1"))
    done = serving.do("oli", SEAL)
    assert [loss["why"] for loss in done["lost"]] == ["shredded"]
    assert done["lost"][0]["bytes"] > 0
    folder = spools_of(serving.ws.layout, "alpha", "score")
    assert list(folder.iterdir()) == []
    assert [loss.why for loss in losses_of(serving.ws.view, "alpha", "score")] == ["shredded"]


# -- people ---------------------------------------------------------------------------------------


def erase(town: Town, *people: str, who: str = "ada") -> Any:
    return town.do(who, EraseSubjects.asked(town.ws, "alpha", people, "asked to", "DPO-1"))


def test_one_person_is_forgotten_and_nobody_else(serving: Town) -> None:
    walter = Answered(people=["walter"])
    answer(serving, Answered(rows=3, people=["walter", "bob", None]), walter)
    serving.do("oli", SEAL)
    done = erase(serving, "walter")
    assert (done["people"], done["with_key"]) == (1, 1)
    log = read(serving)
    assert (log.frame["row"].to_list(), log.erased) == ([1, 2], 2)
    assert all("walter" not in str(s.predicate) for s in serving.statements())
    serving.check()


def test_what_waits_to_be_sealed_about_somebody_is_forgotten_with_the_rest(serving: Town) -> None:
    log = logging(serving)
    log.answered(Answered(rows=2, people=["ann", "bob"]))
    erase(serving, "ann")
    serving.clock.advance(timedelta(seconds=1))
    log.answered(Answered(people=["ann"], value=0.9))
    log.roll()
    serving.do("oli", SEAL)
    found = read(serving)
    assert (found.frame["in.a"].to_list(), found.erased) == ([0.5, 0.9], 1)


def test_people_are_forgotten_in_their_project_alone(serving: Town) -> None:
    answer(serving, Answered(people=["ann"]))
    serving.do("oli", SEAL)
    serving.do("ada", EraseSubjects.asked(serving.ws, "beta", ["ann"], "asked to", "DPO-1"))
    assert read(serving).erased == 0


@pytest.mark.parametrize("who", ["eve", "ann", "oli", "sam"])
def test_who_does_not_administer_forgets_nobody(serving: Town, who: str) -> None:
    with pytest.raises(Denied):
        erase(serving, "ann", who=who)


@pytest.mark.parametrize("people", [(), ("ann",), ("0" * 31,), ("0" * 32,) * 1001])
def test_only_pseudonyms_go_on_the_record(serving: Town, people: Sequence[str]) -> None:
    action = EraseSubjects(
        project=WORKSPACE,
        of="alpha",
        people=tuple(people),
        reason="asked to",
        ticket="T",
        until=timestamp(serving.clock.now()),
    )
    with pytest.raises(Usage):
        serving.do("ada", action)


@pytest.mark.slow
def test_forgetting_that_was_killed_anywhere_is_finished_by_recovery(
    built: Town, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = copy_of(built, tmp_path / "start", monkeypatch)
    start.deploy()
    answer(start, Answered(rows=2, people=["ann", "bob"]))
    start.do("oli", SEAL)
    start.close()
    points: list[str] = []
    for town, passed in killed_at_each_point(start, tmp_path, monkeypatch, erase_ann):
        points.append(passed[-1] if passed else "")
        town.reopen().recover()
        found = read(town)
        assert found.erased == 1 or "door.decided" not in passed, passed
        assert found.frame["row"].to_list()[-1] == 1, passed
        town.check()
    assert {"subjects.rewritten", "subjects.destroyed"} <= set(points)


def erase_ann(town: Town) -> None:
    erase(town, "ann")


def killed_at_each_point(
    start: Town, base: Path, monkeypatch: pytest.MonkeyPatch, act: Callable[[Town], object]
) -> Iterator[tuple[Town, list[str]]]:
    """A copy of a town for each crash point that `act` passes, in which it was killed there; with
    the points it had passed.  Of points of one name the first and the last."""
    with killed_at_point(1 << 30) as names:
        act(copy_of(start, base / "whole", monkeypatch))
    firsts = {name: number for number, name in reversed([*enumerate(names)])}
    lasts = {name: number for number, name in enumerate(names)}
    for number in sorted({*firsts.values(), *lasts.values()}):
        town = copy_of(start, base / f"run{number}", monkeypatch)
        town.ws.view.follow()
        with killed_at_point(number) as passed, pytest.raises(Killed):
            act(town)
        yield town, [*passed, names[number]]
        town.close()
        shutil.rmtree(town.base)


# -- crashes, replays, damage ---------------------------------------------------------------------


@pytest.mark.slow
def test_sealing_that_was_killed_anywhere_loses_and_doubles_nothing(
    built: Town, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = copy_of(built, tmp_path / "start", monkeypatch)
    start.deploy()
    answers = [Answered(rows=2), Answered(people=["ann"])]
    for each in answers:
        answer(start, each)
    start.close()
    points: set[str] = set()
    for town, passed in killed_at_each_point(
        start, tmp_path, monkeypatch, lambda town: town.do("oli", SEAL)
    ):
        points.update(passed)
        town.reopen().recover()
        # Recovery repeats it, or the next one does.
        town.do("oli", SEAL)
        frame = read(town).frame
        assert frame["prediction_id"].to_list() == [
            each.id for each in answers for _ in range(each.rows)
        ], passed
        assert len(town.statements(KIND)) == 2, passed
        assert list(spools_of(town.ws.layout, "alpha", "score").iterdir()) == []
        town.check()
    assert {"predictions.sealed", "predictions.recorded", "predictions.removed"} <= points


def test_a_spool_that_is_put_back_is_not_sealed_again(serving: Town, tmp_path: Path) -> None:
    answer(serving)
    folder = spools_of(serving.ws.layout, "alpha", "score")
    shutil.copytree(folder, tmp_path / "copy")
    serving.do("oli", SEAL)
    shutil.copytree(tmp_path / "copy", folder, dirs_exist_ok=True)
    done = serving.do("oli", SEAL)
    assert (done["known"], done["rows"], done["lost"]) == (1, 0, [])
    assert read(serving).frame.height == 3
    assert waiting(folder) == []


def test_a_spool_under_another_name_is_kept_aside_and_counts_for_nothing(serving: Town) -> None:
    answer(serving)
    folder = spools_of(serving.ws.layout, "alpha", "score")
    (path,) = folder.glob("*.spool")
    shutil.copy(path, folder / "01a2131b-b4d6-7c1c-8725-cca8e66db2e2.spool")
    done = serving.do("oli", SEAL)
    assert done["rows"] == 3
    assert [loss["why"] for loss in done["lost"]] == ["damaged"]
    assert read(serving).frame.height == 3
    assert [path.suffix for path in folder.iterdir()] == [".damaged"]


def test_a_damaged_spool_gives_what_can_be_read_and_says_what_cannot(serving: Town) -> None:
    log = logging(serving)
    answers = [Answered() for _ in range(3)]
    for each in answers:
        log.answered(each)
    path = log.roll()
    assert path is not None
    data = bytearray(path.read_bytes())
    data[-100] ^= 1  # In the last record.
    path.write_bytes(data)
    done = serving.do("oli", SEAL)
    (lost,) = done["lost"]
    assert (lost["why"], lost["records"], done["rows"]) == ("damaged", 1, 2)
    assert read(serving).frame["prediction_id"].to_list() == [each.id for each in answers[:2]]
    # It is kept for people, and not met again.
    assert path.with_suffix(".damaged").read_bytes() == data
    assert serving.do("oli", SEAL)["lost"] == []
    assert len(serving.statements(LOSS)) == 1


def test_what_was_lost_and_is_found_again_is_sealed_after_all(serving: Town) -> None:
    answer(serving)
    folder = spools_of(serving.ws.layout, "alpha", "score")
    (path,) = folder.glob("*.spool")
    whole = path.read_bytes()
    path.write_bytes(whole[:20])
    assert serving.do("oli", SEAL)["rows"] == 0
    path.write_bytes(whole)
    assert serving.do("oli", SEAL)["rows"] == 3
    assert read(serving).frame.height == 3


def test_a_spool_of_another_endpoint_or_project_is_not_taken_for_ones_own(serving: Town) -> None:
    other = logging(serving)
    other.meta = msgspec.structs.replace(META, endpoint="else")
    other.answered(Answered())
    other.roll()
    rings = serving.ws.store.rings
    of_beta = PredictionLog(
        spools_of(serving.ws.layout, "alpha", "score"),
        lambda: ring_for(rings, "beta", serving.clock.now()),
        META,
        clock=serving.clock,
        naming=naming_key(rings, "beta"),
    )
    of_beta.answered(Answered())
    of_beta.roll()
    done = serving.do("oli", SEAL)
    assert [loss["why"] for loss in done["lost"]] == ["foreign", "foreign"]
    assert (done["rows"], read(serving).frame.height) == (0, 0)


def test_a_record_that_does_not_fit_is_lost_and_said_so(serving: Town) -> None:
    from assay.monitor.spool import Spool

    rings = serving.ws.store.rings
    ring = ring_for(rings, "alpha", serving.clock.now())
    folder = spools_of(serving.ws.layout, "alpha", "score")
    with Spool.open(folder, ring, msgspec.to_builtins(META)) as made:
        made.append(b"\xc1")
        made.append(msgspec.msgpack.encode({"id": "x"}))
    done = serving.do("oli", SEAL)
    assert [(loss["why"], loss["records"]) for loss in done["lost"]] == [("damaged", 2)]


def test_a_statement_that_the_log_did_not_make_is_not_believed(serving: Town) -> None:
    from assay.actions.prediction_records import about
    from assay.evidence.statement import Subject

    answer(serving)
    serving.do("oli", SEAL)
    (told,) = serving.statements(KIND)
    digests = about("alpha", "score").values()
    for producer, signer in (
        ("assay.door/1", serving.workspace_key),
        ("assay.monitor.log/1", serving.people["eve"]),
    ):
        made = serving.statement(KIND, dict(told.predicate), "alpha", producer=producer)
        subject = [Subject(d, {"sha256": d.removeprefix("sha256:")}) for d in digests]
        serving.slip_in(msgspec.structs.replace(made, subject=subject), signer)
    serving.ws.view.follow()
    assert len(segments_of(serving.ws.view, "alpha", "score")) == 1


def test_of_an_endpoint_that_is_not_there_nothing_is_sealed_or_read(town: Town) -> None:
    for action in (SEAL, READ):
        with pytest.raises(NotFound):
            town.do("eve", action)
