"""Runs that are killed, stopped, out of space, or given to an executor that fails: what was done is
kept, nothing is half done, and running again goes on from there."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import signal
import threading
from collections.abc import Callable
from typing import Any

import pytest

from assay import files
from assay.actions import runs
from assay.errors import Conflict, Unavailable
from assay.pipeline import runner

from .running import CHAIN, Killed, Place, Ran

STEPS = ("one", "two", "three", "four")


@pytest.fixture(autouse=True)
def _recorded_at_once(  # pyright: ignore[reportUnusedFunction]
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else what is finished waits for a moment, and a kill takes it."""
    monkeypatch.setattr(runner, "_LOOKING", 0)
    monkeypatch.setattr(runner, "_RECORDING", 0)


def _killed(place: Place, at: str, **options: Any) -> None:
    """Run in a process that gets SIGKILL as soon as the run says `at`."""
    place.ws.close()
    child = os.fork()
    if child == 0:

        def die(text: str) -> None:
            if str(text) == at:
                os.kill(os.getpid(), signal.SIGKILL)

        with contextlib.suppress(BaseException):
            place.reopen()
            place.run(progress=die, **options)
        os._exit(7)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL
    place.reopen()


@pytest.mark.parametrize("number", range(4))
def test_a_run_that_was_killed_goes_on_from_what_it_had_done(place: Place, number: int) -> None:
    place.code(CHAIN.format(options=""))
    _killed(place, f"{STEPS[number]}: running")
    assert place.left() != []
    again = place.ok()
    assert again.states == {
        name: "cached" if at < number else "done" for at, name in enumerate(STEPS)
    }
    assert again.value("four") == 4


def test_recovery_clears_what_a_killed_run_left_in_plain_and_tells_of_it(place: Place) -> None:
    place.code(CHAIN.format(options=""))
    _killed(place, "two: running")
    plain = [path for path in (place.root / "work").rglob("*") if path.is_file()]
    assert any(path.name.startswith("json-1-") for path in plain)
    told = place.ws.recover()
    assert any("work" in line for line in told)
    assert any("abandoned runPipeline" in line for line in told)
    assert place.left() == []
    (killed,) = runs.runs(place.ws.view, "alpha")[:1]
    assert runs.state_of(place.ws.view, killed) == "interrupted"
    assert runs.finished_tasks(place.ws.view, "alpha", killed["run"]) == ["one"]
    assert place.ok().states["one"] == "cached"


def test_recovery_leaves_a_run_alone_that_goes_on(place: Place) -> None:
    place.code(CHAIN.format(options=""))
    told: list[str] = []

    def meanwhile(text: str) -> None:
        if str(text) == "three: running":
            other = runs_elsewhere(place)
            told.extend(other.recover())

    ran = place.ok(progress=meanwhile)
    assert set(ran.states.values()) == {"done"}
    assert any("left alone runPipeline" in line for line in told)


def runs_elsewhere(place: Place) -> Any:
    from assay.workspace.opening import open_workspace

    return open_workspace(place.repo)


def test_what_used_the_network_is_taken_over_only_by_a_run_that_goes_on(place: Place) -> None:
    place.settings(step_ports=[443])
    place.code(CHAIN.format(options="(network=[443])"))
    _killed(place, "four: running")
    place.ws.recover()
    (killed,) = runs.runs(place.ws.view, "alpha")[:1]
    other = place.ok()
    assert other.states == {"one": "cached", "two": "cached", "three": "done", "four": "done"}
    resumed = place.ok(resumes=killed["run"])
    assert set(resumed.states.values()) == {"cached"}
    assert resumed.record.resumes == killed["run"]
    third = place.ok(resumes=resumed.record.run)
    assert third.states["three"] == "cached"
    assert place.ok().states["three"] == "done"


def test_a_run_that_failed_is_gone_on_with_once_its_code_is_mended(place: Place) -> None:
    place.settings(step_ports=[443])
    place.code(
        """
        from p import one, three

        @step
        def last(n: int) -> int:
            return n // 0

        @pipeline
        def other() -> object:
            return last(three(one()))
        """,
        "q.py",
    )
    place.code(CHAIN.format(options="(network=[443])"))
    failed = place.fails("q.py")
    assert failed.states == {"one": "done", "three": "done", "last": "failed"}
    place.edit("q.py", "n // 0", "n + 1")
    again = place.ok("q.py", resumes=failed.record.run)
    assert again.states == {"one": "cached", "three": "cached", "last": "done"}
    assert again.value("last") == 3


@pytest.mark.parametrize("point", ["door.decided", "door.applied"])
def test_a_crash_around_a_run_leaves_no_half_of_it(place: Place, point: str) -> None:
    place.code(CHAIN.format(options=""))

    def die(name: str) -> None:
        if name == point:
            raise Killed(name)

    files.failpoint = die
    try:
        with pytest.raises(Killed):
            place.run()
    finally:
        files.failpoint = None
    place.reopen().recover()
    assert place.left() == []
    again = place.ok()
    cached = point == "door.applied"
    assert set(again.states.values()) == ({"cached"} if cached else {"done"})


# -- the disk -------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("after", [0, 1, 2, 4, 7, 11, 16, 22, 30, 40, 55])
def test_a_full_disk_ends_a_run_cleanly(
    place: Place, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    place.code(CHAIN.format(options=""))
    place.plan()  # So that what is remembered of the code is there already.
    real, left = os.fsync, [after]

    def full(handle: int) -> None:
        if left[0] <= 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        left[0] -= 1
        real(handle)

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        told = ""
        try:
            ran = place.run()
            told = ran.problem if ran.ended.error is not None else "space"
        except Unavailable as error:
            told = f"{error.message} {error.remedy}"
    assert "space" in told
    place.reopen().recover()
    assert place.left() == []
    again = place.ok()
    assert again.value("four") == 4


def test_no_space_for_what_a_step_reads_is_told_and_leaves_no_half_of_it(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.code(CHAIN.format(options=""))

    def full(source: Any, target: Any, *_: Any) -> None:
        target.write(source.read()[:1])
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(shutil, "copyfileobj", full)
        failed = place.fails()
    assert "step two: cannot write" in failed.problem
    assert "free disk space" in failed.problem
    assert failed.states == {"one": "done", "two": "failed", "three": "skipped", "four": "skipped"}
    assert place.ok().states["one"] == "cached"


# -- stopping -------------------------------------------------------------------------------------

LONG = """
import time

@step
def first() -> int:
    return 1

@step
def long(n: int) -> int:
    print("begun", flush=True)
    time.sleep(300)
    return n

@pipeline
def main() -> object:
    return long(first())
"""


def _when_begun(place: Place, then: Callable[[], None]) -> Callable[[str], None]:
    """Does something as soon as the step long has begun."""

    def wait() -> None:
        until = threading.Event()
        for _ in range(3000):
            logs = list((place.root / "work").glob("*/task-*/log"))
            if any("begun" in log.read_text() for log in logs):
                break
            until.wait(0.01)
        then()

    def hear(text: str) -> None:
        if str(text) == "long: running":
            threading.Thread(target=wait).start()

    return hear


def test_an_interrupt_ends_the_steps_and_keeps_what_was_done(place: Place) -> None:
    place.code(LONG)
    interrupt = _when_begun(place, lambda: os.kill(os.getpid(), signal.SIGINT))
    ran = place.run(progress=interrupt)
    assert ran.record.state == "cancelled"
    assert ran.ended.error is None
    assert ran.states == {"first": "done", "long": "skipped"}
    assert ran.why("long") == "the run was stopped"
    assert place.left() == []
    place.edit("p.py", "time.sleep(300)", "pass")
    assert place.ok().value("long") == 1


def test_a_run_is_stopped_from_another_thread(place: Place) -> None:
    place.code(LONG)
    action = place.plan()
    stop = runs.planned(action).stop
    told = _when_begun(place, stop.set)
    ran = Ran(place, place.ws.perform(place.person, action, progress=told))
    assert ran.record.state == "cancelled"
    assert ran.states == {"first": "done", "long": "skipped"}
    assert place.left() == []


def test_an_interrupt_before_anything_runs_runs_nothing(place: Place) -> None:
    place.code(LONG)

    def interrupt(text: str) -> None:
        if str(text) == "first: running":
            raise KeyboardInterrupt

    ran = place.run(progress=interrupt)
    assert ran.record.state == "cancelled"
    assert place.left() == []


# -- what changes meanwhile -----------------------------------------------------------------------


def test_code_that_is_edited_while_a_run_goes_on_is_run_as_it_was(place: Place) -> None:
    place.code(CHAIN.format(options=""))

    def edit(text: str) -> None:
        if str(text) == "two: running":
            place.edit("p.py", "return n + 1", "return n + 100")

    assert place.ok(progress=edit).value("four") == 4
    assert place.ok().value("four") == 301


def test_a_file_that_is_edited_while_a_run_goes_on_is_one_file_to_all_steps(place: Place) -> None:
    place.code(
        """
        from pathlib import Path

        @step
        def first(path: Path) -> str:
            return path.read_text()

        @step
        def second(path: Path, before: str) -> list[str]:
            return [before, path.read_text()]

        @pipeline
        def main() -> object:
            return second(Path("rows.txt"), first(Path("rows.txt")))
        """
    )
    place.write("rows.txt", "old")

    def edit(text: str) -> None:
        if str(text) == "first: running":
            place.write("rows.txt", "new")

    assert place.ok(progress=edit).value("second") == ["old", "old"]
    assert place.ok().value("second") == ["new", "new"]


def test_a_revoked_role_ends_what_a_run_may_still_record(place: Place) -> None:
    """What slips in between decision and record wins, as everywhere."""
    from assay.actions.people import ManageRole
    from assay.evidence.state import WORKSPACE

    place.code(CHAIN.format(options=""))
    (actor,) = place.ws.view.follow().actors

    def demote(text: str) -> None:
        if str(text) == "three: running":
            for role in ("alpha/ml_engineer", "alpha/data_scientist"):
                place.do(ManageRole(project=WORKSPACE, actor=actor, role=role, granted=False))

    with pytest.raises(Conflict):
        place.run(progress=demote)
    assert place.left() == []
