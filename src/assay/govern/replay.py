"""A decision asked again, by somebody who has nothing but the leaves before it.

Nothing the decision says of itself is taken over: what policy was shown of the version, the project
and the person is compared with the state folded from the earlier leaves, and the facts and the
number of approvals are computed anew from their statements.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import msgspec

from assay.errors import Verification
from assay.evidence import approvals, bounds, requests
from assay.evidence.facts import Evidence, FactDeclaration, TrustedProducer, collect
from assay.evidence.records import WORKSPACE, State, VersionState
from assay.evidence.state import kind_of, workspace_digest
from assay.policy import vocabulary as cedar
from assay.policy.bundle import Bundle
from assay.policy.engine import Engine, Request
from assay.policy.settings import limits
from assay.types import Digest

_PASSING = frozenset({"decision", "outcome", "segment"})
"""Kinds of statements that say nothing of what they are about."""


class Policy(msgspec.Struct, frozen=True):
    """A policy bundle and its engine."""

    bundle: Bundle
    engine: Engine


class Replayed(msgspec.Struct, frozen=True):
    """A decision that holds: who asked for what, what was answered, and how sure of who it was."""

    index: int
    action: str
    actor: str
    allowed: bool
    stage: str
    gates: list[str]
    issued: str
    asked_by: str
    """``signed by a personal key`` or ``asked with a token``."""
    beaten: str = ""
    """The version that it is shown to have beaten, where it was allowed under a plan of changes."""
    outcome: str = "open"
    """What came of it: ``done``, ``denied``, ``failed``, ``conflict``, ``abandoned``; or ``open``,
    where the bundle was made before it ended."""


def replay(
    decision: Evidence, earlier: Sequence[Evidence], folded: State, policies: Mapping[str, Policy]
) -> Replayed:
    """Ask the policy of that time again; raises `Verification` naming the leaf and what differs.

    `folded` is the state after the leaves before the decision, `earlier` are their statements.
    """
    predicate = decision.statement.predicate
    where = f"leaf {decision.index} ({predicate['action']})"
    if predicate["bundle"] != folded.bundle:
        _wrong(where, "it names another policy bundle than the one that was active")
    policy = policies.get(predicate["bundle"])
    if policy is None:
        _wrong(where, "its policy bundle is missing")
    request = msgspec.convert(predicate["cedar"], Request)
    again = policy.engine.decide(request)
    gates = [reason["gate"] for reason in predicate["reasons"]]
    if again.allowed != predicate["allowed"] or [r.gate for r in again.reasons] != gates:
        _wrong(where, "the policy decides otherwise when asked again")
    project = decision.statement.header.project
    asked = predicate["request"]
    found = folded.versions.get(f"{project}/{asked['params']['model']}@{_number(folded, asked)}")
    if found is None:
        _wrong(where, "it is about a version that was not registered before")
    _same_question(where, decision, request, found)
    beaten = _same_context(where, decision, earlier, folded, policy.bundle, request, found)
    _same_entities(where, predicate["actor"], folded, policy.bundle, request, found)
    return Replayed(
        index=decision.index,
        action=predicate["action"],
        actor=predicate["actor"],
        allowed=predicate["allowed"],
        stage=str(request.context["stage"]["__entity"]["id"]),
        gates=gates,
        issued=decision.statement.header.issued,
        asked_by=asked_by(decision, folded),
        beaten=beaten,
    )


def _same_question(where: str, decision: Evidence, request: Request, found: VersionState) -> None:
    """What policy was asked is what the person asked for."""
    predicate = decision.statement.predicate
    asked, params = predicate["request"], predicate["request"]["params"]
    answered = (
        request.principal,
        request.action,
        request.resource,
        request.context["stage"],
        request.context["region"],
        request.context["now"],
    )
    wanted = (
        cedar.actor_uid(predicate["actor"]),
        cedar.uid("Action", asked["action"]),
        cedar.model_version_uid(found.project, found.name, found.version),
        cedar.stage(params["stage"]),
        params["region"],
        cedar.datetime(asked["issued"]),
    )
    if answered != wanted:
        _wrong(where, "policy was asked something else than the request says")


def check_deed(deed: Evidence, decisions: Mapping[str, tuple[Evidence, Replayed]]) -> None:
    """Raise `Verification` when a release did something else than was decided."""
    told = deed.statement.predicate
    decision, again = decisions.get(str(told.get("decision")), (None, None))
    if kind_of(deed.statement) not in ("alias", "endpoint") or decision is None or again is None:
        return
    request = msgspec.convert(decision.statement.predicate["cedar"], Request)
    project = deed.statement.header.project
    uid = cedar.model_version_uid(project, told["name"], told["version"])
    stage = told["alias"] if kind_of(deed.statement) == "alias" else told["stage"]
    done = (uid, cedar.stage(stage), told["region"], told.get("model", told["name"]))
    decided = (request.resource, request.context["stage"], request.context["region"], told["name"])
    if done != decided:
        where = f"leaf {deed.index} ({kind_of(deed.statement)})"
        _wrong(where, f"it is not what the decision at leaf {decision.index} allowed")
    if again.beaten and told.get("before", again.beaten) not in (again.beaten, told["version"]):
        where = f"leaf {deed.index} ({kind_of(deed.statement)})"
        _wrong(where, f"it replaced version {told['before']}, and had beaten {again.beaten}")


def ended(decision: Evidence, replayed: Replayed, leaves: Sequence[Evidence]) -> Replayed:
    """A replayed decision with its outcome, as the leaves after it tell."""
    if not replayed.allowed:
        return msgspec.structs.replace(replayed, outcome="denied")
    for leaf in leaves:
        told = leaf.statement.predicate
        if (
            kind_of(leaf.statement) == "outcome"
            and told["decision"] == decision.statement.header.id
        ):
            return msgspec.structs.replace(replayed, outcome=str(told["status"]))
    return replayed


def _wrong(where: str, what: str) -> NoReturn:
    raise Verification(f"{where}: {what}", remedy="do not rely on this decision", code="replay")


def _number(folded: State, asked: dict[str, Any]) -> str:
    """The version number that an alias meant at that time."""
    params = asked["params"]
    alias = f"{asked['project']}/{params['model']}@{params['version']}"
    return folded.aliases.get(alias, str(params["version"]))


def _same_context(
    where: str,
    decision: Evidence,
    earlier: Sequence[Evidence],
    folded: State,
    policy: Bundle,
    request: Request,
    found: VersionState,
) -> str:
    project = decision.statement.header.project
    _nothing_left_out(where, decision, earlier, found)
    about = {found.served or found.artifact, workspace_digest(folded.workspace)}
    items = [
        msgspec.structs.replace(item, keyids=counting)
        for item in earlier
        if about & set(item.statement.digests)
        and item.statement.header.project in (project, WORKSPACE)
        and item.index < decision.statement.predicate["as_of"]
        and (counting := folded.counting(item.keyids, item.index))
    ]
    facts = collect(
        items,
        [msgspec.convert(declared, FactDeclaration) for declared in policy.declarations],
        [msgspec.convert(producer, TrustedProducer) for producer in policy.producers],
        key_kinds=folded.key_kinds(),
        superseded=folded.superseded_in(project),
        named={found.served or found.artifact: found.names},
    ).values
    shown = request.context["facts"]
    if facts != shown:
        differing = sorted(key for key in {*facts, *shown} if facts.get(key) != shown.get(key))
        _wrong(where, f"the facts {', '.join(differing)} do not follow from the statements")
    stage = str(request.context["stage"]["__entity"]["id"])
    counted = len(approvals.counting(items, folded, found, stage)) if found.served else 0
    if request.context["approvals"] != {"by_others": counted}:
        _wrong(where, f"it counts approvals that are not there: {counted} count")
    return _same_change(where, decision, earlier, folded, request, found)


def _nothing_left_out(
    where: str, decision: Evidence, earlier: Sequence[Evidence], found: VersionState
) -> None:
    """What was decided on did not move before the decision was written down: the door sees to it,
    and a decision dated back to before a bad figure would not count that figure."""
    as_of, allowed = decision.statement.predicate["as_of"], decision.statement.predicate["allowed"]
    if not 0 <= as_of <= decision.index:
        _wrong(where, "it is as of a leaf that was not there")
    if allowed:
        _nothing_about(where, earlier, as_of, found.served or found.artifact, "the version")


def _nothing_about(
    where: str, earlier: Sequence[Evidence], as_of: int, digest: Digest, what: str
) -> None:
    late = [
        item.index
        for item in earlier
        if item.index >= as_of
        and digest in item.statement.digests
        and kind_of(item.statement) not in _PASSING
    ]
    if late:
        _wrong(where, f"it leaves out leaf {late[0]}, which is about {what} and stood before")


def _same_change(
    where: str,
    decision: Evidence,
    earlier: Sequence[Evidence],
    folded: State,
    request: Request,
    found: VersionState,
) -> str:
    """What policy was told of a plan of changes follows from the plan, its approvals and all that
    is on the ledger about how the version was made and compared; the version that it beat, where
    it is shown to have beaten any."""
    shown = request.context.get("change")
    as_of, predicate = decision.statement.predicate["as_of"], decision.statement.predicate
    look = _looking([item for item in earlier if item.index < as_of], folded)
    # When it was asked, and when it was written down: the clock went on in between.
    for now in (predicate["request"]["issued"], decision.statement.header.issued):
        judged = bounds.judge(look, folded, found, request.context["facts"], now=now)
        if bounds.follows(shown, judged):
            break
    else:
        _wrong(where, "what it shows of a plan of changes does not follow from the statements")
    if judged is not None and predicate["allowed"]:
        _nothing_about(where, earlier, as_of, judged.plan, "the plan of changes")
    return judged.champion if judged is not None and shown and shown["won"] else ""


def _looking(items: Sequence[Evidence], folded: State) -> bounds.Look:
    """What `View.evidence` is where there is a ledger."""

    def look(project: str, *digests: Digest) -> list[Evidence]:
        return [
            msgspec.structs.replace(item, keyids=counting)
            for item in items
            if set(digests) & set(item.statement.digests)
            and item.statement.header.project in (project, WORKSPACE)
            and kind_of(item.statement) not in _PASSING
            and (counting := folded.counting(item.keyids, item.index))
        ]

    return look


def _same_entities(
    where: str, actor: str, folded: State, policy: Bundle, request: Request, found: VersionState
) -> None:
    """What policy was shown of the version, the project and the person is what the ledger says."""
    version = cedar.model_version_entity(
        found.project,
        found.name,
        found.version,
        author=found.author,
        revoked=found.revoked,
        hold=found.hold,
        format=str(found.details.get("format", "unknown")),
        servable=found.served is not None,
    )
    project = cedar.project_entity(
        found.project, roles=policy.roles, **limits(policy.settings, found.project)
    )
    for expected in (version, project):
        if expected not in request.entities:
            _wrong(where, "policy was shown another version or project than the ledger has")
    held = folded.actors.get(actor)
    if held is None:
        _wrong(where, "it was asked by nobody enrolled")
    # The bundle leaves out roles in other projects: those here must be the ones held.
    here = [role for role in folded.roles_of(actor) if role.startswith((f"{found.project}/", "_"))]
    shown = [entity for entity in request.entities if entity["uid"]["id"] == actor]
    roles = {parent["id"] for entity in shown for parent in entity["parents"]}
    inside = {role for role in roles if role.startswith((f"{found.project}/", "_"))}
    told = [
        (attrs["kind"], attrs["disabled"], attrs["identity_level"])
        for attrs in (entity["attrs"] for entity in shown)
    ]
    if inside != set(here) or told != [(held.kind, held.disabled, held.level)]:
        _wrong(where, "policy was shown another person, or other roles, than the ledger has")


def asked_by(decision: Evidence, folded: State) -> str:
    """How it is known who asked; raises `Verification` when they did not ask for this."""
    predicate = decision.statement.predicate
    try:
        named = (predicate["action"], predicate["actor"], predicate["request"])
        return requests.asked_by(folded, decision.index, decision.statement.header, *named)
    except Verification as error:
        _wrong(f"leaf {decision.index} ({predicate['action']})", error.message)


def is_decision(item: Evidence) -> bool:
    """Whether a statement is a decision."""
    return kind_of(item.statement) == "decision"


def is_release(item: Evidence) -> bool:
    """Whether a statement is a decision that `replay` asks again."""
    return is_decision(item) and item.statement.predicate.get("action") in ("promote", "deploy")
