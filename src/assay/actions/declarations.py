"""The facts that gates may ask of what these actions record themselves."""

from __future__ import annotations

from typing import Any

from assay.evidence.facts import ISSUED
from assay.evidence.statement import predicate_type

PROVENANCE = ("declared", "observed", "verified")
"""How it is known how a model was made, worst first: somebody says so; a runner of this workspace
saw it; an independent builder signed it."""


def _fact(
    name: str, kind: str, type_: str, path: str, worse: str, description: str, remedy: str
) -> dict[str, Any]:
    return {
        "name": name,
        "type": type_,
        "predicate_type": predicate_type(kind),
        "path": path,
        "worse": worse,
        "order": list(PROVENANCE) if name == "provenance.level" else [],
        "description": description,
        "remedy": remedy,
        "seconds": 5,
        # A workspace's health changes; what is true of bytes does not.
        "combine": "latest" if kind == "doctor" else "worst",
    }


_SHOW = "assay model show {model}@{version} --project {project}"

DECLARATIONS: list[dict[str, Any]] = [
    _fact(
        "parity.disagreement",
        "parity",
        "decimal",
        "decision_disagreement",
        "higher",
        "Largest share of decisions that differ between the original and what is served.",
        _SHOW,
    ),
    _fact(
        "parity.max_difference",
        "parity",
        "decimal",
        "max_abs_diff",
        "higher",
        "Largest difference of a score between the original and what is served.",
        _SHOW,
    ),
    _fact(
        "provenance.level",
        "model-version",
        "string",
        "details.provenance",
        "",
        "Whether how it was made was declared, observed by a runner of this workspace, or verified "
        "by a builder's signature.",
        _SHOW,
    ),
    _fact(
        "doctor.critical",
        "doctor",
        "long",
        "critical",
        "higher",
        "Critical findings about this workspace.",
        "assay doctor",
    ),
    _fact(
        "doctor.issued",
        "doctor",
        "datetime",
        ISSUED,
        "lower",
        "When the workspace was last examined.",
        "assay doctor",
    ),
    _fact(
        "doctor.isolation",
        "doctor",
        "string",
        "isolation",
        "",
        "The level of confinement that this machine reaches.",
        "assay doctor",
    ),
]
