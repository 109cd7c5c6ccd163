"""The progress of a run on standard error: a live tree at a terminal, else plain lines.

Events only count; the terminal is drawn a few times a second, whatever happens meanwhile.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Generator, Sequence
from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from assay.cli.output import err, escape
from assay.cli.run_view import Row, brief, more, rows_of, took, visible

if TYPE_CHECKING:
    from assay.pipeline.graph import Graph, Node
    from assay.pipeline.records import TaskRecord

DRAWN = 8
"""Times a second."""
LINES = 60
"""Lines of the tree that stay when the run has ended."""
PIPED = 10
"""Lines that a mapped node gets where they are piped, about."""


class Board:
    """A run as its events tell of it."""

    def __init__(
        self,
        graph: Graph,
        clock: Callable[[], float] = time.monotonic,
        stop: threading.Event | None = None,
    ) -> None:
        self._stop = stop or threading.Event()
        self._nodes = {node.id: node for node in graph.nodes}
        self._clock = clock
        self.rows = rows_of({node.id: sorted(node.needs()) for node in graph.nodes})
        for name, node in self._nodes.items():
            self.rows[name].mapped = bool(node.mapped)
        self._outputs: dict[str, list[int]] = {}
        self.doing = ""
        """What a built-in step is at, in words."""

    def take(self, event: str) -> Row | None:
        """Note an event; the line that it is about, if it is about one."""
        task: TaskRecord | None = getattr(event, "task", None)
        row = self.rows.get(task.node) if task is not None else None
        if task is None or row is None:
            self.doing = event
            return None
        self.doing = ""
        if row.total is None:
            row.total = self._total(self._nodes[task.node])
        row.take(task, self._clock())
        if task.state in ("done", "cached"):
            self._outputs[task.node] = [len(output) for output in task.outputs]
        return row

    def _total(self, node: Node) -> int | None:
        """How many tasks a node has, once those before it are done."""
        from assay.pipeline.graph import Each, Items

        for value in node.arguments.values():
            if not isinstance(value, Each):
                continue
            if isinstance(value.of, Items):
                return len(value.of.items)
            above = self._nodes[value.of.node]
            if above.mapped:
                return self.rows[above.id].total
            lengths = self._outputs.get(above.id, [])
            return lengths[value.of.output] if value.of.output < len(lengths) else None
        return 1

    def end(self) -> None:
        """Nothing is being done any more: what is drawn from now on stays."""
        self.doing, self._stop = "", threading.Event()

    def drawn(self, limit: int) -> RenderableType:
        """The tree as it is now, in at most `limit` lines."""
        now = self._clock()
        rows, hidden = visible(list(self.rows.values()), limit)
        lines = [row.line(now) for row in rows]
        if hidden:
            lines.append(more(hidden))
        if self.doing:
            lines.append(f"[dim]… {escape(self.doing)}[/]")
        if self._stop.is_set():
            lines.append("[yellow]stopping; once more to break off at once[/]")
        return Group(*(_fitted(line) for line in lines))


def _fitted(line: str) -> Text:
    text = Text.from_markup(line, emoji=False)
    text.no_wrap, text.overflow = True, "ellipsis"
    return text


@contextlib.contextmanager
def showing(
    graph: Graph, as_json: bool, stop: threading.Event, console: Console = err
) -> Generator[Callable[[str], None]]:
    """Show a run while the block lasts, and that `stop` is set; yields what takes its events."""
    if as_json:
        yield lambda _: None
        return
    board = Board(graph, stop=stop)
    if not console.is_terminal:
        yield _Plain(board, console).take
        return
    ended: list[bool] = []

    def drawn() -> RenderableType:
        return board.drawn(LINES if ended else max(3, console.height - 2))

    with Live(get_renderable=drawn, console=console, refresh_per_second=DRAWN):
        try:
            yield board.take  # pyright: ignore[reportReturnType]
        finally:
            board.end()
            ended.append(True)


class _Plain:
    """One line for each task, but only some for those of a mapped node."""

    def __init__(self, board: Board, console: Console) -> None:
        self._board = board
        self._console = console
        self._told: dict[str, int] = {}

    def take(self, event: str) -> None:
        row = self._board.take(event)
        if row is None:
            self._print(escape(event))
            return
        task: TaskRecord = event.task  # pyright: ignore[reportAttributeAccessIssue, reportUnknownVariableType, reportUnknownMemberType]
        if task.state == "failed" and task.problem is not None:
            self._print(f"{escape(task.name)}: failed: {escape(task.problem.message)}")
        elif row.mapped:
            self._mapped(row)
        else:
            self._print(escape(": ".join([task.name, *_words(task, event)])))

    def _mapped(self, row: Row) -> None:
        """The first, the last, and some between."""
        step = max(1, (row.total or 1) // PIPED)
        reached = row.finished // step
        last = row.finished == row.total
        if reached > self._told.get(row.name, -1) or (last and reached >= 0):
            self._told[row.name] = reached + last
            self._print(f"{escape(row.name)}: {row.counts_told()}")

    def _print(self, markup: str) -> None:
        self._console.print(f"  … {markup}")


def _words(task: TaskRecord, event: str) -> Sequence[str]:
    if task.state == "done":
        return [f"done in {took(task.seconds)}"]
    if task.state == "running" and task.why and task.attempts <= 1:
        return [f"running: {brief(task.why)}"]
    return [event.removeprefix(f"{task.name}: ")]
