"""A run as a tree of lines: while it goes on, as its events tell, and then as its record does.

Every node is a line, indented beneath the last of the nodes that it waits for; the tasks of a
mapped one are counted, not listed.
"""

from __future__ import annotations

import collections
import re
import socket
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from assay.cli.output import counted, escape, say
from assay.cli.session import short
from assay.clock import parse_timestamp

if TYPE_CHECKING:
    from assay.pipeline.records import RunRecord, TaskRecord

DEEPEST = 12
"""Levels that a line is indented at most."""
SIGNS = {
    "waiting": "[dim]·[/]",
    "running": "[yellow]●[/]",
    "done": "[green]✓[/]",
    "cached": "[cyan]✓[/]",
    "failed": "[red]✗[/]",
    "skipped": "[dim]-[/]",
}
STATES = {
    "done": "[green]done[/]",
    "failed": "[red]failed[/]",
    "cancelled": "[yellow]cancelled[/]",
    "interrupted": "[yellow]interrupted[/]",
    "running": "[yellow]running[/]",
}
_NUMBERED = re.compile(r"-\d+$")


@dataclass
class Row:
    """One node: its tasks as far as they are known."""

    name: str
    depth: int
    mapped: bool = False
    total: int | None = None
    """How many tasks it will have; None while that is not known."""
    counts: collections.Counter[str] = field(default_factory=collections.Counter)
    began: float | None = None
    """When its first task began and its last ended, on whatever clock the caller has."""
    ended: float | None = None
    seconds: float = 0.0
    """Of all its tasks together."""
    _states: dict[str, str] = field(default_factory=dict)
    _last: TaskRecord | None = None
    _why: list[str] = field(default_factory=list)

    def take(self, task: TaskRecord, now: float | None = None) -> None:
        """Note the state that a task is in now."""
        before = self._states.get(task.name)
        if before is not None:
            self.counts[before] -= 1
        self.counts[task.state] += 1
        self._states[task.name] = task.state
        self._last = task
        if task.state in ("done", "failed") and before != task.state:
            self.seconds += task.seconds
        if task.state == "running" and not self._why:
            self._why = list(task.why)
        if now is not None:
            self.began = now if self.began is None else self.began
            self.ended = None if task.state in ("waiting", "running") else now

    @property
    def finished(self) -> int:
        """Tasks that need no more doing."""
        return self.counts["done"] + self.counts["cached"]

    @property
    def state(self) -> str:
        """Of the node as a whole."""
        counts = self.counts
        if counts["failed"]:
            return "failed"
        if counts["running"] or (self.total and 0 < self.finished < self.total):
            return "skipped" if counts["skipped"] else "running"
        if not self.finished:
            return "skipped" if counts["skipped"] else "waiting"
        return "done" if counts["done"] else "cached"

    def elapsed(self, now: float) -> float:
        """Seconds since it began, until it ended."""
        return (self.ended or now) - self.began if self.began is not None else 0.0

    def counts_told(self) -> str:
        """``37/100 · 12 cached · 1 failed``; empty for what is one task."""
        if not self.mapped:
            return ""
        parts = [f"{self.finished:,}/{self.total:,}" if self.total is not None else "0"]
        for state in ("cached", "failed", "skipped"):
            if self.counts[state]:
                parts.append(f"{self.counts[state]:,} {state}")
        return " · ".join(parts)

    def line(self, now: float | None = None) -> str:
        """The line, as markup."""
        indent = "  " * min(self.depth, DEEPEST)
        told = [f"{indent}{SIGNS[self.state]} [bold]{escape(self.name)}[/]"]
        if counts := self.counts_told():
            told.append(counts)
        told.append(self._rest(now))
        return "  ".join(part for part in told if part)

    def _rest(self, now: float | None) -> str:
        state, task = self.state, self._last
        if task is None or state == "waiting":
            return ""
        if state == "cached":
            return "" if self.mapped else _unchanged(task)
        told: list[str] = []
        if state == "skipped":
            return f"[dim]{escape(brief(task.why))}[/]"
        seconds = self.seconds if now is None else self.elapsed(now)
        if seconds:
            told.append(took(seconds) + (" in all" if now is None and self.mapped else ""))
        told += _place(task)
        why = self._why or ([] if self.mapped and not self.counts["done"] else task.why)
        if state == "failed" and task.problem is not None:
            told.append(f"[red]{escape(task.problem.message)}[/]")
        elif why:
            told.append(f"[dim]{escape(brief(why))}[/]")
        if task.unstored and not self.mapped:
            told.append("[yellow]not stored[/]")
        return "  ".join(told)


def _unchanged(task: TaskRecord) -> str:
    if not task.made_by:
        return "[cyan]unchanged[/]"
    return f"[cyan]cached[/] [dim]from run {escape(ending(task.made_by))}[/]"


def _place(task: TaskRecord) -> list[str]:
    """Where and how well confined it ran, where that is not as everybody expects."""
    told: list[str] = []
    if task.where and task.where != socket.gethostname():
        told.append(f"on {escape(task.where)}")
    if task.level and task.level != "full":
        told.append(f"[yellow]isolation {escape(task.level)}[/]")
    if task.attempts > 1:
        told.append(f"attempt {task.attempts}")
    return told


def rows_of(graph: Mapping[str, Sequence[str]]) -> dict[str, Row]:
    """A line for each node, in the order in which they are shown."""
    depths: dict[str, int] = {}
    below: dict[str, list[str]] = {}
    roots: list[str] = []
    for name in _ordered(graph):
        needs = [need for need in graph[name] if need in depths]
        if not needs:
            depths[name] = 0
            roots.append(name)
            continue
        above = max(needs, key=lambda need: depths[need])
        depths[name] = depths[above] + 1
        below.setdefault(above, []).append(name)
    shown: dict[str, Row] = {}
    left = list(reversed(roots))
    while left:
        name = left.pop()
        shown[name] = Row(name, depths[name])
        left += reversed(below.get(name, []))
    return shown


def _ordered(graph: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Nodes after all that they wait for, otherwise as they are listed."""
    waits = {name: {n for n in needs if n in graph} for name, needs in graph.items()}
    following: dict[str, list[str]] = {}
    for name, needs in waits.items():
        for need in needs:
            following.setdefault(need, []).append(name)
    ready = collections.deque(name for name, needs in waits.items() if not needs)
    while ready:
        name = ready.popleft()
        yield name
        for other in following.get(name, []):
            waits[other].discard(name)
            if not waits[other]:
                ready.append(other)


def visible(rows: Sequence[Row], limit: int) -> tuple[list[Row], dict[str, int]]:
    """As many lines as there is room for, and how many of which state are left out.

    What failed and what runs comes first, then what ended last.
    """
    if len(rows) <= limit:
        return list(rows), {}
    rank = {"failed": 0, "running": 1, "done": 2, "waiting": 3, "cached": 4, "skipped": 5}
    by_worth = sorted(rows, key=lambda r: (rank[r.state], -(r.ended or 0.0)))
    chosen = {id(row) for row in by_worth[: max(1, limit - 1)]}
    hidden = collections.Counter(row.state for row in rows if id(row) not in chosen)
    return [row for row in rows if id(row) in chosen], dict(hidden)


def more(hidden: Mapping[str, int]) -> str:
    """The line for what is left out."""
    told = ", ".join(f"{count:,} {state}" for state, count in hidden.items())
    return f"[dim]… {counted(sum(hidden.values()), 'more step')}: {told}[/]"


def tree(record: RunRecord) -> list[Row]:
    """The lines of a finished run."""
    in_order = dict.fromkeys(task.node for task in record.tasks)
    rows = rows_of({**{name: record.graph.get(name, []) for name in in_order}, **record.graph})
    for task in record.tasks:
        row = rows.setdefault(task.node, Row(task.node, 0))
        row.mapped = row.mapped or task.name != task.node
        row.total = (row.total or 0) + 1
        row.take(task)
    return list(rows.values())


# -- words ----------------------------------------------------------------------------------------


def took(seconds: float) -> str:
    """``40 ms``, ``2.4 s``, ``2 min 05 s``, ``3 h 07 min``."""
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"


def between(started: str, finished: str) -> float:
    """Seconds from one timestamp to the other."""
    return (parse_timestamp(finished) - parse_timestamp(started)).total_seconds()


def size(number: int) -> str:
    """``12 kB``."""
    amount, unit = float(number), "bytes"
    for larger in ("kB", "MB", "GB", "TB"):
        if amount < 1000:
            break
        amount, unit = amount / 1000, larger
    return f"{number:,} bytes" if unit == "bytes" else f"{amount:.3g} {unit}"


def clipped(text: str, most: int = 60) -> str:
    """The beginning of a long text."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def ending(run: str) -> str:
    """The end of a run's id: enough to name it by."""
    return run[-8:]


def brief(reasons: Sequence[str]) -> str:
    """The first reason, and how many more there are."""
    if not reasons:
        return ""
    rest = len(reasons) - 1
    return reasons[0] + (f" (+{rest} more)" if rest else "")


def totals(record: RunRecord) -> str:
    """``7 done, 3 cached``."""
    counts = record.counts()
    listed = [f"{counts[state]:,} {state}" for state in SIGNS if counts.get(state)]
    return ", ".join(listed) or "nothing"


# -- what came of it ------------------------------------------------------------------------------


def effects(record: RunRecord) -> list[str]:
    """What the built-in steps changed in the workspace, a line each, as markup."""
    told: list[str] = []
    for task in record.tasks:
        value: Any = task.value
        if task.state not in ("done", "cached") or not isinstance(value, dict):
            continue
        same = task.state == "cached"
        named: dict[str, Any] = {str(k): v for k, v in value.items()}  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
        kind = _NUMBERED.sub("", task.node)
        version = f"[bold]{escape(named.get('model', ''))}@{escape(named.get('version', ''))}[/]"
        dataset = f"[bold]{escape(named.get('dataset', ''))}[/]"
        line = {
            "register": f"registered {version}" if not same else f"{version} is registered already",
            "assess": f"assessed {version}" if not same else f"{version} was assessed already",
            "promote": f"promoted {version} to {escape(named.get('stage', ''))}"
            if not same
            else f"{version} is at that stage already",
            "extract": f"took a snapshot of {dataset}"
            if not same
            else f"{dataset} is as it was at its source",
            "publish": f"published {dataset}" if not same else f"{dataset} is published already",
        }.get(kind)
        if line:
            told.append(line)
    return told


def versions(record: RunRecord) -> list[str]:
    """The model versions that the run ended with, as ``credit@3``."""
    found: dict[str, None] = {}
    for task in record.tasks:
        value: Any = task.value
        if task.state in ("done", "cached") and isinstance(value, dict) and "version" in value:
            found[f"{value['model']}@{value['version']}"] = None
    return list(found)


def results(record: RunRecord) -> list[str]:
    """What the pipeline returned, a line each, as markup."""
    told: list[str] = []
    by_node = {task.node: task for task in record.tasks if task.name == task.node}
    for reference in record.result:
        task = by_node.get(reference.node)
        if task is None or task.value is not None or len(task.outputs) <= reference.output:
            continue
        for artifact in task.outputs[reference.output][:1]:
            told.append(
                f"{escape(reference.node)} gave {short(artifact.digest)}  "
                f"{escape(artifact.codec)}, {size(artifact.size)}"
            )
    return told


def summary(record: RunRecord, project: str) -> None:
    """What a person wants to know when a run has ended."""
    seconds = took(between(record.started, record.finished))
    say(f"{STATES[record.state]}  {escape(record.name)}: {totals(record)}, in {seconds}")
    for line in [*effects(record), *results(record)]:
        say(f"  {line}")
    unstored = [task for task in record.tasks if task.unstored]
    for task in unstored[:5]:
        say(
            f"  [yellow]not stored[/], so that it will run again: [bold]{escape(task.name)}[/]: "
            f"{escape(brief(task.unstored))}"
        )
    if len(unstored) > 5:
        say(f"  [yellow]not stored[/]: {counted(len(unstored) - 5, 'more task')}")
    say(f"  run {escape(record.run)}")
    run = ending(record.run)
    steps = [task.name for task in record.tasks if task.key]
    following = [f"assay run show {run}"]
    if record.state == "done":
        following += [f"assay why {name} --run {run}" for name in steps[-1:]]
        following += [
            f"assay model check {ref} --for production --project {project}"
            for ref in versions(record)[:1]
        ]
    else:
        following.append(f"assay run resume {run}")
    for number, command in enumerate(following):
        say(f"{'next:' if not number else '     '} {escape(command)}")
