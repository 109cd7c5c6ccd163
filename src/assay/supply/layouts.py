"""What numpy's constructors may be given: types, arrays and scalars whose parts agree.

numpy trusts a pickle.  A ``numpy.dtype`` may claim that pointers are plain numbers, or change after
something was made with it; a list may be shorter than the array that is filled from it; a scalar's
bytes may be taken for objects.  Each turns bytes of the file into addresses of objects, so each
layout is held to what its parts say, and none may change any more once it is used.

Source: ``numpy/_core/src/multiarray/descriptor.c``, ``methods.c`` and ``multiarraymodule.c``,
numpy 2.4.
"""

from __future__ import annotations

import math
from typing import Any, cast

from assay.supply.arrays import element_size
from assay.supply.stand_ins import DATA, Dict, Global, Instance, List, Outcome, mentioned

_REFERENCES = 0x03
"""NPY_ITEM_REFCOUNT and NPY_LIST_PICKLE: set exactly for types that hold Python objects."""
_ALIGNMENTS = frozenset({-1, 1, 2, 4, 8, 16})
_ARRAYS = ("numpy ndarray", "numpy matrix")


def _is_shape(value: Any) -> bool:
    if not isinstance(value, tuple):
        return False
    parts = cast("tuple[Any, ...]", value)
    return len(parts) <= 64 and all(isinstance(n, int) and 0 <= n < 1 << 48 for n in parts)


def _is_type(value: Any) -> bool:
    """Whether a value is a dtype that can be followed; it must not change from here on."""
    if value.__class__ is not Instance or not value.code:
        return False
    value.sealed = True
    return True


def _dtype(function: Global, arguments: tuple[Any, ...]) -> Outcome:
    made = Instance(function)
    match arguments:
        case (str(code), False | 0, True | 1):
            size = element_size(code)
        case _:
            size = None
    if size is None:
        return made, "makes a numpy.dtype from something other than a plain type code"
    made.code = cast("str", arguments[0])
    made.has_objects = made.code[0] == "O"
    made.size = size
    return made, None


def _dtype_state(target: Instance, state: Any) -> str | None:
    """Hold a type's layout to what its parts say."""
    if not target.code:  # Reported where it was made.
        return None
    if target.sealed:
        return "changes a numpy.dtype that is in use"
    if not isinstance(state, tuple) or len(cast("tuple[Any, ...]", state)) not in (8, 9):
        return "gives a numpy.dtype a state of the wrong form"
    version, order, base, names, fields, size, alignment, flags = cast("tuple[Any, ...]", state)[:8]
    if version not in (3, 4) or order not in ("<", ">", "=", "|"):
        return "gives a numpy.dtype a state of another version"
    if not isinstance(size, int) or not isinstance(flags, int) or not 0 <= flags < 256:
        return "gives a numpy.dtype a size or flags that cannot be followed"
    kind = target.code[0]
    if size != (target.size if kind in "SUV" else -1) or alignment not in _ALIGNMENTS:
        return "gives a numpy.dtype a size or alignment that its code contradicts"
    parts: list[tuple[Any, Any]] = []
    if fields is not None:
        found = fields.items if fields.__class__ is Dict else None
        if found is None or not isinstance(names, tuple):
            return "gives a numpy.dtype fields that cannot be followed"
        if not all(isinstance(name, str) and name in found for name in cast("Any", names)):
            return "gives a numpy.dtype names without fields"
        if not all(isinstance(f, tuple) and len(f) in (2, 3) for f in found.values()):  # pyright: ignore[reportUnknownArgumentType]
            return "gives a numpy.dtype fields that cannot be followed"
        parts = [(field[0], field[1]) for field in found.values()]
        fields.sealed = True
    elif names is not None:
        return "gives a numpy.dtype names without fields"
    if base is not None:
        if (wrong := _whole(target, base)) is not None:
            return wrong
        parts.append((base[0], 0))
    if (parts and kind != "V") or (kind == "O") != (flags == 63):
        return "gives a numpy.dtype flags or fields that its code contradicts"
    for part, offset in parts:
        if part is target or not _is_type(part) or not isinstance(offset, int):
            return "gives a numpy.dtype a field that is not a dtype"
        if offset < 0 or offset + part.size > target.size:
            return "gives a numpy.dtype a field outside its size"
        target.has_objects = target.has_objects or part.has_objects
    if flags & _REFERENCES != (_REFERENCES if target.has_objects else 0):
        return "gives a numpy.dtype flags that hide or invent Python objects"
    return None


def _whole(target: Instance, base: Any) -> str | None:
    if not isinstance(base, tuple) or len(base) != 2:  # pyright: ignore[reportUnknownArgumentType]
        return "gives a numpy.dtype a base that cannot be followed"
    if base[0] is target or not _is_type(base[0]) or not _is_shape(base[1]):
        return "gives a numpy.dtype a base that cannot be followed"
    whole = base[0].size * math.prod(base[1])
    return None if whole == target.size else "gives a numpy.dtype a base of another size"


def _empty_array(function: Global, arguments: tuple[Any, ...]) -> Outcome:
    match arguments:
        case (Global() as kind, (0,), last) if kind.full in _ARRAYS and (
            last is DATA or last in ("b", "f8")
        ):
            return Instance(function), None
        case _:
            return Instance(function), f"gives {function} unusual arguments"


def _masked(function: Global, arguments: tuple[Any, ...]) -> Outcome:
    match arguments:
        case (Global() as kind, Global() as base, (0,), last) if (
            kind.full == "numpy.ma MaskedArray"
            and base.full == "numpy ndarray"
            and (last is DATA or last == "b")
        ):
            return Instance(function), None
        case _:
            return Instance(function), f"gives {function} unusual arguments"


def _array_state(target: Instance, state: Any) -> str | None:
    parts: tuple[Any, ...] = cast("Any", state) if isinstance(state, tuple) else ()
    if len(parts) != (7 if target.made_by.name == "_mareconstruct" else 5):
        return "gives a numpy array a state of the wrong form"
    shape, dtype, content = parts[1], parts[2], parts[4]
    if not _is_type(dtype):
        return "gives a numpy array something other than a dtype"
    if not _is_shape(shape):
        return "gives a numpy array a shape that cannot be followed"
    if not dtype.has_objects:
        return None if content is DATA else "gives a numpy array content that is not bytes"
    # numpy takes as many objects from the list as the array has, and does not look how many it has.
    if content.__class__ is not List or content.count != math.prod(shape):
        return "gives a numpy array of objects a list of another length"
    return None


def _scalar(function: Global, arguments: tuple[Any, ...]) -> Outcome:
    made = Instance(function)
    if len(arguments) != 2 or not _is_type(arguments[0]):
        return made, "makes a numpy scalar of a type that cannot be followed"
    if arguments[0].has_objects or arguments[1] is not DATA:
        return made, "makes a numpy scalar from something other than bytes"
    return made, None


def _from_buffer(function: Global, arguments: tuple[Any, ...]) -> Outcome:
    made = Instance(function)
    if len(arguments) not in (4, 5) or not _is_type(arguments[1]) or arguments[1].has_objects:
        return made, "makes a numpy array of a type that cannot be followed"
    if arguments[0] is not DATA or any(True for _ in mentioned(arguments)):
        return made, "makes a numpy array from something other than bytes"
    if not _is_shape(arguments[2]):
        return made, "makes a numpy array of a shape that cannot be followed"
    return made, None


CALLS: dict[str, Any] = {
    "numpy._core.multiarray _reconstruct": _empty_array,
    "numpy._core.multiarray scalar": _scalar,
    "numpy._core.numeric _frombuffer": _from_buffer,
    "numpy dtype": _dtype,
    "numpy.ma.core _mareconstruct": _masked,
}

STATES: dict[str, Any] = {
    "numpy dtype": _dtype_state,
    "numpy._core.multiarray _reconstruct": _array_state,
    "numpy.ma.core _mareconstruct": _array_state,
}
