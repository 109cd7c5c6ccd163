"""A dashboard for Grafana over what `assay serve` and `assay monitor metrics` tell Prometheus.

Source: https://grafana.com/docs/grafana/latest/dashboards/build-dashboards/view-dashboard-json-model/
(schema 39, which Grafana 10.4 and later read).  It names no data source of its own: whoever imports
it picks theirs at the top.
"""

from __future__ import annotations

from typing import Any

UID = "assay-monitor"
_SOURCE = {"type": "prometheus", "uid": "${source}"}
_MONITOR = '{project="$project",endpoint="$endpoint"}'
_SERVED = '{model="$endpoint"}'
_WIDTH = 24

GREEN, AMBER, RED, GREY = "green", "orange", "red", "text"
_VERDICTS = {
    "wrong": ("Something is wrong", RED),
    "changed": ("Something has changed", AMBER),
    "quiet": ("Nothing is wrong", GREEN),
    "early": ("Too early to say", GREY),
    "unwatched": ("Nothing is watched", GREY),
    "silent": ("Nothing is looked at", AMBER),
}


def dashboard() -> dict[str, Any]:
    """The JSON model, to be imported as a file."""
    panels = [*_verdict(), *_evidence(), *_figures(), *_parts(), *_serving()]
    return {
        "uid": UID,
        "title": "assay: what runs is watched",
        "description": "Evidence against the alarm line, how well the model does, and how it is "
        "served. The signed truth is on the ledger: assay monitor report.",
        "tags": ["assay", "mlops"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "time": {"from": "now-30d", "to": "now"},
        "refresh": "1m",
        "timezone": "utc",
        "templating": {"list": _variables()},
        "annotations": {"list": _annotations()},
        "links": [],
        "panels": _placed(panels),
    }


def _variables() -> list[dict[str, Any]]:
    def query(name: str, label: str, asked: str) -> dict[str, Any]:
        return {
            "name": name,
            "label": label,
            "type": "query",
            "datasource": _SOURCE,
            "query": {"query": asked, "refId": name},
            "definition": asked,
            "refresh": 2,
            "sort": 1,
            "includeAll": False,
            "multi": False,
        }

    return [
        {"name": "source", "label": "Prometheus", "type": "datasource", "query": "prometheus"},
        query("project", "Project", "label_values(assay_monitor_info, project)"),
        query(
            "endpoint",
            "Endpoint",
            'label_values(assay_monitor_info{project="$project"}, endpoint)',
        ),
    ]


def _annotations() -> list[dict[str, Any]]:
    def marks(name: str, color: str, expression: str, title: str) -> dict[str, Any]:
        return {
            "name": name,
            "datasource": _SOURCE,
            "enable": True,
            "iconColor": color,
            "expr": expression,
            "step": "60s",
            "titleFormat": title,
            "textFormat": "",
            "tagKeys": "stream",
        }

    alarms = f"delta(assay_monitor_alarms{_MONITOR}[5m]) > 0"
    swaps = f"increase(assay_endpoint_swaps_total{_SERVED}[5m]) > 0"
    return [
        marks("Alarms", "red", alarms, "alarm"),
        marks("Versions", "blue", swaps, "another version took over"),
    ]


# -- panels ---------------------------------------------------------------------------------------


def _target(expression: str, legend: str = "", *, instant: bool = False) -> dict[str, Any]:
    return {
        "datasource": _SOURCE,
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
        "datasource": _SOURCE,
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
        "gridPos": {"w": _WIDTH, "h": 1},
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
                    f"assay_monitor_verdict{_MONITOR} == 1",
                    "{{assay_monitor_verdict}}",
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
                    f"sum by (severity) (assay_monitor_alerts{_MONITOR})",
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
                    f"time() - assay_monitor_window_end_timestamp_seconds{_MONITOR}", instant=True
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
            [_target(f"assay_monitor_label_coverage{_MONITOR}")],
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
            [_target(f"assay_endpoint_info{_SERVED}", "version {{version}}", instant=True)],
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
            (_WIDTH, 9),
            [_target(f"assay_monitor_evidence{_MONITOR}", "{{stream}}")],
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
            [
                _target(f"assay_monitor_{kind}{_MONITOR}", f"{{{{metric}}}} {kind}")
                for kind in kinds
            ],
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
                _target(f"assay_monitor_measured_{bound}{_MONITOR}", f"{{{{metric}}}} {bound}")
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
                    f"topk(12, assay_monitor_feature_evidence{_MONITOR})",
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
                    f"topk(12, assay_monitor_slice_evidence{_MONITOR})",
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
                        f"assay_monitor_deadline_timestamp_seconds{_MONITOR} * 1000", instant=True
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
            [_target(f"assay_monitor_labels{_MONITOR}", "{{result}}", instant=True)],
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
                    f"sum by (status) (rate(assay_endpoint_requests_total{_SERVED}[$__rate_interval]))",
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
                    f"histogram_quantile({q}, sum by (le) (rate({answer}{_SERVED}[$__rate_interval])))",
                    f"{float(q):.0%} below",
                )
                for q in ("0.5", "0.95", "0.99")
            ],
            defaults={"unit": "s", "min": 0},
        ),
        _line(
            "Rows a second",
            (8, 8),
            [_target(f"sum(rate(assay_endpoint_rows_total{_SERVED}[$__rate_interval]))", "rows")],
            defaults={"min": 0},
        ),
        _line(
            "What must not happen",
            (12, 7),
            [
                _target(
                    f"sum(increase(assay_endpoint_{name}_total{_SERVED}[$__rate_interval]))", legend
                )
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
                _target(f"min(assay_endpoint_ready{_SERVED})", "ready"),
                _target(
                    f"sum(increase(assay_endpoint_swaps_total{_SERVED}[$__rate_interval]))",
                    "another version took over",
                ),
            ],
            defaults={"min": 0},
        ),
    ]


def _placed(panels: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each panel with an id and a place, left to right, as Grafana lays them out."""
    x = y = height = 0
    for number, panel in enumerate(panels, start=1):
        place = panel["gridPos"]
        if x + place["w"] > _WIDTH:
            x, y, height = 0, y + height, 0
        panel["id"] = number
        place.update(x=x, y=y)
        x, height = x + place["w"], max(height, place["h"])
    return panels
