"""The bytes of a pickle and the machine that its opcodes drive: stack, marks and memo.

One rule runs through it: `Broken` is raised only where every reader would stop as well.  Where
readers differ, or go on although no pickler writes such a thing, there is a finding and the walk
goes on, because what follows may be what the file is for.
"""

from __future__ import annotations

import codecs
import mmap
import re
from typing import Any, TypeAlias

from assay.supply.findings import MOST_WORK, Broken, Report, Severity
from assay.supply.stand_ins import BIG, CAREFUL, DATA, OPAQUE, SIMPLE, Dict, List

Buffer: TypeAlias = bytes | mmap.mmap

_FLOATS = re.compile(rb"(?:G.{8})+", re.DOTALL)
_INTEGERS = re.compile(rb"(?:J.{4})+", re.DOTALL)
_RUN = 64
"""Numbers in a row that are crossed at once, unfollowed: no shape or size is among so many."""
_RUNNERS = (
    rb"(?:os|posix|nt|sys|subprocess|builtins|__builtin__|pty|socket|runpy|importlib|shutil|"
    rb"operator|_operator|functools|pkgutil|ctypes|commands|code|timeit|webbrowser|pip)"
)
_CARRIED = (
    re.compile(rb"c" + _RUNNERS + rb"\n[A-Za-z_.]+\n"),
    re.compile(rb"\x8c[\x02-\x0b]" + _RUNNERS + rb"\x94?[\x8cX]"),
)
_CARRIED_LIMIT = 1 << 20
_LONGEST_NAME = 1024
_LONGEST_LINE = 8 * _LONGEST_NAME
_WINDOW = 1 << 16
"""Bytes that are followed between two looks at the bounds."""
_MOST_STACK = 2_000_000
_MOST_MEMO = 4_000_000
_MOST_ENTRIES = 8_000_000
"""Entries of one list or dict."""
NO_FRAME = 1 << 62

_WHOLE = re.compile(rb"-?(?:0|[1-9][0-9]*)")
_FRACTION = re.compile(rb"-?(?:[0-9]+\.?[0-9]*(?:e[-+]?[0-9]+)?|inf|nan)")


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

    def _grown(self, target: List | Dict) -> None:
        if target.count > _MOST_ENTRIES:
            raise self._broken("work", "a list or dict has more entries than a scan follows")

    def _find(self, rule: str, what: str, severity: Severity = "suspicious") -> None:
        self.report.add(rule, severity, self.where, self._opcode_at - self.base, what)

    def _odd(self, rule: str, what: str) -> None:
        """Readers take this differently, or no pickler writes it."""
        self._find(f"pickle.{rule}", what, "unscannable")

    def _spend(self, work: int) -> None:
        """Bounds on time and memory; raises `Broken`."""
        self.report.work += work
        if self.report.work > MOST_WORK:
            raise self._broken(
                "work", "the pickles of the file have more opcodes than a scan reads"
            )
        held = max(len(self._stack), len(self._marks))
        if held > _MOST_STACK or len(self._memo) > _MOST_MEMO:
            raise self._broken("work", "the pickle holds more values than a scan follows")

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

    def _line_span(self) -> tuple[int, int]:
        """Where a line lies, without its end."""
        first = self.position
        newline = self.buffer.find(b"\n", first, self.end)
        if newline < 0:
            # Python's reader takes the last byte for the end of the line, and acts on the line.
            self._odd("truncated", "a line has no end")
            self.position = self.end
            return first, max(first, self.end - 1)
        self.position = newline + 1
        self.report.work += (newline - first) >> 6
        return first, newline

    def _line(self) -> bytes:
        """A line; the beginning of one that is longer than any number or name."""
        first, last = self._line_span()
        return self.buffer[first : min(last, first + _LONGEST_LINE)]

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

    # The quick way.

    def _leaves(self, limit: int) -> None:
        """Follow the opcodes that push and gather plain values, up to any other.

        Nothing here reports: what is not entirely plain is left to its handler.
        """
        buffer, stack, memo, marks = self.buffer, self._stack, self._memo, self._marks
        position = first = self.position
        crossed = 0
        push = stack.append
        fence = marks[-1] if marks else 0
        last = min(limit, position + _WINDOW) - 9  # No argument of fixed width crosses the limit.
        while position < last:
            code = buffer[position]
            if code == 0x94:  # MEMOIZE
                if len(stack) <= fence:
                    break
                memo[len(memo)] = stack[-1]
                position += 1
            elif code == 0x8C:  # SHORT_BINUNICODE
                after = position + 2 + buffer[position + 1]
                if after > last:
                    break
                try:
                    push(buffer[position + 2 : after].decode())
                except UnicodeDecodeError:
                    break
                position = after
            elif code == 0x4B:  # BININT1
                push(buffer[position + 1])
                position += 2
            elif code == 0x68:  # BINGET
                index = buffer[position + 1]
                if index not in memo:
                    break
                push(memo[index])
                position += 2
            elif code == 0x4A:  # BININT
                if position + 5 * _RUN < last and buffer[position + 5 * (_RUN - 1)] == 0x4A:
                    run = _INTEGERS.match(buffer, position, last)
                    count = (run.end() - position) // 5 if run else 0
                    if count >= _RUN:
                        stack += [OPAQUE] * count
                        position += 5 * count
                        crossed += 5 * count
                        continue
                data = buffer[position + 1 : position + 5]
                push(int.from_bytes(data, "little", signed=True))
                position += 5
            elif code == 0x4D:  # BININT2
                push(buffer[position + 1] | buffer[position + 2] << 8)
                position += 3
            elif code == 0x47:  # BINFLOAT
                if position + 18 < last and buffer[position + 9] == 0x47:
                    run = _FLOATS.match(buffer, position, last)
                    count = (run.end() - position) // 9 if run else 1
                    stack += [OPAQUE] * count
                    position += 9 * count
                    crossed += 8 * count
                    continue
                push(OPAQUE)
                position += 9
            elif code == 0x71:  # BINPUT
                index = buffer[position + 1]
                if len(stack) <= fence:
                    break
                memo[index] = stack[-1]
                position += 2
            elif code == 0x58:  # BINUNICODE
                after = position + 5 + buffer[position + 1]
                if after > last or buffer[position + 2 : position + 5] != b"\0\0\0":
                    break
                try:
                    push(buffer[position + 5 : after].decode())
                except UnicodeDecodeError:
                    break
                position = after
            elif code == 0x28:  # MARK
                fence = len(stack)
                marks.append(fence)
                position += 1
            elif code == 0x86:  # TUPLE2
                if len(stack) < fence + 2:
                    break
                pair = (stack[-2], stack[-1])
                if pair[0].__class__ not in SIMPLE or pair[1].__class__ not in SIMPLE:
                    break
                stack[-2:] = [pair]
                position += 1
            elif code == 0x75 or code == 0x65:  # SETITEMS, APPENDS
                below = marks[-2] if len(marks) > 1 else 0
                if not marks or fence <= below:
                    break
                target, items = stack[fence - 1], stack[fence:]
                if not CAREFUL.isdisjoint(map(type, items)):
                    break
                if target.__class__ is List and code == 0x65:
                    target.count += len(items)
                elif (
                    target.__class__ is not Dict or code == 0x65 or len(items) & 1 or target.sealed
                ):
                    break
                else:
                    target.put(items)
                del stack[fence:]
                marks.pop()
                fence = below
                position += 1
                self._grown(target)
            elif code == 0x7D:  # EMPTY_DICT
                push(Dict())
                position += 1
            elif code == 0x5D:  # EMPTY_LIST
                push(List())
                position += 1
            elif code == 0x6A:  # LONG_BINGET
                index = int.from_bytes(buffer[position + 1 : position + 5], "little")
                if index not in memo:
                    break
                push(memo[index])
                position += 5
            elif code == 0x72:  # LONG_BINPUT
                index = int.from_bytes(buffer[position + 1 : position + 5], "little")
                if len(stack) <= fence or index > len(memo) + 1:
                    break
                memo[index] = stack[-1]
                position += 5
            elif code == 0x4E:
                push(None)
                position += 1
            elif code == 0x88:
                push(True)
                position += 1
            elif code == 0x89:
                push(False)
                position += 1
            else:
                break
        self.position = position
        self.report.work += (position - first - crossed) >> 2

    # Opcodes: memo.

    def _put(self, index: int) -> None:
        value = self._top()
        # Picklers number from 0 (Python 2 from 1) without gaps; the C reader allocates by number.
        if index > 2 * len(self._memo) + 1024:
            self._odd("memo", "a memo number is far beyond the last")
        self._memo[index] = value

    def _get(self, index: int) -> None:
        if index not in self._memo:
            raise self._broken("memo", "a memo entry is read that was never written")
        self._push(self._memo[index])

    def _memoize(self) -> None:
        self._put(len(self._memo))

    def _line_index(self) -> int:
        line = self._line()
        if not line.isdigit() or len(line) > 12:
            self._odd("memo", "a memo number is not written as picklers write it")
        try:
            index = int(line.partition(b"\0")[0])
        except ValueError:
            index = -1
        if index < 0:
            raise self._broken("memo", "a memo number is not a number")
        return index

    # Opcodes: constants and data.

    def _constant(self, value: Any) -> None:
        self._push(value)

    def _float(self) -> None:
        self._take(8)
        self._push(OPAQUE)

    def _int(self, width: int, signed: bool) -> None:
        self._push(self._number(width, signed=signed))

    def _long(self, width: int) -> None:
        count = self._number(width, signed=width == 4)
        first = self._take(count)
        data = self.buffer[first : first + count] if count <= 16 else None
        self._push(BIG if data is None else int.from_bytes(data, "little", signed=True))

    def _text_int(self) -> None:
        line = self._line()
        if line in (b"00", b"01"):
            self._push(line == b"01")
        else:
            self._text_whole(line)

    def _text_long(self) -> None:
        self._text_whole(self._line().removesuffix(b"L"))

    def _text_whole(self, line: bytes) -> None:
        # C reads "010" as eight and "0x10", "1_0" and "5\0..." at all; Python differs.
        plain = _WHOLE.fullmatch(line) is not None
        if not plain:
            self._odd("number", "a number is not written as picklers write it")
        self._push(int(line) if plain and len(line) < 40 else BIG)

    def _text_float(self) -> None:
        if _FRACTION.fullmatch(self._line()) is None:
            self._odd("number", "a number is not written as picklers write it")
        self._push(OPAQUE)

    def _bytes(self, width: int) -> None:
        count = self._number(width)
        self._carried(self._take(count), count)
        self._push(DATA)

    def _carried(self, first: int, count: int) -> None:
        """Notice an attack carried as data, for something else to unpickle."""
        if 16 <= count <= _CARRIED_LIMIT:
            self.report.work += count >> 6
            if any(p.search(self.buffer, first, first + count) for p in _CARRIED):
                what = "carries what looks like another, hostile pickle as data"
                self._find("pickle.carried", what)

    def _string(self, width: int, encoding: str) -> None:
        count = self._number(width, signed=encoding == "latin-1" and width == 4)
        first = self._take(count)
        if count > _LONGEST_NAME:
            self._carried(first, count)
            self._push(OPAQUE)
            return
        self._push(self._decode(self.buffer[first : first + count], encoding))

    def _unicode(self) -> None:
        first, last = self._line_span()
        if last - first > _LONGEST_LINE:
            self._push(OPAQUE)
        else:
            self._push(self._decode(self.buffer[first:last], "raw-unicode-escape"))

    def _quoted(self) -> None:
        first, last = self._line_span()
        quotes = self.buffer[first : first + 1] + self.buffer[last - 1 : last]
        if last - first < 2 or quotes not in (b"''", b'""'):
            raise self._broken("text", "a string is not quoted")
        if last - first > _LONGEST_LINE:
            self._push(OPAQUE)
            return
        inside = self.buffer[first + 1 : last - 1]
        try:
            self._push(codecs.escape_decode(inside)[0].decode("latin-1"))  # pyright: ignore[reportAttributeAccessIssue]
        except ValueError as error:
            raise self._broken("text", "a string's escapes are damaged") from error
