"""The records that the fold of the ledger keeps: everything that can deny, as plain data.

They are saved as a snapshot (msgpack) and read back equal.  `assay.evidence.state` folds them,
`assay.evidence.changes` says which statement changes what.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, TypeAlias

import msgspec

from assay.evidence.signers import PublicKey
from assay.types import Digest

WORKSPACE = "_workspace"
"""The project name under which statements about the workspace itself are filed."""

REQUEST_FORMAT = "assay/request/v1"
"""What a person signs when asking for something: this format's name, and the request."""

# Ids stand in quotes in Cedar and between slashes in our own keys: nothing may end either early.
Id: TypeAlias = Annotated[str, msgspec.Meta(pattern=r"\A[A-Za-z0-9][A-Za-z0-9._:@/+-]{0,199}\Z")]


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
    former: list[Digest] = []
    """What was registered under this name before: decisions and models still refer to it."""

    @property
    def contents(self) -> list[Digest]:
        """Every content ever registered under this name, the present one first."""
        return [self.content, *self.former]


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

    @property
    def names(self) -> tuple[str, str]:
        """What statements call its bytes: those registered, and those served."""
        ref = f"{self.name}@{self.version}"
        return ref, f"{ref}.onnx"

    @property
    def subject(self) -> dict[str, Digest]:
        """What statements about it are about."""
        return subject_of(f"{self.name}@{self.version}", self.artifact, self.served)


def subject_of(ref: str, artifact: Digest, served: Digest | None) -> dict[str, Digest]:
    """The bytes of a version by the names that statements give them: see `VersionState.names`."""
    return {ref: artifact, **({f"{ref}.onnx": served} if served else {})}


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
    bundles: list[Digest] = []
    """Every policy bundle that was ever active: decisions name them."""
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
    """Subject → the last leaf that changed it or says something about it."""
    evidence: dict[str, list[int]] = {}
    """Digest → the leaves whose statements are about it."""
    supersessions: dict[str, list[str]] = {}
    """Project → digests of the envelopes that no longer count in it."""
    open: dict[str, OpenDecision] = {}
    closed: dict[str, int] = {}
    """Decision → the leaf that ended it: a copy of an old decision entitles to nothing."""
    rejected: list[tuple[int, str]] = []
    unreadable: int = 0

    @property
    def superseded(self) -> list[str]:
        """Every superseded envelope, of whichever project; see `superseded_in`."""
        return [envelope for listed in self.supersessions.values() for envelope in listed]

    def superseded_in(self, project: str) -> set[str]:
        """The envelopes that do not count in `project`: no project supersedes for another."""
        return {
            envelope
            for where in (project, WORKSPACE)
            for envelope in self.supersessions.get(where, [])
        }

    def roles_of(self, actor: str) -> list[str]:
        return sorted(role for role, members in self.roles.items() if actor in members)

    def key(self, keyid: str) -> KeyState | None:
        """The key of that id, if it was ever enrolled; workspace keys are found at once."""
        found = self.workspace_keys.get(keyid)
        if found is None:
            found = next((a.keys[keyid] for a in self.actors.values() if keyid in a.keys), None)
        return found

    def keys(self) -> dict[str, PublicKey]:
        """Every key ever enrolled, by key id."""
        known = {keyid: key.public for keyid, key in self.workspace_keys.items()}
        for actor in self.actors.values():
            known.update({keyid: key.public for keyid, key in actor.keys.items()})
        return known

    def signer_keys(self, keyids: Iterable[str], index: int) -> dict[str, PublicKey]:
        """Those of `keyids` that were enrolled at leaf `index`, revoked since or not.

        The keys to verify that leaf's envelope by: a broken signature in the name of a key that
        was enrolled only later was ignored then, and must not undo the statement now.
        """
        found = {keyid: self.key(keyid) for keyid in keyids}
        return {
            keyid: key.public
            for keyid, key in found.items()
            if key is not None and key.enrolled <= index
        }

    def key_kinds(self) -> dict[str, set[str]]:
        """Key id → ``workspace``, or the kind of actor it belongs to: ``person``, ``service``…"""
        kinds: dict[str, set[str]] = {keyid: {"workspace"} for keyid in self.workspace_keys}
        for actor in self.actors.values():
            for keyid in actor.keys:
                kinds.setdefault(keyid, set()).add(actor.kind)
        return kinds

    def counting(self, keyids: Iterable[str], index: int) -> list[str]:
        """Those of `keyids` whose signatures count at leaf `index`, as far as is known now."""
        return [
            keyid
            for keyid in keyids
            if self.workspace_key_valid(keyid, index) or self.actor_of_key(keyid, index) is not None
        ]

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
