"""What an endpoint does with feedback: decide per token, check, keep durably, answer.

`Recorder.permit` runs on the thread that decides (the event loop's), and looks there at everything
that the ledger says.  `Recorder.__call__` runs on another and touches the spool only, so that the
two never look at a changing state at once.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from assay.actions.feedback_records import (
    caps_of,
    classes_of,
    given_today,
    is_recorded,
    spool_of,
)
from assay.actions.prediction_records import ring_for
from assay.errors import Denied, Unavailable
from assay.workspace.action import Action
from assay.workspace.segments import Segments

if TYPE_CHECKING:
    from assay.monitor.labels import Classes
    from assay.monitor.spool import Spool
    from assay.store import Ring
    from assay.workspace.door import Workspace

SPOOL_KIND = "labels"
ROLL_SECONDS = 60.0
"""How long labels wait at most before they can be sealed, while requests come."""
ROLL_BYTES = 16 << 20
PERMIT_SECONDS = 1.0
"""How old a permit may be when labels are kept, once anything changed."""
_MOST_TOKENS = 10_000
_FORGET_SECONDS = 120.0
"""After which a permit is of no request that is still on its way."""
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MICROSECOND = timedelta(microseconds=1)


class Kept(msgspec.Struct, frozen=True, array_like=True):
    """One request's labels in the spool."""

    source: str
    received: int
    """Microseconds since 1970."""
    labels: list[tuple[str, int, str, int | None]]
    """Prediction id, row, label and its own time."""
    refused: dict[str, int]


def microseconds(at: datetime) -> int:
    """Since 1970, exactly."""
    return (at - _EPOCH) // _MICROSECOND


def moment(since: int) -> datetime:
    """The inverse of `microseconds`."""
    return _EPOCH + since * _MICROSECOND


def _left(folder: Path, ring_of: Callable[[str], Ring]) -> Iterator[tuple[str, str, date, int]]:
    """The spools that dead processes left: spool, source, day and labels of each request."""
    from assay.monitor import spool

    for found in spool.recover(folder, ring_of):
        if found.header is None or found.header.kind != SPOOL_KIND:
            continue
        for _, data in found.records:
            kept = msgspec.msgpack.decode(data, type=Kept)
            yield found.header.id, kept.source, moment(kept.received).date(), len(kept.labels)


def _too_many(what: str) -> Unavailable:
    return Unavailable(
        f"too many {what} give feedback at once",
        remedy="send it again in some minutes",
        code="feedback.many",
    )


@dataclass(slots=True)
class _Permitted:
    actor: str
    epoch: int | None
    at: float


class Recorder:
    """The feedback hooks of one endpoint; see `feedback_recorder`."""

    def __init__(
        self,
        workspace: Workspace,
        project: str,
        endpoint: str,
        *,
        ask: Action,
        segments: Segments,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._workspace = workspace
        self._project = project
        self._endpoint = endpoint
        self._ask = ask
        self._segments = segments
        self._monotonic = monotonic
        self._tokens: dict[str, _Permitted] = {}
        self._known_at: int | None = -1
        self._classes: Classes = []
        self._most = 0
        self._days: dict[str, tuple[date, int]] = {}
        self._left: list[tuple[str, str, date, int]] | None = None
        self._decides = threading.get_ident()
        self._lock = threading.Lock()
        self._spool: Spool | None = None
        self._opened = 0.0

    # -- deciding ---------------------------------------------------------------------------------

    def permit(self, token: str) -> str:
        """The actor who may give feedback; raises `Denied`."""
        epoch = self._workspace.epoch.read()
        try:
            actor = self._segments.permit(token, self._ask)
        except Denied:
            self._tokens.pop(token, None)
            raise
        self._look(actor, epoch)
        now = self._monotonic()
        if token not in self._tokens and len(self._tokens) >= _MOST_TOKENS:
            # Of a request that is on its way nothing is forgotten: nobody else decides about it.
            old = [t for t, held in self._tokens.items() if now - held.at > _FORGET_SECONDS]
            for forgotten in old:
                self._tokens.pop(forgotten, None)
            if not old:
                raise _too_many("tokens")
        self._tokens[token] = _Permitted(actor, epoch, now)
        return actor

    def _look(self, actor: str, epoch: int | None) -> None:
        """What the ledger says of the model's classes, and of what the actor gave today."""
        view = self._workspace.view
        if epoch is None or epoch != self._known_at:
            self._classes = classes_of(view, self._project, self._endpoint)
            self._most = caps_of(view, self._project, self._endpoint).day
            self._known_at = epoch
        now = self._workspace.clock.now()
        if self._days.get(actor, (None, 0))[0] != now.date():
            if len(self._days) >= _MOST_TOKENS:
                for other in [a for a, (day, _) in self._days.items() if day != now.date()]:
                    self._days.pop(other, None)
            if len(self._days) >= _MOST_TOKENS:
                raise _too_many("sources")  # What one of them gave would be forgotten.
            given = given_today(view, self._project, self._endpoint, actor, now)
            given += self._not_sealed(actor, now.date())
            self._days[actor] = (now.date(), given)

    def _not_sealed(self, actor: str, day: date) -> int:
        """What an actor gave to processes that died on this day, and is on no ledger yet."""
        if self._left is None:
            self._left = list(_left(self._folder, self._workspace.store.rings.ring))
        return sum(
            count
            for name, source, when, count in self._left
            if (source, when) == (actor, day)
            and not is_recorded(self._workspace.view, self._project, f"{name}/{source}")
        )

    def _actor(self, token: str) -> str:
        held = self._tokens.get(token)
        if held is None:
            if threading.get_ident() != self._decides:
                # Another thread must not look at a state that changes meanwhile.
                raise Unavailable(
                    "nobody has decided yet about who gives this feedback",
                    remedy="send it again",
                    code="feedback",
                )
            self.permit(token)
            held = self._tokens[token]
        fresh = self._monotonic() - held.at <= PERMIT_SECONDS
        if not fresh and (held.epoch is None or held.epoch != self._workspace.epoch.read()):
            # What is allowed may have changed while the body arrived.
            raise Unavailable(
                "who may give feedback changed meanwhile", remedy="send it again", code="feedback"
            )
        return held.actor

    # -- keeping ----------------------------------------------------------------------------------

    def __call__(self, token: str, body: bytes) -> dict[str, Any]:
        """Keep the labels of a body; what became of them.

        Raises what `permit` raises, `Usage` for a body that is none, and `Unavailable` when they
        cannot be kept: then none of them is.
        """
        from assay.monitor import labels

        actor = self._actor(token)
        given = labels.parse(body)
        with self._lock:
            now = self._workspace.clock.now()
            checked = labels.check(given, now=now, classes=self._classes)
            day, count = self._days.get(actor, (now.date(), 0))
            so_far = count if day == now.date() else 0
            checked.cap(self._most - so_far)
            record = Kept(
                actor,
                microseconds(now),
                [
                    (name, row, label, None if at is None else microseconds(at))
                    for name, row, label, at, _ in checked.frame.iter_rows()
                ],
                dict(checked.refused),
            )
            self._append(msgspec.msgpack.encode(record))
            # Counted when they are kept: what failed may come again.
            self._days[actor] = (now.date(), so_far + checked.frame.height)
        return checked.told()

    def _append(self, record: bytes) -> None:
        spool = self._current()
        try:
            spool.append(record)
        except Unavailable:
            # It takes no more; what it has is kept, and the next request gets a new one.
            self._roll()
            raise
        if spool.size >= ROLL_BYTES or self._monotonic() - self._opened >= ROLL_SECONDS:
            self._roll()

    def _current(self) -> Spool:
        if self._spool is None:
            from assay.monitor.spool import Spool

            now = self._workspace.clock.now()
            ring = ring_for(self._workspace.store.rings, self._project, now)
            about = {"project": self._project, "endpoint": self._endpoint}
            self._spool = Spool.open(self._folder, ring, about, kind=SPOOL_KIND)
            self._opened = self._monotonic()
        return self._spool

    @property
    def _folder(self) -> Path:
        return spool_of(self._workspace.layout, self._project, self._endpoint)

    def _roll(self) -> None:
        spool, self._spool = self._spool, None
        if spool is not None:
            spool.roll()

    def roll(self) -> None:
        """Let what was kept be sealed: to be called now and then, and at the end."""
        with self._lock:
            self._roll()

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, *_: object) -> None:
        self.roll()
