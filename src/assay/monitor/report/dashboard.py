"""A dashboard for Grafana over what `assay serve` and `assay monitor metrics` tell Prometheus.

Source: https://grafana.com/docs/grafana/latest/dashboards/build-dashboards/view-dashboard-json-model/
(schema 39, which Grafana 10.4 and later read).  It names no data source of its own: whoever imports
it picks theirs at the top.
"""

from __future__ import annotations

from typing import Any

from assay.monitor.report.panels import MONITOR, SERVED, SOURCE, WIDTH, panels

UID = "assay-monitor"


def dashboard() -> dict[str, Any]:
    """The JSON model, to be imported as a file."""
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
        "panels": _placed(panels()),
    }


def _variables() -> list[dict[str, Any]]:
    def query(name: str, label: str, asked: str) -> dict[str, Any]:
        return {
            "name": name,
            "label": label,
            "type": "query",
            "datasource": SOURCE,
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
            "datasource": SOURCE,
            "enable": True,
            "iconColor": color,
            "expr": expression,
            "step": "60s",
            "titleFormat": title,
            "textFormat": "",
            "tagKeys": "stream",
        }

    alarms = f"delta(assay_monitor_alarms{MONITOR}[5m]) > 0"
    swaps = f"increase(assay_endpoint_swaps_total{SERVED}[5m]) > 0"
    return [
        marks("Alarms", "red", alarms, "alarm"),
        marks("Versions", "blue", swaps, "another version took over"),
    ]


def _placed(made: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each panel with an id and a place, left to right, as Grafana lays them out."""
    x = y = height = 0
    for number, panel in enumerate(made, start=1):
        place = panel["gridPos"]
        if x + place["w"] > WIDTH:
            x, y, height = 0, y + height, 0
        panel["id"] = number
        place.update(x=x, y=y)
        x, height = x + place["w"], max(height, place["h"])
    return made
