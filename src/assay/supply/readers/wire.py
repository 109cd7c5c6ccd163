"""Protocol buffers, walked by a table of their messages: every byte belongs to a known field.

A table maps the name of a message to its fields; a field is its own name and what it holds:

    ``v`` a number (varint), ``4`` and ``8`` a number of that many bytes, ``b`` bytes that are
    stepped over, ``s`` text that is kept, ``n`` one number or several in a row (packed), or the
    name of a message.

Where a field occurs twice, libraries keep the last value or merge; here all of them are kept, so
that none can hide another.

Source: https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from assay.supply.findings import Broken
from assay.supply.machine import Buffer

Field: TypeAlias = tuple[str, str]
Tables: TypeAlias = dict[str, dict[int, Field]]
Values: TypeAlias = dict[str, list[Any]]
Visit: TypeAlias = Callable[[str, Values, int], Any]

MOST_FIELDS = 5_000_000
_DEEPEST = 64
_LONGEST_TEXT = 1 << 24
_WIRES = {"v": 0, "8": 1, "4": 5}


def fields(name: str, plain: str) -> dict[int, Field]:
    """A table's row from its text: ``1 name s, 2 node Node``; numbers are those of the schema."""
    row: dict[int, Field] = {}
    for item in plain.split(","):
        parts = item.split()
        if len(parts) != 3:
            raise ValueError(f"{name}: {item!r} is not a number, a name and a kind")
        row[int(parts[0])] = (parts[1], parts[2])
    return row


def varint(buffer: Buffer, position: int, end: int, rule: str) -> tuple[int, int]:
    """A number and the position behind it; raises `Broken`."""
    value = shift = 0
    while True:
        if position >= end or shift > 63:
            raise Broken(rule, position, "a number of the protocol buffer is cut short or too long")
        byte = buffer[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7


class Walker:
    """Walks messages of `buffer`; `visit` is called with each message's name, values and position.

    The value of a field that holds a message is what `visit` returned for it.
    """

    def __init__(self, buffer: Buffer, tables: Tables, rule: str, visit: Visit) -> None:
        self._buffer = buffer
        self._tables = tables
        self._rule = rule
        self._visit = visit
        self._count = 0

    def walk(self, start: int, end: int, message: str, depth: int = 0) -> Any:
        """Walk one message that fills ``buffer[start:end]``; raises `Broken`."""
        if depth > _DEEPEST:
            raise self._broken(start, "messages are nested too deep")
        buffer, rule = self._buffer, self._rule
        table = self._tables[message]
        values: Values = {}
        position = start
        while position < end:
            self._count += 1
            if self._count > MOST_FIELDS:
                raise self._broken(position, f"there are more than {MOST_FIELDS} fields")
            tag = buffer[position]
            if tag < 0x80:
                position += 1
            else:
                tag, position = varint(buffer, position, end, rule)
            field = table.get(tag >> 3)
            if field is None:
                raise self._broken(position, f"{message} has the unknown field {tag >> 3}")
            name, kind = field
            position = self._field(name, kind, tag & 7, position, end, values, message, depth)
        return self._visit(message, values, start)

    def _field(
        self,
        name: str,
        kind: str,
        wire: int,
        position: int,
        end: int,
        values: Values,
        message: str,
        depth: int,
    ) -> int:
        """Step over one field's value; the position behind it."""
        if wire == 2 and kind not in _WIRES:
            length, first = varint(self._buffer, position, end, self._rule)
            last = first + length
            if last > end:
                raise self._broken(position, f"{message}.{name} lies beyond the end")
            if kind == "s":
                values.setdefault(name, []).append(self._text(first, last))
            elif kind == "b":
                values.setdefault(name, []).append((first, last))
            elif kind != "n":
                values.setdefault(name, []).append(self.walk(first, last, kind, depth + 1))
            return last
        if wire == 0 and kind in "vn":
            value, position = varint(self._buffer, position, end, self._rule)
            if kind == "v":
                values.setdefault(name, []).append(value)
            return position
        width = {1: 8, 5: 4}.get(wire, 0)
        if not width or kind not in (str(width), "n"):
            raise self._broken(position, f"{message}.{name} is of the wrong kind")
        if position + width > end:
            raise self._broken(position, f"{message}.{name} lies beyond the end")
        return position + width

    def _text(self, first: int, last: int) -> str:
        if last - first > _LONGEST_TEXT:
            raise self._broken(first, "a text is too long")
        return self._buffer[first:last].decode("utf-8", "backslashreplace")

    def _broken(self, position: int, what: str) -> Broken:
        return Broken(self._rule, position, what)


def begins_as(buffer: Buffer, start: int, end: int, table: dict[int, Field], most: int) -> set[int]:
    """The fields of a message, stepped over but not entered; empty where it is not such a message.

    At most `most` fields are looked at, which is how a format is told from another.
    """
    seen: set[int] = set()
    position = start
    try:
        while position < end and most > 0:
            most -= 1
            tag, position = varint(buffer, position, end, "wire")
            wire, field = tag & 7, table.get(tag >> 3)
            if field is None or (wire == 2) == (field[1] in _WIRES):
                return set()
            value, after = (
                varint(buffer, position, end, "wire") if wire in (0, 2) else (0, position)
            )
            position = after + {0: 0, 1: 8, 2: value, 5: 4}.get(wire, 1 << 62)
            if position > end:
                return set()
            seen.add(tag >> 3)
    except Broken:
        return set()
    return seen
