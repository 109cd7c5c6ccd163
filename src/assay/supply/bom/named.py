"""What a model file says of itself: the library that wrote it, and what it holds.

The file may have been made by anybody, so all of this is a claim of the file.  It is read with
bounds and nothing in it is executed or imported; callers run it in a confined process, because
readers have flaws too.  What is not understood is left out, never guessed.
"""

from __future__ import annotations

import json
import mmap
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import msgspec

_DISTRIBUTIONS = {
    "sklearn": "scikit-learn",
    "xgboost": "xgboost",
    "lightgbm": "lightgbm",
    "catboost": "catboost",
    "torch": "torch",
    "keras": "keras",
    "numpy": "numpy",
    "scipy": "scipy",
    "pandas": "pandas",
    "joblib": "joblib",
    "skops": "skops",
}
"""Import name → distribution, of libraries that models are written by."""
_MOST_JSON = 64 << 20
_MOST_NODES = 200_000
_LONGEST = 120
_VERSION = re.compile(r"[0-9]+(\.[0-9A-Za-z]+){0,5}([+-][0-9A-Za-z.]+)?")
_PICKLED = re.compile(
    rb"_sklearn_version[\x94]?(?:q.|r....)?(?:\x8c.|X.\0\0\0)"
    rb"([0-9]+(?:\.[0-9]+){1,3}(?:\.?(?:rc|post|dev|a|b)[0-9]+)?)",
    re.DOTALL,
)
"""The name, and as the next opcode the text of its value."""


class Named(msgspec.Struct, frozen=True):
    """What the file names; empty where it does not."""

    libraries: dict[str, str] = {}
    """Distribution → version, or nothing."""
    architecture: str = ""
    """``sklearn.ensemble.RandomForestClassifier``"""
    writer: str = ""
    """What wrote the file, as it says: ``skl2onnx 1.20.0``."""


def named(path: Path, model_format: str) -> Named:
    """What the model file says of itself; never raises for its content."""
    readers = {
        "skops": _skops,
        "onnx": _onnx,
        "xgboost-json": _xgboost,
        "lightgbm-text": lambda _: Named({"lightgbm": ""}),
        "xgboost-ubj": lambda _: Named({"xgboost": ""}),
    }
    reader = readers.get(model_format, _pickled if model_format in _PICKLES else None)
    if reader is None:
        return Named()
    try:
        return reader(path)
    except Exception:  # Whatever is wrong with it, the file then names nothing.
        return Named()


_PICKLES = frozenset({"sklearn-pickle", "sklearn-joblib"})


def named_confined(payload: bytes) -> bytes:
    """`named` for ``FORMAT\\0PATH`` in UTF-8, its answer in JSON: the form that
    `assay.isolation.run` calls."""
    model_format, _, path = payload.decode().partition("\0")
    return msgspec.json.encode(named(Path(path), model_format))


def decode(data: bytes) -> Named:
    """The answer of `named_confined`, which is not believed to be well formed."""
    try:
        found = msgspec.json.decode(data, type=Named)
    except (msgspec.DecodeError, RecursionError):
        return Named()
    return Named(
        {
            name: version if _VERSION.fullmatch(version) else ""
            for name, version in found.libraries.items()
            if name in _DISTRIBUTIONS.values()
        },
        found.architecture if _is_dotted(found.architecture) else "",
        "".join(c for c in found.writer if c.isprintable())[:_LONGEST],
    )


def of_globals(names: list[str]) -> dict[str, str]:
    """The distributions behind the names that a pickle reaches, without versions."""
    tops = {name.partition(".")[0] for name in names}
    return {_DISTRIBUTIONS[top]: "" for top in sorted(tops) if top in _DISTRIBUTIONS}


def _skops(path: Path) -> Named:
    with zipfile.ZipFile(path) as archive, archive.open("schema.json") as member:
        data = member.read(_MOST_JSON + 1)
    if len(data) > _MOST_JSON:
        return Named()
    loaded: Any = json.loads(data)
    if not isinstance(loaded, dict):
        return Named()
    schema = cast("dict[str, Any]", loaded)
    found: dict[str, str] = {}
    for node in _nodes(schema):
        top = str(node.get("__module__", "")).partition(".")[0]
        if top in _DISTRIBUTIONS:
            found.setdefault(_DISTRIBUTIONS[top], "")
        inner = node.get("content")
        said = (
            cast("dict[str, Any]", inner).get("_sklearn_version")
            if isinstance(inner, dict)
            else None
        )
        if isinstance(said, dict):
            text = str(cast("dict[str, Any]", said).get("content", "")).strip('"')
            found["scikit-learn"] = text
    writer = f"skops {schema.get('_skops_version', '')}".strip()
    where = f"{schema.get('__module__', '')}.{schema.get('__class__', '')}"
    return Named(found, where, writer)


def _nodes(value: Any) -> Iterator[dict[str, Any]]:
    waiting: list[Any] = [value]
    for _ in range(_MOST_NODES):
        if not waiting:
            return
        item = waiting.pop()
        if isinstance(item, dict):
            node = cast("dict[str, Any]", item)
            yield node
            waiting += node.values()
        elif isinstance(item, list):
            waiting += cast("list[Any]", item)


def _onnx(path: Path) -> Named:
    """The producer's name and version: fields 2 and 3 of ModelProto."""
    told = {2: "", 3: ""}
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
        at = 0
        while at < len(data):
            key, at = _varint(data, at)
            number, kind = key >> 3, key & 7
            if kind == 0:
                _, at = _varint(data, at)
            elif kind == 2:
                size, at = _varint(data, at)
                if number in told and size <= _LONGEST:
                    told[number] = data[at : at + size].decode("utf-8")
                at += size
            else:
                at += {1: 8, 5: 4}[kind]
    return Named({}, "", f"{told[2]} {told[3]}".strip())


def _varint(data: mmap.mmap, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 64, 7):
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if not byte & 0x80:
            return value, at
    raise ValueError("a number without an end")


def _xgboost(path: Path) -> Named:
    if path.stat().st_size > _MOST_JSON:
        return Named({"xgboost": ""})
    data = path.read_bytes()
    if not data.lstrip().startswith(b'{"'):
        return Named({"xgboost": ""})
    said = json.loads(data).get("version")
    version = ".".join(str(int(part)) for part in said) if isinstance(said, list) else ""  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    return Named({"xgboost": version}, "", f"xgboost {version}".strip())


def _pickled(path: Path) -> Named:
    """The version that scikit-learn writes into each estimator's state."""
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
        found = _PICKLED.search(data)
        return Named({"scikit-learn": found[1].decode()}) if found else Named()


def _is_dotted(text: str) -> bool:
    return (
        len(text) <= _LONGEST and re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", text) is not None
    )
