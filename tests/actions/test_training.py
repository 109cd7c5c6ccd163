"""Whether a model may be trained on a dataset is asked over what is known of its rows."""

from __future__ import annotations

import msgspec
import pytest
from workspace.town import WORKSPACE, Town, at_point, dataset, model

from assay.actions.assessment import AssessModel
from assay.actions.datasets import HoldDataset, ReadDataset, TrainOn, as_declared
from assay.actions.people import ManageRole
from assay.errors import Conflict, Denied, NotFound
from assay.workspace.action import Action
from assay.workspace.opening import open_workspace

TRAIN = TrainOn(project="alpha", dataset="train", purpose="scoring")


def test_nobody_trains_on_rows_that_were_not_checked(town: Town) -> None:
    for name in ("sam", "eve", "ci"):
        assert town.refused(name, TRAIN) == ["train.personal"]
    read = ReadDataset(project="alpha", dataset="train", purpose="scoring")
    town.do("ci", read).close()


def test_what_was_checked_is_trained_on_and_the_decision_names_the_check(town: Town) -> None:
    index = town.check_data()
    since = town.size
    content = town.ws.view.dataset("alpha", "train").content
    for name in ("sam", "eve", "ci"):
        assert town.do(name, TRAIN) == {"dataset": "train", "content": content}
    decision = town.statements("decision", since)[0].predicate
    assert decision["action"] == "train"
    (found,) = [e for e in town.ws.view.evidence("alpha", content) if e.index == index]
    assert found.envelope_digest in decision["evidence"]
    assert decision["cedar"]["context"]["facts"]["data"]["undeclared_personal"] == 0


@pytest.mark.parametrize("first", [0, 3])
def test_of_several_checks_the_worst_counts(town: Town, first: int) -> None:
    for undeclared in (first, 3 - first):
        town.check_data(undeclared=undeclared)
    assert town.refused("eve", TRAIN) == ["train.personal"]


def test_a_check_counts_for_the_rows_that_it_saw(town: Town) -> None:
    town.check_data("test")
    assert town.refused("eve", TRAIN) == ["train.personal"]
    town.check_data()
    town.do("eve", TRAIN)
    # The same name, with other rows.
    town.do("sam", dataset(town.repo, "train", file="test.csv"))
    town.do("eve", TRAIN)
    rows = (town.repo / "test.csv").read_text().splitlines(keepends=True)
    (town.repo / "fewer.csv").write_text("".join(rows[:300]))
    town.do("sam", dataset(town.repo, "train", file="fewer.csv"))
    assert town.refused("eve", TRAIN) == ["train.personal"]


def test_a_check_counts_for_what_was_declared_when_it_was_made(town: Town) -> None:
    declared = msgspec.structs.replace(dataset(town.repo, "train"), personal_columns=("a",))
    town.do("sam", declared)
    town.check_data()
    town.do("eve", TRAIN)
    # The same rows, of which less is declared: under their own name, and under another one.
    town.do("sam", dataset(town.repo, "train"))
    assert town.refused("eve", TRAIN) == ["train.personal"]
    town.do("sam", dataset(town.repo, "again", file="train.csv"))
    again = msgspec.structs.replace(TRAIN, dataset="again")
    assert town.refused("eve", again) == ["train.personal"]
    town.do("sam", declared)
    town.do("eve", TRAIN)


def test_a_check_by_somebody_who_is_not_trusted_for_it_counts_nothing(town: Town) -> None:
    content = as_declared(town.ws.view.dataset("alpha", "train"))
    told = {"undeclared_personal": 0}
    for producer in ("assay.door/1", "person", "assay.data.check/2"):
        made = town.statement("data-check", told, "alpha", about=content, producer=producer)
        town.slip_in(made, town.workspace_key)
    trusted = town.statement(
        "data-check", told, "alpha", about=content, producer="assay.data.check/1"
    )
    town.slip_in(trusted, town.people["eve"])
    assert town.refused("eve", TRAIN) == ["train.personal"]


def test_training_is_held_to_purpose_and_hold_like_reading(town: Town) -> None:
    town.check_data()
    other = msgspec.structs.replace(TRAIN, purpose="advertising")
    assert town.refused("eve", other) == ["data.purpose"]
    town.do("ann", HoldDataset(project="alpha", dataset="train", reason="erasure"))
    assert town.refused("eve", TRAIN) == ["data.hold"]
    assert town.refused("una", TRAIN) == ["role", "data.hold"]
    with pytest.raises(NotFound):
        town.do("eve", msgspec.structs.replace(TRAIN, dataset="nothing"))


def test_special_data_is_trained_on_under_a_ticket_only(town: Town) -> None:
    from assay.workspace.credentials import Person

    special = msgspec.structs.replace(dataset(town.repo, "health", file="test.csv"), special=True)
    town.do("sam", special)
    town.check_data("health")
    protected = Person(town.people["eve"], protected=True)
    plain = msgspec.structs.replace(TRAIN, dataset="health")
    ticket = msgspec.structs.replace(plain, ticket="T-1")
    assert town.refused("eve", ticket) == ["data.special"]
    decision, _ = town.ws.preview(protected, plain)
    assert [reason.gate for reason in decision.reasons] == ["data.special"]
    town.ws.perform(protected, ticket)


def test_a_hold_that_slips_in_before_the_record_wins(town: Town) -> None:
    town.check_data()
    hold = HoldDataset(project="alpha", dataset="train", reason="erasure")

    def held() -> None:
        open_workspace(town.repo, clock=town.clock).perform(town.who("ann"), hold)

    with at_point("door.decided", held), pytest.raises(Conflict):
        town.do("eve", TRAIN)


def test_a_check_that_finds_something_meanwhile_wins(town: Town) -> None:
    town.check_data()
    with (
        at_point("door.decided", lambda: town.check_data(undeclared=1)),
        pytest.raises(Conflict),
    ):
        town.do("eve", TRAIN)


def test_whoever_lost_the_role_trains_no_more(town: Town) -> None:
    town.check_data()
    role = ManageRole(project=WORKSPACE, actor=town.ids["ci"], role="alpha/pipeline", granted=False)
    town.do("ada", role)
    assert town.refused("ci", TRAIN) == ["role"]


def test_a_model_of_special_data_is_registered_and_assessed_under_a_ticket_only(
    town: Town,
) -> None:
    from assay.workspace.credentials import Person

    for name in ("train", "test"):
        held = msgspec.structs.replace(dataset(town.repo, name), special=True)
        town.do("sam", held)
    protected = Person(town.people["eve"], protected=True)

    def refused(action: Action) -> list[str]:
        with pytest.raises(Denied) as caught:
            town.ws.perform(protected, action)
        return [reason["gate"] for reason in caught.value.details["reasons"]]

    plain = model(town.repo, "health")
    assert refused(plain) == ["data.special"]
    made = town.ws.perform(protected, msgspec.structs.replace(plain, ticket="T-1"))
    judged = AssessModel(project="alpha", model="health", version=made["version"], data="test")
    assert refused(judged) == ["data.special"]
    town.ws.perform(protected, msgspec.structs.replace(judged, ticket="T-1"))
