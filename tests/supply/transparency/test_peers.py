"""Other implementations, at the other end: what they write we read, and they what we write.

The Go team's `sumdb` packages are in Debian's golang-go and golang-golang-x-mod-dev; aics-witness
is on PyPI, and goes into an environment of its own, named by TLOG_PEER_PYTHON.  What is not there
skips, and says so.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from assay import canonical
from assay.clock import SystemClock
from assay.evidence import merkle, tiles, tlog_proof
from assay.evidence.cosignatures import VerifierKey, cosign, merge, quorum, read_note
from assay.evidence.ledger import Ledger
from assay.evidence.signers import MemorySigner
from assay.supply.transparency.publish import publish
from assay.supply.transparency.witness_server import WitnessServer
from assay.supply.transparency.witnesses import Listed, collect

from .conftest import AT, ORIGIN, Log, Plain, serving

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


# -- aics-tlog and aics-witness, in an environment of their own ------------------------------------


@pytest.fixture(scope="module")
def aics() -> str:
    """The interpreter of an environment with aics-witness (Python 3.12 or later)."""
    found = os.environ.get("TLOG_PEER_PYTHON", "")
    if not found:
        pytest.skip("TLOG_PEER_PYTHON names no environment with aics-witness (pip install it)")
    return found


def told(aics: str, *args: object) -> str:
    script = Path(__file__).with_name("peer_aics.py")
    done = asked(Path(aics), script, *args)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def real(tmp_path: Path) -> Any:
    """A ledger and a witness that keep this machine's time, as the peer's client asks."""
    signer = MemorySigner.generate()
    log = Log(tmp_path / "real", signer)
    log.ledger = Ledger.open(
        log.folder, ORIGIN, signer.public, Plain(), signer=signer, clock=SystemClock()
    )
    return log


def test_another_reader_audits_our_server_to_the_last_entry(
    aics: str, log: Any, observer: Any, url: str, tmp_path: Path
) -> None:
    log.to(700)
    note = tmp_path / "note"
    line = cosign(read_note(log.note).text, observer.key.name, observer.signer, AT)
    note.write_bytes(merge(log.note, line, [observer.key]))
    assert told(aics, "audit", url, log.key, observer.key, note) == "audited 700\n"


def test_another_client_takes_our_witnesss_cosignatures(
    aics: str, real: Any, observer: Any, tmp_path: Path
) -> None:
    note, old = tmp_path / "note", 0
    with (
        observer.at_work(real.key, clock=SystemClock()) as at_work,
        serving(WitnessServer(at_work)) as there,
    ):
        for size in (3, 8, 300):
            note.write_bytes(real.to(size).note)
            proof = [canonical.b64(node) for node in real.ledger.consistency(old, size)]
            line = told(aics, "submit", there, observer.key, note, old, *proof)
            assert quorum(read_note(real.note + line.encode()), real.key, [observer.key], 1)
            old = size


def test_another_witness_cosigns_our_ledger_and_refuses_its_fork(
    aics: str, real: Any, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [aics, "-m", "aics_witness"]
    config = ["--config", str(tmp_path / "witness.json")]

    def run(*words: str) -> str:
        done = subprocess.run([*command, *words], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    listening = ["--listen", f"127.0.0.1:{port}"]
    vkey = re.search(r"\S+\+[0-9a-f]{8}\+\S+", run("init", *config, "--name", "aics.example"))
    assert vkey is not None
    run("add-log", *config, "--origin", ORIGIN, "--vkey", str(real.key))
    process = subprocess.Popen([*command, "serve", *config, *listening])
    try:
        _wait_for(port)
        listed = [Listed(f"http://127.0.0.1:{port}", vkey[0])]
        for size in (1, 5, 5, 300):
            real.to(size)
            note, (one,) = collect(real.note, listed, real.ledger.consistency)
            assert one.cosigned, one
            assert quorum(read_note(note), real.key, [VerifierKey.parse(vkey[0])], 1)
        forked = Log(tmp_path / "forked", real.signer, "b").to(310)
        _, (one,) = collect(forked.note, listed, forked.ledger.consistency)
        assert not one.cosigned
        shorter = Log(tmp_path / "shorter", real.signer).to(2)
        _, (one,) = collect(shorter.note, listed, shorter.ledger.consistency)
        assert (one.cosigned, one.alarm) == (False, True)
    finally:
        process.terminate()
        process.wait(30)


def _wait_for(port: int) -> None:
    until = time.monotonic() + 30
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        assert time.monotonic() < until
        time.sleep(0.05)
