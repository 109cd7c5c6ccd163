"""What is kept of runs when garbage is collected: their records and logs, and what steps gave."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast

import msgspec

from assay.actions.datasets import ring_of
from assay.actions.material import models_ring
from assay.actions.run_host import PRODUCER
from assay.errors import AssayError
from assay.evidence import envelope as dsse
from assay.pipeline.records import Artifact
from assay.store import Store
from assay.types import Digest, check_digest
from assay.workspace.view import View


def kept_of_runs(view: View, store: Store) -> list[tuple[str, Digest]]:
    """As (ring, digest), all that statements about runs refer to and that is still there.

    What is lost already, a result above all, can be made again: it keeps nothing from being
    collected.
    """
    found: dict[tuple[str, Digest], None] = {}
    for leaf in view.leaves():
        if leaf.envelope is None:
            continue
        statement = dsse.decode(leaf.envelope).statement()
        if statement.header.producer == PRODUCER:
            project = statement.header.project
            found.update(dict.fromkeys(_named(project, statement.predicate)))
    return [pair for pair in found if _is_there(store, *pair)]


def _named(project: str, predicate: Mapping[str, Any]) -> Iterator[tuple[str, Digest]]:
    try:
        record = predicate.get("record")
        logs: list[str] = list(predicate.get("logs", []))
        details = cast("Mapping[str, Any]", predicate.get("runDetails", {}))
        logs += [f"sha256:{item['digest']['sha256']}" for item in details.get("byproducts", [])]
        for digest in [*([record] if record else []), *logs]:
            yield ring_of(project), check_digest(digest)
        outputs = cast("Mapping[str, Any]", predicate.get("assay_cache", {})).get("outputs", [])
        for artifact in [a for out in msgspec.convert(outputs, list[list[Artifact]]) for a in out]:
            ring = models_ring(project) if artifact.kind == "model" else ring_of(project)
            yield ring, check_digest(artifact.digest)
    except (AssayError, KeyError, TypeError, AttributeError, msgspec.ValidationError):
        return  # Not of ours, whatever it says.


def _is_there(store: Store, ring: str, digest: Digest) -> bool:
    try:
        return store.exists(ring, digest)
    except AssayError:
        return False
