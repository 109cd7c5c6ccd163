"""The parts of an HTTP request, each read strictly: whose it is, and its bounded body."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

from assay.errors import AssayError, NotFound, Usage
from assay.serve import protocol
from assay.serve.replies import Headers

Receive: TypeAlias = Callable[[], Awaitable[dict[str, Any]]]

_TOKEN = re.compile(rb"[A-Za-z0-9._~+/=-]{1,1024}")
_MEDIA = re.compile(rb"application/json(?:\s*;\s*charset=\"?utf-8\"?)?", re.IGNORECASE)


def check_method(method: str, allowed: str) -> None:
    """Raise `NotFound`, which names what is allowed, for any other method."""
    if method != allowed:
        raise NotFound(f"only {allowed} is offered here", code="method", details={"allow": allowed})


def check_host(headers: Headers, hosts: set[bytes]) -> None:
    """Raise `Usage` unless the request names one of `hosts`, whatever the port."""
    named = [value for name, value in headers if name == b"host"]
    # The port, if any, follows the last colon; a colon before a bracket is IPv6's.
    if len(named) != 1 or re.sub(rb":\d*\Z", b"", named[0].lower()) not in hosts:
        raise Usage("nothing is served under this host's name", code="host")


def bearer(headers: Headers) -> str | None:
    """The bearer token; None when there is none, or more than one thing that might be it."""
    given = [value for name, value in headers if name == b"authorization"]
    if len(given) != 1 or given[0][:7].lower() != b"bearer ":
        return None
    token = given[0][7:].strip(b" ")
    return token.decode("ascii") if _TOKEN.fullmatch(token) else None


def leaves_little(headers: Headers) -> bool:
    """Whether what may be unread of the body is so small that the connection can go on."""
    fields = dict(headers)
    length = fields.get(b"content-length", b"0")
    return length.isdigit() and len(length) <= 5 and b"transfer-encoding" not in fields


async def read_body(headers: Headers, receive: Receive, seconds: float) -> bytes:
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
