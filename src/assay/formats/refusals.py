"""What the converters accept and then convert wrongly, refused with the route to take.

Each of these was found by comparing decisions: the conversion succeeds and answers something else.
Runs inside the confined process of a conversion.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from assay.errors import Usage


def refuse(part: Any) -> None:
    """Raise `Usage` (``convert.unsupported``) when this estimator would be converted wrongly."""
    name = type(part).__name__
    family = type(part).__module__.partition(".")[0]
    if name.startswith("HistGradientBoosting"):
        _refuse_histogram(part)
    elif name == "SimpleImputer" and getattr(part, "add_indicator", False):
        raise _unsupported(
            "SimpleImputer with add_indicator=True has no ONNX form",
            "leave add_indicator unset, or give the indicators as columns of their own",
        )
    elif family == "xgboost" and hasattr(part, "get_booster"):
        learner = refuse_xgboost(part.get_booster())
        if learner["objective"]["name"] == "reg:logistic":
            raise _unsupported(
                "XGBoost's objective reg:logistic has no ONNX form", "train with binary:logistic"
            )
    elif family == "lightgbm" and hasattr(part, "booster_"):
        refuse_lightgbm(part.booster_)


def _refuse_histogram(part: Any) -> None:
    categorical = getattr(part, "is_categorical_", None)
    if categorical is not None and np.any(categorical):
        raise _unsupported(
            "HistGradientBoosting with categorical features has no ONNX form",
            "encode the categories before it (OneHotEncoder or OrdinalEncoder) and leave "
            "categorical_features unset",
        )
    loss = getattr(part, "loss", "")
    if loss in ("poisson", "gamma"):
        raise _unsupported(
            f"HistGradientBoosting with loss={loss!r} has no ONNX form",
            "train with squared_error on the logarithm of the target",
        )


def refuse_xgboost(booster: Any) -> dict[str, Any]:
    """The learner's configuration; raises `Usage` for a booster that has no ONNX form."""
    learner: dict[str, Any] = json.loads(booster.save_config())["learner"]
    kind = learner["gradient_booster"].get("name")
    if kind != "gbtree":
        raise _unsupported(
            f"XGBoost's {kind} booster has no ONNX form", "train with booster=gbtree"
        )
    if "c" in (booster.feature_types or ()):
        raise _unsupported(
            "XGBoost models with native categorical features have no ONNX form",
            "encode the categories before training (enable_categorical=False)",
        )
    return learner


def refuse_lightgbm(booster: Any) -> None:
    """Raise `Usage` for a booster that has no ONNX form."""
    lines = booster.model_to_string().split("\n")
    if "average_output" in lines:
        raise _unsupported(
            "LightGBM's random forest has no ONNX form", "train with boosting_type=gbdt"
        )
    if "is_linear=1" in lines:
        raise _unsupported(
            "LightGBM models with linear trees have no ONNX form", "train with linear_tree=False"
        )
    if any(line.startswith("objective=multiclassova") for line in lines):
        raise _unsupported(
            "LightGBM's objective multiclassova has no ONNX form", "train with multiclass"
        )
    for line in lines:
        key, _, values = line.partition("=")
        if key != "decision_type":
            continue
        # Bit 0: categorical; bits 2 and 3: 0 no missing values, 1 zeros are missing, 2 NaN is.
        if any(int(value) & 0b1100 == 0b0100 for value in values.split()):
            raise _unsupported(
                "LightGBM models that take zero as missing have no ONNX form",
                "train with zero_as_missing=False",
            )


def _unsupported(message: str, remedy: str) -> Usage:
    return Usage(message, remedy=remedy, code="convert.unsupported")
