"""What a step is called with, and what came before it, counts by its exact value and content."""

from __future__ import annotations

from typing import Any

import pytest

from .running import Place

MAIN = """
@pipeline
def main() -> object:
    return work()
"""

# -- arguments ------------------------------------------------------------------------------------

FILES = """
from pathlib import Path

@step
def work(path: Path) -> str:
    return path.read_text()

@pipeline
def main(path: Path = Path("rows.txt")) -> object:
    return work(path)
"""


def test_the_content_of_a_file_counts(place: Place) -> None:
    place.code(FILES)
    place.write("rows.txt", "one")
    assert place.ok().value("work") == "one"
    assert place.ok().states == {"work": "cached"}
    place.write("rows.txt", "two")
    again = place.ok()
    assert again.value("work") == "two"
    assert "input path" in again.why("work")


def test_a_file_under_another_name_with_the_same_content_is_the_same(place: Place) -> None:
    place.code(FILES)
    place.write("one.txt", "same")
    place.write("two.txt", "same")
    assert place.ok(given={"path": "one.txt"}).value("work") == "same"
    assert place.ok(given={"path": "two.txt"}).states == {"work": "cached"}


def test_the_ending_of_a_files_name_counts_because_a_step_can_see_it(place: Place) -> None:
    place.code(FILES.replace("path.read_text()", "path.suffix"))
    place.write("rows.csv", "same")
    place.write("rows.txt", "same")
    assert place.ok(given={"path": "rows.csv"}).value("work") == ".csv"
    assert place.ok(given={"path": "rows.txt"}).value("work") == ".txt"


def test_a_file_in_a_list_counts(place: Place) -> None:
    place.code(
        """
        from pathlib import Path

        @step
        def work(paths: list[Path]) -> str:
            return " ".join(path.read_text() for path in paths)

        @pipeline
        def main() -> object:
            return work([Path("a.txt"), Path("b.txt")])
        """
    )
    place.write("a.txt", "a")
    place.write("b.txt", "b")
    assert place.ok().value("work") == "a b"
    place.write("b.txt", "c")
    assert place.ok().value("work") == "a c"


ANY = """
@step
def work(value: {hint}) -> str:
    return repr(value)

@pipeline
def main(value: {hint}) -> object:
    return work(value)
"""


@pytest.mark.parametrize(
    ("hint", "values"),
    [
        ("int", [1, 2, -1, 0]),
        ("int | float", [1, 1.0]),
        ("float", [0.0, -0.0, 0.1, 0.1 + 0.2, 0.3, 1e300]),
        ("bool | int", [True, 1, False, 0]),
        ("str | None", [None, "", "None", " ", "a", "A", "é", "e\u0301"]),
        ("int | str", [1, "1"]),
        ("list[int]", [[], [1], [1, 2], [2, 1]]),
        ("list[list[int]]", [[[1], [2]], [[1, 2]], [[], [1, 2]]]),
        ("list[str]", [["a b"], ["a", "b"], ['a", "b']]),
        ("dict[str, int]", [{"a": 1, "b": 2}, {"a": 2, "b": 1}, {"a": 1}, {}]),
    ],
)
def test_values_that_differ_are_never_confused(place: Place, hint: str, values: list[Any]) -> None:
    place.code(ANY.format(hint=hint))
    given = [place.ok(given={"value": value}) for value in values]
    assert [ran.value("work") for ran in given] == [repr(value) for value in values]
    assert [place.ok(given={"value": v}).states["work"] for v in values] == ["cached"] * len(values)


def test_the_name_of_an_argument_counts(place: Place) -> None:
    place.code(
        """
        @step
        def work(a: int = 0, b: int = 0) -> str:
            return f"{a} {b}"

        @pipeline
        def main(swap: bool = False) -> object:
            return work(b=1) if swap else work(a=1)
        """
    )
    assert place.ok(given={"swap": False}).value("work") == "1 0"
    assert place.ok(given={"swap": True}).value("work") == "0 1"


def test_a_value_and_a_result_that_looks_like_it_are_not_confused(place: Place) -> None:
    place.code(
        """
        @step
        def first() -> str:
            return "x"

        @step
        def work(texts: list[str]) -> str:
            return ",".join(texts)

        @pipeline
        def main(text: str = "") -> object:
            return work([text]) if text else work([first()])
        """
    )
    one = place.ok()
    digest = one.task("first").outputs[0][0].digest
    assert one.value("work") == "x"
    assert place.ok(given={"text": digest}).value("work") == digest


def test_the_seed_counts_and_a_step_gets_it(place: Place) -> None:
    place.code(
        """
        import random

        @step
        def work(seed: int) -> list[float]:
            return [seed, random.random()]

        @pipeline
        def main() -> object:
            return work()
        """
    )
    first = place.ok(seed=1)
    assert first.value("work")[0] == 1
    assert place.ok(seed=1).states == {"work": "cached"}
    other = place.ok(seed=2)
    assert other.value("work")[0] == 2
    assert other.value("work")[1] != first.value("work")[1]
    assert "seed was 1, is 2" in other.why("work")
    assert place.ok(seed=1, cache="ignore").value("work") == first.value("work")


def test_an_environment_variable_that_a_step_declares_counts(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.settings(step_variables=["REGION"])
    place.code(
        """
        import os

        @step(environment=["REGION"])
        def work() -> str:
            return os.environ["REGION"]

        @pipeline
        def main() -> object:
            return work()
        """
    )
    monkeypatch.setenv("REGION", "north")
    assert place.ok().value("work") == "north"
    assert place.ok().states == {"work": "cached"}
    monkeypatch.setenv("REGION", "south")
    again = place.ok()
    assert again.value("work") == "south"
    assert again.why("work") == "environment variable REGION changed"
    assert "south" not in repr(again.record)


def test_variables_that_no_step_declares_are_not_there_and_do_not_count(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.code(
        "import os\n@step\ndef work() -> list[str]:\n"
        "    return sorted(n for n in os.environ if 'SECRET' in n)\n" + MAIN
    )
    monkeypatch.setenv("SECRET_TOKEN", "a")
    assert place.ok().value("work") == []
    monkeypatch.setenv("SECRET_TOKEN", "b")
    assert place.ok().states == {"work": "cached"}


# -- what came before -----------------------------------------------------------------------------

CHAIN = """
from training import fit

@step
def rows() -> list[int]:
    return [1, 2, 3]

@step
def train(rows: list[int]) -> dict[str, float]:
    return {"slope": fit(rows)}

@pipeline
def main() -> object:
    from predicting import predict
    return predict(train(rows()))
"""
PREDICT = """
from assay.pipeline import step

@step
def predict(model: dict[str, float]) -> list[float]:
    return [model["slope"] * x for x in (1, 2)]
"""


def test_a_model_that_is_trained_anew_does_not_serve_old_predictions(place: Place) -> None:
    place.code(CHAIN)
    place.write("predicting.py", PREDICT)
    place.write("training.py", "def fit(rows):\n    return sum(rows)\n")
    assert place.ok().value("predict") == [6.0, 12.0]
    assert set(place.ok().states.values()) == {"cached"}
    place.write("training.py", "def fit(rows):\n    return max(rows)\n")
    again = place.ok()
    assert again.states["train"] == again.states["predict"] == "done"
    assert again.value("predict") == [3.0, 6.0]
    assert "input model changed" in again.why("predict")


def test_what_gives_the_same_again_cuts_the_rerun_short(place: Place) -> None:
    place.code(CHAIN)
    place.write("predicting.py", PREDICT)
    place.write("training.py", "def fit(rows):\n    return sum(rows)\n")
    place.ok()
    place.write("training.py", "def fit(rows):\n    return sum(sorted(rows))\n")
    again = place.ok()
    assert again.states["train"] == "done"
    assert again.states["predict"] == "cached"
    assert again.value("predict") == [6.0, 12.0]


def test_the_order_of_a_list_of_results_counts(place: Place) -> None:
    place.code(
        """
        @step
        def one(n: int) -> int:
            return n

        @step
        def work(numbers: list[int]) -> list[int]:
            return numbers

        @pipeline
        def main(turned: bool = False) -> object:
            a, b = one(1), one(2)
            return work([b, a] if turned else [a, b])
        """
    )
    assert place.ok().value("work") == [1, 2]
    assert place.ok(given={"turned": True}).value("work") == [2, 1]


def test_one_result_and_a_list_of_it_are_not_confused(place: Place) -> None:
    place.code(
        """
        @step
        def one() -> bytes:
            return b"x"

        @step
        def many(parts: list[bytes]) -> int:
            return len(parts)

        @pipeline
        def main() -> object:
            a = one()
            return many([a]), many([a, a])
        """
    )
    ran = place.ok()
    assert (ran.value("many"), ran.value("many-2")) == (1, 2)


def test_an_item_that_changes_reruns_its_task_alone(place: Place) -> None:
    place.code(
        """
        @step
        def square(n: int) -> int:
            return n * n

        @step
        def total(numbers: list[int]) -> int:
            return sum(numbers)

        @pipeline
        def main(numbers: list[int]) -> object:
            return total(square.map(n=each(numbers)))
        """
    )
    assert place.ok(given={"numbers": [1, 2, 3]}).value("total") == 14
    again = place.ok(given={"numbers": [3, 4, 1]})
    assert again.states == {
        "square[0]": "cached",
        "square[1]": "done",
        "square[2]": "cached",
        "total": "done",
    }
    assert again.value("total") == 26
