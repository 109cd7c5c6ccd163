"""The spool: what was acknowledged is there, whatever dies, fills up or flips."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from assay import files
from assay.errors import Unavailable, Usage
from assay.monitor import spool
from assay.monitor.spool import Recovered, Spool
from assay.store import Rings

sys.path.insert(0, str(Path(__file__).parent))

from logged import rings_in

ABOUT = {"endpoint": "score"}


@pytest.fixture
def rings(tmp_path: Path) -> Rings:
    return rings_in(tmp_path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "spool"


def begun(folder: Path, rings: Rings, *records: bytes) -> Spool:
    made = Spool.open(folder, rings.ring("p/predictions"), ABOUT)
    for record in records:
        made.append(record)
    return made


def written(folder: Path, rings: Rings, *records: bytes) -> Path:
    """A closed spool."""
    path = begun(folder, rings, *records).roll()
    assert path is not None
    return path


def died(spooled: Spool) -> Path:
    """As if its process had been killed: the file stays as it is, and nobody holds it."""
    spooled._ended.set()
    spooled._dirty.set()
    os.close(spooled._handle)
    spooled._handle = -1
    assert spooled._syncing is not None
    spooled._syncing.join()
    return spooled.path


def recovered(folder: Path, rings: Rings) -> list[Recovered]:
    return list(spool.recover(folder, rings.ring))


def contents(found: Recovered) -> list[bytes]:
    return [content for _, content in found.records]


def test_what_is_closed_is_read_back_in_order(folder: Path, rings: Rings) -> None:
    written(folder, rings, b"one", b"", b"three")
    (found,) = recovered(folder, rings)
    assert found.records == [(1, b"one"), (2, b""), (3, b"three")]
    assert (found.closed, found.torn, found.damage, found.about) == (True, 0, None, ABOUT)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.binary(max_size=200), min_size=1, max_size=12))
def test_any_records_come_back_as_they_were(
    tmp_path_factory: pytest.TempPathFactory, records: list[bytes]
) -> None:
    here = tmp_path_factory.mktemp("any")
    rings = rings_in(here)
    written(here / "spool", rings, *records)
    (found,) = recovered(here / "spool", rings)
    assert contents(found) == records


def test_what_a_living_process_writes_is_left_alone(folder: Path, rings: Rings) -> None:
    living = begun(folder, rings, b"one")
    assert recovered(folder, rings) == []
    assert spool.waiting(folder) == []
    living.roll()
    assert len(spool.waiting(folder)) == 1


def test_two_processes_have_spools_of_their_own_and_end_apart(folder: Path, rings: Rings) -> None:
    first, second = begun(folder, rings, b"a"), begun(folder, rings, b"b")
    first.roll()
    (found,) = recovered(folder, rings)
    assert contents(found) == [b"a"]
    second.append(b"c")
    second.roll()
    assert [contents(found) for found in recovered(folder, rings)] == [[b"a"], [b"b", b"c"]]


def test_a_spool_without_records_leaves_no_file(folder: Path, rings: Rings) -> None:
    assert begun(folder, rings).roll() is None
    assert list(folder.iterdir()) == []


def test_a_closed_spool_takes_nothing_more(folder: Path, rings: Rings) -> None:
    made = begun(folder, rings, b"one")
    made.roll()
    with pytest.raises(Unavailable):
        made.append(b"two")
    assert made.roll() is None


def test_a_record_that_is_too_large_is_refused_and_the_next_one_taken(
    folder: Path, rings: Rings
) -> None:
    made = begun(folder, rings)
    with pytest.raises(Usage):
        made.append(b"x" * (spool.MOST_RECORD + 1))
    assert made.append(b"y") == 1


def test_nothing_of_a_record_is_in_the_file_in_the_clear(folder: Path, rings: Rings) -> None:
    data = written(folder, rings, b"somebody's income" * 10).read_bytes()
    assert b"somebody" not in data
    assert b"endpoint" not in data


def test_threads_append_without_losing_or_doubling_a_record(folder: Path, rings: Rings) -> None:
    made = begun(folder, rings)
    wanted = [[f"{thread}/{number}".encode() for number in range(50)] for thread in range(4)]
    numbers: list[int] = []

    def work(records: list[bytes]) -> None:
        numbers.extend([made.append(record) for record in records])

    threads = [threading.Thread(target=work, args=(records,)) for records in wanted]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    made.roll()
    (found,) = recovered(folder, rings)
    assert sorted(contents(found)) == sorted(record for some in wanted for record in some)
    assert sorted(numbers) == list(range(1, 201))


# -- killed ---------------------------------------------------------------------------------------

_CHILD = """
import sys
sys.path.insert(0, sys.argv[2])
from pathlib import Path
from logged import rings_in
from assay.monitor.spool import Spool
base = Path(sys.argv[1])
made = Spool.open(base / "spool", rings_in(base).ring("p/predictions"), {"endpoint": "score"})
number = 0
while True:
    number += 1
    made.append(b"%d " % number * 20)
    sys.stdout.write(f"{number}\\n")
    sys.stdout.flush()
"""


@pytest.mark.parametrize("after", [1, 7, 300])
def test_a_killed_process_loses_nothing_that_it_acknowledged(
    tmp_path: Path, folder: Path, rings: Rings, after: int
) -> None:
    command = [sys.executable, "-c", _CHILD, str(tmp_path), str(Path(__file__).parent)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        acknowledged = [int(child.stdout.readline()) for _ in range(after)]
        assert recovered(folder, rings) == []
        child.send_signal(signal.SIGKILL)
        # What it had said before it died counts as well.
        acknowledged += [int(line) for line in child.stdout if line.endswith("\n")]
    (found,) = recovered(folder, rings)
    numbers = [int(content.split()[0]) for content in contents(found)]
    assert numbers == list(range(1, len(numbers) + 1))
    assert len(numbers) >= len(acknowledged)
    assert (found.closed, found.damage) == (False, None)


def test_a_process_that_dies_before_its_first_record_leaves_nothing_that_counts(
    folder: Path, rings: Rings
) -> None:
    for point in ("spool.staged", "spool.opened"):

        def die(name: str, point: str = point) -> None:
            if name == point:
                raise KeyboardInterrupt

        files.failpoint = die
        try:
            with pytest.raises(KeyboardInterrupt):
                begun(folder, rings)
        finally:
            files.failpoint = None
    assert recovered(folder, rings) == []


def test_what_a_process_left_that_died_while_it_made_a_spool_is_cleaned(
    folder: Path, rings: Rings
) -> None:
    folder.mkdir()
    left = folder / ".01a2131b-b4d6-7c1c-8725-cca8e66db2e2.tmp"
    left.write_bytes(b"assay/spool")
    assert recovered(folder, rings) == []
    assert not left.exists()


def test_a_file_that_is_cleaned_away_while_it_is_made_is_made_again(
    folder: Path, rings: Rings
) -> None:
    times: list[str] = []

    def clean(name: str) -> None:
        if name == "spool.staged" and not times:
            times.append(name)
            for left in folder.glob(".*.tmp"):
                left.unlink()

    files.failpoint = clean
    try:
        made = begun(folder, rings, b"one")
    finally:
        files.failpoint = None
    made.roll()
    assert times
    assert [contents(found) for found in recovered(folder, rings)] == [[b"one"]]


# -- torn, altered, moved -------------------------------------------------------------------------


def test_a_tail_torn_anywhere_costs_the_record_that_was_being_written_and_no_other(
    folder: Path, rings: Rings
) -> None:
    path = died(begun(folder, rings, b"first", b"second"))
    whole = path.read_bytes()
    last = 9 + len(b"second") + 16
    for cut in range(len(whole) - last + 1, len(whole)):
        path.write_bytes(whole[:cut])
        (found,) = recovered(folder, rings)
        assert contents(found) == [b"first"]
        assert (found.torn, found.damage) == (cut - (len(whole) - last), None)


def test_blocks_that_the_disk_had_not_got_yet_are_a_torn_tail(folder: Path, rings: Rings) -> None:
    path = died(begun(folder, rings, b"first"))
    with path.open("ab") as stream:
        stream.write(bytes(5000))
    (found,) = recovered(folder, rings)
    assert contents(found) == [b"first"]
    assert (found.torn, found.damage) == (5000, None)


def test_a_flipped_bit_anywhere_is_told_and_costs_at_most_what_it_hit(
    folder: Path, rings: Rings
) -> None:
    records = [b"first", b"second", b"third"]
    path = written(folder, rings, *records)
    whole = path.read_bytes()
    frames = len(whole) - sum(9 + len(content) + 16 for content in (*records, b""))
    for place in range(len(whole)):
        altered = bytearray(whole)
        altered[place] ^= 1 << place % 8
        path.write_bytes(altered)
        (found,) = recovered(folder, rings)
        assert found.damage is not None, place
        if place < frames:
            # The header, the key, or what the records are about.
            assert not found.about or not found.records, place
            continue
        lost = [record for record in records if record not in contents(found)]
        assert len(lost) <= 1, place
        assert found.damage.records == len(lost), place
        assert found.damage.bytes, place


def test_what_is_gone_from_the_middle_is_counted(folder: Path, rings: Rings) -> None:
    path = written(folder, rings, b"first", b"second", b"third")
    whole = path.read_bytes()
    end = 9 + 16
    third, second = 9 + 5 + 16, 9 + 6 + 16
    path.write_bytes(whole[: -end - third - second] + whole[-end - third :])
    (found,) = recovered(folder, rings)
    assert contents(found) == [b"first", b"third"]
    assert found.damage is not None
    assert found.damage.records == 1


def _swapped(frames: list[bytes]) -> list[bytes]:
    return [frames[1], frames[0], *frames[2:]]


def _doubled(frames: list[bytes]) -> list[bytes]:
    return [frames[0], *frames]


def _appended(frames: list[bytes]) -> list[bytes]:
    return [*frames, frames[0]]


@pytest.mark.parametrize("change", [_swapped, _doubled, _appended])
def test_a_record_that_was_moved_or_repeated_is_never_read_twice_or_in_another_place(
    folder: Path, rings: Rings, change: Callable[[list[bytes]], list[bytes]]
) -> None:
    path = died(begun(folder, rings, b"1", b"2", b"3"))
    whole = path.read_bytes()
    size = 9 + 1 + 16
    frames = [whole[len(whole) - size * k : len(whole) - size * (k - 1)] for k in (3, 2, 1)]
    path.write_bytes(whole[: -3 * size] + b"".join(change(frames)))
    (found,) = recovered(folder, rings)
    assert found.damage is not None
    assert contents(found) == sorted(set(contents(found)))
    assert [number for number, _ in found.records] == [int(c) for c in contents(found)]


def test_a_record_of_another_spool_does_not_open(folder: Path, rings: Rings) -> None:
    mine = died(begun(folder, rings, b"1"))
    other = died(begun(folder, rings, b"1", b"2")).read_bytes()
    with mine.open("ab") as stream:
        stream.write(other[-(9 + 1 + 16) :])
    (found, _) = recovered(folder, rings)
    assert contents(found) == [b"1"]
    assert found.damage is not None


def test_a_copy_under_another_name_is_no_spool(folder: Path, rings: Rings) -> None:
    path = written(folder, rings, b"1")
    (folder / "01a2131b-b4d6-7c1c-8725-cca8e66db2e2.spool").write_bytes(path.read_bytes())
    good = [found for found in recovered(folder, rings) if found.damage is None]
    assert [found.path for found in good] == [path]


def test_a_spool_under_a_header_of_its_own_does_not_open(folder: Path, rings: Rings) -> None:
    """Whoever renames a spool would have its records counted twice."""
    path = written(folder, rings, b"1")
    name = "01a2131b-b4d6-7c1c-8725-cca8e66db2e2"
    other = path.with_name(f"{name}.spool")
    other.write_bytes(path.read_bytes().replace(path.stem.encode(), name.encode()))
    (found,) = [found for found in recovered(folder, rings) if found.path == other]
    assert (found.records, found.about) == ([], {})
    assert found.damage is not None


def test_what_was_sealed_by_a_turned_ring_opens(folder: Path, rings: Rings) -> None:
    written(folder, rings, b"1")
    rings.rotate("p/predictions")
    written(folder, rings, b"2")
    assert [contents(found) for found in recovered(folder, rings)] == [[b"1"], [b"2"]]


def test_a_spool_of_a_destroyed_ring_is_said_to_be_one(folder: Path, rings: Rings) -> None:
    written(folder, rings, b"1")
    rings.destroy("p/predictions")
    (found,) = recovered(folder, rings)
    assert (found.shredded, found.records, found.damage) == (True, [], None)


def test_what_is_damaged_is_set_aside_and_not_met_again(folder: Path, rings: Rings) -> None:
    path = written(folder, rings, b"1")
    path.write_bytes(b"nonsense")
    (found,) = recovered(folder, rings)
    kept = found.set_aside()
    assert recovered(folder, rings) == []
    assert kept.read_bytes() == b"nonsense"


@settings(max_examples=40, deadline=None)
@given(st.binary(max_size=400))
def test_no_bytes_make_reading_fail_but_by_being_told(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    path = tmp_path_factory.mktemp("any") / "01a2131b-b4d6-7c1c-8725-cca8e66db2e2.spool"
    for start in (b"", b"assay/spool/v1\n"):
        path.write_bytes(start + data)
        found = spool.read(path, lambda name: pytest.fail(name))
        assert found.damage is not None
        assert found.records == []


# -- the disk -------------------------------------------------------------------------------------


def test_a_full_disk_refuses_the_record_and_keeps_those_before(
    folder: Path, rings: Rings, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = begun(folder, rings, b"one")
    before = made.path.read_bytes()
    real = os.pwrite
    written_so_far: list[int] = []

    def full(handle: int, data: bytes, at: int) -> int:
        if written_so_far:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written_so_far.append(real(handle, data[: len(data) // 2], at))
        return written_so_far[0]

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(Unavailable, match="No space left") as caught:
        made.append(b"two")
    assert "free disk space" in caught.value.remedy
    assert made.path.read_bytes() == before, "half a record was left"
    monkeypatch.setattr(os, "pwrite", real)
    # The number it was sealed with has been on the disk: nothing else may be sealed with it.
    with pytest.raises(Unavailable):
        made.append(b"three")
    made.roll()
    (found,) = recovered(folder, rings)
    assert (contents(found), found.closed, found.damage) == ([b"one"], False, None)


def test_a_spool_that_cannot_be_made_is_told_and_leaves_nothing(
    folder: Path, rings: Rings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", full)
        with pytest.raises(Unavailable):
            begun(folder, rings)
    assert list(folder.iterdir()) == []


def test_after_a_sync_that_failed_nothing_more_is_acknowledged(
    folder: Path, rings: Rings, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = threading.Event()

    def broken(_: int) -> None:
        failed.set()
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    made = begun(folder, rings)
    monkeypatch.setattr(os, "fdatasync", broken)
    made.append(b"one")
    assert failed.wait(10)
    assert made._syncing is not None
    made._dirty.set()  # It says so in the same turn, and this one begins after that.
    made._ended.set()
    made._syncing.join()
    with pytest.raises(Unavailable):
        made.append(b"two")


def test_records_are_synced_without_being_asked(
    folder: Path, rings: Rings, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = threading.Event()
    monkeypatch.setattr(os, "fdatasync", lambda _: synced.set())
    made = begun(folder, rings, b"one")
    assert synced.wait(10)
    made.roll()
