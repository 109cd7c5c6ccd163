"""`@step` and `@pipeline`: plain typed functions that can be called as such, and traced.

Outside of a run a step is the function it decorates, so that it is tested like one.  While a
pipeline is traced, calling a step notes the call and gives a `Result`, which stands for what the
step will return.  Nothing but these notes leaves the tracing process.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Sequence
from typing import Any, Generic, ParamSpec, TypeVar, cast, overload

from assay.errors import Usage
from assay.pipeline import notes, signatures
from assay.pipeline.graph import Const, Each, File, From, Items, Node, Options, Output, Value
from assay.pipeline.notes import Mapped, Result, Tracer, tracing, value_of

P = ParamSpec("P")
R = TypeVar("R")

_UNITS = {"": 1, "B": 1, "KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30, "TIB": 1 << 40}


class Step(Generic[P, R]):
    """A function that runs in a confined process of its own; see `step`."""

    def __init__(self, function: Callable[P, R], name: str, options: Options) -> None:
        self.function = function
        self.name = name
        self.options = options
        self.target = signatures.reference(function, "step")
        functools.update_wrapper(self, function)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        if not notes.are_taken():
            return self.function(*args, **kwargs)
        return cast(R, self._note(args, kwargs, mapped=False))

    def map(self, *args: Any, **kwargs: Any) -> list[R]:
        """Call it once for each item of the arguments marked with `each`, side by side.

        Arguments marked together go together and are of one length.  Gives the list of results.
        """
        if not notes.are_taken():
            return self._map_here(args, kwargs)
        return cast("list[R]", self._note(args, kwargs, mapped=True))

    def _map_here(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[R]:
        bound = self._bind(args, kwargs)
        lists = {name: list(v.of) for name, v in bound.items() if isinstance(v, Mapped)}
        lengths = {len(items) for items in lists.values()}
        if len(lengths) != 1:
            raise _no_each(self.name, lengths)
        call = cast(Callable[..., R], self.function)
        return [
            call(**{**bound, **{name: items[n] for name, items in lists.items()}})
            for n in range(lengths.pop())
        ]

    def _bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        try:
            bound = inspect.signature(self.function).bind(*args, **kwargs)
        except TypeError as error:
            raise Usage(
                f"step {self.name}: {error}",
                remedy=f"it takes {inspect.signature(self.function)}",
                code="step.arguments",
            ) from None
        bound.apply_defaults()
        return dict(bound.arguments)

    def _note(self, args: tuple[Any, ...], kwargs: dict[str, Any], *, mapped: bool) -> Result:
        self._check_place()
        signature = signatures.of(self.function, self.name)
        if signature.seed and "seed" not in kwargs:
            # Left out, it is the run's.
            kwargs = {"seed": None, **kwargs}
        bound = self._bind(args, kwargs)
        if signature.seed and bound.get("seed") is None:
            del bound["seed"]
        if mapped and not any(isinstance(value, Mapped) for value in bound.values()):
            raise _no_each(self.name, set())
        arguments: dict[str, Value] = {}
        for name, given in bound.items():
            where = f"{self.name}({name}=…)"
            if mapped and isinstance(given, Mapped):
                arguments[name] = self._each(signature, name, given.of, where)
            else:
                value = value_of(given, where)
                arguments[name] = signature.check(name, value, where, tracing().output)
        outputs = [
            Output(o.name, o.codec, o.kind, many=True) if mapped else o for o in signature.outputs
        ]
        if mapped and any(o.many for o in signature.outputs):
            raise Usage(
                f"step {self.name} gives a list, and is mapped: a list of lists",
                remedy="let it give one thing, or call it in a step of its own",
                code="pipeline.nested",
            )
        return tracing().add(
            self.name,
            lambda node_id: Node(
                node_id,
                "step",
                self.target,
                arguments,
                {name: signature.codecs[name] for name in signature.codecs},
                outputs,
                self.options,
            ),
        )

    def _each(self, signature: signatures.Signature, name: str, of: Any, where: str) -> Each:
        known = isinstance(of, (Result, list, tuple))
        value = value_of(of if known else list(of), where)
        if isinstance(value, From):
            output = tracing().output(value)
            if not output.many:
                raise Usage(
                    f"{where}: each() takes a list of results, and {value.node} gives one",
                    remedy="map over what another map gave, or over a step that returns a list of "
                    "frames or models; loop over plain values inside a step",
                    code="pipeline.each",
                )
            one = signature.check(name, value, where, lambda _: notes.single(output))
            return Each(cast(From, one))
        if isinstance(value, Const):
            value = Items([Const(item) for item in value.value])
        if not isinstance(value, Items):
            raise Usage(f"{where}: each() takes a list", remedy="each([...])", code="pipeline.each")
        items = [signature.check(name, item, where, tracing().output) for item in value.items]
        return Each(Items(cast("list[Const | File | From | Items]", items)))

    def _check_place(self) -> None:
        """Raise `Usage` unless another process finds this very step under its name."""
        module, _, name = self.target.partition(":")
        if getattr(sys.modules.get(module), name, None) is not self:
            raise Usage(
                f"step {self.name} cannot be found as {name} in {module}: something else has that "
                "name there",
                remedy="give the function and the step one name of their own, @step outermost",
                code="step.hidden",
            )


def _no_each(name: str, lengths: set[int]) -> Usage:
    if lengths:
        return Usage(
            f"{name}.map: the lists marked with each() have different lengths: "
            f"{', '.join(map(str, sorted(lengths)))}",
            remedy="mark lists of one length, or map over one list of pairs",
            code="pipeline.each",
        )
    return Usage(
        f"{name}.map: no argument is marked with each()",
        remedy=f"{name}.map(parameter=each([…]))",
        code="pipeline.each",
    )


class Pipeline(Generic[P, R]):
    """A function that calls steps; see `pipeline`."""

    def __init__(self, function: Callable[P, R], name: str, purpose: str) -> None:
        self.function = function
        self.name = name
        self.purpose = purpose
        self.target = signatures.reference(function, "pipeline")
        functools.update_wrapper(self, function)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Inside another pipeline: its steps become steps of that one."""
        tracer = tracing()
        if self.target in tracer.running:
            circle = " → ".join([*tracer.running, self.target])
            raise Usage(
                f"the pipeline {self.name} calls itself: {circle}",
                remedy="a pipeline calls steps and other pipelines; loop inside a step",
                code="pipeline.cycle",
            )
        tracer.running.append(self.target)
        try:
            return self.function(*args, **kwargs)
        finally:
            tracer.running.pop()


def trace(made: Pipeline[..., Any], arguments: dict[str, Any]) -> tuple[Tracer, Any]:
    """Call a pipeline and note the steps it calls; what it returned."""
    try:
        with notes.taken() as tracer:
            return tracer, made(**arguments)
    except RecursionError:
        raise Usage(f"the pipeline {made.name} never ends", code="pipeline.cycle") from None


def _bytes(size: int | str) -> int:
    """``4 << 30`` or ``"4 GiB"``."""
    if isinstance(size, int):
        return size
    number = size.rstrip("BbIiKkMmGgTt ")
    try:
        return int(float(number) * _UNITS[size[len(number) :].strip().upper()])
    except (ValueError, KeyError, OverflowError):
        raise Usage(
            f"{size[:40]!r} is no amount of memory", remedy="write '4 GiB'", code="step.memory"
        ) from None


@overload
def step(function: Callable[P, R], /) -> Step[P, R]: ...
@overload
def step(
    *,
    name: str = "",
    retries: int = 0,
    timeout: float = 600.0,
    memory: int | str = "4 GiB",
    cpu: int = 0,
    network: Sequence[int] = (),
    environment: Sequence[str] = (),
    processes: bool = False,
    cache: bool | None = None,
) -> Callable[[Callable[P, R]], Step[P, R]]: ...
def step(
    function: Callable[P, R] | None = None,
    /,
    *,
    name: str = "",
    retries: int = 0,
    timeout: float = 600.0,
    memory: int | str = "4 GiB",
    cpu: int = 0,
    network: Sequence[int] = (),
    environment: Sequence[str] = (),
    processes: bool = False,
    cache: bool | None = None,
) -> Step[P, R] | Callable[[Callable[P, R]], Step[P, R]]:
    """Make a function a step: ``@step``, or ``@step(retries=2, timeout=60)``.

    Every parameter and the result are annotated.  A parameter of type `pathlib.Path` is a file of
    the project: its content is what counts, and how its name ends.  A parameter called ``seed``
    gets the run's seed unless one is given.  ``-> tuple[A, B]`` gives two results.

    Parameters
        name: what it is called in a run; by default the function's name.
        retries: how often it is tried again after a failure.
        timeout: wall-clock seconds of one attempt.
        memory: the most address space, in bytes or as ``"4 GiB"``.
        cpu: the most processor seconds; 0 for as many as `timeout`.
        network: TCP ports it may connect to; policy must grant them too (setting `step_ports`).
        environment: variables of the environment it gets (setting `step_variables`).
        processes: whether it may start processes (setting `step_processes`).
        cache: whether its results are used again.  By default, unless it uses the network or
            starts processes.

    Raises `Usage` for a function that no other process could import: a lambda, one defined inside
    another function, in a notebook or at a prompt.
    """
    options = Options(
        retries,
        float(timeout),
        _bytes(memory),
        cpu,
        tuple(network),
        tuple(environment),
        processes,
        cache,
    )

    def make(function: Callable[P, R]) -> Step[P, R]:
        return Step(function, name or getattr(function, "__name__", "step"), options)

    return make if function is None else make(function)


@overload
def pipeline(function: Callable[P, R], /) -> Pipeline[P, R]: ...
@overload
def pipeline(
    *, name: str = "", purpose: str = ""
) -> Callable[[Callable[P, R]], Pipeline[P, R]]: ...
def pipeline(
    function: Callable[P, R] | None = None, /, *, name: str = "", purpose: str = ""
) -> Pipeline[P, R] | Callable[[Callable[P, R]], Pipeline[P, R]]:
    """Make a function that calls steps a pipeline: ``@pipeline(purpose="credit-scoring")``.

    It runs once, to note which step gets what; so it may loop and branch over its own parameters,
    but not over what steps return.  `purpose` is what data is read for.
    """

    def make(function: Callable[P, R]) -> Pipeline[P, R]:
        called = name or getattr(function, "__name__", "pipeline").replace("_", "-")
        return Pipeline(function, called, purpose)

    return make if function is None else make(function)
