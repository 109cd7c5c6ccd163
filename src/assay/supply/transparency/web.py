"""The little of ASGI that a server of public things needs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

Scope: TypeAlias = dict[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[dict[str, Any]]]
Send: TypeAlias = Callable[[dict[str, Any]], Awaitable[None]]
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers: TypeAlias = list[tuple[bytes, bytes]]

BODY_SECONDS = 10.0
TEXT = b"text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Reply:
    """A status, a body and its headers; without `cache` nobody keeps it."""

    status: int
    body: bytes = b""
    media: bytes = TEXT
    cache: bytes = b"no-store"
    headers: Headers = field(default_factory=Headers)

    def head(self) -> Headers:
        return [
            (b"content-type", self.media),
            (b"content-length", b"%d" % len(self.body)),
            (b"cache-control", self.cache),
            (b"x-content-type-options", b"nosniff"),
            *self.headers,
        ]


class TooLarge(Exception):
    """A body over its limit, or one that did not come in time."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


async def send_reply(send: Send, reply: Reply, *, body: bool = True) -> None:
    """Answer; without `body` as HEAD wants it."""
    await send({"type": "http.response.start", "status": reply.status, "headers": reply.head()})
    await send({"type": "http.response.body", "body": reply.body if body else b""})


async def read_body(receive: Receive, limit: int, seconds: float = BODY_SECONDS) -> bytes:
    """The whole body; raises `TooLarge` with the status to answer."""
    pieces: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(seconds):
            while True:
                message = await receive()
                if message["type"] != "http.request":
                    raise TooLarge(400)
                pieces.append(message.get("body", b""))
                size += len(pieces[-1])
                if size > limit:
                    raise TooLarge(413)
                if not message.get("more_body", False):
                    return b"".join(pieces)
    except TimeoutError as error:
        raise TooLarge(408) from error


async def serve(
    scope: Scope, receive: Receive, send: Send, answer: Callable[[], Awaitable[Reply]]
) -> None:
    """Serve one ASGI scope, of which only a request over HTTP asks for an answer."""
    match scope["type"]:
        case "http":
            await send_reply(send, await answer(), body=scope["method"] != "HEAD")
        case "lifespan":
            await lifespan(receive, send)
        case "websocket":
            await send({"type": "websocket.close"})
        case other:
            raise NotImplementedError(other)


async def lifespan(receive: Receive, send: Send) -> None:
    """Say yes to being started and stopped."""
    while True:
        message = await receive()
        await send({"type": message["type"] + ".complete"})
        if message["type"] == "lifespan.shutdown":
            return


def raw_path(scope: Scope) -> bytes:
    """The path as it was sent: an encoded slash or dot is no part of any path here."""
    return scope.get("raw_path") or scope["path"].encode("utf-8", "surrogatepass")
