"""What a converted model takes and gives, written into the ONNX file itself.

The graph alone cannot say it: one float matrix hides the names of its columns, and ONNX answers
for a missing value or an unknown category where the original refuses.  So the converter records
what the original accepts, in the model's metadata, and the `Predictor` holds callers to it.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from assay.errors import Usage

METADATA_KEY = "assay.schema"
FORMAT = "assay/model-schema/v1"
MISSING = "nan"
"""How a missing string is spelled in an ONNX input: ONNX has no missing strings, and the
converters spell scikit-learn's missing category this way."""

Kind: TypeAlias = Literal["classifier", "regressor"]


class Column(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A named column of rows: floats or strings, None where a value is missing."""

    name: str
    dtype: Literal["float", "string"]
    values: list[float | str | None]


class Feature(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One input column: whether it may be missing, and for strings the accepted values."""

    name: str
    dtype: Literal["float", "string"]
    nullable: bool
    categories: list[str] | None = None
    """None accepts any string."""


class ModelSchema(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The inputs in order; a ``matrix`` model takes them as one float tensor, rows × features."""

    format: Literal["assay/model-schema/v1"]
    kind: Kind
    layout: Literal["matrix", "columns"]
    features: list[Feature]
    classes: list[int | str]
    """The class of each probability column, in order; empty for a regressor."""


def encode(schema: ModelSchema) -> str:
    """The metadata text of a schema."""
    return msgspec.json.encode(schema).decode()


def decode(text: str) -> ModelSchema:
    """A schema from its metadata text; raises `Usage` when it is not one."""
    try:
        schema = msgspec.json.decode(text, type=ModelSchema)
    except (msgspec.DecodeError, RecursionError) as error:
        raise Usage(
            f"the model's {METADATA_KEY} metadata is not a schema ({error})", code="model.schema"
        ) from error
    names = [feature.name for feature in schema.features]
    if not names or len(set(names)) != len(names):
        raise Usage("the model's schema repeats a column or has none", code="model.schema")
    return schema
