"""Runs of pipelines: plan one, run it, look at it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from assay import canonical, ids
from assay.actions.datasets import ring_of
from assay.actions.people import project_target
from assay.actions.run_host import (
    PRODUCER,
    RunHost,
    pipeline_digest,
    run_digest,
    runs_digest,
)
from assay.clock import timestamp
from assay.errors import AssayError, NotFound, Unavailable, Usage
from assay.evidence.state import kind_of
from assay.evidence.statement import SLSA_PROVENANCE, Statement
from assay.govern import origin
from assay.isolation.probe import probe
from assay.pipeline import keys, plan, records
from assay.pipeline.bytecode import cache_folder
from assay.pipeline.executors import LocalExecutor, open_executor
from assay.pipeline.plan import Plan
from assay.pipeline.records import RunRecord, TaskRecord
from assay.pipeline.runner import CacheUse, Runner
from assay.types import Digest
from assay.workspace.action import Action, Doing, Outcome, Target
from assay.workspace.door import Workspace
from assay.workspace.memo import Memo
from assay.workspace.running import Running
from assay.workspace.view import View

KIND = "pipeline-run"
RECORD_LIMIT = 1 << 30

_PLANS: dict[Digest, Plan] = {}
"""What was planned in this process, by the digest that the action names."""


@dataclass(frozen=True, slots=True)
class Ended:
    """What came of a run: its record, and the error that ended it."""

    record: RunRecord
    error: AssayError | None
    denied: bool


class RunPipeline(Action, frozen=True, kw_only=True):
    """Run a pipeline, as it was planned by `prepare`.

    What it needs stands here, signed by whoever asks and put before policy: the code, the state of
    what is installed, ports, environment variables, processes, and where it runs.
    """

    name: ClassVar[str] = "runPipeline"
    source: str
    """``FILE[:PIPELINE]`` or ``MODULE[:PIPELINE]``, as it was asked for."""
    pipeline: str
    """``module:function``."""
    plan: str
    """Digest over code, graph and environment; see `prepare`."""
    parameters: dict[str, Any]
    """All of them, with those that the pipeline's code fills in."""
    environment: str
    isolation: str
    ports: tuple[int, ...] = ()
    variables: tuple[str, ...] = ()
    processes: bool = False
    executor: str = "local"
    jobs: int = 0
    """Steps at once, here; 0 for as many as there are cores."""
    seed: int = 0
    cache: CacheUse = "use"
    check_determinism: bool = False
    resumes: str = ""
    """The run that this one goes on with."""
    given: tuple[str, ...] = ()
    """The parameters that whoever asks gave, and that may name files outside of the project."""
    ticket: str = ""
    """Under which it reads and trains on special categories of personal data."""

    def target(self, view: View) -> Target:
        if self.resumes:
            find_run(view, self.project, self.resumes)
        context = {
            "environment": self.environment,
            "isolation": self.isolation,
            "ports": list(self.ports),
            "variables": list(self.variables),
            "processes": self.processes,
            "executor": self.executor,
        }
        made = project_target(view, self.project, context)
        made.words = {"project": self.project}
        return made

    def apply(self, doing: Doing) -> Outcome:
        made = planned(self)
        local = self.executor == "local"
        executor = (
            LocalExecutor(self.jobs, made.bytecode) if local else open_executor(self.executor)
        )
        started = timestamp(doing.clock.now())
        work = doing.layout.root / "work" / doing.decision
        root = find_run(doing.view, self.project, self.resumes)["root"] if self.resumes else ""
        host = RunHost(doing, self, made, work, root=root)
        about = self._about(doing, root)
        doing.record([self._statement(doing, {**about, "state": "running", "started": started})])
        runner = Runner(
            made,
            host,
            executor,
            work=work,
            seed=self.seed,
            cache=self.cache,
            check_determinism=self.check_determinism,
            require=self.isolation,
        )
        try:
            runner.run()
        finally:
            host.clear()
        state: Literal["done", "failed", "cancelled"] = (
            "cancelled" if runner.cancelled else "failed" if runner.failed else "done"
        )
        record = self._record(doing, made, runner, started, state, executor)
        kept = doing.store.put(ring_of(self.project), records.encode(record), salted=True)
        told = {
            **about,
            "state": state,
            "started": started,
            "finished": record.finished,
            "record": kept,
            "counts": record.counts(),
            # Others are named by the provenance of what was made.
            "logs": [task.log for task in record.tasks if task.log and not task.envelope],
            "code": record.code_digest,
            "environment": {
                "state": record.environment,
                "digest": made.environment.digest,
            },
        }
        statement = self._statement(doing, told)
        error = runner.failed
        value = Ended(record, error, error is not None and error.kind == "denied")
        return Outcome(value, [statement], status=state)

    def _about(self, doing: Doing, root: str) -> dict[str, Any]:
        """What is known of a run when it begins."""
        return {
            "run": doing.decision,
            "root": root or doing.decision,
            "source": self.source,
            "pipeline": self.pipeline,
            "actor": doing.actor,
            "parameters": self.parameters,
            "given": list(self.given),
            "executor": self.executor,
            "seed": self.seed,
        }

    def _statement(self, doing: Doing, told: dict[str, Any]) -> Statement:
        subject = {
            f"run:{doing.decision}": run_digest(doing.decision),
            "runs": runs_digest(self.project),
            f"pipeline:{self.pipeline}": pipeline_digest(self.project, self.pipeline),
        }
        if "record" in told:
            subject["record"] = Digest(told["record"])
        return doing.attest(KIND, subject, told, producer=PRODUCER)

    def _record(
        self,
        doing: Doing,
        planned: Plan,
        runner: Runner,
        started: str,
        state: Literal["done", "failed", "cancelled"],
        executor: Any,
    ) -> RunRecord:
        graph = planned.graph
        targets = {node.target for node in graph.nodes if node.kind == "step"}
        return RunRecord(
            format=records.FORMAT,
            run=doing.decision,
            pipeline=self.pipeline,
            name=graph.name,
            project=self.project,
            purpose=graph.purpose,
            parameters=graph.parameters,
            seed=self.seed,
            actor=doing.actor,
            started=started,
            finished=timestamp(doing.clock.now()),
            state=state,
            executor=self.executor,
            transport=str(getattr(executor, "transport", "none: the steps ran on this machine")),
            code={target: planned.code_of(target) for target in sorted(targets)},
            code_digest=planned.archive_digest,
            environment=planned.environment.state,
            python=planned.environment.python,
            platform=planned.environment.platform,
            distributions=dict(planned.environment.distributions),
            graph={node.id: sorted(node.needs()) for node in graph.nodes},
            tasks=runner.tasks,
            result=graph.result,
            resumes=self.resumes,
        )


def prepare(
    workspace: Workspace,
    project: str,
    target: str,
    *,
    folder: Path,
    parameters: Mapping[str, Any] | None = None,
    executor: str = "local",
    jobs: int = 0,
    seed: int = 0,
    cache: CacheUse = "use",
    check_determinism: bool = False,
    resumes: str = "",
    ticket: str = "",
) -> RunPipeline:
    """Plan a run of ``FILE[:PIPELINE]`` or ``MODULE[:PIPELINE]``: what to ask the door for.

    Reads and hashes the code, verifies what is installed and traces the pipeline in a confined
    process.  Raises `Usage`, `NotFound`, `Verification` or `Unavailable`.
    """
    workspace.view.follow()
    given = dict(parameters or {})
    if resumes:
        # What the code filled in then was not given by anybody, nor is it now.
        before = find_run(workspace.view, project, resumes).get("given", [])
        named = [parameter for parameter in given if parameter in before]
    else:
        named = list(given)
    name = f"plan-{ids.new_id()}"
    work = workspace.layout.root / "work" / name
    # Recovery, elsewhere and meanwhile, leaves a folder alone that is marked.
    with Running(workspace.layout.root).mark(name):
        try:
            made = plan.make(
                target,
                folder=folder.resolve(),
                parameters=given,
                named=named,
                memo=workspace.view.memo,
                work=work,
                cache=cache_folder(),
            )
        finally:
            shutil.rmtree(work, ignore_errors=True)
    digest = keys.digest(
        {
            "code": made.archive_digest,
            "graph": canonical.digest(plan.encoded(made.graph)),
            "environment": made.environment.digest,
        }
    )
    _PLANS[digest] = made
    if seed < 0:
        raise Usage(f"the seed {seed} is negative", remedy="--seed 0", code="run.seed")
    return RunPipeline(
        project=project,
        source=target,
        pipeline=made.graph.pipeline,
        plan=digest,
        parameters=made.graph.parameters,
        environment=made.environment.state,
        isolation=_level(workspace.view.memo),
        ports=tuple(made.ports),
        variables=tuple(made.variables),
        processes=made.processes,
        executor=executor,
        jobs=jobs,
        seed=seed,
        cache=cache,
        check_determinism=check_determinism,
        resumes=resumes,
        given=tuple(sorted(named)),
        ticket=ticket,
    )


def planned(action: RunPipeline) -> Plan:
    """The plan that `prepare` made for an action in this process."""
    found = _PLANS.get(Digest(action.plan))
    if found is None:
        raise Unavailable(
            "this run was planned by another process",
            remedy="plan it here: assay.actions.runs.prepare",
            code="run.plan",
        )
    return found


def _level(memo: Memo) -> str:
    """The isolation that this machine reaches, found once since it was started.

    Each step demands this level again when it runs, where it is tried and not remembered: a wrong
    answer here denies or stops a run, and loosens nothing.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return probe().level
    key = f"isolation/{boot}/{os.geteuid()}/{Path('/proc/self/ns/mnt').readlink()}"
    known = memo.get(key)
    if known is None:
        known = probe().level.encode()
        memo.put(key, known)
    return known.decode()


# -- looking at runs -------------------------------------------------------------------------------


def runs(view: View, project: str) -> list[dict[str, Any]]:
    """The runs of a project, newest first, as their statements tell of them.

    A run that was killed has the state ``running`` for ever; see `state_of`.
    """
    found: dict[str, dict[str, Any]] = {}
    for item in view.evidence(project, runs_digest(project)):
        statement = item.statement
        # A model may consist of the bytes that the digest of all runs is made of.
        if (
            statement.header.project == project
            and item.producer == PRODUCER
            and kind_of(statement) == KIND
        ):
            found[statement.predicate["run"]] = statement.predicate
    return list(reversed(found.values()))


def state_of(view: View, run: Mapping[str, Any]) -> str:
    """``done``, ``failed``, ``cancelled``, ``running``, or ``interrupted``: killed, or still being
    recovered."""
    if run["state"] == "running" and run["run"] in view.state.closed:
        return "interrupted"
    return str(run["state"])


def find_run(view: View, project: str, run: str) -> dict[str, Any]:
    """The run of that id, or of which that is the beginning or the end; or ``latest``."""
    known = runs(view, project)
    if run == "latest" and known:
        return known[0]
    same = [r for r in known if r["run"] == run]
    if not same and len(run) >= 4:
        same = [r for r in known if r["run"].startswith(run) or r["run"].endswith(run)]
    if len(same) == 1:
        return same[0]
    near = ", ".join(r["run"] for r in (same or known)[:3])
    raise NotFound(
        f"no run {run[:60]} in project {project}"
        if not same
        else f"{run[:60]} is the beginning or end of {len(same)} runs of project {project}",
        remedy=f"{'these' if same else 'the last'}: {near}; all: assay run list"
        if known
        else "assay run FILE",
        code="run",
    )


def finished_tasks(view: View, project: str, run: str) -> list[str]:
    """The tasks that a run recorded as done, in that order: of one that was killed, too."""
    found: list[str] = []
    for item in view.evidence(project, run_digest(run)):
        statement = item.statement
        if (
            statement.header.project == project
            and item.producer == PRODUCER
            and statement.predicateType == SLSA_PROVENANCE
            and origin.run_of(statement.predicate) == run
        ):
            asked = statement.predicate["buildDefinition"]["externalParameters"]
            found.append(str(asked.get("task", "")))
    return found


class ReadRun(Action, frozen=True, kw_only=True):
    """Open the sealed record of a run, or the log of one of its steps."""

    name: ClassVar[str] = "readEvidence"
    run: str
    task: str = ""
    """The step whose log is wanted; empty for the record alone."""

    def target(self, view: View) -> Target:
        return project_target(view, self.project, {})

    def apply(self, doing: Doing) -> Outcome:
        found = find_run(doing.view, self.project, self.run)
        if "record" not in found:
            raise NotFound(
                f"run {self.run} has not finished, so there is no record of it",
                remedy=f"wait for it; if it was killed: assay run resume {found['run']}",
                code="run.record",
            )
        record = read_record(doing, Digest(found["record"]))
        if not self.task:
            return Outcome(record)
        task = find_task(record, self.task)
        if not task.log:
            return Outcome(b"")
        return Outcome(doing.store.read(ring_of(self.project), Digest(task.log), RECORD_LIMIT))


def read_record(doing: Doing, digest: Digest) -> RunRecord:
    """A run's record from the store."""
    return records.decode(doing.store.read(ring_of(doing.project), digest, RECORD_LIMIT))


def find_task(record: RunRecord, name: str) -> TaskRecord:
    """A task of a run by its name; raises `NotFound`."""
    for task in record.tasks:
        if task.name == name:
            return task
    raise NotFound(
        f"run {record.run} has no step {name[:60]}",
        remedy=f"its steps: {', '.join(_some(task.name for task in record.tasks))}",
        code="run.step",
    )


def _some(names: Any) -> Sequence[str]:
    listed = list(names)
    return [*listed[:20], f"and {len(listed) - 20} more"] if len(listed) > 20 else listed
