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
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from assay import files
from assay.actions import runs
from assay.errors import Conflict, Unavailable
from assay.pipeline import runner
from assay.pipeline.executors import LocalExecutor
from assay.plugins import Finished, Task

from .running import HEAD, Killed, Place, Ran

CHAIN = """
@step
def one() -> int:
    return 1

@step
def two(n: int) -> int:
    return n + 1

@step{options}
def three(n: int) -> int:
    return n + 1

@step
def four(n: int) -> int:
    return n + 1

@pipeline
def main() -> object:
    return four(three(two(one())))
"""
STEPS = ("one", "two", "three", "four")


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


# -- executors ------------------------------------------------------------------------------------


class Wrapped:
    """The local executor, with something in between."""

    name = "wrapped"

    def __init__(self, slots: int = 2) -> None:
        self.inner = LocalExecutor(slots)
        self.slots = slots
        self.ended = ""

    def open(self, code: bytes, digest: str) -> None:
        self.inner.open(code, digest)

    def submit(self, task: Task, folder: Path) -> Future[Finished]:
        return self.inner.submit(task, folder)

    def shutdown(self, *, cancel: bool) -> None:
        self.ended = "cancelled" if cancel else "ended"
        self.inner.shutdown(cancel=cancel)


@pytest.fixture
def using(place: Place, monkeypatch: pytest.MonkeyPatch) -> Callable[[Wrapped], dict[str, Any]]:
    """Makes an executor the one called wrapped."""
    place.settings(executors=["local", "wrapped"])

    def use(executor: Wrapped) -> dict[str, Any]:
        monkeypatch.setattr(runs, "open_executor", lambda _: executor)
        return {"executor": "wrapped"}

    return use


Using = Callable[[Wrapped], dict[str, Any]]


class FailsToOpen(Wrapped):
    def open(self, code: bytes, digest: str) -> None:
        del code, digest
        raise RuntimeError("no cluster")


class FailsToSubmit(Wrapped):
    def submit(self, task: Task, folder: Path) -> Future[Finished]:
        if task.name == "two":
            raise ConnectionError("gone")
        return super().submit(task, folder)


class Answers(Wrapped):
    """Gives what `wrong` says for the step two."""

    def __init__(self, wrong: Callable[[Future[Finished]], None]) -> None:
        super().__init__()
        self.wrong = wrong

    def submit(self, task: Task, folder: Path) -> Future[Finished]:
        if task.name != "two":
            return super().submit(task, folder)
        future: Future[Finished] = Future()
        future.set_running_or_notify_cancel()
        self.wrong(future)
        return future


def _finished(answer: bytes, outputs: list[str]) -> Callable[[Future[Finished]], None]:
    finished = Finished(answer, outputs, "/nowhere/log", "full", 0.0, 0, "nowhere")
    return lambda future: future.set_result(finished)


def _cancelled() -> Wrapped:
    class Cancelled(Wrapped):
        def submit(self, task: Task, folder: Path) -> Future[Finished]:
            if task.name != "two":
                return super().submit(task, folder)
            future: Future[Finished] = Future()
            future.cancel()
            future.set_running_or_notify_cancel()
            return future

    return Cancelled()


WRONG: dict[str, tuple[Callable[[], Wrapped], str]] = {
    "opening": (FailsToOpen, "step one could not be run: RuntimeError: no cluster"),
    "submitting": (FailsToSubmit, "step two could not be run: ConnectionError: gone"),
    "an error": (
        lambda: Answers(lambda f: f.set_exception(OSError("node lost"))),
        "step two could not be run: OSError: node lost",
    ),
    "an error of ours": (
        lambda: Answers(lambda f: f.set_exception(Unavailable("node lost", code="executor"))),
        "step two: node lost",
    ),
    "a cancelled future": (_cancelled, "step two could not be run: CancelledError"),
    "no answer": (lambda: Answers(_finished(b"\xc1", [])), "step two could not be run"),
    "an empty answer": (lambda: Answers(_finished(b"", [])), "step two could not be run"),
}


@pytest.mark.parametrize("what", WRONG)
def test_an_executor_that_fails_fails_the_step_by_name(
    place: Place, using: Using, what: str
) -> None:
    make, expected = WRONG[what]
    place.code(CHAIN.format(options=""))
    executor = make()
    failed = place.fails(**using(executor))
    assert expected in failed.problem
    assert failed.ended.error is not None
    assert failed.ended.error.remedy
    assert executor.ended == "ended"
    again = place.ok()
    assert again.states["one"] == ("done" if what == "opening" else "cached")
    assert again.value("four") == 4


def test_a_mistake_of_ours_leaves_nothing_running(
    place: Place, using: Using, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.code(CHAIN.format(options=""))
    executor = Wrapped()

    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(runner.Runner, "_collect", broken)
    with pytest.raises(ZeroDivisionError):
        place.run(**using(executor))
    assert executor.ended == "cancelled"
    assert place.left() == []
    monkeypatch.undo()


class Fails(Wrapped):
    """Fails the first times that a step is given to it."""

    def __init__(self, step: str, times: int) -> None:
        super().__init__()
        self.step = step
        self.times = times

    def submit(self, task: Task, folder: Path) -> Future[Finished]:
        if task.name == self.step and self.times:
            self.times -= 1
            future: Future[Finished] = Future()
            future.set_exception(Unavailable("a node was lost", code="executor"))
            return future
        return super().submit(task, folder)


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without pauses between attempts."""
    monkeypatch.setattr(runner, "_LONGEST_PAUSE", 0.0)


@pytest.mark.usefixtures("hasty")
def test_a_step_is_tried_again_as_often_as_it_says(place: Place, using: Using) -> None:
    place.code(CHAIN.format(options="(retries=2)"))
    told: list[str] = []
    ran = place.ok(progress=told.append, **using(Fails("three", 2)))
    assert ran.task("three").attempts == 3
    assert ran.value("four") == 4
    assert "three: attempt 3" in told
    assert sum("tried again" in text for text in told) == 2


@pytest.mark.usefixtures("hasty")
def test_a_step_is_not_tried_again_more_often(place: Place, using: Using) -> None:
    place.code(CHAIN.format(options="(retries=1)"))
    failed = place.fails(**using(Fails("three", 2)))
    assert failed.task("three").attempts == 2
    assert "step three: a node was lost" in failed.problem
    place.code(CHAIN.format(options=""))
    assert place.fails(**using(Fails("three", 1))).task("three").attempts == 1


@pytest.mark.usefixtures("hasty")
def test_a_step_that_fails_by_chance_succeeds_in_the_end(place: Place) -> None:
    place.code(
        """
        import os

        @step(retries=60)
        def work() -> int:
            if os.urandom(1)[0] % 2:
                raise OSError("by chance")
            return 1

        @pipeline
        def main() -> object:
            return work()
        """
    )
    assert place.ok().value("work") == 1
    assert place.ok().states == {"work": "cached"}


@pytest.mark.usefixtures("hasty")
def test_what_is_wrong_each_time_is_not_tried_again(place: Place) -> None:
    place.code(
        "@step(retries=5)\ndef work() -> int:\n    return 'a'\n"
        "@pipeline\ndef main() -> object:\n    return work()\n"
    )
    assert place.fails().task("work").attempts == 1


# -- side by side ---------------------------------------------------------------------------------

BRANCHES = """
@step
def left() -> int:
    return 1

@step
def right() -> int:
    return 2

@step
def both(a: int, b: int) -> int:
    return a + b

@pipeline
def main() -> object:
    return both(left(), right())
"""


class Meeting(Wrapped):
    """Lets no step begin before two are in flight."""

    def __init__(self) -> None:
        super().__init__(2)
        self.barrier = threading.Barrier(2)

    def submit(self, task: Task, folder: Path) -> Future[Finished]:
        if task.name == "both":
            return super().submit(task, folder)
        future: Future[Finished] = Future()
        future.set_running_or_notify_cancel()

        def run() -> None:
            try:
                self.barrier.wait(30)
                future.set_result(super(Meeting, self).submit(task, folder).result())
            except BaseException as error:
                future.set_exception(error)

        threading.Thread(target=run).start()
        return future


def test_steps_that_do_not_wait_for_each_other_run_side_by_side(place: Place, using: Using) -> None:
    place.code(BRANCHES)
    assert place.ok(**using(Meeting())).value("both") == 3


class Slow(Wrapped):
    """Holds the step left back until it is let go."""

    def __init__(self) -> None:
        super().__init__(2)
        self.go = threading.Event()

    def submit(self, task: Task, folder: Path) -> Future[Finished]:
        inner = super().submit(task, folder)
        if task.name != "left":
            return inner
        future: Future[Finished] = Future()
        future.set_running_or_notify_cancel()

        def run() -> None:
            assert self.go.wait(30)
            future.set_result(inner.result())

        threading.Thread(target=run).start()
        return future


def test_what_runs_beside_a_failing_step_is_kept(place: Place, using: Using) -> None:
    place.code(BRANCHES.replace("return 2", "return 1 // 0"))
    executor = Slow()

    def let_go(text: str) -> None:
        if str(text).startswith("right: failed"):
            executor.go.set()

    failed = place.fails(progress=let_go, **using(executor))
    assert failed.states == {"left": "done", "right": "failed", "both": "skipped"}
    assert "step right failed: ZeroDivisionError" in failed.problem
    assert failed.why("both") == "an earlier step failed"
    again = place.fails()
    assert again.states["left"] == "cached"


def test_determinism_is_checked_of_what_runs_beside_a_failing_step(
    place: Place, using: Using
) -> None:
    place.code(BRANCHES.replace("return 2", "return 1 // 0"))
    executor = Slow()

    def let_go(text: str) -> None:
        if str(text).startswith("right: failed"):
            executor.go.set()

    failed = place.fails(progress=let_go, check_determinism=True, **using(executor))
    assert failed.states["left"] in ("done", "skipped")
    assert "step right failed" in failed.problem


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


# -- any graph ------------------------------------------------------------------------------------

TINY = (
    HEAD
    + """
@step
def source(n: int) -> int:
    return n

@step
def add(a: int, b: int) -> int:
    return 3 * a + b

@step
def both(a: int, b: int) -> tuple[int, list[int]]:
    return a - b, [a, b]

@step
def total(numbers: list[int]) -> int:
    return sum(n * i for i, n in enumerate(numbers, 1))

@step
def twice(n: int, by: int) -> int:
    return n * by

@pipeline
def main():
    {body}
"""
)


@st.composite
def _pipelines(draw: st.DrawFn) -> str:
    """The body of a pipeline of some steps, each of which reads what earlier ones gave."""
    lines: list[str] = []
    known: list[str] = []

    def one() -> str:
        if known and draw(st.integers(0, 3)):
            return draw(st.sampled_from(known))
        return str(draw(st.integers(-3, 3)))

    for number in range(draw(st.integers(1, 6))):
        name = f"v{number}"
        match draw(st.integers(0, 4)):
            case 0:
                lines.append(f"{name} = source({draw(st.integers(-5, 5))})")
            case 1:
                lines.append(f"{name} = add({one()}, b={one()})")
            case 2:
                lines.append(f"{name}, {name}x = both({one()}, {one()})")
                lines.append(f"{name}y = total({name}x)")
                known.append(f"{name}y")
            case 3:
                items = ", ".join(one() for _ in range(draw(st.integers(0, 3))))
                lines.append(f"{name} = total([{items}])")
            case _:
                items = ", ".join(one() for _ in range(draw(st.integers(0, 3))))
                lines.append(f"{name}m = twice.map(n=each([{items}]), by={one()})")
                lines.append(f"{name} = total({name}m)")
        known.append(name)
    lines.append(f"return [{', '.join(known)}]")
    return "\n    ".join(lines)


@settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(_pipelines(), st.integers(1, 3))
def test_any_graph_gives_what_plain_python_gives_in_any_order(
    place: Place, body: str, jobs: int
) -> None:
    text = TINY.format(body=body)
    place.write("p.py", text)
    plain: dict[str, Any] = {"__name__": "p"}
    exec(compile(text, "p.py", "exec"), plain)  # noqa: S102 - it is ours.
    expected = plain["main"].function()
    ran = place.ok(jobs=jobs)
    assert _results(ran) == expected
    again = place.ok(jobs=1)
    assert set(again.states.values()) == {"cached"}
    assert _results(again) == expected
    assert _results(place.ok(jobs=jobs, cache="ignore")) == expected


def _results(ran: Ran) -> list[Any]:
    found: list[Any] = []
    for reference in ran.record.result:
        found.append(ran.value(reference.node, reference.output))
    return found
