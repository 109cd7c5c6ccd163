"""``assay ci init`` and ``assay ci comment`` on the command line, and where a run says it is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer

from assay.ci.source import source
from assay.cli import ci as group
from assay.cli.app import run

from .reports import COMMIT, report
from .test_comment import archive, encode, event, pulls


def test_workflows_are_written_once_and_replaced_only_by_force(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["ci", "init", "github", "--pipeline", "p/x.py", "--out", str(tmp_path)]
    assert run(given) == 0
    path = tmp_path / ".github" / "workflows" / "assay.yml"
    assert "PIPELINE: p/x.py" in path.read_text()
    path.write_text("mine")
    assert run(given) == 1
    assert path.read_text() == "mine"
    assert run([*given, "--force", "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1] and "{}") == {}
    assert path.read_text() != "mine"
    assert run(["ci", "init", "gitlab", "--out", str(tmp_path)]) == 0
    assert run(["ci", "init", "jenkins", "--out", str(tmp_path)]) == 2


def place(tmp_path: Path, text: str = "credit") -> list[str]:
    (tmp_path / "report.zip").write_bytes(archive(("gates.json", encode(report(text)))))
    (tmp_path / "event.json").write_bytes(event())
    (tmp_path / "pulls.jsonl").write_bytes(pulls((7, COMMIT, 99)))
    return [
        *("ci", "comment", str(tmp_path / "report.zip")),
        *("--event", str(tmp_path / "event.json"), "--pulls", str(tmp_path / "pulls.jsonl")),
    ]


def test_a_comment_is_printed_and_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = place(tmp_path)
    assert run([*given, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["request"] == 7
    assert printed["body"].startswith(printed["marker"])
    assert run([*given, "--out", str(tmp_path / "comment.json")]) == 0
    assert json.loads((tmp_path / "comment.json").read_text()) == printed
    assert run([*given, "--out", str(tmp_path / "comment.json")]) == 1


def test_a_report_that_is_refused_still_has_a_comment_that_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = place(tmp_path)
    (tmp_path / "report.zip").write_bytes(b"")
    assert run([*given, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["request"] == 7
    assert "assay: no report" in found["body"]
    assert "damaged" in found["body"]


def test_a_request_that_has_moved_on_gets_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = place(tmp_path)
    (tmp_path / "pulls.jsonl").write_bytes(pulls((7, "3" * 40, 99)))
    assert run([*given, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["request"] is None


def test_the_group_takes_a_default_command_once_it_has_one() -> None:
    called: list[str] = []
    app = typer.Typer(cls=group._Group)

    @app.command("init")
    def init() -> None:
        called.append("init")

    @app.command("run")
    def default(pipeline: str) -> None:
        called.append(pipeline)

    app(["pipelines/credit.py"], standalone_mode=False)
    app(["init"], standalone_mode=False)
    assert called == ["pipelines/credit.py", "init"]


# -- where a run says that it is -------------------------------------------------------------------


def test_github_names_the_commit_that_was_pushed_and_not_the_merge() -> None:
    environment = {
        "GITHUB_ACTIONS": "true",
        "GITHUB_SHA": "4" * 40,
        "GITHUB_REF": "refs/pull/7/merge",
        "GITHUB_HEAD_REF": "feature",
        "GITHUB_REPOSITORY": "a/b",
    }
    pull = {"pull_request": {"head": {"sha": COMMIT}, "base": {"sha": "2" * 40}}}
    found = source(environment, pull)
    assert (found.commit, found.base, found.branch, found.request) == (
        COMMIT,
        "2" * 40,
        "feature",
        7,
    )
    assert not found.may_write_cache
    assert source(environment, "nonsense").commit == "4" * 40


def test_github_names_what_a_push_moved_from() -> None:
    environment = {"GITHUB_ACTIONS": "true", "GITHUB_SHA": COMMIT, "GITHUB_REF": "refs/heads/main"}
    found = source(environment, {"before": "2" * 40})
    assert (found.commit, found.base, found.request) == (COMMIT, "2" * 40, None)
    assert found.may_write_cache
    assert source(environment, {"before": "0" * 40}).base == ""


def test_gitlab_names_a_merge_request() -> None:
    found = source(
        {
            "GITLAB_CI": "true",
            "CI_COMMIT_SHA": "4" * 40,
            "CI_MERGE_REQUEST_IID": "12",
            "CI_MERGE_REQUEST_SOURCE_BRANCH_SHA": COMMIT,
            "CI_MERGE_REQUEST_SOURCE_BRANCH_NAME": "feature",
            "CI_MERGE_REQUEST_DIFF_BASE_SHA": "2" * 40,
            "CI_PROJECT_PATH": "a/b",
        }
    )
    assert (found.commit, found.base, found.branch, found.request) == (
        COMMIT,
        "2" * 40,
        "feature",
        12,
    )
    assert not found.may_write_cache


@pytest.mark.parametrize("value", ["main", "", "1" * 39, "1" * 40 + "\n", "-" * 40, "G" * 40])
def test_a_malformed_commit_counts_as_unknown(value: str) -> None:
    assert source({"GITHUB_ACTIONS": "true", "GITHUB_SHA": value}).commit == ""
    assert source({"GITLAB_CI": "true", "CI_COMMIT_SHA": value}).commit == ""


def test_nobody_says_anything_on_a_laptop() -> None:
    found = source({"GITHUB_SHA": COMMIT})
    assert found.commit == ""
    assert found.may_write_cache
