"""The report as JSON: everything, for machines."""

from __future__ import annotations

import math
from typing import Any

import msgspec

from assay.monitor.report.model import Report
from assay.monitor.report.verdict import coverage, verdict


def as_json(report: Report) -> dict[str, Any]:
    """Plain values; what is no number is null, for JSON knows no infinity."""
    found: dict[str, Any] = _finite(msgspec.to_builtins(report))
    found["verdict"] = msgspec.to_builtins(verdict(report))
    found["coverage"] = coverage(report)
    return found


def _finite(value: Any) -> Any:
    match value:
        case float():
            return value if math.isfinite(value) else None
        case dict():
            return {key: _finite(item) for key, item in value.items()}
        case list() | tuple():
            return [_finite(item) for item in value]
        case _:
            return value
