"""Denials: counted, so that nobody fills the disk by asking in vain; and what they say."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from assay import files
from assay.clock import parse_timestamp, timestamp
from assay.errors import AssayError, Denied
from assay.policy.engine import Decision, Reason
from assay.policy.rules import ROLE
from assay.workspace.action import Action, Target

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


# -- what a denial says ---------------------------------------------------------------------------


def denied(action: Action, target: Target, decision: Decision) -> Denied:
    """The error that tells everything that is missing, and what to do about it.

    To somebody without any role in the project it tells nothing of what is there.
    """
    if target.outsider:
        return no_role(action)
    reasons = [explain(reason, target.words) for reason in decision.reasons]
    listed = "; ".join(f"{r['gate']}: {r['advice']}" for r in reasons)
    commands = list(dict.fromkeys(r["remedy"] for r in reasons if r["remedy"]))
    return Denied(
        f"{action.name} on {target.uid} is denied. {listed}",
        remedy="; then ".join(commands),
        code=action.name,
        details={"reasons": reasons, "bundle": decision.bundle},
    )


def no_role(action: Action) -> Denied:
    """The same words for whoever is not of a project, whatever they asked about in it."""
    advice = (
        f"You have no role in project {action.project}, if there is one. "
        "An administrator can grant one."
    )
    reason = {"gate": ROLE, "advice": advice, "control": "", "remedy": "", "seconds": 0}
    return Denied(
        f"{action.name} in project {action.project} is denied. {advice}",
        remedy="`assay project list` shows the projects that you may look into",
        code=action.name,
        details={"reasons": [reason]},
    )


def explain(reason: Reason, words: dict[str, str]) -> dict[str, Any]:
    """A reason as plain JSON, with the placeholders of its texts filled in."""
    data: dict[str, Any] = msgspec.to_builtins(reason)
    for key in ("advice", "remedy"):
        text = data.get(key) or ""
        for word, value in words.items():
            text = text.replace("{" + word + "}", value)
        data[key] = text
    return data
