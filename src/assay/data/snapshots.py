"""What a source holds at one moment, as the bytes of a snapshot: Parquet, made here."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from assay.data import objects, sql, sqlite
from assay.data.rows import DEFAULT_LIMITS, Limits
from assay.data.sources import Source
from assay.data.tables import read_stream
from assay.errors import Usage
from assay.isolation.limits import PAYLOAD_LIMIT

MOST_BYTES = PAYLOAD_LIMIT - 4096
"""A snapshot is read again in a confined process, which takes no more."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A query, or the path of an object: one of the two."""

    query: str = ""
    path: str = ""

    def check(self) -> None:
        """Raise `Usage` unless it is one of the two, well formed."""
        if bool(self.query) == bool(self.path):
            raise Usage(
                "name a query or an object, one of the two",
                remedy="--query for a database, --object for a bucket or a folder",
                code="source.asked",
            )
        if self.query:
            sql.check_query(self.query)
        else:
            objects.check_path(self.path)

    @property
    def digest(self) -> str:
        """Names what was asked for."""
        text = self.query or self.path
        return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def origin(source: Source, asked: Asked) -> str:
    """Where a snapshot comes from, in words."""
    what = f"query {asked.digest}" if asked.query else f"object {asked.path}"
    return f"source {source.name} ({source.place}), {what}"


def take(
    source: Source,
    asked: Asked,
    *,
    base: Path,
    work: Path,
    apart: Path,
    environment: Mapping[str, str] | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> pl.DataFrame:
    """The rows as they are now.

    Relative paths begin at `base`; `work` is a private folder for what lies on disk meanwhile;
    nothing is read in the folder `apart`.  Raises `assay.errors`, each naming the source.
    """
    asked.check()
    if (source.asks == "query") != bool(asked.query):
        raise Usage(
            f"source {source.name} is asked for by {source.asks}",
            remedy=f"--{source.asks}",
            code="source.asked",
        )
    match source.kind:
        case "sqlite":
            return sqlite.read(source, base, work, asked.query, limits)
        case "postgresql":
            secret = source.secret(base, environment)
            return sql.read(source, secret, asked.query, limits)
        case "s3":
            secret = source.secret(base, environment)
            content = objects.read_s3(source, secret, asked.path, limits)
        case "file":
            content = objects.read_file(source, base, asked.path, limits, apart=apart)
    name = f"source {source.name}: {asked.path}"
    return read_stream(io.BytesIO(content), name, limits=limits).frame


def parquet(frame: pl.DataFrame, name: str) -> bytes:
    """The snapshot's bytes; raises `Usage` when they are too many to be read again."""
    made = io.BytesIO()
    frame.write_parquet(made, compression="zstd", statistics=False)
    content = made.getvalue()
    if len(content) > MOST_BYTES:
        raise Usage(
            f"{name}: the snapshot has {len(content):,} bytes; {MOST_BYTES:,} are kept at most",
            remedy="take fewer rows, or only the columns that are needed",
            code="data.too_large",
        )
    return content
