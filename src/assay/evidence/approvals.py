"""Which approvals of a model version count: decided from envelopes and the fold, nothing else."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from assay.evidence.facts import Evidence
from assay.evidence.state import State, VersionState, kind_of


def counting(
    evidence: Iterable[Evidence], state: State, version: VersionState, stage: str
) -> list[dict[str, Any]]:
    """The approvals of `version` for `stage` that count as of `state`, one for each person.

    An approval counts when its key was valid at its leaf, its signer is a person, enabled, holds
    the approver role of the project now, and is not the version's author.
    """
    found: dict[str, dict[str, Any]] = {}
    approvers = state.roles.get(f"{version.project}/approver", [])
    for item in evidence:
        predicate = item.statement.predicate
        if kind_of(item.statement) != "approval":
            continue
        about = (predicate.get("name"), predicate.get("version"), predicate.get("stage"))
        if about != (version.name, version.version, stage):
            continue
        if version.served not in item.statement.digests:
            continue
        for keyid in item.keyids:
            person = state.actor_of_key(keyid, item.index)
            if person is None or person == version.author or person not in approvers:
                continue
            if state.actors[person].disabled or state.actors[person].kind != "person":
                continue
            found[person] = {
                "actor": person,
                "level": state.actors[person].level,
                "issued": item.statement.header.issued,
                "held_by": predicate.get("held_by", {}),
                "comment": predicate.get("comment", ""),
                "index": item.index,
                "envelope": item.envelope_digest,
            }
    return list(found.values())
