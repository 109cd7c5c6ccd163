"""A running endpoint that goes over to another version, and what may not be undone by it."""

from __future__ import annotations

from typing import Any

import pytest
from workspace.town import Town, at_point, model

from assay.actions.release import Hold
from assay.actions.serving import Deploy, Kill, Query
from assay.errors import Conflict, NotFound, Usage
from assay.serve.endpoint import SUPERSEDED
from assay.workspace.segments import Segments


def deploy(version: str, **changed: Any) -> Deploy:
    given: dict[str, Any] = {"project": "alpha", "model": "score", "stage": "development"}
    return Deploy(**given, version=version, **changed)


KILL = Kill(project="alpha", endpoint="score", reason="odd answers")


@pytest.fixture
def two(town: Town) -> Town:
    """Version 1 answers, and there is a version 2."""
    town.do("oli", deploy("1"))
    town.do("eve", model(town.repo))
    return town


def answers(town: Town) -> tuple[str, bool]:
    held = town.ws.view.follow().endpoints["alpha/score"]
    return held["version"], held["killed"]


def test_a_trial_hands_the_bytes_over_and_deploys_nothing(two: Town) -> None:
    before = two.size
    held = two.do("oli", deploy("2", trial=True, replaces="1"))
    assert held["version"] == "2"
    assert held["onnx"]
    assert held["served"] == two.ws.view.version("alpha", "score", "2").served
    assert answers(two) == ("1", False)
    assert two.kinds(before) == ["decision", "outcome"]
    asked = Query(project="alpha", endpoint="score", version="1")
    assert Segments(two.ws).permit(two.tokens["web"], asked)


def test_a_trial_is_decided_as_a_deployment_is(two: Town) -> None:
    two.do("ann", Hold(project="alpha", model="score", version="2", held=True, reason="drift"))
    for trial in (True, False):
        assert "gate.hold" in two.refused("oli", deploy("2", trial=trial))


def test_the_version_that_answers_is_replaced_by_another(two: Town) -> None:
    two.do("oli", deploy("2", replaces="1"))
    assert answers(two) == ("2", False)
    segments = Segments(two.ws)
    token = two.tokens["web"]
    assert segments.permit(token, Query(project="alpha", endpoint="score", version="2"))
    with pytest.raises(NotFound) as caught:
        segments.permit(token, Query(project="alpha", endpoint="score", version="1"))
    assert caught.value.code == SUPERSEDED  # By which a server knows to wait for the other.


def test_two_servers_of_one_endpoint_may_both_go_over(two: Town) -> None:
    for _ in range(2):
        two.do("oli", deploy("2", replaces="1"))
    assert answers(two) == ("2", False)


@pytest.mark.parametrize("trial", [True, False])
def test_what_follows_an_alias_does_not_undo_a_kill(two: Town, trial: bool) -> None:
    two.do("oli", KILL)
    with pytest.raises(Usage, match="was stopped"):
        two.do("oli", deploy("2", replaces="1", trial=trial))
    assert answers(two) == ("1", True)
    two.do("oli", deploy("2"))  # Whoever asks for it by name does.
    assert answers(two) == ("2", False)


def test_a_kill_while_a_version_takes_over_wins(two: Town) -> None:
    with at_point("door.decided", lambda: two.do("oli", KILL)), pytest.raises(Conflict):
        two.do("eve", deploy("2", replaces="1"))
    assert answers(two) == ("1", True)


def test_a_third_version_is_left_as_it_is(two: Town) -> None:
    two.do("eve", model(two.repo))
    two.do("oli", deploy("3"))
    with pytest.raises(Usage, match="answers with version 3"):
        two.do("oli", deploy("2", replaces="1"))
    assert answers(two) == ("3", False)


def test_nothing_is_replaced_where_nothing_was_deployed(town: Town) -> None:
    with pytest.raises(Usage, match="was never deployed"):
        town.do("oli", deploy("1", replaces="2"))
