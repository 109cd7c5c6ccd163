"""How it is known how a model was made: the word of a pipeline's runner about these very bytes.

*Declared*: whoever registered it says so.  *Observed*: a runner of this workspace ran the step that
made it, and the workspace signed what it saw (SLSA provenance).  *Verified* would be the word of an
independent builder; a runner that holds the workspace's own keys is none.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from assay.evidence.facts import Evidence
from assay.evidence.statement import SLSA_PROVENANCE, Statement
from assay.types import Digest

RUNNER = "assay.pipeline/1"
"""The producer of what the runner saw."""
_KEYS = ("key", "resume", "run")
"""Subjects under which a result is found again.  What a step gives is called STEP/RESULT."""


def run_of(predicate: Mapping[str, Any]) -> str:
    """The run in which SLSA provenance says that something was made; empty where it does not."""
    try:
        return str(predicate["runDetails"]["metadata"]["invocationId"])
    except (KeyError, TypeError):
        return ""


def observed(
    evidence: Iterable[Evidence],
    artifact: Digest,
    *,
    project: str,
    run: str,
    key_kinds: Mapping[str, Collection[str]],
    superseded: Collection[str] = (),
) -> Evidence | None:
    """The first statement that counts, in which the runner says that `run` made `artifact`.

    `evidence` are statements whose signatures hold, each with the keys that count.
    """
    for item in evidence:
        statement = item.statement
        by_workspace = any("workspace" in key_kinds.get(keyid, ()) for keyid in item.keyids)
        if (
            statement.predicateType == SLSA_PROVENANCE
            and item.producer == RUNNER
            and by_workspace
            and statement.header.project == project
            and artifact in _made(statement)
            and item.envelope_digest not in superseded
            and run
            and run_of(statement.predicate) == run
        ):
            return item
    return None


def _made(statement: Statement) -> list[str]:
    """The digests of what a step gave: the keys that it is found by are no artifacts."""
    return [
        f"sha256:{subject.digest['sha256']}"
        for subject in statement.subject
        if subject.name not in _KEYS and "sha256" in subject.digest
    ]


def in_words(predicate: Mapping[str, Any]) -> str:
    """What the runner saw, in one sentence; raises `KeyError` or `TypeError` for another form."""
    asked = predicate["buildDefinition"]["externalParameters"]
    return (
        f"observed by the runner of this workspace, not by an independent builder: step "
        f"{asked['step']} of pipeline {asked['pipeline']}, run {run_of(predicate)}; libraries "
        f"{predicate['assay_environment']}, isolation {predicate['assay_isolation']}"
    )
