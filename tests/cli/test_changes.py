"""Plans of changes on the command line: propose, read, approve, take back."""

from __future__ import annotations

from pathlib import Path

import pytest

from .conftest import Here

PIPELINE = """
from assay.pipeline import pipeline, read, step


@step
def count(rows: list[int], leaves: int) -> int:
    return leaves


@pipeline(purpose="credit-scoring")
def train(dataset: str, leaves: int = 8) -> object:
    return count([1], leaves)
"""
PLAN = """
format = "assay/change-plan/v1"
model = "credit"
why = "people [bold]change[/]"
valid_until = 2099-12-31
every = "7d"
most = 4
triggers = ["data_drift"]

[pipeline]
source = "retrain.py:train"
data = "dataset"

[parameters]
leaves = {least = 4, most = 64}

[holds]
"quality.auc_lower" = {least = 0.7}

[challenge]
slices = ["age"]
"""


@pytest.fixture
def planned(promoted: Here) -> Here:
    (promoted.ws / "retrain.py").write_text(PIPELINE)
    (promoted.ws / "plan.toml").write_text(PLAN)
    return promoted


def test_a_plan_is_proposed_read_approved_and_taken_back(planned: Here) -> None:
    assert "no plan of changes" in planned.ok("change", "list", by="alice").out
    done = planned.ok("change", "propose", "plan.toml", "--json", by="alice").json
    digest = done["plan"]
    assert done["document"]["registered"]["label"] == {"is": "default"}
    again = planned("change", "propose", "plan.toml", by="alice")
    assert (again.code, "proposed before" in again.err) == (1, True)

    shown = planned.ok("change", "show", digest[:19], by="bob")
    for words in (
        "waits for 2 approvals",
        "people [bold]change[/]",
        "at least 4 and at most 64",
        "must hold: quality.auc_lower",
        "without harm by age",
        "nobody yet",
    ):
        assert words in " ".join(shown.out.split()), words

    for name in ("bob", "carol"):
        planned.ok("change", "approve", digest[:19], "--comment", "read it", by=name)
    (listed,) = planned.ok("change", "list", "--json", by="alice").json
    assert (listed["state"], sorted(listed["approved_by"])) == ("valid", ["bob", "carol"])
    assert "valid" in planned.ok("change", "list", "credit", by="alice").out

    planned.ok("change", "approve", digest, "--withdraw", by="bob")
    found = planned.ok("change", "show", digest, "--json", by="alice").json
    assert (found["state"], found["approved_by"]) == ("waits for 1 approval", ["carol"])


def test_what_is_wrong_with_a_plan_is_said_in_a_line(planned: Here, tmp_path: Path) -> None:
    for text, words in (
        (PLAN.replace("most = 4", "most = 0"), "most"),
        (PLAN.replace("retrain.py:train", "other.py"), "other.py"),
        (PLAN.replace('"credit"', '"nothing"'), "nothing"),
        (PLAN.replace("leaves = {least", "depth = {least"), "depth"),
        ("format = 3", "plan of changes"),
        ("][", "TOML"),
    ):
        (planned.ws / "plan.toml").write_text(text)
        done = planned("change", "propose", "plan.toml", by="alice")
        assert done.code in (1, 2), done
        assert words in done.err, done
        assert "Traceback" not in done.all
    assert planned("change", "propose", tmp_path / "none.toml", by="alice").code == 1
    assert planned("change", "show", "sha256:000000", by="alice").code == 1


def test_nothing_is_retrained_that_does_not_answer(planned: Here) -> None:
    done = planned("retrain", "credit", "--pipeline", "retrain.py:train", by="alice")
    assert (done.code, "no endpoint credit" in done.err) == (1, True)
    done = planned("retrain", "credit", "--give-up", "no use", by="alice")
    assert (done.code, "no retraining" in done.err) == (1, True)
