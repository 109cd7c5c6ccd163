"""One face for every original model: what it takes, how it scores, what it refuses.

Runs inside the confined process of a conversion.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from assay.errors import Unavailable, Usage
from assay.formats.refusals import refuse, refuse_lightgbm, refuse_xgboost
from assay.formats.schema import Column, Kind

Scores: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Original:
    """A loaded model, its kind, its classes in order and the columns it takes, in order."""

    model: Any
    kind: Kind
    classes: list[int | str]
    names: list[str]
    by_name: bool
    """Whether the model selects columns by name, and so must be given a frame."""

    def scores(self, columns: Sequence[Column]) -> Scores:
        """Probabilities (rows × classes) or values (rows × 1); whatever the model raises."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _score(self, columns)

    def accepts(self, columns: Sequence[Column]) -> bool:
        """Whether the model answers for these rows instead of raising."""
        try:
            self.scores(columns)
        except Exception:  # What a model raises for input it refuses is up to its library.
            return False
        return True


def adapt(model: Any, columns: Sequence[Column]) -> Original:
    """The face of a loaded model, given the sample's columns.

    Raises `Usage` (``convert.*``) when the model is of no supported kind or the sample lacks a
    column that it takes.
    """
    family = type(model).__module__.partition(".")[0]
    if type(model).__name__ == "Booster" and family in ("xgboost", "lightgbm"):
        return (_adapt_xgboost if family == "xgboost" else _adapt_lightgbm)(model, columns)
    for part in parts(model):
        refuse(part)
    names = _names(model, columns)
    for part in parts(model):
        if type(part).__module__.startswith("xgboost") and hasattr(part, "get_booster"):
            _forget_names(part.get_booster())
    by_name = hasattr(model, "feature_names_in_") and any(
        type(part).__name__ == "ColumnTransformer" for part in parts(model)
    )
    dtypes = {column.name: column.dtype for column in columns}
    by_name = by_name or any(dtypes[name] == "string" for name in names)
    if hasattr(model, "classes_"):
        if not hasattr(model, "predict_proba"):
            raise Usage(
                f"{type(model).__name__} gives no probabilities, so no threshold can be set",
                remedy="wrap it in sklearn.calibration.CalibratedClassifierCV",
                code="convert.no_probabilities",
            )
        return Original(model, "classifier", _classes(model.classes_), names, by_name)
    if getattr(model, "_estimator_type", None) == "regressor" or _is_regressor(model):
        return Original(model, "regressor", [], names, by_name)
    raise Usage(
        f"{type(model).__module__}.{type(model).__name__} is neither a fitted classifier nor a "
        "regressor",
        remedy="save the whole fitted pipeline that predicts",
        code="convert.unsupported",
    )


def parts(model: Any) -> Iterator[Any]:
    """A model and every estimator inside it (pipeline steps, trees, calibrated copies)."""
    seen: set[int] = set()
    waiting: list[tuple[Any, int]] = [(model, 0)]
    while waiting:
        here, depth = waiting.pop()
        if id(here) in seen or depth > 12:
            continue
        seen.add(id(here))
        inner: list[Any] = []
        if isinstance(here, (list, tuple)):
            inner = list(here)
        elif isinstance(here, np.ndarray) and here.dtype == object:
            inner = list(here.ravel())
        elif isinstance(here, dict):
            inner = list(here.values())
        elif hasattr(here, "get_params") and not isinstance(here, type):
            yield here
            inner = list(vars(here).values())
        elif type(here).__module__.startswith("sklearn.") and hasattr(here, "__dict__"):
            inner = list(vars(here).values())
        waiting += [(value, depth + 1) for value in inner]


def frame(columns: Sequence[Column], names: Sequence[str]) -> Any:
    """The named columns as a pandas frame, floats in double precision."""
    try:
        import pandas as pd
    except ImportError as error:
        raise Unavailable(
            "this model selects its columns by name, which needs pandas",
            remedy="install pandas",
            code="convert.pandas",
        ) from error
    given = {column.name: column for column in columns}
    return pd.DataFrame({name: _values(given[name]) for name in names})


def _values(column: Column) -> NDArray[Any]:
    if column.dtype == "float":
        return np.array([np.nan if v is None else v for v in column.values], dtype=np.float64)
    return np.array([np.nan if v is None else v for v in column.values], dtype=object)


def _score(original: Original, columns: Sequence[Column]) -> Scores:
    model = original.model
    rows = frame(columns, original.names) if original.by_name else matrix(columns, original.names)
    family = type(model).__module__.partition(".")[0]
    if type(model).__name__ == "Booster" and family == "xgboost":
        import xgboost

        answer = model.predict(xgboost.DMatrix(rows))
    elif original.kind == "regressor" or type(model).__name__ == "Booster":
        answer = model.predict(rows)
    else:
        answer = model.predict_proba(rows)
    scores = np.asarray(answer, dtype=np.float64)
    if original.kind == "classifier" and scores.ndim == 1:
        scores = np.stack([1 - scores, scores], axis=1)
    scores = scores.reshape(len(scores), -1)
    if scores.shape[1] != max(1, len(original.classes)):
        raise Usage(
            f"the model answers {scores.shape[1]} numbers a row",
            remedy="convert one target at a time",
            code="convert.multi_output",
        )
    return scores


def matrix(columns: Sequence[Column], names: Sequence[str]) -> NDArray[np.float64]:
    """The named columns as one matrix of doubles, rows × columns."""
    given = {column.name: column for column in columns}
    return np.stack([_values(given[name]) for name in names], axis=1)


def _names(model: Any, columns: Sequence[Column]) -> list[str]:
    available = [column.name for column in columns]
    if hasattr(model, "feature_names_in_"):
        names = [str(name) for name in model.feature_names_in_]
        _require(names, available)
        return names
    count = getattr(model, "n_features_in_", len(available))
    return _by_count(count, available)


def _require(names: Sequence[str], available: Sequence[str]) -> None:
    missing = [name for name in names if name not in set(available)]
    if missing:
        raise Usage(
            f"the sample lacks the column {missing[0]!r} that the model takes",
            remedy=f"give a dataset with the columns {', '.join(names)}",
            code="convert.columns",
            details={"missing": missing},
        )


def _by_count(count: int, available: list[str]) -> list[str]:
    if count != len(available):
        raise Usage(
            f"the model takes {count} columns without names, the sample has {len(available)}",
            remedy="give exactly the columns it was trained on, in their order",
            code="convert.columns",
        )
    return available


def _classes(values: Any) -> list[int | str]:
    array = np.asarray(values)
    if array.ndim != 1 or (array.dtype == object and any(np.ndim(v) for v in array)):
        raise Usage(
            "the model predicts several targets at once",
            remedy="convert one target at a time",
            code="convert.multi_output",
        )
    plain = array.tolist()
    if all(isinstance(value, str) for value in plain):
        return [str(value) for value in plain]
    if all(isinstance(v, (bool, int)) or (isinstance(v, float) and v.is_integer()) for v in plain):
        return [int(value) for value in plain]
    raise Usage(
        "the model's classes are neither all whole numbers nor all strings",
        remedy="train on whole-number or string labels",
        code="convert.classes",
    )


def _is_regressor(model: Any) -> bool:
    from sklearn.base import is_regressor

    try:
        return bool(is_regressor(model))
    except Exception:  # Asking an object that is no estimator at all raises what it likes.
        return False


def _forget_names(booster: Any) -> None:
    """Columns are matched by position from here on; the converter knows no other names."""
    booster.feature_names = None
    booster.feature_types = None


def _adapt_xgboost(booster: Any, columns: Sequence[Column]) -> Original:
    learner = refuse_xgboost(booster)
    names = booster.feature_names
    available = [column.name for column in columns]
    if names:
        _require(names, available)
    else:
        names = _by_count(booster.num_features(), available)
    objective = learner["objective"]["name"]
    count = int(learner["learner_model_param"]["num_class"])
    _forget_names(booster)
    if objective == "multi:softmax":
        booster.set_param({"objective": "multi:softprob"})
    if objective == "binary:logistic":
        return Original(booster, "classifier", [0, 1], names, False)
    if objective in ("multi:softprob", "multi:softmax"):
        return Original(booster, "classifier", list(range(count)), names, False)
    if objective.startswith(("reg:", "count:")) and objective != "reg:logistic":
        return Original(booster, "regressor", [], names, False)
    raise _objective("XGBoost", objective)


def _adapt_lightgbm(booster: Any, columns: Sequence[Column]) -> Original:
    refuse_lightgbm(booster)
    objective = str(booster.dump_model(num_iteration=1).get("objective", "")).split(" ")[0]
    names: list[str] = [str(name) for name in booster.feature_name()]
    available = [column.name for column in columns]
    # LightGBM names unnamed columns Column_0, Column_1, ...
    if all(name == f"Column_{i}" for i, name in enumerate(names)):
        names = _by_count(len(names), available)
    else:
        # LightGBM writes the blanks in a name as underscores; which column it was is known only
        # where no two become the same.
        spelt = {column.replace(" ", "_"): column for column in available}
        if len(spelt) == len(available):
            names = [name if name in available else spelt.get(name, name) for name in names]
        _require(names, available)
    if objective == "binary":
        return Original(booster, "classifier", [0, 1], names, False)
    if objective == "multiclass":
        classes: list[int | str] = list(range(booster.num_model_per_iteration()))
        return Original(booster, "classifier", classes, names, False)
    if objective in ("regression", "regression_l1", "huber", "quantile", "mape", "poisson"):
        return Original(booster, "regressor", [], names, False)
    raise _objective("LightGBM", objective)


def _objective(library: str, objective: str) -> Usage:
    return Usage(
        f"{library} models with the objective {objective[:60]!r} have no ONNX form here",
        remedy="train with a classification or regression objective",
        code="convert.unsupported",
    )
