"""``assay bom`` over a real workspace, and over files without one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from .conftest import Here


@pytest.fixture
def billed(registered: Here) -> Here:
    registered.ok("bom", "write", "credit@1", "--declare", "hardware=one processor", by="alice")
    return registered


def test_a_bill_is_written_shown_compared_searched_and_checked(billed: Here) -> None:
    shown = billed.ok("bom", "show", "credit@1", by="alice")
    document = shown.json
    assert document["specVersion"] == "1.7"
    for name, suffix in (("cyclonedx", "cdx"), ("spdx", "spdx")):
        file = f"credit.{suffix}.json"
        billed.ok("bom", "show", "credit@1", "--format", name, "--output", file, by="alice")
        assert billed("bom", "show", "credit@1", "--output", file, by="alice").code == 1
        found = billed.ok("bom", "check", file, "--json").json
        assert found["kind"] == {"cdx": "CycloneDX 1.7", "spdx": "SPDX 3.0.1"}[suffix]
        assert "is" in billed.ok("bom", "check", file).out
    assert billed.ok("bom", "diff", "credit@1", "credit.cdx.json", by="alice").out == (
        "they say the same\n"
    )
    assert billed("bom", "diff", "credit.cdx.json", "credit.spdx.json", by="alice").code == 2
    found = billed.ok("bom", "where", "scikit-learn", "--json", by="alice").json
    assert [item["model"] for item in found["found"]] == ["credit"]
    assert "credit@1" in billed.ok("bom", "where", "scikit-learn", by="alice").out
    nothing = billed("bom", "where", "torch", by="alice")
    assert nothing.code == 1
    assert "the list may go on" in nothing.out


def test_the_elements_are_told_one_by_one(billed: Here) -> None:
    shown = billed.ok("bom", "show", "credit@1", "--format", "elements", by="alice").out
    assert "Infrastructure hardware: declared" in shown
    assert "Cybersecurity policy information: known unknown" in shown
    told = billed.ok("bom", "show", "credit@1", "--format", "elements", "--json", by="alice").json
    assert len(told["elements"]) == 50
    assert told["present"] + told["declared"] + told["known_unknown"] == 50


def test_what_differs_is_told_and_is_an_exit_status(billed: Here) -> None:
    document = billed.ok("bom", "show", "credit@1", by="alice").json
    library = next(c for c in document["components"] if c["type"] == "library")
    library["version"] = "0.0.1"
    document["components"].append({"type": "library", "name": "left-pad", "version": "1.3"})
    (billed.ws / "old.json").write_text(json.dumps(document))
    done = billed("bom", "diff", "old.json", "credit@1", by="alice")
    assert done.code == 1
    assert "- library left-pad 1.3" in done.out
    assert f"~ {library['name']}, version: 0.0.1 →" in done.out
    assert billed("bom", "diff", "old.json", "credit@1", "--json", by="alice").json["same"] is False


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (["write", "credit"], 2, ""),
        (["write", "credit@9"], 1, "does not exist"),
        (["write", "credit@1", "--declare", "hardware"], 2, "NAME=TEXT"),
        (["write", "credit@1", "--declare", "a=b"], 2, "nothing that can be declared"),
        (["show", "credit@1"], 1, "assay bom write credit@1"),
        (["show", "credit@1", "--format", "xml"], 2, "cyclonedx"),
        (["where", "not a thing"], 2, "no package, digest or key id"),
        (["diff", "gone.json", "other.json"], 1, "does not exist"),
    ],
)
def test_what_is_asked_wrongly_names_the_remedy(
    registered: Here, args: list[str], code: int, said: str
) -> None:
    done = registered("bom", *args, by="alice")
    assert done.code == code, done
    assert said in done.all
    assert "Traceback" not in done.all


@pytest.mark.parametrize(
    ("content", "code", "said"),
    [
        (b"not json", 2, "not JSON"),
        (b"", 2, "not JSON"),
        (b"[" * 100_000, 2, "nested deeper than 64"),
        (b'{"bomFormat": "CycloneDX", "specVersion": "1.5"}', 4, "$.specVersion"),
        (b'{"bomFormat": "CycloneDX", "specVersion": "1.7", "x": 1}', 4, "$: "),
        (
            b'{"bomFormat": "CycloneDX", "specVersion": "1.7", "dependencies": [{"ref": "a"}]}',
            4,
            "$.dependencies[0].ref",
        ),
    ],
)
def test_a_bad_file_is_refused_without_a_workspace_naming_place_and_rule(
    tmp_path: Path, content: bytes, code: int, said: str
) -> None:
    (tmp_path / "ws").mkdir()
    path = tmp_path / "bad.json"
    path.write_bytes(content)
    here = Here(tmp_path)
    done = here("bom", "check", path)
    assert done.code == code, done
    assert said in done.all
    told: Any = here("bom", "check", path, "--json").json
    assert told["error"].startswith({2: "usage.bom", 4: "verification.bom"}[code])
    assert told["remedy"]


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    (tmp_path / "ws").mkdir()
    assert Here(tmp_path)("bom", "check", "gone.json").code == 1
