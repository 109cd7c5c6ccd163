"""Whether a model gives away who was in its training data.

Two attacks are run against the model itself, on rows of which membership is known, and what counts
is how well they do: an AUC of 0.5 is guessing, 1 is certainty.

- The loss attack: Yeom, Giacomelli, Fredrikson & Jha, CSF 2018.  A row with a low loss is called a
  member; at the mean training loss as threshold this is their Adversary 1.
- RMIA, offline: Zarifzadeh, Liu & Shokri, ICML 2024.  A row is called a member when the model likes
  it better than models that never saw it do, compared with how the same holds for other people.

Members and others must be drawn from the same population: if they differ in time or place, the
attacks find that, and the figure is too high.  A low figure bounds these attacks, not all attacks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from assay.assess.intervals import LEVEL, Bools, Floats, auc, difference, share
from assay.assess.scored import Scored, score
from assay.errors import Usage

KIND = "privacy-membership"
PRODUCER = "assay.assess.privacy/1"

Scorer = Callable[[Any], Any]
"""Maps features (n rows) to probabilities, (n,) or (n, k)."""

_OFFLINE_A = 0.3
"""For want of models that did see the row, p_in is taken as a * p_out + 1 - a."""
_LEAST = 20
_FALSE_ALARMS = 0.01

_CITATIONS = [
    "Yeom, Giacomelli, Fredrikson & Jha, Privacy Risk in Machine Learning, CSF 2018",
    "Zarifzadeh, Liu & Shokri, Low-Cost High-Power Membership Inference Attacks, ICML 2024",
    "DeLong, DeLong & Clarke-Pearson, Biometrics 44 (1988) 837-845",
]


def privacy(
    X: Any,  # noqa: N803 - the name everybody knows
    y: Any,
    member: Any,
    scorer: Scorer,
    *,
    train: Callable[[Any, Any, int], Scorer] | None = None,
    classes: Sequence[Any] | None = None,
    positive: Any = None,
    seed: int = 0,
    level: float = LEVEL,
) -> dict[str, Any]:
    """The predicate ``privacy-membership/v1``: plain JSON.

    `X` (n rows: array or frame) and `y` (n,) hold the training rows and others of the same
    population; `member` (n,) is true for the training rows.  `scorer` is the model.  `train` fits
    the model's algorithm to other rows, ``train(X, y, seed)``, and returns the fitted scorer; it
    is called twice, on complementary halves, so that every row has one model that never saw it.
    Without it RMIA is left out, and so is its figure.

    `auc_upper` is the worst upper bound of the attacks that were run.  Raises `Usage`.
    """
    mask = np.asarray(member, dtype=bool)
    target = score(y, scorer(X), classes=classes, positive=positive, what="membership")
    if mask.shape != (len(target),) or min(mask.sum(), (~mask).sum()) < _LEAST:
        raise Usage(
            f"membership inference needs at least {_LEAST} training rows and {_LEAST} others",
            remedy="give more rows that the model was not trained on",
            code="assess.members",
        )
    losses = target.losses
    found: dict[str, Any] = {
        "method": {
            "loss": "loss threshold; AUC with DeLong variance on the logit scale, or "
            "Newcombe's interval where wider",
            "advantage": "at the mean training loss; Wilson and MOVER intervals",
        },
        "citations": list(_CITATIONS),
        "level": level,
        "rows": {"members": int(mask.sum()), "others": int((~mask).sum())},
        "classes": target.classes,
        "loss": _attack(-losses, mask, level) | {"advantage": _advantage(losses, mask, level)},
        "seeds": [],
    }
    if train is not None:
        unseen, seeds = _unseen(X, np.asarray(y), mask, target, train, seed)
        found["rmia"] = _attack(_rmia(target.of_truth, unseen), mask, level)
        found["method"]["rmia"] = (
            f"offline, 2 reference models on complementary halves, a={_OFFLINE_A}, gamma=1, "
            "z = the rows that are no members; AUC as for the loss attack"
        )
        found["seeds"] = seeds
    found["auc_upper"] = max(found[k]["auc"]["upper"] for k in ("loss", "rmia") if k in found)
    return found


def _attack(scores: Floats, mask: Bools, level: float) -> dict[str, Any]:
    """How well `scores` (higher: rather a member) tell members from others."""
    found: dict[str, Any] = {"auc": auc(mask, scores, level).as_dict()}
    others = np.sort(scores[~mask])
    alarms = math.floor(_FALSE_ALARMS * len(others))
    if alarms:
        caught = scores[mask] > others[-alarms - 1]
        found["members_caught"] = {
            "false_alarms": _FALSE_ALARMS,
            **share(caught, level).as_dict(),
        }
    return found


def _advantage(losses: Floats, mask: Bools, level: float) -> dict[str, float]:
    """Yeom's membership advantage: true minus false positive rate."""
    called = losses <= losses[mask].mean()
    return difference(share(called[mask], level), share(called[~mask], level), paired=False)


def _unseen(
    X: Any,  # noqa: N803
    y: Any,
    mask: Bools,
    target: Scored,
    train: Callable[[Any, Any, int], Scorer],
    seed: int,
) -> tuple[Floats, list[int]]:
    """The probability each row's true class gets from a model that was not trained on the row."""
    generator = np.random.default_rng(seed)
    first = np.zeros(len(mask), dtype=bool)
    # Halve members and others of each class alike, so that both models see all classes.
    strata = target.truth * 2 + mask
    for stratum in np.unique(strata):
        rows = generator.permutation(np.flatnonzero(strata == stratum))
        first[rows[: (len(rows) + int(generator.integers(2))) // 2]] = True
    positive = None if target.positive is None else target.classes[target.positive]
    unseen = np.empty(len(mask))
    seeds = [int(s) for s in generator.integers(2**31, size=2)]
    for half, model_seed in zip((first, ~first), seeds, strict=True):
        rows, rest = np.flatnonzero(half), np.flatnonzero(~half)
        reference = train(_take(X, rows), y[rows], model_seed)
        answers = reference(_take(X, rest))
        judged = score(
            y[rest], answers, classes=target.classes, positive=positive, what="reference model"
        )
        unseen[rest] = judged.of_truth
    return unseen, seeds


def _rmia(confidence: Floats, unseen: Floats) -> Floats:
    """RMIA's likelihood ratio of each row, which ranks rows as RMIA does.

    `confidence` and `unseen` (n,) are the probabilities of the true class, from the model and from
    one that never saw the row.  RMIA's score is the share of other people whose ratio is less than
    the row's over gamma; for gamma = 1 that share only grows with the ratio, so both order the rows
    alike, and an AUC needs no more.
    """
    return confidence / (((1 + _OFFLINE_A) * unseen + (1 - _OFFLINE_A)) / 2)


def _take(X: Any, rows: Any) -> Any:  # noqa: N803
    return X.iloc[rows] if hasattr(X, "iloc") else X[rows]
