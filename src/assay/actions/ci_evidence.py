"""What a report rests on: the envelopes of a run, the proof that they are on the ledger, and the
problems that they tell of."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from assay.actions.run_host import PRODUCER, run_digest
from assay.ci.comment import MOST_MEMBERS
from assay.ci.folder import RUN
from assay.ci.model import Finding, Level, Statement
from assay.evidence import tlog_proof
from assay.evidence.facts import Evidence
from assay.evidence.state import VersionState, kind_of
from assay.evidence.statement import SLSA_PROVENANCE
from assay.pipeline.records import RunRecord, TaskRecord
from assay.types import Digest
from assay.workspace.view import View

_OF_VERSIONS = ("model-version", "scan", "parity", "quality", "privacy-membership")
_OF_DATA = ("data-check",)
_MOST = MOST_MEMBERS - 20
"""Statements of one folder: whoever reads it takes no more files."""
_MOST_FINDINGS = 500
"""Findings of one kind that are each told."""
_TOLD = 3
"""Reasons of one step that are told."""
_UNFIT = re.compile(r"[^A-Za-z0-9._-]+")


@dataclass(frozen=True, slots=True)
class Held:
    """An envelope and what the report says of it."""

    told: Statement
    envelope: bytes


def statements(
    view: View, project: str, record: RunRecord | None, made: Sequence[VersionState]
) -> tuple[list[Held], list[Finding]]:
    """The signed statements that a run made or rests on, the run's own first; and a note where
    there are more than a folder takes."""
    if record is None:
        return [], []
    wanted = [
        *_of_run(view, project, record),
        *_of_versions(view, project, made),
        *_of_data(view, project, record),
        *_of_tasks(view, project, record),
    ]
    found: list[Held] = []
    used: set[str] = set()
    seen: set[int] = set()
    for name, item in wanted:
        envelope = view.leaf(item.index).envelope
        if item.index in seen or envelope is None or len(found) == _MOST:
            continue
        seen.add(item.index)
        kind = _kind(item)
        stem = _UNFIT.sub("-", f"{kind}-{name}" if name else kind).strip("-._")[:100]
        unique, number = stem, 1
        while unique in used:
            number += 1
            unique = f"{stem}-{number}"
        used.add(unique)
        # Without its digest, which holds the time and a name of its own: see the report's model.
        found.append(Held(Statement(kind=kind, digest="", name=unique), envelope))
    more = len({item.index for _, item in wanted}) - len(found)
    if more <= 0:
        return found, []
    note = Finding(
        rule="ci/statements",
        level="note",
        title="Statements that are left out",
        message=f"{more:,} signed statements of single tasks are not in the folder, which takes "
        f"{_MOST:,}",
        help="they are on the ledger of the workspace",
    )
    return found, [note]


def _kind(item: Evidence) -> str:
    kind = kind_of(item.statement)
    return "provenance" if kind == SLSA_PROVENANCE else kind


def _of_run(view: View, project: str, record: RunRecord) -> Iterator[tuple[str, Evidence]]:
    last = final(view, project, record)
    if last is not None:
        yield "", last


def final(view: View, project: str, record: RunRecord) -> Evidence | None:
    """The statement with which the run ended."""
    found = [
        item
        for item in view.evidence(project, run_digest(record.run))
        if kind_of(item.statement) == RUN and item.producer == PRODUCER
    ]
    return found[-1] if found else None


def _of_versions(
    view: View, project: str, made: Sequence[VersionState]
) -> Iterator[tuple[str, Evidence]]:
    for version in made:
        ref = f"{version.name}@{version.version}"
        digests = [d for d in (version.artifact, version.served) if d]
        for item in view.evidence(project, *digests):
            named = {subject.name.removesuffix(".onnx") for subject in item.statement.subject}
            if _kind(item) in _OF_VERSIONS and ref in named:
                yield f"{version.name}-{version.version}", item


def _of_data(view: View, project: str, record: RunRecord) -> Iterator[tuple[str, Evidence]]:
    for name in datasets(record):
        held = view.state.datasets.get(f"{project}/{name}")
        for item in view.evidence(project, held.content) if held is not None else ():
            if _kind(item) in _OF_DATA:
                yield name, item


def datasets(record: RunRecord) -> list[str]:
    """The registered datasets that the built-in steps of a run gave."""
    told = [task.value for task in record.tasks if isinstance(task.value, dict)]
    return sorted({str(value["dataset"]) for value in told if "dataset" in value})


def _of_tasks(view: View, project: str, record: RunRecord) -> Iterator[tuple[str, Evidence]]:
    """The provenance of what was made, and of what was taken from the cache."""
    for task in ordered(record):
        if not task.envelope:
            continue
        digests = [a.digest for output in task.outputs for a in output]
        digests += [Digest(task.key)] if task.key else []
        for item in view.evidence(project, *(digests or [run_digest(record.run)])):
            if item.envelope_digest == task.envelope:
                yield task.name, item
                break


def ordered(record: RunRecord) -> list[TaskRecord]:
    """The tasks in the order of the graph, whatever finished first."""
    place = {node: number for number, node in enumerate(_order(record.graph))}

    def key(task: TaskRecord) -> tuple[int, int]:
        number = re.search(r"\[([0-9]+)\]\Z", task.name)
        return place.get(task.node, len(place)), int(number[1]) if number else 0

    return sorted(record.tasks, key=key)


def _order(graph: dict[str, list[str]]) -> list[str]:
    """Each node after those it waits for; equals by name."""
    done: dict[str, None] = {}
    left = dict(graph)
    while left:
        ready = sorted(n for n, needs in left.items() if all(need in done for need in needs))
        for name in ready or sorted(left):
            done[name] = None
            del left[name]
    return list(done)


def proof(view: View, project: str, record: RunRecord | None) -> bytes:
    """A tlog-proof that the run's last statement is on the ledger, which holds that statement, so
    that anybody who knows the ledger's key can check it offline; else the checkpoint."""
    last = final(view, project, record) if record is not None else None
    leaf = view.leaf(last.index) if last is not None else None
    if last is None or leaf is None or leaf.nonce is None:
        return view.note
    opened = tlog_proof.opening(leaf.commitment, leaf.nonce, leaf.envelope)
    return tlog_proof.encode(last.index, view.inclusion(last.index), view.note, opened)


# -- findings --------------------------------------------------------------------------------------

_SCANNED: dict[str, Level] = {"malicious": "error", "unscannable": "error", "suspicious": "warning"}


def findings(
    view: View,
    project: str,
    record: RunRecord | None,
    made: Sequence[VersionState],
    altered: Sequence[str],
) -> list[Finding]:
    """What scans and checks of the data found, which results are not used again, and which
    installed library is not what was installed."""
    found = [
        Finding(
            rule="environment/altered",
            level="error",
            title="An installed library is not what was installed",
            message=problem,
            help="install it again: pip install --force-reinstall NAME",
        )
        for problem in altered[:_MOST_FINDINGS]
    ]
    for name, item in _of_versions(view, project, made):
        if _kind(item) == "scan":
            found += _scanned(name, item.statement.predicate)
    if record is not None:
        # Of several checks of the same rows the last one.
        checks = dict(_of_data(view, project, record))
        for name, item in checks.items():
            found += _checked(name, item.statement.predicate)
        found += _unstored(record)
    return list(dict.fromkeys(found))


def _scanned(name: str, predicate: dict[str, Any]) -> Iterator[Finding]:
    for item in predicate.get("findings", [])[:_MOST_FINDINGS]:
        yield Finding(
            rule=f"scan/{item.get('rule', 'finding')}",
            level=_SCANNED.get(str(item.get("severity")), "error"),
            title="The scan of a model's files found something",
            message=f"{name}: {item.get('what', '')} at {item.get('where', '')}",
            help="save the model again from its training code, as ONNX or with the library's own "
            "format",
        )


def _checked(name: str, predicate: dict[str, Any]) -> Iterator[Finding]:
    """The check of a dataset's rows: columns and counts, never a value."""
    looked = {str(item.get("column")): item for item in _each(_of(predicate, "personal"), "found")}
    for column in _of(predicate, "personal").get("undeclared", [])[:_MOST_FINDINGS]:
        kinds = sorted({str(kind.get("kind")) for kind in _each(looked.get(column, {}), "kinds")})
        yield Finding(
            rule="data/undeclared-personal",
            level="error",
            title="Personal data that nobody declared",
            message=f"{name}: column {column} looks like personal data, and nobody declared it"
            + (f": {', '.join(kinds)}" if kinds else ""),
            help="register the dataset again with the column declared, or without it",
        )
    repeats, labels = _of(predicate, "duplicates"), _of(predicate, "labels")
    if repeats.get("exact"):
        yield Finding(
            rule="data/duplicates",
            level="warning",
            title="Rows that repeat an earlier one",
            message=f"{name}: {repeats['exact']:,} of {repeats['rows']:,} rows repeat an earlier "
            "one",
            help="drop them, or rows to train on and to judge by may be the same",
        )
    if labels.get("outliers"):
        yield Finding(
            rule="data/label-outliers",
            level="warning",
            title="Labels that may be wrong",
            message=f"{name}: a model of the other rows holds {labels['outliers']:,} of "
            f"{labels['rows']:,} labels in {labels['label']} for wrong",
            help="look at those rows, and correct their labels",
        )
    for item in _each(predicate, "alarms")[:_MOST_FINDINGS]:
        yield Finding(
            rule="data/column",
            level="note",
            title="A column that says little",
            message=f"{name}: column {item.get('column')} is {item.get('what')}".replace("_", " "),
            help="leave it out, or find out why",
        )


def _of(value: Mapping[str, Any], name: str) -> dict[str, Any]:
    found = value.get(name)
    return cast("dict[str, Any]", found) if isinstance(found, dict) else {}


def _each(value: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    found = value.get(name)
    items = cast("list[Any]", found) if isinstance(found, list) else []
    return [cast("dict[str, Any]", item) for item in items if isinstance(item, dict)]


def _unstored(record: RunRecord) -> Iterator[Finding]:
    reasons: dict[str, dict[str, None]] = {}
    for task in record.tasks:
        reasons.setdefault(task.node, {}).update(dict.fromkeys(sorted(task.unstored)))
    for node, held in sorted(reasons.items()):
        told = list(held)
        more = f"; and {len(told) - _TOLD:,} more reasons" if len(told) > _TOLD else ""
        if told:
            yield Finding(
                rule="pipeline/unstored",
                level="warning",
                title="A result that is not used again",
                message=f"{node}: {'; '.join(told[:_TOLD])}{more}",
                help="let the step take it as an argument or a declared file, or import it by name",
            )
