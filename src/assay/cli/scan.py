"""``assay scan``: would loading these files run code of their choosing?  Needs no workspace."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from assay.cli.output import check_result, emit, note, progress, show_error, write_result
from assay.cli.session import AsJson, Force
from assay.errors import AssayError, Usage

if TYPE_CHECKING:
    from assay.cli.scan_reports import Outcome
    from assay.supply.suppressions import Judged

EXITS = {"clean": 0, "suspicious": 1, "unscannable": 3, "malicious": 4}
"""Verdict → exit status.  2 is wrong usage: then nothing was said of the files."""
_ENDINGS = {".sarif": "sarif", ".json": "json", ".xml": "junit", ".txt": "text"}
_MOST_LIST = 64 << 20
_MOST_PIPED = 16 << 30
_PIECE = 1 << 20
_EVERY = 1.0
_EVERY_LOGGED = 15.0


class Format(StrEnum):
    text = "text"
    json = "json"
    sarif = "sarif"
    junit = "junit"
    github = "github"


def add_to(app: typer.Typer) -> None:
    app.command("scan")(scan)


def scan(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(metavar="PATH...", help="Files and folders; - reads one from a pipe."),
    ] = None,
    files_from: Annotated[
        Path | None,
        typer.Option(help="A list of paths, a line each; - for standard input.", metavar="FILE"),
    ] = None,
    null: Annotated[
        bool, typer.Option("--null", "-0", help="The paths of that list end with a zero byte.")
    ] = False,
    exclude: Annotated[
        list[str] | None,
        typer.Option(help="Leave out what is so called, for example .git.", metavar="PATTERN"),
    ] = None,
    form: Annotated[Format, typer.Option("--format", help="What is printed.")] = Format.text,
    output: Annotated[
        list[Path] | None,
        typer.Option(
            help="Write a report there; its format is by its ending (.sarif, .json, .xml, .txt), "
            "else --format.  May be repeated.",
            metavar="FILE",
        ),
    ] = None,
    suppressions: Annotated[
        Path | None,
        typer.Option(help="Findings that somebody answers for, signed.", metavar="FILE"),
    ] = None,
    key: Annotated[
        list[Path] | None,
        typer.Option(help="A public key that may sign suppressions (PEM, or .pub).", metavar="PUB"),
    ] = None,
    baseline: Annotated[
        Path | None,
        typer.Option(help="Write suppressions for what is suspicious now.", metavar="FILE"),
    ] = None,
    owner: Annotated[str, typer.Option(help="Who answers for the baseline.")] = "",
    reason: Annotated[str, typer.Option(help="Why, for the baseline.")] = "",
    days: Annotated[int, typer.Option(help="How long the baseline lasts.", min=1, max=180)] = 90,
    jobs: Annotated[
        int, typer.Option("--jobs", "-j", help="Processes; 0: one a processor.", min=0, max=256)
    ] = 0,
    all_files: Annotated[bool, typer.Option("--all", help="List clean files, too.")] = False,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Would loading these models run code?  A verdict for each file; nothing is loaded or run.

    Exit status, of the worst file: 0 clean, 1 suspicious, 3 unscannable, 4 malicious; 2 wrong
    usage. What could not be read to its last byte is never clean. Works without a workspace,
    opens no network connection.

    Example: assay scan models/ weights.safetensors --output assay.sarif
    """
    if as_json:
        form = Format.json
    try:
        plan = _plan(form, output or [], force)
        if baseline is not None:
            _check_baseline(baseline, owner, reason, force)
        with _given(paths or [], files_from, null) as given:
            outcome = _run(given, exclude or [], suppressions, key or [], jobs, form)
        _report(outcome, form, plan, all_files, force)
        if baseline is not None:
            _write_baseline(outcome.judged, baseline, owner, reason, days, force)
    except AssayError as error:
        error.remedy = error.remedy or "check the paths; assay scan --help"
        show_error(error, form is Format.json)
        raise typer.Exit(2) from error
    raise typer.Exit(EXITS[outcome.verdict])


# -- what is read ----------------------------------------------------------------------------------


@contextmanager
def _given(
    paths: Sequence[Path], files_from: Path | None, null: bool
) -> Generator[list[tuple[Path, str]]]:
    """The paths, each with the name it is shown under; standard input becomes a file."""
    given = [(path, "") for path in paths if str(path) != "-"]
    piped = [path for path in paths if str(path) == "-"]
    if files_from is not None:
        if piped and str(files_from) == "-":
            raise _misuse("standard input cannot be both a model and a list of paths")
        given += [(path, "") for path in _listed(files_from, null)]
    elif not paths:
        raise _misuse("nothing was named to be scanned")
    if not piped:
        yield given
        return
    with tempfile.TemporaryDirectory(prefix="assay-scan-") as folder:
        path = Path(folder) / "piped"
        _receive(path)
        yield [*given, (path, "-")]


def _misuse(why: str) -> Usage:
    return Usage(why, remedy="assay scan PATH..., or --files-from FILE", code="scan.paths")


def _listed(source: Path, null: bool) -> list[Path]:
    import os

    if str(source) == "-":
        data = sys.stdin.buffer.read(_MOST_LIST + 1)
    else:
        from assay import files

        with files.open_input(source, what="list of paths") as stream:
            data = stream.read(_MOST_LIST + 1)
    if len(data) > _MOST_LIST:
        raise Usage("the list of paths is too long", remedy="scan it in parts", code="scan.paths")
    lines = data.split(b"\0") if null else data.splitlines()
    return [Path(os.fsdecode(line)) for line in lines if line]


def _receive(path: Path) -> None:
    """Standard input into a file, as a pipe cannot be read twice."""
    count = 0
    with path.open("xb") as stream:
        while piece := sys.stdin.buffer.read(_PIECE):
            count += len(piece)
            if count > _MOST_PIPED:
                raise Usage(
                    f"more than {_MOST_PIPED >> 30} GiB came through the pipe",
                    remedy="write it to a file and name that",
                    code="scan.piped",
                )
            stream.write(piece)


# -- the scan --------------------------------------------------------------------------------------


def _run(
    given: Sequence[tuple[Path, str]],
    exclude: Sequence[str],
    suppressions: Path | None,
    keys: Sequence[Path],
    jobs: int,
    form: Format,
) -> Outcome:
    from dataclasses import replace
    from datetime import datetime, timezone

    from assay.cli.scan_reports import Outcome
    from assay.supply import batch, targets
    from assay.supply.suppressions import judge, load

    trusted = None
    if suppressions is not None:
        if not keys:
            raise Usage(
                "suppressions count only when they are signed by a key that you name",
                remedy="--key PUB with the public key of whoever may sign them",
                code="suppressions.key",
            )
        from assay.cli.suppressions import public_key

        today = datetime.now(timezone.utc).date()
        trusted = load(suppressions, [public_key(key) for key in keys], today=today)
    named = {path: name for path, name in given if name}
    found = targets.find([path for path, _ in given], exclude)
    listed = [
        replace(target, shown=named[Path(target.shown)])
        if named and Path(target.shown) in named
        else target
        for target in found.files
    ]
    with progress(form is not Format.text) as tell:
        read = batch.run(listed, jobs=jobs, progress=_seldom(tell, len(listed)))
    return Outcome(judge(read, trusted), trusted, read.level, found.excluded)


def _seldom(tell: Callable[[str], None], total: int) -> Callable[[int, str], None]:
    """Progress a few times, not for each of thousands of files."""
    every = _EVERY if sys.stderr.isatty() else _EVERY_LOGGED
    last = time.monotonic()

    def told(done: int, name: str) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= every:
            last = now
            tell(f"{done:,} of {total:,} files, now {name[-100:]}")

    return told


# -- what is told ----------------------------------------------------------------------------------


def _plan(form: Format, output: Sequence[Path], force: bool) -> list[tuple[Path, Format]]:
    """Each file with its format, before any work is done for it."""
    planned: list[tuple[Path, Format]] = []
    for path in output:
        check_result(path, force=force)
        planned.append((path, Format(_ENDINGS.get(path.suffix.lower(), form.value))))
    return planned


def _report(
    outcome: Outcome,
    form: Format,
    plan: Sequence[tuple[Path, Format]],
    all_files: bool,
    force: bool,
) -> None:
    from assay.cli import scan_reports
    from assay.cli.scan_text import tell

    for path, wanted in plan:
        write_result(path, _rendered(outcome, wanted), force=force)
    if form is not Format.text and form is not Format.github and form in [w for _, w in plan]:
        form = Format.text  # It is in a file, so this is for whoever looks on.
    match form:
        case Format.text:
            tell(outcome, everything=all_files)
        case Format.json:
            emit(True, scan_reports.as_json(outcome), lambda: None)
        case _:
            sys.stdout.write(_rendered(outcome, form).decode())


def _rendered(outcome: Outcome, form: Format) -> bytes:
    from assay.cli import scan_reports

    match form:
        case Format.json:
            import json

            document = scan_reports.as_json(outcome)
            return json.dumps(document, indent=2, sort_keys=True).encode() + b"\n"
        case Format.sarif:
            return scan_reports.sarif(outcome)
        case Format.junit:
            return scan_reports.junit(outcome)
        case Format.github:
            return scan_reports.github(outcome).encode()
        case Format.text:
            return _as_text(outcome)


def _as_text(outcome: Outcome) -> bytes:
    from assay.cli import output
    from assay.cli.scan_text import tell

    with output.out.capture() as captured:
        tell(outcome, everything=True)
    return captured.get().encode()


# -- a baseline ------------------------------------------------------------------------------------


def _check_baseline(path: Path, owner: str, reason: str, force: bool) -> None:
    if not owner or not reason:
        raise Usage(
            "a baseline needs somebody who answers for it, and why",
            remedy='--owner risk@example.com --reason "in use since 2025, to be replaced"',
            code="suppressions.owner",
        )
    check_result(path, force=force)


def _write_baseline(
    judged: Sequence[Judged], path: Path, owner: str, reason: str, days: int, force: bool
) -> None:
    from datetime import datetime, timezone

    from assay.cli.output import escape
    from assay.supply import suppressions

    today = datetime.now(timezone.utc).date()
    entries, worse = suppressions.baseline(
        judged, reason=reason, owner=owner, today=today, days=days
    )
    write_result(path, suppressions.render(entries), force=force)
    note(f"wrote {len(entries):,} suppressions to {escape(path)}, which do not count until signed")
    if worse:
        note(f"{worse:,} findings are unscannable or malicious: a baseline does not take them in")
    note(f"  → review it, then: assay suppressions sign {escape(path)}")
