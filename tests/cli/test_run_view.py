"""Lines, words and differences of runs, on records and events made by hand."""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from assay.cli import run_diff, run_live, run_view, run_why
from assay.pipeline.graph import FORMAT as GRAPH
from assay.pipeline.graph import Const, Each, From, Graph, Items, Node, Output, Value
from assay.pipeline.records import FORMAT, Artifact, Event, Problem, RunRecord, TaskRecord
from assay.types import Digest


def digest(letter: str) -> Digest:
    return Digest("sha256:" + letter * 64)


def artifact(letter: str) -> Artifact:
    return Artifact(digest(letter), "json/1", "data", 12)


def task(name: str, state: Any = "done", **fields: Any) -> TaskRecord:
    return TaskRecord(name, name.partition("[")[0], state, **fields)


def record(tasks: Iterable[TaskRecord], **fields: Any) -> RunRecord:
    listed = list(tasks)
    given: dict[str, Any] = {
        "format": FORMAT,
        "run": "0197a2b4-0000-7000-8000-00000000abcd",
        "pipeline": "credit:train",
        "name": "train",
        "project": "fraud",
        "purpose": "credit-scoring",
        "parameters": {"alpha": 0.1},
        "seed": 0,
        "actor": "alice",
        "started": "2026-07-01T10:00:00.000Z",
        "finished": "2026-07-01T10:01:05.000Z",
        "state": "done",
        "executor": "local",
        "transport": "none",
        "code": {"credit:fit": {"code:credit": "a", "python": "cpython-3.11"}},
        "code_digest": digest("c"),
        "environment": "verified",
        "python": "cpython-3.11",
        "platform": "linux-x86_64",
        "distributions": {"numpy": "2.0 sha256:aa"},
        "graph": {t.node: [] for t in listed},
        "tasks": listed,
    }
    return RunRecord(**{**given, **fields})


def node(name: str, arguments: dict[str, Value] | None = None, *, many: bool = False) -> Node:
    outputs = [Output("result", "json/1", many=many)]
    return Node(name, "step", f"credit:{name.replace('-', '_')}", arguments or {}, outputs=outputs)


def graph(*nodes: Node) -> Graph:
    return Graph(GRAPH, "credit:train", "train", "credit-scoring", {}, list(nodes))


def tell(take: Any, made: TaskRecord, state: str, text: str = "") -> Any:
    made.state = state  # pyright: ignore[reportAttributeAccessIssue]
    return take(Event(f"{made.name}: {text or state}", made))


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
    showing = run_live.showing(made, False, Console(file=out, width=200))
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
    with run_live.showing(graph(node("load"), node("fit")), False, console) as take:
        for name in ("load", "fit"):
            tell(take, task(name, seconds=1.0), "done")
        take("registering the model")
    last = out.getvalue().rpartition("load")[2]
    assert "fit" in last
    assert "registering" not in last


def test_a_tree_survives_an_interrupt_and_lets_it_through() -> None:
    console = Console(file=io.StringIO(), width=80, force_terminal=True)

    def interrupted() -> None:
        with run_live.showing(graph(node("load")), False, console) as take:
            tell(take, task("load"), "running")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()


def test_nothing_is_shown_to_a_machine() -> None:
    out = io.StringIO()
    with run_live.showing(graph(node("load")), True, Console(file=out)) as take:
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


# -- differences ----------------------------------------------------------------------------------


def pair() -> tuple[RunRecord, RunRecord]:
    base = {"step": "credit:fit", "argument:alpha": "0.1", "input:rows": "sha256:1"}
    one = record(
        [
            task("load", outputs=[[artifact("a")]], seconds=1.0, components={"step": "credit:fit"}),
            task("fit", outputs=[[artifact("b")]], components=base, seconds=3.0),
            task("gone"),
        ]
    )
    other = record(
        [
            task("load", "cached", outputs=[[artifact("a")]], made_by=one.run),
            task(
                "fit",
                outputs=[[artifact("d")]],
                components={**base, "argument:alpha": "0.2", "input:rows": "sha256:2"},
            ),
            task("added"),
        ],
        run="0197a2b4-0000-7000-8000-00000000ef01",
        parameters={"alpha": 0.2, "beta": [1]},
        code={"credit:fit": {"code:credit": "b", "python": "cpython-3.11"}},
        distributions={"numpy": "2.0 sha256:bb", "polars": "1.0 sha256:cc"},
    )
    return one, other


def test_two_runs_are_compared_by_what_went_in_and_what_came_out() -> None:
    found = run_diff.compare(*pair())
    assert found["parameters"] == {"alpha": [0.1, 0.2], "beta": [None, [1]]}
    assert found["code"] == ["code of credit changed"]
    assert list(found["distributions"]) == ["numpy", "polars"]
    assert found["inputs"] == {"fit": ["argument alpha was 0.1, is 0.2", "input rows changed"]}
    steps = found["steps"]
    assert steps["only"] == [["gone"], ["added"]]
    assert steps["ran_and_cached"] == ["load"]
    assert steps["cached_and_ran"] == []
    assert steps["outputs_changed"] == ["fit"]
    assert steps["outputs_equal"] == ["load"]


def test_a_difference_is_told_in_words(capsys: Any) -> None:
    one, other = pair()
    run_diff.show(one, other, run_diff.compare(one, other))
    told = capsys.readouterr().out
    for said in (
        "parameter alpha was 0.1, is 0.2",
        "parameter beta is new: [1]",
        "code of credit changed",
        "installed numpy was 2.0 sha256:aa, is 2.0 sha256:bb",
        "installed polars is new: 1.0",
        "fit: input rows changed",
        "gone: only in the first",
        "added: only in the second",
        "1 step gave something else, 1 step the same",
    ):
        assert said in told, told


def test_what_differs_in_many_tasks_of_a_mapped_step_is_said_once(capsys: Any) -> None:
    def fits(count: int, what: str) -> RunRecord:
        base = {"step": "credit:fit", "input:rows": what}
        return record(task(f"fit[{n}]", components=base) for n in range(count))

    one, other = fits(3, "a"), fits(9, "b")
    run_diff.show(one, other, run_diff.compare(one, other))
    told = capsys.readouterr().out
    assert "3 tasks of fit: input rows changed" in told
    assert "6 tasks of fit: only in the second" in told
    assert "fit[0]" not in told


def test_a_run_compared_with_itself_differs_in_nothing(capsys: Any) -> None:
    one, _ = pair()
    found = run_diff.compare(one, one)
    assert not found["run"]
    assert not found["inputs"]
    assert not found["steps"]["outputs_changed"]
    run_diff.show(one, one, found)
    assert "nothing that went into it differs" in capsys.readouterr().out


# -- why ------------------------------------------------------------------------------------------


def test_why_names_what_changed_since_the_run_before() -> None:
    one, other = pair()
    told = run_why.explained(other, other.tasks[1], {"": one})
    assert told["compared_with"] == one.run
    assert told["changed"] == [
        "code of credit changed",
        "argument alpha was 0.1, is 0.2",
        "input rows changed",
    ]
    assert told["components"]["python"] == "cpython-3.11"


def test_what_was_cached_is_held_against_the_run_that_made_it() -> None:
    one, other = pair()
    same = record([task("fit", "cached", components=one.tasks[1].components, made_by=one.run)])
    told = run_why.explained(same, same.tasks[0], {one.run: one, "": other})
    assert told["compared_with"] == one.run
    assert told["changed"] == []


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("it read lib/late.py", "at the top of the step's module, or pass the file"),
        ("it used helper, which no installed distribution lists", "install it"),
        ("what it reads cannot be bounded at isolation level process", "assay doctor"),
    ],
)
def test_what_keeps_a_result_from_being_stored_has_a_remedy(what: str, said: str) -> None:
    assert said in run_why.remedy(what)
