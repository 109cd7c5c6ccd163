"""Executors that fail, steps that are tried again, and steps side by side."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from assay.actions import runs
from assay.errors import Unavailable
from assay.pipeline import runner
from assay.pipeline.executors import LocalExecutor
from assay.plugins import Finished, Task

from .running import CHAIN, Place

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


@pytest.mark.slow
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
