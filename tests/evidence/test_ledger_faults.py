"""The ledger under crashes, full disks, power loss and damaged files."""

from __future__ import annotations

import contextlib
import errno
import os
import random
import secrets
import shutil
import subprocess
from collections.abc import Callable, Generator, Sequence
from datetime import datetime, timezone
from pathlib import Path

import pytest

from assay import files
from assay.clock import FixedClock
from assay.errors import AssayError, Corrupt, Unavailable, Verification
from assay.evidence.ledger import CheckpointMemory, Entry, Ledger
from assay.evidence.signers import MemorySigner

ORIGIN = "example.com/ledger"
CLOCK = FixedClock(datetime(2026, 1, 1, tzinfo=timezone.utc))
SIGNER = MemorySigner.generate()


class Killed(BaseException):
    """Stands for SIGKILL: nothing in the product may catch it."""


class Plain:
    """A sealer that only names the project: what is sealed does not matter here."""

    def seal(self, project: str, plaintext: bytes) -> bytes:
        return project.encode() + b"\n" + plaintext

    def open(self, project: str, sealed: bytes) -> bytes:
        owner, _, plaintext = sealed.partition(b"\n")
        if owner != project.encode():
            raise Verification("sealed for another project")
        return plaintext


def create(base: Path) -> Ledger:
    memory = CheckpointMemory(base / "state")
    return Ledger.create(base / "ledger", ORIGIN, SIGNER, Plain(), CLOCK, remembered=memory)


def opened(base: Path) -> Ledger:
    return Ledger.open(
        base / "ledger",
        ORIGIN,
        SIGNER.public,
        Plain(),
        signer=SIGNER,
        remembered=CheckpointMemory(base / "state"),
        clock=CLOCK,
    )


def entries(count: int, name: str) -> list[Entry]:
    return [Entry(("fraud", "churn")[i % 2], f"{name}/{i}".encode()) for i in range(count)]


def grown(base: Path, counts: Sequence[int]) -> list[bytes]:
    """A ledger made of appends of these sizes; returns its envelopes."""
    ledger = create(base)
    held: list[bytes] = []
    for number, count in enumerate(counts):
        added = entries(count, f"held{number}")
        ledger.append(added)
        held += [entry.envelope for entry in added]
    return held


def contents(ledger: Ledger) -> list[bytes | None]:
    return [leaf.envelope for leaf in ledger.read(0, ledger.checkpoint.size)]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No real syncing, where crashes are simulated: only what was asked for matters."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


@contextlib.contextmanager
def killed_at(number: int) -> Generator[list[str]]:
    """Kill the process at the `number`-th operation on the disk or crash point passed."""
    passed: list[str] = []

    def count(name: str) -> None:
        if len(passed) == number:
            raise Killed(name)
        passed.append(name)

    files.failpoint = count
    files.recorder = lambda operation, path, _: count(f"{operation} {path.name}")
    try:
        yield passed
    finally:
        files.failpoint = files.recorder = None


APPENDS = {
    "one leaf": ([3, 4], 1),
    "the first leaf": ([], 1),
    "a tile fills": ([250, 4], 5),
    "a tile fills exactly": ([250, 5], 1),
    "several tiles": ([100], 600),
}


@pytest.mark.parametrize("case", APPENDS)
@pytest.mark.usefixtures("quick")
def test_an_append_killed_anywhere_happened_wholly_or_not_at_all(tmp_path: Path, case: str) -> None:
    counts, adding = APPENDS[case]
    held = grown(tmp_path / "base", counts)
    added = entries(adding, "new")
    whole = held + [entry.envelope for entry in added]
    seen: set[str] = set()
    number = 0
    survived = False
    while not survived:
        base = tmp_path / str(number)
        shutil.copytree(tmp_path / "base", base)
        with killed_at(number) as passed:
            try:
                opened(base).append(added)
                survived = True
            except Killed:
                pass
        seen.update(name for name in passed if name.startswith("ledger."))
        committed = "ledger.committed" in passed

        # Whoever comes next sees one or the other, without repair and without writing,
        after = contents(opened(base))
        assert after in (held, whole)
        assert not committed or after == whole
        # can go on at once,
        if number % 3 == 0:
            going_on = tmp_path / f"{number}-on"
            shutil.copytree(base, going_on)
            opened(going_on).append(entries(1, "next"))
            assert contents(opened(going_on)) == [*after, b"next/0"]
            opened(going_on).recover()
            assert opened(going_on).check() == []
            shutil.rmtree(going_on)
        # and repair leaves nothing behind.
        ledger = opened(base)
        ledger.recover()
        assert contents(ledger) == after
        assert ledger.check() == []
        assert ledger.recover() == []
        shutil.rmtree(base)
        number += 1
    assert seen >= {
        "ledger.staged",
        "ledger.committed",
        "ledger.publishing",
        "ledger.published",
        "ledger.remembered",
        "ledger.cleaned",
    }


@pytest.mark.usefixtures("quick")
def test_a_recovery_killed_anywhere_can_be_repeated(tmp_path: Path) -> None:
    held = grown(tmp_path / "base", [250, 4])
    added = entries(5, "new")
    whole = held + [entry.envelope for entry in added]
    for crash in ("ledger.staged", "ledger.committed"):

        def stop(name: str, crash: str = crash) -> None:
            if name == crash:
                raise Killed(name)

        crashed = tmp_path / crash
        shutil.copytree(tmp_path / "base", crashed)
        files.failpoint = stop
        with pytest.raises(Killed):
            opened(crashed).append(added)
        files.failpoint = None
        number, survived = 0, False
        while not survived:
            base = tmp_path / f"{crash}-{number}"
            shutil.copytree(crashed, base)
            with killed_at(number), contextlib.suppress(Killed):
                opened(base).recover()
                survived = True
            ledger = opened(base)
            ledger.recover()
            assert ledger.check() == []
            assert contents(ledger) == (held if crash == "ledger.staged" else whole)
            shutil.rmtree(base)
            number += 1
        assert number > 2


@pytest.mark.usefixtures("quick")
def test_creation_killed_anywhere_can_be_repeated(tmp_path: Path) -> None:
    number, survived = 0, False
    while not survived:
        base = tmp_path / str(number)
        base.mkdir()
        with killed_at(number), contextlib.suppress(Killed):
            create(base)
            survived = True
        if not (base / "ledger" / "checkpoint").exists():
            create(base)
        ledger = opened(base)
        ledger.recover()
        assert ledger.append(entries(1, "first")) == range(1)
        assert ledger.check() == []
        number += 1
    assert number > 4


# -- power loss -----------------------------------------------------------------------------------


class Disk:
    """What was asked of a disk, replayed as if the power failed after any of it.

    Contents are whole once synced; names are there once their folder was synced, and otherwise
    may or may not be.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.log: list[tuple[str, Path, Path | bytes | None]] = []
        self.acknowledged: list[tuple[int, int]] = []
        """(length of the log, leaves acknowledged by then)"""

    def record(self, operation: str, path: Path, argument: Path | bytes | None) -> None:
        self.log.append((operation, path, argument))

    def after(self, length: int, target: Path, happened: Callable[[], bool]) -> None:
        """Build in `target` what may be left after `length` operations."""
        contents: dict[Path, bytes] = {}
        synced: set[Path] = set()
        names: list[tuple[str, Path, Path | None, bool]] = []
        for operation, path, argument in self.log[:length]:
            if operation == "write":
                assert isinstance(argument, bytes)
                contents[path] = argument
                names.append(("create", path, path, False))
            elif operation == "fsync":
                synced.add(path)
            elif operation == "fsync_dir":
                names = [(o, p, f, done or p.parent == path) for o, p, f, done in names]
            elif operation in ("rename", "link"):
                assert isinstance(argument, Path)
                names.append((operation, argument, path, False))
            else:
                names.append((operation, path, None, False))
        tree: dict[Path, Path | None] = {self.root: None}
        for operation, path, source, durable in names:
            if not durable and not happened():
                continue
            if operation == "mkdir":
                tree[path] = None
            elif operation == "unlink":
                tree.pop(path, None)
            else:
                tree[path] = source
                if operation == "rename":
                    tree.pop(source or path, None)
        target.mkdir()
        for path in sorted(tree, key=lambda p: len(p.parts)):
            source = tree[path]
            place = target / path.relative_to(self.root)
            if not place.parent.is_dir():
                continue  # The folder itself was lost.
            if source is None:
                place.mkdir(exist_ok=True)
            else:
                data = contents[source]
                place.write_bytes(data if source in synced else data[: len(data) // 2])


@pytest.mark.usefixtures("quick")
def test_power_loss_at_any_moment_loses_nothing_acknowledged(tmp_path: Path) -> None:
    root = tmp_path / "disk"
    root.mkdir()
    disk = Disk(root)
    files.recorder = disk.record
    held: list[bytes] = []
    states: set[int] = {0}
    try:
        ledger = create(root)
        created = len(disk.log)
        disk.acknowledged.append((created, 0))
        for number, count in enumerate([1, 254, 3, 300]):
            if number == 2:
                ledger = opened(root)  # Another process goes on.
            added = entries(count, str(number))
            ledger.append(added)
            held += [entry.envelope for entry in added]
            states.add(len(held))
            disk.acknowledged.append((len(disk.log), len(held)))
    finally:
        files.recorder = None
    chance = random.Random(20260101)  # noqa: S311
    outcomes: list[Callable[[], bool]] = [
        lambda: False,
        lambda: True,
        lambda: chance.random() < 0.5,
    ]
    target = tmp_path / "after"
    for length in range(created, len(disk.log) + 1):
        least = max(size for at, size in disk.acknowledged if at <= length)
        for happened in outcomes[: 2 + length % 2]:
            disk.after(length, target, happened)
            ledger = opened(target)
            before = contents(ledger)
            assert before == held[: len(before)]
            assert len(before) >= least
            assert len(before) in states
            ledger.recover()
            assert contents(ledger) == before
            assert not list((target / "ledger").rglob("*.tmp"))
            if length % 4 == 0:
                assert ledger.check() == []
                ledger.append(entries(1, "next"))
                assert contents(opened(target)) == [*before, b"next/0"]
            shutil.rmtree(target)


@pytest.mark.usefixtures("quick")
def test_power_loss_after_a_killed_process_loses_nothing_acknowledged_since(
    tmp_path: Path,
) -> None:
    """What the killed process left unsynced must not carry what the next one acknowledges."""
    number, survived = 0, False
    while not survived:
        root = tmp_path / str(number)
        root.mkdir()
        disk = Disk(root)
        files.recorder = disk.record
        ledger = create(root)
        ledger.append(entries(256, "held"))
        start = len(disk.log)

        def stop(operation: str, path: Path, argument: Path | bytes | None) -> None:
            disk.record(operation, path, argument)  # noqa: B023
            if len(disk.log) - start > number:  # noqa: B023
                raise Killed(operation)

        files.recorder = stop
        try:
            ledger.append(entries(2, "killed"))
            survived = True
        except Killed:
            pass
        files.recorder = disk.record
        try:
            other = opened(root)
            before = contents(other)  # Also a mere reader remembers what it saw.
            files.recorder, kept = None, len(disk.log)
            disk.after(kept, tmp_path / "seen", lambda: False)
            assert contents(opened(tmp_path / "seen")) == before
            shutil.rmtree(tmp_path / "seen")
            files.recorder = disk.record
            other.append(entries(3, "next"))
            expected = contents(other)
        finally:
            files.recorder = None
        assert expected == [*before, b"next/0", b"next/1", b"next/2"]
        disk.after(len(disk.log), tmp_path / "after", lambda: False)
        ledger = opened(tmp_path / "after")
        ledger.recover()
        assert contents(ledger) == expected
        assert ledger.check() == []
        shutil.rmtree(tmp_path / "after")
        shutil.rmtree(root)
        number += 1
    assert number > 20


def test_an_append_syncs_a_handful_of_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grown(tmp_path, [300])
    ledger = opened(tmp_path)
    ledger.append(entries(1, "warm"))
    calls: list[int] = []
    sync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda handle: (calls.append(handle), sync(handle))[1])
    ledger.append(entries(1, "one"))
    assert len(calls) <= 10


# -- full disks and folders that cannot be written ------------------------------------------------


def test_a_disk_that_fails_at_any_sync_leaves_all_or_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = grown(tmp_path / "base", [250, 4])
    added = entries(5, "new")
    whole = held + [entry.envelope for entry in added]
    sync = os.fsync
    uncertain = 0
    for number in range(60):
        base = tmp_path / str(number)
        shutil.copytree(tmp_path / "base", base)
        ledger = opened(base)
        left = [number]

        def failing(handle: int, left: list[int] = left) -> None:
            left[0] -= 1
            if left[0] < 0:
                raise OSError(errno.ENOSPC, "No space left on device")
            sync(handle)

        monkeypatch.setattr(os, "fsync", failing)
        error = None
        try:
            ledger.append(added)
        except Unavailable as caught:
            error = caught
        monkeypatch.setattr(os, "fsync", sync)
        after = contents(opened(base))
        if error is None:
            assert after == whole
        elif error.code == "unavailable.ledger.uncertain":
            uncertain += 1
            assert after == whole
        else:
            assert after == held
            assert error.remedy
        # With space again, the same object and everyone else go on.
        ledger.append(entries(1, "next"))
        assert contents(opened(base)) == [*after, b"next/0"]
        opened(base).recover()
        assert opened(base).check() == []
        shutil.rmtree(base)
        if left[0] > 0:
            break
    else:
        pytest.fail("the append never got through")
    assert uncertain == 1


def test_a_failed_publication_does_not_undo_what_was_committed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = grown(tmp_path, [3])
    ledger = opened(tmp_path)
    write = files.write

    def full(path: Path, data: bytes, *, mode: int = 0o600, replace: bool = True) -> None:
        if "tile" in path.parts:
            raise Unavailable("no space left")
        write(path, data, mode=mode, replace=replace)

    monkeypatch.setattr(files, "write", full)
    assert ledger.append(entries(1, "new")) == range(3, 4)
    assert contents(ledger) == [*held, b"new/0"]
    assert contents(opened(tmp_path)) == [*held, b"new/0"]
    # The next append must first publish that one, and says that it cannot.
    with pytest.raises(Unavailable):
        ledger.append(entries(1, "more"))
    assert opened(tmp_path).checkpoint.size == 4
    monkeypatch.setattr(files, "write", write)
    ledger.append(entries(1, "more"))
    assert opened(tmp_path).check() == []


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")
def test_a_really_full_disk_refuses_appends_and_keeps_all_others(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(small)], capture_output=True
    )
    if mounted.returncode != 0:
        pytest.skip("file systems cannot be mounted here")
    try:
        ledger = create(small)
        held: list[bytes] = []
        refused: Unavailable | None = None
        for number in range(1000):
            added = [Entry("fraud", secrets.token_bytes(4000)) for _ in range(5)]
            try:
                ledger.append(added)
            except Unavailable as error:
                refused = error
                break
            held += [entry.envelope for entry in added]
            assert ledger.checkpoint.size == 5 * (number + 1)
        assert refused is not None
        assert "disk space" in refused.remedy
        assert contents(opened(small)) == held
        subprocess.run(["mount", "-o", "remount,size=4m", str(small)], check=True)
        ledger.append(entries(1, "after"))
        ledger.recover()
        assert contents(opened(small)) == [*held, b"after/0"]
        assert opened(small).check() == []
    finally:
        subprocess.run(["umount", str(small)], check=True)


@contextlib.contextmanager
def write_protected(folder: Path) -> Generator[None]:
    """Make a folder read-only, for root too."""
    if os.geteuid() != 0:
        places = [folder, *folder.rglob("*")]
        modes = {path: path.stat().st_mode for path in places}
        for path in places:
            path.chmod(0o555 if path.is_dir() else 0o444)
        try:
            yield
        finally:
            for path, mode in modes.items():
                path.chmod(mode)
        return
    bind = subprocess.run(["mount", "--bind", str(folder), str(folder)], capture_output=True)
    if bind.returncode != 0:
        pytest.skip("folders cannot be write-protected here")
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", str(folder)], check=True)
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_reader_without_write_access_reads_and_checks_but_changes_nothing(
    tmp_path: Path,
) -> None:
    held = grown(tmp_path, [3])
    with write_protected(tmp_path / "ledger"):
        ledger = opened(tmp_path)
        assert contents(ledger) == held
        assert ledger.check() == []
        assert len(ledger.inclusion(0)) == 2
        for change in (lambda: ledger.append(entries(1, "new")), ledger.recover):
            with pytest.raises(Unavailable) as caught:
                change()
            assert "writable" in caught.value.remedy or "access" in caught.value.remedy
    assert ledger.append(entries(1, "new")) == range(3, 4)


# -- damaged files --------------------------------------------------------------------------------

COUNTS = [1, 1, 298, 300, 2, 70]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[bytes]]:
    base = tmp_path_factory.mktemp("sound")
    return base, grown(base, COUNTS)


def delete(path: Path) -> None:
    path.unlink()


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def extend(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\x00")


def flip_first(path: Path) -> None:
    flip(path, 0)


def flip_middle(path: Path) -> None:
    flip(path, path.stat().st_size // 2)


def flip_last(path: Path) -> None:
    flip(path, -1)


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 0x10
    path.write_bytes(bytes(data))


def link(path: Path) -> None:
    moved = path.with_name("elsewhere")
    path.rename(moved)
    path.symlink_to(moved)


DAMAGES = [delete, truncate, empty, extend, flip_first, flip_middle, flip_last]


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.usefixtures("quick")
def test_damage_to_any_file_is_named_and_nothing_wrong_is_read(
    sound: tuple[Path, list[bytes]], tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    pristine, held = sound
    listed = [p.relative_to(pristine) for p in (pristine / "ledger").rglob("*") if p.is_file()]
    kinds = {path.parts[1] if path.parts[1] != "tile" else path.parts[2] for path in listed}
    assert kinds == {"checkpoint", "lock", "sealed", "0", "1", "entries"}
    for number, path in enumerate(path for path in listed if path.name != "lock"):
        base = tmp_path / str(number)
        shutil.copytree(pristine, base)
        damage(base / path)
        name = path.relative_to("ledger").as_posix()
        if name == "checkpoint":
            with pytest.raises((Corrupt, Verification)):
                opened(base)
            shutil.rmtree(base)
            continue
        ledger = opened(base)
        problems = ledger.check()
        assert name in [problem.path for problem in problems], problems
        if name.startswith("sealed"):
            with pytest.raises(Corrupt, match=path.name.split("-")[0]):
                contents(ledger)
            with pytest.raises((Corrupt, AssayError)):
                list(ledger.read(0, len(held)))
            ledger.recover()  # Does not invent what only the segment held,
            assert name in [problem.path for problem in ledger.check()]
        else:
            try:
                assert contents(ledger) == held
            except Corrupt as error:
                assert name in error.message  # noqa: PT017
            done = ledger.recover()  # but what is public is made again.
            assert any(name in line for line in done)
            assert ledger.check() == []
            assert contents(opened(base)) == held
        shutil.rmtree(base)


def test_a_damaged_checkpoint_is_named_by_a_process_that_has_it_open(
    sound: tuple[Path, list[bytes]], tmp_path: Path
) -> None:
    for number, damage in enumerate(DAMAGES):
        base = tmp_path / str(number)
        shutil.copytree(sound[0], base)
        ledger = opened(base)
        damage(base / "ledger/checkpoint")
        assert [problem.path for problem in ledger.check()] == ["checkpoint"]
        for use in (ledger.refresh, ledger.recover, lambda held=ledger: held.append([])):
            with pytest.raises((Corrupt, Verification), match="checkpoint"):
                use()


@pytest.mark.parametrize("name", ["tile/0/000", "tile/0/002.p/160", "tile/1/000.p/2"])
def test_a_damaged_tile_is_named_when_reading_needs_it(
    sound: tuple[Path, list[bytes]], tmp_path: Path, name: str
) -> None:
    shutil.copytree(sound[0], tmp_path / "it")
    flip(tmp_path / "it" / "ledger" / name, 40)
    ledger = opened(tmp_path / "it")
    with pytest.raises(Corrupt, match=name):
        contents(ledger)
    if name != "tile/0/000":
        with pytest.raises(Corrupt, match=name):
            ledger.append(entries(1, "new"))


def test_a_damaged_entry_bundle_stops_the_append_that_would_copy_it(
    sound: tuple[Path, list[bytes]], tmp_path: Path
) -> None:
    shutil.copytree(sound[0], tmp_path / "it")
    flip(tmp_path / "it/ledger/tile/entries/002.p/160", 100)
    ledger = opened(tmp_path / "it")
    with pytest.raises(Corrupt, match="entries/002"):
        ledger.append(entries(1, "new"))
    ledger.recover()
    ledger.append(entries(1, "new"))
    assert ledger.check() == []


def test_a_symbolic_link_in_the_place_of_a_file_is_reported(
    sound: tuple[Path, list[bytes]], tmp_path: Path
) -> None:
    shutil.copytree(sound[0], tmp_path / "it")
    link(tmp_path / "it/ledger/tile/0/000")
    found = {problem.path: problem.what for problem in opened(tmp_path / "it").check()}
    assert "symbolic link" in found["tile/0/000"]
    assert "not part" in found["tile/0/elsewhere"]


def test_what_does_not_belong_is_reported(sound: tuple[Path, list[bytes]], tmp_path: Path) -> None:
    shutil.copytree(sound[0], tmp_path / "it")
    folder = tmp_path / "it/ledger"
    strays = {
        "notes.txt": "not part of the ledger",
        "tile/0/009": "not part of the ledger",
        "tile/0/002.p/200": "not part of the ledger",
        "tile/0/000.p/17": "altered",
        "sealed/002/672-9.seg": "never committed",
        "sealed/000/2-3.seg": "altered",
        "sealed/000/3-3.seg": "not part of the ledger",
        "tile/0/.002.0123456789ab.tmp": "stopped",
    }
    for name in strays:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"stray")
    ledger = opened(tmp_path / "it")
    found = {problem.path: problem.what for problem in ledger.check()}
    assert set(found) == set(strays)
    for name, what in strays.items():
        assert what in found[name]
    ledger.recover()
    assert {problem.path for problem in ledger.check()} == set(strays) - {
        "sealed/002/672-9.seg",
        "tile/0/.002.0123456789ab.tmp",
        "tile/0/000.p/17",
    }


def test_a_lost_segment_and_bundle_leave_the_rest_readable(
    sound: tuple[Path, list[bytes]], tmp_path: Path
) -> None:
    shutil.copytree(sound[0], tmp_path / "it")
    folder = tmp_path / "it/ledger"
    (folder / "sealed/001/300-300.seg").unlink()
    (folder / "tile/entries/001").unlink()
    ledger = opened(tmp_path / "it")
    found = {problem.path for problem in ledger.check()}
    assert {"sealed/001/300-300.seg", "checkpoint"} <= found
    assert [leaf.envelope for leaf in ledger.read(600, 672)] == sound[1][600:]
    with pytest.raises(Corrupt, match=r"sealed/001/300-"):
        list(ledger.read(299, 301))
    ledger.recover()
    assert not (folder / "tile/entries/001").exists()


def test_a_segment_of_another_history_is_refused(tmp_path: Path) -> None:
    held = grown(tmp_path / "it", [5, 3])
    shutil.copytree(tmp_path / "it", tmp_path / "twin")
    opened(tmp_path / "it").append(entries(4, "mine"))
    opened(tmp_path / "twin").append(entries(4, "other"))
    name = "ledger/sealed/000/8-4.seg"
    shutil.copy(tmp_path / "twin" / name, tmp_path / "it" / name)
    ledger = opened(tmp_path / "it")
    with pytest.raises(Corrupt, match=r"8-4\.seg"):
        contents(ledger)
    assert [leaf.envelope for leaf in ledger.read(0, 8)] == held
    assert "sealed/000/8-4.seg" in [problem.path for problem in ledger.check()]


def test_tiles_of_another_history_are_refused(tmp_path: Path) -> None:
    grown(tmp_path / "it", [300])
    shutil.copytree(tmp_path / "it", tmp_path / "twin")
    opened(tmp_path / "it").append(entries(300, "mine"))
    opened(tmp_path / "twin").append(entries(300, "other"))
    for name in ("tile", "sealed"):
        shutil.rmtree(tmp_path / "it/ledger" / name)
        shutil.copytree(tmp_path / "twin/ledger" / name, tmp_path / "it/ledger" / name)
    ledger = opened(tmp_path / "it")
    with pytest.raises(Corrupt, match="root"):
        contents(ledger)
    assert "checkpoint" in [problem.path for problem in ledger.check()]
    assert ledger.check() != []
    with pytest.raises(Corrupt):
        ledger.recover()


def test_every_kind_of_bit_of_a_segment_matters(tmp_path: Path) -> None:
    grown(tmp_path, [2])
    path = tmp_path / "ledger/sealed/000/0-2.seg"
    pristine = path.read_bytes()
    chance = random.Random(7)  # noqa: S311
    for at in range(0, len(pristine), 3):
        data = bytearray(pristine)
        data[at] ^= 1 << chance.randrange(8)
        path.write_bytes(bytes(data))
        with pytest.raises(Corrupt, match=r"0-2\.seg"):
            contents(opened(tmp_path))
