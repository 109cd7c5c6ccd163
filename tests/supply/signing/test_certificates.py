"""A signer's certificate counts where it leads to a trusted root, is for signing, and is theirs."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from assay.errors import Usage, Verification
from assay.evidence.signers import MemorySigner
from assay.supply.signing import Trust, Verified, bundle, sign, verify
from assay.supply.signing.trust import TrustedRoot

from .making_models import NOW, TRUST, Holder, certified, folder

ROOT = certified("root", authority=True, days=3650)
MIDDLE = certified("middle", ROOT, authority=True, days=365)
LEAF = certified("Release", MIDDLE, code=True, email="ml@example.com")


def trusting(**conditions: Any) -> Trust:
    return Trust(roots=(TrustedRoot("company", (ROOT.certificate,), **conditions),))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return folder(tmp_path / "credit")


def checked(
    model: Path, chain: list[Holder], trust: Trust, *, by: Holder | None = None, now: datetime = NOW
) -> Verified:
    """Verify what the first of `chain` signed; the file shows all of it."""
    shown = [one.certificate for one in chain]
    document = sign(model, MemorySigner((by or chain[0]).key), certificates=shown)
    path = model.with_name("model.sig")
    path.write_bytes(bundle.encoded(document))
    return verify(model, path, trust, now=now)


def refused(model: Path, chain: list[Holder], trust: Trust, word: str, **options: Any) -> None:
    with pytest.raises(Verification) as raised:
        checked(model, chain, trust, **options)
    assert word in raised.value.message
    assert "model.sig" in raised.value.message


def test_a_chain_to_a_trusted_root_verifies_and_names_the_signer(model: Path) -> None:
    for chain in ([LEAF, MIDDLE], [LEAF, MIDDLE, ROOT], [LEAF, ROOT, MIDDLE]):
        found = checked(model, chain, trusting())
        assert (found.method, found.identity) == ("certificate", "email:ml@example.com")
        assert found.trusted_as == "company"


def test_a_certificate_by_itself_is_trusted_when_it_is_the_root(model: Path) -> None:
    alone = certified("alone", signs=True)
    trust = Trust(roots=(TrustedRoot("alone", (alone.certificate,)),))
    assert checked(model, [alone], trust).identity == "CN=alone"
    refused(model, [alone], trusting(), "does not lead to company")


def test_a_chain_with_a_gap_is_refused(model: Path) -> None:
    refused(model, [LEAF], trusting(), "does not lead to company")
    refused(model, [LEAF, ROOT], trusting(), "does not lead to company")


def test_certificates_that_lead_nowhere_are_refused_because_nothing_protects_them(
    model: Path,
) -> None:
    other = certified("other", ROOT, authority=True)
    refused(model, [LEAF, MIDDLE, other], trusting(), "that do not lead to company")
    refused(model, [LEAF, MIDDLE, MIDDLE], trusting(), "that do not lead to company")


def test_another_root_of_the_same_name_is_refused(model: Path) -> None:
    other = certified("root", authority=True)
    middle = certified("middle", other, authority=True)
    refused(model, [certified("Release", middle), middle, other], trusting(), "does not lead to")


def test_who_is_no_authority_certifies_nobody(model: Path) -> None:
    middle = certified("middle", ROOT)
    refused(model, [certified("Release", middle), middle], trusting(), "does not lead to company")


def test_a_path_longer_than_an_authority_allows_is_refused(model: Path) -> None:
    short = certified("short", ROOT, authority=True, path_length=0)
    below = certified("below", short, authority=True)
    assert checked(model, [certified("Release", short), short], trusting()).method
    chain = [certified("Release", below), below, short]
    refused(model, chain, trusting(), "does not lead to company")


def test_a_name_that_an_authority_may_not_give_is_refused(model: Path) -> None:
    only = x509.NameConstraints([x509.RFC822Name("example.org")], None)
    middle = certified("middle", ROOT, authority=True, extensions=((only, True),))
    assert checked(model, [certified("R", middle, email="a@example.org"), middle], trusting())
    chain = [certified("R", middle, email="a@example.com"), middle]
    refused(model, chain, trusting(), "does not lead to company")


def test_a_certificate_that_is_not_for_signing_is_refused(model: Path) -> None:
    unfit = certified("Release", MIDDLE, signs=False)
    refused(model, [unfit, MIDDLE], trusting(), "not one for signing")
    assert checked(model, [certified("R", MIDDLE, signs=False, code=True), MIDDLE], trusting())


def test_an_extension_that_must_be_understood_and_is_not_is_refused(model: Path) -> None:
    unknown = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")
    odd = certified("Release", MIDDLE, extensions=((unknown, True),))
    refused(model, [odd, MIDDLE], trusting(), "does not lead to company")


def test_an_expired_certificate_is_refused_unless_the_trust_list_knows_better(
    model: Path,
) -> None:
    later = NOW + timedelta(days=40)
    refused(model, [LEAF, MIDDLE], trusting(), "is valid from", now=later)
    found = checked(model, [LEAF, MIDDLE], trusting(allow_expired=True), now=later)
    assert found.identity == "email:ml@example.com"
    refused(model, [LEAF, MIDDLE], trusting(), "valid from", now=NOW - timedelta(days=2))


def test_a_certificate_of_the_future_is_refused_even_where_old_ones_are_not(model: Path) -> None:
    early = NOW - timedelta(days=2)
    refused(model, [LEAF, MIDDLE], trusting(allow_expired=True), "does not lead to", now=early)


def test_the_entry_that_trusts_a_root_ends_too(model: Path) -> None:
    trust = trusting(expires=NOW)
    with pytest.raises(Verification, match="company was trusted until"):
        checked(model, [LEAF, MIDDLE], trust)


@pytest.mark.parametrize(
    ("conditions", "word"),
    [
        ({"subject": "CN=Other"}, "for 'CN=Release', not 'CN=Other'"),
        ({"subject": "CN=release"}, "not 'CN=release'"),
        ({"issuer": "CN=root"}, "by 'CN=middle', not 'CN=root'"),
        ({"sans": ("email:other@example.com",)}, "names email:ml@example.com"),
        ({"sans": ("dns:ml@example.com",)}, "names email:ml@example.com"),
        ({"sans": ("email:ml@example.com.evil",)}, "names email:ml@example.com"),
        ({"subject": "CN=Release", "issuer": "CN=root"}, "not 'CN=root'"),
    ],
)
def test_another_identity_under_the_same_root_is_refused(
    conditions: dict[str, Any], word: str, model: Path
) -> None:
    refused(model, [LEAF, MIDDLE], trusting(**conditions), word)


def test_the_identity_that_is_asked_for_is_enough(model: Path) -> None:
    trust = trusting(
        subject="CN=Release", issuer="CN=middle", sans=("dns:x", "email:ml@example.com")
    )
    assert checked(model, [LEAF, MIDDLE], trust).identity == "email:ml@example.com"


def test_a_signature_by_another_key_than_the_certificates_is_refused(model: Path) -> None:
    with pytest.raises(Usage, match="not one for the signing key"):
        checked(model, [LEAF, MIDDLE], trusting(), by=MIDDLE)
    document = sign(model, MemorySigner(LEAF.key), certificates=[LEAF.certificate])
    other = bundle.chain_material([certified("Release", MIDDLE).der, MIDDLE.der])
    document["verificationMaterial"].update(other)
    path = model.with_name("model.sig")
    path.write_bytes(bundle.encoded(document))
    with pytest.raises(Verification, match="does not hold"):
        verify(model, path, trusting(), now=NOW)


def test_what_is_no_certificate_is_refused(model: Path) -> None:
    document = sign(model, MemorySigner(LEAF.key), certificates=[LEAF.certificate])
    path = model.with_name("model.sig")
    version = LEAF.der.replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x07", 1)
    kind = LEAF.der.replace(b"\x2a\x86\x48\xce\x3d\x02\x01", b"\x2a\x86\x48\xce\x3d\x02\x02", 1)
    for der in (b"", b"x" * 100, LEAF.der[:-1], LEAF.der + b"\0", version, kind):
        document["verificationMaterial"].update(bundle.chain_material([der, MIDDLE.der]))
        path.write_bytes(bundle.encoded(document))
        with pytest.raises(Verification, match="a certificate that is none"):
            verify(model, path, trusting(), now=NOW)


def test_a_chain_says_nothing_to_who_trusts_keys_alone(model: Path) -> None:
    refused(model, [LEAF, MIDDLE], TRUST, "under no root that is trusted here")


def test_each_of_several_roots_is_tried_and_all_told(model: Path) -> None:
    other = TrustedRoot("other", (certified("else", authority=True).certificate,))
    both = Trust(roots=(other,)) | trusting()
    assert checked(model, [LEAF, MIDDLE], both).trusted_as == "company"
    neither = Trust(roots=(other,)) | trusting(subject="CN=x")
    refused(model, [LEAF, MIDDLE], neither, "not 'CN=x'")


def test_a_longer_key_is_verified_with_its_own_hash(model: Path) -> None:
    """Signing is with P-256 alone; what others certified may be longer."""
    from cryptography.hazmat.primitives import hashes

    from assay.evidence import envelope
    from assay.supply.signing import statement
    from assay.supply.signing.hashing import digests

    leaf = certified("Release", MIDDLE, curve=ec.SECP384R1())
    payload = statement.encode("credit", digests(model, ()).files, ())
    signature = leaf.key.sign(
        envelope.pae(statement.PAYLOAD_TYPE, payload), ec.ECDSA(hashes.SHA384())
    )
    material = bundle.chain_material([leaf.der, MIDDLE.der])
    path = model.with_name("model.sig")
    path.write_bytes(bundle.encoded(bundle.encode(payload, signature, material)))
    assert verify(model, path, trusting(), now=NOW).identity == "CN=Release"
