"""How the story is told: chapters, commands as typed, and a folder of its own."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from assay.cli.app import run

out = Console(highlight=False, soft_wrap=True)
_MARK = "made by assay.demo: removed when it runs again\n"
_SHOWN = 14
"""Lines of what a command prints, where it prints many."""


class Failed(Exception):
    """A step did not end as the story says: the demo stops and says so."""


def chapter(title: str) -> None:
    out.rule(f"[bold]{escape(title)}", align="left")


def note(text: str) -> None:
    out.print(f"[italic]{escape(text)}[/]")


def assay(*arguments: str, expect: int = 0, quiet: bool = False, brief: bool = False) -> str:
    """Run a command as the command line runs it, show it, and hold it to its exit status.

    What it prints is shown as it comes; `quiet` shows nothing of it and returns it, `brief` shows
    the end.
    """
    shown = " ".join(f"'{a}'" if " " in a else a for a in arguments)
    out.print(f"\n[bold]$ assay {escape(shown)}[/]")
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed) if quiet or brief else contextlib.nullcontext():
        status = run(list(arguments))
    if brief:
        lines = printed.getvalue().rstrip().splitlines()
        left = len(lines) - _SHOWN
        if left > 0:
            out.print(f"  … {left} lines before these")
        out.print(escape("\n".join(lines[-_SHOWN:])))
    if status != expect:
        raise Failed(f"`assay {shown}` ended with {status}, and {expect} was expected")
    if expect:
        out.print(f"  exit status {status}, as it should be")
    return printed.getvalue()


def asked(*arguments: str) -> Any:
    """What a command says to machines."""
    return json.loads(assay(*arguments, "--json", quiet=True))


def elsewhere(*command: str, files: tuple[Path, ...]) -> None:
    """Run a command as somebody who has nothing but these files: no workspace, no keys."""
    out.print(f"\n[bold]$ assay {' '.join(command)}[/]")
    clean = {k: v for k, v in os.environ.items() if not k.startswith("ASSAY") and "XDG" not in k}
    with tempfile.TemporaryDirectory() as folder:
        for file in files:
            shutil.copy(file, folder)
        done = subprocess.run(  # noqa: S603 - our own command, fixed arguments
            [*itself(), *command],
            cwd=folder,
            env={**clean, "HOME": folder},
            capture_output=True,
            text=True,
            check=False,
        )
    out.print(escape(done.stdout.rstrip()))
    if done.returncode != 0:
        raise Failed(f"the bundle does not verify: {done.stderr}")


def itself() -> list[str]:
    """This assay, as a command."""
    return [sys.executable, "-m", "assay"]


@contextlib.contextmanager
def place(folder: Path) -> Generator[Path]:
    """An empty repository in `folder`, with keys of its own; the present folder inside the block.

    What an earlier demo left there is removed, and nothing else ever is.
    """
    mark = folder / "README"
    if folder.exists():
        if not mark.exists() or mark.read_text() != _MARK:
            raise Failed(f"{folder} was not made by the demo: move it away")
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    mark.write_text(_MARK)
    here = folder.resolve()
    os.environ["ASSAY_KEYS"] = str(here / "keys")
    os.environ["XDG_STATE_HOME"] = str(here / "state")
    os.environ["ASSAY_ACTOR"] = "you"
    repository = here / "repository"
    repository.mkdir()
    with contextlib.chdir(repository):
        yield repository
