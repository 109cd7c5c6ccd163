"""The default policy over the facts that the built-in assessors declare."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from assay.assess.declarations import DECLARATIONS
from assay.monitor.declarations import DECLARATIONS as MONITOR
from assay.policy import vocabulary as cedar
from assay.policy.bundle import Bundle, build, write_defaults
from assay.policy.engine import Engine, Request
from assay.policy.schema import ACTIONS, WITH_APPROVALS, WITH_FACTS
from assay.supply.declarations import DECLARATIONS as SUPPLY

EVIDENCE = "https://assay.dev/evidence"


def declare(
    name: str, type_: str, kind: str, path: str, worse: str, order: tuple[str, ...] = ()
) -> dict[str, Any]:
    return {
        "name": name,
        "type": type_,
        "predicate_type": f"{EVIDENCE}/{kind}/v1",
        "path": path,
        "worse": worse,
        "order": list(order),
        "description": f"{name}, declared by the tests",
        "remedy": f"assay model {kind} {{model}}@{{version}} --project {{project}}",
        "seconds": 7,
    }


OTHERS = [
    declare("parity.disagreement", "decimal", "parity", "disagreement", "higher"),
    declare("parity.max_difference", "decimal", "parity", "max_difference", "higher"),
    declare(
        *("provenance.level", "string", "model-version", "level", ""),
        ("declared", "observed", "verified"),
    ),
    declare("doctor.critical", "long", "doctor", "critical", "higher"),
    declare("doctor.issued", "datetime", "doctor", "@issued", "lower"),
    declare("data.undeclared_personal", "long", "data-check", "undeclared_personal", "higher"),
]


@pytest.fixture(scope="session")
def declarations() -> list[dict[str, Any]]:
    return [*DECLARATIONS, *SUPPLY, *MONITOR, *OTHERS]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A policy folder of its own, with the defaults in it."""
    write_defaults(tmp_path / "policy")
    return tmp_path / "policy"


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory, declarations: list[dict[str, Any]]) -> Bundle:
    """The default bundle, built once."""
    made = tmp_path_factory.mktemp("defaults") / "policy"
    write_defaults(made)
    return build(made, declarations)


@pytest.fixture(scope="session")
def engine(bundle: Bundle) -> Engine:
    return Engine(bundle)


NOW = "2026-01-31T12:00:00Z"
FACTS: dict[str, Any] = {
    "quality.rows": 1000,
    "quality.auc_lower": "0.8000",
    "quality.skill_lower": "0.0500",
    "quality.gap_upper": "0.0500",
    "privacy.auc_upper": "0.5500",
    "scan.clean": True,
    "parity.disagreement": "0.0000",
    "provenance.level": "verified",
    "doctor.critical": 0,
    "doctor.issued": "2026-01-30T12:00:00Z",
    "data.undeclared_personal": 0,
    "bom.components": 40,
    "vulnerabilities.critical": 0,
    "vulnerabilities.high": 0,
    "vulnerabilities.unrated": 0,
    "vulnerabilities.unmatched": 0,
    "vulnerabilities.database_modified": "2026-01-30T12:00:00Z",
    "licences.denied_count": 0,
    "licences.unknown_count": 0,
    "intake.pinned": True,
    "intake.signer": "trusted",
    "baseline.rows": 1000,
    "challenge.won": True,
}
USE = {"purpose": "scoring", "ticket": "T-1"}
PLAIN_CONTEXT: dict[str, dict[str, Any]] = {
    "readData": USE,
    "examineData": USE,
    "train": USE,
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
    "releaseIntake": {"purpose": "scoring"},
    "readPredictions": {"purpose": "scoring", "purposes": ["scoring"], "personal": True},
    "retrain": {"by_person": False, "plan_approvals": 2, "within": True},
    "approveChange": {"own": False},
    **{
        name: {"reason": "found wanting"}
        for name in ("revoke", "hold", "supersede", "kill", "revokeKey", "rotateKey", "holdDataset")
    },
    "manageKeys": {"reason": "rotation"},
    "manageAlerts": {"reason": "a holiday"},
}


def nested(facts: dict[str, Any]) -> dict[str, Any]:
    """Facts by dotted name as the record of a context."""
    record: dict[str, Any] = {}
    for name, value in facts.items():
        family, _, last = name.partition(".")
        if last in ("issued", "database_modified") and isinstance(value, str):
            value = cedar.datetime(value)
        elif isinstance(value, str) and value[:1].isdigit():
            value = {"__extn": {"fn": "decimal", "arg": value}}
        record.setdefault(family, {})[last] = value
    return record


def resource_of(action: str, changed: dict[str, Any]) -> tuple[str, dict[str, Any] | None]:
    """The uid and the entity that `action` is about; a project's entity is there anyway."""
    plain: dict[str, Any]
    match ACTIONS[action]:
        case "Workspace":
            return cedar.WORKSPACE_UID, cedar.workspace_entity()
        case "Project":
            return cedar.project_uid("fraud"), None
        case "Dataset":
            plain = {
                "personal": True,
                "special": False,
                "purposes": ["scoring"],
                "residency": ["local"],
                "legal_basis": "contract",
                "retain_until": "2030-01-01T00:00:00Z",
                "hold": False,
            }
            entity = cedar.dataset_entity("fraud", "people", **{**plain, **changed})
            return cedar.dataset_uid("fraud", "people"), entity
        case "ModelVersion":
            plain = {
                "author": "ann",
                "revoked": False,
                "hold": False,
                "format": "skops",
                "servable": True,
            }
            entity = cedar.model_version_entity("fraud", "credit", "3", **{**plain, **changed})
            return cedar.model_version_uid("fraud", "credit", "3"), entity
        case "Endpoint":
            plain = {
                "stage": "production",
                "region": "local",
                "killed": False,
                "revoked": False,
                "hold": False,
            }
            entity = cedar.endpoint_entity("fraud", "credit", **{**plain, **changed})
            return cedar.endpoint_uid("fraud", "credit"), entity
        case _:
            entity = cedar.key_ring_entity("fraud", "fraud/data")
            return cedar.key_ring_uid("fraud/data"), entity


class Ask:
    """Builds requests that pass every gate, but for what the test changes."""

    def __init__(self, limits: dict[str, Any]) -> None:
        self.limits = limits

    def __call__(
        self,
        action: str,
        *,
        roles: tuple[str, ...] = (),
        stage: str = "production",
        facts: dict[str, Any] | None = None,
        approvals: Any = 2,
        actor: dict[str, Any] | None = None,
        resource: dict[str, Any] | None = None,
        context: dict[str, Any] | None = None,
        settings: dict[str, Any] | None = None,
    ) -> Request:
        resource_uid, entity = resource_of(action, resource or {})
        asked: dict[str, Any] = {"now": cedar.datetime(NOW), "mfa": True}
        if action in WITH_APPROVALS:
            asked["stage"] = cedar.stage(stage)
            asked["region"] = "local"
            asked["approvals"] = {"by_others": approvals}
        if action in WITH_FACTS:
            asked["facts"] = nested(FACTS if facts is None else facts)
        asked |= PLAIN_CONTEXT.get(action, {})
        if action == "destroyRing":
            asked["reason"] = "erasure"
        person: dict[str, Any] = {
            "kind": "person",
            "disabled": False,
            "identity_level": "personal-key",
            "mfa": True,
            "roles": roles,
            **(actor or {}),
        }
        project = cedar.project_entity("fraud", **{**self.limits, **(settings or {})})
        entities = [cedar.actor_entity("bob", **person), project]
        if entity is not None:
            entities.append(entity)
        return Request(
            principal=cedar.actor_uid("bob"),
            action=f'Assay::Action::"{action}"',
            resource=resource_uid,
            context={**asked, **(context or {})},
            entities=entities,
        )


@pytest.fixture(scope="session")
def ask(bundle: Bundle) -> Ask:
    return Ask(bundle.settings["default"])
