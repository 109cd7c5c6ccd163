"""``assay ledger witness`` and ``assay ledger cosign``: have others vouch for the ledger."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from assay.cli.groups import Group
from assay.cli.output import counted, emit, escape, say, table, write_result
from assay.cli.session import AsJson, Force, Session
from assay.errors import NotFound, Usage

if TYPE_CHECKING:
    from assay.evidence.cosignatures import Note, VerifierKey
    from assay.supply.transparency.witnesses import Asked
    from assay.workspace.layout import Layout

witness = typer.Typer(cls=Group, help="The witnesses that are asked to cosign the ledger.")


def add_to(ledger: typer.Typer) -> None:
    ledger.command("cosign")(cosign)
    ledger.add_typer(witness, name="witness", no_args_is_help=True)


def cosigned_path(layout: Layout) -> Path:
    """Where the newest cosigned checkpoint lies."""
    return layout.root / "cosigned"


def witnesses_path(layout: Layout) -> Path:
    """Where it says which witnesses are asked."""
    return layout.root / "witnesses"


def log_key(session: Session) -> VerifierKey:
    """The ledger's verifier key."""
    return log_key_of(session.workspace.layout)


def log_key_of(layout: Layout) -> VerifierKey:
    """The verifier key of a workspace's ledger, by its pinned trust root."""
    from assay.evidence.cosignatures import VerifierKey
    from assay.workspace.opening import trusted_root

    root = trusted_root(layout)
    return VerifierKey.of(root.origin, root.ledger_key)


def count(note: bytes) -> int:
    """How many others than the log signed a checkpoint (their signatures are not verified)."""
    from assay.evidence.cosignatures import read_note

    found = read_note(note)
    return len({name for name, _ in found.signatures if name != found.origin})


def covering(session: Session, index: int, *, newest: bool) -> tuple[bytes, int]:
    """The checkpoint to prove a leaf under, and its size: the cosigned one, where it is covered."""
    from assay.evidence.cosignatures import check_log, read_note
    from assay.evidence.notes import LIMIT

    ledger = session.workspace.ledger
    checkpoint = ledger.refresh()
    held = _read(cosigned_path(session.workspace.layout), LIMIT)
    if held is not None and not newest:
        found = read_note(held)
        check_log(found, log_key(session))
        if index < found.size <= checkpoint.size and ledger.root_at(found.size) == found.root:
            return held, found.size
    return ledger.note, checkpoint.size


def _read(path: Path, limit: int) -> bytes | None:
    from assay import files

    try:
        return files.read(path, limit=limit, what="cosigned checkpoint")
    except NotFound:
        return None


def cosign(
    quorum: Annotated[int, typer.Option(help="How many must cosign.", min=1)] = 1,
    about: Annotated[
        Path | None,
        typer.Option(
            "--for",
            help="A bundle that was exported before: writes BUNDLE.cosigned beside it.",
            metavar="BUNDLE",
        ),
    ] = None,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Ask the witnesses to cosign the newest checkpoint, and keep their cosignatures.

    Exit status 1 when fewer than --quorum did, 4 when one has seen another ledger than this.

    Example: assay ledger cosign --quorum 2
    """
    from assay import files
    from assay.evidence.cosignatures import merge, read_note
    from assay.evidence.notes import LIMIT
    from assay.supply.transparency import witnesses as asking

    session = Session(as_json=as_json)
    layout = session.workspace.layout
    listed = asking.load(witnesses_path(layout)).witnesses
    if not listed:
        raise Usage(
            "no witness is asked yet",
            remedy="assay ledger witness add URL VKEY, for each of them",
            code="witnesses",
        )
    ledger = session.workspace.ledger
    path = cosigned_path(layout)
    with files.Lock(path.with_name("cosigned.lock")):
        ledger.refresh()
        note, asked = asking.collect(ledger.note, listed, ledger.consistency)
        held = _read(path, LIMIT)
        if held is not None and read_note(held).text == read_note(note).text:
            note = merge(held, note.rpartition(b"\n\n")[2], [item.key for item in listed])
        good = sum(item.cosigned for item in asked)
        if good >= quorum:
            files.write(path, note)
    if about is not None and good >= quorum:
        _beside(session, about, read_note(note), note, force=force)
    _tell(asked, read_note(note).size, as_json)
    if any(item.alarm for item in asked):
        raise typer.Exit(4)
    if good < quorum:
        raise typer.Exit(1)


def _beside(session: Session, bundle: Path, note: Note, raw: bytes, *, force: bool) -> None:
    """Write the proof that a bundle's checkpoint is the beginning of the cosigned one."""
    from assay import files
    from assay.evidence import witnessed
    from assay.evidence.cosignatures import check_log, read_note
    from assay.govern import bundle as bundles

    old = read_note(
        bundles.read(
            files.read(bundle, limit=bundles.LIMIT, what="bundle")
        ).body.checkpoint.encode()
    )
    check_log(old, log_key(session))
    proof = session.workspace.ledger.consistency(old.size, note.size)
    path = bundle.with_name(bundle.name + witnessed.SUFFIX)
    write_result(path, witnessed.encode(old.size, proof, raw), force=force)


def _tell(asked: list[Asked], size: int, as_json: bool) -> None:
    import msgspec

    def human() -> None:
        for item in asked:
            mark = "[green]✓[/]" if item.cosigned else "[red]✗[/]"
            said = "cosigned" if item.cosigned else escape(item.why)
            say(f"{mark} {escape(item.witness)}: {said}")
        good = sum(item.cosigned for item in asked)
        say(f"checkpoint of {size} leaves: {counted(good, 'cosignature')}")

    value: dict[str, Any] = {"size": size, "witnesses": msgspec.to_builtins(asked)}
    emit(as_json, value, human)


@witness.command("add")
def add(
    url: Annotated[str, typer.Argument(metavar="URL", help="Its submission prefix.")],
    vkey: Annotated[str, typer.Argument(metavar="VKEY", help="Its verifier key.")],
    as_json: AsJson = False,
) -> None:
    """Ask one more witness from now on.

    \b
    Example: assay ledger witness add https://witness.example.com \\
        witness.example.com+12345678+BA…
    """
    _change(lambda held: held.with_one(url, vkey), as_json)


@witness.command("remove")
def remove(
    vkey: Annotated[str, typer.Argument(metavar="VKEY", help="Its verifier key.")],
    as_json: AsJson = False,
) -> None:
    """Ask a witness no more.

    Example: assay ledger witness remove witness.example.com+12345678+BA…
    """
    _change(lambda held: held.without(vkey), as_json)


@witness.command("list")
def listing(as_json: AsJson = False) -> None:
    """The witnesses that are asked.

    Example: assay ledger witness list
    """
    _change(lambda held: held, as_json)


def _change(change: Any, as_json: bool) -> None:
    import msgspec

    from assay import files
    from assay.supply.transparency import witnesses as asking
    from assay.workspace import layout as layouts

    layout = layouts.find()
    path = witnesses_path(layout)
    with files.Lock(path.with_name("witnesses.lock")):
        held = asking.load(path)
        made = change(held)
        if made != held:
            asking.save(path, made)
    rows = [[item.key.name, item.url, item.vkey] for item in made.witnesses]
    emit(
        as_json,
        msgspec.to_builtins(made.witnesses),
        lambda: table(["witness", "url", "verifier key"], rows, empty="no witness is asked"),
    )
