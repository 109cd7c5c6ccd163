"""The ASGI application of one endpoint.

Raw ASGI on the prediction path: parse, ask who may, infer, answer.  Every request but the
liveness probe needs a bearer token, and what the token may do is asked for every request, so a
revocation ends the endpoint at the next one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from assay.errors import AssayError, NotFound, Usage
from assay.serve import protocol

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

PLATFORM = "assay_onnx"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What the application serves, and the two things it may call."""

    model: str
    version: str
    inputs: list[dict[str, Any]]
    outputs: list[dict[str, Any]]
    permit: Callable[[str], str]
    """Token → actor; raises `Denied`.  Asked for every request."""
    infer: Callable[[bytes], bytes]
    """A msgpack-encoded mapping of columns → msgpack-encoded list of output tensors."""
    facts: dict[str, Any]
    """Said of the model in its metadata: digest, isolation level, approval."""


class Application:
    """``GET /v2/health/{live,ready}``, ``GET /v2``, ``GET /v2/models/NAME[/versions/V][/ready]``,
    ``POST /v2/models/NAME[/versions/V]/infer``."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        # One confined worker, one request at a time inside it: frames must not interleave.
        self._turn = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        if scope["type"] != "http":
            return
        try:
            status, answer = await self._answer(scope, receive)
        except AssayError as error:
            status, answer = _status(error), {"error": error.message, **error.as_dict()}
            answer["error"] = f"{error.code}: {error.message}"
        except Exception:
            # What went wrong inside is no caller's business.
            status, answer = 500, {"error": "internal error"}
        await _send(send, status, answer)

    async def _answer(self, scope: Scope, receive: Receive) -> tuple[int, Any]:
        path = [part for part in scope["path"].split("/") if part]
        method = scope["method"]
        if path == ["v2", "health", "live"]:
            return 200, {"live": True}
        self._endpoint.permit(_token(scope))
        if method == "GET" and path == ["v2", "health", "ready"]:
            return 200, {"ready": True}
        if method == "GET" and path == ["v2"]:
            return 200, {"name": "assay", "version": "1", "extensions": []}
        rest = self._model_path(path)
        if method == "GET" and rest == ["ready"]:
            return 200, {"name": self._endpoint.model, "ready": True}
        if method == "GET" and rest == []:
            return 200, self._metadata()
        if method == "POST" and rest == ["infer"]:
            return 200, await self._infer(await _body(scope, receive))
        raise NotFound(f"{method} {scope['path'][:200]} is not offered", code="path")

    def _model_path(self, path: list[str]) -> list[str]:
        """What follows ``/v2/models/NAME[/versions/V]``; raises `NotFound` for other models."""
        served = ["v2", "models", self._endpoint.model]
        if path[:3] != served:
            raise NotFound("no such model here", code="model")
        rest = path[3:]
        if rest[:1] == ["versions"]:
            if rest[1:2] != [self._endpoint.version]:
                raise NotFound("no such version here", code="version")
            rest = rest[2:]
        return rest

    def _metadata(self) -> dict[str, Any]:
        e = self._endpoint
        shape = [{**i, "shape": [-1, i["width"] or 1]} for i in e.inputs]
        for item in shape:
            item.pop("width")
        return {
            "name": e.model,
            "versions": [e.version],
            "platform": PLATFORM,
            "inputs": shape,
            "outputs": e.outputs,
            "parameters": e.facts,
        }

    async def _infer(self, body: bytes) -> protocol.InferResponse:
        request = protocol.parse(body)
        columns = protocol.columns(request, self._endpoint.inputs)
        async with self._turn:
            raw = await asyncio.to_thread(self._endpoint.infer, msgspec.msgpack.encode(columns))
        outputs = msgspec.msgpack.decode(raw, type=list[protocol.Tensor])
        wanted = {output.name for output in request.outputs}
        if unknown := wanted - {output.name for output in outputs}:
            raise Usage(f"no output called {sorted(unknown)[0][:80]!r}", code="request.outputs")
        if wanted:
            outputs = [output for output in outputs if output.name in wanted]
        return protocol.InferResponse(
            self._endpoint.model, self._endpoint.version, outputs, request.id
        )


def _status(error: AssayError) -> int:
    # A caller without a valid token is unauthenticated, not merely forbidden.
    return 401 if error.code.startswith("denied.token") else error.http_status


def _token(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == b"authorization" and value[:7].lower() == b"bearer ":
            return value[7:].decode("latin-1")
    return ""


async def _body(scope: Scope, receive: Receive) -> bytes:
    pieces: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Usage("the client went away", code="request.disconnect")
        piece = message.get("body", b"")
        size += len(piece)
        if size > protocol.MAX_BODY:
            raise Usage(f"the body is larger than {protocol.MAX_BODY} bytes", code="request.size")
        pieces.append(piece)
        if not message.get("more_body"):
            return b"".join(pieces)


async def _send(send: Send, status: int, answer: Any) -> None:
    body = msgspec.json.encode(answer)
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
        (b"x-content-type-options", b"nosniff"),
    ]
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
