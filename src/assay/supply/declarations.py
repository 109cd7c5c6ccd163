"""The facts that gates may ask of a scan, in the form of `assay.evidence.facts.FactDeclaration`."""

from __future__ import annotations

from typing import Any

SCAN = "https://assay.dev/evidence/scan/v1"


def _fact(name: str, type_: str, path: str, worse: str, description: str) -> dict[str, Any]:
    return {
        "name": name,
        "type": type_,
        "predicate_type": SCAN,
        "path": path,
        "worse": worse,
        "order": [],
        "description": description,
        "remedy": "assay model scan {model}@{version} --project {project}",
        "seconds": 5,
    }


DECLARATIONS: list[dict[str, Any]] = [
    _fact(
        "scan.clean",
        "bool",
        "clean",
        "false",
        "Every file was read to its last byte, and loading it reaches only known, harmless names.",
    ),
    _fact("scan.findings", "long", "findings_count", "higher", "Problems that the scan found."),
]
