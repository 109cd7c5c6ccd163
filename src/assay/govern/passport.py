"""The passport: one page about one model version, for a person who must decide or explain.

It begins in plain words and sorts every claim into four kinds: *proven* (a signed statement on the
ledger), *declared* (somebody said so, and who), *missing* (who must supply it) and *not provable*
(nothing anybody signs could show it).  It never shows a score.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from assay.govern import drift
from assay.govern.drift import Watched

GLOSSARY: dict[str, str] = {
    "AUC": "The chance that the model ranks a random positive case above a random negative one: "
    "0.5 is guessing, 1.0 is perfect.",
    "confidence interval": "The range that would contain the true figure in 95 of 100 repetitions "
    "of the measurement.",
    "membership inference": "An attack that tries to tell whether somebody's record was in the "
    "training data. 0.5 means that it does no better than guessing.",
    "ledger": "An append-only log in which every entry is chained to all earlier ones, so that "
    "nothing can be changed or removed unnoticed.",
    "checkpoint": "The signed state of the ledger at one moment.",
    "digest": "A fingerprint (SHA-256) of bytes: any change gives another one.",
    "parity": "Whether the converted model decides as the original does.",
    "evidence of change": "How rarely chance alone shows as much while nothing changes. An alarm "
    "rings at the alarm line, which follows from how many false alarms a year are tolerated.",
    "gate": "One rule of the policy that must hold before an action is allowed.",
    "self-approved": "Both approvals could have been given by one person, because one user of one "
    "machine could read both keys.",
}

NOT_PROVABLE = (
    "That the training data is free of unfair bias: only the measured slices are shown.",
    "That the declared origin, licence and legal basis of the data are true.",
    "That nobody with access to the plain data used it for another purpose outside assay.",
    "That the model behaves well on data unlike the data it was tested on.",
)


class Claim(msgspec.Struct, frozen=True):
    """One line of the page."""

    title: str
    text: str
    source: str = ""
    """The ledger leaf and digest behind a proven claim; who declared a declared one."""


class Gate(msgspec.Struct, frozen=True):
    """A gate and its state for one stage."""

    gate: str
    passed: bool
    advice: str
    control: str
    remedy: str


class Passport(msgspec.Struct, frozen=True):
    """Everything the page shows."""

    name: str
    version: str
    project: str
    stage: str
    revoked: bool
    held: bool
    summary: tuple[str, ...]
    proven: tuple[Claim, ...]
    declared: tuple[Claim, ...]
    missing: tuple[Claim, ...]
    approvals: tuple[Claim, ...]
    approval_level: str
    gates: tuple[Gate, ...]
    artifact: str
    served: str
    checkpoint_size: int
    checkpoint_time: str
    workspace: str
    not_provable: tuple[str, ...] = NOT_PROVABLE
    watched: Watched | None = None


def approval_level(approvals: Sequence[Mapping[str, Any]]) -> str:
    """How independent the approvals are, as far as the evidence can tell.

    Two keys that one operating-system user of one machine can read are not two people.
    """
    if not approvals:
        return "not approved"
    holders = {(a["held_by"].get("uid"), a["held_by"].get("host")) for a in approvals}
    if len(approvals) == 1:
        return "approved by one person"
    if len(holders) < len(approvals):
        return "self-approved (development): one user of one machine can read several of the keys"
    return f"approved by {len(approvals)} people"


def render(passport: Passport) -> str:
    """The page as one self-contained HTML document: no script, no request to anywhere."""
    environment = Environment(
        loader=PackageLoader("assay.govern", "templates"),
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
    )
    plot = drift.draw(passport.watched) if passport.watched else ""
    template = environment.get_template("passport.html")
    return template.render(p=passport, plot=plot, glossary=GLOSSARY)
