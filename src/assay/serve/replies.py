"""What a caller is told when there is no answer: a status, a stable code and one sentence.

The text of an error is passed on only where it speaks of the caller's own request.  What went wrong
behind the endpoint may name files, versions or other people's work, and is told as a code alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import msgspec

from assay.errors import AssayError, Denied, NotFound, Unavailable, Usage, Verification

Headers = list[tuple[bytes, bytes]]

JSON = b"application/json"
_USUAL: Headers = [
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
]
_MOST_TEXT = 600
_MOST_REASONS = 100

_STATUSES = {
    "not_found.method": 405,
    "usage.request.slow": 408,
    "usage.request.size": 413,
    "usage.request.media": 415,
    "usage.host": 421,
}
"""Where the code says more than the class of the error."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A status, a body (JSON, unless said otherwise) and the headers beyond the usual ones."""

    status: int
    body: bytes
    headers: Headers = field(default_factory=Headers)
    media: bytes = JSON

    def head(self) -> Headers:
        length = b"%d" % len(self.body)
        return [(b"content-type", self.media), *_USUAL, (b"content-length", length), *self.headers]


def unauthenticated(*, given: bool) -> Reply:
    """The same for every token that is not good, so that nothing is learned from trying."""
    told = {"error": "a valid bearer token is needed", "code": "denied.token"}
    challenge = b'Bearer realm="assay"' + (b', error="invalid_token"' if given else b"")
    return Reply(401, msgspec.json.encode(told), [(b"www-authenticate", challenge)])


def refusal(error: Exception, said_of_all: dict[str, Any]) -> Reply:
    """The reply for an error; `said_of_all` goes into every reply to a permitted caller."""
    if isinstance(error, Denied):
        return _forbidden(error)
    headers: Headers = []
    if not isinstance(error, AssayError):
        status, code, text = 500, "internal", "the endpoint failed"
    else:
        status, code = _STATUSES.get(error.code, error.http_status), error.code
        if isinstance(error, (Usage, NotFound)):
            text = f"{error.message}; {error.remedy}" if error.remedy else error.message
        elif isinstance(error, Verification):
            text = "the model failed on this input"
        elif isinstance(error, Unavailable):
            text = "no answer can be given now; ask again"
            headers = [(b"retry-after", b"1")]
        else:
            text = "the endpoint failed"
        if status == 405:
            headers = [(b"allow", str(error.details["allow"]).encode())]
    return Reply(
        status, msgspec.json.encode({"error": _cut(text), "code": code, **said_of_all}), headers
    )


def _forbidden(error: Denied) -> Reply:
    """403, naming every gate with the advice of its author."""
    found: Any = error.details.get("reasons", [])
    reasons = [
        {name: _cut(str(reason.get(name) or "")) for name in ("gate", "advice", "remedy")}
        for reason in (found if isinstance(found, list) else [])[:_MOST_REASONS]
        if isinstance(reason, dict)
    ]
    listed = "; ".join(f"{r['gate']}: {r['advice']}" for r in reasons)
    told = {"error": _cut(listed) or "not permitted", "code": error.code, "reasons": reasons}
    return Reply(403, msgspec.json.encode(told))


def _cut(text: str) -> str:
    return text if len(text) <= _MOST_TEXT else text[:_MOST_TEXT] + "…"
