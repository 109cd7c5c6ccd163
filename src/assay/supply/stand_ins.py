"""Stand-ins for the objects that a pickle would build.

None, truth values, whole numbers and short texts stand for themselves: names, sizes and shapes are
made of them.  Nothing else of the file's content is kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias

Outcome: TypeAlias = tuple[Any, str | None]
"""The stand-in for what a call gives, and what is wrong with the call."""


class _Word:
    __slots__ = ("_word",)

    def __init__(self, word: str) -> None:
        self._word = word

    def __repr__(self) -> str:
        return self._word


OPAQUE = _Word("a value")
"""Anything without influence on what is run: a float, a long text, a frozenset."""
DATA = _Word("bytes")
BIG = _Word("a long number")
"""A number that is not followed, never to be taken for a small one."""
SET = _Word("a set")


class Global:
    """An imported name; `uses` is what `assay.supply.allowed` lets it do, None when nothing."""

    __slots__ = ("module", "name", "uses")

    def __init__(self, module: str, name: str, uses: str | None) -> None:
        self.module = module
        self.name = name
        self.uses = uses

    @property
    def full(self) -> str:
        """Module and name, as the tables of arguments write them."""
        return f"{self.module} {self.name}"

    def __repr__(self) -> str:
        return f"{self.module}.{self.name}"


class Named(tuple[Any, ...]):
    """A tuple in which a `Global` is: plain tuples hold none, so that most need no second look."""

    __slots__ = ()


class Instance:
    """What constructing or calling a name gave."""

    __slots__ = (
        *("built", "code", "filled", "has_objects", "made_by", "sealed", "size", "size_of"),
        "state",
    )

    def __init__(self, made_by: Global) -> None:
        self.made_by = made_by
        self.built = False
        self.state: Dict | None = None
        self.code = ""
        """Of a numpy dtype: its kind and size, for example ``f8``."""
        self.size = -1
        self.has_objects = False
        self.sealed = False
        """Of a numpy dtype: something was made with it, so that it must not change any more."""
        self.filled = False
        """Of a container: something was put into it."""
        self.size_of: tuple[int, ...] = ()
        """Of a ``torch.Size``: its numbers."""

    @property
    def is_joblib_array(self) -> bool:
        return self.made_by.name == "NumpyArrayWrapper"

    def __repr__(self) -> str:
        return f"an instance of {self.made_by}"


class List:
    """A list: how long it is matters, because numpy fills arrays of objects from lists."""

    __slots__ = ("count",)

    def __init__(self, count: int = 0) -> None:
        self.count = count

    def __repr__(self) -> str:
        return "a list"


class Dict:
    """A dict: what it holds is kept while it is small, because small ones describe things."""

    __slots__ = ("_chunks", "_special", "count", "sealed")

    KEPT = 64

    def __init__(self) -> None:
        self.count = 0
        self.sealed = False
        """Part of a numpy dtype, which must not change any more."""
        self._chunks: list[list[Any]] | None = None
        self._special = ""

    def put(self, items: list[Any]) -> None:
        """Keys and values in turn."""
        self.count += len(items) >> 1
        if self.count > self.KEPT:
            for chunk in self._chunks or ():
                self._special = self._special or special_key(chunk)
            self._chunks = None
            self._special = self._special or special_key(items)
        elif self._chunks is None:
            self._chunks = [items]
        else:
            self._chunks.append(items)

    @property
    def items(self) -> dict[str, Any] | None:
        """The content by its keys; None unless the keys are few, different and plain texts."""
        found: dict[str, Any] = {}
        for chunk in self._chunks or ():
            for key, value in zip(chunk[::2], chunk[1::2], strict=True):
                if key.__class__ is not str:
                    return None
                found[key] = value
        return found if len(found) == self.count else None

    @property
    def overrides(self) -> str:
        """A key that would replace one of Python's own methods, or that cannot be told."""
        for chunk in self._chunks or ():
            if found := special_key(chunk):
                return found
        return self._special

    def __repr__(self) -> str:
        return "a dict"


def special_key(items: list[Any]) -> str:
    """The first key like ``__setstate__``, or computed, so that it may turn out to be one."""
    for key in items[::2]:
        if key.__class__ is str:
            if key[:2] == "__" and key[-2:] == "__":
                return key
        elif key.__class__ is Instance and key.made_by.name == "scalar":
            return "a computed key"
    return ""


CAREFUL: frozenset[type] = frozenset({Global, Named})
"""What a name may be in."""
SIMPLE: frozenset[type] = frozenset({int, str, bool, type(None), _Word, Instance, List, Dict})
"""What is neither a name nor a tuple."""


class Storage:
    """A storage of PyTorch: what tensors are views of."""

    __slots__ = ("elements", "width")

    def __init__(self, elements: int, width: int) -> None:
        self.elements = elements
        self.width = width

    def __repr__(self) -> str:
        return "a storage"


class Torch:
    """The storages that the persistent ids of a PyTorch file name: key -> bytes."""

    _QUANTIZED = {"QInt8Storage": 1, "QUInt8Storage": 1, "QInt32Storage": 4}  # noqa: RUF012

    def __init__(self, element_bytes: dict[str, int], *, modules: bool = False) -> None:
        """`modules`: as before PyTorch 1.6, classes are persistent too, beside their source."""
        self._modules = modules
        self._element_bytes = {**self._QUANTIZED, **element_bytes}
        self.storages: dict[str, int] = {}
        self.elements: dict[str, int] = {}

    def persistent(self, identity: Any) -> tuple[Any, str | None]:
        """The storage that one persistent id names, and what is wrong with the id."""
        module, name, key, count = "", "", "", -1
        if isinstance(identity, tuple):
            match tuple(identity):
                case ("storage", Global() as kind, str(key), str(), int(count)):
                    module, name = kind.module, kind.name
                case ("storage", Global() as kind, str(key), str(), int(count), None):
                    module, name = kind.module, kind.name
                case ("module", Global() as kind, str(), source) if self._modules and (
                    isinstance(source, str) or source is OPAQUE
                ):
                    # PyTorch compares the source with its own, and gives the class.
                    if kind.module.startswith("torch.nn.modules.") and kind.uses is not None:
                        return kind, None
                case _:
                    pass
        if module not in ("torch", "torch.storage"):
            return OPAQUE, "names a persistent object that is not a PyTorch storage"
        width = self._element_bytes.get(name)
        if width is None or not 0 <= count < 1 << 48:
            return OPAQUE, f"names a storage of the unknown kind {module}.{name}"
        size = count * width
        if self.storages.setdefault(key, size) != size:
            return OPAQUE, f"gives the storage {key!r} two sizes"
        self.elements[key] = width
        return Storage(count, width), None


def mentioned(value: Any) -> Iterator[Global]:
    """The names in a value, through its tuples."""
    if value.__class__ is Global:
        yield value
    elif value.__class__ is Named:
        for item in value:
            yield from mentioned(item)
