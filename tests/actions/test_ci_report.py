"""The report of a run, built from evidence and a record, without running a pipeline."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from workspace.town import Town, dataset, model, numbers, write_table

from assay.actions import ci_evidence
from assay.actions.ci_report import Before, Built, Ran, build, check_base, file_of, look
from assay.actions.release import Hold, Promote, Revoke
from assay.ci.model import Finding, Report, encode
from assay.errors import Denied, NotFound, Unavailable, Usage
from assay.pipeline.records import FORMAT, Problem, RunRecord, TaskRecord
from assay.types import Digest

RUN = "0198c0de-0000-7000-8000-00000000abcd"


def record(*tasks: TaskRecord, **changed: Any) -> RunRecord:
    """A run of three nodes, one after the other."""
    nodes = dict.fromkeys(task.node for task in tasks)
    before: list[str] = []
    graph: dict[str, list[str]] = {}
    for node in nodes:
        graph[node] = list(before)
        before = [node]
    made: dict[str, Any] = {
        "format": FORMAT,
        "run": RUN,
        "pipeline": "credit:credit",
        "name": "credit",
        "project": "alpha",
        "purpose": "scoring",
        "parameters": {},
        "seed": 0,
        "actor": "id-eve",
        "started": "2026-01-01T00:00:00Z",
        "finished": "2026-01-01T00:00:09Z",
        "state": "done",
        "executor": "local",
        "transport": "none",
        "code": {"fit": {"step": "fit", "code:credit": "sha256:1"}},
        "code_digest": Digest("sha256:" + "0" * 64),
        "environment": "verified",
        "python": "cpython-3.11.7",
        "platform": "linux-x86_64",
        "distributions": {"polars": "2.1 sha256:1"},
        "graph": graph,
        "tasks": list(tasks),
    }
    return RunRecord(**{**made, **changed})


def registered(name: str = "score", version: str = "1", state: Any = "done") -> TaskRecord:
    value = {"model": name, "version": version}
    return TaskRecord(f"register-{name}", f"register-{name}", state, value=value)


def report_of(town: Town, found: RunRecord | None, who: str = "eve", **changed: Any) -> Built:
    before = changed.pop("before", None) or look(
        town.ws, town.who(who), "alpha", changed.pop("base", "auto")
    )
    ran = Ran(project="alpha", pipeline="credit.py", before=before, record=found, **changed)
    return build(town.ws, town.who(who), ran)


NOTHING = Before(0, frozenset())


# -- gates and verdicts ----------------------------------------------------------------------------


def test_every_gate_of_the_stage_is_told_for_the_version_that_was_registered(town: Town) -> None:
    found = report_of(town, record(registered()), before=NOTHING).report
    assert (found.verdict, found.closed) == ("passed", [])
    assert found.why == f"every step is done, and all {len(found.gates)} gates for staging are open"
    assert {"gate.scan", "gate.auc", "gate.parity"} <= {gate.id for gate in found.gates}
    town.do("eve", Hold(project="alpha", model="score", version="1", reason="wait"))
    found = report_of(town, record(registered()), before=NOTHING).report
    assert (found.verdict, [gate.id for gate in found.closed]) == ("failed", ["gate.hold"])
    assert found.why.endswith("gates is closed for staging: gate.hold")


def test_the_gates_of_another_stage_are_others(town: Town) -> None:
    found = report_of(town, record(registered()), before=NOTHING, stage="production").report
    assert "gate.approvals" in [gate.id for gate in found.closed]
    approvals = next(gate for gate in found.closed if gate.id == "gate.approvals")
    assert approvals.remedy.startswith("assay approve score@1")


def test_with_several_models_each_gate_names_its_own(town: Town) -> None:
    town.do("eve", model(town.repo, "other", description="another"))
    town.do("eve", Hold(project="alpha", model="other", version="1", reason="wait"))
    found = report_of(town, record(registered(), registered("other")), before=NOTHING).report
    assert {gate.id.partition(": ")[0] for gate in found.gates} == {"score", "other"}
    assert [gate.id for gate in found.closed] == ["other: gate.hold"]
    names = {metric.name for metric in found.metrics}
    assert "score: auc" in names
    assert {part.metric for part in found.slices} <= names


def test_a_version_whose_registration_failed_has_no_gates(town: Town) -> None:
    failed = registered(state="failed")
    failed.problem = Problem("x", "no luck")
    found = report_of(town, record(failed), error=Unavailable("no luck")).report
    assert (found.verdict, found.gates) == ("error", [])


@pytest.mark.parametrize("details", [{}, {"reasons": []}])
def test_a_denial_that_says_nothing_is_still_a_closed_gate(
    town: Town, details: dict[str, Any]
) -> None:
    error = Denied("train is denied", code="train", details=details)
    found = report_of(town, None, error=error).report
    assert found.verdict == "failed"
    assert [(gate.id, gate.advice) for gate in found.closed] == [
        ("denied.train", "train is denied")
    ]


def test_a_denial_closes_what_the_list_shows_as_open(town: Town) -> None:
    reason = {"gate": "gate.auc", "advice": "too low", "measured": {"quality.auc_lower": "0.5"}}
    error = Denied("promote is denied", code="promote", details={"reasons": [reason]})
    found = report_of(town, record(registered()), before=NOTHING, error=error).report
    assert [gate.id for gate in found.closed] == ["gate.auc"]
    assert len([gate for gate in found.gates if gate.id == "gate.auc"]) == 1


def test_without_a_record_there_is_a_report_of_the_error(town: Town) -> None:
    error = Usage("there is no pipeline in credit.py", remedy="write one")
    built = report_of(town, None, error=error)
    assert (built.report.verdict, built.report.why) == ("error", error.message)
    assert built.statements == {}
    assert built.proof == town.ws.view.note


def test_whoever_may_not_read_evidence_gets_nothing(town: Town) -> None:
    for name in ("bea", "web"):
        with pytest.raises(Denied):
            look(town.ws, town.who(name), "alpha", "auto")
        with pytest.raises(Denied):
            report_of(town, record(registered()), name, before=NOTHING)


# -- what it is compared with ----------------------------------------------------------------------


def other_version(town: Town) -> str:
    import joblib
    from sklearn.linear_model import LogisticRegression

    rows = numbers(600, 1)
    fitted = LogisticRegression(C=0.01).fit([r[:3] for r in rows], [int(r[3]) for r in rows])
    joblib.dump(fitted, town.repo / "other.joblib")
    done = town.do("eve", model(town.repo, path=str(town.repo / "other.joblib")))
    from assay.actions.assessment import AssessModel

    town.do("eve", AssessModel(project="alpha", model="score", version="2", data="test"))
    return done["version"]


def methods(found: Report) -> set[str]:
    return {metric.difference.method for metric in found.metrics if metric.difference is not None}


def test_the_newest_version_from_before_the_run_is_the_base(town: Town) -> None:
    before = look(town.ws, town.who("eve"), "alpha", "auto")
    assert before.versions == {("score", "1")}
    other_version(town)
    found = report_of(town, record(registered(version="2")), before=before).report
    assert methods(found) == {"paired bootstrap", "Newcombe, paired", "MOVER"}
    assert "unchanged" not in found.why
    none = report_of(
        town, record(registered(version="2")), before=Before(0, before.versions, "none")
    ).report
    assert methods(none) == set()
    # A version that was withdrawn is nothing to be compared with.
    town.do("oli", Revoke(project="alpha", model="score", version="1", reason="wrong"))
    assert methods(report_of(town, record(registered(version="2")), before=before).report) == set()


def test_a_version_from_before_the_run_is_unchanged(town: Town) -> None:
    other_version(town)
    found = report_of(town, record(registered(version="2", state="cached"))).report
    assert found.why.endswith("; score@2 is unchanged")
    assert methods(found) == set()
    assert found.metrics
    # Unless somebody names what to compare it with.
    named = report_of(town, record(registered(version="2")), base="score@1").report
    assert "paired bootstrap" in methods(named)


def test_an_alias_that_moves_meanwhile_still_names_the_version_of_before(town: Town) -> None:
    town.do("eve", Promote(project="alpha", model="score", version="1", stage="development"))
    before = look(town.ws, town.who("eve"), "alpha", "score@development")
    assert before.base == "score@1"


@pytest.mark.parametrize(
    ("base", "error"), [("score@9", NotFound), ("nothing@1", NotFound), ("score", Usage)]
)
def test_a_base_that_is_not_there_is_refused_before_the_run(
    town: Town, base: str, error: type[Exception]
) -> None:
    with pytest.raises(error):
        look(town.ws, town.who("eve"), "alpha", base)


@given(st.text(max_size=30))
def test_a_base_is_a_word_or_a_version_and_nothing_else(text: str) -> None:
    if text in ("auto", "none") or text.count("@"):
        return
    with pytest.raises(Usage, match="no version to compare with"):
        check_base(text)


@pytest.mark.parametrize("base", ["auto", "none", "credit@3", "credit@production"])
def test_a_base_that_may_be_asked_for_stays_as_it_is(base: str) -> None:
    assert check_base(base) == base


def test_figures_without_the_same_rows_are_compared_by_their_intervals(town: Town) -> None:
    before = look(town.ws, town.who("eve"), "alpha", "auto")
    other_version(town)
    # The rows that it was judged on are no longer there under that name.
    rows = numbers(300, 5)
    write_table(town.repo / "fewer.csv", rows)
    town.do("sam", dataset(town.repo, "test", file="fewer.csv"))
    found = report_of(town, record(registered(version="2")), before=before).report
    assert methods(found) == {"MOVER"}


def test_data_is_compared_with_what_the_base_was_made_with(town: Town) -> None:
    before = look(town.ws, town.who("eve"), "alpha", "auto")
    write_table(town.repo / "fewer.csv", numbers(700, 1))
    town.do("sam", dataset(town.repo, "train", file="fewer.csv"))
    read = TaskRecord("read", "read", "cached", value={"dataset": "train"})
    (found,) = report_of(town, record(read), before=before).report.data
    assert (found.name, found.rows_before, found.rows_after) == ("train", 600, 700)
    assert found.new_rows == 100
    assert found.columns == []
    assert report_of(town, record(read)).report.data == []


# -- steps -----------------------------------------------------------------------------------------


def mapped(count: int) -> list[TaskRecord]:
    return [
        TaskRecord(
            f"fit[{number}]",
            "fit",
            "cached" if number % 3 else "done",
            why=[] if number % 3 else [f"because of {number}"],
            seconds=1.0,
            level="full",
        )
        for number in range(count)
    ]


def test_steps_stand_in_the_order_of_the_graph_whatever_finished_first(town: Town) -> None:
    tasks = [TaskRecord("load", "load", "done"), *mapped(12), TaskRecord("best", "best", "done")]
    shuffled = record(*tasks)
    shuffled.tasks = list(reversed(tasks))
    names = [step.name for step in report_of(town, shuffled).report.steps]
    assert names == ["load", *(f"fit[{n}]" for n in range(12)), "best"]


def test_many_tasks_of_a_mapped_step_are_one_line_for_each_state(town: Town) -> None:
    many = mapped(200)
    many[7].state, many[7].problem = "failed", Problem("x", "no luck", "try again")
    found = report_of(town, record(*many), error=Unavailable("no luck")).report
    told = {step.name: step for step in found.steps}
    counts = sorted((step.state, step.name) for step in found.steps)
    assert counts == [
        ("cached", "fit: 132 of 200 tasks"),
        ("done", "fit: 67 of 200 tasks"),
        ("failed", "fit: 1 of 200 tasks"),
    ]
    failed = told["fit: 1 of 200 tasks"]
    assert (failed.problem, failed.remedy) == ("fit[7]: no luck", "try again")
    assert told["fit: 67 of 200 tasks"].why == ["fit[0]: because of 0"]
    assert told["fit: 67 of 200 tasks"].seconds == 67


def test_nothing_of_the_run_the_machine_or_its_folders_is_told(town: Town, tmp_path: Path) -> None:
    text = (
        f"in {tmp_path}/data/x.csv of run {RUN}, {town.root.resolve()}/work/1, "
        f"{sys.prefix}/lib/x.py, {Path.home()}/notes"
    )
    task = TaskRecord(
        "load",
        "load",
        "failed",
        key="sha256:" + "1" * 64,
        why=[text],
        made_by=RUN,
        where="a-host",
        problem=Problem("x", text, text),
    )
    found = report_of(
        town,
        record(task),
        error=Unavailable(text),
        folder=tmp_path,
        altered=[text],
        findings=[Finding(rule="a", level="note", message=text, help=text)],
    ).report
    told = encode(found).decode()
    for private in (str(tmp_path), RUN, "a-host", str(town.root), sys.prefix, "sha256:"):
        assert private not in told
    assert "in data/x.csv of run latest" in told


# -- evidence --------------------------------------------------------------------------------------


def test_the_statements_of_a_version_are_taken_along_and_no_others(town: Town) -> None:
    built = report_of(town, record(registered()), before=NOTHING)
    assert set(built.statements) == {
        *("model-version-score-1", "scan-score-1", "parity-score-1"),
        *("quality-score-1", "privacy-membership-score-1"),
    }
    assert {s.name for s in built.report.statements} == set(built.statements)


def test_the_check_of_a_dataset_becomes_findings(town: Town) -> None:
    content = town.ws.view.dataset("alpha", "train").content
    predicate = {
        "undeclared_personal": 1,
        "personal": {
            "undeclared": ["c"],
            "found": [{"column": "c", "kinds": [{"kind": "email", "share": 1, "how": "value"}]}],
        },
        "duplicates": {"rows": 600, "exact": 3},
        "alarms": [{"column": "b", "what": "mostly_missing"}],
        "labels": {"label": "y", "rows": 600, "outliers": 2},
    }
    made = town.statement(
        "data-check", predicate, "alpha", about=content, producer="assay.data.check/1"
    )
    town.slip_in(made, town.workspace_key)
    read = TaskRecord("read", "read", "cached", value={"dataset": "train"})
    found = report_of(town, record(read)).report
    told = {finding.rule: finding for finding in found.findings}
    assert told["data/undeclared-personal"].level == "error"
    assert told["data/undeclared-personal"].message.endswith("nobody declared it: email")
    assert "3 of 600 rows" in told["data/duplicates"].message
    assert "2 of 600 labels in y" in told["data/label-outliers"].message
    assert told["data/column"].message == "train: column b is mostly missing"
    assert all(finding.path == "credit.py" for finding in found.findings)


@pytest.mark.parametrize("wrong", [None, "text", [1], {"found": "x", "undeclared": []}])
def test_a_check_in_another_form_breaks_no_report(town: Town, wrong: Any) -> None:
    content = town.ws.view.dataset("alpha", "train").content
    names = ("personal", "duplicates", "labels", "alarms")
    predicate: dict[str, Any] = dict.fromkeys(names, wrong)
    made = town.statement(
        "data-check", predicate, "alpha", about=content, producer="assay.data.check/1"
    )
    town.slip_in(made, town.workspace_key)
    read = TaskRecord("read", "read", "cached", value={"dataset": "train"})
    assert report_of(town, record(read)).report.findings == []


def test_results_that_are_not_used_again_are_told_once_for_each_step(town: Town) -> None:
    many = mapped(3)
    for task in many:
        task.unstored = [f"it read file {number}" for number in range(9)]
    (found,) = report_of(town, record(*many)).report.findings
    assert (found.rule, found.level) == ("pipeline/unstored", "warning")
    assert found.message.endswith("it read file 2; and 6 more reasons")


def test_statements_beyond_what_a_reader_takes_are_left_out_and_counted(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ci_evidence, "_MOST", 2)
    built = report_of(town, record(registered()), before=NOTHING)
    assert len(built.statements) == 2
    (note,) = [f for f in built.report.findings if f.rule == "ci/statements"]
    assert note.message.startswith("3 signed statements")


@pytest.mark.parametrize(
    ("pipeline", "path"), [("a/b.py:train", "a/b.py"), ("a.py", "a.py"), ("a.b:train", "")]
)
def test_findings_are_placed_in_the_file_of_the_pipeline(pipeline: str, path: str) -> None:
    assert file_of(pipeline) == path
