"""What is kept of a run: ``assay/run/v1``, one JSON document, sealed, and named by the ledger."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import msgspec

from assay.errors import Corrupt
from assay.pipeline.graph import From
from assay.types import Digest

FORMAT = "assay/run/v1"

StepState: TypeAlias = Literal["waiting", "running", "done", "cached", "failed", "skipped"]
RunState: TypeAlias = Literal["done", "failed", "cancelled"]


class Artifact(msgspec.Struct, frozen=True):
    """What a step gave, as it lies in the store."""

    digest: Digest
    codec: str
    kind: Literal["data", "model"]
    size: int


class Problem(msgspec.Struct):
    """Why a task failed: what was wrong, where, and what to do."""

    code: str
    message: str
    remedy: str = ""
    place: str = ""


class TaskRecord(msgspec.Struct, omit_defaults=True):
    """One task: a step, or one item of a mapped one."""

    name: str
    """``train``, ``fit[3]``."""
    node: str
    state: StepState
    key: str = ""
    components: dict[str, str] = {}
    """What its key is made of, besides the code and the installation, which the run lists."""
    why: list[str] = []
    """Why it ran instead of being taken from the cache; or why it was not run at all."""
    unstored: list[str] = []
    """Why its result is not used again: what it read or loaded that its key does not cover."""
    outputs: list[list[Artifact]] = []
    value: Any = None
    """What a built-in step gave: a version, a dataset."""
    envelope: str = ""
    """The provenance statement."""
    made_by: str = ""
    """The run that made it, where it was taken from the cache."""
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    max_rss: int = 0
    level: str = ""
    where: str = ""
    attempts: int = 0
    log: str = ""
    """Digest of the sealed log; empty where it printed nothing."""
    problem: Problem | None = None


class RunRecord(msgspec.Struct):
    """A whole run."""

    format: str
    run: str
    pipeline: str
    name: str
    project: str
    purpose: str
    parameters: dict[str, Any]
    seed: int
    actor: str
    started: str
    finished: str
    state: RunState
    executor: str
    transport: str
    """How what a task reads travels to where it runs."""
    code: dict[str, dict[str, str]]
    """Step → the components of its key that are code and what is installed."""
    code_digest: Digest
    environment: str
    """``locked``, ``verified`` or ``altered``."""
    python: str
    platform: str
    distributions: dict[str, str]
    graph: dict[str, list[str]]
    """Node → the nodes that it waits for."""
    tasks: list[TaskRecord]
    result: list[From] = []
    resumes: str = ""

    def counts(self) -> dict[str, int]:
        """How many tasks ended in which state."""
        found: dict[str, int] = {}
        for task in self.tasks:
            found[task.state] = found.get(task.state, 0) + 1
        return found


def encode(record: RunRecord) -> bytes:
    """The document; JSON with sorted keys."""
    return msgspec.json.encode(record, order="deterministic")


def decode(data: bytes) -> RunRecord:
    """A record; raises `Corrupt` for anything else."""
    try:
        record = msgspec.json.decode(data, type=RunRecord)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise Corrupt(f"the record of a run cannot be read: {error}", code="run") from error
    if record.format != FORMAT:
        raise Corrupt(
            f"the record of a run is of format {record.format[:40]!r}",
            remedy="read it with the version of assay that wrote it",
            code="run",
        )
    return record


class Event(str):
    """A line of progress for a person, which also carries the task it is about for a program."""

    __slots__ = ("task",)
    task: TaskRecord

    def __new__(cls, text: str, task: TaskRecord) -> Event:
        made = super().__new__(cls, text)
        made.task = task
        return made
