"""Frames as Parquet: the same frame, in the same bytes, whoever writes it and however."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from polars.testing.parametric import dataframes

from assay.errors import Corrupt, Usage
from assay.pipeline.codec_frames import PARQUET


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "frame.parquet"


def trip(value: Any, hint: Any, path: Path) -> Any:
    PARQUET.encode(value, hint, path)
    return PARQUET.decode(path, hint)


# -- Polars ---------------------------------------------------------------------------------------

UTC = timezone.utc
RICH = pl.DataFrame(
    {
        "i": [1, None, 3],
        "f": [0.5, float("nan"), None],
        "s": ["a", None, ""],
        "b": [True, False, None],
        "d": [date(2024, 2, 29), None, date(1, 1, 1)],
        "t": [time(1, 2, 3, 4), None, time(0)],
        "raw": [b"\x00", None, b""],
        "dec": [Decimal("1.20"), None, Decimal("-3.00")],
        "l": [[1, 2], None, []],
        "st": [{"x": 1, "y": "a"}, None, {"x": None, "y": None}],
        "nothing": [None, None, None],
    }
).with_columns(
    pl.Series(
        "when", [datetime(2024, 1, 2, 3, tzinfo=UTC), None, datetime(1970, 1, 1, tzinfo=UTC)]
    ).dt.convert_time_zone("Europe/Berlin"),
    pl.Series("ns", [1, None, 3]).cast(pl.Datetime("ns")),
    pl.Series("took", [timedelta(1), None, timedelta(0)]),
    pl.Series("small", [1, None, 3], dtype=pl.UInt8),
    pl.Series("wide", [2**100, None, -3], dtype=pl.Int128),
    pl.Series("c", ["x", None, "y"], dtype=pl.Categorical),
    pl.Series("e", ["x", None, "y"], dtype=pl.Enum(["y", "x", "never"])),
    pl.Series("fixed", [[1.0, 2.0], None, [3.0, 4.0]], dtype=pl.Array(pl.Float32, 2)),
)


@pytest.mark.parametrize(
    "frame",
    [RICH, RICH[:0], RICH.select("i"), pl.DataFrame(), RICH[1:2], RICH.rename({"i": "*?[0]"})],
)
def test_a_polars_frame_comes_back_with_its_types(frame: pl.DataFrame, path: Path) -> None:
    back = trip(frame, pl.DataFrame, path)
    assert back.schema == frame.schema
    assert back.equals(frame)
    first = path.read_bytes()
    PARQUET.encode(back, pl.DataFrame, path)
    assert path.read_bytes() == first


def test_chunks_and_the_order_of_earlier_categories_do_not_show(path: Path) -> None:
    frame = pl.concat([RICH, RICH, RICH])
    PARQUET.encode(frame, pl.DataFrame, path)
    first = path.read_bytes()
    pl.Series(["zz", "y", "x"], dtype=pl.Categorical)
    for parts in ([frame[:1], frame[1:7], frame[7:]], [frame[:5], frame[5:]]):
        PARQUET.encode(pl.concat(parts, rechunk=False), pl.DataFrame, path)
        assert path.read_bytes() == first


PROCESS = """
import hashlib, sys
from pathlib import Path
import numpy as np, polars as pl, pandas as pd, pyarrow as pa
from assay.pipeline.codec_frames import PARQUET
rng = np.random.default_rng(5)
n = 700_000
plain = {"f": rng.normal(size=n), "i": rng.integers(0, 50, n), "big": rng.integers(0, 10**12, n)}
frame = pl.DataFrame(plain).with_columns(
    s=pl.format("k{}", "i"), c=pl.format("k{}", "i").cast(pl.Categorical)
)
if len(sys.argv) > 2:
    frame = pl.concat([frame[: n // 3], frame[n // 3 :]], rechunk=False)
table = pa.table({**plain, "s": frame["s"].to_list()[: n]})
for value, hint in ((frame, pl.DataFrame), (pd.DataFrame(plain), pd.DataFrame), (table, pa.Table)):
    path = Path(sys.argv[1]) / "x.parquet"
    PARQUET.encode(value, hint, path)
    print(hashlib.sha256(path.read_bytes()).hexdigest())
"""


@pytest.mark.slow
def test_two_processes_with_other_numbers_of_threads_write_the_same_bytes(tmp_path: Path) -> None:
    written = {
        subprocess.run(
            [sys.executable, "-c", PROCESS, str(tmp_path), *more],
            env={
                **os.environ,
                "POLARS_MAX_THREADS": threads,
                "OMP_NUM_THREADS": threads,
                "PYTHONHASHSEED": threads,
            },
            capture_output=True,
            check=True,
            text=True,
            timeout=300,
        ).stdout
        for threads, more in (("1", []), ("4", ["x"]))
    }
    assert len(written) == 1
    assert len(set(written.pop().split())) == 3


@settings(max_examples=40, deadline=None)
@given(
    dataframes(
        max_cols=4,
        max_size=6,
        excluded_dtypes=[pl.Object],
        allow_null=True,
    )
)
def test_any_polars_frame_comes_back(frame: pl.DataFrame) -> None:
    path = Path("/dev/shm" if Path("/dev/shm").is_dir() else "/tmp") / f"frame-{os.getpid()}"
    try:
        back = trip(frame, pl.DataFrame, path)
        assert back.schema == frame.schema
        assert back.equals(frame)
    finally:
        path.unlink(missing_ok=True)


@pytest.mark.parametrize(
    "column",
    [
        pl.Series("x", [object(), object()], dtype=pl.Object),
        pl.Series("x", [{1}, {2}], dtype=pl.Object),
    ],
)
def test_a_column_of_python_objects_is_refused(column: pl.Series, path: Path) -> None:
    with pytest.raises(Usage, match="'x' holds Python objects") as refused:
        PARQUET.encode(pl.DataFrame([column]), pl.DataFrame, path)
    assert refused.value.code == "usage.codec.column"


# -- pandas ---------------------------------------------------------------------------------------


def pandas_frame() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "i": [1, 2, 3],
            "f": [0.5, float("nan"), -0.0],
            "s": ["a", None, ""],
            "b": [True, False, True],
            "n": pd.array([1, None, 3], dtype="Int64"),
            "u": pd.array([1, None, 3], dtype="UInt8"),
            "m": pd.array([True, None, False], dtype="boolean"),
            "x": pd.array([0.5, None, 1.5], dtype="Float32"),
            "c": pd.Categorical(["lo", "hi", None], categories=["lo", "hi"], ordered=True),
            "k": pd.Categorical(["b", "a", "b"], categories=["b", "a"]),
            "when": pd.to_datetime(["2024-01-02", None, "1970-01-01"]),
            "zone": pd.to_datetime(["2024-01-02", None, "1970-01-01"]).tz_localize("Europe/Berlin"),
            "took": pd.to_timedelta([1, None, 3], unit="s"),
            "month": pd.period_range("2024-01", periods=3, freq="M"),
            "small": np.array([1, 2, 3], dtype="int8"),
            "ns": pd.to_datetime([1, 2, 3], unit="ns").astype("datetime64[ns]"),
        }
    )


@pytest.mark.parametrize(
    "change",
    [
        lambda frame: frame,
        lambda frame: frame[:0].drop(columns=["c", "k"]),
        lambda frame: frame[["i"]],
        lambda frame: frame[frame.columns[::-1]],
        lambda frame: frame[1:],
        lambda frame: frame[::2],
        lambda _: pd.DataFrame(),
        lambda frame: frame.rename_axis("row"),
        lambda frame: pd.concat([frame] * 3, ignore_index=True),
    ],
)
def test_a_pandas_frame_comes_back_with_its_types(
    change: Callable[[pd.DataFrame], pd.DataFrame], path: Path
) -> None:
    frame = change(pandas_frame())
    back = trip(frame, pd.DataFrame, path)
    pd.testing.assert_frame_equal(back, frame, check_exact=True)
    assert type(back.index) is pd.RangeIndex
    assert (np.signbit(back["f"]) == np.signbit(frame["f"])).all() if "f" in frame else True
    first = path.read_bytes()
    PARQUET.encode(back, pd.DataFrame, path)
    assert path.read_bytes() == first


def _with(**columns: Any) -> pd.DataFrame:
    return pd.DataFrame(columns)


def _attrs() -> pd.DataFrame:
    frame = _with(a=[1])
    frame.attrs["note"] = (1, 2)
    return frame


@pytest.mark.parametrize(
    ("frame", "code", "words"),
    [
        (_with(a=["x", "y"], b=[1, 2]).set_index("a"), "index", "reset_index()"),
        (pd.DataFrame({"a": [1, 2]}, index=[0, 1]), "index", "reset_index()"),
        (pd.DataFrame({"a": [1]}, index=["x"]), "index", "reset_index()"),
        (_with(a=[1, 2, 3, 4]).query("a != 2"), "index", "reset_index(drop=True)"),
        (pd.DataFrame({0: [1]}), "column", "str(name)"),
        (pd.DataFrame(index=pd.RangeIndex(3)), "column", "give it a column"),
        (pd.DataFrame([[1]], columns=pd.MultiIndex.from_tuples([("a", "b")])), "column", "str"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "column", "a name of its own"),
        (_with(a=[1]).rename_axis(columns="c"), "column", "rename_axis"),
        (_with(a=[{}, []]), "column", "astype"),
        (_with(a=pd.Series(["x", "y"], dtype=object)), "column", "astype"),
        (_with(a=pd.Categorical([(1,), (2,)])), "column", "astype"),
        (_with(a=[1 + 2j]), "column", "plain types"),
        (_with(a=pd.arrays.SparseArray([0, 1])), "column", "to_dense"),
        (_with(a=pd.Categorical(["x"]))[:0], "column", "categories that all occur"),
        (_attrs(), "column", "result"),
        (_with(a=pd.Categorical(["x"], categories=pd.Index([1, "x"], dtype=object))), "column", ""),
    ],
)
def test_a_pandas_frame_that_would_not_come_back_is_refused(
    frame: pd.DataFrame, code: str, words: str, path: Path
) -> None:
    with pytest.raises(Usage) as refused:
        PARQUET.encode(frame, pd.DataFrame, path)
    assert refused.value.code == f"usage.codec.{code}"
    assert words in refused.value.remedy


def test_categories_that_never_occur_come_back(path: Path) -> None:
    frame = _with(c=pd.Categorical(["b"], categories=["a", "b", "never"]))
    back = trip(frame, pd.DataFrame, path)
    assert list(back["c"].cat.categories) == ["a", "b", "never"]


# -- pyarrow --------------------------------------------------------------------------------------


def test_an_arrow_table_comes_back_with_its_types_and_metadata(path: Path) -> None:
    table = pa.table(
        {
            "l": pa.array(["a", None], pa.large_string()),
            "d": pa.array(["x", "y"]).dictionary_encode(),
            "m": pa.array([[("k", 1)], None], pa.map_(pa.string(), pa.int64())),
            "t": pa.array([1, None], pa.timestamp("ns", "Europe/Berlin")),
            "u": pa.array([b"0" * 16, None], pa.uuid()),
            "n": pa.array([[1], None], pa.large_list(pa.int8())),
            "k": pa.array(["b", "b"]).cast(pa.dictionary(pa.int8(), pa.large_string())),
        }
    ).replace_schema_metadata({"note": "mine"})
    back = trip(table, pa.Table, path)
    assert back.equals(table, check_metadata=True)


def test_chunks_and_slices_of_a_table_do_not_show(path: Path) -> None:
    words = pa.array(["x", "y", None, "z"] * 50)
    table = pa.table({"i": range(200), "s": words, "d": words.dictionary_encode()})
    PARQUET.encode(table, pa.Table, path)
    first = path.read_bytes()
    for parts in ((0, 7, 200), (0, 100, 150, 200)):
        pieces = [table.slice(a, b - a) for a, b in itertools.pairwise(parts)]
        PARQUET.encode(pa.concat_tables(pieces), pa.Table, path)
        assert path.read_bytes() == first
    longer = pa.concat_tables([pa.table({"i": [9], "s": ["q"]}), table.select(["i", "s"])])
    PARQUET.encode(table.select(["i", "s"]), pa.Table, path)
    first = path.read_bytes()
    PARQUET.encode(longer.slice(1), pa.Table, path)
    assert path.read_bytes() == first


class Foreign(pa.ExtensionType):  # pyright: ignore[reportUntypedBaseClass]
    def __init__(self) -> None:
        super().__init__(pa.int64(), "someone.else")

    def __arrow_ext_serialize__(self) -> bytes:
        return b""

    @classmethod
    def __arrow_ext_deserialize__(cls, storage_type: Any, serialized: bytes) -> Foreign:
        return cls()


def test_an_extension_type_of_others_is_refused(path: Path) -> None:
    column = pa.ExtensionArray.from_storage(Foreign(), pa.array([1, 2]))
    for nested in (column, pa.StructArray.from_arrays([column], ["inner"])):
        with pytest.raises(Usage, match=r"extension type someone\.else"):
            PARQUET.encode(pa.table({"x": nested}), pa.Table, path)


def test_a_file_that_brings_a_pickle_is_refused(path: Path) -> None:
    field = pa.field(
        "x",
        pa.int64(),
        metadata={
            "ARROW:extension:name": "arrow.py_extension_type",
            "ARROW:extension:metadata": "\u0080\u0004.",
        },
    )
    pq.write_table(pa.table({"x": [1]}).cast(pa.schema([field])), path)
    for hint in (pa.Table, pd.DataFrame):
        with pytest.raises(Usage, match="brings a pickle"):
            PARQUET.decode(path, hint)


def test_columns_of_one_name_are_refused(path: Path) -> None:
    table = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"])
    with pytest.raises(Usage, match="occurs twice"):
        PARQUET.encode(table, pa.Table, path)


# -- one file, several libraries ------------------------------------------------------------------


def test_what_one_library_wrote_another_reads(path: Path) -> None:
    frame = pl.DataFrame({"i": [2**53 + 1, None], "b": [True, None], "s": ["x", None], "w": [1, 2]})
    PARQUET.encode(frame, pl.DataFrame, path)
    read = PARQUET.decode(path, pd.DataFrame)
    assert list(read.columns) == ["i", "b", "s", "w"]
    assert read["i"].iloc[0] == 2**53 + 1
    assert read["i"].isna().tolist() == [False, True]
    assert (str(read["i"].dtype), str(read["b"].dtype)) == ("Int64", "boolean")
    assert str(read["w"].dtype) == "int64"
    assert PARQUET.decode(path, pa.Table).to_pydict() == frame.to_dict(as_series=False)
    PARQUET.encode(pandas_frame()[["i", "s", "n"]], pd.DataFrame, path)
    read = PARQUET.decode(path, pl.DataFrame)
    assert read.to_dict(as_series=False) == {
        "i": [1, 2, 3],
        "s": ["a", None, ""],
        "n": [1, None, 3],
    }


@pytest.mark.parametrize(
    ("value", "hint", "names", "remedy"),
    [
        (pl.DataFrame(), pd.DataFrame, ("pandas.DataFrame", "polars.DataFrame"), ""),
        (pd.DataFrame(), pl.DataFrame, ("pandas.DataFrame", "polars.DataFrame"), ""),
        (pl.DataFrame().lazy(), pl.DataFrame, ("polars.LazyFrame",), "collect()"),
        (pl.Series([1]), pl.DataFrame, ("polars.Series",), "to_frame()"),
        (pd.Series([1]), pd.DataFrame, ("pandas.Series",), "to_frame()"),
        ([1], pl.DataFrame, ("list", "polars.DataFrame"), "annotation"),
        (None, pa.Table, ("NoneType", "pyarrow.Table"), "annotation"),
    ],
)
def test_another_type_than_annotated_is_refused_naming_both(
    value: Any, hint: Any, names: tuple[str, ...], remedy: str, path: Path
) -> None:
    with pytest.raises(Usage) as refused:
        PARQUET.encode(value, hint, path)
    assert refused.value.code == "usage.step.type"
    assert all(name in refused.value.message for name in names)
    assert remedy in refused.value.remedy
    assert not path.exists()


@pytest.mark.parametrize("hint", [pl.DataFrame, pd.DataFrame, pa.Table])
@pytest.mark.parametrize("damage", ["empty", "cut", "head", "pickle"])
def test_a_damaged_file_is_refused(damage: str, hint: Any, path: Path) -> None:
    PARQUET.encode(RICH.select("i", "s"), pl.DataFrame, path)
    data = path.read_bytes()
    path.write_bytes(
        {"empty": b"", "cut": data[:-9], "head": data[:40], "pickle": b"\x80\x04N."}[damage]
    )
    with pytest.raises(Corrupt):
        PARQUET.decode(path, hint)


def test_the_time_zone_of_the_machine_does_not_show(path: Path) -> None:
    frame = pl.DataFrame({"t": [datetime(2024, 1, 1, tzinfo=UTC)]})
    assert trip(frame, pl.DataFrame, path).schema["t"] == pl.Datetime("us", "UTC")
