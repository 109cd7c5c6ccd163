"""The report of an incident: what an authority asks for, each field *evidence*, *declared* or
*missing*, and never a score.

The fields for GDPR are those of Article 33(3).  Article 73 of the AI Act lists none itself; those
here follow what its paragraphs speak of (the system, the incident, the causal link, the corrective
action).  An authority's own form comes first: this is material to fill it from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypeAlias

import msgspec

from assay.clock import timestamp
from assay.monitor.incidents import DUTIES, Clock, Incident, clock_of

Source: TypeAlias = Literal["evidence", "declared", "missing"]


@dataclass(frozen=True, slots=True)
class Asked:
    """A field: its key, what it is called, and where it is asked for."""

    key: str
    title: str
    article: str
    optional: bool = False
    """Whether it is left out where nobody says anything."""


_AI_ACT = (
    Asked("provider", "Provider: name, address, person to contact", "73(1)"),
    Asked("authority", "Market surveillance authority", "73(1)"),
    Asked("where", "Member States where it occurred", "73(1)"),
    Asked("system", "AI system and version", "73(1)"),
    Asked("registration", "Number in the EU database", "49, 71"),
    Asked("what", "What happened", "3(49)"),
    Asked("harm", "Which harm: letter of Article 3(49)", "3(49)"),
    Asked("occurred", "When it occurred", "73(2)"),
    Asked("aware", "When the provider or deployer became aware", "73(2)-(4)"),
    Asked("affected", "People, groups or property affected", "3(49)"),
    Asked("exposure", "Predictions made in the windows concerned", "72(2)"),
    Asked("alerts", "How it was detected", "72(2)"),
    Asked("causal_link", "Causal link with the system: established, likely or suspected", "73(2)"),
    Asked("suspects", "What had changed before", "73(6)"),
    Asked("measures", "Corrective action, taken and planned", "73(6)"),
    Asked("actions", "What was done in the workspace since", "73(6)"),
    Asked("risk", "Risk assessment of the incident", "73(6)"),
    Asked("altered", "Whether the system was changed since", "73(6)"),
    Asked("preserved", "Evidence preserved", "73(6)"),
)
_GDPR = (
    Asked("controller", "Controller (and processor): name and address", "33(1)"),
    Asked("authority", "Supervisory authority", "33(1), 55"),
    Asked("nature", "Nature of the breach", "33(3)(a)"),
    Asked("what", "What happened", "33(3)(a)"),
    Asked("occurred", "When it occurred", "33(3)(a)"),
    Asked("aware", "When the controller became aware", "33(1)"),
    Asked("subjects", "Categories of data subjects", "33(3)(a)"),
    Asked("subjects_count", "Approximate number of data subjects", "33(3)(a)"),
    Asked("personal", "Categories of personal data records", "33(3)(a)"),
    Asked("exposure", "Approximate number of records: predictions concerned", "33(3)(a)"),
    Asked("contact", "Data protection officer or other contact point", "33(3)(b)"),
    Asked("consequences", "Likely consequences", "33(3)(c)"),
    Asked("measures", "Measures taken and proposed, also against adverse effects", "33(3)(d)"),
    Asked("actions", "What was done in the workspace since", "33(3)(d)"),
    Asked("delay", "Reasons for the delay", "33(1)", optional=True),
    Asked("informed", "Whether the people concerned were informed", "34", optional=True),
    Asked("system", "System concerned", "33(5)"),
    Asked("alerts", "How it was detected", "33(5)"),
    Asked("preserved", "Evidence preserved", "33(5)"),
)
FIELDS = {name: _GDPR if name.startswith("gdpr") else _AI_ACT for name in DUTIES}
DECLARABLE = sorted(
    {field.key for fields in FIELDS.values() for field in fields}
    - {"what", "aware", "system", "alerts", "suspects", "actions", "altered", "preserved"}
)
"""The fields that people declare; the others follow from the ledger alone."""


class Field(msgspec.Struct, frozen=True):
    """One field of a report, and where its value comes from."""

    key: str
    title: str
    article: str
    source: Source
    value: list[str]


class IncidentReport(msgspec.Struct, frozen=True):
    """A report for one duty."""

    incident: str
    duty: str
    article: str
    to: str
    made: str
    clock: Clock
    fields: list[Field]
    timeline: list[str]

    @property
    def missing(self) -> list[str]:
        return [field.key for field in self.fields if field.source == "missing"]


def build(
    incident: Incident,
    duty: str,
    evidence: Mapping[str, list[str]],
    *,
    now: datetime,
    names: Mapping[str, str],
) -> IncidentReport:
    """The report for a duty, from what people declared and from `evidence` (key → lines)."""
    asked = DUTIES[duty]
    clock = clock_of(incident, duty, now)
    stated = {
        **{key: [text] for key, text in incident.declared.items()},
        "what": [incident.what],
        "aware": [incident.aware, *moves(incident)],
    }
    fields: list[Field] = []
    for field in FIELDS[duty]:
        source: Source = "missing"
        value: list[str] = []
        if field.key in evidence:
            also = [f"declared: {text}" for text in stated.get(field.key, [])]
            source, value = "evidence", [*evidence[field.key], *also]
        elif stated.get(field.key):
            source, value = "declared", stated[field.key]
        late = field.key == "delay" and clock.state in ("overdue", "late")
        if value or not field.optional or late:
            fields.append(Field(field.key, field.title, field.article, source, value))
    return IncidentReport(
        incident.id,
        duty,
        asked.article,
        asked.to,
        timestamp(now),
        clock,
        fields,
        [
            f"{e.at} {e.event} by {names.get(e.actor, e.actor)}: {e.reason}"
            for e in incident.timeline
        ],
    )


def moves(incident: Incident) -> list[str]:
    """That awareness was said to be earlier before, if it was: a clock is not set back unseen."""
    return [
        f"moved at {entry.at} from {before} to {entry.aware}: {entry.reason}"
        for before, entry in incident.moved
    ]


def markdown(report: IncidentReport) -> str:
    """The report as a page to edit and send."""
    lines = [
        f"# Incident {report.incident}",
        "",
        f"**{report.article}**, to {report.to}.",
        f"Due {report.clock.due}: {report.clock.words}.",
        "",
        f"Drafted by assay at {report.made} from its ledger and from what people declared; not "
        "legal advice. Each field says where it comes from.",
    ]
    if report.missing:
        lines += ["", f"**Missing: {', '.join(report.missing)}.**"]
    for field in report.fields:
        lines += ["", f"## {field.title}", "", f"*{field.source}*, Article {field.article}", ""]
        parts = [_quoted(line) for text in field.value for line in text.splitlines()]
        # A line of its own each: quoted lines that follow each other are one paragraph.
        lines += "\n>\n".join(f"> {part}" for part in parts or ["(missing)"]).split("\n")
    lines += ["", "## Timeline", "", *(f"- {_quoted(step)}" for step in report.timeline), ""]
    return "\n".join(lines)


def _quoted(line: str) -> str:
    """A line of any origin, which starts no heading, list, link or markup of its own."""
    shown = "".join(c if c.isprintable() else "?" for c in line)
    for mark in "\\`*_[]<>#|":
        shown = shown.replace(mark, f"\\{mark}")
    return shown
