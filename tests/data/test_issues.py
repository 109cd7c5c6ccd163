from __future__ import annotations

from datetime import date
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.data import issues
from assay.errors import Unavailable, Usage


def test_rows_that_repeat_are_counted_apart_from_what_tells_rows_apart() -> None:
    frame = pl.DataFrame(
        {
            "row": [1, 2, 3, 4],
            "code": ["a", "b", "c", "d"],
            "person": ["p", "p", "q", "q"],
            "x": [1.0, 1.0, 1.0, 2.0],
        }
    )
    found = issues.duplicates(frame, "person")
    assert found["ignored"] == ["row", "code", "person"]
    assert (found["exact"], found["share"]) == (2, 0.5)


def test_numbers_that_never_repeat_are_features_and_not_running_numbers() -> None:
    frame = pl.DataFrame({"income": [30, 10, 99, 55], "sex": ["m", "f", "m", "f"]})
    assert issues.duplicates(frame)["exact"] == 0


def test_near_repeats_differ_by_a_hair() -> None:
    frame = pl.DataFrame(
        {
            "x": [1.0, 1.0000001, 5.0, 9.0],
            "s": ["Main  Street", "main street.", "main street", "Other"],
            "y": [1, 1, 1, 1],
        }
    )
    found = issues.duplicates(frame)
    assert (found["exact"], found["near"]) == (0, 1)


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from("ab")), min_size=1, max_size=30))
def test_a_share_is_a_share_of_rows(rows: list[tuple[int, str]]) -> None:
    frame = pl.DataFrame(rows, schema={"a": pl.Int64, "b": pl.String}, orient="row")
    found = issues.duplicates(frame)
    assert 0 <= found["share"] < 1
    assert found["exact"] + found["near"] < len(rows)


def test_columns_that_say_nothing_are_told() -> None:
    frame = pl.DataFrame(
        {"a": [None, None, None], "b": [1, 1, None], "c": [1, None, None], "d": ["x", "y", None]},
        schema_overrides={"a": pl.String},
    ).with_columns(e=pl.Series([1.5, 2.5, 3.5]))
    told = {alarm["column"]: alarm["what"] for alarm in issues.alarms(frame)}
    assert told == {"a": "empty", "b": "constant", "c": "constant"}
    more = pl.DataFrame({"c": [1, 2, None, None, None]})
    assert [a["what"] for a in issues.alarms(more)] == ["mostly_missing"]


def labelled(flipped: float, rows: int = 1500, seed: int = 0) -> pl.DataFrame:
    """A table whose label follows from its columns, but for a known share that was flipped."""
    generator = np.random.default_rng(seed)
    x = generator.normal(size=(rows, 3))
    truth = x @ [2.0, -2.0, 1.0] > 0
    wrong = generator.random(rows) < flipped
    return pl.DataFrame(
        {
            "a": x[:, 0],
            "b": x[:, 1],
            "c": x[:, 2],
            "text": ["even" if n % 2 else "odd" for n in range(rows)],
            "day": [date.fromordinal(730_000 + n) for n in range(rows)],
            "y": np.where(truth ^ wrong, "yes", "no").tolist(),
        }
    )


@pytest.mark.slow
def test_flipped_labels_are_counted_and_honest_ones_are_not() -> None:
    honest = issues.label_outliers(labelled(0.0), "y")
    assert honest["share"] < 0.03
    found = issues.label_outliers(labelled(0.1), "y")
    assert abs(found["share"] - 0.1) < 0.035
    assert issues.label_outliers(labelled(0.1), "y") == found
    assert (found["rows"], found["classes"], found["skipped"]) == (1500, 2, 0)


@pytest.mark.parametrize("values", [[True, False], [3, 7], ["no", "yes"]])
def test_labels_are_truth_values_numbers_or_text(values: list[Any]) -> None:
    frame = labelled(0.0, rows=200).with_columns(
        y=pl.Series([values[int(v == "yes")] for v in labelled(0.0, rows=200)["y"]])
    )
    assert issues.label_outliers(frame, "y")["classes"] == 2


def test_rows_without_a_label_and_of_rare_classes_are_skipped_and_counted() -> None:
    frame = labelled(0.0, rows=200)
    marked = frame.with_columns(
        y=pl.Series([None, None, "rare", "rare", *frame["y"].to_list()[4:]])
    )
    assert issues.label_outliers(marked, "y")["skipped"] == 4


def test_infinite_and_missing_values_are_no_trouble() -> None:
    frame = labelled(0.0, rows=200)
    values = [float("inf"), float("-inf"), None, *frame["a"].to_list()[3:]]
    assert issues.label_outliers(frame.with_columns(a=pl.Series(values)), "y")["rows"] == 200


@pytest.mark.parametrize(
    ("label", "told"),
    [("nowhere", "no column"), ("a", "no class"), ("day", "no class"), ("one", "two classes")],
)
def test_what_is_no_label_is_refused(label: str, told: str) -> None:
    with pytest.raises(Usage, match=told):
        issues.label_outliers(labelled(0.0, rows=50).with_columns(one=pl.lit("x")), label)


def test_a_table_without_features_is_refused() -> None:
    with pytest.raises(Usage, match="nothing but"):
        issues.label_outliers(labelled(0.0, rows=50).select("y", one=pl.lit("x")), "y")


def test_without_the_extra_no_label_is_doubted(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    real = importlib.util.find_spec

    def find_spec(name: str, *more: Any) -> Any:
        return None if name == "cleanlab" else real(name, *more)

    monkeypatch.setattr(importlib.util, "find_spec", find_spec)
    with pytest.raises(Unavailable, match="cleanlab"):
        issues.label_outliers(labelled(0.0, rows=50), "y")
