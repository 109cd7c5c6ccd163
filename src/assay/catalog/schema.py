"""The catalog's tables.

Every row can be derived again from the ledger.  Text is compared and sorted by its UTF-8 bytes on
both databases, so that their dumps are equal; JSON is kept as canonical text; times are RFC 3339 in
UTC (`assay.clock.timestamp`), which sorts as text.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
)

HEAD = "0001"
"""The newest migration.  Opening compares it before loading Alembic."""

LONGEST = 512
"""Characters in an indexed text; PostgreSQL's B-trees refuse rows above a third of a page."""

metadata = MetaData()

_text = Text().with_variant(Text(collation="C"), "postgresql")


def _texts(*names: str, primary_key: bool = False) -> list[Column[str]]:
    return [Column(name, _text, nullable=False, primary_key=primary_key) for name in names]


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
    *_texts("envelope", "id", "project", "kind", "predicate_type", "producer", "issued"),
    *_texts("predicate"),
    Index("statements_by_kind", "project", "kind", "leaf"),
)

subjects = Table(
    "subjects",
    metadata,
    _leaf(primary_key=True),
    Column("ordinal", Integer, primary_key=True, autoincrement=False),
    *_texts("project", "name", "digest"),
    Index("subjects_by_digest", "project", "digest", "leaf"),
)

actors = Table(
    "actors",
    metadata,
    *_texts("id", primary_key=True),
    *_texts("kind", "level"),
    _flag("disabled"),
    _leaf(),
)

datasets = Table(
    "datasets",
    metadata,
    *_texts("project", "name", primary_key=True),
    *_texts("content", "owner", "details", "issued"),
    _flag("hold"),
    _leaf(),
)

models = Table(
    "models",
    metadata,
    *_texts("project", "name", primary_key=True),
    *_texts("issued"),
    _leaf(),
)

model_versions = Table(
    "model_versions",
    metadata,
    *_texts("project", "name", "version", primary_key=True),
    *_texts("author", "artifact", "served", "details", "stage", "issued"),
    _flag("revoked"),
    _flag("hold"),
    _leaf(),
    Index("model_versions_by_served", "project", "served"),
)

aliases = Table(
    "aliases",
    metadata,
    *_texts("project", "name", "alias", primary_key=True),
    *_texts("version", "issued"),
    _leaf(),
)

approvals = Table(
    "approvals",
    metadata,
    _leaf(primary_key=True),
    *_texts("project", "name", "version", "stage", "envelope", "comment", "issued"),
    Index("approvals_by_version", "project", "name", "version"),
)

decisions = Table(
    "decisions",
    metadata,
    *_texts("project", "id", primary_key=True),
    *_texts("action", "actor", "subject", "bundle", "reasons", "status", "issued"),
    _flag("allowed"),
    _leaf(),
    Index("decisions_by_leaf", "project", "leaf"),
)
