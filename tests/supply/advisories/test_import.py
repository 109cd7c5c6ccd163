"""Importing a dump: what is read, and what is refused."""

from __future__ import annotations

import contextlib
import json
import random
import zipfile
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from osv_records import NOW, affected, changed, database, folder, record, simple, zipped

from assay.errors import Corrupt, NotFound, Usage
from assay.supply.advisories import osv, sources
from assay.supply.advisories.database import (
    Database,
    build,
    check_newer,
    import_confined,
    import_dump,
)

THREE = [
    simple("GHSA-1", "Jinja2", "3.0"),
    simple("GHSA-2", "left-pad", "1.3.0", modified="2025-07-01T01:02:03Z"),
    changed(simple("GHSA-3", "numpy", "2.0"), withdrawn="2025-05-01T00:00:00Z"),
]


def imported(source: Path, tmp_path: Path) -> Database:
    return import_dump(source, tmp_path / "advisories", now=NOW)


# -- what is read ---------------------------------------------------------------------------------


def test_a_folder_a_zip_and_a_file_of_the_same_records_make_the_same_database(
    tmp_path: Path,
) -> None:
    listed = tmp_path / "list.json"
    listed.write_text(json.dumps(THREE[::-1]))
    answer = tmp_path / "answer.json"
    answer.write_text(json.dumps({"vulns": THREE}))
    found = [
        imported(folder(tmp_path / "folder" / "deep", *THREE).parent, tmp_path),
        imported(zipped(tmp_path / "all.zip", *THREE[::-1]), tmp_path),
        imported(listed, tmp_path),
        imported(answer, tmp_path),
    ]
    assert len({made.digest for made in found}) == 1
    assert found[0].modified == "2025-07-01T01:02:03.000Z"
    assert (found[0].records, found[0].withdrawn) == (3, 1)
    assert found[0].ecosystems == {"PyPI": 2}


def test_a_single_record_is_a_dump_and_names_are_filed_normalised(tmp_path: Path) -> None:
    source = tmp_path / "one.json"
    source.write_text(json.dumps(simple("GHSA-1", "Scikit_Learn", "1.0")))
    made = imported(source, tmp_path)
    assert [e.id for e in made.entries("PyPI", "scikit-learn")] == ["GHSA-1"]
    assert [e.id for e in made.entries("PyPI", "SCIKIT.learn")] == ["GHSA-1"]
    assert made.entries("npm", "scikit-learn") == []


def test_files_that_are_no_json_and_folders_of_version_control_are_passed_over(
    tmp_path: Path,
) -> None:
    base = folder(tmp_path / "dump", *THREE)
    (base / "README.md").write_text("# advisories")
    (base / ".git").mkdir()
    (base / ".git" / "x.json").write_text("no JSON")
    assert imported(base, tmp_path).records == 3


def test_of_a_record_that_is_there_twice_the_newer_edition_counts() -> None:
    old = simple("GHSA-1", "numpy", "2.0", modified="2025-01-01T00:00:00Z")
    new = simple("GHSA-1", "scipy", "2.0", modified="2025-02-01T00:00:00Z")
    for order in ([old, new], [new, old], [new, old, new]):
        made = database(*order)
        assert made.entries("PyPI", "numpy") == []
        assert len(made.entries("PyPI", "scipy")) == 1
        assert made.records == 1
    with pytest.raises(Usage, match="twice"):
        database(new, changed(new, summary="another"))


@given(st.permutations(range(6)))
@settings(max_examples=30, deadline=None)
def test_the_digest_depends_on_the_records_alone(order: list[int]) -> None:
    records = [
        record(
            f"GHSA-{n}",
            affected(f"p{n % 3}", {"introduced": "0"}, {"fixed": f"{n}.0"}),
            affected("shared", {"introduced": f"{n}"}, ecosystem="npm"),
        )
        for n in range(6)
    ]
    assert database(*(records[n] for n in order)).digest == database(*records).digest


def test_what_the_schema_may_gain_is_ignored_and_exploitation_is_noted() -> None:
    told = simple("GHSA-1", "numpy", "2.0", upstream=["CVE-1"], credits=[{"name": "x"}], new={})
    (entry,) = database(told).entries("PyPI", "numpy")
    assert (entry.exploited, entry.epss) == ("", "")
    for specific, expected in (
        ({"kev": True}, ("yes", "")),
        ({"cisa_kev": {"date_added": "2025-03-01"}, "epss": 0.5}, ("2025-03-01", "0.50000")),
        ({"known_exploited": "2025-03-02", "epss": {"score": "0.25"}}, ("2025-03-02", "0.25000")),
        ({"kev": False, "epss": 7}, ("", "")),
        ({"epss": "nan"}, ("", "")),
        ({"epss": []}, ("", "")),
    ):
        (entry,) = database({**told, "database_specific": specific}).entries("PyPI", "numpy")
        assert (entry.exploited, entry.epss) == expected


def test_the_confined_form_builds_the_same_bytes(tmp_path: Path) -> None:
    base = folder(tmp_path / "dump", *THREE)
    asked = {"source": str(base), "now": "2026-01-01T00:00:00.000Z"}
    data = import_confined(msgspec.json.encode(asked))
    assert Database.decode(data).digest == imported(base, tmp_path).digest
    assert data == (tmp_path / "advisories").read_bytes()


# -- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("told", "why"),
    [
        ({"id": "X"}, "modified"),
        (record("", affected("a")), "id"),
        (record("X" * 200, affected("a")), "id"),
        (record("X\n", affected("a")), "id"),
        (record("X", affected("a"), modified="yesterday"), "modified"),
        (record("X", affected("a"), modified="2025-01-01T00:00:00"), "timezone"),
        (record("X", affected("a"), schema_version="2.0.0"), "schema_version"),
        (record("X", affected("a"), affected={}), "array"),
        (record("X", affected("a"), aliases="CVE-1"), "array"),
        (record("X", affected("a"), aliases=[""]), "id"),
        (record("X", affected("a"), aliases=[f"A-{n}" for n in range(1001)]), "aliases"),
        (record("X", affected("")), "name"),
        (record("X", affected("a", versions=[""])), "version"),
        (record("X", affected("a", {"introduced": "1 \x1b[31m"})), "version"),
        (record("X", affected("a"), severity=[{"type": "CVSS_V3", "score": "A" * 999}]), "vector"),
        (record("X", {"package": {"ecosystem": "PyPI"}}), "name"),
    ],
)
def test_a_record_that_breaks_the_schema_refuses_the_whole_dump(
    told: dict[str, Any], why: str, tmp_path: Path
) -> None:
    base = folder(tmp_path / "dump", *THREE)
    (base / "bad.json").write_text(json.dumps(told))
    with pytest.raises(Usage, match=why) as caught:
        imported(base, tmp_path)
    assert "bad.json" in caught.value.message or "X" in caught.value.message
    assert not (tmp_path / "advisories").exists()


def test_an_empty_dump_is_no_dump(tmp_path: Path) -> None:
    (tmp_path / "dump").mkdir()
    (tmp_path / "list.json").write_text("[]")
    for source in (tmp_path / "dump", tmp_path / "list.json", zipped(tmp_path / "all.zip")):
        with pytest.raises(Usage, match="no advisory"):
            imported(source, tmp_path)
    with pytest.raises(NotFound):
        imported(tmp_path / "nothing", tmp_path)


def test_a_record_from_the_future_cannot_make_a_dump_look_fresh(tmp_path: Path) -> None:
    base = folder(tmp_path / "dump", simple("X", "a", "1", modified="2026-01-03T00:00:00Z"))
    with pytest.raises(Usage, match="future"):
        imported(base, tmp_path)
    hidden = simple("X", "a", "1", withdrawn="2027-01-01T00:00:00Z")
    with pytest.raises(Usage, match="future"):
        imported(folder(tmp_path / "hidden", hidden), tmp_path)
    edge = folder(tmp_path / "edge", simple("X", "a", "1", modified="2026-01-01T20:00:00Z"))
    assert imported(edge, tmp_path).records == 1


def test_links_and_pipes_are_not_followed(tmp_path: Path) -> None:
    base = folder(tmp_path / "dump", *THREE)
    (base / "link.json").symlink_to(base / "GHSA-1.json")
    with pytest.raises(Usage, match=r"link\.json"):
        imported(base, tmp_path)
    (tmp_path / "linked").symlink_to(folder(tmp_path / "other", *THREE))
    with pytest.raises(Usage, match="symbolic link"):
        imported(tmp_path / "linked", tmp_path)


@pytest.mark.parametrize("name", ["../x.json", "/etc/x.json", "a/../../x.json", "a\\x.json"])
def test_a_name_that_leads_out_of_a_zip_is_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / "all.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(zipfile.ZipInfo(name), json.dumps(THREE[0]))
    with pytest.raises(Usage, match="out of the archive"):
        imported(path, tmp_path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_zip_with_a_name_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "all.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.json", json.dumps(THREE[0]))
        archive.writestr("x.json", json.dumps(THREE[1]))
    with pytest.raises(Usage, match="twice"):
        imported(path, tmp_path)


def test_a_bomb_is_refused_by_what_comes_out_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "all.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.json", b" " * (20 << 20) + json.dumps(THREE[0]).encode())
    with pytest.raises(Usage, match="inflates"):
        imported(path, tmp_path)
    monkeypatch.setattr(sources, "_SPARED", 1 << 20)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for n in range(3):
            archive.writestr(f"{n}.json", b" " * (1 << 20) + json.dumps(THREE[n]).encode())
    with pytest.raises(Usage, match="inflates"):
        imported(path, tmp_path)


def test_more_records_than_the_bound_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "MOST_RECORDS", 2)
    (tmp_path / "list.json").write_text(json.dumps(THREE))
    paths = (
        folder(tmp_path / "dump", *THREE),
        zipped(tmp_path / "all.zip", *THREE),
        tmp_path / "list.json",
    )
    for source in paths:
        with pytest.raises(Usage, match="more than 2"):
            imported(source, tmp_path)


def test_whatever_is_done_to_a_zip_it_is_read_or_refused_and_never_something_else(
    tmp_path: Path,
) -> None:
    whole = bytearray(zipped(tmp_path / "all.zip", *THREE).read_bytes())
    chance = random.Random(5)  # noqa: S311
    path = tmp_path / "bad.zip"
    for _ in range(300):
        bad = bytearray(whole)
        for _ in range(chance.randrange(1, 4)):
            bad[chance.randrange(4, len(bad))] = chance.randrange(256)
        path.write_bytes(bad[: chance.randrange(4, len(bad) + 1)])
        with contextlib.suppress(Usage):
            imported(path, tmp_path)


@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
@settings(max_examples=100, deadline=None)
def test_any_bytes_are_a_record_or_a_usage_error(data: bytes) -> None:
    with pytest.raises(Usage):
        osv.decode(data, "x")


# -- the file -------------------------------------------------------------------------------------


def test_a_database_of_another_format_or_cut_short_is_corrupt(tmp_path: Path) -> None:
    imported(folder(tmp_path / "dump", *THREE), tmp_path)
    data = (tmp_path / "advisories").read_bytes()
    for bad in (b"", data[:-1], data + b"x", data.replace(b"advisories/v1", b"advisories/v9")):
        with pytest.raises(Corrupt):
            Database.decode(bad)
    told = msgspec.msgpack.decode(data)
    with pytest.raises(Corrupt, match="no records"):
        Database.decode(msgspec.msgpack.encode({**told, "records": 0}))
    told["packages"]["PyPI"]["jinja2"] = [["not", "an", "entry"]]
    made = Database.decode(msgspec.msgpack.encode(told))
    with pytest.raises(Corrupt, match="jinja2"):
        made.entries("PyPI", "jinja2")


def test_a_dump_that_is_older_or_smaller_does_not_replace_one_unasked() -> None:
    held = database(*(simple(f"X-{n}", "a", "1") for n in range(10)))
    check_newer(held.described(), held)
    smaller = database(*(simple(f"X-{n}", "a", "1") for n in range(8)))
    with pytest.raises(Usage, match=r"8 records of PyPI.*10"):
        check_newer(held.described(), smaller)
    older = database(
        *(simple(f"X-{n}", "a", "1", modified="2025-05-01T00:00:00Z") for n in range(10))
    )
    with pytest.raises(Usage, match="know less") as caught:
        check_newer(held.described(), older)
    assert "--replace" in caught.value.remedy
    gone = database(
        *(record(f"X-{n}", affected("a", {"introduced": "0"}, ecosystem="npm")) for n in range(10))
    )
    with pytest.raises(Usage, match="0 records of PyPI"):
        check_newer(held.described(), gone)


def test_the_age_is_in_days_since_the_newest_change() -> None:
    made = database(simple("X", "a", "1", modified="2025-12-01T12:00:00Z"))
    assert made.age_days(NOW) == 30
    assert made.age_days(datetime(2025, 1, 1, tzinfo=timezone.utc)) == 0


def test_nothing_is_unpacked(tmp_path: Path) -> None:
    before = {p.name for p in tmp_path.iterdir()}
    path = zipped(tmp_path / "all.zip", *THREE)
    build(sources.records(path), now=NOW)
    assert {p.name for p in tmp_path.iterdir()} - before == {"all.zip"}
