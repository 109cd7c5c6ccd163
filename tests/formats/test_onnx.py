"""ONNX files: what is read from them, what is refused, and running them strictly."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from assay.errors import AssayError, NotFound, Usage
from assay.formats import schema as schemas
from assay.formats.detect import detect_stream
from assay.formats.onnx_io import check, inspect, violations
from assay.formats.predictor import Predictor
from assay.formats.schema import METADATA_KEY, Feature, ModelSchema

value = helper.make_tensor_value_info


def model(*nodes: Any, inputs: Any = None, outputs: Any = None) -> onnx.ModelProto:
    graph = helper.make_graph(
        list(nodes) or [helper.make_node("Identity", ["x"], ["y"])],
        "g",
        inputs or [value("x", TensorProto.FLOAT, [None, 1])],
        outputs or [value("y", TensorProto.FLOAT, [None, 1])],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    made.ir_version = 8
    return made


def codes(made: onnx.ModelProto) -> list[str]:
    return [code for _, _, code in violations(inspect(made.SerializeToString()))]


def test_a_signature_says_what_a_graph_takes_and_gives(tmp_path: Path) -> None:
    path = tmp_path / "model"
    path.write_bytes(model().SerializeToString())
    found = inspect(path)
    assert found == inspect(path.read_bytes())
    assert [(i.name, i.dtype, i.shape) for i in found.inputs] == [("x", "float", [None, 1])]
    assert [(o.name, o.dtype) for o in found.outputs] == [("y", "float")]
    assert found.operators == ["Identity"]
    assert found.opset == {"": 18}
    check(found)


def external(where: str) -> onnx.ModelProto:
    made = model()
    tensor = made.graph.initializer.add()
    tensor.name, tensor.data_type = "w", TensorProto.FLOAT
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", where
    return made


def inside(made: onnx.ModelProto) -> onnx.ModelProto:
    """The graph of a model as a branch of another's."""
    node = helper.make_node("If", ["x"], ["y"], then_branch=made.graph, else_branch=model().graph)
    return model(node)


def custom(domain: str = "com.example") -> onnx.ModelProto:
    return model(helper.make_node("Identity", ["x"], ["y"], domain=domain))


def test_what_reaches_outside_the_file_or_the_standard_is_refused() -> None:
    assert codes(external("../../etc/passwd")) == ["onnx.external_data"]
    assert codes(inside(external("x"))) == ["onnx.external_data"]
    assert codes(custom()) == ["onnx.custom_operator"]
    assert codes(custom("ai.onnx.preview.training")) == ["onnx.custom_operator"]
    assert codes(inside(custom())) == ["onnx.custom_operator"]
    imported = model()
    imported.opset_import.append(helper.make_opsetid("com.example", 1))
    assert codes(imported) == ["onnx.custom_operator"]
    functions = model()
    functions.functions.add().name = "f"
    assert codes(functions) == ["onnx.functions"]
    training = model()
    training.training_info.add()
    assert codes(training) == ["onnx.training"]


def test_tensors_in_attributes_are_looked_at_too() -> None:
    node = helper.make_node("Constant", [], ["y"])
    for fill in ("t", "tensors", "sparse_tensor", "sparse_tensors"):
        made = model(node)
        attribute = made.graph.node[0].attribute.add()
        attribute.name = fill
        holder = getattr(attribute, fill)
        holder = holder.add() if fill.endswith("s") else holder
        tensor = holder.values if fill.startswith("sparse") else holder
        tensor.data_location = TensorProto.EXTERNAL
        assert codes(made) == ["onnx.external_data"], fill
    sparse = model()
    sparse.graph.sparse_initializer.add().indices.data_location = TensorProto.EXTERNAL
    assert codes(sparse) == ["onnx.external_data"]


def test_a_refusal_names_the_rule_and_the_route() -> None:
    for made in (external("../../etc/passwd"), custom()):
        with pytest.raises(Usage) as caught:
            check(inspect(made.SerializeToString()))
        assert "register the original model" in caught.value.remedy
    with pytest.raises(Usage):
        Predictor(custom().SerializeToString())


def test_graphs_nested_too_deep_are_refused() -> None:
    made = model()
    for _ in range(20):
        made = inside(made)
    with pytest.raises(Usage) as caught:
        inspect(made.SerializeToString())
    assert caught.value.code in ("usage.onnx.too_deep", "usage.onnx.damaged")


def test_what_is_no_onnx_is_refused(tmp_path: Path) -> None:
    whole = model().SerializeToString()
    for data in (b"", b"\x80\x04N.", b"\x08\x07", whole[:-1], whole + b"\0", b"\x08" * 50):
        with pytest.raises(Usage) as caught:
            inspect(data)
        assert caught.value.code in ("usage.onnx.format", "usage.onnx.damaged")
    with pytest.raises(NotFound):
        inspect(tmp_path / "nothing")


@given(st.data())
def test_an_altered_model_is_read_or_refused(data: st.DataObject) -> None:
    raw = bytearray(external("x").SerializeToString())
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        list(violations(inspect(bytes(raw))))
    except AssayError as error:
        assert isinstance(error, Usage)  # noqa: PT017 - either is right


@given(st.binary(max_size=100))
def test_any_bytes_are_walked_without_an_error(data: bytes) -> None:
    assert detect_stream(io.BytesIO(b"\x08\x08" + data), len(data) + 2).why


def test_a_length_beyond_the_file_is_no_onnx() -> None:
    data = b"\x08\x08\x3a" + b"\xff" * 9 + b"\x01"
    assert detect_stream(io.BytesIO(data), len(data)).format == "unknown"
    assert struct.calcsize("<Q") == 8


# Schemas.


def schema(**changes: Any) -> ModelSchema:
    plain: dict[str, Any] = {
        "format": schemas.FORMAT,
        "kind": "regressor",
        "layout": "columns",
        "features": [Feature("x", "float", True)],
        "classes": [],
        **changes,
    }
    return ModelSchema(**plain)


def with_schema(text: str, made: onnx.ModelProto | None = None) -> bytes:
    made = made or model()
    entry = made.metadata_props.add()
    entry.key, entry.value = METADATA_KEY, text
    return made.SerializeToString()


def test_a_schema_survives_its_text() -> None:
    for made in (schema(), schema(features=[Feature("a", "string", False, ["x", "y"])])):
        assert schemas.decode(schemas.encode(made)) == made


@pytest.mark.parametrize(
    "text",
    [
        "", "{}", "[]", "[" * 10_000,
        schemas.encode(schema()).replace("/v1", "/v2"),
        schemas.encode(schema()).replace("{", '{"more":1,', 1),
        schemas.encode(schema(features=[])),
        schemas.encode(schema(features=[Feature("x", "float", True)] * 2)),
        schemas.encode(schema()).replace("float", "double"),
    ],
)  # fmt: skip
def test_a_text_that_is_no_schema_is_refused(text: str) -> None:
    with pytest.raises(Usage) as caught:
        schemas.decode(text)
    assert caught.value.code == "usage.model.schema"


def test_a_schema_given_twice_or_not_fitting_its_graph_is_refused() -> None:
    good = schemas.encode(schema())
    Predictor(with_schema(good))
    twice = model()
    with_schema(good, twice)
    for data in (
        with_schema(good, twice),
        with_schema(schemas.encode(schema(features=[Feature("z", "float", True)]))),
        with_schema(schemas.encode(schema(features=[Feature("x", "string", True)]))),
        with_schema(schemas.encode(schema(layout="matrix", features=[
            Feature("x", "float", True), Feature("y", "float", True)]))),
    ):  # fmt: skip
        with pytest.raises(Usage) as caught:
            Predictor(data)
        assert caught.value.code == "usage.model.schema"


# Running.


def test_a_model_made_elsewhere_takes_its_inputs_by_name_and_type() -> None:
    predictor = Predictor(model().SerializeToString())
    assert predictor.features == ["x"]
    assert predictor.predict({"x": [1.0, 2.0]}).labels.tolist() == [1.0, 2.0]
    assert predictor.predict(np.array([[3.0]])).scores.tolist() == [[3.0]]
    for columns, code in (
        ({"x": ["a"]}, "input.type"),
        ({"x": [1e300]}, "input.range"),
        ({"x": [[1.0, 2.0]]}, "input.shape"),
        ({"x": []}, "input.rows"),
        ({}, "input.columns"),
        ({"z": [1.0]}, "input.columns"),
        ({"x": [1.0], "z": [1.0]}, "input.columns"),
    ):
        with pytest.raises(Usage) as caught:
            predictor.predict(columns)
        assert caught.value.code == f"usage.{code}", columns


def test_whole_numbers_beyond_the_inputs_type_are_refused() -> None:
    for kind, beyond in ((TensorProto.INT32, 1 << 31), (TensorProto.INT64, 1 << 63)):
        node = helper.make_node("Cast", ["x"], ["y"], to=TensorProto.FLOAT)
        made = model(node, inputs=[value("x", kind, [None, 1])])
        predictor = Predictor(made.SerializeToString())
        assert predictor.predict({"x": [3]}).labels.tolist() == [3.0]
        with pytest.raises(Usage) as caught:
            predictor.predict({"x": [beyond]})
        assert caught.value.code == "usage.input.range"


def test_missing_values_are_refused_where_the_original_refused_them() -> None:
    for nullable in (True, False):
        made = schema(features=[Feature("x", "float", nullable)])
        predictor = Predictor(with_schema(schemas.encode(made)))
        for missing in (None, float("nan")):
            if nullable:
                assert np.isnan(predictor.predict({"x": [missing, 1.0]}).labels[0])
            else:
                with pytest.raises(Usage) as caught:
                    predictor.predict({"x": [missing, 1.0]})
                assert caught.value.code == "usage.input.missing"


def texts(**feature: Any) -> Predictor:
    made = model(
        helper.make_node("LabelEncoder", ["x"], ["y"], domain="ai.onnx.ml",
                         keys_strings=["red", "nan"], values_floats=[1.0, 2.0],
                         default_float=-1.0),
        inputs=[value("x", TensorProto.STRING, [None, 1])],
    )  # fmt: skip
    made.opset_import.append(helper.make_opsetid("ai.onnx.ml", 3))
    plain = schema(features=[Feature("x", "string", **feature)])
    return Predictor(with_schema(schemas.encode(plain), made))


def test_categories_are_held_to_those_that_the_original_knew() -> None:
    strict = texts(nullable=False, categories=["red"])
    assert strict.predict({"x": ["red"]}).labels.tolist() == [1.0]
    for given_, code in ((["blue"], "category"), ([None], "missing"), ([1], "type"),
                         (["nan"], "category"), (["\ud800"], "category")):  # fmt: skip
        with pytest.raises(Usage) as caught:
            strict.predict({"x": given_})
        assert caught.value.code == f"usage.input.{code}", given_
    loose = texts(nullable=True)
    assert loose.predict({"x": ["red", None, "blue"]}).labels.tolist() == [1.0, 2.0, -1.0]
    with pytest.raises(Usage):
        loose.predict({"x": ["\ud800"]})


@given(
    st.lists(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3)
        | st.binary(max_size=3) | st.lists(st.none(), max_size=2),
        max_size=5,
    )
)  # fmt: skip
def test_any_column_is_answered_or_refused_as_the_callers_mistake(column: list[Any]) -> None:
    for predictor in (PREDICTOR, FOREIGN):
        answered_or_refused(predictor, column)


PREDICTOR = Predictor(with_schema(schemas.encode(schema())))
FOREIGN = Predictor(model().SerializeToString())


def answered_or_refused(predictor: Predictor, column: list[Any]) -> None:
    try:
        answer = predictor.predict({"x": column})
    except Usage as error:
        assert error.code.startswith("usage.input.")  # noqa: PT017 - either is right
    else:
        assert len(answer.labels) == len(column)


def test_outputs_that_are_no_answer_are_refused() -> None:
    two = [value("y", TensorProto.FLOAT, [None, 1]), value("z", TensorProto.FLOAT, [None, 1])]
    nodes = [helper.make_node("Identity", ["x"], [name]) for name in "yz"]
    with pytest.raises(Usage) as caught:
        Predictor(model(*nodes, outputs=two).SerializeToString())
    assert caught.value.code == "usage.onnx.outputs"


def test_a_model_that_does_not_answer_row_for_row_is_caught() -> None:
    node = helper.make_node("ReduceSum", ["x"], ["y"], keepdims=1)
    predictor = Predictor(model(node).SerializeToString())
    with pytest.raises(AssayError) as caught:
        predictor.predict({"x": [1.0, 2.0]})
    assert caught.value.code == "verification.onnx.rows"
