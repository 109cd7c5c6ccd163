"""Parquet, read in a confined process.

The format is binary, compressed and full of lengths that its parser believes: one altered byte can
make it ask for all the memory there is, which ends a process without a word.  So another process
does it (`assay.isolation`), and answers with plain columns in Arrow's format.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable

import polars as pl

from assay.data.kinds import plain
from assay.data.rows import Limits, bounded_binary, check_names
from assay.errors import Unavailable, Usage
from assay.isolation import limits as isolation
from assay.isolation.run import run

_HOPELESS = ("crashed", "memory", "cpu", "timeout", "answer", "protocol", "payload")
"""How the confined process ends when the file is to blame."""


def read(source: Iterable[bytes], name: str, limits: Limits) -> pl.DataFrame:
    """The checked table in a Parquet file of at most 256 MiB; raises `Usage`."""
    head = {"name": name, "cells": limits.cells, "columns": limits.columns}
    room = Limits(file_bytes=min(limits.file_bytes, isolation.PAYLOAD_LIMIT - 4096))
    content = bounded_binary(source, name, room)
    try:
        outcome = run(
            "assay.data.parquet:confined",
            json.dumps(head).encode() + b"\n" + content,
            limits=isolation.Limits(
                memory_bytes=16 * isolation.GIB,
                cpu_seconds=300,
                wall_seconds=300,
                answer_bytes=4 * isolation.GIB - 1,
            ),
        )
        return pl.read_ipc(io.BytesIO(outcome.value))
    except Unavailable as error:
        if error.code.rpartition(".")[2] not in _HOPELESS:
            raise
        reason = error.code
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        reason = type(error).__name__
    raise _unreadable(name, reason)


def _unreadable(name: str, reason: str) -> Usage:
    return Usage(
        f"{name} is not a valid Parquet file",
        remedy="export the table again, and compare its size with the original's",
        code="data.unreadable",
        # The parser's message can quote cells, so it stays out.
        details={"error": reason},
    )


def confined(payload: bytes) -> bytes:
    """Runs in the confined process: a header line and a Parquet file, to Arrow IPC."""
    line, _, content = payload.partition(b"\n")
    head = json.loads(line)
    name, limits = str(head["name"]), Limits(cells=head["cells"], columns=head["columns"])
    try:
        scan = pl.scan_parquet(io.BytesIO(content))
        columns = check_names(list(scan.collect_schema()), name, limits)
        rows = int(scan.select(pl.len()).collect().item())
        _check_size(rows, len(columns), name, limits)
        frame = pl.read_parquet(io.BytesIO(content))
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, ValueError) as error:
        raise _unreadable(name, type(error).__name__) from None
    frame.columns = columns
    answer = io.BytesIO()
    plain(frame, name).write_ipc(answer)
    return answer.getvalue()


def _check_size(rows: int, columns: int, name: str, limits: Limits) -> None:
    if not rows:
        raise Usage(
            f"{name} has no rows",
            remedy="give a table with at least one row",
            code="data.no_rows",
        )
    if rows * columns > limits.cells:
        raise Usage(
            f"{name} has {rows:,} rows of {columns:,} columns; "
            f"{limits.cells:,} values are read at most",
            remedy="split the table, or keep only the columns that are needed",
            code="data.too_large",
        )
