"""Intakes killed anywhere: nothing is half registered, and the same again works."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from supply.intake.servers import Asked, Hub, Reply, serving
from workspace.town import Killed, Town, copy_of, killed_at_point

from assay import canonical
from assay.actions.intake import Intake, RejectIntake, ReleaseIntake
from assay.actions.intake_records import intakes
from assay.workspace.layout import CONFIG


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No real syncing, where crashes are simulated: only what was asked for matters."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


def _take(town: Town) -> dict[str, Any]:
    path = town.repo / "model.onnx"
    digest = canonical.digest_file(path)
    action = Intake(project="alpha", locator=str(path), digest=digest, licence="MIT")
    return town.do("eve", action)


def _release(town: Town, digest: str) -> dict[str, Any]:
    action = ReleaseIntake(project="alpha", digest=digest, model="theirs", purpose="scoring")
    return town.do("eve", action)


def _numbers(points: list[str]) -> list[int]:
    """The first and the last time that each point is passed."""
    numbers = {points.index(point) for point in points}
    return sorted(numbers | {len(points) - 1 - points[::-1].index(point) for point in points})


def _recovered(town: Town) -> None:
    """What must hold after any crash, once recovery has run."""
    town.reopen().recover()
    state = town.ws.view.follow()
    assert not state.open
    assert state.rejected == []
    assert town.ws.recover() == []
    work = town.root / "work"
    assert not work.exists() or not list(work.iterdir())
    town.check()


@pytest.mark.slow
@pytest.mark.usefixtures("quick")
def test_an_intake_killed_at_any_crash_point_is_on_record_whole_or_not_at_all(
    built: Town, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    town = copy_of(built, tmp_path / "whole", monkeypatch)
    with killed_at_point(-1) as points:
        _take(town)
    assert {"door.decided", "intake.taken", "intake.sealed", "door.recorded"} <= set(points)
    for number in _numbers(points):
        town = copy_of(built, tmp_path / str(number), monkeypatch)
        with killed_at_point(number) as passed, pytest.raises(Killed):
            _take(town)
        _recovered(town)
        known = intakes(town.ws.view, "alpha")
        if "door.recorded" in passed:
            assert known
        # All that is said of it came in one append: all of it is there, or nothing.
        said = [len(town.statements(kind)) for kind in ("intake", "licences")]
        assert said == [len(known)] * 2
        assert _take(town)["status"] == "quarantined"
        shutil.rmtree(town.base)


@pytest.mark.slow
@pytest.mark.usefixtures("quick")
def test_a_release_killed_at_any_crash_point_makes_one_version_in_the_end(
    built: Town, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready = copy_of(built, tmp_path / "ready", monkeypatch)
    digest = _take(ready)["digest"]
    ready.close()
    town = copy_of(ready, tmp_path / "whole", monkeypatch)
    with killed_at_point(-1) as points:
        _release(town, digest)
    for number in _numbers(points):
        town = copy_of(ready, tmp_path / str(number), monkeypatch)
        with killed_at_point(number), pytest.raises(Killed):
            _release(town, digest)
        _recovered(town)
        state = town.ws.view.follow()
        versions = [v for v in state.versions.values() if v.name == "theirs"]
        assert len(versions) <= 1
        # A release on record names a version that is there, with its scan.
        for statement in town.statements("intake-release"):
            assert f"alpha/theirs@{statement.predicate['version']}" in state.versions
        again = _release(town, digest)
        assert again["version"] == "1"
        state = town.ws.view.follow()
        assert len([v for v in state.versions.values() if v.name == "theirs"]) == 1
        shutil.rmtree(town.base)


@pytest.mark.usefixtures("quick")
def test_a_rejection_that_was_decided_is_completed(
    built: Town, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    town = copy_of(built, tmp_path / "town", monkeypatch)
    digest = _take(town)["digest"]
    with killed_at_point(-1) as points:
        pass
    action = RejectIntake(project="alpha", digest=digest, reason="typosquat")

    def stop(name: str) -> None:
        points.append(name)
        if name == "door.decided":
            raise Killed(name)

    from assay import files

    files.failpoint = stop
    try:
        with pytest.raises(Killed):
            town.do("eve", action)
    finally:
        files.failpoint = None
    _recovered(town)
    assert [held.status for held in intakes(town.ws.view, "alpha")] == ["rejected"]


_CHILD = """
import sys
from pathlib import Path
from assay.actions.intake import Intake
from assay.evidence.signers import FileSigner
from assay.workspace.credentials import Person
from assay.workspace.opening import open_workspace
ws = open_workspace(Path(sys.argv[1]))
ws.perform(Person(FileSigner.load(Path(sys.argv[2]))), Intake(project="alpha", locator=sys.argv[3]))
"""


def test_a_process_killed_while_it_fetches_leaves_nothing_but_an_abandoned_decision(
    town: Town,
) -> None:
    from datetime import datetime, timezone

    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    pem = town.base / "eve.pem"
    key: Any = town.people["eve"]._key
    pem.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    pem.chmod(0o600)
    hub = Hub({"a.json": b"{}", "b.json": b"{}"})
    child: list[subprocess.Popen[bytes]] = []

    def answer(asked: Asked) -> Reply:
        if asked.path.endswith("/b.json"):
            os.kill(child[0].pid, signal.SIGKILL)
        return hub(asked)

    with serving(answer) as server:
        text = f'hub = "{server.url}"\nhosts = ["{server.place}"]\nplain = ["{server.place}"]'
        config = town.repo / CONFIG
        config.write_text(f"{config.read_text()}\n[projects.alpha.intake]\n{text}\n")
        town.close()
        command = [sys.executable, "-c", _CHILD, str(town.repo), str(pem), "hf:acme/credit"]
        child.append(subprocess.Popen(command))
        assert child[0].wait(timeout=120) == -signal.SIGKILL
    assert list((town.root / "work").glob("*/intake/a.json"))
    town.clock.at = datetime.now(timezone.utc)
    told = town.reopen().recover()
    assert any(line.startswith("abandoned registerModel") for line in told)
    _recovered(town)
    assert intakes(town.ws.view, "alpha") == []
