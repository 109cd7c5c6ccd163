"""What runs beside the HTTP server of an endpoint, over a real workspace."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from workspace.town import Killed, Town, model

from assay import files
from assay.actions.datasets import RegisterDataset
from assay.actions.feedback_records import spool_of
from assay.actions.people import ManageRole
from assay.actions.prediction_records import segments_of, spools_of
from assay.actions.predictions import ReadPredictions
from assay.actions.release import Promote
from assay.actions.serving import Deploy
from assay.cli.serving_process import Place, Server
from assay.errors import Unavailable
from assay.monitor.spool import waiting
from assay.serve.app import Application
from assay.serve.following import Follower
from assay.workspace.credentials import Person
from assay.workspace.opening import open_workspace

PLACE = Place("alpha", "score", "development", "development", "local")
INFER = "/v2/models/score/infer"


@pytest.fixture
def people(town: Town) -> Town:
    """Version 1 was trained on rows of people, by whose sex it is judged."""
    path = town.repo / "people.csv"
    source = (town.repo / "train.csv").read_text().splitlines()
    lines = [source[0] + ",person,sex,town,born"]
    for at, line in enumerate(source[1:]):
        lines.append(f"{line},{at},{'fm'[at % 2]},t{at % 3},19{at % 60 + 40}-01-01")
    path.write_text("\n".join(lines) + "\n")
    town.do(
        "sam",
        RegisterDataset(
            project="alpha",
            dataset="people",
            path=str(path),
            owner="risk",
            origin="made for tests",
            licence="CC0",
            purposes=("scoring",),
            legal_basis="contract",
            residency=("local",),
            subject_column="person",
        ),
    )
    registered = model(
        town.repo,
        train="people",
        test="",
        sensitive=("sex",),
        leave_out=("person", "town", "born", "sex"),
    )
    town.do("eve", registered)
    return town


def promoted(town: Town, version: str) -> Deploy:
    town.do("eve", Promote(project="alpha", model="score", version=version, stage="development"))
    return PLACE.deploy(version)


@contextmanager
def server(
    town: Town, version: str, **how: Any
) -> Generator[tuple[Application, Server, list[str]]]:
    """A server that follows and seals only when told to, and what it says."""
    said: list[str] = []
    held = town.do("eve", promoted(town, version))
    made = Server(
        PLACE,
        Person(town.people["eve"]),
        workspace=town.ws,
        aside=open_workspace(town.repo, clock=town.clock),
        note=said.append,
        **{"look_seconds": 0.01, "seal_seconds": 3600.0, **how},
    )
    with made.serving(held) as application:
        yield application, made, said


def ask(town: Town, app: Application, path: str, body: Any = None) -> tuple[int, Any]:
    sent: list[dict[str, Any]] = []
    data = b"" if body is None else json.dumps(body).encode()
    scope = {
        "type": "http",
        "method": "GET" if body is None else "POST",
        "path": path,
        "headers": [(b"authorization", b"Bearer " + town.tokens["web"].encode())],
    }

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": data}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    asyncio.run(app(scope, receive, send))
    return sent[0]["status"], json.loads(sent[1]["body"])


def tensors(**columns: list[Any]) -> dict[str, Any]:
    def datatype(value: Any) -> str:
        return "BYTES" if isinstance(value, str) else "INT64" if type(value) is int else "FP32"

    return {
        "inputs": [
            {"name": n, "shape": [len(v)], "datatype": datatype(v[0]), "data": v}
            for n, v in columns.items()
        ]
    }


ROW = {"a": [0.5], "b": [0.25], "c": [1.0]}


def rows(town: Town) -> list[dict[str, Any]]:
    log = town.do("eve", ReadPredictions(project="alpha", endpoint="score"))
    return log.frame.to_dicts()


def test_what_is_sliced_by_and_whom_a_row_is_about_are_logged_and_nothing_else_is_taken(
    people: Town,
) -> None:
    with server(people, "2") as (app, _, _):
        _, told = ask(people, app, "/v2/models/score")
        optional = {i["name"]: i["datatype"] for i in told["inputs"] if i.get("optional")}
        assert optional == {"person": "INT64", "sex": "BYTES"}
        status, told = ask(people, app, INFER, tensors(**ROW, person=[17], sex=["f"]))
        assert status == 200, told
        assert ask(people, app, INFER, tensors(**ROW))[0] == 200
        assert ask(people, app, INFER, tensors(**ROW, town=["t1"]))[0] == 400
    first, second = rows(people)
    assert first["prediction_id"] == told["parameters"]["prediction_id"]
    assert (first["in.a"], first["extra.sex"], first["version"]) == (0.5, "f", "2")
    assert first["actor"] == people.ids["web"]
    assert first["subject"] not in (None, "17")
    assert (second["subject"], second["extra.sex"]) == (None, None)
    assert "extra.person" not in first
    for path in (people.root / "spool").rglob("*"):
        assert path.is_dir(), path


def test_what_was_answered_is_sealed_while_it_is_served(town: Town) -> None:
    with server(town, "1", seal_seconds=0.0) as (app, made, _):
        for number in range(3):
            assert ask(town, app, INFER, tensors(**ROW))[0] == 200
            while len(segments_of(town.ws.view, "alpha", "score")) <= number:
                town.ws.view.follow()
        assert made.feedback is app.endpoint.feedback
    assert len(rows(town)) == 3


def test_both_versions_are_logged_as_what_they_are(town: Town) -> None:
    town.do("eve", model(town.repo))
    with server(town, "1") as (app, _, said):
        _, first = ask(town, app, INFER, tensors(**ROW))
        promoted(town, "2")
        while app.endpoint.version != "2":
            assert ask(town, app, INFER, tensors(**ROW))[0] == 200
        _, last = ask(town, app, INFER, tensors(**ROW))
    assert said == ["version 2 answers now, and 1 no more"]
    kept = {row["prediction_id"]: row["version"] for row in rows(town)}
    assert kept[first["parameters"]["prediction_id"]] == "1"
    assert kept[last["parameters"]["prediction_id"]] == "2"
    assert {segment.version for segment in segments_of(town.ws.view, "alpha", "score")} == {
        "1",
        "2",
    }


def spools(town: Town) -> list[Path]:
    return waiting(spools_of(town.ws.layout, "alpha", "score"))


def test_who_may_not_seal_any_more_loses_nothing_and_is_told_once(town: Town) -> None:
    with server(town, "1", seal_seconds=0.0) as (app, _, said):
        role = ManageRole(
            project="_workspace", actor=town.ids["eve"], role="alpha/ml_engineer", granted=False
        )
        town.do("ada", role)
        assert ask(town, app, INFER, tensors(**ROW))[0] == 200
        while not said:
            town.ws.view.follow()
    assert len(said) == 1
    assert "is not sealed yet, and is kept" in said[0]
    assert len(spools(town)) == 1


def test_a_ledger_that_cannot_be_written_keeps_the_spool(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> Any:
        raise Unavailable("no room left", code="files")

    heard: list[list[str]] = []

    def serve_until_full() -> None:
        with server(town, "1") as (app, made, told):
            heard.append(told)
            assert ask(town, app, INFER, tensors(**ROW))[0] == 200
            for workspace in (made.aside, town.ws):
                monkeypatch.setattr(workspace.ledger, "append", full)

    with pytest.raises(Unavailable, match="no room left"):
        serve_until_full()
    assert heard == [["what was logged is not sealed yet, and is kept: no room left"]]
    monkeypatch.undo()
    assert len(spools(town)) == 1


def test_a_mistake_of_ours_does_not_end_the_keeper(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = threading.Event()

    def mistaken(*_: Any) -> Any:
        broken.set()
        raise ZeroDivisionError

    with server(town, "1", seal_seconds=0.0) as (app, _, said):
        with monkeypatch.context() as patch:
            patch.setattr("assay.cli.serving_process.waiting", mistaken)
            assert broken.wait(30)
        assert ask(town, app, INFER, tensors(**ROW))[0] == 200
        while not segments_of(town.ws.view, "alpha", "score"):
            town.ws.view.follow()
    assert set(said) == {"what was logged is not sealed yet, and is kept: ZeroDivisionError"}


def test_a_server_that_is_stopped_puts_nothing_more_on_record(town: Town) -> None:
    town.do("eve", model(town.repo))
    with server(town, "1") as (_, made, _):
        pass
    with pytest.raises(Unavailable, match="being stopped"):
        made.put_on_record("2", "1")
    assert town.ws.view.follow().endpoints["alpha/score"]["version"] == "1"


def test_feedback_is_decided_apart_from_questions(people: Town) -> None:
    with server(people, "2") as (app, _, _):
        _, told = ask(people, app, INFER, tensors(**ROW))
        labels = {"labels": [{"id": f"{told['parameters']['prediction_id']}/0", "label": 1}]}
        status, told = ask(people, app, "/v2/models/score/feedback", labels)
        assert (status, told["accepted"]) == (200, 1), told
        people.tokens["web"] = people.tokens["ci"]  # May give feedback, and not ask.
        assert ask(people, app, "/v2/models/score/feedback", labels)[0] == 200
        assert ask(people, app, INFER, tensors(**ROW))[0] == 403
    assert not waiting(spool_of(people.ws.layout, "alpha", "score"))


@pytest.mark.slow
def test_killed_while_a_version_takes_over_the_next_server_answers_with_what_is_on_record(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before and after each step of the trial and of the deployment."""
    town.do("eve", model(town.repo))
    made: list[Follower[Any]] = []

    class Caught(Follower[Any]):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            made.append(self)

    monkeypatch.setattr("assay.cli.serving_process.Follower", Caught)
    answered: set[str] = set()
    points: list[str] = []

    def change() -> bool:
        """Whether the other version took over; else the process was killed at one more point."""
        before, after = ("2", "1") if len(points) % 2 else ("1", "2")
        passed: list[str] = []

        def kill(point: str) -> None:
            if point.startswith("door."):
                if len(passed) == len(points):
                    raise Killed(point)
                passed.append(point)

        with server(town, before, look_seconds=3600.0) as (app, _, _):
            _, told = ask(town, app, INFER, tensors(**ROW))
            assert told["model_version"] == before
            answered.add(told["parameters"]["prediction_id"])
            promoted(town, after)
            monkeypatch.setattr(files, "failpoint", kill)
            try:
                made[-1].step()
            except Killed as death:
                points.append(str(death))
                return False
            finally:
                monkeypatch.setattr(files, "failpoint", None)
            assert app.endpoint.version == after
            return True

    while not change():
        town.reopen().recover()
        assert town.ws.view.follow().open == {}
        assert town.ws.view.state.endpoints["alpha/score"]["version"] in ("1", "2")
    assert points == ["door.decided", "door.applied", "door.recorded"] * 2
    town.check()
    assert answered <= {row["prediction_id"] for row in rows(town)}
