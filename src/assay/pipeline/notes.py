"""The notes that are taken while a pipeline runs: which step was called, with what.

A call gives a `Result`, which stands for what the step will return and can only be passed on.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import PurePath
from typing import Any, TypeVar, cast

from assay.errors import Usage
from assay.pipeline import signatures
from assay.pipeline.graph import Const, Each, File, From, Items, Node, Output, Value

R = TypeVar("R")


class Result:
    """Stands, while a pipeline is traced, for what a step will return."""

    def __init__(self, node: str, outputs: Sequence[Output], output: int | None = None) -> None:
        self._node = node
        self._outputs = outputs
        self._output = output

    def after(self, *others: Any) -> Result:
        """Let this step wait for others whose results it does not read."""
        tracer = tracing()
        for other in others:
            if not isinstance(other, Result):
                raise Usage(
                    f"{self._node} cannot wait for {type(other).__name__}",
                    remedy="name what another step returned",
                    code="pipeline.after",
                )
            tracer.wait(self._node, other._node)
        return self

    def reference(self) -> From | Items:
        """How the graph spells it."""
        if self._output is None and len(self._outputs) > 1:
            return Items([From(self._node, n) for n in range(len(self._outputs))])
        return From(self._node, self._output or 0)

    def __iter__(self) -> Iterator[Result]:
        return iter([self[number] for number in range(len(self._split("unpacked")))])

    def __getitem__(self, number: int) -> Result:
        outputs = self._split("indexed")
        if not isinstance(number, int):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise self._unknown("indexed by more than a number")
        if not -len(outputs) <= number < len(outputs):
            raise IndexError(number)
        return Result(self._node, self._outputs, number % len(outputs))

    def __getattr__(self, name: str) -> Result:
        if not name.startswith("_") and self._output is None:
            for number, output in enumerate(self._outputs):
                if output.name == name:
                    return Result(self._node, self._outputs, number)
        raise AttributeError(name)

    def _split(self, how: str) -> Sequence[Output]:
        if self._output is not None or len(self._outputs) < 2:
            raise self._unknown(how)
        return self._outputs

    def _unknown(self, how: str) -> Usage:
        return Usage(
            f"what {self._node} returns is {how} in the pipeline, but is known only when it ran",
            remedy="do that inside a step; annotate the step `-> tuple[A, B]` to give two results",
            code="pipeline.value",
        )

    def _refuse(self, *_: object, **__: object) -> Any:
        raise self._unknown("used as a value")

    # Text of it would be an address in memory, and comparing it would say no, always.
    __str__ = __format__ = __bool__ = __len__ = __int__ = __float__ = __index__ = _refuse
    __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = _refuse
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = _refuse
    __truediv__ = __rtruediv__ = __floordiv__ = __rfloordiv__ = __mod__ = __rmod__ = _refuse
    __pow__ = __rpow__ = __matmul__ = __rmatmul__ = __neg__ = __pos__ = __abs__ = __round__ = (
        _refuse
    )
    __and__ = __rand__ = __or__ = __ror__ = __xor__ = __rxor__ = __invert__ = _refuse
    __contains__ = __call__ = __setitem__ = __hash__ = _refuse

    def __repr__(self) -> str:
        return f"<what {self._node} returns>"


class Mapped:
    """A value to map over; see `each`."""

    def __init__(self, of: Any) -> None:
        self.of = of


def each(values: Sequence[R] | list[R]) -> R:
    """Mark an argument of `Step.map`: one task for each of `values`, a list or a step's result."""
    return cast(R, Mapped(values))


class Tracer:
    """The notes taken while a pipeline runs under `trace`."""

    def __init__(self) -> None:
        self.nodes: dict[str, Node] = {}
        self._targets: dict[str, str] = {}
        self._numbers: dict[str, int] = {}
        self.running: list[str] = []

    def add(self, name: str, make: Callable[[str], Node]) -> Result:
        """Note a call under a name of its own: ``fit``, ``fit-2``, …"""
        number = self._numbers.get(name, 1)
        node_id = name if number == 1 else f"{name}-{number}"
        while node_id in self.nodes:
            number += 1
            node_id = f"{name}-{number}"
        self._numbers[name] = number
        node = self.nodes[node_id] = make(node_id)
        other = self._targets.setdefault(name, node.target)
        if other != node.target:
            raise Usage(
                f"two different steps are called {name}: {other} and {node.target}",
                remedy='give one of them a name: @step(name="...")',
                code="pipeline.name",
            )
        return Result(node_id, node.outputs)

    def output(self, reference: From) -> Output:
        """What a node gives."""
        return self.nodes[reference.node].outputs[reference.output]

    def wait(self, node: str, other: str) -> None:
        held = self.nodes[node]
        self.nodes[node] = Node(
            held.id,
            held.kind,
            held.target,
            held.arguments,
            held.codecs,
            held.outputs,
            held.options,
            [*held.after, other],
        )


_tracer: Tracer | None = None


@contextlib.contextmanager
def taken() -> Generator[Tracer]:
    """Take notes."""
    global _tracer
    tracer = _tracer = Tracer()
    try:
        yield tracer
    finally:
        _tracer = None


def are_taken() -> bool:
    """Whether a pipeline is being traced."""
    return _tracer is not None


def tracing() -> Tracer:
    """The notes being taken; raises `Usage` outside of a pipeline."""
    if _tracer is None:
        raise Usage(
            "this can be called in a function decorated with @pipeline only",
            remedy="put the call in a pipeline, and start that: assay run FILE",
            code="pipeline.outside",
        )
    return _tracer


def value_of(given: Any, where: str) -> Value:
    """An argument as the graph spells it; raises `Usage` for what cannot travel."""
    if isinstance(given, Result):
        return given.reference()
    if isinstance(given, PurePath):
        return File(str(given))
    if isinstance(given, (list, tuple)) and any(
        isinstance(item, (Result, PurePath)) for item in cast(Sequence[Any], given)
    ):
        items = [value_of(item, where) for item in cast(Sequence[Any], given)]
        return Items([item for item in items if not isinstance(item, Each)])
    if isinstance(given, Mapped):
        raise Usage(
            f"{where}: each() is for a step's map",
            remedy="call STEP.map(..., parameter=each(values))",
            code="pipeline.each",
        )
    return Const(signatures.plain(given, where))


def single(output: Output) -> Output:
    """What one of many is."""
    return Output(output.name, output.codec, output.kind)
