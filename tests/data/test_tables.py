from __future__ import annotations

import csv
import datetime
import io
import os
import tracemalloc
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.data.profile import schema
from assay.data.rows import Limits
from assay.data.tables import Table, read_stream, read_table
from assay.errors import NotFound, Usage


def read(content: bytes, **options: Any) -> Table:
    return read_stream(io.BytesIO(content), "people.csv", **options)


def refusal(content: bytes, **options: Any) -> Usage:
    """The error for `content`, checked to be one line that names the file and a remedy."""
    with pytest.raises(Usage) as caught:
        read(content, **options)
    error = caught.value
    assert "people.csv" in error.message
    assert "\n" not in error.message + error.remedy
    assert error.remedy
    return error


def attempt(content: bytes) -> Table | Usage:
    """What reading comes to; any other error is the test's."""
    try:
        return read(content)
    except Usage as error:
        return error


def parquet_of(frame: pl.DataFrame) -> bytes:
    stream = io.BytesIO()
    frame.write_parquet(stream)
    return stream.getvalue()


REFUSED = [
    (b"", "no_rows", "is empty"),
    (b"\n\r\n\n", "no_rows", "is empty"),
    (b"a,b", "no_rows", "header and no rows"),
    (b"a,b\r\n\r\n", "no_rows", "header and no rows"),
    (b"a,a\n1,2\n", "duplicate_column", "'a' occurs twice"),
    (b",\n1,2\n", "duplicate_column", "no name"),
    (b"column_2,\n1,2\n", "duplicate_column", "'column_2' occurs twice"),
    (b"a,b\n1,2\n3\n", "ragged", "line 3 has 1 fields, the header has 2"),
    (b"a,b\n1,2,3\n", "ragged", "line 2 has 3 fields, the header has 2"),
    (b"a,b\n1,2\n\n3,4\n", "ragged", "line 3 is empty"),
    (b'a,b\n"x\ny",2\n3\n', "ragged", "line 4 has 1 fields"),
    (b'a,b\n1,"x\n3,4\n', "quote", "line 2: a quote is opened and never closed"),
    (b'a,b\n1,x"y\n', "quote", "never closed"),
    (b"a,b\n1,2\0\n", "nul", "line 2: a NUL byte"),
    (b"a,b\n1,\xff\n", "encoding", "line 2: byte 0xff is not UTF-8"),
    (b"a,b\n1,\xc3", "encoding", "line 2: byte 0xc3 is not UTF-8"),
    (b"a\x07,b\n1,2\n", "header", "column 1"),
    (b"a\rb\r1\r", "header", "line 1: the header is not valid CSV"),
    (b'"a\nb",c\n1,2\n', "header", "column 1"),
    (b"x" * 300 + b"\n1\n", "header", "column 1"),
    (b"a;b\n1;2\n", "separator", "something other than commas"),
    (b"a\tb\n1\t2\n", "separator", "something other than commas"),
    (b"PK\x03\x04....", "kind", "ZIP archive or an Excel workbook"),
    (b"\x1f\x8b....", "kind", "gzip"),
    (b"\xff\xfea\0,\0", "kind", "UTF-16"),
    (b"\x80\x04K\x01.", "kind", "pickle"),
    (b"age\n34\nabc\n45\n", "mixed", "'age' mixes numbers with text, first in row 2"),
    (b"PAR1nothing", "unreadable", "not a valid Parquet file"),
]


@pytest.mark.parametrize(("content", "code", "words"), REFUSED, ids=[c for _, c, _ in REFUSED])
def test_hostile_bytes_end_as_one_line_naming_file_rule_and_remedy(
    content: bytes, code: str, words: str
) -> None:
    error = refusal(content)
    assert error.code == f"usage.data.{code}"
    assert words in error.message


def test_values_are_never_quoted_in_messages() -> None:
    for content in (b"age\n34\nsecret\n45\n", b"a,b\n1,secret\n2\n", b"a\nsecret\xff\n"):
        error = refusal(content)
        assert "secret" not in error.message + error.remedy + str(error.details)


def test_types_are_those_of_all_values() -> None:
    table = read(
        b"i,f,s,b,d,t\n"
        b"1,1.5,x,True,2026-01-31,2026-01-31T10:00:00\n"
        b"-2, 2 ,,FALSE,2026-02-01,2026-02-01T10:00:00\n"
        b",3e2,z,,,\n"
    )
    assert table.format == "csv"
    assert [c["type"] for c in schema(table.frame)] == [
        "int", "float", "string", "bool", "date", "date",
    ]  # fmt: skip
    row = (-2, 2.0, None, False, "2026-02-01", "2026-02-01 10:00:00")
    assert tuple(str(v) for v in table.frame.row(1)) == tuple(str(v) for v in row)


def test_spellings_of_no_value_are_missing_among_numbers_and_text_elsewhere() -> None:
    table = read(b"n,s\n1,NA\nNA,x\nNaN,null\n4,\n")
    assert table.frame["n"].to_list() == [1, None, None, 4]
    assert table.frame["s"].to_list() == ["NA", "x", "null", None]


def test_digits_that_name_something_stay_text() -> None:
    table = read(b"zip,iban\n01234,99999999999999999999\n22222,1\n")
    assert table.frame["zip"].to_list() == ["01234", "22222"]
    assert table.frame["iban"].to_list() == ["99999999999999999999", "1"]


def test_a_column_declared_as_text_may_mix() -> None:
    table = read(b"ticket\n113803\nA/5 21171\n17463\n", text=["ticket"])
    assert table.frame["ticket"].to_list() == ["113803", "A/5 21171", "17463"]


def test_a_byte_order_mark_and_windows_line_ends_are_no_content() -> None:
    table = read(b"\xef\xbb\xbfa,b\r\n1,x\r\n2,y\r\n\r\n")
    assert table.frame.to_dict(as_series=False) == {"a": [1, 2], "b": ["x", "y"]}


def test_the_one_nameless_column_is_called_after_its_place() -> None:
    assert read(b'"",b\n1,2\n').frame.columns == ["column_1", "b"]


def test_a_gigabyte_line_is_refused_without_holding_it() -> None:
    class Endless(io.RawIOBase):
        """A gigabyte without a line end."""

        given = 0

        def read(self, size: int = -1) -> bytes:
            assert size > 0
            self.given += size
            return b"x" * size if self.given <= 1 << 30 else b""

    source = Endless()
    tracemalloc.start()
    with pytest.raises(Usage, match=r"line 1: longer than 1,048,576 bytes"):
        read_stream(source, "people.csv")  # pyright: ignore[reportArgumentType]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16 << 20
    assert source.given < 8 << 20


def test_a_sparse_gigabyte_is_refused_at_its_first_byte(tmp_path: Path) -> None:
    path = tmp_path / "people.csv"
    with path.open("wb") as stream:
        stream.truncate(1 << 30)
    with pytest.raises(Usage, match="NUL"):
        read_table(path)


def test_limits_bind() -> None:
    assert refusal(b"a\n" + b"x" * 50, limits=Limits(line_bytes=49)).code.endswith("line_too_long")
    assert read(b"a\n" + b"x" * 50, limits=Limits(line_bytes=50)).frame.height == 1
    assert refusal(b"a\n1\n2\n", limits=Limits(file_bytes=5)).code.endswith("too_large")
    assert refusal(b"a,b\n1,2\n", limits=Limits(columns=1)).code.endswith("columns")
    many = parquet_of(pl.DataFrame({"a": pl.repeat(1, 100_000, eager=True)}))
    assert refusal(many, limits=Limits(cells=99_999)).code.endswith("too_large")


@given(
    lines=st.lists(st.integers(0, 3000), min_size=1, max_size=8),
    limit=st.integers(1, 3000),
    size=st.integers(1, 700),
)
def test_long_lines_are_found_however_the_stream_is_cut(
    lines: list[int], limit: int, size: int
) -> None:
    from assay.data import rows

    content = b"\n".join(b"x" * n for n in lines)
    pieces = [content[i : i + size] for i in range(0, len(content), size)]
    if max(lines) <= limit:
        assert rows.bounded(pieces, "t", Limits(line_bytes=limit)) == content
    else:
        first = next(i for i, n in enumerate(lines, 1) if n > limit)
        with pytest.raises(Usage, match=f"line {first}: longer"):
            rows.bounded(pieces, "t", Limits(line_bytes=limit))


def test_utf8_is_judged_across_pieces() -> None:
    from assay.data import rows

    content = "ä€𝄞\n".encode() * 3
    for size in (1, 2, 3, 5):
        pieces = [content[i : i + size] for i in range(0, len(content), size)]
        assert rows.bounded(pieces, "t", Limits()) == content
        with pytest.raises(Usage, match="line 4: byte 0xe2"):
            rows.bounded([*pieces, b"\xe2", b"\x82", b"x"], "t", Limits())


def test_paths_that_wander_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "people.csv"
    path.write_bytes(b"a\n1\n")
    link = tmp_path / "link.csv"
    link.symlink_to(path)
    with pytest.raises(Usage, match="symbolic link"):
        read_table(link)
    with pytest.raises(Usage, match=r"'\.\.'"):
        read_table(tmp_path / "sub" / ".." / "people.csv")
    with pytest.raises(Usage, match="unprintable"):
        read_table(tmp_path / "peo\nple.csv")
    with pytest.raises(Usage, match="unprintable"):
        read_table(tmp_path / "peo\0ple.csv")
    with pytest.raises(Usage, match="not a regular file"):
        read_table(tmp_path)
    with pytest.raises(NotFound):
        read_table(tmp_path / "absent.csv")
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(Usage, match="not a regular file"):
        read_table(tmp_path / "pipe.csv")
    assert read_table(path).frame.height == 1


EXPECTED = schema(pl.DataFrame({"age": [1.5, 2.0], "name": ["x", None], "ok": [True, False]}))


def test_columns_come_in_the_order_and_types_expected() -> None:
    table = read(b"name,ok,age\n007,true,3\n", expect=EXPECTED)
    assert table.frame.columns == ["age", "name", "ok"]
    assert table.frame.row(0) == (3.0, "007", True)
    empty = read(b"name,ok,age\n,true,3\n", expect=EXPECTED)
    assert empty.frame.row(0) == (3.0, None, True)


def test_wrong_columns_are_named() -> None:
    error = refusal(b"age,nmae,ok\n3,x,true\n", expect=EXPECTED)
    assert error.code == "usage.data.columns"
    assert error.details == {"missing": ["name"], "surplus": ["nmae"]}
    assert "lacks name and has nmae besides" in error.message
    error = refusal(b"age,name,ok\nold,x,true\n", expect=EXPECTED)
    assert "'age' holds string values; float was expected" in error.message
    error = refusal(b"age,name,ok\n,x,true\n4,x,true\n", expect=EXPECTED)
    assert "'age' has 1 rows without a value, first row 1" in error.message


def test_a_target_needs_a_finite_value_in_every_row() -> None:
    for cell in (b"NaN", b"", b"inf", b"-inf", b"1e999"):
        error = refusal(b"y,x\n1,1\n" + cell + b",1\n2,1\n", target="y")
        assert error.code == "usage.data.target_missing"
        assert "first in row 2" in error.message
    frame = pl.DataFrame({"y": [1.0, float("nan")]})
    assert refusal(parquet_of(frame), target="y").code == "usage.data.target_missing"
    assert refusal(b"y\n1\n", target="z").code == "usage.data.target"
    assert read(b"y\nyes\nno\n", target="y").frame.height == 2


def test_parquet_keeps_its_types_and_loses_its_nans() -> None:
    frame = pl.DataFrame(
        {
            "f": pl.Series([1.5, float("nan")], dtype=pl.Float32),
            "s": ["01", "2"],
            "c": pl.Series(["x", "y"], dtype=pl.Categorical),
            "d": [datetime.date(2026, 1, 1), None],
            "n": pl.Series([None, None], dtype=pl.Null),
        }
    )
    table = read(parquet_of(frame))
    assert table.format == "parquet"
    assert table.frame.to_dict(as_series=False) == {
        "f": [1.5, None],
        "s": ["01", "2"],
        "c": ["x", "y"],
        "d": [datetime.date(2026, 1, 1), None],
        "n": [None, None],
    }


def test_parquet_that_is_no_table_is_refused() -> None:
    assert refusal(parquet_of(pl.DataFrame({"a": [[1], [2]]}))).code == "usage.data.type"
    assert refusal(parquet_of(pl.DataFrame({"a": [b"x"]}))).code == "usage.data.type"
    assert refusal(parquet_of(pl.DataFrame({"a": []}))).code == "usage.data.no_rows"
    assert refusal(parquet_of(pl.DataFrame({"a\n": [1]}))).code == "usage.data.header"


def test_a_parquet_file_cut_short_is_refused() -> None:
    whole = parquet_of(pl.DataFrame({"a": list(range(100))}))
    for end in (4, 12, len(whole) // 2, len(whole) - 1):
        assert refusal(whole[:end]).code == "usage.data.unreadable"


@pytest.mark.slow
def test_altered_parquet_never_ends_this_process() -> None:
    import random

    whole = parquet_of(pl.DataFrame({"a": list(range(50)), "s": [f"v{i % 7}" for i in range(50)]}))
    generator = random.Random(5)  # noqa: S311
    for _ in range(25):
        altered = bytearray(whole)
        for _ in range(4):
            altered[generator.randrange(4, len(whole))] = generator.randrange(256)
        found = attempt(bytes(altered))
        assert isinstance(found, Table) or "\n" not in found.message


cells = st.text(
    st.characters(codec="utf-8", exclude_characters="\0\r", exclude_categories=["Cs"]), max_size=8
)


@given(rows=st.lists(st.lists(cells, min_size=3, max_size=3), min_size=1, max_size=8))
@settings(max_examples=150, deadline=None)
def test_text_comes_back_as_it_was_written(rows: list[list[str]]) -> None:
    stream = io.StringIO()
    writer = csv.writer(stream, quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writerow(["a", "b", "c"])
    writer.writerows(rows)
    table = read(stream.getvalue().encode(), text=["a", "b", "c"])
    assert [list(row) for row in table.frame.rows()] == rows


@given(st.binary(max_size=200) | st.text("ab,\"\n\r 1.'", max_size=40).map(str.encode))
@settings(max_examples=400, deadline=None)
def test_any_bytes_are_a_table_or_one_line(content: bytes) -> None:
    if content.startswith(b"PAR1"):
        return
    found = attempt(content)
    if isinstance(found, Usage):
        assert "\n" not in found.message
        assert found.remedy
    else:
        assert found.frame.height > 0
        assert len(set(found.frame.columns)) == found.frame.width
