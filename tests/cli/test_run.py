"""Pipelines run from the real command line, in real confined processes."""

from __future__ import annotations

import os
import signal
import threading
from typing import Any

import pytest

from assay.cli.run import stoppable

from .pipelines import (
    DECLARED,
    FAILING,
    HELPERS,
    MAPPED,
    READING,
    SLOW,
    SMALL,
    put,
    started,
    states,
)

# -- running --------------------------------------------------------------------------------------


def test_a_pipeline_runs_and_what_it_did_is_used_again(ran: Any) -> None:
    again = ran.ok("run", "small.py:small", by="alice")
    assert "2 cached" in again.out
    assert "load: cached" in again.err
    told = ran.ok("run", "small.py", "--set", "factor=2", "--json", by="alice")
    assert told.err == ""
    assert told.json["state"] == "done"
    assert told.json["parameters"] == {"count": 3, "factor": 2.0}
    assert told.json["counts"] == {"done": 1, "cached": 1}
    assert states(told.json) == {"load": "cached", "total": "done"}
    assert told.json["tasks"][1]["why"] == ["argument factor was 1.0, is 2.0"]
    assert told.json["tasks"][1]["envelope"].startswith("sha256:")


def test_options_may_stand_before_the_file(ran: Any) -> None:
    told = ran.ok("run", "--json", "--cache", "ignore", "--seed", "7", "small.py", by="alice").json
    assert told["seed"] == 7
    assert set(states(told).values()) == {"done"}


def test_an_edit_of_a_helper_reruns_what_depends_on_it_and_says_so(ran: Any) -> None:
    put(ran, helpers=HELPERS.replace("value * factor", "value * factor + 1"))
    done = ran.ok("run", "small.py", by="alice")
    assert "code of helpers changed" in done.err
    told = ran.ok("why", "total", by="alice").out
    assert "it ran, because" in told
    assert "code of helpers changed" in told


def test_a_mapped_step_is_one_line(ran: Any) -> None:
    put(ran, squares=MAPPED)
    done = ran.ok("run", "squares.py", by="alice")
    assert "square: 4/4" in done.err
    shown = ran.ok("run", "show", by="alice").out
    assert "4/4" in shown
    assert "square[2]" not in shown
    assert "square[2]" in ran.ok("run", "show", "--task", "square", by="alice").out
    told = ran.ok("run", "squares.py", "--set", "count=5", "--json", by="alice").json
    assert told["counts"] == {"cached": 4, "done": 2}


def test_a_failing_step_shows_its_error_and_the_end_of_its_log(ran: Any) -> None:
    put(ran, failing=FAILING)
    done = ran("run", "failing.py", by="alice")
    assert done.code == 1
    assert "step broken failed: ValueError: no luck" in done.err
    assert "failing.py, line 14" in done.err
    assert "line 29" in done.err
    assert "line 3 " not in done.err
    assert "\x1b" not in done.all
    assert "[bold]" in done.err
    assert "Traceback" not in done.all
    told = ran("run", "failing.py", "--json", by="alice")
    assert told.code == 1
    assert told.json["error"] == "error.step.raised"
    assert told.json["state"] == "failed"
    assert "line 29" in told.json["details"]["printed"]
    assert states(told.json) == {"first": "cached", "broken": "failed", "after": "skipped"}
    run = told.json["run"]
    assert "no luck" in ran.ok("run", "show", run, by="alice").out
    log = ran.ok("run", "logs", run, "broken", by="alice").out
    assert "line 0" in log
    assert "\x1b" not in log
    assert ran.ok("run", "logs", run, "broken", "--json", by="alice").json["log"].startswith("line")
    put(ran, failing=FAILING.replace("raise ValueError", "return 2 or ValueError"))
    resumed = ran.ok("run", "resume", run[-8:], "--json", by="alice").json
    assert resumed["resumes"] == run
    assert states(resumed) == {"first": "done", "broken": "done", "after": "done"}


def test_a_step_that_gives_different_results_is_found_out(ran: Any) -> None:
    put(
        ran,
        random_step=FAILING.replace(
            "return 1", "import random; return random.SystemRandom().getrandbits(60)"
        ),
    )
    done = ran("run", "random_step.py", "--check-determinism", by="alice")
    assert done.code == 1
    assert "different results for the same inputs" in done.err


# -- what cannot be run ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("small.py", "--set", "colour=red"), "it has: count, factor"),
        (("small.py", "--set", "count=many"), "parameter count"),
        (("small.py", "--set", "count"), "--set NAME=VALUE"),
        (("small.py", "--set", "count=1", "--set", "count=2"), "twice"),
        (("small.py", "--cache", "maybe"), "one of use, read, ignore"),
        (("small.py", "--dance"), "No such option"),
        (("notes.ipynb",), "notebook"),
        (("helpers.py",), "no pipelines"),
    ],
)
def test_what_is_wrong_with_a_request_is_said_with_the_way_out(
    ran: Any, args: tuple[str, ...], said: str
) -> None:
    (ran.ws / "notes.ipynb").write_text("{}")
    done = ran("run", *args, by="alice")
    assert done.code == 2, done
    assert said in done.err
    assert "→" in done.err
    assert "Traceback" not in done.all
    assert ran("run", *args, "--json", by="alice").json["error"].startswith("usage")


@pytest.mark.parametrize("target", ["nowhere.py", "no.such.module", "small.py:other", "lst"])
def test_what_is_not_there_is_not_found(ran: Any, target: str) -> None:
    done = ran("run", target, by="alice")
    assert done.code in (1, 2), done
    assert "→" in done.err
    assert "Traceback" not in done.all


def test_a_file_that_is_called_like_a_command_is_reached_by_its_path(ran: Any) -> None:
    (ran.ws / "list").mkdir()
    (ran.ws / "list.py").write_text(SMALL)
    assert "total" in ran.ok("run", "./list.py", by="alice").out
    assert "small:small" in ran.ok("run", "list", by="alice").out


def test_who_may_not_run_pipelines_is_told_every_gate(ran: Any, enrol: Any) -> None:
    enrol(ran, "eve", "fraud/auditor")
    done = ran("run", "small.py", by="eve")
    assert done.code == 3
    assert done.err.count("✗") >= 1
    assert ran("run", "small.py", "--json", by="eve").json["error"] == "denied.runPipeline"
    assert len(ran.ok("run", "list", "--json", by="alice").json) == 1


def test_an_executor_that_the_project_does_not_allow_is_denied(ran: Any) -> None:
    done = ran("run", "small.py", "--executor", "abacus", by="alice")
    assert done.code == 3
    assert "run.executor" in done.err


def test_what_a_built_in_step_is_denied_ends_the_run_with_every_gate(ran: Any) -> None:
    (ran.ws / "rows.csv").write_text("a,b\n1,2\n3,4\n")
    ran.ok("data", "register", "rows.csv", "--name", "rows", *DECLARED, by="alice")
    ran.ok("data", "hold", "rows", "--reason", "erasure", by="bob")
    put(ran, reading=READING)
    done = ran("run", "reading.py", by="alice")
    assert done.code == 3, done
    assert "denied" in done.err
    assert "✗" in done.err
    told = ran("run", "reading.py", "--json", by="alice")
    assert told.code == 3
    assert told.json["details"]["reasons"]
    assert states(told.json) == {"read": "failed"}


# -- stopping -------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_a_run_and_keeps_what_it_had_done(ran: Any, number: signal.Signals) -> None:
    put(ran, slow=SLOW)
    with started(ran, "run", "slow.py") as until:
        process = until("slow: running")
        if number == signal.SIGTERM:
            process.send_signal(number)
        else:  # As a terminal does: to the steps' processes, too.
            os.killpg(process.pid, number)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130, (out, err)
    assert "cancelled" in out
    assert "assay run resume" in out
    assert "Traceback" not in out + err
    assert not any((ran.ws / ".assay" / "work").iterdir())
    (told,) = [
        r for r in ran.ok("run", "list", "--json", by="alice").json if r["source"] == "slow.py"
    ]
    assert told["state"] == "cancelled"
    put(ran, slow=SLOW.replace("time.sleep(300)", "pass"))
    resumed = ran.ok("run", "resume", told["run"], "--json", by="alice").json
    assert states(resumed) == {"first": "done", "slow": "done"}


@pytest.mark.slow
def test_a_run_is_cancelled_from_another_terminal(ran: Any) -> None:
    put(ran, slow=SLOW)
    with started(ran, "run", "slow.py", "--json") as _, started(ran, "run", "slow.py") as until:
        process = until("slow: running")
        found = [
            r["run"]
            for r in ran.ok("run", "list", "--json", by="alice").json
            if r["state"] == "running"
        ]
        assert found
        assert "running" in ran.ok("run", "show", found[0], by="alice").out
        assert ran("run", "resume", found[0], by="alice").code == 1
        for run in found:
            assert ran.ok("run", "cancel", run, "--json", by="alice").json["stopped"]
        process.communicate(timeout=60)
    assert process.returncode == 130
    again = ran("run", "cancel", found[0], by="alice")
    assert again.code == 1
    assert "was stopped already" in again.err


@pytest.mark.slow
def test_a_run_that_was_killed_is_told_apart_and_can_be_gone_on_with(ran: Any) -> None:
    put(ran, slow=SLOW)
    with started(ran, "run", "slow.py") as until:
        until("slow: running").kill()
    (told, _) = ran.ok("run", "list", "--json", by="alice").json
    assert told["state"] == "interrupted"
    shown = ran.ok("run", "show", by="alice").out
    assert "It was killed" in shown
    assert "✓ first" in shown
    assert f"assay run resume {told['run']}" in shown
    assert "was killed" in ran("run", "cancel", "latest", by="alice").err
    ran.ok("recover", by="alice")
    assert ran.ok("run", "list", "--json", by="alice").json[0]["state"] == "interrupted"
    put(ran, slow=SLOW.replace("time.sleep(300)", "pass"))
    assert ran.ok("run", "resume", "latest", "--json", by="alice").json["state"] == "done"


def test_the_first_signal_asks_for_an_end_and_the_second_breaks_off() -> None:
    event = threading.Event()
    before = signal.getsignal(signal.SIGTERM)
    with stoppable() as stops:
        stops.append(event)
        signal.raise_signal(signal.SIGTERM)
        assert event.is_set()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGTERM) == before


def test_before_there_is_a_run_a_signal_breaks_off_at_once() -> None:
    with stoppable(), pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGTERM)


def test_a_signal_that_is_to_be_ignored_is() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stoppable() as stops:
            stops.append(threading.Event())
            signal.raise_signal(signal.SIGHUP)
            assert not stops[0].is_set()
    finally:
        signal.signal(signal.SIGHUP, before)
