"""The header of a safetensors file, read strictly.

Source: https://github.com/huggingface/safetensors#format.  Eight bytes of length, a JSON header,
then the tensors, which must cover the rest of the file without a gap or an overlap.
"""

from __future__ import annotations

import json
import re
from typing import Any, BinaryIO

import msgspec

from assay.errors import Usage

HEADER_LIMIT = 32 << 20
"""Bytes of the JSON header: a few hundred thousand tensors."""

_BITS = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2", "F8_E8M0"), 8),
    **dict.fromkeys(("I16", "U16", "F16", "BF16"), 16),
    **dict.fromkeys(("I32", "U32", "F32"), 32),
    **dict.fromkeys(("I64", "U64", "F64", "C64"), 64),
    "F4": 4,
    "F6_E2M3": 6,
    "F6_E3M2": 6,
}
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f]")


class Tensor(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One tensor: its element type, shape, and bytes (first, behind last) of the data section."""

    dtype: str
    shape: list[int]
    data_offsets: tuple[int, int]


class Header(msgspec.Struct, frozen=True):
    """The tensors of a file by name, and its free-form metadata."""

    tensors: dict[str, Tensor]
    metadata: dict[str, str]
    length: int
    """Bytes before the data section."""


def looks_like_safetensors(head: bytes, size: int) -> bool:
    """Whether the first bytes of a file of `size` bytes can be a safetensors header."""
    if len(head) < 10:
        return False
    length = int.from_bytes(head[:8], "little")
    return 2 <= length <= min(HEADER_LIMIT, size - 8) and head[8:9] == b"{"


def read_header(stream: BinaryIO, size: int) -> Header:
    """The header at the start of `stream`, checked against a file of `size` bytes.

    Raises `Usage` (``safetensors``) naming the rule that the file breaks.
    """
    length = int.from_bytes(stream.read(8), "little")
    if not 2 <= length <= min(HEADER_LIMIT, size - 8):
        raise _wrong(f"the header claims {length} bytes")
    raw = stream.read(length)
    if len(raw) != length or not raw.startswith(b"{"):
        raise _wrong("the header is cut short or is not a JSON object")
    try:
        plain = json.loads(raw, object_pairs_hook=_unique)
        metadata = msgspec.convert(plain.pop("__metadata__", {}), dict[str, str])
        tensors = msgspec.convert(plain, dict[str, Tensor])
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise _wrong(f"the header is not valid ({error})") from error
    _check_layout(tensors, size - 8 - length)
    return Header(tensors, metadata, 8 + length)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; a name given twice could be read one way here and another way elsewhere."""
    plain = dict(pairs)
    if len(plain) != len(pairs):
        raise ValueError("a name occurs twice")
    return plain


def _check_layout(tensors: dict[str, Tensor], room: int) -> None:
    position = 0
    for name, tensor in sorted(tensors.items(), key=lambda item: item[1].data_offsets):
        if _UNPRINTABLE.search(name) or len(name) > 512:
            raise _wrong("a tensor's name is too long or not printable")
        bits = _BITS.get(tensor.dtype)
        if bits is None:
            raise _wrong(f"tensor {name!r} has the unknown type {tensor.dtype[:20]!r}")
        count = 1
        for dimension in tensor.shape:
            # Beside a dimension of 0 the others may be larger than the file.
            if not 0 <= dimension < 1 << 63 or len(tensor.shape) > 64:
                raise _wrong(f"tensor {name!r} has an impossible shape")
            count *= dimension
        first, last = tensor.data_offsets
        if first != position or not first <= last <= room or (last - first) * 8 != count * bits:
            raise _wrong(f"the data of tensor {name!r} overlaps, leaves a gap or is cut short")
        position = last
    if position != room:
        raise _wrong(f"{room - position} bytes belong to no tensor")


def _wrong(what: str) -> Usage:
    return Usage(
        f"not a valid safetensors file: {what}",
        remedy="save the model again with the safetensors library",
        code="safetensors",
    )
