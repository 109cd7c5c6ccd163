"""Key services: where the root key lives, which wraps the keys of every ring.

The local one is a file.  A cloud KMS, a PKCS#11 token or Vault Transit is a plug-in in the entry
point group ``assay.key_services``: a callable that takes a URL and returns a `KeyService`.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import stat
from base64 import b64decode, b64encode
from pathlib import Path
from typing import Protocol

import msgspec

from assay import canonical, files, plugins
from assay.errors import Corrupt, Usage, Verification
from assay.store import sealing

GROUP = "assay.key_services"
FORMAT = "assay/root-key/v1"
_WRAPPED = "assay/wrapped-key/v1"


class KeyService(Protocol):
    """Wraps 32-byte keys under a root key that it does not give away."""

    @property
    def id(self) -> str:
        """Names the root key, for ever: files say by which one they are wrapped."""
        ...

    def wrap(self, key: bytes, context: bytes) -> bytes:
        """`key` wrapped so that only the same `context` unwraps it; `Unavailable` if it cannot."""
        ...

    def unwrap(self, wrapped: bytes, context: bytes) -> bytes:
        """The inverse; `Verification` for another root key, another context or an altered byte."""
        ...


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    format: str
    id: str
    key: str


class LocalKeyService:
    """A root key in a file that only its owner reads (mode 0600), made explicitly."""

    def __init__(self, key: bytes) -> None:
        if len(key) != sealing.KEY:
            raise ValueError("a root key is 32 bytes")
        self._key = key
        # The id is the key's fingerprint, so that a damaged key file is noticed on loading.
        fingerprint = hashlib.sha256(b"assay/root-key-id/v1\x00" + key).hexdigest()
        self.id = f"local:{fingerprint[:32]}"

    def __repr__(self) -> str:
        return f"LocalKeyService({self.id})"

    @classmethod
    def create(cls, path: Path) -> LocalKeyService:
        """A new root key in a new file; raises `Usage` if the file exists."""
        service = cls(secrets.token_bytes(sealing.KEY))
        document = _File(FORMAT, service.id, b64encode(service._key).decode())
        try:
            files.write(path, canonical.encode(document), mode=0o600, replace=False)
        except FileExistsError as error:
            raise Usage(
                f"{path} exists; a root key is never overwritten",
                remedy="load it, or name another file",
                code="keys.exists",
            ) from error
        return service

    @classmethod
    def load(cls, path: Path) -> LocalKeyService:
        """The key in a file; `Verification` when others may read it, `Corrupt` when damaged."""
        with files.open_input(path, what="root key") as stream:
            status = os.fstat(stream.fileno())
            data = stream.read(1 << 12)
        if stat.S_IMODE(status.st_mode) & 0o077:
            raise Verification(
                f"root key {path} can be used by others than its owner",
                remedy=f"chmod 600 {path}, and rewrap the rings under a new root key "
                "if somebody may have read it",
                code="keys.mode",
            )
        try:
            document = msgspec.convert(canonical.decode(data, what=f"root key {path}"), _File)
            service = cls(b64decode(document.key, validate=True))
        except ValueError as error:  # Also msgspec's and binascii's.
            raise _damaged(path) from error
        if document.format != FORMAT or document.id != service.id:
            raise _damaged(path)
        if b64encode(service._key).decode() != document.key:
            raise _damaged(path)
        return service

    def wrap(self, key: bytes, context: bytes) -> bytes:
        return sealing.seal(self._key, key, _bound(context))

    def unwrap(self, wrapped: bytes, context: bytes) -> bytes:
        return sealing.unseal(self._key, wrapped, _bound(context), what="a wrapped key")


def _bound(context: bytes) -> bytes:
    return _WRAPPED.encode() + b"\x00" + context


def _damaged(path: Path) -> Corrupt:
    return Corrupt(
        f"root key {path} is damaged, or of a newer format than {FORMAT}",
        remedy="restore the file, or recover with `assay keys recover` and the recovery secret",
        code="keys.file",
    )


def local(url: str) -> LocalKeyService:
    """The service of a ``file:`` URL, for example ``file:/srv/assay/root.key``."""
    return LocalKeyService.load(Path(url.removeprefix("file:")))


def open_service(url: str) -> KeyService:
    """The key service a URL names; its scheme is the name of an entry point, or ``file``."""
    scheme, colon, _ = url.partition(":")
    services = {**plugins.load(GROUP), "file": local}
    if not colon or scheme not in services:
        raise Usage(
            f"no key service for {scheme[:40]!r}",
            remedy=f"use one of {', '.join(sorted(services))}, or install the plug-in",
            code="keys.service",
        )
    return services[scheme](url)
