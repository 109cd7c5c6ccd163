"""The ASGI application of one endpoint.

Raw ASGI on the prediction path: ask who may, read, parse, infer, record, answer.  Every request but
the liveness probe needs a bearer token, and what the token may do is asked for every request, so a
revocation ends the endpoint at the next one.  A caller without a good token learns that this
process lives, and nothing else: not even which paths exist.

Another version can take over while requests come in (`Application.swap`): each request is permitted
for the version that answers it, begins and ends at one of the two, and none fails.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import msgspec

import assay
from assay.errors import Denied, NotFound, Unavailable, Usage
from assay.serve import metrics, protocol
from assay.serve.endpoint import NOT_LOGGED, SUPERSEDED, Answered, Endpoint, Serving
from assay.serve.replies import Headers, Reply, refusal, unauthenticated
from assay.serve.requests import Receive, bearer, check_host, check_method, leaves_little, read_body

__all__ = ["Answered", "Application", "Endpoint"]

Scope: TypeAlias = dict[str, Any]
Send: TypeAlias = Callable[[dict[str, Any]], Awaitable[None]]
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

PLATFORM = "assay_onnx"
BODY_SECONDS = 10.0
"""For the whole body to arrive."""
MOST_WAITING = 32
"""Permitted requests at once, from their first byte to their answer: bounds what they hold."""
PERMIT_SECONDS = 1.0
"""How old a permit may be when the model is asked; after a slow body it is asked for again."""
CHANGE_SECONDS = 10.0
"""How long a request waits for a version that is about to take over."""
NOTICE_SECONDS = 3.0
"""How long one waits for that where nothing is being changed here: whoever deployed another version
may be another server of the same endpoint, which this one is about to follow."""
_LOOK_SECONDS = 0.005
DRAIN_SECONDS = 60.0
"""How long `Application.swap` waits for what had begun."""
_LIVE = b"/v2/health/live"


@dataclass(slots=True)
class _Asked:
    """One request on its way: whose it is, and where it is answered."""

    serving: Serving
    path: bytes
    token: str = ""
    actor: str = ""
    permitted: float = 0.0
    counted: str = "none"


class _Refused(Exception):
    """What a caller who is not permitted is told."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.status)
        self.reply = reply


class Application:
    """``GET /v2/health/{live,ready}``, ``GET /v2``, ``GET /v2/models/NAME[/versions/V][/ready]``,
    ``POST /v2/models/NAME[/versions/V]/infer``, ``GET /metrics``, and
    ``POST /v2/models/NAME/feedback`` where the endpoint takes any.

    `hosts` are the only values of the Host header to answer to, where given (without a port).
    Raises `Usage` for a name, version, digest or extra input that is none.
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
        self._serving = Serving(endpoint)
        self._hosts = None if hosts is None else {host.lower().encode() for host in hosts}
        self._body_seconds = body_seconds
        self._most_waiting = most_waiting
        self._clock = clock
        self._waiting = 0
        self._changing = 0
        self._feeding = asyncio.Lock()
        self._metrics = metrics.Metrics()

    @property
    def endpoint(self) -> Endpoint:
        """What answers now."""
        return self._serving.endpoint

    # Another version.

    @contextlib.contextmanager
    def changing(self) -> Generator[None]:
        """While it lasts, a request whose permit says that another version is to answer waits for
        `swap`, `CHANGE_SECONDS` at most, instead of being refused.  To be held around all that
        leads to one.  From one thread at a time."""
        self._changing += 1
        try:
            yield
        finally:
            self._changing -= 1

    def swap(self, endpoint: Endpoint, *, seconds: float = DRAIN_SECONDS) -> bool:
        """Let `endpoint` answer every request that comes from now on, and wait for those that had
        begun at the one before; False when they take longer than `seconds`.

        From any thread but the event loop's, one at a time.  Raises `Usage` for another model's
        endpoint, and what `Application` does.
        """
        before = self._serving
        self._serving = self.check(endpoint)
        self._metrics.swaps += 1
        before.retire()
        return before.emptied(seconds)

    def check(self, endpoint: Endpoint) -> Serving:
        """Raise what `swap` would, and change nothing."""
        now = self._serving
        if endpoint.model != now.endpoint.model:
            raise Usage(
                f"{now.endpoint.model} is answered here, and {endpoint.model} cannot take over",
                code="serve.model",
            )
        return Serving(endpoint, restarts=now.restarts)

    def _enter(self) -> Serving:
        while not (serving := self._serving).enter():
            pass  # Replaced since the look: the next one finds what replaced it.
        return serving

    # ASGI.

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

    async def _reply(self, scope: Scope, receive: Receive) -> Reply:
        headers: Headers = scope["headers"]
        # Undecoded: an encoded slash or dot is no part of any path here.
        path: bytes = scope.get("raw_path") or scope["path"].encode("utf-8", "surrogatepass")
        asked = _Asked(self._enter(), path)
        try:
            reply = await self._routed(asked, scope["method"], headers, receive)
        except _Refused as refused:
            reply = refused.reply
        except Exception as error:
            reply = refusal(error, asked.serving.said_of_all if asked.actor else {})
        finally:
            asked.serving.leave()
        self._metrics.requests[asked.counted, reply.status] += 1
        return _closing(reply, headers) if reply.status >= 400 else reply

    async def _routed(
        self, asked: _Asked, method: str, headers: Headers, receive: Receive
    ) -> Reply:
        if self._hosts is not None:
            check_host(headers, self._hosts)
        if asked.path == _LIVE:
            asked.counted = "live"
            check_method(method, "GET")
            return Reply(200, b'{"live":true}')
        token = bearer(headers)
        if token is None:
            raise _Refused(unauthenticated(given=False))
        asked.token = token
        await self._permit(asked)
        route = self._found(asked)
        check_method(method, "POST" if route in ("infer", "feedback") else "GET")
        match route:
            case "infer":
                return await self._infer(asked, headers, receive)
            case "feedback":
                return await self._feedback(asked, headers, receive)
            case "metrics":
                return self._measured(asked.serving)
            case _:
                return _told(route, asked.serving)

    def _found(self, asked: _Asked) -> str:
        """What is served under the path, by the version that the request is permitted for."""
        route = asked.serving.routes.get(asked.path)
        if route is None:
            raise NotFound("nothing is served under this path", code="path")
        asked.counted = route
        return route

    # Who may.

    async def _permit(self, asked: _Asked) -> None:
        """Take down who asks; whatever but a permit happens is a refusal.

        When another version is to answer, the request moves to it.
        """
        while True:
            e = asked.serving.endpoint
            feeding = asked.serving.routes.get(asked.path) == "feedback"
            permit = e.feedback_permit if feeding and e.feedback_permit else e.permit
            try:
                asked.actor = permit(asked.token)
                asked.permitted = self._clock()
                return
            except NotFound as error:
                if error.code != SUPERSEDED or not await self._replaced(asked.serving):
                    raise _no_decision(error) from error
            except Exception as error:
                raise _no_decision(error) from error
            # The new one has to be entered first, and could itself be replaced: nothing is lost.
            before, asked.serving = asked.serving, self._enter()
            before.leave()

    async def _replaced(self, serving: Serving) -> bool:
        """Wait for what takes over from `serving`; False when nothing does."""
        now = self._clock()
        if serving.superseded is None:
            serving.superseded = now
        noticed = serving.superseded + NOTICE_SECONDS
        until = now + CHANGE_SECONDS
        while True:
            # In this order: a change that is over has made its swap.
            changing = self._changing
            if self._serving is not serving:
                return True
            now = self._clock()
            if now >= until or (not changing and now >= noticed):
                return False
            await asyncio.sleep(_LOOK_SECONDS)

    # What needs a body.

    @contextlib.contextmanager
    def _place(self) -> Generator[None]:
        if self._waiting >= self._most_waiting:
            raise Unavailable("too many requests wait already", code="serve.busy")
        self._waiting += 1
        try:
            yield
        finally:
            self._waiting -= 1

    async def _infer(self, asked: _Asked, headers: Headers, receive: Receive) -> Reply:
        begun = asked.permitted
        with self._place():
            body = await read_body(headers, receive, self._body_seconds)
            while True:
                serving = asked.serving
                async with serving.turn:
                    if self._clock() - asked.permitted > PERMIT_SECONDS:
                        await self._permit(asked)
                        self._found(asked)
                    if asked.serving is not serving:
                        continue  # Another's turn, not this one's.
                    try:
                        reply, rows = await asyncio.get_running_loop().run_in_executor(
                            None, serving.predict, asked.actor, body
                        )
                    except Unavailable as error:
                        self._metrics.log_failures += error.code == NOT_LOGGED
                        raise
                self._metrics.answered(rows, self._clock() - begun)
                return Reply(200, reply)

    async def _feedback(self, asked: _Asked, headers: Headers, receive: Receive) -> Reply:
        take = asked.serving.endpoint.feedback
        if take is None:
            raise NotFound("nothing is served under this path", code="path")
        with self._place():
            body = await read_body(headers, receive, self._body_seconds)
            async with self._feeding:
                loop = asyncio.get_running_loop()
                try:
                    told = await loop.run_in_executor(None, take, asked.token, body)
                except Denied as error:
                    raise _no_decision(error) from error
        return Reply(200, msgspec.json.encode({**told, **asked.serving.said_of_all}))

    def _measured(self, serving: Serving) -> Reply:
        e = serving.endpoint
        text = self._metrics.text(
            e.model, e.version, e.facts, restarts=serving.restarts, ready=e.ready()
        )
        return Reply(200, text, media=metrics.CONTENT_TYPE)


def _told(route: str, serving: Serving) -> Reply:
    """What is only looked up."""
    e = serving.endpoint
    status = 200
    told: dict[str, Any]
    match route:
        case "server":
            told = {"name": "assay", "version": assay.__version__, "extensions": list[str]()}
        case "metadata":
            told = _metadata(e)
        case "ready" | "model_ready":
            ready = e.ready()
            status = 200 if ready else 503
            told = {"live": True} if route == "ready" else {"name": e.model}
            told["ready"] = ready
        case _:
            raise NotImplementedError(route)
    return Reply(status, msgspec.json.encode({**serving.said_of_all, **told}))


def _metadata(e: Endpoint) -> dict[str, Any]:
    inputs: list[dict[str, Any]] = [
        {"name": i.name, "datatype": i.datatype, "shape": [protocol.OPEN, i.width or 1]}
        for i in (*e.inputs, *e.extras)
    ]
    for given in inputs[len(e.inputs) :]:
        given["optional"] = True
    return {
        "name": e.model,
        "versions": [e.version],
        "platform": PLATFORM,
        "inputs": inputs,
        "outputs": e.outputs,
        "parameters": e.facts,
    }


def _no_decision(error: Exception) -> _Refused:
    """The refusal of a caller: by the policy, or because nobody could ask it."""
    if isinstance(error, Denied):
        # A caller without a valid token is unauthenticated, not merely forbidden.
        if error.code.startswith("denied.token"):
            return _Refused(unauthenticated(given=True))
        return _Refused(refusal(error, {}))
    code = error.code.removeprefix("unavailable.") if isinstance(error, Unavailable) else ""
    return _Refused(refusal(Unavailable("no decision", code=code or "serve.permit"), {}))


def _closing(reply: Reply, headers: Headers) -> Reply:
    """`reply`, and the end of the connection unless what is unread of the body is small."""
    if leaves_little(headers) and reply.status != 408:
        return reply
    return Reply(reply.status, reply.body, [*reply.headers, (b"connection", b"close")])


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
