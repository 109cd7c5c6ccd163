"""Segments: what goes in comes out, in columns that do not depend on what was asked."""

from __future__ import annotations

import io
import math
import sys
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from assay import ids
from assay.errors import Corrupt, Usage
from assay.monitor import segments
from assay.monitor.segments import Column, Meta, Output
from assay.monitor.spool import Record, Values

sys.path.insert(0, str(Path(__file__).parent))

from logged import META, START, Answered, record

COLUMNS = [
    *("prediction_id", "row", "at", "version", "actor", "subject"),
    *("in.a", "in.b", "in.c", "extra.region", "out.label", "out.probabilities"),
]


def shifted(rows: Sequence[tuple[str, datetime, str, bytes]]) -> list[tuple[bytes, bytes]]:
    """Stands for sealing: the place is part of it."""
    return [
        (who.encode(), place.encode() + b"|" + content[::-1]) for who, _, place, content in rows
    ]


def unshifted(*gone: str) -> segments.Opener:
    def open_sealed(rows: Sequence[tuple[bytes, str, bytes]]) -> list[bytes | None]:
        opened: list[bytes | None] = []
        for who, place, sealed in rows:
            there, _, content = sealed.partition(b"|")
            assert not sealed or there == place.encode()
            opened.append(None if not sealed or who.decode() in gone else content[::-1])
        return opened

    return open_sealed


def test_what_goes_in_comes_out_in_the_columns_that_are_promised() -> None:
    first = record(rows=2, value=0.25, people=["ab", None])
    second = record(at=START + timedelta(seconds=1.5))
    frame, meta = segments.read(segments.build([first, second], META))
    assert frame.columns == COLUMNS
    assert frame["prediction_id"].to_list() == [first.id, first.id, second.id]
    assert frame["row"].to_list() == [0, 1, 0]
    assert frame["subject"].to_list() == ["ab", None, None]
    assert frame["at"].to_list() == [START, START, START + timedelta(seconds=1.5)]
    assert frame["out.probabilities"].to_list() == [[0.75, 0.25], [0.75, 0.25], [0.5, 0.5]]
    assert frame.schema["at"] == pl.Datetime("us", "UTC")
    assert frame.schema["out.label"] == pl.Int64
    assert meta == META


def test_columns_are_the_same_when_nothing_but_missing_values_came() -> None:
    usual, _ = segments.read(segments.build([record()], META))
    empty = msgspec.structs.replace(
        record(), columns={"a": [math.nan], "b": [None], "c": [None]}, extras={}
    )
    missing, _ = segments.read(segments.build([empty], META))
    assert missing.schema == usual.schema
    nothing, meta = segments.read(segments.build([], META))
    assert nothing.schema == usual.schema
    assert (nothing.height, meta) == (0, META)


VALUES = st.one_of(st.none(), st.floats(), st.integers(-(2**53), 2**53))
TEXTS = st.one_of(st.none(), st.text(max_size=8))


@st.composite
def records(draw: st.DrawFn) -> list[Record]:
    made: list[Record] = []
    for _ in range(draw(st.integers(0, 4))):
        rows = draw(st.integers(1, 3))
        each = [draw(st.lists(kind, min_size=rows, max_size=rows)) for kind in (VALUES, TEXTS)]
        who = draw(
            st.none() | st.lists(st.sampled_from(["ab", "cd", None]), min_size=rows, max_size=rows)
        )
        scores = draw(st.lists(st.floats(0, 1), min_size=2 * rows, max_size=2 * rows))
        made.append(
            Record(
                ids.new_id(),
                "2026-01-01T12:00:00.001Z",
                "1",
                "id-web",
                {"a": each[0], "b": [1.5] * rows, "c": each[1]},
                {},
                [Values("label", [rows], [0] * rows), Values("probabilities", [rows, 2], scores)],
                who,
            )
        )
    return made


@settings(max_examples=40, deadline=None)
@given(records())
def test_any_values_come_back_the_same_sealed_or_not(given: list[Record]) -> None:
    plain, meta = segments.read(segments.build(given, META))
    assert plain.height == sum(r.rows for r in given)
    sealed, opened = segments.read(
        segments.build(given, META, seal=shifted), open_sealed=unshifted()
    )
    assert_frame_equal(plain, sealed)
    assert meta == opened


def test_nothing_that_is_sealed_about_somebody_is_in_the_file() -> None:
    given = record(people=["ab"])
    given = msgspec.structs.replace(given, columns={**given.columns, "c": ["unmistakable"]})
    data = segments.build([given], META, seal=shifted)
    stored = pl.read_parquet(io.BytesIO(data))
    for name in stored.columns:
        if name.partition(".")[0] in ("in", "extra", "out") or name == "subject":
            assert stored[name].null_count() == 1, name
    assert b"unmistakable" not in data


def test_exactly_the_rows_of_a_destroyed_key_are_gone_and_counted() -> None:
    given = [record(people=["ab", None, "cd"], rows=3, value=0.1), record(people=["ab"], value=0.9)]
    data = segments.build(given, META, seal=shifted)
    frame, meta = segments.read(data, open_sealed=unshifted("ab"))
    assert frame["subject"].to_list() == [None, "cd"]
    assert frame["row"].to_list() == [1, 2]
    assert meta.erased == 2
    nobody, counted = segments.read(data)
    assert (nobody.height, counted.erased) == (1, 3)


def test_rows_keep_their_order_whoever_they_are_about() -> None:
    people = ["cd", None, "ab", "cd", None]
    given = record(rows=5, people=people)
    data = segments.build([given], META, seal=shifted)
    frame, _ = segments.read(data, open_sealed=unshifted())
    assert frame["row"].to_list() == [0, 1, 2, 3, 4]
    assert frame["subject"].to_list() == people


def test_wide_inputs_and_text_labels_have_columns_of_their_kind() -> None:
    meta = Meta(
        "m",
        "2",
        META.digest,
        [Column("pixels", "FP32", 3), Column("words", "BYTES", -1), Column("flag", "BOOL")],
        [Output("label", "BYTES", [-1]), Output("value", "FP64", [-1])],
    )
    given = Record(
        ids.new_id(),
        "2026-01-01T12:00:00.000Z",
        "2",
        "id-web",
        {"pixels": [[1.0, 2.0, math.nan]], "words": [["a", "b"]], "flag": [True]},
        {},
        [Values("label", [1], ["yes"]), Values("value", [1], [0.25])],
    )
    frame, back = segments.read(segments.build([given], meta))
    assert frame["in.words"].to_list() == [["a", "b"]]
    assert frame["in.flag"].to_list() == [1.0]
    assert frame["out.label"].to_list() == ["yes"]
    assert segments.scores(frame, back, "yes").tolist() == [0.25]


def test_segments_of_one_version_can_be_put_together() -> None:
    frames = [
        segments.read(segments.build([each], META))[0]
        for each in (record(), record(rows=3, people=["ab", "cd", None]))
    ]
    assert pl.concat(frames).height == 4


# -- scores ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("classes", "positive", "wanted"),
    [
        ([0, 1], 1, [0.9]),
        ([0, 1], "1", [0.9]),
        ([0, 1], 0, [0.1]),
        (["bad", "good"], "bad", [0.1]),
        ([], 1, [0.9]),
    ],
)
def test_the_score_of_a_class_is_found_by_its_name(
    classes: list[int | str], positive: int | str, wanted: list[float]
) -> None:
    outputs = [META.outputs[0], Output("probabilities", "FP32", [-1, 2], classes)]
    meta = msgspec.structs.replace(META, outputs=outputs)
    frame, _ = segments.read(segments.build([record(value=0.9)], meta))
    assert segments.scores(frame, meta, positive) == pytest.approx(wanted)


@pytest.mark.parametrize("positive", ["good", 2, -1])
def test_a_class_that_the_model_does_not_know_is_an_error_and_no_silent_column(
    positive: int | str,
) -> None:
    frame, meta = segments.read(segments.build([record()], META))
    with pytest.raises(Usage, match="is a score of"):
        segments.scores(frame, meta, positive)


def test_scores_of_no_rows_are_none() -> None:
    frame, meta = segments.read(segments.build([], META))
    assert segments.scores(frame, meta, 1).tolist() == []


# -- what does not fit ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changed",
    [
        {"columns": {}},
        {"columns": {"a": [1.0], "b": [1.0]}},
        {"columns": {"a": [1.0], "b": [1.0], "c": ["x"], "d": [1.0]}},
        {"columns": {"a": [1.0, 2.0], "b": [1.0], "c": ["x"]}},
        {"extras": {"region": ["north", "south"]}},
        {"outputs": []},
        {"outputs": Answered(rows=2).outputs},
        {"subject": ["ab", "cd"]},
    ],
)
def test_a_record_that_does_not_fit_its_model_is_refused(changed: dict[str, Any]) -> None:
    with pytest.raises(Corrupt, match="does not fit"):
        segments.build([msgspec.structs.replace(record(), **changed)], META)


def _without_metadata() -> bytes:
    out = io.BytesIO()
    pl.DataFrame({"row": [1]}).write_parquet(out)
    return out.getvalue()


def _of_the_future() -> bytes:
    return segments.build([record()], META).replace(
        b"assay/predictions/v1", b"assay/predictions/v9"
    )


@pytest.mark.parametrize(
    "data", [b"", b"PAR1", b"PAR1" * 100, _without_metadata(), _of_the_future()]
)
def test_what_is_no_segment_is_refused(data: bytes) -> None:
    with pytest.raises(Corrupt, match="damaged, or of a newer format"):
        segments.read(data)


@pytest.mark.parametrize(
    ("datatype", "alone", "many"),
    [("FP32", 0.5, [0.25, 0.75]), ("INT64", 2**63 - 1, [1, 2]), ("BYTES", "x", ["y", None])],
)
def test_rows_of_any_width_stand_beside_single_values_in_one_segment(
    datatype: str, alone: Any, many: list[Any]
) -> None:
    """Else one request would keep all others of its segment from being sealed."""
    meta = msgspec.structs.replace(
        META, inputs=[Column("a", datatype, -1)], extras=[], outputs=META.outputs[:1]
    )
    given_ = [
        Record(
            ids.new_id(),
            "2026-01-01T12:00:00.000Z",
            "1",
            "id-web",
            {"a": values},
            {},
            [Values("label", [len(values)], [1] * len(values))],
        )
        for values in ([alone], [many], [alone, alone])
    ]
    for subject in (None, ["p"]):
        people = [msgspec.structs.replace(r, subject=subject and subject * r.rows) for r in given_]
        data = segments.build(people, meta, seal=shifted if subject else None)
        frame, _ = segments.read(data, open_sealed=unshifted())
        held = frame["in.a"].to_list()
        single = alone if datatype == "BYTES" else float(alone)
        assert held == [[single], many, [single], [single]]
