"""Conversions of real models keep their decisions; what cannot be kept is refused with a route.

The helpers come from `conftest` by fixtures, because test modules cannot import each other.
"""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import joblib
import msgspec
import numpy as np
import pytest

from assay.errors import Usage
from assay.formats import parity as parities
from assay.formats.convert import convert, decode_converted, encode_request
from assay.formats.detect import detect
from assay.formats.predictor import Predictor
from assay.formats.schema import Column
from assay.isolation.run import run


@pytest.fixture(scope="module")
def data(request: pytest.FixtureRequest) -> Any:
    """The module of shared rows."""
    plugin: Any = request.config.pluginmanager
    return next(p for p in plugin.get_plugins() if getattr(p, "__file__", "") == str(CONFTEST))


CONFTEST = Path(__file__).with_name("conftest.py")


def linear(name: str, **options: Any) -> Any:
    from sklearn import linear_model

    return getattr(linear_model, name)(**options)


def trees(name: str, **options: Any) -> Any:
    from sklearn import ensemble

    return getattr(ensemble, name)(random_state=0, **options)


def boosted(name: str, **options: Any) -> Any:
    import lightgbm
    import xgboost

    if name.startswith("LGBM"):
        return getattr(lightgbm, name)(n_estimators=5, verbose=-1, **options)
    return getattr(xgboost, name)(n_estimators=5, **options)


def piped(first: Any, last: Any) -> Any:
    from sklearn.pipeline import make_pipeline

    return make_pipeline(first, last)


KEPT: dict[str, Any] = {
    "logistic regression": lambda d: (linear("LogisticRegression").fit(d.X, d.TWO), d.NUMBERS),
    "three classes": lambda d: (linear("LogisticRegression").fit(d.X, d.THREE), d.NUMBERS),
    "classes of text": lambda d: (
        linear("LogisticRegression").fit(d.X, np.array(["no", "yes"])[d.TWO]), d.NUMBERS),
    "ridge": lambda d: (linear("Ridge").fit(d.X, d.REAL), d.NUMBERS),
    "forest": lambda d: (
        trees("RandomForestClassifier", n_estimators=5).fit(d.X, d.TWO), d.NUMBERS),
    "forest that saw missing values": lambda d: (
        trees("RandomForestClassifier", n_estimators=20).fit(d.X_MISSING, d.TWO),
        d.NUMBERS_MISSING),
    "forest of values": lambda d: (
        trees("RandomForestRegressor", n_estimators=5).fit(d.X, d.REAL), d.NUMBERS),
    "histogram boosting": lambda d: (
        trees("HistGradientBoostingClassifier", max_iter=5).fit(d.X_MISSING, d.TWO),
        d.NUMBERS_MISSING),
    "histogram boosting of values": lambda d: (
        trees("HistGradientBoostingRegressor", max_iter=5).fit(d.X_MISSING, d.REAL),
        d.NUMBERS_MISSING),
    "a pipeline that ignores unknown categories": lambda d: (
        piped(d.one_hot(handle_unknown="ignore"), linear("LogisticRegression"))
        .fit(d.frame(missing=True), d.TWO), d.MIXED),
    "a pipeline that refuses unknown categories": lambda d: (
        piped(d.one_hot(), linear("LogisticRegression")).fit(d.frame(), d.TWO), d.MIXED),
    "a pipeline that warns of unknown categories": lambda d: (
        piped(d.one_hot(handle_unknown="warn"), linear("LogisticRegression"))
        .fit(d.frame(), d.TWO), d.MIXED),
    "a pipeline with rare categories, none of them rare": lambda d: (
        piped(d.one_hot(handle_unknown="infrequent_if_exist", min_frequency=2),
              linear("LogisticRegression")).fit(d.frame(), d.TWO), d.MIXED),
    "a forest on a pipeline": lambda d: (
        piped(d.one_hot(handle_unknown="ignore"), trees("RandomForestClassifier", n_estimators=5))
        .fit(d.frame(), d.TWO), d.MIXED),
    "xgboost": lambda d: (boosted("XGBClassifier").fit(d.X_MISSING, d.TWO), d.NUMBERS_MISSING),
    "xgboost of three classes": lambda d: (boosted("XGBClassifier").fit(d.X, d.THREE), d.NUMBERS),
    "xgboost of values": lambda d: (boosted("XGBRegressor").fit(d.X, d.REAL), d.NUMBERS),
    "an xgboost booster": lambda d: (
        boosted("XGBClassifier").fit(d.X, d.TWO).get_booster(), d.NUMBERS),
    "lightgbm": lambda d: (boosted("LGBMClassifier").fit(d.X_MISSING, d.TWO), d.NUMBERS_MISSING),
    "lightgbm of three classes": lambda d: (boosted("LGBMClassifier").fit(d.X, d.THREE), d.NUMBERS),
    "lightgbm of values": lambda d: (boosted("LGBMRegressor").fit(d.X, d.REAL), d.NUMBERS),
    "a lightgbm booster": lambda d: (
        boosted("LGBMClassifier").fit(d.X, d.TWO).booster_, d.NUMBERS),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", KEPT)
def test_a_conversion_keeps_every_decision(name: str, data: Any, converted: Any) -> None:
    model, columns = KEPT[name](data)
    answer = converted(model, columns)
    request = parities.encode_request(answer, 0.5)
    measured = parities.decode_parity(parities.measure(request))
    assert measured.decision_disagreement == 0, measured.worst
    assert measured.max_abs_diff < (1e-4 if "pipeline" not in name else 0.05) * scale(answer)
    assert measured.sample is not None
    assert measured.sample.rows >= 150
    if "missing" in name or "boost" in name:
        assert measured.nan_rows is not None
        assert measured.float32_edges is not None
    refused = {case.partition(":")[0] for case in measured.refused}
    if "refuses" in name:
        assert "unseen_category" in refused
        assert measured.unseen_category is None
    elif columns is data.MIXED:
        assert measured.unseen_category is not None


def scale(answer: bytes) -> float:
    """Values of a regressor may be large at the edges: differences are measured beside them."""
    return max(1.0, float(np.abs(decode_converted(answer).original).max()))


def decision(data: Any) -> Any:
    from sklearn.svm import LinearSVC

    return LinearSVC().fit(data.X, data.TWO)


def scaler(data: Any) -> Any:
    from sklearn.preprocessing import StandardScaler

    return StandardScaler().fit(data.X)


def indicator(data: Any) -> Any:
    from sklearn.impute import SimpleImputer

    return piped(SimpleImputer(add_indicator=True), linear("LogisticRegression")).fit(
        data.X_MISSING, data.TWO
    )


def function(data: Any) -> Any:
    from sklearn.preprocessing import FunctionTransformer

    return piped(FunctionTransformer(np.abs), linear("LogisticRegression")).fit(data.X, data.TWO)


REFUSED: dict[str, tuple[Any, str, str]] = {
    "no probabilities": (decision, "no_probabilities", "CalibratedClassifierCV"),
    "no predictions": (scaler, "unsupported", "pipeline"),
    "an indicator of missing values": (indicator, "unsupported", "add_indicator"),
    "a function of numpy": (function, "unsupported", "skl2onnx"),
    "two targets": (
        lambda d: trees("RandomForestClassifier", n_estimators=2).fit(
            d.X, np.c_[d.TWO, 1 - d.TWO]), "multi_output", "one target"),
    "two values": (
        lambda d: linear("Ridge").fit(d.X, np.c_[d.REAL, d.REAL]), "multi_output", "one target"),
    "native categories": (
        lambda d: trees("HistGradientBoostingClassifier", max_iter=2, categorical_features=[0])
        .fit(np.c_[d.THREE, d.X[:, 1:]], d.TWO), "unsupported", "encode"),
    "a logarithmic link": (
        lambda d: trees("HistGradientBoostingRegressor", max_iter=2, loss="poisson")
        .fit(d.X, np.abs(d.REAL)), "unsupported", "logarithm"),
    "xgboost without trees": (
        lambda d: boosted("XGBClassifier", booster="gblinear").fit(d.X, d.TWO), "unsupported",
        "gbtree"),
    "xgboost that drops trees": (
        lambda d: boosted("XGBClassifier", booster="dart").fit(d.X, d.TWO), "unsupported",
        "gbtree"),
    "xgboost of shares": (
        lambda d: boosted("XGBRegressor", objective="reg:logistic").fit(d.X, d.TWO),
        "unsupported", "binary:logistic"),
    "lightgbm's forest": (
        lambda d: boosted("LGBMClassifier", boosting_type="rf", bagging_freq=1,
                          bagging_fraction=0.5).fit(d.X, d.TWO), "unsupported", "gbdt"),
    "lightgbm with linear leaves": (
        lambda d: boosted("LGBMRegressor", linear_tree=True).fit(d.X, d.REAL), "unsupported",
        "linear_tree"),
    "lightgbm one against all": (
        lambda d: boosted("LGBMClassifier", objective="multiclassova").fit(d.X, d.THREE),
        "unsupported", "multiclass"),
    "lightgbm with zeros for missing": (
        lambda d: boosted("LGBMClassifier", zero_as_missing=True).fit(np.round(d.X), d.TWO),
        "unsupported", "zero_as_missing"),
    "too few columns": (
        lambda d: linear("LogisticRegression").fit(d.X[:, :2], d.TWO), "columns", "order"),
    "columns by other names": (
        lambda d: linear("LogisticRegression").fit(
            d.frame()[["a", "b"]].rename(columns={"b": "z"}), d.TWO), "columns", "z"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_kept_is_refused_with_reason_and_route(
    name: str, data: Any, converted: Any
) -> None:
    make, code, route = REFUSED[name]
    with pytest.raises(Usage) as caught:
        converted(make(data))
    assert caught.value.code == f"usage.convert.{code}", caught.value.message
    assert route in caught.value.remedy
    assert caught.value.message


@pytest.mark.parametrize(
    ("model_format", "code"),
    [("safetensors", "weights"), ("onnx", "onnx"), ("unknown", "format"), ("x" * 500, "format")],
)
def test_a_format_that_holds_no_estimator_is_refused(
    tmp_path: Path, data: Any, model_format: str, code: str
) -> None:
    with pytest.raises(Usage) as caught:
        convert(encode_request(tmp_path / "x", model_format, data.NUMBERS))
    assert caught.value.code == f"usage.convert.{code}"
    assert caught.value.remedy
    assert len(caught.value.message) < 300


@pytest.mark.parametrize(
    "model_format",
    ["sklearn-pickle", "sklearn-joblib", "skops", "xgboost-json", "xgboost-ubj", "lightgbm-text"],
)
def test_a_file_that_its_library_cannot_read_is_refused(
    tmp_path: Path, data: Any, model_format: str
) -> None:
    path = tmp_path / "model"
    path.write_bytes(b"neither this nor that")
    with pytest.raises(Usage) as caught:
        convert(encode_request(path, model_format, data.NUMBERS))
    assert caught.value.code in ("usage.convert.load", "usage.convert.unsupported")


def column(name: str, *values: Any, dtype: Any = "float") -> Column:
    return Column(name, dtype, list(values))


@pytest.mark.parametrize(
    "columns",
    [
        [],
        [column("a")],
        [column("a", 1.0), column("b", 1.0, 2.0)],
        [column("a", 1.0), column("a", 1.0)],
        [column("a", "x")],
        [column("a", 1.0, dtype="string")],
    ],
)
def test_a_sample_that_contradicts_itself_is_refused(tmp_path: Path, columns: Any) -> None:
    with pytest.raises(Usage) as caught:
        convert(encode_request(tmp_path / "x", "sklearn-pickle", columns))
    assert caught.value.code == "usage.convert.sample"


def test_requests_and_answers_that_are_none_are_refused(data: Any, converted: Any) -> None:
    for junk in (b"", b"\xff", b"\x80", msgspec.msgpack.encode({"format": "x"})):
        for reader in (convert, decode_converted, parities.measure):
            with pytest.raises(Usage):
                reader(junk)
    answer = converted(linear("LogisticRegression").fit(data.X, data.TWO))
    plain = msgspec.msgpack.decode(answer)
    for key, value in (
        ("cases", plain["cases"][:-1]),
        ("original", [row[:1] for row in plain["original"]]),
        ("original", []),
        ("cases", ["rounding"] * len(plain["cases"])),
        ("columns", [{**plain["columns"][0], "values": []}, *plain["columns"][1:]]),
        ("more", 1),
    ):
        with pytest.raises(Usage) as caught:
            decode_converted(msgspec.msgpack.encode({**plain, key: value}))
        assert caught.value.code == "usage.convert.answer"


def test_the_converted_model_says_what_it_takes_and_holds_callers_to_it(
    data: Any, converted: Any
) -> None:
    model = piped(data.one_hot(), linear("LogisticRegression")).fit(data.frame(), data.TWO)
    predictor = Predictor(decode_converted(converted(model, data.MIXED)).onnx)
    assert predictor.features == ["a", "b", "c", "colour"]
    row: dict[str, Any] = {"a": [1.0], "b": [None], "c": [0], "colour": ["red"]}
    wanted = model.predict_proba(data.frame().iloc[:0].reindex([0]).assign(
        a=1.0, b=np.nan, c=0.0, colour="red"))  # fmt: skip
    answer = predictor.predict(row)
    assert answer.scores == pytest.approx(wanted, abs=1e-5)
    for change, code in (
        ({"colour": ["purple"]}, "input.category"),
        ({"colour": [None]}, "input.missing"),
        ({"colour": [1.0]}, "input.type"),
        ({"a": ["1.0"]}, "input.type"),
        ({"a": [np.inf]}, "input.range"),
        ({"a": [1e300]}, "input.range"),
        ({"a": [10**400]}, "input.range"),
        ({"a": []}, "input.rows"),
        ({"a": [1.0, 2.0]}, "input.rows"),
        ({"extra": [1.0]}, "input.columns"),
    ):
        with pytest.raises(Usage) as caught:
            predictor.predict({**row, **change})
        assert caught.value.code == f"usage.{code}", change
    del row["a"]
    with pytest.raises(Usage, match="'a'"):
        predictor.predict(row)


# In confined processes, as they are run.


def files(model: Any, folder: Path) -> list[Path]:
    import skops.io

    stream = io.BytesIO()
    joblib.dump(model, stream, compress=3)
    made = {
        "pickle": pickle.dumps(model),
        "joblib": stream.getvalue(),
        "skops": skops.io.dumps(model),
    }
    for name, content in made.items():
        (folder / name).write_bytes(content)
    return [folder / name for name in made]


def confined(path: Path, columns: list[Column], threshold: float = 0.5) -> parities.Parity:
    request = encode_request(path, detect(path).format, columns)
    answer = run("assay.formats.convert:convert", request, inputs=[path]).value
    measuring = parities.encode_request(answer, threshold)
    return parities.decode_parity(run("assay.formats.parity:measure", measuring).value)


@pytest.mark.slow
def test_files_of_every_kind_convert_in_a_confined_process(tmp_path: Path, data: Any) -> None:
    model = trees("RandomForestClassifier", n_estimators=3).fit(data.X, data.TWO)
    for path in files(model, tmp_path.resolve()):
        assert confined(path, data.NUMBERS).decision_disagreement == 0, path.name


@pytest.mark.slow
def test_boosters_and_pipelines_convert_in_a_confined_process(tmp_path: Path, data: Any) -> None:
    folder = tmp_path.resolve()
    booster = boosted("XGBClassifier").fit(data.X, data.TWO).get_booster()
    booster.save_model(folder / "xgb.ubj")
    boosted("LGBMClassifier").fit(data.X, data.TWO).booster_.save_model(folder / "lgb.txt")
    model = piped(
        data.one_hot(handle_unknown="ignore"), trees("HistGradientBoostingClassifier", max_iter=3)
    )
    model.steps[0][1].set_params(text__sparse_output=False)
    model.fit(data.frame(), data.TWO)
    (folder / "pipeline.pkl").write_bytes(pickle.dumps(model))
    for name, columns in (
        ("xgb.ubj", data.NUMBERS), ("lgb.txt", data.NUMBERS), ("pipeline.pkl", data.MIXED)
    ):  # fmt: skip
        assert confined(folder / name, columns).decision_disagreement == 0, name


@pytest.mark.slow
def test_a_hostile_pickle_can_do_nothing_outside_its_process(tmp_path: Path, data: Any) -> None:
    folder = tmp_path.resolve()
    target = folder / "written"
    path = folder / "model.pkl"
    path.write_bytes(b"cbuiltins\nopen\n(V" + str(target).encode() + b"\nVw\ntR.")
    request = encode_request(path, "sklearn-pickle", data.NUMBERS)
    with pytest.raises(Usage) as caught:
        run("assay.formats.convert:convert", request, inputs=[path])
    assert caught.value.code == "usage.convert.load"
    assert not target.exists()
