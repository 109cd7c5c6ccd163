"""What an endpoint counts, as OpenMetrics text for Prometheus and whoever else reads it.

Source: https://github.com/prometheus/OpenMetrics, ``specification/OpenMetrics.md`` (1.0).  All of
it is counted on the thread of the event loop, and counters outlive the versions they counted for.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping
from typing import Any

CONTENT_TYPE = b"application/openmetrics-text; version=1.0.0; charset=utf-8"
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds, in seconds, of the histogram of answers."""
_SAID = ("digest", "isolation", "stage", "approval")
"""Facts of the endpoint that its info line repeats."""


class Metrics:
    """The counts of one application."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, int]] = Counter()
        """By route and status."""
        self.rows = 0
        self.swaps = 0
        self.log_failures = 0
        self._buckets = [0] * (len(BUCKETS) + 1)
        self._seconds = 0.0

    def answered(self, rows: int, seconds: float) -> None:
        """A prediction that was given, and how long it took from its first byte."""
        self.rows += rows
        self._seconds += seconds
        self._buckets[bisect_left(BUCKETS, seconds)] += 1

    def text(
        self, model: str, version: str, facts: Mapping[str, Any], *, restarts: int, ready: bool
    ) -> bytes:
        """Everything, about the endpoint that answers now."""
        named = {"model": model}
        info = {**named, "version": version}
        info |= {name: str(facts[name]) for name in _SAID if name in facts}
        lines = [
            *_family("assay_endpoint", "info", "The version that answers."),
            _sample("assay_endpoint_info", info, 1),
            *_family("assay_endpoint_ready", "gauge", "Whether it could answer now."),
            _sample("assay_endpoint_ready", named, int(ready)),
            *_family("assay_endpoint_requests", "counter", "Requests, by route and status."),
        ]
        for (route, status), count in sorted(self.requests.items()):
            labels = {**named, "route": route, "status": str(status)}
            lines.append(_sample("assay_endpoint_requests_total", labels, count))
        lines += _family(
            "assay_endpoint_answer_seconds", "histogram", "Predictions, from first byte to answer."
        )
        below = 0
        for bound, count in zip((*map(repr, BUCKETS), "+Inf"), self._buckets, strict=True):
            below += count
            labels = {**named, "le": bound}
            lines.append(_sample("assay_endpoint_answer_seconds_bucket", labels, below))
        lines.append(_sample("assay_endpoint_answer_seconds_count", named, below))
        lines.append(_sample("assay_endpoint_answer_seconds_sum", named, round(self._seconds, 6)))
        for name, told, value in (
            ("rows", "Rows of the predictions that were given.", self.rows),
            ("swaps", "Times another version took over.", self.swaps),
            ("worker_restarts", "Times the model's process was started again.", restarts),
            (
                "log_failures",
                "Predictions not given because they could not be recorded.",
                self.log_failures,
            ),
        ):
            lines += _family(f"assay_endpoint_{name}", "counter", told)
            lines.append(_sample(f"assay_endpoint_{name}_total", named, value))
        return "\n".join([*lines, "# EOF\n"]).encode()


def _family(name: str, kind: str, told: str) -> list[str]:
    unit = [f"# UNIT {name} seconds"] if name.endswith("_seconds") else []
    return [f"# TYPE {name} {kind}", *unit, f"# HELP {name} {told}"]


def _sample(name: str, labels: Mapping[str, str], value: float) -> str:
    told = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels.items())
    return f"{name}{{{told}}} {value}"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
