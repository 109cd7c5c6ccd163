"""What a type hint says, read from names: nothing is imported to decide which codec it needs."""

from __future__ import annotations

import types
import typing
from collections.abc import Collection
from typing import Annotated, Any, NewType, Union, cast

from assay.errors import Usage

LIBRARIES_OF_MODELS = frozenset({"sklearn", "xgboost", "lightgbm"})


def bare(hint: Any) -> Any:
    """A hint without what `Annotated`, `NewType` and ``type X = …`` add."""
    while True:
        if typing.get_origin(hint) is Annotated:
            hint = typing.get_args(hint)[0]
        elif isinstance(hint, NewType):
            hint = hint.__supertype__
        elif type(hint).__name__ == "TypeAliasType":
            hint = hint.__value__
        else:
            return hint


def choices(hint: Any) -> list[Any]:
    """The members of a union, or the hint alone."""
    hint = bare(hint)
    if typing.get_origin(hint) in (Union, types.UnionType):
        return [found for part in typing.get_args(hint) for found in choices(part)]
    return [hint]


def kind(hint: Any) -> type | None:
    """The class that a hint names: of ``NDArray[float64]``, `ndarray`."""
    hint = bare(hint)
    origin = typing.get_origin(hint)
    found: object = hint if origin is None else origin
    return found if isinstance(found, type) else None


def lineage(hint: Any) -> tuple[str, ...]:
    """The classes that a hint's class is and derives from, ``module.name``, itself first."""
    found = kind(hint)
    if found is None:
        return ()
    return tuple(f"{base.__module__}.{base.__qualname__}" for base in found.__mro__)


def is_protocol(hint: Any) -> bool:
    """Whether a hint is a class that says only which methods there are."""
    return isinstance(hint, type) and bool(getattr(hint, "_is_protocol", False))


def protocol_members(hint: Any) -> set[str]:
    """The methods and attributes that a protocol asks for."""
    asked: set[str] = set()
    for base in hint.__mro__:
        if getattr(base, "_is_protocol", False) and base.__module__ != "typing":
            asked |= {*vars(base), *getattr(base, "__annotations__", {})}
    return {name for name in asked if not name.startswith("_")}


def fits(value: Any, hint: Any) -> bool:
    """Whether a value is of a class, protocol or union of them."""
    for choice in choices(hint):
        if is_protocol(choice):
            if all(hasattr(value, name) for name in protocol_members(choice)):
                return True
        elif (found := kind(choice)) is not None and isinstance(value, found):
            return True
    return False


def spelt(hint: Any) -> str:
    """A hint as its author wrote it, or nearly."""
    if isinstance(hint, type) and typing.get_origin(hint) is None:
        return hint.__qualname__
    return str(cast("object", hint)).replace("typing.", "")


def said(value: Any) -> str:
    """The type of a value, by a name that tells polars from pandas."""
    root = type(value).__module__.partition(".")[0]
    name = type(value).__qualname__
    return name if root in ("builtins", "__main__") else f"{root}.{name}"


def wrong(value: Any, hint: Any, remedy: str = "") -> Usage:
    """A value is not what the hint says."""
    root = (found.__module__.partition(".")[0] + ".") if (found := kind(hint)) else ""
    wanted = spelt(hint) if root in ("builtins.", "__main__.", "") else root + spelt(hint)
    return Usage(
        f"the annotation says {wanted}, and the value is a {said(value)}",
        remedy=remedy or "return what the annotation says, or change the annotation",
        code="step.type",
    )


def any_of(names: Collection[str], hint: Any) -> str | None:
    """The first class in the hint's lineage that is one of `names`."""
    return next((name for name in lineage(hint) if name in names), None)
