"""The prediction log of one served version: what an endpoint calls with each answer.

`PredictionLog.record` returns when the prediction would survive the death of this process, and
raises `Unavailable` when it would not: the endpoint then gives no answer.  Behind it is one
`assay.monitor.spool.Spool` after the other, each closed when it is large or old enough, or when the
day (UTC) ends, so that a sealed segment lies within one day.

Whom a row is about is written down as a keyed hash, from the first byte on disk: the key is the
project's, so that equal people have equal hashes in one project and in no other.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Protocol

import msgspec

from assay.clock import Clock, timestamp
from assay.errors import AssayError, Unavailable, Usage
from assay.monitor.segments import Meta
from assay.monitor.spool import Record, Spool, Values
from assay.store import Ring
from assay.types import check_name

KIND = "predictions"
MOST_BYTES = 32 << 20
MOST_ROWS = 100_000
MOST_SECONDS = 900.0
"""A spool is closed when it has reached one of these."""
_HASH = 16
_UNSAFE = 2**53

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Record)


class Answer(Protocol):
    """What an endpoint says of one answered request (`assay.serve.endpoint.Answered`)."""

    @property
    def id(self) -> str: ...
    @property
    def actor(self) -> str: ...
    @property
    def columns(self) -> dict[str, list[Any]]: ...
    @property
    def extras(self) -> dict[str, list[Any]]: ...
    @property
    def outputs(self) -> Iterable[Any]: ...


def folder_of(root: Path, project: str, endpoint: str) -> Path:
    """Where the spools of an endpoint lie, under a workspace's folder."""
    check_name(project, what="project")
    return root / "spool" / project / check_name(endpoint, what="endpoint")


def pseudonym(key: bytes, subject: Any) -> str | None:
    """The keyed hash of whom `subject` names; None for nobody.

    A number counts as the text it is written as, so that ``17``, ``17.0`` and ``"17"`` are one.
    """
    if subject is None or subject == "" or subject != subject:
        return None
    if isinstance(subject, float) and subject.is_integer() and abs(subject) < _UNSAFE:
        subject = int(subject)
    return hmac.new(key, str(subject).encode(), hashlib.sha256).hexdigest()[: 2 * _HASH]


class PredictionLog:
    """Keeps every answer of one served version; see the module.  Any thread may call it.

    `ring` is asked for each new spool, so that a turned ring seals what comes after; `folder` is
    `folder_of`; `naming` is the key of pseudonyms; `subject` is the input that says whom a row is
    about, empty for none.
    """

    def __init__(
        self,
        folder: Path,
        ring: Callable[[], Ring],
        meta: Meta,
        *,
        clock: Clock,
        naming: bytes,
        subject: str = "",
        most_rows: int = MOST_ROWS,
        most_bytes: int = MOST_BYTES,
        most_seconds: float = MOST_SECONDS,
    ) -> None:
        if subject and any(subject == given.name for given in meta.extras):
            raise Usage(
                f"{subject!r} says whom a row is about, and is no extra column besides",
                code="predictions.subject",
            )
        self.folder = folder
        self.meta = meta
        self.failures = 0
        """Answers that were not given because they could not be kept."""
        self.rows = 0
        """Rows that were kept."""
        self._ring = ring
        self._clock = clock
        self._naming = naming
        self._subject = subject
        self._most = (most_rows, most_bytes, most_seconds)
        self._lock = threading.Lock()
        self._spool: Spool | None = None
        self._held = 0
        self._day = ""
        self._since = 0.0

    def answered(self, answer: Answer) -> None:
        """Keep one answer, as of now.  Raises `Unavailable` when it cannot be kept."""
        extras = dict(answer.extras)
        subject = extras.pop(self._subject, None) if self._subject else None
        if subject is None and self._subject:
            subject = answer.columns.get(self._subject)  # The model takes it, too.
        self.record(
            Record(
                id=answer.id,
                at=timestamp(self._clock.now()),
                version=self.meta.version,
                actor=answer.actor,
                columns=answer.columns,
                extras=extras,
                outputs=[Values(o.name, list(o.shape), list(o.data)) for o in answer.outputs],
                subject=subject,
            )
        )

    def record(self, record: Record) -> None:
        """Keep one answer; whom its rows are about is hashed here.

        Raises `Unavailable` when it cannot be kept: then nothing of it is, and it must not be
        acknowledged.
        """
        with self._lock:
            try:
                self._keep(record)
            except AssayError:
                self.failures += 1
                raise
            self.rows += record.rows

    def roll(self) -> Path | None:
        """Close what is open, so that it can be sealed: its path, None when there is nothing."""
        with self._lock:
            return self._roll()

    close = roll

    # -- inside -----------------------------------------------------------------------------------

    def _keep(self, record: Record) -> None:
        day = record.at[:10]
        rows, size, seconds = self._most
        if self._spool is not None and (
            day != self._day
            or self._held >= rows
            or self._spool.size >= size
            or time.monotonic() - self._since >= seconds
        ):
            self._roll()
        spool = self._spool or self._open(day)
        if record.subject is not None:
            hashed = [pseudonym(self._naming, subject) for subject in record.subject]
            record = msgspec.structs.replace(record, subject=hashed)
        try:
            spool.append(_encoder.encode(record))
        except Unavailable:
            # One that failed takes nothing more; what it holds stands, and a new one is tried.
            with contextlib.suppress(AssayError):
                self._roll()
            raise
        self._held += record.rows

    def _open(self, day: str) -> Spool:
        about = msgspec.to_builtins(self.meta)
        self._spool = Spool.open(self.folder, self._ring(), about, kind=KIND)
        self._held, self._day, self._since = 0, day, time.monotonic()
        return self._spool

    def _roll(self) -> Path | None:
        spool, self._spool = self._spool, None
        return spool.roll() if spool is not None else None


def decode(record: bytes) -> Record:
    """A record as it was kept; raises `msgspec.DecodeError`."""
    return _decoder.decode(record)
