"""A trust list says whose signatures count; one that is unclear trusts nobody."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from assay.errors import NotFound, Unavailable, Usage, Verification
from assay.supply.signing import Trust, bundle, keyless, verify

from .making_models import NOW, TRUST, certified, folder, signed

PEM = bundle.pem_of(TRUST.keys[0].public).decode()
ROOT = certified("root", authority=True).pem.decode()
KEY = f'[[key]]\nname = "release"\npem = """{PEM}"""\n'


def listed(tmp_path: Path, body: str, head: str = 'format = "assay/trust-list/v1"\n') -> Path:
    path = tmp_path / "trust.toml"
    path.write_text(head + body)
    return path


def test_a_key_in_the_list_counts_until_its_time(tmp_path: Path) -> None:
    model = folder(tmp_path / "m")
    signature = signed(model)
    trust = Trust.load(listed(tmp_path, KEY + "expires = 2026-11-25T00:00:00Z\n"))
    assert verify(model, signature, trust, now=NOW).trusted_as == "release"
    with pytest.raises(Verification, match="the key release was trusted until 2026-11-25"):
        verify(model, signature, trust, now=NOW + timedelta(days=1))


def test_a_list_ends_as_a_whole(tmp_path: Path) -> None:
    model = folder(tmp_path / "m")
    signature = signed(model)
    trust = Trust.load(listed(tmp_path, "expires = 2026-11-24T12:00:00Z\n" + KEY))
    with pytest.raises(Verification, match=r"the trust list .*trust\.toml was trusted until"):
        verify(model, signature, trust, now=NOW)
    # Also when it is joined with another one.
    with pytest.raises(Verification, match="was trusted until"):
        verify(model, signature, trust | Trust(), now=NOW)
    assert verify(model, signature, TRUST | trust, now=NOW).trusted_as == "release"


def test_roots_and_identities_are_read(tmp_path: Path) -> None:
    body = (
        f'[[certificate_root]]\nname = "company"\npem = """{ROOT}"""\n'
        'subject = "CN=Release"\nsan = ["email:ml@example.com"]\nissuer = "CN=middle"\n'
        'allow_expired = true\n[[sigstore]]\nname = "upstream"\nidentity = "a@example.com"\n'
        'issuer = "https://accounts.example.com"\ntrusted_root = "root.json"\n'
    )
    trust = Trust.load(listed(tmp_path, body))
    root, one = trust.roots[0], trust.identities[0]
    assert (root.subject, root.sans, root.issuer) == (
        "CN=Release",
        ("email:ml@example.com",),
        "CN=middle",
    )
    assert root.allow_expired
    assert one.trusted_root == tmp_path / "root.json"
    with pytest.raises(Usage, match="cannot be read") as raised:
        keyless._verifier(one.trusted_root)
    assert "root.json" in raised.value.message


@pytest.mark.parametrize(
    ("body", "word"),
    [
        ("", "trusts nobody"),
        ("this is no toml", "Expected"),
        (KEY + KEY, "a name of its own"),
        (KEY + KEY.replace("release", "again"), "a key twice"),
        (KEY.replace("release", ""), "a name of its own"),
        (KEY + "colour = 1\n", "colour"),
        (KEY + 'expires = "soon"\n', "datetime"),
        (KEY + "expires = 2026-11-25T00:00:00\n", "no timezone"),
        (f'[[certificate_root]]\nname = "c"\npem = """{ROOT}"""\n', "whose certificate counts"),
        (
            f'[[certificate_root]]\nname = "c"\npem = """{ROOT}"""\nsan = ["ml@example.com"]\n',
            "no email:…",
        ),
        ('[[certificate_root]]\nname = "c"\npem = ""\nsubject = "CN=x"\n', "no certificates"),
        ('[[sigstore]]\nname = "s"\nidentity = "a@b.c"\nissuer = ""\n', "both an identity"),
        ('[[key]]\nname = "k"\npem = ""\n', "no public key in PEM"),
    ],
)
def test_an_unclear_list_is_refused(body: str, word: str, tmp_path: Path) -> None:
    with pytest.raises(Usage) as raised:
        Trust.load(listed(tmp_path, body))
    assert word in raised.value.message
    assert "trust.toml" in raised.value.message


def test_a_list_of_another_version_is_refused(tmp_path: Path) -> None:
    for head in ('format = "assay/trust-list/v2"\n', ""):
        with pytest.raises(Usage, match="is not of the format assay/trust-list/v1"):
            Trust.load(listed(tmp_path, KEY, head))


def test_a_list_that_is_a_link_or_not_there_is_refused(tmp_path: Path) -> None:
    (tmp_path / "link.toml").symlink_to(listed(tmp_path, KEY))
    with pytest.raises(Usage, match="symbolic link"):
        Trust.load(tmp_path / "link.toml")
    with pytest.raises(NotFound):
        Trust.load(tmp_path / "none.toml")


def test_keys_that_models_are_not_signed_with_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    spki = PublicFormat.SubjectPublicKeyInfo
    for key in (ed25519.Ed25519PrivateKey.generate(), ec.generate_private_key(ec.SECP256K1())):
        path.write_bytes(key.public_key().public_bytes(Encoding.PEM, spki))
        with pytest.raises(Usage, match="models are not signed with"):
            Trust.of_key(path)


def test_a_private_key_in_place_of_a_public_one_is_named(tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    path = tmp_path / "key.pem"
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    with pytest.raises(Usage, match="a private key in PEM"):
        Trust.of_key(path)


def test_without_sigstore_its_signatures_are_refused_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = folder(tmp_path / "m")
    document = bundle.encode(b"{}", b"x", {"certificate": {"rawBytes": "AA=="}})
    document["verificationMaterial"]["tlogEntries"] = [{"logIndex": "1"}]
    path = tmp_path / "m.sig"
    path.write_bytes(bundle.encoded(document))
    body = '[[sigstore]]\nname = "s"\nidentity = "a@b.c"\nissuer = "https://x.example"\n'
    trust = Trust.load(listed(tmp_path, body))
    with pytest.raises(Verification, match="no identity there is trusted here"):
        verify(model, path, TRUST, now=NOW)
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(Unavailable, match="not installed here") as raised:
        verify(model, path, trust, now=NOW)
    assert "pip install" in raised.value.remedy


def test_what_sigstore_cannot_read_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("sigstore")
    model = folder(tmp_path / "m")
    document = bundle.encode(b"{}", b"x", {"certificate": {"rawBytes": "AA=="}})
    document["verificationMaterial"]["tlogEntries"] = [{"logIndex": "1"}]
    path = tmp_path / "m.sig"
    path.write_bytes(bundle.encoded(document))
    body = '[[sigstore]]\nname = "s"\nidentity = "a@b.c"\nissuer = "https://x.example"\n'
    with pytest.raises(Verification, match="Sigstore refuses it"):
        verify(model, path, Trust.load(listed(tmp_path, body)), now=NOW)
