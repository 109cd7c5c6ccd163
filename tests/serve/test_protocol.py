"""Requests and answers of the Open Inference Protocol, parsed strictly."""

from __future__ import annotations

import json
import math
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from assay.errors import Usage, Verification
from assay.serve import protocol
from assay.serve.protocol import OPEN, Input, Output, Tensor

NUMBER = [Input("x", "FP32")]
TEXT = [Input("x", "BYTES")]
MIXED = [Input("x", "FP32"), Input("s", "BYTES"), Input("m", "FP64", 2), Input("i", "INT32")]


def body(**changes: Any) -> bytes:
    tensor = {"name": "x", "shape": [2], "datatype": "FP32", "data": [1.5, 2], **changes}
    return json.dumps({"inputs": [tensor]}).encode()


def columns(raw: bytes, signature: list[Input] = NUMBER) -> dict[str, list[Any]]:
    return protocol.columns(protocol.parse(raw), signature)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"shape": [2, 1]},
        {"shape": [2, 1], "data": [[1.5], [2]]},
        {"datatype": "FP64"},
        {"datatype": "FP16"},
    ],
)
def test_flat_and_nested_numbers_become_a_column(changes: dict[str, Any]) -> None:
    assert columns(body(**changes)) == {"x": [1.5, 2.0]}


def test_whole_numbers_and_booleans_become_numbers_where_they_were_declared() -> None:
    assert columns(body(datatype="INT8", data=[-128, 127])) == {"x": [-128.0, 127.0]}
    assert columns(body(datatype="UINT64", data=[0, (1 << 64) - 1]))["x"][1] == float(1 << 64)
    assert columns(body(datatype="BOOL", data=[True, False])) == {"x": [1.0, 0.0]}
    assert all(
        type(value) is float for value in columns(body(datatype="BOOL", data=[True, False]))["x"]
    )


def test_null_is_a_missing_value() -> None:
    first, second = columns(body(data=[None, 1]))["x"]
    assert math.isnan(first)
    assert second == 1.0
    assert columns(body(datatype="BYTES", data=["a", None]), TEXT) == {"x": ["a", None]}


def test_rows_of_several_values_stay_rows() -> None:
    wide = [Input("x", "FP32", 2)]
    for data in ([1, 2, 3, 4], [[1, 2], [3, 4]]):
        assert columns(body(shape=[2, 2], data=data), wide) == {"x": [[1.0, 2.0], [3.0, 4.0]]}
    free = [Input("x", "FP32", OPEN)]
    assert columns(body(shape=[2, 2], data=[1, 2, 3, 4]), free) == {"x": [[1.0, 2.0], [3.0, 4.0]]}
    assert columns(body(), free) == {"x": [1.5, 2.0]}


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"datatype": "BOOL", "data": [1, 0]}, "value"),
        ({"data": [True, False]}, "value"),
        ({"datatype": "INT64", "data": [True, 1]}, "value"),
        ({"datatype": "INT64", "data": [1.0, 2.0]}, "value"),
        ({"data": ["1", "2"]}, "value"),
        ({"data": [{"a": 1}, 2]}, "value"),
        ({"data": [1, [2]]}, "value"),
        ({"datatype": "BYTES", "data": ["a", "b"]}, "datatype"),
        ({"datatype": "FP128"}, "datatype"),
        ({"datatype": "fp32"}, "datatype"),
        ({"datatype": ""}, "datatype"),
        ({"datatype": "INT8", "data": [128, 0]}, "range"),
        ({"datatype": "UINT8", "data": [-1, 0]}, "range"),
        ({"datatype": "INT64", "data": [1 << 63, 0]}, "range"),
        ({"data": [10**400, 0]}, "range"),
        ({"data": [-(10**400), 0]}, "range"),
        ({"shape": []}, "rows"),
        ({"shape": [0], "data": []}, "rows"),
        ({"shape": [-2]}, "rows"),
        ({"shape": [protocol.MAX_ROWS + 1]}, "rows"),
        ({"shape": [10**30]}, "rows"),
        ({"shape": [1, 2]}, "shape"),
        ({"shape": [2, 1, 1]}, "shape"),
        ({"shape": [2, 0], "data": []}, "shape"),
        ({"shape": [2, -1]}, "shape"),
        ({"shape": [2, 10**30]}, "shape"),
        ({"shape": [2, *[10**300] * 50]}, "shape"),
        ({"data": [1]}, "data"),
        ({"data": [1, 2, 3]}, "data"),
        ({"data": []}, "data"),
        ({"data": [[1], 2]}, "data"),
        ({"data": [[1], [2]]}, "data"),
        ({"shape": [2, 1], "data": [[1, 2], []]}, "data"),
        ({"shape": [2, 1], "data": [[[1]], [[2]]]}, "value"),
        ({"name": "y"}, "inputs"),
    ],
)
def test_what_does_not_fit_is_refused(changes: dict[str, Any], code: str) -> None:
    with pytest.raises(Usage) as caught:
        columns(body(**changes))
    assert caught.value.code == f"usage.request.{code}"
    assert len(caught.value.message) < 400


@pytest.mark.parametrize(
    ("wanted", "changes", "code"),
    [
        ("INT32", {"datatype": "FP32"}, "datatype"),
        ("INT32", {"datatype": "INT64", "data": [1 << 31, 0]}, "range"),
        ("INT64", {"datatype": "UINT64", "data": [1 << 63, 0]}, "range"),
        ("INT64", {"datatype": "INT64", "data": [None, 0]}, "value"),
        ("BOOL", {"datatype": "INT8", "data": [0, 1]}, "datatype"),
        ("BOOL", {"datatype": "BOOL", "data": [None, True]}, "value"),
        ("BYTES", {"datatype": "FP32"}, "datatype"),
        ("BYTES", {"datatype": "BYTES"}, "value"),
    ],
)
def test_a_value_is_never_narrowed_or_guessed(
    wanted: str, changes: dict[str, Any], code: str
) -> None:
    with pytest.raises(Usage) as caught:
        columns(body(**changes), [Input("x", wanted)])
    assert caught.value.code == f"usage.request.{code}"


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b"\xff\xfe",
        b'{"inputs": "x"}',
        b'{"inputs": [{"name": "x", "shape": [1], "datatype": "FP32", "data": [NaN]}]}',
        b'{"inputs": [{"name": "x", "shape": [1], "datatype": "FP32", "data": [Infinity]}]}',
        b'{"inputs": [{"name": "x", "shape": [1], "datatype": "FP32", "data": [1e999]}]}',
        b'{"inputs": [{"name": "x", "shape": [1.0], "datatype": "FP32", "data": [1]}]}',
        b'{"inputs": [{"name": "x", "shape": [true], "datatype": "FP32", "data": [1]}]}',
        b'{"inputs": [{"name": "x", "shape": [1], "datatype": "FP32", "data": [1' + b"0" * 9999,
        b'{"inputs": [{"name": "\\ud800", "shape": [1], "datatype": "FP32", "data": [1]}]}',
        b'{"inputs": [{"name": "\xed\xa0\x80", "shape": [1], "datatype": "FP32", "data": [1]}]}',
        b'{"inputs": [], "parameters": {"a": {"b": 1}}}',
        b'{"inputs": [], "surprise": 1}',
        b'{"inputs": [], "id": 7}',
        b'{"inputs": [{"name": "x", "shape": [1], "datatype": "FP32"}]}',
        b'{"inputs": [{"data": ' + b"[" * 100_000 + b"]" * 100_000 + b"}]}",
        b'{"inputs": ' + b'{"a":' * 100_000,
        b'{"inputs": [], "' + b"x" * 100_000 + b'": 1}',
    ],
)
def test_what_is_no_request_is_refused_in_a_short_sentence(raw: bytes) -> None:
    with pytest.raises(Usage) as caught:
        protocol.parse(raw)
    assert caught.value.code == "usage.request"
    assert len(caught.value.message) < 300


def test_an_id_is_bounded() -> None:
    with pytest.raises(Usage) as caught:
        protocol.parse(b'{"inputs": [], "id": "%s"}' % (b"x" * 257))
    assert caught.value.code == "usage.request.id"


def test_an_input_given_twice_is_refused() -> None:
    tensor = {"name": "x", "shape": [1], "datatype": "FP32", "data": [1]}
    with pytest.raises(Usage, match="twice"):
        columns(json.dumps({"inputs": [tensor, tensor]}).encode())


def test_inputs_of_different_lengths_are_refused() -> None:
    tensors = [
        {"name": name, "shape": [n], "datatype": "FP32", "data": [1] * n}
        for name, n in (("a", 1), ("b", 2))
    ]
    with pytest.raises(Usage) as caught:
        columns(json.dumps({"inputs": tensors}).encode(), [Input("a", "FP32"), Input("b", "FP32")])
    assert caught.value.code == "usage.request.rows"


def test_many_unknown_inputs_are_named_briefly() -> None:
    tensors = [
        {"name": f"{n}" * 500, "shape": [1], "datatype": "FP32", "data": [1]} for n in range(500)
    ]
    with pytest.raises(Usage) as caught:
        columns(json.dumps({"inputs": tensors}).encode())
    assert len(caught.value.message) < 1200
    assert "and 490 more" in caught.value.message


def test_outputs_are_chosen_by_name() -> None:
    offered = [Output("label", "INT64", [OPEN]), Output("probabilities", "FP32", [OPEN, 2])]

    def chosen(*names: str) -> set[str]:
        wanted = [{"name": name} for name in names]
        raw = json.dumps({"inputs": [], "outputs": wanted}).encode()
        return protocol.chosen(protocol.parse(raw), offered)

    assert chosen() == {"label", "probabilities"}
    assert chosen("label") == {"label"}
    for wrong in (("label", "label"), ("logits",), ("label", "x" * 9999)):
        with pytest.raises(Usage) as caught:
            chosen(*wrong)
        assert caught.value.code == "usage.request.outputs"
        assert len(caught.value.message) < 300


# What a worker answers is foreign too.

OFFERED = [Output("label", "BYTES", [OPEN]), Output("probabilities", "FP32", [OPEN, 2])]
LABELS = Tensor("label", [2], "BYTES", ["a", "b"])
SCORES = Tensor("probabilities", [2, 2], "FP32", [0.5, 0.5, 1.0, 0.0])


def test_a_workers_answer_is_read() -> None:
    raw = msgspec.msgpack.encode([LABELS, SCORES])
    assert protocol.decode_answer(raw, OFFERED, 2) == [LABELS, SCORES]


@pytest.mark.parametrize(
    "answer",
    [
        None,
        [],
        [LABELS],
        [SCORES, LABELS],
        [LABELS, SCORES, SCORES],
        [LABELS, Tensor("probabilities", [2, 2], "FP32", [0.5, 0.5, 1.0])],
        [LABELS, Tensor("probabilities", [4], "FP32", [0.5, 0.5, 1.0, 0.0])],
        [LABELS, Tensor("probabilities", [1, 4], "FP32", [0.5, 0.5, 1.0, 0.0])],
        [LABELS, Tensor("probabilities", [2, 3], "FP32", [0.5] * 6)],
        [LABELS, Tensor("probabilities", [2, 2], "FP64", [0.5] * 4)],
        [LABELS, Tensor("probabilities", [2, 2], "FP32", [0.5, 0.5, 1, 0])],
        [LABELS, Tensor("probabilities", [2, 2], "FP32", [0.5, 0.5, math.nan, 0.0])],
        [LABELS, Tensor("probabilities", [2, 2], "FP32", [0.5, 0.5, math.inf, 0.0])],
        [LABELS, Tensor("probabilities", [2, 2], "FP32", [0.5, 0.5, "x", 0.0])],
        [LABELS, Tensor("probabilities", [2, 2], "FP32", [0.5] * 4, {"a": "b"})],
        [Tensor("label", [2], "BYTES", ["a", 1]), SCORES],
        [Tensor("label", [], "BYTES", ["a"]), SCORES],
        [Tensor("label", [3], "BYTES", ["a", "b", "c"]), SCORES],
    ],
)
def test_a_workers_answer_of_another_form_is_refused(answer: Any) -> None:
    with pytest.raises(Verification):
        protocol.decode_answer(msgspec.msgpack.encode(answer), OFFERED, 2)


@settings(max_examples=200)
@given(st.binary(max_size=300))
@example(b"\x91" * 100_000)
def test_any_bytes_from_a_worker_are_an_answer_or_refused(raw: bytes) -> None:
    with pytest.raises(Verification):
        protocol.decode_answer(raw, OFFERED, 2)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=12,
)
TENSORS = st.fixed_dictionaries(
    {
        "name": st.sampled_from(["x", "s", "m", "i", "y"]),
        "shape": st.lists(st.integers(-1, 4) | st.integers(), max_size=3),
        "datatype": st.sampled_from([*sorted(protocol.DATATYPES), "FP8"]),
        "data": st.lists(JSON, max_size=8),
    }
)


@settings(max_examples=300)
@given(st.binary(max_size=300))
def test_any_bytes_are_a_request_or_a_mistake_of_the_caller(raw: bytes) -> None:
    try:
        columns(raw, MIXED)
    except Usage:
        return


@settings(max_examples=300)
@given(st.lists(TENSORS, max_size=5), JSON, JSON)
def test_any_json_is_a_request_or_a_mistake_of_the_caller(
    tensors: list[Any], parameters: Any, outputs: Any
) -> None:
    for told in (
        {"inputs": tensors},
        {"inputs": tensors, "parameters": parameters},
        {"inputs": tensors, "outputs": outputs},
        parameters,
    ):
        try:
            request = protocol.parse(json.dumps(told).encode())
            protocol.chosen(request, OFFERED)
            protocol.columns(request, MIXED)
        except Usage:
            continue


def of_length(n: int) -> st.SearchStrategy[Any]:
    """n numbers, n texts, 2n whole numbers."""

    def exactly(what: st.SearchStrategy[Any], count: int) -> st.SearchStrategy[list[Any]]:
        return st.lists(what, min_size=count, max_size=count)

    return st.tuples(
        exactly(st.floats(width=32, allow_nan=False, allow_infinity=False) | st.none(), n),
        exactly(st.text(st.characters(exclude_categories=["Cs"])), n),
        exactly(st.integers(-(1 << 31), (1 << 31) - 1), 2 * n),
        st.booleans(),
    )


@settings(max_examples=100)
@given(st.integers(1, 5).flatmap(of_length))
def test_every_fitting_request_arrives_as_it_was_meant(
    told: tuple[list[float | None], list[str], list[int], bool],
) -> None:
    numbers, texts, pairs, nested = told
    n = len(numbers)
    rows = [pairs[at : at + 2] for at in range(0, 2 * n, 2)]
    tensors = [
        {"name": "s", "shape": [n], "datatype": "BYTES", "data": texts},
        {"name": "m", "shape": [n, 2], "datatype": "INT32", "data": rows if nested else pairs},
        {"name": "i", "shape": [n, 1], "datatype": "INT64", "data": pairs[:n]},
        {"name": "x", "shape": [n], "datatype": "FP32", "data": numbers},
    ]
    found = columns(json.dumps({"inputs": tensors}).encode(), MIXED)
    assert list(found) == ["x", "s", "m", "i"]
    assert found["s"] == texts
    assert found["m"] == [[float(a), float(b)] for a, b in rows]
    assert found["i"] == pairs[:n]
    for got, meant in zip(found["x"], numbers, strict=True):
        assert math.isnan(got) if meant is None else got == meant
