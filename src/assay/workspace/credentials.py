"""Who asks: a person by a key of their own, a service by a token.

A person's request is signed: the decision on the ledger carries that signature, so nobody, the
workspace included, can later claim that someone asked for what they did not.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import Any, Protocol

import msgspec

from assay import canonical
from assay.clock import parse_timestamp
from assay.errors import Denied
from assay.evidence.records import REQUEST_FORMAT
from assay.evidence.signers import Signer
from assay.evidence.state import State
from assay.policy.engine import Request

TOKEN_PREFIX = "assay_"  # noqa: S105 - the public prefix of every token, for secret scanners


class Authenticated(msgspec.Struct, frozen=True):
    """The outcome of authentication: the actor and how sure we are."""

    actor: str
    mfa: bool
    proof: dict[str, Any]
    """What goes into the decision: the request's signature, or the token's id."""


class Asked(msgspec.Struct, frozen=True):
    """Who asked, what exactly, and how policy saw it."""

    proven: Authenticated
    asked: Request
    request: dict[str, Any]


class Credential(Protocol):
    """Something that proves who asks."""

    def authenticate(self, state: State, request: dict[str, Any]) -> Authenticated: ...


class Person:
    """A person holding their own enrolled key.

    ``mfa`` is true when the key file is protected by a passphrase: something one has and something
    one knows.
    """

    def __init__(self, signer: Signer, *, protected: bool = False) -> None:
        self.signer = signer
        self.protected = protected

    def authenticate(self, state: State, request: dict[str, Any]) -> Authenticated:
        public = self.signer.public
        actor = state.actor_of_key(public.keyid, state.size)
        if actor is None:
            raise Denied(
                f"the key {public.keyid} belongs to nobody enrolled here, or was revoked",
                remedy="ask an administrator to run `assay actor enrol` with your public key",
                code="unknown_key",
            )
        body = canonical.encode({"format": REQUEST_FORMAT, **request})
        signature = self.signer.sign(body)
        public.verify(signature, body)
        proof = {"keyid": public.keyid, "sig": base64.b64encode(signature).decode("ascii")}
        return Authenticated(actor, self.protected, proof)


class Token:
    """A bearer token ``assay_<id>_<secret>``, looked up by id and compared by SHA-256."""

    def __init__(self, secret: str) -> None:
        self._secret = secret

    def authenticate(self, state: State, request: dict[str, Any]) -> Authenticated:
        token_id = token_id_of(self._secret)
        token = state.tokens.get(token_id)
        digest = hashlib.sha256(self._secret.encode("utf-8", "surrogatepass")).hexdigest()
        if token is None or not hmac.compare_digest(token.sha256, digest):
            raise Denied("the token is not known here", remedy="check the token", code="token")
        if token.revoked or parse_timestamp(token.expires) <= parse_timestamp(request["issued"]):
            raise Denied(
                f"the token {token_id} has expired or was revoked",
                remedy="ask an operator for a new one (`assay token create`)",
                code="token_expired",
            )
        holder = state.actors.get(token.actor)
        if holder is None or holder.kind == "person":
            raise Denied(
                f"the token {token_id} is in the name of a person, who signs with their own key",
                remedy="make a token for a service (`assay actor enrol --kind service`)",
                code="token_person",
            )
        if token.project != request["project"]:
            raise Denied(f"the token {token_id} is for another project", code="token_project")
        return Authenticated(token.actor, False, {"token": token_id})


def token_id_of(secret: str) -> str:
    """The public part of a token; an empty string when it has none."""
    rest = secret.removeprefix(TOKEN_PREFIX)
    return rest.partition("_")[0] if rest != secret else ""
