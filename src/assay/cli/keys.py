"""``assay keys``: key rings, the workspace's own key, backup and recovery."""

from __future__ import annotations

import getpass
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from assay.cli.groups import Group
from assay.cli.output import emit, escape, note, say, table, write_result
from assay.cli.session import As, AsJson, Force, Session
from assay.errors import AssayError, Unavailable, Usage

keys = typer.Typer(cls=Group, help="Keys: rings, the workspace's own key, backup and recovery.")

Ring = Annotated[str, typer.Option(help="For example fraud/data.", metavar="PROJECT/KIND")]
Reason = Annotated[str, typer.Option(help="Why; it goes on the record.")]


def add_to(app: typer.Typer) -> None:
    app.add_typer(keys, name="keys", no_args_is_help=True)


@keys.command("status")
def status(actor: As = "", as_json: AsJson = False) -> None:
    """The key rings, the workspace's keys, and what recovery there is.

    Example: assay keys status
    """
    from assay.workspace.opening import trusted_root

    session = Session(actor, "", as_json)
    session.must_administer()
    workspace = session.workspace
    root = trusted_root(workspace.layout)
    rings = workspace.store.rings
    found: dict[str, Any] = {
        "trust_root_version": root.version,
        "recovery_recipient": root.recovery,
        "workspace_keys": [
            {"keyid": keyid, "enrolled": key.enrolled, "revoked": key.revoked}
            for keyid, key in workspace.view.state.workspace_keys.items()
        ],
        "rings": [{"ring": n, "generation": rings.ring(n).generation} for n in rings.names()],
        "destroyed": rings.receipts(),
    }

    def human() -> None:
        say(f"trust root version {root.version}")
        if root.recovery:
            say(f"recovery recipient {escape(root.recovery)}: its secret opens every ring")
        else:
            say("[yellow]no recovery recipient[/]: if root.key is lost, so is everything sealed")
        for key in found["workspace_keys"]:
            ended = f"revoked at leaf {key['revoked']}" if key["revoked"] is not None else "valid"
            say(f"workspace key {escape(key['keyid'])}, since leaf {key['enrolled']}, {ended}")
        rows = [[r["ring"], r["generation"]] for r in found["rings"]]
        table(["ring", "generation"], rows, empty="no rings")
        for receipt in found["destroyed"]:
            say(f"[red]destroyed[/] {escape(receipt.ring)} on {receipt.destroyed_at}")

    emit(as_json, found, human)


@keys.command("rotate")
def rotate(ring: Ring, actor: As = "", as_json: AsJson = False) -> None:
    """A new generation of a ring: it seals from now on, earlier ones still open.

    Example: assay keys rotate --ring fraud/data
    """
    from assay.actions.administration import RotateRing
    from assay.evidence.state import WORKSPACE

    done = Session(actor, "", as_json).perform(RotateRing(project=WORKSPACE, ring=ring))
    emit(
        as_json,
        done,
        lambda: say(f"ring [bold]{escape(ring)}[/] is at generation {done['generation']}"),
    )


@keys.command("rotate-workspace")
def rotate_workspace(reason: Reason, actor: As = "", as_json: AsJson = False) -> None:
    """A new workspace key and the trust root that names it, signed by you.  Revoke the old one
    afterwards.

    Example: assay keys rotate-workspace --reason "yearly"
    """
    from assay.actions.administration import RotateKey
    from assay.evidence.state import WORKSPACE

    done = Session(actor, "", as_json).perform(RotateKey(project=WORKSPACE, reason=reason))

    def human() -> None:
        say(f"the workspace signs with [bold]{escape(done['keyid'])}[/] from now on")
        say(f'then: assay keys revoke {escape(done["before"])} --reason "{escape(reason)}"')

    emit(as_json, done, human)


@keys.command("revoke")
def revoke(
    keyid: Annotated[str, typer.Argument(metavar="KEYID", help="As status or actor list show it.")],
    reason: Reason,
    compromised_since: Annotated[
        int | None, typer.Option(help="The first leaf it may have been misused at.", min=0)
    ] = None,
    actor: As = "",
    as_json: AsJson = False,
) -> None:
    """End a key: what it signs from now on, or since a leaf, does not count.

    Example: assay keys revoke ed25519:9f86d081884c7d659a2f… --reason "stolen"
    """
    from assay.actions.people import RevokeKey
    from assay.evidence.state import WORKSPACE

    done = Session(actor, "", as_json).perform(
        RevokeKey(
            project=WORKSPACE, keyid=keyid, reason=reason, compromised_since=compromised_since
        )
    )
    emit(as_json, done, lambda: say(f"{escape(keyid)} is revoked"))


@keys.command("destroy")
def destroy(
    ring: Ring,
    reason: Reason,
    ticket: Annotated[str, typer.Option(help="The erasure's ticket.")],
    actor: As = "",
    as_json: AsJson = False,
) -> None:
    """Destroy a ring: what it sealed can never be read again, by anybody.

    The receipt names the backups that may still hold its keys.

    Example: assay keys destroy --ring fraud/data --reason x --ticket DPO-17
    """
    from assay.actions.administration import DestroyRing
    from assay.evidence.state import WORKSPACE

    done: dict[str, Any] = Session(actor, "", as_json).perform(
        DestroyRing(project=WORKSPACE, ring=ring, reason=reason, ticket=ticket)
    )
    receipt = done["receipt"]

    def human() -> None:
        say(f"ring [bold]{escape(ring)}[/] was destroyed on {escape(receipt['destroyed_at'])}")
        for backup in receipt["backups"]:
            say(f"  [yellow]a backup of {escape(backup['made'])} holds it: {backup['digest']}[/]")
        say(f"  {escape(receipt['note'])}")

    emit(as_json, done, human)


# -- backup and recovery --------------------------------------------------------------------------


@keys.command("new-recovery")
def new_recovery(as_json: AsJson = False) -> None:
    """A recovery secret and its public recipient, for instance on a machine without a network.

    Keep the secret off line; give the recipient to assay init --recovery-recipient.

    Example: assay keys new-recovery
    """
    from assay.store import generate_recovery

    secret, recipient = generate_recovery()

    def human() -> None:
        say(f"secret    {secret}")
        say(f"recipient {recipient}")
        note("the secret is stored nowhere: write it down now")

    emit(as_json, {"secret": secret, "recipient": recipient}, human)


@keys.command("backup")
def backup(
    out: Annotated[Path, typer.Option(help="The backup file.", metavar="FILE")],
    recipient: Annotated[
        str, typer.Option(help="Another recovery recipient than the workspace's.")
    ] = "",
    force: Force = False,
    actor: As = "",
    as_json: AsJson = False,
) -> None:
    """Every ring's keys in one file that only the recovery secret opens.

    Blobs, ledger and .assay/keys are not in it: back those up as files.

    Example: assay keys backup --out rings.backup
    """
    from assay.actions.backups import BackupRings
    from assay.evidence.state import WORKSPACE

    if out.exists() and not force:
        raise Usage(f"{out} exists", remedy="name another file, or add --force", code="output")
    session = Session(actor, "", as_json)
    data: bytes = session.perform(BackupRings(project=WORKSPACE, recipient=recipient))
    write_result(out, data, force=force)
    value = {"file": str(out), "bytes": len(data)}
    emit(
        as_json,
        value,
        lambda: say(f"wrote [bold]{escape(out)}[/]; only the recovery secret opens it"),
    )


@keys.command("recover")
def recover(
    backup_file: Annotated[
        Path | None,
        typer.Option(
            "--backup", help="A backup; without it, what the rings carry.", metavar="FILE"
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Open the rings again after the root key was lost, from files and the recovery secret alone.

    The secret is asked at the terminal, or comes from ASSAY_RECOVERY_SECRET.

    Example: assay keys recover --backup rings.backup
    """
    from assay import files
    from assay.store import LocalKeyService, carried_backup
    from assay.store import recover as reopen
    from assay.workspace import layout as layouts

    layout = layouts.find()
    if layout.config.keys:
        raise Usage(
            f"the root key of this workspace lies in {layout.config.keys}, not in a file",
            remedy="recover it in that key service",
            code="keys.service",
        )
    if backup_file is None:
        data = carried_backup(layout.rings)
    else:
        with files.open_input(backup_file, what="backup") as stream:
            data = stream.read(1 << 26)
    secret = _recovery_secret()
    existing = layout.root_key.exists()
    if not existing:
        files.make_folder(layout.keys)
    service = (LocalKeyService.load if existing else LocalKeyService.create)(layout.root_key)
    try:
        done = reopen(data, secret, layout.rings, service)
    except Unavailable:
        raise  # Some rings may be wrapped by the new root key already: it stays.
    except AssayError:
        # Everything is checked before anything is written, so nothing needs the new root key.
        if not existing:
            files.remove(layout.root_key)
        raise

    def human() -> None:
        for name in done.restored:
            say(f"[green]✓[/] {escape(name)} opens")
        for name in done.destroyed:
            say(f"· {escape(name)} was destroyed, and stays so")
        for name in done.missing:
            say(f"[red]✗[/] {escape(name)} is not in the backup: it still needs the lost root key")
        for path in (layout.workspace_key, layout.ledger_key):
            if not path.exists():
                say(f"[red]✗[/] {escape(path)} is missing too: restore it from a backup of files")
        say("then: assay doctor")

    emit(as_json, done, human)
    if done.missing:
        raise typer.Exit(4)


def _recovery_secret() -> str:
    given = os.environ.get("ASSAY_RECOVERY_SECRET")
    if given:
        return given
    if not sys.stdin.isatty():
        raise Usage(
            "the recovery secret is needed",
            remedy="run this at a terminal, or set ASSAY_RECOVERY_SECRET",
            code="recovery.secret",
        )
    return getpass.getpass("Recovery secret: ")
