"""The one place that answers: a request in, a decision with every failing gate out.

Cedar skips a policy that errors, a gate too.  So everything is typed by the schema before it is
asked, and any error, of the request, of an entity, of one policy, is a denial.  `Engine.decide`
raises nothing: who cannot be answered is denied.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from typing import Any, cast

import cedarpy
import msgspec

from assay.errors import AssayError, Corrupt, Usage
from assay.policy import rules as policies
from assay.policy import settings
from assay.policy.document import Bundle
from assay.policy.rules import ERROR, ROLE, Rule
from assay.policy.schema import ACTIONS, Producer, fields_of, read_declarations
from assay.policy.text import check_schema
from assay.policy.vocabulary import ADMIN, NAMESPACE, parse_uid, project_of
from assay.types import PROJECT_ROLES, Digest

_VERSION = version("cedarpy")
ENGINE = f"cedar-{'.'.join(_VERSION.split('.')[:2])}/cedarpy-{_VERSION}"
"""Which engine decided: cedarpy's versions follow those of Cedar."""

MISSING = "missing"

_ACTOR, _ACTION = f"{NAMESPACE}::Actor", f"{NAMESPACE}::Action"


class Request(msgspec.Struct):
    """What is asked.  Stored in the decision as plain JSON, and asked again from there."""

    principal: str
    """``Assay::Actor::"<id>"``."""
    action: str
    """``Assay::Action::"promote"``."""
    resource: str
    """A uid as `assay.policy.vocabulary` makes them."""
    context: dict[str, Any]
    entities: list[dict[str, Any]]
    """The entities that policies may look at, in Cedar's JSON; principal and resource included."""


class Reason(msgspec.Struct, frozen=True):
    """A gate that failed, what its author advises, and the command that would mend it."""

    gate: str
    advice: str
    control: str = ""
    remedy: str = ""
    """A template: ``{model} {version} {project} {stage} {data} {training} {region}``."""
    seconds: int = 0
    """About how long the remedy takes."""
    measured: dict[str, str] = {}
    """What the gate looked at: each fact with its value or ``missing``, what was asked for, and the
    project's limit."""


class Decision(msgspec.Struct, frozen=True):
    """The answer, and all that explains it."""

    allowed: bool
    reasons: list[Reason]
    """Every failing gate, in the order of the policy files; empty when allowed."""
    permits: list[str]
    """The permits that matched, when allowed."""
    bundle: Digest
    engine: str


class Compiled(msgspec.Struct, frozen=True):
    """A bundle parsed and validated: what an engine runs on."""

    rules: list[Rule]
    schema: cedarpy.Schema
    everything: cedarpy.PolicySet
    permits: cedarpy.PolicySet
    changing: frozenset[str]
    """The facts whose latest value counts, so that producing it anew may help."""


def compile_bundle(bundle: Bundle) -> Compiled:
    """Parse and validate a bundle; raises `Usage` naming the file and what is wrong in it."""
    declared = {item.name: item for item in read_declarations(bundle.declarations)}
    read_producers(bundle.producers)
    settings.check(bundle.settings, needed=fields_of(bundle.schema, "Project"))
    found = policies.read(bundle.policies)
    for rule in found:
        if missing := policies.undeclared(rule, declared):
            raise Usage(
                f"{rule.file}: {rule.id} reads the fact {missing[0]}, which nobody declares",
                remedy="install the assessor that declares it, or take the policy out; declared: "
                + ", ".join(sorted(declared)),
                code="policy.fact",
            )
    check_schema(bundle.schema, "schema")
    try:
        schema = cedarpy.Schema.from_str(bundle.schema)
    except ValueError as error:
        raise Usage(f"the schema cannot be read: {error}", code="policy.schema") from error
    policies.validate(found, bundle.policies, schema)
    found = [policies.with_defaults(rule, declared) for rule in found]
    return Compiled(
        rules=found,
        schema=schema,
        everything=policies.policy_set(found),
        permits=policies.policy_set([rule for rule in found if rule.effect == "permit"]),
        changing=frozenset(name for name, fact in declared.items() if fact.combine == "latest"),
    )


def read_producers(raw: Sequence[dict[str, Any]]) -> list[Producer]:
    """The trusted producers, checked; raises `Usage`."""
    try:
        producers = msgspec.convert(list(raw), list[Producer])
    except msgspec.ValidationError as error:
        raise Usage(
            f"producers.toml: {error}",
            remedy="each [[producers]] has producer, predicate_types and key_kind "
            '("workspace" or "person")',
            code="policy.producers",
        ) from error
    seen: set[tuple[str, str]] = set()
    for item in producers:
        for kind in item.predicate_types or [""]:
            if not (item.producer and kind) or (item.producer, kind) in seen:
                raise Usage(
                    f"producers.toml: {item.producer!r} with {kind!r} is empty or listed twice",
                    remedy="name each producer and predicate type once",
                    code="policy.producers",
                )
            seen.add((item.producer, kind))
    return producers


class Engine:
    """A bundle, ready to answer.  Safe to share between threads: its handles never change.

    Raises `Corrupt` when the bundle cannot be compiled: without a readable policy there is none.
    """

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        self.digest = bundle.digest
        try:
            self._compiled = compile_bundle(bundle)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # A panic inside Cedar is no `Exception`.
            raise Corrupt(
                f"policy bundle {self.digest}: {_text(error)}",
                remedy="apply a policy that `assay policy check` accepts",
                code="policy.bundle",
            ) from error
        self._forbids = [rule for rule in self._compiled.rules if rule.effect == "forbid"]

    # -- deciding ---------------------------------------------------------------------------------

    def decide(self, request: Request) -> Decision:
        """Allow or deny.  Raises nothing: what cannot be evaluated is denied, and says so."""
        try:
            return self._decide(request)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:
            # That includes a panic inside Cedar, which is no `Exception`.
            return self._deny([_failure(error)])

    def _decide(self, request: Request) -> Decision:
        principal, action, resource = (
            parse_uid(text) for text in (request.principal, request.action, request.resource)
        )
        if principal[0] != _ACTOR or action[0] != _ACTION:
            raise Usage("the principal is no actor, or the action is none")
        known = {(e["uid"]["type"], e["uid"]["id"]): e for e in request.entities}
        for name, needed in (("principal", principal), ("resource", resource)):
            if needed not in known:
                raise Usage(f"the {name} {needed[0]} is not among the entities")
        compiled = self._compiled
        entities = cedarpy.Entities.from_json_str(
            msgspec.json.encode(request.entities).decode(), compiled.schema
        )
        asked = {
            "principal": {"type": principal[0], "id": principal[1]},
            "action": {"type": action[0], "id": action[1]},
            "resource": {"type": resource[0], "id": resource[1]},
            "context": msgspec.json.encode(request.context).decode(),
        }
        answer = cedarpy.is_authorized(asked, compiled.everything, entities, compiled.schema)
        errors = answer.diagnostics.errors
        matched = set(answer.diagnostics.reasons)
        project = (f"{NAMESPACE}::Project", project_of(known[resource]))
        failing = [
            self._measured(rule, request.context, known.get(project, {}))
            for rule in self._forbids
            if rule.id in matched
        ]
        if errors:
            return self._deny([_failure("; ".join(errors)), *failing])
        if answer.decision is cedarpy.Decision.Allow and matched and not failing:
            return Decision(True, [], sorted(matched), self.digest, ENGINE)
        if answer.decision is not cedarpy.Decision.Deny:
            return self._deny([_failure("the engine gave no decision"), *failing])
        # A forbid hides from Cedar's answer whether anything permitted: ask that alone.
        if failing:
            answer = cedarpy.is_authorized(asked, compiled.permits, entities, compiled.schema)
        if not answer.allowed:
            role = self._role_reason(action[1], resource[0], project_of(known[resource]))
            failing = [role, *failing]
        return self._deny(failing)

    def _measured(self, rule: Rule, context: dict[str, Any], project: dict[str, Any]) -> Reason:
        """A failing gate with what it looked at in the context and in the project's entity.

        Where evidence is there and not good enough, producing more of it does not help, because the
        worst value counts: then there is no command to give.
        """
        reason = _reason(rule)
        facts = context.get("facts", {})
        measured = {name: _fact(facts, name) for name in rule.facts}
        if "by_others" in rule.attributes:
            measured["approvals"] = str(context.get("approvals", {}).get("by_others", 0))
        measured |= {name: _plain(context[name]) for name in rule.asked if name in context}
        for name in settings.DEFAULTS:
            if name in rule.attributes and name in project.get("attrs", {}):
                measured[name] = _plain(project["attrs"][name])
        there = bool(rule.facts) and MISSING not in measured.values()
        if there and not self._compiled.changing.intersection(rule.facts):
            reason = msgspec.structs.replace(reason, remedy="", seconds=0)
        return msgspec.structs.replace(reason, measured=measured)

    def _deny(self, reasons: list[Reason]) -> Decision:
        return Decision(False, reasons, [], self.digest, ENGINE)

    def _role_reason(self, action: str, resource: str, project: str) -> Reason:
        """Nobody permitted it: say which roles would."""
        kind = resource.removeprefix(f"{NAMESPACE}::")
        roles: dict[str, str] = {}
        for rule in self._compiled.rules:
            if rule.effect == "permit" and rule.applies(action, kind):
                for role in rule.roles:
                    roles[role] = rule.advice if roles.get(role, rule.advice) else ""
        order = {name: at for at, name in enumerate((*PROJECT_ROLES, ADMIN))}
        named = [
            f"{role} ({limit})" if limit else role
            for role, limit in sorted(roles.items(), key=lambda i: (order.get(i[0], 99), i[0]))
        ]
        if not named:
            return Reason(ROLE, f"No role allows {action} here.")
        where = f" in project {project}" if project and ADMIN not in roles else ""
        return Reason(
            ROLE,
            f"None of your roles allows {action} here. Roles{where} that do: {', '.join(named)}. "
            "An administrator can grant one.",
        )

    # -- explaining -------------------------------------------------------------------------------

    def gates(self, action_name: str) -> list[Reason]:
        """Every gate that applies to an action, in order; none for an action nobody knows."""
        kind = ACTIONS.get(action_name)
        return [
            _reason(rule)
            for rule in self._forbids
            if rule.applies(action_name, kind) and (kind is not None or rule.actions is not None)
        ]

    @property
    def rules(self) -> list[Rule]:
        """What the policies say about themselves."""
        return self._compiled.rules


def _reason(rule: Rule) -> Reason:
    return Reason(rule.id, rule.advice, rule.control, rule.remedy, rule.seconds)


def _fact(facts: dict[str, Any], name: str) -> str:
    """A fact's value as text, or ``missing``."""
    value: Any = facts
    for part in name.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return MISSING if value is None else _plain(value)


def _plain(value: Any) -> str:
    """A Cedar value as text: extension values by their argument."""
    if isinstance(value, dict):
        return str(cast(dict[str, Any], value).get("__extn", {}).get("arg", value))
    if isinstance(value, list):
        return ", ".join(sorted(map(str, cast(list[Any], value)))) or "none"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _failure(error: BaseException | str) -> Reason:
    advice = f"The request could not be evaluated, so it is denied: {_text(error)}"
    return Reason(ERROR, advice, remedy="assay doctor")


def _text(error: BaseException | str) -> str:
    """What went wrong, in one line of printable text."""
    text = error.message if isinstance(error, AssayError) else str(error) or type(error).__name__
    return "".join(char if char.isprintable() else " " for char in text)[:400]
