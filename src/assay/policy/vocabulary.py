"""The words of the policy: uids, entities and values as Cedar's JSON spells them.

Callers name things by this module only, so that a name is escaped in one place and two different
things never share a uid.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal, InvalidOperation
from typing import Any, Literal

from assay.clock import parse_timestamp, timestamp
from assay.errors import Usage
from assay.types import PROJECT_ROLES, WORKSPACE_ROLE

NAMESPACE = "Assay"
ADMIN = f"_workspace/{WORKSPACE_ROLE}"
"""The workspace's own role; no project can be called ``_workspace``."""

DECIMAL_SETTINGS = frozenset(
    {"min_auc_lower", "max_gap_upper", "max_membership_auc_upper", "max_parity_disagreement"}
)
"""The settings of a project that are decimals: strings outside Cedar, with up to four digits."""

Entity = dict[str, Any]

_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t", "\0": "\\0"}
_UNESCAPES = {escaped[1]: plain for plain, escaped in _ESCAPES.items()}
_UID = re.compile(r'(Assay::[A-Z][A-Za-z]*)::"((?:[^"\\]|\\.)*)"', re.DOTALL)
_ESCAPE = re.compile(r"\\(?:u\{([0-9a-f]{1,6})\}|(.))", re.DOTALL)
_MOST = Decimal("922337203685477.5807")


# -- uids -----------------------------------------------------------------------------------------


def uid(kind: str, name: str) -> str:
    """``Assay::KIND::"NAME"``: printable ASCII, with whatever could end the literal escaped."""
    escaped = "".join(
        _ESCAPES.get(char) or (char if " " <= char <= "~" else f"\\u{{{ord(char):x}}}")
        for char in name
    )
    return f'{NAMESPACE}::{kind}::"{escaped}"'


def parse_uid(text: str) -> tuple[str, str]:
    """The entity type and the plain id of a `uid`; raises `Usage` for any other text.

    The engine hands ids to Cedar as data, never as text: there is nothing to inject into.
    """
    match = _UID.fullmatch(text)
    refused = Usage(
        f"{text[:80]!r} is not an entity uid as assay spells them",
        remedy="make uids with assay.policy.vocabulary",
        code="policy.uid",
    )
    if match is None:
        raise refused

    def plain(escape: re.Match[str]) -> str:
        number, letter = escape.groups()
        if number is not None:
            return chr(int(number, 16))
        return _UNESCAPES[letter]

    try:
        name = _ESCAPE.sub(plain, match[2])
        name.encode()
    except (KeyError, ValueError) as error:
        raise refused from error
    # One spelling for each name: two texts that differ are two things.
    if uid(match[1].removeprefix(f"{NAMESPACE}::"), name) != text:
        raise refused
    return match[1], name


def _part(name: str) -> str:
    """A name as one part of a uid: ``/``, ``@`` and ``%`` keep no meaning of their own."""
    return name.replace("%", "%25").replace("/", "%2F").replace("@", "%40")


def _reference(kind: str, name: str) -> dict[str, Any]:
    return {"__entity": {"type": f"{NAMESPACE}::{kind}", "id": name}}


def _entity(
    kind: str, name: str, attrs: dict[str, Any], parents: Sequence[tuple[str, str]] = ()
) -> Entity:
    return {
        "uid": {"type": f"{NAMESPACE}::{kind}", "id": name},
        "attrs": attrs,
        "parents": [{"type": f"{NAMESPACE}::{k}", "id": n} for k, n in parents],
    }


# -- values ---------------------------------------------------------------------------------------


def reason(text: str) -> str:
    """A reason or a ticket as policy is told it: what nobody can see says nothing."""
    return "".join(char for char in text if char.isprintable()).strip()


def stage(name: str) -> dict[str, Any]:
    """A stage as a value; the schema refuses a name that is none."""
    return _reference("Stage", name)


def datetime(text: str) -> dict[str, Any]:
    """An RFC 3339 time as a Cedar value; raises `Usage` for anything else."""
    try:
        arg = timestamp(parse_timestamp(text))
    except OverflowError as error:  # A zone that leads out of the years 1 to 9999.
        raise Usage(f"{text[:40]!r} is beyond what a time can be", code="time") from error
    return {"__extn": {"fn": "datetime", "arg": arg}}


def decimal(
    value: str | int | float | Decimal, *, worse: Literal["lower", "higher"]
) -> dict[str, Any]:
    """A number as a Cedar decimal: four digits, rounded towards the `worse` side.

    Raises `Usage` for NaN, infinities and what 64 bits of ten-thousandths cannot hold.
    """
    try:
        exact = Decimal(str(value))
        if not exact.is_finite() or abs(exact) > _MOST:
            raise InvalidOperation
        against = ROUND_FLOOR if worse == "lower" else ROUND_CEILING
        rounded = exact.quantize(Decimal("0.0001"), rounding=against)
    except InvalidOperation as error:
        raise Usage(f"{str(value)[:40]!r} is not a decimal that policy can hold") from error
    return {"__extn": {"fn": "decimal", "arg": f"{rounded:f}"}}


# -- the workspace and its people -----------------------------------------------------------------

WORKSPACE_UID = uid("Workspace", "workspace")


def workspace_entity() -> Entity:
    """The workspace itself: what administrators act on."""
    return _entity("Workspace", "workspace", {"admins": _reference("Role", ADMIN)})


def actor_uid(actor: str) -> str:
    return uid("Actor", actor)


def actor(name: str) -> dict[str, Any]:
    """An actor as a value."""
    return _reference("Actor", name)


def actor_entity(
    actor: str,
    *,
    kind: str,
    disabled: bool,
    identity_level: str,
    mfa: bool,
    roles: Sequence[str],
) -> Entity:
    """Who asks; `roles` are ``fraud/ml_engineer`` or ``_workspace/admin``."""
    attrs = {"kind": kind, "disabled": disabled, "identity_level": identity_level, "mfa": mfa}
    return _entity("Actor", actor, attrs, [("Role", role) for role in sorted(set(roles))])


def key_ring_uid(ring: str) -> str:
    return uid("KeyRing", ring)


def key_ring_entity(project: str, ring: str) -> Entity:
    """A key ring of a project; administrators of the workspace turn and destroy it."""
    attrs = {"project": _reference("Project", project), "admins": _reference("Role", ADMIN)}
    return _entity("KeyRing", ring, attrs, [("Project", project)])


# -- a project and what is in it ------------------------------------------------------------------


def project_uid(project: str) -> str:
    return uid("Project", project)


def project_entity(
    project: str, *, roles: Sequence[str] = PROJECT_ROLES, **settings: Any
) -> Entity:
    """A project with its roles and its limits (the settings of the policy bundle).

    `roles` are those that the bundle knows: see `Bundle.roles`.
    """
    attrs: dict[str, Any] = {
        name: {"__extn": {"fn": "decimal", "arg": value}} if name in DECIMAL_SETTINGS else value
        for name, value in settings.items()
    }
    attrs["roles"] = {role: _reference("Role", f"{project}/{role}") for role in roles}
    return _entity("Project", project, attrs)


def dataset_uid(project: str, name: str) -> str:
    return uid("Dataset", _dataset(project, name))


def _dataset(project: str, name: str) -> str:
    return f"{_part(project)}/{_part(name)}"


def dataset_entity(
    project: str,
    name: str,
    *,
    personal: bool,
    special: bool,
    purposes: Sequence[str],
    residency: Sequence[str],
    legal_basis: str,
    retain_until: str | None,
    hold: bool,
) -> Entity:
    """A registered table: whose data it is, what for, where and for how long."""
    attrs: dict[str, Any] = {
        "project": _reference("Project", project),
        "personal": personal,
        "special": special,
        "purposes": list(purposes),
        "residency": list(residency),
        "legal_basis": legal_basis,
        "hold": hold,
    }
    if retain_until is not None:
        attrs["retain_until"] = datetime(retain_until)
    return _entity("Dataset", _dataset(project, name), attrs, [("Project", project)])


def model_version_uid(project: str, model: str, version: str) -> str:
    return uid("ModelVersion", _model_version(project, model, version))


def _model_version(project: str, model: str, version: str) -> str:
    return f"{_part(project)}/{_part(model)}@{_part(version)}"


def model_version_entity(
    project: str,
    name: str,
    version: str,
    *,
    author: str,
    revoked: bool,
    hold: bool,
    format: str,  # noqa: A002 - the word of the catalog and of the passport
    servable: bool,
) -> Entity:
    """A version of a model; `servable` when there is a form of it that can be served."""
    attrs = {
        "project": _reference("Project", project),
        "author": _reference("Actor", author),
        "revoked": revoked,
        "hold": hold,
        "format": format,
        "servable": servable,
    }
    return _entity(
        "ModelVersion", _model_version(project, name, version), attrs, [("Project", project)]
    )


def endpoint_uid(project: str, name: str) -> str:
    return uid("Endpoint", _dataset(project, name))


def endpoint_entity(
    project: str,
    name: str,
    *,
    stage: str,
    region: str,
    killed: bool,
    revoked: bool,
    hold: bool,
) -> Entity:
    """A served version; `revoked` and `hold` are those of the version behind it."""
    attrs = {
        "project": _reference("Project", project),
        "stage": _reference("Stage", stage),
        "region": region,
        "killed": killed,
        "revoked": revoked,
        "hold": hold,
    }
    return _entity("Endpoint", _dataset(project, name), attrs, [("Project", project)])


def project_of(entity: Mapping[str, Any]) -> str:
    """The project an entity lies in; empty for the workspace."""
    if entity["uid"]["type"] == f"{NAMESPACE}::Project":
        return str(entity["uid"]["id"])
    project = entity["attrs"].get("project")
    return str(project["__entity"]["id"]) if project is not None else ""
