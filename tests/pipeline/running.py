"""Whole runs to test on: a workspace, a project folder beside its files, and `Place.run`.

A workspace is made once for each process that runs tests, and a first run in it, so that what is
installed is verified and compiled once; each test gets a copy.
"""

from __future__ import annotations

import json
import os
import shutil
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from assay.actions import runs
from assay.actions.administration import ApplyPolicy, CreateProject
from assay.actions.datasets import ring_of
from assay.actions.material import models_ring
from assay.actions.run_host import PRODUCER
from assay.actions.runs import Ended, ReadRun
from assay.errors import AssayError
from assay.evidence import envelope as dsse
from assay.evidence.ledger import Entry
from assay.evidence.signers import FileSigner, MemorySigner, Signer
from assay.evidence.state import WORKSPACE
from assay.evidence.statement import Statement
from assay.pipeline.graph import Options
from assay.pipeline.records import Artifact, RunRecord, TaskRecord
from assay.policy import bundle as policies
from assay.workspace.action import Action
from assay.workspace.credentials import Person
from assay.workspace.door import Workspace
from assay.workspace.opening import (
    POLICY_RING,
    Founding,
    create_workspace,
    declared_facts,
    open_workspace,
)

HEAD = "from assay.pipeline import each, pipeline, step\n"
WARM = """
@step
def first() -> int:
    return 1

@pipeline
def warm() -> object:
    return first()
"""


MAIN = "@pipeline\ndef main():\n    return work()\n"
HELPERS = """
from pathlib import Path

@step
def one() -> int:
    return 1

@step
def some() -> list[int]:
    return [1, 2]

@step
def raw() -> bytes:
    return b"raw"

@step
def two() -> tuple[int, str]:
    return 1, "a"

@step
def use(n: int) -> int:
    return n

@step
def add(a: int, b: int) -> int:
    return a + b

@step
def each_of(numbers: list[int]) -> int:
    return sum(numbers)

@step
def file(path: Path) -> int:
    return len(path.read_bytes())
"""


def body(lines: str) -> str:
    return f"{HELPERS}\n@pipeline\ndef main(n: int = 1) -> object:\n    {lines}\n"


def says(error: AssayError, expected: tuple[str, ...], *, status: int) -> None:
    line = f"{error.message} → {error.remedy}"
    assert error.remedy, line
    assert "\n" not in line
    for part in expected:
        assert part in line, line
    assert error.exit_status == status, error.code


CHAIN = """
@step
def one() -> int:
    return 1

@step
def two(n: int) -> int:
    return n + 1

@step{options}
def three(n: int) -> int:
    return n + 1

@step
def four(n: int) -> int:
    return n + 1

@pipeline
def main() -> object:
    return four(three(two(one())))
"""


class Killed(BaseException):
    """Stands for SIGKILL: nothing in the product may catch it."""


@dataclass(frozen=True)
class Ran:
    """What came of a run."""

    place: Place
    ended: Ended

    @property
    def record(self) -> RunRecord:
        return self.ended.record

    @property
    def states(self) -> dict[str, str]:
        return {task.name: task.state for task in self.record.tasks}

    def task(self, name: str) -> TaskRecord:
        (found,) = [task for task in self.record.tasks if task.name == name]
        return found

    def why(self, name: str) -> str:
        return "; ".join(self.task(name).why)

    def value(self, name: str, output: int = 0) -> Any:
        """What a step gave, as the store has it."""
        given = [self.place.read(artifact) for artifact in self.task(name).outputs[output]]
        return given[0] if len(given) == 1 else given

    def log(self, name: str) -> str:
        asked = ReadRun(project=self.record.project, run=self.record.run, task=name)
        return self.place.do(asked).decode()

    @property
    def problem(self) -> str:
        """The error that ended it, in one line."""
        error = self.ended.error
        assert error is not None, self.states
        return f"{error.message} → {error.remedy}"


@dataclass
class Place:
    """A workspace of one person, who also writes the pipelines: ``repo`` is the project folder."""

    base: Path
    signer: MemorySigner
    _open: list[Workspace] = field(default_factory=list)

    @property
    def repo(self) -> Path:
        return self.base / "repo"

    @property
    def root(self) -> Path:
        return self.repo / ".assay"

    @property
    def person(self) -> Person:
        return Person(self.signer)

    @property
    def ws(self) -> Workspace:
        return self._open[0] if self._open else self.reopen()

    def reopen(self) -> Workspace:
        """The workspace as another process would open it."""
        self._open[:] = [open_workspace(self.repo)]
        return self._open[0]

    def do(self, action: Action) -> Any:
        return self.ws.perform(self.person, action)

    # -- code -------------------------------------------------------------------------------------

    def write(self, name: str, text: str) -> Path:
        """A file of the project."""
        path = self.repo / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
        return path

    def code(self, text: str, name: str = "p.py") -> Path:
        """A module of the project that uses pipelines."""
        return self.write(name, HEAD + textwrap.dedent(text))

    def edit(self, name: str, old: str, new: str) -> None:
        path = self.repo / name
        text = path.read_text()
        assert old in text, text
        path.write_text(text.replace(old, new))

    # -- runs -------------------------------------------------------------------------------------

    def plan(
        self, target: str = "p.py", *, project: str = "alpha", given: Any = None, **options: Any
    ) -> runs.RunPipeline:
        return runs.prepare(self.ws, project, target, folder=self.repo, parameters=given, **options)

    def run(
        self,
        target: str = "p.py",
        given: Mapping[str, Any] | None = None,
        *,
        project: str = "alpha",
        progress: Callable[[str], None] = lambda _: None,
        **options: Any,
    ) -> Ran:
        """Run a pipeline to its end, however it ends."""
        action = self.plan(target, project=project, given=given, **options)
        return Ran(self, self.ws.perform(self.person, action, progress=progress))

    def ok(self, target: str = "p.py", given: Any = None, **options: Any) -> Ran:
        """Run one that ends well."""
        ran = self.run(target, given, **options)
        assert ran.ended.error is None, ran.problem
        assert ran.record.state == "done"
        return ran

    def fails(self, target: str = "p.py", given: Any = None, **options: Any) -> Ran:
        """Run one that fails while it runs, and leaves nothing behind."""
        ran = self.run(target, given, **options)
        assert ran.ended.error is not None, ran.states
        assert ran.record.state == "failed"
        assert self.left() == []
        return ran

    def left(self) -> list[str]:
        """What lies in plain, or is held by a decision, after a run."""
        folders = [self.root / "work", self.root / "doing"]
        return [path.name for folder in folders if folder.is_dir() for path in folder.iterdir()]

    # -- looking ----------------------------------------------------------------------------------

    def read(self, artifact: Artifact, project: str = "alpha") -> Any:
        ring = models_ring(project) if artifact.kind == "model" else ring_of(project)
        data = self.ws.store.read(ring, artifact.digest, 1 << 26)
        return json.loads(data) if artifact.codec.startswith("json/") else data

    def provenance(self, task: TaskRecord, project: str = "alpha") -> list[Statement]:
        """The provenance statements of what a task made, newest last."""
        digests = [a.digest for output in task.outputs for a in output]
        found = self.ws.view.evidence(project, *digests)
        wanted = [item.statement for item in found if item.producer == PRODUCER]
        return [s for s in wanted if task.name in str(s.predicate["buildDefinition"])]

    def slip_in(self, statement: Statement, *signers: Signer) -> None:
        """Append to the ledger by hand, past the door, as who holds the files could."""
        envelope = dsse.encode(dsse.sign(statement, *signers))
        self.ws.ledger.append([Entry(statement.header.project, envelope)])
        self.ws.view.follow()

    @property
    def workspace_key(self) -> FileSigner:
        return FileSigner.load(self.root / "keys" / "workspace.pem")

    def blob(self, artifact: Artifact, project: str = "alpha") -> Path:
        """The file in which an artifact lies."""
        store = self.ws.store
        name = models_ring(project) if artifact.kind == "model" else ring_of(project)
        ring = store.rings.ring(name)
        entry = store._index.find(ring, artifact.digest)
        assert entry is not None
        return self.root / "blobs" / store.blob_key(ring, entry.blob)

    def index_entry(self, artifact: Artifact, project: str = "alpha") -> Path:
        """The file that says so."""
        index = self.ws.store._index
        name = models_ring(project) if artifact.kind == "model" else ring_of(project)
        ring = self.ws.store.rings.ring(name)
        return self.root / "blobs" / index.key(ring, index.name(ring, artifact.digest))

    # -- policy -----------------------------------------------------------------------------------

    def settings(self, **changed: Any) -> None:
        """Change settings of the policy, and apply it."""
        path = self.repo / "policy" / "settings.toml"
        lines = path.read_text().splitlines()
        for name, value in changed.items():
            numbers = [n for n, line in enumerate(lines) if line.startswith(f"{name} ")]
            lines[numbers[0]] = f"{name} = {json.dumps(value)}"
        path.write_text("\n".join(lines) + "\n")
        bundle = policies.build(self.repo / "policy", declared_facts())
        digest = self.ws.store.put(POLICY_RING, bundle.encode())
        self.do(ApplyPolicy(project=WORKSPACE, bundle=digest))

    def another_project(self, name: str = "beta") -> str:
        (actor,) = self.ws.view.follow().actors
        self.do(CreateProject(project=WORKSPACE, new=name, owner=actor))
        return name


_template: list[Place] = []


def template(factory: pytest.TempPathFactory) -> Place:
    """The workspace that others are copies of; with it, what was compiled once."""
    if not _template:
        base = factory.mktemp("running")
        # Of all tests of this process: compiled files depend on what is installed alone.
        os.environ["XDG_CACHE_HOME"] = str(base / "cache")
        with pytest.MonkeyPatch.context() as environment:
            _inside(base / "it", environment)
            signer = MemorySigner.generate()
            place = Place(base / "it", signer)
            place.repo.mkdir(parents=True)
            founding = Founding("alpha", "ada", signer, "personal-key", development=True)
            create_workspace(place.repo, founding)
            place.code(WARM, "warm.py")
            place.ok("warm.py")
            (place.repo / "warm.py").unlink()
            place.ws.close()
            place._open.clear()
        _template.append(place)
    return _template[0]


def copy_of(place: Place, base: Path, environment: pytest.MonkeyPatch) -> Place:
    """A workspace of its own for one test."""
    shutil.copytree(place.base, base, symlinks=True)
    _inside(base, environment)
    return Place(base, place.signer)


def _inside(base: Path, environment: pytest.MonkeyPatch) -> None:
    environment.setenv("ASSAY_KEYS", str(base / "keys"))
    environment.setenv("XDG_STATE_HOME", str(base / "state"))
    for name in ("ASSAY_PROJECT", "ASSAY_CATALOG"):
        environment.delenv(name, raising=False)


def options(place: Place, target: str = "p.py") -> dict[str, Options]:
    """The options of each node of a plan."""
    graph = runs.planned(place.plan(target)).graph
    return {node.id: node.options for node in graph.nodes}
