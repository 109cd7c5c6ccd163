"""The sealed format: what the specification says, and that no byte of it is free."""

from __future__ import annotations

import hashlib
import hmac
import io
import json
from pathlib import Path
from typing import BinaryIO, cast

import pytest
from cryptography.cobblestone import Cobblestone256Decryptor
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.errors import Usage, Verification
from assay.store import sealing
from assay.store.sealing import CHUNK, HEADER, SealedReader, seal, seal_stream, sealed_size, unseal

GOLDEN = Path(__file__).parent.parent / "golden" / "sealing-v1.json"
KEY = bytes(range(32))
ABOUT = b"a context"
BORDERS = [0, 1, 15, 16, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 3 * CHUNK + 5]


def pattern(size: int) -> bytes:
    return hashlib.shake_128(b"plaintext").digest(size)


def by_the_specification(key: bytes, salt: bytes, context: bytes, plaintext: bytes) -> bytes:
    """C2SP chunked-encryption, written again from its text alone, slowly."""
    info = b"c2sp.org/chunked-encryption@v1+" + b"AEAD_AES_256_GCM" + b"\0" + salt + context
    first = hmac.digest(key, info + b"\x01", "sha512")
    derived = first + hmac.digest(key, first + info + b"\x02", "sha512")
    aead, base, commitment = AESGCM(derived[:32]), derived[32:44], derived[44:76]
    out = salt + commitment
    for number in range(len(plaintext) // CHUNK + 1):
        nonce = bytes(a ^ b for a, b in zip(base, number.to_bytes(12, "big"), strict=True))
        piece = plaintext[number * CHUNK : (number + 1) * CHUNK]
        out += aead.encrypt(nonce, piece, None)
    return out


def reader(sealed: bytes, key: bytes = KEY, about: bytes = ABOUT) -> SealedReader:
    return SealedReader(lambda at, n: sealed[at : at + n], len(sealed), key, about)


def golden() -> list[dict[str, str | int]]:
    return json.loads(GOLDEN.read_text())["vectors"]


@pytest.mark.parametrize("vector", golden(), ids=lambda v: f"{v['size']} bytes")
def test_the_golden_vectors_open(vector: dict) -> None:
    plaintext = pattern(vector["size"])
    key, salt = bytes.fromhex(vector["key"]), bytes.fromhex(vector["salt"])
    context = bytes.fromhex(vector["context"])
    sealed = by_the_specification(key, salt, context, plaintext)
    assert sealed[:HEADER].hex() == vector["header"]
    assert hashlib.sha256(sealed).hexdigest() == vector["sha256"]
    if "sealed" in vector:
        assert sealed.hex() == vector["sealed"]
    assert unseal(key, sealed, context) == plaintext


@pytest.mark.parametrize("size", BORDERS)
def test_what_is_sealed_is_what_the_specification_says(size: int) -> None:
    sealed = seal(KEY, pattern(size), ABOUT)
    salt = sealed[: sealing.SALT]
    assert sealed == by_the_specification(KEY, salt, ABOUT, pattern(size))
    assert len(sealed) == sealed_size(size)


@pytest.mark.parametrize("size", BORDERS)
def test_another_implementation_opens_it(size: int) -> None:
    opener = Cobblestone256Decryptor(KEY, ABOUT)
    sealed = seal(KEY, pattern(size), ABOUT)
    assert opener.update(sealed) + opener.finalize() == pattern(size)


@given(size=st.one_of(st.sampled_from(BORDERS), st.integers(0, 4 * CHUNK)))
@settings(max_examples=50, deadline=None)
def test_everything_sealed_opens_again(size: int) -> None:
    assert unseal(KEY, seal(KEY, pattern(size), ABOUT), ABOUT) == pattern(size)


def test_a_stream_longer_than_the_window_is_sealed_and_read_whole() -> None:
    data = pattern(3 * (1 << 20) + 77)
    seen: list[bytes] = []
    pieces = seal_stream(io.BytesIO(data), KEY, ABOUT, watch=lambda p: seen.append(bytes(p)))
    sealed = b"".join(bytes(piece) for piece in pieces)
    assert b"".join(seen) == data
    assert unseal(KEY, sealed, ABOUT) == data
    assert io.BufferedReader(reader(sealed), 1 << 18).read() == data


class Stingy(io.RawIOBase):
    """Gives few bytes at a time, as a pipe may."""

    def __init__(self, data: bytes, most: int) -> None:
        self._stream, self._most = io.BytesIO(data), most

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int | None:
        if self._most == 0:
            return None
        piece = self._stream.read(min(len(buffer), self._most))
        buffer[: len(piece)] = piece
        return len(piece)


class OnlyRead:
    def __init__(self, data: bytes) -> None:
        self._stream = io.BytesIO(data)

    def read(self, size: int) -> bytes:
        return self._stream.read(min(size, 1000))


@pytest.mark.parametrize("source", [Stingy(pattern(40_000), 777), OnlyRead(pattern(40_000))])
def test_short_reads_do_not_end_a_stream(source) -> None:
    sealed = b"".join(bytes(piece) for piece in seal_stream(source, KEY, ABOUT))
    assert unseal(KEY, sealed, ABOUT) == pattern(40_000)


def test_a_stream_that_does_not_block_is_refused_not_cut_short() -> None:
    with pytest.raises(Usage, match="does not block"):
        list(seal_stream(cast(BinaryIO, Stingy(b"x", 0)), KEY, ABOUT))


@given(
    size=st.sampled_from([0, 5, CHUNK, 2 * CHUNK + 9, 70 * CHUNK + 1]),
    reads=st.lists(st.tuples(st.integers(0, 71 * CHUNK), st.integers(0, 3 * CHUNK)), max_size=12),
    buffered=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_random_access_returns_what_slicing_would(size, reads, buffered) -> None:
    data = pattern(size)
    raw = reader(seal(KEY, data, ABOUT))
    stream = io.BufferedReader(raw, 1 << 16) if buffered else raw
    for start, count in reads:
        stream.seek(start)
        got = b""
        while len(got) < count and (piece := stream.read(count - len(got))):
            got += piece
        assert got == data[start : start + count]
    assert stream.seek(0, io.SEEK_END) == size
    assert stream.read(1) == b""


def test_a_seek_before_the_beginning_is_refused() -> None:
    with pytest.raises(ValueError, match="negative"):
        reader(seal(KEY, b"x", ABOUT)).seek(-1)


@pytest.mark.parametrize("size", [0, 40])
def test_every_flipped_bit_is_noticed(size: int) -> None:
    sealed = seal(KEY, pattern(size), ABOUT)
    for at in range(len(sealed)):
        for bit in range(8):
            altered = bytearray(sealed)
            altered[at] ^= 1 << bit
            with pytest.raises(Verification):
                unseal(KEY, bytes(altered), ABOUT)


@given(at=st.integers(0, sealed_size(3 * CHUNK + 5) - 1), bit=st.integers(0, 7))
@settings(max_examples=80, deadline=None)
def test_a_flipped_bit_anywhere_in_many_chunks_is_noticed(at: int, bit: int) -> None:
    altered = bytearray(seal(KEY, pattern(3 * CHUNK + 5), ABOUT))
    altered[at] ^= 1 << bit
    with pytest.raises(Verification):
        unseal(KEY, bytes(altered), ABOUT)


STEP = CHUNK + 16


@given(
    size=st.sampled_from([0, 1, CHUNK - 1, CHUNK, 2 * CHUNK, 2 * CHUNK + 5]),
    keep=st.one_of(
        st.integers(0, sealed_size(2 * CHUNK + 5)),
        st.sampled_from([0, HEADER, HEADER + 16, HEADER + STEP, HEADER + 2 * STEP]),
    ),
)
@settings(max_examples=150, deadline=None)
def test_every_truncation_is_refused_when_opening(size: int, keep: int) -> None:
    sealed = seal(KEY, pattern(size), ABOUT)
    if keep < len(sealed):
        with pytest.raises(Verification):
            reader(sealed[:keep])


@pytest.mark.parametrize("extra", [1, 15, 16, 17, STEP])
def test_every_extension_is_refused_when_opening(extra: int) -> None:
    for size in (0, 5, CHUNK):
        with pytest.raises(Verification):
            reader(seal(KEY, pattern(size), ABOUT) + bytes(extra))


def test_chunks_cannot_change_places_or_be_left_out() -> None:
    sealed = seal(KEY, pattern(3 * CHUNK), ABOUT)
    head, body = sealed[:HEADER], sealed[HEADER:]
    chunks = [body[at : at + STEP] for at in range(0, len(body), STEP)]
    for order in ([1, 0, 2, 3], [0, 1, 3], [0, 0, 2, 3], [0, 1, 2]):
        with pytest.raises(Verification):
            unseal(KEY, head + b"".join(chunks[i] for i in order), ABOUT)


def test_another_key_context_or_message_does_not_open_it() -> None:
    sealed = seal(KEY, b"secret", ABOUT)
    other = seal(KEY, b"secret", ABOUT)
    assert other != sealed
    for message, key, about in [
        (sealed, bytes(32), ABOUT),
        (sealed, KEY, b"another context"),
        (sealed, KEY, b""),
        (sealed[:HEADER] + other[HEADER:], KEY, ABOUT),
    ]:
        with pytest.raises(Verification):
            unseal(key, message, about)


def test_nothing_unauthenticated_reaches_the_callers_buffer() -> None:
    sealed = bytearray(seal(KEY, b"A" * (2 * CHUNK + 1), ABOUT))
    stream = reader(cast(bytes, sealed))
    sealed[HEADER + CHUNK] ^= 1  # In the first chunk, after opening.
    buffer = bytearray(2 * CHUNK)
    with pytest.raises(Verification):
        stream.readinto(buffer)
    assert b"A" not in buffer[:CHUNK]


def test_a_source_that_shrinks_after_opening_is_noticed() -> None:
    sealed = bytearray(seal(KEY, pattern(2 * CHUNK), ABOUT))
    stream = reader(cast(bytes, sealed))
    del sealed[HEADER + 100 :]
    with pytest.raises(Verification):
        stream.readall()


def test_contexts_of_different_parts_never_meet() -> None:
    assert sealing.context("a", "b", "c") != sealing.context("a", "bc")
    assert sealing.context("a", "b", "") != sealing.context("a", "b")
    assert sealing.context("a", 1) != sealing.context("a", "1")
