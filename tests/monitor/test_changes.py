"""Plans of changes as people write them."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.errors import AssayError, Usage
from assay.evidence import plans
from assay.monitor import changes

DETAILS: dict[str, Any] = {
    "purpose": "scoring",
    "label": "y",
    "positive": 1,
    "threshold": 0.5,
    "sensitive": [],
    "leave_out": ["y"],
    "format": "onnx",
    "kind": "classifier",
    "classes": [0, 1],
    "features": ["a"],
}
FOUND = {
    "function": "m:f",
    "code": "sha256:" + "1" * 64,
    "environment": "sha256:" + "2" * 64,
}
TEXT = """
format = "assay/change-plan/v1"
model = "score"
why = "seasons"
valid_until = 2027-06-30
every = "7d"
most = 4
triggers = ["data_drift"]

[pipeline]
source = "retrain.py:train"
data = "dataset"

[parameters]
leaves = {least = 4, most = 64}
kind = "tree"
columns = ["a", "b"]
depth = {one_of = [1, 2]}
table = {is = {a = 1}}

[registered]
threshold = {least = 0.4, most = 0.6}

[holds]
"quality.auc_lower" = {least = 0.7}
"scan.clean" = true
"""


def complete(text: str = TEXT, horizon: str = "") -> plans.Plan:
    draft = changes.parse(text.encode())
    return changes.complete(draft, **FOUND, details=DETAILS, horizon=horizon)


def test_a_plan_is_completed_with_what_is_there() -> None:
    plan = complete()
    assert plan.pipeline.code == FOUND["code"]
    assert plan.pipeline.function == "m:f"
    assert plan.registered["label"] == {"is": "y"}
    assert plan.registered["threshold"] == {"least": 0.4, "most": 0.6}
    assert set(plan.registered) == set(plans.REGISTERED)


def test_a_plain_value_stands_for_exactly_itself() -> None:
    plan = complete()
    assert plan.parameters == {
        "leaves": {"least": 4, "most": 64},
        "kind": {"is": "tree"},
        "columns": {"is": ["a", "b"]},
        "depth": {"one_of": [1, 2]},
        "table": {"is": {"a": 1}},
    }
    assert plan.holds["scan.clean"] == {"is": True}


def test_a_day_lasts_until_its_end_and_a_time_without_a_zone_is_utc() -> None:
    assert complete().valid_until == "2027-06-30T23:59:59.000Z"
    timed = TEXT.replace("2027-06-30", "2027-06-30T12:00:00")
    assert complete(timed).valid_until == "2027-06-30T12:00:00.000Z"
    zoned = TEXT.replace("2027-06-30", '"2027-06-30T12:00:00+02:00"')
    assert complete(zoned).valid_until == "2027-06-30T12:00:00+02:00"


def test_labels_are_waited_for_as_where_the_endpoint_is_watched() -> None:
    assert complete(horizon="14d").challenge.horizon == "14d"
    own = f'{TEXT}\n[challenge]\nhorizon = "2d"\n'
    assert complete(own, horizon="14d").challenge.horizon == "2d"
    assert complete().challenge.horizon == "30d"


def test_what_the_plan_says_of_the_code_must_be_what_is_there() -> None:
    other = TEXT.replace('data = "dataset"', f'data = "dataset"\ncode = "sha256:{"9" * 64}"')
    with pytest.raises(Usage, match="code"):
        complete(other)
    same = TEXT.replace('data = "dataset"', f'data = "dataset"\ncode = "{FOUND["code"]}"')
    assert complete(same) == complete()


WRONG = {
    "no TOML": "format =",
    "no plan": 'format = "assay/policy/v1"',
    "nothing": "",
    "a table that is none": 'format = "assay/change-plan/v1"\nparameters = 3\n',
    "no pipeline": TEXT.replace("[pipeline]", "[pipelines]"),
    "a pipeline without a name": TEXT.replace('source = "retrain.py:train"', ""),
    "no parameter for the rows": TEXT.replace('data = "dataset"', "data = 1"),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_file_is_refused_in_words(what: str) -> None:
    with pytest.raises(Usage) as caught:
        changes.source_of(changes.parse(WRONG[what].encode()))
    assert caught.value.remedy


def test_a_file_that_is_no_text_or_too_large_is_refused() -> None:
    for data in (b"\xff\xfe", b"#" * (1 << 20) + b"\n"):
        with pytest.raises(Usage):
            changes.parse(data)


@given(st.binary(max_size=200))
def test_no_file_breaks_the_reader(data: bytes) -> None:
    with contextlib.suppress(AssayError):
        changes.parse(b'format = "assay/change-plan/v1"\n' + data)


@pytest.mark.parametrize(
    ("bound", "value"),
    [({"is": 3}, 3), ({"one_of": [4, 5]}, 4), ({"least": 1, "most": 2}, 1), ({"most": 2}, 2)],
)
def test_the_pipeline_is_looked_at_with_a_value_that_the_plan_allows(
    bound: dict[str, Any], value: int
) -> None:
    assert changes.any_value(bound) == value
    assert plans.is_within(bound, value)
