"""Plans of changes as people write them: a TOML file, completed with what is there now.

What a person decides stands in the file: what may vary, what must hold, how often, until when.
What can be looked up is filled in when the plan is proposed, and then stands in the plan that is
approved: the digests of the code and of the libraries, and everything that the version in
production is registered with.  See `docs/retraining.md` for a whole file.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from datetime import date, datetime, time, timezone
from typing import Any, cast

from assay.clock import timestamp
from assay.errors import Usage
from assay.evidence import plans
from assay.evidence.plans import FORMAT, REGISTERED, Bound, Plan

_BOUND = {"is", "one_of", "least", "most"}
_BOUNDED = ("parameters", "registered", "holds")
_MOST_BYTES = 1 << 20


def parse(data: bytes, name: str = "plan") -> dict[str, Any]:
    """The draft of a plan, with every bound spelt out; raises `Usage`."""
    try:
        if len(data) > _MOST_BYTES:
            raise ValueError("it is larger than 1 MiB")
        found = tomllib.loads(data.decode())
    except ValueError as error:
        raise Usage(
            f"{name} is not TOML: {error}",
            remedy="docs/retraining.md shows a plan of changes",
            code="change.toml",
        ) from error
    if found.get("format") != FORMAT:
        raise Usage(
            f"{name} does not say that it is a plan of changes",
            remedy=f'begin it with: format = "{FORMAT}"',
            code="change.plan",
        )
    if "valid_until" in found:
        found["valid_until"] = _moment(found["valid_until"])
    for part in _BOUNDED:
        if part in found:
            found[part] = {
                fact: bound_of(value) for fact, value in _table(found, part, name).items()
            }
    return found


def _moment(value: Any) -> Any:
    """A date or time of TOML as text; a date means its end, and what has no zone means UTC."""
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime.combine(value, time(23, 59, 59))
    if isinstance(value, datetime):
        return timestamp(value if value.tzinfo else value.replace(tzinfo=timezone.utc))
    return value


def bound_of(value: Any) -> Bound:
    """A bound: a plain value stands for exactly that value."""
    if isinstance(value, dict) and set(cast("dict[str, Any]", value)) <= _BOUND and value:
        return cast("Bound", value)
    return {"is": value}


def source_of(draft: Mapping[str, Any]) -> tuple[str, str]:
    """Which pipeline a draft names, and the parameter that is given the rows; raises `Usage`."""
    pipeline = draft.get("pipeline")
    told = cast("dict[str, Any]", pipeline) if isinstance(pipeline, dict) else {}
    source, data = told.get("source"), told.get("data")
    if not isinstance(source, str) or not isinstance(data, str) or not source or not data:
        raise Usage(
            "the plan names no pipeline, or not the parameter that is given the rows",
            remedy='[pipeline] source = "pipelines/credit.py:train", data = "dataset"',
            code="change.pipeline",
        )
    return source, data


def any_value(bound: Bound) -> Any:
    """A value inside of a bound, to look at the pipeline with; None for whatever it has itself."""
    if "is" in bound:
        return bound["is"]
    if bound.get("one_of"):
        return bound["one_of"][0]
    return bound.get("least", bound.get("most"))


def complete(
    draft: Mapping[str, Any],
    *,
    function: str,
    code: str,
    environment: str,
    details: Mapping[str, Any],
    horizon: str = "",
) -> Plan:
    """The plan of a draft; `details` are those of the version in production, and `horizon` is how
    long labels are waited for where it is watched.

    What the draft says itself stays, and must be what is there: raises `Usage`.
    """
    made = dict(draft)
    pipeline = dict(cast("dict[str, Any]", made.get("pipeline", {})))
    for name, there in (("function", function), ("code", code), ("environment", environment)):
        if pipeline.setdefault(name, there) != there:
            raise Usage(
                f"the plan says that the pipeline's {name} is {str(pipeline[name])[:80]}, and here "
                f"it is {there}",
                remedy=f"leave {name} out, and it is filled in",
                code="change.pipeline",
            )
    made["pipeline"] = pipeline
    if horizon:
        rules = cast("dict[str, Any]", made.get("challenge", {}))
        made["challenge"] = {"horizon": horizon, **rules}
    said = cast("dict[str, Bound]", made.get("registered", {}))
    filled: dict[str, Bound] = {name: {"is": details.get(name)} for name in REGISTERED}
    made["registered"] = {**filled, **said}
    return plans.read(made)


def _table(found: Mapping[str, Any], part: str, name: str) -> dict[str, Any]:
    table = found[part]
    if not isinstance(table, dict):
        raise Usage(f"{name}: {part} is no table", remedy=f"[{part}]", code="change.plan")
    return cast("dict[str, Any]", table)
