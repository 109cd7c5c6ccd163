"""Actions that take in a model: register (seal, scan, convert, compare) and scan again."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any, ClassVar

import msgspec

from assay.actions.material import (
    MODEL_LIMIT,
    check_alike,
    columns_of,
    models_ring,
    private_copy,
    read_frame,
)
from assay.actions.people import project_target
from assay.actions.release import version_target
from assay.errors import AssayError, Usage, Verification
from assay.evidence.records import subject_of
from assay.formats import convert, parity, scoring
from assay.formats.detect import Detected, detect
from assay.formats.onnx_io import read_model
from assay.govern import origin
from assay.isolation.limits import GIB, Level, Limits
from assay.isolation.run import run
from assay.supply import scan
from assay.types import Digest, check_name
from assay.workspace.action import Action, Doing, Outcome, Target
from assay.workspace.view import View

PARITY_PRODUCER = "assay.formats.parity/1"

SAMPLE_ROWS = 2_000
"""Rows of the training data that a conversion is tried on."""
_NAMED = 12
"""Columns that an error names."""
_LIMITS = Limits(memory_bytes=8 * GIB, cpu_seconds=300, wall_seconds=600, answer_bytes=GIB)
_MISTAKES = frozenset({"usage.convert.columns", "usage.convert.sample", "usage.model.positive"})
"""What goes wrong in a conversion because of what the user gave, not because of the model."""


class RegisterModel(Action, frozen=True, kw_only=True):
    """Take in a trained model: seal it, scan it, turn it into ONNX in confinement, compare the two.

    Its provenance is *declared*: who registered it says where it comes from.  With `run` it is
    *observed*: the runner of that pipeline run saw a step make these very bytes.
    """

    name: ClassVar[str] = "registerModel"
    model: str
    path: str
    purpose: str
    """What it was made for; its data is read for this purpose only."""
    train: str = ""
    """The dataset it was trained on."""
    test: str = ""
    """A dataset of held-out rows to judge it on."""
    label: str = ""
    """The column it predicts."""
    positive: int | str | None = None
    threshold: float = 0.5
    sensitive: tuple[str, ...] = ()
    leave_out: tuple[str, ...] = ()
    """Columns of the dataset that are no features."""
    description: str = ""
    run: str = ""
    """The pipeline run (the id of its decision) that made it."""
    ticket: str = ""
    """For special categories of personal data."""

    def target(self, view: View) -> Target:
        check_name(self.model, what="model name")
        if not self.purpose:
            raise Usage("no purpose given", remedy="--purpose credit-scoring", code="purpose")
        self._check_columns(view)
        if self.test and self._trained_on(view) == view.dataset(self.project, self.test).content:
            raise Usage(
                f"{self.train} and {self.test} are the same rows: a model is not judged on what it "
                "was trained on",
                remedy="register rows that were held out, and name those with --test",
                code="model.same_data",
            )
        if not 0 < self.threshold < 1:
            raise Usage(
                f"the threshold {self.threshold} is not between 0 and 1",
                remedy="give the probability from which a row is called positive",
                code="model.threshold",
            )
        read = [f"dataset:{self.project}/{name}" for name in (self.train, self.test) if name]
        made = project_target(view, self.project, {}, f"model:{self.project}/{self.model}", *read)
        made.words = {"model": self.model, "project": self.project}
        return made

    def _check_columns(self, view: View) -> None:
        """Before anything is read: that the columns named are there, and the same in both."""
        given = [view.dataset(self.project, name) for name in (self.train, self.test) if name]
        schemas = [[column["name"] for column in found.details["schema"]] for found in given]
        for found, known in zip(given, schemas, strict=True):
            for column in filter(None, (self.label, *self.sensitive)):
                if column not in known:
                    raise _no_column(found.name, column, known)
        for column in self.leave_out:
            # What is left out may well be in one of them only.
            if given and not any(column in known for known in schemas):
                raise _no_column(given[0].name, column, schemas[0])
        if self.train and self.test:
            train, test = given
            check_alike(train, test, (self.label, *self.leave_out), code="model.columns")

    def apply(self, doing: Doing) -> Outcome:
        path = Path(self.path)
        doing.progress(f"sealing {path.name}")
        tree = path.is_dir() and not path.is_symlink()
        ring = models_ring(self.project)
        artifact = doing.store.put_tree(ring, path) if tree else doing.store.put(ring, path)
        details: dict[str, Any] = {
            "file": path.name,
            "tree": tree,
            "purpose": self.purpose,
            "dataset": self.train,
            # The name may be registered anew, with other rows.
            "trained_on": self._trained_on(doing.view),
            "test": self.test,
            "tested_on": self._content(doing.view, self.test),
            "label": self.label,
            "positive": self.positive,
            "threshold": self.threshold,
            "sensitive": list(self.sensitive),
            "leave_out": [c for c in (self.label, *self.leave_out) if c],
            "description": self.description,
            **self._origin(doing.view, artifact),
        }
        with private_copy(doing, artifact, details) as copy:
            found = detect(copy)
            details |= {"format": found.format, "pickle": found.pickle}
            doing.progress("scanning")
            scanned = _scan(copy)
            details["quarantined"] = not scanned["clean"]
            made = self._served(doing, copy, found, artifact, details)
        version = _next(doing.view, self.project, self.model)
        name = f"{self.model}@{version}"
        served = made.served
        predicate = {
            "name": self.model,
            "version": version,
            "author": doing.actor,
            "artifact": artifact,
            "served": served,
            "details": details,
        }
        subject = subject_of(name, artifact, served)
        statements = [
            doing.attest("model-version", subject, predicate),
            doing.attest(scan.KIND, subject, scanned, producer=scan.PRODUCER),
        ]
        if served and made.parity is not None:
            statements.append(
                doing.attest(
                    "parity", {f"{name}.onnx": served}, made.parity, producer=PARITY_PRODUCER
                )
            )
        value = {**predicate, "model": self.model, "scan": scanned, "parity": made.parity}
        return Outcome(value, statements)

    def _origin(self, view: View, artifact: Digest) -> dict[str, str]:
        """How it is known how it was made."""
        if not self.run:
            return {"provenance": "declared"}
        made = origin.observed(
            view.evidence(self.project, artifact),
            artifact,
            project=self.project,
            run=self.run,
            key_kinds=view.state.key_kinds(),
            superseded=view.state.superseded_in(self.project),
        )
        if made is None:
            raise Verification(
                f"nothing on the ledger says that run {self.run[:60]} made these bytes "
                f"({artifact})",
                remedy="register what the run gave, unaltered; or name no run, as declared",
                code="model.run",
            )
        return {"provenance": "observed", "run": self.run, "build": made.envelope_digest}

    def _trained_on(self, view: View) -> str:
        return self._content(view, self.train)

    def _content(self, view: View, name: str) -> str:
        return view.dataset(self.project, name).content if name else ""

    def _served(
        self,
        doing: Doing,
        copy: Path,
        found: Detected,
        artifact: Digest,
        details: dict[str, Any],
    ) -> _Served:
        """What is served: the file itself if it is ONNX, else its conversion; or nothing."""
        if details["quarantined"]:
            details |= {
                "unservable": "the scan found what may run code or cannot be read; the file is "
                "kept under seal for examination and was not opened",
                "route": "save the model again from its training code as ONNX or skops",
            }
            return _Served(None, None)
        try:
            if found.format == "onnx":
                doing.progress("trying the model in a confined process")
                told = run("assay.formats.scoring:describe", read_model(copy), limits=_LIMITS)
                takes = scoring.decode_description(told.value)
                details |= {"kind": takes.kind, "classes": takes.classes}
                details["features"] = takes.features or []
                return _Served(artifact, None)
            return self._convert(doing, copy, found, details)
        except AssayError as error:
            if error.code in _MISTAKES or error.kind not in ("usage", "verification"):
                raise
            details |= {"unservable": error.message, "route": error.remedy}
            return _Served(None, None)

    def _convert(
        self, doing: Doing, copy: Path, found: Detected, details: dict[str, Any]
    ) -> _Served:
        if not self.train:
            if found.format == "safetensors":  # Rows would not help it.
                raise Usage(
                    "a safetensors file holds weights without the computation that uses them",
                    remedy="export the network to ONNX where it was trained (torch.onnx.export)",
                    code="convert.weights",
                )
            raise Usage(
                f"a {found.format} model is converted to ONNX, which needs rows like those it was "
                "trained on",
                remedy="register the training data, then add --train DATASET --label COLUMN",
                code="convert.sample",
            )
        frame, _ = read_frame(doing, self.train, self.purpose, ticket=self.ticket)
        sample = columns_of(frame.head(SAMPLE_ROWS), details["leave_out"])
        doing.progress("converting to ONNX in a confined process")
        # A pickle can run code: never below the level that keeps it from the network and files.
        require: Level | None = "process" if found.pickle else None
        outcome = run(
            "assay.formats.convert:convert",
            convert.encode_request(copy, found.format, sample),
            inputs=[copy],
            limits=_LIMITS,
            require=require,
        )
        converted = convert.decode_converted(outcome.value)
        self._check_positive(converted)
        doing.progress("comparing the conversion with the original")
        measured = run(
            "assay.formats.parity:measure",
            parity.encode_request(outcome.value, self.threshold),
            limits=_LIMITS,
        )
        compared = parity.decode_parity(measured.value)
        served = doing.store.put(models_ring(self.project), converted.onnx)
        details |= {
            "kind": converted.kind,
            "classes": converted.classes,
            "features": [feature.name for feature in converted.features],
            "libraries": converted.libraries,
            "isolation": outcome.level,
        }
        return _Served(served, msgspec.to_builtins(compared))

    def _check_positive(self, converted: convert.Converted) -> None:
        """A label that the model never gives would be noticed only when it is assessed."""
        known = converted.classes
        if self.positive is None or converted.kind != "classifier" or self.positive in known:
            return
        raise Usage(
            f"{str(self.positive)[:40]!r} is none of the labels that the model gives",
            remedy=f"--positive with one of: {', '.join(str(label) for label in known[:20])}",
            code="model.positive",
        )


class _Served(msgspec.Struct):
    """The digest of the ONNX model, if there is one, and how it compares with the original."""

    served: Digest | None
    parity: dict[str, Any] | None


def _no_column(dataset: str, column: str, known: list[str]) -> Usage:
    alike = difflib.get_close_matches(column, known, n=3)
    more = f" and {len(known) - _NAMED} more" if len(known) > _NAMED else ""
    listed = f"columns: {', '.join(known[:_NAMED])}{more}"
    return Usage(
        f"dataset {dataset} has no column {column!r}",
        remedy=f"did you mean {' or '.join(alike)}?" if alike else listed,
        code="model.column",
    )


def _scan(copy: Path) -> dict[str, Any]:
    """The scanner's predicate, made in a confined process: parsers have flaws too."""
    outcome = run(
        "assay.supply.scan:scan_confined", str(copy).encode(), inputs=[copy], limits=_LIMITS
    )
    return msgspec.json.decode(outcome.value, type=dict[str, Any])


def _next(view: View, project: str, model: str) -> str:
    """The next version number.  The model's revision, compared on recording, keeps it unique."""
    return str(1 + max((int(v.version) for v in view.versions(project, model)), default=0))


class ScanModel(Action, frozen=True, kw_only=True):
    """Scan the sealed original again, for instance with a newer scanner."""

    name: ClassVar[str] = "assess"
    model: str
    version: str

    def target(self, view: View) -> Target:
        return version_target(view, self.project, self.model, self.version, {})

    def apply(self, doing: Doing) -> Outcome:
        found = doing.view.version(self.project, self.model, self.version)
        with private_copy(doing, found.artifact, found.details) as copy:
            scanned = _scan(copy)
        statement = doing.attest(scan.KIND, found.subject, scanned, producer=scan.PRODUCER)
        return Outcome({"model": found.name, "version": found.version, **scanned}, [statement])


def read_served(doing: Doing, project: str, model: str, version: str) -> bytes:
    """The ONNX bytes of a version, hashed again; raises `Usage` when there are none."""
    found = doing.view.version(project, model, version)
    if found.served is None:
        raise Usage(
            f"{model}@{found.version} cannot be run: {found.details.get('unservable', '')}",
            remedy=str(found.details.get("route", "")),
            code="model.unservable",
        )
    return doing.store.read(models_ring(project), found.served, MODEL_LIMIT)
