"""``assay passport|export|verify`` and ``assay decision``: show evidence, and take it along."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from assay.cli import verification
from assay.cli.groups import Group
from assay.cli.output import check_result, emit, escape, named, say, table, write_result
from assay.cli.session import As, AsJson, Force, InProject, Ref, Session, choice

_MOST = 10_000

decision = typer.Typer(cls=Group, help="Decisions: what was asked, what policy said, and why.")
Decision = Annotated[
    str, typer.Argument(metavar="ID", help="A decision, as `assay decision list` shows it.")
]


def add_to(app: typer.Typer) -> None:
    app.command("passport")(passport)
    app.command("export")(export)
    app.command("verify")(verification.verify)
    app.add_typer(decision, name="decision", no_args_is_help=True)


def passport(
    ref: Ref,
    out: Annotated[
        Path | None, typer.Option(help="File; default passport-NAME-V.html.", metavar="FILE")
    ] = None,
    force: Force = False,
    actor: As = "",
    project: InProject = "",
    as_json: AsJson = False,
) -> None:
    """One page about a version for a person who must decide: proven, declared, missing.

    With --json the page's contents are printed and no file is written, unless --out names one.

    Example: assay passport credit@3
    """
    from assay.actions.passports import build
    from assay.govern.passport import render
    from assay.types import parse_model_ref

    name, version = parse_model_ref(ref)
    if out is not None:
        check_result(out, force=force)
    session = Session(actor, project, as_json)
    view = session.view(f"passport of {ref}")
    made = build(
        session.workspace,
        session.person,
        view,
        project=session.project,
        model=name,
        version=version,
    )
    path = out or Path(f"passport-{made.name}-{made.version}.html")
    if out is not None or not as_json:
        write_result(path, render(made).encode(), force=force)

    def human() -> None:
        for line in made.summary:
            say(escape(line))
        say(f"\nwrote [bold]{escape(path)}[/]")

    emit(as_json, made, human)


def export(
    ref: Ref,
    out: Annotated[
        Path | None, typer.Option(help="File; default NAME-V.assay.", metavar="FILE")
    ] = None,
    force: Force = False,
    actor: As = "",
    project: InProject = "",
    as_json: AsJson = False,
) -> None:
    """Everything that proves a version's story, in one file that anybody can check offline.

    Example: assay export credit@3, then anywhere: assay verify credit-3.assay
    """
    from assay.actions.reading import ExportEvidence
    from assay.types import parse_model_ref

    name, version = parse_model_ref(ref)
    path = out or (Path(f"{name}-{version}.assay") if version.isdigit() else None)
    if path is not None:
        check_result(path, force=force)
    session = Session(actor, project, as_json)
    data: bytes = session.perform(
        ExportEvidence(project=session.project, model=name, version=version)
    )
    if path is None:
        number = session.workspace.view.version(session.project, name, version).version
        path = Path(f"{name}-{number}.assay")
    write_result(path, data, force=force)
    pinned = session.workspace.layout.config.trust_root
    value = {"file": str(path), "bytes": len(data), "trust_root": pinned}

    def human() -> None:
        say(f"wrote [bold]{escape(path)}[/] ({len(data):,} bytes)")
        say(f"check it anywhere: assay verify {escape(path)} --trust-root {pinned}")

    emit(as_json, value, human)


@decision.command("list")
def list_decisions(
    limit: Annotated[int, typer.Option(help="How many, newest first.", min=1, max=_MOST)] = 30,
    denied: Annotated[bool, typer.Option("--denied", help="Only those that were denied.")] = False,
    action: Annotated[str, typer.Option(help="Only of this action, for example promote.")] = "",
    actor: As = "",
    project: InProject = "",
    as_json: AsJson = False,
) -> None:
    """The decisions of the project, newest first.

    Example: assay decision list --denied
    """
    from assay.policy.schema import ACTIONS
    from assay.workspace.opening import open_catalog

    if action:
        choice(action, tuple(ACTIONS), "action")
    session = Session(actor, project, as_json)
    session.view("decisions")
    catalog = open_catalog(session.workspace)
    try:
        found = catalog.decisions(session.project, limit=_MOST if denied or action else limit)
    finally:
        catalog.close()
    found = [row for row in found if not (denied and row.allowed) and action in ("", row.action)][
        :limit
    ]
    rows = [
        [
            row.leaf,
            row.issued,
            row.action,
            session.name(row.actor),
            named(row.subject),
            "allowed" if row.allowed else "denied",
            row.id,
        ]
        for row in found
    ]
    emit(
        as_json,
        found,
        lambda: table(["leaf", "issued", "action", "actor", "on", "", "id"], rows, empty="none"),
    )


@decision.command("show")
def show(which: Decision, actor: As = "", project: InProject = "", as_json: AsJson = False) -> None:
    """One decision: who asked for what, the answer, and the gates that were closed.

    Example: assay decision show 019b3c5e-6f1a-7c3d-9f1e-2b6a7c8d9e0f
    """
    from assay.actions.reading import decision_of

    session = Session(actor, project, as_json)
    found = decision_of(session.view(f"decision {which}"), session.project, which)

    def human() -> None:
        answer = "[green]allowed[/]" if found["allowed"] else "[red]denied[/]"
        who = escape(session.name(found["actor"]))
        say(f"{answer}: {escape(found['action'])} on {escape(named(found['cedar']['resource']))}")
        say(f"  asked by {who} on {found['issued']}, leaf {found['index']}")
        say(f"  policy {found['bundle']}, {escape(found['engine'])}")
        for permit in found["permits"]:
            say(f"  permitted by {escape(permit)}")
        for reason in found["reasons"]:
            say(f"  [red]✗[/] {escape(reason['gate'])}  {escape(reason['advice'])}")
        say(f"  {len(found['evidence'])} statements were counted")

    emit(as_json, found, human)


@decision.command("replay")
def replay(
    which: Decision, actor: As = "", project: InProject = "", as_json: AsJson = False
) -> None:
    """Ask the policy of that time again.  Exit status 4 when it answers otherwise.

    Example: assay decision replay 019b3c5e-6f1a-7c3d-9f1e-2b6a7c8d9e0f
    """
    from assay.actions.reading import decision_of, replayed

    session = Session(actor, project, as_json)
    recorded = decision_of(session.view(f"decision {which}"), session.project, which)
    again: dict[str, Any] = replayed(session.workspace.store, recorded)

    def human() -> None:
        if again["same"]:
            answer = "allowed" if recorded["allowed"] else "denied"
            say(f"the policy of that time decides the same: {answer}")
        for difference in again["differences"]:
            say(f"[red]✗[/] {escape(difference)}")

    emit(as_json, again, human)
    if not again["same"]:
        raise typer.Exit(4)
