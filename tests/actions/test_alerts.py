"""Alerts through the door: who may what, and what is told once."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from workspace.town import START, Killed, Town, at_point, enrolment, killed_at_point

from assay.actions import alerts as acts
from assay.actions.alerts import AcknowledgeAlert, RaiseAlerts, ReadAlerts
from assay.errors import AssayError, Conflict, Denied, NotFound, Usage
from assay.evidence.signers import MemorySigner
from assay.monitor.alerts import KINDS, PRODUCER, QUIET, Alert
from assay.workspace.opening import open_workspace


@pytest.fixture
def served(town: Town) -> Town:
    town.deploy()
    return town


def drift(number: int = 4, **other: Any) -> dict[str, Any]:
    figures: dict[str, Any] = {"measure": "log_e", "value": 6.0, "version": "1"}
    return {"kind": "data_drift", "number": number, **figures, **other}


def watch(town: Town, *signals: dict[str, Any], by: str = "oli", **other: Any) -> list[Any]:
    town.ws.view.follow()
    asked: dict[str, Any] = {"judged": KINDS, "window": max(s["number"] for s in signals)}
    return acts.watch(
        lambda action: town.do(by, action),
        town.ws.view,
        "alpha",
        "score",
        signals,
        **(asked | other),
    )


def held(town: Town) -> list[Alert]:
    town.ws.view.follow()
    return acts.alerts_of(town.ws.view, "alpha", "score")


def test_an_alert_is_on_the_ledger_once_and_a_run_without_news_asks_nothing(served: Town) -> None:
    (told,) = watch(served, drift(4, causes=[{"feature": "age", "psi": 0.4}]))
    assert told["state"] == "open"
    assert told["severity"] == "warning"
    assert told["title"].startswith("score: the inputs")
    size = served.size
    assert watch(served, drift(4), drift(5)) == []
    assert served.size == size
    assert [a.id for a in held(served)] == [told["id"]]
    (statement,) = served.statements("alert")
    assert statement.header.producer == PRODUCER
    assert {s.name for s in statement.subject} == {"monitor:alpha/score", "alerts:alpha/score"}
    served.check()


def test_asking_the_door_again_for_what_is_recorded_changes_nothing(served: Town) -> None:
    action = RaiseAlerts(project="alpha", endpoint="score", signals=(drift(4),), window=4)
    assert len(served.do("oli", action)) == 1
    assert served.do("oli", action) == []
    assert len(served.statements("alert")) == 1


def test_the_evidence_about_the_version_does_not_grow(served: Town) -> None:
    version = served.ws.view.version("alpha", "score", "1")
    assert version.served is not None
    before = len(served.ws.view.state.evidence[version.served])
    watch(served, drift(4))
    served.do(
        "oli",
        AcknowledgeAlert(project="alpha", endpoint="score", alert=held(served)[0].id, reason="x"),
    )
    assert len(served.ws.view.follow().evidence[version.served]) == before


def test_a_person_acknowledges_with_a_reason_and_growth_asks_anew(served: Town) -> None:
    (told,) = watch(served, drift(4))
    action = AcknowledgeAlert(project="alpha", endpoint="score", alert=told["id"], reason="")
    assert served.refused("oli", action) == ["gate.reason"]
    known = AcknowledgeAlert(
        project="alpha", endpoint="score", alert=told["fingerprint"][:6], reason="we know"
    )
    served.do("ann", known)
    (alert,) = held(served)
    assert alert.state == "acknowledged"
    assert alert.acknowledged is not None
    assert alert.acknowledged.actor == served.ids["ann"]
    (grown,) = watch(served, drift(4), drift(5, value=60))
    assert grown["event"] == "escalated"
    assert held(served)[0].state == "open"


def test_what_a_person_closed_comes_back_only_with_later_windows(served: Town) -> None:
    (told,) = watch(served, drift(4))
    close = AcknowledgeAlert(
        project="alpha", endpoint="score", alert=told["id"], reason="mended", close=True
    )
    served.do("oli", close)
    assert held(served)[0].state == "closed"
    assert watch(served, drift(4)) == []
    with pytest.raises(Conflict):
        served.do("oli", close)
    (back,) = watch(served, drift(4), drift(5))
    assert back["episode"] == 2


def test_an_alert_is_resolved_by_judged_windows(served: Town) -> None:
    watch(served, drift(4))
    assert watch(served, drift(4), window=4 + QUIET, judged=("performance",)) == []
    (over,) = watch(served, drift(4), window=4 + QUIET)
    assert over["state"] == "resolved"
    assert over["next"] == []


def test_what_changed_upstream_is_named_with_the_version_to_go_back_to(served: Town) -> None:
    served.clock.advance(timedelta(hours=1))
    (told,) = watch(served, drift(4, to="2026-01-02T00:00:00Z", **{"from": "2026-01-01T00:00:00Z"}))
    words = [change["what"] for change in told["upstream"]]
    assert "score@1 was deployed" in words
    assert "score@1 was promoted to production" in words
    assert any("train" in word for word in words)


def test_a_change_long_before_is_no_suspect(served: Town) -> None:
    served.clock.advance(timedelta(days=60))
    day = (START + timedelta(days=59)).isoformat()
    (told,) = watch(served, drift(4, to=day, **{"from": day}))
    assert told["upstream"] == []


@pytest.mark.parametrize("name", ["sam", "una", "web", "bea", "bob"])
def test_who_does_not_watch_raises_nothing(served: Town, name: str) -> None:
    with pytest.raises(Denied):
        served.do(name, RaiseAlerts(project="alpha", endpoint="score", signals=(drift(),)))
    assert served.statements("alert") == []


def test_a_machine_acknowledges_nothing_even_where_policy_lets_it(served: Town) -> None:
    (told,) = watch(served, drift(4), by="ci")
    action = AcknowledgeAlert(project="alpha", endpoint="score", alert=told["id"], reason="me")
    for name in ("ci", "sam", "una", "web"):
        assert served.refused(name, action)


def test_no_service_acknowledges_even_where_its_role_might(served: Town) -> None:
    (told,) = watch(served, drift(4))
    served.people["bot"] = MemorySigner.generate()
    served.ids["bot"] = "id-bot"
    served.do("ada", enrolment("id-bot", served.people["bot"], "alpha/operator", kind="service"))
    action = AcknowledgeAlert(project="alpha", endpoint="score", alert=told["id"], reason="me")
    with pytest.raises(AssayError):
        served.do("bot", action)
    assert held(served)[0].state == "open"
    assert served.statements("acknowledgement") == []


def test_two_monitors_at_once_raise_one_alert(served: Town) -> None:
    action = RaiseAlerts(project="alpha", endpoint="score", signals=(drift(),), window=4)
    other = open_workspace(served.repo, clock=served.clock)
    first = served.ws

    def meanwhile() -> None:
        other.perform(served.who("eve"), action)

    with at_point("door.applied", meanwhile), pytest.raises(Conflict):
        first.perform(served.who("oli"), action)
    assert len(served.statements("alert")) == 1
    assert watch(served, drift()) == []
    served.check()


@pytest.mark.slow
def test_a_monitor_killed_anywhere_raises_each_alert_once(served: Town) -> None:
    number, done = -1, False
    while not done:
        number += 1
        signal = drift(4, key=f"slice-{number}")
        try:
            with killed_at_point(number):
                watch(served, signal)
                done = True
        except Killed:
            served.close()
            served.ws.recover()
            watch(served, signal)
    raised = [s.predicate["key"] for s in served.statements("alert")]
    assert sorted(raised) == sorted(f"slice-{n}" for n in range(number + 1))
    assert number > 3
    served.ws.recover()
    served.check()


def test_an_alert_slipped_in_by_hand_does_not_count(served: Town) -> None:
    (told,) = watch(served, drift(4))
    forged = {k: v for k, v in told.items() if k not in ("state", "acknowledged")}
    about = next(
        d for n, d in acts.alerts_subject("alpha", "score").items() if n.startswith("alerts:")
    )
    for signer, producer in (
        (served.people["eve"], PRODUCER),
        (served.workspace_key, "assay.door/1"),
    ):
        made = served.statement(
            "alert", {**forged, "event": "resolved"}, "alpha", about=about, producer=producer
        )
        served.slip_in(made, signer)
    assert held(served)[0].open


def test_what_is_no_signal_or_no_endpoint_is_refused_before_anything_is_written(
    served: Town,
) -> None:
    size = served.size
    with pytest.raises(Usage):
        served.do("oli", RaiseAlerts(project="alpha", endpoint="score", signals=({"kind": "x"},)))
    with pytest.raises(NotFound):
        served.do("oli", RaiseAlerts(project="alpha", endpoint="none", signals=(drift(),)))
    with pytest.raises(Usage):
        served.do(
            "oli", RaiseAlerts(project="alpha", endpoint="score", signals=(drift(),), quiet=0)
        )
    with pytest.raises(NotFound):
        served.do(
            "oli", AcknowledgeAlert(project="alpha", endpoint="score", alert="abcd", reason="x")
        )
    assert served.size == size


def test_everybody_who_reads_evidence_sees_the_alerts_of_the_project(served: Town) -> None:
    watch(served, drift(4))
    for endpoint in ("", "score"):
        (seen,) = served.do("una", ReadAlerts(project="alpha", endpoint=endpoint))
        assert seen["state"] == "open"
    assert served.refused("bea", ReadAlerts(project="alpha"))
