"""ONNX models: what is in the graph, and running it.

`inspect` reads; `check` refuses what could reach outside the file or outside the standard (external
data, other operator domains, functions, training).  `Predictor` runs a checked model under ONNX
Runtime and is strict about what it is fed: a missing, extra or mistyped column is the caller's
mistake, never a guess.  Run a model from elsewhere in a confined process: both the parser and the
runtime are large native libraries.

Source: https://github.com/onnx/onnx/blob/main/docs/IR.md and ``onnx/onnx.proto``.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import onnx
from google.protobuf.message import DecodeError

from assay import files
from assay.errors import Usage
from assay.formats import schema as schemas
from assay.formats.detect import detect_stream

LIMIT = 1 << 30
"""Bytes of a model; protocol buffers end at 2 GiB."""
NODE_LIMIT = 1_000_000
DEPTH_LIMIT = 16
"""Graphs inside graphs (``If``, ``Loop``, ``Scan``)."""
STANDARD_DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml"})

_ROUTE = "register the original model, which is converted, or export it to standard ONNX"


class TensorInfo(msgspec.Struct, frozen=True):
    """A graph input or output: its element type (``float``, ``int64``, ``string``, ...) and shape.

    A dimension that is open is None; `shape` itself is None when the graph does not say.
    """

    name: str
    dtype: str
    shape: list[int | None] | None


class Signature(msgspec.Struct, frozen=True):
    """What a graph takes, gives and is made of; an operator is ``Op`` or ``domain:Op``."""

    inputs: list[TensorInfo]
    outputs: list[TensorInfo]
    operators: list[str]
    opset: dict[str, int]
    external_data: bool
    external_paths: list[str]
    functions: int
    training: bool
    nodes: int
    schema: str
    """The text of the `assay.formats.schema` metadata; empty when there is none."""


def inspect(source: Path | bytes) -> Signature:
    """The signature of a model file or of its bytes.

    Raises `Usage` when it is not ONNX, too large, or nested beyond the limits.
    """
    return signature_of(parse(read_model(source)))


def read_model(source: Path | bytes) -> bytes:
    """The bytes of a model, at most `LIMIT` of them."""
    if isinstance(source, Path):
        with files.open_input(source, what="model") as stream:
            source = stream.read(LIMIT + 1)
    if len(source) > LIMIT:
        raise Usage(f"the model is larger than {LIMIT} bytes", code="onnx.too_large")
    return source


def parse(data: bytes) -> onnx.ModelProto:
    """The protocol buffer; `Usage` when the bytes are not an ONNX model."""
    # The walk is cheap and decides what the native parser is ever shown.
    if detect_stream(io.BytesIO(data), len(data)).format != "onnx":
        raise Usage("not an ONNX model", remedy=_ROUTE, code="onnx.format")
    try:
        return onnx.load_model_from_string(data)
    except (DecodeError, ValueError) as error:
        raise Usage(f"the ONNX model is damaged ({error})", code="onnx.damaged") from error


def signature_of(model: onnx.ModelProto) -> Signature:
    """The signature of a parsed model; `Usage` when it is nested or long beyond the limits."""
    try:
        return _signature_of(model)
    except TypeError as error:  # protobuf gives text that is not UTF-8 as bytes.
        raise Usage("the ONNX model holds names that are not text", code="onnx.damaged") from error


def _signature_of(model: onnx.ModelProto) -> Signature:
    operators: set[str] = set()
    external: list[str] = []
    has_external = False
    nodes = 0
    for graph in _graphs(model.graph, 0):
        nodes += len(graph.node)
        if nodes > NODE_LIMIT:
            raise Usage(f"the graph has more than {NODE_LIMIT} nodes", code="onnx.too_large")
        operators |= {_operator(node) for node in graph.node}
        for tensor in _tensors(graph):
            if tensor.data_location != onnx.TensorProto.DEFAULT or tensor.external_data:
                has_external = True
                external += [
                    str(e.value)[:200] for e in tensor.external_data if e.key == "location"
                ]
    given = {tensor.name for tensor in model.graph.initializer}
    metadata = [p.value for p in model.metadata_props if p.key == schemas.METADATA_KEY]
    if len(metadata) > 1:
        raise Usage("the model's schema metadata occurs twice", code="model.schema")
    return Signature(
        inputs=[_info(value) for value in model.graph.input if value.name not in given],
        outputs=[_info(value) for value in model.graph.output],
        operators=sorted(operators),
        opset={_text(entry.domain): entry.version for entry in model.opset_import},
        external_data=has_external,
        external_paths=external[:100],
        functions=len(model.functions),
        training=bool(model.training_info),
        nodes=nodes,
        schema="".join(metadata),  # Not text: a TypeError too.
    )


def check(signature: Signature) -> None:
    """Refuse what reaches outside the file or the standard; raises `Usage` naming it."""
    for broken, rule, code in violations(signature):
        raise Usage(f"the ONNX model {broken}, {rule}", remedy=_ROUTE, code=code)


def violations(signature: Signature) -> Iterator[tuple[str, str, str]]:
    """What `check` would refuse, as (what the model does, why that is refused, code)."""
    if signature.external_data:
        where = f" ({signature.external_paths[0]!r})" if signature.external_paths else ""
        yield (
            f"keeps tensors in other files{where}",
            "which its digest does not cover",
            "onnx.external_data",
        )
    foreign = sorted(
        {operator for operator in signature.operators if _domain(operator) not in STANDARD_DOMAINS}
        | {domain for domain in signature.opset if domain not in STANDARD_DOMAINS}
    )
    if foreign:
        yield (
            f"uses {foreign[0][:100]!r}",
            "which is outside the ONNX standard and may run code that is not in the file",
            "onnx.custom_operator",
        )
    if signature.functions:
        yield "defines its own functions", "which are not supported", "onnx.functions"
    if signature.training:
        yield "carries training steps", "which serving does not need", "onnx.training"


def _operator(node: onnx.NodeProto) -> str:
    domain, op_type = _text(node.domain), _text(node.op_type)
    return f"{domain}:{op_type}" if domain else op_type


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("a name is not text")
    return value


def _domain(operator: str) -> str:
    return operator.rpartition(":")[0]


def _graphs(graph: onnx.GraphProto, depth: int) -> Iterator[onnx.GraphProto]:
    if depth > DEPTH_LIMIT:
        raise Usage(f"graphs are nested more than {DEPTH_LIMIT} deep", code="onnx.too_deep")
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _graphs(attribute.g, depth + 1)
            for inner in attribute.graphs:
                yield from _graphs(inner, depth + 1)


def _tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
                yield from (sparse.values, sparse.indices)


def _info(value: Any) -> TensorInfo:
    _text(value.name)
    kind = value.type.WhichOneof("value")
    if kind != "tensor_type":
        return TensorInfo(value.name, kind or "unknown", None)
    tensor = value.type.tensor_type
    try:
        name = onnx.TensorProto.DataType.Name(tensor.elem_type).lower()
    except ValueError:
        name = "unknown"
    if not tensor.HasField("shape"):
        return TensorInfo(value.name, name, None)
    shape: list[int | None] = [
        d.dim_value if d.WhichOneof("value") == "dim_value" else None for d in tensor.shape.dim
    ]
    return TensorInfo(value.name, name, shape)
