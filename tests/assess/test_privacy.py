from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import pytest
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from assay import canonical
from assay.assess.privacy import privacy
from assay.errors import Usage


def forest(seed: int) -> Any:
    """Grown to the last row: it remembers."""
    return RandomForestClassifier(25, random_state=seed)


def regularised(seed: int) -> Any:
    del seed
    return make_pipeline(StandardScaler(), LogisticRegression(C=0.01))


def audit(make: Callable[[int], Any], loader: Any, seed: int = 1) -> dict[str, Any]:
    features, y = loader(return_X_y=True)
    member = np.zeros(len(y), dtype=bool)
    member[np.random.default_rng(0).permutation(len(y))[: len(y) // 2]] = True
    model = make(0).fit(features[member], y[member])

    def train(rows: Any, labels: Any, model_seed: int) -> Callable[[Any], Any]:
        return make(model_seed).fit(rows, labels).predict_proba

    return privacy(features, y, member, model.predict_proba, train=train, seed=seed)


@pytest.mark.parametrize("loader", [load_breast_cancer, load_digits])
def test_an_overfitted_forest_gives_its_members_away(loader: Any) -> None:
    found = audit(forest, loader)
    assert found["loss"]["auc"]["lower"] > 0.52
    assert found["rmia"]["auc"]["lower"] > 0.65
    assert found["rmia"]["auc"]["value"] > found["loss"]["auc"]["value"]
    assert found["auc_upper"] == found["rmia"]["auc"]["upper"]
    assert found["loss"]["advantage"]["lower"] > 0.02
    assert found["rmia"]["members_caught"]["lower"] > 3 * 0.01


@pytest.mark.parametrize("loader", [load_breast_cancer, load_digits])
def test_a_regularised_model_gives_nearly_nothing_away(loader: Any) -> None:
    found = audit(regularised, loader)
    for attack in ("loss", "rmia"):
        assert found[attack]["auc"]["lower"] < 0.51
        assert found[attack]["auc"]["value"] < 0.53
    assert found["auc_upper"] < 0.56


def test_what_never_saw_the_members_cannot_tell_them() -> None:
    """A model of other rows altogether is at chance, whatever it is."""
    features, y = load_digits(return_X_y=True)
    values: dict[str, list[float]] = {"loss": [], "rmia": []}
    for seed in range(6):
        order = np.random.default_rng(seed).permutation(len(y))
        model = forest(0).fit(features[order[:600]], y[order[:600]])
        rest = order[600:]
        found = privacy(
            features[rest],
            y[rest],
            np.arange(len(rest)) % 2 == 0,
            model.predict_proba,
            train=lambda rows, labels, s: forest(s).fit(rows, labels).predict_proba,
            seed=seed,
        )
        for attack, seen in values.items():
            seen.append(found[attack]["auc"]["value"])
    # Each value has a standard error of about 0.02: their mean one of less than 0.01.
    for seen in values.values():
        assert abs(np.mean(seen) - 0.5) < 0.02


def test_the_same_seed_gives_the_same_predicate_and_it_can_be_signed() -> None:
    one, same, other = (audit(forest, load_breast_cancer, seed) for seed in (3, 3, 4))
    assert one == same
    assert one["seeds"] != other["seeds"]
    assert len(one["seeds"]) == 2
    assert canonical.decode(canonical.encode(one)) == one
    assert one["rows"] == {"members": 284, "others": 285}
    assert "Zarifzadeh" in str(one["citations"])


def test_without_a_way_to_train_rmia_is_absent_not_guessed() -> None:
    features, y = load_breast_cancer(return_X_y=True)
    member = np.arange(len(y)) % 2 == 0
    model = forest(0).fit(features[member], y[member])
    found = privacy(features, y, member, model.predict_proba)
    assert "rmia" not in found
    assert found["seeds"] == []
    assert found["auc_upper"] == found["loss"]["auc"]["upper"]


def test_each_row_is_judged_by_a_model_that_never_saw_it() -> None:
    y = np.array([0, 1] * 60)
    member = np.arange(120) < 60
    rows = np.arange(120.0).reshape(-1, 1)
    seen: list[set[float]] = []

    def train(part: Any, labels: Any, seed: int) -> Callable[[Any], Any]:
        del seed
        mine = set(part[:, 0].tolist())
        assert set(labels.tolist()) == {0, 1}
        seen.append(mine)

        def answer(asked: Any) -> Any:
            assert not mine & set(asked[:, 0].tolist())
            return np.full(len(asked), 0.5)

        return answer

    privacy(rows, y, member, lambda asked: np.full(len(asked), 0.5), train=train)
    assert seen[0] | seen[1] == set(range(120))
    assert not seen[0] & seen[1]
    # Members and others are halved alike.
    assert {len([r for r in mine if r < 60]) for mine in seen} <= {29, 30, 31}


def test_frames_are_taken_as_arrays_are() -> None:
    pandas = pytest.importorskip("pandas")
    features, y = load_breast_cancer(return_X_y=True)
    member = np.arange(len(y)) % 2 == 0
    model = regularised(0).fit(features[member], y[member])
    found: list[dict[str, Any]] = []
    for frame in (features, pl.DataFrame(features), pandas.DataFrame(features)):

        def train(rows: Any, labels: Any, seed: int) -> Callable[[Any], Any]:
            fitted = regularised(seed).fit(np.asarray(rows), labels)
            return lambda asked: fitted.predict_proba(np.asarray(asked))

        scorer = lambda asked: model.predict_proba(np.asarray(asked))  # noqa: E731
        found.append(privacy(frame, pl.Series(y), member, scorer, train=train))
    assert found[0] == found[1] == found[2]


def test_a_positive_class_named_first_is_understood_by_reference_models() -> None:
    y = np.array(["bad", "good"] * 60)
    member = np.arange(120) < 60
    rows = np.arange(120).reshape(-1, 1)
    right = np.where(y == "bad", 0.9, 0.1)  # P(bad)
    scorer = lambda asked: right[asked[:, 0]]  # noqa: E731
    found = privacy(rows, y, member, scorer, train=lambda *_: scorer, positive="bad")
    assert found["rmia"]["auc"]["value"] == 0.5


def test_too_few_rows_are_refused() -> None:
    y = np.array([0, 1] * 30)
    rows = np.zeros((60, 1))
    scorer = lambda asked: np.full(len(asked), 0.5)  # noqa: E731
    for member in (np.arange(60) < 19, np.arange(60) < 41, np.ones(60), np.zeros(59)):
        with pytest.raises(Usage, match="at least 20 training rows and 20 others"):
            privacy(rows, y, member, scorer)
    with pytest.raises(Usage, match="reference model scores"):
        privacy(
            rows,
            y,
            np.arange(60) < 30,
            scorer,
            train=lambda *_: lambda _asked: np.full((3, 3), 0.1),
        )
