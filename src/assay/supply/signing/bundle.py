"""A signature's file: a Sigstore bundle v0.3 around one DSSE envelope.

Source: https://docs.sigstore.dev/about/bundle/ and https://github.com/secure-systems-lab/dsse.
Only one spelling of everything that no signature protects is accepted, so that no bit of the file
is free; what is inside is read after the signature has been verified.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from assay import canonical, files
from assay.errors import Corrupt
from assay.evidence import envelope
from assay.supply.signing.statement import PAYLOAD_TYPE, parse, refused

MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
LIMIT = 48 << 20
"""Bytes of a signature's file; one for 100,000 files with long names has about 40 MiB."""
_MOST_CERTIFICATES = 16

_KEY_DETAILS = {
    "secp256r1": "PKIX_ECDSA_P256_SHA_256",
    "secp384r1": "PKIX_ECDSA_P384_SHA_384",
    "secp521r1": "PKIX_ECDSA_P521_SHA_512",
}
"""How tools before 1.1 named the algorithm of the key that they put into the file."""


class _Signature(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    sig: str
    keyid: str | None = None


class _Envelope(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    payload: str
    payload_type: str
    signatures: list[_Signature]


class _Key(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    hint: str | None = None
    raw_bytes: str | None = None
    key_details: str | None = None


class _Certificate(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    raw_bytes: str


class _Chain(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    certificates: list[_Certificate]


class _Material(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    public_key: _Key | None = None
    x509_certificate_chain: _Chain | None = msgspec.field(default=None, name="x509CertificateChain")
    certificate: _Certificate | None = None
    tlog_entries: list[msgspec.Raw] = msgspec.field(default_factory=list[msgspec.Raw])
    timestamp_verification_data: msgspec.Raw = msgspec.field(default_factory=msgspec.Raw)


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    media_type: str
    verification_material: _Material
    dsse_envelope: _Envelope


class Bundle(msgspec.Struct, frozen=True):
    """A signature, read but not verified."""

    what: str
    """Its file, for messages."""
    data: bytes
    payload: bytes
    signature: bytes
    key: _Key | None
    """Says by which key it is, where it is by a plain one."""
    certificates: tuple[bytes, ...]
    """DER, the signer's first, where it is by a chain."""

    @property
    def method(self) -> str:
        """``key``, ``certificate`` or ``sigstore``."""
        if self.key is not None:
            return "key"
        return "certificate" if self.certificates else "sigstore"

    @property
    def signed(self) -> bytes:
        """The bytes that the signature is over."""
        return envelope.pae(PAYLOAD_TYPE, self.payload)

    def check_key(self, public: ec.EllipticCurvePublicKey) -> None:
        """Raise `Verification` unless the file says it is by this very key, if it says so at all.

        Nothing is trusted because of it; it keeps every bit of the file from being free.
        """
        if self.key is None:
            return
        pem = pem_of(public)
        details = self.key.key_details
        if self.key.hint not in (None, hint(pem)):
            raise refused(self.what, "it says that it is by another key than the one it is by")
        if self.key.raw_bytes not in (None, canonical.b64(pem)):
            raise refused(self.what, "it holds another key than the one it is by")
        if details not in (None, _KEY_DETAILS.get(public.curve.name)):
            raise refused(self.what, f"it is by no key of the kind {str(details)[:60]!r}")


def pem_of(public: ec.EllipticCurvePublicKey) -> bytes:
    """The key as PEM (SubjectPublicKeyInfo)."""
    return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def hint(pem: bytes) -> str:
    """What a signature calls the key that made it: the SHA-256 of its PEM."""
    return hashlib.sha256(pem).hexdigest()


def encode(payload: bytes, signature: bytes, material: dict[str, Any]) -> dict[str, Any]:
    """The document; its keys stand in the order in which `model_signing` writes them."""
    return {
        "mediaType": MEDIA_TYPE,
        "verificationMaterial": {**material, "tlogEntries": []},
        "dsseEnvelope": {
            "payload": canonical.b64(payload),
            "payloadType": PAYLOAD_TYPE,
            "signatures": [{"sig": canonical.b64(signature), "keyid": ""}],
        },
    }


def key_material(pem: bytes) -> dict[str, Any]:
    """Says by which key a signature is."""
    return {"publicKey": {"hint": hint(pem)}}


def chain_material(certificates: list[bytes]) -> dict[str, Any]:
    """Shows the certificates (DER), the signer's first."""
    chain = [{"rawBytes": canonical.b64(der)} for der in certificates]
    return {"x509CertificateChain": {"certificates": chain}}


def read(path: Path) -> Bundle:
    """The signature in a file; raises `Verification` for one that cannot be taken in one way."""
    with files.open_input(path, what="signature") as stream:
        data = stream.read(LIMIT + 1)
    return decode(data, str(path))


def decode(data: bytes, what: str) -> Bundle:
    """The signature in these bytes; `what` names them."""
    if len(data) > LIMIT:
        raise refused(what, f"it is larger than {LIMIT} bytes")
    try:
        file = msgspec.json.decode(data, type=_File)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise refused(what, f"it is no Sigstore bundle ({error})") from error
    if file.media_type != MEDIA_TYPE:
        raise refused(
            what,
            f"it is of the type {file.media_type[:100]!r}, not {MEDIA_TYPE}",
            "sign the model anew with a tool of this version of the format",
        )
    # That no key is given twice, which the reader in C does not tell.
    parse(data, what)
    material, enveloped = file.verification_material, file.dsse_envelope
    if enveloped.payload_type != PAYLOAD_TYPE:
        raise refused(
            what, f"its payload is of the type {enveloped.payload_type[:100]!r}, not {PAYLOAD_TYPE}"
        )
    if len(enveloped.signatures) != 1:
        raise refused(what, f"it holds {len(enveloped.signatures)} signatures, not one")
    if enveloped.signatures[0].keyid:
        raise refused(what, "its keyid is not empty; the verification material names the key")
    certificates = _certificates(material, what)
    try:
        return Bundle(
            what,
            data,
            canonical.unb64(enveloped.payload, what="the payload"),
            canonical.unb64(enveloped.signatures[0].sig, what="the signature itself"),
            material.public_key,
            certificates,
        )
    except Corrupt as error:
        raise refused(what, error.message) from error


def _certificates(material: _Material, what: str) -> tuple[bytes, ...]:
    chain = material.x509_certificate_chain
    given = [material.public_key, chain, material.certificate]
    if sum(item is not None for item in given) != 1:
        raise refused(what, "it names not exactly one of a key, a chain and a certificate")
    if material.certificate is not None:
        if not material.tlog_entries:
            raise refused(
                what,
                "it shows a certificate of Sigstore without an entry in a transparency log",
            )
        return ()
    if material.tlog_entries or bytes(material.timestamp_verification_data):
        raise refused(what, "it has entries in a log or times, which only Sigstore's have")
    if chain is None:
        key = material.public_key
        if key is None or (key.hint is None) == (key.raw_bytes is None):
            raise refused(what, "it does not say by which key it is, or says it twice")
        return ()
    if not 0 < len(chain.certificates) <= _MOST_CERTIFICATES:
        raise refused(what, f"it shows {len(chain.certificates)} certificates")
    try:
        return tuple(
            canonical.unb64(item.raw_bytes, what="a certificate") for item in chain.certificates
        )
    except Corrupt as error:
        raise refused(what, error.message) from error


def encoded(document: dict[str, Any]) -> bytes:
    """The bytes of a document of `encode`, as they stand in a file."""
    return msgspec.json.encode(document)
