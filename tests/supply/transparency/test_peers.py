"""Other implementations read what we write: the Go team's `sumdb` packages.

They are in Debian's packages golang-go and golang-golang-x-mod-dev; without them this skips.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from assay import canonical
from assay.evidence import merkle, tiles, tlog_proof
from assay.evidence.cosignatures import VerifierKey, cosign, merge, read_note
from assay.evidence.signers import MemorySigner
from assay.supply.transparency.publish import publish

from .conftest import AT, ORIGIN

_GOPATH = os.environ.get("GOPATH") or "/usr/share/gocode"


@pytest.fixture(scope="module")
def peer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The peer's program, compiled."""
    go = shutil.which("go")
    if go is None or not Path(_GOPATH, "src/golang.org/x/mod/sumdb/tlog").is_dir():
        pytest.skip("needs Go and golang.org/x/mod (apt: golang-go, golang-golang-x-mod-dev)")
    folder = tmp_path_factory.mktemp("peer")
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "GOPATH": _GOPATH,
        "GO111MODULE": "off",
        "CGO_ENABLED": "0",
    }
    if "GOROOT" in os.environ:
        environment["GOROOT"] = os.environ["GOROOT"]
    words = [go, "build", "-o", str(folder / "peer"), str(Path(__file__).with_name("peer.go"))]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder / "peer"


def exported(log: Any, observer: Any, folder: Path) -> tuple[Path, Path, str]:
    """An export with a cosigned checkpoint, a proof of one of its leaves, and that leaf's hash."""
    cosigned = folder / "cosigned"
    text = read_note(log.note).text
    line = cosign(text, observer.key.name, observer.signer, AT)
    cosigned.write_bytes(merge(log.note, line, [observer.key]))
    publish(log.files(cosigned), log.key, folder / "out", witnessed=True)
    index = log.ledger.checkpoint.size // 2
    (leaf,) = log.ledger.read(index, index + 1)
    proof = folder / "x.tlog-proof"
    extra = tlog_proof.opening(leaf.commitment)
    path = log.ledger.inclusion(index)
    proof.write_bytes(tlog_proof.encode(index, path, cosigned.read_bytes(), extra))
    return folder / "out", proof, merkle.leaf_hash(tiles.leaf_bytes(leaf.commitment)).hex()


def asked(peer: Path, *args: object) -> subprocess.CompletedProcess[str]:
    words = [str(peer), *map(str, args)]
    return subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(("size", "old"), [(1, 1), (7, 3), (256, 255), (257, 256), (700, 300)])
def test_the_go_packages_accept_our_notes_tiles_and_proofs(
    peer: Path, log: Any, observer: Any, tmp_path: Path, size: int, old: int
) -> None:
    log.to(size)
    out, proof, leaf = exported(log, observer, tmp_path)
    done = asked(peer, out, log.key, proof, leaf, old)
    assert done.returncode == 0, done.stdout
    *grown, last = done.stdout.splitlines()
    assert last == f"holds {size}"
    ours = [f"consistency {canonical.b64(node)}" for node in log.ledger.consistency(old, size)]
    assert grown == ours


def test_the_go_packages_refuse_what_we_refuse(
    peer: Path, log: Any, observer: Any, tmp_path: Path
) -> None:
    log.to(300)
    out, proof, leaf = exported(log, observer, tmp_path)
    stranger = VerifierKey.of(ORIGIN, MemorySigner.generate().public)
    assert asked(peer, out, stranger, proof, leaf, 3).returncode == 4
    assert asked(peer, out, log.key, proof, "00" * 32, 3).returncode == 4
    for name in ("tile/0/000", "tile/1/000.p/1", "tile/entries/001.p/44", "checkpoint"):
        held = (out / name).read_bytes()
        (out / name).write_bytes(held[:20] + bytes([held[20] ^ 1]) + held[21:])
        assert asked(peer, out, log.key, proof, leaf, 3).returncode == 4, name
        (out / name).write_bytes(held)
    assert asked(peer, out, log.key, proof, leaf, 3).returncode == 0
