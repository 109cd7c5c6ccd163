"""Whether a value came back as it was, types included."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from datetime import datetime, time, timezone
from decimal import Decimal
from typing import Any, TypeAlias, cast

import msgspec

from assay.pipeline.codec_hints import said

Unlike: TypeAlias = tuple[str, str, str] | None


def step(key: Any) -> str:
    """One step of a path: ``.auc``, ``[3]``."""
    return f".{key}" if isinstance(key, str) and key.isidentifier() else f"[{key!r}]"


def unlike(before: Any, after: Any, place: str = "") -> Unlike:
    """Where two values differ, types included: the place and both, or None.

    A subclass of a plain type counts as that type, as it does for a type checker.
    """
    kind: type[Any] = type(after)
    for kinds, compare in _COMPARE:
        if kind in kinds:
            return compare(before, after, place)
    if type(before) is not kind:
        return place, f"is a {said(before)}", f"a {said(after)}"
    names = _fields(after)
    if names is not None:
        for name in names:
            found = unlike(getattr(before, name, None), getattr(after, name), f"{place}.{name}")
            if found is not None:
                return found
        return None
    if isinstance(after, tuple):  # A NamedTuple.
        return _unlike_items(tuple(before), tuple(after), place)
    same = str(before) == str(after) if isinstance(after, _BY_TEXT) else before == after
    return None if same else (place, f"is {_short(before)}", _short(after))


def _unlike_leaf(before: Any, after: Any, place: str) -> Unlike:
    plainly = isinstance(before, type(after)) and isinstance(before, bool) is isinstance(
        after, bool
    )
    if isinstance(after, float):
        # A whole number where the annotation says float, if it is exact.
        plainly = plainly or type(before) is int
        same = plainly and before == after
        same = same and math.copysign(1, float(before)) == math.copysign(1, after)
    else:
        same = plainly and before == after
    if same:
        return None
    if plainly:
        return place, f"is {_short(before)}", _short(after)
    return place, f"is a {said(before)}", f"a {said(after)}"


def _unlike_dict(before: Any, after: dict[Any, Any], place: str) -> Unlike:
    if not isinstance(before, dict):
        return place, f"is a {said(before)}", "a dict"
    given = cast("dict[Any, Any]", before)
    keys = {(key, type(key)) for key in given}
    others = {(key, type(key)) for key in after}
    if keys != others:
        key, owner = min(keys ^ others, key=repr)
        return place, "is a dict", f"one where the key {_short(key)} ({owner.__name__}) differs"
    for key, value in given.items():
        if (found := unlike(value, after[key], place + step(key))) is not None:
            return found
    return None


def _unlike_items(before: Any, after: Sequence[Any], place: str) -> Unlike:
    if not isinstance(before, type(after)):
        return place, f"is a {said(before)}", f"a {said(after)}"
    if len(before) != len(after):
        return place, f"has {len(before)} items", f"{len(after)}"
    for index, (one, other) in enumerate(zip(before, after, strict=True)):
        if (found := unlike(one, other, f"{place}[{index}]")) is not None:
            return found
    return None


def _unlike_set(before: Any, after: Any, place: str) -> Unlike:
    if not isinstance(before, type(after)):
        return place, f"is a {said(before)}", f"a {said(after)}"
    if {(v, type(v)) for v in before} != {(v, type(v)) for v in after}:
        return place, "is a set", "another one"
    return None


def _unlike_time(before: Any, after: datetime | time, place: str) -> Unlike:
    if type(before) is not type(after) or before.isoformat() != after.isoformat():
        return place, f"is {_short(before)}", _short(after)
    zone = before.tzinfo
    if zone is not None and not isinstance(zone, timezone) and str(zone) != "UTC":
        return place, f"is a time in {zone}", "one with a fixed offset"
    return None


def _fields(value: Any) -> list[str] | None:
    if isinstance(value, msgspec.Struct):
        return list(value.__struct_fields__)
    if dataclasses.is_dataclass(value):
        return [field.name for field in dataclasses.fields(value)]
    attributes = getattr(type(value), "__attrs_attrs__", None)
    return None if attributes is None else [field.name for field in attributes]


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"


_BY_TEXT = (Decimal,)
"""Equal although they are not the same: 1.0 and 1.00."""
_COMPARE: tuple[tuple[frozenset[type], Callable[[Any, Any, str], Unlike]], ...] = (
    (frozenset({bool, int, float, str, bytes, type(None)}), _unlike_leaf),
    (frozenset({dict}), _unlike_dict),
    (frozenset({list, tuple}), _unlike_items),
    (frozenset({set, frozenset}), _unlike_set),
    (frozenset({datetime, time}), _unlike_time),
)
