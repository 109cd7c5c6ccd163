"""Ledgers, servers and witnesses, real ones, on this machine."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Generator, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from assay.clock import FixedClock
from assay.errors import Verification
from assay.evidence.cosignatures import COSIGNATURE, VerifierKey
from assay.evidence.ledger import Entry, Ledger
from assay.evidence.signers import MemorySigner
from assay.serve.listen import Listening, run
from assay.supply.transparency import witness as witnessing
from assay.supply.transparency.tiles import PublicFiles, TileServer

ORIGIN = "example.com/ledger"
AT = datetime(2026, 1, 1, tzinfo=timezone.utc)


class Plain:
    """A sealer that only names the project: what is sealed does not matter here."""

    def seal(self, project: str, plaintext: bytes) -> bytes:
        return project.encode() + b"\n" + plaintext

    def open(self, project: str, sealed: bytes) -> bytes:
        owner, _, plaintext = sealed.partition(b"\n")
        if owner != project.encode():
            raise Verification("sealed for another project")
        return plaintext


class Log:
    """A ledger that grows when told to."""

    def __init__(self, folder: Path, signer: MemorySigner, name: str = "a") -> None:
        self.folder = folder
        self.signer = signer
        self.clock = FixedClock(AT)
        self.key = VerifierKey.of(ORIGIN, signer.public)
        self.name = name
        self.ledger = Ledger.create(folder, ORIGIN, signer, Plain(), self.clock)

    def grow(self, count: int) -> Log:
        size = self.ledger.checkpoint.size
        made = [Entry("p", f"{self.name}/{size + n}".encode()) for n in range(count)]
        self.ledger.append(made)
        return self

    def to(self, size: int) -> Log:
        return self.grow(size - self.ledger.checkpoint.size)

    @property
    def note(self) -> bytes:
        return (self.folder / "checkpoint").read_bytes()

    def files(self, cosigned: Path | None = None) -> PublicFiles:
        return PublicFiles(self.folder, self.key, cosigned)


class Observer:
    """A witness's key and file."""

    def __init__(self, folder: Path, name: str = "w.example") -> None:
        self.signer = MemorySigner.generate()
        self.key = VerifierKey.of(name, self.signer.public, COSIGNATURE)
        self.path = folder / f"{name}.state"
        witnessing.create(self.path, self.key)

    def at_work(self, *logs: VerifierKey, clock: FixedClock | None = None) -> witnessing.Witness:
        return witnessing.Witness(self.path, self.signer, logs, clock or FixedClock(AT))


@contextlib.contextmanager
def serving(application: Any) -> Generator[str]:
    """The URL of a real server on a free loopback port."""
    begun = threading.Event()
    found: list[Listening] = []
    failed: list[BaseException] = []

    def ready(listening: Listening) -> None:
        found.append(listening)
        begun.set()

    def serve() -> None:
        try:
            run(application, port=0, ready=ready)
        except BaseException as error:
            failed.append(error)
        finally:
            begun.set()

    thread = threading.Thread(target=serve)
    thread.start()
    assert begun.wait(30)
    if failed:
        raise failed[0]
    try:
        yield found[0].url
    finally:
        found[0].stop()
        thread.join(30)
    assert not thread.is_alive()
    assert not failed


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return Log(tmp_path / "ledger", MemorySigner.generate())


@pytest.fixture
def fork_of(tmp_path: Path) -> Any:
    """Another history, signed by the same key, of which the first `same` leaves are equal in
    number only: every nonce differs."""

    def fork_of(log: Log, size: int) -> Log:
        return Log(tmp_path / f"fork{size}", log.signer, "b").to(size)

    return fork_of


@pytest.fixture
def observer(tmp_path: Path) -> Observer:
    return Observer(tmp_path)


@pytest.fixture
def observer_of(tmp_path: Path) -> Any:
    return lambda name: Observer(tmp_path, name)


@pytest.fixture(name="serving", scope="session")
def _serving() -> Any:
    return serving


@pytest.fixture
def url(log: Log) -> Iterator[str]:
    """Where the log's files are served."""
    with serving(TileServer(log.files())) as found:
        yield found
