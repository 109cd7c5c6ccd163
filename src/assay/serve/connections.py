"""One HTTP connection, bounded in time where uvicorn's own is not.

uvicorn bounds headers in size (16 KiB) and waits for the next request of a kept connection, but
waits for ever for a first request, for the end of a body that nobody reads any more, and for a
client that does not read its answer.  Each would hold a connection at no cost to whoever opened it.
"""

from __future__ import annotations

import asyncio
from typing import Any

import h11
import msgspec
from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_SECONDS = 15.0
"""From connecting, or from an answer, to the whole head of the next request."""
WRITE_SECONDS = 30.0
"""For a client to make room for what it asked for."""
MOST_CONNECTIONS = 512

_MALFORMED = msgspec.json.encode({"error": "not an HTTP request", "code": "usage.http"})


class Connection(H11Protocol):
    """uvicorn's connection with deadlines, a greatest number, and errors in JSON."""

    _head: asyncio.TimerHandle | None = None
    _write: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        if len(self.connections) >= MOST_CONNECTIONS:
            transport.abort()
            return
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._head, self._write):
            if timer is not None:
                timer.cancel()
        if self.transport is not None:  # pyright: ignore[reportUnnecessaryComparison] - refused.
            super().connection_lost(exc)

    def on_response_complete(self) -> None:
        self._await_head()
        super().on_response_complete()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._write = self.loop.call_later(WRITE_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._write is not None:
            self._write.cancel()
            self._write = None

    def send_400_response(self, msg: str) -> None:
        del msg
        if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):  # An answer has begun.
            self.transport.abort()
            return
        headers: Any = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(_MALFORMED)).encode()),
            (b"connection", b"close"),
        ]
        for event in (
            h11.Response(status_code=400, headers=headers, reason=b"Bad Request"),
            h11.Data(data=_MALFORMED),
            h11.EndOfMessage(),
        ):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def _await_head(self) -> None:
        if self._head is not None:
            self._head.cancel()
        self._head = self.loop.call_later(HEAD_SECONDS, self._no_head)

    def _no_head(self) -> None:
        # While a request is answered, its own limits hold; its end sets the next deadline.
        if self.cycle is None or self.cycle.response_complete:  # pyright: ignore
            self.transport.abort()
