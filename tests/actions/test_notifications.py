"""Telling alerts through the door: at least once, and nothing lost while a channel is down."""

from __future__ import annotations

import json
from collections.abc import Generator
from datetime import timedelta
from typing import Any

import pytest
from workspace.town import Killed, Town, killed_at_point

from assay.actions import alerts as acts
from assay.actions import notifications
from assay.actions.alerts import AcknowledgeAlert
from assay.actions.notifications import Notify, TestChannels
from assay.errors import Denied, NotFound, Usage
from assay.monitor.alerts import KINDS

from ..monitor.receiver import Receiver, receiving

SECRET = "s3cr3t-t0ken"


@pytest.fixture
def receiver() -> Generator[Receiver]:
    with receiving() as made:
        yield made


@pytest.fixture
def served(town: Town) -> Town:
    town.deploy()
    return town


def configure(town: Town, *channels: dict[str, Any]) -> None:
    config = town.repo / "assay.toml"
    text = config.read_text().partition("\n[[alerts")[0]
    for channel in channels:
        lines = [f"{name} = {json.dumps(value)}" for name, value in channel.items()]
        text += "\n[[alerts.channels]]\n" + "\n".join(lines) + "\n"
    config.write_text(text)
    town.reopen()


def hook(receiver: Receiver, **other: Any) -> dict[str, Any]:
    return {"name": "hook", "kind": "webhook", "url": receiver.url, **other}


def drift(number: int = 4, **other: Any) -> dict[str, Any]:
    figures: dict[str, Any] = {"measure": "log_e", "value": 6.0, "version": "1"}
    return {"kind": "data_drift", "number": number, **figures, **other}


def watch(town: Town, *signals: dict[str, Any], **other: Any) -> list[Any]:
    town.ws.view.follow()
    asked: dict[str, Any] = {"judged": KINDS, "window": max(s["number"] for s in signals)}
    return acts.watch(
        lambda a: town.do("oli", a), town.ws.view, "alpha", "score", signals, **(asked | other)
    )


def notify(town: Town, by: str = "oli") -> list[Any]:
    # As a monitor does: in the same process, right after what it raised.
    return notifications.notify(
        lambda a: town.do(by, a), town.ws.view, town.ws.layout, "alpha", "score"
    )


def told(receiver: Receiver) -> list[tuple[str, str]]:
    return [
        (alert["status"], alert["fingerprint"])
        for body in receiver.bodies
        for alert in body["alerts"]
    ]


def test_an_alert_is_told_once_and_a_run_without_news_asks_nothing(
    served: Town, receiver: Receiver
) -> None:
    configure(served, hook(receiver))
    assert notify(served) == []
    (alert,) = watch(served, drift())
    (answer,) = notify(served)
    assert (answer["ok"], answer["told"]) == (True, 1)
    size = served.size
    assert notify(served) == []
    assert served.size == size
    assert told(receiver) == [("firing", alert["fingerprint"])]
    (statement,) = served.statements("notification")
    assert statement.predicate["taken"] == [
        {"channel": "hook", "alert": alert["id"], "step": 1, "event": "raised"}
    ]
    served.check()


def test_growth_and_the_end_are_told_too(served: Town, receiver: Receiver) -> None:
    configure(served, hook(receiver))
    watch(served, drift())
    notify(served)
    watch(served, drift(), drift(5, value=60))
    notify(served)
    watch(served, drift(), drift(5, value=60), window=20)
    notify(served)
    assert [status for status, _ in told(receiver)] == ["firing", "firing", "resolved"]
    assert len({mark for _, mark in told(receiver)}) == 1


def test_a_channel_that_was_down_is_told_later_and_hears_of_what_came_and_went(
    served: Town, receiver: Receiver
) -> None:
    receiver.answers = [400]
    configure(served, hook(receiver))
    watch(served, drift(), drift(4, key="sex"))
    (answer,) = notify(served)
    assert (answer["ok"], answer["told"]) == (False, 0)
    watch(served, drift(), drift(4, key="sex"), drift(20), window=20)
    receiver.answers = [200]
    receiver.got.clear()
    served.clock.advance(timedelta(minutes=2))
    assert notify(served)[0]["told"] == 2
    assert sorted(status for status, _ in told(receiver)) == ["firing", "resolved"]


def test_a_channel_that_keeps_failing_is_asked_ever_less_often(
    served: Town, receiver: Receiver
) -> None:
    receiver.answers = [400]
    configure(served, hook(receiver))
    watch(served, drift())
    for _ in range(180):
        notify(served)
        served.clock.advance(timedelta(minutes=1))
    # After 0, 1, 3, 7, 15, 31 minutes, and then every half hour.
    assert len(receiver.got) == 10
    size = served.size
    assert notify(served) == [] or served.size > size
    receiver.answers = [200]
    assert served.do("oli", Notify(project="alpha", endpoint="score", at_once=True))[0]["ok"]


def test_a_new_channel_is_not_flooded_with_what_was_over_long_ago(
    served: Town, receiver: Receiver
) -> None:
    watch(served, drift(4))
    watch(served, drift(4), window=20)
    served.clock.advance(timedelta(days=8))
    watch(served, drift(4), drift(30))
    configure(served, hook(receiver))
    notify(served)
    assert [status for status, _ in told(receiver)] == ["firing"]


def test_alertmanager_is_told_again_because_it_forgets(served: Town, receiver: Receiver) -> None:
    configure(served, hook(receiver, name="am", kind="alertmanager"))
    watch(served, drift())
    for _ in range(9):
        notify(served)
        served.clock.advance(timedelta(hours=1))
    assert len(receiver.got) == 3
    first, *later = [[a["labels"] for a in body] for body in receiver.bodies]
    assert all(labels == first for labels in later)


def test_a_channel_hears_only_of_its_projects_and_severities(
    served: Town, receiver: Receiver
) -> None:
    configure(
        served,
        hook(receiver, name="others", projects=["beta"]),
        hook(receiver, name="grave", least="critical"),
        hook(receiver, name="all", least="info"),
    )
    watch(served, drift(4, causes=[{"feature": "age", "psi": 0.01}]))
    (answer,) = notify(served)
    assert answer["channel"] == "all"


def test_one_wrong_channel_keeps_no_other_from_being_told_and_shows_no_secret(
    served: Town, receiver: Receiver
) -> None:
    configure(
        served,
        hook(receiver, name="none", url="env:NO_SUCH_VARIABLE"),
        hook(receiver, name="plain", url=f"https://x/?token={SECRET}"),
        hook(receiver, name="twice"),
        hook(receiver, name="twice"),
    )
    watch(served, drift())
    answers = notify(served)
    assert [(a["channel"], a["ok"]) for a in answers] == [
        ("none", False),
        ("plain", False),
        ("twice", True),
        ("twice (again)", False),
    ]
    assert len(receiver.got) == 1
    assert "env:NO_SUCH_VARIABLE" in answers[0]["words"]
    assert SECRET not in json.dumps(answers)
    everything = json.dumps([s.predicate for s in served.statements()])
    assert SECRET not in everything


def test_a_secret_by_reference_is_used_and_written_nowhere(
    served: Town, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOOK_URL", f"{receiver.url}/{SECRET}")
    (served.repo / "hook-token").write_text(f"{SECRET}\n")
    configure(served, hook(receiver, url="env:HOOK_URL", credential="file:hook-token"))
    watch(served, drift())
    (answer,) = notify(served)
    assert answer["ok"], answer
    ((path, headers, _),) = receiver.got
    assert path == f"/{SECRET}"
    assert headers["Authorization"] == f"Bearer {SECRET}"
    everything = json.dumps([s.predicate for s in served.statements()]) + json.dumps(answer)
    assert SECRET not in everything


@pytest.mark.slow
def test_killed_at_any_point_of_telling_everything_is_told_by_the_next_run(
    served: Town, receiver: Receiver
) -> None:
    configure(served, hook(receiver))
    (alert,) = watch(served, drift())
    number, done = -1, False
    while not done:
        number += 1
        try:
            with killed_at_point(number):
                notify(served)
                done = True
        except Killed:
            served.close()
            notify(served)
            assert notify(served) == []
            assert {mark for _, mark in told(receiver)} == {alert["fingerprint"]}
            # The next round has something to tell again.
            value = 100.0 * 3**number
            watch(served, drift(), drift(5 + number, value=value))
    assert number > 3
    served.ws.recover()
    served.check()


def test_a_test_alert_says_so_and_what_each_channel_answered(
    served: Town, receiver: Receiver
) -> None:
    with pytest.raises(NotFound, match="no channels"):
        served.do("oli", TestChannels(project="alpha", endpoint="score"))
    configure(served, hook(receiver, least="critical"), hook(receiver, name="bad", kind="pigeon"))
    good, bad = served.do("oli", TestChannels(project="alpha", endpoint="score"))
    assert good["ok"]
    assert "pigeon" in bad["words"]
    ((_, _, body),) = receiver.got
    assert body["alerts"][0]["labels"]["test"] == "true"
    assert body["alerts"][0]["labels"]["severity"] == "critical"
    assert acts.alerts_of(served.ws.view, "alpha", "score") == []
    (only,) = served.do("oli", TestChannels(project="alpha", endpoint="score", channel="bad"))
    assert only["channel"] == "bad"
    with pytest.raises(NotFound, match="nope"):
        served.do("oli", TestChannels(project="alpha", endpoint="score", channel="nope"))


def test_a_test_says_that_a_channel_is_not_told_of_this_project(
    served: Town, receiver: Receiver
) -> None:
    configure(served, hook(receiver, projects=["beta"]))
    (answer,) = served.do("oli", TestChannels(project="alpha", endpoint="score"))
    assert not answer["ok"]
    assert "nothing of the project alpha" in answer["words"]
    assert receiver.got == []


def test_a_test_changes_nothing_of_what_a_channel_was_told(
    served: Town, receiver: Receiver
) -> None:
    configure(served, hook(receiver))
    watch(served, drift())
    served.do("oli", TestChannels(project="alpha", endpoint="score"))
    assert notify(served)[0]["told"] == 1


@pytest.mark.parametrize("name", ["sam", "ann", "una", "web", "bea"])
def test_who_does_not_watch_tells_nobody(served: Town, receiver: Receiver, name: str) -> None:
    configure(served, hook(receiver))
    watch(served, drift())
    for action in (
        Notify(project="alpha", endpoint="score"),
        TestChannels(project="alpha", endpoint="score"),
    ):
        with pytest.raises(Denied):
            served.do(name, action)
    assert receiver.got == []


def test_an_acknowledged_alert_that_grows_is_told_again(served: Town, receiver: Receiver) -> None:
    configure(served, hook(receiver))
    (alert,) = watch(served, drift())
    notify(served)
    served.do(
        "oli", AcknowledgeAlert(project="alpha", endpoint="score", alert=alert["id"], reason="x")
    )
    assert notify(served) == []
    watch(served, drift(), drift(5, value=60))
    assert notify(served)[0]["told"] == 1


def test_a_configuration_with_an_unknown_key_is_refused(served: Town, receiver: Receiver) -> None:
    with pytest.raises(Usage):
        configure(served, hook(receiver, secret=SECRET))
