"""The sections of a report, as tables of typed cells: what the Markdown and the HTML page share.

Each renderer escapes cells in its own way; this module decides what is said, and in what order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias

from assay.ci import model
from assay.ci.model import Changed, Difference, Estimate, Finding, Metric, Report

Tone: TypeAlias = Literal["", "good", "bad", "warn"]


@dataclass(frozen=True, slots=True)
class Cell:
    """A piece of a page: ours or foreign, a sentence or a name, and how it is meant."""

    text: str
    kind: Literal["ours", "prose", "code"] = "ours"
    tone: Tone = ""


@dataclass(frozen=True, slots=True)
class Section:
    """A table under a heading; one that matters less is folded."""

    title: str
    columns: Sequence[str]
    rows: list[list[Cell]]
    folded: bool = False
    note: str = ""
    numeric: frozenset[int] = field(default_factory=frozenset[int])
    """Columns of figures, which are set flush right."""


@dataclass(frozen=True, slots=True)
class Head:
    """What a reader must see if nothing else."""

    mark: str
    word: str
    tone: Tone
    why: str
    facts: list[tuple[str, Cell]]


_MARKS: dict[model.Verdict, tuple[str, Tone]] = {
    "passed": ("✅", "good"),
    "failed": ("❌", "bad"),
    "error": ("⚠️", "warn"),
}


def head(report: Report) -> Head:
    """The verdict and what it is about."""
    mark, tone = _MARKS[report.verdict]
    source = report.source
    facts = [
        ("project", _code(report.project)),
        ("pipeline", _code(report.pipeline)),
        ("commit", _code(source.commit[:12])),
        ("compared with", _code(source.base[:12])),
        ("branch", _code(source.branch)),
        ("run", _code(report.run)),
    ]
    shown = [(name, cell) for name, cell in facts if cell.text]
    return Head(mark, report.verdict, tone, report.why, shown)


def sections(report: Report) -> list[Section]:
    """Everything else, the most urgent first, empty sections left out."""
    found = [
        _gates(report),
        _remedies(report),
        _metrics(report),
        _slices(report),
        _findings(report),
        _datasets(report),
        _columns(report),
        _changes("Dependencies", "distribution", report.dependencies, "version"),
        _changes("Code", "module", report.code, "digest"),
        _steps(report),
        _statements(report),
    ]
    return [_without(section) for section in found if section.rows]


_DIGESTS = frozenset({"key", "envelope"})


def _without(section: Section) -> Section:
    """Without a column of digests that has none: see `assay.ci.model`."""
    kept = [
        n
        for n, name in enumerate(section.columns)
        if name not in _DIGESTS or any(row[n].text for row in section.rows)
    ]
    return replace(
        section,
        columns=[section.columns[n] for n in kept],
        rows=[[row[n] for n in kept] for row in section.rows],
        numeric=frozenset(kept.index(n) for n in section.numeric if n in kept),
    )


def _gates(report: Report) -> Section:
    rows = [
        [
            Cell("✓ open", tone="good") if gate.passed else Cell("✗ closed", tone="bad"),
            _code(gate.id),
            _prose(", ".join(_measured(measured) for measured in gate.measured)),
            _prose(gate.advice if not gate.passed else ""),
            _prose(gate.control),
        ]
        for gate in model.gates(report)
    ]
    closed = len(report.closed)
    title = (
        f"Gates: {closed:,} of {len(rows):,} closed" if closed else f"Gates: all {len(rows):,} open"
    )
    columns = ("", "gate", "measured", "what it says", "control")
    return Section(title, columns, rows, folded=not closed)


def _measured(measured: model.Measured) -> str:
    limit = f" (limit {measured.limit})" if measured.limit else ""
    return f"{measured.name} {measured.value}{limit}"


def _remedies(report: Report) -> Section:
    rows = [
        [_code(command), _code(", ".join(ids)), Cell(duration(seconds))]
        for command, ids, seconds in model.remedies(report)
    ]
    stuck = [gate.id for gate in report.closed if not gate.remedy]
    note = f"No command opens {len(stuck):,} of the closed gates." if stuck else ""
    return Section("What opens them", ("run this", "for", "takes"), rows, note=note)


_WORDS: dict[model.Change, tuple[str, Tone]] = {
    "worse": ("worse", "bad"),
    "better": ("better", "good"),
    "not shown": ("no difference shown", ""),
    "unknown": ("not compared", ""),
}


def _metrics(report: Report) -> Section:
    rows: list[list[Cell]] = []
    for metric in model.metrics(report):
        word, tone = _WORDS[metric.change]
        rows.append(
            [
                _code(metric.name),
                Cell(_estimate(metric.now)),
                Cell(_estimate(metric.base) if metric.base else "–"),
                Cell(_difference(metric.difference) if metric.difference else "–"),
                Cell(word, tone=tone),
                Cell(_made(metric)),
            ]
        )
    columns = ("figure", "now", "base", "difference", "", "interval")
    return Section("Figures against the base", columns, rows, numeric=frozenset({1, 2, 3}))


def _made(metric: Metric) -> str:
    found = metric.difference
    if found is None or found.method == "none":
        made = "none"
    else:
        made = f"{found.method}, {found.level:.0%}"
    rows = f", {metric.rows:,} rows" if metric.rows is not None else ""
    return f"{made}; {metric.better} is better{rows}"


def _slices(report: Report) -> Section:
    rows = [
        [
            Cell(part.column, "code"),
            Cell(part.value, "code"),
            Cell(part.metric, "code"),
            Cell(_estimate(part.estimate)),
            Cell(f"{part.rows:,}"),
        ]
        for part in model.slices(report)
    ]
    columns = ("column", "value", "figure", "of these rows", "rows")
    return Section("Slices, the worst first", columns, rows, numeric=frozenset({3, 4}))


_TONES: dict[model.Level, Tone] = {"error": "bad", "warning": "warn", "note": ""}


def _findings(report: Report) -> Section:
    rows = [
        [
            Cell(finding.level, tone=_TONES[finding.level]),
            _code(finding.rule),
            _code(_where(finding)),
            _prose(finding.message),
            _prose(finding.help),
        ]
        for finding in model.findings(report.findings)
    ]
    columns = ("", "rule", "where", "what", "what to do")
    return Section(f"Findings: {len(rows):,}", columns, rows)


def _where(finding: Finding) -> str:
    return f"{finding.path}:{finding.line}" if finding.path and finding.line else finding.path


def _datasets(report: Report) -> Section:
    rows = [
        [
            _code(data.name),
            Cell(_number(data.rows_before)),
            Cell(_number(data.rows_after)),
            Cell(_number(data.new_rows)),
            _code(_short(data.before)),
            _code(_short(data.after)),
        ]
        for data in report.data
    ]
    columns = ("dataset", "rows before", "rows now", "new rows", "content before", "content now")
    return Section("Data", columns, rows, numeric=frozenset({1, 2, 3}))


def _columns(report: Report) -> Section:
    rows = [
        [_code(data.name), *_changed(column)] for data in report.data for column in data.columns
    ]
    return Section("Schema", ("dataset", "", "column", "before", "now"), rows)


def _changes(title: str, what: str, changes: Sequence[Changed], value: str) -> Section:
    rows = [_changed(change) for change in sorted(changes, key=lambda c: c.name)]
    columns = ("", what, f"{value} before", f"{value} now")
    return Section(f"{title}: {len(rows):,} changed", columns, rows, folded=True)


def _changed(change: Changed) -> list[Cell]:
    before, after = _short(change.before), _short(change.after)
    return [Cell(change.kind), _code(change.name), _code(before), _code(after)]


_STATES: dict[str, Tone] = {"failed": "bad", "skipped": "warn", "cached": "good"}


def _steps(report: Report) -> Section:
    rows = [
        [
            Cell(step.state, tone=_STATES.get(step.state, "")),
            _code(step.name),
            _prose("; ".join(filter(None, (step.problem, step.remedy))) or "; ".join(step.why)),
            Cell(f"{step.seconds:,.1f}"),
            _code(step.level),
            _code(_short(step.key)),
        ]
        for step in model.steps(report)
    ]
    cached = sum(step.state == "cached" for step in report.steps)
    failed = any(step.state == "failed" for step in report.steps)
    columns = ("", "step", "why", "seconds", "isolation", "key")
    title = f"Steps: {cached:,} of {len(rows):,} taken from the cache"
    return Section(title, columns, rows, folded=not failed, numeric=frozenset({3}))


def _statements(report: Report) -> Section:
    rows = [[_code(s.kind), _code(s.digest), _code(s.name)] for s in report.statements]
    title = f"Signed statements: {len(rows):,}"
    return Section(title, ("kind", "envelope", "file"), rows, folded=True)


# -- words -----------------------------------------------------------------------------------------


def _code(text: str) -> Cell:
    return Cell(text, "code")


def _prose(text: str) -> Cell:
    return Cell(text, "prose")


def _short(digest: str) -> str:
    """A digest that a person can compare; other text as it is."""
    return digest[:19] + "…" if digest.startswith("sha256:") and len(digest) == 71 else digest


def _number(count: int | None) -> str:
    return "–" if count is None else f"{count:,}"


def figure(value: float) -> str:
    """Four significant digits."""
    return f"{value:.4g}"


def _estimate(found: Estimate) -> str:
    if found.lower is None or found.upper is None:
        return figure(found.value)
    return f"{figure(found.value)} ({figure(found.lower)} to {figure(found.upper)})"


def _difference(found: Difference) -> str:
    if found.lower is None or found.upper is None:
        return f"{found.value:+.4g}"
    return f"{found.value:+.4g} ({found.lower:+.4g} to {found.upper:+.4g})"


def duration(seconds: float) -> str:
    """About how long."""
    if seconds >= 120:
        return f"about {round(seconds / 60):,} min"
    return f"about {round(seconds):,} s" if seconds else "no time"
