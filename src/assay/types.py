"""Names and small value types used on every floor."""

from __future__ import annotations

import re
from typing import Any, Literal, NewType, TypeAlias

from assay.errors import Usage

Digest = NewType("Digest", str)
"""``sha256:`` and 64 lower-case hexadecimal digits."""

JSON: TypeAlias = Any
"""A plain JSON value: dict, list, str, int, float, bool or None."""

Stage: TypeAlias = Literal["development", "staging", "production"]
STAGES: tuple[Stage, ...] = ("development", "staging", "production")

PROJECT_ROLES = (
    *("data_scientist", "ml_engineer", "pipeline", "approver", "operator", "auditor"),
    "service",
)
"""Roles are held per project: ``fraud/ml_engineer``."""
WORKSPACE_ROLE = "admin"
"""The one role of the workspace itself: enrols people, grants roles, applies policy, turns keys."""

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def check_name(text: str, *, what: str = "name") -> str:
    """`text` if it is a name (a-z, 0-9, ``.``, ``_``, ``-``; at most 64); else `Usage`."""
    if _NAME.fullmatch(text) is None or ".." in text:
        raise Usage(
            f"{what} {text[:80]!r} is not allowed",
            remedy="use 1-64 lower-case letters, digits, '.', '_' or '-', "
            "beginning and ending with a letter or digit",
            code="name",
        )
    return text


def check_digest(text: str) -> Digest:
    """`text` if it is a SHA-256 digest as assay spells it; else `Usage`."""
    if _DIGEST.fullmatch(text) is None:
        raise Usage(
            f"{text[:80]!r} is not a digest", remedy="write sha256:<64 hex digits>", code="digest"
        )
    return Digest(text)


def parse_model_ref(text: str) -> tuple[str, str]:
    """``NAME@VERSION`` or ``NAME@ALIAS`` (for example ``credit@3``, ``credit@production``)."""
    name, at, version = text.partition("@")
    if not at or not version:
        raise Usage(
            f"{text[:80]!r} does not name a model version",
            remedy="write NAME@VERSION or NAME@ALIAS, for example credit@3 or credit@production",
            code="model_ref",
        )
    return check_name(name, what="model name"), check_name(version, what="version or alias")
