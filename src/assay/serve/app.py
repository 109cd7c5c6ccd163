"""The ASGI application of one endpoint.

Raw ASGI on the prediction path: ask who may, read, parse, infer, answer.  Every request but the
liveness probe needs a bearer token, and what the token may do is asked for every request, so a
revocation ends the endpoint at the next one.  A caller without a good token learns that this
process lives, and nothing else: not even which paths exist.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import msgspec

import assay
from assay.errors import AssayError, Denied, NotFound, Unavailable, Usage
from assay.serve import protocol
from assay.serve.protocol import Input, Output
from assay.serve.replies import Headers, Reply, refusal, unauthenticated
from assay.types import check_digest, check_name

Scope: TypeAlias = dict[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[dict[str, Any]]]
Send: TypeAlias = Callable[[dict[str, Any]], Awaitable[None]]
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

PLATFORM = "assay_onnx"
BODY_SECONDS = 10.0
"""For the whole body to arrive."""
MOST_WAITING = 32
"""Permitted requests at once, from their first byte to their answer: bounds what they hold."""
PERMIT_SECONDS = 1.0
"""How old a permit may be when the model is asked; after a slow body it is asked for again."""
_TOKEN = re.compile(rb"[A-Za-z0-9._~+/=-]{1,1024}")
_MEDIA = re.compile(rb"application/json(?:\s*;\s*charset=\"?utf-8\"?)?", re.IGNORECASE)
_LIVE = b"/v2/health/live"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What the application serves, and what it may call."""

    model: str
    version: str
    inputs: list[Input]
    outputs: list[Output]
    permit: Callable[[str], str]
    """Token → actor; raises `Denied`.  Asked for every request, on the thread of the event loop."""
    infer: Callable[[bytes], bytes]
    """A msgpack-encoded mapping of columns → msgpack-encoded list of output tensors."""
    facts: dict[str, Any]
    """Said of the model in its metadata: `digest` (of what is served), isolation, approval."""
    ready: Callable[[], bool] = lambda: True
    """Whether `infer` could answer now."""


class Application:
    """``GET /v2/health/{live,ready}``, ``GET /v2``, ``GET /v2/models/NAME[/versions/V][/ready]``,
    ``POST /v2/models/NAME[/versions/V]/infer``.

    `hosts` are the only values of the Host header to answer to, where given (without a port).
    Raises `Usage` for a name, version or digest that is none.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        hosts: Sequence[str] | None = None,
        body_seconds: float = BODY_SECONDS,
        most_waiting: int = MOST_WAITING,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        check_name(endpoint.model, what="model name")
        check_name(endpoint.version, what="version")
        digest = check_digest(str(endpoint.facts.get("digest", "")))
        self._endpoint = endpoint
        self._hosts = None if hosts is None else {host.lower().encode() for host in hosts}
        self._body_seconds = body_seconds
        self._most_waiting = most_waiting
        self._clock = clock
        self._waiting = 0
        # One confined worker, one request at a time inside it: frames must not interleave.
        self._turn = asyncio.Lock()
        self._parameters: protocol.Parameters = {"digest": digest}
        self._said_of_all = {
            "model_name": endpoint.model,
            "model_version": endpoint.version,
            "parameters": self._parameters,
        }
        self._routes = self._all_routes()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        match scope["type"]:
            case "http":
                reply = await self._reply(scope, receive)
                await send(
                    {
                        "type": "http.response.start",
                        "status": reply.status,
                        "headers": reply.head(),
                    }
                )
                await send({"type": "http.response.body", "body": reply.body})
            case "lifespan":
                await _lifespan(receive, send)
            case "websocket":
                await send({"type": "websocket.close"})
            case other:
                raise NotImplementedError(other)

    # The requests, by exact path: what is not listed does not exist, however it is spelled.

    def _all_routes(self) -> dict[bytes, tuple[str, Callable[[], Reply] | None]]:
        e = self._endpoint
        named = f"/v2/models/{e.model}"
        routes: dict[str, tuple[str, Callable[[], Reply] | None]] = {
            "/v2": ("GET", self._server),
            "/v2/": ("GET", self._server),
            "/v2/health/ready": ("GET", self._ready),
        }
        for base in (named, f"{named}/versions/{e.version}"):
            routes[base] = ("GET", self._metadata)
            routes[f"{base}/ready"] = ("GET", self._model_ready)
            routes[f"{base}/infer"] = ("POST", None)
        return {path.encode(): route for path, route in routes.items()}

    async def _reply(self, scope: Scope, receive: Receive) -> Reply:
        headers: Headers = scope["headers"]
        # Undecoded: an encoded slash or dot is no part of any path here.
        path: bytes = scope.get("raw_path") or scope["path"].encode("utf-8", "surrogatepass")
        method: str = scope["method"]
        said_of_all: dict[str, Any] = {}
        try:
            self._check_host(headers)
            if path == _LIVE:
                _check_method(method, "GET")
                return Reply(200, b'{"live":true}')
            token = _token(headers)
            if token is None:
                return _closing(unauthenticated(given=False), headers)
            if (refused := self._refused(token)) is not None:
                return _closing(refused, headers)
            said_of_all = self._said_of_all
            route = self._routes.get(path)
            if route is None:
                raise NotFound("nothing is served under this path", code="path")
            _check_method(method, route[0])
            if route[1] is not None:
                return route[1]()
            return await self._infer(token, headers, receive)
        except Exception as error:
            return _closing(refusal(error, said_of_all), headers)

    def _server(self) -> Reply:
        told = {"name": "assay", "version": assay.__version__, "extensions": list[str]()}
        return Reply(200, msgspec.json.encode({**told, **self._said_of_all}))

    def _ready(self) -> Reply:
        ready = self._endpoint.ready()
        told = {"live": True, "ready": ready, **self._said_of_all}
        return Reply(200 if ready else 503, msgspec.json.encode(told))

    def _model_ready(self) -> Reply:
        ready = self._endpoint.ready()
        told = {"name": self._endpoint.model, "ready": ready, **self._said_of_all}
        return Reply(200 if ready else 503, msgspec.json.encode(told))

    def _metadata(self) -> Reply:
        e = self._endpoint
        inputs = [
            {"name": i.name, "datatype": i.datatype, "shape": [protocol.OPEN, i.width or 1]}
            for i in e.inputs
        ]
        told: dict[str, Any] = {
            "name": e.model,
            "versions": [e.version],
            "platform": PLATFORM,
            "inputs": inputs,
            "outputs": e.outputs,
            **self._said_of_all,
            "parameters": e.facts,
        }
        return Reply(200, msgspec.json.encode(told))

    async def _infer(self, token: str, headers: Headers, receive: Receive) -> Reply:
        asked = self._clock()
        if self._waiting >= self._most_waiting:
            raise Unavailable("too many requests wait already", code="serve.busy")
        self._waiting += 1
        try:
            body = await _body(headers, receive, self._body_seconds)
            async with self._turn:
                if self._clock() - asked > PERMIT_SECONDS and (again := self._refused(token)):
                    return again
                loop = asyncio.get_running_loop()
                return Reply(200, await loop.run_in_executor(None, self._predict, body))
        finally:
            self._waiting -= 1

    def _predict(self, body: bytes) -> bytes:
        """Off the event loop, which stays free for everybody else."""
        e = self._endpoint
        request = protocol.parse(body)
        columns = protocol.columns(request, e.inputs)
        wanted = protocol.chosen(request, e.outputs)
        rows = len(next(iter(columns.values())))
        answer = e.infer(msgspec.msgpack.encode(columns))
        outputs = protocol.decode_answer(answer, e.outputs, rows)
        return msgspec.json.encode(
            protocol.InferResponse(
                e.model,
                e.version,
                [output for output in outputs if output.name in wanted],
                request.id,
                self._parameters,
            )
        )

    def _refused(self, token: str) -> Reply | None:
        """None when the token's actor may ask; whatever else happens is a refusal."""
        try:
            self._endpoint.permit(token)
        except Denied as error:
            # A caller without a valid token is unauthenticated, not merely forbidden.
            if error.code.startswith("denied.token"):
                return unauthenticated(given=True)
            return refusal(error, {})
        except Exception as error:
            code = error.code.removeprefix("unavailable.") if isinstance(error, Unavailable) else ""
            return refusal(Unavailable("no decision", code=code or "serve.permit"), {})
        return None

    def _check_host(self, headers: Headers) -> None:
        if self._hosts is None:
            return
        named = [value for name, value in headers if name == b"host"]
        # The port, if any, follows the last colon; a colon before a bracket is IPv6's.
        if len(named) != 1 or re.sub(rb":\d*\Z", b"", named[0].lower()) not in self._hosts:
            raise Usage("nothing is served under this host's name", code="host")


def _check_method(method: str, allowed: str) -> None:
    if method != allowed:
        raise NotFound(f"only {allowed} is offered here", code="method", details={"allow": allowed})


def _token(headers: Headers) -> str | None:
    """The bearer token; None when there is none, or more than one thing that might be it."""
    given = [value for name, value in headers if name == b"authorization"]
    if len(given) != 1 or given[0][:7].lower() != b"bearer ":
        return None
    token = given[0][7:].strip(b" ")
    return token.decode("ascii") if _TOKEN.fullmatch(token) else None


def _closing(reply: Reply, headers: Headers) -> Reply:
    """`reply`, and the end of the connection unless what is unread of the body is small."""
    fields = dict(headers)
    length = fields.get(b"content-length", b"0")
    small = length.isdigit() and len(length) <= 5
    if small and b"transfer-encoding" not in fields and reply.status != 408:
        return reply
    return Reply(reply.status, reply.body, [*reply.headers, (b"connection", b"close")])


async def _body(headers: Headers, receive: Receive, seconds: float) -> bytes:
    """The whole body: bounded in size and time, and as long as it was said to be."""
    declared = _declared(headers)
    pieces: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(seconds):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise Usage("the client went away", code="request.disconnect")
                piece: bytes = message.get("body", b"")
                size += len(piece)
                if size > protocol.MAX_BODY:
                    raise _too_large()
                pieces.append(piece)
                if not message.get("more_body"):
                    break
    except TimeoutError as error:
        raise Usage(
            f"the body did not arrive within {seconds:g} seconds",
            remedy="send fewer rows at once",
            code="request.slow",
        ) from error
    if declared is not None and size != declared:
        raise Usage(
            f"the body has {size} bytes, and {declared} were declared", code="request.length"
        )
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _declared(headers: Headers) -> int | None:
    """The declared length of a body of JSON; None for one sent in chunks."""
    lengths: list[bytes] = []
    for name, value in headers:
        if name == b"content-length":
            lengths.append(value)
        elif name == b"content-encoding" or (
            name == b"content-type" and _MEDIA.fullmatch(value.strip()) is None
        ):
            raise Usage(
                "the body is not plain JSON",
                remedy="send Content-Type: application/json, without a content coding",
                code="request.media",
            )
    if not lengths:
        return None
    if len(set(lengths)) != 1 or not lengths[0].isdigit():
        raise Usage("the length of the body is not a number", code="request.length")
    if len(lengths[0]) > 12 or int(lengths[0]) > protocol.MAX_BODY:
        raise _too_large()
    return int(lengths[0])


def _too_large() -> AssayError:
    return Usage(
        f"the body is larger than {protocol.MAX_BODY} bytes",
        remedy="send fewer rows at once",
        code="request.size",
    )


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
