"""What a decision sees: the folded state, verified evidence, and facts.

`View.follow` brings the state to the ledger's current checkpoint before every decision.  A sealed
snapshot saves folding from leaf 0; it is believed only when the tree at its size has the root it
names, so an old or foreign snapshot costs time and nothing else.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator
from typing import Any

import msgspec

from assay import files
from assay.clock import Clock, not_before, timestamp
from assay.errors import AssayError, Conflict, NotFound
from assay.evidence import approvals
from assay.evidence import envelope as dsse
from assay.evidence import state as states
from assay.evidence.facts import Evidence, FactDeclaration, FactSet, TrustedProducer, collect
from assay.evidence.ledger import Leaf, Ledger, Sealer
from assay.evidence.notes import Checkpoint
from assay.evidence.state import DatasetState, State, VersionState
from assay.policy import vocabulary as cedar
from assay.policy.settings import limits
from assay.types import PROJECT_ROLES, Digest
from assay.workspace.layout import Layout
from assay.workspace.memo import Memo

SNAPSHOT_FORMAT = "assay/snapshot/v1"
_SNAPSHOT_EVERY = 64
"""Leaves after which the state is saved again, at least: an eighth of a long ledger, so that all
savings together cost no more than a few times the last one."""


class Snapshot(msgspec.Struct, forbid_unknown_fields=True):
    """The folded state and the tree head it was folded to."""

    format: str
    root: bytes
    state: State


class PolicyFacts(msgspec.Struct):
    """What of the policy bundle the facts layer and the entities need."""

    declarations: list[FactDeclaration]
    producers: list[TrustedProducer]
    settings: dict[str, Any]
    roles: tuple[str, ...] = PROJECT_ROLES


class View:
    """Read access to one workspace's evidence, at one checkpoint at a time."""

    def __init__(self, layout: Layout, ledger: Ledger, sealer: Sealer, clock: Clock) -> None:
        self._layout = layout
        self._ledger = ledger
        self._sealer = sealer
        self._clock = clock
        self.memo = Memo(layout.root / "memo", sealer)
        self._evidence: dict[int, Evidence | None] = {}
        self._snapshot_size = 0
        self.state = self._load_snapshot()
        self.policy = PolicyFacts([], [], {"default": {}})
        """What the active bundle declares; whoever loads the engine keeps it in step."""

    # -- following the ledger -------------------------------------------------------------------

    def follow(self) -> State:
        """The state at the current checkpoint; raises what the ledger raises, never guesses."""
        self._ledger.refresh()
        self.catch_up()
        return self.state

    def catch_up(self) -> None:
        """Fold up to the checkpoint the ledger holds now (also called under its lock)."""
        size = self._ledger.checkpoint.size
        if size < self.state.size:
            self.state = State()
        for leaf in self._ledger.read(self.state.size, size):
            states.fold(self.state, leaf.index, leaf.envelope)
        if self.state.size - self._snapshot_size >= max(_SNAPSHOT_EVERY, self.state.size // 8):
            self.save_snapshot()

    def now(self) -> str:
        """The time to decide by: never before the last checkpoint."""
        return timestamp(not_before(self._clock.now(), self._ledger.checkpoint.time))

    def save_snapshot(self) -> None:
        """Keep the folded state; failing to is no failure."""
        root = self._ledger.checkpoint.root
        snapshot = Snapshot(SNAPSHOT_FORMAT, root, self.state)
        try:
            sealed = self._sealer.seal(states.WORKSPACE, msgspec.msgpack.encode(snapshot))
            files.write(self._layout.snapshot, sealed)
            self._snapshot_size = self.state.size
        except AssayError:
            return

    def _load_snapshot(self) -> State:
        try:
            sealed = files.read(self._layout.snapshot, limit=1 << 30, what="snapshot")
            plain = self._sealer.open(states.WORKSPACE, sealed)
            snapshot = msgspec.msgpack.decode(plain, type=Snapshot)
            known = snapshot.format == SNAPSHOT_FORMAT
            if known and self._ledger.root_at(snapshot.state.size) == snapshot.root:
                self._snapshot_size = snapshot.state.size
                return snapshot.state
        except (AssayError, msgspec.MsgspecError, ValueError):
            pass  # Absent, altered or of another ledger: fold from the beginning.
        return State()

    @property
    def checkpoint(self) -> Checkpoint:
        """The tree head the state was folded to."""
        return self._ledger.checkpoint

    @property
    def note(self) -> bytes:
        """The signed note of `checkpoint`."""
        return self._ledger.note

    def leaves(self) -> Iterator[Leaf]:
        """Every leaf up to the checkpoint, verified."""
        return self._ledger.read(0, self.state.size)

    def leaf(self, index: int) -> Leaf:
        """One leaf, verified."""
        return next(self._ledger.read(index, index + 1))

    def inclusion(self, index: int) -> list[bytes]:
        """The proof that a leaf is under `checkpoint`."""
        return self._ledger.inclusion(index)

    # -- things by name ---------------------------------------------------------------------------

    def version(self, project: str, name: str, version: str) -> VersionState:
        """A model version by number or alias; raises `NotFound`."""
        number = self.state.aliases.get(f"{project}/{name}@{version}", version)
        found = self.state.versions.get(f"{project}/{name}@{number}")
        if found is None:
            known = sorted(
                (v.version for v in self.versions(project, name)), key=lambda v: (len(v), v)
            )
            raise NotFound(
                f"model {name}@{version} does not exist in project {project}",
                remedy=f"versions of {name}: {', '.join(known)}"
                if known
                else f"register it: assay model register FILE --name {name}",
                code="model_version",
            )
        return found

    def versions(self, project: str, name: str = "") -> list[VersionState]:
        """The versions of a model, or of all models of a project, in the order of registration."""
        return [
            v
            for v in self.state.versions.values()
            if v.project == project and (not name or v.name == name)
        ]

    def dataset(self, project: str, name: str) -> DatasetState:
        """A dataset by name; raises `NotFound`."""
        found = self.state.datasets.get(f"{project}/{name}")
        if found is None:
            known = sorted(d.name for d in self.state.datasets.values() if d.project == project)
            raise NotFound(
                f"dataset {name} is not registered in project {project}",
                remedy=f"registered: {', '.join(known)}"
                if known
                else f"register it: assay data register FILE --name {name}",
                code="dataset",
            )
        return found

    # -- evidence ---------------------------------------------------------------------------------

    def evidence(self, project: str, *digests: Digest) -> list[Evidence]:
        """Every statement of `project`, or of the workspace, about one of `digests` whose
        signature counts at its leaf."""
        found: list[Evidence] = []
        for index in sorted({i for d in digests for i in self.state.evidence.get(d, [])}):
            item = self._read_evidence(index)
            if item is None or item.statement.header.project not in (project, states.WORKSPACE):
                continue
            # Revocations may name an earlier leaf, so validity is asked anew each time.
            counting = self.state.counting(item.keyids, index)
            if counting:
                found.append(msgspec.structs.replace(item, keyids=counting))
        return found

    def own(self, project: str, *digests: Digest, superseded: bool = False) -> list[Evidence]:
        """Of `evidence`, what the workspace itself signed: who merely says the same is not heard.

        Without what somebody superseded, unless that is asked for, too.
        """
        gone = () if superseded else self.state.superseded_in(project)
        return [
            item
            for item in self.evidence(project, *digests)
            if item.envelope_digest not in gone
            and any(self.state.workspace_key_valid(keyid, item.index) for keyid in item.keyids)
        ]

    def _read_evidence(self, index: int) -> Evidence | None:
        """The statement at a leaf with every signature that holds; None when there is none."""
        if index not in self._evidence:
            (leaf,) = self._ledger.read(index, index + 1)
            item = None
            if leaf.envelope is not None:
                with contextlib.suppress(AssayError):
                    envelope = dsse.decode(leaf.envelope)
                    statement = envelope.statement()
                    keyids = [signature.keyid for signature in envelope.signatures]
                    item = Evidence(
                        index=index,
                        envelope_digest=dsse.envelope_digest(envelope),
                        statement=statement,
                        keyids=dsse.verify(envelope, self.state.signer_keys(keyids, index)),
                        producer=statement.header.producer,
                    )
            self._evidence[index] = item
        return self._evidence[index]

    def facts(self, project: str, digest: Digest, *, names: Collection[str] = ()) -> FactSet:
        """The facts about `digest`, and about the workspace, under the active policy bundle.

        With `names`, what was said of the same bytes under others does not count where the latest
        does: see `assay.evidence.facts`.
        """
        about = (digest, states.workspace_digest(self.state.workspace))
        return collect(
            self.evidence(project, *about),
            self.policy.declarations,
            self.policy.producers,
            key_kinds=self.state.key_kinds(),
            superseded=self.state.superseded_in(project),
            named={digest: names} if names else None,
        )

    def version_facts(self, version: VersionState) -> FactSet:
        """The facts about a version: about what would be served of it, by its own name."""
        about = version.served or version.artifact
        return self.facts(version.project, about, names=version.names)

    def approvals(self, version: VersionState, stage: str) -> list[dict[str, Any]]:
        """The approvals of a version for `stage` that count now; see `approvals.counting`."""
        if version.served is None:
            return []
        items = self.evidence(version.project, version.served)
        return approvals.counting(items, self.state, version, stage)

    # -- entities ---------------------------------------------------------------------------------

    def settings(self, project: str) -> dict[str, Any]:
        """The policy bundle's limits for a project: its own over the default."""
        return limits(self.policy.settings, project)

    def actor_entity(self, actor: str, project: str, *, mfa: bool) -> dict[str, Any]:
        """Whoever asks, with their roles in `project` and in the workspace: a decision, which may
        be exported, says nothing of other projects."""
        held = self.state.actors[actor]
        here = (project, states.WORKSPACE)
        return cedar.actor_entity(
            actor,
            kind=held.kind,
            disabled=held.disabled,
            identity_level=held.level,
            mfa=mfa,
            roles=[r for r in self.state.roles_of(actor) if r.partition("/")[0] in here],
        )

    def project_entity(self, project: str) -> dict[str, Any]:
        if project not in self.state.projects:
            raise NotFound(
                f"project {project} does not exist",
                remedy=f"projects: {', '.join(sorted(self.state.projects))}",
                code="project",
            )
        return cedar.project_entity(project, roles=self.policy.roles, **self.settings(project))

    def changed(self, revisions: dict[str, int]) -> None:
        """Raise `Conflict` when one of the subjects moved since `revisions` was taken."""
        moved = [s for s, seen in revisions.items() if self.state.revisions.get(s, -1) != seen]
        if moved:
            raise Conflict(
                f"{', '.join(moved)} changed while this was being decided; nothing was done",
                remedy="look at the new state and try again",
                code="revision",
            )
