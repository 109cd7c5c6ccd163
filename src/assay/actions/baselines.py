"""Say what is normal for a version: measured once, on rows that it was not trained on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from assay.actions.assessment import AssessModel, scorer_of
from assay.actions.material import columns_of, labels_of, read_frame
from assay.actions.models import read_served
from assay.actions.people import subject_of
from assay.assess.overlap import shared_rows
from assay.errors import Usage
from assay.evidence.state import VersionState, kind_of
from assay.monitor import plans
from assay.monitor.plans import Plan
from assay.workspace.action import Action, Doing, Outcome, Target
from assay.workspace.view import View

if TYPE_CHECKING:
    import polars as pl

KIND = "baseline"
PRODUCER = "assay.monitor.baseline/1"


class SetBaseline(Action, frozen=True, kw_only=True):
    """Measure what is normal for a version, and how it is to be watched from now on.

    A baseline replaces the one before it, for windows that are not closed yet.
    """

    name: ClassVar[str] = "assess"
    model: str
    version: str
    data: str = ""
    """The reference: rows it was not trained on; by default those it was registered with."""
    window: str = "1d"
    false_alarms: str = "1/year"
    windows_a_year: float | None = None
    smallest_shift: float = plans.SHIFT
    horizon: str = "30d"
    slices: tuple[str, ...] = ()
    label_cap: int = plans.LABEL_CAP
    ticket: str = ""
    """For special categories of personal data."""

    def plan(self) -> Plan:
        """The knobs, checked."""
        return plans.make(
            window=self.window,
            false_alarms=self.false_alarms,
            windows_a_year=self.windows_a_year,
            smallest_shift=self.smallest_shift,
            horizon=self.horizon,
            slices=self.slices,
            label_cap=self.label_cap,
        )

    def target(self, view: View) -> Target:
        self.plan()
        found = view.version(self.project, self.model, self.version)
        data = self._data(found)
        held = view.dataset(self.project, data)
        details = found.details
        if held.name == details["dataset"] or held.content == details.get("trained_on"):
            raise Usage(
                f"{self.model}@{found.version} was trained on {data}, on which it errs less than "
                "is normal",
                remedy="name rows that were held out: --data DATASET",
                code="baseline.same_data",
            )
        schema = held.details["schema"]
        known = {str(column["name"]) for column in schema}
        for name in self.slices:
            if name not in known or name == details["label"]:
                what = "is what it predicts" if name in known else f"is no column of {data}"
                raise Usage(
                    f"{name[:80]!r} {what}: nothing can be sliced by it",
                    remedy=f"columns: {', '.join(sorted(known))[:400]}",
                    code="baseline.slices",
                )
        # What may be judged on may be a reference: held out, with the columns and the labels.
        asked = AssessModel(
            project=self.project, model=self.model, version=found.version, data=data
        )
        return asked.target(view)

    def apply(self, doing: Doing) -> Outcome:
        import numpy as np

        from assay.monitor import baseline, performance

        found = doing.view.version(self.project, self.model, self.version)
        data = self._data(found)
        onnx = read_served(doing, self.project, self.model, found.version)
        frame, digest = self._read(doing, found, data)
        trained_on = _trained_on(doing.view, found)
        training = self._read(doing, found, trained_on)[0] if trained_on else None
        columns = columns_of(frame, found.details["leave_out"])
        labels = labels_of(frame, found.details["label"])
        with scorer_of(onnx) as (scorer, level):
            features = [column.name for column in scorer.choose(columns)]
            if training is not None:
                _check_held_out(frame, training, features, data, trained_on)
            doing.progress("scoring the reference")
            scores = scorer(columns)
            # A file that does not name its classes has them in order, as the assessors take them.
            classes = list(scorer.described.classes) or np.unique(np.asarray(labels)).tolist()
        doing.progress("counting")
        measured = baseline.build(
            frame,
            features,
            scores,
            labels,
            self.plan(),
            classes=classes,
            positive=found.details["positive"],
            threshold=found.details["threshold"],
            training=training,
        )
        served = found.served or found.artifact
        predicate = {
            "endpoint": self.model,
            "model": found.name,
            "version": found.version,
            "digest": served,
            "data": {"name": data, "content": digest},
            **measured,
            "method": performance.METHOD,
            "isolation": level,
        }
        subject = {
            f"{found.name}@{found.version}.onnx": served,
            **subject_of(f"monitor:{self.project}/{self.model}"),
        }
        return Outcome(predicate, [doing.attest(KIND, subject, predicate, producer=PRODUCER)])

    def _data(self, found: VersionState) -> str:
        data = self.data or str(found.details.get("test") or "")
        if not data:
            raise Usage(
                f"{self.model}@{found.version} was registered without --test, so it is not known "
                "what is normal for it",
                remedy="name rows that it was not trained on: --data DATASET",
                code="baseline.data",
            )
        return data

    def _read(self, doing: Doing, found: VersionState, name: str) -> tuple[pl.DataFrame, str]:
        details = found.details
        return read_frame(doing, name, details["purpose"], details["label"], ticket=self.ticket)


def _trained_on(view: View, found: VersionState) -> str:
    """The dataset it was trained on, as long as its name still stands for those rows."""
    name, content = found.details["dataset"], found.details.get("trained_on")
    held = view.state.datasets.get(f"{found.project}/{name}")
    return str(name) if held is not None and held.content == content else ""


def _check_held_out(
    frame: pl.DataFrame, training: pl.DataFrame, features: list[str], data: str, trained_on: str
) -> None:
    asked = [
        [column for column in columns_of(rows) if column.name in features]
        for rows in (frame, training)
    ]
    shared: dict[str, Any] = shared_rows(*asked)
    if shared["suspicious"]:
        raise Usage(
            f"{100 * shared['share']:.0f} % of the rows of {data} are among those of {trained_on}: "
            "a model errs less on what it was trained on, and that is not what is normal",
            remedy="measure on rows that were held out",
            code="baseline.same_data",
        )


def baseline_of(view: View, project: str, model: str, version: str) -> dict[str, Any] | None:
    """The newest baseline of a version, as its predicate; None where there is none.

    `assay.monitor.baseline.read` reads it.
    """
    found = view.version(project, model, version)
    told = [
        item.statement.predicate
        for item in view.own(project, found.served or found.artifact)
        if kind_of(item.statement) == KIND and item.producer == PRODUCER
    ]
    # The same bytes may be registered twice, as versions with plans of their own.
    own = [p for p in told if (p["model"], p["version"]) == (found.name, found.version)]
    return own[-1] if own else None
