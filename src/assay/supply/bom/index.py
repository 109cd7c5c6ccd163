"""Which bills contain a package, a digest or a key.

Works on CycloneDX documents.  A bill that does not name a thing says that nobody recorded it there,
not that it is not there: whoever asks is told of bills whose list of libraries may go on.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal, TypeAlias
from urllib.parse import unquote

import msgspec
from packaging.utils import canonicalize_name

from assay.errors import Usage

Sort: TypeAlias = Literal["package", "digest", "key"]
_HEX = re.compile(r"(?:sha256:)?([0-9a-f]{64})")
_KEY = re.compile(r"[a-z0-9-]+:[A-Za-z0-9+/=_-]{8,}")
_PURL = re.compile(r"pkg:([a-z0-9.+-]+)/([^@?#]+)(?:@([^?#]+))?")
_NAME = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)(?:(?:@|==)([A-Za-z0-9.+!_-]+))?")


class Wanted(msgspec.Struct, frozen=True):
    """What is looked for."""

    sort: Sort
    name: str
    """The package's normalised name, the digest's hexadecimal digits, or the key id."""
    version: str = ""
    """Empty: any."""
    ecosystem: str = ""
    """Of a package, as in its URL; empty: any."""


class Found(msgspec.Struct, frozen=True):
    """Where a bill names it."""

    what: str
    """``library``, ``model``, ``data``, ``file``, ``key``, …"""
    name: str
    version: str = ""
    use: str = ""


def wanted(text: str) -> Wanted:
    """``numpy``, ``numpy@2.4.0``, ``pkg:pypi/numpy@2.4.0``, ``sha256:…`` or a key id."""
    if found := _HEX.fullmatch(text):
        return Wanted("digest", found[1])
    if found := _PURL.fullmatch(text):
        name = unquote(found[2])
        plain = _plain(name) if found[1] == "pypi" else name
        return Wanted("package", plain, unquote(found[3] or ""), found[1])
    if _KEY.fullmatch(text):
        return Wanted("key", text)
    if found := _NAME.fullmatch(text):
        return Wanted("package", _plain(found[1]), found[2] or "")
    raise Usage(
        f"{text[:80]!r} is no package, digest or key id",
        remedy="for example numpy, numpy@2.4.0, pkg:pypi/numpy, sha256:… or a key's id",
        code="bom.where",
    )


def find(document: Mapping[str, Any], what: Wanted) -> list[Found]:
    """The places in one bill that are about it."""
    if what.sort == "key":
        return [Found("key", key, use=kind) for key, kind in keys(document) if key == what.name]
    same = _has_digest if what.sort == "digest" else _is_package
    return [
        Found(
            str(component.get("type")),
            str(component.get("name")),
            str(component.get("version", "")),
            _property(component, "assay:use"),
        )
        for component in components(document)
        if same(component, what)
    ]


def open_ended(document: Mapping[str, Any]) -> bool:
    """Whether the bill itself says that its list may go on."""
    listed = [item.get("aggregate") for item in document.get("compositions", [])]
    return not listed or any(aggregate != "complete" for aggregate in listed)


def components(document: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The model and every component, nested ones too."""
    waiting: list[dict[str, Any]] = list(reversed(document.get("components", [])))
    main = document.get("metadata", {}).get("component")
    if main:
        waiting.append(main)
    while waiting:
        component = waiting.pop()
        yield component
        waiting += reversed(component.get("components", []))
        waiting += reversed(component.get("pedigree", {}).get("ancestors", []))


def keys(document: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The keys that signed what the bill rests on, and what kind of statement."""
    seen: set[tuple[str, str]] = set()
    main = document.get("metadata", {}).get("component", {})
    for item in main.get("properties", []):
        parts = str(item.get("value", "")).split(" ")
        if item.get("name") == "assay:signed-by" and len(parts) >= 3:
            found = (parts[0], parts[2])
            if found not in seen:
                seen.add(found)
                yield found


def _has_digest(component: Mapping[str, Any], what: Wanted) -> bool:
    if any(item.get("content") == what.name for item in component.get("hashes", [])):
        return True
    # The keyed digest of a dataset, and what is served of a model, are no hashes of the component.
    digest = f"sha256:{what.name}"
    named = ("assay:content", "assay:served", "assay:artifact", "assay:parent")
    return any(
        item.get("value") == digest and item.get("name") in named
        for item in component.get("properties", [])
    )


def _is_package(component: Mapping[str, Any], what: Wanted) -> bool:
    found = _PURL.fullmatch(str(component.get("purl", "")))
    if found is not None:
        ecosystem, name, version = found[1], unquote(found[2]), unquote(found[3] or "")
    else:
        ecosystem, name = "", str(component.get("name"))
        version = str(component.get("version", ""))
    if what.ecosystem and ecosystem != what.ecosystem:
        return False
    return (name == what.name or _plain(name) == what.name) and what.version in ("", version)


def _plain(name: str) -> str:
    return canonicalize_name(name)


def _property(component: Mapping[str, Any], name: str) -> str:
    found = component.get("properties", [])
    return next((str(p.get("value", "")) for p in found if p.get("name") == name), "")
