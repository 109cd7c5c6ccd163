"""ONNX models: operators, and what reaches outside the file, read from the protocol buffer.

Tensors are numbers and are stepped over.  The operators of the standard and of ONNX Runtime's own
domain compute; any other domain runs native code that is not in the file.

Source: ``onnx/onnx.proto``, ONNX 1.23 (IR version 13).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from assay.supply.readers.part import Part, leaves_folder
from assay.supply.readers.wire import Tables, Values, Walker, begins_as, fields

_DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml", "ai.onnx.preview"})
_RUNTIME = frozenset({"com.microsoft", "com.microsoft.nchwc", "com.ms.internal.nhwc"})
_RUNTIME_FILES = frozenset(
    {"EPContext", "PythonOp", "PythonOpGrad", "ATen", "TritonOp", "Snpe", "OpenVINO"}
)
"""Operators of ONNX Runtime that read a file beside the model, or run what is not in its list."""

TABLES: Tables = {
    name: fields(name, row)
    for name, row in {
        "Model": "1 ir v, 2 producer b, 3 producer_version b, 4 domain b, 5 version v, 6 doc b, "
        "7 graph Graph, 8 opset Opset, 14 metadata b, 20 training Training, 25 function Function, "
        "26 configuration b",
        "Graph": "1 node Node, 2 name b, 5 initializer Tensor, 10 doc b, 11 input b, 12 output b, "
        "13 value_info b, 14 quantization b, 15 sparse Sparse, 16 metadata b",
        "Node": "1 input b, 2 output b, 3 name b, 4 op s, 5 attribute Attribute, 6 doc b, "
        "7 domain s, 8 overload b, 9 metadata b, 10 device b",
        "Attribute": "1 name b, 2 f 4, 3 i v, 4 s b, 5 t Tensor, 6 g Graph, 7 floats n, 8 ints n, "
        "9 strings b, 10 tensors Tensor, 11 graphs Graph, 13 doc b, 14 type_proto b, "
        "15 type_protos b, 20 type v, 21 ref b, 22 sparse Sparse, 23 sparses Sparse",
        "Tensor": "1 dims n, 2 type v, 3 segment b, 4 float n, 5 int32 n, 6 string b, 7 int64 n, "
        "8 name b, 9 raw b, 10 double n, 11 uint64 n, 12 doc b, 13 external External, "
        "14 location v, 16 metadata b",
        "External": "1 key s, 2 value s",
        "Sparse": "1 values Tensor, 2 indices Tensor, 3 dims n",
        "Opset": "1 domain s, 2 version v",
        "Training": "1 initialization Graph, 2 algorithm Graph, 3 binding b, 4 update b",
        "Function": "1 name s, 4 input b, 5 output b, 6 attribute b, 7 node Node, 8 doc b, "
        "9 opset Opset, 10 domain s, 11 attribute_proto Attribute, 12 value_info b, "
        "13 overload b, 14 metadata b",
    }.items()
}


def looks_like_onnx(part: Part) -> bool:
    """Whether the fields are those of a model, to the end, a version and a graph among them."""
    return {1, 7} <= begins_as(part.buffer, part.start, part.end, TABLES["Model"], 10_000)


def read(part: Part) -> str:
    """Walk the model; the format."""
    seen = _Seen()
    Walker(part.buffer, TABLES, "onnx", seen.visit).walk(part.start, part.end, "Model")
    for rule, severity, what in seen.wrong():
        part.report.add(rule, severity, part.where, 0, what)
    return "onnx"


class _Seen:
    """What the messages of a model said."""

    def __init__(self) -> None:
        self._operators: dict[tuple[str, str], None] = {}
        self._domains: set[str] = set()
        self._functions: set[tuple[str, str]] = set()
        self._external = False
        self._paths: list[str] = []
        self._training = False

    def visit(self, message: str, values: Values, position: int) -> Any:
        match message:
            case "Node":
                for operator in values.get("op", [""]):
                    for domain in values.get("domain", [""]):
                        self._operators[domain, operator] = None
            case "Opset":
                self._domains.update(values.get("domain", []))
            case "Function":
                for name in values.get("name", [""]):
                    for domain in values.get("domain", [""]):
                        self._functions.add((domain, name))
            case "Tensor" if values.get("external") or any(values.get("location", [])):
                self._external = True
                self._paths += values.get("external", [])
            case "External":
                if "location" in values.get("key", []):
                    return "".join(values.get("value", []))[:200]
                return ""
            case "Training":
                self._training = True
            case _:
                pass
        return position

    def wrong(self) -> Iterator[tuple[str, Any, str]]:
        """What is wrong with the model: rule, severity, words."""
        if self._external:
            named = next((path for path in self._paths if path), "")
            out = any(leaves_folder(path) for path in self._paths)
            severity = "malicious" if out else "suspicious"
            yield "onnx.external_data", severity, f"the model keeps tensors in the file {named!r}"
        known = _DOMAINS | _RUNTIME
        for domain, operator in self._operators:
            foreign = domain not in known and (domain, operator) not in self._functions
            if foreign or (domain in _RUNTIME and operator in _RUNTIME_FILES):
                what = f"the model uses {domain[:60]}:{operator[:60]}, which is not of the standard"
                yield "onnx.custom_operator", "suspicious", what
                break
        else:
            unknown = self._domains - known - {domain for domain, _ in self._functions}
            if unknown:
                what = f"the model imports the domain {min(unknown)[:60]!r}"
                yield "onnx.custom_operator", "suspicious", what
        if any(domain in known for domain, _ in self._functions):
            yield "onnx.functions", "suspicious", "the model defines operators of the standard anew"
        if self._training:
            yield "onnx.training", "suspicious", "the model carries training steps"
