"""A store in a temporary folder, and ways to kill it."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime, timezone
from pathlib import Path

import pytest

from assay import files
from assay.clock import FixedClock
from assay.store import LocalKeyService, Rings, Store

RING = "fraud/data"


class Killed(BaseException):
    """Stands for SIGKILL: nothing in the product may catch it."""


@pytest.fixture(autouse=True)
def no_failpoint() -> Generator[None]:
    yield
    files.failpoint = None
    files.recorder = None


@pytest.fixture
def points() -> Callable[[Callable[[], object]], list[str]]:
    """Run something to its end; the crash points it passed, in order."""

    def passed(work: Callable[[], object]) -> list[str]:
        seen: list[str] = []
        files.failpoint = seen.append
        try:
            work()
        finally:
            files.failpoint = None
        return seen

    return passed


@pytest.fixture
def killed() -> Callable[[int], AbstractContextManager[None]]:
    """Die at the n-th crash point passed within the block (from 0)."""

    @contextmanager
    def dying(number: int) -> Generator[None]:
        left = number

        def fail(name: str) -> None:
            nonlocal left
            if left == 0:
                raise Killed(name)
            left -= 1

        files.failpoint = fail
        try:
            with pytest.raises(Killed):
                yield
        finally:
            files.failpoint = None

    return dying


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock(datetime(2026, 1, 1, tzinfo=timezone.utc))


@pytest.fixture
def service(tmp_path: Path) -> LocalKeyService:
    return LocalKeyService.create(tmp_path / "root.key")


@pytest.fixture
def rings(tmp_path: Path, service: LocalKeyService, clock: FixedClock) -> Rings:
    made = Rings(tmp_path / "rings", service, clock=clock)
    made.create(RING)
    return made


@pytest.fixture
def store(tmp_path: Path, rings: Rings) -> Store:
    return Store(tmp_path / "blobs", rings)
