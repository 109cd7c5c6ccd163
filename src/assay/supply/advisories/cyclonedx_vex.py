"""CycloneDX VEX, read as OpenVEX: the `vulnerabilities` of a CycloneDX document.

Source: https://cyclonedx.org/docs/1.7/json/#vulnerabilities.  What has no exact counterpart becomes
*under_investigation*, which takes nothing away.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, cast

import msgspec

from assay.errors import Usage
from assay.supply.advisories import vex
from assay.supply.advisories.inventory import components

_JUSTIFIED: dict[str, vex.Justification] = {
    "code_not_present": "vulnerable_code_not_present",
    "code_not_reachable": "vulnerable_code_not_in_execute_path",
    "protected_by_compiler": "inline_mitigations_already_exist",
    "protected_at_runtime": "inline_mitigations_already_exist",
    "protected_at_perimeter": "inline_mitigations_already_exist",
    "protected_by_mitigating_control": "inline_mitigations_already_exist",
}
_FIXED = ("resolved", "resolved_with_pedigree")


def convert(bom: Mapping[str, Any], *, at: datetime) -> dict[str, Any]:
    """An OpenVEX document with what a CycloneDX document says of vulnerabilities."""
    purls = {
        ref: purl
        for component in components(bom)
        if isinstance(ref := component.get("bom-ref"), str)
        and isinstance(purl := component.get("purl"), str)
    }
    listed = bom.get("vulnerabilities")
    if not isinstance(listed, list) or not listed:
        raise Usage(
            "the CycloneDX document says nothing of vulnerabilities",
            remedy="give one with `vulnerabilities`, or OpenVEX",
            code="advisories.vex",
        )
    statements = [_statement(item, purls) for item in cast("list[Any]", listed)]
    serial = bom.get("serialNumber")
    return vex.write(
        statements,
        author="CycloneDX VEX",
        at=at,
        identity=serial if isinstance(serial, str) and serial else "urn:cyclonedx:vex",
    )


def _statement(item: Any, purls: Mapping[str, str]) -> vex.Statement:
    told = cast("dict[str, Any]", item) if isinstance(item, dict) else {}
    name = told.get("id")
    if not isinstance(name, str) or not name:
        raise Usage("a vulnerability of the CycloneDX document has no id", code="advisories.vex")
    analysis: Any = told.get("analysis")
    said = cast("dict[str, Any]", analysis) if isinstance(analysis, dict) else {}
    state, detail = said.get("state"), said.get("detail")
    made = vex.Statement(
        vulnerability=vex.Vulnerability(name),
        status="under_investigation",
        products=tuple(vex.Product(at_id=ref) for ref in _products(told, purls)),
        status_notes=detail[:2_000] if isinstance(detail, str) else "",
    )
    justified = _JUSTIFIED.get(str(said.get("justification")))
    if state == "not_affected" and justified is not None:
        return msgspec.structs.replace(made, status="not_affected", justification=justified)
    if state in _FIXED:
        return msgspec.structs.replace(made, status="fixed")
    if state == "exploitable":
        response = said.get("response")
        listed = cast("list[Any]", response) if isinstance(response, list) else []
        action = ", ".join(str(word) for word in listed) or "see status_notes"
        return msgspec.structs.replace(made, status="affected", action_statement=action[:2_000])
    return made


def _products(told: Mapping[str, Any], purls: Mapping[str, str]) -> Iterator[str]:
    affects = told.get("affects")
    for item in cast("list[Any]", affects) if isinstance(affects, list) else []:
        ref = cast("dict[str, Any]", item).get("ref") if isinstance(item, dict) else None
        if isinstance(ref, str) and ref:
            # Versions in `affects` narrow it down further than a package URL can say.
            narrowed = "versions" in cast("dict[str, Any]", item)
            yield f"urn:narrowed:{ref}" if narrowed else purls.get(ref, ref)
