"""Data from sources, and the check of it, on the command line."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest

from .conftest import DECLARED, Here

SECRET = "hunter2-never-shown"
SHEET = DECLARED[:2] + DECLARED[4:]


@pytest.fixture
def here(founded: Here) -> Here:
    config = founded.ws / "assay.toml"
    config.write_text(
        config.read_text()
        + '\n[projects.fraud.sources.core]\nurl = "sqlite:///core.sqlite"\n'
        + '\n[projects.fraud.sources.lake]\nurl = "s3://lake/raw"\ncredential = "env:LAKE"\n'
    )
    connection = sqlite3.connect(founded.ws / "core.sqlite")
    with connection:
        connection.execute("CREATE TABLE people (id INTEGER, full_name TEXT, mail TEXT, y INTEGER)")
        connection.executemany(
            "INSERT INTO people VALUES (?, ?, ?, ?)",
            [
                (n, f"Grace Hopper {'IVX'[n % 3]}{chr(97 + n % 26)}", f"g{n}@example.org", n % 2)
                for n in range(60)
            ],
        )
    connection.close()
    return founded


def extract(*more: str) -> tuple[str, ...]:
    query = "SELECT * FROM people"
    return ("data", "extract", "core", "--query", query, "--name", "people", *SHEET, *more)


def test_a_source_is_listed_taken_from_checked_and_declared(here: Here) -> None:
    listed = here.ok("data", "sources", "--json", by="alice", LAKE=SECRET)
    assert [s["name"] for s in listed.json] == ["core", "lake"]
    assert SECRET not in listed.all

    done = here.ok(*extract(), by="alice")
    assert "registered people: 60 rows × 4 columns" in done.out
    assert "unchanged" in here.ok(*extract(), by="alice").out

    told = here.ok("data", "check", "people", by="alice")
    assert "full_name" in told.out
    assert "--personal-column full_name --personal-column mail" in told.out
    assert "Hopper" not in told.all
    assert "example.org" not in told.all

    columns = ("--personal-column", "full_name", "--personal-column", "mail")
    here.ok(*extract(*columns), by="alice")
    found = here.ok("data", "check", "people", "--label", "y", "--json", by="alice").json
    assert found["undeclared_personal"] == 0
    assert found["labels"]["classes"] == 2


@pytest.mark.parametrize(
    ("args", "code", "told"),
    [
        (("data", "extract", "nowhere", "--query", "SELECT 1", *SHEET), 1, "core, lake"),
        (("data", "extract", "core", *SHEET), 2, "one of the two"),
        (("data", "extract", "core", "--query", "DROP TABLE people", *SHEET), 2, "not a SELECT"),
        (("data", "extract", "core", "--object", "x.csv", *SHEET), 2, "--query"),
        (("data", "extract", "core", "--query", "SELECT 1"), 2, "missing: --owner"),
        (("data", "extract", "lake", "--object", "x.csv", *SHEET), 1, "env:LAKE"),
        (("data", "check", "nothing"), 1, "not registered"),
    ],
)
def test_a_mistake_is_one_line_with_a_remedy(
    args: tuple[str, ...], code: int, told: str, here: Here
) -> None:
    done = here(*args, by="alice")
    assert done.code == code
    assert told in " ".join(done.err.split())
    assert "Traceback" not in done.all
    as_json = here(*args, "--json", by="alice")
    assert json.loads(as_json.err or as_json.out)["remedy"]


def test_a_json_file_is_registered_like_any_other(here: Here, tmp_path: Path) -> None:
    path = tmp_path / "loans.json"
    path.write_text('[{"a": 1, "y": 0}, {"a": 2, "y": 1}]')
    done = here.ok("data", "register", path, *DECLARED, "--json", by="alice")
    assert (done.json["format"], done.json["rows"]) == ("json", 2)
    refused = here("data", "register", path, *DECLARED, "--personal-column", "z", by="alice")
    assert (refused.code, "no column 'z'" in refused.err) == (2, True)
