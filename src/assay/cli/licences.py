"""``assay licences``: what a model, or a file, and all that it needs are under."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from assay.cli.groups import Group
from assay.cli.output import counted, emit, escape, say
from assay.cli.session import As, AsJson, InProject, Session, given_path
from assay.cli.vulnerabilities import OPEN, SHOWN, UNMATCHED, Subject, is_file

licences = typer.Typer(cls=Group, help="The licences of a model and of what it needs.")


def add_to(app: typer.Typer) -> None:
    app.add_typer(licences, name="licences", no_args_is_help=True)


@licences.command("check")
def check_licences(
    subject: Subject,
    policy: Annotated[str, typer.Option(help="A licence policy, for a file.", metavar="FILE")] = "",
    actor: As = "",
    project: InProject = "",
    as_json: AsJson = False,
) -> None:
    """Judge licences: allowed, denied, to be reviewed, or not known.  Nothing is guessed.

    Exit status 4 when one is denied, else 3 when one is not known, else 0.

    \b
    Example: assay licences check credit@3

    Of a file, without a workspace: assay licences check bom.json --policy licences.toml
    """
    if is_file(subject):
        told = _licences_of(Path(given_path(Path(subject))), policy)
    else:
        from assay.actions.vulnerabilities import CheckLicences
        from assay.errors import Usage
        from assay.types import parse_model_ref

        if policy:
            raise Usage(
                "a model version is judged by the policy of its project",
                remedy="leave --policy out, or name a file to check",
                code="options",
            )
        session = Session(actor, project, as_json)
        name, version = parse_model_ref(subject)
        told = session.perform(CheckLicences(project=session.project, model=name, version=version))
    emit(as_json, told, lambda: _print_licences(told))
    raise typer.Exit(OPEN if told["denied_count"] else UNMATCHED if told["unknown_count"] else 0)


def _licences_of(path: Path, policy: str) -> dict[str, Any]:
    import msgspec

    from assay.isolation.run import run
    from assay.supply.licences import judging
    from assay.supply.licences import policy as policies

    chosen = policies.read(Path(policy)) if policy else policies.Policy()
    real = path.resolve()
    found = run(
        "assay.supply.licences.judging:from_file_confined", str(real).encode(), inputs=[real]
    )
    return judging.judge(msgspec.json.decode(found.value, type=dict[str, str]), chosen)


def _print_licences(told: dict[str, Any]) -> None:
    for mark, word in (("[red]✗[/]", "denied"), ("[yellow]?[/]", "unknown"), ("·", "review")):
        for item in told[word][:SHOWN]:
            say(f"{mark} {word}  {escape(item)}")
        if told[f"{word}_count"] > SHOWN:
            say(f"  and {told[f'{word}_count'] - SHOWN} more: --json lists them")
    for licence in told["obligations"]:
        say(f"[bold]{escape(licence['licence'])}[/]: {escape('; '.join(licence['asks']))}")
        if licence["note"]:
            say(f"    {escape(licence['note'])}")
        say(f"    {escape(licence['source'])}")
    say(
        f"{counted(told['components'], 'component')}: {told['denied_count']} denied, "
        f"{told['unknown_count']} not known, {told['review_count']} to be reviewed"
    )
