"""Where a signing key is: in a file, on a token, or in a key service.

=================  =============================================================================
reference          the key
=================  =============================================================================
``PATH``,          a P-256 key in a PEM file (PKCS #8, mode 0600), see `assay.evidence.signers`
``file:PATH``
``pkcs11:…``       a key on a token: ``pkcs11:token=NAME;id=%02?module-path=/usr/lib/….so``
                   (RFC 7512), for example a smart card, an HSM or SoftHSM
``awskms:…``,      a key in a service of a cloud, as `securesystemslib` names it; the public half
``gcpkms:…``,      has to be given, so that it is known whose signature is made
``azurekms:…``
=================  =============================================================================

All but files need ``assay[signing]``.  Whatever signs, its signature is verified before it is used.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, unquote_to_bytes

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_public_key,
)

from assay import canonical, files
from assay.errors import AssayError, Corrupt, Unavailable, Usage
from assay.evidence.signers import FileSigner, PublicKey, Signer, is_protected
from assay.supply.signing.trust import public_key_file

CLOUDS = ("awskms", "gcpkms", "azurekms")
_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_LONGEST_SECRET = 1 << 14
_MODULE = "PYKCS11LIB"

Secret = Callable[[], str]
"""Gives a passphrase or a PIN, when one is needed."""


class ServiceSigner:
    """A key that a signer of `securesystemslib` reaches."""

    def __init__(self, name: str, service: Any, public: ec.EllipticCurvePublicKey) -> None:
        self._name = name
        self._service = service
        der = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        self._public = PublicKey("ecdsa-p256-sha256", canonical.b64(der))

    @property
    def public(self) -> PublicKey:
        return self._public

    def sign(self, data: bytes) -> bytes:
        """The signature, verified; `Unavailable` when the service does not give a good one."""
        with _reached(self._name):
            r, s = decode_dss_signature(bytes.fromhex(self._service.sign(data).signature))
            signature = encode_dss_signature(r, min(s, _ORDER - s))
            self._public.verify(signature, data)
        return signature


def open_signer(reference: str, secret: Secret, *, public: Path | None = None) -> Signer:
    """The key that `reference` names; `secret` gives its passphrase or PIN.

    `public` is the file of its public half (PEM).  Raises `Usage` for a reference that names
    nothing or a key that models are not signed with, `Unavailable` when it cannot be reached.
    """
    scheme, colon, rest = reference.partition(":")
    if not colon or scheme == "file" or "/" in scheme:
        return _file(Path(rest if scheme == "file" else reference), secret)
    given = None if public is None else _p256(public_key_file(public), str(public))
    if scheme == "pkcs11":
        return _token(reference, secret, given)
    if scheme in CLOUDS:
        return _cloud(reference, given)
    raise Usage(
        f"no key service for {scheme[:40]!r}",
        remedy=f"name a file, or pkcs11:…, {':…, '.join(CLOUDS)}:…",
        code="signing.service",
    )


def _file(path: Path, secret: Secret) -> Signer:
    try:
        return FileSigner.load(path, secret() if is_protected(path) else None)
    except Corrupt as error:
        raise Usage(
            error.message,
            remedy=f"openssl pkcs8 -topk8 -nocrypt -in {path} -out KEY makes one of it; "
            "models are signed with P-256",
            code="signing.key",
        ) from error


def _cloud(reference: str, public: ec.EllipticCurvePublicKey | None) -> Signer:
    if public is None:
        raise Usage(
            f"the public half of {reference[:80]} is not given",
            remedy="fetch it once from the service and give it with --public-key FILE",
            code="signing.public_key",
        )
    library = _library()
    with _reached(reference):
        key = library.SSlibKey.from_crypto(public)
        service = library.Signer.from_priv_key_uri(reference, key)
    return ServiceSigner(reference, service, public)


def _token(reference: str, secret: Secret, given: ec.EllipticCurvePublicKey | None) -> Signer:
    token, key_id, module = _parsed(reference)
    library = _library()

    def pin(_: str) -> str:
        return secret()

    with _module(module), _reached(reference):
        uri, key = library.HSMSigner.import_(key_id, token, pin)
        service = library.Signer.from_priv_key_uri(uri, key, pin)
        found = load_pem_public_key(key.keyval["public"].encode())
    public = _p256(found, reference)
    if given is not None and given != public:
        raise Usage(
            f"the key on the token is not the one of which the public half is given: {reference}",
            remedy="check the id of the key",
            code="signing.public_key",
        )
    return _OnToken(reference, service, public, module)


class _OnToken(ServiceSigner):
    """Its library finds the token's driver in the environment alone."""

    def __init__(
        self, name: str, service: Any, public: ec.EllipticCurvePublicKey, module: str
    ) -> None:
        super().__init__(name, service, public)
        self._module = module

    def sign(self, data: bytes) -> bytes:
        with _module(self._module):
            return super().sign(data)


@contextlib.contextmanager
def _module(path: str) -> Generator[None]:
    before = os.environ.get(_MODULE)
    os.environ[_MODULE] = path
    try:
        yield
    finally:
        if before is None:
            del os.environ[_MODULE]
        else:
            os.environ[_MODULE] = before


def _parsed(reference: str) -> tuple[str, int, str]:
    """Token, key id and driver of a PKCS #11 URI; an attribute that is not known is refused."""
    path, _, query = reference.removeprefix("pkcs11:").partition("?")
    found: dict[str, str] = {}
    for part in [*path.split(";"), *query.split("&")]:
        name, equals, value = part.partition("=")
        if not part:
            continue
        if not equals or name not in ("token", "id", "module-path") or name in found:
            raise _wrong(reference, f"its part {name[:60]!r} is not understood")
        found[name] = value
    raw = unquote_to_bytes(found.get("id", ""))
    if not raw or raw[0] == 0 or len(raw) > 20:
        raise _wrong(reference, "its id is missing, or begins with a zero byte")
    if not found.get("token"):
        raise _wrong(reference, "its token is missing")
    module = unquote(found.get("module-path", "")) or os.environ.get(_MODULE, "")
    if not Path(module).is_absolute():
        raise _wrong(reference, "its module-path is missing")
    return unquote(found["token"]), int.from_bytes(raw, "big"), module


def _wrong(reference: str, why: str) -> Usage:
    # A PIN may stand in one that is written as for other tools.
    shown = re.sub(r"pin-value=[^&;]*", "pin-value=…", reference[:200])
    return Usage(
        f"{shown} does not name a key: {why}",
        remedy="write pkcs11:token=NAME;id=%02?module-path=/PATH/DRIVER.so; the PIN is named by "
        "--unlock env:NAME or file:PATH",
        code="signing.pkcs11",
    )


def _p256(public: object, what: str) -> ec.EllipticCurvePublicKey:
    if isinstance(public, ec.EllipticCurvePublicKey) and isinstance(public.curve, ec.SECP256R1):
        return public
    raise Usage(
        f"{what} is no P-256 key",
        remedy="make one: it is what every tool verifies",
        code="signing.key",
    )


def _library() -> Any:
    try:
        import securesystemslib.signer
    except ImportError as error:
        raise Unavailable(
            "securesystemslib, which reaches tokens and key services, is not installed",
            remedy="pip install 'assay[signing]', or sign with a key in a file",
            code="signing.library",
        ) from error
    return securesystemslib.signer


@contextlib.contextmanager
def _reached(name: str) -> Generator[None]:
    """Foreign libraries raise what they like; all of it means that there is no signature."""
    try:
        yield
    except AssayError:
        raise
    except Exception as error:
        raise Unavailable(
            f"the key {name[:200]} cannot be used: {type(error).__name__}: {str(error)[:300]}",
            remedy="check that the token or service is there, the key's id, and the PIN or "
            "credentials",
            code="signing.service",
        ) from error


def resolve(reference: str) -> str:
    """The secret behind ``env:NAME`` or ``file:PATH``; the secret itself is refused unrepeated."""
    kind, _, where = reference.partition(":")
    found = ""
    if kind == "env":
        found = os.environ.get(where, "")
    elif kind == "file":
        raw = files.read(Path(where), limit=_LONGEST_SECRET, what="passphrase")
        with contextlib.suppress(UnicodeDecodeError):
            found = raw.decode().removesuffix("\n").removesuffix("\r")
    else:
        raise Usage(
            "a passphrase is named, not given: this is no reference",
            remedy="write env:NAME or file:PATH; and change it, if that was the passphrase itself",
            code="signing.passphrase",
        )
    if not found:
        raise Unavailable(
            f"there is no passphrase in {reference[:200]}",
            remedy="put it there, as one line",
            code="signing.passphrase",
        )
    return found
