"""Clocks that only a report or a person's judgement stops, and reports that say what is missing."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.clock import parse_timestamp, timestamp
from assay.monitor import incident_report, incidents
from assay.monitor.incident_report import DECLARABLE, FIELDS, build, markdown
from assay.monitor.incidents import DUTIES, Incident, clock_of, clocks, fold, overdue, undecided

START = datetime(2026, 3, 6, 17, tzinfo=timezone.utc)
"""A Friday afternoon."""


def entry(after: timedelta = timedelta(0), event: str = "updated", **other: Any) -> dict[str, Any]:
    return {
        "incident": "i1",
        "event": event,
        "actor": "id-oli",
        "at": timestamp(START + after),
        "reason": "refused a group that it should not",
        "endpoint": "score",
        "version": "3",
        "decision": "d",
        **other,
    }


def opened(**other: Any) -> dict[str, Any]:
    return entry(event="opened", **other)


def incident(*entries: dict[str, Any]) -> Incident:
    (made,) = fold(entries)
    return made


def state(made: Incident, duty: str, after: timedelta) -> str:
    return clock_of(made, duty, START + after).state


def report(duty: str, after: timedelta, **other: Any) -> dict[str, Any]:
    return {"duty": duty, "at": timestamp(START + after), "authority": "BfDI", **other}


# -- clocks ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("duty", "period"),
    [
        ("aiact-73", timedelta(days=15)),
        ("aiact-73-urgent", timedelta(days=2)),
        ("aiact-73-death", timedelta(days=10)),
        ("gdpr-33", timedelta(hours=72)),
    ],
)
def test_a_clock_runs_from_awareness_for_the_period_of_the_law(
    duty: str, period: timedelta
) -> None:
    made = incident(opened(duties=[duty]))
    clock = clock_of(made, duty, START)
    assert parse_timestamp(clock.due) == START + period
    assert clock.left == period.total_seconds()
    assert state(made, duty, period) == "running"
    late = period + timedelta(minutes=61)
    assert state(made, duty, late) == "overdue"
    assert "OVERDUE by 1 h 01 min" in clock_of(made, duty, START + late).words
    assert [c.duty for c in overdue(made, START + late) if not c.assumed] == [duty]


def test_a_clock_runs_through_the_weekend() -> None:
    made = incident(opened(duties=["gdpr-33"]))
    assert clock_of(made, "gdpr-33", START).due == "2026-03-09T17:00:00.000Z"


def test_while_nobody_has_said_which_duty_applies_all_of_them_run() -> None:
    made = incident(opened())
    found = clocks(made, START + timedelta(days=3))
    assert {c.duty for c in found} == set(DUTIES)
    assert all(c.assumed for c in found)
    assert found[0].duty == "aiact-73-urgent"
    assert found[0].state == "overdue"
    assert "nobody has said so" in found[0].words
    assert undecided(made) == ["aiact", "gdpr"]


def test_what_was_said_of_one_law_decides_nothing_about_the_other() -> None:
    made = incident(opened(duties=["gdpr-33"]))
    by = {c.duty: c.assumed for c in clocks(made, START)}
    assert by == {name: name != "gdpr-33" for name in DUTIES}
    made = incident(opened(duties=["gdpr-33", "aiact-73"]))
    assert {c.duty for c in clocks(made, START)} == {"gdpr-33", "aiact-73"}


def test_a_report_in_time_stops_a_clock_and_still_owes_the_whole() -> None:
    day = timedelta(days=1)
    first = entry(day, reports=[report("gdpr-33", day)])
    made = incident(opened(duties=["gdpr-33"]), first)
    clock = clock_of(made, "gdpr-33", START + timedelta(days=30))
    assert clock.state == "reported"
    assert clock.left == timedelta(days=2).total_seconds()
    assert "complete report is still owed" in clock.words
    whole = entry(2 * day, reports=[report("gdpr-33", 2 * day, complete=True)])
    made = incident(opened(duties=["gdpr-33"]), first, whole)
    assert "still owed" not in clock_of(made, "gdpr-33", START).words


def test_a_late_report_stays_late() -> None:
    four = timedelta(days=4)
    made = incident(opened(), entry(four, reports=[report("gdpr-33", four)]))
    clock = clock_of(made, "gdpr-33", START + four)
    assert clock.state == "late"
    assert "24 h 00 min too late" in clock.words
    assert not clock.open


def test_a_judgement_stops_a_clock_and_names_its_reason_until_the_duty_is_named_again() -> None:
    no = entry(timedelta(hours=1), reason="nobody outside saw it", dismissed=["gdpr-33"])
    made = incident(opened(duties=["gdpr-33"]), no)
    clock = clock_of(made, "gdpr-33", START + timedelta(days=9))
    assert clock.state == "judged"
    assert "nobody outside saw it" in clock.words
    again = entry(timedelta(hours=2), duties=["gdpr-33"])
    made = incident(opened(duties=["gdpr-33"]), no, again)
    assert state(made, "gdpr-33", timedelta(days=9)) == "overdue"


def test_the_end_of_an_incident_stops_no_clock_and_what_follows_opens_it_again() -> None:
    made = incident(opened(duties=["gdpr-33"]), entry(event="closed"))
    assert made.closed
    assert state(made, "gdpr-33", timedelta(days=9)) == "overdue"
    made = incident(opened(), entry(event="closed"), entry(timedelta(hours=1)))
    assert not made.closed


def test_a_clock_that_is_set_back_shows_it() -> None:
    later = timestamp(START + timedelta(days=2))
    moved = entry(timedelta(days=3), aware=later, reason="it was a rumour before")
    made = incident(opened(duties=["gdpr-33"]), moved)
    assert made.aware == later
    (told,) = incident_report.moves(made)
    assert timestamp(START) in told
    assert "rumour" in told
    earlier = incident(opened(), entry(aware=timestamp(START - timedelta(days=2))))
    assert incident_report.moves(earlier) == []
    assert clock_of(earlier, "gdpr-33", START).left == timedelta(days=1).total_seconds()


def test_entries_that_cannot_be_read_or_open_nothing_are_left_out() -> None:
    odd = [{}, {"incident": 7}, entry(), opened(duties="all")]
    assert fold(odd) == []
    assert len(fold([*odd, opened(), entry()])) == 1
    assert incidents.readable_time("yesterday") == ""


def test_what_the_first_release_recorded_is_read_as_it_was_meant() -> None:
    """Predicates of version 1: fields are only added, and only optional ones."""
    at = "2026-03-06T17:00:00.000Z"
    first = {
        "decision": "0",
        "incident": "0",
        "event": "opened",
        "actor": "a",
        "at": at,
        "reason": "refused too many",
        "endpoint": "credit",
        "version": "3",
        "aware": at,
        "duties": ["gdpr-33"],
        "alerts": ["9f86d081884c7d65-2"],
        "declared": {"where": "DE"},
        "frozen": {"size": 100, "root": "AA==", "version": "credit@3", "served": "sha256:0"},
    }
    made = {"duty": "gdpr-33", "at": at, "authority": "BfDI", "reference": "1", "complete": True}
    later = {
        "decision": "1",
        "incident": "0",
        "event": "closed",
        "actor": "a",
        "at": at,
        "reason": "over",
        "endpoint": "credit",
        "aware": "",
        "duties": [],
        "alerts": [],
        "declared": {},
        "dismissed": ["aiact-73"],
        "reports": [made],
    }
    held = incident(first, later)
    assert (held.version, held.aware, held.closed) == ("3", at, True)
    assert held.frozen["size"] == 100
    assert [(c.duty, c.state) for c in clocks(held, START)] == [
        ("gdpr-33", "reported"),
        ("aiact-73", "judged"),
    ]


steps = st.fixed_dictionaries(
    {},
    optional={
        "duties": st.lists(st.sampled_from(list(DUTIES)), max_size=2),
        "dismissed": st.lists(st.sampled_from(list(DUTIES)), max_size=2),
        "aware": st.integers(-100, 100).map(lambda h: timestamp(START + timedelta(hours=h))),
        "event": st.sampled_from(["updated", "closed"]),
        "reports": st.lists(
            st.tuples(st.sampled_from(list(DUTIES)), st.integers(0, 999)).map(
                lambda pair: report(pair[0], timedelta(hours=pair[1]))
            ),
            max_size=1,
        ),
    },
)


@given(st.lists(steps, max_size=5), st.integers(0, 1000))
@settings(max_examples=80, deadline=None)
def test_no_law_is_ever_without_a_clock_or_a_word_on_it(
    raw: list[dict[str, Any]], hours: int
) -> None:
    made = incident(opened(), *(entry(timedelta(hours=n), **step) for n, step in enumerate(raw)))
    now = START + timedelta(hours=hours)
    found = clocks(made, now)
    assert {incidents.law_of(c.duty) for c in found} == set(incidents.LAWS)
    for clock in found:
        reported = [r for r in made.reports if r.duty == clock.duty]
        assert clock.open == (not reported and made.duties.get(clock.duty) is None)
        due = parse_timestamp(made.aware) + DUTIES[clock.duty].period
        assert clock.due == timestamp(due)
        assert (clock.state == "overdue") == (clock.open and now > due)


# -- reports --------------------------------------------------------------------------------------


def drafted(made: Incident, duty: str, **evidence: list[str]) -> incident_report.IncidentReport:
    return build(made, duty, evidence, now=START, names={"id-oli": "Oli"})


@pytest.mark.parametrize("duty", DUTIES)
def test_every_field_says_whether_it_is_evidence_declared_or_missing(duty: str) -> None:
    made = incident(opened(declared={"measures": "stopped it"}))
    found = drafted(made, duty, system=["endpoint alpha/score"])
    by = {field.key: field.source for field in found.fields}
    assert by["system"] == "evidence"
    assert by["measures"] == "declared"
    assert by["what"] == "declared"
    assert by["authority"] == "missing"
    assert "authority" in found.missing
    page = markdown(found)
    assert "(missing)" in page
    assert "Oli" in page
    assert DUTIES[duty].article in page
    assert "score:" not in page.lower()


def test_every_field_of_a_report_is_declared_or_follows_from_the_ledger() -> None:
    keys = {field.key for fields in FIELDS.values() for field in fields}
    automatic = {"what", "aware", "system", "alerts", "suspects", "actions", "altered", "preserved"}
    assert keys - automatic == set(DECLARABLE)


def test_what_is_declared_beside_evidence_is_not_lost() -> None:
    made = incident(opened(declared={"exposure": "about 40 people"}))
    found = drafted(made, "gdpr-33", exposure=["1,000 predictions"])
    (field,) = [f for f in found.fields if f.key == "exposure"]
    assert field.value == ["1,000 predictions", "declared: about 40 people"]


def test_the_reasons_for_a_delay_are_asked_for_when_there_is_one() -> None:
    made = incident(opened())
    assert "delay" not in [f.key for f in drafted(made, "gdpr-33").fields]
    late = build(made, "gdpr-33", {}, now=START + timedelta(days=4), names={})
    assert "delay" in late.missing


@given(st.text(max_size=60))
@settings(max_examples=60)
def test_no_text_of_a_person_makes_a_heading_a_link_or_a_control_character(text: str) -> None:
    made = incident(opened(declared={"measures": text}, reason=text))
    lines = markdown(drafted(made, "gdpr-33")).split("\n")
    plain = markdown(drafted(incident(opened(declared={"measures": "x"})), "gdpr-33")).split("\n")
    assert all(line.isprintable() for line in lines)
    heads = [line for line in lines if line.startswith("#")]
    assert heads == [line for line in plain if line.startswith("#")]
    assert not any("](" in line for line in lines)
