"""Requests: a decision opens only when whoever it names is known to have asked for it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay import canonical
from assay.clock import TOLERANCE, parse_timestamp, timestamp
from assay.errors import Verification
from assay.evidence import requests
from assay.evidence.records import REQUEST_FORMAT, ActorState
from assay.evidence.signers import MemorySigner, Signer
from assay.evidence.state import WORKSPACE
from assay.evidence.statement import Statement

STRANGER = MemorySigner.generate()
P256 = MemorySigner.generate("ecdsa-p256-sha256")
NOW = "2026-01-01T00:00:00.000Z"
HOLD = {"subject": "model", "name": "credit", "version": "1", "held": True}

Proof = Callable[[dict[str, Any]], dict[str, Any]]


def signed_by(signer: Signer, keyid: str = "", **told: Any) -> Proof:
    """The signature of `signer` over the request, or over what is `told` instead."""

    def proof(request: dict[str, Any]) -> dict[str, Any]:
        body = canonical.encode({"format": REQUEST_FORMAT, **request, **told})
        signature = canonical.b64(signer.sign(body))
        return {"keyid": keyid or signer.public.keyid, "sig": signature}

    return proof


def given_as(**proof: Any) -> Proof:
    return lambda _: proof


def token(chain: Any, name: str, actor: str, *, project: str = "fraud", **changed: Any) -> None:
    predicate = {
        "token": name,
        "actor": actor,
        "project": project,
        "sha256": "0" * 64,
        "expires": "2026-02-01T00:00:00.000Z",
        "revoked": False,
        **changed,
    }
    chain.change("createToken", "token", predicate, project=project)


@pytest.fixture
def chain(chain: Any) -> Any:
    """People, services and tokens to ask with, and a model to hold."""
    chain.enrol("alice", chain.alice)
    chain.enrol("bob", chain.bob, P256)
    chain.enrol("scorer", chain.service, kind="service")
    chain.enrol("robot", kind="workload")
    for name, actor in (("t", "scorer"), ("w", "robot"), ("person", "alice"), ("ghost", "nobody")):
        token(chain, name, actor)
    token(chain, "elsewhere", "scorer", project="churn")
    token(chain, "over", "scorer", expires=NOW)
    token(chain, "gone", "scorer")
    chain.change("revokeToken", "token", {"token": "gone", "revoked": True})
    chain.register("1", b"bytes")
    assert not chain.state.rejected
    return chain


def how(chain: Any, decision: Statement) -> str:
    """How it is known who asked, as the fold asks."""
    p = decision.predicate
    size = chain.state.size
    return requests.asked_by(
        chain.state, size, decision.header, p["action"], p["actor"], p["request"]
    )


def refused(chain: Any, decision: Statement) -> str:
    """Why a decision is refused; and that it opens nothing, and entitles to nothing."""
    with pytest.raises(Verification) as caught:
        how(chain, decision)
    before = chain.plain()
    index = chain.add(decision)
    assert chain.state.rejected[-1][0] == index
    assert caught.value.message[:200] in chain.state.rejected[-1][1]
    chain.add(chain.statement("hold", {**HOLD, "decision": decision.header.id}))
    assert "names no open decision" in chain.state.rejected[-1][1]
    assert chain.plain() == before
    return caught.value.message


def opens(chain: Any, decision: Statement) -> None:
    """A decision opens, and entitles to what it is about."""
    chain.add(decision)
    assert list(chain.state.open) == [decision.header.id]
    chain.add(chain.statement("hold", {**HOLD, "decision": decision.header.id}))
    assert chain.state.versions["fraud/credit@1"].hold
    assert not chain.state.rejected


# -- what is known --------------------------------------------------------------------------------


@pytest.mark.parametrize("actor", ["admin", "alice", "bob", "scorer"])
def test_a_request_that_the_actor_signed_opens_its_decision(actor: str, chain: Any) -> None:
    decision = chain.decision("hold", actor=actor)
    assert how(chain, decision) == requests.BY_KEY
    opens(chain, decision)


def test_any_key_of_the_actor_will_do(chain: Any) -> None:
    decision = chain.decision("hold", actor="bob", proof=signed_by(P256))
    assert how(chain, decision) == requests.BY_KEY
    opens(chain, decision)


@pytest.mark.parametrize(("name", "actor"), [("t", "scorer"), ("w", "robot")])
def test_a_token_of_a_service_opens_its_decision(name: str, actor: str, chain: Any) -> None:
    decision = chain.decision("hold", actor=actor, proof=given_as(token=name))
    assert how(chain, decision) == requests.BY_TOKEN
    opens(chain, decision)


# -- (a) the request is for this ------------------------------------------------------------------

OTHER = {
    "workspace": "v",
    "id": "019cb8c0-0000-7000-8000-000000000000",
    "project": "churn",
    "action": "revoke",
}


@pytest.mark.parametrize("fact", sorted(OTHER))
@pytest.mark.parametrize("by", ["key", "token"])
def test_a_request_for_something_else_is_refused(by: str, fact: str, chain: Any) -> None:
    proof = given_as(token="t") if by == "token" else None
    decision = chain.decision(
        "hold", actor="scorer", asked={fact: OTHER[fact]}, **({"proof": proof} if proof else {})
    )
    assert "something else" in refused(chain, decision)


def test_a_request_is_answered_once(chain: Any) -> None:
    """A copy of a decision, closed or open, or the same request under another id."""
    first = chain.decision("hold", actor="alice")
    chain.add(first)
    copied = chain.statement("decision", first.predicate)
    with pytest.raises(Verification, match="something else"):
        how(chain, copied)
    before = chain.plain()
    for again in (copied, first):
        chain.add(again)
        assert chain.state.rejected[-1][0] == chain.state.size - 1
    chain.close(first.header.id)
    chain.add(first)
    assert not chain.state.open
    assert len(chain.state.rejected) == 3
    assert before["versions"] == chain.plain()["versions"]


# -- (b) a signature ------------------------------------------------------------------------------


def test_a_signature_by_anybody_else_is_refused(chain: Any) -> None:
    for signer in (chain.workspace, chain.bob, chain.admin, chain.service, STRANGER):
        decision = chain.decision("hold", actor="alice", proof=signed_by(signer))
        assert "not the person's" in refused(chain, decision)
        named = signed_by(signer, chain.alice.public.keyid)
        assert "did not sign" in refused(chain, chain.decision("hold", actor="alice", proof=named))


def test_nobody_asks_in_the_name_of_the_workspace_or_of_who_is_not_enrolled(chain: Any) -> None:
    for actor in ("workspace", "w", "mallory", "alice "):
        for signer in (chain.workspace, STRANGER, chain.alice):
            decision = chain.decision("hold", actor=actor, proof=signed_by(signer))
            assert "not the person's" in refused(chain, decision)


CHANGED: dict[str, Any] = {
    **OTHER,
    "issued": "2026-01-01T00:00:00.001Z",
    "params": {"type": "hold", "held": False},
    "format": "assay/request/v2",
    "more": 1,
}


@pytest.mark.parametrize("fact", sorted(CHANGED))
def test_a_signature_over_a_request_with_one_fact_changed_is_refused(fact: str, chain: Any) -> None:
    proof = signed_by(chain.alice, **{fact: CHANGED[fact]})
    assert "did not sign" in refused(chain, chain.decision("hold", actor="alice", proof=proof))


def test_a_signature_over_another_format_is_no_request(chain: Any) -> None:
    """Else whatever a person signs elsewhere, of the same fields, could pass for a request."""
    for form in ("assay/other/v1", REQUEST_FORMAT):
        decision = chain.decision("hold", actor="alice", asked={"format": form})
        assert "is none" in refused(chain, decision)


def test_a_key_counts_from_its_enrolment_until_its_revocation(chain: Any) -> None:
    late = MemorySigner.generate()
    decision = chain.decision("hold", actor="alice", proof=signed_by(late))
    assert "not the person's" in refused(chain, decision)
    enrolled = chain.enrol("alice", late)
    again = chain.decision("hold", actor="alice", proof=signed_by(late))
    assert how(chain, again) == requests.BY_KEY
    chain.revoke_key(late.public.keyid)
    assert "not the person's" in refused(chain, again)
    # A verifier asks at the decision's own leaf, of a state that has since moved on.
    p = again.predicate
    asked = (again.header, p["action"], p["actor"], p["request"])
    assert requests.asked_by(chain.state, enrolled, *asked) == requests.BY_KEY
    with pytest.raises(Verification):
        requests.asked_by(chain.state, enrolled - 1, *asked)


def test_a_compromise_found_later_leaves_what_was_done_by_decision_standing(chain: Any) -> None:
    opens(chain, chain.decision("hold", actor="alice"))
    chain.revoke_key(chain.alice.public.keyid, 0)
    assert chain.state.versions["fraud/credit@1"].hold
    assert "not the person's" in refused(chain, chain.decision("hold", actor="alice"))


@settings(max_examples=60, deadline=None)
@given(at=st.integers(0, 63), bit=st.integers(0, 7))
def test_no_bit_of_a_signature_is_free(at: int, bit: int, new_chain: Callable[[], Any]) -> None:
    chain = new_chain()
    decision = chain.decision("hold")
    proof = decision.predicate["request"]["proof"]
    raw = bytearray(canonical.unb64(proof["sig"], what="sig"))
    raw[at] ^= 1 << bit
    proof["sig"] = canonical.b64(bytes(raw))
    with pytest.raises(Verification, match="did not sign"):
        how(chain, decision)
    chain.add(decision)
    assert not chain.state.open


# -- (c) a token ----------------------------------------------------------------------------------

BAD_TOKENS = {
    "unknown": ("none", "scorer", "does not have"),
    "of nobody": ("", "scorer", "does not have"),
    "of another service": ("t", "robot", "does not have"),
    "of a service, for a person": ("t", "alice", "does not have"),
    "of another project": ("elsewhere", "scorer", "does not have"),
    "expired": ("over", "scorer", "expired"),
    "revoked": ("gone", "scorer", "revoked"),
    "of a person": ("person", "alice", "name of a person"),
    "of who is not enrolled": ("ghost", "nobody", "name of a person"),
}


@pytest.mark.parametrize("what", sorted(BAD_TOKENS))
def test_a_token_is_refused_that_is(what: str, chain: Any) -> None:
    name, actor, why = BAD_TOKENS[what]
    decision = chain.decision("hold", actor=actor, proof=given_as(token=name))
    assert why in refused(chain, decision)


def test_a_token_expires_to_the_moment_at_which_it_was_asked(chain: Any) -> None:
    at = parse_timestamp(NOW) + timedelta(seconds=9)
    token(chain, "brief", "scorer", expires=timestamp(at))
    moment = timedelta(milliseconds=1)
    for issued, good in ((at - moment, True), (at, False), (at + moment, False)):
        decision = chain.decision(
            "hold",
            actor="scorer",
            asked={"issued": timestamp(issued)},
            proof=given_as(token="brief"),
        )
        if good:
            assert how(chain, decision) == requests.BY_TOKEN
        else:
            assert "expired" in refused(chain, decision)


def test_a_token_makes_nobody_a_person(chain: Any) -> None:
    """Even where the state has a token, by whichever way, in the name of somebody who signs."""
    decision = chain.decision("hold", actor="scorer", proof=given_as(token="t"))
    chain.state.actors["scorer"] = ActorState("person", "x")
    assert "name of a person" in refused(chain, decision)


# -- (d) anything else ----------------------------------------------------------------------------

PROOFS: dict[str, Any] = {
    "nothing": {},
    "a key without a signature": {"keyid": "(alice)"},
    "a signature without a key": {"sig": "(sig)"},
    "a key and a token": {"keyid": "(alice)", "sig": "(sig)", "token": "t"},
    "a token and more": {"token": "t", "more": ""},
    "a signature and more": {"keyid": "(alice)", "sig": "(sig)", "more": ""},
    "a signature that is no text": {"keyid": "(alice)", "sig": 1},
    "a signature that is not base64": {"keyid": "(alice)", "sig": "?"},
    "a signature in another spelling": {"keyid": "(alice)", "sig": "(sig) "},
    "no signature": {"keyid": "(alice)", "sig": ""},
    "a key that is none": {"keyid": "", "sig": "(sig)"},
    "a token that is a list": {"token": ["t"]},
    "a list": [],
    "a text": "t",
    "null": None,
}


@pytest.mark.parametrize("actor", ["alice", "scorer"])
@pytest.mark.parametrize("what", sorted(PROOFS))
def test_a_request_is_not_proven_by(what: str, actor: str, chain: Any) -> None:
    signer = {"alice": chain.alice, "scorer": chain.service}[actor]

    def proof(request: dict[str, Any]) -> Any:
        genuine = signed_by(signer)(request)
        if not isinstance(PROOFS[what], dict):
            return PROOFS[what]
        filled = {"(alice)": genuine["keyid"], "(sig)": genuine["sig"]}
        return {
            name: value.replace("(sig)", genuine["sig"]).replace("(alice)", filled["(alice)"])
            if isinstance(value, str)
            else value
            for name, value in PROOFS[what].items()
        }

    assert refused(chain, chain.decision("hold", actor=actor, proof=proof))


REQUEST = ["workspace", "id", "issued", "project", "action", "params", "proof"]


@pytest.mark.parametrize("by", ["key", "token"])
@pytest.mark.parametrize("field", REQUEST)
def test_a_request_is_whole_and_of_its_types(field: str, by: str, chain: Any) -> None:
    def made() -> Statement:
        if by == "token":
            return chain.decision("hold", actor="scorer", proof=given_as(token="t"))
        return chain.decision("hold", actor="scorer")

    lacking = made()
    del lacking.predicate["request"][field]
    assert "is none" in refused(chain, lacking)
    for odd in (None, 1, [], "" if field in ("params", "proof") else {}):
        wrong = made()
        wrong.predicate["request"][field] = odd
        assert "is none" in refused(chain, wrong)
    more = made()
    more.predicate["request"]["more"] = ""
    assert "is none" in refused(chain, more)
    chain.state.rejected.clear()
    opens(chain, made())


def test_an_empty_request_entitles_to_nothing(chain: Any) -> None:
    """What who holds the workspace key could write before anybody looked at requests."""
    decision = chain.decision("hold", actor="alice")
    decision.predicate["request"].clear()
    refused(chain, decision)


# -- time -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["key", "token"])
def test_a_request_is_not_from_later_than_its_decision_but_for_the_clocks_tolerance(
    by: str, chain: Any
) -> None:
    written = parse_timestamp(NOW)
    late = timedelta(milliseconds=1)
    for issued, good in (
        (written - timedelta(days=1), True),
        (written + TOLERANCE, True),
        (written + TOLERANCE + late, False),
    ):
        decision = chain.decision(
            "hold",
            actor="scorer",
            asked={"issued": timestamp(issued)},
            **({"proof": given_as(token="t")} if by == "token" else {}),
        )
        if good:
            assert how(chain, decision)
        else:
            assert "before it was asked" in refused(chain, decision)


@pytest.mark.parametrize("issued", ["", "soon", "2026-01-01", "0001-01-01T00:00:00+23:59"])
def test_a_request_of_no_time_is_refused(issued: str, chain: Any) -> None:
    assert "is none" in refused(chain, chain.decision("hold", asked={"issued": issued}))


def test_the_end_of_the_calendar_is_a_time_like_others(chain: Any) -> None:
    end = "9999-12-31T23:59:59.999Z"
    decision = chain.decision("hold", asked={"issued": end})
    assert "before it was asked" in refused(chain, decision)
    header = msgspec.structs.replace(decision.header, issued=end)
    assert how(chain, msgspec.structs.replace(decision, header=header)) == requests.BY_KEY


# -- what is not asked ----------------------------------------------------------------------------


@pytest.mark.parametrize("changed", [{"allowed": False}, {"durability": "segment"}])
def test_a_decision_that_opens_nothing_is_recorded_whoever_asked(
    changed: dict[str, Any], chain: Any
) -> None:
    for proof in (signed_by(STRANGER), given_as()):
        decision = chain.decision("hold", actor="alice", proof=proof, **changed)
        chain.add(decision)
    assert not chain.state.open
    assert not chain.state.rejected


def test_who_holds_the_workspace_key_enrols_nobody_of_their_own_making(chain: Any) -> None:
    """No administrator signed: not under any name that the workspace key can put to it."""
    mallory = MemorySigner.generate()
    enrolment = {
        "actor": "mallory",
        "kind": "person",
        "level": "x",
        "disabled": False,
        "keys": [msgspec.to_builtins(mallory.public)],
    }
    for actor, proof in (
        ("admin", signed_by(chain.workspace)),
        ("admin", signed_by(mallory)),
        ("mallory", signed_by(mallory)),
        ("scorer", given_as(token="t")),
    ):
        decision = chain.decide("enrolActor", project=WORKSPACE, actor=actor, proof=proof)
        made = chain.statement("actor", {**enrolment, "decision": decision}, project=WORKSPACE)
        chain.add(made)
        assert "names no open decision" in chain.state.rejected[-1][1]
    assert "mallory" not in chain.state.actors


@pytest.mark.parametrize("role", ["fraud/approver", "fraud/service"])
def test_a_token_changes_nobodys_role_even_in_its_own_project(role: str, chain: Any) -> None:
    """With any live token the holder of the workspace's key could otherwise grant roles."""
    decision = chain.decision("manageRole", actor="scorer", proof=given_as(token="t"))
    chain.add(decision)
    assert decision.header.id in chain.state.open
    predicate = {
        "decision": decision.header.id,
        "actor": "alice",
        "role": role,
        "granted": True,
    }
    before = chain.state.roles_of("alice")
    chain.add(chain.statement("role", predicate))
    assert chain.state.roles_of("alice") == before
    assert chain.state.rejected[-1] == (
        chain.state.size - 1,
        "Refused: role: decided for another project",
    )
