"""One SELECT against PostgreSQL, into a frame.

The transaction is read-only and sees one moment (repeatable read); the statement is declared as a
cursor through the extended protocol, which takes one statement, and of those only what returns
rows; rows come in bounded batches.  What the query may see is decided by the rights of its user in
the database, so give a source a user who may SELECT and nothing else.

Types
    integers, floats, truth values, text, UUIDs, enumerations and dates are taken exactly; moments
    with a zone as UTC.  ``numeric`` becomes an integer where it has no fraction digits and a float
    otherwise, and is refused where a float would lose a digit.  Anything else (bytes, JSON,
    arrays, times, intervals, ranges) is refused by name: cast it in the query.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import polars as pl

from assay.data.cells import Columns
from assay.data.rows import Limits, check_names
from assay.data.sources import Source
from assay.errors import AssayError, Denied, NotFound, Unavailable, Usage

if TYPE_CHECKING:
    from psycopg import Connection, Error

FIRST_ROWS = 64
_BATCH_CELLS = 200_000
_BATCH_BYTES = 64 << 20
_MOST_QUERY = 100_000
_SPACE = re.compile(r"(?:\s|--[^\n]*(?:\n|$)|/\*(?:[^*]|\*(?!/))*\*/)*", re.ASCII)
_FIRST = re.compile(r"(select|with|values|table)\b", re.IGNORECASE | re.ASCII)

EXACT = frozenset(
    {
        *("int2", "int4", "int8", "oid", "float4", "float8", "numeric", "bool"),
        *("text", "varchar", "bpchar", "name", "uuid", "date", "timestamp", "timestamptz"),
    }
)
"""PostgreSQL's own types that a column may hold; types the database defines come as text."""
_AS_TEXT = frozenset({"uuid"})


def check_query(query: str) -> str:
    """`query` if it begins as a SELECT; else `Usage`.  A first look: what holds is elsewhere."""
    start = _SPACE.match(query)
    if len(query) > _MOST_QUERY or "\0" in query:
        raise Usage("the query is too long, or holds a NUL", code="source.query")
    if _FIRST.match(query, start.end() if start else 0) is None:
        raise Usage(
            "the query is not a SELECT",
            remedy="give one statement that begins with SELECT or WITH",
            code="source.query",
        )
    return query.rstrip().rstrip(";")


def read(source: Source, secret: str, query: str, limits: Limits) -> pl.DataFrame:
    """What `query` returns.

    Raises `Usage` for the query and for values no column can hold, `NotFound` for a database or
    table that is not there, `Denied` where the credential or the user's rights do not suffice,
    `Unavailable` for a server that cannot be reached or does not answer in time.
    """
    statement = check_query(query)
    try:
        import psycopg
    except ImportError as error:
        raise Unavailable(
            f"source {source.name}: PostgreSQL needs the package psycopg",
            remedy="pip install 'assay[postgres]'",
            code="source.postgresql",
        ) from error
    columns = Columns(
        f"source {source.name}", limits, remedy="cast it in the query, for example to text"
    )
    try:
        with _connected(source, secret) as connection, connection.cursor(name="assay") as cursor:
            cursor.execute(statement.encode())
            description = cursor.description or []
            names = check_names([c.name for c in description], f"source {source.name}", limits)
            for column in description:
                _check_type(source, column.name, column.type_code, connection)
            size = FIRST_ROWS
            while rows := cursor.fetchmany(size):
                before = columns.bytes
                for place, name in enumerate(names):
                    columns.add(name, [_plain(row[place]) for row in rows])
                columns.end_batch(len(rows))
                size = next_batch(len(rows), columns.bytes - before, len(names))
    except psycopg.Error as error:
        raise failure(source, error) from None
    return columns.frame()


def next_batch(rows: int, size: int, columns: int) -> int:
    """How many rows to ask for next, after `rows` of `size` bytes: as many as are about 64 MiB,
    and no more than eight times as many as before, because rows can grow."""
    by_bytes = _BATCH_BYTES * rows // max(1, size)
    return max(1, min(8 * rows, by_bytes, _BATCH_CELLS // max(1, columns)))


@contextlib.contextmanager
def _connected(source: Source, secret: str) -> Generator[Connection[Any]]:
    import psycopg

    milliseconds = source.timeout * 1000
    root = source.sslrootcert or ("system" if source.sslmode == "verify-full" else "")
    connection = psycopg.connect(
        host=source.host,
        port=source.port,
        user=source.user,
        dbname=source.database,
        # Said even where empty, so that libpq does not look in the environment or at home.
        password=secret,
        passfile="/nonexistent/assay",
        sslmode=source.sslmode,
        sslrootcert=root,
        connect_timeout=min(source.timeout, 30),
        application_name="assay",
        options=f"-c default_transaction_read_only=on -c statement_timeout={milliseconds} "
        f"-c idle_in_transaction_session_timeout={milliseconds}",
        tcp_user_timeout=milliseconds,
    )
    with connection:
        connection.read_only = True
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        yield connection


def _check_type(source: Source, column: str, oid: int, connection: Connection[Any]) -> None:
    known = connection.adapters.types.get(oid)
    if known is None:
        return  # An enumeration, a domain, an extension's type: comes as text.
    if known.name not in EXACT or oid != known.oid:
        raise Usage(
            f"source {source.name}: column {column!r} is of type {known.name}"
            f"{'[]' if oid == known.array_oid else ''}, which no table column holds exactly",
            remedy=f'cast it in the query, for example "{column}"::text',
            code="data.type",
        )


def _plain(value: Any) -> Any:
    return str(value) if type(value).__name__ == "UUID" else value


def failure(source: Source, error: Error) -> AssayError:
    """A database error as one line: the source and the rule, never a value.

    What the server says about the query itself (SQLSTATE class 42: syntax, names, rights) is
    passed on; its other messages can quote cells and stay out.
    """
    whose, state = f"source {source.name}", error.sqlstate or ""
    said = (error.diag.message_primary or "").partition("\n")[0][:200]
    match state[:2] or _class_of(error):
        case "28":
            return Denied(
                f"{whose}: the server at {source.place} refuses the user or the password",
                remedy="check the user in its url, and what its credential refers to",
                code="source.refused",
            )
        case "3D":
            return NotFound(
                f"{whose}: there is no database {source.database!r}",
                remedy="check the url of the source",
                code="source.database",
            )
        case "42" if state == "42501":
            return Denied(
                f"{whose}: {said}",
                remedy="grant the source's user SELECT on it",
                code="source.refused",
            )
        case "42":
            return Usage(f"{whose}: {said}", remedy="correct the query", code="source.query")
        case "25" | "0A":
            return Usage(
                f"{whose}: the query would change something, and sources are only read",
                remedy="give one SELECT",
                code="source.query",
            )
        case "57" if state == "57014":
            return Unavailable(
                f"{whose}: no answer within {source.timeout} seconds",
                remedy="ask for less, or raise the source's timeout in assay.toml",
                code="source.timeout",
            )
        case "22":
            return Usage(
                f"{whose}: a value does not fit what the query does with it ({state})",
                remedy="correct the query; a date of infinity is cast to text",
                code="source.value",
            )
        case _:
            why = f"the server failed ({state})" if state else "cannot be reached, or hung up"
            return Unavailable(
                f"{whose}: {source.place}: {why}",
                remedy="check the url, that the server runs and the network, then try again",
                code="source",
            )


def _class_of(error: Error) -> str:
    """The class of an error for which there is no SQLSTATE: met here, or while connecting."""
    said = str(error)
    if type(error).__name__ == "DataError":
        return "22"
    if re.search(r"database \".*\" does not exist", said):
        return "3D"
    refused = r"authentication failed|role \".*\" does not exist|no password supplied|pg_hba\.conf"
    return "28" if re.search(refused, said) else ""
