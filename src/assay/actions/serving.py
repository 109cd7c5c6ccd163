"""Actions of an endpoint: deploy it, query it, stop it."""

from __future__ import annotations

from typing import Any, ClassVar

from assay.actions.models import read_served
from assay.actions.people import subject_of
from assay.actions.release import version_target
from assay.errors import NotFound, Usage
from assay.isolation.probe import probe
from assay.policy import vocabulary as cedar
from assay.types import STAGES
from assay.workspace.action import Action, Doing, Durability, Outcome, Target
from assay.workspace.view import View


class Deploy(Action, frozen=True, kw_only=True):
    """Open a version for serving: the value holds its verified bytes.

    The endpoint is called after the model.  The level of confinement is that which this machine
    reaches, tried now.
    """

    name: ClassVar[str] = "deploy"
    model: str
    version: str
    """A version, or an alias such as ``production``."""
    stage: str
    region: str = "local"
    trial: bool = False
    """Only hand the bytes over, to be started beside the version that answers: what is deployed
    stays deployed."""
    replaces: str = ""
    """The version that a running endpoint puts this one in the place of.  One that was stopped, or
    answers with a third version by now, is left as it is: what a person did is not undone by what
    follows an alias."""

    def target(self, view: View) -> Target:
        made = version_target(
            view,
            self.project,
            self.model,
            self.version,
            {"isolation": probe().level},
            stage=self.stage,
            region=self.region,
        )
        held = view.state.endpoints.get(f"{self.project}/{self.model}")
        # Whoever asks names the endpoint, not the stage: fewer gates must not answer in its place.
        if held and not held["killed"] and _rank(held["stage"]) > _rank(self.stage):
            raise Usage(
                f"the endpoint {self.model} answers for {held['stage']}, and {self.stage} asks for "
                "fewer gates",
                remedy=f"deploy for {held['stage']}, or stop it first: "
                f"assay kill {self.model} --reason WHY",
                code="endpoint.stage",
            )
        if self.replaces:
            self._check_replaced(held, made.words["version"])
        made.subjects.append(f"endpoint:{self.project}/{self.model}")
        return made

    def _check_replaced(self, held: dict[str, Any] | None, version: str) -> None:
        if held and not held["killed"] and held["version"] in (self.replaces, version):
            return
        if held is None:
            what = "was never deployed"
        elif held["killed"]:
            what = "was stopped"
        else:
            what = f"answers with version {held['version']}"
        raise Usage(
            f"the endpoint {self.model} {what}, and version {version} was to replace "
            f"{self.replaces}",
            remedy=f"assay serve {self.model}@{version} --stage {self.stage}",
            code="endpoint.replaced",
        )

    def apply(self, doing: Doing) -> Outcome:
        found = doing.view.version(self.project, self.model, self.version)
        doing.progress("verifying the sealed model")
        onnx = read_served(doing, self.project, self.model, found.version)
        if self.trial:
            value = {"version": found.version, "isolation": probe().level}
            return Outcome({**value, "onnx": onnx, "served": found.served})
        predicate = {
            "name": self.model,
            "model": self.model,
            "version": found.version,
            "stage": self.stage,
            "region": self.region,
            "isolation": probe().level,
            "killed": False,
        }
        subject = {f"{found.name}@{found.version}": found.served or found.artifact}
        statement = doing.attest("endpoint", subject, predicate)
        return Outcome({**predicate, "onnx": onnx, "served": found.served}, [statement])


def _rank(stage: str) -> int:
    return STAGES.index(stage) if stage in STAGES else -1


def never_deployed(view: View, project: str, name: str) -> NotFound:
    """The error for an endpoint that there is not, with what was probably meant."""
    keys = (key.partition("/") for key in view.state.endpoints)
    known = sorted(endpoint for here, _, endpoint in keys if here == project)
    model, _, version = name.partition("@")
    if version and model in known:
        remedy = f"an endpoint is called after its model, without a version: {model}"
    elif known and not view.versions(project, model):
        remedy = f"one of {', '.join(known)}"
    else:
        remedy = f"deploy it: assay serve {model[:64]}@production"
    return NotFound(f"no endpoint {name[:64]} in project {project}", remedy=remedy, code="endpoint")


def known_endpoint(view: View, project: str, name: str) -> None:
    """Raises `NotFound` unless it was ever deployed: that nothing is found of what is not there
    says nothing."""
    if f"{project}/{name}" not in view.state.endpoints:
        raise never_deployed(view, project, name)


def endpoint_target(view: View, project: str, name: str, context: dict[str, Any]) -> Target:
    """An endpoint as a resource: what it serves decides, at every question, whether it may."""
    held = view.state.endpoints.get(f"{project}/{name}")
    if held is None:
        raise never_deployed(view, project, name)
    version = view.version(project, held["model"], held["version"])
    entity = cedar.endpoint_entity(
        project,
        name,
        stage=held["stage"],
        region=held["region"],
        killed=held["killed"],
        revoked=version.revoked,
        hold=version.hold,
    )
    return Target(
        uid=cedar.endpoint_uid(project, name),
        entities=[entity, view.project_entity(project)],
        context=context,
        digests={f"{version.name}@{version.version}": version.served or version.artifact},
        subjects=[f"endpoint:{project}/{name}", f"model:{project}/{version.name}"],
        words={"model": version.name, "version": version.version, "project": project},
    )


class Query(Action, frozen=True, kw_only=True):
    """Ask an endpoint: decided once per token and state, recorded in aggregate."""

    name: ClassVar[str] = "query"
    durability: ClassVar[Durability] = "segment"
    endpoint: str
    version: str
    """The version that this server loaded: when another is deployed, this one may answer no more
    than its own state allows."""

    def target(self, view: View) -> Target:
        target = endpoint_target(view, self.project, self.endpoint, {})
        held = view.state.endpoints[f"{self.project}/{self.endpoint}"]
        if held["version"] != self.version:
            raise NotFound(
                f"this server loaded version {self.version}, and {held['version']} is deployed",
                remedy="restart it: assay serve",
                code="endpoint.version",
            )
        return target


class Kill(Action, frozen=True, kw_only=True):
    """Stop an endpoint at the next request, until it is deployed again."""

    name: ClassVar[str] = "kill"
    redo: ClassVar[bool] = True
    endpoint: str
    reason: str

    def target(self, view: View) -> Target:
        return endpoint_target(
            view, self.project, self.endpoint, {"reason": cedar.reason(self.reason)}
        )

    def apply(self, doing: Doing) -> Outcome:
        held = doing.view.state.endpoints[f"{self.project}/{self.endpoint}"]
        predicate = {**held, "name": self.endpoint, "killed": True, "reason": self.reason}
        statement = doing.attest("endpoint", subject_of(f"endpoint:{self.endpoint}"), predicate)
        return Outcome({"endpoint": self.endpoint, "killed": True}, [statement])
