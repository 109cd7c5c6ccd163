"""A strict walk over the opcodes of a pickle, which follows what each would build and runs nothing.

The walk keeps the unpickler's stack and memo, holding stand-ins for the objects.  So it knows which
name each import reaches however it was put together, and *how* each name is used: constructed,
called with what, or only mentioned.  It is stricter than the three readers in use (C, Python,
joblib) wherever they differ, because a place where readers differ is where a payload hides.

Source: ``Lib/pickletools.py`` and ``Lib/pickle.py``, CPython 3.11 to 3.13.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from assay.supply import allowed, calls
from assay.supply.arrays import raw_array
from assay.supply.findings import Report
from assay.supply.machine import NO_FRAME, Buffer, Machine
from assay.supply.stand_ins import (
    LIST,
    OPAQUE,
    SET,
    Dict,
    Global,
    Instance,
    Torch,
    mentioned,
)

_MOST_NESTED = 64


class Walk(Machine):
    """One pickle in `buffer`, from `start`; nothing at or beyond `end` is read.

    `base` is where the stream begins, from which joblib counts its alignment.  `joblib` crosses the
    raw arrays between the opcodes; `torch` collects the storages that persistent ids name.
    """

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

    def walk(self) -> int:
        """Walk to STOP; the position behind it.  Raises `Broken` where an unpickler would too."""
        buffer, end = self.buffer, self.end
        handlers = _HANDLERS
        while not self._stopped:
            position = self.position
            if position >= self._frame_end:
                if position > self._frame_end:
                    self._misframed("an opcode lies across the end of a frame")
                self._frame_end = NO_FRAME
            if position >= end:
                raise self._broken("truncated", "the pickle ends without STOP")
            self._opcode_at = position
            self.position = position + 1
            handler = handlers[buffer[position]]
            if handler is None:
                raise self._broken("opcode", f"0x{buffer[position]:02x} is no opcode")
            handler(self)
        if self._frame_end not in (NO_FRAME, self.position):
            self._misframed("the pickle stops before its frame ends")
        return self.position

    def _misframed(self, what: str) -> None:
        # Not the end of the walk: CPython's C reader ignores frames where its Python one does not.
        position = self._opcode_at - self.base
        self.report.add("pickle.frame", "unscannable", self.where, position, what)

    def _keep(self, values: Any) -> None:
        """Values become part of an object: the names among them must be fit to be mentioned."""
        for value in values:
            if value.__class__ is Global or value.__class__ is tuple:
                for found in mentioned(value):
                    if found.uses is not None and "v" not in found.uses:
                        self._find("pickle.mention", f"keeps {found} as a value")

    # Opcodes: containers.

    def _mark(self) -> None:
        self._marks.append(len(self._stack))

    def _new_list(self) -> None:
        self._push(LIST)

    def _new_dict(self) -> None:
        self._push(Dict())

    def _new_set(self) -> None:
        self._push(SET)

    def _tuple(self, count: int) -> None:
        items = tuple(reversed([self._pop() for _ in range(count)]))
        self._push(self._flat(items))

    def _marked_tuple(self) -> None:
        self._push(self._flat(tuple(self._to_mark())))

    def _flat(self, items: tuple[Any, ...]) -> Any:
        """Tuples are followed where they are arguments or states, never without bound."""
        nested = any(item.__class__ is tuple for item in items)
        if len(items) > 4096 or (nested and calls.weight(items) > 256):
            self._keep(items)
            return OPAQUE
        return items

    def _append(self) -> None:
        value = self._pop()
        self._extend(self._pop(), [value])

    def _appends(self) -> None:
        items = self._to_mark()
        self._extend(self._top(), items)
        return

    def _extend(self, target: Any, items: list[Any]) -> None:
        self._keep(items)
        if target is LIST:
            return
        if target.__class__ is Instance and "l" in (target.made_by.uses or ""):
            return
        if target.__class__ is not Instance or target.made_by.uses is not None:
            self._find("pickle.append", "appends to what is not a list")

    def _append_one(self) -> None:
        value = self._pop()
        self._extend(self._top(), [value])

    def _setitem(self) -> None:
        value, key = self._pop(), self._pop()
        self._set(self._top(), [key, value])

    def _setitems(self) -> None:
        items = self._to_mark()
        if len(items) % 2:
            raise self._broken("stack", "an opcode sets a key without a value")
        self._set(self._top(), items)

    def _set(self, target: Any, items: list[Any]) -> None:
        self._keep(items)
        if target.__class__ is Dict:
            target.put(items)
        elif target.__class__ is not Instance or (
            target.made_by.uses is not None and "d" not in target.made_by.uses
        ):
            self._find("pickle.setitem", "sets items of what is not a dict")

    def _additems(self) -> None:
        items = self._to_mark()
        self._keep(items)
        if self._top() is not SET:
            self._find("pickle.additems", "adds to what is not a set")

    def _marked_list(self) -> None:
        self._keep(self._to_mark())
        self._push(LIST)

    def _marked_dict(self) -> None:
        items = self._to_mark()
        if len(items) % 2:
            raise self._broken("stack", "an opcode sets a key without a value")
        self._keep(items)
        made = Dict()
        made.put(items)
        self._push(made)

    def _marked_frozenset(self) -> None:
        self._keep(self._to_mark())
        self._push(OPAQUE)

    def _drop(self) -> None:
        if self._marks and len(self._stack) == self._marks[-1]:
            self._marks.pop()
        else:
            self._keep([self._pop()])

    def _drop_to_mark(self) -> None:
        self._keep(self._to_mark())

    def _duplicate(self) -> None:
        self._push(self._top())

    # Opcodes: names and calls.

    def _import(self, module: Any, name: Any) -> None:
        if not isinstance(module, str) or not isinstance(name, str):
            self._find("pickle.name", "imports a name that is not plain text")
            self._push(Global("?", "?", None))
            return
        self.report.reached(module, name)
        module, name = allowed.canonical(module, name)
        uses = allowed.uses(module, name)
        if uses is None:
            severity, why = allowed.judge(module, name)
            position = self._opcode_at - self.base
            self.report.add("pickle.global", severity, self.where, position, why)
        self._push(Global(module, name, uses))

    def _global(self) -> None:
        module = self._decode(self._line(), "utf-8")
        self._import(module, self._decode(self._line(), "utf-8"))

    def _stack_global(self) -> None:
        name, module = self._pop(), self._pop()
        self._import(module, name)

    def _inst(self) -> None:
        module = self._decode(self._line(), "utf-8")
        self._import(module, self._decode(self._line(), "utf-8"))
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
        if self.depth >= _MOST_NESTED:
            raise self._broken("nested", "pickles are nested too deep")
        inner = Walk(
            self.buffer,
            self.position,
            self.end,
            self.where,
            self.report,
            base=self.base,
            depth=self.depth + 1,
        )
        self.position = inner.walk()

    def _persistent(self, identity: Any) -> None:
        if self.torch is None:
            raise self._broken("persistent", "names an object outside the file")
        wrong = self.torch.persistent(identity)
        if wrong is not None:
            self._find("pickle.persistent", wrong)
        self._push(OPAQUE)

    def _extension(self, width: int) -> None:
        self._take(width)
        self._find("pickle.extension", "uses an extension code, which stands for any name")
        self._push(Global("copyreg", "extension", None))

    def _out_of_band(self) -> None:
        raise self._broken("buffer", "takes a buffer from outside the file")

    # Opcodes: the stream.

    def _proto(self) -> None:
        if self._opcode_at != self.start:
            raise self._broken("protocol", "a protocol is announced in the middle of the pickle")
        version = self._number(1)
        if version > 5:
            raise self._broken("protocol", f"protocol {version} is not known")

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

    @staticmethod
    def handlers() -> list[Callable[[Walk], None] | None]:
        plain: dict[str, Callable[[Walk], None]] = {
            "(": Walk._mark, ".": Walk._stop, "0": Walk._drop, "1": Walk._drop_to_mark,
            "2": Walk._duplicate, "F": Walk._text_float, "I": Walk._text_number,
            "L": Walk._text_number, "N": Walk._opaque, "R": Walk._reduce, "S": Walk._quoted,
            "V": Walk._unicode, "a": Walk._append_one, "b": Walk._build, "c": Walk._global,
            "d": Walk._marked_dict, "}": Walk._new_dict, "e": Walk._appends, "i": Walk._inst,
            "l": Walk._marked_list, "]": Walk._new_list, "o": Walk._obj, "s": Walk._setitem,
            "t": Walk._marked_tuple, "u": Walk._setitems, "G": Walk._float, "\x80": Walk._proto,
            "\x81": Walk._newobj, "\x88": Walk._opaque, "\x89": Walk._opaque, "\x8f": Walk._new_set,
            "\x90": Walk._additems, "\x91": Walk._marked_frozenset, "\x92": Walk._newobj_ex,
            "\x93": Walk._stack_global, "\x95": Walk._frame, "\x97": Walk._out_of_band,
            "\x98": Walk._out_of_band,
            "J": lambda w: w._int(4, True), "K": lambda w: w._int(1, False),
            "M": lambda w: w._int(2, False), "\x8a": lambda w: w._long(1),
            "\x8b": lambda w: w._long(4), "B": lambda w: w._bytes(4), "C": lambda w: w._bytes(1),
            "\x8e": lambda w: w._bytes(8), "\x96": lambda w: w._bytes(8),
            "T": lambda w: w._string(4, "latin-1"), "U": lambda w: w._string(1, "latin-1"),
            "X": lambda w: w._string(4, "utf-8"), "\x8c": lambda w: w._string(1, "utf-8"),
            "\x8d": lambda w: w._string(8, "utf-8"), ")": lambda w: w._push(()),
            "\x85": lambda w: w._tuple(1), "\x86": lambda w: w._tuple(2),
            "\x87": lambda w: w._tuple(3), "p": lambda w: w._put(w._line_index()),
            "q": lambda w: w._put(w._number(1)), "r": lambda w: w._put(w._number(4)),
            "\x94": lambda w: w._put(len(w._memo)), "g": lambda w: w._get(w._line_index()),
            "h": lambda w: w._get(w._number(1)), "j": lambda w: w._get(w._number(4)),
            "P": lambda w: w._persistent(w._line()), "Q": lambda w: w._persistent(w._pop()),
            "\x82": lambda w: w._extension(1), "\x83": lambda w: w._extension(2),
            "\x84": lambda w: w._extension(4),
        }  # fmt: skip
        return [plain.get(chr(code)) for code in range(256)]


_HANDLERS = Walk.handlers()
