"""Follow what is to answer: start the new version beside the old, let it take over, end the old.

The order is what makes it safe.  The new version is permitted, started and warmed first, while the
old one answers.  Only then is it put on record as the one that answers, and with that record, not
with this code, the old one's permits end; requests that come in between wait some milliseconds.
Whatever fails before the record leaves the old version answering, as far as it still may.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from assay.errors import AssayError
from assay.serve.app import Application
from assay.serve.endpoint import Endpoint

FIRST_SECONDS = 5.0
MOST_SECONDS = 300.0
"""The shortest and the longest wait before a version that could not take over is tried again."""


class Candidate(Protocol):
    """A version that is ready to answer and does not answer yet."""

    @property
    def endpoint(self) -> Endpoint: ...

    def deploy(self) -> None:
        """Put it on record as the one that answers; from then on its permits hold, and no other's.
        Raises `AssayError` when it is not to be."""
        ...

    def close(self) -> None:
        """End its process; what it had begun is cut off."""
        ...


Ready = TypeVar("Ready", bound=Candidate)


class Follower(Generic[Ready]):
    """Keeps an application at the version that is wanted.  Used from one thread.

    `current` is what answers now.  `wanted` names the version that is to answer; `prepare` returns
    it permitted, started and warm, or raises `AssayError`.  `say` is told what happened, in a
    sentence, and a failure that repeats itself only once.
    """

    def __init__(
        self,
        application: Application,
        current: Ready,
        *,
        wanted: Callable[[], str],
        prepare: Callable[[str], Ready],
        say: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._application = application
        self.current = current
        self._wanted = wanted
        self._prepare = prepare
        self._say = say
        self._clock = clock
        self._failed = ""
        self._said = ""
        self._wait = 0.0
        self._not_before = 0.0

    def step(self) -> None:
        """Look once, and change over if another version is wanted.  Never raises: what answers
        goes on whatever becomes of this."""
        version = ""
        try:
            version = self._wanted()
            now = self._application.endpoint.version
            if version == now:
                self._failed = self._said = ""
            elif version != self._failed or self._clock() >= self._not_before:
                self._change(now, version)
                self._failed = self._said = ""
        except Exception as error:
            self._stayed(version, error)

    def close(self) -> None:
        """End what answers now."""
        self.current.close()

    def _change(self, before: str, version: str) -> None:
        # All of it: another server of the same endpoint may be faster with the record.
        with self._application.changing():
            candidate = self._prepare(version)
            try:
                self._application.check(candidate.endpoint)
                candidate.deploy()
                ended = self._application.swap(candidate.endpoint)
            except BaseException:
                candidate.close()
                raise
        old, self.current = self.current, candidate
        old.close()
        cut = "" if ended else "; what it had begun took too long and was cut off"
        self._say(f"version {version} answers now, and {before} no more{cut}")

    def _stayed(self, version: str, error: Exception) -> None:
        if version != self._failed:
            self._wait = FIRST_SECONDS
        self._failed = version
        self._not_before = self._clock() + self._wait
        self._wait = min(self._wait * 2, MOST_SECONDS)
        told = error.message if isinstance(error, AssayError) else type(error).__name__
        now = self._application.endpoint.version
        what = f"version {version} does not take over" if version else "cannot look for a change"
        sentence = f"{what}, and {now} goes on: {told}"
        if sentence != self._said:
            self._said = sentence
            self._say(sentence)
