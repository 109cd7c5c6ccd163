"""Every extension point of assay, in one file.

A package extends assay by an entry point in one of these groups; assay's own parts are registered
in the same way (see ``[project.entry-points]`` in ``pyproject.toml``).

===================  ==========================================================================
group                the entry point names
===================  ==========================================================================
``assay.facts``      a list of fact declarations (dicts, see `assay.evidence.facts`), read when a
                     policy bundle is made: uninstalling the package later changes no policy
``assay.assessors``  an object with the `Assessor` protocol, run by ``assay model assess``
``assay.key_services``  a callable taking a URL and returning a `assay.store.keys.KeyService`
``assay.executors``  a callable without arguments that returns an `Executor`, named by
                     ``assay run FILE --executor NAME``
``assay.codecs``     an object with the `Codec` protocol: how a step's values of some type become
                     files; assay's own are asked first
===================  ==========================================================================

Loading a plug-in runs its code with the rights of this process: installing one is a decision about
trust, and ``assay doctor`` lists those installed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

import msgspec

from assay.errors import Unavailable

if TYPE_CHECKING:
    from concurrent.futures import Future

GROUPS = (
    "assay.facts",
    "assay.assessors",
    "assay.key_services",
    "assay.executors",
    "assay.codecs",
)


Score: TypeAlias = Callable[[Any], Any]
"""Columns (a list of `assay.formats.schema.Column`) → probabilities, an array rows × classes."""
Shadow: TypeAlias = Callable[[Any, Any, int], Score]
"""Columns, labels and a seed → the scores of the model's algorithm trained on those rows."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows to judge a model on: feature `columns`, one label a row, and the values of sensitive
    columns by name."""

    columns: list[Any]
    labels: list[int | str]
    sensitive: dict[str, list[Any]]


@dataclass(frozen=True, slots=True)
class Assessment:
    """What an assessor gets about one model version.  Every model runs in a confined process.

    `train` holds the rows it was trained on, if given; `classes` is empty where the model's file
    does not name them; `champion` is what production serves now, if that is another model; `shadow`
    is None where the algorithm is not known.
    """

    test: Rows
    train: Rows | None
    classes: list[int | str]
    positive: int | str | None
    threshold: float
    seed: int
    score: Score
    champion: Score | None
    shadow: Shadow | None
    progress: Callable[[str], None]


class Assessor(Protocol):
    """Produces one evidence predicate about a model version."""

    kind: str
    """The predicate kind, ``https://assay.dev/evidence/<kind>/v1``."""
    producer: str
    """Names the producer and its version; policy trusts producers by this name."""

    def assess(self, given: Assessment) -> dict[str, Any] | None:
        """The predicate, or None when this assessor does not apply to what was given."""
        ...


class TaskInput(msgspec.Struct, frozen=True):
    """A file that a task reads."""

    digest: str
    """Names the content within one run, so that it need be shipped once only."""
    path: str


class Task(msgspec.Struct, frozen=True):
    """One step of a pipeline to be run once, as plain data: references and bytes, never code."""

    name: str
    """``train``, or ``fit[3]`` of a map; for messages."""
    payload: bytes
    """What `assay.pipeline.confined.call` gets, but for where the input files lie."""
    inputs: tuple[TaskInput, ...]
    memory_bytes: int
    cpu_seconds: int
    wall_seconds: float
    file_bytes: int
    """The longest file it may write."""
    environment: dict[str, str]
    ports: tuple[int, ...]
    """TCP ports it may connect to."""
    processes: bool
    """Whether it may start processes."""
    require: str | None
    """The weakest level of isolation it may run at."""
    distributions: str
    """Digest of the environment it must run in, see `assay.pipeline.environment`."""
    imports: tuple[str, ...] = ()
    """The top-level library modules that this environment is of."""


class Finished(msgspec.Struct):
    """What came of a task."""

    answer: bytes
    """What the confined function answered, see `assay.pipeline.confined`."""
    outputs: list[str]
    """The output files, below the folder given to `Executor.submit`, in order."""
    log: str
    """The file that holds what the step printed."""
    level: str
    cpu_seconds: float
    max_rss: int
    where: str
    """The host or node it ran on."""
    loaded: dict[str, str] | None = None
    """Where that is not this machine: distribution → version and digest there, of what it loaded
    besides what its task names.  It has to be the same here."""


class Executor(Protocol):
    """Runs tasks, each in a confined process, shaped like `concurrent.futures.Executor`."""

    name: str
    slots: int
    """How many tasks are worth having in flight at once."""

    def open(self, code: bytes, digest: str) -> None:
        """Before the first task: the archive of first-party code that every task runs."""
        ...

    def submit(self, task: Task, folder: Path) -> Future[Finished]:
        """Run `task`, its outputs and log below `folder`, which is new.

        Cancelling the future also ends a task that runs.  Errors are `assay.errors`.
        """
        ...

    def shutdown(self, *, cancel: bool) -> None:
        """Resolve every future; with `cancel` by ending what runs."""
        ...


class Codec(Protocol):
    """Values of some types as files with one spelling: the same value always gives the same bytes.

    It runs in the confined process of a step.  The bytes it decodes are those that a step wrote,
    whose code may be hostile: never unpickle, and import only what the hint names.
    """

    @property
    def name(self) -> str:
        """Name and version, ``parquet/1``.  Part of every cache key: bytes that change need a new
        version."""
        ...

    @property
    def kind(self) -> Literal["data", "model"]:
        """Models are named by plain digests, data by salted ones."""
        ...

    @property
    def suffix(self) -> str:
        """``.parquet``"""
        ...

    def accepts(self, hint: Any) -> bool:
        """Whether this codec is for values with that type hint; imports nothing heavy."""
        ...

    def encode(self, value: Any, hint: Any, into: Path) -> None:
        """Write `value`; raises `Usage` (code ``step.type``) when it is not what `hint` says."""
        ...

    def decode(self, path: Path, hint: Any) -> Any:
        """The value in a file; raises `Usage` or `Corrupt`."""
        ...


def installed(group: str) -> list[EntryPoint]:
    """The entry points of a group, sorted by name."""
    return sorted(entry_points(group=group), key=lambda point: (point.name, point.value))


def load(group: str, *, only: Callable[[EntryPoint], bool] = lambda _: True) -> dict[str, Any]:
    """Every plug-in of a group by name; raises `Unavailable` naming one that cannot be loaded."""
    loaded: dict[str, Any] = {}
    for point in filter(only, installed(group)):
        try:
            loaded[point.name] = point.load()
        except Exception as error:  # A plug-in is foreign code: anything can come out of it.
            raise Unavailable(
                f"the plug-in {point.name} ({point.value}) of {group} cannot be loaded: {error}",
                remedy="install what it needs, or uninstall it",
                code="plugin",
            ) from error
    return loaded
