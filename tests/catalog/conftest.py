"""Both databases: a SQLite file, and a private PostgreSQL server where one can be started."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from assay import canonical
from assay.catalog.catalog import Entry
from assay.clock import FixedClock
from assay.evidence.statement import Statement, predicate_type

_DATABASES = iter(range(1_000_000))


def _programs() -> Path | None:
    """The folder of PostgreSQL's server programs: Debian keeps them out of PATH."""
    found = [Path(path) for path in [shutil.which("initdb")] if path]
    found += sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))[::-1]
    return next((path.resolve().parent for path in found), None)


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """A server of our own on a Unix socket; yields a URL that lacks the database's name."""
    programs = _programs()
    if programs is None:
        pytest.skip("PostgreSQL is not installed: initdb is neither in PATH nor in /usr/lib")
    user = None
    if os.geteuid() == 0:
        # PostgreSQL refuses to run as root.
        names = {entry.pw_name for entry in pwd.getpwall()}
        user = next((name for name in ("postgres", "nobody") if name in names), None)
        if user is None:
            pytest.skip("PostgreSQL does not run as root, and there is no user postgres or nobody")
    # Not pytest's own folder: that one is closed to other users, and too deep for a socket.
    folder = Path(tempfile.mkdtemp(prefix="assay-pg-", dir="/tmp"))
    if user is not None:
        shutil.chown(folder, user)

    def run(*command: str, must: bool = True) -> None:
        done = subprocess.run(
            [str(programs / command[0]), *command[1:]],
            user=user,
            cwd=folder,
            env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "HOME": str(folder)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,  # Not a pipe: the server would hold it open.
            stderr=subprocess.DEVNULL,
            timeout=120,
        )
        if must and done.returncode != 0:
            log = folder / "log"
            text = log.read_text(errors="replace")[-2000:] if log.exists() else "no log"
            pytest.fail(f"{command[0]} of the PostgreSQL in {programs} failed: {text}")

    data = str(folder / "data")
    run("initdb", "-D", data, "-U", "assay", "--auth=trust", "--encoding=UTF8", "--no-sync")
    options = f"-k {folder} -c listen_addresses='' -c fsync=off -c max_connections=40"
    try:
        run("pg_ctl", "-D", data, "-l", str(folder / "log"), "-w", "-o", options, "start")
        yield f"postgresql://assay@/{{}}?host={folder}"
    finally:
        run("pg_ctl", "-D", data, "-m", "immediate", "-w", "stop", must=False)
        shutil.rmtree(folder, ignore_errors=True)


def new_database(server: str) -> str:
    """The URL of a fresh database, with a collation under which 'a' comes before 'B'."""
    import psycopg

    name = f"catalog_{next(_DATABASES)}"
    english = f"CREATE DATABASE {name} TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'en-US'"
    with psycopg.connect(server.format("postgres"), autocommit=True) as connection:
        try:
            connection.execute(english)  # pyright: ignore[reportArgumentType, reportCallIssue]
        except psycopg.Error:  # Built without ICU.
            connection.execute(f"CREATE DATABASE {name}")  # pyright: ignore[reportArgumentType, reportCallIssue]
    return server.format(name)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database, of each kind in turn."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'catalog.sqlite'}"
    return new_database(request.getfixturevalue("postgres"))


class Story:
    """Statements as a ledger would hold them, one leaf after the other."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self._clock = FixedClock(datetime(2026, 11, 24, 12, tzinfo=timezone.utc))

    def say(
        self,
        kind: str,
        predicate: dict[str, Any],
        *,
        project: str = "fraud",
        about: dict[str, bytes] | None = None,
        accepted: bool = True,
    ) -> Entry:
        """Add a leaf; `kind` may be a whole predicate type, `about` is names and contents."""
        self._clock.advance(timedelta(seconds=1))
        leaf = len(self.entries)
        statement = Statement.new(
            subject={n: canonical.digest(c) for n, c in (about or {"thing": b"thing"}).items()},
            predicate_type=kind if "://" in kind else predicate_type(kind),
            predicate=predicate,
            project=project,
            producer="assay.test/1",
            clock=self._clock,
        )
        envelope = canonical.digest(f"{leaf} {kind}".encode())
        self.entries.append(Entry(leaf, project, envelope, statement, accepted))
        return self.entries[-1]

    def register(self, version: str, served: bytes = b"onnx", *, project: str = "fraud") -> Entry:
        return self.say(
            "model-version",
            {
                "name": "credit",
                "version": version,
                "author": "ada",
                "artifact": canonical.digest(served + b" artifact"),
                "served": canonical.digest(served),
                "details": {"format": "onnx", "auc": 0.75},
            },
            project=project,
            about={f"credit@{version}": served},
        )

    def dataset(self, name: str, content: bytes = b"rows", **more: Any) -> Entry:
        predicate = {"name": name, "content": canonical.digest(content), "owner": "ada"}
        return self.say("dataset", {**predicate, "details": {}, **more})

    def decide(self, *, allowed: bool = True, durability: str = "before", **more: Any) -> Entry:
        return self.say(
            "decision",
            {
                "action": "promote",
                "actor": "ada",
                "allowed": allowed,
                "durability": durability,
                "request": {},
                "reasons": [] if allowed else [{"gate": "quality.lift"}],
                "bundle": canonical.digest(b"bundle"),
                **more,
            },
        )


@pytest.fixture
def story() -> Story:
    return Story()


@pytest.fixture(scope="session")
def new_story() -> type[Story]:
    return Story
