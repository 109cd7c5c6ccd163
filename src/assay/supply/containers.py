"""The opcodes that fill tuples, lists, dicts and sets, and take values off the stack."""

from __future__ import annotations

from typing import Any

from assay.supply import calls
from assay.supply.machine import Machine
from assay.supply.stand_ins import (
    CAREFUL,
    OPAQUE,
    SET,
    Dict,
    Global,
    Instance,
    List,
    Named,
    mentioned,
    special_key,
)

_LONG_TUPLE = 4096
_LONG_NAMED_TUPLE = 64


class Containers(Machine):
    """The part of the walk that puts values into others."""

    def _keep(self, values: Any) -> None:
        """Values become part of an object: the names among them must be fit to be mentioned."""
        if CAREFUL.isdisjoint(map(type, values)):
            return
        for value in values:
            if value.__class__ in CAREFUL:
                for found in mentioned(value):
                    if found.uses is not None and "v" not in found.uses:
                        self._find("pickle.mention", f"keeps {found} as a value")

    def _mark(self) -> None:
        self._marks.append(len(self._stack))

    def _new_list(self) -> None:
        self._push(List())

    def _new_dict(self) -> None:
        self._push(Dict())

    def _new_set(self) -> None:
        self._push(SET)

    def _tuple(self, count: int) -> None:
        items = [self._pop() for _ in range(count)]
        items.reverse()
        self._push(self._flat(items))

    def _marked_tuple(self) -> None:
        self._push(self._flat(self._to_mark()))

    def _flat(self, items: list[Any]) -> Any:
        """Tuples are followed where they are arguments or states, never without bound."""
        kinds = set(map(type, items))
        nested = tuple in kinds or Named in kinds
        named = Global in kinds or Named in kinds
        if len(items) > (_LONG_NAMED_TUPLE if named else _LONG_TUPLE) or (
            nested and calls.weight(items) > calls.MOST_WEIGHT
        ):
            self._keep(items)
            return OPAQUE
        return Named(items) if named else tuple(items)

    def _append(self) -> None:
        value = self._pop()
        self._extend(self._top(), [value])

    def _appends(self) -> None:
        items = self._to_mark()
        self._extend(self._top(), items)

    def _extend(self, target: Any, items: list[Any]) -> None:
        self._keep(items)
        if target.__class__ is List:
            target.count += len(items)
            self._grown(target)
        elif target.__class__ is not Instance or (
            target.made_by.uses is not None and "l" not in target.made_by.uses
        ):
            self._find("pickle.append", "appends to what is not a list")

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
            self._grown(target)
            if target.sealed:
                self._find("pickle.setitem", "changes the fields of a numpy.dtype that is in use")
        elif target.__class__ is not Instance or (
            target.made_by.uses is not None and "d" not in target.made_by.uses
        ):
            self._find("pickle.setitem", "sets items of what is not a dict")
        else:
            target.filled = True
            if key := special_key(items):
                self._find("pickle.setitem", f"sets {key} of {target}")

    def _additems(self) -> None:
        items = self._to_mark()
        self._keep(items)
        if self._top() is not SET:
            self._find("pickle.additems", "adds to what is not a set")

    def _marked_list(self) -> None:
        items = self._to_mark()
        self._keep(items)
        self._push(List(len(items)))

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
