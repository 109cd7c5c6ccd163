"""A cosigned checkpoint beside a file that was made before there was one."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest

from assay.errors import AssayError, Corrupt, Verification
from assay.evidence import merkle, notes, witnessed
from assay.evidence.cosignatures import COSIGNATURE, VerifierKey, cosign, read_note
from assay.evidence.signers import MemorySigner

AT = datetime(2026, 3, 4, tzinfo=timezone.utc)
LOG, WITNESS = MemorySigner.generate(), MemorySigner.generate()
KEY = VerifierKey.of("example.com/ledger", LOG.public)
SEEN = VerifierKey.of("w.example", WITNESS.public, COSIGNATURE)
LEAVES = [merkle.leaf_hash(b"%d" % n) for n in range(21)]
SPECIFIED = """old 20852014
PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=
jrJZDmY8Y7SyJE0MWLpLozkIVMSMZcD5kvuKxPC3swk=
5+pKlUdi2LeF/BcMHBn+Ku6yhPGNCswZZD1X/6QgPd8=
/6WVhPs2CwSsb5rYBH5cjHV/wSmA79abXAwhXw3Kj/0=

example.com/behind-the-sofa
20852163
CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=
— example.com/behind-the-sofa opLqBQsREYCgu6xQkYQwJr9fo45a62DN9EdmHXnZdXNqlcVGlCum2Wks+49/V6267UEjw6QUXTS5Rovnzv++qbSzm9Q=
""".encode()  # noqa: E501


def hash_at(level: int, index: int) -> bytes:
    return merkle.root(LEAVES[index << level : (index + 1) << level])


def note(size: int) -> bytes:
    return notes.sign_checkpoint(KEY.name, size, merkle.root(LEAVES[:size]), AT, LOG)


def made(old: int, new: int) -> bytes:
    whole = note(new)
    whole += cosign(read_note(whole).text, SEEN.name, WITNESS, AT)
    return witnessed.encode(old, merkle.consistency_proof(old, new, hash_at), whole)


def test_the_request_of_the_specification_reads_and_writes_the_same() -> None:
    old, proof, whole = witnessed.decode(SPECIFIED)
    assert (old, len(proof), read_note(whole).size) == (20852014, 4, 20852163)
    assert witnessed.encode(old, proof, whole) == SPECIFIED


@pytest.mark.parametrize("old", range(1, 22))
def test_an_earlier_checkpoint_is_the_beginning_of_the_cosigned_one(old: int) -> None:
    found = witnessed.verify(made(old, 21), read_note(note(old)), KEY, [SEEN], 1, now=AT)
    assert [c.witness for c in found] == ["w.example"]


def test_another_history_is_not_its_beginning() -> None:
    forked = notes.sign_checkpoint(KEY.name, 7, bytes(32), AT, LOG)
    with pytest.raises(Verification):
        witnessed.verify(made(7, 21), read_note(forked), KEY, [SEEN], 1)
    with pytest.raises(Corrupt):
        witnessed.verify(made(7, 21), read_note(note(8)), KEY, [SEEN], 1)


def believed(data: bytes) -> None:
    witnessed.verify(data, read_note(note(7)), KEY, [SEEN], 1)
    notes.parse_checkpoint(witnessed.decode(data)[2], KEY.name, LOG.public)


WHOLE = made(7, 21)


@pytest.mark.parametrize("at", range(len(WHOLE)))
def test_no_byte_is_free(at: int) -> None:
    believed(WHOLE)
    with pytest.raises(AssayError):
        believed(WHOLE[:at] + bytes([WHOLE[at] ^ 1]) + WHOLE[at + 1 :])


@pytest.mark.parametrize(
    "data",
    [b"", b"old 1", b"old 01\n\n", b"old 1\nAA==\n\n", b"old 1\n\xff\n\n", b"old -1\n\n"],
)
def test_what_is_no_such_text_is_refused(data: bytes) -> None:
    with pytest.raises(Corrupt):
        witnessed.decode(data)


def test_more_hashes_than_a_tree_has_levels_are_refused() -> None:
    line = "A" * 43 + "=\n"
    with pytest.raises(Corrupt):
        witnessed.decode(f"old 1\n{line * 64}\n".encode() + note(3))
