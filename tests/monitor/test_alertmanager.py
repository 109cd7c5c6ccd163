"""A real Alertmanager takes what is sent, knows it again, and hands it on to a webhook."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import threading
import urllib.request
from collections.abc import Generator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

import msgspec
import pytest

from assay.clock import timestamp
from assay.monitor import alerts
from assay.monitor.alerts import Alert
from assay.monitor.channels import Channel, Message, send

from .receiver import Receiver, receiving

PROGRAM = (
    os.environ.get("ALERTMANAGER", "")
    or shutil.which("prometheus-alertmanager")
    or shutil.which("alertmanager")
    or ""
)
pytestmark = [
    pytest.mark.skipif(
        not PROGRAM,
        reason="no Alertmanager on the PATH, nor named by ALERTMANAGER (Debian: "
        "prometheus-alertmanager)",
    ),
]
NOW = datetime.now(timezone.utc)

ROUTES = """
route:
  receiver: hook
  group_by: [project, endpoint]
  group_wait: 100ms
  group_interval: 100ms
receivers:
  - name: hook
    webhook_configs: [{url: "%s"}]
"""


@dataclass
class Manager:
    url: str
    hook: Receiver

    def alerts(self, active: str = "true") -> list[Any]:
        asked = f"{self.url}/api/v2/alerts?active={active}"
        with urllib.request.urlopen(asked, timeout=10) as answer:  # noqa: S310 - our own server
            return json.load(answer)

    def told(self, *messages: Message, at: datetime = NOW) -> None:
        channel = Channel(name="am", kind="alertmanager", url=self.url)
        (result,) = send([(channel, messages)], now=at)
        assert result.ok, result.words

    def await_hook(self, endpoint: str) -> Any:
        """The first payload about an endpoint that Alertmanager's webhook was given."""

        def found() -> Any:
            about = (b for b in self.hook.bodies if b["groupLabels"]["endpoint"] == endpoint)
            return next(about, None)

        with self.hook.arrived:
            self.hook.arrived.wait_for(found, timeout=20)
            assert found(), self.hook.bodies
            return found()


@pytest.fixture(scope="module")
def manager(tmp_path_factory: pytest.TempPathFactory) -> Generator[Manager]:
    folder = tmp_path_factory.mktemp("alertmanager")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with receiving() as hook, contextlib.ExitStack() as stack:
        config = folder / "config.yml"
        config.write_text(ROUTES % f"{hook.url}/hook")
        log = stack.enter_context((folder / "log").open("wb"))
        process = subprocess.Popen(
            [
                PROGRAM,
                f"--config.file={config}",
                f"--storage.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
                "--cluster.listen-address=",
            ],
            stdout=log,
            stderr=log,
        )
        stack.callback(process.wait, 20)
        stack.callback(process.terminate)
        made = Manager(f"http://127.0.0.1:{port}", hook)
        _until_ready(made.url, process)
        yield made


def _until_ready(url: str, process: subprocess.Popen[bytes]) -> None:
    pause = threading.Event()
    for _ in range(200):
        assert process.poll() is None, "Alertmanager ended"
        with (
            contextlib.suppress(OSError),
            urllib.request.urlopen(f"{url}/-/ready", timeout=5),  # noqa: S310
        ):
            return
        pause.wait(0.1)
    raise AssertionError("Alertmanager does not become ready")


def raised(endpoint: str = "score", **other: Any) -> Alert:
    signal = {"kind": "data_drift", "number": 4, "version": "3", **other}
    (made,) = alerts.plan(
        [],
        [alerts.read(signal)],
        project="alpha",
        endpoint=endpoint,
        window=4,
        judged=(),
        now=timestamp(NOW - timedelta(minutes=1)),
    ).changes
    return made


def of(manager: Manager, made: Alert) -> list[Any]:
    mark = made.fingerprint
    return [a for a in manager.alerts() if a["labels"]["fingerprint"] == mark]


def test_an_alert_told_twice_is_one_alert_there(manager: Manager) -> None:
    made = raised(key="twice", causes=[{"feature": 'age "x" \\ é', "psi": 0.3}])
    manager.told(Message("alpha", made))
    manager.told(Message("alpha", made), at=NOW + timedelta(seconds=1))
    (held,) = of(manager, made)
    assert held["labels"]["severity"] == "warning"
    assert held["labels"]["alertname"] == "AssayDataDrift"
    assert held["status"]["state"] == "active"
    assert held["endsAt"] > timestamp(NOW + timedelta(days=29))


def test_an_alert_that_has_grown_replaces_what_it_was(manager: Manager) -> None:
    made = raised(key="grows", kind="performance", value=0.21, limit=0.2, measure="brier")
    manager.told(Message("alpha", made))
    grown = msgspec.structs.replace(
        made, severity="critical", step=2, event="escalated", changed=timestamp(NOW)
    )
    manager.told(Message("alpha", grown))
    (held,) = of(manager, made)
    assert held["labels"]["severity"] == "critical"


def test_an_alert_that_is_over_is_over_there(manager: Manager) -> None:
    made = raised(key="ends")
    manager.told(Message("alpha", made))
    assert of(manager, made)
    over = alerts.closed(made, through=9, why="x", now=timestamp(NOW))
    manager.told(Message("alpha", over))
    assert of(manager, made) == []


def test_our_webhook_payload_has_the_fields_of_alertmanagers_own(manager: Manager) -> None:
    made = raised("hooked")
    manager.told(Message("alpha", made))
    theirs = manager.await_hook("hooked")
    with receiving() as own:
        channel = Channel(name="own", kind="webhook", url=own.url)
        assert send([(channel, [Message("alpha", made)])], now=NOW)[0].ok
        (ours,) = own.bodies
    assert set(ours) == set(theirs)
    assert set(ours["alerts"][0]) == set(theirs["alerts"][0])
    assert ours["groupKey"] == theirs["groupKey"]
    assert ours["groupLabels"] == theirs["groupLabels"]
    assert ours["version"] == theirs["version"]
    assert ours["commonLabels"] == theirs["commonLabels"]
    assert ours["commonAnnotations"] == theirs["commonAnnotations"]
    mine, its = ours["alerts"][0], theirs["alerts"][0]
    for name in ("status", "labels", "annotations"):
        assert mine[name] == its[name]
    for name in ("startsAt", "endsAt"):
        assert datetime.fromisoformat(mine[name]) == datetime.fromisoformat(its[name])
