"""Actions that tell alerts to the channels of ``assay.toml``.

What each channel took is on the ledger (`notification`), and what it did not take is told again by
a later run: a channel that is down delays what it is told, and loses nothing.  It is asked again
after a minute, two, four, and at last every half hour, so that it fills no ledger either.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, ClassVar

import msgspec

from assay.actions.alerts import (
    Perform,
    alert_target,
    alerts_of,
    alerts_subject,
    recorded,
)
from assay.clock import parse_timestamp
from assay.data import references
from assay.errors import AssayError, NotFound
from assay.monitor import channels as told
from assay.monitor.alerts import PRODUCER, Alert
from assay.monitor.channels import Channel, Message, Result
from assay.monitor.channels.channel import check, span
from assay.workspace.action import Action, Doing, Outcome, Target
from assay.workspace.layout import ChannelConfig, Layout
from assay.workspace.view import View

LATE = timedelta(days=7)
"""What was resolved longer ago is no news to a channel that never heard of it: it may be new."""
REPEAT = "4h"
"""For Alertmanager, which keeps its alerts in memory alone.  The others are told once."""
_PATIENCE = 30
_REFERENCES = ("env:", "file:")


class Configured(msgspec.Struct):
    """A channel of ``assay.toml``; or why it cannot be told anything."""

    name: str
    channel: Channel | None
    wrong: str = ""


def channels_of(layout: Layout, environment: Mapping[str, str] | None = None) -> list[Configured]:
    """The channels as configured.  One that is wrong does not keep the others from being told."""
    found: list[Configured] = []
    for config in layout.config.alerts.channels:
        name = config.name[:64]
        if any(name == other.name for other in found):
            found.append(Configured(f"{name} (again)", None, "another channel has its name"))
            continue
        try:
            made = _channel(layout, config, environment)
        except AssayError as error:
            found.append(Configured(name, None, error.message))
        else:
            found.append(Configured(name, made))
    return found


def _channel(
    layout: Layout, config: ChannelConfig, environment: Mapping[str, str] | None
) -> Channel:
    whose = f"the channel {config.name[:64]}"
    given = {"url": config.url, "credential": config.credential}
    referenced = [name for name, text in given.items() if text.startswith(_REFERENCES)]
    repeat = config.repeat
    if repeat is None:
        repeat = REPEAT if config.kind == "alertmanager" else ""
    if config.credential:
        references.check(config.credential, whose)
    for name in referenced:
        given[name] = references.resolve(given[name], whose, layout.base, environment)
    made = Channel(
        name=config.name,
        kind=config.kind,
        url=given["url"],
        credential=given["credential"],
        least=config.least,
        projects=tuple(config.projects),
        repeat=span(config.name, repeat),
        seconds=config.timeout,
        plain=config.plain,
        ca=str(layout.base / config.ca) if config.ca else "",
    )
    return check(made, referenced=referenced)


# -- what a channel has not been told yet ---------------------------------------------------------


class _Heard:
    """What a channel has taken, and since when it fails, from its notifications."""

    def __init__(self) -> None:
        self.taken: dict[str, tuple[int, str, datetime]] = {}
        self.failures = 0
        self.failed: datetime | None = None

    def news(self, alert: Alert, repeat: timedelta | None, now: datetime) -> bool:
        """Whether the alert is something else than what was taken."""
        held = self.taken.get(alert.id)
        if held is None:
            return alert.open or now - parse_timestamp(alert.changed) < LATE
        step, event, at = held
        if (step, event) != (alert.step, alert.event):
            return True
        return alert.open and repeat is not None and now - at >= repeat

    def patient(self, now: datetime) -> bool:
        """Whether it failed so lately that it is not asked again yet."""
        if self.failed is None:
            return False
        minutes = min(2 ** min(self.failures - 1, 10), _PATIENCE)
        return now - self.failed < timedelta(minutes=minutes)


def _heard(view: View, project: str, endpoint: str) -> dict[str, _Heard]:
    found: dict[str, _Heard] = {}
    for kind, predicate in recorded(view, project, endpoint):
        if kind != "notification" or predicate.get("test"):
            continue
        at = parse_timestamp(str(predicate["at"]))
        for item in predicate["taken"]:
            heard = found.setdefault(item["channel"], _Heard())
            heard.taken[item["alert"]] = (item["step"], item["event"], at)
        for item in predicate["answers"]:
            heard = found.setdefault(item["channel"], _Heard())
            heard.failures = 0 if item["ok"] else heard.failures + 1
            heard.failed = None if item["ok"] else at
    return found


def pending(
    view: View, layout: Layout, project: str, endpoint: str, *, at_once: bool = False
) -> list[tuple[Configured, list[Message]]]:
    """What each channel has still to be told.  With `at_once`, also by those that just failed."""
    now = parse_timestamp(view.now())
    heard, alerts = _heard(view, project, endpoint), alerts_of(view, project, endpoint)
    if not alerts:
        return []
    due: list[tuple[Configured, list[Message]]] = []
    for configured in channels_of(layout):
        known = heard.get(configured.name, _Heard())
        if known.patient(now) and not at_once:
            continue
        channel = configured.channel
        repeat = channel.repeat if channel else None
        news = [
            Message(project, alert)
            for alert in alerts
            if (channel is None or channel.tells(project, alert.severity))
            and known.news(alert, repeat, now)
        ]
        if news:
            due.append((configured, news))
    return due


def notify(
    perform: Perform, view: View, layout: Layout, project: str, endpoint: str
) -> list[dict[str, Any]]:
    """Tell every channel what it has not heard yet; what each answered.  Never raises for a
    channel, and asks the door nothing when there is nothing to tell."""
    if not pending(view, layout, project, endpoint):
        return []
    return perform(Notify(project=project, endpoint=endpoint))


class Notify(Action, frozen=True, kw_only=True):
    """Tell the alerts of an endpoint to the channels that have not heard of them yet."""

    name: ClassVar[str] = "observe"
    endpoint: str
    at_once: bool = False

    def target(self, view: View) -> Target:
        return alert_target(view, self.project, self.endpoint, {})

    def apply(self, doing: Doing) -> Outcome:
        due = pending(doing.view, doing.layout, self.project, self.endpoint, at_once=self.at_once)
        return _tell(doing, self.endpoint, due, test=False)


class TestChannels(Action, frozen=True, kw_only=True):
    """Tell the channels something that is marked as a test, and hear what each answers."""

    __test__: ClassVar[bool] = False
    name: ClassVar[str] = "observe"
    endpoint: str
    channel: str = ""

    def target(self, view: View) -> Target:
        return alert_target(view, self.project, self.endpoint, {})

    def apply(self, doing: Doing) -> Outcome:
        found = [c for c in channels_of(doing.layout) if self.channel in ("", c.name)]
        if not found:
            names = [c.name for c in doing.layout.config.alerts.channels]
            raise NotFound(
                f"assay.toml has no channel {self.channel[:64]!r}"
                if self.channel
                else "assay.toml has no channels",
                remedy=f"one of {', '.join(names)}" if names else "add [[alerts.channels]] to it",
                code="alerts.channel",
            )
        for c in found:
            if c.channel is not None and not c.channel.tells(self.project, "critical"):
                c.channel, c.wrong = None, f"it is told nothing of the project {self.project}"
        due = [(c, [self._message(doing, c.channel)]) for c in found]
        return _tell(doing, self.endpoint, due, test=True)

    def _message(self, doing: Doing, channel: Channel | None) -> Message:
        held = doing.view.state.endpoints[f"{self.project}/{self.endpoint}"]
        now = doing.view.now()
        alert = Alert(
            id=f"test-{doing.decision[-12:]}",
            fingerprint=doing.decision.replace("-", "")[-16:],
            episode=1,
            step=1,
            event="raised",
            endpoint=self.endpoint,
            version=str(held["version"]),
            kind="log",
            measure="test",
            severity=_least(channel),
            since=0,
            seen=0,
            title=f"{self.endpoint}: alerts of this endpoint arrive here",
            raised=now,
            changed=now,
        )
        return Message(self.project, alert, test=True)


def _least(channel: Channel | None) -> Any:
    # What is less than the channel is told might be dropped on its way, and prove nothing.
    return channel.least if channel is not None else "info"


def _tell(
    doing: Doing, endpoint: str, due: Sequence[tuple[Configured, Sequence[Message]]], *, test: bool
) -> Outcome:
    if not due:
        return Outcome([])
    now = doing.view.now()
    usable = [(c.channel, messages) for c, messages in due if c.channel is not None]
    doing.progress(f"telling {', '.join(channel.name for channel, _ in usable)}")
    sent = {r.channel: r for r in told.send(usable, now=parse_timestamp(now))}
    results = [sent.get(c.name) or Result(c.name, words=c.wrong) for c, _ in due]
    taken = [{"channel": r.channel, **key} for r in results for key in r.taken]
    answers = [
        {"channel": r.channel, "ok": r.ok, "attempts": r.attempts, "words": r.words[:200]}
        for r in results
    ]
    predicate = {"at": now, "test": test, "taken": taken, "answers": answers}
    subject = alerts_subject(doing.project, endpoint)
    statement = doing.attest("notification", subject, predicate, producer=PRODUCER)
    value = [
        {**answer, "told": len(r.taken), "address": _shown(c)}
        for answer, r, (c, _) in zip(answers, results, due, strict=True)
    ]
    return Outcome(value, [statement])


def _shown(configured: Configured) -> str:
    return configured.channel.shown if configured.channel is not None else ""
