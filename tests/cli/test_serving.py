"""A served version, asked over HTTP by a token, and stopped by a kill and by a signal."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

BODY = {
    "inputs": [
        {"name": name, "shape": [2, 1], "datatype": "FP32", "data": [0.5, -0.5]}
        for name in ("income", "debt", "age")
    ]
}


@contextmanager
def serving(here: Any, *args: str) -> Generator[tuple[dict[str, Any], subprocess.Popen[str]]]:
    """`assay serve` in a process of its own, and what it said when it was ready."""
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
            yield json.loads(lines), process
        finally:
            process.kill()


def ask(url: str, token: str, body: Any = None) -> tuple[int, Any]:
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


@pytest.mark.slow
def test_a_version_is_served_to_tokens_until_killed_and_its_counts_are_kept(promoted: Any) -> None:
    promoted.ok("actor", "enrol", "app", "--kind", "service", "--role", "service", by="alice")
    token = promoted.ok("token", "create", "--for", "app", by="alice").out.strip()
    with serving(promoted, "credit@production") as (ready, process):
        status, answer = ask(ready["infer"], token, BODY)
        assert status == 200, answer
        assert answer["model_version"] == "1"
        assert ask(ready["infer"], "assay_wrong_token", BODY)[0] == 401
        status, told = ask(f"{ready['url']}/v2/models/credit", token)
        assert status == 200
        assert told["parameters"]["approval"].startswith("self-approved (development)")
        promoted.ok("kill", "credit", "--reason", "answers look wrong", by="alice")
        assert ask(ready["infer"], token, BODY)[0] == 403
        process.send_signal(signal.SIGTERM)
        rest, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
    assert "Traceback" not in err
    assert token not in rest + err
    promoted.ok("rebuild")
    with sqlite3.connect(promoted.ws / ".assay" / "catalog.sqlite") as database:
        rows = database.execute("select predicate from statements where kind = 'segment'")
        counted = [row for (text,) in rows for row in json.loads(text)["decisions"]]
    assert {(row["action"], row["allowed"]) for row in counted} >= {
        ("query", True),
        ("query", False),
    }


def test_an_address_that_others_reach_needs_tls(promoted: Any) -> None:
    done = promoted("serve", "credit@production", "--certificate", "x.pem", by="alice")
    assert done.code == 2
    assert "TLS" in done.err


def test_a_version_whose_gates_are_closed_is_not_served(registered: Any) -> None:
    done = registered("serve", "credit@1", by="alice")
    assert done.code == 3
    assert "gate.approvals" in done.err
