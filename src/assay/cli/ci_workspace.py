"""The workspace of a run in continuous integration: the one that is here, else one of its own.

A fresh checkout has no keys, and must have none: anybody's code runs there.  So a *development
workspace* is kept in the folder named by ``ASSAY_CI_CACHE``, or made for this run alone.  Its keys
lie inside of it: whoever can read the cache can sign with them, and what it seals is no secret.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from assay.ci.model import Finding
from assay.errors import Corrupt, NotFound, Usage, Verification

if TYPE_CHECKING:
    from assay.cli.session import Session
    from assay.workspace.credentials import Credential
    from assay.workspace.door import Workspace
    from assay.workspace.layout import Config, Layout, ProjectConfig

CACHE = "ASSAY_CI_CACHE"
TOKEN = "ASSAY_TOKEN"  # noqa: S105 - the name of the variable
PROJECT = "ci"
_KEY = "ci"
_STATE = "XDG_STATE_HOME"

DEVELOPMENT = Finding(
    rule="ci/development-workspace",
    level="note",
    title="A development workspace of this CI",
    message="Made in a development workspace of this CI: nobody vouches for its key; whoever can "
    "read the cache can sign with it.",
    help="For evidence that others rely on, run the pipeline in a kept workspace.",
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a run takes place, and for whom."""

    workspace: Workspace
    credential: Credential
    project: str
    findings: list[Finding] = field(default_factory=list[Finding])


@contextlib.contextmanager
def opened(session: Session, project: str, *, proposed: bool) -> Generator[Place]:
    """The workspace of this folder if it is whole, else one for CI.

    `proposed`: the code is a proposal's, so that the cache is read and never written: the run gets
    a copy of its own, which is thrown away.
    """
    from assay import actions

    actions.register()
    checkout = _checkout()
    if checkout is not None and (checkout.root / "trust").is_dir():
        yield _kept(session)
        return
    given = os.environ.get(CACHE, "")
    with contextlib.ExitStack() as stack:
        folder = Path(given).resolve() if given else None
        if folder is None or proposed:
            made = tempfile.TemporaryDirectory(prefix="assay-ci-", ignore_cleanup_errors=True)
            private = Path(stack.enter_context(made)) / "cache"
            if folder is not None and (folder / "assay.toml").is_file():
                _copy(folder, private)
            folder = private
        yield _development(folder, checkout, project)


def _checkout() -> Layout | None:
    """The configuration that is checked out here, with or without the folder that it is of."""
    from assay.workspace import layout

    try:
        return layout.find()
    except NotFound:
        return None


def _kept(session: Session) -> Place:
    from assay.workspace.credentials import Token

    token = os.environ.get(TOKEN, "")
    credential = Token(token) if token else session.person
    return Place(session.workspace, credential, session.project)


# -- a workspace of its own ------------------------------------------------------------------------


def _development(folder: Path, checkout: Layout | None, project: str) -> Place:
    from assay.evidence.signers import FileSigner
    from assay.types import check_name
    from assay.workspace.credentials import Person
    from assay.workspace.layout import CONFIG, Layout

    name = project or (checkout.config.project if checkout is not None else "") or PROJECT
    check_name(name, what="project")
    key = folder / "keys" / f"{_KEY}.pem"
    try:
        with _remembering(folder / "state"):
            if (folder / CONFIG).is_file():
                workspace = _open(folder)
            else:
                workspace = _found(folder, key, name, checkout)
        credential = Person(FileSigner.load(key))
        workspace.recover()
    except (Verification, Corrupt, NotFound) as error:
        raise type(error)(
            f"the cache {folder} cannot be used: {error.message}",
            remedy="remove it: it is made anew",
            code="ci.cache",
        ) from error
    findings = [DEVELOPMENT]
    findings += _apply_policy(workspace, credential, checkout)
    sources, left_out = _sources(checkout.config if checkout is not None else None)
    findings += left_out
    base = checkout.base if checkout is not None else Path.cwd()
    # Sources lie in the checkout; everything of the workspace itself lies where it is.
    workspace.layout = Layout(
        base,
        msgspec.structs.replace(
            workspace.layout.config, folder=str(workspace.layout.root), projects=sources
        ),
    )
    return Place(workspace, credential, name, findings)


def _open(folder: Path) -> Workspace:
    from assay.workspace.opening import open_workspace

    return open_workspace(folder)


def _found(folder: Path, key: Path, project: str, checkout: Layout | None) -> Workspace:
    from assay import files
    from assay.evidence.signers import FileSigner
    from assay.workspace.opening import Founding, create_workspace

    files.make_folder(folder)
    # It may lie in the checkout, and holds keys.
    files.write(folder / ".gitignore", b"*\n", mode=0o644)
    files.make_folder(key.parent)
    if key.exists():
        # Of an attempt that was interrupted: it is nobody's yet.
        files.remove(key)
    policy = _policy_of(checkout)
    if policy is not None and not (folder / "policy").exists():
        shutil.copytree(policy, folder / "policy")
    signer = FileSigner.create(key, None)
    return create_workspace(
        folder, Founding(project, _KEY, signer, "development-key", development=True)
    )


@contextlib.contextmanager
def _remembering(folder: Path) -> Generator[None]:
    """The newest checkpoint is remembered beside the cache, not with the user: an older cache that
    is restored is no attack."""
    before = os.environ.get(_STATE)
    os.environ[_STATE] = str(folder)
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(_STATE, None)
        else:
            os.environ[_STATE] = before


def _copy(folder: Path, into: Path) -> None:
    """A copy to work in; sealed blobs, which nothing ever alters, are shared."""
    blobs = folder / ".assay" / "blobs"

    def one(source: str, target: str) -> None:
        if Path(source).is_relative_to(blobs):
            with contextlib.suppress(OSError):
                os.link(source, target)
                return
        shutil.copy2(source, target)

    try:
        shutil.copytree(folder, into, symlinks=True, copy_function=one)
    except (OSError, shutil.Error) as error:
        raise Corrupt(
            f"the cache {folder} cannot be copied: {error}",
            remedy="remove it: it is made anew",
            code="ci.cache",
        ) from error


# -- policy and sources of the checkout ------------------------------------------------------------


def _policy_of(checkout: Layout | None) -> Path | None:
    if checkout is None or not any(checkout.policy.glob("*.cedar")):
        return None
    return checkout.policy


def _apply_policy(
    workspace: Workspace, credential: Credential, checkout: Layout | None
) -> list[Finding]:
    """Make the checkout's policy the active one, or the default where it has none; says so where
    it is another than before."""
    from assay.actions.administration import ApplyPolicy
    from assay.evidence.state import WORKSPACE
    from assay.policy import bundle as policies
    from assay.workspace.opening import POLICY_RING, declared_facts

    with tempfile.TemporaryDirectory(prefix="assay-policy-") as scratch:
        folder = _policy_of(checkout)
        if folder is None:
            folder = Path(scratch) / "policy"
            policies.write_defaults(folder)
        bundle = policies.build(folder, declared_facts())
    problems = policies.check(bundle)
    if problems:
        raise Usage(
            f"the policy of this checkout cannot be applied: {problems[0]}",
            remedy="assay policy check lists its problems",
            code="policy.check",
        )
    before = workspace.view.follow().bundle
    if before == bundle.digest:
        return []
    workspace.store.put(POLICY_RING, bundle.encode())
    workspace.perform(
        credential,
        ApplyPolicy(project=WORKSPACE, bundle=bundle.digest, summary="the policy of the checkout"),
    )
    return [
        Finding(
            rule="ci/policy-changed",
            level="warning",
            title="The policy is another one than before",
            message="The gates were evaluated under the policy of this checkout, which is another "
            "one than that of the runs before.",
            help="read what changes in the policy folder before you believe a gate",
        )
    ]


def _sources(config: Config | None) -> tuple[dict[str, ProjectConfig], list[Finding]]:
    """The sources of the checkout that need no secret: what is extracted is no secret here."""
    from assay.workspace.layout import ProjectConfig

    found: dict[str, ProjectConfig] = {}
    left_out: list[Finding] = []
    for project, of in config.projects.items() if config is not None else ():
        found[project] = ProjectConfig(
            {name: source for name, source in of.sources.items() if not source.credential}
        )
        left_out += [
            Finding(
                rule="ci/source",
                level="note",
                title="A source that needs a secret",
                message=f"Source {name} of project {project} needs a secret, and whoever can read "
                "the cache could read what is taken from it: it is not there in this workspace.",
                help="run pipelines that read it in a kept workspace",
                path="assay.toml",
            )
            for name, source in sorted(of.sources.items())
            if source.credential
        ]
    return found, left_out
