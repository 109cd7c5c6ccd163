"""What a run is about: from the CI server, or from git where there is none."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

from assay import files
from assay.ci.model import Source, commit
from assay.ci.source import source
from assay.errors import AssayError

_SECONDS = 10
_MOST = 1 << 20
_REMOTE = re.compile(r"(?:[a-z+]+://[^/]+/|[^/:]+:)(?P<path>[^?#]+?)(?:\.git)?/?")
_DEFAULTS = ("main", "master")


def found(folder: Path, environment: Mapping[str, str], *, local: bool) -> Source:
    """What the CI server says of this run; with `local`, or where there is none, what git says."""
    told = Source() if local else source(environment, _event(environment))
    return told if told != Source() else of_git(folder)


def _event(environment: Mapping[str, str]) -> object:
    """The document at ``GITHUB_EVENT_PATH``; nothing where there is none that can be read."""
    path = environment.get("GITHUB_EVENT_PATH", "")
    if not path:
        return None
    try:
        return json.loads(files.read(Path(path), limit=8 << 20, what="event"))
    except (AssayError, OSError, ValueError, RecursionError):
        return None


def of_git(folder: Path) -> Source:
    """The commit that is checked out, and where its branch left the default branch; on that one
    the commit before.  What git does not say, or where there is no git, is left empty."""
    head = commit(_git(folder, "rev-parse", "HEAD"))
    if not head:
        return Source()
    base = ""
    for name in _default_branches(folder):
        base = commit(_git(folder, "merge-base", "HEAD", name))
        if base:
            break
    if base == head:
        base = commit(_git(folder, "rev-parse", "--verify", "--quiet", "HEAD^"))
    branch = _git(folder, "rev-parse", "--abbrev-ref", "HEAD")
    remote = _REMOTE.fullmatch(_git(folder, "remote", "get-url", "origin"))
    return Source(
        commit=head,
        base=base,
        branch="" if branch == "HEAD" else branch,
        repository=remote["path"].strip("/") if remote else "",
    )


def _default_branches(folder: Path) -> list[str]:
    named = _git(folder, "rev-parse", "--abbrev-ref", "origin/HEAD")
    known = [named] if named and named != "origin/HEAD" else []
    return [*known, *(f"origin/{name}" for name in _DEFAULTS), *_DEFAULTS]


def _git(folder: Path, *args: str) -> str:
    """One line that git prints; empty where it fails, takes long or is not there."""
    # No prompt, no pager, and nothing of the user's that could run something else.
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith("GIT_")},
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_OPTIONAL_LOCKS": "0",
        "LC_ALL": "C",
    }
    try:
        done = subprocess.run(  # noqa: S603 - a fixed program, and arguments of ours
            ["git", "--no-pager", *args],  # noqa: S607 - as the user's own shell finds it
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=_SECONDS,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    lines = done.stdout[:_MOST].decode("utf-8", "replace").splitlines()
    return lines[0].strip() if done.returncode == 0 and lines else ""
