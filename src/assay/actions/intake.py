"""Actions that take in somebody else's model: into quarantine, and out of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import msgspec

from assay import files
from assay.actions import intake_sources as sources
from assay.actions.intake_records import (
    Held,
    check_rejected,
    check_signed,
    find,
    intakes,
    previous,
    release_target,
)
from assay.actions.material import models_ring
from assay.actions.models import RegisterModel
from assay.actions.people import project_target
from assay.actions.vulnerabilities import project_licences
from assay.errors import Usage, Verification
from assay.formats.detect import detect
from assay.isolation.limits import GIB, Limits
from assay.isolation.run import run
from assay.supply import scan
from assay.supply.intake import differences, fetching, licences, locators, records
from assay.supply.intake.quarantine import Quarantine
from assay.supply.licences import judging
from assay.supply.licences import policy as licence_policy
from assay.types import Digest, check_digest, check_name
from assay.workspace.action import Action, Doing, Outcome, Target
from assay.workspace.view import View

_SCANNING = Limits(memory_bytes=8 * GIB, cpu_seconds=900, wall_seconds=1800)


class Intake(Action, frozen=True, kw_only=True):
    """Fetch somebody else's files into quarantine, seal them, scan them, write down their origin.

    What was fetched can be looked at and scanned, and nothing else, until it is released.
    """

    name: ClassVar[str] = "registerModel"
    locator: str
    """See `assay.supply.intake.locators`."""
    only: tuple[str, ...] = ()
    """Patterns of the paths that are wanted; all without one."""
    digest: str = ""
    """What must come: the digest of the one file, or of the tree."""
    mirror: str = ""
    """A folder to take it from instead of the network."""
    licence: str = ""
    """Of what declares none itself."""
    signature: str = ""
    """A signature that does not lie beside the files as ``model.sig``."""
    bundle: str = ""
    """Another workspace's export that is about one of the files."""
    trust_root: str = ""
    """The digest of that workspace's first trust root, known from elsewhere."""

    def target(self, view: View) -> Target:
        found = locators.parse(self.locator)
        if self.digest:
            check_digest(self.digest)
        if bool(self.bundle) != bool(self.trust_root):
            raise Usage(
                "another workspace's bundle and the digest of its trust root belong together: who "
                "sends a bundle could have made the workspace up",
                remedy="--bundle FILE --trust-root sha256:…, which its people tell you",
                code="intake.bundle",
            )
        made = project_target(view, self.project, {})
        made.words = {"project": self.project, "model": found.place}
        return made

    def apply(self, doing: Doing) -> Outcome:
        locator = locators.parse(self.locator)
        settings = sources.settings_of(doing.layout, self.project)
        if locator.scheme == "file":
            sources.outside(doing.layout, Path(locator.name))
        mirror = sources.outside(doing.layout, Path(self.mirror)) if self.mirror else None
        request = fetching.Request(
            locator,
            settings,
            only=self.only,
            mirror=mirror,
            own=doing.layout.root,
            bucket=None if mirror else sources.bucket_of(doing.layout, self.project, locator),
            progress=doing.progress,
        )
        with sources.scratch(doing) as work:
            quarantine = Quarantine(work / "intake", locator.place, settings.limits)
            fetched = fetching.fetch(request, quarantine)
            digest = quarantine.finish()
            fetching.check_digest(quarantine, digest, self.digest)
            declared = licences.declared(quarantine.folder, fetched.licence)
            licence = declared or licences.shown(self.licence)
            predicate = records.predicate(
                locator,
                fetched,
                quarantine,
                digest,
                pinned=bool(self.digest) or (locator.exact and fetched.bound),
                licence=licence,
                licence_by=records.SOURCE if declared else doing.actor if licence else "",
                signature=sources.signature_of(doing, quarantine, self.signature, doing.progress),
            )
            if self.bundle:
                predicate["attributed"] = sources.attributed_to(
                    doing, quarantine, self.bundle, self.trust_root
                )
            doing.progress("sealing")
            kept = doing.store.put_tree(models_ring(self.project), quarantine.folder)
            if kept != digest:
                raise Verification(
                    f"{locator.place}: its files changed in quarantine",
                    remedy="find out who else writes to the workspace's folder; then try again",
                    code="intake.changed",
                )
            files.point("intake.sealed")
            scanned = _scan(doing, quarantine.folder)
        before = previous(doing.view, self.project, locator.place, digest)
        if before is not None:
            predicate["previous"] = before.digest
            predicate["differences"] = differences.between(
                before.predicate, predicate, before.scan, scanned
            )
        subject = {f"intake:{locator.place}": digest}
        filed = {**subject, f"intakes of {self.project}": records.all_of(self.project)}
        judged = _judge(doing, locator.place, digest, predicate)
        statements = [
            doing.attest(records.KIND, filed, predicate, producer=records.PRODUCER),
            doing.attest(scan.KIND, subject, scanned, producer=scan.PRODUCER),
            doing.attest(judging.KIND, subject, judged, producer=judging.PRODUCER),
        ]
        held = [h for h in intakes(doing.view, self.project) if h.digest == digest]
        status = held[-1].status if held else "quarantined"
        value = {**predicate, "scan": scanned, "licences": judged, "status": status}
        return Outcome(value, statements)


class ReleaseIntake(Action, frozen=True, kw_only=True):
    """Register what lies in quarantine as a model version, if policy says so on its facts."""

    name: ClassVar[str] = "releaseIntake"
    digest: str
    """Of what was taken in, or the beginning of it."""
    model: str
    purpose: str
    file: str = ""
    """Which of its files is the model; needed where several may be."""
    train: str = ""
    test: str = ""
    label: str = ""
    positive: int | str | None = None
    threshold: float = 0.5
    sensitive: tuple[str, ...] = ()
    leave_out: tuple[str, ...] = ()
    despite: str = ""
    """Why it is released although somebody rejected it."""

    def target(self, view: View) -> Target:
        check_name(self.model, what="model name")
        if not self.purpose:
            raise Usage("no purpose given", remedy="--purpose credit-scoring", code="purpose")
        made = release_target(view, self.project, self.digest, self.purpose, self.despite)
        made.words["model"] = self.model
        return made

    def apply(self, doing: Doing) -> Outcome:
        found = find(doing.view, self.project, self.digest)
        with sources.opened(doing, found.digest) as folder:
            path = self._model(folder, found)
            check_signed(found, path.relative_to(folder).as_posix())
            version = self._again(doing, found, path, folder)
            if version is None:
                version = doing.nested(self._registration(path, found))
        if version["details"]["quarantined"]:
            raise Verification(
                f"{found.place}: the scan of {path.name} on its own is not clean",
                remedy=f"look at it: assay model show {version['model']}@{version['version']}",
                code="intake.scan",
            )
        # A rejection while it was registered wins, as a revocation would.
        doing.view.follow()
        check_rejected(find(doing.view, self.project, found.digest), self.despite)
        ref = f"{version['model']}@{version['version']}"
        predicate = {
            "digest": found.digest,
            "intake": found.envelope,
            "file": "" if path == folder else path.relative_to(folder).as_posix(),
            "model": version["model"],
            "version": version["version"],
            "artifact": version["artifact"],
            "served": version["served"],
            "purpose": self.purpose,
            "despite": self.despite,
        }
        subject = {f"intake:{found.place}": found.digest, ref: Digest(version["artifact"])}
        origin = {**found.predicate, "converted": _converted(version)}
        made = {ref: version["artifact"]}
        if version["served"]:
            made[f"{ref}.onnx"] = version["served"]
        statements = [doing.attest("intake-release", subject, predicate)]
        statements.append(doing.attest(records.KIND, made, origin, producer=records.PRODUCER))
        return Outcome({**predicate, "registered": version, "origin": origin}, statements)

    def _model(self, folder: Path, found: Held) -> Path:
        """The file that is the model; the folder where no single file is."""
        paths = {p.relative_to(folder).as_posix(): p for p in folder.rglob("*") if p.is_file()}
        if self.file:
            if self.file not in paths:
                raise Usage(
                    f"{found.place} has no file {self.file[:120]!r}",
                    remedy=f"one of: {', '.join(sorted(paths)[:12])}",
                    code="intake.file",
                )
            return paths[self.file]
        if len(paths) == 1:
            return next(iter(paths.values()))
        named = [str(model["path"]) for model in found.predicate["models"]]
        likely = [
            name for name in named if name in paths and detect(paths[name]).format != "unknown"
        ]
        if len(likely) > 1 and {detect(paths[name]).format for name in likely} != {"safetensors"}:
            raise Usage(
                f"{found.place} has several files that may be the model",
                remedy=f"--file with one of: {', '.join(likely[:12])}",
                code="intake.file",
            )
        return paths[likely[0]] if len(likely) == 1 else folder

    def _registration(self, path: Path, found: Held) -> RegisterModel:
        return RegisterModel(
            project=self.project,
            model=self.model,
            path=str(path),
            purpose=self.purpose,
            train=self.train,
            test=self.test,
            label=self.label,
            positive=self.positive,
            threshold=self.threshold,
            sensitive=self.sensitive,
            leave_out=self.leave_out,
            description=f"taken in from {found.place}: {found.digest}",
        )

    def _again(self, doing: Doing, found: Held, path: Path, folder: Path) -> dict[str, Any] | None:
        """The version that an earlier release of the same made, which was cut short or repeated."""
        wanted = {file["path"]: file["digest"] for file in found.predicate["files"]}
        artifact = found.digest
        if path != folder:
            artifact = wanted.get(path.relative_to(folder).as_posix(), "")
        asked = {
            "purpose": self.purpose,
            "dataset": self.train,
            "test": self.test,
            "label": self.label,
            "positive": self.positive,
            "threshold": self.threshold,
        }
        for version in reversed(doing.view.versions(self.project, self.model)):
            same = version.artifact == artifact and not version.revoked
            if same and asked.items() <= version.details.items():
                told = msgspec.to_builtins(version)
                return {**told, "model": version.name, "parity": None, "again": True}
        return None


class RejectIntake(Action, frozen=True, kw_only=True):
    """Say of what lies in quarantine that it must not be released, and why.

    It is no longer kept: the next collection of garbage deletes it.
    """

    name: ClassVar[str] = "registerModel"
    redo: ClassVar[bool] = True
    digest: str
    reason: str

    def target(self, view: View) -> Target:
        if not self.reason.strip():
            raise Usage("no reason given", remedy="--reason TEXT", code="reason")
        found = find(view, self.project, self.digest)
        made = project_target(view, self.project, {}, f"digest:{found.digest}")
        made.digests = {f"intake:{found.place}": found.digest}
        made.words = {"project": self.project}
        return made

    def apply(self, doing: Doing) -> Outcome:
        found = find(doing.view, self.project, self.digest)
        predicate = {"digest": found.digest, "intake": found.envelope, "reason": self.reason}
        statement = doing.attest(
            "intake-rejection", {f"intake:{found.place}": found.digest}, predicate
        )
        return Outcome({**predicate, "locator": found.place, "status": "rejected"}, [statement])


def _scan(doing: Doing, folder: Path) -> dict[str, Any]:
    """The scanner's predicate over all files, made in a confined process."""
    doing.progress("scanning")
    there = folder.resolve()
    outcome = run(
        "assay.supply.scan:scan_confined", str(there).encode(), inputs=[there], limits=_SCANNING
    )
    return msgspec.json.decode(outcome.value, type=dict[str, Any])


def _judge(doing: Doing, place: str, digest: Digest, predicate: dict[str, Any]) -> dict[str, Any]:
    """The predicate ``licences/v1`` about the licence that was declared.

    What another source declares of the very same model holds too: a copy of one's own, under a
    licence of one's own choice, does not take it away.
    """
    named = sources.config_of(doing.layout, doing.project).licences
    policy = project_licences(doing.view, doing.project)
    if named:
        policy = licence_policy.read(doing.layout.base / named)
    judged = {place: str(predicate["licence"])}
    mine = {digest, *_model_digests(predicate)}
    for held in intakes(doing.view, doing.project):
        told = held.predicate
        # Records of before it was written down who says so are taken for the source's word.
        by_source = told.get("licence_by", records.SOURCE) == records.SOURCE and told["licence"]
        if by_source and held.place != place and mine & {held.digest, *_model_digests(told)}:
            judged[held.place] = str(told["licence"])
    return judging.judge(judged, policy)


def _model_digests(predicate: dict[str, Any]) -> set[str]:
    models = {model["path"] for model in predicate["models"]}
    return {file["digest"] for file in predicate["files"] if file["path"] in models}


def _converted(version: dict[str, Any]) -> dict[str, Any] | None:
    """What became of a file that is not served as it is."""
    details = version["details"]
    if not version["served"] or version["served"] == version["artifact"]:
        return None
    return {"from": details["format"], "to": "onnx", "parity": version["parity"]}
