"""Proofs that a log broke its promise: they hold when it did, and never when it did not."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay import canonical
from assay.errors import AssayError, Verification
from assay.evidence import merkle, misbehaviour, notes
from assay.evidence.cosignatures import VerifierKey
from assay.evidence.signers import MemorySigner

AT = datetime(2026, 3, 4, tzinfo=timezone.utc)
LOG = MemorySigner.generate()
KEY = VerifierKey.of("example.com/ledger", LOG.public)
Tree = list[bytes]


def tree(size: int, salt: int = 0) -> Tree:
    return [merkle.leaf_hash(b"%d/%d" % (salt, n)) for n in range(size)]


def mth(hashes: Tree) -> bytes:
    """RFC 6962 section 2.1, word for word: the reference."""
    if not hashes:
        return hashlib.sha256(b"").digest()
    if len(hashes) == 1:
        return hashes[0]
    k = 1
    while k * 2 < len(hashes):
        k *= 2
    return hashlib.sha256(b"\x01" + mth(hashes[:k]) + mth(hashes[k:])).digest()


def hash_at(hashes: Tree) -> merkle.HashAt:
    return lambda level, index: mth(hashes[index << level : (index + 1) << level])


def note(hashes: Tree, minutes: int = 0) -> bytes:
    at = AT + timedelta(minutes=minutes)
    return notes.sign_checkpoint(KEY.name, len(hashes), mth(hashes), at, LOG)


def fork(small: Tree, large: Tree) -> bytes:
    path = misbehaviour.path_between(len(small), len(large), hash_at(large))
    return misbehaviour.fork(KEY, note(small), note(large, 1), path)


sizes = st.integers(1, 300).flatmap(lambda n: st.tuples(st.just(n), st.integers(n + 1, 301)))


@settings(max_examples=120)
@given(sizes)
def test_the_path_leads_to_both_roots_of_the_reference(of: tuple[int, int]) -> None:
    old, new = of
    hashes = tree(new)
    path = misbehaviour.path_between(old, new, hash_at(hashes))
    assert misbehaviour.roots_of(old, new, path) == (mth(hashes[:old]), mth(hashes))


@settings(max_examples=60)
@given(sizes)
def test_a_fork_between_any_two_sizes_is_proven(of: tuple[int, int]) -> None:
    old, new = of
    proven = misbehaviour.verify(fork(tree(old, 1), tree(new)), KEY)
    assert (proven.kind, proven.sizes) == ("fork", of)


@settings(max_examples=60)
@given(sizes)
def test_honest_growth_is_never_called_a_fork(of: tuple[int, int]) -> None:
    old, new = of
    hashes = tree(new)
    with pytest.raises(Verification, match="extends the smaller"):
        fork(hashes[:old], hashes)


@settings(max_examples=60)
@given(sizes, st.binary(min_size=32, max_size=32), st.integers(0, 8))
def test_hashes_of_no_tree_prove_nothing_about_an_honest_log(
    of: tuple[int, int], wrong: bytes, at: int
) -> None:
    old, new = of
    hashes = tree(new)
    path = misbehaviour.path_between(old, new, hash_at(hashes))
    path[at % len(path)] = wrong
    for tried in (path, path[1:], [*path, wrong], [], [wrong[:31]]):
        with pytest.raises(Verification):
            misbehaviour.fork(KEY, note(hashes[:old]), note(hashes), tried)


def test_two_trees_of_one_size_are_a_fork() -> None:
    made = misbehaviour.fork(KEY, note(tree(5)), note(tree(5, 1), 9))
    proven = misbehaviour.verify(made)
    assert proven.sizes == (5, 5)
    assert proven.times == ("2026-03-04T00:00:00.000Z", "2026-03-04T00:09:00.000Z")


def test_one_tree_signed_twice_is_no_fork() -> None:
    with pytest.raises(Verification, match="same tree"):
        misbehaviour.fork(KEY, note(tree(5)), note(tree(5), 9))


def test_the_empty_tree_is_the_beginning_of_every_tree() -> None:
    with pytest.raises(Verification):
        misbehaviour.fork(KEY, note([]), note(tree(3)))


def test_a_smaller_tree_called_the_largest_later_is_a_roll_back() -> None:
    made = misbehaviour.rollback(KEY, note(tree(9)), note(tree(4), 1))
    assert misbehaviour.verify(made, KEY).sizes == (9, 4)


@pytest.mark.parametrize(
    ("before", "after"), [((9, 1), (4, 0)), ((9, 1), (4, 1)), ((4, 0), (9, 1))]
)
def test_an_older_copy_is_no_roll_back(before: tuple[int, int], after: tuple[int, int]) -> None:
    first, second = (note(tree(size), minutes) for size, minutes in (before, after))
    with pytest.raises(Verification):
        misbehaviour.rollback(KEY, first, second)


def test_without_the_logs_times_there_is_no_proof_of_a_roll_back() -> None:
    def plain(signed: bytes) -> bytes:
        return b"\n".join(signed.split(b"\n")[:5]) + b"\n"

    with pytest.raises(Verification):
        misbehaviour.rollback(KEY, plain(note(tree(9))), plain(note(tree(4), 1)))
    assert misbehaviour.fork(KEY, plain(note(tree(9))), plain(note(tree(9, 1))))


def test_what_another_key_signed_proves_nothing() -> None:
    other = MemorySigner.generate()
    forged = notes.sign_checkpoint(KEY.name, 5, mth(tree(5, 1)), AT, other)
    with pytest.raises(AssayError):
        misbehaviour.fork(KEY, note(tree(5)), forged)


def test_a_proof_about_another_log_than_the_known_one_is_refused() -> None:
    made = misbehaviour.fork(KEY, note(tree(5)), note(tree(5, 1)))
    with pytest.raises(Verification, match="another key"):
        misbehaviour.verify(made, VerifierKey.of(KEY.name, MemorySigner.generate().public))


MADE = fork(tree(5, 1), tree(11))


@pytest.mark.parametrize("at", range(len(MADE)))
def test_no_byte_of_a_proof_is_free(at: int) -> None:
    altered = MADE[:at] + bytes([MADE[at] ^ 1]) + MADE[at + 1 :]
    with pytest.raises(AssayError):
        misbehaviour.verify(altered, KEY)


def test_unknown_fields_and_formats_are_refused() -> None:
    plain = canonical.decode(MADE)
    for changed in ({**plain, "more": 1}, {**plain, "format": "assay/misbehaviour/v2"}, [plain]):
        with pytest.raises(AssayError):
            misbehaviour.verify(canonical.encode(changed), KEY)


@given(st.binary(max_size=200))
def test_no_bytes_break_the_reader(data: bytes) -> None:
    with pytest.raises(AssayError):
        misbehaviour.verify(data)
