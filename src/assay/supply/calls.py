"""What an allowed name may be called with.

An allowed name is harmless as its library uses it, which is not the same as harmless whatever it is
given.  So the arguments of those that take names, codecs or memory layouts are checked here:

* ``numpy.dtype`` states may claim that pointers are plain numbers; an array of such a type turns
  bytes of the file into addresses of objects.
* ``numpy``'s random generators call what they are given as a constructor.
* ``copyreg._reconstructor`` and ``_codecs.encode`` run the class or codec that they are given.
* a state with a key such as ``__setstate__`` replaces a method that the next ``BUILD`` would call,
  and a state of two parts sets attributes past ``__dict__``, ``__class__`` among them.
"""

from __future__ import annotations

import re
from typing import Any

from assay.supply import allowed
from assay.supply.stand_ins import LIST, OPAQUE, Dict, Global, Instance, mentioned

_DTYPE = re.compile(r"[?bBhHiuIlLqQefdgFDGOSUVMmc](\d{0,7})|b1")
_WIDTHS = {"?": 1, "b": 1, "B": 1, "h": 2, "H": 2, "e": 2, "g": 16, "c": 8, "O": 8}
_OBJECTS = 0x1B
"""numpy's NPY_FROM_FIELDS: the flags that a structured type inherits from its fields."""
_REFERENCES = 0x03
"""NPY_ITEM_REFCOUNT and NPY_LIST_PICKLE: set exactly for types that hold Python objects."""

_GENERATORS = frozenset({"MT19937", "PCG64", "PCG64DXSM", "Philox", "SFC64"})


def weight(value: Any, depth: int = 0) -> int:
    """The parts of a tuple and of the tuples in it; over any limit when nested deeper than 6."""
    if value.__class__ is not tuple:
        return 1
    return 1 << 20 if depth > 6 else 1 + sum(weight(item, depth + 1) for item in value)


def as_global(value: Any) -> Global:
    return value if value.__class__ is Global else Global("?", "?", None)


def call(function: Any, arguments: Any) -> tuple[Any, str | None]:
    """The stand-in for ``function(*arguments)``, and what is wrong with calling it."""
    if function.__class__ is not Global:
        return OPAQUE, f"calls {function}, which is not an imported name"
    made = Instance(function)
    if function.uses is None:  # Reported where it was imported.
        return made, None
    if "c" not in function.uses:
        return made, f"calls {function}, which libraries construct but do not call"
    if arguments.__class__ is not tuple:
        return made, f"calls {function} with arguments that cannot be followed"
    special = _SPECIAL.get((function.module, function.name))
    if special is not None:
        return special(function, arguments)
    return made, _named(function, arguments)


def construct(function: Any, arguments: Any) -> tuple[Any, str | None]:
    """The stand-in for ``function.__new__(function, *arguments)``, and what is wrong with it."""
    if function.__class__ is not Global:
        return OPAQUE, f"constructs {function}, which is not an imported name"
    made = Instance(function)
    if function.uses is None:
        return made, None
    if arguments.__class__ is not tuple:
        return made, f"constructs {function} with arguments that cannot be followed"
    if ("a" if arguments else "n") not in function.uses:
        return made, f"constructs {function} in a way that its library does not"
    return made, _named(function, arguments)


def build(target: Any, state: Any) -> str | None:
    """What is wrong with ``target.__setstate__(state)``."""
    if target.__class__ is not Instance:
        return f"sets the state of {target}"
    if target.built:
        return f"sets the state of {target} twice"
    target.built = True
    uses = target.made_by.uses
    if uses is None:
        return None
    named = next(iter(_without_value_use(state)), None)
    if named is not None:
        return f"puts {named} into the state of {target}"
    if state.__class__ is Dict:
        target.state = state
        return f"replaces {state.overrides} of {target}" if state.overrides else None
    if "s" not in uses:
        return f"gives {target} a state that is not a dict"
    if target.made_by.name == "dtype":
        return _build_dtype(target, state)
    if target.made_by.name == "_reconstruct":
        return _build_array(state, 5)
    if target.made_by.name == "_mareconstruct":
        return _build_array(state, 7)
    return None


def _without_value_use(state: Any) -> list[Global]:
    return [g for g in mentioned(state) if g.uses is not None and "v" not in g.uses]


def _named(function: Global, arguments: tuple[Any, ...]) -> str | None:
    """Names among the arguments: only those that the library itself passes."""
    fit = allowed.ARGUMENTS.get(f"{function.module} {function.name}", frozenset())
    for found in mentioned(arguments):
        if found.uses is not None and f"{found.module} {found.name}" not in fit:
            return f"gives {found} to {function}"
    return None


def _reconstructor(function: Global, arguments: tuple[Any, ...]) -> tuple[Any, str | None]:
    match arguments:
        case (Global() as made_by, Global(name="object"), last) if last is OPAQUE:
            fit = "n"
        case (Global() as made_by, Global(name="dict"), Dict()):
            fit = "d"
        case _:
            return Instance(function), "gives copyreg._reconstructor unusual arguments"
    if made_by.uses is not None and fit not in made_by.uses:
        return Instance(made_by), f"constructs {made_by}, which libraries do not construct so"
    return Instance(made_by), None


def _empty_array(function: Global, arguments: tuple[Any, ...]) -> tuple[Any, str | None]:
    match arguments:
        case (Global(module=module), (0,), last) if (
            module.partition(".")[0] == "numpy" and last.__class__ is not Global
        ):
            return Instance(function), None
        case _:
            return Instance(function), f"gives {function} unusual arguments"


def _dtype(function: Global, arguments: tuple[Any, ...]) -> tuple[Any, str | None]:
    made = Instance(function)
    code = arguments[0] if arguments else None
    if not isinstance(code, str) or (parsed := _DTYPE.fullmatch(code)) is None:
        return made, "makes a numpy.dtype from something other than a plain type code"
    if any(found.uses is not None for found in mentioned(arguments)):
        return made, "gives a name to numpy.dtype"
    kind, digits = code[0], parsed[1] or ""
    made.code = code
    made.has_objects = kind == "O"
    made.size = int(digits) if digits else _WIDTHS.get(kind, 8)
    if code == "b1":
        made.size = 1
    if kind == "U":
        made.size *= 4
    return made, None


def _build_dtype(target: Instance, state: Any) -> str | None:
    """Hold a type's layout to what its parts say."""
    if state.__class__ is not tuple or len(state) not in (8, 9):
        return "gives a numpy.dtype a state of the wrong form"
    if not target.code:  # Reported where it was made.
        return None
    base, fields, size, flags = state[2], state[4], state[5], state[7]
    if not isinstance(size, int) or not isinstance(flags, int):
        return "gives a numpy.dtype a size or flags that cannot be followed"
    if size not in (-1, target.size):
        return "gives a numpy.dtype a size that its code contradicts"
    parts: list[tuple[Any, Any]] = []
    if fields.__class__ is Dict:
        if fields.count != len(fields.items):
            return "gives a numpy.dtype more fields than can be followed"
        parts = [(f[0], f[1]) for f in fields.items.values() if f.__class__ is tuple and len(f) > 1]
        if len(parts) != fields.count:
            return "gives a numpy.dtype fields that cannot be followed"
    elif fields is not OPAQUE:
        return "gives a numpy.dtype fields that cannot be followed"
    if base.__class__ is tuple:
        wrong = _whole(target, base)
        if wrong is not None:
            return wrong
        parts.append((base[0], 0))
    elif base is not OPAQUE:
        return "gives a numpy.dtype a base that cannot be followed"
    if (parts and target.code[0] != "V") or (target.code[0] == "O") != (flags == 63):
        return "gives a numpy.dtype flags or fields that its code contradicts"
    for part, offset in parts:
        if part.__class__ is not Instance or not part.code or not isinstance(offset, int):
            return "gives a numpy.dtype a field that is not a dtype"
        if offset < 0 or offset + part.size > target.size:
            return "gives a numpy.dtype a field outside its size"
        target.has_objects = target.has_objects or part.has_objects
    references = flags & _REFERENCES
    if references != (_REFERENCES if target.has_objects else 0):
        return "gives a numpy.dtype flags that hide or invent Python objects"
    return None


def _whole(target: Instance, base: tuple[Any, ...]) -> str | None:
    if len(base) != 2 or base[0].__class__ is not Instance or base[1].__class__ is not tuple:
        return "gives a numpy.dtype a base that cannot be followed"
    size = base[0].size
    for dimension in base[1]:
        if not isinstance(dimension, int) or dimension < 0:
            return "gives a numpy.dtype a shape that cannot be followed"
        size *= dimension
    return None if size == target.size else "gives a numpy.dtype a base of another size"


def _build_array(state: Any, length: int) -> str | None:
    if state.__class__ is not tuple or len(state) != length or state[2].__class__ is not Instance:
        return "gives a numpy array a state of the wrong form"
    if not state[2].code:
        return "gives a numpy array something other than a dtype"
    if state[2].has_objects != (state[4] is LIST):
        return "gives a numpy array content that does not fit its dtype"
    return None


def _encode(function: Global, arguments: tuple[Any, ...]) -> tuple[Any, str | None]:
    match arguments:
        case (str(), "latin1") | (_, "latin1") if not list(mentioned(arguments)):
            return OPAQUE, None
        case _:
            return Instance(function), "encodes text with an unusual codec"


def _generator(function: Global, arguments: tuple[Any, ...]) -> tuple[Any, str | None]:
    for argument in arguments:
        if isinstance(argument, str) and argument in _GENERATORS:
            continue
        if isinstance(argument, Instance) and argument.made_by.module.startswith("numpy.random."):
            continue
        if isinstance(argument, Global) and argument.module.startswith("numpy.random."):
            continue
        return Instance(function), f"gives {argument} to {function}, which would call it"
    return Instance(function), None


def _bytes(function: Global, arguments: tuple[Any, ...]) -> tuple[Any, str | None]:
    # A number would ask for that many bytes of memory.
    if all(argument is OPAQUE or isinstance(argument, str) for argument in arguments):
        return OPAQUE, None
    return Instance(function), f"gives {function} something other than bytes"


def _container(function: Global, arguments: tuple[Any, ...]) -> tuple[Any, str | None]:
    # A range is small in the file and fills the memory when it is poured into a container.
    if any(isinstance(argument, Instance) for argument in arguments):
        return Instance(function), f"fills {function} from something that is not a list or dict"
    return Instance(function), _named(function, arguments)


def _masked(function: Global, arguments: tuple[Any, ...]) -> tuple[Any, str | None]:
    if len(arguments) != 4 or arguments[2] != (0,):
        return Instance(function), f"gives {function} unusual arguments"
    return Instance(function), _named(function, arguments)


_SPECIAL: dict[tuple[str, str], Any] = {
    ("copyreg", "_reconstructor"): _reconstructor,
    ("numpy._core.multiarray", "_reconstruct"): _empty_array,
    ("numpy", "dtype"): _dtype,
    ("numpy.ma.core", "_mareconstruct"): _masked,
    ("_codecs", "encode"): _encode,
    ("builtins", "set"): _container,
    ("builtins", "frozenset"): _container,
    **{("collections", n): _container for n in ("OrderedDict", "defaultdict", "deque", "Counter")},
    ("builtins", "bytes"): _bytes,
    ("builtins", "bytearray"): _bytes,
    **{
        ("numpy.random._pickle", name): _generator
        for name in ("__bit_generator_ctor", "__generator_ctor", "__randomstate_ctor")
    },
}
