"""``assay feedback``: what turned out true of what an endpoint predicted."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from assay.cli.groups import Group
from assay.cli.output import counted, emit, escape, say, table
from assay.cli.session import As, AsJson, InProject, Session, given_path, short

feedback = typer.Typer(
    cls=Group,
    help="Labels that came later: what turned out true of what was predicted.",
    no_args_is_help=True,
)

Name = Annotated[str, typer.Argument(metavar="NAME", help="The endpoint: a model's name.")]
_LAST = 12
"""Windows that are shown to a person."""


def add_to(app: typer.Typer) -> None:
    app.add_typer(feedback, name="feedback")


@feedback.command("add")
def add(
    name: Name,
    path: Annotated[Path, typer.Argument(metavar="FILE", help="CSV, Parquet or JSON lines.")],
    actor: As = "",
    project: InProject = "",
    as_json: AsJson = False,
) -> None:
    """Give labels: a table with id (UUID/row, as the endpoint named the prediction) and label.

    A column at may say when the truth was found out.  What is wrong with a row is counted, and
    takes no other row with it.

    Example: assay feedback add credit labels.csv
    """
    from assay.actions.feedback import AddFeedback

    session = Session(actor, project, as_json)
    done: dict[str, Any] = session.perform(
        AddFeedback(project=session.project, endpoint=name, path=given_path(path))
    )

    def human() -> None:
        say(f"kept {done['accepted']:,} of {counted(done['rows'], 'label')} for {escape(name)}")
        _refused(done["refused"])
        for example in done["examples"]:
            say(f"    row {example['place'] + 1}: {escape(example['reason'])}")

    emit(as_json, done, human)


def _refused(refused: Mapping[str, int]) -> None:
    from assay.monitor.labels import REASONS

    for reason, count in refused.items():
        why = REASONS.get(reason, "")
        say(f"  [yellow]refused {count:,}[/] ({escape(reason)}): each {escape(why)}")


@feedback.command("status")
def status(name: Name, actor: As = "", project: InProject = "", as_json: AsJson = False) -> None:
    """Who gave how many labels, why some were refused, and how much of each window is labelled.

    Example: assay feedback status credit
    """
    from assay.actions import feedback_status

    session = Session(actor, project, as_json)
    view = session.view(f"feedback of {name}")
    layout = session.workspace.layout
    told = feedback_status.status(view, layout, session.project, name)
    names = session.workspace.directory.names()

    def human() -> None:
        table(
            ["source", "labels", "kept", "last", "refused"],
            [
                [
                    names.get(given["source"], given["source"]),
                    f"{given['rows']:,}",
                    f"{given['accepted']:,}",
                    given["last"],
                    ", ".join(f"{reason} {count:,}" for reason, count in given["refused"].items()),
                ]
                for given in told["sources"]
            ],
            empty=f"no labels yet: assay feedback add {name} FILE",
        )
        if told["windows"]:
            say("")
            _windows(told["windows"])
        _open(name, told)

    emit(as_json, told, human)


def _windows(windows: list[dict[str, Any]]) -> None:
    rows = [
        [
            str(window["number"]),
            f"{window['from']} to {window['to']}",
            f"{window['rows']:,}",
            "" if window["labelled"] is None else f"{window['labelled']:,}",
            "" if window["coverage"] is None else f"{window['coverage']:.1%}",
            _unused(window["counts"])
            if window["final"]
            else f"open until {window['closes'] or 'enough windows follow'}",
        ]
        for window in windows[-_LAST:]
    ]
    table(["window", "time", "rows", "labelled", "coverage", "not used"], rows, empty="")
    if len(windows) > _LAST:
        say(f"and {len(windows) - _LAST:,} windows before: --json has them all")


def _unused(counts: Mapping[str, int]) -> str:
    from assay.monitor.feedback import OUTCOMES

    found = [f"{o} {counts[o]:,}" for o in OUTCOMES if o != "used" and counts.get(o)]
    return ", ".join(found)


def _open(name: str, told: Mapping[str, Any]) -> None:
    if told["waiting"]:
        say(
            f"{counted(told['waiting'], 'file')} of labels to be sealed: "
            f"assay feedback seal {escape(name)}"
        )
    _written(told["written"])
    for loss in told["lost"]:
        say(_lost(loss))


def _written(batches: int) -> None:
    """What a running server has open is not for others to seal: say whose turn it is."""
    if batches:
        say(
            f"{counted(batches, 'request')} with labels are with a running server, which has them "
            "sealed every five minutes and when it stops"
        )


def _lost(loss: Mapping[str, Any]) -> str:
    kept = f"; kept as {escape(loss['kept_as'])}" if loss["kept_as"] else ""
    return (
        f"[red]lost[/]: {loss['records']:,} requests and {loss['bytes']:,} bytes of "
        f"{escape(loss['spool'])} ({escape(loss['why'])}){kept}"
    )


@feedback.command("seal")
def seal(name: Name, actor: As = "", project: InProject = "", as_json: AsJson = False) -> None:
    """Seal the labels that the endpoint took since the last time; `assay monitor run` does so too.

    Example: assay feedback seal credit
    """
    from assay.actions.feedback import SealFeedback
    from assay.actions.feedback_records import spool_of
    from assay.monitor.spool import written

    session = Session(actor, project, as_json)
    done: dict[str, Any] = session.perform(SealFeedback(project=session.project, endpoint=name))

    def human() -> None:
        say(f"sealed {counted(done['labels'], 'label')} of [bold]{escape(name)}[/]")
        for loss in done["lost"]:
            say(_lost(loss))
        _written(written(spool_of(session.workspace.layout, session.project, name)))

    emit(as_json, done, human)


@feedback.command("dataset")
def dataset(
    name: Name,
    as_name: Annotated[
        str, typer.Option("--name", help="What the dataset is called.", metavar="DATASET")
    ],
    since: Annotated[str, typer.Option(help="RFC 3339 time: answered at or after it.")] = "",
    until: Annotated[str, typer.Option(help="RFC 3339 time: answered before it.")] = "",
    purpose: Annotated[str, typer.Option(help="What for; default: the model's own.")] = "",
    ticket: Annotated[str, typer.Option(help="For special categories (GDPR Art. 9).")] = "",
    actor: As = "",
    project: InProject = "",
    as_json: AsJson = False,
) -> None:
    """Register the labelled rows of the log as a dataset, to train on.

    It is declared as the model's training data is, and needs the right to read that and the log.

    Example: assay feedback dataset credit --name credit-2026
    """
    from assay.actions.collecting import CollectDataset

    session = Session(actor, project, as_json)
    done: dict[str, Any] = session.perform(
        CollectDataset(
            project=session.project,
            endpoint=name,
            dataset=as_name,
            from_=since,
            to=until,
            purpose=purpose,
            ticket=ticket,
        )
    )

    def human() -> None:
        held = done["collection"]
        same = " (as registered before)" if done["unchanged"] else ""
        say(
            f"[bold]{escape(as_name)}[/]{same}: {counted(done['rows'], 'labelled row')} of "
            f"{held['predictions']:,} in the log, {short(done['content'])}"
        )
        unused = _unused(held["labels"])
        if unused:
            say(f"  labels not used: {unused}")
        if held["erased"] or held["shredded"]:
            say(f"  left out: {held['erased'] + held['shredded']:,} rows that were destroyed")
        if held["absent"]:
            say(f"  not in the log: {escape(', '.join(held['absent']))}")

    emit(as_json, done, human)
