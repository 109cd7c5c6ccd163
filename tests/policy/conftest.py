"""The default policy over the facts that the built-in assessors declare."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from assay.assess.declarations import DECLARATIONS
from assay.policy.bundle import Bundle, build, write_defaults
from assay.policy.engine import Engine

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
    declare("scan.clean", "bool", "scan", "clean", "false"),
    declare("scan.findings", "long", "scan", "findings", "higher"),
    declare("parity.disagreement", "decimal", "parity", "disagreement", "higher"),
    declare("parity.max_difference", "decimal", "parity", "max_difference", "higher"),
    declare("provenance.level", "string", "model-version", "level", "", ("declared", "verified")),
    declare("doctor.critical", "long", "doctor", "critical", "higher"),
    declare("doctor.issued", "datetime", "doctor", "@issued", "lower"),
]


@pytest.fixture(scope="session")
def declarations() -> list[dict[str, Any]]:
    return [*DECLARATIONS, *OTHERS]


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
