"""Proofs beside artifacts: the form of C2SP tlog-proof, and what may not pass."""

from __future__ import annotations

import base64
import hashlib
from datetime import datetime, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.canonical import digest
from assay.clock import FixedClock
from assay.errors import AssayError, Corrupt, Usage, Verification
from assay.evidence import envelope as dsse
from assay.evidence import merkle, notes, tiles, tlog_proof
from assay.evidence.cosignatures import VerifierKey
from assay.evidence.signers import MemorySigner
from assay.evidence.statement import Statement, predicate_type

AT = datetime(2026, 3, 4, tzinfo=timezone.utc)
LOG = MemorySigner.generate()
KEY = VerifierKey.of("example.com/ledger", LOG.public)
STATEMENT = Statement.new(
    subject={"credit.onnx": digest(b"model")},
    predicate_type=predicate_type("model-version"),
    predicate={"name": "credit"},
    project="fraud",
    producer="assay.door/1",
    clock=FixedClock(AT),
)
ENVELOPE = dsse.encode(dsse.sign(STATEMENT, MemorySigner.generate()))
NONCE = bytes(range(32))
COMMITMENT = hashlib.sha256(NONCE + ENVELOPE).digest()
OWN = merkle.leaf_hash(tiles.leaf_bytes(COMMITMENT))


def mth(hashes: list[bytes]) -> bytes:
    """RFC 6962 section 2.1, word for word: the reference."""
    if len(hashes) == 1:
        return hashes[0]
    k = 1
    while k * 2 < len(hashes):
        k *= 2
    return hashlib.sha256(b"\x01" + mth(hashes[:k]) + mth(hashes[k:])).digest()


def audit_path(m: int, hashes: list[bytes]) -> list[bytes]:
    """RFC 6962 section 2.1.1, word for word."""
    if len(hashes) == 1:
        return []
    k = 1
    while k * 2 < len(hashes):
        k *= 2
    if m < k:
        return [*audit_path(m, hashes[:k]), mth(hashes[k:])]
    return [*audit_path(m - k, hashes[k:]), mth(hashes[:k])]


def made(size: int, index: int, extra: bytes | None = None) -> bytes:
    hashes = [merkle.leaf_hash(b"%d" % n) for n in range(size)]
    hashes[index] = OWN
    note = notes.sign_checkpoint(KEY.name, size, mth(hashes), AT, LOG)
    return tlog_proof.encode(index, audit_path(index, hashes), note, extra)


OPEN = tlog_proof.opening(COMMITMENT, NONCE, ENVELOPE)
BLIND = tlog_proof.opening(COMMITMENT)
PROOF = made(13, 5, OPEN)


def checked(data: bytes) -> int:
    found = tlog_proof.decode(data)
    return tlog_proof.verify(found, tlog_proof.open_leaf(found.extra).hash, KEY).size


def believed(data: bytes) -> None:
    """A proof, and a checkpoint that is one of ours: signed, and signed with its time."""
    checked(data)
    notes.parse_checkpoint(tlog_proof.decode(data).note, KEY.name, LOG.public)


@settings(max_examples=150)
@given(st.integers(1, 600).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n - 1))))
def test_a_proof_made_by_the_reference_verifies_and_ours_is_the_same(
    of: tuple[int, int],
) -> None:
    size, index = of
    data = made(size, index, BLIND)
    assert checked(data) == size
    hashes = [merkle.leaf_hash(b"%d" % n) for n in range(size)]
    hashes[index] = OWN

    def hash_at(level: int, at: int) -> bytes:
        return mth(hashes[at << level : (at + 1) << level])

    assert merkle.inclusion_proof(index, size, hash_at) == audit_path(index, hashes)


def test_the_text_has_the_form_of_the_specification() -> None:
    lines = PROOF.decode().split("\n")
    assert lines[0] == "c2sp.org/tlog-proof@v1"
    assert lines[1] == "extra " + base64.b64encode(OPEN).decode()
    assert lines[2] == "index 5"
    assert [len(base64.b64decode(line)) for line in lines[3:7]] == [32] * 4
    assert lines[7] == ""
    assert lines[8:10] == [KEY.name, "13"]
    assert made(1, 0).startswith(b"c2sp.org/tlog-proof@v1\nindex 0\n\nexample.com/ledger\n1\n")


def test_the_proof_of_an_opened_leaf_says_what_it_is_about() -> None:
    found = tlog_proof.decode(PROOF)
    opened = tlog_proof.open_leaf(found.extra)
    assert opened.envelope is not None
    assert opened.envelope.statement().subject[0].name == "credit.onnx"
    assert tlog_proof.verify(found, opened.hash, KEY).size == 13
    assert tlog_proof.open_leaf(BLIND) == tlog_proof.Opened(OWN, None)


@pytest.mark.parametrize("at", range(len(PROOF)))
def test_no_byte_of_a_proof_is_free(at: int) -> None:
    believed(PROOF)
    for bit in (0, 5):
        with pytest.raises(AssayError):
            believed(PROOF[:at] + bytes([PROOF[at] ^ (1 << bit)]) + PROOF[at + 1 :])


@pytest.mark.parametrize("cut", range(0, len(PROOF), 7))
def test_a_truncated_proof_is_refused(cut: int) -> None:
    with pytest.raises(AssayError):
        believed(PROOF[:cut])


@pytest.mark.parametrize(
    "change",
    [
        (b"index 5", b"index 05"),
        (b"index 5", b"index -5"),
        (b"index 5", b"index 13"),
        (b"index 5", b"index 5\nindex 5"),
        (b"index 5", b"index 5\r"),
        (b"@v1", b"@v2"),
        (b"\nextra", b"\nextra AA==\nextra"),
        (b"\nindex", b"\n" + b"A" * 43 + b"=\nindex"),
    ],
)
def test_another_spelling_is_refused(change: tuple[bytes, bytes]) -> None:
    with pytest.raises(AssayError):
        checked(PROOF.replace(*change, 1))


def test_another_logs_proof_is_refused() -> None:
    found = tlog_proof.decode(PROOF)
    for key in (
        VerifierKey.of(KEY.name, MemorySigner.generate().public),
        VerifierKey.of("example.com/other", LOG.public),
    ):
        with pytest.raises(Verification):
            tlog_proof.verify(found, OWN, key)


@pytest.mark.parametrize(
    "extra",
    [
        b"",
        b"{}",
        b'{"format":"assay/opening/v2"}',
        b'{"format":"assay/opening/v1"}',
        b'{"commitment":"AA==","format":"assay/opening/v1"}',
        b'{"commitment":"","format":"assay/opening/v1"}',
        BLIND.replace(b'"format"', b'"envelope":{},"format"'),
        OPEN.replace(b'"nonce"', b'"nonce2"'),
        b" " + BLIND,
    ],
    ids=range(9),
)
def test_extra_data_that_opens_nothing_is_refused(extra: bytes) -> None:
    with pytest.raises(AssayError):
        tlog_proof.open_leaf(extra)


def test_a_proof_without_extra_data_is_not_guessed_at() -> None:
    with pytest.raises(Usage, match="does not say what its leaf"):
        checked(made(3, 1))


def test_what_the_opening_says_is_bound_to_the_leaf() -> None:
    other = dsse.encode(dsse.sign(STATEMENT, MemorySigner.generate()))
    with pytest.raises(Verification):
        checked(made(13, 5, tlog_proof.opening(COMMITMENT, NONCE, other)))


def test_a_proof_too_large_to_look_into_is_refused() -> None:
    with pytest.raises(Corrupt):
        tlog_proof.decode(b"x" * (tlog_proof.LIMIT + 1))


@given(st.binary(max_size=200))
def test_no_bytes_break_the_reader(data: bytes) -> None:
    for tried in (data, b"c2sp.org/tlog-proof@v1\n" + data, PROOF + data):
        with pytest.raises(AssayError):
            checked(tried + b"x")
