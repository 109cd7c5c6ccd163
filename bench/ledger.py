"""How fast the ledger is, beside what its parts cost on the same machine in the same run.

Run: ``python bench/ledger.py [folder]`` (a folder on the disk to be measured).
"""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from assay.canonical import digest
from assay.clock import FixedClock
from assay.evidence import envelope as dsse
from assay.evidence import merkle
from assay.evidence.ledger import CheckpointMemory, Entry, Ledger
from assay.evidence.signers import MemorySigner
from assay.evidence.statement import Statement, predicate_type
from assay.evidence.tiles import leaf_hashes

LEAVES = 20_000
GROUP = 1_000
SINGLES = 100
SIGNATURES = 2_000


class Sealer:
    """AES-256-GCM under one key: about what a ring costs."""

    def __init__(self) -> None:
        self._aead = AESGCM(os.urandom(32))

    def seal(self, project: str, plaintext: bytes) -> bytes:
        nonce = os.urandom(12)
        return nonce + self._aead.encrypt(nonce, plaintext, project.encode())

    def open(self, project: str, sealed: bytes) -> bytes:
        return self._aead.decrypt(sealed[:12], sealed[12:], project.encode())


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def show(what: str, value: float, unit: str, note: str = "") -> None:
    print(f"{what:<46}{value:>12,.1f} {unit:<12}{note}")


def main() -> None:
    base = Path(tempfile.mkdtemp(dir=sys.argv[1] if len(sys.argv) > 1 else None))
    clock = FixedClock(datetime(2026, 1, 1, tzinfo=timezone.utc))
    signer, sealer = MemorySigner.generate(), Sealer()
    memory = CheckpointMemory(base / "state")
    folder, origin = base / "ledger", "example.com/bench"

    statement = Statement.new(
        subject={"model": digest(b"model")},
        predicate_type=predicate_type("bench"),
        predicate={"accuracy": 0.91, "rows": 12345, "notes": "x" * 300},
        project="bench",
        producer="bench",
        clock=clock,
    )
    signed = dsse.sign(statement, signer)
    raw = dsse.encode(signed)
    groups = [
        [Entry("bench", raw + b" %d" % (at + i)) for i in range(GROUP)]
        for at in range(0, LEAVES, GROUP)
    ]
    print(f"{LEAVES:,} leaves of {len(raw)} bytes in groups of {GROUP:,}\n")

    # What any durable log of these bytes costs: one write and one sync for each group.
    def plain() -> None:
        with (base / "plain").open("wb") as stream:
            for group in groups:
                for entry in group:
                    stream.write(hashlib.sha256(entry.envelope).digest() + entry.envelope)
                stream.flush()
                os.fsync(stream.fileno())

    floor = LEAVES / seconds(plain)
    ledger = Ledger.create(folder, origin, signer, sealer, clock, remembered=memory)
    append = LEAVES / seconds(lambda: [ledger.append(group) for group in groups])
    show("hash, write and sync, nothing else", floor, "leaves/s")
    show("append, sealed and durable", append, "leaves/s", f"{append / floor:.2f} of that")

    reader = Ledger.open(folder, origin, signer.public, sealer, remembered=memory, clock=clock)
    read = LEAVES / seconds(lambda: sum(1 for _ in reader.read(0, LEAVES)))
    show("read and verify up to the root", read, "leaves/s")
    commitments = [leaf.commitment for leaf in reader.read(0, LEAVES)]
    hashing = LEAVES / seconds(lambda: merkle.root(leaf_hashes(commitments)))
    show("Merkle root of all leaves", hashing, "leaves/s")
    check = LEAVES / seconds(lambda: reader.check())
    show("full examination of every file", check, "leaves/s")
    tail = seconds(lambda: list(reader.read(LEAVES - 10, LEAVES)))
    show("last 10 leaves", tail * 1e3, "ms")
    at_once = seconds(
        lambda: Ledger.open(folder, origin, signer.public, sealer, remembered=memory, clock=clock)
    )
    show("open", at_once * 1e3, "ms")

    syncs: list[int] = []
    sync = os.fsync

    def counted(handle: int) -> None:
        syncs.append(handle)
        sync(handle)

    one = [Entry("bench", raw)]
    os.fsync = counted
    single = seconds(lambda: [ledger.append(one) for _ in range(SINGLES)]) / SINGLES
    os.fsync = sync
    probe = os.open(base / "plain", os.O_WRONLY)

    def rewritten() -> None:
        for number in range(SINGLES):
            os.pwrite(probe, b"%4096d" % number, 0)
            os.fsync(probe)

    one_sync = seconds(rewritten) / SINGLES
    show("append of one leaf", single * 1e3, "ms", f"{len(syncs) / SINGLES:.1f} syncs")
    show("one sync of 4 KiB", one_sync * 1e3, "ms", f"{single / one_sync:.1f} of them an append")

    bare_key = Ed25519PrivateKey.generate()
    bare_signature, bare_public = bare_key.sign(raw), bare_key.public_key()

    def bare() -> None:
        for _ in range(SIGNATURES):
            bare_public.verify(bare_signature, raw)

    keys = {signer.public.keyid: signer.public}

    def statements() -> None:
        for _ in range(SIGNATURES):
            dsse.verify(dsse.decode(raw), keys)

    bare_rate = SIGNATURES / seconds(bare)
    full_rate = SIGNATURES / seconds(statements)
    print()
    show("bare Ed25519 verifications", bare_rate, "/s")
    show("envelopes decoded and verified", full_rate, "/s", f"{full_rate / bare_rate:.2f} of bare")

    print("\nproof sizes (hashes); the bound is the height of the tree")
    size = reader.refresh().size
    for at in (1, 256, 1000, 4096, size):
        inclusion = max(len(reader.inclusion(index, at)) for index in {0, at // 2, at - 1})
        consistency = len(reader.consistency(max(1, at - 7), at))
        print(
            f"  {at:>7,} leaves: inclusion {inclusion:>2}, consistency {consistency:>2}, "
            f"height {(at - 1).bit_length()}"
        )


if __name__ == "__main__":
    main()
