"""The catalog's tables.

Every row can be derived again from the ledger.  Text is compared and sorted by its UTF-8 bytes on
both databases (the migrations choose PostgreSQL's collation "C"), so that their dumps are equal;
JSON is kept as canonical text; times are RFC 3339 in UTC (`assay.clock.timestamp`), which sorts as
text.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Dialect,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    TypeDecorator,
)

HEAD = "0001"
"""The newest migration.  Opening compares it before loading Alembic."""

LONGEST_KEY = 200
"""Characters in an indexed text: an actor's id has as many.  PostgreSQL refuses an index row over
2,704 bytes: three of these at four bytes each have to fit."""

LONGEST = 2000
"""Characters in any other text."""

metadata = MetaData()


class Clipped(TypeDecorator[str]):
    """Foreign text as both databases can hold it, clipped in rows as in questions."""

    impl = Text
    cache_ok = True

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.limit = limit

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        if value is None:
            return None
        clean = value.encode("utf-8", "replace").decode()
        return clean.replace("\0", "\N{REPLACEMENT CHARACTER}")[: self.limit]


def _keys(*names: str, primary_key: bool = False) -> list[Column[str]]:
    return [Column(n, Clipped(LONGEST_KEY), nullable=False, primary_key=primary_key) for n in names]


def _texts(*names: str) -> list[Column[str]]:
    return [Column(name, Clipped(LONGEST), nullable=False) for name in names]


def _json(name: str) -> Column[str]:
    return Column(name, Text, nullable=False)


def _leaf(*, primary_key: bool = False) -> Column[int]:
    return Column("leaf", BigInteger, nullable=False, primary_key=primary_key, autoincrement=False)


def _flag(name: str) -> Column[bool]:
    return Column(name, Boolean(create_constraint=False), nullable=False)


progress = Table(
    "progress",
    metadata,
    Column("id", Integer, CheckConstraint("id = 0"), primary_key=True, autoincrement=False),
    Column("position", BigInteger, nullable=False),
)
"""One row: the index of the next leaf to index."""

statements = Table(
    "statements",
    metadata,
    _leaf(primary_key=True),
    *_keys("project", "kind"),
    *_texts("envelope", "id", "predicate_type", "producer", "issued"),
    _json("predicate"),
    Index("statements_by_kind", "project", "kind", "leaf"),
)

subjects = Table(
    "subjects",
    metadata,
    _leaf(primary_key=True),
    Column("ordinal", Integer, primary_key=True, autoincrement=False),
    *_keys("project", "digest"),
    *_texts("name"),
    Index("subjects_by_digest", "project", "digest", "leaf"),
)

actors = Table(
    "actors",
    metadata,
    *_keys("id", primary_key=True),
    *_texts("kind", "level"),
    _flag("disabled"),
    _leaf(),
)

datasets = Table(
    "datasets",
    metadata,
    *_keys("project", "name", primary_key=True),
    *_texts("content", "owner", "issued"),
    _json("details"),
    _flag("hold"),
    _leaf(),
)

models = Table(
    "models",
    metadata,
    *_keys("project", "name", primary_key=True),
    *_texts("issued"),
    _leaf(),
)

model_versions = Table(
    "model_versions",
    metadata,
    *_keys("project", "name", "version", primary_key=True),
    *_keys("served"),
    *_texts("author", "artifact", "stage", "issued"),
    _json("details"),
    _flag("revoked"),
    _flag("hold"),
    _leaf(),
    Index("model_versions_by_served", "project", "served"),
)

aliases = Table(
    "aliases",
    metadata,
    *_keys("project", "name", "alias", primary_key=True),
    *_texts("version", "issued"),
    _leaf(),
)

approvals = Table(
    "approvals",
    metadata,
    _leaf(primary_key=True),
    *_keys("project", "name", "version"),
    *_texts("stage", "envelope", "comment", "issued"),
    Index("approvals_by_version", "project", "name", "version"),
)

decisions = Table(
    "decisions",
    metadata,
    _leaf(primary_key=True),
    *_keys("project", "id"),
    *_texts("action", "actor", "subject", "bundle", "status", "issued"),
    _json("reasons"),
    _flag("allowed"),
    Index("decisions_by_leaf", "project", "leaf"),
    Index("decisions_by_id", "project", "id"),
)
