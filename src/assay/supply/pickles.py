"""A strict walk over the opcodes of a pickle, which follows what each would build and runs nothing.

The walk keeps the unpickler's stack and memo, holding stand-ins for the objects.  So it knows which
name each import reaches however it was put together, and *how* each name is used: constructed,
called with what, or only mentioned.  It is stricter than the three readers in use (C, Python,
joblib) wherever they differ, because a place where readers differ is where a payload hides.

Source: ``Lib/pickle.py`` and ``Modules/_pickle.c``, CPython 3.11 to 3.14, and joblib 1.6.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from typing import Any, ClassVar

from assay.supply import allowed, calls
from assay.supply.arrays import raw_array
from assay.supply.containers import Containers
from assay.supply.findings import Broken, Report
from assay.supply.machine import NO_FRAME, Buffer, Machine
from assay.supply.opcodes import STEPS
from assay.supply.stand_ins import OPAQUE, Dict, Global, Instance, Torch

_MOST_NESTED = 8
_IDENTIFIER = re.compile(r"[A-Za-z_][\w.]{0,200} [A-Za-z_][\w.]{0,200}", re.ASCII)

Step = tuple[Callable[..., None], tuple[Any, ...]]


def _bound(kind: type[Machine]) -> list[Step | None]:
    return [
        (getattr(kind, STEPS[code][0]), STEPS[code][1:]) if code in STEPS else None
        for code in range(256)
    ]


class Walk(Containers):
    """One pickle in `buffer`, from `start`; nothing at or beyond `end` is read.

    `base` is where the stream begins, from which joblib counts its alignment.  `joblib` crosses the
    raw arrays between the opcodes; `torch` collects the storages that persistent ids name.
    """

    _steps: ClassVar[list[Step | None]] = []
    _quick: ClassVar[bool] = True

    def __init__(
        self,
        buffer: Buffer,
        start: int,
        end: int,
        where: str,
        report: Report,
        *,
        base: int | None = None,
        joblib: bool = True,
        torch: Torch | None = None,
        depth: int = 0,
    ) -> None:
        super().__init__(buffer, start, end, where, report, start if base is None else base)
        self.joblib = joblib
        self.torch = torch
        self.depth = depth
        self.result: Any = OPAQUE
        self.arrays = 0
        self.unpadded = False
        self._stopped = False

    def __init_subclass__(cls) -> None:
        cls._steps = _bound(cls)

    def walk(self) -> int:
        """Walk to STOP; the position behind it.  Raises `Broken` where an unpickler would too."""
        try:
            self._follow()
        except Broken:
            if self.position > self._frame_end:
                self._misframed("an opcode lies across the end of a frame")
            raise
        if self._frame_end not in (NO_FRAME, self.position):
            self._misframed("the pickle stops before its frame ends")
        return self.position

    def _follow(self) -> None:
        buffer, end, steps, report = self.buffer, self.end, self._steps, self.report
        self._spend(32)
        while not self._stopped:
            if self.position >= self._frame_end:
                if self.position > self._frame_end:
                    self._misframed("an opcode lies across the end of a frame")
                self._frame_end = NO_FRAME
            if self._quick:
                self._leaves(min(self._frame_end, end))
                if self.position >= self._frame_end:
                    continue
            position = self.position
            if position >= end:
                raise self._broken("truncated", "the pickle ends without STOP")
            self._opcode_at = position
            self.position = position + 1
            step = steps[buffer[position]]
            if step is None:
                raise self._broken("opcode", f"0x{buffer[position]:02x} is no opcode")
            step[0](self, *step[1])
            report.work += 1
            if not report.work & 31:
                self._spend(0)

    def _misframed(self, what: str) -> None:
        # Not the end of the walk: before 3.13.15 the C reader took frames otherwise than Python's.
        self._odd("frame", what)

    # Opcodes: names and calls.

    def _import(self, module: Any, name: Any) -> None:
        if not isinstance(module, str) or not isinstance(name, str):
            self._find("pickle.name", "imports a name that is not plain text")
            self._push(Global("?", "?", None))
            return
        self.report.reached(module, name)
        self.report.work += 16
        module, name = allowed.canonical(module, name)
        uses = allowed.uses(module, name)
        if uses is None:
            severity, why = allowed.judge(module, name)
            position = self._opcode_at - self.base
            self.report.add("pickle.global", severity, self.where, position, why)
        self._push(Global(module, name, uses))

    def _name_line(self) -> Any:
        first, last = self._line_span()
        if last - first > 1024:
            return OPAQUE
        return self._decode(self.buffer[first:last], "utf-8")

    def _global(self) -> None:
        module = self._name_line()
        self._import(module, self._name_line())

    def _stack_global(self) -> None:
        name, module = self._pop(), self._pop()
        self._import(module, name)

    def _inst(self) -> None:
        self._global()
        target = self._pop()
        self._keep(self._to_mark())
        self._find("pickle.inst", f"constructs {target} by INST, which no pickler writes any more")
        self._push(Instance(target))

    def _obj(self) -> None:
        items = self._to_mark()
        if not items:
            raise self._broken("stack", "OBJ constructs nothing")
        self._keep(items[1:])
        self._find("pickle.obj", f"constructs {items[0]} by OBJ, which no pickler writes any more")
        self._push(Instance(calls.as_global(items[0])))

    def _reduce(self) -> None:
        arguments, function = self._pop(), self._pop()
        self._push(self._made(calls.call(function, arguments)))

    def _newobj(self) -> None:
        arguments, function = self._pop(), self._pop()
        self._push(self._made(calls.construct(function, arguments)))

    def _newobj_ex(self) -> None:
        keywords, arguments, function = self._pop(), self._pop(), self._pop()
        self._keep([arguments])
        if keywords.__class__ is not Dict or keywords.count:
            self._find("pickle.newobj_ex", f"constructs {function} with keywords")
        self._push(self._made(calls.construct(function, arguments)))

    def _made(self, outcome: tuple[Any, str | None]) -> Any:
        value, wrong = outcome
        if wrong is not None:
            self._find("pickle.call", wrong)
        return value

    def _build(self) -> None:
        state = self._pop()
        target = self._top()
        wrong = calls.build(target, state)
        if target.__class__ is Global:
            position = self._opcode_at - self.base
            what = f"sets attributes of {target} itself"
            self.report.add("pickle.build", "malicious", self.where, position, what)
        elif wrong is not None:
            self._find("pickle.build", wrong)
        if target.__class__ is Instance and target.is_joblib_array and self.joblib:
            if self._frame_end not in (NO_FRAME, self.position):
                self._misframed("a joblib array lies inside a frame")
            self._frame_end = NO_FRAME
            self._stack[-1] = OPAQUE
            self._cross_array(target)

    def _cross_array(self, wrapper: Instance) -> None:
        self.arrays += 1
        count = raw_array(self, wrapper)
        if count is not None:
            self._take(count)
            return
        inner = Nested(self.buffer, self.position, self.end, self.where, self.report,
                       base=self.base, joblib=False)  # fmt: skip
        inner.outer = self._memo
        self.position = inner.walk()

    def _carried(self, first: int, count: int) -> None:
        super()._carried(first, count)
        buffer = self.buffer
        if count > 8 and buffer[first] == 0x80 and 2 <= buffer[first + 1] <= 5:
            if self.depth >= _MOST_NESTED:
                self._odd("nested", "pickles are nested in pickles too deep")
                return
            scratch = Report(work=self.report.work)
            inner = Walk(buffer, first, first + count, "", scratch, depth=self.depth + 1)
            with contextlib.suppress(Broken):
                inner.walk()
            self.report.work = scratch.work
            rules = {finding["rule"] for finding in scratch.findings}
            reaches = bool(rules) and any(map(_IDENTIFIER.fullmatch, scratch.globals))
            if "pickle.nested" in rules:
                self._odd("nested", "pickles are nested in pickles too deep")
            elif reaches or "pickle.carried" in rules:
                self._find("pickle.carried", "carries another pickle, which is not clean, as data")

    def _persistent_line(self) -> None:
        self._persistent(self._line())

    def _persistent_top(self) -> None:
        self._persistent(self._pop())

    def _persistent(self, identity: Any) -> None:
        if self.torch is None:
            raise self._broken("persistent", "names an object outside the file")
        value, wrong = self.torch.persistent(identity)
        if wrong is not None:
            self._find("pickle.persistent", wrong)
        self._push(value)

    def _extension(self, width: int) -> None:
        self._take(width)
        self._find("pickle.extension", "uses an extension code, which stands for any name")
        self._push(Global("copyreg", "extension", None))

    def _out_of_band(self) -> None:
        raise self._broken("buffer", "takes a buffer from outside the file")

    # Opcodes: the memo by the number that follows.

    def _put_line(self) -> None:
        self._put(self._line_index())

    def _put_number(self, width: int) -> None:
        self._put(self._number(width))

    def _get_line(self) -> None:
        self._get(self._line_index())

    def _get_number(self, width: int) -> None:
        self._get(self._number(width))

    # Opcodes: the stream.

    def _proto(self) -> None:
        version = self._number(1)
        if version > 5:
            raise self._broken("protocol", f"protocol {version} is not known")
        if self._opcode_at != self.start:
            self._odd("protocol", "a protocol is announced in the middle of the pickle")

    def _frame(self) -> None:
        inside = self._frame_end != NO_FRAME
        length = self._number(8)
        if inside:
            self._misframed("a frame begins inside another")
        elif not 0 < length <= self.end - self.position:
            self._misframed("a frame is longer than the pickle, or empty")
        else:
            self._frame_end = self.position + length

    def _stop(self) -> None:
        self.result = self._pop()
        self._keep([self.result])
        if self._stack or self._marks:
            raise self._broken("stack", "values are left on the stack at the end")
        self._stopped = True


class Nested(Walk):
    """The pickle of an array of objects in a joblib file.

    joblib reads it with a memo of its own.  A plain unpickler, which knows nothing of that, reads
    on with the memo that it has: a name fetched from the memo is another name then.  So what is
    fetched is kept twice, and must not become a name that is not allowed either way.
    """

    _quick = False

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.outer: dict[int, Any] = {}
        self._fetched: dict[int, tuple[Any, Any]] = {}
        self._numbered: bool | None = None
        self._behind_get = -1

    def _put(self, index: int) -> None:
        self._remember(True)
        super()._put(index)

    def _memoize(self) -> None:
        self._remember(False)
        super()._put(len(self._memo))

    def _remember(self, numbered: bool) -> None:
        if numbered is not (self._numbered if self._numbered is not None else numbered):
            self._odd("memo", "numbers some memo entries and not others")
        self._numbered = numbered
        value = self._stack[-1] if self._stack else None
        own, _ = self._fetched.get(len(self._stack) - 1, (None, None))
        if self._opcode_at == self._behind_get or (own is value is not None and len(own) > 1):
            self._odd("memo", "remembers what it fetched from the memo")

    def _get(self, index: int) -> None:
        super()._get(index)
        self._behind_get = self.position
        own = other = self._memo[index]
        if not self._numbered:
            other = self.outer.get(index, self._memo.get(index - len(self.outer)))
        if own.__class__ is str:
            self._fetched[len(self._stack) - 1] = (own, other)

    def _duplicate(self) -> None:
        self._odd("memo", "duplicates a value")
        super()._duplicate()

    def _stack_global(self) -> None:
        others: list[Any] = []
        for place in (len(self._stack) - 2, len(self._stack) - 1):
            value = self._stack[place] if 0 <= place < len(self._stack) else None
            fetched, other = self._fetched.get(place, (None, None))
            others.append(other if fetched is value else value)
        super()._stack_global()
        module, name = others
        if isinstance(module, str) and isinstance(name, str) and not allowed.is_name(name):
            severity, why = allowed.judge(module, name)
            self._find("pickle.global", f"read by a plain unpickler, {why}", severity)


Walk._steps = _bound(Walk)  # pyright: ignore[reportPrivateUsage]
