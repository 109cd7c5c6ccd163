"""Actions of a retraining: begin one, and write down what came of each of its stages.

A retraining is a row of statements (``retraining/v1``) about its endpoint and its plan:

``begun``
    what will be run, with which parameters, on which stretch of the log, because of which alert:
    written down before anything is known of how it turns out;
``collected``
    the labelled rows that were taken from the log, as a registered dataset;
``candidate``
    the version that was made of them;
``ended``
    whether it was promoted, kept back or given up.

What lies between (the run, the assessment, the baseline, the challenge) has statements of its own.
So whoever looks at the ledger knows where a retraining is, and goes on from there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeAlias

from assay.actions.changes import ledger_of
from assay.actions.people import subject_of
from assay.actions.run_host import pipeline_digest
from assay.actions.serving import endpoint_target, never_deployed
from assay.clock import parse_timestamp, timestamp
from assay.errors import Conflict, NotFound, Usage
from assay.evidence import lineage, plan_records, plans
from assay.evidence.plan_records import LOOP, RETRAINING, RUNNER, Ledger
from assay.evidence.state import VersionState, kind_of
from assay.evidence.statement import Statement
from assay.types import Digest, check_name
from assay.workspace.action import Action, Doing, Outcome, Target
from assay.workspace.view import View

PERSON = "person"
"""What a retraining that nobody planned was begun by."""
Stage: TypeAlias = Literal["collect", "candidate", "end"]
ENDS = ("promoted", "kept", "given-up")


@dataclass(slots=True)
class Retraining:
    """A retraining as the ledger tells of it."""

    begun: dict[str, Any]
    at: str
    collected: dict[str, Any] | None = None
    candidate: dict[str, Any] | None = None
    ended: dict[str, Any] | None = None

    @property
    def id(self) -> str:
        return str(self.begun["id"])


def about(project: str, endpoint: str) -> dict[str, Digest]:
    """What statements about the retrainings of an endpoint are about: its life, and those alone."""
    here = f"{project}/{endpoint}"
    return {**subject_of(f"monitor:{here}"), **subject_of(f"retrainings:{here}")}


def retrainings(view: View, project: str, endpoint: str) -> list[Retraining]:
    """The retrainings of an endpoint, oldest first."""
    digest = about(project, endpoint)[f"retrainings:{project}/{endpoint}"]
    found: dict[str, Retraining] = {}
    for item in ledger_of(view, project).told(digest, RETRAINING, LOOP):
        told = item.statement.predicate
        if told["stage"] == "begun":
            found[told["id"]] = Retraining(told, item.statement.header.issued)
        elif (held := found.get(told["id"])) is not None:
            setattr(held, told["stage"], told)
    return list(found.values())


def retraining(view: View, project: str, endpoint: str, which: str) -> Retraining:
    """The retraining with that id; raises `NotFound`."""
    for found in retrainings(view, project, endpoint):
        if found.id == which:
            return found
    raise NotFound(
        f"no retraining {which[:60]} of {endpoint} in project {project}",
        remedy=f"begin one: assay retrain {endpoint}",
        code="retraining",
    )


class _OfEndpoint(Action, frozen=True, kw_only=True):
    """What both actions ask policy."""

    endpoint: str
    by_itself: bool = False
    """Whether the loop asks, under whoever's key it runs, and no person who looks at it."""

    def asked_by(self, view: View, actor: str) -> dict[str, Any]:
        held = view.state.actors.get(actor)
        person = held is not None and held.kind == PERSON
        return {"by_person": person and not self.by_itself}

    def _target(self, view: View, plan: str, outside: Iterator[str]) -> Target:
        count, within = 0, False
        if plan:
            ledger = ledger_of(view, self.project)
            found = plan_records.find_plan(ledger, Digest(plan))
            if found is not None:
                approved = plan_records.approvals_of(ledger, Digest(plan), but=[found[1]])
                count, within = len(approved), next(outside, None) is None
        context = {"plan_approvals": count, "within": within}
        made = endpoint_target(view, self.project, self.endpoint, context)
        filed = about(self.project, self.endpoint)
        made.subjects.append(f"digest:{filed[f'retrainings:{self.project}/{self.endpoint}']}")
        if plan:
            made.subjects.append(f"digest:{plan}")
        # The evidence about a version is read at every promotion: this is not about the version.
        made.digests = {}
        return made


class Retrain(_OfEndpoint, frozen=True, kw_only=True):
    """Begin a retraining: say what will be run, on what, before anything is known of the result.

    Without a person who asks, only within a plan of changes that enough people approved.
    """

    name: ClassVar[str] = "retrain"
    source: str
    """``FILE[:PIPELINE]`` or ``MODULE[:PIPELINE]``."""
    function: str
    """``module:function``, as it was planned."""
    parameters: dict[str, Any]
    """All that the pipeline will be given."""
    given: tuple[str, ...] = ()
    """Those of them that were given, and not filled in by the pipeline's code."""
    data: str
    """The parameter that names the collected rows."""
    seed: int = 0
    since: str
    """From when on labelled rows of the log are taken."""
    until: str
    plan: str = ""
    """The digest of a plan of changes; empty for none, and then people approve the version."""
    alert: str = ""
    """The alert because of which it is begun."""
    purpose: str = ""
    """What the rows are read for; by default what the model was made for."""

    def target(self, view: View) -> Target:
        self._check(view)
        return self._target(view, self.plan, self.outside(view))

    def _check(self, view: View) -> None:
        held = view.state.endpoints.get(f"{self.project}/{self.endpoint}")
        if held is None:
            raise never_deployed(view, self.project, self.endpoint)
        since, until = parse_timestamp(self.since), parse_timestamp(self.until)
        if not since < until <= parse_timestamp(view.now()):
            raise Usage(
                f"the log from {self.since} to {self.until} is no stretch of time that is over",
                remedy="--window 30d takes the last thirty days",
                code="retrain.window",
            )
        name = self.dataset
        if f"{self.project}/{name}" in view.state.datasets:
            raise Conflict(
                f"dataset {name} is registered already", remedy="try again", code="retrain.dataset"
            )
        open_ = [r.id for r in retrainings(view, self.project, self.endpoint) if r.ended is None]
        if open_:
            raise Conflict(
                f"retraining {open_[-1]} of {self.endpoint} has not ended",
                remedy=f"go on with it: assay retrain {self.endpoint}; "
                f"or give it up: assay retrain {self.endpoint} --give-up",
                code="retrain.open",
            )
        self._trigger(view)

    @property
    def dataset(self) -> str:
        """The name of the rows that will be collected."""
        return check_name(str(self.parameters.get(self.data, "")), what="dataset name")

    def _trigger(self, view: View) -> str:
        """The kind of the alert; raises `NotFound`."""
        if not self.alert:
            return plans.SCHEDULE if self.by_itself or self.plan else PERSON
        from assay.actions.alerts import alerts_of
        from assay.monitor.alerts import find

        found = find(alerts_of(view, self.project, self.endpoint), self.alert)
        if found is None:
            raise NotFound(
                f"no alert {self.alert[:80]} of {self.endpoint}",
                remedy="assay alert list shows them",
                code="alert",
            )
        return found.kind

    def outside(self, view: View) -> Iterator[str]:
        """What is not within the plan, as far as it is known before anything was run."""
        ledger = ledger_of(view, self.project)
        found = plan_records.find_plan(ledger, Digest(self.plan)) if self.plan else None
        if found is None:
            yield f"no plan {self.plan} was proposed in this project"
            return
        plan, _ = found
        held = view.state.endpoints[f"{self.project}/{self.endpoint}"]
        if plan.model != held["model"]:
            yield f"the plan is for the model {plan.model}"
        pipeline = (self.source, self.function, self.data, self.seed)
        wanted = plan.pipeline
        if pipeline != (wanted.source, wanted.function, wanted.data, wanted.seed):
            yield f"the plan is for the pipeline {wanted.source}"
        yield from plan_records.check_parameters(plan, self.parameters, self.dataset)
        length = parse_timestamp(self.until) - parse_timestamp(self.since)
        if not plans.duration(plan.data.least) <= length <= plans.duration(plan.data.most):
            yield f"{length} of the log are asked for; the plan has {plan.data.least} to "
            f"{plan.data.most}"
        begun = plan_records.retrainings(ledger, Digest(self.plan), "begun")
        why = plan_records.frequency(
            plan, [item.statement.header.issued for item in begun], view.now()
        )
        if why:
            yield why
        if (trigger := self._trigger(view)) not in plan.triggers:
            yield f"the plan lets {', '.join(plan.triggers)} begin one, and this is {trigger}"

    def apply(self, doing: Doing) -> Outcome:
        view = doing.view
        held = view.state.endpoints[f"{self.project}/{self.endpoint}"]
        model = str(held["model"])
        champion = view.state.aliases.get(
            f"{self.project}/{model}@production", str(held["version"])
        )
        predicate = {
            "stage": "begun",
            "id": doing.decision,
            "endpoint": self.endpoint,
            "model": model,
            "champion": champion,
            "plan": self.plan,
            "alert": self.alert,
            "trigger": self._trigger(view),
            "source": self.source,
            "function": self.function,
            "parameters": self.parameters,
            "given": list(self.given),
            "data": self.data,
            "dataset": self.dataset,
            "seed": self.seed,
            # As exactly as statements tell the time.
            "from": timestamp(parse_timestamp(self.since)),
            "to": timestamp(parse_timestamp(self.until)),
            "purpose": self.purpose
            or view.version(self.project, model, champion).details["purpose"],
            "by_itself": self.by_itself,
        }
        return Outcome(predicate, [_statement(doing, predicate)])


class ContinueRetraining(_OfEndpoint, frozen=True, kw_only=True):
    """Do the next thing of a retraining that has begun, and write it down."""

    name: ClassVar[str] = "retrain"
    retraining: str
    stage: Stage
    version: str = ""
    """The candidate."""
    end: str = ""
    """How it ended: ``promoted``, ``kept`` or ``given-up``."""
    reason: str = ""
    ticket: str = ""
    """For special categories of personal data."""

    def asked_by(self, view: View, actor: str) -> dict[str, Any]:
        """What a person began without a plan, anybody in the role may go on with."""
        found = retraining(view, self.project, self.endpoint, self.retraining)
        unplanned = not found.begun["plan"]
        return {"by_person": unplanned or _OfEndpoint.asked_by(self, view, actor)["by_person"]}

    def target(self, view: View) -> Target:
        found = retraining(view, self.project, self.endpoint, self.retraining)
        if found.ended is not None:
            raise Conflict(
                f"retraining {found.id} has ended: {found.ended['end']}",
                remedy=f"begin another: assay retrain {self.endpoint}",
                code="retrain.ended",
            )
        if self.stage == "end" and self.end not in ENDS:
            raise Usage(f"{self.end!r} is no end", remedy=f"one of {', '.join(ENDS)}")
        made = self._target(view, found.begun["plan"], self._outside(view, found))
        if self.stage == "candidate":
            made.subjects.append(f"model:{self.project}/{found.begun['model']}")
        return made

    def _outside(self, view: View, found: Retraining) -> Iterator[str]:
        held = plan_records.find_plan(ledger_of(view, self.project), Digest(found.begun["plan"]))
        if held is None or parse_timestamp(view.now()) > parse_timestamp(held[0].valid_until):
            yield "the plan is no longer valid"

    def apply(self, doing: Doing) -> Outcome:
        found = retraining(doing.view, self.project, self.endpoint, self.retraining)
        told: dict[str, Any] = {
            key: found.begun[key] for key in ("id", "endpoint", "model", "plan")
        }
        if self.stage == "collect":
            return self._collect(doing, found, told)
        if self.stage == "candidate":
            return self._candidate(doing, found, told)
        told |= {"stage": "ended", "end": self.end, "reason": self.reason}
        return Outcome(told, [_statement(doing, told)])

    def _collect(self, doing: Doing, found: Retraining, told: dict[str, Any]) -> Outcome:
        from assay.actions.collecting import CollectDataset

        if found.collected is not None:
            return Outcome(found.collected)
        begun = found.begun
        done = doing.nested(
            CollectDataset(
                project=self.project,
                endpoint=self.endpoint,
                dataset=begun["dataset"],
                from_=begun["from"],
                to=begun["to"],
                purpose=begun["purpose"],
                ticket=self.ticket,
            )
        )
        told |= {
            "stage": "collected",
            "dataset": begun["dataset"],
            "content": done["content"],
            "rows": done["rows"],
            "from": begun["from"],
            "to": begun["to"],
        }
        subject = {begun["dataset"]: Digest(done["content"])}
        return Outcome(told, [_statement(doing, told, subject)])

    def _candidate(self, doing: Doing, found: Retraining, told: dict[str, Any]) -> Outcome:
        version = doing.view.version(self.project, found.begun["model"], self.version)
        if found.candidate is not None:
            return Outcome(found.candidate)
        if version.served is None or not came_from(doing.view, version, found):
            raise Usage(
                f"{version.name}@{version.version} was not made of what retraining {found.id} "
                "collected, or cannot be served",
                remedy=f"assay model show {version.name}@{version.version}",
                code="retrain.candidate",
            )
        told |= {
            "stage": "candidate",
            "name": version.name,
            "version": version.version,
            "run": str(version.details.get("run", "")),
        }
        return Outcome(told, [_statement(doing, told, version.subject)])


def _statement(
    doing: Doing, told: dict[str, Any], subject: dict[str, Digest] | None = None
) -> Statement:
    filed = {**(subject or {}), **about(doing.project, told["endpoint"])}
    if told["plan"]:
        filed[f"change-plan:{told['model']}"] = Digest(told["plan"])
    return doing.attest("retraining", filed, told, producer=LOOP)


# -- what lies between ----------------------------------------------------------------------------


def came_from(view: View, version: VersionState, found: Retraining) -> bool:
    """Whether the rows that a retraining collected went into a version."""
    if found.collected is None:
        return False
    return found.collected["content"] in lineage.went_into(
        Ledger(view.evidence, view.state, version.project), version.artifact
    )


def candidate_of(view: View, project: str, found: Retraining) -> VersionState | None:
    """The version that was made of what a retraining collected: the one that was named, or the
    newest."""
    model = found.begun["model"]
    if found.candidate is not None:
        return view.version(project, model, found.candidate["version"])
    for version in reversed(view.versions(project, model)):
        usable = version.served is not None and not version.revoked
        if (
            usable
            and version.version != found.begun["champion"]
            and came_from(view, version, found)
        ):
            return version
    return None


def runs_of(view: View, project: str, found: Retraining) -> list[dict[str, Any]]:
    """The pipeline runs that were given what a retraining collected, oldest first, as their last
    statements tell."""
    begun = found.begun
    known: dict[str, dict[str, Any]] = {}
    for item in view.evidence(project, pipeline_digest(project, begun["function"])):
        told = item.statement.predicate
        ours = item.producer == RUNNER and kind_of(item.statement) == "pipeline-run"
        if ours and told["parameters"].get(begun["data"]) == begun["dataset"]:
            known[told["run"]] = told
    return list(known.values())
