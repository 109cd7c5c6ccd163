"""What Prometheus and Grafana are given: parsed by their own parsers, and of one piece."""

from __future__ import annotations

import json
import math
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from monitor.report import watched
from monitor.report.test_page import hostile
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as older

from assay.monitor.report.dashboard import dashboard
from assay.monitor.report.model import Report
from assay.monitor.report.openmetrics import render
from assay.serve.metrics import Metrics

PROMTOOL = shutil.which("promtool")


def samples(*reports: Report) -> dict[str, list[Any]]:
    found = openmetrics(render(*reports).decode())
    return {family.name: family.samples for family in found}


def test_both_formats_read_the_same_samples() -> None:
    text = render(watched.alarmed(), watched.quiet()).decode()
    new = {
        (s.name, *sorted(s.labels.items())): s.value for f in openmetrics(text) for s in f.samples
    }
    old = {(s.name, *sorted(s.labels.items())): s.value for f in older(text) for s in f.samples}
    assert new == old
    assert len(new) > 60
    assert {family.type for family in openmetrics(text)} == {"gauge"}


def test_the_figures_are_those_of_the_report() -> None:
    report = watched.alarmed()
    found = samples(report)
    states = {s.labels["verdict"]: s.value for s in found["assay_monitor_verdict"]}
    assert [state for state, value in states.items() if value] == ["wrong"]
    evidence = {s.labels["stream"]: s.value for s in found["assay_monitor_evidence"]}
    newest = [w.streams["performance"] for w in report.windows if "performance" in w.streams][-1]
    assert math.isclose(evidence["performance"], math.exp(newest.log_e - newest.limit))
    alerts = {
        (s.labels["severity"], s.labels["state"]): s.value for s in found["assay_monitor_alerts"]
    }
    assert alerts["critical", "acknowledged"] == alerts["warning", "open"] == 1.0
    assert alerts["info", "open"] == 0.0
    due = {s.labels["deadline"] for s in found["assay_monitor_deadline_timestamp_seconds"]}
    assert due == {"AI Act Art. 73: 15 days"}, "what was reported is no longer due"


def test_what_nobody_knows_has_no_sample() -> None:
    found = samples(Report(about=watched.about(1)))
    assert "assay_monitor_label_coverage" not in found
    assert "assay_monitor_evidence" not in found
    assert "assay_monitor_measured" not in found
    unlabelled = msgspec.structs.replace(
        watched.quiet(), windows=watched.windows(5, labels=0.0), labels=None
    )
    assert "assay_monitor_measured" not in samples(unlabelled)


def test_hostile_names_stay_labels_and_each_series_is_told_once() -> None:
    text = render(hostile(), hostile()).decode()
    series = [line.rsplit(" ", 1)[0] for line in text.splitlines() if not line.startswith("#")]
    assert len(series) == len(set(series))
    assert text.count("# EOF") == 1 + text.count("\\n# EOF")
    assert len(list(openmetrics(text))) > 15


@settings(max_examples=40, deadline=None)
@given(name=st.text(max_size=200), value=st.floats())
def test_any_name_and_any_figure_can_be_parsed(name: str, value: float) -> None:
    feature = msgspec.structs.replace(
        watched.feature("x", 1), name=name, log_e=value, effects={"psi": value}
    )
    report = Report(about=watched.about(1, endpoint=name), features=(feature,))
    assert list(openmetrics(render(report).decode()))


def test_features_have_a_bounded_number_of_series() -> None:
    found = samples(watched.crowded(200, 30))
    assert len(found["assay_monitor_feature_evidence"]) == 50


# -- the dashboard --------------------------------------------------------------------------------


def expressions() -> list[str]:
    made = dashboard()
    asked = [t["expr"] for p in made["panels"] for t in p.get("targets", [])]
    return [*asked, *(a["expr"] for a in made["annotations"]["list"])]


def test_the_dashboard_asks_only_for_what_is_told() -> None:
    served = Metrics()
    served.requests["infer", 200] += 1
    told = served.text("m", "1", {}, restarts=0, ready=True).decode()
    told += render(watched.alarmed()).decode()
    known = set(re.findall(r"^(assay_\w+)\{", told, re.M))
    asked = {name for text in expressions() for name in re.findall(r"assay_\w+", text)}
    assert asked
    assert asked <= known
    templates = json.dumps(dashboard()["templating"])
    assert set(re.findall(r"assay_\w+", templates)) <= known


def test_labels_that_the_dashboard_asks_for_are_there() -> None:
    served = Metrics()
    served.requests["infer", 200] += 1
    told = served.text("m", "1", {}, restarts=0, ready=True).decode()
    told += render(watched.alarmed()).decode()
    for panel in dashboard()["panels"]:
        for target in panel.get("targets", []):
            names = re.findall(r"assay_\w+", target["expr"])
            wanted = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
            wanted |= set(re.findall(r"by \((\w+)\)", target["expr"]))
            for name in names:
                labels = re.findall(rf"^{name}\{{(.*)\}} ", told, re.M)
                assert all(f'{label}="' in labels[0] for label in wanted), (name, wanted)


def test_panels_lie_beside_each_other_and_never_on_each_other() -> None:
    taken: set[tuple[int, int]] = set()
    panels = dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    for panel in panels:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert max(x for x, _ in cells) < 24
        assert not cells & taken, panel["title"]
        taken |= cells


def test_variables_are_declared_and_no_source_is_hard_wired() -> None:
    made = dashboard()
    declared = {variable["name"] for variable in made["templating"]["list"]}
    text = json.dumps(made)
    used = set(re.findall(r"\$\{?([a-z]\w*)", text)) - {"__rate_interval"}
    assert used == declared
    sources = [p["datasource"] for p in made["panels"] if "datasource" in p]
    assert all(source["uid"] == "${source}" for source in sources)
    assert not re.search(r"https?://", text)


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed")
def test_promtool_finds_nothing_wrong(tmp_path: Path) -> None:
    rules = [
        {"record": f"x:{i}", "expr": re.sub(r"\$\w+", "5m", text).replace('"5m"', '"x"')}
        for i, text in enumerate(expressions())
    ]
    file = tmp_path / "rules.json"
    file.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    subprocess.run([str(PROMTOOL), "check", "rules", str(file)], check=True, capture_output=True)
    text = render(watched.alarmed())
    done = subprocess.run([str(PROMTOOL), "check", "metrics"], input=text, capture_output=True)
    assert done.returncode == 0, done.stderr
