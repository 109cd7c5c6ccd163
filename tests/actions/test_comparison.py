"""Two versions on the same rows: their figures, their differences, and what cannot be compared."""

from __future__ import annotations

from typing import Any

import joblib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from workspace.town import Town, dataset, model, numbers, write_table

from assay.actions.comparison import Compared, CompareModels, paired
from assay.actions.datasets import HoldDataset
from assay.actions.release import Promote
from assay.assess import quality
from assay.assess.scored import Scored, score
from assay.errors import NotFound, Usage

ASKED: dict[str, Any] = {"project": "alpha", "model": "score", "version": "2", "base": "1"}


def compare(**changed: Any) -> CompareModels:
    given: dict[str, Any] = {**ASKED, "data": "test", **changed}
    return CompareModels(**given)


def register(town: Town, strength: float, **changed: Any) -> str:
    """Another version of ``score``, of a model that is held back."""
    from sklearn.linear_model import LogisticRegression

    rows = numbers(600, 1)
    fitted = LogisticRegression(C=strength).fit([r[:3] for r in rows], [int(r[3]) for r in rows])
    path = town.repo / "other.joblib"
    joblib.dump(fitted, path)
    return town.do("eve", model(town.repo, path=str(path), **changed))["version"]


# -- through the door ------------------------------------------------------------------------------


def test_both_versions_are_figured_on_the_same_rows(town: Town) -> None:
    assert register(town, 0.001) == "2"
    size = town.size
    found: Compared = town.do("ci", compare())
    assert found.content == town.ws.view.dataset("alpha", "test").content
    figures = {metric.name: metric for metric in found.metrics}
    assert set(figures) == {"auc", "accuracy", "brier", "log_loss"}
    for metric in found.metrics:
        assert metric.base is not None
        assert metric.difference is not None
        assert metric.difference.lower is not None
        assert metric.difference.upper is not None
        value = metric.now.value - metric.base.value
        assert metric.difference.value == pytest.approx(value, abs=1e-12)
        assert metric.difference.lower <= value <= metric.difference.upper
        assert metric.rows == 500
    assert figures["log_loss"].change == "worse"
    # The base's figures are those of its own assessment on these rows.
    view = town.ws.view
    served = view.version("alpha", "score", "1").served
    assert served is not None
    (told,) = [e for e in view.evidence("alpha", served) if "auc" in e.statement.predicate]
    for name, metric in figures.items():
        assert metric.base is not None
        assert metric.base.value == pytest.approx(told.statement.predicate[name]["value"])
    # Decided and read on the record; no evidence is made of it.
    assert set(town.kinds(size)) == {"decision", "outcome"}
    assert town.do("ci", compare()) == found


def test_a_version_is_not_compared_with_itself_or_with_nothing(town: Town) -> None:
    for changed, error in (
        ({"version": "1"}, Usage),
        ({"version": "9"}, NotFound),
        ({"version": "1", "base": "9"}, NotFound),
        ({"data": "nothing"}, NotFound),
    ):
        with pytest.raises(error):
            town.do("eve", compare(**changed))


def test_an_alias_of_the_same_version_is_the_same_version(town: Town) -> None:
    town.do("eve", Promote(project="alpha", model="score", version="1", stage="development"))
    with pytest.raises(Usage, match="compared with itself"):
        town.do("eve", compare(version="1", base="development"))


def test_versions_that_predict_other_columns_are_not_compared(town: Town) -> None:
    rows = [[*row, row[3]] for row in numbers(600, 1)]
    path = town.repo / "twice.csv"
    write_table(path, rows)
    path.write_text(path.read_text().replace("a,b,c,y\n", "a,b,c,y,z\n", 1))
    town.do("sam", dataset(town.repo, "twice"))
    register(town, 1.0, train="twice", test="", label="z", leave_out=("y",))
    with pytest.raises(Usage, match=r"predicts z, and version 1 predicts y"):
        town.do("eve", compare())


def test_whoever_may_not_assess_or_read_compares_nothing(town: Town) -> None:
    register(town, 0.5)
    assert "role" in town.refused("una", compare())
    assert "role" in town.refused("bea", compare())
    town.do("ann", HoldDataset(project="alpha", dataset="test", reason="erasure"))
    assert town.refused("eve", compare()) == ["data.hold"]


# -- the figures -----------------------------------------------------------------------------------


def scored(truth: np.ndarray[Any, Any], high: np.ndarray[Any, Any]) -> Scored:
    return score(truth.tolist(), high.tolist(), classes=[0, 1], positive=1)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), rows=st.integers(20, 80))
def test_figures_are_those_of_the_assessment_and_differences_turn_with_the_order(
    seed: int, rows: int
) -> None:
    random = np.random.default_rng(seed)
    truth = random.integers(0, 2, rows)
    truth[:2] = (0, 1)
    first, second = (scored(truth, random.uniform(0.01, 0.99, rows)) for _ in range(2))
    there = {m.name: m for m in paired(first, second, thresholds=(0.5, 0.4), seed=1)}
    back = {m.name: m for m in paired(second, first, thresholds=(0.4, 0.5), seed=1)}
    told = quality.quality(
        truth.tolist(), first.probabilities[:, 1].tolist(), classes=[0, 1], positive=1
    )
    for name, metric in there.items():
        assert metric.now.value == pytest.approx(told[name]["value"])
        assert metric.difference is not None
        other = back[name].difference
        assert other is not None
        assert metric.difference.value == pytest.approx(-other.value, abs=1e-12)


def test_the_same_model_shows_no_difference() -> None:
    random = np.random.default_rng(3)
    truth = random.integers(0, 2, 200)
    one = scored(truth, random.uniform(0.01, 0.99, 200))
    for metric in paired(one, one, thresholds=(0.5, 0.5), seed=0):
        assert metric.difference is not None
        assert metric.difference.value == 0
        assert metric.change == "not shown"


def test_many_classes_have_no_paired_area() -> None:
    random = np.random.default_rng(4)
    truth = random.integers(0, 3, 120)
    both = [
        score(truth.tolist(), random.dirichlet(np.ones(3), 120).tolist(), classes=[0, 1, 2])
        for _ in range(2)
    ]
    found = paired(both[0], both[1], thresholds=(0.5, 0.5), seed=0)
    assert [metric.name for metric in found] == ["accuracy", "brier", "log_loss"]
