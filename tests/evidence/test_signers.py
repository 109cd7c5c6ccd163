"""Keys and signatures: one algorithm for each key, one spelling for each signature."""

from __future__ import annotations

import base64
import os
import stat
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa, x25519
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.errors import AssayError, Corrupt, NotFound, Usage, Verification
from assay.evidence.signers import (
    ALGORITHMS,
    Algorithm,
    FileSigner,
    MemorySigner,
    PublicKey,
    is_protected,
)

ED, EC = MemorySigner.generate(), MemorySigner.generate("ecdsa-p256-sha256")
MESSAGE = b"a message"
ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


def spki(key: Any) -> str:
    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(der).decode()


def raw_ed25519(point: bytes) -> PublicKey:
    """A public key of any 32 bytes."""
    der = bytes.fromhex("302a300506032b6570032100") + point
    return PublicKey("ed25519", base64.b64encode(der).decode())


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_signature_holds_for_its_message_and_key_only(algorithm: Algorithm) -> None:
    signer = MemorySigner.generate(algorithm)
    signature = signer.sign(MESSAGE)
    signer.public.verify(signature, MESSAGE)
    assert signer.public.keyid.startswith(f"{algorithm}:")
    for other, message in ((signer, MESSAGE + b" "), (MemorySigner.generate(algorithm), MESSAGE)):
        with pytest.raises(Verification, match="does not hold"):
            other.public.verify(signature, message)


@pytest.mark.parametrize("signer", [ED, EC], ids=ALGORITHMS)
def test_no_bit_of_a_signature_is_free(signer: MemorySigner) -> None:
    signature = signer.sign(MESSAGE)
    spoilt = [signature[:-1], signature + b"\0", b"", signature + signature]
    for at in range(len(signature)):
        for bit in range(8):
            changed = bytearray(signature)
            changed[at] ^= 1 << bit
            spoilt.append(bytes(changed))
    for other in spoilt:
        with pytest.raises(Verification):
            signer.public.verify(other, MESSAGE)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=100))
def test_junk_is_no_signature(junk: bytes) -> None:
    for signer in (ED, EC):
        with pytest.raises(Verification):
            signer.public.verify(junk, MESSAGE)


def test_ecdsa_signs_in_the_low_form_and_refuses_the_high_one() -> None:
    for number in range(40):
        message = b"%d" % number
        signature = EC.sign(message)
        r, s = decode_dss_signature(signature)
        assert s <= ORDER // 2
        high = encode_dss_signature(r, ORDER - s)
        with pytest.raises(Verification):
            EC.public.verify(high, message)


def test_ecdsa_signatures_have_one_spelling() -> None:
    r, s = decode_dss_signature(EC.sign(MESSAGE))

    def integer(value: int, pad: int) -> bytes:
        body = b"\0" * pad + value.to_bytes(33, "big").lstrip(b"\0")
        body = body if body[0] < 0x80 else b"\0" + body
        return bytes([2, len(body)]) + body

    def sequence(*parts: bytes, long: bool = False) -> bytes:
        body = b"".join(parts)
        return (b"\x30\x81" if long else b"\x30") + bytes([len(body)]) + body

    EC.public.verify(sequence(integer(r, 0), integer(s, 0)), MESSAGE)
    for other in (
        sequence(integer(r, 0), integer(s, 0), long=True),
        sequence(integer(r, 2), integer(s, 0)),
        sequence(integer(r, 0), integer(s, 2)),
        sequence(integer(r, 0), integer(s, 0)) + b"\0",
        sequence(integer(r, 0), integer(s, 0), b"\x05\x00"),
        sequence(integer(r, 0), integer(0, 1)),
        sequence(integer(r + ORDER, 0), integer(s, 0)),
    ):
        with pytest.raises(Verification):
            EC.public.verify(other, MESSAGE)


# -- public keys ----------------------------------------------------------------------------------


def test_the_key_id_names_the_algorithm_and_the_key() -> None:
    seed = ed25519.Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
    assert MemorySigner(seed).public.keyid == "ed25519:a050837d85070582ccf7394b0988847c"
    assert len({ED.public.keyid, EC.public.keyid, MemorySigner.generate().public.keyid}) == 3


def test_a_key_of_one_algorithm_is_none_of_another() -> None:
    for signer, other in ((ED, "ecdsa-p256-sha256"), (EC, "ed25519")):
        confused = msgspec.structs.replace(signer.public, algorithm=other)
        with pytest.raises(Corrupt, match="not a public key"):
            _ = confused.keyid
        with pytest.raises(Corrupt, match="not a public key"):
            confused.verify(signer.sign(MESSAGE), MESSAGE)


@pytest.mark.parametrize(
    "key",
    [
        ec.generate_private_key(ec.SECP384R1()),
        ec.generate_private_key(ec.SECP256K1()),
        rsa.generate_private_key(65537, 2048),
        ed448.Ed448PrivateKey.generate(),
        x25519.X25519PrivateKey.generate(),
    ],
    ids=["p384", "secp256k1", "rsa", "ed448", "x25519"],
)
def test_keys_of_other_kinds_are_refused(key: Any, tmp_path: Path) -> None:
    for algorithm in ALGORITHMS:
        with pytest.raises(Corrupt):
            _ = PublicKey(algorithm, spki(key.public_key())).keyid
    path = keep(tmp_path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    with pytest.raises(Corrupt, match="algorithm that is not used here"):
        FileSigner.load(path)


@pytest.mark.parametrize(
    "text",
    ["", "AAAA", "!", "é", ED.public.spki[:-4], ED.public.spki + "AAAA", ED.public.spki + "\n"],
    ids=["empty", "short", "no base64", "no ASCII", "cut", "longer", "with a newline"],
)
def test_what_is_no_key_is_refused(text: str) -> None:
    for algorithm in ALGORITHMS:
        with pytest.raises(Corrupt):
            _ = PublicKey(algorithm, text).keyid


def test_a_key_has_one_spelling() -> None:
    point = ec.derive_private_key(7, ec.SECP256R1()).public_key()
    compressed = point.public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    head = bytes.fromhex("3039301306072a8648ce3d020106082a8648ce3d030107032200")
    text = base64.b64encode(head + compressed).decode()
    with pytest.raises(Corrupt):
        _ = PublicKey("ecdsa-p256-sha256", text).keyid
    assert PublicKey("ecdsa-p256-sha256", spki(point)).keyid
    # The last character before the padding has bits that nothing reads.
    free = ED.public.spki[:-2] + chr(ord(ED.public.spki[-2]) + 1) + "="
    with pytest.raises(Corrupt):
        _ = PublicKey("ed25519", free).keyid


P = 2**255 - 19
D = -121665 * pow(121666, -1, P) % P


def _add(a: tuple[int, int], b: tuple[int, int]) -> tuple[int, int]:
    """The sum of two points of edwards25519 (RFC 8032 section 5.1.4, in affine coordinates)."""
    (x1, y1), (x2, y2) = a, b
    k = D * x1 * x2 * y1 * y2
    x3 = (x1 * y2 + x2 * y1) * pow(1 + k, -1, P) % P
    return x3, (y1 * y2 + x1 * x2) * pow(1 - k, -1, P) % P


def _recover(y: int) -> tuple[int, int]:
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if x * x % P != square:
        x = x * pow(2, (P - 1) // 4, P) % P
    assert x * x % P == square
    return x, y


Y8 = 0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7


@pytest.mark.parametrize(("y", "order"), [(0, 4), (1, 1), (P - 1, 2), (Y8, 8), (P - Y8, 8)])
def test_a_point_of_small_order_is_no_key(y: int, order: int) -> None:
    point, total, count = _recover(y), (0, 1), 0
    while True:
        total, count = _add(total, point), count + 1
        if total == (0, 1):
            break
    assert count == order
    for sign in (0, 1 << 255):
        with pytest.raises(Corrupt, match="not a public key"):
            raw_ed25519((y | sign).to_bytes(32, "little")).verify(bytes([1]) + bytes(63), MESSAGE)


@pytest.mark.parametrize("y", range(P, 2**255))
def test_a_point_has_no_second_spelling(y: int) -> None:
    for sign in (0, 1 << 255):
        with pytest.raises(Corrupt):
            _ = raw_ed25519((y | sign).to_bytes(32, "little")).keyid


def test_a_signer_shows_no_secret() -> None:
    assert repr(ED) == f"MemorySigner({ED.public.keyid})"


# -- key files ------------------------------------------------------------------------------------


def keep(folder: Path, data: bytes, mode: int = 0o600) -> Path:
    path = folder / "kept.pem"
    path.write_bytes(data)
    path.chmod(mode)
    return path


def pem(signer: Any = None, protection: KeySerializationEncryption | None = None) -> bytes:
    key = (signer or ED)._key
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, protection or NoEncryption())


@pytest.mark.parametrize("passphrase", [None, "correct horse", "é" * 100, "\udcff"])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_key_file_reads_back(
    passphrase: str | None, algorithm: Algorithm, tmp_path: Path
) -> None:
    path = tmp_path / "key.pem"
    made = FileSigner.create(path, passphrase, algorithm)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["key.pem"]
    read = FileSigner.load(path, passphrase)
    assert read.public == made.public
    made.public.verify(read.sign(MESSAGE), MESSAGE)
    assert is_protected(path) is (passphrase is not None)


def test_a_key_file_is_opened_by_its_passphrase_only(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    FileSigner.create(path, "right")
    for wrong in ("wrong", "right ", "Right"):
        with pytest.raises(Verification, match="passphrase does not open"):
            FileSigner.load(path, wrong)
    for none in (None, ""):
        with pytest.raises(Verification, match="is protected by a passphrase") as refused:
            FileSigner.load(path, none)
        assert "ASSAY_PASSPHRASE" in refused.value.remedy
    bare = tmp_path / "bare.pem"
    FileSigner.create(bare)
    with pytest.raises(Verification, match="is not protected"):
        FileSigner.load(bare, "any")


@pytest.mark.parametrize("passphrase", ["", "x" * 1024])
def test_a_passphrase_that_cannot_serve_is_refused_before_a_file_is_made(
    passphrase: str, tmp_path: Path
) -> None:
    with pytest.raises(Usage, match="passphrase"):
        FileSigner.create(tmp_path / "key.pem", passphrase)
    assert list(tmp_path.iterdir()) == []


def test_a_key_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    FileSigner.create(path)
    before = path.read_bytes()
    (tmp_path / "link.pem").symlink_to(path)
    (tmp_path / "dangling.pem").symlink_to(tmp_path / "elsewhere.pem")
    for name in ("key.pem", "link.pem", "dangling.pem"):
        with pytest.raises(Usage, match="never overwritten"):
            FileSigner.create(tmp_path / name)
    assert path.read_bytes() == before
    assert not (tmp_path / "elsewhere.pem").exists()
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o610, 0o601, 0o666, 0o644])
def test_a_key_that_others_can_use_is_refused(mode: int, tmp_path: Path) -> None:
    path = keep(tmp_path, pem(), mode)
    with pytest.raises(Verification, match="others than its owner") as refused:
        FileSigner.load(path)
    assert "chmod 600" in refused.value.remedy


def test_a_key_is_not_read_through_a_link_nor_from_what_is_no_file(tmp_path: Path) -> None:
    path = keep(tmp_path, pem())
    (tmp_path / "link").symlink_to(path)
    os.mkfifo(tmp_path / "pipe", 0o600)
    (tmp_path / "folder").mkdir()
    for name in ("link", "pipe", "folder"):
        for read in (FileSigner.load, is_protected):
            with pytest.raises(Usage):
                read(tmp_path / name)
    for read in (FileSigner.load, is_protected):
        with pytest.raises(NotFound):
            read(tmp_path / "missing")


def test_text_before_a_bare_key_does_not_pass_for_protection(tmp_path: Path) -> None:
    path = keep(tmp_path, b"-----BEGIN ENCRYPTED\n" + pem())
    assert is_protected(path) is False
    with pytest.raises(Corrupt, match="no key in PEM"):
        FileSigner.load(path)
    assert is_protected(keep(tmp_path, pem(EC, BestAvailableEncryption(b"x")))) is True


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0" * 100,
        b"-----BEGIN PRIVATE KEY-----\n",
        b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        pem()[:-40],
        pem().replace(b"PRIVATE", b"PUBLIC"),
        EC._key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()),
    ],
    # The keys are new in every process: their bytes must not name the tests.
    ids=["empty", "zeros", "no end", "no key", "cut", "public", "of another form"],
)
def test_what_is_no_key_file_is_refused(data: bytes, tmp_path: Path) -> None:
    path = keep(tmp_path, data)
    with pytest.raises(Corrupt, match="no key in PEM"):
        FileSigner.load(path)


@settings(max_examples=60, deadline=None)
@given(at=st.integers(0, 2**12), junk=st.binary(min_size=1, max_size=6))
def test_a_damaged_key_file_raises_nothing_but_ours(
    at: int, junk: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    data = pem()
    at %= len(data)
    path = keep(tmp_path_factory.mktemp("key"), data[:at] + junk + data[at + len(junk) :])
    try:
        read = FileSigner.load(path)
    except AssayError:
        return
    read.public.verify(read.sign(MESSAGE), MESSAGE)
