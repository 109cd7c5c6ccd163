"""TensorFlow's SavedModel: graphs of operators, which run when the model is loaded and used.

Operators that compute are on a list; those that read and write files, call Python or other machines
are on another, and the model is malicious.  Every SavedModel also carries functions that save and
restore its variables: those are harmless only while the path comes from whoever calls them.

Sources: ``saved_model.proto``, ``meta_graph.proto``, ``graph.proto``, ``function.proto``,
``saved_object_graph.proto``, TensorFlow 2.21.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from assay.supply import texts
from assay.supply.findings import Broken
from assay.supply.readers import keras
from assay.supply.readers.lists import load
from assay.supply.readers.part import Part, leaves_folder
from assay.supply.readers.wire import Tables, Values, Walker, begins_as, fields

TABLES: Tables = {
    name: fields(name, row)
    for name, row in {
        "SavedModel": "1 version v, 2 meta_graph MetaGraph",
        "MetaGraph": "1 info b, 2 graph Graph, 3 saver Saver, 4 collection b, 5 signature b, "
        "6 asset Asset, 7 objects Objects",
        "Saver": "1 file s, 2 save s, 3 restore s, 4 max v, 5 sharded v, 6 hours 4, 7 version v",
        "Graph": "1 node Node, 2 library Library, 3 version v, 4 versions b, 5 debug b",
        "Library": "1 function Function, 2 gradient b, 3 registered Registered",
        "Registered": "1 gradient s, 2 op s",
        "Node": "1 name s, 2 op s, 3 input s, 4 device b, 5 attribute Entry, 6 debug b, 7 type b",
        "Entry": "1 key s, 2 value Value",
        "Value": "1 list List, 2 s s, 3 i v, 4 f 4, 5 b v, 6 type v, 7 shape b, 8 tensor b, "
        "9 placeholder b, 10 func Named",
        "List": "2 s b, 3 i n, 4 f n, 5 b n, 6 type n, 7 shape b, 8 tensor b, 9 func Named",
        "Named": "1 name s, 2 attribute Entry",
        "Function": "1 signature Signature, 2 old b, 3 node Node, 4 ret b, 5 attribute b, "
        "6 control b, 7 arguments b, 8 resource b",
        "Signature": "1 name s, 2 input Argument, 3 output b, 4 attribute b, 5 summary b, "
        "6 description b, 8 deprecation b, 16 aggregate v, 17 stateful v, 18 commutative v, "
        "19 uninitialized v, 20 control b, 21 distributed v",
        "Argument": "1 name s, 2 description b, 3 type v, 4 type_attr b, 5 number_attr b, "
        "6 list_attr b, 7 handle b, 16 ref v, 17 full b",
        "Asset": "1 tensor b, 2 filename s",
        "Objects": "1 node Object, 2 concrete b",
        "Object": "1 child b, 2 old b, 3 slots b, 4 user User, 5 asset b, 6 function b, "
        "7 variable b, 8 bare b, 9 constant b, 10 resource b, 11 saveable b, 12 captured b, "
        "13 name b, 14 serialized b, 15 dependency b",
        "User": "1 identifier s, 2 version b, 3 metadata s",
        "KerasMetadata": "1 node KerasNode, 2 version b",
        "KerasNode": "1 old b, 2 id v, 3 path b, 4 identifier s, 5 metadata s, 6 version b",
        "Fingerprint": "1 a v, 2 b v, 3 c v, 4 d v, 5 e v, 6 version b, 7 id s",
    }.items()
}
_CHECKPOINTS = {"SaveV2": (0,), "RestoreV2": (0,), "MergeV2Checkpoints": (0, 1)}
"""Operators that reach the files of a checkpoint, and their inputs that are paths."""
_PASSES = frozenset({"Identity", "ShardedFilename", "StringJoin", "Pack", "Reshape", "ExpandDims"})
_STREAMS = frozenset({"", "stderr", "stdout", "log(info)", "log(warning)", "log(error)"})
_TABLES_OF_FILES = frozenset({"InitializeTableFromTextFile", "InitializeTableFromTextFileV2"})
_DEEPEST = 16


def looks_like_saved_model(part: Part) -> bool:
    """Whether the fields are those of a SavedModel, to the end."""
    seen = begins_as(part.buffer, part.start, part.end, TABLES["SavedModel"], 1000)
    return 2 in seen and (1 in seen or part.name == "saved_model.pb")


def read(part: Part) -> str:
    """Walk every graph and function; the format."""
    _walk(part, "SavedModel")
    return "savedmodel"


def read_beside(part: Part) -> str | None:
    """The two small files beside a SavedModel; None for any other."""
    if part.name == "keras_metadata.pb":
        _walk(part, "KerasMetadata")
        return "keras-metadata"
    if part.name == "fingerprint.pb":
        _walk(part, "Fingerprint")
        return "fingerprint"
    return None


def _walk(part: Part, message: str) -> None:
    graphs = _Graphs(part)
    Walker(part.buffer, TABLES, "tensorflow", graphs.visit).walk(part.start, part.end, message)


@dataclass(slots=True)
class _Node:
    name: str
    operator: str
    inputs: list[str]
    functions: list[str]
    stream: str


class _Graphs:
    """What the messages of a SavedModel said, checked graph by graph."""

    def __init__(self, part: Part) -> None:
        self._part = part
        self._told: set[str] = set()
        self._savers: set[str] = set()
        self._bodies: list[tuple[str, list[_Node]]] = []
        self._assets = False

    def visit(self, message: str, values: Values, position: int) -> Any:
        match message:
            case "Named":
                inner = [named for _, (named, _) in values.get("attribute", [])]
                return [*values.get("name", []), *_flat(inner)]
            case "List":
                return _flat(values.get("func", []))
            case "Value":
                functions = [*_flat(values.get("func", [])), *_flat(values.get("list", []))]
                return functions, values.get("s", [""])[-1]
            case "Entry":
                return values.get("key", [""])[-1], values.get("value", [([], "")])[-1]
            case "Node":
                return self._node(values)
            case "Signature":
                return values.get("name", [""])[-1]
            case "Function":
                name = values.get("signature", [""])[-1]
                self._bodies.append((name, values.get("node", [])))
            case "Asset":
                self._assets = True
                for name in values.get("filename", []):
                    if leaves_folder(name):
                        self._find("path", "malicious", f"an asset is the file {name[:100]!r}")
            case "User" | "KerasNode":
                for text in values.get("metadata", []):
                    self._metadata(text, position)
            case "Graph":
                self._bodies.append(("", values.get("node", [])))
            case "SavedModel":
                self._finish()
            case _:
                pass
        return position

    def _find(self, rule: str, severity: Any, what: str) -> None:
        if what not in self._told and len(self._told) < 1000:
            self._told.add(what)
            self._part.find(f"tensorflow.{rule}", severity, what)

    def _metadata(self, text: str, position: int) -> None:
        """Keras keeps the configuration of each layer here, as JSON."""
        if not text.startswith("{"):
            return
        try:
            keras.check(self._part, texts.read_json(text.encode(), position))
        except Broken:
            self._find("metadata", "unscannable", "the metadata of a layer is not strict JSON")

    def _node(self, values: Values) -> _Node:
        functions: list[str] = []
        stream = ""
        for key, (named, text) in values.get("attribute", []):
            functions += named
            if key == "output_stream":
                stream = text
        lists = load("tensorflow_operators")
        for operator in values.get("op", [""]):
            if operator in lists["reaches"]:
                what = f"uses {operator}, which reaches files, Python or other machines"
                self._find("operator", "malicious", what)
            elif operator == "PrintV2":
                if stream not in _STREAMS:
                    self._find("operator", "malicious", f"prints to {stream[:100]!r}")
            elif (
                operator not in lists["computes"]
                and operator not in _CHECKPOINTS
                and operator not in _TABLES_OF_FILES
            ):
                what = f"uses {operator[:80]!r}, which is not on the list of operators"
                self._find("operator", "suspicious", what)
        if len(values.get("op", [])) > 1 or len(values.get("name", [])) > 1:
            self._find("graph", "unscannable", "a node has two names or two operators")
        name, operator = values.get("name", [""])[-1], values.get("op", [""])[-1]
        return _Node(name, operator, values.get("input", []), functions, stream)

    def _finish(self) -> None:
        for name, nodes in self._bodies:
            if any(node.operator in _CHECKPOINTS for node in nodes):
                self._savers.add(name)
        for name, nodes in self._bodies:
            self._check_paths(name, {node.name: node for node in nodes}, nodes)

    def _check_paths(self, graph: str, by_name: dict[str, _Node], nodes: list[_Node]) -> None:
        for node in nodes:
            for place in _CHECKPOINTS.get(node.operator, ()):
                if not self._is_given(graph, by_name, node.inputs[place : place + 1], 0):
                    what = f"{node.operator} reaches a file that the model itself names"
                    self._find("path", "malicious", what)
            given = not graph and self._is_given(graph, by_name, node.inputs[:1], 0)
            if self._savers.intersection(node.functions) and not given:
                what = f"{node.name[:80]!r} saves or restores a file that the model names"
                self._find("path", "malicious", what)
            if node.operator in _TABLES_OF_FILES and not self._assets:
                self._find("path", "suspicious", "a table is read from a file that is no asset")

    def _is_given(
        self, graph: str, by_name: dict[str, _Node], inputs: list[str], depth: int
    ) -> bool:
        """Whether a path is an argument of its function, or a placeholder of the graph."""
        if not inputs or depth > _DEEPEST:
            return False
        name = re.sub(r":.*", "", inputs[0]).removeprefix("^")
        node = by_name.get(name)
        if node is None:
            return bool(graph)
        if node.operator == "Placeholder":
            return True
        return node.operator in _PASSES and self._is_given(graph, by_name, node.inputs, depth + 1)


def _flat(lists: list[Any]) -> list[str]:
    return [item for inner in lists for item in (inner if isinstance(inner, list) else [])]
