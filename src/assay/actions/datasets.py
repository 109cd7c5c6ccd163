"""Actions about datasets: register, read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

from assay import canonical
from assay.actions.people import project_target
from assay.clock import parse_timestamp
from assay.errors import Usage
from assay.evidence.state import DatasetState
from assay.policy import vocabulary as cedar
from assay.types import Digest, check_digest, check_name
from assay.workspace.action import Action, Doing, Outcome, Target
from assay.workspace.view import View

if TYPE_CHECKING:  # Imported where they are used: whoever only reads need not wait for them.
    import polars as pl

    from assay.data.tables import Table

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


class Declared(Action, frozen=True, kw_only=True):
    """What people say about a dataset, however its rows are got: the base of actions."""

    dataset: str
    owner: str
    licence: str
    purposes: tuple[str, ...]
    legal_basis: str
    residency: tuple[str, ...]
    subject_column: str = ""
    personal: bool = True
    personal_columns: tuple[str, ...] = ()
    """Columns that hold personal data, besides `subject_column`."""
    special: bool = False
    retain_until: str = ""

    def check(self) -> None:
        """Raise `Usage` for what cannot be said so."""
        check_name(self.dataset, what="dataset name")
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
        if self.personal_columns and not self.personal:
            raise Usage(
                "columns of personal data in a dataset that is registered as not personal",
                remedy="give a legal basis of GDPR Art. 6(1), or name no such columns",
                code="data.personal_column",
            )
        if not self.purposes:
            raise Usage("no purpose given", remedy="--purpose credit-scoring", code="purpose")
        if self.retain_until:
            parse_timestamp(self.retain_until)

    def check_columns(self, frame: pl.DataFrame, name: str) -> None:
        """Raise `Usage` for a column that is named and not there."""
        named = [("data.subject_column", c) for c in (self.subject_column,) if c]
        named += [("data.personal_column", c) for c in self.personal_columns]
        for code, column in named:
            if column not in frame.columns:
                raise Usage(
                    f"{name} has no column {column!r}",
                    remedy=f"columns: {', '.join(frame.columns)}",
                    code=code,
                )

    def details(self) -> dict[str, Any]:
        """As the dataset's details have it."""
        return {
            "licence": self.licence,
            "purposes": list(self.purposes),
            "legal_basis": self.legal_basis,
            "residency": list(self.residency),
            "subject_column": self.subject_column,
            "personal": self.personal,
            "personal_columns": list(self.personal_columns),
            "special": self.special,
            "retain_until": self.retain_until,
        }


def registered(
    doing: Doing,
    declared: Declared,
    table: Table,
    content: Digest,
    *,
    origin: str,
    fingerprints: Digest | None = None,
    collection: dict[str, Any] | None = None,
) -> Outcome:
    """The statements that make a sealed table a registered dataset.

    `fingerprints` is the sealed file of its rows' fingerprints, if there is one already;
    `collection` what was measured of how it was collected, for the datasheet.
    """
    from assay.data import datasheet
    from assay.data import profile as profiles

    declared.check_columns(table.frame, table.name)
    doing.progress("profiling")
    profile = profiles.profile(table.frame, declared.subject_column or None)
    schema = profiles.schema(table.frame)
    if fingerprints is None:
        fingerprints = seal_fingerprints(doing, table.frame)
    before = doing.view.state.datasets.get(f"{doing.project}/{declared.dataset}")
    details: dict[str, Any] = {
        "origin": origin,
        **declared.details(),
        "rows": table.frame.height,
        "columns": table.frame.width,
        "format": table.format,
        "schema": schema,
        # Those of former contents too, so that they stay reachable.
        "fingerprints": {**(fingerprints_of(before) if before else {}), content: fingerprints},
    }
    subject = {declared.dataset: content}
    sheet = datasheet.made(
        {"owner": declared.owner, **details},
        table.frame,
        profile,
        collection=collection or {},
        changes=_changes(doing, before, content, fingerprints),
    )
    statements = [
        doing.attest(
            "dataset",
            subject,
            {
                "name": declared.dataset,
                "content": content,
                "owner": declared.owner,
                "details": details,
            },
        ),
        doing.attest(
            "data-profile",
            subject,
            {"schema": schema, "profile": profile},
            producer="assay.data.profile/1",
        ),
        doing.attest("datasheet", subject, sheet, producer=datasheet.PRODUCER),
    ]
    replaced = before.content if before is not None and before.content != content else ""
    value = {"dataset": declared.dataset, "content": content, "replaces": replaced, **details}
    return Outcome({**value, "changes": sheet["composition"]["changes"]["value"]}, statements)


def row_key(doing: Doing) -> bytes:
    """The key of the project's row fingerprints: the same in every generation of its ring."""
    return doing.store.rings.ring(ring_of(doing.project)).derive("rows")


def seal_fingerprints(doing: Doing, frame: pl.DataFrame) -> Digest:
    """The fingerprints of all rows, sealed beside the datasets."""
    from assay.data import fingerprints

    doing.progress("taking the fingerprints of rows")
    data = fingerprints.fingerprint(frame, row_key(doing))
    return doing.store.put(ring_of(doing.project), data, salted=True)


def fingerprints_of(found: DatasetState) -> dict[str, str]:
    """The sealed fingerprints of a dataset's contents, by content; of some, for old ones none."""
    held: Any = found.details.get("fingerprints")
    if not isinstance(held, dict):
        return {}
    return {
        content: digest
        for content, digest in cast("dict[str, Any]", held).items()
        if content in found.contents and isinstance(digest, str)
    }


def read_fingerprints(doing: Doing, digest: str) -> bytes:
    """A sealed file of fingerprints."""
    from assay.data import fingerprints

    ring = ring_of(doing.project)
    return doing.store.read(ring, check_digest(digest), fingerprints.MOST_BYTES)


def _changes(
    doing: Doing, before: DatasetState | None, content: Digest, now: Digest
) -> dict[str, Any] | None:
    """What became of the rows since the last snapshot; None where there is none to compare with."""
    earlier = fingerprints_of(before).get(before.content) if before is not None else None
    if before is None or earlier is None or before.content == content:
        return None
    from assay.data import fingerprints

    shared = fingerprints.compare(read_fingerprints(doing, earlier), read_fingerprints(doing, now))
    return {
        "since": before.content,
        "kept": shared.shared,
        "gone": shared.only_first,
        "new": shared.only_second,
    }


class RegisterDataset(Declared, frozen=True, kw_only=True):
    """Put a table under seal and write down whose it is and what it may be used for."""

    name: ClassVar[str] = "registerDataset"
    path: str
    origin: str

    def target(self, view: View) -> Target:
        from assay.data import tables

        tables.check_path(Path(self.path))
        self.check()
        return project_target(view, self.project, {}, f"dataset:{self.project}/{self.dataset}")

    def apply(self, doing: Doing) -> Outcome:
        from assay.data import tables

        path = Path(self.path)
        doing.progress(f"sealing {path.name}")
        # Sealed first, so that what is described is what is kept, whatever happens to the file.
        content = doing.store.put(ring_of(self.project), path, salted=True)
        doing.progress(f"reading {path.name}")
        with doing.store.open(ring_of(self.project), content) as stream:
            table = tables.read_stream(stream, path.name)
        return registered(doing, self, table, content, origin=self.origin)


def declared_personal(found: DatasetState) -> list[str]:
    """The columns of a dataset that are declared to hold personal data; of data that is registered
    as about nobody, none."""
    details = found.details
    if not details["personal"]:
        return []
    named = [details["subject_column"], *details.get("personal_columns", [])]
    return sorted({str(column) for column in named if column})


def as_declared(found: DatasetState) -> Digest:
    """Names a dataset's rows together with what is declared of personal data in them.

    What a check finds undeclared is true of both: the same rows under fewer declarations are
    another thing, about which nothing is known yet.
    """
    return canonical.digest(
        canonical.encode(
            {
                "format": "assay/data-as-declared/v1",
                "content": found.content,
                "personal": bool(found.details["personal"]),
                "personal_columns": declared_personal(found),
            }
        )
    )


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
        context["ticket"] = cedar.reason(ticket)
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
        examined = as_declared(view.dataset(self.project, self.dataset))
        facts = view.facts(self.project, examined)
        target.context["facts"] = facts.values
        target.cited = sorted({cited for found in facts.sources.values() for cited in found})
        target.subjects.append(f"digest:{examined}")
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
            context={"reason": cedar.reason(self.reason)},
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
