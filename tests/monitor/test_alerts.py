"""Alerts: told once for each episode, again when they grow, resolved by evidence alone."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay import canonical
from assay.errors import Usage
from assay.monitor import alerts
from assay.monitor.alert_words import causes, explained, figures, next_steps, title
from assay.monitor.alerts import KINDS, QUIET, SEVERITIES, Alert, Signal, severity

DRIFT = {"kind": "data_drift", "number": 4, "measure": "log_e", "value": 6.0, "version": "3"}
ALL = frozenset(KINDS)


def drift(number: int = 4, **other: Any) -> dict[str, Any]:
    return {**DRIFT, "number": number, **other}


def plan(
    recorded: list[Alert],
    *signals: dict[str, Any],
    window: int | None = None,
    judged: frozenset[str] = ALL,
    quiet: int = QUIET,
) -> list[Alert]:
    numbers = [signal["number"] for signal in signals]
    return alerts.plan(
        recorded,
        [alerts.read(signal) for signal in signals],
        project="alpha",
        endpoint="score",
        window=max(numbers, default=-1) if window is None else window,
        judged=judged,
        quiet=quiet,
        now="2026-01-01T00:00:00.000Z",
    ).changes


def after(recorded: list[Alert], changes: list[Alert]) -> list[Alert]:
    """The newest state of each episode, as the ledger would give it back."""
    told = [("alert", alerts.predicate(alert)) for alert in (*recorded, *changes)]
    return alerts.fold([(k, canonical.decode(canonical.encode(p))) for k, p in told])


# -- severity -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("signal", "expected"),
    [
        ({"kind": "data_drift", "causes": [{"feature": "age", "psi": 0.04}]}, "info"),
        ({"kind": "data_drift", "causes": [{"feature": "age", "psi": 0.4}]}, "warning"),
        ({"kind": "data_drift", "causes": [{"psi": 0.01}, {"psi": 9.0}]}, "warning"),
        ({"kind": "data_drift"}, "warning"),
        ({"kind": "prediction_drift", "measure": "psi", "value": 0.05}, "info"),
        ({"kind": "prediction_drift", "measure": "psi", "value": math.nan}, "warning"),
        ({"kind": "estimated_performance", "value": 0.9, "limit": 0.1}, "warning"),
        ({"kind": "performance", "measure": "brier", "value": 0.3, "limit": 0.2}, "critical"),
        ({"kind": "performance", "measure": "brier", "value": 0.21, "limit": 0.2}, "warning"),
        ({"kind": "performance", "measure": "auc", "value": 0.6, "limit": 0.8}, "critical"),
        ({"kind": "performance", "measure": "auc", "value": 0.79, "limit": 0.8}, "warning"),
        ({"kind": "performance", "measure": "brier", "value": math.inf, "limit": 1}, "critical"),
        ({"kind": "performance"}, "critical"),
        (
            {"kind": "performance", "value": 0.1, "limit": 0.2, "causes": [{"slice": "sex=2"}]},
            "critical",
        ),
        (
            {"kind": "performance", "value": 0.2, "limit": 0.2, "causes": [{"slice": "all rows"}]},
            "warning",
        ),
        ({"kind": "quality", "measure": "new_category"}, "warning"),
        ({"kind": "quality", "measure": "missing", "value": 0.2}, "warning"),
        ({"kind": "quality", "measure": "missing", "value": 0.7}, "critical"),
        ({"kind": "quality", "measure": "missing"}, "critical"),
        ({"kind": "quality", "measure": "type"}, "critical"),
        ({"kind": "log", "measure": "empty"}, "warning"),
        ({"kind": "log"}, "critical"),
    ],
)
def test_how_soon_a_person_should_look_follows_from_the_harm_that_is_shown(
    signal: dict[str, Any], expected: str
) -> None:
    assert severity({"number": 1, **signal}) == expected


@given(st.sampled_from(KINDS), st.none() | st.floats(), st.none() | st.floats(), st.text())
@settings(max_examples=60)
def test_a_figure_that_is_missing_never_makes_an_alert_less_severe(
    kind: str, value: float | None, limit: float | None, measure: str
) -> None:
    whole = {"kind": kind, "number": 1, "measure": measure, "value": value, "limit": limit}
    without = {"kind": kind, "number": 1, "measure": measure}
    assert SEVERITIES.index(severity(without)) >= SEVERITIES.index(severity(whole))


# -- signals --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "raw",
    [{}, {"kind": "weather", "number": 1}, {"kind": "log"}, {"kind": "log", "number": -1}]
    + [{"kind": "log", "number": wrong} for wrong in (True, 1.5, "1", None)],
)
def test_what_names_no_kind_or_no_window_is_no_signal(raw: dict[str, Any]) -> None:
    with pytest.raises(Usage):
        alerts.read(raw)


@given(
    st.dictionaries(
        st.sampled_from(["version", "measure", "value", "limit", "since", "causes", "x"])
        | st.text(max_size=3),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner),
            max_leaves=5,
        ),
    )
)
@settings(max_examples=80)
def test_whatever_a_signal_holds_it_becomes_bounded_plain_data(raw: dict[str, Any]) -> None:
    signal = alerts.read({**raw, "kind": "quality", "number": 2})
    plain = msgspec.to_builtins(signal)
    assert canonical.decode(canonical.encode(plain)) == plain
    assert alerts.read(plain) == signal
    assert len(canonical.encode(plain)) < 20_000


# -- episodes -------------------------------------------------------------------------------------


def test_an_alert_is_raised_once_however_often_its_signals_are_given() -> None:
    (raised,) = plan([], drift(4, since=2))
    assert (raised.event, raised.episode, raised.step, raised.since) == ("raised", 1, 1, 2)
    assert raised.state == "open"
    recorded = after([], [raised])
    assert plan(recorded, drift(4)) == []
    assert plan(recorded, *(drift(n) for n in range(4, 40))) == []


def test_causes_that_change_places_are_one_alert() -> None:
    (raised,) = plan([], drift(4, causes=[{"feature": "age", "psi": 0.2}]))
    moved = drift(5, causes=[{"feature": "hours", "psi": 0.2}])
    assert plan(after([], [raised]), moved) == []


@pytest.mark.parametrize(
    "other", [{"version": "4"}, {"measure": "psi"}, {"kind": "prediction_drift"}, {"key": "sex"}]
)
def test_another_version_measure_kind_or_key_is_another_alert(other: dict[str, Any]) -> None:
    assert len(plan([], drift(4), drift(4, **other))) == 2


def test_an_alert_that_doubled_is_told_again() -> None:
    recorded = after([], plan([], drift(4, value=6.0)))
    assert plan(recorded, drift(5, value=11.9)) == []
    (grown,) = plan(recorded, drift(5, value=12.0))
    assert (grown.event, grown.step, grown.episode, grown.seen) == ("escalated", 2, 1, 5)
    recorded = after(recorded, [grown])
    assert plan(recorded, drift(6, value=23.0)) == []
    assert plan(recorded, drift(6, value=24.0))[0].step == 3


def test_a_drift_that_doubled_by_its_effect_is_told_again() -> None:
    def by(number: int, psi: float) -> dict[str, Any]:
        return drift(number, value=None, causes=[{"feature": "age", "psi": psi}])

    recorded = after([], plan([], by(4, 0.2)))
    assert plan(recorded, by(5, 0.39)) == []
    assert plan(recorded, by(5, 0.4))[0].event == "escalated"


def test_what_should_be_high_has_grown_when_half_of_it_is_gone() -> None:
    one = {"kind": "estimated_performance", "measure": "auc", "limit": 0.8}
    recorded = after([], plan([], {**one, "number": 1, "value": 0.7}))
    assert plan(recorded, {**one, "number": 2, "value": 0.4}) == []
    assert plan(recorded, {**one, "number": 2, "value": 0.35})[0].event == "escalated"


def test_an_alert_that_became_more_severe_is_told_again_and_never_becomes_less() -> None:
    loss = {"kind": "performance", "measure": "brier", "limit": 0.2}
    recorded = after([], plan([], {**loss, "number": 1, "value": 0.21}))
    assert recorded[0].severity == "warning"
    (grown,) = plan(recorded, {**loss, "number": 2, "value": 0.3})
    assert (grown.event, grown.severity) == ("escalated", "critical")
    recorded = after(recorded, [grown])
    (again,) = plan(recorded, {**loss, "number": 3, "value": 0.6})
    assert again.severity == "critical"
    assert plan(recorded, {**loss, "number": 3, "value": 0.21}) == []


def test_an_alert_is_resolved_when_windows_that_were_judged_no_longer_show_it() -> None:
    recorded = after([], plan([], drift(4)))
    for window in range(4, 4 + QUIET):
        assert plan(recorded, drift(4), window=window) == []
    (over,) = plan(recorded, drift(4), window=4 + QUIET)
    assert (over.event, over.state, over.step) == ("resolved", "resolved", 1)
    assert "since window 4" in over.why
    recorded = after(recorded, [over])
    assert plan(recorded, drift(4), window=99) == []


def test_what_was_not_judged_resolves_nothing() -> None:
    recorded = after([], plan([], drift(4)))
    assert plan(recorded, drift(4), window=99, judged=frozenset({"performance"})) == []
    assert plan(recorded, window=99, judged=frozenset()) == []
    assert plan(recorded, window=-1) == []


def test_an_alert_still_standing_when_last_looked_is_not_resolved_by_its_age() -> None:
    recorded = after([], plan([], drift(4)))
    assert plan(recorded, drift(4), drift(50), window=52) == []
    assert plan(recorded, drift(4), drift(50), window=53)[0].event == "resolved"


def test_what_comes_back_is_another_episode_with_evidence_of_its_own() -> None:
    recorded = after([], plan([], drift(4, since=1)))
    recorded = after(recorded, plan(recorded, drift(4), window=20))
    (back,) = plan(recorded, drift(4), drift(30, since=2))
    assert (back.event, back.episode, back.fingerprint) == ("raised", 2, recorded[0].fingerprint)
    assert back.since == 5
    assert back.id != recorded[0].id


def test_an_episode_that_came_and_went_while_nobody_looked_is_on_record() -> None:
    raised, over = plan([], drift(4), drift(5), window=60)
    assert (raised.event, over.event) == ("raised", "resolved")
    assert raised.id == over.id


def signals() -> st.SearchStrategy[list[dict[str, Any]]]:
    one = st.fixed_dictionaries(
        {
            "kind": st.sampled_from(KINDS),
            "number": st.integers(0, 12),
            "value": st.none() | st.floats(0, 100),
            "limit": st.none() | st.floats(0, 1),
            "measure": st.sampled_from(["psi", "auc", "missing"]),
        }
    )
    return st.lists(one, max_size=12)


@given(signals(), st.integers(0, 16), st.sets(st.sampled_from(KINDS)), st.integers(1, 4))
@settings(max_examples=150, deadline=None)
def test_the_few_signals_chosen_lead_to_the_same_alerts_and_a_second_look_changes_nothing(
    raw: list[dict[str, Any]], window: int, judged: set[str], quiet: int
) -> None:
    asked: dict[str, Any] = {
        "project": "alpha",
        "endpoint": "score",
        "judged": judged,
        "quiet": quiet,
        "now": "2026-01-01T00:00:00.000Z",
    }
    recorded: list[Alert] = []
    for until in range(window + 1):
        known = [alerts.read(s) for s in raw if s["number"] <= until]
        found = alerts.plan(recorded, known, window=until, **asked)
        assert alerts.plan(recorded, found.signals, window=until, **asked) == found
        assert len(found.signals) <= 3 * len(KINDS) * 3
        recorded = after(recorded, found.changes)
        assert alerts.plan(recorded, known, window=until, **asked).changes == []
    numbers = [(a.fingerprint, a.episode) for a in recorded]
    assert len(set(numbers)) == len(numbers)
    standing = [a.fingerprint for a in recorded if a.open]
    assert len(set(standing)) == len(standing)


# -- a person's word ------------------------------------------------------------------------------


def acknowledged(alert: Alert, *, step: int = 1, closed: bool = False) -> tuple[str, Any]:
    told = {"alert": alert.id, "actor": "id-oli", "reason": "known", "at": "x", "step": step}
    return "acknowledgement", {**told, "closed": closed, "decision": "d"}


def test_what_was_acknowledged_needs_another_look_when_it_has_grown() -> None:
    (raised,) = plan([], drift(4))
    told = [("alert", alerts.predicate(raised)), acknowledged(raised)]
    (held,) = alerts.fold(told)
    assert held.state == "acknowledged"
    (grown,) = plan([held], drift(5, value=60.0))
    (held,) = alerts.fold([*told, ("alert", alerts.predicate(grown))])
    assert held.state == "open"
    (held,) = alerts.fold([*told, ("alert", alerts.predicate(grown)), acknowledged(raised, step=2)])
    assert held.state == "acknowledged"


def test_an_alert_closed_by_a_person_comes_back_only_with_later_windows() -> None:
    (raised,) = plan([], drift(4))
    over = alerts.closed(raised, through=9, why="mended", now="x")
    told = [
        ("alert", alerts.predicate(raised)),
        acknowledged(raised, closed=True),
        ("alert", alerts.predicate(over)),
    ]
    (held,) = alerts.fold(told)
    assert held.state == "closed"
    assert plan([held], drift(9)) == []
    (back,) = plan([held], drift(9), drift(10))
    assert (back.episode, back.since) == (2, 10)


def test_statements_that_cannot_be_read_are_left_out() -> None:
    (raised,) = plan([], drift(4))
    good = ("alert", alerts.predicate(raised))
    odd = [("alert", {"id": 7}), ("acknowledgement", {"alert": "nobody"}), ("incident", {})]
    assert [a.id for a in alerts.fold([*odd, good, *odd])] == [raised.id]


def test_what_the_first_release_recorded_is_read_as_it_was_meant() -> None:
    """Predicates of version 1: fields are only added, and only optional ones."""
    alert = {
        "decision": "0",
        "id": "9f86d081884c7d65-2",
        "fingerprint": "9f86d081884c7d65",
        "episode": 2,
        "step": 3,
        "event": "escalated",
        "endpoint": "credit",
        "version": "3",
        "kind": "performance",
        "measure": "error_rate",
        "key": "",
        "severity": "critical",
        "since": 41,
        "seen": 44,
        "from": "2026-03-05T00:00:00.000Z",
        "to": "2026-03-06T00:00:00.000Z",
        "value": 0.31,
        "limit": 0.22,
        "log_evidence": None,
        "promise": "at most 1 a year",
        "causes": [{"slice": "region=north", "words": "wrong in 44.0 %", "log_evidence": 9}],
        "upstream": [{"what": "credit@3 was deployed", "at": "2026-03-01T09:12:00.000Z"}],
        "title": "credit: labels confirm",
        "next": ["assay monitor report credit"],
        "raised": "2026-03-04T00:10:00.000Z",
        "changed": "2026-03-06T00:10:00.000Z",
        "why": "",
    }
    ack = {"decision": "1", "alert": alert["id"], "actor": "a", "reason": "seen", "at": "x"}
    told = [("alert", alert), ("acknowledgement", {**ack, "step": 2, "closed": False})]
    (read,) = alerts.fold(told)
    assert (read.episode, read.step, read.severity, read.seen) == (2, 3, "critical", 44)
    assert read.from_ == "2026-03-05T00:00:00.000Z"
    assert read.state == "open"
    assert read.acknowledged is not None
    assert {"decision": "0", **alerts.predicate(read)} == alert


def test_an_alert_is_found_by_its_id_or_by_the_beginning_of_its_fingerprint() -> None:
    recorded = after([], plan([], drift(4), drift(4, key="sex")))
    recorded = after(recorded, plan(recorded, window=20))
    recorded = after(recorded, plan(recorded, drift(30)))
    newest = max(recorded, key=lambda a: a.episode)
    assert alerts.find(recorded, newest.fingerprint) == newest
    assert alerts.find(recorded, newest.fingerprint[:8]) == newest
    first = alerts.find(recorded, f"{newest.fingerprint}-1")
    assert first is not None
    assert first.episode == 1
    for wrong in (
        "",
        "zz",
        newest.fingerprint + "-9",
        "../etc",
        newest.fingerprint + "-" + "9" * 9,
    ):
        assert alerts.find(recorded, wrong) is None


# -- words ----------------------------------------------------------------------------------------


def test_an_alert_names_the_columns_and_slices_that_lead() -> None:
    found = [{"feature": "age", "psi": 0.31}, {"slice": "region=north"}, {"feature": "hours"}]
    (raised,) = plan([], drift(4, causes=[*found, {"feature": "sex"}]))
    words = title(raised)
    assert "age" in words
    assert "the slice region=north" in words
    assert "1 more" in words
    assert "PSI 0.31" in causes(raised)[0]


def test_what_a_detector_wrote_in_its_own_words_is_in_no_text_that_leaves() -> None:
    secret = "new value 'eve@example.org'"
    (raised,) = plan([], drift(4, causes=[{"feature": "mail", "words": secret}]))
    raised = explained(raised, "alpha", [])
    assert raised.causes[0]["words"] == secret
    assert secret not in " ".join([raised.title, *causes(raised), *raised.next, figures(raised)])


def test_what_changed_upstream_is_named_first_and_the_way_back_is_a_command() -> None:
    (raised,) = plan([], {"kind": "performance", "number": 4, "version": "3"})
    change = {
        "at": "2026-01-01T10:00:00.000Z",
        "what": "score@3 was promoted to production in place of 2",
        "kind": "version",
        "before": "2",
    }
    told = explained(raised, "alpha", [change])
    assert causes(told)[0].startswith("2026-01-01T10:00Z score@3 was promoted")
    assert told.next[0] == "assay promote score@2 --to production --project alpha"
    assert any(step.startswith("assay retrain score --alert ") for step in told.next)


def test_broken_inputs_are_no_reason_to_retrain() -> None:
    (raised,) = plan([], {"kind": "quality", "number": 1, "measure": "type", "key": "age"})
    steps = next_steps(raised, "alpha")
    assert not any("retrain" in step for step in steps)
    assert any(step.startswith("assay kill score") for step in steps)


def test_a_figure_that_could_not_be_measured_is_said_to_be_none() -> None:
    (raised,) = plan([], {"kind": "performance", "number": 4, "value": math.nan, "limit": 0.2})
    assert figures(raised) == "not measurable"
    (raised,) = plan([], drift(value=None, log_evidence=9.25, limit=6.8))
    assert figures(raised) == "evidence 9.25 (logarithm), an alarm needs 6.8"
    assert isinstance(alerts.read(drift()), Signal)
