"""``assay run``: run a pipeline, and look at runs, stop them and go on with them."""

from __future__ import annotations

import contextlib
import functools
import signal
import threading
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from assay.cli import run_reading as reading
from assay.cli import run_why
from assay.cli.groups import Group
from assay.cli.output import Stopped, emit, err, escape, note, progress, say, show_error, table
from assay.cli.session import As, AsJson, InProject, Session, choice
from assay.errors import Conflict, Unavailable, Usage

if TYPE_CHECKING:
    from assay.actions.runs import Ended, RunPipeline

_CACHE = ("use", "read", "ignore")
_PRINTED = 20
"""Lines of a failed step's log that are shown."""


class _Runs(Group):
    """A group in which a word that is none of its commands names what to run."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Options before that word are the run's, too."""
        if args and args[0].startswith("-") and args[0] != "--help":
            args = ["--", *args]
        return super().parse_args(ctx, args)

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        if args and args[0] in self.commands:
            return super().resolve_command(ctx, args)
        return "", _starting(), args

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """The options of running first."""
        _starting().format_options(ctx, formatter)
        self.format_commands(ctx, formatter)


run = typer.Typer(
    cls=_Runs,
    help="""Run a pipeline: FILE.py or MODULE, and :PIPELINE where it has several.

    Each step runs in a process of its own that can read what its key names and nothing else; what
    has been computed from the same code, libraries and inputs before is taken from the cache.
    Exit status 3 when policy denies something, 130 when it was stopped.

    \b
    Example: assay run pipelines/credit.py:train --set alpha=0.1 --jobs 4
    """,
    subcommand_metavar="FILE[:PIPELINE] | COMMAND ...",
    no_args_is_help=True,
)
RunId = Annotated[
    str,
    typer.Argument(
        metavar="RUN", help="A run's id, its beginning or its end; or `latest`.", show_default=False
    ),
]

Ticket = Annotated[
    str, typer.Option(help="For special categories of personal data.", metavar="TICKET")
]


def add_to(app: typer.Typer) -> None:
    for command in (list_runs, show, logs, diff, resume, cancel):
        run.command(command.__name__.partition("_")[0])(command)
    app.add_typer(run, name="run")
    app.command("why")(run_why.why)


def start(
    target: Annotated[
        str, typer.Argument(metavar="FILE[:PIPELINE]", help="What to run; or MODULE[:PIPELINE].")
    ],
    parameters: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="A parameter; may be repeated."),
    ] = None,
    executor: Annotated[
        str, typer.Option(help="Where steps run: local, ray, or a plug-in's name.", metavar="NAME")
    ] = "local",
    jobs: Annotated[
        int, typer.Option(help="Steps at once on this machine; 0: one a core.", min=0, metavar="N")
    ] = 0,
    seed: Annotated[
        int, typer.Option(help="What steps with a parameter `seed` get.", min=0, metavar="N")
    ] = 0,
    cache: Annotated[
        str,
        typer.Option(
            help="use; read: let nobody use what this run makes; ignore: run everything.",
            metavar="|".join(_CACHE),
        ),
    ] = "use",
    check_determinism: Annotated[
        bool,
        typer.Option(
            "--check-determinism", help="Run each step twice; fail where the results differ."
        ),
    ] = False,
    ticket: Ticket = "",
    actor: As = "",
    project: InProject = "",
    as_json: AsJson = False,
) -> None:
    """Run a pipeline.  A file that is called like a command is reached as ./list.

    \b
    Example: assay run pipelines/credit.py:train --set alpha=0.1 --jobs 4
    """
    choice(cache, _CACHE, "use of the cache")
    session = Session(actor, project, as_json)
    _run(
        session,
        target,
        assigned(parameters or ()),
        executor=executor,
        jobs=jobs,
        seed=seed,
        cache=cache,
        check_determinism=check_determinism,
        ticket=ticket,
    )


@functools.cache
def _starting() -> Any:
    alone = typer.Typer(add_completion=False, rich_markup_mode=None)
    alone.command("run")(start)
    return typer.main.get_command(alone)


def assigned(given: Sequence[str]) -> dict[str, str]:
    """``["alpha=0.1"]`` as a mapping."""
    made: dict[str, str] = {}
    for text in given:
        name, sign, value = text.partition("=")
        if not sign or not name:
            raise Usage(
                f"--set {text[:60]!r} names no parameter and value",
                remedy="--set NAME=VALUE, for example --set alpha=0.1",
                code="run.set",
            )
        if name in made:
            raise Usage(f"--set gives {name[:60]} twice", remedy="give it once", code="run.set")
        made[name] = value
    return made


# -- running --------------------------------------------------------------------------------------


def _run(
    session: Session, target: str, parameters: dict[str, Any], *, said: str = "", **options: Any
) -> None:
    """Plan, ask the door, show how it goes on and what came of it; raises what ends it."""
    workspace, project = session.workspace, session.project
    # Before the spinner, which would run over the question for a passphrase.
    _ = session.person
    from assay.actions import runs

    with stoppable() as stops:
        if said and not session.as_json:
            note(said)
        with progress(session.as_json) as tell:
            tell(f"planning {target}")
            action = runs.prepare(
                workspace, project, target, folder=Path.cwd(), parameters=parameters, **options
            )
        ended = _perform(session, action, stops)
    _tell(session, ended)


def _perform(session: Session, action: RunPipeline, stops: list[threading.Event]) -> Ended:
    from assay.actions.runs import planned
    from assay.cli.run_live import showing

    plan = planned(action)
    stops.append(plan.stop)
    with showing(plan.graph, session.as_json, plan.stop) as tell:
        return session.workspace.perform(session.person, action, progress=tell)


def _tell(session: Session, ended: Ended) -> None:
    from assay.cli import run_view

    record, error = ended.record, ended.error
    failed = error if record.state == "failed" else None
    document = {**reading.document(record), **(failed.as_dict() if failed is not None else {})}
    emit(session.as_json, document, lambda: run_view.summary(record, session.project))
    if failed is not None:
        if not session.as_json:
            _show_failure(failed)
        raise typer.Exit(failed.exit_status)
    if record.state == "cancelled":
        if error is not None and not session.as_json:
            _show_failure(error)
        raise Stopped


def _show_failure(error: Any) -> None:
    show_error(error, False)
    lines = str(error.details.get("printed", "")).splitlines()
    if lines:
        err.print(f"  [dim]it printed{' at the end' if len(lines) > _PRINTED else ''}:[/]")
    for line in lines[-_PRINTED:]:
        err.print(f"  [dim]│ {escape(line)}[/]")


@contextlib.contextmanager
def stoppable() -> Generator[list[threading.Event]]:
    """Let Ctrl-C, and polite requests to end, stop the run: what is done by then is kept.

    Yields a list.  The event that is put on it is set by the first signal, so that the run ends
    between two things; without one, and at the second signal, what goes on is broken off.
    """
    stops: list[threading.Event] = []
    if threading.current_thread() is not threading.main_thread():
        yield stops
        return

    def stop(*_: object) -> None:
        if not stops:
            raise KeyboardInterrupt
        stops.pop().set()

    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    wanted = [number for number in signals if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, stop) for number in wanted}
    try:
        yield stops
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def resume(
    which: RunId,
    jobs: Annotated[
        int, typer.Option(help="Steps at once on this machine; 0: one a core.", min=0, metavar="N")
    ] = 0,
    ticket: Ticket = "",
    actor: As = "",
    project: InProject = "",
    as_json: AsJson = False,
) -> None:
    """Go on with a run that failed, was stopped or was killed, from what it had done.

    Plans anew with the same parameters, seed and executor; code that has changed since is run
    again.  It also takes over steps that are not cached otherwise, because they use the network.

    Example: assay run resume latest
    """
    session = Session(actor, project, as_json)
    found = reading.known(session, which)
    if found.state == "done":
        raise Conflict(
            f"run {found.run} is done, so there is nothing to go on with",
            remedy=f"run it again: assay run {found.told['source']}; "
            "what has not changed is taken from the cache",
            code="run.done",
        )
    if found.state == "running":
        raise Conflict(
            f"run {found.run} still runs",
            remedy=f"wait for it, or stop it: assay run cancel {found.run}",
            code="run.running",
        )
    _run(
        session,
        found.told["source"],
        dict(found.told["parameters"]),
        said=f"going on with run {escape(found.run)}, which was {found.state}",
        executor=found.told["executor"],
        seed=found.told["seed"],
        jobs=jobs,
        resumes=found.run,
        ticket=ticket,
    )


def cancel(which: RunId, actor: As = "", project: InProject = "", as_json: AsJson = False) -> None:
    """Stop a run that is going on in another terminal of this machine; what it has done is kept.

    Example: assay run cancel latest
    """
    from assay.cli import run_process

    session = Session(actor, project, as_json)
    found = reading.known(session, which)
    if found.state != "running":
        raise Conflict(
            f"run {found.run} is not running: it {_ENDED[found.state]}",
            remedy="assay run list shows those that are",
            code="run.ended",
        )
    if not run_process.stop(session.workspace.layout.root, found.run):
        raise Unavailable(
            f"run {found.run} was asked to stop, and has not ended yet",
            remedy="wait, and look: assay run list",
            code="run.stopping",
        )
    value = {"run": found.run, "stopped": True}
    emit(
        as_json,
        value,
        lambda: say(f"stopped run {escape(found.run)}; to go on: assay run resume {found.run}"),
    )


_ENDED = {
    "done": "is done",
    "failed": "failed",
    "cancelled": "was stopped already",
    "interrupted": "was killed, or its machine stopped",
}


# -- looking --------------------------------------------------------------------------------------


def list_runs(
    limit: Annotated[int, typer.Option(help="How many, newest first.", min=1, max=10_000)] = 30,
    actor: As = "",
    project: InProject = "",
    as_json: AsJson = False,
) -> None:
    """The runs of the project, newest first.

    Example: assay run list
    """
    session = Session(actor, project, as_json)
    found = reading.all_known(session)[:limit]
    rows = [[r.run, r.told["pipeline"], r.state, r.started, r.took, r.counts, r.by] for r in found]
    emit(
        as_json,
        [reading.listed(r) for r in found],
        lambda: table(
            ["run", "pipeline", "state", "started", "took", "steps", "by"],
            rows,
            empty="no run yet: assay run FILE",
        ),
    )


def show(
    which: RunId = "latest",
    task: Annotated[
        str, typer.Option("--task", help="All of one step, its key included.", metavar="STEP")
    ] = "",
    actor: As = "",
    project: InProject = "",
    as_json: AsJson = False,
) -> None:
    """A run as its signed record tells: every step, why it ran, where, and what it gave.

    Example: assay run show latest --task train
    """
    session = Session(actor, project, as_json)
    record = reading.record(session, which)
    if isinstance(record, reading.Known):
        known = record
        value = {**reading.listed(known), "finished_tasks": list(known.finished)}
        emit(as_json, value, lambda: reading.show_unfinished(known))
        return
    if not task:
        finished = record
        emit(as_json, reading.document(record), lambda: reading.show(session, finished))
        return
    tasks = reading.tasks(record, task)
    code = record.code
    emit(
        as_json,
        {"run": record.run, "tasks": [reading.task_document(t, code) for t in tasks]},
        lambda: reading.show_tasks(record, tasks),
    )


def logs(
    which: RunId,
    task: Annotated[
        str, typer.Argument(metavar="STEP", help="A step, for example train or fit[3].")
    ],
    actor: As = "",
    project: InProject = "",
    as_json: AsJson = False,
) -> None:
    """What a step printed.

    Example: assay run logs latest train
    """
    session = Session(actor, project, as_json)
    text = reading.log(session, which, task)
    value = {"run": which, "task": task, "log": text}

    def human() -> None:
        for line in text.splitlines():
            say(escape(line.expandtabs()))
        if not text:
            note(f"{escape(task)} printed nothing")

    emit(as_json, value, human)


def diff(
    one: Annotated[str, typer.Argument(metavar="RUN", help="A run.")],
    other: Annotated[str, typer.Argument(metavar="OTHER", help="The run to compare it with.")],
    actor: As = "",
    project: InProject = "",
    as_json: AsJson = False,
) -> None:
    """What differs between two runs: parameters, code, libraries, inputs, and what came of it.

    Example: assay run diff 0197a2b4 latest
    """
    from assay.cli import run_diff

    session = Session(actor, project, as_json)
    first, second = reading.finished(session, one), reading.finished(session, other)
    found = run_diff.compare(first, second)
    emit(as_json, found, lambda: run_diff.show(first, second, found))
