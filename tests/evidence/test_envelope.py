"""Envelopes: DSSE in one spelling, no bit of which is free."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from assay import canonical
from assay.canonical import digest
from assay.clock import FixedClock
from assay.errors import Corrupt, Usage, Verification
from assay.evidence import envelope as dsse
from assay.evidence.envelope import Envelope, Signature
from assay.evidence.signers import MemorySigner
from assay.evidence.statement import Header, Statement, Subject

GOLDEN = Path(__file__).parents[1] / "golden" / "envelope-v1.json"
CLOCK = FixedClock(datetime(2026, 3, 4, 5, 6, 7, tzinfo=timezone.utc))

ALICE = MemorySigner.generate()
BOB = MemorySigner.generate("ecdsa-p256-sha256")
STATEMENT = Statement.new(
    subject={"model": digest(b"model")},
    predicate_type="https://example.com/x/v1",
    predicate={"auc": 0.5},
    project="fraud",
    producer="test/1",
    clock=CLOCK,
)
SIGNED = dsse.sign(STATEMENT, ALICE, BOB)
RAW = dsse.encode(SIGNED)
KEYS = {signer.public.keyid: signer.public for signer in (ALICE, BOB)}


def both(raw: bytes) -> list[str]:
    """Decode, verify by both keys, and read: as the ledger's readers do."""
    envelope = dsse.decode(raw)
    found = dsse.verify(envelope, KEYS)
    envelope.statement()
    return found


# -- the format -----------------------------------------------------------------------------------


def test_the_pre_authentication_encoding_is_that_of_the_specification() -> None:
    # https://github.com/secure-systems-lab/dsse/blob/master/protocol.md, "Test Vectors".
    expected = b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    assert dsse.pae("http://example.com/HelloWorld", b"hello world") == expected
    assert dsse.pae("", b"") == b"DSSEv1 0  0 "
    assert dsse.pae("é", b"\xff 1") == b"DSSEv1 2 \xc3\xa9 3 \xff 1"


def test_the_specifications_own_signature_would_not_pass_for_ours() -> None:
    document = {
        "payload": "aGVsbG8gd29ybGQ=",
        "payloadType": "http://example.com/HelloWorld",
        "signatures": [{"keyid": "66301bbf", "sig": "A3JqsQGtVsJ2O2xqrI5IcnXip5GToJ3F+FnZ+O88"}],
    }
    with pytest.raises(Corrupt, match="not one of in-toto"):
        dsse.decode(json.dumps(document, separators=(",", ":")).encode())


def test_what_is_signed_is_checked_by_another_implementation_of_the_same_words() -> None:
    document = json.loads(RAW)
    assert set(document) == {"payload", "payloadType", "signatures"}
    assert document["payloadType"] == "application/vnd.in-toto+json"
    body = base64.b64decode(document["payload"])
    assert body == STATEMENT.encode()
    words = b" ".join(
        [b"DSSEv1", b"28", b"application/vnd.in-toto+json", str(len(body)).encode(), body]
    )
    ALICE.public.verify(base64.b64decode(document["signatures"][0]["sig"]), words)


def test_the_format_has_not_drifted() -> None:
    golden = json.loads(GOLDEN.read_text())
    key = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(golden["private_key"]))
    signer = MemorySigner(key)
    statement = Statement(
        "https://in-toto.io/Statement/v1",
        [Subject("model", {"sha256": hashlib.sha256(b"model").hexdigest()})],
        "https://assay.dev/evidence/quality/v1",
        {"rows": 12345, "auc": {"value": 0.91, "lower": 1e-7}, "text": 'é\u2028"\\\n', "no": None},
        Header(
            "019cb8c0-0000-7000-8000-000000000000",
            "fraud",
            "assay.assess.quality/1",
            golden["issued"],
        ),
    )
    signed = dsse.sign(statement, signer)
    assert signer.public.keyid == golden["keyid"]
    assert signer.public.spki == golden["spki"]
    assert statement.encode().decode() == golden["statement"]
    assert dsse.encode(signed).decode() == golden["envelope"]
    assert dsse.envelope_digest(signed) == golden["digest"]
    read = dsse.decode(golden["envelope"].encode())
    assert dsse.verify(read, {golden["keyid"]: signer.public}) == [golden["keyid"]]
    assert read.statement() == statement


def test_an_envelope_is_canonical_json_whose_digest_is_that_of_its_bytes() -> None:
    assert canonical.encode(json.loads(RAW)) == RAW
    assert dsse.envelope_digest(SIGNED) == digest(RAW)
    assert dsse.decode(RAW) == SIGNED
    assert SIGNED.statement() == STATEMENT


# -- no bit is free -------------------------------------------------------------------------------


def test_the_untouched_envelope_is_verified_by_each_key_and_by_both() -> None:
    assert both(RAW) == [ALICE.public.keyid, BOB.public.keyid]
    for signer in (ALICE, BOB):
        keyid = signer.public.keyid
        assert dsse.verify(SIGNED, {keyid: signer.public}) == [keyid]


def test_no_bit_of_an_envelope_is_free() -> None:
    for at in range(len(RAW)):
        for bit in range(8):
            altered = RAW[:at] + bytes([RAW[at] ^ (1 << bit)]) + RAW[at + 1 :]
            with contextlib.suppress(Corrupt, Verification):
                # A key id that names nobody takes its signature away, and adds none.
                assert len(both(altered)) == 1


def test_no_bit_is_free_when_one_key_signed() -> None:
    raw = dsse.encode(dsse.sign(STATEMENT, ALICE))
    for at in range(len(raw)):
        for bit in range(8):
            altered = raw[:at] + bytes([raw[at] ^ (1 << bit)]) + raw[at + 1 :]
            with pytest.raises((Corrupt, Verification)):
                both(altered)


def test_no_byte_can_be_taken_away_or_added() -> None:
    raw = dsse.encode(dsse.sign(STATEMENT, BOB))
    for at in range(len(raw)):
        for altered in (raw[:at], raw[:at] + raw[at + 1 :], raw[:at] + b"A" + raw[at:]):
            with pytest.raises((Corrupt, Verification)):
                both(altered)


def test_signatures_cannot_be_exchanged() -> None:
    first, second = SIGNED.signatures
    swapped = (Signature(first.keyid, second.sig), Signature(second.keyid, first.sig))
    with pytest.raises(Verification):
        dsse.verify(msgspec.structs.replace(SIGNED, signatures=swapped), KEYS)


def test_a_signature_is_over_the_type_too() -> None:
    with pytest.raises(Verification):
        dsse.verify(msgspec.structs.replace(SIGNED, payloadType="text/plain"), KEYS)


# -- who signed -----------------------------------------------------------------------------------


def test_a_signature_by_an_unknown_key_is_ignored() -> None:
    stranger = Signature("ed25519:" + "0" * 32, canonical.b64(bytes(64)))
    extended = msgspec.structs.replace(SIGNED, signatures=(stranger, *SIGNED.signatures))
    assert both(dsse.encode(extended)) == list(KEYS)


def test_a_broken_signature_by_a_known_key_refuses_the_good_ones_too() -> None:
    first, second = SIGNED.signatures
    broken = Signature(first.keyid, canonical.b64(bytes(64)))
    for signatures in ((broken, second), (second, broken)):
        with pytest.raises(Verification, match="does not hold"):
            both(dsse.encode(msgspec.structs.replace(SIGNED, signatures=signatures)))


def test_an_envelope_by_nobody_known_is_refused_and_says_by_whom() -> None:
    with pytest.raises(Verification, match=ALICE.public.keyid) as refused:
        dsse.verify(SIGNED, {})
    assert refused.value.code == "verification.envelope.unknown_signer"


def test_a_key_filed_under_another_id_verifies_nothing() -> None:
    with pytest.raises(Verification, match="is another"):
        dsse.verify(SIGNED, {ALICE.public.keyid: BOB.public})
    mallory = MemorySigner.generate()
    forged = dsse.sign(STATEMENT, mallory)
    renamed = Signature(ALICE.public.keyid, forged.signatures[0].sig)
    posing = msgspec.structs.replace(forged, signatures=(renamed,))
    with pytest.raises(Verification):
        dsse.verify(posing, {ALICE.public.keyid: mallory.public})
    with pytest.raises(Verification):
        dsse.verify(posing, KEYS)


def test_a_key_signs_once() -> None:
    first, _ = SIGNED.signatures
    twice = msgspec.structs.replace(SIGNED, signatures=(first, first))
    with pytest.raises(Corrupt, match="twice"):
        dsse.decode(dsse.encode(twice))


# -- one spelling ---------------------------------------------------------------------------------


def _respelt() -> dict[str, bytes]:
    document: dict[str, Any] = json.loads(RAW)
    compact = (",", ":")
    reordered = {key: document[key] for key in reversed(document)}
    sig = document["signatures"][0]["sig"].encode()
    keyid = document["signatures"][0]["keyid"].encode()
    payload = document["payload"].encode()
    return {
        "spaces": json.dumps(document).encode(),
        "order": json.dumps(reordered, separators=compact).encode(),
        "tail": RAW + b"\n",
        "two": RAW + RAW,
        "duplicate": RAW[:-1] + b',"payload":"' + payload + b'"}',
        "duplicate before": b'{"payload":"AAAA",' + RAW[1:],
        "duplicate signature": RAW.replace(b'"sig":', b'"sig":"AAAA","sig":', 1),
        "unknown": RAW[:-1] + b',"x":1}',
        "unknown in signature": RAW.replace(b'{"keyid"', b'{"cert":"x","keyid"', 1),
        "escape": RAW.replace(b"in-toto", b"in\\u002dtoto"),
        "escaped key id": RAW.replace(keyid, b"\\u0065" + keyid[1:]),
        "slash": RAW.replace(b"application/", b"application\\/"),
        "payload without padding": RAW.replace(payload, payload.rstrip(b"=") + b"A"),
        "payload with a line": RAW.replace(payload, payload[:4] + b"\\n" + payload[4:]),
        "sig without padding": RAW.replace(sig, sig.rstrip(b"=")),
        "sig for urls": RAW.replace(sig, sig[:-4] + b"-_A="),
        "sig with free bits": RAW.replace(sig, sig[:-3] + bytes([sig[-3] + 1]) + b"=="),
        "empty sig": RAW.replace(sig, b""),
        "null": b"null",
        "array": b"[]",
        "nothing": b"",
        "no signature": json.dumps({**document, "signatures": []}, separators=compact).encode(),
        "not utf-8": RAW.replace(keyid, b"\xff\xfe"),
        "lone surrogate": RAW.replace(keyid, b"\\ud800"),
        "not ascii": RAW.replace(keyid, "é".encode()),
        "nul": RAW.replace(keyid, b"\\u0000"),
        "deep": RAW.replace(b'"' + payload + b'"', b"[" * 50_000),
        "another type": RAW.replace(b"in-toto", b"in-tota"),
    }


@pytest.mark.parametrize("spelling", sorted(_respelt()))
def test_another_spelling_is_refused(spelling: str) -> None:
    raw = _respelt()[spelling]
    assert raw != RAW
    with pytest.raises((Corrupt, Verification)):
        both(raw)


def test_signatures_by_unknown_keys_have_one_spelling_too() -> None:
    for sig in ("", "AB==", "AA", "A-_=", "AA==\n"):
        stranger = Signature("ed25519:" + "0" * 32, sig)
        extended = msgspec.structs.replace(SIGNED, signatures=(*SIGNED.signatures, stranger))
        if sig:
            with pytest.raises(Corrupt):
                dsse.decode(dsse.encode(extended))
        else:
            assert both(dsse.encode(extended)) == list(KEYS)


@settings(max_examples=300, deadline=None)
@given(data=st.binary(max_size=40), at=st.integers(0, 2**16), cut=st.integers(0, 60))
def test_junk_raises_nothing_but_ours(data: bytes, at: int, cut: int) -> None:
    at %= len(RAW)
    spoilt = RAW[:at] + data + RAW[at + cut :]
    with contextlib.suppress(Corrupt, Verification):
        assert len(both(spoilt)) == (2 if spoilt == RAW else 1)


# -- bounds ---------------------------------------------------------------------------------------


def test_too_many_signatures_and_too_many_bytes_are_refused_both_ways() -> None:
    many = [MemorySigner.generate() for _ in range(33)]
    assert len(dsse.decode(dsse.encode(dsse.sign(STATEMENT, *many[:32]))).signatures) == 32
    with pytest.raises(Usage):
        dsse.sign(STATEMENT, *many)
    signatures = tuple(Signature(str(number), "AAAA") for number in range(33))
    with pytest.raises(Corrupt):
        dsse.decode(dsse.encode(msgspec.structs.replace(SIGNED, signatures=signatures)))
    large = msgspec.structs.replace(STATEMENT, predicate={"x": "y" * dsse.LIMIT})
    with pytest.raises(Usage, match="too large"):
        dsse.sign(large, ALICE)
    with pytest.raises(Corrupt, match="larger than"):
        dsse.decode(b" " * (dsse.LIMIT + 1))


def test_an_envelope_without_a_signer_is_not_made() -> None:
    with pytest.raises(Usage, match="needs a signature"):
        dsse.sign(STATEMENT)


def test_the_payload_is_read_only_after_it_was_asked_for() -> None:
    hollow = Envelope(canonical.b64(b"{}"), dsse.PAYLOAD_TYPE, SIGNED.signatures)
    assert dsse.decode(dsse.encode(hollow)) == hollow
    with pytest.raises(Verification):
        dsse.verify(hollow, KEYS)
    with pytest.raises(Corrupt):
        hollow.statement()
