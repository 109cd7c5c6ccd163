"""The schema of a bundle: the base schema, and the record of facts generated from declarations.

Facts are nested by the dots of their names and every level is optional, so that Cedar's validator
refuses a gate that reads a fact without first asking whether there is one.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from typing import Any, Literal, TypeAlias, cast

import msgspec

from assay.errors import Usage

FactType: TypeAlias = Literal["long", "decimal", "bool", "string", "datetime"]

_CEDAR_TYPE: dict[FactType, str] = {
    "long": "Long",
    "decimal": "decimal",
    "bool": "Bool",
    "string": "String",
    "datetime": "datetime",
}
_WORSE: dict[FactType, tuple[str, ...]] = {
    "long": ("lower", "higher"),
    "decimal": ("lower", "higher"),
    "bool": ("false", "true"),
    "string": ("",),
    "datetime": ("lower", "higher"),
}
_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}(?:\.[a-z][a-z0-9_]{0,63}){1,3}")
_RESERVED = frozenset({"true", "false", "if", "then", "else", "in", "is", "like", "has"})
_PLACEHOLDER = re.compile(r"\{[^{}]*\}|[{}]")

PLACEHOLDERS = frozenset(
    {"model", "version", "project", "stage", "data", "training", "region", "purpose"}
)
"""What may stand in braces in an advice or a remedy; the action that was denied fills it in."""


class Declaration(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What an assessor declares about a fact; `assay.evidence.facts` reads the same record."""

    name: str
    type: FactType
    predicate_type: str
    path: str
    worse: str
    order: list[str]
    description: str
    remedy: str
    seconds: int
    combine: Literal["worst", "latest"] = "worst"


class Producer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who may claim what, signed by which kind of key."""

    producer: str
    predicate_types: list[str]
    key_kind: Literal["workspace", "person"]


def bad_placeholders(text: str) -> list[str]:
    """Braces in `text` that nothing will fill in."""
    return [found for found in _PLACEHOLDER.findall(text) if found[1:-1] not in PLACEHOLDERS]


def read_declarations(raw: Iterable[Mapping[str, Any]]) -> list[Declaration]:
    """Declarations, checked one by one and against each other; raises `Usage` naming the fact."""
    declared: dict[str, Declaration] = {}
    for item in raw:
        name = str(item.get("name"))[:80]
        try:
            declaration = msgspec.convert(dict(item), Declaration)
        except msgspec.ValidationError as error:
            raise _wrong(name, str(error)) from error
        _check(declaration)
        if name in declared:
            raise _wrong(name, "two assessors declare it")
        declared[name] = declaration
    for name in declared:
        parts = name.split(".")
        for end in range(1, len(parts)):
            if (shorter := ".".join(parts[:end])) in declared:
                raise _wrong(name, f"{shorter} is declared too, and cannot be value and record")
    return list(declared.values())


def _check(item: Declaration) -> None:
    if _NAME.fullmatch(item.name) is None or _RESERVED & set(item.name.split(".")):
        raise _wrong(item.name, "its name is not like 'quality.auc_lower' (or is a word of Cedar)")
    if item.worse not in _WORSE[item.type]:
        allowed = " or ".join(repr(word) for word in _WORSE[item.type])
        raise _wrong(item.name, f"worse is {item.worse!r}, but for a {item.type} it is {allowed}")
    if item.order and (item.type != "string" or len(set(item.order)) != len(item.order)):
        raise _wrong(item.name, "order lists the values of a string once each, worst first")
    if not (item.predicate_type and item.path and item.description):
        raise _wrong(item.name, "predicate_type, path and description cannot be empty")
    if item.seconds < 0:
        raise _wrong(item.name, "seconds cannot be negative")
    if bad := bad_placeholders(item.remedy):
        raise _wrong(item.name, f"its remedy has {bad[0]}, which nothing fills in")


def _wrong(name: str, why: str) -> Usage:
    return Usage(
        f"fact {name}: {why}",
        remedy="mend or uninstall the package that declares it (entry point group assay.facts)",
        code="policy.declaration",
    )


@functools.cache
def base() -> str:
    """The base schema as shipped."""
    return (resources.files("assay.policy") / "base.cedarschema").read_text(encoding="utf-8")


def generate(declarations: Sequence[Declaration]) -> str:
    """The whole schema: the base and the record of the declared facts."""
    tree: dict[str, Any] = {}
    for item in sorted(declarations, key=lambda item: item.name):
        *folders, last = item.name.split(".")
        here = tree
        for folder in folders:
            here = here.setdefault(folder, {})
        here[last] = _CEDAR_TYPE[item.type]
    return base().replace("  // FACTS\n", f"  type Facts = {_record(tree, '  ')};\n")


def _record(tree: dict[str, Any], indent: str) -> str:
    if not tree:
        return "{}"
    inner = indent + "  "
    lines: list[str] = []
    for name in sorted(tree):
        value = tree[name]
        shown = _record(cast(dict[str, Any], value), inner) if isinstance(value, dict) else value
        lines.append(f"{inner}{name}?: {shown},\n")
    return "{\n" + "".join(lines) + indent + "}"


def fields_of(schema: str, record: str) -> frozenset[str]:
    """The attributes of ``Roles`` or ``Project`` in a bundle's schema, which may be of an older
    version of assay: what that does not know, Cedar would refuse."""
    found = re.search(rf"(?:type|entity) {record}\b[^{{;]*\{{(.*?)\}};", schema, re.DOTALL)
    return frozenset(re.findall(r"^\s*(\w+)\??:", found[1], re.MULTILINE) if found else ())


# -- what the base schema says about actions ------------------------------------------------------

_WORKSPACE = (
    *("enrolActor", "manageRole", "disableActor", "eraseActor", "createProject", "applyPolicy"),
    *("examine", "maintain", "revokeKey", "rotateKey"),
)
_PROJECT = (
    *("registerDataset", "registerModel", "releaseIntake", "runPipeline", "createToken"),
    *("revokeToken", "readEvidence", "proposeChange", "approveChange"),
)
_MODEL_VERSION = (
    *("assess", "exportEvidence", "approve", "promote", "deploy"),
    *("revoke", "hold", "supersede"),
)
_ENDPOINT = (
    *("query", "kill", "observe", "readPredictions", "giveFeedback", "manageAlerts", "retrain"),
)

ACTIONS: dict[str, str] = {
    **dict.fromkeys(_WORKSPACE, "Workspace"),
    **dict.fromkeys(_PROJECT, "Project"),
    **dict.fromkeys(("readData", "examineData", "train", "holdDataset"), "Dataset"),
    **dict.fromkeys(_MODEL_VERSION, "ModelVersion"),
    **dict.fromkeys(_ENDPOINT, "Endpoint"),
    **dict.fromkeys(("manageKeys", "destroyRing"), "KeyRing"),
}
"""Every action and the type of what it acts on.  A test holds this to the base schema."""

WITH_FACTS = frozenset({"approve", "promote", "deploy", "train", "releaseIntake"})
"""The actions whose context carries facts."""

WITH_APPROVALS = frozenset({"approve", "promote", "deploy"})
"""Those whose context carries stage, region and approvals too."""

WITH_REASON = frozenset(
    {"revoke", "hold", "supersede", "kill", "revokeKey", "rotateKey", "holdDataset", "manageKeys"}
    | {"destroyRing", "manageAlerts"}
)
"""The actions whose context carries the reason that was given."""
