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
===================  ==========================================================================

Loading a plug-in runs its code with the rights of this process: installing one is a decision about
trust, and ``assay doctor`` lists those installed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Protocol, TypeAlias

from assay.errors import Unavailable

GROUPS = ("assay.facts", "assay.assessors", "assay.key_services")


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


def installed(group: str) -> list[EntryPoint]:
    """The entry points of a group, sorted by name."""
    return sorted(entry_points(group=group), key=lambda point: (point.name, point.value))


def load(group: str) -> dict[str, Any]:
    """Every plug-in of a group by name; raises `Unavailable` naming one that cannot be loaded."""
    loaded: dict[str, Any] = {}
    for point in installed(group):
        try:
            loaded[point.name] = point.load()
        except Exception as error:  # A plug-in is foreign code: anything can come out of it.
            raise Unavailable(
                f"the plug-in {point.name} ({point.value}) of {group} cannot be loaded: {error}",
                remedy="install what it needs, or uninstall it",
                code="plugin",
            ) from error
    return loaded
