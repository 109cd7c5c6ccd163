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

from typing import Any

from assay.supply import allowed, layouts, tensors
from assay.supply.stand_ins import (
    BIG,
    DATA,
    OPAQUE,
    SET,
    Dict,
    Global,
    Instance,
    List,
    Outcome,
    mentioned,
)

MOST_WEIGHT = 256

_GENERATORS = frozenset({"MT19937", "PCG64", "PCG64DXSM", "Philox", "SFC64"})


def weight(value: Any, depth: int = 0) -> int:
    """The parts of a tuple and of those in it, up to `MOST_WEIGHT`; more if nested too deep."""
    if depth > 6:
        return MOST_WEIGHT + 1
    total = 1
    for item in value:
        total += weight(item, depth + 1) if isinstance(item, tuple) else 1
        if total > MOST_WEIGHT:
            break
    return total


def as_global(value: Any) -> Global:
    return value if value.__class__ is Global else Global("?", "?", None)


def call(function: Any, arguments: Any) -> Outcome:
    """The stand-in for ``function(*arguments)``, and what is wrong with calling it."""
    if function.__class__ is not Global:
        return OPAQUE, f"calls {function}, which is not an imported name"
    made = Instance(function)
    if function.uses is None:  # Reported where it was imported.
        return made, None
    if "c" not in function.uses:
        return made, f"calls {function}, which libraries construct but do not call"
    if not isinstance(arguments, tuple):
        return made, f"calls {function} with arguments that cannot be followed"
    special = SPECIAL.get(function.full)
    if special is not None:
        return special(function, arguments)
    return made, _named(function, arguments)


def construct(function: Any, arguments: Any) -> Outcome:
    """The stand-in for ``function.__new__(function, *arguments)``, and what is wrong with it."""
    if function.__class__ is not Global:
        return OPAQUE, f"constructs {function}, which is not an imported name"
    made = Instance(function)
    if function.uses is None:
        return made, None
    if not isinstance(arguments, tuple):
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
        overrides = state.overrides
        return f"replaces {overrides} of {target}" if overrides else None
    if "s" not in uses:
        return f"gives {target} a state that is not a dict"
    special = layouts.STATES.get(target.made_by.full)
    return special(target, state) if special is not None else None


def _without_value_use(state: Any) -> list[Global]:
    return [g for g in mentioned(state) if g.uses is not None and "v" not in g.uses]


def _named(function: Global, arguments: tuple[Any, ...]) -> str | None:
    """Names among the arguments: only those that the library itself passes."""
    fit = allowed.ARGUMENTS.get(function.full, frozenset())
    for found in mentioned(arguments):
        if found.uses is not None and found.full not in fit:
            return f"gives {found} to {function}"
    return None


def _reconstructor(function: Global, arguments: tuple[Any, ...]) -> Outcome:
    match arguments:
        case (Global() as made_by, Global(module="builtins", name="object"), None):
            fit = "n"
        case (Global() as made_by, Global(module="builtins", name="dict"), Dict()):
            fit = "d"
        case _:
            return Instance(function), "gives copyreg._reconstructor unusual arguments"
    if made_by.uses is not None and fit not in made_by.uses:
        return Instance(made_by), f"constructs {made_by}, which libraries do not construct so"
    return Instance(made_by), None


def _encode(function: Global, arguments: tuple[Any, ...]) -> Outcome:
    match arguments:
        case (str(), "latin1"):
            return DATA, None
        case (value, "latin1") if value is OPAQUE:  # A long text.
            return DATA, None
        case _:
            return Instance(function), "encodes text with an unusual codec"


def _bytes(function: Global, arguments: tuple[Any, ...]) -> Outcome:
    # A number would ask for that many bytes of memory.
    match arguments:
        case () | (List(),):
            return DATA, None
        case (value,) if value is DATA:
            return DATA, None
        case (text, "latin-1" | "latin1") if isinstance(text, str) or text is OPAQUE:
            return DATA, None
        case _:
            return Instance(function), f"gives {function} something other than bytes"


def _len(function: Global, arguments: tuple[Any, ...]) -> Outcome:
    # Of a class's own object it would call what the class defines.
    match arguments:
        case (value,) if isinstance(value, (str, tuple, List, Dict)) or value in (DATA, SET):
            return BIG, None
        case _:
            return BIG, f"gives {function} something other than a container"


def _generator(function: Global, arguments: tuple[Any, ...]) -> Outcome:
    for argument in arguments:
        if isinstance(argument, str) and argument in _GENERATORS:
            continue
        if isinstance(argument, Instance) and argument.made_by.module.startswith("numpy.random."):
            continue
        if isinstance(argument, Global) and argument.module.startswith("numpy.random."):
            continue
        return Instance(function), f"gives {argument} to {function}, which would call it"
    return Instance(function), None


def _container(function: Global, arguments: tuple[Any, ...]) -> Outcome:
    # A range is small in the file and fills the memory when it is poured into a container.
    if any(isinstance(argument, Instance) for argument in arguments):
        return Instance(function), f"fills {function} from something that is not a list or dict"
    return Instance(function), _named(function, arguments)


SPECIAL: dict[str, Any] = {
    "copyreg _reconstructor": _reconstructor,
    "_codecs encode": _encode,
    "builtins dict": _container,
    "builtins set": _container,
    "builtins frozenset": _container,
    **{f"collections {n}": _container for n in ("OrderedDict", "defaultdict", "deque", "Counter")},
    "builtins bytes": _bytes,
    "builtins len": _len,
    "builtins bytearray": _bytes,
    **{
        f"numpy.random._pickle {name}": _generator
        for name in ("__bit_generator_ctor", "__generator_ctor", "__randomstate_ctor")
    },
    **layouts.CALLS,
    **tensors.CALLS,
}
