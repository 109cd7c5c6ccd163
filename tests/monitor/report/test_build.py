"""From statements to a report: nothing invented, nothing of another version, no loss unsaid."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from monitor.report import life, watched

from assay.errors import AssayError
from assay.monitor.report import page
from assay.monitor.report.build import Given, Recorded, build
from assay.monitor.report.compared import figures
from assay.monitor.report.model import Report
from assay.monitor.report.pages import ranked_slices
from assay.monitor.report.verdict import verdict


@pytest.fixture(scope="module")
def told() -> dict[str, Any]:
    return life.baseline()


@pytest.fixture(scope="module")
def opened(told: dict[str, Any]) -> list[dict[str, Any]]:
    """Thirty days; from day 20 on the old come, whom training hardly saw."""
    return life.windows(told, 30, old_from=20)


def made(
    told: dict[str, Any] | None,
    windows: list[dict[str, Any]],
    performances: list[dict[str, Any]] | None = None,
    **more: Any,
) -> Report:
    recorded = [told] if told else []
    notes: list[str] = []
    try:
        said = life.reread(recorded, windows, performances or [])
    except (AssayError, KeyError, TypeError, ValueError):
        said, notes = [], ["The evidence could not be recomputed."]
    given = Given(
        about=watched.about(len(windows), endpoint="people", project="p"),
        baselines=[Recorded(b, 118, "2026-01-04T09:00:00.000Z", "sha256:aa") for b in recorded],
        windows=windows,
        performances=performances or [],
        readings=said,
        notes=notes,
        **more,
    )
    return build(given)


def test_the_alarm_and_who_causes_it_come_out_of_the_statements_alone(
    told: dict[str, Any], opened: list[dict[str, Any]]
) -> None:
    late = [life.labelled(told, n, old=0.3 if n >= 20 else 0.02) for n in range(26)]
    report = made(told, opened, late, alerts=[life.alert(20)])
    rung = [w.number for w in report.windows if w.streams["data_drift"].crossed]
    assert rung
    assert rung[0] >= 20
    ranked = sorted(report.features, key=lambda f: -f.log_e)
    assert {ranked[0].name, ranked[1].name} == {"age", "group"}
    assert "went from" in ranked[0].words
    worst = ranked_slices(report.slices)[0]
    assert (worst.column, worst.value) == ("group", "65+")
    assert worst.reference is not None
    assert worst.measured is not None
    assert worst.measured.value < 0.5
    assert next(s.log_e for s in report.slices if s.value == "below 65") is not None
    found = verdict(report)
    assert (found.state, found.since) == ("changed", report.windows[20].begin)
    assert "assay retrain people" in found.steps[0]


def test_the_old_are_shown_beside_what_training_saw_of_them(
    told: dict[str, Any], opened: list[dict[str, Any]]
) -> None:
    report = made(told, opened)
    group = next(f for f in report.features if f.name == "group")
    assert group.kind == "category"
    old = group.labels.index("65+")
    assert group.reference[old] / sum(group.reference) < 0.03
    assert group.current[old] / sum(group.current) > 0.25
    assert len(group.history) == 30
    assert sum(group.current) >= 1_000
    assert report.compared == "windows 28 to 29, 1,600 rows"
    old_ones = next(s for s in report.slices if s.value == "65+")
    assert old_ones.share_current is not None
    assert old_ones.share_current > 0.25


def test_while_nothing_changes_the_verdict_is_quiet(told: dict[str, Any]) -> None:
    report = made(told, life.windows(told, 12))
    found = verdict(report)
    assert (found.tone, found.state) == ("good", "quiet")
    assert all(f.log_e < f.limit for f in report.features)
    assert report.labels is None
    assert any("estimated, not measured" in line for line in found.why)


def test_estimated_and_measured_come_with_their_intervals_and_the_coverage(
    told: dict[str, Any],
) -> None:
    windows = life.windows(told, 6)
    report = made(told, windows, [life.labelled(told, n) for n in range(4)])
    first, last = report.windows[0], report.windows[-1]
    assert first.coverage == 1.0
    assert first.final
    assert first.measured["accuracy"].lower is not None
    assert first.estimated["accuracy"].upper is not None
    assert all(s.estimated is not None for s in report.slices)
    assert last.coverage is None
    assert last.measured == {}
    assert report.labels is not None
    assert (report.labels.rows, report.labels.labelled) == (6 * life.ROWS, 4 * life.ROWS)
    assert report.labels.counts == {"duplicate": 8}
    assert report.baseline is not None
    assert report.baseline.metrics["auc"].lower is not None


def test_a_metric_that_nobody_could_compute_is_absent_and_never_zero() -> None:
    given = {
        "auc": {"value": None, "why": "one class"},
        "f1": {"value": float("nan")},
        "accuracy": {"value": 0.5, "lower": float("inf"), "upper": None},
        "brier": True,
        "recall": 0.25,
    }
    found = figures(given)
    assert set(found) == {"accuracy", "recall"}
    assert (found["accuracy"].lower, found["accuracy"].upper) == (None, None)
    assert figures(None) == figures([1]) == figures("x") == {}


def test_an_empty_window_is_a_gap_and_not_a_quiet_window(told: dict[str, Any]) -> None:
    windows = [*life.windows(told, 5), life.window(told, 5, rows=0)]
    report = made(told, windows)
    assert report.windows[-1].state == "empty"
    assert report.windows[-1].streams == {}
    found = verdict(report)
    assert (found.tone, found.state) == ("warn", "silent")
    assert "no rows" in found.why[0]


def test_another_versions_windows_are_drawn_and_not_compared(told: dict[str, Any]) -> None:
    old = life.windows({**told, "version": "2"}, 5, old_from=0)
    report = made(told, old)
    assert len(report.windows) == 5
    assert report.compared == ""
    assert all(f.current == () for f in report.features)
    assert all(f.log_e == 0.0 for f in report.features)


def test_a_version_without_a_baseline_is_said_to_be_unwatched(told: dict[str, Any]) -> None:
    report = made({**told, "version": "2"}, [])
    assert verdict(report).state == "unwatched"
    assert any("Version 3 has no baseline" in note for note in report.notes)


@pytest.mark.parametrize(
    "wrong",
    [
        {"number": "1"},
        {"number": None},
        {"profile": {"format": "assay/profile/v9"}},
        {"profile": None},
        {"scores": {"counts": ["x"]}},
        {"scores": None},
        {"slices": [{"column": 1}]},
        {"slices": "none"},
        {"estimated": [1, 2]},
        {"rows": -5},
        {"rows": 10**40},
        {"state": {"a": 1}},
        {"from": 7, "to": None},
    ],
)
def test_a_window_that_cannot_be_read_never_looks_well(
    told: dict[str, Any], wrong: dict[str, Any]
) -> None:
    windows = life.windows(told, 3)
    report = made(told, [*windows[:2], {**windows[2], **wrong}])
    assert len(page(report)) > 1_000
    assert report.windows[-1].streams or verdict(report).state == "silent"


def test_a_baseline_that_cannot_be_read_is_said(told: dict[str, Any]) -> None:
    report = made({**told, "scores": {**told["scores"], "counts": [1]}}, [])
    assert report.baseline is None
    assert any("could not be read" in note for note in report.notes)


def test_the_last_statement_about_a_window_counts_and_the_order_does_not(
    told: dict[str, Any],
) -> None:
    windows = life.windows(told, 3)
    early = {**life.labelled(told, 0), "labelled": 10, "final": False}
    report = made(told, windows[::-1], [early, life.labelled(told, 0)])
    assert [w.number for w in report.windows] == [0, 1, 2]
    assert report.windows[0].labelled == life.ROWS


def test_who_acknowledged_is_named_and_what_they_said_is_shown(told: dict[str, Any]) -> None:
    seen = msgspec.structs.replace(life.alert(1), acknowledged=life.SEEN)
    report = made(told, life.windows(told, 4), alerts=[seen], names={"a-1": "Ana"})
    (alert,) = report.alerts
    assert alert.state == "acknowledged"
    assert alert.note == "acknowledged by Ana: we opened the service"
    assert alert.since_time == report.windows[1].begin
    over = msgspec.structs.replace(life.alert(1), event="resolved", why="no sign of it")
    (alert,) = made(told, [], alerts=[over]).alerts
    assert (alert.state, alert.note, alert.lasts) == ("resolved", "no sign of it", False)


def test_the_promise_is_that_of_the_plan(told: dict[str, Any]) -> None:
    promise = made(told, []).promise
    assert promise is not None
    assert (promise.every, promise.horizon) == ("1 day", "30 days")
    assert promise.false_alarms_a_year == 1.0
    assert promise.slices == ("group",)


def test_what_the_page_shows_of_a_real_life_fits_and_names_the_group(
    told: dict[str, Any], opened: list[dict[str, Any]]
) -> None:
    made_page = page(made(told, opened, alerts=[life.alert(20)]))
    assert len(made_page.encode()) < 150_000
    assert "Something has changed, since 25 Jan 2026" in made_page
    assert "score of 1" in made_page
