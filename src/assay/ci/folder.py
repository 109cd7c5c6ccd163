"""The folder that a run leaves behind: every form of the report, the statements and the proof."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from assay import files
from assay.ci import junit, markdown, metrics, page, sarif
from assay.ci.model import Report, encode
from assay.errors import Conflict, Unavailable, Usage

REPORT = "gates.json"
RENDERERS = {
    REPORT: encode,
    "report.md": markdown.render,
    "report.html": page.render,
    "junit.xml": junit.render,
    "assay.sarif": sarif.render,
    "metrics.txt": metrics.render,
}
STATEMENTS = "statements"
RUN = "pipeline-run"
"""The kind and the name of the statement with which a run ends."""
ENVELOPE = ".dsse.json"
PROOF, CHECKPOINT = "log.tlog-proof", "checkpoint"
_PROOF_HEADER = b"c2sp.org/tlog-proof@v1\n"
STATEMENT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,119}")


def write(
    report: Report,
    folder: Path,
    statements: Mapping[str, bytes] | None = None,
    proof: bytes = b"",
) -> list[str]:
    """Write the report into the new folder `folder`: whole, or not at all.

    `statements` are envelopes by name, written as ``statements/NAME.dsse.json``; `proof` is a
    tlog-proof or a checkpoint.  Returns the names written, sorted.
    Raises `Conflict` when the folder is there already.
    """
    contents = {name: render(report) for name, render in RENDERERS.items()}
    for name, envelope in (statements or {}).items():
        if STATEMENT_NAME.fullmatch(name) is None:
            raise Usage(
                f"{name[:80]!r} cannot name a file with a statement",
                remedy="use letters, digits, '.', '_' and '-', beginning with a letter or digit",
                code="ci.statement",
            )
        contents[f"{STATEMENTS}/{name}{ENVELOPE}"] = envelope
    if proof:
        contents[PROOF if proof.startswith(_PROOF_HEADER) else CHECKPOINT] = proof
    _appear(folder, contents)
    return sorted(contents)


def check_new(folder: Path) -> None:
    """Raise what `write` would for the place, before any work is done for it."""
    if folder.exists() or folder.is_symlink():
        raise Conflict(
            f"{folder} exists, and a report is only written into a new folder",
            remedy="name another one with --out, or remove it",
            code="ci.folder",
        )
    if not folder.parent.is_dir():
        raise Usage(
            f"{folder} cannot be made: there is no folder {folder.parent}",
            remedy="name a place in a folder that exists",
            code="ci.folder",
        )


def _appear(folder: Path, contents: Mapping[str, bytes]) -> None:
    check_new(folder)
    try:
        work = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}.", suffix=".tmp"))
    except OSError as error:
        raise Unavailable(f"cannot make {folder}: {error.strerror}", code="write") from error
    try:
        work.chmod(0o755)
        for name, data in contents.items():
            path = work / name
            files.make_folder(path.parent, mode=0o755)
            files.write(path, data, mode=0o644)
        files.point("ci.folder")
        work.rename(folder)
        files.sync_folder(folder.parent)
    except OSError as error:
        raise Unavailable(
            f"cannot write {folder}: {error.strerror}", remedy="check disk and rights", code="write"
        ) from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
