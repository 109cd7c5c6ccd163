"""No bit of a signature or of a model is free: each that is flipped is noticed and named."""

from __future__ import annotations

import base64
import tempfile
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.errors import Verification
from assay.evidence.signers import MemorySigner
from assay.supply.signing import Trust, bundle, sign, verify
from assay.supply.signing.trust import TrustedRoot

from .making_models import NOW, SIGNER, TRUST, certified, folder

FOLDER = Path(tempfile.mkdtemp(prefix="assay-mutations-"))
MODEL = folder(FOLDER / "credit")
SIGNATURE = FOLDER / "model.sig"
_ROOT = certified("root", authority=True)
_LEAF = certified("Release", _ROOT, email="ml@example.com")
_CHAIN = [_LEAF.certificate, _ROOT.certificate]
ROOTED = Trust(roots=(TrustedRoot("company", (_ROOT.certificate,)),))

BY_KEY = bundle.encoded(sign(MODEL, SIGNER))
BY_CERTIFICATE = bundle.encoded(sign(MODEL, MemorySigner(_LEAF.key), certificates=_CHAIN))


def refused(data: bytes, trust: Trust) -> None:
    SIGNATURE.write_bytes(data)
    with pytest.raises(Verification) as raised:
        verify(MODEL, SIGNATURE, trust, now=NOW)
    assert str(SIGNATURE) in raised.value.message or str(MODEL) in raised.value.message


def flipped(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8 % len(data)] ^= 1 << bit % 8
    return bytes(changed)


def test_unaltered_they_verify() -> None:
    for data, trust in ((BY_KEY, TRUST), (BY_CERTIFICATE, ROOTED)):
        SIGNATURE.write_bytes(data)
        assert verify(MODEL, SIGNATURE, trust, now=NOW)


@settings(max_examples=300, deadline=None)
@given(st.integers(0, len(BY_KEY) * 8 - 1))
def test_a_flipped_bit_of_a_signature_by_key_is_noticed(bit: int) -> None:
    refused(flipped(BY_KEY, bit), TRUST)


@settings(max_examples=300, deadline=None)
@given(st.integers(0, len(BY_CERTIFICATE) * 8 - 1))
def test_a_flipped_bit_of_a_signature_by_certificate_is_noticed(bit: int) -> None:
    refused(flipped(BY_CERTIFICATE, bit), ROOTED)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("data", "trust"), [(BY_KEY, TRUST), (BY_CERTIFICATE, ROOTED)], ids=["key", "certificate"]
)
def test_every_single_bit_is_noticed(data: bytes, trust: Trust) -> None:
    for bit in range(len(data) * 8):
        refused(flipped(data, bit), trust)


def test_a_certificate_that_says_less_of_its_signature_counts_is_noticed() -> None:
    """Whether a library takes it depends on the last bit of the signature: so on chance."""
    leaf = _LEAF.certificate
    whole = leaf.public_bytes(Encoding.DER)
    altered = whole[: -len(leaf.signature) - 1] + b"\1" + leaf.signature
    data = BY_CERTIFICATE.replace(base64.b64encode(whole), base64.b64encode(altered))
    assert data != BY_CERTIFICATE
    refused(data, ROOTED)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, len(BY_KEY) - 1), st.binary(max_size=8), st.integers(0, 8))
def test_bytes_put_in_or_cut_out_are_noticed(at: int, put: bytes, cut: int) -> None:
    data = BY_KEY[:at] + put + BY_KEY[at + cut :]
    if (
        data != BY_KEY
        and data.replace(b" ", b"").replace(b"\n", b"").replace(b"\t", b"").replace(b"\r", b"")
        != BY_KEY
    ):
        refused(data, TRUST)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_flipped_bit_of_a_file_is_noticed_and_the_file_named(data: st.DataObject) -> None:
    path = data.draw(st.sampled_from([p for p in MODEL.rglob("*") if p.is_file()]))
    whole = path.read_bytes()
    SIGNATURE.write_bytes(BY_KEY)
    changed = flipped(whole, data.draw(st.integers(0, 8 * len(whole) - 1))) if whole else b"\0"
    path.write_bytes(changed)
    try:
        with pytest.raises(Verification) as raised:
            verify(MODEL, SIGNATURE, TRUST, now=NOW)
        assert f"{path.relative_to(MODEL).as_posix()!r} was changed" in raised.value.message
    finally:
        path.write_bytes(whole)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=400))
def test_whatever_bytes_are_given_for_a_signature_are_refused(data: bytes) -> None:
    refused(data, TRUST)


@settings(max_examples=40, deadline=None)
@given(
    st.dictionaries(
        st.text(
            st.characters(min_codepoint=32, max_codepoint=0x24F, exclude_characters="/\\\x7f"),
            min_size=1,
            max_size=12,
        ).filter(lambda name: name not in (".", "..") and not name.startswith(".git")),
        st.binary(max_size=64),
        min_size=1,
        max_size=8,
    )
)
def test_whatever_can_be_signed_verifies(files: dict[str, bytes]) -> None:
    from assay.errors import Usage

    with tempfile.TemporaryDirectory() as made:
        model = Path(made) / "m"
        try:
            document = sign(folder(model, files), SIGNER)
        except Usage:
            return  # Names that only differ by case, or control signs.
        (Path(made) / "m.sig").write_bytes(bundle.encoded(document))
        assert set(verify(model, Path(made) / "m.sig", TRUST, now=NOW).files) == set(files)
