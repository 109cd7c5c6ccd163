"""``assay data``: register datasets, look at them, hold them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from assay.cli.groups import Group
from assay.cli.output import emit, escape, say, statements, table
from assay.cli.session import As, AsJson, InProject, Session, ask_missing, given_path, listed, short
from assay.errors import Usage

data = typer.Typer(
    cls=Group, help="Datasets: whose they are, what they may be used for.", no_args_is_help=True
)


def add_to(app: typer.Typer) -> None:
    from assay.cli import examining, sources

    app.add_typer(data, name="data")
    sources.add_to(data)
    examining.add_to(data)


QUESTIONS = {
    "owner": "Who is responsible for this data (a person or a department)?",
    "origin": "Where does it come from (a system, a supplier, an URL)?",
    "licence": "Under which licence or agreement may you use it?",
    "purpose": "For which purposes (separate several by commas)?",
    "legal_basis": "Legal basis (consent, contract, legal-obligation, vital-interests, public-task,"
    " legitimate-interests, or not-personal)?",
    "residency": "In which regions may it be processed (for example EU, separate by commas)?",
}

Name = Annotated[str, typer.Argument(metavar="NAME", help="A registered dataset.")]
SubjectColumn = Annotated[str, typer.Option(help="Column that identifies a person, if any.")]
PersonalColumns = Annotated[
    list[str] | None,
    typer.Option(
        "--personal-column", help="A column that holds personal data; repeat it.", metavar="COLUMN"
    ),
]
Special = Annotated[bool, typer.Option("--special", help="Holds special categories (GDPR Art. 9).")]
RetainUntil = Annotated[str, typer.Option(help="RFC 3339 time after which it is closed.")]
Reason = Annotated[str, typer.Option(help="Why; it goes on the record.")]


@data.command("register")
def register(
    path: Annotated[Path, typer.Argument(help="A CSV, Parquet or JSON file.", metavar="FILE")],
    name: Annotated[str, typer.Option(help="Name; default: the file's.")] = "",
    owner: Annotated[str, typer.Option(help=QUESTIONS["owner"])] = "",
    origin: Annotated[str, typer.Option(help=QUESTIONS["origin"])] = "",
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
    """Put a table under seal, with whose it is and what it may be used for.

    Asks for what is missing at a terminal.

    \b
    Example: assay data register loans.csv --owner "Credit risk" \\
        --origin "core banking" --licence internal --purpose credit-scoring \\
        --legal-basis contract --residency EU
    """
    from assay.actions.datasets import LEGAL_BASES, RegisterDataset
    from assay.cli.personal import as_name

    if path.is_dir():
        raise Usage(
            f"{path} is a folder", remedy="name a CSV, Parquet or JSON file", code="data.folder"
        )
    session = Session(actor, project, as_json)
    answers = ask_missing(
        {
            "owner": owner,
            "origin": origin,
            "licence": licence,
            "purpose": purpose,
            "legal_basis": legal_basis,
            "residency": residency,
        },
        QUESTIONS,
        "data.missing",
        path=path,
        choices={"legal_basis": LEGAL_BASES},
    )
    done: dict[str, Any] = session.perform(
        RegisterDataset(
            project=session.project,
            dataset=name or as_name(path.stem),
            path=given_path(path),
            owner=answers["owner"],
            origin=answers["origin"],
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


def told(done: dict[str, Any]) -> None:
    """What was registered, for a person."""
    if done.get("unchanged"):
        say(
            f"[bold]{escape(done['dataset'])}[/] is unchanged: the same {done['rows']:,} rows as "
            f"registered, {short(done['content'])}"
        )
        return
    say(
        f"registered [bold]{escape(done['dataset'])}[/]: {done['rows']:,} rows × "
        f"{done['columns']} columns, sealed as {short(done['content'])}"
    )
    if done["replaces"]:
        say(f"  in place of {short(done['replaces'])}, which models still refer to")
    if changes := done["changes"]:
        say(
            f"  since then {changes['new']:,} rows are new, {changes['gone']:,} are gone, "
            f"{changes['kept']:,} are the same"
        )


@data.command("list")
def list_datasets(actor: As = "", project: InProject = "", as_json: AsJson = False) -> None:
    """The registered datasets of the project.

    Example: assay data list
    """
    session = Session(actor, project, as_json)
    state = session.view("datasets").state
    found = [d for d in state.datasets.values() if d.project == session.project]
    rows = [
        [
            d.name,
            f"{d.details['rows']:,}",
            d.owner,
            d.details["legal_basis"],
            ", ".join(d.details["purposes"]),
            "on hold" if d.hold else "",
        ]
        for d in found
    ]
    emit(
        as_json,
        found,
        lambda: table(
            ["name", "rows", "owner", "legal basis", "purposes", ""],
            rows,
            empty="no dataset yet: assay data register FILE",
        ),
    )


@data.command("show")
def show(name: Name, actor: As = "", project: InProject = "", as_json: AsJson = False) -> None:
    """What is known of a dataset: what was declared, its columns, and the statements about it.

    Example: assay data show loans
    """
    from assay.evidence.state import kind_of

    session = Session(actor, project, as_json)
    view = session.view(f"dataset {name}")
    found = view.dataset(session.project, name)
    evidence = [
        {
            "leaf": item.index,
            "kind": kind_of(item.statement),
            "envelope": item.envelope_digest,
            "producer": item.producer,
            "issued": item.statement.header.issued,
        }
        for item in view.evidence(session.project, found.content)
    ]

    def human() -> None:
        state = " [yellow](on hold)[/]" if found.hold else ""
        say(f"[bold]{escape(found.name)}[/]{state}  {short(found.content)}")
        for key in ("rows", "columns", "origin", "licence", "legal_basis", "subject_column"):
            if found.details[key] != "":
                say(f"  {key.replace('_', ' ')}: {escape(found.details[key])}")
        say(f"  owner: {escape(found.owner)}")
        say(f"  purposes: {escape(', '.join(found.details['purposes']))}")
        say(f"  residency: {escape(', '.join(found.details['residency']))}")
        columns = [[c["name"], c.get("type", "")] for c in found.details["schema"]]
        table(["column", "type"], columns, empty="")
        say("statements about it:")
        statements(evidence)

    emit(as_json, {"dataset": found, "evidence": evidence}, human)


@data.command("hold")
def hold(
    name: Name, reason: Reason, actor: As = "", project: InProject = "", as_json: AsJson = False
) -> None:
    """Stop a dataset from being read, for instance while an erasure is pending.

    Example: assay data hold loans --reason "erasure request 17"
    """
    _hold(Session(actor, project, as_json), name, reason, held=True)


@data.command("release")
def release(
    name: Name, reason: Reason, actor: As = "", project: InProject = "", as_json: AsJson = False
) -> None:
    """Lift the hold of a dataset.

    Example: assay data release loans --reason "erasure request 17 is done"
    """
    _hold(Session(actor, project, as_json), name, reason, held=False)


def _hold(session: Session, name: str, reason: str, *, held: bool) -> None:
    from assay.actions.datasets import HoldDataset

    done = session.perform(
        HoldDataset(project=session.project, dataset=name, held=held, reason=reason)
    )
    words = "is on hold: nobody can read it" if held else "can be read again"
    emit(session.as_json, done, lambda: say(f"[bold]{escape(name)}[/] {words}"))
