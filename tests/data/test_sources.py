from __future__ import annotations

import io
import sqlite3
from datetime import date, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.data import sources
from assay.data.snapshots import Asked, origin, parquet, take
from assay.data.sources import Source
from assay.data.sql import check_query, next_batch
from assay.errors import AssayError, Denied, NotFound, Unavailable, Usage

from .conftest import ACCESS, SECRET, Bucket, new_database

HOSTILE_SECRET = "hunter2-never-shown"


def taken(source: Source, tmp_path: Path, query: str = "", path: str = "", **env: str) -> Any:
    work = tmp_path / "work"
    frame = take(
        source,
        Asked(query, path),
        base=tmp_path,
        work=work,
        apart=tmp_path / ".assay",
        environment=env,
    )
    assert not list(work.glob("*")), "a copy was left behind"
    return frame


def refusal(kind: type[AssayError], source: Source, tmp_path: Path, **asked: str) -> AssayError:
    """The error, checked to be one line that names the source and no secret."""
    with pytest.raises(kind) as caught:
        taken(source, tmp_path, **asked)
    check_told(caught.value, source.name)
    return caught.value


def check_told(error: AssayError, name: str = "core") -> None:
    said = error.message + error.remedy
    assert f"source {name}" in said
    assert "\n" not in said
    assert error.remedy
    for secret in (HOSTILE_SECRET, SECRET, ACCESS, "Lovelace"):
        assert secret not in said
        assert secret not in str(error.details)


# -- configuration --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://reader:{HOSTILE_SECRET}@db/core",
        f"postgresql://reader@db/core?password={HOSTILE_SECRET}",
        f"postgresql://reader@db/core?passfile=/{HOSTILE_SECRET}",
        f"postgresql://reader@db/core?options={HOSTILE_SECRET}",
        f"postgresql://reader@db/core?sslmode=prefer&sslmode={HOSTILE_SECRET}",
        f"s3://{HOSTILE_SECRET}:x@bucket/prefix",
        f"s3://{HOSTILE_SECRET}@bucket/prefix",
        f"sqlite://{HOSTILE_SECRET}/x.sqlite",
        f"sqlite:///x.sqlite?key={HOSTILE_SECRET}",
        f"file:data#{HOSTILE_SECRET}",
        "file:/etc",
        "file:../elsewhere",
        "sqlite:///../x.sqlite",
        "postgresql://db/core",
        "postgresql://reader@/core",
        "postgresql://reader@a,b/core",
        "postgresql://reader@db:99999/core",
        "postgresql://reader@[::1/core",
        "postgresql://reader@db/core?sslmode=never",
        "http://db/core",
        "mysql://reader@db/core",
        "sqlite:///",
        "s3://UPPER",
        "",
        "data.csv",
        "sqlite:///a b\n",
    ],
)
def test_a_url_with_a_secret_or_of_no_known_form_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(Usage) as caught:
        sources.parse("core", url)
    assert HOSTILE_SECRET not in caught.value.message + caught.value.remedy
    assert "source core" in caught.value.message


@pytest.mark.parametrize("credential", [HOSTILE_SECRET, f"vault:{HOSTILE_SECRET}", "env:", "env"])
def test_a_credential_that_is_no_reference_is_refused_without_repeating_it(
    credential: str,
) -> None:
    with pytest.raises(Usage) as caught:
        sources.parse("core", "postgresql://reader@db/core", credential=credential)
    assert HOSTILE_SECRET not in caught.value.message + caught.value.remedy


@given(st.text(max_size=60))
def test_any_text_for_a_url_ends_as_a_source_or_as_one_line(text: str) -> None:
    for url in (text, f"postgresql://{text}", f"s3://{text}", f"sqlite:///{text}", f"file:{text}"):
        try:
            sources.parse("core", url)
        except Usage as error:
            check_told(error)


def test_a_connection_to_another_machine_is_encrypted_and_its_name_checked() -> None:
    assert sources.parse("core", "postgresql://r@db.example/core").sslmode == "verify-full"
    assert sources.parse("core", "postgresql://r@127.0.0.1/core").sslmode == "prefer"
    with pytest.raises(Usage, match="not encrypted"):
        sources.parse("lake", "s3://lake", endpoint="http://s3.example")


def test_a_source_shows_no_secret_and_not_even_where_it_is() -> None:
    found = sources.parse("core", "postgresql://r@db/core", credential="env:CORE_PASSWORD")
    assert "CORE_PASSWORD" not in repr(found)
    assert found.place == "postgresql://db:5432/core"


@pytest.mark.parametrize("query", ["", "DROP TABLE x", "  -- select\n delete from x", "/* a", "\0"])
def test_what_is_no_select_is_refused_before_anything_is_opened(query: str) -> None:
    with pytest.raises(Usage):
        check_query(query)


def test_a_select_may_follow_comments() -> None:
    assert check_query("-- why\n /* what * */ WITH x AS (SELECT 1) SELECT * FROM x; ") == (
        "-- why\n /* what * */ WITH x AS (SELECT 1) SELECT * FROM x"
    )


@pytest.mark.parametrize(("query", "path"), [("", ""), ("SELECT 1", "x.csv")])
def test_exactly_one_of_query_and_object_is_asked_for(query: str, path: str) -> None:
    with pytest.raises(Usage, match="one of the two"):
        Asked(query, path).check()


# -- SQLite ---------------------------------------------------------------------------------------


def sqlite(tmp_path: Path, *statements: str, **options: Any) -> Source:
    with sqlite3.connect(tmp_path / "core.sqlite") as connection:
        for statement in statements:
            connection.execute(statement)
    connection.close()
    return sources.parse("core", "sqlite:///core.sqlite", **options)


PEOPLE = (
    "CREATE TABLE people (name TEXT, age INTEGER, income REAL, born TEXT, photo BLOB, odd)",
    "INSERT INTO people VALUES ('Ada Lovelace', 36, 10.5, '1815-12-10', x'00', 1)",
    "INSERT INTO people VALUES ('Grace', NULL, 11, '1906-12-09', NULL, 'Lovelace')",
)


def test_an_sqlite_query_becomes_a_typed_frame(tmp_path: Path) -> None:
    source = sqlite(tmp_path, *PEOPLE)
    frame = taken(source, tmp_path, "SELECT name, age, income, born FROM people ORDER BY name")
    assert frame.schema == {
        "name": pl.String,
        "age": pl.Int64,
        "income": pl.Float64,
        "born": pl.Date,
    }
    assert frame.rows() == [
        ("Ada Lovelace", 36, 10.5, date(1815, 12, 10)),
        ("Grace", None, 11.0, date(1906, 12, 9)),
    ]


def test_what_is_not_yet_checkpointed_is_read_too(tmp_path: Path) -> None:
    path = tmp_path / "core.sqlite"
    writer = sqlite3.connect(path)
    writer.execute("PRAGMA journal_mode=WAL")
    writer.execute("CREATE TABLE t (x INTEGER)")
    writer.execute("INSERT INTO t VALUES (1), (2)")
    writer.commit()
    writer.execute("INSERT INTO t VALUES (3)")  # Not committed: not there.
    source = sources.parse("core", "sqlite:///core.sqlite")
    assert taken(source, tmp_path, "SELECT x FROM t")["x"].to_list() == [1, 2]
    writer.close()


@pytest.mark.parametrize(
    "query",
    [
        "SELECT 1; DROP TABLE people",
        "WITH x AS (SELECT 1) DELETE FROM people",
        "WITH x AS (SELECT 1) INSERT INTO people SELECT 1,2,3,4,5,6",
        "SELECT load_extension('/tmp/x.so')",
        "SELECT * FROM pragma_database_list",
        "SELECT nothing FROM people",
        "SELECT * FROM nowhere",
        "SELECT name + FROM people",
        "SELECT abs('Lovelace', 2)",
        "SELECT abs(-9223372036854775808)",
        "SELECT photo FROM people",
        "SELECT odd FROM people",
        "SELECT name, name FROM people",
        "SELECT name FROM people WHERE age > 100",
        "SELECT zeroblob(1000000000)",
        "SELECT printf('%2000000d', 1) AS x",
        "SELECT json_extract(name, '$') FROM people",
        "VALUES (9223372036854775807), (0.5)",
    ],
)
def test_an_sqlite_query_that_does_more_or_fits_no_column_is_refused(
    query: str, tmp_path: Path
) -> None:
    source = sqlite(tmp_path, *PEOPLE)
    before = (tmp_path / "core.sqlite").read_bytes()
    refusal(Usage, source, tmp_path, query=query)
    assert (tmp_path / "core.sqlite").read_bytes() == before


def test_an_sqlite_query_without_end_is_ended(tmp_path: Path) -> None:
    source = sqlite(tmp_path, *PEOPLE, timeout=2)
    endless = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM n) SELECT max(x) FROM n"
    assert refusal(Unavailable, source, tmp_path, query=endless).code.endswith("source.timeout")


def test_a_locked_database_is_told_as_such(tmp_path: Path) -> None:
    source = sqlite(tmp_path, *PEOPLE, timeout=1)
    writer = sqlite3.connect(tmp_path / "core.sqlite")
    writer.execute("BEGIN EXCLUSIVE")
    found = refusal(Unavailable, source, tmp_path, query="SELECT 1")
    writer.close()
    assert "locked" in found.message


def test_a_file_that_is_no_database_or_is_gone_or_is_a_link_is_refused(tmp_path: Path) -> None:
    source = sources.parse("core", "sqlite:///core.sqlite")
    refusal(NotFound, source, tmp_path, query="SELECT 1")
    (tmp_path / "core.sqlite").write_text("Lovelace")
    refusal(Usage, source, tmp_path, query="SELECT 1")
    (tmp_path / "core.sqlite").unlink()
    (tmp_path / "core.sqlite").symlink_to("/etc/passwd")
    refusal(Usage, source, tmp_path, query="SELECT 1")


@pytest.mark.slow
def test_a_damaged_database_ends_as_one_line(tmp_path: Path) -> None:
    sqlite(tmp_path, *PEOPLE)
    path = tmp_path / "core.sqlite"
    whole = path.read_bytes()
    source = sources.parse("core", "sqlite:///core.sqlite")
    for at in range(100, len(whole), 997):
        path.write_bytes(whole[:at] + b"\xff\xff\xff\xff" + whole[at + 4 :])
        try:
            taken(source, tmp_path, "SELECT name, age FROM people")
        except AssayError as error:
            check_told(error)


# -- PostgreSQL -----------------------------------------------------------------------------------

SETUP = """
CREATE TYPE mood AS ENUM ('glad', 'sad');
CREATE TABLE loans (
    id bigint, amount numeric(12, 2), count numeric, rate float4, ok boolean, name text,
    code char(3), day date, at timestamptz, local timestamp, feeling mood, ref uuid,
    raw bytea, doc jsonb, tags text[], took interval);
INSERT INTO loans VALUES
    (1, 10.25, 7, 0.5, true, 'Ada Lovelace', 'abc', '2020-02-29', '2020-01-01 00:00+02',
     '2020-01-01 10:00', 'glad', '00000000-0000-0000-0000-000000000001', '\\x00', '{}', '{x}',
     '1 h'),
    (2, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
"""


@pytest.fixture(scope="module")
def database(postgres: str) -> str:
    import psycopg

    url = new_database(postgres)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(SETUP)  # pyright: ignore[reportArgumentType, reportCallIssue]
    return url


@pytest.fixture
def loans(database: str) -> Source:
    return sources.parse("loans", database, credential="env:LOANS")


def test_a_postgresql_query_becomes_a_typed_frame(loans: Source, tmp_path: Path) -> None:
    frame = taken(
        loans,
        tmp_path,
        "SELECT id, amount, count, rate, ok, name, code, day, at, local, feeling, ref "
        "FROM loans ORDER BY id",
        LOANS="any",
    )
    assert frame.row(0) == (
        *(1, 10.25, 7, 0.5, True, "Ada Lovelace", "abc", date(2020, 2, 29)),
        *(datetime.fromisoformat("2019-12-31 22:00"), datetime.fromisoformat("2020-01-01 10:00")),
        "glad",
        "00000000-0000-0000-0000-000000000001",
    )
    assert frame.row(1) == (2, *[None] * 11)
    assert frame.dtypes[:5] == [pl.Int64, pl.Float64, pl.Int64, pl.Float64, pl.Boolean]


@pytest.mark.parametrize("column", ["raw", "doc", "tags", "took"])
def test_a_postgresql_column_that_no_table_holds_is_named(
    column: str, loans: Source, tmp_path: Path
) -> None:
    with pytest.raises(Usage, match=f"column '{column}'"):
        taken(loans, tmp_path, f"SELECT {column} FROM loans", LOANS="x")  # noqa: S608


@pytest.mark.parametrize(
    "query",
    [
        "SELECT 1; DROP TABLE loans",
        "SELECT 1; COMMIT; DROP TABLE loans",
        "WITH x AS (DELETE FROM loans RETURNING id) SELECT * FROM x",
        "SELECT set_config('transaction_read_only', 'off', false)::text, lo_create(0)",
        "SELECT id FROM loans FOR UPDATE",
        "SELECT * INTO copied FROM loans",
        "TABLE nowhere",
        "SELECT nothing FROM loans",
        "SELECT 'Lovelace'::int",
        "SELECT name::int FROM loans",
        "SELECT 1/0",
        "SELECT id FROM loans WHERE id > 10",
        "SELECT 0.1234567890123456789::numeric AS x",
        "SELECT 123456789012345678901::numeric AS x",
        "SELECT id, id FROM loans",
        "SELECT 'infinity'::date AS x",
        "SELECT repeat('x', 2000000) AS x",
        "SELECT E'a' || chr(1114111) || repeat('é', 1100000) AS x",
        "VALUES (1, 2); SELECT 1",
    ],
)
def test_a_postgresql_query_that_does_more_or_fits_no_column_is_refused(
    query: str, loans: Source, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import psycopg

    monkeypatch.setenv("LOANS", HOSTILE_SECRET)
    with pytest.raises(Usage) as caught:
        taken(loans, tmp_path, query, LOANS=HOSTILE_SECRET)
    said = caught.value.message + caught.value.remedy
    assert "source loans" in said
    assert "Lovelace" not in said or "'Lovelace'::int" in query
    assert HOSTILE_SECRET not in said
    assert "\n" not in said
    with psycopg.connect(database) as connection:
        (row,) = connection.execute("SELECT count(*) FROM loans").fetchall()
    assert row == (2,)


def test_many_rows_come_in_batches_and_all_of_them(loans: Source, tmp_path: Path) -> None:
    query = "SELECT n, repeat('x', 2000) AS t FROM generate_series(1, 100000) AS n ORDER BY n"
    frame = taken(loans, tmp_path, query, LOANS="x")
    assert frame["n"].to_list() == list(range(1, 100_001))


@given(st.integers(1, 10**6), st.integers(0, 10**10), st.integers(0, 10**4))
def test_a_batch_is_bounded_in_bytes_and_never_empty(rows: int, size: int, columns: int) -> None:
    following = next_batch(rows, size, columns)
    assert 1 <= following <= 8 * rows
    assert following == 1 or following * size // rows <= 64 << 20
    assert following == 1 or following * columns <= 200_000


def test_a_postgresql_query_that_takes_too_long_is_ended(database: str, tmp_path: Path) -> None:
    slow = sources.parse("slow", database, timeout=1)
    with pytest.raises(Unavailable) as caught:
        taken(slow, tmp_path, "SELECT count(*) FROM generate_series(1, 1000000000000) AS x")
    assert caught.value.code.endswith("source.timeout")


def test_a_server_or_database_or_credential_that_is_not_there_is_told(
    database: str, tmp_path: Path
) -> None:
    folder = database.partition("?host=")[2]
    nobody = sources.parse("a", f"postgresql://nobody@/x?host={folder}")
    assert "nobody" not in refusal(Denied, nobody, tmp_path, query="SELECT 1").remedy
    missing = sources.parse("b", f"postgresql://assay@/missing?host={folder}")
    refusal(NotFound, missing, tmp_path, query="SELECT 1")
    down = sources.parse("c", f"postgresql://assay@/x?host={tmp_path}", credential="env:NOT_SET")
    assert "env:NOT_SET" in refusal(Unavailable, down, tmp_path, query="SELECT 1").message
    down = sources.parse("d", f"postgresql://assay@/x?host={tmp_path}")
    refusal(Unavailable, down, tmp_path, query="SELECT 1")


def test_a_password_comes_from_its_reference_and_from_nowhere_else(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from assay.data import sql

    asked: dict[str, Any] = {}

    def connect(**options: Any) -> None:
        asked.update(options)
        raise sql_error()

    def sql_error() -> Exception:
        import psycopg

        return psycopg.OperationalError(f"no: {HOSTILE_SECRET}")

    monkeypatch.setattr("psycopg.connect", connect)
    monkeypatch.setenv("PGPASSWORD", "ambient")
    (tmp_path / "secret").write_text(f"{HOSTILE_SECRET}\n")
    source = sources.parse("core", database, credential="file:secret")
    refusal(Unavailable, source, tmp_path, query="SELECT 1")
    assert asked["password"] == HOSTILE_SECRET
    assert asked["passfile"].startswith("/nonexistent")
    assert sql.EXACT


# -- S3 and files ---------------------------------------------------------------------------------


def table_bytes() -> bytes:
    stream = io.BytesIO()
    pl.DataFrame({"x": [1, 2]}).write_parquet(stream)
    return stream.getvalue()


def lake(bucket: Bucket, **changed: Any) -> Source:
    given: dict[str, Any] = {"credential": "env:LAKE", "endpoint": bucket.endpoint, **changed}
    return sources.parse("lake", "s3://lake/raw", **given)


def test_an_object_is_read_whatever_its_format(bucket: Bucket, tmp_path: Path) -> None:
    contents = {
        "a.csv": b"x\n1\n2\n",
        "b.json": b'[{"x": 1}, {"x": 2}]',
        "c.jsonl": b'{"x": 1}\n{"x": 2}\n',
        "deep/d.parquet": table_bytes(),
    }
    for key, content in contents.items():
        bucket.put(f"raw/{key}", content)
        frame = taken(lake(bucket), tmp_path, path=key, LAKE=f"{ACCESS}:{SECRET}")
        assert frame.rows() == [(1,), (2,)]


def test_a_wrong_secret_and_a_missing_object_are_told_apart(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.put("raw/here.csv", b"x\n1\n")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    for secret, kind in (
        (f"{ACCESS}:{HOSTILE_SECRET}", Denied),
        (f"nobody:{SECRET}", Denied),
        (HOSTILE_SECRET, Usage),
        ("", Unavailable),
    ):
        with pytest.raises(kind) as caught:
            taken(lake(bucket), tmp_path, path="here.csv", LAKE=secret)
        said = caught.value.message + caught.value.remedy
        assert "source lake" in said
        assert not any(s in said for s in (SECRET, HOSTILE_SECRET, ACCESS))
    with pytest.raises(NotFound, match="no object gone"):
        taken(lake(bucket), tmp_path, path="gone.csv", LAKE=f"{ACCESS}:{SECRET}")


def test_an_object_larger_than_allowed_is_refused(bucket: Bucket) -> None:
    from assay.data.objects import read_s3
    from assay.data.rows import Limits

    bucket.put("raw/large.csv", b"x\n" + b"1\n" * 1000)
    with pytest.raises(Usage, match="larger than 1,000 bytes"):
        read_s3(lake(bucket), f"{ACCESS}:{SECRET}", "large.csv", Limits(file_bytes=1000))


def test_a_bucket_that_nobody_serves_is_told(tmp_path: Path) -> None:
    gone = sources.parse("lake", "s3://lake", credential="env:L", endpoint="http://127.0.0.1:1")
    with pytest.raises(Unavailable) as caught:
        taken(gone, tmp_path, path="x.csv", L="key:secret")
    assert "key" not in caught.value.message.replace("source lake", "")


@pytest.mark.parametrize("path", ["../x.csv", "/x.csv", "a//b", ".", "a\nb", "x/../../y"])
def test_a_path_that_leads_elsewhere_names_no_object(path: str) -> None:
    with pytest.raises(Usage):
        Asked(path=path).check()


def test_a_file_below_the_folder_is_read_and_no_other(tmp_path: Path) -> None:
    folder = tmp_path / "drop"
    folder.mkdir()
    (folder / "x.csv").write_text("x\n1\n")
    source = sources.parse("drop", "file:drop")
    assert taken(source, tmp_path, path="x.csv").rows() == [(1,)]
    refusal(NotFound, source, tmp_path, path="y.csv")
    (tmp_path / "outside.csv").write_text("x\n1\n")
    (folder / "link.csv").symlink_to(tmp_path / "outside.csv")
    refusal(Usage, source, tmp_path, path="link.csv")
    inside = tmp_path / ".assay"
    inside.mkdir()
    (inside / "key.csv").write_text("x\n1\n")
    all_of_it = sources.parse("all", "file:.")
    refusal(Usage, all_of_it, tmp_path, path=".assay/key.csv")
    refusal(Usage, source, tmp_path, query="SELECT 1")


# -- snapshots ------------------------------------------------------------------------------------


def test_the_origin_names_source_and_query_and_not_the_query_itself() -> None:
    source = sources.parse("core", "sqlite:///core.sqlite")
    told = origin(source, Asked("SELECT name FROM people WHERE name = 'Ada'"))
    assert told.startswith("source core (sqlite:///core.sqlite), query sha256:")
    assert "Ada" not in told


def test_a_snapshot_of_the_same_rows_is_the_same_bytes() -> None:
    frame = pl.DataFrame({"x": list(range(1000)), "y": ["a"] * 1000})
    assert parquet(frame, "x") == parquet(frame.clone(), "x")
