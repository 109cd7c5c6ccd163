"""Incidents: what happened, who must be told by when, and what was done about it.

A *duty* is an obligation to report, with a period.  Its clock starts when whoever is responsible
*becomes aware*, which a person states; it stops when a report was made (in time or late) or when a
person judged, with a reason, that nothing has to be reported.  Nothing else stops it, not even the
end of the incident.  As long as nobody has said which duty applies, all of them are shown running:
silence is not an assessment.

The periods are those of Article 73 of Regulation (EU) 2024/1689 (the AI Act, as amended by
Regulation (EU) 2026/1744) and of Article 33 of Regulation (EU) 2016/679 (GDPR).  They are counted
in whole hours from awareness.  Regulation (EEC, Euratom) 1182/71 counts days to the end of the last
one and moves some ends past holidays: a clock here may end earlier than the law's, never later.
Whether a duty applies is for people who know the law; this is no legal advice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, TypeAlias

import msgspec

from assay.clock import parse_timestamp, timestamp
from assay.errors import AssayError

LONGEST_TEXT = 4000


@dataclass(frozen=True, slots=True)
class Duty:
    """Something that has to be reported, by whom to whom, within which time of awareness."""

    name: str
    article: str
    period: timedelta
    when: str
    to: str
    also: str


DUTIES: dict[str, Duty] = {
    duty.name: duty
    for duty in (
        Duty(
            "aiact-73",
            "AI Act, Article 73(2)",
            timedelta(days=15),
            "a serious incident (Article 3(49)) with a high-risk system",
            "the market surveillance authority of the Member State where it occurred",
            "as soon as a causal link is established or reasonably likely; an incomplete report "
            "may be completed later (73(5))",
        ),
        Duty(
            "aiact-73-urgent",
            "AI Act, Article 73(3)",
            timedelta(days=2),
            "a widespread infringement, or a serious and irreversible disruption of critical "
            "infrastructure (Article 3(49)(b))",
            "the market surveillance authority of the Member State where it occurred",
            "an incomplete report may be completed later (73(5))",
        ),
        Duty(
            "aiact-73-death",
            "AI Act, Article 73(4)",
            timedelta(days=10),
            "the death of a person",
            "the market surveillance authority of the Member State where it occurred",
            "as soon as a causal link is suspected; an incomplete report may be completed later "
            "(73(5))",
        ),
        Duty(
            "gdpr-33",
            "GDPR, Article 33(1)",
            timedelta(hours=72),
            "a personal data breach, unless it is unlikely to result in a risk to people",
            "the supervisory authority (a processor: the controller, without undue delay)",
            "later with the reasons for the delay; in phases where it must be (33(4)); documented "
            "in any case (33(5))",
        ),
    )
}

State: TypeAlias = Literal["running", "overdue", "reported", "late", "judged"]


class Report(msgspec.Struct, frozen=True):
    """That a duty was met, as a person recorded it."""

    duty: str
    at: str
    authority: str
    reference: str = ""
    complete: bool = False


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One step of an incident: who, when, why, and what they added."""

    incident: str
    event: Literal["opened", "updated", "closed"]
    actor: str
    at: str
    reason: str
    endpoint: str
    version: str = ""
    aware: str = ""
    duties: list[str] = []
    """The duties that are said to apply."""
    dismissed: list[str] = []
    """The duties that are judged not to apply, for the reason of this entry."""
    reports: list[Report] = []
    alerts: list[str] = []
    declared: dict[str, str] = {}
    frozen: dict[str, Any] = {}
    """As of which checkpoint the ledger shows what was known; from then on nothing of it can be
    taken away unnoticed."""


class Incident(msgspec.Struct):
    """An incident as its entries leave it."""

    id: str
    endpoint: str
    version: str
    opened: str
    aware: str
    what: str
    closed: bool = False
    duties: dict[str, Entry | None] = {}
    """Each duty that somebody spoke of, and the entry that dismissed it, if any."""
    reports: list[Report] = []
    alerts: list[str] = []
    declared: dict[str, str] = {}
    frozen: dict[str, Any] = {}
    moved: list[tuple[str, Entry]] = []
    """What was said of awareness before, and the entries that made it later."""
    timeline: list[Entry] = []


class Clock(msgspec.Struct, frozen=True):
    """How a duty stands now."""

    duty: str
    article: str
    started: str
    due: str
    state: State
    left: int
    """Seconds until it is due; negative when it was due before now or before the report."""
    words: str
    assumed: bool = False
    """Nobody has said yet whether this duty applies."""

    @property
    def open(self) -> bool:
        return self.state in ("running", "overdue")


def fold(entries: Sequence[Mapping[str, Any]]) -> list[Incident]:
    """Every incident, oldest first, from the predicates of its entries in the order of the ledger.
    What cannot be read is left out, never guessed."""
    found: dict[str, Incident] = {}
    for predicate in entries:
        plain = {name: value for name, value in predicate.items() if name != "decision"}
        try:
            entry = msgspec.convert(plain, Entry)
        except msgspec.ValidationError:
            continue
        held = found.get(entry.incident)
        if held is None:
            if entry.event != "opened":
                continue
            held = found[entry.incident] = Incident(
                entry.incident,
                entry.endpoint,
                entry.version,
                entry.at,
                entry.aware or entry.at,
                entry.reason,
                frozen=entry.frozen,
            )
        _add(held, entry)
    return list(found.values())


def _add(held: Incident, entry: Entry) -> None:
    if entry.aware:
        if parse_timestamp(entry.aware) > parse_timestamp(held.aware):
            held.moved.append((held.aware, entry))
        held.aware = entry.aware
    for duty in entry.duties:
        held.duties[duty] = None
    for duty in entry.dismissed:
        held.duties[duty] = entry
    for report in entry.reports:
        held.duties.setdefault(report.duty, None)
    held.reports.extend(entry.reports)
    held.alerts.extend(alert for alert in entry.alerts if alert not in held.alerts)
    held.declared.update(entry.declared)
    # Whatever happens after the end opens it again.
    held.closed = entry.event == "closed"
    held.timeline.append(entry)


def law_of(duty: str) -> str:
    """``aiact`` or ``gdpr``: of each, a person has to say whether it asks for a report."""
    return duty.partition("-")[0]


LAWS = tuple(dict.fromkeys(law_of(name) for name in DUTIES))


def undecided(incident: Incident) -> list[str]:
    """The laws of which nobody has said whether they ask for a report."""
    spoken = {law_of(name) for name in incident.duties}
    return [law for law in LAWS if law not in spoken]


def clocks(incident: Incident, now: datetime) -> list[Clock]:
    """How every duty stands, the most pressing first: those that somebody spoke of, and all of a
    law of which nobody did."""
    open_laws = undecided(incident)
    found = [
        _clock(incident, duty, now, assumed=law_of(duty.name) in open_laws)
        for duty in DUTIES.values()
        if duty.name in incident.duties or law_of(duty.name) in open_laws
    ]
    return sorted(found, key=lambda clock: (not clock.open, clock.due))


def clock_of(incident: Incident, duty: str, now: datetime) -> Clock:
    """How one duty stands, also where only others of its law were spoken of."""
    return _clock(incident, DUTIES[duty], now, assumed=duty not in incident.duties)


def _clock(incident: Incident, duty: Duty, now: datetime, *, assumed: bool) -> Clock:
    started = parse_timestamp(incident.aware)
    due = started + duty.period
    dismissed = incident.duties.get(duty.name)
    reports = [r for r in incident.reports if r.duty == duty.name]
    end = now
    state: State
    if reports:
        first = min(reports, key=lambda r: r.at)
        end = parse_timestamp(first.at)
        state = "reported" if end <= due else "late"
        words = f"reported to {first.authority} at {first.at}"
        words += f", {_span(end - due)} too late" if state == "late" else ", in time"
        recorded = _recorded(incident, first)
        if state == "reported" and recorded > due:
            words += f", as was said at {timestamp(recorded)}, {_span(recorded - due)} too late"
        if not any(r.complete for r in reports):
            words += "; a complete report is still owed"
    elif dismissed is not None:
        state, end = "judged", parse_timestamp(dismissed.at)
        words = f"judged at {dismissed.at} that nothing has to be reported: {dismissed.reason}"
    elif now > due:
        state = "overdue"
        words = f"OVERDUE by {_span(now - due)}"
    else:
        state = "running"
        words = f"{_span(due - now)} left"
    if assumed:
        words += ", if this duty applies: nobody has said so, nor that it does not"
    return Clock(
        duty.name,
        duty.article,
        incident.aware,
        timestamp(due),
        state,
        round((due - end).total_seconds()),
        words,
        assumed,
    )


def _recorded(incident: Incident, report: Report) -> datetime:
    """When somebody first said that a report was made: by the ledger, and not by them."""
    return min(parse_timestamp(e.at) for e in incident.timeline if report in e.reports)


def _span(length: timedelta) -> str:
    hours, minutes = divmod(int(length.total_seconds()) // 60, 60)
    days, rest = divmod(hours, 24)
    if days >= 3:
        return f"{days} days {rest} h"
    return f"{hours} h {minutes:02} min"


def overdue(incident: Incident, now: datetime) -> list[Clock]:
    """The duties of an incident that should have been met by now."""
    return [clock for clock in clocks(incident, now) if clock.state == "overdue"]


def readable_time(text: str) -> str:
    """A time as assay spells it; empty for what is none."""
    try:
        return timestamp(parse_timestamp(text))
    except AssayError:
        return ""
