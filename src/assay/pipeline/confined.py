"""The inside of a step's process: read the inputs, call the function, write the outputs, and say
which modules were loaded and which files opened (see `assay.pipeline.watching`).
"""

from __future__ import annotations

import importlib
import random
import sys
import time
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

import msgspec

from assay.errors import AssayError, Usage
from assay.pipeline import codecs, signatures
from assay.pipeline.signatures import FILE, Given, Signature
from assay.pipeline.steps import Step
from assay.pipeline.tracing import where
from assay.pipeline.watching import Used, Watch

TARGET = "assay.pipeline.confined:call"


class Plain(msgspec.Struct, tag="value", tag_field="is"):
    """A JSON value."""

    value: Any


class Read(msgspec.Struct, tag="read", tag_field="is"):
    """The input files number `files`; one, or a list of them."""

    files: list[int]
    many: bool = False


class Mixed(msgspec.Struct, tag="mixed", tag_field="is"):
    """A list of values and files."""

    items: list[Plain | Read]


Argument: TypeAlias = Plain | Read | Mixed


class Call(msgspec.Struct):
    """One call of a step."""

    target: str
    arguments: dict[str, Argument]
    seed: int


class Where(msgspec.Struct):
    """A call, and where its files lie on this machine."""

    call: bytes
    inputs: list[str]
    outputs: str
    roots: list[str]
    """The folders of first-party code."""


class Raised(msgspec.Struct):
    """What the step raised, as a person needs to see it."""

    kind: str
    message: str
    code: str = ""
    remedy: str = ""
    place: str = ""
    """File and line."""


class Answer(msgspec.Struct):
    """What a call came to."""

    outputs: list[list[str]]
    """Names of files in the output folder: for each output one, or those of a list."""
    raised: Raised | None
    used: Used
    seconds: float


def call(payload: bytes) -> bytes:
    """Run the call that `payload` (a `Where`) holds; the encoded `Answer`."""
    given = msgspec.msgpack.decode(payload, type=Where)
    wanted = msgspec.msgpack.decode(given.call, type=Call)
    watch = Watch()
    raised: Raised | None = None
    outputs: list[list[str]] = []
    begun = time.perf_counter()
    try:
        Path(given.outputs).mkdir()
        outputs = _run(wanted, [Path(p) for p in given.inputs], Path(given.outputs))
    except AssayError as error:
        raised = Raised(
            error.kind, _text(error.message), error.code, _text(error.remedy), _text(where(error))
        )
    except MemoryError:
        raise
    except BaseException as error:  # A step's own code: SystemExit and worse included.
        raised = Raised(type(error).__name__, _said(error), place=_text(where(error)))
    _flush()
    seconds = time.perf_counter() - begun
    used = watch.used([Path(root) for root in given.roots])
    return msgspec.msgpack.encode(Answer(outputs, raised, used, seconds))


def _said(error: BaseException) -> str:
    try:
        return _text(str(error))
    except Exception:  # The error's class is a step's own code, too.
        return ""


def _text(text: str) -> str:
    """As it can travel: names of files may hold what is no text."""
    return text[:2000].encode("utf-8", "backslashreplace").decode()


def _run(wanted: Call, inputs: Sequence[Path], folder: Path) -> list[list[str]]:
    module, _, name = wanted.target.partition(":")
    found = getattr(importlib.import_module(module), name, None)
    if not isinstance(found, Step):
        raise Usage(
            f"{wanted.target} is no step any more",
            remedy="run the pipeline again",
            code="step.target",
        )
    step: Step[..., Any] = found
    signature = signatures.of(step.function, step.name)
    arguments = {
        parameter: _argument(signature, parameter, argument, inputs)
        for parameter, argument in wanted.arguments.items()
    }
    _seed(wanted.seed)
    if signature.seed and "seed" not in arguments:
        arguments["seed"] = wanted.seed
    value = step.function(**arguments)
    return _give(signature, value, folder)


def _argument(signature: Signature, name: str, given: Argument, inputs: Sequence[Path]) -> Any:
    hint, codec = signature.hints[name], signature.codecs[name]
    if isinstance(given, Plain):
        return _plain(given.value, hint, codec)
    if isinstance(given, Mixed) and name in signature.parts:
        pairs = zip(given.items, signature.parts[name], strict=True)
        return signatures.built(hint, [_item(item, of, inputs, name) for item, of in pairs])
    if isinstance(given, Mixed) or given.many:
        # A list of plain values is one value to a codec, and here each has a file of its own.
        hint, codec = signature.items[name]
    if isinstance(given, Mixed):
        return [_item(item, (hint, codec), inputs, name) for item in given.items]
    read = [_read(inputs[number], hint, codec, name) for number in given.files]
    return read if given.many else read[0]


def _item(item: Plain | Read, of: tuple[Any, str], inputs: Sequence[Path], name: str) -> Any:
    hint, codec = of
    if isinstance(item, Plain):
        return _plain(item.value, hint, codec)
    return _read(inputs[item.files[0]], hint, codec, name)


def _plain(value: Any, hint: Any, codec: str) -> Any:
    if codec == FILE or value is None:
        return value
    return msgspec.convert(value, signatures.strip(hint), str_keys=True)


def _read(path: Path, hint: Any, codec: str, name: str) -> Any:
    if codec == FILE:
        return path
    value = codecs.by_name(codec).decode(path, signatures.bare(hint))
    signatures.check_schema(value, hint, f"parameter {name}")
    return value


def _seed(seed: int) -> None:
    """What libraries draw from when they are not told otherwise."""
    random.seed(seed)
    for name, function in (("numpy.random", "seed"), ("polars", "set_random_seed")):
        module = sys.modules.get(name)
        if module is not None:
            getattr(module, function)(seed % (1 << 32))
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.manual_seed(seed)


def _give(signature: Signature, value: Any, folder: Path) -> list[list[str]]:
    gives = signature.gives
    values: Sequence[Any]
    if signature.build is None:
        values = [value]
    else:
        if not isinstance(value, tuple) or len(value) != len(gives):
            got = f"{len(value)} values" if isinstance(value, tuple) else type(value).__name__
            raise Usage(
                f"step {signature.step} is annotated to return {len(gives)} results, and returned "
                f"{got}",
                remedy="return a tuple of exactly these",
                code="step.type",
            )
        values = value
    return [
        _write(given, part, folder, number, signature.step)
        for number, (given, part) in enumerate(zip(gives, values, strict=True))
    ]


def _write(given: Given, value: Any, folder: Path, number: int, step: str) -> list[str]:
    codec = codecs.by_name(given.output.codec)
    bare = signatures.bare(given.hint)
    items: list[Any] = [value]
    if given.output.many:
        if not isinstance(value, list):
            raise Usage(
                f"step {step} is annotated to return a list of {signatures.spelt(bare)}, and "
                f"returned {type(value).__name__}",
                remedy="return a list",
                code="step.type",
            )
        items = typing.cast("list[Any]", value)
    names: list[str] = []
    for index, item in enumerate(items):
        signatures.check_schema(item, given.hint, f"the result of step {step}")
        name = f"{number}-{index}{codec.suffix}"
        codec.encode(item, bare, folder / name)
        names.append(name)
    return names


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):
            continue


def ready(_: bytes) -> bytes:
    """Nothing: what a process costs that only starts, with all of this imported."""
    return b""
