"""The inside of a step's process: read the inputs, call the function, write the outputs, and say
which modules were loaded and which files opened.

What it says is for keeping honest code honest: a step can lie about what it read, and so poison
only what is stored under its own key.  What it could read at all, the kernel bounds.
"""

from __future__ import annotations

import importlib
import os
import random
import sys
import sysconfig
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
    code: list[str]
    """First-party files that were loaded or opened, ``ROOT/relative/path``."""
    libraries: list[str]
    """Entries of the library folders that were loaded or opened from: ``numpy``, ``six.py``."""
    missing: list[str]
    """Top-level modules that were looked for in vain."""
    seconds: float


def call(payload: bytes) -> bytes:
    """Run the call that `payload` (a `Where`) holds; the encoded `Answer`."""
    given = msgspec.msgpack.decode(payload, type=Where)
    wanted = msgspec.msgpack.decode(given.call, type=Call)
    watch = _Watch()
    raised: Raised | None = None
    outputs: list[list[str]] = []
    begun = time.perf_counter()
    try:
        Path(given.outputs).mkdir()
        outputs = _run(wanted, [Path(p) for p in given.inputs], Path(given.outputs))
    except AssayError as error:
        raised = Raised(error.kind, error.message, error.code, error.remedy, where(error))
    except MemoryError:
        raise
    except BaseException as error:  # A step's own code: SystemExit and worse included.
        raised = Raised(type(error).__name__, str(error)[:2000], place=where(error))
    _flush()
    seconds = time.perf_counter() - begun
    code, libraries = watch.found([Path(root) for root in given.roots])
    answer = Answer(outputs, raised, code, libraries, sorted(watch.missing()), seconds)
    return msgspec.msgpack.encode(answer)


class _Watch:
    """Notes what is imported and opened from now on (PEP 578)."""

    def __init__(self) -> None:
        self._opened: set[str] = set()
        self._imported: set[str] = set()
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: Sequence[Any]) -> None:
        if event == "open" and isinstance(arguments[0], (str, bytes)):
            self._opened.add(os.path.abspath(os.fsdecode(arguments[0])))  # noqa: PTH100
        elif event in ("os.listdir", "os.scandir") and isinstance(arguments[0], (str, bytes)):
            # Which modules there are is known by listing, too; the importer lists all the time.
            if "importlib" not in sys._getframe(1).f_code.co_filename:
                listed = os.path.abspath(os.fsdecode(arguments[0]))  # noqa: PTH100
                self._opened.add(f"{listed}/")
        elif event == "import":
            self._imported.add(str(arguments[0]).partition(".")[0])

    def missing(self) -> set[str]:
        """Modules that are not there.  If one were, the step might do something else."""
        return {name for name in self._imported if name not in sys.modules}

    def found(self, roots: Sequence[Path]) -> tuple[list[str], list[str]]:
        """What was used of first-party code, and of the library folders."""
        used = set(self._opened)
        for module in list(sys.modules.values()):
            place = getattr(module, "__file__", None)
            if isinstance(place, str):
                used.add(place)
        standard = sysconfig.get_path("stdlib")
        folders = [p for p in sys.path if p not in map(str, roots) and not p.startswith(standard)]
        # Site-packages lies inside of the standard library's folder.
        folders += [p for p in sys.path if p.endswith(("site-packages", "dist-packages"))]
        code: set[str] = set()
        libraries: set[str] = set()
        for path in used:
            for root in roots:
                if f"{path}/".startswith(f"{root}/"):
                    code.add(f"{root.name}{path[len(str(root)) :]}")
            for folder in folders:
                if path.startswith(f"{folder}/"):
                    libraries.add(path[len(folder) + 1 :].partition("/")[0])
        libraries.discard("")  # The folder itself was listed.
        return sorted(code), sorted(libraries)


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
    if isinstance(given, Mixed) or given.many:
        # A list of plain values is one value to a codec, and here each has a file of its own.
        hint = signatures.item_of(hint)
    if isinstance(given, Mixed):
        return [
            _plain(item.value, hint, codec)
            if isinstance(item, Plain)
            else _read(inputs[item.files[0]], hint, codec, name)
            for item in given.items
        ]
    read = [_read(inputs[number], hint, codec, name) for number in given.files]
    return read if given.many else read[0]


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
