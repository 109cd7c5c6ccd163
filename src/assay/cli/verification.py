"""``assay verify``: say what a file or folder is, and check it without trusting who sent it."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from assay.cli.output import emit, escape, say
from assay.cli.session import AsJson
from assay.cli.sign import UseCache
from assay.errors import NotFound, Usage, Verification

if TYPE_CHECKING:
    from assay.cli.ledger_verification import Demand
    from assay.govern.verify import Report


def verify(
    what: Annotated[
        Path,
        typer.Argument(
            help="A bundle, a model, a .tlog-proof, a checkpoint, a ledger's folder, …",
            metavar="X",
        ),
    ],
    trust_root: Annotated[
        str,
        typer.Option(
            help="The trust root's digest that you know beforehand (trust_root in assay.toml).",
            metavar="sha256:…",
        ),
    ] = "",
    vkey: Annotated[
        str, typer.Option(help="The log's verifier key that you know beforehand.", metavar="VKEY")
    ] = "",
    witness: Annotated[
        list[str] | None,
        typer.Option(help="A witness to believe; of each its verifier key.", metavar="VKEY"),
    ] = None,
    quorum: Annotated[
        int, typer.Option(help="How many of them must have cosigned; default all.", min=0)
    ] = 0,
    signature: Annotated[
        Path | None, typer.Option(help="The signature of the model X.", metavar="FILE")
    ] = None,
    key: Annotated[
        list[Path] | None, typer.Option(help="A signer's public key.", metavar="PEM")
    ] = None,
    certificate_root: Annotated[
        list[Path] | None,
        typer.Option(help="Whoever has a certificate under it may have signed.", metavar="PEM"),
    ] = None,
    trust: Annotated[
        list[Path] | None,
        typer.Option(help="A trust list: whose signatures count.", metavar="LIST"),
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Refuse files that a model's signature leaves out.")
    ] = False,
    cache: UseCache = None,
    as_json: AsJson = False,
) -> None:
    """Recognise what X is and check it, offline; exit status 4 names the part that fails.

    A bundle (assay export) is checked with nothing but the file. A ledger's folder, or a
    workspace, is compared leaf by leaf with its checkpoint. A .tlog-proof, a checkpoint or a proof
    of misbehaviour is checked with the log's verifier key (--vkey); with --witness, others must
    have seen the same checkpoint. A model's folder or file with a signature beside it (*.sig) is
    checked file by file, for a signer that --key, --certificate-root or --trust names. Of a report
    of assay ci, the log proof is checked, and that it is about the run's own statement.

    Example: assay verify credit-3.assay --trust-root sha256:5f3c…
    """
    from assay.cli import model_verification
    from assay.cli.ledger_verification import Demand
    from assay.cli.model_verification import Asked
    from assay.types import check_digest

    asked = Asked.of(signature, key, certificate_root, trust, strict, cache)
    if model_verification.verify(what, asked, as_json):
        return
    demand = Demand.of(vkey, witness or (), quorum)
    pinned = check_digest(trust_root) if trust_root else None
    if what.is_dir() and (proof := _proof_of_report(what)) is not None:
        _file(*proof, pinned, demand, as_json)
    elif what.is_dir():
        _ledger(what, trust_root, demand, as_json)
    elif what.exists() or what.is_symlink():
        _file(what, _read(what), pinned, demand, as_json)
    else:
        raise NotFound(f"{what} does not exist", remedy="check the path", code="file")


def _read(path: Path) -> bytes:
    from assay import files
    from assay.govern import bundle

    with files.open_input(path, what="file to verify") as stream:
        data = stream.read(bundle.LIMIT + 1)
    if len(data) > bundle.LIMIT:
        raise Usage(f"{path} is larger than any bundle", code="verify.size")
    return data


def _proof_of_report(folder: Path) -> tuple[Path, bytes] | None:
    """The log proof of a report of `assay ci`, which is about the run's own statement in there."""
    from assay.ci.folder import ENVELOPE, PROOF, RUN, STATEMENTS
    from assay.evidence import tlog_proof

    path = folder / PROOF
    if not path.is_file():
        return None
    data = _read(path)
    beside = folder / STATEMENTS / f"{RUN}{ENVELOPE}"
    if not tlog_proof.opens(tlog_proof.decode(data).extra, _read(beside)):
        raise Verification(
            f"{beside} is not the statement that {path} proves to be on the ledger",
            remedy="fetch the report again from whoever made it",
            code="verify.report",
        )
    return path, data


def _file(path: Path, data: bytes, pinned: Any, demand: Demand, as_json: bool) -> None:
    from assay.cli import ledger_verification
    from assay.govern import bundle
    from assay.govern.verify import verify as check

    if ledger_verification.check(path, data, demand, as_json):
        return
    if bundle.FORMAT.encode() not in data:
        raise Usage(
            f"{path} is nothing that can be verified",
            remedy="give a model and its signature, a bundle (assay export), a proof, a ledger's "
            "folder or a workspace",
            code="verify.what",
        )
    report = check(data, now=datetime.now(timezone.utc), pinned=pinned)
    cosignatures = ledger_verification.witnesses_of_bundle(data, demand, path)

    def human() -> None:
        _print(report, path)
        for found in cosignatures:
            say(f"  [green]✓[/] the checkpoint was seen by {escape(found.witness)}, {found.time}")

    value = msgspec.to_builtins(report)
    if demand.witnesses:
        value["cosignatures"] = msgspec.to_builtins(cosignatures)
    emit(as_json, value, human)


def _print(report: Report, path: Path) -> None:
    subject = report.subject
    say(f"[green]✓[/] {escape(path)} is a bundle, and it verifies")
    say(
        f"  about [bold]{escape(subject['name'])}@{escape(subject['version'])}[/] of project "
        f"{escape(subject['project'])}, {escape(subject['digest'])}"
    )
    state = escape(report.stage or "in no stage")
    if report.held:
        state = f"[yellow]on hold[/] ({state})"
    if report.revoked:
        state = "[red]revoked[/]"
    say(f"  state: {state}")
    say(f"  how it was made: {escape(report.origin)}")
    age = _age(report.age_seconds)
    say(f"  as of checkpoint {report.checkpoint_size}, {escape(report.checkpoint_time)}, {age} old")
    for check in report.checks:
        say(f"  [green]✓[/] {escape(check)}")
    for made in report.decisions:
        answer = f"allowed ({made.outcome})" if made.allowed else "denied"
        who = report.names.get(made.actor, made.actor)
        say(
            f"    {escape(made.action)} {answer}: asked by {escape(who)} on {escape(made.issued)}, "
            f"{escape(made.asked_by)}"
        )
    say("  what this cannot show:")
    for limit in report.limits:
        say(f"    · {escape(limit)}")


def _age(seconds: int) -> str:
    for unit, size in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        if seconds >= size:
            count = seconds // size
            return f"{count} {unit}{'' if count == 1 else 's'}"
    return f"{seconds} seconds"


def _ledger(folder: Path, trust_root: str, demand: Demand, as_json: bool) -> None:
    from assay.cli.ledger_verification import witnesses_of_ledger
    from assay.evidence.notes import time_text
    from assay.workspace import layout as layouts
    from assay.workspace.opening import open_workspace

    try:
        layout = layouts.find(folder)
    except NotFound as error:
        raise Usage(
            f"{folder} is neither a workspace nor a ledger inside one",
            remedy="name a bundle, or the ledger's folder of a workspace",
            code="verify.what",
        ) from error
    if folder.resolve() not in (layout.base, layout.root.resolve(), layout.ledger.resolve()):
        raise Usage(
            f"{folder} is nothing that can be verified",
            remedy=f"the ledger of this workspace is {layout.ledger}",
            code="verify.what",
        )
    if trust_root and trust_root != layout.config.trust_root:
        raise Verification(
            f"assay.toml pins the trust root {layout.config.trust_root}, not {trust_root}",
            remedy="this is another workspace than the one you know, or assay.toml was altered",
            code="trust.pinned",
        )
    workspace = open_workspace(layout.base)
    problems = workspace.ledger.check()
    checkpoint = workspace.ledger.checkpoint
    cosignatures = witnesses_of_ledger(workspace, demand)
    value = {
        "ledger": str(layout.ledger),
        "workspace": layout.config.workspace,
        "checkpoint_size": checkpoint.size,
        "checkpoint_time": time_text(checkpoint),
        "problems": problems,
        **({"cosignatures": cosignatures} if demand.witnesses else {}),
    }

    def human() -> None:
        for problem in problems:
            say(f"[red]✗[/] {escape(problem.path)}: {escape(problem.what)}")
        if not problems:
            say(f"[green]✓[/] {escape(layout.ledger)}: every leaf, tile and envelope is in order")
        say(f"  as of checkpoint {checkpoint.size}, {time_text(checkpoint)}")
        say("  [green]✓[/] trust root, from the digest in assay.toml")
        say("  [green]✓[/] checkpoint, signed and not older than the newest seen here")
        for found in cosignatures:
            say(f"  [green]✓[/] seen by {escape(found.witness)}, {found.time}")

    emit(as_json, value, human)
    if problems:
        raise typer.Exit(4)
