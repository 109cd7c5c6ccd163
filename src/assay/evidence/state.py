"""The state that can deny: a deterministic fold of the ledger.

Roles, keys, tokens, limits, revocations, holds and kill switches cannot be proven by the presence
of a signature, because an attacker could simply leave out the statement that takes one away.  They
are therefore folded, leaf by leaf, from the whole ledger; nothing here is ever read from the
catalog.

A leaf changes the state only when it is signed by a workspace key valid at that index and names an
allowed decision, still open, for the action that may make this change, in the same project.  (An
approval is signed by the person whom the decision let approve.)  A decision opens only when whoever
it names is known to have asked: see `assay.evidence.requests`.  Every other kind of statement is
evidence and is only indexed.  What claims to be a change and is not entitled to one is no evidence
either: it is listed in `State.rejected`, and nothing else happens.

A key revoked as of an earlier leaf makes no signature count from there on: evidence and approvals
of that time are gone.  Changes of that time stand, because undoing them would also lift the holds
and revocations among them; they are undone by new decisions.
"""

from __future__ import annotations

import re

import msgspec

from assay import canonical
from assay.errors import AssayError, Verification
from assay.evidence import envelope as dsse
from assay.evidence.changes import CHANGES, Change, Leaf, Refused, activate, scope_of
from assay.evidence.envelope import Envelope
from assay.evidence.records import (
    WORKSPACE,
    ActorState,
    DatasetState,
    Id,
    KeyState,
    OpenDecision,
    State,
    TokenState,
    VersionState,
)
from assay.evidence.signers import PublicKey
from assay.evidence.statement import PREFIX, Statement
from assay.types import Digest, check_digest, check_name

__all__ = [
    "WORKSPACE",
    "ActorState",
    "DatasetState",
    "KeyState",
    "OpenDecision",
    "State",
    "TokenState",
    "VersionState",
    "fold",
    "kind_of",
    "workspace_digest",
]

_GENESIS = "genesis"
# Their subjects are mostly requests, which nobody looks up: indexed only where they are about
# something that is known already.
_PASSING = frozenset({"decision", "outcome", "segment"})
_OURS = re.compile(re.escape(PREFIX) + r"([^/]+)/v[0-9]+")
_LONGEST_REASON = 300


def workspace_digest(workspace: str) -> Digest:
    """The subject under which facts about the workspace itself (``doctor``) are filed."""
    return canonical.digest(f"assay/workspace/{workspace}".encode())


def kind_of(statement: Statement) -> str:
    """``model-version`` for ``https://assay.dev/evidence/model-version/v1``; else the whole URI."""
    predicate_type = statement.predicateType
    if predicate_type.startswith(PREFIX) and predicate_type.endswith("/v1"):
        return predicate_type[len(PREFIX) : -len("/v1")]
    return predicate_type


def fold(state: State, index: int, raw: bytes | None) -> None:
    """Apply the leaf `index`; `raw` is its envelope, or None when its ring was destroyed.

    Never raises for the leaf's contents: a leaf that is not entitled to change anything changes
    nothing and is listed in `rejected`.
    """
    if index != state.size:
        raise ValueError(f"leaf {index} does not follow {state.size}")
    if raw is None:
        state.unreadable += 1
    else:
        try:
            _fold(state, index, raw)
        except (AssayError, msgspec.MsgspecError, ArithmeticError, ValueError) as error:
            reason = f"{type(error).__name__}: {error}"
            state.rejected.append((index, reason[:_LONGEST_REASON]))
    # Last, so that a leaf is folded again, never skipped, when something else interrupts this.
    state.size = index + 1


def _fold(state: State, index: int, raw: bytes) -> None:
    sealed = dsse.decode(raw)
    statement = sealed.statement()
    kind = kind_of(statement)
    if (index == 0) != (kind == _GENESIS):
        raise Refused("the ledger begins with the one genesis statement")
    change = CHANGES.get(kind)
    if kind == _GENESIS:
        _genesis(state, sealed, statement)
    elif change is not None:
        _change(state, index, kind, change, sealed, statement)
    else:
        claimed = _OURS.fullmatch(statement.predicateType)
        if claimed is not None and claimed[1] in {*CHANGES, _GENESIS}:
            raise Refused(f"{claimed[0]} is of a version that this assay does not know")
    _index(state, index, kind, statement)


def _index(state: State, index: int, kind: str, statement: Statement) -> None:
    for digest in dict.fromkeys(statement.digests):
        if kind in _PASSING and digest not in state.evidence:
            continue
        state.evidence.setdefault(digest, []).append(index)
        if kind not in _PASSING:
            state.revisions[f"digest:{digest}"] = index


def _change(
    state: State, index: int, kind: str, change: Change, sealed: Envelope, statement: Statement
) -> None:
    """Apply a statement that claims to be a change; raises before anything changed."""
    try:
        known = state.signer_keys((s.keyid for s in sealed.signatures), index)
        signers = dsse.verify(sealed, known)
    except Verification as error:
        raise Refused(f"{kind}: not signed by a key that may ({error})") from error
    decision = None
    if change.actions:
        decision = state.open.get(str(statement.predicate.get("decision", "")))
        if decision is None or decision.action not in change.actions:
            raise Refused(f"{kind}: names no open decision that allows it")
    if change.by_person:
        actor = state.actors.get(decision.actor) if decision else None
        signed = (
            decision is not None
            and actor is not None
            and (actor.kind, actor.disabled) == ("person", False)
            and any(state.actor_of_key(keyid, index) == decision.actor for keyid in signers)
        )
    else:
        signed = any(state.workspace_key_valid(keyid, index) for keyid in signers)
    if not signed:
        raise Refused(f"{kind}: not signed by a key that may")
    predicate = msgspec.convert(statement.predicate, change.predicate)
    leaf = Leaf(index, statement.header, decision)
    if not scope_of(leaf, change, predicate):
        raise Refused(f"{kind}: decided for another project")
    change.apply(state, leaf, predicate)


class _Admin(msgspec.Struct, frozen=True):
    id: Id
    key: PublicKey
    level: str
    roles: list[str]


class _Genesis(msgspec.Struct, frozen=True):
    workspace: str
    bundle: str
    workspace_keys: list[PublicKey]
    admin: _Admin
    project: str


def _genesis(state: State, sealed: Envelope, statement: Statement) -> None:
    """Leaf 0: the workspace, its keys, its first administrator and its first policy."""
    p = msgspec.convert(statement.predicate, _Genesis)
    bundle = check_digest(p.bundle)
    project = check_name(p.project, what="project")
    keys = {key.keyid: key for key in p.workspace_keys}
    if not p.workspace or not keys:
        raise Refused("genesis: without a workspace or its key")
    if p.admin.key.keyid in keys:
        raise Refused("genesis: the administrator's key is the workspace's")
    dsse.verify(sealed, keys)
    state.workspace = p.workspace
    activate(state, bundle)
    state.workspace_keys = {keyid: KeyState(key, 0) for keyid, key in keys.items()}
    admin = {p.admin.key.keyid: KeyState(p.admin.key, 0)}
    state.actors[p.admin.id] = ActorState("person", p.admin.level, keys=admin)
    state.projects[project] = {}
    for role in p.admin.roles:
        state.roles[role] = [p.admin.id]
