"""``assay intake release-data``: somebody else's table out of quarantine."""

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
from assay.cli.output import emit
from assay.cli.session import As, AsJson, InProject, Session, ask_missing, listed


def release_data(
    reference: Annotated[
        str, typer.Argument(metavar="DIGEST", help="Of what was taken in, or the beginning of it.")
    ],
    name: Annotated[str, typer.Option(help="What the dataset is called here.")] = "",
    file: Annotated[
        str, typer.Option(metavar="PATH", help="Which of its files is the table.")
    ] = "",
    owner: Annotated[str, typer.Option(help=QUESTIONS["owner"])] = "",
    licence: Annotated[
        str, typer.Option(help="Its licence; default: the one that it declares.")
    ] = "",
    purpose: Annotated[str, typer.Option(help=QUESTIONS["purpose"])] = "",
    legal_basis: Annotated[str, typer.Option(help=QUESTIONS["legal_basis"])] = "",
    residency: Annotated[str, typer.Option(help=QUESTIONS["residency"])] = "",
    subject_column: SubjectColumn = "",
    personal_column: PersonalColumns = None,
    special: Special = False,
    retain_until: RetainUntil = "",
    despite: Annotated[
        str, typer.Option(metavar="REASON", help="Why, although it was rejected.")
    ] = "",
    actor: As = "",
    project: InProject = "",
    as_json: AsJson = False,
) -> None:
    """Register a table that lies in quarantine as a dataset, if policy says so.

    \b
    Example: assay intake release-data 01579f85 --name flights --owner "Operations" \\
        --purpose delays --legal-basis not-personal --residency EU
    """
    from assay.actions.datasets import LEGAL_BASES
    from assay.actions.intake_data import ReleaseData
    from assay.actions.intake_records import find

    session = Session(actor, project, as_json)
    if not licence:
        view = session.view(f"intake {reference}")
        licence = str(find(view, session.project, reference).predicate["licence"])
    given = {
        "name": name,
        "owner": owner,
        "licence": licence,
        "purpose": purpose,
        "legal_basis": legal_basis,
        "residency": residency,
    }
    questions = {q: QUESTIONS.get(q, "What is it called here?") for q in given}
    answers = ask_missing(given, questions, "data.missing", choices={"legal_basis": LEGAL_BASES})
    done: dict[str, Any] = session.perform(
        ReleaseData(
            project=session.project,
            digest=reference,
            dataset=answers["name"],
            file=file,
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
            despite=despite,
        )
    )
    emit(as_json, done, lambda: told(done["registered"]))
