"""Requests and answers of the Open Inference Protocol v2 (REST), parsed strictly.

Source: https://github.com/kserve/open-inference-protocol, ``specification/protocol/inference_rest``
(and ``open_inference_rest.yaml``).  Tensors travel as JSON; binary tensor data is an extension that
this endpoint does not offer.  Three things are narrower than the specification allows: a value must
be of the tensor's declared datatype (no number in quotes, no boolean for a number), data is either
flat or nested exactly as its shape says, and whatever is not in the specification is refused.  One
is wider: ``null`` stands for a missing value, which JSON has no number for.
"""

from __future__ import annotations

import math
from collections.abc import Set as AbstractSet
from typing import Any, TypeAlias

import msgspec

from assay.errors import Usage, Verification

MAX_BODY = 8 << 20
"""Bytes of a request body."""
MAX_ROWS = 4096
MAX_ID = 256
"""Characters of a request's id."""

OPEN = -1
"""A dimension that the caller decides."""

Parameters: TypeAlias = dict[str, bool | int | float | str]

INTEGERS: dict[str, tuple[int, int]] = {
    f"{sign}INT{bits}": (0, (1 << bits) - 1) if sign else (-(1 << bits - 1), (1 << bits - 1) - 1)
    for sign in ("", "U")
    for bits in (8, 16, 32, 64)
}
"""The least and the greatest value of each integer datatype."""
FLOATS = frozenset({"FP16", "FP32", "FP64"})
DATATYPES = frozenset({*INTEGERS, *FLOATS, "BOOL", "BYTES"})


class Tensor(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """A named tensor; `data` is flat, or nested as `shape` says, row-major."""

    name: str
    shape: list[int]
    datatype: str
    data: list[Any]
    parameters: Parameters = {}


class WantedOutput(msgspec.Struct, forbid_unknown_fields=True):
    """An output the caller asks for."""

    name: str
    parameters: Parameters = {}


class InferRequest(msgspec.Struct, forbid_unknown_fields=True):
    """The body of ``POST /v2/models/NAME/infer``."""

    inputs: list[Tensor]
    id: str = ""
    parameters: Parameters = {}
    outputs: list[WantedOutput] = []


class InferResponse(msgspec.Struct, omit_defaults=True):
    """The answer."""

    model_name: str
    model_version: str
    outputs: list[Tensor]
    id: str = ""
    parameters: Parameters = {}


class Input(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An input of a model.

    width
        Values in each row: None for a single column, 2 or more, `OPEN` where the caller decides.
    """

    name: str
    datatype: str
    width: int | None = None


class Output(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """An output of a model; `classes` names the columns of probabilities."""

    name: str
    datatype: str
    shape: list[int]
    classes: list[int | str] = []


class Description(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a model takes and gives."""

    inputs: list[Input]
    outputs: list[Output]


_requests = msgspec.json.Decoder(InferRequest)
_answers = msgspec.msgpack.Decoder(list[Tensor])


def parse(body: bytes) -> InferRequest:
    """A request from its bytes; raises `Usage` naming what is wrong."""
    try:
        request = _requests.decode(body)
    except RecursionError as error:
        raise Usage("the request is nested too deeply", code="request") from error
    except (msgspec.DecodeError, ValueError) as error:  # ValueError: not UTF-8.
        raise Usage(
            f"the request is not an inference request: {str(error)[:200]}", code="request"
        ) from error
    if len(request.id) > MAX_ID:
        raise Usage(f"the id is longer than {MAX_ID} characters", code="request.id")
    return request


def columns(
    request: InferRequest, signature: list[Input], optional: AbstractSet[str] = frozenset()
) -> dict[str, list[Any]]:
    """The inputs as one list of values (or of rows) for each input of `signature`, of which those
    that are `optional` may be left out.

    Raises `Usage` for a missing, extra, repeated, mistyped, ragged or oversized input.
    """
    given = {tensor.name: tensor for tensor in request.inputs}
    if len(given) != len(request.inputs):
        raise Usage("an input appears twice", code="request.inputs")
    names = {wanted.name for wanted in signature}
    if not names - optional <= given.keys() <= names:
        raise Usage(
            f"inputs missing: {_listed(names - optional - given.keys())}; "
            f"unknown: {_listed(given.keys() - names)}",
            remedy="GET the model's URL for its inputs",
            code="request.inputs",
        )
    rows = {tensor.shape[0] if tensor.shape else 0 for tensor in request.inputs}
    if len(rows) != 1 or not 1 <= (count := rows.pop()) <= MAX_ROWS:
        raise Usage(
            f"every input needs the same number of rows, from 1 to {MAX_ROWS}", code="request.rows"
        )
    return {
        wanted.name: _values(given[wanted.name], wanted, count)
        for wanted in signature
        if wanted.name in given
    }


def chosen(request: InferRequest, offered: list[Output]) -> set[str]:
    """The outputs that a request asks for, by name: all of them when it names none."""
    names = {output.name for output in offered}
    wanted = {output.name for output in request.outputs}
    if len(wanted) != len(request.outputs):
        raise Usage("an output is asked for twice", code="request.outputs")
    if not wanted <= names:
        raise Usage(
            f"outputs unknown: {_listed(wanted - names)}",
            remedy=f"ask for {_listed(names)}",
            code="request.outputs",
        )
    return wanted or names


def decode_answer(raw: bytes, offered: list[Output], rows: int) -> list[Tensor]:
    """The tensors a worker answered with, believed to be what was offered only after a look.

    Raises `Verification`: what comes out of a model's process is foreign, and JSON has no way to
    say that a number is none.
    """
    try:
        tensors = _answers.decode(raw)
    except (msgspec.DecodeError, RecursionError, ValueError) as error:
        raise Verification("the model's answer cannot be read", code="answer") from error
    if [tensor.name for tensor in tensors] != [output.name for output in offered]:
        raise Verification("the model did not answer with its outputs", code="answer.outputs")
    for tensor, output in zip(tensors, offered, strict=True):
        dimensions = zip(tensor.shape[1:], output.shape[1:], strict=False)
        if (
            len(tensor.shape) != len(output.shape)
            or tensor.shape[0] != rows
            or any(got < 0 or wanted not in (OPEN, got) for got, wanted in dimensions)
            or len(tensor.data) != math.prod(tensor.shape)
            or tensor.datatype != output.datatype
            or tensor.parameters
        ):
            raise Verification("the model's answer has another shape or type", code="answer.shape")
        types = set(map(type, tensor.data))
        if not types <= {_ANSWERED.get(output.datatype, int)}:
            raise Verification("the model's answer holds other values", code="answer.value")
        if float in types and not all(map(math.isfinite, tensor.data)):
            raise Verification("the model answered with what is not a number", code="answer.number")
    return tensors


_ANSWERED: dict[str, type] = {"FP32": float, "FP64": float, "BYTES": str, "BOOL": bool}


def _values(tensor: Tensor, wanted: Input, count: int) -> list[Any]:
    width = _width(tensor, wanted, count)
    flat = _flatten(tensor)
    if len(flat) != count * (width or 1):
        raise Usage(
            f"input {tensor.name[:80]!r} has {len(flat)} values for the shape {tensor.shape}",
            remedy="give the values flat, or nested exactly as the shape says",
            code="request.data",
        )
    _check_datatype(tensor, wanted)
    values = _converted(tensor, flat, wanted.datatype)
    if width is None:
        return values
    return [values[at : at + width] for at in range(0, len(values), width)]


def _width(tensor: Tensor, wanted: Input, count: int) -> int | None:
    """The values in a row, by the tensor's shape, where that is the one that is wanted."""
    shape = tensor.shape
    if wanted.width is None and shape in ([count], [count, 1]):
        return None
    if wanted.width == OPEN and len(shape) == 1:
        return None
    # Bounded by what a body can hold, so that no product of it is a large number.
    bounded = len(shape) == 2 and 1 <= shape[1] <= MAX_BODY
    if wanted.width is not None and bounded and wanted.width in (OPEN, shape[1]):
        return shape[1]
    raise Usage(
        f"input {tensor.name[:80]!r} has the shape {str(shape)[:80]}, "
        f"not [{count}, {wanted.width or 1}]",
        remedy="GET the model's URL for its inputs",
        code="request.shape",
    )


def _flatten(tensor: Tensor) -> list[Any]:
    """The values of flat data, or of rows that are each as long as the shape says."""
    data = tensor.data
    if not data or not isinstance(data[0], list):
        return data  # A list further on is no value of any datatype.
    length = tensor.shape[1] if len(tensor.shape) == 2 else 0
    if not length or not all(isinstance(row, list) and len(row) == length for row in data):
        raise Usage(
            f"the rows of input {tensor.name[:80]!r} are not of the shape {str(tensor.shape)[:80]}",
            remedy="give the values flat, or nested exactly as the shape says",
            code="request.data",
        )
    return [value for row in data for value in row]


def _check_datatype(tensor: Tensor, wanted: Input) -> None:
    given = tensor.datatype
    if given not in DATATYPES:
        raise Usage(
            f"input {tensor.name[:80]!r}: there is no datatype {given[:20]!r}",
            remedy=f"one of {', '.join(sorted(DATATYPES))}",
            code="request.datatype",
        )
    if wanted.datatype in FLOATS:
        fits = given != "BYTES"
    elif wanted.datatype in INTEGERS:
        fits = given in INTEGERS
    else:
        fits = given == wanted.datatype
    if not fits:
        raise Usage(
            f"input {tensor.name[:80]!r} takes {wanted.datatype}, not {given}",
            remedy="GET the model's URL for its inputs",
            code="request.datatype",
        )


def _converted(tensor: Tensor, flat: list[Any], wanted: str) -> list[Any]:
    """The values as the model takes them, each of the datatype that was declared."""
    given = tensor.datatype
    types = set(map(type, flat))
    missing = type(None) in types
    if given == "BYTES":
        allowed = {str}
    elif given == "BOOL":
        allowed = {bool}
    else:
        allowed = {int} if given in INTEGERS else {int, float}
    nullable = wanted == "BYTES" or wanted in FLOATS
    if not types <= allowed | ({type(None)} if nullable else set()):
        raise Usage(
            f"input {tensor.name[:80]!r} holds a value that is not {given}", code="request.value"
        )
    if given in INTEGERS:
        whole = [value for value in flat if value is not None] if missing else flat
        for bounds in (INTEGERS[given], INTEGERS.get(wanted, INTEGERS[given])):
            if whole and not (bounds[0] <= min(whole) and max(whole) <= bounds[1]):
                raise _out_of_range(tensor)
    if wanted not in FLOATS:
        return flat
    if types == {float}:
        return flat
    try:
        return [math.nan if value is None else float(value) for value in flat]
    except OverflowError as error:
        raise _out_of_range(tensor) from error


def _out_of_range(tensor: Tensor) -> Usage:
    return Usage(
        f"input {tensor.name[:80]!r} holds a number out of the range of {tensor.datatype}",
        code="request.range",
    )


def _listed(names: set[str]) -> str:
    """A few names, quoted and cut: they may be the caller's."""
    shown = ", ".join(repr(name[:80]) for name in sorted(names)[:10])
    return (shown or "none") + (f" and {len(names) - 10} more" if len(names) > 10 else "")
