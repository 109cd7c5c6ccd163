"""A datasheet for each snapshot, after Gebru et al., *Datasheets for Datasets* (CACM 64(12), 2021).

Their questions are grouped as in the paper: motivation, composition, collection, preprocessing,
uses, distribution, maintenance.  Each answer says what it rests on: ``declared`` by whoever
registered the data, ``measured`` in the rows, or ``missing``, which is not left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import polars as pl

PRODUCER = "assay.data.datasheet/1"

Basis = Literal["declared", "measured"]


def made(
    details: Mapping[str, Any],
    frame: pl.DataFrame,
    profile: Mapping[str, Any],
    *,
    collection: Mapping[str, Any],
    changes: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """The datasheet of a table; `details` are what is registered, `collection` what was measured
    while it was collected, `changes` what became of the rows since the last snapshot."""

    def declared(name: str) -> dict[str, Any]:
        return _answer(details.get(name), "declared")

    missing = int(frame.null_count().sum_horizontal().item()) if frame.width else 0
    return {
        "motivation": {"purposes": declared("purposes"), "funding": _answer(None, "declared")},
        "composition": {
            "rows": _answer(frame.height, "measured"),
            "columns": _answer(frame.width, "measured"),
            "subjects": _answer(profile.get("subjects"), "measured"),
            "missing_values": _answer(missing, "measured"),
            "repeated_rows": _answer(frame.height - frame.n_unique(), "measured"),
            "changes": _answer(dict(changes) if changes is not None else None, "measured"),
            "personal": declared("personal"),
            "special_categories": declared("special"),
            "subject_column": declared("subject_column"),
            "personal_columns": declared("personal_columns"),
        },
        "collection": {
            "origin": _answer(details.get("origin"), "measured" if collection else "declared"),
            **{name: _answer(value, "measured") for name, value in collection.items()},
            "legal_basis": declared("legal_basis"),
            "sampling": _answer(None, "declared"),
        },
        "preprocessing": {
            "format": _answer(details.get("format"), "measured"),
            "cleaning": _answer(None, "declared"),
        },
        "uses": {"purposes": declared("purposes")},
        "distribution": {"licence": declared("licence"), "residency": declared("residency")},
        "maintenance": {"owner": declared("owner"), "retain_until": declared("retain_until")},
    }


def _answer(value: Any, basis: Basis) -> dict[str, Any]:
    """What is not known is told as missing; no column and no date are answers, too."""
    if value is None:
        return {"value": None, "basis": "missing"}
    return {"value": value, "basis": basis}
