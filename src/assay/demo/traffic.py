"""An endpoint in a process of its own, and the people who ask it."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.markup import escape

from assay.demo import census
from assay.demo.stage import Failed, asked, assay, itself, out

if TYPE_CHECKING:
    import polars as pl

_HOST = "127.0.0.1"
_PATIENCE = 60.0
_PATH = "/v2/models/jobs/infer"
_LOG = Path("serve.log")


@dataclass
class Service:
    """Where it answers, and the token of those who may ask."""

    port: int
    token: str
    _connection: http.client.HTTPConnection | None = field(default=None, repr=False)

    def ask(self, rows: pl.DataFrame, *, token: str | None = None) -> tuple[int, Any]:
        """One request, in the Open Inference Protocol, over one connection."""
        inputs = [
            {
                "name": name,
                "shape": [rows.height, 1],
                "datatype": "FP64",
                "data": [float(value) for value in rows[name]],
            }
            for name in census.FEATURES
        ]
        if self._connection is None:
            self._connection = http.client.HTTPConnection(_HOST, self.port, timeout=30)
        headers = {"Content-Type": "application/json"}
        if given := self.token if token is None else token:
            headers["Authorization"] = f"Bearer {given}"
        try:
            self._connection.request("POST", _PATH, json.dumps({"inputs": inputs}), headers)
            answer = self._connection.getresponse()
            return answer.status, json.loads(answer.read())
        except (OSError, http.client.HTTPException):
            self._connection = None
            raise

    def again(self) -> Service:
        """Another caller, with a connection of their own: one that is idle is closed by and by."""
        return Service(self.port, self.token)


def replay(service: Service, rows: pl.DataFrame, labels: Path) -> tuple[int, float]:
    """Everybody asks in their turn; what was true of them goes to a file, for later.

    Returns how many were answered, and the seconds it took.
    """
    import polars as pl

    began = time.monotonic()
    caller = service.again()
    known: list[pl.DataFrame] = []
    # A window is sealed when the next one begins: with one more.
    for people in (*census.batches(rows), rows[:1]):
        status, answer = caller.ask(people)
        if status != 200:
            raise Failed(f"the endpoint answers {status}: {answer}")
        name = answer["parameters"]["prediction_id"]
        ids = [f"{name}/{row}" for row in range(people.height)]
        known.append(pl.DataFrame({"id": ids, "label": people[census.LABEL]}))
    took = time.monotonic() - began
    truth = pl.concat(known)
    truth.write_csv(labels)
    return truth.height, took


@dataclass
class Load:
    """What callers saw while they asked without a pause."""

    answers: dict[str, int] = field(default_factory=dict[str, int])
    """By the version that answered."""
    failed: list[str] = field(default_factory=list[str])


@contextlib.contextmanager
def load(service: Service, rows: pl.DataFrame, callers: int = 3) -> Generator[Load]:
    """Callers who ask without a pause until the block ends."""
    seen, stop, lock = Load(), threading.Event(), threading.Lock()

    def call(number: int) -> None:
        mine, row = service.again(), rows[number : number + 1]
        while not stop.is_set():
            try:
                status, answer = mine.ask(row)
                failed = "" if status == 200 else f"{status}: {answer}"
                version = "" if failed else str(answer["model_version"])
            except (OSError, http.client.HTTPException) as error:
                failed, version = str(error), ""
            with lock:
                if failed:
                    seen.failed.append(failed)
                else:
                    seen.answers[version] = seen.answers.get(version, 0) + 1
            stop.wait(0.01)

    threads = [threading.Thread(target=call, args=(number,)) for number in range(callers)]
    for thread in threads:
        thread.start()
    try:
        yield seen
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def wait_for(seen: Load, version: str) -> None:
    """Until a version has answered."""
    until = time.monotonic() + _PATIENCE
    while version not in seen.answers:
        if time.monotonic() > until:
            raise Failed(f"version {version} never answered: {_LOG.read_text()}")
        time.sleep(0.05)


@contextlib.contextmanager
def serving() -> Generator[Service]:
    """``assay serve`` in a process of its own, until the block ends."""
    assay("actor", "enrol", "shop", "--kind", "service", "--role", "work/service")
    made = asked("token", "create", "--for", "shop")
    port = _free_port()
    command = ["serve", "jobs@production", "--port", str(port)]
    out.print(f"\n[bold]$ assay {escape(' '.join(command))} &[/]")
    with _LOG.open("w") as log:
        server = subprocess.Popen(  # noqa: S603 - our own command, fixed arguments
            [*itself(), *command], stdout=log, stderr=subprocess.STDOUT
        )
    try:
        until = time.monotonic() + _PATIENCE
        while not _lives(port):
            if server.poll() is not None or time.monotonic() > until:
                raise Failed(f"the endpoint did not start: {_LOG.read_text()}")
            time.sleep(0.05)
        yield Service(port, made["secret"])
    finally:
        server.terminate()
        try:
            server.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            server.kill()


def _lives(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://{_HOST}:{port}/v2/health/live", timeout=1) as answer:
            return answer.status == 200
    except OSError:
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        return probe.getsockname()[1]
