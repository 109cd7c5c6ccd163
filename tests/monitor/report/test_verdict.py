"""The verdict: what is wrong comes first, and what cannot be seen never looks well."""

from __future__ import annotations

import shlex
from typing import Any

import msgspec
import pytest
import typer.main
from hypothesis import given, settings
from hypothesis import strategies as st
from monitor.report import watched

from assay.cli.app import app
from assay.monitor.report import words
from assay.monitor.report.model import Evidence, Report
from assay.monitor.report.verdict import verdict


def changed(report: Report, **more: Any) -> Report:
    return msgspec.structs.replace(report, **more)


def last(report: Report, **more: Any) -> Report:
    """The report with another last window."""
    window = msgspec.structs.replace(report.windows[-1], **more)
    return changed(report, windows=(*report.windows[:-1], window))


def test_a_critical_alert_is_wrong_and_is_told_before_a_warning() -> None:
    found = verdict(watched.alarmed())
    assert (found.tone, found.state) == ("bad", "wrong")
    assert found.title == "Something is wrong, since 15 Feb 2026"
    assert found.why[0].startswith("Labels confirm that the performance has fallen")
    assert "Somebody has acknowledged it." in found.why[0]
    assert found.steps[-1].startswith("assay alerts ack 3f9a01c2d4e5b677-1 ")


def test_what_is_over_is_not_told_as_if_it_lasted() -> None:
    for state in ("resolved", "closed"):
        report = changed(watched.quiet(), alerts=(watched.alert(state=state),))
        assert verdict(report).state == "quiet"


def test_an_alarm_that_nobody_recorded_is_not_hidden() -> None:
    rung = {"data_drift": Evidence(log_e=9.0, limit=5.0, crossed=True)}
    found = verdict(last(watched.quiet(), streams=rung))
    assert (found.tone, found.state) == ("warn", "changed")
    assert "nobody has recorded" in found.title


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"rows": 0, "state": "empty", "streams": {}}, "had no rows"),
        ({"state": "unreadable", "streams": {}}, "is 'unreadable'"),
        ({"state": "few", "streams": {}}, "is 'few'"),
        ({"streams": {}}, "was compared with nothing"),
    ],
)
def test_silence_is_not_good_news(more: dict[str, Any], said: str) -> None:
    found = verdict(last(watched.quiet(), **more))
    assert (found.tone, found.state) == ("warn", "silent")
    assert said in found.why[0]


def test_a_monitor_that_stopped_is_said_with_how_long() -> None:
    late = changed(watched.quiet(60), about=watched.about(69))
    found = verdict(late)
    assert found.state == "silent"
    assert found.title == "Nothing has been looked at since 6 Mar 2026"
    assert "9 days before" in found.why[0]
    assert verdict(changed(watched.quiet(60), about=watched.about(62))).state == "quiet"


def test_few_windows_are_early_and_say_so() -> None:
    found = verdict(changed(watched.quiet(60), windows=watched.windows(2), about=watched.about(2)))
    assert (found.state, found.title) == ("early", "Nothing is wrong so far")


def test_an_incident_that_runs_keeps_the_verdict_from_being_good() -> None:
    report = changed(watched.quiet(), incidents=watched.alarmed().incidents)
    assert verdict(report).tone == "warn"


def test_labels_that_wait_are_told_as_waiting() -> None:
    labels = watched.Labels(rows=1_000, labelled=0, waiting=30)
    found = verdict(changed(watched.quiet(), labels=labels))
    assert any("30 labels came so far, for 3.0 % of the rows" in line for line in found.why)


_REPORTS = {
    "nothing": Report(about=watched.about(1)),
    "baseline": Report(about=watched.about(1), baseline=watched.BASELINE),
    "quiet": watched.quiet(),
    "alarmed": watched.alarmed(),
    "silent": last(watched.quiet(), streams={}),
    "late": changed(watched.quiet(60), about=watched.about(99)),
}


@pytest.mark.parametrize("report", _REPORTS.values(), ids=_REPORTS)
def test_every_step_is_a_command_that_exists(report: Report) -> None:
    for step in verdict(report).steps:
        program, *words_ = shlex.split(step)
        assert program == "assay"
        command: Any = typer.main.get_command(app)
        while hasattr(command, "commands"):
            command = command.commands[words_.pop(0)]
        known = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in words_ if word.startswith("--")} <= known, step


@settings(max_examples=100, deadline=None)
@given(
    log_e=st.floats(-1e3, 1e3),
    limit=st.floats(0.01, 50),
)
def test_evidence_below_the_line_is_never_told_as_having_reached_it(
    log_e: float, limit: float
) -> None:
    said = words.of_line(log_e, limit)
    assert ("×" in said) == (words.ratio(log_e, limit) >= 0)
    assert "100 %" not in said


@settings(max_examples=60, deadline=None)
@given(share=st.floats(0, 1))
def test_a_share_is_never_told_as_none_or_all_unless_it_is(share: float) -> None:
    said = words.percent(share)
    assert (said == "0 %") == (share == 0)
    assert (said == "100 %") == (share == 1)


def test_what_is_no_number_is_a_dash_and_never_zero() -> None:
    for value in (None, float("nan"), float("inf")):
        assert words.number(value) == "–"
        assert words.percent(value) == "–"
    assert words.figure(None) == "–"
    assert words.day("never") == "never"
