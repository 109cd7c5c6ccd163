"""Actions that decide about a model version: approve, promote, hold, revoke."""

from __future__ import annotations

import os
import platform
from typing import Any, ClassVar

from assay import canonical
from assay.errors import Conflict, Usage
from assay.evidence import bounds
from assay.evidence import envelope as dsse
from assay.evidence.bounds import Judged
from assay.evidence.state import VersionState, kind_of
from assay.policy import vocabulary as cedar
from assay.types import STAGES
from assay.workspace.action import Action, Doing, Outcome, Target
from assay.workspace.credentials import Person
from assay.workspace.view import View


def version_target(
    view: View,
    project: str,
    model: str,
    version: str,
    context: dict[str, Any],
    *,
    stage: str = "",
    region: str = "",
) -> Target:
    """A model version as a resource; with a stage, its facts and approvals come along."""
    found = view.version(project, model, version)
    digests = {f"{model}@{found.version}": found.served or found.artifact}
    target = Target(
        uid=cedar.model_version_uid(project, model, found.version),
        entities=[version_entity(found), view.project_entity(project)],
        context=dict(context),
        digests=digests,
        subjects=[f"model:{project}/{model}", *(f"digest:{d}" for d in digests.values())],
        words={
            "model": model,
            "version": found.version,
            "project": project,
            "stage": stage,
            "data": _held_out(view, found),
            "training": str(found.details.get("dataset") or "DATASET"),
            "region": region or "REGION",
        },
    )
    if stage:
        if stage not in STAGES:
            raise Usage(f"{stage!r} is not a stage", remedy=f"one of {', '.join(STAGES)}")
        facts = view.version_facts(found)
        approvals = view.approvals(found, stage) if found.served else []
        target.context.update(
            stage=cedar.stage(stage),
            region=region,
            facts=facts.values,
            approvals={"by_others": len(approvals)},
        )
        cited = {digest for digests in facts.sources.values() for digest in digests}
        cited |= {approval["envelope"] for approval in approvals}
        judged = change_of(view, found, facts.values)
        if judged is not None:
            target.context["change"] = judged.context()
            cited |= judged.cited
            approvals = [*approvals, *judged.approvals]
            target.subjects.append(f"digest:{judged.plan}")
        target.cited = sorted(cited)
        # Who approved may lose their say while this is being done.
        target.subjects.extend(f"actor:{approval['actor']}" for approval in approvals)
    return target


def change_of(view: View, found: VersionState, facts: dict[str, Any]) -> Judged | None:
    """What is shown of a version under the plan of changes that it was retrained under; None
    where it was not retrained under any.  `facts` are those about it."""
    judged = bounds.judge(view.evidence, view.state, found, facts, now=view.now())
    if judged is None:
        return None
    serves = view.state.aliases.get(f"{found.project}/{found.name}@production", "")
    return judged.against(serves, found.version)


def _held_out(view: View, found: VersionState) -> str:
    """The dataset that a remedy names for judging a version: the one registered with it, else one
    that has its columns and is not what it was trained on."""
    if found.details.get("test"):
        return str(found.details["test"])
    wanted = {*found.details.get("features", []), found.details.get("label")} - {"", None}
    for dataset in view.state.datasets.values():
        columns = {column["name"] for column in dataset.details["schema"]}
        other = dataset.name != found.details.get("dataset")
        if dataset.project == found.project and other and wanted <= columns:
            return dataset.name
    return "DATASET"


def version_entity(found: VersionState) -> dict[str, Any]:
    """A model version as Cedar sees it."""
    return cedar.model_version_entity(
        found.project,
        found.name,
        found.version,
        author=found.author,
        revoked=found.revoked,
        hold=found.hold,
        format=str(found.details.get("format", "unknown")),
        servable=found.served is not None,
    )


class Approve(Action, frozen=True, kw_only=True):
    """A person's signed yes to one version for one stage, by a key of their own."""

    name: ClassVar[str] = "approve"
    model: str
    version: str
    stage: str = "production"
    comment: str = ""

    def target(self, view: View) -> Target:
        return version_target(view, self.project, self.model, self.version, {}, stage=self.stage)

    def apply(self, doing: Doing) -> Outcome:
        found = doing.view.version(self.project, self.model, self.version)
        if not isinstance(doing.credential, Person):
            raise Usage(
                "only a person can approve, with a key of their own",
                remedy=f"assay approve {self.model}@{found.version} --as NAME",
                code="approve.person",
            )
        if found.served is None:
            raise Conflict(
                f"{self.model}@{found.version} has nothing that can be served: "
                f"{found.details.get('unservable', '')}",
                remedy=str(found.details.get("route", "")),
                code="approve.unservable",
            )
        predicate = {
            "name": found.name,
            "version": found.version,
            "stage": self.stage,
            "comment": self.comment,
            "as_of": doing.view.state.size,
            # Two keys that one user of one machine can read are not two people.
            "held_by": {"uid": os.getuid(), "host": canonical.digest(platform.node().encode())},
            "mfa": doing.credential.protected,
        }
        statement = doing.attest(
            "approval",
            {f"{found.name}@{found.version}": found.served},
            predicate,
            producer="person",
        )
        signed = dsse.sign(statement, doing.credential.signer)
        value = {"model": found.name, "version": found.version, "stage": self.stage}
        return Outcome(value, signed=[signed])


class Promote(Action, frozen=True, kw_only=True):
    """Point a stage's alias at a version."""

    name: ClassVar[str] = "promote"
    redo: ClassVar[bool] = True
    model: str
    version: str
    stage: str
    region: str = "local"

    def target(self, view: View) -> Target:
        return version_target(
            view,
            self.project,
            self.model,
            self.version,
            {},
            stage=self.stage,
            region=self.region,
        )

    def apply(self, doing: Doing) -> Outcome:
        found = doing.view.version(self.project, self.model, self.version)
        before = doing.view.state.aliases.get(f"{self.project}/{self.model}@{self.stage}")
        predicate = {
            "name": found.name,
            "version": found.version,
            "alias": self.stage,
            "region": self.region,
            "before": before or "",
        }
        subject = {f"{found.name}@{found.version}": found.served or found.artifact}
        statement = doing.attest("alias", subject, predicate)
        value = {"model": found.name, "version": found.version, "stage": self.stage}
        return Outcome({**value, "before": before}, [statement])


class Revoke(Action, frozen=True, kw_only=True):
    """Withdraw a version for ever: it can no longer be promoted, deployed or queried."""

    name: ClassVar[str] = "revoke"
    redo: ClassVar[bool] = True
    model: str
    version: str
    reason: str

    def target(self, view: View) -> Target:
        return version_target(
            view, self.project, self.model, self.version, {"reason": cedar.reason(self.reason)}
        )

    def apply(self, doing: Doing) -> Outcome:
        found = doing.view.version(self.project, self.model, self.version)
        predicate = {"name": found.name, "version": found.version, "reason": self.reason}
        subject = {f"{found.name}@{found.version}": found.served or found.artifact}
        statement = doing.attest("revocation", subject, predicate)
        value = {"model": found.name, "version": found.version, "revoked": True}
        return Outcome(value, [statement])


def _holders(view: View, found: VersionState) -> list[str]:
    """Who set a hold since the last one was lifted; ``unknown`` where their decision is gone."""
    asked: dict[str, str] = {}
    holders: set[str] = set()
    for item in view.evidence(found.project, found.served or found.artifact):
        told, kind = item.statement.predicate, kind_of(item.statement)
        if kind == "decision":
            asked[item.statement.header.id] = str(told["actor"])
        about = ("model", found.name, found.version)
        if kind != "hold" or (told["subject"], told["name"], told["version"]) != about:
            continue
        if told["held"]:
            holders.add(asked.get(str(told["decision"]), "unknown"))
        else:
            holders.clear()
    return sorted(holders or ({"unknown"} if found.hold else ()))


class Hold(Action, frozen=True, kw_only=True):
    """Stop a version from being promoted or deployed until the hold is lifted."""

    name: ClassVar[str] = "hold"
    redo: ClassVar[bool] = True
    model: str
    version: str
    held: bool = True
    reason: str

    def target(self, view: View) -> Target:
        context: dict[str, Any] = {"reason": cedar.reason(self.reason)}
        if not self.held:
            found = view.version(self.project, self.model, self.version)
            context["holders"] = [cedar.actor(holder) for holder in _holders(view, found)]
        return version_target(view, self.project, self.model, self.version, context)

    def apply(self, doing: Doing) -> Outcome:
        found = doing.view.version(self.project, self.model, self.version)
        predicate = {
            "subject": "model",
            "name": found.name,
            "version": found.version,
            "held": self.held,
            "reason": self.reason,
        }
        subject = {f"{found.name}@{found.version}": found.served or found.artifact}
        statement = doing.attest("hold", subject, predicate)
        return Outcome(
            {"model": found.name, "version": found.version, "held": self.held}, [statement]
        )


class Supersede(Action, frozen=True, kw_only=True):
    """Say of one statement about a version that it no longer counts, and why: an approver's word,
    on the record, so that nobody reruns an assessor until lucky."""

    name: ClassVar[str] = "supersede"
    redo: ClassVar[bool] = True
    model: str
    version: str
    envelope: str
    """The digest of the statement's envelope, as ``assay model show`` lists it."""
    reason: str

    def target(self, view: View) -> Target:
        return version_target(
            view, self.project, self.model, self.version, {"reason": cedar.reason(self.reason)}
        )

    def apply(self, doing: Doing) -> Outcome:
        found = doing.view.version(self.project, self.model, self.version)
        about = found.served or found.artifact
        known = {e.envelope_digest for e in doing.view.evidence(self.project, about)}
        if self.envelope not in known:
            raise Usage(
                f"no statement {self.envelope[:80]} is about {self.model}@{found.version}",
                remedy=f"assay model show {self.model}@{found.version} lists them",
                code="supersede.envelope",
            )
        predicate = {"envelope": self.envelope, "reason": self.reason}
        subject = {f"{found.name}@{found.version}": about}
        statement = doing.attest("supersession", subject, predicate)
        return Outcome({"envelope": self.envelope, "superseded": True}, [statement])
