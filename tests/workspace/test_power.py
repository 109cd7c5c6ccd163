"""The power fails at any moment of a working day: what was acknowledged is there, and no half."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from workspace.town import Town, dataset, numbers, write_table

from assay import files
from assay.actions.administration import RotateRing
from assay.actions.datasets import ReadDataset
from assay.actions.release import Revoke
from assay.evidence.state import State

Happened = Callable[[], bool]


class Disk:
    """What was asked of a disk, replayed onto what was there before.

    A content is whole once it was synced, and may be cut before; a name is there once its folder
    was synced, and before that may be or not.
    """

    def __init__(self, start: Path, root: Path) -> None:
        self._start = start
        self._root = root
        self.log: list[tuple[str, Path, Path | bytes | None]] = []

    def record(self, operation: str, path: Path, argument: Path | bytes | None) -> None:
        if path.is_relative_to(self._root):
            self.log.append((operation, path, argument))

    def after(self, length: int, target: Path, happened: Happened) -> None:
        """Build in `target` what may be left when the power fails after `length` operations."""
        shutil.copytree(self._start, target)
        contents: dict[Path, bytes] = {}
        synced: set[Path] = set()
        names: list[tuple[str, Path, Path | None, bool]] = []
        for operation, path, argument in self.log[:length]:
            if isinstance(argument, bytes):
                contents[path] = argument
                names.append(("create", path, path, False))
            elif isinstance(argument, Path):
                names.append((operation, argument, path, False))
            elif operation == "fsync":
                synced.add(path)
            elif operation == "fsync_dir":
                names = [(o, p, s, done or p.parent == path) for o, p, s, done in names]
            else:
                names.append((operation, path, None, False))
        for operation, path, source, durable in names:
            place = target / path.relative_to(self._root)
            if not (durable or happened()) or not place.parent.is_dir():
                continue
            if operation == "mkdir":
                place.mkdir(mode=0o700, exist_ok=True)
            elif source is None:
                place.unlink(missing_ok=True)
            else:
                data = contents[source]
                place.write_bytes(data if source in synced else data[: len(data) // 2])
                place.chmod(0o600)
                if operation == "rename":
                    (target / source.relative_to(self._root)).unlink(missing_ok=True)


def a_day(town: Town) -> list[tuple[str, Callable[[], object], Callable[[State], bool]]]:
    """What is done, in order, and how the state shows that it was."""
    revoke = Revoke(project="alpha", model="score", version="1", reason="a complaint")
    score = "alpha/score@1"
    return [
        (
            "enrol",
            lambda: town.enrol("zoe", "alpha/approver"),
            lambda state: "id-zoe" in state.roles["alpha/approver"],
        ),
        (
            "register",
            lambda: town.do("sam", dataset(town.repo, "third")),
            lambda state: "alpha/third" in state.datasets,
        ),
        (
            "deploy",
            town.deploy,
            lambda state: (
                state.versions[score].stage == "production" and "alpha/score" in state.endpoints
            ),
        ),
        (
            "rotate",
            lambda: town.do("ada", RotateRing(project="_workspace", ring="alpha/data")),
            lambda _: True,
        ),
        (
            "revoke",
            lambda: town.do("oli", revoke),
            lambda state: state.versions[score].revoked,
        ),
    ]


@pytest.mark.slow
def test_power_loss_at_any_moment_loses_nothing_acknowledged_and_leaves_no_half(
    town: Town, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_table(town.repo / "third.csv", numbers(300, 33))
    town.ws.view.follow()
    town.close()
    start = tmp_path / "start"
    shutil.copytree(town.base, start)
    disk = Disk(start, town.base)
    acknowledged: list[tuple[int, str, Callable[[State], bool]]] = []
    files.recorder = disk.record
    try:
        for name, do, shows in a_day(town):
            do()
            acknowledged.append((len(disk.log), name, shows))
    finally:
        files.recorder = None
    assert len(disk.log) > 200
    chance = random.Random(7)  # noqa: S311 - which unsynced names survive
    fates: list[Happened] = [lambda: False, lambda: True, lambda: chance.random() < 0.5]
    for number, length in enumerate(range(0, len(disk.log) + 1, 5)):
        target = tmp_path / "after"
        disk.after(length, target, fates[number % len(fates)])
        monkeypatch.setenv("XDG_STATE_HOME", str(target / "state"))
        left = Town(target, town.people, town.ids, town.tokens, town.clock)
        left.ws.recover()
        left.check()
        state = left.ws.view.follow()
        assert not state.open, length
        for needed, name, shows in acknowledged:
            assert needed > length or shows(state), (name, length)
        if "alpha/third" in state.datasets:
            read = ReadDataset(project="alpha", dataset="third", purpose="scoring")
            assert left.do("sam", read).read(8) == b"a,b,c,y\r"
        shutil.rmtree(target)
