"""What the privileged half of the GitHub workflow makes of a report that untrusted code wrote.

The workflow of a pull request runs proposed code without secrets and uploads a report.  A second
workflow, with the right to comment, reads it *as hostile bytes*: nothing of it is executed or
posted as it is.  The comment is rendered anew from ``gates.json``, and which pull request it
belongs to is taken from the event that GitHub sent, never from the report.
"""

from __future__ import annotations

import os
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from assay import files
from assay.ci import markdown
from assay.ci.escaping import prose, shown
from assay.ci.folder import (
    CHECKPOINT,
    ENVELOPE,
    PROOF,
    RENDERERS,
    REPORT,
    STATEMENT_NAME,
    STATEMENTS,
)
from assay.ci.model import Report, commit, decode
from assay.errors import Corrupt, Usage

MARKER = "<!-- assay:ci-report/v1 -->"
"""The first line of the comment, by which the next run finds it."""

MOST_ARCHIVE = 16 << 20
MOST_REPORT = 8 << 20
MOST_MEMBERS = 2_000
_MOST_EVENT = 4 << 20
_MOST_PULLS = 8 << 20

_URL = re.compile(
    r"https://[a-z0-9.-]{1,100}/[\w.-]{1,100}/[\w.-]{1,100}/actions/runs/[0-9]{1,20}", re.A
)
_CONCLUSIONS = {"success", "failure", "cancelled", "timed_out", "neutral", "action_required"}
_FILES = frozenset({*RENDERERS, PROOF, CHECKPOINT})
_BROKEN = (
    *(zipfile.BadZipFile, zlib.error, struct.error, NotImplementedError, RuntimeError),
    *(EOFError, ValueError, OverflowError, OSError, MemoryError),
)


@dataclass(frozen=True, slots=True)
class Target:
    """The pull request that a run belongs to, as GitHub says."""

    request: int
    commit: str
    run: str = ""
    """The address of the run."""
    conclusion: str = ""


class _Pull(msgspec.Struct, frozen=True):
    """One open pull request, as the workflow lists them: one JSON document a line."""

    number: int
    sha: str
    repository: int | None


def target(event: bytes, pulls: bytes) -> Target | None:
    """The open pull request whose newest commit the run was of; none when it has moved on.

    `event` is the ``workflow_run`` event, `pulls` the open pull requests as lines of
    ``{"number", "sha", "repository"}``.  A run of a fork's branch carries no number, so the
    request is found by its commit *and* the repository that it was pushed to.
    """
    run = _run(event)
    wanted = commit(run.get("head_sha"))
    repository = _dict(run.get("head_repository")).get("id")
    if run.get("event") != "pull_request" or not wanted or not isinstance(repository, int):
        raise Usage(
            "the event is no finished run of a pull request",
            remedy='run this in a workflow on `workflow_run`, with --event "$GITHUB_EVENT_PATH"',
            code="ci.event",
        )
    found = [p for p in _pulls(pulls) if p.sha == wanted and p.repository == repository]
    if len(found) != 1:
        return None
    address, conclusion = run.get("html_url"), run.get("conclusion")
    return Target(
        request=found[0].number,
        commit=wanted,
        run=address if isinstance(address, str) and _URL.fullmatch(address) else "",
        conclusion=conclusion if conclusion in _CONCLUSIONS else "unknown",
    )


def _run(event: bytes) -> dict[str, Any]:
    if len(event) > _MOST_EVENT:
        raise Usage("the event is larger than GitHub sends", code="ci.event")
    try:
        return _dict(_dict(msgspec.json.decode(event)).get("workflow_run"))
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise Usage(
            "the event is not JSON", remedy="pass $GITHUB_EVENT_PATH", code="ci.event"
        ) from error


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _pulls(data: bytes) -> list[_Pull]:
    if len(data) > _MOST_PULLS:
        raise Usage("the list of pull requests is too long", code="ci.pulls")
    try:
        found = [
            msgspec.json.decode(line, type=_Pull) for line in data.splitlines() if line.strip()
        ]
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise Usage(
            "the list of pull requests cannot be read",
            remedy='write one {"number": …, "sha": …, "repository": …} a line',
            code="ci.pulls",
        ) from error
    return [pull for pull in found if pull.number > 0 and commit(pull.sha)]


def read(place: Path) -> Report:
    """The report in a folder or an archive that untrusted code wrote; raises `Corrupt`.

    Only ``gates.json`` is read, within bounds.  A name that `assay ci` does not write, a link, a
    second file of one name: the whole is refused, since somebody meant to confuse a reader.
    """
    if place.is_dir() and not place.is_symlink():
        return decode(_of_folder(place), limit=MOST_REPORT)
    with files.open_input(place, what="report") as stream:
        try:
            data = _of_archive(stream)
        except _BROKEN as error:
            raise _refused("the archive is damaged") from error
    return decode(data, limit=MOST_REPORT)


def _of_folder(folder: Path) -> bytes:
    names: list[str] = []
    for prefix, place in (("", folder), (f"{STATEMENTS}/", folder / STATEMENTS)):
        if prefix and f"{STATEMENTS}/" not in names:
            continue
        with os.scandir(place) as entries:
            for entry in entries:
                is_folder = entry.is_dir(follow_symlinks=False)
                if not is_folder and not entry.is_file(follow_symlinks=False):
                    raise _refused("it holds a link or a device")
                names.append(f"{prefix}{entry.name}{'/' if is_folder else ''}")
                _check_count(len(names))
    _check_names(names)
    with files.open_input(folder / REPORT, what="report") as stream:
        return _bounded(stream)


def _of_archive(stream: BinaryIO) -> bytes:
    if stream.seek(0, os.SEEK_END) > MOST_ARCHIVE:
        raise _refused(f"the archive is larger than {MOST_ARCHIVE >> 20} MiB")
    with zipfile.ZipFile(stream) as archive:
        members = archive.infolist()
        _check_count(len(members))
        for member in members:
            kind = stat.S_IFMT(member.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR) or member.flag_bits & 1:
                raise _refused("it holds a link, a device or something encrypted")
            if member.orig_filename != member.filename:
                raise _refused("it holds a name with a zero byte")
        _check_names([member.filename for member in members])
        with archive.open(REPORT) as content:
            return _bounded(content)


def _check_count(count: int) -> None:
    if count > MOST_MEMBERS:
        raise _refused(f"it holds more than {MOST_MEMBERS:,} files")


def _check_names(names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        folder, _, rest = name.rpartition("/")
        statement = rest.removesuffix(ENVELOPE)
        known = name in _FILES or name == f"{STATEMENTS}/"
        if folder == STATEMENTS and rest.endswith(ENVELOPE):
            known = STATEMENT_NAME.fullmatch(statement) is not None
        if not known or name in seen:
            raise _refused(f"a file is called {shown(name, 80)!r}, or is there twice")
        seen.add(name)
    if REPORT not in seen:
        raise _refused(f"there is no {REPORT} in it")


def _bounded(stream: Any) -> bytes:
    data = stream.read(MOST_REPORT + 1)
    if len(data) > MOST_REPORT:
        raise _refused(f"{REPORT} is larger than {MOST_REPORT >> 20} MiB")
    return data


def _refused(why: str) -> Corrupt:
    return Corrupt(
        f"the report is refused: {why}",
        remedy="give the folder that `assay ci` wrote, or an archive of nothing else",
        code="ci.artifact",
    )


# -- the comment -----------------------------------------------------------------------------------

_LEVEL = (
    "Made by a run of the proposed code, which held no keys: what follows is that run's word, "
    "and nothing in it is verified."
)


def body(report: Report, about: Target) -> str:
    """The comment: the report rendered anew, under the commit that GitHub names.

    Raises `Corrupt` when the report says that it is about another commit.
    """
    if report.source.commit != about.commit:
        raise Corrupt(
            "the report is refused: it is about another commit than the run",
            remedy="run the workflow again",
            code="ci.commit",
        )
    text = markdown.render(report, limit=markdown.COMMENT_BYTES, note=_note(about), marker=MARKER)
    return text.decode()


def no_report(why: str, about: Target) -> str:
    """The comment when there is no report that can be shown."""
    return f"{MARKER}\n## ⚠️ assay: no report\n\n{prose(why)}\n\n> {_note(about)}\n"


def _note(about: Target) -> str:
    where = f"[run]({about.run})" if about.run else "run"
    ended = "" if about.conclusion == "success" else f" The {where} ended as *{about.conclusion}*."
    seen = f" See the {where}." if not ended else ""
    return f"Commit `{about.commit[:12]}`. {_LEVEL}{ended or seen}"
