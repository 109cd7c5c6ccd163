"""The bytes of a pickle and the machine that its opcodes drive: stack, marks and memo."""

from __future__ import annotations

import codecs
import mmap
import re
from typing import Any, TypeAlias

from assay.supply.findings import Broken, Report
from assay.supply.stand_ins import OPAQUE

Buffer: TypeAlias = bytes | mmap.mmap

_FLOATS = re.compile(rb"(?:G.{8})+", re.DOTALL)
_RUNNERS = rb"(?:os|posix|nt|sys|subprocess|builtins|__builtin__|pty|socket|runpy|importlib)"
_CARRIED = (
    re.compile(rb"c" + _RUNNERS + rb"\n[A-Za-z_.]+\n"),
    re.compile(rb"\x8c[\x02-\x0b]" + _RUNNERS + rb"\x94?[\x8cX]"),
)
_CARRIED_LIMIT = 1 << 20
_LONGEST_NAME = 1024
NO_FRAME = 1 << 62


class Machine:
    """Reads arguments from `buffer`, never beyond `end`; holds the stack, the marks, the memo."""

    def __init__(
        self, buffer: Buffer, start: int, end: int, where: str, report: Report, base: int
    ) -> None:
        self.buffer = buffer
        self.start = start
        self.position = start
        self.end = end
        self.where = where
        self.report = report
        self.base = base
        self._frame_end = NO_FRAME
        self._opcode_at = start
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}

    # What the bytes say.

    def _broken(self, rule: str, what: str) -> Broken:
        return Broken(f"pickle.{rule}", self._opcode_at, what)

    def _take(self, count: int) -> int:
        """Step over `count` bytes; the position of the first."""
        first = self.position
        if count < 0 or count > self.end - first:
            raise self._broken("truncated", "an opcode's argument lies beyond the end")
        self.position = first + count
        return first

    def _number(self, width: int, *, signed: bool = False) -> int:
        first = self._take(width)
        return int.from_bytes(self.buffer[first : first + width], "little", signed=signed)

    def _line(self) -> bytes:
        newline = self.buffer.find(b"\n", self.position, self.end)
        if newline < 0:
            raise self._broken("truncated", "a line has no end")
        line = self.buffer[self.position : min(newline, self.position + (1 << 16))]
        self.position = newline + 1
        return line

    # What the opcodes do to the stack.

    def _push(self, value: Any) -> None:
        self._stack.append(value)

    def _pop(self) -> Any:
        floor = self._marks[-1] if self._marks else 0
        if len(self._stack) <= floor:
            raise self._broken("stack", "an opcode takes more than the stack holds")
        return self._stack.pop()

    def _top(self) -> Any:
        value = self._pop()
        self._stack.append(value)
        return value

    def _to_mark(self) -> list[Any]:
        if not self._marks:
            raise self._broken("stack", "an opcode takes a mark that was not set")
        first = self._marks.pop()
        items = self._stack[first:]
        del self._stack[first:]
        return items

    def _decode(self, data: bytes, encoding: str) -> str:
        try:
            return data.decode(encoding, "surrogatepass" if encoding == "utf-8" else "strict")
        except UnicodeDecodeError as error:
            raise self._broken("text", "a string is not valid text") from error

    # Opcodes: memo.

    def _put(self, index: int) -> None:
        # Picklers number from 0 (Python 2 from 1) without gaps; the C reader allocates by number.
        if not 0 <= index <= 2 * len(self._memo) + 1024:
            raise self._broken("memo", "a memo number is far beyond the last")
        self._memo[index] = self._top()

    def _get(self, index: int) -> None:
        if index not in self._memo:
            raise self._broken("memo", "a memo entry is read that was never written")
        self._push(self._memo[index])

    def _line_index(self) -> int:
        line = self._line()
        if not line.isdigit() or len(line) > 12:
            raise self._broken("memo", "a memo number is not a number")
        return int(line)

    def _find(self, rule: str, what: str) -> None:
        self.report.add(rule, "suspicious", self.where, self._opcode_at - self.base, what)

    # Opcodes: constants and data.

    def _opaque(self) -> None:
        self._push(OPAQUE)

    def _float(self) -> None:
        self._take(8)
        buffer, position = self.buffer, self.position
        if position < self.end and buffer[position] == 71:
            run = _FLOATS.match(buffer, position, min(self.end, self._frame_end))
            if run is not None:
                self._stack += [OPAQUE] * ((run.end() - position) // 9)
                self.position = run.end()
        self._push(OPAQUE)

    def _int(self, width: int, signed: bool) -> None:
        self._push(self._number(width, signed=signed))

    def _long(self, width: int) -> None:
        count = self._number(width, signed=width == 4)
        first = self._take(count)
        data = self.buffer[first : first + count] if count <= 16 else None
        self._push(OPAQUE if data is None else int.from_bytes(data, "little", signed=True))

    def _text_number(self) -> None:
        line = self._line()
        try:
            self._push(int(line.removesuffix(b"L")) if len(line) < 40 else OPAQUE)
        except ValueError:
            self._push(OPAQUE)

    def _text_float(self) -> None:
        self._line()
        self._push(OPAQUE)

    def _bytes(self, width: int) -> None:
        count = self._number(width)
        self._carried(self._take(count), count)
        self._push(OPAQUE)

    def _carried(self, first: int, count: int) -> None:
        """Notice an attack carried as data, for something else to unpickle."""
        if 16 <= count <= _CARRIED_LIMIT and any(
            pattern.search(self.buffer, first, first + count) for pattern in _CARRIED
        ):
            self._find("pickle.carried", "carries what looks like another, hostile pickle as data")

    def _string(self, width: int, encoding: str) -> None:
        count = self._number(width, signed=encoding == "latin-1" and width == 4)
        first = self._take(count)
        if count > _LONGEST_NAME:
            self._carried(first, count)
            self._push(OPAQUE)
            return
        self._push(self._decode(self.buffer[first : first + count], encoding))

    def _unicode(self) -> None:
        line = self._line()
        long = len(line) > 8 * _LONGEST_NAME
        self._push(OPAQUE if long else self._decode(line, "raw-unicode-escape"))

    def _quoted(self) -> None:
        line = self._line().rstrip(b" \t\r\n")
        if len(line) < 2 or line[:1] != line[-1:] or line[:1] not in (b"'", b'"'):
            raise self._broken("text", "a string is not quoted")
        try:
            self._push(codecs.escape_decode(line[1:-1])[0].decode("latin-1"))  # pyright: ignore[reportAttributeAccessIssue]
        except ValueError as error:
            raise self._broken("text", "a string's escapes are damaged") from error
