"""What is on the ledger about plans of changes: the plans, who approved them, what they led to."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from assay import canonical
from assay.clock import parse_timestamp
from assay.errors import AssayError
from assay.evidence import plans
from assay.evidence.facts import Evidence
from assay.evidence.plans import Plan
from assay.evidence.records import State
from assay.evidence.state import kind_of
from assay.types import Digest

LOOP = "assay.monitor.loop/1"
"""The producer of plans, retrainings and challenges."""
RUNNER = "assay.pipeline/1"

PLAN = "change-plan"
APPROVAL = "change-approval"
RETRAINING = "retraining"
CHALLENGE = "challenge"

Look = Callable[..., list[Evidence]]
"""``look(project, *digests)``: the statements about them whose signatures count, in order."""


def pipeline_subject(project: str, pipeline: str) -> Digest:
    """The digest under which the runs of one pipeline are filed."""
    return canonical.digest(f"assay/pipeline/{project}/{pipeline}".encode())


def run_subject(run: str) -> Digest:
    """The digest under which statements about a pipeline run are filed."""
    return canonical.digest(f"assay/run/{run}".encode())


class Ledger:
    """The statements that count, as bounds are asked of them."""

    def __init__(self, look: Look, state: State, project: str) -> None:
        self._look = look
        self._kinds = state.key_kinds()
        self._superseded = state.superseded_in(project)
        self.state = state
        self.project = project
        self.looked: set[Digest] = set()
        self._found: dict[Digest, list[Evidence]] = {}

    def about(self, digest: Digest) -> list[Evidence]:
        """Every statement of this project about a digest that was not superseded."""
        if digest not in self._found:
            self.looked.add(digest)
            self._found[digest] = [
                item
                for item in self._look(self.project, digest)
                if item.statement.header.project == self.project
                and item.envelope_digest not in self._superseded
            ]
        return self._found[digest]

    def told(self, digest: Digest, kind: str, producer: str) -> list[Evidence]:
        """Those of one kind, by a producer of the workspace."""
        return [
            item
            for item in self.about(digest)
            if kind_of(item.statement) == kind
            and item.producer == producer
            and any("workspace" in self._kinds.get(keyid, ()) for keyid in item.keyids)
        ]


def find_plan(ledger: Ledger, digest: Digest) -> tuple[Plan, str] | None:
    """A proposed plan by its digest, and who proposed it; None where there is none."""
    for item in ledger.told(digest, PLAN, LOOP):
        predicate = item.statement.predicate
        try:
            plan = plans.read(predicate["plan"])
            if plans.digest_of(plan) == digest:
                return plan, str(predicate["proposer"])
        except (AssayError, KeyError, TypeError):
            continue
    return None


def approvals_of(ledger: Ledger, digest: Digest, *, but: Sequence[str]) -> list[dict[str, Any]]:
    """The approvals of a plan that count now, one for each person: by somebody enabled who holds
    the role of an approver, with a key of their own, whose last word on it is yes."""
    state = ledger.state
    found: dict[str, dict[str, Any]] = {}
    for item in ledger.about(digest):
        predicate = item.statement.predicate
        if kind_of(item.statement) != APPROVAL or predicate.get("plan") != digest:
            continue
        for keyid in item.keyids:
            person = state.actor_of_key(keyid, item.index)
            if person is None or state.actors[person].kind != "person":
                continue
            found.pop(person, None)
            if predicate.get("approved") is True:
                found[person] = {
                    "actor": person,
                    "level": state.actors[person].level,
                    "issued": item.statement.header.issued,
                    "comment": predicate.get("comment", ""),
                    "envelope": item.envelope_digest,
                }
    approvers = state.roles.get(f"{ledger.project}/approver", [])
    return [
        told
        for person, told in found.items()
        if person in approvers and person not in but and not state.actors[person].disabled
    ]


def retrainings(ledger: Ledger, digest: Digest, stage: str) -> list[Evidence]:
    """What the loop recorded of one stage of the retrainings under a plan, in order."""
    return [
        item
        for item in ledger.told(digest, RETRAINING, LOOP)
        if item.statement.predicate.get("stage") == stage
        and item.statement.predicate.get("plan") == digest
    ]


def frequency(plan: Plan, begun: Sequence[str], now: str) -> str:
    """Why a retraining that begins at `now` would be one too many; empty where it is not.

    `begun` are the times at which those before it under the same plan began.
    """
    if len(begun) >= plan.most:
        return f"{len(begun)} retrainings began under this plan, which allows {plan.most}"
    if parse_timestamp(now) > parse_timestamp(plan.valid_until):
        return f"the plan was valid until {plan.valid_until}"
    if begun and parse_timestamp(now) - parse_timestamp(begun[-1]) < plans.duration(plan.every):
        return f"the last one began at {begun[-1]}, and the plan wants {plan.every} between two"
    return ""


def check_parameters(plan: Plan, given: Mapping[str, Any], dataset: str) -> Iterator[str]:
    """What of the parameters of a run is outside of a plan."""
    for name in sorted({*plan.parameters, *given, plan.pipeline.data}):
        if name not in given:
            yield f"the run had no parameter {name}"
        elif name == plan.pipeline.data:
            if given[name] != dataset:
                yield f"the run was given {str(given[name])[:60]!r} as {name}, and not {dataset}"
        elif name not in plan.parameters:
            yield f"the parameter {name} is not in the plan"
        elif not plans.is_within(plan.parameters[name], given[name]):
            bound = plans.in_words(plan.parameters[name])
            yield f"the parameter {name} was {str(given[name])[:60]}, and the plan has {bound}"
