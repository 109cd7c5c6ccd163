"""Verifier keys and cosignatures, against the specifications' examples and every tampering."""

from __future__ import annotations

import base64
import contextlib
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.errors import AssayError, Corrupt, Usage, Verification
from assay.evidence import notes
from assay.evidence.cosignatures import (
    COSIGNATURE,
    VerifierKey,
    check_log,
    cosign,
    merge,
    quorum,
    read_note,
    signed_by,
)
from assay.evidence.signers import MemorySigner

ORIGIN = "example.com/ledger"
AT = datetime(2026, 3, 4, 5, 6, 7, tzinfo=timezone.utc)
LOG = MemorySigner.generate()
LOG_KEY = VerifierKey.of(ORIGIN, LOG.public)
NOTE = notes.sign_checkpoint(ORIGIN, 12, bytes(range(32)), AT, LOG)
TEXT = read_note(NOTE).text
SIGNERS = [MemorySigner.generate() for _ in range(3)]
KEYS = [
    VerifierKey.of(f"w{n}.example", signer.public, COSIGNATURE) for n, signer in enumerate(SIGNERS)
]
PETER = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
PETERS_NOTE = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n"
)
PETERS_SIGNATURE = (
    "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM="
)
BEHIND_THE_SOFA = (
    "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n"
    "— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/"
    "Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n"
    "— witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJs"
    "X3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==\n"
).encode()


def cosigned(*numbers: int, at: datetime = AT) -> bytes:
    """The checkpoint, cosigned by some of the witnesses."""
    lines = [cosign(TEXT, KEYS[n].name, SIGNERS[n], at) for n in numbers]
    return NOTE + b"".join(lines)


def test_the_verifier_key_of_the_specification_reads_and_verifies_its_note() -> None:
    key = VerifierKey.parse(PETER)
    assert str(key) == PETER
    blob = base64.b64decode(PETERS_SIGNATURE)
    assert blob[:4] == key.id
    key.verify(blob[4:], PETERS_NOTE.encode())


def test_the_checkpoint_of_the_specification_is_taken_apart() -> None:
    note = read_note(BEHIND_THE_SOFA)
    assert (note.origin, note.size) == ("example.com/behind-the-sofa", 20852163)
    assert [name for name, _ in note.signatures] == [note.origin, "witness.example.com/w1"]
    # The time of the cosignature in tlog-cosignature's example: `time 1679315147`.
    assert int.from_bytes(note.signatures[1][1][4:12], "big") == 1679315147


def test_the_signed_message_is_that_of_the_specification() -> None:
    at = datetime.fromtimestamp(1679315147, timezone.utc)
    text = BEHIND_THE_SOFA.partition(b"\n\n")[0] + b"\n"
    blob = base64.b64decode(cosign(text, "w", SIGNERS[0], at).split(b" ")[2])
    SIGNERS[0].public.verify(blob[12:], b"cosignature/v1\ntime 1679315147\n" + text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "name",
        PETER.upper(),
        PETER.replace("c74f20a3", "c74f20a4"),
        PETER.replace("c74f20a3", "C74F20A3"),
        PETER + "\n",
        PETER[:-4],
        "a b+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
        "a+00000000+" + base64.b64encode(b"\x01" + bytes(32)).decode(),
        "a+00000000+" + base64.b64encode(b"\x05" + bytes(range(32))).decode(),
        "a+00000000+AA==",
    ],
)
def test_what_is_no_verifier_key_is_refused(text: str) -> None:
    with pytest.raises(Usage):
        VerifierKey.parse(text)


def test_a_key_of_small_order_is_no_verifier_key() -> None:
    raw = b"\x04" + bytes([1]) + bytes(31)
    id_ = notes.key_id("w", raw[:1], raw[1:]).hex()
    with pytest.raises(Usage):
        VerifierKey.parse(f"w+{id_}+{base64.b64encode(raw).decode()}")


@given(st.text(max_size=80))
def test_no_text_breaks_the_reader_of_verifier_keys(text: str) -> None:
    with pytest.raises(Usage):
        VerifierKey.parse(text)


def test_a_quorum_counts_each_witness_once_and_says_when() -> None:
    found = quorum(read_note(cosigned(0, 2)), LOG_KEY, KEYS, 2, now=AT)
    assert [(c.witness, c.at) for c in found] == [("w0.example", AT), ("w2.example", AT)]


@pytest.mark.parametrize("least", [1, 2, 3])
def test_fewer_than_the_quorum_are_refused(least: int) -> None:
    note = read_note(cosigned(*range(least - 1)))
    with pytest.raises(Verification, match="that are asked for"):
        quorum(note, LOG_KEY, KEYS, least, now=AT)


def test_an_unknown_witness_does_not_count() -> None:
    stranger = MemorySigner.generate()
    note = NOTE + cosign(TEXT, KEYS[0].name, stranger, AT)
    with pytest.raises(Verification):
        quorum(read_note(note), LOG_KEY, KEYS[:1], 1)


def test_one_key_under_two_names_is_one_witness() -> None:
    again = VerifierKey.of("other.example", SIGNERS[0].public, COSIGNATURE)
    with pytest.raises(Usage, match="not that many"):
        quorum(read_note(cosigned(0)), LOG_KEY, [KEYS[0], again], 2)


def test_the_logs_own_key_is_no_witness() -> None:
    own = VerifierKey.of(ORIGIN, LOG.public, COSIGNATURE)
    with pytest.raises(Usage):
        quorum(read_note(NOTE), LOG_KEY, [own], 1)


def test_a_logs_kind_of_key_is_no_witness() -> None:
    with pytest.raises(Usage):
        quorum(read_note(NOTE), LOG_KEY, [VerifierKey.of("x", SIGNERS[0].public)], 1)


@pytest.mark.parametrize("least", [0, -1, 4])
def test_a_quorum_that_makes_no_sense_is_refused(least: int) -> None:
    with pytest.raises(Usage):
        quorum(read_note(cosigned(0, 1, 2)), LOG_KEY, KEYS, least)


def test_a_cosignature_from_the_future_does_not_count() -> None:
    note = read_note(cosigned(0, at=AT + timedelta(hours=1)))
    with pytest.raises(Verification):
        quorum(note, LOG_KEY, KEYS[:1], 1, now=AT)
    assert quorum(note, LOG_KEY, KEYS[:1], 1, now=AT + timedelta(hours=1))


def test_a_cosignature_of_another_checkpoint_does_not_count() -> None:
    other = notes.sign_checkpoint(ORIGIN, 13, bytes(32), AT, LOG)
    line = cosign(read_note(other).text, KEYS[0].name, SIGNERS[0], AT)
    with pytest.raises(Verification, match="does not hold"):
        quorum(read_note(NOTE + line), LOG_KEY, KEYS[:1], 1)


def test_a_note_signature_does_not_pass_for_a_cosignature() -> None:
    blob = KEYS[0].id + SIGNERS[0].sign(TEXT)
    line = f"— {KEYS[0].name} {base64.b64encode(blob).decode()}\n".encode()
    with pytest.raises(Verification):
        quorum(read_note(NOTE + line), LOG_KEY, KEYS[:1], 1)


WHOLE = cosigned(0, 1)


def believed(data: bytes) -> None:
    """All that is ever asked of a checkpoint of ours: log, its time, and two witnesses."""
    note = read_note(data)
    check_log(note, LOG_KEY)
    quorum(note, LOG_KEY, KEYS[:2], 2)
    notes.parse_checkpoint(data, ORIGIN, LOG.public)


@pytest.mark.parametrize("at", range(len(WHOLE)))
def test_no_byte_of_a_cosigned_checkpoint_is_free(at: int) -> None:
    believed(WHOLE)
    for bit in (0, 6):
        with pytest.raises(AssayError):
            believed(WHOLE[:at] + bytes([WHOLE[at] ^ (1 << bit)]) + WHOLE[at + 1 :])


def test_another_logs_checkpoint_is_refused() -> None:
    other = notes.sign_checkpoint("example.com/other", 12, bytes(32), AT, LOG)
    with pytest.raises(Verification, match=r"not 'example\.com/ledger'"):
        check_log(read_note(other), LOG_KEY)


def test_a_checkpoint_without_the_logs_signature_is_refused() -> None:
    unsigned = TEXT + b"\n" + cosign(TEXT, KEYS[0].name, SIGNERS[0], AT)
    with pytest.raises(Verification, match="is missing"):
        check_log(read_note(unsigned), LOG_KEY)


def test_a_log_without_timestamps_is_believed_without_a_time() -> None:
    first = NOTE.split(b"\n")
    plain = b"\n".join(first[:5]) + b"\n"
    assert check_log(read_note(plain), LOG_KEY) is None
    assert check_log(read_note(NOTE), LOG_KEY) == AT


def test_extension_lines_of_other_logs_are_read_and_signed_over() -> None:
    text = b"example.com/x\n3\n" + base64.b64encode(bytes(32)) + b"\nmore\n"
    note = text + b"\n" + cosign(text, "w0.example", SIGNERS[0], AT)
    assert signed_by(read_note(note), KEYS[:1]) == {KEYS[0]: AT}
    for broken in (note.replace(b"more", b"less"), note.replace(b"more\n", b"")):
        with pytest.raises(Verification):
            signed_by(read_note(broken), KEYS[:1])


def test_our_own_checkpoints_have_no_extension_lines() -> None:
    with pytest.raises(Corrupt):
        notes.read_body(TEXT + b"more\n")


def test_cosignatures_are_added_and_a_newer_one_replaces_an_older() -> None:
    later = AT + timedelta(minutes=3)
    once = merge(NOTE, cosign(TEXT, KEYS[0].name, SIGNERS[0], AT), KEYS)
    twice = merge(once, cosign(TEXT, KEYS[0].name, SIGNERS[0], later), KEYS)
    assert len(twice) == len(once)
    assert signed_by(read_note(twice), KEYS) == {KEYS[0]: later}
    assert merge(twice, cosign(TEXT, KEYS[0].name, SIGNERS[0], AT), KEYS) == twice
    notes.parse_checkpoint(twice, ORIGIN, LOG.public)


def test_what_a_witness_says_beside_its_cosignature_is_not_taken_over() -> None:
    stranger = cosign(TEXT, "stranger.example", MemorySigner.generate(), AT)
    own = cosign(TEXT, KEYS[0].name, SIGNERS[0], AT)
    forged = f"— {ORIGIN} {base64.b64encode(LOG_KEY.id + bytes(64)).decode()}\n".encode()
    assert merge(NOTE, stranger + own + forged, KEYS) == NOTE + own


@pytest.mark.parametrize("lines", [b"", b"ok\n", b"\n\n", b"x" * 70_000, b"\xff\n"])
def test_an_answer_that_is_no_signature_line_is_refused(lines: bytes) -> None:
    with pytest.raises(Corrupt):
        merge(NOTE, lines, KEYS)


def test_an_answer_with_a_false_cosignature_is_refused() -> None:
    good = cosign(TEXT, KEYS[0].name, SIGNERS[0], AT)
    blob = bytearray(base64.b64decode(good.split(b" ")[2]))
    blob[-1] ^= 1
    line = f"— {KEYS[0].name} {base64.b64encode(blob).decode()}\n".encode()
    with pytest.raises(Verification):
        merge(NOTE, line, KEYS)


@settings(max_examples=200)
@given(st.binary(max_size=300))
def test_no_bytes_break_the_reader_of_checkpoints(data: bytes) -> None:
    for tried in (data, TEXT + b"\n" + data, data + NOTE):
        with contextlib.suppress(Corrupt):
            read_note(tried)
