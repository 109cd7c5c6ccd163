"""Repeated denials, counted: one actor must not be able to fill the disk by asking in vain."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import msgspec

from assay import files
from assay.clock import parse_timestamp, timestamp
from assay.errors import AssayError

LIMIT = 20
"""Denials of one actor that are each recorded in a `WINDOW`; further ones are only counted."""
WINDOW = timedelta(hours=1)


class _Count(msgspec.Struct):
    since: str
    recorded: int = 0
    unrecorded: int = 0


def _time(text: str, now: datetime) -> datetime:
    """The time in a counter; whatever is none was long ago, so that counting starts anew."""
    try:
        return parse_timestamp(text)
    except (AssayError, OverflowError):
        return now - 2 * WINDOW


class Denials:
    """The counters, in a small file.  Losing it loses counts, never a decision."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def _load(self) -> dict[str, _Count]:
        try:
            raw = files.read(self._path, limit=1 << 22, what="denial counters")
            return msgspec.json.decode(raw, type=dict[str, _Count])
        except (AssayError, msgspec.MsgspecError):
            return {}

    def worth_recording(self, actor: str, now: datetime) -> bool:
        """Count a denial; whether it is to be recorded on its own."""
        counts = self._load()
        count = counts.setdefault(actor, _Count(timestamp(now)))
        if not timedelta(0) <= now - _time(count.since, now) <= WINDOW:
            count.since, count.recorded = timestamp(now), 0
        if count.recorded < LIMIT:
            count.recorded += 1
            worth = True
        else:
            count.unrecorded += 1
            worth = False
        files.write(self._path, msgspec.json.encode(counts))
        return worth

    def take(self, actor: str) -> int:
        """How many were only counted since the last recorded decision of this actor."""
        counts = self._load()
        count = counts.get(actor)
        if count is None or not count.unrecorded:
            return 0
        taken, count.unrecorded = count.unrecorded, 0
        files.write(self._path, msgspec.json.encode(counts))
        return taken
