"""What a policy says of the licences of some components: the predicate that is signed."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import msgspec

from assay import canonical
from assay.errors import Usage
from assay.supply.advisories.inventory import components, read_bom, read_text
from assay.supply.licences import expressions, metadata, models
from assay.supply.licences.expressions import UNKNOWN
from assay.supply.licences.metadata import of_component
from assay.supply.licences.policy import Policy, Verdict

KIND = "licences"
PRODUCER = "assay.supply.licences/1"
MOST_LISTED = 2_000
_SKIPPED = frozenset({"file", "cryptographic-asset", "device", "data-flow"})


def from_bom(bom: Mapping[str, Any]) -> dict[str, str]:
    """Component → what it is under, for all of a CycloneDX document and what it is about."""
    about = bom.get("metadata")
    subject = cast("dict[str, Any]", about).get("component") if isinstance(about, dict) else None
    told = [*components(bom)]
    if isinstance(subject, dict):
        told.insert(0, cast("dict[str, Any]", subject))
    found: dict[str, str] = {}
    for component in told:
        # A tool is not in the model, and nobody passes it on with it.
        tool = component.get("scope") == "excluded" and not component.get("licenses")
        if component.get("type") in _SKIPPED or tool:
            continue
        name = _named(component)
        said = of_component(component)
        held = found.get(name)
        # Listed twice, it is under both.
        if held is not None and held != said:
            said = UNKNOWN if UNKNOWN in (held, said) else f"({held}) AND ({said})"
        found[name] = said
    if not found:
        raise Usage(
            "the bill of materials lists no component",
            remedy="assay bom write MODEL@VERSION makes one",
            code="licences.bom",
        )
    return found


def from_file(path: Path) -> dict[str, str]:
    """Component → what it is under: of a CycloneDX document, or of a folder of libraries."""
    if path.is_dir():
        found = {
            f"{told['Name']}@{told['Version']}": metadata.expression(
                {
                    key: told.get_all(key, [])
                    for key in ("license-expression", "license", "classifier")
                }
            )
            for known in importlib.metadata.distributions(path=[str(path)])
            if (told := known.metadata)["Name"]
        }
        if not found:
            raise Usage(f"{path} holds no installed library", code="licences.input")
        return found
    bom = read_bom(read_text(path))
    if bom is None:
        raise Usage(
            f"{path} does not say what anything is licensed under",
            remedy="give CycloneDX JSON, or a folder of installed libraries",
            code="licences.input",
        )
    return from_bom(bom)


def from_file_confined(payload: bytes) -> bytes:
    """`from_file` for a path in UTF-8, its answer in JSON: the form for `isolation.run`."""
    return msgspec.json.encode(from_file(Path(payload.decode())))


def _named(component: Mapping[str, Any]) -> str:
    name, version = component.get("name"), component.get("version")
    text = name if isinstance(name, str) and name else "(without a name)"
    return f"{text[:200]}@{version[:80]}" if isinstance(version, str) and version else text[:200]


def judge(given: Mapping[str, str], policy: Policy) -> dict[str, Any]:
    """``https://assay.dev/evidence/licences/v1``.  `allows` reads the verdict from it."""
    judged: dict[str, tuple[str, Verdict]] = {}
    for component, expression in given.items():
        said = policy.of(component, expressions.normalise(expression))
        judged[component] = (said, policy.judge(said))
    lists = {
        verdict: sorted(name for name, (_, told) in judged.items() if told == verdict)
        for verdict in ("denied", "unknown", "review")
    }
    return {
        "components": len(judged),
        "denied": [_told(name, judged) for name in lists["denied"][:MOST_LISTED]],
        "unknown": lists["unknown"][:MOST_LISTED],
        "review": [_told(name, judged) for name in lists["review"][:MOST_LISTED]],
        "denied_count": len(lists["denied"]),
        "unknown_count": len(lists["unknown"]),
        "review_count": len(lists["review"]),
        "obligations": _obligations(judged),
        "policy": canonical.digest(canonical.encode(policy)),
    }


def allows(predicate: Mapping[str, Any]) -> bool:
    """Whether nothing is denied, unknown, or still to be reviewed: what a gate would ask."""
    counts = ("denied_count", "unknown_count", "review_count")
    return all(predicate.get(name) == 0 for name in counts)


def _told(name: str, judged: Mapping[str, tuple[str, Verdict]]) -> str:
    return f"{name}: {judged[name][0]}"


def _obligations(judged: Mapping[str, tuple[str, Verdict]]) -> list[dict[str, Any]]:
    """For each licence with terms worth knowing: who is under it, and what it asks."""
    under: dict[str, set[str]] = {}
    for component, (expression, _) in judged.items():
        for licence in _licences(expression):
            if models.terms_of(licence) is not None:
                under.setdefault(licence, set()).add(component)
    found: list[dict[str, Any]] = []
    for licence in sorted(under):
        terms = models.terms_of(licence)
        if terms is not None:
            found.append(
                {
                    "licence": licence,
                    "components": sorted(under[licence])[:MOST_LISTED],
                    "asks": terms.obligations(),
                    "note": terms.note,
                    "source": terms.source,
                }
            )
    return found


def _licences(expression: str) -> set[str]:
    if expression == UNKNOWN:
        return set()

    def union(parts: list[set[str]]) -> set[str]:
        return set[str]().union(*parts)

    return expressions.fold(expression, lambda name, _: {name}, union, union) or set()
