"""A served version, asked over HTTP by a token, and stopped by a kill and by a signal."""

from __future__ import annotations

import json
import sqlite3
from typing import Any

import pytest

from .servers import BODY, ask, serving


@pytest.mark.slow
def test_a_version_is_served_to_tokens_until_killed_and_its_counts_are_kept(promoted: Any) -> None:
    promoted.ok("actor", "enrol", "app", "--kind", "service", "--role", "service", by="alice")
    token = promoted.ok("token", "create", "--for", "app", by="alice").out.strip()
    with serving(promoted, "credit@production") as server:
        infer = server.ready["infer"]
        status, answer = ask(infer, token, BODY)
        assert status == 200, answer
        assert answer["model_version"] == "1"
        assert ask(infer, "assay_wrong_token", BODY)[0] == 401
        status, told = ask(f"{server.url}/v2/models/credit", token)
        assert status == 200
        assert told["parameters"]["approval"].startswith("self-approved (development)")
        promoted.ok("kill", "credit", "--reason", "answers look wrong", by="alice")
        assert ask(infer, token, BODY)[0] == 403
        assert server.stop() == 0, server.told
        rest = "".join(server.process.stdout or ())
    assert "Traceback" not in "".join(server.told)
    assert token not in rest + "".join(server.told)
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
