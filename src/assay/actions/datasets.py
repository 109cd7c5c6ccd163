"""Actions about datasets: register, read."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from assay.actions.people import project_target
from assay.clock import parse_timestamp
from assay.data import profile as profiles
from assay.data import tables
from assay.errors import Usage
from assay.evidence.state import DatasetState
from assay.policy import vocabulary as cedar
from assay.types import check_name
from assay.workspace.action import Action, Doing, Outcome, Target
from assay.workspace.view import View

LEGAL_BASES = (
    "consent",
    "contract",
    "legal-obligation",
    "vital-interests",
    "public-task",
    "legitimate-interests",
    "not-personal",
)
"""GDPR Art. 6(1)(a)-(f), and data about nobody."""


def ring_of(project: str) -> str:
    """The key ring under which a project's datasets lie."""
    return f"{project}/data"


class RegisterDataset(Action, frozen=True, kw_only=True):
    """Put a table under seal and write down whose it is and what it may be used for."""

    name: ClassVar[str] = "registerDataset"
    dataset: str
    path: str
    owner: str
    origin: str
    licence: str
    purposes: tuple[str, ...]
    legal_basis: str
    residency: tuple[str, ...]
    subject_column: str = ""
    personal: bool = True
    special: bool = False
    retain_until: str = ""

    def target(self, view: View) -> Target:
        check_name(self.dataset, what="dataset name")
        tables.check_path(Path(self.path))
        if self.legal_basis not in LEGAL_BASES:
            raise Usage(
                f"{self.legal_basis!r} is no legal basis",
                remedy=f"one of {', '.join(LEGAL_BASES)} (GDPR Art. 6(1))",
                code="legal_basis",
            )
        if self.personal and self.legal_basis == "not-personal":
            raise Usage(
                "personal data needs a legal basis",
                remedy="give one of GDPR Art. 6(1), or register the data as not personal",
                code="legal_basis",
            )
        if not self.purposes:
            raise Usage("no purpose given", remedy="--purpose credit-scoring", code="purpose")
        if self.retain_until:
            parse_timestamp(self.retain_until)
        return project_target(view, self.project, {}, f"dataset:{self.project}/{self.dataset}")

    def apply(self, doing: Doing) -> Outcome:
        path = Path(self.path)
        doing.progress(f"sealing {path.name}")
        # Sealed first, so that what is described is what is kept, whatever happens to the file.
        content = doing.store.put(ring_of(self.project), path, salted=True)
        doing.progress(f"reading {path.name}")
        with doing.store.open(ring_of(self.project), content) as stream:
            table = tables.read_stream(stream, path.name)
        if self.subject_column and self.subject_column not in table.frame.columns:
            raise Usage(
                f"{path.name} has no column {self.subject_column!r}",
                remedy=f"columns: {', '.join(table.frame.columns)}",
                code="data.subject_column",
            )
        doing.progress("profiling")
        profile = profiles.profile(table.frame, self.subject_column or None)
        schema = profiles.schema(table.frame)
        details: dict[str, Any] = {
            "origin": self.origin,
            "licence": self.licence,
            "purposes": list(self.purposes),
            "legal_basis": self.legal_basis,
            "residency": list(self.residency),
            "subject_column": self.subject_column,
            "personal": self.personal,
            "special": self.special,
            "retain_until": self.retain_until,
            "rows": table.frame.height,
            "columns": table.frame.width,
            "format": table.format,
            "schema": schema,
        }
        subject = {self.dataset: content}
        predicate = {
            "name": self.dataset,
            "content": content,
            "owner": self.owner,
            "details": details,
        }
        statements = [
            doing.attest("dataset", subject, predicate),
            doing.attest(
                "data-profile",
                subject,
                {"schema": schema, "profile": profile},
                producer="assay.data.profile/1",
            ),
        ]
        before = doing.view.state.datasets.get(f"{self.project}/{self.dataset}")
        replaced = before.content if before is not None and before.content != content else ""
        value = {"dataset": self.dataset, "content": content, "replaces": replaced, **details}
        return Outcome(value, statements)


def dataset_entity(found: DatasetState, *, hold: bool = False) -> dict[str, Any]:
    """A dataset as Cedar sees it; `hold` where the same rows are held under another name."""
    d = found.details
    return cedar.dataset_entity(
        found.project,
        found.name,
        personal=d["personal"],
        special=d["special"],
        purposes=d["purposes"],
        residency=d["residency"],
        legal_basis=d["legal_basis"],
        retain_until=d["retain_until"] or None,
        hold=found.hold or hold,
    )


def use_of(view: View, project: str, dataset: str, purpose: str, ticket: str = "") -> Target:
    """A dataset as a resource that is used for a purpose, special data under a ticket."""
    found = view.dataset(project, dataset)
    context: dict[str, Any] = {"purpose": purpose}
    if ticket:
        context["ticket"] = ticket
    # A hold is about the rows, which another name or an earlier registration may have too.
    same = [
        other
        for other in view.state.datasets.values()
        if other.project == project and found.content in other.contents
    ]
    entity = dataset_entity(found, hold=any(other.hold for other in same))
    return Target(
        uid=cedar.dataset_uid(project, dataset),
        entities=[entity, view.project_entity(project)],
        context=context,
        digests={dataset: found.content},
        subjects=[f"dataset:{project}/{other.name}" for other in same],
        words={
            "data": dataset,
            "project": project,
            "purpose": ", ".join(found.details["purposes"]),
        },
    )


class ReadDataset(Action, frozen=True, kw_only=True):
    """Open a dataset for a stated purpose; returns a seekable stream of its plain bytes."""

    name: ClassVar[str] = "readData"
    dataset: str
    purpose: str
    ticket: str = ""

    def target(self, view: View) -> Target:
        return use_of(view, self.project, self.dataset, self.purpose, self.ticket)

    def apply(self, doing: Doing) -> Outcome:
        found = doing.view.dataset(self.project, self.dataset)
        return Outcome(doing.store.open(ring_of(self.project), found.content))


class TrainOn(Action, frozen=True, kw_only=True):
    """Let a model be trained on a dataset: what is in the rows, the model may give away.

    Opens nothing: the rows are read by a `ReadDataset` of their own.
    """

    name: ClassVar[str] = "train"
    dataset: str
    purpose: str
    ticket: str = ""

    def target(self, view: View) -> Target:
        target = use_of(view, self.project, self.dataset, self.purpose, self.ticket)
        content = target.digests[self.dataset]
        facts = view.facts(self.project, content)
        target.context["facts"] = facts.values
        target.cited = sorted({cited for found in facts.sources.values() for cited in found})
        target.subjects.append(f"digest:{content}")
        return target

    def apply(self, doing: Doing) -> Outcome:
        found = doing.view.dataset(self.project, self.dataset)
        return Outcome({"dataset": self.dataset, "content": found.content})


class HoldDataset(Action, frozen=True, kw_only=True):
    """Stop a dataset from being read until the hold is lifted, for instance while an erasure is
    pending."""

    name: ClassVar[str] = "holdDataset"
    redo: ClassVar[bool] = True
    dataset: str
    held: bool = True
    reason: str

    def target(self, view: View) -> Target:
        found = view.dataset(self.project, self.dataset)
        return Target(
            uid=cedar.dataset_uid(self.project, self.dataset),
            entities=[dataset_entity(found), view.project_entity(self.project)],
            context={"reason": self.reason},
            digests={self.dataset: found.content},
            subjects=[f"dataset:{self.project}/{self.dataset}"],
            words={"data": self.dataset, "project": self.project},
        )

    def apply(self, doing: Doing) -> Outcome:
        found = doing.view.dataset(self.project, self.dataset)
        predicate = {
            "subject": "dataset",
            "name": self.dataset,
            "held": self.held,
            "reason": self.reason,
        }
        statement = doing.attest("hold", {self.dataset: found.content}, predicate)
        return Outcome({"dataset": self.dataset, "held": self.held}, [statement])
