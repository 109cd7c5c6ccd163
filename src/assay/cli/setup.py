"""``assay init|doctor|recover``: make a workspace, look at its health, settle it after a crash."""

from __future__ import annotations

import hmac
import re
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from assay.cli.output import emit, err, escape, say
from assay.cli.session import As, AsJson, Session
from assay.errors import Conflict, Usage

_TRIES = 3


def add_to(app: typer.Typer) -> None:
    app.command("init")(init)
    app.command("doctor")(doctor)
    app.command("recover")(recover)


def init(
    development: Annotated[
        bool,
        typer.Option(
            "--development",
            help="To try it out: no passphrase, no recovery secret. Everybody is told so.",
        ),
    ] = False,
    project: Annotated[
        str, typer.Option(help="First project; default: the folder's name.", metavar="NAME")
    ] = "",
    name: Annotated[
        str, typer.Option(help="What you are called; default: your user name.", metavar="NAME")
    ] = "",
    recovery_recipient: Annotated[
        str,
        typer.Option(
            help="A recovery recipient that you have already (see: assay keys new-recovery)."
        ),
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Make a workspace in this folder, with you as its first administrator.

    Makes a personal key for you if you have none, prints the recovery secret once, and refuses to
    go on until you have shown that you wrote it down.  Adds assay.toml and policy/ (commit both)
    and .assay/ (ignored by git); touches nothing else.

    Example: assay init --project fraud
    """
    from assay.cli import personal
    from assay.types import check_name
    from assay.workspace.layout import CONFIG
    from assay.workspace.opening import Founding, create_workspace

    base = Path.cwd()
    if (base / CONFIG).exists():
        raise Conflict(
            f"{base / CONFIG} exists: this folder holds a workspace",
            remedy="use it (assay doctor), or choose another folder",
            code="init.exists",
        )
    who = check_name(name or personal.user_name(), what="name")
    first = check_name(project or personal.as_name(base.name) or "main", what="project")
    # All that can be refused is asked before the secret is shown, and all of it before anything
    # is written.
    existing = personal.key_path(who).exists()
    secret: str | None = None
    if existing:
        signer, protected = personal.load_key(who)
    else:
        secret = None if development else personal.passphrase(who, new=True)
        signer, protected = None, secret is not None
    recipient = "" if development and not recovery_recipient else _recipient(recovery_recipient)
    try:
        signer = signer or personal.make_key(who, secret)
        level = "personal-key" if protected else "development-key"
        workspace = create_workspace(
            base, Founding(first, who, signer, level, recipient, development)
        )
    except BaseException:
        # Once assay.toml is there the workspace is, and this key is its only administrator's.
        if not existing and not (base / CONFIG).exists():
            personal.remove_key(who)
        raise
    made: dict[str, Any] = {
        "workspace": workspace.layout.config.workspace,
        "project": first,
        "name": who,
        "key": str(personal.key_path(who)),
        "level": level,
        "trust_root": workspace.layout.config.trust_root,
        "recovery_recipient": recipient,
        "development": development,
    }

    def human() -> None:
        say(f"made a workspace in [bold]{escape(base)}[/], project [bold]{escape(first)}[/]")
        used = "uses your key" if existing else "made your personal key"
        say(f"  {used} {escape(made['key'])} ({level})")
        if not recipient:
            say("  [yellow]no recovery[/]: if .assay/keys is lost, everything sealed is lost")
        say("  every role of the project but approver is yours; approvers are other people")
        say("\nnext:")
        say(f"  git add assay.toml {escape(workspace.layout.config.policy)}")
        say("  assay actor new-key NAME   (each approver, on their own machine)")
        say(f"  assay actor enrol NAME --key FILE --role {escape(first)}/approver")
        say("  assay data register FILE.csv")
        say("  assay model register FILE --name NAME --purpose PURPOSE --train DATASET")

    emit(as_json, made, human)


def _recipient(given: str) -> str:
    """The recovery recipient: the one given, or a new one whose secret was written down."""
    from assay.store import generate_recovery
    from assay.store.recipients import check_recipient

    if given:
        return check_recipient(given)
    secret, recipient = generate_recovery()
    err.print("\nThis recovery secret opens everything if the keys on this machine are lost.")
    err.print("It is shown this once and stored nowhere. Write it down and keep it off line:\n")
    err.print(f"    [bold]{secret}[/]\n")
    tries = _TRIES if sys.stdin.isatty() else 1
    for left in range(tries, 0, -1):
        err.print("To confirm, type it back, or its last group: ", end="")
        if _same(sys.stdin.readline(), secret):
            return recipient
        if left > 1:
            err.print("that is something else; look again")
    raise Usage(
        "the recovery secret was not confirmed, so nothing was made",
        remedy="run it again and type back the last group; or try assay out with --development",
        code="init.recovery",
    )


def _same(typed: str, secret: str) -> bool:
    def plain(text: str) -> bytes:
        return re.sub(r"[^A-Z0-9]", "", text.upper()).encode()

    return any(
        hmac.compare_digest(plain(typed), plain(wanted))
        for wanted in (secret, secret.rpartition("-")[2])
    )


_MARKS = {"ok": "[green]✓[/]", "warning": "[yellow]![/]", "critical": "[red]✗[/]"}


def doctor(actor: As = "", as_json: AsJson = False) -> None:
    """Look at the workspace's health; the findings are recorded as evidence that gates read.

    Exit status 4 when a finding is critical.

    Example: assay doctor
    """
    from assay.actions.administration import Examine
    from assay.evidence.state import WORKSPACE

    found: dict[str, Any] = Session(actor, "", as_json).perform(Examine(project=WORKSPACE))

    def human() -> None:
        for item in found["findings"]:
            say(f"{_MARKS[item['grade']]} [bold]{escape(item['check'])}[/]  {escape(item['what'])}")
            if item["remedy"]:
                say(f"    → {escape(item['remedy'])}")
        say(f"\n{found['critical']} critical, {found['warnings']} warnings")

    emit(as_json, found, human)
    if found["critical"]:
        raise typer.Exit(4)


def recover(as_json: AsJson = False) -> None:
    """After a crash: finish or undo what was interrupted, and say what was done.

    Repeating it is harmless; running work is left alone.

    Example: assay recover
    """
    from assay import actions

    actions.register()
    done = Session().workspace.recover()

    def human() -> None:
        for line in done:
            say(escape(line))
        if not done:
            say("nothing was left to do")

    emit(as_json, {"done": done}, human)
