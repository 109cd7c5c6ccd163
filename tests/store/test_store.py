"""Content under its digest: sealed, shared within a ring, and never taken on trust."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
from pathlib import Path
from typing import BinaryIO, cast

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from obstore.store import MemoryStore

from assay.canonical import digest
from assay.clock import FixedClock
from assay.errors import AssayError, Corrupt, NotFound, Unavailable, Usage, Verification
from assay.store import LocalKeyService, ObjectBlobs, Rings, Store
from assay.store.store import HEAD

RING, OTHER = "fraud/data", "churn/data"
CONTENT = b"the content of a blob, 43 bytes long, sealed"


@pytest.fixture(params=["local", "objects"])
def either(request, tmp_path: Path, rings: Rings) -> Store:
    """A store over each backend."""
    rings.create(OTHER)
    if request.param == "local":
        return Store(tmp_path / "blobs", rings)
    return Store(ObjectBlobs(MemoryStore(), "memory"), rings)


def objects(store: Store, prefix: str = "") -> list[str]:
    return sorted(found.key for found in store._blobs.list(prefix))


def raw(store: Store, key: str) -> bytes:
    return store._blobs.get(key, 0, 1 << 30)


def test_what_is_put_comes_back_under_its_sha256(either: Store, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(CONTENT)
    for source in (CONTENT, io.BytesIO(CONTENT), tmp_path / "file"):
        assert either.put(RING, source) == digest(CONTENT)
    assert either.read(RING, digest(CONTENT), 100) == CONTENT
    with either.open(RING, digest(CONTENT)) as stream:
        stream.seek(4)
        assert stream.read(7) == CONTENT[4:11]
    assert either.exists(RING, digest(CONTENT))
    assert either.check() == []


@given(
    data=st.one_of(st.binary(max_size=200), st.integers(0, 3).map(lambda n: b"x" * (n << 14))),
    salted=st.booleans(),
)
@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_content_comes_back(store: Store, data: bytes, salted: bool) -> None:
    kept = store.put(RING, data, salted=salted)
    assert (kept == digest(data)) is not salted
    assert store.read(RING, kept, 1 << 20) == data
    with store.open(RING, kept) as stream:
        assert stream.read() == data


def test_a_large_content_streams_through(either: Store) -> None:
    data = hashlib.shake_128(b"x").digest((2 << 20) + 12345)
    kept = either.put(RING, io.BytesIO(data))
    with either.open(RING, kept) as stream:
        assert stream.read(10) == data[:10]
        stream.seek(-5, io.SEEK_END)
        assert stream.read() == data[-5:]
        stream.seek(1 << 20)
        assert stream.read(1 << 20) == data[1 << 20 : 2 << 20]


def test_within_a_ring_content_is_kept_once_and_across_rings_not(either: Store) -> None:
    for _ in range(3):
        either.put(RING, CONTENT)
    assert len(objects(either, "blobs/")) == 1
    either.put(OTHER, CONTENT)
    assert len(objects(either, "blobs/")) == 2
    with pytest.raises(NotFound):
        either.open(OTHER, either.put(RING, b"only there"))
    assert not either.exists(OTHER, digest(b"only there"))


def test_a_salted_digest_says_nothing_about_the_content(either: Store) -> None:
    kept = either.put(RING, CONTENT, salted=True)
    assert kept != digest(CONTENT)
    assert either.put(RING, CONTENT, salted=True) == kept
    assert either.put(OTHER, CONTENT, salted=True) != kept
    assert either.read(RING, kept, 100) == CONTENT
    assert not either.exists(RING, digest(CONTENT))
    either.rings.rotate(RING)
    assert either.put(RING, CONTENT, salted=True) == kept


def test_the_backend_sees_no_content_no_digest_and_no_name(either: Store) -> None:
    either.put(RING, CONTENT)
    with either.lease(RING, digest(CONTENT)):
        listed = objects(either)
        seen = b"".join(key.encode() + raw(either, key) for key in listed)
    assert {key.partition("/")[0] for key in listed} == {"blobs", "index", "leases"}
    secret = [CONTENT[:12], digest(CONTENT)[7:].encode(), b"fraud", b"data"]
    assert not [part for part in secret if part in seen]
    raw_digest = bytes.fromhex(digest(CONTENT)[7:])
    assert raw_digest not in seen


@pytest.mark.parametrize("kind", ["blobs", "index"])
def test_every_flipped_byte_of_a_blob_and_of_an_index_entry_is_noticed(
    either: Store, kind: str
) -> None:
    kept = either.put(RING, CONTENT)
    (key,) = objects(either, f"{kind}/")
    data = raw(either, key)
    for at in range(len(data)):
        either._blobs.replace(key, data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :])
        for use in (
            lambda: either.read(RING, kept, 100),
            lambda: either.open(RING, kept),
        ):
            with pytest.raises((Verification, Corrupt)):
                use()
        if at % 20 == 0:
            assert next(problem.kind for problem in either.check()) == "altered"
    for altered in (b"", data[:1], data[: HEAD - 1], data[:HEAD], data[:-1], data + b"\0"):
        either._blobs.replace(key, altered)
        with pytest.raises((Verification, Corrupt)):
            either.read(RING, kept, 100)
    either._blobs.replace(key, data)
    assert either.read(RING, kept, 100) == CONTENT
    assert either.check() == []


def test_blobs_and_entries_cannot_stand_in_for_one_another(either: Store) -> None:
    one, two = either.put(RING, b"content one"), either.put(RING, b"content two")
    for kind in ("blobs", "index"):
        first, second = objects(either, f"{kind}/")
        a, b = raw(either, first), raw(either, second)
        either._blobs.replace(first, b)
        either._blobs.replace(second, a)
        for kept in (one, two):
            with pytest.raises((Verification, Corrupt)):
                either.read(RING, kept, 100)
        assert {problem.kind for problem in either.check()} >= {"altered"}
        either._blobs.replace(first, a)
        either._blobs.replace(second, b)
    assert either.check() == []


def test_objects_of_one_ring_cannot_stand_in_for_anothers(either: Store) -> None:
    kept = either.put(RING, CONTENT)
    either.put(OTHER, CONTENT)
    ours, theirs = either.rings.ring(RING).id, either.rings.ring(OTHER).id
    for key in objects(either):
        if f"/{theirs}/" in key and key.startswith("blobs/"):
            (mine,) = objects(either, f"blobs/{ours}/")
            either._blobs.replace(mine, raw(either, key))
    with pytest.raises(Verification):
        either.read(RING, kept, 100)


def test_a_missing_blob_is_named_and_putting_it_again_heals(either: Store) -> None:
    kept = either.put(RING, CONTENT)
    (key,) = objects(either, "blobs/")
    either._blobs.delete(key)
    with pytest.raises(Corrupt, match="missing from the blob store"):
        either.open(RING, kept)
    assert not either.exists(RING, kept)
    assert [(p.path, p.kind) for p in either.check()] == [(key, "missing")]
    assert either.put(RING, CONTENT) == kept
    assert either.read(RING, kept, 100) == CONTENT
    assert either.check() == []


def test_a_damaged_entry_fails_closed_and_putting_it_again_heals(either: Store) -> None:
    kept = either.put(RING, CONTENT)
    (key,) = objects(either, "index/")
    either._blobs.replace(key, b"garbage")
    with pytest.raises(Verification):
        either.exists(RING, kept)
    assert either.put(RING, CONTENT) == kept
    assert either.read(RING, kept, 100) == CONTENT


def test_a_blob_that_goes_missing_while_it_is_read_ends_as_an_error(either: Store) -> None:
    data = os.urandom(1 << 20)
    kept = either.put(RING, data)
    with either.open(RING, kept) as stream:
        assert stream.read(10) == data[:10]
        (key,) = objects(either, "blobs/")
        either._blobs.delete(key)
        with pytest.raises(Corrupt):
            stream.read()


def test_a_limit_is_held_before_anything_is_read(either: Store) -> None:
    kept = either.put(RING, CONTENT)
    assert either.read(RING, kept, len(CONTENT)) == CONTENT
    with pytest.raises(Usage, match="more than the 43 allowed"):
        either.read(RING, kept, len(CONTENT) - 1)


def test_what_is_not_there_is_not_found(either: Store) -> None:
    for use in (
        lambda: either.open(RING, digest(b"nothing")),
        lambda: either.read(RING, digest(b"nothing"), 1),
        lambda: either.open("nobody/data", digest(b"nothing")),
        lambda: either.put("nobody/data", b"x"),
        lambda: either.exists("nobody/data", digest(b"nothing")),
    ):
        with pytest.raises(NotFound):
            use()
    assert not either.exists(RING, digest(b"nothing"))
    assert objects(either) == []


def test_after_its_ring_is_destroyed_nothing_opens(either: Store) -> None:
    kept, other = either.put(RING, CONTENT), either.put(OTHER, CONTENT)
    either.rings.destroy(RING)
    for use in (
        lambda: either.open(RING, kept),
        lambda: either.read(RING, kept, 100),
        lambda: either.exists(RING, kept),
        lambda: either.put(RING, CONTENT),
        lambda: either.lease(RING, kept).__enter__(),
    ):
        with pytest.raises(NotFound) as shut:
            use()
        assert shut.value.code == "not_found.shredded"
    assert either.read(OTHER, other, 100) == CONTENT
    assert {problem.kind for problem in either.check()} == {"stray"}


def test_a_ring_destroyed_while_something_is_put_keeps_nothing(either: Store) -> None:
    class Destroys(io.BytesIO):
        def readinto(self, buffer) -> int:
            either.rings.destroy(RING)
            return super().readinto(buffer)

    with pytest.raises(NotFound) as shut:
        either.put(RING, Destroys(CONTENT))
    assert shut.value.code == "not_found.shredded"
    assert objects(either) == []


def test_a_turned_ring_opens_old_blobs_and_seals_new_ones_anew(either: Store) -> None:
    old = either.put(RING, b"old")
    either.rings.rotate(RING)
    new = either.put(RING, b"new")
    assert [either.read(RING, kept, 10) for kept in (old, new)] == [b"old", b"new"]
    assert either.check() == []


class Failing(io.RawIOBase):
    """A source whose disk dies half-way."""

    def __init__(self, error: BaseException) -> None:
        self._error, self._left = error, 3

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        self._left -= 1
        if not self._left:
            raise self._error
        buffer[:] = bytes(len(buffer))
        return len(buffer)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OSError(5, "Input/output error"), Unavailable),
        (Usage("the source is wrong"), Usage),
        (ValueError("boo"), ValueError),
    ],
)
def test_a_source_that_fails_half_way_keeps_nothing_and_is_named(
    either: Store, error: Exception, expected: type[Exception]
) -> None:
    with pytest.raises(expected) as failed:
        either.put(RING, cast(BinaryIO, Failing(error)))
    assert "cannot write" not in str(failed.value)
    assert objects(either) == []
    assert list(either._blobs.leftovers()) == []


def test_hostile_paths_are_refused(either: Store, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/etc/passwd")
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "link", tmp_path / "pipe", tmp_path, Path("/dev/zero")):
        with pytest.raises(Usage):
            either.put(RING, path)
    with pytest.raises(NotFound):
        either.put(RING, tmp_path / "nothing")
    assert objects(either) == []


def test_another_workspace_reads_nothing_of_a_copied_store(
    store: Store, tmp_path: Path, clock: FixedClock
) -> None:
    kept = store.put(RING, CONTENT)
    shutil.copytree(tmp_path / "blobs", tmp_path / "copy")
    thief = Rings(tmp_path / "other", LocalKeyService.create(tmp_path / "k"), clock=clock)
    thief.create(RING)
    stolen = Store(tmp_path / "copy", thief)
    with pytest.raises(NotFound):
        stolen.open(RING, kept)
    assert {problem.kind for problem in stolen.check()} == {"stray"}


def test_what_the_key_holder_wrote_wrongly_is_noticed_by_reading_whole(either: Store) -> None:
    """Seals hold against everyone but the ring's own keys; the digest holds against those too."""
    opened = either.rings.ring(RING)
    one, two = either.put(RING, b"content one"), either.put(RING, b"content two")
    there = either._index.find(opened, two)
    assert there is not None
    lie = msgspec.structs.replace(there, digest=one)
    key = either._index.key(opened, either._index.name(opened, one))
    either._blobs.replace(key, either._index.encode(opened, lie))
    with pytest.raises(Verification, match="another digest"):
        either.read(RING, one, 100)
    assert "altered" in {problem.kind for problem in either.check()}


def test_a_newer_index_entry_is_refused(either: Store) -> None:
    opened = either.rings.ring(RING)
    kept = either.put(RING, CONTENT)
    there = either._index.find(opened, kept)
    assert there is not None
    key = either._index.key(opened, either._index.name(opened, kept))
    newer = msgspec.structs.replace(there, format="assay/index/v2")
    either._blobs.replace(key, either._index.encode(opened, newer))
    with pytest.raises(Corrupt, match="unknown format"):
        either.read(RING, kept, 100)


def test_every_error_is_one_that_a_user_can_read(either: Store) -> None:
    kept = either.put(RING, CONTENT)
    (key,) = objects(either, "blobs/")
    either._blobs.replace(key, b"")
    with pytest.raises(AssayError) as failed:
        either.read(RING, kept, 100)
    assert kept in failed.value.message
    assert failed.value.remedy
