"""Plain values as JSON, exactly; and bytes as they are.

What the next step gets is what this step returned, by construction: each value is read back as the
annotation says, and refused where the two differ by so much as a type or the sign of a zero.

The spelling is JSON with sorted keys and no spaces, whole numbers in full and others as Python
writes them.  It is not RFC 8785, whose numbers are all doubles: that loses whole numbers beyond
2**53, the sign of zero, and the difference of 1 and 1.0, all of which a step can see.
"""

from __future__ import annotations

import json
import math
import typing
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

import msgspec
from msgspec import inspect

from assay.errors import Corrupt, Usage
from assay.pipeline.codec_exact import step, unlike
from assay.pipeline.codec_hints import bare, choices, said, spelt, wrong

_MARK = "\udfff not JSON"
"""Marks what JSON cannot carry: no valid text holds it."""
_UNTYPED: tuple[Any, ...] = (Any, object)
_REMEDIES = {
    "numpy": "take the plain value, x.item() or x.tolist(), or return the array by itself",
    "pandas": "take x.to_pydatetime() or the like, or return the frame by itself",
}


def is_untyped(hint: Any) -> bool:
    """Whether a hint says nothing."""
    return any(
        choice in _UNTYPED or isinstance(choice, TypeVar) or choice is type(Any)
        for choice in choices(hint)
    )


def is_json(hint: Any) -> bool:
    """Whether values with this hint can be carried as JSON."""
    parts = choices(hint)
    if is_untyped(hint) or [part for part in parts if part not in (None, type(None))] == [bytes]:
        return False
    try:
        info = _info(hint)
    except (TypeError, ValueError, NameError, RecursionError):
        return False
    return not any(_is_foreign(part) for part in _walk(info))


def why_not(hint: Any) -> str:
    """What msgspec says about a hint that it does not take; empty where it says nothing."""
    try:
        _info(hint)
    except (TypeError, ValueError, NameError) as error:
        return str(error)
    return ""


def _info(hint: Any) -> inspect.Type:
    msgspec.json.Decoder(hint)  # Refuses more unions: bytes and text are both text in JSON.
    return inspect.type_info(hint)


def _is_foreign(info: inspect.Type) -> bool:
    if isinstance(info, inspect.CustomType):
        return info.cls is not object
    return isinstance(info, (inspect.RawType, inspect.ExtType))


def _walk(root: inspect.Type) -> Iterator[inspect.Type]:
    """A type and all types inside it, each class once."""
    seen: set[Any] = set()
    waiting: list[Any] = [root]
    while waiting:
        here = waiting.pop()
        if isinstance(here, inspect.Field):
            waiting.append(here.type)
            continue
        yield here
        if (owner := getattr(here, "cls", None)) is not None:
            if owner in seen:
                continue
            seen.add(owner)
        for name in here.__struct_fields__:
            part = getattr(here, name)
            for item in cast("tuple[Any, ...]", part if isinstance(part, tuple) else (part,)):
                if isinstance(item, (inspect.Type, inspect.Field)):
                    waiting.append(item)


class JsonCodec:
    """JSON for what msgspec carries."""

    name = "json/1"
    kind: Literal["data", "model"] = "data"
    suffix = ".json"

    def accepts(self, hint: Any) -> bool:
        return is_json(hint)

    def encode(self, value: Any, hint: Any, into: Path) -> None:
        plain = _plain(value, hint)
        text = _spell(plain, hint)
        found = _convert(json.loads(text), hint)
        if (differs := unlike(value, found)) is not None:
            place, before, after = differs
            raise Usage(
                f"the annotation says {spelt(hint)}, and {_at(place)} {before}, which would come "
                f"back as {after}",
                remedy="annotate exactly what is returned, or convert the value to that type",
                code="step.type",
                details={"path": place},
            )
        into.write_bytes(text)

    def decode(self, path: Path, hint: Any) -> Any:
        try:
            plain = json.loads(
                path.read_bytes().decode("utf-8"),
                object_pairs_hook=_unique,
                parse_constant=_no_constant,
            )
        except (ValueError, RecursionError) as error:
            raise Corrupt(f"the value is not strict JSON ({error})", code="codec.json") from error
        found = _convert(plain, hint)
        # A number that the other type cannot hold, a field that would be dropped or made up.
        back = msgspec.to_builtins(found, str_keys=True, order="deterministic")
        if not _equal(back, plain):
            raise Usage(
                f"the value that was stored does not fit {spelt(hint)} exactly",
                remedy="annotate the parameter as the step that gives it annotates its result",
                code="step.type",
            )
        return found


class BytesCodec:
    """Bytes as they are."""

    name = "bytes/1"
    kind: Literal["data", "model"] = "data"
    suffix = ".bin"

    def accepts(self, hint: Any) -> bool:
        return bare(hint) is bytes

    def encode(self, value: Any, hint: Any, into: Path) -> None:
        if type(value) is not bytes:
            raise wrong(value, hint, "return bytes(...)")
        into.write_bytes(value)

    def decode(self, path: Path, hint: Any) -> bytes:  # noqa: ARG002 - the protocol's
        return path.read_bytes()


def _equal(one: Any, other: Any) -> bool:
    """Whether two plain values are the same, tuples being lists.  1 and 1.0 are."""
    if isinstance(one, dict) and isinstance(other, dict):
        given, others = cast("dict[Any, Any]", one), cast("dict[Any, Any]", other)
        return given.keys() == others.keys() and all(_equal(given[k], others[k]) for k in given)
    if isinstance(one, (list, tuple)) and isinstance(other, list):
        items, theirs = cast("Sequence[Any]", one), cast("Sequence[Any]", other)
        return len(items) == len(theirs) and all(map(_equal, items, theirs))
    return one == other


def _unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a key occurs twice")
    return made


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is not JSON")


def _plain(value: Any, hint: Any) -> Any:
    try:
        return msgspec.to_builtins(value, str_keys=True, order="deterministic", enc_hook=_foreign)
    except (TypeError, RecursionError, OverflowError) as error:
        raise Usage(
            f"the annotation says {spelt(hint)}, and the value, a {said(value)}, cannot be written "
            f"as JSON: {_words(error)}",
            remedy="return numbers, text, lists, dicts with text for keys, or dataclasses of them",
            code="step.type",
        ) from error


def _words(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "it is nested too deep, or holds itself"
    if "'<' not supported" in str(error):
        return "a set of unlike values has no order that is the same in every process"
    return str(error)


def _foreign(value: Any) -> Any:
    """Called for what msgspec does not know.  `numpy.float64` is a `float`, and so it counts."""
    if isinstance(value, float):
        return float(value)
    if isinstance(value, str):
        return str(value)
    return {_MARK: f"{type(value).__module__}.{type(value).__qualname__}"}


def _spell(plain: Any, hint: Any) -> bytes:
    if (fault := _fault(plain, "")) is not None:
        place, what, remedy = fault
        raise Usage(
            f"the annotation says {spelt(hint)}, and {_at(place)} {what}",
            remedy=remedy,
            code="step.type",
            details={"path": place},
        )
    try:
        text = json.dumps(
            plain, sort_keys=True, ensure_ascii=False, allow_nan=False, separators=(",", ":")
        )
    except (ValueError, RecursionError) as error:
        raise Usage(
            f"the value cannot be written as JSON: {error}",
            remedy="write such a number as text",
            code="step.type",
        ) from error
    return text.encode("utf-8")


def _fault(plain: Any, place: str) -> tuple[str, str, str] | None:
    """The first thing that JSON cannot carry: where, what, and what to do about it."""
    if isinstance(plain, float) and not math.isfinite(plain):
        remedy = "return None where there is no value (annotate it float | None)"
        return place, f"is {plain}, which JSON cannot carry", remedy
    if isinstance(plain, str) and not _is_text(plain):
        return place, "is text with half a surrogate pair", "return it as bytes"
    if isinstance(plain, dict):
        if _MARK in plain:
            name = str(plain[_MARK])
            remedy = _REMEDIES.get(
                name.partition(".")[0],
                "return numbers, text, lists, dicts or dataclasses; frames, arrays and models are "
                "results of their own",
            )
            return place, f"is a {name.removeprefix('builtins.')}", remedy
        for key, value in cast("dict[Any, Any]", plain).items():
            if not _is_text(key):
                return place, "has a key with half a surrogate pair", "use valid text for keys"
            if (found := _fault(value, place + step(key))) is not None:
                return found
    elif isinstance(plain, (list, tuple)):
        for index, value in enumerate(cast("Sequence[Any]", plain)):
            if (found := _fault(value, f"{place}[{index}]")) is not None:
                return found
    return None


def _is_text(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _at(place: str) -> str:
    return f"the value at {place}" if place else "the value"


def _convert(plain: Any, hint: Any) -> Any:
    try:
        return msgspec.convert(plain, hint, str_keys=True)
    except msgspec.ValidationError as error:
        place, message = _locate(plain, hint, "", str(error))
        raise Usage(
            f"the annotation says {spelt(hint)}, and {_at(place)} does not fit: {message}",
            remedy="return what the annotation says, or change the annotation",
            code="step.type",
            details={"path": place},
        ) from error
    except RecursionError as error:
        raise Usage(
            "the value is nested too deep", remedy="return a flat one", code="step.type"
        ) from error


def _locate(plain: Any, hint: Any, place: str, message: str) -> tuple[str, str]:
    """Where exactly a value breaks its hint: msgspec does not name the keys of dicts."""
    arguments = typing.get_args(bare(hint))
    parts: list[tuple[str, Any, Any]] = []
    if isinstance(plain, dict) and len(arguments) == 2:
        parts = [(step(key), item, arguments[1]) for key, item in plain.items()]
    elif isinstance(plain, list) and arguments:
        fixed = typing.get_origin(bare(hint)) is tuple and Ellipsis not in arguments
        hints = arguments if fixed else [arguments[0]] * len(plain)
        parts = [(f"[{i}]", item, h) for i, (item, h) in enumerate(zip(plain, hints, strict=False))]
    for part, item, inner in parts:
        try:
            msgspec.convert(item, inner, str_keys=True)
        except msgspec.ValidationError as error:
            return _locate(item, inner, place + part, str(error))
    text, _, path = message.partition(" - at `$")
    return place + path.rstrip("`"), text.replace("`", "")


JSON = JsonCodec()
BYTES = BytesCodec()
