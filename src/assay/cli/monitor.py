"""``assay monitor``: watch what runs, and look at what was found."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from assay.cli import monitor_baseline, monitor_report, output
from assay.cli.groups import Group
from assay.cli.output import counted, emit, escape, note, say
from assay.cli.session import As, AsJson, InProject, Session
from assay.errors import AssayError, Denied, Usage

_LEAST = 1.0
_NEWS = ("windows", "measured", "alerts", "retraining")
TOKEN = "ASSAY_TOKEN"  # noqa: S105 - the name of the variable
_PATIENCE = 10
"""Rounds in a row that may fail before the monitor gives up."""

monitor = typer.Typer(cls=Group, no_args_is_help=True, help="Watch an endpoint.")
Endpoint = Annotated[str, typer.Argument(metavar="NAME", help="The endpoint: a model's name.")]


def add_to(app: typer.Typer) -> None:
    monitor_baseline.add_to(monitor)
    monitor.command("run")(run)
    monitor.command("status")(status)
    monitor_report.add_to(monitor)
    app.add_typer(monitor, name="monitor")


def run(
    name: Endpoint,
    once: Annotated[bool, typer.Option("--once", help="One round, then end.")] = False,
    every: Annotated[float, typer.Option(help="Seconds between two rounds.")] = 60.0,
    actor: As = "",
    project: InProject = "",
    as_json: AsJson = False,
) -> None:
    """Seal what was answered, close windows, count labels, raise alerts, tell the channels, and
    retrain where an approved plan of changes says so.

    Runs until it is stopped; with --once, as a scheduled job.  It may be killed at any time and
    started again anywhere: what is recorded is done, and nothing else is kept.  A service asks with
    its token in ASSAY_TOKEN, and needs the role pipeline.

    Example: assay monitor run credit
    """
    if every < _LEAST:
        raise Usage(f"a round every {every:g} seconds", remedy=f"--every {_LEAST:g} or more")
    token = "" if actor else os.environ.get(TOKEN, "")
    if token:
        note(f"asking with the token in {TOKEN}; --as NAME asks as a person")
    session = Session(actor, project, as_json, token=token)
    session.view(f"monitoring of {name}")
    if once:
        done, failed = _round(session, name)
        emit(as_json, done, lambda: _tell(done))
        if failed is not None:
            raise failed
        return
    _forever(session, name, every, as_json)


def _forever(session: Session, name: str, every: float, as_json: bool) -> None:
    stop = threading.Event()
    # A round that has begun is brought to its end; Ctrl-C twice ends it where it is.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda n, _: _ask_to_stop(stop, n))
    failed = 0
    while True:
        try:
            done, stopped = _round(session, name)
            failed = 0
            if any(done.get(what) for what in _NEWS):
                emit(as_json, done, lambda done=done: _tell(done))
            if stopped is not None:
                note(f"retraining: {stopped.message}; the next round goes on with it")
        except AssayError as error:
            failed += 1
            note(f"{error.message}; trying again ({failed} of {_PATIENCE})")
            if failed >= _PATIENCE:
                raise
        if stop.wait(min(every * 2**failed, 3600.0)):
            note("stopped")
            return


def _ask_to_stop(stop: threading.Event, number: int) -> None:
    if stop.is_set():
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)
    stop.set()


def _round(session: Session, name: str) -> tuple[dict[str, Any], AssayError | None]:
    """What a round did, and why a retraining stopped, if one did."""
    from assay.actions.monitoring import observe

    workspace = session.workspace
    workspace.view.follow()
    done = observe(session.perform, workspace.view, workspace.layout, session.project, name)
    try:
        return {**done, "retraining": _retrained(session, name)}, None
    except Denied as error:
        # An operator watches and does not retrain: that is for somebody else's rounds.
        return {**done, "retraining": {"state": "left to others", "why": error.message}}, None
    except AssayError as error:
        return {**done, "retraining": {"state": "stopped", "why": error.message}}, error


def _retrained(session: Session, name: str) -> dict[str, Any] | None:
    """What an approved plan of changes lets the loop do by itself, done."""
    from assay.actions.retraining import as_dict, carry_out, due

    wanted = due(session.workspace, session.project, name)
    if wanted is None:
        return None
    with output.progress(session.as_json) as tell:
        carried = carry_out(
            session.workspace,
            session.credential,
            session.project,
            name,
            wanted,
            folder=Path.cwd(),
            tell=tell,
        )
    return as_dict(carried)


def _tell(done: Mapping[str, Any]) -> None:
    from assay.monitor.windows import Pending

    for window in done["windows"]:
        said = "" if window["state"] == "ok" else f" ({escape(window['state'])})"
        span = f"{window['from'][:16]} to {window['to'][:16]}"
        say(f"window {window['number']}: {window['rows']:,} rows, {span}{said}")
    for window in done["measured"]:
        share = f"{100 * window['coverage']:.0f} %"
        say(f"window {window['number']}: labels of {share} of its rows are counted")
    for alert in done["alerts"]:
        colour = {"critical": "red", "warning": "yellow"}.get(alert["severity"], "blue")
        say(f"[{colour}]{escape(alert['severity'])}[/] {escape(alert['title'])}")
        for step in alert["next"]:
            say(f"    {escape(step)}")
    if carried := done["retraining"]:
        for line in carried.get("done", []):
            say(f"  {escape(line)}")
        why = f": {carried['why']}" if carried.get("why") else ""
        say(f"retraining: {escape(carried['state'] + why)}")
    if not done["watched"]:
        _unwatched(done)
    elif not any(done[what] for what in _NEWS):
        say(f"nothing new: {Pending(**done['next']).words}")


def _unwatched(told: Mapping[str, Any]) -> None:
    served = f"{escape(told['endpoint'])}@{escape(told['version'])}"
    say(f"[bold]{served}[/] is not watched: nobody has measured what is normal for it")
    say(f"  assay monitor baseline {served}")


def status(
    name: Endpoint, actor: As = "", project: InProject = "", as_json: AsJson = False
) -> None:
    """Say in a few lines whether anything is wrong, since when, and what is promised.

    Example: assay monitor status credit
    """
    from assay.actions.alerts import alerts_of
    from assay.actions.monitor_records import pending, readings, recorded

    session = Session(actor, project, as_json)
    view = session.view(f"monitoring of {name}")
    with output.progress(as_json) as progress:
        progress("reading what was recorded")
        held = recorded(view, session.project, name)
        found = readings(held)
    open_alerts = [a for a in alerts_of(view, session.project, name) if a.open]
    plan = held.plans().get(held.serving)
    waits = pending(view, session.workspace.layout, held)
    mine = [w for w in held.windows if w["version"] == held.serving]
    last = mine[-1] if mine else None
    known = {w["number"] for w in mine}
    said = [reading for reading in found.readings() if reading.number in known]
    told: dict[str, Any] = {
        "endpoint": name,
        "version": held.serving,
        "watched": plan is not None,
        "promise": plan.promise if plan else None,
        "windows": len(mine),
        "compared": len(said),
        "last": last["to"] if last else None,
        "state": last["state"] if last else None,
        "labelled": len(known & held.figures().keys()),
        "next": waits,
        "streams": {
            stream: {"evidence": e.log_e, "limit": e.limit, "crossed": e.crossed}
            for reading in said[-1:]
            for stream, e in reading.streams.items()
        },
        "alerts": [
            {"id": a.id, "severity": a.severity, "title": a.title, "state": a.state}
            for a in open_alerts
        ],
    }
    emit(as_json, told, lambda: _status(told))


def _status(told: Mapping[str, Any]) -> None:
    if not told["watched"]:
        _unwatched(told)
    else:
        _watched(told)
    for alert in told["alerts"]:
        say(f"  {escape(alert['severity'])}: {escape(alert['title'])} ({escape(alert['id'])})")
    if told["watched"] and not told["alerts"]:
        say("  no alert is open")


def _watched(told: Mapping[str, Any]) -> None:
    served = f"{escape(told['endpoint'])}@{escape(told['version'])}"
    count = counted(told["windows"], "window")
    say(f"[bold]{served}[/], {count}, {told['labelled']:,} with labels")
    say(f"  {told['promise']}")
    if told["windows"] and not told["compared"]:
        say("  [yellow]no window can be compared[/]: they were counted for an earlier baseline")
    elif told["state"] not in ("ok", None):
        say(f"  [yellow]the last window, until {told['last'][:16]}Z, is {told['state']}[/]")
    for stream, figures in told["streams"].items():
        share = figures["evidence"] / figures["limit"]
        how = "in alarm" if share >= 1 else f"{100 * share:.0f} % of the way to an alarm"
        say(f"  {stream}: {how}")
    say(f"  {told['next'].words}")
