"""Actions that take data from a configured source, and that examine a registered dataset."""

from __future__ import annotations

import shutil
from typing import Any, ClassVar

from assay import files
from assay.actions.datasets import (
    Declared,
    fingerprints_of,
    registered,
    ring_of,
    seal_fingerprints,
)
from assay.actions.people import project_target
from assay.clock import timestamp
from assay.data import profile as profiles
from assay.data import snapshots, sources, tables
from assay.data.sources import Source
from assay.errors import NotFound
from assay.evidence.state import DatasetState
from assay.types import Digest
from assay.workspace.action import Doing, Outcome, Target
from assay.workspace.layout import CONFIG, Layout
from assay.workspace.view import View


def configured(layout: Layout, project: str) -> dict[str, Source]:
    """The project's sources by name; raises `Usage` for one that is configured wrongly."""
    of = layout.config.projects.get(project)
    return {
        name: sources.parse(
            name,
            held.url,
            credential=held.credential,
            endpoint=held.endpoint,
            region=held.region,
            timeout=held.timeout,
        )
        for name, held in sorted(of.sources.items() if of is not None else ())
    }


def source_of(layout: Layout, project: str, name: str) -> Source:
    """One source of the project; raises `NotFound` naming those there are."""
    found = configured(layout, project)
    if name not in found:
        known = f"configured: {', '.join(found)}" if found else "none is configured yet"
        raise NotFound(
            f"project {project} has no source {name[:80]!r}",
            remedy=f"{known}; people add one to {CONFIG}: [projects.{project}.sources.NAME] "
            "with url and credential",
            code="source",
        )
    return found[name]


class ExtractDataset(Declared, frozen=True, kw_only=True):
    """Take a snapshot from a configured source and register it.

    Rows that are the same as those registered, in whatever order, under the same declarations,
    are not registered again: the value then says ``unchanged``.
    """

    name: ClassVar[str] = "registerDataset"
    source: str
    query: str = ""
    path: str = ""
    """Of an object in a bucket or below a folder."""

    @property
    def asked(self) -> snapshots.Asked:
        return snapshots.Asked(self.query, self.path)

    def target(self, view: View) -> Target:
        self.check()
        self.asked.check()
        return project_target(view, self.project, {}, f"dataset:{self.project}/{self.dataset}")

    def apply(self, doing: Doing) -> Outcome:
        source = source_of(doing.layout, self.project, self.source)
        name, origin = f"source {source.name}", snapshots.origin(source, self.asked)
        doing.progress(f"reading {name}")
        taken = timestamp(doing.clock.now())
        work = doing.layout.root / "work" / doing.decision
        files.make_folder(work)
        try:
            frame = snapshots.take(
                source, self.asked, base=doing.layout.base, work=work, apart=doing.layout.root
            )
        finally:
            shutil.rmtree(work, ignore_errors=True)
        self.check_columns(frame, name)
        fingerprints = seal_fingerprints(doing, frame)
        before = doing.view.state.datasets.get(f"{self.project}/{self.dataset}")
        schema = profiles.schema(frame)
        same = before if before and _same_rows(before, fingerprints, schema) else None
        said = {"origin": origin, **self.details()}
        if same and same.owner == self.owner and said.items() <= same.details.items():
            value = {"dataset": self.dataset, "content": same.content, "replaces": ""}
            return Outcome({**value, **same.details, "unchanged": True})
        if same:
            content = same.content  # The same rows, in the order in which they are sealed.
        else:
            doing.progress("sealing the snapshot")
            snapshot = snapshots.parquet(frame, name)
            content = doing.store.put(ring_of(self.project), snapshot, salted=True)
        # What is described is what can be read back, not what is in memory here.
        with doing.store.open(ring_of(self.project), content) as stream:
            table = tables.read_stream(stream, name, expect=schema)
        collection: dict[str, Any] = {
            "source": source.name,
            "place": source.place,
            "asked": self.asked.digest,
            "taken": taken,
        }
        outcome = registered(
            doing,
            self,
            table,
            content,
            origin=origin,
            fingerprints=fingerprints,
            collection=collection,
        )
        return Outcome({**outcome.value, "unchanged": False}, outcome.statements)


def _same_rows(before: DatasetState, now: Digest, schema: list[dict[str, Any]]) -> bool:
    held = before.details
    return (
        fingerprints_of(before).get(before.content) == now
        and held.get("schema") == schema
        and held.get("format") == "parquet"
    )
