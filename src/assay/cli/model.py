"""``assay model``: register, list, show, assess and scan."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from assay.cli import words
from assay.cli.groups import Group
from assay.cli.output import emit, escape, say, statements, table
from assay.cli.session import (
    As,
    AsJson,
    InProject,
    Ref,
    Session,
    ask_missing,
    given_path,
    listed,
    short,
)
from assay.errors import Usage

model = typer.Typer(cls=Group, help="Models: take them in, measure them, look at their evidence.")


def add_to(app: typer.Typer) -> None:
    app.add_typer(model, name="model", no_args_is_help=True)


QUESTIONS = {
    "name": "What is the model called (for example credit)?",
    "purpose": "What was it made for (a purpose its data was registered for)?",
}


@model.command("register")
def register(
    path: Annotated[Path, typer.Argument(help="A model file, or a folder.", metavar="FILE")],
    name: Annotated[str, typer.Option(help=QUESTIONS["name"])] = "",
    purpose: Annotated[str, typer.Option(help=QUESTIONS["purpose"])] = "",
    train: Annotated[
        str, typer.Option(help="The dataset it was trained on.", metavar="DATASET")
    ] = "",
    test: Annotated[
        str, typer.Option(help="Held-out rows to judge it on.", metavar="DATASET")
    ] = "",
    label: Annotated[str, typer.Option(help="The column it predicts.", metavar="COLUMN")] = "",
    positive: Annotated[str, typer.Option(help="The label that counts as yes.")] = "",
    threshold: Annotated[float, typer.Option(help="Probability from which it is yes.")] = 0.5,
    sensitive: Annotated[
        str, typer.Option(help="Columns to measure apart (a,b): age, sex, …", metavar="COLUMNS")
    ] = "",
    leave_out: Annotated[
        str, typer.Option(help="Columns that are no features (a,b).", metavar="COLUMNS")
    ] = "",
    description: Annotated[str, typer.Option(help="One line for the passport.")] = "",
    actor: As = "",
    project: InProject = "",
    as_json: AsJson = False,
) -> None:
    """Seal a model, scan it, turn it into ONNX in confinement and compare the two.

    Exit status 4 when the scan quarantines it, 1 when there is no safe form that can be served.

    \b
    Example: assay model register model.skops --name credit \\
        --purpose credit-scoring --train loans --test holdout --label default
    """
    from assay.actions.models import RegisterModel

    session = Session(actor, project, as_json)
    answers = ask_missing({"name": name, "purpose": purpose}, QUESTIONS, "model.missing", path=path)
    done: dict[str, Any] = session.perform(
        RegisterModel(
            project=session.project,
            model=answers["name"],
            path=given_path(path),
            purpose=answers["purpose"],
            train=train,
            test=test,
            label=label,
            positive=label_value(positive),
            threshold=threshold,
            sensitive=listed(sensitive),
            leave_out=listed(leave_out),
            description=description,
        )
    )
    emit(as_json, done, lambda: _registered(done, session.project))
    if done["details"]["quarantined"]:
        raise typer.Exit(4)
    if not done["served"]:
        raise typer.Exit(1)


def label_value(text: str) -> int | str | None:
    """A label as data spells it: a whole number where it is one, else text."""
    if not text:
        return None
    return int(text) if text.lstrip("-").isascii() and text.lstrip("-").isdigit() else text


def _registered(done: dict[str, Any], project: str) -> None:
    details, ref = done["details"], f"{done['model']}@{done['version']}"
    say(f"registered [bold]{escape(ref)}[/]  {short(done['artifact'])}")
    size = "a folder" if details["tree"] else "a file"
    say(f"  format: {escape(details['format'])} ({size})")
    say(f"  scan: {words.scan(done['scan'])}")
    if details["quarantined"]:
        words.findings(done["scan"])
        say(f"  [red]quarantined[/]: {escape(details['unservable'])}")
        say(f"    → {escape(details['route'])}")
        return
    if not done["served"]:
        say(f"  [yellow]cannot be served[/]: {escape(details['unservable'])}")
        say(f"    → {escape(details['route'])}")
        return
    if done["parity"] is None:
        say("  conversion: none needed, it is served as it is")
    else:
        say(f"  conversion: to ONNX, at isolation level {escape(details['isolation'])}")
        say(f"  parity: {words.parity(done['parity'])}")
        if details["kind"] == "regressor":
            say(
                "  [yellow]predicts a number[/]: only classifiers can be assessed as yet, so it can"
            )
            say("    be promoted no further than development")
    say(f"next: assay model check {escape(ref)} --for production --project {escape(project)}")


@model.command("list")
def list_models(actor: As = "", project: InProject = "", as_json: AsJson = False) -> None:
    """The model versions of the project.

    Example: assay model list
    """
    session = Session(actor, project, as_json)
    found = sorted(
        session.view("models").versions(session.project), key=lambda v: (v.name, int(v.version))
    )
    rows = [
        [v.name, v.version, v.stage, v.details.get("format", ""), _state(v), session.name(v.author)]
        for v in found
    ]
    emit(
        as_json,
        found,
        lambda: table(
            ["name", "version", "stage", "format", "state", "author"],
            rows,
            empty="no model yet: assay model register FILE",
        ),
    )


def _state(version: Any) -> str:
    if version.revoked:
        return "revoked"
    if version.hold:
        return "on hold"
    if version.details.get("quarantined"):
        return "quarantined"
    return "can be served" if version.served else "cannot be served"


@model.command("show")
def show(ref: Ref, actor: As = "", project: InProject = "", as_json: AsJson = False) -> None:
    """A version: what it is, the facts that policy reads, and every statement about it.

    Example: assay model show credit@3
    """
    from assay.evidence.state import kind_of
    from assay.types import parse_model_ref

    name, version = parse_model_ref(ref)
    session = Session(actor, project, as_json)
    view = session.view(f"model {ref}")
    found = view.version(session.project, name, version)
    session.workspace.engine()  # Which facts count is what the active policy bundle says.
    about = found.served or found.artifact
    facts = view.version_facts(found)
    superseded = view.state.superseded_in(session.project)
    evidence = [
        {
            "leaf": item.index,
            "kind": kind_of(item.statement),
            "envelope": item.envelope_digest,
            "producer": item.producer,
            "issued": item.statement.header.issued,
            "superseded": item.envelope_digest in superseded,
        }
        for item in view.evidence(session.project, *dict.fromkeys((found.artifact, about)))
    ]
    shown = {"version": found, "facts": facts.values, "sources": facts.sources}

    def human() -> None:
        say(f"[bold]{escape(found.name)}@{escape(found.version)}[/]  {_state(found)}")
        say(f"  stage: {escape(found.stage or 'none')}")
        say(f"  author: {escape(session.name(found.author))}")
        say(f"  registered: {found.artifact}")
        say(f"  served:     {found.served or 'nothing'}")
        if found.served is None:
            say(f"  why not: {escape(found.details.get('unservable', ''))}")
            say(f"    → {escape(found.details.get('route', ''))}")
        rows = [[key, value] for key, value in words.flat(facts.values)]
        table(["fact", "value"], rows, empty="no facts yet")
        say("statements about it:")
        statements(evidence)

    emit(as_json, {**shown, "evidence": evidence}, human)


@model.command("assess")
def assess(
    ref: Ref,
    data: Annotated[
        str,
        typer.Option(
            help="Rows it was not trained on; default: --test of its registration.",
            metavar="DATASET",
        ),
    ] = "",
    train: Annotated[
        str,
        typer.Option(
            help="Rows it was trained on, for gap and privacy; default: --train of its "
            "registration.",
            metavar="DATASET",
        ),
    ] = "",
    seed: Annotated[int, typer.Option(help="Seed of the attacks' reference models.")] = 0,
    actor: As = "",
    project: InProject = "",
    as_json: AsJson = False,
) -> None:
    """Measure a version: how good it is with its intervals, and what it gives away.

    Example: assay model assess credit@3 --data holdout
    """
    from assay.actions.assessment import AssessModel
    from assay.types import parse_model_ref

    name, version = parse_model_ref(ref)
    session = Session(actor, project, as_json)
    if not data:
        found = session.view(f"model {ref}").version(session.project, name, version)
        data = str(found.details.get("test", ""))
    if not data:
        raise Usage(
            f"{ref} was registered without --test, so it is not known what to judge it on",
            remedy="name rows that it was not trained on: --data DATASET",
            code="assess.data",
        )
    done: dict[str, Any] = session.perform(
        AssessModel(
            project=session.project, model=name, version=version, data=data, train=train, seed=seed
        )
    )

    def human() -> None:
        say(f"assessed [bold]{escape(done['model'])}@{escape(done['version'])}[/]")
        for kind, predicate in done["found"].items():
            for title, text in words.of(kind, predicate):
                say(f"  {escape(title)}: {escape(text)}")
        if "train" not in done["datasets"]:
            say("  not measured: what it learned by heart, and its privacy (they need --train)")

    emit(as_json, done, human)


@model.command("scan")
def scan(ref: Ref, actor: As = "", project: InProject = "", as_json: AsJson = False) -> None:
    """Scan a version's sealed original again.  Exit status 4 unless it is clean.

    Example: assay model scan credit@3
    """
    from assay.actions.models import ScanModel
    from assay.types import parse_model_ref

    name, version = parse_model_ref(ref)
    session = Session(actor, project, as_json)
    done = session.perform(ScanModel(project=session.project, model=name, version=version))

    def human() -> None:
        say(f"[bold]{escape(done['model'])}@{escape(done['version'])}[/]: {words.scan(done)}")
        words.findings(done)

    emit(as_json, done, human)
    if not done["clean"]:
        raise typer.Exit(4)
