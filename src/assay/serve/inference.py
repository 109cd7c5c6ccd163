"""What runs inside the confined worker of an endpoint: one model, described and asked.

`load` is the factory for `assay.isolation.worker.Worker.start`.  The bytes of the model are held to
the digest that the parent named *before* anything looks into them, so what answers is what was
approved, whoever wrote to the file meanwhile.  From the first parsed byte on, this process belongs
to whoever made the model, and its parent believes nothing it says.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from assay.errors import Usage, Verification
from assay.serve.protocol import OPEN, Description, Input, Output, Tensor

if TYPE_CHECKING:
    from assay.formats.onnx_io import TensorInfo
    from assay.formats.predictor import Predictor

TARGET = "assay.serve.inference:load"
FORMAT = "assay/serve-init/v1"

DESCRIBE = msgspec.msgpack.encode("describe")
"""The request that is answered with a `Description`; any other is a mapping of columns."""

_DATATYPES = {
    "float": "FP32",
    "double": "FP64",
    "int64": "INT64",
    "int32": "INT32",
    "bool": "BOOL",
    "string": "BYTES",
}


class Init(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The model, as its bytes or as the path of a declared input, and its digest."""

    format: str
    digest: str
    model: bytes | None = None
    path: str | None = None


def encode_init(digest: str, source: bytes | Path) -> bytes:
    """The payload of `load`."""
    if isinstance(source, Path):
        return msgspec.msgpack.encode(Init(FORMAT, digest, path=str(source)))
    return msgspec.msgpack.encode(Init(FORMAT, digest, model=source))


def load(init: bytes) -> Callable[[bytes], bytes]:
    """The handler of one model, from `Init` in MessagePack."""
    data = _model(init)
    from assay.formats.predictor import Predictor

    predictor = Predictor(data)
    del data
    description = describe(predictor)
    described = msgspec.msgpack.encode(description)
    requests = msgspec.msgpack.Decoder(dict[str, list[Any]])

    def handler(request: bytes) -> bytes:
        if request == DESCRIBE:
            return described
        try:
            columns = requests.decode(request)
        except (msgspec.DecodeError, RecursionError, ValueError) as error:
            raise Usage("not a mapping of columns", code="serve.request") from error
        return msgspec.msgpack.encode(answer(predictor, description.outputs, columns))

    return handler


def _model(init: bytes) -> bytes:
    try:
        given = msgspec.msgpack.decode(init, type=Init)
    except (msgspec.DecodeError, ValueError) as error:
        raise Usage("not the start of an endpoint's worker", code="serve.init") from error
    if given.format != FORMAT or (given.model is None) == (given.path is None):
        raise Usage("not the start of an endpoint's worker", code="serve.init")
    if given.model is not None:
        data = given.model
    else:
        from assay.formats.onnx_io import read_model

        data = read_model(Path(given.path or ""))
    if "sha256:" + hashlib.sha256(data).hexdigest() != given.digest:
        raise Verification(
            "the model's bytes do not have the digest that is to be served", code="serve.digest"
        )
    return data


def describe(predictor: Predictor) -> Description:
    """What a model takes and gives; raises `Usage` for what cannot be served."""
    schema = predictor.schema
    if schema is not None:
        inputs = [Input(f.name, "FP32" if f.dtype == "float" else "BYTES") for f in schema.features]
        if schema.kind == "regressor":
            return Description(inputs, [Output("value", "FP32", [OPEN])])
        text = any(isinstance(c, str) for c in schema.classes)
        return Description(
            inputs,
            [
                Output("label", "BYTES" if text else "INT64", [OPEN]),
                Output("probabilities", "FP32", [OPEN, len(schema.classes)], schema.classes),
            ],
        )
    signature = predictor.signature
    return Description([_input(given) for given in signature.inputs], _outputs(signature.outputs))


def answer(predictor: Predictor, outputs: list[Output], columns: dict[str, Any]) -> list[Tensor]:
    """The tensors of one prediction, as `outputs` describes them."""
    prediction = predictor.predict(columns)
    rows = len(prediction.labels)
    tensors: list[Tensor] = []
    for output in outputs:
        values: Any = prediction.labels if output.name == "label" else prediction.scores
        shape = [rows] if len(output.shape) == 1 else [rows, values.shape[1]]
        tensors.append(Tensor(output.name, shape, output.datatype, values.reshape(-1).tolist()))
    return tensors


def _input(given: TensorInfo) -> Input:
    datatype = _DATATYPES.get(given.dtype)
    if datatype is None:
        raise Usage(
            f"input {given.name[:80]!r} has the type {given.dtype}, which is not served",
            remedy=f"export the model with inputs of {', '.join(_DATATYPES)}",
            code="serve.input",
        )
    shape = given.shape
    if shape is None:
        return Input(given.name, datatype, OPEN)
    if not 1 <= len(shape) <= 2:
        raise Usage(
            f"input {given.name[:80]!r} has {len(shape)} dimensions; rows with one value or with "
            "several values are served",
            remedy="export the model with inputs of one or two dimensions",
            code="serve.input",
        )
    if len(shape) == 1 or shape[1] == 1:
        return Input(given.name, datatype)
    return Input(given.name, datatype, OPEN if shape[1] is None else shape[1])


def _outputs(outputs: list[TensorInfo]) -> list[Output]:
    """As `Predictor` tells them apart: a label, scores, or both."""
    labels = [o for o in outputs if o.dtype in ("int64", "int32", "string")]
    scores = [o for o in outputs if o.dtype in ("float", "double")]
    described: list[Output] = []
    if labels:
        datatype = "BYTES" if labels[0].dtype == "string" else "INT64"
        described.append(Output("label", datatype, [OPEN]))
    if not scores:
        return described
    datatype, shape = _DATATYPES[scores[0].dtype], scores[0].shape
    if not labels and shape is not None and (len(shape) == 1 or shape[1:] == [1]):
        return [Output("value", datatype, [OPEN])]
    last = shape[-1] if shape and len(shape) == 2 else None
    width = OPEN if last is None else last
    if labels or width > 1:
        described = described or [Output("label", "INT64", [OPEN])]
        return [*described, Output("probabilities", datatype, [OPEN, width])]
    # The graph does not say how many numbers it gives, so neither can their name.
    return [Output("value", datatype, [OPEN, OPEN])]
