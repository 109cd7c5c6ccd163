"""The facts that gates may ask of monitoring, as `assay.evidence.facts.FactDeclaration`s."""

from __future__ import annotations

from typing import Any

BASELINE = "https://assay.dev/evidence/baseline/v1"
CHALLENGE = "https://assay.dev/evidence/challenge/v1"

DECLARATIONS: list[dict[str, Any]] = [
    {
        "name": "baseline.rows",
        "type": "long",
        "predicate_type": BASELINE,
        "path": "rows",
        "worse": "lower",
        "order": [],
        "description": "rows by which it was measured what is normal for this version",
        "remedy": "assay monitor baseline {model}@{version} --data {data} --project {project}",
        "seconds": 10,
        "combine": "latest",
    },
    {
        "name": "challenge.won",
        "type": "bool",
        "predicate_type": CHALLENGE,
        "path": "won",
        "worse": "false",
        "order": [],
        "description": "whether it beat the version that it would replace, on the same labelled "
        "requests",
        "remedy": "assay retrain {model} --project {project}",
        "seconds": 300,
        "combine": "latest",
    },
]
