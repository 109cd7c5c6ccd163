from __future__ import annotations

import datetime
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.data import fingerprints
from assay.errors import Corrupt

KEY = b"k" * 32
ROWS: dict[str, st.SearchStrategy[Any]] = {
    "i": st.none() | st.integers(-(2**63), 2**63 - 1),
    "f": st.none() | st.floats(allow_nan=False),
    "b": st.none() | st.booleans(),
    "s": st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=3),
    "d": st.none() | st.dates(),
}
SCHEMA = {"i": pl.Int64, "f": pl.Float64, "b": pl.Boolean, "s": pl.String, "d": pl.Date}
Rows = list[dict[str, Any]]


def frame(rows: Rows) -> pl.DataFrame:
    return pl.DataFrame({name: [row[name] for row in rows] for name in SCHEMA}, schema=SCHEMA)


def each(table: pl.DataFrame, key: bytes = KEY) -> list[bytes]:
    return fingerprints.row_fingerprints(table, key)


def one(**cells: Any) -> bytes:
    return each(pl.DataFrame({name: [value] for name, value in cells.items()}))[0]


def plain(row: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(0.0 if row[name] == 0.0 else row[name] for name in SCHEMA)


@given(st.lists(st.fixed_dictionaries(ROWS), min_size=1, max_size=8))
def test_rows_are_equal_exactly_when_their_fingerprints_are(rows: Rows) -> None:
    made = each(frame(rows))
    for a, first in enumerate(rows):
        for b, second in enumerate(rows):
            assert (made[a] == made[b]) == (plain(first) == plain(second))


@given(
    st.lists(st.fixed_dictionaries(ROWS), min_size=1, max_size=8),
    st.lists(st.fixed_dictionaries(ROWS), min_size=1, max_size=8),
    st.integers(0, 8),
)
def test_shared_rows_are_counted_with_their_repeats(a: Rows, b: Rows, common: int) -> None:
    b = b + a[:common]
    found = fingerprints.compare(
        fingerprints.fingerprint(frame(a), KEY), fingerprints.fingerprint(frame(b), KEY)
    )
    left = [plain(row) for row in b]
    shared = 0
    for row in map(plain, a):
        if row in left:
            left.remove(row)
            shared += 1
    assert (found.shared, found.only_first) == (shared, len(a) - shared)
    assert found.only_second == len(left)


def test_order_of_rows_and_columns_does_not_matter_and_names_do() -> None:
    table = pl.DataFrame({"a": [1, 2], "b": ["x", "y"]})
    made = fingerprints.fingerprint(table, KEY)
    assert fingerprints.fingerprint(table.reverse().select("b", "a"), KEY) == made
    assert fingerprints.fingerprint(table.rename({"a": "c"}), KEY) != made
    assert one(a="x", b="y") != one(a="y", b="x")


def test_a_value_is_the_same_whatever_its_column_holds_besides() -> None:
    assert one(a=5) == one(a=5.0)
    assert one(a=0.0) == one(a=-0.0) == one(a=0)
    day, midnight = datetime.date(2020, 1, 1), datetime.datetime.fromisoformat("2020-01-01")
    assert one(a=day) == one(a=midnight)
    assert len({one(a=1), one(a="1"), one(a=True), one(a=None), one(a=""), one(a="n")}) == 6
    assert one(a=2**53 + 1) != one(a=2**53)
    assert one(a="1:x", b="") != one(a="1", b=":x")


def test_another_key_makes_other_fingerprints_and_the_key_is_in_none() -> None:
    table = pl.DataFrame({"a": [1]})
    assert each(table) != each(table, b"o" * 32)
    data = fingerprints.fingerprint(table, KEY)
    assert KEY not in data
    assert len(data) == len(fingerprints.MAGIC) + 8 + fingerprints.SIZE


@pytest.mark.parametrize("cut", [0, 5, 13, 20, -1])
def test_damaged_fingerprints_are_refused(cut: int) -> None:
    data = fingerprints.fingerprint(pl.DataFrame({"a": [1, 2]}), KEY)
    for damaged in (data[:cut], data + b"x", b"x" + data[1:]):
        with pytest.raises(Corrupt):
            fingerprints.compare(damaged, data)


def test_the_format_is_what_it_was() -> None:
    table = pl.DataFrame({"b": [1.5, None], "a": ["é", None]})
    canonical = fingerprints._canonical(table).to_list()
    assert canonical == [
        "assay/row/v1\n1:a3:sé1:b20:f4609434218613702656",
        "assay/row/v1\n1:a1:n1:b1:n",
    ]
    made = fingerprints.encode([b"b" * 16, b"a" * 16])
    assert made == b"assay/rows/v1\n" + b"\0" * 7 + b"\2" + b"a" * 16 + b"b" * 16
