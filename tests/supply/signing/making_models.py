"""Models, keys and certificates for the tests of signing."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from assay import canonical
from assay.evidence import envelope
from assay.evidence.signers import MemorySigner
from assay.supply.signing import Trust, bundle, sign, statement
from assay.supply.signing.trust import TrustedKey

FILES = {"config.json": b"{}", "weights.bin": bytes(range(256)), "sub/a.bin": b"a", "sub.txt": b""}
NOW = datetime(2026, 11, 24, 12, 0, tzinfo=timezone.utc)

_KEY = ec.generate_private_key(ec.SECP256R1())
SIGNER = MemorySigner(_KEY)
TRUST = Trust(keys=(TrustedKey("release", _KEY.public_key()),))


def folder(path: Path, files: dict[str, bytes] = FILES) -> Path:
    """A model's folder with these files."""
    for name, data in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return path


def signed(path: Path, **options: Any) -> Path:
    """Sign a model; the signature lies beside its folder."""
    target = path.with_name(f"{path.name}.sig")
    target.write_bytes(bundle.encoded(sign(path, SIGNER, **options)))
    return target


def resigned(
    document: dict[str, Any], payload: bytes, kind: str = statement.PAYLOAD_TYPE
) -> dict[str, Any]:
    """The bundle with another payload, rightly signed: what a trusted signer could make."""
    signature = SIGNER.sign(envelope.pae(kind, payload))
    inner = {
        **document["dsseEnvelope"],
        "payload": canonical.b64(payload),
        "payloadType": kind,
        "signatures": [{"sig": canonical.b64(signature), "keyid": ""}],
    }
    return {**document, "dsseEnvelope": inner}


def payload_of(document: dict[str, Any]) -> dict[str, Any]:
    """The statement in a bundle."""
    return json.loads(canonical.unb64(document["dsseEnvelope"]["payload"], what="payload"))


def private_pem(key: ec.EllipticCurvePrivateKey, path: Path) -> Path:
    path.touch(mode=0o600)
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return path


def public_pem(key: ec.EllipticCurvePrivateKey, path: Path) -> Path:
    spki = PublicFormat.SubjectPublicKeyInfo
    path.write_bytes(key.public_key().public_bytes(Encoding.PEM, spki))
    return path


@dataclass(frozen=True)
class Holder:
    """Somebody with a certificate."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(Encoding.DER)


def named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def certified(
    name: str,
    by: Holder | None = None,
    *,
    authority: bool = False,
    path_length: int | None = None,
    signs: bool = True,
    code: bool = False,
    email: str = "",
    at: datetime = NOW,
    days: int = 30,
    curve: ec.EllipticCurve | None = None,
    extensions: tuple[tuple[x509.ExtensionType, bool], ...] = (),
) -> Holder:
    """A certificate, by `by` or by itself."""
    key = ec.generate_private_key(curve or ec.SECP256R1())
    made = (
        x509.CertificateBuilder()
        .subject_name(named(name))
        .issuer_name(by.certificate.subject if by else named(name))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(at - timedelta(days=1))
        .not_valid_after(at + timedelta(days=days))
        .add_extension(x509.BasicConstraints(authority, path_length), critical=True)
    )
    usage = x509.KeyUsage(
        digital_signature=signs and not authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )
    made = made.add_extension(usage, critical=True)
    if code:
        uses = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING])
        made = made.add_extension(uses, critical=False)
    if email:
        names = x509.SubjectAlternativeName([x509.RFC822Name(email)])
        made = made.add_extension(names, critical=False)
    for extension, critical in extensions:
        made = made.add_extension(extension, critical=critical)
    return Holder(key, made.sign(by.key if by else key, hashes.SHA256()))
