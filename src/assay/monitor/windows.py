"""Windows: which stretches of the log are looked at together, and when they are closed.

A window is made of whole segments of the prediction log, of one version; each is in exactly one.
So closing the same windows again, after a crash or by somebody else, finds nothing left to close.
A segment that comes to light late (of a process that had died) makes a further window of the time
it is from: nothing that was closed is opened again, and nothing is left out.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta, timezone

import msgspec

from assay.clock import parse_timestamp, timestamp
from assay.monitor.plans import Plan

GRACE = timedelta(minutes=20)
"""After the end of a period: what was answered in it has been sealed by then, for a spool is closed
after `assay.monitor.log.MOST_SECONDS`."""
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


class Segment(msgspec.Struct, frozen=True, kw_only=True):
    """What a ``predictions/v1`` statement says of a segment of the log."""

    id: str
    version: str
    rows: int
    start: datetime
    end: datetime

    @classmethod
    def of(cls, predicate: Mapping[str, object]) -> Segment:
        """From the statement's predicate."""
        return cls(
            id=str(predicate["segment"]),
            version=str(predicate["version"]),
            rows=int(str(predicate["rows"])),
            start=parse_timestamp(str(predicate["from"])),
            end=parse_timestamp(str(predicate["to"])),
        )


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """A window that is due to be closed; without segments, time in which nothing was asked."""

    version: str
    start: datetime
    end: datetime
    segments: tuple[str, ...] = ()
    rows: int = 0

    @property
    def span(self) -> dict[str, str]:
        """From and to, as statements say it."""
        return {"from": timestamp(self.start), "to": timestamp(self.end)}


def due(
    segments: Iterable[Segment],
    closed: Collection[str],
    plans: Mapping[str, Plan],
    *,
    serving: str,
    now: datetime,
    since: datetime | None = None,
) -> list[Window]:
    """The windows to close, in their order.

    `segments` are all of an endpoint, in the order of the ledger; `closed` the ids of those in a
    window already; `plans` has a plan for each version that is watched: others have no window.
    `serving` is the version that answers now: of the others no further rows come, so that a
    remainder is closed as it is.  `since` is where the last window of `serving` ended, or its
    watch began: with windows by time, whole periods without a request from then on make one window
    without rows.
    """
    by_version: dict[str, list[Segment]] = {}
    for segment in segments:
        if segment.id not in closed and segment.version in plans:
            by_version.setdefault(segment.version, []).append(segment)
    found: list[Window] = []
    for version, held in by_version.items():
        plan = plans[version]
        if plan.every_seconds is not None:
            found += _by_time(version, held, plan.every_seconds, now)
        else:
            found += _by_rows(version, held, plan.rows or 1, over=version != serving)
    found.sort(key=lambda window: (window.end, window.start, window.version))
    if since is not None and serving in plans:
        quiet = _quiet(serving, plans[serving], by_version.get(serving, []), found, since, now)
        found += [quiet] if quiet else []
    return found


class Pending(msgspec.Struct, frozen=True, kw_only=True):
    """The next window of the version that answers: what it has, and when it is closed."""

    rows: int
    """What is sealed and in no window yet."""
    of: int | None = None
    """How many rows close it; None where time does."""
    ends: str = ""
    closes: str = ""
    unsealed: int = 0
    """Requests that were answered and are not sealed yet; not among the rows."""

    @property
    def words(self) -> str:
        """In a sentence without its end."""
        if self.of is not None and self.rows >= self.of:
            said = f"the next window has its {self.of:,} rows: the next round closes it"
        elif self.of is not None:
            said = f"the next window has {self.rows:,} of {self.of:,} rows"
        else:
            said = (
                f"the next window has {self.rows:,} rows, ends at {self.ends[:16]}Z and is closed "
                f"{GRACE.seconds // 60} minutes later"
            )
        if self.unsealed:
            noun = "answer is" if self.unsealed == 1 else "answers are"
            said += (
                f"; {self.unsealed:,} {noun} not sealed yet (a round seals what the server has "
                "handed over, which it does every five minutes)"
            )
        return said


def pending(
    segments: Iterable[Segment],
    closed: Collection[str],
    plan: Plan,
    *,
    serving: str,
    now: datetime,
    unsealed: int = 0,
) -> Pending:
    """What waits for the next window of the version that answers."""
    held = [s for s in segments if s.version == serving and s.id not in closed]
    rows = sum(segment.rows for segment in held)
    if plan.every_seconds is None:
        return Pending(rows=rows, of=plan.rows, unsealed=unsealed)
    first = min((segment.start for segment in held), default=now)
    _, end = period(first, plan.every_seconds)
    ends, closes = timestamp(end), timestamp(end + GRACE)
    return Pending(rows=rows, ends=ends, closes=closes, unsealed=unsealed)


def period(at: datetime, seconds: int) -> tuple[datetime, datetime]:
    """The stretch of `seconds` that a time lies in; a day begins at midnight UTC."""
    start = _EPOCH + timedelta(seconds=int((at - _EPOCH).total_seconds() // seconds) * seconds)
    return start, start + timedelta(seconds=seconds)


def _by_time(
    version: str, segments: Sequence[Segment], seconds: int, now: datetime
) -> list[Window]:
    periods: dict[tuple[datetime, datetime], list[Segment]] = {}
    for segment in segments:
        periods.setdefault(period(segment.start, seconds), []).append(segment)
    return [
        _window(version, held, start, end)
        for (start, end), held in periods.items()
        if end + GRACE <= now
    ]


def _by_rows(version: str, segments: Sequence[Segment], rows: int, *, over: bool) -> list[Window]:
    found: list[Window] = []
    held: list[Segment] = []
    for segment in segments:
        held.append(segment)
        if sum(part.rows for part in held) >= rows:
            found.append(_window(version, held))
            held = []
    if held and over:
        found.append(_window(version, held))
    return found


def _window(
    version: str,
    segments: Sequence[Segment],
    start: datetime | None = None,
    end: datetime | None = None,
) -> Window:
    return Window(
        version=version,
        start=start or min(segment.start for segment in segments),
        end=end or max(segment.end for segment in segments),
        segments=tuple(segment.id for segment in segments),
        rows=sum(segment.rows for segment in segments),
    )


def _quiet(
    version: str,
    plan: Plan,
    waiting: Sequence[Segment],
    found: Sequence[Window],
    since: datetime,
    now: datetime,
) -> Window | None:
    """The whole periods, up to now, in which nothing was asked."""
    if plan.every_seconds is None:
        return None
    start = max([since, *(window.end for window in found if window.version == version)])
    begun, after = period(start, plan.every_seconds)
    start = start if start == begun else after
    end = period(now - GRACE, plan.every_seconds)[0]
    for segment in waiting:
        if segment.start >= start:
            end = min(end, period(segment.start, plan.every_seconds)[0])
    return Window(version=version, start=start, end=end) if end > start else None
