"""The offline recovery recipient: a key pair whose secret half is printed and locked away.

Sealing to it is HPKE (RFC 9180, base mode, one message): DHKEM(X25519, HKDF-SHA256), HKDF-SHA256,
AES-256-GCM.  Base mode does not say who sealed: what comes out of a backup is recognised by the
ring files it belongs to, not by the backup alone.
"""

from __future__ import annotations

import hashlib
import re
from base64 import b32decode, b32encode, b64decode, b64encode

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

from assay.errors import Usage, Verification

_SUITE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
_PREFIX = "ASSAY-RECOVERY-1"
_KEY = 32
_CHECK = 3
_GROUP = 7


def generate_recovery() -> tuple[str, str]:
    """A new (printable recovery secret, public recipient).

    The secret is ``ASSAY-RECOVERY-1-`` and eight groups of seven letters and digits (base32 of the
    X25519 key and three bytes of its SHA-256, so that a slip of the pen is noticed).  The recipient
    is base64 of the 32-byte public key.
    """
    private = X25519PrivateKey.generate()
    raw = private.private_bytes_raw()
    text = b32encode(raw + hashlib.sha256(raw).digest()[:_CHECK]).decode()
    groups = [text[at : at + _GROUP] for at in range(0, len(text), _GROUP)]
    return "-".join([_PREFIX, *groups]), _recipient(private)


def recipient_of(secret: str) -> str:
    """The public recipient of a recovery secret; raises `Usage` if it was mistyped."""
    return _recipient(_private(secret))


def check_recipient(text: str) -> str:
    """`text` if it is a recipient as `generate_recovery` writes it; else `Usage`."""
    _public(text)
    return text


def seal_to(recipient: str, plaintext: bytes, info: bytes) -> bytes:
    """`plaintext` for whoever holds the recipient's secret, bound to `info`."""
    return _SUITE.encrypt(plaintext, _public(recipient), info=info)


def open_with(secret: str, sealed: bytes, info: bytes) -> bytes:
    """The inverse; raises `Verification` for another secret, other `info` or an altered byte."""
    try:
        return _SUITE.decrypt(sealed, _private(secret), info=info)
    except InvalidTag as error:
        raise Verification(
            "the backup is altered, or made for another recovery secret",
            remedy="use the secret printed when this backup's recipient was made, "
            "or another copy of the backup",
            code="recovery",
        ) from error


def _recipient(private: X25519PrivateKey) -> str:
    return b64encode(private.public_key().public_bytes_raw()).decode()


def _private(secret: str) -> X25519PrivateKey:
    compact = re.sub(r"[\s-]", "", secret).upper().removeprefix(_PREFIX.replace("-", ""))
    try:
        data = b32decode(compact)
        if (
            len(data) != _KEY + _CHECK
            or hashlib.sha256(data[:_KEY]).digest()[:_CHECK] != (data[_KEY:])
        ):
            raise ValueError
    except ValueError as error:
        raise Usage(
            "this is not a recovery secret, or it was mistyped",
            remedy=f"type it as printed: {_PREFIX}- and eight groups of {_GROUP} letters or "
            "digits (there is no 0, 1, 8 or 9 in them)",
            code="recovery.secret",
        ) from error
    return X25519PrivateKey.from_private_bytes(data[:_KEY])


def _public(recipient: str) -> X25519PublicKey:
    try:
        raw = b64decode(recipient, validate=True)
        if len(raw) != _KEY or b64encode(raw).decode() != recipient:
            raise ValueError
        public = X25519PublicKey.from_public_bytes(raw)
        # A point of small order gives a shared secret that everybody knows.
        X25519PrivateKey.generate().exchange(public)
    except ValueError as error:
        raise Usage(
            f"{recipient[:60]!r} is not a recovery recipient",
            remedy="give the 44 characters that were shown with the recovery secret",
            code="recovery.recipient",
        ) from error
    return public
