"""The whole road, from a registered model to a bundle that somebody else checks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest


def test_every_printed_remedy_runs_as_printed_until_all_gates_are_open(
    opened: Any, transcript: list[tuple[str, Any]]
) -> None:
    assert [command.split()[1:3] for command, _ in transcript] == [
        ["model", "assess"],
        ["doctor"],
        ["approve", "credit@1"],
        ["approve", "credit@1"],
    ]
    assert {done.code for _, done in transcript} == {0}, transcript
    checked = opened("model", "check", "credit@1", "--for", "production", by="alice")
    assert checked.code == 0
    assert "✗" not in checked.out
    assert "assay promote credit@1 --to production" in checked.out


def test_a_denial_lists_every_closed_gate_with_its_advice_and_command(registered: Any) -> None:
    done = registered("promote", "credit@1", "--to", "production", by="alice")
    assert done.code == 3
    for gate in ("rows", "skill", "auc", "gap", "privacy", "workspace", "approvals"):
        assert f"gate.{gate}" in done.err
    assert "assay approve credit@1 --for production --project fraud" in done.err
    told = registered("promote", "credit@1", "--to", "production", "--json", by="alice")
    reasons = told.json["details"]["reasons"]
    assert told.code == 3
    assert told.json["error"] == "denied.promote"
    assert all(reason["advice"] for reason in reasons)
    checked = registered("model", "check", "credit@1", "--json", by="alice")
    closed = [gate["gate"] for gate in checked.json["gates"] if not gate["passed"]]
    assert checked.code == 3
    assert closed == [reason["gate"] for reason in reasons]


def test_checking_changes_no_gate_and_promotes_nothing(registered: Any) -> None:
    before = registered("model", "check", "credit@1", "--json", by="alice").json
    assert registered("model", "check", "credit@1", "--json", by="alice").json == before
    assert registered("model", "list", "--json", by="alice").json[0]["stage"] == ""


def test_who_may_not_promote_still_sees_that_the_gates_are_open(opened: Any) -> None:
    done = opened("model", "check", "credit@1", by="bob")
    assert done.code == 0
    assert "ml_engineer" in done.out


def test_an_author_cannot_approve_their_own_work(opened: Any) -> None:
    opened.ok("actor", "role", "alice", "grant", "fraud/approver", by="alice")
    done = opened("approve", "credit@1", "--for", "production", by="alice")
    assert done.code == 3
    assert "gate.approve_own" in done.err


def test_the_road_ends_in_a_bundle_that_verifies_without_the_workspace(
    promoted: Any, tmp_path: Path
) -> None:
    listed = promoted.ok("model", "list", by="alice").out
    assert "production" in listed
    made = promoted.ok("export", "credit@production", "--json", by="alice").json
    elsewhere = type(promoted)(tmp_path / "elsewhere")
    elsewhere.ws.mkdir(parents=True)
    (elsewhere.ws / "b.assay").write_bytes((promoted.ws / made["file"]).read_bytes())
    done = elsewhere.ok("verify", "b.assay", "--trust-root", made["trust_root"])
    assert "credit@1" in done.out
    assert "production" in done.out
    assert "matches the pinned digest" in done.out
    assert "not compared" in elsewhere.ok("verify", "b.assay").out
    report = elsewhere.ok("verify", "b.assay", "--json").json
    assert report["subject"]["name"] == "credit"
    wrong = elsewhere("verify", "b.assay", "--trust-root", f"sha256:{'0' * 64}")
    assert wrong.code == 4
    assert "trust root" in wrong.err


@pytest.mark.parametrize("where", [0.1, 0.5, 0.9])
def test_a_bundle_with_one_changed_byte_fails_naming_the_part(promoted: Any, where: float) -> None:
    promoted.ok("export", "credit@1", "--out", "b.assay", by="alice")
    path = promoted.ws / "b.assay"
    data = bytearray(path.read_bytes())
    at = int(len(data) * where)
    data[at] = ord("A") if data[at] != ord("A") else ord("B")
    path.write_bytes(data)
    done = promoted("verify", "b.assay")
    assert done.code == 4
    assert len(done.err.strip().splitlines()) <= 2
    assert "Traceback" not in done.all


def test_the_passport_sorts_what_is_proven_declared_and_missing(
    registered: Any, promoted: Any
) -> None:
    page = promoted.ok("passport", "credit@production", "--json", by="alice").json
    assert {claim["title"] for claim in page["proven"]} >= {"Quality", "Privacy", "Scan"}
    assert all("sha256:" in claim["source"] for claim in page["proven"])
    assert page["missing"] == []
    assert 3 <= len(page["summary"]) <= 5
    assert page["approval_level"].startswith("self-approved (development)")
    assert sorted(claim["title"] for claim in page["approvals"]) == ["bob", "carol"]
    assert all("development key" in claim["text"] for claim in page["approvals"])
    early = registered.ok("passport", "credit@1", "--json", by="alice").json
    assert "gate.auc" in {claim["title"] for claim in early["missing"]}
    assert early["approval_level"] == "not approved"
    assert "Quality" not in {claim["title"] for claim in early["proven"]}


def test_the_page_is_written_once_and_holds_no_markup_of_users(promoted: Any) -> None:
    promoted.ok("passport", "credit@1", by="alice")
    page = (promoted.ws / "passport-credit-1.html").read_text()
    assert "<script" not in page
    again = promoted("passport", "credit@1", by="alice")
    assert again.code == 1
    assert "--force" in again.err
    promoted.ok("passport", "credit@1", "--force", by="alice")


def test_a_revoked_version_is_shown_as_such_everywhere(promoted: Any) -> None:
    promoted.ok("revoke", "credit@1", "--reason", "mislabelled rows", by="bob")
    assert "revoked" in promoted.ok("model", "list", by="alice").out
    assert promoted("promote", "credit@1", "--to", "staging", by="alice").code == 3
    page = promoted.ok("passport", "credit@1", "--json", by="alice").json
    assert page["revoked"]
    assert any("revoked" in line for line in page["summary"])
    promoted.ok("export", "credit@1", "--out", "b.assay", by="alice")
    assert "revoked" in promoted.ok("verify", "b.assay").out


def test_a_held_version_cannot_be_promoted_until_it_is_released(opened: Any) -> None:
    opened.ok("hold", "credit@1", "--reason", "looking into it", by="alice")
    denied = opened("promote", "credit@1", "--to", "production", by="alice")
    assert denied.code == 3
    assert "gate.hold" in denied.err
    opened.ok("unhold", "credit@1", "--reason", "all is well", by="alice")
    opened.ok("promote", "credit@1", "--to", "production", by="alice")


def test_a_superseded_statement_closes_its_gates_again(promoted: Any) -> None:
    shown = promoted.ok("model", "show", "credit@1", "--json", by="alice").json
    (quality,) = [e["envelope"] for e in shown["evidence"] if e["kind"] == "quality"]
    assert quality in promoted.ok("model", "show", "credit@1", by="alice").out
    promoted.ok("supersede", "credit@1", "--envelope", quality, "--reason", "wrong rows", by="bob")
    checked = promoted("model", "check", "credit@1", by="alice")
    assert checked.code == 3
    assert "✗ gate.auc" in checked.out
    assert "(superseded)" in promoted.ok("model", "show", "credit@1", by="alice").out
    unknown = promoted(
        *("supersede", "credit@1", "--envelope", f"sha256:{'1' * 64}", "--reason", "x"), by="bob"
    )
    assert unknown.code == 2


def test_decisions_are_listed_shown_and_replayed(promoted: Any) -> None:
    promoted("approve", "credit@1", by="alice")
    listed = promoted.ok("decision", "list", "--json", by="alice").json
    assert listed[0]["leaf"] > listed[-1]["leaf"]
    denied = promoted.ok("decision", "list", "--denied", "--json", by="alice").json
    assert [row["action"] for row in denied][:1] == ["approve"]
    (promotion,) = [row["id"] for row in listed if row["action"] == "promote" and row["allowed"]]
    shown = promoted.ok("decision", "show", promotion, by="alice")
    assert "allowed" in shown.out
    assert "alice" in shown.out
    again = promoted.ok("decision", "replay", promotion, "--json", by="alice").json
    assert again["same"] is True
    assert promoted.ok("decision", "replay", denied[0]["id"], by="alice").code == 0


def test_the_ledger_of_a_workspace_is_checked_leaf_by_leaf(founded: Any) -> None:
    assert "in order" in founded.ok("verify", ".assay/ledger").out
    assert founded.ok("verify", ".", "--json").json["problems"] == []
    pinned = founded("verify", ".", "--trust-root", f"sha256:{'0' * 64}")
    assert pinned.code == 4
    (segment, *_) = sorted((founded.ws / ".assay/ledger/sealed").rglob("*.seg"))
    data = bytearray(segment.read_bytes())
    data[-5] ^= 1
    segment.write_bytes(data)
    done = founded("verify", ".assay/ledger")
    assert done.code == 4
    assert "sealed/" in done.all


def test_json_of_a_bundle_report_is_one_document(promoted: Any) -> None:
    promoted.ok("export", "credit@1", "--out", "b.assay", by="alice")
    assert isinstance(json.loads(promoted.ok("verify", "b.assay", "--json").out), dict)
