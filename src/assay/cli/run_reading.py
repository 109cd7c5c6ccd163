"""Runs as they are on record, read through the door, for the commands that show them."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import msgspec

from assay.cli import run_view
from assay.cli.output import counted, escape, say
from assay.cli.session import Session, short
from assay.errors import AssayError, NotFound

if TYPE_CHECKING:
    from assay.pipeline.records import RunRecord, TaskRecord
    from assay.workspace.view import View

_NEAR = 5
_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Known:
    """A run, as the statements about its beginning and its end tell."""

    run: str
    state: str
    """``running`` only while a process works on it."""
    told: Mapping[str, Any]
    by: str
    """What the directory calls who started it."""
    finished: Sequence[str] = ()
    """Of a run that has not ended and is shown: the tasks that it recorded as done."""

    @property
    def started(self) -> str:
        return str(self.told["started"])

    @property
    def took(self) -> str:
        if "finished" not in self.told:
            return ""
        return run_view.took(run_view.between(self.started, self.told["finished"]))

    @property
    def counts(self) -> str:
        counts: Mapping[str, int] = self.told.get("counts", {})
        return ", ".join(f"{counts[s]:,} {s}" for s in run_view.SIGNS if counts.get(s))


def all_known(session: Session) -> list[Known]:
    """The runs of the project, newest first."""
    from assay.actions import runs

    view = session.view("runs")
    return [_known(session, view, told) for told in runs.runs(view, session.project)]


def known(session: Session, run: str) -> Known:
    """One of them; raises `NotFound`."""
    from assay.actions import runs

    view = session.view(f"run {run}")
    return _known(session, view, runs.find_run(view, session.project, run))


def _known(session: Session, view: View, told: Mapping[str, Any]) -> Known:
    from assay.actions import runs
    from assay.workspace.running import Running

    state = runs.state_of(view, told)
    root = session.workspace.layout.root
    if state == "running" and not Running(root).is_alive(told["run"]):
        state = "interrupted"  # Killed, and not recovered yet.
    return Known(told["run"], state, told, session.name(told["actor"]))


def listed(found: Known) -> dict[str, Any]:
    """A run for machines."""
    return {**found.told, "state": found.state, "by": found.by}


def record(session: Session, run: str) -> RunRecord | Known:
    """The record of a run; what is known of it where there is none, because it has not ended."""
    from assay.actions import runs
    from assay.actions.runs import ReadRun

    try:
        return session.perform(ReadRun(project=session.project, run=run))
    except NotFound as error:
        if error.code != "not_found.run.record":
            raise
    view = session.view(f"run {run}")
    found = _known(session, view, runs.find_run(view, session.project, run))
    return replace(found, finished=runs.finished_tasks(view, session.project, found.run))


def finished(session: Session, run: str) -> RunRecord:
    """The record of a run; raises `NotFound` for one that has not ended."""
    from assay.actions.runs import ReadRun

    return session.perform(ReadRun(project=session.project, run=run))


def tasks(record: RunRecord, name: str) -> list[TaskRecord]:
    """The task of that name, or all of a mapped step; raises `NotFound` naming what is near."""
    found = [task for task in record.tasks if name in (task.name, task.node)]
    if found:
        return found
    names = list(dict.fromkeys(n for task in record.tasks for n in (task.node, task.name)))
    near = difflib.get_close_matches(name, names, _NEAR, 0.5)
    steps = list(dict.fromkeys(task.node for task in record.tasks))
    more = f", and {len(steps) - _SHOWN} more" if len(steps) > _SHOWN else ""
    raise NotFound(
        f"run {record.run} has no step {name[:60]}",
        remedy=f"did you mean {', '.join(near)}?"
        if near
        else f"its steps: {', '.join(steps[:_SHOWN])}{more}",
        code="run.step",
    )


def log(session: Session, run: str, name: str) -> str:
    """What a task printed.  Of a mapped step, one is to be named."""
    from assay.actions.runs import ReadRun

    held = finished(session, run)
    found = tasks(held, name)
    if len(found) > 1:
        raise NotFound(
            f"{name} of run {held.run} is {counted(len(found), 'task')}, each with a log",
            remedy=f"name one: {', '.join(task.name for task in _worth(found)[:_NEAR])}",
            code="run.step",
        )
    (task,) = found
    if task.state == "cached" and task.made_by and not task.log:
        held = _maker(session, task, held)
    data: bytes = session.perform(
        ReadRun(project=session.project, run=held.run, task=found[0].name)
    )
    return data.decode("utf-8", "replace")


def _maker(session: Session, task: TaskRecord, held: RunRecord) -> RunRecord:
    """The run in which a cached result was made, whose log is the one there is."""
    try:
        made = finished(session, task.made_by)
        tasks(made, task.name)
    except AssayError:
        return held
    return made


def _worth(found: Sequence[TaskRecord]) -> list[TaskRecord]:
    """Those that failed first."""
    return sorted(found, key=lambda task: task.state != "failed")


# -- for machines ---------------------------------------------------------------------------------


def document(record: RunRecord) -> dict[str, Any]:
    """A run's record, with the totals."""
    return {
        **msgspec.to_builtins(record),
        "counts": record.counts(),
        "seconds": run_view.between(record.started, record.finished),
    }


def task_document(task: TaskRecord, code: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    """A task, with every component of its key."""
    return {**msgspec.to_builtins(task), "components": components(task, code)}


def components(task: TaskRecord, code: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """Everything that a task's key is made of; empty for a built-in step."""
    shared = code.get(task.components.get("step", ""), {})
    return {**shared, **task.components} if task.components else {}


# -- for a person ---------------------------------------------------------------------------------


def _header(run: str, name: str, state: str) -> None:
    say(f"run [bold]{escape(run)}[/]  {escape(name)}  {run_view.STATES[state]}")


def _lines(pairs: Sequence[tuple[str, str]]) -> None:
    for name, text in pairs:
        if text:
            say(f"  {name + ':':<13} {text}")


def _assigned(parameters: Mapping[str, Any]) -> str:
    shown = [f"{escape(name)}={escape(plain(value))}" for name, value in parameters.items()]
    return ", ".join(shown)


def plain(value: Any) -> str:
    """A plain value in one short line: text as it is, anything else as JSON."""
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return run_view.clipped(text, 80)


def show_unfinished(found: Known) -> None:
    """A run of which there is no record, because it has not ended."""
    told = found.told
    _header(found.run, told["pipeline"], found.state)
    _lines(
        [
            ("started", f"{escape(found.started)}, by {escape(found.by)}"),
            ("source", escape(told["source"])),
            ("parameters", _assigned(told["parameters"])),
            ("seed", str(told["seed"])),
            ("executor", escape(told["executor"])),
        ]
    )
    if found.state == "running":
        say("It goes on; its record is written when it ends.")
        say(f"  → assay run cancel {found.run}")
    else:
        say("It was killed, or its machine stopped: there is no record.  What it had done is kept.")
    for task in found.finished[:_SHOWN]:
        say(f"  {run_view.SIGNS['done']} {escape(task)}")
    if len(found.finished) > _SHOWN:
        say(f"  and {counted(len(found.finished) - _SHOWN, 'more step')}")
    if found.state != "running":
        say(f"  → assay run resume {found.run}")


def show(session: Session, record: RunRecord) -> None:
    """A whole run."""
    _header(record.run, record.name, record.state)
    seconds = run_view.took(run_view.between(record.started, record.finished))
    where = f"{record.environment}, {record.python}, {record.platform}"
    installed = counted(len(record.distributions), "distribution")
    _lines(
        [
            ("pipeline", escape(record.pipeline)),
            ("purpose", escape(record.purpose)),
            ("started", f"{escape(record.started)}, by {escape(session.name(record.actor))}"),
            ("took", f"{seconds}: {run_view.totals(record)}"),
            ("parameters", _assigned(record.parameters)),
            ("seed", str(record.seed)),
            ("executor", f"{escape(record.executor)} [dim]({escape(record.transport)})[/]"),
            ("code", short(record.code_digest)),
            ("environment", f"{escape(where)}, {installed}"),
            ("resumes", escape(record.resumes)),
        ]
    )
    say("steps:")
    for row in run_view.tree(record):
        say(f"  {row.line()}")
    for line in [*run_view.effects(record), *run_view.results(record)]:
        say(f"  {line}")
    run = run_view.ending(record.run)
    troubled = [t for t in record.tasks if t.state == "failed" or t.unstored] or record.tasks
    for task in troubled[:1]:
        say(f"more of a step: assay run show {run} --task {escape(task.name)}")


def show_tasks(record: RunRecord, found: Sequence[TaskRecord]) -> None:
    """Tasks with all that is known of them."""
    shown = _worth(found)[:_SHOWN]
    for task in shown:
        _task(record, task, every=len(found) == 1)
    if len(found) > len(shown):
        say(f"and {len(found) - len(shown)} more (--json lists them)")


def _task(record: RunRecord, task: TaskRecord, *, every: bool) -> None:
    say(f"{run_view.SIGNS[task.state]} [bold]{escape(task.name)}[/]  {task.state}")
    used = [run_view.took(task.seconds), f"{run_view.took(task.cpu_seconds)} of processor"]
    if task.max_rss:
        used.append(f"at most {run_view.size(task.max_rss)} of memory")
    _lines(
        [
            ("took", ", ".join(used) if task.seconds else ""),
            ("where", escape(task.where)),
            ("isolation", escape(task.level)),
            ("attempts", str(task.attempts) if task.attempts > 1 else ""),
            ("made by run", escape(task.made_by)),
            ("gave", escape(plain(task.value)) if task.value is not None else ""),
            ("provenance", escape(task.envelope)),
            ("log", f"assay run logs {record.run} {escape(task.name)}" if task.log else ""),
        ]
    )
    for title, texts in (("why it ran", task.why), ("not stored", task.unstored)):
        for number, text in enumerate(texts):
            say(f"  {title + ':' if not number else '':<13} {escape(text)}")
    if task.problem is not None:
        say(f"  [red]{escape(task.problem.code)}[/]: {escape(task.problem.message)}")
        if task.problem.remedy:
            say(f"    → {escape(task.problem.remedy)}")
    for number, output in enumerate(task.outputs):
        for artifact in output[: _SHOWN if every else 1]:
            said = f"{artifact.codec}, {artifact.kind}, {run_view.size(artifact.size)}"
            say(f"  {'outputs:' if not number else '':<13} {artifact.digest}  {escape(said)}")
    if task.key:
        say(f"  {'key:':<13} {escape(task.key)}")
        if every:
            for name, value in sorted(components(task, record.code).items()):
                say(f"    {escape(name)} = {escape(value)}")
