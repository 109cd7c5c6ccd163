"""Keeping a store in order: collect what nobody needs, audit the rest, settle after a crash.

Nothing is deleted on the word of the backend alone.  A content goes in three steps that can each
be repeated: its entry is copied to ``condemned/…``, removed from the index, and then, unless a
lease appeared, its blob is deleted.  A put that shares a content leases it before it looks whether
it is there, so it either keeps the content or sees it gone and keeps its own.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Literal

import msgspec

from assay import files
from assay.errors import AssayError, Corrupt, NotFound, Verification
from assay.store.blobs import Blobs
from assay.store.index import GRACE, LIMIT, Index, Indexed
from assay.store.rings import SHREDDED, Ring
from assay.types import Digest

if TYPE_CHECKING:
    from assay.store.store import Store

PREFIXES = ("blobs/", "index/", "leases/", "condemned/")


class Problem(msgspec.Struct, frozen=True):
    """Something wrong with what is kept: the object or file, and what about it."""

    path: str
    kind: Literal["missing", "altered", "stray"]
    what: str


class Collected(msgspec.Struct):
    """What a collection did."""

    kept: int = 0
    """Contents that stay."""
    deleted: int = 0
    """Contents that nothing refers to."""
    strays: int = 0
    """Blobs without an index entry, and what interrupted writes left."""
    shredded: int = 0
    """Objects of destroyed rings."""
    bytes: int = 0
    """Bytes given back."""
    doubtful: list[str] = msgspec.field(default_factory=list[str])
    """Index entries that cannot be read: while there are any, their ring's strays stay."""


# -- collecting -----------------------------------------------------------------------------------


def collect(
    store: Store,
    blobs: Blobs,
    index: Index,
    reachable: Iterable[tuple[str, Digest]],
    now: datetime,
) -> Collected:
    """See `Store.collect`; the caller holds the lock."""
    settle(store, blobs, index, now)
    rings = [store.rings.ring(name) for name in store.rings.names()]
    receipts = store.rings.receipts()
    needed = _reachable(store, index, reachable)  # Raises before anything is deleted.
    report = Collected()
    for ring in rings:
        held: set[str] = set()
        doubtful = False
        for name in list(index.names(ring)):
            try:
                entry = index.read(ring, name)
            except NotFound:
                continue
            except (Verification, Corrupt):
                report.doubtful.append(index.key(ring, name))
                doubtful = True
                continue
            if (ring.name, entry.digest) in needed or entry.since + GRACE > now:
                held.add(entry.blob)
                report.kept += 1
            elif _collect(store, blobs, index, ring, entry, now):
                report.deleted += 1
                report.bytes += entry.size
            else:
                held.add(entry.blob)
                report.kept += 1
        for found in list(blobs.list(f"leases/{ring.id}/")):
            index.leased(ring, found.key.split("/")[2], now)
        for found in [] if doubtful else list(blobs.list(f"blobs/{ring.id}/")):
            if found.key.rpartition("/")[2] not in held and found.modified + GRACE <= now:
                blobs.delete(found.key)
                report.strays += 1
                report.bytes += found.size
    alive = {ring.id for ring in rings}
    for receipt in receipts:
        if receipt.id and receipt.id not in alive:
            for prefix in PREFIXES:
                for found in list(blobs.list(f"{prefix}{receipt.id}/")):
                    blobs.delete(found.key)
                    report.shredded += 1
                    report.bytes += found.size
    return report


def _reachable(
    store: Store, index: Index, reachable: Iterable[tuple[str, Digest]]
) -> set[tuple[str, Digest]]:
    """`reachable` with the files of its trees; raises `Corrupt` when the index lacks any of it."""
    needed: set[tuple[str, Digest]] = set()
    waiting = list(reachable)
    while waiting:
        name, digest = waiting.pop()
        if (name, digest) in needed:
            continue
        try:
            entry = index.find(store.rings.ring(name), digest)
        except NotFound as error:
            if error.code == f"{NotFound.kind}.{SHREDDED}":
                continue
            raise
        if entry is None:
            raise Corrupt(
                f"{digest} of ring {name} is needed, but the index does not have it: nothing is "
                "deleted, because what looks like waste may be what the index has lost",
                remedy="restore the index from a copy of the blob store, or put the content again",
                code="store.collect",
            )
        needed.add((name, digest))
        if entry.tree:
            waiting += [(name, member.digest) for member in store.open_tree(name, digest)]
    return needed


def _collect(
    store: Store, blobs: Blobs, index: Index, ring: Ring, entry: Indexed, now: datetime
) -> bool:
    name = index.name(ring, entry.digest)
    if index.leased(ring, name, now):
        return False
    blobs.replace(index.condemned_key(ring, name), index.encode(ring, entry))
    files.point("store.condemned")
    blobs.delete(index.key(ring, name))
    files.point("store.unindexed")
    return _finish(store, blobs, index, ring, name, now)


def _finish(store: Store, blobs: Blobs, index: Index, ring: Ring, name: str, now: datetime) -> bool:
    """Bring a condemned content to its end; whether its blob was deleted."""
    condemned = index.condemned_key(ring, name)
    data = blobs.get(condemned, 0, LIMIT)
    entry = index.decode(ring, name, data)
    there = index.find(ring, entry.digest)
    if there is None and index.leased(ring, name, now):
        blobs.create(index.key(ring, name), data)
        there = index.find(ring, entry.digest)
    gone = there is None or there.blob != entry.blob
    if gone:
        blobs.delete(store.blob_key(ring, entry.blob))
        files.point("store.collected")
    blobs.delete(condemned)
    return gone


def settle(store: Store, blobs: Blobs, index: Index, now: datetime) -> list[str]:
    """Finish interrupted collections and remove old leftovers; says what was done."""
    done: list[str] = []
    for ring_name in store.rings.names():
        try:
            ring = store.rings.ring(ring_name)
            for found in list(blobs.list(f"condemned/{ring.id}/")):
                _finish(store, blobs, index, ring, found.key.rpartition("/")[2], now)
                done.append(f"finished an interrupted collection in ring {ring_name}")
        except (Corrupt, Verification) as error:  # `Store.check` names it; the rest goes on.
            done.append(f"left ring {ring_name} as it is: {error.message}")
    for found in list(blobs.leftovers()):
        if found.modified + GRACE <= now:
            blobs.delete(found.key)
            done.append(f"removed what an interrupted write left: {found.key}")
    return done


# -- auditing -------------------------------------------------------------------------------------


def audit(
    store: Store, blobs: Blobs, index: Index, expected: Iterable[tuple[str, Digest]]
) -> list[Problem]:
    """See `Store.check`."""
    problems = [Problem(str(path), "altered", what) for path, what in store.rings.check()]
    known: dict[str, str] = {}
    for name in store.rings.names():
        try:
            ring = store.rings.ring(name)
        except AssayError:
            continue  # Named above.
        known[ring.id] = f"ring {name}"
        problems += _audit_ring(store, blobs, index, ring)
    for name, digest in expected:
        problems += _expected(store, index, name, digest)
    destroyed: set[str] = set()
    with contextlib.suppress(AssayError):  # Named above.
        destroyed = {receipt.id for receipt in store.rings.receipts()}
    for found in list(blobs.list("")):
        prefix, _, rest = found.key.partition("/")
        ring_id = rest.partition("/")[0]
        if f"{prefix}/" not in PREFIXES:
            problems.append(Problem(found.key, "stray", "the store writes nothing by that name"))
        elif ring_id in destroyed:
            what = "of a destroyed ring: nobody can open it, and a collection deletes it"
            problems.append(Problem(found.key, "stray", what))
        elif ring_id not in known:
            problems.append(Problem(found.key, "stray", "no ring that can be opened has this id"))
    what = "left by an interrupted write, or being written now"
    problems += [Problem(found.key, "stray", what) for found in blobs.leftovers()]
    return problems


def _audit_ring(store: Store, blobs: Blobs, index: Index, ring: Ring) -> Iterator[Problem]:
    held: set[str] = set()
    present: set[Digest] = set()
    members: dict[Digest, str] = {}
    for name in list(index.names(ring)):
        key = index.key(ring, name)
        try:
            entry = index.read(ring, name)
        except NotFound:
            continue
        except (Verification, Corrupt) as error:
            yield Problem(key, "altered", error.message)
            continue
        held.add(entry.blob)
        present.add(entry.digest)
        blob = store.blob_key(ring, entry.blob)
        try:
            blobs.size(blob)
            store.rehash(ring, entry)
            if entry.tree:
                for member in store.open_tree(ring.name, entry.digest):
                    members[member.digest] = f"{member.path!a} of tree {entry.digest}"
        except NotFound:
            what = f"the blob of {entry.digest} of ring {ring.name} is not there"
            yield Problem(blob, "missing", what)
        except (Corrupt, Verification) as error:
            yield Problem(blob, "altered", error.message)
    for digest, where in members.items():
        if digest not in present:
            yield Problem(digest, "missing", f"{where}, ring {ring.name}, is not in the index")
    for found in list(blobs.list(f"condemned/{ring.id}/")):
        name = found.key.rpartition("/")[2]
        try:
            held.add(index.decode(ring, name, blobs.get(found.key, 0, LIMIT)).blob)
        except (Verification, Corrupt) as error:
            yield Problem(found.key, "altered", error.message)
    for found in list(blobs.list(f"blobs/{ring.id}/")):
        if found.key.rpartition("/")[2] not in held:
            what = f"no index entry of ring {ring.name} refers to it: interrupted, or being put now"
            yield Problem(found.key, "stray", what)


def _expected(store: Store, index: Index, name: str, digest: Digest) -> Iterator[Problem]:
    try:
        ring = store.rings.ring(name)
        if index.find(ring, digest) is None:
            yield Problem(digest, "missing", f"ring {name} does not have it in the index")
    except NotFound as error:
        if error.code != f"{NotFound.kind}.{SHREDDED}":
            yield Problem(name, "missing", error.message)
    except (Verification, Corrupt):
        return  # Named with the ring or the entry itself.
