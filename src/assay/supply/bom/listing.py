"""What a bill lists that is looked up elsewhere: its parts, their versions and their licences.

What was found out about a bill says which list it was about.  Two bills with the same list are one
in this, whatever else they say: figures, dates, or the result of the last check.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from assay import canonical
from assay.supply.advisories import inventory

_FIELDS = ("type", "name", "version", "purl", "scope", "licenses")


def digest_of(bom: Mapping[str, Any]) -> str:
    """The digest of what a CycloneDX document lists, whatever the order."""
    subject: Any = bom.get("metadata") or {}
    parts = [*inventory.components(bom), subject.get("component") or {}]
    listed = sorted(
        canonical.encode({name: part[name] for name in _FIELDS if name in part}).decode()
        for part in parts
    )
    unknown = inventory.is_open_ended(bom)
    return canonical.digest(canonical.encode({"parts": listed, "unknown": unknown}))
