"""What the catalog's queries return.  Times are RFC 3339 in UTC, `leaf` is a ledger index."""

from __future__ import annotations

from typing import Any

import msgspec


class StatementRow(msgspec.Struct, frozen=True):
    """A statement on the ledger; `subjects` maps names to digests."""

    leaf: int
    envelope: str
    id: str
    project: str
    kind: str
    predicate_type: str
    producer: str
    issued: str
    predicate: dict[str, Any]
    subjects: dict[str, str]


class ModelRow(msgspec.Struct, frozen=True):
    """A model: how many versions it has, the newest, and where its aliases point."""

    project: str
    name: str
    issued: str
    leaf: int
    versions: int
    latest: str
    aliases: dict[str, str]


class VersionRow(msgspec.Struct, frozen=True):
    """A model version; `served` is empty when there is nothing that can be served."""

    project: str
    name: str
    version: str
    author: str
    artifact: str
    served: str
    details: dict[str, Any]
    stage: str
    revoked: bool
    hold: bool
    issued: str
    leaf: int


class AliasRow(msgspec.Struct, frozen=True):
    """Where an alias of a model points now, and since when."""

    project: str
    name: str
    alias: str
    version: str
    issued: str
    leaf: int


class DatasetRow(msgspec.Struct, frozen=True):
    """A dataset as last registered."""

    project: str
    name: str
    content: str
    owner: str
    details: dict[str, Any]
    hold: bool
    issued: str
    leaf: int


class DecisionRow(msgspec.Struct, frozen=True):
    """A decision; `status` is ``denied``, ``allowed`` (with nothing to close), ``open``, or what
    the outcome on the ledger says."""

    project: str
    id: str
    action: str
    actor: str
    subject: str
    bundle: str
    reasons: list[Any]
    status: str
    allowed: bool
    issued: str
    leaf: int


class ActorRow(msgspec.Struct, frozen=True):
    """An actor; who that is, only the directory knows."""

    id: str
    kind: str
    level: str
    disabled: bool
    leaf: int


class ApprovalRow(msgspec.Struct, frozen=True):
    """A signed yes; whether it counts is decided from the envelope, never from this row."""

    project: str
    name: str
    version: str
    stage: str
    envelope: str
    comment: str
    issued: str
    leaf: int
