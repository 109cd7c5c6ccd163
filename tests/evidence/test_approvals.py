"""Approvals: a person's own yes, and what undoes it; and the fold as a function of the ledger."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.canonical import digest
from assay.evidence import approvals
from assay.evidence import envelope as dsse
from assay.evidence import state as states
from assay.evidence.facts import Evidence
from assay.evidence.signers import MemorySigner, PublicKey
from assay.evidence.state import WORKSPACE, State

SERVED = digest(b"bytes")

APPROVAL = {"name": "credit", "version": "1", "stage": "production"}


def approve(chain: Any, signer: Any, actor: str) -> int:
    return chain.change(
        "approve", "approval", APPROVAL, subject={"m": SERVED}, signer=signer, actor=actor
    )


def counted(chain: Any) -> list[str]:
    """Who approved, by what the state lists as evidence about the served bytes."""
    found: list[Evidence] = []
    for index in chain.state.evidence.get(SERVED, []):
        envelope = dsse.decode(chain.leaves[index])
        keyids = [signature.keyid for signature in envelope.signatures]
        signers = dsse.verify(envelope, chain.state.signer_keys(keyids, index))
        counting = chain.state.counting(signers, index)
        statement = envelope.statement()
        found.append(Evidence(index, dsse.envelope_digest(envelope), statement, counting, "person"))
    version = chain.state.versions["fraud/credit@1"]
    return [a["actor"] for a in approvals.counting(found, chain.state, version, "production")]


@pytest.fixture
def approving(chain: Any) -> Any:
    chain.enrol("alice", chain.alice)
    chain.enrol("bob", chain.bob)
    chain.enrol("scorer", chain.service, kind="service")
    for actor in ("alice", "bob", "scorer", "admin"):
        predicate = {"actor": actor, "role": "fraud/approver", "granted": True}
        chain.change("manageRole", "role", predicate, project=WORKSPACE)
    chain.register("1", b"bytes")
    assert not chain.state.rejected
    return chain


def test_an_approval_is_signed_by_the_person_who_was_let(approving: Any) -> None:
    approve(approving, approving.alice, "alice")
    assert counted(approving) == ["alice"]
    for signer, actor in (
        (approving.workspace, "bob"),
        (approving.alice, "bob"),
        (approving.bob, "admin"),
        (approving.service, "scorer"),
        (MemorySigner.generate(), "bob"),
    ):
        approve(approving, signer, actor)
        assert "approval: not signed" in approving.refusal()
    assert counted(approving) == ["alice"]


def test_an_approval_without_an_open_decision_does_not_count(approving: Any) -> None:
    approve(approving, approving.alice, "alice")
    copied = approving.leaves[-2]
    approving.revoke_key(approving.alice.public.keyid, 0)
    approving.add(copied)
    made = approving.statement("approval", {**APPROVAL, "decision": ""}, subject={"m": SERVED})
    approving.add(made, approving.bob)
    assert len(approving.state.rejected) == 2
    assert counted(approving) == []


def test_a_services_signature_is_no_approval_even_where_the_fold_was_not_asked(
    approving: Any,
) -> None:
    version = approving.state.versions["fraud/credit@1"]
    statement = approving.statement("approval", APPROVAL, subject={"m": SERVED})
    for signer, who in ((approving.service, []), (approving.alice, ["alice"])):
        keyids = [signer.public.keyid]
        item = Evidence(approving.state.size, digest(b"e"), statement, keyids, "person")
        found = approvals.counting([item], approving.state, version, "production")
        assert [approval["actor"] for approval in found] == who


def test_the_author_does_not_approve(approving: Any) -> None:
    approve(approving, approving.admin, "admin")
    assert not approving.state.rejected
    assert counted(approving) == []


def test_a_compromise_undoes_the_approvals_since_and_no_earlier_ones(approving: Any) -> None:
    keyid = approving.alice.public.keyid
    first = approve(approving, approving.alice, "alice")
    approving.revoke_key(keyid)
    assert counted(approving) == ["alice"]
    approving.revoke_key(keyid, first + 1)
    assert counted(approving) == ["alice"]
    approving.revoke_key(keyid, first)
    assert counted(approving) == []


def test_whoever_has_a_revoked_key_or_is_disabled_approves_no_more(approving: Any) -> None:
    before = approving.decide("approve", actor="alice")
    approving.revoke_key(approving.alice.public.keyid)
    approve(approving, approving.alice, "alice")
    assert "names no open decision" in approving.refusal()
    predicate = {**APPROVAL, "decision": before}
    made = approving.statement("approval", predicate, subject={"m": SERVED})
    approving.add(made, approving.alice)
    assert "approval: not signed" in approving.state.rejected[-1][1]
    disabled = {"actor": "bob", "kind": "person", "level": "x", "disabled": True, "keys": []}
    approving.change("disableActor", "actor", disabled, project=WORKSPACE)
    approve(approving, approving.bob, "bob")
    assert "approval: not signed" in approving.refusal()
    assert counted(approving) == []


# -- the fold as a function -----------------------------------------------------------------------


def _some_ledger(new_chain: Callable[[], Any], steps: list[int]) -> Any:
    chain = new_chain()
    held = {"subject": "model", "name": "credit", "version": "1", "held": True}
    done: list[Callable[[], Any]] = [
        lambda: chain.enrol("alice", chain.alice),
        lambda: chain.enrol("bob", chain.alice),
        lambda: chain.register("1", b"bytes"),
        lambda: chain.register("2", b"bytes"),
        lambda: chain.change("revoke", "revocation", {"name": "credit", "version": "1"}),
        lambda: chain.change("hold", "hold", held),
        lambda: approve(chain, chain.alice, "alice"),
        lambda: chain.revoke_key(chain.alice.public.keyid, 3),
        lambda: chain.change("promote", "alias", {**APPROVAL, "alias": "production"}),
        lambda: chain.decide("promote"),
        lambda: chain.add(None),
        lambda: chain.add(b"junk"),
        lambda: chain.add(chain.leaves[-1]),
        lambda: chain.change("createProject", "project", {"project": "x"}, project=WORKSPACE),
    ]
    for step in steps:
        done[step]()
    return chain


@settings(max_examples=40, deadline=None)
@given(steps=st.lists(st.integers(0, 13), max_size=12), data=st.data())
def test_folding_a_part_and_then_the_rest_is_folding_all(
    steps: list[int], data: st.DataObject, new_chain: Callable[[], Any]
) -> None:
    chain = _some_ledger(new_chain, steps)
    cut = data.draw(st.integers(0, len(chain.leaves)))
    state = State()
    for index, raw in enumerate(chain.leaves):
        if index == cut:
            # What the snapshot keeps is all there is to the state.
            state = msgspec.msgpack.decode(msgspec.msgpack.encode(state), type=State)
        states.fold(state, index, raw)
    assert state == chain.state
    assert msgspec.msgpack.encode(state) == msgspec.msgpack.encode(chain.state)


def test_no_state_shares_anything_with_another() -> None:
    one, other = State(), State()
    one.roles["x"] = ["y"]
    one.rejected.append((0, ""))
    one.actors["a"] = states.ActorState("person", "oidc")
    one.actors["a"].keys["k"] = states.KeyState(PublicKey("ed25519", ""), 0)
    assert other == State()
    assert states.ActorState("person", "oidc").keys == {}
