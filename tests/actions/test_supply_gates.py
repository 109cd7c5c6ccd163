"""Evidence about a supply chain opens no gate for another version, another list, or a guess."""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from actions.taking import digest_of, release, take
from workspace.town import WORKSPACE, Town, model

from assay.actions.boms import Bill, ReadBom, WriteBom
from assay.actions.reading import ExportEvidence
from assay.actions.vulnerabilities import (
    CheckLicences,
    CheckVulnerabilities,
    ImportAdvisories,
    project_licences,
)
from assay.errors import Usage, Verification
from assay.evidence.facts import FactSet
from assay.evidence.records import VersionState
from assay.govern import verify as bundles
from assay.supply.bom import cyclonedx, listing, spdx
from assay.workspace.view import View

SKLEARN = importlib.metadata.version("scikit-learn")
"""The version that the model's file names."""
HASH = "sha256:" + "5a" * 32
OTHER = "sha256:" + "5b" * 32
LOCK = f"""
joblib==1.5.2 --hash={HASH}
numpy==2.4.6 \\
    --hash={HASH} \\
    --hash={OTHER}
scikit-learn=={SKLEARN} --hash={HASH}
"""


def write(town: Town, name: str = "score", version: str = "1", **given: Any) -> dict[str, Any]:
    return town.do("eve", WriteBom(project="alpha", model=name, version=version, **given))


def bill(town: Town, name: str = "score") -> Bill:
    return town.do("una", ReadBom(project="alpha", model=name, version="1"))


def advisories(town: Town) -> None:
    made = [
        {
            "id": "GHSA-old",
            "modified": "2025-12-01T00:00:00Z",
            "affected": [
                {
                    "package": {"ecosystem": "PyPI", "name": "numpy"},
                    "ranges": [
                        {"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "2"}]}
                    ],
                }
            ],
        }
    ]
    path = town.base / "dump.json"
    path.write_text(json.dumps(made))
    town.do("ada", ImportAdvisories(project=WORKSPACE, path=str(path)))


def check(town: Town, name: str = "score") -> dict[str, Any]:
    return town.do("eve", CheckVulnerabilities(project="alpha", model=name, version="1"))


def licences(town: Town, name: str = "score", version: str = "1") -> dict[str, Any]:
    return town.do("eve", CheckLicences(project="alpha", model=name, version=version))


def facts(town: Town, name: str = "score", version: str = "1") -> dict[str, Any]:
    town.ws.view.follow()
    return town.ws.view.version_facts(town.ws.view.version("alpha", name, version)).values


# -- evidence of something else --------------------------------------------------------------------


def test_what_is_found_out_about_the_same_bytes_under_another_name_opens_nothing(
    town: Town,
) -> None:
    advisories(town)
    town.do("eve", model(town.repo, "copy"))
    write(town, "copy", libraries=LOCK, declare={"licence": "MIT"})
    check(town, "copy")
    licences(town, "copy")
    assert {"bom", "vulnerabilities", "licences"} <= facts(town, "copy").keys()
    same = [town.ws.view.version("alpha", name, "1").artifact for name in ("score", "copy")]
    assert same[0] == same[1]
    assert not {"bom", "vulnerabilities", "licences"} & facts(town).keys()
    assert facts(town)["scan"]["clean"]  # What is true of bytes is true of them by any name.


def test_a_decision_that_counted_another_versions_evidence_does_not_verify(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    town.do("eve", model(town.repo, "copy"))
    write(town, "copy", declare={"licence": "MIT"})

    def of_the_bytes(view: View, version: VersionState) -> FactSet:
        return view.facts(version.project, version.served or version.artifact)

    with monkeypatch.context() as forging:
        forging.setattr(View, "version_facts", of_the_bytes)
        town.promote(stage="development")
    made = town.do("eve", ExportEvidence(project="alpha", model="score", version="1"))
    with pytest.raises(Verification, match="facts bom do not follow"):
        bundles.verify(made, now=town.clock.now())


def test_a_check_of_a_list_that_was_replaced_counts_no_more(town: Town) -> None:
    advisories(town)
    write(town, libraries=LOCK)
    check(town)
    licences(town)
    assert {"vulnerabilities", "licences"} <= facts(town).keys()
    write(town, libraries=LOCK.replace("2.4.6", "1.0.0"))
    assert "bom" in facts(town)
    assert not {"vulnerabilities", "licences"} & facts(town).keys()
    check(town)
    assert facts(town)["vulnerabilities"]["unrated"] == 1


def test_the_same_list_written_again_keeps_its_check(town: Town) -> None:
    advisories(town)
    write(town, libraries=LOCK)
    check(town)
    before = facts(town)["vulnerabilities"]
    write(town, libraries=LOCK)  # Says now what the check found.
    assert facts(town)["vulnerabilities"] == before


def test_a_list_is_told_from_another_by_its_parts_and_not_by_their_order(town: Town) -> None:
    write(town, libraries=LOCK)
    made = bill(town).cyclonedx
    assert bill(town).summary["inventory"] == listing.digest_of(made)
    turned = {**made, "components": made["components"][::-1]}
    assert listing.digest_of(turned) == listing.digest_of(made)
    fewer = {**made, "components": made["components"][1:]}
    closed = {**made, "compositions": [{"aggregate": "unknown"}]}
    assert len({listing.digest_of(b) for b in (made, fewer, closed)}) == 3


# -- what nobody knows -----------------------------------------------------------------------------


def test_a_file_that_names_its_own_library_does_not_make_the_list_known(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    from assay.actions import boms
    from assay.supply.bom.named import Named

    advisories(town)
    said = Named({"joblib": "1.5.2", "numpy": "2.4.6", "scikit-learn": SKLEARN})
    monkeypatch.setattr(boms, "_named", lambda *_: said)
    write(town)
    told = check(town)
    assert (told["packages"], told["unmatched"]) == (4, 1)
    assert "nobody knows which libraries" in told["unmatched_packages"][0]["why"]


def test_a_declared_lock_answers_the_names_in_the_file_and_stays_declared(town: Town) -> None:
    advisories(town)
    done = write(town, libraries=LOCK)
    assert (done["libraries"], done["unpinned"]) == ("incomplete", 0)
    made = bill(town)
    cyclonedx.validate(made.cyclonedx)
    spdx.validate(made.spdx)
    listed = [c for c in made.cyclonedx["components"] if c["type"] == "library"]
    assert {c["name"]: c["version"] for c in listed} == {
        "joblib": "1.5.2",
        "numpy": "2.4.6",
        "scikit-learn": SKLEARN,
    }
    for component in listed:
        basis = [p["value"] for p in component["properties"] if p["name"] == "assay:basis"]
        assert basis == ["declared"]
    assert {e["status"] for e in made.summary["elements"] if e["name"] == "software"} <= {
        "declared"
    }
    told = check(town)
    assert (told["packages"], told["unmatched"], told["findings_count"]) == (3, 0, 0)


def test_a_lock_without_what_the_file_names_leaves_that_unanswered(town: Town) -> None:
    advisories(town)
    write(town, libraries=f"requests==2.32.0 --hash={HASH}\n")
    told = check(town)
    assert told["unmatched"] > 0


@pytest.mark.parametrize(
    ("lock", "why"),
    [
        ("numpy\n", "no exact version"),
        (f"numpy>=2 --hash={HASH}\n", "no exact version"),
        (f"numpy==2.* --hash={HASH}\n", "no exact version"),
        ("numpy==2.4.6\n", "no hash"),
        ("numpy==2.4.6 --hash=md5:00\n", "no hash"),
        (f"numpy==2.4.6 --hash=md5:{'5a' * 32}\n", "no hash"),
        (f"numpy @ https://evil.example/numpy.whl --hash={HASH}\n", "no exact version"),
        (f"-r other.txt\nnumpy==2.4.6 --hash={HASH}\n", "line 1"),
        (f"--index-url https://evil.example\nnumpy==2.4.6 --hash={HASH}\n", "line 1"),
        ("!!\n", "no requirement"),
        ("# nothing\n", "no library"),
        (f"a==1 --hash={HASH}\nA==1 --hash={OTHER}\n", "twice"),
        (f"a==1 --hash=sha256:sha256:{'5a' * 32}\n", "no hash"),
    ],
)
def test_a_list_that_pins_nothing_is_refused_and_named_by_its_line(
    town: Town, lock: str, why: str
) -> None:
    size = town.size
    with pytest.raises(Usage, match=why) as caught:
        write(town, libraries=lock)
    assert caught.value.code == "usage.bom.libraries"
    assert "bom" not in town.kinds(size)


# -- licences --------------------------------------------------------------------------------------


def test_a_projects_policy_says_what_a_package_is_under_where_its_metadata_does_not(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(town, libraries=f"nowhere-installed==1.2 --hash={HASH}\n", declare={"licence": "MIT"})
    assert "nowhere-installed@1.2" in licences(town)["unknown"]
    plain = View.settings

    def changed(view: View, project: str) -> Mapping[str, Any]:
        return {
            **plain(view, project),
            "licences_declared": ["nowhere-installed@1.2 = BSD-3-Clause"],
        }

    monkeypatch.setattr(View, "settings", changed)
    assert "nowhere-installed@1.2" not in licences(town)["unknown"]


def test_a_licence_that_a_project_denies_is_not_allowed_by_the_list_that_assay_brings(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = View.settings

    def changed(view: View, project: str) -> Mapping[str, Any]:
        return {**plain(view, project), "licences_denied": ["MIT"]}

    monkeypatch.setattr(View, "settings", changed)
    policy = project_licences(town.ws.view, "alpha")
    assert (policy.judge("MIT"), policy.judge("Apache-2.0")) == ("denied", "allowed")


@pytest.fixture
def bare(town: Town) -> Path:
    path = town.base / "score.onnx"
    path.write_bytes((town.repo / "model.onnx").read_bytes())
    return path


def test_a_licence_that_somebody_says_is_told_apart_from_one_that_is_declared(
    town: Town, bare: Path, folder: Path
) -> None:
    mine = take(town, bare, digest=digest_of(bare), licence="MIT")
    assert mine["licence_by"] in town.ws.view.state.actors
    theirs = take(town, folder, digest=digest_of(folder), licence="MIT")
    assert (theirs["licence"], theirs["licence_by"]) == ("apache-2.0", "source")
    town.do("eve", release(mine["digest"]))
    write(town, "theirs")
    subject = bill(town, "theirs").cyclonedx["metadata"]["component"]
    by = [p["value"] for p in subject["properties"] if p["name"] == "assay:by:licence"]
    assert by == [f"actor {mine['licence_by']}"]


def test_a_copy_of_ones_own_does_not_take_away_the_licence_that_its_source_declares(
    town: Town, bare: Path, folder: Path
) -> None:
    (folder / "README.md").write_text("---\nlicense: agpl-3.0-only\n---\n# Score\n")
    take(town, folder, digest=digest_of(folder))
    mine = take(town, bare, digest=digest_of(bare), licence="MIT")
    assert mine["licences"]["denied_count"] == 1
    assert town.refused("eve", release(mine["digest"])) == ["intake.licence"]
