"""Assess a model version: every installed assessor is run, and what it found is signed."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Sequence
from typing import Any, ClassVar

import msgspec

from assay import plugins
from assay.actions.material import check_alike, columns_of, labels_of, private_copy, read_frame
from assay.actions.models import read_served
from assay.actions.release import version_target
from assay.assess.overlap import shared_rows
from assay.errors import Usage
from assay.evidence.state import DatasetState, VersionState
from assay.evidence.statement import Statement
from assay.formats import retrain, scoring
from assay.formats.schema import Column
from assay.isolation.limits import GIB, Level, Limits
from assay.isolation.worker import Worker
from assay.plugins import Assessment, Rows, Score, Shadow
from assay.types import Digest
from assay.workspace.action import Action, Doing, Outcome, Target
from assay.workspace.view import View

_LIMITS = Limits(memory_bytes=8 * GIB, wall_seconds=600, answer_bytes=GIB)


class AssessModel(Action, frozen=True, kw_only=True):
    """Measure a version on data it was not trained on, and how much it gives away of its own."""

    name: ClassVar[str] = "assess"
    model: str
    version: str
    data: str
    """The dataset to judge it on."""
    train: str = ""
    """The dataset it was trained on: for the generalisation gap and membership inference.  By
    default what was registered, because a figure that one assessment lacks is no fact at all."""
    seed: int = 0
    ticket: str = ""
    """For special categories of personal data."""

    def target(self, view: View) -> Target:
        found = view.version(self.project, self.model, self.version)
        data = view.dataset(self.project, self.data)
        if self.seed < 0:
            raise Usage(f"the seed {self.seed} is negative", remedy="--seed 0", code="assess.seed")
        train = self._train(view, found)
        trained_on = view.dataset(self.project, train) if train else None
        if trained_on is not None and trained_on.content == data.content:
            raise Usage(
                f"{self.data} and {train} are the same rows: a model is not judged on what it "
                "was trained on",
                remedy="register rows that were held out, and assess on those",
                code="assess.same_data",
            )
        self._check_registered(found, data, trained_on)
        if found.details.get("kind") == "regressor":
            raise Usage(
                f"{self.model}@{found.version} is a regressor, and the assessors here are for "
                "classifiers",
                remedy="it can be promoted to development; or register a classifier",
                code="assess.regressor",
            )
        if not found.details["label"]:
            raise Usage(
                f"{self.model}@{found.version} was registered without the column it predicts",
                remedy="register it again with --label COLUMN",
                code="assess.label",
            )
        if trained_on is not None:
            check_alike(trained_on, data, found.details["leave_out"], code="assess.columns")
        made = version_target(view, self.project, self.model, found.version, {})
        # What is read must be what was looked at here.
        read = filter(None, (self.data, train))
        made.subjects.extend(f"dataset:{self.project}/{name}" for name in read)
        return made

    def _check_registered(
        self, found: VersionState, data: DatasetState, trained_on: DatasetState | None
    ) -> None:
        """Hold the assessment to what was registered: by name and by content, since a name may be
        registered anew and the same rows under another name."""
        registered, content = found.details["dataset"], found.details.get("trained_on", "")
        if registered and (self.data == registered or data.content == content):
            raise Usage(
                f"{self.model}@{found.version} was trained on {registered}",
                remedy="assess on rows that were held out",
                code="assess.same_data",
            )
        if not registered or trained_on is None:
            return
        if trained_on.name != registered or (content and trained_on.content != content):
            raise Usage(
                f"{trained_on.name} as it is now is not what {self.model}@{found.version} was "
                f"registered as trained on: {registered}, {content or 'of that time'}",
                remedy=f"assess with --train {registered}; if that was registered anew since, "
                "register the model again",
                code="assess.other_train",
            )

    def apply(self, doing: Doing) -> Outcome:
        found = doing.view.version(self.project, self.model, self.version)
        onnx = read_served(doing, self.project, self.model, found.version)
        test, test_digest = _rows(doing, found, self.data, self.ticket)
        datasets = {"data": {"name": self.data, "content": test_digest}}
        train, shared = None, None
        if trained_on := self._train(doing.view, found):
            train, train_digest = _rows(doing, found, trained_on, self.ticket)
            datasets["train"] = {"name": trained_on, "content": train_digest}
            shared = self._shared(found, test, train, trained_on)
        subject = {f"{found.name}@{found.version}.onnx": found.served or found.artifact}
        statements: list[Statement] = []
        predicates: dict[str, Any] = {}
        with contextlib.ExitStack() as stack:
            scorer, level = stack.enter_context(scorer_of(onnx))
            given = Assessment(
                test=test,
                train=train,
                classes=list(scorer.described.classes),
                positive=found.details["positive"],
                threshold=found.details["threshold"],
                seed=self.seed,
                score=scorer,
                champion=stack.enter_context(_champion(doing, found)),
                shadow=stack.enter_context(_shadow(doing, found)) if train else None,
                progress=doing.progress,
            )
            for name, assessor in plugins.load("assay.assessors").items():
                doing.progress(f"assessing: {name}")
                predicate = assessor.assess(given)
                if predicate is None:
                    continue
                predicates[assessor.kind] = predicate
                full = {**predicate, "datasets": datasets, "isolation": level}
                if shared is not None:
                    full["shared_rows"] = shared
                statements.append(
                    doing.attest(assessor.kind, subject, full, producer=assessor.producer)
                )
        value = {"model": found.name, "version": found.version, "datasets": datasets}
        return Outcome({**value, "found": predicates}, statements)

    def _train(self, view: View, found: VersionState) -> str:
        if self.train:
            return self.train
        name, content = found.details["dataset"], found.details.get("trained_on")
        held = view.state.datasets.get(f"{self.project}/{name}")
        return name if held is not None and held.content == content else ""

    def _shared(
        self, found: VersionState, test: Rows, train: Rows, trained_on: str
    ) -> dict[str, float]:
        """How many rows are among those trained on; raises `Usage` when too many are."""
        features = found.details.get("features")
        asked = [
            [c for c in rows.columns if features is None or c.name in features]
            for rows in (test, train)
        ]
        shared = shared_rows(*asked)
        if shared.pop("suspicious"):
            raise Usage(
                f"{100 * shared['share']:.0f} % of the rows of {self.data} are among those of "
                f"{trained_on}: a model is not judged on what it was trained on",
                remedy="assess on rows that were held out",
                code="assess.same_data",
            )
        return shared


def _rows(doing: Doing, found: VersionState, dataset: str, ticket: str) -> tuple[Rows, Digest]:
    """A dataset as an assessor gets it, and the dataset's digest."""
    label = found.details["label"]
    frame, digest = read_frame(doing, dataset, found.details["purpose"], label, ticket=ticket)
    sensitive = found.details["sensitive"]
    missing = [name for name in sensitive if name not in frame.columns]
    if missing:
        raise Usage(
            f"dataset {dataset} has no column {missing[0]!r}, which was registered as sensitive",
            remedy=f"columns: {', '.join(frame.columns)}",
            code="assess.sensitive",
        )
    columns = columns_of(frame, found.details["leave_out"])
    slices = {name: frame[name].to_list() for name in sensitive}
    return Rows(columns, labels_of(frame, label), slices), digest


@contextlib.contextmanager
def scorer_of(onnx: bytes) -> Generator[tuple[scoring.Scorer, str]]:
    """A model in a confined worker, and the level of its confinement."""
    with Worker.start(scoring.TARGET, onnx, limits=_LIMITS) as worker:
        yield scoring.Scorer(worker.call), worker.level


@contextlib.contextmanager
def _champion(doing: Doing, found: VersionState) -> Generator[scoring.Scorer | None]:
    """The version that production serves now, unless it is this one or takes other columns."""
    number = doing.view.state.aliases.get(f"{found.project}/{found.name}@production")
    champion = doing.view.state.versions.get(f"{found.project}/{found.name}@{number}")
    usable = champion is not None and champion.served and champion.served != found.served
    if champion is None or not usable or champion.revoked:
        yield None
        return
    onnx = read_served(doing, found.project, found.name, champion.version)
    with scorer_of(onnx) as (scorer, _):
        yield scorer


@contextlib.contextmanager
def _shadow(doing: Doing, found: VersionState) -> Generator[Shadow | None]:
    """How to train the algorithm again on other rows; None where its file does not tell."""
    model_format = found.details["format"]
    if model_format not in retrain.FORMATS:
        yield None
        return
    with private_copy(doing, found.artifact, found.details) as copy:
        init = msgspec.msgpack.encode(retrain.Init(str(copy), model_format))
        require: Level | None = "process" if found.details["pickle"] else None
        with Worker.start(
            retrain.TARGET, init, inputs=[copy], limits=_LIMITS, require=require
        ) as worker:

            def fit(columns: list[Column], labels: list[int | str], seed: int) -> Score:
                worker.call(msgspec.msgpack.encode(retrain.Fit(columns, labels, seed)))

                def ask(rows: Sequence[Column]) -> scoring.Answers:
                    answer = worker.call(msgspec.msgpack.encode(retrain.Ask(list(rows))))
                    return scoring.decode(answer, rows)

                return ask

            yield fit
