"""``assay vulns``: known vulnerabilities of the libraries of a model, or of a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from assay.cli import output
from assay.cli.groups import Group
from assay.cli.output import counted, emit, escape, say, table
from assay.cli.session import As, AsJson, Force, InProject, Ref, Session, choice, given_path

if TYPE_CHECKING:
    from assay.supply.advisories.database import Database
    from assay.supply.advisories.matching import Package

vulns = typer.Typer(cls=Group, help="Known vulnerabilities of the libraries that a model needs.")

OPEN, UNMATCHED = 4, 3
"""Exit statuses: something was found that nothing answers; something could not be looked up."""
SHOWN = 40
_OLD_DAYS = 30

Subject = Annotated[
    str,
    typer.Argument(
        metavar="MODEL@VERSION|FILE",
        help="A model version, a CycloneDX or requirement file, or a folder of libraries.",
    ),
]
WithDatabase = Annotated[
    str,
    typer.Option(
        "--database",
        help="A database of `import --out`, instead of the workspace's.",
        metavar="FILE",
    ),
]


def add_to(app: typer.Typer) -> None:
    app.add_typer(vulns, name="vulns", no_args_is_help=True)


# -- the database ---------------------------------------------------------------------------------


@vulns.command("import")
def import_(
    path: Annotated[Path, typer.Argument(help="A folder, zip or JSON file of OSV records.")],
    out: Annotated[
        str, typer.Option(help="Write the database to this file, for use without a workspace.")
    ] = "",
    replace: Annotated[
        bool, typer.Option("--replace", help="Even if it knows less than the one in use.")
    ] = False,
    force: Force = False,
    actor: As = "",
    as_json: AsJson = False,
) -> None:
    """Take in advisories: a dump of OSV records, such as osv.dev's all.zip of an ecosystem.

    Example: assay vulns import all.zip
    """
    given = given_path(path)
    if out:
        made = _written(Path(given), Path(out), force, as_json)
    else:
        from assay.actions.vulnerabilities import ImportAdvisories
        from assay.evidence.state import WORKSPACE

        action = ImportAdvisories(project=WORKSPACE, path=given, replace=replace)
        made = Session(actor, "", as_json).perform(action)
    emit(as_json, made, lambda: _described(made))


def _written(source: Path, out: Path, force: bool, as_json: bool) -> dict[str, Any]:
    import msgspec

    from assay.clock import SystemClock, timestamp
    from assay.isolation.limits import GIB, Limits
    from assay.isolation.run import run
    from assay.supply.advisories.database import LIMIT, Database

    output.check_result(out, force=force)
    asked = {"source": str(source.resolve()), "now": timestamp(SystemClock().now())}
    limits = Limits(memory_bytes=8 * GIB, cpu_seconds=600, wall_seconds=1200, answer_bytes=LIMIT)
    with output.progress(as_json) as tell:
        tell(f"reading {source.name}")
        outcome = run(
            "assay.supply.advisories.database:import_confined",
            msgspec.json.encode(asked),
            inputs=[source.resolve()],
            limits=limits,
        )
    made = Database.decode(outcome.value)
    output.write_result(out, outcome.value, force=force)
    return {**made.described(), "file": str(out)}


@vulns.command("database")
def show_database(
    database: WithDatabase = "", actor: As = "", project: InProject = "", as_json: AsJson = False
) -> None:
    """Which advisories are in use: how many, of which ecosystems, and how old.

    Example: assay vulns database
    """
    from assay.clock import SystemClock

    held = _held(database, Session(actor, project, as_json))
    now = SystemClock().now()
    told = {**held.described(), "age_days": held.age_days(now), "bytes": held.size}
    emit(as_json, told, lambda: _described(told))


def _described(told: dict[str, Any]) -> None:
    say(f"{told['records']:,} advisories, {told['withdrawn']:,} of them withdrawn")
    say(f"  newest change {told['modified']}{_age(told.get('age_days'))}")
    say(f"  {escape(told['digest'])}")
    for name, count in told["ecosystems"].items():
        say(f"  {escape(name)}: {count:,}")


def _age(days: int | None) -> str:
    if days is None:
        return ""
    old = "  [yellow]old: import a newer dump[/]" if days > _OLD_DAYS else ""
    return f", {counted(days, 'day')} ago{old}"


def _held(path: str, session: Session) -> Database:
    from assay.supply.advisories.database import Database

    if path:
        return Database.open(Path(path))
    from assay.actions.vulnerabilities import ReadAdvisories

    return session.perform(ReadAdvisories(project=session.project))


# -- checks ---------------------------------------------------------------------------------------


@vulns.command("check")
def check(
    subject: Subject,
    database: WithDatabase = "",
    names: Annotated[
        str,
        typer.Option(help="Names of packages of your own, for requirement files.", metavar="FILE"),
    ] = "",
    fail_on: Annotated[
        str, typer.Option(help="Exit with 4 from this severity on.", metavar="SEVERITY")
    ] = "low",
    actor: As = "",
    project: InProject = "",
    as_json: AsJson = False,
) -> None:
    """Look packages up in the advisories.  What cannot be looked up is told, never called safe.

    Exit status 4 when something is found that no VEX statement answers, else 3 when something
    could not be looked up, else 0.  What nobody has rated counts as found.

    \b
    Example: assay vulns check credit@3

    Of a file, without a workspace: assay vulns check requirements.txt --database advisories
    """
    choice(fail_on, ("low", "medium", "high", "critical"), "severity")
    session = Session(actor, project, as_json)
    if is_file(subject):
        told = _check_file(Path(subject), database, names, session)
    else:
        from assay.actions.vulnerabilities import CheckVulnerabilities
        from assay.errors import Usage
        from assay.types import parse_model_ref

        if database or names:
            raise Usage(
                "a model version is looked up in the workspace's own database",
                remedy="leave --database and --names out, or name a file to check",
                code="options",
            )
        name, version = parse_model_ref(subject)
        told = session.perform(
            CheckVulnerabilities(project=session.project, model=name, version=version)
        )
    emit(as_json, told, lambda: _print(told))
    raise typer.Exit(_status(told, fail_on))


def is_file(subject: str) -> bool:
    path = Path(subject)
    return path.exists() or "@" not in subject or "/" in subject


def _check_file(path: Path, database: str, names: str, session: Session) -> dict[str, Any]:
    from assay.supply.advisories import report
    from assay.supply.advisories.matching import match

    given = Path(given_path(path))
    held = _held(database, session)
    found = _packages(given)
    told = report.predicate(match(held, found), held)
    told["names"] = _findings(given, found, names)
    return told


def _days_since(time: str) -> int:
    from assay.clock import parse_timestamp

    return max(0, (_now() - parse_timestamp(time)).days)


def _now() -> Any:
    from assay.clock import SystemClock

    return SystemClock().now()


def _packages(path: Path) -> list[Package]:
    import msgspec

    from assay.isolation.run import run
    from assay.supply.advisories.matching import Package

    real = path.resolve()
    found = run(
        "assay.supply.advisories.inventory:from_file_confined", str(real).encode(), inputs=[real]
    )
    return msgspec.json.decode(found.value, type=list[Package])


def _findings(path: Path, found: list[Package], names: str) -> list[dict[str, Any]]:
    """About a requirement file line by line, about anything else by the names in it."""
    import msgspec

    from assay.supply import packages
    from assay.supply.advisories import inventory

    own = packages.read_names(Path(names)) if names else packages.NOBODY
    text = inventory.read_text(path) if path.is_file() and not inventory.is_lock(path) else "{"
    if text.lstrip().startswith("{"):
        told = packages.check_names([p.name for p in found if p.ecosystem == "PyPI"], own)
    else:
        told = packages.check_requirements(text, own)
    return [msgspec.to_builtins(finding) for finding in told]


def _status(told: dict[str, Any], fail_on: str) -> int:
    order = ("low", "medium", "high", "critical")
    counting = ("unrated", *order[order.index(fail_on) :])
    if any(told[severity] for severity in counting):
        return OPEN
    return UNMATCHED if told["unmatched"] or not told["packages"] else 0


def _print(told: dict[str, Any]) -> None:
    from assay.supply.advisories.report import in_words

    rows = [
        [
            found["severity"],
            found["id"],
            f"{found['package']} {found['version']}",
            ", ".join(found["fixed"]) or "no fix",
            _said(found),
        ]
        for found in told["findings"][:SHOWN]
    ]
    if rows:
        table(["severity", "advisory", "package", "fixed in", ""], rows, empty="")
    if told["findings_count"] > SHOWN:
        say(f"  and {told['findings_count'] - SHOWN} more: --json lists them")
    for item in told["unmatched_packages"][:SHOWN]:
        name = " ".join(filter(None, (item["package"] or "(no name)", item["version"])))
        say(f"[yellow]?[/] {escape(name)}: {escape(item['why'])}")
    for found in told.get("names", [])[:SHOWN]:
        where = f"line {found['line']}: " if found["line"] else ""
        say(f"[yellow]![/] {where}{escape(found['package'])} {escape(found['what'])}")
        say(f"    → {escape(found['remedy'])}")
    say(escape(in_words(told)))
    database = told["database"]
    say(f"  advisories of {database['modified']}{_age(_days_since(database['modified']))}")
    if not told["scored"]:
        say("  severities as published: pip install 'assay\\[supply]' scores CVSS vectors")


def _said(found: dict[str, Any]) -> str:
    parts = ["exploited"] if found.get("exploited") else []
    if found["vex"]:
        parts.append(f"VEX: {found['vex']['status'].replace('_', ' ')}")
    return ", ".join([*parts, *filter(None, [found["summary"][:60]])])


# -- VEX ------------------------------------------------------------------------------------------


@vulns.command("vex")
def declare_vex(
    ref: Ref,
    vulnerability: Annotated[str, typer.Option(help="Its id, as the check shows it.")] = "",
    package: Annotated[
        str, typer.Option(help="pkg:pypi/NAME@VERSION; default: the whole model.", metavar="PURL")
    ] = "",
    status: Annotated[
        str, typer.Option(help="not_affected, affected, fixed or under_investigation.")
    ] = "not_affected",
    justification: Annotated[str, typer.Option(help="Why not affected; OpenVEX's words.")] = "",
    action: Annotated[str, typer.Option(help="When affected: what to do about it.")] = "",
    document: Annotated[
        str, typer.Option("--file", help="An OpenVEX or CycloneDX VEX document.", metavar="FILE")
    ] = "",
    reason: Annotated[str, typer.Option(help="Why you may say so.")] = "",
    actor: As = "",
    project: InProject = "",
    as_json: AsJson = False,
) -> None:
    """Say what a vulnerability means for a model version: an approver's word, on the record.

    \b
    Example: assay vulns vex credit@3 --vulnerability CVE-2024-5206 \\
        --package pkg:pypi/scikit-learn@1.4.2 \\
        --justification vulnerable_code_not_in_execute_path --reason "No text is vectorised"
    """
    from assay.actions.vulnerabilities import DeclareVex
    from assay.types import parse_model_ref

    name, version = parse_model_ref(ref)
    session = Session(actor, project, as_json)
    found = session.view(f"vulnerabilities of {ref}").version(session.project, name, version)
    if document:
        text = _document(Path(document))
    else:
        asked = (vulnerability, package, status, justification, action)
        text = _written_vex(asked, f"{name}@{found.version}", found.artifact, session)
    done = session.perform(
        DeclareVex(
            project=session.project,
            model=name,
            version=found.version,
            document=text,
            reason=reason,
        )
    )

    def human() -> None:
        for told in done["statements"]:
            say(f"{escape(told['vulnerability'])}: {told['status'].replace('_', ' ')}")
        say(f"  it counts from the next check on: assay vulns check {escape(ref)}")

    emit(as_json, done, human)


def _document(path: Path) -> str:
    import msgspec

    from assay.supply.advisories import cyclonedx_vex, inventory, vex

    text = inventory.read_text(path)
    told = inventory.read_bom(text)
    if told is not None and told.get("bomFormat") == "CycloneDX":
        return msgspec.json.encode(cyclonedx_vex.convert(told, at=_now())).decode()
    vex.decode(text)
    return text


def _written_vex(
    asked: tuple[str, str, str, str, str], ref: str, artifact: str, session: Session
) -> str:
    import msgspec

    from assay import ids
    from assay.errors import Usage
    from assay.supply.advisories import vex

    vulnerability, package, status, justification, action = asked
    if not vulnerability:
        raise Usage("which vulnerability?", remedy="add --vulnerability ID", code="vex.missing")
    choice(status, vex.STATUSES, "status")
    if justification or status == "not_affected":
        choice(justification, vex.JUSTIFICATIONS, "justification")
    product = (
        vex.Product(at_id=package)
        if package
        else vex.Product(
            at_id=f"https://assay.dev/model/{ref}",
            hashes={"sha-256": artifact.removeprefix("sha256:")},
        )
    )
    statement = msgspec.convert(
        {
            "vulnerability": {"name": vulnerability},
            "status": status,
            "products": [msgspec.to_builtins(product)],
            **({"justification": justification} if justification else {}),
            **({"action_statement": action} if action else {}),
        },
        vex.Statement,
    )
    # The ledger names nobody: who said it is known by the decision.
    made = vex.write(
        [statement],
        author=f"assay workspace {session.workspace.view.state.workspace}",
        at=_now(),
        identity=f"https://assay.dev/vex/{ids.new_id()}",
    )
    return msgspec.json.encode(made).decode()
