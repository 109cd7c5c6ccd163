"""Actions that read evidence: look at it, export it, ask an earlier decision again."""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec

from assay import canonical
from assay.actions.people import project_target
from assay.actions.release import version_target
from assay.clock import timestamp
from assay.errors import NotFound
from assay.evidence import bounds, trust
from assay.evidence import envelope as dsse
from assay.evidence.plan_records import APPROVAL
from assay.evidence.state import WORKSPACE, VersionState, kind_of, workspace_digest
from assay.evidence.statement import SLSA_PROVENANCE, Statement
from assay.govern import bundle as bundles
from assay.govern import origin
from assay.policy.bundle import Bundle
from assay.policy.replay import replay
from assay.store import Store
from assay.types import Digest, check_digest
from assay.workspace.action import Action, Doing, Outcome, Target
from assay.workspace.opening import POLICY_RING
from assay.workspace.view import View

_BUNDLE_LIMIT = 16 << 20


class ReadEvidence(Action, frozen=True, kw_only=True):
    """Look at a project's evidence, decisions or gates; `about` says in words at what."""

    name: ClassVar[str] = "readEvidence"
    about: str = ""

    def target(self, view: View) -> Target:
        return project_target(view, self.project, {})

    def apply(self, doing: Doing) -> Outcome:
        return Outcome(doing.view)


class ExportEvidence(Action, frozen=True, kw_only=True):
    """Everything that proves a version's story, in one file that verifies offline."""

    name: ClassVar[str] = "exportEvidence"
    model: str
    version: str

    def target(self, view: View) -> Target:
        return version_target(view, self.project, self.model, self.version, {})

    def apply(self, doing: Doing) -> Outcome:
        found = doing.view.version(self.project, self.model, self.version)
        chosen = _Chosen(doing.view, found)
        doing.progress("collecting the leaves that matter")
        indexes = chosen.collect()
        doing.progress(f"proving {len(indexes)} leaves")
        view = doing.view
        leaves = [
            bundles.BundleLeaf(
                index=leaf.index,
                nonce=canonical.b64(leaf.nonce),
                envelope=msgspec.json.decode(leaf.envelope),
                proof=tuple(canonical.b64(node) for node in view.inclusion(leaf.index)),
            )
            for leaf in map(view.leaf, indexes)
            if leaf.envelope is not None and leaf.nonce is not None
        ]
        policies = {
            digest: canonical.decode(
                doing.store.read(POLICY_RING, check_digest(digest), _BUNDLE_LIMIT)
            )
            for digest in sorted(chosen.policies)
        }
        names = doing.directory.names()
        made = bundles.make(
            subject=bundles.BundleSubject(
                found.project, found.name, found.version, found.served or found.artifact
            ),
            exported=timestamp(doing.clock.now()),
            trust=[msgspec.to_builtins(root) for root in trust.load(doing.layout.trust)],
            checkpoint=view.note,
            leaves=leaves,
            policies=policies,
            names={actor: names[actor] for actor in sorted(chosen.actors) if actor in names},
            sign=doing.sign,
        )
        return Outcome(made)


class _Chosen:
    """Which leaves a version's bundle needs, and nothing of other projects.

    A leaf that changes state needs the decision that entitled it, a decision its outcome, and
    whoever signed, asked or approved the leaves that enrolled them, or made the token they used.
    """

    def __init__(self, view: View, found: VersionState) -> None:
        self._view = view
        self._found = found
        self.policies: set[str] = set()
        self.actors: set[str] = set()
        self._tokens: set[str] = set()
        self._planned = self._plan_of_changes()

    def _plan_of_changes(self) -> set[Digest]:
        """What was asked about to hold it to a plan of changes, whether superseded since or not."""
        view, looked = self._view, set[Digest]()
        facts = view.version_facts(self._found).values
        whole = msgspec.structs.replace(view.state, supersessions={})
        for state in (view.state, whole):
            judged = bounds.judge(view.evidence, state, self._found, facts, now=view.now())
            looked |= judged.looked if judged is not None else set()
        return looked

    def collect(self) -> list[int]:
        statements = dict(self._statements())
        decisions = {
            s.header.id: index for index, s in statements.items() if kind_of(s) == "decision"
        }
        outcomes = {
            str(s.predicate.get("decision")): index
            for index, s in statements.items()
            if kind_of(s) == "outcome"
        }
        chosen = {index for index, s in statements.items() if self._matters(s)}
        waiting = list(chosen)
        while waiting:
            statement = statements[waiting.pop()]
            kind = kind_of(statement)
            needed = [decisions.get(_decided_by(statement))]
            if kind == "decision":
                needed.append(outcomes.get(statement.header.id))
                self.actors.add(statement.predicate["actor"])
                self.policies.add(statement.predicate["bundle"])
                match statement.predicate["request"]:
                    case {"proof": {"token": str(token)}}:
                        self._tokens.add(token)
                    case _:
                        pass  # Signed by a key.
            if kind == "model-version":
                self.actors.add(statement.predicate["author"])
            for index in needed:
                if index is not None and index not in chosen:
                    chosen.add(index)
                    waiting.append(index)
            if not waiting:
                # Those who take part must be known: their enrolment, keys, tokens and roles here.
                for index, other in statements.items():
                    if index not in chosen and self._about_people(other):
                        chosen.add(index)
                        waiting.append(index)
        return sorted(chosen)

    def _statements(self) -> list[tuple[int, Statement]]:
        found: list[tuple[int, Statement]] = []
        rejected = {index for index, _ in self._view.state.rejected}
        for leaf in self._view.leaves():
            if leaf.envelope is None or leaf.project not in (self._found.project, WORKSPACE):
                continue
            if leaf.index in rejected:
                continue  # Evidence of nothing, and maybe not even a statement.
            statement = dsse.decode(leaf.envelope).statement()
            if kind_of(statement) in ("approval", APPROVAL):
                signer = dsse.decode(leaf.envelope).signatures[0].keyid
                if person := self._view.state.actor_of_key(signer, leaf.index):
                    self.actors.add(person)
            found.append((leaf.index, statement))
        return found

    def _matters(self, statement: Statement) -> bool:
        kind = kind_of(statement)
        if kind in ("genesis", "policy", "workspace-key", "key-revocation"):
            return True
        if kind == "outcome":
            return False  # Comes with its decision.
        about = {self._found.artifact, self._found.served, *self._planned}
        if kind == "doctor":
            about.add(workspace_digest(self._view.state.workspace))
        dataset = self._found.details.get("dataset")
        if dataset:
            state = self._view.state.datasets.get(f"{self._found.project}/{dataset}")
            if state is not None and kind == "dataset":
                about |= set(state.contents)
        return bool(about & set(statement.digests))

    def _about_people(self, statement: Statement) -> bool:
        predicate = statement.predicate
        if kind_of(statement) == "actor":
            return predicate.get("actor") in self.actors
        if kind_of(statement) == "token":
            return predicate.get("token") in self._tokens
        if kind_of(statement) == "role":
            here = (f"{self._found.project}/", f"{WORKSPACE}/")
            known = predicate.get("actor") in self.actors
            return known and str(predicate.get("role")).startswith(here)
        return False


def _decided_by(statement: Statement) -> str:
    """The id of the decision that allowed a statement; empty where it names none."""
    told = statement.predicate
    # What a pipeline's runner saw was decided when the run began.
    run = origin.run_of(told) if statement.predicateType == SLSA_PROVENANCE else ""
    return str(told.get("decision", run))


def decision_of(view: View, project: str, decision: str) -> dict[str, Any]:
    """A recorded decision by its id; raises `NotFound`."""
    rejected = {index for index, _ in view.state.rejected}
    for leaf in view.leaves():
        if leaf.envelope is None or leaf.project != project or leaf.index in rejected:
            continue
        statement = dsse.decode(leaf.envelope).statement()
        if kind_of(statement) == "decision" and statement.header.id == decision:
            return {"index": leaf.index, "issued": statement.header.issued, **statement.predicate}
    raise NotFound(
        f"no decision {decision[:80]} in project {project}",
        remedy="assay decision list shows them",
        code="decision",
    )


def replayed(store: Store, recorded: dict[str, Any]) -> dict[str, Any]:
    """A recorded decision asked again of the policy bundle of its time."""
    raw = store.read(POLICY_RING, check_digest(recorded["bundle"]), _BUNDLE_LIMIT)
    return msgspec.to_builtins(replay(Bundle.decode(raw), recorded["cedar"], recorded))
