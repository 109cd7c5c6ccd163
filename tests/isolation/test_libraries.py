"""The libraries that models need work confined."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest

from assay.isolation.limits import GIB, Limits
from assay.isolation.probe import probe
from assay.isolation.run import run

LIMITS = Limits(memory_bytes=3 * GIB, cpu_seconds=60, wall_seconds=120)

pytestmark = pytest.mark.slow


def test_numpy_computes() -> None:
    outcome = run("confined_targets:numpy_linear_algebra", b"1", limits=LIMITS)
    assert outcome.value == b"True"


def test_a_scikit_learn_model_becomes_onnx_and_predicts_on_two_threads(tmp_path: Path) -> None:
    ensemble = pytest.importorskip("sklearn.ensemble")
    pytest.importorskip("onnxruntime")
    rows = [[float((7 * i + j) % 5) for j in range(4)] for i in range(40)]
    model = ensemble.RandomForestClassifier(n_estimators=3, random_state=1)
    model.fit(rows, [int(row[0] > 2) for row in rows])
    path = tmp_path / "model.pickle"
    path.write_bytes(pickle.dumps(model))
    outcome = run("confined_targets:convert_and_predict", bytes(path), inputs=[path], limits=LIMITS)
    assert outcome.level == probe().level
    assert float(outcome.value) < 1e-4


def test_boosted_trees_predict(tmp_path: Path) -> None:
    lightgbm = pytest.importorskip("lightgbm")
    np = pytest.importorskip("numpy")
    xgboost = pytest.importorskip("xgboost")
    rows = np.arange(400.0).reshape(100, 4) % 7
    labels = (rows[:, 0] > 3).astype(int)
    xgboost.train({"nthread": 1}, xgboost.DMatrix(rows, labels), 2).save_model(
        tmp_path / "model.ubj"
    )
    lightgbm.train({"verbose": -1, "num_threads": 1}, lightgbm.Dataset(rows, labels), 2).save_model(
        str(tmp_path / "model.txt")
    )
    outcome = run("confined_targets:boosters", bytes(tmp_path), inputs=[tmp_path], limits=LIMITS)
    assert json.loads(outcome.value) == [10, 10]


def test_skops_and_polars_load(tmp_path: Path) -> None:
    linear = pytest.importorskip("sklearn.linear_model")
    io = pytest.importorskip("skops.io")
    pytest.importorskip("polars")
    path = tmp_path / "model.skops"
    io.dump(linear.LogisticRegression().fit([[0], [1]], [0, 1]), path)
    outcome = run("confined_targets:skops_and_polars", bytes(path), inputs=[path], limits=LIMITS)
    assert outcome.value == b"LogisticRegression 3"
