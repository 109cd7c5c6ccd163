"""A monitor: it believes nothing that is not signed and proven, and forgets nothing it saw."""

from __future__ import annotations

import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from assay import canonical
from assay.clock import FixedClock
from assay.errors import Corrupt, Usage
from assay.evidence import merkle, misbehaviour, notes, tiles
from assay.evidence.cosignatures import VerifierKey, cosign, read_note
from assay.evidence.signers import MemorySigner
from assay.supply.transparency.expectations import Expected, expected_leaves
from assay.supply.transparency.monitor import Found, Monitor
from assay.supply.transparency.remote import Remote
from assay.supply.transparency.tiles import TileServer

from .conftest import AT, ORIGIN, Log, serving


class Stage:
    """An address where now this log is shown, now that; and a monitor that looks at it."""

    def __init__(self, folder: Path, key: VerifierKey) -> None:
        self.state = folder / "seen"
        self.key = key
        self.clock = FixedClock(AT + timedelta(hours=1))
        self.shown: Any = None
        self.url = ""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            for _ in range(2):
                message = await receive()
                await send({"type": message["type"] + ".complete"})
            return
        await self.shown(scope, receive, send)

    def show(self, log: Any) -> None:
        self.shown = TileServer(log.files()) if isinstance(log, Log) else log

    def look(self, **expected: Any) -> Found:
        remote = Remote(self.url, seconds=10)
        return Monitor(remote, self.key, self.state, self.clock, Expected(**expected)).look()


@pytest.fixture
def stage(log: Log, tmp_path: Path) -> Any:
    made = Stage(tmp_path, log.key)
    with serving(made) as made.url:
        made.show(log)
        yield made


def verdict(found: Found) -> tuple[str, int]:
    return found.report.verdict, found.report.exit_status


def test_a_log_that_only_grows_is_fine(log: Log, stage: Stage) -> None:
    seen = None
    for size in (0, 1, 7, 7, 256, 300, 700):
        log.to(size)
        found = stage.look()
        assert verdict(found) == ("fine", 0), found
        assert (found.report.size, found.report.seen, found.report.checked) == (size, seen, size)
        seen = size


def test_a_log_that_nobody_serves_is_unreachable(log: Log, stage: Stage) -> None:
    log.to(3)
    stage.look()
    before = stage.state.read_bytes()
    stage.url = "http://127.0.0.1:9"
    assert verdict(stage.look()) == ("unreachable", 1)
    assert stage.state.read_bytes() == before


@pytest.mark.parametrize(("old", "new"), [(5, 5), (5, 9), (4, 9), (8, 300), (300, 301), (256, 600)])
def test_a_fork_is_found_and_proven(
    log: Log, fork_of: Any, stage: Stage, old: int, new: int
) -> None:
    log.to(old)
    assert verdict(stage.look()) == ("fine", 0)
    kept = stage.state.read_bytes()
    stage.show(fork_of(log, new))
    found = stage.look()
    assert verdict(found) == ("misbehaviour", 4)
    assert found.proof is not None
    assert misbehaviour.verify(found.proof, log.key).kind == "fork"
    assert stage.state.read_bytes() == kept
    # It stays so, until the log shows again what it showed.
    assert verdict(stage.look()) == ("misbehaviour", 4)
    stage.show(log)
    assert verdict(stage.look()) == ("fine", 0)


def test_an_old_copy_is_a_roll_back_and_proves_nothing_against_the_log(
    log: Log, stage: Stage, tmp_path: Path
) -> None:
    log.to(5)
    shutil.copytree(log.folder, tmp_path / "old")
    log.clock.advance(timedelta(minutes=1))
    log.to(9)
    stage.look()
    old = Log.__new__(Log)
    old.folder, old.key = tmp_path / "old", log.key
    stage.show(old)
    found = stage.look()
    assert verdict(found) == ("unverified", 4)
    assert found.proof is None
    assert "rolled back: 9 leaves were seen, and it shows 5" in found.report.what[0]


def test_a_smaller_log_signed_later_is_proven_to_be_rolled_back(
    log: Log, fork_of: Any, stage: Stage
) -> None:
    log.to(9)
    stage.look()
    smaller = fork_of(log, 3)
    smaller.clock.advance(timedelta(hours=2))
    smaller.to(4)
    stage.show(smaller)
    found = stage.look()
    assert verdict(found) == ("misbehaviour", 4)
    assert found.proof is not None
    proven = misbehaviour.verify(found.proof, log.key)
    assert (proven.kind, proven.sizes) == ("rollback", (9, 4))


def test_another_smaller_history_is_a_fork_where_the_tiles_still_tell(
    log: Log, fork_of: Any, stage: Stage
) -> None:
    log.to(9)
    stage.look()
    smaller = fork_of(log, 4)

    class Both:
        """The forked checkpoint beside the tiles of the first history."""

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            here = smaller if scope["path"] == "/checkpoint" else log
            await TileServer(here.files())(scope, receive, send)

    stage.show(Both())
    found = stage.look()
    assert verdict(found) == ("misbehaviour", 4)
    assert found.proof is not None
    assert misbehaviour.verify(found.proof, log.key).sizes == (9, 4)


def saying(note: bytes, log: Log | None = None) -> Any:
    """A server that shows this as its checkpoint, and a log's tiles."""

    async def application(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] != "/checkpoint" and log is not None:
            await TileServer(log.files())(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": note})

    return application


@pytest.mark.parametrize("note", [b"", b"hello", b"<html>", b"\xff" * 100])
def test_what_is_no_checkpoint_is_not_believed(stage: Stage, note: bytes) -> None:
    stage.show(saying(note))
    assert verdict(stage.look()) == ("unverified", 4)
    assert not stage.state.exists()


def test_a_checkpoint_too_large_is_no_answer(stage: Stage) -> None:
    stage.show(saying(b"x" * (notes.LIMIT + 1)))
    assert verdict(stage.look()) == ("unreachable", 1)


def test_what_another_key_signed_is_not_believed(log: Log, stage: Stage) -> None:
    log.to(3)
    other = MemorySigner.generate()
    note = notes.sign_checkpoint(ORIGIN, 3, log.ledger.checkpoint.root, AT, other)
    stage.show(saying(note, log))
    assert verdict(stage.look()) == ("unverified", 4)


@pytest.mark.parametrize("at", range(0, 300, 11))
def test_an_altered_checkpoint_is_not_believed(log: Log, stage: Stage, at: int) -> None:
    log.to(3)
    note = bytearray(log.note)
    at %= note.index(b"\n\n") + 80
    note[at] ^= 1
    stage.show(saying(bytes(note), log))
    found = stage.look()
    assert found.report.verdict in ("unverified",), found
    assert not stage.state.exists()


@pytest.mark.parametrize("which", ["tile/0/000", "tile/0/001.p/44", "tile/1/000.p/1"])
def test_an_altered_tile_is_noticed(log: Log, stage: Stage, which: str) -> None:
    log.to(300)
    path = log.folder / which
    data = bytearray(path.read_bytes())
    data[5] ^= 1
    path.write_bytes(bytes(data))
    assert verdict(stage.look()) == ("unverified", 4)


def test_an_entry_that_is_not_the_one_committed_to_is_noticed(log: Log, stage: Stage) -> None:
    log.to(3)
    path = log.folder / "tile/entries/000.p/3"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))
    found = stage.look()
    assert verdict(found) == ("unverified", 4)
    assert "entries 0 to 2" in found.report.what[0]


@pytest.mark.parametrize("which", ["tile/0/000.p/3", "tile/entries/000.p/3"])
def test_a_tile_that_is_withheld_is_no_answer(log: Log, stage: Stage, which: str) -> None:
    note = log.to(3).note
    (log.folder / which).unlink()
    stage.show(saying(note, log))
    assert verdict(stage.look()) == ("unreachable", 1)
    assert not stage.state.exists()


def test_a_log_of_somebody_else_without_times_is_followed(stage: Stage, log: Log) -> None:
    log.to(5)
    plain = b"\n".join(log.note.split(b"\n")[:5]) + b"\n"
    stage.show(saying(plain, log))
    found = stage.look()
    assert verdict(found) == ("fine", 0)
    assert found.report.time == ""


def test_a_stale_checkpoint_is_told_and_is_no_misbehaviour(log: Log, stage: Stage) -> None:
    log.to(5)
    assert verdict(stage.look(max_age=3600)) == ("fine", 0)
    stage.clock.advance(timedelta(seconds=1))
    found = stage.look(max_age=3600)
    assert verdict(found) == ("stale", 1)
    assert "3601 seconds old" in found.report.what[0]


def test_without_times_it_is_stale_by_when_it_was_first_seen(log: Log, stage: Stage) -> None:
    log.to(5)
    plain = b"\n".join(log.note.split(b"\n")[:5]) + b"\n"
    stage.show(saying(plain, log))
    assert verdict(stage.look(max_age=60)) == ("fine", 0)
    stage.clock.advance(timedelta(seconds=61))
    assert verdict(stage.look(max_age=60)) == ("stale", 1)


def test_more_leaves_than_expected_are_told(log: Log, stage: Stage) -> None:
    log.to(5)
    assert verdict(stage.look(most_new=0)) == ("fine", 0)
    log.to(7)
    assert verdict(stage.look(most_new=1)) == ("misbehaviour", 4)
    assert verdict(stage.look(most_new=2)) == ("fine", 0)


def commitments(log: Log) -> list[str]:
    return [leaf.commitment.hex() for leaf in log.ledger.read(0, log.ledger.checkpoint.size)]


def test_a_leaf_that_nobody_expected_is_named(log: Log, stage: Stage) -> None:
    log.to(5)
    known = commitments(log)
    only = expected_leaves("\n".join([*known, "", "# more to come"]).encode())
    assert verdict(stage.look(only=only)) == ("fine", 0)
    log.to(6)
    found = stage.look(only=only)
    assert verdict(found) == ("misbehaviour", 4)
    assert found.report.unexpected == [5]
    both = expected_leaves("\n".join(commitments(log)).encode())
    assert verdict(stage.look(only=both)) == ("fine", 0)


def test_a_leaf_that_must_be_there_and_is_not_is_named(log: Log, stage: Stage) -> None:
    log.to(5)
    hashes = [merkle.leaf_hash(tiles.leaf_bytes(bytes.fromhex(item))) for item in commitments(log)]
    assert verdict(stage.look(known={0: hashes[0], 4: hashes[4]})) == ("fine", 0)
    assert "leaf 3 is another" in stage.look(known={3: hashes[4]}).report.what[0]
    assert "leaf 9 is known to exist" in stage.look(known={9: hashes[4]}).report.what[0]


@pytest.mark.parametrize("text", [b"x", b"00" * 31, b"00" * 33, b"0 " * 64, b"\xff"])
def test_a_list_of_something_else_is_refused(text: bytes) -> None:
    with pytest.raises(Usage, match="line 1"):
        expected_leaves(text)


def test_a_quorum_of_witnesses_can_be_asked_for(
    log: Log, stage: Stage, observer: Any, observer_of: Any
) -> None:
    log.to(5)
    other = observer_of("other.example")
    both = (observer.key, other.key)
    assert verdict(stage.look(witnesses=both, least=1)) == ("unverified", 4)
    note = log.note + cosign(read_note(log.note).text, "w.example", observer.signer, AT)
    stage.show(saying(note, log))
    found = stage.look(witnesses=both, least=1)
    assert verdict(found) == ("fine", 0)
    assert [item["witness"] for item in found.report.cosignatures] == ["w.example"]
    assert verdict(stage.look(witnesses=both, least=2)) == ("unverified", 4)


def test_each_log_has_a_file_of_its_own(log: Log, stage: Stage) -> None:
    log.to(3)
    stage.look()
    stage.key = VerifierKey.of(ORIGIN, MemorySigner.generate().public)
    with pytest.raises(Usage, match="is about the log"):
        stage.look()


def test_an_altered_file_is_refused(log: Log, stage: Stage) -> None:
    log.to(3)
    stage.look()
    plain = canonical.decode(stage.state.read_bytes())
    altered = plain["note"].replace("\n3\n", "\n2\n")
    for changed in (
        {**plain, "note": altered},
        {**plain, "format": "assay/monitor-state/v2"},
        {**plain, "checked": -1},
        {**plain, "more": 1},
    ):
        stage.state.write_bytes(canonical.encode(changed))
        with pytest.raises(Corrupt):
            stage.look()
    stage.state.write_bytes(b"")
    with pytest.raises(Corrupt):
        stage.look()


def test_what_was_seen_is_never_lost_to_a_bad_look(log: Log, stage: Stage) -> None:
    log.to(5)
    stage.look()
    before = stage.state.read_bytes()
    log.to(9)
    (log.folder / "tile/entries/000.p/9").write_bytes(bytes(9 * 48))
    assert stage.look().report.verdict != "fine"
    assert stage.state.read_bytes() == before
