"""``assay predictions``: what an endpoint answered, as it was kept."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from assay.cli.groups import Group
from assay.cli.output import check_result, counted, emit, escape, note, say, table
from assay.cli.session import As, AsJson, InProject, Session
from assay.errors import Usage

predictions = typer.Typer(
    cls=Group,
    help="The prediction log: every answer of an endpoint, sealed.",
    no_args_is_help=True,
)

Name = Annotated[str, typer.Argument(metavar="NAME", help="The endpoint: a model's name.")]
Since = Annotated[str, typer.Option(help="RFC 3339 time: what was answered at or after it.")]
Until = Annotated[str, typer.Option(help="RFC 3339 time: what was answered before it.")]
_SUFFIXES = (".parquet", ".jsonl")


def add_to(app: typer.Typer) -> None:
    app.add_typer(predictions, name="predictions")


@predictions.command("list")
def list_predictions(
    name: Name,
    since: Since = "",
    until: Until = "",
    actor: As = "",
    project: InProject = "",
    as_json: AsJson = False,
) -> None:
    """The sealed segments of an endpoint's log, what waits to be sealed, and what is lost.

    Example: assay predictions list credit
    """
    from assay.actions.prediction_records import losses_of, segments_of, spools_of
    from assay.actions.serving import known_endpoint
    from assay.clock import parse_timestamp
    from assay.monitor.spool import waiting, written

    session = Session(actor, project, as_json)
    view = session.view(f"predictions of {name}")
    known_endpoint(view, session.project, name)
    bounds = [parse_timestamp(text) if text else None for text in (since, until)]
    found = segments_of(view, session.project, name, *bounds)
    lost = losses_of(view, session.project, name)
    spools = spools_of(session.workspace.layout, session.project, name)
    unsealed, answers = len(waiting(spools)), written(spools)
    alive = set(session.workspace.store.rings.names())

    def human() -> None:
        rows = [
            [
                s.first,
                s.last,
                f"{name}@{s.version}",
                f"{s.requests:,}",
                f"{s.rows:,}",
                f"{s.subjects:,}" if s.subjects else "",
                "" if s.ring in alive else "destroyed",
            ]
            for s in found
        ]
        empty = "nothing is sealed yet" if unsealed or answers else "nothing was answered yet"
        table(["from", "to", "version", "requests", "rows", "people", ""], rows, empty=empty)
        if unsealed:
            files = counted(unsealed, "file")
            say(f"{files} to be sealed: assay predictions seal {escape(name)}")
        _written(answers)
        for loss in lost:
            kept = f"; kept as {escape(loss.kept_as)}" if loss.kept_as else ""
            say(
                f"[red]lost[/]: {loss.records:,} requests and {loss.bytes:,} bytes of "
                f"{escape(loss.segment)} ({escape(loss.why)}){kept}"
            )

    told = {"segments": found, "lost": lost, "waiting": unsealed, "written": answers}
    emit(as_json, told, human)


def _written(answers: int) -> None:
    """What a running server has open is not for others to seal: say whose turn it is."""
    if answers:
        say(
            f"{counted(answers, 'answered request')} with a running server, which has them sealed "
            "every five minutes and when it stops"
        )


@predictions.command("seal")
def seal(name: Name, actor: As = "", project: InProject = "", as_json: AsJson = False) -> None:
    """Seal what the endpoint answered since the last time; `assay monitor run` does so too.

    Example: assay predictions seal credit
    """
    from assay.actions.prediction_records import spools_of
    from assay.actions.predictions import SealPredictions
    from assay.monitor.spool import written

    session = Session(actor, project, as_json)
    done: dict[str, Any] = session.perform(SealPredictions(project=session.project, endpoint=name))

    def human() -> None:
        say(f"sealed {done['rows']:,} rows of [bold]{escape(name)}[/]")
        for loss in done["lost"]:
            say(
                f"[red]lost[/]: {loss['records']:,} requests and {loss['bytes']:,} bytes of "
                f"{escape(loss['segment'])} ({escape(loss['why'])})"
            )
        _written(written(spools_of(session.workspace.layout, session.project, name)))

    emit(as_json, done, human)


@predictions.command("export")
def export(
    name: Name,
    out: Annotated[Path, typer.Option(help="A new file: .parquet, or .jsonl.", metavar="FILE")],
    purpose: Annotated[str, typer.Option(help="What for; default: the model's own.")] = "",
    since: Since = "",
    until: Until = "",
    version: Annotated[str, typer.Option(help="Only of this version.")] = "",
    actor: As = "",
    project: InProject = "",
    as_json: AsJson = False,
) -> None:
    """Take rows out of the log, in the clear, for a purpose that policy allows.

    \b
    Example: assay predictions export credit --out january.parquet \\
        --since 2026-01-01T00:00:00Z --until 2026-02-01T00:00:00Z
    """
    from assay import files
    from assay.actions.predictions import Log, ReadPredictions

    session = Session(actor, project, as_json)
    _ = session.workspace
    if out.suffix not in _SUFFIXES:
        raise Usage(
            f"{out} is no {' or '.join(_SUFFIXES)} file", remedy="name one", code="export.suffix"
        )
    check_result(out, force=False)
    log: Log = session.perform(
        ReadPredictions(
            project=session.project,
            endpoint=name,
            purpose=purpose,
            since=since,
            until=until,
            version=version,
        )
    )
    # For its owner alone: what it holds is in the clear, and mostly about people.
    with files.new_file(out, replace=False) as stream:
        if out.suffix == ".parquet":
            log.frame.write_parquet(stream)
        else:
            log.frame.write_ndjson(stream)
    told = {
        "file": str(out),
        "rows": log.frame.height,
        "erased": log.erased,
        "shredded": log.shredded,
    }

    def human() -> None:
        rows = log.frame.height
        say(f"{rows:,} row{'s' * (rows != 1)} of [bold]{escape(name)}[/] are in {escape(out)}")
        if log.erased:
            say(f"  {log.erased:,} more are about people who were erased")
        if log.shredded:
            say(f"  {log.shredded:,} more are of a time whose key ring was destroyed")

    emit(as_json, told, human)


@predictions.command("erase")
def erase(
    people: Annotated[list[str], typer.Argument(metavar="ID...", help="As requests name them.")],
    reason: Annotated[str, typer.Option(help="Why; it goes on the record.")],
    ticket: Annotated[str, typer.Option(help="The request or order that it follows.")],
    actor: As = "",
    project: InProject = "",
    as_json: AsJson = False,
) -> None:
    """Forget people: what was predicted about them until now can never be read again.

    Needs an administrator.  The ids go nowhere: the record has their keyed hashes.

    Example: assay predictions erase 4711 --reason "asked to" --ticket DPO-17
    """
    from assay.actions.predictions import EraseSubjects

    session = Session(actor, project, as_json)
    action = EraseSubjects.asked(session.workspace, session.project, people, reason, ticket)
    done: dict[str, Any] = session.perform(action)

    def human() -> None:
        say(
            f"forgot {done['people']:,} of the people in the prediction log of "
            f"[bold]{escape(done['project'])}[/]"
        )
        if done["with_key"] < done["people"]:
            missing = done["people"] - done["with_key"]
            note(f"about {missing:,} of them nothing was sealed yet; it will not be, if it waits")
        note(
            "older copies of .assay/rings and .assay/subjects, with the root key, would still open "
            "their rows: destroy those copies"
        )

    emit(as_json, done, human)
