"""What went into some bytes, step by step, as the runner of the pipeline saw it.

From the bytes back: the statement of the step that made them names what it was given, and so on
until the rows at the beginning.  Every step must have run as the plan says, and every beginning
must be among the rows that the plan allows.  What nobody saw made is outside.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from assay.clock import parse_timestamp
from assay.evidence.facts import Evidence
from assay.evidence.plan_records import RUNNER, Ledger
from assay.evidence.plans import Plan
from assay.evidence.state import kind_of
from assay.evidence.statement import SLSA_PROVENANCE
from assay.types import Digest

_KEYS = ("key", "resume", "run")
"""Subjects under which a result is found again.  What a step gives is called STEP/RESULT."""
_MOST = 10_000


class Lineage:
    """Looks at what went into a model and into the rows that it is judged on."""

    def __init__(self, ledger: Ledger, plan: Plan, collected: Mapping[str, Any]) -> None:
        self._ledger = ledger
        self._plan = plan
        self._collected = collected
        self.until = ""
        """Until when rows may have been gathered that went into any of it."""
        self.cited: set[str] = set()

    def made(self, digest: str) -> list[Evidence]:
        """See `made_by_step`."""
        return made_by_step(self._ledger, digest)

    def walk(self, digest: str, built: Evidence | None = None) -> tuple[set[str], list[str]]:
        """All that went into these bytes, and what of it is outside of the plan; `built` is the
        statement of the last step, where that is known."""
        seen: set[str] = set()
        outside: list[str] = []
        waiting: list[tuple[str, Evidence | None]] = [(digest, built)]
        while waiting:
            one, known = waiting.pop()
            if one in seen:
                continue
            seen.add(one)
            if len(seen) > _MOST:
                return seen, ["more went into it than anybody looks through"]
            if known is None and (until := self._gathered(one)):
                if not self.until or parse_timestamp(until) > parse_timestamp(self.until):
                    self.until = until
                continue
            step, why = self._step([known] if known else self.made(one))
            if step is None:
                outside.append(why or f"nothing says where {one} comes from, which went into it")
                continue
            self.cited.add(step.envelope_digest)
            needs = step.statement.predicate["buildDefinition"]["resolvedDependencies"]
            waiting += [
                (f"sha256:{need['digest']['sha256']}", None)
                for need in needs
                if need.get("name") == "input"
            ]
        return seen, outside

    def _gathered(self, digest: str) -> str:
        """Until when the rows of a dataset were gathered that the plan allows; empty for what is
        none of them."""
        if self._collected["content"] == digest:
            return str(self._collected["to"])
        if digest in self._plan.data.others.values():
            for item in self._ledger.about(Digest(digest)):
                told = item.statement.predicate
                if kind_of(item.statement) == "dataset" and told["content"] == digest:
                    self.cited.add(item.envelope_digest)
                    return item.statement.header.issued
        return ""

    def _step(self, made: Sequence[Evidence]) -> tuple[Evidence | None, str]:
        """A step that ran as the plan says; why not, where none of them did."""
        why = ""
        for item in reversed(made):
            why = _outside_of(self._plan, item.statement.predicate)
            if not why:
                return item, ""
        return None, why


def _outside_of(plan: Plan, predicate: Mapping[str, Any]) -> str:
    """Why a step did not run as a plan says; empty where it did."""
    build = predicate["buildDefinition"]
    asked = build["externalParameters"]
    name = f"the step {asked['task']}"
    if asked["pipeline"] != plan.pipeline.function:
        return f"{name} was run by {asked['pipeline']}"
    for what, wanted in (("code", plan.pipeline.code), ("environment", plan.pipeline.environment)):
        found = [
            n["digest"]["sha256"] for n in build["resolvedDependencies"] if n.get("name") == what
        ]
        if found != [wanted.removeprefix("sha256:")]:
            return f"{name} ran with other {'code' if what == 'code' else 'libraries'}"
    options = build["internalParameters"]["options"]
    # What could be fetched leaves no trace among the inputs.
    if options.get("ports") or options.get("variables"):
        return f"{name} could reach the network, or was given a secret"
    if predicate["assay_isolation"] not in ("full", "process"):
        return f"{name} was not confined"
    if predicate["assay_environment"] == "altered":
        return f"{name} ran with libraries that were altered"
    if predicate["assay_executor"]["name"] != "local":
        return f"{name} ran on {predicate['assay_executor']['name']}"
    return ""


def went_into(ledger: Ledger, digest: Digest) -> set[str]:
    """All that a step was seen to make these bytes of, and so on, themselves among it: as far back
    as anything says."""
    seen: set[str] = set()
    waiting = [str(digest)]
    while waiting and len(seen) <= _MOST:
        one = waiting.pop()
        if one in seen:
            continue
        seen.add(one)
        for item in made_by_step(ledger, one):
            build = item.statement.predicate.get("buildDefinition", {})
            for need in build.get("resolvedDependencies", []):
                if need.get("name") == "input":
                    waiting.append(f"sha256:{need['digest']['sha256']}")
    return seen


def made_by_step(ledger: Ledger, digest: str) -> list[Evidence]:
    """The runner's statements that a step made these bytes."""
    return [
        item
        for item in ledger.told(Digest(digest), SLSA_PROVENANCE, RUNNER)
        if any(
            subject.name not in _KEYS and f"sha256:{subject.digest.get('sha256')}" == digest
            for subject in item.statement.subject
        )
    ]
