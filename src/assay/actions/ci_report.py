"""The report of a run in continuous integration, from the run and the evidence about it.

Everything is read through the door, for whoever asked.  The report holds what a run of the same
code on the same data finds anywhere: which run it was, when, on which machine and under which
checkpoint is said by the signed statements beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from assay.actions import ci_differences as differences
from assay.actions import ci_evidence as evidence
from assay.actions.gates import checklist
from assay.actions.reading import ReadEvidence
from assay.actions.release import Promote
from assay.ci.model import Finding, Gate, Measured, Report, Source, Step, Verdict
from assay.errors import AssayError, Usage
from assay.evidence.state import VersionState
from assay.pipeline.records import RunRecord, TaskRecord
from assay.types import parse_model_ref
from assay.workspace.credentials import Credential
from assay.workspace.door import Workspace
from assay.workspace.view import View

MOST_TASKS = 50
"""Tasks of one mapped step that are each listed."""


@dataclass(frozen=True, slots=True)
class Before:
    """How things stood when the run was asked for."""

    size: int
    """Leaves on the ledger."""
    versions: frozenset[tuple[str, str]]
    """Model and version."""
    base: str = "auto"
    """What to compare with: ``auto``, ``none`` or ``NAME@NUMBER``."""


@dataclass(frozen=True, slots=True)
class Ran:
    """What was asked for, and what came of it."""

    project: str
    pipeline: str
    """As it was named on the command line."""
    before: Before
    record: RunRecord | None = None
    error: AssayError | None = None
    stage: str = "staging"
    seed: int = 0
    source: Source = field(default_factory=Source)
    findings: Sequence[Finding] = ()
    """What is known already, of where it ran."""
    altered: Sequence[str] = ()
    """What is wrong with what is installed."""
    folder: Path = Path()
    """The project's folder: paths below it are told from there."""


@dataclass(frozen=True, slots=True)
class Built:
    """What goes into the folder."""

    report: Report
    statements: dict[str, bytes]
    proof: bytes


def look(workspace: Workspace, credential: Credential, project: str, base: str) -> Before:
    """How things stand now.  Raises `Usage` or `NotFound` for a base that there is not."""
    view: View = workspace.perform(
        credential, ReadEvidence(project=project, about="versions before a run of CI")
    )
    if check_base(base) not in ("auto", "none"):
        # An alias may move while the pipeline runs.
        named = view.version(project, *parse_model_ref(base))
        base = f"{named.name}@{named.version}"
    known = frozenset((found.name, found.version) for found in view.versions(project))
    return Before(view.state.size, known, base)


def build(
    workspace: Workspace,
    credential: Credential,
    ran: Ran,
    *,
    progress: Callable[[str], None] = lambda _: None,
) -> Built:
    """The report of a run, and the envelopes that it rests on."""
    view: View = workspace.perform(
        credential, ReadEvidence(project=ran.project, about=f"the report of {ran.pipeline}")
    )
    made = _versions(view, ran)
    said = _Words(ran, workspace)
    progress("evaluating the gates")
    gates = _gates(workspace, credential, ran, made, said)
    pairs = [differences.Pair(found, _base(view, ran, found)) for found in made]
    found = differences.Found(workspace, credential, view, ran.project, ran.before.size)
    metrics, slices = found.figures(pairs, seed=ran.seed, progress=progress)
    held, left_out = evidence.statements(view, ran.project, ran.record, made)
    problems = [
        *ran.findings,
        *evidence.findings(view, ran.project, ran.record, made, ran.altered),
        *left_out,
    ]
    closed = [gate for gate in gates if not gate.passed]
    verdict: Verdict = "passed"
    if ran.error is not None and ran.error.kind != "denied":
        verdict = "error"
    elif ran.error is not None or closed:
        verdict = "failed"
    report = Report(
        verdict=verdict,
        why=said(_why(ran, made, gates, [pair.now for pair in pairs if _unchanged(ran, pair.now)])),
        project=ran.project,
        pipeline=said(ran.pipeline),
        # A request has a number only on the server.
        source=_plain(ran.source),
        steps=_steps(ran.record, said) if ran.record is not None else [],
        gates=gates,
        metrics=metrics,
        slices=slices,
        data=found.datasets(ran.record, pairs),
        dependencies=found.dependencies(ran.record),
        code=found.code(ran.record),
        findings=[said.finding(item, ran.pipeline) for item in problems],
        statements=[item.told for item in held],
    )
    proof = evidence.proof(view, ran.project, ran.record)
    return Built(report, {item.told.name: item.envelope for item in held}, proof)


def _plain(source: Source) -> Source:
    return Source(
        commit=source.commit,
        base=source.base,
        branch=source.branch,
        repository=source.repository,
    )


# -- what was made, and what it is compared with ---------------------------------------------------


def _versions(view: View, ran: Ran) -> list[VersionState]:
    """The versions that the pipeline registered, or found registered, in the order of the graph."""
    found: dict[tuple[str, str], VersionState] = {}
    for task in evidence.ordered(ran.record) if ran.record is not None else ():
        told = task.value
        if task.state in ("done", "cached") and isinstance(told, dict) and "version" in told:
            version = view.version(ran.project, str(told["model"]), str(told["version"]))
            found[version.name, version.version] = version
    return list(found.values())


def _unchanged(ran: Ran, found: VersionState) -> bool:
    return (found.name, found.version) in ran.before.versions


def _base(view: View, ran: Ran, found: VersionState) -> VersionState | None:
    """The version to compare with: the one that was named; else the newest from before the run."""
    if ran.before.base not in ("auto", "none"):
        name, version = parse_model_ref(ran.before.base)
        named = view.version(ran.project, name, version)
        same = (named.name, named.version) == (found.name, found.version)
        return named if named.name == found.name and not same else None
    if ran.before.base == "none" or _unchanged(ran, found):
        return None
    earlier = [
        other
        for other in view.versions(ran.project, found.name)
        if (other.name, other.version) in ran.before.versions and not other.revoked
    ]
    return earlier[-1] if earlier else None


# -- gates -----------------------------------------------------------------------------------------


def _gates(
    workspace: Workspace,
    credential: Credential,
    ran: Ran,
    made: Sequence[VersionState],
    said: _Words,
) -> list[Gate]:
    found: dict[str, Gate] = {}
    several = len(made) > 1
    for version in made:
        asked = Promote(
            project=ran.project, model=version.name, version=version.version, stage=ran.stage
        )
        for gate in checklist(workspace, credential, asked).gates:
            name = f"{version.name}: {gate.gate}" if several else gate.gate
            found[name] = Gate(
                id=name,
                passed=gate.passed,
                control=gate.control,
                advice=said(gate.advice),
                remedy=said(gate.remedy),
                measured=_measured(gate.measured) if not gate.passed else [],
                seconds=float(gate.seconds),
            )
    if ran.error is not None and ran.error.kind == "denied":
        reasons: list[dict[str, Any]] = ran.error.details.get("reasons") or []
        for reason in reasons or [{"gate": ran.error.code}]:
            name = str(reason["gate"])
            if name in found and not found[name].passed:
                continue
            found[name] = Gate(
                id=name,
                passed=False,
                control=str(reason.get("control", "")),
                advice=said(str(reason.get("advice") or ran.error.message)),
                remedy=said(str(reason.get("remedy") or "")),
                measured=_measured(reason.get("measured") or {}),
                seconds=float(reason.get("seconds") or 0),
            )
    return list(found.values())


def _measured(values: dict[str, str]) -> list[Measured]:
    """A fact beside its limit, where there is one of each: facts have dotted names."""
    facts = [name for name in values if "." in name]
    limits = [name for name in values if "." not in name]
    if len(facts) == len(limits) == 1:
        return [Measured(name=facts[0], value=values[facts[0]], limit=values[limits[0]])]
    return [Measured(name=name, value=value) for name, value in values.items()]


def _why(
    ran: Ran,
    made: Sequence[VersionState],
    gates: Sequence[Gate],
    unchanged: Sequence[VersionState],
) -> str:
    closed = [gate.id for gate in gates if not gate.passed]
    if ran.error is not None and ran.error.kind != "denied":
        return ran.error.message
    if ran.error is not None:
        return f"policy denied what the run asked for: {', '.join(closed)}"
    same = ", ".join(f"{v.name}@{v.version}" for v in unchanged)
    more = f"; {same} {'are' if len(unchanged) > 1 else 'is'} unchanged" if unchanged else ""
    if closed:
        verb = "is" if len(closed) == 1 else "are"
        return (
            f"{len(closed)} of {len(gates)} gates {verb} closed for {ran.stage}: "
            f"{', '.join(closed)}{more}"
        )
    if not made:
        return "every step is done; no model was registered, so there was no gate to evaluate"
    return f"every step is done, and all {len(gates)} gates for {ran.stage} are open{more}"


# -- steps -----------------------------------------------------------------------------------------


def _steps(record: RunRecord, said: _Words) -> list[Step]:
    by_node: dict[str, list[TaskRecord]] = {}
    for task in evidence.ordered(record):
        by_node.setdefault(task.node, []).append(task)
    found: list[Step] = []
    for node, tasks in by_node.items():
        if len(tasks) <= MOST_TASKS:
            found += [_step(task, said) for task in tasks]
            continue
        states: dict[str, list[TaskRecord]] = {}
        for task in tasks:
            states.setdefault(task.state, []).append(task)
        for state, alike in sorted(states.items()):
            first = _step(alike[0], said)
            found.append(
                Step(
                    name=f"{node}: {len(alike):,} of {len(tasks):,} tasks",
                    state=alike[0].state,
                    why=[f"{alike[0].name}: {why}" for why in first.why],
                    seconds=sum(task.seconds for task in alike),
                    level=first.level,
                    problem=f"{alike[0].name}: {first.problem}" if state == "failed" else "",
                    remedy=first.remedy,
                )
            )
    return found


def _step(task: TaskRecord, said: _Words) -> Step:
    problem = task.problem
    return Step(
        name=task.name,
        state=task.state,
        why=[said(why) for why in task.why],
        seconds=task.seconds,
        level=task.level,
        problem=said(problem.message) if problem is not None else "",
        remedy=said(problem.remedy) if problem is not None else "",
    )


class _Words:
    """Texts without what another machine, folder or run would say otherwise."""

    def __init__(self, ran: Ran, workspace: Workspace) -> None:
        import sys

        self._run = ran.record.run if ran.record is not None else ""
        folders = (
            (str(workspace.layout.root.resolve()), "WORKSPACE"),
            (str(ran.folder.resolve()), "."),
            (sys.prefix, "PYTHON"),
            (sys.base_prefix, "PYTHON"),
            (str(Path.home()), "~"),
        )
        self._folders = [(place, told) for place, told in folders if len(place) > 1]

    def __call__(self, text: str) -> str:
        if self._run:
            text = text.replace(self._run, "latest")
        for place, told in self._folders:
            text = text.replace(f"{place}/", f"{told}/" if told != "." else "").replace(place, told)
        return text

    def finding(self, found: Finding, pipeline: str) -> Finding:
        return Finding(
            rule=found.rule,
            level=found.level,
            message=self(found.message),
            title=found.title,
            path=found.path or file_of(pipeline),
            line=found.line,
            help=self(found.help),
        )


def file_of(pipeline: str) -> str:
    """``pipelines/credit.py`` of ``pipelines/credit.py:train``; empty for a module."""
    path = pipeline.partition(":")[0]
    return path if path.endswith(".py") else ""


def check_base(base: str) -> str:
    """`base` if it may be asked for: ``auto``, ``none`` or ``NAME@VERSION``."""
    if base in ("auto", "none"):
        return base
    try:
        parse_model_ref(base)
    except Usage as error:
        raise Usage(
            f"--base {base[:60]!r} is no version to compare with",
            remedy="--base NAME@VERSION, auto or none",
            code="ci.base",
        ) from error
    return base
