"""The panels of the dashboard: what is asked of Prometheus, and how it is drawn."""

from __future__ import annotations

from typing import Any

SOURCE = {"type": "prometheus", "uid": "${source}"}
MONITOR = '{project="$project",endpoint="$endpoint"}'
SERVED = '{model="$endpoint"}'
"""An endpoint is named after its model."""
WIDTH = 24
_EVERY = "$__rate_interval"

GREEN, AMBER, RED, GREY = "green", "orange", "red", "text"
_VERDICTS = {
    "wrong": ("Something is wrong", RED),
    "changed": ("Something has changed", AMBER),
    "quiet": ("Nothing is wrong", GREEN),
    "early": ("Too early to say", GREY),
    "unwatched": ("Nothing is watched", GREY),
    "silent": ("Nothing is looked at", AMBER),
}


def panels() -> list[dict[str, Any]]:
    """All of them, in their order."""
    return [*_verdict(), *_evidence(), *_figures(), *_parts(), *_serving()]


def _target(expression: str, legend: str = "", *, instant: bool = False) -> dict[str, Any]:
    return {
        "datasource": SOURCE,
        "expr": expression,
        "legendFormat": legend or "__auto",
        "instant": instant,
        "range": not instant,
    }


def _panel(
    title: str,
    kind: str,
    size: tuple[int, int],
    targets: list[dict[str, Any]],
    *,
    told: str = "",
    defaults: dict[str, Any] | None = None,
    overrides: list[dict[str, Any]] | None = None,
    options: dict[str, Any] | None = None,
) -> dict[str, Any]:
    width, height = size
    numbered = [{**target, "refId": chr(ord("A") + i)} for i, target in enumerate(targets)]
    return {
        "title": title,
        "description": told,
        "type": kind,
        "datasource": SOURCE,
        "gridPos": {"w": width, "h": height},
        "targets": numbered,
        "fieldConfig": {"defaults": defaults or {}, "overrides": overrides or []},
        "options": options or {},
    }


def _row(title: str) -> dict[str, Any]:
    return {
        "title": title,
        "type": "row",
        "collapsed": False,
        "gridPos": {"w": WIDTH, "h": 1},
        "panels": [],
    }


def _steps(*steps: tuple[float | None, str]) -> dict[str, Any]:
    return {"mode": "absolute", "steps": [{"value": v, "color": color} for v, color in steps]}


def _verdict() -> list[dict[str, Any]]:
    number = {"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "background"}
    words = {
        state: {"text": text, "color": color, "index": i}
        for i, (state, (text, color)) in enumerate(_VERDICTS.items())
    }
    return [
        _panel(
            "Verdict",
            "stat",
            (6, 5),
            [
                _target(
                    f"assay_monitor_verdict{MONITOR} == 1",
                    "{{verdict}}",
                    instant=True,
                )
            ],
            told="What `assay monitor report` says first.",
            defaults={"mappings": [{"type": "value", "options": words}]},
            options={**number, "textMode": "name", "graphMode": "none"},
            overrides=[
                {
                    "matcher": {"id": "byName", "options": state},
                    "properties": [
                        {"id": "displayName", "value": text},
                        {"id": "color", "value": {"mode": "fixed", "fixedColor": color}},
                    ],
                }
                for state, (text, color) in _VERDICTS.items()
            ],
        ),
        _panel(
            "Alerts that last",
            "stat",
            (4, 5),
            [
                _target(
                    f"sum by (severity) (assay_monitor_alerts{MONITOR})",
                    "{{severity}}",
                    instant=True,
                )
            ],
            defaults={"thresholds": _steps((None, GREEN), (1, RED)), "unit": "none"},
            options={**number, "graphMode": "none"},
        ),
        _panel(
            "Since the last window",
            "stat",
            (4, 5),
            [
                _target(
                    f"time() - assay_monitor_window_end_timestamp_seconds{MONITOR}", instant=True
                )
            ],
            told="Silence is not good news: when this grows, nobody closes windows.",
            defaults={"unit": "s", "thresholds": _steps((None, GREEN), (172800, AMBER))},
            options={**number, "graphMode": "none"},
        ),
        _panel(
            "Rows with a label",
            "stat",
            (4, 5),
            [_target(f"assay_monitor_label_coverage{MONITOR}")],
            told="Every measured figure is about these rows only.",
            defaults={
                "unit": "percentunit",
                "min": 0,
                "max": 1,
                "thresholds": _steps((None, AMBER), (0.1, GREEN)),
            },
            options=number,
        ),
        _panel(
            "Answers now",
            "stat",
            (6, 5),
            [_target(f"assay_endpoint_info{SERVED}", "version {{version}}", instant=True)],
            options={**number, "textMode": "name", "colorMode": "none", "graphMode": "none"},
        ),
    ]


def _line(
    title: str, size: tuple[int, int], targets: list[dict[str, Any]], **more: Any
) -> dict[str, Any]:
    legend = {
        "legend": {"displayMode": "list", "placement": "bottom"},
        "tooltip": {"mode": "multi"},
    }
    return _panel(title, "timeseries", size, targets, options=legend, **more)


def _evidence() -> list[dict[str, Any]]:
    return [
        _row("Evidence"),
        _line(
            "Evidence against the alarm line",
            (WIDTH, 9),
            [_target(f"assay_monitor_evidence{MONITOR}", "{{stream}}")],
            told="As a multiple of what an alarm needs: 1 is the line. Higher is worse.",
            defaults={
                "unit": "none",
                "min": 0.001,
                "custom": {
                    "scaleDistribution": {"type": "log", "log": 10},
                    "thresholdsStyle": {"mode": "line+area"},
                    "lineWidth": 2,
                },
                "thresholds": _steps((None, "transparent"), (1, RED)),
            },
        ),
    ]


def _figures() -> list[dict[str, Any]]:
    kinds = ("estimated", "measured", "baseline")
    return [
        _row("How well it does"),
        _line(
            "Estimated, measured, and the baseline",
            (16, 9),
            [_target(f"assay_monitor_{kind}{MONITOR}", f"{{{{metric}}}} {kind}") for kind in kinds],
            told="Estimated from the scores alone; measured on the rows with a label.",
            overrides=[
                {
                    "matcher": {"id": "byRegexp", "options": "/baseline$/"},
                    "properties": [
                        {
                            "id": "custom.lineStyle",
                            "value": {"fill": "dash", "dash": [8, 6]},
                        }
                    ],
                }
            ],
        ),
        _line(
            "How sure: measured, lower and upper bound",
            (8, 9),
            [
                _target(f"assay_monitor_measured_{bound}{MONITOR}", f"{{{{metric}}}} {bound}")
                for bound in ("lower", "upper")
            ],
        ),
    ]


def _parts() -> list[dict[str, Any]]:
    bars: dict[str, Any] = {
        "options": {
            "orientation": "horizontal",
            "displayMode": "basic",
            "reduceOptions": {"calcs": ["lastNotNull"]},
        },
        "defaults": {"thresholds": _steps((None, GREEN), (0.1, AMBER), (1, RED)), "decimals": 3},
    }
    return [
        _panel(
            "Inputs and answers with the most evidence",
            "bargauge",
            (12, 9),
            [
                _target(
                    f"topk(12, assay_monitor_feature_evidence{MONITOR})",
                    "{{feature}}",
                    instant=True,
                )
            ],
            **bars,
        ),
        _panel(
            "Groups with the most evidence",
            "bargauge",
            (12, 9),
            [
                _target(
                    f"topk(12, assay_monitor_slice_evidence{MONITOR})",
                    "{{column}} = {{value}}",
                    instant=True,
                )
            ],
            **bars,
        ),
        _panel(
            "What is due after an incident",
            "table",
            (12, 6),
            [
                {
                    **_target(
                        f"assay_monitor_deadline_timestamp_seconds{MONITOR} * 1000", instant=True
                    ),
                    "format": "table",
                }
            ],
            defaults={"unit": "dateTimeAsIso"},
        ),
        _panel(
            "Labels that came back",
            "bargauge",
            (12, 6),
            [_target(f"assay_monitor_labels{MONITOR}", "{{result}}", instant=True)],
            options=bars["options"],
            defaults={"thresholds": _steps((None, GREEN))},
        ),
    ]


def _serving() -> list[dict[str, Any]]:
    answer = "assay_endpoint_answer_seconds_bucket"
    return [
        _row("How it is served"),
        _line(
            "Requests a second, by status",
            (8, 8),
            [
                _target(
                    f"sum by (status) (rate(assay_endpoint_requests_total{SERVED}[{_EVERY}]))",
                    "{{status}}",
                )
            ],
            defaults={"unit": "reqps", "min": 0},
        ),
        _line(
            "Time to answer",
            (8, 8),
            [
                _target(
                    f"histogram_quantile({q}, sum by (le) (rate({answer}{SERVED}[{_EVERY}])))",
                    f"{float(q):.0%} below",
                )
                for q in ("0.5", "0.95", "0.99")
            ],
            defaults={"unit": "s", "min": 0},
        ),
        _line(
            "Rows a second",
            (8, 8),
            [_target(f"sum(rate(assay_endpoint_rows_total{SERVED}[{_EVERY}]))", "rows")],
            defaults={"min": 0},
        ),
        _line(
            "What must not happen",
            (12, 7),
            [
                _target(f"sum(increase(assay_endpoint_{name}_total{SERVED}[{_EVERY}]))", legend)
                for name, legend in (
                    ("log_failures", "refused: could not be recorded"),
                    ("worker_restarts", "worker started again"),
                )
            ],
            defaults={"min": 0, "decimals": 0},
        ),
        _line(
            "Ready, and swaps",
            (12, 7),
            [
                _target(f"min(assay_endpoint_ready{SERVED})", "ready"),
                _target(
                    f"sum(increase(assay_endpoint_swaps_total{SERVED}[{_EVERY}]))",
                    "another version took over",
                ),
            ],
            defaults={"min": 0},
        ),
    ]
