"""A long-lived confined process."""

from __future__ import annotations

import os
import signal
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.errors import Denied, Unavailable, Verification
from assay.isolation import worker as worker_module
from assay.isolation.limits import MIB, Limits
from assay.isolation.probe import probe
from assay.isolation.worker import Worker

SMALL = Limits(memory_bytes=512 * MIB, cpu_seconds=5, wall_seconds=20, answer_bytes=4 * MIB)


def test_a_worker_keeps_its_state_between_calls() -> None:
    with Worker.start("confined_targets:factory", b"a", limits=SMALL) as worker:
        assert worker.level == probe().level
        assert worker.call(b"x") == b"a:1:x"
        assert worker.call(b"") == b"a:2:"
        assert worker.alive
    assert not worker.alive


@settings(max_examples=1, deadline=None)
@given(st.lists(st.binary(max_size=200_000), min_size=20, max_size=20))
def test_answers_belong_to_their_requests(requests: list[bytes]) -> None:
    with Worker.start("confined_targets:factory", b"", limits=SMALL) as worker:
        for number, request in enumerate(requests, start=1):
            assert worker.call(request) == b":%d:%s" % (number, request)


def test_an_error_leaves_the_worker_alive() -> None:
    with Worker.start("confined_targets:factory", b"", limits=SMALL) as worker:
        with pytest.raises(Verification, match="told to"):
            worker.call(b"raise")
        assert worker.call(b"x") == b":2:x"


def test_a_crash_is_a_clean_error_and_the_worker_stays_ended() -> None:
    worker = Worker.start("confined_targets:factory", b"", limits=SMALL)
    with pytest.raises(Unavailable) as caught:
        worker.call(b"crash")
    assert caught.value.code == "unavailable.isolation.crashed"
    assert "SIGSEGV" in caught.value.message
    assert not worker.alive
    with pytest.raises(Unavailable) as caught:
        worker.call(b"x")
    assert caught.value.code == "unavailable.isolation.closed"
    worker.close()


def test_a_worker_that_hangs_is_killed() -> None:
    worker = Worker.start("confined_targets:factory", b"", limits=replace(SMALL, wall_seconds=1))
    with pytest.raises(Unavailable) as caught:
        worker.call(b"hang")
    assert caught.value.code == "unavailable.isolation.timeout"
    assert not worker.alive
    with pytest.raises(ProcessLookupError):
        os.kill(worker.pid, 0)


def test_a_worker_killed_from_outside_is_seen_to_be_dead() -> None:
    worker = Worker.start("confined_targets:factory", b"", limits=SMALL)
    os.killpg(worker.pid, signal.SIGKILL)
    os.waitid(os.P_PID, worker.pid, os.WEXITED | os.WNOWAIT)
    assert not worker.alive
    with pytest.raises(Unavailable) as caught:
        worker.call(b"x")
    assert caught.value.code == "unavailable.isolation.crashed"


def test_a_factory_that_fails_leaves_nothing_behind() -> None:
    before = children()
    with pytest.raises(Verification, match="no model"):
        Worker.start("confined_targets:failing_factory", b"no model", limits=SMALL)
    assert children() <= before


def children() -> set[str]:
    """The processes that any thread of this one has started and not collected."""
    tasks = Path("/proc/self/task").glob("*/children")
    return {pid for task in tasks for pid in task.read_text().split()}


def test_closing_ends_a_call_in_another_thread() -> None:
    worker = Worker.start("confined_targets:factory", b"", limits=SMALL)
    errors: list[BaseException] = []
    started = threading.Event()

    def call() -> None:
        started.set()
        try:
            worker.call(b"hang")
        except Unavailable as error:
            errors.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    started.wait()
    worker.close()
    thread.join(10)
    assert not thread.is_alive()
    assert len(errors) == 1
    worker.close()


def test_threads_that_share_a_worker_take_turns() -> None:
    answers: list[bytes] = []
    with Worker.start("confined_targets:factory", b"", limits=SMALL) as worker:

        def many(name: bytes) -> None:
            for _ in range(50):
                answer = worker.call(name)
                assert answer.endswith(b":" + name)
                answers.append(answer.split(b":")[1])

        threads = [threading.Thread(target=many, args=(name,)) for name in (b"a", b"b", b"c")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(answers, key=int) == [str(number).encode() for number in range(1, 151)]


def test_a_worker_survives_the_thread_that_started_it() -> None:
    workers: list[Worker] = []
    thread = threading.Thread(
        target=lambda: workers.append(Worker.start("confined_targets:factory", b"", limits=SMALL))
    )
    thread.start()
    thread.join()
    with workers[0] as worker:
        assert worker.call(b"x") == b":1:x"


def test_a_worker_is_denied_below_the_level_required(monkeypatch: pytest.MonkeyPatch) -> None:
    weak = replace(probe(), seccomp=False, landlock_abi=0)
    monkeypatch.setattr(worker_module, "probe", lambda: weak)
    with pytest.raises(Denied) as caught:
        Worker.start("confined_targets:factory", b"", limits=SMALL, require="process")
    assert caught.value.details["reached"] == "limits"
