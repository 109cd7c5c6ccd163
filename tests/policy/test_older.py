"""A bundle that an older version made goes on deciding: on what it knows, and on nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from assay import canonical
from assay.errors import Corrupt
from assay.policy import vocabulary as cedar
from assay.policy.document import Bundle
from assay.policy.engine import Engine, Request
from assay.policy.schema import fields_of
from assay.policy.settings import DEFAULTS
from assay.types import PROJECT_ROLES

GOLDEN = Path(__file__).parents[1] / "golden" / "policy-bundle-v1.json"
NEW = {
    *("provenance_levels", "step_ports", "step_variables", "step_processes", "executors"),
    *("supply_chain", "monitored", "max_advisory_age_days", "intake_signed"),
    *("licences_allowed", "licences_denied", "licences_review", "licences_declared"),
}

Ask = Callable[..., Request]


@pytest.fixture(scope="module")
def older() -> Bundle:
    """The default policy of before there were pipelines."""
    return Bundle.decode(GOLDEN.read_bytes())


def under(older: Bundle, request: Request, roles: tuple[str, ...] | None = None) -> Request:
    """A request as it is made while the older bundle is the active one."""
    project = cedar.project_entity(
        "fraud", roles=older.roles if roles is None else roles, **older.settings["default"]
    )
    kept = [e for e in request.entities if e["uid"] != project["uid"]]
    request.entities = [*kept, project]
    return request


def test_an_older_bundle_keeps_its_digest_and_knows_its_own_roles_and_limits(older: Bundle) -> None:
    assert older.digest == canonical.digest(GOLDEN.read_bytes())
    assert set(PROJECT_ROLES) - set(older.roles) == {"pipeline"}
    limits = fields_of(older.schema, "Project")
    assert set(DEFAULTS) - limits == NEW
    assert older.settings["default"].keys() == limits - {"roles"}


def test_an_older_bundle_decides_as_it_did(older: Bundle, ask: Ask) -> None:
    engine = Engine(older)
    for action in ("promote", "readData", "registerModel", "createToken"):
        role = "operator" if action == "createToken" else "ml_engineer"
        request = ask(action, roles=(f"fraud/{role}",))
        if action == "promote":
            for unknown in (
                "data",
                "bom",
                "vulnerabilities",
                "licences",
                "intake",
                "baseline",
                "challenge",
            ):
                del request.context["facts"][unknown]  # Nobody declared it then.
        assert engine.decide(under(older, request)).allowed, action
    assert not engine.decide(under(older, ask("readData", roles=("fraud/approver",)))).allowed


@pytest.mark.parametrize(
    ("action", "role", "context"),
    [
        ("runPipeline", "ml_engineer", {}),
        ("releaseIntake", "ml_engineer", {}),
        ("train", "ml_engineer", {}),
        ("examineData", "ml_engineer", {}),
        ("createToken", "ml_engineer", {"roles": ["pipeline"]}),
        ("createToken", "operator", {"roles": ["pipeline"]}),
        ("readData", "pipeline", {}),
        ("readEvidence", "pipeline", {}),
    ],
)
def test_an_older_bundle_allows_nothing_that_it_does_not_know(
    older: Bundle, ask: Ask, action: str, role: str, context: dict[str, Any]
) -> None:
    request = under(older, ask(action, roles=(f"fraud/{role}",), context=context))
    assert not Engine(older).decide(request).allowed


def test_a_project_shown_with_more_than_a_bundle_knows_is_denied(older: Bundle, ask: Ask) -> None:
    request = under(older, ask("readData", roles=("fraud/ml_engineer",)), PROJECT_ROLES)
    (reason,) = Engine(older).decide(request).reasons
    assert reason.gate == "engine.error"


def test_a_bundle_that_lacks_a_limit_of_its_own_schema_decides_nothing(older: Bundle) -> None:
    import msgspec

    fewer = {k: v for k, v in older.settings["default"].items() if k != "min_rows"}
    with pytest.raises(Corrupt, match="min_rows missing"):
        Engine(msgspec.structs.replace(older, settings={"default": fewer, "projects": {}}))
