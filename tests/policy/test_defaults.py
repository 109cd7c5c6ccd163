"""The default policy, gate by gate and role by role, against tables written out here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.policy.bundle import Bundle
from assay.policy.engine import Engine, Request
from assay.policy.schema import ACTIONS, PLACEHOLDERS

from .conftest import FACTS

Ask = Callable[..., Request]

ALLOWED = {
    "data_scientist": {
        *("registerDataset", "registerModel", "readEvidence", "readData", "assess"),
        *("exportEvidence", "query", "runPipeline", "examineData", "train"),
        *("proposeChange", "readPredictions", "giveFeedback", "retrain"),
    },
    "ml_engineer": {
        *("registerDataset", "registerModel", "readEvidence", "readData", "assess"),
        *("exportEvidence", "query", "promote", "deploy", "hold"),
        *("runPipeline", "examineData", "train", "releaseIntake", "proposeChange", "observe"),
        *("readPredictions", "giveFeedback", "manageAlerts", "retrain"),
    },
    "pipeline": {
        *("runPipeline", "readData", "examineData", "train", "registerDataset"),
        *("registerModel", "assess", "readEvidence"),
        *("observe", "readPredictions", "giveFeedback", "retrain"),
    },
    "approver": {
        *("approve", "supersede", "revoke", "hold", "holdDataset", "readEvidence"),
        *("exportEvidence", "approveChange", "manageAlerts"),
    },
    "operator": {
        *("deploy", "hold", "revoke", "kill", "createToken", "revokeToken", "readEvidence"),
        *("observe", "manageAlerts"),
    },
    "auditor": {"readEvidence", "exportEvidence"},
    "service": {"query", "giveFeedback"},
    "admin": {
        *("enrolActor", "manageRole", "disableActor", "eraseActor", "createProject"),
        *(
            "applyPolicy",
            "examine",
            "maintain",
            "revokeKey",
            "rotateKey",
            "manageKeys",
            "destroyRing",
        ),
    },
}
"""For production; a data scientist and a pipeline may also promote to development, and whoever
builds may make tokens for pipelines."""


def roles(role: str, project: str = "fraud") -> tuple[str, ...]:
    return ("_workspace/admin",) if role == "admin" else (f"{project}/{role}",)


def kind(role: str) -> dict[str, Any]:
    return {"kind": "service"} if role == "service" else {}


@pytest.mark.parametrize("action", sorted(ACTIONS))
@pytest.mark.parametrize("role", sorted(ALLOWED))
def test_each_role_may_do_what_the_table_says_and_nothing_else(
    engine: Engine, ask: Ask, role: str, action: str
) -> None:
    decision = engine.decide(ask(action, roles=roles(role), actor=kind(role)))
    assert decision.allowed is (action in ALLOWED[role])
    assert [r.gate for r in decision.reasons] == ([] if decision.allowed else ["role"])
    assert bool(decision.permits) is decision.allowed


@pytest.mark.parametrize("action", sorted(ACTIONS))
def test_roles_in_another_project_open_nothing_here(engine: Engine, ask: Ask, action: str) -> None:
    for actor in ({}, {"kind": "service"}):
        every = tuple(
            f"{project}/{role}"
            for role in ALLOWED
            for project in ("other", "fraud2", "frau", "", "fraud/fraud", "_workspace/fraud")
        )
        decision = engine.decide(ask(action, roles=every, actor=actor))
        assert [r.gate for r in decision.reasons] == ["role"]
    named = "_workspace/ml_engineer", "fraud/admin", "admin", "ml_engineer", "fraud/Approver"
    assert not engine.decide(ask(action, roles=named)).allowed


@pytest.mark.parametrize("role", ["data_scientist", "pipeline"])
@pytest.mark.parametrize("stage", ["development", "staging", "production"])
def test_data_scientists_and_pipelines_promote_to_development_only(
    engine: Engine, ask: Ask, stage: str, role: str
) -> None:
    decision = engine.decide(ask("promote", roles=roles(role), stage=stage))
    assert decision.allowed is (stage == "development")


def test_a_pipeline_gets_past_no_gate_of_development(engine: Engine, ask: Ask) -> None:
    asked = ask(
        "promote",
        roles=roles("pipeline"),
        actor={"kind": "service"},
        stage="development",
        facts={},
    )
    assert [r.gate for r in engine.decide(asked).reasons] == ["gate.scan"]


def test_a_person_in_the_role_of_a_service_may_not_query(engine: Engine, ask: Ask) -> None:
    assert not engine.decide(ask("query", roles=roles("service"))).allowed
    workload = ask("query", roles=roles("service"), actor={"kind": "workload"})
    assert engine.decide(workload).allowed


@pytest.mark.parametrize("action", sorted(ACTIONS))
def test_a_disabled_actor_does_nothing_whatever_the_role(
    engine: Engine, ask: Ask, action: str
) -> None:
    every = tuple(role for name in ALLOWED for role in roles(name))
    request = ask(action, roles=every, actor={"disabled": True})
    assert [r.gate for r in engine.decide(request).reasons] == ["actor.disabled"]


def test_a_missing_role_names_the_roles_that_would_do(engine: Engine, ask: Ask) -> None:
    (reason,) = engine.decide(ask("promote", roles=roles("auditor"))).reasons
    assert "project fraud" in reason.advice
    assert (
        "data_scientist (to development only), ml_engineer, pipeline (to development, and "
        "further only what was retrained under a plan of changes)"
    ) in reason.advice
    (reason,) = engine.decide(ask("enrolActor", roles=roles("auditor"))).reasons
    assert "_workspace/admin" in reason.advice


# -- gates: one fault at a time -------------------------------------------------------------------

Fault = tuple[str, str, dict[str, Any], dict[str, Any]]

RELEASE: list[Fault] = [
    # gate, least stage at which it counts, facts that differ (None: missing), what else differs
    ("gate.revoked", "development", {}, {"resource": {"revoked": True}}),
    ("gate.hold", "development", {}, {"resource": {"hold": True}}),
    ("gate.servable", "development", {}, {"resource": {"servable": False}}),
    ("gate.region", "development", {}, {"context": {"region": "moon"}}),
    ("gate.region", "development", {}, {"settings": {"regions": ["mars", "Local"]}}),
    ("gate.scan", "development", {"scan.clean": False}, {}),
    ("gate.scan", "development", {"scan.clean": None}, {}),
    ("gate.parity", "staging", {"parity.disagreement": "0.0001"}, {}),
    ("gate.parity", "staging", {"parity.disagreement": None}, {}),
    ("gate.rows", "staging", {"quality.rows": 199}, {}),
    ("gate.rows", "staging", {"quality.rows": -1}, {}),
    ("gate.rows", "staging", {"quality.rows": None}, {}),
    ("gate.skill", "staging", {"quality.skill_lower": "0.0000"}, {}),
    ("gate.skill", "staging", {"quality.skill_lower": None}, {}),
    ("gate.auc", "staging", {"quality.auc_lower": "0.6499"}, {}),
    ("gate.auc", "staging", {"quality.auc_lower": None}, {}),
    ("gate.gap", "staging", {"quality.gap_upper": "0.1001"}, {}),
    ("gate.gap", "staging", {"quality.gap_upper": None}, {}),
    ("gate.privacy", "production", {"privacy.auc_upper": "0.6001"}, {}),
    ("gate.privacy", "production", {"privacy.auc_upper": None}, {}),
    (
        *("gate.provenance", "production", {"provenance.level": "declared"}),
        {"settings": {"high_risk": True}},
    ),
    (
        *("gate.provenance", "production", {"provenance.level": None}),
        {"settings": {"high_risk": True}},
    ),
    ("gate.provenance", "production", {"provenance.level": None}, {}),
    ("gate.provenance", "production", {"provenance.level": "hearsay"}, {}),
    (
        *("gate.provenance", "production", {"provenance.level": "observed"}),
        {"settings": {"provenance_levels": ["verified"]}},
    ),
    ("gate.workspace", "production", {"doctor.critical": 1}, {}),
    ("gate.workspace", "production", {"doctor.critical": None}, {}),
    ("gate.workspace", "production", {"doctor.issued": None}, {}),
    ("gate.workspace", "production", {"doctor.issued": "2026-01-01T11:59:59Z"}, {}),
    ("gate.workspace", "production", {"doctor.issued": "2026-01-31T12:05:01Z"}, {}),
    *(
        (gate, "production", {name: value}, {"settings": {"supply_chain": True}})
        for gate, name, values in [
            ("gate.bom", "bom.components", (None, 0, -1)),
            ("gate.vulnerabilities", "vulnerabilities.critical", (None, 1, -1)),
            ("gate.vulnerabilities", "vulnerabilities.high", (None, 1, -1)),
            ("gate.vulnerabilities", "vulnerabilities.unrated", (None, 1)),
            ("gate.vulnerabilities", "vulnerabilities.unmatched", (None, 1)),
            (
                *("gate.advisories", "vulnerabilities.database_modified"),
                (None, "2025-12-31T11:59:59Z", "2026-02-01T12:00:01Z"),
            ),
            ("gate.licences", "licences.denied_count", (None, 1, -1)),
            ("gate.licences", "licences.unknown_count", (None, 1)),
        ]
        for value in values
    ),
    ("gate.approvals", "production", {}, {"approvals": 1}),
    ("gate.approvals", "production", {}, {"approvals": -5}),
]
STAGES = ["development", "staging", "production"]


def facts_with(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in {**base, **changes}.items() if v is not None}


@pytest.fixture(scope="session")
def passing() -> dict[str, Any]:
    return {
        "quality.rows": 200,
        "quality.auc_lower": "0.6500",
        "quality.skill_lower": "0.0001",
        "quality.gap_upper": "0.1000",
        "privacy.auc_upper": "0.6000",
        "scan.clean": True,
        "parity.disagreement": "0.0000",
        "provenance.level": "verified",
        "doctor.critical": 0,
        "doctor.issued": "2026-01-01T12:00:00Z",
        "bom.components": 1,
        "vulnerabilities.critical": 0,
        "vulnerabilities.high": 0,
        "vulnerabilities.unrated": 0,
        "vulnerabilities.unmatched": 0,
        "vulnerabilities.database_modified": "2026-01-01T12:00:00Z",
        "licences.denied_count": 0,
        "licences.unknown_count": 0,
    }


@pytest.mark.parametrize("action", ["promote", "deploy"])
@pytest.mark.parametrize("stage", STAGES)
def test_what_just_meets_every_limit_passes(
    engine: Engine, ask: Ask, passing: dict[str, Any], action: str, stage: str
) -> None:
    decision = engine.decide(ask(action, roles=roles("ml_engineer"), facts=passing, stage=stage))
    assert decision.allowed, decision.reasons


@pytest.mark.parametrize("action", ["promote", "deploy"])
@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("fault", RELEASE, ids=lambda f: f"{f[0]}-{f[2] or f[3]}")
def test_each_fault_fails_its_own_gate_and_no_other(
    engine: Engine, ask: Ask, passing: dict[str, Any], fault: Fault, stage: str, action: str
) -> None:
    gate, least, changes, rest = fault
    request = ask(
        action, roles=roles("ml_engineer"), stage=stage, facts=facts_with(passing, changes), **rest
    )
    counts = STAGES.index(stage) >= STAGES.index(least)
    assert [r.gate for r in engine.decide(request).reasons] == ([gate] if counts else [])


def test_what_came_as_onnx_needs_no_comparison(
    engine: Engine, ask: Ask, passing: dict[str, Any]
) -> None:
    facts = facts_with(passing, {"parity.disagreement": None})
    request = ask("promote", roles=roles("ml_engineer"), facts=facts, resource={"format": "onnx"})
    assert engine.decide(request).allowed


def test_without_any_fact_every_gate_of_the_stage_is_listed_in_order(
    engine: Engine, ask: Ask
) -> None:
    request = ask("promote", roles=roles("ml_engineer"), facts={}, approvals=0)
    assert [r.gate for r in engine.decide(request).reasons] == [
        *("gate.scan", "gate.parity", "gate.rows", "gate.skill", "gate.auc", "gate.gap"),
        *("gate.privacy", "gate.provenance", "gate.workspace", "gate.approvals"),
    ]
    request = ask(
        "promote",
        roles=roles("ml_engineer"),
        facts={},
        approvals=0,
        settings={"supply_chain": True},
    )
    assert [r.gate for r in engine.decide(request).reasons][-4:] == [
        *("gate.bom", "gate.vulnerabilities", "gate.advisories", "gate.licences"),
    ]


OTHERS: list[tuple[str, str, str, dict[str, Any]]] = [
    ("deploy", "operator", "gate.isolation", {"context": {"isolation": "none"}}),
    ("approve", "approver", "gate.approve_own", {"resource": {"author": "bob"}}),
    ("approve", "approver", "gate.approve_revoked", {"resource": {"revoked": True}}),
    ("supersede", "approver", "gate.supersede_own", {"resource": {"author": "bob"}}),
    ("hold", "ml_engineer", "gate.unhold", {"context": {"holders": [{"__entity": {"type": "Assay::Actor", "id": "eve"}}]}}),  # noqa: E501
    *(
        (action, role, gate, change)
        for action in ("readData", "examineData", "train")
        for role in ("data_scientist", "pipeline")
        for gate, change in [
            ("data.purpose", {"context": {"purpose": "marketing"}}),
            ("data.purpose", {"context": {"purpose": ""}}),
            ("data.retention", {"resource": {"retain_until": "2026-01-31T12:00:00Z"}}),
            ("data.hold", {"resource": {"hold": True}}),
            ("data.special", {"resource": {"special": True}, "context": {"mfa": False}}),
            ("data.special", {"resource": {"special": True}, "context": {"ticket": ""}}),
        ]
    ),
    ("train", "ml_engineer", "train.personal", {"facts": {}}),
    ("train", "ml_engineer", "train.personal", {"facts": {"data.undeclared_personal": 1}}),
    ("train", "ml_engineer", "train.personal", {"facts": {"data.undeclared_personal": -1}}),
    *(
        ("runPipeline", role, gate, change)
        for role in ("data_scientist", "ml_engineer", "pipeline")
        for gate, change in [
            ("run.environment", {"context": {"environment": "altered"}}),
            ("run.environment", {"context": {"environment": ""}}),
            ("run.environment", {"context": {"environment": "Locked"}}),
            ("run.isolation", {"context": {"isolation": "none"}}),
            ("run.isolation", {"context": {"isolation": ""}}),
            ("run.network", {"context": {"ports": [443]}}),
            ("run.network", {"context": {"ports": [443, 80]}, "settings": {"step_ports": [443]}}),
            ("run.variables", {"context": {"variables": ["HOME"]}}),
            ("run.variables", {"context": {"variables": ["home"]}, "settings": {"step_variables": ["HOME"]}}),  # noqa: E501
            ("run.processes", {"context": {"processes": True}}),
            ("run.executor", {"context": {"executor": "cloud"}}),
            ("run.executor", {"context": {"executor": "ray"}, "settings": {"executors": ["local"]}}),  # noqa: E501
        ]
    ),
    *(
        ("releaseIntake", "ml_engineer", gate, {"facts": facts_with(FACTS, {name: value}), **rest})
        for gate, name, values, rest in [
            ("intake.scan", "scan.clean", (None, False), {}),
            ("intake.pinned", "intake.pinned", (None, False), {}),
            ("intake.licence", "licences.denied_count", (None, 1, -1), {}),
            ("intake.licence", "licences.unknown_count", (None, 1, -1), {}),
            (
                *("intake.signer", "intake.signer", (None, "unsigned", "untrusted", "")),
                {"settings": {"intake_signed": True}},
            ),
        ]
        for value in values
    ),
    ("createToken", "operator", "token.roles", {"context": {"roles": ["pipeline"]}}),
    ("createToken", "operator", "token.roles", {"context": {"roles": []}}),
    ("createToken", "operator", "token.roles", {"context": {"roles": ["approver"]}}),
    ("query", "ml_engineer", "endpoint.killed", {"resource": {"killed": True}}),
    ("query", "ml_engineer", "endpoint.revoked", {"resource": {"revoked": True}}),
    ("query", "ml_engineer", "endpoint.hold", {"resource": {"hold": True}}),
    *(
        (action, role, "gate.reason", {"context": {"reason": ""}})
        for action, role in [
            ("revoke", "operator"), ("hold", "operator"), ("kill", "operator"),
            ("supersede", "approver"), ("holdDataset", "approver"),
            ("revokeKey", "admin"), ("rotateKey", "admin"),
            ("manageKeys", "admin"), ("destroyRing", "admin"),
        ]
    ),
    ("destroyRing", "admin", "gate.ticket", {"context": {"ticket": ""}}),
]  # fmt: skip


@pytest.mark.parametrize(("action", "role", "gate", "change"), OTHERS)
def test_each_other_gate_fails_for_its_own_fault(
    engine: Engine, ask: Ask, action: str, role: str, gate: str, change: dict[str, Any]
) -> None:
    assert engine.decide(ask(action, roles=roles(role))).allowed
    decision = engine.decide(ask(action, roles=roles(role), **change))
    assert [r.gate for r in decision.reasons] == [gate]


def test_special_data_without_a_ticket_is_denied(engine: Engine, ask: Ask) -> None:
    request = ask("readData", roles=roles("data_scientist"), resource={"special": True})
    assert engine.decide(request).allowed
    del request.context["ticket"]
    assert [r.gate for r in engine.decide(request).reasons] == ["data.special"]


def test_a_model_is_not_blocked_because_its_author_may_approve(engine: Engine, ask: Ask) -> None:
    both = (*roles("ml_engineer"), *roles("approver"))
    assert engine.decide(ask("promote", roles=both, resource={"author": "bob"})).allowed


@settings(max_examples=150, deadline=None)
@given(
    st.sets(st.integers(0, len(RELEASE) - 1), max_size=6),
    st.sampled_from(STAGES),
    st.sampled_from(["promote", "deploy"]),
    st.booleans(),
)
def test_any_set_of_faults_fails_exactly_their_gates(
    engine: Engine,
    ask: Ask,
    passing: dict[str, Any],
    chosen: set[int],
    stage: str,
    action: str,
    entitled: bool,
) -> None:
    facts: dict[str, Any] = dict(passing)
    rest: dict[str, dict[str, Any]] = {"resource": {}, "context": {}, "settings": {}}
    approvals = 2
    expected: set[str] = set()
    touched: set[str] = set()
    for index in sorted(chosen):
        gate, least, changes, other = RELEASE[index]
        if gate in touched:
            continue
        touched.add(gate)
        facts |= changes
        approvals = other.get("approvals", approvals)
        for key in rest:
            rest[key] |= other.get(key, {})
        if STAGES.index(stage) >= STAGES.index(least):
            expected.add(gate)
    given_roles = roles("ml_engineer") if entitled else roles("auditor")
    decision = engine.decide(
        ask(
            action,
            roles=given_roles,
            stage=stage,
            facts=facts_with(facts, {}),
            approvals=approvals,
            **rest,
        )
    )
    if not entitled:
        expected.add("role")
    assert decision.allowed is not bool(expected)
    assert {r.gate for r in decision.reasons} == expected
    assert len(decision.reasons) == len(expected)


@settings(max_examples=80, deadline=None)
@given(st.integers(-20_000, 20_000))
def test_a_decimal_is_compared_exactly_at_its_limit(
    engine: Engine, ask: Ask, passing: dict[str, Any], ten_thousandths: int
) -> None:
    sign = "-" if ten_thousandths < 0 else ""
    whole, part = divmod(abs(ten_thousandths), 10_000)
    value = {"__extn": {"fn": "decimal", "arg": f"{sign}{whole}.{part:04}"}}
    facts = {**passing, "quality.auc_lower": value}
    decision = engine.decide(ask("promote", roles=roles("ml_engineer"), facts=facts))
    assert decision.allowed is (ten_thousandths >= 6500)


def test_every_default_gate_explains_itself(engine: Engine, bundle: Bundle) -> None:
    for action in ACTIONS:
        for gate in engine.gates(action):
            assert gate.advice.endswith("."), gate
            assert gate.control, gate
            assert not gate.remedy or gate.remedy.startswith("assay "), gate
            assert bool(gate.remedy) is bool(gate.seconds), gate
    texts = "".join(bundle.policies.values())
    assert all("{" + word + "}" in texts for word in PLACEHOLDERS - {"purpose"})


def test_gates_without_a_remedy_of_their_own_take_that_of_their_facts(engine: Engine) -> None:
    gates = {gate.gate: gate for gate in engine.gates("promote")}
    assert gates["gate.scan"].remedy == "assay model scan {model}@{version} --project {project}"
    assert gates["gate.scan"].seconds == 5
    assert gates["gate.auc"].remedy.startswith("assay model assess {model}@{version} --data")


def test_gates_of_an_action_are_those_that_can_fail_for_it(engine: Engine) -> None:
    assert [g.gate for g in engine.gates("query")] == [
        *("actor.disabled", "endpoint.killed", "endpoint.revoked", "endpoint.hold"),
    ]
    assert [g.gate for g in engine.gates("examine")] == ["actor.disabled"]
    assert engine.gates("launchMissiles") == []
