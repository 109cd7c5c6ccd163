"""``assay data``: register and list datasets."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from assay.cli.output import emit, say, table
from assay.cli.session import AsJson, As, InProject, Session
from assay.errors import Usage

data = typer.Typer(
    help="Datasets: whose they are, what they may be used for.", no_args_is_help=True
)


def add_to(app: typer.Typer) -> None:
    app.add_typer(data, name="data")


QUESTIONS = {
    "owner": "Who is responsible for this data (a person or a department)?",
    "origin": "Where does it come from (a system, a supplier, an URL)?",
    "licence": "Under which licence or agreement may you use it?",
    "purpose": "For which purposes (separate several by commas)?",
    "legal_basis": "Legal basis (consent, contract, legal-obligation, vital-interests, public-task,"
    " legitimate-interests, or not-personal)?",
    "residency": "In which regions may it be processed (for example EU, separate by commas)?",
}


def complete(given: dict[str, str]) -> dict[str, str]:
    """Ask for what is missing at a terminal; elsewhere name all of it in one error."""
    missing = [name for name in QUESTIONS if not given.get(name)]
    if missing and not sys.stdin.isatty():
        options = " ".join(f"--{name.replace('_', '-')} …" for name in missing)
        raise Usage(
            f"missing: {', '.join(missing)}", remedy=f"add {options}", code="data.missing"
        )
    for name in missing:
        given[name] = typer.prompt(QUESTIONS[name])
    return given


@data.command("register")
def register(
    path: Annotated[Path, typer.Argument(help="A CSV or Parquet file.")],
    name: Annotated[str, typer.Option(help="Name; default: the file's.")] = "",
    owner: Annotated[str, typer.Option(help=QUESTIONS["owner"])] = "",
    origin: Annotated[str, typer.Option(help=QUESTIONS["origin"])] = "",
    licence: Annotated[str, typer.Option(help=QUESTIONS["licence"])] = "",
    purpose: Annotated[str, typer.Option(help=QUESTIONS["purpose"])] = "",
    legal_basis: Annotated[str, typer.Option(help=QUESTIONS["legal_basis"])] = "",
    residency: Annotated[str, typer.Option(help=QUESTIONS["residency"])] = "",
    subject_column: Annotated[
        str, typer.Option(help="Column that identifies a person, if any.")
    ] = "",
    special: Annotated[
        bool, typer.Option("--special", help="Holds special categories (GDPR Art. 9).")
    ] = False,
    retain_until: Annotated[str, typer.Option(help="RFC 3339 time after which it is closed.")] = "",
    actor: As = "",
    project: InProject = "",
    as_json: AsJson = False,
) -> None:
    """Put a table under seal, with whose it is and what it may be used for.

    Asks for what is missing at a terminal.
    """
    from assay.actions.datasets import RegisterDataset

    session = Session(actor, project, as_json)
    answers = complete(
        {
            "owner": owner,
            "origin": origin,
            "licence": licence,
            "purpose": purpose,
            "legal_basis": legal_basis,
            "residency": residency,
        }
    )
    done: dict[str, Any] = session.perform(
        RegisterDataset(
            project=session.project,
            dataset=name or path.stem.lower().replace(" ", "-"),
            path=str(path),
            owner=answers["owner"],
            origin=answers["origin"],
            licence=answers["licence"],
            purposes=_split(answers["purpose"]),
            legal_basis=answers["legal_basis"],
            residency=_split(answers["residency"]),
            subject_column=subject_column,
            personal=answers["legal_basis"] != "not-personal",
            special=special,
            retain_until=retain_until,
        )
    )

    def human() -> None:
        say(
            f"registered [bold]{done['dataset']}[/]: {done['rows']:,} rows × "
            f"{done['columns']} columns, sealed as {done['content'][:23]}…"
        )

    emit(as_json, done, human)


def _split(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


@data.command("list")
def list_datasets(project: InProject = "", as_json: AsJson = False) -> None:
    """The registered datasets of the project."""
    session = Session("", project, as_json)
    state = session.workspace.view.follow()
    found = [d for d in state.datasets.values() if d.project == session.project]
    rows = [
        [d.name, str(d.details["rows"]), d.owner, d.details["legal_basis"],
         ", ".join(d.details["purposes"])]
        for d in found
    ]
    emit(
        as_json,
        found,
        lambda: table(
            ["name", "rows", "owner", "legal basis", "purposes"], rows,
            empty="no dataset yet: assay data register FILE",
        ),
    )
