"""Open, fill and query the catalog.

It is filled in the ledger's order, each leaf once: `Catalog.position` says where to continue, a
leaf that is indexed already is compared and skipped, and a gap is refused.  So what the catalog
holds is a function of the ledger's first `position` leaves, however often indexing was interrupted
and whoever did it; `dump_canonical` of a fresh catalog filled from the ledger must equal it.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Generator, Iterable, Iterator
from typing import Any, TypeVar

import msgspec
from sqlalchemy import (
    Connection,
    Engine,
    RowMapping,
    Select,
    Table,
    and_,
    delete,
    func,
    insert,
    select,
)
from sqlalchemy import update as update_rows
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL

from assay import canonical, files
from assay.catalog import database, derive, schema
from assay.catalog.migrate import migrate
from assay.catalog.rows import (
    ActorRow,
    AliasRow,
    ApprovalRow,
    DatasetRow,
    DecisionRow,
    ModelRow,
    StatementRow,
    VersionRow,
)
from assay.errors import Conflict, Corrupt
from assay.evidence.state import kind_of
from assay.evidence.statement import Statement

DUMP_FORMAT = "assay/catalog-dump/v1"
_BATCH = 500
_DEFAULT_LIMIT = 100

_S = TypeVar("_S", bound=msgspec.Struct)


class Entry(msgspec.Struct, frozen=True):
    """A leaf to index; `statement` is None where the leaf's key ring was destroyed.

    `accepted` says whether the fold of the ledger accepted it (its index is not in
    `State.rejected`): what was rejected is listed as a statement, and changes no other row.
    """

    leaf: int
    project: str
    envelope: str
    statement: Statement | None
    accepted: bool


class Catalog:
    """An index of one ledger.  It answers questions; it decides nothing.

    Every method raises `Unavailable` when the database cannot be reached or written and `Corrupt`
    when it is damaged.  Safe to share between threads and processes.
    """

    def __init__(self, engine: Engine, url: URL) -> None:
        self._engine = engine
        self._url = url
        self._upsert = postgresql.insert if engine.dialect.name == "postgresql" else sqlite.insert

    @classmethod
    def open(cls, url: str) -> Catalog:
        """The catalog at a SQLAlchemy URL (SQLite or PostgreSQL), brought to the newest schema.

        ``sqlite://`` lives in memory.  A migration that fails leaves the earlier schema.  Raises
        `Usage` for other URLs, `Unavailable` for a schema of a later release.
        """
        parsed = database.parse_url(url)
        engine = database.connect(parsed)
        try:
            with database.guarded(parsed):
                migrate(engine)
        except BaseException:
            engine.dispose()
            raise
        return cls(engine, parsed)

    def close(self) -> None:
        """Give the connections back."""
        self._engine.dispose()

    @contextlib.contextmanager
    def _reading(self) -> Generator[Connection]:
        """A snapshot to read and to decode rows from: what cannot be decoded is damage."""
        with database.guarded(self._url), self._engine.connect() as connection:
            try:
                yield connection
            except (ValueError, TypeError) as error:
                raise Corrupt(
                    f"the catalog holds a row that is not one of its own: {error}",
                    remedy=database.REBUILD,
                    code="catalog",
                ) from error

    @contextlib.contextmanager
    def _writing(self) -> Generator[Connection]:
        """One transaction; no other writer is in one at the same time."""
        with database.guarded(self._url):
            with database.writer(self._engine).begin() as connection:
                # SQLite has the lock by now; PostgreSQL gets it from this row.
                connection.execute(select(schema.progress.c.id).with_for_update())
                yield connection
                files.point("catalog.writing")
            files.point("catalog.written")

    # -- filling ----------------------------------------------------------------------------------

    def position(self) -> int:
        """The index of the next leaf to index."""
        with self._reading() as connection:
            return _position(connection)

    def index(self, entry: Entry) -> None:
        """Index one leaf; doing it again changes nothing.

        Its project is the one whose ring seals the leaf: it decides who sees the statement,
        whatever the header claims.  What the fold made of it is filed where the fold files it.
        Raises `Conflict` for a gap and `Corrupt` when the catalog holds another statement at this
        index.
        """
        self.index_all([entry])

    def index_all(self, entries: Iterable[Entry]) -> None:
        """`index` for many, a few hundred in each transaction; an error keeps those before it."""
        source = iter(entries)
        while batch := list(itertools.islice(source, _BATCH)):
            with self._writing() as connection:
                self._add(connection, batch)

    def _add(self, connection: Connection, batch: list[Entry]) -> None:
        position = _position(connection)
        known = _envelopes(connection, [entry.leaf for entry in batch if entry.leaf < position])
        fresh: list[derive.Leaf] = []
        accepted: list[derive.Leaf] = []
        for entry in batch:
            if entry.leaf > position:
                raise Conflict(
                    f"leaf {entry.leaf} cannot be indexed before leaf {position}",
                    remedy=f"index from leaf {position} on",
                    code="catalog.gap",
                )
            if entry.leaf == position:
                position += 1
                known[entry.leaf] = entry.envelope
                if entry.statement is not None:
                    leaf = derive.Leaf(entry.leaf, entry.project, entry.envelope, entry.statement)
                    fresh.append(leaf)
                    if entry.accepted:
                        accepted.append(leaf)
            elif known.get(entry.leaf, entry.envelope) != entry.envelope:
                raise Corrupt(
                    f"the catalog holds another statement at leaf {entry.leaf} than the ledger",
                    remedy=database.REBUILD,
                    code="catalog.other",
                )
        if not fresh:
            return self._move(connection, position)
        connection.execute(insert(schema.statements), [_statement_row(leaf) for leaf in fresh])
        if named := [row for leaf in fresh for row in _subject_rows(leaf)]:
            connection.execute(insert(schema.subjects), named)
        for leaf in accepted:
            for change in derive.derive(kind_of(leaf.statement), leaf):
                self._apply(connection, change)
        return self._move(connection, position)

    def _move(self, connection: Connection, position: int) -> None:
        connection.execute(update_rows(schema.progress).values(position=position))

    def _apply(self, connection: Connection, change: derive.Change) -> None:
        if change.how == "update":
            where = and_(*(change.table.c[name] == value for name, value in change.key.items()))
            connection.execute(update_rows(change.table).where(where).values(change.values))
            return
        row = self._upsert(change.table).values({**change.key, **change.first, **change.values})
        if change.how == "put":
            row = row.on_conflict_do_update(index_elements=list(change.key), set_=change.values)
        else:
            row = row.on_conflict_do_nothing(index_elements=list(change.key))
        connection.execute(row)

    def clear(self) -> None:
        """Forget everything and stand at leaf 0 again, for instance after a ring was destroyed."""
        with self._writing() as connection:
            for table in _filled():
                connection.execute(delete(table))
            self._move(connection, 0)

    # -- comparing --------------------------------------------------------------------------------

    def dump(self) -> Iterator[bytes]:
        """Every row, in one order on every database: lines of canonical JSON, without newlines.

        The first is ``{"format", "position"}``, the others ``{"table", "row"}``.
        """
        with self._reading() as connection:
            yield canonical.encode({"format": DUMP_FORMAT, "position": _position(connection)})
            for table in _filled():
                rows = connection.execution_options(yield_per=_BATCH).execute(
                    select(table).order_by(*table.primary_key.columns)
                )
                for row in rows.mappings():
                    yield canonical.encode({"table": str(table.name), "row": _plain(row)})

    def dump_canonical(self) -> bytes:
        """`dump` as one document, for comparing two catalogs of one ledger byte by byte."""
        return b"".join(line + b"\n" for line in self.dump())

    # -- asking -----------------------------------------------------------------------------------

    def statements(
        self,
        project: str,
        *,
        kind: str | None = None,
        subject: str | None = None,
        before: int | None = None,
        limit: int = _DEFAULT_LIMIT,
    ) -> list[StatementRow]:
        """Statements of a project, newest first; `subject` is a digest, `before` a leaf index.

        `kind` is a kind such as ``decision``, or a whole predicate type from elsewhere.
        """
        t = schema.statements
        query = select(t).where(t.c.project == project).order_by(t.c.leaf.desc()).limit(limit)
        if kind is not None:
            query = query.where(t.c.kind == kind)
        if before is not None:
            query = query.where(t.c.leaf < before)
        if subject is not None:
            s = schema.subjects
            about = select(s.c.leaf).where(s.c.project == project, s.c.digest == subject)
            query = query.where(t.c.leaf.in_(about))
        with self._reading() as connection:
            rows = connection.execute(query).mappings().all()
            named = _subjects(connection, [row["leaf"] for row in rows])
            return [_row(row, StatementRow, subjects=named.get(row["leaf"], {})) for row in rows]

    def models(self, project: str) -> list[ModelRow]:
        """The models of a project by name."""
        m, v, a = schema.models, schema.model_versions, schema.aliases
        counted = (
            select(v.c.name, func.count().label("versions"), func.max(v.c.leaf).label("newest"))
            .where(v.c.project == project)
            .group_by(v.c.name)
            .subquery()
        )
        query = (
            select(m, counted.c.versions, v.c.version.label("latest"))
            .join(counted, m.c.name == counted.c.name)
            .join(v, and_(v.c.project == m.c.project, v.c.leaf == counted.c.newest))
            .where(m.c.project == project)
            .order_by(m.c.name)
        )
        with self._reading() as connection:
            rows = connection.execute(query).mappings().all()
            points: dict[str, dict[str, str]] = {}
            of_project = select(a).where(a.c.project == project).order_by(a.c.alias)
            for alias in connection.execute(of_project):
                points.setdefault(alias.name, {})[alias.alias] = alias.version
            return [_row(row, ModelRow, aliases=points.get(row["name"], {})) for row in rows]

    def versions(self, project: str, name: str) -> list[VersionRow]:
        """The versions of a model, newest first."""
        v = schema.model_versions
        of_model = select(v).where(v.c.project == project, v.c.name == name)
        return self._all(of_model.order_by(v.c.leaf.desc()), VersionRow)

    def aliases(self, project: str, name: str) -> list[AliasRow]:
        """The aliases of a model by name."""
        a = schema.aliases
        of_model = select(a).where(a.c.project == project, a.c.name == name)
        return self._all(of_model.order_by(a.c.alias), AliasRow)

    def approvals(self, project: str, name: str, version: str) -> list[ApprovalRow]:
        """The approvals of a model version, oldest first."""
        p = schema.approvals
        of_version = and_(p.c.project == project, p.c.name == name, p.c.version == version)
        return self._all(select(p).where(of_version).order_by(p.c.leaf), ApprovalRow)

    def datasets(self, project: str) -> list[DatasetRow]:
        """The datasets of a project by name."""
        d = schema.datasets
        return self._all(select(d).where(d.c.project == project).order_by(d.c.name), DatasetRow)

    def decisions(
        self, project: str, *, before: int | None = None, limit: int = _DEFAULT_LIMIT
    ) -> list[DecisionRow]:
        """The decisions of a project, newest first; `before` is a leaf index."""
        d = schema.decisions
        query = select(d).where(d.c.project == project).order_by(d.c.leaf.desc()).limit(limit)
        if before is not None:
            query = query.where(d.c.leaf < before)
        return self._all(query, DecisionRow)

    def actors(self) -> list[ActorRow]:
        """Every actor of the workspace, in the order of their ids."""
        return self._all(select(schema.actors).order_by(schema.actors.c.id), ActorRow)

    def _all(self, query: Select[Any], shape: type[_S]) -> list[_S]:
        with self._reading() as connection:
            return [_row(row, shape) for row in connection.execute(query).mappings()]


def _filled() -> list[Table]:
    """The tables that indexing fills."""
    return [table for table in schema.metadata.sorted_tables if table is not schema.progress]


def _position(connection: Connection) -> int:
    position = connection.execute(select(schema.progress.c.position)).scalar()
    if position is None:
        raise Corrupt(
            "the catalog does not say where it stands", remedy=database.REBUILD, code="catalog"
        )
    return position


def _envelopes(connection: Connection, leaves: list[int]) -> dict[int, str]:
    t = schema.statements
    rows = connection.execute(select(t.c.leaf, t.c.envelope).where(t.c.leaf.in_(leaves)))
    return {row.leaf: row.envelope for row in rows}


def _subjects(connection: Connection, leaves: list[int]) -> dict[int, dict[str, str]]:
    s = schema.subjects
    found: dict[int, dict[str, str]] = {}
    query = select(s).where(s.c.leaf.in_(leaves)).order_by(s.c.leaf, s.c.ordinal)
    for row in connection.execute(query):
        found.setdefault(row.leaf, {}).setdefault(row.name, row.digest)
    return found


def _plain(row: RowMapping) -> dict[str, Any]:
    return {str(column): value for column, value in row.items()}


def _row(row: RowMapping, shape: type[_S], **extra: Any) -> _S:
    """A result row as a struct, with its JSON columns decoded."""
    values = _plain(row) | extra
    for column in ("predicate", "details", "reasons"):
        if column in values:
            values[column] = msgspec.json.decode(values[column])
    return shape(**values)


def _statement_row(leaf: derive.Leaf) -> dict[str, Any]:
    statement = leaf.statement
    return {
        "leaf": leaf.index,
        "envelope": leaf.envelope,
        "id": statement.header.id,
        "project": leaf.ring,
        "kind": kind_of(statement),
        "predicate_type": statement.predicateType,
        "producer": statement.header.producer,
        "issued": statement.header.issued,
        "predicate": canonical.encode(statement.predicate).decode(),
    }


def _subject_rows(leaf: derive.Leaf) -> Iterator[dict[str, Any]]:
    """One row for each digest of each subject, SHA-256 first."""
    named = (
        (subject.name, f"{algorithm}:{value}")
        for subject in leaf.statement.subject
        for algorithm, value in sorted(
            subject.digest.items(), key=lambda item: (item[0] != "sha256", item)
        )
    )
    for ordinal, (name, digest) in enumerate(named):
        yield {
            "leaf": leaf.index,
            "ordinal": ordinal,
            "project": leaf.ring,
            "name": name,
            "digest": digest,
        }
