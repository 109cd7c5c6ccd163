"""The first tables.

Written out, not taken from `assay.catalog.schema`: a migration stays what it was.
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def _texts(*names: str) -> list[sa.Column[str]]:
    return [sa.Column(name, _TEXT, nullable=False) for name in names]


def _number(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, nullable=False, autoincrement=False)


def _flags(*names: str) -> list[sa.Column[bool]]:
    return [sa.Column(name, sa.Boolean(create_constraint=False), nullable=False) for name in names]


def upgrade() -> None:
    progress = op.create_table(
        "progress",
        sa.Column("id", sa.Integer, sa.CheckConstraint("id = 0"), autoincrement=False),
        _number("position"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.bulk_insert(progress, [{"id": 0, "position": 0}])
    op.create_table(
        "statements",
        _number("leaf"),
        *_texts("envelope", "id", "project", "kind", "predicate_type", "producer", "issued"),
        *_texts("predicate"),
        sa.PrimaryKeyConstraint("leaf"),
    )
    op.create_index("statements_by_kind", "statements", ["project", "kind", "leaf"])
    op.create_table(
        "subjects",
        _number("leaf"),
        sa.Column("ordinal", sa.Integer, nullable=False, autoincrement=False),
        *_texts("project", "name", "digest"),
        sa.PrimaryKeyConstraint("leaf", "ordinal"),
    )
    op.create_index("subjects_by_digest", "subjects", ["project", "digest", "leaf"])
    op.create_table(
        "actors",
        *_texts("id", "kind", "level"),
        *_flags("disabled"),
        _number("leaf"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "datasets",
        *_texts("project", "name", "content", "owner", "details", "issued"),
        *_flags("hold"),
        _number("leaf"),
        sa.PrimaryKeyConstraint("project", "name"),
    )
    op.create_table(
        "models",
        *_texts("project", "name", "issued"),
        _number("leaf"),
        sa.PrimaryKeyConstraint("project", "name"),
    )
    op.create_table(
        "model_versions",
        *_texts("project", "name", "version", "author", "artifact", "served", "details", "stage"),
        *_texts("issued"),
        *_flags("revoked", "hold"),
        _number("leaf"),
        sa.PrimaryKeyConstraint("project", "name", "version"),
    )
    op.create_index("model_versions_by_served", "model_versions", ["project", "served"])
    op.create_table(
        "aliases",
        *_texts("project", "name", "alias", "version", "issued"),
        _number("leaf"),
        sa.PrimaryKeyConstraint("project", "name", "alias"),
    )
    op.create_table(
        "approvals",
        _number("leaf"),
        *_texts("project", "name", "version", "stage", "envelope", "comment", "issued"),
        sa.PrimaryKeyConstraint("leaf"),
    )
    op.create_index("approvals_by_version", "approvals", ["project", "name", "version"])
    op.create_table(
        "decisions",
        _number("leaf"),
        *_texts("project", "id", "action", "actor", "subject", "bundle", "reasons", "status"),
        *_texts("issued"),
        *_flags("allowed"),
        sa.PrimaryKeyConstraint("leaf"),
    )
    op.create_index("decisions_by_leaf", "decisions", ["project", "leaf"])
    op.create_index("decisions_by_id", "decisions", ["project", "id"])
