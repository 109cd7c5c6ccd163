"""Statements of monitoring and of the loop as lines of a story: title, text and tone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeAlias

from assay.evidence.plan_records import CHALLENGE, LOOP, RETRAINING

BASELINE = "baseline"
_BASELINES = "assay.monitor.baseline/1"

Tone: TypeAlias = Literal["good", "warn", "bad", "unknown"]
Line: TypeAlias = tuple[str, str, Tone]
Predicate: TypeAlias = Mapping[str, Any]


def line(producer: str, kind: str, told: Predicate) -> Line | None:
    """What a statement says; None for a kind that is none of these, or of another producer."""
    made = _STORY.get((producer, kind))
    if made is None:
        return None
    try:
        return made(told)
    except (KeyError, TypeError, ValueError):
        return f"A statement of the kind {kind}", "This assay cannot read it.", "unknown"


def baseline(told: Predicate) -> Line:
    plan, rows = told["plan"], f"{told['rows']:,} rows of {told['data']['name']}"
    alarms = f"{plan['false_alarms_a_year']:g} false alarm"
    text = f"measured on {rows}; watched with at most {alarms}{_s(plan)} a year"
    return f"What is normal for version {told['version']}", text, "unknown"


def _s(plan: Predicate) -> str:
    return "" if plan["false_alarms_a_year"] == 1 else "s"


def challenge(told: Predicate) -> Line:
    mean, names = told["mean"], (told["challenger"]["version"], told["champion"]["version"])
    won = bool(told["won"])
    result = "is better than" if won else "has not been shown to be better than"
    text = (
        f"{mean['value']:.4f} less {str(told['loss']).replace('_', ' ')} loss a row "
        f"({mean['lower']:.4f} to {mean['upper']:.4f}) on {told['rows']:,} labelled requests that "
        "neither was trained on"
    )
    if not told["rows"]:
        text = "no labelled request has come yet that neither was trained on"
    return f"Version {names[0]} {result} version {names[1]}", text, "good" if won else "warn"


def retraining(told: Predicate) -> Line:
    match told["stage"]:
        case "begun":
            why = f"because of alert {told['alert']}" if told["alert"] else "without an alert"
            plan = "within an approved plan of changes" if told["plan"] else "by a person"
            return "Began to train again", f"{why}, {plan}", "unknown"
        case "collected":
            text = f"{told['rows']:,} labelled rows of the log, as {told['dataset']}"
            return "Collected what was learnt since", text, "unknown"
        case "candidate":
            return f"Made version {told['version']} by training again", "", "unknown"
        case "ended":
            end, reason = told["end"], str(told["reason"])
            if end == "promoted":
                return "The new version was promoted", reason, "good"
            if end == "kept":
                return "The old version was kept", reason, "warn"
            return "The retraining was given up", reason, "unknown"
        case stage:
            raise ValueError(stage)


_STORY: dict[tuple[str, str], Callable[[Predicate], Line]] = {
    (_BASELINES, BASELINE): baseline,
    (LOOP, RETRAINING): retraining,
    (LOOP, CHALLENGE): challenge,
}
