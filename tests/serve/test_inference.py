"""What runs inside the worker, tried in this process."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from onnx import TensorProto, helper

from assay.errors import Usage, Verification
from assay.serve import inference
from assay.serve.host import believed
from assay.serve.protocol import OPEN, Description, Input, Output, Tensor, decode_answer

F, D = TensorProto.FLOAT, TensorProto.DOUBLE


def digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


class Model:
    def __init__(self, data: bytes) -> None:
        self._handler = inference.load(inference.encode_init(digest(data), data))
        self.described: Description = believed(self._handler(inference.DESCRIBE))

    def ask(self, **columns: list[Any]) -> dict[str, Tensor]:
        raw = self._handler(msgspec.msgpack.encode(columns))
        rows = len(next(iter(columns.values())))
        return {tensor.name: tensor for tensor in decode_answer(raw, self.described.outputs, rows)}


def test_a_classifier_of_numbers_says_labels_and_probabilities(matrix_model: bytes) -> None:
    model = Model(matrix_model)
    assert model.described.inputs == [Input(f"x{i}", "FP32") for i in range(3)]
    assert model.described.outputs == [
        Output("label", "INT64", [OPEN]),
        Output("probabilities", "FP32", [OPEN, 2], [0, 1]),
    ]
    answer = model.ask(x0=[2.0, -2.0], x1=[0.0, 0.0], x2=[0.0, 0.0])
    assert answer["label"].data == [1, 0]
    assert answer["probabilities"].shape == [2, 2]
    assert answer["probabilities"].data[1] > 0.9 < answer["probabilities"].data[2]


def test_a_classifier_of_columns_takes_strings_and_missing_values(columns_model: bytes) -> None:
    model = Model(columns_model)
    assert model.described.inputs == [Input("age", "FP32"), Input("city", "BYTES")]
    assert model.described.outputs == [
        Output("label", "BYTES", [OPEN]),
        Output("probabilities", "FP32", [OPEN, 2], ["no", "yes"]),
    ]
    answer = model.ask(age=[40.0, float("nan")], city=["Bern", "Genève"])
    assert answer["label"].data == ["yes", "no"]


def test_a_regressor_says_one_value_for_each_row(regressor_model: bytes) -> None:
    model = Model(regressor_model)
    assert model.described.outputs == [Output("value", "FP32", [OPEN])]
    answer = model.ask(x=[1.0, 4.0])
    assert answer["value"].data == pytest.approx([2.0, 8.0], abs=1e-4)


@pytest.mark.parametrize(
    ("inputs", "outputs", "nodes", "wanted", "asked", "answered"),
    [
        (
            [("x", F, [None, 1])],
            [("y", F, [None, 1])],
            [("Neg", ["x"], ["y"])],
            [Output("value", "FP32", [OPEN])],
            {"x": [1.0, 2.0]},
            {"value": [-1.0, -2.0]},
        ),
        (
            [("x", F, [None, 3])],
            [("y", F, [None, 3])],
            [("Softmax", ["x"], ["y"])],
            [Output("label", "INT64", [OPEN]), Output("probabilities", "FP32", [OPEN, 3])],
            {"x": [[9.0, 0.0, 0.0], [0.0, 0.0, 9.0]]},
            {"label": [0, 2]},
        ),
        (
            [("x", D, [None, 2])],
            [("y", D, None)],
            [("Neg", ["x"], ["y"])],
            [Output("value", "FP64", [OPEN, OPEN])],
            {"x": [[1.0, 2.0]]},
            {"value": [-1.0, -2.0]},
        ),
        (
            [("s", TensorProto.STRING, [None])],
            [("t", TensorProto.STRING, [None])],
            [("Identity", ["s"], ["t"])],
            [Output("label", "BYTES", [OPEN])],
            {"s": ["a", "b"]},
            {"label": ["a", "b"]},
        ),
        (
            [("a", TensorProto.INT64, [None]), ("b", F, [None, None])],
            [("c", TensorProto.INT64, [None]), ("d", F, [None, None])],
            [("Identity", ["a"], ["c"]), ("Identity", ["b"], ["d"])],
            [Output("label", "INT64", [OPEN]), Output("probabilities", "FP32", [OPEN, OPEN])],
            {"a": [7], "b": [[0.25, 0.75]]},
            {"label": [7], "probabilities": [0.25, 0.75]},
        ),
    ],
)
def test_a_model_made_elsewhere_is_described_by_its_graph(
    foreign_model: Callable[..., bytes],
    inputs: list[Any],
    outputs: list[Any],
    nodes: list[tuple[str, list[str], list[str]]],
    wanted: list[Output],
    asked: dict[str, Any],
    answered: dict[str, list[Any]],
) -> None:
    made = [helper.make_node(*node) for node in nodes]
    model = Model(foreign_model(made, inputs, outputs))
    assert model.described.outputs == wanted
    answer = model.ask(**asked)
    assert {name: answer[name].data for name in answered} == answered


@pytest.mark.parametrize(
    ("kind", "shape"), [(TensorProto.FLOAT16, [None, 1]), (F, [None, 2, 2]), (F, [])]
)
def test_an_input_that_no_row_can_hold_is_refused(
    foreign_model: Callable[..., bytes], kind: int, shape: list[int | None]
) -> None:
    nodes = [helper.make_node("Shape", ["x"], ["y"])]
    data = foreign_model(nodes, [("x", kind, shape)], [("y", TensorProto.INT64, [None])])
    with pytest.raises(Usage) as caught:
        Model(data)
    assert caught.value.code == "usage.serve.input"


def test_a_file_is_read_where_the_model_is_too_large_for_a_message(
    matrix_model: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(matrix_model)
    handler = inference.load(inference.encode_init(digest(matrix_model), path))
    assert handler(inference.DESCRIBE)


def test_other_bytes_than_the_ones_to_be_served_are_refused_before_they_are_parsed(
    matrix_model: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"no model at all")
    for source in (path, b"no model at all"):
        with pytest.raises(Verification) as caught:
            inference.load(inference.encode_init(digest(matrix_model), source))
        assert caught.value.code == "verification.serve.digest"


@pytest.mark.parametrize(
    "init",
    [
        b"",
        b"\xff",
        msgspec.msgpack.encode({"format": "assay/serve-init/v2", "digest": "", "model": b""}),
        msgspec.msgpack.encode({"format": inference.FORMAT, "digest": ""}),
        msgspec.msgpack.encode(
            {"format": inference.FORMAT, "digest": "", "model": b"", "path": "/etc/passwd"}
        ),
    ],
)
def test_what_is_no_start_is_refused(init: bytes) -> None:
    with pytest.raises(Usage) as caught:
        inference.load(init)
    assert caught.value.code == "usage.serve.init"


@pytest.mark.parametrize("request_", [b"", b"\xc1", msgspec.msgpack.encode([1]), b"\x91" * 9999])
def test_a_request_that_is_no_mapping_of_columns_is_refused(
    matrix_model: bytes, request_: bytes
) -> None:
    handler = inference.load(inference.encode_init(digest(matrix_model), matrix_model))
    with pytest.raises(Usage) as caught:
        handler(request_)
    assert caught.value.code == "usage.serve.request"


X, Y = {"name": "x", "datatype": "FP32"}, {"name": "y", "datatype": "FP32", "shape": [-1]}


@pytest.mark.parametrize(
    "said",
    [
        None,
        {"inputs": [X]},
        {"inputs": [], "outputs": [Y]},
        {"inputs": [X], "outputs": []},
        {"inputs": [X, X], "outputs": [Y]},
        {"inputs": [X], "outputs": [Y, Y]},
        {"inputs": [{**X, "name": ""}], "outputs": [Y]},
        {"inputs": [{**X, "name": "x" * 9999}], "outputs": [Y]},
        {"inputs": [{**X, "datatype": "<script>"}], "outputs": [Y]},
        {"inputs": [{**X, "width": 0}], "outputs": [Y]},
        {"inputs": [{**X, "width": -2}], "outputs": [Y]},
        {"inputs": [{**X, "width": 1 << 40}], "outputs": [Y]},
        {"inputs": [X], "outputs": [{**Y, "shape": []}]},
        {"inputs": [X], "outputs": [{**Y, "shape": [3]}]},
        {"inputs": [X], "outputs": [{**Y, "shape": [-1, -5]}]},
        {"inputs": [X], "outputs": [{**Y, "shape": [-1, 1, 1]}]},
        {"inputs": [X], "outputs": [Y], "more": 1},
    ],
)
def test_a_description_that_contradicts_itself_is_not_believed(said: Any) -> None:
    with pytest.raises(Verification):
        believed(msgspec.msgpack.encode(said))


def test_the_metadata_of_a_description_is_json(columns_model: bytes) -> None:
    told = json.loads(msgspec.json.encode(Model(columns_model).described))
    assert told["outputs"][1]["classes"] == ["no", "yes"]
