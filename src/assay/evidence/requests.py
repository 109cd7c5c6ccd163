"""Requests: how it is known that whoever a decision names did ask for it.

A decision carries the request that it answers, and a proof: the signature of a key of the actor's
own, over the request, or the id of a token.  The workspace key signs the decision as a whole, and
cannot make that signature: what it writes in a person's name, without them, opens nothing.

A token is a secret that the workspace was shown, and no signature: it proves to the workspace who
asked, and to everybody else only that the workspace says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from assay import canonical
from assay.clock import TOLERANCE, parse_timestamp
from assay.errors import AssayError, Usage, Verification
from assay.evidence.records import REQUEST_FORMAT, State
from assay.evidence.statement import Header

BY_KEY = "signed by a personal key"
BY_TOKEN = "asked with a token"  # noqa: S105 - words for a report


class _Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All that a request says.  Nothing may stand beside it, least of all another ``format``."""

    workspace: str
    id: str
    issued: str
    project: str
    action: str
    params: dict[str, Any]
    proof: dict[str, str]


def asked_by(
    state: State,
    index: int,
    header: Header,
    action: str,
    actor: str,
    request: Mapping[str, Any],
) -> str:
    """How it is known that `actor` asked for what a decision answers: `BY_KEY` or `BY_TOKEN`.

    `header` is the decision's, `index` its leaf, and `state` what the leaves before it make.
    Raises `Verification` when it is not known.
    """
    try:
        asked = msgspec.convert(request, _Request)
        issued, written = parse_timestamp(asked.issued), parse_timestamp(header.issued)
    except (msgspec.ValidationError, Usage) as error:
        raise _refusal(f"the request in it is none ({error})") from error
    named = (asked.workspace, asked.id, asked.project, asked.action)
    if named != (state.workspace, header.id, header.project, action):
        raise _refusal("the request in it is for something else")
    # The clock of a request never runs behind the last checkpoint's, that of a statement may.
    if issued - written > TOLERANCE:
        raise _refusal("it was written down before it was asked for")
    match asked.proof:
        case {"keyid": keyid, "sig": signature, **others} if not others:
            body = {name: value for name, value in request.items() if name != "proof"}
            _check_key(state, index, actor, keyid, signature, body)
            return BY_KEY
        case {"token": token, **others} if not others:
            _check_token(state, actor, header.project, token, issued)
            return BY_TOKEN
        case _:
            raise _refusal("the request in it proves nothing")


def _check_key(
    state: State, index: int, actor: str, keyid: str, signature: str, body: dict[str, Any]
) -> None:
    holder = state.actors.get(actor)
    key = holder.keys.get(keyid) if holder is not None else None
    if key is None or not key.valid_at(index):
        raise _refusal("it is signed by a key that was not the person's")
    signed = canonical.encode({"format": REQUEST_FORMAT, **body})
    try:
        key.public.verify(canonical.unb64(signature, what="request signature"), signed)
    except AssayError as error:
        raise _refusal(f"the person did not sign this request: {error.message}") from error


def _check_token(state: State, actor: str, project: str, token: str, issued: datetime) -> None:
    held, holder = state.tokens.get(token), state.actors.get(actor)
    if held is None or (held.actor, held.project) != (actor, project):
        raise _refusal("it was asked with a token that the actor does not have in this project")
    if held.revoked or parse_timestamp(held.expires) <= issued:
        raise _refusal("it was asked with a token that had expired or was revoked")
    if holder is None or holder.kind == "person":
        raise _refusal(
            "it was asked with a token in the name of a person, who signs with their own key"
        )


def _refusal(what: str) -> Verification:
    return Verification(what, remedy="do not rely on this decision", code="request")
