"""``assay monitor report|metrics|dashboard``: look at what monitoring found."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from assay.cli import output
from assay.cli.output import check_result, emit, escape, say, write_result
from assay.cli.session import As, AsJson, Force, InProject, Session

_COLOURS = {"good": "green", "warn": "yellow", "bad": "red", "unknown": "blue"}


def add_to(group: typer.Typer) -> None:
    group.command("report")(report)
    group.command("metrics")(metrics)
    group.command("dashboard")(dashboard)


def report(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The endpoint: a model's name.")],
    out: Annotated[
        Path | None, typer.Option(help="File; default monitor-NAME.html.", metavar="FILE")
    ] = None,
    force: Force = False,
    actor: As = "",
    project: InProject = "",
    as_json: AsJson = False,
) -> None:
    """One page about an endpoint: is anything wrong, since when, and what to do.

    With --json everything behind the page is printed and no file is written, unless --out names
    one.

    Example: assay monitor report credit --out report.html
    """
    from assay.monitor.report import as_json as plain
    from assay.monitor.report import page

    if out is not None:
        check_result(out, force=force)
    session = Session(actor, project, as_json)
    view = session.view(f"monitoring of {name}")
    with output.progress(as_json) as progress:
        progress("reading what was recorded")
        made = _made(session, view, name)
    told = plain(made)
    path = out or Path(f"monitor-{made.about.endpoint}.html")
    if out is not None or not as_json:
        write_result(path, page(made).encode(), force=force)

    def human() -> None:
        found = told["verdict"]
        say(f"[bold {_COLOURS[found['tone']]}]{escape(found['title'])}[/]")
        for line in found["why"]:
            say(f"  {escape(line)}")
        for step in found["steps"]:
            say(f"    {escape(step)}")
        say(f"wrote [bold]{escape(path)}[/]")

    emit(as_json, told, human)


def metrics(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="The endpoint; default all of the project.")
    ] = "",
    out: Annotated[
        Path | None,
        typer.Option(
            help="Write it there, whole or not at all, over what is there.", metavar="FILE"
        ),
    ] = None,
    actor: As = "",
    project: InProject = "",
    as_json: AsJson = False,
) -> None:
    """The same figures as OpenMetrics text, for Prometheus.

    A timer writes it where the textfile collector of node_exporter looks.

    Example: assay monitor metrics --out /var/lib/node_exporter/assay.prom
    """
    from assay.actions.alerts import endpoints
    from assay.monitor.report.openmetrics import render

    session = Session(actor, project, as_json)
    view = session.view("the metrics of monitoring")
    chosen = [name] if name else endpoints(view, session.project)
    made = [_made(session, view, endpoint) for endpoint in chosen]
    text = render(*made)
    if out is not None:
        check_result(out, force=True)
        write_result(out, text, force=True)
    value = {"endpoints": chosen, "file": str(out) if out else None, "text": text.decode()}

    def human() -> None:
        if out is None:
            sys.stdout.write(text.decode())
        else:
            say(f"wrote [bold]{escape(out)}[/]")

    emit(as_json, value, human)


def dashboard(
    out: Annotated[Path | None, typer.Option(help="Write it there.", metavar="FILE")] = None,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """The dashboard for Grafana, to be imported as a file.  Works without a workspace.

    It shows what `assay serve` tells at /metrics and what `assay monitor metrics` writes.

    Example: assay monitor dashboard --out assay-grafana.json
    """
    from assay.monitor.report.dashboard import dashboard as made

    value = made()
    text = json.dumps(value, indent=2) + "\n"
    if out is not None:
        write_result(out, text.encode(), force=force)

    def human() -> None:
        if out is None:
            sys.stdout.write(text)
        else:
            say(f"wrote [bold]{escape(out)}[/]")

    emit(as_json, value, human)


def _made(session: Session, view: Any, name: str) -> Any:
    from assay.actions.monitor_reports import report_of

    names = session.workspace.directory.names()
    return report_of(view, session.project, name, names=names)
