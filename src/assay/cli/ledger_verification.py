"""What ``assay verify`` does with the files of a ledger: proofs, forks, and checkpoints alone; and
what witnesses say of the checkpoint of any other file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assay import files
from assay.cli.output import emit, escape, say
from assay.errors import AssayError, NotFound, Usage, Verification

if TYPE_CHECKING:
    from assay.evidence.cosignatures import Cosignature, Note, VerifierKey
    from assay.workspace.door import Workspace

_CHECKPOINT = re.compile(rb"[^\n]+\n(?:0|[1-9][0-9]*)\n[A-Za-z0-9+/]{43}=\n")


@dataclass(frozen=True, slots=True)
class Demand:
    """Which log to believe, and how many of which witnesses."""

    log: VerifierKey | None = None
    witnesses: tuple[VerifierKey, ...] = ()
    least: int = 0

    @classmethod
    def of(cls, vkey: str, witnesses: Sequence[str], quorum: int) -> Demand:
        """From what was typed: all of the witnesses, unless a number is given."""
        from assay.evidence.cosignatures import NOTE, VerifierKey

        log = VerifierKey.parse(vkey) if vkey else None
        if log is not None and log.kind != NOTE:
            raise Usage(
                f"{vkey[:120]} is the key of a witness, not of a log",
                remedy="give the log's own verifier key, as assay ledger vkey prints it",
                code="vkey.log",
            )
        keys = tuple(VerifierKey.parse(text) for text in witnesses)
        if quorum and not keys:
            raise Usage("--quorum says how many of which --witness", code="quorum")
        return cls(log, keys, quorum or len(keys))

    def check(self, note: Note, log: VerifierKey, beside: Path | None = None) -> list[Cosignature]:
        """Who cosigned; raises `Verification` for too few.

        `beside` may hold a cosigned checkpoint that this one is the beginning of.
        """
        from assay.evidence import witnessed
        from assay.evidence.cosignatures import quorum

        if not self.witnesses:
            return []
        now = datetime.now(timezone.utc)
        try:
            return quorum(note, log, self.witnesses, self.least, now=now)
        except Verification:
            if beside is None or not beside.exists():
                raise
        with files.open_input(beside, what="cosigned checkpoint") as stream:
            data = stream.read(witnessed.LIMIT + 1)
        try:
            return witnessed.verify(data, note, log, self.witnesses, self.least, now=now)
        except AssayError as error:
            raise Verification(
                f"{beside}: {error.message}", remedy=error.remedy, code="cosignature.quorum"
            ) from error


def check(path: Path, data: bytes, demand: Demand, as_json: bool) -> bool:
    """Verify `data` if it is one of these files; whether it is."""
    from assay.evidence import misbehaviour, tlog_proof

    if data.startswith(tlog_proof.HEADER.encode() + b"\n"):
        _proof(path, data, demand, as_json)
    elif misbehaviour.FORMAT.encode() in data[:200_000] and data.startswith(b"{"):
        _misbehaviour(path, data, demand, as_json)
    elif _CHECKPOINT.match(data):
        _checkpoint(path, data, demand, as_json)
    else:
        return False
    return True


def _log(demand: Demand, origin: str) -> VerifierKey:
    """The log's key: the one that was given, else that of the workspace one stands in."""
    from assay.cli.ledger import public_files

    if demand.log is not None:
        return demand.log
    try:
        _, key, _ = public_files()
    except NotFound as error:
        raise Usage(
            f"nothing says which key the log {origin[:80]!r} has",
            remedy="give it with --vkey; whoever runs the log publishes it (assay ledger vkey)",
            code="vkey",
        ) from error
    return key


def _proof(path: Path, data: bytes, demand: Demand, as_json: bool) -> None:
    from assay.evidence import tlog_proof
    from assay.evidence.cosignatures import as_json as told
    from assay.evidence.cosignatures import read_note

    found = tlog_proof.decode(data)
    log = _log(demand, read_note(found.note).origin)
    opened = tlog_proof.open_leaf(found.extra)
    note = tlog_proof.verify(found, opened.hash, log)
    cosignatures = demand.check(note, log)
    value: dict[str, Any] = {
        "what": "tlog-proof",
        "log": str(log),
        "leaf": found.index,
        "size": note.size,
        "cosignatures": told(cosignatures),
    }
    lines = [f"leaf {found.index} is on the log {log.name}, under {note.size} leaves"]
    if opened.envelope is None:
        lines.append("what it says is not in the proof: only that there is such a leaf")
    else:
        statement = opened.envelope.statement()
        subjects = {s.name: f"sha256:{s.digest['sha256']}" for s in statement.subject}
        artifact = _beside(path, subjects)
        value |= {
            "predicate_type": statement.predicateType,
            "subjects": subjects,
            "artifact": artifact,
            "issued": statement.header.issued,
            "keyids": [signature.keyid for signature in opened.envelope.signatures],
        }
        lines.append(f"it says {statement.predicateType}, issued {statement.header.issued}")
        lines += [f"about {name}, {digest}" for name, digest in subjects.items()]
        lines.append(
            f"{artifact} has this digest"
            if artifact
            else "no artifact lies beside the proof, so none was compared"
        )

    def human() -> None:
        say(f"[green]✓[/] {escape(path)} is a proof of the ledger, and it verifies")
        for line in lines:
            say(f"  {escape(line)}")
        _say(cosignatures)
        say("  what this cannot show: whether whoever signed the statement was entitled to, or")
        say("  whether it still counts: ask for a bundle (assay export)")

    emit(as_json, value, human)


def _beside(path: Path, subjects: dict[str, str]) -> str:
    """The artifact that a proof lies beside, if any; raises `Verification` if it is another."""
    from assay.cli.ledger import digest_of
    from assay.evidence.tlog_proof import SUFFIX

    artifact = path.with_name(path.name.removesuffix(SUFFIX))
    if not path.name.endswith(SUFFIX) or not artifact.exists():
        return ""
    digest = digest_of(artifact)
    if digest not in subjects.values():
        raise Verification(
            f"{artifact} ({digest}) is not what {path} is about: {', '.join(subjects.values())}",
            remedy="it was changed since, or is another file; get it again from its source",
            code="proof.artifact",
        )
    return str(artifact)


def _misbehaviour(path: Path, data: bytes, demand: Demand, as_json: bool) -> None:
    from assay.evidence import misbehaviour

    found = misbehaviour.verify(data, demand.log)
    small, large = sorted(found.sizes)
    what = {
        "fork": f"its trees of {small} and {large} leaves are not of one history",
        "rollback": f"it had {large} leaves, and later called {small} its largest tree",
    }[found.kind]

    def human() -> None:
        say(f"[green]✓[/] {escape(path)} proves that a log broke its promise: {found.kind}")
        say(f"  {what}; both are signed by {escape(found.log)}")
        for size, at in zip(found.sizes, found.times, strict=True):
            say(f"  {size} leaves, signed {escape(at or 'without a time')}")
        if demand.log is None:
            say("  [yellow]compare that key with the log's own, or give it with --vkey[/]")

    value = {
        "what": "misbehaviour",
        "kind": found.kind,
        "log": found.log,
        "sizes": found.sizes,
        "times": found.times,
        "compared": demand.log is not None,
    }
    emit(as_json, value, human)


def _checkpoint(path: Path, data: bytes, demand: Demand, as_json: bool) -> None:
    from assay.clock import timestamp
    from assay.evidence.cosignatures import as_json as told
    from assay.evidence.cosignatures import check_log, read_note

    note = read_note(data)
    log = _log(demand, note.origin)
    at = check_log(note, log)
    cosignatures = demand.check(note, log)
    time = timestamp(at) if at is not None else ""
    value = {
        "what": "checkpoint",
        "log": str(log),
        "size": note.size,
        "time": time,
        "cosignatures": told(cosignatures),
    }

    def human() -> None:
        say(
            f"[green]✓[/] {escape(path)} is a checkpoint of {note.size} leaves of "
            f"{escape(log.name)}"
        )
        if time:
            say(f"  signed {time}")
        _say(cosignatures)

    emit(as_json, value, human)


def _say(cosignatures: Sequence[Cosignature]) -> None:
    for cosignature in cosignatures:
        say(f"  [green]✓[/] seen by {escape(cosignature.witness)}, {cosignature.time}")


def witnesses_of_bundle(data: bytes, demand: Demand, path: Path) -> list[Cosignature]:
    """Who cosigned the checkpoint of a bundle that was verified; raises for too few."""
    from assay.evidence import trust
    from assay.evidence.cosignatures import VerifierKey, read_note
    from assay.evidence.witnessed import SUFFIX
    from assay.govern.bundle import read

    body = read(data).body
    root = trust.verify_chain([trust.read_signed(signed) for signed in body.trust])
    log = VerifierKey.of(root.origin, root.ledger_key)
    if demand.log is not None and demand.log != log:
        raise Verification(
            f"the bundle's ledger is {log}, another than the one that was given",
            remedy="compare the verifier key with the workspace's owner",
            code="vkey.log",
        )
    beside = path.with_name(path.name + SUFFIX)
    return demand.check(read_note(body.checkpoint.encode()), log, beside)


def witnesses_of_ledger(workspace: Workspace, demand: Demand) -> list[Cosignature]:
    """Who cosigned a checkpoint that this ledger extends; raises `Verification` for too few."""
    from assay.cli.ledger_witnesses import cosigned_path, log_key_of
    from assay.evidence.cosignatures import check_log, read_note
    from assay.evidence.notes import LIMIT

    log = log_key_of(workspace.layout)
    if demand.log is not None and demand.log != log:
        raise Verification(
            f"this ledger is {log}, another than the one that was given",
            remedy="compare the verifier key with the workspace's owner",
            code="vkey.log",
        )
    if not demand.witnesses:
        return []
    path = cosigned_path(workspace.layout)
    try:
        note = read_note(files.read(path, limit=LIMIT, what="cosigned checkpoint"))
    except NotFound as error:
        raise Verification(
            "no witness has cosigned this ledger",
            remedy="assay ledger cosign",
            code="cosignature.quorum",
        ) from error
    check_log(note, log)
    ledger = workspace.ledger
    if note.size > ledger.checkpoint.size or ledger.root_at(note.size) != note.root:
        raise Verification(
            f"the ledger does not extend the {note.size} leaves that witnesses cosigned",
            remedy="it was rolled back or forked: restore its newest copy",
            code="ledger.forked",
        )
    return demand.check(note, log)
