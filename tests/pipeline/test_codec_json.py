"""Plain values as JSON: exactly what was returned, or a refusal that says where it differs."""

from __future__ import annotations

import dataclasses
import enum
import math
import subprocess
import sys
import uuid
import zoneinfo
from collections import Counter, OrderedDict, defaultdict
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypedDict

import msgspec
import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.errors import Corrupt, Usage
from assay.pipeline.codec_json import BYTES, JSON


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    LOW = 1


class Point(NamedTuple):
    x: float
    y: float


class Options(TypedDict, total=False):
    depth: int
    name: str


@dataclasses.dataclass(frozen=True)
class Metrics:
    auc: float
    when: datetime | None = None
    by: dict[str, float] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(eq=False)
class Unequal:
    x: int


class Record(msgspec.Struct, rename="camel", omit_defaults=True):
    first_name: str
    scores: tuple[float, ...] = ()


class Wider(Record):
    extra: int = 7


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "value.json"


def trip(value: Any, hint: Any, path: Path) -> Any:
    JSON.encode(value, hint, path)
    return JSON.decode(path, hint)


UTC = timezone.utc
EXACT: list[tuple[Any, Any]] = [
    (None, None),
    (True, bool),
    (2**53 + 1, int),
    (-(2**200), int),
    (0.1, float),
    (5e-324, float),
    (1e300, float),
    ("\u00e9\u0000\U0001f600", str),
    ([1, 2], list[int]),
    ((1, "a"), tuple[int, str]),
    ((1, 2, 3), tuple[int, ...]),
    ([(1, 2.0)], list[tuple[int, float]]),
    ({"b": 1, "a": 2}, dict[str, int]),
    ({1: "x", -2: "y"}, dict[int, str]),
    ({2.5: 1}, dict[float, int]),
    ({3, 1, 2}, set[int]),
    (frozenset({"b", "a"}), frozenset[str]),
    ({"k": b"\x00\xff"}, dict[str, bytes | None]),
    ([b"ab"], list[bytes]),
    (Colour.RED, Colour),
    ({"k": Level.LOW}, dict[str, Level]),
    ("a", Literal["a", "b"]),
    (Point(1.0, -0.0), Point),
    ({"depth": 3}, Options),
    (Metrics(0.5, datetime(2024, 1, 2, 3, 4, 5, 6, tzinfo=UTC), {"x": 1.0}), Metrics),
    (Unequal(3), Unequal),
    (Record("Ada", (1.0, 2.0)), Record),
    ([Record("Ada")], list[Record]),
    (datetime(2024, 1, 2, tzinfo=UTC).replace(tzinfo=None), datetime),
    (datetime(2024, 1, 2, tzinfo=timezone(timedelta(hours=2))), datetime),
    (datetime(2024, 1, 2, tzinfo=zoneinfo.ZoneInfo("UTC")), datetime),
    (date(2024, 2, 29), date),
    (time(1, 2, 3), time),
    (timedelta(days=-3, microseconds=1), timedelta),
    (Decimal("1.00"), Decimal),
    (uuid.UUID(int=5), uuid.UUID),
    (1, int | float),
    (1.0, int | float),
    ({"a": [1, 2.0, None, True, {"b": "x"}]}, dict[str, Any]),
    ([1.0, 1], list),
]


@pytest.mark.parametrize(("value", "hint"), EXACT, ids=[str(hint) for _, hint in EXACT])
def test_a_value_comes_back_exactly(value: Any, hint: Any, path: Path) -> None:
    back = trip(value, hint, path)
    assert type(back) is type(value)
    assert repr(back).replace("zoneinfo.ZoneInfo(key='UTC')", "datetime.timezone.utc") == repr(
        value
    ).replace("zoneinfo.ZoneInfo(key='UTC')", "datetime.timezone.utc") or isinstance(
        value, (set, frozenset, dict, Unequal)
    )
    assert back == value or isinstance(value, Unequal)
    first = path.read_bytes()
    JSON.encode(back, hint, path)
    assert path.read_bytes() == first


@pytest.mark.parametrize(
    ("value", "hint", "back"),
    [
        (1, float, 1.0),
        ([1, 2.5], list[float], [1.0, 2.5]),
        (np.float64(2.5), float, 2.5),
        ({"a": np.float64(2)}, dict[str, Any], {"a": 2.0}),
        (np.str_("x"), str, "x"),
        (Counter("aab"), dict[str, int], {"a": 2, "b": 1}),
        (defaultdict(list, a=[1]), dict[str, list[int]], {"a": [1]}),
        (OrderedDict(a=1), dict, {"a": 1}),
        (Level.LOW, int, 1),
    ],
)
def test_a_kind_of_what_the_annotation_says_counts_as_that(
    value: Any, hint: Any, back: Any, path: Path
) -> None:
    found = trip(value, hint, path)
    assert found == back
    assert type(found) is type(back)


def test_the_sign_of_a_zero_survives(path: Path) -> None:
    assert math.copysign(1, trip({"z": -0.0}, dict[str, float], path)["z"]) == -1


@pytest.mark.parametrize(
    ("value", "hint", "place", "words"),
    [
        ([float("nan")], list[float], "[0]", "nan"),
        ([{}, {}, {}, {"auc": float("inf")}], list[dict[str, float]], "[3].auc", "inf"),
        ({"odd key": [1.0, -math.inf]}, dict[str, list[float]], "['odd key'][1]", "-inf"),
        (Metrics(math.nan), Metrics, ".auc", "nan"),
        ({"a": {"b": "x"}}, dict[str, dict[str, int]], ".a.b", "Expected int, got str"),
        ([1, "x"], list[int], "[1]", "Expected int, got str"),
        ((1, 2), tuple[int, str], "[1]", "Expected str, got int"),
        (1.5, int, "", "Expected int, got float"),
        (1.0, int, "", "Expected int, got float"),
        (True, int, "", "Expected int, got bool"),
        (1, bool, "", "Expected bool, got int"),
        ("c", Literal["a"], "", "Invalid enum value"),
        (None, int, "", "Expected int, got null"),
        ((1, 2), list[int], "", "is a tuple, which would come back as a list"),
        ([1], tuple[int, ...], "", "is a list, which would come back as a tuple"),
        ([2, 1], set[int], "", "is a list, which would come back as a set"),
        ({"x": (1,)}, dict[str, Any], ".x", "is a tuple, which would come back as a list"),
        ({1: 2}, dict[str, int], "", "the key"),
        ({1: 2}, dict, "", "the key"),
        ({1: 2, "1": 3}, dict[int | str, int], "", ""),
        ({True: 1}, dict[str, int], "", "cannot be written as JSON"),
        ({(1, 2): 1}, dict, "", "cannot be written as JSON"),
        (2**53 + 1, float, "", "9007199254740992.0"),
        ({1, "a"}, set[int | str], "", "no order"),
        (Wider("Ada"), Record, "", "Wider, which would come back as"),
        ({"depth": 1, "more": 2}, Options, "", "the key 'more'"),
        ({"k": np.int64(3)}, dict[str, int], ".k", "numpy.int64"),
        ({"k": np.arange(3)}, dict[str, Any], ".k", "numpy.ndarray"),
        ([pl.DataFrame()], list[Any], "[0]", "DataFrame"),
        (pd.Timestamp("2024-01-01"), datetime, "", "Timestamp"),
        (pl.DataFrame(), dict[str, Any], "", "DataFrame"),
        ("\ud800", str, "", "surrogate"),
        ({"\ud800": 1}, dict[str, int], "", "surrogate"),
        (
            datetime(2024, 1, 2, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin")),
            datetime,
            "",
            "Europe/Berlin",
        ),
    ],
)
def test_what_would_not_come_back_is_refused_naming_the_place(
    value: Any, hint: Any, place: str, words: str, path: Path
) -> None:
    with pytest.raises(Usage) as refused:
        JSON.encode(value, hint, path)
    assert refused.value.code == "usage.step.type"
    assert words in refused.value.message
    assert refused.value.details.get("path", "") == place
    assert place in refused.value.message
    assert refused.value.remedy
    assert not path.exists()


def test_a_number_too_long_to_be_read_again_is_refused(path: Path) -> None:
    with pytest.raises(Usage, match="cannot be written as JSON"):
        JSON.encode(10**5000, int, path)


def test_a_value_that_holds_itself_is_refused(path: Path) -> None:
    value: list[Any] = []
    value.append(value)
    with pytest.raises(Usage, match="holds itself"):
        JSON.encode(value, list[Any], path)


@pytest.mark.parametrize(
    ("value", "given", "taken", "back"),
    [
        ((1, 2), tuple[int, int], list[int], [1, 2]),
        (1, int, float, 1.0),
        (Metrics(0.5), Metrics, dict[str, Any], {"auc": 0.5, "when": None, "by": {}}),
        ({"depth": 1}, dict[str, int], Options, {"depth": 1}),
        ("red", str, Colour, Colour.RED),
    ],
)
def test_another_annotation_reads_what_it_can_hold(
    value: Any, given: Any, taken: Any, back: Any, path: Path
) -> None:
    JSON.encode(value, given, path)
    found = JSON.decode(path, taken)
    assert found == back
    assert type(found) is type(back)


@pytest.mark.parametrize(
    ("value", "given", "taken"),
    [
        (2**53 + 1, int, float),
        (1.5, float, int),
        ([2, 1, 1], list[int], set[int]),
        ({"depth": 1, "more": 2}, dict[str, int], Options),
        ({}, dict[str, int], Metrics),
        ({"auc": 1.0}, dict[str, float], Metrics),
        ("blue", str, Colour),
    ],
)
def test_another_annotation_loses_and_makes_up_nothing(
    value: Any, given: Any, taken: Any, path: Path
) -> None:
    JSON.encode(value, given, path)
    with pytest.raises(Usage) as refused:
        JSON.decode(path, taken)
    assert refused.value.code == "usage.step.type"


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"\xff", b"NaN", b"[Infinity]", b'{"a":1,"a":2}', b"[" * 100_000, b"1 2"],
)
def test_bytes_that_are_not_strict_json_are_refused(data: bytes, path: Path) -> None:
    path.write_bytes(data)
    with pytest.raises(Corrupt, match="not strict JSON"):
        JSON.decode(path, Any)


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
LEAVES: st.SearchStrategy[Any] = (
    st.none()
    | st.booleans()
    | st.integers()
    | TEXT
    | st.floats(allow_nan=False, allow_infinity=False)
)
JSONS = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=20,
)


@settings(max_examples=200, deadline=None)
@given(JSONS)
def test_any_json_comes_back_and_has_one_spelling(value: Any) -> None:
    path = Path("/dev/shm" if Path("/dev/shm").is_dir() else "/tmp") / f"json-{uuid.uuid4()}"
    try:
        back = trip({"v": value}, dict[str, Any], path)
        data = path.read_bytes()
        assert _typed(back) == _typed({"v": value})
        shuffled = _reversed({"v": value})
        JSON.encode(shuffled, dict[str, Any], path)
        assert path.read_bytes() == data
    finally:
        path.unlink(missing_ok=True)


def _typed(value: Any) -> Any:
    """A value whose equality looks at types and the signs of zeroes."""
    if isinstance(value, dict):
        return {key: _typed(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_typed(item) for item in value]
    return type(value), repr(value)


def _reversed(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _reversed(value[key]) for key in reversed(value)}
    if isinstance(value, list):
        return [_reversed(item) for item in value]
    return value


def test_the_order_of_sets_does_not_depend_on_the_process(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from assay.pipeline.codec_json import JSON;"
        "JSON.encode({'abc', 'x', 'yz', 'q'}, set[str], Path(sys.argv[1]))"
    )
    for seed in ("1", "2", "3"):
        subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / seed)],
            env={"PYTHONHASHSEED": seed, "PATH": ""},
            check=True,
            timeout=60,
        )
    assert {(tmp_path / seed).read_bytes() for seed in "123"} == {b'["abc","q","x","yz"]'}


def test_bytes_are_kept_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "x.bin"
    for value in (b"", b"\x80\x04N."):
        BYTES.encode(value, bytes, path)
        assert path.read_bytes() == value
        assert BYTES.decode(path, bytes) == value


@pytest.mark.parametrize("value", ["text", bytearray(b"x"), memoryview(b"x"), None])
def test_something_else_than_bytes_is_refused(value: Any, tmp_path: Path) -> None:
    with pytest.raises(Usage, match="says bytes") as refused:
        BYTES.encode(value, bytes, tmp_path / "x")
    assert refused.value.code == "usage.step.type"
    assert type(value).__name__ in refused.value.message
