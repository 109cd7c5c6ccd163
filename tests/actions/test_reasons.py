"""A reason that nobody can see is none, whatever it is given for."""

from __future__ import annotations

from typing import Any

import pytest
from workspace.town import WORKSPACE, Town

from assay.actions.administration import DestroyRing, RotateKey
from assay.actions.datasets import HoldDataset
from assay.actions.people import RevokeKey
from assay.actions.release import Hold, Revoke
from assay.actions.serving import Kill
from assay.workspace.action import Action

BLANK = (" ", "\t\n", "\u200b", "\x00 \u2060")
SCORE: dict[str, Any] = {"project": "alpha", "model": "score", "version": "1"}


def asked(town: Town, reason: str) -> list[tuple[str, Action]]:
    """Each action that needs a reason, and who may ask for it."""
    return [
        ("ann", Revoke(**SCORE, reason=reason)),
        ("ann", Hold(**SCORE, reason=reason)),
        ("ann", HoldDataset(project="alpha", dataset="train", reason=reason)),
        ("oli", Kill(project="alpha", endpoint="score", reason=reason)),
        ("ada", RotateKey(project=WORKSPACE, reason=reason)),
        ("ada", RevokeKey(project=WORKSPACE, keyid=town.people["una"].public.keyid, reason=reason)),
        ("ada", DestroyRing(project=WORKSPACE, ring="alpha/data", reason=reason, ticket="T1")),
    ]


@pytest.mark.parametrize("place", range(len(BLANK)), ids=["space", "tab", "zero width", "NUL"])
def test_a_reason_that_nobody_can_see_is_none(town: Town, place: int) -> None:
    town.deploy()
    for who, action in asked(town, BLANK[place]):
        assert town.refused(who, action) == ["gate.reason"], type(action).__name__


def test_a_ticket_that_nobody_can_see_is_none(town: Town) -> None:
    ask = DestroyRing(project=WORKSPACE, ring="alpha/data", reason="end", ticket="\u200b")
    assert town.refused("ada", ask) == ["gate.ticket"]
