"""The Merkle tree against RFC 6962's definitions and against every tampering."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.errors import Verification
from assay.evidence import merkle

# The reference tree of Certificate Transparency's own test suites.
CT_LEAVES = [
    "",
    "00",
    "10",
    "2021",
    "3031",
    "40414243",
    "5051525354555657",
    "606162636465666768696a6b6c6d6e6f",
]
CT_ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


def leaves(count: int, salt: int = 0) -> list[bytes]:
    return [merkle.leaf_hash(b"%d/%d" % (salt, index)) for index in range(count)]


def mth(hashes: list[bytes]) -> bytes:
    """RFC 6962 section 2.1, word for word."""
    if not hashes:
        return hashlib.sha256(b"").digest()
    if len(hashes) == 1:
        return hashes[0]
    k = 1
    while k * 2 < len(hashes):
        k *= 2
    return hashlib.sha256(b"\x01" + mth(hashes[:k]) + mth(hashes[k:])).digest()


def reader(hashes: list[bytes], touched: list[tuple[int, int]] | None = None) -> merkle.HashAt:
    def hash_at(level: int, index: int) -> bytes:
        if touched is not None:
            touched.append((level, index))
        part = hashes[index << level : (index + 1) << level]
        assert len(part) == 1 << level
        return mth(part)

    return hash_at


@pytest.mark.parametrize("size", range(9))
def test_roots_are_those_of_certificate_transparency(size: int) -> None:
    hashes = [merkle.leaf_hash(bytes.fromhex(text)) for text in CT_LEAVES[:size]]
    assert merkle.root(hashes).hex() == CT_ROOTS[size]


@given(st.integers(0, 700))
@settings(deadline=None, max_examples=40)
def test_the_root_follows_the_definition(size: int) -> None:
    assert merkle.root(leaves(size)) == mth(leaves(size))


@given(st.lists(st.integers(0, 600), max_size=6))
@settings(deadline=None, max_examples=40)
def test_a_frontier_grown_in_any_steps_has_the_root_of_all_leaves(steps: list[int]) -> None:
    hashes = leaves(sum(steps))
    frontier = merkle.Frontier()
    full: list[merkle.FullTile] = []
    for step in steps:
        full += frontier.extend(hashes[frontier.size : frontier.size + step])
    assert frontier.size == len(hashes)
    assert frontier.root() == mth(hashes)
    assert len([tile for tile in full if tile[0] == 0]) == len(hashes) // 256
    for level, index, tile in full:
        span = 256**level
        expected = [mth(hashes[(index * 256 + i) * span :][:span]) for i in range(256)]
        assert tile == expected


def test_a_frontier_crosses_tile_levels() -> None:
    hashes = leaves(65_537)
    frontier = merkle.Frontier()
    full = frontier.extend(hashes)
    assert [len(level) for level in frontier.levels] == [1, 0, 1]
    assert [(level, index) for level, index, _ in full if level] == [(1, 0)]
    assert frontier.root() == merkle.root(hashes)


def test_a_frontier_of_the_wrong_shape_is_refused() -> None:
    with pytest.raises(ValueError, match="not the right edge"):
        merkle.Frontier(3, [leaves(2)])
    with pytest.raises(ValueError, match="not the right edge"):
        merkle.Frontier(256, [leaves(256)])


@given(st.data())
@settings(deadline=None, max_examples=60)
def test_every_leaf_is_provable_and_no_other_claim_is(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 300))
    index = data.draw(st.integers(0, size - 1))
    hashes = leaves(size)
    root = mth(hashes)
    proof = merkle.inclusion_proof(index, size, reader(hashes))
    merkle.verify_inclusion(hashes[index], index, size, proof, root)
    wrong: list[tuple[bytes, int, int, list[bytes], bytes]] = [
        (leaves(1, salt=1)[0], index, size, proof, root),
        (hashes[index], index + 1, size, proof, root),
        (hashes[index], -1, size, proof, root),
        (hashes[index], size, size, proof, root),
        (hashes[index], index, size, [*proof, root], root),
        (hashes[index], index, size, [*proof, b"short"], root),
        (hashes[index], index, size, proof, leaves(1, salt=2)[0]),
    ]
    if proof:
        at = data.draw(st.integers(0, len(proof) - 1))
        flipped = bytes([proof[at][0] ^ 1]) + proof[at][1:]
        wrong.append((hashes[index], index, size, [*proof[:at], flipped, *proof[at + 1 :]], root))
        wrong.append((hashes[index], index, size, proof[:-1], root))
    for claim in wrong:
        with pytest.raises(Verification):
            merkle.verify_inclusion(*claim)


@given(st.data())
@settings(deadline=None, max_examples=80)
def test_every_extension_is_provable_and_no_fork_is(data: st.DataObject) -> None:
    new = data.draw(st.integers(1, 300))
    old = data.draw(st.integers(0, new))
    hashes = leaves(new)
    old_root, new_root = mth(hashes[:old]), mth(hashes)
    proof = merkle.consistency_proof(old, new, reader(hashes))
    merkle.verify_consistency(old, new, old_root, new_root, proof)
    other = leaves(1, salt=3)[0]
    with pytest.raises(Verification):
        merkle.verify_consistency(old, new, other, new_root, proof)
    with pytest.raises(Verification):
        merkle.verify_consistency(old, new, old_root, new_root, [*proof, other])
    with pytest.raises(Verification):
        merkle.verify_consistency(new + 1, new, old_root, new_root, proof)
    if 0 < old < new:
        with pytest.raises(Verification):
            merkle.verify_consistency(old, new, old_root, other, proof)
        with pytest.raises(Verification):
            merkle.verify_consistency(old, new, old_root, new_root, proof[:-1])
        with pytest.raises(Verification):
            merkle.verify_consistency(old, new, old_root, new_root, [])
        forked = [leaves(1, salt=4)[0], *hashes[1:]]
        with pytest.raises(Verification):
            merkle.verify_consistency(old, new, mth(forked[:old]), new_root, proof)


@pytest.mark.parametrize("size", [1, 2, 255, 256, 257, 1000, 4095])
def test_proofs_read_logarithmically_many_subtrees(size: int) -> None:
    hashes = leaves(size)
    bound = 2 * size.bit_length()
    for index in {0, size // 2, size - 1}:
        touched: list[tuple[int, int]] = []
        proof = merkle.inclusion_proof(index, size, reader(hashes, touched))
        assert len(proof) <= size.bit_length()
        assert len(touched) <= bound
        touched.clear()
        proof = merkle.consistency_proof(index + 1, size, reader(hashes, touched))
        assert len(proof) <= size.bit_length() + 1
        assert len(touched) <= bound


def test_proofs_of_what_does_not_exist_are_not_made() -> None:
    with pytest.raises(ValueError, match="not in a tree"):
        merkle.inclusion_proof(3, 3, reader(leaves(3)))
    with pytest.raises(ValueError, match="cannot extend"):
        merkle.consistency_proof(4, 3, reader(leaves(3)))
