"""The report of a living endpoint: from what counts on the ledger, and as of its checkpoint."""

from __future__ import annotations

import base64
import json
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from actions.test_monitoring import ENDPOINT, PROJECT, ROWS, answer, give, later, old, round_
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from workspace.town import Town, copy_of, numbers

from assay.actions import passports
from assay.actions.baselines import SetBaseline
from assay.actions.incidents import OpenIncident
from assay.actions.monitor_reports import report_of
from assay.actions.reading import ReadEvidence
from assay.actions.release import Hold
from assay.cli.app import run
from assay.clock import timestamp
from assay.errors import Denied, NotFound
from assay.govern.passport import Passport
from assay.govern.passport import render as render_passport
from assay.monitor.report import as_json, page
from assay.monitor.report.model import Report
from assay.monitor.report.openmetrics import render
from assay.monitor.report.verdict import verdict

DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def deployed(built: Town, tmp_path_factory: pytest.TempPathFactory) -> Town:
    with pytest.MonkeyPatch.context() as environment:
        town = copy_of(built, tmp_path_factory.mktemp("deployed") / "town", environment)
        town.deploy()
        town.close()
        return town


@pytest.fixture(scope="module")
def lived(deployed: Town, tmp_path_factory: pytest.TempPathFactory) -> Town:
    """Two quiet windows with labels; then those come whom training hardly saw, half of the labels
    with them."""
    with pytest.MonkeyPatch.context() as environment:
        town = copy_of(deployed, tmp_path_factory.mktemp("lived") / "town", environment)
        asked = SetBaseline(
            project=PROJECT,
            model=ENDPOINT,
            version="1",
            window=f"{ROWS}rows",
            horizon="10d",
            slices=("c",),
        )
        town.do("eve", asked)
        for seed in (21, 22):
            give(town, answer(town, numbers(ROWS, seed)))
            later(town, DAY)
        give(town, answer(town, old(23))[: ROWS // 2])
        later(town, DAY)
        round_(town)
        town.close()
        return town


@pytest.fixture
def town(lived: Town, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Town:
    return copy_of(lived, tmp_path / "town", monkeypatch)


def report(town: Town) -> Report:
    town.ws.view.follow()
    names = town.ws.directory.names()
    return report_of(town.ws.view, PROJECT, ENDPOINT, names=names)


def test_the_verdict_says_what_changed_since_when_and_what_to_do(town: Town) -> None:
    made = report(town)
    found = verdict(made)
    assert found.state == "changed"
    assert found.since == made.windows[2].begin
    assert any(step.startswith("assay retrain score") for step in found.steps)
    assert [w.number for w in made.windows] == [1, 2, 3]
    assert made.windows[2].streams["data_drift"].crossed
    assert not made.windows[1].streams["data_drift"].crossed
    assert max(made.features, key=lambda f: f.log_e).name == "a"
    assert {alert.kind for alert in made.alerts} >= {"data_drift"}


def test_estimates_labels_and_the_baseline_come_from_their_statements(town: Town) -> None:
    made = report(town)
    first, last = made.windows[0], made.windows[2]
    assert first.coverage == 1.0
    assert first.measured["accuracy"].lower is not None
    assert first.estimated["accuracy"].upper is not None
    assert last.coverage is None
    assert made.labels is not None
    assert (made.labels.rows, made.labels.labelled) == (3 * ROWS, 2 * ROWS)
    assert made.labels.waiting == ROWS // 2, "given, and not counted before the horizon"
    assert made.baseline is not None
    assert made.baseline.leaf is not None
    leaf = town.ws.view.leaf(made.baseline.leaf)
    assert leaf.envelope is not None
    assert b"baseline/v1" in base64.b64decode(json.loads(leaf.envelope)["payload"])
    assert made.happenings[0].title == "What is normal for version 1"
    assert made.happenings[0].source == f"leaf {made.baseline.leaf}"


def test_the_page_names_the_checkpoint_that_it_is_as_of(town: Town) -> None:
    made = report(town)
    assert made.about.checkpoint_size == town.size
    before = page(made)
    assert f"checkpoint {town.size:,}" in before
    town.do("eve", Hold(project=PROJECT, model=ENDPOINT, version="1", reason="look at it"))
    after = report(town)
    assert after.about.checkpoint_size > made.about.checkpoint_size
    assert after.about.stopped
    assert "The endpoint is stopped: it answers nobody." in page(after)


def test_the_same_ledger_gives_the_same_page(town: Town) -> None:
    first = page(report(town))
    town.reopen()
    assert page(report(town)) == first


def test_an_endpoint_without_a_baseline_is_unwatched_and_not_well(
    deployed: Town, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    town = copy_of(deployed, tmp_path / "town", monkeypatch)
    found = verdict(report(town))
    assert (found.tone, found.state) == ("unknown", "unwatched")
    assert found.steps == ("assay monitor baseline score@1 --project alpha",)


def test_an_endpoint_that_never_was_is_not_found(town: Town) -> None:
    with pytest.raises(NotFound):
        report_of(town.ws.view, PROJECT, "nobody")


def test_what_a_person_signed_or_another_producer_says_is_on_no_page(town: Town) -> None:
    before = as_json(report(town))
    (said,) = town.statements("baseline")
    subject = next(s for s in said.subject if s.name.startswith("monitor:"))
    windows = town.statements("window")
    where = next(s for s in windows[0].subject if s.name.startswith("monitor-windows:"))
    told = {**windows[0].predicate, "number": 9, "rows": 10**9}
    challenge = {"won": True, "mean": {"value": 1}, "challenger": {"version": "9"}}
    for kind, predicate, about, producer, signer in (
        ("window", told, where, "assay.monitor/1", town.people["eve"]),
        ("window", told, where, "somebody/1", town.workspace_key),
        ("challenge", challenge, subject, "assay.monitor.loop/1", town.people["eve"]),
        ("challenge", challenge, subject, "somebody/1", town.workspace_key),
    ):
        digest = f"sha256:{about.digest['sha256']}"
        forged = town.statement(kind, predicate, PROJECT, about=digest, producer=producer)
        town.slip_in(forged, signer)
    after = as_json(report(town))
    for changing in ("checkpoint_size", "checkpoint_time", "checkpoint_root"):
        del before["about"][changing], after["about"][changing]
    assert after == before


def test_a_statement_of_the_loop_that_cannot_be_read_is_said_to_be_there(town: Town) -> None:
    (said,) = town.statements("baseline")
    subject = next(s for s in said.subject if s.name.startswith("monitor:"))
    odd = town.statement(
        "retraining",
        {"stage": "dancing", "id": "r"},
        PROJECT,
        about=f"sha256:{subject.digest['sha256']}",
        producer="assay.monitor.loop/1",
    )
    town.slip_in(odd, town.workspace_key)
    assert report(town).happenings[-1].text == "This assay cannot read it."


def test_the_clocks_of_an_incident_are_on_the_page_and_among_the_figures(town: Town) -> None:
    town.do(
        "eve",
        OpenIncident(
            project=PROJECT,
            endpoint=ENDPOINT,
            reason="wrong refusals of a group",
            aware=timestamp(town.clock.now()),
        ),
    )
    made = report(town)
    (incident,) = made.incidents
    assert incident.title == "wrong refusals of a group"
    assert {d.name for d in incident.deadlines} >= {"GDPR, Article 33(1)"}
    assert all(d.open for d in incident.deadlines)
    assert "GDPR, Article 33(1)" in page(made)
    assert b"assay_monitor_deadline_timestamp_seconds{" in render(made)


def test_a_page_holds_no_row_no_person_and_no_prediction(town: Town) -> None:
    shown = page(report(town)) + json.dumps(as_json(report(town)))
    for window in town.statements("window"):
        for name in window.predicate["ids"]:
            assert name not in shown
    assert "id-web" not in shown


# -- in the passport ------------------------------------------------------------------------------


def of_version(town: Town) -> Passport:
    town.ws.view.follow()
    who = town.who("una")
    view = town.do("una", ReadEvidence(project=PROJECT))
    return passports.build(town.ws, who, view, project=PROJECT, model=ENDPOINT, version="1")


def test_the_passport_shows_the_drift_and_what_is_normal(town: Town) -> None:
    made = of_version(town)
    assert made.watched is not None
    assert made.watched.title.startswith("Something has changed, since ")
    inputs = next(line for line in made.watched.evidence if line.name == "inputs")
    assert len(inputs.powers) == 3
    assert (inputs.powers[1] or 0.0) < 0.0 <= (inputs.powers[2] or 0.0)
    assert any("at most 1 false alarm a year" in line for line in made.watched.lines)
    assert any(claim.title == "What is normal for version 1" for claim in made.proven)
    shown = render_passport(made)
    assert '<svg class="drift"' in shown
    assert "What is normal for version 1" in shown


def test_the_passport_of_what_was_never_used_or_watched_says_so(
    built: Town, deployed: Town, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unused = of_version(copy_of(built, tmp_path / "unused", monkeypatch)).watched
    assert unused is not None
    assert "never put to use" in unused.title
    unwatched = of_version(copy_of(deployed, tmp_path / "unwatched", monkeypatch)).watched
    assert unwatched is not None
    assert (unwatched.title, unwatched.begins) == ("Nothing is watched yet", ())


# -- from the command line ------------------------------------------------------------------------


@pytest.fixture
def assay(town: Town, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """``assay ARGS`` in the town, as somebody."""
    monkeypatch.chdir(town.repo)
    monkeypatch.setattr("assay.workspace.opening.open_workspace", lambda: town.ws)

    def call(*args: str, by: str = "eve") -> tuple[int, str, str]:
        monkeypatch.setattr("assay.cli.personal.load_key", lambda _: (town.people[by], False))
        capsys.readouterr()
        code = run([*args, "--as", by, "--project", PROJECT])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return call


def test_the_command_says_the_verdict_and_writes_the_page(assay: Any, town: Town) -> None:
    code, said, _ = assay("monitor", "report", ENDPOINT, "--out", "report.html")
    assert code == 0
    assert said.startswith("Something has changed, since ")
    assert "wrote report.html" in said
    assert (town.repo / "report.html").read_text().startswith("<!doctype html>")
    code, _, why = assay("monitor", "report", ENDPOINT, "--out", "report.html")
    assert code == 1
    assert "exists" in why


def test_the_command_prints_everything_as_json_and_writes_nothing_then(
    assay: Any, town: Town
) -> None:
    code, said, _ = assay("monitor", "report", ENDPOINT, "--json")
    assert code == 0
    told = json.loads(said)
    assert told["format"] == "assay/monitor-report/v1"
    assert told["verdict"]["state"] == "changed"
    assert len(told["windows"]) == 3
    assert not list(town.repo.glob("monitor-*.html"))


def test_metrics_of_all_endpoints_are_one_exposition_that_a_parser_reads(
    assay: Any, town: Town
) -> None:
    code, said, _ = assay("monitor", "metrics")
    assert code == 0
    families = {f.name: f for f in text_string_to_metric_families(said)}
    alarms = {s.labels["stream"]: s.value for s in families["assay_monitor_alarms"].samples}
    assert alarms["data_drift"] == 1.0
    code, _, _ = assay("monitor", "metrics", ENDPOINT, "--out", "assay.prom")
    assert code == 0
    code, _, _ = assay("monitor", "metrics", ENDPOINT, "--out", "assay.prom")
    assert code == 0, "a timer writes it again and again"
    assert re.search(r"# EOF\n\Z", (town.repo / "assay.prom").read_text())


def test_who_may_not_read_evidence_gets_no_page(assay: Any, town: Town) -> None:
    town.enrol("zoe")
    code, said, why = assay("monitor", "report", ENDPOINT, by="zoe")
    assert code == Denied.exit_status
    assert said == ""
    assert "readEvidence" in why
    assert not list(town.repo.glob("monitor-*.html"))
