"""Pipelines over registered datasets and real models, whole."""

from __future__ import annotations

import pytest

from assay.actions.datasets import RegisterDataset
from assay.workspace.credentials import Person

from .running import Place

pytestmark = pytest.mark.slow

CODE = """
from pathlib import Path
import polars as pl
from sklearn.linear_model import LogisticRegression
from assay.pipeline import check, publish, read, register
from fitting import fit

@step
def train(rows: pl.DataFrame) -> LogisticRegression:
    return fit(rows)

@step
def predict(model: LogisticRegression, rows: pl.DataFrame) -> list[float]:
    found = model.predict_proba(rows.select("a", "b").to_numpy())[:3, 1]
    return [round(float(p), 6) for p in found]

@step
def height(rows: pl.DataFrame) -> int:
    return rows.height

@step
def first(path: Path, rows: pl.DataFrame) -> list[str]:
    return [path.read_text()[:3], str(rows.columns)]

@pipeline(purpose="scoring")
def main() -> object:
    rows = check(read("loans"))
    return predict(train(rows), rows)

@pipeline(purpose="scoring")
def unchecked() -> object:
    return train(read("loans"))

@pipeline(purpose="scoring")
def waiting() -> object:
    rows = read("loans")
    return train(rows).after(rows)

@pipeline(purpose="scoring")
def counting() -> object:
    return height(read("loans"))

@step
def half(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.head(30)

@pipeline(purpose="scoring")
def published(name: str) -> object:
    return publish(half(read("loans")), dataset=name)

@pipeline(purpose="scoring")
def registered(name: str) -> object:
    return register(train(check(read("loans"))), name=name)

@pipeline(purpose="scoring")
def both() -> object:
    return first(Path("loans"), read("loans"))
"""
FIT = """
from sklearn.linear_model import LogisticRegression

def fit(rows):
    x, y = rows.select("a", "b").to_numpy(), rows["y"].to_numpy()
    return LogisticRegression(C=1.0).fit(x, y)
"""


def _register(place: Place, rows: int, file: str = "loans.csv", *, special: bool = False) -> None:
    lines = [f"{n % 7},{n % 5},{int(n % 7 > n % 5)}" for n in range(rows)]
    path = place.write(file, "a,b,y\n" + "\n".join(lines) + "\n")
    place.do(
        RegisterDataset(
            project="alpha",
            dataset="loans",
            path=str(path),
            owner="risk",
            origin="made for tests",
            licence="CC0",
            purposes=("scoring",),
            legal_basis="consent" if special else "not-personal",
            personal=special,
            special=special,
            residency=("local",),
        )
    )


@pytest.fixture
def loans(place: Place) -> Place:
    place.code(CODE)
    place.write("fitting.py", FIT)
    _register(place, 60)
    return place


def test_a_model_trained_anew_serves_no_old_predictions(loans: Place) -> None:
    first = loans.ok("p.py:main")
    assert set(loans.ok("p.py:main").states.values()) == {"cached"}
    loans.edit("fitting.py", "C=1.0", "C=0.001")
    again = loans.ok("p.py:main")
    assert again.states["train"] == again.states["predict"] == "done"
    assert again.value("predict") != first.value("predict")


@pytest.mark.parametrize("what", ["published", "registered"])
def test_a_name_that_is_a_path_is_refused_before_anything_is_written_there(
    loans: Place, what: str
) -> None:
    there = [loans.base / f"victim{suffix}" for suffix in (".parquet", ".skops")]
    for path in there:
        path.write_text("precious")
    failed = loans.fails(f"p.py:{what}", given={"name": str(loans.base / "victim")})
    assert "is not allowed" in failed.problem
    assert [path.read_text() for path in there] == ["precious"] * 2


def test_other_rows_under_the_same_name_count(loans: Place) -> None:
    assert loans.ok("p.py:counting").value("height") == 60
    _register(loans, 60)
    assert loans.ok("p.py:counting").states["height"] == "cached"
    _register(loans, 61)
    assert loans.ok("p.py:counting").value("height") == 61


@pytest.mark.parametrize("pipeline", ["unchecked", "waiting"])
def test_no_model_is_trained_on_data_that_was_not_checked(loans: Place, pipeline: str) -> None:
    failed = loans.fails(f"p.py:{pipeline}")
    assert failed.ended.denied
    assert failed.states["train"] == "failed"
    assert failed.ended.error is not None
    reasons = failed.ended.error.details["reasons"]
    assert [reason["gate"] for reason in reasons] == ["train.personal"]
    assert failed.ended.error.exit_status == 3


def test_a_file_and_a_dataset_of_the_same_bytes_are_read_each_in_its_way(loans: Place) -> None:
    _register(loans, 60, "loans")
    ran = loans.ok("p.py:both")
    assert ran.value("first") == ["a,b", "['a', 'b', 'y']"]


def test_special_data_is_used_by_a_run_under_a_ticket_and_a_second_factor_only(
    loans: Place,
) -> None:
    _register(loans, 61, special=True)
    protected = Person(loans.signer, protected=True)
    for who, ticket in ((protected, ""), (loans.person, "T-1")):
        ended = loans.ws.perform(who, loans.plan("p.py:main", ticket=ticket))
        assert ended.denied, ended.record.counts()
        assert ended.error is not None
        assert [r["gate"] for r in ended.error.details["reasons"]] == ["data.special"]
        assert {task.state for task in ended.record.tasks} == {"failed", "skipped"}
    ended = loans.ws.perform(protected, loans.plan("p.py:main", ticket="T-1"))
    assert ended.record.state == "done", ended.error
    # What was computed is there now; whoever reads it must still be allowed to.
    ended = loans.ws.perform(protected, loans.plan("p.py:main"))
    assert ended.denied
    assert loans.left() == []
