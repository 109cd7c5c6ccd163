"""Actions about incidents: open one, add to it, look at them, and draft a report from evidence.

Everything is an `incident` statement about the alerts of an endpoint; see `assay.monitor.incidents`
for what its clocks mean.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any, ClassVar

import msgspec

from assay import canonical
from assay.actions import alert_causes
from assay.actions.alerts import (
    alert_target,
    alerts_of,
    alerts_subject,
    endpoints,
    must_be_person,
    recorded,
)
from assay.actions.people import project_target
from assay.clock import parse_timestamp, timestamp
from assay.errors import Conflict, NotFound, Usage
from assay.monitor import alert_words, alerts, incident_report, incidents
from assay.monitor.alerts import PRODUCER, Alert
from assay.monitor.incident_report import DECLARABLE
from assay.monitor.incidents import DUTIES, LONGEST_TEXT, Incident
from assay.policy import vocabulary as cedar
from assay.workspace.action import Action, Doing, Outcome, Target
from assay.workspace.view import View

_AHEAD = timedelta(minutes=5)
_MOST_ALERTS = 50


def incidents_of(view: View, project: str, endpoint: str) -> list[Incident]:
    """The incidents of an endpoint, oldest first."""
    entries = [told for kind, told in recorded(view, project, endpoint) if kind == "incident"]
    return incidents.fold(entries)


def find(view: View, project: str, text: str, endpoint: str = "") -> Incident:
    """The incident whose id is `text`, or begins or ends so; raises `NotFound`."""
    chosen = endpoints(view, project, endpoint)
    every = [i for name in chosen for i in incidents_of(view, project, name)]
    close = [i for i in every if i.id == text]
    if not close and len(text) >= 4:
        close = [i for i in every if i.id.startswith(text) or i.id.endswith(text)]
    if len(close) != 1:
        raise NotFound(
            f"{'several incidents are' if close else 'no incident is'} called {text[:40]!r}",
            remedy=f"assay incident list --project {project}",
            code="incidents.incident",
        )
    return close[0]


class _Told(Action, frozen=True, kw_only=True):
    """What opening an incident and adding to it have in common."""

    name: ClassVar[str] = ""
    endpoint: str
    reason: str
    alerts: tuple[str, ...] = ()
    aware: str = ""
    """When whoever is responsible became aware; RFC 3339."""
    duties: tuple[str, ...] = ()
    declared: dict[str, str] = msgspec.field(default_factory=dict[str, str])

    def target(self, view: View) -> Target:
        self.check(view)
        return alert_target(
            view, self.project, self.endpoint, {"reason": cedar.reason(self.reason)}
        )

    def check(self, view: View) -> None:
        """Raise `Usage` or `NotFound` for what cannot be recorded."""
        _one_of(self.duties, list(DUTIES), "duty")
        _one_of(list(self.declared), DECLARABLE, "field of a report that people declare")
        for text in (self.reason, *self.declared.values()):
            if len(text) > LONGEST_TEXT:
                raise Usage(
                    f"a text of {len(text):,} characters is too long for an incident",
                    remedy=f"at most {LONGEST_TEXT:,}: keep the rest where you keep documents, and "
                    "say here where",
                    code="incidents.text",
                )
        if self.aware:
            _not_ahead(view, self.aware, "aware")
        self.found(view)

    def found(self, view: View) -> list[Alert]:
        """The alerts that are named."""
        known = alerts_of(view, self.project, self.endpoint)
        named: list[Alert] = []
        for text in self.alerts[:_MOST_ALERTS]:
            alert = alerts.find(known, text)
            if alert is None:
                raise NotFound(
                    f"the endpoint {self.endpoint} has no alert {text[:40]!r}",
                    remedy=f"assay alerts list {self.endpoint} --project {self.project}",
                    code="alerts.alert",
                )
            named.append(alert)
        return named

    def told(self, doing: Doing, incident: str, event: str) -> dict[str, Any]:
        """What an entry says, whichever it is."""
        return {
            "incident": incident,
            "event": event,
            "actor": doing.actor,
            "at": doing.view.now(),
            "reason": self.reason,
            "endpoint": self.endpoint,
            "aware": incidents.readable_time(self.aware),
            "duties": list(self.duties),
            "alerts": [alert.id for alert in self.found(doing.view)],
            "declared": dict(self.declared),
        }


def _one_of(given: Any, allowed: list[str], what: str) -> None:
    for name in given:
        if name not in allowed:
            raise Usage(
                f"{name[:40]!r} is no {what}",
                remedy=f"one of {', '.join(allowed)}",
                code="incidents.name",
            )


def _not_ahead(view: View, text: str, what: str) -> None:
    if parse_timestamp(text) > parse_timestamp(view.now()) + _AHEAD:
        raise Usage(
            f"{what} is {text[:40]}, which has not been yet",
            remedy="give a time until now, such as 2026-11-24T14:37:00Z",
            code="incidents.time",
        )


class OpenIncident(_Told, frozen=True, kw_only=True):
    """Something has happened that may have to be reported: its clocks start.

    Its id is that of the decision.  As of which checkpoint the ledger knew what, is frozen in it.
    """

    name: ClassVar[str] = "manageAlerts"

    def apply(self, doing: Doing) -> Outcome:
        must_be_person(doing)
        held = doing.view.state.endpoints[f"{self.project}/{self.endpoint}"]
        version = doing.view.version(self.project, held["model"], held["version"])
        named = [alert.version for alert in self.found(doing.view) if alert.version]
        checkpoint = doing.view.checkpoint
        told = self.told(doing, doing.decision, "opened")
        told["aware"] = told["aware"] or told["at"]
        told["version"] = named[0] if named else version.version
        told["frozen"] = {
            "size": checkpoint.size,
            "root": canonical.b64(checkpoint.root),
            "version": f"{version.name}@{version.version}",
            "served": version.served or version.artifact,
        }
        statement = doing.attest(
            "incident", alerts_subject(self.project, self.endpoint), told, producer=PRODUCER
        )
        (made,) = incidents.fold([told])
        return Outcome(as_dict(made, doing.view), [statement])


class UpdateIncident(_Told, frozen=True, kw_only=True):
    """Add to an incident: what was found out, reported, or judged not to be reported; or end it."""

    name: ClassVar[str] = "manageAlerts"
    incident: str
    dismissed: tuple[str, ...] = ()
    reports: tuple[dict[str, Any], ...] = ()
    """{duty, authority, and optionally at, reference, complete}"""
    close: bool = False

    def check(self, view: View) -> None:
        super().check(view)
        held = find(view, self.project, self.incident, self.endpoint)
        _one_of(self.dismissed, list(DUTIES), "duty")
        if both := {*self.dismissed} & {*self.duties}:
            raise Usage(
                f"{', '.join(sorted(both))} cannot apply and not apply",
                remedy="say one of them",
                code="incidents.name",
            )
        aware = self.aware or held.aware
        for report in self.reported(view):
            if parse_timestamp(report.at) < parse_timestamp(aware):
                raise Usage(
                    f"a report at {report.at} was made before anybody was aware, at {aware}",
                    remedy="say when it was made (--at), or with --aware when that really was",
                    code="incidents.time",
                )

    def reported(self, view: View) -> list[incidents.Report]:
        """The reports that were made; raises `Usage` for what is none."""
        made: list[incidents.Report] = []
        for raw in self.reports:
            try:
                report = msgspec.convert({"at": view.now(), **raw}, incidents.Report)
            except msgspec.ValidationError as error:
                raise Usage(
                    f"a report that was made needs a duty and an authority ({error})",
                    remedy="--reported DUTY --authority NAME",
                    code="incidents.report",
                ) from error
            _one_of([report.duty], list(DUTIES), "duty")
            if not report.authority.strip():
                raise Usage(
                    "it is not said to whom was reported",
                    remedy="--authority NAME",
                    code="incidents.report",
                )
            _not_ahead(view, report.at, "the report")
            made.append(msgspec.structs.replace(report, at=timestamp(parse_timestamp(report.at))))
        return made

    def apply(self, doing: Doing) -> Outcome:
        must_be_person(doing)
        held = find(doing.view, self.project, self.incident, self.endpoint)
        told = self.told(doing, held.id, "closed" if self.close else "updated")
        told["dismissed"] = list(self.dismissed)
        told["reports"] = msgspec.to_builtins(self.reported(doing.view))
        made = _after(doing.view, self.project, held, told)
        if self.close:
            _must_be_settled(made, doing.view)
        statement = doing.attest(
            "incident", alerts_subject(self.project, self.endpoint), told, producer=PRODUCER
        )
        return Outcome(as_dict(made, doing.view), [statement])


def _after(view: View, project: str, held: Incident, told: dict[str, Any]) -> Incident:
    entries = [
        entry
        for kind, entry in recorded(view, project, held.endpoint)
        if kind == "incident" and entry.get("incident") == held.id
    ]
    (made,) = incidents.fold([*entries, told])
    return made


def _must_be_settled(made: Incident, view: View) -> None:
    """Raise `Conflict` while a clock of the incident runs: closing would hide it."""
    still = [c for c in incidents.clocks(made, parse_timestamp(view.now())) if c.open]
    if still:
        listed = "; ".join(f"{clock.article}: {clock.words}" for clock in still)
        raise Conflict(
            f"the incident {made.id} cannot be closed while its clocks run: {listed}",
            remedy=f"assay incident update {made.id} --reported DUTY --authority NAME, or "
            "--not-reportable DUTY, with --reason WHY",
            code="incidents.open",
        )


def as_dict(incident: Incident, view: View) -> dict[str, Any]:
    """An incident as commands and reports show it, with its clocks as of now."""
    now = parse_timestamp(view.now())
    plain: dict[str, Any] = msgspec.to_builtins(incident)
    plain["duties"] = sorted(incident.duties)
    plain["moved"] = incident_report.moves(incident)
    plain["clocks"] = msgspec.to_builtins(incidents.clocks(incident, now))
    plain["overdue"] = [clock.duty for clock in incidents.overdue(incident, now)]
    return plain


class ReadIncidents(Action, frozen=True, kw_only=True):
    """Look at the incidents of a project, or draft the report of one for a duty."""

    name: ClassVar[str] = "readEvidence"
    endpoint: str = ""
    incident: str = ""
    duty: str = ""

    def target(self, view: View) -> Target:
        _one_of([self.duty] if self.duty else [], list(DUTIES), "duty")
        endpoints(view, self.project, self.endpoint)
        return project_target(view, self.project, {})

    def apply(self, doing: Doing) -> Outcome:
        view = doing.view
        if not self.incident:
            chosen = endpoints(view, self.project, self.endpoint)
            found = [i for name in chosen for i in incidents_of(view, self.project, name)]
            return Outcome([as_dict(incident, view) for incident in found])
        held = find(view, self.project, self.incident, self.endpoint)
        if not self.duty:
            return Outcome([as_dict(held, view)])
        report = incident_report.build(
            held,
            self.duty,
            _evidence(view, self.project, held),
            now=parse_timestamp(view.now()),
            names=doing.directory.names(),
        )
        return Outcome(report)


def _evidence(view: View, project: str, incident: Incident) -> dict[str, list[str]]:
    """What the ledger itself says about an incident, by field of a report."""
    named = [a for a in alerts_of(view, project, incident.endpoint) if a.id in incident.alerts]
    frozen = incident.frozen
    found = {
        "system": [
            f"endpoint {project}/{incident.endpoint}, version {incident.version}",
            f"served bytes {frozen.get('served', '?')}",
        ],
        "preserved": [
            f"the ledger as of {frozen.get('size', '?')} leaves, root {frozen.get('root', '?')}: "
            "what it held then cannot be altered unnoticed",
        ],
    }
    if named:
        found["alerts"] = [_alert(alert) for alert in named]
        suspects = [f"{c['at']} {c['what']}" for alert in named for c in alert.upstream]
        if suspects:
            found["suspects"] = list(dict.fromkeys(suspects))
        found |= _windows(view, project, incident.endpoint, named)
    since = alert_causes.changes(view, project, incident.endpoint, incident.aware)
    if since:
        found["actions"] = [f"{change['at']} {change['what']}" for change in since]
    newer = [change for change in since if change["kind"] == "version"]
    found["altered"] = (
        [
            "YES, since awareness; before the authority is informed nothing may hinder finding the "
            "causes: " + "; ".join(change["what"] for change in newer)
        ]
        if newer
        else ["no version, hold or alias changed since awareness"]
    )
    found |= _personal(view, project, incident)
    return found


def _alert(alert: Alert) -> str:
    figures = alert_words.figures(alert)
    ack = alert.acknowledged
    # Who looks into an incident asks when somebody could have known.
    seen = f"; acknowledged at {ack.at}" if ack is not None else "; acknowledged by nobody"
    return (
        f"alert {alert.id} ({alert.severity}) at {alert.raised}: {alert.title}"
        + (f"; {figures}" if figures else "")
        + (f"; {alert.promise}" if alert.promise else "")
        + seen
    )


def _windows(view: View, project: str, endpoint: str, named: list[Alert]) -> dict[str, list[str]]:
    """When it occurred, and how many predictions were made then, from the windows closed."""
    first, last = min(a.since for a in named), max(a.seen for a in named)
    known = alert_causes.windows(view, project, endpoint)
    within = [known[number] for number in sorted(known) if first <= number <= last]
    rows = [told["rows"] for told in within if type(told.get("rows")) is int]
    if not within or len(rows) < len(within):
        return {}
    span = f"windows {first} to {last}, {within[0].get('from')} to {within[-1].get('to')}"
    return {"occurred": [span], "exposure": [f"{sum(rows):,} predictions in {span}"]}


def _personal(view: View, project: str, incident: Incident) -> dict[str, list[str]]:
    """What is personal in the data that the model was trained on, as it was declared."""
    held = view.state.endpoints[f"{project}/{incident.endpoint}"]
    models = view.versions(project, str(held["model"]))
    version = next((v for v in models if v.version == incident.version), None)
    name = str(version.details.get("dataset") or "") if version else ""
    state = view.state.datasets.get(f"{project}/{name}")
    if state is None:
        return {}
    columns = state.details.get("personal_columns") or []
    lines = [
        f"dataset {name}: {'personal data' if state.details.get('personal') else 'none declared'}"
    ]
    if columns:
        lines.append(f"personal columns: {', '.join(str(column) for column in columns)}")
    if state.details.get("special"):
        lines.append("special categories (Article 9) are declared")
    return {"personal": lines}
