"""Closed by default: whatever cannot be read, written or evaluated denies, and says so."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import cedarpy
import pytest
from workspace.town import WORKSPACE, Town, copy_of, dataset

from assay import plugins
from assay.actions.administration import ApplyPolicy
from assay.actions.people import ManageRole
from assay.actions.reading import ReadEvidence
from assay.actions.release import Promote
from assay.clock import TOLERANCE
from assay.errors import AssayError, Corrupt, Denied, NotFound, Unavailable, Usage, Verification
from assay.policy.bundle import Bundle
from assay.policy.rules import ERROR
from assay.workspace.opening import POLICY_RING, open_workspace

READ = ReadEvidence(project="alpha")
PROMOTE = Promote(project="alpha", model="score", version="1", stage="staging")


def closed(town: Town, name: str = "una", action: Any = READ) -> AssayError:
    """How everything is refused; nothing is written down."""
    since = town.ws.ledger.checkpoint.size
    with pytest.raises(AssayError) as caught:
        town.do(name, action)
    assert town.ws.ledger.refresh().size == since
    return caught.value


# -- the policy -----------------------------------------------------------------------------------


def test_an_error_of_the_policy_engine_denies(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("the engine broke")

    monkeypatch.setattr(cedarpy, "is_authorized", broken)
    assert town.refused("una", READ) == [ERROR]
    assert town.refused("eve", PROMOTE) == [ERROR]


def _blob_of_policy(town: Town) -> Path:
    store, bundle = town.ws.store, town.ws.view.follow().bundle
    assert bundle
    ring = store.rings.ring(POLICY_RING)
    return town.root / "blobs" / store.blob_key(ring, store._find(ring, bundle).blob)


def test_without_the_bundle_nothing_is_allowed(town: Town) -> None:
    path = _blob_of_policy(town)
    path.unlink()
    town.close()
    assert isinstance(closed(town), (NotFound, Corrupt))
    assert "policy" in closed(town).message


def test_an_altered_bundle_allows_nothing(town: Town) -> None:
    path = _blob_of_policy(town)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    town.close()
    assert isinstance(closed(town), (Verification, Corrupt))


def apply(town: Town, raw: bytes) -> None:
    digest = town.ws.store.put(POLICY_RING, raw)
    town.do("ada", ApplyPolicy(project=WORKSPACE, bundle=digest))


def active(town: Town) -> Bundle:
    town.ws.view.follow()
    return town.ws.engine().bundle


@pytest.mark.parametrize(
    "broken",
    [
        "not a bundle",
        "a policy that does not parse",
        "a gate that reads a fact nobody declares",
        "a schema that does not parse",
    ],
)
def test_a_bundle_that_cannot_decide_is_never_made_the_active_one(town: Town, broken: str) -> None:
    """It would deny everything, its own replacement included."""
    import msgspec

    before = active(town)
    gate = """@id("gate.new") @advice("new") @control("X:1")
        forbid (principal, action == Assay::Action::"promote", resource)
        unless { context.facts has nobody.knows && context.facts.nobody.knows };"""
    raw = {
        "not a bundle": b"{}",
        "a policy that does not parse": _with(before, policies={"x.cedar": "forbid ("}),
        "a gate that reads a fact nobody declares": _with(
            before, policies={**before.policies, "new.cedar": gate}
        ),
        "a schema that does not parse": msgspec.structs.replace(before, schema="entity").encode(),
    }[broken]
    since = town.size
    with pytest.raises(AssayError):
        apply(town, raw)
    assert town.ws.view.follow().bundle == before.digest
    assert town.kinds(since) == ["decision", "outcome"]
    town.do("una", READ)


def _with(bundle: Bundle, **changed: Any) -> bytes:
    import msgspec

    return msgspec.structs.replace(bundle, **changed).encode()


def test_a_bundle_that_is_not_in_the_store_cannot_be_applied(town: Town) -> None:
    with pytest.raises(NotFound):
        town.do("ada", ApplyPolicy(project=WORKSPACE, bundle="sha256:" + "0" * 64))
    town.do("una", READ)


def test_a_new_bundle_decides_at_once_and_in_every_process(town: Town) -> None:
    other = open_workspace(town.repo, clock=town.clock)
    before = active(town)
    gate = '@id("gate.shut") @advice("Shut.") @control("X:1") forbid (principal, action, resource)'
    shut = gate + ' when { action == Assay::Action::"readEvidence" };'
    apply(town, _with(before, policies={**before.policies, "shut.cedar": shut}))
    for ws in (town.ws, other):
        with pytest.raises(Denied, match="Shut"):
            ws.perform(town.who("una"), READ)


# -- the disk -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "every", [pytest.param(1, marks=pytest.mark.slow), pytest.param(3, id="every third")]
)
def test_a_full_disk_denies_at_every_write_and_nothing_is_half_done(
    built: Town, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, every: int
) -> None:
    """The n-th sync fails, for every n that the action needs."""
    real = os.fsync
    number = 0
    while True:
        town = copy_of(built, tmp_path / str(number), monkeypatch)
        left = [number]
        town.ws.view.follow()
        before = town.size

        def full(handle: int, left: list[int] = left) -> None:
            if left[0] == 0:
                raise OSError(errno.ENOSPC, "No space left on device")
            left[0] -= 1
            real(handle)

        monkeypatch.setattr(os, "fsync", full)
        try:
            town.promote(stage="staging")
            done = True
        except Unavailable:
            done = False
        finally:
            monkeypatch.setattr(os, "fsync", real)
        if done and left[0]:
            break
        state = town.reopen().view.follow()
        promoted = "alpha/score@staging" in state.aliases
        kinds = town.kinds(before)
        assert promoted == ("alias" in kinds)
        if done:
            assert promoted
        town.ws.recover()
        assert not town.ws.view.follow().open
        if number % 4 == 0:
            town.check()
            town.promote(stage="staging")
        shutil.rmtree(town.base)
        number += every
    assert number > 10


_LIMITED = """
import os, resource, signal, sys
from pathlib import Path
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
from assay.actions.datasets import RegisterDataset
from assay.evidence.signers import FileSigner
from assay.errors import Unavailable
from assay.workspace.credentials import Person
from assay.workspace.opening import open_workspace
ws = open_workspace(Path(sys.argv[1]))
action = RegisterDataset(project="alpha", dataset="big", path=sys.argv[3], owner="o", origin="o",
    licence="CC0", purposes=("p",), legal_basis="contract", residency=("local",))
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[4]), -1))
try:
    ws.perform(Person(FileSigner.load(Path(sys.argv[2]))), action)
except Unavailable as error:
    print("unavailable", error.remedy)
"""


@pytest.mark.slow
@pytest.mark.parametrize("limit", [0, 200, 3_000, 8_000])
def test_a_disk_that_takes_no_more_bytes_denies(town: Town, limit: int) -> None:
    key = town.base / "sam.pem"
    key.write_bytes(town.people["sam"]._key.private_bytes(*_pem()))
    key.chmod(0o600)
    before = town.size
    arguments = [str(town.repo), str(key), str(town.repo / "train.csv"), str(limit)]
    town.clock.at = datetime.now(timezone.utc)
    told = subprocess.run(
        [sys.executable, "-c", _LIMITED, *arguments], capture_output=True, text=True, check=True
    )
    assert told.stdout.startswith("unavailable"), told.stderr
    state = town.reopen().view.follow()
    assert "alpha/big" not in state.datasets
    kinds = town.kinds(before)
    assert kinds in ([], ["decision"], ["decision", "outcome"])
    assert all(o.predicate["status"] == "failed" for o in town.statements("outcome", before))
    town.ws.recover()
    town.check()
    town.do("sam", dataset(town.repo, "test"))


def _pem() -> tuple[Any, Any, Any]:
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
    )

    return Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()


def test_a_folder_that_cannot_be_written_denies(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    town.ws.view.follow()
    real = os.open

    def read_only(path: Any, flags: int, *rest: Any, **more: Any) -> int:
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) and str(path).startswith(str(town.root)):
            raise OSError(errno.EROFS, "Read-only file system", str(path))
        return real(path, flags, *rest, **more)

    monkeypatch.setattr(os, "open", read_only)
    error = closed(town, "eve", PROMOTE)
    assert isinstance(error, Unavailable)
    assert "writable" in error.remedy
    # A denial that cannot be written down is a denial all the same.
    assert isinstance(closed(town, "una", PROMOTE), (Unavailable, Denied))
    with pytest.raises(Unavailable):
        open_workspace(town.repo, clock=town.clock)


# -- the clock ------------------------------------------------------------------------------------


def test_a_clock_a_little_behind_uses_the_time_of_the_checkpoint(town: Town) -> None:
    town.do("una", READ)
    seen = town.ws.view.now()
    town.clock.advance(-TOLERANCE)
    town.do("una", READ)
    assert town.ws.view.now() == seen


def test_a_clock_more_than_five_minutes_behind_refuses(town: Town) -> None:
    town.do("una", READ)
    town.clock.advance(-TOLERANCE - timedelta(seconds=2))
    error = closed(town)
    assert error.code == "unavailable.clock.backwards"
    town.close()
    assert closed(town).code == "unavailable.clock.backwards"
    town.clock.advance(timedelta(seconds=2))
    town.do("una", READ)


def test_a_clock_far_ahead_lets_evidence_grow_old(town: Town) -> None:
    town.approve("ann", "abe")
    town.clock.advance(timedelta(days=31))
    production = Promote(project="alpha", model="score", version="1", stage="production")
    assert town.refused("eve", production) == ["gate.workspace"]


# -- the past -------------------------------------------------------------------------------------


def test_an_older_copy_of_the_workspace_is_refused(town: Town) -> None:
    older = town.base / "older"
    shutil.copytree(town.root, older)
    town.do(
        "ada",
        ManageRole(
            project=WORKSPACE, actor=town.ids["eve"], role="alpha/ml_engineer", granted=False
        ),
    )
    running = town.ws
    shutil.rmtree(town.root)
    older.rename(town.root)
    # A process that is running refuses,
    with pytest.raises(Verification, match="rolled back"):
        running.perform(town.who("eve"), PROMOTE)
    # and so does a new one of this user.
    with pytest.raises(Verification, match="rolled back"):
        open_workspace(town.repo, clock=town.clock)


# -- two at once ----------------------------------------------------------------------------------

_REGISTER = """
import sys
from pathlib import Path
from assay.actions.datasets import RegisterDataset
from assay.errors import Conflict
from assay.evidence.signers import FileSigner
from assay.workspace.credentials import Person
from assay.workspace.opening import open_workspace
repo, key, who = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
ws = open_workspace(repo)
print("ready", flush=True)
sys.stdin.readline()
for number in range(6):
    name = f"data{number}" if number % 2 else f"{who}{number}"
    action = RegisterDataset(project="alpha", dataset=name, path=str(repo / "test.csv"), owner=who,
        origin="o", licence="CC0", purposes=("p",), legal_basis="contract", residency=("local",))
    try:
        ws.perform(Person(FileSigner.load(key)), action)
        print("done", name, flush=True)
    except Conflict:
        print("conflict", name, flush=True)
"""


def test_two_processes_at_once_lose_nothing(town: Town) -> None:
    keys: dict[str, Path] = {}
    for name in ("sam", "eve"):
        keys[name] = town.base / f"{name}.pem"
        keys[name].write_bytes(town.people[name]._key.private_bytes(*_pem()))
        keys[name].chmod(0o600)
    started = [
        subprocess.Popen(
            [sys.executable, "-c", _REGISTER, str(town.repo), str(key), name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name, key in keys.items()
    ]
    for process in started:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
    for process in started:
        assert process.stdin
        process.stdin.write("go\n")
        process.stdin.flush()
    told = [line for process in started for line in process.communicate()[0].splitlines()]
    assert all(process.returncode == 0 for process in started)
    assert len(told) == 12
    state = town.reopen().view.follow()
    for line in told:
        what, name = line.split()
        if what == "done":
            assert f"alpha/{name}" in state.datasets
    # One of two that wanted the same name at the same time may have been told so.
    assert all(line.startswith("done") or " data" in line for line in told)
    registered = [s.predicate["name"] for s in town.statements("dataset")]
    assert sorted(registered) == sorted(
        ["train", "test", "train", *(line.split()[1] for line in told if line[:4] == "done")]
    )
    assert not state.open
    town.check()


# -- plug-ins -------------------------------------------------------------------------------------


def test_a_key_service_that_is_not_installed_is_named(town: Town) -> None:
    config = town.repo / "assay.toml"
    config.write_text(config.read_text() + 'keys = "vaultx://prod/assay"\n')
    with pytest.raises(Usage, match="vaultx"):
        open_workspace(town.repo)


def test_a_plug_in_that_cannot_be_loaded_is_named_and_stops_what_needs_it(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    from importlib.metadata import EntryPoint

    from assay.actions.assessment import AssessModel

    broken = EntryPoint("gone", "no_such_module:x", "assay.assessors")
    real = plugins.entry_points

    def found(*, group: str) -> Any:
        return [*real(group=group), *([broken] if group == broken.group else [])]

    monkeypatch.setattr(plugins, "entry_points", found)
    since = town.size
    action = AssessModel(project="alpha", model="score", version="1", data="test")
    with pytest.raises(AssayError, match="gone"):
        town.do("eve", action)
    assert "quality" not in town.kinds(since)
    assert not town.ws.view.follow().open


# -- the catalog ----------------------------------------------------------------------------------


def test_a_revocation_hidden_in_the_catalog_opens_no_gate_and_is_noticed(
    town: Town, tmp_path: Path
) -> None:
    import sqlite3

    from assay.actions.release import Revoke
    from assay.catalog.catalog import Catalog
    from assay.workspace.opening import fill, open_catalog

    town.approve("ann", "abe")
    town.do("ann", Revoke(project="alpha", model="score", version="1", reason="bad"))
    catalog = open_catalog(town.ws)
    catalog.close()
    with sqlite3.connect(town.root / "catalog.sqlite") as database:
        changed = database.execute("UPDATE model_versions SET revoked = 0").rowcount
        database.execute("DELETE FROM statements WHERE kind = 'revocation'")
    assert changed
    action = Promote(project="alpha", model="score", version="1", stage="production")
    assert town.refused("eve", action) == ["gate.revoked"]
    fresh = Catalog.open(f"sqlite:///{tmp_path / 'fresh.sqlite'}")
    town.ws.ledger.refresh()
    fill(fresh, town.ws.ledger)
    hidden = open_catalog(town.ws)
    assert hidden.dump_canonical() != fresh.dump_canonical()
    hidden.clear()
    fill(hidden, town.ws.ledger)
    assert hidden.dump_canonical() == fresh.dump_canonical()
