"""What a run asks of whoever runs it: an action behind the door, or a test.

The runner holds no key and no ledger; this is all that it can reach of the workspace.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from assay.pipeline.graph import Node, Output
from assay.pipeline.records import Artifact, Event, TaskRecord

if TYPE_CHECKING:
    from assay.pipeline.arguments import Resolved, Resolver
    from assay.pipeline.observed import Seen


@dataclass(frozen=True, slots=True)
class Found:
    """A result that the ledger knows under a key."""

    outputs: list[list[Artifact]]
    run: str
    envelope: str
    level: str
    imports: tuple[str, ...]
    """Library modules that were loaded though no code of the pipeline imports them by name…"""
    distributions: Mapping[str, str]
    """…and the distributions that they came from then."""
    missing: tuple[str, ...]
    """Modules that were looked for in vain."""


@dataclass(frozen=True, slots=True)
class Made:
    """A result to record."""

    record: TaskRecord
    node: Node
    code: Mapping[str, str]
    arguments: Resolved
    seen: Seen
    key: str
    """Empty: it is not to be found again."""
    resume: str
    """The key under which only a run that resumes this one finds it."""


@dataclass(frozen=True, slots=True)
class Effect:
    """What a built-in step did."""

    value: Any
    rows: Artifact | None = None
    datasets: tuple[str, ...] = ()
    """The datasets that `rows` are of."""
    unchanged: bool = False


@dataclass(frozen=True, slots=True)
class Source:
    """An artifact, and where a task reads it."""

    artifact: Artifact
    suffix: str = field(default="")

    @property
    def name(self) -> str:
        """A file name for it.  The same bytes may be two things: a registered dataset becomes
        Parquet where it is read, and a file stays as it is."""
        codec = self.artifact.codec.replace("/", "-")
        return f"{codec}-{self.artifact.digest.partition(':')[2]}{self.suffix}"


class Host(Protocol):
    """See the implementation: `assay.actions.runs`."""

    project: str
    run: str

    def find(self, key: str, *, resume: bool) -> Found | None:
        """The newest result under this key whose statement counts; with `resume`, of the run that
        is resumed only."""
        ...

    def damaged(self, artifact: Artifact) -> str:
        """Read and hash an artifact; why it cannot be used, or empty."""
        ...

    def explain(self, record: TaskRecord, shared: Mapping[str, str]) -> list[str]:
        """Why there is no result for this key: what has changed since the run before."""
        ...

    def keep(self, path: Path, output: Output) -> Artifact:
        """Seal an output file."""
        ...

    def keep_log(self, path: Path) -> str:
        """Seal what a step printed; its digest, or empty."""
        ...

    def place(self, artifact: Artifact, path: Path) -> None:
        """Write an artifact's plain bytes to a new file."""
        ...

    def file(self, path: str) -> Artifact:
        """Seal a file that the pipeline names; raises `Usage` for one it may not name."""
        ...

    def variables(self, names: Sequence[str]) -> dict[str, str]:
        """Keyed digests of environment variables; raises `Usage` for one that is not set."""
        ...

    def environment(self, names: Sequence[str]) -> dict[str, str]:
        """Environment variables, for the step that declared them."""
        ...

    def may_train(self, dataset: str) -> None:
        """Ask whether a model may be trained on a dataset; raises `Denied`."""
        ...

    def effect(self, node: Node, resolver: Resolver) -> Effect:
        """Do a built-in step."""
        ...

    def record(self, made: Sequence[Made]) -> None:
        """Sign and append the provenance of results; sets each record's `envelope`."""
        ...

    def tell(self, event: Event) -> None:
        """Something happened."""
        ...
