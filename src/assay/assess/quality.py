"""How good a classifier is on rows it has not seen, with intervals.

Everything is measured at the rows given, and nothing is tuned on them.  The intervals answer for
the luck of the draw of these rows; they do not answer for a population that differs from them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from assay.assess.intervals import LEVEL, Floats, difference, known, mean, share
from assay.assess.scored import Scored, calls, discrimination, log_loss, score
from assay.assess.slices import slices
from assay.errors import Usage

KIND = "quality"
PRODUCER = "assay.assess.quality/1"

_METHOD = {
    "auc": "Mann-Whitney; DeLong variance on the logit scale, or Newcombe's interval where wider; "
    "exact at 0 and 1",
    "auc_many_classes": "mean of one-versus-rest AUCs; variance from summed influence",
    "shares": "Wilson interval",
    "means": "Student interval",
    "differences": "MOVER with the correlation of the paired estimates",
}
_CITATIONS = [
    "DeLong, DeLong & Clarke-Pearson, Biometrics 44 (1988) 837-845",
    "Sun & Xu, IEEE Signal Processing Letters 21 (2014) 1389-1393",
    "Newcombe, Statistics in Medicine 25 (2006) 559-573",
    "Pepe, The Statistical Evaluation of Medical Tests (2003), 5.2.5",
    "Brier, Monthly Weather Review 78 (1950) 1-3",
    "Wilson, JASA 22 (1927) 209-212",
    "Zou, Psychological Methods 12 (2007) 399-413",
]
_CONFUSION = 20


def quality(
    y: Any,
    scores: Any,
    *,
    classes: Sequence[Any] | None = None,
    positive: Any = None,
    threshold: float = 0.5,
    champion: Any = None,
    train: tuple[Any, Any] | None = None,
    sensitive: Mapping[str, Any] | None = None,
    level: float = LEVEL,
) -> dict[str, Any]:
    """The predicate ``quality/v1``: plain JSON.

    `y` (n,) are the true labels, `scores` the model's probabilities: (n,) of the `positive` class
    or (n, k) in the order of `classes`.  A row is called positive from `threshold` on; with more
    than two classes the likeliest class is called.

    The model is compared with the prior (the class shares of the training labels, or of `y` where
    there are none) and, row by row, with the probabilities of the reigning `champion` for the same
    rows.  `train` (labels, scores) of the training rows gives the generalisation gap.  `sensitive`
    maps column names to values (n,) and adds a figure for each slice.

    Losses are in nats.  In differences positive is better, except in `gap`, where it is worse.
    Raises `Usage` for input that cannot be assessed.
    """
    test = score(y, scores, classes=classes, positive=positive)
    learnt = None
    if train is not None:
        learnt = score(*train, classes=test.classes, positive=positive, what="training")
    if test.positive is not None and not 0 < threshold < 1:
        raise Usage(
            f"the threshold {threshold} is not between 0 and 1",
            remedy="give the probability from which a row is called positive",
            code="assess.threshold",
        )
    area = discrimination(test, level)
    loss = mean(test.losses, level)
    called = calls(test, threshold)
    prior = _shares(learnt or test)
    prior_loss = mean(log_loss(prior[test.truth]), level)
    found: dict[str, Any] = {
        "method": dict(_METHOD),
        "citations": list(_CITATIONS),
        "level": level,
        "rows": len(test),
        "classes": test.classes,
        "class_rows": np.bincount(test.truth, minlength=len(test.classes)).tolist(),
        "positive": None if test.positive is None else test.classes[test.positive],
        "threshold": None if test.positive is None else float(threshold),
        "auc": area.as_dict(),
        "accuracy": share(called == test.truth, level).as_dict(),
        "brier": mean(_brier(test), level).as_dict(),
        "log_loss": loss.as_dict(),
        "lift": {
            "baseline": "prior",
            "prior": prior.tolist(),
            "majority_accuracy": float(np.mean(test.truth == int(prior.argmax()))),
            # The prior gives every row the same score, so its AUC is 0.5 exactly.
            "auc": difference(area, known(0.5, len(test)), paired=True),
            "log_loss": difference(prior_loss, loss, paired=True),
        },
    }
    if len(test.classes) <= _CONFUSION:
        found["confusion"] = _confusion(test, called)
    if champion is not None:
        rival = score(y, champion, classes=test.classes, positive=positive, what="champion")
        found["champion"] = {
            "auc": difference(area, discrimination(rival, level), paired=True),
            "log_loss": difference(mean(rival.losses, level), loss, paired=True),
        }
    if learnt is not None:
        own = discrimination(learnt, level)
        found["train"] = {"rows": len(learnt), "auc": own.as_dict()}
        found["gap"] = {
            "auc": difference(own, area, paired=False),
            "log_loss": difference(loss, mean(learnt.losses, level), paired=False),
        }
    if sensitive:
        found["slices"] = slices(test, called, sensitive, level)
    return found


def _shares(scored: Scored) -> Floats:
    return np.bincount(scored.truth, minlength=len(scored.classes)) / len(scored)


def _brier(scored: Scored) -> Floats:
    """Brier's score of each row: of the positive class for two, summed over classes for more."""
    if scored.positive is not None:
        hit = scored.truth == scored.positive
        return np.square(scored.probabilities[:, scored.positive] - hit)
    hits = np.eye(len(scored.classes))[scored.truth]
    return np.square(scored.probabilities - hits).sum(axis=1)


def _confusion(scored: Scored, called: NDArray[np.int64]) -> list[list[int]]:
    """Counts by true class (rows) and called class (columns)."""
    k = len(scored.classes)
    return np.bincount(scored.truth * k + called, minlength=k * k).reshape(k, k).tolist()
