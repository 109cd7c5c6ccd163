"""Labelled rows of the log as a dataset: under the declarations, holds and erasures of its data."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import pytest
from monitor.logged import META, Answered
from workspace.town import Town, at_point, copy_of, dataset, model

from assay.actions.collecting import CollectDataset, rows_of
from assay.actions.datasets import HoldDataset, ReadDataset
from assay.actions.feedback import AddFeedback
from assay.actions.models import RegisterModel
from assay.actions.prediction_records import naming_key, ring_for, spools_of
from assay.actions.predictions import EraseSubjects, SealPredictions
from assay.actions.release import Hold
from assay.actions.serving import Deploy
from assay.clock import timestamp
from assay.data import tables
from assay.errors import Conflict, Denied, Usage
from assay.monitor.log import PredictionLog
from assay.monitor.segments import Column

from .labelling import deploy

NUMBERS = msgspec.structs.replace(META, inputs=[Column(name, "FP32") for name in "abc"])


class Answer(Answered):
    """Of a model that takes numbers."""

    @property
    def columns(self) -> dict[str, list[Any]]:
        return {name: [self.value] * self.rows for name in "abc"}


@pytest.fixture(scope="module")
def deployed(built: Town, tmp_path_factory: pytest.TempPathFactory) -> Town:
    return deploy(built, tmp_path_factory)


@pytest.fixture
def town(deployed: Town, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Town:
    return copy_of(deployed, tmp_path / "town", monkeypatch)


def answer(town: Town, *answers: Answer, project: str = "alpha", name: str = "score") -> None:
    """Log answers and seal them."""
    rings = town.ws.store.rings
    log = PredictionLog(
        spools_of(town.ws.layout, project, name),
        lambda: ring_for(rings, project, town.clock.now()),
        msgspec.structs.replace(NUMBERS, endpoint=name),
        clock=town.clock,
        naming=naming_key(rings, project),
        subject="who",
    )
    for each in answers:
        log.answered(each)
    log.roll()
    who = {"alpha": "oli", "beta": "bea"}[project]
    town.do(who, SealPredictions(project=project, endpoint=name))


def label(town: Town, values: dict[str, Any], who: str = "sam") -> dict[str, Any]:
    """Give labels by ``UUID/row``."""
    given = [{"id": name, "label": value} for name, value in values.items()]
    return town.do(who, AddFeedback.of("alpha", "score", given))


def collect(town: Town, who: str = "sam", **given: Any) -> dict[str, Any]:
    asked = {"endpoint": "score", "dataset": "seen", **given}
    return town.do(who, CollectDataset(project="alpha", **asked))


def rows(town: Town, name: str = "seen") -> pl.DataFrame:
    with town.do("sam", ReadDataset(project="alpha", dataset=name, purpose="scoring")) as stream:
        return tables.read_stream(stream, name).frame


def three(town: Town) -> list[Answer]:
    """Three answers, the first two of them labelled."""
    answers = [Answer(value=0.1), Answer(value=0.2), Answer(value=0.3)]
    answer(town, *answers)
    label(town, {f"{answers[0].id}/0": 0, f"{answers[1].id}/0": 1})
    return answers


# -- what is in it --------------------------------------------------------------------------------


def test_labelled_rows_become_a_dataset_like_the_one_the_model_was_trained_on(town: Town) -> None:
    three(town)
    done = collect(town)
    assert (done["rows"], done["unchanged"], done["collection"]["absent"]) == (2, False, [])
    found, trained = rows(town), rows(town, "train")
    assert found.columns == trained.columns == ["a", "b", "c", "y"]
    assert found.schema == trained.schema
    assert found.rows() == [(0.1, 0.1, 0.1, 0), (0.2, 0.2, 0.2, 1)]


def test_it_is_declared_as_the_training_data_is(town: Town) -> None:
    three(town)
    collect(town)
    seen, train = (town.ws.view.dataset("alpha", name) for name in ("seen", "train"))
    same = ("licence", "purposes", "legal_basis", "residency", "personal", "special")
    assert {k: seen.details[k] for k in same} == {k: train.details[k] for k in same}
    assert seen.owner == train.owner
    (sheet,) = [s for s in town.statements("datasheet") if "seen" in s.subject[0].name]
    collected = sheet.predicate["collection"]
    assert collected["predictions"]["value"] == 3
    assert collected["endpoint"] == {"value": "score", "basis": "measured"}


def test_rows_about_which_sources_differ_are_not_in_it(town: Town) -> None:
    answers = three(town)
    label(town, {f"{answers[1].id}/0": 0, f"{answers[0].id}/0": 0}, "eve")
    done = collect(town)
    assert done["rows"] == 1
    assert done["collection"]["labels"]["disputed"] == 1


def test_labels_of_other_endpoints_and_projects_label_nothing_and_are_told_apart(
    town: Town,
) -> None:
    town.do("eve", model(town.repo, "other", path=str(town.repo / "model.onnx")))
    for who, project, name in (("eve", "alpha", "other"), ("bea", "beta", "secretive")):
        town.do(who, Deploy(project=project, model=name, version="1", stage="development"))
    # In the order of their ids: what lies outside a window's is for another window to account.
    first, other, secret, last = (Answer() for _ in range(4))
    answer(town, first, last)
    answer(town, other, name="other")
    answer(town, secret, project="beta", name="secretive")
    label(town, {f"{a.id}/0": 1 for a in (first, other, secret, last)})
    done = collect(town)
    counts = done["collection"]["labels"]
    assert (done["rows"], counts["elsewhere"], counts["unknown"]) == (2, 1, 1)


def test_a_flood_of_labels_is_not_trained_on(town: Town) -> None:
    answers = [Answer(value=n / 10) for n in range(8)]
    answer(town, *answers)
    label(town, {f"{a.id}/0": 1 for a in answers[:2]})
    label(town, {f"{a.id}/0": 0 for a in answers[2:]}, "web")
    done = collect(town)
    assert done["rows"] == 4
    assert done["collection"]["sources"][town.ids["web"]]["capped"] == 4


def test_a_time_may_be_chosen(town: Town) -> None:
    three(town)
    town.clock.advance(timedelta(days=1))
    middle = timestamp(town.clock.now())
    later = Answer(value=0.9)
    answer(town, later)
    label(town, {f"{later.id}/0": 1})
    assert collect(town, from_=middle)["rows"] == 1
    assert rows(town)["a"].to_list() == [0.9]
    assert collect(town, to=middle)["rows"] == 2


def test_collecting_the_same_again_registers_nothing_new(town: Town) -> None:
    answers = three(town)
    first = collect(town)
    before = town.size
    again = collect(town)
    assert again["unchanged"]
    assert again["content"] == first["content"]
    assert "dataset" not in town.kinds(before)
    label(town, {f"{answers[2].id}/0": 1})
    third = collect(town)
    assert (third["unchanged"], third["rows"], third["replaces"]) == (False, 3, first["content"])


def test_without_labels_there_is_nothing_to_collect(town: Town) -> None:
    with pytest.raises(Usage, match="no row"):
        collect(town)
    answer(town, Answer())
    with pytest.raises(Usage, match="no row"):
        collect(town)
    assert "alpha/seen" not in town.ws.view.follow().datasets


def test_another_dataset_is_not_written_over(town: Town) -> None:
    three(town)
    for name in ("train", "test"):
        with pytest.raises(Conflict, match="another dataset"):
            collect(town, dataset=name)


# -- who may --------------------------------------------------------------------------------------


def test_a_purpose_that_the_training_data_was_not_given_for_is_denied(town: Town) -> None:
    three(town)
    with pytest.raises(Denied) as caught:
        collect(town, purpose="marketing")
    assert caught.value.details["reasons"][0]["gate"] == "data.purpose"
    assert "alpha/seen" not in town.ws.view.follow().datasets


def test_a_hold_on_the_training_data_or_the_version_stops_it(town: Town) -> None:
    three(town)
    town.do("ann", HoldDataset(project="alpha", dataset="train", reason="erasure"))
    with pytest.raises(Denied) as caught:
        collect(town)
    assert caught.value.details["reasons"][0]["gate"] == "data.hold"
    lifted = HoldDataset(project="alpha", dataset="train", held=False, reason="done")
    town.do("ann", lifted)
    town.do("eve", Hold(project="alpha", model="score", version="1", reason="look"))
    with pytest.raises(Denied) as caught:
        collect(town)
    assert caught.value.details["reasons"][0]["gate"] == "predictions.hold"


def test_a_hold_on_what_was_collected_holds_it(town: Town) -> None:
    three(town)
    collect(town)
    town.do("ann", HoldDataset(project="alpha", dataset="seen", reason="erasure"))
    with pytest.raises(Denied):
        rows(town)


def redeclared(town: Town, **changed: Any) -> None:
    """Register the training data with other declarations."""
    town.do("sam", msgspec.structs.replace(dataset(town.repo, "train"), **changed))


def test_special_categories_need_a_ticket_and_stay_special(town: Town) -> None:
    three(town)
    redeclared(town, special=True)
    with pytest.raises(Denied) as caught:
        collect(town)
    assert caught.value.details["reasons"][0]["gate"] == "data.special"


def test_the_time_for_which_the_data_may_be_kept_counts(town: Town) -> None:
    three(town)
    until = timestamp(town.clock.now() + timedelta(hours=1))
    redeclared(town, retain_until=until)
    collect(town)
    assert town.ws.view.dataset("alpha", "seen").details["retain_until"] == until
    town.clock.advance(timedelta(hours=2))
    with pytest.raises(Denied):
        rows(town)
    with pytest.raises(Denied):
        collect(town)


def test_who_may_not_read_the_log_collects_nothing(town: Town) -> None:
    three(town)
    for who in ("ann", "oli", "una", "web", "bea"):
        with pytest.raises(Denied):
            collect(town, who)
    assert collect(town, "ci")["rows"] == 2


# -- people ---------------------------------------------------------------------------------------


def people(town: Town) -> list[Answer]:
    """Rows about two people, all labelled."""
    redeclared(town, subject_column="c")
    answers = [Answer(value=n / 10, people=[who]) for n, who in enumerate(("ann", "bob", "ann"))]
    answer(town, *answers)
    label(town, {f"{a.id}/0": 1 for a in answers})
    return answers


def erase(town: Town, who: str) -> None:
    town.do("ada", EraseSubjects.asked(town.ws, "alpha", [who], "asked", "T1"))


def test_rows_about_erased_people_are_not_in_it(town: Town) -> None:
    people(town)
    erase(town, "ann")
    done = collect(town)
    assert done["rows"] == 1
    assert done["collection"]["erased"] == 2
    # That their labels are still there makes them no forgeries.
    assert done["collection"]["labels"]["unknown"] == 0
    assert rows(town)["a"].to_list() == [0.1]


def test_when_everybody_was_erased_nothing_is_left_to_collect(town: Town) -> None:
    people(town)
    erase(town, "ann")
    erase(town, "bob")
    with pytest.raises(Usage, match="no row"):
        collect(town)


def test_an_erasure_that_slips_in_while_rows_are_collected_wins(town: Town) -> None:
    people(town)
    town.ws.view.follow()
    with pytest.raises(Conflict), at_point("store.indexed", lambda: erase(town, "ann")):
        collect(town)
    assert "alpha/seen" not in town.reopen().view.follow().datasets
    assert collect(town)["rows"] == 1


# -- tables ---------------------------------------------------------------------------------------


def logged(**columns: Any) -> pl.DataFrame:
    count = len(next(iter(columns.values())))
    return pl.DataFrame({"subject": [None] * count, "label": [1] * count, **columns})


def schema(**kinds: str) -> list[dict[str, Any]]:
    return [{"name": name, "type": kind} for name, kind in kinds.items()]


def test_logged_numbers_become_what_the_data_had() -> None:
    nan = float("nan")
    frame, absent = rows_of(
        logged(
            **{
                "in.i": [1.0, nan],
                "in.f": [0.5, nan],
                "in.b": [1.0, 0.0],
                "in.d": [0.0, 20_000.0],
                "in.t": [0.5, 1.0],
                "in.s": ["x", None],
                "in.j": [0.5, 1.0],
                "extra.e": [3.0, 4.0],
            }
        ),
        schema(i="int", f="float", b="bool", d="date", t="date", s="string", j="int", e="int")
        + schema(gone="float", y="bool"),
        label="y",
        subject="",
    )
    assert absent == ["gone"]
    types = [str(kind) for kind in frame.dtypes]
    assert types[:4] == ["Int64", "Float64", "Boolean", "Date"]
    assert types[4].startswith("Datetime")
    assert types[5:] == ["String", "Float64", "Int64", "Boolean"]
    assert frame["i"].to_list() == [1, None]
    assert frame["f"].to_list() == [0.5, None]


def test_one_matrix_without_names_is_spread_over_the_columns_of_the_data() -> None:
    found, absent = rows_of(
        logged(**{"in.X": [[1.0, 2.0], [3.0, 4.0]]}),
        schema(p="float", id="string", q="float", y="int"),
        label="y",
        subject="",
        leave_out=["id", "y"],
    )
    assert found.columns == ["p", "q", "y"]
    assert found.rows() == [(1.0, 2.0, 1), (3.0, 4.0, 1)]
    assert absent == ["id"]


def test_a_log_that_shares_no_column_with_the_data_is_refused() -> None:
    with pytest.raises(Usage, match="no column"):
        rows_of(logged(**{"in.z": [1.0]}), schema(a="float", y="int"), label="y", subject="")


def test_a_model_that_names_no_training_data_collects_nothing(town: Town) -> None:
    onnx = RegisterModel(
        project="alpha", model="score", path=str(town.repo / "model.onnx"), purpose="scoring"
    )
    town.do("eve", onnx)
    held = town.ws.view.follow().endpoints["alpha/score"]
    town.ws.view.state.endpoints["alpha/score"] = {**held, "version": "2"}
    with pytest.raises(Usage, match="trained on"):
        CollectDataset(project="alpha", endpoint="score", dataset="seen").target(town.ws.view)
