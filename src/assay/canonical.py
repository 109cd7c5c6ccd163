"""Canonical bytes and their digests.

Everything assay signs, hashes or compares as JSON is encoded by RFC 8785 (JCS), and a reader
accepts only those very bytes: there is one spelling of each document, so no bit of it is free.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from pathlib import Path
from typing import Any, BinaryIO, cast

import msgspec
import rfc8785

from assay.errors import Corrupt
from assay.types import Digest

_CHUNK = 1 << 20


def encode(value: Any) -> bytes:
    """`value` (plain JSON types or msgspec structs) as RFC 8785 JSON.

    Raises `ValueError` for what JSON cannot carry exactly: NaN, infinities, integers beyond 2**53.
    """
    try:
        plain = msgspec.to_builtins(value)
        if _is_simple(plain):
            return _FAST.encode(plain)
        return rfc8785.dumps(plain)
    except (rfc8785.CanonicalizationError, TypeError) as error:
        raise ValueError(f"not canonical JSON: {error}") from error


# RFC 8785 differs from plain compact JSON with sorted keys in how it writes numbers with a
# fraction, and in the order of keys beyond the Basic Multilingual Plane.  What has neither, which
# is nearly all that we sign, is written several times as fast by a library in C.  A test compares
# the two.
_FAST = msgspec.json.Encoder(order="sorted")
_MOST = 2**53 - 1


def _is_simple(value: Any) -> bool:
    """Whether `value` is made of objects with ASCII keys, arrays, text, whole numbers that a double
    holds exactly, truth values and null alone."""
    kind = type(value)
    if kind is str or kind is bool or value is None:
        return True
    if kind is int:
        return -_MOST <= value <= _MOST
    if kind is dict:
        return all(
            type(key) is str and key.isascii() and _is_simple(item) for key, item in value.items()
        )
    return kind is list and all(map(_is_simple, value))


def decode(data: bytes, *, what: str = "document") -> Any:
    """Plain JSON from bytes that must be exactly canonical; raises `Corrupt` otherwise."""
    try:
        value = msgspec.json.decode(data)
        same = encode(value) == data
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise Corrupt(f"{what}: not valid canonical JSON ({error})", code="canonical") from error
    if not same:
        raise Corrupt(f"{what}: the JSON is not in canonical form (RFC 8785)", code="canonical")
    return value


def digest(data: bytes | bytearray | memoryview) -> Digest:
    """``sha256:`` and 64 hexadecimal digits."""
    return cast(Digest, "sha256:" + hashlib.sha256(data).hexdigest())


def digest_stream(stream: BinaryIO) -> Digest:
    """The digest of everything left in `stream`, read in pieces."""
    hasher = hashlib.sha256()
    while piece := stream.read(_CHUNK):
        hasher.update(piece)
    return cast(Digest, "sha256:" + hasher.hexdigest())


def digest_file(path: Path) -> Digest:
    """The digest of a regular file's bytes."""
    with path.open("rb") as stream:
        return digest_stream(stream)


def b64(data: bytes) -> str:
    """Standard base64 with padding (RFC 4648 section 4)."""
    return base64.b64encode(data).decode("ascii")


def unb64(text: str, *, what: str) -> bytes:
    """The bytes of `text`; raises `Corrupt` for any but the one spelling `b64` gives."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Corrupt(f"{what}: not base64", code="base64") from error
    if b64(data) != text:
        raise Corrupt(f"{what}: base64 is not in its canonical spelling", code="base64")
    return data
