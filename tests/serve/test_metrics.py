"""What an endpoint counts, read by Prometheus' own parser of OpenMetrics."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from assay.errors import Denied, Unavailable
from assay.serve.app import Answered, Application, Endpoint
from assay.serve.metrics import BUCKETS, Metrics

INFER = "/v2/models/credit/infer"


def samples(text: bytes) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Every sample by its name and labels but ``model``."""
    found: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}
    for family in text_string_to_metric_families(text.decode()):
        for sample in family.samples:
            labels = {k: v for k, v in sample.labels.items() if k != "model"}
            found[sample.name, frozenset(labels.items())] = sample.value
    return found


def value(text: bytes, name: str, **labels: str) -> float:
    return samples(text)[f"assay_endpoint_{name}", frozenset(labels.items())]


def test_every_kind_of_answer_is_counted(ask: Any, matrix_endpoint: Endpoint, good: bytes) -> None:
    app = Application(replace(matrix_endpoint, restarts=lambda: 2))
    for _ in range(3):
        ask(app, "POST", INFER, good)
    ask(app, "POST", INFER, b"{}")
    ask(app, "GET", INFER)
    ask(app, "GET", "/v2/nothing")
    ask(app, "GET", "/v2", token=None)
    ask(app, "GET", "/v2/health/live", token=None)
    answer = ask(app, "GET", "/metrics")
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    text = answer.body
    assert value(text, "requests_total", route="infer", status="200") == 3
    assert value(text, "requests_total", route="infer", status="400") == 1
    assert value(text, "requests_total", route="infer", status="405") == 1
    assert value(text, "requests_total", route="none", status="404") == 1
    assert value(text, "requests_total", route="none", status="401") == 1
    assert value(text, "requests_total", route="live", status="200") == 1
    assert value(text, "rows_total") == 6
    assert value(text, "answer_seconds_count") == 3
    assert value(text, "answer_seconds_bucket", le="+Inf") == 3
    assert value(text, "worker_restarts_total") == 2
    assert value(text, "swaps_total") == 0
    assert value(text, "ready") == 1
    (info,) = [labels for name, labels in samples(text) if name == "assay_endpoint_info"]
    assert dict(info)["version"] == "3"
    assert dict(info)["digest"].startswith("sha256:")


def test_a_prediction_that_could_not_be_recorded_is_counted_as_such(
    ask: Any, matrix_endpoint: Endpoint, good: bytes
) -> None:
    def record(_: Answered) -> None:
        raise Unavailable("disk full")

    app = Application(replace(matrix_endpoint, record=record))
    ask(app, "POST", INFER, good)
    text = ask(app, "GET", "/metrics").body
    assert value(text, "log_failures_total") == 1
    assert value(text, "rows_total") == 0
    assert value(text, "requests_total", route="infer", status="503") == 1


def test_counts_are_for_those_who_may_ask(ask: Any, matrix_endpoint: Endpoint) -> None:
    def nobody(_: str) -> str:
        raise Denied("no", code="query")

    assert ask(Application(matrix_endpoint), "GET", "/metrics", token=None).status == 401
    refused = ask(Application(replace(matrix_endpoint, permit=nobody)), "GET", "/metrics")
    assert refused.status == 403
    assert b"assay_endpoint" not in refused.body


@pytest.mark.parametrize("seconds", [0.0, 0.001, 0.0011, 9.9, 10.0, 10.1, 1e9])
def test_an_answer_lies_in_the_first_bucket_that_holds_it(seconds: float) -> None:
    counted = Metrics()
    counted.answered(1, seconds)
    text = counted.text("m", "1", {}, restarts=0, ready=True)
    for bound in BUCKETS:
        assert value(text, "answer_seconds_bucket", le=repr(bound)) == (seconds <= bound)


@settings(max_examples=60, deadline=None)
@given(facts=st.dictionaries(st.sampled_from(["approval", "stage", "secret"]), st.text()))
def test_whatever_a_fact_says_stays_one_label(facts: dict[str, str]) -> None:
    text = Metrics().text("m", "1", facts, restarts=0, ready=True)
    (info,) = [dict(labels) for name, labels in samples(text) if name == "assay_endpoint_info"]
    shown = {name: fact for name, fact in facts.items() if name != "secret"}
    assert info == {**shown, "version": "1"}
