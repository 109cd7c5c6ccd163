"""The catalog: an SQL index of the ledger, in SQLite or PostgreSQL, for lists and searches.

What lives here
    `catalog` (open, index, query), `schema` (the tables), `derive` (which rows a statement
    becomes), `rows` (what queries return), `database` (connections and their errors), `migrate`
    and `migrations` (Alembic).

May import
    Floor 1 (evidence) and floor 0.  The only part of assay that imports SQLAlchemy.

An attacker who owns it can
    show wrong lists until ``assay rebuild --check``, and read the statements of projects whose
    files they already hold in plain; open no gate, because facts come from verified statements and
    denying state from the fold of the ledger.
"""
