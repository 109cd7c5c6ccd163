"""Which rows a statement becomes: one function for each kind of predicate.

`derive` is pure.  It is asked only about what the fold of the ledger accepted, reads predicates by
the fold's own records (`assay.evidence.changes`), and says in rows what the fold makes of them:
whatever the state holds of datasets, versions, aliases and actors, the tables hold too.  Two things
only databases decide: a NUL in a text is shown as U+FFFD, and an id too long for an index (which
nobody but a genesis could give) is not listed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

import msgspec
from sqlalchemy import Table, select

from assay import canonical
from assay.catalog import schema
from assay.evidence import changes
from assay.evidence.statement import Statement

_P = TypeVar("_P", bound=msgspec.Struct)


@dataclass(frozen=True, slots=True)
class Change:
    """One write: the rows of `table` that match `key` get `values`.

    ``insert`` adds a row unless there is one, ``put`` adds or replaces it, ``update`` changes the
    rows there are, however many match.  Both keys and values may be SQL expressions.
    """

    how: Literal["insert", "put", "update"]
    table: Table
    key: dict[str, Any]
    values: dict[str, Any]
    first: dict[str, Any] = field(default_factory=dict[str, Any])
    """What only a new row gets: ``put`` leaves it alone in a row that is there."""


@dataclass(frozen=True, slots=True)
class Leaf:
    """A statement and where it stands on the ledger."""

    index: int
    ring: str
    """The project whose ring seals it: who may read the statement itself."""
    envelope: str
    statement: Statement

    @property
    def project(self) -> str:
        """The project it changes something in: the one that it names, as for the fold."""
        return short(self.statement.header.project)

    def read(self, record: type[_P]) -> _P:
        """The predicate as the fold reads it."""
        return msgspec.convert(self.statement.predicate, record)

    @property
    def stamp(self) -> dict[str, Any]:
        return {"issued": self.statement.header.issued, "leaf": self.index}

    def key(self, **fields: str) -> dict[str, str]:
        return {"project": self.project} | {name: short(value) for name, value in fields.items()}


def short(value: Any) -> str:
    """`value` if both databases can hold and index it as text; else `ValueError`."""
    if not isinstance(value, str) or len(value) > schema.LONGEST_KEY or "\0" in value:
        raise ValueError("not a short text")
    value.encode()  # A lone surrogate is no text either.
    return value


def derive(kind: str, leaf: Leaf) -> list[Change]:
    """The writes that an accepted statement at `leaf` stands for; none for an unknown kind."""
    rule = RULES.get(kind)
    if rule is None:
        return []
    try:
        return rule(leaf)
    except (KeyError, TypeError, ValueError, msgspec.MsgspecError):
        return []  # Nothing that the fold accepts; it stays findable as a statement.


def _genesis(leaf: Leaf) -> list[Change]:
    admin = leaf.statement.predicate["admin"]
    values = {"kind": "person", "level": str(admin["level"]), "disabled": False}
    key = {"id": short(admin["id"])}
    return [Change("put", schema.actors, key, {**values, "leaf": leaf.index})]


def _actor(leaf: Leaf) -> list[Change]:
    p = leaf.read(changes.Actor)
    values = {"kind": p.kind, "level": p.level, "disabled": p.disabled, "leaf": leaf.index}
    return [Change("put", schema.actors, {"id": short(p.actor)}, values)]


def _dataset(leaf: Leaf) -> list[Change]:
    p = leaf.read(changes.Dataset)
    values = {"content": p.content, "owner": p.owner, "details": _json(p.details), **leaf.stamp}
    # Registering a name anew does not lift its hold.
    return [Change("put", schema.datasets, leaf.key(name=p.name), values, {"hold": False})]


def _model_version(leaf: Leaf) -> list[Change]:
    p = leaf.read(changes.ModelVersion)
    values = {
        "author": p.author,
        "artifact": p.artifact,
        "served": p.served or "",
        "details": _json(p.details),
        "stage": "",
        "revoked": _served_by_revoked(leaf.project, p.served) if p.served else False,
        "hold": False,
        **leaf.stamp,
    }
    return [
        Change("insert", schema.models, leaf.key(name=p.name), leaf.stamp),
        Change("insert", schema.model_versions, leaf.key(name=p.name, version=p.version), values),
    ]


def _served_by_revoked(project: str, served: str) -> Any:
    """Whether a version with these served bytes was revoked in the project."""
    v = schema.model_versions.alias()
    revoked = select(v.c.leaf).where(v.c.project == project, v.c.served == served, v.c.revoked)
    return revoked.exists()


def _alias(leaf: Leaf) -> list[Change]:
    p = leaf.read(changes.Alias)
    model = leaf.key(name=p.name)
    version = leaf.key(name=p.name, version=p.version)
    points = {"version": p.version, **leaf.stamp}
    return [
        Change("put", schema.aliases, leaf.key(name=p.name, alias=p.alias), points),
        # No two versions of a model are in one stage: only the one it pointed to could be.
        Change("update", schema.model_versions, {**model, "stage": p.alias}, {"stage": ""}),
        Change("update", schema.model_versions, version, {"stage": p.alias}),
    ]


def _revocation(leaf: Leaf) -> list[Change]:
    p = leaf.read(changes.Revocation)
    version = leaf.key(name=p.name, version=p.version)
    v = schema.model_versions.alias()
    # Null, which equals nothing, where there is nothing that can be served.
    served = select(v.c.served).where(
        *(v.c[name] == value for name, value in version.items()), v.c.served != ""
    )
    same_bytes = {"project": leaf.project, "served": served.scalar_subquery()}
    return [
        Change("update", schema.model_versions, version, {"revoked": True}),
        # The same bytes under another version number, of whichever model.
        Change("update", schema.model_versions, same_bytes, {"revoked": True}),
    ]


def _hold(leaf: Leaf) -> list[Change]:
    p = leaf.read(changes.Hold)
    held = {"hold": p.held}
    if p.subject == "dataset":
        return [Change("update", schema.datasets, leaf.key(name=p.name), held)]
    version = leaf.key(name=p.name, version=p.version)
    return [Change("update", schema.model_versions, version, held)]


def _approval(leaf: Leaf) -> list[Change]:
    p = leaf.read(changes.Approval)
    values = {
        **leaf.key(name=p.name, version=p.version, stage=p.stage),
        "envelope": leaf.envelope,
        "comment": _text(leaf, "comment"),
        "issued": leaf.statement.header.issued,
    }
    return [Change("insert", schema.approvals, {"leaf": leaf.index}, values)]


def _decision(leaf: Leaf) -> list[Change]:
    p = leaf.read(changes.Decision)
    reasons = leaf.statement.predicate.get("reasons")
    begun = p.allowed and p.durability == "before"
    values = {
        **leaf.key(id=leaf.statement.header.id),
        "action": p.action,
        "actor": p.actor,
        "subject": next((subject.name for subject in leaf.statement.subject), ""),
        "bundle": _text(leaf, "bundle"),
        "reasons": _json(reasons if isinstance(reasons, list) else []),
        "status": _OPEN if begun else "allowed" if p.allowed else "denied",
        "allowed": p.allowed,
        "issued": leaf.statement.header.issued,
    }
    return [Change("insert", schema.decisions, {"leaf": leaf.index}, values)]


def _outcome(leaf: Leaf) -> list[Change]:
    p = leaf.read(changes.Outcome)
    status = _text(leaf, "status")
    # Once, and whatever it says: an outcome ends the decision that is open, and changes no other.
    closed = {"status": "closed" if status in ("", _OPEN) else status}
    key = {**leaf.key(id=p.decision), "status": _OPEN}
    return [Change("update", schema.decisions, key, closed)]


_OPEN = "open"


def _text(leaf: Leaf, name: str) -> str:
    """A field that the fold does not read; empty when it is no text."""
    value = leaf.statement.predicate.get(name)
    return value if isinstance(value, str) else ""


def _json(value: Any) -> str:
    return canonical.encode(value).decode()


RULES: dict[str, Callable[[Leaf], list[Change]]] = {
    "genesis": _genesis,
    "actor": _actor,
    "dataset": _dataset,
    "model-version": _model_version,
    "alias": _alias,
    "revocation": _revocation,
    "hold": _hold,
    "approval": _approval,
    "decision": _decision,
    "outcome": _outcome,
}
"""Predicate kind → the rows it becomes.  Every other kind is indexed as a statement only."""
