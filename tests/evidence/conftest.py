"""A ledger in memory for the tests of the fold: signed leaves, and the state that follows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from typing import Any

import msgspec
import pytest

from assay import canonical
from assay.canonical import digest
from assay.clock import FixedClock, timestamp
from assay.evidence import envelope as dsse
from assay.evidence import state as states
from assay.evidence.records import REQUEST_FORMAT
from assay.evidence.signers import MemorySigner, Signer
from assay.evidence.state import WORKSPACE, State
from assay.evidence.statement import Statement, predicate_type

CLOCK = FixedClock(datetime(2026, 1, 1, tzinfo=timezone.utc))
WORKSPACE_SIGNER = MemorySigner.generate()
ADMIN = MemorySigner.generate()
ALICE = MemorySigner.generate()
BOB = MemorySigner.generate()
SERVICE = MemorySigner.generate()
STRANGER = MemorySigner.generate()
BUNDLE = digest(b"bundle")
OWNERS: dict[str, Signer] = {"admin": ADMIN, "alice": ALICE, "bob": BOB, "scorer": SERVICE}
"""Actor → the key with which they ask; whoever is not here asks with none that is known."""


def key(signer: Signer) -> dict[str, str]:
    """A public key as predicates carry it."""
    return msgspec.to_builtins(signer.public)


def proof_by(signer: Signer, request: Mapping[str, Any]) -> dict[str, str]:
    """The proof that somebody asked: their signature over a request."""
    body = canonical.encode({"format": REQUEST_FORMAT, **request})
    return {"keyid": signer.public.keyid, "sig": canonical.b64(signer.sign(body))}


def genesis(**changed: Any) -> dict[str, Any]:
    """The predicate of leaf 0."""
    admin = {"id": "admin", "key": key(ADMIN), "level": "personal-key"}
    return {
        "workspace": "w",
        "bundle": BUNDLE,
        "workspace_keys": [key(WORKSPACE_SIGNER)],
        "admin": {**admin, "roles": ["_workspace/admin", "fraud/ml_engineer"]},
        "project": "fraud",
        **changed,
    }


class Chain:
    """Leaves appended one by one, each folded at once."""

    workspace = WORKSPACE_SIGNER
    admin, alice, bob, service = ADMIN, ALICE, BOB, SERVICE

    def __init__(self, *, empty: bool = False) -> None:
        self.state = State()
        self.leaves: list[bytes | None] = []
        if not empty:
            self.add(self.statement("genesis", genesis(), project=WORKSPACE))

    def statement(
        self,
        kind: str,
        predicate: Mapping[str, Any],
        *,
        project: str = "fraud",
        subject: Mapping[str, Any] | None = None,
        issued: Callable[[Statement], Statement] | None = None,
    ) -> Statement:
        made = Statement.new(
            subject=subject or {"thing": digest(kind.encode())},
            predicate_type=kind if "/" in kind else predicate_type(kind),
            predicate=predicate,
            project=project,
            producer="assay.door/1",
            clock=CLOCK,
        )
        return issued(made) if issued else made

    def add(self, item: Statement | bytes | None, *signers: Signer) -> int:
        """Append raw bytes, or a statement, by default signed by the workspace; the index."""
        raw = item
        if isinstance(item, Statement):
            raw = dsse.encode(dsse.sign(item, *(signers or (self.workspace,))))
        assert not isinstance(raw, Statement)
        index = len(self.leaves)
        self.leaves.append(raw)
        states.fold(self.state, index, raw)
        return index

    def decision(
        self,
        action: str,
        *,
        project: str = "fraud",
        proof: Callable[[dict[str, Any]], Mapping[str, Any]] | None = None,
        asked: Mapping[str, Any] | None = None,
        **changed: Any,
    ) -> Statement:
        """An allowed decision over a request that its actor signed.

        `asked` is what the request says instead, and `proof` makes another proof for it.
        """
        predicate: dict[str, Any] = {
            "action": action,
            "actor": "admin",
            "allowed": True,
            "durability": "before",
            **changed,
        }
        made = self.statement("decision", predicate, project=project)
        request = {
            "workspace": "w",
            "id": made.header.id,
            "issued": timestamp(CLOCK.now()),
            "project": project,
            "action": action,
            "params": {"type": action},
            **(asked or {}),
        }
        signer = OWNERS.get(predicate["actor"], STRANGER)
        made.predicate["request"] = {
            **request,
            "proof": proof(request) if proof else proof_by(signer, request),
        }
        return made

    def decide(self, action: str, *, project: str = "fraud", **changed: Any) -> str:
        """Append an allowed decision; its id."""
        made = self.decision(action, project=project, **changed)
        self.add(made)
        return made.header.id

    def close(self, decision: str, *, project: str = "fraud") -> int:
        predicate = {"decision": decision, "status": "done", "statements": []}
        return self.add(self.statement("outcome", predicate, project=project))

    def change(
        self,
        action: str,
        kind: str,
        predicate: Mapping[str, Any],
        *,
        project: str = "fraud",
        subject: Mapping[str, Any] | None = None,
        signer: Signer | None = None,
        actor: str = "admin",
    ) -> int:
        """Decide, state and close; the leaf of the statement."""
        decision = self.decide(action, project=project, actor=actor)
        full = {"decision": decision, **predicate}
        made = self.statement(kind, full, project=project, subject=subject)
        index = self.add(made, *([signer] if signer else []))
        self.close(decision, project=project)
        return index

    def enrol(self, actor: str, *signers: Signer, kind: str = "person", **changed: Any) -> int:
        predicate = {
            "actor": actor,
            "kind": kind,
            "level": "personal-key",
            "disabled": False,
            "keys": [key(signer) for signer in signers],
            **changed,
        }
        return self.change("enrolActor", "actor", predicate, project=WORKSPACE)

    def register(
        self, version: str, served: bytes | None, *, name: str = "credit", **kw: Any
    ) -> int:
        predicate = {
            "name": name,
            "version": version,
            "author": "admin",
            "artifact": digest(b"artifact " + (served or b"")),
            "served": digest(served) if served else None,
            "details": {"format": "onnx"},
        }
        subject = {f"{name}@{version}": digest(served or b"artifact ")}
        return self.change("registerModel", "model-version", predicate, subject=subject, **kw)

    def revoke_key(self, keyid: str, since: int | None = None) -> int:
        predicate: dict[str, Any] = {"keyid": keyid, "reason": "lost"}
        if since is not None:
            predicate["compromised_since"] = since
        return self.change("revokeKey", "key-revocation", predicate, project=WORKSPACE)

    def refusal(self) -> str:
        """Why the last statement, before its outcome, was rejected."""
        index, reason = self.state.rejected[-1]
        assert index == self.state.size - 2
        return reason

    def plain(self) -> dict[str, Any]:
        """The state but for what every leaf moves."""
        plain: dict[str, Any] = msgspec.to_builtins(self.state)
        del plain["size"], plain["rejected"]
        return plain


@pytest.fixture
def chain() -> Chain:
    return Chain()


@pytest.fixture
def empty_chain() -> Chain:
    return Chain(empty=True)


@pytest.fixture(scope="session")
def new_chain() -> Callable[[], Chain]:
    """For Hypothesis, which runs one test function many times."""
    return Chain


@pytest.fixture(scope="session")
def genesis_predicate() -> Callable[..., dict[str, Any]]:
    return genesis
