"""The facts that gates may ask of a check of a dataset, in the form of
`assay.evidence.facts.FactDeclaration`.

They are about a dataset's rows *as they are declared*: see `assay.actions.datasets.as_declared`.
"""

from __future__ import annotations

from typing import Any

CHECK = "https://assay.dev/evidence/data-check/v1"
_ISSUED = "@issued"


def _fact(
    name: str, type_: str, path: str, worse: str, description: str, *, latest: bool = False
) -> dict[str, Any]:
    return {
        "name": name,
        "type": type_,
        "predicate_type": CHECK,
        "path": path,
        "worse": worse,
        "order": [],
        "description": description,
        "remedy": "assay data check {data} --project {project}",
        "seconds": 10,
        "combine": "latest" if latest else "worst",
    }


DECLARATIONS: list[dict[str, Any]] = [
    _fact(
        "data.undeclared_personal",
        "long",
        "undeclared_personal",
        "higher",
        "Columns that hold personal data which nobody declared.",
    ),
    _fact(
        "data.duplicate_share",
        "decimal",
        "duplicates.share",
        "higher",
        "Share of rows that repeat an earlier one, apart from what only tells rows apart.",
    ),
    # Of the latest check: one that was not told which column is the label says nothing about it,
    # and would else silence all others.
    _fact(
        "data.label_outlier_share",
        "decimal",
        "labels.share",
        "higher",
        "Share of rows whose label a model of the other rows holds for wrong.",
        latest=True,
    ),
    _fact(
        "data.checked",
        "datetime",
        _ISSUED,
        "lower",
        "When the rows were last checked.",
        latest=True,
    ),
]
