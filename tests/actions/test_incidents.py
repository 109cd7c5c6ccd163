"""Incidents through the door: on record, by people, with evidence that is already there."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from workspace.town import START, Town

from assay.actions import alerts as acts
from assay.actions.alerts import RaiseAlerts
from assay.actions.incidents import OpenIncident, ReadIncidents, UpdateIncident, incidents_of
from assay.actions.release import Hold
from assay.clock import timestamp
from assay.errors import Conflict, Denied, NotFound, Usage
from assay.monitor.incidents import DUTIES

HARM: dict[str, Any] = {
    "kind": "performance",
    "number": 5,
    "since": 3,
    "version": "1",
    "measure": "error_rate",
    "value": 0.4,
    "limit": 0.2,
    "causes": [{"slice": "region=north"}],
}


@pytest.fixture
def served(town: Town) -> Town:
    town.deploy()
    return town


def opened(town: Town, by: str = "oli", **other: Any) -> dict[str, Any]:
    asked: dict[str, Any] = {"project": "alpha", "endpoint": "score", "reason": "refused too many"}
    return town.do(by, OpenIncident(**(asked | other)))


def update(town: Town, incident: str, by: str = "oli", **other: Any) -> dict[str, Any]:
    asked: dict[str, Any] = {"project": "alpha", "endpoint": "score", "reason": "found out"}
    return town.do(by, UpdateIncident(incident=incident, **(asked | other)))


def raised(town: Town) -> str:
    (alert,) = town.do(
        "oli", RaiseAlerts(project="alpha", endpoint="score", signals=(HARM,), window=5)
    )
    return alert["id"]


def window(town: Town, number: int, rows: int) -> None:
    """A window as the monitor records it."""
    told = {
        "endpoint": "score",
        "number": number,
        "from": timestamp(START + timedelta(days=number)),
        "to": timestamp(START + timedelta(days=number + 1)),
        "rows": rows,
        "version": "1",
    }
    made = town.statement(
        "window", told, "alpha", about="monitor-windows:alpha/score", producer="assay.monitor/1"
    )
    town.slip_in(made, town.workspace_key)


def test_an_incident_freezes_what_the_ledger_knew_and_starts_its_clocks(served: Town) -> None:
    size = served.size
    made = opened(served, alerts=(raised(served),))
    assert {c["duty"] for c in made["clocks"]} == set(DUTIES)
    assert made["version"] == "1"
    assert made["frozen"]["size"] > size
    assert made["aware"] == timestamp(served.clock.now())
    (held,) = incidents_of(served.ws.view, "alpha", "score")
    assert held.id == made["id"]
    (decision,) = [d for d in served.statements("decision") if d.header.id == made["id"]]
    assert decision.predicate["action"] == "manageAlerts"
    served.check()


def test_overdue_is_shown_until_somebody_reports_or_judges(served: Town) -> None:
    made = opened(served, duties=("gdpr-33",))
    served.clock.advance(timedelta(hours=73))
    (shown,) = served.do("una", ReadIncidents(project="alpha"))
    assert "gdpr-33" in shown["overdue"]
    with pytest.raises(Conflict, match="OVERDUE by 1 h 00 min"):
        update(served, made["id"], close=True)
    update(served, made["id"], reports=({"duty": "gdpr-33", "authority": "BfDI"},))
    with pytest.raises(Conflict, match="AI Act"):
        update(served, made["id"], close=True)
    aiact = tuple(name for name in DUTIES if name.startswith("aiact"))
    done = update(served, made["id"], by="ann", dismissed=aiact, reason="no high-risk use")
    assert done["overdue"] == []
    assert update(served, made["id"], close=True)["closed"]
    (shown,) = served.do("una", ReadIncidents(project="alpha"))
    assert shown["closed"]
    late = next(c for c in shown["clocks"] if c["duty"] == "gdpr-33")
    assert late["state"] == "late"
    with pytest.raises(Conflict):
        update(served, made["id"], duties=("aiact-73-death",), close=True)


def test_one_append_judges_and_closes(served: Town) -> None:
    made = opened(served)
    done = update(served, made["id"], dismissed=tuple(DUTIES), reason="a test", close=True)
    assert done["closed"]


def test_the_report_fills_what_the_ledger_knows_and_names_what_is_missing(served: Town) -> None:
    for number, rows in ((2, 7), (3, 100), (4, 200), (5, 300)):
        window(served, number, rows)
    served.clock.advance(timedelta(days=7))
    made = opened(
        served, alerts=(raised(served),), duties=("aiact-73",), declared={"where": "Germany"}
    )
    served.clock.advance(timedelta(hours=1))
    hold = Hold(project="alpha", model="score", version="1", reason="look")
    served.do("oli", hold)
    asked = ReadIncidents(project="alpha", incident=made["id"][:8], duty="aiact-73")
    report = served.do("una", asked)
    fields = {field.key: field for field in report.fields}
    assert fields["exposure"].source == "evidence"
    assert fields["exposure"].value[0].startswith("600 predictions in windows 3 to 5")
    assert "region=north" in fields["alerts"].value[0]
    assert "acknowledged by nobody" in fields["alerts"].value[0]
    assert fields["where"].source == "declared"
    assert "YES" in fields["altered"].value[0]
    assert any("hold" in line for line in fields["actions"].value)
    assert any("deployed" in line for line in fields["suspects"].value)
    assert {"provider", "causal_link", "affected"} <= set(report.missing)
    other = served.do("una", ReadIncidents(project="alpha", incident=made["id"], duty="gdpr-33"))
    personal = next(field for field in other.fields if field.key == "personal")
    assert personal.source == "evidence"
    assert "train" in personal.value[0]


def test_windows_that_are_not_all_known_give_no_number(served: Town) -> None:
    made = opened(served, alerts=(raised(served),))
    report = served.do("una", ReadIncidents(project="alpha", incident=made["id"], duty="gdpr-33"))
    assert "exposure" in report.missing
    assert "occurred" in report.missing


@pytest.mark.parametrize(
    "wrong",
    [
        {"duties": ("gdpr-34",)},
        {"aware": "yesterday"},
        {"aware": "2026-02-01T00:00:00Z"},
        {"declared": {"what": "x"}},
        {"declared": {"measures": "x" * 5000}},
        {"reason": "x" * 5000},
    ],
)
def test_what_cannot_be_recorded_is_refused_before_anything_is_written(
    served: Town, wrong: dict[str, Any]
) -> None:
    made = opened(served)
    size = served.size
    with pytest.raises(Usage):
        opened(served, **wrong)
    with pytest.raises(Usage):
        update(served, made["id"], **wrong)
    assert served.size == size


@pytest.mark.parametrize(
    "wrong",
    [
        {"reports": ({"duty": "gdpr-33"},)},
        {"reports": ({"duty": "gdpr-33", "authority": " "},)},
        {"reports": ({"duty": "x", "authority": "BfDI"},)},
        {"reports": ({"duty": "gdpr-33", "authority": "BfDI", "at": "2027-01-01T00:00:00Z"},)},
        {"dismissed": ("gdpr-33",), "duties": ("gdpr-33",)},
        {"dismissed": ("x",)},
    ],
)
def test_what_is_no_report_or_no_judgement_is_refused(served: Town, wrong: dict[str, Any]) -> None:
    made = opened(served)
    size = served.size
    with pytest.raises(Usage):
        update(served, made["id"], **wrong)
    assert served.size == size


def test_unknown_alerts_incidents_and_endpoints_are_not_found(served: Town) -> None:
    with pytest.raises(NotFound):
        opened(served, alerts=("abcd",))
    with pytest.raises(NotFound):
        opened(served, endpoint="nothing")
    for name in ("nothing", "", "0"):
        with pytest.raises(NotFound):
            update(served, name)
    opened(served)
    opened(served)
    with pytest.raises(NotFound, match="several"):
        update(served, _shared(served))


def _shared(town: Town) -> str:
    """What the ids of all incidents begin with."""
    one, two = (i.id for i in incidents_of(town.ws.view, "alpha", "score"))
    return one[: next(n for n in range(len(one)) if one[n] != two[n])]


def test_a_reason_is_needed_and_only_people_may(served: Town) -> None:
    asked: dict[str, Any] = {"project": "alpha", "endpoint": "score"}
    assert served.refused("oli", OpenIncident(**asked, reason="")) == ["gate.reason"]
    for name in ("ci", "web", "sam", "una", "bea"):
        with pytest.raises(Denied):
            served.do(name, OpenIncident(**asked, reason="x"))
    assert served.statements("incident") == []


def test_an_entry_slipped_in_by_hand_stops_no_clock(served: Town) -> None:
    made = opened(served, duties=("gdpr-33",))
    forged = {
        **served.statements("incident")[0].predicate,
        "event": "closed",
        "dismissed": list(DUTIES),
    }
    about = acts.alerts_subject("alpha", "score")["alerts:alpha/score"]
    entry = served.statement(
        "incident", forged, "alpha", about=about, producer="assay.monitor.alerts/1"
    )
    served.slip_in(entry, served.people["eve"])
    served.ws.view.follow()
    (held,) = incidents_of(served.ws.view, "alpha", "score")
    assert held.id == made["id"]
    assert not held.closed


@pytest.mark.parametrize("reason", ["", " ", "\t\n", "\u200b", "\x00"])
def test_a_reason_that_nobody_can_read_is_none(served: Town, reason: str) -> None:
    made = opened(served)
    with pytest.raises(Denied):
        update(served, made["id"], dismissed=tuple(DUTIES), reason=reason)
    with pytest.raises(Denied):
        opened(served, reason=reason)
    alert = raised(served)
    asked = acts.AcknowledgeAlert(
        project="alpha", endpoint="score", alert=alert, reason=reason, close=True
    )
    with pytest.raises(Denied):
        served.do("oli", asked)


def test_a_report_that_is_dated_back_shows_when_somebody_first_said_so(served: Town) -> None:
    made = opened(served, duties=("gdpr-33",))
    early = timestamp(served.clock.now() + timedelta(hours=1))
    served.clock.advance(timedelta(hours=100))
    report = {"duty": "gdpr-33", "authority": "BfDI", "at": early}
    done = update(served, made["id"], reports=(report,))
    words = next(c["words"] for c in done["clocks"] if c["duty"] == "gdpr-33")
    assert f"reported to BfDI at {early}, in time, as was said at" in words
    assert "1 days 4 h" in words or "28 h 00 min too late" in words


def test_nobody_reports_before_anybody_was_aware(served: Town) -> None:
    made = opened(served, duties=("gdpr-33",))
    before = timestamp(served.clock.now() - timedelta(hours=1))
    report = {"duty": "gdpr-33", "authority": "BfDI", "at": before}
    with pytest.raises(Usage, match="before anybody was aware"):
        update(served, made["id"], reports=(report,))
    update(served, made["id"], reports=(report,), aware=before, reason="it was known before")
