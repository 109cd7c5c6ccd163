"""What the metadata of an installed distribution says: its licence, its supplier, what it needs.

Only metadata is read, and only where the version that is installed is the one that is asked for:
another version may be under another licence.  All of it is what the distribution declares itself.
"""

from __future__ import annotations

import importlib.metadata
from email.utils import parseaddr

import msgspec
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from assay.supply.bom.licences import spell
from assay.supply.bom.model import Licence, Told, declared

_BY = "its own metadata"
_LONGEST = 120
_CLASSIFIER = "License :: OSI Approved :: "


class About(msgspec.Struct, frozen=True):
    """What a distribution says of itself."""

    licence: Licence
    supplier: Told
    requires: tuple[str, ...]
    """Names that it needs without any extra."""


def about(name: str, version: str) -> About | None:
    """What is known of this very version here; None where it is not installed."""
    try:
        found = importlib.metadata.distribution(name)
    except (importlib.metadata.PackageNotFoundError, ValueError):
        return None
    if found.version != version:
        return None
    heads = found.metadata
    return About(
        _licence(
            heads["License-Expression"] or "",
            heads["License"] or "",
            heads.get_all("Classifier") or [],
        ),
        declared(
            _supplier([heads[name] or "" for name in _SUPPLIERS]),
            _BY,
            otherwise="its metadata names nobody",
        ),
        tuple(_required(found.requires or [])),
    )


_SUPPLIERS = ("Maintainer", "Maintainer-email", "Author", "Author-email")


def _licence(expression: str, text: str, classifiers: list[str]) -> Licence:
    if expression:
        return spell(expression, _BY)
    short = text.strip()
    if short and "\n" not in short and len(short) <= _LONGEST:
        return spell(short, _BY)
    names = [c.removeprefix(_CLASSIFIER) for c in classifiers if c.startswith(_CLASSIFIER)]
    if len(names) == 1:
        return spell(names[0], _BY)
    if names:
        return Licence(" AND ".join(sorted(names)), "declared", "", _BY)
    why = "its metadata holds a text and no name" if short else "its metadata does not say"
    return Licence(why=why)


def _supplier(said: list[str]) -> str:
    """A name; never an address, which is a person's and not needed to tell who it is."""
    for text in said:
        name, address = parseaddr(text.partition(",")[0] if "<" in text else text)
        plain = name or ("" if "@" in text else text)
        if not plain and address:
            plain = address.partition("@")[2]
        if plain.strip():
            return " ".join(plain.split())[:_LONGEST]
    return ""


def _required(texts: list[str]) -> list[str]:
    found: set[str] = set()
    for text in texts:
        try:
            wanted = Requirement(text)
            if wanted.marker is None or wanted.marker.evaluate({"extra": ""}):
                found.add(canonicalize_name(wanted.name))
        except InvalidRequirement:
            continue
    return sorted(found)
