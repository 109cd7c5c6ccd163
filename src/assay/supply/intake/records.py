"""What is written down about an intake: the predicate ``https://assay.dev/evidence/intake/v1``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from assay import canonical
from assay.formats.detect import detect
from assay.supply.intake.fetching import Fetched
from assay.supply.intake.locators import Locator
from assay.supply.intake.quarantine import Quarantine, Taken
from assay.types import Digest

KIND = "intake"
PRODUCER = "assay.supply.intake/1"
SOURCE = "source"
"""Who declares the licence where the files or their source do; else it is whoever took it in."""
LISTED = 1_000
"""Files that a statement names each; the manifest of the tree names all."""


def all_of(project: str) -> Digest:
    """The subject under which every intake of a project is filed."""
    return canonical.digest(f"assay/intakes/{project}".encode())


def predicate(
    locator: Locator,
    fetched: Fetched,
    quarantine: Quarantine,
    digest: Digest,
    *,
    pinned: bool,
    licence: str,
    licence_by: str,
    signature: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """The predicate, before it is compared with an earlier one."""
    taken = quarantine.taken
    alone = taken[0].digest if len(taken) == 1 else digest
    return {
        "source": {
            "scheme": locator.scheme,
            "locator": locator.place,
            # Of what has no revision of its own the content is the revision.
            "revision": fetched.revision or alone,
            "asked": locator.revision,
            "pinned": pinned,
            "bound": fetched.bound,
        },
        "files": [
            {
                "path": file.path,
                "size": file.size,
                "digest": file.digest,
                **({"checked": file.checked} if file.checked else {}),
            }
            for file in taken[:LISTED]
        ],
        "files_count": len(taken),
        "bytes": quarantine.bytes,
        "digest": digest,
        "models": models(quarantine),
        "signer": signer(signature),
        "signature": dict(signature) if signature else None,
        "licence": licence,
        "licence_by": licence_by,
        "notes": list(fetched.notes),
        "converted": None,
        "previous": None,
        "differences": None,
    }


def signer(signature: Mapping[str, Any] | None) -> str:
    """The fact ``intake.signer``."""
    if signature is None:
        return "unsigned"
    return "trusted" if signature.get("trusted") is True else "untrusted"


def models(quarantine: Quarantine) -> list[dict[str, str]]:
    """The files that may be a model, by their content."""
    found: list[dict[str, str]] = []
    for file in quarantine.taken[:LISTED]:
        format_ = _format(quarantine, file)
        if format_:
            found.append({"path": file.path, "format": format_})
    return found


def _format(quarantine: Quarantine, file: Taken) -> str:
    known = detect(quarantine.folder / file.path) if file.size else None
    if known is None or (known.format == "unknown" and not known.pickle):
        return ""
    return known.format


def exact(place: Mapping[str, Any], files: Sequence[Mapping[str, Any]], digest: str) -> list[str]:
    """The words of a command that asks for exactly what was taken in."""
    scheme, locator, revision = (str(place[k]) for k in ("scheme", "locator", "revision"))
    alone = str(files[0]["digest"]) if len(files) == 1 else digest
    if not place.get("bound", True):
        asked = f"@{place['asked']}" if scheme == "hf" else ""
        return [f"{locator}{asked}", "--digest", alone]
    if scheme == "hf" or scheme == "oci":
        return [f"{locator}@{revision}"]
    if scheme == "pypi":
        name, hash_, path = locator.partition("#")
        return [f"{name}=={place['asked']}@{revision}{hash_}{path}"]
    return [locator, "--digest", alone]
