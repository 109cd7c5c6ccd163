"""FlatBuffers: CatBoost's models and TensorFlow Lite's, by their tables and vectors.

Both formats are numbers and names.  What is looked at is what could be more: the operators of
TensorFlow Lite that are native code from elsewhere, and bytes that belong to nothing.

Sources: https://flatbuffers.dev/internals/; ``tensorflow/lite/schema/schema.fbs``;
``catboost/libs/model/flatbuffers/model.fbs``.
"""

from __future__ import annotations

from assay.supply.findings import Broken
from assay.supply.readers.part import Part

_MOST = 1_000_000


class _Flat:
    """Bounded access to one FlatBuffer in ``buffer[start:end]``."""

    def __init__(self, part: Part, start: int, end: int, rule: str) -> None:
        self._buffer = part.buffer
        self._start = start
        self._end = end
        self._rule = rule

    def number(self, at: int, width: int = 4) -> int:
        if not self._start <= at <= self._end - width:
            raise Broken(self._rule, self._end, "a table points beyond the end")
        return int.from_bytes(self._buffer[at : at + width], "little")

    def root(self) -> int:
        return self._start + self.number(self._start)

    def field(self, table: int, index: int) -> int:
        """Where a table's field lies; 0 where it has none."""
        shift = self.number(table)
        entries = table - (shift - (1 << 32) if shift >> 31 else shift)
        if 4 + 2 * index + 2 > self.number(entries, 2):
            return 0
        offset = self.number(entries + 4 + 2 * index, 2)
        return table + offset if offset else 0

    def pointed(self, table: int, index: int) -> int:
        at = self.field(table, index)
        return at + self.number(at) if at else 0

    def vector(self, table: int, index: int, width: int = 4) -> tuple[int, int]:
        """Where a vector's elements begin, and their count."""
        at = self.pointed(table, index)
        if not at:
            return 0, 0
        count = self.number(at)
        if count * width > self._end - at - 4:
            raise Broken(self._rule, at, "a vector lies beyond the end")
        return at + 4, count

    def text(self, table: int, index: int) -> str:
        first, count = self.vector(table, index, 1)
        return self._buffer[first : first + min(count, 300)].decode("utf-8", "backslashreplace")

    def tables(self, table: int, index: int) -> list[int]:
        first, count = self.vector(table, index)
        if count > _MOST:
            raise Broken(self._rule, first, "a vector is too long")
        return [first + 4 * i + self.number(first + 4 * i) for i in range(count)]


def read_catboost(part: Part) -> str:
    """CatBoost's own format: a FlatBuffer of trees, then the parts that it names."""
    size = int.from_bytes(part.head(8)[4:], "little")
    last = part.start + 8 + size
    if last > part.end:
        raise Broken("catboost", part.start, "the trees lie beyond the end")
    flat = _Flat(part, part.start + 8, last, "catboost")
    root = flat.root()
    version = flat.text(root, 0)
    if not version.startswith("FlabuffersModel_v"):
        raise Broken("catboost", part.start, f"the format {version[:40]!r} is not known")
    for table in flat.tables(root, 2):
        flat.text(table, 0)
    parts = flat.vector(root, 3)[1]
    if last != part.end and not parts:
        raise Broken("catboost", last, "bytes behind the trees belong to nothing")
    if parts:
        part.find("catboost", "unscannable", "the model has parts of its own kind, not read", last)
    return "catboost"


def read_tflite(part: Part) -> str:
    """TensorFlow Lite: operators by number; those by name are native code from elsewhere."""
    flat = _Flat(part, part.start, part.end, "tflite")
    root = flat.root()
    if flat.field(root, 0) and flat.number(flat.field(root, 0)) != 3:
        raise Broken("tflite", part.start, "the version is not known")
    for code in flat.tables(root, 1):
        name = flat.text(code, 1)
        builtin = flat.field(code, 3)
        old = flat.field(code, 0)
        number = max(flat.number(builtin) if builtin else 0, flat.number(old, 1) if old else 0)
        if name or number == 32:
            part.find("tflite.operator", "suspicious", f"uses the operator {name!r} from elsewhere")
        elif number > 250:
            part.find("tflite.operator", "suspicious", f"uses the unknown operator {number}")
    for graph in flat.tables(root, 2):
        for tensor in flat.tables(graph, 0):
            flat.text(tensor, 3)
        flat.tables(graph, 3)
    for buffer in flat.tables(root, 4):
        flat.vector(buffer, 0, 1)
    return "tflite"
