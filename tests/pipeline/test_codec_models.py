"""Models in their libraries' formats: whole, deterministic, and of the type that was promised."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import lightgbm
import numpy as np
import onnx
import pandas as pd
import pytest
import xgboost
from onnx import TensorProto, helper, numpy_helper
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin, TransformerMixin
from sklearn.ensemble import RandomForestClassifier, StackingClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from assay.errors import AssayError, Corrupt, Usage
from assay.formats import loaders
from assay.formats.detect import detect
from assay.pipeline import codecs
from assay.supply.scan import scan

RNG = np.random.default_rng(11)
X = RNG.normal(size=(120, 4))
Y = (X[:, 0] + RNG.normal(size=120) > 0).astype(int)
WORDS = np.where(Y, "yes", "no")
HALF = slice(0, 60), slice(60, 120)
QUIET: dict[str, Any] = {"verbose": -1, "n_jobs": 1}


class Scores(Protocol):
    def predict(self, rows: Any) -> Any: ...
    def predict_proba(self, rows: Any) -> Any: ...


class Own(TransformerMixin, BaseEstimator):
    def fit(self, rows: Any, labels: Any = None) -> Own:  # noqa: ARG002
        return self

    def transform(self, rows: Any) -> Any:
        return rows


def trip(value: Any, hint: Any, path: Path) -> Any:
    codec = codecs.codec_for(hint)
    codec.encode(value, hint, path)
    back = codec.decode(path, hint)
    first = path.read_bytes()
    codec.encode(back, hint, path)
    assert path.read_bytes() == first
    return back


def linear() -> Any:
    return LogisticRegression().fit(X, WORDS)


def forest() -> Any:
    return RandomForestClassifier(4, random_state=0).fit(X, Y)


def xgb(**options: Any) -> Any:
    return xgboost.XGBClassifier(n_estimators=3, n_jobs=1, **options).fit(X, Y)


def xgb_stopped() -> Any:
    made = xgboost.XGBRegressor(n_estimators=40, early_stopping_rounds=2, n_jobs=1)
    return made.fit(X[HALF[0]], Y[HALF[0]], eval_set=[(X[HALF[1]], Y[HALF[1]])], verbose=False)


def lgbm(**options: Any) -> Any:
    return lightgbm.LGBMClassifier(n_estimators=3, **QUIET, **options).fit(X, WORDS)


def lgbm_stopped() -> Any:
    made = lightgbm.LGBMRegressor(n_estimators=60, early_stopping_round=2, **QUIET)
    return made.fit(X[HALF[0]], Y[HALF[0]], eval_X=X[HALF[1]], eval_y=Y[HALF[1]])


def categorical() -> Any:
    frame = pd.DataFrame({"a": X[:, 0], "c": pd.Categorical(np.where(X[:, 1] > 0, "x", "y"))})
    return lightgbm.LGBMClassifier(n_estimators=3, **QUIET).fit(frame, Y)


@pytest.mark.parametrize(
    ("make", "hint"),
    [
        (linear, LogisticRegression),
        (linear, BaseEstimator),
        (linear, ClassifierMixin),
        (linear, LogisticRegression | RandomForestClassifier),
        (forest, Scores),
        (xgb, ClassifierMixin),
        (lgbm, xgboost.XGBClassifier | lightgbm.LGBMClassifier),
        (xgb, xgboost.XGBClassifier),
        (xgb, xgboost.XGBModel),
        (lambda: xgboost.XGBRFClassifier(n_estimators=3).fit(X, Y), xgboost.XGBRFClassifier),
        (lambda: xgboost.XGBRanker(n_estimators=3).fit(X, Y, group=[120]), xgboost.XGBRanker),
        (lambda: xgb(booster="gblinear"), xgboost.XGBClassifier),
        (xgb_stopped, xgboost.XGBRegressor),
        (lgbm, lightgbm.LGBMClassifier),
        (lgbm, lightgbm.LGBMModel),
        (lgbm_stopped, lightgbm.LGBMRegressor),
        (lambda: lgbm(class_weight="balanced"), lightgbm.LGBMClassifier),
        (
            lambda: StackingClassifier([("x", xgb()), ("l", lgbm())], cv="prefit").fit(X, Y),
            StackingClassifier,
        ),
    ],
)
def test_an_estimator_comes_back_whole(make: Callable[[], Any], hint: Any, tmp_path: Path) -> None:
    model: Any = make()
    back: Any = trip(model, hint, tmp_path / "model")
    assert type(back) is type(model)
    if hint is not StackingClassifier:  # Whose parameters show addresses of boosters.
        assert str(back.get_params()) == str(model.get_params())
    assert np.array_equal(back.predict(X), model.predict(X))
    if hasattr(model, "predict_proba"):
        assert np.array_equal(back.predict_proba(X), model.predict_proba(X))
        assert np.array_equal(back.classes_, model.classes_)
    # Of those that stopped early.
    for name in ("best_iteration", "best_iteration_", "evals_result_"):
        try:
            wanted = getattr(model, name)
        except AttributeError:
            continue
        assert getattr(back, name) == wanted


def test_categories_of_pandas_come_back_in_a_model(tmp_path: Path) -> None:
    model: Any = categorical()
    back = trip(model, lightgbm.LGBMClassifier, tmp_path / "model")
    frame = pd.DataFrame({"a": [0.1, 0.2], "c": pd.Categorical(["y", "x"])})
    assert np.array_equal(back.predict_proba(frame), model.predict_proba(frame))


def test_boosters_come_back(tmp_path: Path) -> None:
    booster = xgb_stopped().get_booster()
    back = trip(booster, xgboost.Booster, tmp_path / "x")
    assert back.attributes() == booster.attributes()
    rows = xgboost.DMatrix(X)
    assert np.array_equal(back.predict(rows), booster.predict(rows))
    other = lgbm_stopped().booster_
    again = trip(other, lightgbm.Booster, tmp_path / "l")
    assert np.array_equal(again.predict(X), other.predict(X))
    assert again.best_iteration == other.best_iteration > 0


def test_a_booster_of_an_estimator_is_read_without_its_face(tmp_path: Path) -> None:
    for model, hint in ((xgb(), xgboost.Booster), (lgbm(), lightgbm.Booster)):
        codec = codecs.codec_for(type(model))
        codec.encode(model, type(model), tmp_path / "m")
        assert type(codec.decode(tmp_path / "m", hint)) is hint
        if hint is xgboost.Booster:
            assert codec.decode(tmp_path / "m", hint).attributes() == {}
            assert model.get_booster().attributes() == {}


@pytest.mark.parametrize(
    ("make", "hint", "model_format"),
    [
        (linear, LogisticRegression, "skops"),
        (xgb, xgboost.XGBClassifier, "xgboost-ubj"),
        (lgbm, lightgbm.LGBMClassifier, "lightgbm-text"),
        (lgbm_stopped, lightgbm.LGBMRegressor, "lightgbm-text"),
    ],
)
def test_other_readers_know_the_file_and_find_the_same_model_in_it(
    make: Callable[[], Any], hint: Any, model_format: str, tmp_path: Path
) -> None:
    model: Any = make()
    path = tmp_path / "model"
    codecs.codec_for(hint).encode(model, hint, path)
    assert detect(path).format == model_format
    assert scan(path)["verdict"] == "clean"
    read: Any = loaders.load(path, model_format)
    if model_format == "xgboost-ubj":
        expected = model.get_booster().predict(xgboost.DMatrix(X))
        assert np.array_equal(read.predict(xgboost.DMatrix(X)), expected)
    elif model_format == "lightgbm-text":
        assert np.array_equal(read.predict(X), model.booster_.predict(X))
    else:
        assert np.array_equal(read.predict(X), model.predict(X))


PROCESS = """
import hashlib, sys
from pathlib import Path
import lightgbm, numpy as np, xgboost
from assay.pipeline import codecs
rng = np.random.default_rng(2)
x = rng.normal(size=(200, 4)); y = (x[:, 0] > 0).astype(int)
if len(sys.argv) > 2: ballast = [object() for _ in range(9999)]
for model in (
    xgboost.XGBClassifier(n_estimators=3, n_jobs=1),
    lightgbm.LGBMClassifier(n_estimators=3, n_jobs=1, verbose=-1, deterministic=True),
):
    codec = codecs.codec_for(type(model))
    codec.encode(model.fit(x, y), type(model), Path(sys.argv[1]))
    print(codec.name, hashlib.sha256(Path(sys.argv[1]).read_bytes()).hexdigest())
"""


@pytest.mark.slow
def test_two_processes_write_the_same_bytes(tmp_path: Path) -> None:
    written = {
        subprocess.run(
            [sys.executable, "-c", PROCESS, str(tmp_path / "m"), *more],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
            text=True,
            timeout=120,
        ).stdout
        for seed, more in (("1", []), ("2", ["x"]))
    }
    assert len(written) == 1


# -- refusals -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        (forest, LogisticRegression),
        (forest, RegressorMixin),
        (forest, LogisticRegression | LinearRegression),
        (lambda: StandardScaler().fit(X), Scores),
        (lambda: LinearRegression, LinearRegression),
        (lambda: "model", BaseEstimator),
        (lambda: None, Pipeline),
        (xgb, xgboost.XGBRegressor),
        (xgb, xgboost.Booster),
        (lambda: xgb().get_booster(), xgboost.XGBClassifier),
        (lgbm, lightgbm.LGBMRegressor),
        (lambda: lgbm().booster_, lightgbm.LGBMClassifier),
        (linear, onnx.ModelProto),
        (xgboost.XGBClassifier, xgboost.XGBClassifier),
        (lightgbm.LGBMClassifier, lightgbm.LGBMClassifier),
    ],
)
def test_another_model_than_annotated_is_refused(
    value: Callable[[], Any], hint: Any, tmp_path: Path
) -> None:
    with pytest.raises(Usage) as refused:
        codecs.codec_for(hint).encode(value(), hint, tmp_path / "m")
    assert refused.value.code == "usage.step.type"
    assert refused.value.remedy
    assert not (tmp_path / "m").exists()


def test_the_refusal_names_both_types(tmp_path: Path) -> None:
    with pytest.raises(Usage) as refused:
        codecs.codec_for(Pipeline).encode(forest(), Pipeline, tmp_path / "m")
    assert "sklearn.Pipeline" in refused.value.message
    assert "sklearn.RandomForestClassifier" in refused.value.message


@pytest.mark.parametrize(
    ("given", "made", "taken"),
    [
        (RandomForestClassifier, forest, LogisticRegression),
        (xgboost.XGBClassifier, xgb, xgboost.XGBRegressor),
        (xgboost.Booster, lambda: xgb().get_booster(), xgboost.XGBClassifier),
        (lightgbm.LGBMClassifier, lgbm, lightgbm.LGBMRegressor),
        (lightgbm.Booster, lambda: lgbm().booster_, lightgbm.LGBMClassifier),
    ],
)
def test_a_parameter_that_asks_for_another_model_is_refused(
    given: Any, made: Callable[[], Any], taken: Any, tmp_path: Path
) -> None:
    codecs.codec_for(given).encode(made(), given, tmp_path / "m")
    with pytest.raises(Usage) as refused:
        codecs.codec_for(taken).decode(tmp_path / "m", taken)
    assert refused.value.code == "usage.step.type"


def test_a_class_of_the_pipeline_s_own_is_refused_inside_of_a_model_too(tmp_path: Path) -> None:
    model = make_pipeline(Own(), LogisticRegression()).fit(X, Y)
    with pytest.raises(Usage, match=r"test_codec_models.Own in steps\[0\]\[1\]") as refused:
        codecs.codec_for(Pipeline).encode(model, Pipeline, tmp_path / "m")
    assert refused.value.code == "usage.skops.untrusted"
    objective = xgboost.XGBRegressor(n_estimators=2, objective=lambda y, p: (p - y, y * 0 + 1))
    with pytest.raises(Usage, match="objective"):
        codecs.codec_for(xgboost.XGBRegressor).encode(
            objective.fit(X, Y), xgboost.XGBRegressor, tmp_path / "m"
        )
    assert not (tmp_path / "m").exists()


HINTS = (LogisticRegression, xgboost.XGBClassifier, xgboost.Booster, lightgbm.LGBMClassifier)
DAMAGES = (b"", b"\x80\x04N.", b"tree\nversion=v4\n", b"{L\x00", b"PK\x03\x04")


@pytest.mark.parametrize(
    ("hint", "data"),
    [
        *((hint, data) for hint in (*HINTS, lightgbm.Booster) for data in DAMAGES),
        # To a protocol buffer no bytes at all are an empty message.
        *((onnx.ModelProto, data) for data in DAMAGES[1:]),
    ],
)
def test_a_damaged_file_is_refused(hint: Any, data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "m"
    path.write_bytes(data)
    with pytest.raises((Usage, Corrupt)):
        codecs.codec_for(hint).decode(path, hint)


@pytest.mark.parametrize("text", ["", "!!!", "QUJD", "UEsDBA"])
def test_a_face_that_is_no_archive_is_refused(text: str, tmp_path: Path) -> None:
    booster = xgb().get_booster()
    booster.set_attr(assay_estimator=text or None)
    path = tmp_path / "m"
    path.write_bytes(bytes(booster.save_raw("ubj")))
    with pytest.raises(AssayError):
        codecs.codec_for(xgboost.XGBClassifier).decode(path, xgboost.XGBClassifier)
    first, second, rest = lgbm().booster_.model_to_string().split("\n", 2)
    path.write_text(f"{first}\n{second}\nassay_estimator={text}\n{rest}")
    with pytest.raises(AssayError):
        codecs.codec_for(lightgbm.LGBMClassifier).decode(path, lightgbm.LGBMClassifier)


# -- ONNX -----------------------------------------------------------------------------------------


def graph() -> onnx.ModelProto:
    weights = numpy_helper.from_array(np.eye(2, dtype=np.float32), "w")
    made = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 2])],
        [weights],
    )
    return helper.make_model(made)


def test_an_onnx_model_comes_back(tmp_path: Path) -> None:
    model = graph()
    helper.set_model_props(model, {"b": "1", "a": "2"})
    assert trip(model, onnx.ModelProto, tmp_path / "m") == model
    assert detect(tmp_path / "m").format == "onnx"


def test_an_onnx_model_with_tensors_elsewhere_is_refused(tmp_path: Path) -> None:
    model = graph()
    tensor = model.graph.initializer[0]
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")
    inside = graph()
    function = inside.functions.add(name="f")
    function.node.add(op_type="Constant").attribute.add(
        name="value", type=onnx.AttributeProto.TENSOR, t=tensor
    )
    for bad in (model, inside):
        with pytest.raises(Usage, match="other files"):
            codecs.codec_for(onnx.ModelProto).encode(bad, onnx.ModelProto, tmp_path / "m")
        (tmp_path / "x").write_bytes(bad.SerializeToString())
        with pytest.raises(Usage, match="other files"):
            codecs.codec_for(onnx.ModelProto).decode(tmp_path / "x", onnx.ModelProto)
