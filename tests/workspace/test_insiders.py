"""Insiders: what somebody with each role, key or folder can try, and what comes of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from workspace.town import WORKSPACE, Town, dataset, enrolment, model

from assay import canonical
from assay.actions.administration import CreateProject
from assay.actions.datasets import HoldDataset, ReadDataset
from assay.actions.people import CreateToken, ManageRole
from assay.actions.reading import ExportEvidence, ReadEvidence
from assay.actions.release import Approve, Hold, Promote, Revoke, Supersede
from assay.actions.serving import Deploy, Kill, Query
from assay.clock import timestamp
from assay.errors import AssayError, Denied, Usage
from assay.evidence.records import REQUEST_FORMAT
from assay.evidence.signers import MemorySigner, Signer
from assay.policy.rules import ROLE
from assay.workspace.action import Action
from assay.workspace.credentials import Person, token_id_of

SCORE: dict[str, Any] = {"project": "alpha", "model": "score", "version": "1"}
APPROVE = Approve(**SCORE)
PROMOTE = Promote(**SCORE, stage="production")
REVOKE = Revoke(**SCORE, reason="bad")


def grant(town: Town, name: str, role: str, by: str = "ada") -> None:
    town.do(by, ManageRole(project=WORKSPACE, actor=town.ids[name], role=role, granted=True))


def by_role(town: Town, name: str, *actions: Action) -> None:
    """Each is denied for want of a role, and nothing is done."""
    before = town.size
    for action in actions:
        assert ROLE in town.refused(name, action), action
    assert set(town.kinds(before)) <= {"decision"}


# -- the roles ------------------------------------------------------------------------------------


def test_a_data_scientist_cannot_approve_or_promote_to_production(town: Town) -> None:
    town.approve("ann", "abe")
    staging = Promote(**SCORE, stage="staging")
    deploy = Deploy(**SCORE, stage="production")
    token = CreateToken(project="alpha", actor=town.ids["web"])
    by_role(town, "sam", APPROVE, PROMOTE, staging, deploy, REVOKE, token)
    town.do("sam", Promote(**SCORE, stage="development"))


def test_an_author_cannot_approve_their_own_model_even_as_an_approver(town: Town) -> None:
    by_role(town, "eve", APPROVE)
    grant(town, "eve", "alpha/approver")
    assert town.refused("eve", APPROVE) == ["gate.approve_own"]
    town.approve("ann")
    assert town.refused("eve", PROMOTE) == ["gate.approvals"]


def test_an_author_does_not_count_even_where_the_door_let_them_approve(town: Town) -> None:
    """An approval of one's own, smuggled past the gate, still is not counted by the facts."""
    grant(town, "eve", "alpha/approver")
    approval = smuggled_approval(town, "eve", town.people["eve"])
    assert approval
    town.approve("ann")
    assert town.refused("eve", PROMOTE) == ["gate.approvals"]
    version = town.ws.view.version("alpha", "score", "1")
    counted = town.ws.view.approvals(version, "production")
    assert [a["actor"] for a in counted] == [town.ids["ann"]]


def test_an_author_cannot_set_evidence_about_their_own_model_aside(town: Town) -> None:
    grant(town, "eve", "alpha/approver")
    version = town.ws.view.version("alpha", "score", "1")
    assert version.served
    envelope = town.ws.view.evidence("alpha", version.served)[0].envelope_digest
    supersede = Supersede(**SCORE, envelope=envelope, reason="unlucky")
    assert town.refused("eve", supersede) == ["gate.supersede_own"]


def test_an_approver_cannot_promote_alone_nor_read_data(town: Town) -> None:
    town.approve("ann", "ann", "ann")
    read = ReadDataset(project="alpha", dataset="train", purpose="scoring")
    deploy = Deploy(**SCORE, stage="production")
    by_role(town, "ann", PROMOTE, read, deploy, dataset(town.repo, "new", file="test.csv"))
    # Approving three times is approving once.
    assert town.refused("eve", PROMOTE) == ["gate.approvals"]


def test_an_operator_cannot_promote_or_lift_a_revocation(town: Town) -> None:
    town.approve("ann", "abe")
    by_role(town, "oli", PROMOTE, APPROVE, Promote(**SCORE, stage="development"))
    town.do("oli", REVOKE)
    state = town.ws.view.follow()
    town.do("oli", Hold(**SCORE, reason="x", held=False))
    assert state.versions["alpha/score@1"].revoked
    assert "gate.revoked" in town.refused("oli", Deploy(**SCORE, stage="production"))
    # The same bytes under a new number are born revoked.
    town.do("eve", model(town.repo, "score", path=str(town.repo / "model.onnx")))
    assert town.ws.view.follow().versions["alpha/score@2"].revoked


def test_an_auditor_changes_nothing(town: Town) -> None:
    town.deploy()
    read = ReadDataset(project="alpha", dataset="train", purpose="scoring")
    by_role(
        town,
        "una",
        APPROVE,
        PROMOTE,
        REVOKE,
        read,
        Hold(**SCORE, reason="x"),
        HoldDataset(project="alpha", dataset="train", reason="x"),
        Kill(project="alpha", endpoint="score", reason="x"),
        CreateToken(project="alpha", actor=town.ids["web"]),
        enrolment("new", None),
        dataset(town.repo, "new", file="test.csv"),
    )
    before = msgspec.to_builtins(town.ws.view.follow())
    town.do("una", ReadEvidence(project="alpha"))
    town.do("una", ExportEvidence(**SCORE))
    after = msgspec.to_builtins(town.ws.view.follow())
    moving = {"size", "closed", "open", "evidence"}
    assert {k: v for k, v in after.items() if k not in moving} == {
        k: v for k, v in before.items() if k not in moving
    }


def test_a_service_can_only_query(town: Town) -> None:
    town.deploy()
    read = ReadDataset(project="alpha", dataset="train", purpose="scoring")
    by_role(town, "web", PROMOTE, REVOKE, read, ReadEvidence(project="alpha"), APPROVE)
    query = Query(project="alpha", endpoint="score", version="1")
    assert town.ws.preview(town.who("web"), query)[0].allowed


def test_a_service_given_the_role_of_an_approver_is_no_second_person(town: Town) -> None:
    grant(town, "web", "alpha/approver")
    with pytest.raises(Usage, match="only a person"):
        town.do("web", APPROVE)
    robot = MemorySigner.generate()
    town.people["robot"], town.ids["robot"] = robot, "id-robot"
    town.do("ada", enrolment("id-robot", robot, "alpha/approver", kind="service"))
    town.approve("ann")
    with pytest.raises(AssayError):
        town.do("robot", APPROVE)
    assert town.refused("eve", PROMOTE) == ["gate.approvals"]


# -- administrators -------------------------------------------------------------------------------


def test_an_administrator_cannot_read_data_approve_or_promote(town: Town) -> None:
    town.approve("ann", "abe")
    read = ReadDataset(project="alpha", dataset="train", purpose="scoring")
    deploy = Deploy(**SCORE, stage="production")
    by_role(town, "ada", read, APPROVE, PROMOTE, REVOKE, deploy, ReadEvidence(project="alpha"))


def test_what_an_administrator_grants_themselves_is_on_the_ledger_signed_by_their_key(
    town: Town,
) -> None:
    before = town.size
    grant(town, "ada", "alpha/approver")
    decision, role, _ = town.statements(since=before)
    assert decision.predicate["actor"] == role.predicate["actor"] == town.ids["ada"]
    assert role.predicate == {
        "decision": decision.header.id,
        "actor": town.ids["ada"],
        "role": "alpha/approver",
        "granted": True,
    }
    proof = decision.predicate["request"]["proof"]
    assert proof["keyid"] == town.people["ada"].public.keyid


def test_an_administrator_who_makes_themselves_approver_still_cannot_approve_their_own_model(
    town: Town,
) -> None:
    for role in ("alpha/approver", "alpha/ml_engineer"):
        grant(town, "ada", role)
    town.do("ada", model(town.repo, "mine", path=str(town.repo / "model.onnx")))
    mine = {"project": "alpha", "model": "mine", "version": "1"}
    assert town.refused("ada", Approve(**mine)) == ["gate.approve_own"]
    assert "gate.approvals" in town.refused("ada", Promote(**mine, stage="production"))


def test_an_administrator_cannot_make_a_new_key_of_somebody_elses(town: Town) -> None:
    with pytest.raises(Usage):
        town.do("ada", enrolment("other", town.people["ann"]))


def test_a_second_key_for_an_approver_counts_as_the_same_person_and_is_on_record(
    town: Town,
) -> None:
    spare = MemorySigner.generate()
    before = town.size
    town.do("ada", enrolment(town.ids["ann"], spare))
    assert [s.predicate["actor"] for s in town.statements("actor", before)] == [town.ids["ann"]]
    town.approve("ann")
    town.ws.perform(Person(spare), APPROVE)
    assert town.refused("eve", PROMOTE) == ["gate.approvals"]


# -- the workspace key ----------------------------------------------------------------------------


def forged_decision(
    town: Town,
    actor: str,
    action: str,
    project: str = "alpha",
    *,
    proof: Callable[[dict[str, Any]], dict[str, Any]],
) -> str:
    """A decision made by hand with the workspace key, and slipped onto the ledger."""
    predicate: dict[str, Any] = {
        "action": action,
        "actor": town.ids[actor],
        "allowed": True,
        "durability": "before",
    }
    decision = town.statement("decision", predicate, project)
    request: dict[str, Any] = {
        "workspace": town.ws.view.follow().workspace,
        "id": decision.header.id,
        "issued": timestamp(town.clock.now()),
        "project": project,
        "action": action,
        "params": {},
    }
    decision.predicate["request"] = {**request, "proof": proof(request)}
    town.slip_in(decision, town.workspace_key)
    return decision.header.id


def signature(signer: Signer, keyid: str = "") -> Callable[[dict[str, Any]], dict[str, Any]]:
    """The proof that `signer` asked, said to be by another key if one is given."""

    def proof(request: dict[str, Any]) -> dict[str, Any]:
        body = canonical.encode({"format": REQUEST_FORMAT, **request})
        sig = canonical.b64(signer.sign(body))
        return {"keyid": keyid or signer.public.keyid, "sig": sig}

    return proof


def smuggled_approval(town: Town, actor: str, signer: Any) -> bool:
    """A decision to approve, for which the actor did ask but not policy, and an approval signed
    by `signer`; whether the fold took it."""
    version = town.ws.view.version("alpha", "score", "1")
    assert version.served
    decision = forged_decision(town, actor, "approve", proof=signature(town.people[actor]))
    approval = town.statement(
        "approval",
        {"decision": decision, "name": "score", "version": "1", "stage": "production"},
        "alpha",
        about=version.served,
    )
    index = town.slip_in(approval, signer)
    state = town.ws.view.follow()
    return index not in [refused for refused, _ in state.rejected]


def test_who_holds_the_workspace_key_cannot_forge_an_approval(town: Town) -> None:
    stranger = MemorySigner.generate()
    assert not smuggled_approval(town, "ann", town.workspace_key)
    assert not smuggled_approval(town, "ann", stranger)
    assert not smuggled_approval(town, "ann", town.people["abe"])
    version = town.ws.view.version("alpha", "score", "1")
    assert town.ws.view.approvals(version, "production") == []
    assert "gate.approvals" in town.refused("eve", PROMOTE)


def test_an_approval_signed_by_a_person_but_never_decided_is_refused(town: Town) -> None:
    version = town.ws.view.version("alpha", "score", "1")
    assert version.served
    for decision in ("", "nothing"):
        approval = town.statement(
            "approval",
            {"decision": decision, "name": "score", "version": "1", "stage": "production"},
            "alpha",
            about=version.served,
        )
        index = town.slip_in(approval, town.people["ann"])
        assert index in [refused for refused, _ in town.ws.view.follow().rejected]
    assert town.ws.view.approvals(version, "production") == []


FORGED: dict[str, tuple[str, str, str, str, dict[str, Any]]] = {
    "a promotion": (
        "eve",
        "promote",
        "alpha",
        "alias",
        {"name": "score", "version": "1", "alias": "production", "region": "local"},
    ),
    "a role": (
        "ada",
        "manageRole",
        WORKSPACE,
        "role",
        {"actor": "id-sam", "role": "alpha/approver", "granted": True},
    ),
    "a person": (
        "ada",
        "enrolActor",
        WORKSPACE,
        "actor",
        {"actor": "new", "kind": "person", "level": "x", "disabled": False, "keys": []},
    ),
    "a policy": ("ada", "applyPolicy", WORKSPACE, "policy", {"bundle": "sha256:" + "0" * 64}),
    "a hold lifted": (
        "oli",
        "hold",
        "alpha",
        "hold",
        {"subject": "model", "name": "score", "version": "1", "held": False},
    ),
}


@pytest.mark.parametrize("what", FORGED)
def test_who_holds_the_workspace_key_cannot_ask_in_somebodys_name(town: Town, what: str) -> None:
    """The decision opens nothing, and what names it changes nothing."""
    actor, action, project, kind, predicate = FORGED[what]
    town.do("oli", Hold(**SCORE, reason="wait"))
    theirs = town.people[actor].public.keyid
    asked = [
        decision.predicate["request"]["proof"]
        for decision in town.statements("decision")
        if decision.predicate["actor"] == town.ids[actor]
    ]
    web = {"token": token_id_of(town.tokens["web"])}
    before = msgspec.to_builtins(town.ws.view.follow())
    proofs: list[Callable[[dict[str, Any]], dict[str, Any]]] = [
        signature(town.workspace_key),
        signature(town.workspace_key, theirs),
        signature(town.people["una"]),
        signature(town.people["una"], theirs),
        lambda _: asked[-1],
        lambda _: web,
        lambda _: {},
    ]
    for proof in proofs:
        since = town.size
        decision = forged_decision(town, actor, action, project, proof=proof)
        told = town.statement(kind, {**predicate, "decision": decision}, project)
        town.slip_in(told, town.workspace_key)
        state = town.ws.view.follow()
        assert [index for index, _ in state.rejected[-2:]] == [since, since + 1]
        after = {**msgspec.to_builtins(state), "size": before["size"], "rejected": []}
        assert after == before
    decision = forged_decision(town, actor, action, project, proof=signature(town.people[actor]))
    assert decision in town.ws.view.follow().open, "only the proof made the others fail"


def test_changes_without_a_decision_are_refused_whoever_signs_them(town: Town) -> None:
    eve = town.people["eve"]
    changes: list[tuple[str, dict[str, Any], str]] = [
        ("role", {"actor": town.ids["sam"], "role": "alpha/approver", "granted": True}, WORKSPACE),
        ("alias", {"name": "score", "version": "1", "alias": "production"}, "alpha"),
        ("policy", {"bundle": "sha256:" + "0" * 64}, WORKSPACE),
        ("project", {"project": "gamma"}, WORKSPACE),
        ("revocation", {"name": "score", "version": "1"}, "alpha"),
    ]
    before = msgspec.to_builtins(town.ws.view.follow())
    for kind, predicate, project in changes:
        for signer in (town.workspace_key, eve):
            index = town.slip_in(town.statement(kind, predicate, project), signer)
            assert index in [refused for refused, _ in town.ws.view.follow().rejected]
    after = msgspec.to_builtins(town.ws.view.follow())
    for name in ("roles", "aliases", "bundle", "projects", "versions"):
        assert after[name] == before[name]


def test_what_was_forged_stands_on_the_ledger_and_the_doctor_finds_it_critical(
    town: Town,
) -> None:
    from assay.actions.administration import Examine

    smuggled_approval(town, "ann", town.workspace_key)
    found = town.do("ada", Examine(project=WORKSPACE))
    assert found["critical"] == 1
    assert "not entitled" in str(found["findings"])
    town.approve("ann", "abe")
    assert town.refused("eve", PROMOTE) == ["gate.workspace"]


def test_a_project_of_the_same_name_cannot_be_made_again(town: Town) -> None:
    action = CreateProject(project=WORKSPACE, new="beta", owner=town.ids["eve"])
    with pytest.raises(Usage):
        town.do("ada", action)
    with pytest.raises(Denied):
        town.do("eve", CreateProject(project=WORKSPACE, new="gamma", owner=town.ids["eve"]))
