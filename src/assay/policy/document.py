"""The policy bundle as a document: canonical JSON, named by its digest in every decision."""

from __future__ import annotations

from typing import Any

import msgspec

from assay import canonical
from assay.errors import Corrupt
from assay.policy.schema import fields_of
from assay.types import PROJECT_ROLES, Digest

FORMAT = "assay/policy-bundle/v1"


class Bundle(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Everything that decides: nothing outside of it, save the engine, changes an answer."""

    schema: str
    """Cedar's schema with the record of facts, as generated when the bundle was built."""
    policies: dict[str, str]
    """File name to Cedar text."""
    declarations: list[dict[str, Any]]
    """The facts that gates may read (`assay.policy.schema.Declaration`)."""
    producers: list[dict[str, Any]]
    """Whose claims count (`assay.policy.schema.Producer`)."""
    settings: dict[str, Any]
    """``{"default": {...}, "projects": {name: {...}}}``."""
    tests: dict[str, Any]
    """The table of requests and expected decisions (`assay.policy.testing.Table`)."""
    format: str = FORMAT

    def encode(self) -> bytes:
        """The bundle's bytes: RFC 8785 JSON."""
        return canonical.encode(self)

    @staticmethod
    def decode(raw: bytes) -> Bundle:
        """The bundle that `encode` wrote; raises `Corrupt` for any other bytes."""
        document = canonical.decode(raw, what="policy bundle")
        named = document.get("format") if isinstance(document, dict) else None
        if named != FORMAT:
            raise Corrupt(
                f"policy bundle: its format is {str(named)[:60]!r}, not {FORMAT!r}",
                remedy="use the version of assay that wrote it, or a newer one",
                code="policy.format",
            )
        try:
            return msgspec.convert(document, Bundle)
        except msgspec.ValidationError as error:
            raise Corrupt(f"policy bundle: {error}", code="policy.bundle") from error

    @property
    def roles(self) -> tuple[str, ...]:
        """The roles of a project that its schema knows: a bundle of an older version has fewer."""
        known = fields_of(self.schema, "Roles")
        return tuple(role for role in PROJECT_ROLES if role in known)

    @property
    def digest(self) -> Digest:
        """Names these exact bytes."""
        return canonical.digest(self.encode())
