"""Actions that take data from a configured source, and that examine a registered dataset."""

from __future__ import annotations

import shutil
from typing import Any, ClassVar

from assay import files
from assay.actions.datasets import (
    Declared,
    as_declared,
    declared_personal,
    fingerprints_of,
    read_fingerprints,
    registered,
    ring_of,
    seal_fingerprints,
    use_of,
)
from assay.actions.people import project_target
from assay.clock import timestamp
from assay.data import fingerprints as rows
from assay.data import issues, personal, snapshots, sources, tables
from assay.data import profile as profiles
from assay.data.sources import Source
from assay.errors import NotFound
from assay.evidence.state import DatasetState
from assay.types import Digest
from assay.workspace.action import Action, Doing, Outcome, Target
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


class ExamineDataset(Action, frozen=True, kw_only=True):
    """Look at a dataset's rows for undeclared personal data, repeats and doubtful labels, and
    write down what is found: columns, kinds and counts, never a value."""

    name: ClassVar[str] = "examineData"
    dataset: str
    purpose: str = ""
    """By default the first that the dataset is registered for."""
    label: str = ""
    """The column that models are to predict; without one, no label is doubted."""
    ticket: str = ""

    def target(self, view: View) -> Target:
        purpose = self.purpose or view.dataset(self.project, self.dataset).details["purposes"][0]
        return use_of(view, self.project, self.dataset, purpose, self.ticket)

    def apply(self, doing: Doing) -> Outcome:
        found = doing.view.dataset(self.project, self.dataset)
        declared = declared_personal(found)
        personal.check_installed()
        doing.progress(f"reading {self.dataset}")
        with doing.store.open(ring_of(self.project), found.content) as stream:
            table = tables.read_stream(stream, self.dataset, expect=found.details["schema"])
        frame = table.frame
        doing.progress("looking for personal data")
        held, looked = personal.find(frame)
        undeclared = personal.undeclared(
            held, personal=found.details["personal"], declared=declared
        )
        doing.progress("counting rows that repeat")
        predicate: dict[str, Any] = {
            "name": self.dataset,
            "content": found.content,
            "undeclared_personal": len(undeclared),
            "personal": {
                "undeclared": undeclared,
                "declared": declared,
                "found": personal.told(held),
                "looked": looked,
            },
            "duplicates": issues.duplicates(frame, found.details["subject_column"]),
            "alarms": issues.alarms(frame),
            "overlap": _overlap(doing, found),
        }
        if self.label:
            doing.progress(f"looking for doubtful labels in {self.label}")
            apart = {*declared, *undeclared} - {self.label}
            predicate["labels"] = issues.label_outliers(frame, self.label, leave_out=apart)
        # The facts are of the rows as they are declared now; the content is named for whoever
        # looks the dataset up.
        subject = {self.dataset: found.content, f"{self.dataset} as declared": as_declared(found)}
        statement = doing.attest("data-check", subject, predicate, producer="assay.data.check/1")
        return Outcome(predicate, [statement])


_MOST_COMPARED = 1_000


def _overlap(doing: Doing, found: DatasetState) -> list[dict[str, Any]]:
    """The other datasets of the project that have rows of this one, by their fingerprints."""
    mine = fingerprints_of(found).get(found.content)
    if mine is None:
        return []
    here = read_fingerprints(doing, mine)
    told: list[dict[str, Any]] = []
    others = [
        d
        for d in doing.view.state.datasets.values()
        if d.project == found.project and d.name != found.name
    ]
    for other in others[:_MOST_COMPARED]:
        theirs = fingerprints_of(other).get(other.content)
        if theirs is None:
            continue
        shared = rows.compare(here, read_fingerprints(doing, theirs)).shared
        if shared:
            told.append({"dataset": other.name, "content": other.content, "rows": shared})
    return told
