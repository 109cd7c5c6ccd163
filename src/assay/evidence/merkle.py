"""Merkle trees as RFC 6962 section 2.1 defines them, over SHA-256.

A proof is computed through a `HashAt` reader of complete subtrees, so it touches O(log n) of the
tree wherever its hashes are kept.  `Frontier` is the right edge of a growing tree in the shape of
C2SP tlog-tiles (256 hashes wide), from which both the next tiles and the root follow.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

from assay.errors import Verification

WIDTH = 256
"""Hashes in a full tile; a tile spans a subtree of height 8."""

EMPTY_ROOT = hashlib.sha256(b"").digest()

HashAt: TypeAlias = Callable[[int, int], bytes]
"""``hash_at(level, index)``: the root of leaves ``[index << level, (index + 1) << level)``."""

FullTile: TypeAlias = tuple[int, int, list[bytes]]
"""Tile level, tile index, and its 256 hashes."""

_sha256 = hashlib.sha256


def leaf_hash(data: bytes) -> bytes:
    """The hash of one leaf's bytes (RFC 6962 section 2.1), 32 bytes."""
    return _sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of an inner node (RFC 6962 section 2.1), 32 bytes."""
    return _sha256(b"\x01" + left + right).digest()


def _pair_up(hashes: Sequence[bytes]) -> list[bytes]:
    """One level up from an even number of hashes."""
    return [
        _sha256(b"\x01" + hashes[at] + hashes[at + 1]).digest() for at in range(0, len(hashes), 2)
    ]


def root(leaf_hashes: Sequence[bytes]) -> bytes:
    """The root of a tree given all of its leaf hashes."""
    if not leaf_hashes:
        return EMPTY_ROOT
    level = list(leaf_hashes)
    while len(level) > 1:
        # An odd last hash is promoted unchanged: the same tree as RFC 6962's split at the
        # largest power of two.
        odd = level[-1:] if len(level) % 2 else []
        level = _pair_up(level[: len(level) - len(odd)]) + odd
    return level[0]


def _split(count: int) -> int:
    """The largest power of two smaller than `count`."""
    return 1 << ((count - 1).bit_length() - 1)


def _range_root(start: int, end: int, hash_at: HashAt) -> bytes:
    """The Merkle tree hash of leaves ``[start, end)``, where `start` begins a subtree."""
    count = end - start
    if count & (count - 1) == 0:
        level = count.bit_length() - 1
        return hash_at(level, start >> level)
    middle = start + _split(count)
    return node_hash(_range_root(start, middle, hash_at), _range_root(middle, end, hash_at))


def inclusion_proof(index: int, size: int, hash_at: HashAt) -> list[bytes]:
    """The audit path (RFC 6962 section 2.1.1) of leaf `index` in the tree of `size` leaves.

    Hashes run from the leaf's sibling up.  Raises `ValueError` unless ``0 <= index < size``.
    """
    if not 0 <= index < size:
        raise ValueError(f"leaf {index} is not in a tree of {size}")
    start, end = 0, size
    path: list[bytes] = []
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            path.append(_range_root(middle, end, hash_at))
            end = middle
        else:
            path.append(_range_root(start, middle, hash_at))
            start = middle
    path.reverse()
    return path


def verify_inclusion(
    leaf: bytes, index: int, size: int, proof: Sequence[bytes], expected: bytes
) -> None:
    """Check an audit path (RFC 9162 section 2.1.3.2); `leaf` is a leaf hash.

    Raises `Verification` unless it leads from `leaf` at `index` to the root `expected`.
    """
    if not 0 <= index < size:
        raise Verification(f"leaf {index} is not in a tree of {size}", code="merkle.inclusion")
    at, last, here = index, size - 1, leaf
    for node in proof:
        if last == 0 or len(node) != 32:
            raise Verification("the inclusion proof has a wrong length", code="merkle.inclusion")
        if at & 1 or at == last:
            here = node_hash(node, here)
            while not at & 1 and at:
                at >>= 1
                last >>= 1
        else:
            here = node_hash(here, node)
        at >>= 1
        last >>= 1
    if last != 0 or here != expected:
        raise Verification(
            f"the inclusion proof does not lead from leaf {index} to the root of {size} leaves",
            code="merkle.inclusion",
        )


def consistency_proof(old: int, new: int, hash_at: HashAt) -> list[bytes]:
    """The proof (RFC 6962 section 2.1.2) that the tree of `new` leaves extends that of `old`.

    Empty when ``old`` is 0 or equals ``new``.  Raises `ValueError` unless ``0 <= old <= new``.
    """
    if not 0 <= old <= new:
        raise ValueError(f"a tree of {new} cannot extend one of {old}")
    if old in (0, new):
        return []
    start, end, whole = 0, new, True
    path: list[bytes] = []
    while old != end:
        middle = start + _split(end - start)
        if old <= middle:
            path.append(_range_root(middle, end, hash_at))
            end = middle
        else:
            path.append(_range_root(start, middle, hash_at))
            start, whole = middle, False
    if not whole:
        path.append(_range_root(start, end, hash_at))
    path.reverse()
    return path


def verify_consistency(
    old: int, new: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]
) -> None:
    """Check a consistency proof (RFC 9162 section 2.1.4.2); raises `Verification`."""
    wrong = Verification(
        f"the tree of {new} leaves does not extend the one of {old}", code="merkle.consistency"
    )
    if not 0 <= old <= new or any(len(node) != 32 for node in proof):
        raise wrong
    if old in (0, new):
        same = old_root == (EMPTY_ROOT if old == 0 else new_root)
        if proof or not same or (new == 0 and new_root != EMPTY_ROOT):
            raise wrong
        return
    path = list(proof)
    if old & (old - 1) == 0:
        path.insert(0, old_root)
    if not path:
        raise wrong
    at, last = old - 1, new - 1
    while at & 1:
        at >>= 1
        last >>= 1
    first = second = path[0]
    for node in path[1:]:
        if last == 0:
            raise wrong
        if at & 1 or at == last:
            first = node_hash(node, first)
            second = node_hash(node, second)
            while not at & 1 and at:
                at >>= 1
                last >>= 1
        else:
            second = node_hash(second, node)
        at >>= 1
        last >>= 1
    if last != 0 or first != old_root or second != new_root:
        raise wrong


class Frontier:
    """The right edge of a tree: at each tile level, the hashes of the tile not yet full."""

    __slots__ = ("levels", "size")

    def __init__(self, size: int = 0, levels: Iterable[Sequence[bytes]] = ()) -> None:
        """`levels[l]` holds ``(size >> 8 * l) % 256`` hashes; raises `ValueError` otherwise."""
        self.size = size
        self.levels = [list(level) for level in levels]
        expected = [(size >> (8 * level)) % WIDTH for level in range(tile_levels(size))]
        if [len(level) for level in self.levels] != expected:
            raise ValueError(f"not the right edge of a tree of {size}")

    def extend(self, leaf_hashes: Sequence[bytes]) -> list[FullTile]:
        """Append leaves; returns the tiles that became full, level by level."""
        full: list[FullTile] = []
        carry = list(leaf_hashes)
        level = 0
        while carry:
            if level == len(self.levels):
                self.levels.append([])
            edge = self.levels[level] + carry
            first = self.size >> (8 * (level + 1))
            whole = len(edge) // WIDTH * WIDTH
            done = [edge[at : at + WIDTH] for at in range(0, whole, WIDTH)]
            full += [(level, first + number, tile) for number, tile in enumerate(done)]
            carry = [root(tile) for tile in done]
            self.levels[level] = edge[whole:]
            level += 1
        self.size += len(leaf_hashes)
        return full

    def root(self) -> bytes:
        """The root of the whole tree, from its peaks."""
        here: bytes | None = None
        for level in self.levels:
            start = len(level)
            while start:
                width = start & -start
                start -= width
                peak = root(level[start : start + width])
                here = peak if here is None else node_hash(peak, here)
        return EMPTY_ROOT if here is None else here

    def copy(self) -> Frontier:
        """An independent frontier of the same tree."""
        return Frontier(self.size, self.levels)


def tile_levels(size: int) -> int:
    """How many levels of tiles a tree of `size` leaves has."""
    return (size.bit_length() + 7) // 8
