"""What a model file is, decided by its content; its name is never looked at.

Detection is a hint for choosing a reader.  It proves nothing about safety: every reader checks
again, and the scanner looks at each file as if it were a pickle too.
"""

from __future__ import annotations

import io
import os
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal, TypeAlias

from assay import files
from assay.errors import Usage
from assay.formats.compressed import compression, inflate
from assay.formats.tensors import looks_like_safetensors

Format: TypeAlias = Literal[
    "onnx",
    "safetensors",
    "skops",
    "sklearn-pickle",
    "sklearn-joblib",
    "xgboost-json",
    "xgboost-ubj",
    "lightgbm-text",
    "unknown",
]

_HEAD = 1 << 16
_JOBLIB = b"joblib.numpy_pickle"
_LIBRARIES = (b"sklearn", b"xgboost", b"lightgbm", b"imblearn")
_FIRST_OPCODES = frozenset(b"\x80(])}cIFKLMNSTUVXGJ\x88\x89\x8a\x8c\x95iBC")
_ZIP_ENTRIES = 10_000


@dataclass(frozen=True, slots=True)
class Detected:
    """What a file is: `pickle` says that reading it may run code it brings, `why` how one knows."""

    format: Format
    pickle: bool
    why: str


def detect(path: Path) -> Detected:
    """What a model file, or a folder of safetensors files, is.

    Raises `NotFound` or `Usage` when `path` cannot be read; hostile content never raises.
    """
    if path.is_dir() and not path.is_symlink():
        return _detect_folder(path)
    with files.open_input(path, what="model") as stream:
        return detect_stream(stream, os.fstat(stream.fileno()).st_size)


def detect_bytes(data: bytes) -> Detected:
    """`detect` for bytes in hand."""
    return detect_stream(io.BytesIO(data), len(data))


def detect_stream(stream: BinaryIO, size: int) -> Detected:
    """`detect` for a seekable stream of `size` bytes."""
    head = stream.read(_HEAD)
    if not head:
        return Detected("unknown", False, "the file is empty")
    if head.startswith(b"PK\x03\x04"):
        return _detect_zip(stream)
    if looks_like_safetensors(head, size):
        return Detected("safetensors", False, "a safetensors header of a length that fits")
    if head.startswith(b"tree\nversion=v"):
        return Detected("lightgbm-text", False, "begins with tree and a LightGBM version")
    if head.startswith(b"\x93NUMPY"):
        return Detected("unknown", True, "a NumPy array file, which may hold pickled objects")
    if head.startswith(b"{"):
        return _detect_brace(head)
    if (name := compression(head)) is not None:
        return _detect_compressed(stream, name)
    if _walks_as_onnx(stream, size):
        return Detected("onnx", False, "a protocol buffer with the fields of an ONNX model")
    if head[0] in _FIRST_OPCODES or b"." in head:
        return _detect_pickle(stream, head)
    return Detected("unknown", False, "no known format begins like this")


def _detect_folder(path: Path) -> Detected:
    found = sorted(path.glob("*.safetensors"))
    if found and all(detect(file).format == "safetensors" for file in found[:100]):
        return Detected("safetensors", False, "a folder of safetensors files")
    return Detected("unknown", False, "a folder without safetensors files")


def _detect_zip(stream: BinaryIO) -> Detected:
    try:
        with zipfile.ZipFile(stream) as archive:
            names = {entry.filename for entry in archive.infolist()[:_ZIP_ENTRIES]}
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, OverflowError):
        return Detected("unknown", True, "a damaged ZIP archive")
    if "schema.json" in names:
        return Detected("skops", False, "a ZIP archive with a schema.json, as skops writes")
    if any(name.endswith(".pkl") for name in names):
        return Detected("unknown", True, "a ZIP archive with a pickle, as PyTorch writes")
    return Detected("unknown", True, "a ZIP archive of something else")


def _detect_brace(head: bytes) -> Detected:
    # XGBoost writes its keys sorted, so that one of these comes first.
    if head[1:2] in b"iUIlL" and (b"learner" in head[:64] or b"version" in head[:64]):
        return Detected("xgboost-ubj", False, "a UBJSON object with an XGBoost model's keys")
    text = head[1:].lstrip(b" \t\r\n")
    if text.startswith((b'"learner"', b'"version"')):
        return Detected("xgboost-json", False, "a JSON object with an XGBoost model's keys")
    return Detected("unknown", False, "JSON or UBJSON, but not an XGBoost model")


def _detect_compressed(stream: BinaryIO, name: str) -> Detected:
    stream.seek(0)
    try:
        inner = inflate(stream.read(_HEAD), limit=_HEAD, partial=True)
    except Usage as error:
        return Detected("unknown", True, f"{name} data: {error.message}")
    if inner and inner[0] in _FIRST_OPCODES:
        return Detected("sklearn-joblib", True, f"a pickle compressed with {name}, as joblib does")
    return Detected("unknown", True, f"something compressed with {name}")


def _detect_pickle(stream: BinaryIO, head: bytes) -> Detected:
    binary = head[0] == 0x80 and len(head) > 1 and head[1] <= 5
    if not binary and not _ends_with_stop(stream):
        return Detected("unknown", False, "no known format begins like this")
    kind = f"pickle protocol {head[1]}" if binary else "a text pickle, by its ends"
    if _JOBLIB in head or _search(stream, _JOBLIB):
        return Detected("sklearn-joblib", True, f"{kind} with joblib's arrays")
    if any(library in head for library in _LIBRARIES):
        return Detected("sklearn-pickle", True, f"{kind} that names a model library")
    return Detected("unknown", True, f"{kind} that names no model library")


def _ends_with_stop(stream: BinaryIO) -> bool:
    stream.seek(-1, io.SEEK_END)
    return stream.read(1) == b"."


def _search(stream: BinaryIO, wanted: bytes) -> bool:
    """Whether `wanted` occurs in the first 16 MiB: an array may come late."""
    stream.seek(0)
    tail = b""
    for _ in range(16):
        piece = stream.read(1 << 20)
        if wanted in tail + piece:
            return True
        if not piece:
            return False
        tail = piece[-len(wanted) :]
    return False


_ONNX_FIELDS = {
    1: 0,
    5: 0,  # ir_version, model_version: varints
    **dict.fromkeys((2, 3, 4, 6, 7, 8, 14, 20, 25, 26), 2),
}
"""Field numbers of ``ModelProto`` and their wire types, from ``onnx.proto``."""


def _walks_as_onnx(stream: BinaryIO, size: int) -> bool:
    """Whether the whole file is a sequence of ``ModelProto`` fields with a graph among them."""
    stream.seek(0)
    position = 0
    seen: set[int] = set()
    for _ in range(10_000):
        if position == size:
            return {1, 7} <= seen
        tag, position = _varint(stream, position)
        field, wire = tag >> 3, tag & 7
        if tag < 0 or _ONNX_FIELDS.get(field) != wire:
            return False
        value, position = _varint(stream, position)
        if value < 0:
            return False
        if wire == 2:
            position += value
            if position > size:
                return False
            stream.seek(position)
        seen.add(field)
    return False


def _varint(stream: BinaryIO, position: int) -> tuple[int, int]:
    """A protocol-buffer varint and the position behind it; -1 when there is none."""
    value = 0
    for shift in range(0, 70, 7):
        byte = stream.read(1)
        if not byte:
            return -1, position
        position += 1
        value |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            return value, position
    return -1, position
