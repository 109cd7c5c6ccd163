"""The plan of a run, as plain data: what a traced pipeline is, and all that the driver knows of it.

A graph comes out of a confined process that ran foreign code, so it is checked like any other
foreign document (`check`): every reference leads to an earlier node or is a named mistake.
"""

from __future__ import annotations

import graphlib
import re
from collections.abc import Iterator
from typing import Any, Literal, TypeAlias

import msgspec

from assay.errors import Usage
from assay.isolation.grants import Grants

FORMAT = "assay/graph/v1"
MOST_NODES = 10_000
MOST_ITEMS = 100_000
"""Values that one list argument may hold."""

SECONDS = 600.0
MEMORY = 4 << 30
_REFERENCE = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", re.ASCII)
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}", re.ASCII)
_NODE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", re.ASCII)
_CODEC = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}/[0-9]{1,4}", re.ASCII)
_OUTPUT = re.compile(r"\w{1,128}")


class Const(msgspec.Struct, frozen=True, tag="value", tag_field="is"):
    """A plain JSON value."""

    value: Any


class File(msgspec.Struct, frozen=True, tag="file", tag_field="is"):
    """A file of the project, whose content counts, and how its name ends."""

    path: str


class From(msgspec.Struct, frozen=True, tag="from", tag_field="is"):
    """What another node gave: one of its outputs by number, or all of a mapped one."""

    node: str
    output: int = 0


class Items(msgspec.Struct, frozen=True, tag="items", tag_field="is"):
    """A list of values."""

    items: list[Const | File | From | Items]


class Each(msgspec.Struct, frozen=True, tag="each", tag_field="is"):
    """One task for each item of a list: of an `Items`, or of an output that is a list."""

    of: Items | From


Value: TypeAlias = Const | File | From | Items | Each


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a step may use, and how hard it is tried; see `assay.pipeline.step`."""

    retries: int = 0
    timeout: float = SECONDS
    memory: int = MEMORY
    cpu: int = 0
    ports: tuple[int, ...] = ()
    variables: tuple[str, ...] = ()
    processes: bool = False
    cache: bool | None = None

    @property
    def cacheable(self) -> bool:
        """Whether a result may be used again: not what the network or other programs had a hand
        in, unless the author declared that it may."""
        return not (self.ports or self.processes) if self.cache is None else self.cache


class Output(msgspec.Struct, frozen=True):
    """One thing that a node gives: how it is kept, and whether it is a list of such things."""

    name: str
    codec: str
    kind: Literal["data", "model"] = "data"
    many: bool = False


class Node(msgspec.Struct, frozen=True):
    """One call of a step, or of a built-in step (`effect`)."""

    id: str
    kind: Literal["step", "effect"]
    target: str
    """``module:function`` of a step; the name of an effect."""
    arguments: dict[str, Value]
    codecs: dict[str, str] = {}
    """Parameter → how it is read."""
    outputs: list[Output] = []
    options: Options = Options()
    after: list[str] = []

    @property
    def mapped(self) -> list[str]:
        """The parameters that it is mapped over."""
        return [name for name, value in self.arguments.items() if isinstance(value, Each)]

    def needs(self) -> set[str]:
        """The nodes whose outputs it reads, or must wait for."""
        found = set(self.after)
        for value in self.arguments.values():
            found.update(reference.node for reference in references(value))
        return found


class Graph(msgspec.Struct, frozen=True):
    """A pipeline with its parameters filled in."""

    format: str
    pipeline: str
    """``module:function`` of the pipeline."""
    name: str
    purpose: str
    parameters: dict[str, Any]
    nodes: list[Node]
    result: list[From] = []


def references(value: Value) -> Iterator[From]:
    """Every reference to another node in a value."""
    if isinstance(value, From):
        yield value
    elif isinstance(value, Items):
        for item in value.items:
            yield from references(item)
    elif isinstance(value, Each):
        yield from references(value.of)


def order(graph: Graph) -> graphlib.TopologicalSorter[str]:
    """The order in which nodes can run; raises `Usage` naming a cycle."""
    sorter = graphlib.TopologicalSorter({node.id: node.needs() for node in graph.nodes})
    try:
        sorter.prepare()
    except graphlib.CycleError as error:
        cycle = " → ".join(reversed(error.args[1]))
        raise Usage(
            f"the steps of {graph.name} wait for each other in a circle: {cycle}",
            remedy="remove one of these arguments or `.after(...)`",
            code="pipeline.cycle",
        ) from None
    return sorter


def decode(data: bytes) -> Graph:
    """A graph from the process that traced it, checked; raises `Usage`."""
    try:
        graph = msgspec.msgpack.decode(data, type=Graph)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise wrong(str(error)) from error
    if graph.format != FORMAT:
        raise wrong(f"its format is {graph.format[:40]!r}")
    check(graph)
    return graph


def check(graph: Graph) -> None:
    """Raise `Usage` unless every name and reference of the graph makes sense."""
    if not 0 < len(graph.nodes) <= MOST_NODES:
        raise Usage(
            f"{graph.name} has {len(graph.nodes):,} steps; between 1 and {MOST_NODES:,} are "
            "possible",
            remedy="call at least one step; map over a list instead of calling in a loop",
            code="pipeline.size",
        )
    known: dict[str, Node] = {}
    for node in graph.nodes:
        if _NODE.fullmatch(node.id) is None or node.id in known:
            raise wrong(f"two steps, or none, can be called {node.id[:60]!r}")
        if node.kind == "step" and _REFERENCE.fullmatch(node.target) is None:
            raise wrong(f"{node.target[:60]!r} names no step")
        named = [*node.codecs.values(), *(output.codec for output in node.outputs)]
        if not all(_CODEC.fullmatch(codec) for codec in named):
            raise wrong(f"{node.id} has a codec that is none")
        if not all(_OUTPUT.fullmatch(output.name) for output in node.outputs):
            raise wrong(f"{node.id} has an output without a name")
        known[node.id] = node
        _check_options(node)
    for node in graph.nodes:
        for reference in [r for v in node.arguments.values() for r in references(v)]:
            there = known.get(reference.node)
            if there is None or not 0 <= reference.output < len(there.outputs):
                raise wrong(f"{node.id} reads what no step gives")
        if missing := set(node.after) - set(known):
            raise wrong(f"{node.id} waits for {', '.join(sorted(missing))[:60]}")
    if any(
        reference.node not in known
        or not 0 <= reference.output < len(known[reference.node].outputs)
        for reference in graph.result
    ):
        raise wrong("it returns what no step gives")
    order(graph)


def _check_options(node: Node) -> None:
    options = node.options
    rules = (
        ("retries", 0 <= options.retries <= 100, "0 to 100"),
        ("timeout", 0 < options.timeout <= 7 * 86_400, "up to 7 days, in seconds"),
        ("memory", 16 << 20 <= options.memory <= 1 << 44, "from 16 MiB, in bytes or as '4 GiB'"),
        ("cpu", 0 <= options.cpu <= 7 * 86_400, "processor seconds; 0: as many as the timeout"),
        ("ports", all(0 < p < 1 << 16 for p in options.ports), "TCP ports, 1 to 65535"),
        ("variables", all(_VARIABLE.fullmatch(v) for v in options.variables), "names"),
    )
    for name, holds, rule in rules:
        if not holds:
            raise Usage(
                f"step {node.id}: {name} is {getattr(options, name)!r}",
                remedy=f"{name}: {rule}",
                code="pipeline.option",
            )
    try:
        Grants(environment=dict.fromkeys(options.variables, ""))
    except Usage as error:
        error.message = f"step {node.id}: {error.message}"
        raise


def wrong(why: str) -> Usage:
    """What a process gave that was to trace a pipeline makes no sense."""
    return Usage(
        f"the pipeline gave no graph that can be run: {why}",
        remedy="call steps of assay.pipeline in it, and nothing that replaces their results",
        code="pipeline.graph",
    )
