"""``assay vulns`` and ``assay licences`` over a real workspace and real files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

DUMP = Path(__file__).parents[1] / "supply" / "advisories" / "dump"
HASH = " --hash=sha256:" + "ab" * 32


@pytest.fixture
def database(empty: Any) -> Path:
    path = empty.folder / "advisories"
    empty.ok("vulns", "import", DUMP, "--out", path)
    return path


def requirements(here: Any, *lines: str) -> Path:
    path = here.folder / "requirements.txt"
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def bom(here: Any, *components: dict[str, Any]) -> Path:
    path = here.folder / "bom.json"
    path.write_text(json.dumps({"bomFormat": "CycloneDX", "components": list(components)}))
    return path


def test_without_a_workspace_a_file_is_checked_against_a_database(
    empty: Any, database: Path
) -> None:
    path = requirements(empty, f"torch==2.5.1{HASH}", f"requests==2.32.4{HASH}", "numpy")
    done = empty("vulns", "check", path, "--database", database)
    assert done.code == 4
    assert "GHSA-53q9-r3pm-6pq6" in done.out
    assert "critical" in done.out
    assert "numpy: its version is not known" in done.out
    assert "line 3: numpy may be another version tomorrow" in done.out
    assert "1 of 3 packages could not be looked up" in done.out
    told = empty("vulns", "check", path, "--database", database, "--json").json
    assert (told["critical"], told["unmatched"], told["packages"]) == (1, 1, 3)
    assert {f["rule"] for f in told["names"]} == {"pins.unpinned", "pins.unhashed"}


def test_exit_statuses_tell_found_from_unknown_from_nothing(empty: Any, database: Path) -> None:
    def status(*lines: str, **more: str) -> int:
        options = [part for key, value in more.items() for part in (f"--{key}", value)]
        path = requirements(empty, *lines)
        return empty("vulns", "check", path, "--database", database, *options).code

    assert status(f"torch==2.8.0{HASH}") == 0
    assert status(f"torch==2.8.0{HASH}", "numpy") == 3
    assert status(f"torch==2.7.1{HASH}", "numpy") == 4
    assert status(f"torch==2.7.1{HASH}", **{"fail-on": "high"}) == 0
    assert status(f"onnx==1.12.0{HASH}", **{"fail-on": "critical"}) == 4, "nobody rated it"
    assert status("# nothing") == 2
    assert status(f"torch==2.8.0{HASH}", **{"fail-on": "severe"}) == 2


def test_npm_only_advisories_say_nothing_about_python(empty: Any) -> None:
    dump = empty.folder / "dump.json"
    event = {"introduced": "0"}
    what = {
        "package": {"ecosystem": "npm", "name": "left-pad"},
        "ranges": [{"type": "SEMVER", "events": [event]}],
    }
    told = {"id": "X-1", "modified": "2025-01-01T00:00:00Z", "affected": [what]}
    dump.write_text(json.dumps(told))
    empty.ok("vulns", "import", dump, "--out", empty.folder / "npm")
    path = requirements(empty, f"torch==2.8.0{HASH}")
    done = empty("vulns", "check", path, "--database", empty.folder / "npm")
    assert done.code == 3
    assert "no advisories of PyPI" in done.out
    assert "nothing could be looked up" in done.out
    assert "no advisory is about" not in done.out


def test_a_database_is_described_with_its_age(empty: Any, database: Path) -> None:
    done = empty.ok("vulns", "database", "--database", database)
    assert "47 advisories, 0 of them withdrawn" in done.out
    assert "2025-08-29" in done.out
    assert "old: import a newer dump" in done.out
    told = empty.ok("vulns", "database", "--database", database, "--json").json
    assert told["ecosystems"]["PyPI"] == 46
    assert empty("vulns", "import", DUMP, "--out", database).code == 1, "never replaced unasked"
    assert empty.ok("vulns", "import", DUMP, "--out", database, "--force", "--json").json["digest"]


def test_what_is_not_a_dump_or_not_a_file_is_told_in_one_line(empty: Any, database: Path) -> None:
    bad = empty.folder / "bad.json"
    bad.write_text('{"id": "X"}')
    out = empty.folder / "new"
    done = empty("vulns", "import", bad, "--out", out)
    assert done.code == 2
    assert "OSV schema" in done.err
    assert not out.exists()
    assert empty("vulns", "check", "nothing.txt", "--database", database).code == 1
    assert empty("vulns", "check", database, "--database", bad).code == 4
    assert "Traceback" not in done.all


def test_own_names_are_told_from_public_ones(empty: Any, database: Path) -> None:
    names = empty.folder / "names.toml"
    names.write_text('format = "assay/package-names/v1"\nprivate = ["acme-*"]\n')
    path = requirements(empty, f"acme-models==1.0{HASH}", f"reqeusts==1.0{HASH}")
    done = empty("vulns", "check", path, "--database", database, "--names", names)
    assert "acme-models is private" in done.out
    assert "reqeusts looks like the well-known requests" in done.out


def test_licences_of_a_file_are_judged_by_a_policy(empty: Any) -> None:
    path = bom(
        empty,
        {"type": "library", "name": "a", "licenses": [{"expression": "MIT"}]},
        {"type": "data", "name": "b", "licenses": [{"license": {"name": "llama3.1"}}]},
    )
    done = empty.ok("licences", "check", path)
    assert "review  b: LicenseRef-scancode-llama-3.1-license-2024" in done.out
    assert "commercial use is limited" in done.out
    policy = empty.folder / "licences.toml"
    policy.write_text(
        'format = "assay/licence-policy/v1"\nallowed = ["MIT"]\nunlisted = "denied"\n'
    )
    done = empty("licences", "check", path, "--policy", policy, "--json")
    assert done.code == 4
    assert done.json["denied_count"] == 1
    unknown = bom(empty, {"type": "library", "name": "a"})
    assert empty("licences", "check", unknown).code == 3


def test_in_a_workspace_the_imported_database_is_used(empty: Any) -> None:
    empty.ok("init", "--development", "--project", "fraud", "--name", "alice")
    path = requirements(empty, f"torch==2.5.1{HASH}")
    done = empty("vulns", "check", path, by="alice")
    assert done.code == 1
    assert "assay vulns import" in done.err
    empty.ok("vulns", "import", DUMP, by="alice")
    assert "47 advisories" in empty.ok("vulns", "database", by="alice").out
    assert empty("vulns", "check", path, by="alice").code == 4


def test_a_model_without_a_bill_of_materials_is_told_how_to_get_one(registered: Any) -> None:
    registered.ok("vulns", "import", DUMP, by="alice")
    for group in ("vulns", "licences"):
        done = registered(group, "check", "credit@1", by="alice")
        assert done.code == 1
        assert "assay bom write credit@1" in done.err
    for option in (("--database", "x"), ("--names", "x")):
        assert registered("vulns", "check", "credit@1", *option, by="alice").code == 2


def test_from_a_written_bill_of_materials_to_an_answered_finding(registered: Any) -> None:
    here = registered
    here.ok("bom", "write", "credit@1", "--declare", "licence=internal", by="alice")
    shown = here.ok("bom", "show", "credit@1", "--json", by="alice").json
    (sklearn,) = [
        c["version"]
        for c in shown["components"]
        if c.get("purl", "").startswith("pkg:pypi/scikit-learn@")
    ]
    event = {"last_affected": sklearn}
    what = {
        "package": {"ecosystem": "PyPI", "name": "scikit-learn"},
        "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, event]}],
    }
    told = {"id": "X-1", "modified": "2025-01-01T00:00:00Z", "affected": [what]}
    dump = here.folder / "dump.json"
    dump.write_text(json.dumps({**told, "database_specific": {"severity": "HIGH"}}))
    here.ok("vulns", "import", dump, by="alice")
    done = here("vulns", "check", "credit@1", "--json", by="alice")
    assert done.code == 4
    assert (done.json["high"], done.json["findings"][0]["id"]) == (1, "X-1")
    why = {item["package"]: item["why"] for item in done.json["unmatched_packages"]}
    assert why.pop("numpy") == "its version is not known"
    (rest,) = why.values()  # Nobody saw it made: there may be others.
    assert "nobody knows which libraries" in rest

    said = here.ok(
        *("vulns", "vex", "credit@1", "--vulnerability", "X-1"),
        *("--package", done.json["findings"][0]["purl"]),
        *("--justification", "vulnerable_code_not_in_execute_path"),
        *("--reason", "no text is vectorised"),
        by="bob",
    )
    assert "X-1: not affected" in said.out
    done = here("vulns", "check", "credit@1", "--json", by="alice")
    assert (done.json["high"], done.json["not_affected"], done.code) == (0, 1, 3)

    judged = here("licences", "check", "credit@1", "--json", by="alice").json
    assert (judged["unknown"], judged["denied_count"]) == (["numpy"], 0)


def test_a_vex_needs_an_approver_and_a_justification(registered: Any) -> None:
    given = ("vulns", "vex", "credit@1", "--vulnerability", "CVE-1", "--reason", "x")
    assert registered(*given, by="bob").code == 2
    justified = (*given, "--justification", "component_not_present")
    assert registered(*justified, by="alice").code == 3
    assert registered(*justified, "--package", "pkg:pypi/torch", by="bob").code == 2
    registered.ok(*justified, "--package", "pkg:pypi/torch@2.5.1", by="bob")
    registered.ok(*justified, by="bob")
