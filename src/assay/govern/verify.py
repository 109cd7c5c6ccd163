"""Check a bundle with nothing but the file: no workspace, no network, no trust in who sent it.

In this order, so that what is wrong is named as closely as possible:

1. the trust root's chain, against the pinned digest when one is given;
2. the checkpoint's signatures, by the ledger key of that trust root;
3. every leaf: its commitment to nonce and envelope, and its inclusion in the checkpoint's tree;
4. every envelope's signatures, by keys that were enrolled, and not revoked, at that leaf;
5. every change of state: entitled by an allowed decision in the bundle;
6. every decision, denials too: that who asked signed this very request, or had a token;
7. every promotion and deployment: asked again (see `replay`), and done as it was decided;
8. the exporter's signature over the whole file;
9. where the version is said to be *observed*: what the runner of the pipeline saw, of these bytes.

A bundle proves what happened *as of its checkpoint*.  That nothing happened since, or that a
statement was not left out, only the ledger itself can tell: `Report.limits` says so.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeVar

import msgspec

from assay import canonical
from assay.clock import parse_timestamp
from assay.errors import AssayError, Verification
from assay.evidence import envelope as dsse
from assay.evidence import merkle, notes, state, trust
from assay.evidence.facts import Evidence
from assay.evidence.ledger import leaf_bytes
from assay.evidence.notes import Checkpoint
from assay.evidence.requests import BY_KEY, BY_TOKEN
from assay.evidence.state import State, VersionState
from assay.govern import origin
from assay.govern.bundle import Bundle, BundleLeaf, read
from assay.govern.replay import (
    Policy,
    Replayed,
    asked_by,
    check_deed,
    ended,
    is_decision,
    is_release,
    replay,
)
from assay.policy.bundle import Bundle as PolicyBundle
from assay.policy.engine import Engine
from assay.types import Digest

_T = TypeVar("_T")

LIMITS = (
    "A revocation or a finding after this checkpoint cannot show in this file.",
    "The exporter chose the leaves: a statement left out cannot be seen here, only on the ledger.",
    "Declared facts are as true as whoever declared them; the signature proves who that was.",
)


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
    held: bool
    stage: str
    origin: str
    """How it is known how it was made."""
    decisions: list[Replayed]
    limits: tuple[str, ...]
    leaves: list[Evidence]
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

    policies = _policies(body.policies)
    folded = State()
    leaves: list[Evidence] = []
    asked = Counter[str]()
    replayed: list[tuple[Evidence, Replayed]] = []
    for item in body.leaves:
        leaf = _leaf(item, folded, checkpoint)
        if is_decision(leaf):
            asked[_complete(leaf, lambda leaf=leaf: asked_by(leaf, folded))] += 1
        if is_release(leaf):
            again = _complete(leaf, lambda leaf=leaf: replay(leaf, leaves, folded, policies))
            replayed.append((leaf, again))
        released = {again[0].statement.header.id: again for again in replayed}
        _complete(leaf, lambda leaf=leaf, released=released: check_deed(leaf, released))
        leaves.append(leaf)
    decisions = [ended(leaf, again, leaves) for leaf, again in replayed]
    if not leaves or leaves[0].index != 0:
        raise Verification("the bundle does not begin with the genesis leaf", code="bundle.genesis")
    known = {key.keyid for key in root.workspace_keys}
    strangers = sorted(set(folded.workspace_keys) - known)
    if folded.workspace != root.workspace or strangers:
        raise Verification(
            f"the ledger names other keys than the trust root: {', '.join(strangers)}",
            code="bundle.genesis",
        )
    checks.append(f"{len(leaves)} leaves: commitments, inclusion proofs and signatures")
    checks.append(
        f"{asked.total()} decisions: who asked ({asked[BY_KEY]} {BY_KEY}, "
        f"{asked[BY_TOKEN]} {BY_TOKEN})"
    )
    checks.append(
        f"{len(decisions)} promotion and deployment decisions asked again of the policy of their "
        "time, over facts, approvals and roles computed anew"
    )

    key = folded.workspace_keys.get(bundle.keyid)
    if key is None or not folded.workspace_key_valid(bundle.keyid, checkpoint.size):
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


def _leaf(item: BundleLeaf, folded: State, checkpoint: Checkpoint) -> Evidence:
    """A leaf whose opening, place, signatures and entitlement hold; folds it into the state."""
    where = f"leaf {item.index}"
    raw = canonical.encode(item.envelope)
    nonce = canonical.unb64(item.nonce, what=f"{where}: nonce")
    proof = [canonical.unb64(node, what=f"{where}: proof") for node in item.proof]
    hashed = merkle.leaf_hash(leaf_bytes(hashlib.sha256(nonce + raw).digest()))
    _part(
        f"{where} (its nonce, envelope or inclusion proof)",
        lambda: merkle.verify_inclusion(
            hashed, item.index, checkpoint.size, proof, checkpoint.root
        ),
    )
    if item.index < folded.size:
        raise Verification(f"{where} appears twice or out of order", code="bundle.order")
    folded.size = item.index
    rejected = len(folded.rejected)
    state.fold(folded, item.index, raw)
    if len(folded.rejected) > rejected:
        raise Verification(f"{where}: {folded.rejected[-1][1]}", code="bundle.leaf")
    envelope = dsse.decode(raw)
    statement = envelope.statement()
    keyids = [signature.keyid for signature in envelope.signatures]
    signers = dsse.verify(envelope, folded.signer_keys(keyids, item.index))
    if not folded.counting(signers, item.index):
        raise Verification(f"{where}: no signature by a key valid there", code="bundle.leaf")
    return Evidence(
        index=item.index,
        envelope_digest=dsse.envelope_digest(envelope),
        statement=statement,
        keyids=signers,
        producer=statement.header.producer,
    )


def _policies(documents: dict[str, Any]) -> dict[str, Policy]:
    found: dict[str, Policy] = {}
    for digest, document in documents.items():
        raw = canonical.encode(document)
        if canonical.digest(raw) != digest:
            raise Verification(f"policy bundle {digest}: its bytes differ", code="bundle.policy")
        bundle = PolicyBundle.decode(raw)
        found[digest] = Policy(bundle, Engine(bundle))
    return found


def _complete(leaf: Evidence, check: Callable[[], _T]) -> _T:
    """What a check finds in a statement; a field that is missing or of another type fails it."""
    try:
        return check()
    except (KeyError, TypeError, AttributeError, msgspec.ValidationError) as error:
        raise Verification(
            f"leaf {leaf.index}: the statement is not complete ({type(error).__name__}: {error})",
            code="replay",
        ) from error


def _report(
    bundle: Bundle,
    folded: State,
    checkpoint: Checkpoint,
    checks: list[str],
    decisions: list[Replayed],
    leaves: list[Evidence],
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
        held=version.hold,
        stage=version.stage,
        origin=_origin(version, folded, leaves),
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


def _origin(version: VersionState, folded: State, leaves: list[Evidence]) -> str:
    """What stands behind the provenance of a version; raises `Verification` for less than it says.

    Whether an approver set the runner's word aside since is not asked: it was said, and counted.
    """
    level = version.details.get("provenance", "declared")
    if level == "declared":
        return "declared: whoever registered it says how it was made, and nobody else"
    run = str(version.details.get("run"))
    made = origin.observed(
        (
            msgspec.structs.replace(leaf, keyids=folded.counting(leaf.keyids, leaf.index))
            for leaf in leaves
            if leaf.envelope_digest == version.details.get("build")
        ),
        version.artifact,
        project=version.project,
        run=run,
        key_kinds=folded.key_kinds(),
    )
    asked = any(
        leaf.statement.predicate["action"] == "runPipeline" and leaf.statement.predicate["allowed"]
        for leaf in leaves
        if is_decision(leaf) and leaf.statement.header.id == run
    )
    if level != "observed" or made is None or not asked:
        raise Verification(
            f"{version.name}@{version.version} is said to be {str(level)[:40]}, and nothing in the "
            "bundle shows that",
            remedy="do not rely on how it is said to have been made",
            code="bundle.origin",
        )
    return _complete(made, lambda: origin.in_words(made.statement.predicate))
