"""Losing the root key: files and the recovery secret are enough, and nothing less is."""

from __future__ import annotations

import shutil
from base64 import b64encode
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from assay import canonical
from assay.clock import FixedClock
from assay.errors import AssayError, Conflict, Corrupt, NotFound, Usage, Verification
from assay.store import (
    LocalKeyService,
    Reopened,
    Rings,
    RingSealer,
    Store,
    carried_backup,
    generate_recovery,
    recover,
    ringfile,
)
from assay.store.recipients import check_recipient, open_with, recipient_of, seal_to

RING = "fraud/data"
SECRET, RECIPIENT = generate_recovery()
OTHER_SECRET, OTHER_RECIPIENT = generate_recovery()


@pytest.fixture
def carrying(tmp_path: Path, service: LocalKeyService, clock: FixedClock) -> Rings:
    """Rings whose files carry their keys for the recipient."""
    rings = Rings(tmp_path / "rings", service, clock=clock, recipient=RECIPIENT)
    rings.create(RING)
    return rings


def new_key(tmp_path: Path) -> LocalKeyService:
    return LocalKeyService.create(tmp_path / "new.key")


def test_a_workspace_reopens_from_its_files_and_the_secret_alone(
    carrying: Rings, tmp_path: Path, clock: FixedClock
) -> None:
    carrying.create("fraud/evidence")
    store = Store(tmp_path / "blobs", carrying)
    early = store.put(RING, b"early")
    salted = store.put(RING, b"salted", salted=True)
    carrying.rotate(RING)
    late = store.put(RING, b"late")
    entry = RingSealer(carrying).seal("fraud", b"entry")
    (tmp_path / "root.key").unlink()

    service = new_key(tmp_path)
    done = recover(carried_backup(tmp_path / "rings"), SECRET, tmp_path / "rings", service)

    assert done == Reopened([RING, "fraud/evidence"], [], [])
    rings = Rings(tmp_path / "rings", service, clock=clock)
    again = Store(tmp_path / "blobs", rings)
    assert again.check() == []
    assert [again.read(RING, d, 100) for d in (early, salted, late)] == [
        b"early",
        b"salted",
        b"late",
    ]
    assert RingSealer(rings).open("fraud", entry) == b"entry"
    # And once more: what was recovered carries its keys for the same recipient.
    rings.rotate(RING)
    assert carried_backup(tmp_path / "rings")


def test_a_backup_file_restores_rings_whose_files_are_lost(
    rings: Rings, tmp_path: Path, clock: FixedClock
) -> None:
    store = Store(tmp_path / "blobs", rings)
    digest = store.put(RING, b"content")
    backup = rings.backup(RECIPIENT)
    shutil.rmtree(tmp_path / "rings")
    service = new_key(tmp_path)
    recover(backup, SECRET, tmp_path / "rings", service)
    again = Rings(tmp_path / "rings", service, clock=clock)
    assert Store(tmp_path / "blobs", again).read(RING, digest, 100) == b"content"
    # The receipt of a ring recovered from a backup still names that backup.
    assert [made.recipient for made in again.destroy(RING).backups] == [RECIPIENT]


def test_a_damaged_ring_file_is_mended_from_a_backup(
    rings: Rings, service: LocalKeyService, tmp_path: Path
) -> None:
    sealed = rings.ring(RING).seal(b"kept", "x")
    backup = rings.backup(RECIPIENT)
    path = tmp_path / "rings" / "fraud" / "data.ring"
    data = path.read_bytes()
    for damaged in (b"", data[:-1], data.replace(b'"sealed":"', b'"sealed":"A')):
        path.write_bytes(damaged)
        recover(backup, SECRET, tmp_path / "rings", service)
        assert rings.ring(RING).open(sealed, "x") == b"kept"


def test_a_backup_shows_no_key_and_opens_for_no_other_secret(rings: Rings, tmp_path: Path) -> None:
    backup = rings.backup(RECIPIENT)
    _, keys = ringfile.load(rings.folder, RING, rings._service)
    for key in [keys.secret, *keys.generations]:
        assert key.encode() not in backup
    with pytest.raises(Verification, match="is for the recipient"):
        recover(backup, OTHER_SECRET, tmp_path / "elsewhere", new_key(tmp_path))
    relabelled = backup.replace(RECIPIENT.encode(), OTHER_RECIPIENT.encode())
    with pytest.raises(Verification):
        recover(relabelled, OTHER_SECRET, tmp_path / "elsewhere", rings._service)
    assert not list(tmp_path.glob("elsewhere/*/*"))


def test_every_flipped_byte_of_a_backup_is_noticed_and_nothing_is_written(
    rings: Rings, tmp_path: Path
) -> None:
    backup = rings.backup(RECIPIENT)
    service = new_key(tmp_path)
    folder = tmp_path / "elsewhere"
    for at in range(len(backup)):
        altered = backup[:at] + bytes([backup[at] ^ 1]) + backup[at + 1 :]
        with pytest.raises((Corrupt, Verification, Usage)):
            recover(altered, SECRET, folder, service)
    for length in (0, 10, len(backup) - 1):
        with pytest.raises((Corrupt, Verification)):
            recover(backup[:length], SECRET, folder, service)
    assert not list(folder.glob("*/*"))


def test_a_ring_twice_in_a_backup_is_refused(rings: Rings, tmp_path: Path) -> None:
    document = canonical.decode(rings.backup(RECIPIENT))
    document["entries"] *= 2
    with pytest.raises(Corrupt, match="twice"):
        recover(canonical.encode(document), SECRET, tmp_path / "new", new_key(tmp_path))


def test_an_unknown_backup_version_is_refused(rings: Rings, tmp_path: Path) -> None:
    newer = rings.backup(RECIPIENT).replace(b"ring-backup/v1", b"ring-backup/v2")
    with pytest.raises(Corrupt, match="unknown format"):
        recover(newer, SECRET, tmp_path / "new", new_key(tmp_path))


def test_what_was_destroyed_is_not_brought_back(
    rings: Rings, tmp_path: Path, clock: FixedClock
) -> None:
    backup = rings.backup(RECIPIENT)
    rings.create("fraud/later")
    receipt = rings.destroy(RING)
    service = new_key(tmp_path)
    done = recover(backup, SECRET, tmp_path / "rings", service)
    assert done == Reopened([], [RING], ["fraud/later"])
    again = Rings(tmp_path / "rings", service, clock=clock)
    with pytest.raises(NotFound) as shut:
        again.ring(RING)
    assert shut.value.code == "not_found.shredded"
    assert again.receipts() == [receipt]
    assert not (tmp_path / "rings" / "fraud" / "data.ring").exists()


def test_what_was_destroyed_is_not_carried(carrying: Rings, tmp_path: Path) -> None:
    carrying.create("fraud/evidence")
    carrying.destroy(RING)
    assert RING.encode() not in carried_backup(tmp_path / "rings")


def test_a_backup_that_lacks_a_generation_is_refused(rings: Rings, tmp_path: Path) -> None:
    backup = rings.backup(RECIPIENT)
    rings.rotate(RING)
    path = tmp_path / "rings" / "fraud" / "data.ring"
    before = path.read_bytes()
    with pytest.raises(Verification) as stale:
        recover(backup, SECRET, tmp_path / "rings", new_key(tmp_path))
    assert stale.value.code == "verification.recovery.stale"
    assert path.read_bytes() == before
    path.rename(tmp_path / "aside")
    assert recover(backup, SECRET, tmp_path / "rings", rings._service).restored == [RING]


@pytest.mark.usefixtures("rings")
def test_a_backup_of_another_workspace_is_refused(
    tmp_path: Path, service: LocalKeyService, clock: FixedClock
) -> None:
    foreign = Rings(tmp_path / "foreign", service, clock=clock)
    foreign.create(RING)
    with pytest.raises(Verification) as other:
        recover(foreign.backup(RECIPIENT), SECRET, tmp_path / "rings", new_key(tmp_path))
    assert other.value.code == "verification.recovery.other"


@pytest.mark.usefixtures("rings")
def test_rings_that_carry_nothing_or_for_several_are_told_apart(
    tmp_path: Path, service: LocalKeyService, clock: FixedClock
) -> None:
    with pytest.raises(NotFound, match="carries"):
        carried_backup(tmp_path / "rings")
    Rings(tmp_path / "rings", service, clock=clock, recipient=RECIPIENT).create("a/data")
    Rings(tmp_path / "rings", service, clock=clock, recipient=OTHER_RECIPIENT).create("b/data")
    with pytest.raises(Conflict, match="2 recovery recipients"):
        carried_backup(tmp_path / "rings")


@pytest.mark.parametrize("number", range(4))
def test_a_recovery_killed_anywhere_is_done_again(
    carrying: Rings, tmp_path: Path, clock: FixedClock, killed, points, number: int
) -> None:
    carrying.create("churn/data")
    carrying.rotate("churn/data")
    sealed = carrying.ring("churn/data").seal(b"kept", "x")
    backup = carried_backup(tmp_path / "rings")
    service = new_key(tmp_path)
    with killed(number):
        recover(backup, SECRET, tmp_path / "rings", service)
    assert recover(backup, SECRET, tmp_path / "rings", service).restored == ["churn/data", RING]
    rings = Rings(tmp_path / "rings", service, clock=clock)
    assert rings.check() == []
    assert rings.ring("churn/data").open(sealed, "x") == b"kept"
    assert points(lambda: recover(backup, SECRET, tmp_path / "rings", service)) == []


# -- the secret and the recipient ------------------------------------------------------------------


def test_a_secret_is_forgiving_about_case_spaces_and_hyphens() -> None:
    for typed in (SECRET, SECRET.lower(), SECRET.replace("-", " "), f"  {SECRET}\n"):
        assert recipient_of(typed) == RECIPIENT
    assert recipient_of(SECRET.removeprefix("ASSAY-RECOVERY-1-")) == RECIPIENT


def test_a_mistyped_secret_is_noticed_before_anything_else() -> None:
    start = len("ASSAY-RECOVERY-1-")
    for at in range(start, len(SECRET)):
        if SECRET[at] == "-":
            continue
        typed = SECRET[:at] + ("B" if SECRET[at] == "A" else "A") + SECRET[at + 1 :]
        with pytest.raises(Usage) as refused:
            recipient_of(typed)
        assert SECRET[start : start + 7] not in refused.value.message
    for typed in ("", "ASSAY-RECOVERY-1-", SECRET[:-1], SECRET + "A", "0" * 56, "é" * 56):
        with pytest.raises(Usage):
            recipient_of(typed)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "A",
        b64encode(bytes(31)).decode(),
        RECIPIENT[:-1],
        RECIPIENT + "=",
        b64encode(bytes(32)).decode(),  # A point of small order.
        b64encode(b"\x01" + bytes(31)).decode(),
    ],
    ids=["empty", "short", "31 bytes", "cut", "padded", "zero", "one"],
)
def test_a_recipient_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(Usage):
        check_recipient(text)


@given(data=st.binary(max_size=200), info=st.binary(max_size=50), at=st.integers(0, 10_000))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_only_the_secret_opens_what_was_sealed_to_the_recipient(data, info, at) -> None:
    sealed = seal_to(RECIPIENT, data, info)
    assert open_with(SECRET, sealed, info) == data
    altered = bytearray(sealed)
    altered[at % len(altered)] ^= 1
    for secret, message, about in [
        (OTHER_SECRET, sealed, info),
        (SECRET, bytes(altered), info),
        (SECRET, sealed, info + b"x"),
        (SECRET, sealed[:-1], info),
        (SECRET, b"", info),
    ]:
        with pytest.raises(AssayError):
            open_with(secret, message, about)
