"""An alert in words: what happened, what probably caused it, and what to do next.

Text that leaves the workspace is made here from names of columns and slices and from figures
alone.  What a detector wrote in its own words stays on the ledger, for it may hold values.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any

import msgspec

from assay.monitor.alerts import WHOLE, Alert

HEADS = {
    "data_drift": "the inputs are no longer those that the model was tested on",
    "prediction_drift": "the predictions have shifted",
    "estimated_performance": "the performance is estimated to have fallen",
    "performance": "labels confirm that the performance has fallen",
    "quality": "the inputs have a defect",
    "log": "the prediction log has a gap",
}
QUALITY = {
    "missing": "values are missing",
    "new_category": "categories that the reference data never had",
    "type": "values of another type",
    "absent": "a column is absent",
    "unreadable": "values that cannot be read",
    "range": "values outside the range of the reference data",
}
LOG = {
    "empty": "a window without a single prediction",
    "skew": "the clock of the endpoint jumped",
    "torn": "records that cannot be read",
}
_NAMED = 3


def title(alert: Alert) -> str:
    """One sentence without a full stop."""
    head = HEADS.get(alert.kind, alert.kind)
    if alert.kind == "quality":
        head = QUALITY.get(alert.measure, head)
    if alert.kind == "log":
        head = LOG.get(alert.measure, head)
    named = [_named(cause) for cause in alert.causes]
    named = [name for name in dict.fromkeys(named) if name]
    if alert.key and alert.key not in " ".join(named):
        named.insert(0, alert.key)
    more = f" and {len(named) - _NAMED} more" if len(named) > _NAMED else ""
    where = f" ({', '.join(named[:_NAMED])}{more})" if named else ""
    return f"{alert.endpoint}: {head}{where}"


def _named(cause: dict[str, Any]) -> str:
    if cause.get("slice", WHOLE) != WHOLE:
        within = f"{cause['feature']} in " if cause.get("feature") else ""
        return f"{within}the slice {cause['slice']}"
    return str(cause.get("feature", ""))


def figures(alert: Alert) -> str:
    """The measured value beside what is tolerated, or the evidence beside what an alarm needs;
    empty where there is neither."""
    if alert.value is None and alert.log_evidence is not None:
        needed = f", an alarm needs {alert.limit:.3g}" if alert.limit is not None else ""
        return f"evidence {alert.log_evidence:.3g} (logarithm){needed}"
    if alert.value is None:
        return "not measurable" if alert.limit is not None else ""
    limit = f", tolerated {alert.limit:.4g}" if alert.limit is not None else ""
    return f"{alert.measure or 'value'} {alert.value:.4g}{limit}"


def cause(told: dict[str, Any]) -> str:
    """One cause, from names and figures: ``age: share 12 % -> 31 %, PSI 0.21``."""
    parts: list[str] = []
    if told.get("measure"):
        parts.append(QUALITY.get(told["measure"], str(told["measure"])))
    if "from_share" in told and "to_share" in told:
        parts.append(f"share {told['from_share']:.1%} -> {told['to_share']:.1%}")
    if "psi" in told:
        parts.append(f"PSI {told['psi']:.3g}")
    name = _named(told) or WHOLE
    return f"{name}: {', '.join(parts)}" if parts else name


def causes(alert: Alert) -> list[str]:
    """The likely causes, the likeliest first: what changed upstream shortly before, then the
    columns and slices that lead."""
    upstream = [f"{change['at'][:16]}Z {change['what']}" for change in alert.upstream]
    return upstream + [cause(told) for told in alert.causes]


def next_steps(alert: Alert, project: str) -> list[str]:
    """Commands, the one to begin with first."""
    name = shlex.quote(alert.endpoint)
    there = f"--project {shlex.quote(project)}"
    look = f"assay monitor report {name} {there} --out report.html"
    retrain = f"assay retrain {name} --alert {alert.id} {there}"
    before = next((c["before"] for c in alert.upstream if c.get("before")), "")
    back = [f"assay promote {name}@{before} --to production {there}"] if before else []
    stop = f"assay kill {name} --reason WHY {there}"
    match alert.kind:
        case "performance":
            grave = [stop] if alert.severity == "critical" else []
            return [*back, look, retrain, *grave]
        case "data_drift" | "prediction_drift" | "estimated_performance":
            return [look, *back, retrain]
        case "quality":
            # A model that is retrained on broken inputs learns the defect.
            return [look, *back, *([stop] if alert.severity == "critical" else [])]
        case "log":
            return [f"assay monitor status {name} {there}", "assay doctor"]
        case _:
            return [look]


def explained(alert: Alert, project: str, upstream: Sequence[dict[str, str]]) -> Alert:
    """The alert with its title, what changed before it, and what to do."""
    known = msgspec.structs.replace(alert, upstream=list(upstream))
    return msgspec.structs.replace(
        known, title=title(known), next=next_steps(known, project) if known.open else []
    )
