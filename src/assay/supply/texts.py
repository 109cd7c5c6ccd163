"""Formats of text and plain numbers: JSON, skops' schema, LightGBM's text and UBJSON.

None of these runs code when it is read; skops builds what its schema names.
"""

from __future__ import annotations

import json
import re
from typing import Any

from assay.supply.allowed import ALLOWED, canonical, judge
from assay.supply.findings import Broken, Report, words

JSON_LIMIT = 256 << 20
_NODES = words(
    "JsonNode TypeNode DictNode DefaultDictNode ListNode SetNode TupleNode NdArrayNode "
    "MaskedArrayNode RandomStateNode RandomGeneratorNode DTypeNode SparseMatrixNode ObjectNode "
    "TreeNode LossNode FunctionNode SliceNode BytesNode BytearrayNode CachedNode"
)
"""What skops builds without calling a name with arguments of the file's choosing, the types aside
that `_CALLED` holds to their own."""
_CALLED = {
    "LossNode": re.compile(r"sklearn\._loss\._loss|sklearn\.linear_model\._sgd_fast"),
    "TreeNode": re.compile(r"sklearn\.(tree\._tree|neighbors\._(kd|ball)_tree)"),
    "ListNode": re.compile(r"builtins"),
    "SetNode": re.compile(r"builtins"),
    "TupleNode": re.compile(r"builtins|sklearn\..*"),
    "DictNode": re.compile(r"builtins|collections|sklearn\.utils\._bunch"),
}
"""The modules of what these call with the content of the file."""


def read_json(data: bytes, position: int = 0) -> Any:
    """Strict JSON; raises `Broken`.  A key given twice could be read two ways."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        plain = dict(pairs)
        if len(plain) != len(pairs):
            raise ValueError("a key occurs twice")
        return plain

    if len(data) > JSON_LIMIT:
        raise Broken("json.too_large", position, "the JSON text is too large to read")
    try:
        return json.loads(data, object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise Broken("json.damaged", position, "the text is not strict JSON") from error


def check_skops(schema: Any, where: str, report: Report) -> None:
    """The names and builders in the schema of a skops file."""
    waiting = [schema]
    while waiting:
        here = waiting.pop()
        if isinstance(here, list):
            waiting += here
        if not isinstance(here, dict):
            continue
        waiting += here.values()
        if "__loader__" not in here:
            continue
        loader, module, name = here["__loader__"], here.get("__module__"), here.get("__class__")
        if loader not in _NODES:
            report.add("skops.loader", "suspicious", where, 0, f"uses the builder {loader!r}")
        if not isinstance(module, str) or not isinstance(name, str):
            report.add("skops.name", "suspicious", where, 0, "names a type that is not text")
            continue
        pair = canonical(module, name)
        report.reached(module, name)
        letters = ALLOWED.get(pair)
        if letters is None:
            severity, why = judge(*pair)
            report.add("skops.global", severity, where, 0, why)
        elif (held := _CALLED.get(loader)) and not held.fullmatch(pair[0]):
            what = f"calls {module}.{name} by the builder {loader}"
            report.add("skops.loader", "suspicious", where, 0, what)
        elif loader == "ObjectNode" and letters and "n" not in letters:
            what = f"makes {module}.{name}, which libraries do not make so"
            report.add("skops.loader", "suspicious", where, 0, what)
        elif loader == "FunctionNode" and "v" not in letters:
            report.add("skops.function", "suspicious", where, 0, f"mentions {module}.{name}")


def check_lightgbm(data: bytes, position: int) -> None:
    """LightGBM's text form: lines of ``key=value`` to the last; raises `Broken`."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Broken("lightgbm.text", position, "the model is not UTF-8 text") from error
    if "end of trees" not in text:
        raise Broken("lightgbm.text", position, "the model has no end of trees")
    plain = re.compile(r"|tree|end of (trees|parameters)|(feature_importances|parameters):|\[.*\]")
    for line in text.split("\n"):
        if not re.match(r"[A-Za-z_][\w.\- ()/]*[=:]", line) and not plain.fullmatch(line):
            raise Broken("lightgbm.text", position, f"an unknown line: {line[:60]!r}")


_UBJ_WIDTHS = {"i": 1, "U": 1, "I": 2, "l": 4, "L": 8, "d": 4, "D": 8, "C": 1}


class Ubjson:
    """UBJSON (draft 12) crossed to its last byte; raises `Broken`."""

    def __init__(self, buffer: Any, position: int, end: int) -> None:
        self._buffer = buffer
        self._position = position
        self._end = end

    def cross(self) -> int:
        """Step over one value; the position behind it."""
        self._value(self._take(1).decode("latin-1"), 0)
        return self._position

    def _wrong(self) -> Broken:
        return Broken("ubjson", self._position, "the UBJSON is damaged")

    def _skip(self, count: int) -> int:
        if not 0 <= count <= self._end - self._position:
            raise self._wrong()
        self._position += count
        return self._position - count

    def _take(self, count: int) -> bytes:
        first = self._skip(count)
        return self._buffer[first : first + count]

    def _kind(self) -> str:
        return self._take(1).decode("latin-1")

    def _length(self) -> int:
        kind = self._kind()
        if kind not in "iUIlL":
            raise self._wrong()
        return int.from_bytes(self._take(_UBJ_WIDTHS[kind]), "big", signed=kind != "U")

    def _value(self, kind: str, depth: int) -> None:
        if depth > 64:
            raise self._wrong()
        if kind in "SH":
            self._skip(self._length())
        elif kind in _UBJ_WIDTHS:
            self._skip(_UBJ_WIDTHS[kind])
        elif kind in "[{":
            self._container(kind == "{", depth)
        elif kind not in "ZNTF":
            raise self._wrong()

    def _container(self, named: bool, depth: int) -> None:
        fixed, count = "", -1
        if self._peek() == "$":
            self._skip(1)
            fixed = self._kind()
            if self._peek() != "#":
                raise self._wrong()
        if self._peek() == "#":
            self._skip(1)
            count = self._length()
            if count < 0 or count > self._end:
                raise self._wrong()
        if fixed and not named and (fixed in _UBJ_WIDTHS or fixed in "ZNTF"):
            self._skip(count * _UBJ_WIDTHS.get(fixed, 0))
            return
        closing = "}" if named else "]"
        done = 0
        while done != count:
            if count < 0 and self._peek() == closing:
                self._skip(1)
                return
            if named:
                self._skip(self._length())
            self._value(fixed or self._kind(), depth + 1)
            done += 1

    def _peek(self) -> str:
        if self._position >= self._end:
            raise self._wrong()
        return chr(self._buffer[self._position])
