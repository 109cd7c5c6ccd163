"""Rows that a model was trained on are found again, whatever was done to hide them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.assess.overlap import shared_rows
from assay.formats.schema import Column


def columns(rows: Any, names: str = "abc") -> list[Column]:
    return [
        Column(name, "float", [float(v) for v in values])
        for name, values in zip(names, np.asarray(rows).T, strict=True)
    ]


def table(rows: int, seed: int) -> Any:
    return np.random.default_rng(seed).normal(size=(rows, 3))


def test_other_rows_of_the_same_population_are_not_suspicious() -> None:
    found = shared_rows(columns(table(500, 1)), columns(table(500, 2)))
    assert found == {"share": 0.0, "expected": 0.0, "suspicious": False}


@pytest.mark.parametrize("change", ["order", "one row", "names", "beyond float32", "a column more"])
def test_training_rows_are_noticed_after(change: str) -> None:
    rows = table(500, 1)
    train, names = columns(rows), "abc"
    if change == "order":
        rows = rows[::-1]
    if change == "one row":
        rows = np.vstack([rows[1:], table(1, 3)])
    if change == "names":
        names = "xyz"
    if change == "beyond float32":
        rows = rows * (1 + 1e-12)
    test = columns(rows, names)
    if change == "a column more":
        test.append(Column("id", "float", [float(i) for i in range(500)]))
    found = shared_rows(test, train)
    assert found["share"] > 0.99
    assert found["suspicious"]


def test_a_tenth_of_training_rows_is_noticed() -> None:
    train = table(500, 1)
    test = np.vstack([train[:50], table(450, 2)])
    assert shared_rows(columns(test), columns(train))["suspicious"]


@pytest.mark.parametrize("values", [2, 4, 8, 12])
def test_people_who_are_alike_are_not_suspicious(values: int) -> None:
    generator = np.random.default_rng(values)
    test, train = (generator.integers(values, size=(600, 3)) for _ in range(2))
    found = shared_rows(columns(test), columns(train))
    assert not found["suspicious"], found


def test_text_and_missing_values_are_compared_too() -> None:
    texts: list[float | str | None] = [None, "", "x", "y", None, "nan"] * 10
    numbers: list[float | str | None] = [None, 0.0, -0.0, 1.0, float("nan"), None] * 10
    rows = [Column("t", "string", texts), Column("n", "float", numbers)]
    assert shared_rows(rows, list(reversed(rows)))["share"] == 1.0
    others = [Column("t", "string", ["z"] * 60), Column("n", "float", numbers)]
    assert shared_rows(others, rows)["share"] == 0.0


@given(st.permutations(range(3)), st.lists(st.tuples(*[st.floats(width=32)] * 3), min_size=1))
def test_the_order_of_columns_and_of_rows_changes_nothing(
    order: list[int], rows: list[tuple[float, ...]]
) -> None:
    train = columns(rows)
    test = [columns(rows[::-1])[place] for place in order]
    assert shared_rows(test, train)["share"] == 1.0


def test_numbers_too_large_for_float32_are_no_error() -> None:
    rows = [Column("a", "float", [1e300, -1e300, 1.0])]
    assert shared_rows(rows, rows)["share"] == 1.0
