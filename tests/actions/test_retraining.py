"""A retraining from labelled requests to production: by itself within a plan, else by people."""

from __future__ import annotations

import copy
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from workspace.town import Town, copy_of, dataset

from assay import ids
from assay.actions.baselines import SetBaseline
from assay.actions.challenges import Challenge, trained_until
from assay.actions.changes import ApproveChange
from assay.actions.feedback import AddFeedback
from assay.actions.reading import ExportEvidence
from assay.actions.release import Approve, Promote
from assay.actions.retraining import due, give_up
from assay.actions.retraining_steps import retrainings
from assay.clock import timestamp
from assay.errors import Denied, NotFound, Usage, Verification
from assay.evidence.state import kind_of
from assay.govern.replay import check_deed
from assay.govern.verify import Report, verify

from .relearning import answer, go, propose, stale

CANDIDATE: dict[str, Any] = {"project": "alpha", "model": "score", "version": "2"}
EXPORT = ExportEvidence(**CANDIDATE)

Copied = Callable[[Town], Town]


@pytest.fixture(scope="module")
def made(built: Town, tmp_path_factory: pytest.TempPathFactory) -> Town:
    """A town whose loop made a challenger under a plan, and waits for labels to compare it on."""
    with pytest.MonkeyPatch.context() as environment:
        town = copy_of(built, tmp_path_factory.mktemp("made") / "town", environment)
        stale(town)
        propose(town, "ann", "abe")
        assert go(town, "ci", by_itself=True).state == "waits for labels"
        town.close()
        return town


@pytest.fixture(scope="module")
def winning(made: Town, tmp_path_factory: pytest.TempPathFactory) -> Town:
    """The same, where the labels have come by now."""
    with pytest.MonkeyPatch.context() as environment:
        town = copy_of(made, tmp_path_factory.mktemp("winning") / "town", environment)
        town.clock.advance(timedelta(hours=1))
        answer(town, 600, 2)
        town.clock.advance(timedelta(hours=1))
        town.close()
        return town


@pytest.fixture
def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Copied:
    return lambda town: copy_of(town, tmp_path / "town", monkeypatch)


def checked(town: Town, version: str = "2") -> Report:
    data = town.do("eve", ExportEvidence(**{**CANDIDATE, "version": version}))
    return verify(data, now=town.clock.at, pinned=town.ws.layout.pinned)


def production(town: Town) -> str:
    return town.ws.view.follow().aliases["alpha/score@production"]


def test_what_is_within_an_approved_plan_is_promoted_by_the_loop_and_verifies_offline(
    winning: Town, copied: Copied
) -> None:
    town = copied(winning)
    done = go(town, "ci", by_itself=True)
    assert (done.state, done.version, done.outside, done.waits) == ("promoted", "2", [], [])
    assert production(town) == "2"
    assert town.ws.view.approvals(town.ws.view.version("alpha", "score", "2"), "production") == []
    (decided,) = checked(town).decisions
    assert (decided.action, decided.actor, decided.allowed) == ("promote", "id-ci", True)
    assert decided.beaten == "1"
    town.check()
    # The one before keeps its own proof.
    assert [d.beaten for d in checked(town, "1").decisions] == ["", ""]


def test_the_loop_does_nothing_twice(winning: Town, copied: Copied) -> None:
    town = copied(winning)
    go(town, "ci", by_itself=True)
    view = town.ws.view
    assert due(town.ws, "alpha", "score") is None
    assert len(view.versions("alpha", "score")) == 2
    assert len(town.statements("alias")) == 2
    (found,) = retrainings(view, "alpha", "score")
    assert found.ended is not None
    assert found.ended["end"] == "promoted"
    # A day later the plan lets the next one begin.
    town.clock.advance(timedelta(days=1))
    wanted = due(town.ws, "alpha", "score")
    assert wanted is not None
    assert wanted.by_itself


def test_it_waits_for_labels_without_asking_again_and_again(made: Town, copied: Copied) -> None:
    town = copied(made)
    assert len(town.statements("challenge")) == 0
    before = town.size
    for _ in range(3):
        town.clock.advance(timedelta(hours=1))
        assert go(town, "ci", by_itself=True).state == "waits for labels"
    assert town.size == before


def test_with_too_few_approvals_of_its_plan_it_waits_for_people_and_says_what_they_can_do(
    winning: Town, copied: Copied
) -> None:
    town = copied(winning)
    (plan,) = (s.predicate["digest"] for s in town.statements("change-plan"))
    town.do("abe", ApproveChange(project="alpha", plan=plan, approved=False))
    done = go(town, "eve")
    assert done.state == "waits for people"
    assert [gate["gate"] for gate in done.waits] == ["gate.approvals"]
    assert "assay approve score@2" in done.waits[0]["remedy"]
    assert production(town) == "1"
    for name in ("ann", "abe"):
        town.do(name, Approve(**CANDIDATE))
    assert go(town, "eve").state == "promoted"
    (decided,) = checked(town).decisions
    assert decided.allowed


def test_a_pipeline_promotes_nothing_that_its_plan_does_not_cover(
    winning: Town, copied: Copied
) -> None:
    town = copied(winning)
    (plan,) = (s.predicate["digest"] for s in town.statements("change-plan"))
    assert go(town, "eve", by_itself=False).state == "promoted"
    town.do("eve", Promote(**{**CANDIDATE, "version": "1"}, stage="production"))
    # It has not beaten itself, and version 1 is in production again: that is what it beat.
    town.do("ci", Promote(**CANDIDATE, stage="production"))
    town.do("ann", ApproveChange(project="alpha", plan=plan, approved=False))
    refused = town.refused("ci", Promote(**CANDIDATE, stage="production"))
    assert refused == ["gate.approvals"]
    # What was denied, and on what grounds, is proven as well.
    assert [d.allowed for d in checked(town).decisions] == [True, True, False]


def test_what_took_a_version_out_of_production_again_is_not_undone(
    winning: Town, copied: Copied
) -> None:
    town = copied(winning)
    go(town, "ci", by_itself=True)
    town.do("eve", Promote(**{**CANDIDATE, "version": "1"}, stage="production"))
    assert due(town.ws, "alpha", "score") is None
    assert production(town) == "1"


def test_a_version_that_beat_another_than_the_one_in_production_is_not_promoted(
    winning: Town, copied: Copied
) -> None:
    town = copied(winning)
    view = town.ws.view
    view.follow()
    # Somebody put another version into production meanwhile: here, of the same model's bytes.
    view.state.aliases["alpha/score@production"] = "7"
    from assay.actions.release import change_of

    found = view.version("alpha", "score", "2")
    town.do("eve", Challenge(**CANDIDATE, champion="1", retraining=_id(town)))
    view.state.aliases["alpha/score@production"] = "7"
    judged = change_of(view, found, view.version_facts(found).values)
    assert judged is not None
    assert "version 7 is in production" in "".join(judged.unbeaten)


def _id(town: Town) -> str:
    return retrainings(town.ws.view, "alpha", "score")[-1].id


def test_a_challenge_with_other_rules_than_the_plan_has_not_won(
    winning: Town, copied: Copied
) -> None:
    """Nobody makes the test easier by asking it themselves."""
    town = copied(winning)
    asked = Challenge(**CANDIDATE, rules={"horizon": "1m", "alpha": 0.1, "least_rows": 1})
    assert town.do("eve", asked)["won"]
    assert "change" in _context(town)
    assert not _context(town)["change"]["won"]


def _context(town: Town) -> dict[str, Any]:
    promote = Promote(**CANDIDATE, stage="production")
    return town.ws.preview(town.who("eve"), promote)[1].context


def test_a_challenge_that_is_lost_shows_it(winning: Town, copied: Copied) -> None:
    town = copied(winning)
    told = town.do("eve", Challenge(**CANDIDATE, rules={"horizon": "30m", "improvement": 0.5}))
    assert (told["won"], told["lost"]) == (False, True)
    assert told["mean"]["lower"] > 0


def test_without_rules_labels_are_waited_for_as_where_the_champion_is_watched(
    winning: Town, copied: Copied
) -> None:
    town = copied(winning)
    assert town.do("eve", Challenge(**CANDIDATE))["horizon"] == "30d"
    watched = SetBaseline(project="alpha", model="score", version="1", horizon="45m")
    town.do("eve", watched)
    told = town.do("eve", Challenge(**CANDIDATE))
    assert (told["champion"]["version"], told["horizon"]) == ("1", "45m")


def test_a_challenge_is_refused_for_what_cannot_be_compared(made: Town, copied: Copied) -> None:
    town = copied(made)
    for rules in ({"horizon": "0s"}, {"alpha": 2}, {"horizon": "long"}, {"what": 1}):
        with pytest.raises(Usage):
            town.do("eve", Challenge(**CANDIDATE, rules=rules))
    with pytest.raises(Usage, match="with itself"):
        town.do("eve", Challenge(**CANDIDATE, champion="2"))
    with pytest.raises(NotFound):
        town.do("eve", Challenge(**CANDIDATE, champion="9"))
    with pytest.raises(NotFound):
        town.do("eve", Challenge(**CANDIDATE, retraining="none"))


def test_a_retraining_that_is_given_up_makes_room_for_another(made: Town, copied: Copied) -> None:
    town = copied(made)
    give_up(town.ws, town.who("eve"), "alpha", "score", "the labels are wrong")
    with pytest.raises(NotFound):
        give_up(town.ws, town.who("eve"), "alpha", "score", "again")
    assert due(town.ws, "alpha", "score") is None  # Not for a day.


def test_a_pipeline_whose_code_changed_meanwhile_is_not_gone_on_with(
    made: Town, copied: Copied
) -> None:
    """The rows were collected for that code, and no other."""
    town = copied(made)
    give_up(town.ws, town.who("eve"), "alpha", "score", "begin anew")
    town.clock.advance(timedelta(days=1))
    source = town.repo / "retrain.py"
    source.write_text(source.read_text().replace("strength: float = 1.0", "strength: float = 20.0"))
    with pytest.raises(Denied) as caught:
        go(town, "ci", by_itself=True)
    assert [r["gate"] for r in caught.value.details["reasons"]] == ["retrain.plan"]


# -- forged ---------------------------------------------------------------------------------------


def forged(town: Town, change: Callable[[dict[str, Any]], None]) -> bytes:
    """The bundle after whoever holds the workspace key wrote down a promotion by the pipeline."""
    genuine = [
        d.predicate
        for d in town.statements("decision")
        if d.predicate["action"] == "promote" and d.predicate["actor"] == "id-ci"
    ][-1]
    predicate = copy.deepcopy(genuine)
    predicate["request"]["id"] = ids.new_id()
    predicate["as_of"] = town.size
    change(predicate["cedar"]["context"])
    about = town.ws.view.version("alpha", "score", "2").served
    assert about
    made = town.statement("decision", predicate, "alpha", about=about)
    header = msgspec.structs.replace(made.header, id=predicate["request"]["id"])
    town.slip_in(msgspec.structs.replace(made, header=header), town.workspace_key)
    town.ws.view.follow().rejected.clear()
    return town.do("eve", EXPORT)


FORGED: dict[str, Callable[[dict[str, Any]], None]] = {
    "more approvals": lambda context: context["change"].update(approvals=3),
    "fewer approvals": lambda context: context["change"].update(approvals=1),
    "outside": lambda context: context["change"].update(within=False),
    "no plan at all": lambda context: context.pop("change"),
    "nothing": lambda _: None,
}


@pytest.mark.parametrize("what", FORGED)
def test_a_forged_decision_under_a_plan_does_not_verify(
    winning: Town, copied: Copied, what: str
) -> None:
    town = copied(winning)
    go(town, "ci", by_itself=True)
    data = forged(town, FORGED[what])
    if what == "nothing":  # What is true may be said again.
        verify(data, now=town.clock.at, pinned=town.ws.layout.pinned)
        return
    with pytest.raises(Verification):
        verify(data, now=town.clock.at, pinned=town.ws.layout.pinned)


def test_a_version_that_replaced_another_than_it_beat_does_not_verify(
    winning: Town, copied: Copied
) -> None:
    town = copied(winning)
    go(town, "ci", by_itself=True)
    report = checked(town)
    (decided,) = report.decisions
    decision = next(leaf for leaf in report.leaves if leaf.index == decided.index)
    deed = next(
        leaf
        for leaf in report.leaves
        if kind_of(leaf.statement) == "alias" and leaf.statement.predicate["version"] == "2"
    )
    decisions = {decision.statement.header.id: (decision, decided)}
    check_deed(deed, decisions)
    deed.statement.predicate["before"] = "7"
    with pytest.raises(Verification, match="had beaten 1"):
        check_deed(deed, decisions)


def test_a_promotion_after_an_approval_was_taken_back_does_not_verify(
    winning: Town, copied: Copied
) -> None:
    town = copied(winning)
    go(town, "ci", by_itself=True)
    (plan,) = (s.predicate["digest"] for s in town.statements("change-plan"))
    town.do("ann", ApproveChange(project="alpha", plan=plan, approved=False))
    data = forged(town, lambda _: None)
    with pytest.raises(Verification, match="plan of changes"):
        verify(data, now=town.clock.at, pinned=town.ws.layout.pinned)


# -- chosen by who asks ----------------------------------------------------------------------------


def test_no_challenge_counts_that_puts_all_slices_together(winning: Town, copied: Copied) -> None:
    """Every figure as the plan wants it, and no slice in which harm could show."""
    town = copied(winning)
    rules = {"horizon": "30m", "alpha": 0.05, "least_rows": 200, "slice_rows": 10**9}
    assert town.do("eve", Challenge(**CANDIDATE, rules={**rules, "slices": ["a"]}))["won"]
    assert not _context(town)["change"]["won"]


def test_who_registers_the_test_rows_anew_does_not_choose_since_when_rows_count(
    winning: Town, copied: Copied
) -> None:
    town = copied(winning)
    found = town.ws.view.version("alpha", "score", "2")
    before = trained_until(town.ws.view, found)
    name = str(found.details["test"])
    assert town.ws.view.dataset("alpha", name).content == found.details["tested_on"]
    lines = (town.repo / "test.csv").read_text().splitlines()
    (town.repo / "other.csv").write_text("\n".join(lines[:-1]) + "\n")
    town.do("sam", dataset(town.repo, name, file="other.csv"))
    assert town.ws.view.dataset("alpha", name).content != found.details["tested_on"]
    assert trained_until(town.ws.view, found) == before


def test_the_first_source_decides_no_challenge_where_others_usually_label(
    made: Town, copied: Copied
) -> None:
    town = copied(made)
    town.clock.advance(timedelta(hours=1))
    request = answer(town, 300, 2, labels=False)
    false = [{"id": f"{request.id}/{at}", "label": at % 2} for at in range(300)]
    town.do("web", AddFeedback.of("alpha", "score", false))
    town.clock.advance(timedelta(hours=1))
    rules = {"horizon": "30m"}
    assert town.do("eve", Challenge(**CANDIDATE, rules=rules))["rows"] == 300
    told = {
        "number": 0,
        "from": timestamp(town.clock.at - timedelta(days=2)),
        "to": timestamp(town.clock.at - timedelta(days=1)),
        "sources": {"id-sam": {"used": 100}},
    }
    about = "monitor-windows:alpha/score"
    window = town.statement("performance", told, "alpha", about=about, producer="assay.monitor/1")
    town.slip_in(window, town.workspace_key)
    town.ws.view.follow()
    assert town.do("eve", Challenge(**CANDIDATE, rules=rules))["rows"] == 0
