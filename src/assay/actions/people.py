"""Actions about people, services, roles, keys and tokens."""

from __future__ import annotations

import hashlib
import secrets
from datetime import timedelta
from typing import Any, ClassVar

import msgspec

from assay import canonical, ids
from assay.clock import timestamp
from assay.errors import NotFound, Usage
from assay.evidence.signers import PublicKey
from assay.evidence.state import WORKSPACE
from assay.evidence.statement import Statement
from assay.policy import vocabulary as cedar
from assay.types import PROJECT_ROLES, WORKSPACE_ROLE, Digest
from assay.workspace.action import Action, Doing, Outcome, Target
from assay.workspace.credentials import TOKEN_PREFIX
from assay.workspace.view import View

TOKEN_ROLES = ("service", "pipeline")
"""The roles that a token may act in."""
LEVELS = ("development-key", "personal-key", "oidc")


def workspace_target(context: dict[str, Any], *subjects: str) -> Target:
    """The workspace itself as a resource."""
    return Target(
        uid=cedar.WORKSPACE_UID,
        entities=[cedar.workspace_entity()],
        context=context,
        subjects=list(subjects),
    )


def project_target(view: View, project: str, context: dict[str, Any], *subjects: str) -> Target:
    """A project as a resource."""
    return Target(
        uid=cedar.project_uid(project),
        entities=[view.project_entity(project)],
        context=context,
        subjects=[f"project:{project}", *subjects],
    )


def subject_of(name: str) -> dict[str, Digest]:
    """A named thing without bytes, as an in-toto subject."""
    return {name: canonical.digest(name.encode())}


class EnrolActor(Action, frozen=True, kw_only=True):
    """Make an actor known, with public keys of their own and roles to begin with."""

    name: ClassVar[str] = "enrolActor"
    redo: ClassVar[bool] = True
    actor: str
    kind: str = "person"
    level: str = "personal-key"
    keys: tuple[PublicKey, ...] = ()
    roles: tuple[str, ...] = ()
    label: str = ""
    """What the directory calls the actor.  Never in the decision: the ledger names nobody."""

    def params(self) -> dict[str, Any]:
        return {k: v for k, v in super().params().items() if k != "label"}

    def target(self, view: View) -> Target:
        if self.kind not in ("person", "service", "workload"):
            raise Usage(f"{self.kind!r} is no kind of actor", remedy="person, service or workload")
        if self.level not in LEVELS:
            raise Usage(f"{self.level!r} is no identity level", remedy=", ".join(LEVELS))
        known = view.state.keys()
        for key in self.keys:
            if key.keyid in known:
                raise Usage(
                    f"the key {key.keyid} is enrolled already",
                    remedy="every actor needs a key of their own: assay actor new-key NAME",
                    code="key_taken",
                )
        for role in self.roles:
            check_role(view, role)
        return workspace_target({}, f"actor:{self.actor}")

    def apply(self, doing: Doing) -> Outcome:
        predicate = {
            "actor": self.actor,
            "kind": self.kind,
            "level": self.level,
            "disabled": False,
            "keys": msgspec.to_builtins(self.keys),
        }
        statements = [doing.attest("actor", subject_of(f"actor:{self.actor}"), predicate)]
        for role in self.roles:
            statements.append(role_statement(doing, self.actor, role, granted=True))
        if self.label:
            doing.directory.put(self.actor, self.label)
        return Outcome({"actor": self.actor, "roles": list(self.roles)}, statements)


def check_role(view: View, role: str) -> None:
    """``PROJECT/ROLE`` with a project that exists; raises `Usage`."""
    project, _, name = role.partition("/")
    if role == f"{WORKSPACE}/{WORKSPACE_ROLE}":
        return
    if project not in view.state.projects or name not in PROJECT_ROLES:
        raise Usage(
            f"{role!r} is not a role",
            remedy=f"write PROJECT/ROLE with PROJECT one of {', '.join(view.state.projects)} and "
            f"ROLE one of {', '.join(PROJECT_ROLES)}; or {WORKSPACE}/{WORKSPACE_ROLE}",
            code="role",
        )


def role_statement(doing: Doing, actor: str, role: str, *, granted: bool) -> Statement:
    """That an actor has a role from now on, or has it no longer."""
    predicate = {"actor": actor, "role": role, "granted": granted}
    return doing.attest("role", subject_of(f"actor:{actor}"), predicate)


class ManageRole(Action, frozen=True, kw_only=True):
    """Grant a role to an actor, or take it away."""

    name: ClassVar[str] = "manageRole"
    redo: ClassVar[bool] = True
    actor: str
    role: str
    granted: bool

    def target(self, view: View) -> Target:
        check_role(view, self.role)
        if self.actor not in view.state.actors:
            raise NotFound(f"actor {self.actor} is not enrolled", code="actor")
        return workspace_target({}, f"actor:{self.actor}")

    def apply(self, doing: Doing) -> Outcome:
        statement = role_statement(doing, self.actor, self.role, granted=self.granted)
        return Outcome({"role": self.role, "granted": self.granted}, [statement])


class DisableActor(Action, frozen=True, kw_only=True):
    """Stop an actor from doing anything; ``disabled=False`` lets them in again."""

    name: ClassVar[str] = "disableActor"
    redo: ClassVar[bool] = True
    actor: str
    disabled: bool = True

    def target(self, view: View) -> Target:
        if self.actor not in view.state.actors:
            raise NotFound(f"actor {self.actor} is not enrolled", code="actor")
        return workspace_target({}, f"actor:{self.actor}")

    def apply(self, doing: Doing) -> Outcome:
        held = doing.view.state.actors[self.actor]
        predicate = {
            "actor": self.actor,
            "kind": held.kind,
            "level": held.level,
            "disabled": self.disabled,
            "keys": [],
        }
        statement = doing.attest("actor", subject_of(f"actor:{self.actor}"), predicate)
        return Outcome({"actor": self.actor, "disabled": self.disabled}, [statement])


class EraseActor(Action, frozen=True, kw_only=True):
    """Forget who an actor is: every statement stays valid, and nobody is named any more."""

    name: ClassVar[str] = "eraseActor"
    redo: ClassVar[bool] = True
    actor: str

    def target(self, view: View) -> Target:
        if self.actor not in view.state.actors:
            raise NotFound(f"actor {self.actor} is not enrolled", code="actor")
        return workspace_target({}, f"actor:{self.actor}")

    def apply(self, doing: Doing) -> Outcome:
        doing.directory.erase(self.actor)
        predicate = {"actor": self.actor}
        statement = doing.attest("erasure", subject_of(f"actor:{self.actor}"), predicate)
        return Outcome({"actor": self.actor, "erased": True}, [statement])


class RevokeKey(Action, frozen=True, kw_only=True):
    """End a key: its signatures count only on leaves before this one, or before an earlier leaf
    when it was compromised since then."""

    name: ClassVar[str] = "revokeKey"
    redo: ClassVar[bool] = True
    keyid: str
    compromised_since: int | None = None
    reason: str

    def target(self, view: View) -> Target:
        known = view.state.keys()
        if self.keyid not in known:
            raise NotFound(f"no key {self.keyid} is enrolled", code="key")
        own = view.state.workspace_keys
        if [keyid for keyid in own if own[keyid].revoked is None] == [self.keyid]:
            raise Usage(
                f"{self.keyid} is the only key that the workspace signs with",
                remedy="make a new one first: assay keys rotate-workspace --reason WHY",
                code="key.last",
            )
        return workspace_target({"reason": cedar.reason(self.reason)}, "keys")

    def apply(self, doing: Doing) -> Outcome:
        predicate: dict[str, Any] = {"keyid": self.keyid, "reason": self.reason}
        if self.compromised_since is not None:
            predicate["compromised_since"] = self.compromised_since
        statement = doing.attest("key-revocation", subject_of(f"key:{self.keyid}"), predicate)
        return Outcome({"keyid": self.keyid, "revoked": True}, [statement])


class CreateToken(Action, frozen=True, kw_only=True):
    """A bearer token for a service of a project.  The secret is shown once and stored nowhere."""

    name: ClassVar[str] = "createToken"
    actor: str
    days: int = 30

    def target(self, view: View) -> Target:
        held = view.state.actors.get(self.actor)
        if held is None:
            raise NotFound(f"actor {self.actor} is not enrolled", code="actor")
        if held.kind == "person":
            # Whoever made the token could do whatever that person may.
            raise Usage(
                "a token is for a service or a workload; a person signs with a key of their own",
                remedy="enrol a service: assay actor enrol NAME --kind service",
                code="token_person",
            )
        roles = view.state.roles_of(self.actor)
        more = [r for r in roles if r not in (f"{self.project}/{role}" for role in TOKEN_ROLES)]
        if more:
            # Whoever makes the token holds it: it must not be a way to roles one does not have.
            raise Usage(
                f"a token for this service would act as {', '.join(more)}",
                remedy="make tokens for services whose only role is service or pipeline",
                code="token_roles",
            )
        if not 1 <= self.days <= 366:
            raise Usage(f"a token cannot last {self.days} days", remedy="1 to 366", code="days")
        beyond = sorted({role.rpartition("/")[2] for role in roles} - {"service"})
        # Policy sees to it that who makes such a token could do without it what it is for.
        context = {"roles": beyond} if beyond else {}
        return project_target(view, self.project, context, f"actor:{self.actor}")

    def apply(self, doing: Doing) -> Outcome:
        token_id = ids.new_id()
        secret = f"{TOKEN_PREFIX}{token_id}_{secrets.token_urlsafe(32)}"
        expires = timestamp(doing.clock.now() + timedelta(days=self.days))
        predicate = {
            "token": token_id,
            "actor": self.actor,
            "project": self.project,
            "sha256": hashlib.sha256(secret.encode()).hexdigest(),
            "expires": expires,
            "revoked": False,
        }
        statement = doing.attest("token", subject_of(f"token:{token_id}"), predicate)
        value = {"token": token_id, "secret": secret, "expires": expires}
        return Outcome(value, [statement])


class RevokeToken(Action, frozen=True, kw_only=True):
    """End a token at the next request."""

    name: ClassVar[str] = "revokeToken"
    redo: ClassVar[bool] = True
    token: str

    def target(self, view: View) -> Target:
        held = view.state.tokens.get(self.token)
        if held is None or held.project != self.project:
            raise NotFound(f"no token {self.token} in project {self.project}", code="token")
        return project_target(view, self.project, {}, f"token:{self.token}")

    def apply(self, doing: Doing) -> Outcome:
        predicate = {"token": self.token, "revoked": True}
        statement = doing.attest("token", subject_of(f"token:{self.token}"), predicate)
        return Outcome({"token": self.token, "revoked": True}, [statement])
