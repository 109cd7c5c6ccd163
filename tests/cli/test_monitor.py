"""``assay monitor run|status``: what is waited for is said, and never looks like all being well."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Generator
from pathlib import Path
from unittest import mock

import pytest

from assay import ids
from assay.cli.session import Session
from assay.monitor.log import PredictionLog
from assay.monitor.spool import Record, Values

from .conftest import Here, copy_of

BASELINE = ("monitor", "baseline", "credit@1", "--data", "holdout")
ONCE = ("monitor", "run", "credit", "--once")
STATUS = ("monitor", "status", "credit")


@contextlib.contextmanager
def as_alice(here: Here) -> Generator[Session]:
    """The person's own session, for what a server does and no command."""
    given = {
        "ASSAY_KEYS": str(here.folder / "keys"),
        "XDG_STATE_HOME": str(here.folder / "state"),
        "XDG_CONFIG_HOME": str(here.folder / "config"),
    }
    with contextlib.chdir(here.ws), mock.patch.dict(os.environ, given):
        yield Session("alice", "", True)


def answer(session: Session, rows: int) -> PredictionLog:
    """The log of a server that answered one request of so many rows, and still has it open."""
    from assay.actions.prediction_records import open_log
    from assay.clock import timestamp
    from assay.monitor.segments import Column, Output

    columns = session.workspace.view.dataset("fraud", "holdout").details["schema"]
    label = session.workspace.view.version("fraud", "credit", "1").details["label"]
    names = [str(column["name"]) for column in columns if column["name"] != label]
    log = open_log(
        session.workspace,
        "fraud",
        "1",
        endpoint="credit",
        inputs=[Column(name, "FP32") for name in names],
        outputs=[Output("probabilities", "FP32", [-1, 2], [0, 1])],
    )
    at = timestamp(session.workspace.clock.now())
    given = {name: [float(i) for i in range(rows)] for name in names}
    scores = Values("probabilities", [rows, 2], [0.25, 0.75] * rows)
    log.record(Record(ids.new_id(), at, "1", "web", given, {}, [scores]))
    return log


@pytest.fixture(scope="session")
def _deployed(_promoted: Here, tmp_path_factory: pytest.TempPathFactory) -> Here:
    from assay.actions.serving import Deploy

    here = copy_of(_promoted, tmp_path_factory.mktemp("deployed") / "it")
    with as_alice(here) as session:
        session.perform(
            Deploy(project="fraud", model="credit", version="production", stage="production")
        )
    return here


@pytest.fixture
def deployed(_deployed: Here, tmp_path: Path) -> Here:
    return copy_of(_deployed, tmp_path / "it")


def test_a_round_over_a_version_that_nobody_watches_says_so_and_what_to_do(deployed: Here) -> None:
    for words in (ONCE, STATUS):
        done = deployed.ok(*words, by="alice")
        assert "credit@1 is not watched" in done.out
        assert "assay monitor baseline credit@1" in done.out
        assert "nothing new" not in done.out
        assert "no alert is open" not in done.out
    assert deployed.ok(*ONCE, "--json", by="alice").json["watched"] is False


def test_what_a_running_server_has_is_counted_and_said_to_be_its_own(deployed: Here) -> None:
    deployed.ok(*BASELINE, "--window", "50rows", by="alice")
    assert (
        "nothing was answered yet" in deployed.ok("predictions", "list", "credit", by="alice").out
    )
    with as_alice(deployed) as session:
        log = answer(session, 20)
        for words in (("predictions", "list", "credit"), ("predictions", "seal", "credit")):
            said = " ".join(deployed.ok(*words, by="alice").out.split())
            assert "1 answered request with a running server" in said
        said = " ".join(deployed.ok(*ONCE, by="alice").out.split())
        assert "the next window has 0 of 50 rows; 1 answer is not sealed yet" in said
        log.roll()
    assert "the next window has 20 of 50 rows" in deployed.ok(*ONCE, by="alice").out
    told = deployed.ok(*STATUS, "--json", by="alice").json
    assert (told["next"]["rows"], told["next"]["of"], told["next"]["unsealed"]) == (20, 50, 0)
    assert (told["windows"], told["state"], told["streams"]) == (0, None, {})


def test_with_windows_by_time_it_says_when_the_next_one_ends(deployed: Here) -> None:
    deployed.ok(*BASELINE, by="alice")
    said = deployed.ok(*STATUS, by="alice").out
    assert "the next window has 0 rows, ends at " in said
    assert "and is closed 20 minutes later" in said


def test_windows_of_an_earlier_baseline_do_not_pass_for_quiet_ones(deployed: Here) -> None:
    deployed.ok(*BASELINE, "--window", "50rows", by="alice")
    with as_alice(deployed) as session:
        answer(session, 60).roll()
    assert "window 1: 60 rows" in deployed.ok(*ONCE, by="alice").out
    assert deployed.ok(*STATUS, "--json", by="alice").json["compared"] == 1
    deployed.ok(*BASELINE, "--window", "50rows", "--slice", "age", by="alice")
    told = deployed.ok(*STATUS, "--json", by="alice").json
    if told["compared"] == 0:  # Where the slices have cells of their own.
        assert "no window can be compared" in deployed.ok(*STATUS, by="alice").out
        metrics = deployed.ok("monitor", "metrics", "credit", by="alice").out
        assert "assay_monitor_feature_evidence{" not in metrics


@pytest.mark.parametrize(
    "words",
    [
        ("monitor", "status"),
        ("monitor", "run", "--once"),
        ("predictions", "list"),
        ("predictions", "seal"),
        ("alerts", "list"),
        ("feedback", "status"),
        ("retrain",),
    ],
)
def test_an_endpoint_that_is_not_there_is_no_empty_one(
    deployed: Here, words: tuple[str, ...]
) -> None:
    done = deployed(*words, "credit@1", by="alice")
    if done.code == 1:
        assert "called after its model, without a version: credit" in " ".join(done.err.split())
    else:
        assert done.code == 2
    done = deployed(*words, "debit", by="alice")
    assert done.code == 1
    assert "no endpoint debit in project fraud" in done.err
    assert "one of credit" in done.err
