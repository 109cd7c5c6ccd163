"""``assay project|token``: projects, and bearer tokens for the services of one."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from assay.cli.groups import Group
from assay.cli.output import emit, escape, note, say, table
from assay.cli.session import As, AsJson, InProject, Session
from assay.errors import NotFound

project = typer.Typer(cls=Group, help="Projects: the unit of isolation, each with keys of its own.")
token = typer.Typer(cls=Group, help="Bearer tokens for services.")


def add_to(app: typer.Typer) -> None:
    app.add_typer(project, name="project", no_args_is_help=True)
    app.add_typer(token, name="token", no_args_is_help=True)


@project.command("create")
def create_project(
    name: Annotated[str, typer.Argument(metavar="NAME")],
    owner: Annotated[
        str, typer.Option(help="Who gets every role but approver and service.", metavar="NAME")
    ] = "",
    by: As = "",
    as_json: AsJson = False,
) -> None:
    """Make a project with key rings of its own; its owner is you unless --owner names another.

    Example: assay project create churn --owner dora
    """
    from assay.actions.administration import CreateProject
    from assay.evidence.state import WORKSPACE

    session = Session(by, "", as_json)
    who = session.actor(owner) if owner else _myself(session)
    done = session.perform(CreateProject(project=WORKSPACE, new=name, owner=who))
    emit(
        as_json,
        done,
        lambda: say(f"made project [bold]{escape(name)}[/]; owner: {escape(session.name(who))}"),
    )


def _myself(session: Session) -> str:
    state = session.workspace.view.follow()
    keyid = session.person.signer.public.keyid
    found = state.actor_of_key(keyid, state.size)
    if found is None:
        raise NotFound(
            "your key belongs to nobody enrolled here",
            remedy="say whose the project is with --owner NAME",
            code="actor",
        )
    return found


@project.command("list")
def list_projects(by: As = "", as_json: AsJson = False) -> None:
    """The projects that you may look into; all of them for an administrator.

    Example: assay project list
    """
    from assay.actions.reading import ReadEvidence

    session = Session(by, "", as_json)
    everything = session.administers()
    state = session.workspace.view.state
    found: list[dict[str, Any]] = []
    for name in sorted(state.projects):
        asked = ReadEvidence(project=name, about="projects")
        readable = session.workspace.preview(session.person, asked)[0].allowed
        if everything or readable:
            found.append({"project": name, "readable": readable})
    rows = [[f["project"], "" if f["readable"] else "you have no role there"] for f in found]
    emit(as_json, found, lambda: table(["project", ""], rows, empty="none that you may look into"))


# -- tokens ---------------------------------------------------------------------------------------


@token.command("create")
def create_token(
    service: Annotated[str, typer.Option("--for", help="The service.", metavar="NAME")],
    days: Annotated[int, typer.Option(help="How long it lasts, 1 to 366.")] = 30,
    by: As = "",
    in_project: InProject = "",
    as_json: AsJson = False,
) -> None:
    """A bearer token for a service of the project; printed once, kept nowhere.

    With --json, `secret` is what a request carries and `token` its id, for `assay token revoke`.

    Example: ASSAY_TOKEN=$(assay token create --for scoring-app --days 90)
    """
    from assay.actions.people import CreateToken

    session = Session(by, in_project, as_json)
    done: dict[str, Any] = session.perform(
        CreateToken(project=session.project, actor=session.actor(service), days=days)
    )

    def human() -> None:
        # The secret alone on standard output, so that it can go straight into a variable.
        sys.stdout.write(done["secret"] + "\n")
        note(f"token {done['token']} until {done['expires']}; it is not shown again")

    emit(as_json, done, human)


@token.command("revoke")
def revoke_token(
    which: Annotated[str, typer.Argument(metavar="ID", help="As `assay token list` shows it.")],
    by: As = "",
    in_project: InProject = "",
    as_json: AsJson = False,
) -> None:
    """End a token at its next request.

    Example: assay token revoke 019b3c5e-6f1a-7c3d-9f1e-2b6a7c8d9e0f
    """
    from assay.actions.people import RevokeToken

    session = Session(by, in_project, as_json)
    done = session.perform(RevokeToken(project=session.project, token=which))
    emit(as_json, done, lambda: say(f"token {escape(which)} is revoked"))


@token.command("list")
def list_tokens(by: As = "", in_project: InProject = "", as_json: AsJson = False) -> None:
    """The tokens of the project, without their secrets.

    Example: assay token list
    """
    session = Session(by, in_project, as_json)
    state = session.view("tokens").state
    found = [
        {
            "token": token_id,
            "for": session.name(held.actor),
            "expires": held.expires,
            "revoked": held.revoked,
        }
        for token_id, held in state.tokens.items()
        if held.project == session.project
    ]
    rows = [[f["token"], f["for"], f["expires"], "revoked" if f["revoked"] else ""] for f in found]
    emit(
        as_json,
        found,
        lambda: table(
            ["token", "for", "expires", ""], rows, empty="none: assay token create --for SERVICE"
        ),
    )
