"""`assay serve` in a process of its own, and those who ask it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

BODY = {
    "inputs": [
        {"name": name, "shape": [2, 1], "datatype": "FP32", "data": [0.5, -0.5]}
        for name in ("income", "debt", "age")
    ]
}


class Served:
    """A server that is up: what it said, and how to ask and stop it."""

    def __init__(self, ready: dict[str, Any], process: subprocess.Popen[str]) -> None:
        self.ready = ready
        self.process = process
        self.url: str = ready["url"]
        self.told: list[str] = []
        """Lines on its standard error so far."""
        self._told = threading.Condition()
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._told:
                self.told.append(line.rstrip("\n"))
                self._told.notify_all()

    def waits_for(self, words: str) -> str:
        """The first line on its standard error, from now or before, that holds `words`."""

        def found() -> str | None:
            return next((line for line in self.told if words in line), None)

        with self._told:
            line = self._told.wait_for(found, 60)
        assert line, self.told
        return line

    def frozen(self) -> Any:
        """While the block lasts the server does not move: it sees all of it at once."""

        @contextmanager
        def block() -> Generator[None]:
            self.process.send_signal(signal.SIGSTOP)
            try:
                yield
            finally:
                self.process.send_signal(signal.SIGCONT)

        return block()

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """End it, and wait; the exit status."""
        self.process.send_signal(how)
        status = self.process.wait(60)
        self._reading.join(30)
        return status


@contextmanager
def serving(here: Any, *args: str) -> Generator[Served]:
    """`assay serve` in a process of its own, once it is ready."""
    env = {
        **{k: v for k, v in os.environ.items() if not k.startswith("ASSAY_")},
        "ASSAY_KEYS": str(here.folder / "keys"),
        "XDG_STATE_HOME": str(here.folder / "state"),
        "ASSAY_ACTOR": "alice",
        "PYTHONUNBUFFERED": "1",
    }
    command = [Path(sys.executable).with_name("assay"), "serve", *args, "--port", "0", "--json"]
    with subprocess.Popen(
        command, cwd=here.ws, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            lines = ""
            for line in process.stdout:
                lines += line
                if line.startswith("}"):
                    break
            yield Served(json.loads(lines), process)
        finally:
            process.kill()


def ask(url: str, token: str, body: Any = None) -> tuple[int, Any]:
    """One request: its status and JSON."""
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    data = None if body is None else json.dumps(body).encode()
    try:
        with urllib.request.urlopen(  # noqa: S310
            urllib.request.Request(url, data, headers),  # noqa: S310
            timeout=30,
        ) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


@contextmanager
def callers(
    url: str, token: str, *, count: int = 3
) -> Generator[Callable[[Callable[[httpx.Response], bool]], list[httpx.Response]]]:
    """Clients that ask without a pause until the block ends.  What is yielded waits until one of
    them hears an answer of a kind, and returns everything that was heard so far."""
    heard: list[httpx.Response] = []
    broken: list[BaseException] = []
    news = threading.Condition()
    done = threading.Event()

    def caller() -> None:
        headers = {"Authorization": f"Bearer {token}"}
        try:
            with httpx.Client(headers=headers, timeout=60, trust_env=False) as http:
                while not done.is_set():
                    answer = http.post(url, json=BODY)
                    with news:
                        heard.append(answer)
                        news.notify_all()
        except httpx.HTTPError as error:  # A cut connection is a failed request, too.
            with news:
                broken.append(error)
                news.notify_all()

    def until(wanted: Callable[[httpx.Response], bool]) -> list[httpx.Response]:
        with news:
            begun = len(heard)
            ended = news.wait_for(lambda: broken or any(map(wanted, heard[begun:])), 60)
            assert ended, "nobody heard that"
            assert not broken, broken
            return list(heard)

    threads = [threading.Thread(target=caller) for _ in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield until
    finally:
        done.set()
        for thread in threads:
            thread.join(60)
