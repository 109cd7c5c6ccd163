"""Looking at runs from the real command line: list, show, logs, diff and why."""

from __future__ import annotations

import json
from typing import Any

from .pipelines import FAILING, HELPERS, LATE, put, states


def test_without_a_run_there_is_a_way_to_one(founded: Any) -> None:
    assert "assay run FILE" in founded.ok("run", "list", by="alice").out
    assert founded.ok("run", "list", "--json", by="alice").json == []
    for args in (("run", "show"), ("why", "fit"), ("run", "resume", "latest")):
        done = founded(*args, by="alice")
        assert done.code == 1
        assert "→" in done.err


def test_a_run_is_shown_as_its_record_tells(ran: Any) -> None:
    listed = ran.ok("run", "list", "--json", by="alice").json
    assert [(r["state"], r["pipeline"], r["by"]) for r in listed] == [
        ("done", "small:small", "alice")
    ]
    run = listed[0]["run"]
    assert run in ran.ok("run", "list", by="alice").out
    for named in (run, run[:13], run[-6:], "latest"):
        shown = ran.ok("run", "show", named, by="alice").out
        assert "it has not run before" in shown
        assert "count=3, factor=1.0" in shown
        assert "by alice" in shown
    assert ran.ok("run", "show", "--json", by="alice").json["counts"] == {"done": 2}
    one = ran.ok("run", "show", run, "--task", "total", by="alice").out
    for said in ("key:", "provenance:", "code:helpers = sha256:", "argument:factor = 1.0"):
        assert said in one
    told = ran.ok("run", "show", "--task", "total", "--json", by="alice").json
    assert told["tasks"][0]["components"]["seed"] == "0"


def test_what_is_unknown_is_named_with_what_is_near(ran: Any) -> None:
    done = ran("why", "totl", by="alice")
    assert done.code == 1
    assert "did you mean total?" in done.err
    done = ran("run", "show", "--task", "zzz", by="alice")
    assert done.code == 1
    assert "its steps: load, total" in done.err
    done = ran("run", "show", "ffffffff", by="alice")
    assert done.code == 1
    assert "assay run list" in done.err
    assert ran("run", "show", "ffffffff", "--json", by="alice").json["error"] == "not_found.run"


def test_the_log_of_a_step_from_the_cache_is_that_of_the_run_that_made_it(ran: Any) -> None:
    ran.ok("run", "small.py", by="alice")
    assert "adding 3 numbers" in ran.ok("run", "logs", "latest", "total", by="alice").out
    done = ran.ok("run", "logs", "latest", "load", by="alice")
    assert done.out == ""
    assert "printed nothing" in done.err


def test_a_step_from_the_cache_says_who_made_it_and_what_it_depends_on(ran: Any) -> None:
    first = ran.ok("run", "list", "--json", by="alice").json[0]["run"]
    ran.ok("run", "small.py", by="alice")
    told = ran.ok("why", "total", by="alice").out
    assert f"run {first} made it" in told
    assert "all as in that run" in told
    assert "code: helpers, small" in told
    assert "factor=1.0" in told
    found = ran.ok("why", "total", "--json", by="alice").json["tasks"][0]
    assert found["changed"] == []
    assert found["compared_with"] == first


def test_what_is_not_stored_is_named_with_the_remedy(ran: Any) -> None:
    put(ran, late=LATE, hidden="VALUE = 1\n")
    done = ran.ok("run", "late.py", by="alice")
    assert "not stored" in done.out
    told = ran.ok("why", "late", by="alice").out
    assert "it read hidden.py" in told
    assert "at the top of the step's module" in told
    again = ran.ok("run", "late.py", "--json", by="alice").json
    assert states(again) == {"late": "done"}


def test_two_runs_are_compared(ran: Any) -> None:
    first = ran.ok("run", "list", "--json", by="alice").json[0]["run"]
    put(ran, helpers=HELPERS.replace("value * factor", "value * factor + 1"))
    second = ran.ok("run", "small.py", "--set", "count=4", "--json", by="alice").json["run"]
    told = ran.ok("run", "diff", first, second, by="alice").out
    assert "parameter count was 3, is 4" in told
    assert "code of helpers changed" in told
    found = ran.ok("run", "diff", first, second, "--json", by="alice").json
    assert sorted(found["steps"]["outputs_changed"]) == ["load", "total"]
    assert found["distributions"] == {}


def test_a_run_that_is_done_is_not_gone_on_with(ran: Any) -> None:
    done = ran("run", "resume", "latest", by="alice")
    assert done.code == 1
    assert "is done" in done.err
    assert "assay run small.py" in done.err
    done = ran("run", "cancel", "latest", by="alice")
    assert done.code == 1
    assert "is done" in done.err


def test_json_is_one_document_whatever_comes_of_it(ran: Any) -> None:
    put(ran, failing=FAILING)
    for args in (("small.py",), ("failing.py",), ("nowhere.py",), ("small.py", "--set", "x=1")):
        done = ran("run", *args, "--json", by="alice")
        json.loads(done.out)
        assert done.err == ""
