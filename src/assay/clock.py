"""Time, always passed in.

``now = max(wall clock, last checkpoint)``; a wall clock more than `TOLERANCE` behind the last
checkpoint is refused, because expiry and revocation would otherwise run backwards.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Protocol

from assay.errors import Unavailable, Usage

TOLERANCE = timedelta(minutes=5)


class Clock(Protocol):
    """A source of the current time, timezone-aware, in UTC."""

    def now(self) -> datetime: ...


class SystemClock:
    """The wall clock of this machine."""

    def now(self) -> datetime:
        return datetime.now(timezone.utc)


class FixedClock:
    """A clock that stands still until moved: for tests and for replaying a decision."""

    def __init__(self, at: datetime) -> None:
        self.at = at

    def now(self) -> datetime:
        return self.at

    def advance(self, by: timedelta) -> None:
        self.at += by


def not_before(wall: datetime, last: datetime | None) -> datetime:
    """The time to use, given the wall clock and the last checkpoint's time.

    Raises `Unavailable` when the wall clock is more than `TOLERANCE` behind.
    """
    if last is None or wall >= last:
        return wall
    if last - wall > TOLERANCE:
        raise Unavailable(
            f"the clock says {timestamp(wall)}, but this workspace has already seen "
            f"{timestamp(last)}",
            remedy="set the machine's clock (for example with NTP), then retry",
            code="clock.backwards",
        )
    return last


def timestamp(at: datetime) -> str:
    """RFC 3339 in UTC with milliseconds: ``2026-11-24T14:37:09.123Z``."""
    if at.tzinfo is None:
        raise ValueError("a timestamp needs a timezone")
    return at.astimezone(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse_timestamp(text: str) -> datetime:
    """The inverse of `timestamp`; raises `Usage` for anything else."""
    try:
        at = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError as error:
        raise Usage(
            f"{text[:40]!r} is not an RFC 3339 time",
            remedy="write it as 2026-01-31T00:00:00Z",
            code="time",
        ) from error
    if at.tzinfo is None:
        raise Usage(f"{text[:40]!r} has no timezone", remedy="append Z for UTC", code="time")
    try:
        return at.astimezone(timezone.utc)
    except OverflowError as error:  # The years 1 and 9999 have no neighbours.
        raise Usage(f"{text[:40]!r} is beyond the calendar", code="time") from error
