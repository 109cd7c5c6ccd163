"""The store under kills, full disks, power loss and several writers."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import pytest

from assay import files
from assay.canonical import digest
from assay.clock import FixedClock
from assay.errors import Unavailable
from assay.store import GRACE, Store
from assay.store.rings import Rings

RING = "fraud/data"
NEW = ["store.blob_written", "store.indexed"]
AGAIN = ["store.blob_written", "store.leased", "store.indexed"]


def test_the_crash_points_of_a_put_are_known(store: Store, points) -> None:
    assert points(lambda: store.put(RING, b"content")) == NEW
    assert points(lambda: store.put(RING, b"content")) == AGAIN


@pytest.mark.parametrize("before", [False, True])
@pytest.mark.parametrize("number", range(3))
def test_a_put_killed_anywhere_is_done_again_and_leaves_only_strays(
    store: Store, tmp_path: Path, clock: FixedClock, killed, before: bool, number: int
) -> None:
    other = store.put(RING, b"other")
    if before:
        store.put(RING, b"content")
    if number >= len(AGAIN if before else NEW):
        return
    with killed(number):
        store.put(RING, b"content")
    again = Store(tmp_path / "blobs", store.rings)
    assert again.recover() == []
    assert {problem.kind for problem in again.check()} <= {"stray"}
    assert again.exists(RING, digest(b"content")) is (before or number > 0)
    kept = again.put(RING, b"content")
    assert again.read(RING, kept, 100) == b"content"
    assert again.read(RING, other, 100) == b"other"
    later = clock.now() + GRACE
    for path in (tmp_path / "blobs").rglob("*"):
        os.utime(path, (clock.now().timestamp(), clock.now().timestamp()))
    again.collect([(RING, kept), (RING, other)], later)
    assert again.check() == []


@pytest.mark.parametrize("call", ["fsync", "link", "mkdir"])
@pytest.mark.parametrize("skip", range(4))
def test_a_full_disk_keeps_all_or_nothing_and_says_so(
    store: Store, tmp_path: Path, monkeypatch, call: str, skip: int
) -> None:
    other = store.put(RING, b"other")
    real, calls = getattr(os, call), []

    def full(*given, **named):
        calls.append(given)
        if len(calls) > skip:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(*given, **named)

    kept, refused = None, None
    with monkeypatch.context() as patched:
        patched.setattr(os, call, full)
        try:
            kept = store.put(RING, b"content")
        except Unavailable as error:
            refused = error
    if refused is not None:
        assert "No space left" in refused.message
        assert "free disk space" in refused.remedy
    again = Store(tmp_path / "blobs", store.rings)
    assert again.read(RING, other, 100) == b"other"
    if kept is not None:
        assert again.read(RING, kept, 100) == b"content"
    assert {problem.kind for problem in again.check()} <= {"stray"}
    assert not list((tmp_path / "blobs").rglob("*.tmp"))
    assert again.read(RING, again.put(RING, b"content"), 100) == b"content"


def test_a_disk_that_fills_up_within_the_content_leaves_nothing(store: Store) -> None:
    """A real limit on the size of a file, in a process of its own."""
    child = os.fork()
    if child == 0:
        import resource
        import signal

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
        try:
            store.put(RING, bytes(3 << 20))
        except Unavailable:
            os._exit(0)
        except BaseException:
            os._exit(1)
        os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert list(store._blobs.list("")) == []
    assert list(store._blobs.leftovers()) == []


def test_every_object_is_durable_before_the_next_refers_to_it(store: Store) -> None:
    """Power may go at any moment: blob synced, named and its folder synced, then the entry."""
    done: list[tuple[str, Path]] = []
    files.recorder = lambda operation, path, _: done.append((operation, path))
    store.put(RING, b"content")
    files.recorder = None
    # The folders above both are made once, before either.
    done = [(step, path) for step, path in done if {"blobs", "index"} & set(path.parts[-4:-1])]
    kinds = ["index" if "index" in path.parts else "blobs" for _, path in done]
    assert kinds == sorted(kinds)  # All of the blob, then all of the index.
    for kind in ("blobs", "index"):
        steps = [step for (step, _), k in zip(done, kinds, strict=True) if k == kind]
        tail = steps[steps.index("write") :]
        assert tail == ["write", "fsync", "link", "unlink", "fsync_dir"]


def test_many_writers_of_the_same_content_share_one_blob(
    store: Store, tmp_path: Path, service, clock: FixedClock
) -> None:
    contents = [b"content %d" % n for n in range(4)]
    failed: list[BaseException] = []

    def write() -> None:
        mine = Store(tmp_path / "blobs", Rings(tmp_path / "rings", service, clock=clock))
        try:
            for content in contents:
                assert mine.put(RING, content) == digest(content)
        except BaseException as error:
            failed.append(error)

    writers = [threading.Thread(target=write) for _ in range(6)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert failed == []
    assert store.check() == []
    assert len(list(store._blobs.list("blobs/"))) == len(contents)


def test_a_reader_and_a_writer_use_the_store_while_its_ring_turns(store: Store) -> None:
    stop = threading.Event()
    failed: list[BaseException] = []

    def read() -> None:
        try:
            while not stop.is_set():
                assert store.read(RING, digest(b"first"), 10) == b"first"
        except BaseException as error:
            failed.append(error)

    store.put(RING, b"first")
    reader = threading.Thread(target=read)
    reader.start()
    for number in range(10):
        store.rings.rotate(RING)
        store.put(RING, b"%d" % number)
    stop.set()
    reader.join()
    assert failed == []
    assert store.check() == []
