"""``assay actor``: people and services, their keys and roles."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from assay.cli.groups import Group
from assay.cli.output import emit, escape, note, say, table
from assay.cli.session import As, AsJson, InProject, Session
from assay.errors import Conflict, Usage

actor = typer.Typer(cls=Group, help="People and services: their keys and their roles.")

Name = Annotated[str, typer.Argument(metavar="NAME", help="An enrolled person or service.")]


def add_to(app: typer.Typer) -> None:
    app.add_typer(actor, name="actor", no_args_is_help=True)


@actor.command("new-key")
def new_key(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What the key's file is called.")],
    development: Annotated[
        bool, typer.Option("--development", help="Without a passphrase; the level says so.")
    ] = False,
    as_json: AsJson = False,  # noqa: ARG001 - it is JSON either way
) -> None:
    """Make a personal key on this machine, and print its public half for an administrator.

    The passphrase is asked at the terminal, or comes from ASSAY_PASSPHRASE.

    Example: assay actor new-key carol > carol.json
    """
    from assay.cli import personal

    path = personal.key_path(name)
    if path.exists():
        raise Conflict(
            f"{path} exists; a key is never overwritten",
            remedy="choose another name, or use the key that is there",
            code="key.exists",
        )
    secret = None if development else personal.passphrase(name, new=True)
    signer = personal.make_key(name, secret)
    emit(True, personal.public_document(name, signer, secret), lambda: None)
    note(f"made {escape(path)}; hand the JSON to an administrator (assay actor enrol)")


@actor.command("enrol")
def enrol(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What the directory calls them.")],
    key: Annotated[
        list[str] | None,
        typer.Option(help="A public key: the file, or the JSON, of `actor new-key`; repeatable."),
    ] = None,
    role: Annotated[
        list[str] | None,
        typer.Option(help="PROJECT/ROLE, for example fraud/approver; repeatable."),
    ] = None,
    kind: Annotated[str, typer.Option(help="person, service or workload.")] = "person",
    by: As = "",
    in_project: InProject = "",
    as_json: AsJson = False,
) -> None:
    """Make a person or service known, with a public key of their own and roles to begin with.

    Example: assay actor enrol carol --key carol.json --role fraud/approver
    """
    from assay import ids
    from assay.actions.people import EnrolActor
    from assay.evidence.state import WORKSPACE
    from assay.types import check_name

    check_name(name, what="name")
    keys = [_public_key(given) for given in key or []]
    if kind == "person" and not keys:
        raise Usage(
            f"{name} is a person, and needs a key of their own",
            remedy="they run `assay actor new-key NAME`; give what it prints with --key",
            code="actor.key",
        )
    session = Session(by, in_project, as_json)
    taken = session.workspace.directory.names()
    if name in taken.values():
        raise Conflict(
            f"somebody called {name} is enrolled already",
            remedy="choose another name; or grant a role: assay actor role NAME grant ROLE",
            code="actor.name",
        )
    levels = {level for _, level in keys}
    done: dict[str, Any] = session.perform(
        EnrolActor(
            project=WORKSPACE,
            actor=ids.new_id(),
            kind=kind,
            # The weakest of their keys is what they can be impersonated with.
            level=min(levels) if levels else "personal-key",
            keys=tuple(public for public, _ in keys),
            roles=tuple(_role(session, wanted) for wanted in role or []),
            label=name,
        )
    )
    roles = ", ".join(done["roles"]) or "none yet"
    emit(
        as_json,
        {**done, "name": name},
        lambda: say(f"enrolled [bold]{escape(name)}[/] ({escape(kind)}), roles: {escape(roles)}"),
    )


def _public_key(given: str) -> tuple[Any, str]:
    from assay import files
    from assay.cli.personal import read_public

    if given.lstrip().startswith("{"):
        return read_public(given.encode(), "what was given with --key")
    with files.open_input(Path(given), what="public key") as stream:
        return read_public(stream.read(1 << 14), given)


def _role(session: Session, text: str) -> str:
    """``approver`` as ``fraud/approver``, ``admin`` as the workspace's own role."""
    from assay.evidence.state import WORKSPACE
    from assay.types import WORKSPACE_ROLE

    if text == WORKSPACE_ROLE:
        return f"{WORKSPACE}/{WORKSPACE_ROLE}"
    return text if "/" in text else f"{session.project}/{text}"


@actor.command("list")
def list_actors(by: As = "", in_project: InProject = "", as_json: AsJson = False) -> None:
    """Who is enrolled: everybody for an administrator, else those with a role in the project.

    Example: assay actor list
    """
    session = Session(by, in_project, as_json)
    if session.administers():
        state, prefixes = session.workspace.view.state, [""]
    else:
        state, prefixes = session.view("actors").state, [f"{session.project}/"]
    names = session.workspace.directory.names()
    found: list[dict[str, Any]] = []
    for actor_id, held in state.actors.items():
        roles = [r for r in state.roles_of(actor_id) if r.startswith(tuple(prefixes))]
        if not roles and prefixes != [""]:
            continue
        found.append(
            {
                "name": names.get(actor_id, ""),
                "id": actor_id,
                "kind": held.kind,
                "level": held.level,
                "disabled": held.disabled,
                "roles": roles,
                "keys": [k for k, key in held.keys.items() if key.revoked is None],
            }
        )
    rows = [
        [
            f["name"] or f["id"],
            f["kind"],
            f["level"] if f["keys"] else "no key",
            ", ".join(f["roles"]),
            "disabled" if f["disabled"] else "",
        ]
        for f in found
    ]
    emit(
        as_json, found, lambda: table(["name", "kind", "level", "roles", ""], rows, empty="nobody")
    )


@actor.command("role")
def role(
    name: Name,
    change: Annotated[str, typer.Argument(metavar="grant|revoke")],
    what: Annotated[str, typer.Argument(metavar="ROLE", help="PROJECT/ROLE, or admin.")],
    by: As = "",
    in_project: InProject = "",
    as_json: AsJson = False,
) -> None:
    """Grant a role, or take it away; it holds from the next decision on.

    Example: assay actor role carol grant fraud/approver
    """
    from assay.actions.people import ManageRole
    from assay.cli.session import choice
    from assay.evidence.state import WORKSPACE

    granted = choice(change, ("grant", "revoke"), "change of a role") == "grant"
    session = Session(by, in_project, as_json)
    wanted = _role(session, what)
    done = session.perform(
        ManageRole(project=WORKSPACE, actor=session.actor(name), role=wanted, granted=granted)
    )
    words = "now has" if granted else "no longer has"
    emit(as_json, done, lambda: say(f"[bold]{escape(name)}[/] {words} {escape(wanted)}"))


@actor.command("disable")
def disable(name: Name, by: As = "", as_json: AsJson = False) -> None:
    """Stop somebody from doing anything at all; their signatures of before still count.

    Example: assay actor disable carol
    """
    _disable(Session(by, "", as_json), name, disabled=True)


@actor.command("enable")
def enable(name: Name, by: As = "", as_json: AsJson = False) -> None:
    """Let somebody in again.

    Example: assay actor enable carol
    """
    _disable(Session(by, "", as_json), name, disabled=False)


def _disable(session: Session, name: str, *, disabled: bool) -> None:
    from assay.actions.people import DisableActor
    from assay.evidence.state import WORKSPACE

    done = session.perform(
        DisableActor(project=WORKSPACE, actor=session.actor(name), disabled=disabled)
    )
    words = "can do nothing any more" if disabled else "is let in again"
    emit(session.as_json, done, lambda: say(f"[bold]{escape(name)}[/] {words}"))


@actor.command("erase")
def erase(name: Name, by: As = "", as_json: AsJson = False) -> None:
    """Forget who somebody is: every statement stays valid, and nobody is named any more.

    Example: assay actor erase carol
    """
    from assay.actions.people import EraseActor
    from assay.evidence.state import WORKSPACE

    session = Session(by, "", as_json)
    done = session.perform(EraseActor(project=WORKSPACE, actor=session.actor(name)))
    emit(as_json, done, lambda: say(f"the name of {escape(done['actor'])} is erased"))
