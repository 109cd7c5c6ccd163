"""What changed on the ledger shortly before an alert: the first suspects.

Versions put in front, data registered anew (and whether its columns are the same), baselines and
holds.  A change outside the workspace leaves no trace here, and is not ruled out by an empty list.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from assay.actions.people import subject_of
from assay.clock import parse_timestamp, timestamp
from assay.errors import AssayError
from assay.evidence.facts import Evidence
from assay.evidence.state import kind_of
from assay.monitor.alerts import Alert
from assay.types import Digest
from assay.workspace.view import View

BEFORE = timedelta(days=7)
"""How long before the evidence began a change still counts as a suspect."""
WINDOWS = "assay.monitor/1"
"""The producer of windows."""
_MOST = 8
_KINDS = frozenset({"endpoint", "alias", "baseline", "hold", "revocation"})


def upstream(view: View, project: str, alert: Alert) -> list[dict[str, str]]:
    """What changed from a week before the evidence began until it was seen, newest first."""
    begin, end = _span(view, project, alert)
    found = [
        change
        for change in (*_versions(view, project, alert.endpoint), *_data(view, project, alert))
        if begin <= change["at"] <= end
    ]
    newest = sorted(found, key=lambda change: change["at"], reverse=True)
    # The same change seen from two sides, a promotion and its deployment, stays two lines.
    return newest[:_MOST]


def changes(view: View, project: str, endpoint: str, since: str) -> list[dict[str, str]]:
    """What was done to the versions behind an endpoint from `since` on, oldest first."""
    found = [change for change in _versions(view, project, endpoint) if change["at"] >= since]
    return sorted(found, key=lambda change: change["at"])


def _span(view: View, project: str, alert: Alert) -> tuple[str, str]:
    now = parse_timestamp(view.now())
    started = windows(view, project, alert.endpoint).get(alert.since, {}).get("from")
    begin = _time(started) or _time(alert.from_) or now
    return timestamp(max(begin, _FIRST) - BEFORE), timestamp(_time(alert.to) or now)


_FIRST = parse_timestamp("1970-01-08T00:00:00Z")


def _time(text: object) -> datetime | None:
    try:
        return parse_timestamp(str(text)) if text else None
    except AssayError:
        return None


def ours(view: View, project: str, about: Digest, producer: str) -> Iterator[Evidence]:
    """What the workspace itself recorded in a project about something, as this producer, and what
    still counts, in the order of the ledger."""
    return (item for item in view.own(project, about) if item.producer == producer)


def windows(view: View, project: str, endpoint: str) -> dict[int, dict[str, Any]]:
    """The windows of an endpoint that were closed, by number, the latest statement of each."""
    (about,) = subject_of(f"monitor-windows:{project}/{endpoint}").values()
    found: dict[int, dict[str, Any]] = {}
    for item in ours(view, project, about, WINDOWS):
        told = item.statement.predicate
        if kind_of(item.statement) == "window" and type(told.get("number")) is int:
            found[told["number"]] = told
    return found


def _versions(view: View, project: str, endpoint: str) -> Iterator[dict[str, str]]:
    held = view.state.endpoints.get(f"{project}/{endpoint}")
    model = str(held["model"]) if held else endpoint
    before: dict[str, str] = {}
    about = [v.served or v.artifact for v in view.versions(project, model)]
    # Stopping an endpoint is about it alone, whichever version answers.
    about += subject_of(f"endpoint:{endpoint}").values()
    for item in view.evidence(project, *about):
        if kind_of(item.statement) not in _KINDS:
            continue
        told, at = item.statement.predicate, item.statement.header.issued
        name, number = told.get("name", told.get("model", model)), str(told.get("version", ""))
        if name != model and told.get("model") != model:
            continue  # The same bytes under another name are another model's business.
        ref = f"{model}@{number}"
        match kind_of(item.statement):
            case "endpoint" if not told.get("killed"):
                former = before.get("endpoint", "")
                before["endpoint"] = number
                if former != number:
                    words = f"{ref} was deployed" + (f" in place of {former}" if former else "")
                    yield {"what": words, "at": at, "kind": "version", "before": former}
            case "endpoint":
                yield {"what": f"the endpoint {endpoint} was stopped", "at": at, "kind": "endpoint"}
            case "alias":
                stage, former = str(told.get("alias", "")), str(told.get("before") or "")
                if former != number:
                    words = f"{ref} was promoted to {stage}"
                    words += f" in place of {former}" if former else ""
                    back = former if stage == "production" else ""
                    yield {"what": words, "at": at, "kind": "version", "before": back}
            case "baseline":
                yield {"what": f"the baseline of {ref} was measured", "at": at, "kind": "baseline"}
            case "hold":
                done = "put on hold" if told.get("held") else "released from hold"
                yield {"what": f"{ref} was {done}", "at": at, "kind": "version"}
            case "revocation":
                yield {"what": f"{ref} was revoked", "at": at, "kind": "version"}
            case _:
                pass


def _data(view: View, project: str, alert: Alert) -> Iterator[dict[str, str]]:
    """Registrations of the datasets that the model was trained and tested on."""
    held = view.state.endpoints.get(f"{project}/{alert.endpoint}")
    model = str(held["model"]) if held else alert.endpoint
    names = {
        str(version.details[role])
        for version in view.versions(project, model)
        for role in ("dataset", "test")
        if version.details.get(role)
    }
    for name in sorted(names):
        state = view.state.datasets.get(f"{project}/{name}")
        if state is None:
            continue
        schema: dict[str, str] | None = None
        for item in view.evidence(project, *state.contents):
            told = item.statement.predicate
            if kind_of(item.statement) != "dataset" or told.get("name") != name:
                continue
            columns = _columns(told.get("details"))
            differs = [] if schema is None else _differences(schema, columns)
            words = f"the dataset {name} was registered" + (" anew" if schema is not None else "")
            if differs:
                words += f" with other columns: {', '.join(differs)}"
            schema = columns
            at = item.statement.header.issued
            yield {"what": words, "at": at, "kind": "schema" if differs else "dataset"}


def _columns(details: Any) -> dict[str, str]:
    listed = details.get("schema", []) if isinstance(details, dict) else []
    return {
        str(column["name"]): str(column.get("type", column.get("dtype", "")))
        for column in listed
        if isinstance(column, dict) and "name" in column
    }


def _differences(before: dict[str, str], after: dict[str, str]) -> list[str]:
    gone = [f"-{name}" for name in before if name not in after]
    new = [f"+{name}" for name in after if name not in before]
    other = [
        f"{name} from {before[name]} to {after[name]}"
        for name in before
        if name in after and before[name] != after[name]
    ]
    found = [*gone, *new, *other]
    return found[:4] + ([f"{len(found) - 4} more"] if len(found) > 4 else [])
