"""``assay data check``: what is in a dataset that nobody said was there."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from assay.cli.data import Name
from assay.cli.output import emit, escape, say, table
from assay.cli.session import As, AsJson, InProject, Session


def add_to(group: typer.Typer) -> None:
    group.command("check")(check)


def check(
    name: Name,
    label: Annotated[
        str, typer.Option(help="The column that models predict: its doubtful values are counted.")
    ] = "",
    purpose: Annotated[
        str, typer.Option(help="What for; default: the first purpose it is registered for.")
    ] = "",
    ticket: Annotated[str, typer.Option(help="For special categories of personal data.")] = "",
    actor: As = "",
    project: InProject = "",
    as_json: AsJson = False,
) -> None:
    """Look for undeclared personal data, repeated rows and doubtful labels, and sign what is found.

    Tells columns, kinds and counts, never a value.

    Example: assay data check loans --label default
    """
    from assay.actions.extraction import ExamineDataset

    session = Session(actor, project, as_json)
    done: dict[str, Any] = session.perform(
        ExamineDataset(
            project=session.project, dataset=name, purpose=purpose, label=label, ticket=ticket
        )
    )
    emit(as_json, done, lambda: _told(done))


def _told(done: dict[str, Any]) -> None:
    personal, repeated = done["personal"], done["duplicates"]
    rows = [
        [
            column["column"],
            ", ".join(f"{kind['kind']} ({kind['how']})" for kind in column["kinds"]),
            f"{100 * max(kind['share'] for kind in column['kinds']):.0f} %",
            "[red]not declared[/]" if column["column"] in personal["undeclared"] else "declared",
        ]
        for column in personal["found"]
    ]
    looked = personal["looked"]
    table(["column", "personal data", "of values", ""], rows, empty="no personal data was found")
    say(
        f"  looked at {looked['values']:,} values of {looked['columns']} columns "
        f"(at most {looked['most_values']} a column), isolation: {escape(looked['isolation'])}"
    )
    if personal["undeclared"]:
        named = " ".join(f"--personal-column {column}" for column in personal["undeclared"])
        say(f"  declare them by registering the data again with {escape(named)}")
        say("  until then no model is trained on it")
    say(
        f"  repeated rows: {repeated['exact']:,} exactly, {repeated['near']:,} nearly, "
        f"of {repeated['rows']:,}"
    )
    if labels := done.get("labels"):
        say(
            f"  doubtful labels in {escape(labels['label'])}: {labels['outliers']:,} of "
            f"{labels['rows']:,} rows"
        )
    for alarm in done["alarms"]:
        say(f"  column {escape(alarm['column'])} is {alarm['what'].replace('_', ' ')}")
    for other in done["overlap"]:
        say(f"  {other['rows']:,} rows are rows of {escape(other['dataset'])}, too")
