"""What is said of the differences between runs, and of why a step ran."""

from __future__ import annotations

from typing import Any

import pytest

from assay.cli import run_diff, run_why
from assay.pipeline.records import RunRecord

from .run_records import artifact, record, task


def pair() -> tuple[RunRecord, RunRecord]:
    base = {"step": "credit:fit", "argument:alpha": "0.1", "input:rows": "sha256:1"}
    one = record(
        [
            task("load", outputs=[[artifact("a")]], seconds=1.0, components={"step": "credit:fit"}),
            task("fit", outputs=[[artifact("b")]], components=base, seconds=3.0),
            task("gone"),
        ]
    )
    other = record(
        [
            task("load", "cached", outputs=[[artifact("a")]], made_by=one.run),
            task(
                "fit",
                outputs=[[artifact("d")]],
                components={**base, "argument:alpha": "0.2", "input:rows": "sha256:2"},
            ),
            task("added"),
        ],
        run="0197a2b4-0000-7000-8000-00000000ef01",
        parameters={"alpha": 0.2, "beta": [1]},
        code={"credit:fit": {"code:credit": "b", "python": "cpython-3.11"}},
        distributions={"numpy": "2.0 sha256:bb", "polars": "1.0 sha256:cc"},
    )
    return one, other


def test_two_runs_are_compared_by_what_went_in_and_what_came_out() -> None:
    found = run_diff.compare(*pair())
    assert found["parameters"] == {"alpha": [0.1, 0.2], "beta": [None, [1]]}
    assert found["code"] == ["code of credit changed"]
    assert list(found["distributions"]) == ["numpy", "polars"]
    assert found["inputs"] == {"fit": ["argument alpha was 0.1, is 0.2", "input rows changed"]}
    steps = found["steps"]
    assert steps["only"] == [["gone"], ["added"]]
    assert steps["ran_and_cached"] == ["load"]
    assert steps["cached_and_ran"] == []
    assert steps["outputs_changed"] == ["fit"]
    assert steps["outputs_equal"] == ["load"]


def test_a_difference_is_told_in_words(capsys: Any) -> None:
    one, other = pair()
    run_diff.show(one, other, run_diff.compare(one, other))
    told = capsys.readouterr().out
    for said in (
        "parameter alpha was 0.1, is 0.2",
        "parameter beta is new: [1]",
        "code of credit changed",
        "installed numpy was 2.0 sha256:aa, is 2.0 sha256:bb",
        "installed polars is new: 1.0",
        "fit: input rows changed",
        "gone: only in the first",
        "added: only in the second",
        "1 step gave something else, 1 step the same",
    ):
        assert said in told, told


def test_what_differs_in_many_tasks_of_a_mapped_step_is_said_once(capsys: Any) -> None:
    def fits(count: int, what: str) -> RunRecord:
        base = {"step": "credit:fit", "input:rows": what}
        return record(task(f"fit[{n}]", components=base) for n in range(count))

    one, other = fits(3, "a"), fits(9, "b")
    run_diff.show(one, other, run_diff.compare(one, other))
    told = capsys.readouterr().out
    assert "3 tasks of fit: input rows changed" in told
    assert "6 tasks of fit: only in the second" in told
    assert "fit[0]" not in told


def test_a_run_compared_with_itself_differs_in_nothing(capsys: Any) -> None:
    one, _ = pair()
    found = run_diff.compare(one, one)
    assert not found["run"]
    assert not found["inputs"]
    assert not found["steps"]["outputs_changed"]
    run_diff.show(one, one, found)
    assert "nothing that went into it differs" in capsys.readouterr().out


# -- why ------------------------------------------------------------------------------------------


def test_why_names_what_changed_since_the_run_before() -> None:
    one, other = pair()
    told = run_why.explained(other, other.tasks[1], {"": one})
    assert told["compared_with"] == one.run
    assert told["changed"] == [
        "code of credit changed",
        "argument alpha was 0.1, is 0.2",
        "input rows changed",
    ]
    assert told["components"]["python"] == "cpython-3.11"


def test_what_was_cached_is_held_against_the_run_that_made_it() -> None:
    one, other = pair()
    same = record([task("fit", "cached", components=one.tasks[1].components, made_by=one.run)])
    told = run_why.explained(same, same.tasks[0], {one.run: one, "": other})
    assert told["compared_with"] == one.run
    assert told["changed"] == []


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("it read lib/late.py", "at the top of the step's module, or pass the file"),
        ("it used helper, which no installed distribution lists", "install it"),
        ("what it reads cannot be bounded at isolation level process", "assay doctor"),
    ],
)
def test_what_keeps_a_result_from_being_stored_has_a_remedy(what: str, said: str) -> None:
    assert said in run_why.remedy(what)
