"""Decisions made once per credential and state, recorded in aggregate.

For what is asked thousands of times a second (a prediction, a logged metric) the door decides once
per credential and action; the answer is good until the epoch moves, the credential's own expiry
passes, or `LEASE` seconds are over.  What was asked is counted, and the counts go on the ledger.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import msgspec

from assay.clock import parse_timestamp, timestamp
from assay.errors import AssayError, Denied
from assay.workspace.action import Action
from assay.workspace.credentials import Token, token_id_of
from assay.workspace.door import Workspace, denied

if TYPE_CHECKING:
    from assay.workspace.credentials import Credential

LEASE = 60.0
"""Seconds after which a cached answer is asked anew, so that expiry is noticed."""
_MOST = 10_000


class _Cached(msgspec.Struct):
    epoch: int
    until: float
    actor: str
    error: Denied | None


class Segments:
    """Cached decisions for one process, and their counts."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._cache: dict[tuple[str, Action], _Cached] = {}
        self._counts: dict[tuple[str, str, str, bool], int] = {}
        self._since = timestamp(workspace.clock.now())

    def permit(self, secret: str, action: Action) -> str:
        """The actor who may do `action`; raises `Denied`.  About 1 µs when cached."""
        key = (secret, action)
        cached = self._cache.get(key)
        epoch = self._workspace.epoch.read()
        if cached is None or cached.epoch != epoch or time.monotonic() >= cached.until:
            cached = self._ask(key, epoch)
        count = (action.project, action.name, cached.actor, cached.error is None)
        self._counts[count] = self._counts.get(count, 0) + 1
        if cached.error is not None:
            raise cached.error.with_traceback(None)
        return cached.actor

    def _ask(self, key: tuple[str, Action], epoch: int | None) -> _Cached:
        secret, action = key
        credential: Credential = Token(secret)
        actor = "unknown"
        error = None
        try:
            decision, target, actor = self._workspace.consider(credential, action)
            if not decision.allowed:
                error = denied(action, target, decision)
        except Denied as refused:
            error = refused
        until = time.monotonic() + min(LEASE, self._left(secret))
        cached = _Cached(epoch if epoch is not None else -1, until, actor, error)
        # The epoch was read before deciding: a change in between leaves an entry already stale.
        # A stranger's token is not worth remembering: it would let anyone grow the cache.
        if epoch is not None and actor != "unknown":
            if len(self._cache) >= _MOST:
                self._cache.clear()
            self._cache[key] = cached
        return cached

    def _left(self, secret: str) -> float:
        """Seconds until the token expires."""
        token = self._workspace.view.state.tokens.get(token_id_of(secret))
        if token is None:
            return 0.0
        return (parse_timestamp(token.expires) - self._workspace.clock.now()).total_seconds()

    def flush(self) -> None:
        """Record the counts since the last flush on the ledger, one leaf for each project.

        What cannot be recorded now is kept for the next flush.
        """
        counts, self._counts = self._counts, {}
        until = timestamp(self._workspace.clock.now())
        by_project: dict[str, list[dict[str, Any]]] = {}
        for (project, action, actor, allowed), count in counts.items():
            by_project.setdefault(project, []).append(
                {"action": action, "actor": actor, "allowed": allowed, "count": count}
            )
        try:
            for project, rows in by_project.items():
                predicate = {"since": self._since, "until": until, "decisions": rows}
                self._workspace.record_aggregate(project, predicate)
                counts = {key: count for key, count in counts.items() if key[0] != project}
        except AssayError:
            for key, count in counts.items():
                self._counts[key] = self._counts.get(key, 0) + count
            raise
        self._since = until
