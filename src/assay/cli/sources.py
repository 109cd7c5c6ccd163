"""``assay data extract|sources``: data from a configured database, bucket or folder."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from assay.cli.data import (
    QUESTIONS,
    PersonalColumns,
    RetainUntil,
    Special,
    SubjectColumn,
    told,
)
from assay.cli.output import emit, escape, say, table
from assay.cli.session import As, AsJson, InProject, Session, ask_missing, listed


def add_to(group: typer.Typer) -> None:
    group.command("extract")(extract)
    group.command("sources")(list_sources)


def extract(
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="A source that assay.toml configures.")
    ],
    query: Annotated[str, typer.Option(help="One SELECT, for a database.")] = "",
    path: Annotated[
        str, typer.Option("--object", help="Path of an object in a bucket, or of a file.")
    ] = "",
    name: Annotated[str, typer.Option(help="Name of the dataset; default: the source's.")] = "",
    owner: Annotated[str, typer.Option(help=QUESTIONS["owner"])] = "",
    licence: Annotated[str, typer.Option(help=QUESTIONS["licence"])] = "",
    purpose: Annotated[str, typer.Option(help=QUESTIONS["purpose"])] = "",
    legal_basis: Annotated[str, typer.Option(help=QUESTIONS["legal_basis"])] = "",
    residency: Annotated[str, typer.Option(help=QUESTIONS["residency"])] = "",
    subject_column: SubjectColumn = "",
    personal_column: PersonalColumns = None,
    special: Special = False,
    retain_until: RetainUntil = "",
    actor: As = "",
    project: InProject = "",
    as_json: AsJson = False,
) -> None:
    """Take a snapshot from a source, seal it and register it; unchanged rows are not taken twice.

    \b
    Example: assay data extract core --query "SELECT * FROM loans" --name loans \\
        --owner "Credit risk" --licence internal --purpose credit-scoring \\
        --legal-basis contract --residency EU
    """
    from assay.actions.datasets import LEGAL_BASES
    from assay.actions.extraction import ExtractDataset, source_of

    session = Session(actor, project, as_json)
    source_of(session.workspace.layout, session.project, source)
    given = {
        "owner": owner,
        "licence": licence,
        "purpose": purpose,
        "legal_basis": legal_basis,
        "residency": residency,
    }
    answers = ask_missing(
        given,
        {q: QUESTIONS[q] for q in given},
        "data.missing",
        choices={"legal_basis": LEGAL_BASES},
    )
    done: dict[str, Any] = session.perform(
        ExtractDataset(
            project=session.project,
            dataset=name or source,
            source=source,
            query=query,
            path=path,
            owner=answers["owner"],
            licence=answers["licence"],
            purposes=listed(answers["purpose"]),
            legal_basis=answers["legal_basis"],
            residency=listed(answers["residency"]),
            subject_column=subject_column,
            personal_columns=tuple(personal_column or ()),
            personal=answers["legal_basis"] != "not-personal",
            special=special,
            retain_until=retain_until,
        )
    )
    emit(as_json, done, lambda: told(done))


def list_sources(actor: As = "", project: InProject = "", as_json: AsJson = False) -> None:
    """The sources that assay.toml configures for the project; of secrets only where they are.

    Example: assay data sources
    """
    from assay.actions.extraction import configured

    session = Session(actor, project, as_json)
    found = [
        {
            "name": source.name,
            "kind": source.kind,
            "place": source.place,
            "credential": source.credential,
            "asked_by": source.asks,
        }
        for source in configured(session.workspace.layout, session.project).values()
    ]

    def human() -> None:
        rows = [[s["name"], s["kind"], s["place"], s["credential"], s["asked_by"]] for s in found]
        empty = f"none: add [projects.{session.project}.sources.NAME] to assay.toml"
        table(["name", "kind", "place", "credential", "asked by"], rows, empty=empty)
        if found:
            say(f"  assay data extract {escape(found[0]['name'])} --{found[0]['asked_by']} …")

    emit(as_json, found, human)
