"""What counts, and what does not: a step runs again whenever its result could be another one, and
gives that other one; it does not run again where nothing could have changed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from .running import Place

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


PLUGINS = """
from pathlib import Path

@step
def work() -> list[str]:
    folder = Path(__file__).parent / "plugins"
    return [name for name in ("one", "two") if (folder / f"{name}.py").exists()]
"""


def test_a_module_that_is_only_asked_after_counts(place: Place) -> None:
    """Asking whether a file is there opens nothing, so that nothing could notice it."""
    place.code("from pkg.steps import work\n" + MAIN)
    place.write("pkg/__init__.py", "")
    place.code(PLUGINS, "pkg/steps.py")
    place.write("pkg/plugins/one.py", "")
    assert place.ok().value("work") == ["one"]
    assert place.ok().states == {"work": "cached"}
    place.write("pkg/plugins/two.py", "")
    again = place.ok()
    assert again.value("work") == ["one", "two"]
    assert again.why("work") == "the list of code files changed"


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
