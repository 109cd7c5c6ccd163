"""Collecting what nobody needs, and never anything else; naming everything that is wrong."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from assay import files
from assay.canonical import digest
from assay.clock import FixedClock
from assay.errors import Corrupt, NotFound, Unavailable
from assay.store import GRACE, LocalKeyService, Rings, Store
from assay.types import Digest

RING, OTHER = "fraud/data", "churn/data"
DAY = timedelta(hours=24)


def objects(store: Store, prefix: str = "") -> list[str]:
    return sorted(found.key for found in store._blobs.list(prefix))


def age(tmp_path: Path, clock: FixedClock, by: timedelta) -> None:
    """Everything on the disk was last written that long before the clock."""
    at = (clock.now() - by).timestamp()
    for path in (tmp_path / "blobs").rglob("*"):
        os.utime(path, (at, at))


# -- collecting ------------------------------------------------------------------------------------


def test_only_what_is_unreachable_and_older_than_a_day_goes(
    store: Store, clock: FixedClock
) -> None:
    kept, waste = store.put(RING, b"kept"), store.put(RING, b"waste")
    assert DAY == GRACE
    clock.advance(DAY - timedelta(seconds=1))
    young = store.put(RING, b"young")
    assert store.collect([(RING, kept)], clock.now()).deleted == 0
    clock.advance(timedelta(seconds=1))
    done = store.collect([(RING, kept)], clock.now())
    assert (done.kept, done.deleted, done.bytes, done.doubtful) == (2, 1, 5, [])
    assert [store.exists(RING, d) for d in (kept, waste, young)] == [True, False, True]
    with pytest.raises(NotFound):
        store.open(RING, waste)
    assert len(objects(store)) == 4
    assert store.check() == []


def test_the_files_of_a_reachable_tree_stay(
    store: Store, tmp_path: Path, clock: FixedClock
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a").write_bytes(b"in the tree")
    tree = store.put_tree(RING, tmp_path / "in")
    clock.advance(DAY)
    assert store.collect([(RING, tree)], clock.now()).deleted == 0
    store.extract_tree(RING, tree, tmp_path / "out")
    # Also when its manifest was put again as if it were any content.
    store.put(RING, store.read(RING, tree, 1000))
    clock.advance(2 * DAY)
    assert store.collect([(RING, tree)], clock.now()).deleted == 0
    assert store.collect([], clock.now()).deleted == 2


def test_a_manifest_put_as_content_and_then_as_a_tree_is_a_tree(
    store: Store, tmp_path: Path, clock: FixedClock
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a").write_bytes(b"in the tree")
    tree = store.put_tree(RING, tmp_path / "in")
    manifest = store.read(RING, tree, 1000)
    clock.advance(DAY)
    store.collect([], clock.now())
    assert store.put(RING, manifest) == tree
    assert store.put_tree(RING, tmp_path / "in") == tree
    clock.advance(2 * DAY)
    assert store.collect([(RING, tree)], clock.now()).deleted == 0
    store.extract_tree(RING, tree, tmp_path / "out")


def test_what_is_leased_stays(store: Store, clock: FixedClock) -> None:
    waste = store.put(RING, b"waste")
    clock.advance(DAY)
    with store.lease(RING, waste):
        assert store.collect([], clock.now()).deleted == 0
    assert objects(store, "leases/") == []
    assert store.collect([], clock.now()).deleted == 1


def test_a_lease_of_a_process_that_died_runs_out(store: Store, clock: FixedClock) -> None:
    waste = store.put(RING, b"waste")
    clock.advance(DAY)
    held = store.lease(RING, waste)
    held.__enter__()  # And never given back.
    clock.advance(DAY - timedelta(seconds=1))
    assert store.collect([], clock.now()).deleted == 0
    clock.advance(timedelta(seconds=1))
    assert store.collect([], clock.now()).deleted == 1
    assert objects(store) == []


def test_an_altered_lease_costs_space_and_not_content(store: Store, clock: FixedClock) -> None:
    kept = store.put(RING, b"content")
    clock.advance(DAY)
    held = store.lease(RING, kept)
    held.__enter__()
    (key,) = objects(store, "leases/")
    store._blobs.replace(key, b"garbage")
    clock.advance(3 * DAY)
    assert store.collect([], clock.now()).deleted == 0


def test_putting_again_what_is_there_starts_the_day_anew(store: Store, clock: FixedClock) -> None:
    kept = store.put(RING, b"content")
    clock.advance(3 * DAY)
    assert store.put(RING, b"content") == kept
    clock.advance(DAY - timedelta(seconds=1))
    assert store.collect([], clock.now()).deleted == 0
    assert store.exists(RING, kept)


def test_nothing_is_deleted_when_the_index_lost_something_needed(
    store: Store, tmp_path: Path, clock: FixedClock
) -> None:
    kept, waste = store.put(RING, b"kept"), store.put(RING, b"waste")
    opened = store.rings.ring(RING)
    store._blobs.delete(store._index.key(opened, store._index.name(opened, kept)))
    clock.advance(3 * DAY)
    age(tmp_path, clock, 2 * DAY)
    with pytest.raises(Corrupt, match="nothing is deleted"):
        store.collect([(RING, kept)], clock.now())
    assert store.exists(RING, waste)
    assert len(objects(store, "blobs/")) == 2


def test_while_an_entry_is_damaged_no_stray_of_its_ring_goes(
    store: Store, tmp_path: Path, clock: FixedClock
) -> None:
    store.put(RING, b"content")
    (key,) = objects(store, "index/")
    data = store._blobs.get(key, 0, 10_000)
    store._blobs.replace(key, b"damaged")
    clock.advance(3 * DAY)
    age(tmp_path, clock, 2 * DAY)
    done = store.collect([], clock.now())
    assert (done.doubtful, done.strays) == ([key], 0)
    store._blobs.replace(key, data)
    assert store.read(RING, digest(b"content"), 10) == b"content"


def test_strays_go_after_a_day_and_not_before(
    store: Store, tmp_path: Path, clock: FixedClock, killed
) -> None:
    with killed(0):
        store.put(RING, b"never indexed")
    assert [p.kind for p in store.check()] == ["stray"]
    age(tmp_path, clock, DAY - timedelta(seconds=1))
    assert store.collect([], clock.now()).strays == 0
    age(tmp_path, clock, DAY)
    assert store.collect([], clock.now()).strays == 1
    assert store.check() == []


def test_what_a_destroyed_ring_sealed_goes_at_once_and_nothing_else(
    store: Store, clock: FixedClock
) -> None:
    store.rings.create(OTHER)
    store.put(RING, b"shredded")
    kept = store.put(OTHER, b"kept")
    store.rings.destroy(RING)
    assert {p.kind for p in store.check()} == {"stray"}
    assert store.collect([(OTHER, kept), (RING, digest(b"shredded"))], clock.now()).shredded == 2
    assert store.check() == []
    assert store.read(OTHER, kept, 10) == b"kept"


def test_a_forged_receipt_deletes_no_other_rings_blobs(store: Store, clock: FixedClock) -> None:
    store.rings.create(OTHER)
    kept = store.put(OTHER, b"kept")
    store.rings.destroy(RING)
    path = store.rings.folder / "fraud" / "data.destroyed"
    theirs = store.rings.ring(OTHER).id
    ours = store.rings.receipts()[0].id
    path.write_bytes(path.read_bytes().replace(ours.encode(), theirs.encode()))
    with pytest.raises(Corrupt):
        store.collect([], clock.now() + 3 * DAY)
    assert store.read(OTHER, kept, 10) == b"kept"


def test_objects_of_unknown_rings_are_named_and_left_alone(
    store: Store, tmp_path: Path, clock: FixedClock
) -> None:
    store._blobs.create("blobs/someone-else/ab/abcd", b"theirs")
    store._blobs.create("elsewhere/x", b"theirs")
    age(tmp_path, clock, 9 * DAY)
    store.collect([], clock.now())
    assert sorted(p.path for p in store.check()) == ["blobs/someone-else/ab/abcd", "elsewhere/x"]


def test_only_one_collects_at_a_time(store: Store, clock: FixedClock) -> None:
    with (
        files.Lock(store.rings.folder / "collect.lock"),
        pytest.raises(Unavailable, match="another process"),
    ):
        store.collect([], clock.now())


def test_an_unknown_ring_among_the_reachable_stops_the_collection(
    store: Store, clock: FixedClock
) -> None:
    with pytest.raises(NotFound):
        store.collect([("nobody/data", digest(b"x"))], clock.now())


# -- races between a put and a collection ----------------------------------------------------------


@pytest.mark.parametrize("at", ["store.condemned", "store.unindexed", "store.collected"])
def test_a_put_in_the_middle_of_a_collection_keeps_its_content(
    store: Store, clock: FixedClock, at: str
) -> None:
    store.put(RING, b"content")
    clock.advance(2 * DAY)
    put: list[Digest] = []

    def meanwhile(name: str) -> None:
        if name == at:
            files.failpoint = None
            put.append(store.put(RING, b"content"))

    files.failpoint = meanwhile
    store.collect([], clock.now())
    assert put == [digest(b"content")]
    assert store.read(RING, put[0], 10) == b"content"
    assert store.check() == []


@pytest.mark.parametrize("at", ["store.blob_written", "store.leased", "store.indexed"])
def test_a_collection_in_the_middle_of_a_put_leaves_the_content(
    store: Store, clock: FixedClock, at: str
) -> None:
    store.put(RING, b"content")
    clock.advance(2 * DAY)

    def meanwhile(name: str) -> None:
        if name == at:
            files.failpoint = None
            store.collect([], clock.now())

    files.failpoint = meanwhile
    kept = store.put(RING, b"content")
    assert store.read(RING, kept, 10) == b"content"
    assert store.check() == []


@pytest.mark.parametrize("number", range(3))
def test_a_collection_killed_anywhere_is_finished(
    store: Store, tmp_path: Path, clock: FixedClock, killed, points, number: int
) -> None:
    kept, waste = store.put(RING, b"kept"), store.put(RING, b"waste")
    clock.advance(DAY)
    reachable = [(RING, kept)]
    with killed(number):
        store.collect(reachable, clock.now())
    again = Store(tmp_path / "blobs", store.rings)
    assert len(again.recover()) == 1
    assert again.recover() == []
    assert again.check() == []
    assert again.exists(RING, waste) is (number == 0)
    assert again.collect(reachable, clock.now()).deleted == (1 if number == 0 else 0)
    assert len(objects(again)) == 2
    assert points(lambda: again.collect(reachable, clock.now())) == []


@pytest.mark.parametrize("number", [0, 1])
def test_what_is_leased_after_a_killed_collection_is_brought_back(
    store: Store, clock: FixedClock, killed, number: int
) -> None:
    kept = store.put(RING, b"content")
    clock.advance(DAY)
    with killed(number):
        store.collect([], clock.now())
    with store.lease(RING, kept):
        store.recover()
        assert store.read(RING, kept, 10) == b"content"


# -- checking --------------------------------------------------------------------------------------


def test_check_names_missing_altered_and_stray_each_by_its_object(
    store: Store, tmp_path: Path
) -> None:
    opened = store.rings.ring(RING)
    keys: dict[bytes, str] = {}
    for content in (b"missing", b"altered", b"truncated", b"no entry", b"bad entry", b"fine"):
        entry = store._index.find(opened, store.put(RING, content))
        assert entry is not None
        keys[content] = store.blob_key(opened, entry.blob)

    def entry_key(content: bytes) -> str:
        return store._index.key(opened, store._index.name(opened, digest(content)))

    blobs = tmp_path / "blobs"
    (blobs / keys[b"missing"]).unlink()
    data = (blobs / keys[b"altered"]).read_bytes()
    (blobs / keys[b"altered"]).write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    os.truncate(blobs / keys[b"truncated"], 100)
    (blobs / entry_key(b"no entry")).unlink()
    (blobs / entry_key(b"bad entry")).write_bytes(b"x")
    left = blobs / "blobs" / opened.id / ".abc.0123.tmp"
    left.write_bytes(b"half")
    (store.rings.folder / "fraud" / "bad.ring").write_bytes(b"{}")

    found = {problem.path: problem.kind for problem in store.check([(RING, digest(b"no entry"))])}
    assert found == {
        keys[b"missing"]: "missing",
        keys[b"altered"]: "altered",
        keys[b"truncated"]: "altered",
        keys[b"no entry"]: "stray",
        digest(b"no entry"): "missing",
        entry_key(b"bad entry"): "altered",
        keys[b"bad entry"]: "stray",
        left.relative_to(blobs).as_posix(): "stray",
        str(store.rings.folder / "fraud" / "bad.ring"): "altered",
    }


def test_check_names_what_a_tree_lacks(store: Store, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "weights").write_bytes(b"x")
    store.put_tree(RING, tmp_path / "in")
    opened = store.rings.ring(RING)
    store._blobs.delete(store._index.key(opened, store._index.name(opened, digest(b"x"))))
    problems = {problem.path: problem for problem in store.check()}
    assert "weights" in problems[digest(b"x")].what
    assert problems[digest(b"x")].kind == "missing"


def test_check_goes_on_past_a_ring_that_another_key_wraps(
    store: Store, tmp_path: Path, clock: FixedClock
) -> None:
    store.put(RING, b"content")
    other = LocalKeyService.create(tmp_path / "other.key")
    foreign = Store(tmp_path / "blobs", Rings(store.rings.folder, other, clock=clock))
    foreign.rings.create(OTHER)
    problems = foreign.check([(OTHER, digest(b"x")), ("nobody/data", digest(b"x"))])
    assert {problem.kind for problem in problems} == {"altered", "stray", "missing"}


def test_recover_removes_old_leftovers_and_leaves_young_ones(
    store: Store, tmp_path: Path, clock: FixedClock
) -> None:
    store.put(RING, b"content")
    folder = tmp_path / "blobs" / "blobs" / store.rings.ring(RING).id
    for name, old in ((".old.0123.tmp", DAY), (".young.0123.tmp", DAY / 2)):
        (folder / name).write_bytes(b"half")
        at = (clock.now() - old).timestamp()
        os.utime(folder / name, (at, at))
    assert len(store.recover()) == 1
    assert [path.name for path in folder.glob(".*")] == [".young.0123.tmp"]


def test_a_store_that_is_not_there_yet_is_fine(tmp_path: Path, service, clock: FixedClock) -> None:
    store = Store(tmp_path / "nothing", Rings(tmp_path / "none", service, clock=clock))
    assert store.check() == []
    assert store.recover() == []
    assert store.collect([], clock.now()).deleted == 0


# -- everything at once ----------------------------------------------------------------------------


class Life(RuleBasedStateMachine):
    """Puts, collections, turns and time in any order lose nothing that is needed."""

    def __init__(self) -> None:
        super().__init__()
        import tempfile
        from datetime import datetime, timezone

        self.folder = tempfile.TemporaryDirectory()
        base = Path(self.folder.name)
        self.clock = FixedClock(datetime(2026, 1, 1, tzinfo=timezone.utc))
        rings = Rings(base / "rings", LocalKeyService(bytes(32)), clock=self.clock)
        rings.create(RING)
        self.store = Store(base / "blobs", rings)
        self.needed: dict[Digest, bytes] = {}
        self.young: dict[Digest, tuple[bytes, int]] = {}
        self.hours = 0

    @rule(number=st.integers(0, 4), need=st.booleans(), salted=st.booleans())
    def put(self, number: int, need: bool, salted: bool) -> None:
        content = b"content %d" % number
        kept = self.store.put(RING, content, salted=salted)
        self.young[kept] = (content, self.hours)
        if need:
            self.needed[kept] = content

    @rule()
    def forget(self) -> None:
        self.needed.clear()

    @rule(hours=st.integers(1, 30))
    def wait(self, hours: int) -> None:
        self.clock.advance(timedelta(hours=hours))
        self.hours += hours

    @rule()
    def rotate(self) -> None:
        self.store.rings.rotate(RING)

    @rule()
    def collect(self) -> None:
        self.store.collect([(RING, d) for d in self.needed], self.clock.now())

    @invariant()
    def everything_needed_or_young_is_there(self) -> None:
        for kept, content in self.needed.items():
            assert self.store.read(RING, kept, 100) == content
        for kept, (content, since) in self.young.items():
            if self.hours - since < 24:
                assert self.store.read(RING, kept, 100) == content

    def teardown(self) -> None:
        assert [p for p in self.store.check() if p.kind != "stray"] == []
        self.folder.cleanup()


TestLife = Life.TestCase
TestLife.settings = settings(
    max_examples=15,
    stateful_step_count=20,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
