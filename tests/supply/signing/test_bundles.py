"""A signature that can be read in two ways, or that says something else, is refused."""

from __future__ import annotations

import base64
import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)

from assay import canonical
from assay.errors import Verification
from assay.evidence import envelope
from assay.supply.signing import Trust, bundle, sign, statement, verify
from assay.supply.signing.trust import TrustedKey

from .making_models import NOW, SIGNER, TRUST, folder, payload_of, resigned

Document = dict[str, Any]
_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return folder(tmp_path / "credit")


@pytest.fixture
def document(model: Path) -> Document:
    return sign(model, SIGNER)


def refused(model: Path, data: Document | bytes, word: str, trust: Trust = TRUST) -> None:
    path = model.with_name("model.sig")
    path.write_bytes(data if isinstance(data, bytes) else json.dumps(data).encode())
    with pytest.raises(Verification) as raised:
        verify(model, path, trust, now=NOW)
    assert word in raised.value.message
    assert str(path) in raised.value.message


def test_it_is_written_as_the_stock_tool_writes_it(document: Document) -> None:
    assert list(document) == ["mediaType", "verificationMaterial", "dsseEnvelope"]
    material = document["verificationMaterial"]
    assert material == {"publicKey": {"hint": TRUST.keys[0].hint}, "tlogEntries": []}
    payload = payload_of(document)
    assert sorted(payload) == ["_type", "predicate", "predicateType", "subject"]
    assert payload["predicate"]["serialization"] == {
        "method": "files",
        "hash_type": "sha256",
        "allow_symlinks": False,
        "ignore_paths": [".git", ".gitattributes", ".github", ".gitignore"],
    }
    names = [resource["name"] for resource in payload["predicate"]["resources"]]
    assert names == ["config.json", "sub/a.bin", "sub.txt", "weights.bin"]


# -- the bundle -----------------------------------------------------------------------------------

Change = Callable[[Document], Any]


def _two(document: Document) -> None:
    signatures = document["dsseEnvelope"]["signatures"]
    signatures.append(copy.deepcopy(signatures[0]))


CHANGES: dict[str, tuple[Change, str]] = {
    "several signatures": (_two, "2 signatures"),
    "no signature": (lambda d: d["dsseEnvelope"].update(signatures=[]), "0 signatures"),
    "another media type": (
        lambda d: d.update(mediaType=bundle.MEDIA_TYPE.replace("0.3", "0.2")),
        "of the type",
    ),
    "another payload type": (
        lambda d: d["dsseEnvelope"].update(payloadType="application/json"),
        "its payload is of the type 'application/json'",
    ),
    "a key that is not known": (lambda d: d.update(extra=1), "extra"),
    "a key id": (lambda d: d["dsseEnvelope"]["signatures"][0].update(keyid="x"), "keyid"),
    "no material": (lambda d: d.update(verificationMaterial={"tlogEntries": []}), "exactly one"),
    "a key and a chain": (
        lambda d: d["verificationMaterial"].update(x509CertificateChain={"certificates": []}),
        "exactly one",
    ),
    "a hint of another key": (
        lambda d: d["verificationMaterial"]["publicKey"].update(hint="0" * 64),
        "not trusted here",
    ),
    "no hint": (lambda d: d["verificationMaterial"]["publicKey"].pop("hint"), "by which key"),
    "a hint and a key": (
        lambda d: d["verificationMaterial"]["publicKey"].update(rawBytes="AA=="),
        "by which key",
    ),
    "another kind of key": (
        lambda d: d["verificationMaterial"]["publicKey"].update(keyDetails="PKIX_ED25519"),
        "'PKIX_ED25519'",
    ),
    "an entry in a log": (
        lambda d: d["verificationMaterial"].update(tlogEntries=[{}]),
        "only Sigstore's have",
    ),
    "a time": (
        lambda d: d["verificationMaterial"].update(timestampVerificationData={}),
        "only Sigstore's have",
    ),
    "an empty chain": (
        lambda d: d.update(verificationMaterial={"x509CertificateChain": {"certificates": []}}),
        "0 certificates",
    ),
    "too long a chain": (
        lambda d: d.update(
            verificationMaterial={"x509CertificateChain": {"certificates": [{"rawBytes": ""}] * 17}}
        ),
        "17 certificates",
    ),
    "a certificate of Sigstore without a log": (
        lambda d: d.update(verificationMaterial={"certificate": {"rawBytes": ""}}),
        "without an entry",
    ),
    "text for a list": (lambda d: d["dsseEnvelope"].update(signatures="x"), "no Sigstore bundle"),
    "a number for text": (lambda d: d["dsseEnvelope"].update(payload=1), "no Sigstore bundle"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_bundle_is_refused_with(name: str, model: Path, document: Document) -> None:
    change, word = CHANGES[name]
    change(document)
    refused(model, document, word)


@pytest.mark.parametrize(
    ("alter", "word"),
    [
        (lambda d: d + b"x", "no Sigstore bundle"),
        (lambda d: d + d, "no Sigstore bundle"),
        (lambda d: d[:-1], "no Sigstore bundle"),
        (lambda _: b"", "no Sigstore bundle"),
        (lambda _: b"[" * 1_000_000, "no Sigstore bundle"),
        (lambda d: b"\xff" + d, "no Sigstore bundle"),
        (lambda d: b"\xef\xbb\xbf" + d, "no Sigstore bundle"),
        (lambda d: b'{"mediaType":"x",' + d[1:], "given twice"),
        (lambda d: d.replace(b'"keyid":""', b'"keyid":"","keyid":""'), "given twice"),
    ],
)
def test_bytes_that_are_no_one_bundle_are_refused(
    alter: Callable[[bytes], bytes], word: str, model: Path, document: Document
) -> None:
    refused(model, alter(bundle.encoded(document)), word)


def test_a_signature_that_is_too_large_is_refused(model: Path) -> None:
    refused(model, b" " * (bundle.LIMIT + 1), "larger than")


@pytest.mark.parametrize("field", ["payload", "sig"])
@pytest.mark.parametrize(
    "alter",
    [
        lambda t: t + "\n",
        lambda t: t.rstrip("=") + "====",
        lambda t: " " + t,
        lambda t: t[:8] + "\n" + t[8:],
        lambda t: base64.urlsafe_b64encode(b"\xff\xfe" + base64.b64decode(t)).decode(),
    ],
)
def test_base64_has_one_spelling(
    field: str, alter: Callable[[str], str], model: Path, document: Document
) -> None:
    inner = document["dsseEnvelope"]
    holder = inner if field == "payload" else inner["signatures"][0]
    holder[field] = alter(holder[field])
    refused(model, document, "base64")


def test_unused_bits_at_the_end_of_base64_are_refused(model: Path, document: Document) -> None:
    inner = document["dsseEnvelope"]
    payload = base64.b64decode(inner["payload"])
    payload += b" " * (1 - len(payload) % 3 % 3)
    while len(payload) % 3 != 1:
        payload += b" "
    document = resigned(document, payload)
    text = document["dsseEnvelope"]["payload"]
    document["dsseEnvelope"]["payload"] = text[:-3] + chr(ord(text[-3]) + 1) + "=="
    refused(model, document, "canonical spelling")


def test_a_signature_over_the_payload_alone_is_refused(model: Path, document: Document) -> None:
    payload = canonical.unb64(document["dsseEnvelope"]["payload"], what="payload")
    bare = canonical.b64(SIGNER.sign(payload))
    document["dsseEnvelope"]["signatures"][0]["sig"] = bare
    refused(model, document, "does not hold")


def test_a_signature_for_another_payload_type_is_refused(model: Path, document: Document) -> None:
    payload = canonical.unb64(document["dsseEnvelope"]["payload"], what="payload")
    for kind in ("application/json", "", "application/vnd.in-toto+json "):
        signature = SIGNER.sign(envelope.pae(kind, payload))
        document["dsseEnvelope"]["signatures"][0]["sig"] = canonical.b64(signature)
        refused(model, document, "does not hold")


def test_the_lengths_in_what_is_signed_keep_type_and_payload_apart(
    model: Path, document: Document
) -> None:
    """What is signed as type ``A B`` and payload ``C`` is not signed as ``A`` and ``B C``."""
    payload = canonical.unb64(document["dsseEnvelope"]["payload"], what="payload")
    other = resigned(document, payload[10:], f"{statement.PAYLOAD_TYPE} {payload[:10].decode()}")
    refused(model, other, "its payload is of the type")
    other["dsseEnvelope"].update(payloadType=statement.PAYLOAD_TYPE, payload=canonical.b64(payload))
    refused(model, other, "does not hold")


def test_the_faulty_encoding_of_early_tools_is_refused(model: Path, document: Document) -> None:
    payload = canonical.unb64(document["dsseEnvelope"]["payload"], what="payload")
    kind = statement.PAYLOAD_TYPE
    early = f"DSSEV1 {len(kind)} {kind} {len(payload)} {payload!r}".encode()
    document["dsseEnvelope"]["signatures"][0]["sig"] = canonical.b64(SIGNER.sign(early))
    refused(model, document, "does not hold")


def test_a_signature_with_a_high_s_is_taken_because_other_tools_make_them(
    model: Path, document: Document
) -> None:
    entry = document["dsseEnvelope"]["signatures"][0]
    r, s = decode_dss_signature(base64.b64decode(entry["sig"]))
    entry["sig"] = canonical.b64(encode_dss_signature(r, _ORDER - s))
    path = model.with_name("model.sig")
    path.write_bytes(bundle.encoded(document))
    verify(model, path, TRUST, now=NOW)


def test_a_signature_in_another_encoding_of_the_same_numbers_is_refused(
    model: Path, document: Document
) -> None:
    entry = document["dsseEnvelope"]["signatures"][0]
    der = base64.b64decode(entry["sig"])
    longer = der[:1] + bytes([0x81]) + der[1:]  # A length in the long form.
    for other in (longer, der + b"\0", der[:-1], b"", b"\x30\x06\x02\x01\0\x02\x01\0"):
        entry["sig"] = canonical.b64(other)
        refused(model, document, "does not hold")


@pytest.mark.parametrize("curve", [ec.SECP384R1(), ec.SECP521R1()], ids=lambda c: c.name)
def test_what_was_signed_with_a_longer_key_is_verified(
    curve: ec.EllipticCurve, model: Path, document: Document
) -> None:
    key = ec.generate_private_key(curve)
    hashed = {"secp384r1": hashes.SHA384(), "secp521r1": hashes.SHA512()}[curve.name]
    payload = canonical.unb64(document["dsseEnvelope"]["payload"], what="payload")
    signature = key.sign(envelope.pae(statement.PAYLOAD_TYPE, payload), ec.ECDSA(hashed))
    pem = bundle.pem_of(key.public_key())
    trust = Trust((TrustedKey("long", key.public_key()),))
    path = model.with_name("model.sig")
    path.write_bytes(bundle.encoded(bundle.encode(payload, signature, bundle.key_material(pem))))
    assert verify(model, path, trust, now=NOW).trusted_as == "long"
    # As tools before 1.1 named the key.
    details = f"PKIX_ECDSA_P{curve.key_size}_SHA_{hashed.digest_size * 8}"
    early = {"publicKey": {"rawBytes": canonical.b64(pem), "keyDetails": details}}
    path.write_bytes(bundle.encoded(bundle.encode(payload, signature, early)))
    assert verify(model, path, trust, now=NOW).trusted_as == "long"
