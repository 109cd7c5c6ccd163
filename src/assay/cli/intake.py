"""``assay intake``: take in somebody else's model, look at it in quarantine, let it out or not."""

from __future__ import annotations

import functools
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from assay.cli import intake_data, words
from assay.cli.groups import Group
from assay.cli.model import label_value
from assay.cli.output import counted, emit, escape, note, say, table
from assay.cli.session import As, AsJson, InProject, Session, ask_missing, given_path, listed, short

_SHOWN = 12
"""Files and differences that are shown of each kind."""


class _Intakes(Group):
    """A group in which a word that is none of its commands names what to take in."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Options before that word are the intake's, too."""
        if args and args[0].startswith("-") and args[0] != "--help":
            args = ["--", *args]
        return super().parse_args(ctx, args)

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        if args and args[0] in self.commands:
            return super().resolve_command(ctx, args)
        return "", _taking(), args

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """The options of taking in first."""
        _taking().format_options(ctx, formatter)
        self.format_commands(ctx, formatter)


intake = typer.Typer(
    cls=_Intakes,
    help="""Take in somebody else's model: fetch, pin and scan it, and note where it came from.

    SOURCE is a path, hf:ORG/NAME@REVISION, oci://REGISTRY/REPOSITORY@sha256:…,
    s3://BUCKET/PREFIX, pypi:NAME==VERSION#PATH or https://HOST/FILE.  Nothing that was fetched can
    be used before `assay intake release`.  Exit status 4 unless the scan is clean.

    \b
    Example: assay intake hf:acme/credit@5f1d2c… --only "*.onnx"
    """,
    subcommand_metavar="SOURCE | COMMAND ...",
    no_args_is_help=True,
)
Reference = Annotated[
    str, typer.Argument(metavar="DIGEST", help="Of what was taken in, or the beginning of it.")
]


def add_to(app: typer.Typer) -> None:
    for command in (list_intakes, show, release, reject):
        intake.command(command.__name__.partition("_")[0])(command)
    intake.command("release-data")(intake_data.release_data)
    app.add_typer(intake, name="intake")


def take(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="What to take in.")],
    only: Annotated[
        list[str] | None,
        typer.Option("--only", metavar="PATTERN", help="Files to take; may be repeated."),
    ] = None,
    digest: Annotated[
        str, typer.Option(help="What must come: sha256:… of the file or of the tree.")
    ] = "",
    mirror: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Take it from this folder, without a network."),
    ] = None,
    licence: Annotated[str, typer.Option(help="Its licence, where it declares none.")] = "",
    signature: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Its signature, unless model.sig beside it.")
    ] = None,
    bundle: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Another workspace's export about it.")
    ] = None,
    trust_root: Annotated[
        str, typer.Option(metavar="DIGEST", help="The trust root of that workspace.")
    ] = "",
    actor: As = "",
    project: InProject = "",
    as_json: AsJson = False,
) -> None:
    """Fetch SOURCE into quarantine, pin it, scan it, note its origin."""
    from assay.actions.intake import Intake

    session = Session(actor, project, as_json)
    done: dict[str, Any] = session.perform(
        Intake(
            project=session.project,
            locator=source,
            only=tuple(only or ()),
            digest=digest,
            mirror=given_path(mirror) if mirror else "",
            licence=licence,
            signature=given_path(signature) if signature else "",
            bundle=given_path(bundle) if bundle else "",
            trust_root=trust_root,
        )
    )
    emit(as_json, done, lambda: _taken(done))
    if not done["scan"]["clean"]:
        raise typer.Exit(4)


@functools.cache
def _taking() -> Any:
    """The command that takes in, which has no name of its own."""
    alone = typer.Typer(add_completion=False, rich_markup_mode=None)
    alone.command("intake")(take)
    return typer.main.get_command(alone)


def list_intakes(actor: As = "", project: InProject = "", as_json: AsJson = False) -> None:
    """What was taken in, and what became of it.

    Example: assay intake list
    """
    from assay.actions.intake_records import intakes

    session = Session(actor, project, as_json)
    found = [
        {
            "digest": held.digest,
            "locator": held.place,
            "revision": held.predicate["source"]["revision"],
            "pinned": held.predicate["source"]["pinned"],
            "verdict": (held.scan or {}).get("verdict", "not scanned"),
            "licence": held.predicate["licence"],
            "signer": held.predicate["signer"],
            "status": held.status,
            "issued": held.issued,
        }
        for held in intakes(session.view("intakes"), session.project)
    ]

    def human() -> None:
        rows = [
            [
                short(f["digest"]),
                f["locator"],
                _pin(f),
                f["verdict"],
                f["licence"] or "?",
                f["status"],
            ]
            for f in found
        ]
        columns = ["digest", "source", "revision", "scan", "licence", "status"]
        table(columns, rows, empty="nothing yet: assay intake SOURCE")

    emit(as_json, found, human)


def show(
    reference: Reference, actor: As = "", project: InProject = "", as_json: AsJson = False
) -> None:
    """One intake: where it came from, its files, what is known of it, and what changed.

    Example: assay intake show 01579f85
    """
    from assay.actions.intake_records import find

    session = Session(actor, project, as_json)
    view = session.view(f"intake {reference}")
    held = find(view, session.project, reference)
    session.workspace.engine()  # Which facts count is what the active policy bundle says.
    facts = view.facts(session.project, held.digest, names=(held.named,))
    value = {**held.predicate, "scan": held.scan, "status": held.status, "issued": held.issued}
    value |= {"facts": facts.values, "events": held.events, "envelope": held.envelope}

    def human() -> None:
        _told(value)
        for path, size, digest in _files(value):
            say(f"    {escape(path)}  {size:,} bytes  {short(digest)}")
        rows = [[key, text] for key, text in words.flat(facts.values)]
        table(["fact", "value"], rows, empty="no facts yet")
        for event in held.events:
            p = event.predicate
            named = f"{p['model']}@{p['version']}" if "model" in p else p.get("dataset", "")
            told = p.get("reason") or named
            what = {"intake-release": "released as", "intake-rejection": "rejected"}[event.kind]
            say(f"  {what}: {escape(told)}  {event.issued}")
        say(f"  status: [bold]{held.status}[/]")

    emit(as_json, value, human)


def release(
    reference: Reference,
    name: Annotated[str, typer.Option(help="What the model is called here.")] = "",
    purpose: Annotated[str, typer.Option(help="What it will be used for.")] = "",
    file: Annotated[
        str, typer.Option(metavar="PATH", help="Which of its files is the model.")
    ] = "",
    train: Annotated[
        str,
        typer.Option(metavar="DATASET", help="Rows like those it was trained on, to convert it."),
    ] = "",
    test: Annotated[str, typer.Option(metavar="DATASET", help="Rows to judge it on.")] = "",
    label: Annotated[str, typer.Option(metavar="COLUMN", help="The column it predicts.")] = "",
    positive: Annotated[str, typer.Option(help="The label that counts as yes.")] = "",
    threshold: Annotated[float, typer.Option(help="Probability from which it is yes.")] = 0.5,
    sensitive: Annotated[
        str, typer.Option(metavar="COLUMNS", help="Columns to measure apart (a,b).")
    ] = "",
    leave_out: Annotated[
        str, typer.Option(metavar="COLUMNS", help="Columns that are no features (a,b).")
    ] = "",
    despite: Annotated[
        str, typer.Option(metavar="REASON", help="Why, although it was rejected.")
    ] = "",
    actor: As = "",
    project: InProject = "",
    as_json: AsJson = False,
) -> None:
    """Register what lies in quarantine as a model version, if policy says so.

    Exit status 1 when there is no safe form of it that can be served.

    Example: assay intake release 01579f85 --name magika --purpose file-types
    """
    from assay.actions.intake import ReleaseIntake

    session = Session(actor, project, as_json)
    questions = {"name": "What is it called here?", "purpose": "What will it be used for?"}
    answers = ask_missing({"name": name, "purpose": purpose}, questions, "intake.missing")
    done: dict[str, Any] = session.perform(
        ReleaseIntake(
            project=session.project,
            digest=reference,
            model=answers["name"],
            purpose=answers["purpose"],
            file=file,
            train=train,
            test=test,
            label=label,
            positive=label_value(positive),
            threshold=threshold,
            sensitive=listed(sensitive),
            leave_out=listed(leave_out),
            despite=despite,
        )
    )

    def human() -> None:
        version, details = done["registered"], done["registered"]["details"]
        ref = f"{done['model']}@{done['version']}"
        again = " (registered before)" if version.get("again") else ""
        say(f"released as [bold]{escape(ref)}[/]{again}  {short(done['artifact'])}")
        say(f"  from: {escape(done['origin']['source']['locator'])}")
        if not done["file"]:
            say("  kept as a folder: no single file of it is a model")
        if not done["served"]:
            say(f"  [yellow]cannot be served[/]: {escape(details.get('unservable', ''))}")
            say(f"    → {escape(details.get('route', ''))}")
        elif done["origin"]["converted"] is None:
            say("  conversion: none needed, it is served as it is")
        elif version["parity"] is not None:
            say(f"  parity: {words.parity(version['parity'])}")

    emit(as_json, done, human)
    if not done["served"]:
        raise typer.Exit(1)


def reject(
    reference: Reference,
    reason: Annotated[str, typer.Option(help="Why it must not be used.")] = "",
    actor: As = "",
    project: InProject = "",
    as_json: AsJson = False,
) -> None:
    """Say that what lies in quarantine must not be released; garbage collection deletes it.

    Example: assay intake reject 01579f85 --reason "who signs it is unknown"
    """
    from assay.actions.intake import RejectIntake

    session = Session(actor, project, as_json)
    answers = ask_missing({"reason": reason}, {"reason": "Why?"}, "intake.missing")
    done: dict[str, Any] = session.perform(
        RejectIntake(project=session.project, digest=reference, reason=answers["reason"])
    )
    emit(as_json, done, lambda: say(f"rejected {short(done['digest'])}"))


# -- in words -------------------------------------------------------------------------------------


def _taken(done: Mapping[str, Any]) -> None:
    _told(done)
    source, clean = done["source"], done["scan"]["clean"]
    if not clean:
        say("  [red]quarantined[/]: it is kept under seal for examination, and stays there")
        return
    if not source["pinned"]:
        from assay.supply.intake.records import exact

        say(
            "  [yellow]not pinned[/]: what was named may be something else tomorrow; the same again"
        )
        again = shlex.join(["assay", "intake", *exact(source, done["files"], done["digest"])])
        note(f"  → {escape(again)}")
        return
    if done["status"] == "quarantined":
        say(f"  in quarantine: assay intake release {done['digest'][7:19]} --name … --purpose …")
    else:
        say(f"  these very bytes were {done['status']} before")


def _told(value: Mapping[str, Any]) -> None:
    source, scanned = value["source"], value["scan"]
    say(f"[bold]{escape(source['locator'])}[/]  {escape(value['digest'])}")
    say(f"  revision: {escape(_pin(source))}")
    say(f"  files: {counted(value['files_count'], 'file')}, {value['bytes']:,} bytes")
    for model in value["models"][:_SHOWN]:
        say(f"    {escape(model['path'])}: {escape(model['format'])}")
    if scanned:
        say(f"  scan: {words.scan(scanned)}")
        if not scanned["clean"]:
            words.findings(scanned)
    say(f"  licence: {escape(value['licence'] or 'none is declared')}")
    signature = value["signature"] or {}
    who = signature.get("identity") or signature.get("why") or ""
    say(f"  signed: {escape(value['signer'])}{escape(f' ({who})') if who else ''}")
    if attributed := value.get("attributed"):
        say(
            f"  workspace {escape(attributed['workspace'])} says of it (its claims, not ours): "
            f"{counted(len(attributed['claims']), 'statement')}, as of {attributed['as_of']}"
            f"{', [red]revoked[/]' if attributed['revoked'] else ''}"
        )
    for text in value["notes"]:
        say(f"  note: {escape(text)}")
    if value["previous"]:
        _changed(value["previous"], value["differences"])


def _pin(source: Mapping[str, Any]) -> str:
    return f"{short(str(source['revision']))}{'' if source['pinned'] else ' (not pinned)'}"


def _files(value: Mapping[str, Any]) -> list[tuple[str, int, str]]:
    return [(f["path"], f["size"], f["digest"]) for f in value["files"][:_SHOWN]]


def _changed(previous: str, differences: Mapping[str, Any]) -> None:
    """What is new since the intake that was released."""
    say(f"  since {short(previous)}, which was released:")
    if not differences:
        say("    nothing changed")
    for name in ("revision", "licence", "signer", "verdict"):
        if name in differences:
            was, now = differences[name]["from"], differences[name]["to"]
            say(f"    {name}: {escape(was or 'none')} → {escape(now or 'none')}")
    changes: Mapping[str, Any] = differences.get("files", {})
    _listing("new file", changes.get("added", ()))
    _listing("gone file", changes.get("removed", ()))
    _listing("changed file", [change["path"] for change in changes.get("changed", ())])
    for name in ("globals", "findings"):
        _listing(f"new {name[:-1]}", differences.get(name, {}).get("added", ()))
        _listing(f"gone {name[:-1]}", differences.get(name, {}).get("removed", ()))


def _listing(what: str, names: Sequence[str]) -> None:
    for name in names[:_SHOWN]:
        say(f"    {what}: {escape(name)}")
    if len(names) > _SHOWN:
        say(f"    and {counted(len(names) - _SHOWN, 'more ' + what)}")
