"""Labels and scores, checked: what every assessment begins with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from assay.assess.intervals import Estimate, Floats, auc, macro_auc
from assay.errors import Usage

_LEAST = 1e-15
_TOLERANCE = 1e-3


@dataclass(frozen=True, slots=True)
class Scored:
    """True classes and predicted probabilities of the same rows.

    `truth` (n,) indexes `classes` and the columns of `probabilities` (n, k).  With two classes
    `positive` is the index of the one whose probability is the score; else it is None.
    """

    classes: list[Any]
    truth: NDArray[np.int64]
    probabilities: Floats
    positive: int | None

    def __len__(self) -> int:
        return len(self.truth)

    @property
    def of_truth(self) -> Floats:
        """The probability that each row's true class was given."""
        return self.probabilities[np.arange(len(self)), self.truth]

    @property
    def losses(self) -> Floats:
        """The log loss of each row, in nats."""
        return log_loss(self.of_truth)

    def take(self, rows: NDArray[Any]) -> Scored:
        """The rows chosen by a mask or by indices."""
        return Scored(self.classes, self.truth[rows], self.probabilities[rows], self.positive)


def log_loss(probabilities: Floats) -> Floats:
    """Minus the logarithm, finite: no probability counts as less than 1e-15."""
    return -np.log(np.maximum(probabilities, _LEAST))


def calls(scored: Scored, threshold: float) -> NDArray[np.int64]:
    """The class called for each row: positive from `threshold` on, or the likeliest of many."""
    if scored.positive is None:
        return scored.probabilities.argmax(axis=1)
    above = scored.probabilities[:, scored.positive] >= threshold
    return np.where(above, scored.positive, 1 - scored.positive)


def discrimination(scored: Scored, level: float) -> Estimate:
    """The AUC of two classes, or the mean of one-versus-rest AUCs of the classes that occur."""
    if scored.positive is None:
        return macro_auc(scored.truth, scored.probabilities, level)
    return auc(scored.truth == scored.positive, scored.probabilities[:, scored.positive], level)


def labels(y: Any, what: str) -> NDArray[Any]:
    """`y` as an array (n,) of labels of one type; raises `Usage` for missing ones."""
    array = np.asarray(y)
    if array.ndim != 1 or not len(array):
        raise Usage(
            f"{what} labels have the shape {array.shape}; one label a row is needed",
            remedy="pass a column of labels",
            code="assess.labels",
        )
    missing = np.array([value is None or value != value for value in array.tolist()])
    if missing.any():
        raise Usage(
            f"{what} labels are missing in {int(missing.sum()):,} rows, "
            f"first in row {int(missing.argmax()) + 1}",
            remedy="drop those rows, or fill in their true label",
            code="assess.labels",
        )
    return array


def score(
    y: Any,
    scores: Any,
    *,
    classes: Sequence[Any] | None = None,
    positive: Any = None,
    what: str = "test",
) -> Scored:
    """`Scored` from labels (n,) and probabilities (n,) of the positive class or (n, k) of all.

    `classes` names the columns and by default is every label in `y`, sorted; `positive` by default
    is the second of two classes.  Raises `Usage` for what cannot be assessed: missing labels, one
    class only, scores that are no probabilities, shapes that do not fit.
    """
    array = labels(y, what)
    try:
        known = np.unique(array).tolist() if classes is None else list(map(_plain, classes))
    except TypeError:
        raise Usage(
            f"{what} labels mix numbers and text",
            remedy="give every class a label of the same type",
            code="assess.labels",
        ) from None
    places = {label: place for place, label in enumerate(known)}
    truth = np.array([places.get(label, -1) for label in array.tolist()], dtype=np.int64)
    if (truth < 0).any():
        raise Usage(
            f"{what} labels hold a class that the model does not know, "
            f"first in row {int((truth < 0).argmax()) + 1}",
            remedy="assess on rows of the classes that the model was trained on",
            code="assess.classes",
        )
    if len(np.unique(truth)) < 2:
        raise Usage(
            f"{what} labels are all of one class",
            remedy="assess on rows of at least two classes",
            code="assess.one_class",
        )
    place = None
    if len(known) == 2:
        place = 1 if positive is None else places.get(positive, -1)
        if place < 0:
            raise Usage(
                f"the positive class {positive!r} is none of the classes",
                remedy=f"one of: {known[0]!r}, {known[1]!r}",
                code="assess.classes",
            )
    return Scored(known, truth, _probabilities(scores, len(array), len(known), place, what), place)


def _plain(label: Any) -> Any:
    return label.item() if isinstance(label, np.generic) else label


def _probabilities(scores: Any, rows: int, classes: int, positive: int | None, what: str) -> Floats:
    array: Floats
    try:
        array = np.asarray(scores, dtype=np.float64)
    except (TypeError, ValueError):
        array = np.empty(0)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    fits = array.shape == (rows, classes) or (array.shape == (rows,) and positive is not None)
    if not fits:
        raise Usage(
            f"{what} scores have the shape {array.shape}; {rows:,} rows of {classes} classes "
            "were expected",
            remedy="pass one probability for each row and class",
            code="assess.scores",
        )
    wrong = ~np.isfinite(array) | (array < -_TOLERANCE) | (array > 1 + _TOLERANCE)
    if array.ndim == 2 and not wrong.any():
        wrong = np.abs(array.sum(axis=1) - 1) > _TOLERANCE
    if wrong.any():
        row = int(wrong.reshape(rows, -1).any(axis=1).argmax())
        raise Usage(
            f"{what} scores are no probabilities, first in row {row + 1}: they must be finite, "
            "between 0 and 1, and sum to 1 over the classes",
            remedy="calibrate the model, or return its probabilities",
            code="assess.scores",
        )
    array = np.clip(array, 0.0, 1.0)
    if array.ndim == 1:
        other = 1 - array
        array = np.column_stack((other, array) if positive == 1 else (array, other))
    return array
