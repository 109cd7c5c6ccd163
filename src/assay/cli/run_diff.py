"""What differs between two runs.  Their records are compared, never what the steps gave: a result
is an artifact, and opening one is an action of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from assay.cli import run_reading as reading
from assay.cli import run_view
from assay.cli.output import counted, escape, say, table

if TYPE_CHECKING:
    from assay.pipeline.records import RunRecord, TaskRecord

_SHOWN = 40
_RUN = ("pipeline", "purpose", "seed", "executor", "environment", "python", "platform", "state")
"""Fields of a run that are compared as they stand."""


def compare(one: RunRecord, other: RunRecord) -> dict[str, Any]:
    """The differences, for machines; every pair is (`one`, `other`)."""
    from assay.pipeline import keys

    first, second = _by_name(one), _by_name(other)
    both = [name for name in first if name in second]
    return {
        "runs": [one.run, other.run],
        "run": {
            field: [getattr(one, field), getattr(other, field)]
            for field in _RUN
            if getattr(one, field) != getattr(other, field)
        },
        "parameters": _pairs(one.parameters, other.parameters),
        "code": keys.changed(_code(one), _code(other)),
        "distributions": _pairs(one.distributions, other.distributions),
        "inputs": {
            name: changed for name in both if (changed := _inputs(first[name], second[name]))
        },
        "steps": {
            "only": [
                [name for name in first if name not in second],
                [name for name in second if name not in first],
            ],
            "ran_and_cached": [
                n for n in both if _states(first[n], second[n]) == ("done", "cached")
            ],
            "cached_and_ran": [
                n for n in both if _states(first[n], second[n]) == ("cached", "done")
            ],
            "states": {
                name: list(_states(first[name], second[name]))
                for name in both
                if first[name].state != second[name].state
            },
            "outputs_changed": [n for n in both if _comparable(first[n], second[n]) is False],
            "outputs_equal": [n for n in both if _comparable(first[n], second[n]) is True],
            "seconds": {n: [first[n].seconds, second[n].seconds] for n in both},
        },
        "seconds": [run_view.between(r.started, r.finished) for r in (one, other)],
    }


def _by_name(record: RunRecord) -> dict[str, TaskRecord]:
    return {task.name: task for task in record.tasks}


def _pairs(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, list[Any]]:
    """What differs; null for what is not there."""
    names = [*one, *(name for name in other if name not in one)]
    return {n: [one.get(n), other.get(n)] for n in names if one.get(n) != other.get(n)}


def _code(record: RunRecord) -> dict[str, str]:
    """First-party modules and package files, of all steps together."""
    return {
        name: value
        for components in record.code.values()
        for name, value in components.items()
        if name.startswith(("code:", "data:"))
    }


def _inputs(one: TaskRecord, other: TaskRecord) -> list[str]:
    from assay.pipeline import keys

    wanted = ("input:", "argument:", "variable:")
    mine, theirs = (
        {n: v for n, v in task.components.items() if n.startswith(wanted)} for task in (one, other)
    )
    return keys.changed(mine, theirs) if mine and theirs else []


def _states(one: TaskRecord, other: TaskRecord) -> tuple[str, str]:
    return one.state, other.state


def _comparable(one: TaskRecord, other: TaskRecord) -> bool | None:
    """Whether both gave the same; None where one of them gave nothing."""
    if any(task.state not in ("done", "cached") for task in (one, other)):
        return None
    if one.value is not None or other.value is not None:
        return one.value == other.value
    mine, theirs = ([[a.digest for a in o] for o in task.outputs] for task in (one, other))
    return mine == theirs


# -- for a person ---------------------------------------------------------------------------------


def show(one: RunRecord, other: RunRecord, found: Mapping[str, Any]) -> None:
    """The differences in words, from `one` to `other`."""
    for way, record in (("from", one), ("to  ", other)):
        took = run_view.took(run_view.between(record.started, record.finished))
        say(
            f"{way} run [bold]{escape(record.run)}[/]  {escape(record.name)}  "
            f"{run_view.STATES[record.state]}, {escape(record.started)}, {took}"
        )
    changes = [
        *_moved("", {name: pair for name, pair in found["run"].items() if name != "state"}),
        *_moved("parameter ", found["parameters"]),
        *found["code"],
        *_moved("installed ", {n: _versions(v) for n, v in found["distributions"].items()}),
    ]
    changes += _by_node(one, [(n, text) for n, told in found["inputs"].items() for text in told])
    _list("what went into it:", changes, "nothing that went into it differs")
    steps = found["steps"]
    mine, theirs = steps["only"]
    only = _by_node(one, [(name, "only in the first") for name in mine])
    only += _by_node(other, [(name, "only in the second") for name in theirs])
    if only:
        _list("steps:", only, "")
    changed, equal = steps["outputs_changed"], steps["outputs_equal"]
    if changed or equal:
        say(
            f"results: {counted(len(changed), 'step')} gave something else, "
            f"{counted(len(equal), 'step')} the same"
        )
    _times(one, other, set(changed))


def _by_node(record: RunRecord, told: Sequence[tuple[str, str]]) -> list[str]:
    """What is said of several tasks of one node, said once."""
    nodes = {task.name: task.node for task in record.tasks}
    groups: dict[tuple[str, str], list[str]] = {}
    for name, text in told:
        groups.setdefault((nodes[name], text), []).append(name)
    return [
        f"{names[0] if len(names) == 1 else f'{len(names):,} tasks of {node}'}: {text}"
        for (node, text), names in groups.items()
    ]


def _versions(pair: Sequence[str | None]) -> list[str | None]:
    """The versions; with the digests where only those differ."""
    short = [value.partition(" ")[0] if value else value for value in pair]
    return short if short[0] != short[1] else list(pair)


def _moved(what: str, pairs: Mapping[str, Sequence[Any]]) -> list[str]:
    told: list[str] = []
    for name, (before, now) in pairs.items():
        if before is None or now is None:
            told.append(
                f"{what}{name} is {'new' if before is None else 'gone'}: {_text(before, now)}"
            )
        else:
            told.append(f"{what}{name} was {_short(before)}, is {_short(now)}")
    return told


def _text(before: Any, now: Any) -> str:
    return _short(now if before is None else before)


def _short(value: Any) -> str:
    return run_view.clipped(reading.plain(value))


def _list(title: str, texts: Sequence[str], empty: str) -> None:
    if not texts:
        say(empty)
        return
    say(title)
    for text in texts[:_SHOWN]:
        say(f"  {escape(text)}")
    if len(texts) > _SHOWN:
        say(f"  and {len(texts) - _SHOWN} more (--json lists them)")


def _times(one: RunRecord, other: RunRecord, changed: set[str]) -> None:
    """The nodes side by side; a mapped one is one row."""
    rows: list[list[str]] = []
    mine = {row.name: row for row in run_view.tree(one)}
    theirs = {row.name: row for row in run_view.tree(other)}
    nodes = {task.name: task.node for task in other.tasks}
    moved = {nodes[name] for name in changed}
    for name in [*mine, *(n for n in theirs if n not in mine)]:
        pair = [_column(side.get(name)) for side in (mine, theirs)]
        there = name in mine and name in theirs
        rows.append([name, *pair, "changed" if name in moved else "" if there else "only in one"])
    if len(rows) > _SHOWN:  # What differs is what matters.
        rows = sorted(rows, key=lambda row: (not row[3], row[1] == row[2]))
    more = len(rows) - _SHOWN
    table(["step", "first", "second", "result"], rows[:_SHOWN], empty="")
    if more > 0:
        say(f"and {counted(more, 'more step')} (--json lists them)")


def _column(row: run_view.Row | None) -> str:
    if row is None:
        return ""
    told = [row.counts_told() or row.state]
    if row.seconds:
        told.append(run_view.took(row.seconds))
    return ", ".join(told)
