"""Which rows a statement becomes: one function for each kind of predicate.

`derive` is pure.  It mirrors what the fold of the ledger makes of the same statements, for lists;
a predicate without the expected fields derives nothing here and stays findable as a statement.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Table

from assay import canonical
from assay.catalog import schema
from assay.evidence.statement import Statement

_REQUIRED: Any = object()


@dataclass(frozen=True, slots=True)
class Change:
    """One write: the rows of `table` that match `key` get `values`.

    ``insert`` adds a row unless there is one, ``put`` adds or replaces it, ``update`` changes the
    rows there are, however many match.
    """

    how: Literal["insert", "put", "update"]
    table: Table
    key: dict[str, Any]
    values: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Leaf:
    """A statement and where it stands on the ledger."""

    index: int
    project: str
    envelope: str
    statement: Statement

    def text(self, field: str, default: Any = _REQUIRED) -> str:
        """A short text of the predicate; raises `ValueError` when it is anything else."""
        value = self.statement.predicate.get(field, default)
        return short(value)

    def json(self, field: str, default: Any) -> str:
        """A field of the predicate as canonical JSON text."""
        return canonical.encode(self.statement.predicate.get(field, default)).decode()

    @property
    def stamp(self) -> dict[str, Any]:
        return {"issued": self.statement.header.issued, "leaf": self.index}

    def key(self, *fields: str) -> dict[str, str]:
        return {"project": self.project, **{field: self.text(field) for field in fields}}


def short(value: Any) -> str:
    """`value` if both databases can hold and index it as text; else `ValueError`."""
    if not isinstance(value, str) or len(value) > schema.LONGEST_KEY or "\0" in value:
        raise ValueError("not a short text")
    value.encode()  # A lone surrogate is no text either.
    return value


def derive(kind: str, leaf: Leaf) -> list[Change]:
    """The writes that the statement at `leaf` stands for; none for an unknown kind or shape."""
    rule = RULES.get(kind)
    if rule is None:
        return []
    try:
        return rule(leaf)
    except (AttributeError, KeyError, TypeError, ValueError):
        return []


def _genesis(leaf: Leaf) -> list[Change]:
    admin = leaf.statement.predicate["admin"]
    values = {"kind": "person", "level": short(admin["level"]), "disabled": False}
    key = {"id": short(admin["id"])}
    return [Change("put", schema.actors, key, {**values, "leaf": leaf.index})]


def _actor(leaf: Leaf) -> list[Change]:
    values = {
        "kind": leaf.text("kind"),
        "level": leaf.text("level"),
        "disabled": bool(leaf.statement.predicate["disabled"]),
        "leaf": leaf.index,
    }
    return [Change("put", schema.actors, {"id": leaf.text("actor")}, values)]


def _dataset(leaf: Leaf) -> list[Change]:
    values = {
        "content": leaf.text("content"),
        "owner": leaf.text("owner", ""),
        "details": leaf.json("details", {}),
        "hold": False,
        **leaf.stamp,
    }
    return [Change("put", schema.datasets, leaf.key("name"), values)]


def _model_version(leaf: Leaf) -> list[Change]:
    values = {
        "author": leaf.text("author"),
        "artifact": leaf.text("artifact"),
        "served": short(leaf.statement.predicate.get("served") or ""),
        "details": leaf.json("details", {}),
        "stage": "",
        "revoked": False,
        "hold": False,
        **leaf.stamp,
    }
    return [
        Change("insert", schema.models, leaf.key("name"), leaf.stamp),
        # A version number is given once: whatever claims it later changes nothing.
        Change("insert", schema.model_versions, leaf.key("name", "version"), values),
    ]


def _alias(leaf: Leaf) -> list[Change]:
    version = {"version": leaf.text("version"), **leaf.stamp}
    stage = {"stage": leaf.text("alias")}
    return [
        Change("put", schema.aliases, leaf.key("name", "alias"), version),
        Change("update", schema.model_versions, leaf.key("name", "version"), stage),
    ]


def _revocation(leaf: Leaf) -> list[Change]:
    revoked = {"revoked": True}
    same_bytes = [
        Change(
            "update", schema.model_versions, {"project": leaf.project, "served": digest}, revoked
        )
        for digest in leaf.statement.digests
    ]
    return [
        Change("update", schema.model_versions, leaf.key("name", "version"), revoked),
        *same_bytes,
    ]


def _hold(leaf: Leaf) -> list[Change]:
    held = {"hold": bool(leaf.statement.predicate["held"])}
    if leaf.text("subject") == "dataset":
        return [Change("update", schema.datasets, leaf.key("name"), held)]
    return [Change("update", schema.model_versions, leaf.key("name", "version"), held)]


def _approval(leaf: Leaf) -> list[Change]:
    values = {
        **leaf.key("name", "version", "stage"),
        "envelope": leaf.envelope,
        "comment": str(leaf.statement.predicate.get("comment", "")),
        "issued": leaf.statement.header.issued,
    }
    return [Change("insert", schema.approvals, {"leaf": leaf.index}, values)]


def _decision(leaf: Leaf) -> list[Change]:
    allowed = bool(leaf.statement.predicate["allowed"])
    begun = allowed and leaf.text("durability", "before") == "before"
    values = {
        "action": leaf.text("action"),
        "actor": leaf.text("actor"),
        "subject": next((subject.name for subject in leaf.statement.subject), ""),
        "bundle": leaf.text("bundle", ""),
        "reasons": leaf.json("reasons", []),
        "status": "open" if begun else "allowed" if allowed else "denied",
        "allowed": allowed,
        **leaf.stamp,
    }
    key = {"project": leaf.project, "id": short(leaf.statement.header.id)}
    return [Change("insert", schema.decisions, key, values)]


def _outcome(leaf: Leaf) -> list[Change]:
    key = {"project": leaf.project, "id": leaf.text("decision")}
    return [Change("update", schema.decisions, key, {"status": leaf.text("status")})]


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
