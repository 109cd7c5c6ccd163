"""What a label is: what is refused, each for its own reason, and how a batch is sealed."""

from __future__ import annotations

import io
import json
from datetime import datetime, timedelta, timezone
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.errors import Corrupt, Usage
from assay.monitor import labels
from assay.monitor.labels import KEPT, REASONS, check, pack, parse, rows_of, spell, unpack

NOW = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)
ID = "019cab00-0000-7000-8000-000000000001"
NAME = f"{ID}/0"


def checked(*given_: tuple[Any, Any, Any], classes: Any = (0, 1)) -> labels.Checked:
    return check(given_, now=NOW, classes=classes)


def reason(name: Any = NAME, value: Any = 1, at: Any = None, *, classes: Any = (0, 1)) -> str:
    found = checked((name, value, at), classes=classes)
    assert found.rows == 1
    return next(iter(found.refused), "")


def body(*given_: Any) -> bytes:
    return json.dumps({"labels": list(given_)}).encode()


# -- one label ------------------------------------------------------------------------------------


def test_a_label_is_kept_with_when_it_was_received() -> None:
    found = checked((f"{ID}/7", 1, "2026-03-01T11:00:00+01:00"))
    kept = found.frame.row(0, named=True)
    assert kept == {
        "prediction_id": ID,
        "row": 7,
        "label": "1",
        "at": NOW - timedelta(hours=2),
        "received": NOW,
    }
    assert found.frame.schema == KEPT


@pytest.mark.parametrize(
    "name",
    [
        "",
        ID,
        f"{ID}/",
        f"{ID}/-1",
        f"{ID}/01",
        f"{ID}/1.0",
        f"{ID}/1\n",
        f"{ID.upper()}/0",
        f"{{{ID}}}/0",
        f"{ID.replace('-7', '-4')}/0",
        f"{ID}/9999999999",
        f" {NAME}",
        7,
        None,
        [NAME],
    ],
)
def test_what_names_no_prediction_is_refused(name: Any) -> None:
    assert reason(name) == "id"


@pytest.mark.parametrize("value", [[1], {"a": 1}, float("nan"), float("inf"), 2**60, "x" * 257])
def test_what_is_no_value_is_refused(value: Any) -> None:
    assert reason(value=value, classes=[]) == "type"


def test_half_a_character_is_no_text() -> None:
    assert reason(value="\ud800", classes=[]) == "type"


def test_a_missing_label_is_no_label_and_not_zero() -> None:
    assert reason(value=None) == "missing"


def test_a_class_that_no_version_answers_is_refused() -> None:
    assert reason(value=2) == "class"
    assert reason(value="1") == "class"
    assert reason(value=1, classes=["no", "yes"]) == "class"
    assert reason(value="yes", classes=["no", "yes"]) == ""


def test_a_regressor_is_told_numbers_only() -> None:
    assert reason(value=0.25, classes=None) == ""
    assert reason(value="0.25", classes=None) == "type"


def test_of_a_model_whose_classes_nobody_knows_anything_is_taken() -> None:
    assert reason(value="x", classes=[]) == reason(value=1.5, classes=[]) == ""


@pytest.mark.parametrize(
    "at", ["yesterday", "2026-03-01", "2026-03-01T10:00:00", 17, True, "9999-12-31T23:59:59-24:00"]
)
def test_a_time_that_is_none_is_refused(at: Any) -> None:
    assert reason(at=at) == "time"


def test_a_label_from_the_future_is_refused_beyond_what_clocks_differ() -> None:
    assert reason(at=(NOW + timedelta(minutes=5)).isoformat()) == ""
    assert reason(at=(NOW + timedelta(minutes=5, milliseconds=1)).isoformat()) == "clock"


def test_a_wrong_label_takes_no_other_with_it() -> None:
    found = checked((NAME, 1, None), ("?", 1, None), (NAME, 7, None), (NAME, 0, None))
    assert found.frame["label"].to_list() == ["1", "0"]
    assert found.told() == {
        "rows": 4,
        "accepted": 2,
        "refused": {"class": 1, "id": 1},
        "examples": [{"place": 1, "reason": "id"}, {"place": 2, "reason": "class"}],
    }


def test_what_is_told_of_refused_labels_is_short_and_holds_no_value() -> None:
    found = checked(*[(NAME, "secret", None)] * 1000)
    assert len(found.examples) == 5
    assert "secret" not in json.dumps(found.told())


def test_every_reason_is_explained() -> None:
    assert {reason("?"), reason(value=None), reason(value=[]), reason(value=9)} < set(REASONS)


# -- how it is spelt ------------------------------------------------------------------------------


def test_the_same_label_has_one_spelling() -> None:
    assert {spell(1), spell(1.0), spell(True)} == {"1"}
    assert {spell(0), spell(-0.0), spell(False)} == {"0"}
    assert spell("1") == '"1"'


@given(st.text(max_size=300) | st.integers() | st.floats() | st.booleans())
def test_a_spelling_is_json_for_the_value(value: Any) -> None:
    text = spell(value)
    if text is not None:
        assert json.loads(text) == value


# -- bodies ---------------------------------------------------------------------------------------


def test_a_body_is_read() -> None:
    assert parse(body({"id": NAME, "label": 1, "at": "t"}, {"id": "x", "label": None})) == [
        (NAME, 1, "t"),
        ("x", None, None),
    ]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'{"labels": {}}',
        b'{"labels": [1]}',
        b'{"labels": [{"id": "a", "label": 1, "weight": 2}]}',
        b'{"labels": [], "more": 1}',
        b'{"labels": []}',
        b"\xff",
        b'{"labels": ' + b"[" * 100_000,
    ],
)
def test_a_body_of_another_form_is_refused(data: bytes) -> None:
    with pytest.raises(Usage) as caught:
        parse(data)
    assert caught.value.remedy


def test_a_body_has_a_most() -> None:
    one = {"id": NAME, "label": 1}
    assert len(parse(body(*[one] * labels.MOST_IN_BODY))) == labels.MOST_IN_BODY
    with pytest.raises(Usage, match="10,001"):
        parse(body(*[one] * (labels.MOST_IN_BODY + 1)))


# -- tables ---------------------------------------------------------------------------------------


def test_a_table_may_name_predictions_in_one_column_or_two() -> None:
    one = pl.DataFrame({"id": [NAME], "label": [1]})
    two = pl.DataFrame({"prediction_id": [ID], "row": [0], "label": [1], "note": ["x"]})
    assert list(rows_of(one, "f")) == list(rows_of(two, "f")) == [(NAME, 1, None)]


def test_a_time_in_a_table_without_a_timezone_is_in_utc() -> None:
    naive = pl.DataFrame({"id": [NAME], "label": [1], "at": [NOW.replace(tzinfo=None)]})
    assert checked(*rows_of(naive, "f")).frame["at"].to_list() == [NOW]


@pytest.mark.parametrize("columns", [["id"], ["label"], ["prediction_id", "label"], ["x"]])
def test_a_table_without_the_columns_is_refused(columns: list[str]) -> None:
    with pytest.raises(Usage, match="columns"):
        rows_of(pl.DataFrame({c: ["a"] for c in columns}), "f.csv")


# -- sealed batches -------------------------------------------------------------------------------

BATCHES = st.lists(
    st.tuples(
        st.integers(0, 99).map(lambda n: f"{ID}/{n}"),
        st.integers(-3, 3) | st.text(max_size=5) | st.floats(allow_nan=False),
        st.none()
        | st.integers(0, 10**15).map(lambda us: (NOW - timedelta(microseconds=us)).isoformat()),
    ),
    max_size=20,
)


@settings(max_examples=40, deadline=None)
@given(BATCHES)
def test_what_is_packed_comes_back(given_: list[tuple[Any, Any, Any]]) -> None:
    frame = checked(*given_, classes=[]).frame
    assert unpack(pack(frame)).equals(frame)


def test_a_batch_of_another_format_is_refused() -> None:
    data = pack(checked((NAME, 1, None)).frame)
    for altered in (b"", data[1:], data.replace(b"/v1", b"/v2", 1), data[:-9], data[:20]):
        with pytest.raises(Corrupt):
            unpack(altered)


def test_a_batch_with_other_columns_is_refused() -> None:
    out = io.BytesIO()
    pl.DataFrame({"a": [1]}).write_parquet(out)
    with pytest.raises(Corrupt, match="columns"):
        unpack(b"assay/labels/v1\n" + out.getvalue())


@pytest.mark.parametrize("part", [b"\xff", b"\xed\xa0\x80", b"\xc0\xaf"])
def test_a_body_that_is_no_utf8_is_refused_as_one(part: bytes) -> None:
    for form in (b"%s", b'{"labels": [{"id": "%s"}]}', b'{"labels": [{"label": "%s"}]}'):
        with pytest.raises(Usage, match="body"):
            parse(form % part)
