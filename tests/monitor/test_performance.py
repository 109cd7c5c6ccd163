"""How right answers were: figures of textbooks and of scikit-learn, intervals that cover."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from assay.errors import Usage
from assay.monitor import performance
from assay.monitor.performance import Judged, answered, judge


def judged(rows: int = 2_000, seed: int = 1, threshold: float = 0.4) -> tuple[Judged, Any, Any]:
    rng = np.random.default_rng(seed)
    score = rng.beta(2, 3, rows).round(3)
    labels = np.where(rng.random(rows) < score, "yes", "no")
    made = judge(answered(score, ["no", "yes"], "yes", threshold), labels.tolist())
    return made, score, labels == "yes"


def test_the_figures_are_those_of_scikit_learn() -> None:
    made, score, truth = judged()
    called = score >= 0.4
    found = {name: told["value"] for name, told in performance.figures(made).items()}
    assert found == pytest.approx(
        {
            "accuracy": metrics.accuracy_score(truth, called),
            "brier": metrics.brier_score_loss(truth, score),
            "auc": metrics.roc_auc_score(truth, score),
            "precision": metrics.precision_score(truth, called),
            "recall": metrics.recall_score(truth, called),
            "f1": metrics.f1_score(truth, called),
            "called_positive": called.mean(),
            "positive": truth.mean(),
        }
    )


def test_losses_are_the_sums_behind_the_figures() -> None:
    made, _, _ = judged()
    found = performance.figures(made)
    losses = performance.losses(made)
    n = losses["zero_one"]["n"]
    assert 1 - losses["zero_one"]["sum"] / n == pytest.approx(found["accuracy"]["value"])
    assert losses["brier"]["sum"] / n == pytest.approx(found["brier"]["value"])
    assert losses["brier"]["squares"] == pytest.approx(float((made.brier**2).sum()))


def test_wilson_s_interval_is_that_of_a_published_example() -> None:
    # Newcombe, Statistics in Medicine 17 (1998) 857-872, table I: 81 of 263, and 0 of 20.
    found = performance.share(81, 263)
    assert (found["lower"], found["upper"]) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    none = performance.share(0, 20)
    assert (none["lower"], none["upper"]) == pytest.approx((0.0, 0.1611), abs=5e-5)


def test_the_intervals_cover_what_is_true_about_19_times_in_20() -> None:
    whole, _, _ = judged(400_000, seed=9)
    true = {name: told["value"] for name, told in performance.figures(whole).items()}
    hits = dict.fromkeys(true, 0)
    for seed in range(200):
        for name, told in performance.figures(judged(400, seed=100 + seed)[0]).items():
            hits[name] += told["lower"] <= true[name] <= told["upper"]
    assert all(178 <= count <= 200 for count in hits.values()), hits


def test_one_class_leaves_what_needs_two_unknown_and_says_why() -> None:
    made = judge(answered([0.2, 0.3, 0.1], [0, 1], 1), [0, 0, 0])
    found = performance.figures(made)
    assert found["accuracy"]["value"] == 1.0
    for metric, why in (
        ("auc", "one class only"),
        ("recall", "no row is positive"),
        ("precision", "nothing was called positive"),
        ("f1", "no row is positive or called so"),
    ):
        assert found[metric] == {"value": None, "lower": None, "upper": None, "why": why}


def test_no_rows_have_no_figures() -> None:
    made = judge(answered(np.zeros((0, 2)), [0, 1], 1), [])
    assert performance.figures(made)["accuracy"]["why"] == "no rows"
    assert performance.losses(made)["zero_one"] == {"sum": 0, "n": 0}


def test_an_auc_that_sorts_perfectly_is_not_taken_for_certain() -> None:
    made = judge(answered([0.1, 0.2, 0.8, 0.9], [0, 1], 1), [0, 0, 1, 1])
    found = performance.figures(made)["auc"]
    assert found["value"] == found["upper"] == 1.0
    assert found["lower"] < 0.2
    lonely = judge(answered([0.1, 0.2, 0.15], [0, 1], 1), [0, 0, 1])
    assert performance.figures(lonely)["auc"] == {"value": 0.5, "lower": 0.0, "upper": 1.0}


def test_two_classes_may_be_told_in_one_number_or_two() -> None:
    one = answered([0.2, 0.8], ["a", "b"], "b")
    column = answered([[0.2], [0.8]], ["a", "b"], "b")
    both = answered([[0.8, 0.2], [0.2, 0.8]], ["a", "b"], "b")
    for made in (column, both):
        assert made.score.tolist() == one.score.tolist()
        assert made.called.tolist() == [0, 1]
    other = answered([0.2, 0.8], ["a", "b"], "a")
    assert other.called.tolist() == [1, 0]
    assert other.matrix[:, 0].tolist() == [0.2, 0.8]


def test_of_many_classes_the_score_is_that_of_the_called_one() -> None:
    made = answered([[0.5, 0.3, 0.2], [0.1, 0.2, 0.7]], ["a", "b", "c"])
    assert made.positive is None
    assert made.score.tolist() == [0.5, 0.7]
    found = judge(made, ["a", "b"])
    assert found.hit.tolist() == [True, False]
    assert set(performance.figures(found)) == {"accuracy", "brier"}
    assert found.brier.max() <= 1


@settings(max_examples=50, deadline=None)
@given(st.integers(2, 5), st.integers(1, 30), st.integers(0, 2**32 - 1))
def test_losses_lie_between_0_and_1(classes: int, rows: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    matrix = rng.dirichlet(np.full(classes, 0.1), rows)
    labels = rng.integers(0, classes, rows).tolist()
    made = judge(answered(matrix, list(range(classes)), 1), labels)
    assert ((made.brier >= 0) & (made.brier <= 1)).all()


@pytest.mark.parametrize(
    ("scores", "classes"),
    [
        ([0.5, float("nan")], [0, 1]),
        ([0.5, 1.5], [0, 1]),
        ([-0.5, 0.5], [0, 1]),
        ([[0.5, 0.5, 0.0]], [0, 1]),
        ([[0.5], [0.5]], [0, 1, 2]),
        ([0.5], [0]),
        ([0.5], []),
    ],
)
def test_scores_that_are_no_probabilities_are_refused(scores: Any, classes: list[Any]) -> None:
    with pytest.raises(Usage):
        answered(scores, classes)


def test_a_label_that_is_no_class_is_refused() -> None:
    made = answered([0.2, 0.8], ["a", "b"])
    with pytest.raises(Usage, match="1 labels are none of the classes a, b"):
        judge(made, ["a", "c"])
    with pytest.raises(Usage, match="3 labels for 2 rows"):
        judge(made, ["a", "b", "a"])


def test_some_of_the_rows_are_judged_as_they_were() -> None:
    made, _, truth = judged(100)
    part = made.take(truth)
    assert len(part.truth) == int(truth.sum())
    assert part.hit.all()
