"""Who is at the terminal, in which workspace and project."""

from __future__ import annotations

import getpass
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from assay.cli import output
from assay.errors import NotFound, Usage

if TYPE_CHECKING:
    from assay.workspace.action import Action
    from assay.workspace.credentials import Person
    from assay.workspace.door import Workspace

As = Annotated[
    str,
    typer.Option("--as", envvar="ASSAY_ACTOR", help="Whose personal key to use.", metavar="NAME"),
]
InProject = Annotated[
    str,
    typer.Option("--project", envvar="ASSAY_PROJECT", help="Project; default from assay.toml."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document, for machines.")]


class Session:
    """One command's workspace and person; opens each only when asked."""

    def __init__(self, actor: str = "", project: str = "", as_json: bool = False) -> None:
        self.as_json = as_json
        self._actor = actor
        self._project = project
        self._workspace: Workspace | None = None
        self._person: Person | None = None

    @property
    def workspace(self) -> Workspace:
        if self._workspace is None:
            from assay.workspace.opening import open_workspace

            self._workspace = open_workspace()
        return self._workspace

    @property
    def project(self) -> str:
        return self._project or self.workspace.layout.config.project

    @property
    def person(self) -> Person:
        if self._person is None:
            from assay.workspace.credentials import Person

            signer, protected = load_key(self._actor or default_actor())
            self._person = Person(signer, protected=protected)
        return self._person

    def perform(self, action: Action, *, parent: str = "") -> Any:
        """Through the door, with progress on standard error."""
        import assay.actions  # noqa: F401 - registers every action for recovery

        with output.progress(self.as_json) as progress:
            return self.workspace.perform(self.person, action, parent=parent, progress=progress)


def default_actor() -> str:
    """The only personal key of this user; `Usage` when there are several or none."""
    from assay.workspace.layout import key_folder

    names = sorted(path.stem for path in key_folder().glob("*.pem"))
    if len(names) == 1:
        return names[0]
    if not names:
        raise NotFound(
            f"no personal key in {key_folder()}",
            remedy="make one: assay actor new-key NAME",
            code="key",
        )
    raise Usage(
        f"several personal keys in {key_folder()}: {', '.join(names)}",
        remedy="say who you are with --as NAME or ASSAY_ACTOR=NAME",
        code="actor",
    )


def key_path(name: str) -> Path:
    """Where the personal key called `name` lies."""
    from assay.types import check_name
    from assay.workspace.layout import key_folder

    return key_folder() / f"{check_name(name, what='key name')}.pem"


def load_key(name: str) -> tuple[Any, bool]:
    """A personal key and whether a passphrase protects it."""
    from assay.evidence.signers import FileSigner

    path = key_path(name)
    if not path.exists():
        raise NotFound(
            f"no personal key {path}", remedy=f"make one: assay actor new-key {name}", code="key"
        )
    protected = b"ENCRYPTED" in path.read_bytes()[:64]
    return FileSigner.load(path, passphrase(name) if protected else None), protected


def passphrase(name: str, *, new: bool = False) -> str:
    """From ``ASSAY_PASSPHRASE``, else asked at the terminal, never on the command line."""
    given = os.environ.get("ASSAY_PASSPHRASE")
    if given:
        return given
    if not sys.stdin.isatty():
        raise Usage(
            f"the key {name} needs its passphrase",
            remedy="set ASSAY_PASSPHRASE, or run this at a terminal",
            code="passphrase",
        )
    first = getpass.getpass(f"Passphrase for {name}: ")
    if new and getpass.getpass("Again: ") != first:
        raise Usage("the two passphrases differ", remedy="try again", code="passphrase")
    return first


def user_name() -> str:
    """The operating system's user as an assay name."""
    try:
        raw = getpass.getuser()
    except (KeyError, OSError):
        raw = "me"
    return re.sub(r"[^a-z0-9._-]+", "-", raw.lower()).strip("-._") or "me"
