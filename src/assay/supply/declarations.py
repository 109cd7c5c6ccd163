"""The facts that gates may ask of a supply chain, as `assay.evidence.facts.FactDeclaration`s."""

from __future__ import annotations

from typing import Any

SCAN = "https://assay.dev/evidence/scan/v1"
BOM = "https://assay.dev/evidence/bom/v1"
VULNERABILITIES = "https://assay.dev/evidence/vulnerabilities/v1"
LICENCES = "https://assay.dev/evidence/licences/v1"
INTAKE = "https://assay.dev/evidence/intake/v1"

_MADE_BY: dict[str, tuple[str, int]] = {
    SCAN: ("assay model scan {model}@{version} --project {project}", 5),
    BOM: ("assay bom write {model}@{version} --project {project}", 5),
    VULNERABILITIES: ("assay vulns check {model}@{version} --project {project}", 10),
    LICENCES: ("assay licences check {model}@{version} --project {project}", 5),
    INTAKE: ("assay intake SOURCE --project {project}", 60),
}
"""The command that makes the evidence, and about how many seconds it takes."""

_CHANGES = frozenset({BOM, VULNERABILITIES, LICENCES, INTAKE})
"""Of these the latest counts: more becomes known, although the bytes stay the same; and the same
bytes may be taken in again, by their digest or with the signature beside them."""


def _fact(
    predicate_type: str, name: str, type_: str, path: str, worse: str, description: str
) -> dict[str, Any]:
    remedy, seconds = _MADE_BY[predicate_type]
    return {
        "name": name,
        "type": type_,
        "predicate_type": predicate_type,
        "path": path,
        "worse": worse,
        "order": [],
        "description": description,
        "remedy": remedy,
        "seconds": seconds,
        "combine": "latest" if predicate_type in _CHANGES else "worst",
    }


def _counts(
    predicate_type: str, group: str, counted: dict[str, str], *, worse: str = "higher"
) -> list[dict[str, Any]]:
    return [
        _fact(predicate_type, f"{group}.{path}", "long", path, worse, description)
        for path, description in counted.items()
    ]


DECLARATIONS: list[dict[str, Any]] = [
    _fact(
        SCAN,
        "scan.clean",
        "bool",
        "clean",
        "false",
        "Every file was read to its last byte, and loading it reaches only known, harmless names.",
    ),
    _fact(
        SCAN, "scan.findings", "long", "findings_count", "higher", "Problems that the scan found."
    ),
    *_counts(
        BOM,
        "bom",
        {"components": "Components that the bill of materials lists."},
        worse="lower",
    ),
    *_counts(
        BOM,
        "bom",
        {
            "unpinned": "Libraries in it without a version or without a digest.",
            "known_unknown": "Minimum elements of an SBOM for AI that are known to be unknown.",
        },
    ),
    *_counts(
        VULNERABILITIES,
        "vulnerabilities",
        {
            "critical": "Critical vulnerabilities that no VEX statement answers.",
            "high": "Vulnerabilities of high severity that no VEX statement answers.",
            "unrated": "Vulnerabilities whose severity nobody has rated.",
            "unmatched": "Components that could not be looked up.",
        },
    ),
    _fact(
        VULNERABILITIES,
        "vulnerabilities.database_modified",
        "datetime",
        "database.modified",
        "lower",
        "The newest change that the advisories contain.",
    ),
    *_counts(
        LICENCES,
        "licences",
        {
            "denied_count": "Components under a licence that the policy denies.",
            "unknown_count": "Components whose licence is not known.",
        },
    ),
    _fact(
        INTAKE,
        "intake.pinned",
        "bool",
        "source.pinned",
        "false",
        "Whether the source was named by a digest or a commit, not by a branch or a tag.",
    ),
    {
        **_fact(
            INTAKE,
            "intake.signer",
            "string",
            "signer",
            "",
            "Whether who made it signed it, and is on the trust list.",
        ),
        "order": ["unsigned", "untrusted", "trusted"],
    },
]
