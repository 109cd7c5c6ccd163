"""The default policy for pipelines: what runs, what steps may use, who makes tokens for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from assay.policy.engine import Engine, Request
from assay.types import PROJECT_ROLES

Ask = Callable[..., Request]


def roles(role: str) -> tuple[str, ...]:
    return (f"fraud/{role}",)


def test_the_project_grants_what_steps_may_use(engine: Engine, ask: Ask) -> None:
    granted = {"step_ports": [443, 65535], "step_variables": ["TZ", "LANG"], "step_processes": True}
    asked = {"ports": [65535], "variables": ["LANG"], "processes": True, "environment": "verified"}
    for role in ("data_scientist", "ml_engineer", "pipeline"):
        request = ask("runPipeline", roles=roles(role), settings=granted, context=asked)
        assert engine.decide(request).allowed


def test_a_run_that_asks_for_too_much_hears_it_all_at_once_and_sees_what_it_asked_for(
    engine: Engine, ask: Ask
) -> None:
    asked = {
        "environment": "altered",
        "isolation": "none",
        "ports": [80, 443],
        "variables": ["TOKEN"],
        "processes": True,
        "executor": "cloud",
    }
    request = ask("runPipeline", roles=roles("auditor"), context=asked)
    reasons = engine.decide(request).reasons
    assert [r.gate for r in reasons] == [
        *("role", "run.environment", "run.isolation", "run.network", "run.variables"),
        *("run.processes", "run.executor"),
    ]
    assert [r.measured for r in reasons[1:]] == [
        {"environment": "altered"},
        {"isolation": "none", "isolation_levels": "full, process"},
        {"ports": "443, 80", "step_ports": "none"},
        {"variables": "TOKEN", "step_variables": "none"},
        {"processes": "true", "step_processes": "false"},
        {"executor": "cloud", "executors": "local, ray"},
    ]


@pytest.mark.parametrize(
    "context",
    [
        {"ports": ["443"]},
        {"ports": 443},
        {"variables": "TZ"},
        {"processes": "no"},
        {"executor": ["local"]},
        {"environment": None},
        {"more": 1},
    ],
)
def test_a_run_that_asks_in_other_types_is_denied(
    engine: Engine, ask: Ask, context: dict[str, Any]
) -> None:
    decision = engine.decide(ask("runPipeline", roles=roles("ml_engineer"), context=context))
    assert [r.gate for r in decision.reasons] == ["engine.error"]


@pytest.mark.parametrize("name", ["environment", "isolation", "ports", "variables", "processes"])
def test_a_run_that_does_not_say_what_it_asks_for_is_denied(
    engine: Engine, ask: Ask, name: str
) -> None:
    request = ask("runPipeline", roles=roles("ml_engineer"))
    del request.context[name]
    assert [r.gate for r in engine.decide(request).reasons] == ["engine.error"]


def test_only_who_builds_makes_a_token_for_a_pipeline(engine: Engine, ask: Ask) -> None:
    """Whoever makes a token holds it: it is no way to roles that one does not have."""
    for role in PROJECT_ROLES:
        request = ask("createToken", roles=roles(role), context={"roles": ["pipeline"]})
        assert engine.decide(request).allowed is (role in ("data_scientist", "ml_engineer")), role
    every = (*roles("ml_engineer"), *roles("operator"))
    request = ask("createToken", roles=every, context={"roles": ["pipeline", "approver"]})
    assert [r.gate for r in engine.decide(request).reasons] == ["token.roles"]


def test_training_needs_a_check_that_a_closed_gate_names(engine: Engine, ask: Ask) -> None:
    (reason,) = engine.decide(ask("train", roles=roles("ml_engineer"), facts={})).reasons
    assert reason.measured == {"data.undeclared_personal": "missing"}
    assert reason.remedy == "assay data check {data} --project {project}"
    found = {"data.undeclared_personal": 2}
    (reason,) = engine.decide(ask("train", roles=roles("ml_engineer"), facts=found)).reasons
    assert (reason.measured, reason.remedy) == ({"data.undeclared_personal": "2"}, "")
