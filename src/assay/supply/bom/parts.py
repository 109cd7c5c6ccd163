"""What the two documents have in common: the names of their parts, and how values are told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote
from uuid import UUID

from assay import canonical
from assay.supply.bom.model import Code, Contents, Dataset, Library, Step, Told, Tool

MODEL = "model"
"""The name of the model among the parts."""


def purl(name: str, version: str = "") -> str:
    """The package URL of a Python distribution (https://github.com/package-url/purl-spec)."""
    return f"pkg:pypi/{quote(name, safe='')}" + (f"@{quote(version, safe='')}" if version else "")


def model_purl(name: str, version: str) -> str:
    """The package URL of a model version, which no registry of packages knows."""
    return f"pkg:generic/{quote(name, safe='')}@{quote(version, safe='')}"


class Refs:
    """The names by which the parts of a bill refer to each other.

    They do not hold versions, so that another version is a change in one place; only where a
    library is there twice is it told apart by its version.
    """

    def __init__(self, contents: Contents) -> None:
        self._twice = Counter(library.name for library in contents.libraries)
        self._codes = Counter(code.name for code in contents.code)
        self._tools = Counter((tool.use, tool.name) for tool in contents.tools)
        self._tasks = Counter((step.run, step.name) for step in contents.steps)
        self.by_digest: dict[str, str] = {
            told.value: MODEL
            for told in (contents.model.artifact, contents.model.served)
            if told.known
        }
        for dataset in contents.datasets:
            if dataset.content.known:
                self.by_digest.setdefault(dataset.content.value, self.dataset(dataset))

    def dataset(self, dataset: Dataset) -> str:
        return f"dataset:{dataset.use}:{dataset.name}"

    def code(self, code: Code) -> str:
        apart = f"@{code.digest}" if self._codes[code.name] > 1 else ""
        return f"code:{code.name}{apart}"

    def library(self, library: Library) -> str:
        apart = f"@{library.version}" if self._twice[library.name] > 1 else ""
        return f"library:{library.name}{apart}"

    def named(self, name: str, libraries: Iterable[Library]) -> list[str]:
        """All libraries of that name."""
        return [self.library(library) for library in libraries if library.name == name]

    def tool(self, tool: Tool) -> str:
        apart = f"@{tool.version}" if self._tools[tool.use, tool.name] > 1 else ""
        return f"tool:{tool.use}:{tool.name}{apart}"

    def step(self, step: Step) -> str:
        apart = f"@{step.source}" if self._tasks[step.run, step.name] > 1 else ""
        return f"step:{step.run}:{step.name}{apart}"


def tell(name: str, told: Told) -> list[dict[str, str]]:
    """What a value is, and what it rests on."""
    if not told.known:
        return [prop(f"unknown:{name}", told.why)]
    return [
        prop(name, text(told.value)),
        prop(f"basis:{name}", told.basis),
        *([prop(f"source:{name}", told.source)] if told.source else []),
        *([prop(f"by:{name}", told.why)] if told.why else []),
    ]


def prop(name: str, value: str) -> dict[str, str]:
    return {"name": f"assay:{name}", "value": value}


def source_of(source: str) -> list[dict[str, str]]:
    return [prop("source", source)] if source else []


def text(value: Any) -> str:
    """A value as a property holds it: text as it is, the rest as JSON."""
    return value if isinstance(value, str) else canonical.encode(value).decode()


def listed(told: Told) -> list[str]:
    if not told.known:
        return []
    if isinstance(told.value, (list, tuple)):
        return [text(item) for item in told.value]  # pyright: ignore[reportUnknownVariableType]
    return [text(told.value)]


def is_sha256(text: str) -> bool:
    hexadecimal = text.removeprefix("sha256:")
    return len(hexadecimal) == 64 and set(hexadecimal) <= set("0123456789abcdef")


def only(made: dict[str, Any]) -> dict[str, Any]:
    """Without what is empty, which would say less than nothing."""
    return {name: value for name, value in made.items() if value not in ("", [], {}, None)}


def uuid_of(made: Mapping[str, Any]) -> str:
    """A UUID of version 8 (RFC 9562) that holds the beginning of the document's digest."""
    held = bytearray.fromhex(canonical.digest(canonical.encode(made)).removeprefix("sha256:")[:32])
    held[6] = held[6] & 0x0F | 0x80
    held[8] = held[8] & 0x3F | 0x80
    return str(UUID(bytes=bytes(held)))
