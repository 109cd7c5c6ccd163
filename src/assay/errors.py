"""The one error tree.

Every error a user can meet is an `AssayError`: it names the input, the rule and the remedy, and
carries a stable code, a process exit status and an HTTP status.  Skins print it; nothing prints a
traceback for one of these.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar


class AssayError(Exception):
    """Base of every error that assay raises on purpose.

    `message` names the input and the rule it broke, `remedy` says what to do about it, `details`
    is JSON-serialisable material for machines.  `code` refines the class's stable code, for
    example ``Usage(..., code="data.no_rows")`` has the code ``usage.data.no_rows``.
    """

    kind: ClassVar[str] = "error"
    exit_status: ClassVar[int] = 1
    http_status: ClassVar[int] = 500

    def __init__(
        self,
        message: str,
        *,
        remedy: str = "",
        code: str = "",
        details: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy
        self.code = f"{self.kind}.{code}" if code else self.kind
        self.details: dict[str, Any] = dict(details or {})

    def as_dict(self) -> dict[str, Any]:
        """The error as every ``--json`` output and HTTP answer shows it."""
        return {
            "error": self.code,
            "message": self.message,
            "remedy": self.remedy,
            **({"details": self.details} if self.details else {}),
        }


class Usage(AssayError):
    """The input is wrong: the caller can mend it."""

    kind = "usage"
    exit_status = 2
    http_status = 400


class NotFound(AssayError):
    """The thing named does not exist (or the caller may not know that it does)."""

    kind = "not_found"
    exit_status = 1
    http_status = 404


class Denied(AssayError):
    """Policy said no; `details["reasons"]` lists every failing gate with its advice."""

    kind = "denied"
    exit_status = 3
    http_status = 403


class Verification(AssayError):
    """A signature, digest, proof or seal does not hold."""

    kind = "verification"
    exit_status = 4
    http_status = 422


class Conflict(AssayError):
    """Somebody else changed the subject first; nothing was done."""

    kind = "conflict"
    exit_status = 1
    http_status = 409


class Unavailable(AssayError):
    """Something needed cannot be reached or written now: no key service, full disk, a lock held."""

    kind = "unavailable"
    exit_status = 1
    http_status = 503


class Corrupt(AssayError):
    """Stored state contradicts itself: missing, truncated or altered files."""

    kind = "corrupt"
    exit_status = 4
    http_status = 500
