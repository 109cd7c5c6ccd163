"""What a step takes and gives: its annotations, read once, as codecs.

Runs where the step's module is imported: in the tracing process and in the step's own.
"""

from __future__ import annotations

import functools
import inspect
import json
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Annotated, Any, Union, cast

import msgspec

from assay.errors import Usage
from assay.pipeline import codecs
from assay.pipeline.graph import MOST_ITEMS, Const, File, From, Items, Output, Value

FILE = "file/1"
"""The codec of a parameter of type `Path`: the bytes as they are."""
SEVERAL = "several/1"
"""The codec of a tuple of things that are no plain values: each part has its own."""


@dataclass(frozen=True, slots=True)
class Given:
    """A step gives this, under `name`: one thing of type `hint`, or a list of them."""

    output: Output
    hint: Any


@dataclass(frozen=True, slots=True)
class Signature:
    """A step's parameters and results, by their annotations."""

    step: str
    hints: Mapping[str, Any]
    """Parameter → annotation; of a list of frames or models, that of one item."""
    codecs: Mapping[str, str]
    items: Mapping[str, tuple[Any, str]]
    """Parameter annotated ``list[T]`` → T, and how each of several results is read."""
    parts: Mapping[str, tuple[tuple[Any, str], ...]]
    """Parameter annotated ``tuple[A, B]``, or as a NamedTuple → each of its parts, likewise."""
    gives: tuple[Given, ...]
    build: Any
    """The NamedTuple that groups the results, `tuple`, or None for a single result."""

    @property
    def outputs(self) -> list[Output]:
        return [given.output for given in self.gives]

    @property
    def seed(self) -> bool:
        return "seed" in self.hints

    def check(self, name: str, value: Value, where: str, given: Callable[[From], Output]) -> Value:
        """An argument of a pipeline's call, held to the annotation as far as it is known.

        `given` tells what another step gives.  Raises `Usage`.
        """
        hint, codec = self.hints[name], self.codecs[name]
        item = self.items.get(name)
        whole = codecs.is_json(hint)  # A list of plain values is one value, too.
        if item is None:
            if isinstance(value, Items):
                parts = self.parts.get(name, ())
                if len(parts) != len(value.items):
                    raise _type(where, f"{spelt(hint)}, and it gets several results", _UNPACK)
                pairs = zip(value.items, parts, strict=True)
                return Items([_part(part, known, where, given) for part, known in pairs])
            if codec == SEVERAL:
                raise _type(where, f"what other steps returned, of type {spelt(hint)}")
            return _one(value, hint, codec, where, given)
        if isinstance(value, From):
            if given(value).many:
                return _one(value, item[0], item[1], where, given, many=True)
            if not whole:
                raise _type(where, f"a list of {spelt(item[0])}", "put it into a list: [x]")
        if isinstance(value, Const) and not whole and isinstance(value.value, list):
            value = Items([Const(part) for part in cast("list[Any]", value.value)])
        if isinstance(value, Items):
            return Items([_part(part, item, where, given) for part in value.items])
        if not whole:
            raise _type(where, f"a list of {spelt(item[0])}")
        return _one(value, hint, codec, where, given)


def _part(
    part: Const | File | From | Items,
    item: tuple[Any, str],
    where: str,
    given: Callable[[From], Output],
) -> Const | File | From:
    if isinstance(part, Items) or (isinstance(part, From) and given(part).many):
        raise Usage(
            f"{where} is a list of lists of results, which cannot be passed to a step",
            remedy="pass each list as an argument of its own",
            code="pipeline.nested",
        )
    return _one(part, *item, where, given)


def _one(
    value: Value,
    hint: Any,
    codec: str,
    where: str,
    given: Callable[[From], Output],
    *,
    many: bool = False,
) -> Const | File | From:
    """One thing that a step gets, held to its annotation."""
    if isinstance(value, Const) and value.value is None and _optional(hint):
        return value
    if codec == FILE:
        if isinstance(value, Const) and isinstance(value.value, str):
            return File(value.value)
        if not isinstance(value, File):
            raise _type(where, "a path of a file of the project")
        return value
    if isinstance(value, Const):
        if not codecs.is_json(hint):
            raise _type(where, f"what another step returned, of type {spelt(hint)}")
        return Const(_converted(value.value, hint, where))
    if not isinstance(value, From):
        raise _type(where, spelt(hint))
    output = given(value)
    if output.many and not many:
        raise _type(where, f"one {spelt(hint)}, and {value.node} gives a list of such", _MAP)
    if output.codec != codec:
        raise _type(where, f"{spelt(hint)}, and {value.node} gives another type ({output.codec})")
    return value


_UNPACK = "unpack it (`a, b = step()`) and pass one of them; or annotate the parameter list[T]"
_MAP = "map over it (`STEP.map(x=each(results))`), or annotate the parameter list[T]"


def reference(function: Callable[..., Any], what: str) -> str:
    """``module:function``, by which another process finds it; raises `Usage` where none could."""
    name = getattr(function, "__qualname__", "")
    module = getattr(function, "__module__", "") or ""
    shown = name or repr(function)[:60]
    if not inspect.isfunction(function):
        raise Usage(
            f"{shown} is not a function", remedy=f"decorate a function with @{what}", code="step"
        )
    if inspect.iscoroutinefunction(function) or inspect.isgeneratorfunction(function):
        raise Usage(
            f"{shown} is async or a generator, and a {what} is a plain function",
            remedy="return the whole result; call asyncio.run inside",
            code="step.kind",
        )
    if name == "<lambda>":
        raise Usage(
            "a lambda has no name by which another process could find it",
            remedy=f"write it as a function, `def name(...)`, and decorate that with @{what}",
            code="step.lambda",
        )
    if "<locals>" in name:
        outer = name.partition(".<locals>")[0]
        raise Usage(
            f"{what} {name.rpartition('.')[2]} is defined inside {outer}, where another process "
            "could not find it",
            remedy="move it to the top of the module, and pass what it closes over as arguments",
            code="step.local",
        )
    if "." in name:
        raise Usage(
            f"{what} {name} is a method", remedy="write it as a plain function", code="step.method"
        )
    return f"{module}:{name}"


@functools.cache
def of(function: Callable[..., Any], name: str) -> Signature:
    """The signature of a step; raises `Usage` for one that says too little."""
    try:
        hints = typing.get_type_hints(function, include_extras=True)
    except Exception as error:  # Annotations are code, and this may be any of its mistakes.
        raise Usage(
            f"the annotations of step {name} cannot be read: {type(error).__name__}: {error}",
            remedy="import the names they use at the top of the module, not under TYPE_CHECKING",
            code="step.annotation",
        ) from error
    taken: dict[str, Any] = {}
    used: dict[str, str] = {}
    items: dict[str, tuple[Any, str]] = {}
    parts: dict[str, tuple[tuple[Any, str], ...]] = {}
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise Usage(
                f"step {name} takes *{parameter.name}, and each input of a step has a name",
                remedy="list the parameters; several inputs of one kind are a list[T]",
                code="step.arguments",
            )
        if parameter.kind is parameter.POSITIONAL_ONLY:
            raise Usage(
                f"step {name}: {parameter.name} cannot be given by name",
                remedy="remove the / from its parameters",
                code="step.arguments",
            )
        hint = _annotated(hints, parameter.name, f"parameter {parameter.name} of step {name}")
        if several := _several(hint):
            parts[parameter.name] = several
        taken[parameter.name], used[parameter.name], item = _parameter(hint, several)
        if item is not None:
            items[parameter.name] = item
    given, build = _results(_annotated(hints, "return", f"the result of step {name}"))
    return Signature(name, taken, used, items, parts, tuple(given), build)


def _annotated(hints: Mapping[str, Any], name: str, what: str) -> Any:
    if name not in hints:
        raise Usage(
            f"{what} has no annotation",
            remedy="say what it is, for example: rows: pl.DataFrame, depth: int, -> RandomForest",
            code="step.annotation",
        )
    return hints[name]


def _several(hint: Any) -> tuple[tuple[Any, str], ...]:
    """The parts of a tuple of fixed length, and how each is read."""
    return tuple(
        (part, FILE if _is_path(strip(part)) else codecs.codec_for(bare(part)).name)
        for _, part in _fields(strip(hint))
    )


def built(hint: Any, parts: Sequence[Any]) -> Any:
    """A tuple of its parts, as its annotation says."""
    plainly = strip(hint)
    return tuple(parts) if typing.get_origin(plainly) is tuple else plainly(*parts)


def _parameter(hint: Any, several: Sequence[Any]) -> tuple[Any, str, tuple[Any, str] | None]:
    """What is read as one, and how; and where it is a list, its item, and how that is read."""
    stripped = strip(hint)
    if _is_path(_not_none(stripped)):
        return hint, FILE, None
    item = _item(stripped)
    if codecs.is_json(stripped):
        codec = codecs.codec_for(stripped).name
        return hint, codec, None if item is None else (item, codecs.codec_for(strip(item)).name)
    if several:
        return hint, SEVERAL, None
    if item is not None:
        codec = FILE if _is_path(strip(item)) else codecs.codec_for(strip(item)).name
        return item, codec, (item, codec)
    return hint, codecs.codec_for(_not_none(stripped)).name, None


def _results(hint: Any) -> tuple[list[Given], Any]:
    """A tuple of fixed length is several results, of whatever types; all else is one."""
    plainly = strip(hint)
    fields = _fields(plainly)
    if not fields:
        return [_given("result", hint)], None
    build = tuple if typing.get_origin(plainly) is tuple else plainly
    return [_given(name, part) for name, part in fields], build


def _given(name: str, hint: Any) -> Given:
    plainly = strip(hint)
    item = None if plainly is None or codecs.is_json(plainly) else _item(plainly)
    codec = codecs.codec_for(plainly if item is None else strip(item))
    return Given(Output(name, codec.name, codec.kind, many=item is not None), item or hint)


def _fields(hint: Any) -> list[tuple[str, Any]]:
    """The parts of a NamedTuple, or of ``tuple[A, B]``, by name; empty for anything else."""
    if isinstance(hint, type) and issubclass(hint, tuple) and hasattr(hint, "_fields"):
        return list(typing.get_type_hints(hint, include_extras=True).items())
    parts = typing.get_args(hint)
    if typing.get_origin(hint) is tuple and Ellipsis not in parts:
        return [(str(number), part) for number, part in enumerate(parts)]
    return []


def strip(hint: Any) -> Any:
    """An annotation without what `Annotated` adds."""
    return typing.get_args(hint)[0] if typing.get_origin(hint) is Annotated else hint


def bare(hint: Any) -> Any:
    """An annotation as a codec takes it: without `Annotated`, and without ``| None``."""
    stripped = strip(hint)
    return stripped if codecs.is_json(stripped) else _not_none(stripped)


def check_schema(value: Any, hint: Any, what: str) -> None:
    """Hold a frame to the pandera schema in its annotation, if there is one; raises `Usage`."""
    if strip(hint) is hint and "pandera" not in repr(hint):
        return
    from assay.formats import frame_schemas

    schema = frame_schemas.schema_of(hint)
    if schema is not None:
        frame_schemas.check(value, schema, what)


def _item(hint: Any) -> Any:
    """``T`` of ``list[T]``; None for anything else."""
    if typing.get_origin(hint) is list and typing.get_args(hint):
        return typing.get_args(hint)[0]
    return None


def _optional(hint: Any) -> bool:
    plainly = strip(hint)
    return type(None) in typing.get_args(plainly) or plainly in (None, type(None))


def _not_none(hint: Any) -> Any:
    """``T`` of ``T | None``."""
    if typing.get_origin(hint) in (Union, types.UnionType):
        parts = [part for part in typing.get_args(hint) if part is not type(None)]
        if len(parts) == 1:
            return strip(parts[0])
    return hint


def _is_path(hint: Any) -> bool:
    return isinstance(hint, type) and issubclass(hint, PurePath)


def plain(value: Any, where: str) -> Any:
    """A value as JSON carries it, mappings sorted; raises `Usage` for one it does not."""
    try:
        made = msgspec.to_builtins(value, str_keys=True, order="deterministic")
        if isinstance(made, list) and len(cast("list[Any]", made)) > MOST_ITEMS:
            raise TypeError(f"more than {MOST_ITEMS:,} items")
        json.dumps(made, allow_nan=False).encode()
        msgspec.msgpack.encode(made)
        return made
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise Usage(
            f"{where} is a {type(value).__name__}, which cannot be written down exactly: {error}",
            remedy="pass finite numbers of up to 64 bits, text, lists, dicts or dataclasses; make "
            "other things in a step",
            code="pipeline.argument",
        ) from error


def _converted(value: Any, hint: Any, where: str) -> Any:
    try:
        found = msgspec.convert(value, strip(hint), str_keys=True)
        return msgspec.to_builtins(found, str_keys=True, order="deterministic")
    except (msgspec.ValidationError, TypeError) as error:
        raise Usage(
            f"{where}: {error}", remedy=f"it is annotated {spelt(hint)}", code="step.type"
        ) from error


def spelt(hint: Any) -> str:
    """An annotation as its author wrote it, or nearly."""
    return hint.__qualname__ if isinstance(hint, type) else str(hint).replace("typing.", "")


def _type(where: str, wanted: str, remedy: str = "see its annotation") -> Usage:
    return Usage(f"{where} has to be {wanted}", remedy=remedy, code="step.type")


def pipeline_arguments(
    function: Callable[..., Any], name: str, given: Mapping[str, Any]
) -> dict[str, Any]:
    """The parameters of a run, text from a command line included, as the pipeline takes them.

    Raises `Usage` for one that is unknown, missing, or not what its annotation says.
    """
    hints = typing.get_type_hints(function, include_extras=True)
    parameters = inspect.signature(function).parameters
    if unknown := sorted(set(given) - set(parameters)):
        raise Usage(
            f"pipeline {name} has no parameter {unknown[0][:60]}",
            remedy=f"it has: {', '.join(parameters) or 'none'}",
            code="pipeline.parameter",
        )
    made: dict[str, Any] = {}
    for parameter in parameters.values():
        where = f"parameter {parameter.name} of pipeline {name}"
        hint = _annotated(hints, parameter.name, where)
        if parameter.name not in given:
            if parameter.default is parameter.empty:
                raise Usage(
                    f"{where} has no value",
                    remedy=f"assay run … --set {parameter.name}=VALUE",
                    code="pipeline.parameter",
                )
            made[parameter.name] = parameter.default
        elif _is_path(_not_none(strip(hint))):
            made[parameter.name] = Path(str(given[parameter.name]))
        else:
            made[parameter.name] = _parsed(given[parameter.name], strip(hint), where)
    return made


def _parsed(value: Any, hint: Any, where: str) -> Any:
    """A parameter's value; text is read as JSON where the annotation is not text."""
    try:
        return msgspec.convert(value, hint, strict=False)
    except msgspec.ValidationError as error:
        if isinstance(value, str):
            try:
                return msgspec.convert(msgspec.json.decode(value), hint)
            except (msgspec.MsgspecError, ValueError):
                pass
        raise Usage(f"{where}: {error}", remedy=f"it is {spelt(hint)}", code="step.type") from error
