"""What counts, and what does not: a step runs again whenever its result could be another one, and
gives that other one; it does not run again where nothing could have changed."""

from __future__ import annotations

import os
import platform
import site as sites
import sys
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from assay.isolation import paths

from .running import Place
from .test_environment import install

MAIN = """
@pipeline
def main() -> object:
    return work()
"""


@dataclass(frozen=True)
class Edit:
    """A pipeline whose ``work`` gives `before`; after `old` became `new` in `file`, `after`."""

    files: dict[str, str]
    file: str
    old: str
    new: str
    before: Any
    after: Any


def _one(
    body: str, old: str, new: str, before: Any, after: Any, files: dict[str, str] | None = None
) -> Edit:
    """An edit of p.py itself, or of the one other file whose text has `old`."""
    others = files or {}
    changed = [name for name, text in others.items() if old in text]
    return Edit({"p.py": body + MAIN, **others}, (changed or ["p.py"])[0], old, new, before, after)


COUNTS = {
    "the body of the function": _one("@step\ndef work() -> int:\n    return 1\n", "1", "2", 1, 2),
    "a helper in the same module": _one(
        "def helper() -> int:\n    return 1\n@step\ndef work() -> int:\n    return helper()\n",
        "return 1",
        "return 2",
        1,
        2,
    ),
    "a helper in another module": _one(
        "import other\n@step\ndef work() -> int:\n    return other.helper()\n",
        "return 1",
        "return 2",
        1,
        2,
        {
            "other.py": "def helper():\n    return 1\n",
        },
    ),
    "a helper of a helper": _one(
        "import other\n@step\ndef work() -> int:\n    return other.helper()\n",
        "VALUE = 1",
        "VALUE = 2",
        1,
        2,
        {
            "other.py": "from pkg.deep import VALUE\ndef helper():\n    return VALUE\n",
            "pkg/__init__.py": "",
            "pkg/deep.py": "VALUE = 1\n",
        },
    ),
    "an import in a function": _one(
        "@step\ndef work() -> int:\n    from other import VALUE\n    return VALUE\n",
        "VALUE = 1",
        "VALUE = 2",
        1,
        2,
        {
            "other.py": "VALUE = 1\n",
        },
    ),
    "a constant of the module": _one(
        "LIMIT = 1\n@step\ndef work() -> int:\n    return LIMIT\n", "= 1", "= 2", 1, 2
    ),
    "the type of a constant": _one(
        "LIMIT = 1\n@step\ndef work() -> str:\n    return repr(LIMIT)\n", "= 1", "= 1.0", "1", "1.0"
    ),
    "the sign of a zero": _one(
        "LIMIT = 0.0\n@step\ndef work() -> str:\n    return repr(LIMIT)\n",
        "= 0.0",
        "= -0.0",
        "0.0",
        "-0.0",
    ),
    "an attribute of a class": _one(
        "class Config:\n    depth = 1\n@step\ndef work() -> int:\n    return Config().depth\n",
        "depth = 1",
        "depth = 2",
        1,
        2,
    ),
    "an attribute of a base class elsewhere": _one(
        "import other\nclass Config(other.Base):\n    pass\n"
        "@step\ndef work() -> int:\n    return Config.depth\n",
        "depth = 1",
        "depth = 2",
        1,
        2,
        {
            "other.py": "class Base:\n    depth = 1\n",
        },
    ),
    "a decorator of one's own": _one(
        "import functools\n"
        "def more(f):\n    @functools.wraps(f)\n    def inner():\n        return f() + 1\n"
        "    return inner\n"
        "@step\n@more\ndef work() -> int:\n    return 1\n",
        "f() + 1",
        "f() + 2",
        2,
        3,
    ),
    "a decorator in another module": _one(
        "from other import more\n@step\n@more\ndef work() -> int:\n    return 1\n",
        "f() + 1",
        "f() + 2",
        2,
        3,
        {
            "other.py": "import functools\n"
            "def more(f):\n    @functools.wraps(f)\n    def inner():\n        return f() + 1\n"
            "    return inner\n",
        },
    ),
    "a default argument": _one(
        "def helper(n=1):\n    return n\n@step\ndef work() -> int:\n    return helper()\n",
        "n=1",
        "n=2",
        1,
        2,
    ),
    "a default argument of the step": _one(
        "@step\ndef work(n: int = 1) -> int:\n    return n\n", "= 1", "= 2", 1, 2
    ),
    "what a closure holds": _one(
        "def adder(n):\n    def add(x):\n        return x + n\n    return add\n"
        "ADD = adder(1)\n@step\ndef work() -> int:\n    return ADD(1)\n",
        "adder(1)",
        "adder(2)",
        2,
        3,
    ),
    "a factory in another module": _one(
        "from other import adder\nADD = adder(1)\n@step\ndef work() -> int:\n    return ADD(1)\n",
        "x + n",
        "x - n",
        2,
        0,
        {
            "other.py": "def adder(n):\n    def add(x):\n        return x + n\n    return add\n",
        },
    ),
    "an import by name": _one(
        "import importlib\n"
        "@step\ndef work() -> int:\n    return importlib.import_module('other').VALUE\n",
        "VALUE = 1",
        "VALUE = 2",
        1,
        2,
        {
            "other.py": "VALUE = 1\n",
        },
    ),
    "package data": _one(
        "from pkg.deep import value\n@step\ndef work() -> str:\n    return value()\n",
        "small",
        "large",
        "small",
        "large",
        {
            "pkg/__init__.py": "",
            "pkg/deep.py": "from pathlib import Path\n"
            "def value():\n    return Path(__file__).with_name('size.txt').read_text()\n",
            "pkg/size.txt": "small",
        },
    ),
    "a docstring that the code reads": _one(
        "def helper():\n    'old'\n@step\ndef work() -> str:\n    return helper.__doc__\n",
        "'old'",
        "'new'",
        "old",
        "new",
    ),
    "a line that the code counts": _one(
        "import sys\ndef line():\n    return sys._getframe(1).f_lineno\n"
        "@step\ndef work() -> bool:\n    return line() > 10\n",
        "import sys\n",
        "import sys\n\n\n\n\n\n",
        False,
        True,
    ),
    "what a star brings": _one(
        "from other import *\n@step\ndef work() -> int:\n    return VALUE\n",
        "VALUE = 1",
        "VALUE = 2",
        1,
        2,
        {
            "other.py": "VALUE = 1\n",
        },
    ),
    "code that runs on import": _one(
        "import other, settings\n@step\ndef work() -> int:\n    return settings.VALUE\n",
        "VALUE = 2",
        "VALUE = 3",
        2,
        3,
        {
            "settings.py": "VALUE = 1\n",
            "other.py": "import settings\nsettings.VALUE = 2\n",
        },
    ),
}


@pytest.mark.parametrize("what", COUNTS)
def test_what_counts_is_run_again_and_gives_the_new_result(place: Place, what: str) -> None:
    edit = COUNTS[what]
    for name, text in edit.files.items():
        if name == "p.py":
            place.code(text)
        else:
            place.write(name, text)
    assert place.ok().value("work") == edit.before
    assert place.ok().states == {"work": "cached"}
    place.edit(edit.file, edit.old, edit.new)
    again = place.ok()
    assert again.states == {"work": "done"}
    assert again.value("work") == edit.after
    assert again.why("work")
    assert place.ok().value("work") == edit.after


def test_going_back_to_earlier_code_finds_its_earlier_result(place: Place) -> None:
    place.code("@step\ndef work() -> int:\n    return 1\n" + MAIN)
    first = place.ok()
    place.edit("p.py", "return 1", "return 2")
    assert place.ok().value("work") == 2
    place.edit("p.py", "return 2", "return 1")
    back = place.ok()
    assert back.states == {"work": "cached"}
    assert back.value("work") == 1
    assert back.task("work").made_by == first.record.run


# -- what does not count --------------------------------------------------------------------------

PLAIN = '''"""Says what it is."""

from assay.pipeline import pipeline, step
import other


class Config:
    """Has a depth."""

    depth = 1


@step
def work(first: int = 1, second: int = 2) -> int:
    """Adds."""
    return other.helper(first) + second + Config.depth


@pipeline
def main(first: int = 1, second: int = 2) -> object:
    return work(first, second)
'''


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("p.py", "return work(first, second)", "# a comment\n    return work(first, second)  # b"),
        ("p.py", "    depth = 1", "\n\n    depth = (1)\n\n"),
        ("p.py", "other.helper(first)", "other.helper(\n        first,\n    )"),
        ("p.py", "Says what it is.", "Says something else."),
        ("p.py", "Has a depth.", "Had a depth."),
        ("p.py", '    """Adds."""\n', ""),
        ("p.py", "depth = 1", "depth = 0x1"),
        ("other.py", "# helps", "# does nothing"),
        ("other.py", '"up"', "'u' 'p'"),
    ],
)
def test_how_it_is_written_does_not_count(place: Place, file: str, old: str, new: str) -> None:
    place.write("p.py", PLAIN)
    place.write("other.py", 'def helper(n):\n    return n if "up" else 0  # helps\n')
    assert place.ok().value("work") == 4
    place.edit(file, old, new)
    assert place.ok().states == {"work": "cached"}


def test_files_that_no_step_can_reach_do_not_count(place: Place) -> None:
    place.write("p.py", PLAIN)
    place.write("other.py", "def helper(n):\n    return n\n")
    place.ok()
    place.write("unrelated.py", "import json\n")
    place.write("README.md", "# new\n")
    place.write("data/rows.csv", "a\n1\n")
    assert place.ok().states == {"work": "cached"}


def test_the_order_in_which_parameters_are_given_does_not_count(place: Place) -> None:
    place.write("p.py", PLAIN)
    place.write("other.py", "def helper(n):\n    return n\n")
    place.ok(given={"first": 3, "second": 4})
    again = place.ok(given={"second": "4", "first": "3"})
    assert again.states == {"work": "cached"}


def test_a_file_under_another_name_with_the_same_content_is_the_same(place: Place) -> None:
    place.code(FILES)
    place.write("one.txt", "same")
    place.write("two.txt", "same")
    assert place.ok(given={"path": "one.txt"}).value("work") == "same"
    assert place.ok(given={"path": "two.txt"}).states == {"work": "cached"}


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


# -- what cannot be told beforehand ---------------------------------------------------------------

COMPUTED = (
    "import importlib\n"
    "@step\ndef work(name: str = 'part') -> int:\n"
    "    return importlib.import_module('pkg.' + name).VALUE\n"
)


def test_a_computed_import_is_named_and_its_result_is_never_used_again(place: Place) -> None:
    place.code("import pkg\n" + COMPUTED + MAIN)
    place.write("pkg/__init__.py", "")
    place.write("pkg/part.py", "VALUE = 1\n")
    first = place.ok()
    assert first.value("work") == 1
    assert first.task("work").unstored == ["it read pkg/part.py"]
    place.write("pkg/part.py", "VALUE = 2\n")
    again = place.ok()
    assert again.states == {"work": "done"}
    assert again.value("work") == 2
    third = place.ok()
    assert third.states == {"work": "done"}
    assert third.why("work") == "its last result was not stored: it read pkg/part.py"


def test_a_computed_import_of_what_is_imported_elsewhere_is_covered(place: Place) -> None:
    place.code("import pkg.part\n" + COMPUTED + MAIN)
    place.write("pkg/__init__.py", "")
    place.write("pkg/part.py", "VALUE = 1\n")
    place.ok()
    assert place.ok().states == {"work": "cached"}
    place.write("pkg/part.py", "VALUE = 2\n")
    assert place.ok().value("work") == 2


@pytest.mark.parametrize(
    "looks",
    [
        "importlib.util.find_spec('pkg.' + name) is not None",
        "bool(sorted(p.name for p in Path(pkg.__file__).parent.iterdir() if p.stem == name))",
        "name in [m.name for m in pkgutil.iter_modules(pkg.__path__)]",
    ],
)
def test_looking_whether_a_module_is_there_counts_as_reading_it(place: Place, looks: str) -> None:
    place.code(
        "import importlib.util, pkgutil\nfrom pathlib import Path\nimport pkg\n"
        f"@step\ndef work(name: str = 'part') -> bool:\n    return {looks}\n" + MAIN
    )
    place.write("pkg/__init__.py", "")
    assert place.ok().value("work") is False
    place.write("pkg/part.py", "")
    assert place.ok().value("work") is True
    (place.repo / "pkg/part.py").unlink()
    assert place.ok().value("work") is False


def test_a_pipeline_that_computes_its_imports_is_traced_anew(place: Place) -> None:
    place.code(
        """
        import importlib
        import pkg

        @step
        def work(n: int) -> int:
            return n

        @pipeline
        def main(name: str = "part") -> object:
            return work(importlib.import_module("pkg." + name).VALUE)
        """
    )
    place.write("pkg/__init__.py", "")
    place.write("pkg/part.py", "VALUE = 1\n")
    assert place.ok().value("work") == 1
    place.write("pkg/part.py", "VALUE = 2\n")
    assert place.ok().value("work") == 2


@pytest.mark.parametrize(
    ("imports", "value"),
    [
        ("import time", "time.time()"),
        ("from datetime import datetime", "datetime.now().timestamp()"),
        ("import random", "random.SystemRandom().random()"),
        ("import os", "float(int.from_bytes(os.urandom(6), 'big'))"),
        ("import uuid", "float(uuid.uuid4().int >> 80)"),
    ],
)
def test_a_pipeline_that_asks_for_the_time_or_for_chance_is_traced_anew(
    place: Place, imports: str, value: str
) -> None:
    place.code(
        f"""
        {imports}

        @step
        def work(n: float) -> float:
            return n

        @pipeline
        def main() -> object:
            return work({value})
        """
    )
    first, second = place.ok(), place.ok()
    assert second.states == {"work": "done"}
    assert first.value("work") != second.value("work")


def test_a_default_that_is_computed_on_import_is_computed_anew(place: Place) -> None:
    place.code(
        """
        import time

        @step
        def work(n: float) -> float:
            return n

        @pipeline
        def main(n: float = time.time()) -> object:
            return work(n)
        """
    )
    assert place.ok().value("work") != place.ok().value("work")


# -- libraries ------------------------------------------------------------------------------------


@pytest.fixture
def library(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Generator[Callable[..., Path]]:
    """Installs made-up distributions in a folder of libraries of this user."""
    del place  # Made before there is such a folder.
    folder = tmp_path / "user" / "site-packages"
    folder.mkdir(parents=True)
    monkeypatch.setattr(sites, "ENABLE_USER_SITE", True)
    monkeypatch.setattr(sites, "getusersitepackages", lambda: str(folder))
    monkeypatch.setattr(sys, "path", [*sys.path, str(folder)])
    for found in (paths.search_path, paths.libraries):
        found.cache_clear()

    def add(name: str, version: str, files: dict[str, str], **more: Any) -> Path:
        for old in folder.glob(f"{name.replace('-', '_')}-*.dist-info"):
            for file in old.iterdir():
                file.unlink()
            old.rmdir()
        install(folder, name, version, files, **more)
        return folder

    yield add
    for found in (paths.search_path, paths.libraries):
        found.cache_clear()


LIBRARY = "import fancy\n@step\ndef work() -> int:\n    return fancy.value()\n" + MAIN


def test_another_version_of_a_library_counts(place: Place, library: Callable[..., Path]) -> None:
    place.code(LIBRARY)
    library("fancy", "1.0", {"fancy.py": "def value():\n    return 1\n"})
    assert place.ok().value("work") == 1
    assert place.ok().states == {"work": "cached"}
    library("fancy", "2.0", {"fancy.py": "def value():\n    return 22\n"})
    again = place.ok()
    assert again.value("work") == 22
    assert "installed fancy was 1.0, is 2.0" in again.why("work")


def test_other_files_of_the_same_version_count(place: Place, library: Callable[..., Path]) -> None:
    place.code(LIBRARY)
    library("fancy", "1.0", {"fancy.py": "def value():\n    return 1\n"})
    place.ok()
    library("fancy", "1.0", {"fancy.py": "def value():\n    return 2\n"})
    again = place.ok()
    assert again.value("work") == 2
    assert "installed fancy has other files" in again.why("work")


def test_what_a_library_requires_counts(place: Place, library: Callable[..., Path]) -> None:
    place.code(LIBRARY)
    library(
        "fancy",
        "1.0",
        {"fancy.py": "import base\ndef value():\n    return base.VALUE\n"},
        requires=("base",),
    )
    library("base", "1.0", {"base.py": "VALUE = 1\n"})
    assert place.ok().value("work") == 1
    library("base", "1.1", {"base.py": "VALUE = 2\n"})
    assert place.ok().value("work") == 2


def test_what_a_library_loads_without_requiring_it_counts(
    place: Place, library: Callable[..., Path]
) -> None:
    place.code(LIBRARY)
    library("fancy", "1.0", {"fancy.py": "import base\ndef value():\n    return base.VALUE\n"})
    library("base", "1.0", {"base.py": "VALUE = 1\n"})
    first = place.ok()
    assert first.task("work").unstored == []
    assert place.ok().states == {"work": "cached"}
    library("base", "1.1", {"base.py": "VALUE = 2\n"})
    again = place.ok()
    assert again.value("work") == 2
    assert again.why("work") == "installed base, which a library loads, is not what it was"
    assert place.ok().states == {"work": "cached"}


OPTIONAL = {
    "an import": "try:\n    import extra\n    VALUE = extra.VALUE\n"
    "except ImportError:\n    VALUE = 0\n",
    "a look": "import importlib.util\n"
    "VALUE = 0 if importlib.util.find_spec('extra') is None else 7\n",
    "a version": "from importlib import metadata\n"
    "try:\n    VALUE = int(metadata.version('extra'))\n"
    "except metadata.PackageNotFoundError:\n    VALUE = 0\n",
}


@pytest.mark.parametrize("how", OPTIONAL)
def test_a_library_that_another_one_would_use_if_it_were_there_counts_once_it_is(
    place: Place, library: Callable[..., Path], how: str
) -> None:
    place.code(LIBRARY)
    library("fancy", "1.0", {"fancy.py": f"{OPTIONAL[how]}def value():\n    return VALUE\n"})
    assert place.ok().value("work") == 0
    assert place.ok().states == {"work": "cached"}
    library("extra", "7", {"extra.py": "VALUE = 7\n"})
    assert place.ok().value("work") == 7
    assert place.ok().value("work") == 7


@pytest.mark.parametrize("how", OPTIONAL)
def test_a_library_that_a_step_would_use_if_it_were_there_counts_once_it_is(
    place: Place, library: Callable[..., Path], how: str
) -> None:
    place.code(f"{OPTIONAL[how]}@step\ndef work() -> int:\n    return VALUE\n" + MAIN)
    assert place.ok().value("work") == 0
    assert place.ok().states == {"work": "cached"}
    library("extra", "7", {"extra.py": "VALUE = 7\n"})
    assert place.ok().value("work") == 7
    assert place.ok().value("work") == 7


def test_a_module_that_becomes_ours_counts(place: Place, library: Callable[..., Path]) -> None:
    place.code(LIBRARY)
    library(
        "fancy", "1.0", {"fancy.py": f"{OPTIONAL['an import']}def value():\n    return VALUE\n"}
    )
    assert place.ok().value("work") == 0
    place.write("extra.py", "VALUE = 7\n")
    place.edit("p.py", "import fancy", "import fancy, extra")
    assert place.ok().value("work") == 7


def test_a_module_of_no_distribution_keeps_a_run_from_beginning(
    place: Place, library: Callable[..., Path]
) -> None:
    folder = library("other", "1.0", {"other.py": ""})
    (folder / "fancy.py").write_text("def value():\n    return 1\n")
    place.code(LIBRARY)
    _denied(place, "run.environment")


def test_a_module_of_no_distribution_that_a_library_loads_fails_the_step(
    place: Place, library: Callable[..., Path]
) -> None:
    place.code(LIBRARY)
    folder = library(
        "fancy", "1.0", {"fancy.py": "import loose\ndef value():\n    return loose.VALUE\n"}
    )
    (folder / "loose.py").write_text("VALUE = 1\n")
    assert "loose.py belongs to no installed distribution" in place.fails().problem
    _allow_altered(place)
    place.edit("p.py", "import fancy", "import fancy, loose")
    assert place.ok().value("work") == 1
    assert place.ok().states == {"work": "cached"}
    (folder / "loose.py").write_text("VALUE = 22\n")
    assert place.ok().value("work") == 22


def test_an_edited_library_keeps_a_run_from_beginning(
    place: Place, library: Callable[..., Path]
) -> None:
    place.code(LIBRARY)
    folder = library("fancy", "1.0", {"fancy.py": "def value():\n    return 1\n"})
    place.ok()
    (folder / "fancy.py").write_text("def value():\n    return 2\n")
    _denied(place, "run.environment")
    # Of the same size and time.
    status = (folder / "fancy.py").stat()
    library("fancy", "1.0", {"fancy.py": "def value():\n    return 1\n"})
    assert place.ok().value("work") == 1
    (folder / "fancy.py").write_text("def value():\n    return 3\n")
    os.utime(folder / "fancy.py", ns=(status.st_atime_ns, status.st_mtime_ns))
    _denied(place, "run.environment")


def test_an_edit_of_a_library_that_another_one_loads_fails_the_step(
    place: Place, library: Callable[..., Path]
) -> None:
    place.code(LIBRARY)
    folder = library(
        "fancy", "1.0", {"fancy.py": "import base\ndef value():\n    return base.VALUE\n"}
    )
    library("base", "1.0", {"base.py": "VALUE = 1\n"})
    place.ok()
    (folder / "base.py").write_text("VALUE = 2\n")
    failed = place.fails()
    assert failed.task("work").why == ["installed base, which a library loads, is not what it was"]
    assert "base.py" in failed.problem
    assert "step work" in failed.problem
    assert "--force-reinstall" in failed.problem
    place.edit("p.py", "import fancy", "import fancy, base")
    _denied(place, "run.environment")
    _allow_altered(place)
    again = place.ok()
    assert again.value("work") == 2
    (statement,) = place.provenance(again.task("work"))
    assert statement.predicate["assay_environment"] == "altered"


def test_an_altered_library_may_be_allowed_and_its_files_count(
    place: Place, library: Callable[..., Path]
) -> None:
    _allow_altered(place)
    place.code(LIBRARY)
    folder = library("fancy", "1.0", {"fancy.py": "def value():\n    return 1\n"})
    (folder / "fancy.py").write_text("def value():\n    return 2\n")
    first = place.ok()
    assert (first.value("work"), first.record.environment) == (2, "altered")
    (folder / "fancy.py").write_text("def value():\n    return 3\n")
    assert place.ok().value("work") == 3


def test_a_compiled_file_that_was_planted_beside_a_library_does_not_run(
    place: Place, library: Callable[..., Path]
) -> None:
    import py_compile

    place.code(LIBRARY)
    folder = library("fancy", "1.0", {"fancy.py": "def value():\n    return 1\n"})
    status = (folder / "fancy.py").stat()
    (folder / "fancy.py").write_text("def value():\n    return 6\n")
    os.utime(folder / "fancy.py", ns=(status.st_atime_ns, status.st_mtime_ns))
    py_compile.compile(str(folder / "fancy.py"))
    (folder / "fancy.py").write_text("def value():\n    return 1\n")
    os.utime(folder / "fancy.py", ns=(status.st_atime_ns, status.st_mtime_ns))
    assert place.ok().value("work") == 1


CODEC = """
from pathlib import Path

class Thing:
    def __init__(self, text):
        self.text = text

class Codec:
    name = "fancy/{version}"
    kind = "data"
    suffix = ".fancy"

    def accepts(self, hint):
        return hint is Thing

    def encode(self, value, hint, into):
        into.write_text("{version} " + value.text)

    def decode(self, path, hint):
        return Thing(path.read_text())

CODEC = Codec()
"""


def test_another_version_of_a_codec_counts(place: Place, library: Callable[..., Path]) -> None:
    place.code(
        """
        from fancy import Thing

        @step
        def first() -> Thing:
            return Thing("a")

        @step
        def work(thing: Thing) -> str:
            return thing.text

        @pipeline
        def main() -> object:
            return work(first())
        """
    )
    for version in (1, 2):
        library(
            "fancy",
            "1.0",
            {"fancy.py": CODEC.replace("{version}", str(version))},
            notes={"entry_points.txt": "[assay.codecs]\nfancy = fancy:CODEC\n"},
        )
        ran = place.ok()
        assert ran.value("work") == f"{version} a"
        assert ran.task("first").outputs[0][0].codec == f"fancy/{version}"
        again = place.ok()
        assert set(again.states.values()) == {"cached"}, again.why("work")


def test_another_python_counts(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.code("@step\ndef work() -> int:\n    return 1\n" + MAIN)
    place.ok()
    monkeypatch.setattr(platform, "python_version", lambda: "3.99.0")
    again = place.ok()
    assert again.states == {"work": "done"}
    assert "Python was cpython-3." in again.why("work")
    assert "is cpython-3.99.0" in again.why("work")


def test_a_library_that_changes_while_a_run_goes_on_ends_it(
    place: Place, library: Callable[..., Path]
) -> None:
    place.code(
        """
        import fancy

        @step
        def first() -> int:
            return 1

        @step
        def work(n: int) -> int:
            return n + fancy.VALUE

        @pipeline
        def main() -> object:
            return work(first())
        """
    )
    library("fancy", "1.0", {"fancy.py": "VALUE = 1\n"})

    def upgrade(text: str) -> None:
        if str(text) == "first: done":
            library("fancy", "2.0", {"fancy.py": "VALUE = 22\n"})

    failed = place.run(progress=upgrade)
    assert failed.record.state == "failed"
    assert "the installed libraries changed" in failed.problem
    again = place.ok()
    assert again.states["work"] == "done"
    assert again.value("work") == 23
    library("fancy", "1.0", {"fancy.py": "VALUE = 1\n"})
    assert place.ok().value("work") == 2


def _denied(place: Place, gate: str) -> None:
    from assay.errors import Denied

    with pytest.raises(Denied) as caught:
        place.run()
    assert [reason["gate"] for reason in caught.value.details["reasons"]] == [gate]


def _allow_altered(place: Place) -> None:
    """Change the policy so that altered libraries may run."""
    gate = (place.repo / "policy" / "gates.cedar").read_text()
    place.write(
        "policy/gates.cedar",
        gate.replace('["locked", "verified"]', '["locked", "verified", "altered"]'),
    )
    cases = (place.repo / "policy" / "tests.toml").read_text()
    case = cases.index('name = "nothing runs on libraries that were altered"')
    end = cases.index("[[cases]]", case)
    place.write("policy/tests.toml", cases[: cases.rindex("[[cases]]", 0, case)] + cases[end:])
    place.settings()
