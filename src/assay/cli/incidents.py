"""``assay incident``: what happened, who must be told by when, and the report that they ask for."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from assay.cli import output
from assay.cli.alerts import tell_overdue
from assay.cli.groups import Group
from assay.cli.output import emit, escape, say, table
from assay.cli.session import As, AsJson, Force, InProject, Session, listed

incident = typer.Typer(cls=Group, help="What happened, and who must be told by when.")

Id = Annotated[
    str, typer.Argument(metavar="ID", help="The incident, or how its id begins or ends.")
]
Reason = Annotated[str, typer.Option(help="What happened, or why; it goes on the record.")]
Alerts = Annotated[
    str, typer.Option("--alert", help="Alerts that belong to it.", metavar="ID[,ID]")
]
Aware = Annotated[
    str,
    typer.Option(help="When whoever is responsible became aware; else now.", metavar="TIME"),
]
Duties = Annotated[
    str,
    typer.Option(
        "--duty",
        help="What has to be reported: aiact-73, aiact-73-urgent, aiact-73-death, gdpr-33.",
        metavar="DUTY[,DUTY]",
    ),
]
Declared = Annotated[
    list[str] | None,
    typer.Option("--declare", help="A field of the report.", metavar="FIELD=TEXT"),
]
_STATES = {
    "running": "yellow",
    "overdue": "bold white on red",
    "reported": "green",
    "late": "red",
    "judged": "green",
}


def add_to(app: typer.Typer) -> None:
    app.add_typer(incident, name="incident", no_args_is_help=True)


@incident.command("open")
def open_(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The endpoint: a model's name.")],
    reason: Reason,
    alert: Alerts = "",
    aware: Aware = "",
    duty: Duties = "",
    declare: Declared = None,
    actor: As = "",
    project: InProject = "",
    as_json: AsJson = False,
) -> None:
    """Open an incident: its clocks start, and what the ledger knows by now is frozen in it.

    As long as nobody says which duty applies (--duty), every clock of that law runs.

    \b
    Example: assay incident open credit --alert 3f9c2ab4 \\
               --reason "refused a group that it should not" --aware 2026-11-24T14:37:00Z
    """
    from assay.actions.incidents import OpenIncident

    session = Session(actor, project, as_json)
    done = session.perform(
        OpenIncident(
            project=session.project,
            endpoint=name,
            reason=reason,
            alerts=listed(alert),
            aware=aware,
            duties=listed(duty),
            declared=_declared(declare or []),
        )
    )
    emit(as_json, done, lambda: _show(session, done))


@incident.command("update")
def update(
    number: Id,
    reason: Reason,
    alert: Alerts = "",
    aware: Aware = "",
    duty: Duties = "",
    not_reportable: Annotated[
        str,
        typer.Option(
            help="Duties that do not apply, for the reason given; `aiact` and `gdpr` for all of "
            "that law.",
            metavar="DUTY[,DUTY]",
        ),
    ] = "",
    reported: Annotated[
        str, typer.Option(help="The duty that a report was made for.", metavar="DUTY")
    ] = "",
    authority: Annotated[str, typer.Option(help="To whom it was made.", metavar="NAME")] = "",
    reference: Annotated[str, typer.Option(help="Their number for it.", metavar="TEXT")] = "",
    at: Annotated[str, typer.Option(help="When it was made; else now.", metavar="TIME")] = "",
    complete: Annotated[
        bool, typer.Option("--complete", help="It was the whole report, not a first one.")
    ] = False,
    declare: Declared = None,
    close: Annotated[bool, typer.Option("--close", help="The incident is over.")] = False,
    actor: As = "",
    project: InProject = "",
    as_json: AsJson = False,
) -> None:
    """Add to an incident: what was found out, reported or judged.  No clock stops by itself.

    \b
    Example: assay incident update 4c1f09ab --reported gdpr-33 --authority BfDI \\
               --reference 26-114 --reason "first report, by their form"
    """
    from assay.actions.incidents import UpdateIncident
    from assay.errors import Usage

    session = Session(actor, project, as_json)
    held = _one(session, number)
    if not reported and (authority or reference or at or complete):
        raise Usage(
            "it is not said which duty the report was made for",
            remedy="add --reported DUTY",
            code="options",
        )
    report: dict[str, Any] = {"duty": reported, "authority": authority, "reference": reference}
    report |= {"complete": complete, **({"at": at} if at else {})}
    done = session.perform(
        UpdateIncident(
            project=session.project,
            endpoint=held["endpoint"],
            incident=held["id"],
            reason=reason,
            alerts=listed(alert),
            aware=aware,
            duties=listed(duty),
            dismissed=_of_law(listed(not_reportable)),
            reports=(report,) if reported else (),
            declared=_declared(declare or []),
            close=close,
        )
    )
    emit(as_json, done, lambda: _show(session, done))


def _of_law(names: tuple[str, ...]) -> tuple[str, ...]:
    """The duties, with those of a law in place of its name."""
    from assay.monitor.incidents import DUTIES, LAWS, law_of

    found: list[str] = []
    for name in names:
        found += [duty for duty in DUTIES if law_of(duty) == name] if name in LAWS else [name]
    return tuple(dict.fromkeys(found))


def _declared(given: list[str]) -> dict[str, str]:
    from assay.errors import Usage
    from assay.monitor.incident_report import DECLARABLE

    found: dict[str, str] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or name not in DECLARABLE or not value:
            raise Usage(
                f"{text[:40]!r} declares no field of a report",
                remedy=f"--declare FIELD=TEXT, with FIELD one of {', '.join(DECLARABLE)}",
                code="incidents.name",
            )
        found[name] = value
    return found


def _one(session: Session, number: str) -> dict[str, Any]:
    from assay.actions.incidents import ReadIncidents

    (held,) = session.perform(ReadIncidents(project=session.project, incident=number))
    return held


@incident.command("show")
def show(number: Id, actor: As = "", project: InProject = "", as_json: AsJson = False) -> None:
    """Show one incident: its clocks, who did what when, and what is frozen in it.

    Example: assay incident show 4c1f09ab
    """
    session = Session(actor, project, as_json)
    held = _one(session, number)
    emit(as_json, held, lambda: _show(session, held))


def _show(session: Session, held: dict[str, Any]) -> None:
    over = " (closed)" if held["closed"] else ""
    say(f"[bold]incident {escape(held['id'])}[/]{over}: {escape(held['what'])}")
    say(f"  endpoint {escape(held['endpoint'])}, version {escape(held['version'])}")
    say(f"  aware since {escape(held['aware'])}")
    for moved in held["moved"]:
        say(f"  [bold red]awareness was {escape(moved)}[/]")
    for clock in held["clocks"]:
        colour = _STATES[clock["state"]]
        say(f"  [{colour}] {escape(clock['article'])}, due {escape(clock['due'][:16])}Z [/]")
        say(f"      {escape(clock['words'])}")
    for alert in held["alerts"]:
        say(f"  alert {escape(alert)}")
    say(
        f"  evidence as of {held['frozen']['size']:,} leaves is preserved, root "
        f"{escape(held['frozen']['root'])}"
    )
    for step in held["timeline"]:
        who = escape(session.name(step["actor"]))
        done = f"{step['at'][:16]}Z {step['event']}"
        say(f"  {escape(done)} by {who}: {escape(step['reason'])}")
    if any(clock["state"] in ("running", "overdue") for clock in held["clocks"]):
        duty = next(c["duty"] for c in held["clocks"] if c["state"] in ("running", "overdue"))
        say(f"  → assay incident report {escape(held['id'])} --duty {duty} --out report.md")


@incident.command("list")
def list_(
    name: Annotated[
        str, typer.Argument(metavar="[NAME]", help="One endpoint; else every one of the project.")
    ] = "",
    actor: As = "",
    project: InProject = "",
    as_json: AsJson = False,
) -> None:
    """Show the incidents, and what of each is due first.

    Example: assay incident list
    """
    from assay.actions.incidents import ReadIncidents

    session = Session(actor, project, as_json)
    held = session.perform(ReadIncidents(project=session.project, endpoint=name))
    emit(as_json, held, lambda: _list(held))
    if not as_json:
        tell_overdue(held)


def _list(held: list[dict[str, Any]]) -> None:
    rows: list[tuple[str, ...]] = []
    for one in held:
        first = one["clocks"][0]
        state = "closed" if one["closed"] else "open"
        due = f"{first['article']}: {first['words']}"
        rows.append((one["id"], state, one["endpoint"], one["aware"][:16], one["what"], due))
    columns = ("incident", "state", "endpoint", "aware (UTC)", "what", "first due")
    table(columns, rows, empty="no incident: assay incident open NAME --reason WHAT opens one")


@incident.command("report")
def report(
    number: Id,
    duty: Annotated[
        str,
        typer.Option(
            help="What it reports for: aiact-73, aiact-73-urgent, aiact-73-death, gdpr-33.",
            metavar="DUTY",
        ),
    ],
    out: Annotated[str, typer.Option(help="Write it to this file.", metavar="FILE")] = "",
    force: Force = False,
    actor: As = "",
    project: InProject = "",
    as_json: AsJson = False,
) -> None:
    """Draft a report from what is on the ledger: every field is evidence, declared or missing.

    Example: assay incident report 4c1f09ab --duty gdpr-33 --out report.md
    """
    import msgspec

    from assay.actions.incidents import ReadIncidents
    from assay.monitor.incident_report import markdown

    session = Session(actor, project, as_json)
    if out:
        output.check_result(Path(out), force=force)
    made = session.perform(ReadIncidents(project=session.project, incident=number, duty=duty))
    text = markdown(made)
    if out:
        output.write_result(Path(out), text.encode(), force=force)
    told = {**msgspec.to_builtins(made), "missing": made.missing, "file": out}

    def human() -> None:
        if not out:
            say(output.markup.escape(text))
            return
        say(f"[bold]{escape(out)}[/]: {escape(made.article)}, {escape(made.clock.words)}")
        if made.missing:
            say(f"  missing: {escape(', '.join(made.missing))}")

    emit(as_json, told, human)
