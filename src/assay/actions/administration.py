"""Actions on the workspace itself: projects, policy bundles, key rings."""

from __future__ import annotations

from typing import ClassVar

import msgspec

from assay import canonical, files
from assay.actions.datasets import fingerprints_of
from assay.actions.people import role_statement, subject_of, workspace_target
from assay.clock import timestamp
from assay.errors import NotFound, Usage
from assay.evidence import trust
from assay.evidence.signers import FileSigner
from assay.evidence.state import WORKSPACE, workspace_digest
from assay.policy import vocabulary as cedar
from assay.policy.bundle import Bundle
from assay.policy.engine import Engine
from assay.types import Digest, check_digest, check_name
from assay.workspace import doctor
from assay.workspace.action import Action, Doing, Outcome, Target
from assay.workspace.credentials import Person
from assay.workspace.opening import POLICY_RING, first_roles, project_rings
from assay.workspace.view import View

_BUNDLE_LIMIT = 16 << 20


class CreateProject(Action, frozen=True, kw_only=True):
    """A new project: the unit of isolation, with key rings of its own."""

    name: ClassVar[str] = "createProject"
    redo: ClassVar[bool] = True
    new: str
    owner: str
    """The actor who gets every role but approver and service in it, to begin with."""

    def target(self, view: View) -> Target:
        check_name(self.new, what="project")
        if self.new in view.state.projects:
            raise Usage(
                f"project {self.new} exists already",
                remedy="use it (assay project list), or choose another name",
                code="project",
            )
        if self.owner not in view.state.actors:
            raise NotFound(f"actor {self.owner} is not enrolled", code="actor")
        return workspace_target({}, f"project:{self.new}")

    def apply(self, doing: Doing) -> Outcome:
        existing = set(doing.store.rings.names())
        for ring in project_rings(self.new):
            if ring not in existing:
                doing.store.rings.create(ring)
        made = doing.attest("project", subject_of(f"project:{self.new}"), {"project": self.new})
        roles = first_roles(self.new)
        granted = [role_statement(doing, self.owner, role, granted=True) for role in roles]
        return Outcome({"project": self.new, "owner": self.owner, "roles": roles}, [made, *granted])


class ApplyPolicy(Action, frozen=True, kw_only=True):
    """Make a policy bundle the active one."""

    name: ClassVar[str] = "applyPolicy"
    redo: ClassVar[bool] = True
    bundle: str
    """The digest of the canonical bundle, already put under seal by the caller."""
    summary: str = ""

    def target(self, view: View) -> Target:  # noqa: ARG002
        check_digest(self.bundle)
        return workspace_target({})

    def apply(self, doing: Doing) -> Outcome:
        bundle = check_digest(self.bundle)
        # One that cannot decide would close the door for ever, to its own replacement too.
        Engine(Bundle.decode(doing.store.read(POLICY_RING, bundle, _BUNDLE_LIMIT)))
        before = doing.view.state.bundle or ""
        predicate = {"bundle": bundle, "before": before, "summary": self.summary}
        statement = doing.attest("policy", {"policy-bundle": bundle}, predicate)
        return Outcome({"bundle": bundle, "before": before}, [statement])


class RotateRing(Action, frozen=True, kw_only=True):
    """A new generation of a key ring: later blobs are wrapped by it, earlier ones stay readable."""

    name: ClassVar[str] = "manageKeys"
    ring: str

    def target(self, view: View) -> Target:
        return _ring_target(view, self.ring, {"reason": "rotation"})

    def apply(self, doing: Doing) -> Outcome:
        generation = doing.store.rings.rotate(self.ring)
        predicate = {"ring": self.ring, "generation": generation}
        statement = doing.attest("ring-rotation", subject_of(f"ring:{self.ring}"), predicate)
        return Outcome({"ring": self.ring, "generation": generation}, [statement])


class DestroyRing(Action, frozen=True, kw_only=True):
    """Destroy a key ring: whatever it sealed can never be read again, by anyone."""

    name: ClassVar[str] = "destroyRing"
    # Repeated, since it may have begun: what is half destroyed is lost already.
    redo: ClassVar[bool] = True
    ring: str
    reason: str
    ticket: str

    def target(self, view: View) -> Target:
        return _ring_target(
            view,
            self.ring,
            {"reason": cedar.reason(self.reason), "ticket": cedar.reason(self.ticket)},
        )

    def apply(self, doing: Doing) -> Outcome:
        receipt = doing.store.rings.destroy(self.ring)
        predicate = {
            "ring": self.ring,
            "reason": self.reason,
            "ticket": self.ticket,
            "receipt": canonical.decode(canonical.encode(receipt)),
        }
        statement = doing.attest("ring-destruction", subject_of(f"ring:{self.ring}"), predicate)
        return Outcome(predicate, [statement])


def _ring_target(view: View, ring: str, context: dict[str, str]) -> Target:
    project = ring.partition("/")[0]
    if project == WORKSPACE:
        raise Usage(
            f"{ring} holds the workspace's own evidence; it cannot be turned alone",
            code="ring",
        )
    return Target(
        uid=cedar.key_ring_uid(ring),
        entities=[cedar.key_ring_entity(project, ring), view.project_entity(project)],
        context=dict(context),
        subjects=[f"project:{project}"],
        words={"project": project},
    )


class RotateKey(Action, frozen=True, kw_only=True):
    """A new workspace key, and a trust root that names it.  Revoke the old one afterwards.

    The trust root is signed by who asks, who must hold a root key.
    """

    name: ClassVar[str] = "rotateKey"
    reason: str

    def target(self, view: View) -> Target:  # noqa: ARG002
        return workspace_target({"reason": cedar.reason(self.reason)}, "keys")

    def apply(self, doing: Doing) -> Outcome:
        roots = trust.load(doing.layout.trust)
        root = trust.verify_chain(roots, doing.layout.pinned)
        holder = doing.credential.signer if isinstance(doing.credential, Person) else None
        if holder is None or holder.public not in root.root_keys or root.threshold > 1:
            raise Usage(
                "the trust root is signed by whoever holds its root keys",
                remedy="run this as the person who founded the workspace",
                code="keys.root",
            )
        path = doing.layout.keys / f"workspace.{root.version + 1}.pem"
        files.remove(path)  # Left by an attempt that was interrupted before anything named it.
        signer = FileSigner.create(path)
        keys = (*root.workspace_keys, signer.public)
        changed = msgspec.structs.replace(
            root,
            version=root.version + 1,
            workspace_keys=keys,
            issued=timestamp(doing.clock.now()),
        )
        signed = trust.sign(changed, [holder])
        trust.verify_chain([*roots, signed], doing.layout.pinned)
        trust.save(doing.layout.trust, signed)
        predicate = {"key": msgspec.to_builtins(signer.public), "reason": self.reason}
        keyid = signer.public.keyid
        statement = doing.attest("workspace-key", subject_of(f"key:{keyid}"), predicate)
        before = root.workspace_keys[-1].keyid
        return Outcome({"keyid": keyid, "before": before}, [statement])


class Examine(Action, frozen=True, kw_only=True):
    """Look at the workspace's health, and record it as evidence that gates may read."""

    name: ClassVar[str] = "examine"

    def target(self, view: View) -> Target:  # noqa: ARG002
        return workspace_target({})

    def apply(self, doing: Doing) -> Outcome:
        findings = doctor.examine(
            doing.layout, doing.store, doing.view, doing.clock, doing.decision
        )
        predicate = doctor.predicate(findings)
        subject = {"workspace": workspace_digest(doing.view.state.workspace)}
        statement = doing.attest(doctor.KIND, subject, predicate, producer=doctor.PRODUCER)
        return Outcome(predicate, [statement])


class CollectGarbage(Action, frozen=True, kw_only=True):
    """Delete what no dataset, model version, run, intake, prediction or policy refers to, after 24
    hours of grace."""

    name: ClassVar[str] = "maintain"

    def target(self, view: View) -> Target:  # noqa: ARG002
        return workspace_target({})

    def apply(self, doing: Doing) -> Outcome:
        from assay.actions.feedback_records import kept_of_labels
        from assay.actions.intake_records import kept_of_intakes
        from assay.actions.prediction_records import kept_of_predictions
        from assay.actions.run_keeping import kept_of_runs
        from assay.actions.vulnerabilities import kept_advisories

        needed = [
            *reachable(doing.view),
            *kept_of_runs(doing.view, doing.store),
            *kept_of_intakes(doing.view),
            *kept_advisories(doing.view),
            *kept_of_predictions(doing.view),
            *kept_of_labels(doing.view),
        ]
        collected = doing.store.collect(needed, doing.clock.now())
        return Outcome(collected)


def reachable(view: View) -> list[tuple[str, Digest]]:
    """Every content that the ledger refers to, as (ring, digest)."""
    state = view.state
    found = [
        (f"{d.project}/data", digest)
        for d in state.datasets.values()
        for digest in (*d.contents, *map(check_digest, fingerprints_of(d).values()))
    ]
    for version in state.versions.values():
        found.append((f"{version.project}/models", version.artifact))
        if version.served is not None:
            found.append((f"{version.project}/models", version.served))
    return [*found, *((POLICY_RING, bundle) for bundle in state.bundles)]
