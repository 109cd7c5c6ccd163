"""The one door: decide, write down, do, record.

Whatever reads or changes something protected is an `Action`, and every action passes through
`Workspace.perform`.  Nothing else in assay checks permissions, appends to the ledger, or opens a
sealed blob for a person.

1. *Decide.*  Who asks is authenticated; the state is followed to the ledger's current checkpoint;
   Cedar answers over the actor, the resource and the facts of verified evidence.
2. *Write down.*  The decision, with all that is needed to replay it, is durable on the ledger
   before anything happens.  A denial is written down too.
3. *Do.*  `Action.apply`, idempotent for one decision id.
4. *Record.*  What it produced and its outcome go on the ledger in one append, and only if none of
   the subjects it was decided on has moved meanwhile: a revocation that slips in between wins.

After a crash `recover` repeats each open decision that policy still allows, or abandons it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from assay import canonical, files, ids
from assay.clock import Clock
from assay.errors import AssayError, Corrupt, NotFound, Unavailable, Usage
from assay.evidence import envelope as dsse
from assay.evidence.changes import CHANGES
from assay.evidence.ledger import Entry, Ledger
from assay.evidence.signers import Signer
from assay.evidence.state import WORKSPACE, OpenDecision, kind_of
from assay.evidence.statement import Statement, predicate_type
from assay.policy import vocabulary as cedar
from assay.policy.engine import Decision, Engine, Request
from assay.store import Store
from assay.types import Digest
from assay.workspace.action import (
    SIGNED,
    Action,
    Doing,
    Outcome,
    Target,
    check_project,
    from_params,
)
from assay.workspace.credentials import Asked, Credential
from assay.workspace.denials import Denials, denied, explain, no_role
from assay.workspace.directory import Directory
from assay.workspace.epoch import Epoch
from assay.workspace.layout import Layout
from assay.workspace.running import Running
from assay.workspace.view import View

__all__ = ["PRODUCER", "Workspace", "denied", "explain"]

PRODUCER = "assay.door/1"


def _silent(_: str) -> None:
    """Progress nobody listens to."""


class Workspace:
    """An open workspace.  Make one with `assay.workspace.opening.open_workspace`."""

    def __init__(
        self,
        layout: Layout,
        *,
        ledger: Ledger,
        store: Store,
        view: View,
        signer: Callable[[], Signer],
        clock: Clock,
        load_engine: Callable[[Digest], Engine],
        directory: Directory,
    ) -> None:
        self.layout = layout
        self.ledger = ledger
        self.store = store
        self.view = view
        self.clock = clock
        self.directory = directory
        self.epoch = Epoch(layout.epoch)
        # Asked each time: after a rotation the newest key signs, without opening anew.
        self._signer = signer
        self._load_engine = load_engine
        self._running = Running(layout.root)
        self._denials = Denials(layout.root / "denials")

    # -- the door ---------------------------------------------------------------------------------

    def perform(
        self,
        credential: Credential,
        action: Action,
        *,
        parent: str = "",
        progress: Callable[[str], None] = _silent,
    ) -> Any:
        """Perform `action` for whoever `credential` proves; returns the action's value.

        Raises `Denied` with every failing gate, `Conflict` when a subject moved meanwhile, and
        whatever the action itself raises; in each case nothing half-done is visible.
        """
        if action.durability != "before":
            raise Usage(
                f"{type(action).__name__} is decided in segments, and not performed",
                remedy="ask `Segments.permit`",
                code="segment",
            )
        decision_id = ids.new_id()
        who, target, decision = self._decide(credential, action, decision_id)
        if not decision.allowed:
            self._write_denial(who, action, target, decision, decision_id, parent)
            raise denied(action, target, decision)
        revisions = {s: self.view.state.revisions.get(s, -1) for s in target.subjects}
        with self._running.mark(decision_id):
            statement = self._decision(who, action, target, decision, decision_id, parent)
            self._append([self._sign(statement)], revisions)
            files.point("door.decided")
            outcome = self._do(who.proven.actor, credential, action, decision_id, progress)
            files.point("door.applied")
            self._record(action, decision_id, target, outcome, revisions)
            files.point("door.recorded")
        return outcome.value

    def preview(self, credential: Credential, action: Action) -> tuple[Decision, Target]:
        """What policy would say now.  Nothing is done, written down or opened.

        The caller must itself have been allowed to see the answer (see `readEvidence`).
        """
        decision, target, _ = self.consider(credential, action)
        return decision, target

    def consider(self, credential: Credential, action: Action) -> tuple[Decision, Target, str]:
        """Decide only, for a caller that caches the answer and records counts: `Segments`."""
        who, target, decision = self._decide(credential, action, ids.new_id())
        return decision, target, who.proven.actor

    # -- 1. decide --------------------------------------------------------------------------------

    def _decide(
        self, credential: Credential, action: Action, decision_id: str
    ) -> tuple[Asked, Target, Decision]:
        state = self.view.follow()
        engine = self.engine()
        issued = self.view.now()
        request = {
            "workspace": state.workspace,
            "id": decision_id,
            "issued": issued,
            "project": action.project,
            "action": action.name,
            "params": action.params(),
        }
        proven = credential.authenticate(state, request)
        outsider = self._is_outsider(proven.actor, action.project)
        try:
            target = action.target(self.view)
        except (NotFound, Usage) as error:
            if outsider:
                # What is there and what is not is for the project's own people to know.
                raise no_role(action) from error
            raise
        # Of the workspace itself everybody may know who can change it.
        target.outsider = outsider and action.project != WORKSPACE
        check_project(action, target)
        asked = self._question(proven.actor, proven.mfa, action, target, issued)
        decision = engine.decide(asked)
        target.subjects = target.guarded(proven.actor)
        return Asked(proven, asked, request), target, decision

    def _question(self, actor: str, mfa: bool, action: Action, target: Target, now: str) -> Request:
        mine = action.asked_by(self.view, actor)
        return Request(
            principal=cedar.actor_uid(actor),
            action=cedar.uid("Action", action.name),
            resource=target.uid,
            context={**target.context, **mine, "now": cedar.datetime(now), "mfa": mfa},
            entities=[
                self.view.actor_entity(actor, action.project, mfa=mfa),
                *target.entities,
            ],
        )

    def _is_outsider(self, actor: str, project: str) -> bool:
        """Whether somebody has no role at all in a project, be there such a project or not."""
        roles = self.view.state.roles_of(actor)
        return not any(role.startswith(f"{project}/") for role in roles)

    def engine(self) -> Engine:
        """The engine of the active policy bundle; `Unavailable` when there is none to be had."""
        bundle = self.view.state.bundle
        if bundle is None:
            raise Unavailable(
                "no policy bundle is active", remedy="run `assay policy apply`", code="policy"
            )
        return self._load_engine(bundle)

    # -- 2. write down ----------------------------------------------------------------------------

    def _decision(
        self,
        who: Asked,
        action: Action,
        target: Target,
        decision: Decision,
        decision_id: str,
        parent: str,
    ) -> Statement:
        predicate: dict[str, Any] = {
            "action": action.name,
            "actor": who.proven.actor,
            "allowed": decision.allowed,
            "durability": action.durability,
            "request": {**who.request, "proof": who.proven.proof},
            "cedar": msgspec.to_builtins(who.asked),
            "reasons": msgspec.to_builtins(decision.reasons),
            "permits": list(decision.permits),
            "bundle": decision.bundle,
            "engine": decision.engine,
            "evidence": sorted(target.cited),
            "as_of": self.view.state.size,
        }
        if parent:
            predicate["parent"] = parent
        unrecorded = self._denials.take(who.proven.actor)
        if unrecorded:
            predicate["unrecorded_denials"] = unrecorded
        subject = {target.uid: canonical.digest(canonical.encode(who.request)), **target.digests}
        made = self._statement("decision", subject, predicate, action.project)
        return msgspec.structs.replace(
            made, header=msgspec.structs.replace(made.header, id=decision_id)
        )

    def _write_denial(
        self,
        who: Asked,
        action: Action,
        target: Target,
        decision: Decision,
        decision_id: str,
        parent: str,
    ) -> None:
        """A denial is evidence, but one actor's repeated ones must not fill the disk."""
        if not self._denials.worth_recording(who.proven.actor, self.clock.now()):
            return
        statement = self._decision(who, action, target, decision, decision_id, parent)
        self._append([self._sign(statement)], {})

    # -- 3. do ------------------------------------------------------------------------------------

    def _do(
        self,
        actor: str,
        credential: Credential | None,
        action: Action,
        decision_id: str,
        progress: Callable[[str], None],
    ) -> Outcome:
        try:
            return self._apply(actor, credential, action, decision_id, progress)
        except Exception as error:
            # A mistake of ours, too, ends here: it must not be taken for a crash and done again.
            code = error.code if isinstance(error, AssayError) else "internal"
            self._close(action.project, decision_id, "failed", code)
            raise

    def _apply(
        self,
        actor: str,
        credential: Credential | None,
        action: Action,
        decision_id: str,
        progress: Callable[[str], None],
    ) -> Outcome:
        def nested(further: Action) -> Any:
            if credential is None:
                raise Unavailable("a nested action needs the person who asked", code="recovery")
            return self.perform(credential, further, parent=decision_id, progress=progress)

        doing = Doing(
            decision=decision_id,
            actor=actor,
            project=action.project,
            layout=self.layout,
            store=self.store,
            directory=self.directory,
            clock=self.clock,
            view=self.view,
            credential=credential,
            nested=nested,
            progress=progress,
            record=self._record_early,
            sign=self._sign_document,
        )
        return action.apply(doing)

    def _record_early(self, statements: Sequence[Statement]) -> list[Digest]:
        """Evidence that a long action has found already; `ValueError` for what changes state."""
        if found := {kind_of(statement) for statement in statements} & {*CHANGES, "genesis"}:
            raise ValueError(f"{', '.join(sorted(found))}: return it as an outcome")
        sealed = [self._sign(statement) for statement in statements]
        self._append(sealed, {})
        return [dsse.envelope_digest(envelope) for envelope in sealed]

    # -- 4. record --------------------------------------------------------------------------------

    def _record(
        self,
        action: Action,
        decision_id: str,
        target: Target,
        outcome: Outcome,
        revisions: dict[str, int],
    ) -> None:
        sealed = [*(self._sign(s) for s in outcome.statements), *outcome.signed]
        closing = self._statement(
            "outcome",
            target.digests or {target.uid: canonical.digest(decision_id.encode())},
            {
                "decision": decision_id,
                "status": outcome.status,
                "statements": [dsse.envelope_digest(envelope) for envelope in sealed],
            },
            action.project,
        )
        try:
            with self.epoch.changing():
                self._append([*sealed, self._sign(closing)], revisions)
        except AssayError as error:
            if error.kind == "conflict":
                self._close(action.project, decision_id, "conflict", error.code)
            raise

    def _close(self, project: str, decision_id: str, status: str, why: str) -> None:
        """End a decision that led to nothing, so that recovery need not look at it."""
        closing = self._statement(
            "outcome",
            {decision_id: canonical.digest(decision_id.encode())},
            {"decision": decision_id, "status": status, "why": why, "statements": []},
            project,
        )
        # A ledger that cannot be written leaves the decision open: recovery will abandon it.
        with contextlib.suppress(Unavailable):
            self._append([self._sign(closing)], {})

    def record_aggregate(self, project: str, predicate: dict[str, Any]) -> None:
        """Record decisions made in a segment: counted, not one by one."""
        subject = {"segment": canonical.digest(canonical.encode(predicate))}
        self._append([self._sign(self._statement("segment", subject, predicate, project))], {})

    # -- recovery ---------------------------------------------------------------------------------

    def recover(self) -> list[str]:
        """Bring a workspace back after a crash; says what was done, in plain words."""
        done = [*self.ledger.recover(), *self.store.recover()]
        with self.epoch.changing():
            state = self.view.follow()
        for decision_id, held in list(state.open.items()):
            if self._running.is_alive(decision_id):
                done.append(f"left alone {held.action} {decision_id}: still running")
            elif why := self._redo(decision_id, held):
                self._close(held.project, decision_id, "abandoned", why)
                done.append(f"abandoned {held.action} {decision_id} ({why}): run it again")
            else:
                done.append(f"completed {held.action} {decision_id}")
        return [*done, *self._running.clear(state.closed)]

    def _redo(self, decision_id: str, held: OpenDecision) -> str:
        """Do again what a crash interrupted; why not, where it cannot be."""
        action = from_params(held.request["params"])
        if action is None or not action.redo:
            return "crash"
        engine = self.engine()
        try:
            target = action.target(self.view)
            subjects = target.guarded(held.actor)
            revisions = {s: self.view.state.revisions.get(s, -1) for s in subjects}
            if any(moved > held.index for moved in revisions.values()):
                return "overtaken"  # A revocation since then wins, as it does in `perform`.
            # What was allowed then may be out of date by the clock, or stand on who is gone.
            mfa = self._had_second_factor(held)
            asked = self._question(held.actor, mfa, action, target, self.view.now())
            if not engine.decide(asked).allowed:
                return "denied"
            outcome = self._apply(held.actor, None, action, decision_id, _silent)
            self._record(action, decision_id, target, outcome, revisions)
        except (Unavailable, Corrupt):
            raise  # Of the workspace, not of this decision: it stays open.
        except AssayError as error:
            return error.code
        return ""

    def _had_second_factor(self, held: OpenDecision) -> bool:
        raw = self.view.leaf(held.index).envelope
        told = dsse.decode(raw).statement().predicate if raw is not None else {}
        return told.get("cedar", {}).get("context", {}).get("mfa") is True

    # -- the ledger -------------------------------------------------------------------------------

    def _statement(
        self, kind: str, subject: dict[str, Digest], predicate: dict[str, Any], project: str
    ) -> Statement:
        return Statement.new(
            subject=subject,
            predicate_type=predicate_type(kind),
            predicate=predicate,
            project=project,
            producer=PRODUCER,
            clock=self.clock,
        )

    def _sign_document(self, document: Mapping[str, Any]) -> tuple[str, bytes]:
        if document.get("format") not in SIGNED:
            raise ValueError(f"a document of format {document.get('format')!r} is not signed here")
        signer = self._signer()
        return signer.public.keyid, signer.sign(canonical.encode(document))

    def _sign(self, statement: Statement) -> dsse.Envelope:
        return dsse.sign(statement, self._signer())

    def _append(self, envelopes: Sequence[dsse.Envelope], revisions: dict[str, int]) -> None:
        """Append, comparing under the ledger's lock that no subject has moved."""

        def guard(_: Ledger) -> None:
            self.view.catch_up()
            self.view.changed(revisions)

        entries = [
            Entry(project=envelope.statement().header.project, envelope=dsse.encode(envelope))
            for envelope in envelopes
        ]
        added = self.ledger.append(entries, guard=guard)
        self.view.catch_up()
        refused = [reason for index, reason in self.view.state.rejected if index in added]
        if refused:
            # Never say that something happened when the fold did not let it.
            raise Corrupt(
                f"the ledger holds what was done, and it changed nothing: {refused[0]}",
                remedy="assay doctor lists the leaves; report this",
                code="refused",
            )

    def close(self) -> None:
        """Keep the folded state for the next opening."""
        self.view.save_snapshot()
