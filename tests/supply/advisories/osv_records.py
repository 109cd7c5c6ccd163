"""Records of the OSV schema, made by hand."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import msgspec

from assay.supply.advisories import osv
from assay.supply.advisories.database import Database, build

NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)
DUMP = Path(__file__).parent / "dump"
CRITICAL = "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"


def affected(
    name: str,
    *events: dict[str, str],
    ecosystem: str = "PyPI",
    versions: Sequence[str] = (),
    kind: str = "ECOSYSTEM",
) -> dict[str, Any]:
    made: dict[str, Any] = {"package": {"ecosystem": ecosystem, "name": name}}
    if events:
        made["ranges"] = [{"type": kind, "events": list(events)}]
    if versions:
        made["versions"] = list(versions)
    return made


def record(name: str, *what: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "schema_version": "1.7.0",
        "id": name,
        "modified": "2025-06-01T00:00:00Z",
        "affected": list(what),
        **more,
    }


def simple(name: str, package: str, fixed: str, **more: Any) -> dict[str, Any]:
    """Everything before `fixed`."""
    return record(name, affected(package, {"introduced": "0"}, {"fixed": fixed}), **more)


def database(*records: dict[str, Any]) -> Database:
    found = [osv.decode(json.dumps(r).encode(), r["id"]) for r in records]
    return Database.decode(build(found, now=NOW))


def folder(base: Path, *records: dict[str, Any]) -> Path:
    base.mkdir(parents=True, exist_ok=True)
    for told in records:
        (base / f"{told['id']}.json").write_text(json.dumps(told))
    return base


def zipped(path: Path, *records: dict[str, Any]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for told in records:
            archive.writestr(f"{told['id']}.json", json.dumps(told))
    return path


def changed(told: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {**msgspec.json.decode(msgspec.json.encode(told)), **fields}
