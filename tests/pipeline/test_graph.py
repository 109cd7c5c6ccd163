"""Graphs come from a process that ran foreign code: every name and reference is checked."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.errors import AssayError, Usage
from assay.pipeline import graph as graphs
from assay.pipeline.graph import Const, Each, From, Graph, Items, Node, Options, Output

ROWS = Output("rows", "parquet/1")


def node(name: str, arguments: dict[str, graphs.Value] | None = None, **more: object) -> Node:
    return Node(name, "step", f"mod:{name}", arguments or {}, outputs=[ROWS], **more)  # type: ignore[arg-type]


def graph(*nodes: Node) -> Graph:
    return Graph(graphs.FORMAT, "mod:main", "main", "research", {}, list(nodes))


def test_a_graph_comes_back_as_it_went() -> None:
    made = graph(
        node("a"),
        node("b", {"rows": From("a"), "depth": Each(Items([Const(1), Const(2)]))}),
        node("c", {"all": Items([From("a"), From("b"), Const(None)])}, after=["b"]),
    )
    assert graphs.decode(msgspec.msgpack.encode(made)) == made


def test_a_step_waits_for_what_it_reads_and_for_what_it_was_told_to() -> None:
    made = node("c", {"x": Items([From("a")]), "y": Each(From("b"))}, after=["d"])
    assert made.needs() == {"a", "b", "d"}
    assert made.mapped == ["y"]


def test_a_circle_is_named_step_by_step() -> None:
    made = graph(node("a", {"x": From("b")}), node("b", {"x": From("a")}))
    with pytest.raises(Usage, match=r"in a circle: (a → b → a|b → a → b)") as caught:
        graphs.check(made)
    assert caught.value.code == "usage.pipeline.cycle"


@pytest.mark.parametrize(
    "made",
    [
        graph(),
        graph(node("a"), node("a")),
        graph(node("a", {"x": From("nobody")})),
        graph(node("a"), node("b", {"x": From("a", 1)})),
        graph(node("a"), node("b", {"x": From("a", -1)})),
        graph(node("a", after=["nobody"])),
        graph(node("../../etc/passwd")),
        graph(node("")),
        graph(Node("a", "step", "mod:<lambda>", {}, outputs=[ROWS])),
        graph(Node("a", "step", "os;system:x", {}, outputs=[ROWS])),
    ],
    ids=["empty", "twice", "nobody", "output", "negative", "after", "path", "unnamed", "λ", "code"],
)
def test_a_graph_that_makes_no_sense_is_refused(made: Graph) -> None:
    with pytest.raises(Usage):
        graphs.decode(msgspec.msgpack.encode(made))


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (Options(retries=-1), "retries"),
        (Options(timeout=0), "timeout"),
        (Options(timeout=float("inf")), "timeout"),
        (Options(memory=1), "memory"),
        (Options(cpu=-1), "cpu"),
        (Options(ports=(0,)), "ports"),
        (Options(ports=(70_000,)), "ports"),
        (Options(variables=("A=B",)), "variables"),
    ],
)
def test_an_option_out_of_bounds_is_named_with_its_step(options: Options, named: str) -> None:
    with pytest.raises(Usage, match=f"step a: {named}"):
        graphs.check(graph(node("a", options=options)))


def test_what_the_network_or_other_programs_had_a_hand_in_is_not_used_again_unless_declared() -> (
    None
):
    assert Options().cacheable
    assert not Options(ports=(443,)).cacheable
    assert not Options(processes=True).cacheable
    assert Options(ports=(443,), cache=True).cacheable
    assert not Options(cache=False).cacheable


@given(st.binary(max_size=400))
def test_bytes_that_are_no_graph_are_refused_and_nothing_else(data: bytes) -> None:
    with pytest.raises(AssayError):
        graphs.decode(data)


@given(st.data())
def test_one_changed_byte_gives_a_sound_graph_or_a_refusal(data: st.DataObject) -> None:
    whole = bytearray(msgspec.msgpack.encode(graph(node("a"), node("b", {"x": From("a")}))))
    at = data.draw(st.integers(0, len(whole) - 1))
    whole[at] ^= data.draw(st.integers(1, 255))
    try:
        made = graphs.decode(bytes(whole))
    except AssayError:
        return
    graphs.check(made)
