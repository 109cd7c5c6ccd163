"""A bill of materials as CycloneDX 1.7 JSON (https://cyclonedx.org/docs/1.7/json/).

Written directly: the object model of the library for CycloneDX has no place for model cards, data
and formulation, and leaves them out without a word.  `validate` holds a document to the published
schema.  The same contents give the same bytes; the serial number is derived from them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote
from uuid import UUID

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
from assay.supply.bom.schema import validate

__all__ = ["PREDICATE_TYPE", "document", "encode", "purl", "validate"]

PREDICATE_TYPE = "https://cyclonedx.org/bom"
SPEC_VERSION = "1.7"
_SCHEMA = "http://cyclonedx.org/schema/bom-1.7.schema.json"
MODEL = "model"
"""The bom-ref of the model."""


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
        "compositions": _compositions(contents, refs),
    }
    if contents.steps:
        made["formulation"] = [_formula(contents, refs)]
    return {**made, "serialNumber": _serial(made)}


def encode(made: Mapping[str, Any]) -> bytes:
    """The bytes of a document."""
    return canonical.encode(made)


def purl(name: str, version: str = "") -> str:
    """The package URL of a Python distribution (https://github.com/package-url/purl-spec)."""
    return f"pkg:pypi/{quote(name, safe='')}" + (f"@{quote(version, safe='')}" if version else "")


class Refs:
    """The names by which the parts of a bill refer to each other.

    They do not hold versions, so that another version is a change in one place; only where a
    library is there twice is it told apart by its version.
    """

    def __init__(self, contents: Contents) -> None:
        self._twice = Counter(library.name for library in contents.libraries)
        self._codes = Counter(code.name for code in contents.code)
        self._tools = Counter((tool.use, tool.name) for tool in contents.tools)
        self._tasks = Counter((step.run, step.name) for step in contents.steps)
        self.by_digest: dict[str, str] = {
            told.value: MODEL
            for told in (contents.model.artifact, contents.model.served)
            if told.known
        }
        for dataset in contents.datasets:
            if dataset.content.known:
                self.by_digest.setdefault(dataset.content.value, self.dataset(dataset))

    def dataset(self, dataset: Dataset) -> str:
        return f"dataset:{dataset.use}:{dataset.name}"

    def code(self, code: Code) -> str:
        apart = f"@{code.digest}" if self._codes[code.name] > 1 else ""
        return f"code:{code.name}{apart}"

    def library(self, library: Library) -> str:
        apart = f"@{library.version}" if self._twice[library.name] > 1 else ""
        return f"library:{library.name}{apart}"

    def named(self, name: str, libraries: Iterable[Library]) -> list[str]:
        """All libraries of that name."""
        return [self.library(library) for library in libraries if library.name == name]

    def tool(self, tool: Tool) -> str:
        apart = f"@{tool.version}" if self._tools[tool.use, tool.name] > 1 else ""
        return f"tool:{tool.use}:{tool.name}{apart}"

    def step(self, step: Step) -> str:
        apart = f"@{step.source}" if self._tasks[step.run, step.name] > 1 else ""
        return f"step:{step.run}:{step.name}{apart}"


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
                _only(
                    {"type": "application", "name": "assay", "version": contents.assay},
                )
            ]
        },
        "manufacturer": {"name": f"assay workspace {contents.workspace}"},
        "component": _model(contents, refs),
        "properties": [
            _property("project", contents.project),
            *(item for name, value in told for item in _properties(name, value)),
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
        "purl": f"pkg:generic/{quote(model.name, safe='')}@{quote(model.version, safe='')}",
        "hashes": _hashes(model.artifact),
        "licenses": _licences(model.licence),
        "description": str(model.description.value) if model.description.known else "",
        "modelCard": _card(contents, refs),
        "externalReferences": _references(contents),
        "properties": [
            *(item for name, value in told for item in _properties(name, value)),
            *(
                _property("signed-by", f"{s.keyid} {s.key_kind} {s.kind} {s.statement}")
                for s in contents.signatures
            ),
        ],
    }
    if model.producer.known:
        made["supplier"] = {"name": str(model.producer.value)}
    if model.parent.known:
        made["pedigree"] = {"ancestors": [_ancestor(model.parent)]}
    return _only(made)


def _ancestor(parent: Told) -> dict[str, Any]:
    text = str(parent.value)
    made: dict[str, Any] = {"type": "machine-learning-model", "name": text}
    return {**made, "hashes": _hashes(parent)} if _is_sha256(text) else made


def _card(contents: Contents, refs: Refs) -> dict[str, Any]:
    model = contents.model
    parameters: dict[str, Any] = {
        "approach": {"type": model.approach.value} if model.approach.known else {},
        "task": str(model.task.value) if model.task.known else "",
        "architectureFamily": str(model.family.value) if model.family.known else "",
        "modelArchitecture": str(model.architecture.value) if model.architecture.known else "",
        "datasets": [{"ref": refs.dataset(dataset)} for dataset in contents.datasets],
        "inputs": [{"format": item} for item in _listed(model.inputs)],
        "outputs": [{"format": item} for item in _listed(model.outputs)],
    }
    considerations: dict[str, Any] = {
        "useCases": _listed(model.purpose),
        "technicalLimitations": _listed(model.limitations),
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
    return _only(
        {
            "modelParameters": _only(parameters),
            "quantitativeAnalysis": _only(
                {"performanceMetrics": [_metric(metric) for metric in model.metrics]}
            ),
            "considerations": _only(considerations),
            "properties": [
                *(item for name, value in told for item in _properties(name, value)),
                *(
                    _property(f"source:metric:{name}", source)
                    for name, source in _metric_sources(model)
                ),
            ],
        }
    )


def _metric_sources(model: Model) -> list[tuple[str, str]]:
    return sorted({(metric.name, metric.source) for metric in model.metrics if metric.source})


def _metric(metric: Metric) -> dict[str, Any]:
    bounds = _only({"lowerBound": metric.lower, "upperBound": metric.upper})
    return _only(
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
    return _only(
        {
            "type": "data",
            "bom-ref": refs.dataset(dataset),
            "name": dataset.name,
            "licenses": _licences(dataset.licence),
            "data": [_only(data)],
            "properties": [
                _property("use", dataset.use),
                *(item for name, value in told for item in _properties(name, value)),
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
    return _only(
        {
            "type": "file",
            "bom-ref": refs.code(code),
            "name": code.name,
            "hashes": _sha256(code.digest),
            "properties": [_property("basis", "evidence"), *_source(code.source)],
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
            _property("use", library.use),
            _property("basis", library.basis),
            *_source(library.source),
            *([_property("hash-of", library.digest_of)] if library.digest.known else []),
            *_properties("digest", library.digest),
            *_properties("licence", library.licence),
            *_properties("supplier", library.supplier),
        ],
    }
    if library.supplier.known:
        made["supplier"] = {"name": str(library.supplier.value)}
    return _only(made)


def _tool(tool: Tool, refs: Refs) -> dict[str, Any]:
    return _only(
        {
            "type": "application",
            "bom-ref": refs.tool(tool),
            "name": tool.name,
            "version": tool.version,
            "scope": "excluded",
            "properties": [_property("use", tool.use), *_source(tool.source)],
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
        made.append(_only({"ref": refs.library(library), "dependsOn": needs}))
    return made


def _compositions(contents: Contents, refs: Refs) -> list[dict[str, Any]]:
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
    return _only(
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
                _property("environment", step.environment),
                _property("isolation", step.isolation),
                *(_property("input", digest) for digest in step.inputs),
                *(_property("output", digest) for digest in step.outputs),
                *_source(step.source),
            ],
        }
    )


# -- small things ---------------------------------------------------------------------------------


def _properties(name: str, told: Told) -> list[dict[str, str]]:
    """What a value is, and what it rests on."""
    if not told.known:
        return [_property(f"unknown:{name}", told.why)]
    return [
        _property(name, _text(told.value)),
        _property(f"basis:{name}", told.basis),
        *([_property(f"source:{name}", told.source)] if told.source else []),
        *([_property(f"by:{name}", told.why)] if told.why else []),
    ]


def _property(name: str, value: str) -> dict[str, str]:
    return {"name": f"assay:{name}", "value": value}


def _source(source: str) -> list[dict[str, str]]:
    return [_property("source", source)] if source else []


def _text(value: Any) -> str:
    """A value as a property holds it: text as it is, the rest as JSON."""
    return value if isinstance(value, str) else canonical.encode(value).decode()


def _listed(told: Told) -> list[str]:
    if not told.known:
        return []
    if isinstance(told.value, (list, tuple)):
        return [_text(item) for item in told.value]  # pyright: ignore[reportUnknownVariableType]
    return [_text(told.value)]


def _hashes(told: Told) -> list[dict[str, str]]:
    return _sha256(str(told.value)) if told.known else []


def _sha256(digest: str) -> list[dict[str, str]]:
    if not _is_sha256(digest):
        return []
    return [{"alg": "SHA-256", "content": digest.removeprefix("sha256:")}]


def _is_sha256(text: str) -> bool:
    hexadecimal = text.removeprefix("sha256:")
    return len(hexadecimal) == 64 and set(hexadecimal) <= set("0123456789abcdef")


def _licences(licence: Licence) -> list[dict[str, Any]]:
    if not licence.known:
        return []
    text = str(licence.value)
    if licence.spdx:
        return [{"expression": text, "acknowledgement": "declared"}]
    return [{"license": {"name": text, "acknowledgement": "declared"}}]


def _only(made: dict[str, Any]) -> dict[str, Any]:
    """Without what is empty, which would say less than nothing."""
    return {name: value for name, value in made.items() if value not in ("", [], {}, None)}


def _serial(made: Mapping[str, Any]) -> str:
    """A UUID of version 8 (RFC 9562) that holds the beginning of the document's digest."""
    held = bytearray.fromhex(canonical.digest(encode(made)).removeprefix("sha256:")[:32])
    held[6] = held[6] & 0x0F | 0x80
    held[8] = held[8] & 0x3F | 0x80
    return f"urn:uuid:{UUID(bytes=bytes(held))}"
