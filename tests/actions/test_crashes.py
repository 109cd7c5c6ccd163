"""Actions killed anywhere: nothing acknowledged is lost, nothing half-done shows, all goes on."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from workspace.town import (
    WORKSPACE,
    Killed,
    Town,
    at_point,
    copy_of,
    dataset,
    enrolment,
    killed_at,
    killed_at_point,
    model,
)

from assay import files
from assay.actions.administration import CreateProject, DestroyRing, RotateKey, RotateRing
from assay.actions.datasets import HoldDataset
from assay.actions.release import Approve, Promote, Revoke
from assay.actions.serving import Deploy
from assay.errors import NotFound, Usage
from assay.evidence.signers import MemorySigner
from assay.evidence.state import State
from assay.workspace.action import REGISTRY, Action, from_params
from assay.workspace.opening import open_workspace

NEWCOMER = MemorySigner.generate()
SCORE: dict[str, Any] = {"project": "alpha", "model": "score", "version": "1"}


@dataclass(frozen=True)
class Case:
    """An action, who asks, and how its effect shows in the state."""

    who: str
    action: Callable[[Town], Action]
    effect: Callable[[Town, State], bool]
    again: str = ""
    """The code with which it is refused when it has happened already."""


def _rotated(town: Town, _: State) -> bool:
    return bool(town.statements("ring-rotation"))


def _approved(town: Town, state: State) -> bool:
    return bool(town.ws.view.approvals(state.versions["alpha/score@1"], "production"))


CASES: dict[str, Case] = {
    "register a dataset": Case(
        "sam",
        lambda town: dataset(town.repo, "fresh", file="test.csv"),
        lambda _, state: "alpha/fresh" in state.datasets,
    ),
    "register a model": Case(
        "eve",
        lambda town: model(town.repo, "fresh", path=str(town.repo / "model.onnx")),
        lambda _, state: "alpha/fresh@1" in state.versions,
    ),
    "approve": Case("ann", lambda _: Approve(**SCORE), _approved),
    "promote": Case(
        "eve",
        lambda _: Promote(**SCORE, stage="staging"),
        lambda _, state: "alpha/score@staging" in state.aliases,
    ),
    "deploy": Case(
        "eve",
        lambda _: Deploy(**SCORE, stage="staging"),
        lambda _, state: "alpha/score" in state.endpoints,
    ),
    "revoke": Case(
        "ann",
        lambda _: Revoke(**SCORE, reason="bad"),
        lambda _, state: state.versions["alpha/score@1"].revoked,
    ),
    "hold a dataset": Case(
        "ann",
        lambda _: HoldDataset(project="alpha", dataset="train", reason="erasure"),
        lambda _, state: state.datasets["alpha/train"].hold,
    ),
    "enrol": Case(
        "ada",
        lambda _: enrolment("new", NEWCOMER, "alpha/auditor", label="newcomer"),
        lambda _, state: "new" in state.actors and "new" in state.roles["alpha/auditor"],
        again="usage.key_taken",
    ),
    "rotate a ring": Case(
        "ada", lambda _: RotateRing(project=WORKSPACE, ring="alpha/data"), _rotated
    ),
    "rotate the workspace key": Case(
        "ada",
        lambda _: RotateKey(project=WORKSPACE, reason="yearly"),
        lambda _, state: len(state.workspace_keys) > 1,
    ),
    "create a project": Case(
        "ada",
        lambda town: CreateProject(project=WORKSPACE, new="gamma", owner=town.ids["eve"]),
        lambda town, state: (
            "gamma" in state.projects
            and town.ids["eve"] in state.roles["gamma/ml_engineer"]
            and "gamma/data" in town.ws.store.rings.names()
        ),
        again="usage.project",
    ),
    "destroy a ring": Case(
        "ada",
        lambda _: DestroyRing(project=WORKSPACE, ring="beta/data", reason="end", ticket="T1"),
        lambda town, _: "beta/data" not in town.ws.store.rings.names(),
    ),
}
OFTEN = {"register a dataset", "approve", "promote", "enrol", "rotate the workspace key"}
"""Run every time; the others when the slow ones are."""
IRREVERSIBLE = {"destroy a ring"}
"""Once begun it shows; what matters is that recovery completes it and puts it on record."""


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No real syncing, where crashes are simulated: only what was asked for matters."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


def _survive(town: Town, case: Case, name: str, passed: list[str]) -> None:
    """What must hold after a crash in the middle of `case`."""
    state = town.reopen().view.follow()
    shown = case.effect(town, state)
    if "door.recorded" in passed:
        assert shown
    town.ws.recover()
    state = town.ws.view.follow()
    after = case.effect(town, state)
    assert after or not shown
    assert not state.open
    assert town.ws.recover() == []
    kind = type(case.action(town))
    if "door.decided" in passed and kind.redo:
        assert after
    # The same again, by whoever saw no answer.
    if after and case.again:
        with pytest.raises(Usage) as caught:
            town.do(case.who, case.action(town))
        assert caught.value.code == case.again
    else:
        town.do(case.who, case.action(town))
    state = town.ws.view.follow()
    assert case.effect(town, state)
    assert state.rejected == []
    assert town.ws.ledger.check() == []
    if any(point.startswith(("store.", "rings.")) for point in passed):
        town.check()
    if name in IRREVERSIBLE:
        assert town.statements("ring-destruction")


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in OFTEN else pytest.mark.slow, id=name)
        for name in CASES
    ],
)
@pytest.mark.usefixtures("quick")
def test_an_action_killed_at_any_crash_point_is_survived(
    built: Town, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    case = CASES[name]
    town = copy_of(built, tmp_path / "whole", monkeypatch)
    with killed_at_point(-1) as points:
        town.do(case.who, case.action(town))
    assert {"door.decided", "door.applied", "door.recorded", "ledger.committed"} <= set(points)
    # The first and the last time that each is passed: tiles are published one like the other.
    numbers = {points.index(point) for point in points}
    numbers |= {len(points) - 1 - points[::-1].index(point) for point in points}
    for number in sorted(numbers):
        town = copy_of(built, tmp_path / str(number), monkeypatch)
        with killed_at_point(number) as passed, pytest.raises(Killed, match=points[number]):
            town.do(case.who, case.action(town))
        assert passed == points[:number]
        _survive(town, case, name, passed)
        shutil.rmtree(town.base)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["promote", "enrol", "create a project", "destroy a ring"])
@pytest.mark.usefixtures("quick")
def test_an_action_killed_at_any_operation_on_the_disk_is_survived(
    built: Town, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    case = CASES[name]
    number, survived = 0, False
    while not survived:
        town = copy_of(built, tmp_path / str(number), monkeypatch)
        town.ws.view.follow()
        with killed_at(number) as passed:
            try:
                town.do(case.who, case.action(town))
                survived = True
            except Killed:
                pass
        _survive(town, case, name, passed)
        shutil.rmtree(town.base)
        number += 1
    assert number > 50


# -- recovery does not guess ----------------------------------------------------------------------


def _crash(town: Town, who: str, action: Action, point: str = "door.decided") -> None:
    def stop(passed: str) -> None:
        if passed == point:
            raise Killed(passed)

    files.failpoint = stop
    try:
        with pytest.raises(Killed):
            town.do(who, action)
    finally:
        files.failpoint = None


def test_recovery_does_not_promote_what_was_revoked_since(town: Town) -> None:
    _crash(town, "eve", Promote(**SCORE, stage="staging"))
    other = open_workspace(town.repo, clock=town.clock)
    other.perform(town.who("ann"), Revoke(**SCORE, reason="bad"))
    told = town.reopen().recover()
    assert any("overtaken" in line for line in told)
    state = town.ws.view.follow()
    assert "alpha/score@staging" not in state.aliases
    assert not state.open


def test_recovery_does_not_act_for_somebody_disabled_since(town: Town) -> None:
    from assay.actions.people import DisableActor

    _crash(town, "eve", Promote(**SCORE, stage="staging"))
    eve = town.ids["eve"]
    open_workspace(town.repo, clock=town.clock).perform(
        town.who("ada"), DisableActor(project=WORKSPACE, actor=eve)
    )
    town.reopen().recover()
    assert "alpha/score@staging" not in town.ws.view.follow().aliases


def test_what_was_done_again_meanwhile_does_not_stop_recovery(town: Town) -> None:
    action = enrolment("new", NEWCOMER, label="newcomer")
    _crash(town, "ada", action)
    _crash(town, "eve", Promote(**SCORE, stage="staging"))
    open_workspace(town.repo, clock=town.clock).perform(town.who("ada"), action)
    told = town.reopen().recover()
    assert len([line for line in told if line.startswith("abandoned")]) == 1
    assert len([line for line in told if line.startswith("completed")]) == 1
    assert not town.ws.view.follow().open


def test_a_decision_of_an_action_that_is_not_installed_is_abandoned_by_name(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    _crash(town, "eve", Promote(**SCORE, stage="staging"))
    monkeypatch.delitem(REGISTRY, "Promote")
    told = town.reopen().recover()
    assert any(line.startswith("abandoned promote") for line in told)


def test_parameters_of_another_version_make_no_action() -> None:
    assert from_params({"type": "Promote", "project": "alpha", "unknown": 1}) is None
    assert from_params({"type": "Promote"}) is None
    assert from_params({"type": "NoSuchAction"}) is None
    assert from_params({}) is None
    action = Promote(**SCORE, stage="staging")
    assert from_params(action.params()) == action


def test_recovery_leaves_alone_what_another_process_is_doing(town: Town) -> None:
    told: list[str] = []

    def look() -> None:
        told.extend(open_workspace(town.repo, clock=town.clock).recover())

    with at_point("door.decided", look):
        town.promote(stage="staging")
    assert [line for line in told if "still running" in line]
    assert "alpha/score@staging" in town.ws.view.follow().aliases


def test_recovery_removes_the_plain_copy_of_a_model_that_a_killed_process_left(town: Town) -> None:
    left = town.root / "work" / "0190-dead"
    left.mkdir(parents=True)
    (left / "model").write_bytes(b"plain bytes")
    assert any("0190-dead" in line for line in town.ws.recover())
    assert not left.exists()


def test_a_destroyed_ring_stays_destroyed_and_is_on_record_whenever_it_was_killed(
    town: Town,
) -> None:
    action = DestroyRing(project=WORKSPACE, ring="beta/data", reason="end", ticket="T1")
    _crash(town, "ada", action, "rings.destroyed.committed")
    told = town.reopen().recover()
    assert any(line.startswith("completed destroyRing") for line in told)
    (statement,) = town.statements("ring-destruction")
    assert statement.predicate["ticket"] == "T1"
    with pytest.raises(NotFound):
        town.ws.store.rings.ring("beta/data")


# -- kill -9 --------------------------------------------------------------------------------------

_LOOP = """
import sys
from pathlib import Path
from assay.actions.administration import CreateProject
from assay.actions.datasets import HoldDataset, RegisterDataset
from assay.actions.people import EnrolActor
from assay.actions.release import Hold
from assay.evidence.signers import FileSigner, MemorySigner
from assay.workspace.credentials import Person
from assay.workspace.opening import open_workspace
repo, keys, run = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
who = {name: Person(FileSigner.load(keys / f"{name}.pem")) for name in ("ada", "sam", "ann")}
ws = open_workspace(repo)
for number in range(1000):
    name = f"d{run}-{number}"
    ws.perform(who["sam"], RegisterDataset(project="alpha", dataset=name,
        path=str(repo / "test.csv"), owner="o", origin="o", licence="CC0", purposes=("p",),
        legal_basis="contract", residency=("local",)))
    print("dataset", name, flush=True)
    ws.perform(who["ann"], HoldDataset(project="alpha", dataset=name, reason="test"))
    print("held", name, flush=True)
    ws.perform(who["ada"], EnrolActor(project="_workspace", actor=name, label=name,
        keys=(MemorySigner.generate().public,), roles=("alpha/auditor",)))
    print("actor", name, flush=True)
"""


@pytest.mark.slow
def test_a_process_killed_at_random_moments_loses_nothing_that_it_acknowledged(
    town: Town,
) -> None:
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    folder = town.base / "pem"
    folder.mkdir()
    for name in ("ada", "sam", "ann"):
        path = folder / f"{name}.pem"
        key: Any = town.people[name]._key
        path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        path.chmod(0o600)
    chance = random.Random(20260101)  # noqa: S311
    acknowledged: list[tuple[str, str]] = []
    for run in range(20):
        process = subprocess.Popen(
            [sys.executable, "-c", _LOOP, str(town.repo), str(folder), str(run)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout
        lines = [process.stdout.readline() for _ in range(chance.randrange(1, 8))]
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=chance.random() * 0.1)
        process.kill()
        lines += process.communicate()[0].splitlines(keepends=True)
        for line in lines:
            assert line, "the loop stopped by itself"
            if line.endswith("\n"):
                what, name = line.split()
                acknowledged.append((what, name))
        town.clock.at = datetime.now(timezone.utc)
        state = town.reopen().view.follow()
        for what, name in acknowledged:
            if what == "actor":
                assert name in state.actors
                assert name in state.roles["alpha/auditor"]
            else:
                assert state.datasets[f"alpha/{name}"].hold or what == "dataset"
        town.ws.recover()
        assert not town.ws.view.follow().open
        town.check()
        # What was killed before its decision may leave an empty lock file, and nothing else.
        left = {path.name for path in (town.root / "doing").glob("*")}
        assert not left & set(town.ws.view.state.closed)
    assert len(acknowledged) > 20
