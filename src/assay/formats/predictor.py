"""Run a checked ONNX model, strict about what it is fed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from assay.errors import Usage, Verification
from assay.formats import schema as schemas
from assay.formats.onnx_io import Signature, TensorInfo, check, parse, read_model, signature_of
from assay.formats.schema import Feature, ModelSchema

ROW_LIMIT = 1_000_000
"""Rows of one call."""

Array: TypeAlias = NDArray[Any]
Columns: TypeAlias = Mapping[str, Sequence[Any] | Array]

_DTYPES: dict[str, type[np.generic]] = {
    "float": np.float32,
    "double": np.float64,
    "int64": np.int64,
    "int32": np.int32,
    "bool": np.bool_,
    "string": np.str_,
}


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a model answered for n rows.

    labels
        n class labels, or a regressor's n values.
    probabilities
        n rows × classes, in the order of the schema's classes; None for a regressor.
    """

    labels: Array
    probabilities: Array | None

    @property
    def scores(self) -> NDArray[np.float64]:
        """The numbers to compare, rows × classes; one column for a regressor."""
        scores = self.labels if self.probabilities is None else self.probabilities
        return np.asarray(scores, dtype=np.float64).reshape(len(self.labels), -1)


class Predictor:
    """An ONNX model ready to answer.

    Raises `Usage` for a model that `assay.formats.onnx_io.check` refuses, that ONNX Runtime cannot
    load, or whose outputs are neither labels with probabilities nor one value per row.
    """

    def __init__(self, source: bytes, *, threads: int = 1) -> None:
        data = read_model(source)
        self.signature: Signature = signature_of(parse(data))
        check(self.signature)
        self.schema: ModelSchema | None = (
            schemas.decode(self.signature.schema) if self.signature.schema else None
        )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = threads
        options.log_severity_level = 4
        try:
            self._session = onnxruntime.InferenceSession(
                data, sess_options=options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # ONNX Runtime's errors share no base class of their own.
            raise Usage(
                f"ONNX Runtime cannot load the model: {_first_line(error)}", code="onnx.load"
            ) from error
        self._label, self._score = _outputs(self.signature.outputs)
        self._inputs = {given.name: given for given in self.signature.inputs}
        self._check_schema()

    @property
    def features(self) -> list[str]:
        """The names of the columns that `predict` takes."""
        if self.schema is not None:
            return [feature.name for feature in self.schema.features]
        return list(self._inputs)

    def predict(self, columns: Columns | Array) -> Prediction:
        """Answer for rows given as one sequence per column, or as a float matrix.

        A column of a model converted by assay holds numbers or strings, with None for a missing
        value where the original takes one.  A matrix (rows × features) suits models of numbers
        only.  Of a model made elsewhere, the columns are the graph's inputs by name.

        Raises `Usage` (``input.*``) naming the column that is missing, extra or mistyped, and
        `Verification` when the model fails on input of the right shape.
        """
        feed = self._feed(columns)
        try:
            answers = self._session.run(
                [name for name in (self._label, self._score) if name is not None], feed
            )
        except UnicodeError as error:
            raise Usage("a string is not valid Unicode", code="input.type") from error
        except Exception as error:  # As above.
            raise Verification(
                f"the model failed on its input: {_first_line(error)}", code="onnx.run"
            ) from error
        rows = len(next(iter(feed.values())))
        arrays = [np.asarray(answer) for answer in answers]
        if any(array.ndim == 0 or len(array) != rows for array in arrays):
            raise Verification("the model did not answer one row for each row", code="onnx.rows")
        if self._score is None:
            return Prediction(arrays[0].reshape(rows), None)
        scores = arrays[-1].reshape(rows, -1)
        if self._label is not None:
            return Prediction(arrays[0].reshape(rows), scores)
        if scores.shape[1] == 1:
            return Prediction(scores[:, 0], None)
        return Prediction(scores.argmax(axis=1), scores)

    def _check_schema(self) -> None:
        if self.schema is None:
            return
        features = self.schema.features
        dtypes = {name: given.dtype for name, given in self._inputs.items()}
        if self.schema.layout == "columns":
            fits = dtypes == {feature.name: feature.dtype for feature in features}
        else:
            fits = list(dtypes.values()) == ["float"] and all(f.dtype == "float" for f in features)
            shape = next(iter(self._inputs.values())).shape if self._inputs else None
            fits = fits and shape is not None and shape[1:] == [len(features)]
        if not fits:
            raise Usage("the model's schema does not fit its graph", code="model.schema")

    def _feed(self, columns: Columns | Array) -> dict[str, Array]:
        if isinstance(columns, np.ndarray):
            return self._feed_matrix(columns)
        expected = self.features
        missing = [name for name in expected if name not in columns]
        extra = [name for name in columns if name not in set(expected)]
        if missing or extra:
            said = [f"lacks {missing!r}"] if missing else []
            said += [f"has {extra!r}"] if extra else []
            raise Usage(
                "the input " + " and ".join(said),
                remedy=f"give exactly the columns {expected!r}",
                code="input.columns",
                details={"missing": missing, "extra": extra},
            )
        rows = {name: len(values) for name, values in columns.items()}
        if len(set(rows.values())) != 1:
            raise Usage(f"the columns differ in length: {rows!r}", code="input.rows")
        count = next(iter(rows.values()))
        if not 1 <= count <= ROW_LIMIT:
            raise Usage(
                f"the input has {count} rows, not 1 to {ROW_LIMIT}",
                remedy="ask in smaller pieces" if count else "give at least one row",
                code="input.rows",
            )
        if self.schema is None:
            return {n: _foreign(g, columns[n]) for n, g in self._inputs.items()}
        given = {f.name: _column(f, columns[f.name]) for f in self.schema.features}
        if self.schema.layout == "columns":
            return {name: values.reshape(-1, 1) for name, values in given.items()}
        return {next(iter(self._inputs)): np.stack(list(given.values()), axis=1)}

    def _feed_matrix(self, matrix: Array) -> dict[str, Array]:
        if self.schema is not None:
            names = [f.name for f in self.schema.features]
            if matrix.ndim != 2 or matrix.shape[1] != len(names):
                raise Usage(
                    f"the input has shape {matrix.shape}, not rows × {len(names)}",
                    code="input.shape",
                )
            return self._feed({name: matrix[:, i] for i, name in enumerate(names)})
        if len(self._inputs) != 1:
            raise Usage(
                f"the model has {len(self._inputs)} inputs, and one matrix was given",
                remedy=f"give the columns {self.features!r}",
                code="input.columns",
            )
        return self._feed({next(iter(self._inputs)): matrix})


def _column(feature: Feature, values: Sequence[Any] | Array) -> Array:
    """One column as the graph takes it: float32, or strings; `Usage` for anything else."""
    array = _array(feature.name, values, object if feature.dtype == "string" else None)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise _mistyped(feature.name, "one value for each row", "rows of several values")
    return _numbers(feature, array) if feature.dtype == "float" else _strings(feature, array)


def _array(name: str, values: Sequence[Any] | Array, dtype: type | None) -> Array:
    try:
        return np.asarray(values, dtype=dtype)
    except (ValueError, TypeError, OverflowError) as error:  # Lists of different lengths in it.
        raise _mistyped(name, "one value for each row", "rows of different lengths") from error


def _numbers(feature: Feature, array: Array) -> Array:
    if array.dtype.kind == "O":
        for value in array:
            if value is not None and not isinstance(value, (int, float, np.number, np.bool_)):
                raise _mistyped(feature.name, "numbers", type(value).__name__)
        try:
            array = np.array([np.nan if v is None else v for v in array], dtype=np.float64)
        except OverflowError:
            array = np.array([np.inf])
    elif array.dtype.kind not in "fiub":
        raise _mistyped(feature.name, "numbers", "text" if array.dtype.kind in "US" else "others")
    with np.errstate(over="ignore"):
        narrow = array.astype(np.float32)
    if np.isinf(narrow).any():
        raise Usage(
            f"column {feature.name!r} holds an infinity or a number beyond float32",
            code="input.range",
        )
    if not feature.nullable and np.isnan(narrow).any():
        raise _missing(feature.name)
    return narrow


def _strings(feature: Feature, array: Array) -> Array:
    text: list[str] = []
    for value in array:
        if value is None or (isinstance(value, float) and np.isnan(value)):
            if not feature.nullable:
                raise _missing(feature.name)
            text.append(schemas.MISSING)
        elif isinstance(value, str):
            text.append(value)
        else:
            raise _mistyped(feature.name, "strings", type(value).__name__)
    if feature.categories is not None:
        unknown = set(text) - set(feature.categories)
        if feature.nullable:
            unknown.discard(schemas.MISSING)
        if unknown:
            raise Usage(
                f"column {feature.name!r} holds {min(unknown)[:80]!r}, a category that the model "
                "was not trained on and refuses",
                remedy="map it to a known category, or train with handle_unknown='ignore'",
                code="input.category",
            )
    return np.array(text, dtype=object)


def _foreign(given: TensorInfo, values: Sequence[Any] | Array) -> Array:
    """The value of an input of a graph that assay did not convert."""
    wanted = _DTYPES.get(given.dtype)
    if wanted is None:
        raise Usage(f"input {given.name!r} has the type {given.dtype}", code="input.type")
    array = _array(given.name, values, None)
    kinds = {"float": "fiub", "double": "fiub", "int64": "iu", "int32": "iu", "bool": "b"}
    if array.dtype.kind not in kinds.get(given.dtype, "U"):
        raise _mistyped(given.name, given.dtype, str(array.dtype))
    shape = given.shape
    if shape is not None and len(shape) == 2 and array.ndim == 1 and shape[1] in (1, None):
        array = array.reshape(-1, 1)
    if shape is not None and (
        array.ndim != len(shape)
        or any(s is not None and s != a for s, a in zip(shape[1:], array.shape[1:], strict=True))
    ):
        raise Usage(
            f"input {given.name!r} has shape {array.shape}, the model takes {shape}",
            code="input.shape",
        )
    if given.dtype == "string":
        return array.astype(object)
    with np.errstate(over="ignore"):
        narrow = array.astype(wanted)
    if array.dtype.kind in "iuf" and array.size:
        lost = narrow.dtype.kind == "i" and (narrow != array).any()
        if lost or (np.isinf(narrow) & ~np.isinf(array)).any():
            raise Usage(f"input {given.name!r} is beyond {given.dtype}", code="input.range")
    return narrow


def _outputs(outputs: list[TensorInfo]) -> tuple[str | None, str | None]:
    """The names of the label output and of the score output; one may be None."""
    labels = [o.name for o in outputs if o.dtype in ("int64", "int32", "string")]
    scores = [o.name for o in outputs if o.dtype in ("float", "double")]
    if any(o.dtype == "sequence_type" for o in outputs):
        raise Usage(
            "the model answers with a list of maps",
            remedy="export it with the option zipmap=False",
            code="onnx.outputs",
        )
    if len(labels) > 1 or len(scores) > 1 or not (labels or scores):
        raise Usage(
            "the model's outputs are neither a label with probabilities nor one value",
            remedy="export the graph with these outputs only",
            code="onnx.outputs",
        )
    return (labels or [None])[0], (scores or [None])[0]


def _mistyped(name: str, wanted: str, found: str) -> Usage:
    return Usage(
        f"column {name!r} takes {wanted}, not {found}",
        remedy="convert the column before asking",
        code="input.type",
    )


def _missing(name: str) -> Usage:
    return Usage(
        f"column {name!r} has a missing value, which the model refuses",
        remedy="fill it, or train with an imputer",
        code="input.missing",
    )


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
