from __future__ import annotations

import datetime
import json
from typing import Any

import numpy as np
import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from assay import canonical
from assay.data.profile import SMALL, profile, schema


def column(frame: pl.DataFrame, name: str, subject: str | None = None) -> dict[str, Any]:
    found = profile(frame, subject)
    canonical.encode(found)
    return next(c for c in found["columns"] if c["name"] == name)


def test_a_schema_names_types_nulls_and_categories() -> None:
    frame = pl.DataFrame(
        {
            "a": [1, None],
            "b": [1.5, 2.5],
            "c": ["x", "x"],
            "d": [True, False],
            "e": [datetime.date(2026, 1, 1)] * 2,
        }
    )
    assert schema(frame) == [
        {"name": "a", "type": "int", "nullable": True, "categories": None},
        {"name": "b", "type": "float", "nullable": False, "categories": None},
        {"name": "c", "type": "string", "nullable": False, "categories": 1},
        {"name": "d", "type": "bool", "nullable": False, "categories": None},
        {"name": "e", "type": "date", "nullable": False, "categories": None},
    ]


def test_rare_categories_become_other() -> None:
    frame = pl.DataFrame({"c": ["a"] * 40 + ["b"] * 30 + ["rare"] * 9 + ["unique"] * 3})
    found = column(frame, "c")
    assert found["categories"] == [{"value": "a", "rows": 40}, {"value": "b", "rows": 30}]
    assert found["other"] == 12
    assert found["distinct"] == 4


def test_a_rare_rest_takes_the_smallest_category_with_it() -> None:
    frame = pl.DataFrame({"c": ["a"] * 40 + ["b"] * 30 + ["rare"] * 3})
    found = column(frame, "c")
    assert found["categories"] == [{"value": "a", "rows": 40}]
    assert found["other"] == 33


def test_people_are_counted_not_their_rows() -> None:
    frame = pl.DataFrame(
        {
            "person": [1] * 50 + list(range(100, 150)),
            "mail": ["one@example.org"] * 50 + ["common"] * 50,
            "weight": [93.25] * 50 + [float(i) for i in range(50)],
        }
    )
    by_rows = json.dumps(column(frame, "mail"))
    assert "one@example.org" in by_rows
    by_people = column(frame, "mail", "person")
    assert "one@example.org" not in json.dumps(by_people)
    weight = column(frame, "weight", "person")
    assert all(rows >= SMALL for rows in weight["histogram"]["rows"])
    # The fifty rows of one person are joined with those of at least nine others.
    assert weight["histogram"]["rows"][-1] > 50


def test_the_subject_column_is_counted_and_never_shown() -> None:
    frame = pl.DataFrame({"ssn": [f"{n:09d}" for n in range(500)] * 2, "x": list(range(1000))})
    found = profile(frame, "ssn")
    assert found["subjects"] == 500
    assert found["columns"][0] == {
        "name": "ssn", "type": "string", "missing": 0, "identifies": True,
    }  # fmt: skip
    text = json.dumps(found)
    assert not any(f"{n:09d}" in text for n in range(500))


def test_fewer_than_ten_rows_get_no_figure() -> None:
    found = column(
        pl.DataFrame({"salary": [50_000.0 + i for i in range(9)] + [None] * 3}), "salary"
    )
    assert found == {
        "name": "salary", "type": "float", "missing": 3, "missing_share": 0.25,
    }  # fmt: skip


def test_the_ends_of_a_distribution_are_not_given() -> None:
    values = [*np.linspace(0, 1, 200).tolist(), 1e6, -1e6]
    found = column(pl.DataFrame({"x": values}), "x")
    shown = [*found["histogram"]["cuts"], *found["quantiles"].values()]
    assert all(0 <= value <= 1 for value in shown)
    assert set(found["quantiles"]) == {"0.05", "0.25", "0.5", "0.75", "0.95"}
    assert sum(found["histogram"]["rows"]) == 202


def test_what_has_no_number_is_null_not_nan() -> None:
    frame = pl.DataFrame({"x": [1e308 * (-1) ** i * (1 + i / 100) for i in range(60)]})
    found = column(frame, "x")
    assert found["moments"] == {"mean": None, "std": None, "skewness": None}
    infinite = column(pl.DataFrame({"x": [float("inf")] * 5 + list(map(float, range(45)))}), "x")
    assert infinite["infinite"] == 5
    assert infinite["moments"]["mean"] == 22.0


def test_numbers_of_few_values_are_categories() -> None:
    found = column(pl.DataFrame({"flag": [0, 1] * 20}), "flag")
    assert found["categories"] == [{"value": "0", "rows": 20}, {"value": "1", "rows": 20}]


def test_dates_are_described_in_days() -> None:
    first = datetime.date(2020, 1, 1)
    days = [first + datetime.timedelta(days=i) for i in range(1000)]
    found = column(pl.DataFrame({"d": days}), "d")
    assert found["unit"] == "days since 1970-01-01"
    assert found["quantiles"]["0.5"] == "2021-05-14"


def test_a_profile_is_bounded_however_large_the_table() -> None:
    wide = pl.DataFrame(
        {f"c{i}": [f"{'x' * 500}{j % 25}" for j in range(500)] for i in range(1200)}
    )
    found = profile(wide, None)
    assert len(found["columns"]) == 1000
    assert found["omitted"] == 200
    assert len(json.dumps(found["columns"][0])) < 4000


@given(
    values=st.lists(
        st.none() | st.floats(allow_nan=False) | st.sampled_from([0.0, 1.0, 2.5]), max_size=120
    ),
    people=st.integers(1, 200),
)
@settings(max_examples=100, deadline=None)
def test_no_count_is_about_few_people(values: list[float | None], people: int) -> None:
    frame = pl.DataFrame(
        {"id": [i % people for i in range(len(values))], "x": values},
        schema={"id": pl.Int64, "x": pl.Float64},
    )
    found = column(frame, "x", "id")
    counts = [c["rows"] for c in found.get("categories", [])]
    counts += found.get("histogram", {}).get("rows", [])
    if found.get("other"):
        counts.append(found["other"])
    assert all(count >= SMALL for count in counts)
    if "histogram" in found:
        finite = sum(v is not None and abs(v) != float("inf") for v in values)
        assert sum(found["histogram"]["rows"]) == finite
        assert len(found["histogram"]["cuts"]) == len(found["histogram"]["rows"]) - 1
