"""The minimum elements of an SBOM for AI: for each, whether the bill has it and what it rests on.

Source: G7 Cybersecurity Working Group, *Software Bill of Materials for AI - Minimum Elements*
(published by the BSI and its partners on 12 May 2026):
https://www.bsi.bund.de/SharedDocs/Downloads/EN/BSI/KI/SBOM-for-AI_minimum-elements.html

The document itself could not be read where this was written.  The list below is put together from
what others publish about it: the seven clusters and their elements as SecurityWeek lists them (14
May 2026), and a JSON schema "derived from the G7 SBOM for AI minimum elements document" by
ShiftLeftCyber (github.com/shiftleftcyber/ai-bom, 1.0.0), whose fields of the seven clusters are
10 + 9 + 13 + 10 + 2 + 4 + 2 = 50.  The names follow that schema.  The numbers are ours, and what we
count as having an element is our reading.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, TypeAlias

import msgspec

from assay.supply.bom.model import Basis, Contents, Dataset, Told, evidence, unknown, worst

Status: TypeAlias = Literal["present", "declared", "known unknown"]
_STATUS: dict[str, Status] = {
    "evidence": "present",
    "declared": "declared",
    "unknown": "known unknown",
}
_Finds: TypeAlias = Callable[[Contents], Told]


class Element(msgspec.Struct, frozen=True):
    """One element: where in the CycloneDX document it stands, and why it has this status."""

    number: int
    cluster: str
    name: str
    status: Status
    where: str
    why: str


def check(contents: Contents) -> list[Element]:
    """All elements, in order."""
    made: list[Element] = []
    for number, (cluster, name, where, find) in enumerate(_ELEMENTS, start=1):
        told = find(contents)
        made.append(
            Element(
                number,
                cluster,
                name,
                _STATUS[told.basis],
                where if told.known else "",
                _why(told),
            )
        )
    return made


def counts(elements: Sequence[Element]) -> dict[str, int]:
    """How many have which status."""
    return {
        "present": sum(e.status == "present" for e in elements),
        "declared": sum(e.status == "declared" for e in elements),
        "known_unknown": sum(e.status == "known unknown" for e in elements),
    }


def _why(told: Told) -> str:
    if told.basis == "declared":
        return f"declared by {told.why}" if told.why else "declared"
    if told.basis == "unknown":
        return told.why
    said = [told.why] if told.why else []
    return "; ".join([*said, f"statement {told.source}"] if told.source else said)


# -- how each is found ----------------------------------------------------------------------------


def _model(name: str) -> _Finds:
    return lambda c: getattr(c.model, name)


def _contents(name: str) -> _Finds:
    return lambda c: getattr(c, name)


def _always(why: str) -> _Finds:
    """What this document has because it was written here."""
    return lambda _: Told(True, "evidence", "", why)


def _each(find: Callable[[Dataset], Told], what: str) -> _Finds:
    """Of the datasets together, the least that holds for each of them."""

    def found(contents: Contents) -> Told:
        if not contents.datasets:
            return unknown("no dataset is known that it was trained or judged on")
        told = [find(dataset) for dataset in contents.datasets]
        basis = worst(told)
        if basis == "unknown":
            lacking = [
                f"{dataset.name}: {value.why}"
                for dataset, value in zip(contents.datasets, told, strict=True)
                if not value.known
            ]
            return unknown("; ".join(dict.fromkeys(lacking)))
        whose = "; ".join(
            dict.fromkeys(value.why for value in told if value.why and value.basis == basis)
        )
        source = next((value.source for value in told if value.basis == basis), "")
        if basis == "declared":
            return Told(True, "declared", source, whose)
        return evidence(True, source, "; ".join(filter(None, [what, whose])))

    return found


def _sensitivity(dataset: Dataset) -> Told:
    both = [dataset.personal, dataset.special]
    return next(told for told in both if told.basis == worst(both))


def _signature(contents: Contents) -> Told:
    if not contents.signatures:
        return unknown("nothing that it is gathered from is signed")
    return Told(True, "evidence", "", "the statement that carries this document is signed (DSSE)")


def _relations(contents: Contents) -> Told:
    if contents.libraries_known == "unknown":
        return unknown(contents.libraries_why or "nobody says which libraries it was made with")
    return Told(True, _basis(contents), "", contents.libraries_why)


def _basis(contents: Contents) -> Basis:
    """What the list of libraries rests on: the least of what its entries do."""
    return "declared" if any(x.basis != "evidence" for x in contents.libraries) else "evidence"


def _components(contents: Contents) -> Told:
    parts = len(contents.libraries) + len(contents.datasets) + len(contents.code)
    if not parts:
        return unknown("nothing but the model itself is known")
    source = next((x.source for x in [*contents.libraries, *contents.code] if x.source), "")
    if not any(x.basis == "evidence" for x in contents.libraries) and not contents.code:
        return Told(parts, "declared", source, "whoever registered it, and the model file")
    return evidence(parts, source, f"{parts} components")


def _software(contents: Contents) -> Told:
    if not contents.libraries:
        return unknown(contents.libraries_why or "nobody says which libraries it was made with")
    if contents.libraries_known == "unknown":
        return Told(True, "declared", "", "the model file, or its conversion, which names some")
    source = next((library.source for library in contents.libraries if library.source), "")
    return Told(True, _basis(contents), source, contents.libraries_why)


def _hash_algorithm(contents: Contents) -> Told:
    artifact = contents.model.artifact
    return msgspec.structs.replace(artifact, why="SHA-256") if artifact.known else artifact


def _identifier(contents: Contents) -> Told:
    artifact = contents.model.artifact
    why = "a package URL, and the digest of its bytes"
    return msgspec.structs.replace(artifact, why=why) if artifact.known else artifact


def _named(contents: Contents) -> Told:
    source = contents.model.artifact.source
    return evidence(contents.model.name, source)


def _version(contents: Contents) -> Told:
    return evidence(contents.model.version, contents.model.artifact.source)


def _properties(contents: Contents) -> Told:
    """Its family or architecture, and its task."""
    model = contents.model
    told = [value for value in (model.architecture, model.family) if value.known]
    return told[0] if told else model.architecture


def _inputs_outputs(contents: Contents) -> Told:
    model = contents.model
    basis = worst([model.inputs, model.outputs])
    return next(told for told in (model.inputs, model.outputs) if told.basis == basis)


def _training(contents: Contents) -> Told:
    if contents.steps:
        return evidence(True, contents.steps[0].source, f"{len(contents.steps)} steps of a run")
    return contents.model.training


def _metrics(kind: str, otherwise: str, note: str) -> _Finds:
    def found(contents: Contents) -> Told:
        metrics = [metric for metric in contents.model.metrics if metric.kind == kind]
        if not metrics:
            return unknown(otherwise)
        names = ", ".join(dict.fromkeys(metric.name for metric in metrics))
        return evidence(True, metrics[0].source, f"{names}{note}")

    return found


_METADATA = "Metadata"
_SYSTEM = "System level properties"
_MODELS = "Models"
_DATASETS = "Dataset properties"
_INFRASTRUCTURE = "Infrastructure"
_SECURITY = "Security properties"
_KPI = "Key performance indicators"
_COMPONENT = "$.metadata.component"
_CARD = f"{_COMPONENT}.modelCard"
_DATA = "$.components[type=data]"
_PROPERTIES = "$.metadata.properties"

_ELEMENTS: tuple[tuple[str, str, str, _Finds], ...] = (
    (_METADATA, "SBOM author", "$.metadata.authors", _contents("author")),
    (_METADATA, "SBOM version", "$.version", _always("the first of this serial number")),
    (_METADATA, "SBOM data format name", "$.bomFormat", _always("CycloneDX, and SPDX beside it")),
    (_METADATA, "SBOM data format version", "$.specVersion", _always("1.7, and 3.0.1")),
    (_METADATA, "SBOM author signature", f"{_COMPONENT}.externalReferences", _signature),
    (_METADATA, "SBOM tool name", "$.metadata.tools.components[0].name", _always("assay")),
    (
        _METADATA,
        "SBOM tool version",
        "$.metadata.tools.components[0].version",
        lambda c: Told(c.assay, "evidence", "", c.assay) if c.assay else unknown("not recorded"),
    ),
    (_METADATA, "SBOM generation context", "$.metadata.lifecycles", _always("after the build")),
    (
        _METADATA,
        "SBOM timestamp",
        "$.metadata.timestamp",
        _always("that of the newest statement it is gathered from"),
    ),
    (_METADATA, "SBOM dependency relationships", "$.dependencies", _relations),
    (_SYSTEM, "System name", f"{_COMPONENT}.name", _named),
    (_SYSTEM, "System components", "$.components", _components),
    (
        _SYSTEM,
        "System producer",
        "$.metadata.manufacturer",
        lambda c: Told(c.workspace, "evidence", "", "the workspace that signs for it"),
    ),
    (_SYSTEM, "System version", f"{_COMPONENT}.version", _version),
    (_SYSTEM, "System timestamp", f"{_COMPONENT}.properties", _model("registered")),
    (_SYSTEM, "System data flow", _PROPERTIES, _contents("data_flow")),
    (_SYSTEM, "System data usage", _PROPERTIES, _contents("data_usage")),
    (
        _SYSTEM,
        "System input-output properties",
        f"{_CARD}.modelParameters.inputs",
        _inputs_outputs,
    ),
    (_SYSTEM, "Intended application area", _PROPERTIES, _contents("application_area")),
    (_MODELS, "Model name", f"{_COMPONENT}.name", _named),
    (_MODELS, "Model identifiers", f"{_COMPONENT}.purl", _identifier),
    (_MODELS, "Model version", f"{_COMPONENT}.version", _version),
    (_MODELS, "Model timestamp", f"{_COMPONENT}.properties", _model("registered")),
    (_MODELS, "Model producers", f"{_COMPONENT}.supplier", _model("producer")),
    (_MODELS, "Model description", f"{_COMPONENT}.description", _model("description")),
    (_MODELS, "Model hash value", f"{_COMPONENT}.hashes", _model("artifact")),
    (_MODELS, "Model hash algorithm", f"{_COMPONENT}.hashes", _hash_algorithm),
    (
        _MODELS,
        "Model properties",
        f"{_CARD}.modelParameters.modelArchitecture",
        _properties,
    ),
    (
        _MODELS,
        "Model input-output properties",
        f"{_CARD}.modelParameters.inputs",
        _inputs_outputs,
    ),
    (_MODELS, "Model training properties", "$.formulation", _training),
    (_MODELS, "Model license", f"{_COMPONENT}.licenses", _model("licence")),
    (_MODELS, "Model external references", f"{_COMPONENT}.properties", _model("references")),
    (
        _DATASETS,
        "Dataset name",
        f"{_DATA}.name",
        _each(lambda d: msgspec.structs.replace(d.content, value=d.name), ""),
    ),
    (
        _DATASETS,
        "Dataset description",
        f"{_DATA}.data[0].description",
        _each(lambda d: d.description, ""),
    ),
    (_DATASETS, "Dataset content", f"{_DATA}.properties", _each(lambda d: d.columns, "")),
    (
        _DATASETS,
        "Dataset identifiers",
        f"{_DATA}.properties",
        _each(lambda d: d.content, "name and keyed digest"),
    ),
    (
        _DATASETS,
        "Dataset hash",
        f"{_DATA}.properties",
        _each(lambda d: d.content, "keyed (HMAC-SHA-256): only who holds the key can compare it"),
    ),
    (_DATASETS, "Dataset provenance", f"{_DATA}.properties", _each(lambda d: d.origin, "")),
    (
        _DATASETS,
        "Dataset statistical properties",
        f"{_DATA}.properties",
        _each(lambda d: d.statistics, ""),
    ),
    (
        _DATASETS,
        "Dataset sensitivity",
        f"{_DATA}.data[0].classification",
        _each(_sensitivity, ""),
    ),
    (
        _DATASETS,
        "Dataset dependency relationships",
        f"{_DATA}.properties",
        _each(lambda d: d.made_from, ""),
    ),
    (_DATASETS, "Dataset license", f"{_DATA}.licenses", _each(lambda d: d.licence, "")),
    (_INFRASTRUCTURE, "Infrastructure software", "$.components[type=library]", _software),
    (_INFRASTRUCTURE, "Infrastructure hardware", _PROPERTIES, _contents("hardware")),
    (_SECURITY, "Security controls", _PROPERTIES, _contents("controls")),
    (_SECURITY, "Security compliance", _PROPERTIES, _contents("compliance")),
    (_SECURITY, "Cybersecurity policy information", _PROPERTIES, _contents("security_policy")),
    (
        _SECURITY,
        "Vulnerability referencing",
        f"{_COMPONENT}.externalReferences",
        _contents("vulnerabilities"),
    ),
    (
        _KPI,
        "Security metrics",
        f"{_CARD}.quantitativeAnalysis",
        _metrics("security", "nothing of its security was measured", ""),
    ),
    (
        _KPI,
        "Operational performance KPIs",
        f"{_CARD}.quantitativeAnalysis",
        _metrics("quality", "how well it works was not measured", "; before release, not in use"),
    ),
)
