"""The facts that gates may ask of an intake, in the form of `assay.evidence.facts`."""

from __future__ import annotations

from typing import Any

INTAKE = "https://assay.dev/evidence/intake/v1"
SIGNERS = ("unsigned", "untrusted", "trusted")
"""Who signed what was taken in, worst first: nobody; somebody we do not know, or a signature that
does not hold; somebody on the project's trust list."""


def _fact(
    name: str, type_: str, path: str, worse: str, order: tuple[str, ...], description: str
) -> dict[str, Any]:
    return {
        "name": name,
        "type": type_,
        "predicate_type": INTAKE,
        "path": path,
        "worse": worse,
        "order": list(order),
        "description": description,
        "remedy": "",
        "seconds": 30,
        # The same bytes may be taken in again, by their digest, or with the signature beside them.
        "combine": "latest",
    }


DECLARATIONS: list[dict[str, Any]] = [
    _fact(
        "intake.pinned",
        "bool",
        "source.pinned",
        "false",
        (),
        "What was asked for named these very bytes: by a digest, or by a commit's hash.",
    ),
    _fact(
        "intake.signer",
        "string",
        "signer",
        "",
        SIGNERS,
        "Whether what was taken in is signed, and by somebody on the project's trust list.",
    ),
]
