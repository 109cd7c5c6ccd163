from __future__ import annotations

import datetime
import io
import json
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.data.rows import Limits
from assay.data.tables import Table, read_stream
from assay.errors import Usage


def read(content: bytes, **options: Any) -> Table:
    return read_stream(io.BytesIO(content), "people.json", **options)


def refusal(content: bytes, **options: Any) -> Usage:
    with pytest.raises(Usage) as caught:
        read(content, **options)
    error = caught.value
    assert "people.json" in error.message
    assert "\n" not in error.message + error.remedy
    assert "zebra" not in error.message + str(error.details)
    return error


@pytest.mark.parametrize(
    "content",
    [
        b'[{"a": 1, "b": "x"}, {"a": 2, "b": null}]',
        b'\xef\xbb\xbf [ {"a":1,"b":"x"}\n,\r\n{"a":2} ] \n',
        b'{"a": 1, "b": "x"}\n{"a": 2}\n',
        b'{"a": 1, "b": "x"}\r\n\r\n{"b": null, "a": 2}',
    ],
)
def test_an_array_and_lines_of_objects_are_the_same_table(content: bytes) -> None:
    table = read(content)
    assert table.format == "json"
    assert table.frame.rows() == [(1, "x"), (2, None)]


def test_types_are_as_json_says_and_dates_are_dates() -> None:
    frame = read(
        b'{"i": 1, "f": 1, "s": "1", "b": true, "d": "2020-02-29", "t": "2020-01-01T10:00",'
        b' "n": null}'
        b'\n{"i": -9223372036854775808, "f": 0.5, "s": "x", "b": false, "d": null, "t": null}'
    ).frame
    assert frame.row(0) == (
        *(1, 1.0, "1", True, datetime.date(2020, 2, 29)),
        *(datetime.datetime.fromisoformat("2020-01-01T10:00"), None),
    )
    assert frame.schema["n"] == pl.String


def test_a_column_that_a_schema_wants_as_text_stays_text() -> None:
    expect = [{"name": "d", "type": "string"}]
    assert read(b'[{"d": "2020-02-29"}]', expect=expect).frame["d"].to_list() == ["2020-02-29"]


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b'[{"a": 1}', "json"),
        (b'[{"a": 1},]', "json"),
        (b'[{"a": 1}] {"a": 2}', "json"),
        (b'[{"a": 1}, 2]', "json"),
        (b'[{"a": 1} {"a": 2}]', "json"),
        (b'{"a": 1} {"a": 2}', "json"),
        (b'{"a": 1}\n[1]', "json"),
        (b'{"a": 1}\n{"a": "zebra', "json"),
        (b'{"a": 1, "a": 2}', "json"),
        (b'{"a": {"zebra": 1}}', "json"),
        (b'{"a": [1]}', "json"),
        (b'{"a": NaN}', "json"),
        (b'{"a": -Infinity}', "json"),
        (b'{"a": 1e999}', "json"),
        (b'{"a": ' + b"9" * 5000 + b"}", "json"),
        (b'{"a": ' + b"[" * 100_000 + b"}", "json"),
        (b'{"a": 9223372036854775808}', "value"),
        (b'{"a": "\\ud800"}', "value"),
        (b'{"a": 9007199254740993}\n{"a": 0.5}', "value"),
        (b'{"a": 1}\n{"a": "zebra"}', "mixed"),
        (b'{"a": true}\n{"a": 1}', "mixed"),
        (b'{"a\\u0007": 1}', "header"),
        (b'{"a": 1\xff}', "encoding"),
        (b'{"a": "x\0"}', "nul"),
        (b'{"": 1, "b": 2}\n{"column_1": 3}', "duplicate_column"),
    ],
)
def test_json_that_two_readers_could_differ_about_is_refused(content: bytes, code: str) -> None:
    assert refusal(content).code == f"usage.data.{code}"


def test_columns_and_values_and_bytes_are_bounded() -> None:
    wide = json.dumps([{f"c{i}": 1 for i in range(20)}]).encode()
    assert refusal(wide, limits=Limits(columns=10)).code == "usage.data.columns"
    assert refusal(wide, limits=Limits(cells=10)).code == "usage.data.too_large"
    assert refusal(wide, limits=Limits(file_bytes=10)).code == "usage.data.too_large"
    growing = b"\n".join(json.dumps({f"c{i}": 1}).encode() for i in range(50))
    assert refusal(growing, limits=Limits(columns=10)).code == "usage.data.columns"


def test_a_column_that_appears_late_is_missing_before() -> None:
    lines = [{"a": 1}] * 20_001 + [{"a": 2, "b": "x"}]
    frame = read("\n".join(map(json.dumps, lines)).encode()).frame
    assert frame["b"].null_count() == 20_001
    assert frame["b"][-1] == "x"


CELLS: dict[str, st.SearchStrategy[Any]] = {
    "i": st.none() | st.integers(-(2**63), 2**63 - 1),
    "f": st.none() | st.floats(allow_nan=False, allow_infinity=False),
    "b": st.none() | st.booleans(),
    "s": st.none() | st.text(st.characters(exclude_categories=["Cs"])),
}


@given(st.lists(st.fixed_dictionaries(CELLS), min_size=1, max_size=20), st.booleans())
def test_what_json_writes_is_read_back(rows: list[dict[str, Any]], lines: bool) -> None:
    text = "\n".join(map(json.dumps, rows)) if lines else json.dumps(rows)
    frame = read(text.encode(), text=["s"]).frame
    assert frame.select("i", "f", "b", "s").rows() == [
        (row["i"], row["f"], row["b"], row["s"]) for row in rows
    ]


@given(st.binary(max_size=60))
def test_any_bytes_end_as_a_table_or_as_one_line(content: bytes) -> None:
    for start in (b"[{", b'{"a": ', b'[{"a": 1}', b'{"a": 1}\n'):
        try:
            read(start + content)
        except Usage as error:
            told = error.message
        else:
            told = ""
        assert "\n" not in told
