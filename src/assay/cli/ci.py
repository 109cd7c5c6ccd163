"""``assay ci``: continuous integration: a run and its report, ready workflows, and the comment on a
pull request."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from assay.cli import ci_run
from assay.cli.groups import Group
from assay.cli.output import check_result, emit, escape, say, write_result
from assay.cli.session import AsJson
from assay.errors import AssayError

DEFAULT = "run"
"""The command meant by ``assay ci PIPELINE``, when the group has one of that name."""


class _Group(Group):
    """A group with a default command: its first argument is none of the group's commands."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Options before that argument are the default command's, too."""
        if args and args[0].startswith("-") and args[0] != "--help":
            args = ["--", *args]
        return super().parse_args(ctx, args)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        named = bool(args) and self.get_command(ctx, args[0]) is None
        if named and self.get_command(ctx, DEFAULT) is not None:
            args = [DEFAULT, *args]
        return TyperGroup.resolve_command(self, ctx, args)


ci = typer.Typer(
    cls=_Group,
    help="""Continuous integration: the same report here and on a server.

    `assay ci PIPELINE` runs the pipeline, assesses, evaluates all gates and writes one folder with
    the report; see `assay ci run --help`.
    """,
    subcommand_metavar="FILE[:PIPELINE] | COMMAND ...",
)


def add_to(app: typer.Typer) -> None:
    app.add_typer(ci, name="ci", no_args_is_help=True)


ci.command(DEFAULT)(ci_run.run)


@ci.command("init")
def init(
    server: Annotated[str, typer.Argument(metavar="SERVER", help="github or gitlab.")],
    pipeline: Annotated[
        str, typer.Option(help="The pipeline to run.", metavar="FILE")
    ] = "pipeline.py",
    branch: Annotated[
        str, typer.Option(help="The branch whose results others may read.", metavar="NAME")
    ] = "main",
    python: Annotated[str, typer.Option(help="The version of Python.", metavar="VERSION")] = "3.12",
    requirements: Annotated[
        str, typer.Option(help="The project's own packages; '' for none.", metavar="FILE")
    ] = "requirements.txt",
    out: Annotated[
        Path, typer.Option(help="The folder of the repository.", metavar="FOLDER")
    ] = Path(),
    force: Annotated[bool, typer.Option("--force", help="Replace existing files.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write a ready workflow into the repository.  Works without a workspace.

    Proposed code runs without secrets; what comments on a pull request runs no proposed code.

    Example: assay ci init github --pipeline pipelines/credit.py
    """
    from assay.ci import workflows

    written = workflows.render(
        server, pipeline=pipeline, branch=branch, python=python, requirements=requirements
    )
    paths = {out / name: text for name, text in written.items()}
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        check_result(path, force=force)
    for path, text in paths.items():
        write_result(path, text.encode(), force=force)

    def human() -> None:
        for name in written:
            say(f"wrote [bold]{escape(name)}[/]")
        say(escape(_NEXT[server]))

    emit(as_json, {"server": server, "files": sorted(written)}, human)


_NEXT = {
    "github": "commit both; the comment appears once assay-comment.yml is on the default branch",
    "gitlab": "add to .gitlab-ci.yml: include: [{local: .gitlab/assay.gitlab-ci.yml}]",
}


@ci.command("comment")
def comment(
    report: Annotated[
        Path, typer.Argument(metavar="FOLDER_OR_ZIP", help="What untrusted code uploaded.")
    ],
    event: Annotated[
        Path, typer.Option(help="The workflow_run event: $GITHUB_EVENT_PATH.", metavar="FILE")
    ],
    pulls: Annotated[
        Path,
        typer.Option(help="The open pull requests, a line of JSON each.", metavar="FILE"),
    ],
    out: Annotated[Path | None, typer.Option(help="Write the JSON there.", metavar="FILE")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
    as_json: AsJson = False,
) -> None:
    """Render the comment for a pull request from a report that its own code wrote.

    The report is taken as hostile: only its figures are read, and rendered anew.  Which pull
    request it belongs to is taken from the event.  Works without a workspace, and needs no keys.

    Example: assay ci comment report.zip --event event.json --pulls pulls.jsonl
    """
    if out is not None:
        check_result(out, force=force)
    found = _comment(report, event, pulls)
    if out is not None:
        write_result(out, json.dumps(found, indent=2, sort_keys=True).encode(), force=force)

    def human() -> None:
        if found["request"] is None:
            say(escape(found["why"]))
        elif out is None:
            typer.echo(found["body"], nl=False)
        else:
            say(f"wrote [bold]{escape(out)}[/] for pull request {found['request']}")

    emit(as_json, found, human)


def _comment(report: Path, event: Path, pulls: Path) -> dict[str, Any]:
    from assay import files
    from assay.ci import comment as comments

    about = comments.target(
        files.read(event, limit=4 << 20, what="event"),
        files.read(pulls, limit=8 << 20, what="list of pull requests"),
    )
    if about is None:
        why = "no open pull request has the commit of this run as its newest"
        return {"request": None, "marker": comments.MARKER, "body": "", "why": why}
    why = ""
    try:
        body = comments.body(comments.read(report), about)
    except AssayError as error:
        why = error.message
        body = comments.no_report(why, about)
    return {"request": about.request, "marker": comments.MARKER, "body": body, "why": why}
