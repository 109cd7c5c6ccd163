"""Plans of changes through the door: proposed, approved, taken back; and retrainings under them."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from workspace.town import Town, copy_of

from assay.actions.changes import ApproveChange, ProposeChange, plan_called, proposed
from assay.actions.release import Promote
from assay.actions.retraining_steps import ContinueRetraining, retrainings
from assay.clock import timestamp
from assay.errors import Conflict, NotFound, Usage
from assay.evidence import envelope as dsse
from assay.evidence.plan_records import Ledger, approvals_of

from .planning import plan, propose, retrain


@pytest.fixture(scope="module")
def answering(built: Town, tmp_path_factory: pytest.TempPathFactory) -> Town:
    with pytest.MonkeyPatch.context() as environment:
        town = copy_of(built, tmp_path_factory.mktemp("answering") / "town", environment)
        town.deploy()
        town.close()
        return town


@pytest.fixture
def served(answering: Town, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Town:
    """A town where ``score@1`` answers."""
    return copy_of(answering, tmp_path / "served", monkeypatch)


def approval(digest: str, **changed: Any) -> ApproveChange:
    return ApproveChange(project="alpha", plan=digest, **changed)


def approvals(town: Town, digest: str) -> list[str]:
    (found,) = [p for p in proposed(town.ws.view, "alpha") if p.digest == digest]
    return sorted(a["actor"] for a in found.approvals)


def test_a_plan_is_proposed_and_approved_by_people_with_their_own_keys(town: Town) -> None:
    digest = propose(town, "ann", "abe")
    assert approvals(town, digest) == ["id-abe", "id-ann"]
    (found,) = proposed(town.ws.view, "alpha")
    assert (found.proposer, found.plan.model, found.begun) == ("id-eve", "score", [])
    signer = dsse.decode(town.ws.view.leaf(town.size - 2).envelope or b"").signatures[0].keyid
    assert signer == town.people["abe"].public.keyid
    town.check()


def test_a_plan_is_found_by_the_beginning_of_its_digest(town: Town) -> None:
    digest = propose(town)
    view = town.ws.view
    for name in (digest, digest[:19], digest.removeprefix("sha256:")[:8]):
        assert plan_called(view, "alpha", name).digest == digest
    for name in ("", "sha256:", digest[:12], "sha256:000000"):
        with pytest.raises(NotFound):
            plan_called(view, "alpha", name)


def test_nobody_approves_a_plan_of_their_own(town: Town) -> None:
    town.enrol("kim", "alpha/approver", "alpha/data_scientist")
    digest = propose(town, by="kim")
    assert town.refused("kim", approval(digest)) == ["change.approve_own"]
    town.do("ann", approval(digest))
    assert approvals(town, digest) == ["id-ann"]


def test_only_an_approver_approves_a_plan(town: Town) -> None:
    digest = propose(town)
    for name in ("sam", "eve", "oli", "una", "ci", "ada"):
        assert "role" in "".join(town.refused(name, approval(digest)))


def test_an_approval_is_taken_back_by_whoever_gave_it(town: Town) -> None:
    digest = propose(town, "ann", "abe")
    town.do("ann", approval(digest, approved=False, comment="the data changed"))
    assert approvals(town, digest) == ["id-abe"]
    town.do("ann", approval(digest))
    assert approvals(town, digest) == ["id-abe", "id-ann"]


def test_an_approval_signed_with_another_key_is_none(town: Town) -> None:
    """Whoever holds the workspace key cannot approve in somebody's name."""
    digest = propose(town)
    told = {"plan": digest, "approved": True, "comment": "", "decision": "none"}
    made = town.statement("change-approval", told, "alpha", about=digest, producer="person")
    for signer in (town.workspace_key, town.people["ann"]):
        index = town.slip_in(made, signer)
        state = town.ws.view.follow()
        assert index in [leaf for leaf, _ in state.rejected]
    assert approvals(town, digest) == []


def test_the_same_plan_is_proposed_once(town: Town) -> None:
    propose(town)
    with pytest.raises(Conflict):
        town.do("sam", ProposeChange(project="alpha", plan=plan(town)))


def test_a_plan_that_is_none_is_not_proposed(town: Town) -> None:
    before = town.size
    with pytest.raises(Usage):
        town.do("eve", ProposeChange(project="alpha", plan={**plan(town), "most": 0}))
    with pytest.raises(NotFound):
        town.do("eve", ProposeChange(project="alpha", plan={**plan(town), "model": "other"}))
    assert town.size == before


def test_a_plan_of_one_project_is_none_in_another(town: Town) -> None:
    digest = propose(town, "ann")
    assert proposed(town.ws.view, "beta") == []
    view = town.ws.view
    assert (
        approvals_of(
            Ledger(view.evidence, view.state, "beta"),
            plan_called(view, "alpha", digest).digest,
            but=[],
        )
        == []
    )


# -- retraining ------------------------------------------------------------------------------------


def test_by_itself_nothing_is_retrained_without_a_plan(served: Town) -> None:
    assert served.refused("ci", retrain(served)) == ["retrain.plan"]
    assert served.refused("eve", retrain(served, by_itself=True)) == ["retrain.plan"]


def test_a_person_may_retrain_without_a_plan(served: Town) -> None:
    done = served.do("eve", retrain(served))
    assert (done["trigger"], done["plan"], done["champion"]) == ("person", "", "1")


def test_a_service_is_no_person_whatever_it_says(served: Town) -> None:
    assert served.refused("ci", retrain(served, by_itself=False)) == ["retrain.plan"]


def test_by_itself_it_is_retrained_within_an_approved_plan(served: Town) -> None:
    digest = propose(served, "ann", "abe")
    done = served.do("ci", retrain(served, digest))
    assert (done["stage"], done["trigger"], done["plan"]) == ("begun", "schedule", digest)
    (found,) = retrainings(served.ws.view, "alpha", "score")
    assert found.begun["id"] == done["id"]
    served.check()


def test_one_approval_is_too_few(served: Town) -> None:
    digest = propose(served, "ann")
    assert served.refused("ci", retrain(served, digest)) == ["retrain.plan"]


def test_a_plan_that_was_taken_back_lets_nothing_pass(served: Town) -> None:
    digest = propose(served, "ann", "abe")
    served.do("abe", approval(digest, approved=False))
    assert served.refused("ci", retrain(served, digest)) == ["retrain.plan"]


OUTSIDE: dict[str, dict[str, Any]] = {
    "another pipeline": {"source": "other.py:train"},
    "another function": {"function": "retrain:other"},
    "another seed": {"seed": 1},
    "a parameter out of range": {"parameters": {"dataset": "score-log", "leaves": 65}},
    "a parameter too many": {"parameters": {"dataset": "score-log", "leaves": 8, "depth": 1}},
    "a parameter too few": {"parameters": {"dataset": "score-log"}},
    "no such plan": {"plan": "sha256:" + "0" * 64},
    "no plan": {"plan": ""},
}


@pytest.mark.parametrize("what", OUTSIDE)
def test_by_itself_nothing_is_retrained_outside_of_its_plan(served: Town, what: str) -> None:
    digest = propose(served, "ann", "abe")
    assert served.refused("ci", retrain(served, digest, **OUTSIDE[what])) == ["retrain.plan"]


def test_a_longer_stretch_of_the_log_than_allowed_is_outside(served: Town) -> None:
    digest = propose(served, "ann", "abe")
    since = timestamp(served.clock.at - timedelta(days=61))
    action = retrain(served, digest, since=since)
    assert served.refused("ci", action) == ["retrain.plan"]
    assert "61 days" in "".join(action.outside(served.ws.view))


def test_a_plan_that_has_run_out_lets_nothing_pass(served: Town) -> None:
    digest = propose(served, "ann", "abe")
    served.clock.advance(timedelta(days=101))
    assert served.refused("sam", retrain(served, digest, by_itself=True)) == ["retrain.plan"]


def test_a_plan_for_another_model_is_none_for_this_one(served: Town) -> None:
    digest = propose(served, "ann", "abe", valid_until=timestamp(served.clock.at))
    served.clock.advance(timedelta(seconds=1))
    assert served.refused("ci", retrain(served, digest)) == ["retrain.plan"]


def test_retrainings_keep_the_distance_that_the_plan_wants(served: Town) -> None:
    digest = propose(served, "ann", "abe")
    first = served.do("ci", retrain(served, digest))
    end(served, first["id"])
    assert served.refused("ci", retrain(served, digest)) == ["retrain.plan"]
    served.clock.advance(timedelta(days=7))
    served.do("ci", retrain(served, digest))


def test_a_plan_is_used_no_more_often_than_it_says(served: Town) -> None:
    digest = propose(served, "ann", "abe", every="1s")
    for _ in range(3):
        end(served, served.do("ci", retrain(served, digest))["id"])
        served.clock.advance(timedelta(seconds=2))
    assert served.refused("ci", retrain(served, digest)) == ["retrain.plan"]


def end(town: Town, name: str) -> None:
    town.do(
        "ci",
        ContinueRetraining(
            project="alpha", endpoint="score", retraining=name, stage="end", end="given-up"
        ),
    )


def test_one_retraining_of_an_endpoint_goes_on_at_a_time(served: Town) -> None:
    first = served.do("eve", retrain(served))
    with pytest.raises(Conflict, match="has not ended"):
        served.do("eve", retrain(served))
    served.do(
        "eve",
        ContinueRetraining(
            project="alpha", endpoint="score", retraining=first["id"], stage="end", end="kept"
        ),
    )
    served.do("eve", retrain(served))
    with pytest.raises(Conflict, match="has ended"):
        end(served, first["id"])


def test_what_would_be_collected_must_be_over_and_have_a_name_of_its_own(served: Town) -> None:
    ahead = timestamp(served.clock.at + timedelta(minutes=10))
    with pytest.raises(Usage, match="no stretch of time"):
        served.do("eve", retrain(served, until=ahead))
    with pytest.raises(Usage, match="no stretch of time"):
        served.do("eve", retrain(served, since=timestamp(served.clock.at)))
    with pytest.raises(Conflict):
        served.do("eve", retrain(served, parameters={"dataset": "train"}))
    for name in ("../train", "", "UPPER"):
        with pytest.raises(Usage):
            served.do("eve", retrain(served, parameters={"dataset": name}))
    with pytest.raises(NotFound):
        served.do("eve", retrain(served, alert="nothing-1"))
    with pytest.raises(NotFound):
        served.do("eve", retrain(served, endpoint="other"))


def test_a_version_that_a_retraining_did_not_make_is_not_its_candidate(served: Town) -> None:
    first = served.do("eve", retrain(served))
    with pytest.raises(Usage, match="was not made of"):
        served.do(
            "eve",
            ContinueRetraining(
                project="alpha",
                endpoint="score",
                retraining=first["id"],
                stage="candidate",
                version="1",
            ),
        )


def test_retraining_says_nothing_in_the_evidence_about_a_version(served: Town) -> None:
    """That is read at every promotion, and stays short."""
    view = served.ws.view
    about = view.version("alpha", "score", "1").served
    assert about
    before = len(view.evidence("alpha", about))
    served.do("eve", retrain(served))
    view.follow()
    after = view.evidence("alpha", about)
    assert len(after) == before
    assert (
        "change"
        not in served.ws.preview(
            served.who("eve"),
            Promote(project="alpha", model="score", version="1", stage="production"),
        )[1].context
    )
