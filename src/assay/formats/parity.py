"""Does a converted model decide as the original did?  The worst case, not the average.

A score that differs in the eighth digit is noise; a decision that differs is another model.  So
decisions are compared: for two classes against the threshold, and by the most probable class, which
is the label that an endpoint answers with whatever the threshold.  A regressor decides nothing: its
values differ where they are apart by more than a hundredth of their own spread.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray

from assay.errors import Usage
from assay.formats.schema import Kind

if TYPE_CHECKING:
    from assay.formats.predictor import Prediction

WORST_DIFFERENCE = 1e12
"""Stands for a difference that is not a number: one side answered and the other did not."""


_LIKELIER = 0.5
_SHARE = 0.01
_DIGITS = 1e-5
_TIE = 1e-5
"""Probabilities closer than this may give either label."""


class CaseParity(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One kind of rows: how many, the largest difference, the share of decisions that differ."""

    rows: int
    max_abs_diff: float
    decision_disagreement: float


class WorstRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The row that differs most: a differing decision comes before any difference of scores."""

    row: int
    case: str
    original: list[float | None]
    converted: list[float | None]


class Parity(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The worst over all cases but `rounding`, then each case; None where there were no such rows.

    max_abs_diff
        In units of the score.
    decision_disagreement
        A share, 0 to 1: the largest among the cases, so that many ordinary rows cannot dilute a few
        extraordinary ones.
    rounding
        Rows in which a number was first rounded to float32.  Where this differs, the cause is that
        the converted model takes float32 and the original doubles, which the other cases (real
        rows among them) show only as far as it matters there.
    """

    format: Literal["assay/parity/v1"]
    rows: int
    threshold: float
    max_abs_diff: float
    decision_disagreement: float
    sample: CaseParity | None
    nan_rows: CaseParity | None
    unseen_category: CaseParity | None
    float32_edges: CaseParity | None
    rounding: CaseParity | None
    refused: list[str]
    worst: WorstRow


class MeasureRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The answer of a conversion, as it came, and the threshold of the decision."""

    format: Literal["assay/measure-request/v1"]
    converted: bytes
    threshold: float


def parity(
    original: ArrayLike,
    converted: ArrayLike,
    threshold: float,
    *,
    kind: Kind = "classifier",
    cases: Sequence[str] | None = None,
    refused: Sequence[str] = (),
) -> Parity:
    """Compare scores, both rows × classes (or n values); without `cases` all rows are sample rows.

    Two columns are two classes, of which the second is the positive one.  NaN equals NaN only.
    Raises `Usage` (``parity.*``) for shapes that differ, no rows, or a threshold that is no number.
    """
    before, after = _scores(original), _scores(converted)
    names = np.array(["sample"] * len(before) if cases is None else list(cases))
    if before.shape != after.shape or len(names) != len(before) or not before.size:
        raise Usage(
            f"scores of shape {before.shape} and {after.shape} cannot be compared",
            remedy="score the same rows with both models",
            code="parity.shape",
        )
    if not np.isfinite(threshold):
        raise Usage(f"the threshold {threshold} is not a number", code="parity.threshold")
    differences = _differences(before, after)
    if kind == "regressor":
        differ = differences > _tolerance(before, names)
    else:
        differ = _decide(before, threshold) != _decide(after, threshold)
    if before.shape[1] == 2:
        # A threshold that no row reaches must not hide that the labels differ.
        differ |= _decide(before, _LIKELIER) != _decide(after, _LIKELIER)
    measured = {name: _case(names == name, differences, differ) for name in sorted(set(names))}
    counted = names != "rounding"
    if not counted.any():
        raise Usage("there are no rows but rounded ones", code="parity.shape")
    worst = int(np.flatnonzero(counted)[np.lexsort((differences[counted], differ[counted]))[-1]])
    cases_counted = [case for name, case in measured.items() if name != "rounding"]
    return Parity(
        format="assay/parity/v1",
        rows=len(before),
        threshold=float(threshold),
        max_abs_diff=max(case.max_abs_diff for case in cases_counted),
        decision_disagreement=max(case.decision_disagreement for case in cases_counted),
        sample=measured.get("sample"),
        nan_rows=measured.get("missing"),
        unseen_category=measured.get("unseen_category"),
        float32_edges=measured.get("float32_edges"),
        rounding=measured.get("rounding"),
        refused=list(refused),
        worst=WorstRow(worst, str(names[worst]), _plain(before[worst]), _plain(after[worst])),
    )


def measure(payload: bytes) -> bytes:
    """`Parity`, in JSON, for a `MeasureRequest` in MessagePack: runs the converted model.

    The model comes from a process that may have been hostile, so call this confined too.
    """
    from assay.formats.convert import decode_converted
    from assay.formats.predictor import Predictor

    try:
        request = msgspec.msgpack.decode(payload, type=MeasureRequest)
    except (msgspec.DecodeError, RecursionError) as error:
        raise Usage(f"not a measuring request ({error})", code="parity.request") from error
    converted = decode_converted(request.converted)
    prediction = Predictor(converted.onnx).predict({c.name: c.values for c in converted.columns})
    return msgspec.json.encode(
        parity(
            converted.original,
            _answered(prediction, converted.classes),
            request.threshold,
            kind=converted.kind,
            cases=converted.cases,
            refused=converted.refused,
        )
    )


def _answered(prediction: Prediction, classes: Sequence[int | str]) -> NDArray[np.float64]:
    """The scores; a row whose label contradicts its own probabilities counts as not answered."""
    scores = prediction.scores.copy()
    if prediction.probabilities is None or scores.shape[1] != len(classes):
        return scores
    ordered = np.sort(scores, axis=1)
    clear = ordered[:, -1] - ordered[:, -2] > _TIE if len(classes) > 1 else np.array(True)
    likely = [str(classes[index]) for index in scores.argmax(axis=1)]
    said = [str(label) for label in prediction.labels.tolist()]
    scores[clear & (np.array(likely) != np.array(said))] = np.nan
    return scores


def encode_request(converted: bytes, threshold: float) -> bytes:
    """The payload of `measure`."""
    return msgspec.msgpack.encode(MeasureRequest("assay/measure-request/v1", converted, threshold))


def decode_parity(data: bytes) -> Parity:
    """The answer of `measure`; `Usage` when it is not one."""
    try:
        return msgspec.json.decode(data, type=Parity)
    except (msgspec.DecodeError, RecursionError) as error:
        raise Usage(f"not the answer of a parity measurement ({error})", code="parity") from error


def _scores(values: ArrayLike) -> NDArray[np.float64]:
    scores = np.asarray(values, dtype=np.float64)
    return scores.reshape(-1, 1) if scores.ndim == 1 else scores


def _differences(before: NDArray[np.float64], after: NDArray[np.float64]) -> NDArray[np.float64]:
    """The largest difference of each row; `WORST_DIFFERENCE` where one side is not finite."""
    same = (before == after) | (np.isnan(before) & np.isnan(after))
    with np.errstate(invalid="ignore", over="ignore"):
        apart = np.abs(before - after)
    apart = np.where(np.isfinite(apart), np.minimum(apart, WORST_DIFFERENCE), WORST_DIFFERENCE)
    return np.where(same, 0.0, apart).max(axis=1)


def _tolerance(values: NDArray[np.float64], names: NDArray[np.str_]) -> NDArray[np.float64]:
    """How far apart two values of a regressor may be: a hundredth of the spread over sample rows,
    or where the value itself is large the few digits that float32 keeps of it."""
    sample = values[(names == "sample") & np.isfinite(values[:, 0]), 0]
    spread = float(sample.std()) if len(sample) else 0.0
    with np.errstate(invalid="ignore"):
        relative = np.nan_to_num(np.abs(values[:, 0]), posinf=0.0) * _DIGITS
    return np.maximum(_SHARE * spread, relative)


def _decide(scores: NDArray[np.float64], threshold: float) -> NDArray[np.int64]:
    """The decision of each row; -1 where the scores are not numbers."""
    nothing = np.isnan(scores).any(axis=1)
    if scores.shape[1] <= 2:
        decided = (scores[:, -1] >= threshold).astype(np.int64)
    else:
        decided = np.where(np.isnan(scores), -np.inf, scores).argmax(axis=1)
    return np.where(nothing, -1, decided)


def _case(
    rows: NDArray[np.bool_], differences: NDArray[np.float64], differ: NDArray[np.bool_]
) -> CaseParity:
    return CaseParity(
        rows=int(rows.sum()),
        max_abs_diff=float(differences[rows].max()),
        decision_disagreement=float(differ[rows].mean()),
    )


def _plain(scores: NDArray[np.float64]) -> list[float | None]:
    return [float(score) if np.isfinite(score) else None for score in scores]
