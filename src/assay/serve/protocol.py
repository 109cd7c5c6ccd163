"""Requests and answers of the Open Inference Protocol v2 (REST), parsed strictly.

Source: https://github.com/kserve/open-inference-protocol, ``specification/protocol/inference_rest``.
Tensors travel as JSON; binary tensor data is an extension that this endpoint does not offer.
"""

from __future__ import annotations

import math
from typing import Any

import msgspec

from assay.errors import Usage

MAX_ROWS = 4096
MAX_BODY = 8 << 20
"""Bytes of a request body."""

DATATYPES = {
    "FP32": float,
    "FP64": float,
    "INT64": int,
    "INT32": int,
    "BOOL": bool,
    "BYTES": str,
}


class Tensor(msgspec.Struct, forbid_unknown_fields=True):
    """A named tensor; `data` is flat or nested, row-major."""

    name: str
    shape: list[int]
    datatype: str
    data: list[Any]
    parameters: dict[str, Any] = {}


class WantedOutput(msgspec.Struct, forbid_unknown_fields=True):
    """An output the caller asks for."""

    name: str
    parameters: dict[str, Any] = {}


class InferRequest(msgspec.Struct, forbid_unknown_fields=True):
    """The body of ``POST /v2/models/NAME/infer``."""

    inputs: list[Tensor]
    id: str = ""
    parameters: dict[str, Any] = {}
    outputs: list[WantedOutput] = []


class InferResponse(msgspec.Struct, omit_defaults=True):
    """The answer."""

    model_name: str
    model_version: str
    outputs: list[Tensor]
    id: str = ""
    parameters: dict[str, Any] = {}


_decoder = msgspec.json.Decoder(InferRequest)


def parse(body: bytes) -> InferRequest:
    """A request from its bytes; raises `Usage` naming what is wrong."""
    try:
        return _decoder.decode(body)
    except (msgspec.DecodeError, RecursionError) as error:
        raise Usage(f"the request is not an inference request: {error}", code="request") from error


def columns(request: InferRequest, signature: list[dict[str, Any]]) -> dict[str, list[Any]]:
    """The inputs as one list of values (or rows) for each model input.

    `signature` lists the model's inputs (``name``, ``datatype``, ``width``; a width of None is a
    single column).  Raises `Usage` for a missing, extra, mistyped, ragged or oversized input.
    """
    given = {tensor.name: tensor for tensor in request.inputs}
    wanted = {item["name"]: item for item in signature}
    if len(given) != len(request.inputs):
        raise Usage("an input appears twice", code="request.inputs")
    missing = sorted(set(wanted) - set(given))
    extra = sorted(set(given) - set(wanted))
    if missing or extra:
        raise Usage(
            f"inputs missing: {', '.join(missing) or 'none'}; unknown: {', '.join(extra) or 'none'}",
            remedy="GET the model's URL for its inputs",
            code="request.inputs",
        )
    rows = {tensor.shape[0] if tensor.shape else 0 for tensor in given.values()}
    if len(rows) != 1 or not 1 <= (count := rows.pop()) <= MAX_ROWS:
        raise Usage(
            f"every input needs the same number of rows, from 1 to {MAX_ROWS}", code="request.rows"
        )
    return {name: _values(given[name], wanted[name], count) for name in wanted}


def _values(tensor: Tensor, wanted: dict[str, Any], count: int) -> list[Any]:
    width = wanted["width"]
    flat = _flatten(tensor.data)
    size = count * (width or 1)
    if len(flat) != size or math.prod(tensor.shape) != size:
        raise Usage(
            f"input {tensor.name!r} has {len(flat)} values for shape {tensor.shape}; "
            f"{size} are needed",
            code="request.shape",
        )
    if tensor.datatype not in DATATYPES:
        raise Usage(
            f"input {tensor.name!r}: datatype {tensor.datatype[:20]!r} is not offered",
            remedy=f"one of {', '.join(DATATYPES)}",
            code="request.datatype",
        )
    text_wanted = wanted["datatype"] == "BYTES"
    if text_wanted != (tensor.datatype == "BYTES"):
        raise Usage(
            f"input {tensor.name!r} must be {wanted['datatype']}, not {tensor.datatype}",
            code="request.datatype",
        )
    values = [_value(tensor, value, text_wanted) for value in flat]
    if width is None:
        return values
    return [values[i : i + width] for i in range(0, size, width)]


def _value(tensor: Tensor, value: Any, text_wanted: bool) -> Any:
    if text_wanted:
        if isinstance(value, str):
            return value
    elif value is None:
        return math.nan
    elif isinstance(value, (int, float)):
        return float(value)
    raise Usage(
        f"input {tensor.name!r} holds a value that is not {tensor.datatype}",
        code="request.value",
    )


def _flatten(data: list[Any]) -> list[Any]:
    if data and isinstance(data[0], list):
        return [value for row in data for value in (row if isinstance(row, list) else [row])]
    return data
