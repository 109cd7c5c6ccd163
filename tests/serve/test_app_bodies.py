"""Bodies that lie, dawdle and do not fit, and what fails behind the endpoint."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from assay.errors import Corrupt, Unavailable, Verification
from assay.serve import protocol
from assay.serve.app import Application, Endpoint

INFER = "/v2/models/credit/infer"
TOKEN = "assay_1_secret"
DIGEST = "sha256:" + "ab" * 32
SAID_OF_ALL = {
    "model_name": "credit",
    "model_version": "3",
    "parameters": {"digest": DIGEST},
}


@pytest.fixture
def app(matrix_endpoint: Endpoint) -> Application:
    return Application(matrix_endpoint)


def message(body: bytes, *, more: bool = False) -> dict[str, Any]:
    return {"type": "http.request", "body": body, "more_body": more}


# Bodies.


def test_a_body_in_pieces_is_put_together(ask: Any, app: Application, good: bytes) -> None:
    pieces = [message(good[at : at + 1], more=True) for at in range(len(good))]
    assert ask(app, "POST", INFER, [*pieces, message(b"")]).status == 200


def test_a_body_that_is_too_large_is_not_read(ask: Any, app: Application) -> None:
    for length in (protocol.MAX_BODY + 1, 10**30):
        declared = [(b"content-length", b"%d" % length)]
        answer = ask(app, "POST", INFER, [], headers=declared)  # Would wait for ever for a byte.
        assert answer.status == 413
        assert answer.json["code"] == "usage.request.size"
        assert answer.headers["connection"] == "close"


def test_a_body_without_a_length_is_cut_off_where_it_is_too_large(
    ask: Any, app: Application
) -> None:
    piece = b" " * (1 << 20)
    endless = [message(piece, more=True) for _ in range((protocol.MAX_BODY >> 20) + 1)]
    headers = [(b"transfer-encoding", b"chunked")]
    answer = ask(app, "POST", INFER, endless, headers=headers)
    assert answer.status == 413
    assert answer.headers["connection"] == "close"


def test_a_body_that_does_not_arrive_is_given_up(ask: Any, matrix_endpoint: Endpoint) -> None:
    app = Application(matrix_endpoint, body_seconds=0.01)
    answer = ask(app, "POST", INFER, [message(b"{", more=True)])
    assert answer.status == 408
    assert answer.json["code"] == "usage.request.slow"
    assert answer.headers["connection"] == "close"


@pytest.mark.parametrize("lie", [-1, 1])
def test_a_length_that_is_not_the_bodys_is_refused(
    ask: Any, app: Application, good: bytes, lie: int
) -> None:
    declared = [(b"content-length", b"%d" % (len(good) + lie))]
    answer = ask(app, "POST", INFER, good, headers=declared)
    assert answer.status == 400
    assert answer.json["code"] == "usage.request.length"


@pytest.mark.parametrize("values", [[b"x"], [b"-1"], [b""], [b"+5"], [b"5", b"6"], ["²".encode()]])
def test_a_length_that_is_no_number_is_refused(
    ask: Any, app: Application, good: bytes, values: list[bytes]
) -> None:
    headers = [(b"content-length", value) for value in values]
    assert ask(app, "POST", INFER, good, headers=headers).json["code"] == "usage.request.length"


@pytest.mark.parametrize(
    ("name", "value", "status"),
    [
        (b"content-type", b"application/json", 200),
        (b"content-type", b'Application/JSON; charset="UTF-8"', 200),
        (b"content-type", b"application/octet-stream", 415),
        (b"content-type", b"application/x-www-form-urlencoded", 415),
        (b"content-type", b"application/json; charset=utf-16", 415),
        (b"content-encoding", b"gzip", 415),
    ],
)
def test_only_plain_json_is_read(
    ask: Any, app: Application, good: bytes, name: bytes, value: bytes, status: int
) -> None:
    assert ask(app, "POST", INFER, good, headers=[(name, value)]).status == status


def test_a_client_that_goes_away_ends_its_request(ask: Any, app: Application) -> None:
    gone = [message(b"{", more=True), {"type": "http.disconnect"}]
    assert ask(app, "POST", INFER, gone).json["code"] == "usage.request.disconnect"


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[" * 50_000, b'{"inputs": [NaN]}', b"\xff", b'{"inputs": []}', b"null"],
)
def test_a_mistake_is_told_in_the_form_of_the_protocol(
    ask: Any, app: Application, body: bytes
) -> None:
    answer = ask(app, "POST", INFER, body)
    assert answer.status == 400
    assert answer.headers["content-type"] == "application/json"
    assert isinstance(answer.json["error"], str)
    assert answer.json["code"].startswith("usage.request")
    assert {key: answer.json[key] for key in SAID_OF_ALL} == SAID_OF_ALL


# What goes wrong behind.


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (Unavailable("crashed in /srv/assay", code="isolation.crashed"), 503, None),
        (Verification("/srv/onnxruntime/core.cc failed", code="onnx.run"), 422, None),
        (Corrupt("/srv/assay"), 500, None),
        (ValueError("/srv/assay"), 500, "internal"),
        (RecursionError("/srv/assay"), 500, "internal"),
    ],
)
def test_what_fails_behind_the_endpoint_is_told_without_its_words(
    ask: Any,
    matrix_endpoint: Endpoint,
    good: bytes,
    error: Exception,
    status: int,
    code: str | None,
) -> None:
    def infer(_: bytes) -> bytes:
        raise error

    answer = ask(Application(replace(matrix_endpoint, infer=infer)), "POST", INFER, good)
    assert answer.status == status
    assert answer.json["code"] == (code or getattr(error, "code", ""))
    assert b"/srv" not in answer.body
    assert b"Traceback" not in answer.body
    assert ("retry-after" in answer.headers) is (status == 503)


def test_a_mistake_that_the_model_finds_is_told(
    ask: Any, app: Application, request_of: Callable[..., bytes]
) -> None:
    answer = ask(app, "POST", INFER, request_of(x0=[None], x1=[1.0], x2=[1.0]))
    assert answer.status == 400
    assert answer.json["code"] == "usage.input.missing"
    assert "'x0'" in answer.json["error"]


@pytest.mark.parametrize("raw", [b"", b"\x90", b"\xff" * 50])
def test_a_worker_that_answers_nonsense_is_not_passed_on(
    ask: Any, matrix_endpoint: Endpoint, good: bytes, raw: bytes
) -> None:
    answer = ask(Application(replace(matrix_endpoint, infer=lambda _: raw)), "POST", INFER, good)
    assert answer.status == 422
    assert answer.json["code"].startswith("verification.answer")


def test_more_requests_than_may_wait_are_sent_away(matrix_endpoint: Endpoint, good: bytes) -> None:
    app = Application(matrix_endpoint, most_waiting=2)
    scope = {
        "type": "http",
        "method": "POST",
        "path": INFER,
        "headers": [(b"authorization", b"Bearer " + TOKEN.encode())],
    }

    async def play() -> list[int]:
        statuses: list[int] = []
        go = asyncio.Event()

        async def one() -> None:
            async def receive() -> dict[str, Any]:
                await go.wait()
                return message(good)

            async def send(sent: dict[str, Any]) -> None:
                if sent["type"] == "http.response.start":
                    statuses.append(sent["status"])
                    go.set()

            await app(scope, receive, send)

        await asyncio.gather(*(one() for _ in range(3)))
        await one()
        return statuses

    assert asyncio.run(play()) == [503, 200, 200, 200]


def test_requests_take_turns_at_the_worker(matrix_endpoint: Endpoint, good: bytes) -> None:
    inside: list[int] = []

    def infer(request: bytes) -> bytes:
        inside.append(1)
        assert len(inside) == 1
        answer = matrix_endpoint.infer(request)
        inside.pop()
        return answer

    app = Application(replace(matrix_endpoint, infer=infer))

    async def play() -> set[int]:
        statuses: set[int] = set()

        async def receive() -> dict[str, Any]:
            return message(good)

        async def send(sent: dict[str, Any]) -> None:
            statuses.add(sent.get("status", 200))

        scope = {
            "type": "http",
            "method": "POST",
            "path": INFER,
            "headers": [(b"authorization", b"Bearer " + TOKEN.encode())],
        }
        await asyncio.gather(*(app(scope, receive, send) for _ in range(20)))
        return statuses

    assert asyncio.run(play()) == {200}
