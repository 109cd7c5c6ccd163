"""The state that can deny: a deterministic fold of the ledger.

Roles, keys, tokens, limits, revocations, holds and kill switches cannot be proven by the presence
of a signature, because an attacker could simply leave out the statement that takes one away.  They
are therefore folded, leaf by leaf, from the whole ledger; nothing here is ever read from the
catalog.

A leaf changes the state only when it is signed by a workspace key valid at that index and names an
allowed decision, still open, for the action that may make this change.  Everything else with a
known shape is evidence and is only indexed; what claims to be a change and is not entitled to one
is listed in `State.rejected`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from assay.errors import AssayError
from assay.evidence import envelope as dsse
from assay.evidence.signers import PublicKey
from assay.evidence.statement import PREFIX, Statement
from assay.types import Digest

WORKSPACE = "_workspace"
"""The project name under which statements about the workspace itself are filed."""


class KeyState(msgspec.Struct):
    """A public key and the leaves between which its signatures count."""

    public: PublicKey
    enrolled: int
    revoked: int | None = None

    def valid_at(self, index: int) -> bool:
        return self.enrolled <= index and (self.revoked is None or index < self.revoked)


class ActorState(msgspec.Struct):
    """A person, service or workload: a random id, its keys and whether it is disabled."""

    kind: str
    level: str
    disabled: bool = False
    keys: dict[str, KeyState] = {}


class TokenState(msgspec.Struct):
    """A bearer token, known only by the SHA-256 of its secret."""

    actor: str
    project: str
    sha256: str
    expires: str
    revoked: bool = False


class DatasetState(msgspec.Struct):
    """The registered facts about a dataset that policy reads."""

    project: str
    name: str
    content: Digest
    owner: str
    details: dict[str, Any]
    hold: bool = False


class VersionState(msgspec.Struct):
    """A model version: what was registered, what is served, and whether it may be used."""

    project: str
    name: str
    version: str
    author: str
    artifact: Digest
    served: Digest | None
    details: dict[str, Any]
    stage: str = ""
    revoked: bool = False
    hold: bool = False


class OpenDecision(msgspec.Struct):
    """An allowed decision whose outcome is not on the ledger yet."""

    index: int
    action: str
    actor: str
    project: str
    request: dict[str, Any]


class State(msgspec.Struct):
    """Everything that can deny, as of `size` leaves."""

    size: int = 0
    workspace: str = ""
    bundle: Digest | None = None
    workspace_keys: dict[str, KeyState] = {}
    actors: dict[str, ActorState] = {}
    roles: dict[str, list[str]] = {}
    tokens: dict[str, TokenState] = {}
    projects: dict[str, dict[str, Any]] = {}
    datasets: dict[str, DatasetState] = {}
    versions: dict[str, VersionState] = {}
    aliases: dict[str, str] = {}
    endpoints: dict[str, dict[str, Any]] = {}
    revisions: dict[str, int] = {}
    evidence: dict[str, list[int]] = {}
    superseded: list[str] = []
    open: dict[str, OpenDecision] = {}
    rejected: list[tuple[int, str]] = []
    unreadable: int = 0

    def roles_of(self, actor: str) -> list[str]:
        return sorted(role for role, members in self.roles.items() if actor in members)

    def keys(self) -> dict[str, PublicKey]:
        """Every key ever enrolled, by key id."""
        known = {keyid: key.public for keyid, key in self.workspace_keys.items()}
        for actor in self.actors.values():
            known.update({keyid: key.public for keyid, key in actor.keys.items()})
        return known

    def actor_of_key(self, keyid: str, index: int) -> str | None:
        """The actor whose key this is, if it counts at leaf `index`."""
        for actor_id, actor in self.actors.items():
            key = actor.keys.get(keyid)
            if key is not None and key.valid_at(index):
                return actor_id
        return None

    def workspace_key_valid(self, keyid: str, index: int) -> bool:
        key = self.workspace_keys.get(keyid)
        return key is not None and key.valid_at(index)


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
    state.size = index + 1
    if raw is None:
        state.unreadable += 1
        return
    try:
        sealed = dsse.decode(raw)
        statement = sealed.statement()
        kind = kind_of(statement)
        if index == 0:
            _genesis(state, statement)
            signers = dsse.verify(sealed, state.keys())
            if not any(state.workspace_key_valid(keyid, 0) for keyid in signers):
                raise ValueError("the genesis statement is not signed by the workspace's key")
        for digest in statement.digests:
            state.evidence.setdefault(digest, []).append(index)
            if kind not in ("decision", "outcome"):
                state.revisions[f"digest:{digest}"] = index
        change = _CHANGES.get(kind)
        if change is None:
            return
        allowed_for, apply = change
        signers = dsse.verify(sealed, state.keys())
        if kind == "approval":
            signed = any(state.actor_of_key(keyid, index) for keyid in signers)
        else:
            signed = any(state.workspace_key_valid(keyid, index) for keyid in signers)
        if not signed:
            state.rejected.append((index, f"{kind}: not signed by a key that may"))
            return
        predicate = statement.predicate
        if allowed_for:
            decision = state.open.get(str(predicate.get("decision", "")))
            if decision is None or decision.action not in allowed_for:
                state.rejected.append((index, f"{kind}: names no open decision that allows it"))
                return
            project = statement.header.project
            if decision.project != project and decision.project != WORKSPACE:
                state.rejected.append((index, f"{kind}: decided for another project"))
                return
        apply(state, index, statement)
    except (AssayError, KeyError, TypeError, ValueError, msgspec.MsgspecError) as error:
        state.rejected.append((index, f"unreadable statement: {type(error).__name__}: {error}"))


def _touch(state: State, index: int, *subjects: str) -> None:
    for subject in subjects:
        state.revisions[subject] = index


def _key(data: dict[str, Any]) -> PublicKey:
    return msgspec.convert(data, PublicKey)


def _genesis(state: State, statement: Statement) -> None:
    """Leaf 0: the workspace, its keys, its first administrator and its first policy."""
    if kind_of(statement) != "genesis":
        raise ValueError("the ledger does not begin with a genesis statement")
    p = statement.predicate
    state.workspace = p["workspace"]
    state.bundle = Digest(p["bundle"])
    for data in p["workspace_keys"]:
        key = _key(data)
        state.workspace_keys[key.keyid] = KeyState(key, 0)
    admin = _key(p["admin"]["key"])
    state.actors[p["admin"]["id"]] = ActorState(
        "person", p["admin"]["level"], keys={admin.keyid: KeyState(admin, 0)}
    )
    state.projects[p["project"]] = {}
    for role in p["admin"]["roles"]:
        state.roles[role] = [p["admin"]["id"]]


def _decision(state: State, index: int, statement: Statement) -> None:
    p = statement.predicate
    if p["allowed"] and p["durability"] == "before":
        state.open[statement.header.id] = OpenDecision(
            index, p["action"], p["actor"], statement.header.project, p["request"]
        )


def _outcome(state: State, _: int, statement: Statement) -> None:
    state.open.pop(statement.predicate["decision"], None)


def _actor(state: State, index: int, statement: Statement) -> None:
    p = statement.predicate
    actor = state.actors.setdefault(p["actor"], ActorState(p["kind"], p["level"]))
    actor.disabled = bool(p["disabled"])
    actor.level = p["level"]
    for data in p["keys"]:
        key = _key(data)
        if any(key.keyid in other.keys for other in state.actors.values()):
            continue  # a key belongs to one actor, for ever
        actor.keys[key.keyid] = KeyState(key, index)
    _touch(state, index, f"actor:{p['actor']}")


def _role(state: State, index: int, statement: Statement) -> None:
    p = statement.predicate
    members = state.roles.setdefault(p["role"], [])
    if p["granted"] and p["actor"] not in members:
        members.append(p["actor"])
    if not p["granted"] and p["actor"] in members:
        members.remove(p["actor"])
    _touch(state, index, f"actor:{p['actor']}")


def _key_revocation(state: State, index: int, statement: Statement) -> None:
    p = statement.predicate
    since = min(index, int(p.get("compromised_since", index)))
    for holder in [state.workspace_keys, *(actor.keys for actor in state.actors.values())]:
        key = holder.get(p["keyid"])
        if key is not None and (key.revoked is None or since < key.revoked):
            key.revoked = since
    for actor_id, actor in state.actors.items():
        if p["keyid"] in actor.keys:
            _touch(state, index, f"actor:{actor_id}")
    _touch(state, index, "keys")


def _workspace_key(state: State, index: int, statement: Statement) -> None:
    key = _key(statement.predicate["key"])
    state.workspace_keys.setdefault(key.keyid, KeyState(key, index))
    _touch(state, index, "keys")


def _token(state: State, index: int, statement: Statement) -> None:
    p = statement.predicate
    if p["revoked"]:
        state.tokens[p["token"]].revoked = True
    else:
        state.tokens[p["token"]] = TokenState(p["actor"], p["project"], p["sha256"], p["expires"])
    _touch(state, index, f"token:{p['token']}")


def _policy(state: State, index: int, statement: Statement) -> None:
    state.bundle = Digest(statement.predicate["bundle"])
    _touch(state, index, "policy")


def _project(state: State, index: int, statement: Statement) -> None:
    state.projects.setdefault(statement.predicate["project"], {})
    _touch(state, index, f"project:{statement.predicate['project']}")


def _dataset(state: State, index: int, statement: Statement) -> None:
    p = statement.predicate
    project = statement.header.project
    key = f"{project}/{p['name']}"
    state.datasets[key] = DatasetState(
        project, p["name"], Digest(p["content"]), p["owner"], p["details"]
    )
    _touch(state, index, f"dataset:{key}")


def _model_version(state: State, index: int, statement: Statement) -> None:
    p = statement.predicate
    project = statement.header.project
    key = f"{project}/{p['name']}@{p['version']}"
    if key in state.versions:
        raise ValueError(f"model version {key} exists already")
    served = Digest(p["served"]) if p["served"] else None
    state.versions[key] = VersionState(
        project,
        p["name"],
        p["version"],
        p["author"],
        Digest(p["artifact"]),
        served,
        p["details"],
    )
    _touch(state, index, f"model:{project}/{p['name']}")


def _alias(state: State, index: int, statement: Statement) -> None:
    p = statement.predicate
    project = statement.header.project
    state.versions[f"{project}/{p['name']}@{p['version']}"].stage = p["alias"]
    state.aliases[f"{project}/{p['name']}@{p['alias']}"] = p["version"]
    _touch(state, index, f"model:{project}/{p['name']}")


def _revocation(state: State, index: int, statement: Statement) -> None:
    p = statement.predicate
    project = statement.header.project
    version = state.versions[f"{project}/{p['name']}@{p['version']}"]
    version.revoked = True
    # The same bytes under another version number are as bad as these.
    for other in state.versions.values():
        if other.project == project and version.served and other.served == version.served:
            other.revoked = True
    _touch(state, index, f"model:{project}/{p['name']}")


def _hold(state: State, index: int, statement: Statement) -> None:
    p = statement.predicate
    project = statement.header.project
    subject = f"{project}/{p['name']}"
    if p["subject"] == "dataset":
        state.datasets[subject].hold = p["held"]
        _touch(state, index, f"dataset:{subject}")
    else:
        state.versions[f"{subject}@{p['version']}"].hold = p["held"]
        _touch(state, index, f"model:{subject}")


def _endpoint(state: State, index: int, statement: Statement) -> None:
    p = statement.predicate
    key = f"{statement.header.project}/{p['name']}"
    state.endpoints[key] = {"killed": p["killed"], "stage": p["stage"], "region": p["region"]}
    _touch(state, index, f"endpoint:{key}")


def _supersession(state: State, _: int, statement: Statement) -> None:
    state.superseded.append(statement.predicate["envelope"])


def _nothing(_state: State, _index: int, _statement: Statement) -> None:
    """Entitled, and it changes nothing here: an approval counts where facts are collected."""


_CHANGES: dict[str, tuple[frozenset[str], Callable[[State, int, Statement], None]]] = {
    "decision": (frozenset(), _decision),
    "outcome": (frozenset(), _outcome),
    "actor": (frozenset({"enrolActor", "disableActor"}), _actor),
    "role": (frozenset({"manageRole", "enrolActor"}), _role),
    "key-revocation": (frozenset({"revokeKey", "manageKeys"}), _key_revocation),
    "workspace-key": (frozenset({"manageKeys"}), _workspace_key),
    "token": (frozenset({"createToken", "revokeToken"}), _token),
    "policy": (frozenset({"applyPolicy"}), _policy),
    "project": (frozenset({"createProject"}), _project),
    "dataset": (frozenset({"registerDataset"}), _dataset),
    "model-version": (frozenset({"registerModel"}), _model_version),
    "alias": (frozenset({"promote"}), _alias),
    "revocation": (frozenset({"revoke"}), _revocation),
    "hold": (frozenset({"hold", "holdDataset"}), _hold),
    "endpoint": (frozenset({"deploy", "kill"}), _endpoint),
    "supersession": (frozenset({"supersede"}), _supersession),
    "approval": (frozenset({"approve"}), _nothing),
}
"""Statement kind → (the actions whose decision entitles it, what it changes)."""
