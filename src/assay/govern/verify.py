"""Check a bundle with nothing but the file: no workspace, no network, no trust in who sent it.

In this order, so that what is wrong is named as closely as possible:

1. the trust root's chain, against the pinned digest when one is given;
2. the checkpoint's signatures, by the ledger key of that trust root;
3. every leaf: its commitment to nonce and envelope, and its inclusion in the checkpoint's tree;
4. every envelope's signatures, by keys that were enrolled, and not revoked, at that leaf;
5. every change of state: entitled by an allowed decision in the bundle;
6. every promotion: the facts recomputed from the statements before it, and the policy asked again;
7. the exporter's signature over the whole file.

A bundle proves what happened *as of its checkpoint*.  That nothing happened since, or that a
statement was not left out, only the ledger itself can tell: `Report.limits` says so.
"""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import Any

import msgspec

from assay import canonical
from assay.clock import parse_timestamp
from assay.errors import AssayError, Verification
from assay.evidence import envelope as dsse
from assay.evidence import merkle, notes, state, trust
from assay.evidence.facts import Evidence, FactDeclaration, TrustedProducer, collect
from assay.evidence.ledger import leaf_bytes
from assay.evidence.state import State
from assay.evidence.statement import Statement
from assay.govern.bundle import Bundle, read
from assay.policy.bundle import Bundle as PolicyBundle
from assay.policy.engine import Engine, Request
from assay.types import Digest

LIMITS = (
    "A revocation or a finding after this checkpoint cannot show in this file.",
    "The exporter chose the leaves: a statement left out cannot be seen here, only on the ledger.",
    "Declared facts are as true as whoever declared them; the signature proves who that was.",
)


class Leaf(msgspec.Struct, frozen=True):
    """One verified leaf of a bundle."""

    index: int
    statement: Statement
    envelope_digest: Digest
    keyids: list[str]
    kind: str


class Report(msgspec.Struct, frozen=True):
    """What a verified bundle proves."""

    subject: dict[str, str]
    workspace: str
    checkpoint_size: int
    checkpoint_time: str
    age_seconds: int
    pinned: bool
    """Whether the trust root was compared with a digest known beforehand."""
    checks: list[str]
    revoked: bool
    stage: str
    decisions: list[dict[str, Any]]
    limits: tuple[str, ...]
    leaves: list[Leaf]
    names: dict[str, str]


def verify(data: bytes, *, now: datetime, pinned: Digest | None = None) -> Report:
    """Verify a bundle's bytes at time `now`; raises `Verification` or `Corrupt` naming the part."""
    bundle = read(data)
    body = bundle.body
    checks: list[str] = []

    signed_roots = [_part("trust root", lambda r=r: trust.read_signed(r)) for r in body.trust]
    root = _part("trust root", lambda: trust.verify_chain(signed_roots, pinned))
    matches = " matches the pinned digest" if pinned else ""
    checks.append(f"trust root version {root.version}{matches}")

    checkpoint = _part(
        "checkpoint",
        lambda: notes.parse_checkpoint(body.checkpoint.encode(), root.origin, root.ledger_key),
    )
    checks.append(f"checkpoint of {checkpoint.size} leaves, signed by the ledger")

    folded = State()
    leaves: list[Leaf] = []
    for item in body.leaves:
        where = f"leaf {item.index}"
        raw = canonical.encode(item.envelope)
        nonce = canonical.unb64(item.nonce, what=f"{where}: nonce")
        proof = [canonical.unb64(node, what=f"{where}: proof") for node in item.proof]
        leaf = merkle.leaf_hash(leaf_bytes(hashlib.sha256(nonce + raw).digest()))
        _part(
            f"{where} (its nonce, envelope or inclusion proof)",
            lambda leaf=leaf, proof=proof, item=item: merkle.verify_inclusion(
                leaf, item.index, checkpoint.size, proof, checkpoint.root
            ),
        )
        if item.index < folded.size:
            raise Verification(f"{where} appears twice or out of order", code="bundle.order")
        folded.size = item.index
        rejected = len(folded.rejected)
        state.fold(folded, item.index, raw)
        if len(folded.rejected) > rejected:
            raise Verification(f"{where}: {folded.rejected[-1][1]}", code="bundle.leaf")
        leaves.append(_leaf(folded, item.index, raw))
    if not leaves or leaves[0].index != 0:
        raise Verification("the bundle does not begin with the genesis leaf", code="bundle.genesis")
    known = {key.keyid for key in root.workspace_keys}
    strangers = sorted(set(folded.workspace_keys) - known)
    if folded.workspace != root.workspace or strangers:
        raise Verification(
            f"the genesis leaf names other keys than the trust root: {', '.join(strangers)}",
            code="bundle.genesis",
        )
    checks.append(f"{len(leaves)} leaves: commitments, inclusion proofs and signatures")

    engines = _engines(body.policies)
    decisions = [
        _replay(leaf, leaves, folded, engines)
        for leaf in leaves
        if leaf.kind == "decision" and leaf.statement.predicate["action"] in ("promote", "deploy")
    ]
    checks.append(f"{len(decisions)} promotion and deployment decisions replayed against policy")

    key = folded.workspace_keys.get(bundle.keyid)
    if key is None:
        raise Verification(
            f"the bundle is signed by {bundle.keyid}, which is no key of this workspace",
            code="bundle.signature",
        )
    _part(
        "outer signature (bytes were changed after export)",
        lambda: key.public.verify(
            canonical.unb64(bundle.sig, what="outer signature"), canonical.encode(body)
        ),
    )
    checks.append("outer signature of the exporting workspace")
    return _report(bundle, folded, checkpoint, checks, decisions, leaves, now, pinned is not None)


def _part(name: str, check: Any) -> Any:
    """Run one check; whatever fails is reported under the part's name."""
    try:
        return check()
    except AssayError as error:
        raise Verification(
            f"{name}: {error.message}",
            remedy="get the bundle again from its source; if it still fails, do not rely on it",
            code="bundle",
        ) from error


def _leaf(folded: State, index: int, raw: bytes) -> Leaf:
    envelope = dsse.decode(raw)
    statement = envelope.statement()
    keyids = dsse.verify(envelope, folded.keys())
    counting = [
        keyid
        for keyid in keyids
        if folded.workspace_key_valid(keyid, index) or folded.actor_of_key(keyid, index)
    ]
    if not counting:
        raise Verification(f"leaf {index}: no signature by a key valid there", code="bundle.leaf")
    return Leaf(
        index, statement, dsse.envelope_digest(envelope), counting, state.kind_of(statement)
    )


def _engines(policies: dict[str, Any]) -> dict[str, tuple[Engine, PolicyBundle]]:
    engines: dict[str, tuple[Engine, PolicyBundle]] = {}
    for digest, document in policies.items():
        raw = canonical.encode(document)
        if canonical.digest(raw) != digest:
            raise Verification(f"policy bundle {digest}: its bytes differ", code="bundle.policy")
        bundle = PolicyBundle.decode(raw)
        engines[digest] = (Engine(bundle), bundle)
    return engines


def _replay(
    leaf: Leaf, leaves: list[Leaf], folded: State, engines: dict[str, tuple[Engine, PolicyBundle]]
) -> dict[str, Any]:
    """Ask the policy of that time again, over facts recomputed from the statements before it."""
    predicate = leaf.statement.predicate
    where = f"leaf {leaf.index} ({predicate['action']})"
    if predicate["bundle"] not in engines:
        raise Verification(f"{where}: its policy bundle is missing", code="bundle.policy")
    engine, policy = engines[predicate["bundle"]]
    request = msgspec.convert(predicate["cedar"], Request)
    again = engine.decide(request)
    gates = [reason["gate"] for reason in predicate["reasons"]]
    if again.allowed != predicate["allowed"] or [r.gate for r in again.reasons] != gates:
        raise Verification(f"{where}: the policy decides otherwise when asked again", code="replay")
    facts = request.context.get("facts")
    if facts is not None:
        recomputed = _facts(leaf, leaves, folded, policy)
        if recomputed != facts:
            differing = sorted(
                k for k in {*facts, *recomputed} if facts.get(k) != recomputed.get(k)
            )
            raise Verification(
                f"{where}: the facts {', '.join(differing)} do not follow from the statements",
                code="replay",
            )
    return {
        "index": leaf.index,
        "action": predicate["action"],
        "actor": predicate["actor"],
        "allowed": predicate["allowed"],
        "stage": request.context.get("stage"),
        "gates": gates,
        "issued": leaf.statement.header.issued,
    }


def _facts(leaf: Leaf, leaves: list[Leaf], folded: State, policy: PolicyBundle) -> dict[str, Any]:
    about = set(leaf.statement.digests[1:]) | {workspace_digest(folded.workspace)}
    as_of = leaf.statement.predicate["as_of"]
    evidence = [
        Evidence(
            index=other.index,
            envelope_digest=other.envelope_digest,
            statement=other.statement,
            keyids=other.keyids,
            producer=other.statement.header.producer,
        )
        for other in leaves
        if other.index < as_of
        and about & set(other.statement.digests)
        and other.statement.header.project in (leaf.statement.header.project, state.WORKSPACE)
    ]
    kinds: dict[str, set[str]] = {keyid: {"workspace"} for keyid in folded.workspace_keys}
    for actor in folded.actors.values():
        for keyid in actor.keys:
            kinds.setdefault(keyid, set()).add("person")
    return collect(
        evidence,
        [msgspec.convert(d, FactDeclaration) for d in policy.declarations],
        [msgspec.convert(p, TrustedProducer) for p in policy.producers],
        key_kinds=kinds,
        superseded={
            other.statement.predicate["envelope"]
            for other in leaves
            if other.kind == "supersession" and other.index < as_of
        },
    ).values


def workspace_digest(workspace: str) -> Digest:
    """The subject under which facts about the workspace itself (``doctor``) are filed."""
    return canonical.digest(f"assay/workspace/{workspace}".encode())


def _report(
    bundle: Bundle,
    folded: State,
    checkpoint: notes.Checkpoint,
    checks: list[str],
    decisions: list[dict[str, Any]],
    leaves: list[Leaf],
    now: datetime,
    pinned: bool,
) -> Report:
    subject = bundle.body.subject
    version = folded.versions.get(f"{subject.project}/{subject.name}@{subject.version}")
    if version is None or subject.digest not in (version.served, version.artifact):
        raise Verification(
            f"the bundle says it is about {subject.name}@{subject.version}, "
            "but holds no such registration",
            code="bundle.subject",
        )
    exported = parse_timestamp(bundle.body.exported)
    seen = max(checkpoint.time, min(exported, checkpoint.time))
    return Report(
        subject=msgspec.to_builtins(subject),
        workspace=folded.workspace,
        checkpoint_size=checkpoint.size,
        checkpoint_time=notes.time_text(checkpoint),
        age_seconds=max(0, int((now - seen).total_seconds())),
        pinned=pinned,
        checks=checks,
        revoked=version.revoked,
        stage=version.stage,
        decisions=decisions,
        limits=LIMITS
        if pinned
        else (
            "The trust root was not compared with one you knew before: give --trust-root.",
            *LIMITS,
        ),
        leaves=leaves,
        names=bundle.body.names,
    )
