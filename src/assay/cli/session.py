"""Who is at the terminal, in which workspace and project."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from assay.cli import output
from assay.errors import NotFound, Usage

if TYPE_CHECKING:
    from assay.workspace.action import Action
    from assay.workspace.credentials import Credential, Person
    from assay.workspace.door import Workspace
    from assay.workspace.view import View

As = Annotated[
    str,
    typer.Option("--as", envvar="ASSAY_ACTOR", help="Whose personal key to use.", metavar="NAME"),
]
InProject = Annotated[
    str,
    typer.Option(
        "--project",
        envvar="ASSAY_PROJECT",
        help="Project; default from assay.toml.",
        metavar="NAME",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document, for machines.")]
Ref = Annotated[str, typer.Argument(metavar="NAME@VERSION", help="A model version, or NAME@ALIAS.")]
Force = Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")]


class Session:
    """One command's workspace and person; opens each only when asked."""

    def __init__(
        self, actor: str = "", project: str = "", as_json: bool = False, *, token: str = ""
    ) -> None:
        """`token` stands in for the person's key, where a command may be a service's."""
        self.as_json = as_json
        self._actor = actor
        self._token = token
        self._project = project
        self._workspace: Workspace | None = None
        self._person: Person | None = None

    @property
    def workspace(self) -> Workspace:
        if self._workspace is None:
            from assay.workspace.opening import open_workspace

            try:
                self._workspace = open_workspace()
            except NotFound as error:
                if not error.message.startswith("root key "):
                    raise
                raise NotFound(
                    error.message,
                    remedy="restore it from a backup of the keys; or, with the recovery secret: "
                    "assay keys recover",
                    code="keys.root",
                ) from error
        return self._workspace

    @property
    def project(self) -> str:
        from assay.types import check_name

        return check_name(self._project or self.workspace.layout.config.project, what="project")

    @property
    def person(self) -> Person:
        if self._person is None:
            from assay.cli import personal
            from assay.workspace.credentials import Person

            name = self._actor or personal.default_actor(self.workspace)
            signer, protected = personal.load_key(name)
            self._person = Person(signer, protected=protected)
        return self._person

    @property
    def credential(self) -> Credential:
        """The token, else the person."""
        from assay.workspace.credentials import Token

        return Token(self._token) if self._token else self.person

    def perform(self, action: Action) -> Any:
        """Through the door, with progress on standard error."""
        # Before the spinner, which would run over the question for a passphrase.
        workspace, credential = self.workspace, self.credential
        with output.progress(self.as_json) as progress:
            return workspace.perform(credential, action, progress=progress)

    def view(self, about: str) -> View:
        """The project's evidence, read through the door; `about` says at what is looked."""
        from assay.actions.reading import ReadEvidence

        return self.perform(ReadEvidence(project=self.project, about=about))

    def administers(self) -> bool:
        """Whether policy lets this person look after the workspace, of which no project is part.

        There is no action for looking at the workspace's own people, projects and keys: whoever
        may examine it may see them.
        """
        decision, _ = self.workspace.preview(self.person, self._examine())
        return decision.allowed

    def must_administer(self) -> None:
        """Raise `Denied` unless `administers`."""
        from assay.workspace.door import denied

        action = self._examine()
        decision, target = self.workspace.preview(self.person, action)
        if not decision.allowed:
            raise denied(action, target, decision)

    def _examine(self) -> Action:
        from assay.actions.administration import Examine
        from assay.evidence.state import WORKSPACE

        return Examine(project=WORKSPACE)

    def actor(self, name: str) -> str:
        """The id of the actor called `name`."""
        return self.workspace.directory.find(name)

    def name(self, actor: str) -> str:
        """What the directory calls an actor."""
        return self.workspace.directory.name(actor)


def listed(text: str) -> tuple[str, ...]:
    """``a, b`` as ``("a", "b")``."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def given_path(path: Path) -> str:
    """A path as typed; without ``..`` where it has any, which the actions refuse.

    What does not exist is told before anything is decided or asked.
    """
    if not os.path.lexists(path):
        raise NotFound(f"{path} does not exist", remedy="check the path", code="file")
    return str(path.resolve()) if ".." in path.parts else str(path)


def short(digest: str) -> str:
    """The beginning of a digest, for a person."""
    return f"{digest[:19]}…" if len(digest) > 20 else digest


def ask_missing(
    given: dict[str, str],
    questions: dict[str, str],
    code: str,
    *,
    path: Path | None = None,
    choices: Mapping[str, Sequence[str]] | None = None,
) -> dict[str, str]:
    """Ask for what is missing at a terminal; elsewhere name all of it in one error.  `path` is the
    file that is asked about, if any.

    What has `choices` is asked again until the answer is one of them.
    """
    import sys

    missing = [name for name in questions if not given.get(name)]
    if missing and not sys.stdin.isatty():
        options = " ".join(f"--{name.replace('_', '-')} …" for name in missing)
        named = ", ".join(f"--{name.replace('_', '-')}" for name in missing)
        raise Usage(f"missing: {named}", remedy=f"add {options}", code=code)
    if path is not None:
        given_path(path)  # Nobody answers questions about a file that is not there.
    for name in missing:
        allowed = (choices or {}).get(name, ())
        given[name] = typer.prompt(questions[name], err=True)
        while allowed and given[name] not in allowed:
            output.note(f"one of {', '.join(allowed)}")
            given[name] = typer.prompt(questions[name], err=True)
    return given


def choice(text: str, allowed: Sequence[str], what: str) -> str:
    """`text` if it is one of `allowed`; else `Usage`."""
    if text not in allowed:
        raise Usage(f"{text[:40]!r} is no {what}", remedy=f"one of {', '.join(allowed)}")
    return text
