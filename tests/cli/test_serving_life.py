"""What `assay serve` does while it answers: it writes down, it follows, it survives."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from .conftest import Here, copy_of, table
from .servers import BODY, ask, callers, serving

pytestmark = pytest.mark.slow
SERVE = ("credit@development", "--stage", "development")


@pytest.fixture(scope="session")
def _versions(_registered: Here, tmp_path_factory: pytest.TempPathFactory) -> tuple[Here, str]:
    """Two versions of different bytes, of which the first is promoted, and a service's token."""
    import pandas as pd
    import skops.io
    from sklearn.linear_model import LogisticRegression

    here = copy_of(_registered, tmp_path_factory.mktemp("versions") / "it")
    train = table(600, 7)
    features = pd.DataFrame({k: v for k, v in train.items() if k != "default"})
    other = here.folder / "other.skops"
    skops.io.dump(LogisticRegression(C=0.01).fit(features, train["default"]), other)
    here.ok(
        *("model", "register", other, "--name", "credit", "--purpose", "credit-scoring"),
        *("--train", "loans", "--label", "default", "--positive", "1"),
        by="alice",
    )
    here.ok("promote", "credit@1", "--to", "development", by="alice")
    here.ok("actor", "enrol", "app", "--kind", "service", "--role", "service", by="alice")
    return here, here.ok("token", "create", "--for", "app", by="alice").out.strip()


@pytest.fixture
def versions(_versions: tuple[Here, str], tmp_path: Path) -> tuple[Here, str]:
    here, token = _versions
    return copy_of(here, tmp_path / "versions"), token


def promote(here: Here, version: str) -> None:
    here.ok("promote", f"credit@{version}", "--to", "development", by="alice")


def answered_by(version: str) -> Any:
    return lambda answer: answer.status_code == 200 and answer.json()["model_version"] == version


def logged(here: Here) -> list[dict[str, Any]]:
    """Every row of the sealed log."""
    out = here.folder / "log.jsonl"
    here.ok("predictions", "export", "credit", "--out", out, by="alice")
    return [json.loads(line) for line in out.read_text().splitlines()]


def test_another_version_takes_over_under_load_and_every_answer_is_in_the_log(
    versions: tuple[Here, str],
) -> None:
    here, token = versions
    with serving(here, *SERVE) as server:
        with callers(server.ready["infer"], token) as until:
            until(answered_by("1"))
            promote(here, "2")
            until(answered_by("2"))
            promote(here, "1")
            until(answered_by("1"))
            heard = until(answered_by("1"))
        status, _ = ask(f"{server.url}/v2/models/credit", token)
        assert status == 200
        assert server.stop() == 0, server.told
    assert {answer.status_code for answer in heard} == {200}
    assert [line for line in server.told if "answers now" in line] == [
        "version 2 answers now, and 1 no more",
        "version 1 answers now, and 2 no more",
    ]
    rows = logged(here)
    kept = {(row["prediction_id"], row["row"]): row["version"] for row in rows}
    assert len(kept) == len(rows)
    for told in (answer.json() for answer in heard):
        for row in (0, 1):
            assert kept[told["parameters"]["prediction_id"], row] == told["model_version"]
    assert {row["in.income"] for row in rows} == {0.5, -0.5}
    held = here.ok("predictions", "list", "credit", "--json", by="alice").json
    assert held["waiting"] == 0


def test_two_servers_of_an_endpoint_go_over_together_and_neither_refuses_anybody(
    versions: tuple[Here, str],
) -> None:
    here, token = versions
    with serving(here, *SERVE) as one, serving(here, *SERVE) as other:
        with (
            callers(one.ready["infer"], token, count=1) as of_one,
            callers(other.ready["infer"], token, count=1) as of_other,
        ):
            promote(here, "2")
            heard = of_one(answered_by("2")) + of_other(answered_by("2"))
        for server in (one, other):
            assert server.stop() == 0, server.told
    assert {answer.status_code for answer in heard} == {200}
    kept = {row["prediction_id"] for row in logged(here)}
    assert {answer.json()["parameters"]["prediction_id"] for answer in heard} <= kept


def test_a_denied_version_leaves_the_old_one_answering_and_says_why(
    versions: tuple[Here, str],
) -> None:
    here, token = versions
    with serving(here, *SERVE) as server, callers(server.ready["infer"], token) as until:
        until(answered_by("1"))
        with server.frozen():
            promote(here, "2")
            here.ok("hold", "credit@2", "--reason", "a broken sensor", by="alice")
        said = server.waits_for("version 2 does not take over, and 1 goes on")
        assert "denied" in said
        heard = until(answered_by("1"))
        assert {answer.status_code for answer in heard} == {200}
        here.ok("unhold", "credit@2", "--reason", "it was the cable", by="alice")
        heard = until(answered_by("2"))  # Tried again some seconds later.
        assert {answer.status_code for answer in heard} == {200}


def test_a_revoked_version_answers_nothing_while_the_next_one_starts(
    versions: tuple[Here, str],
) -> None:
    here, token = versions
    with serving(here, *SERVE) as server:
        assert ask(server.ready["infer"], token, BODY)[0] == 200
        with server.frozen():
            promote(here, "2")
            here.ok("revoke", "credit@1", "--reason", "mislabelled rows", by="alice")
        with callers(server.ready["infer"], token) as until:
            heard = until(answered_by("2"))
        # Not one answer of the revoked version: refused, or answered by the next.
        for answer in heard:
            assert answer.status_code in (200, 403)
            assert answer.status_code == 403 or answer.json()["model_version"] == "2"


def test_a_kill_is_not_undone_by_a_promotion(versions: tuple[Here, str]) -> None:
    here, token = versions
    with serving(here, *SERVE) as server:
        here.ok("kill", "credit", "--reason", "odd answers", by="alice")
        promote(here, "2")
        said = server.waits_for("version 2 does not take over")
        assert "was stopped" in said
        assert ask(server.ready["infer"], token, BODY)[0] == 403
    with serving(here, *SERVE) as server:  # A person does.
        assert ask(server.ready["infer"], token, BODY)[1]["model_version"] == "2"


def test_a_number_is_served_and_follows_nothing(versions: tuple[Here, str]) -> None:
    here, token = versions
    with serving(here, "credit@1", "--stage", "development") as server:
        promote(here, "2")
        with callers(server.ready["infer"], token, count=1) as until:
            for _ in range(5):
                until(answered_by("1"))
        assert server.stop() == 0
    assert not any("take" in line or "answers now" in line for line in server.told)


def test_what_a_killed_server_answered_is_sealed_by_the_next(versions: tuple[Here, str]) -> None:
    here, token = versions
    with serving(here, *SERVE) as server:
        answers = [ask(server.ready["infer"], token, BODY)[1] for _ in range(5)]
        assert server.stop(signal.SIGKILL) == -signal.SIGKILL
    held = here.ok("predictions", "list", "credit", "--json", by="alice").json
    assert held["waiting"] == 1
    with serving(here, *SERVE) as server:
        assert server.stop() == 0, server.told
    kept = {row["prediction_id"] for row in logged(here)}
    assert kept == {answer["parameters"]["prediction_id"] for answer in answers}


def test_labels_that_an_endpoint_took_are_sealed_when_it_stops(versions: tuple[Here, str]) -> None:
    here, token = versions
    with serving(here, *SERVE) as server:
        made = ask(server.ready["infer"], token, BODY)[1]["parameters"]["prediction_id"]
        feedback = server.ready["infer"].replace("/infer", "/feedback")
        labels = {"labels": [{"id": f"{made}/{row}", "label": row} for row in (0, 1)]}
        status, told = ask(feedback, token, labels)
        assert (status, told["accepted"]) == (200, 2), told
        assert ask(feedback, "assay_wrong_token", labels)[0] == 401
        assert ask(feedback, token, {"labels": "all"})[0] == 400
        status, text = ask_text(f"{server.url}/metrics", token)
        assert status == 200
        assert 'route="feedback",status="200"} 1' in text
        assert server.stop() == 0, server.told
    assert not list((here.ws / ".assay" / "spool").rglob("*.spool"))


def ask_text(url: str, token: str) -> tuple[int, str]:
    import httpx

    answer = httpx.get(url, headers={"Authorization": f"Bearer {token}"}, trust_env=False)
    return answer.status_code, answer.text


def test_without_room_for_the_log_nothing_is_answered(versions: tuple[Here, str]) -> None:
    here, token = versions
    with serving(here, *SERVE) as server:
        assert ask(server.ready["infer"], token, BODY)[0] == 200
        assert server.stop() == 0
    spools = here.ws / ".assay" / "spool" / "fraud" / "credit"
    for left in spools.iterdir():
        left.rmdir() if left.is_dir() else left.unlink()
    spools.rmdir()
    spools.write_text("not a folder")
    with serving(here, *SERVE) as server:
        status, told = ask(server.ready["infer"], token, BODY)
        assert (status, told["code"]) == (503, "unavailable.serve.log")
        assert "outputs" not in told
        assert "log_failures_total" in ask_text(f"{server.url}/metrics", token)[1]
