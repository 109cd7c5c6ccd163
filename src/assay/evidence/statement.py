"""Statements: claims about digests, in the form of in-toto v1.

Source: https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md.  Consumers of that
specification ignore fields they do not know, so ours stand beside it under ``assay``: the id, the
project, who produced the claim and when.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal, cast

import msgspec

from assay import canonical, ids
from assay.clock import Clock, parse_timestamp, timestamp
from assay.errors import Corrupt, Usage
from assay.types import Digest, check_digest

TYPE = "https://in-toto.io/Statement/v1"
PREFIX = "https://assay.dev/evidence/"
SLSA_PROVENANCE = "https://slsa.dev/provenance/v1"
"""How something was built: https://slsa.dev/spec/v1.0/provenance."""

_MOST_SUBJECTS = 10_000
_DEEPEST = 64


def predicate_type(kind: str) -> str:
    """``https://assay.dev/evidence/<kind>/v1``."""
    return f"{PREFIX}{kind}/v1"


class Subject(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a statement is about: a name and digests (``{"sha256": hex}``) of the same bytes."""

    name: str
    digest: dict[str, str]


class Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """assay's own fields; `id` is a UUIDv7, `issued` RFC 3339."""

    id: str
    project: str
    producer: str
    issued: str


class Statement(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"type": "_type"}):
    """One claim.  Its canonical JSON is what is signed."""

    type: Literal["https://in-toto.io/Statement/v1"]
    subject: list[Subject]
    predicateType: str  # noqa: N815 - in-toto's own name
    predicate: dict[str, Any]
    header: Header = msgspec.field(name="assay")

    @classmethod
    def new(
        cls,
        *,
        subject: Mapping[str, Digest],
        predicate_type: str,
        predicate: Mapping[str, Any],
        project: str,
        producer: str,
        clock: Clock,
    ) -> Statement:
        """A statement about `subject` (name → digest), issued now."""
        named = [
            Subject(name, {"sha256": check_digest(digest).removeprefix("sha256:")})
            for name, digest in subject.items()
        ]
        if not named:
            raise Usage("a statement is about something", code="statement.subject")
        header = Header(ids.new_id(), project, producer, timestamp(clock.now()))
        return cls(TYPE, named, predicate_type, dict(predicate), header)

    @property
    def digests(self) -> list[Digest]:
        """The SHA-256 digests it is about, in order."""
        return [
            Digest(f"sha256:{subject.digest['sha256']}")
            for subject in self.subject
            if "sha256" in subject.digest
        ]

    def encode(self) -> bytes:
        """The canonical bytes; raises `ValueError` for a predicate that JSON cannot carry, or that
        `decode` would refuse."""
        if not self.subject or len(self.subject) > _MOST_SUBJECTS:
            raise ValueError("a statement is about something, and not about too much")
        try:
            data = canonical.encode(self)
        except RecursionError as error:
            raise ValueError("a statement nested too deeply") from error
        if _too_deep(data, self.predicate):
            raise ValueError(f"a statement nested deeper than {_DEEPEST} levels")
        return data

    @classmethod
    def decode(cls, data: bytes) -> Statement:
        """A statement from exactly canonical bytes; raises `Corrupt` for anything else."""
        plain = canonical.decode(data, what="statement")
        try:
            statement = msgspec.convert(plain, cls)
            parse_timestamp(statement.header.issued)
            for digest in statement.digests:
                check_digest(digest)
        except (msgspec.ValidationError, Usage, OverflowError) as error:
            raise Corrupt(f"statement: {error}", code="statement") from error
        if _too_deep(data, statement.predicate):
            raise Corrupt(f"statement: nested deeper than {_DEEPEST} levels", code="statement")
        if not all(subject.digest for subject in statement.subject):
            raise Corrupt("statement: a subject without a digest", code="statement")
        if not 0 < len(statement.subject) <= _MOST_SUBJECTS:
            raise Corrupt("statement: about nothing, or about too much", code="statement")
        if not ids.is_id(statement.header.id):
            raise Corrupt("statement: its id is no UUID", code="statement")
        return statement


def _too_deep(data: bytes, value: Any) -> bool:
    """Whether `value`, found in `data`, is nested so deeply that readers may differ about it.

    How deep a reader can go depends on how deep in its own calls it is: a fixed bound makes every
    reader accept the same statements.
    """
    if data.count(b"[") + data.count(b"{") <= _DEEPEST:
        return False
    level: list[Any] = [value]
    for _ in range(_DEEPEST):
        below: list[Any] = []
        for item in level:
            inner = item.values() if isinstance(item, dict) else item
            below += [i for i in cast("Iterable[Any]", inner) if isinstance(i, (dict, list, tuple))]
        if not below:
            return False
        level = below
    return True
