"""``assay witness``: vouch for logs of others, that they only grow."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from assay.cli.groups import Group
from assay.cli.output import emit, escape, say
from assay.cli.session import AsJson
from assay.errors import Usage

if TYPE_CHECKING:
    from assay.evidence.signers import FileSigner

witness = typer.Typer(cls=Group, help="A witness: cosign logs of others that only grow.")

Key = Annotated[Path, typer.Option(help="The witness's private key (PEM).", metavar="FILE")]
State = Annotated[
    Path, typer.Option(help="What the witness must not forget; keep it safe.", metavar="FILE")
]


def add_to(app: typer.Typer) -> None:
    app.add_typer(witness, name="witness", no_args_is_help=True)


@witness.command("init")
def init(
    name: Annotated[
        str, typer.Option(help="Its name: a URL without scheme, for example witness.example.com.")
    ],
    key: Key,
    state: State,
    as_json: AsJson = False,
) -> None:
    """Make a new witness: its key, and the file of what it has seen.

    The key is protected by ASSAY_PASSPHRASE where that is set. Publish the verifier key that is
    printed. A witness whose file is lost must be replaced by a new one with a new key: it would
    not know any more what it signed.

    \b
    Example: assay witness init --name witness.example.com \\
        --key witness.pem --state witness.state
    """
    from assay.evidence.cosignatures import COSIGNATURE, VerifierKey
    from assay.evidence.notes import check_origin
    from assay.evidence.signers import FileSigner
    from assay.supply.transparency.witness import create

    check_origin(name)
    if state.exists():
        raise Usage(
            f"{state} exists: it is of another witness",
            remedy="name a new file",
            code="witness.state",
        )
    signer = FileSigner.create(key, os.environ.get("ASSAY_PASSPHRASE") or None)
    made = VerifierKey.of(name, signer.public, COSIGNATURE)
    create(state, made)

    def human() -> None:
        say(f"made the witness [bold]{escape(name)}[/]; its verifier key, to be published:")
        say(escape(made))

    emit(as_json, {"name": name, "vkey": str(made), "state": str(state)}, human)


@witness.command("vkey")
def vkey(state: State, as_json: AsJson = False) -> None:
    """The witness's verifier key: what whoever relies on it needs.

    Example: assay witness vkey --state witness.state
    """
    from assay.supply.transparency.witness import load

    held = load(state)
    seen = {origin: log.size for origin, log in held.logs.items()}
    emit(as_json, {"vkey": held.witness, "logs": seen}, lambda: say(escape(held.witness)))


@witness.command("serve")
def serve(
    key: Key,
    state: State,
    log: Annotated[
        list[str], typer.Option(help="The verifier key of a log to cosign.", metavar="VKEY")
    ],
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 takes a free one.")] = 8766,
    certificate: Annotated[
        Path | None, typer.Option(help="PEM certificate chain, to be reached from elsewhere.")
    ] = None,
    private_key: Annotated[Path | None, typer.Option(help="The certificate's PEM key.")] = None,
    as_json: AsJson = False,
) -> None:
    """Cosign checkpoints of these logs over HTTP (C2SP tlog-witness), as long as they only grow.

    \b
    Example: assay witness serve --log "$VKEY" \\
        --key witness.pem --state witness.state
    """
    from assay.cli.ledger import listen
    from assay.clock import SystemClock
    from assay.evidence.cosignatures import VerifierKey
    from assay.supply.transparency.witness import Witness
    from assay.supply.transparency.witness_server import WitnessServer

    logs = [VerifierKey.parse(text) for text in log]
    with Witness(state, _signer(key), logs, SystemClock()) as made:
        value = {"vkey": str(made.key), "logs": [item.name for item in logs]}
        where = (host, port, certificate, private_key)
        listen(WitnessServer(made), where, as_json, value, f"witness {escape(made.key.name)}")


def _signer(path: Path) -> FileSigner:
    from assay.evidence.signers import FileSigner, is_protected

    passphrase = os.environ.get("ASSAY_PASSPHRASE") if is_protected(path) else None
    return FileSigner.load(path, passphrase)
