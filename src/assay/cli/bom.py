"""``assay bom``: what went into a model, in the formats that others read."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from assay.cli.groups import Group
from assay.cli.output import check_result, counted, emit, escape, say, table, write_result
from assay.cli.session import As, AsJson, Force, InProject, Ref, Session, choice

bom = typer.Typer(
    cls=Group, help="Bills of materials: what is in a model, and what nobody knows of it."
)

FORMATS = ("cyclonedx", "spdx", "elements")
_SIGNS = {"present": "[green]✓[/]", "declared": "[yellow]○[/]", "known unknown": "[red]?[/]"}


def add_to(app: typer.Typer) -> None:
    app.add_typer(bom, name="bom", no_args_is_help=True)


@bom.command("write")
def write(
    ref: Ref,
    declare: Annotated[
        list[str] | None,
        typer.Option(
            help="What you declare, where nothing on record says: data_flow, hardware, … "
            "May be given several times.",
            metavar="NAME=TEXT",
        ),
    ] = None,
    libraries: Annotated[
        Path | None,
        typer.Option(
            help="A lock with exact versions and hashes: the libraries that you declare, of a "
            "version that no run was seen to make.",
            metavar="FILE",
        ),
    ] = None,
    actor: As = "",
    project: InProject = "",
    as_json: AsJson = False,
) -> None:
    """Write the bill of materials of a version from what is on record, as signed statements.

    \b
    Example: assay bom write credit@3 --declare hardware="CPU only"

    Of a model registered by hand: assay bom write credit@3 --libraries requirements.txt
    """
    from assay.actions.boms import WriteBom
    from assay.errors import Usage
    from assay.supply.advisories import inventory
    from assay.types import parse_model_ref

    name, version = parse_model_ref(ref)
    declared = _declared(declare or [])
    lock = inventory.read_text(libraries, "list of libraries") if libraries is not None else ""
    if libraries is not None and not lock.strip():
        raise Usage(f"{libraries} is empty", remedy="give a lock with hashes", code="bom.libraries")
    session = Session(actor, project, as_json)
    found: dict[str, Any] = session.perform(
        WriteBom(
            project=session.project,
            model=name,
            version=version,
            declare=declared,
            libraries=lock,
        )
    )

    def human() -> None:
        told = f"{escape(found['model'])}@{escape(found['version'])}"
        say(f"bill of materials of [bold]{told}[/]: {counted(found['components'], 'component')}")
        if found["libraries"] == "unknown":
            say("  [yellow]which libraries it was made with is not known[/]: nobody saw it made")
            say(f"  → assay bom write {told} --libraries requirements.txt declares them")
        elif found["unpinned"]:
            say(f"  {counted(found['unpinned'], 'library')} without a version or a digest")
        _print_counts(found)
        say(f"  look: assay bom show {told} --format elements")

    emit(as_json, found, human)


@bom.command("show")
def show(
    ref: Ref,
    format_: Annotated[
        str, typer.Option("--format", help="One of cyclonedx, spdx, elements.", metavar="FORMAT")
    ] = "cyclonedx",
    output: Annotated[
        Path | None, typer.Option(help="File to write it to.", metavar="FILE")
    ] = None,
    force: Force = False,
    actor: As = "",
    project: InProject = "",
    as_json: AsJson = False,
) -> None:
    """The newest bill of materials of a version: a document, or its minimum elements.

    Example: assay bom show credit@3 --format spdx --output credit-3.spdx.json
    """
    from assay import canonical
    from assay.actions.boms import Bill, ReadBom
    from assay.types import parse_model_ref

    name, version = parse_model_ref(ref)
    choice(format_, FORMATS, "format")
    if output is not None:
        check_result(output, force=force)
    session = Session(actor, project, as_json)
    found: Bill = session.perform(ReadBom(project=session.project, model=name, version=version))
    if format_ == "elements":
        value: dict[str, Any] = {
            key: found.summary[key] for key in ("present", "declared", "known_unknown", "elements")
        }
    else:
        value = found.cyclonedx if format_ == "cyclonedx" else found.spdx
    if output is not None:
        data = canonical.encode(value)
        write_result(output, data, force=force)
        told = {"file": str(output), "format": format_, "bytes": len(data)}
        emit(as_json, told, lambda: say(f"wrote [bold]{escape(output)}[/] ({len(data):,} bytes)"))
    elif format_ == "elements":
        emit(as_json, value, lambda: _print_elements(value))
    else:
        # The document itself, in the bytes that the digest in the summary is of.
        sys.stdout.write(canonical.encode(value).decode() + "\n")


@bom.command("diff")
def diff(
    old: Annotated[str, typer.Argument(metavar="A", help="NAME@VERSION, or a CycloneDX file.")],
    new: Annotated[str, typer.Argument(metavar="B", help="NAME@VERSION, or a CycloneDX file.")],
    actor: As = "",
    project: InProject = "",
    as_json: AsJson = False,
) -> None:
    """What is different between two bills: components, licences, datasets, measured figures.

    Exit status 0 when they say the same, 1 when they differ.

    Example: assay bom diff credit@2 credit@3
    """
    from assay.supply.bom.differences import diff as compare

    session = Session(actor, project, as_json)
    found = compare(_document(session, old), _document(session, new))
    emit(as_json, found, lambda: _print_diff(found))
    if not found["same"]:
        raise typer.Exit(1)


@bom.command("where")
def where(
    what: Annotated[
        str,
        typer.Argument(
            metavar="PACKAGE|DIGEST|KEY",
            help="numpy, numpy@2.4.0, pkg:pypi/numpy, sha256:… or a key.",
        ),
    ],
    actor: As = "",
    project: InProject = "",
    as_json: AsJson = False,
) -> None:
    """The versions, and their endpoints, whose bill names a package, a digest or a key.

    Versions without a bill are listed too: nothing is known of them. Exit status 0 when something
    is found, else 1.

    Example: assay bom where numpy@2.4.0
    """
    from assay.actions.boms import FindInBoms

    session = Session(actor, project, as_json)
    found: dict[str, Any] = session.perform(FindInBoms(project=session.project, what=what))
    emit(as_json, found, lambda: _print_where(found, what))
    if not found["found"]:
        raise typer.Exit(1)


@bom.command("check")
def check(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="A CycloneDX or SPDX file.")],
    as_json: AsJson = False,
) -> None:
    """Hold any CycloneDX 1.7 or SPDX 3.0.1 file in JSON to its published schema, offline.

    Needs no workspace. Exit status 4 names the place and the rule that is broken.

    Example: assay bom check model.cdx.json
    """
    found: dict[str, Any] = {"file": str(path), **_checked(path)}
    emit(
        as_json,
        found,
        lambda: say(
            f"[green]✓[/] {escape(path)} is {escape(found['kind'])}: "
            f"{counted(found['components'], 'component')}"
        ),
    )


def _declared(given: list[str]) -> dict[str, str]:
    from assay.errors import Usage

    found: dict[str, str] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or name in found:
            raise Usage(
                f"{text[:60]!r} is not NAME=TEXT, or its name was given before",
                remedy='--declare hardware="CPU only"',
                code="bom.declare",
            )
        found[name.strip()] = value.strip()
    return found


def _checked(path: Path) -> dict[str, Any]:
    """What a file is, found out in a confined process: anybody may have made it."""
    import msgspec

    from assay.cli.session import given_path
    from assay.isolation.limits import GIB, Limits
    from assay.isolation.run import run

    real = Path(given_path(path)).resolve()
    limits = Limits(memory_bytes=4 * GIB, cpu_seconds=120, wall_seconds=240, answer_bytes=1 << 16)
    told = run(
        "assay.supply.bom.reading:check_confined",
        str(real).encode(),
        inputs=[real],
        limits=limits,
    )
    return msgspec.json.decode(told.value, type=dict[str, Any])


def _document(session: Session, text: str) -> dict[str, Any]:
    """The CycloneDX document of a version, or in a file that holds to the schema."""
    from assay.actions.boms import Bill, ReadBom
    from assay.errors import Usage
    from assay.supply.bom.reading import read
    from assay.types import parse_model_ref

    path = Path(text)
    if "@" in text and not path.exists():
        name, version = parse_model_ref(text)
        bill: Bill = session.perform(ReadBom(project=session.project, model=name, version=version))
        return bill.cyclonedx
    if _checked(path)["kind"] != "CycloneDX 1.7":
        raise Usage(
            f"{text} is an SPDX document, and what is compared here is CycloneDX",
            remedy="name the CycloneDX document of the same version",
            code="bom.diff",
        )
    return read(path)[1]


# -- for a person --------------------------------------------------------------------------------


def _print_counts(found: dict[str, Any]) -> None:
    say(
        f"  of the 50 minimum elements of an SBOM for AI: {found['present']} present, "
        f"{found['declared']} declared, {found['known_unknown']} known to be unknown"
    )


def _print_elements(found: dict[str, Any]) -> None:
    cluster = ""
    for element in found["elements"]:
        if element["cluster"] != cluster:
            cluster = element["cluster"]
            say(f"[bold]{escape(cluster)}[/]")
        sign = _SIGNS[element["status"]]
        say(f"  {sign} {element['number']:>2} {escape(element['name'])}: {element['status']}")
        if element["why"]:
            say(f"       {escape(element['why'])}")
    _print_counts(found)


def _print_diff(found: dict[str, Any]) -> None:
    if found["same"]:
        say("they say the same")
        return
    for group in ("components", "datasets"):
        for sign, which in (("+", "added"), ("-", "removed")):
            for item in found[group][which]:
                version = f" {item['version']}" if "version" in item else ""
                say(f"{sign} {escape(item['type'])} {escape(item['name'])}{escape(version)}")
        for change in found[group]["changed"]:
            _print_change(change)
    for change in [*found["model"], *found["metrics"]]:
        _print_change(change)


def _print_change(change: dict[str, Any]) -> None:
    name = change["name"] or "the model"
    before, after = (_short(change[side]) for side in ("old", "new"))
    say(f"~ {escape(name)}, {escape(change['field'])}: {escape(before)} → {escape(after)}")


def _short(value: Any) -> str:
    text = "nothing" if value is None else str(value)
    return text if len(text) <= 120 else f"{text[:119]}…"


def _print_where(found: dict[str, Any], what: str) -> None:
    rows = [
        [
            f"{item['model']}@{item['version']}",
            "revoked" if item["revoked"] else item["stage"],
            ", ".join(item["endpoints"]),
            "; ".join(
                " ".join(filter(None, (place["what"], place["name"], place["version"])))
                for place in item["places"]
            ),
        ]
        for item in found["found"]
    ]
    table(["model", "stage", "endpoints", "as"], rows, empty=f"no bill names {escape(what)}")
    if found["open_ended"]:
        listed = escape(", ".join(found["open_ended"]))
        say(f"[yellow]![/] the list may go on, so it may be in there: {listed}")
    if found["without"]:
        listed = escape(", ".join(found["without"]))
        say(f"[yellow]![/] no bill of materials, so nothing is known: {listed}")
