"""What goes wrong while a run goes on, by its author's mistake."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from assay.errors import Denied, Usage
from assay.pipeline.graph import MOST_ITEMS

from .running import HELPERS, MAIN, Place, body, says

# -- while it runs --------------------------------------------------------------------------------

WHILE: dict[str, tuple[str, tuple[str, ...]]] = {
    "the wrong type": (
        "@step\ndef work() -> int:\n    return 'a'\n",
        ("step work", "int"),
    ),
    "nothing": ("@step\ndef work() -> int:\n    pass\n", ("step work", "int")),
    "too few results": (
        "@step\ndef work() -> tuple[int, bytes]:\n    return 1\n",
        ("step work is annotated to return 2 results, and returned int", "tuple of exactly"),
    ),
    "too many results": (
        "@step\ndef work() -> tuple[int, bytes]:\n    return 1, b'', 2\n",
        ("step work is annotated to return 2 results, and returned 3", "tuple of exactly"),
    ),
    "no list": (
        "import numpy as np\n@step\ndef work() -> list[np.ndarray]:\n    return np.zeros(3)\n",
        ("step work", "list of", "returned ndarray"),
    ),
    "no number": ("@step\ndef work() -> float:\n    return float('nan')\n", ("step work", "nan")),
    "its own error": (
        "@step\ndef work() -> int:\n    raise ValueError('bad luck')\n",
        ("step work failed: ValueError: bad luck (p.py, line 4)", "assay run logs"),
    ),
    "an error in a helper": (
        "import helper\n@step\ndef work() -> int:\n    return helper.fail()\n",
        ("step work failed: KeyError: 'x' (helper.py, line 2)",),
    ),
    "an error that is no text": (
        "class Odd(Exception):\n    def __str__(self):\n        raise RuntimeError\n"
        "@step\ndef work() -> int:\n    raise Odd\n",
        ("step work failed: Odd",),
    ),
    "an error of bytes that are no text": (
        "@step\ndef work() -> int:\n    raise ValueError('\\udc80')\n",
        ("step work failed: ValueError: \\udc80",),
    ),
    "a file by its name": (
        "@step\ndef work() -> str:\n    return open('rows.csv').read()\n",
        ("step work failed: FileNotFoundError", "rows.csv", "pathlib.Path"),
    ),
    "a file by its whole name": (
        "@step\ndef work() -> str:\n    return open('/etc/hostname').read()\n",
        ("step work failed: PermissionError", "reads what it is given"),
    ),
    "a module that is only there at home": (
        "@step\ndef work() -> int:\n    import importlib\n"
        "    return importlib.import_module('hid' + 'den.thing').VALUE\n",
        ("step work failed: ModuleNotFoundError", "hidden", "top of a module"),
    ),
}


@pytest.mark.parametrize("what", WHILE)
def test_a_mistake_in_a_step_is_told_with_its_place(place: Place, what: str) -> None:
    code, expected = WHILE[what]
    place.code(code + MAIN)
    place.write("helper.py", "def fail():\n    return {}['x']\n")
    place.write("hidden/thing.py", "VALUE = 1\n")
    place.write("rows.csv", "a\n")
    failed = place.fails()
    assert failed.ended.error is not None
    says(failed.ended.error, expected, status=1)
    problem = failed.task("work").problem
    assert problem is not None
    assert problem.message == failed.ended.error.message


FILES = """
from pathlib import Path

@step
def work(path: Path) -> int:
    return len(path.read_bytes())

@pipeline
def main(path: Path = Path({path!r})):
    return work(path)
"""


def test_a_file_that_is_not_there_is_named(place: Place) -> None:
    place.code(FILES.format(path="none.csv"))
    _fails_at_work(place, ("step work", "none.csv", "is not there", "check the path"))


def test_a_file_that_disappears_is_named(place: Place) -> None:
    place.code(FILES.format(path="rows.csv"))
    path = place.write("rows.csv", "a\n")
    place.ok()
    path.unlink()
    _fails_at_work(place, ("step work", "rows.csv", "is not there"))
    place.write("rows.csv/inside", "")
    _fails_at_work(place, ("step work", "rows.csv", "no plain file"))


OUTSIDE = ("step work", "outside of the project's folder", "--set name=PATH")


def test_code_names_no_file_outside_of_the_project(place: Place, tmp_path: Path) -> None:
    outside = tmp_path / "outside.txt"
    outside.write_text("secret")
    for path in (str(outside), "../../outside.txt", "/etc/shadow"):
        place.code(FILES.format(path=path))
        _fails_at_work(place, OUTSIDE)
    place.code(FILES.format(path="rows.csv").replace("work(path)", f"work(Path({str(outside)!r}))"))
    _fails_at_work(place, OUTSIDE)


def test_whoever_asks_for_the_run_may_name_a_file_outside_of_the_project(
    place: Place, tmp_path: Path
) -> None:
    outside = tmp_path / "outside.txt"
    outside.write_text("mine")
    place.code(FILES.format(path="rows.csv"))
    assert place.ok(given={"path": str(outside)}).value("work") == 4
    assert place.ok(given={"path": f"{tmp_path}//./outside.txt"}).states == {"work": "cached"}


def test_one_parameter_that_is_given_opens_no_other(place: Place, tmp_path: Path) -> None:
    outside = tmp_path / "outside.txt"
    outside.write_text("secret")
    place.code(FILES.format(path=str(outside)).replace("main(path", "main(n: int = 1, path"))
    _fails_at_work(place, OUTSIDE, given={"n": 2})


def test_going_on_with_a_run_opens_no_file_that_its_code_named(
    place: Place, tmp_path: Path
) -> None:
    outside = tmp_path / "outside.txt"
    outside.write_text("secret")
    place.code(FILES.format(path=str(outside)))
    failed = place.fails()
    again = place.run(given=failed.record.parameters, resumes=failed.record.run)
    assert "outside of the project's folder" in again.problem


def test_what_was_given_is_still_given_when_a_run_goes_on(place: Place, tmp_path: Path) -> None:
    outside = tmp_path / "outside.txt"
    place.code(FILES.format(path="rows.csv"))
    failed = place.fails(given={"path": str(outside)})
    outside.write_text("mine")
    again = place.ok(given=failed.record.parameters, resumes=failed.record.run)
    assert again.value("work") == 4


def test_a_link_out_of_the_project_is_not_followed(place: Place, tmp_path: Path) -> None:
    (tmp_path / "outside.txt").write_text("secret")
    (place.repo / "rows.csv").symlink_to(tmp_path / "outside.txt")
    place.code(FILES.format(path="rows.csv"))
    _fails_at_work(place, OUTSIDE)
    (place.repo / "rows.csv").unlink()
    place.write("data/real.csv", "a\n1")
    (place.repo / "rows.csv").symlink_to("data/real.csv")
    assert place.ok().value("work") == 3


def test_nothing_names_a_file_of_the_workspace(place: Place) -> None:
    (place.repo / "link").symlink_to(".assay")
    inside = ("step work", "inside of the workspace")
    for path in (".assay/keys/workspace.pem", "link/keys/workspace.pem", "data/../.assay/epoch"):
        place.code(FILES.format(path=path))
        _fails_at_work(place, inside)
        _fails_at_work(place, inside, given={"path": str(place.repo / path)})


def _fails_at_work(place: Place, expected: tuple[str, ...], **options: Any) -> None:
    failed = place.fails(**options)
    assert failed.states == {"work": "failed"}
    assert failed.ended.error is not None
    says(failed.ended.error, expected, status=2)


def test_a_variable_that_is_not_set_is_named(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.settings(step_variables=["REGION"])
    monkeypatch.delenv("REGION", raising=False)
    place.code("@step(environment=['REGION'])\ndef work() -> int:\n    return 1\n" + MAIN)
    _fails_at_work(place, ("step work", "REGION, which is not set", "export REGION"))


def test_a_dataset_that_is_not_there_is_named(place: Place) -> None:
    place.code(
        "from assay.pipeline import read\nimport polars as pl\n"
        "@step\ndef work(rows: pl.DataFrame) -> int:\n    return rows.height\n"
        "@pipeline(purpose='testing')\ndef main():\n    return work(read('loans'))\n"
    )
    failed = place.fails()
    assert failed.states == {"read": "failed", "work": "skipped"}
    assert "dataset loans is not registered" in failed.problem
    assert "assay data register" in failed.problem
    assert failed.ended.error is not None
    assert failed.ended.error.exit_status == 1


@pytest.mark.parametrize(
    ("options", "gate", "settings"),
    [
        ("network=[5432]", "run.network", {"step_ports": [443, 5432]}),
        ("environment=['TOKEN']", "run.variables", {"step_variables": ["TOKEN"]}),
        ("processes=True", "run.processes", {"step_processes": True}),
    ],
)
def test_what_policy_does_not_grant_keeps_the_run_from_beginning(
    place: Place,
    monkeypatch: pytest.MonkeyPatch,
    options: str,
    gate: str,
    settings: dict[str, Any],
) -> None:
    monkeypatch.setenv("TOKEN", "x")
    place.code(f"@step({options})\ndef work() -> int:\n    return 1\n" + MAIN)
    with pytest.raises(Denied) as caught:
        place.run()
    assert [reason["gate"] for reason in caught.value.details["reasons"]] == [gate]
    assert "settings.toml" in json.dumps(caught.value.details)
    assert caught.value.exit_status == 3
    assert place.left() == []
    place.settings(**settings)
    assert place.ok().value("work") == 1


# -- lists ----------------------------------------------------------------------------------------

MAPPED = (
    HELPERS
    + """
@pipeline
def main(a: list[int], b: list[int]):
    return each_of(add.map(a=each(a), b=each(b)))
"""
)


def test_lists_of_different_lengths_are_told(place: Place) -> None:
    place.code(MAPPED)
    assert place.ok(given={"a": [1, 2], "b": [3, 4]}).value("each_of") == 10
    failed = place.fails(given={"a": [1, 2], "b": [3]})
    assert "add is mapped over lists of different lengths: a 2, b 1" in failed.problem
    assert failed.states == {"add": "failed", "each_of": "skipped"}
    assert failed.ended.error is not None
    assert failed.ended.error.exit_status == 2


def test_an_empty_list_makes_no_tasks(place: Place) -> None:
    place.code(MAPPED)
    ran = place.ok(given={"a": [], "b": []})
    assert ran.states == {"each_of": "done"}
    assert ran.value("each_of") == 0
    place.code(body("return each_of([])"))
    assert place.ok().value("each_of") == 0


def test_a_list_that_is_too_long_is_told(place: Place) -> None:
    place.code(body(f"return each_of(list(range({MOST_ITEMS + 1})))"))
    with pytest.raises(Usage) as caught:
        place.plan()
    says(caught.value, ("each_of(numbers=…)", f"more than {MOST_ITEMS:,} items"), status=2)


def test_too_many_steps_are_told(place: Place) -> None:
    place.code(body("return [one() for _ in range(10_001)]"))
    with pytest.raises(Usage) as caught:
        place.plan()
    says(caught.value, ("main has 10,001 steps", "map over a list"), status=2)


def test_results_of_all_kinds_are_passed_on(place: Place) -> None:
    place.code(
        HELPERS
        + """
@step
def lengths(parts: list[bytes]) -> list[int]:
    return [len(part) for part in parts]

@step
def maybe(n: int | None, part: bytes | None) -> str:
    return f"{n} {part!r}"

@pipeline
def main():
    a, b = two()
    both = use.map(n=each([a, 5]))
    mixed = each_of([a, 7, use(2)])
    return (
        lengths([raw(), raw()]),
        lengths([]),
        maybe(None, None),
        maybe(one(), raw()),
        each_of(both),
        each_of(some()),
        mixed,
        use.map(n=each(both)),
        add.map(a=each([1, 2]), b=a),
    )
"""
    )
    ran = place.ok()
    assert ran.value("lengths") == [3, 3]
    assert ran.value("lengths-2") == []
    assert ran.value("maybe") == "None None"
    assert ran.value("maybe-2") == "1 b'raw'"
    assert ran.value("each_of-2") == 6
    assert ran.value("each_of-3") == 3
    assert ran.value("each_of") == 10
    assert (ran.value("add[0]"), ran.value("add[1]")) == (2, 3)
    assert set(place.ok().states.values()) == {"cached"}


# -- determinism ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value", ["random.SystemRandom().random()", "time.time_ns() / 1", "float(os.getpid())"]
)
def test_what_differs_for_one_seed_is_told_when_asked(place: Place, value: str) -> None:
    place.code(
        f"import os, random, time\n@step\ndef first() -> int:\n    return 1\n"
        f"@step\ndef work(n: int) -> float:\n    return {value}\n"
        "@pipeline\ndef main():\n    return work(first())\n"
    )
    failed = place.fails(check_determinism=True)
    assert failed.states == {"first": "done", "work": "failed"}
    assert "step work gives different results" in failed.problem
    assert "seed" in failed.problem
    assert place.ok().states["work"] == "done"


def test_what_is_the_same_twice_passes(place: Place) -> None:
    place.code(
        "import random\n@step\ndef work(seed: int) -> list[str]:\n"
        "    return [*map(str, (random.random(), seed)), *{'a', 'b', 'c'}]\n"
        "@step\ndef nothing() -> None:\n    return None\n"
        "@pipeline\ndef main():\n    return work(), nothing()\n"
    )
    ran = place.ok(check_determinism=True, seed=3)
    assert ran.states == {"work": "done", "nothing": "done"}
    assert place.ok(seed=3).states == {"work": "cached", "nothing": "cached"}


def test_a_negative_seed_is_told(place: Place) -> None:
    place.code(body("return one()"))
    with pytest.raises(Usage, match="negative"):
        place.plan(seed=-1)


def test_an_executor_that_is_not_installed_is_told(place: Place) -> None:
    place.settings(executors=["local", "cloud"])
    place.code(body("return one()"))
    with pytest.raises(Usage, match="no executor 'cloud'") as caught:
        place.run(executor="cloud")
    assert "local" in caught.value.remedy
    assert place.left() == []


@pytest.mark.slow
def test_a_frame_that_is_not_what_was_said_is_told(place: Place) -> None:
    place.code(
        """
        import polars as pl

        @step
        def rows() -> pl.DataFrame:
            return pl.DataFrame({"a": [1]}).lazy()

        @pipeline
        def main():
            return rows()
        """
    )
    failed = place.fails()
    assert "step rows" in failed.problem
    assert "DataFrame" in failed.problem
