"""Bring a database to the newest schema, in one transaction: all of it or none."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, Engine, inspect, text

from assay import files
from assay.catalog.database import writer
from assay.catalog.schema import HEAD
from assay.errors import Unavailable

MIGRATIONS = Path(__file__).parent / "migrations"
_LOCK = 0x61737361  # "assa": PostgreSQL's advisory locks are named by numbers.


def migrate(engine: Engine) -> None:
    """Apply the missing migrations; a crash or failure leaves the earlier schema.

    Raises `Unavailable` for a schema newer than this release.
    """
    with engine.connect() as connection:
        if revision(connection) == HEAD:
            return
    with writer(engine).begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        found = revision(connection)
        if found != HEAD:  # Else another process did it while this one waited.
            _upgrade(connection, found)
        files.point("catalog.migrating")
    files.point("catalog.migrated")


def revision(connection: Connection) -> str | None:
    """The migration a database stands at; None for an empty one."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def _upgrade(connection: Connection, found: str | None) -> None:
    # Loading Alembic takes longer than opening a catalog that needs nothing.
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if found is not None and found not in known:
        raise Unavailable(
            f"the catalog has the schema {found[:40]!r}, which this release of assay does not know",
            remedy="use the release that wrote it, or remove the catalog and run `assay rebuild`",
            code="catalog.schema",
        )
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
