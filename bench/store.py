"""What sealing costs: put and get of 256 MB, beside what their parts cost in the same run.

Run: ``python bench/store.py [folder]`` (a folder on the disk to be measured).  Figures are CPU
seconds of this process, user and system, the best of three; the goal is a ratio of 1 / 0.6.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from assay.clock import FixedClock
from assay.store import LocalKeyService, Rings, Store

SIZE = 256_000_000
PIECE = 1 << 20
CHUNK = 1 << 14
RUNS = 3
GOAL = 1 / 0.6


def cpu(work: Callable[[], object], before: Callable[[], object] = lambda: None) -> float:
    best = float("inf")
    for _ in range(RUNS):
        before()
        start = time.process_time()
        work()
        best = min(best, time.process_time() - start)
    return best


def pieces(path: Path) -> int:
    """Read a file in pieces into one buffer, as any program would."""
    buffer = bytearray(PIECE)
    total = 0
    with path.open("rb", buffering=0) as stream:
        while count := stream.readinto(buffer):
            total += count
    return total


def main() -> None:
    base = Path(tempfile.mkdtemp(dir=sys.argv[1] if len(sys.argv) > 1 else None))
    try:
        measure(base)
    finally:
        shutil.rmtree(base)


def measure(base: Path) -> None:
    block = os.urandom(PIECE)
    source = base / "source"
    with source.open("wb") as stream:
        for at in range(0, SIZE, PIECE):
            stream.write(block[: SIZE - at])
    aead, nonce = AESGCM(os.urandom(32)), bytes(12)
    sealed = memoryview(bytearray(PIECE + 16))

    def hashing() -> None:
        hasher = hashlib.sha256()
        for _ in range(0, SIZE, PIECE):
            hasher.update(block)

    def encrypting() -> None:
        view = memoryview(block)
        for _ in range(0, SIZE, PIECE):
            for at in range(0, PIECE, CHUNK):
                aead.encrypt_into(nonce, view[at : at + CHUNK], None, sealed[: CHUNK + 16])

    plain = base / "plain"

    def writing() -> None:
        with plain.open("wb", buffering=0) as stream:
            for at in range(0, SIZE, PIECE):
                stream.write(block[: SIZE - at])
            os.fsync(stream.fileno())

    def remove_plain() -> None:
        plain.unlink(missing_ok=True)

    clock = FixedClock(datetime(2026, 1, 1, tzinfo=timezone.utc))
    rings = Rings(base / "rings", LocalKeyService.create(base / "root.key"), clock=clock)
    rings.create("bench/data")
    store = Store(base / "blobs", rings)

    def empty() -> None:
        shutil.rmtree(base / "blobs", ignore_errors=True)

    costs = {
        "read, as a file": cpu(lambda: pieces(source)),
        "SHA-256": cpu(hashing),
        "AES-256-GCM": cpu(encrypting),
        "write and sync": cpu(writing, remove_plain),
    }
    remove_plain()
    put = cpu(lambda: store.put("bench/data", source), empty)
    digest = store.put("bench/data", source)

    def get() -> None:
        buffer = bytearray(PIECE)
        with store.open("bench/data", digest) as stream:
            while stream.readinto(buffer):  # pyright: ignore[reportAttributeAccessIssue]
                pass

    got = cpu(get)
    for what, seconds in costs.items():
        print(f"{what:<36}{seconds:>8.3f} s CPU")
    floor = costs["SHA-256"] + costs["AES-256-GCM"] + costs["write and sync"]
    show("put: hash, seal, write, sync", put, floor, "SHA-256 + AES-256-GCM + write")
    show("get: read and verify", got, floor, "the same")
    least = costs["read, as a file"] + costs["AES-256-GCM"]
    print(f"{'':<36}{got / least:>8.2f} of read + AES-256-GCM alone")


def show(what: str, seconds: float, floor: float, beside: str) -> None:
    verdict = "within the goal" if seconds <= floor * GOAL else "MISSES THE GOAL"
    rate = SIZE / seconds / 1e6
    print(
        f"{what:<36}{seconds:>8.3f} s CPU  {rate:,.0f} MB/s  {seconds / floor:.2f} of "
        f"{beside} (goal {GOAL:.2f}): {verdict}"
    )


if __name__ == "__main__":
    main()
