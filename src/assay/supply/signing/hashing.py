"""The digests of all files of a tree, at the speed of SHA-256.

Files are opened one after the other while the tree is walked, so that none is reached through a
link, and hashed by a few threads: the hash function holds no lock.  A file that changes while it is
read is refused.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Collection
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import BinaryIO, cast

import msgspec

from assay import files
from assay.errors import Unavailable, Usage
from assay.store import trees
from assay.supply.signing.cache import Cache
from assay.supply.signing.statement import WHOLE, is_below
from assay.types import Digest

_PIECE = 1 << 18
"""Bytes read at once: they stay in the processor's cache until they are hashed."""
_OPEN = 64
"""Files opened ahead of the threads that hash them."""
_TOLD = 1 << 30
"""How many bytes further on progress is told again."""

_mine = threading.local()


class Tree(msgspec.Struct, frozen=True):
    """What was found."""

    files: dict[str, Digest]
    ignored: tuple[str, ...]
    """Files that are there and were left out."""
    bytes: int
    """How many were hashed or taken from the cache."""
    reread: int
    """How many of them were read."""


class _Hashed(msgspec.Struct, frozen=True):
    digest: Digest
    size: int
    read: int


def digests(
    model: Path,
    ignored: Collection[str],
    *,
    threads: int = 0,
    cache: Cache | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> Tree:
    """Every file of a folder, or the one file `model` is; `ignored` paths are left out.

    Raises `Usage` for links, devices, unsafe names and names that differ only by case.
    """
    if not model.is_dir() or model.is_symlink():
        with files.open_input(model, what="model") as stream:
            found = _hash(stream, WHOLE, cache)
        return Tree({WHOLE: found.digest}, (), found.size, found.read)
    threads = threads or len(os.sched_getaffinity(0))
    pending: dict[Future[_Hashed], tuple[str, BinaryIO]] = {}
    hashed: dict[str, _Hashed] = {}
    seen: list[str] = []
    left_out: list[str] = []
    total = 0

    def collect(most: int) -> int:
        taken = 0
        while len(pending) > most:
            for done in wait(pending, return_when=FIRST_COMPLETED).done:
                path, _ = pending.pop(done)
                hashed[path] = done.result()
                taken += hashed[path].size
        return taken

    with ThreadPoolExecutor(threads, thread_name_prefix="hashing") as pool:
        try:
            for path, opening in trees.walk(model):
                seen.append(path)
                if len(seen) > trees.MOST_FILES:
                    break
                if is_below(path, ignored):
                    left_out.append(path)
                    continue
                stream = opening().__enter__()
                pending[pool.submit(_hash_and_close, stream, path, cache)] = path, stream
                before, total = total, total + collect(_OPEN)
                if before // _TOLD != total // _TOLD:
                    progress(f"hashing: {len(hashed):,} files, {total / 1e9:.1f} GB")
            total += collect(0)
        except BaseException:
            for waiting, (_, stream) in pending.items():
                if waiting.cancel():
                    stream.close()
            raise
    trees.check_paths(iter(seen))
    return Tree(
        {path: one.digest for path, one in hashed.items()},
        tuple(sorted(left_out)),
        total,
        sum(one.read for one in hashed.values()),
    )


def _hash_and_close(stream: BinaryIO, path: str, cache: Cache | None) -> _Hashed:
    with stream:
        return _hash(stream, path, cache)


def _hash(stream: BinaryIO, path: str, cache: Cache | None) -> _Hashed:
    handle = stream.fileno()
    before = os.fstat(handle)
    if cache is not None and (known := cache.find(path, before)) is not None:
        return _Hashed(known, before.st_size, 0)
    if not hasattr(_mine, "buffer"):
        _mine.buffer = memoryview(bytearray(_PIECE))
    buffer = cast("memoryview", _mine.buffer)
    hasher, size = hashlib.sha256(), 0
    try:
        while count := os.readv(handle, [buffer]):
            hasher.update(buffer if count == _PIECE else buffer[:count])
            size += count
    except OSError as error:
        raise Unavailable(
            f"cannot read {path[:120]!a}: {error.strerror}",
            remedy="check the disk",
            code="read",
        ) from error
    after = os.fstat(handle)
    if size != before.st_size or _state(before) != _state(after):
        raise Usage(
            f"{path[:120]!a} changed while it was read",
            remedy="wait until nobody writes to the model",
            code="signing.changed",
        )
    digest = cast("Digest", f"sha256:{hasher.hexdigest()}")
    if cache is not None:
        cache.note(path, after, digest)
    return _Hashed(digest, size, size)


def _state(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns
