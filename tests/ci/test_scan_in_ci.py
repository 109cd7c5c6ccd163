"""Scanning where people are: the reports' schemas, the pre-commit hook and the GitHub Action."""

from __future__ import annotations

import json
import os
import pickle
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from assay.ci.workflows import ACTIONS
from assay.cli import scan_reports
from assay.supply.batch import Answer, Batch, Found, Scanned
from assay.supply.suppressions import Trusted, entry, judge

from .conftest import ci_schema

yaml = pytest.importorskip("yaml")

ROOT = Path(__file__).parents[2]
ACTION = ROOT / "action.yml"
HOOKS = ROOT / ".pre-commit-hooks.yaml"
DIGEST = "sha256:" + "0" * 64
GOOD = pickle.dumps({"a": 1})
EVIL = b"cposix\nsystem\n(S'id'\ntR."
ODD = ("m.pkl", "a b/ü[1].pkl", "../x", "/abs/x", "::error::x", "</testcase>\x1b\udcff", "a\nb")


def outcome() -> scan_reports.Outcome:
    """Every verdict, odd names, and a finding that somebody answers for."""
    from datetime import date

    malicious = Found("pickle.global", "malicious", "!a/b.pkl+12", "reaches [os](http://x).system")
    unread = Found("format", "unscannable", "+0", "no known format")
    unknown = Found("not.in.the.catalogue", "suspicious", "+0", "\x00 odd \u202e")
    files = [
        Scanned(path, Answer("malicious", "zip", 9, [malicious, unread, unknown], 3, DIGEST))
        for path in ODD
    ]
    files.append(Scanned("ok.pkl", Answer("clean", "pickle", 3, [], 0)))
    files.append(Scanned("many", Answer("malicious", "pickle", 3, [], 500, DIGEST)))
    covered = entry(
        rule="not.in.the.catalogue".replace("not.in.the.", "a."), digest=DIGEST, reason="r",
        owner="o", added=date(2026, 1, 1), expires=date(2026, 2, 1),
    )  # fmt: skip
    known = entry(
        rule="format", digest=DIGEST, reason="r", owner="o", added=date(2026, 1, 1),
        expires=date(2026, 2, 1), accepts="unscannable",
    )  # fmt: skip
    trusted = Trusted((known, covered), ("ed25519:0",), (covered,))
    return scan_reports.Outcome(judge(Batch(files), trusted), trusted, "full", 2)


# -- schemas ---------------------------------------------------------------------------------------


def test_sarif_follows_the_schema_whatever_files_are_called(sarif_schema: dict[str, Any]) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    log = json.loads(scan_reports.sarif(outcome()))
    jsonschema.Draft7Validator(sarif_schema).validate(log)
    results = log["runs"][0]["results"]
    assert len(results) == 3 * len(ODD)
    assert sum("suppressions" in result for result in results) == len(ODD)
    rules = log["runs"][0]["tool"]["driver"]["rules"]
    assert all(rules[result["ruleIndex"]]["id"] == result["ruleId"] for result in results)


def test_no_two_results_of_one_file_have_one_fingerprint() -> None:
    log = json.loads(scan_reports.sarif(outcome()))
    marks = [r["partialFingerprints"]["assayFinding/v1"] for r in log["runs"][0]["results"]]
    assert len(set(marks)) == len(marks)


def test_junit_follows_the_schema_whatever_files_are_called(junit_schema: str) -> None:
    xmlschema = pytest.importorskip("xmlschema")
    xmlschema.XMLSchema(junit_schema).validate(scan_reports.junit(outcome()).decode())


# -- pre-commit ------------------------------------------------------------------------------------


def git(folder: Path, *words: str) -> None:
    env = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    who = ("-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false")
    subprocess.run(["git", *who, *words], cwd=folder, env=env, check=True, capture_output=True)


def repository(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir()
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    git(folder, "init", "--quiet", "--initial-branch=main")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message=x")
    return folder


def pre_commit(
    tmp_path: Path, hook: Path, files: dict[str, bytes]
) -> subprocess.CompletedProcess[str]:
    """Run the real pre-commit with the hook of a repository over files of another."""
    pytest.importorskip("pre_commit")
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    revision = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=hook, capture_output=True, text=True, check=True
    ).stdout.strip()
    config = {"repos": [{"repo": str(hook), "rev": revision, "hooks": [{"id": "assay-scan"}]}]}
    project = repository(
        tmp_path / "project", {**files, ".pre-commit-config.yaml": yaml.safe_dump(config).encode()}
    )
    env = {
        **os.environ,
        "PRE_COMMIT_HOME": str(tmp_path / "cache"),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    return subprocess.run(
        [sys.executable, "-m", "pre_commit", "run", "--all-files", "--color=never", "--verbose"],
        cwd=project, env=env, capture_output=True, text=True, timeout=600,
    )  # fmt: skip


FILES = {"models/good.pkl": GOOD, "train.py": b"print(1)\n", "picture.png": b"\x89PNG\r\n\x1a\n"}


def hook_repository(folder: Path) -> Path:
    """Our hook's definition with `assay` as it is installed here, so that nothing is built."""
    (hook,) = yaml.safe_load(HOOKS.read_bytes())
    hook["language"] = "system"
    return repository(folder, {".pre-commit-hooks.yaml": yaml.safe_dump([hook]).encode()})


def test_the_hook_passes_good_models_and_looks_at_nothing_else(tmp_path: Path) -> None:
    done = pre_commit(tmp_path, hook_repository(tmp_path / "hook"), FILES)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 file: 1 clean" in done.stdout


def test_the_hook_stops_a_commit_with_a_hostile_model(tmp_path: Path) -> None:
    files = {**FILES, "models/evil.bin": EVIL}
    done = pre_commit(tmp_path, hook_repository(tmp_path / "hook"), files)
    assert done.returncode == 1
    assert "exit code: 4" in done.stdout
    assert "models/evil.bin" in done.stdout


@pytest.mark.slow
def test_the_hook_is_built_from_this_repository_as_pre_commit_does_it(tmp_path: Path) -> None:
    hook = tmp_path / "hook"
    kept = ("src", "pyproject.toml", "README.md", "LICENSE", ".pre-commit-hooks.yaml")
    hook.mkdir()
    for name in kept:
        source = ROOT / name
        copy = shutil.copytree if source.is_dir() else shutil.copy
        copy(source, hook / name)
    shutil.rmtree(hook / "src" / "assay" / "__pycache__", ignore_errors=True)
    git(hook, "init", "--quiet", "--initial-branch=main")
    git(hook, "add", "--all")
    git(hook, "commit", "--quiet", "--message=x")
    done = pre_commit(tmp_path, hook, {**FILES, "models/evil.bin": EVIL})
    if "Could not find a version" in done.stdout or "ConnectionError" in done.stdout:
        pytest.skip("the hook's dependencies cannot be fetched")
    assert done.returncode == 1, done.stdout[-3000:]
    assert "1 clean, 1 malicious" in done.stdout


# -- the GitHub Action -----------------------------------------------------------------------------


def action() -> dict[str, Any]:
    return yaml.safe_load(ACTION.read_bytes())


def test_the_action_follows_the_schema() -> None:
    jsonschema = pytest.importorskip("jsonschema")
    jsonschema.Draft7Validator(ci_schema("github-actions")).validate(action())


def test_a_security_linter_finds_nothing_in_the_action(tmp_path: Path) -> None:
    place = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    zizmor = shutil.which("zizmor", path=place)
    if zizmor is None:
        pytest.skip("zizmor is not installed")
    shutil.copy(ACTION, tmp_path / "action.yml")
    words = ["--offline", "--no-progress", "--persona=auditor", "--format=json", "--no-exit-codes"]
    command = [zizmor, *words, "--strict-collection", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, check=True, timeout=120)
    assert [item["ident"] for item in json.loads(done.stdout) if not item.get("ignored")] == []


def test_nothing_from_outside_is_pasted_into_what_the_action_runs() -> None:
    for step in action()["runs"]["steps"]:
        assert "${{" not in step.get("run", "")


def test_the_action_names_other_actions_by_the_commits_that_our_workflows_do() -> None:
    used = re.findall(r"uses: (\S+ # \S+)", ACTION.read_text())
    assert used
    assert set(used) <= set(ACTIONS.values())
    page = (ROOT / "docs" / "scan-in-ci.md").read_text()
    theirs = re.findall(r"uses: ((?:actions|github)/\S+ # \S+)", page)
    assert theirs
    assert set(theirs) <= set(ACTIONS.values())


def test_the_page_lists_the_actions_inputs_with_their_defaults() -> None:
    page = (ROOT / "docs" / "scan-in-ci.md").read_text()
    for name, told in action()["inputs"].items():
        row = next(
            line for line in page.splitlines() if line.startswith("| `") and f"`{name}`" in line
        )
        assert not told["default"] or f"`{told['default']}`" in row


def step(tmp_path: Path, **given: str) -> tuple[subprocess.CompletedProcess[str], str]:
    """The action's step as the runner starts it."""
    if shutil.which("bash") is None:
        pytest.skip("bash is not installed")
    output = tmp_path / "output"
    output.write_text("")
    defaults = {
        f"INPUT_{name.replace('-', '_').upper()}": told["default"]
        for name, told in action()["inputs"].items()
    }
    defaults["INPUT_SARIF"] = defaults.pop("INPUT_SARIF_FILE")
    env = {
        **{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
        **defaults,
        "GITHUB_OUTPUT": str(output),
        "RUNNER_TEMP": str(tmp_path),
        "ASSAY": str(Path(sys.executable).parent / "assay"),
        **{f"INPUT_{name}": value for name, value in given.items()},
    }
    done = subprocess.run(
        ["bash", ROOT / "scripts" / "scan-action"],
        cwd=tmp_path / "project", env=env, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    return done, output.read_text()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    (folder / "models").mkdir(parents=True)
    (folder / "models" / "good.pkl").write_bytes(GOOD)
    (folder / "evil $(touch pwned).pkl").write_bytes(EVIL)
    return folder


def test_the_action_writes_annotations_a_report_and_its_outputs(
    tmp_path: Path, project: Path
) -> None:
    done, told = step(tmp_path)
    assert done.returncode == 4, done.stderr
    assert done.stdout.startswith("::error file=")
    assert "verdict=malicious\n" in told
    assert re.search(r"sarif-file<<(end-[0-9a-f]{32})\nassay-scan.sarif\n\1\n", told)
    assert json.loads((project / "assay-scan.sarif").read_bytes())["version"] == "2.1.0"


def test_what_the_workflow_gives_the_action_runs_nothing(tmp_path: Path, project: Path) -> None:
    hostile = "$(touch pwned)\n`touch pwned`; touch pwned\n--output=pwned\n'\"; touch pwned #"
    step(tmp_path, FAIL_ON=hostile)
    step(tmp_path, SUPPRESSIONS=hostile, KEY=hostile)
    step(tmp_path, PATHS=hostile, EXCLUDE=hostile, SARIF=hostile)
    assert not list(tmp_path.rglob("pwned"))
    done, told = step(tmp_path, PATHS="evil $(touch pwned).pkl", SARIF="a\nverdict=clean")
    assert done.returncode == 4
    assert not (project / "pwned").exists()
    assert told.splitlines()[0] == "verdict=malicious"


@pytest.mark.parametrize(
    ("fail_on", "code"), [("suspicious", 4), ("malicious", 4), ("never", 0), ("perhaps", 2)]
)
def test_the_action_fails_from_the_verdict_that_was_asked(
    tmp_path: Path, project: Path, fail_on: str, code: int
) -> None:
    assert project.is_dir()
    assert step(tmp_path, FAIL_ON=fail_on)[0].returncode == code


def test_the_action_never_passes_when_nothing_was_said_of_the_files(
    tmp_path: Path, project: Path
) -> None:
    assert project.is_dir()
    done, told = step(tmp_path, PATHS="nothing", FAIL_ON="never")
    assert (done.returncode, told) == (2, "")


def test_a_linter_of_shell_finds_nothing_in_the_step() -> None:
    place = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    shellcheck = shutil.which("shellcheck", path=place)
    if shellcheck is None:
        pytest.skip("shellcheck is not installed")
    done = subprocess.run(
        [shellcheck, ROOT / "scripts" / "scan-action"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout
