"""The report as OpenMetrics text, for Prometheus's textfile collector or whoever scrapes it.

Source: https://github.com/prometheus/OpenMetrics, ``specification/OpenMetrics.md`` (1.0).  All of
it are gauges, so that the older text format of Prometheus, which the textfile collector of
node_exporter reads, has the same meaning.  What is not known has no sample: a figure that nobody
measured is absent, never 0.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TypeAlias

from assay.monitor.report import words
from assay.monitor.report.model import Figure, Report, Window
from assay.monitor.report.pages import metric_names, ranked_features, ranked_slices
from assay.monitor.report.verdict import coverage, verdict

_Labels: TypeAlias = dict[str, str]
_Sample: TypeAlias = tuple[_Labels, float | None]
_Family: TypeAlias = tuple[str, str, Iterable[_Sample]]

FEATURES = 50
"""Features that have samples: each name is a series of its own, which a server keeps for ever."""
SLICES = 50
_STATES = ("wrong", "changed", "quiet", "early", "unwatched", "silent")
_PARTS: tuple[tuple[str, str, Callable[[Figure], float | None]], ...] = (
    ("", "", lambda figure: figure.value),
    ("_lower", "Lower bound of: ", lambda figure: figure.lower),
    ("_upper", "Upper bound of: ", lambda figure: figure.upper),
)


def render(*reports: Report) -> bytes:
    """The exposition of these endpoints together: each family once, as the format wants it, and of
    two samples that would be called the same the first."""
    told: dict[str, str] = {}
    values: dict[str, dict[str, str]] = {}
    for report in reports:
        named = {"project": report.about.project, "endpoint": report.about.endpoint}
        for name, what, samples in _families(report):
            told[name] = what
            held = values.setdefault(name, {})
            for labels, value in samples:
                if value is not None and math.isfinite(value):
                    held.setdefault(f"{name}{_spelt({**named, **labels})}", _number(value))
    lines: list[str] = []
    for name, held in values.items():
        if held:
            unit = [f"# UNIT {name} seconds"] if name.endswith("_seconds") else []
            lines += [f"# TYPE {name} gauge", *unit, f"# HELP {name} {told[name]}"]
            lines += [f"{series} {value}" for series, value in held.items()]
    return ("\n".join([*lines, "# EOF"]) + "\n").encode()


def _families(report: Report) -> Iterator[_Family]:
    about, found = report.about, verdict(report)
    version = {"model": about.model, "version": about.version, "stage": about.stage}
    yield _gauge("info", "What is watched.", [(version, 1.0)])
    yield _gauge(
        "verdict",
        "1 for what the monitor says of the endpoint.",
        [({"verdict": state}, float(state == found.state)) for state in _STATES],
    )
    yield from _standing(report)
    yield from _windows(report)
    yield from _figures(report)
    yield from _parts(report)
    yield from _alerts(report)


def _gauge(name: str, told: str, samples: Iterable[_Sample]) -> _Family:
    return f"assay_monitor_{name}", told, samples


def _standing(report: Report) -> Iterator[_Family]:
    about, promise = report.about, report.promise
    yield _gauge("checkpoint_size", "Leaves of the ledger.", [({}, float(about.checkpoint_size))])
    yield _gauge(
        "checkpoint_timestamp_seconds",
        "When the ledger was signed last.",
        [({}, _seconds(about.checkpoint_time))],
    )
    if promise is not None:
        yield _gauge(
            "false_alarms_a_year",
            "At most so many alarms a year while nothing changes.",
            [({}, promise.false_alarms_a_year)],
        )
    if report.baseline is not None:
        rows = float(report.baseline.rows)
        yield _gauge("baseline_rows", "Rows that say what is normal.", [({}, rows)])


def _windows(report: Report) -> Iterator[_Family]:
    yield _gauge("windows", "Windows that were looked at.", [({}, float(len(report.windows)))])
    yield _gauge("label_coverage", "Share of rows with a label.", [({}, coverage(report))])
    if report.labels is not None:
        counts = report.labels.counts.items()
        yield _gauge(
            "labels",
            "Labels that came back, by what became of them.",
            [({"result": name}, float(count)) for name, count in counts],
        )
    if not report.windows:
        return
    last = report.windows[-1]
    yield _gauge("window_number", "Of the newest window.", [({}, float(last.number))])
    yield _gauge("window_rows", "Rows of the newest window.", [({}, float(last.rows))])
    yield _gauge(
        "window_end_timestamp_seconds", "When the newest window ended.", [({}, _seconds(last.end))]
    )
    # Each stream as of the newest window that says anything about it: labels come late.
    streams = {name: found for window in report.windows for name, found in window.streams.items()}
    of_line = [
        ({"stream": name}, _multiple(found.log_e, found.limit))
        for name, found in sorted(streams.items())
    ]
    yield _gauge("evidence", "Evidence as a multiple of what an alarm needs.", of_line)
    yield _gauge(
        "alarms",
        "Times that a stream crossed its alarm line, since the first window.",
        [({"stream": name}, float(_rung(report.windows, name))) for name in sorted(streams)],
    )


def _rung(windows: Iterable[Window], name: str) -> int:
    return sum(1 for w in windows if name in w.streams and w.streams[name].crossed)


def _figures(report: Report) -> Iterator[_Family]:
    names = metric_names(report)
    kinds: tuple[tuple[str, str, dict[str, Figure]], ...] = (
        ("baseline", "Figure of the baseline.", report.baseline.metrics if report.baseline else {}),
        ("estimated", "Figure as estimated without labels.", _last(report, lambda w: w.estimated)),
        ("measured", "Figure as measured with labels.", _last(report, lambda w: w.measured)),
    )
    for kind, told, found in kinds:
        for suffix, before, part in _PARTS:
            samples: list[_Sample] = [
                ({"metric": name}, part(found[name])) for name in names if name in found
            ]
            yield _gauge(f"{kind}{suffix}", f"{before}{told}", samples)


def _last(report: Report, get: Callable[[Window], Mapping[str, Figure]]) -> dict[str, Figure]:
    """Each metric as of the newest window that has it."""
    return {name: figure for window in report.windows for name, figure in get(window).items()}


def _parts(report: Report) -> Iterator[_Family]:
    features = ranked_features(report.features)[:FEATURES]
    yield _gauge(
        "feature_evidence",
        "Evidence against one input or answer, as a multiple of what an alarm needs.",
        # Where no window was compared, nobody looked: that is no small figure.
        [
            ({"feature": f.name}, _multiple(f.log_e, f.limit) if f.history else None)
            for f in features
        ],
    )
    yield _gauge(
        "feature_psi",
        "Population stability index of the newest window: a size, no alarm.",
        [({"feature": f.name}, f.effects.get("psi")) for f in features],
    )
    slices = ranked_slices(report.slices)[:SLICES]
    yield _gauge(
        "slice_evidence",
        "Evidence in one group, as a multiple of what an alarm needs.",
        [
            (
                {"column": s.column, "value": s.value},
                _multiple(s.log_e, s.limit),
            )
            for s in slices
        ],
    )
    for kind in ("estimated", "measured"):
        samples: list[_Sample] = []
        for s in slices:
            figure = s.measured if kind == "measured" else s.estimated
            if figure is not None:
                samples.append(
                    ({"column": s.column, "value": s.value, "metric": s.metric}, figure.value)
                )
        yield _gauge(f"slice_{kind}", f"Figure of one group, {kind}.", samples)


def _alerts(report: Report) -> Iterator[_Family]:
    severities, states = ("critical", "warning", "info"), ("open", "acknowledged")
    held = [(a.severity, a.state) for a in report.alerts]
    yield _gauge(
        "alerts",
        "Alerts that last.",
        [
            ({"severity": severity, "state": state}, float(held.count((severity, state))))
            for severity in severities
            for state in states
        ],
    )
    lasting = [incident for incident in report.incidents if incident.lasts]
    yield _gauge("incidents", "Incidents that are not closed.", [({}, float(len(lasting)))])
    yield _gauge(
        "deadline_timestamp_seconds",
        "When what the law asks after an incident is due.",
        [
            ({"incident": incident.id, "deadline": deadline.name}, _seconds(deadline.due))
            for incident in lasting
            for deadline in incident.deadlines
            if deadline.open
        ],
    )


def _multiple(log_e: float | None, limit: float) -> float | None:
    return None if log_e is None else 10 ** min(300.0, words.ratio(log_e, limit))


def _seconds(text: str) -> float | None:
    at = words.moment(text)
    return None if at is None else at.timestamp()


def _spelt(labels: Mapping[str, str]) -> str:
    told = ",".join(f'{name}="{_quoted(text)}"' for name, text in labels.items())
    return f"{{{told}}}"


def _quoted(text: str) -> str:
    return _distinct(text).replace("\\", "\\\\").replace('"', '\\"')


def _distinct(text: str, most: int = 120) -> str:
    """`words.shown`, where two long texts with one beginning stay two."""
    if len(text) <= most:
        return words.shown(text, most)
    digest = hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()[:8]
    return f"{words.shown(text[: most - 10], most)}…{digest}"


def _number(value: float) -> str:
    return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
