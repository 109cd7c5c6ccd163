"""``assay ci PIPELINE`` from the real command line: fresh checkouts, proposals, kept workspaces."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from assay.ci import comment
from assay.ci.model import Report, Source, decode, encode
from assay.cli import ci_source
from assay.cli.ledger import public_files
from assay.evidence import envelope as dsse
from assay.evidence import tlog_proof
from assay.workspace.layout import CONFIG

from ..ci import conftest as validators

sarif_schema, junit_schema = validators.sarif_schema, validators.junit_schema

SMALL = """
from assay.pipeline import pipeline, step


@step
def load(count: int) -> list[int]:
    return list(range(count))


@step
def total(values: list[int], factor: float) -> float:
    return sum(values) * factor


@pipeline(purpose="testing")
def small(count: int = 3, factor: float = 1.0):
    return total(load(count), factor)
"""
FAILING = """
from assay.pipeline import pipeline, step


@step
def broken(number: int) -> int:
    raise ValueError("no luck")


@pipeline
def failing():
    return broken(1)
"""
READING = """
from assay.pipeline import pipeline, read


@pipeline(purpose="credit-scoring")
def reading(name: str):
    return read("rows", purpose=name)
"""
TOML = """
format = "assay/config/v1"
workspace = "somebody's"
project = "fraud"
trust_root = "sha256:0000000000000000000000000000000000000000000000000000000000000000"

[projects.fraud.sources.tables]
url = "file:data"

[projects.fraud.sources.core]
url = "postgresql://reader@db.example/core"
credential = "env:CORE_PASSWORD"
"""
COMMIT, BASE = "1" * 40, "2" * 40
SERVERS = {"GITHUB_ACTIONS": "", "GITLAB_CI": "", "GITHUB_EVENT_PATH": ""}
"""What the server that runs these tests says of itself is not for them."""


def on_github(folder: Path, *, request: int | None, **event: Any) -> dict[str, str]:
    """The environment of a job for a pull request, or for a push to main."""
    told: dict[str, Any] = {"before": BASE, **event}
    reference = {"GITHUB_REF": "refs/heads/main", "GITHUB_REF_NAME": "main"}
    if request is not None:
        told = {"pull_request": {"head": {"sha": COMMIT}, "base": {"sha": BASE}}}
        reference = {
            "GITHUB_REF": f"refs/pull/{request}/merge",
            "GITHUB_REF_NAME": f"{request}/merge",
            "GITHUB_HEAD_REF": "better",
        }
    path = folder / "event.json"
    path.write_text(json.dumps(told))
    return {
        "GITHUB_ACTIONS": "true",
        "GITLAB_CI": "",
        "GITHUB_SHA": COMMIT,
        "GITHUB_REPOSITORY": "bank/credit",
        "GITHUB_EVENT_PATH": str(path),
        **reference,
    }


def report(here: Any, folder: str = "assay-report") -> Report:
    return decode((here.ws / folder / "gates.json").read_bytes())


def states(found: Report) -> dict[str, str]:
    return {step.name: step.state for step in found.steps}


def tree(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="session")
def _cached(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A checkout without a workspace in which the pipeline has run once, with a cache."""
    from .conftest import Here

    here = Here(tmp_path_factory.mktemp("cached") / "it")
    here.ws.mkdir(parents=True)
    (here.ws / "small.py").write_text(SMALL)
    here.ok("ci", "small.py", "--out", "first", ASSAY_CI_CACHE="cache", **SERVERS)
    return here


@pytest.fixture
def cached(_cached: Any, tmp_path: Path) -> Any:
    shutil.copytree(_cached.folder, tmp_path / "cached", symlinks=True)
    return type(_cached)(tmp_path / "cached")


# -- a fresh checkout ------------------------------------------------------------------------------


def test_a_fresh_checkout_needs_no_workspace_and_no_key(cached: Any) -> None:
    found = report(cached, "first")
    assert (found.verdict, found.project) == ("passed", "ci")
    assert states(found) == {"load": "done", "total": "done"}
    notes = {finding.rule: finding.message for finding in found.findings}
    assert "nobody vouches for its key" in notes["ci/development-workspace"]
    assert "whoever can read the cache can sign with it" in notes["ci/development-workspace"]
    # Nothing of the user's is touched: the keys lie in the cache, as does what is remembered.
    assert not (cached.folder / "keys").exists()
    assert not (cached.folder / "state").exists()
    assert (cached.ws / "cache" / "keys" / "ci.pem").stat().st_mode & 0o077 == 0
    assert sorted(path.name for path in cached.ws.iterdir()) == ["cache", "first", "small.py"]


def test_without_a_cache_nothing_stays_but_the_report(empty: Any) -> None:
    (empty.ws / "small.py").write_text(SMALL)
    done = empty.ok("ci", "small.py", **SERVERS)
    assert done.out.startswith("✓ passed: every step is done")
    assert sorted(path.name for path in empty.ws.iterdir()) == ["assay-report", "small.py"]


def test_a_second_run_takes_from_the_cache_and_says_what_changed(cached: Any) -> None:
    given = {"ASSAY_CI_CACHE": "cache", **SERVERS}
    cached.ok("ci", "small.py", "--out", "same", **given)
    assert set(states(report(cached, "same")).values()) == {"cached"}
    changed = SMALL.replace("sum(values) * factor", "sum(values) * factor + 1")
    (cached.ws / "small.py").write_text(changed)
    cached.ok("ci", "small.py", "--out", "changed", **given)
    found = report(cached, "changed")
    assert [(change.name, change.kind) for change in found.code] == [("small", "changed")]
    assert all("code" in step.why[0] for step in found.steps)


def test_an_interrupted_beginning_is_made_anew(empty: Any) -> None:
    (empty.ws / "small.py").write_text(SMALL)
    (empty.ws / "cache" / "keys").mkdir(parents=True)
    (empty.ws / "cache" / "keys" / "ci.pem").write_text("half a k")
    empty.ok("ci", "small.py", ASSAY_CI_CACHE="cache", **SERVERS)


@pytest.mark.parametrize("harm", ["key", "ledger"])
def test_a_damaged_cache_is_refused_with_the_remedy(cached: Any, harm: str) -> None:
    cache = cached.ws / "cache"
    if harm == "key":
        (cache / "keys" / "ci.pem").unlink()
    else:
        (cache / ".assay" / "ledger" / "checkpoint").write_text("nothing")
    done = cached("ci", "small.py", ASSAY_CI_CACHE="cache", **SERVERS)
    assert done.code in (1, 4)
    assert "remove it: it is made anew" in done.err
    assert not (cached.ws / "assay-report").exists()


def test_an_older_cache_that_is_restored_is_no_attack(cached: Any) -> None:
    older = cached.ws / "older"
    shutil.copytree(cached.ws / "cache", older)
    given = {**SERVERS}
    cached.ok("ci", "small.py", "--set", "count=4", "--out", "a", ASSAY_CI_CACHE="cache", **given)
    shutil.rmtree(cached.ws / "cache")
    older.rename(cached.ws / "cache")
    cached.ok("ci", "small.py", "--out", "b", ASSAY_CI_CACHE="cache", **given)


# -- proposals -------------------------------------------------------------------------------------


def test_a_proposal_reads_the_cache_and_leaves_it_as_it_was(cached: Any) -> None:
    before = tree(cached.ws / "cache")
    given = {"ASSAY_CI_CACHE": "cache", **on_github(cached.folder, request=7)}
    cached.ok("ci", "small.py", "--set", "factor=2.0", "--out", "proposed", **given)
    found = report(cached, "proposed")
    assert states(found) == {"load": "cached", "total": "done"}
    assert found.source == Source(
        commit=COMMIT, base=BASE, branch="better", repository="bank/credit"
    )
    assert tree(cached.ws / "cache") == before
    again = {"ASSAY_CI_CACHE": "cache", **on_github(cached.folder, request=None)}
    cached.ok("ci", "small.py", "--set", "factor=2.0", "--out", "merged", **again)
    assert states(report(cached, "merged")) == {"load": "cached", "total": "done"}


def test_a_proposal_without_a_cache_makes_none(empty: Any) -> None:
    (empty.ws / "small.py").write_text(SMALL)
    given = {"ASSAY_CI_CACHE": "cache", **on_github(empty.folder, request=7)}
    empty.ok("ci", "small.py", **given)
    assert not (empty.ws / "cache").exists()


def test_no_result_of_a_proposal_is_found_by_others_in_a_kept_workspace(founded: Any) -> None:
    (founded.ws / "small.py").write_text(SMALL)
    given = on_github(founded.folder, request=7)
    for out in ("one", "two"):
        founded.ok("ci", "small.py", "--out", out, by="alice", **given)
        assert set(states(report(founded, out)).values()) == {"done"}
    founded.ok("ci", "small.py", "--out", "three", by="alice", **SERVERS)
    assert set(states(report(founded, "three")).values()) == {"done"}
    founded.ok("ci", "small.py", "--out", "four", by="alice", **given)
    assert set(states(report(founded, "four")).values()) == {"cached"}


# -- the same here and there -----------------------------------------------------------------------


def git(folder: Path, *args: str) -> str:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    who = ["-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "commit.gpgsign=false"]
    done = subprocess.run(
        ["git", *who, *args], cwd=folder, env=environment, capture_output=True, check=True
    )
    return done.stdout.decode().strip()


needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


def commit(folder: Path, name: str) -> str:
    git(folder, "add", "small.py")
    git(folder, "commit", "--quiet", "--allow-empty", "--message", name)
    return git(folder, "rev-parse", "HEAD")


def repository(folder: Path) -> tuple[str, str]:
    """A repository with two commits on main; their names."""
    git(folder, "init", "--quiet", "--initial-branch", "main")
    git(folder, "remote", "add", "origin", "git@github.com:bank/credit.git")
    (folder / "small.py").write_text(SMALL)
    return commit(folder, "one"), commit(folder, "two")


def comparable(here: Any, folder: str) -> tuple[dict[str, bytes], set[str]]:
    """The files that any run of the same makes the same, without seconds; and all names."""
    found = tree(here.ws / folder)
    document = json.loads(found["gates.json"])
    for step in document["steps"]:
        step["seconds"] = 0
    page = found["report.md"].decode().splitlines()
    found["gates.json"] = json.dumps(document).encode()
    found["report.md"] = "\n".join(line for line in page if "| `full` |" not in line).encode()
    wanted = ("gates.json", "report.md", "assay.sarif")
    return {name: found[name] for name in wanted}, set(found)


@needs_git
def test_a_run_here_gives_the_report_that_the_server_gives(tmp_path: Path) -> None:
    from .conftest import Here

    here, there = Here(tmp_path / "a"), Here(tmp_path / "somewhere" / "else")
    for place in (here, there):
        place.ws.mkdir(parents=True)
    base, head = repository(here.ws)
    (there.ws / "small.py").write_text(SMALL)
    pushed = on_github(there.folder, request=None, before=base)
    there.ok("ci", "small.py", **{**pushed, "GITHUB_SHA": head})
    # What a server says is not asked with --local.
    here.ok("ci", "small.py", "--local", **on_github(here.folder, request=9))
    assert comparable(here, "assay-report") == comparable(there, "assay-report")
    found = report(here)
    assert found.source == Source(commit=head, base=base, branch="main", repository="bank/credit")
    files = {k: v for k, v in tree(here.ws / "assay-report").items() if "/" not in k}
    # Of the proof what it says in words: among its hashes and signatures any two letters occur.
    opened = tlog_proof.open_leaf(tlog_proof.decode(files.pop("log.tlog-proof")).extra).envelope
    assert opened is not None
    whole = b"".join([*files.values(), opened.statement().encode()])
    for private in (str(tmp_path), os.uname().nodename, found.source.branch + "@"):
        assert private.encode() not in whole


@needs_git
def test_the_base_of_a_branch_is_where_it_left_the_default_branch(tmp_path: Path) -> None:
    _, head = repository(tmp_path)
    git(tmp_path, "switch", "--quiet", "--create", "better")
    last = commit(tmp_path, "three")
    found = ci_source.of_git(tmp_path)
    assert found == Source(commit=last, base=head, branch="better", repository="bank/credit")
    git(tmp_path, "switch", "--quiet", "--detach")
    assert ci_source.of_git(tmp_path).branch == ""


@needs_git
def test_the_first_commit_has_no_base(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet", "--initial-branch", "main")
    assert ci_source.of_git(tmp_path) == Source()
    (tmp_path / "small.py").write_text(SMALL)
    head = commit(tmp_path, "one")
    assert ci_source.of_git(tmp_path) == Source(commit=head, branch="main")


def test_without_git_nothing_is_known_and_nothing_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ci_source.of_git(tmp_path) == Source()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert ci_source.of_git(Path.cwd()) == Source()


@pytest.mark.parametrize("text", ["", "nothing", "[" * 100_000, '{"pull_request": 3}'])
def test_an_event_that_cannot_be_read_counts_as_unknown(tmp_path: Path, text: str) -> None:
    given = on_github(tmp_path, request=7)
    (tmp_path / "event.json").write_text(text)
    found = ci_source.found(tmp_path, given, local=False)
    assert (found.commit, found.request) == (COMMIT, 7)
    (tmp_path / "event.json").unlink()
    assert ci_source.found(tmp_path, given, local=False) == found


# -- what is left behind ---------------------------------------------------------------------------


def test_the_runs_statement_is_proven_to_be_on_the_ledger(
    cached: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(next(cached.ws.rglob(CONFIG)).parent)
    log = str(public_files()[1])
    folder = tmp_path / "report"
    shutil.copytree(cached.ws / "first", folder)
    told = cached.ok("verify", folder, "--vkey", log, "--json").json
    assert (told["what"], told["size"] > 3) == ("tlog-proof", True)
    statement = folder / "statements" / "pipeline-run.dsse.json"
    for wrong in (folder / "statements" / "provenance-load.dsse.json", folder / "gates.json"):
        shutil.copy(wrong, statement)
        refused = cached("verify", folder, "--vkey", log)
        assert refused.code == 4
        assert "is not the statement that" in refused.err


def test_statements_of_cached_steps_are_there_too(cached: Any) -> None:
    cached.ok("ci", "small.py", "--out", "same", ASSAY_CI_CACHE="cache", **SERVERS)
    names = {"pipeline-run", "provenance-load", "provenance-total"}
    for folder in ("first", "same"):
        found = report(cached, folder)
        assert {statement.name for statement in found.statements} == names

    def envelope(folder: str, name: str) -> dsse.Envelope:
        return dsse.decode((cached.ws / folder / "statements" / f"{name}.dsse.json").read_bytes())

    assert envelope("first", "provenance-load") == envelope("same", "provenance-load")
    assert envelope("first", "pipeline-run") != envelope("same", "pipeline-run")


def valid(folder: Path, sarif_schema: dict[str, Any], junit_schema: str) -> None:
    """Every file against the schema or the parser of those who read it."""
    jsonschema = pytest.importorskip("jsonschema")
    xmlschema = pytest.importorskip("xmlschema")
    parser = pytest.importorskip("prometheus_client.openmetrics.parser")
    log = json.loads((folder / "assay.sarif").read_bytes())
    jsonschema.Draft7Validator(sarif_schema).validate(log)
    xmlschema.XMLSchema(junit_schema).validate((folder / "junit.xml").read_text())
    text = (folder / "metrics.txt").read_text()
    names = [family.name for family in parser.text_string_to_metric_families(text)]
    assert "assay_verdict" in names
    document = (folder / "gates.json").read_bytes()
    assert encode(decode(document)) == document
    # What comments on a pull request takes it, too.
    assert comment.read(folder) == decode(document)
    for path in (folder / "statements").iterdir():
        dsse.decode(path.read_bytes()).statement()


def test_every_file_is_what_its_readers_take(
    cached: Any, sarif_schema: dict[str, Any], junit_schema: str
) -> None:
    valid(cached.ws / "first", sarif_schema, junit_schema)


# -- verdicts --------------------------------------------------------------------------------------


def test_a_step_that_fails_is_an_error_with_a_report(cached: Any) -> None:
    (cached.ws / "failing.py").write_text(FAILING)
    done = cached("ci", "failing.py", "--json", ASSAY_CI_CACHE="cache", **SERVERS)
    found = report(cached)
    assert (done.code, done.json["verdict"], found.verdict) == (1, "error", "error")
    assert "no luck" in found.why
    assert found.steps[0].state == "failed"
    assert "assay run logs latest broken" in found.steps[0].remedy
    assert done.json["run"] not in (cached.ws / "assay-report" / "gates.json").read_text()


def test_a_file_that_is_no_pipeline_is_an_error_with_a_report(cached: Any) -> None:
    (cached.ws / "broken.py").write_text("def (")
    done = cached("ci", "broken.py", ASSAY_CI_CACHE="cache", **SERVERS)
    assert done.code not in (0, 3)
    assert done.out.startswith("! error: ")
    assert report(cached).verdict == "error"
    assert str(cached.folder) not in report(cached).why


def test_what_policy_denies_is_failed_with_the_closed_gates(founded: Any) -> None:
    (founded.ws / "reading.py").write_text(READING)
    rows = founded.folder / "rows.csv"
    rows.write_text("a,b\n" + "".join(f"{n},{n % 7}\n" for n in range(60)))
    founded.ok(
        *("data", "register", rows, "--owner", "risk", "--origin", "x", "--licence", "internal"),
        *("--purpose", "credit-scoring", "--legal-basis", "contract", "--residency", "local"),
        by="alice",
    )
    given = ["ci", "reading.py", "--set", "name=advertising"]
    done = founded(*given, by="alice", **SERVERS)
    assert done.code == 3, done
    found = report(founded)
    assert (found.verdict, [gate.id for gate in found.closed]) == ("failed", ["data.purpose"])
    assert found.why == "policy denied what the run asked for: data.purpose"
    assert done.out.startswith("✗ failed: policy denied")


def test_nobody_without_a_role_gets_a_report(founded: Any, enrol: Callable[..., None]) -> None:
    (founded.ws / "small.py").write_text(SMALL)
    enrol(founded, "dave")
    done = founded("ci", "small.py", by="dave", **SERVERS)
    assert done.code == 3
    assert not (founded.ws / "assay-report").exists()


def test_a_service_runs_it_in_a_kept_workspace_by_its_token(founded: Any) -> None:
    (founded.ws / "small.py").write_text(SMALL)
    founded.ok("actor", "enrol", "bot", "--kind", "service", "--role", "fraud/pipeline", by="alice")
    made = founded.ok("token", "create", "--for", "bot", "--json", by="alice").json
    done = founded.ok("ci", "small.py", "--json", ASSAY_TOKEN=made["secret"], **SERVERS)
    assert done.json["verdict"] == "passed"
    assert "ci/development-workspace" not in {f.rule for f in report(founded).findings}
    refused = founded("ci", "small.py", "--out", "no", ASSAY_TOKEN="assay_x_y", **SERVERS)
    assert refused.code == 3
    assert not (founded.ws / "no").exists()


# -- what is refused before any work ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--out", "first"], "only written into a new folder"),
        (["--out", "no/where"], "there is no folder"),
        (["--for", "moon"], "stage"),
        (["--base", "credit"], "no version to compare with"),
        (["--base", "credit@3"], "does not exist"),
        (["--set", "count"], "names no parameter"),
    ],
)
def test_what_cannot_be_done_is_said_before_any_work(
    cached: Any, given: list[str], said: str
) -> None:
    before = tree(cached.ws / "first")
    done = cached("ci", "small.py", *given, ASSAY_CI_CACHE="cache", **SERVERS)
    assert done.code in (1, 2)
    assert said in done.err
    assert tree(cached.ws / "first") == before
    assert not (cached.ws / "assay-report").exists()


def test_options_may_stand_before_the_pipeline_and_commands_stay_commands(cached: Any) -> None:
    cached.ok("ci", "--json", "small.py", ASSAY_CI_CACHE="cache", **SERVERS)
    assert "init" in cached.ok("ci", "--help").out
    assert "--base" in cached.ok("ci", "run", "--help").out


# -- policy and sources of the checkout ------------------------------------------------------------


def test_the_checkouts_policy_is_applied_and_a_change_of_it_is_told(empty: Any) -> None:
    from assay.policy.bundle import write_defaults

    (empty.ws / "small.py").write_text(SMALL)
    (empty.ws / CONFIG).write_text(TOML)
    write_defaults(empty.ws / "policy")
    given = {"ASSAY_CI_CACHE": "cache", **SERVERS}
    empty.ok("ci", "small.py", "--out", "one", **given)
    one = report(empty, "one")
    assert one.project == "fraud"
    assert "ci/policy-changed" not in {finding.rule for finding in one.findings}
    settings = empty.ws / "policy" / "settings.toml"
    settings.write_text(settings.read_text().replace('"local", "ray"]', '"ray"]'))
    done = empty("ci", "small.py", "--out", "two", **given)
    found = report(empty, "two")
    assert (done.code, [gate.id for gate in found.closed]) == (3, ["run.executor"])
    (told,) = [finding for finding in found.findings if finding.rule == "ci/policy-changed"]
    assert told.level == "warning"
    (empty.ws / "policy" / "gates.cedar").write_text("forbid (")
    assert empty("ci", "small.py", "--out", "three", **given).code == 2
    assert not (empty.ws / "three").exists()


def test_a_source_that_needs_a_secret_is_not_there(empty: Any) -> None:
    (empty.ws / "small.py").write_text(SMALL)
    (empty.ws / CONFIG).write_text(TOML)
    empty.ok("ci", "small.py", CORE_PASSWORD="hunter2", **SERVERS)
    found = {finding.rule: finding for finding in report(empty).findings}
    assert "Source core of project fraud needs a secret" in found["ci/source"].message
    for data in tree(empty.ws / "assay-report").values():
        assert b"hunter2" not in data
