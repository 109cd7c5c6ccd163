"""Lines, words and differences of runs, on records and events made by hand."""

from __future__ import annotations

import io
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from assay.cli import run_live, run_view
from assay.pipeline.graph import Const, Each, From, Graph, Items
from assay.pipeline.records import Problem

from .run_records import artifact, graph, node, record, task, tell

# -- the tree -------------------------------------------------------------------------------------


def test_a_node_is_indented_beneath_the_last_of_those_it_waits_for() -> None:
    rows = run_view.rows_of(
        {"load": [], "other": [], "clean": ["load"], "fit": ["clean", "other"], "end": ["fit"]}
    )
    assert [(row.name, row.depth) for row in rows.values()] == [
        ("load", 0),
        ("clean", 1),
        ("fit", 2),
        ("end", 3),
        ("other", 0),
    ]


@given(st.integers(0, 40), st.data())
def test_every_node_of_any_graph_has_exactly_one_line(size: int, data: st.DataObject) -> None:
    needs = {
        f"n{n}": [f"n{m}" for m in data.draw(st.sets(st.integers(0, max(0, n - 1)), max_size=3))]
        if n
        else []
        for n in range(size)
    }
    shuffled = data.draw(st.permutations(list(needs)))
    rows = run_view.rows_of({name: needs[name] for name in shuffled})
    assert sorted(rows) == sorted(needs)
    shown = list(rows)
    for name, above in needs.items():
        assert rows[name].depth == max((rows[a].depth + 1 for a in above), default=0)
        assert not above or min(shown.index(a) for a in above) < shown.index(name)


def test_the_tasks_of_a_mapped_node_are_counted_on_one_line() -> None:
    clock = iter(float(n) for n in range(10_000))
    board = run_live.Board(
        graph(node("fit", {"n": Each(Items([Const(n) for n in range(100)]))})), lambda: next(clock)
    )
    for number in range(49):
        made = task(f"fit[{number}]", "waiting")
        if number < 12:
            tell(board.take, made, "cached")
        else:
            tell(board.take, made, "running")
            tell(board.take, made, "done")
    row = board.rows["fit"]
    assert row.state == "running"
    assert "49/100 · 12 cached" in row.line(100.0)
    assert len(board.rows) == 1


def test_the_length_of_a_map_over_a_result_is_known_once_that_is_there() -> None:
    listing = node("load", many=True)
    board = run_live.Board(
        graph(
            listing,
            node("fit", {"n": Each(From("load"))}),
            node("again", {"n": Each(From("fit"))}),
        )
    )
    tell(board.take, task("load", outputs=[[artifact("a"), artifact("b")]]), "done")
    tell(board.take, task("fit[0]"), "done")
    assert "1/2" in board.rows["fit"].line()
    tell(board.take, task("again[0]"), "running")
    assert "0/2" in board.rows["again"].line(1.0)


def test_a_step_says_why_it_runs_in_brief() -> None:
    row = run_view.Row("fit", 0)
    row.take(task("fit", "running", why=["code of [red]a changed", "seed was 0, is 1", "x"]), 1.0)
    line = row.line(3.5)
    assert "2.5 s" in line
    assert r"code of \[red]a changed (+2 more)" in line


def test_what_was_cached_names_the_run_that_made_it() -> None:
    row = run_view.Row("fit", 0)
    row.take(task("fit", "cached", made_by="0197a2b4-0000-7000-8000-0000deadbeef"))
    assert "from run deadbeef" in row.line()


def test_only_what_is_unusual_about_where_it_ran_is_said() -> None:
    import socket

    here, there = run_view.Row("a", 0), run_view.Row("b", 0)
    here.take(task("a", level="full", where=socket.gethostname(), attempts=1, seconds=1.0))
    there.take(task("b", level="process", where="node-7", attempts=3, seconds=1.0))
    assert here.line().endswith("[/]  1.0 s")
    for said in ("on node-7", "isolation process", "attempt 3"):
        assert said in there.line()


def test_a_run_of_more_steps_than_lines_shows_what_failed_and_what_runs() -> None:
    names = [f"n{n}" for n in range(1000)]
    rows = run_view.rows_of({name: [] for name in names})
    for number, name in enumerate(names):
        state = "failed" if number == 999 else "running" if number == 500 else "cached"
        rows[name].take(task(name, state))
    shown, hidden = run_view.visible(list(rows.values()), 10)
    assert len(shown) == 9
    assert {"n500", "n999"} <= {row.name for row in shown}
    assert sum(hidden.values()) == 991
    assert "991 more steps" in run_view.more(hidden)


def test_the_tree_is_drawn_within_a_narrow_terminal() -> None:
    board = run_live.Board(graph(node("load"), node("fit", {"rows": From("load")})))
    tell(board.take, task("load", "running", why=["it has not run before " * 20]), "running")
    board.take("a [red]nested\x1b[31m action")
    out = io.StringIO()
    Console(file=out, width=40, force_terminal=False).print(board.drawn(10))
    lines = out.getvalue().splitlines()
    assert len(lines) == 3
    assert all(len(line) <= 40 for line in lines)
    assert "\\x1b" in lines[2]
    assert "\x1b" not in out.getvalue()
    assert "[red]nested" in lines[2]


# -- progress -------------------------------------------------------------------------------------


def piped(made: Graph) -> tuple[Any, io.StringIO, Any]:
    out = io.StringIO()
    showing = run_live.showing(made, False, threading.Event(), Console(file=out, width=200))
    return showing.__enter__(), out, showing


def test_piped_progress_is_plain_lines_and_few_of_a_mapped_node() -> None:
    take, out, showing = piped(
        graph(node("load"), node("fit", {"n": Each(Items([Const(n) for n in range(1000)]))}))
    )
    made = task("load", "waiting", why=["it has not run before"])
    tell(take, made, "running")
    made.seconds = 2.0
    tell(take, made, "done")
    for number in range(1000):
        one = task(f"fit[{number}]", "waiting")
        tell(take, one, "running")
        if number == 500:
            one.problem = Problem("error", "no [b]luck[/b]\x07")
            tell(take, one, "failed")
        else:
            tell(take, one, "done")
    showing.__exit__(None, None, None)
    lines = out.getvalue().splitlines()
    assert lines[0] == "  … load: running: it has not run before"
    assert lines[1] == "  … load: done in 2.0 s"
    assert "  … fit[500]: failed: no [b]luck[/b]\\x07" in lines
    assert 10 <= len(lines) <= 16
    assert "\x1b" not in out.getvalue()


def test_the_last_of_a_mapped_node_is_told() -> None:
    take, out, showing = piped(graph(node("fit", {"n": Each(Items([Const(n) for n in range(7)]))})))
    for number in range(7):
        tell(take, task(f"fit[{number}]"), "cached")
    showing.__exit__(None, None, None)
    assert out.getvalue().splitlines()[-1] == "  … fit: 7/7 · 7 cached"


def test_at_a_terminal_the_tree_stays_when_the_run_has_ended() -> None:
    out = io.StringIO()
    console = Console(file=out, width=80, force_terminal=True, legacy_windows=False)
    stop = threading.Event()
    with run_live.showing(graph(node("load"), node("fit")), False, stop, console) as take:
        for name in ("load", "fit"):
            tell(take, task(name, seconds=1.0), "done")
        take("registering the model")
        stop.set()
    last = out.getvalue().rpartition("load")[2]
    assert "fit" in last
    assert "registering" not in last
    assert "stopping" not in last


def test_whoever_asks_for_an_end_is_told_that_it_comes() -> None:
    stop = threading.Event()
    board = run_live.Board(graph(node("load")), stop=stop)
    tell(board.take, task("load"), "running")
    stop.set()
    out = io.StringIO()
    Console(file=out, width=80).print(board.drawn(10))
    assert "stopping; once more to break off at once" in out.getvalue()


def test_a_tree_survives_an_interrupt_and_lets_it_through() -> None:
    console = Console(file=io.StringIO(), width=80, force_terminal=True)

    def interrupted() -> None:
        with run_live.showing(graph(node("load")), False, threading.Event(), console) as take:
            tell(take, task("load"), "running")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()


def test_nothing_is_shown_to_a_machine() -> None:
    out = io.StringIO()
    with run_live.showing(graph(node("load")), True, threading.Event(), Console(file=out)) as take:
        tell(take, task("load"), "running")
    assert out.getvalue() == ""


# -- the end --------------------------------------------------------------------------------------


def test_what_came_of_a_run_is_told_with_what_to_do_next(capsys: Any) -> None:
    made = record(
        [
            task("read", value={"dataset": "loans"}),
            task("fit", key="sha256:k", seconds=2.0, outputs=[[artifact("a")]]),
            task("odd", unstored=["it read lib/late.py", "it read lib/later.py"]),
            task("register", value={"model": "credit", "version": 3}),
            task("assess", "cached", value={"model": "credit", "version": 3}),
            task("promote", value={"model": "credit", "version": 3, "stage": "development"}),
            task("publish-2", value={"dataset": "clean\x1b[2J"}),
        ],
        result=[From("fit")],
    )
    run_view.summary(made, "fraud")
    told = capsys.readouterr().out
    for said in (
        "done  train: 6 done, 1 cached, in 1 min 05 s",
        "registered credit@3",
        "credit@3 was assessed already",
        "promoted credit@3 to development",
        "published clean\\x1b[2J",
        "fit gave sha256:aaaaaaaaaaaa",
        "not stored, so that it will run again: odd: it read lib/late.py (+1 more)",
        "assay run show 0000abcd",
        "assay why fit --run 0000abcd",
        "assay model check credit@3 --for production --project fraud",
    ):
        assert said in told
    assert "\x1b" not in told


def test_a_run_that_did_not_end_well_leads_on_to_resuming(capsys: Any) -> None:
    run_view.summary(record([task("fit", "failed")], state="failed"), "fraud")
    told = capsys.readouterr().out
    assert "assay run resume 0000abcd" in told
    assert "assay why" not in told


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.04, "40 ms"),
        (0.9996, "1.0 s"),
        (59.94, "59.9 s"),
        (59.96, "1 min 00 s"),
        (3725, "1 h 02 min"),
    ],
)
def test_times_are_told_in_few_digits(seconds: float, said: str) -> None:
    assert run_view.took(seconds) == said


@pytest.mark.parametrize(
    ("number", "said"), [(999, "999 bytes"), (12_345, "12.3 kB"), (5_000_000_000, "5 GB")]
)
def test_sizes_are_told_in_few_digits(number: int, said: str) -> None:
    assert run_view.size(number) == said
