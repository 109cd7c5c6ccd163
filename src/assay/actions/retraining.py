"""A retraining, carried out: from labelled requests to a version that is promoted, or that waits.

`carry_out` does whatever is not done yet.  Nothing is remembered but what stands on the ledger, so
it may be stopped anywhere and called again by another process: it goes on, and does nothing twice.
Each thing that it does is an action of its own, decided for whoever asks; this module decides
nothing, and a version passes the same gates as any other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from assay import files
from assay.actions.challenges import Challenge, is_worth_asking, last_challenge
from assay.actions.changes import Proposed, plan_called
from assay.actions.release import Promote, change_of
from assay.actions.retraining_due import Wanted, due, followed, usable_plan
from assay.actions.retraining_evidence import see_to, statements_about
from assay.actions.retraining_steps import (
    ContinueRetraining,
    Retrain,
    Retraining,
    candidate_of,
    retrainings,
    runs_of,
)
from assay.actions.serving import never_deployed
from assay.clock import timestamp
from assay.errors import Conflict, NotFound, Usage
from assay.evidence import plans
from assay.evidence.state import VersionState, kind_of
from assay.workspace.action import Action
from assay.workspace.credentials import Credential
from assay.workspace.denials import denied
from assay.workspace.door import Workspace
from assay.workspace.view import View

__all__ = ["Carried", "Wanted", "as_dict", "carry_out", "due", "give_up", "usable_plan"]

WINDOW = "90d"
"""How much of the log is taken, where nobody says."""

Tell = Callable[[str], None]


@dataclass(slots=True)
class Carried:
    """How far a retraining is."""

    id: str
    state: str
    """``waits for labels``, ``waits for people``, ``promoted``, ``kept`` or ``given-up``."""
    version: str = ""
    champion: str = ""
    challenge: dict[str, Any] | None = None
    outside: list[str] = field(default_factory=list[str])
    """What is not shown to be within its plan."""
    waits: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    """The gates that are closed, each with its advice and command."""
    done: list[str] = field(default_factory=list[str])
    """What this call did, in words."""


def carry_out(
    workspace: Workspace,
    credential: Credential,
    project: str,
    endpoint: str,
    wanted: Wanted | None = None,
    *,
    folder: Path,
    tell: Tell = lambda _: None,
) -> Carried:
    """Go on with the retraining of an endpoint that has not ended, or begin one.

    `folder` is the project's, in which the pipeline's code lies.  Raises what its actions raise: a
    denial, a failed run; the next call goes on from there.
    """
    loop = _Loop(workspace, credential, project, endpoint, wanted or Wanted(), folder, tell)
    return loop.go()


def as_dict(carried: Carried) -> dict[str, Any]:
    """As plain JSON."""
    return asdict(carried)


def give_up(
    workspace: Workspace,
    credential: Credential,
    project: str,
    endpoint: str,
    reason: str,
    *,
    by_itself: bool = False,
) -> str:
    """End the retraining of an endpoint that has not ended; raises `NotFound`."""
    workspace.view.follow()
    open_ = [r for r in retrainings(workspace.view, project, endpoint) if r.ended is None]
    if not open_:
        raise NotFound(
            f"no retraining of {endpoint} in project {project} is going on",
            remedy=f"assay retrain {endpoint} begins one",
            code="retraining",
        )
    action = ContinueRetraining(
        project=project,
        endpoint=endpoint,
        retraining=open_[-1].id,
        stage="end",
        end="given-up",
        reason=reason,
        by_itself=by_itself,
    )
    workspace.perform(credential, action)
    return open_[-1].id


class _Loop:
    """One call of `carry_out`."""

    def __init__(
        self,
        workspace: Workspace,
        credential: Credential,
        project: str,
        endpoint: str,
        wanted: Wanted,
        folder: Path,
        tell: Tell,
    ) -> None:
        self._workspace = workspace
        self._credential = credential
        self._project = project
        self._endpoint = endpoint
        self._wanted = wanted
        self._folder = folder
        self._tell = tell
        self._done: list[str] = []

    def go(self) -> Carried:
        held = self._open()
        if held is None:
            held = self._begin()
        if held.collected is None:
            self._step(held, "collect", "collected labelled rows of the log")
            held = self._reread(held)
        version = candidate_of(self._view, self._project, held)
        if version is None:
            self._run(held)
            version = candidate_of(self._view, self._project, held)
        if version is None:
            raise Usage(
                f"the pipeline {held.begun['source']} ran, and registered no version of "
                f"{held.begun['model']} that was made of {held.begun['dataset']}",
                remedy="let it register what it trains: "
                f'register(model, name="{held.begun["model"]}", train=…, test=…)',
                code="retrain.nothing",
            )
        if held.candidate is None:
            self._step(held, "candidate", f"made version {version.version}", version.version)
            held = self._reread(held)
        if self._was_promoted(version):
            return self._end(held, version, "promoted", "it is in production")
        self._done += see_to(self._perform, self._view, version, ticket=self._wanted.ticket)
        return self._decide(held, version)

    # -- asking ------------------------------------------------------------------------------------

    @property
    def _view(self) -> View:
        return followed(self._workspace)

    def _perform(self, action: Action) -> Any:
        files.point("retraining.before")
        done = self._workspace.perform(self._credential, action, progress=self._tell)
        files.point("retraining.after")
        return done

    def _step(self, held: Retraining, stage: Any, words: str, version: str = "", **end: str) -> Any:
        done = self._perform(
            ContinueRetraining(
                project=self._project,
                endpoint=self._endpoint,
                retraining=held.id,
                stage=stage,
                version=version,
                by_itself=self._wanted.by_itself,
                ticket=self._wanted.ticket,
                **end,
            )
        )
        self._done.append(words)
        return done

    def _reread(self, held: Retraining) -> Retraining:
        found = [
            r for r in retrainings(self._view, self._project, self._endpoint) if r.id == held.id
        ]
        return found[-1]

    # -- beginning ---------------------------------------------------------------------------------

    def _open(self) -> Retraining | None:
        found = retrainings(self._view, self._project, self._endpoint)
        return found[-1] if found and found[-1].ended is None else None

    def _begin(self) -> Retraining:
        view, wanted = self._view, self._wanted
        held = view.state.endpoints.get(f"{self._project}/{self._endpoint}")
        if held is None:
            raise never_deployed(view, self._project, self._endpoint)
        plan = self._plan(view, held["model"])
        until = self._workspace.clock.now()
        name = f"{self._endpoint[:40].rstrip('._-')}-{until:%Y%m%dt%H%M%S}"
        source, data, seed = wanted.source, wanted.data, wanted.seed
        given = dict(wanted.parameters)
        length = wanted.window or WINDOW
        if plan is not None:
            asked = plan.plan
            source, data, seed = asked.pipeline.source, asked.pipeline.data, asked.pipeline.seed
            fixed = {n: bound["is"] for n, bound in asked.parameters.items() if "is" in bound}
            given = {**fixed, **given}
            length = wanted.window or asked.data.most
        if plan is not None and plan.plan.data.reserve:
            until -= plans.duration(plan.plan.data.reserve)
        if not source:
            raise Usage(
                f"no plan of changes for {self._endpoint} is approved and valid, and no pipeline "
                "is named",
                remedy=f"assay retrain {self._endpoint} --pipeline FILE; or assay change propose",
                code="retrain.source",
            )
        given[data] = name
        run = self._prepare(source, given, seed)
        begun = self._perform(
            Retrain(
                project=self._project,
                endpoint=self._endpoint,
                source=source,
                function=run.pipeline,
                parameters=run.parameters,
                given=run.given,
                data=data,
                seed=seed,
                since=timestamp(until - plans.duration(length)),
                until=timestamp(until),
                plan=plan.digest if plan is not None else "",
                alert=wanted.alert,
                by_itself=wanted.by_itself,
            )
        )
        self._done.append(f"began retraining {begun['id']}")
        return self._reread(Retraining(begun, ""))

    def _plan(self, view: View, model: str) -> Proposed | None:
        if self._wanted.plan:
            return plan_called(view, self._project, self._wanted.plan)
        return None if self._wanted.source else usable_plan(view, self._project, model)

    # -- running -----------------------------------------------------------------------------------

    def _prepare(
        self, source: str, parameters: Mapping[str, Any], seed: int, *, resumes: str = ""
    ) -> Any:
        from assay.actions import runs

        self._tell(f"planning {source}")
        return runs.prepare(
            self._workspace,
            self._project,
            source,
            folder=self._folder,
            parameters=parameters,
            seed=seed,
            # Each step is seen anew: what another code made before is not within a plan.
            cache="use" if resumes else "ignore",
            resumes=resumes,
            ticket=self._wanted.ticket,
        )

    def _run(self, held: Retraining) -> None:
        from assay.actions.runs import state_of

        begun, view = held.begun, self._view
        before = runs_of(view, self._project, held)
        resumes = ""
        if before:
            state = state_of(view, before[-1])
            if state == "done":
                return  # To run it again would be a choice among results.
            if state == "running" and self._is_alive(before[-1]["run"]):
                raise Conflict(
                    f"run {before[-1]['run']} of this retraining still runs",
                    remedy=f"wait for it, then: assay retrain {self._endpoint}",
                    code="retrain.running",
                )
            resumes = before[-1]["run"]
        parameters = begun["parameters"]
        if not resumes:
            # What the pipeline's own code fills in was given by nobody.
            parameters = {name: parameters[name] for name in begun["given"]}
        action = self._prepare(begun["source"], parameters, begun["seed"], resumes=resumes)
        if (action.pipeline, action.parameters) != (begun["function"], begun["parameters"]):
            raise Conflict(
                f"the pipeline {begun['source']} takes or does something else than when retraining "
                f"{held.id} began",
                remedy=f"assay retrain {self._endpoint} --give-up, and begin another",
                code="retrain.changed",
            )
        ended = self._perform(action)
        if ended.error is not None:
            raise ended.error
        self._done.append(f"ran {begun['source']}: run {ended.record.run}")

    def _is_alive(self, run: str) -> bool:
        from assay.workspace.running import Running

        return Running(self._workspace.layout.root).is_alive(run)

    # -- deciding ----------------------------------------------------------------------------------

    def _decide(self, held: Retraining, version: VersionState) -> Carried:
        verdict = self._challenged(held, version)
        if verdict is None:
            return self._carried(held, version, "waits for labels", None)
        if verdict["lost"] and not verdict["won"]:
            why = f"it is not better than version {verdict['champion']['version']}"
            return self._end(held, version, "kept", why, verdict)
        if not verdict["won"]:
            return self._carried(held, version, "waits for labels", verdict)
        promote = Promote(
            project=self._project, model=version.name, version=version.version, stage="production"
        )
        # Looked at first: a loop that asks every minute would fill the ledger with denials.
        decision, target = self._workspace.preview(self._credential, promote)
        if not decision.allowed:
            carried = self._carried(held, version, "waits for people", verdict)
            carried.waits = list(denied(promote, target, decision).details["reasons"])
            return carried
        self._perform(promote)
        self._done.append(f"promoted version {version.version}")
        return self._end(held, version, "promoted", "it won, and every gate was open", verdict)

    def _challenged(self, held: Retraining, version: VersionState) -> dict[str, Any] | None:
        """How the last challenge went, asked anew where that may change anything."""
        action = Challenge(
            project=self._project, model=version.name, version=version.version, retraining=held.id
        )
        view, now = self._view, self._workspace.clock.now()
        if self._wanted.by_itself and not is_worth_asking(view, action, now):
            last = last_challenge(view, version, held.id)
            return last.statement.predicate if last is not None else None
        verdict = self._perform(action)
        if verdict["rows"]:
            self._done.append(f"compared it on {verdict['rows']:,} labelled requests")
        return verdict

    def _was_promoted(self, version: VersionState) -> bool:
        """Whether it ever was in production: what took it out since then is not undone."""
        return any(
            kind_of(item.statement) == "alias"
            and item.statement.predicate["alias"] == "production"
            and item.statement.predicate["version"] == version.version
            and item.statement.predicate["name"] == version.name
            for item in statements_about(self._view, version)
        )

    def _end(
        self,
        held: Retraining,
        version: VersionState,
        end: str,
        reason: str,
        verdict: dict[str, Any] | None = None,
    ) -> Carried:
        self._step(held, "end", f"ended: {end}, {reason}", end=end, reason=reason)
        return self._carried(held, version, end, verdict)

    def _carried(
        self, held: Retraining, version: VersionState, state: str, verdict: dict[str, Any] | None
    ) -> Carried:
        view = self._view
        judged = change_of(view, version, view.version_facts(version).values)
        return Carried(
            id=held.id,
            state=state,
            version=version.version,
            champion=held.begun["champion"],
            challenge=verdict,
            outside=judged.outside if judged is not None else [],
            done=self._done,
        )
