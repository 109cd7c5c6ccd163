"""A hold is about rows, not about the name under which they were registered."""

from __future__ import annotations

import pytest
from workspace.town import Town, at_point, dataset

from assay.actions.datasets import HoldDataset, ReadDataset
from assay.errors import Conflict


def hold(name: str, held: bool = True) -> HoldDataset:
    return HoldDataset(project="alpha", dataset=name, held=held, reason="erasure")


def read(name: str, project: str = "alpha") -> ReadDataset:
    return ReadDataset(project=project, dataset=name, purpose="scoring")


@pytest.mark.parametrize("order", ["held, then copied", "copied, then held"])
def test_held_rows_are_not_read_under_another_name(town: Town, order: str) -> None:
    if order == "held, then copied":
        town.do("ann", hold("train"))
    town.do("sam", dataset(town.repo, "copy", file="train.csv"))
    if order == "copied, then held":
        town.do("ann", hold("train"))
    assert town.refused("sam", read("copy")) == ["data.hold"]
    town.do("ann", hold("train", held=False))
    town.do("sam", read("copy")).close()


def test_a_hold_stays_in_its_project_and_with_its_rows(town: Town) -> None:
    town.do("ann", hold("train"))
    town.do("sam", read("test")).close()
    town.do("bea", read("train", "beta")).close()


def test_a_hold_under_another_name_meanwhile_ends_the_reading(town: Town) -> None:
    town.do("sam", dataset(town.repo, "copy", file="train.csv"))
    with (
        at_point("door.decided", lambda: town.do("ann", hold("train"))),
        pytest.raises(Conflict),
    ):
        town.do("sam", read("copy"))
