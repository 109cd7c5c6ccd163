"""The prediction log: kept before it is acknowledged, in spools that end in time."""

from __future__ import annotations

import errno
import math
import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from assay.clock import FixedClock, timestamp
from assay.errors import NotFound, Unavailable, Usage
from assay.monitor import log, segments, spool
from assay.monitor.log import PredictionLog, pseudonym
from assay.monitor.spool import Record
from assay.store import Rings

sys.path.insert(0, str(Path(__file__).parent))

from logged import META, NAMING, START, Answered, log_in, rings_in


@pytest.fixture
def rings(tmp_path: Path) -> Rings:
    return rings_in(tmp_path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "spool"


def kept(folder: Path, rings: Rings) -> list[list[Record]]:
    """The records of every spool that is closed."""
    return [
        [log.decode(data) for _, data in found.records]
        for found in spool.recover(folder, rings.ring)
    ]


def test_an_answer_is_kept_with_its_time_and_version(folder: Path, rings: Rings) -> None:
    made = log_in(folder, rings)
    answer = Answered(rows=2)
    made.answered(answer)
    made.roll()
    ((record,),) = kept(folder, rings)
    assert (record.id, record.at, record.version) == (answer.id, timestamp(START), "1")
    assert record.columns == answer.columns
    assert record.extras == {"region": ["north", "north"]}
    assert (made.rows, made.failures) == (2, 0)


def test_a_spool_says_what_its_columns_mean(folder: Path, rings: Rings) -> None:
    import msgspec

    made = log_in(folder, rings)
    made.answered(Answered())
    made.roll()
    (found,) = spool.recover(folder, rings.ring)
    assert msgspec.convert(found.about, segments.Meta) == META


def test_whom_a_row_is_about_is_written_as_a_keyed_hash_alone(folder: Path, rings: Rings) -> None:
    made = log_in(folder, rings)
    made.answered(Answered(rows=3, people=["ann@example.org", None, ""]))
    made.roll()
    ((record,),) = kept(folder, rings)
    assert record.subject == [pseudonym(NAMING, "ann@example.org"), None, None]
    assert "who" not in record.extras
    assert b"ann@" not in log._encoder.encode(record)


def test_the_subject_may_be_an_input_of_the_model(folder: Path, rings: Rings) -> None:
    made = log_in(folder, rings, subject="c")
    made.answered(Answered())
    made.roll()
    ((record,),) = kept(folder, rings)
    assert record.subject == [pseudonym(NAMING, "x")]


def test_without_a_subject_column_rows_are_about_nobody(folder: Path, rings: Rings) -> None:
    made = log_in(folder, rings, subject="")
    made.answered(Answered())
    made.roll()
    ((record,),) = kept(folder, rings)
    assert record.subject is None


def test_a_number_and_its_text_are_one_person_and_other_keys_name_others() -> None:
    assert pseudonym(NAMING, 17) == pseudonym(NAMING, 17.0) == pseudonym(NAMING, "17")
    assert pseudonym(NAMING, 17) != pseudonym(NAMING, "17 ")
    assert pseudonym(NAMING, 17) != pseudonym(b"m" * 32, 17)
    assert {pseudonym(NAMING, nobody) for nobody in (None, "", math.nan)} == {None}


def test_the_subject_is_no_extra_column_besides(folder: Path, rings: Rings) -> None:
    with pytest.raises(Usage):
        log_in(folder, rings, subject="region")


def test_a_spool_ends_with_its_rows_its_bytes_its_day_and_its_time(
    folder: Path, rings: Rings
) -> None:
    clock = FixedClock(START)
    for given, rows, moved in (
        ({"most_rows": 3}, 3, timedelta()),
        ({"most_bytes": 1}, 1, timedelta()),
        ({"most_seconds": 0.0}, 1, timedelta()),
        ({}, 1, timedelta(hours=12)),
    ):
        made = log_in(folder, rings, clock=clock, **given)
        made.answered(Answered(rows=rows))
        assert kept(folder, rings) == []
        clock.advance(moved)
        made.answered(Answered())
        closed = list(spool.recover(folder, rings.ring))
        assert len(closed) == 1, given
        closed[0].remove()
        made.roll()
        for found in spool.recover(folder, rings.ring):
            found.remove()


def test_every_segment_lies_within_one_day(folder: Path, rings: Rings) -> None:
    clock = FixedClock(START)
    made = log_in(folder, rings, clock=clock)
    for _ in range(5):
        made.answered(Answered())
        clock.advance(timedelta(hours=7))
    made.roll()
    days = [{record.at[:10] for record in some} for some in kept(folder, rings)]
    assert days == [{"2026-01-01"}, {"2026-01-02"}]


def test_rolling_nothing_makes_nothing(folder: Path, rings: Rings) -> None:
    made = log_in(folder, rings)
    assert made.roll() is None
    assert not folder.exists()


def test_two_logs_of_one_endpoint_do_not_meet(folder: Path, rings: Rings) -> None:
    first, second = log_in(folder, rings), log_in(folder, rings)
    for made in (first, second, first):
        made.answered(Answered())
    first.roll()
    assert [len(some) for some in kept(folder, rings)] == [2]
    second.roll()
    assert sorted(len(some) for some in kept(folder, rings)) == [1, 2]


# -- what fails -----------------------------------------------------------------------------------


def test_an_answer_that_finds_the_disk_full_is_refused_and_the_next_one_kept(
    folder: Path, rings: Rings, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = log_in(folder, rings)
    before = Answered()
    made.answered(before)

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", full)
        for _ in range(3):
            with pytest.raises(Unavailable):
                made.answered(Answered())
    after = Answered()
    made.answered(after)
    made.roll()
    assert [[record.id for record in some] for some in kept(folder, rings)] == [
        [before.id],
        [after.id],
    ]
    assert (made.rows, made.failures) == (2, 3)


_SMALL = """
import resource, signal, sys
sys.path.insert(0, sys.argv[2])
from pathlib import Path
from logged import Answered, log_in, rings_in
from assay.errors import Unavailable
base = Path(sys.argv[1])
made = log_in(base / "spool", rings_in(base))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))
kept = 0
try:
    while True:
        made.answered(Answered())
        kept += 1
except Unavailable as error:
    print(kept, error.code)
# The next one begins another file.
made.answered(Answered())
print("again")
"""


def test_a_file_that_really_cannot_grow_refuses_and_keeps_what_it_had(
    tmp_path: Path, folder: Path, rings: Rings
) -> None:
    command = [sys.executable, "-c", _SMALL, str(tmp_path), str(Path(__file__).parent)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    count, code, again = done.stdout.split()
    assert (code, again) == ("unavailable.spool.write", "again")
    first, second = kept(folder, rings)
    assert len(first) == int(count) > 3
    assert len(second) == 1


def test_without_its_ring_nothing_is_kept_or_acknowledged(folder: Path, rings: Rings) -> None:
    made = log_in(folder, rings)
    rings.destroy("p/predictions")
    with pytest.raises(NotFound):
        made.answered(Answered())
    assert made.failures == 1


def test_an_answer_that_is_too_large_is_refused_and_leaves_the_spool_in_use(
    folder: Path, rings: Rings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool, "MOST_RECORD", 2000)
    made = log_in(folder, rings)
    made.answered(Answered())
    with pytest.raises(Usage):
        made.answered(Answered(rows=500))
    made.answered(Answered())
    made.roll()
    assert [len(some) for some in kept(folder, rings)] == [2]


def test_a_name_that_leaves_the_folder_is_refused(tmp_path: Path) -> None:
    for project, endpoint in (("..", "a"), ("p", "../q"), ("p", "")):
        with pytest.raises(Usage):
            log.folder_of(tmp_path, project, endpoint)


def test_a_log_needs_no_more_than_a_ring_and_a_clock(folder: Path, rings: Rings) -> None:
    made = PredictionLog(
        folder,
        lambda: rings.ring("p/predictions"),
        META,
        clock=FixedClock(START),
        naming=NAMING,
    )
    made.answered(Answered())
    assert made.close() is not None


def test_a_file_that_somebody_removes_is_noticed_and_the_next_answers_are_kept(
    folder: Path, rings: Rings
) -> None:
    """What is written to it reaches nobody: it must not be acknowledged for long."""
    made = log_in(folder, rings)
    made.answered(Answered())
    (path,) = folder.glob("*.spool")
    path.unlink()
    refused = 0
    for _ in range(100_000):
        try:
            made.answered(Answered())
        except Unavailable:
            refused += 1
            break
    assert refused == made.failures == 1
    last = Answered()
    made.answered(last)
    made.roll()
    assert [[record.id for record in records] for records in kept(folder, rings)] == [[last.id]]
