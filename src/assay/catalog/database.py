"""Connections to SQLite and PostgreSQL, and what their errors mean."""

from __future__ import annotations

import contextlib
import re
import sqlite3
from collections.abc import Generator
from pathlib import Path
from typing import Any

import sqlalchemy
from sqlalchemy import Connection, Engine, event, exc
from sqlalchemy.engine import URL, make_url
from sqlalchemy.pool import StaticPool

from assay import files
from assay.errors import AssayError, Corrupt, Unavailable, Usage

_BUSY_SECONDS = 30
_CONNECT_SECONDS = 10
_LOCAL_HOSTS = {None, "", "localhost", "127.0.0.1", "::1"}
_DAMAGE = re.compile(
    r"not a database|malformed|no such (table|column)|(relation|column) .* does not exist"
    r"|Could not decode"
)
REBUILD = "the catalog can be made again from the ledger: run `assay rebuild`"


def parse_url(text: str) -> URL:
    """A SQLite or PostgreSQL URL; raises `Usage` for anything else, and never repeats a password.

    A PostgreSQL server on another machine must show a certificate that the system trusts for its
    name, unless the URL itself says otherwise (``?sslmode=...``).
    """
    try:
        url = make_url(text)
    except (exc.ArgumentError, ValueError) as error:
        raise Usage(
            "the catalog's URL cannot be read",
            remedy="write sqlite:///PATH or postgresql://USER@HOST/DATABASE",
            code="catalog.url",
        ) from error
    if url.drivername in ("sqlite", "sqlite+pysqlite"):
        return url
    if url.drivername in ("postgres", "postgresql", "postgresql+psycopg"):
        url = url.set(drivername="postgresql+psycopg")
        host = url.query.get("host", url.host)
        local = host in _LOCAL_HOSTS or str(host).startswith("/")
        if not local and "sslmode" not in url.query:
            url = url.update_query_dict({"sslmode": "verify-full", "sslrootcert": "system"})
        return url
    raise Usage(
        f"the catalog cannot be kept in {url.drivername!r}",
        remedy="use sqlite:///PATH or postgresql://USER@HOST/DATABASE",
        code="catalog.url",
    )


def connect(url: URL) -> Engine:
    """An engine for `url`; nothing is read yet, but a SQLite file is created private to its user.

    Raises `Unavailable` when the PostgreSQL driver is not installed or the file cannot be made.
    """
    if url.get_backend_name() == "sqlite":
        return _connect_sqlite(url)
    try:
        return sqlalchemy.create_engine(
            url,
            pool_pre_ping=True,
            hide_parameters=True,
            # A list and what goes with it are read in several queries: of one moment.
            isolation_level="REPEATABLE READ",
            connect_args={"connect_timeout": _CONNECT_SECONDS},
        )
    except ModuleNotFoundError as error:
        raise Unavailable(
            "the PostgreSQL driver is not installed",
            remedy="pip install 'assay[postgres]'",
            code="catalog.driver",
        ) from error


def writer(engine: Engine) -> Engine:
    """`engine` for transactions that write: they wait for each other and see what came before."""
    if engine.dialect.name == "sqlite":
        return engine.execution_options(write=True)
    return engine.execution_options(isolation_level="READ COMMITTED")


def _connect_sqlite(url: URL) -> Engine:
    in_memory = url.database in (None, "", ":memory:")
    arguments: dict[str, Any] = {"connect_args": {"timeout": _BUSY_SECONDS}}
    if in_memory:
        # One connection is one database: every thread has to share it.
        arguments["poolclass"] = StaticPool
        arguments["connect_args"]["check_same_thread"] = False
    else:
        path = Path(str(url.database))
        with contextlib.suppress(FileExistsError):
            if not path.exists():
                files.write(path, b"", mode=0o600, replace=False)
    engine = sqlalchemy.create_engine(url, hide_parameters=True, **arguments)

    @event.listens_for(engine, "connect")
    def _(connection: Any, _: Any) -> None:
        # The driver's own transactions would end before each CREATE TABLE: SQLAlchemy begins ours.
        connection.isolation_level = None
        cursor = connection.cursor()
        for pragma in ("trusted_schema=OFF", "synchronous=NORMAL", "journal_mode=WAL"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _(connection: Connection) -> None:
        # A writer takes the lock first: one that only read so far cannot wait for it.
        write = connection.get_execution_options().get("write", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")

    return engine


@contextlib.contextmanager
def guarded(url: URL) -> Generator[None]:
    """Turn what a database raises into `Corrupt` or `Unavailable`, naming the catalog."""
    where = url.render_as_string(hide_password=True)
    try:
        yield
    except exc.DBAPIError as error:
        raise _meaning(where, str(error.orig)) from error
    except (exc.SQLAlchemyError, sqlite3.Error) as error:
        raise _meaning(where, str(error)) from error
    except UnicodeDecodeError as error:
        # SQLite names a damaged table in its message, and the driver cannot decode the name.
        raise _meaning(where, f"Could not decode what it says: {error}") from error


def _meaning(where: str, text: str) -> AssayError:
    line = text.strip().partition("\n")[0][:300]
    if _DAMAGE.search(text):
        return Corrupt(f"the catalog {where} is damaged: {line}", remedy=REBUILD, code="catalog")
    return Unavailable(
        f"the catalog {where} cannot be used: {line}",
        remedy="check that the database runs, is writable and has space, then retry",
        code="catalog",
    )
