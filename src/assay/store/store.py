"""The store: content under its digest, sealed before it leaves this process.

A blob is ``assay/blob/v1``, newline, its data key sealed by the ring, then the content sealed under
that data key (see `assay.store.sealing`).  Both seals are bound to the ring and to the blob's
random id.  The index maps (ring, digest) to that id; within a ring, content is kept once.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import io
import secrets
import shutil
from collections.abc import Generator, Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Protocol, cast

from assay import files
from assay.clock import timestamp
from assay.errors import Corrupt, NotFound, Unavailable, Usage, Verification
from assay.store import sealing, trees
from assay.store.blobs import Blobs, LocalBlobs
from assay.store.index import FORMAT as INDEX
from assay.store.index import Index, Indexed
from assay.store.keeping import Collected, Problem, audit, collect, settle
from assay.store.rings import SEALED_KEY, Ring, Rings
from assay.store.trees import TreeEntry
from assay.types import Digest

MAGIC = b"assay/blob/v1\n"
HEAD = len(MAGIC) + SEALED_KEY
"""Bytes before a blob's sealed content."""
_BUFFER = 1 << 18
_PIECE = 1 << 20


class _Hasher(Protocol):
    def update(self, data: bytes | memoryview, /) -> None: ...
    def hexdigest(self) -> str: ...


class Store:
    """Sealed blobs and trees over a backend, under a workspace's rings.

    Raises `NotFound` for a content or ring that is not there (``not_found.shredded`` once the ring
    was destroyed), `Corrupt` or `Verification` for what is damaged, and `Unavailable` when storage
    or key service is.
    """

    def __init__(self, where: Path | Blobs, rings: Rings) -> None:
        self.rings = rings
        self._blobs = LocalBlobs(where) if isinstance(where, Path) else where
        self._index = Index(self._blobs)

    # -- contents ---------------------------------------------------------------------------------

    def put(
        self,
        ring: str,
        source: bytes | BinaryIO | Path,
        *,
        salted: bool = False,
        careful: bool = False,
    ) -> Digest:
        """Seal and keep a content, durably; returns the digest it goes by.

        That is its plain SHA-256; with `salted` its HMAC-SHA-256 under the ring, for content that
        could be guessed and compared.  It is read once, in pieces of 1 MiB, and what is sealed is
        what is hashed.  It is not collected for 24 hours, even if it was there before; with
        `careful` what was there before is read, and replaced if it is damaged.
        """
        opened = self.rings.ring(ring)
        return self._put(opened, source, salted=salted, tree=False, careful=careful).digest

    def open(self, ring: str, digest: Digest) -> BinaryIO:
        """A seekable stream; whatever it returns is authenticated."""
        opened = self.rings.ring(ring)
        return self._open(opened, self._find(opened, digest))

    def read(self, ring: str, digest: Digest, limit: int) -> bytes:
        """A whole content, hashed again; raises `Usage` if it is larger than `limit` bytes."""
        opened = self.rings.ring(ring)
        entry = self._find(opened, digest)
        if entry.size > limit:
            raise Usage(
                f"{digest} has {entry.size} bytes, more than the {limit} allowed here",
                remedy="open it as a stream",
                code="store.too_large",
            )
        with self._open(opened, entry) as stream:
            data = stream.read()
        hasher = _hasher(opened, entry.salted)
        hasher.update(data)
        if not hmac.compare_digest(_digest(hasher), digest):
            raise _wrong(opened, digest)
        return data

    def exists(self, ring: str, digest: Digest) -> bool:
        """Whether the content is in the index and its blob is as long as it should be."""
        opened = self.rings.ring(ring)
        entry = self._index.find(opened, digest)
        return entry is not None and self._intact(opened, entry)

    def verify(self, ring: str, digest: Digest) -> None:
        """Read a whole content and hash it again; raises unless it is what it should be."""
        opened = self.rings.ring(ring)
        self.rehash(opened, self._find(opened, digest))

    # -- trees ------------------------------------------------------------------------------------

    def put_tree(self, ring: str, folder: Path) -> Digest:
        """Keep every file below `folder`; returns the digest of the manifest.

        Raises `Usage` for links, devices, and names that are unsafe or collide by case or Unicode
        form, before anything is kept.
        """
        opened = self.rings.ring(ring)
        trees.check_paths(path for path, _ in trees.walk(folder))
        entries: list[TreeEntry] = []
        for path, opening in trees.walk(folder):
            with opening() as stream:
                kept = self._put(opened, stream, salted=False, tree=False)
            entries.append(TreeEntry(path, kept.size, kept.digest))
        manifest = trees.encode(entries)
        if len(manifest) > trees.MOST_BYTES:
            raise Usage("the tree's manifest is too large", remedy="pack files", code="tree")
        return self._put(opened, manifest, salted=False, tree=True).digest

    def open_tree(self, ring: str, digest: Digest) -> list[TreeEntry]:
        """The files of a tree, sorted by path; open each by its digest."""
        manifest = self.read(ring, digest, trees.MOST_BYTES)
        return trees.decode(manifest, what=f"tree {digest} of ring {ring}").files

    def extract_tree(self, ring: str, digest: Digest, into: Path) -> None:
        """Write a tree's files into a new folder: whole and verified, or not at all."""
        entries = self.open_tree(ring, digest)
        if into.exists() or into.is_symlink():
            raise Usage(f"{into} exists", remedy="name a new folder", code="tree.exists")
        files.make_folder(into.parent)
        temporary = into.with_name(f".{into.name}.{secrets.token_hex(6)}.tmp")
        try:
            for entry in entries:
                path = temporary / entry.path
                files.make_folder(path.parent)
                with self.open(ring, entry.digest) as stream, files.new_file(path) as out:
                    hasher = hashlib.sha256()
                    while piece := stream.read(_PIECE):
                        hasher.update(piece)
                        out.write(piece)
                    if _digest(hasher) != entry.digest:
                        raise _wrong(self.rings.ring(ring), entry.digest)
            files.point("store.extracted")
            temporary.rename(into)
            files.sync_folder(into.parent)
        except OSError as error:
            raise Unavailable(f"cannot write {into}: {error.strerror}", code="write") from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    # -- keeping ----------------------------------------------------------------------------------

    @contextlib.contextmanager
    def lease(self, ring: str, digest: Digest) -> Generator[None]:
        """Keep a content from being collected while something that will refer to it is made."""
        opened = self.rings.ring(ring)
        name = self._index.name(opened, digest)
        key = self._index.lease(opened, name, self.rings.clock.now())
        try:
            yield
        finally:
            self._blobs.delete(key)

    def collect(self, reachable: Iterable[tuple[str, Digest]], now: datetime) -> Collected:
        """Delete what is neither in `reachable` (ring, digest), nor younger than 24 h, nor leased.

        The files of a reachable tree are reachable; blobs of destroyed rings are always deleted.
        One process at a time; raises `Corrupt`, with nothing deleted, when a reachable content is
        not in the index: then what looks like waste may be what the index has lost.
        """
        files.make_folder(self.rings.folder)
        with files.Lock(self.rings.folder / "collect.lock", wait=False):
            return collect(self, self._blobs, self._index, reachable, now)

    def check(self, expected: Iterable[tuple[str, Digest]] = ()) -> list[Problem]:
        """Read and hash everything; name what is missing, altered or stray, and what is damaged.

        `expected` (ring, digest) is what the index should have: a lost entry is seen only so.
        """
        return audit(self, self._blobs, self._index, expected)

    def recover(self) -> list[str]:
        """After a crash: finish what was begun, remove what is stale; says what was done."""
        done = self.rings.recover()
        if self.rings.folder.exists():
            with files.Lock(self.rings.folder / "collect.lock"):
                done += settle(self, self._blobs, self._index, self.rings.clock.now())
        return done

    # -- inside -----------------------------------------------------------------------------------

    def blob_key(self, ring: Ring, blob: str) -> str:
        """The object that holds a blob."""
        return f"blobs/{ring.id}/{blob[:2]}/{blob}"

    def rehash(self, ring: Ring, entry: Indexed) -> None:
        """Read a whole content; raises `Verification` or `Corrupt` unless it is what it should."""
        hasher = _hasher(ring, entry.salted)
        with self._open(ring, entry) as stream:
            while piece := stream.read(_PIECE):
                hasher.update(piece)
        if not hmac.compare_digest(_digest(hasher), entry.digest):
            raise _wrong(ring, entry.digest)

    def _put(
        self,
        ring: Ring,
        source: bytes | BinaryIO | Path,
        *,
        salted: bool,
        tree: bool,
        careful: bool = False,
    ) -> Indexed:
        blob = secrets.token_hex(16)
        hasher = _hasher(ring, salted)
        size = 0

        def watch(piece: memoryview) -> None:
            nonlocal size
            hasher.update(piece)
            size += len(piece)

        def pieces(stream: BinaryIO) -> Iterator[memoryview | bytes]:
            data_key = secrets.token_bytes(sealing.KEY)
            yield MAGIC + ring.seal(data_key, "blob", blob)
            try:
                bound_to = ring.bound("content", blob)
                yield from sealing.seal_stream(stream, data_key, bound_to, watch=watch)
            except OSError as error:
                raise Unavailable(f"cannot read what to put: {error}", code="read") from error

        key = self.blob_key(ring, blob)
        with _stream(source) as stream:
            self._blobs.put(key, pieces(stream))
        files.point("store.blob_written")
        now = timestamp(self.rings.clock.now())
        entry = Indexed(INDEX, ring.name, _digest(hasher), salted, tree, size, blob, now)
        try:
            self.rings.ring(ring.name)  # Destroyed meanwhile: then nothing was kept.
            kept = self._share(ring, entry, careful=careful)
        except NotFound:
            self._blobs.delete(key)
            raise
        if kept.blob != blob:
            self._blobs.delete(key)
        files.point("store.indexed")
        return kept

    def _share(self, ring: Ring, entry: Indexed, *, careful: bool) -> Indexed:
        """Enter a new blob into the index, or find the one that has its content already."""
        name = self._index.name(ring, entry.digest)
        key, data = self._index.key(ring, name), self._index.encode(ring, entry)
        if self._blobs.create(key, data):
            return entry
        # Lease first, look second: a collector deletes first and looks for leases second, so one
        # of the two sees the other.
        self._index.lease(ring, name, self.rings.clock.now())
        files.point("store.leased")
        try:
            there = self._index.find(ring, entry.digest)
            # Once a tree, always a tree: its files are reachable through it.
            if there and (there.tree or not entry.tree) and self._intact(ring, there):
                if careful:
                    self.rehash(ring, there)
                return there
        except (Verification, Corrupt):
            pass  # A damaged entry is replaced by the one in hand.
        self._blobs.replace(key, data)
        return entry

    def _find(self, ring: Ring, digest: Digest) -> Indexed:
        entry = self._index.find(ring, digest)
        if entry is None:
            raise NotFound(
                f"{digest} is not in ring {ring.name}",
                remedy="put it, or check the digest and the ring",
                code="content",
            )
        return entry

    def _intact(self, ring: Ring, entry: Indexed) -> bool:
        try:
            size = self._blobs.size(self.blob_key(ring, entry.blob))
        except NotFound:
            return False
        return size == HEAD + sealing.sealed_size(entry.size)

    def _open(self, ring: Ring, entry: Indexed) -> BinaryIO:
        what = f"blob {entry.blob} ({entry.digest} of ring {ring.name})"
        key = self.blob_key(ring, entry.blob)

        def fetch(start: int, count: int) -> bytes:
            try:
                return self._blobs.get(key, start, count)
            except NotFound as error:
                raise _lost(what) from error

        sealed = sealing.sealed_size(entry.size)
        if not self._intact(ring, entry):
            raise _lost(what)
        head = fetch(0, HEAD)
        if not head.startswith(MAGIC):
            raise Verification(
                f"{what} is altered, or of a newer format than assay/blob/v1",
                remedy="restore it from a copy, or put the content again",
                code="sealed",
            )
        data_key = ring.open(head[len(MAGIC) :], "blob", entry.blob, what=what)
        reader = sealing.SealedReader(
            lambda start, count: fetch(HEAD + start, count),
            sealed,
            data_key,
            ring.bound("content", entry.blob),
            what=what,
        )
        return cast(BinaryIO, io.BufferedReader(reader, _BUFFER))


def _stream(source: bytes | BinaryIO | Path) -> contextlib.AbstractContextManager[BinaryIO]:
    if isinstance(source, Path):
        return files.open_input(source, what="file")
    if isinstance(source, bytes):
        return io.BytesIO(source)
    return contextlib.nullcontext(source)


def _hasher(ring: Ring, salted: bool) -> _Hasher:
    return hmac.new(ring.derive("digest"), digestmod="sha256") if salted else hashlib.sha256()


def _digest(hasher: _Hasher) -> Digest:
    return Digest(f"sha256:{hasher.hexdigest()}")


def _lost(what: str) -> Corrupt:
    return Corrupt(
        f"{what} is in the index, but missing from the blob store, or of another length",
        remedy="restore it from a copy, or put the content again",
        code="blob",
    )


def _wrong(ring: Ring, digest: Digest) -> Verification:
    return Verification(
        f"what is kept in ring {ring.name} as {digest} has another digest",
        remedy="put the content again; whoever wrote it held the ring's keys",
        code="digest",
    )
