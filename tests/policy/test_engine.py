"""The engine closes on whatever it cannot read, type or evaluate."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import cedarpy
import msgspec
import pytest

from assay import canonical
from assay.errors import Corrupt
from assay.policy import engine as engines
from assay.policy.bundle import Bundle
from assay.policy.engine import Decision, Engine, Request

Ask = Callable[..., Request]
ENGINEER = ("fraud/ml_engineer",)


def gates(decision: Decision) -> list[str]:
    return [reason.gate for reason in decision.reasons]


def error_of(decision: Decision) -> str:
    assert not decision.allowed
    assert decision.permits == []
    (first, *_) = decision.reasons
    assert first.gate == "engine.error"
    return first.advice


def with_policy(bundle: Bundle, text: str) -> Engine:
    return Engine(msgspec.structs.replace(bundle, policies={**bundle.policies, "x.cedar": text}))


def test_a_decision_names_its_permits_bundle_and_engine(
    engine: Engine, bundle: Bundle, ask: Ask
) -> None:
    decision = engine.decide(ask("promote", roles=ENGINEER))
    assert decision.allowed
    assert decision.permits == ["ml_engineer.work"]
    assert decision.bundle == bundle.digest == canonical.digest(bundle.encode())
    assert decision.engine == engines.ENGINE
    assert decision.engine.startswith("cedar-4.")


def test_a_request_survives_being_stored_as_json(engine: Engine, ask: Ask) -> None:
    for action in ("promote", "readData", "examine"):
        request = ask(action, roles=ENGINEER, facts={"scan.clean": True})
        stored = canonical.encode(msgspec.to_builtins(request))
        again = msgspec.convert(canonical.decode(stored), Request)
        assert again == request
        assert engine.decide(again) == engine.decide(request)


def test_an_unknown_action_is_denied(engine: Engine, ask: Ask) -> None:
    request = ask("promote", roles=ENGINEER)
    for action in (
        'Assay::Action::"launch"',
        'Assay::Action::""',
        "promote",
        "",
        'Action::"promote"',
    ):
        request.action = action
        error_of(engine.decide(request))
    request.action = 'Assay::Actor::"promote"'
    assert "no actor, or the action is none" in error_of(engine.decide(request))


def test_an_action_on_the_wrong_type_of_resource_is_denied(engine: Engine, ask: Ask) -> None:
    request = ask("promote", roles=ENGINEER)
    dataset = ask("readData")
    request.resource, request.entities[2] = dataset.resource, dataset.entities[2]
    error_of(engine.decide(request))


@pytest.mark.parametrize("missing", [0, 1, 2])
def test_a_missing_entity_is_denied(engine: Engine, ask: Ask, missing: int) -> None:
    request = ask("promote", roles=ENGINEER)
    del request.entities[missing]
    error_of(engine.decide(request))


def test_an_entity_given_twice_with_other_attributes_is_denied(engine: Engine, ask: Ask) -> None:
    request = ask("promote", roles=ENGINEER, resource={"revoked": True})
    other = copy.deepcopy(request.entities[2])
    other["attrs"]["revoked"] = False
    for entities in ([*request.entities, other], [other, *request.entities]):
        again = msgspec.structs.replace(request, entities=entities)
        error_of(engine.decide(again))


WRONG_ATTRIBUTES: list[tuple[int, str, Any]] = [
    (0, "disabled", "false"),
    (0, "disabled", 0),
    (0, "disabled", None),
    (0, "kind", ["person"]),
    (0, "extra", 1),
    (1, "min_rows", "200"),
    (1, "min_rows", 1.5),
    (1, "min_rows", 1 << 63),
    (1, "min_auc_lower", {"__extn": {"fn": "decimal", "arg": "NaN"}}),
    (1, "min_auc_lower", {"__extn": {"fn": "decimal", "arg": "0.65001"}}),
    (1, "min_auc_lower", 0.65),
    (1, "regions", "local"),
    (1, "regions", ["local", 3]),
    (1, "roles", {}),
    (1, "roles", {"ml_engineer": "fraud/ml_engineer"}),
    (2, "author", "ann"),
    (2, "author", {"__entity": {"type": "Assay::Role", "id": "ann"}}),
    (2, "project", {"__entity": {"type": "Assay::Actor", "id": "fraud"}}),
    (2, "revoked", {}),
]


@pytest.mark.parametrize(("which", "name", "value"), WRONG_ATTRIBUTES)
def test_an_attribute_of_the_wrong_type_is_denied(
    engine: Engine, ask: Ask, which: int, name: str, value: Any
) -> None:
    request = ask("promote", roles=ENGINEER)
    request.entities[which]["attrs"][name] = value
    error_of(engine.decide(request))


@pytest.mark.parametrize(
    ("which", "name"),
    [
        (0, "disabled"),
        (1, "min_rows"),
        (1, "roles"),
        (1, "regions"),
        (2, "revoked"),
        (2, "project"),
    ],
)
def test_a_missing_attribute_is_denied(engine: Engine, ask: Ask, which: int, name: str) -> None:
    request = ask("promote", roles=ENGINEER)
    del request.entities[which]["attrs"][name]
    error_of(engine.decide(request))


@pytest.mark.parametrize("missing", ["now", "mfa", "stage", "region", "facts", "approvals"])
def test_a_missing_part_of_the_context_is_denied(engine: Engine, ask: Ask, missing: str) -> None:
    request = ask("promote", roles=ENGINEER)
    del request.context[missing]
    error_of(engine.decide(request))


@pytest.mark.parametrize(
    "change",
    [
        {"stage": "production"},
        {"stage": {"__entity": {"type": "Assay::Stage", "id": "qa"}}},
        {"stage": {"__entity": {"type": "Assay::Role", "id": "development"}}},
        {"region": None},
        {"region": ["local"]},
        {"approvals": {"by_others": "2"}},
        {"approvals": {"by_others": 2.0}},
        {"approvals": {}},
        {"now": "soon"},
        {"now": 5},
        {"mfa": "yes"},
        {"unknown": True},
        {"facts": []},
        {"facts": None},
        {"facts": {"invented": {"fact": 1}}},
        {"facts": {"quality": {"invented": 1}}},
        {"facts": {"quality": 1}},
        {"facts": {"scan": {"clean": "true"}}},
        {"facts": {"scan": {"clean": 1}}},
        {"facts": {"quality": {"rows": "1000"}}},
        {"facts": {"quality": {"rows": 1000.0}}},
        {"facts": {"quality": {"rows": 1 << 63}}},
        {"facts": {"doctor": {"issued": "2026"}}},
    ],
)
def test_a_context_of_the_wrong_type_is_denied(
    engine: Engine, ask: Ask, change: dict[str, Any]
) -> None:
    error_of(engine.decide(ask("promote", roles=ENGINEER, context=change)))


@pytest.mark.parametrize(
    "value",
    [
        *("NaN", "nan", "inf", "-inf", "Infinity", "1e9", "0,7", "0.70001", ".7", "1.", "1", ""),
        *(" 0.7", "0.7 ", "0x1.0", "+0.9", "٠.٩", "0.9\n", "99999999999999999999.0"),
    ],
)
def test_what_only_looks_like_a_decimal_is_denied(engine: Engine, ask: Ask, value: str) -> None:
    for spelled in (value, {"__extn": {"fn": "decimal", "arg": value}}):
        facts = {"quality": {"auc_lower": spelled}}
        error_of(engine.decide(ask("promote", roles=ENGINEER, context={"facts": facts})))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -0.0, 0.9, 10**30, b"x", {1: 2}])
def test_a_python_value_that_cedar_lacks_is_denied(engine: Engine, ask: Ask, value: Any) -> None:
    facts = {"quality": {"auc_lower": value}}
    error_of(engine.decide(ask("promote", roles=ENGINEER, context={"facts": facts})))


def test_an_extension_function_cannot_stand_in_for_another(engine: Engine, ask: Ask) -> None:
    for call in (
        {"__extn": {"fn": "ip", "arg": "127.0.0.1"}},
        {"__extn": {"fn": "system", "arg": "true"}},
        {"__extn": {"fn": "decimal", "arg": {"__extn": {"fn": "decimal", "arg": "0.9"}}}},
        {"__extn": "decimal"},
        {"__expr": 'decimal("0.9")'},
    ):
        facts = {"quality": {"auc_lower": call}}
        error_of(engine.decide(ask("promote", roles=ENGINEER, context={"facts": facts})))


@pytest.mark.parametrize(
    "entities",
    [
        [],
        [{}],
        [None],
        ["x"],
        [{"uid": "x"}],
        [{"uid": {"type": "Assay::Actor"}}],
        [{"uid": {"type": ["Assay::Actor"], "id": {}}}],
    ],
)
def test_malformed_entities_are_denied(engine: Engine, ask: Ask, entities: Any) -> None:
    request = ask("promote", roles=ENGINEER)
    error_of(engine.decide(msgspec.structs.replace(request, entities=entities)))
    more = [*request.entities, *entities]
    decision = engine.decide(msgspec.structs.replace(request, entities=more))
    assert decision.allowed is not bool(entities)


def test_depth_that_no_parser_takes_is_denied(engine: Engine, ask: Ask) -> None:
    for depth in (200, 100_000):
        deep: Any = 1
        for _ in range(depth):
            deep = {"quality": deep} if depth % 3 else [deep]
        error_of(engine.decide(ask("promote", roles=ENGINEER, context={"facts": deep})))


def test_an_entity_cannot_make_a_role_a_child_of_another(engine: Engine, ask: Ask) -> None:
    request = ask("promote", roles=("fraud/auditor",))
    request.entities.append(
        {
            "uid": {"type": "Assay::Role", "id": "fraud/auditor"},
            "attrs": {},
            "parents": [{"type": "Assay::Role", "id": "fraud/ml_engineer"}],
        }
    )
    error_of(engine.decide(request))


OVERFLOW = """
@id("x.overflow") @advice("Too many rows.")
forbid (principal, action == Assay::Action::"promote", resource)
when { context.facts has quality.rows && context.facts.quality.rows + 9223372036854775807 < 0 };
"""


def test_a_gate_that_errors_denies_although_cedar_skips_it(bundle: Bundle, ask: Ask) -> None:
    engine = with_policy(bundle, OVERFLOW)
    request = ask("promote", roles=ENGINEER)
    assert "x.overflow" in error_of(engine.decide(request))
    bare = cedarpy.is_authorized(
        {
            "principal": request.principal,
            "action": request.action,
            "resource": request.resource,
            "context": request.context,
        },
        OVERFLOW + "".join(bundle.policies.values()),
        request.entities,
        bundle.schema,
    )
    assert bare.allowed, "were this denied, the engine's own check would not be what is tested"


def test_an_error_does_not_hide_the_gates_that_fail(bundle: Bundle, ask: Ask) -> None:
    engine = with_policy(bundle, OVERFLOW)
    decision = engine.decide(ask("promote", roles=ENGINEER, resource={"revoked": True}))
    assert gates(decision) == ["engine.error", "gate.revoked"]


def test_a_permit_that_errors_denies_too(bundle: Bundle, ask: Ask) -> None:
    engine = with_policy(
        bundle,
        '@id("x.permit") permit (principal, action == Assay::Action::"promote", resource)'
        " when { context.approvals.by_others + 9223372036854775807 > 0 };",
    )
    assert "x.permit" in error_of(engine.decide(ask("promote", roles=ENGINEER)))


class _Panic(BaseException):
    """What a panic in a Rust extension is to Python."""


@pytest.mark.parametrize("error", [RuntimeError("boom"), _Panic("boom"), MemoryError()])
def test_whatever_the_engine_throws_is_a_denial(
    engine: Engine, ask: Ask, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise error

    monkeypatch.setattr(engines.cedarpy, "is_authorized", broken)
    assert (str(error) or type(error).__name__) in error_of(
        engine.decide(ask("promote", roles=ENGINEER))
    )


@pytest.mark.parametrize(
    "answer",
    [
        {"decision": "NoDecision", "diagnostics": {}},
        {"decision": "Allow", "diagnostics": {"reason": [], "errors": []}},
        {"decision": "Allow", "diagnostics": {"reason": ["ml_engineer.work"], "errors": ["x"]}},
        {"decision": "Allow", "diagnostics": {"reason": ["gate.revoked"], "errors": []}},
        {"decision": "Maybe", "diagnostics": {}},
        {},
    ],
)
def test_an_answer_that_is_not_a_clean_yes_is_a_no(
    engine: Engine, ask: Ask, monkeypatch: pytest.MonkeyPatch, answer: dict[str, Any]
) -> None:
    result = cedarpy.AuthzResult(answer)
    monkeypatch.setattr(engines.cedarpy, "is_authorized", lambda *_, **__: result)
    error_of(engine.decide(ask("promote", roles=ENGINEER)))


# -- bundles that do not compile ------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        {"schema": "namespace Assay {"},
        {"schema": ""},
        {"schema": "namespace Assay { entity Actor; }"},
        {"policies": {}},
        {"policies": {"x.cedar": "permit(principal, action, resource);"}},
        {"policies": {"x.cedar": "gibberish"}},
        {"declarations": []},
        {"declarations": [{"name": "x"}]},
        {"producers": [{"producer": "x"}]},
        {"settings": {}},
        {"settings": {"default": {}}},
    ],
)
def test_a_bundle_that_does_not_compile_is_no_policy(
    bundle: Bundle, change: dict[str, Any]
) -> None:
    with pytest.raises(Corrupt, match="policy bundle sha256:"):
        Engine(msgspec.structs.replace(bundle, **change))


def test_a_panic_while_compiling_is_no_policy(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    def panic(_: str) -> Any:
        raise _Panic("boom")

    monkeypatch.setattr(engines.cedarpy, "Schema", type("S", (), {"from_str": staticmethod(panic)}))
    with pytest.raises(Corrupt, match="boom"):
        Engine(bundle)


def test_facts_as_plain_json_strings_are_typed_by_the_schema(engine: Engine, ask: Ask) -> None:
    request = ask("promote", roles=ENGINEER)
    request.context["facts"]["quality"]["auc_lower"] = "0.9000"
    request.context["now"] = "2026-01-31T12:00:00.000Z"
    assert engine.decide(request).allowed
    assert json.loads(json.dumps(request.context)) == request.context
