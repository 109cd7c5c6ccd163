"""Records, graphs and events of runs, made by hand."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from assay.pipeline.graph import FORMAT as GRAPH
from assay.pipeline.graph import Graph, Node, Output, Value
from assay.pipeline.records import FORMAT, Artifact, Event, RunRecord, TaskRecord
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
