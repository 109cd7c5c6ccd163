"""Build the ONNX graph of an original model.

Runs inside the confined process of a conversion.  The converters of skl2onnx and onnxmltools do the
work; what is here corrects where they differ from the library they convert.  Each correction wraps
one converter and rewrites the attributes of the nodes it adds.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from assay.errors import Usage
from assay.formats.originals import Original
from assay.formats.schema import ModelSchema

Convert: TypeAlias = Callable[[Any, Any, Any], None]
Attributes: TypeAlias = dict[str, Any]

MATRIX = "X"
"""The name of the one input of a ``matrix`` model."""

_OPSET = {"": 18, "ai.onnx.ml": 3}


def build(original: Original, schema: ModelSchema) -> Any:
    """The ``onnx.ModelProto`` of a model; `Usage` naming why where there is none."""
    try:
        if type(original.model).__name__ == "Booster":
            graph = _build_booster(original)
        else:
            graph = _build_sklearn(original, schema)
    except Usage:
        raise
    except ImportError as error:
        raise Usage(
            f"converting this model needs a library that is not installed ({error})",
            remedy="install assay[ml] and assay[boosting]",
            code="convert.library",
        ) from error
    except Exception as error:  # The converters raise anything for what they do not know.
        first = (str(error).splitlines() or [""])[0][:200]
        raise Usage(
            f"{type(original.model).__name__} cannot become ONNX: {first or type(error).__name__}",
            remedy="replace the step it names by one that skl2onnx supports "
            "(https://onnx.ai/sklearn-onnx/supported.html), or train a supported model",
            code="convert.unsupported",
        ) from error
    for output in graph.graph.output:
        # onnxmltools declares one label whatever the number of rows.
        if output.type.WhichOneof("value") == "tensor_type":
            dimensions = output.type.tensor_type.shape.dim
            if len(dimensions) and dimensions[0].WhichOneof("value") == "dim_value":
                dimensions[0].Clear()
    return graph


def _build_sklearn(original: Original, schema: ModelSchema) -> Any:
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import FloatTensorType, StringTensorType

    _register_boosters()
    if schema.layout == "matrix":
        inputs: list[Any] = [(MATRIX, FloatTensorType([None, len(schema.features)]))]
    else:
        inputs = [
            (f.name, (FloatTensorType if f.dtype == "float" else StringTensorType)([None, 1]))
            for f in schema.features
        ]
    return convert_sklearn(
        original.model,
        name="model",
        initial_types=inputs,
        options={"zipmap": False} if original.kind == "classifier" else None,
        custom_conversion_functions=_corrections(),
        target_opset=_OPSET,
    )


def _build_booster(original: Original) -> Any:
    import onnxmltools
    from onnxmltools.convert.common.data_types import FloatTensorType

    inputs = [(MATRIX, FloatTensorType([None, len(original.names)]))]
    if type(original.model).__module__.startswith("xgboost"):
        return onnxmltools.convert_xgboost(original.model, name="model", initial_types=inputs)
    from onnxmltools.convert.lightgbm.operator_converters.LightGbm import convert_lightgbm

    corrected = _rewriting(convert_lightgbm, _round_thresholds_down)
    kinds = ("LightGbmLGBMClassifier", "LightGbmLGBMRegressor")
    return onnxmltools.convert_lightgbm(
        original.model,
        name="model",
        initial_types=inputs,
        zipmap=False,
        custom_conversion_functions=dict.fromkeys(kinds, corrected),
    )


def _register_boosters() -> None:
    """Teach skl2onnx the estimators of the boosting libraries that the model has loaded."""
    from skl2onnx import update_registered_converter
    from skl2onnx.common.shape_calculator import (
        calculate_linear_classifier_output_shapes as of_classifier,
    )
    from skl2onnx.common.shape_calculator import (
        calculate_linear_regressor_output_shapes as of_regressor,
    )

    choices = {"nocl": [True, False], "zipmap": [True, False, "columns"]}
    if xgboost := sys.modules.get("xgboost"):
        from onnxmltools.convert.xgboost.operator_converters.XGBoost import convert_xgboost

        update_registered_converter(
            xgboost.XGBClassifier,
            "AssayXGBClassifier",
            of_classifier,
            convert_xgboost,
            options=choices,
        )
        update_registered_converter(
            xgboost.XGBRegressor, "AssayXGBRegressor", of_regressor, convert_xgboost
        )
    if lightgbm := sys.modules.get("lightgbm"):
        from onnxmltools.convert.lightgbm.operator_converters.LightGbm import convert_lightgbm

        corrected = _rewriting(convert_lightgbm, _round_thresholds_down)
        update_registered_converter(
            lightgbm.LGBMClassifier,
            "AssayLGBMClassifier",
            of_classifier,
            corrected,
            options={**choices, "raw_scores": [True, False]},
        )
        update_registered_converter(
            lightgbm.LGBMRegressor,
            "AssayLGBMRegressor",
            of_regressor,
            corrected,
            options={"split": None},
        )


def _corrections() -> dict[type, Convert]:
    from skl2onnx.common._registration import get_converter
    from sklearn import ensemble, tree
    from sklearn.impute import SimpleImputer
    from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder

    corrections: dict[type, Convert] = {
        ensemble.VotingClassifier: _unflattened(get_converter("SklearnVotingClassifier")),
        SimpleImputer: _convert_imputer(get_converter("SklearnSimpleImputer")),
        OneHotEncoder: _with_nan_for_none(get_converter("SklearnOneHotEncoder")),
        OrdinalEncoder: _with_nan_for_none(
            _rewriting(get_converter("SklearnOrdinalEncoder"), _keep_missing_category)
        ),
    }
    for kind in ("Classifier", "Regressor"):
        boosting = f"HistGradientBoosting{kind}"
        corrections[getattr(ensemble, boosting)] = _rewriting(
            get_converter(f"Sklearn{boosting}"), _whole_numbers
        )
        for module, name in (
            (ensemble, f"RandomForest{kind}"),
            (ensemble, f"ExtraTrees{kind}"),
            (tree, f"DecisionTree{kind}"),
            (tree, f"ExtraTree{kind}"),
        ):
            corrections[getattr(module, name)] = _rewriting(
                get_converter(f"Sklearn{name}"), _route_missing_values
            )
    return corrections


class _Container:
    """A converter's container that shows each node's attributes to `rewrite` before it is added."""

    def __init__(self, inner: Any, rewrite: Callable[[str, Attributes], None]) -> None:
        self._inner = inner
        self._rewrite = rewrite

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def add_node(self, op_type: str, *arguments: Any, **attributes: Any) -> Any:
        self._rewrite(op_type, attributes)
        return self._inner.add_node(op_type, *arguments, **attributes)


def _rewriting(convert: Convert, rewrite: Callable[[Any, str, Attributes], None]) -> Convert:
    """`convert`, with `rewrite(estimator, op_type, attributes)` applied to each node it adds."""

    def converter(scope: Any, operator: Any, container: Any) -> None:
        estimator = operator.raw_operator
        convert(scope, operator, _Container(container, lambda op, a: rewrite(estimator, op, a)))

    return converter


def _floor(values: Any) -> NDArray[np.float32]:
    """The largest float32 not above each value: x <= value is then the same for float32 x."""
    exact = np.asarray(values, dtype=np.float64)
    rounded = exact.astype(np.float32)
    return np.where(
        rounded.astype(np.float64) > exact, np.nextafter(rounded, np.float32(-np.inf)), rounded
    ).astype(np.float32)


def _round_thresholds_down(_estimator: Any, op_type: str, attributes: Attributes) -> None:
    """LightGBM compares with thresholds in double precision; plain rounding moves some up."""
    if op_type.startswith("TreeEnsemble"):
        less_equal = np.array([mode == "BRANCH_LEQ" for mode in attributes["nodes_modes"]])
        values = np.asarray(attributes["nodes_values"], dtype=np.float64)
        exact = np.where(less_equal, _floor(values), values.astype(np.float32))
        attributes["nodes_values"] = [float(value) for value in exact]


def _whole_numbers(_estimator: Any, op_type: str, attributes: Attributes) -> None:
    """Whole numbers where ONNX wants them: skl2onnx 1.20 mixes booleans in.

    The thresholds stay rounded to nearest.  scikit-learn takes them from the training data, so
    that a value often *equals* one, and rounding both alike keeps it on its side.
    """
    if not op_type.startswith("TreeEnsemble"):
        return
    for name, value in attributes.items():
        if isinstance(value, list) and value and isinstance(value[0], (int, np.integer, np.bool_)):
            attributes[name] = [int(item) for item in value]


def _route_missing_values(estimator: Any, op_type: str, attributes: Attributes) -> None:
    """Send a missing value to the side that scikit-learn's tree learned, not always right."""
    if not op_type.startswith("TreeEnsemble") or "nodes_treeids" not in attributes:
        return
    trees = [tree.tree_ for tree in getattr(estimator, "estimators_", [estimator])]
    nodes = zip(attributes["nodes_treeids"], attributes["nodes_nodeids"], strict=True)
    attributes["nodes_missing_value_tracks_true"] = [
        int(trees[tree].missing_go_to_left[node]) for tree, node in nodes
    ]


def _keep_missing_category(estimator: Any, op_type: str, attributes: Attributes) -> None:
    """A missing category becomes the encoder's missing value, which is NaN unless set."""
    if op_type != "LabelEncoder" or "values_int64s" not in attributes:
        return
    values = np.asarray(attributes.pop("values_int64s"), dtype=np.float32)
    keys = [*attributes.get("keys_strings", ()), *attributes.get("keys_floats", ())]
    missing = keys and str(keys[-1].decode() if isinstance(keys[-1], bytes) else keys[-1]) == "nan"
    if missing and np.isnan(estimator.encoded_missing_value):
        values[-1] = np.nan
    attributes["values_floats"] = values
    attributes["default_float"] = float(attributes.pop("default_int64", -1))


def _with_nan_for_none(convert: Convert) -> Convert:
    """Both of Python's missing values in a category list mean the one missing value of ONNX."""

    def converter(scope: Any, operator: Any, container: Any) -> None:
        encoder = copy.copy(operator.raw_operator)
        encoder.categories_ = [
            np.array([np.nan if value is None else value for value in known], dtype=known.dtype)
            for known in encoder.categories_
        ]
        # Without rare categories these two mean what "ignore" means; skl2onnx knows only that.
        rare = getattr(encoder, "infrequent_categories_", [None])
        if getattr(encoder, "handle_unknown", "") in ("infrequent_if_exist", "warn") and all(
            found is None for found in rare
        ):
            encoder.handle_unknown = "ignore"
        operator.raw_operator = encoder
        convert(scope, operator, container)

    return converter


def _unflattened(convert: Convert) -> Convert:
    """`flatten_transform` shapes what `transform` gives; skl2onnx refuses its default."""

    def converter(scope: Any, operator: Any, container: Any) -> None:
        operator.raw_operator = copy.copy(operator.raw_operator)
        operator.raw_operator.flatten_transform = False
        convert(scope, operator, container)

    return converter


def _convert_imputer(convert: Convert) -> Convert:
    """Fill missing strings too; skl2onnx knows them only where the missing value is a string."""

    def converter(scope: Any, operator: Any, container: Any) -> None:
        from skl2onnx.common.data_types import StringTensorType

        imputer = operator.raw_operator
        text = isinstance(operator.inputs[0].type, StringTensorType)
        if text and not isinstance(imputer.missing_values, str):
            operator.raw_operator = copy.copy(imputer)
            operator.raw_operator.missing_values = "nan"
        convert(scope, operator, container)

    return converter
