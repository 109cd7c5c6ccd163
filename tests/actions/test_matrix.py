"""Every action, asked by every role, in the own project and in another, at the door itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from workspace.town import START, WORKSPACE, Town, copy_of, dataset, enrolment, model

from assay import actions, canonical
from assay.actions.administration import (
    ApplyPolicy,
    CollectGarbage,
    CreateProject,
    DestroyRing,
    Examine,
    RotateKey,
    RotateRing,
)
from assay.actions.alerts import AcknowledgeAlert, RaiseAlerts, ReadAlerts
from assay.actions.assessment import AssessModel
from assay.actions.backups import BackupRings
from assay.actions.baselines import SetBaseline
from assay.actions.boms import FindInBoms, ReadBom, WriteBom
from assay.actions.challenges import Challenge
from assay.actions.changes import ApproveChange, ProposeChange
from assay.actions.collecting import CollectDataset
from assay.actions.comparison import CompareModels
from assay.actions.datasets import HoldDataset, ReadDataset, TrainOn
from assay.actions.extraction import ExamineDataset, ExtractDataset
from assay.actions.feedback import AddFeedback, GiveFeedback, SealFeedback
from assay.actions.incidents import OpenIncident, ReadIncidents, UpdateIncident
from assay.actions.intake import Intake, RejectIntake, ReleaseIntake
from assay.actions.intake_data import ReleaseData
from assay.actions.models import ScanModel
from assay.actions.monitoring import CloseWindows, MeasurePerformance
from assay.actions.notifications import Notify, TestChannels
from assay.actions.people import (
    CreateToken,
    DisableActor,
    EraseActor,
    ManageRole,
    RevokeKey,
    RevokeToken,
)
from assay.actions.predictions import EraseSubjects, ReadPredictions, SealPredictions
from assay.actions.reading import ExportEvidence, ReadEvidence
from assay.actions.release import Approve, Hold, Promote, Revoke, Supersede
from assay.actions.retraining_steps import ContinueRetraining
from assay.actions.runs import ReadRun, RunPipeline
from assay.actions.serving import Deploy, Kill, Query
from assay.actions.transparency import TakeStatement
from assay.actions.vulnerabilities import (
    CheckLicences,
    CheckVulnerabilities,
    DeclareVex,
    ImportAdvisories,
    ReadAdvisories,
)
from assay.errors import AssayError, Denied
from assay.monitor.alerts import fingerprint, read
from assay.policy.rules import ROLE
from assay.store import trees
from assay.store.trees import TreeEntry
from assay.supply.advisories import vex
from assay.workspace.action import REGISTRY, Action
from assay.workspace.credentials import token_id_of

from . import planning

PEOPLE = {
    "sam": "data_scientist",
    "eve": "ml_engineer",
    "ci": "pipeline",
    "ann": "approver",
    "oli": "operator",
    "una": "auditor",
    "web": "service",
    "ada": "admin",
}
STRANGERS = ("bea", "bob")
"""An engineer and an approver of the other project."""

MAKERS = {"data_scientist", "ml_engineer"}
BUILDERS = {*MAKERS, "pipeline"}


VEX = json.dumps(
    vex.write(
        [
            vex.Statement(
                vulnerability=vex.Vulnerability("CVE-2024-1"),
                status="not_affected",
                justification="vulnerable_code_not_in_execute_path",
                products=(vex.Product(at_id="pkg:pypi/torch@2.5.1"),),
            )
        ],
        author="security",
        at=START,
        identity="https://example.org/1",
    )
)


GAP: dict[str, Any] = {"kind": "log", "number": 1}
"""A signal that raises an alert."""


@dataclass(frozen=True)
class Row:
    """An action, made for a project, and the roles that may."""

    make: Callable[[Town, str], Action]
    roles: set[str]


def _model(project: str) -> str:
    return {"alpha": "score", "beta": "secretive"}[project]


def _version(project: str) -> dict[str, Any]:
    return {"project": project, "model": _model(project), "version": "1"}


def _taken(town: Town) -> str:
    """The digest of what both projects have in quarantine."""
    onnx = town.repo / "model.onnx"
    entry = TreeEntry(onnx.name, onnx.stat().st_size, canonical.digest_file(onnx))
    return canonical.digest(trees.encode([entry]))


def _alert(project: str) -> str:
    """The alert that `GAP` raises, where anybody raised it."""
    return fingerprint(project, _model(project), read(GAP))


def _incident(town: Town) -> str:
    """The incident that the town has, if any."""
    found = town.statements("incident")
    return str(found[0].predicate["incident"]) if found else "none"


def _promote(stage: str) -> Callable[[Town, str], Action]:
    return lambda _, project: Promote(**_version(project), stage=stage)


ADMIN: dict[str, Callable[[Town], Action]] = {
    "enrol": lambda _: enrolment("new", None, kind="service"),
    "grant": lambda town: ManageRole(
        project=WORKSPACE, actor=town.ids["una"], role="alpha/operator", granted=True
    ),
    "disable": lambda town: DisableActor(project=WORKSPACE, actor=town.ids["una"]),
    "erase": lambda town: EraseActor(project=WORKSPACE, actor=town.ids["una"]),
    "revoke a key": lambda town: RevokeKey(
        project=WORKSPACE, keyid=town.people["una"].public.keyid, reason="lost"
    ),
    "create a project": lambda town: CreateProject(
        project=WORKSPACE, new="gamma", owner=town.ids["eve"]
    ),
    "apply a policy": lambda town: ApplyPolicy(
        project=WORKSPACE, bundle=str(town.ws.view.follow().bundle)
    ),
    "examine": lambda _: Examine(project=WORKSPACE),
    "import advisories": lambda town: ImportAdvisories(
        project=WORKSPACE, path=str(town.repo / "advisories")
    ),
    "collect": lambda _: CollectGarbage(project=WORKSPACE),
    "back up": lambda _: BackupRings(project=WORKSPACE),
    "rotate the key": lambda _: RotateKey(project=WORKSPACE, reason="yearly"),
    "rotate a ring": lambda _: RotateRing(project=WORKSPACE, ring="alpha/data"),
    "erase people": lambda _: EraseSubjects(
        project=WORKSPACE,
        of="alpha",
        people=("0" * 32,),
        reason="asked",
        ticket="T1",
        until="2026-01-01T00:00:00.000Z",
    ),
    "destroy a ring": lambda _: DestroyRing(
        project=WORKSPACE, ring="alpha/data", reason="end", ticket="T1"
    ),
}

TABLE: dict[str, Row] = {
    "register a dataset": Row(
        lambda town, project: dataset(town.repo, "new", project, file="test.csv"), BUILDERS
    ),
    "read data": Row(
        lambda _, project: ReadDataset(project=project, dataset="train", purpose="scoring"),
        BUILDERS,
    ),
    "train": Row(
        lambda _, project: TrainOn(project=project, dataset="train", purpose="scoring"), BUILDERS
    ),
    "run a pipeline": Row(
        lambda _, project: RunPipeline(
            project=project,
            source="credit.py",
            pipeline="credit:train",
            plan="sha256:" + "0" * 64,
            parameters={},
            environment="locked",
            isolation="full",
        ),
        BUILDERS,
    ),
    "read a run": Row(
        lambda _, project: ReadRun(project=project, run="latest"),
        {*BUILDERS, "approver", "operator", "auditor"},
    ),
    "take data from a source": Row(
        lambda _, project: ExtractDataset(
            project=project,
            dataset="new",
            source="core",
            query="SELECT 1",
            owner="risk",
            licence="internal",
            purposes=("scoring",),
            legal_basis="contract",
            residency=("local",),
        ),
        BUILDERS,
    ),
    "examine data": Row(
        lambda _, project: ExamineDataset(project=project, dataset="train"), BUILDERS
    ),
    "hold data": Row(
        lambda _, project: HoldDataset(project=project, dataset="train", reason="erasure"),
        {"approver"},
    ),
    "register a model": Row(
        lambda town, project: model(town.repo, "new", project, test=""), BUILDERS
    ),
    "take in": Row(
        lambda town, project: Intake(project=project, locator=str(town.repo / "model.onnx")),
        BUILDERS,
    ),
    "release what was taken in": Row(
        lambda town, project: ReleaseIntake(
            project=project, digest=_taken(town), model="theirs", purpose="scoring"
        ),
        {"ml_engineer"},
    ),
    "release data that was taken in": Row(
        lambda town, project: ReleaseData(
            project=project,
            digest=_taken(town),
            dataset="theirs",
            owner="risk",
            licence="MIT",
            purposes=("scoring",),
            legal_basis="contract",
            residency=("local",),
        ),
        {"ml_engineer"},
    ),
    "reject what was taken in": Row(
        lambda town, project: RejectIntake(project=project, digest=_taken(town), reason="no"),
        BUILDERS,
    ),
    "write a bill of materials": Row(lambda _, project: WriteBom(**_version(project)), BUILDERS),
    "read a bill of materials": Row(
        lambda _, project: ReadBom(**_version(project)),
        {*BUILDERS, "approver", "operator", "auditor"},
    ),
    "look for a part": Row(
        lambda _, project: FindInBoms(project=project, what="numpy"),
        {*BUILDERS, "approver", "operator", "auditor"},
    ),
    "read the advisories": Row(
        lambda _, project: ReadAdvisories(project=project),
        {*BUILDERS, "approver", "operator", "auditor"},
    ),
    "check vulnerabilities": Row(
        lambda _, project: CheckVulnerabilities(**_version(project)), BUILDERS
    ),
    "check licences": Row(lambda _, project: CheckLicences(**_version(project)), BUILDERS),
    "answer a vulnerability": Row(
        lambda _, project: DeclareVex(**_version(project), document=VEX, reason="unreachable"),
        {"approver"},
    ),
    "take a statement out": Row(
        lambda _, project: TakeStatement(**_version(project)), {*MAKERS, "approver", "auditor"}
    ),
    "scan": Row(lambda _, project: ScanModel(**_version(project)), BUILDERS),
    "assess": Row(
        lambda _, project: AssessModel(
            **_version(project), data="test" if project == "alpha" else "other"
        ),
        BUILDERS,
    ),
    "set a baseline": Row(
        lambda _, project: SetBaseline(
            **_version(project), data="test" if project == "alpha" else "other"
        ),
        BUILDERS,
    ),
    "compare": Row(
        lambda _, project: CompareModels(
            project=project, model=_model(project), version="2", base="1", data="test"
        ),
        BUILDERS,
    ),
    "approve": Row(lambda _, project: Approve(**_version(project)), {"approver"}),
    "promote to development": Row(_promote("development"), BUILDERS),
    "promote to staging": Row(_promote("staging"), {"ml_engineer"}),
    "promote to production": Row(_promote("production"), {"ml_engineer"}),
    "propose a change": Row(
        lambda town, project: ProposeChange(
            project=project, plan=planning.plan(town, why="another")
        ),
        MAKERS,
    ),
    "approve a change": Row(
        lambda town, project: ApproveChange(project=project, plan=planning.first(town)),
        {"approver"},
    ),
    "retrain": Row(
        lambda town, project: planning.retrain(
            town,
            planning.first(town),
            "second" if project == "alpha" else "secretive",
            project=project,
        ),
        BUILDERS,
    ),
    "go on with a retraining": Row(
        lambda town, project: ContinueRetraining(
            project=project,
            endpoint=_model(project),
            retraining=planning.begun(town),
            stage="collect",
        ),
        BUILDERS,
    ),
    "challenge": Row(
        lambda _, project: Challenge(project=project, model=_model(project), version="2"),
        BUILDERS,
    ),
    "revoke": Row(
        lambda _, project: Revoke(**_version(project), reason="bad"), {"operator", "approver"}
    ),
    "hold": Row(
        lambda _, project: Hold(**_version(project), reason="look"),
        {"ml_engineer", "operator", "approver"},
    ),
    "supersede": Row(
        lambda _, project: Supersede(**_version(project), envelope="sha256:x", reason="wrong"),
        {"approver"},
    ),
    "deploy": Row(
        lambda _, project: Deploy(**_version(project), stage="production"),
        {"ml_engineer", "operator"},
    ),
    "query": Row(
        lambda _, project: Query(project=project, endpoint=_model(project), version="1"),
        {*MAKERS, "service"},
    ),
    "kill": Row(
        lambda _, project: Kill(project=project, endpoint=_model(project), reason="stop"),
        {"operator"},
    ),
    "seal predictions": Row(
        lambda _, project: SealPredictions(project=project, endpoint=_model(project)),
        {"ml_engineer", "operator", "pipeline"},
    ),
    "close windows": Row(
        lambda _, project: CloseWindows(project=project, endpoint=_model(project)),
        {"ml_engineer", "operator", "pipeline"},
    ),
    "measure performance": Row(
        lambda _, project: MeasurePerformance(project=project, endpoint=_model(project)),
        {"ml_engineer", "operator", "pipeline"},
    ),
    "read predictions": Row(
        lambda _, project: ReadPredictions(project=project, endpoint=_model(project)), BUILDERS
    ),
    "raise alerts": Row(
        lambda _, project: RaiseAlerts(project=project, endpoint=_model(project), signals=(GAP,)),
        {"ml_engineer", "operator", "pipeline"},
    ),
    "acknowledge an alert": Row(
        lambda _, project: AcknowledgeAlert(
            project=project, endpoint=_model(project), alert=_alert(project), reason="known"
        ),
        {"ml_engineer", "operator", "approver"},
    ),
    "open an incident": Row(
        lambda _, project: OpenIncident(
            project=project, endpoint=_model(project), reason="refused too many"
        ),
        {"ml_engineer", "operator", "approver"},
    ),
    "add to an incident": Row(
        lambda town, project: UpdateIncident(
            project=project, endpoint=_model(project), incident=_incident(town), reason="found out"
        ),
        {"ml_engineer", "operator", "approver"},
    ),
    "read incidents": Row(
        lambda _, project: ReadIncidents(project=project),
        {*BUILDERS, "approver", "operator", "auditor"},
    ),
    "tell the channels": Row(
        lambda _, project: Notify(project=project, endpoint=_model(project)),
        {"ml_engineer", "operator", "pipeline"},
    ),
    "test the channels": Row(
        lambda _, project: TestChannels(project=project, endpoint=_model(project)),
        {"ml_engineer", "operator", "pipeline"},
    ),
    "read alerts": Row(
        lambda _, project: ReadAlerts(project=project),
        {*BUILDERS, "approver", "operator", "auditor"},
    ),
    "give feedback": Row(
        lambda _, project: GiveFeedback(project=project, endpoint=_model(project)),
        {*BUILDERS, "service"},
    ),
    "add feedback": Row(
        lambda _, project: AddFeedback.of(project, _model(project), []), {*BUILDERS, "service"}
    ),
    "collect labelled rows": Row(
        lambda _, project: CollectDataset(
            project=project, endpoint=_model(project), dataset="seen"
        ),
        BUILDERS,
    ),
    "seal feedback": Row(
        lambda _, project: SealFeedback(project=project, endpoint=_model(project)),
        {"ml_engineer", "pipeline", "operator"},
    ),
    "make a token": Row(
        lambda town, project: CreateToken(project=project, actor=town.ids["web"]), {"operator"}
    ),
    "revoke a token": Row(
        lambda town, project: RevokeToken(project=project, token=token_id_of(town.tokens["web"])),
        {"operator"},
    ),
    "read evidence": Row(
        lambda _, project: ReadEvidence(project=project),
        {*BUILDERS, "approver", "operator", "auditor"},
    ),
    "export evidence": Row(
        lambda _, project: ExportEvidence(**_version(project)), {*MAKERS, "approver", "auditor"}
    ),
    **{name: Row(lambda town, _, make=make: make(town), {"admin"}) for name, make in ADMIN.items()},
}


@pytest.fixture(scope="module")
def deployed(built: Town, tmp_path_factory: pytest.TempPathFactory) -> Town:
    """A town where every gate of ``alpha/score@1`` is open; nothing here changes it."""
    with pytest.MonkeyPatch.context() as environment:
        town = copy_of(built, tmp_path_factory.mktemp("deployed") / "town", environment)
        town.deploy()
        town.check_data()
        town.do("eve", WriteBom(**_version("alpha")))
        onnx = town.repo / "model.onnx"
        for who, project in (("eve", "alpha"), ("bea", "beta")):
            digest = canonical.digest_file(onnx)
            asked = Intake(project=project, locator=str(onnx), digest=digest, licence="MIT")
            town.do(who, asked)
        town.do("eve", RaiseAlerts(project="alpha", endpoint="score", signals=(GAP,)))
        town.do("oli", OpenIncident(project="alpha", endpoint="score", reason="refused too many"))
        # Another version, to compare with the one that serves.
        town.do("eve", model(town.repo, path=str(town.repo / "model.onnx")))
        planning.begin(town)
        return town


def _outcome(town: Town, name: str, action: Action) -> str:
    """``allowed``, ``role``, or the gates that deny."""
    try:
        decision, _ = town.ws.preview(town.who(name), action)
    except Denied:
        return "role"  # A token of another project, or nobody of this one.
    gates = [reason.gate for reason in decision.reasons]
    return "allowed" if decision.allowed else "role" if ROLE in gates else ", ".join(gates)


def test_the_table_has_every_action_that_there_is(deployed: Town) -> None:
    actions.register()
    shipped = {cls for cls in REGISTRY.values() if cls.__module__.startswith("assay.actions.")}
    assert {type(row.make(deployed, "alpha")) for row in TABLE.values()} == shipped


@pytest.mark.parametrize("name", TABLE)
def test_each_role_may_do_what_the_table_says_in_its_project(deployed: Town, name: str) -> None:
    row = TABLE[name]
    action = row.make(deployed, "alpha")
    found = {role: _outcome(deployed, person, action) for person, role in PEOPLE.items()}
    assert found == {role: "allowed" if role in row.roles else "role" for role in PEOPLE.values()}


@pytest.mark.parametrize("name", TABLE)
def test_nobody_does_anything_in_another_project(deployed: Town, name: str) -> None:
    row = TABLE[name]
    inside = name not in ADMIN
    for person in STRANGERS:
        assert _outcome(deployed, person, row.make(deployed, "alpha")) == "role"
    for person, role in PEOPLE.items():
        if inside:
            assert _outcome(deployed, person, row.make(deployed, "beta")) == "role", role


def test_an_engineer_of_one_project_changes_nothing_and_reads_nothing_in_another(
    town: Town,
) -> None:
    town.ws.view.follow()
    before = town.size
    for name, row in TABLE.items():
        if name in ADMIN or name in ("query", "give feedback"):  # Decided in segments.
            continue
        with pytest.raises(Denied):
            town.do("eve", row.make(town, "beta"))
    kinds = town.kinds(before)
    assert set(kinds) <= {"decision"}
    assert not any(d.predicate["allowed"] for d in town.statements("decision", before))


def test_nobody_gets_in_by_naming_a_thing_of_another_project_in_their_own(town: Town) -> None:
    """A name is looked up in the action's own project, whatever it looks like."""
    before = town.size
    for name in ("../beta/train", "beta/train", "beta/train@1", "train\x00", "%2e%2e/beta/train"):
        with pytest.raises(AssayError):
            town.do("eve", ReadDataset(project="alpha", dataset=name, purpose="scoring"))
        with pytest.raises(AssayError):
            town.do("eve", Promote(project="alpha", model=name, version="1", stage="development"))
    with pytest.raises(AssayError):
        town.do("eve", ReadDataset(project="alpha/../beta", dataset="train", purpose="scoring"))
    assert town.size == before
