"""Score many rows with a converted model, in a confined worker.

`load` is the factory of an `assay.isolation.worker.Worker`: it gets the ONNX model's bytes and
answers `Describe` and `Score` requests.  The caller's side is `Scorer`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from assay.errors import Usage
from assay.formats.schema import Column, Kind

TARGET = "assay.formats.scoring:load"
_ROWS = 20_000
"""Rows of one call, so that no single answer or time limit grows with the table."""

Answers: TypeAlias = NDArray[np.float64]


class Describe(msgspec.Struct, frozen=True, tag="describe"):
    """Ask what the model takes and gives."""


class Score(msgspec.Struct, frozen=True, tag="score"):
    """Ask for scores of rows."""

    columns: list[Column]


class Description(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a model takes and gives; `features` is None when it takes one matrix without names.

    `classes` is empty for a regressor, and where the model's file does not say.
    """

    kind: Kind | Literal["unknown"]
    features: list[str] | None
    width: int | None
    classes: list[int | str]


def load(model: bytes) -> Callable[[bytes], bytes]:
    """Runs confined: the handler of a worker for one model."""
    from assay.formats.predictor import Predictor

    predictor = Predictor(model)
    described = _describe(predictor)

    def handle(request: bytes) -> bytes:
        asked = msgspec.msgpack.decode(request, type=Describe | Score)
        if isinstance(asked, Describe):
            return msgspec.msgpack.encode(described)
        return _score(predictor, described, asked.columns)

    return handle


def describe(model: bytes) -> bytes:
    """Runs confined, once: what a model takes and gives; raises `Usage` for one that cannot run."""
    return load(model)(msgspec.msgpack.encode(Describe()))


def _describe(predictor: Any) -> Description:
    schema = predictor.schema
    if schema is not None:
        return Description(schema.kind, predictor.features, None, schema.classes)
    inputs = predictor.signature.inputs
    if len(inputs) == 1 and inputs[0].dtype in ("float", "double"):
        shape = inputs[0].shape
        return Description("unknown", None, shape[-1] if shape else None, [])
    return Description("unknown", predictor.features, None, [])


def _score(predictor: Any, described: Description, columns: list[Column]) -> bytes:
    if described.features is None:
        texts = [column.name for column in columns if column.dtype != "float"]
        if texts or described.width not in (None, len(columns)):
            raise Usage(
                f"the model takes one matrix of {described.width} numbers a row, and the table has "
                f"{len(columns)} columns{f', of them text: {texts[0]!r}' if texts else ''}",
                remedy="give a dataset with exactly the columns it was trained on, in their order",
                code="score.columns",
            )
        missing = [[np.nan if v is None else v for v in column.values] for column in columns]
        answer = predictor.predict(np.array(missing, dtype=np.float64).T)
    else:
        answer = predictor.predict({column.name: column.values for column in columns})
    scores = np.ascontiguousarray(answer.scores, dtype="<f8")
    return msgspec.msgpack.encode({"shape": list(scores.shape), "data": scores.tobytes()})


class Scorer:
    """The caller's side: scores a table with the model in a worker, piece by piece."""

    def __init__(self, call: Callable[[bytes], bytes]) -> None:
        self._call = call
        self.described = decode_description(call(msgspec.msgpack.encode(Describe())))

    def __call__(self, columns: Sequence[Column]) -> Answers:
        """Probabilities, rows × classes (rows × 1 values of a regressor); raises `Usage`."""
        chosen = self.choose(columns)
        rows = len(chosen[0].values) if chosen else 0
        parts: list[Answers] = []
        for start in range(0, rows, _ROWS):
            piece = [Column(c.name, c.dtype, c.values[start : start + _ROWS]) for c in chosen]
            parts.append(decode(self._call(msgspec.msgpack.encode(Score(piece))), piece))
        if not parts:
            raise Usage("there are no rows to score", code="score.rows")
        return np.concatenate(parts)

    def choose(self, columns: Sequence[Column]) -> list[Column]:
        """The columns that the model takes, in its order; raises `Usage` naming a missing one."""
        if self.described.features is None:
            return list(columns)
        given = {column.name: column for column in columns}
        missing = [name for name in self.described.features if name not in given]
        if missing:
            raise Usage(
                f"the dataset lacks the column {missing[0]!r} that the model takes",
                remedy=f"it takes: {', '.join(self.described.features)}",
                code="score.columns",
                details={"missing": missing},
            )
        return [given[name] for name in self.described.features]


def decode_description(answer: bytes) -> Description:
    """The answer of `describe`; raises `Usage` when it is none."""
    try:
        return msgspec.msgpack.decode(answer, type=Description)
    except msgspec.DecodeError as error:
        raise Usage("the model does not say what it takes", code="score.answer") from error


def decode(answer: bytes, piece: Sequence[Column]) -> Answers:
    """The matrix in an answer of `load`, or of `assay.formats.retrain.load`.

    The confined process may lie about anything: only one row for each of ours is accepted.
    """
    try:
        told = msgspec.msgpack.decode(answer, type=dict[str, Any])
        rows, width = told["shape"]
        scores = np.frombuffer(told["data"], dtype="<f8").reshape(rows, width)
    except (msgspec.DecodeError, KeyError, TypeError, ValueError) as error:
        raise Usage("the model's answer is no matrix of scores", code="score.answer") from error
    if rows != len(piece[0].values):
        raise Usage("the model did not answer one row for each row", code="score.answer")
    return scores
