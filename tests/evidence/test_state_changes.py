"""The fold: what each kind of change does, and how keys end."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from assay.canonical import digest
from assay.evidence import envelope as dsse
from assay.evidence.signers import MemorySigner
from assay.evidence.state import WORKSPACE

SERVED = digest(b"bytes")


# -- keys -----------------------------------------------------------------------------------------


def test_a_signature_counts_from_enrolment_until_revocation(chain: Any) -> None:
    keyid = chain.alice.public.keyid
    enrolled = chain.enrol("alice", chain.alice)
    revoked = chain.revoke_key(keyid)
    owner = [chain.state.actor_of_key(keyid, at) for at in range(revoked + 2)]
    assert owner == [None] * enrolled + ["alice"] * (revoked - enrolled) + [None, None]
    assert chain.state.counting([keyid, "other"], enrolled) == [keyid]
    assert chain.state.counting([keyid], revoked) == []


def test_a_compromise_ends_a_key_at_an_earlier_leaf_and_never_moves_it_later(chain: Any) -> None:
    enrolled = chain.enrol("alice", chain.alice)
    keyid = chain.alice.public.keyid
    for since, revoked in ((enrolled + 1, enrolled + 1), (10_000, enrolled + 1), (0, 0)):
        chain.revoke_key(keyid, since)
        assert chain.state.actors["alice"].keys[keyid].revoked == revoked
    assert chain.state.actor_of_key(keyid, enrolled) is None
    # A leaf that is still to come cannot keep a key alive.
    chain.enrol("bob", chain.bob)
    revoked = chain.revoke_key(chain.bob.public.keyid, 10_000)
    assert chain.state.actors["bob"].keys[chain.bob.public.keyid].revoked == revoked
    assert not chain.state.rejected


@pytest.mark.parametrize("since", [-1, 1.5, "3", True])
def test_a_compromise_at_no_leaf_is_refused(since: Any, chain: Any) -> None:
    chain.enrol("alice", chain.alice)
    chain.revoke_key(chain.alice.public.keyid, since)
    assert "compromised_since" in chain.refusal()


def test_a_revoked_key_cannot_be_enrolled_again(chain: Any) -> None:
    keyid = chain.alice.public.keyid
    chain.enrol("alice", chain.alice)
    revoked = chain.revoke_key(keyid)
    chain.enrol("alice", chain.alice)
    assert chain.state.actors["alice"].keys[keyid].revoked == revoked
    chain.enrol("bob", chain.alice)
    assert "enrolled already" in chain.refusal()
    assert "bob" not in chain.state.actors


def test_a_key_belongs_to_one_actor_or_to_the_workspace(chain: Any) -> None:
    chain.enrol("alice", chain.alice)
    for taken in (chain.alice, chain.admin, chain.workspace):
        chain.enrol("bob", chain.bob, taken)
        assert "enrolled already" in chain.refusal()
        predicate = {"key": msgspec.to_builtins(taken.public)}
        chain.change("rotateKey", "workspace-key", predicate, project=WORKSPACE)
        assert "enrolled already" in chain.refusal()
    assert "bob" not in chain.state.actors
    assert list(chain.state.workspace_keys) == [chain.workspace.public.keyid]


def test_a_new_workspace_key_signs_changes_from_then_on(chain: Any) -> None:
    new = MemorySigner.generate("ecdsa-p256-sha256")
    chain.add(chain.decision("promote"), new)
    assert not chain.state.open
    predicate = {"key": msgspec.to_builtins(new.public)}
    chain.change("rotateKey", "workspace-key", predicate, project=WORKSPACE)
    chain.revoke_key(chain.workspace.public.keyid)
    # The outcome of that revocation is the first thing the old key may not sign.
    assert len(chain.state.open) == 1
    chain.add(chain.decision("promote"), new)
    assert len(chain.state.open) == 2


def test_a_key_enrolled_later_does_not_undo_a_statement_that_stood(chain: Any) -> None:
    made = chain.statement("quality", {}, subject={"m": SERVED})
    good = dsse.sign(made, chain.workspace, chain.alice)
    ours, theirs = good.signatures
    broken = dsse.Signature(theirs.keyid, ours.sig)
    spoilt = msgspec.structs.replace(good, signatures=(ours, broken))
    index = chain.add(dsse.encode(spoilt))
    chain.enrol("alice", chain.alice)
    keyids = [signature.keyid for signature in spoilt.signatures]
    known = chain.state.signer_keys(keyids, index)
    assert dsse.verify(spoilt, known) == [chain.workspace.public.keyid]
    assert set(chain.state.signer_keys(keyids, chain.state.size)) == set(keyids)


def test_key_kinds_tell_people_from_services(chain: Any) -> None:
    chain.enrol("alice", chain.alice)
    chain.enrol("scorer", chain.service, kind="service")
    assert chain.state.key_kinds() == {
        chain.workspace.public.keyid: {"workspace"},
        chain.admin.public.keyid: {"person"},
        chain.alice.public.keyid: {"person"},
        chain.service.public.keyid: {"service"},
    }


# -- people ---------------------------------------------------------------------------------------


def test_an_actor_is_disabled_and_let_in_again_and_keeps_the_keys(chain: Any) -> None:
    chain.enrol("alice", chain.alice)
    predicate = {"actor": "alice", "kind": "person", "level": "oidc", "keys": []}
    for disabled in (True, False):
        changed = {**predicate, "disabled": disabled}
        chain.change("disableActor", "actor", changed, project=WORKSPACE)
        assert chain.state.actors["alice"].disabled is disabled
    assert list(chain.state.actors["alice"].keys) == [chain.alice.public.keyid]
    assert chain.state.actors["alice"].level == "oidc"


def test_disabling_neither_enrols_nor_adds_keys(chain: Any) -> None:
    chain.enrol("alice", chain.alice)
    base = {"kind": "person", "level": "oidc", "disabled": True}
    for predicate in (
        {**base, "actor": "alice", "keys": [msgspec.to_builtins(chain.bob.public)]},
        {**base, "actor": "bob", "keys": []},
    ):
        chain.change("disableActor", "actor", predicate, project=WORKSPACE)
        assert "disableActor" in chain.refusal()
    assert chain.state.actors["alice"].disabled is False


def test_an_actor_stays_of_its_kind(chain: Any) -> None:
    chain.enrol("alice", chain.alice)
    chain.enrol("alice", kind="service")
    assert "stays one" in chain.refusal()


@pytest.mark.parametrize("actor", ["", 'a"b', "a b", "-a", "a\n", "x" * 201, "ä"])
def test_an_actors_id_cannot_break_out_of_its_quotes(actor: str, chain: Any) -> None:
    chain.enrol(actor)
    assert "matching regex" in chain.refusal() or "Expected" in chain.refusal()


def test_a_role_is_granted_once_and_taken_away(chain: Any) -> None:
    predicate = {"actor": "alice", "role": "fraud/approver"}
    for granted, members in ((True, ["alice"]), (True, ["alice"]), (False, []), (False, [])):
        changed = {**predicate, "granted": granted}
        chain.change("manageRole", "role", changed, project=WORKSPACE)
        assert chain.state.roles["fraud/approver"] == members
    assert not chain.state.rejected


def test_a_decision_of_one_project_grants_no_role_of_another(chain: Any) -> None:
    for role, done in (
        ("fraud/approver", True),
        ("churn/approver", False),
        ("fraudulent/approver", False),
        ("_workspace/admin", False),
    ):
        rejected = len(chain.state.rejected)
        chain.change("manageRole", "role", {"actor": "mallory", "role": role, "granted": True})
        assert (len(chain.state.rejected) == rejected) is done
    assert chain.state.roles_of("mallory") == ["fraud/approver"]


# -- tokens ---------------------------------------------------------------------------------------

TOKEN = {
    "token": "t",
    "actor": "alice",
    "project": "fraud",
    "sha256": "a" * 64,
    "expires": "2026-02-01T00:00:00.000Z",
    "revoked": False,
}


def test_a_token_is_made_once_and_stays_revoked(chain: Any) -> None:
    chain.change("createToken", "token", TOKEN)
    assert chain.state.tokens["t"].revoked is False
    chain.change("revokeToken", "token", {"token": "t", "revoked": True})
    assert chain.state.tokens["t"].revoked is True
    chain.change("createToken", "token", TOKEN)
    assert "exists already" in chain.refusal()
    assert chain.state.tokens["t"].revoked is True


@pytest.mark.parametrize(
    "changed",
    [
        {"project": "churn"},
        {"project": ""},
        {"actor": ""},
        {"sha256": "a"},
        {"sha256": "A" * 64},
        {"expires": "soon"},
        {"expires": "0001-01-01T00:00:00+23:59"},
        {"revoked": True},
        {"revoked": 1},
    ],
)
def test_a_token_is_not_made_with(changed: dict[str, Any], chain: Any) -> None:
    chain.change("createToken", "token", {**TOKEN, **changed})
    assert chain.refusal()
    assert not chain.state.tokens


def test_a_token_is_revoked_by_its_own_project_and_for_that_only(chain: Any) -> None:
    chain.change("createToken", "token", TOKEN)
    revoked = {"token": "t", "revoked": True}
    chain.change("revokeToken", "token", revoked, project="churn")
    assert "no such token" in chain.refusal()
    chain.change("createToken", "token", revoked)
    assert "createToken" in chain.refusal()
    chain.change("revokeToken", "token", {**TOKEN, "token": "u"})
    assert "revokeToken" in chain.refusal()
    assert chain.state.tokens["t"].revoked is False
    assert "actor:alice" not in chain.state.revisions
    at = chain.change("revokeToken", "token", revoked)
    # What its holder is asking for meanwhile may have been asked with it.
    assert chain.state.revisions["token:t"] == chain.state.revisions["actor:alice"] == at


# -- datasets, models, endpoints ------------------------------------------------------------------


def test_registering_a_name_anew_keeps_its_hold_and_what_it_was(chain: Any) -> None:
    held = {"subject": "dataset", "name": "loans", "held": True}
    for number, content in enumerate((b"1", b"2", b"1")):
        predicate = {"name": "loans", "content": digest(content), "owner": "o", "details": {}}
        chain.change("registerDataset", "dataset", predicate)
        assert chain.state.datasets["fraud/loans"].hold is (number > 0)
        chain.change("holdDataset", "hold", held)
        assert chain.state.datasets["fraud/loans"].hold is True
    assert chain.state.datasets["fraud/loans"].contents == [digest(b"1"), digest(b"2")]
    chain.change("holdDataset", "hold", {**held, "held": False})
    assert chain.state.datasets["fraud/loans"].hold is False


def test_each_hold_needs_its_own_action(chain: Any) -> None:
    chain.register("1", b"bytes")
    predicate = {"name": "loans", "content": digest(b"1"), "owner": "o", "details": {}}
    chain.change("registerDataset", "dataset", predicate)
    held = {"held": True, "version": "1"}
    chain.change("hold", "hold", {**held, "subject": "dataset", "name": "loans"})
    assert "hold does not hold a dataset" in chain.refusal()
    chain.change("holdDataset", "hold", {**held, "subject": "model", "name": "credit"})
    assert "holdDataset does not hold a model" in chain.refusal()
    chain.change("hold", "hold", {**held, "subject": "model", "name": "credit"})
    assert chain.state.versions["fraud/credit@1"].hold is True


def test_a_version_number_is_given_once(chain: Any) -> None:
    chain.register("1", b"bytes")
    chain.register("1", b"others")
    assert "exists already" in chain.refusal()
    assert chain.state.versions["fraud/credit@1"].served == SERVED
    chain.register("1", b"others", project="churn")
    assert chain.state.versions["churn/credit@1"].served == digest(b"others")


def test_no_version_passes_for_an_alias_nor_an_alias_for_a_version(chain: Any) -> None:
    chain.register("production", b"bytes")
    assert "no version number" in chain.refusal()
    chain.register("1", b"bytes")
    chain.register("2", b"others")
    chain.change("promote", "alias", {"name": "credit", "version": "2", "alias": "1"})
    assert "no alias" in chain.refusal()
    chain.change("promote", "alias", {"name": "credit", "version": "2", "alias": "best"})
    chain.register("best", b"third")
    assert "no version number" in chain.refusal()


@pytest.mark.parametrize(
    ("name", "version"), [("a/b", "1"), ("credit", "1@2"), ("", "1"), ("A", "1")]
)
def test_names_cannot_run_into_each_other(name: str, version: str, chain: Any) -> None:
    chain.register(version, b"bytes", name=name)
    assert "is not allowed" in chain.refusal()
    assert not chain.state.versions


def test_a_stage_has_one_version(chain: Any) -> None:
    for version in ("1", "2"):
        chain.register(version, version.encode())
        predicate = {"name": "credit", "version": version, "alias": "production"}
        chain.change("promote", "alias", predicate)
    stages = {key: v.stage for key, v in chain.state.versions.items()}
    assert stages == {"fraud/credit@1": "", "fraud/credit@2": "production"}
    assert chain.state.aliases == {"fraud/credit@production": "2"}
    chain.change("promote", "alias", {"name": "credit", "version": "3", "alias": "production"})
    assert "no model version" in chain.refusal()


def test_a_revocation_reaches_the_same_bytes_in_its_project_only(chain: Any) -> None:
    chain.register("1", b"bytes")
    chain.register("2", b"bytes")
    chain.register("3", b"others")
    chain.register("1", b"bytes", name="copy")
    chain.register("1", b"bytes", project="churn")
    chain.register("4", None)
    chain.register("5", None)
    revoked = chain.change("revoke", "revocation", {"name": "credit", "version": "1"})
    assert {key for key, v in chain.state.versions.items() if v.revoked} == {
        "fraud/credit@1",
        "fraud/credit@2",
        "fraud/copy@1",
    }
    # Whatever was being decided about the copy must be decided anew.
    assert chain.state.revisions["model:fraud/copy"] == revoked
    chain.change("revoke", "revocation", {"name": "credit", "version": "4"})
    assert chain.state.versions["fraud/credit@4"].revoked
    assert not chain.state.versions["fraud/credit@5"].revoked


def test_revoked_bytes_do_not_come_back_under_another_number(chain: Any) -> None:
    chain.register("1", b"bytes")
    chain.change("revoke", "revocation", {"name": "credit", "version": "1"})
    chain.register("2", b"bytes")
    chain.register("3", b"others")
    chain.register("1", b"bytes", project="churn")
    assert [v.revoked for v in chain.state.versions.values()] == [True, True, False, False]


ENDPOINT = {
    "name": "credit",
    "model": "credit",
    "version": "1",
    "stage": "production",
    "region": "eu",
    "isolation": "full",
    "killed": False,
}


def test_killing_an_endpoint_changes_nothing_else_about_it(chain: Any) -> None:
    chain.register("1", b"bytes")
    chain.register("2", b"others")
    killed = {**ENDPOINT, "killed": True}
    chain.change("kill", "endpoint", killed)
    assert "kill" in chain.refusal()
    chain.change("deploy", "endpoint", ENDPOINT)
    for other in ({"version": "2"}, {"killed": False}, {"region": "us"}):
        chain.change("kill", "endpoint", {**killed, **other})
        assert "kill" in chain.refusal()
    chain.change("kill", "endpoint", killed)
    assert chain.state.endpoints["fraud/credit"]["killed"] is True


def test_a_project_supersedes_for_itself_only(chain: Any) -> None:
    for project, name in (("fraud", b"f"), ("churn", b"c"), (WORKSPACE, b"w"), ("fraud", b"f")):
        chain.change("supersede", "supersession", {"envelope": digest(name)}, project=project)
    both = {digest(b"f"), digest(b"w")}
    assert chain.state.superseded_in("fraud") == both
    assert chain.state.superseded_in("other") == {digest(b"w")}
    assert sorted(chain.state.superseded) == sorted({*both, digest(b"c")})
