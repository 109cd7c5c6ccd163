"""What a run may reach of the workspace: the store, the ledger and the door, for whoever asked.

Everything here is done under the decision that let the run begin; what needs one of its own (to
read a dataset, to train on it, to register a model) is a nested action.
"""

from __future__ import annotations

import hmac
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from assay import __version__, canonical, files
from assay.actions import run_effects
from assay.actions.datasets import TrainOn, ring_of
from assay.actions.material import models_ring
from assay.clock import timestamp
from assay.errors import AssayError, Usage
from assay.evidence.statement import SLSA_PROVENANCE, Statement, Subject
from assay.pipeline import keys, records
from assay.pipeline.arguments import Resolver
from assay.pipeline.graph import Node, Output
from assay.pipeline.host import Effect, Found, Made
from assay.pipeline.plan import Plan
from assay.pipeline.records import Artifact, Event, RunRecord, TaskRecord
from assay.types import Digest
from assay.workspace.action import Doing

if TYPE_CHECKING:
    from assay.actions.runs import RunPipeline

PRODUCER = "assay.pipeline/1"
BUILD_TYPE = "https://assay.dev/pipeline-step/v1"
BUILDER = "https://assay.dev/pipeline-runner/v1"
_RECORD_LIMIT = 1 << 30
_LOG_LIMIT = 64 << 20


def run_digest(run: str) -> Digest:
    """The subject under which statements about a run are filed."""
    return canonical.digest(f"assay/run/{run}".encode())


def runs_digest(project: str) -> Digest:
    """The subject under which all runs of a project are filed."""
    return canonical.digest(f"assay/runs/{project}".encode())


def pipeline_digest(project: str, pipeline: str) -> Digest:
    """The subject under which the runs of one pipeline are filed."""
    return canonical.digest(f"assay/pipeline/{project}/{pipeline}".encode())


def resume_digest(run: str, key: str) -> Digest:
    """The subject under which a run that goes on with `run` finds what others may not use."""
    return canonical.digest(f"assay/resume/{run}/{key}".encode())


class _Cache(msgspec.Struct, frozen=True):
    """What a provenance statement says for those who would use the result again."""

    outputs: list[list[Artifact]]
    imports: list[str]
    distributions: dict[str, str]
    missing: list[str]


class RunHost:
    """Implements `assay.pipeline.host.Host` behind the door."""

    def __init__(
        self, doing: Doing, action: RunPipeline, plan: Plan, work: Path, *, root: str
    ) -> None:
        self.project = doing.project
        self.run = doing.decision
        self._doing = doing
        self._action = action
        self._plan = plan
        self._work = work
        self._trained: set[str] = set()
        self._previous: list[RunRecord] | None = None
        self._effects = run_effects.Effects(doing, action, plan, work)
        # The first of the runs that were resumed one after the other; empty: none was.
        self._root = root
        files.make_folder(work)

    # -- the cache --------------------------------------------------------------------------------

    def find(self, key: str, *, resume: bool) -> Found | None:
        if resume and not self._root:
            return None
        digest = resume_digest(self._root, key) if resume else Digest(key)
        named = Subject("resume" if resume else "key", {"sha256": digest.partition(":")[2]})
        view = self._doing.view
        kinds = view.state.key_kinds()
        gone = view.state.superseded_in(self.project)
        for item in reversed(view.evidence(self.project, digest)):
            statement = item.statement
            ours = any("workspace" in kinds.get(keyid, ()) for keyid in item.keyids)
            if (
                statement.predicateType != SLSA_PROVENANCE
                or item.producer != PRODUCER
                or not ours
                or item.envelope_digest in gone
                or statement.header.project != self.project
                # A step chooses the bytes of a model, and so what they hash to: a key, too.
                or named not in statement.subject
            ):
                continue
            try:
                told = msgspec.convert(statement.predicate["assay_cache"], _Cache)
                details = statement.predicate["runDetails"]
                return Found(
                    told.outputs,
                    str(details["metadata"]["invocationId"]),
                    item.envelope_digest,
                    str(statement.predicate["assay_isolation"]),
                    tuple(told.imports),
                    told.distributions,
                    tuple(told.missing),
                )
            except (KeyError, TypeError, msgspec.ValidationError):
                continue
        return None

    def damaged(self, artifact: Artifact) -> str:
        try:
            self._doing.store.verify(self._ring(artifact.kind), artifact.digest)
        except AssayError as error:
            return error.message
        return ""

    def explain(self, record: TaskRecord, shared: Mapping[str, str]) -> list[str]:
        for before in self._earlier():
            same = [t for t in before.tasks if t.name == record.name and t.components]
            if not same:
                continue
            target = before.code.get(same[0].components["step"], {})
            old = {**target, **same[0].components}
            differs = keys.changed(old, {**shared, **record.components})
            if differs:
                return differs
            if same[0].unstored:
                return [f"its last result was not stored: {why}" for why in same[0].unstored]
            if same[0].state in ("failed", "skipped"):
                return ["it did not finish the last time"]
            return ["its last result is not there any more"]
        return ["it has not run before"]

    def _earlier(self) -> list[RunRecord]:
        """The last runs of this pipeline, newest first."""
        if self._previous is None:
            digest = pipeline_digest(self.project, self._action.pipeline)
            found = self._doing.view.evidence(self.project, digest)
            self._previous = []
            for item in list(reversed(found))[:2]:
                try:
                    kept = Digest(str(item.statement.predicate["record"]))
                    data = self._doing.store.read(ring_of(self.project), kept, _RECORD_LIMIT)
                    self._previous.append(records.decode(data))
                except (AssayError, KeyError):
                    continue
        return self._previous

    # -- files ------------------------------------------------------------------------------------

    def keep(self, path: Path, output: Output) -> Artifact:
        salted = output.kind == "data"
        size = path.stat().st_size
        # A damaged copy is why a step may have run again.
        ring = self._ring(output.kind)
        digest = self._doing.store.put(ring, path, salted=salted, careful=True)
        return Artifact(digest, output.codec, output.kind, size)

    def keep_log(self, path: Path) -> str:
        if not path.exists() or not path.stat().st_size:
            return ""
        with path.open("rb") as stream:
            data = stream.read(_LOG_LIMIT)
        return self._doing.store.put(ring_of(self.project), data, salted=True)

    def place(self, artifact: Artifact, path: Path) -> None:
        if self._effects.place(artifact, path):
            return
        ring = self._ring(artifact.kind)
        # Not made durable: it goes with the run, and what lies in plain had better not last.
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        store = self._doing.store
        with os.fdopen(handle, "wb") as out, store.open(ring, artifact.digest) as sealed:
            shutil.copyfileobj(sealed, out, 1 << 20)

    def file(self, path: str) -> Artifact:
        given = Path(path)
        real = (self._plan.folder / given).resolve()
        by_person = path in self._plan.named_files
        inside = real.is_relative_to(self._plan.folder)
        hidden = real.is_relative_to(self._doing.layout.root.resolve())
        if hidden or not (inside or by_person):
            raise Usage(
                f"the pipeline names the file {path}, which lies outside of the project's folder"
                if not hidden
                else f"the pipeline names {path}, which lies inside of the workspace",
                remedy="move it there, or name it yourself as a parameter: --set name=PATH",
                code="run.file",
            )
        if not real.is_file():
            raise Usage(
                f"the file {path} is not there, or is no plain file",
                remedy="check the path, which is taken from the project's folder",
                code="run.file",
            )
        size = real.stat().st_size
        digest = self._doing.store.put(ring_of(self.project), real, salted=True)
        return Artifact(digest, "file/1", "data", size)

    def _ring(self, kind: str) -> str:
        return models_ring(self.project) if kind == "model" else ring_of(self.project)

    def clear(self) -> None:
        """Remove everything that lay in plain."""
        shutil.rmtree(self._work, ignore_errors=True)

    # -- the environment --------------------------------------------------------------------------

    def environment(self, names: Sequence[str]) -> dict[str, str]:
        return {name: self._variable(name) for name in names}

    def variables(self, names: Sequence[str]) -> dict[str, str]:
        if not names:
            return {}
        key = self._doing.store.rings.ring(ring_of(self.project)).derive("variables")
        return {
            name: hmac.new(key, self._variable(name).encode(), "sha256").hexdigest()
            for name in names
        }

    @staticmethod
    def _variable(name: str) -> str:
        value = os.environ.get(name)
        if value is None:
            raise Usage(
                f"a step declares the environment variable {name}, which is not set",
                remedy=f"export {name}=…",
                code="run.variable",
            )
        return value

    # -- the door ---------------------------------------------------------------------------------

    def may_train(self, dataset: str) -> None:
        if dataset not in self._trained:
            wanted = TrainOn(
                project=self.project,
                dataset=dataset,
                purpose=self._plan.graph.purpose,
                ticket=self._action.ticket,
            )
            self._doing.nested(wanted)
            self._trained.add(dataset)

    def effect(self, node: Node, resolver: Resolver) -> Effect:
        return self._effects.do(node, resolver)

    def tell(self, event: Event) -> None:
        self._doing.progress(event)

    def record(self, made: Sequence[Made]) -> None:
        recorded = self._doing.record([self._provenance(item) for item in made])
        for item, envelope in zip(made, recorded, strict=True):
            item.record.envelope = envelope

    def _provenance(self, made: Made) -> Statement:
        """SLSA provenance v1: https://slsa.dev/spec/v1.0/provenance."""
        record, node = made.record, made.node
        subject: dict[str, Digest] = {}
        for output, artifacts in zip(node.outputs, record.outputs, strict=True):
            for number, artifact in enumerate(artifacts):
                name = f"{record.name}/{output.name}"
                subject[name if len(artifacts) == 1 else f"{name}[{number}]"] = artifact.digest
        if made.key:
            subject["key"] = Digest(made.key)
        if made.resume:
            root = self._root or self.run
            subject["resume"] = resume_digest(root, made.resume)
        # So that what a run did is found, even if it was killed before it could say so itself.
        subject["run"] = run_digest(self.run)
        now = timestamp(self._doing.clock.now())
        predicate = {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {
                    "pipeline": self._action.pipeline,
                    "step": node.target,
                    "task": record.name,
                    "seed": self._action.seed,
                    "arguments": {
                        name.partition(":")[2]: value
                        for name, value in record.components.items()
                        if name.startswith(("argument:", "input:"))
                    },
                },
                "internalParameters": {
                    "options": msgspec.to_builtins(node.options),
                    "variables": list(node.options.variables),
                },
                "resolvedDependencies": _dependencies(made, self._plan),
            },
            "runDetails": {
                "builder": {
                    "id": BUILDER,
                    "version": {"assay": __version__, "python": self._plan.environment.python},
                },
                "metadata": {"invocationId": self.run, "finishedOn": now},
                **(
                    {"byproducts": [{"name": "log", "digest": _hex(record.log)}]}
                    if record.log
                    else {}
                ),
            },
            "assay_decision": self._doing.decision,
            "assay_isolation": record.level,
            "assay_environment": "altered" if made.seen.problems else self._plan.environment.state,
            "assay_executor": {"name": self._action.executor, "where": record.where},
            "assay_cache": msgspec.to_builtins(
                _Cache(
                    record.outputs,
                    list(made.seen.imports),
                    made.seen.distributions,
                    list(made.seen.missing),
                )
            ),
            **({"assay_unstored": record.unstored} if record.unstored else {}),
        }
        return self._doing.statement(SLSA_PROVENANCE, subject, predicate, producer=PRODUCER)


def _hex(digest: str) -> dict[str, str]:
    return {"sha256": digest.rpartition(":")[2]}


def _dependencies(made: Made, plan: Plan) -> list[dict[str, Any]]:
    """Materials: code, packages and inputs, as SLSA's resource descriptors."""
    found: list[dict[str, Any]] = [
        {"name": "code", "digest": _hex(plan.archive_digest)},
        {"name": "environment", "digest": _hex(plan.environment.digest)},
    ]
    for name, value in made.code.items():
        kind, _, what = name.partition(":")
        if kind in ("code", "data"):
            found.append({"name": name, "digest": _hex(value)})
        elif kind == "installed":
            version, _, digest = value.partition(" ")
            found.append({"uri": f"pkg:pypi/{what}@{version}", "digest": _hex(digest)})
    for source in made.arguments.inputs:
        found.append({"name": "input", "digest": _hex(source.artifact.digest)})
    return found
