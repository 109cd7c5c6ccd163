"""Compare two versions of a model on the same rows, so that both see the same luck."""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from assay.actions.assessment import scorer_of
from assay.actions.material import columns_of, labels_of, read_frame
from assay.actions.models import read_served
from assay.actions.release import version_target
from assay.assess import intervals, scored
from assay.assess.scored import Scored
from assay.ci import comparison
from assay.ci.model import Better, Difference, Estimate, Metric
from assay.errors import Usage
from assay.evidence.state import VersionState
from assay.types import Digest
from assay.workspace.action import Action, Doing, Outcome, Target
from assay.workspace.view import View

LEVEL = comparison.LEVEL


class Compared(msgspec.Struct, frozen=True):
    """The figures of both on the same rows, each with a paired difference, and which rows."""

    metrics: list[Metric]
    content: Digest


class CompareModels(Action, frozen=True, kw_only=True):
    """Score the rows of a dataset with two versions, and say how far they are apart.

    Each model runs in a confined process of its own.  What is found is told and not signed: no
    gate reads it, because it depends on which version somebody chose to compare with.
    """

    name: ClassVar[str] = "assess"
    model: str
    version: str
    base: str
    """The version to compare with."""
    data: str
    seed: int = 0

    def target(self, view: View) -> Target:
        now = view.version(self.project, self.model, self.version)
        base = view.version(self.project, self.model, self.base)
        view.dataset(self.project, self.data)
        if now.version == base.version:
            raise Usage(
                f"{self.model}@{now.version} is compared with itself",
                remedy="name another version to compare with",
                code="compare.same",
            )
        for found in (now, base):
            if found.details.get("kind") == "regressor" or not found.details["label"]:
                raise Usage(
                    f"{self.model}@{found.version} is no classifier with a known label",
                    remedy="compare versions that were registered with --label",
                    code="compare.kind",
                )
        if now.details["label"] != base.details["label"]:
            raise Usage(
                f"{self.model}@{now.version} predicts {now.details['label']}, and version "
                f"{base.version} predicts {base.details['label']}",
                remedy="compare versions that predict the same column",
                code="compare.label",
            )
        made = version_target(view, self.project, self.model, now.version, {})
        other = version_target(view, self.project, self.model, base.version, {})
        made.subjects.extend((*other.subjects, f"dataset:{self.project}/{self.data}"))
        return made

    def apply(self, doing: Doing) -> Outcome:
        now = doing.view.version(self.project, self.model, self.version)
        base = doing.view.version(self.project, self.model, self.base)
        label = now.details["label"]
        frame, content = read_frame(doing, self.data, now.details["purpose"], label)
        labels = labels_of(frame, label)
        doing.progress(f"comparing {self.model}@{now.version} with version {base.version}")
        first, second = (
            self._scored(doing, found, frame, labels, now.details["positive"])
            for found in (now, base)
        )
        if first.classes != second.classes:
            raise Usage(
                f"{self.model}@{now.version} and version {base.version} know other classes",
                remedy="their figures can only be compared by their own intervals",
                code="compare.classes",
            )
        thresholds = (now.details["threshold"], base.details["threshold"])
        metrics = paired(first, second, thresholds=thresholds, seed=self.seed)
        return Outcome(Compared(metrics, content))

    def _scored(
        self,
        doing: Doing,
        found: VersionState,
        frame: Any,
        labels: list[int | str],
        positive: int | str | None,
    ) -> Scored:
        onnx = read_served(doing, self.project, self.model, found.version)
        columns = columns_of(frame, found.details["leave_out"])
        with scorer_of(onnx) as (scorer, _):
            return scored.score(
                labels,
                scorer(columns),
                classes=list(scorer.described.classes) or None,
                positive=positive,
                what=f"version {found.version}",
            )


def paired(
    now: Scored, base: Scored, *, thresholds: tuple[float, float], seed: int
) -> list[Metric]:
    """The figures of two models of the same rows and classes, and their paired differences.

    The area of more than two classes has no paired interval here, and so no figure.
    """
    called = [scored.calls(s, t) == s.truth for s, t in zip((now, base), thresholds, strict=True)]
    found: list[Metric] = []
    if now.positive is not None:
        positive = now.truth == now.positive
        scores = [s.probabilities[:, now.positive] for s in (now, base)]
        difference = comparison.paired_areas(positive, scores[0], scores[1], seed=seed)
        areas = [scored.discrimination(s, LEVEL) for s in (now, base)]
        found.append(_metric("auc", areas, difference, len(now)))
    shares = [intervals.share(hits, LEVEL) for hits in called]
    hits = comparison.paired_shares(called[0], called[1])
    found.append(_metric("accuracy", shares, hits, len(now)))
    for name, losses in (
        ("brier", [_brier(s) for s in (now, base)]),
        ("log_loss", [s.losses for s in (now, base)]),
    ):
        difference = comparison.paired_means(losses[0], losses[1], seed=seed)
        means = [intervals.mean(loss, LEVEL) for loss in losses]
        found.append(_metric(name, means, difference, len(now), "lower"))
    return found


def _brier(found: Scored) -> NDArray[np.float64]:
    """Of the positive class for two classes, summed over classes for more."""
    hits = np.eye(len(found.classes))[found.truth]
    squares = np.square(found.probabilities - hits)
    return squares.sum(axis=1) if found.positive is None else squares[:, found.positive]


def _metric(
    name: str,
    figures: list[intervals.Estimate],
    difference: Difference,
    rows: int,
    better: Better = "higher",
) -> Metric:
    now, base = (
        Estimate(value=float(f.value), lower=float(f.lower), upper=float(f.upper)) for f in figures
    )
    return Metric(name=name, now=now, base=base, difference=difference, rows=rows, better=better)
