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
from pathlib import Path
from typing import Any, Protocol

from assay.errors import Unavailable

GROUPS = ("assay.facts", "assay.assessors", "assay.key_services")


@dataclass(frozen=True, slots=True)
class Assessment:
    """What an assessor gets: one model version and the data to judge it on.

    `score` maps a frame's feature columns to an array of class probabilities (rows × classes),
    computed in a confined process.  `shadow` trains a copy of the model's algorithm on other rows
    of the training data, also confined, and is None where the algorithm is not known.
    """

    onnx: bytes
    train: Any
    test: Any
    target: str
    positive: Any
    threshold: float
    sensitive: tuple[str, ...]
    seed: int
    score: Callable[[Any], Any]
    shadow: Callable[[Any, int], Callable[[Any], Any]] | None
    original: Path | None
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
