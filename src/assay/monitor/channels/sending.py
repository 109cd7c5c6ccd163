"""Tell several channels side by side: each within its own time, and none waits for another.

What a channel has taken is in its `Result`, and the ledger keeps it; what it has not is told again
by the next run.  So every alert arrives at least once, under the same fingerprint, by which a
receiver knows it again.
"""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import groupby
from typing import Any

import msgspec

from assay.monitor.channels import http, message, services
from assay.monitor.channels.channel import Channel
from assay.monitor.channels.message import Letter, Message

ATTEMPTS = 3
WAITS = (0.5, 1.0)
"""Seconds between attempts; more where the receiver asks for it, never more than `LONGEST_WAIT`."""
LONGEST_WAIT = 5.0
BATCH = 50
_GRACE = 1.0
_API = "/api/v2/alerts"


@dataclass(slots=True)
class Result:
    """What a channel answered.  `words` hold no address and no secret."""

    channel: str
    ok: bool = False
    words: str = ""
    attempts: int = 0
    taken: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    """Which alerts it has, as `Message.key` names them."""


def send(
    channels: Sequence[tuple[Channel, Sequence[Message]]],
    *,
    now: datetime,
    wait: Callable[[float], None] = time.sleep,
) -> list[Result]:
    """Tell each channel its messages; what each answered, in the same order.

    Returns when every channel has answered or its time is over, whichever is first: one that hangs
    is left behind, and counts as one that has taken nothing more.
    """
    results = [Result(channel.name, words="no answer in time") for channel, _ in channels]
    threads: list[tuple[threading.Thread, float]] = []
    for (channel, messages), result in zip(channels, results, strict=True):
        until = time.monotonic() + channel.seconds
        asked = (channel, list(messages), result, now, until, wait)
        # A daemon: it may hang in a resolver that knows no time, and must not keep us from ending.
        thread = threading.Thread(target=_tell, args=asked, daemon=True)
        thread.start()
        threads.append((thread, until + _GRACE))
    for thread, until in threads:
        thread.join(max(until - time.monotonic(), 0))
    # Whoever still runs goes on with its own result, and not with the one that was handed out.
    return [
        Result(r.channel, r.ok and not t.is_alive(), r.words, r.attempts, list(r.taken))
        for r, (t, _) in zip(results, threads, strict=True)
    ]


def _tell(
    channel: Channel,
    messages: list[Message],
    result: Result,
    now: datetime,
    until: float,
    wait: Callable[[float], None],
) -> None:
    try:
        for batch, attempt in _batches(channel, messages, now, until):
            if not _tried(attempt, result, until, wait):
                return
            result.taken.extend(m.key for m in batch)
        result.ok = True
    except Exception as error:
        # Whatever a library does, the other channels and the monitor go on.
        result.words = f"{type(error).__name__} while telling it"


Attempt = Callable[[], tuple[bool, bool, str, float]]
"""One attempt: taken, worth another one, in words, and after how many seconds at least."""


def _tried(attempt: Attempt, result: Result, until: float, wait: Callable[[float], None]) -> bool:
    for number in range(ATTEMPTS):
        result.attempts += 1
        taken, again, result.words, after = attempt()
        if taken or not again or number == ATTEMPTS - 1:
            return taken
        pause = min(max(WAITS[number], after), LONGEST_WAIT)
        if time.monotonic() + pause >= until:
            return False
        wait(pause)
    return False


def _batches(
    channel: Channel, messages: Sequence[Message], now: datetime, until: float
) -> list[tuple[list[Message], Attempt]]:
    made: list[tuple[list[Message], Attempt]] = []
    groups: list[list[Message]] = [list(messages)]
    if channel.kind != "alertmanager":
        # A payload or a text is about one endpoint, and no test is among what is meant.
        ordered = sorted(messages, key=_group)
        groups = [list(group) for _, group in groupby(ordered, key=_group)]
    for group in groups:
        for first in range(0, len(group), BATCH):
            batch = group[first : first + BATCH]
            made.append((batch, _attempt(channel, batch, now, until)))
    return made


def _attempt(channel: Channel, batch: list[Message], now: datetime, until: float) -> Attempt:
    if channel.kind == "apprise":
        letter = message.letter(batch)
        return lambda: _service(channel, letter, until)
    url, payload = channel.url, message.webhook(batch, channel.name)
    if channel.kind == "alertmanager":
        url = channel.url.rstrip("/").removesuffix(_API) + _API
        payload = message.alertmanager(batch, now)
    body = msgspec.json.encode(payload)
    return lambda: _posted(channel, url, body, until)


def _group(m: Message) -> tuple[str, str, bool]:
    return m.project, m.alert.endpoint, m.test


def _posted(channel: Channel, url: str, body: bytes, until: float) -> tuple[bool, bool, str, float]:
    try:
        answer = http.post(url, body, _headers(channel), until=until, ca=channel.ca)
    except http.Failed as error:
        return False, True, str(error), 0.0
    status = answer.status
    if 200 <= status < 300:
        return True, False, f"taken (status {status})", 0.0
    if 300 <= status < 400:
        return False, False, f"it redirects elsewhere (status {status}), which is not followed", 0.0
    again = status >= 500 or status in (408, 425, 429)
    return False, again, f"refused with the status {status}", answer.after


def _headers(channel: Channel) -> dict[str, str]:
    secret = channel.credential
    if not secret:
        return {}
    if ":" in secret:
        return {"Authorization": f"Basic {base64.b64encode(secret.encode()).decode()}"}
    return {"Authorization": f"Bearer {secret}"}


def _service(channel: Channel, letter: Letter, until: float) -> tuple[bool, bool, str, float]:
    left = until - time.monotonic()
    if left <= 0:
        return False, False, "no answer in time", 0.0
    try:
        taken = services.notify(channel.url, letter, left)
    except services.Unusable as error:
        return False, False, str(error), 0.0
    return taken, True, "taken" if taken else "the service did not take it", 0.0
