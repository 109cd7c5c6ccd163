"""Releases that stand on what is gone, and endpoints that change their stage."""

from __future__ import annotations

from datetime import timedelta

import pytest
from workspace.town import WORKSPACE, Killed, Town, at_point, model

from assay import files
from assay.actions.people import DisableActor, ManageRole
from assay.actions.release import Hold, Promote, Revoke
from assay.actions.serving import Deploy, Kill, Query
from assay.errors import Conflict, Usage
from assay.workspace.action import Action
from assay.workspace.segments import Segments


def withdrawn(town: Town, how: str) -> Action:
    """Abe, who approved, has no say any more."""
    if how == "disabled":
        return DisableActor(project=WORKSPACE, actor=town.ids["abe"])
    role = "alpha/approver"
    return ManageRole(project=WORKSPACE, actor=town.ids["abe"], role=role, granted=False)


def killed_once_decided(town: Town) -> None:
    def hook(passed: str) -> None:
        if passed == "door.decided":
            raise Killed(passed)

    town.approve("ann", "abe")
    files.failpoint = hook
    try:
        with pytest.raises(Killed):
            town.promote()
    finally:
        files.failpoint = None


@pytest.mark.parametrize("how", ["disabled", "no approver"])
def test_recovery_does_not_promote_by_the_word_of_who_lost_it_since(town: Town, how: str) -> None:
    killed_once_decided(town)
    town.do("ada", withdrawn(town, how))
    done = town.reopen().recover()
    assert any(line.startswith("abandoned promote") and "(denied)" in line for line in done), done
    assert town.ws.view.follow().aliases == {}
    assert town.ws.view.state.open == {}


def test_recovery_does_not_promote_what_is_out_of_date_by_the_clock(town: Town) -> None:
    killed_once_decided(town)
    town.clock.advance(timedelta(days=31))
    assert any("(denied)" in line for line in town.reopen().recover())
    assert town.ws.view.follow().aliases == {}


def test_recovery_promotes_what_is_still_allowed(town: Town) -> None:
    killed_once_decided(town)
    assert any(line.startswith("completed promote") for line in town.reopen().recover())
    assert town.ws.view.follow().aliases == {"alpha/score@production": "1"}


@pytest.mark.parametrize("how", ["disabled", "no approver"])
def test_who_loses_their_say_meanwhile_ends_the_promotion(town: Town, how: str) -> None:
    town.approve("ann", "abe")
    meanwhile = at_point("door.decided", lambda: town.do("ada", withdrawn(town, how)))
    with meanwhile, pytest.raises(Conflict):
        town.promote()
    assert town.ws.view.follow().aliases == {}


def _second(town: Town) -> None:
    """A version that nobody approved."""
    town.do("eve", model(town.repo, path=str(town.repo / "model.onnx"), train=""))


@pytest.mark.parametrize("stage", ["development", "staging"])
def test_a_stage_of_fewer_gates_does_not_answer_in_place_of_production(
    town: Town, stage: str
) -> None:
    town.deploy()
    _second(town)
    for version in ("1", "2"):
        action = Deploy(project="alpha", model="score", version=version, stage=stage)
        with pytest.raises(Usage, match="answers for production"):
            town.do("oli", action)
    held = town.ws.view.state.endpoints["alpha/score"]
    assert (held["version"], held["stage"]) == ("1", "production")
    asked = Query(project="alpha", endpoint="score", version="1")
    assert Segments(town.ws).permit(town.tokens["web"], asked) == town.ids["web"]


def test_a_stopped_endpoint_may_be_deployed_for_another_stage(town: Town) -> None:
    town.deploy()
    town.do("oli", Kill(project="alpha", endpoint="score", reason="to try another"))
    for stage in ("development", "production"):
        town.do("oli", Deploy(project="alpha", model="score", version="1", stage=stage))


def test_a_kill_meanwhile_ends_the_deployment(town: Town) -> None:
    town.deploy()
    again = Deploy(project="alpha", model="score", version="1", stage="production")
    kill = Kill(project="alpha", endpoint="score", reason="wrong")
    with at_point("door.decided", lambda: town.do("oli", kill)), pytest.raises(Conflict):
        town.do("eve", again)
    assert town.ws.view.follow().endpoints["alpha/score"]["killed"]


def test_promotion_ends_where_the_version_is_withdrawn_meanwhile(town: Town) -> None:
    town.approve("ann", "abe")
    revoke = Revoke(project="alpha", model="score", version="1", reason="bad")
    again = Promote(project="alpha", model="score", version="1", stage="production")
    with at_point("door.decided", lambda: town.do("ann", revoke)), pytest.raises(Conflict):
        town.do("eve", again)


def hold(held: bool) -> Hold:
    return Hold(project="alpha", model="score", version="1", held=held, reason="drift")


def test_the_author_does_not_lift_an_approvers_hold(town: Town) -> None:
    town.do("ann", hold(True))
    for name in ("eve", "oli"):
        assert town.refused(name, hold(False)) == ["gate.unhold"]
    # Nor by setting it once more.
    town.do("eve", hold(True))
    assert town.refused("eve", hold(False)) == ["gate.unhold"]
    assert town.ws.view.follow().versions["alpha/score@1"].hold
    town.do("abe", hold(False))
    assert not town.ws.view.follow().versions["alpha/score@1"].hold


def test_who_set_a_hold_lifts_it(town: Town) -> None:
    town.do("ann", hold(True))
    town.do("ann", hold(False))
    for name in ("eve", "oli", "ann"):
        town.do(name, hold(True))
        town.do(name, hold(False))
    assert not town.ws.view.follow().versions["alpha/score@1"].hold
