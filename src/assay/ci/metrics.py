"""``metrics.txt``: every figure as OpenMetrics text, which GitLab compares between branches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from assay.ci.escaping import distinct, shown
from assay.ci.model import Estimate, Report

_Labels = dict[str, str]
_Sample = tuple[str, _Labels, float]


def render(report: Report) -> bytes:
    """The exposition.  Names and labels of one sample are never given twice."""
    lines: list[str] = []
    for name, kind, unit, help_text, samples in _families(report):
        found = list(_unique(samples))
        if not found:
            continue
        lines.append(f"# TYPE {name} {kind}")
        if unit:
            lines.append(f"# UNIT {name} {unit}")
        lines.append(f"# HELP {name} {help_text}")
        lines += [f"{sample}{_labels(labels)} {_number(value)}" for sample, labels, value in found]
    return ("\n".join([*lines, "# EOF"]) + "\n").encode()


def _families(report: Report) -> Iterator[tuple[str, str, str, str, Iterable[_Sample]]]:
    about = {"project": report.project, "pipeline": report.pipeline}
    yield (
        "assay_report",
        "info",
        "",
        "What the report is about.",
        [("assay_report_info", about, 1.0)],
    )
    verdicts: list[_Sample] = [
        ("assay_verdict", {"assay_verdict": verdict}, float(report.verdict == verdict))
        for verdict in ("passed", "failed", "error")
    ]
    yield "assay_verdict", "stateset", "", "What the run came to.", verdicts
    yield _gauge("gate_open", "Whether the gate is open.", _gates(report))
    for suffix, said in (("", ""), ("_lower", "Lower bound of: "), ("_upper", "Upper bound of: ")):
        yield _gauge(f"figure{suffix}", f"{said}figure of the model.", _figures(report, suffix))
        yield _gauge(
            f"difference{suffix}",
            f"{said}figure less that of the base.",
            _differences(report, suffix),
        )
        yield _gauge(f"slice{suffix}", f"{said}figure of a slice.", _slices(report, suffix))
    yield _gauge("slice_rows", "Rows of the slice.", _slice_rows(report))
    yield _gauge("dataset_rows", "Rows of the dataset.", _rows(report))
    levels = [finding.level for finding in report.findings]
    yield _gauge(
        "findings",
        "Findings by level.",
        [({"level": level}, float(levels.count(level))) for level in ("error", "warning", "note")],
    )
    name, kind, _, told, samples = _gauge(
        "step_seconds", "How long the step took.", _steps(report, cached=False)
    )
    yield name, kind, "seconds", told, samples
    yield _gauge("step_cached", "Whether the result was in the cache.", _steps(report, cached=True))


def _gauge(
    name: str, told: str, values: Iterable[tuple[_Labels, float | None]]
) -> tuple[str, str, str, str, Iterable[_Sample]]:
    whole = f"assay_{name}"
    samples = [(whole, labels, value) for labels, value in values if value is not None]
    return whole, "gauge", "", told, samples


def _gates(report: Report) -> Iterator[tuple[_Labels, float]]:
    for gate in report.gates:
        yield {"gate": gate.id}, float(gate.passed)


def _figures(report: Report, suffix: str) -> Iterator[tuple[_Labels, float | None]]:
    for metric in report.metrics:
        yield {"figure": metric.name, "of": "now"}, _part(metric.now, suffix)
        if metric.base is not None:
            yield {"figure": metric.name, "of": "base"}, _part(metric.base, suffix)


def _differences(report: Report, suffix: str) -> Iterator[tuple[_Labels, float | None]]:
    for metric in report.metrics:
        if (found := metric.difference) is not None:
            part = {"": found.value, "_lower": found.lower, "_upper": found.upper}[suffix]
            yield {"figure": metric.name}, part


def _slices(report: Report, suffix: str) -> Iterator[tuple[_Labels, float | None]]:
    for part in report.slices:
        labels = {"column": part.column, "value": part.value, "figure": part.metric}
        yield labels, _part(part.estimate, suffix)


def _slice_rows(report: Report) -> Iterator[tuple[_Labels, float]]:
    for part in report.slices:
        yield {"column": part.column, "value": part.value}, float(part.rows)


def _rows(report: Report) -> Iterator[tuple[_Labels, float]]:
    for data in report.data:
        if data.rows_after is not None:
            yield {"dataset": data.name}, float(data.rows_after)


def _steps(report: Report, *, cached: bool) -> Iterator[tuple[_Labels, float]]:
    for step in report.steps:
        yield {"step": step.name}, float(step.state == "cached") if cached else step.seconds


def _part(found: Estimate, suffix: str) -> float | None:
    return {"": found.value, "_lower": found.lower, "_upper": found.upper}[suffix]


def _unique(samples: Iterable[_Sample]) -> Iterator[_Sample]:
    """The first of those that would be called the same."""
    seen: set[tuple[str, str]] = set()
    for sample, labels, value in samples:
        spelt = {name: distinct(text) for name, text in labels.items()}
        key = (sample, _labels(spelt))
        if key not in seen:
            seen.add(key)
            yield sample, spelt, value


def _labels(labels: _Labels) -> str:
    return "{" + ",".join(f'{name}="{_quoted(text)}"' for name, text in labels.items()) + "}"


def _quoted(text: str) -> str:
    return shown(text).replace("\\", "\\\\").replace('"', '\\"')


def _number(value: float) -> str:
    return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
