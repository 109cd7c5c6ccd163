"""Keys and signatures: Ed25519 (RFC 8032), and ECDSA on P-256 with SHA-256 for interoperability.

The algorithm is part of the key id, so that a key can never be used with another one.  ECDSA
signatures are accepted in their low-s form only: each message then has one spelling of each
signature, as Ed25519 has.
"""

from __future__ import annotations

import base64
import binascii
import functools
import hashlib
import os
import stat
from pathlib import Path
from typing import Literal, Protocol, TypeAlias

import msgspec
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_public_key,
    load_pem_private_key,
)

from assay import files
from assay.errors import Corrupt, Usage, Verification

Algorithm: TypeAlias = Literal["ed25519", "ecdsa-p256-sha256"]
ALGORITHMS: tuple[Algorithm, ...] = ("ed25519", "ecdsa-p256-sha256")

_PrivateKey: TypeAlias = ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey
_ECDSA = ec.ECDSA(hashes.SHA256())
_P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551

# By a point of small order as "key" a signature holds over any message, so that whoever enrols one
# can deny everything.  These are their y-coordinates (orders 1, 2, 4 and 8).
_ED25519_P = 2**255 - 19
_ED25519_Y8 = 0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7
_SMALL_ORDER = frozenset({0, 1, _ED25519_P - 1, _ED25519_Y8, _ED25519_P - _ED25519_Y8})

# Nothing stands before the label: PEM allows text there, which could pass for protection.
_PLAIN = b"-----BEGIN PRIVATE KEY-----"
_ENCRYPTED = b"-----BEGIN ENCRYPTED PRIVATE KEY-----"
_LONGEST_PASSPHRASE = 1023


class PublicKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A public key: `spki` is base64 of its DER SubjectPublicKeyInfo."""

    algorithm: Algorithm
    spki: str

    @property
    def keyid(self) -> str:
        """``<algorithm>:<first 32 hex digits of SHA-256 over the DER>``."""
        return _loaded(self)[1]

    def verify(self, signature: bytes, data: bytes) -> None:
        """Raise `Verification` unless `signature` is this key's over `data`."""
        key, keyid = _loaded(self)
        try:
            if isinstance(key, ed25519.Ed25519PublicKey):
                key.verify(signature, data)
            else:
                r, s = decode_dss_signature(signature)
                if s > _P256_ORDER // 2 or encode_dss_signature(r, s) != signature:
                    raise InvalidSignature
                key.verify(signature, data, _ECDSA)
        except (InvalidSignature, ValueError) as error:
            raise Verification(
                f"a signature by {keyid} does not hold",
                remedy="the bytes or the signature were altered, or another key signed",
                code="signature",
            ) from error


@functools.lru_cache(maxsize=1024)
def _loaded(public: PublicKey) -> tuple[ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey, str]:
    """The key and its id; raises `Corrupt` for what is no key of its algorithm in one spelling."""
    wrong = Corrupt(f"not a public key of algorithm {public.algorithm}", code="public_key")
    try:
        der = base64.b64decode(public.spki, validate=True)
        key = load_der_public_key(der)
    except (binascii.Error, ValueError, UnsupportedAlgorithm) as error:
        raise wrong from error
    if isinstance(key, ed25519.Ed25519PublicKey):
        fits = public.algorithm == "ed25519" and not _is_weak(key)
    elif isinstance(key, ec.EllipticCurvePublicKey):
        fits = public.algorithm != "ed25519" and isinstance(key.curve, ec.SECP256R1)
    else:
        raise wrong
    if not fits or _spki(key) != public.spki:
        raise wrong
    return key, f"{public.algorithm}:{hashlib.sha256(der).hexdigest()[:32]}"


def _is_weak(key: ed25519.Ed25519PublicKey) -> bool:
    """Whether it is a point of small order, or a second spelling of a point."""
    y = int.from_bytes(key.public_bytes_raw(), "little") & ((1 << 255) - 1)
    return y >= _ED25519_P or y in _SMALL_ORDER


def _spki(key: ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey) -> str:
    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(der).decode("ascii")


class Signer(Protocol):
    """Whatever signs with one key: a file, a token, a key service."""

    @property
    def public(self) -> PublicKey: ...

    def sign(self, data: bytes) -> bytes:
        """The signature of `data`; `Unavailable` when the key cannot be reached."""
        ...


class MemorySigner:
    """A private key held by this process."""

    def __init__(self, key: _PrivateKey) -> None:
        self._key = key
        algorithm: Algorithm = (
            "ed25519" if isinstance(key, ed25519.Ed25519PrivateKey) else "ecdsa-p256-sha256"
        )
        self._public = PublicKey(algorithm, _spki(key.public_key()))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._public.keyid})"

    @classmethod
    def generate(cls, algorithm: Algorithm = "ed25519") -> MemorySigner:
        return cls(_generate(algorithm))

    @property
    def public(self) -> PublicKey:
        return self._public

    def sign(self, data: bytes) -> bytes:
        if isinstance(self._key, ed25519.Ed25519PrivateKey):
            return self._key.sign(data)
        r, s = decode_dss_signature(self._key.sign(data, _ECDSA))
        return encode_dss_signature(r, min(s, _P256_ORDER - s))


def _generate(algorithm: Algorithm) -> _PrivateKey:
    if algorithm == "ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    return ec.generate_private_key(ec.SECP256R1())


class FileSigner(MemorySigner):
    """A private key in a PEM file (PKCS #8) that only its owner reads (mode 0600).

    With a passphrase it is encrypted (PBES2 with what `cryptography` deems best).
    """

    @classmethod
    def create(
        cls, path: Path, passphrase: str | None = None, algorithm: Algorithm = "ed25519"
    ) -> FileSigner:
        """A new key in a new file; raises `Usage` if the file exists or the passphrase is empty."""
        if passphrase is not None and not passphrase:
            raise Usage("the passphrase is empty", remedy="choose one", code="passphrase")
        key = _generate(algorithm)
        secret = _secret(passphrase)
        protection = NoEncryption() if secret is None else BestAvailableEncryption(secret)
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, protection)
        try:
            files.write(path, pem, mode=0o600, replace=False)
        except FileExistsError as error:
            raise Usage(
                f"{path} exists; a key is never overwritten",
                remedy="choose another name, or use the key that is there",
                code="key.exists",
            ) from error
        return cls(key)

    @classmethod
    def load(cls, path: Path, passphrase: str | None = None) -> FileSigner:
        """The key in a file.

        Raises `Verification` when others than its owner may use the file or the passphrase is
        wrong, `Corrupt` when it holds no key of ours.
        """
        with files.open_input(path, what="key") as stream:
            status = os.fstat(stream.fileno())
            data = stream.read(1 << 14)
        if stat.S_IMODE(status.st_mode) & 0o077:
            raise Verification(
                f"the key {path} can be used by others than its owner",
                remedy=f"chmod 600 {path}; if somebody may have read it, replace and revoke it",
                code="key.mode",
            )
        if not data.startswith((_PLAIN, _ENCRYPTED)):
            raise Corrupt(f"{path} is no key in PEM (PKCS #8)", code="key")
        try:
            key = load_pem_private_key(data, _secret(passphrase))
        except TypeError as error:  # Encrypted without a passphrase, or the other way round.
            raise Verification(
                f"the key {path} is {'not ' if passphrase else ''}protected by a passphrase",
                remedy="unset ASSAY_PASSPHRASE" if passphrase else "set ASSAY_PASSPHRASE",
                code="key.passphrase",
            ) from error
        except (ValueError, UnsupportedAlgorithm) as error:
            if data.startswith(_ENCRYPTED):
                raise Verification(
                    f"the passphrase does not open the key {path}, or the file is damaged",
                    remedy="try again; or restore the file",
                    code="key.passphrase",
                ) from error
            raise Corrupt(f"{path} is no key in PEM (PKCS #8)", code="key") from error
        if isinstance(key, ed25519.Ed25519PrivateKey) or (
            isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256R1)
        ):
            return cls(key)
        raise Corrupt(
            f"the key {path} is of an algorithm that is not used here",
            remedy=f"make one of {', '.join(ALGORITHMS)}",
            code="key",
        )


def is_protected(path: Path) -> bool:
    """Whether a key file needs a passphrase; raises what opening it raises."""
    with files.open_input(path, what="key") as stream:
        return stream.read(len(_ENCRYPTED)) == _ENCRYPTED


def _secret(passphrase: str | None) -> bytes | None:
    """The passphrase as bytes; one from an environment that is not UTF-8 is taken as it is."""
    if not passphrase:
        return None
    secret = passphrase.encode("utf-8", "surrogatepass")
    if len(secret) > _LONGEST_PASSPHRASE:
        raise Usage(
            f"the passphrase has {len(secret)} bytes",
            remedy=f"choose one of at most {_LONGEST_PASSPHRASE}",
            code="passphrase",
        )
    return secret
