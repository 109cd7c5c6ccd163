"""Turn a library's model into ONNX, with what is needed to measure parity.

`convert` is a pure function from bytes to bytes, made to be called in a confined process: it reads
the one file that the request names and writes nothing.  Loading the original may run code that the
file brings, so everything in the answer is a claim of that code, except that the caller holds the
answer's bytes: inspect the graph, scan it, and measure parity in another process
(`assay.formats.parity.measure`) before trusting it.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np

from assay.errors import AssayError, Usage
from assay.formats import probes
from assay.formats import schema as schemas
from assay.formats.graphs import MATRIX, build
from assay.formats.originals import Original, adapt, parts
from assay.formats.schema import Column, Feature, Kind, ModelSchema

Case = Literal["sample", "missing", "unseen_category", "float32_edges", "rounding"]


class ConvertRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A model file, its detected format, and a sample of rows like those it was trained on.

    The sample has the model's features by name (others are ignored) and 1 to 2,000 rows are used.
    """

    format: Literal["assay/convert-request/v1"]
    path: str
    model_format: str
    columns: list[Column]


class Converted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The ONNX model, and the rows to compare it on with what the original answered.

    original
        Rows × classes probabilities (rows × 1 values of a regressor), as the original gave them.
    cases
        Which kind of probe each row is.
    refused
        Inputs that the original raised for, as ``case:column``: the schema in the ONNX model makes
        the `Predictor` refuse them too, so there is nothing to compare.
    """

    format: Literal["assay/converted/v1"]
    onnx: bytes
    kind: Kind
    classes: list[int | str]
    features: list[Feature]
    columns: list[Column]
    cases: list[Case]
    original: list[list[float]]
    refused: list[str]
    libraries: dict[str, str]


def encode_request(path: Path, model_format: str, columns: Sequence[Column]) -> bytes:
    """The payload of `convert`."""
    return msgspec.msgpack.encode(
        ConvertRequest("assay/convert-request/v1", str(path), model_format, list(columns))
    )


def decode_converted(data: bytes) -> Converted:
    """The answer of `convert`; `Usage` when it is not one, or contradicts itself."""
    try:
        converted = msgspec.msgpack.decode(data, type=Converted)
    except (msgspec.DecodeError, RecursionError) as error:
        raise Usage(f"not the answer of a conversion ({error})", code="convert.answer") from error
    rows = len(converted.cases)
    widths = {len(row) for row in converted.original}
    if (
        not rows
        or len(converted.original) != rows
        or any(len(column.values) != rows for column in converted.columns)
        or widths != {max(1, len(converted.classes))}
        or "sample" not in converted.cases
    ):
        raise Usage("the answer of the conversion contradicts itself", code="convert.answer")
    return converted


def convert(payload: bytes) -> bytes:
    """`Converted`, in MessagePack, for a `ConvertRequest` in MessagePack.

    Raises `Usage` (``convert.*``) naming why a model cannot become ONNX and the route to take.
    """
    from assay.formats.loaders import load

    try:
        request = msgspec.msgpack.decode(payload, type=ConvertRequest)
    except (msgspec.DecodeError, RecursionError) as error:
        raise Usage(f"not a conversion request ({error})", code="convert.request") from error
    _check_sample(request.columns)
    original = adapt(load(Path(request.path), request.model_format), request.columns)
    given = {column.name: column for column in request.columns}
    columns = [given[name] for name in original.names]
    schema, sample, refused = _learn(original, columns)
    model = build(original, schema)
    rows, cases = sample, ["sample"] * len(sample[0].values)
    for case, probe in _probe(schema, sample, model):
        if probe[0].values:
            rows = probes.joined(rows, probe)
            cases += [case] * len(probe[0].values)
    entry = model.metadata_props.add()
    entry.key, entry.value = schemas.METADATA_KEY, schemas.encode(schema)
    scores = original.scores(rows)
    return msgspec.msgpack.encode(
        {
            "format": "assay/converted/v1",
            "onnx": model.SerializeToString(deterministic=True),
            "kind": schema.kind,
            "classes": schema.classes,
            "features": schema.features,
            "columns": rows,
            "cases": cases,
            "original": scores.tolist(),
            "refused": refused,
            "libraries": _libraries(original.model),
        }
    )


def _check_sample(columns: list[Column]) -> None:
    lengths = {len(column.values) for column in columns}
    if len(lengths) != 1 or 0 in lengths:
        raise Usage(
            "the sample has no rows, or columns of different lengths", code="convert.sample"
        )
    if len({column.name for column in columns}) != len(columns):
        raise Usage("the sample names a column twice", code="convert.sample")
    for column in columns:
        wanted = float if column.dtype == "float" else str
        if not all(value is None or isinstance(value, wanted) for value in column.values):
            raise Usage(
                f"column {column.name!r} of the sample does not hold {column.dtype}s only",
                code="convert.sample",
            )


def _learn(
    original: Original, columns: list[Column]
) -> tuple[ModelSchema, list[Column], list[str]]:
    """What the original accepts: the schema, the sample rows it scores, and what it refused."""
    complete = _scorable(original, columns)
    refused: list[str] = []
    features: list[Feature] = []
    for column in columns:
        nullable = original.accepts(probes.missing(complete, column.name))
        if not nullable:
            refused.append(f"missing:{column.name}")
        categories = None
        if column.dtype == "string" and not original.accepts(probes.unseen(complete, column.name)):
            refused.append(f"unseen_category:{column.name}")
            categories = _categories(original, column)
        features.append(Feature(column.name, column.dtype, nullable, categories))
    layout: Any = "columns" if original.by_name else "matrix"
    schema = ModelSchema(schemas.FORMAT, original.kind, layout, features, original.classes)
    strict = {f.name: f for f in features if not f.nullable or f.categories is not None}
    keep = [
        row
        for row in range(len(columns[0].values))
        if all(_allowed(strict[c.name], c.values[row]) for c in columns if c.name in strict)
    ]
    sample = probes.rows_where(columns, keep[: probes.SAMPLE_ROWS])
    if not keep or not original.accepts(sample):
        raise _unscorable(original, sample if keep else columns)
    return schema, sample, refused


def _allowed(feature: Feature, value: float | str | None) -> bool:
    if value is None:
        return feature.nullable
    return feature.categories is None or value in feature.categories


def _scorable(original: Original, columns: list[Column]) -> list[Column]:
    """Sample rows that the original scores, preferably complete ones, to build probes from."""
    rows = range(min(len(columns[0].values), probes.SAMPLE_ROWS))
    complete = [row for row in rows if all(c.values[row] is not None for c in columns)]
    for keep in (complete, list(rows)):
        some = probes.rows_where(columns, keep[:200])
        if keep and original.accepts(some):
            return some
    one_by_one = [r for r in list(rows)[:100] if original.accepts(probes.rows_where(columns, [r]))]
    if not one_by_one:
        raise _unscorable(original, columns)
    return probes.rows_where(columns, one_by_one)


def _unscorable(original: Original, columns: list[Column]) -> Usage:
    try:
        original.scores(columns)
        why = "it refuses every row"
    except AssayError:
        raise  # It says itself what is missing: a library, say.
    except Exception as error:  # What a model raises is up to its library.
        why = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:200]}"
    return Usage(
        f"the original model cannot score the sample ({why})",
        remedy="give rows like those it was trained on, columns named and typed alike",
        code="convert.sample",
    )


def _categories(original: Original, column: Column) -> list[str]:
    """The categories of a column that refuses others: as its encoder lists them, if found."""
    for part in parts(original.model):
        for names, encoder in _encoders(part):
            if column.name in names and len(encoder.categories_) == len(names):
                known = encoder.categories_[names.index(column.name)]
                return sorted(value for value in known.tolist() if isinstance(value, str))
    seen = sorted({value for value in column.values if isinstance(value, str)})
    return [
        value for value in seen if original.accepts(probes.changed([column], column.name, [value]))
    ]


def _encoders(part: Any) -> list[tuple[list[str], Any]]:
    """Each encoder of a ``ColumnTransformer`` with the names of its columns."""
    found: list[tuple[list[str], Any]] = []
    for _, transformer, names in getattr(part, "transformers_", ()):
        if not isinstance(names, (list, np.ndarray)):
            continue
        steps = [step for _, step in getattr(transformer, "steps", [("", transformer)])]
        found += [([str(n) for n in names], step) for step in steps if hasattr(step, "categories_")]
    return found


def _probe(
    schema: ModelSchema, sample: list[Column], model: Any
) -> list[tuple[Case, list[Column]]]:
    found: list[tuple[Case, list[Column]]] = []
    for feature in schema.features:
        if feature.nullable:
            found.append(("missing", probes.missing(sample, feature.name)))
        if feature.dtype == "string" and feature.categories is None:
            found.append(("unseen_category", probes.unseen(sample, feature.name)))
        if feature.dtype == "float":
            found.append(("float32_edges", probes.float32_edges(sample, feature.name)))
            found.append(("rounding", probes.rounding(sample, feature.name)))
    thresholds = _thresholds(schema, model)
    for probe in probes.splits(sample, thresholds):
        found.append(("float32_edges", probe))
    for probe in probes.split_cells(sample, thresholds):
        found.append(("rounding", probe))
    return found


def _thresholds(schema: ModelSchema, model: Any) -> list[tuple[str, float]]:
    """The splits of trees that see the input columns themselves, as (column, threshold)."""
    if schema.layout != "matrix":
        return []
    found: set[tuple[str, float]] = set()
    for node in model.graph.node:
        if node.op_type.startswith("TreeEnsemble") and node.input[0] == MATRIX:
            values = {attribute.name: attribute for attribute in node.attribute}
            if not {"nodes_featureids", "nodes_values", "nodes_modes"} <= values.keys():
                continue
            for index, value, mode in zip(
                values["nodes_featureids"].ints,
                values["nodes_values"].floats,
                values["nodes_modes"].strings,
                strict=True,
            ):
                # A split of missing from present values is at infinity, where no row can be.
                if mode != b"LEAF" and np.isfinite(value):
                    found.add((schema.features[index].name, value))
    return sorted(found)


def _libraries(model: Any) -> dict[str, str]:
    """Versions of what took part, by distribution."""
    roots = {type(part).__module__.partition(".")[0] for part in [model, *parts(model)]}
    named = {"sklearn": "scikit-learn", "xgboost": "xgboost", "lightgbm": "lightgbm"}
    wanted = {named[root] for root in roots if root in named} | {"skl2onnx", "onnx", "onnxmltools"}
    versions: dict[str, str] = {}
    for name in sorted(wanted):
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions
