"""Hostile names and damaged requests: the engine denies, and raises nothing."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.policy import vocabulary as cedar
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


HOSTILE = [
    'x" || true || "',
    "x\\",
    "x\ny",
    'bob", parents: [Assay::Role::"fraud/ml_engineer',
    "x\u2028y",
    "bob\\u{0}",
    '"}]},{"uid":{"type":"Assay::Actor","id":"bob"},"parents":[',
]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_is_only_a_name(engine: Engine, ask: Ask, name: str) -> None:
    request = ask("promote", roles=ENGINEER)
    attributes = dict.fromkeys(("kind", "identity_level"), "person")

    def ask_as(roles: list[str]) -> Decision:
        actor = cedar.actor_entity(name, **attributes, disabled=False, mfa=True, roles=roles)
        return engine.decide(
            msgspec.structs.replace(
                request,
                principal=cedar.actor_uid(name),
                resource=cedar.model_version_uid("fraud", name, name),
                entities=[
                    actor,
                    request.entities[1],
                    cedar.model_version_entity(
                        "fraud",
                        name,
                        name,
                        author=name,
                        revoked=False,
                        hold=False,
                        format=name,
                        servable=True,
                    ),
                ],
            )
        )

    assert gates(ask_as([])) == ["role"]
    assert gates(ask_as([name, f"fraud/{name}"])) == ["role"]
    assert ask_as(["fraud/ml_engineer"]).allowed


@pytest.mark.parametrize("name", HOSTILE)
def test_an_unescaped_name_in_a_uid_is_denied(engine: Engine, ask: Ask, name: str) -> None:
    request = ask("promote", roles=ENGINEER)
    request.principal = f'Assay::Actor::"{name}"'
    error_of(engine.decide(request))


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_no_damaged_request_makes_the_engine_raise(
    engine: Engine, ask: Ask, data: st.DataObject
) -> None:
    whole: Any = msgspec.to_builtins(ask("promote", roles=ENGINEER))
    junk = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["__extn", "__entity", "uid", "a"]), inner, max_size=3
            )
        ),
        max_leaves=6,
    )
    here = whole
    while True:
        keys = sorted(here) if isinstance(here, dict) else list(range(len(here)))
        key = data.draw(st.sampled_from(keys))
        below = here[key]
        if isinstance(below, (dict, list)) and below and data.draw(st.integers(0, 5)):
            here = below
            continue
        here[key] = data.draw(junk)
        break
    damaged = Request(**whole)
    decision = engine.decide(damaged)
    assert decision.allowed is not bool(decision.reasons)
    if decision.allowed:
        # Only a value of the very type that stood there can have been accepted.
        assert type(here[key]) is type(below)


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=60))
def test_an_error_is_told_in_printable_text(engine: Engine, ask: Ask, name: str) -> None:
    request = ask("promote", roles=ENGINEER)
    request.resource = name
    advice = error_of(engine.decide(request))
    assert advice.isprintable()
    assert len(advice) < 500


def test_one_engine_answers_many_threads(engine: Engine, ask: Ask) -> None:
    allowed, denied = ask("promote", roles=ENGINEER), ask("promote", roles=("fraud/auditor",))
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(engine.decide, [allowed, denied] * 40))
    assert [answer.allowed for answer in answers] == [True, False] * 40
