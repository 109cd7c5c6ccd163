"""Actions about alerts: raise them, acknowledge them, tell the channels, look at them.

What was told is on the ledger: `alert` (one statement when an episode is raised, when it has grown
and when it is resolved), `acknowledgement` (a person's word on it) and `notification` (which
channel took which of them).  `watch` and `notify` are what a monitor calls: they ask the door only
when there is something to record.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, ClassVar

import msgspec

from assay.actions import alert_causes
from assay.actions.people import project_target, subject_of
from assay.actions.serving import endpoint_target, never_deployed
from assay.errors import Conflict, NotFound, Usage
from assay.evidence.state import kind_of
from assay.monitor import alerts
from assay.monitor.alert_words import explained
from assay.monitor.alerts import PRODUCER, QUIET, Alert, Signal
from assay.policy import vocabulary as cedar
from assay.types import Digest
from assay.workspace.action import Action, Doing, Outcome, Target
from assay.workspace.view import View

Perform = Callable[[Action], Any]


def alerts_subject(project: str, endpoint: str) -> dict[str, Digest]:
    """What statements about the alerts of an endpoint are about: its life, and its alerts alone,
    so that they are found without reading every window."""
    here = f"{project}/{endpoint}"
    return {**subject_of(f"monitor:{here}"), **subject_of(f"alerts:{here}")}


def recorded(view: View, project: str, endpoint: str) -> list[tuple[str, dict[str, Any]]]:
    """What the workspace itself recorded about the alerts of an endpoint: (kind, predicate), in
    the order of the ledger."""
    about = subject_of(f"alerts:{project}/{endpoint}")[f"alerts:{project}/{endpoint}"]
    return [
        (kind_of(item.statement), item.statement.predicate)
        for item in alert_causes.ours(view, project, about, PRODUCER)
    ]


def alerts_of(view: View, project: str, endpoint: str) -> list[Alert]:
    """Every episode of an endpoint, oldest first, as it stands."""
    return alerts.fold(recorded(view, project, endpoint))


def alert_target(view: View, project: str, endpoint: str, context: dict[str, Any]) -> Target:
    """An endpoint whose alerts must not change meanwhile: two monitors raise one alert once."""
    target = endpoint_target(view, project, endpoint, context)
    about = subject_of(f"alerts:{project}/{endpoint}")
    target.subjects = [f"endpoint:{project}/{endpoint}", *(f"digest:{d}" for d in about.values())]
    # The evidence about a version is read at every promotion: what is decided here every day is
    # not among it.
    target.digests = {}
    return target


class RaiseAlerts(Action, frozen=True, kw_only=True):
    """Record which alerts the signals until `window` raise, make larger or resolve.

    The value lists what changed.  Give it *every* signal known since the baseline, or what `watch`
    chooses of them; what was recorded already changes nothing.
    """

    name: ClassVar[str] = "observe"
    endpoint: str
    signals: tuple[dict[str, Any], ...]
    window: int = -1
    """The last window that was looked at; -1 resolves nothing."""
    judged: tuple[str, ...] = ()
    """The kinds of signals that could be judged in it: what was not judged is not resolved."""
    quiet: int = QUIET

    def target(self, view: View) -> Target:
        self.read()
        return alert_target(view, self.project, self.endpoint, {})

    def read(self) -> list[Signal]:
        """The signals; raises `Usage` for what is none."""
        if not 1 <= self.quiet <= 10_000:
            raise Usage(
                f"quiet is {self.quiet}", remedy="give from 1 to 10,000", code="alerts.quiet"
            )
        return [alerts.read(signal) for signal in self.signals]

    def apply(self, doing: Doing) -> Outcome:
        found = _plan(doing.view, self, now=doing.view.now())
        subject = alerts_subject(self.project, self.endpoint)
        made: list[Alert] = []
        for change in found.changes:
            suspects = alert_causes.upstream(doing.view, self.project, change)
            honest = _honest(doing.view, self.project, change)
            made.append(explained(honest, self.project, suspects))
        statements = [
            doing.attest("alert", subject, alerts.predicate(alert), producer=PRODUCER)
            for alert in made
        ]
        return Outcome([as_dict(alert) for alert in made], statements)


def _honest(view: View, project: str, change: Alert) -> Alert:
    """The alert with the reason why it is over: of a version that no longer answers, later windows
    say nothing."""
    serving = str(view.state.endpoints[f"{project}/{change.endpoint}"]["version"])
    if change.open or change.version in ("", serving):
        return change
    why = f"version {change.version} no longer answers: {serving} does"
    return msgspec.structs.replace(change, why=why)


def _plan(view: View, asked: RaiseAlerts, *, now: str = "") -> alerts.Plan:
    return alerts.plan(
        alerts_of(view, asked.project, asked.endpoint),
        asked.read(),
        project=asked.project,
        endpoint=asked.endpoint,
        window=asked.window,
        judged=asked.judged,
        quiet=asked.quiet,
        now=now,
    )


def watch(
    perform: Perform,
    view: View,
    project: str,
    endpoint: str,
    signals: Sequence[Mapping[str, Any]],
    *,
    window: int,
    judged: Collection[str],
    quiet: int = QUIET,
) -> list[dict[str, Any]]:
    """Raise, make larger and resolve alerts; what changed.  Asks nothing when nothing does, and
    for what does only with the signals that matter."""
    every = RaiseAlerts(
        project=project,
        endpoint=endpoint,
        signals=tuple(dict(signal) for signal in signals),
        window=window,
        judged=tuple(sorted(judged)),
        quiet=quiet,
    )
    found = _plan(view, every)
    if not found.changes:
        return []
    few = tuple(msgspec.to_builtins(signal) for signal in found.signals)
    return perform(msgspec.structs.replace(every, signals=few))


def as_dict(alert: Alert) -> dict[str, Any]:
    """An alert as commands and reports show it."""
    return {**msgspec.to_builtins(alert), "state": alert.state}


class AcknowledgeAlert(Action, frozen=True, kw_only=True):
    """A person has seen an alert, says why it may stand, or ends it.

    It counts for the alert as it is now: when it grows, somebody has to look again.  One that was
    closed is raised anew, as another episode, when later windows show it again.
    """

    name: ClassVar[str] = "manageAlerts"
    endpoint: str
    alert: str
    reason: str
    close: bool = False

    def target(self, view: View) -> Target:
        self.find(view)
        return alert_target(
            view, self.project, self.endpoint, {"reason": cedar.reason(self.reason)}
        )

    def find(self, view: View) -> Alert:
        """The alert, which must be open; raises `NotFound` and `Conflict`."""
        found = alerts.find(alerts_of(view, self.project, self.endpoint), self.alert)
        if found is None:
            raise NotFound(
                f"the endpoint {self.endpoint} has no alert {self.alert[:40]!r}",
                remedy=f"assay alerts list {self.endpoint} --project {self.project}",
                code="alerts.alert",
            )
        if not found.open:
            raise Conflict(
                f"the alert {found.id} is {found.state} already",
                remedy=f"assay alerts show {found.id} --project {self.project}",
                code="alerts.over",
            )
        return found

    def apply(self, doing: Doing) -> Outcome:
        must_be_person(doing)
        found = self.find(doing.view)
        subject = alerts_subject(self.project, self.endpoint)
        now = doing.view.now()
        told: dict[str, Any] = {
            "alert": found.id,
            "actor": doing.actor,
            "reason": self.reason,
            "at": now,
            "step": found.step,
            "closed": self.close,
        }
        statements = [doing.attest("acknowledgement", subject, told, producer=PRODUCER)]
        if self.close:
            known = alert_causes.windows(doing.view, self.project, self.endpoint)
            over = alerts.closed(
                found,
                through=max(known, default=-1),
                why="closed by a person, who said why",
                now=now,
            )
            over = explained(over, self.project, found.upstream)
            statements.append(
                doing.attest("alert", subject, alerts.predicate(over), producer=PRODUCER)
            )
        return Outcome({"endpoint": self.endpoint, **told}, statements)


def must_be_person(doing: Doing) -> None:
    """Raise `Usage` unless a person asks: no machine reads an alert for somebody."""
    if doing.view.state.actors[doing.actor].kind != "person":
        raise Usage(
            "only a person can say what an alert or an incident means",
            remedy="ask with a personal key: --as NAME",
            code="alerts.person",
        )


class ReadAlerts(Action, frozen=True, kw_only=True):
    """Look at the alerts of an endpoint, or of all endpoints of a project."""

    name: ClassVar[str] = "readEvidence"
    endpoint: str = ""

    def target(self, view: View) -> Target:
        endpoints(view, self.project, self.endpoint)
        return project_target(view, self.project, {})

    def apply(self, doing: Doing) -> Outcome:
        chosen = endpoints(doing.view, self.project, self.endpoint)
        found = [a for name in chosen for a in alerts_of(doing.view, self.project, name)]
        return Outcome([as_dict(alert) for alert in found])


def endpoints(view: View, project: str, name: str = "") -> list[str]:
    """The endpoints of a project, by name, or the one called `name`; raises `NotFound` when there
    is none: that nothing was found of what is not there says nothing."""
    keys = (key.partition("/") for key in view.state.endpoints)
    known = sorted(endpoint for here, _, endpoint in keys if here == project)
    if name and name not in known:
        raise never_deployed(view, project, name)
    return [name] if name else known
