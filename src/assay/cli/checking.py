"""``assay model check``: every gate of a promotion, and the commands that open the closed ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from assay.cli import words
from assay.cli.model import model
from assay.cli.output import counted, emit, escape, measured, say
from assay.cli.session import As, AsJson, InProject, Ref, Session

if TYPE_CHECKING:
    from assay.actions.gates import Checklist


def add_to(app: typer.Typer) -> None:
    """The command belongs to the group `model`, which is in the tree already."""


@model.command("check")
def check(
    ref: Ref,
    stage: Annotated[str, typer.Option("--for", help="Stage.", metavar="STAGE")] = "production",
    region: Annotated[str, typer.Option(help="Where it would run.")] = "local",
    actor: As = "",
    project: InProject = "",
    as_json: AsJson = False,
) -> None:
    """Every gate of a promotion: open or closed, and what to run to open it.  Changes nothing.

    Exit status 0 when all gates are open, else 3.

    Example: assay model check credit@3 --for production
    """
    from assay.actions.gates import checklist
    from assay.actions.release import Promote
    from assay.cli.session import choice
    from assay.types import STAGES, parse_model_ref

    name, version = parse_model_ref(ref)
    choice(stage, STAGES, "stage")
    session = Session(actor, project, as_json)
    version_of = session.view(f"gates of {ref}").version(session.project, name, version)
    found = checklist(
        session.workspace,
        session.person,
        Promote(project=session.project, model=name, version=version, stage=stage, region=region),
    )
    # What cannot be served cannot be measured either: no command but a new registration helps.
    route = "" if version_of.served else str(version_of.details.get("route", ""))
    why = "" if version_of.served else str(version_of.details.get("unservable", ""))
    emit(as_json, found, lambda: _print(found, ref, stage, why, route))
    if not found.open:
        raise typer.Exit(3)


def _print(found: Checklist, ref: str, stage: str, why: str, route: str) -> None:
    for gate in found.gates:
        mark = "[green]✓[/]" if gate.passed else "[red]✗[/]"
        advice = "" if gate.passed else f"  {escape(gate.advice)}"
        say(f"{mark} [bold]{escape(gate.gate)}[/]{advice}")
        if not gate.passed and gate.measured:
            say(f"    {escape(measured(gate.measured))}")
    if found.role:
        say(f"[yellow]![/] {escape(found.role)}")
    if found.open:
        say(f"\nevery gate is open: assay promote {escape(ref)} --to {escape(stage)}")
        return
    closed = [gate for gate in found.gates if not gate.passed]
    are = "is" if len(closed) == 1 else "are"
    say(f"\n{len(closed)} of {counted(len(found.gates), 'gate')} {are} closed")
    if why:
        say(f"it cannot be served: {escape(why)}")
        say(f"  → {escape(route)}; then register that as a new version")
        return
    if found.steps:
        say("to open them, in this order:")
    for number, step in enumerate(found.steps, start=1):
        say(f"  {number}. {escape(step.command)}")
        say(f"     {words.duration(step.seconds)}; for {escape(', '.join(step.gates))}")
    stuck = [gate.gate for gate in closed if not gate.remedy]
    if stuck:
        say(f"no command opens {escape(', '.join(stuck))}: another version, or other limits, may")
