"""``assay why``: why a step ran, or was taken from the cache, and what would change that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from assay.cli import run_reading as reading
from assay.cli import run_view
from assay.cli.output import counted, emit, escape, say
from assay.cli.session import As, AsJson, InProject, Session
from assay.errors import AssayError

if TYPE_CHECKING:
    from assay.pipeline.records import RunRecord, TaskRecord

_SHOWN = 12
_LISTED = 8
_KINDS = {
    "code": "code",
    "data": "package files",
    "names": "the list of code files",
    "installed": "installed",
    "argument": "arguments",
    "input": "inputs, by content",
    "variable": "environment variables",
    "codec": "how values are kept",
    "seed": "seed",
    "python": "Python",
    "platform": "platform",
    "assay": "assay",
    "project": "project",
    "step": "step",
}
"""Kinds of components, in the order in which they are listed."""


def why(
    step: Annotated[str, typer.Argument(metavar="STEP", help="A step, or fit[3] of a mapped one.")],
    run: Annotated[str, typer.Option("--run", metavar="RUN", help="Which run.")] = "latest",
    actor: As = "",
    project: InProject = "",
    as_json: AsJson = False,
) -> None:
    """Why a step of a run was computed, or taken from the cache, and what its result depends on.

    Example: assay why train --run latest
    """
    session = Session(actor, project, as_json)
    record = reading.finished(session, run)
    found = reading.tasks(record, step)
    earlier = _earlier(session, record, found)
    told = [explained(record, task, earlier) for task in found]
    emit(
        as_json,
        {"run": record.run, "step": step, "tasks": told},
        lambda: _show(record, found, told),
    )


def explained(
    record: RunRecord, task: TaskRecord, earlier: Mapping[str, RunRecord]
) -> dict[str, Any]:
    """One task, for machines: why, and held against the run before it or the one that made it."""
    from assay.pipeline import keys

    now = reading.components(task, record.code)
    made: dict[str, Any] = {
        "task": task.name,
        "state": task.state,
        "why": task.why,
        "unstored": [{"what": text, "remedy": remedy(text)} for text in task.unstored],
        "made_by": task.made_by,
        "key": task.key,
        "components": now,
        "compared_with": "",
        "changed": [],
    }
    before = earlier.get(task.made_by if task.state == "cached" else "")
    same = [t for t in before.tasks if t.name == task.name and t.components] if before else []
    if before is not None and same and now:
        made["compared_with"] = before.run
        made["changed"] = keys.changed(reading.components(same[0], before.code), now)
    return made


def remedy(unstored: str) -> str:
    """What to do so that a result is stored the next time."""
    if unstored.startswith("it read "):
        return (
            "import it by name at the top of the step's module, or pass the file to the step as a "
            "parameter of type Path"
        )
    if unstored.startswith("it used "):
        return "install it with pip, so that its files are listed, or make it part of the project"
    if unstored.startswith("what it reads cannot be bounded"):
        return "run it where the kernel confines it fully: assay doctor says what is missing"
    return ""


def _earlier(
    session: Session, record: RunRecord, found: Sequence[TaskRecord]
) -> dict[str, RunRecord]:
    """The runs to compare with, by id; under the empty id, the one before of the same pipeline."""
    from assay.actions import runs

    made: dict[str, RunRecord] = {}
    for run in dict.fromkeys(task.made_by for task in found if task.made_by):
        if len(made) < _LISTED and (held := _read(session, run)) is not None:
            made[run] = held
    if any(task.state != "cached" and task.components for task in found):
        known = runs.runs(session.workspace.view, session.project)
        before = [
            told["run"]
            for told in known
            if told["pipeline"] == record.pipeline
            and "record" in told
            and told["started"] < record.started
        ]
        if before and (held := _read(session, before[0])) is not None:
            made[""] = held
    return made


def _read(session: Session, run: str) -> RunRecord | None:
    try:
        return reading.finished(session, run)
    except AssayError:
        return None  # Another project's, or shredded: there is nothing to compare with.


# -- for a person ---------------------------------------------------------------------------------


def _show(record: RunRecord, found: Sequence[TaskRecord], told: Sequence[dict[str, Any]]) -> None:
    """What is the same for several tasks of a mapped step is said once."""
    groups: dict[tuple[str, ...], list[int]] = {}
    for number, task in enumerate(found):
        said = (task.state, task.made_by, *task.why, "\n", *task.unstored)
        groups.setdefault(said, []).append(number)
    for numbers in list(groups.values())[:_SHOWN]:
        names = [found[n].name for n in numbers]
        _one(record, found[numbers[0]], told[numbers[0]], _together(names))
    if len(groups) > _SHOWN:
        say(f"and {counted(len(groups) - _SHOWN, 'other reason')} (--json lists them)")


def _together(names: Sequence[str]) -> str:
    shown = ", ".join(names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"


def _one(record: RunRecord, task: TaskRecord, told: dict[str, Any], names: str) -> None:
    built_in = not task.components
    say(f"[bold]{escape(names)}[/] of run {escape(record.run)}: {_state(task, built_in)}")
    for text in task.why if task.state != "cached" else ():
        say(f"  {escape(text)}")
    if task.problem is not None:
        say(f"  {escape(task.problem.message)}")
    before, changed = told["compared_with"], told["changed"]
    if task.state == "cached" and before:
        if changed:
            say(f"  and yet, since run {escape(before)}:")
        else:
            say(
                f"  its key has {counted(len(told['components']), 'component')}, all as in that run"
            )
    fresh = [text for text in changed if text not in task.why]
    if fresh and task.state != "cached":
        say(f"  since run {escape(before)}, which was the one before:")
    for text in fresh[:_SHOWN]:
        say(f"    {escape(text)}")
    if len(fresh) > _SHOWN:
        say(f"    and {len(fresh) - _SHOWN} more (--json lists them)")
    for item in told["unstored"]:
        say(f"  [yellow]its result was not stored[/], so it will run again: {escape(item['what'])}")
        if item["remedy"]:
            say(f"    → {escape(item['remedy'])}")
    if not built_in and task.state in ("done", "cached"):
        _depends(told["components"], stored=not task.unstored)


def _state(task: TaskRecord, built_in: bool) -> str:
    if built_in and task.state in ("done", "cached"):
        what = "there was nothing to do" if task.state == "cached" else "it was done"
        return f"{what}; it is a built-in step, which looks at the workspace each time"
    return {
        "cached": f"taken from the cache; run {escape(task.made_by)} made it",
        "done": "it ran, because",
        "failed": "it failed",
        "skipped": "it was not run, because",
    }.get(task.state, task.state)


def _depends(components: Mapping[str, str], *, stored: bool) -> None:
    kinds: dict[str, list[str]] = {}
    for name, value in components.items():
        kind, _, what = name.partition(":")
        kinds.setdefault(kind, []).append(_component(kind, what, value))
    say("  it is used again while these stay the same:" if stored else "  its key is made of:")
    for kind in sorted(kinds, key=lambda k: list(_KINDS).index(k) if k in _KINDS else len(_KINDS)):
        listed = sorted(kinds[kind])
        more = f", and {len(listed) - _LISTED} more" if len(listed) > _LISTED else ""
        say(f"    {_KINDS.get(kind, kind)}: {escape(', '.join(listed[:_LISTED]) + more)}")


def _component(kind: str, what: str, value: str) -> str:
    if kind == "installed":
        return f"{what} {value.partition(' ')[0]}"
    if kind == "codec":
        return f"{what if what.isidentifier() else 'result'} {value.partition(' ')[0]}"
    if kind == "argument":
        return f"{what}={run_view.clipped(value)}"
    return what if what else run_view.clipped(value)
