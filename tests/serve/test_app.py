"""The application itself, asked in this process by hostile and by honest callers."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.errors import Corrupt, Denied, Unavailable, Usage
from assay.serve.app import PERMIT_SECONDS, Application, Endpoint

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


# What the protocol offers.


def test_liveness_is_everybodys(ask: Any, app: Application) -> None:
    answer = ask(app, "GET", "/v2/health/live", token=None)
    assert (answer.status, answer.json) == (200, {"live": True})


@pytest.mark.parametrize("path", ["/v2/models/credit", "/v2/models/credit/versions/3"])
def test_metadata_names_what_the_model_takes_and_gives(
    ask: Any, columns_endpoint: Endpoint, path: str
) -> None:
    answer = ask(Application(columns_endpoint), "GET", path)
    assert answer.json == {
        "name": "credit",
        "versions": ["3"],
        "platform": "assay_onnx",
        "inputs": [
            {"name": "age", "datatype": "FP32", "shape": [-1, 1]},
            {"name": "city", "datatype": "BYTES", "shape": [-1, 1]},
        ],
        "outputs": [
            {"name": "label", "datatype": "BYTES", "shape": [-1]},
            {
                "name": "probabilities",
                "datatype": "FP32",
                "shape": [-1, 2],
                "classes": ["no", "yes"],
            },
        ],
        "model_name": "credit",
        "model_version": "3",
        "parameters": {"digest": DIGEST, "isolation": "none", "approved_by": 2},
    }


@pytest.mark.parametrize("path", ["/v2", "/v2/"])
def test_the_server_names_itself(ask: Any, app: Application, path: str) -> None:
    told = ask(app, "GET", path).json
    assert told["name"] == "assay"
    assert told["extensions"] == []
    assert told["parameters"]["digest"] == DIGEST


@pytest.mark.parametrize(
    "path",
    ["/v2/health/ready", "/v2/models/credit/ready", "/v2/models/credit/versions/3/ready"],
)
def test_readiness_follows_the_worker(ask: Any, matrix_endpoint: Endpoint, path: str) -> None:
    for ready, status in ((True, 200), (False, 503)):
        endpoint = replace(matrix_endpoint, ready=lambda ready=ready: ready)
        answer = ask(Application(endpoint), "GET", path)
        assert answer.status == status
        assert answer.json["ready"] is ready


@pytest.mark.parametrize("path", [INFER, "/v2/models/credit/versions/3/infer"])
def test_a_prediction_names_model_version_and_digest(
    ask: Any, app: Application, good: bytes, path: str
) -> None:
    told = json.loads(good)
    told["id"] = "request 7"
    answer = ask(app, "POST", path, json.dumps(told).encode())
    assert answer.status == 200
    heard = answer.json
    assert uuid.UUID(heard["parameters"].pop("prediction_id")).version == 7
    assert {key: heard[key] for key in SAID_OF_ALL} == SAID_OF_ALL
    assert heard["id"] == "request 7"
    label, probabilities = heard["outputs"]
    assert label == {"name": "label", "shape": [2], "datatype": "INT64", "data": [1, 0]}
    assert probabilities["shape"] == [2, 2]
    assert answer.headers["cache-control"] == "no-store"
    assert int(answer.headers["content-length"]) == len(answer.body)


def test_only_the_outputs_asked_for_are_given(ask: Any, app: Application, good: bytes) -> None:
    told = json.loads(good)
    told["outputs"] = [{"name": "probabilities"}]
    answer = ask(app, "POST", INFER, json.dumps(told).encode())
    assert [output["name"] for output in answer.json["outputs"]] == ["probabilities"]


def test_strings_are_asked_and_answered(
    ask: Any, columns_endpoint: Endpoint, request_of: Callable[..., bytes]
) -> None:
    body = request_of(age=[40, None], city=["Bern", "Genève"])
    answer = ask(Application(columns_endpoint), "POST", INFER, body)
    assert answer.json["outputs"][0]["data"] == ["yes", "no"]


# Who may.

PATHS = [
    "/",
    "/v2",
    "/v2/health/ready",
    "/v2/health/live/",
    "/v2/health/../health/live",
    "//v2/health/live",
    "/v2/models",
    "/v2/models/credit",
    "/v2/models/other",
    INFER,
]


@pytest.mark.parametrize("method", ["GET", "POST", "HEAD", "OPTIONS", "DELETE"])
def test_without_a_token_every_path_looks_the_same(ask: Any, app: Application, method: str) -> None:
    answers = [ask(app, method, path, token=None) for path in PATHS]
    assert {answer.status for answer in answers} == {401}
    assert len({answer.body for answer in answers}) == 1
    assert answers[0].headers["www-authenticate"] == 'Bearer realm="assay"'
    assert set(answers[0].json) == {"error", "code"}


@pytest.mark.parametrize("code", ["token", "token_expired", "token_project"])
def test_every_token_that_is_not_good_is_answered_alike(
    ask: Any, matrix_endpoint: Endpoint, code: str
) -> None:
    def permit(token: str) -> str:
        raise Denied(f"the token {token} is for project secret", code=code)

    answer = ask(Application(replace(matrix_endpoint, permit=permit)), "GET", "/v2")
    assert answer.status == 401
    assert answer.json == {"error": "a valid bearer token is needed", "code": "denied.token"}
    assert answer.headers["www-authenticate"] == 'Bearer realm="assay", error="invalid_token"'


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [(b"authorization", b"")],
        [(b"authorization", b"Bearer ")],
        [(b"authorization", b"Bearer")],
        [(b"authorization", b"Basic YTpi")],
        [(b"authorization", b"Bearer a b")],
        [(b"authorization", b"Bearer \xff")],
        [(b"authorization", b"Bearer " + b"x" * 1025)],
        [(b"authorization", b"Bearer " + TOKEN.encode())] * 2,
        [(b"authorization", b"Bearer " + TOKEN.encode() + b", Basic YTpi")],
        [(b"x-authorization", b"Bearer " + TOKEN.encode())],
    ],
)
def test_a_permit_is_never_asked_about_what_is_no_token(
    ask: Any, matrix_endpoint: Endpoint, headers: list[tuple[bytes, bytes]]
) -> None:
    def permit(token: str) -> str:
        raise AssertionError(token)

    app = Application(replace(matrix_endpoint, permit=permit))
    assert ask(app, "GET", "/v2", token=None, headers=headers).status == 401


def test_a_denial_names_every_gate_and_its_advice(ask: Any, matrix_endpoint: Endpoint) -> None:
    reasons = [
        {"gate": "approved", "advice": "two people approve", "remedy": "assay approve credit@3"},
        {"gate": "fresh", "advice": "assess again", "remedy": "", "internal": "/srv/assay"},
        "not a reason",
    ]

    def permit(_: str) -> str:
        raise Denied("see /srv/assay", code="predict", details={"reasons": reasons})

    answer = ask(Application(replace(matrix_endpoint, permit=permit)), "GET", "/v2/models/other")
    assert answer.status == 403
    assert answer.json["code"] == "denied.predict"
    assert answer.json["error"] == "approved: two people approve; fresh: assess again"
    assert [reason["gate"] for reason in answer.json["reasons"]] == ["approved", "fresh"]
    assert b"/srv" not in answer.body
    assert DIGEST.encode() not in answer.body
    assert "www-authenticate" not in answer.headers


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Unavailable("no ledger at /srv/assay", code="lock"), "unavailable.lock"),
        (Usage("/srv/assay is no workspace"), "unavailable.serve.permit"),
        (Corrupt("/srv/assay/ledger"), "unavailable.serve.permit"),
        (ValueError("/srv/assay"), "unavailable.serve.permit"),
    ],
)
def test_no_decision_is_no_permit(
    ask: Any, matrix_endpoint: Endpoint, good: bytes, error: Exception, code: str
) -> None:
    def permit(_: str) -> str:
        raise error

    def infer(_: bytes) -> bytes:
        raise AssertionError

    app = Application(replace(matrix_endpoint, permit=permit, infer=infer))
    answer = ask(app, "POST", INFER, good)
    assert answer.status == 503
    assert answer.json["code"] == code
    assert b"/srv" not in answer.body
    assert DIGEST.encode() not in answer.body


def test_a_revocation_ends_the_next_request(
    ask: Any, matrix_endpoint: Endpoint, good: bytes
) -> None:
    revoked: list[str] = []

    def permit(token: str) -> str:
        if token in revoked:
            raise Denied("revoked", code="token_expired")
        return "alice"

    app = Application(replace(matrix_endpoint, permit=permit))
    assert ask(app, "POST", INFER, good).status == 200
    revoked.append(TOKEN)
    assert ask(app, "POST", INFER, good).status == 401


def test_a_revocation_while_the_body_dawdles_is_noticed(
    ask: Any, matrix_endpoint: Endpoint, good: bytes
) -> None:
    times = [0.0, PERMIT_SECONDS + 0.1]
    asked: list[str] = []

    def permit(token: str) -> str:
        asked.append(token)
        if len(asked) > 1:
            raise Denied("revoked", code="token_expired")
        return "alice"

    def infer(_: bytes) -> bytes:
        raise AssertionError

    endpoint = replace(matrix_endpoint, permit=permit, infer=infer)
    app = Application(endpoint, clock=lambda: times.pop(0))
    assert ask(app, "POST", INFER, good).status == 401
    assert len(asked) == 2


# Paths and methods.


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/v2/models",
        "/v2/models/",
        "/v2/models/credit/",
        "/v2/models/Credit",
        "/v2/models/credit/versions",
        "/v2/models/credit/versions/4",
        "/v2/models/credit/versions/3/versions/3",
        "/v2/models/other/infer",
        "/v2/models/../models/credit",
        "/v2/models/%63redit",
        "/v2/models/credit%2Finfer",
        "/v2/models/credit%00",
        "/v2/models/credit/infer/..",
        "/v2/models//credit",
        "/v2/models/credit/feedback",
        "/v2/repository/index",
        "/metrics/",
        "http://localhost/v2",
        "*",
        b"/v2/\xff",
        "/" + "v2/" * 5000,
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_paths_that_are_not_offered_do_not_exist(
    ask: Any, app: Application, method: str, path: str | bytes
) -> None:
    answer = ask(app, method, path)
    assert answer.status == 404
    assert answer.json == {
        "error": "nothing is served under this path",
        "code": "not_found.path",
        **SAID_OF_ALL,
    }


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        (INFER, "POST"),
        ("/v2", "GET"),
        ("/v2/health/live", "GET"),
        ("/v2/health/ready", "GET"),
        ("/v2/models/credit", "GET"),
        ("/metrics", "GET"),
    ],
)
def test_other_methods_are_refused_and_the_right_one_named(
    ask: Any, app: Application, path: str, allowed: str
) -> None:
    for method in {"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "get", ""} - {
        allowed
    }:
        answer = ask(app, method, path)
        assert answer.status == 405
        assert answer.headers["allow"] == allowed
        assert answer.json["code"] == "not_found.method"


def test_other_hosts_are_refused_where_hosts_are_named(ask: Any, matrix_endpoint: Endpoint) -> None:
    app = Application(matrix_endpoint, hosts=["localhost", "127.0.0.1", "[::1]"])

    def status(*hosts: bytes) -> int:
        headers = [(b"host", host) for host in hosts]
        return ask(app, "GET", "/v2/health/live", token=None, headers=headers).status

    assert {status(h) for h in (b"localhost", b"LOCALHOST:80", b"127.0.0.1:1", b"[::1]:8")} == {200}
    wrong = [(), (b"evil.example",), (b"localhost.evil.example",), (b"localhost", b"localhost")]
    assert {status(*hosts) for hosts in [*wrong, (b"",), (b":80",)]} == {421}


@settings(max_examples=100, deadline=None)
@given(
    method=st.sampled_from(["GET", "POST", "HEAD", "X"]),
    path=st.sampled_from([p.encode() for p in PATHS]) | st.binary(max_size=30),
    body=st.binary(max_size=60),
    headers=st.lists(
        st.tuples(
            st.sampled_from([b"authorization", b"content-length", b"content-type", b"host"]),
            st.binary(max_size=30),
        ),
        max_size=4,
    ),
    token=st.none() | st.just(TOKEN) | st.binary(max_size=20),
)
def test_no_request_is_answered_with_a_failure_or_without_a_token(
    ask: Any,
    matrix_endpoint: Endpoint,
    method: str,
    path: bytes,
    body: bytes,
    headers: list[tuple[bytes, bytes]],
    token: str | bytes | None,
) -> None:
    app = Application(matrix_endpoint)
    answer = ask(app, method, path, body, headers=headers, token=token)
    assert answer.status < 500
    if token != TOKEN and path != b"/v2/health/live":
        assert answer.status == 401


# The application's own start.


@pytest.mark.parametrize(
    "changes",
    [
        {"model": "../secret"},
        {"model": "a/b"},
        {"version": "3/ready"},
        {"version": ""},
        {"facts": {}},
        {"facts": {"digest": "sha256:short"}},
    ],
)
def test_an_endpoint_that_cannot_be_named_is_refused(
    matrix_endpoint: Endpoint, changes: dict[str, Any]
) -> None:
    with pytest.raises(Usage):
        Application(replace(matrix_endpoint, **changes))


def test_a_websocket_is_closed_and_anything_else_is_not_understood(app: Application) -> None:
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    asyncio.run(app({"type": "websocket"}, receive, send))
    assert sent == [{"type": "websocket.close"}]
    with pytest.raises(NotImplementedError):
        asyncio.run(app({"type": "telegraph"}, receive, send))
