"""Rounds of the monitor: what came is counted once, whatever ends in the middle."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from workspace.town import (
    Killed,
    Town,
    copy_of,
    dataset,
    killed_at_point,
    model,
    numbers,
    write_table,
)

from assay import ids
from assay.actions.alerts import alerts_of
from assay.actions.baselines import SetBaseline
from assay.actions.feedback import AddFeedback
from assay.actions.monitor_records import readings, recorded
from assay.actions.monitoring import CloseWindows, MeasurePerformance, observe
from assay.actions.prediction_records import naming_key, ring_for, spools_of
from assay.clock import timestamp
from assay.errors import Conflict, Denied
from assay.monitor.log import PredictionLog
from assay.monitor.segments import Column, Meta, Output
from assay.monitor.spool import Record, Values

ROWS = 200
DAY = timedelta(days=1)
PROJECT, ENDPOINT = "alpha", "score"


@pytest.fixture(scope="module")
def deployed(built: Town, tmp_path_factory: pytest.TempPathFactory) -> Town:
    """A town with an endpoint that is watched, copied for each test."""
    with pytest.MonkeyPatch.context() as environment:
        town = copy_of(built, tmp_path_factory.mktemp("watched") / "town", environment)
        town.deploy()
        asked = SetBaseline(
            project=PROJECT, model=ENDPOINT, version="1", window=f"{ROWS}rows", horizon="1d"
        )
        town.do("eve", asked)
        town.close()
        return town


@pytest.fixture
def town(deployed: Town, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Town:
    return copy_of(deployed, tmp_path / "town", monkeypatch)


def scored(town: Town, rows: Sequence[Sequence[float]]) -> np.ndarray:
    """What the model says of rows."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(town.repo / "model.onnx"))
    table = np.array([row[:3] for row in rows], dtype=np.float32)
    given = session.get_inputs()
    if len(given) == 1:
        fed = {given[0].name: table}
    else:
        fed = {field.name: table[:, [i]] for i, field in enumerate(given)}
    given_back: list[Any] = list(session.run(None, fed))
    found = [out for out in given_back if np.ndim(out) == 2]
    return np.asarray(found[0], dtype=np.float64)


def answer(town: Town, rows: Sequence[Sequence[float]]) -> list[dict[str, Any]]:
    """Answer one request of these rows and close the spool; the labels that are true of it."""
    found = town.ws.view.version(PROJECT, ENDPOINT, "1")
    meta = Meta(
        ENDPOINT,
        "1",
        str(found.served),
        [Column(name, "FP32") for name in "abc"],
        [Output("probabilities", "FP32", [-1, 2], [0, 1])],
    )
    rings = town.ws.store.rings
    log = PredictionLog(
        spools_of(town.ws.layout, PROJECT, ENDPOINT),
        lambda: ring_for(rings, PROJECT, town.clock.now()),
        meta,
        clock=town.clock,
        naming=naming_key(rings, PROJECT),
    )
    name = ids.new_id()
    columns = {key: [row[i] for row in rows] for i, key in enumerate("abc")}
    outputs = [Values("probabilities", [len(rows), 2], scored(town, rows).ravel().tolist())]
    log.record(Record(name, timestamp(town.clock.now()), "1", "id-web", columns, {}, outputs))
    log.roll()
    return [{"id": f"{name}/{i}", "label": int(row[3])} for i, row in enumerate(rows)]


def round_(town: Town, who: str = "eve") -> dict[str, Any]:
    town.ws.view.follow()
    return observe(
        lambda action: town.do(who, action), town.ws.view, town.ws.layout, PROJECT, ENDPOINT
    )


def held(town: Town) -> Any:
    town.ws.view.follow()
    return recorded(town.ws.view, PROJECT, ENDPOINT)


def give(town: Town, labels: list[dict[str, Any]]) -> None:
    town.do("sam", AddFeedback.of(PROJECT, ENDPOINT, labels))


def later(town: Town, by: timedelta) -> None:
    town.clock.at += by


def old(seed: int, rows: int = ROWS) -> list[list[float]]:
    """Rows of a kind that training hardly saw, of which the truth is another."""
    return [[a / 5 + 0.8, b, c, 0] for a, b, c, _ in numbers(rows, seed)]


def test_a_round_seals_closes_and_is_quiet_while_nothing_changes(town: Town) -> None:
    for day in range(4):
        give(town, answer(town, numbers(ROWS, 100 + day)))
        later(town, DAY)
    done = round_(town)
    assert [w["rows"] for w in done["windows"]] == [ROWS] * 4
    assert [w["number"] for w in done["windows"]] == [1, 2, 3, 4]
    assert [w["coverage"] for w in done["measured"]] == [1.0] * 4
    assert done["alerts"] == []
    figures = held(town).performances[0]
    assert figures["labelled"] == ROWS
    assert 0.5 < figures["metrics"]["accuracy"]["value"] < 1
    size = town.size
    assert round_(town)["windows"] == []
    assert town.size == size, "a round that finds nothing leaves nothing on the ledger"
    town.check()


def test_who_training_hardly_saw_is_named_and_confirmed_by_the_labels(town: Town) -> None:
    answer(town, numbers(ROWS, 7))
    later(town, DAY)
    labels = answer(town, old(8))
    done = round_(town)
    kinds = {alert["kind"] for alert in done["alerts"]}
    assert "data_drift" in kinds
    (drift,) = [a for a in done["alerts"] if a["kind"] == "data_drift"]
    assert drift["causes"][0]["feature"] == "a"
    assert drift["since"] == 2
    give(town, labels)
    confirmed = round_(town)["alerts"]
    assert [(a["kind"], a["severity"]) for a in confirmed] == [("performance", "critical")]
    assert {a.kind for a in alerts_of(town.ws.view, PROJECT, ENDPOINT)} >= {
        "data_drift",
        "performance",
    }


def test_labels_are_read_where_another_version_of_the_model_has_unknown_classes(
    town: Town,
) -> None:
    labels = answer(town, numbers(ROWS, 3))
    (town.repo / "odd.bin").write_bytes(b"nothing that anybody can read")
    town.do("sam", model(town.repo, path=str(town.repo / "odd.bin")))
    give(town, labels)
    assert [w["coverage"] for w in round_(town)["measured"]] == [1.0]


def test_labels_are_closed_at_the_horizon_with_what_there_is(town: Town) -> None:
    labels = answer(town, numbers(ROWS, 3))
    give(town, labels[: ROWS // 2])
    assert round_(town)["measured"] == []
    later(town, DAY + timedelta(minutes=1))
    (closed,) = round_(town)["measured"]
    assert (closed["labelled"], closed["coverage"]) == (ROWS // 2, 0.5)
    give(town, labels[ROWS // 2 :])
    assert round_(town)["measured"] == []
    assert len(held(town).performances) == 1


def test_whoever_labels_everything_first_shuts_nobody_out(town: Town) -> None:
    labels = answer(town, numbers(ROWS, 3))
    give(town, [{**label, "label": 1 - label["label"]} for label in labels])
    round_(town)
    early = held(town).performances[-1]
    assert (early["final"], early["coverage"]) == (False, 1.0)
    assert early["metrics"]["accuracy"]["value"] < 0.5
    give(town, labels)  # The same source corrects itself, before the horizon.
    assert round_(town)["measured"] == []
    later(town, DAY + timedelta(minutes=1))
    round_(town)
    last = held(town).performances[-1]
    assert last["final"]
    assert last["metrics"]["accuracy"]["value"] > 0.5
    assert len(readings(held(town)).confirmed) == 1


def test_a_window_without_any_label_says_that_and_no_figure(town: Town) -> None:
    answer(town, numbers(ROWS, 3))
    round_(town)
    later(town, 2 * DAY)
    (closed,) = round_(town)["measured"]
    assert (closed["labelled"], closed["coverage"]) == (0, 0.0)
    assert held(town).performances[0]["metrics"] == {}
    assert readings(held(town)).confirmed[1].judged == frozenset()


def test_windows_under_an_earlier_baseline_are_no_evidence_against_a_later_one(town: Town) -> None:
    give(town, answer(town, old(8)))
    round_(town)
    assert set(readings(held(town)).said) == set(readings(held(town)).confirmed) == {1}
    spare = town.repo / "spare.csv"
    write_table(spare, numbers(300, 9))
    town.do("sam", dataset(town.repo, "spare"))
    town.do(
        "eve",
        SetBaseline(
            project=PROJECT, model=ENDPOINT, version="1", data="spare", window=f"{ROWS}rows"
        ),
    )
    found = readings(held(town))
    assert found.said == found.confirmed == {}


def test_two_monitors_close_a_window_once(town: Town) -> None:
    answer(town, numbers(ROWS, 3))
    round_(town)
    first = held(town)
    close = CloseWindows(project=PROJECT, endpoint=ENDPOINT)
    assert town.do("eve", close) == []
    assert len(held(town).windows) == len(first.windows) == 1


def test_a_window_that_another_monitor_closes_meanwhile_is_a_conflict_and_no_second_one(
    town: Town,
) -> None:
    from workspace.town import at_point

    answer(town, numbers(ROWS, 3))
    from assay.actions.predictions import SealPredictions

    town.do("eve", SealPredictions(project=PROJECT, endpoint=ENDPOINT))
    close = CloseWindows(project=PROJECT, endpoint=ENDPOINT)

    def other() -> None:
        from assay.workspace.opening import open_workspace

        ws = open_workspace(town.repo, clock=town.clock)
        ws.perform(town.who("oli"), close)

    with at_point("door.decided", other), pytest.raises(Conflict):
        town.do("eve", close)
    assert [w["number"] for w in held(town).windows] == [1]


@pytest.mark.parametrize("who", ["sam", "ann", "una", "web"])
def test_who_does_not_run_endpoints_closes_no_window(town: Town, who: str) -> None:
    for action in (CloseWindows, MeasurePerformance):
        with pytest.raises(Denied):
            town.do(who, action(project=PROJECT, endpoint=ENDPOINT))


def test_everybody_with_the_statements_comes_to_the_same_readings(town: Town) -> None:
    answer(town, old(8))
    round_(town)
    one = readings(held(town))
    town.reopen()
    two = readings(held(town))
    assert msgspec.to_builtins(one.readings()) == msgspec.to_builtins(two.readings())
    assert one.signals() == two.signals() != []


@pytest.mark.slow
def test_a_round_that_is_killed_anywhere_is_gone_on_from(
    deployed: Town, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = copy_of(deployed, tmp_path / "whole", monkeypatch)
    _live(whole)
    with killed_at_point(10_000) as passed:
        round_(whole)
    said = _story(whole)
    assert len(said["windows"]) == 2
    assert said["alerts"]
    # A step that no cycle of a round divides, so that each kind of point is among them.
    for number in range(0, len(passed), 19):
        town = copy_of(deployed, tmp_path / str(number), monkeypatch)
        _live(town)
        with killed_at_point(number), pytest.raises(Killed):
            round_(town)
        town.reopen().recover()
        round_(town)
        assert _story(town) == said, f"killed at {passed[number]}"


def _live(town: Town) -> None:
    give(town, answer(town, numbers(ROWS, 7)))
    later(town, timedelta(hours=1))
    give(town, answer(town, old(8)))


def _story(town: Town) -> dict[str, Any]:
    found = held(town)
    return {
        "windows": [(w["number"], w["rows"], w["profile"]["columns"]) for w in found.windows],
        "figures": [(p["number"], p["labelled"], p["loss"]) for p in found.figures().values()],
        "alerts": sorted(
            (a.kind, a.measure, a.severity, a.episode)
            for a in alerts_of(town.ws.view, PROJECT, ENDPOINT)
        ),
    }
