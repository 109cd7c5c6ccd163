"""A bill of materials as CycloneDX 1.7 JSON (https://cyclonedx.org/docs/1.7/json/).

Written directly: the object model of the library for CycloneDX has no place for model cards, data
and formulation, and leaves them out without a word.  `validate` holds a document to the published
schema.  The same contents give the same bytes; the serial number is derived from them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from assay import canonical
from assay.supply.bom.model import (
    Code,
    Contents,
    Dataset,
    Library,
    Licence,
    Metric,
    Model,
    Step,
    Told,
    Tool,
    normal,
)
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
    uuid_of,
)
from assay.supply.bom.schema import validate

__all__ = ["PREDICATE_TYPE", "document", "encode", "purl", "validate"]

PREDICATE_TYPE = "https://cyclonedx.org/bom"
SPEC_VERSION = "1.7"
_SCHEMA = "http://cyclonedx.org/schema/bom-1.7.schema.json"


def document(contents: Contents) -> dict[str, Any]:
    """The bill as a CycloneDX document."""
    contents = normal(contents)
    refs = Refs(contents)
    made: dict[str, Any] = {
        "$schema": _SCHEMA,
        "bomFormat": "CycloneDX",
        "specVersion": SPEC_VERSION,
        "version": 1,
        "metadata": _metadata(contents, refs),
        "components": [
            *(_dataset(dataset, refs) for dataset in contents.datasets),
            *(_code(code, refs) for code in contents.code),
            *(_library(library, refs) for library in contents.libraries),
            *(_tool(tool, refs) for tool in contents.tools),
        ],
        "dependencies": _dependencies(contents, refs),
        "compositions": _compositions(contents),
    }
    if contents.steps:
        made["formulation"] = [_formula(contents, refs)]
    return {**made, "serialNumber": f"urn:uuid:{uuid_of(made)}"}


def encode(made: Mapping[str, Any]) -> bytes:
    """The bytes of a document."""
    return canonical.encode(made)


# -- the parts ------------------------------------------------------------------------------------


def _metadata(contents: Contents, refs: Refs) -> dict[str, Any]:
    told = [
        ("author", contents.author),
        ("system", contents.system),
        ("data_flow", contents.data_flow),
        ("data_usage", contents.data_usage),
        ("application_area", contents.application_area),
        ("hardware", contents.hardware),
        ("controls", contents.controls),
        ("compliance", contents.compliance),
        ("security_policy", contents.security_policy),
        ("vulnerabilities", contents.vulnerabilities),
    ]
    made: dict[str, Any] = {
        "timestamp": contents.issued,
        "lifecycles": [{"phase": "post-build"}],
        "tools": {
            "components": [
                only(
                    {"type": "application", "name": "assay", "version": contents.assay},
                )
            ]
        },
        "manufacturer": {"name": f"assay workspace {contents.workspace}"},
        "component": _model(contents, refs),
        "properties": [
            prop("project", contents.project),
            *(item for name, value in told for item in tell(name, value)),
        ],
    }
    if contents.author.known:
        made["authors"] = [{"name": str(contents.author.value)}]
    return made


def _model(contents: Contents, refs: Refs) -> dict[str, Any]:
    model = contents.model
    told = [
        ("artifact", model.artifact),
        ("served", model.served),
        ("producer", model.producer),
        ("registered", model.registered),
        ("format", model.format),
        ("parent", model.parent),
        ("references", model.references),
        ("licence", model.licence),
    ]
    made: dict[str, Any] = {
        "type": "machine-learning-model",
        "bom-ref": MODEL,
        "name": model.name,
        "version": model.version,
        "purl": model_purl(model.name, model.version),
        "hashes": _hashes(model.artifact),
        "licenses": _licences(model.licence),
        "description": str(model.description.value) if model.description.known else "",
        "modelCard": _card(contents, refs),
        "externalReferences": _references(contents),
        "properties": [
            *(item for name, value in told for item in tell(name, value)),
            *(
                prop("signed-by", f"{s.keyid} {s.key_kind} {s.kind} {s.statement}")
                for s in contents.signatures
            ),
        ],
    }
    if model.producer.known:
        made["supplier"] = {"name": str(model.producer.value)}
    if model.parent.known:
        made["pedigree"] = {"ancestors": [_ancestor(model.parent)]}
    return only(made)


def _ancestor(parent: Told) -> dict[str, Any]:
    text = str(parent.value)
    made: dict[str, Any] = {"type": "machine-learning-model", "name": text}
    return {**made, "hashes": _hashes(parent)} if is_sha256(text) else made


def _card(contents: Contents, refs: Refs) -> dict[str, Any]:
    model = contents.model
    parameters: dict[str, Any] = {
        "approach": {"type": model.approach.value} if model.approach.known else {},
        "task": str(model.task.value) if model.task.known else "",
        "architectureFamily": str(model.family.value) if model.family.known else "",
        "modelArchitecture": str(model.architecture.value) if model.architecture.known else "",
        "datasets": [{"ref": refs.dataset(dataset)} for dataset in contents.datasets],
        "inputs": [{"format": item} for item in listed(model.inputs)],
        "outputs": [{"format": item} for item in listed(model.outputs)],
    }
    considerations: dict[str, Any] = {
        "useCases": listed(model.purpose),
        "technicalLimitations": listed(model.limitations),
    }
    told = [
        ("purpose", model.purpose),
        ("description", model.description),
        ("limitations", model.limitations),
        ("task", model.task),
        ("family", model.family),
        ("architecture", model.architecture),
        ("inputs", model.inputs),
        ("outputs", model.outputs),
        ("approach", model.approach),
        ("training", model.training),
    ]
    return only(
        {
            "modelParameters": only(parameters),
            "quantitativeAnalysis": only(
                {"performanceMetrics": [_metric(metric) for metric in model.metrics]}
            ),
            "considerations": only(considerations),
            "properties": [
                *(item for name, value in told for item in tell(name, value)),
                *(prop(f"source:metric:{name}", source) for name, source in _metric_sources(model)),
            ],
        }
    )


def _metric_sources(model: Model) -> list[tuple[str, str]]:
    return sorted({(metric.name, metric.source) for metric in model.metrics if metric.source})


def _metric(metric: Metric) -> dict[str, Any]:
    bounds = only({"lowerBound": metric.lower, "upperBound": metric.upper})
    return only(
        {
            "type": metric.name,
            "value": metric.value,
            "slice": metric.part,
            "confidenceInterval": bounds,
        }
    )


def _references(contents: Contents) -> list[dict[str, Any]]:
    made = [
        {
            "type": "attestation",
            "url": f"urn:assay:envelope:{statement}",
            "comment": f"signed statement: {kind}",
        }
        for kind, statement in sorted({(s.kind, s.statement) for s in contents.signatures})
    ]
    if contents.vulnerabilities.known:
        made.append(
            {
                "type": "vulnerability-assertion",
                "url": f"urn:assay:envelope:{contents.vulnerabilities.source}",
                "comment": str(contents.vulnerabilities.value),
            }
        )
    return made


def _dataset(dataset: Dataset, refs: Refs) -> dict[str, Any]:
    told = [
        (name, getattr(dataset, name))
        for name in (
            *("content", "description", "owner", "origin", "licence", "personal", "special"),
            *("legal_basis", "purposes", "format", "columns", "statistics", "made_from"),
        )
    ]
    sensitive = [
        word
        for word, value in (
            ("personal data", dataset.personal),
            ("special categories of personal data", dataset.special),
        )
        if value.known and value.value is True
    ]
    data: dict[str, Any] = {
        "type": "dataset",
        "name": dataset.name,
        "description": str(dataset.description.value) if dataset.description.known else "",
        "classification": _classified(dataset),
        "sensitiveData": sensitive,
    }
    if dataset.owner.known:
        data["governance"] = {"owners": [{"organization": {"name": str(dataset.owner.value)}}]}
    return only(
        {
            "type": "data",
            "bom-ref": refs.dataset(dataset),
            "name": dataset.name,
            "version": str(dataset.content.value) if dataset.content.known else "",
            "licenses": _licences(dataset.licence),
            "data": [only(data)],
            "properties": [
                prop("use", dataset.use),
                *(item for name, value in told for item in tell(name, value)),
            ],
        }
    )


def _classified(dataset: Dataset) -> str:
    if dataset.special.known and dataset.special.value is True:
        return "special categories of personal data"
    if not dataset.personal.known:
        return "unknown"
    return "personal data" if dataset.personal.value is True else "not personal data"


def _code(code: Code, refs: Refs) -> dict[str, Any]:
    return only(
        {
            "type": "file",
            "bom-ref": refs.code(code),
            "name": code.name,
            "hashes": _sha256(code.digest),
            "properties": [prop("basis", "evidence"), *source_of(code.source)],
        }
    )


def _library(library: Library, refs: Refs) -> dict[str, Any]:
    made: dict[str, Any] = {
        "type": "library",
        "bom-ref": refs.library(library),
        "name": library.name,
        "version": library.version,
        "purl": purl(library.name, library.version),
        "hashes": _hashes(library.digest),
        "licenses": _licences(library.licence),
        "properties": [
            prop("use", library.use),
            prop("basis", library.basis),
            *source_of(library.source),
            *([prop("hash-of", library.digest_of)] if library.digest.known else []),
            *tell("digest", library.digest),
            *tell("licence", library.licence),
            *tell("supplier", library.supplier),
        ],
    }
    if library.supplier.known:
        made["supplier"] = {"name": str(library.supplier.value)}
    return only(made)


def _tool(tool: Tool, refs: Refs) -> dict[str, Any]:
    return only(
        {
            "type": "application",
            "bom-ref": refs.tool(tool),
            "name": tool.name,
            "version": tool.version,
            "scope": "excluded",
            "properties": [prop("use", tool.use), *source_of(tool.source)],
        }
    )


def _dependencies(contents: Contents, refs: Refs) -> list[dict[str, Any]]:
    """Tools are no dependencies: they are not in the model."""
    libraries = contents.libraries
    parts = [
        *(refs.dataset(dataset) for dataset in contents.datasets if dataset.use == "training"),
        *(refs.code(code) for code in contents.code),
        *(refs.library(library) for library in libraries),
    ]
    made = [{"ref": MODEL, "dependsOn": parts}] if parts else [{"ref": MODEL}]
    for library in libraries:
        needs = sorted(
            {ref for name in library.requires for ref in refs.named(name, libraries)}
            - {refs.library(library)}
        )
        made.append(only({"ref": refs.library(library), "dependsOn": needs}))
    return made


def _compositions(contents: Contents) -> list[dict[str, Any]]:
    """How complete the lists are: for a model that somebody brought, nobody knows."""
    return [{"aggregate": contents.libraries_known, "dependencies": [MODEL]}]


def _formula(contents: Contents, refs: Refs) -> dict[str, Any]:
    runs: dict[str, list[Step]] = {}
    for step in contents.steps:
        runs.setdefault(step.run, []).append(step)
    return {
        "bom-ref": "formulation",
        "workflows": [
            {
                "bom-ref": f"run:{run}",
                "uid": run or "unknown",
                "name": steps[0].pipeline,
                "taskTypes": ["build"],
                "tasks": [_task(step, refs) for step in steps],
            }
            for run, steps in runs.items()
        ],
    }


def _task(step: Step, refs: Refs) -> dict[str, Any]:
    def resources(digests: Iterable[str]) -> list[dict[str, Any]]:
        known = [refs.by_digest[digest] for digest in digests if digest in refs.by_digest]
        return [{"resource": {"ref": ref}} for ref in dict.fromkeys(known)]

    parameters = [{"name": name, "value": value} for name, value in sorted(step.parameters.items())]
    return only(
        {
            "bom-ref": refs.step(step),
            "uid": step.name,
            "name": step.name,
            "taskTypes": ["build"],
            "inputs": [
                *([{"parameters": parameters}] if parameters else []),
                *resources(step.inputs),
            ],
            "outputs": [{"type": "artifact", **item} for item in resources(step.outputs)],
            "timeEnd": step.finished,
            "properties": [
                prop("environment", step.environment),
                prop("isolation", step.isolation),
                *(prop("input", digest) for digest in step.inputs),
                *(prop("output", digest) for digest in step.outputs),
                *source_of(step.source),
            ],
        }
    )


# -- small things ---------------------------------------------------------------------------------


def _hashes(told: Told) -> list[dict[str, str]]:
    return _sha256(str(told.value)) if told.known else []


def _sha256(digest: str) -> list[dict[str, str]]:
    if not is_sha256(digest):
        return []
    return [{"alg": "SHA-256", "content": digest.removeprefix("sha256:")}]


def _licences(licence: Licence) -> list[dict[str, Any]]:
    if not licence.known:
        return []
    text = str(licence.value)
    if licence.spdx:
        return [{"expression": text, "acknowledgement": "declared"}]
    return [{"license": {"name": text, "acknowledgement": "declared"}}]
