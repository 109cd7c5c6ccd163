"""What a bill of materials says of a registered model version, gathered from its evidence.

What people declared stays declared, whoever signed that they did.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import msgspec

from assay import __version__
from assay.actions.bom_datasets import datasets
from assay.actions.bom_found import Found
from assay.actions.bom_process import Process
from assay.errors import Usage
from assay.evidence.facts import Evidence
from assay.evidence.state import VersionState
from assay.supply.bom import installed
from assay.supply.bom.licences import spell
from assay.supply.bom.model import (
    Contents,
    Library,
    Licence,
    Metric,
    Model,
    Told,
    Tool,
    declared,
    evidence,
    normal,
    unknown,
)
from assay.supply.bom.named import Named, of_globals
from assay.supply.intake import records
from assay.workspace.view import View

DECLARABLE: dict[str, str] = {
    "application_area": "where the system is meant to be used",
    "compliance": "the security standards it is held to",
    "data_flow": "how data moves through the system",
    "data_usage": "what becomes of the data that users give",
    "hardware": "what it runs on, or where its HBOM is",
    "licence": "the licence of the model",
    "limitations": "what it is not good for",
    "parent": "the model that it was made from",
    "references": "where more is said about it",
    "security_policy": "where the cybersecurity policy is",
}
"""What whoever writes a bill may declare, where nothing else says."""
_OF_MODEL = frozenset({"licence", "limitations", "parent", "references"})
_BY_HAND = (
    "the model was registered by hand: only libraries that its file names are listed, and nobody "
    "saw which it was made with"
)
_OBSERVED = "the libraries of the steps that made it, as the runner verified them"
_DECLARED = "actor {by}, and the model file where it names one"


def gather(
    view: View,
    found: VersionState,
    named: Named,
    *,
    author: str,
    declare: Mapping[str, str],
    libraries: Sequence[Library] = (),
) -> Contents:
    """The contents of the bill of a version; `named` is what its file says of itself.

    `libraries` are declared by `author`; `Usage` where a run was observed, which knows better.
    """
    return _Gatherer(view, found, named, author).contents(declare, libraries)


class _Gatherer:
    """Puts together what the statements about one version say."""

    def __init__(self, view: View, found: VersionState, named: Named, author: str) -> None:
        self._view = view
        self._found = found
        self._named = named
        self._author = author
        self._by = f"actor {found.author}"
        self._evidence = Found(view, found)
        self._process = Process(found, self._evidence.counting)

    # -- the whole --------------------------------------------------------------------------------

    def contents(self, declare: Mapping[str, str], lock: Sequence[Library]) -> Contents:
        found = self._found
        intake = self._evidence.own("intake", or_any=True)
        scan = self._evidence.last("scan")
        parity = self._evidence.last("parity")
        metrics, controls = self._measured(scan)
        steps = self._process.steps
        for item in self._process.items:
            self._evidence.use(item)
        libraries, known, why = self._libraries(scan, lock)
        contents = Contents(
            project=found.project,
            workspace=self._view.state.workspace,
            issued="",
            author=evidence(f"actor {self._author}", "", "who asked for this bill"),
            assay=__version__,
            model=self._model(metrics, intake),
            system=self._endpoints(),
            application_area=declared(found.details["purpose"], self._by, self._evidence.source),
            controls=controls,
            vulnerabilities=self._vulnerabilities(),
            datasets=datasets(self._evidence, self._process),
            code=tuple(self._process.code),
            libraries=tuple(libraries),
            libraries_known=known,
            libraries_why=why,
            tools=tuple(self._tools(scan, parity)),
            steps=tuple(steps),
        )
        contents = self._declare(contents, declare)
        # Last: only now is it known which statements were used.
        return normal(
            msgspec.structs.replace(
                contents, issued=self._evidence.issued(), signatures=self._evidence.signatures()
            )
        )

    def _declare(self, contents: Contents, declare: Mapping[str, str]) -> Contents:
        """What is evidenced or declared already stays as it is."""
        by = f"actor {self._author}"
        model = contents.model
        for name, text in sorted(declare.items()):
            of = model if name in _OF_MODEL else contents
            if getattr(of, name).known:
                continue
            value: Told = spell(text, by) if name == "licence" else declared(text, by)
            if of is model:
                model = msgspec.structs.replace(model, **{name: value})
            else:
                contents = msgspec.structs.replace(contents, **{name: value})
        return msgspec.structs.replace(contents, model=model)

    # -- the model --------------------------------------------------------------------------------

    def _model(self, metrics: list[Metric], intake: Evidence | None) -> Model:
        found, d, source = self._found, self._found.details, self._evidence.source
        kind = {"classifier": "classification", "regressor": "regression"}.get(
            str(d.get("kind", "")), ""
        )
        classes = [str(label) for label in d.get("classes") or []]
        registered = (
            self._evidence.registration.statement.header.issued
            if self._evidence.registration
            else None
        )
        named = f"the file of format {d.get('format', 'unknown')}"
        taught = f"trained on {d['dataset']}" if d.get("dataset") else ""
        if taught and d.get("label"):
            taught += f" to predict {d['label']}"
        return Model(
            name=found.name,
            version=found.version,
            artifact=evidence(found.artifact, source),
            served=evidence(found.served, source)
            if found.served
            else unknown(str(d.get("unservable") or "nothing of it can be served")),
            producer=self._producer(intake),
            registered=evidence(registered, source),
            purpose=declared(d["purpose"], self._by, source),
            description=declared(d.get("description"), self._by, source),
            licence=self._model_licence(intake),
            format=evidence(d.get("format"), source),
            family=declared(self._named.architecture.rpartition(".")[2], named),
            architecture=declared(self._named.architecture, named),
            task=evidence(kind or None, source),
            inputs=evidence(d.get("features") or None, source),
            outputs=evidence(classes or (["a number"] if kind == "regression" else None), source),
            approach=declared("supervised" if d.get("label") else "", self._by, source),
            training=declared(taught, self._by, source),
            references=self._references(intake),
            metrics=tuple(metrics),
        )

    def _producer(self, intake: Evidence | None) -> Told:
        """Whoever ran what made it; of what came from elsewhere, whoever signed it or its place."""
        if self._found.details.get("provenance") == "observed":
            why = "the run that made it was observed"
            return evidence(self._by, self._evidence.source, why)
        if intake is None:
            return declared(self._by, "whoever registered it", self._evidence.source)
        p = intake.statement.predicate
        signed: Any = p.get("signature") or {}
        if signed.get("trusted") is True and signed.get("identity"):
            return evidence(str(signed["identity"]), intake.envelope_digest, "its signature holds")
        place: Any = p.get("source") or {}
        where = f"{place.get('scheme')}:{place.get('locator')}"
        return declared(where, "the place that it was taken from", intake.envelope_digest)

    def _model_licence(self, intake: Evidence | None) -> Licence:
        p: Any = intake.statement.predicate if intake else {}
        said = str(p.get("licence") or "")
        if intake is None or not said:
            return Licence(why="nobody declares the licence of the model")
        by = str(p.get("licence_by") or records.SOURCE)
        who = "whoever it was taken in from" if by == records.SOURCE else f"actor {by}"
        return spell(said, who, intake.envelope_digest)

    def _references(self, intake: Evidence | None) -> Told:
        origin = intake.statement.predicate.get("source") if intake else None
        if intake is None or not isinstance(origin, dict):
            return unknown("nobody names any")
        told = cast("dict[str, Any]", origin)
        where = f"{told.get('scheme')}:{told.get('locator')}@{told.get('revision')}"
        return evidence(where, intake.envelope_digest)

    def _endpoints(self) -> Told:
        found = self._found
        named = sorted(
            key.partition("/")[2]
            for key, endpoint in self._view.state.endpoints.items()
            if key.startswith(f"{found.project}/")
            and (endpoint["model"], endpoint["version"]) == (found.name, found.version)
        )
        return evidence(named, "", "the ledger") if named else unknown("nothing of it is served")

    def _vulnerabilities(self) -> Told:
        item = self._evidence.own("vulnerabilities")
        if item is None:
            return unknown("nobody looked for known vulnerabilities")
        p = item.statement.predicate
        counted = ("critical", "high", "medium", "low", "unrated", "unmatched")
        text = ", ".join(f"{p.get(name, 'unknown')} {name}" for name in counted)
        return evidence(text, item.envelope_digest)

    def _measured(self, scan: Evidence | None) -> tuple[list[Metric], Told]:
        metrics: list[Metric] = []
        quality = self._evidence.by_fact("quality.auc_lower", "quality")
        if quality is not None:
            p = quality.statement.predicate
            for name in ("auc", "accuracy"):
                metrics += _interval(name, p.get(name), quality.envelope_digest)
            for group in ("lift", "gap"):
                for name, figure in sorted((p.get(group) or {}).items()):
                    metrics += _interval(f"{group} {name}", figure, quality.envelope_digest)
        privacy = self._evidence.by_fact("privacy.auc_upper", "privacy-membership")
        if privacy is not None:
            upper = privacy.statement.predicate.get("auc_upper")
            metrics.append(
                Metric(
                    "membership inference AUC, at most",
                    _number(upper),
                    kind="security",
                    source=privacy.envelope_digest,
                )
            )
        if scan is None:
            return metrics, unknown("the file was not scanned")
        p = scan.statement.predicate
        verdict = str(p.get("verdict", "unknown"))
        metrics.append(
            Metric(
                "findings of the scan",
                _number(p.get("findings_count")),
                kind="security",
                source=scan.envelope_digest,
            )
        )
        named = [f"file scanned: {verdict}", "stored under seal", "statements signed and logged"]
        if privacy is not None:
            named.append("membership inference tested")
        return metrics, evidence(named, scan.envelope_digest)

    # -- what went in ------------------------------------------------------------------------------

    def _libraries(
        self, scan: Evidence | None, lock: Sequence[Library]
    ) -> tuple[list[Library], Any, str]:
        observed = self._process.libraries
        if observed and lock:
            raise Usage(
                f"{self._found.name}@{self._found.version} was made by a run that was observed: "
                "its libraries are known, and not for anybody to declare",
                remedy="leave --libraries out",
                code="bom.libraries",
            )
        if observed:
            return [_described(library) for library in observed], "incomplete", _OBSERVED
        named = dict(self._named.libraries)
        if scan is not None:
            reached: Any = scan.statement.predicate.get("globals") or []
            named = {**of_globals([str(name) for name in reached]), **named}
        source = scan.envelope_digest if scan is not None else ""
        # A name without a version is answered by the lock; another version is another library.
        locked = {(library.name, version) for library in lock for version in ("", library.version)}
        named = {name: version for name, version in named.items() if (name, version) not in locked}
        libraries = [
            _described(
                Library(
                    name,
                    version,
                    Told(why="the file names no digest"),
                    use="the model file",
                    basis="declared",
                    source=source,
                )
            )
            for name, version in named.items()
        ]
        if lock:
            why = _DECLARED.format(by=self._author)
            return [*(_described(library) for library in lock), *libraries], "incomplete", why
        return libraries, "unknown", _BY_HAND

    def _tools(self, scan: Evidence | None, parity: Evidence | None) -> list[Tool]:
        made: list[Tool] = []
        for name, version in sorted((self._found.details.get("libraries") or {}).items()):
            made.append(Tool(str(name), str(version), "conversion", self._evidence.source))
        if self._named.writer:
            name, _, version = self._named.writer.rpartition(" ")
            made.append(Tool(name or version, version if name else "", "export"))
        for item, use in ((scan, "scan"), (parity, "comparison")):
            if item is not None:
                name, _, version = item.producer.rpartition("/")
                made.append(Tool(name, version, use, item.envelope_digest))
        return made


def _described(library: Library) -> Library:
    """With the licence and supplier that its own metadata declares, where it is installed here."""
    about = installed.about(library.name, library.version) if library.version else None
    if about is None:
        return library
    return msgspec.structs.replace(
        library, licence=about.licence, supplier=about.supplier, requires=about.requires
    )


def _interval(name: str, figure: Any, source: str) -> list[Metric]:
    if not isinstance(figure, dict):
        return []
    told = cast("dict[str, Any]", figure)
    if "value" not in told:
        return []
    return [
        Metric(
            name,
            _number(told["value"]),
            _number(told.get("lower")),
            _number(told.get("upper")),
            source=source,
        )
    ]


def _number(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return ""
    return f"{value:.6g}"
