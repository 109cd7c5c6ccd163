"""What each kind of statement changes in the state, once the fold found it entitled to.

A predicate is read whole into its record before anything is changed, and what an apply function
refuses it refuses first: a statement changes all it is about, or nothing.  Predicates may gain
optional fields, so unknown ones are passed over; the known ones must be there, and of their type.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeAlias

import msgspec

from assay.clock import parse_timestamp
from assay.evidence.plans import PlanApproval
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
from assay.evidence.requests import asked_by
from assay.evidence.signers import PublicKey
from assay.evidence.statement import Header
from assay.types import STAGES, Digest, check_name

_Digest: TypeAlias = Annotated[str, msgspec.Meta(pattern=r"\Asha256:[0-9a-f]{64}\Z")]
_Hex: TypeAlias = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{64}\Z")]
_Text: TypeAlias = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
_Role: TypeAlias = Annotated[
    str, msgspec.Meta(pattern=r"\A(?:_workspace|[a-z0-9][a-z0-9._-]{0,63})/[a-z_]{1,64}\Z")
]


class Refused(ValueError):
    """A statement that may not change what it says."""


@dataclass(frozen=True, slots=True)
class Leaf:
    """Where an entitled statement stands, and by which decision it is entitled."""

    index: int
    header: Header
    decision: OpenDecision | None

    @property
    def project(self) -> str:
        return self.header.project

    @property
    def action(self) -> str:
        return self.decision.action if self.decision else ""


@dataclass(frozen=True, slots=True)
class Change:
    """What entitles a kind of statement, and what it then does."""

    predicate: type[Any]
    apply: Callable[[State, Leaf, Any], None]
    actions: frozenset[str] = frozenset()
    """The actions of which an open decision is needed; none: the signature is enough."""
    everywhere: bool = False
    """Whether it acts beyond one project, and so must be decided for the workspace."""
    by_person: bool = False
    """Whether the person whom the decision is about must sign, instead of the workspace."""


def activate(state: State, bundle: Digest) -> None:
    """Make a policy bundle the active one."""
    state.bundle = bundle
    if bundle not in state.bundles:
        state.bundles.append(bundle)


def touch(state: State, index: int, *subjects: str) -> None:
    """Note that `subjects` changed: what was decided on them before must be decided anew."""
    for subject in subjects:
        state.revisions[subject] = index


class Decision(msgspec.Struct, frozen=True):
    action: _Text
    actor: _Text
    allowed: bool
    durability: str
    request: dict[str, Any]


def _decision(state: State, leaf: Leaf, p: Decision) -> None:
    made = leaf.header.id
    if made in state.open or made in state.closed:
        raise Refused("this decision was recorded before")
    if p.allowed and p.durability == "before":
        # Whoever holds the workspace key still cannot ask in the name of somebody else.
        asked_by(state, leaf.index, leaf.header, p.action, p.actor, p.request)
        state.open[made] = OpenDecision(leaf.index, p.action, p.actor, leaf.project, p.request)


class Outcome(msgspec.Struct, frozen=True):
    decision: str


def _outcome(state: State, leaf: Leaf, p: Outcome) -> None:
    decision = state.open.get(p.decision)
    if decision is None:
        return
    if decision.project != leaf.project:
        raise Refused("decided for another project")
    del state.open[p.decision]
    state.closed[p.decision] = leaf.index


class Actor(msgspec.Struct, frozen=True):
    actor: Id
    kind: Literal["person", "service", "workload"]
    level: _Text
    disabled: bool
    keys: list[PublicKey]


def _actor(state: State, leaf: Leaf, p: Actor) -> None:
    held = state.actors.get(p.actor)
    if held is not None and held.kind != p.kind:
        raise Refused(f"the actor is a {held.kind}, and stays one")
    if leaf.action == "disableActor" and (held is None or p.keys):
        raise Refused("disableActor neither enrols anybody nor adds keys")
    enrolled = {key.keyid: KeyState(key, leaf.index) for key in p.keys}
    for keyid in enrolled:
        # A key belongs to one actor or to the workspace, for ever.
        if state.key(keyid) is not None and (held is None or keyid not in held.keys):
            raise Refused(f"the key {keyid} is enrolled already")
    if held is None:
        held = state.actors[p.actor] = ActorState(p.kind, p.level)
    held.disabled = p.disabled
    held.level = p.level
    held.keys.update({keyid: key for keyid, key in enrolled.items() if keyid not in held.keys})
    touch(state, leaf.index, f"actor:{p.actor}")


class Role(msgspec.Struct, frozen=True):
    actor: Id
    role: _Role
    granted: bool


def _role(state: State, leaf: Leaf, p: Role) -> None:
    members = state.roles.setdefault(p.role, [])
    if p.granted and p.actor not in members:
        members.append(p.actor)
    if not p.granted and p.actor in members:
        members.remove(p.actor)
    touch(state, leaf.index, f"actor:{p.actor}")


class KeyRevocation(msgspec.Struct, frozen=True):
    keyid: _Text
    compromised_since: Annotated[int, msgspec.Meta(ge=0)] | None = None


def _key_revocation(state: State, leaf: Leaf, p: KeyRevocation) -> None:
    since = leaf.index if p.compromised_since is None else min(leaf.index, p.compromised_since)
    key = state.key(p.keyid)
    if key is not None and (key.revoked is None or since < key.revoked):
        key.revoked = since
    holders = [actor_id for actor_id, actor in state.actors.items() if p.keyid in actor.keys]
    touch(state, leaf.index, "keys", *(f"actor:{actor_id}" for actor_id in holders))


class WorkspaceKey(msgspec.Struct, frozen=True):
    key: PublicKey


def _workspace_key(state: State, leaf: Leaf, p: WorkspaceKey) -> None:
    if state.key(p.key.keyid) is not None:
        raise Refused(f"the key {p.key.keyid} is enrolled already")
    state.workspace_keys[p.key.keyid] = KeyState(p.key, leaf.index)
    touch(state, leaf.index, "keys")


class Token(msgspec.Struct, frozen=True):
    token: Id
    revoked: bool
    actor: str = ""
    project: str = ""
    sha256: str = ""
    expires: str = ""


class _NewToken(msgspec.Struct, frozen=True):
    actor: Id
    project: str
    sha256: _Hex
    expires: str


def _token(state: State, leaf: Leaf, p: Token) -> None:
    held = state.tokens.get(p.token)
    touched = [f"token:{p.token}"]
    if (leaf.action == "revokeToken") != p.revoked:
        raise Refused(f"{leaf.action} does not do that")
    if p.revoked:
        if held is None or held.project != leaf.project:
            raise Refused("there is no such token in this project")
        held.revoked = True
        # What is being decided for its holder must be decided anew: maybe it was asked with this.
        touched.append(f"actor:{held.actor}")
    else:
        new = msgspec.convert(msgspec.to_builtins(p), _NewToken)
        parse_timestamp(new.expires)
        if held is not None or new.project != leaf.project:
            raise Refused("the token exists already, or is for another project")
        state.tokens[p.token] = TokenState(new.actor, new.project, new.sha256, new.expires)
    touch(state, leaf.index, *touched)


class Policy(msgspec.Struct, frozen=True):
    bundle: _Digest


def _policy(state: State, leaf: Leaf, p: Policy) -> None:
    activate(state, Digest(p.bundle))
    touch(state, leaf.index, "policy")


class Project(msgspec.Struct, frozen=True):
    project: str


def _project(state: State, leaf: Leaf, p: Project) -> None:
    state.projects.setdefault(check_name(p.project, what="project"), {})
    touch(state, leaf.index, f"project:{p.project}")


class Dataset(msgspec.Struct, frozen=True):
    name: str
    content: _Digest
    owner: _Text
    details: dict[str, Any]


def _dataset(state: State, leaf: Leaf, p: Dataset) -> None:
    key = f"{_project_of(leaf)}/{check_name(p.name)}"
    content = Digest(p.content)
    before = state.datasets.get(key)
    state.datasets[key] = DatasetState(
        leaf.project,
        p.name,
        content,
        p.owner,
        p.details,
        # Registering a name anew does not lift its hold: only the action that holds does.
        hold=before is not None and before.hold,
        former=[digest for digest in before.contents if digest != content] if before else [],
    )
    touch(state, leaf.index, f"dataset:{key}")


class ModelVersion(msgspec.Struct, frozen=True):
    name: str
    version: str
    author: Id
    artifact: _Digest
    details: dict[str, Any]
    served: _Digest | None = None


def _model_version(state: State, leaf: Leaf, p: ModelVersion) -> None:
    model = f"{_project_of(leaf)}/{check_name(p.name)}"
    key = f"{model}@{check_name(p.version, what='version')}"
    if key in state.versions:
        raise Refused(f"model version {key} exists already")
    # NAME@production would name it without anybody having promoted it.
    if p.version in STAGES or key in state.aliases:
        raise Refused(f"{p.version} is an alias, and no version number")
    served = Digest(p.served) if p.served is not None else None
    state.versions[key] = VersionState(
        leaf.project,
        p.name,
        p.version,
        p.author,
        Digest(p.artifact),
        served,
        p.details,
        revoked=any(v.revoked and _same_bytes(v, leaf.project, served) for v in _all(state)),
    )
    touch(state, leaf.index, f"model:{model}")


class Alias(msgspec.Struct, frozen=True):
    name: str
    version: str
    alias: str


def _alias(state: State, leaf: Leaf, p: Alias) -> None:
    model = f"{_project_of(leaf)}/{p.name}"
    version = _version(state, leaf, p.name, p.version)
    key = f"{model}@{check_name(p.alias, what='alias')}"
    if key in state.versions:
        raise Refused(f"{p.alias} is a version number, and no alias")
    before = state.versions.get(f"{model}@{state.aliases.get(key, '')}")
    if before is not None and before.stage == p.alias:
        before.stage = ""
    version.stage = p.alias
    state.aliases[key] = p.version
    touch(state, leaf.index, f"model:{model}")


class Revocation(msgspec.Struct, frozen=True):
    name: str
    version: str


def _revocation(state: State, leaf: Leaf, p: Revocation) -> None:
    version = _version(state, leaf, p.name, p.version)
    # The same bytes under another version number, of whichever model, are as bad as these.
    same = [v for v in _all(state) if _same_bytes(v, leaf.project, version.served)]
    for revoked in (version, *same):
        revoked.revoked = True
        touch(state, leaf.index, f"model:{leaf.project}/{revoked.name}")


class Hold(msgspec.Struct, frozen=True):
    subject: Literal["dataset", "model"]
    name: str
    held: bool
    version: str = ""


def _hold(state: State, leaf: Leaf, p: Hold) -> None:
    subject = f"{_project_of(leaf)}/{p.name}"
    if leaf.action != {"dataset": "holdDataset", "model": "hold"}[p.subject]:
        raise Refused(f"{leaf.action} does not hold a {p.subject}")
    if p.subject == "dataset":
        if subject not in state.datasets:
            raise Refused(f"there is no dataset {subject}")
        state.datasets[subject].hold = p.held
    else:
        _version(state, leaf, p.name, p.version).hold = p.held
    touch(state, leaf.index, f"{p.subject}:{subject}")


class Endpoint(msgspec.Struct, frozen=True):
    name: str
    model: str
    version: str
    stage: str
    region: str
    isolation: str
    killed: bool


def _endpoint(state: State, leaf: Leaf, p: Endpoint) -> None:
    key = f"{_project_of(leaf)}/{check_name(p.name, what='endpoint')}"
    _version(state, leaf, p.model, p.version)
    wanted = {field: getattr(p, field) for field in p.__struct_fields__ if field != "name"}
    if leaf.action == "kill" and wanted != {**state.endpoints.get(key, {}), "killed": True}:
        raise Refused("kill stops an endpoint, and changes nothing else about it")
    state.endpoints[key] = wanted
    touch(state, leaf.index, f"endpoint:{key}")


class Supersession(msgspec.Struct, frozen=True):
    envelope: _Digest


def _supersession(state: State, leaf: Leaf, p: Supersession) -> None:
    listed = state.supersessions.setdefault(leaf.project, [])
    if p.envelope not in listed:
        listed.append(p.envelope)


class Approval(msgspec.Struct, frozen=True):
    name: str
    version: str
    stage: str


def _approval(_state: State, leaf: Leaf, _p: Approval | PlanApproval) -> None:
    """Entitled, and it changes nothing here: an approval counts where facts are collected."""
    _project_of(leaf)


def _project_of(leaf: Leaf) -> str:
    return check_name(leaf.project, what="project")


def _version(state: State, leaf: Leaf, name: str, version: str) -> VersionState:
    found = state.versions.get(f"{_project_of(leaf)}/{name}@{version}")
    if found is None or (found.name, found.version) != (name, version):
        raise Refused(f"there is no model version {leaf.project}/{name}@{version}")
    return found


def _all(state: State) -> list[VersionState]:
    return list(state.versions.values())


def _same_bytes(version: VersionState, project: str, served: Digest | None) -> bool:
    return served is not None and version.project == project and version.served == served


def scope_of(leaf: Leaf, change: Change, predicate: Any) -> bool:
    """Whether a change stays in what its decision was about."""
    if leaf.decision is None:
        return True
    if change.everywhere and "token" in leaf.decision.request["proof"]:
        return False  # People, keys, policy and projects are changed by people, who sign.
    if leaf.decision.project != leaf.project:
        return False
    if isinstance(predicate, Role) and predicate.role.startswith(f"{leaf.project}/"):
        return True
    return leaf.project == WORKSPACE if change.everywhere else True


def _of(*actions: str) -> frozenset[str]:
    return frozenset(actions)


CHANGES: dict[str, Change] = {
    "decision": Change(Decision, _decision),
    "outcome": Change(Outcome, _outcome),
    "actor": Change(Actor, _actor, _of("enrolActor", "disableActor"), everywhere=True),
    "role": Change(Role, _role, _of("manageRole", "enrolActor", "createProject"), everywhere=True),
    "key-revocation": Change(KeyRevocation, _key_revocation, _of("revokeKey"), everywhere=True),
    "workspace-key": Change(WorkspaceKey, _workspace_key, _of("rotateKey"), everywhere=True),
    "token": Change(Token, _token, _of("createToken", "revokeToken")),
    "policy": Change(Policy, _policy, _of("applyPolicy"), everywhere=True),
    "project": Change(Project, _project, _of("createProject"), everywhere=True),
    "dataset": Change(Dataset, _dataset, _of("registerDataset")),
    "model-version": Change(ModelVersion, _model_version, _of("registerModel")),
    "alias": Change(Alias, _alias, _of("promote")),
    "revocation": Change(Revocation, _revocation, _of("revoke")),
    "hold": Change(Hold, _hold, _of("hold", "holdDataset")),
    "endpoint": Change(Endpoint, _endpoint, _of("deploy", "kill")),
    "supersession": Change(Supersession, _supersession, _of("supersede")),
    "approval": Change(Approval, _approval, _of("approve"), by_person=True),
    "change-approval": Change(PlanApproval, _approval, _of("approveChange"), by_person=True),
}
"""Statement kind → what entitles it and what it changes."""
