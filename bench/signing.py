"""What signing and verifying a model cost, beside plain SHA-256 over the same files.

Run: ``python bench/signing.py [folder] [--stock PROGRAM]`` (2 GB free in the folder; PROGRAM is the
stock tool ``model_signing``).  Figures are CPU seconds, user and system, of whole processes' work
on files in the page cache, in turn, the best of three; wall-clock time stands beside.  The goal is
at most 5 % over `hashlib` reading the same files one after the other.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from assay.evidence.signers import MemorySigner
from assay.supply.signing import Trust, bundle, sign, verify
from assay.supply.signing.cache import Cache

RUNS = 3
GOAL = 1.05
LARGE, SMALL = 8, 200
"""Files of 250 MB, and of 8 kB: weights, and what lies beside them."""


def made(base: Path) -> Path:
    """A model of 2 GB."""
    model = base / "model"
    model.mkdir()
    block = os.urandom(1_000_000)
    for n in range(LARGE):
        with (model / f"weights-{n:02}.bin").open("wb") as stream:
            for at in range(250):
                stream.write(bytes([n, at]) + block[2:])
    (model / "tokenizer").mkdir()
    for n in range(SMALL):
        (model / "tokenizer" / f"{n:03}.json").write_bytes(block[:8_000])
    return model


def cost(work: Callable[[], object]) -> tuple[float, float]:
    """CPU seconds of this process and of those it waited for, and seconds by the clock."""
    before, start = os.times(), time.perf_counter()
    work()
    after, end = os.times(), time.perf_counter()
    return sum(after[:4]) - sum(before[:4]), end - start


def plain(model: Path) -> None:
    """SHA-256 of each file, as the standard library does it."""
    for path in sorted(model.rglob("*")):
        if path.is_file():
            with path.open("rb") as stream:
                hashlib.file_digest(stream, "sha256")


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("folder", nargs="?")
    options.add_argument("--stock")
    given = options.parse_args()
    base = Path(tempfile.mkdtemp(dir=given.folder))
    try:
        measure(base, given.stock)
    finally:
        shutil.rmtree(base)


def measure(base: Path, stock: str | None) -> None:
    model, signature = made(base), base / "model.sig"
    key = ec.generate_private_key(ec.SECP256R1())
    private, public = base / "key.pem", base / "key.pub"
    hidden = NoEncryption()
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, hidden))
    public.write_bytes(bundle.pem_of(key.public_key()))
    signer, trust = MemorySigner(key), Trust.of_key(public)
    cache = base / "digests.json"
    names = [str(path) for path in sorted(model.rglob("*")) if path.is_file()]

    def ran(*command: str) -> None:
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)

    def signing() -> None:
        signature.write_bytes(bundle.encoded(sign(model, signer)))

    def remembered() -> None:
        known = Cache.load(cache, model, now=lambda: time.time_ns() + 10_000_000_000)
        verify(model, signature, trust, cache=known)
        known.save()

    works: dict[str, Callable[[], object]] = {
        "hashlib": lambda: plain(model),
        "sign": signing,
        "verify": lambda: verify(model, signature, trust),
        "verify, unchanged (--cache)": remembered,
        "sha256sum": lambda: ran("sha256sum", *names),
    }
    if stock:
        theirs = base / "theirs.sig"
        named = [str(model), "--signature", str(theirs)]
        works["model_signing sign"] = lambda: ran(
            stock, "sign", "key", *named, "--private_key", str(private)
        )
        works["model_signing verify"] = lambda: ran(
            stock, "verify", "key", *named, "--public_key", str(public)
        )
    best = {name: (float("inf"), float("inf")) for name in works}
    for _ in range(RUNS):
        for name, work in works.items():
            best[name] = min(best[name], cost(work))
    size = sum(Path(name).stat().st_size for name in names)
    print(f"{size / 1e9:.2f} GB in {len(names)} files, {len(os.sched_getaffinity(0))} cores")
    print(f"{'':30} {'CPU s':>7} {'x hashlib':>10} {'GB/s CPU':>9} {'wall s':>7}")
    reference = best["hashlib"][0]
    for name, (used, took) in best.items():
        rate = size / 1e9 / max(used, 1e-3)
        print(f"{name:30} {used:7.2f} {used / reference:10.3f} {rate:9.2f} {took:7.2f}")
    both = (best["sign"][0] + best["verify"][0]) / (2 * reference)
    print(f"sign and verify, beside hashing twice: {both:.3f} (goal {GOAL})")
    sys.exit(both > GOAL)


if __name__ == "__main__":
    main()
