"""What the gates ask for of a retrained version: done as far as nobody has seen to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from assay.errors import Usage
from assay.evidence.facts import Evidence
from assay.evidence.state import VersionState, kind_of
from assay.workspace.action import Action
from assay.workspace.view import View

Perform = Callable[[Action], Any]


def see_to(perform: Perform, view: View, version: VersionState, *, ticket: str = "") -> list[str]:
    """Have a version assessed, measure what is normal for it, and look at its parts where the
    project asks for that; what was done, in words."""
    from assay.actions.assessment import AssessModel
    from assay.actions.baselines import SetBaseline

    done: list[str] = []
    known = {kind_of(item.statement) for item in statements_about(view, version)}
    named: dict[str, Any] = {
        "project": version.project,
        "model": version.name,
        "version": version.version,
    }
    if not _is_assessed(view, version):
        data = str(version.details.get("test") or "")
        if not data:
            raise Usage(
                f"{version.name}@{version.version} was registered without held-out rows, so nobody "
                "can say how good it is",
                remedy="let the pipeline register it with test=…",
                code="retrain.test",
            )
        perform(AssessModel(**named, data=data, ticket=ticket))
        done.append("assessed it")
    if "baseline" not in known:
        knobs = _knobs(view, version.project, version.name)
        perform(SetBaseline(**named, **knobs, ticket=ticket))
        done.append("measured what is normal for it")
    if view.settings(version.project).get("supply_chain"):
        done += _supply(perform, named, known)
    return done


def _is_assessed(view: View, version: VersionState) -> bool:
    """Whether it was judged on the rows that were held out for it, as long as they are there under
    their name: figures on others say nothing of these."""
    held_out = version.details.get("tested_on")
    there = view.state.datasets.get(f"{version.project}/{version.details.get('test')}")
    if there is None or there.content != held_out:
        held_out = ""
    return any(
        not held_out or item.statement.predicate["datasets"]["data"]["content"] == held_out
        for item in statements_about(view, version)
        if kind_of(item.statement) == "quality"
    )


def _supply(perform: Perform, named: dict[str, Any], known: set[str]) -> list[str]:
    from assay.actions.boms import WriteBom
    from assay.actions.vulnerabilities import CheckLicences, CheckVulnerabilities

    done: list[str] = []
    for kind, words, action in (
        ("bom", "listed its parts", WriteBom(**named)),
        ("vulnerabilities", "looked for vulnerabilities", CheckVulnerabilities(**named)),
        ("licences", "looked at licences", CheckLicences(**named)),
    ):
        if kind not in known:
            perform(action)
            done.append(words)
    return done


def statements_about(view: View, version: VersionState) -> list[Evidence]:
    """The statements about what is served of a version, by its own name."""
    about = version.served or version.artifact
    return [
        item
        for item in view.evidence(version.project, about)
        if any(subject.name in version.names for subject in item.statement.subject)
    ]


def horizon_of(view: View, version: VersionState) -> str:
    """How long labels are waited for where a version is watched; empty where nobody says."""
    for item in reversed(statements_about(view, version)):
        if kind_of(item.statement) == "baseline":
            horizon = item.statement.predicate["plan"]["horizon"]
            return horizon if isinstance(horizon, str) else ""
    return ""


def _knobs(view: View, project: str, model: str) -> dict[str, Any]:
    """As the version in production is watched."""
    number = view.state.aliases.get(f"{project}/{model}@production")
    champion = view.state.versions.get(f"{project}/{model}@{number}")
    for item in reversed(statements_about(view, champion)) if champion is not None else ():
        if kind_of(item.statement) == "baseline":
            return knobs_of(item.statement.predicate["plan"])
    return {}


def knobs_of(plan: Mapping[str, Any]) -> dict[str, Any]:
    """How a baseline was asked for, from the plan of monitoring in it."""
    window, horizon = plan["window"], plan["horizon"]
    by_rows = "rows" in window
    made = {
        "window": f"{window['rows']}rows" if by_rows else window["every"],
        "false_alarms": f"{plan['false_alarms_a_year']:.9f}/year",
        "smallest_shift": plan["smallest_shift"],
        "horizon": horizon if isinstance(horizon, str) else f"{horizon['windows']}windows",
        "slices": tuple(plan["slices"]),
        "label_cap": plan["label_cap"],
    }
    return {**made, **({"windows_a_year": plan["windows_a_year"]} if by_rows else {})}
