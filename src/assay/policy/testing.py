"""The policy's own tests: a table of requests and the decisions they must get.

A case says only what differs from a request that passes everything, so that a table is short and a
gate's test shows the one thing that gate is about.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from assay.errors import AssayError, Usage
from assay.policy import settings, vocabulary
from assay.policy.document import Bundle
from assay.policy.engine import Decision, Engine, Request
from assay.policy.schema import (
    ACTIONS,
    WITH_APPROVALS,
    WITH_FACTS,
    WITH_REASON,
    Declaration,
    FactType,
    read_declarations,
)
from assay.types import PROJECT_ROLES, STAGES, WORKSPACE_ROLE

PROJECT, ASKER, AUTHOR = "tested", "asker", "author"

FactValue = bool | int | str


class Case(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One line of the table (or several: one for each action named)."""

    name: str
    action: str | list[str]
    expect: str | list[str]
    """``allow``, or the ids of exactly the gates that must fail."""
    roles: list[str] = []
    """Roles in the project of the request, or ``admin``."""
    in_project: str = PROJECT
    """The project in which these roles are held."""
    stage: str = "production"
    approvals: int = 99
    facts: dict[str, FactValue] = {}
    """Facts that differ from the table's."""
    without: list[str] = []
    """Facts that are missing."""
    actor: dict[str, Any] = {}
    """What differs in the actor: ``{disabled = true}``."""
    resource: dict[str, Any] = {}
    """What differs in the resource: ``{revoked = true}``."""
    context: dict[str, Any] = {}
    """What differs in the context: ``{region = "moon"}``."""
    settings: dict[str, Any] = {}
    """Limits that differ from the table's."""

    @property
    def actions(self) -> list[str]:
        return [self.action] if isinstance(self.action, str) else self.action

    @property
    def expected(self) -> list[str]:
        """The gates that must fail; none for ``allow``."""
        return [] if isinstance(self.expect, str) else self.expect


class Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The whole table: what holds in every case, and the cases."""

    now: str
    facts: dict[str, FactValue] = {}
    settings: dict[str, Any] = {}
    """Limits the cases are written for, over the bundle's default: changing a limit in
    ``settings.toml`` does not break the tests of the gates."""
    cases: list[Case] = []


class Result(msgspec.Struct, frozen=True):
    """How one case went."""

    name: str
    action: str
    expected: list[str]
    decision: Decision

    @property
    def passed(self) -> bool:
        return sorted(self.got) == sorted(self.expected) and self.decision.allowed is not bool(
            self.expected
        )

    @property
    def got(self) -> list[str]:
        return [reason.gate for reason in self.decision.reasons]

    @property
    def explanation(self) -> str:
        """In one line."""
        return (
            f"{self.name} ({self.action}): expected {_say(self.expected)}, got {_say(self.got)}"
            + "".join(f"; {r.advice}" for r in self.decision.reasons if r.gate == "engine.error")
        )


def _say(gates: Sequence[str]) -> str:
    return ", ".join(gates) or "allow"


def read_table(raw: Mapping[str, Any], declarations: Sequence[Declaration]) -> Table:
    """The table of a bundle, checked; raises `Usage` naming the case."""
    try:
        table = msgspec.convert(dict(raw), Table)
    except msgspec.ValidationError as error:
        raise _wrong(str(error), "see the default tests.toml for the form") from error
    declared = {item.name: item for item in declarations}
    vocabulary.datetime(table.now)
    _check_facts("[facts]", table.facts, declared)
    seen: set[str] = set()
    for case in table.cases:
        where = f"case {case.name!r}"
        if not case.name or case.name in seen:
            raise _wrong(f"{where}: the name is empty or taken", "name each case once")
        seen.add(case.name)
        unknown = [action for action in case.actions if action not in ACTIONS]
        if unknown or not case.actions:
            named = ", ".join(unknown) or "nothing"
            raise _wrong(f"{where}: {named} is no action", f"actions: {', '.join(ACTIONS)}")
        if (isinstance(case.expect, str) and case.expect != "allow") or case.expect == []:
            raise _wrong(f"{where}: expect is {case.expect!r}", 'write "allow" or a list of gates')
        if unknown := [r for r in case.roles if r not in (*PROJECT_ROLES, WORKSPACE_ROLE)]:
            raise _wrong(
                f"{where}: {unknown[0]!r} is no role", f"roles: {', '.join(PROJECT_ROLES)}"
            )
        if case.stage not in STAGES:
            raise _wrong(f"{where}: {case.stage!r} is no stage", f"stages: {', '.join(STAGES)}")
        _check_facts(where, case.facts, declared)
        _check_facts(where, dict.fromkeys(case.without), declared)
    return table


def _check_facts(
    where: str, facts: Mapping[str, FactValue | None], declared: Mapping[str, Declaration]
) -> None:
    for name, value in facts.items():
        if name not in declared:
            raise _wrong(
                f"{where}: nobody declares the fact {name}",
                f"take it out, or install the assessor; declared: {', '.join(sorted(declared))}",
            )
        if value is not None:
            try:
                _value(declared[name].type, value)
            except Usage as error:
                raise _wrong(
                    f"{where}: {name}: {error.message}",
                    'quote decimals and times: "0.7000", "2026-01-31T00:00:00Z"',
                ) from error


def _wrong(why: str, remedy: str) -> Usage:
    return Usage(f"tests.toml: {why}", remedy=remedy, code="policy.tests")


# -- from a case to a request ---------------------------------------------------------------------


def nest(facts: Mapping[str, FactValue], declarations: Sequence[Declaration]) -> dict[str, Any]:
    """Facts by their dotted names as the record that policy reads."""
    types: dict[str, FactType] = {item.name: item.type for item in declarations}
    nested: dict[str, Any] = {}
    for name, value in facts.items():
        *folders, last = name.split(".")
        here = nested
        for folder in folders:
            here = here.setdefault(folder, {})
        here[last] = _value(types[name], value)
    return nested


def _value(kind: FactType, value: FactValue) -> Any:
    expected = {"long": int, "bool": bool}.get(kind, str)
    if type(value) is not expected:
        raise Usage(f"{value!r} is not a {kind}")
    if kind == "datetime":
        return vocabulary.datetime(str(value))
    if kind == "decimal":
        return {"__extn": {"fn": "decimal", "arg": value}}
    return value


def build_request(
    case: Case,
    action: str,
    table: Table,
    declarations: Sequence[Declaration],
    limits: Mapping[str, Any],
) -> Request:
    """The request of a case: everything passes but what the case changes."""
    kind = ACTIONS[action]
    project = vocabulary.project_entity(PROJECT, **{**limits, **table.settings, **case.settings})
    resource_uid, make, plain = _RESOURCES[kind]
    resource = make({**plain, **case.resource})
    roles = [
        vocabulary.ADMIN if role == WORKSPACE_ROLE else f"{case.in_project}/{role}"
        for role in case.roles
    ]
    actor: dict[str, Any] = {
        "kind": "person",
        "disabled": False,
        "identity_level": "personal-key",
        "mfa": True,
        "roles": roles,
        **case.actor,
    }
    entities = [vocabulary.actor_entity(ASKER, **actor)]
    entities.append(project)
    if kind != "Project":
        entities.append(resource)
    context: dict[str, Any] = {"now": vocabulary.datetime(table.now), "mfa": True}
    if action in WITH_FACTS:
        facts = {k: v for k, v in {**table.facts, **case.facts}.items() if k not in case.without}
        context["facts"] = nest(facts, declarations)
    if action in WITH_APPROVALS:
        context["stage"] = vocabulary.stage(case.stage)
        context["region"] = {**limits, **table.settings}["regions"][0]
        context["approvals"] = {"by_others": case.approvals}
    if action in WITH_REASON:
        context["reason"] = "tested"
    context.update(_CONTEXT.get(action, {}))
    return Request(
        principal=vocabulary.actor_uid(ASKER),
        action=vocabulary.uid("Action", action),
        resource=resource_uid,
        context={**context, **case.context},
        entities=entities,
    )


_USE = {"purpose": "testing", "ticket": "T-1"}
_CONTEXT: dict[str, dict[str, Any]] = {
    "readData": _USE,
    "examineData": _USE,
    "train": _USE,
    "runPipeline": {
        "environment": "locked",
        "isolation": "full",
        "ports": [],
        "variables": [],
        "processes": False,
        "executor": "local",
    },
    "deploy": {"isolation": "full"},
    "destroyRing": {"ticket": "T-1"},
    "releaseIntake": {"purpose": "testing"},
    "readPredictions": {"purpose": "testing", "purposes": ["testing"], "personal": True},
    "retrain": {"by_person": False, "plan_approvals": 9, "within": True},
    "approveChange": {"own": False},
}

_Make = Callable[[dict[str, Any]], dict[str, Any]]
_RESOURCES: dict[str, tuple[str, _Make, dict[str, Any]]] = {
    "Workspace": (vocabulary.WORKSPACE_UID, lambda _: vocabulary.workspace_entity(), {}),
    "Project": (vocabulary.project_uid(PROJECT), lambda _: {}, {}),
    "Dataset": (
        vocabulary.dataset_uid(PROJECT, "people"),
        lambda given: vocabulary.dataset_entity(PROJECT, "people", **given),
        {
            "personal": True,
            "special": False,
            "purposes": ["testing"],
            "residency": ["local"],
            "legal_basis": "contract",
            "retain_until": None,
            "hold": False,
        },
    ),
    "ModelVersion": (
        vocabulary.model_version_uid(PROJECT, "credit", "3"),
        lambda given: vocabulary.model_version_entity(PROJECT, "credit", "3", **given),
        {
            "author": AUTHOR,
            "revoked": False,
            "hold": False,
            "format": "skops",
            "servable": True,
        },
    ),
    "Endpoint": (
        vocabulary.endpoint_uid(PROJECT, "credit"),
        lambda given: vocabulary.endpoint_entity(PROJECT, "credit", **given),
        {
            "stage": "production",
            "region": "local",
            "killed": False,
            "revoked": False,
            "hold": False,
        },
    ),
    "KeyRing": (
        vocabulary.key_ring_uid(f"{PROJECT}/data"),
        lambda _: vocabulary.key_ring_entity(PROJECT, f"{PROJECT}/data"),
        {},
    ),
}


# -- running --------------------------------------------------------------------------------------


def run(bundle: Bundle, engine: Engine | None = None) -> list[Result]:
    """Ask every case of the bundle's table; raises `Usage` when the table itself is wrong."""
    engine = engine or Engine(bundle)
    declarations = read_declarations(bundle.declarations)
    table = read_table(bundle.tests, declarations)
    limits = settings.limits(bundle.settings, "")
    results: list[Result] = []
    for case in table.cases:
        for action in case.actions:
            try:
                request = build_request(case, action, table, declarations, limits)
            except (AssayError, TypeError, AttributeError, IndexError) as error:
                raise _wrong(
                    f"case {case.name!r}: {error}", "change only what the entity has"
                ) from error
            results.append(Result(case.name, action, case.expected, engine.decide(request)))
    return results
