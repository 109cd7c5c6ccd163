"""Actions about what a model's libraries bring along: known vulnerabilities and licences."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import msgspec

from assay.actions.people import project_target, workspace_target
from assay.actions.release import version_target
from assay.clock import timestamp
from assay.errors import NotFound, Usage
from assay.evidence.facts import LISTED, Evidence
from assay.evidence.state import WORKSPACE, VersionState, kind_of, workspace_digest
from assay.isolation.limits import GIB, Limits
from assay.isolation.run import run
from assay.policy import vocabulary as cedar
from assay.supply.advisories import inventory, report, vex
from assay.supply.advisories.database import LIMIT, Database, check_newer
from assay.supply.advisories.matching import UNLISTED, match
from assay.supply.bom import listing
from assay.supply.licences import judging
from assay.supply.licences import policy as licence_policy
from assay.types import Digest, check_digest
from assay.workspace.action import Action, Doing, Outcome, Target
from assay.workspace.opening import POLICY_RING
from assay.workspace.view import View

ADVISORIES_RING = POLICY_RING
"""The workspace's own ring for what decides: the database of advisories lies there too."""
IMPORT_PRODUCER = "assay.supply.advisories/1"
VEX_PRODUCER = "assay.supply.vex/1"
BOM_PRODUCER = "assay.supply.bom/1"
CYCLONEDX = "https://cyclonedx.org/bom"
LICENCE_SETTINGS = ("licences_allowed", "licences_denied", "licences_review")
"""Settings of a project that replace the lists of `assay.supply.licences.policy`, where the policy
bundle knows them."""
DECLARED_SETTING = "licences_declared"
"""``NAME[@VERSION] = LICENCE``, each."""
_LIMITS = Limits(memory_bytes=8 * GIB, cpu_seconds=600, wall_seconds=1200, answer_bytes=LIMIT)


# -- the database ---------------------------------------------------------------------------------


class ImportAdvisories(Action, frozen=True, kw_only=True):
    """Take in a dump of OSV records as the workspace's database of advisories.

    Refused for one that knows less than the one in use, unless `replace` says so.
    """

    name: ClassVar[str] = "maintain"
    path: str
    replace: bool = False

    def target(self, view: View) -> Target:  # noqa: ARG002
        return workspace_target({}, "advisories")

    def apply(self, doing: Doing) -> Outcome:
        source = Path(self.path)
        if not source.exists():
            raise NotFound(f"{source} does not exist", remedy="check the path", code="file")
        asked = {"source": str(source.resolve()), "now": timestamp(doing.clock.now())}
        doing.progress(f"reading {source.name}")
        outcome = run(
            "assay.supply.advisories.database:import_confined",
            msgspec.json.encode(asked),
            inputs=[source.resolve()],
            limits=_LIMITS,
        )
        made = Database.decode(outcome.value)
        held = in_use(doing.view)
        if held is not None and not self.replace:
            check_newer(held.statement.predicate, made)
        doing.store.put(ADVISORIES_RING, outcome.value)
        predicate = {**made.described(), "isolation": outcome.level, "replace": self.replace}
        subject = {
            "advisories": made.digest,
            "workspace": workspace_digest(doing.view.state.workspace),
        }
        statement = doing.attest("advisories", subject, predicate, producer=IMPORT_PRODUCER)
        return Outcome(predicate, [statement])


def in_use(view: View) -> Evidence | None:
    """The statement about the database that was imported last."""
    about = workspace_digest(view.state.workspace)
    found = [
        item
        for item in view.evidence(WORKSPACE, about)
        if kind_of(item.statement) == "advisories" and _ours(view, item, IMPORT_PRODUCER)
    ]
    return found[-1] if found else None


def kept_advisories(view: View) -> list[tuple[str, Digest]]:
    """The databases that a collection of garbage has to leave: the one in use."""
    held = in_use(view)
    return [(ADVISORIES_RING, held.statement.digests[0])] if held is not None else []


def _database(doing: Doing) -> Database:
    held = in_use(doing.view)
    if held is None:
        raise NotFound(
            "this workspace has no advisories to look packages up in",
            remedy="assay vulns import PATH, with a dump of OSV records such as osv.dev's all.zip",
            code="advisories",
        )
    digest = check_digest(str(held.statement.predicate["digest"]))
    return Database.decode(doing.store.read(ADVISORIES_RING, digest, LIMIT))


class ReadAdvisories(Action, frozen=True, kw_only=True):
    """Look up packages of one's own in the workspace's database."""

    name: ClassVar[str] = "readEvidence"
    about: str = "advisories"

    def target(self, view: View) -> Target:
        return project_target(view, self.project, {})

    def apply(self, doing: Doing) -> Outcome:
        return Outcome(_database(doing))


# -- bills of materials ---------------------------------------------------------------------------


def _evidence(view: View, found: VersionState) -> list[Evidence]:
    """What is on record about a version, by its name, and was not superseded.

    Another version may have the same bytes, another author, and another origin.
    """
    named = f"{found.name}@{found.version}"
    digests = dict.fromkeys(d for d in (found.artifact, found.served) if d)
    superseded = view.state.superseded_in(found.project)
    return [
        item
        for item in view.evidence(found.project, *digests)
        if item.envelope_digest not in superseded
        and named in (subject.name for subject in item.statement.subject)
    ]


def _ours(view: View, item: Evidence, producer: str) -> bool:
    """Whether a statement is the workspace's own, of this producer."""
    kinds = view.state.key_kinds()
    signed = any("workspace" in kinds.get(keyid, ()) for keyid in item.keyids)
    return signed and item.producer == producer


def bill_of_materials(view: View, found: VersionState) -> Evidence:
    """The newest CycloneDX document about a version; raises `NotFound` when there is none."""
    bills = [
        item
        for item in _evidence(view, found)
        if item.statement.predicateType == CYCLONEDX and _ours(view, item, BOM_PRODUCER)
    ]
    if not bills:
        ref = f"{found.name}@{found.version}"
        raise NotFound(
            f"{ref} has no bill of materials, so it is not known which libraries it needs",
            remedy=f"assay bom write {ref} --project {found.project}",
            code="bom",
        )
    return bills[-1]


def _rests_on(bom: Evidence) -> dict[str, str]:
    """Which bill was asked about.  A check counts as long as the newest bill lists the same."""
    return {"bom": bom.envelope_digest, LISTED: listing.digest_of(bom.statement.predicate)}


# -- vulnerabilities ------------------------------------------------------------------------------


class CheckVulnerabilities(Action, frozen=True, kw_only=True):
    """Look up every library of a version's bill of materials in the advisories."""

    name: ClassVar[str] = "assess"
    model: str
    version: str

    def target(self, view: View) -> Target:
        found = view.version(self.project, self.model, self.version)
        bill_of_materials(view, found)
        return version_target(view, self.project, self.model, found.version, {})

    def apply(self, doing: Doing) -> Outcome:
        started = doing.clock.now()
        found = doing.view.version(self.project, self.model, self.version)
        bom = bill_of_materials(doing.view, found)
        database = _database(doing)
        packages = inventory.from_bom(bom.statement.predicate)
        if not set(packages) - {UNLISTED}:
            raise Usage(
                f"the bill of materials of {found.name}@{found.version} lists no library, so there "
                "is nothing to look up",
                remedy=f"say which it needs: assay bom write {found.name}@{found.version} "
                f"--libraries requirements.txt --project {self.project}",
                code="bom.libraries",
            )
        doing.progress(f"looking up {len(packages)} packages")
        subject = found.subject
        result = vex.answer(
            match(database, packages), declared_vex(doing.view, found), subject.values()
        )
        told = {**report.predicate(result, database), **_rests_on(bom)}
        beside = report.in_toto(result, database, started=started, finished=doing.clock.now())
        statements = [
            doing.attest(report.KIND, subject, told, producer=report.PRODUCER),
            doing.statement(report.IN_TOTO, subject, beside, producer=report.PRODUCER),
        ]
        return Outcome({"model": found.name, "version": found.version, **told}, statements)


def declared_vex(view: View, found: VersionState) -> list[tuple[str, vex.Document]]:
    """The VEX documents that approvers declared about a version, oldest first."""
    return [
        (
            item.envelope_digest,
            vex.decode(msgspec.json.encode(item.statement.predicate["document"])),
        )
        for item in _evidence(view, found)
        if kind_of(item.statement) == "vex" and _ours(view, item, VEX_PRODUCER)
    ]


class DeclareVex(Action, frozen=True, kw_only=True):
    """Say, as an approver and with a reason, what vulnerabilities mean for a version.

    `document` is OpenVEX, in JSON.  Every statement has to name exactly what it is about: packages
    at a version, or the version's own digest.
    """

    name: ClassVar[str] = "supersede"
    model: str
    version: str
    document: str
    reason: str

    def target(self, view: View) -> Target:
        found = view.version(self.project, self.model, self.version)
        document = vex.decode(self.document)
        for statement in document.statements:
            if why := vex.unexact(statement, found.subject.values()):
                raise Usage(
                    f"the statement about {statement.vulnerability.name[:80]} {why}",
                    remedy="name pkg:pypi/NAME@VERSION, or the digest of the model",
                    code="vex.unexact",
                )
        return version_target(
            view, self.project, self.model, found.version, {"reason": cedar.reason(self.reason)}
        )

    def apply(self, doing: Doing) -> Outcome:
        found = doing.view.version(self.project, self.model, self.version)
        document = msgspec.to_builtins(vex.decode(self.document))
        subject = found.subject
        told = {"name": found.name, "version": found.version, "reason": self.reason}
        statements = [
            doing.attest("vex", subject, {**told, "document": document}, producer=VEX_PRODUCER),
            doing.statement(vex.PREDICATE_TYPE, subject, document, producer=VEX_PRODUCER),
        ]
        said = [
            {"vulnerability": s["vulnerability"]["name"], "status": s["status"]}
            for s in document["statements"]
        ]
        value = {"model": found.name, "version": found.version, "reason": self.reason}
        return Outcome({**value, "statements": said}, statements)


# -- licences -------------------------------------------------------------------------------------


class CheckLicences(Action, frozen=True, kw_only=True):
    """Judge the licences in a version's bill of materials by the project's policy."""

    name: ClassVar[str] = "assess"
    model: str
    version: str

    def target(self, view: View) -> Target:
        found = view.version(self.project, self.model, self.version)
        bill_of_materials(view, found)
        return version_target(view, self.project, self.model, found.version, {})

    def apply(self, doing: Doing) -> Outcome:
        found = doing.view.version(self.project, self.model, self.version)
        bom = bill_of_materials(doing.view, found)
        policy = project_licences(doing.view, self.project)
        told = judging.judge(judging.from_bom(bom.statement.predicate), policy)
        told |= _rests_on(bom)
        statement = doing.attest(judging.KIND, found.subject, told, producer=judging.PRODUCER)
        return Outcome({"model": found.name, "version": found.version, **told}, [statement])


def project_licences(view: View, project: str) -> licence_policy.Policy:
    """The licence policy of a project: from its settings, which the policy bundle holds; never
    from who asks."""
    settings = view.settings(project)
    given: dict[str, Any] = {
        name.removeprefix("licences_"): tuple(settings[name])
        for name in LICENCE_SETTINGS
        if settings.get(name)
    }
    # What assay brings gives way to what the project says of the same licence.
    said = {name for names in given.values() for name in names}
    whole = licence_policy.Policy()
    for field in ("allowed", "denied") if given else ():
        given.setdefault(field, tuple(n for n in getattr(whole, field) if n not in said))
    if declared := settings.get(DECLARED_SETTING):
        pairs = (text.partition(" = ") for text in declared)
        given["declared"] = {name: licence for name, _, licence in pairs}
    if not given:
        return licence_policy.Policy()
    return licence_policy.from_mapping(given, f"the settings of {project}")
