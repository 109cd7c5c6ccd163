"""Taking data from a source through the door."""

from __future__ import annotations

import json
import shutil
import sqlite3
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from workspace.town import Town, dataset

from assay.actions.administration import CollectGarbage, reachable
from assay.actions.datasets import (
    ReadDataset,
    as_declared,
    declared_personal,
    fingerprints_of,
)
from assay.actions.extraction import ExtractDataset
from assay.errors import AssayError, NotFound, Usage
from assay.evidence.state import WORKSPACE
from assay.types import check_digest
from assay.workspace.layout import read_config

SOURCE = """
[projects.alpha.sources.core]
url = "sqlite:///core.sqlite"
"""
QUERY = "SELECT id, name, income FROM people"


@pytest.fixture
def town(built: Town, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Town:
    from workspace.town import copy_of

    found = copy_of(built, tmp_path / "town", monkeypatch)
    with (found.repo / "assay.toml").open("a") as config:
        config.write(SOURCE)
    change(found, "CREATE TABLE people (id INTEGER, name TEXT, income REAL)")
    change(found, "INSERT INTO people VALUES (1, 'Ada', 10.5), (2, 'Grace', 11), (3, 'Mary', 12)")
    return found


def change(town: Town, statement: str) -> None:
    connection = sqlite3.connect(town.repo / "core.sqlite")
    with connection:
        connection.execute(statement)
    connection.close()


def extraction(**changed: Any) -> ExtractDataset:
    given: dict[str, Any] = {
        "project": "alpha",
        "dataset": "people",
        "source": "core",
        "query": QUERY,
        "owner": "risk",
        "licence": "internal",
        "purposes": ("scoring",),
        "legal_basis": "contract",
        "residency": ("local",),
        "subject_column": "id",
        "personal_columns": ("name",),
    }
    return ExtractDataset(**{**given, **changed})


def test_a_snapshot_is_sealed_described_and_read_back(town: Town) -> None:
    done = town.do("sam", extraction())
    assert (done["rows"], done["format"], done["unchanged"]) == (3, "parquet", False)
    assert done["origin"].startswith("source core (sqlite:///core.sqlite), query sha256:")
    with town.do("sam", ReadDataset(project="alpha", dataset="people", purpose="scoring")) as rows:
        assert rows.read(4) == b"PAR1"
    sheet = town.statements("datasheet")[-1].predicate
    assert sheet["composition"]["rows"] == {"value": 3, "basis": "measured"}
    assert sheet["distribution"]["licence"] == {"value": "internal", "basis": "declared"}
    assert sheet["collection"]["sampling"] == {"value": None, "basis": "missing"}
    assert sheet["collection"]["source"] == {"value": "core", "basis": "measured"}
    told = json.dumps([s.predicate for s in town.statements() if s.predicate.get("name")])
    assert "Grace" not in told
    town.check()


def test_unchanged_rows_are_registered_once_in_whatever_order_they_come(town: Town) -> None:
    first = town.do("sam", extraction())
    before = town.size
    again = town.do("sam", extraction())
    assert again["unchanged"]
    assert again["content"] == first["content"]
    assert town.kinds(before) == ["decision", "outcome"]
    change(town, "CREATE TABLE turned AS SELECT * FROM people ORDER BY id DESC")
    change(town, "DROP TABLE people")
    change(town, "ALTER TABLE turned RENAME TO people")
    assert town.do("sam", extraction())["unchanged"]


def test_other_declarations_about_the_same_rows_are_registered(town: Town) -> None:
    first = town.do("sam", extraction())
    again = town.do("sam", extraction(personal_columns=("name", "income")))
    assert not again["unchanged"]
    assert again["content"] == first["content"]
    held = town.ws.view.dataset("alpha", "people")
    assert held.details["personal_columns"] == ["name", "income"]


def test_what_became_of_the_rows_is_counted_without_reading_the_old_ones(town: Town) -> None:
    first = town.do("sam", extraction())
    change(town, "UPDATE people SET income = 13 WHERE id = 3")
    change(town, "INSERT INTO people VALUES (4, 'Jean', NULL), (4, 'Jean', NULL)")
    done = town.do("sam", extraction())
    changes = {"since": first["content"], "kept": 2, "gone": 1, "new": 3}
    assert done["changes"] == changes
    sheet = town.statements("datasheet")[-1].predicate
    assert sheet["composition"]["changes"] == {"value": changes, "basis": "measured"}
    assert sheet["composition"]["repeated_rows"]["value"] == 1


def test_fingerprints_of_every_snapshot_survive_the_collection_of_garbage(town: Town) -> None:
    town.do("sam", extraction())
    change(town, "DELETE FROM people WHERE id = 1")
    town.do("sam", extraction())
    held = town.ws.view.dataset("alpha", "people")
    fingerprints = fingerprints_of(held)
    assert set(fingerprints) == set(held.contents)
    town.clock.advance(timedelta(days=2))
    town.do("ada", CollectGarbage(project=WORKSPACE))
    for digest in map(check_digest, fingerprints.values()):
        assert town.ws.store.read("alpha/data", digest, 1 << 20).startswith(b"assay/rows/v1\n")
        assert ("alpha/data", digest) in reachable(town.ws.view)


def test_a_registered_file_has_a_datasheet_and_fingerprints_too(town: Town) -> None:
    shutil.copy(town.repo / "test.csv", town.repo / "more.csv")
    town.do("sam", dataset(town.repo, "more"))
    held = town.ws.view.dataset("alpha", "more")
    assert list(fingerprints_of(held)) == [held.content]
    test = town.ws.view.dataset("alpha", "test")
    assert fingerprints_of(held)[held.content] == fingerprints_of(test)[test.content]


def test_a_dataset_registered_before_there_were_fingerprints_has_none(town: Town) -> None:
    held = town.ws.view.dataset("alpha", "train")
    old = {k: v for k, v in held.details.items() if k not in ("fingerprints", "personal_columns")}
    before = msgspec.structs.replace(held, details=old)
    assert fingerprints_of(before) == {}
    assert declared_personal(before) == []
    assert as_declared(before) == as_declared(held)
    for wrong in ("text", {held.content: 1}, {"sha256:" + "0" * 64: held.content}, None):
        told = msgspec.structs.replace(held, details={**old, "fingerprints": wrong})
        assert fingerprints_of(told) == {}


@pytest.mark.parametrize(
    ("changed", "kind"),
    [
        ({"source": "nowhere"}, NotFound),
        ({"query": ""}, Usage),
        ({"path": "x.csv"}, Usage),
        ({"query": "DELETE FROM people"}, Usage),
        ({"query": "", "path": "x.csv"}, Usage),
        ({"query": "SELECT id FROM people WHERE id > 9"}, Usage),
        ({"personal_columns": ("surname",)}, Usage),
        ({"subject_column": "surname"}, Usage),
        ({"personal": False, "legal_basis": "not-personal"}, Usage),
        ({"purposes": ()}, Usage),
    ],
)
def test_what_cannot_be_taken_registers_nothing_and_leaves_no_copy(
    changed: dict[str, Any], kind: type[AssayError], town: Town
) -> None:
    with pytest.raises(kind):
        town.do("sam", extraction(**changed))
    assert "alpha/people" not in town.ws.view.follow().datasets
    assert not list((town.root / "work").glob("*"))


def test_a_source_of_another_project_is_not_there(town: Town) -> None:
    with pytest.raises(NotFound, match="has no source"):
        town.do("bea", extraction(project="beta"))


def test_a_source_that_holds_a_password_is_refused_without_repeating_it(town: Town) -> None:
    config = town.repo / "assay.toml"
    text = config.read_text().replace("sqlite:///core.sqlite", "postgresql://r:hunter2@db/core")
    config.write_text(text)
    town.close()
    with pytest.raises(Usage) as caught:
        town.do("sam", extraction())
    assert "hunter2" not in caught.value.message + caught.value.remedy


@pytest.mark.parametrize(
    "more",
    [
        "[projects.alpha.sources.x]\n",
        "[projects.alpha.sources.x]\nurl = 'file:x'\npassword = 'y'\n",
        "[projects.alpha.sources.X]\nurl = 'file:x'\n",
        "[projects.ALPHA.sources.x]\nurl = 'file:x'\n",
        "[projects.alpha]\nother = 1\n",
    ],
)
def test_a_source_is_configured_strictly(more: str, built: Town, tmp_path: Any) -> None:
    path = tmp_path / "assay.toml"
    path.write_text((built.repo / "assay.toml").read_text() + more)
    with pytest.raises(Usage):
        read_config(path)
