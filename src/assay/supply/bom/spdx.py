"""A bill of materials as SPDX 3.0.1 (https://spdx.github.io/spdx-spec/v3.0.1/), in JSON-LD.

The profiles are Core, Software, SimpleLicensing, AI, Dataset, Build and Extension.  What a value
rests on stands in the extension that SPDX has for CycloneDX's properties, under the same names as
in the CycloneDX document.  `validate` holds a document to the published model.  The same contents
give the same bytes; the ids are derived from them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote

import msgspec

from assay import canonical
from assay.supply.bom.model import Code, Contents, Dataset, Library, Licence, Model, Step, normal
from assay.supply.bom.parts import (
    MODEL,
    Refs,
    is_sha256,
    listed,
    model_purl,
    only,
    prop,
    purl,
    source_of,
    tell,
    text,
    uuid_of,
)
from assay.supply.bom.spdx_model import validate

__all__ = ["PREDICATE_TYPE", "document", "encode", "validate"]

PREDICATE_TYPE = "https://spdx.dev/Document"
CONTEXT = "https://spdx.org/rdf/3.0.1/spdx-context.jsonld"
_CREATION = "_:creation"
_PROFILES = ("ai", "build", "core", "dataset", "extension", "simpleLicensing", "software")


def document(contents: Contents) -> dict[str, Any]:
    """The bill as an SPDX document."""
    return _Writer(normal(contents)).document()


def encode(made: Mapping[str, Any]) -> bytes:
    """The bytes of a document."""
    return canonical.encode(made)


class _Writer:
    """Collects the elements of one document."""

    def __init__(self, contents: Contents) -> None:
        self._contents = contents
        self._refs = Refs(contents)
        self._base = f"urn:uuid:{uuid_of(msgspec.to_builtins(contents))}#"
        self._elements: list[dict[str, Any]] = []
        self._created = contents.issued[:19] + "Z"  # SPDX knows no fractions of a second.

    def id(self, name: str) -> str:
        return self._base + quote(name, safe=":@._~-")

    def document(self) -> dict[str, Any]:
        c = self._contents
        workspace = self._agent("workspace", f"assay workspace {c.workspace}", "Organization")
        author = workspace
        if c.author.known:
            author = self._agent("author", str(c.author.value), "Agent")
        tool = self._add("Tool", "tool:assay", name=f"assay {c.assay}".strip())
        model = self._model(c.model, workspace)
        for dataset in c.datasets:
            self._dataset(dataset)
        for code in c.code:
            self._code(code)
        for library in c.libraries:
            self._library(library)
        for other in c.tools:
            named = f"{other.name} {other.version}".strip()
            ref = self._add("Tool", self._refs.tool(other), name=named, summary=other.use)
            self._relate("usesTool", MODEL, [ref])
        for step in c.steps:
            self._step(step)
        self._relations()
        ids = [element["spdxId"] for element in self._elements]
        sbom = self._add(
            "software_Sbom",
            "sbom",
            name=f"bill of materials of {c.model.name} {c.model.version}",
            software_sbomType=["build"],
            rootElement=[model],
            element=ids,
            extension=_extension(self._told()),
        )
        self._add(
            "SpdxDocument",
            "document",
            name=f"bill of materials of {c.model.name} {c.model.version}",
            profileConformance=list(_PROFILES),
            rootElement=[sbom],
            element=ids,
        )
        creation = {
            "type": "CreationInfo",
            "@id": _CREATION,
            "specVersion": "3.0.1",
            "created": self._created,
            "createdBy": [author],
            "createdUsing": [tool],
        }
        return {"@context": CONTEXT, "@graph": [creation, *self._elements]}

    def _add(self, kind: str, part: str, /, **fields: Any) -> str:
        ref = self.id(part)
        made = {"type": kind, "spdxId": ref, "creationInfo": _CREATION, **fields}
        self._elements.append(only(made))
        return ref

    def _agent(self, ref: str, name: str, kind: str) -> str:
        known = self.id(ref)
        if all(element["spdxId"] != known for element in self._elements):
            self._add(kind, ref, name=name)
        return known

    def _told(self) -> list[dict[str, str]]:
        c = self._contents
        names = (
            *("author", "system", "data_flow", "data_usage", "application_area", "hardware"),
            *("controls", "compliance", "security_policy", "vulnerabilities"),
        )
        return [
            prop("project", c.project),
            *(item for name in names for item in tell(name, getattr(c, name))),
        ]

    # -- the parts --------------------------------------------------------------------------------

    def _model(self, model: Model, workspace: str) -> str:
        supplier = workspace
        if model.producer.known:
            supplier = self._agent("producer", str(model.producer.value), "Agent")
        quality = [
            _entry(m.name + (f" ({m.part})" if m.part else ""), m.value, m.lower, m.upper)
            for m in model.metrics
        ]
        names = (
            *("artifact", "served", "producer", "registered", "purpose", "description"),
            *("limitations", "licence", "format", "family", "architecture", "task", "inputs"),
            *("outputs", "approach", "training", "parent", "references"),
        )
        signed = [
            prop("signed-by", f"{s.keyid} {s.key_kind} {s.kind} {s.statement}")
            for s in self._contents.signatures
        ]
        personal = [d.personal for d in self._contents.datasets if d.use == "training"]
        return self._add(
            "ai_AIPackage",
            MODEL,
            name=model.name,
            software_packageVersion=model.version,
            software_packageUrl=model_purl(model.name, model.version),
            software_primaryPurpose="model",
            description=_one(model.description),
            suppliedBy=supplier,
            releaseTime=str(model.registered.value)[:19] + "Z" if model.registered.known else "",
            verifiedUsing=_hash(model.artifact),
            ai_informationAboutTraining=_one(model.training),
            ai_informationAboutApplication=_one(self._contents.application_area),
            ai_limitation="; ".join(listed(model.limitations)),
            ai_domain=listed(model.purpose),
            ai_typeOfModel=[*listed(model.family), *listed(model.architecture)],
            ai_metric=quality,
            ai_useSensitivePersonalInformation=_presence(
                [d.special for d in self._contents.datasets if d.use == "training"]
            )
            if personal
            else "noAssertion",
            extension=_extension(
                [item for name in names for item in tell(name, getattr(model, name))] + signed
            ),
        )

    def _dataset(self, dataset: Dataset) -> None:
        name = self._refs.dataset(dataset)
        owner = ""
        if dataset.owner.known:
            owner = self._agent(f"owner:{name}", str(dataset.owner.value), "Organization")
        statistics: Any = dataset.statistics.value if dataset.statistics.known else {}
        rows: Any = statistics.get("rows") if isinstance(statistics, Mapping) else None  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        names = (
            *("content", "description", "owner", "origin", "licence", "personal", "special"),
            *("legal_basis", "purposes", "format", "columns", "statistics", "made_from"),
        )
        self._add(
            "dataset_DatasetPackage",
            name,
            name=dataset.name,
            software_packageVersion=_one(dataset.content),
            description=_one(dataset.description),
            software_primaryPurpose="data",
            originatedBy=[owner] if owner else [],
            verifiedUsing=[
                {
                    "type": "Hash",
                    "algorithm": "other",
                    "hashValue": str(dataset.content.value).removeprefix("sha256:"),
                    "comment": "HMAC-SHA-256 of the content under a key of the project",
                }
            ]
            if dataset.content.known
            else [],
            dataset_datasetType=["structured"],
            dataset_dataCollectionProcess=_one(dataset.origin),
            dataset_intendedUse=", ".join(listed(dataset.purposes)),
            dataset_hasSensitivePersonalInformation=_presence([dataset.special]),
            dataset_datasetSize=rows if isinstance(rows, int) and rows >= 0 else None,
            extension=_extension(
                [
                    prop("use", dataset.use),
                    *(item for name in names for item in tell(name, getattr(dataset, name))),
                ]
            ),
        )
        self._licence(name, dataset.licence)

    def _code(self, code: Code) -> None:
        self._add(
            "software_File",
            self._refs.code(code),
            name=code.name,
            software_primaryPurpose="source",
            verifiedUsing=[_sha256(code.digest)] if is_sha256(code.digest) else [],
            extension=_extension([prop("basis", "evidence"), *source_of(code.source)]),
        )

    def _library(self, library: Library) -> None:
        name = self._refs.library(library)
        supplier = ""
        if library.supplier.known:
            supplier = self._agent(f"supplier:{name}", str(library.supplier.value), "Agent")
        self._add(
            "software_Package",
            name,
            name=library.name,
            software_packageVersion=library.version,
            software_packageUrl=purl(library.name, library.version),
            software_primaryPurpose="library",
            suppliedBy=supplier,
            verifiedUsing=_hash(library.digest),
            extension=_extension(
                [
                    prop("use", library.use),
                    prop("basis", library.basis),
                    *source_of(library.source),
                    *([prop("hash-of", library.digest_of)] if library.digest.known else []),
                    *tell("digest", library.digest),
                    *tell("licence", library.licence),
                    *tell("supplier", library.supplier),
                ]
            ),
        )
        self._licence(name, library.licence)

    def _licence(self, name: str, licence: Licence) -> None:
        if not licence.known:
            self._relate("hasDeclaredLicense", name, ["expandedlicensing_NoAssertionLicense"])
            return
        said = str(licence.value)
        expression = said if licence.spdx else f"LicenseRef-{_idstring(said)}"
        ref = self._add(
            "simplelicensing_LicenseExpression",
            f"licence:{name}",
            simplelicensing_licenseExpression=expression,
            comment="" if licence.spdx else said,
        )
        self._relate("hasDeclaredLicense", name, [ref])

    def _step(self, step: Step) -> None:
        known = self._refs.by_digest
        name = self._refs.step(step)
        self._add(
            "build_Build",
            name,
            name=step.name,
            build_buildType="https://assay.dev/pipeline-step/v1",
            build_buildId=step.run,
            build_configSourceEntrypoint=[step.pipeline] if step.pipeline else [],
            build_parameter=[_entry(key, value) for key, value in sorted(step.parameters.items())],
            build_buildEndTime=f"{step.finished[:19]}Z" if step.finished else "",
            extension=_extension(
                [
                    prop("environment", step.environment),
                    prop("isolation", step.isolation),
                    *(prop("input", digest) for digest in step.inputs),
                    *(prop("output", digest) for digest in step.outputs),
                    *source_of(step.source),
                ]
            ),
        )
        for relation, digests in (("hasInput", step.inputs), ("hasOutput", step.outputs)):
            found = dict.fromkeys(known[digest] for digest in digests if digest in known)
            self._relate(relation, name, [self.id(ref) for ref in found])

    # -- relations --------------------------------------------------------------------------------

    def _relations(self) -> None:
        c, refs = self._contents, self._refs
        for use, relation in (("training", "trainedOn"), ("test", "testedOn")):
            there = [self.id(refs.dataset(d)) for d in c.datasets if d.use == use]
            self._relate(relation, MODEL, there)
        libraries = [self.id(refs.library(library)) for library in c.libraries]
        self._relate("dependsOn", MODEL, libraries, complete=c.libraries_known)
        self._relate("hasPrerequisite", MODEL, [self.id(refs.code(code)) for code in c.code])
        for library in c.libraries:
            mine = refs.library(library)
            needs = {ref for name in library.requires for ref in refs.named(name, c.libraries)}
            self._relate("dependsOn", mine, [self.id(ref) for ref in sorted(needs - {mine})])
        if c.model.licence.known:
            self._licence(MODEL, c.model.licence)
        else:
            self._relate("hasDeclaredLicense", MODEL, ["expandedlicensing_NoAssertionLicense"])

    def _relate(self, kind: str, from_: str, to: Iterable[str], *, complete: str = "") -> None:
        there = list(to)
        if not there:
            return
        name = f"relation:{kind}:{from_}"
        if kind == "usesTool":
            name += f":{len(self._elements)}"
        known = {"complete": "complete", "incomplete": "incomplete", "unknown": "noAssertion"}
        self._add(
            "Relationship",
            name,
            **{"from": self.id(from_)},
            relationshipType=kind,
            to=there,
            completeness=known.get(complete, ""),
        )


def _extension(properties: list[dict[str, str]]) -> list[dict[str, Any]]:
    return [
        {
            "type": "extension_CdxPropertiesExtension",
            "extension_cdxProperty": [
                {
                    "type": "extension_CdxPropertyEntry",
                    "extension_cdxPropName": item["name"],
                    "extension_cdxPropValue": item["value"],
                }
                for item in properties
            ],
        }
    ]


def _entry(key: str, value: str, lower: str = "", upper: str = "") -> dict[str, str]:
    bounds = f" ({lower} to {upper})" if lower and upper else ""
    return {"type": "DictionaryEntry", "key": key, "value": value + bounds}


def _one(told: Any) -> str:
    return text(told.value) if told.known else ""


def _hash(told: Any) -> list[dict[str, str]]:
    return [_sha256(str(told.value))] if told.known and is_sha256(str(told.value)) else []


def _sha256(digest: str) -> dict[str, str]:
    return {"type": "Hash", "algorithm": "sha256", "hashValue": digest.removeprefix("sha256:")}


def _presence(values: list[Any]) -> str:
    """Yes if it is so of one, no if of none, and no assertion where that is not known of each."""
    if any(value.known and value.value is True for value in values):
        return "yes"
    return "no" if values and all(value.known for value in values) else "noAssertion"


def _idstring(said: str) -> str:
    """A name as part of an SPDX id: letters, digits, dots and hyphens."""
    kept = "".join(c if c.isascii() and (c.isalnum() or c in ".-") else "-" for c in said)
    return kept.strip("-") or "unnamed"
