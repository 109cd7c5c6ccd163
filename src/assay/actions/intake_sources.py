"""What an intake may reach, and who signed it: the project's settings, secrets by reference."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

from assay import files
from assay.actions.extraction import configured
from assay.actions.material import models_ring
from assay.data import objects, references
from assay.errors import AssayError, Usage, Verification
from assay.govern import verify as bundles
from assay.supply.intake.fetching import Bucket
from assay.supply.intake.local import own_folder
from assay.supply.intake.locators import Locator
from assay.supply.intake.quarantine import Quarantine
from assay.supply.intake.settings import HUB, Limits, Settings
from assay.supply.signing.statement import GIT
from assay.types import Digest, check_digest
from assay.workspace.action import Doing
from assay.workspace.layout import CONFIG, IntakeConfig, Layout, ProjectConfig

SIGNATURE = "model.sig"
"""The file beside a model that holds its signature, as OpenSSF Model Signing names it."""
_BUNDLE = 64 << 20


def config_of(layout: Layout, project: str) -> IntakeConfig:
    """``[projects.NAME.intake]`` of ``assay.toml``."""
    return layout.config.projects.get(project, ProjectConfig()).intake


def settings_of(layout: Layout, project: str) -> Settings:
    """What the project allows.  Raises `Usage` or `Unavailable` naming a reference, never a secret.

    Every secret is read before anything is fetched: a wrong reference shows at once.
    """
    given = config_of(layout, project)
    for name in ("most_bytes", "files", "seconds"):
        if getattr(given, name) <= 0:
            raise Usage(
                f"{CONFIG}: projects.{project}.intake.{name} is not above 0",
                remedy=f"take the line out, for {getattr(IntakeConfig(), name):,}",
                code="intake.settings",
            )
    secrets = {
        host: references.resolve(reference, f"intake from {host}", layout.base)
        for host, reference in given.credentials.items()
    }
    limits = Limits(
        total_bytes=given.most_bytes,
        file_bytes=given.most_bytes,
        files=given.files,
        seconds=given.seconds,
    )
    return Settings(
        hosts=frozenset(host.lower() for host in given.hosts),
        plain=frozenset(host.lower() for host in given.plain),
        secrets={host.lower(): secret for host, secret in secrets.items()},
        hub=given.hub or HUB,
        limits=limits,
    )


def bucket_of(layout: Layout, project: str, locator: Locator) -> Bucket | None:
    """The bucket that a locator names, if a source of the project covers it."""
    if locator.scheme != "s3":
        return None
    for source in configured(layout, project).values():
        below = source.path.rstrip("/")
        inside = not below or locator.path == below or locator.path.startswith(f"{below}/")
        if source.kind == "s3" and source.host == locator.name and inside:
            whole = dataclasses.replace(source, path="")
            return objects.Bucket(whole, source.secret(layout.base))
    return None


def outside(layout: Layout, path: Path) -> Path:
    """`path`, unless it lies in the workspace's own folder: that is not taken in."""
    if path.resolve().is_relative_to(layout.root.resolve()):
        raise own_folder(path)
    return path


# -- who signed it --------------------------------------------------------------------------------


def signature_of(
    doing: Doing, quarantine: Quarantine, given: str, progress: Callable[[str], None]
) -> dict[str, Any] | None:
    """What the signature over the files proves, by the project's own trust list; None without one.

    A signature that does not hold, or of somebody unknown, is written down as *untrusted* with the
    reason, and does not stop the intake: whether it may be released is for policy.  It has to cover
    every file but git's own, which every tool that signs leaves out: those are written down as
    *ignored*.
    """
    inside = quarantine.folder / SIGNATURE
    path = Path(given) if given else inside
    if not given and not inside.is_file():
        return None
    trust = config_of(doing.layout, doing.project).trust
    if not trust:
        why = f"the project has no trust list ({CONFIG}: projects.{doing.project}.intake.trust)"
        return {"method": "oms", "identity": "", "trusted": False, "why": why}
    progress("checking the signature")
    from assay.supply import signing

    known = signing.Trust.load(doing.layout.base / trust)
    alone = len(quarantine.taken) == 1
    signed = quarantine.folder / quarantine.taken[0].path if alone else quarantine.folder
    try:
        verified = signing.verify(signed, path, known, now=doing.clock.now())
        left_out = [name for name in verified.ignored if name.partition("/")[0] not in GIT]
        if left_out:
            some = ", ".join(ascii(name[:80]) for name in left_out[:8])
            raise Verification(f"it leaves out {len(left_out)} files: {some}")
    except AssayError as error:
        if error.kind not in ("verification", "usage", "corrupt", "not_found"):
            raise
        return {"method": "oms", "identity": "", "trusted": False, "why": error.message[:500]}
    made = {"method": verified.method, "identity": verified.identity, "trusted": True}
    return {**made, "ignored": list(verified.ignored)}


def attributed_to(doing: Doing, quarantine: Quarantine, bundle: str, root: str) -> dict[str, Any]:
    """What another workspace's export says of one of these files, checked, and in *its* name.

    None of its statements becomes evidence here: they are listed as that workspace's claims.
    """
    data = files.read(Path(bundle), limit=_BUNDLE, what="bundle")
    report = bundles.verify(data, now=doing.clock.now(), pinned=check_digest(root))
    about = report.subject["digest"]
    artifacts = {about}
    for leaf in report.leaves:
        if about in leaf.statement.digests:
            artifacts.update(leaf.statement.digests)
    held = [file.path for file in quarantine.taken if file.digest in artifacts]
    if not held:
        raise Verification(
            f"{quarantine.source}: the bundle {bundle} is about {about}, none of its files",
            remedy="get the model and its bundle from the same version",
            code="intake.bundle",
        )
    return {
        "workspace": report.workspace,
        "trust_root": root,
        "subject": report.subject,
        "files": held,
        "as_of": report.checkpoint_time,
        "revoked": report.revoked,
        "held": report.held,
        "stage": report.stage,
        "origin": report.origin,
        "claims": [
            {
                "type": leaf.statement.predicateType,
                "producer": leaf.producer,
                "issued": leaf.statement.header.issued,
                "envelope": leaf.envelope_digest,
            }
            for leaf in report.leaves
            if set(leaf.statement.digests) & artifacts
        ][:200],
    }


@contextlib.contextmanager
def opened(doing: Doing, digest: Digest) -> Generator[Path]:
    """What lies in quarantine under this digest, in plain, until the block ends."""
    with scratch(doing) as work:
        folder = work / "intake"
        doing.progress("opening the quarantine")
        doing.store.extract_tree(models_ring(doing.project), digest, folder)
        yield folder


@contextlib.contextmanager
def scratch(doing: Doing) -> Generator[Path]:
    """A private folder of this decision, gone when the block ends or when recovery finds it."""
    folder = doing.layout.root / "work" / doing.decision
    files.make_folder(folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
