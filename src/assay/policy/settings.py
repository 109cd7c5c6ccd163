"""The limits of a project: which there are, of what type, and what a new policy begins with."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from assay.errors import Usage
from assay.policy.vocabulary import DECIMAL_SETTINGS
from assay.types import check_name

_DECIMAL = re.compile(r"-?(?:0|[1-9][0-9]{0,13})\.[0-9]{1,4}")

DEFAULTS: dict[str, Any] = {
    "min_rows": 200,
    "min_auc_lower": "0.6500",
    "max_gap_upper": "0.1000",
    "max_membership_auc_upper": "0.6000",
    "max_parity_disagreement": "0.0000",
    "min_approvers": 2,
    "regions": ["local"],
    "isolation_levels": ["full", "process"],
    "provenance_levels": ["declared", "observed", "verified"],
    "high_risk": False,
    "supply_chain": False,
    "monitored": False,
    "max_advisory_age_days": 30,
    "intake_signed": False,
    "licences_allowed": [],
    "licences_denied": [],
    "licences_review": [],
    "licences_declared": [],
    "step_ports": [],
    "step_variables": [],
    "step_processes": False,
    "executors": ["local", "ray"],
}
_DECLARED = re.compile(r"[^\s=]{1,200} = \S[^=]{0,999}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}")


def check(
    settings: Mapping[str, Any],
    where: str = "settings.toml",
    *,
    needed: Collection[str] = tuple(DEFAULTS),
) -> None:
    """``{"default": {every limit}, "projects": {name: {some limits}}}``; else `Usage`.

    `needed` are those of the bundle's own schema: an older bundle knows fewer.
    """
    if unknown := settings.keys() - {"default", "projects"}:
        raise _wrong(where, f"{min(unknown)!r} is no section", "use [default] and [projects.NAME]")
    default = _table(settings.get("default", {}), f"{where}: [default]")
    _check_table(default, f"{where}: [default]")
    if missing := [name for name in DEFAULTS if name in needed and name not in default]:
        raise _wrong(
            f"{where}: [default]",
            f"{', '.join(missing)} missing",
            f"add {missing[0]}, for example {missing[0]} = {_toml(DEFAULTS[missing[0]])}",
        )
    for project, table in _table(settings.get("projects", {}), f"{where}: [projects]").items():
        here = f"{where}: [projects.{project}]"
        check_name(project, what=f"{here}: project")
        _check_table(_table(table, here), here)


def limits(settings: Mapping[str, Any], project: str) -> dict[str, Any]:
    """The limits that hold for a project: its own over the default."""
    return {**settings["default"], **settings.get("projects", {}).get(project, {})}


def _table(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _wrong(where, "it is not a table", "write NAME = VALUE lines under it")
    return value


def _check_table(table: Mapping[str, Any], where: str) -> None:
    for name, value in table.items():
        if name not in DEFAULTS:
            raise _wrong(where, f"{name!r} is no setting", f"settings: {', '.join(DEFAULTS)}")
        example = f"for example {name} = {_toml(DEFAULTS[name])}"
        if why := _fault(name, value):
            raise _wrong(where, f"{name} = {_toml(value)[:60]} {why}", example)


def _fault(name: str, value: Any) -> str:
    """Why a value is not one for this setting; empty when it is."""
    if name in DECIMAL_SETTINGS:
        fine = isinstance(value, str) and _DECIMAL.fullmatch(value) is not None
        return "" if fine else "is not a decimal in quotes with 1 to 4 digits after the point"
    kind = type(DEFAULTS[name])
    if type(value) is not kind:
        words = {int: "whole number", bool: "true or false", list: "list of names"}
        return f"is not a {words[kind]}" if kind is not bool else "is neither true nor false"
    if kind is int and not 0 <= value <= 1 << 53:
        return "is out of range"
    if name == "step_ports":
        ports = all(type(v) is int and 0 < v < 1 << 16 for v in value)
        return "" if ports else "is not a list of TCP ports, 1 to 65535"
    if name == "step_variables":
        fine = all(isinstance(v, str) and _VARIABLE.fullmatch(v) for v in value)
        return "" if fine else "is not a list of names of environment variables"
    if name == "licences_declared":
        fine = all(isinstance(v, str) and _DECLARED.fullmatch(v) for v in value)
        return "" if fine else "is not a list of NAME = LICENCE or NAME@VERSION = LICENCE"
    if name.startswith("licences_"):
        fine = all(isinstance(v, str) and v for v in value)
        return "" if fine else "is not a list of SPDX licence identifiers"
    if kind is list and not (value and all(isinstance(v, str) and v for v in value)):
        return "is not a list of at least one name"
    if name == "provenance_levels" and (unknown := set(value) - set(DEFAULTS[name])):
        return f"has {min(unknown)}, which is none of {', '.join(DEFAULTS[name])}"
    return ""


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, list):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    return str(value)


def _wrong(where: str, why: str, remedy: str) -> Usage:
    return Usage(f"{where}: {why}", remedy=remedy, code="policy.settings")
