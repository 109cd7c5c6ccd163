"""safetensors: a header of JSON, then tensors that cover the rest without a gap or an overlap."""

from __future__ import annotations

import io

from assay.errors import Usage
from assay.formats.tensors import read_header
from assay.supply.readers.part import Part


def read(part: Part) -> str:
    """Check the header against the file's length; the tensors are numbers and are not read."""
    length = int.from_bytes(part.head(8), "little")
    try:
        read_header(io.BytesIO(part.head(8 + length)), part.size)
    except Usage as error:
        part.find("safetensors", "unscannable", error.message)
    return "safetensors"
