"""Examining a dataset through the door, and what it opens."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from workspace.town import Town, dataset

from assay.actions.datasets import HoldDataset, TrainOn, as_declared
from assay.actions.extraction import ExamineDataset
from assay.data import personal
from assay.errors import Unavailable, Usage

NAMES = (
    *("Ada", "Grace", "Mary", "John", "Susan", "Peter"),
    *("Laura", "Robert", "Emily", "David", "Karen", "James"),
)
SURNAMES = (
    *("Lovelace", "Hopper", "Shelley", "Miller"),
    *("Johnson", "Thompson", "Anderson", "Robinson"),
)
TRAIN = TrainOn(project="alpha", dataset="people", purpose="scoring")


def people(town: Town, **changed: Any) -> None:
    """Register a table with names and addresses of people who do not exist."""
    lines = ["row,customer,contact,amount,y"]
    for place in range(96):
        name = f"{NAMES[place % 12]} {SURNAMES[place % 8]}"
        mail = f"{name.replace(' ', '.').lower()}{place}@example.org"
        lines.append(f"{place},{name},{mail},{place * 37 % 61},{int(place * 37 % 61 > 30)}")
    (town.repo / "people.csv").write_text("\n".join(lines) + "\n")
    town.do("sam", msgspec.structs.replace(dataset(town.repo, "people"), **changed))


def examination(**changed: Any) -> ExamineDataset:
    return ExamineDataset(**{"project": "alpha", "dataset": "people", **changed})


def test_undeclared_personal_data_denies_training_until_it_is_declared_and_checked(
    town: Town,
) -> None:
    people(town)
    assert town.refused("eve", TRAIN) == ["train.personal"]
    found = town.do("eve", examination())
    assert found["undeclared_personal"] == 2
    assert found["personal"]["undeclared"] == ["contact", "customer"]
    assert town.refused("eve", TRAIN) == ["train.personal"]

    people(town, personal_columns=("customer",), subject_column="contact")
    assert town.refused("eve", TRAIN) == ["train.personal"], "of that, nothing was known yet"
    assert town.do("eve", examination())["undeclared_personal"] == 0
    town.do("eve", TRAIN)

    people(town, personal_columns=("customer",))
    assert town.refused("eve", TRAIN) == ["train.personal"]


def test_data_registered_as_about_nobody_declares_nothing(town: Town) -> None:
    people(town, personal=False, legal_basis="not-personal", subject_column="contact")
    assert town.do("eve", examination())["personal"]["undeclared"] == ["contact", "customer"]
    assert town.refused("eve", TRAIN) == ["train.personal"]


def test_what_is_written_down_names_kinds_and_counts_and_no_value(town: Town) -> None:
    people(town)
    found = town.do("eve", examination(label="y"))
    (statement,) = town.statements("data-check")
    assert statement.header.producer == "assay.data.check/1"
    assert {k: v for k, v in statement.predicate.items() if k != "decision"} == found
    kinds = {c["column"]: [k["kind"] for k in c["kinds"]] for c in found["personal"]["found"]}
    assert kinds == {"customer": ["PERSON"], "contact": ["EMAIL_ADDRESS"]}
    assert found["labels"]["rows"] == 96
    assert found["duplicates"]["ignored"] == ["row", "contact"]
    told = json.dumps(found)
    assert not any(name in told for name in (*NAMES, *SURNAMES, "example.org"))


def test_rows_that_are_rows_of_another_dataset_are_counted(town: Town) -> None:
    found = town.do("eve", examination(dataset="train"))
    assert found["undeclared_personal"] == 0
    assert found["overlap"] == []
    rows = (town.repo / "train.csv").read_text().splitlines(keepends=True)
    (town.repo / "part.csv").write_text("".join(rows[:1] + rows[100:150]))
    town.do("sam", dataset(town.repo, "part"))
    (other,) = town.do("eve", examination(dataset="part"))["overlap"]
    assert (other["dataset"], other["rows"]) == ("train", 50)


def test_the_same_rows_are_found_to_be_the_same(town: Town) -> None:
    people(town)
    assert town.do("eve", examination(label="y")) == town.do("eve", examination(label="y"))


def test_who_may_not_read_may_not_examine(town: Town) -> None:
    people(town)
    assert town.refused("una", examination()) == ["role"]
    assert town.refused("eve", examination(purpose="advertising")) == ["data.purpose"]
    town.do("ann", HoldDataset(project="alpha", dataset="people", reason="erasure"))
    assert town.refused("eve", examination()) == ["data.hold"]


def test_without_the_extra_nothing_is_written_down_and_training_stays_closed(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    people(town)
    monkeypatch.setattr(personal, "MODEL", "no_such_model")
    with pytest.raises(Unavailable, match="presidio") as caught:
        town.do("eve", examination())
    assert "assay[checks]" in caught.value.remedy
    assert town.statements("data-check") == []
    assert town.refused("eve", TRAIN) == ["train.personal"]


def test_a_label_that_is_none_is_refused_and_nothing_is_written_down(town: Town) -> None:
    people(town)
    for label in ("nowhere", "customer_x", "contact"):
        with pytest.raises(Usage):
            town.do("eve", examination(label=label))
    assert town.statements("data-check") == []


def test_the_policy_knows_the_facts_of_a_check(town: Town) -> None:
    people(town)
    town.do("eve", examination(label="y"))
    facts = town.ws.view.facts("alpha", as_declared(town.ws.view.dataset("alpha", "people")))
    assert facts.values["data"].keys() == {
        *("undeclared_personal", "duplicate_share", "label_outlier_share", "checked")
    }
    # A check that was not told the label says nothing about it.
    town.do("eve", examination())
    facts = town.ws.view.facts("alpha", as_declared(town.ws.view.dataset("alpha", "people")))
    assert "label_outlier_share" not in facts.values["data"]
    assert facts.values["data"]["undeclared_personal"] == 2
