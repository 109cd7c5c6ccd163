"""Checkpoints: signed notes, read strictly."""

from __future__ import annotations

import base64
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.errors import AssayError, Corrupt, Usage, Verification
from assay.evidence import notes
from assay.evidence.signers import MemorySigner

ORIGIN = "example.com/ledger"
AT = datetime(2026, 3, 4, 5, 6, 7, 890000, tzinfo=timezone.utc)
ROOT = bytes(range(32))
SIGNER = MemorySigner.generate()
NOTE = notes.sign_checkpoint(ORIGIN, 12345, ROOT, AT, SIGNER)


def test_a_signed_checkpoint_reads_back_with_its_time_in_whole_seconds() -> None:
    found = notes.parse_checkpoint(NOTE, ORIGIN, SIGNER.public)
    assert found == notes.Checkpoint(ORIGIN, 12345, ROOT, AT.replace(microsecond=0))
    assert notes.time_text(found) == "2026-03-04T05:06:07.000Z"


def test_the_text_is_that_of_the_specification() -> None:
    lines = NOTE.decode().split("\n")
    assert lines[:4] == [ORIGIN, "12345", base64.b64encode(ROOT).decode(), ""]
    assert [line.split(" ")[:2] for line in lines[4:6]] == [["—", ORIGIN], ["—", ORIGIN]]
    assert lines[6:] == [""]
    sizes = [len(base64.b64decode(line.split(" ")[2])) for line in lines[4:6]]
    assert sizes == [4 + 64, 4 + 8 + 64]


def test_key_ids_are_those_of_the_go_checksum_database() -> None:
    encoded = base64.b64decode("ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW")
    found = notes.key_id("PeterNeumann", encoded[:1], encoded[1:])
    assert found.hex() == "c74f20a3"


@pytest.mark.parametrize("at", range(len(NOTE)))
def test_no_byte_of_a_checkpoint_is_free(at: int) -> None:
    for bit in (0, 3, 7):
        altered = NOTE[:at] + bytes([NOTE[at] ^ (1 << bit)]) + NOTE[at + 1 :]
        with pytest.raises(AssayError):
            notes.parse_checkpoint(altered, ORIGIN, SIGNER.public)
    for shorter in (NOTE[:at], NOTE[:at] + NOTE[at + 1 :]):
        with pytest.raises(AssayError):
            notes.parse_checkpoint(shorter, ORIGIN, SIGNER.public)


def _lines(note: bytes) -> tuple[bytes, list[bytes]]:
    text, _, tail = note.rpartition(b"\n\n")
    return text + b"\n", tail.splitlines(keepends=True)


def test_signatures_of_unknown_keys_are_ignored_when_well_formed() -> None:
    witness = f"— witness.example/w1 {base64.b64encode(bytes(76)).decode()}\n".encode()
    same_name = f"— {ORIGIN} {base64.b64encode(bytes(68)).decode()}\n".encode()
    found = notes.parse_checkpoint(NOTE + witness * 14 + same_name, ORIGIN, SIGNER.public)
    assert found.size == 12345


@pytest.mark.parametrize(
    "line",
    [
        "— witness.example/w1 !!!!\n",
        "— witness.example/w1\n",
        "- witness.example/w1 AAAAAAAAAAA=\n",
        "— wit+ness AAAAAAAAAAA=\n",
        "— wit\u2003ness AAAAAAAAAAA=\n",
        "—  AAAAAAAAAAA=\n",
        "— witness.example/w1 AAAA\n",
        "— witness.example/w1 AAAAAAAAAAB=\n",
        "— witness.example/w1 AAAAAAAAAAA=",
        "\n",
        "more text\n",
        "\x00\n",
        "\r\n",
    ],
)
def test_malformed_signature_lines_are_refused(line: str) -> None:
    with pytest.raises(Corrupt):
        notes.parse_checkpoint(NOTE + line.encode(), ORIGIN, SIGNER.public)


def test_both_the_signature_and_the_timestamp_must_be_there_once() -> None:
    text, (plain, timed) = _lines(NOTE)
    for kept in ([plain], [timed]):
        with pytest.raises(Verification):
            notes.parse_checkpoint(text + b"\n" + b"".join(kept), ORIGIN, SIGNER.public)
    with pytest.raises(Corrupt):
        notes.parse_checkpoint(NOTE + timed, ORIGIN, SIGNER.public)


def test_a_timestamp_of_another_checkpoint_does_not_count() -> None:
    other = notes.sign_checkpoint(ORIGIN, 12346, ROOT, AT, SIGNER)
    text, (plain, _) = _lines(NOTE)
    _, (_, timed) = _lines(other)
    with pytest.raises(Verification):
        notes.parse_checkpoint(text + b"\n" + plain + timed, ORIGIN, SIGNER.public)


def test_another_key_or_another_origin_is_refused() -> None:
    with pytest.raises(Verification):
        notes.parse_checkpoint(NOTE, ORIGIN, MemorySigner.generate().public)
    with pytest.raises(Verification):
        notes.parse_checkpoint(NOTE, "example.com/other", SIGNER.public)


@pytest.mark.parametrize(
    "text",
    [
        f"{ORIGIN}\n012\n{base64.b64encode(ROOT).decode()}\n",
        f"{ORIGIN}\n-1\n{base64.b64encode(ROOT).decode()}\n",
        f"{ORIGIN}\n١\n{base64.b64encode(ROOT).decode()}\n",
        f"{ORIGIN}\n9223372036854775808\n{base64.b64encode(ROOT).decode()}\n",
        f"{ORIGIN}\n1\n{base64.b64encode(ROOT[:31]).decode()}\n",
        f"{ORIGIN}\n1\n{base64.b64encode(ROOT).decode()}\nan extension\n",
        f"{ORIGIN}\n1\n",
    ],
)
def test_a_wrong_body_is_refused_even_when_signed(text: str) -> None:
    raw = notes.raw_ed25519(SIGNER.public)
    body = text.encode()
    plain = notes.key_id(ORIGIN, b"\x01", raw) + SIGNER.sign(body)
    cosigned = SIGNER.sign(b"cosignature/v1\ntime 7\n" + body)
    timed = notes.key_id(ORIGIN, b"\x04", raw) + (7).to_bytes(8, "big") + cosigned
    lines = "".join(f"— {ORIGIN} {base64.b64encode(s).decode()}\n" for s in (plain, timed))
    with pytest.raises(Corrupt):
        notes.parse_checkpoint(body + b"\n" + lines.encode(), ORIGIN, SIGNER.public)


@pytest.mark.parametrize("seconds", [253402300800, (1 << 64) - 1])
def test_a_time_beyond_the_calendar_is_refused(seconds: int) -> None:
    text, (plain, _) = _lines(NOTE)
    raw = notes.raw_ed25519(SIGNER.public)
    cosigned = SIGNER.sign(f"cosignature/v1\ntime {seconds}\n".encode() + text)
    timed = notes.key_id(ORIGIN, b"\x04", raw) + seconds.to_bytes(8, "big") + cosigned
    line = f"— {ORIGIN} {base64.b64encode(timed).decode()}\n".encode()
    with pytest.raises(Corrupt):
        notes.parse_checkpoint(text + b"\n" + plain + line, ORIGIN, SIGNER.public)


@pytest.mark.parametrize("origin", ["", "two words", "a+b", "a\nb", "a\x00b", "x" * 256])
def test_an_origin_that_cannot_name_a_key_is_refused(origin: str) -> None:
    with pytest.raises(Usage):
        notes.sign_checkpoint(origin, 0, ROOT, AT, SIGNER)


def test_only_an_ed25519_key_signs_checkpoints() -> None:
    with pytest.raises(Usage):
        notes.sign_checkpoint(ORIGIN, 0, ROOT, AT, MemorySigner.generate("ecdsa-p256-sha256"))


@given(st.binary(max_size=400))
@settings(deadline=None)
def test_any_bytes_are_refused_without_a_traceback(data: bytes) -> None:
    for note in (data, NOTE[:100] + data, data + NOTE[-100:]):
        with pytest.raises((Corrupt, Verification)):
            notes.parse_checkpoint(note, ORIGIN, SIGNER.public)


def test_a_note_over_the_limit_is_refused() -> None:
    with pytest.raises(Corrupt):
        notes.parse_checkpoint(b"a" * (notes.LIMIT + 1), ORIGIN, SIGNER.public)


@given(st.integers(0, 1 << 62), st.integers(0, 253402300799))
@settings(deadline=None, max_examples=30)
def test_every_size_and_time_reads_back(size: int, seconds: int) -> None:
    when = datetime.fromtimestamp(seconds, timezone.utc)
    note = notes.sign_checkpoint(ORIGIN, size, ROOT, when + timedelta(microseconds=5), SIGNER)
    assert notes.parse_checkpoint(note, ORIGIN, SIGNER.public) == notes.Checkpoint(
        ORIGIN, size, ROOT, when
    )
