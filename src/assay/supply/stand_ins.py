"""Stand-ins for the objects that a pickle would build."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


class _Named:
    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return self._name


OPAQUE = _Named("a value")
"""Anything without influence on what is run: None, a truth value, a float, bytes, a long text."""
LIST = _Named("a list")
SET = _Named("a set")


class Global:
    """An imported name; `uses` is what `assay.supply.allowed` lets it do, None when nothing."""

    __slots__ = ("module", "name", "uses")

    def __init__(self, module: str, name: str, uses: str | None) -> None:
        self.module = module
        self.name = name
        self.uses = uses

    def __repr__(self) -> str:
        return f"{self.module}.{self.name}"


class Instance:
    """What constructing or calling a name gave."""

    __slots__ = ("built", "code", "has_objects", "made_by", "size", "state")

    def __init__(self, made_by: Global) -> None:
        self.made_by = made_by
        self.built = False
        self.state: Dict | None = None
        self.code = ""
        """Of a numpy dtype: its kind and size, for example ``f8``."""
        self.size = -1
        self.has_objects = False

    @property
    def is_joblib_array(self) -> bool:
        return self.made_by.name == "NumpyArrayWrapper"

    def __repr__(self) -> str:
        return f"an instance of {self.made_by}"


class Dict:
    """A dict: its first string keys are kept, because a joblib array is described by one."""

    __slots__ = ("count", "items", "overrides")

    KEPT = 64

    def __init__(self) -> None:
        self.items: dict[str, Any] = {}
        self.count = 0
        self.overrides = ""
        """A key that would replace one of Python's own methods."""

    def put(self, items: list[Any]) -> None:
        self.count += len(items) // 2
        for index in range(0, len(items), 2):
            key = items[index]
            if key.__class__ is str:
                if key.startswith("__") and key.endswith("__"):
                    self.overrides = key
                if len(self.items) < self.KEPT or key in self.items:
                    self.items[key] = items[index + 1]

    def __repr__(self) -> str:
        return "a dict"


class Torch:
    """The storages that the persistent ids of a PyTorch file name: key -> bytes."""

    def __init__(self, element_bytes: dict[str, int]) -> None:
        self._element_bytes = element_bytes
        self.storages: dict[str, int] = {}
        self.elements: dict[str, int] = {}

    def persistent(self, identity: Any) -> str | None:
        """Note one persistent id; what is wrong with it."""
        match identity:
            case ("storage", Global(module="torch", name=name), str(key), str(), int(count)):
                pass
            case ("storage", Global(module="torch", name=name), str(key), str(), int(count), _):
                pass
            case _:
                return "names a persistent object that is not a PyTorch storage"
        width = self._element_bytes.get(name)
        if width is None or not 0 <= count < 1 << 48:
            return f"names a storage of the unknown kind torch.{name}"
        size = count * width
        if self.storages.setdefault(key, size) != size:
            return f"gives the storage {key!r} two sizes"
        self.elements[key] = width
        return None


def mentioned(value: Any) -> Iterator[Global]:
    """The names in a value, through its tuples."""
    if value.__class__ is Global:
        yield value
    elif value.__class__ is tuple:
        for item in value:
            yield from mentioned(item)
