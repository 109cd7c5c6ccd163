"""What is normal for a version: through the door, on rows that were held out, and about nobody."""

from __future__ import annotations

from typing import Any

import pytest
from workspace.town import Town, at_point, dataset, model, numbers, write_table

from assay import canonical
from assay.actions.assessment import AssessModel
from assay.actions.baselines import KIND, PRODUCER, SetBaseline, baseline_of
from assay.actions.release import Hold
from assay.errors import Conflict, NotFound, Usage
from assay.monitor import baseline, profiles


def ask(**given: Any) -> SetBaseline:
    made: dict[str, Any] = {"project": "alpha", "model": "score", "version": "1"}
    return SetBaseline(**{**made, **given})


def refused(town: Town, code: str, **given: Any) -> None:
    """Refused before anything was decided or read."""
    size = town.size
    with pytest.raises(Usage) as caught:
        town.do("eve", ask(**given))
    assert caught.value.code == f"usage.{code}"
    assert town.size == size


def register(town: Town, name: str, rows: list[list[float]]) -> None:
    write_table(town.repo / f"{name}.csv", rows)
    town.do("sam", dataset(town.repo, name))


def held(town: Town, version: str = "1") -> baseline.Baseline:
    town.ws.view.follow()
    predicate = baseline_of(town.ws.view, "alpha", "score", version)
    assert predicate is not None
    return baseline.read(predicate)


def test_a_baseline_is_evidence_about_what_is_served_and_a_fact_for_its_gate(town: Town) -> None:
    town.do("eve", ask())
    (said,) = town.statements(KIND)
    assert said.header.producer == PRODUCER
    found = town.ws.view.version("alpha", "score", "1")
    named = {s.name: f"sha256:{s.digest['sha256']}" for s in said.subject}
    about = "monitor:alpha/score"
    assert named == {"score@1.onnx": found.served, about: canonical.digest(about.encode())}
    assert said.predicate["digest"] == found.served
    assert said.predicate["data"]["content"] == town.ws.view.dataset("alpha", "test").content
    assert town.ws.view.version_facts(found).values["baseline"] == {"rows": 500}


def test_it_is_measured_on_the_rows_registered_for_it_unless_others_are_named(town: Town) -> None:
    register(town, "spare", numbers(300, 9))
    assert town.do("eve", ask())["data"]["name"] == "test"
    assert town.do("eve", ask(data="spare"))["rows"] == 300


def test_the_newest_baseline_counts_and_reads_back_with_its_plan(town: Town) -> None:
    town.do("eve", ask())
    town.do("eve", ask(window="5000rows", false_alarms="2/year", slices=("a",), horizon="4windows"))
    town.reopen()
    read = held(town)
    assert [cells.name for cells in read.layout.columns] == ["a", "b", "c"]
    assert (read.plan.rows, read.plan.horizon_windows, read.plan.slices) == (5000, 4, ["a"])
    assert read.plan.arl == 365 / 2
    assert read.training is not None
    assert (read.profile.rows, read.training.rows) == (500, 600)


def test_its_figures_are_those_of_the_assessment(town: Town) -> None:
    done = town.do("eve", ask())
    action = AssessModel(project="alpha", model="score", version="1", data="test", train="train")
    quality = town.do("eve", action)["found"]["quality"]
    for metric, apart in (("accuracy", 1e-9), ("auc", 5e-3)):
        for bound in ("value", "lower", "upper"):
            told = done["performance"][metric][bound]
            assert told == pytest.approx(quality[metric][bound], abs=apart)
    assert done["performance"]["auc"]["value"] == pytest.approx(quality["auc"]["value"])
    assert done["performance"]["brier"]["value"] == pytest.approx(quality["brier"]["value"])
    errors = done["loss"]["zero_one"]
    assert errors["sum"] / errors["n"] == pytest.approx(1 - quality["accuracy"]["value"])


def test_nothing_in_it_is_about_fewer_than_ten_rows(town: Town) -> None:
    done = town.do("eve", ask(slices=("a", "b")))
    least = profiles.LEAST
    cells = [n for column in done["profile"]["columns"] for n in column["counts"]]
    cells += done["scores"]["counts"]
    cells += [n for part in done["slices"] for n in part["scores"]["counts"]]
    cells += [part["rows"] for part in done["slices"]]
    assert all(n == 0 or n >= least for n in cells)


def test_a_version_without_a_baseline_has_none(town: Town) -> None:
    assert baseline_of(town.ws.view, "alpha", "score", "1") is None


def test_a_statement_signed_by_a_person_is_no_baseline(town: Town) -> None:
    town.do("eve", ask())
    (said,) = town.statements(KIND)
    served = town.ws.view.version("alpha", "score", "1").served
    assert served
    forged = town.statement(
        KIND, {**said.predicate, "rows": 10**6}, "alpha", about=served, producer=PRODUCER
    )
    town.slip_in(forged, town.people["eve"])
    assert held(town).profile.rows == 500
    other = town.statement(KIND, {**said.predicate, "rows": 1}, "alpha", about=served)
    town.slip_in(other, town.workspace_key)
    assert held(town).about["rows"] == 500


def test_the_same_bytes_as_another_version_have_no_baseline_of_their_own(town: Town) -> None:
    town.do("eve", ask())
    value = town.do("eve", model(town.repo))
    version = value["version"]
    assert town.ws.view.version("alpha", "score", version).served == value["served"]
    assert baseline_of(town.ws.view, "alpha", "score", version) is None


def test_training_rows_are_not_what_is_normal(town: Town) -> None:
    refused(town, "baseline.same_data", data="train")
    town.do("sam", dataset(town.repo, "copy", file="train.csv"))
    refused(town, "baseline.same_data", data="copy")


def test_rows_mostly_shared_with_the_training_are_not_what_is_normal(town: Town) -> None:
    register(town, "mixed", [*numbers(300, 5), *numbers(600, 1)[:100]])
    with pytest.raises(Usage) as caught:
        town.do("eve", ask(data="mixed"))
    assert caught.value.code == "usage.baseline.same_data"
    assert town.statements(KIND) == []


def test_a_column_that_is_not_there_or_is_the_label_is_not_sliced_by(town: Town) -> None:
    refused(town, "baseline.slices", slices=("colour",))
    refused(town, "baseline.slices", slices=("y",))


@pytest.mark.parametrize(
    ("code", "given"),
    [
        ("plan.window", {"window": "soon"}),
        ("plan.window", {"window": "3rows"}),
        ("plan.false_alarms", {"false_alarms": "0/year"}),
        ("plan.false_alarms", {"false_alarms": "never"}),
        ("plan.false_alarms", {"false_alarms": "1/day"}),
        ("plan.horizon", {"horizon": "0windows"}),
        ("plan.smallest_shift", {"smallest_shift": -0.1}),
        ("plan.windows_a_year", {"windows_a_year": 12.0}),
        ("plan.label_cap", {"label_cap": 0}),
        ("plan.slices", {"slices": ("a", "a")}),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused_before_anything_is_read(
    town: Town, code: str, given: dict[str, Any]
) -> None:
    refused(town, code, **given)


def test_a_version_without_held_out_rows_says_what_to_name(town: Town) -> None:
    town.do("eve", model(town.repo, "bare", test=""))
    refused(town, "baseline.data", model="bare")


def test_too_few_rows_do_not_say_what_is_normal(town: Town) -> None:
    register(town, "few", numbers(99, 9))
    with pytest.raises(Usage, match="99 rows do not say what is normal"):
        town.do("eve", ask(data="few"))
    assert town.statements(KIND) == []


def test_a_version_that_does_not_exist_has_no_normal(town: Town) -> None:
    with pytest.raises(NotFound):
        town.do("eve", ask(version="9"))


def test_a_version_on_hold_can_still_be_measured(town: Town) -> None:
    action = Hold(project="alpha", model="score", version="1", held=True, reason="looking")
    town.do("eve", action)
    assert town.do("eve", ask())["rows"] == 500


def test_data_registered_anew_meanwhile_ends_the_measurement(town: Town) -> None:
    with (
        at_point("door.decided", lambda: register(town, "test", numbers(500, 8))),
        pytest.raises(Conflict),
    ):
        town.do("eve", ask())
    assert town.statements(KIND) == []


def test_training_data_of_another_time_is_not_compared_with(town: Town) -> None:
    register(town, "train", numbers(600, 9))
    assert town.do("eve", ask())["training_profile"] is None
