"""The ledger as its users see it: appending, reading, proving, and refusing what was replaced."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path

import msgspec
import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from assay import files
from assay.clock import FixedClock
from assay.errors import (
    Conflict,
    Corrupt,
    NotFound,
    Unavailable,
    Usage,
    Verification,
)
from assay.evidence import merkle, notes, segments, tlog_proof
from assay.evidence.cosignatures import VerifierKey
from assay.evidence.ledger import CheckpointMemory, Entry, Leaf, Ledger, leaf_bytes
from assay.evidence.signers import MemorySigner, PublicKey

ORIGIN = "example.com/ledger"
START = datetime(2026, 1, 1, tzinfo=timezone.utc)


class Rings:
    """A sealer with one key for each project."""

    def __init__(self) -> None:
        self.keys: dict[str, bytes] = {}
        self.destroyed: set[str] = set()
        self.opened: list[str] = []

    def seal(self, project: str, plaintext: bytes) -> bytes:
        key = self.keys.setdefault(project, secrets.token_bytes(16))
        nonce = secrets.token_bytes(12)
        return nonce + AESGCM(key).encrypt(nonce, plaintext, b"")

    def open(self, project: str, sealed: bytes) -> bytes:
        self.opened.append(project)
        if project in self.destroyed:
            raise NotFound(f"the ring of {project} was destroyed", code="shredded")
        if project not in self.keys:
            raise NotFound(f"no ring for {project}", code="ring")
        try:
            return AESGCM(self.keys[project]).decrypt(sealed[:12], sealed[12:], b"")
        except InvalidTag as error:
            raise Verification("the seal does not hold") from error


class World:
    """A ledger's folder, with all that is needed to open it as someone else."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.folder = base / "ledger"
        self.signer = MemorySigner.generate()
        self.rings = Rings()
        self.clock = FixedClock(START)
        self.memory = CheckpointMemory(base / "state")

    def create(self) -> Ledger:
        return Ledger.create(
            self.folder, ORIGIN, self.signer, self.rings, self.clock, remembered=self.memory
        )

    def open(self, *, write: bool = False, memory: CheckpointMemory | None = None) -> Ledger:
        return Ledger.open(
            self.folder,
            ORIGIN,
            self.signer.public,
            self.rings,
            signer=self.signer if write else None,
            remembered=memory or self.memory,
            clock=self.clock,
        )

    def fresh_memory(self) -> CheckpointMemory:
        return CheckpointMemory(self.base / secrets.token_hex(4))


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def entries(count: int, name: str = "e", project: str = "fraud") -> list[Entry]:
    return [Entry(project, f"{name}/{index}".encode()) for index in range(count)]


def envelopes(leaves: Sequence[Leaf]) -> list[bytes | None]:
    return [leaf.envelope for leaf in leaves]


# -- appending and reading ------------------------------------------------------------------------


def test_what_is_appended_is_read_back_by_anyone_who_opens_the_folder(world: World) -> None:
    ledger = world.create()
    assert ledger.append(entries(3, "a")) == range(3)
    assert ledger.append([Entry("fraud", b"x"), Entry("churn", b"y"), Entry("fraud", b"z")]) == (
        range(3, 6)
    )
    reader = world.open()
    leaves = list(reader.read(0, 6))
    assert [leaf.index for leaf in leaves] == list(range(6))
    assert envelopes(leaves) == [b"a/0", b"a/1", b"a/2", b"x", b"y", b"z"]
    assert [leaf.project for leaf in leaves][3:] == ["fraud", "churn", "fraud"]
    for leaf in leaves:
        assert leaf.nonce is not None
        assert leaf.envelope is not None
        assert leaf.commitment == hashlib.sha256(leaf.nonce + leaf.envelope).digest()
    assert len({leaf.nonce for leaf in leaves}) == 6
    assert reader.check() == []


@given(st.lists(st.integers(0, 400), min_size=1, max_size=5))
@settings(
    deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_series_of_appends_reads_back_checks_and_proves(
    tmp_path: Path, sizes: list[int]
) -> None:
    world = World(tmp_path / secrets.token_hex(4))
    ledger = world.create()
    expected: list[bytes] = []
    roots = {0: ledger.checkpoint.root}
    for number, size in enumerate(sizes):
        added = entries(size, str(number))
        assert ledger.append(added) == range(len(expected), len(expected) + size)
        expected += [entry.envelope for entry in added]
        roots[len(expected)] = ledger.checkpoint.root
    reader = world.open()
    leaves = list(reader.read(0, len(expected)))
    assert envelopes(leaves) == expected
    hashes = [merkle.leaf_hash(leaf_bytes(leaf.commitment)) for leaf in leaves]
    assert reader.checkpoint.root == merkle.root(hashes)
    assert reader.check() == []
    assert reader.recover() == []
    for size, root in roots.items():
        assert reader.root_at(size) == root
        proof = reader.consistency(size, len(expected))
        merkle.verify_consistency(size, len(expected), root, reader.checkpoint.root, proof)
        for index in {0, size // 2, size - 1} & set(range(size)):
            path = reader.inclusion(index, size)
            merkle.verify_inclusion(hashes[index], index, size, path, root)


def test_a_ledger_of_70_000_leaves_has_the_files_of_the_specification(world: World) -> None:
    ledger = world.create()
    ledger.append(entries(40_000, "a"))
    ledger.append(entries(30_000, "b"))
    listed = {path.relative_to(world.folder).as_posix() for path in world.folder.rglob("*")}
    tiles = {path for path in listed if path.startswith("tile/") and path[-1].isdigit()}
    files_only = {path for path in tiles if (world.folder / path).is_file()}
    assert len([path for path in files_only if path.startswith("tile/0/")]) == 274
    assert len([path for path in files_only if path.startswith("tile/entries/")]) == 274
    tops = {path for path in files_only if path[5] in "12"}
    # The partial tile of level 1 at 40,000 leaves is gone: its full tile is there.
    assert tops == {"tile/1/000", "tile/1/001.p/17", "tile/2/000.p/1"}
    assert (world.folder / "tile/0/273.p/112").stat().st_size == 112 * 32
    assert envelopes(list(world.open().read(39_999, 40_001))) == [b"a/39999", b"b/0"]
    ledger.append(entries(1, "c"))
    assert world.open().root_at(70_000) != ledger.checkpoint.root


def test_an_entry_bundle_is_what_any_tlog_client_expects(world: World) -> None:
    ledger = world.create()
    ledger.append(entries(2))
    bundle = (world.folder / "tile/entries/000.p/2").read_bytes()
    hashes = (world.folder / "tile/0/000.p/2").read_bytes()
    for number in range(2):
        length = int.from_bytes(bundle[:2], "big")
        entry, bundle = bundle[2 : 2 + length], bundle[2 + length :]
        assert entry.startswith(b"assay/leaf/v1\n")
        assert merkle.leaf_hash(entry) == hashes[32 * number :][:32]
    assert bundle == b""


def test_nothing_public_holds_an_envelope_or_a_nonce(world: World) -> None:
    ledger = world.create()
    ledger.append([Entry("fraud", b"salary of one person")])
    (leaf,) = ledger.read(0, 1)
    assert leaf.nonce is not None
    for path in world.folder.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            assert b"salary" not in data
            assert leaf.nonce not in data


def test_appending_nothing_changes_nothing_but_still_asks_the_guard(world: World) -> None:
    ledger = world.create()
    asked: list[int] = []
    before = (world.folder / "checkpoint").read_bytes()
    assert ledger.append([], guard=lambda held: asked.append(held.checkpoint.size)) == range(0)
    assert asked == [0]
    assert (world.folder / "checkpoint").read_bytes() == before


def test_an_append_too_large_is_refused_before_anything_is_written(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = world.create()
    monkeypatch.setattr(segments, "MAX_LEAVES", 10)
    with pytest.raises(Usage):
        ledger.append(entries(11))
    assert ledger.append(entries(10)) == range(10)


def test_a_leaf_of_a_long_append_is_found_far_from_where_its_segment_lies(world: World) -> None:
    ledger = world.create()
    ledger.append(entries(1))
    ledger.append(entries(segments.MAX_LEAVES, "long"))
    ledger.append(entries(1, "last"))
    size = ledger.checkpoint.size
    assert envelopes(list(world.open().read(size - 2, size))) == [
        f"long/{segments.MAX_LEAVES - 1}".encode(),
        b"last/0",
    ]


def test_a_follower_reads_only_what_is_new(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = world.create()
    for _ in range(5):
        ledger.append(entries(1000))
    follower = world.open()
    old = follower.checkpoint.size
    ledger.append(entries(3, "new"))
    opened: list[str] = []
    read = files.read

    def watched(path: Path, *, limit: int, what: str = "file") -> bytes:
        opened.append(path.relative_to(world.base).as_posix())
        return read(path, limit=limit, what=what)

    monkeypatch.setattr(files, "read", watched)
    new = follower.refresh().size
    assert envelopes(list(follower.read(old, new))) == [b"new/0", b"new/1", b"new/2"]
    assert [path for path in opened if "sealed" in path] == ["ledger/sealed/019/5000-3.seg"]
    assert len([path for path in opened if "/tile/" in path]) <= 4


def test_a_snapshot_is_authenticated_by_the_root_at_its_size(world: World) -> None:
    ledger = world.create()
    roots = {}
    for size in (1, 255, 1, 300, 7):
        ledger.append(entries(size))
        roots[ledger.checkpoint.size] = ledger.checkpoint.root
    reader = world.open()
    assert {size: reader.root_at(size) for size in roots} == roots
    with pytest.raises(Usage):
        reader.root_at(565)
    with pytest.raises(Usage):
        reader.root_at(-1)


@pytest.mark.parametrize(("start", "stop"), [(0, 4), (-1, 2), (2, 1), (4, 4)])
def test_a_range_beyond_the_checkpoint_is_refused(world: World, start: int, stop: int) -> None:
    ledger = world.create()
    ledger.append(entries(3))
    with pytest.raises(Usage):
        ledger.read(start, stop)


def test_a_proof_file_convinces_someone_with_only_the_key(world: World) -> None:
    ledger = world.create()
    ledger.append(entries(300))
    (leaf,) = ledger.read(17, 18)
    hashed = merkle.leaf_hash(leaf_bytes(leaf.commitment))
    proof = tlog_proof.decode(ledger.proof(17))
    note = tlog_proof.verify(proof, hashed, VerifierKey.of(ORIGIN, world.signer.public))
    assert (proof.index, note.size, note.root) == (17, 300, ledger.checkpoint.root)


def test_proofs_of_what_is_not_there_are_refused(world: World) -> None:
    ledger = world.create()
    ledger.append(entries(3))
    for ask in (
        lambda: ledger.inclusion(3),
        lambda: ledger.inclusion(0, 4),
        lambda: ledger.consistency(2, 4),
        lambda: ledger.consistency(3, 2),
        lambda: ledger.proof(3),
    ):
        with pytest.raises(Usage):
            ask()


# -- destroyed rings ------------------------------------------------------------------------------


def test_leaves_of_a_destroyed_ring_stay_provable_but_unreadable(world: World) -> None:
    ledger = world.create()
    ledger.append([*entries(2), *entries(2, "c", "churn")])
    world.rings.destroyed.add("churn")
    reader = world.open()
    leaves = list(reader.read(0, 4))
    assert envelopes(leaves) == [b"e/0", b"e/1", None, None]
    assert [leaf.nonce for leaf in leaves][2:] == [None, None]
    assert [leaf.project for leaf in leaves][2:] == ["churn", "churn"]
    assert reader.check() == []
    hashed = merkle.leaf_hash(leaf_bytes(leaves[3].commitment))
    merkle.verify_inclusion(hashed, 3, 4, reader.inclusion(3), reader.checkpoint.root)


def test_a_missing_ring_is_not_a_destroyed_one(world: World) -> None:
    ledger = world.create()
    ledger.append(entries(2))
    world.rings.keys.clear()
    with pytest.raises(NotFound):
        list(world.open().read(0, 2))
    assert world.open().check() != []


def test_a_leaf_cannot_be_passed_off_as_one_of_a_destroyed_ring(world: World) -> None:
    ledger = world.create()
    ledger.append(entries(1, "c", "churn"))
    ledger.append([Entry("fraud", b"revoke the model")])
    world.rings.destroyed.add("churn")
    path = world.folder / "sealed/000/1-1.seg"
    path.write_bytes(path.read_bytes().replace(b"fraud", b"churn"))
    with pytest.raises(Corrupt, match=r"1-1\.seg"):
        list(world.open().read(1, 2))
    assert [problem.path for problem in world.open().check()] == ["sealed/000/1-1.seg"]


@pytest.mark.parametrize("wrong", [b"e/9", b"", b"e/00"])
def test_an_envelope_that_is_not_what_was_committed_to_is_refused(
    world: World, wrong: bytes
) -> None:
    ledger = world.create()
    ledger.append(entries(2))
    opening = world.rings.open

    def lying(project: str, sealed: bytes) -> bytes:
        plain = msgspec.msgpack.decode(opening(project, sealed))
        plain["entries"][1][2] = wrong
        return msgspec.msgpack.encode(plain)

    world.rings.open = lying  # Whoever owns the ring does not thereby own the ledger.
    reader = world.open()
    assert envelopes(list(reader.read(0, 1))) == [b"e/0"]
    with pytest.raises(Corrupt, match="leaf 1"):
        list(reader.read(0, 2))
    assert [problem.path for problem in reader.check()] == ["sealed/000/0-2.seg"]


@pytest.mark.parametrize(
    "plaintext",
    [
        b"",
        b"\xff",
        msgspec.msgpack.encode({"format": "assay/segment-section/v2", "entries": []}),
        msgspec.msgpack.encode({"format": "assay/segment-section/v1", "entries": []}),
        msgspec.msgpack.encode({"format": "assay/segment-section/v1", "entries": [], "x": 1}),
    ],
)
def test_an_opened_section_in_another_form_is_refused(world: World, plaintext: bytes) -> None:
    ledger = world.create()
    ledger.append(entries(1))
    world.rings.open = lambda project, sealed: plaintext  # noqa: ARG005
    with pytest.raises(Corrupt, match=r"0-1\.seg"):
        list(world.open().read(0, 1))


def test_only_the_projects_asked_for_are_opened(world: World) -> None:
    ledger = world.create()
    ledger.append([*entries(2), *entries(2, "c", "churn")])
    world.rings.opened.clear()
    list(world.open().read(0, 2))
    assert world.rings.opened == ["fraud"]


# -- comparing before appending -------------------------------------------------------------------


def test_an_append_that_expected_another_size_is_refused(world: World) -> None:
    ledger = world.create()
    other = world.open(write=True)
    assert other.append(entries(2), expect=0) == range(2)
    with pytest.raises(Conflict):
        ledger.append(entries(1), expect=0)
    assert ledger.append(entries(1), expect=2) == range(2, 3)


def test_the_guard_sees_the_newest_state_and_can_stop_the_append(world: World) -> None:
    ledger = world.create()
    other = world.open(write=True)
    other.append([Entry("fraud", b"revoked")])

    def guard(held: Ledger) -> None:
        seen = [leaf.envelope for leaf in held.read(0, held.checkpoint.size)]
        assert seen == [b"revoked"]
        raise Conflict("it was revoked")

    with pytest.raises(Conflict, match="revoked"):
        ledger.append(entries(1), guard=guard)
    assert world.open().checkpoint.size == 1
    assert world.open().check() == []
    assert other.append(entries(1)) == range(1, 2)


def test_a_checkpoint_swapped_without_the_lock_stops_the_append(world: World) -> None:
    ledger = world.create()
    ledger.append(entries(1))
    twin = world.base / "twin"
    shutil.copytree(world.folder, twin)
    other = Ledger.open(
        twin, ORIGIN, world.signer.public, world.rings, signer=world.signer, clock=world.clock
    )
    other.append(entries(1, "other"))

    def swap(name: str) -> None:
        if name == "ledger.staged":
            files.failpoint = None
            (world.folder / "checkpoint").write_bytes((twin / "checkpoint").read_bytes())

    files.failpoint = swap
    try:
        with pytest.raises(Conflict):
            ledger.append(entries(1, "mine"))
    finally:
        files.failpoint = None
    assert not list((world.folder / "sealed/000").glob("1-*"))


def test_without_its_key_a_ledger_can_only_be_read(world: World) -> None:
    world.create().append(entries(1))
    with pytest.raises(Usage):
        world.open().append(entries(1))


def test_a_signer_with_another_key_is_refused(world: World) -> None:
    world.create()
    with pytest.raises(Verification):
        Ledger.open(
            world.folder,
            ORIGIN,
            world.signer.public,
            world.rings,
            signer=MemorySigner.generate(),
            clock=world.clock,
        )


# -- opening --------------------------------------------------------------------------------------


def test_a_ledger_is_not_made_over_another(world: World) -> None:
    world.create().append(entries(1))
    with pytest.raises(Conflict):
        Ledger.create(world.folder, ORIGIN, MemorySigner.generate(), world.rings, world.clock)
    assert envelopes(list(world.open().read(0, 1))) == [b"e/0"]


def test_a_ledger_already_remembered_is_not_begun_again(world: World) -> None:
    world.create().append(entries(1))
    shutil.rmtree(world.folder)
    with pytest.raises(Conflict):
        world.create()
    assert not world.folder.exists()


def test_opening_what_is_no_ledger_says_so(world: World) -> None:
    with pytest.raises(NotFound):
        world.open()


def test_another_origin_or_key_is_refused(world: World) -> None:
    world.create()
    for origin, key in (
        ("example.com/other", world.signer.public),
        (ORIGIN, MemorySigner.generate().public),
    ):
        with pytest.raises(Verification):
            Ledger.open(world.folder, origin, key, world.rings, clock=world.clock)


# -- rollback and forks ---------------------------------------------------------------------------


def test_an_older_copy_of_the_folder_is_refused(world: World) -> None:
    ledger = world.create()
    ledger.append(entries(2))
    shutil.copytree(world.folder, world.base / "copy")
    ledger.append(entries(1))
    shutil.rmtree(world.folder)
    shutil.copytree(world.base / "copy", world.folder)
    with pytest.raises(Verification, match="rolled back"):
        world.open()
    with pytest.raises(Verification, match="rolled back"):
        ledger.refresh()
    with pytest.raises(Verification, match="rolled back"):
        ledger.append(entries(1))


def test_a_process_notices_a_rollback_also_without_a_memory(world: World) -> None:
    ledger = world.create()
    reader = Ledger.open(world.folder, ORIGIN, world.signer.public, world.rings, clock=world.clock)
    old = (world.folder / "checkpoint").read_bytes()
    ledger.append(entries(1))
    reader.refresh()
    (world.folder / "checkpoint").write_bytes(old)
    with pytest.raises(Verification, match="rolled back"):
        reader.refresh()


def test_a_rollback_behind_the_back_of_a_running_process_is_noticed(world: World) -> None:
    ledger = world.create()
    reader = world.open()
    old = (world.folder / "checkpoint").read_bytes()
    ledger.append(entries(1))
    (world.folder / "checkpoint").write_bytes(old)
    with pytest.raises(Verification, match="rolled back"):
        reader.refresh()


def _fork(world: World, lengths: tuple[int, int]) -> tuple[Path, Path]:
    """Two folders signed by the same key that differ from leaf 2 on."""
    world.create().append(entries(2))
    forks = (world.base / "one", world.base / "two")
    for fork, length in zip(forks, lengths, strict=True):
        shutil.copytree(world.folder, fork)
        ledger = Ledger.open(
            fork, ORIGIN, world.signer.public, world.rings, signer=world.signer, clock=world.clock
        )
        ledger.append(entries(length, fork.name))
    return forks


@pytest.mark.parametrize("lengths", [(3, 3), (3, 9), (300, 900)])
def test_a_forked_ledger_is_refused(world: World, lengths: tuple[int, int]) -> None:
    one, two = _fork(world, lengths)
    memory = world.fresh_memory()

    def opened(folder: Path) -> Ledger:
        return Ledger.open(
            folder,
            ORIGIN,
            world.signer.public,
            world.rings,
            remembered=memory,
            clock=world.clock,
        )

    ledger = opened(one)
    with pytest.raises(Verification, match="forked"):
        opened(two)
    shutil.rmtree(one)
    shutil.copytree(two, one)
    with pytest.raises(Verification, match="forked"):
        ledger.refresh()
    assert (
        memory.parse(memory.note(ORIGIN) or b"", ORIGIN, world.signer.public).size == 2 + lengths[0]
    )


def test_a_refused_ledger_is_reported_by_its_examination(world: World) -> None:
    ledger = world.create()
    ledger.append(entries(2))
    shutil.copytree(world.folder, world.base / "copy")
    reader = world.open()
    ledger.append(entries(1))
    shutil.rmtree(world.folder)
    shutil.copytree(world.base / "copy", world.folder)
    (problem,) = reader.check()
    assert problem.path == "checkpoint"
    assert "rolled back" in problem.what


def test_an_altered_memory_is_named_and_never_ignored(world: World) -> None:
    world.create().append(entries(1))
    path = world.memory.path(ORIGIN)
    data = path.read_bytes()
    path.write_bytes(data[:40] + bytes([data[40] ^ 1]) + data[41:])
    ledger = world.open()
    with pytest.raises(Corrupt, match=path.name):
        ledger.read(0, 1)
    assert path.name in ledger.check()[0].what


def test_the_memory_never_goes_back(world: World) -> None:
    ledger = world.create()
    old, at = ledger.note, ledger.checkpoint
    ledger.append(entries(1))
    world.memory.remember(old, at, world.signer.public)
    assert world.memory.note(ORIGIN) == ledger.note


def test_memories_of_two_ledgers_do_not_meet(world: World) -> None:
    world.create().append(entries(1))
    other = Ledger.create(
        world.base / "other",
        "example.com/other",
        world.signer,
        world.rings,
        world.clock,
        remembered=world.memory,
    )
    assert other.checkpoint.size == 0


# -- time -----------------------------------------------------------------------------------------


def test_checkpoints_carry_the_time_and_never_run_backwards(world: World) -> None:
    ledger = world.create()
    world.clock.advance(timedelta(hours=1))
    ledger.append(entries(1))
    assert ledger.checkpoint.time == START + timedelta(hours=1)
    world.clock.advance(timedelta(minutes=-3))
    ledger.append(entries(1))
    assert ledger.checkpoint.time == START + timedelta(hours=1)
    world.clock.advance(timedelta(minutes=-30))
    with pytest.raises(Unavailable, match="clock"):
        ledger.append(entries(1))
    assert world.open().checkpoint.size == 2
    assert world.open().check() == []


def test_a_checkpoint_with_an_earlier_time_is_refused(world: World) -> None:
    ledger = world.create()
    world.clock.advance(timedelta(hours=1))
    ledger.append(entries(1))
    head = ledger.checkpoint
    early = notes.sign_checkpoint(ORIGIN, head.size, head.root, START, world.signer)
    (world.folder / "checkpoint").write_bytes(early)
    with pytest.raises(Verification, match="forked"):
        ledger.refresh()


# -- processes ------------------------------------------------------------------------------------

_WRITER = """
import base64, json, sys
from pathlib import Path
from assay.clock import SystemClock
from assay.evidence.ledger import CheckpointMemory, Entry, Ledger
from assay.evidence.signers import PublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

class Signer:
    def __init__(self, path):
        self._key = Ed25519PrivateKey.from_private_bytes(path.read_bytes())
        spki = self._key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        self.public = PublicKey(algorithm="ed25519", spki=base64.b64encode(spki).decode())
    def sign(self, data):
        return self._key.sign(data)

class Plain:
    def seal(self, project, plaintext): return plaintext[::-1]
    def open(self, project, sealed): return sealed[::-1]

folder, key, name, rounds = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
signer = Signer(key)
ledger = Ledger.open(folder, "example.com/ledger", signer.public, Plain(), signer=signer,
                     remembered=CheckpointMemory(folder.parent / "state"), clock=SystemClock())
for turn in range(rounds):
    count = 1 if turn % 3 else 40
    got = ledger.append([Entry("fraud", f"{name}/{turn}/{i}".encode()) for i in range(count)])
    first, *_ = ledger.read(got.start, got.stop)
    assert first.envelope == f"{name}/{turn}/0".encode()
    print(json.dumps([got.start, got.stop, turn]), flush=True)
"""


class Plain:
    """The writers' sealer: reversed bytes are enough where nothing is kept from anyone."""

    def seal(self, project: str, plaintext: bytes) -> bytes:
        del project
        return plaintext[::-1]

    def open(self, project: str, sealed: bytes) -> bytes:
        del project
        return sealed[::-1]


def _start(world: World, name: str, rounds: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [
            sys.executable,
            "-c",
            _WRITER,
            str(world.folder),
            str(world.base / "ledger.key"),
            name,
            str(rounds),
        ],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )


class RawSigner:
    """A signer whose key other processes can be given."""

    def __init__(self, path: Path) -> None:
        self._key = Ed25519PrivateKey.generate()
        path.write_bytes(self._key.private_bytes_raw())
        spki = self._key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        self.public = PublicKey(algorithm="ed25519", spki=base64.b64encode(spki).decode())

    def sign(self, data: bytes) -> bytes:
        return self._key.sign(data)


def _with_file_key(world: World) -> Ledger:
    signer = RawSigner(world.base / "ledger.key")
    clock = FixedClock(START)
    return Ledger.create(world.folder, ORIGIN, signer, Plain(), clock, remembered=world.memory)


def test_two_processes_append_at_once_and_neither_loses_anything(world: World) -> None:
    reader = _with_file_key(world)
    writers = {name: _start(world, name, 25) for name in ("left", "right")}
    sizes: list[int] = []
    while any(writer.poll() is None for writer in writers.values()):
        # A reader without a lock, all the while: every checkpoint it sees is whole.
        size = reader.refresh().size
        start = max(0, size - 50)
        assert len(list(reader.read(start, size))) == size - start
        sizes.append(size)
    assert sizes == sorted(sizes)
    claimed: dict[int, bytes] = {}
    for name, writer in writers.items():
        assert writer.stdout is not None
        lines = writer.stdout.read().splitlines()
        assert writer.wait() == 0
        assert len(lines) == 25
        for line in lines:
            start, stop, turn = json.loads(line)
            for at, index in enumerate(range(start, stop)):
                assert index not in claimed
                claimed[index] = f"{name}/{turn}/{at}".encode()
    size = reader.refresh().size
    assert sorted(claimed) == list(range(size))
    assert [leaf.envelope for leaf in reader.read(0, size)] == [claimed[i] for i in range(size)]
    assert reader.check() == []


def test_whatever_a_killed_process_acknowledged_is_there(world: World) -> None:
    reader = _with_file_key(world)
    acknowledged: list[tuple[int, int, str]] = []
    for victim in ("first", "second", "third"):
        writer = _start(world, victim, 10_000)
        assert writer.stdout is not None
        for _ in range(9):
            start, stop, turn = json.loads(writer.stdout.readline())
            acknowledged.append((start, stop, f"{victim}/{turn}/0"))
        writer.kill()
        for line in writer.stdout.read().splitlines():
            start, stop, turn = json.loads(line)
            acknowledged.append((start, stop, f"{victim}/{turn}/0"))
        writer.wait()
        writer.stdout.close()
        size = reader.refresh().size
        assert len(list(reader.read(0, size))) == size
        reader.recover()
        assert reader.check() == []
    for start, stop, first in acknowledged:
        leaf, *_ = reader.read(start, stop)
        assert leaf.envelope == first.encode()


def test_threads_share_one_ledger(world: World) -> None:
    from concurrent.futures import ThreadPoolExecutor

    ledger = world.create()

    def append(number: int) -> range:
        got = ledger.append(entries(3, str(number)))
        assert envelopes(list(ledger.read(got.start, got.stop)))[2] == f"{number}/2".encode()
        return got

    with ThreadPoolExecutor(4) as pool:
        ranges = list(pool.map(append, range(20)))
    assert sorted(r.start for r in ranges) == list(range(0, 60, 3))
    assert ledger.check() == []


def test_the_checkpoint_is_plain_text_for_any_tlog_client(world: World) -> None:
    ledger = world.create()
    ledger.append(entries(3))
    origin, size, root, blank, *_ = (world.folder / "checkpoint").read_text().split("\n")
    assert (origin, size, blank) == (ORIGIN, "3", "")
    assert base64.b64decode(root) == ledger.checkpoint.root
