"""What policies say about themselves: who they let in, which gates they are, what these read.

Cedar answers with the ids of whole policies.  Everything that explains an answer is read from the
policies' JSON once: the annotations, the actions and roles named, the facts asked for.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import cedarpy
import msgspec

from assay.errors import Usage
from assay.policy.schema import Declaration, bad_placeholders
from assay.policy.text import check_policies
from assay.policy.vocabulary import ADMIN, NAMESPACE

ROLE, ERROR = "role", "engine.error"
"""The gates of the engine itself: nobody permitted it; it could not be evaluated."""

_ID = re.compile(r"[a-z][a-z0-9_]*(?:\.[a-z][a-z0-9_]*)*")
_TOLD = frozenset({"facts", "approvals", "stage", "now", "mfa", "reason", "ticket", "holders"})
"""What of a context is not worth repeating: who asks knows it, or it is shown in another way."""
_ANNOTATIONS = {
    "permit": {"id", "advice"},
    "forbid": {"id", "advice", "control", "remedy", "seconds"},
}


class Rule(msgspec.Struct, frozen=True):
    """One policy: a permit, or a gate (a forbid)."""

    id: str
    effect: Literal["permit", "forbid"]
    file: str
    actions: frozenset[str] | None
    """The actions it names; None when it is about every one."""
    resource: str | None
    """The type it is about; None for all."""
    advice: str
    control: str
    remedy: str
    seconds: int
    facts: tuple[str, ...]
    """The facts it reads, by their dotted names."""
    asked: tuple[str, ...]
    """What of the question itself it looks at: ``region``, ``ports``, ``executor``."""
    attributes: frozenset[str]
    """The names of all attributes it reads, whatever of."""
    roles: tuple[str, ...]
    """The roles it asks for."""
    source: dict[str, Any]
    """Cedar's JSON form of the policy."""

    def applies(self, action: str, resource: str | None) -> bool:
        """Whether it has anything to say about `action` on a resource of that type."""
        named = self.actions is None or action in self.actions
        return named and (resource is None or self.resource in (None, resource))


def read(policies: Mapping[str, str]) -> list[Rule]:
    """Every policy of the files, in order; raises `Usage` naming the file and the policy."""
    rules: list[Rule] = []
    for file in sorted(policies):
        check_policies(policies[file], file)
        try:
            parsed = json.loads(cedarpy.policies_to_json_str(policies[file]))
            numbered = sorted(parsed["staticPolicies"].items(), key=lambda item: int(item[0][6:]))
            found = [_rule(file, number, source) for number, (_, source) in enumerate(numbered, 1)]
        except (ValueError, RecursionError) as error:
            raise _wrong(file, f"Cedar cannot read it: {error}", "mend the text there") from error
        if parsed.get("templates") or parsed.get("templateLinks"):
            raise _wrong(file, "it has a template", "write a policy without ?principal, ?resource")
        rules += found
    seen: dict[str, str] = {}
    for rule in rules:
        if rule.id in seen:
            raise _wrong(
                rule.file,
                f'the @id("{rule.id}") is taken (in {seen[rule.id]})',
                "give each policy an @id of its own",
            )
        seen[rule.id] = rule.file
    return rules


def validate(rules: Sequence[Rule], policies: Mapping[str, str], schema: cedarpy.Schema) -> None:
    """Let Cedar check every file against the schema, strictly; raises `Usage` with all it found."""
    for file in sorted(policies):
        result = cedarpy.validate_policies(policies[file], schema)
        if not result.validation_passed:
            names = result.id_annotations_by_policy_id
            found = [f"{names.get(e.policy_id, e.policy_id)}: {e.error}" for e in result.errors]
            raise _wrong(
                file,
                "; ".join(found) or "Cedar's validator refuses it",
                "read only what the schema has, and ask `has` before reading what may be missing",
            )
    if not any(rule.effect == "permit" for rule in rules):
        raise _wrong("*.cedar", "no policy permits anything", "write a permit for each role")


def undeclared(rule: Rule, declared: Mapping[str, Declaration]) -> list[str]:
    """The facts that `rule` reads and nobody declares."""
    return [name for name in rule.facts if name not in declared]


def with_defaults(rule: Rule, declared: Mapping[str, Declaration]) -> Rule:
    """A gate that names no remedy or time takes those of the facts it reads."""
    facts = [declared[name] for name in rule.facts if name in declared]
    if not facts:
        return rule
    remedy = rule.remedy or next((fact.remedy for fact in facts if fact.remedy), "")
    seconds = rule.seconds or max(fact.seconds for fact in facts)
    return msgspec.structs.replace(rule, remedy=remedy, seconds=seconds)


def policy_set(rules: Sequence[Rule]) -> cedarpy.PolicySet:
    """A handle in which every policy goes by its own @id."""
    document = {
        "staticPolicies": {rule.id: rule.source for rule in rules},
        "templates": {},
        "templateLinks": [],
    }
    try:
        return cedarpy.PolicySet.from_json_str(json.dumps(document))
    except (ValueError, RecursionError) as error:
        # Cedar's JSON reader takes some sixty operators in a row; its text reader takes more.
        deepest = max(rules, key=lambda rule: _depth(rule.source))
        raise _wrong(
            deepest.file,
            f"{deepest.id} has too many conditions in a row ({error})",
            "write several smaller policies: one gate each",
        ) from error


def _depth(node: Any) -> int:
    if isinstance(node, dict):
        node = list(node.values())
    return 1 + max(map(_depth, node), default=0) if isinstance(node, list) else 0


# -- one policy -----------------------------------------------------------------------------------


def _rule(file: str, number: int, source: dict[str, Any]) -> Rule:
    effect = source["effect"]
    notes: dict[str, str] = source.get("annotations") or {}
    name = notes.get("id") or ""
    what = f"the {effect} {name!r}" if name else f"policy {number} (a {effect})"
    if _ID.fullmatch(name) is None or name in (ROLE, ERROR):
        raise _wrong(
            file,
            f"{what} has no @id by which a decision could name it",
            f'put @id("gate.something") before it (not "{ROLE}" or "{ERROR}")',
        )
    if unknown := set(notes) - _ANNOTATIONS[effect]:
        allowed = ", ".join(f"@{note}" for note in sorted(_ANNOTATIONS[effect]))
        raise _wrong(file, f"{what} has an unknown annotation @{min(unknown)}", f"use {allowed}")
    if effect == "forbid" and not (notes.get("advice") or "").strip():
        raise _wrong(
            file, f"{what} has no @advice", '@advice("...") tells whoever is denied what to do'
        )
    for note in ("advice", "remedy"):
        if bad := bad_placeholders(notes.get(note) or ""):
            raise _wrong(
                file,
                f"{what}: @{note} has {bad[0]}, which nothing fills in",
                "use {model} {version} {project} {stage} {data} {training} {region} or {purpose}",
            )
    seconds = notes.get("seconds") or "0"
    if re.fullmatch(r"[0-9]{1,6}", seconds) is None:
        raise _wrong(file, f"{what}: @seconds is {seconds[:20]!r}", 'write @seconds("10")')
    chains = set(_chains(source.get("conditions", [])))
    return Rule(
        id=name,
        effect=effect,
        file=file,
        actions=_actions(file, what, source["action"]),
        resource=_resource(source["resource"]),
        advice=notes.get("advice") or "",
        control=notes.get("control") or "",
        remedy=notes.get("remedy") or "",
        seconds=int(seconds),
        facts=_facts(chains),
        asked=tuple(sorted({c[1] for c in chains if c[0] == "context" and c[1:]} - _TOLD)),
        attributes=frozenset(name for chain in chains for name in chain[1:]),
        roles=_roles(source["principal"], chains),
        source=source,
    )


def _actions(file: str, what: str, scope: dict[str, Any]) -> frozenset[str] | None:
    if scope["op"] == "All":
        return None
    entities = scope["entities"] if "entities" in scope else [scope["entity"]]
    for entity in entities:
        if entity["type"] != f"{NAMESPACE}::Action":
            raise _wrong(file, f"{what} names {entity['type']} as an action", "Assay::Action::...")
    return frozenset(entity["id"] for entity in entities)


def _resource(scope: dict[str, Any]) -> str | None:
    named = scope.get("entity_type") or (scope.get("entity") or {}).get("type")
    # Resources lie in their project: `resource in Project::"fraud"` is about every type.
    if scope["op"] == "All" or (scope["op"] == "in" and named == f"{NAMESPACE}::Project"):
        return None
    return str(named).removeprefix(f"{NAMESPACE}::") if named else None


def _chains(node: Any) -> Iterator[tuple[str, ...]]:
    """Every access of attributes in an expression, as (variable, attribute, ...)."""
    if isinstance(node, list):
        for item in node:
            yield from _chains(item)
    elif isinstance(node, dict):
        chain = _chain(node)
        if chain is not None:
            yield chain
        for item in node.values():
            yield from _chains(item)


def _chain(node: Any) -> tuple[str, ...] | None:
    if not isinstance(node, dict) or len(node) != 1:
        return None
    ((operator, body),) = node.items()
    if operator == "Var":
        return (body,)
    if operator in (".", "has") and isinstance(body, dict):
        left = _chain(body["left"])
        return (*left, body["attr"]) if left is not None else None
    return None


def _facts(chains: set[tuple[str, ...]]) -> tuple[str, ...]:
    read = {chain[2:] for chain in chains if chain[:2] == ("context", "facts") and chain[2:]}
    whole = {c for c in read if not any(c != o and o[: len(c)] == c for o in read)}
    return tuple(sorted(".".join(chain) for chain in whole))


def _roles(principal: dict[str, Any], chains: set[tuple[str, ...]]) -> tuple[str, ...]:
    found = {chain[-1] for chain in chains if "roles" in chain[1:-1]}
    if any(chain[-1] == "admins" for chain in chains):
        found.add(ADMIN)
    entity = principal.get("entity") or (principal.get("in") or {}).get("entity") or {}
    if entity.get("type") == f"{NAMESPACE}::Role":
        found.add(entity["id"])
    return tuple(sorted(found))


def _wrong(file: str, why: str, remedy: str) -> Usage:
    return Usage(f"{file}: {why}", remedy=remedy, code="policy.file")
