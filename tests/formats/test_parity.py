from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.errors import Usage
from assay.formats import parity as parities
from assay.formats.convert import decode_converted
from assay.formats.parity import WORST_DIFFERENCE, Parity, parity

shares = st.floats(0, 1, width=32)


def test_a_score_on_the_other_side_of_the_threshold_is_another_decision() -> None:
    found = parity([0.2, 0.499999, 0.8], [0.2, 0.500001, 0.8], 0.5)
    assert found.decision_disagreement == pytest.approx(1 / 3)
    assert found.max_abs_diff == pytest.approx(2e-6)
    assert found.worst.row == 1
    assert parity([0.2, 0.499999], [0.2, 0.500001], 0.6).decision_disagreement == 0


def test_many_ordinary_rows_do_not_dilute_a_few_extraordinary_ones() -> None:
    cases = ["sample"] * 998 + ["missing"] * 2
    found = parity([0.1] * 1000, [0.1] * 999 + [0.9], 0.5, cases=cases)
    assert found.decision_disagreement == 0.5
    assert found.nan_rows is not None
    assert found.nan_rows.rows == 2
    assert found.worst.case == "missing"


def test_rows_that_were_rounded_are_told_but_not_counted() -> None:
    found = parity([0.1, 0.1], [0.1, 0.9], 0.5, cases=["sample", "rounding"])
    assert found.decision_disagreement == 0
    assert found.max_abs_diff == 0
    assert found.rounding is not None
    assert found.rounding.decision_disagreement == 1


def test_a_side_that_does_not_answer_differs_by_the_worst() -> None:
    for value in (np.nan, np.inf, -np.inf):
        found = parity([0.1, 0.7], [0.1, value], 0.5)
        assert found.max_abs_diff == WORST_DIFFERENCE
    assert parity([np.nan], [0.1], 0.5).decision_disagreement == 1
    assert parity([np.nan], [np.nan], 0.5).max_abs_diff == 0


def test_of_three_classes_the_most_probable_decides() -> None:
    found = parity([[0.4, 0.35, 0.25]], [[0.35, 0.4, 0.25]], 0.5)
    assert found.decision_disagreement == 1
    assert parity([[0.4, 0.3, 0.3]], [[0.5, 0.25, 0.25]], 0.45).decision_disagreement == 0


@pytest.mark.parametrize(
    ("before", "after", "threshold", "cases"),
    [
        ([], [], 0.5, None),
        ([0.1], [0.1, 0.2], 0.5, None),
        ([[0.1, 0.9]], [0.1], 0.5, None),
        ([0.1], [0.1], np.nan, None),
        ([0.1], [0.1], np.inf, None),
        ([0.1], [0.1], 0.5, ["sample", "sample"]),
        ([0.1], [0.1], 0.5, ["rounding"]),
    ],
)
def test_what_cannot_be_compared_is_refused(
    before: Any, after: Any, threshold: float, cases: Any
) -> None:
    with pytest.raises(Usage) as caught:
        parity(before, after, threshold, cases=cases)
    assert caught.value.code.startswith("usage.parity.")


@given(st.lists(st.tuples(shares, shares), min_size=1, max_size=30), shares)
def test_the_worst_is_never_less_than_any_row(rows: Any, threshold: float) -> None:
    before, after = np.array(rows, dtype=float).T
    found = parity(before, after, threshold)
    assert found.max_abs_diff == np.abs(before - after).max()
    differ = (before >= threshold) != (after >= threshold)
    assert found.decision_disagreement == pytest.approx(differ.mean())
    assert not differ.any() or differ[found.worst.row]
    assert parity(before, before, threshold).decision_disagreement == 0
    assert parities.decode_parity(msgspec.json.encode(found)) == found


def test_an_answer_that_is_none_is_refused() -> None:
    for junk in (b"", b"{}", b"[]", b'{"format":"assay/parity/v2"}'):
        with pytest.raises(Usage):
            parities.decode_parity(junk)


@pytest.fixture
def forest(converted: Any) -> bytes:
    from sklearn.ensemble import RandomForestClassifier

    rng = np.random.default_rng(3)
    rows = rng.normal(size=(200, 3))
    model = RandomForestClassifier(5, max_depth=4, random_state=0).fit(rows, rows[:, 0] > 0)
    columns = [
        msgspec.convert({"name": n, "dtype": "float", "values": rows[:, i].tolist()}, column_type())
        for i, n in enumerate("abc")
    ]
    return converted(model, columns)


def column_type() -> Any:
    from assay.formats.schema import Column

    return Column


def measured(answer: bytes, model: onnx.ModelProto) -> Parity:
    plain = msgspec.msgpack.decode(answer)
    plain["onnx"] = model.SerializeToString()
    request = parities.encode_request(msgspec.msgpack.encode(plain), 0.5)
    return parities.decode_parity(parities.measure(request))


def trees(model: onnx.ModelProto) -> dict[str, Any]:
    (node,) = [n for n in model.graph.node if n.op_type.startswith("TreeEnsemble")]
    return {attribute.name: attribute for attribute in node.attribute}


def load(answer: bytes) -> onnx.ModelProto:
    return onnx.load_model_from_string(decode_converted(answer).onnx)


def test_an_honest_conversion_passes(forest: bytes) -> None:
    found = measured(forest, load(forest))
    assert found.decision_disagreement == 0
    assert found.max_abs_diff < 1e-6


@pytest.mark.parametrize("tree", [1, 2, 4])
def test_a_threshold_moved_by_the_smallest_steps_is_noticed(forest: bytes, tree: int) -> None:
    model = load(forest)
    attributes = trees(model)
    roots = [i for i, node in enumerate(attributes["nodes_nodeids"].ints) if node == 0]
    values = attributes["nodes_values"].floats
    index = roots[tree]
    # Two steps: the probes lie one to each side of every threshold.
    for _ in range(2):
        values[index] = float(np.nextafter(np.float32(values[index]), np.float32(np.inf)))
    found = measured(forest, model)
    assert found.max_abs_diff > 1e-3
    assert found.float32_edges is not None
    assert found.float32_edges.max_abs_diff > 1e-3


def test_a_moved_threshold_changes_decisions_of_real_rows(forest: bytes) -> None:
    model = load(forest)
    values = trees(model)["nodes_values"].floats
    for index in range(len(values)):
        values[index] += 0.5
    found = measured(forest, model)
    assert found.decision_disagreement > 0.05
    assert found.sample is not None
    assert found.sample.decision_disagreement > 0.05


def test_a_missing_value_sent_to_the_other_side_is_noticed(forest: bytes) -> None:
    model = load(forest)
    sides = trees(model)["nodes_missing_value_tracks_true"].ints
    for index in range(len(sides)):
        sides[index] = 1 - sides[index]
    found = measured(forest, model)
    assert found.nan_rows is not None
    assert found.nan_rows.max_abs_diff > 0.01
    assert found.sample is not None
    assert found.sample.max_abs_diff < 1e-6


def test_swapped_probabilities_are_noticed(forest: bytes) -> None:
    model = load(forest)
    ids = trees(model)["class_ids"].ints
    for index in range(len(ids)):
        ids[index] = 1 - ids[index]
    assert measured(forest, model).max_abs_diff > 0.9


def test_labels_that_contradict_the_probabilities_are_noticed(forest: bytes) -> None:
    model = load(forest)
    labels = trees(model)["classlabels_int64s"].ints
    labels[0], labels[1] = labels[1], labels[0]
    found = measured(forest, model)
    assert found.max_abs_diff == WORST_DIFFERENCE
    assert found.decision_disagreement > 0.9


@pytest.mark.parametrize("threshold", [1e-9, 0.999999])
def test_a_threshold_that_no_row_reaches_hides_no_label_that_differs(threshold: float) -> None:
    original = np.array([[0.3, 0.7], [0.6, 0.4]])
    converted = np.array([[0.7, 0.3], [0.6, 0.4]])
    assert parity(original, converted, threshold).decision_disagreement == 0.5


def test_values_differ_where_they_are_apart_by_a_hundredth_of_their_spread() -> None:
    values = np.linspace(0, 400, 101)
    spread = values.std()
    for apart, differ in ((0.009 * spread, 0.0), (0.011 * spread, 1 / 101)):
        moved = values.copy()
        moved[0] += apart
        found = parity(values, moved, 0.5, kind="regressor")
        assert found.decision_disagreement == pytest.approx(differ)


def test_a_large_value_may_lose_the_digits_that_float32_does_not_keep() -> None:
    values = np.array([1.0, 2.0, 3.0, 1e12])
    cases = ["sample", "sample", "sample", "float32_edges"]
    near = parity(values, values * (1 + 1e-7), 0.5, kind="regressor", cases=cases)
    assert near.decision_disagreement == 0
    far = parity(values, values * (1 + 1e-3), 0.5, kind="regressor", cases=cases)
    assert far.decision_disagreement == 1
