"""A witness over HTTP: ``POST /add-checkpoint`` (C2SP tlog-witness)."""

from __future__ import annotations

import asyncio

from assay.supply.transparency import web
from assay.supply.transparency.web import Receive, Reply, Scope, Send, TooLarge
from assay.supply.transparency.witness import BODY_LIMIT, Witness

MOST_WAITING = 32
"""Requests at once, from their first byte to their answer: bounds what they hold."""


class WitnessServer:
    """One witness; all paths but one do not exist."""

    def __init__(self, witness: Witness, *, body_seconds: float = web.BODY_SECONDS) -> None:
        self._witness = witness
        self._body_seconds = body_seconds
        self._waiting = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await web.serve(scope, receive, send, lambda: self._reply(scope, receive))

    async def _reply(self, scope: Scope, receive: Receive) -> Reply:
        if web.raw_path(scope) != b"/add-checkpoint":
            return Reply(404, b"not found\n")
        if scope["method"] != "POST":
            return Reply(405, b"only POST\n", headers=[(b"allow", b"POST")])
        if self._waiting >= MOST_WAITING:
            return Reply(503, b"too many at once\n", headers=[(b"retry-after", b"1")])
        self._waiting += 1
        try:
            body = await web.read_body(receive, BODY_LIMIT, self._body_seconds)
            # The disk is waited for: elsewhere than where connections are looked after.
            answer = await asyncio.to_thread(self._witness.add_checkpoint, body)
        except TooLarge as error:
            return Reply(error.status, b"not read\n", headers=[(b"connection", b"close")])
        finally:
            self._waiting -= 1
        return Reply(answer.status, answer.body, answer.media)
