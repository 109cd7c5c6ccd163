"""Sealed bytes: C2SP chunked-encryption v1, with AES-256-GCM and HKDF-Expand-SHA512.

Source: https://c2sp.org/chunked-encryption.  A sealed message is ``salt (24) ‖ commitment (32) ‖
chunks``; each chunk carries 16 KiB of plaintext and a 16-byte tag, the last one always less, so
that truncation and extension show.  The commitment fixes the key and the context.  Writing is the
`cryptography` library's Cobblestone-256, which is this instantiation; reading is here because that
library has no random access.
"""

from __future__ import annotations

import hmac
import io
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, BinaryIO

from cryptography.cobblestone import Cobblestone256Encryptor
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from assay import canonical
from assay.errors import Usage, Verification

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

CHUNK = 1 << 14
TAG = 16
SALT = 24
HEADER = SALT + 32
KEY = 32
MOST_CHUNKS = 1 << 38

_STEP = CHUNK + TAG
_WINDOW = 64
"""Chunks handled at once: 1 MiB."""
_INFO = b"c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\x00"


def context(name: str, *parts: str | int) -> bytes:
    """What a seal is bound to: a format's name, then ring, purpose and the like, unambiguously."""
    return canonical.encode([name, *parts])


def sealed_size(size: int) -> int:
    """Length of the sealed form of `size` bytes."""
    return HEADER + size + (size // CHUNK + 1) * TAG


def seal(key: bytes, plaintext: bytes, bound_to: bytes) -> bytes:
    """`plaintext` sealed under a 32-byte key, which must be uniformly random."""
    sealer = Cobblestone256Encryptor(key, bound_to)
    return sealer.update(plaintext) + sealer.finalize()


def seal_stream(
    source: BinaryIO,
    key: bytes,
    bound_to: bytes,
    *,
    watch: Callable[[memoryview], object] | None = None,
) -> Iterator[memoryview]:
    """Everything left in `source`, sealed, in pieces that are each valid until the next is asked.

    `watch` sees the plaintext as it passes: for hashing and counting what was really sealed.
    """
    sealer = Cobblestone256Encryptor(key, bound_to)
    plain = memoryview(bytearray(_WINDOW * CHUNK))
    sealed = memoryview(bytearray(HEADER + (_WINDOW + 1) * _STEP))
    read = _reading(source)
    while count := read(plain):
        if watch is not None:
            watch(plain[:count])
        yield sealed[: sealer.update_into(plain[:count], sealed)]
    yield memoryview(sealer.finalize())


def _reading(source: BinaryIO) -> Callable[[memoryview], int]:
    def read_into(buffer: memoryview) -> int | None:
        piece = source.read(len(buffer))
        buffer[: len(piece)] = piece
        return len(piece)

    into: Callable[[memoryview], int | None] = getattr(source, "readinto", read_into)

    def read(buffer: memoryview) -> int:
        count = into(buffer)
        if count is None:
            raise Usage(
                "cannot seal from a stream that does not block",
                remedy="give bytes, a path or a blocking stream",
                code="store.stream",
            )
        return count

    return read


def unseal(key: bytes, sealed: bytes, bound_to: bytes, *, what: str = "sealed bytes") -> bytes:
    """The plaintext; raises `Verification` unless key, context and every byte are right."""
    view = memoryview(sealed)
    reader = SealedReader(
        lambda at, count: view[at : at + count], len(sealed), key, bound_to, what=what
    )
    return reader.readall()


class SealedReader(io.RawIOBase):
    """Random access to a sealed message; whatever it returns is authenticated.

    `fetch(start, count)` returns that range of the sealed message, `size` is its whole length.  The
    length is authenticated on opening.  Raises `Verification`, naming `what`, for any altered,
    missing or added byte, at the latest when the chunk that holds it is read.
    """

    def __init__(
        self,
        fetch: Callable[[int, int], bytes | memoryview],
        size: int,
        key: bytes,
        bound_to: bytes,
        *,
        what: str = "sealed bytes",
    ) -> None:
        super().__init__()
        self._fetch = fetch
        self._what = what
        self._position = 0
        self._last, tail = divmod(size - HEADER, _STEP)
        if size < HEADER or tail < TAG or self._last >= MOST_CHUNKS:
            raise Verification(
                f"{what} is truncated: no sealed message is {size} bytes long",
                remedy="restore it from a copy",
                code="sealed",
            )
        self._size = self._last * CHUNK + tail - TAG
        head = self._range(0, HEADER)
        derived = HKDFExpand(
            hashes.SHA512(), KEY + 12 + 32, _INFO + bytes(head[:SALT]) + bound_to
        ).derive(key)
        if not hmac.compare_digest(derived[KEY + 12 :], bytes(head[SALT:])):
            raise self._refused()
        self._aead = AESGCM(derived[:KEY])
        self._nonce = int.from_bytes(derived[KEY : KEY + 12], "big")
        # The last chunk is the only short one: if it holds, so does the length.
        self._tail = bytearray(tail - TAG)
        self._decrypt(self._last, self._range(HEADER + self._last * _STEP, tail), self._tail)

    def _refused(self) -> Verification:
        return Verification(
            f"{self._what} is altered, or sealed under another key or for another purpose",
            remedy="restore it from a copy",
            code="sealed",
        )

    def _range(self, start: int, count: int) -> memoryview:
        piece = memoryview(self._fetch(start, count))
        if len(piece) != count:
            raise self._refused()
        return piece

    def _decrypt(self, number: int, sealed: memoryview, into: bytearray | memoryview) -> None:
        try:
            nonce = (self._nonce ^ number).to_bytes(12, "big")
            self._aead.decrypt_into(nonce, sealed, None, into)
        except InvalidTag as error:
            into[:] = bytes(len(into))  # Nothing unauthenticated stays in the caller's buffer.
            raise self._refused() from error

    @property
    def size(self) -> int:
        """Length of the plaintext in bytes."""
        return self._size

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise ValueError("negative seek position")
        self._position = base + offset
        return self._position

    def readall(self) -> bytes:
        """The rest of the message."""
        rest = bytearray(max(0, self._size - self._position))
        view = memoryview(rest)
        while view:
            view = view[self.readinto(view) :]
        return bytes(rest)

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        target = memoryview(buffer).cast("B")
        target = target[: max(0, self._size - self._position)]
        if not target:
            return 0
        first, skip = divmod(self._position, CHUNK)
        end = self._position + len(target)
        last = (end - 1) // CHUNK
        if end % CHUNK and end != self._size and last > first:
            last -= 1  # End on a chunk's border, so that no chunk is decrypted twice.
        last = min(last, first + _WINDOW - 1)
        stored = min(last, self._last - 1)
        count = max(0, stored - first + 1)
        sealed = self._range(HEADER + first * _STEP, count * _STEP) if count else memoryview(b"")
        done = 0
        for number in range(first, last + 1):
            length = self._size - number * CHUNK if number == self._last else CHUNK
            take = min(length - skip, len(target) - done)
            place = target[done : done + take]
            if number == self._last:
                place[:] = self._tail[skip : skip + take]
            else:
                at = (number - first) * _STEP
                whole = place if take == CHUNK else bytearray(CHUNK)
                self._decrypt(number, sealed[at : at + _STEP], whole)
                if whole is not place:
                    place[:] = memoryview(whole)[skip : skip + take]
            done += take
            skip = 0
        self._position += done
        return done
