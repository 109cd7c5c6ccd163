"""Key rings: every byte counts, every change is whole, and what is destroyed stays destroyed."""

from __future__ import annotations

import os
import shutil
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path

import pytest

from assay.canonical import digest
from assay.clock import FixedClock
from assay.errors import Conflict, Corrupt, NotFound, Unavailable, Usage, Verification
from assay.store import LocalKeyService, Rings, RingSealer, generate_recovery, ringfile
from assay.store.ringfile import names_in

RING = "fraud/data"
SECRET, RECIPIENT = generate_recovery()


def another(rings: Rings, service: LocalKeyService) -> Rings:
    """Another process on the same files."""
    return Rings(rings.folder, service, clock=rings.clock)


def flipped(path: Path, expected: type[Exception] | tuple, read: Callable[[], object]) -> None:
    data = path.read_bytes()
    for at in range(len(data)):
        for change in (1, 0x20, 0x80):
            path.write_bytes(data[:at] + bytes([data[at] ^ change]) + data[at + 1 :])
            with pytest.raises(expected):
                read()
    for length in (0, 1, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:length])
        with pytest.raises(expected):
            read()
    path.write_bytes(data + b" ")
    with pytest.raises(expected):
        read()
    path.write_bytes(data)
    read()


def test_a_ring_opens_what_it_sealed_and_nothing_else(rings: Rings) -> None:
    ring, other = rings.ring(RING), rings.create("fraud/evidence")
    sealed = ring.seal(b"secret", "purpose", "about")
    assert ring.open(sealed, "purpose", "about") == b"secret"
    for wrong in (
        lambda: ring.open(sealed, "other", "about"),
        lambda: ring.open(sealed, "purpose"),
        lambda: ring.open(sealed, "purpose", "other"),
        lambda: other.open(sealed, "purpose", "about"),
        lambda: ring.open(b"", "purpose", "about"),
        lambda: ring.open(sealed[:30], "purpose", "about"),
    ):
        with pytest.raises(Verification):
            wrong()
    for at in range(len(sealed)):
        altered = sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :]
        with pytest.raises(Verification):
            ring.open(altered, "purpose", "about")


@pytest.mark.parametrize("recipient", [None, RECIPIENT], ids=["alone", "recoverable"])
def test_every_flipped_byte_of_a_ring_file_is_noticed(
    tmp_path: Path, service: LocalKeyService, clock: FixedClock, recipient: str | None
) -> None:
    rings = Rings(tmp_path / "rings", service, clock=clock, recipient=recipient)
    rings.create(RING)
    rings.rotate(RING)
    path = tmp_path / "rings" / "fraud" / "data.ring"
    flipped(path, (Corrupt, Verification), lambda: another(rings, service).ring(RING))


def test_every_flipped_byte_of_a_receipt_is_noticed_and_the_ring_stays_shut(
    rings: Rings, service: LocalKeyService
) -> None:
    rings.destroy(RING)
    path = rings.folder / "fraud" / "data.destroyed"
    flipped(path, (Corrupt, Verification), rings.receipts)
    path.write_bytes(b"garbage")
    with pytest.raises(NotFound) as shut:
        another(rings, service).ring(RING)
    assert shut.value.code == "not_found.shredded"
    assert [str(problem[0]) for problem in rings.check()] == [str(path)]


def test_a_ring_file_under_another_name_is_refused(rings: Rings) -> None:
    shutil.copy(rings.folder / "fraud" / "data.ring", rings.folder / "fraud" / "evidence.ring")
    with pytest.raises(Corrupt):
        rings.ring("fraud/evidence")
    assert [str(path.name) for path, _ in rings.check()] == ["evidence.ring"]


def test_keys_do_not_show(rings: Rings) -> None:
    document, keys = ringfile.load(rings.folder, RING, rings._service)
    shown = repr(rings.ring(RING)) + repr(keys) + repr(document)
    raw = (rings.folder / "fraud" / "data.ring").read_text()
    for key in [keys.secret, *keys.generations]:
        assert key not in shown
        assert key not in raw


@pytest.mark.parametrize(
    "name", ["", "fraud", "fraud/", "/data", "../x/data", "fraud/../data", "Fraud/data", "a/b/c"]
)
def test_a_bad_ring_name_is_refused(rings: Rings, name: str) -> None:
    for action in (rings.create, rings.ring, rings.destroy):
        with pytest.raises(Usage):
            action(name)


def test_a_ring_that_never_was_is_not_found_and_not_shredded(rings: Rings) -> None:
    for action in (rings.ring, rings.rotate, rings.destroy):
        with pytest.raises(NotFound) as missing:
            action("fraud/nothing")
        assert missing.value.code == "not_found.ring"
    assert rings.names() == [RING]


def test_a_name_is_not_used_twice(rings: Rings) -> None:
    with pytest.raises(Conflict):
        rings.create(RING)
    rings.destroy(RING)
    with pytest.raises(Conflict):
        rings.create(RING)


def test_turning_a_ring_keeps_what_was_sealed_and_names(
    rings: Rings, service: LocalKeyService
) -> None:
    elsewhere = another(rings, service)
    old = elsewhere.ring(RING)
    sealed = old.seal(b"before", "x")
    assert rings.rotate(RING) == 2
    new = elsewhere.ring(RING)  # Another process sees it at once.
    assert new.generation == 2
    assert new.open(sealed, "x") == b"before"
    assert new.derive("index") == old.derive("index")
    later = new.seal(b"after", "x")
    with pytest.raises(Verification):
        old.open(later, "x")


def test_a_destroyed_ring_opens_nothing_in_any_process(
    rings: Rings, service: LocalKeyService
) -> None:
    elsewhere = another(rings, service)
    sealed = elsewhere.ring(RING).seal(b"secret", "x")
    path = rings.folder / "fraud" / "data.ring"
    linked = rings.folder.parent / "hard-link"
    os.link(path, linked)
    before = path.read_bytes()
    receipt = rings.destroy(RING)
    assert not path.exists()
    assert linked.read_bytes() != before
    assert len(linked.read_bytes()) == len(before)
    for process in (rings, elsewhere, another(rings, service)):
        for action in (process.ring, process.rotate):
            with pytest.raises(NotFound) as shut:
                action(RING)
            assert shut.value.code == "not_found.shredded"
        assert process.names() == []
    assert sealed
    assert receipt.ring == RING
    assert receipt.destroyed_at == "2026-01-01T00:00:00.000Z"
    assert "backups" in receipt.note
    assert rings.destroy(RING) == receipt
    assert rings.receipts() == [receipt]


def test_the_receipt_names_the_backups_that_still_hold_the_ring(rings: Rings) -> None:
    backup = rings.backup(RECIPIENT)
    rings.create("fraud/later")
    receipt = rings.destroy(RING)
    assert [(made.recipient, made.digest) for made in receipt.backups] == [
        (RECIPIENT, digest(backup))
    ]
    assert rings.destroy("fraud/later").backups == []


def test_a_damaged_ring_can_still_be_destroyed(rings: Rings) -> None:
    path = rings.folder / "fraud" / "data.ring"
    path.write_bytes(b"damaged")
    receipt = rings.destroy(RING)
    assert (receipt.id, receipt.generations) == ("", 0)
    assert not path.exists()
    with pytest.raises(NotFound):
        rings.ring(RING)


def test_a_key_service_that_is_away_leaves_the_ring_as_it_is(rings: Rings, clock) -> None:
    class Away:
        id = rings._service.id

        def wrap(self, key: bytes, context: bytes) -> bytes:
            raise Unavailable(f"no answer for {len(key)} and {len(context)} bytes")

        def unwrap(self, wrapped: bytes, context: bytes) -> bytes:
            return self.wrap(wrapped, context)

    before = (rings.folder / "fraud" / "data.ring").read_bytes()
    away = Rings(rings.folder, Away(), clock=clock)
    for action in (away.ring, away.rotate, away.destroy):
        with pytest.raises(Unavailable):
            action(RING)
    with pytest.raises(Unavailable):
        away.create("fraud/new")
    assert (rings.folder / "fraud" / "data.ring").read_bytes() == before
    assert rings.names() == [RING]


def test_another_root_key_opens_no_ring(rings: Rings, tmp_path: Path, clock) -> None:
    other = Rings(rings.folder, LocalKeyService.create(tmp_path / "other.key"), clock=clock)
    with pytest.raises(Verification, match="wrapped by the root key"):
        other.ring(RING)


def test_a_new_root_key_makes_old_copies_useless(rings: Rings, tmp_path: Path, clock) -> None:
    sealed = rings.ring(RING).seal(b"kept", "x")
    path = rings.folder / "fraud" / "data.ring"
    copy = path.read_bytes()
    rings.create("churn/data")
    gone = rings.destroy("churn/data")
    new = LocalKeyService.create(tmp_path / "new.key")
    assert rings.rewrap(new) == [RING]
    assert rings.ring(RING).open(sealed, "x") == b"kept"
    fresh = Rings(rings.folder, new, clock=clock)
    assert fresh.ring(RING).open(sealed, "x") == b"kept"
    assert fresh.receipts() == [gone]
    assert fresh.check() == []
    path.write_bytes(copy)
    with pytest.raises(Verification):
        fresh.ring(RING)


# -- crashes --------------------------------------------------------------------------------------


def changes(rings: Rings, new: LocalKeyService) -> dict[str, Callable[[], object]]:
    return {
        "create": lambda: rings.create("fraud/new"),
        "rotate": lambda: rings.rotate(RING),
        "destroy": lambda: rings.destroy(RING),
        "backup": lambda: rings.backup(RECIPIENT),
        "rewrap": lambda: rings.rewrap(new),
    }


POINTS = {
    "create": ["rings.created.staged", "rings.created.committed"],
    "rotate": ["rings.rotated.staged", "rings.rotated.committed"],
    "destroy": [
        "rings.destroyed.staged",
        "rings.destroyed.committed",
        "rings.destroyed.scrubbed",
        "rings.destroyed.cleaned",
    ],
    "backup": ["rings.backed_up.staged", "rings.backed_up.committed"] * 2,
    "rewrap": [
        "rings.rewrapped.receipt",
        "rings.rewrapped.staged",
        "rings.rewrapped.committed",
        "rings.rewrapped.staged",
        "rings.rewrapped.committed",
    ],
}


@pytest.mark.parametrize("change", POINTS)
def test_the_crash_points_of_each_change_are_known(
    rings: Rings, tmp_path: Path, points, change: str
) -> None:
    rings.create("fraud/second")
    rings.create("fraud/third")
    rings.destroy("fraud/third")
    new = LocalKeyService.create(tmp_path / "new.key")
    assert points(changes(rings, new)[change]) == POINTS[change]


@pytest.mark.parametrize(
    ("change", "number"), [(change, n) for change in POINTS for n in range(len(POINTS[change]))]
)
def test_a_change_killed_anywhere_is_whole_or_can_be_done_again(
    rings: Rings, service: LocalKeyService, tmp_path: Path, killed, change: str, number: int
) -> None:
    rings.create("fraud/second")
    rings.create("fraud/third")
    gone = rings.destroy("fraud/third")
    new = LocalKeyService.create(tmp_path / "new.key")
    sealed = rings.ring(RING).seal(b"kept", "x")
    second = rings.ring("fraud/second").seal(b"kept too", "x")
    with killed(number):
        changes(rings, new)[change]()
    after = another(rings, service)
    if change == "rewrap":
        if number > 0:  # Some files are under the new key: a process with the old says so.
            assert after.check()
        after.rewrap(new)
        assert another(rings, new).check() == []
    after.recover()
    assert after.recover() == []
    assert after.check() == []
    assert gone in after.receipts()
    assert not list(rings.folder.rglob("*.tmp"))
    assert after.ring("fraud/second").open(second, "x") == b"kept too"
    committed = number > 0
    if change == "destroy" and committed:
        assert after.names() == ["fraud/second"]
        assert not (rings.folder / "fraud" / "data.ring").exists()
        with pytest.raises(NotFound):
            after.ring(RING)
        assert [receipt.ring for receipt in after.receipts()] == [RING, "fraud/third"]
        return
    assert after.ring(RING).open(sealed, "x") == b"kept"
    if change == "rotate":
        assert after.ring(RING).generation == (2 if committed else 1)
        assert after.rotate(RING) == (3 if committed else 2)
    if change == "create":
        assert ("fraud/new" in after.names()) is committed


def test_what_a_kill_within_a_write_leaves_is_removed_and_holds_no_key(
    rings: Rings, service: LocalKeyService, monkeypatch
) -> None:
    class Killed(BaseException):
        pass

    def die(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", die)
        with pytest.raises(Killed):
            rings.rotate(RING)
    left = list(rings.folder.rglob("*.tmp"))
    assert len(left) == 1
    after = another(rings, service)
    assert after.ring(RING).generation == 1
    assert len(after.recover()) == 1
    assert not list(rings.folder.rglob("*.tmp"))


def test_destroying_also_removes_what_a_killed_write_of_that_ring_left(rings: Rings) -> None:
    path = rings.folder / "fraud" / "data.ring"
    left = path.with_name(f".{path.name}.abc.tmp")
    left.write_bytes(path.read_bytes())
    rings.destroy(RING)
    assert not left.exists()


@pytest.mark.parametrize("change", list(POINTS))
def test_a_full_disk_changes_nothing_and_says_so(
    rings: Rings, service: LocalKeyService, tmp_path: Path, monkeypatch, change: str
) -> None:
    new = LocalKeyService.create(tmp_path / "new.key")
    sealed = rings.ring(RING).seal(b"kept", "x")
    before = {path: path.read_bytes() for path in rings.folder.rglob("*") if path.is_file()}

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(Unavailable, match="No space left"):
            changes(rings, new)[change]()
    now = {path: path.read_bytes() for path in rings.folder.rglob("*") if path.is_file()}
    assert now == before
    assert another(rings, service).ring(RING).open(sealed, "x") == b"kept"


def test_a_lost_race_between_two_processes_loses_no_generation(
    rings: Rings, service: LocalKeyService
) -> None:
    elsewhere = another(rings, service)
    elsewhere.ring(RING)
    assert [rings.rotate(RING), elsewhere.rotate(RING), rings.rotate(RING)] == [2, 3, 4]


# -- the ledger's sealer ---------------------------------------------------------------------------


def test_the_ledgers_sealer_keeps_projects_apart_and_says_what_is_shredded(rings: Rings) -> None:
    rings.create("fraud/evidence")
    rings.create("_workspace/evidence")
    sealer = RingSealer(rings)
    sealed = sealer.seal("fraud", b"entry")
    assert sealer.open("fraud", sealed) == b"entry"
    assert b"entry" not in sealed
    with pytest.raises(Verification):
        sealer.open("_workspace", sealed)
    with pytest.raises(NotFound) as missing:
        sealer.seal("nobody", b"entry")
    assert missing.value.code == "not_found.ring"
    rings.destroy("fraud/evidence")
    for action in (lambda: sealer.open("fraud", sealed), lambda: sealer.seal("fraud", b"x")):
        with pytest.raises(NotFound) as shut:
            action()
        assert shut.value.code == "not_found.shredded"


def test_temporaries_and_strangers_are_no_rings(rings: Rings) -> None:
    (rings.folder / "fraud" / ".data.ring.abc.tmp").write_bytes(b"")
    (rings.folder / "fraud" / "notes.txt").write_bytes(b"")
    (rings.folder / "data.ring").write_bytes(b"")
    assert rings.names() == [RING]
    assert names_in(rings.folder, ".destroyed") == []


def test_two_rings_derive_different_keys(rings: Rings) -> None:
    one, two = rings.ring(RING), rings.create("churn/data")
    derived = {b64encode(r.derive(p)) for r in (one, two) for p in ("index", "digest")}
    assert len(derived) == 4
