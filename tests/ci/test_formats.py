"""Every file against the schema or the parser of those who read it."""

from __future__ import annotations

import json
import math
from typing import Any
from urllib.parse import unquote, urlsplit
from xml.etree import ElementTree

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.ci import junit, metrics, sarif
from assay.ci.escaping import shown
from assay.ci.model import Estimate, Finding, Metric, Report, Step, decode, encode
from assay.errors import Corrupt, Usage

from .reports import HOSTILE, report

TEXTS = st.one_of(st.sampled_from(HOSTILE), st.text(max_size=60))


def bare(**parts: Any) -> Report:
    return Report(verdict="passed", why="", project="p", pipeline="pipelines/credit.py", **parts)


# -- the document ----------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(TEXTS)
def test_the_document_comes_back_as_it_was_written(text: str) -> None:
    data = encode(report(text))
    found = decode(data)
    assert encode(found) == data
    if len(text) < 3_000 and text.isprintable():
        assert found == report(text)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_figure_is_refused_by_its_place(value: float) -> None:
    wrong = bare(metrics=[Metric(name="auc", now=Estimate(value=value))])
    with pytest.raises(Usage, match=r"report\.metrics\[0\]\.now\.value"):
        encode(wrong)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"[]",
        b"\xff",
        b'{"format":' * 3_000,
        encode(bare()).replace(b"ci-report/v1", b"ci-report/v2"),
        encode(bare()).replace(b'"why"', b'"html": "<b>", "why"'),
        encode(bare()).replace(b'"passed"', b'"superb"'),
        encode(bare(steps=[Step(name="a", state="done")])).replace(
            b'"seconds": 0.0', b'"seconds": NaN'
        ),
        encode(bare(steps=[Step(name="a", state="done")])).replace(
            b'"seconds": 0.0', b'"seconds": 1e999'
        ),
        encode(bare()).replace(b'"why": ""', b'"why": "' + b"x" * 5_000 + b'"'),
        encode(bare()).replace(b'"base": ""', b'"base": "' + b"a" * 40 + b'\\n"'),
    ],
)
def test_a_foreign_document_is_refused(data: bytes) -> None:
    with pytest.raises(Corrupt) as caught:
        decode(data)
    assert caught.value.message.isprintable()


def test_a_document_over_the_limit_is_refused_unread() -> None:
    with pytest.raises(Corrupt, match="larger"):
        decode(encode(bare()), limit=10)


# -- SARIF -----------------------------------------------------------------------------------------


def log(found: Report) -> dict[str, Any]:
    return json.loads(sarif.render(found))


@pytest.mark.parametrize("text", HOSTILE)
def test_sarif_follows_the_schema_whatever_names_hold(
    sarif_schema: dict[str, Any], text: str
) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    jsonschema.Draft7Validator(sarif_schema).validate(log(report(text)))


def test_each_result_has_a_rule_with_help_and_a_place_in_the_repository() -> None:
    for text in HOSTILE:
        run = log(report(text))["runs"][0]
        rules = run["tool"]["driver"]["rules"]
        assert len({rule["id"] for rule in rules}) == len(rules)
        for result in run["results"]:
            rule = rules[result["ruleIndex"]]
            assert rule["id"] == result["ruleId"]
            assert rule["help"]["text"]
            uri = result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
            parts = urlsplit(uri)
            assert not parts.scheme
            assert not parts.netloc
            assert not uri.startswith("/")
            assert ".." not in unquote(uri).split("/")


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "../../x", "a/../../b", "C:\\x", "//host/x", "data:x"]
)
def test_a_path_never_leaves_the_repository(path: str) -> None:
    found = bare(findings=[Finding(rule="r", level="error", message="m", path=path)])
    place = log(found)["runs"][0]["results"][0]["locations"][0]["physicalLocation"]
    uri = place["artifactLocation"]["uri"]
    assert not urlsplit(uri).scheme
    assert not uri.startswith(("/", "."))


def test_the_most_severe_results_are_kept_and_the_others_counted() -> None:
    many = [
        Finding(rule="r", level=level, message=f"{level} {number}")
        for level in ("note", "warning", "error")
        for number in range(2_000)
    ]
    run = log(bare(findings=many))["runs"][0]
    levels = [result["level"] for result in run["results"]]
    assert len(levels) == sarif.MOST_RESULTS
    assert levels == sorted(levels, key=["error", "warning", "note"].index)
    assert levels.count("note") == 1_000
    notes = run["invocations"][0]["toolExecutionNotifications"]
    assert "1,000 less severe results were left out of 6,000" in notes[0]["message"]["text"]


def test_fingerprints_outlive_a_move_and_tell_equal_findings_apart() -> None:
    def marks(line: int) -> list[str]:
        same = [
            Finding(rule="r", level="note", message="m", path="a.py", line=n)
            for n in (line, line + 9)
        ]
        results = log(bare(findings=same))["runs"][0]["results"]
        return [result["partialFingerprints"]["assayFinding/v1"] for result in results]

    assert marks(3) == marks(40)
    assert len(set(marks(3))) == 2


def test_a_message_cannot_hold_a_link() -> None:
    found = bare(findings=[Finding(rule="r", level="note", message="see [this](http://x) \\[")])
    text = log(found)["runs"][0]["results"][0]["message"]["text"]
    assert text == "see \\[this\\](http://x) \\\\\\["


# -- JUnit -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", HOSTILE)
def test_junit_follows_the_schema_whatever_names_hold(junit_schema: str, text: str) -> None:
    xmlschema = pytest.importorskip("xmlschema")
    xmlschema.XMLSchema(junit_schema).validate(junit.render(report(text)).decode())


def test_each_gate_and_each_step_is_a_test_case() -> None:
    found = report()
    root = ElementTree.fromstring(junit.render(found))  # noqa: S314 - our own
    cases = {case.attrib["name"]: case for case in root.iter("testcase")}
    assert set(cases) == {g.id for g in found.gates} | {s.name for s in found.steps}
    closed = cases["privacy credit"].find("failure")
    assert closed is not None
    assert "run: assay model assess credit" in (closed.text or "")
    assert cases["score"].find("error") is not None
    assert cases["report"].find("skipped") is not None
    assert cases["quality-floor"].find("failure") is None
    assert {k: root.attrib[k] for k in ("tests", "failures", "errors")} == {
        "tests": "6",
        "failures": "1",
        "errors": "1",
    }


@pytest.mark.parametrize("seconds", [-1.0, 1e300])
def test_a_nonsensical_time_is_bounded(junit_schema: str, seconds: float) -> None:
    xmlschema = pytest.importorskip("xmlschema")
    found = bare(steps=[Step(name="a", state="done", seconds=seconds)])
    xmlschema.XMLSchema(junit_schema).validate(junit.render(found).decode())


# -- OpenMetrics -----------------------------------------------------------------------------------


def families(found: Report) -> dict[str, Any]:
    parser = pytest.importorskip("prometheus_client.openmetrics.parser")
    text = metrics.render(found).decode()
    assert text.endswith("\n# EOF\n")
    return {f.name: f for f in parser.text_string_to_metric_families(text)}


@settings(max_examples=60, deadline=None)
@given(TEXTS)
def test_figures_are_open_metrics_whatever_names_hold(text: str) -> None:
    found = families(report(text))
    assert found["assay_step_seconds"].unit == "seconds"
    assert found["assay_verdict"].type == "stateset"
    labels = [s.labels["figure"] for s in found["assay_figure"].samples]
    assert any(shown(text, 60)[:40] in label for label in labels)


def test_figures_say_what_was_measured_exactly() -> None:
    found = families(report())
    by_name = {
        s.labels["figure"]: s.value
        for s in found["assay_figure"].samples
        if s.labels["of"] == "now"
    }
    assert by_name == {"credit": 0.81, "rmse": 1e-7}
    assert found["assay_difference_upper"].samples[0].value == -0.02
    assert {s.labels["gate"]: s.value for s in found["assay_gate_open"].samples} == {
        "quality-floor": 1,
        "privacy credit": 0,
    }


def test_two_names_that_begin_alike_stay_two_and_one_name_stays_one() -> None:
    names = ["x" * 500 + "a", "x" * 500 + "b", "same", "same", "a\nb", "a\\nb"]
    found = families(bare(metrics=[Metric(name=n, now=Estimate(value=0.5)) for n in names]))
    labels = [s.labels["figure"] for s in found["assay_figure"].samples]
    assert len(labels) == len(set(labels)) == 4


def test_the_same_report_gives_the_same_bytes() -> None:
    for render in (encode, sarif.render, junit.render, metrics.render):
        again = msgspec.convert(msgspec.to_builtins(report("é|<")), Report)
        assert render(report("é|<")) == render(again)
