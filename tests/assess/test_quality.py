from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, brier_score_loss, log_loss, roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from assay import canonical
from assay.assess.quality import quality
from assay.errors import Usage


def halves(loader: Any) -> tuple[Any, Any, Any, Any]:
    features, y = loader(return_X_y=True)
    test = np.random.default_rng(0).random(len(y)) < 0.5
    return features[~test], y[~test], features[test], y[test]


@pytest.fixture(scope="module")
def cancer() -> tuple[Any, Any, Any, Any]:
    return halves(load_breast_cancer)


@pytest.fixture(scope="module")
def model(cancer: Any) -> Any:
    return make_pipeline(StandardScaler(), LogisticRegression(C=0.1)).fit(cancer[0], cancer[1])


def test_figures_agree_with_scikit_learn(cancer: Any, model: Any) -> None:
    train_x, train_y, x, y = cancer
    p = model.predict_proba(x)
    found = quality(y, p, train=(train_y, model.predict_proba(train_x)))
    assert found["rows"] == len(y)
    assert found["auc"]["value"] == pytest.approx(roc_auc_score(y, p[:, 1]))
    assert found["accuracy"]["value"] == pytest.approx(accuracy_score(y, p[:, 1] >= 0.5))
    assert found["brier"]["value"] == pytest.approx(brier_score_loss(y, p[:, 1]))
    assert found["log_loss"]["value"] == pytest.approx(log_loss(y, p))
    prior = np.tile(np.bincount(train_y) / len(train_y), (len(y), 1))
    assert found["lift"]["log_loss"]["value"] == pytest.approx(log_loss(y, prior) - log_loss(y, p))
    assert found["lift"]["auc"]["lower"] == pytest.approx(found["auc"]["lower"] - 0.5)
    assert found["lift"]["log_loss"]["lower"] > 0
    assert np.sum(found["confusion"]) == len(y)


def test_the_predicate_can_be_signed(cancer: Any, model: Any) -> None:
    train_x, train_y, x, y = cancer
    p = model.predict_proba(x)
    found = quality(
        y.astype(np.int8),
        p.astype(np.float32),
        champion=p,
        train=(train_y, model.predict_proba(train_x)),
        sensitive={"size": x[:, 0], "big": x[:, 0] > 14},
    )
    assert canonical.decode(canonical.encode(found)) == found
    assert found["level"] == 0.95
    assert any("DeLong" in citation for citation in found["citations"])


def test_one_column_of_scores_means_the_same_as_two(cancer: Any, model: Any) -> None:
    _, _, x, y = cancer
    p = model.predict_proba(x)
    assert quality(y, p) == quality(y, p[:, 1]) == quality(y, p[:, 1:])
    names = np.array(["good", "bad"])[y]  # sorted: bad (1), good (0)
    swapped = quality(names, p[:, 1], positive="bad")
    assert swapped["auc"] == quality(y, p)["auc"]
    assert swapped["positive"] == "bad"
    assert swapped["confusion"][0] == quality(y, p)["confusion"][1][::-1]
    assert quality(pl.Series(names), p[:, ::-1], positive="bad")["auc"] == swapped["auc"]


def test_an_overfitted_tree_shows_its_gap(cancer: Any, model: Any) -> None:
    train_x, train_y, x, y = cancer
    noise = np.random.default_rng(2).random(len(train_y)) < 0.25
    noisy = np.where(noise, 1 - train_y, train_y)
    tree = DecisionTreeClassifier(random_state=0).fit(train_x, noisy)
    bad = quality(y, tree.predict_proba(x), train=(noisy, tree.predict_proba(train_x)))
    good = quality(y, model.predict_proba(x), train=(train_y, model.predict_proba(train_x)))
    assert bad["gap"]["auc"]["lower"] > 0.1
    assert good["gap"]["auc"]["upper"] < 0.05
    assert bad["lift"]["log_loss"]["lower"] < 0


def test_a_champion_is_compared_row_by_row(cancer: Any, model: Any) -> None:
    _, _, x, y = cancer
    p = model.predict_proba(x)
    weaker = 0.5 * p + 0.5 * np.random.default_rng(1).dirichlet([1, 1], len(y))
    better = quality(y, p, champion=weaker)["champion"]
    assert better["auc"]["lower"] > 0
    assert better["log_loss"]["lower"] > 0
    same = quality(y, p, champion=p)["champion"]
    assert same["auc"] == pytest.approx({"value": 0, "lower": 0, "upper": 0})


def test_many_classes_are_assessed_one_against_the_rest() -> None:
    train_x, train_y, x, y = halves(load_digits)
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01)).fit(train_x, train_y)
    p = model.predict_proba(x)
    found = quality(y, p, train=(train_y, model.predict_proba(train_x)))
    assert found["auc"]["value"] == pytest.approx(roc_auc_score(y, p, multi_class="ovr"))
    assert found["accuracy"]["value"] == pytest.approx(accuracy_score(y, p.argmax(axis=1)))
    assert found["classes"] == list(range(10))
    assert found["positive"] is None
    assert found["threshold"] is None
    assert 0 < found["brier"]["value"] < 1
    canonical.encode(found)


def test_slices_have_sizes_and_intervals_and_small_ones_no_figure() -> None:
    generator = np.random.default_rng(0)
    n = 1000
    y = generator.integers(0, 2, n)
    p = np.clip(0.5 + 0.3 * (y - 0.5) + 0.2 * generator.normal(size=n), 0.01, 0.99)
    region = np.array(
        ["north"] * 700 + ["south"] * 240 + ["east"] * 30 + ["unique"] * 9 + ["x"] * 21
    )
    p[700:940] = generator.random(240)  # It knows nothing about the south.
    found = quality(y, p, sensitive={"region": region})["slices"]
    parts = {part["value"]: part for part in found["columns"]["region"]}
    assert parts["north"]["rows"] == 700
    assert parts["north"]["auc"]["lower"] > 0.5
    assert parts["east"] == {"value": "east", "rows": 30, "figured": "too small"}
    assert parts["other"] == {"value": "other", "rows": 9, "figured": "too small"}
    assert "unique" not in str(found)
    assert found["worst"]["column"] == "region"
    assert found["worst"]["value"] == "south"
    assert found["worst"]["auc_lower"] == parts["south"]["auc"]["lower"] < 0.5
    rate = parts["south"]["called_positive"]
    assert rate["lower"] < rate["value"] == np.mean(p[700:940] >= 0.5) < rate["upper"]


def test_slices_of_numbers_are_quarters_and_missing_values_a_slice() -> None:
    n = 800
    y = np.arange(n) % 2
    p = np.random.default_rng(0).random(n)
    age = [None if i < 60 else float(20 + i % 50) for i in range(n)]
    for values in (age, pl.Series(age), np.array([np.nan if a is None else a for a in age])):
        found = quality(y, p, sensitive={"age": values})["slices"]["columns"]["age"]
        assert {part["value"] for part in found} == {
            "below 32.75", "32.75 to below 45", "45 to below 57", "57 and above", "missing",
        }  # fmt: skip
        assert sum(part["rows"] for part in found) == n


def test_a_slice_of_one_class_has_no_auc() -> None:
    y = np.array([0] * 100 + [0, 1] * 50)
    p = np.random.default_rng(0).random(200)
    found = quality(y, p, sensitive={"g": [True] * 100 + [False] * 100})["slices"]
    parts = {part["value"]: part for part in found["columns"]["g"]}
    assert parts["true"]["figured"] == "one class only: no AUC"
    assert "sensitivity" not in parts["true"]
    assert parts["true"]["specificity"]["value"] == np.mean(p[:100] < 0.5)
    assert "auc" in parts["false"]


def test_without_a_figured_slice_there_is_no_worst() -> None:
    y = np.array([0, 1] * 30)
    found = quality(y, np.full(60, 0.5), sensitive={"g": np.arange(60) % 3})["slices"]
    assert "worst" not in found


Y = np.array([0, 1] * 20)
P = np.linspace(0.1, 0.9, 40)


def bad(**changes: Any) -> dict[str, Any]:
    return {"y": Y, "scores": P, **changes}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (bad(y=np.zeros(40)), "all of one class"),
        (bad(y=[]), "shape"),
        (bad(y=[None, *Y[1:]]), "labels are missing in 1 rows, first in row 1"),
        (bad(y=[np.nan, *Y[1:]]), "labels are missing in 1 rows"),
        (bad(y=np.array(["a", 1] * 20, dtype=object)), "mix numbers and text"),
        (bad(y=np.arange(40) % 3), "shape"),
        (bad(scores=P[:-1]), "40 rows of 2 classes were expected"),
        (bad(scores=np.column_stack((P, P, P))), "expected"),
        (bad(scores=np.column_stack((P, P))), "no probabilities, first in row 1"),
        (bad(scores=np.where(P > 0.5, np.nan, P)), "no probabilities, first in row 21"),
        (bad(scores=np.where(P > 0.5, np.inf, P)), "no probabilities"),
        (bad(scores=P * 10 - 5), "no probabilities"),
        (bad(scores=["x"] * 40), "expected"),
        (bad(positive=7), "positive class 7 is none"),
        (bad(classes=[0, 2]), "class that the model does not know"),
        (bad(threshold=0.0), "threshold"),
        (bad(threshold=float("nan")), "threshold"),
        (bad(champion=P[:-1]), "champion scores"),
        (bad(train=(Y, P * 7)), "training scores"),
        (bad(train=(np.ones(40, int), P)), "training labels are all of one class"),
        (bad(sensitive={"g": [1, 2]}), "sensitive column 'g'"),
    ],
)
def test_what_cannot_be_assessed_is_refused_in_one_line(given: dict[str, Any], words: str) -> None:
    with pytest.raises(Usage) as caught:
        quality(given.pop("y"), given.pop("scores"), **given)
    assert words in caught.value.message
    assert "\n" not in caught.value.message
    assert caught.value.remedy


def test_a_certain_mistake_costs_much_but_not_everything() -> None:
    found = quality(Y, 1.0 - Y)
    assert found["log_loss"]["value"] == pytest.approx(-np.log(1e-15))
    assert found["auc"]["value"] == 0
    canonical.encode(found)
