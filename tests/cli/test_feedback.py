"""``assay feedback``: what a person gives, reads and makes of labels."""

from __future__ import annotations

import contextlib
import csv
import os
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from assay import ids
from assay.cli.session import Session

from .conftest import Here, copy_of


@contextlib.contextmanager
def as_alice(here: Here) -> Generator[Session]:
    """The person's own session, for what an endpoint does and no command."""
    given = {
        "ASSAY_KEYS": str(here.folder / "keys"),
        "XDG_STATE_HOME": str(here.folder / "state"),
        "XDG_CONFIG_HOME": str(here.folder / "config"),
    }
    with contextlib.chdir(here.ws), mock.patch.dict(os.environ, given):
        yield Session("alice", "", True)


@pytest.fixture(scope="session")
def _answering(_promoted: Here, tmp_path_factory: pytest.TempPathFactory) -> Here:
    """An endpoint."""
    from assay.actions.serving import Deploy

    here = copy_of(_promoted, tmp_path_factory.mktemp("answering") / "it")
    with as_alice(here) as session:
        session.perform(
            Deploy(project="fraud", model="credit", version="production", stage="production")
        )
    return here


@pytest.fixture
def answering(_answering: Here, tmp_path: Path) -> Here:
    return copy_of(_answering, tmp_path / "it")


def write(path: Path, rows: Sequence[Sequence[Any]]) -> Path:
    with path.open("w", newline="") as stream:
        csv.writer(stream).writerows([["id", "label"], *rows])
    return path


def test_labels_of_a_file_are_given_and_what_is_wrong_with_others_is_said(
    answering: Here,
) -> None:
    rows = [[f"{ids.new_id()}/0", n % 2] for n in range(4)]
    path = write(answering.folder / "labels.csv", [*rows, ["17", 1], [f"{ids.new_id()}/0", 9]])
    done = answering.ok("feedback", "add", "credit", path, by="alice")
    assert "kept 4 of 6 labels for credit" in done.out
    assert "refused 1 (id): each names no prediction" in done.out
    assert "refused 1 (class)" in done.out
    assert "row 5: id" in done.out
    shown = answering.ok("feedback", "status", "credit", by="alice")
    assert "alice" in shown.out
    assert "class 1, id 1" in shown.out
    told = answering.ok("feedback", "status", "credit", "--json", by="alice").json
    (source,) = told["sources"]
    assert (source["rows"], source["accepted"]) == (6, 4)
    assert source["refused"] == {"class": 1, "id": 1}
    assert (told["windows"], told["waiting"], told["lost"]) == ([], 0, [])


def test_an_endpoint_without_labels_says_how_to_give_some(answering: Here) -> None:
    shown = answering.ok("feedback", "status", "credit", by="alice")
    assert "no labels yet: assay feedback add credit FILE" in shown.out
    none = answering("feedback", "status", "nothing", by="alice")
    assert none.code == 1
    assert "no endpoint nothing" in none.err


@pytest.mark.parametrize("content", ["", "a,b\n1,2\n", "id\n1\n", "\x00\x01", '{"id": 1}'])
def test_a_file_that_is_no_table_of_labels_is_one_line(answering: Here, content: str) -> None:
    path = answering.folder / "bad.csv"
    path.write_text(content)
    done = answering("feedback", "add", "credit", path, by="alice")
    assert done.code == 2, done
    assert "Traceback" not in done.all
    gone = answering("feedback", "add", "credit", answering.folder / "none.csv", by="alice")
    assert gone.code == 1


def test_sealing_without_anything_to_seal_says_so(answering: Here) -> None:
    done = answering.ok("feedback", "seal", "credit", by="alice")
    assert "sealed 0 labels of credit" in done.out


def logged(here: Here, count: int) -> list[str]:
    """Answers as an endpoint logs them, sealed; their names."""
    from assay.actions.prediction_records import open_log
    from assay.actions.predictions import SealPredictions
    from assay.monitor.segments import Column, Output
    from assay.monitor.spool import Record, Values

    with as_alice(here) as session:
        ws = session.workspace
        found = ws.view.version("fraud", "credit", "production")
        features = [str(name) for name in found.details["features"]]
        kinds = {
            str(c["name"]): str(c["type"])
            for c in ws.view.dataset("fraud", found.details["dataset"]).details["schema"]
        }
        inputs = [Column(f, "BYTES" if kinds[f] == "string" else "FP64") for f in features]
        log = open_log(
            ws,
            "fraud",
            found.version,
            endpoint="credit",
            inputs=inputs,
            outputs=[Output("label", "INT64", [-1])],
        )
        from assay.clock import timestamp

        names: list[str] = []
        for number in range(count):
            made = ids.new_id()
            names.append(f"{made}/0")
            columns: dict[str, list[Any]] = {
                i.name: ["x"] if i.datatype == "BYTES" else [float(number)] for i in inputs
            }
            at = timestamp(ws.clock.now())
            outputs = [Values("label", [1], [1])]
            log.record(Record(made, at, found.version, "id", columns, {}, outputs))
        log.roll()
        session.perform(SealPredictions(project="fraud", endpoint="credit"))
    return names


def test_labelled_rows_become_a_dataset(answering: Here) -> None:
    names = logged(answering, 3)
    empty = answering("feedback", "dataset", "credit", "--name", "seen", by="alice")
    assert empty.code == 2
    assert "no row of credit in this time has a label" in empty.err
    path = write(answering.folder / "labels.csv", [[names[0], 1], [names[1], 0], [names[1], 1]])
    answering.ok("feedback", "add", "credit", path, by="alice")
    done = answering.ok("feedback", "dataset", "credit", "--name", "seen", by="alice")
    assert "seen: 2 labelled rows of 3 in the log" in done.out
    assert "labels not used: corrected 1" in done.out
    again = answering.ok("feedback", "dataset", "credit", "--name", "seen", by="alice")
    assert "as registered before" in again.out
    assert "seen" in answering.ok("data", "list", by="alice").out


def test_the_status_shows_windows_with_their_coverage_and_what_was_not_used(
    answering: Here,
) -> None:
    span = {"version": "1", "from": "2026-01-01T00:00:00.000Z", "to": "2026-01-02T00:00:00.000Z"}
    empty: dict[str, Any] = {"labelled": None, "coverage": None, "counts": {}, "sources": {}}
    still = {**span, "rows": 1000, "closes": "2026-02-01T00:00:00.000Z", "final": False, **empty}
    figures = {"final": True, "labelled": 900, "coverage": 0.9}
    counts = {"used": 900, "late": 7, "disputed": 2, "capped": 0}
    closed = {**still, **figures, "number": 1, "counts": counts}
    windows = [closed, *({**still, "number": number} for number in range(2, 15))]
    lost = {"records": 1, "bytes": 9, "spool": "s", "why": "damaged", "kept_as": "s.damaged"}
    told: dict[str, Any] = {"endpoint": "credit", "sources": [], "windows": windows[:3]}
    told |= {"waiting": 1, "written": 0, "lost": [lost]}
    with mock.patch("assay.actions.feedback_status.status", return_value=told):
        shown = answering.ok("feedback", "status", "credit", by="alice").out
        assert "90.0%" in shown
        assert "disputed 2, late 7" in shown
        assert "open until 2026-02-01" in shown
        assert "1 file of labels to be sealed: assay feedback seal credit" in shown
        assert "lost: 1 requests and 9 bytes of s (damaged); kept as s.damaged" in shown
        told["windows"] = windows
        assert (
            "and 2 windows before" in answering.ok("feedback", "status", "credit", by="alice").out
        )
