"""``assay rebuild`` and ``assay store``: the index, and the sealed storage."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from assay.cli.groups import Group
from assay.cli.output import emit, escape, progress, say
from assay.cli.session import As, AsJson, Session

if TYPE_CHECKING:
    from assay.catalog.catalog import Catalog
    from assay.workspace.door import Workspace

store = typer.Typer(cls=Group, help="The sealed storage: check it, collect what nobody needs.")
_SHOWN = 20


def add_to(app: typer.Typer) -> None:
    app.command("rebuild")(rebuild)
    app.add_typer(store, name="store", no_args_is_help=True)


def rebuild(
    check: Annotated[
        bool, typer.Option("--check", help="Only compare; exit status 4 when it differs.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Make the catalog anew from the ledger, or compare it with one that was.

    The catalog only lists: no gate reads it, so a wrong one shows wrong lists and opens nothing.

    Example: assay rebuild --check
    """
    session = Session("", "", as_json)
    if check:
        _check(session)
        return
    from assay.catalog.catalog import Catalog
    from assay.workspace.opening import fill

    workspace = session.workspace
    workspace.ledger.refresh()
    catalog = Catalog.open(workspace.layout.catalog_url)
    try:
        with progress(as_json) as tell:
            catalog.clear()
            fill(catalog, workspace.ledger, lambda leaf: _tell(tell, leaf))
        leaves, unreadable = catalog.position(), _unreadable(workspace)
    finally:
        catalog.close()

    def human() -> None:
        say(f"the catalog holds {leaves} leaves")
        _lost(unreadable)

    emit(as_json, {"leaves": leaves, "unreadable": unreadable}, human)


def _tell(tell: Any, leaf: int) -> None:
    if leaf % 1000 == 999:
        tell(f"leaf {leaf}")


def _unreadable(workspace: Workspace) -> list[dict[str, Any]]:
    """The leaves whose key ring was destroyed: what they said cannot be rebuilt."""
    size = workspace.ledger.checkpoint.size
    return [
        {"leaf": leaf.index, "project": leaf.project}
        for leaf in workspace.ledger.read(0, size)
        if leaf.envelope is None
    ]


def _lost(unreadable: list[dict[str, Any]]) -> None:
    for leaf in unreadable[:_SHOWN]:
        say(f"· leaf {leaf['leaf']} of {escape(leaf['project'])}: its ring was destroyed")
    if len(unreadable) > _SHOWN:
        say(f"· and {len(unreadable) - _SHOWN} more leaves of destroyed rings")


def _check(session: Session) -> None:
    from assay.catalog.catalog import Catalog
    from assay.workspace.opening import fill, open_catalog

    workspace = session.workspace
    with progress(session.as_json) as tell:
        tell("reading the ledger")
        held = open_catalog(workspace)
        fresh = Catalog.open("sqlite://")
        try:
            fill(fresh, workspace.ledger, lambda leaf: _tell(tell, leaf))
            more, less = _differences(held, fresh)
        finally:
            held.close()
            fresh.close()
    unreadable = _unreadable(workspace)
    value = {"same": not (more or less), "extra": more, "lacking": less, "unreadable": unreadable}

    def human() -> None:
        for line in more[:_SHOWN]:
            say(f"[red]✗[/] only in the catalog: {escape(line)}")
        for line in less[:_SHOWN]:
            say(f"[red]✗[/] only on the ledger: {escape(line)}")
        if more or less:
            say(f"{len(more) + len(less)} rows differ → assay rebuild")
        else:
            say("[green]✓[/] the catalog is what the ledger says")
        _lost(unreadable)

    emit(session.as_json, value, human)
    if more or less:
        raise typer.Exit(4)


def _differences(held: Catalog, fresh: Catalog) -> tuple[list[str], list[str]]:
    """Rows that only the catalog has, and rows that it lacks."""
    one, other = set(held.dump()), set(fresh.dump())
    return (
        sorted(line.decode() for line in one - other),
        sorted(line.decode() for line in other - one),
    )


@store.command("check")
def check_store(actor: As = "", as_json: AsJson = False) -> None:
    """Read and hash everything that is kept; exit status 4 when something is missing or altered.

    Example: assay store check
    """
    from assay.actions.administration import reachable

    session = Session(actor, "", as_json)
    session.must_administer()
    workspace = session.workspace
    with progress(as_json) as tell:
        tell("reading and hashing everything")
        problems = workspace.store.check(expected=reachable(workspace.view))

    def human() -> None:
        for problem in problems:
            say(f"[red]✗[/] {problem.kind} {escape(problem.path)}: {escape(problem.what)}")
        if not problems:
            say("[green]✓[/] everything that is kept is whole")

    emit(as_json, problems, human)
    if any(problem.kind != "stray" for problem in problems):
        raise typer.Exit(4)


@store.command("collect")
def collect(actor: As = "", as_json: AsJson = False) -> None:
    """Delete what nothing refers to, after 24 hours of grace, and what was destroyed.

    Example: assay store collect
    """
    from assay.actions.administration import CollectGarbage
    from assay.evidence.state import WORKSPACE

    done = Session(actor, "", as_json).perform(CollectGarbage(project=WORKSPACE))

    def human() -> None:
        say(
            f"kept {done.kept}, deleted {done.deleted}, strays {done.strays}, of destroyed rings "
            f"{done.shredded}; {done.bytes:,} bytes given back"
        )
        for line in done.doubtful:
            say(f"[yellow]![/] cannot be read: {escape(line)}")

    emit(as_json, done, human)
