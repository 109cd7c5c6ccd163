"""A pipeline's code to a graph, in a confined process: the driver never imports user code."""

from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec

from assay.errors import AssayError, NotFound, Usage
from assay.pipeline import signatures
from assay.pipeline.graph import FORMAT, From, Graph
from assay.pipeline.notes import Result
from assay.pipeline.steps import Pipeline, trace
from assay.pipeline.watching import Used, Watch

TARGET = "assay.pipeline.tracing:call"


# What can come out of foreign code; but for running out of memory, which is told as that.
_ANYTHING = (Exception, SystemExit, KeyboardInterrupt, GeneratorExit)


class Request(msgspec.Struct):
    """Which pipeline, and its parameters as given on the command line or as JSON."""

    module: str
    pipeline: str
    """Its name in the module; empty: the only one there."""
    parameters: dict[str, Any]
    roots: list[str]
    """The names of the folders of first-party code."""


class Traced(msgspec.Struct):
    """A graph, and what was used to come to it."""

    graph: bytes
    used: Used


def call(payload: bytes) -> bytes:
    """Trace the pipeline that `payload` (a `Request`) names; the encoded `Traced`."""
    request = msgspec.msgpack.decode(payload, type=Request)
    watch = Watch()
    graph = _trace(request)
    roots = [Path(place) for place in sys.path if Path(place).name in request.roots]
    return msgspec.msgpack.encode(Traced(graph, watch.used(roots)))


def _trace(request: Request) -> bytes:
    made = _find(_imported(request.module), request.pipeline)
    arguments = signatures.pipeline_arguments(made.function, made.name, request.parameters)
    parameters = {n: signatures.plain(_spelt(v), f"parameter {n}") for n, v in arguments.items()}
    try:
        tracer, returned = trace(made, arguments)
    except AssayError:
        raise
    except _ANYTHING as error:
        raise Usage(
            f"pipeline {made.name} failed: {type(error).__name__}: {error}{where(error)}",
            remedy="what a step returns is known only when it ran: compute inside steps",
            code="pipeline.raised",
        ) from error
    graph = Graph(
        FORMAT,
        made.target,
        made.name,
        made.purpose,
        parameters,
        list(tracer.nodes.values()),
        _result(returned),
    )
    return msgspec.msgpack.encode(graph)


def _spelt(value: Any) -> Any:
    return str(value) if hasattr(value, "__fspath__") else value


def _imported(module: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except AssayError:
        raise
    except _ANYTHING as error:
        raise Usage(
            f"{module} cannot be imported: {type(error).__name__}: {error}{where(error)}",
            remedy="a module of a pipeline reads no files, opens no network and starts nothing "
            "when imported; do that in a step",
            code="pipeline.import",
        ) from error


def _find(module: ModuleType, name: str) -> Pipeline[..., Any]:
    found: Mapping[str, Pipeline[..., Any]] = {
        key: value for key, value in vars(module).items() if isinstance(value, Pipeline)
    }
    own = {k: v for k, v in found.items() if v.target.partition(":")[0] == module.__name__}
    if name in found:
        return found[name]
    if not name and len(own) == 1:
        return next(iter(own.values()))
    known = ", ".join(sorted(own or found)) or "none"
    if name:
        raise NotFound(
            f"{module.__name__} has no pipeline {name[:60]}",
            remedy=f"its pipelines: {known}",
            code="pipeline",
        )
    raise Usage(
        f"{module.__name__} has {len(own) or 'no'} pipelines",
        remedy=f"name one, as in assay run FILE:NAME; it has: {known}"
        if own
        else "decorate the function that calls the steps with @pipeline",
        code="pipeline.which",
    )


def _result(returned: Any) -> list[From]:
    found: list[From] = []
    parts = returned if isinstance(returned, (tuple, list)) else [returned]
    for part in parts:
        if isinstance(part, Result):
            reference = part.reference()
            found += [reference] if isinstance(reference, From) else []
    return found


def where(error: BaseException) -> str:
    """`` (credit.py, line 12)``: the last line of first-party code that an error came through."""
    frames = traceback.extract_tb(error.__traceback__)
    libraries = (sys.prefix, sys.base_prefix, __file__.rpartition("/assay/")[0])
    for frame in reversed(frames):
        name = frame.filename
        if not name.startswith(libraries) and not name.startswith("<"):
            return f" ({name.rpartition('/')[2]}, line {frame.lineno})"
    return ""
