"""Another version takes over while callers ask: nobody is refused, everybody knows who answered."""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

import httpx
import pytest

from assay.errors import Denied, NotFound, Usage
from assay.serve.app import (
    CHANGE_SECONDS,
    NOTICE_SECONDS,
    PERMIT_SECONDS,
    Answered,
    Application,
    Endpoint,
)
from assay.serve.endpoint import Serving

INFER = "/v2/models/credit/infer"
TOKEN = "assay_1_secret"
CALLERS = 4


class Record:
    """Which version is on record as the one that answers, as policy would know it."""

    def __init__(self, version: str) -> None:
        self.version = version
        self.revoked: set[str] = set()

    def endpoint(self, base: Endpoint, version: str, **changes: Any) -> Endpoint:
        def permit(_: str) -> str:
            if self.version != version:
                raise NotFound("another is deployed", code="endpoint.version")
            if version in self.revoked:
                raise Denied("revoked", code="query")
            return "alice"

        facts = {**base.facts, "digest": "sha256:" + version * 64}
        return replace(base, version=version, permit=permit, facts=facts, **changes)


def change(app: Application, record: Record, endpoint: Endpoint) -> None:
    with app.changing():
        record.version = endpoint.version
        assert app.swap(endpoint)


@contextmanager
def callers(url: str, body: bytes) -> Generator[tuple[list[httpx.Response], threading.Barrier]]:
    """Threads that ask without a pause until the block ends; what they heard, and a barrier that
    passes once each of them has asked again."""
    heard: list[httpx.Response] = []
    done = threading.Event()
    asked = threading.Barrier(CALLERS + 1)

    def caller() -> None:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        with httpx.Client(base_url=url, headers=headers, timeout=30, trust_env=False) as http:
            while not done.is_set():
                heard.append(http.post(INFER, content=body))
                if asked.n_waiting and not done.is_set():
                    with suppress(threading.BrokenBarrierError):
                        asked.wait(30)

    threads = [threading.Thread(target=caller) for _ in range(CALLERS)]
    for thread in threads:
        thread.start()
    try:
        yield heard, asked
    finally:
        done.set()
        asked.abort()
        for thread in threads:
            thread.join(30)


def test_no_request_fails_while_versions_change(
    serving: Any, matrix_endpoint: Endpoint, good: bytes
) -> None:
    record = Record("1")
    logged: list[tuple[str, Answered]] = []

    def made(version: str) -> Endpoint:
        return record.endpoint(
            matrix_endpoint, version, record=lambda answered: logged.append((version, answered))
        )

    app = Application(made("1"))
    with serving(app) as url, callers(url, good) as (heard, asked):
        for version in ("2", "3", "2", "1", "4"):
            asked.wait(30)
            change(app, record, made(version))
        asked.wait(30)
    assert {answer.status_code for answer in heard} == {200}
    told = [answer.json() for answer in heard]
    assert {answer["model_version"] for answer in told} >= {"1", "4"}
    # Each answer names the version that gave it, and that one recorded it, once.
    versions = {answered.id: version for version, answered in logged}
    assert len(versions) == len(logged) == len(told)
    for answer in told:
        assert versions[answer["parameters"]["prediction_id"]] == answer["model_version"]
        assert answer["parameters"]["digest"] == "sha256:" + answer["model_version"] * 64
    assert app.endpoint.version == "4"


def test_what_has_begun_ends_where_it_began_and_only_then_the_swap_is_over(
    serving: Any, matrix_endpoint: Endpoint, good: bytes
) -> None:
    record = Record("1")
    inside, go_on, swapped = threading.Event(), threading.Event(), threading.Event()
    closed: list[str] = []

    def slow(request: bytes) -> bytes:
        inside.set()
        assert go_on.wait(30)
        assert not closed
        return matrix_endpoint.infer(request)

    app = Application(record.endpoint(matrix_endpoint, "1", infer=slow))
    statuses: dict[str, httpx.Response] = {}
    headers = {"Authorization": f"Bearer {TOKEN}"}

    def replace_it() -> None:
        change(app, record, record.endpoint(matrix_endpoint, "2"))
        closed.append("1")
        swapped.set()

    with (
        serving(app) as url,
        httpx.Client(base_url=url, headers=headers, timeout=30, trust_env=False) as http,
    ):
        first = threading.Thread(
            target=lambda: statuses.update(first=http.post(INFER, content=good))
        )
        first.start()
        assert inside.wait(30)
        second = threading.Thread(target=replace_it)
        second.start()
        try:
            # Whoever comes now is answered by the new version at once: no turn is shared.
            while app.endpoint.version != "2":
                pass
            answer = http.post(INFER, content=good)
            assert answer.json()["model_version"] == "2"
            assert not swapped.is_set()
        finally:
            go_on.set()
            first.join(30)
            second.join(30)
    assert statuses["first"].json()["model_version"] == "1"
    assert swapped.is_set()


def test_nobody_is_inside_a_version_that_has_emptied(matrix_endpoint: Endpoint) -> None:
    """However threads interleave: who entered has left, and who comes later is sent on."""
    for _ in range(50):
        version = Serving(matrix_endpoint)
        inside: list[bool] = []
        late: list[bool] = []
        begin = threading.Barrier(5)

        def visitor(
            version: Serving = version,
            inside: list[bool] = inside,
            late: list[bool] = late,
            begin: threading.Barrier = begin,
        ) -> None:
            begin.wait(30)
            while version.enter():
                inside.append(True)
                late.append(version.emptied(0))
                inside.pop()
                version.leave()

        threads = [threading.Thread(target=visitor) for _ in range(4)]
        for thread in threads:
            thread.start()
        begin.wait(30)
        version.retire()
        assert version.emptied(30)
        assert not inside
        for thread in threads:
            thread.join(30)
        assert not any(late)
        assert not version.enter()


def test_a_swap_does_not_wait_for_ever(matrix_endpoint: Endpoint) -> None:
    app = Application(matrix_endpoint)
    held = app._enter()  # pyright: ignore[reportPrivateUsage]
    assert app.swap(replace(matrix_endpoint, version="4"), seconds=0.0) is False
    held.leave()
    assert app.endpoint.version == "4"


def test_a_request_between_record_and_swap_waits_for_the_swap(
    serving: Any, matrix_endpoint: Endpoint, good: bytes
) -> None:
    record = Record("1")
    refused = threading.Event()
    first = record.endpoint(matrix_endpoint, "1")

    def permit(token: str) -> str:
        try:
            return first.permit(token)
        except NotFound:
            refused.set()
            raise

    app = Application(replace(first, permit=permit))
    answers: list[httpx.Response] = []
    headers = {"Authorization": f"Bearer {TOKEN}"}
    with (
        serving(app) as url,
        httpx.Client(base_url=url, headers=headers, timeout=30, trust_env=False) as http,
    ):
        thread = threading.Thread(target=lambda: answers.append(http.post(INFER, content=good)))
        with app.changing():
            record.version = "2"
            thread.start()
            assert refused.wait(30)
            assert app.swap(record.endpoint(matrix_endpoint, "2"))
        thread.join(30)
    assert answers[0].json()["model_version"] == "2"


class Ticking:
    """A clock on which a second passes whenever it is looked at."""

    now = 0.0

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


def test_a_version_that_others_deployed_is_waited_for_a_moment_and_no_longer(
    ask: Any, matrix_endpoint: Endpoint, good: bytes
) -> None:
    record = Record("1")
    clock = Ticking()
    app = Application(record.endpoint(matrix_endpoint, "1"), clock=clock)
    record.version = "2"
    assert ask(app, "POST", INFER, good).status == 503
    waited = clock.now
    assert waited <= NOTICE_SECONDS + 2
    with app.changing():  # One that came to nothing.
        pass
    assert ask(app, "POST", INFER, good).status == 503
    assert clock.now <= waited + 2  # Nobody waits anew.


def test_a_change_that_hangs_is_not_waited_for_longer_than_was_said(
    ask: Any, matrix_endpoint: Endpoint, good: bytes
) -> None:
    record = Record("1")
    clock = Ticking()
    app = Application(record.endpoint(matrix_endpoint, "1"), clock=clock)
    record.version = "2"
    with app.changing():
        answer = ask(app, "POST", INFER, good)
    assert (answer.status, answer.json["code"]) == (503, "unavailable.serve.permit")
    assert NOTICE_SECONDS < clock.now <= CHANGE_SECONDS + 2


def test_the_new_version_is_asked_for_its_own_permit(
    ask: Any, matrix_endpoint: Endpoint, good: bytes
) -> None:
    record = Record("1")
    app = Application(record.endpoint(matrix_endpoint, "1"))
    record.revoked.add("2")
    change(app, record, record.endpoint(matrix_endpoint, "2"))
    answer = ask(app, "POST", INFER, good)
    assert (answer.status, answer.json["code"]) == (403, "denied.query")


def test_a_slow_request_moves_to_the_version_that_is_to_answer_when_its_permit_is_old(
    ask: Any, matrix_endpoint: Endpoint, good: bytes
) -> None:
    """Its body came while versions changed: the old one may not answer it any more."""
    record = Record("1")
    looks: list[float] = []
    swaps: list[threading.Thread] = []

    def clock() -> float:
        looks.append(0.0)
        if len(looks) == 2:  # The body is there, and now it is this request's turn.
            new = record.endpoint(matrix_endpoint, "2")
            record.version = "2"
            swaps.append(threading.Thread(target=app.swap, args=(new,)))
            swaps[0].start()
            while app.endpoint.version != "2":
                pass
        return len(looks) * (PERMIT_SECONDS + 0.1) if len(looks) < 4 else 0.0

    app = Application(record.endpoint(matrix_endpoint, "1"), clock=clock)
    answer = ask(app, "POST", INFER, good)
    swaps[0].join(30)
    assert answer.status == 200
    assert answer.json["model_version"] == "2"


def test_the_path_of_a_replaced_version_is_gone(
    ask: Any, matrix_endpoint: Endpoint, good: bytes
) -> None:
    record = Record("1")
    app = Application(record.endpoint(matrix_endpoint, "1"))
    change(app, record, record.endpoint(matrix_endpoint, "2"))
    assert ask(app, "POST", "/v2/models/credit/versions/1/infer", good).status == 404
    assert ask(app, "POST", "/v2/models/credit/versions/2/infer", good).status == 200


def test_counts_outlive_the_versions(ask: Any, matrix_endpoint: Endpoint, good: bytes) -> None:
    record = Record("1")
    app = Application(record.endpoint(matrix_endpoint, "1", restarts=lambda: 3))
    ask(app, "POST", INFER, good)
    change(app, record, record.endpoint(matrix_endpoint, "2", restarts=lambda: 1))
    ask(app, "POST", INFER, good)
    lines = ask(app, "GET", "/metrics").body.decode().splitlines()
    named = '{model="credit"'
    assert f'assay_endpoint_requests_total{named},route="infer",status="200"}} 2' in lines
    assert f"assay_endpoint_worker_restarts_total{named}}} 4" in lines
    assert f"assay_endpoint_swaps_total{named}}} 1" in lines
    assert any('version="2"' in line for line in lines)
    assert not any('version="1"' in line for line in lines)


@pytest.mark.parametrize(
    "changes", [{"model": "other"}, {"version": "../2"}, {"facts": {"digest": "none"}}]
)
def test_what_cannot_be_served_takes_over_nothing(
    ask: Any, matrix_endpoint: Endpoint, good: bytes, changes: dict[str, Any]
) -> None:
    app = Application(matrix_endpoint)
    with pytest.raises(Usage):
        app.swap(replace(matrix_endpoint, **changes))
    assert ask(app, "POST", INFER, good).status == 200
    assert app.endpoint == matrix_endpoint
