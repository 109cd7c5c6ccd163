"""``assay ci PIPELINE``: run it, evaluate every gate, and leave one folder with the report."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from assay.cli.output import Stopped, counted, emit, escape, note, progress, say
from assay.cli.session import As, AsJson, InProject, Session, choice
from assay.errors import AssayError, Denied

if TYPE_CHECKING:
    import threading

    from assay.actions.ci_report import Before, Built
    from assay.actions.runs import Ended, RunPipeline
    from assay.ci.model import Report, Source
    from assay.cli.ci_workspace import Place

_CLOSED = 3
_SHOWN = 10


def run(
    target: Annotated[
        str,
        typer.Argument(metavar="FILE[:PIPELINE]", help="What to run; or MODULE[:PIPELINE]."),
    ],
    out: Annotated[
        Path, typer.Option(help="The folder to write; it must not exist.", metavar="FOLDER")
    ] = Path("assay-report"),
    parameters: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="A parameter; may be repeated."),
    ] = None,
    stage: Annotated[
        str,
        typer.Option("--for", help="The stage whose gates are evaluated.", metavar="STAGE"),
    ] = "staging",
    base: Annotated[
        str,
        typer.Option(
            help="What figures are compared with: auto is the newest version before this run.",
            metavar="NAME@VERSION|auto|none",
        ),
    ] = "auto",
    local: Annotated[
        bool,
        typer.Option("--local", help="Take the commit from git, not from a CI server."),
    ] = False,
    executor: Annotated[
        str, typer.Option(help="Where steps run: local, ray, or a plug-in's name.", metavar="NAME")
    ] = "local",
    jobs: Annotated[
        int, typer.Option(help="Steps at once on this machine; 0: one a core.", min=0, metavar="N")
    ] = 0,
    seed: Annotated[
        int, typer.Option(help="What steps with a parameter `seed` get.", min=0, metavar="N")
    ] = 0,
    ticket: Annotated[
        str, typer.Option(help="For special categories of personal data.", metavar="TICKET")
    ] = "",
    actor: As = "",
    project: InProject = "",
    as_json: AsJson = False,
) -> None:
    """Run a pipeline, assess, evaluate all gates, and write one folder with the report.

    Works in the workspace of this folder, as you, or as the service whose token is in
    ASSAY_TOKEN. A fresh checkout has no workspace: then in a development
    workspace of its own, kept in the folder that ASSAY_CI_CACHE names, or for this run alone.
    Proposed code (a pull or merge request) reads that cache and never writes it.

    Exit status 0 when it passed, 3 when a gate is closed, else that of the run's error. The word
    run may be left out.

    Example: assay ci run pipelines/credit.py --out assay-report
    """
    from assay.actions.ci_report import check_base
    from assay.ci import folder
    from assay.cli import ci_source, ci_workspace
    from assay.cli.run import assigned
    from assay.types import STAGES

    choice(stage, STAGES, "stage")
    check_base(base)
    given = assigned(parameters or ())
    # What cannot be written is said before an hour of work.
    folder.check_new(out)
    source = ci_source.found(Path.cwd(), os.environ, local=local)
    proposed = not source.may_write_cache
    session = Session(actor, project, as_json)
    with ci_workspace.opened(session, project, proposed=proposed) as place:
        asked = _Asked(
            place=place,
            target=target,
            stage=stage,
            base=base,
            source=source,
            as_json=as_json,
            options={
                "parameters": given,
                "executor": executor,
                "jobs": jobs,
                "seed": seed,
                "ticket": ticket,
                "cache": "read" if proposed else "use",
            },
        )
        made = _make(asked)
        written = folder.write(made.built.report, out, made.built.statements, made.built.proof)
    status = _status(made)
    document = _document(made, out, written, status)
    emit(as_json, document, lambda: _show(made.built.report, out, written))
    if status:
        raise typer.Exit(status)


@dataclass(frozen=True, slots=True)
class _Asked:
    place: Place
    target: str
    stage: str
    base: str
    source: Source
    as_json: bool
    options: dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Made:
    built: Built
    ended: Ended | None
    error: AssayError | None


def _make(asked: _Asked) -> _Made:
    """Run it and report on it; raises only where there is nothing to report."""
    from assay.actions import ci_report
    from assay.cli.run import stoppable

    place = asked.place
    before = ci_report.look(place.workspace, place.credential, place.project, asked.base)
    ended: Ended | None = None
    error: AssayError | None = None
    altered: tuple[str, ...] = ()
    with stoppable() as stops:
        try:
            action, altered = _planned(asked)
            ended = _perform(asked, action, stops)
            if ended.record.state == "cancelled":
                raise Stopped
            error = ended.error
        except AssayError as found:
            error = found
        stops.clear()  # From here on there is no run to end between two things.
        with progress(asked.as_json) as tell:
            tell("making the report")
            built = _report(asked, before, ended, error, altered, tell)
    return _Made(built, ended, error)


def _planned(asked: _Asked) -> tuple[RunPipeline, tuple[str, ...]]:
    from assay.actions import runs

    with progress(asked.as_json) as tell:
        tell(f"planning {asked.target}")
        action = runs.prepare(
            asked.place.workspace,
            asked.place.project,
            asked.target,
            folder=Path.cwd(),
            **asked.options,
        )
    return action, runs.planned(action).environment.problems


def _perform(asked: _Asked, action: RunPipeline, stops: list[threading.Event]) -> Ended:
    from assay.actions.runs import planned
    from assay.cli.run_live import showing

    plan = planned(action)
    stops.append(plan.stop)
    with showing(plan.graph, asked.as_json, plan.stop) as tell:
        return asked.place.workspace.perform(asked.place.credential, action, progress=tell)


def _report(
    asked: _Asked,
    before: Before,
    ended: Ended | None,
    error: AssayError | None,
    altered: tuple[str, ...],
    tell: Any,
) -> Built:
    from assay.actions import ci_report

    ran = ci_report.Ran(
        project=asked.place.project,
        pipeline=asked.target,
        before=before,
        record=ended.record if ended is not None else None,
        error=error,
        stage=asked.stage,
        seed=asked.options["seed"],
        source=asked.source,
        findings=asked.place.findings,
        altered=altered,
        folder=Path.cwd(),
    )
    return ci_report.build(asked.place.workspace, asked.place.credential, ran, progress=tell)


def _status(made: _Made) -> int:
    if made.built.report.verdict == "passed":
        return 0
    if made.error is None or isinstance(made.error, Denied):
        return _CLOSED
    return made.error.exit_status


# -- telling ---------------------------------------------------------------------------------------


def _document(made: _Made, out: Path, written: list[str], status: int) -> dict[str, Any]:
    report = made.built.report
    run = made.ended.record.run if made.ended is not None else ""
    return {
        "verdict": report.verdict,
        "why": report.why,
        "exit_status": status,
        "run": run,
        "folder": str(out),
        "files": written,
        "gates": {
            "open": [gate.id for gate in report.gates if gate.passed],
            "closed": [gate.id for gate in report.closed],
        },
        "error": made.error.as_dict() if made.error is not None else None,
    }


_VERDICTS = {
    "passed": "[green]✓ passed[/]",
    "failed": "[red]✗ failed[/]",
    "error": "[yellow]! error[/]",
}


def _show(report: Report, out: Path, written: list[str]) -> None:
    from assay.ci import model
    from assay.ci.tables import duration

    say(f"{_VERDICTS[report.verdict]}: {escape(report.why)}")
    for gate in report.closed[:_SHOWN]:
        measured = ", ".join(f"{m.name} {m.value}" for m in gate.measured)
        more = f" ({escape(measured)})" if measured else ""
        say(f"  [red]✗[/] [bold]{escape(gate.id)}[/]  {escape(gate.advice)}{more}")
    for command, _, seconds in model.remedies(report):
        say(f"    → {escape(command)}  [dim]{duration(seconds)}[/]")
    for metric in model.metrics(report):
        if metric.difference is not None:
            say(f"  {escape(metric.name)}: {_difference(metric)}")
    worst = [finding for finding in model.findings(report.findings) if finding.level != "note"]
    for finding in worst[:_SHOWN]:
        say(f"  [yellow]![/] {escape(finding.message)}")
    cached = sum(step.state == "cached" for step in report.steps)
    if report.steps:
        say(f"  {cached} of {counted(len(report.steps), 'step')} taken from the cache")
    say(f"wrote [bold]{escape(out)}[/] ({counted(len(written), 'file')})")
    if any(finding.rule == "ci/development-workspace" for finding in report.findings):
        note("  made in a development workspace of this CI: nobody vouches for its key")


def _difference(metric: Any) -> str:
    from assay.ci.tables import figure

    found = metric.difference
    bounds = ""
    if found.lower is not None and found.upper is not None:
        bounds = f" ({found.lower:+.4g} to {found.upper:+.4g}; {found.method})"
    return f"{figure(metric.now.value)}, {found.value:+.4g}{bounds}: {metric.change}"
