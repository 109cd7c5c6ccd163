"""One SELECT against an SQLite file, into a frame.

The file is copied by SQLite's own backup, page by page under a read lock, so that what is read is
one moment of a database in use; nothing in the pages is interpreted for that.  A confined process
then opens the copy, which no longer changes, and asks: with an authorizer that allows reading and
nothing else, no trust in the file's own schema, and bounds on everything.

SQLite types values, not columns: a column gets the one type that holds all of its values (see
`assay.data.cells`); text that spells dates becomes dates; bytes are refused.
"""

from __future__ import annotations

import contextlib
import io
import json
import sqlite3
import time
from pathlib import Path
from urllib.parse import quote

import polars as pl

from assay import files
from assay.data.cells import TEXT_BYTES, Columns
from assay.data.rows import Limits, check_names
from assay.data.sources import Source
from assay.data.sql import FIRST_ROWS, check_query, next_batch
from assay.data.tables import dated
from assay.errors import AssayError, Unavailable, Usage
from assay.isolation import limits as isolation
from assay.isolation.run import run

_MAGIC = b"SQLite format 3\0"
_MOST_FILE = 64 << 30
_PAGES = 4096
_OPERATIONS = 100_000
_ALLOWED = {
    sqlite3.SQLITE_SELECT,
    sqlite3.SQLITE_READ,
    sqlite3.SQLITE_RECURSIVE,
    sqlite3.SQLITE_FUNCTION,
}
_FUNCTIONS = frozenset({"load_extension", "fts3_tokenizer", "edit", "readfile", "writefile"})
"""Not there in a plain build; refused in any."""
_SPEAKABLE = ("no such ", "near ", "ambiguous column", "misuse of", "wrong number")
"""How messages begin that quote the query and nothing else."""


def read(source: Source, base: Path, work: Path, query: str, limits: Limits) -> pl.DataFrame:
    """What `query` returns; the copy lies in the folder `work` meanwhile.

    Raises `NotFound` or `Usage` for what is no such database, `Usage` for the query, `Unavailable`
    for a database that is locked or a query that takes too long.
    """
    statement = check_query(query)
    copy = work / "source.sqlite"
    try:
        _copy(source, base / source.path, copy)
        head = {
            "source": source.name,
            "path": str(copy.resolve()),
            "query": statement,
            "columns": limits.columns,
            "cells": limits.cells,
            "bytes": limits.file_bytes,
        }
        try:
            outcome = run(
                "assay.data.sqlite:confined",
                json.dumps(head).encode(),
                inputs=[copy],
                limits=isolation.Limits(
                    memory_bytes=16 * isolation.GIB,
                    cpu_seconds=source.timeout,
                    wall_seconds=source.timeout,
                    answer_bytes=4 * isolation.GIB - 1,
                ),
            )
        except Unavailable as error:
            match error.code.rpartition(".")[2]:
                case "cpu" | "timeout":
                    raise _late(source) from error
                case "memory" | "answer" | "crashed":
                    raise Usage(
                        f"source {source.name}: the answer is too large, or the database damaged",
                        remedy="take fewer rows or columns; else check the database",
                        code="data.too_large",
                        details={"error": error.code},
                    ) from error
                case _:
                    raise
    finally:
        for left in (copy, copy.with_name(f"{copy.name}-journal")):
            with contextlib.suppress(OSError):
                left.unlink(missing_ok=True)
    return pl.read_ipc(io.BytesIO(outcome.value))


def _late(source: Source) -> Unavailable:
    return Unavailable(
        f"source {source.name}: no answer within {source.timeout} seconds",
        remedy="ask for less, or raise the source's timeout in assay.toml",
        code="source.timeout",
    )


def _locked(whose: str) -> Unavailable:
    return Unavailable(
        f"{whose}: the database is locked, or was left in the middle of a change",
        remedy="wait for its writer, or open it once with its own program, then try again",
        code="source.locked",
    )


def _copy(source: Source, path: Path, copy: Path) -> None:
    whose = f"source {source.name}"
    with files.open_input(path, what=f"{whose}: database") as stream:
        start = stream.read(len(_MAGIC))
        size = stream.seek(0, io.SEEK_END)
    if start != _MAGIC:
        raise Usage(
            f"{whose}: {source.place} is not an SQLite database",
            remedy="check the url of the source",
            code="source.kind",
        )
    if size > _MOST_FILE:
        raise Usage(f"{whose}: the database is larger than {_MOST_FILE:,} bytes", code="source")
    deadline = time.monotonic() + source.timeout

    def watch(status: int, remaining: int, total: int) -> None:  # noqa: ARG001
        if time.monotonic() > deadline:
            busy = status in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
            raise _locked(whose) if busy else _late(source)

    files.make_folder(copy.parent)
    try:
        with (
            contextlib.closing(_open(path, "mode=ro", source.timeout)) as original,
            contextlib.closing(sqlite3.connect(copy)) as target,
        ):
            target.execute("PRAGMA synchronous=OFF")
            original.backup(target, pages=_PAGES, progress=watch, sleep=0.05)
    except sqlite3.Error as error:
        raise _failed(source.name, error, opening=True) from None


def _open(path: Path, how: str, timeout: float = 0) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{quote(str(path))}?{how}", uri=True, timeout=timeout)


def confined(payload: bytes) -> bytes:
    """Runs in the confined process: a database and a query, to Arrow IPC."""
    head = json.loads(payload)
    name = str(head["source"])
    limits = Limits(columns=head["columns"], cells=head["cells"], file_bytes=head["bytes"])
    columns = Columns(f"source {name}", limits, remedy="cast it in the query, for example to text")
    with contextlib.closing(_open(Path(head["path"]), "mode=ro&immutable=1")) as connection:
        try:
            _restrict(connection)
            cursor = connection.execute(head["query"])
            found = [str(column[0]) for column in cursor.description or ()]
            names = check_names(found, f"source {name}", limits)
            size = FIRST_ROWS
            while rows := cursor.fetchmany(size):
                before = columns.bytes
                for place, column in enumerate(names):
                    columns.add(column, [row[place] for row in rows])
                columns.end_batch(len(rows))
                size = next_batch(len(rows), columns.bytes - before, len(names))
        except (sqlite3.Error, sqlite3.Warning, OverflowError) as error:
            raise _failed(name, error) from None
    answer = io.BytesIO()
    pl.DataFrame([dated(c) for c in columns.frame().get_columns()]).write_ipc(answer)
    return answer.getvalue()


def _restrict(connection: sqlite3.Connection) -> None:
    for pragma in (
        *("trusted_schema=OFF", "cell_size_check=ON", "mmap_size=0", "temp_store=MEMORY"),
        "query_only=ON",
    ):
        connection.execute(f"PRAGMA {pragma}")
    connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 64 * TEXT_BYTES)
    connection.setlimit(sqlite3.SQLITE_LIMIT_VDBE_OP, _OPERATIONS)
    connection.set_authorizer(_authorize)


def _authorize(action: int, _: str | None, second: str | None, *__: str | None) -> int:
    if action == sqlite3.SQLITE_FUNCTION and (second or "").lower() in _FUNCTIONS:
        return sqlite3.SQLITE_DENY
    return sqlite3.SQLITE_OK if action in _ALLOWED else sqlite3.SQLITE_DENY


def _failed(source: str, error: Exception, *, opening: bool = False) -> AssayError:
    """An error as one line.  Messages of the query's own making (``no such table: x``) are passed
    on; those that could quote a value are not."""
    whose, code = f"source {source}", getattr(error, "sqlite_errorname", "")
    said = str(error).partition("\n")[0][:200]
    if code.startswith(("SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_READONLY", "SQLITE_CANTOPEN")):
        return _locked(whose)
    if code.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_IOERR")) or opening:
        return Usage(
            f"{whose}: the database is damaged, or no database ({code or type(error).__name__})",
            remedy="check it with its own program, or restore it",
            code="source.kind",
        )
    if code.startswith("SQLITE_AUTH"):
        said = "the query does more than read tables"
    elif isinstance(error, (sqlite3.Warning, sqlite3.ProgrammingError)):
        said = "the query is not one statement"
    elif not said.startswith(_SPEAKABLE):
        said = f"the query fails ({code or type(error).__name__})"
    return Usage(f"{whose}: {said}", remedy="give one correct SELECT", code="source.query")
