"""Who asks: keys, tokens, and everybody who is let in by neither."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from typing import Any

import pytest
from workspace.town import WORKSPACE, Town, at_point

from assay.actions.people import (
    CreateToken,
    DisableActor,
    EnrolActor,
    ManageRole,
    RevokeKey,
    RevokeToken,
)
from assay.actions.reading import ReadEvidence
from assay.actions.release import Hold
from assay.actions.serving import Kill, Query
from assay.clock import timestamp
from assay.errors import Conflict, Denied, Unavailable, Usage
from assay.evidence.signers import MemorySigner
from assay.evidence.state import State
from assay.workspace import segments
from assay.workspace.credentials import Authenticated, Person, Token, token_id_of
from assay.workspace.opening import open_workspace
from assay.workspace.segments import Segments

READ = ReadEvidence(project="alpha")
QUERY = Query(project="alpha", endpoint="score", version="1")


def refusal(town: Town, credential: Any, action: Any = READ) -> str:
    """The code with which somebody is refused, and nothing is written down."""
    since = town.size
    with pytest.raises(Denied) as caught:
        town.ws.perform(credential, action)
    assert town.size == since
    return caught.value.code


def test_a_key_that_nobody_enrolled_is_refused(town: Town) -> None:
    assert refusal(town, Person(MemorySigner.generate())) == "denied.unknown_key"


def test_the_workspace_key_is_nobody(town: Town) -> None:
    assert refusal(town, Person(town.workspace_key)) == "denied.unknown_key"


def test_a_revoked_key_is_refused(town: Town) -> None:
    keyid = town.people["una"].public.keyid
    town.do("una", READ)
    town.do("ada", RevokeKey(project=WORKSPACE, keyid=keyid, reason="lost"))
    assert refusal(town, town.who("una")) == "denied.unknown_key"


def test_a_signer_that_signs_with_another_key_than_it_shows_is_refused(town: Town) -> None:
    from assay.errors import Verification

    class Liar:
        public = town.people["una"].public

        def sign(self, data: bytes) -> bytes:
            return town.people["oli"].sign(data)

    since = town.size
    with pytest.raises(Verification):
        town.ws.perform(Person(Liar()), READ)
    assert town.size == since


def test_a_disabled_actor_can_do_nothing_until_let_in_again(town: Town) -> None:
    una = town.ids["una"]
    town.do("ada", DisableActor(project=WORKSPACE, actor=una))
    assert town.refused("una", READ) == ["actor.disabled"]
    town.do("ada", DisableActor(project=WORKSPACE, actor=una, disabled=False))
    town.do("una", READ)


def test_a_person_with_no_role_can_do_nothing(town: Town) -> None:
    town.enrol("zed")
    assert town.refused("zed", READ) == ["role"]


# -- tokens ---------------------------------------------------------------------------------------


def test_a_token_of_a_service_answers_for_that_service(town: Town) -> None:
    town.deploy()
    decision, _, actor = town.ws.consider(town.who("web"), QUERY)
    assert decision.allowed
    assert actor == town.ids["web"]


@pytest.mark.parametrize(
    "secret", ["", "assay_", "assay__", "nonsense", "assay_x_y", "\udc80", "assay_\ud800_\udfff"]
)
def test_what_is_no_token_is_refused(town: Town, secret: str) -> None:
    assert refusal(town, Token(secret)) == "denied.token"


def test_the_secret_counts_and_not_only_the_id(town: Town) -> None:
    secret = town.tokens["web"]
    token_id = token_id_of(secret)
    for other in (f"assay_{token_id}_", f"assay_{token_id}_x", secret[:-1], secret + "x"):
        assert refusal(town, Token(other)) == "denied.token"


def test_an_expired_token_is_refused_to_the_moment(town: Town) -> None:
    expires = town.ws.view.follow().tokens[token_id_of(town.tokens["web"])].expires
    town.deploy()
    town.clock.advance(timedelta(days=30) - (town.clock.at - _start()) - timedelta(seconds=1))
    assert timestamp(town.clock.at) < expires
    town.ws.consider(town.who("web"), QUERY)
    town.clock.advance(timedelta(seconds=1))
    with pytest.raises(Denied, match="expired"):
        town.ws.consider(town.who("web"), QUERY)


def _start() -> Any:
    from workspace.town import START

    return START


def test_a_revoked_token_is_refused(town: Town) -> None:
    town.do("oli", RevokeToken(project="alpha", token=token_id_of(town.tokens["web"])))
    assert refusal(town, town.who("web")) == "denied.token_expired"


def test_a_token_revoked_before_the_decision_is_written_leaves_nothing_behind(town: Town) -> None:
    """Not even a decision that the fold would refuse."""
    role = ManageRole(project=WORKSPACE, actor=town.ids["web"], role="alpha/operator", granted=True)
    town.do("ada", role)
    kill = RevokeToken(project="alpha", token=token_id_of(town.tokens["web"]))
    other = Town(town.base, town.people, town.ids, town.tokens, town.clock)

    class Slow(Token):
        def authenticate(self, state: State, request: dict[str, Any]) -> Authenticated:
            proven = super().authenticate(state, request)
            other.do("oli", kill)
            return proven

    since = town.size
    with pytest.raises(Conflict):
        town.ws.perform(
            Slow(town.tokens["web"]), Hold(project="alpha", model="score", version="1", reason="x")
        )
    assert town.kinds(since) == ["decision", "token", "outcome"]
    town.check()


def test_a_token_is_good_in_its_own_project_only(town: Town) -> None:
    for project in ("beta", "nowhere", WORKSPACE, ""):
        action = ReadEvidence(project=project)
        assert refusal(town, town.who("web"), action) == "denied.token_project"


def test_a_token_of_a_disabled_service_does_nothing(town: Town) -> None:
    town.deploy()
    town.do("ada", DisableActor(project=WORKSPACE, actor=town.ids["web"]))
    decision, _ = town.ws.preview(town.who("web"), QUERY)
    assert [reason.gate for reason in decision.reasons] == ["actor.disabled"]


def test_nobody_can_make_a_token_in_the_name_of_a_person(town: Town) -> None:
    """An operator with a token of the engineer would be the engineer."""
    for name in ("eve", "ann", "ada", "oli"):
        with pytest.raises(Usage) as caught:
            town.do("oli", CreateToken(project="alpha", actor=town.ids[name]))
        assert caught.value.code == "usage.token_person"


def test_nobody_can_make_a_token_of_a_service_that_has_further_roles(town: Town) -> None:
    """An operator with a token of a service that may promote would be an engineer."""
    robot = EnrolActor(
        project=WORKSPACE,
        actor="robot",
        kind="service",
        roles=("alpha/service", "alpha/ml_engineer"),
    )
    town.do("ada", robot)
    with pytest.raises(Usage) as caught:
        town.do("oli", CreateToken(project="alpha", actor="robot"))
    assert caught.value.code == "usage.token_roles"


def test_only_who_builds_makes_a_token_for_a_pipeline(town: Town) -> None:
    """An operator with a token of continuous integration could read data."""
    making = CreateToken(project="alpha", actor=town.ids["ci"])
    assert town.refused("oli", making) == ["token.roles"]
    for name in ("ann", "una", "ci"):
        assert town.refused(name, making) == ["role", "token.roles"]
    for name in ("sam", "eve"):
        town.tokens["ci"] = town.do(name, making)["secret"]
        town.do("ci", READ)
    for name in ("sam", "eve"):
        ask = CreateToken(project="alpha", actor=town.ids["web"])
        assert town.refused(name, ask) == ["role"]


def test_a_service_that_gets_a_role_meanwhile_gets_no_token_for_it(town: Town) -> None:
    role = ManageRole(project=WORKSPACE, actor=town.ids["web"], role="alpha/pipeline", granted=True)

    def grant() -> None:
        open_workspace(town.repo, clock=town.clock).perform(town.who("ada"), role)

    with at_point("door.decided", grant), pytest.raises(Conflict):
        town.do("oli", CreateToken(project="alpha", actor=town.ids["web"]))


def test_a_token_in_the_name_of_a_person_is_refused_even_if_the_ledger_has_one(town: Town) -> None:
    secret = "assay_t1_secret"
    town.ws.view.follow()
    state = town.ws.view.state
    held = next(iter(state.tokens.values()))
    digest = hashlib.sha256(secret.encode()).hexdigest()
    for actor in (town.ids["eve"], "nobody"):
        state.tokens["t1"] = type(held)(actor, "alpha", digest, held.expires)
        assert refusal(town, Token(secret)) == "denied.token_person"


def test_a_service_without_a_key_cannot_be_impersonated_by_who_enrols_a_key_for_another(
    town: Town,
) -> None:
    key = town.people["eve"].public
    with pytest.raises(Usage) as caught:
        town.do("ada", EnrolActor(project=WORKSPACE, actor="thief", keys=(key,)))
    assert caught.value.code == "usage.key_taken"


# -- segments -------------------------------------------------------------------------------------


def test_answers_given_once_for_a_segment_end_with_the_next_change(town: Town) -> None:
    town.deploy()
    asking = Segments(town.ws)
    for _ in range(3):
        assert asking.permit(town.tokens["web"], QUERY) == town.ids["web"]
    town.do("oli", Kill(project="alpha", endpoint="score", reason="stop"))
    with pytest.raises(Denied, match="stopped"):
        asking.permit(town.tokens["web"], QUERY)
    since = town.size
    asking.flush()
    (leaf,) = town.statements(since=since)
    rows = leaf.predicate["decisions"]
    assert [(row["allowed"], row["count"]) for row in rows] == [(True, 3), (False, 1)]
    asking.flush()
    assert town.size == since + 1


@pytest.mark.parametrize("change", ["role", "token", "disabled"])
def test_what_another_process_takes_away_ends_a_cached_answer(town: Town, change: str) -> None:
    town.deploy()
    asking = Segments(town.ws)
    asking.permit(town.tokens["web"], QUERY)
    web = town.ids["web"]
    by, action = {
        "role": (
            "ada",
            ManageRole(project=WORKSPACE, actor=web, role="alpha/service", granted=False),
        ),
        "token": ("oli", RevokeToken(project="alpha", token=token_id_of(town.tokens["web"]))),
        "disabled": ("ada", DisableActor(project=WORKSPACE, actor=web)),
    }[change]
    other = Town(town.base, town.people, town.ids, town.tokens, town.clock)
    other.do(by, action)
    with pytest.raises(Denied):
        asking.permit(town.tokens["web"], QUERY)


def test_a_cached_answer_does_not_outlive_its_token(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    town.deploy()
    token = town.ws.view.follow().tokens[token_id_of(town.tokens["web"])]
    token.expires = timestamp(town.clock.at + timedelta(seconds=5))
    asking = Segments(town.ws)
    ticks = [1000.0]
    monkeypatch.setattr(segments.time, "monotonic", lambda: ticks[0])
    asking.permit(town.tokens["web"], QUERY)
    ticks[0] += 4
    asking.permit(town.tokens["web"], QUERY)
    ticks[0] += 2
    town.clock.advance(timedelta(seconds=6))
    with pytest.raises(Denied, match="expired"):
        asking.permit(town.tokens["web"], QUERY)


def test_a_stranger_cannot_grow_the_cache_by_guessing(town: Town) -> None:
    asking = Segments(town.ws)
    for number in range(50):
        with pytest.raises(Denied):
            asking.permit(f"assay_{number}_x", QUERY)
    assert not asking._cache


def test_counts_that_cannot_be_recorded_are_kept(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    town.deploy()
    asking = Segments(town.ws)
    for _ in range(2):
        asking.permit(town.tokens["web"], QUERY)
    since = town.size

    def full(*_: Any, **__: Any) -> None:
        raise Unavailable("disk full", code="write")

    with monkeypatch.context() as patch:
        patch.setattr(town.ws.ledger, "append", full)
        with pytest.raises(Unavailable):
            asking.flush()
    asking.permit(town.tokens["web"], QUERY)
    asking.flush()
    (leaf,) = town.statements(since=since)
    assert leaf.predicate["decisions"][0]["count"] == 3


def test_nothing_is_cached_while_a_change_is_under_way(town: Town) -> None:
    town.deploy()
    asking = Segments(town.ws)
    with town.ws.epoch.changing():
        assert town.ws.epoch.read() is None
        asking.permit(town.tokens["web"], QUERY)
        assert not asking._cache
    asking.permit(town.tokens["web"], QUERY)
    assert len(asking._cache) == 1
