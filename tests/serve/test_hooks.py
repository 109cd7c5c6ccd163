"""What an endpoint hands on: each prediction before it is told, extra inputs, feedback."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from assay.errors import Conflict, Denied, Unavailable, Usage
from assay.serve.app import Answered, Application, Endpoint
from assay.serve.protocol import MAX_BODY, Input

INFER = "/v2/models/credit/infer"
FEEDBACK = "/v2/models/credit/feedback"
TOKEN = "assay_1_secret"
DIGEST = "sha256:" + "ab" * 32
EXTRAS = [Input("customer", "BYTES"), Input("branch", "FP32")]

RequestOf = Callable[..., bytes]


def test_each_prediction_is_recorded_before_it_is_told(
    ask: Any, columns_endpoint: Endpoint, request_of: RequestOf
) -> None:
    seen: list[Answered] = []
    app = Application(replace(columns_endpoint, record=seen.append))
    told = json.loads(request_of(age=[40, None], city=["Bern", "Genève"]))
    told["outputs"] = [{"name": "label"}]
    answer = ask(app, "POST", INFER, json.dumps(told).encode())
    (made,) = seen
    assert made.id == answer.json["parameters"]["prediction_id"]
    assert made.actor == "alice"
    assert made.columns["city"] == ["Bern", "Genève"]
    assert made.columns["age"][0] == 40.0
    assert math.isnan(made.columns["age"][1])
    assert made.extras == {}
    assert [output.name for output in made.outputs] == ["label", "probabilities"]
    assert made.outputs[0].data == answer.json["outputs"][0]["data"]


def test_no_two_predictions_share_an_id(ask: Any, matrix_endpoint: Endpoint, good: bytes) -> None:
    app = Application(matrix_endpoint)
    named = [ask(app, "POST", INFER, good).json["parameters"]["prediction_id"] for _ in range(20)]
    assert len(set(named)) == 20
    assert named == sorted(named)


@pytest.mark.parametrize(
    "error",
    [Unavailable("disk full", code="files"), Usage("/srv/assay"), OSError(28, "/srv"), Denied("x")],
)
def test_a_prediction_that_cannot_be_recorded_is_not_given(
    ask: Any, matrix_endpoint: Endpoint, good: bytes, error: Exception
) -> None:
    def record(_: Answered) -> None:
        raise error

    app = Application(replace(matrix_endpoint, record=record))
    answer = ask(app, "POST", INFER, good)
    assert answer.status == 503
    assert answer.json["code"] == "unavailable.serve.log"
    assert "outputs" not in answer.json
    assert b"/srv" not in answer.body
    assert "prediction_id" not in answer.json["parameters"]


def test_what_the_model_failed_on_is_not_recorded(
    ask: Any, matrix_endpoint: Endpoint, good: bytes
) -> None:
    def record(_: Answered) -> None:
        raise AssertionError

    def infer(_: bytes) -> bytes:
        return b"\x90"

    app = Application(replace(matrix_endpoint, record=record, infer=infer))
    assert ask(app, "POST", INFER, good).json["code"] == "verification.answer.outputs"
    assert ask(app, "POST", INFER, b"{}").status == 400


# Extra inputs.


def test_an_extra_input_is_recorded_and_never_reaches_the_model(
    ask: Any, matrix_endpoint: Endpoint, request_of: RequestOf
) -> None:
    seen: list[Answered] = []
    app = Application(replace(matrix_endpoint, record=seen.append, extras=EXTRAS))
    body = request_of(x0=[2.0, -2.0], x1=[0, 0], x2=[0, 0], customer=["c1", None], branch=[7, None])
    answer = ask(app, "POST", INFER, body)
    assert answer.json["outputs"][0]["data"] == [1, 0]
    (made,) = seen
    assert made.columns.keys() == {"x0", "x1", "x2"}
    assert made.extras["customer"] == ["c1", None]
    assert made.extras["branch"][0] == 7.0


def test_an_extra_input_may_be_left_out(ask: Any, matrix_endpoint: Endpoint, good: bytes) -> None:
    seen: list[Answered] = []
    app = Application(replace(matrix_endpoint, record=seen.append, extras=EXTRAS))
    assert ask(app, "POST", INFER, good).status == 200
    assert seen[0].extras == {}


def test_metadata_says_which_inputs_are_optional(ask: Any, matrix_endpoint: Endpoint) -> None:
    inputs = ask(
        Application(replace(matrix_endpoint, extras=EXTRAS)), "GET", "/v2/models/credit"
    ).json["inputs"]
    assert {given["name"]: given.get("optional", False) for given in inputs} == {
        "x0": False,
        "x1": False,
        "x2": False,
        "customer": True,
        "branch": True,
    }


@pytest.mark.parametrize(
    ("columns", "code"),
    [
        ({"customer": ["c1"]}, "usage.request.rows"),
        ({"customer": [1.0, 2.0]}, "usage.request.datatype"),
        ({"branch": ["a", "b"]}, "usage.request.datatype"),
        ({"other": [1.0, 2.0]}, "usage.request.inputs"),
    ],
)
def test_an_extra_input_is_read_as_strictly_as_any(
    ask: Any,
    matrix_endpoint: Endpoint,
    request_of: RequestOf,
    columns: dict[str, Sequence[Any]],
    code: str,
) -> None:
    app = Application(replace(matrix_endpoint, extras=EXTRAS))
    body = request_of(x0=[2.0, -2.0], x1=[0, 0], x2=[0, 0], **columns)
    assert ask(app, "POST", INFER, body).json["code"] == code


def test_extras_do_not_stand_in_for_inputs(
    ask: Any, matrix_endpoint: Endpoint, request_of: RequestOf
) -> None:
    app = Application(replace(matrix_endpoint, extras=EXTRAS))
    answer = ask(app, "POST", INFER, request_of(customer=["a"]))
    assert answer.json["code"] == "usage.request.inputs"


def test_an_extra_that_the_model_takes_is_refused(matrix_endpoint: Endpoint) -> None:
    with pytest.raises(Usage, match="twice"):
        Application(replace(matrix_endpoint, extras=[Input("x0", "FP32")]))


# Feedback.


def taking(endpoint: Endpoint, **changes: Any) -> Application:
    def feedback(token: str, body: bytes) -> dict[str, Any]:
        return {"actor": token, "labels": len(json.loads(body)["labels"])}

    return Application(replace(endpoint, **{"feedback": feedback, **changes}))


def test_feedback_is_handed_on_with_its_token(ask: Any, matrix_endpoint: Endpoint) -> None:
    body = json.dumps({"labels": [{"id": "x/0", "label": 1}]}).encode()
    answer = ask(taking(matrix_endpoint), "POST", FEEDBACK, body)
    assert answer.status == 200
    assert answer.json["labels"] == 1
    assert answer.json["actor"] == TOKEN
    assert answer.json["model_version"] == "3"


def test_without_a_taker_there_is_no_feedback(ask: Any, matrix_endpoint: Endpoint) -> None:
    answer = ask(Application(matrix_endpoint), "POST", FEEDBACK, b"{}")
    assert answer.json["code"] == "not_found.path"


def test_who_gives_feedback_is_asked_before_a_byte_of_the_body_is_read(
    ask: Any, matrix_endpoint: Endpoint
) -> None:
    def refuse(_: str) -> str:
        raise Denied("no", code="giveFeedback", details={"reasons": []})

    def unknown(_: str) -> str:
        raise Denied("no", code="token")

    def feedback(_token: str, _body: bytes) -> dict[str, Any]:
        raise AssertionError

    # A body that would be refused for its type, its size and its end tells a stranger nothing.
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"99999999999")]
    for permit, status in ((refuse, 403), (unknown, 401)):
        app = taking(matrix_endpoint, feedback=feedback, feedback_permit=permit)
        assert ask(app, "POST", FEEDBACK, [], headers=headers).status == status
    assert ask(app, "POST", FEEDBACK, [], headers=headers, token=None).status == 401
    assert ask(taking(matrix_endpoint), "POST", FEEDBACK, headers=headers).status == 415


def test_who_may_only_give_feedback_gets_no_prediction_and_the_other_way_round(
    ask: Any, matrix_endpoint: Endpoint, good: bytes
) -> None:
    def nobody(_: str) -> str:
        raise Denied("no", code="query")

    body = b'{"labels":[]}'
    giver = taking(matrix_endpoint, permit=nobody, feedback_permit=lambda _: "pipeline")
    assert ask(giver, "POST", FEEDBACK, body).status == 200
    assert ask(giver, "POST", INFER, good).status == 403
    asker = taking(matrix_endpoint, feedback_permit=nobody)
    assert ask(asker, "POST", FEEDBACK, body).status == 403
    assert ask(asker, "POST", INFER, good).status == 200


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (Usage("row 3 has no id", code="feedback.row"), 400, "usage.feedback.row"),
        (Denied("expired", code="token_expired"), 401, "denied.token"),
        (Denied("capped", code="giveFeedback"), 403, "denied.giveFeedback"),
        (Unavailable("/srv full", code="spool"), 503, "unavailable.spool"),
        (Conflict("/srv"), 409, "conflict"),
        (ValueError("/srv"), 500, "internal"),
    ],
)
def test_what_the_taker_of_feedback_says_is_told(
    ask: Any, matrix_endpoint: Endpoint, error: Exception, status: int, code: str
) -> None:
    def feedback(_token: str, _body: bytes) -> dict[str, Any]:
        raise error

    answer = ask(taking(matrix_endpoint, feedback=feedback), "POST", FEEDBACK, b"{}")
    assert (answer.status, answer.json["code"]) == (status, code)
    assert b"/srv" not in answer.body


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([(b"content-type", b"text/csv")], 415),
        ([(b"content-length", str(MAX_BODY + 1).encode())], 413),
        ([(b"content-length", b"3")], 400),
    ],
)
def test_feedback_is_bounded_as_requests_are(
    ask: Any, matrix_endpoint: Endpoint, headers: list[tuple[bytes, bytes]], status: int
) -> None:
    assert ask(taking(matrix_endpoint), "POST", FEEDBACK, b"{}", headers=headers).status == status


def test_feedback_does_not_wait_for_the_model(
    serving: Any, matrix_endpoint: Endpoint, good: bytes
) -> None:
    import httpx

    inside, go_on = threading.Event(), threading.Event()

    def infer(request: bytes) -> bytes:
        inside.set()
        assert go_on.wait(30)
        return matrix_endpoint.infer(request)

    statuses: list[int] = []
    with (
        serving(taking(matrix_endpoint, infer=infer)) as url,
        httpx.Client(
            base_url=url, headers={"Authorization": f"Bearer {TOKEN}"}, trust_env=False, timeout=30
        ) as http,
    ):
        thread = threading.Thread(
            target=lambda: statuses.append(http.post(INFER, content=good).status_code)
        )
        thread.start()
        try:
            assert inside.wait(30)
            assert http.post(FEEDBACK, content=b'{"labels":[]}').status_code == 200
        finally:
            go_on.set()
            thread.join(30)
    assert statuses == [200]
