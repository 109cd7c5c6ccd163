"""Vulnerabilities, VEX and licences through the door."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from workspace.town import WORKSPACE, Town

from assay.actions.administration import CollectGarbage
from assay.actions.release import Supersede
from assay.actions.vulnerabilities import (
    CheckLicences,
    CheckVulnerabilities,
    DeclareVex,
    ImportAdvisories,
    ReadAdvisories,
    bill_of_materials,
    in_use,
    kept_advisories,
)
from assay.errors import NotFound, Usage
from assay.evidence import envelope as dsse
from assay.evidence.signers import MemorySigner
from assay.evidence.statement import Statement, Subject
from assay.supply.advisories import vex
from assay.types import Digest
from assay.workspace.view import View

CHECK = CheckVulnerabilities(project="alpha", model="score", version="1")
LICENCES = CheckLicences(project="alpha", model="score", version="1")
CRITICAL = "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"


def record(name: str, package: str, fixed: str, **more: Any) -> dict[str, Any]:
    events = [{"introduced": "0"}, {"fixed": fixed}]
    what = {
        "package": {"ecosystem": "PyPI", "name": package},
        "ranges": [{"type": "ECOSYSTEM", "events": events}],
    }
    return {"id": name, "modified": "2025-12-01T00:00:00Z", "affected": [what], **more}


ADVISORIES = [
    record(
        "GHSA-1",
        "torch",
        "2.6.0",
        aliases=["CVE-1"],
        severity=[{"type": "CVSS_V3", "score": CRITICAL}],
    ),
    record("PYSEC-2", "scikit-learn", "1.5.0"),
    *(record(f"GHSA-x{n}", f"other{n}", "1") for n in range(8)),
]


def dump(town: Town, *records: dict[str, Any], name: str = "dump.json") -> Path:
    path = town.base / name
    path.write_text(json.dumps(records or ADVISORIES))
    return path


def imported(town: Town, *records: dict[str, Any], **more: Any) -> dict[str, Any]:
    path = str(dump(town, *records))
    return town.do("ada", ImportAdvisories(project=WORKSPACE, path=path, **more))


def library(name: str, version: str, licence: str = "MIT") -> dict[str, Any]:
    return {
        "type": "library",
        "name": name,
        "version": version,
        "purl": f"pkg:pypi/{name}@{version}" if version else f"pkg:pypi/{name}",
        "licenses": [{"expression": licence}],
    }


def bom(*components: dict[str, Any]) -> dict[str, Any]:
    subject = {"type": "machine-learning-model", "name": "score", "version": "1"}
    subject["licenses"] = [{"license": {"id": "Apache-2.0"}}]  # pyright: ignore[reportArgumentType]
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.7",
        "version": 1,
        "metadata": {"component": subject},
        "components": list(components),
    }


def artifact(town: Town) -> Digest:
    return town.ws.view.version("alpha", "score", "1").artifact


def write_bom(
    town: Town,
    *components: dict[str, Any],
    producer: str = "assay.supply.bom/1",
    signer: Any = None,
    about: Digest | None = None,
    name: str = "score@1",
) -> str:
    """The statement that `assay bom write` makes, by hand; the digest of its envelope."""
    found = town.ws.view.version("alpha", "score", "1")
    subject = {name: found.artifact, f"{name}.onnx": found.served or found.artifact}
    made = Statement.new(
        subject={"score@1": about} if about else subject,
        predicate_type="https://cyclonedx.org/bom",
        predicate=bom(*components),
        project="alpha",
        producer=producer,
        clock=town.clock,
    )
    index = town.slip_in(made, signer or town.workspace_key)
    town.ws.view.follow()
    raw = town.ws.view.leaf(index).envelope
    assert raw is not None
    return dsse.envelope_digest(dsse.decode(raw))


TORCH = library("torch", "2.5.1")
SKLEARN = library("scikit-learn", "1.4.2", "BSD-3-Clause")


def openvex(*said: tuple[str, str, str], author: str = "security") -> str:
    statements = [
        vex.Statement(
            vulnerability=vex.Vulnerability(name),
            status=msgspec.convert(status, vex.Status),
            justification=(
                "vulnerable_code_not_in_execute_path" if status == "not_affected" else None
            ),
            action_statement="update" if status == "affected" else "",
            products=(vex.Product(at_id=purl),),
        )
        for name, purl, status in said
    ]
    from workspace.town import START

    made = vex.write(statements, author=author, at=START, identity="https://example.org/1")
    return json.dumps(made)


def declared(document: str, reason: str = "it is never called") -> DeclareVex:
    return DeclareVex(project="alpha", model="score", version="1", document=document, reason=reason)


NOT_AFFECTED = openvex(("CVE-1", "pkg:pypi/torch@2.5.1", "not_affected"))


# -- the database ---------------------------------------------------------------------------------


def test_a_dump_is_imported_sealed_and_named_by_its_digest(town: Town) -> None:
    made = imported(town)
    assert (made["records"], made["modified"]) == (10, "2025-12-01T00:00:00.000Z")
    (statement,) = town.statements("advisories")
    assert statement.header.producer == "assay.supply.advisories/1"
    assert statement.predicate["digest"] == made["digest"] == statement.digests[0]
    held = town.do("una", ReadAdvisories(project="alpha"))
    assert held.digest == made["digest"]
    town.check()


def test_only_an_administrator_imports(town: Town) -> None:
    path = str(dump(town))
    assert town.refused("eve", ImportAdvisories(project=WORKSPACE, path=path)) == ["role"]
    assert town.statements("advisories") == []


def test_a_dump_that_knows_less_is_not_taken_unasked(town: Town) -> None:
    first = imported(town)
    with pytest.raises(Usage, match="know less"):
        imported(town, ADVISORIES[0])
    assert town.do("una", ReadAdvisories(project="alpha")).digest == first["digest"]
    second = imported(town, ADVISORIES[0], replace=True)
    assert town.do("una", ReadAdvisories(project="alpha")).digest == second["digest"]


def test_what_is_no_dump_leaves_nothing_behind(town: Town) -> None:
    path = town.base / "bad.json"
    path.write_text('{"id": "X"}')
    for bad in (str(path), str(town.base / "nothing")):
        with pytest.raises((Usage, NotFound)):
            town.do("ada", ImportAdvisories(project=WORKSPACE, path=bad))
    with pytest.raises(NotFound, match="no advisories"):
        town.do("una", ReadAdvisories(project="alpha"))
    assert town.statements("advisories") == []


def test_a_forged_statement_about_a_database_is_not_used(town: Town) -> None:
    made = imported(town)
    told = {**made, "digest": "sha256:" + "ab" * 32}
    forged = town.statement("advisories", told, WORKSPACE, producer="assay.supply.advisories/1")
    town.slip_in(forged, MemorySigner.generate())
    assert town.do("una", ReadAdvisories(project="alpha")).digest == made["digest"]


def test_the_database_in_use_is_named_to_whoever_collects_garbage(town: Town) -> None:
    assert kept_advisories(town.ws.view) == []
    imported(town)
    second = imported(town, *ADVISORIES, record("GHSA-9", "more", "1"))
    town.ws.view.follow()
    held = in_use(town.ws.view)
    assert held is not None
    assert kept_advisories(town.ws.view) == [("_workspace/policy", second["digest"])]
    town.clock.advance(timedelta(hours=1))
    town.do("ada", CollectGarbage(project=WORKSPACE))
    assert town.do("una", ReadAdvisories(project="alpha")).digest == second["digest"]


# -- vulnerabilities ------------------------------------------------------------------------------


def test_what_a_model_needs_is_looked_up_and_signed(town: Town) -> None:
    imported(town)
    written = write_bom(town, TORCH, SKLEARN, library("numpy", ""), library("xgboost", "3.0"))
    told = town.do("eve", CHECK)
    assert (told["critical"], told["unrated"], told["unmatched"], told["packages"]) == (1, 1, 1, 4)
    (statement,) = town.statements("vulnerabilities")
    assert statement.header.producer == "assay.supply.vulnerabilities/1"
    assert statement.predicate["bom"] == written
    assert artifact(town) in statement.digests
    found = {f["package"]: f for f in statement.predicate["findings"]}
    assert found["torch"]["severity"] == "critical"
    assert found["torch"]["fixed"] == ["2.6.0"]
    (beside,) = town.statements("https://in-toto.io/attestation/vulns/v0.2")
    assert [r["id"] for r in beside.predicate["scanner"]["result"]] == ["GHSA-1", "PYSEC-2"]
    assert beside.predicate["scanner"]["db"]["lastUpdate"] == told["database"]["modified"]


def test_the_facts_of_the_latest_check_count(town: Town) -> None:
    imported(town)
    write_bom(town, TORCH)
    town.do("eve", CHECK)
    found = town.ws.view.version("alpha", "score", "1")
    digest = found.served or found.artifact
    facts = town.ws.view.facts("alpha", digest).values["vulnerabilities"]
    assert (facts["critical"], facts["unmatched"]) == (1, 0)
    assert facts["database_modified"]["__extn"]["arg"].startswith("2025-12-01")
    write_bom(town, library("torch", "2.6.0"))
    town.do("eve", CHECK)
    assert town.ws.view.facts("alpha", digest).values["vulnerabilities"]["critical"] == 0


def test_without_a_bill_of_materials_or_advisories_nothing_is_said(town: Town) -> None:
    with pytest.raises(NotFound, match="no bill of materials") as caught:
        town.do("eve", CHECK)
    assert "assay bom write score@1" in caught.value.remedy
    write_bom(town, TORCH)
    with pytest.raises(NotFound, match="no advisories") as caught:
        town.do("eve", CHECK)
    assert "assay vulns import" in caught.value.remedy
    assert town.statements("vulnerabilities") == []


def test_a_bill_of_materials_without_libraries_is_no_clean_bill(town: Town) -> None:
    imported(town)
    write_bom(town, {"type": "data", "name": "rows"})
    with pytest.raises(Usage, match="no library"):
        town.do("eve", CHECK)
    assert town.statements("vulnerabilities") == []


@pytest.mark.parametrize("how", ["signer", "producer", "about", "name", "superseded"])
def test_only_the_workspaces_own_standing_bill_of_this_version_counts(town: Town, how: str) -> None:
    imported(town)
    write_bom(town, TORCH)
    clean = library("torch", "2.6.0")
    match how:
        case "signer":
            write_bom(town, clean, signer=town.people["eve"])
        case "producer":
            write_bom(town, clean, producer="somebody/1")
        case "name":
            write_bom(town, clean, name="score@2")
        case "about":
            write_bom(town, clean, about=Digest("sha256:" + "ab" * 32))
        case _:
            envelope = write_bom(town, clean)
            town.do(
                "ann",
                Supersede(
                    project="alpha", model="score", version="1", envelope=envelope, reason="wrong"
                ),
            )
    assert town.do("eve", CHECK)["critical"] == 1


def test_who_may_not_assess_may_not_check(town: Town) -> None:
    imported(town)
    write_bom(town, TORCH)
    assert town.refused("una", CHECK) == ["role"]
    assert town.refused("una", LICENCES) == ["role"]
    assert bill_of_materials(town.ws.view, town.ws.view.version("alpha", "score", "1"))


# -- VEX ------------------------------------------------------------------------------------------


def test_an_approvers_vex_takes_away_exactly_what_it_names(town: Town) -> None:
    imported(town)
    write_bom(town, TORCH, SKLEARN)
    assert town.do("eve", CHECK)["critical"] == 1
    done = town.do("ann", declared(NOT_AFFECTED))
    assert done["statements"] == [{"vulnerability": "CVE-1", "status": "not_affected"}]
    (beside,) = town.statements(vex.PREDICATE_TYPE)
    assert beside.predicate == json.loads(NOT_AFFECTED)
    told = town.do("eve", CHECK)
    assert (told["critical"], told["not_affected"], told["unrated"]) == (0, 1, 1)
    (finding,) = [f for f in told["findings"] if f["package"] == "torch"]
    assert finding["vex"]["justification"] == "vulnerable_code_not_in_execute_path"
    assert finding["vex"]["source"].startswith("sha256:")

    write_bom(town, library("torch", "2.5.0"), SKLEARN)
    assert town.do("eve", CHECK)["critical"] == 1, "another version was not named"


def test_a_vex_can_be_taken_back(town: Town) -> None:
    imported(town)
    write_bom(town, TORCH)
    town.do("ann", declared(NOT_AFFECTED))
    town.do("abe", declared(openvex(("CVE-1", "pkg:pypi/torch@2.5.1", "affected"))))
    assert town.do("eve", CHECK)["critical"] == 1
    town.do("abe", declared(NOT_AFFECTED))
    assert town.do("eve", CHECK)["critical"] == 0
    found = town.ws.view.version("alpha", "score", "1")
    for item in town.ws.view.evidence("alpha", found.artifact):
        if item.producer == "assay.supply.vex/1":
            town.do(
                "ann",
                Supersede(
                    project="alpha",
                    model="score",
                    version="1",
                    envelope=item.envelope_digest,
                    reason="mistaken",
                ),
            )
    assert town.do("eve", CHECK)["critical"] == 1


def test_only_an_approver_declares_and_never_without_a_reason(town: Town) -> None:
    for name in ("sam", "eve", "oli", "una"):
        assert "role" in town.refused(name, declared(NOT_AFFECTED))
    assert town.refused("ann", declared(NOT_AFFECTED, reason="")) == ["gate.reason"]
    assert town.statements("vex") == []


def test_nobody_declares_about_their_own_version(town: Town) -> None:
    from assay.actions.people import ManageRole

    author = town.ws.view.version("alpha", "score", "1").author
    (name,) = [name for name, actor in town.ids.items() if actor == author]
    town.do("ada", ManageRole(project=WORKSPACE, actor=author, role="alpha/approver", granted=True))
    assert town.refused(name, declared(NOT_AFFECTED)) == ["gate.supersede_own"]


def test_a_vex_that_is_not_signed_by_the_door_counts_for_nothing(town: Town) -> None:
    imported(town)
    write_bom(town, TORCH)
    predicate = {"name": "score", "version": "1", "document": json.loads(NOT_AFFECTED)}
    about = artifact(town)
    for signer, producer, name in (
        (town.people["ann"], "assay.supply.vex/1", "score@1"),
        (town.workspace_key, "somebody/1", "score@1"),
        (town.workspace_key, "assay.supply.vex/1", "score@2"),
    ):
        made = town.statement("vex", predicate, "alpha", about=about, producer=producer)
        named = [Subject(name, made.subject[0].digest)]
        town.slip_in(msgspec.structs.replace(made, subject=named), signer)
    assert town.do("eve", CHECK)["critical"] == 1


@pytest.mark.parametrize(
    "document",
    [
        openvex(("CVE-1", "pkg:pypi/torch", "not_affected")),
        openvex(("CVE-1", "https://example.org/torch", "not_affected")),
        "{}",
        "",
        NOT_AFFECTED.replace("not_affected", "harmless"),
    ],
)
def test_what_names_nothing_exactly_is_not_put_on_record(town: Town, document: str) -> None:
    with pytest.raises(Usage):
        town.do("ann", declared(document))
    assert town.statements("vex") == []


# -- licences -------------------------------------------------------------------------------------


def test_licences_are_judged_by_the_projects_policy(town: Town) -> None:
    write_bom(
        town,
        TORCH,
        library("gpl", "1", "AGPL-3.0-only"),
        library("odd", "1", "whatever it takes"),
        library("llama", "1", "llama3.1"),
    )
    told = town.do("eve", LICENCES)
    assert (told["components"], told["denied_count"], told["unknown_count"]) == (5, 1, 1)
    assert told["denied"] == ["gpl@1: AGPL-3.0-only"]
    assert told["unknown"] == ["odd@1"]
    assert told["review_count"] == 1
    (statement,) = town.statements("licences")
    assert statement.header.producer == "assay.supply.licences/1"
    facts = town.ws.view.facts("alpha", artifact(town))
    assert facts.values["licences"] == {"denied_count": 1, "unknown_count": 1}


def test_a_project_says_in_its_policy_which_licences_it_allows(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_bom(town, TORCH, library("gpl", "1", "AGPL-3.0-only"))
    own = {"licences_allowed": ["AGPL-3.0-only"], "licences_denied": ["MIT"]}
    plain = View.settings

    def changed(view: View, project: str) -> Mapping[str, Any]:
        return {**plain(view, project), **own}

    monkeypatch.setattr(View, "settings", changed)
    told = town.do("eve", LICENCES)
    assert "torch@2.5.1: MIT" in told["denied"]
    assert not any("gpl" in line for line in told["denied"])


def test_without_a_bill_of_materials_no_licence_is_judged(town: Town) -> None:
    with pytest.raises(NotFound, match="no bill of materials"):
        town.do("eve", LICENCES)
