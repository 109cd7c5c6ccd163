"""Crashes, damage, full disks, two writers, and databases that cannot be had."""

from __future__ import annotations

import os
import resource
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from assay import files
from assay.catalog import database, migrate, schema
from assay.catalog.catalog import Catalog
from assay.errors import AssayError, Corrupt, Unavailable, Usage

KILLED = 77


def in_child(work: Callable[[], None]) -> int:
    """The exit status of a forked process that runs `work`: 1 if it raises."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            work()
            status = 0
        except BaseException as error:  # Nothing of the child may run the parent's tests.
            os.write(2, f"{type(error).__name__}: {error}\n".encode())
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def killed_at(point: str, work: Callable[[], None]) -> None:
    """Run `work` in a process that dies at the crash point, without any clean-up."""

    def dying() -> None:
        files.failpoint = lambda name: os._exit(KILLED) if name == point else None
        work()

    assert in_child(dying) == KILLED


def told(story: Any, count: int = 4) -> Any:
    for number in range(count):
        story.register(str(number + 1), b"model %d" % number)
    return story


def tables(url: str) -> list[str]:
    engine = database.connect(database.parse_url(url))
    names = sqlalchemy.inspect(engine).get_table_names()
    engine.dispose()
    return sorted(names)


# -- crashes --------------------------------------------------------------------------------------


def test_a_crash_before_the_migration_commits_leaves_an_empty_database(url: str) -> None:
    killed_at("catalog.migrating", lambda: Catalog.open(url).close())
    assert tables(url) == []
    assert Catalog.open(url).position() == 0


def test_a_crash_after_the_migration_commits_leaves_a_whole_one(url: str) -> None:
    killed_at("catalog.migrated", lambda: Catalog.open(url).close())
    assert "statements" in tables(url)
    assert Catalog.open(url).position() == 0


@pytest.mark.parametrize(("point", "kept"), [("catalog.writing", 2), ("catalog.written", 4)])
def test_a_crash_while_indexing_keeps_all_of_a_batch_or_none(
    url: str, story: Any, point: str, kept: int
) -> None:
    told(story)
    catalog = Catalog.open(url)
    catalog.index_all(story.entries[:2])
    catalog.close()
    killed_at(point, lambda: Catalog.open(url).index_all(story.entries[2:]))

    catalog = Catalog.open(url)
    assert catalog.position() == kept
    assert len(catalog.statements("fraud")) == len(catalog.versions("fraud", "credit")) == kept
    catalog.index_all(story.entries)
    whole = Catalog.open("sqlite://")
    whole.index_all(story.entries)
    assert catalog.dump_canonical() == whole.dump_canonical()


def test_a_crash_while_clearing_forgets_nothing(url: str, story: Any) -> None:
    told(story)
    catalog = Catalog.open(url)
    catalog.index_all(story.entries)
    before = catalog.dump_canonical()
    catalog.close()
    killed_at("catalog.writing", lambda: Catalog.open(url).clear())
    assert Catalog.open(url).dump_canonical() == before


# -- migrations -----------------------------------------------------------------------------------

LATER = """
import sqlalchemy as sa
from alembic import op
revision, down_revision = "0002", "0001"
def upgrade():
    op.create_table("later", sa.Column("id", sa.Integer))
    op.add_column("statements", sa.Column("more", sa.Text))
    op.execute("UPDATE statements SET kind = 'changed'")
    op.execute("INSERT INTO later SELECT 1")
    {then}
"""


@pytest.fixture
def later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Make this release one with a second migration, ending in the given statement."""

    def install(then: str) -> None:
        scripts = tmp_path / "migrations"
        for path in migrate.MIGRATIONS.rglob("*.py"):
            copy = scripts / path.relative_to(migrate.MIGRATIONS)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
        (scripts / "versions" / "0002_later.py").write_text(LATER.format(then=then))
        monkeypatch.setattr(migrate, "MIGRATIONS", scripts)
        monkeypatch.setattr(migrate, "HEAD", "0002")

    return install


def test_a_migration_that_fails_leaves_the_earlier_schema_and_rows(
    url: str, story: Any, later: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog = Catalog.open(url)
    catalog.index_all(told(story).entries)
    before = (tables(url), catalog.dump_canonical())
    catalog.close()
    later('op.execute("INSERT INTO nowhere VALUES (1)")')
    with pytest.raises(AssayError):
        Catalog.open(url)
    monkeypatch.undo()
    assert (tables(url), Catalog.open(url).dump_canonical()) == before


def test_a_later_migration_keeps_the_rows(
    url: str, story: Any, later: Callable[[str], None]
) -> None:
    catalog = Catalog.open(url)
    catalog.index_all(told(story).entries)
    catalog.close()
    later("pass")
    assert [row.kind for row in Catalog.open(url).statements("fraud")] == ["changed"] * 4
    assert "later" in tables(url)


def test_the_schema_of_a_later_release_is_refused(
    url: str, later: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    later("pass")
    Catalog.open(url).close()
    monkeypatch.undo()
    with pytest.raises(Unavailable, match="'0002'") as refused:
        Catalog.open(url)
    assert "the release that wrote it" in refused.value.remedy


# -- several processes ----------------------------------------------------------------------------


def test_several_processes_may_open_and_index_at_once(url: str, story: Any) -> None:
    told(story, 12)
    children: list[int] = []
    for _ in range(4):
        child = os.fork()
        if child == 0:
            status = 1
            try:
                catalog = Catalog.open(url)
                for entry in story.entries:
                    catalog.index(entry)
                status = 0
            except BaseException as error:
                os.write(2, f"{type(error).__name__}: {error}\n".encode())
            finally:
                os._exit(status)
        children.append(child)
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0] * 4
    whole = Catalog.open("sqlite://")
    whole.index_all(story.entries)
    assert Catalog.open(url).dump_canonical() == whole.dump_canonical()


def test_a_reader_sees_one_moment_while_another_writes(url: str, story: Any) -> None:
    told(story)
    reader, writer = Catalog.open(url), Catalog.open(url)
    writer.index_all(story.entries[:2])
    lines = reader.dump()
    first = next(lines)
    writer.index_all(story.entries[2:])
    rest = list(lines)
    assert b'"position":2' in first
    assert sum(b'"table":"statements"' in line for line in rest) == 2
    assert reader.position() == 4


# -- damage ---------------------------------------------------------------------------------------


@pytest.fixture
def filled(tmp_path: Path, story: Any) -> Path:
    """A SQLite catalog with a few rows, closed, all in its one file."""
    path = tmp_path / "catalog.sqlite"
    catalog = Catalog.open(f"sqlite:///{path}")
    catalog.index_all(told(story).entries)
    catalog.close()
    return path


def ask_everything(catalog: Catalog) -> None:
    try:
        catalog.position()
        catalog.statements("fraud")
        catalog.models("fraud")
        catalog.versions("fraud", "credit")
        catalog.dump_canonical()
        catalog.clear()
    finally:
        catalog.close()


def test_what_is_no_database_is_corrupt_and_says_how_to_make_it_again(tmp_path: Path) -> None:
    path = tmp_path / "catalog.sqlite"
    path.write_bytes(b"this is not a database, it only lies where one should\n" * 50)
    with pytest.raises(Corrupt, match="damaged") as refused:
        Catalog.open(f"sqlite:///{path}")
    assert "assay rebuild" in refused.value.remedy


@pytest.mark.parametrize("part", [0.01, 0.3, 0.6, 0.95])
def test_a_truncated_file_ends_in_one_error(filled: Path, part: float) -> None:
    data = filled.read_bytes()
    filled.write_bytes(data[: int(len(data) * part)])
    with pytest.raises((Corrupt, Unavailable)):
        ask_everything(Catalog.open(f"sqlite:///{filled}"))


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    flips=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)), max_size=9)
)
def test_flipped_bits_never_end_in_a_traceback(
    filled: Path, flips: list[tuple[float, int]]
) -> None:
    whole = filled.read_bytes()
    data = bytearray(whole)
    for where, flip in flips:
        data[int(where * len(data))] ^= flip
    filled.write_bytes(data)
    try:
        ask_everything(Catalog.open(f"sqlite:///{filled}"))
    except AssayError:
        pass
    finally:
        for path in filled.parent.glob(f"{filled.name}*"):
            path.unlink()
        filled.write_bytes(whole)


def test_a_missing_table_is_corrupt_and_says_how_to_make_it_again(url: str) -> None:
    catalog = Catalog.open(url)
    with catalog._engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE statements")
    with pytest.raises(Corrupt) as refused:
        catalog.statements("fraud")
    assert "assay rebuild" in refused.value.remedy


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE statements SET predicate = '{'",
        "UPDATE model_versions SET details = '9' || details",
        "UPDATE model_versions SET leaf = 9223372036854775807",
    ],
)
def test_a_row_that_cannot_be_decoded_is_corrupt(url: str, story: Any, damage: str) -> None:
    catalog = Catalog.open(url)
    catalog.index_all(told(story).entries)
    with catalog._engine.begin() as connection:
        connection.exec_driver_sql(damage)
    with pytest.raises(Corrupt) as refused:
        ask_everything(catalog)
    assert "assay rebuild" in refused.value.remedy


def test_a_catalog_that_does_not_know_its_position_is_corrupt(url: str) -> None:
    catalog = Catalog.open(url)
    with catalog._engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM progress")
    with pytest.raises(Corrupt, match="where it stands"):
        catalog.position()


def test_a_full_disk_is_unavailable_and_keeps_what_was_there(tmp_path: Path, story: Any) -> None:
    url = f"sqlite:///{tmp_path / 'catalog.sqlite'}"
    catalog = Catalog.open(url)
    catalog.index_all(told(story).entries)
    before = catalog.dump_canonical()
    catalog.close()
    big = story.say("scan", {"report": "x" * 4_000_000})

    def fill() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, resource.RLIM_INFINITY))
        with pytest.raises(Unavailable):
            Catalog.open(url).index_all([big])

    assert in_child(fill) == 0
    assert Catalog.open(url).dump_canonical() == before
    Catalog.open(url).index_all([big])
    assert Catalog.open(url).position() == 5


# -- what can be opened ---------------------------------------------------------------------------


def test_the_file_belongs_to_its_user_alone(tmp_path: Path, story: Any) -> None:
    previous = os.umask(0)
    try:
        catalog = Catalog.open(f"sqlite:///{tmp_path / 'catalog.sqlite'}")
        catalog.index_all(told(story).entries)
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    finally:
        os.umask(previous)
    assert modes["catalog.sqlite"] == 0o600
    assert set(modes.values()) == {0o600}


def test_a_folder_that_does_not_exist_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(Unavailable):
        Catalog.open(f"sqlite:///{tmp_path / 'nowhere' / 'catalog.sqlite'}")


@pytest.mark.parametrize("text", ["mysql://h/d", "", "catalog.sqlite", "sqlite+aiosqlite:///x"])
def test_other_urls_are_refused(text: str) -> None:
    with pytest.raises(Usage) as refused:
        Catalog.open(text)
    assert "sqlite:///PATH" in refused.value.remedy


def test_a_server_that_does_not_answer_is_unavailable_and_its_password_stays_secret(
    tmp_path: Path,
) -> None:
    with pytest.raises(Unavailable) as refused:
        Catalog.open(f"postgresql://ada:tops3cret@/assay?host={tmp_path}")
    assert "tops3cret" not in str(refused.value.as_dict())
    with pytest.raises(Usage) as refused_url:
        Catalog.open("postgresql://ada:tops3cret@host:port/assay")
    assert "tops3cret" not in str(refused_url.value.as_dict())


def test_a_database_that_does_not_exist_is_unavailable(postgres: str) -> None:
    with pytest.raises(Unavailable, match="nowhere"):
        Catalog.open(postgres.format("nowhere"))


def test_a_distant_server_must_show_a_certificate_unless_the_url_says_otherwise() -> None:
    distant = database.parse_url("postgresql://ada@db.example.org/assay").query
    assert (distant["sslmode"], distant["sslrootcert"]) == ("verify-full", "system")
    asked = database.parse_url("postgresql://ada@db.example.org/assay?sslmode=require").query
    assert dict(asked) == {"sslmode": "require"}
    for local in ("postgresql://localhost/assay", "postgresql:///assay?host=/run/postgresql"):
        assert "sslmode" not in database.parse_url(local).query


def test_a_missing_driver_names_the_extra_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(Unavailable) as refused:
        Catalog.open("postgresql://localhost/assay")
    assert "assay[postgres]" in refused.value.remedy


def test_opening_an_up_to_date_catalog_loads_no_migrations(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"sqlite:///{tmp_path / 'catalog.sqlite'}"
    Catalog.open(url).close()
    monkeypatch.setattr(migrate, "_upgrade", None)
    assert Catalog.open(url).position() == 0
    assert schema.HEAD == "0001"
