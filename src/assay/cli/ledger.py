"""``assay ledger``: show the ledger to others, prove what is on it, and watch the ledgers of
others."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from assay.cli import ledger_witnesses
from assay.cli.groups import Group
from assay.cli.output import counted, emit, escape, note, say, write_result
from assay.cli.session import As, AsJson, Force, InProject, Session
from assay.errors import NotFound, Usage

if TYPE_CHECKING:
    from assay.evidence.cosignatures import VerifierKey
    from assay.supply.transparency.monitor import Found
    from assay.supply.transparency.tiles import PublicFiles
    from assay.workspace.layout import Layout

ledger = typer.Typer(cls=Group, help="The ledger: publish it, prove what is on it, watch others.")

Cosigned = Annotated[
    bool,
    typer.Option("--cosigned", help="The newest checkpoint that witnesses cosigned, not newer."),
]


def add_to(app: typer.Typer) -> None:
    ledger_witnesses.add_to(ledger)
    app.add_typer(ledger, name="ledger", no_args_is_help=True)


def public_files() -> tuple[Layout, VerifierKey, PublicFiles]:
    """The workspace's layout, its log's verifier key, and what of the ledger is public.

    Needs no key but the pinned trust root.
    """
    from assay.evidence.cosignatures import VerifierKey
    from assay.supply.transparency.tiles import PublicFiles
    from assay.workspace import layout as layouts
    from assay.workspace.opening import trusted_root

    layout = layouts.find()
    root = trusted_root(layout)
    key = VerifierKey.of(root.origin, root.ledger_key)
    cosigned = ledger_witnesses.cosigned_path(layout)
    return layout, key, PublicFiles(layout.ledger, key, cosigned)


@ledger.command("vkey")
def vkey(as_json: AsJson = False) -> None:
    """The ledger's verifier key: what others need to check checkpoints, proofs and forks.

    Example: assay ledger vkey
    """
    _, key, _ = public_files()
    emit(as_json, {"vkey": str(key), "origin": key.name}, lambda: say(escape(key)))


@ledger.command("serve")
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 takes a free one.")] = 8765,
    cosigned: Cosigned = False,
    certificate: Annotated[
        Path | None, typer.Option(help="PEM certificate chain, to be reached from elsewhere.")
    ] = None,
    private_key: Annotated[Path | None, typer.Option(help="The certificate's PEM key.")] = None,
    as_json: AsJson = False,
) -> None:
    """Serve the ledger's public files over HTTP, as C2SP tlog-tiles, and nothing else.

    Anybody may read them: they hold hashes and blinded leaves, never what a statement says.

    Example: assay ledger serve --port 8765
    """
    from assay.supply.transparency.tiles import TileServer

    _, key, files = public_files()
    listen(
        TileServer(files, witnessed=cosigned),
        (host, port, certificate, private_key),
        as_json,
        {"vkey": str(key)},
        "serving the ledger",
    )


def listen(
    application: Any,
    where: tuple[str, int, Path | None, Path | None],
    as_json: bool,
    value: dict[str, Any],
    what: str,
) -> None:
    """Answer HTTP until stopped; says where once connections are accepted."""
    from assay.serve.listen import Tls, run

    host, port, certificate, private_key = where
    if (certificate is None) != (private_key is None):
        raise Usage("--certificate and --private-key belong together", code="serve.tls")
    tls = Tls(certificate, private_key) if certificate and private_key else None

    def ready(at: Any) -> None:
        made = {"url": at.url, **value}
        emit(as_json, made, lambda: say(f"{what} at [bold]{escape(at.url)}[/]; Ctrl-C stops it"))

    try:
        run(application, host, port, tls=tls, ready=ready)
    except KeyboardInterrupt:
        note("stopped")


@ledger.command("export")
def export(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="New, or of an older export.")],
    cosigned: Cosigned = False,
    as_json: AsJson = False,
) -> None:
    """Write the ledger's public files into a folder for any static web server.

    Each file is verified while it is copied; a later export adds what is new.

    Example: assay ledger export public/ledger
    """
    from assay.supply.transparency.publish import publish

    _, key, files = public_files()
    made = publish(files, key, folder, witnessed=cosigned)

    def human() -> None:
        say(
            f"[green]✓[/] {escape(folder)}: checkpoint of {made.size} leaves, "
            f"{counted(made.written, 'file')} written, {made.kept:,} as they were"
        )

    emit(as_json, {"folder": str(folder), "vkey": str(key), **_plain(made)}, human)


def _plain(value: Any) -> dict[str, Any]:
    import msgspec

    return msgspec.to_builtins(value)


@ledger.command("proof")
def proof(
    what: Annotated[
        str,
        typer.Argument(
            metavar="X", help="A model's file or folder, MODEL@VERSION, or the number of a leaf."
        ),
    ],
    output: Annotated[
        Path | None, typer.Option(help="File; default X.tlog-proof.", metavar="FILE")
    ] = None,
    kind: Annotated[
        str, typer.Option(help="Which statement about it: model-version, scan, quality, …")
    ] = "model-version",
    newest: Annotated[
        bool, typer.Option("--newest", help="Under the newest checkpoint, cosigned or not.")
    ] = False,
    force: Force = False,
    actor: As = "",
    project: InProject = "",
    as_json: AsJson = False,
) -> None:
    """Prove in one small file that a statement is on the ledger (C2SP tlog-proof).

    The proof of an artifact or version carries the statement itself, and needs the right to export
    evidence. That of a leaf's number carries what is public: that there is such a leaf.

    Example: assay ledger proof credit@3 --output credit.onnx.tlog-proof
    """
    from assay.evidence import tlog_proof

    session = Session(actor, project, as_json)
    path = output or Path(f"{what.rstrip('/')}{tlog_proof.SUFFIX}")
    if what.isdigit():
        session.workspace.ledger.refresh()
        index, extra = int(what), tlog_proof.opening(_commitment(session, int(what)))
    else:
        from assay.actions.transparency import TakeStatement

        model, version = _version(session, what)
        taken = session.perform(
            TakeStatement(project=session.project, model=model, version=version, kind=kind)
        )
        index = taken.index
        extra = tlog_proof.opening(taken.commitment, taken.nonce, taken.envelope)
    checkpoint, size = ledger_witnesses.covering(session, index, newest=newest)
    hashes = session.workspace.ledger.inclusion(index, size)
    data = tlog_proof.encode(index, hashes, checkpoint, extra)
    write_result(path, data, force=force)
    key = ledger_witnesses.log_key(session)
    cosignatures = ledger_witnesses.count(checkpoint)
    value = {
        "file": str(path),
        "leaf": index,
        "size": size,
        "cosignatures": cosignatures,
        "vkey": str(key),
    }

    def human() -> None:
        say(
            f"wrote [bold]{escape(path)}[/]: leaf {index} under a checkpoint of {size} leaves, "
            f"{counted(cosignatures, 'cosignature')}"
        )
        say(f"check it anywhere: assay verify {escape(path)} --vkey {escape(key)}")

    emit(as_json, value, human)


def _commitment(session: Session, index: int) -> bytes:
    """The commitment of a leaf, as the public entry bundle has it."""
    size = session.workspace.ledger.checkpoint.size
    if index >= size:
        raise NotFound(
            f"the ledger has {size} leaves, so there is no leaf {index}",
            remedy=f"give a number below {size}",
            code="leaf",
        )
    (leaf,) = session.workspace.ledger.read(index, index + 1)
    return leaf.commitment


@ledger.command("commitments")
def commitments(
    since: Annotated[int, typer.Option(help="The first leaf to list.", min=0)] = 0,
    as_json: AsJson = False,
) -> None:
    """The commitments of this ledger's leaves, for whoever watches it with --expect.

    They are what this copy of the ledger holds, and vouch for nothing by themselves: look at what
    was written since (assay decision list) before you hand them on.

    Example: assay ledger commitments --since 120 > expected
    """
    session = Session(as_json=as_json)
    held = session.workspace.ledger
    size = held.refresh().size
    found = [
        {"leaf": leaf.index, "commitment": leaf.commitment.hex()}
        for leaf in (held.read(since, size) if since < size else ())
    ]

    def human() -> None:
        for one in found:
            say(f"{one['commitment']}  # {one['leaf']}")
        note(f"{counted(len(found), 'commitment')} of a ledger of {size}")

    emit(as_json, found, human)


def _version(session: Session, what: str) -> tuple[str, str]:
    """The model and version that are named, or whose bytes lie at a path."""
    from assay.types import parse_model_ref

    path = Path(what)
    if not path.exists():
        if "@" in what and "/" not in what:
            return parse_model_ref(what)
        raise NotFound(
            f"{what[:200]} is neither a file nor MODEL@VERSION nor the number of a leaf",
            remedy="give the model's file, for example credit.onnx, or credit@3",
            code="ledger.proof",
        )
    digest = digest_of(path)
    view = session.view(f"which version {digest} is")
    for found in reversed(view.versions(session.project)):
        if digest in (found.artifact, found.served):
            return found.name, found.version
    raise NotFound(
        f"{path} ({digest}) is no model of the project {session.project}",
        remedy="register it first: assay model register, or name MODEL@VERSION",
        code="ledger.proof",
    )


def digest_of(path: Path) -> str:
    """The digest under which a file, or a folder, is registered."""
    from assay import canonical, files
    from assay.store import trees

    if not path.is_dir():
        with files.open_input(path, what="artifact") as stream:
            return canonical.digest_stream(stream)
    trees.check_paths(name for name, _ in trees.walk(path))
    entries: list[trees.TreeEntry] = []
    for name, opening in trees.walk(path):
        with opening() as stream:
            digest = canonical.digest_stream(stream)
            entries.append(trees.TreeEntry(name, stream.tell(), digest))
    return canonical.digest(trees.encode(entries))


@ledger.command("watch")
def watch(
    url: Annotated[str, typer.Argument(metavar="URL", help="Where its checkpoint lies.")],
    key: Annotated[str, typer.Option("--vkey", help="The log's verifier key.", metavar="VKEY")],
    state: Annotated[Path, typer.Option(help="Where to keep what was seen.", metavar="FILE")],
    once: Annotated[bool, typer.Option("--once", help="Look once, and end.")] = False,
    every: Annotated[int, typer.Option(help="Seconds between looks.", min=1)] = 60,
    max_age: Annotated[
        int, typer.Option(help="Seconds after which a checkpoint is stale; 0: never.", min=0)
    ] = 0,
    count_limit: Annotated[
        int, typer.Option(help="New leaves at one look that are too many; -1: none is.", min=-1)
    ] = -1,
    expect: Annotated[
        Path | None,
        typer.Option(help="Commitments, one a line: other new leaves are unexpected."),
    ] = None,
    bundle: Annotated[
        list[Path] | None, typer.Option(help="A bundle whose leaves must be there.")
    ] = None,
    witness: Annotated[
        list[str] | None, typer.Option(help="A witness's verifier key.", metavar="VKEY")
    ] = None,
    quorum: Annotated[
        int, typer.Option(help="How many witnesses must have cosigned; default all.", min=0)
    ] = 0,
    evidence: Annotated[
        Path | None,
        typer.Option(help="Where to write the proof of a fork; default STATE.misbehaviour."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Follow somebody else's log, and say when it breaks its promise only to grow.

    Exit status 0: fine. 4: misbehaviour, or what no honest log shows; a fork is written to a file
    that assay verify checks. 1: no answer, or a stale one. Without --once it goes on until 4.

    \b
    Example: assay ledger watch https://example.com/ledger --once \\
        --vkey "$VKEY" --state ledger.seen
    """
    import json

    from assay.clock import SystemClock
    from assay.evidence.cosignatures import VerifierKey, check_quorum
    from assay.supply.transparency.expectations import Expected
    from assay.supply.transparency.monitor import Monitor
    from assay.supply.transparency.remote import Remote

    log = VerifierKey.parse(key)
    witnesses = tuple(VerifierKey.parse(text) for text in witness or ())
    if witnesses or quorum:
        check_quorum(log, witnesses, quorum or len(witnesses))
    expected = Expected(
        known=_known(bundle or []),
        only=_only(expect),
        most_new=None if count_limit < 0 else count_limit,
        max_age=max_age or None,
        witnesses=witnesses,
        least=quorum or len(witnesses),
    )
    monitor = Monitor(Remote(url), log, state, SystemClock(), expected)
    written = evidence or state.with_name(state.name + ".misbehaviour")
    while True:
        found = monitor.look()
        _keep(found, written)
        if as_json and not once:
            typer.echo(json.dumps(_shown(found, written), sort_keys=True))
        else:
            emit(as_json, _shown(found, written), lambda: _say(found, written))  # noqa: B023
        if once or found.report.exit_status == 4:
            raise typer.Exit(found.report.exit_status)
        time.sleep(every)


def _keep(found: Found, path: Path) -> None:
    from assay import files

    if found.proof is not None:
        files.write(path, found.proof, mode=0o644)


def _shown(found: Found, path: Path) -> dict[str, Any]:
    shown = _plain(found.report)
    return {**shown, "proof": str(path)} if found.proof is not None else shown


def _say(found: Found, path: Path) -> None:
    report = found.report
    mark = {"fine": "[green]✓[/]", "stale": "[yellow]…[/]", "unreachable": "[yellow]…[/]"}
    say(f"{mark.get(report.verdict, '[red]✗[/]')} {report.verdict}: {escape(report.url)}")
    for line in report.what:
        say(f"  {escape(line)}")
    if report.seen is None and report.verdict == "fine":
        say("  seen for the first time: what it was before, nothing here can tell")
    if report.size is not None and report.time:
        say(f"  checkpoint of {report.size} leaves, signed {escape(report.time)}")
    for cosignature in report.cosignatures:
        say(f"  seen by {escape(cosignature['witness'])}, {escape(cosignature['time'])}")
    if found.proof is not None:
        say(f"  the proof: [bold]{escape(path)}[/]; anybody can check it: assay verify")


def _known(bundles: list[Path]) -> dict[int, bytes]:
    from assay import canonical, files
    from assay.govern.bundle import LIMIT
    from assay.supply.transparency.expectations import known_leaves

    found: dict[int, bytes] = {}
    for path in bundles:
        data = files.read(path, limit=LIMIT, what="bundle")
        found |= known_leaves(canonical.decode(data, what=f"bundle {path}"))
    return found


def _only(path: Path | None) -> set[bytes] | None:
    from assay import files
    from assay.supply.transparency.expectations import expected_leaves

    if path is None:
        return None
    return expected_leaves(files.read(path, limit=64 << 20, what="list of commitments"))
