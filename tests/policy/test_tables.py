"""The policy's own table of tests, and asking an old decision again."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from assay import canonical
from assay.errors import Usage
from assay.policy import testing
from assay.policy.bundle import Bundle, build
from assay.policy.engine import Engine, Request
from assay.policy.replay import replay
from assay.policy.schema import ACTIONS

Declared = list[dict[str, Any]]
Ask = Callable[..., Request]

HEAD = 'now = "2026-01-31T12:00:00Z"\n[facts]\n"scan.clean" = true\n'


def table(folder: Path, cases: str, head: str = HEAD) -> None:
    (folder / "tests.toml").write_text(head + cases)


def case(**fields: str) -> str:
    plain = {"name": '"a case"', "action": '"promote"', "expect": '"allow"', **fields}
    return "[[cases]]\n" + "".join(f"{k} = {v}\n" for k, v in plain.items() if v)


def test_the_default_table_passes_and_asks_every_action_of_every_role(bundle: Bundle) -> None:
    results = testing.run(bundle)
    assert [result.explanation for result in results if not result.passed] == []
    asked: dict[str, set[str]] = {}
    for item in bundle.tests["cases"]:
        names = item["action"] if isinstance(item["action"], list) else [item["action"]]
        if len(item["roles"]) == 1 and "in_project" not in item:
            asked.setdefault(item["roles"][0], set()).update(names)
    inside = {action for action, kind in ACTIONS.items() if kind not in ("Workspace", "KeyRing")}
    for role, actions in asked.items():
        assert inside <= actions, (role, inside - actions)


def test_a_failing_case_says_what_was_expected_and_what_came(
    folder: Path, declarations: Declared
) -> None:
    table(folder, case(roles='["auditor"]', stage='"development"'))
    (result,) = testing.run(build(folder, declarations))
    assert not result.passed
    assert result.explanation == "a case (promote): expected allow, got role"


def test_a_case_that_cannot_be_evaluated_says_why(folder: Path, declarations: Declared) -> None:
    table(folder, case(roles='["ml_engineer"]', context="{ region = 3 }"))
    (result,) = testing.run(build(folder, declarations))
    assert not result.passed
    assert "could not be evaluated" in result.explanation


def test_a_denial_by_more_gates_than_expected_fails(folder: Path, declarations: Declared) -> None:
    fields = {
        "roles": '["ml_engineer"]',
        "stage": '"development"',
        "resource": "{ revoked = true, hold = true }",
    }
    table(folder, case(**fields, expect='["gate.hold"]'))
    assert not testing.run(build(folder, declarations))[0].passed
    table(folder, case(**fields, expect='["gate.hold", "gate.revoked"]'))
    assert testing.run(build(folder, declarations))[0].passed


CASES: list[tuple[str, str]] = [
    (case(action='"fly"'), "fly is no action"),
    (case(action="[]"), "no action"),
    (case(expect='"deny"'), "expect"),
    (case(expect="[]"), "expect"),
    (case(expect=""), "expect"),
    (case(name='""'), "name"),
    (case() + case(), "taken"),
    (case(roles='["chief"]'), "no role"),
    (case(stage='"qa"'), "no stage"),
    (case(luck="3"), "luck"),
    (case(facts='{ "luck.amount" = 3 }'), "nobody declares the fact luck.amount"),
    (case(facts='{ "quality.rows" = "3" }'), "not a long"),
    (case(facts='{ "quality.rows" = true }'), "not a long"),
    (case(facts='{ "quality.auc_lower" = 0.7 }'), "facts"),
    (case(facts='{ "scan.clean" = 1 }'), "not a bool"),
    (case(facts='{ "doctor.issued" = "today" }'), "today"),
    (case(without='["luck.amount"]'), "nobody declares"),
]


@pytest.mark.parametrize(("cases", "why"), CASES)
def test_a_faulty_case_is_refused_when_the_bundle_is_built(
    folder: Path, declarations: Declared, cases: str, why: str
) -> None:
    table(folder, cases)
    with pytest.raises(Usage, match=re.escape(why)) as caught:
        build(folder, declarations)
    assert "tests.toml" in caught.value.message
    assert caught.value.remedy


@pytest.mark.parametrize("fields", [{"resource": "{ luck = 1 }"}, {"actor": "{ luck = 1 }"}])
def test_a_case_about_an_attribute_that_is_none_is_refused_when_run(
    folder: Path, declarations: Declared, fields: dict[str, str]
) -> None:
    table(folder, case(roles='["ml_engineer"]', **fields))
    with pytest.raises(Usage, match="luck"):
        testing.run(build(folder, declarations))


@pytest.mark.parametrize("head", ["", "now = 3\n", 'now = "soon"\n', HEAD + "[luck]\n"])
def test_a_faulty_table_is_refused(folder: Path, declarations: Declared, head: str) -> None:
    table(folder, case(), head)
    with pytest.raises(Usage):
        build(folder, declarations)


# -- replay ---------------------------------------------------------------------------------------


def recorded(engine: Engine, request: Request) -> tuple[dict[str, Any], dict[str, Any]]:
    """A request and its decision as the ledger holds them."""
    decision = engine.decide(request)
    stored = canonical.decode(canonical.encode({"cedar": request, "decision": decision}))
    return stored["cedar"], stored["decision"]


def test_an_untouched_decision_replays(bundle: Bundle, engine: Engine, ask: Ask) -> None:
    for request in (
        ask("promote", roles=("fraud/ml_engineer",)),
        ask("promote", roles=("fraud/ml_engineer",), facts={}, approvals=0),
        ask("promote"),
        ask("promote", context={"region": 3}),
    ):
        again = replay(bundle, *recorded(engine, request))
        assert again, again.explanation
        assert again.explanation == "The policy decides as it did."


def test_a_decision_that_was_altered_does_not_replay(
    bundle: Bundle, engine: Engine, ask: Ask
) -> None:
    request, decision = recorded(engine, ask("promote", roles=("fraud/ml_engineer",), approvals=0))
    for change, why in (
        ({"allowed": True}, "recorded as allowed, now denied"),
        ({"allowed": 0}, "recorded as"),
        ({"reasons": []}, "gate.approvals passed then and fails now"),
        ({"reasons": [*decision["reasons"], {"gate": "gate.hold"}]}, "gate.hold failed then"),
        ({"bundle": "sha256:" + "0" * 64}, "made under bundle"),
    ):
        again = replay(bundle, request, {**decision, **change})
        assert not again
        assert why in again.explanation


def test_a_request_that_was_altered_does_not_replay(
    bundle: Bundle, engine: Engine, ask: Ask
) -> None:
    request, decision = recorded(engine, ask("promote", roles=("fraud/ml_engineer",)))
    request["context"]["approvals"]["by_others"] = 0
    again = replay(bundle, request, decision)
    assert not again
    assert again.decision is not None
    assert [r.gate for r in again.decision.reasons] == ["gate.approvals"]


def test_gates_in_another_order_are_another_record(
    bundle: Bundle, engine: Engine, ask: Ask
) -> None:
    request, decision = recorded(engine, ask("promote", facts={}))
    decision["reasons"].reverse()
    assert "another order" in replay(bundle, request, decision).explanation


@pytest.mark.parametrize("missing", ["principal", "action", "resource", "context", "entities"])
def test_an_incomplete_request_does_not_replay(
    bundle: Bundle, engine: Engine, ask: Ask, missing: str
) -> None:
    request, decision = recorded(engine, ask("promote", roles=("fraud/ml_engineer",)))
    del request[missing]
    again = replay(bundle, request, decision)
    assert not again
    assert again.decision is None


def test_an_incomplete_record_or_unreadable_bundle_does_not_replay(
    bundle: Bundle, engine: Engine, ask: Ask
) -> None:
    request, decision = recorded(engine, ask("promote", roles=("fraud/ml_engineer",)))
    assert not replay(bundle, request, {})
    assert not replay(bundle, request, {**decision, "reasons": None})
    assert not replay(bundle, request, {**decision, "reasons": [{}]})
    broken = msgspec.structs.replace(bundle, schema="")
    assert not replay(broken, request, {"allowed": True, "reasons": []})
