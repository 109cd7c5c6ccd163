"""Who approves a plan, how often it may be used, where things come from: the rules one by one."""

from __future__ import annotations

import copy
from typing import Any

import msgspec

from assay.actions import run_host
from assay.evidence import bounds, plans
from assay.evidence.plan_records import pipeline_subject, run_subject

from .planned import (
    LOG,
    PROJECT,
    RUN,
    SERVED,
    TEST,
    Said,
    World,
    complaints,
    day,
    digest,
    plan,
    provenance,
    world,
)

# -- approvals -------------------------------------------------------------------------------------


def approvals(made: World) -> int:
    found = made.judged()
    assert found is not None
    return len(found.approvals)


def test_an_approval_by_who_proposed_the_plan_does_not_count() -> None:
    made = world()
    made.said["plan"].predicate["proposer"] = "id-ann"
    assert approvals(made) == 1


def test_an_approval_by_the_author_of_the_version_does_not_count() -> None:
    made = world()
    made.version.author = "id-abe"
    assert approvals(made) == 1


def test_an_approval_counts_while_its_signer_is_an_approver() -> None:
    made = world()
    made.state.roles[f"{PROJECT}/approver"].remove("id-abe")
    assert approvals(made) == 1


def test_an_approval_by_somebody_disabled_does_not_count() -> None:
    made = world()
    made.state.actors["id-abe"].disabled = True
    assert approvals(made) == 1


def test_an_approval_by_a_service_does_not_count() -> None:
    made = world()
    made.state.actors["id-abe"].kind = "service"
    assert approvals(made) == 1


def test_an_approval_by_a_revoked_key_does_not_count() -> None:
    made = world()
    (key,) = made.state.actors["id-abe"].keys.values()
    key.revoked = 0
    assert approvals(made) == 1


def test_one_person_who_approves_twice_counts_once() -> None:
    made = world()
    made.said["again"] = copy.deepcopy(made.said["ann"])
    made.said["again"].at = day(2)
    assert approvals(made) == 2


def test_who_takes_an_approval_back_no_longer_counts_and_may_give_it_again() -> None:
    made = world()
    back = copy.deepcopy(made.said["ann"])
    back.predicate["approved"] = False
    made.said["back"] = back
    assert approvals(made) == 1
    made.said["again"] = copy.deepcopy(made.said["ann"])
    assert approvals(made) == 2


def test_only_true_approves() -> None:
    made = world()
    made.said["ann"].predicate["approved"] = "yes"
    assert approvals(made) == 1


def test_an_approval_of_another_plan_does_not_count() -> None:
    made = world()
    made.said["ann"].predicate["plan"] = digest("another plan")
    assert approvals(made) == 1


def test_a_plan_that_was_changed_after_it_was_approved_is_no_plan() -> None:
    made = world()
    made.said["plan"].predicate["plan"] = plan(most=100)
    assert "no plan" in complaints(made)


# -- how often -------------------------------------------------------------------------------------


def earlier(made: World, number: int, at_day: float) -> None:
    """Another retraining under the same plan, begun before."""
    said = copy.deepcopy(made.said["begun"])
    said.predicate["id"] = f"earlier-{number}"
    said.at = day(at_day)
    items = list(made.said.items())
    place = [name for name, _ in items].index("begun")
    made.said = dict([*items[:place], (f"earlier-{number}", said), *items[place:]])


def test_one_that_began_long_enough_before_does_not_matter() -> None:
    made = world()
    earlier(made, 1, 33)
    assert made.open()


def test_two_that_began_soon_after_each_other_are_one_too_many() -> None:
    made = world()
    earlier(made, 1, 33.001)
    assert "7d between two" in complaints(made)


def test_no_more_retrainings_than_the_plan_allows() -> None:
    made = world()
    for number, when in enumerate((10, 18, 26)):
        earlier(made, number, when)
    assert "allows 3" in complaints(made)
    made = world()
    for number, when in enumerate((10, 18)):
        earlier(made, number, when)
    assert made.open()


def test_one_that_begins_later_does_not_matter() -> None:
    made = world()
    said = copy.deepcopy(made.said["begun"])
    said.predicate["id"] = "later"
    made.said["later"] = said
    assert made.open()


def test_of_one_retraining_there_is_one_candidate() -> None:
    made = world()
    said = copy.deepcopy(made.said["candidate"])
    said.predicate["version"] = "3"
    said.subject = {**said.subject, "score@3.onnx": digest("another")}
    made.said["second"] = said
    assert "luck" in complaints(made)


def another_run(made: World, **changed: Any) -> None:
    said = copy.deepcopy(made.said["run"])
    said.subject = {"pipeline": pipeline_subject(PROJECT, "retrain:train")}
    said.predicate |= {"run": "run-2", **changed}
    made.said["second run"] = said


def test_a_pipeline_that_was_run_twice_on_the_same_rows_was_a_choice() -> None:
    made = world()
    another_run(made, root="run-2")
    assert "2 times" in complaints(made)


def test_a_run_that_goes_on_with_a_killed_one_is_the_same_run() -> None:
    made = world()
    another_run(made, root=RUN)
    assert made.open()


def test_runs_on_other_rows_do_not_matter() -> None:
    made = world()
    another_run(made, root="run-2", parameters={"dataset": "score-log-before"})
    assert made.open()


# -- where it comes from ---------------------------------------------------------------------------


def test_a_step_that_was_also_run_by_other_code_is_believed_where_this_code_gave_the_same() -> None:
    made = world()
    other = provenance("split", [LOG], {"split/train": digest("train")}, None)
    other.predicate["buildDefinition"]["resolvedDependencies"][0]["digest"]["sha256"] = "0" * 64
    made.said["other split"] = other
    assert made.open()


def test_a_step_is_not_found_by_the_key_of_its_cache() -> None:
    """A step chooses the bytes of a model, and so what they hash to."""
    made = world()
    for key in ("key", "resume", "run"):
        made.said["split"].subject = {key: digest("train"), "split/test": TEST}
        assert not made.open()


def test_a_step_that_is_made_of_itself_ends() -> None:
    made = world()
    made.said["split"] = provenance(
        "split", [digest("train")], {"split/train": digest("train")}, None
    )
    assert not made.open()


def test_a_dataset_of_the_plan_under_another_content_is_unknown() -> None:
    made = world()
    made.said["old"].predicate["content"] = digest("newer")
    assert not made.open()


def test_one_assessment_on_allowed_rows_is_enough_beside_another() -> None:
    made = world()
    other = copy.deepcopy(made.said["quality"])
    other.predicate["datasets"]["data"]["content"] = digest("elsewhere")
    made.said = {"first": other, **made.said}
    assert made.open()
    made.said["also"] = copy.deepcopy(other)
    del made.said["quality"]
    assert not made.open()


# -- the challenge ---------------------------------------------------------------------------------


def again(made: World, **changed: Any) -> Said:
    said = copy.deepcopy(made.said["challenge"])
    said.predicate |= changed
    made.said["again"] = said
    return said


def test_the_last_challenge_counts() -> None:
    made = world()
    again(made, won=False)
    assert not made.open()


def test_a_challenge_on_other_rows_than_the_first_has_not_won() -> None:
    made = world()
    again(made, **{"from": day(42)})
    assert "chosen anew" in complaints(made)


def test_a_challenge_by_another_loss_before_is_a_choice() -> None:
    made = world()
    said = copy.deepcopy(made.said["challenge"])
    said.predicate["loss"] = "zero_one"
    made.said = {"before": said, **made.said}
    assert "chosen anew" in complaints(made)


def test_beating_a_version_that_no_longer_is_in_production_is_not_enough() -> None:
    found = world().judged()
    assert found is not None
    assert found.against("1", "2").won
    assert found.against("2", "2").won
    assert not found.against("3", "2").won
    assert not found.against("", "2").won


def test_what_was_promoted_in_time_stays_within_when_the_plan_has_run_out() -> None:
    """An endpoint that is started again must not be denied what was allowed."""
    made = world()
    made.said["alias"] = Said(
        "alias",
        "assay.door/1",
        {"score@2": SERVED},
        {"name": "score", "version": "2", "alias": "production"},
        day(60),
    )
    made.now = day(200)
    assert made.open()
    made.said["alias"].at = day(101)
    assert not made.open()
    made.said["alias"].at = day(60)
    made.said["alias"].predicate["version"] = "1"
    assert not made.open()
    made.said["alias"].predicate |= {"version": "2", "alias": "staging"}
    assert not made.open()


# -- offline ---------------------------------------------------------------------------------------


def test_a_decision_may_not_show_more_than_follows() -> None:
    found = world().judged()
    assert found is not None
    told = found.context()
    assert bounds.follows(told, found)
    assert bounds.follows({**told, "won": False}, found)
    assert bounds.follows(None, None)
    assert not bounds.follows({**told, "approvals": 3}, found)
    assert not bounds.follows({**told, "approvals": 1}, found)
    assert not bounds.follows({**told, "within": False}, found)
    assert not bounds.follows(None, found)
    assert not bounds.follows(told, None)
    made = world()
    del made.said["challenge"]
    lost = made.judged()
    assert lost is not None
    assert not bounds.follows({**lost.context(), "won": True}, lost)


def test_the_words_name_what_is_outside() -> None:
    made = world()
    made.version.details["threshold"] = 0.9
    made.said["run"].predicate["parameters"]["leaves"] = 100
    text = complaints(made)
    assert "threshold 0.9" in text
    assert "leaves was 100" in text
    assert "at least 0.4 and at most 0.6" in text


def test_the_run_of_a_name_is_looked_for_under_the_digest_that_the_runner_files_it_under() -> None:
    assert run_subject(RUN) == run_host.run_digest(RUN)
    assert pipeline_subject("alpha", "m:f") == run_host.pipeline_digest("alpha", "m:f")


def test_a_plan_with_every_bound_reads_back_the_same() -> None:
    made = plans.read(plan())
    assert plans.read(msgspec.to_builtins(made)) == made


def test_a_challenge_that_somebody_asked_by_rules_of_their_own_replaces_none() -> None:
    """With every slice put together, harm to one of them would not show."""
    made = world()
    pooled = [{"column": "sex", "value": "(others)", "rows": 600, "harm": {"upper": 0.01}}]
    again(made, retraining="", slices=pooled)
    assert made.open()
    made.said["challenge"].predicate["slices"][0]["harm"]["upper"] = 0.2
    assert not made.open()
    del made.said["challenge"]
    assert not made.open()
