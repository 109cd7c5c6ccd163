"""A model behind a confined worker, asked over HTTP."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import httpx
import pytest

from assay.errors import Denied
from assay.serve.app import Application, Endpoint
from assay.serve.host import LIMITS, Host

TOKEN = "assay_1_secret"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
INFER = "/v2/models/credit/infer"


def permit(token: str) -> str:
    if token != TOKEN:
        raise Denied("the token is not known here", code="token")
    return "alice"


def client(url: str) -> httpx.Client:
    return httpx.Client(base_url=url, headers=BEARER, timeout=30, trust_env=False)


@pytest.fixture(scope="module")
def url(serving: Any, matrix_host: Host) -> Iterator[str]:
    with serving(Application(matrix_host.endpoint("credit", "3", permit=permit))) as found:
        yield found


def test_a_model_of_numbers_answers(url: str, matrix_host: Host, good: bytes) -> None:
    with client(url) as http:
        assert http.get("/v2/health/live").json() == {"live": True}
        assert http.get("/v2/health/ready").json()["ready"] is True
        metadata = http.get("/v2/models/credit").json()
        assert [given["name"] for given in metadata["inputs"]] == ["x0", "x1", "x2"]
        assert metadata["parameters"] == {
            "digest": matrix_host.digest,
            "isolation": matrix_host.level,
        }
        for _ in range(3):
            answer = http.post(INFER, content=good)
            assert answer.status_code == 200
            assert answer.json()["outputs"][0]["data"] == [1, 0]
            assert answer.json()["parameters"]["digest"] == matrix_host.digest
            assert "server" not in answer.headers


def test_a_model_of_columns_answers(
    serving: Any, columns_host: Host, request_of: Callable[..., bytes]
) -> None:
    app = Application(columns_host.endpoint("churn", "7", permit=permit))
    with serving(app) as found, client(found) as http:
        body = request_of(age=[40, None], city=["Bern", "Genève"])
        answer = http.post("/v2/models/churn/versions/7/infer", content=body)
        assert answer.json()["outputs"][0] == {
            "name": "label",
            "shape": [2],
            "datatype": "BYTES",
            "data": ["yes", "no"],
        }
        assert answer.json()["outputs"][1]["shape"] == [2, 2]


def test_a_worker_killed_between_requests_is_replaced(
    url: str, matrix_host: Host, good: bytes
) -> None:
    with client(url) as http:
        assert http.post(INFER, content=good).status_code == 200
        before = matrix_host.pid
        assert before is not None
        os.killpg(before, signal.SIGKILL)
        os.waitid(os.P_PID, before, os.WEXITED | os.WNOWAIT)
        answer = http.post(INFER, content=good)
        assert answer.status_code == 200
        assert answer.json()["outputs"][0]["data"] == [1, 0]
        assert matrix_host.pid not in (None, before)


def test_a_worker_that_hangs_costs_one_request_its_answer(
    serving: Any, counting_model: bytes, request_of: Callable[..., bytes]
) -> None:
    with Host(counting_model, limits=replace(LIMITS, wall_seconds=2.0)) as host:
        app = Application(host.endpoint("credit", "3", permit=permit))
        with serving(app) as found, client(found) as http:
            answer = http.post(INFER, content=request_of(x=[1e15]))
            assert answer.status_code == 503
            assert answer.json()["code"] == "unavailable.isolation.timeout"
            assert answer.headers["retry-after"] == "1"
            answer = http.post(INFER, content=request_of(x=[2.0]))
            assert answer.json()["outputs"][0]["data"] == [2.0]


def test_a_revoked_token_is_refused_at_the_next_request(
    serving: Any, matrix_endpoint: Endpoint, good: bytes
) -> None:
    revoked = threading.Event()

    def asked(token: str) -> str:
        if revoked.is_set():
            raise Denied("revoked", code="token_expired")
        return permit(token)

    app = Application(replace(matrix_endpoint, permit=asked))
    with serving(app) as found, client(found) as http:
        assert http.post(INFER, content=good).status_code == 200
        revoked.set()
        assert http.post(INFER, content=good).status_code == 401


def test_many_callers_are_answered_each_with_their_own(
    url: str, request_of: Callable[..., bytes]
) -> None:
    wrong: list[Any] = []

    def caller(number: int) -> None:
        asked, expected = ([2.0, -2.0], [1, 0]) if number % 2 else ([-2.0, 2.0], [0, 1])
        with client(url) as http:
            for turn in range(10):
                told = json.loads(request_of(x0=asked, x1=[0, 0], x2=[0, 0]))
                told["id"] = f"{number}.{turn}"
                answer = http.post(INFER, json=told).json()
                if (answer["id"], answer["outputs"][0]["data"]) != (told["id"], expected):
                    wrong.append(answer)

    threads = [threading.Thread(target=caller, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
