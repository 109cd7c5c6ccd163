"""``assay alerts``: what the monitor found, who has seen it, and who was told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from assay.cli.groups import Group
from assay.cli.output import counted, emit, escape, note, say, table
from assay.cli.session import As, AsJson, InProject, Session

if TYPE_CHECKING:
    from assay.monitor.alerts import Alert
    from assay.workspace.view import View

alerts = typer.Typer(cls=Group, help="What the monitor found, who has seen it, who was told.")

COLOURS = {"critical": "bold red", "warning": "yellow", "info": "blue"}

Id = Annotated[str, typer.Argument(metavar="ID", help="The alert, or how its id begins.")]
Endpoint = Annotated[str, typer.Argument(metavar="NAME", help="The endpoint: a model's name.")]
Channel = Annotated[str, typer.Option(help="Only this channel.", metavar="NAME")]


def add_to(app: typer.Typer) -> None:
    app.add_typer(alerts, name="alerts", no_args_is_help=True)


@alerts.command("list")
def list_(
    name: Annotated[
        str, typer.Argument(metavar="[NAME]", help="One endpoint; else every one of the project.")
    ] = "",
    everything: Annotated[
        bool, typer.Option("--all", help="Also those that are over, newest last.")
    ] = False,
    actor: As = "",
    project: InProject = "",
    as_json: AsJson = False,
) -> None:
    """Show the alerts that are open, the gravest first.

    Example: assay alerts list
    """
    from assay.actions import alert_causes
    from assay.actions.alerts import alerts_of, as_dict, endpoints
    from assay.actions.incidents import as_dict as incident_dict
    from assay.actions.incidents import incidents_of

    session = Session(actor, project, as_json)
    view = session.view("alerts")
    chosen = endpoints(view, session.project, name)
    found = [as_dict(a) for one in chosen for a in alerts_of(view, session.project, one)]
    shown = found if everything else [a for a in found if a["state"] in ("open", "acknowledged")]
    if not everything:
        grave = list(COLOURS)
        shown = sorted(shown, key=lambda a: (grave.index(a["severity"]), a["raised"]))
    emit(as_json, shown, lambda: _list(shown, len(found) - len(shown)))
    if as_json:
        return
    for one in chosen:
        windows = alert_causes.windows(view, session.project, one)
        if windows:
            last = windows[max(windows)]["to"]
            count = counted(len(windows), "window")
            note(f"{escape(one)}: watched until {escape(last[:16])}Z, {count}")
        else:
            note(
                f"[yellow]nothing is known of {escape(one)} yet[/]: no window of it was ever "
                f"closed (assay monitor status {escape(one)})"
            )
    # Whoever looks at alerts is who should hear of a report that is owed.
    held = [i for one in chosen for i in incidents_of(view, session.project, one)]
    tell_overdue([incident_dict(incident, view) for incident in held])


def _list(shown: list[dict[str, Any]], more: int) -> None:
    rows = [
        (a["id"], a["severity"], a["state"], a["raised"][:16], a["version"], a["title"])
        for a in shown
    ]
    over = f"; {counted(more, 'alert')} over (--all)" if more else ""
    columns = ("alert", "severity", "state", "raised (UTC)", "version", "what")
    table(columns, rows, empty=f"no alert is open{over}")


def tell_overdue(held: list[dict[str, Any]]) -> None:
    """Reports that are owed and late, on standard error, whatever else was asked."""
    for incident in held:
        for clock in incident["clocks"]:
            if clock["state"] == "overdue":
                note(
                    f"[bold red]{escape(clock['article'])}[/], incident {escape(incident['id'])}: "
                    f"{escape(clock['words'])}"
                )


def found_alert(session: Session, text: str) -> tuple[View, Alert]:
    """An alert of the project by its id; raises `NotFound`."""
    from assay.actions.alerts import alerts_of, endpoints
    from assay.errors import NotFound
    from assay.monitor.alerts import find

    project = session.project
    view = session.view(f"alert {text}")
    every = [a for name in endpoints(view, project) for a in alerts_of(view, project, name)]
    alert = find(every, text)
    if alert is None:
        raise NotFound(
            f"no alert, or several, called {text[:40]!r} in project {project}",
            remedy=f"assay alerts list --all --project {project}",
            code="alerts.alert",
        )
    return view, alert


@alerts.command("show")
def show(alert: Id, actor: As = "", project: InProject = "", as_json: AsJson = False) -> None:
    """Show one alert: what was measured, what probably caused it, and what to do.

    Example: assay alerts show 3f9c2ab4
    """
    from assay.actions.alerts import as_dict

    session = Session(actor, project, as_json)
    _, found = found_alert(session, alert)
    emit(as_json, as_dict(found), lambda: _show(session, found))


def _show(session: Session, a: Alert) -> None:
    from assay.monitor import alert_words

    say(f"[{COLOURS[a.severity]}]{a.severity}[/] [bold]{escape(a.title)}[/]")
    say(f"  alert {escape(a.id)}, {escape(a.state)}; version {escape(a.version or 'any')}")
    if figures := alert_words.figures(a):
        say(f"  {escape(figures)}")
    began = f" (seen in the one from {a.from_[:16]}Z)" if a.from_ else ""
    say(f"  since window {a.since}{escape(began)}, told at {escape(a.changed[:16])}Z")
    if a.step > 1:
        say(f"  it has grown {counted(a.step - 1, 'time')} since {escape(a.raised[:16])}Z")
    if a.episode > 1:
        say(f"  it was there before: this is episode {a.episode}")
    if a.promise:
        say(f"  {escape(a.promise)}")
    say("  probably because of:")
    for change in a.upstream:
        say(f"    {escape(change['at'][:16])}Z {escape(change['what'])}")
    for told in a.causes:
        words = f": {told['words']}" if told.get("words") else ""
        say(f"    {escape(alert_words.cause(told) + words)}")
    if not a.upstream and not a.causes:
        say("    nothing that is on record")
    if a.why:
        say(f"  over: {escape(a.why)}")
    if (ack := a.acknowledged) is not None:
        done = "closed" if ack.closed else "acknowledged"
        grown = "" if ack.step >= a.step else ", before it grew"
        who = escape(session.name(ack.actor))
        say(f"  {done} by {who} at {escape(ack.at[:16])}Z{grown}: {escape(ack.reason)}")
    for step in a.next:
        say(f"  → {escape(step)}")


@alerts.command("ack")
def ack(
    alert: Id,
    reason: Annotated[str, typer.Option(help="Why it may stand, or what was done about it.")],
    close: Annotated[
        bool, typer.Option("--close", help="It is dealt with: later windows raise it anew.")
    ] = False,
    actor: As = "",
    project: InProject = "",
    as_json: AsJson = False,
) -> None:
    """Say that you have seen an alert, and why it may stand.  When it grows it asks again.

    Example: assay alerts ack 3f9c2ab4 --reason "a new branch opened"
    """
    from assay.actions.alerts import AcknowledgeAlert

    session = Session(actor, project, as_json)
    _, found = found_alert(session, alert)
    done = session.perform(
        AcknowledgeAlert(
            project=session.project,
            endpoint=found.endpoint,
            alert=found.id,
            reason=reason,
            close=close,
        )
    )
    words = "closed" if close else "acknowledged"
    emit(as_json, done, lambda: say(f"{words} [bold]{escape(found.id)}[/]: {escape(found.title)}"))


@alerts.command("test")
def try_channels(
    name: Endpoint,
    channel: Channel = "",
    actor: As = "",
    project: InProject = "",
    as_json: AsJson = False,
) -> None:
    """Send every channel of assay.toml an alert that says it is a test; say what each answered.

    Exit status 1 when a channel did not take it.

    Example: assay alerts test credit --channel pager
    """
    from assay.actions.notifications import TestChannels

    session = Session(actor, project, as_json)
    done = session.perform(TestChannels(project=session.project, endpoint=name, channel=channel))
    _answered(done, as_json)


@alerts.command("send")
def send(name: Endpoint, actor: As = "", project: InProject = "", as_json: AsJson = False) -> None:
    """Tell the channels now what they have not taken yet, also those that failed a moment ago.

    `assay monitor run` does the same by itself.  Exit status 1 when a channel did not take it.

    Example: assay alerts send credit
    """
    from assay.actions.notifications import Notify

    session = Session(actor, project, as_json)
    done = session.perform(Notify(project=session.project, endpoint=name, at_once=True))
    _answered(done, as_json)


def _answered(done: list[dict[str, Any]], as_json: bool) -> None:
    emit(as_json, done, lambda: _answers(done))
    if not all(answer["ok"] for answer in done):
        raise typer.Exit(1)


def _answers(done: list[dict[str, Any]]) -> None:
    if not done:
        say("every channel has been told everything")
    for answer in done:
        mark = "[green]✓[/]" if answer["ok"] else "[red]✗[/]"
        tries = f" after {counted(answer['attempts'], 'attempt')}" if answer["attempts"] > 1 else ""
        address = f" at {answer['address']}" if answer["address"] else ""
        say(
            f"{mark} [bold]{escape(answer['channel'])}[/]{escape(address)}: "
            f"{escape(answer['words'])}{tries}"
        )
