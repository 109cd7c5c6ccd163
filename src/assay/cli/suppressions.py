"""``assay suppressions``: findings that somebody answers for, by digest, signed, until a day."""

from __future__ import annotations

from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from assay.cli.groups import Group
from assay.cli.output import counted, emit, escape, say, table
from assay.cli.session import AsJson
from assay.errors import Usage

if TYPE_CHECKING:
    from assay.evidence.signers import PublicKey, Signer
    from assay.supply.suppressions import Entry

suppressions = typer.Typer(
    cls=Group, help="Findings of a scan that somebody answers for: by digest, signed, until a day."
)

File = Annotated[Path, typer.Argument(metavar="FILE", help="The suppressions, a TOML file.")]
_LIMIT = 1 << 14


def add_to(app: typer.Typer) -> None:
    app.add_typer(suppressions, name="suppressions", no_args_is_help=True)


@suppressions.command("add")
def add(
    file: File,
    model: Annotated[
        Path, typer.Option("--model", help="The file with the finding.", metavar="PATH")
    ],
    rule: Annotated[str, typer.Option(help="The rule, as the scan printed it.")],
    reason: Annotated[str, typer.Option(help="Why it is harmless here.")],
    owner: Annotated[str, typer.Option(help="Who answers for it.")],
    days: Annotated[int, typer.Option(help="How long it lasts.", min=1, max=180)] = 90,
    accepts: Annotated[
        str,
        typer.Option(help="The severity it covers: suspicious, unscannable or malicious."),
    ] = "suspicious",
    as_json: AsJson = False,
) -> None:
    """Add a finding to the file, which then has to be signed anew.  Works without a workspace.

    Covers this file's exact bytes only: its digest is taken now.

    \b
    Example: assay suppressions add assay-suppressions.toml --model m.pkl --rule pickle.call \\
        --reason "our own class, reviewed" --owner risk@example.com
    """
    from assay import canonical, files
    from assay.supply import suppressions as kept

    today = _today()
    entries = list(kept.read(file, today=today)[1].suppress) if file.exists() else []
    with files.open_input(model, what="model") as stream:
        digest = canonical.digest_stream(stream)
    made = kept.entry(
        rule=rule,
        digest=digest,
        reason=reason,
        owner=owner,
        added=today,
        expires=today + timedelta(days=days),
        accepts=accepts,
        file=str(model),
    )
    same = (made.rule, made.digest, made.accepts)
    entries = [e for e in entries if (e.rule, e.digest, e.accepts) != same] + [made]
    data = kept.render(entries)
    kept.parse(data, today=today)
    files.write(file, data, mode=0o644)

    def human() -> None:
        say(f"added [bold]{escape(rule)}[/] in {escape(model)}, until {made.expires}")
        say(f"  → have it reviewed, then: assay suppressions sign {escape(file)}")

    emit(as_json, _told(made), human)


@suppressions.command("sign")
def sign(
    file: File,
    actor: Annotated[
        str,
        typer.Option("--as", envvar="ASSAY_ACTOR", help="Whose personal key.", metavar="NAME"),
    ] = "",
    key: Annotated[
        Path | None, typer.Option(help="A private key instead (PEM, mode 0600).", metavar="FILE")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Sign the file as it stands: you have looked at every entry.  Works without a workspace.

    Writes FILE.dsse.json beside it; commit both.

    Example: assay suppressions sign assay-suppressions.toml --as carol
    """
    from assay import files
    from assay.supply import suppressions as kept

    data, document = kept.read(file, today=_today())
    signer = _signer(actor, key)
    beside = kept.signature_path(file)
    files.write(beside, kept.sign(data, signer), mode=0o644)
    found = {
        "file": str(file),
        "signature": str(beside),
        "keyid": signer.public.keyid,
        "entries": len(document.suppress),
    }

    def human() -> None:
        many = "entry" if len(document.suppress) == 1 else "entries"
        say(f"signed {len(document.suppress):,} {many} as {escape(signer.public.keyid)}")
        say(f"wrote [bold]{escape(beside)}[/]")

    emit(as_json, found, human)


@suppressions.command("show")
def show(
    file: File,
    key: Annotated[
        list[Path],
        typer.Option(help="A public key that may sign them (PEM, or .pub).", metavar="PUB"),
    ],
    as_json: AsJson = False,
) -> None:
    """Check the signature and list the entries.  Works without a workspace.

    Example: assay suppressions show assay-suppressions.toml --key carol.pub
    """
    from assay.supply import suppressions as kept

    trusted = kept.load(file, [public_key(path) for path in key], today=_today())
    found = {
        "signers": list(trusted.signers),
        "entries": [_told(entry) for entry in trusted.entries],
        "expired": [_told(entry) for entry in trusted.expired],
    }

    def human() -> None:
        rows = [
            [e.rule, e.accepts, e.file or e.digest[:19] + "…", e.owner, e.expires, e.reason]
            for e in trusted.entries
        ]
        columns = ["rule", "accepts", "file", "owner", "until", "reason"]
        table(columns, rows, empty="no suppressions that still count")
        if trusted.expired:
            say(f"[yellow]expired[/]: {counted(len(trusted.expired), 'suppression')}")
        say(f"signed by {escape(', '.join(trusted.signers))}")

    emit(as_json, found, human)


def public_key(path: Path) -> PublicKey:
    """A public key from a file: as `assay actor new-key` writes it, or PEM."""
    from assay import files
    from assay.cli.personal import read_public

    data = files.read(path, limit=_LIMIT, what="public key")
    return (
        _from_pem(data, path)
        if data.lstrip().startswith(b"-----")
        else read_public(data, str(path))[0]
    )


def _from_pem(data: bytes, path: Path) -> PublicKey:
    import base64

    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        PublicFormat,
        load_pem_public_key,
    )

    from assay.errors import Corrupt
    from assay.evidence.signers import PublicKey

    try:
        key = load_pem_public_key(data)
        der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        algorithm = "ed25519" if isinstance(key, Ed25519PublicKey) else "ecdsa-p256-sha256"
        made = PublicKey(algorithm, base64.b64encode(der).decode())
        _ = made.keyid  # Raises for what is no key of its algorithm.
    except (ValueError, UnsupportedAlgorithm, Corrupt) as error:
        raise Usage(
            f"{path} is no public key that can be used",
            remedy="give an Ed25519 or P-256 public key in PEM, or the .pub of "
            "`assay actor new-key NAME`",
            code="public_key",
        ) from error
    return made


def _signer(actor: str, key: Path | None) -> Signer:
    from assay.cli import personal
    from assay.evidence.signers import FileSigner, is_protected

    if (key is None) == (not actor):
        raise Usage(
            "say with which key to sign",
            remedy="--as NAME for a personal key, or --key FILE",
            code="suppressions.signer",
        )
    if key is None:
        return personal.load_key(actor)[0]
    secret = personal.passphrase(key.name) if is_protected(key) else None
    return FileSigner.load(key, secret)


def _told(entry: Entry) -> dict[str, Any]:
    return {
        name: value.isoformat() if isinstance(value := getattr(entry, name), date) else value
        for name in entry.__struct_fields__
    }


def _today() -> date:
    return datetime.now(timezone.utc).date()
