"""``assay alerts`` and ``assay incident``: what a person reads and types."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Generator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from assay.cli.session import Session
from assay.monitor import alerts
from assay.monitor.alert_words import explained
from assay.monitor.alerts import KINDS

from ..monitor.receiver import Receiver, receiving
from ..test_docs import command_error
from .conftest import Here, copy_of

DRIFT: dict[str, Any] = {
    "kind": "data_drift",
    "number": 4,
    "version": "1",
    "log_evidence": 9.1,
    "limit": 6.8,
    "causes": [{"feature": "[bold]income[/]", "psi": 0.4, "words": "values near \x1b[31m9"}],
    "promise": "at most 1 false alarm a year",
}


@contextlib.contextmanager
def as_alice(here: Here) -> Generator[Session]:
    """The person's own session, for what a monitor does and no command."""
    given = {
        "ASSAY_KEYS": str(here.folder / "keys"),
        "XDG_STATE_HOME": str(here.folder / "state"),
        "XDG_CONFIG_HOME": str(here.folder / "config"),
    }
    with contextlib.chdir(here.ws), mock.patch.dict(os.environ, given):
        yield Session("alice", "", True)


def raised(here: Here, *signals: dict[str, Any]) -> str:
    from assay.actions.alerts import RaiseAlerts

    last = max(signal["number"] for signal in signals)
    action = RaiseAlerts(project="fraud", endpoint="credit", signals=signals, window=last)
    with as_alice(here) as session:
        (alert,) = session.perform(action)
    return alert["id"]


@pytest.fixture(scope="session")
def _watched(_promoted: Here, tmp_path_factory: pytest.TempPathFactory) -> Here:
    """An endpoint with an open alert."""
    from assay.actions.serving import Deploy

    here = copy_of(_promoted, tmp_path_factory.mktemp("watched") / "it")
    with as_alice(here) as session:
        session.perform(
            Deploy(project="fraud", model="credit", version="production", stage="production")
        )
    raised(here, DRIFT)
    return here


@pytest.fixture
def watched(_watched: Here, tmp_path: Path) -> Here:
    return copy_of(_watched, tmp_path / "it")


@pytest.fixture
def receiver() -> Generator[Receiver]:
    with receiving() as made:
        yield made


def only(here: Here) -> dict[str, Any]:
    (alert,) = here.ok("alerts", "list", "--all", "--json", by="alice").json
    return alert


def test_alerts_are_listed_shown_acknowledged_and_closed(watched: Here) -> None:
    listed = watched.ok("alerts", "list", by="alice")
    alert = only(watched)
    assert alert["id"] in listed.out
    assert "warning" in listed.out
    shown = watched.ok("alerts", "show", alert["fingerprint"][:6], by="alice")
    assert "PSI 0.4" in shown.out
    assert "evidence 9.1" in shown.out
    assert "credit@1 was promoted to production" in shown.out
    assert f"assay retrain credit --alert {alert['id']}" in shown.out
    done = watched.ok("alerts", "ack", alert["id"], "--reason", "[red]we[/] know", by="alice")
    assert "acknowledged" in done.out
    shown = watched.ok("alerts", "show", alert["id"], by="alice")
    assert "acknowledged by alice" in shown.out
    assert "[red]we[/] know" in shown.out
    watched.ok("alerts", "ack", alert["id"], "--reason", "mended", "--close", by="alice")
    assert "1 alert over" in watched.ok("alerts", "list", by="alice").out
    assert only(watched)["state"] == "closed"
    again = watched("alerts", "ack", alert["id"], "--reason", "x", by="alice")
    assert again.code == 1
    assert "closed already" in again.err


def test_names_of_columns_are_no_markup_and_no_terminal_codes(watched: Here) -> None:
    for command in (("alerts", "list"), ("alerts", "show", only(watched)["id"])):
        done = watched.ok(*command, by="alice")
        assert "\x1b" not in done.all
        assert "[bold]income[/]" in done.out


def test_no_alert_of_what_nobody_watches_is_no_good_news(watched: Here) -> None:
    assert "nothing is known of credit yet" in watched.ok("alerts", "list", by="alice").err
    unknown = watched("alerts", "list", "nothing", by="alice")
    assert unknown.code == 1
    assert "one of credit" in unknown.err
    assert watched("incident", "list", "nothing", by="alice").code == 1


def test_an_alert_needs_a_reason_and_a_name(watched: Here) -> None:
    assert watched("alerts", "ack", only(watched)["id"], by="alice").code == 2
    empty = watched("alerts", "ack", only(watched)["id"], "--reason", "", by="alice")
    assert empty.code == 3
    assert "--reason" in empty.err
    unknown = watched("alerts", "show", "ffff", by="alice")
    assert unknown.code == 1
    assert "assay alerts list --all" in unknown.err


def test_a_test_says_what_each_channel_answered(watched: Here, receiver: Receiver) -> None:
    none = watched("alerts", "test", "credit", by="alice")
    assert none.code == 1
    assert "[[alerts.channels]]" in none.err
    config = watched.ws / "assay.toml"
    config.write_text(
        config.read_text()
        + f'\n[[alerts.channels]]\nname = "pager"\nkind = "webhook"\nurl = "{receiver.url}/x"\n'
        + '\n[[alerts.channels]]\nname = "chat"\nkind = "apprise"\nurl = "env:NO_SUCH"\n'
    )
    done = watched("alerts", "test", "credit", by="alice")
    assert done.code == 1
    assert "✓ pager at http://127.0.0.1:" in done.out
    assert "/x" not in done.out
    assert "✗ chat" in done.out
    assert "env:NO_SUCH" in done.out
    good = watched.ok("alerts", "test", "credit", "--channel", "pager", "--json", by="alice")
    assert good.json[0]["ok"]
    assert all(body["alerts"][0]["labels"]["test"] == "true" for body in receiver.bodies)
    sent = watched("alerts", "send", "credit", "--json", by="alice")
    assert [answer["ok"] for answer in sent.json] == [True, False]
    assert receiver.bodies[-1]["alerts"][0]["labels"]["alertname"] == "AssayDataDrift"


def test_an_incident_from_the_alert_to_the_report_and_its_end(
    watched: Here, tmp_path: Path
) -> None:
    alert = only(watched)["id"]
    opened = watched.ok(
        *("incident", "open", "credit", "--alert", alert, "--aware", "2020-01-01T00:00:00Z"),
        *("--reason", "refused [link=x]too many", "--duty", "gdpr-33", "--json"),
        by="alice",
    ).json
    number = opened["id"][-8:]
    for command in (("incident", "list"), ("alerts", "list")):
        done = watched.ok(*command, by="alice")
        assert "GDPR, Article 33(1)" in done.err
        assert "OVERDUE" in done.err
    shown = watched.ok("incident", "show", number, by="alice")
    assert "OVERDUE" in shown.out
    assert "refused [link=x]too many" in shown.out
    moved = watched.ok(
        *("incident", "update", number, "--reason", "a rumour before"),
        *("--aware", opened["timeline"][0]["at"], "--declare", "measures=stopped it"),
        by="alice",
    )
    assert "awareness was moved" in moved.out
    out = tmp_path / "report.md"
    drafted = watched.ok(
        "incident", "report", number, "--duty", "gdpr-33", "--out", out, by="alice"
    )
    assert "missing: " in drafted.out
    page = out.read_text()
    assert "stopped it" in page
    assert "*evidence*" in page
    assert alert in page
    assert watched("incident", "report", number, "--duty", "x", by="alice").code == 2
    printed = watched.ok("incident", "report", number, "--duty", "aiact-73", by="alice")
    assert "AI Act, Article 73(2)" in printed.out
    early = watched("incident", "update", number, "--reason", "x", "--close", by="alice")
    assert early.code == 1
    assert "clocks run" in early.err
    assert "--not-reportable" in early.err
    lone = watched("incident", "update", number, "--reason", "x", "--complete", by="alice")
    assert lone.code == 2
    ended = watched.ok(
        *("incident", "update", number, "--reason", "no harm", "--not-reportable", "aiact,gdpr"),
        "--close",
        by="alice",
    )
    assert "(closed)" in ended.out
    assert "OVERDUE" not in watched.ok("incident", "list", by="alice").all


def test_a_field_that_nobody_declares_is_named(watched: Here) -> None:
    for text in ("what=x", "nothing", "measures=", "=x"):
        done = watched("incident", "open", "credit", "--reason", "x", "--declare", text, by="alice")
        assert done.code == 2
        assert "measures" in done.err


def test_json_is_one_document(watched: Here) -> None:
    for command in (
        ("alerts", "list"),
        ("alerts", "list", "credit"),
        ("alerts", "show", only(watched)["id"]),
        ("alerts", "send", "credit"),
        ("incident", "list"),
        ("incident", "open", "credit", "--reason", "x"),
    ):
        json.loads(watched.ok(*command, "--json", by="alice").out)


@pytest.mark.parametrize("kind", KINDS)
def test_the_command_that_an_alert_names_exists_with_its_options(kind: str) -> None:
    change = {"at": "2026-01-01T10:00:00.000Z", "what": "x", "kind": "version", "before": "2"}
    signal = alerts.read({"kind": kind, "number": 1, "version": "3", "measure": "type"})
    asked: dict[str, Any] = {"window": 1, "judged": ()}
    (made,) = alerts.plan([], [signal], project="fraud", endpoint="credit", **asked).changes
    steps = explained(made, "fraud", [change]).next
    assert steps
    for step in steps:
        assert not command_error(step, whole=True), step
