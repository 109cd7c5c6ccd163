"""``assay ci`` over a model: from a checkout's own tables to gates, figures and differences."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from assay.ci.model import Report

from ..ci import conftest as validators
from .conftest import Here, table, write_csv
from .test_ci_run import SERVERS, TOML, on_github, report, states, tree, valid

sarif_schema, junit_schema = validators.sarif_schema, validators.junit_schema

pytestmark = pytest.mark.slow

CREDIT = """
import polars as pl
from sklearn.linear_model import LogisticRegression

from assay.pipeline import assess, check, extract, pipeline, register, step

STRENGTH = 1.0


@step
def fit(rows: pl.DataFrame) -> LogisticRegression:
    features = rows.drop("default").to_numpy()
    return LogisticRegression(C=STRENGTH).fit(features, rows["default"].to_numpy())


def rows(name: str):
    return extract(
        "tables",
        path=f"{name}.csv",
        dataset=name,
        owner="risk",
        licence="CC0-1.0",
        purposes=["credit-scoring"],
        legal_basis="not-personal",
    )


@pipeline(purpose="credit-scoring")
def credit():
    loans, holdout = check(rows("loans")), rows("holdout")
    version = register(
        fit(loans),
        name="credit",
        train=loans,
        test=holdout,
        label="default",
        positive=1,
        sensitive=["region"],
    )
    return assess(version)
"""


def with_region(rows: int, seed: int) -> dict[str, Any]:
    found = table(rows, seed)
    return {
        "income": found["income"],
        "debt": found["debt"],
        "years": found["age"],
        "region": [number % 3 for number in range(rows)],
        "default": found["default"],
    }


@pytest.fixture(scope="module")
def on_main(tmp_path_factory: pytest.TempPathFactory) -> Here:
    """A checkout whose main branch has run once."""
    here = Here(tmp_path_factory.mktemp("models") / "it")
    (here.ws / "data").mkdir(parents=True)
    write_csv(here.ws / "data" / "loans.csv", with_region(600, 7))
    write_csv(here.ws / "data" / "holdout.csv", with_region(500, 8))
    (here.ws / "credit.py").write_text(CREDIT)
    (here.ws / "assay.toml").write_text(TOML)
    pushed = on_github(here.folder, request=None)
    here.ok("ci", "credit.py", "--out", "main", ASSAY_CI_CACHE="cache", **pushed)
    return here


@pytest.fixture
def main(on_main: Here, tmp_path: Path) -> Here:
    shutil.copytree(on_main.folder, tmp_path / "main", symlinks=True)
    return Here(tmp_path / "main")


def propose(here: Here, out: str, *args: str) -> Report:
    given = {"ASSAY_CI_CACHE": "cache", **on_github(here.folder, request=7)}
    here.ok("ci", "credit.py", "--out", out, *args, **given)
    return report(here, out)


def test_gates_figures_slices_and_statements_of_a_model(
    on_main: Here, sarif_schema: dict[str, Any], junit_schema: str
) -> None:
    found = report(on_main, "main")
    assert (found.verdict, found.closed) == ("passed", [])
    assert {"gate.auc", "gate.rows", "gate.scan", "gate.parity"} <= {g.id for g in found.gates}
    figures = {metric.name: metric for metric in found.metrics}
    assert set(figures) == {
        *("auc", "accuracy", "brier", "log_loss", "gap auc", "membership auc"),
    }
    for metric in figures.values():
        assert metric.now.lower is not None
        assert metric.now.upper is not None
        assert metric.now.lower <= metric.now.value <= metric.now.upper
        assert (metric.base, metric.difference) == (None, None)
    assert figures["auc"].rows == 500
    assert {(part.column, part.value) for part in found.slices} == {
        ("region", value) for value in "012"
    }
    kinds = {statement.kind for statement in found.statements}
    assert kinds >= {
        *("pipeline-run", "provenance", "model-version", "scan", "parity", "quality"),
        *("privacy-membership", "data-check"),
    }
    assert "every step is done, and all" in found.why
    valid(on_main.ws / "main", sarif_schema, junit_schema)


def test_a_proposal_is_compared_row_by_row_with_what_main_registered(
    main: Here, sarif_schema: dict[str, Any], junit_schema: str
) -> None:
    (main.ws / "credit.py").write_text(CREDIT.replace("STRENGTH = 1.0", "STRENGTH = 0.003"))
    before = tree(main.ws / "cache")
    found = propose(main, "proposed")
    assert tree(main.ws / "cache") == before
    figures = {metric.name: metric for metric in found.metrics}
    methods = {
        name: metric.difference.method
        for name, metric in figures.items()
        if metric.difference is not None
    }
    assert methods == {
        "auc": "paired bootstrap",
        "accuracy": "Newcombe, paired",
        "brier": "paired bootstrap",
        "log_loss": "paired bootstrap",
        "gap auc": "MOVER",
        "membership auc": "MOVER",
    }
    # A model that is held back so much is surely worse by its losses.
    assert figures["log_loss"].change == "worse"
    old = {metric.name: metric for metric in report(main, "main").metrics}
    for name in ("auc", "accuracy", "brier", "log_loss"):
        base = figures[name].base
        assert base is not None
        assert base.value == pytest.approx(old[name].now.value)
    assert [change.name for change in found.code] == ["credit"]
    steps = states(found)
    assert {steps["extract"], steps["extract-2"], steps["check"]} == {"cached"}
    assert {steps["fit"], steps["register"], steps["assess"]} == {"done"}
    assert found.data == []
    valid(main.ws / "proposed", sarif_schema, junit_schema)
    assert propose(main, "alone", "--base", "none").metrics[0].base is None


def test_an_unchanged_version_is_said_to_be_unchanged(main: Here) -> None:
    given = {"ASSAY_CI_CACHE": "cache", **SERVERS}
    main.ok("ci", "credit.py", "--out", "again", **given)
    found = report(main, "again")
    assert found.why.endswith("; credit@1 is unchanged")
    assert all(metric.difference is None for metric in found.metrics)
    assert {states(found)[name] for name in ("register", "assess")} == {"cached"}


def test_other_data_is_told_by_rows_and_columns(main: Here) -> None:
    for name, count, seed in (("loans", 640, 7), ("holdout", 500, 8)):
        rows = with_region(count, seed)
        rows = {"income": rows["income"], "score": rows["debt"] * 2, **rows}
        write_csv(main.ws / "data" / f"{name}.csv", rows)
    found = propose(main, "more")
    holdout, loans = found.data
    assert (holdout.name, holdout.rows_before, holdout.rows_after) == ("holdout", 500, 500)
    assert (loans.name, loans.rows_before, loans.rows_after) == ("loans", 600, 640)
    assert [(column.name, column.kind) for column in loans.columns] == [("score", "added")]
    assert loans.new_rows == 640


def test_a_closed_gate_fails_with_the_command_that_opens_it(main: Here) -> None:
    unassessed = CREDIT.replace("return assess(version)", "return version")
    unassessed = unassessed.replace("STRENGTH = 1.0", "STRENGTH = 0.5")
    (main.ws / "credit.py").write_text(unassessed)
    given = {"ASSAY_CI_CACHE": "cache", **on_github(main.folder, request=7)}
    done = main("ci", "credit.py", "--out", "closed", "--json", **given)
    found = report(main, "closed")
    assert (done.code, done.json["verdict"]) == (3, "failed"), done
    assert done.json["gates"]["closed"] == [gate.id for gate in found.closed]
    assert "gate.auc" in done.json["gates"]["closed"]
    (gate,) = [gate for gate in found.closed if gate.id == "gate.auc"]
    assert gate.remedy.startswith("assay model assess credit@2 --data holdout")
    assert [(m.name, m.value, m.limit) for m in gate.measured] == [
        ("quality.auc_lower", "missing", "0.6500")
    ]
