"""An endpoint follows the version that is wanted, and keeps the old one when the new one fails."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import httpx
import pytest

from assay.errors import Conflict, Denied, NotFound, Unavailable, Usage
from assay.isolation.worker import Worker
from assay.serve.app import Application, Endpoint
from assay.serve.following import FIRST_SECONDS, MOST_SECONDS, Follower
from assay.serve.host import Host

INFER = "/v2/models/credit/infer"
TOKEN = "assay_1_secret"
HEADERS = {"Authorization": f"Bearer {TOKEN}"}


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class World:
    """What is deployed and wanted, and what a follower does about it."""

    def __init__(self, base: Endpoint, make: Callable[[World, str], Candidate] | None = None):
        self.base = base
        self.deployed = self.wanted = "1"
        self.revoked: set[str] = set()
        self.fails: dict[str, Exception] = {}
        """The step at which the new version fails: prepare, deploy or wanted."""
        self.log: list[str] = []
        self.said: list[str] = []
        self.clock = Clock()
        self.make = make or Candidate
        first = self.make(self, "1")
        self.app = Application(first.endpoint)
        self.follower: Follower[Candidate] = Follower(
            self.app,
            first,
            wanted=self.look,
            prepare=self.prepare,
            say=self.said.append,
            clock=self.clock,
        )

    def look(self) -> str:
        self.fail("wanted")
        return self.wanted

    def prepare(self, version: str) -> Candidate:
        self.log.append(f"prepare {version}")
        self.fail("prepare")
        return self.make(self, version)

    def fail(self, step: str) -> None:
        if step in self.fails:
            raise self.fails[step]

    def permit(self, version: str) -> Callable[[str], str]:
        def permit(_: str) -> str:
            if self.deployed != version:
                raise NotFound("another is deployed", code="endpoint.version")
            if version in self.revoked:
                raise Denied("revoked", code="query")
            return "alice"

        return permit


class Candidate:
    def __init__(self, world: World, version: str) -> None:
        self.world = world
        self.endpoint = replace(world.base, version=version, permit=world.permit(version))

    def deploy(self) -> None:
        self.world.fail("deploy")
        self.world.deployed = self.endpoint.version
        self.world.log.append(f"deploy {self.endpoint.version}")

    def close(self) -> None:
        self.world.log.append(f"close {self.endpoint.version}")


@pytest.fixture
def world(matrix_endpoint: Endpoint) -> World:
    return World(matrix_endpoint)


def version(ask: Any, world: World, good: bytes) -> Any:
    answer = ask(world.app, "POST", INFER, good)
    return answer.json["model_version"] if answer.status == 200 else answer.status


def test_nothing_happens_while_nothing_else_is_wanted(world: World) -> None:
    for _ in range(3):
        world.follower.step()
    assert world.log == world.said == []


def test_the_new_version_is_ready_before_it_is_deployed_and_the_old_one_ends_last(
    ask: Any, world: World, good: bytes
) -> None:
    world.wanted = "2"
    world.follower.step()
    assert world.log == ["prepare 2", "deploy 2", "close 1"]
    assert version(ask, world, good) == "2"
    assert world.said == ["version 2 answers now, and 1 no more"]
    world.follower.close()
    assert world.log[-1] == "close 2"


def test_it_follows_back(ask: Any, world: World, good: bytes) -> None:
    for wanted in ("2", "1", "3"):
        world.wanted = wanted
        world.follower.step()
        assert version(ask, world, good) == wanted
    assert world.log[-1] == "close 1"


@pytest.mark.parametrize(
    ("step", "error"),
    [
        ("prepare", Denied("deploy credit@2 is denied", code="deploy")),
        ("prepare", Unavailable("the model's process ended", code="isolation.died")),
        ("prepare", Usage("the model cannot be run", code="model.unservable")),
        ("prepare", ValueError("a mistake of ours")),
        ("deploy", Denied("deploy credit@2 is denied", code="deploy")),
        ("deploy", Conflict("model:fraud/credit changed meanwhile", code="revision")),
        ("deploy", Unavailable("the ledger cannot be written", code="ledger")),
    ],
)
def test_a_version_that_cannot_take_over_leaves_the_old_one_answering(
    ask: Any, world: World, good: bytes, step: str, error: Exception
) -> None:
    world.wanted = "2"
    world.fails[step] = error
    world.follower.step()
    assert version(ask, world, good) == "1"
    assert "close 1" not in world.log
    assert ("close 2" in world.log) is (step == "deploy")
    (said,) = world.said
    assert said.startswith("version 2 does not take over, and 1 goes on: ")
    # It is tried again, not at once and less and less often, and said once.
    waits: list[float] = []
    for _ in range(1000):
        before = len(world.log)
        world.clock.now += 1.0
        world.follower.step()
        if len(world.log) > before:
            waits.append(world.clock.now)
    gaps = [b - a for a, b in pairwise([0.0, *waits])]
    assert gaps[0] == FIRST_SECONDS
    assert all(b == min(2 * a, MOST_SECONDS) for a, b in pairwise(gaps))
    assert len(world.said) == 1
    # And when what stood in the way is gone, it takes over.
    world.fails.clear()
    world.clock.now += MOST_SECONDS
    world.follower.step()
    assert version(ask, world, good) == "2"


def test_another_version_is_tried_without_the_wait_of_the_one_that_failed(world: World) -> None:
    world.fails["prepare"] = Denied("no", code="deploy")
    world.wanted = "2"
    world.follower.step()
    world.wanted = "3"
    world.fails.clear()
    world.follower.step()
    assert world.deployed == "3"


def test_the_old_version_answers_only_as_far_as_it_still_may(
    ask: Any, world: World, good: bytes
) -> None:
    world.fails["prepare"] = Unavailable("it cannot start")
    world.wanted = "2"
    world.revoked.add("1")
    world.follower.step()
    assert version(ask, world, good) == 403


def test_what_is_wanted_cannot_be_read_and_the_old_one_goes_on(
    ask: Any, world: World, good: bytes
) -> None:
    world.wanted = "2"
    world.fails["wanted"] = Unavailable("the ledger cannot be read")
    for _ in range(3):
        world.follower.step()
    assert version(ask, world, good) == "1"
    assert world.said == ["cannot look for a change, and 1 goes on: the ledger cannot be read"]
    world.fails.clear()
    world.follower.step()
    assert version(ask, world, good) == "2"


@pytest.mark.parametrize("changes", [{"model": "other"}, {"facts": {}}])
def test_what_could_not_be_served_is_never_put_on_record(
    ask: Any, matrix_endpoint: Endpoint, good: bytes, changes: dict[str, Any]
) -> None:
    def make(world: World, version: str) -> Candidate:
        made = Candidate(world, version)
        if version == "2":
            made.endpoint = replace(made.endpoint, **changes)
        return made

    world = World(matrix_endpoint, make)
    world.wanted = "2"
    world.follower.step()
    assert world.deployed == "1"
    assert world.log == ["prepare 2", "close 2"]
    assert version(ask, world, good) == "1"


def test_who_asks_while_another_server_was_faster_waits_for_this_one(
    serving: Any, matrix_endpoint: Endpoint, good: bytes
) -> None:
    """Two servers of one endpoint follow one alias, and the other has put the new version on record
    while this one still starts it."""
    answers: list[httpx.Response] = []
    refused = threading.Event()

    class Told(Candidate):
        def __init__(self, world: World, version: str) -> None:
            super().__init__(world, version)
            asked = self.endpoint.permit

            def permit(token: str) -> str:
                try:
                    return asked(token)
                except NotFound:
                    refused.set()
                    raise

            self.endpoint = replace(self.endpoint, permit=permit)

    def make(world: World, version: str) -> Candidate:
        if version == "2":
            world.deployed = "2"
            threads[0].start()
            assert refused.wait(30)
        return Told(world, version)

    world = World(matrix_endpoint, make)
    with (
        serving(world.app) as url,
        httpx.Client(base_url=url, headers=HEADERS, timeout=30, trust_env=False) as http,
    ):
        threads = [threading.Thread(target=lambda: answers.append(http.post(INFER, content=good)))]
        world.wanted = "2"
        world.follower.step()
        threads[0].join(30)
    assert answers[0].json()["model_version"] == "2"


# With real processes and real callers.


class Hosted(Candidate):
    """A version in a confined process of its own."""

    def __init__(self, world: World, version: str, model: bytes) -> None:
        self.world = world
        self.host = Host(model)
        self.host.warm()
        self.endpoint = self.host.endpoint("credit", version, permit=world.permit(version))

    def close(self) -> None:
        super().close()
        self.host.close()


def hosted(model: bytes, made: list[Hosted]) -> Callable[[World, str], Candidate]:
    def make(world: World, version: str) -> Candidate:
        made.append(Hosted(world, version, model))
        return made[-1]

    return make


def end(host: Host) -> None:
    """kill -9, and wait until it is dead."""
    pid = host.pid
    assert pid is not None
    os.killpg(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)


@pytest.mark.slow
@pytest.mark.parametrize("killed", [False, True])
def test_real_callers_see_no_failure_while_processes_change(
    serving: Any, matrix_endpoint: Endpoint, matrix_model: bytes, good: bytes, killed: bool
) -> None:
    """Also where the new process is killed after it was ready and before it answers."""
    made: list[Hosted] = []
    world = World(matrix_endpoint, hosted(matrix_model, made))
    heard: list[httpx.Response] = []
    done = threading.Event()

    def caller() -> None:
        with httpx.Client(base_url=url, headers=HEADERS, timeout=60, trust_env=False) as http:
            while not done.is_set():
                heard.append(http.post(INFER, content=good))

    if killed:
        deploy = Hosted.deploy

        def deploy_dead(self: Hosted) -> None:
            end(self.host)
            deploy(self)

        world.make = lambda world, version: _dying(world, version, matrix_model, made, deploy_dead)
    with serving(world.app) as url:
        threads = [threading.Thread(target=caller) for _ in range(3)]
        for thread in threads:
            thread.start()
        try:
            for wanted in ("2", "3"):
                world.wanted = wanted
                world.follower.step()
                seen = len(heard)
                while len(heard) < seen + 10:
                    pass
        finally:
            done.set()
            for thread in threads:
                thread.join(60)
            world.follower.close()
    assert {answer.status_code for answer in heard} == {200}
    assert {answer.json()["model_version"] for answer in heard} == {"1", "2", "3"}
    assert all(host.host.pid is None or not _alive(host.host.pid) for host in made)


def _dying(world: World, version: str, model: bytes, made: list[Hosted], deploy: Any) -> Candidate:
    candidate = Hosted(world, version, model)
    candidate.deploy = lambda: deploy(candidate)  # type: ignore[method-assign]
    made.append(candidate)
    return candidate


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.slow
def test_the_old_process_killed_while_the_new_one_starts_is_replaced_meanwhile(
    serving: Any, matrix_endpoint: Endpoint, matrix_model: bytes, good: bytes
) -> None:
    made: list[Hosted] = []
    world = World(matrix_endpoint, hosted(matrix_model, made))
    with (
        serving(world.app) as url,
        httpx.Client(base_url=url, headers=HEADERS, timeout=60, trust_env=False) as http,
    ):
        start = world.make

        def make(world: World, version: str) -> Candidate:
            end(made[0].host)
            answer = http.post(INFER, content=good)
            assert answer.status_code == 200
            assert answer.json()["model_version"] == "1"
            return start(world, version)

        world.make = make
        world.wanted = "2"
        world.follower.step()
        assert http.post(INFER, content=good).json()["model_version"] == "2"
        world.follower.close()


def test_a_model_that_does_not_survive_its_first_answer_is_not_warm(
    matrix_model: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Host(matrix_model) as host:
        call = Worker.call

        def dies(self: Worker, request: bytes) -> bytes:
            end(host)
            return call(self, request)

        monkeypatch.setattr(Worker, "call", dies)
        with pytest.raises(Unavailable):
            host.warm()
        monkeypatch.undo()
        assert host.restarts == 0
        host.warm()
        assert host.restarts == 1


def test_a_model_that_answers_noughts_with_an_error_is_warm_all_the_same(
    columns_host: Host,
) -> None:
    columns_host.warm()
    assert columns_host.ready
