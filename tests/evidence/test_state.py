"""The fold: what entitles a leaf to change the state, and that nothing else does."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.canonical import digest
from assay.evidence import envelope as dsse
from assay.evidence import state as states
from assay.evidence.signers import MemorySigner
from assay.evidence.state import WORKSPACE, State
from assay.evidence.statement import Statement

STRANGER = MemorySigner.generate()
SPARE = MemorySigner.generate()

CHANGES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "actor": (
        "enrolActor",
        WORKSPACE,
        {
            "actor": "carol",
            "kind": "person",
            "level": "oidc",
            "disabled": False,
            "keys": [msgspec.to_builtins(SPARE.public)],
        },
    ),
    "role": ("manageRole", WORKSPACE, {"actor": "alice", "role": "fraud/x", "granted": True}),
    "key-revocation": ("revokeKey", WORKSPACE, {"keyid": "(alice)"}),
    "workspace-key": ("rotateKey", WORKSPACE, {"key": msgspec.to_builtins(SPARE.public)}),
    "token": (
        "createToken",
        "fraud",
        {
            "token": "t2",
            "actor": "alice",
            "project": "fraud",
            "sha256": "0" * 64,
            "expires": "2026-02-01T00:00:00.000Z",
            "revoked": False,
        },
    ),
    "policy": ("applyPolicy", WORKSPACE, {"bundle": digest(b"other")}),
    "project": ("createProject", WORKSPACE, {"project": "churn"}),
    "dataset": (
        "registerDataset",
        "fraud",
        {"name": "loans", "content": digest(b"loans"), "owner": "alice", "details": {}},
    ),
    "model-version": (
        "registerModel",
        "fraud",
        {
            "name": "credit",
            "version": "9",
            "author": "alice",
            "artifact": digest(b"a"),
            "served": digest(b"s"),
            "details": {},
        },
    ),
    "alias": ("promote", "fraud", {"name": "credit", "version": "1", "alias": "production"}),
    "revocation": ("revoke", "fraud", {"name": "credit", "version": "1"}),
    "hold": ("hold", "fraud", {"subject": "model", "name": "credit", "version": "1", "held": True}),
    "endpoint": (
        "deploy",
        "fraud",
        {
            "name": "credit",
            "model": "credit",
            "version": "1",
            "killed": False,
            "stage": "production",
            "region": "eu",
            "isolation": "full",
        },
    ),
    "supersession": ("supersede", "fraud", {"envelope": digest(b"envelope")}),
}
KINDS = sorted(CHANGES)


def prepare(chain: Any) -> Any:
    """Something for every kind of change to act on."""
    chain.enrol("alice", chain.alice)
    chain.register("1", b"bytes")
    return chain


def predicate_of(kind: str, chain: Any) -> tuple[str, str, dict[str, Any]]:
    action, project, predicate = copy.deepcopy(CHANGES[kind])
    if predicate.get("keyid") == "(alice)":
        predicate["keyid"] = chain.alice.public.keyid
    return action, project, predicate


def attempt(chain: Any, kind: str, *, signer: Any = None, **how: Any) -> bool:
    """Try one change in one way; whether it changed anything."""
    action, project, predicate = predicate_of(kind, chain)
    decision = chain.decide(
        how.get("action", action), project=how.get("decided", project), **how.get("changed", {})
    )
    if how.get("closed"):
        chain.close(decision, project=project)
    predicate["decision"] = how.get("named", decision)
    statement = chain.statement(kind, predicate, project=how.get("project", project))
    before, size, rejected = chain.plain(), chain.state.size, len(chain.state.rejected)
    chain.add(statement, *([signer] if signer else []))
    assert chain.state.size == size + 1
    changed = chain.plain() != before
    assert changed is (len(chain.state.rejected) == rejected)
    return changed


@pytest.mark.parametrize("kind", KINDS)
def test_a_change_with_its_decision_and_the_workspaces_signature_is_made(
    kind: str, chain: Any
) -> None:
    assert attempt(prepare(chain), kind)
    assert not chain.state.rejected


WITHOUT: dict[str, dict[str, Any]] = {
    "a decision": {"named": "019cb8c0-0000-7000-8000-000000000000"},
    "a decision that is a text": {"named": ["x"]},
    "an open decision": {"closed": True},
    "an allowed decision": {"changed": {"allowed": False}},
    "a decision written down before": {"changed": {"durability": "segment"}},
    "a decision for this action": {"action": "readEvidence"},
    "a decision for this project": {"decided": "churn"},
    "being filed where it was decided": {"project": "churn"},
}


@pytest.mark.parametrize("missing", sorted(WITHOUT))
@pytest.mark.parametrize("kind", KINDS)
def test_a_change_is_not_made_without(missing: str, kind: str, chain: Any) -> None:
    assert not attempt(prepare(chain), kind, **WITHOUT[missing])


@pytest.mark.parametrize("kind", KINDS)
def test_a_persons_signature_makes_no_change_of_the_workspace(kind: str, chain: Any) -> None:
    prepare(chain)
    for signer in (chain.admin, chain.alice, STRANGER):
        assert not attempt(chain, kind, signer=signer)


@pytest.mark.parametrize("kind", KINDS)
def test_a_revoked_workspace_key_makes_no_change(kind: str, chain: Any) -> None:
    prepare(chain)
    action, project, predicate = predicate_of(kind, chain)
    decision = chain.decide(action, project=project)
    revoked = {"keyid": chain.workspace.public.keyid}
    chain.change("revokeKey", "key-revocation", revoked, project=WORKSPACE)
    before = chain.plain()
    chain.add(chain.statement(kind, {**predicate, "decision": decision}, project=project))
    assert chain.plain() == before


@pytest.mark.parametrize("kind", KINDS)
def test_a_copy_of_an_old_decision_entitles_to_nothing(kind: str, chain: Any) -> None:
    prepare(chain)
    action, project, predicate = predicate_of(kind, chain)
    chain.change(action, kind, predicate, project=project)
    assert not chain.state.rejected
    before = chain.plain()
    for raw in chain.leaves[-3:]:
        chain.add(raw)
    after = chain.plain()
    # A closing that closes nothing is only another statement about what is known already.
    assert {**after, "evidence": 0, "revisions": 0} == {**before, "evidence": 0, "revisions": 0}
    assert len(chain.state.rejected) == 2


def test_a_broken_signature_of_a_known_key_refuses_whatever_else_signed(chain: Any) -> None:
    decision = chain.decide("createProject", project=WORKSPACE)
    predicate = {"decision": decision, "project": "churn"}
    made = chain.statement("project", predicate, project=WORKSPACE)
    good = dsse.sign(made, chain.workspace, chain.admin)
    first, second = good.signatures
    for signatures in (
        (first, dsse.Signature(second.keyid, first.sig)),
        (dsse.Signature(first.keyid, second.sig), second),
    ):
        chain.add(dsse.encode(msgspec.structs.replace(good, signatures=signatures)))
        assert chain.state.rejected[-1][0] == chain.state.size - 1
    assert list(chain.state.projects) == ["fraud"]


# -- genesis --------------------------------------------------------------------------------------


def test_the_genesis_leaf_founds_the_workspace(chain: Any) -> None:
    state = chain.state
    assert (state.size, state.workspace, state.rejected) == (1, "w", [])
    assert list(state.workspace_keys) == [chain.workspace.public.keyid]
    assert state.roles_of("admin") == ["_workspace/admin", "fraud/ml_engineer"]
    assert list(state.projects) == ["fraud"]
    assert state.bundle == digest(b"bundle")
    assert state.bundles == [state.bundle]


EMPTY = msgspec.to_builtins(State())
ADMIN: dict[str, Any] = {
    "id": "admin",
    "key": msgspec.to_builtins(SPARE.public),
    "level": "oidc",
    "roles": ["_workspace/admin"],
}
FOUNDINGS: dict[str, dict[str, Any]] = {
    "no workspace key": {"workspace_keys": []},
    "another workspace key": {"workspace_keys": [msgspec.to_builtins(STRANGER.public)]},
    "no name": {"workspace": ""},
    "a bundle that is no digest": {"bundle": "sha256:1"},
    "no administrator": {"admin": {}},
    "a project with a path": {"project": "a/b"},
    **{
        f"an administrator whose id is {unfit!r}": {"admin": {**ADMIN, "id": unfit}}
        for unfit in ("", 'a"b', "a b", "-a", "a\n", "x" * 201, "ä")
    },
    "keys that are none": {"workspace_keys": [{"algorithm": "ed25519", "spki": "AAAA"}]},
}


def refused_genesis(chain: Any, *leaf: Any) -> None:
    chain.add(*leaf)
    assert len(chain.state.rejected) == 1
    assert {**msgspec.to_builtins(chain.state), "size": 0, "rejected": []} == EMPTY
    chain.decide("createProject", project=WORKSPACE)
    assert not chain.state.open


@pytest.mark.parametrize("flaw", sorted(FOUNDINGS))
def test_a_genesis_founds_nothing_with(
    flaw: str, empty_chain: Any, genesis_predicate: Callable[..., dict[str, Any]]
) -> None:
    predicate = genesis_predicate(**FOUNDINGS[flaw])
    refused_genesis(empty_chain, empty_chain.statement("genesis", predicate, project=WORKSPACE))


def test_a_genesis_not_signed_by_its_own_workspace_key_founds_nothing(
    new_chain: Callable[..., Any], genesis_predicate: Callable[..., dict[str, Any]]
) -> None:
    for signer in (STRANGER, new_chain().admin):
        chain = new_chain(empty=True)
        refused_genesis(
            chain, chain.statement("genesis", genesis_predicate(), project=WORKSPACE), signer
        )


def test_the_workspaces_key_is_not_the_administrators(
    empty_chain: Any, genesis_predicate: Callable[..., dict[str, Any]]
) -> None:
    predicate = genesis_predicate()
    predicate["admin"]["key"] = predicate["workspace_keys"][0]
    refused_genesis(empty_chain, empty_chain.statement("genesis", predicate, project=WORKSPACE))


def test_a_ledger_that_begins_otherwise_has_no_state(empty_chain: Any) -> None:
    refused_genesis(empty_chain, empty_chain.statement("quality", {}))


def test_a_destroyed_genesis_leaves_nothing_that_counts(empty_chain: Any) -> None:
    empty_chain.add(None)
    empty_chain.decide("createProject", project=WORKSPACE)
    assert (empty_chain.state.unreadable, empty_chain.state.open) == (1, {})


def test_a_workspace_is_founded_once(
    chain: Any, genesis_predicate: Callable[..., dict[str, Any]]
) -> None:
    before = chain.plain()
    chain.add(chain.statement("genesis", genesis_predicate(workspace="v"), project=WORKSPACE))
    assert chain.plain() == before
    assert chain.state.rejected


# -- decisions and outcomes -----------------------------------------------------------------------


def test_only_what_was_allowed_and_written_down_before_is_open(chain: Any) -> None:
    allowed = chain.decide("promote")
    chain.decide("promote", allowed=False)
    chain.decide("query", durability="segment")
    assert list(chain.state.open) == [allowed]
    assert chain.state.open[allowed].project == "fraud"
    index = chain.close(allowed)
    assert (chain.state.open, chain.state.closed) == ({}, {allowed: index})


def test_an_outcome_of_another_project_closes_nothing(chain: Any) -> None:
    decision = chain.decide("promote")
    chain.close(decision, project="churn")
    assert list(chain.state.open) == [decision]
    assert "another project" in chain.state.rejected[-1][1]


def test_an_outcome_of_no_decision_changes_nothing(chain: Any) -> None:
    before = chain.plain()
    chain.close("019cb8c0-0000-7000-8000-000000000000")
    assert chain.plain() == before


def test_decisions_and_outcomes_are_listed_for_known_digests_only(chain: Any) -> None:
    known = digest(b"thing")
    chain.add(chain.statement("quality", {}, subject={"m": known}))
    size = len(chain.state.evidence)
    request = digest(b"one request")
    predicate = {"action": "a", "actor": "b", "allowed": False, "durability": "before"}
    index = chain.add(
        chain.statement(
            "decision", {**predicate, "request": {}}, subject={"m": known, "request": request}
        )
    )
    assert len(chain.state.evidence) == size
    assert chain.state.evidence[known][-1] == index
    assert chain.state.revisions[f"digest:{known}"] == index - 1


# -- whatever else stands on a ledger -------------------------------------------------------------


def test_evidence_is_indexed_by_each_digest_once(chain: Any) -> None:
    one, two = digest(b"1"), digest(b"2")
    subject = {"a": one, "b": two, "c": one}
    index = chain.add(chain.statement("quality", {"x": 1}, subject=subject), STRANGER)
    assert chain.state.evidence[one] == chain.state.evidence[two] == [index]
    assert chain.state.revisions[f"digest:{one}"] == index


def test_a_rejected_statement_is_no_evidence(chain: Any) -> None:
    served = digest(b"bytes")
    chain.add(chain.statement("approval", {"decision": "none"}, subject={"m": served}))
    assert served not in chain.state.evidence
    assert f"digest:{served}" not in chain.state.revisions


@pytest.mark.parametrize("kind", [*KINDS, "approval", "decision", "outcome", "genesis"])
def test_a_later_version_of_a_change_is_rejected_and_not_passed_over(kind: str, chain: Any) -> None:
    before = chain.plain()
    chain.add(chain.statement(f"https://assay.dev/evidence/{kind}/v2", {}))
    assert chain.plain() == before
    assert "does not know" in chain.state.rejected[-1][1]


def test_a_foreign_predicate_type_is_only_evidence(chain: Any) -> None:
    for kind in ("https://slsa.dev/provenance/v1", "https://assay.dev/evidence/quality/v7"):
        statement: Statement = chain.statement(kind, {})
        chain.add(statement)
        assert states.kind_of(statement) == kind
    assert not chain.state.rejected


@pytest.mark.parametrize("raw", [b"", b"{}", b"\xff", b"[" * 100_000, b'{"payload":"\xff"}'])
def test_what_is_no_envelope_is_rejected(raw: bytes, chain: Any) -> None:
    before = chain.plain()
    index = chain.add(raw)
    assert chain.plain() == before
    assert chain.state.rejected[-1][0] == index


def test_a_destroyed_leaf_is_counted(chain: Any) -> None:
    chain.add(None)
    assert (chain.state.unreadable, chain.state.size) == (1, 2)


def test_a_reason_stays_short(chain: Any) -> None:
    chain.change("revoke", "revocation", {"name": "x" * 100_000, "version": "1"})
    assert len(chain.state.rejected[-1][1]) <= 300


@pytest.mark.parametrize("index", [-1, 0, 2])
def test_a_leaf_out_of_turn_is_the_callers_error(index: int, chain: Any) -> None:
    with pytest.raises(ValueError, match="does not follow"):
        states.fold(chain.state, index, None)
    assert chain.state.size == 1


def test_a_leaf_interrupted_is_folded_again_and_not_skipped(
    chain: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: bytes) -> Any:
        raise MemoryError

    with monkeypatch.context() as patched:
        patched.setattr(dsse, "decode", fail)
        with pytest.raises(MemoryError):
            states.fold(chain.state, 1, b"x")
    assert (chain.state.size, chain.state.rejected) == (1, [])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner),
    max_leaves=6,
)
REQUEST = ["workspace", "id", "issued", "project", "action", "params", "proof", "format"]


@settings(max_examples=400, deadline=None)
@given(data=st.data(), kind=st.sampled_from([*KINDS, "approval", "decision", "outcome"]))
def test_a_hostile_predicate_never_raises_and_changes_all_or_nothing(
    data: st.DataObject, kind: str, new_chain: Callable[[], Any]
) -> None:
    chain = prepare(new_chain())
    action, project, predicate = (
        predicate_of(kind, chain)
        if kind in CHANGES
        else (
            "approve",
            "fraud",
            {
                "name": "credit",
                "version": "1",
                "stage": "production",
            },
        )
    )
    genuine: Statement = chain.decision(action, project=project)
    decision = chain.decide(action, project=project)
    hostile: dict[str, Any] = {"decision": decision, **predicate}
    if kind == "decision":
        hostile |= genuine.predicate
        if data.draw(st.booleans()):
            hostile["request"][data.draw(st.sampled_from(REQUEST))] = data.draw(JSON)
    for field in data.draw(st.lists(st.sampled_from(sorted(hostile)), min_size=1, max_size=3)):
        if data.draw(st.booleans()):
            hostile.pop(field, None)
        else:
            hostile[field] = data.draw(JSON)
    try:
        statement = chain.statement(kind, hostile, project=project)
        statement = msgspec.structs.replace(statement, header=genuine.header)
        statement.encode()
    except ValueError:
        return
    before, rejected = chain.plain(), len(chain.state.rejected)
    chain.add(statement)
    if len(chain.state.rejected) > rejected:
        assert chain.plain() == before
    again = msgspec.msgpack.decode(msgspec.msgpack.encode(chain.state), type=State)
    assert again == chain.state
