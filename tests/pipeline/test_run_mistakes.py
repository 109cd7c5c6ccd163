"""What an author gets wrong: one line that names the step, the input and the remedy, and the exit
status that goes with it.  Found before anything runs, wherever that is possible."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from assay.errors import AssayError, Denied, NotFound, Usage
from assay.pipeline.graph import MOST_ITEMS

from .running import Place

MAIN = "@pipeline\ndef main():\n    return work()\n"
HELPERS = """
from pathlib import Path

@step
def one() -> int:
    return 1

@step
def some() -> list[int]:
    return [1, 2]

@step
def raw() -> bytes:
    return b"raw"

@step
def two() -> tuple[int, str]:
    return 1, "a"

@step
def use(n: int) -> int:
    return n

@step
def add(a: int, b: int) -> int:
    return a + b

@step
def each_of(numbers: list[int]) -> int:
    return sum(numbers)

@step
def file(path: Path) -> int:
    return len(path.read_bytes())
"""


def _body(lines: str) -> str:
    return f"{HELPERS}\n@pipeline\ndef main(n: int = 1) -> object:\n    {lines}\n"


CYCLE = """
@pipeline
def inner() -> object:
    return main()

@pipeline
def main() -> object:
    return inner()
"""

# What is wrong, and what the one line about it has to say.
BEFORE: dict[str, tuple[str, tuple[str, ...]]] = {
    "a cycle of pipelines": (CYCLE, ("calls itself", "loop inside a step")),
    "a cycle of waiting": (
        _body("a = one(); b = use(a); a.after(b); return b"),
        ("circle", "one", "use", ".after"),
    ),
    "waiting for oneself": (_body("a = one(); a.after(a); return a"), ("circle", "one")),
    "a parameter without annotation": (
        "@step\ndef work(n) -> int:\n    return n\n@pipeline\ndef main():\n    return work(1)\n",
        ("parameter n of step work has no annotation", "depth: int"),
    ),
    "a result without annotation": (
        "@step\ndef work(n: int):\n    return n\n@pipeline\ndef main():\n    return work(1)\n",
        ("the result of step work has no annotation", "->"),
    ),
    "an annotation that says nothing": (
        "from typing import Any\n@step\ndef work(n: Any) -> int:\n    return n\n"
        "@pipeline\ndef main():\n    return work(1)\n",
        ("Any", "does not say what the value is"),
    ),
    "a type that no codec takes": (
        "import socket\n@step\ndef work() -> socket.socket:\n    return 1\n"
        "@pipeline\ndef main():\n    return work()\n",
        ("socket", "assay.codecs"),
    ),
    "an annotation that cannot be read": (
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    from decimal import Decimal\n"
        "@step\ndef work(n: 'Decimal') -> int:\n    return 1\n"
        "@pipeline\ndef main():\n    return work(1)\n",
        ("step work", "Decimal", "TYPE_CHECKING"),
    ),
    "a lambda": (
        "work = step(lambda: 1)\n@pipeline\ndef main():\n    return work()\n",
        ("lambda has no name", "def name"),
    ),
    "a local function": (
        "def make():\n    @step\n    def work() -> int:\n        return 1\n    return work\n"
        "@pipeline\ndef main():\n    return make()()\n",
        ("step work is defined inside make", "top of the module"),
    ),
    "a method": (
        "class C:\n    @step\n    def work(self) -> int:\n        return 1\n"
        "@pipeline\ndef main():\n    return C().work()\n",
        ("C.work is a method", "plain function"),
    ),
    "an async function": (
        "@step\nasync def work() -> int:\n    return 1\n" + MAIN,
        ("work is async", "asyncio.run"),
    ),
    "a generator": (
        "@step\ndef work() -> int:\n    yield 1\n@pipeline\ndef main():\n    return work()\n",
        ("work is async or a generator", "whole result"),
    ),
    "a class": (
        "@step\nclass Work:\n    pass\n@pipeline\ndef main():\n    return Work()\n",
        ("Work is not a function", "@step"),
    ),
    "any number of arguments": (
        "@step\ndef work(*n: int) -> int:\n    return 1\n" + MAIN,
        ("step work takes *n", "list[T]"),
    ),
    "any keywords": (
        "@step\ndef work(**n: int) -> int:\n    return 1\n"
        "@pipeline\ndef main():\n    return work(a=1)\n",
        ("step work takes *", "list the parameters"),
    ),
    "an argument by position alone": (
        "@step\ndef work(n: int, /) -> int:\n    return 1\n" + MAIN,
        ("n cannot be given by name", "/"),
    ),
    "two steps of one name": (
        HELPERS + "@step(name='one')\ndef other() -> int:\n    return 2\n"
        "@pipeline\ndef main():\n    return [one(), other()]\n",
        ("two different steps are called one", "@step(name="),
    ),
    "a step whose name something else took": (
        "@step\ndef work() -> int:\n    return 1\nfirst = work\n"
        "@step\ndef work() -> int:\n    return 2\n@pipeline\ndef main():\n    return first()\n",
        ("step work cannot be found", "name of their own"),
    ),
    "a step under another name than its function": (
        "def work() -> int:\n    return 1\nother = step(work)\n@pipeline\ndef main():\n"
        "    return other()\n",
        ("step work cannot be found as work", "name of their own"),
    ),
    "a decorator around a step": (
        "import functools\n@functools.lru_cache\n@step\ndef work() -> int:\n    return 1\n"
        "@pipeline\ndef main():\n    return work()\n",
        ("step work cannot be found", "@step outermost"),
    ),
    "no pipeline": (HELPERS, ("p has no pipelines", "@pipeline")),
    "two pipelines": (
        _body("return one()") + "@pipeline\ndef other():\n    return one()\n",
        ("p has 2 pipelines", "FILE:NAME", "main, other"),
    ),
    "no step": (_body("return 1"), ("main has 0 steps", "call at least one step")),
    "a step outside of a pipeline's own function": (
        "from assay.pipeline import read\nrows = read('loans')\n" + _body("return one()"),
        ("@pipeline only", "assay run FILE"),
    ),
    "too many arguments": (
        _body("return use(1, 2)"),
        ("step use", "too many", "it takes (n: int)"),
    ),
    "a missing argument": (_body("return use()"), ("step use", "'n'", "it takes")),
    "an unknown argument": (_body("return use(m=1)"), ("step use", "'n'", "it takes")),
    "the wrong type": (_body("return use('a')"), ("use(n=…)", "`int`", "`str`", "annotated int")),
    "a fraction for a whole number": (_body("return use(1.5)"), ("use(n=…)", "`int`", "annotated")),
    "an infinite number": (
        "@step\ndef work(n: float) -> float:\n    return n\n"
        "@pipeline\ndef main():\n    return work(float('inf'))\n",
        ("work(n=…)", "finite numbers"),
    ),
    "no number": (
        "@step\ndef work(n: list[float]) -> int:\n    return 1\n"
        "@pipeline\ndef main():\n    return work([0.5, float('nan')])\n",
        ("work(n=…)", "finite numbers"),
    ),
    "a number that is too long": (_body("return use(2 ** 64)"), ("use(n=…)", "64 bits")),
    "an object": (_body("return use(object())"), ("use(n=…)", "object", "in a step")),
    "a function as an argument": (_body("return use(len)"), ("use(n=…)", "in a step")),
    "another step's wrong type": (
        _body("return use(raw())"),
        ("use(n=…)", "has to be int", "raw gives another type"),
    ),
    "a plain value for a frame": (
        "import polars as pl\n@step\ndef work(rows: pl.DataFrame) -> int:\n    return 1\n"
        "@pipeline\ndef main():\n    return work({'a': [1]})\n",
        ("work(rows=…)", "DataFrame", "another step returned"),
    ),
    "two results for one": (
        _body("return use(two())"),
        ("use(n=…)", "several results", "unpack it"),
    ),
    "the wrong one of two": (_body("a, b = two(); return raw(b)"), ("step raw",)),
    "too few names for two results": (
        _body("a, b, c = two()"),
        ("main failed", "ValueError", "p.py"),
    ),
    "a single result unpacked": (_body("a, b = one(); return a"), ("one returns", "unpacked")),
    "a result in an if": (
        _body("return use(1) if one() else use(2)"),
        ("one returns", "as a value"),
    ),
    "a result compared": (
        _body("return use(1) if one() == 1 else use(2)"),
        ("one returns", "value"),
    ),
    "a result in a sum": (_body("return use(one() + 1)"), ("what one returns", "inside a step")),
    "a result in text": (_body("return use(len(f'{one()}'))"), ("what one returns", "as a value")),
    "a result as text": (_body("return use(len(str(one())))"), ("what one returns", "as a value")),
    "a result printed into text": (_body("return use(len('%s' % one()))"), ("what one returns",)),
    "a result as a key": (_body("return use({one(): 1})"), ("what one returns", "as a value")),
    "a result in a dict": (_body("return use({'a': one()})"), ("use(n=…)", "dict", "in a step")),
    "a loop over a result": (
        _body("return [use(n) for n in some()]"),
        ("some returns", "unpacked"),
    ),
    "a result indexed": (_body("return use(some()[0])"), ("some returns", "indexed")),
    "a slice of results": (_body("return use(two()[:1])"), ("two returns", "indexed")),
    "the length of a result": (
        _body("return use(len(some()))"),
        ("what some returns", "as a value"),
    ),
    "an attribute of a result": (_body("return use(one().columns)"), ("main failed", "columns")),
    "a result called": (_body("return one()()"), ("what one returns", "as a value")),
    "a map without each": (_body("return use.map(n=[1, 2])"), ("use.map", "each([")),
    "each outside of a map": (_body("return use(each([1, 2]))"), ("use(n=…)", "STEP.map")),
    "a map over one value": (
        _body("return use.map(n=each(some()))"),
        ("use(n=…)", "takes a list of results", "some gives one"),
    ),
    "a map over the wrong items": (
        _body("return use.map(n=each([1, 'a']))"),
        ("use(n=…)", "`int`", "`str`"),
    ),
    "a map over what is no list": (
        _body("return use.map(n=each(3))"),
        ("main failed", "not iterable"),
    ),
    "a list where one is wanted": (
        _body("return use(use.map(n=each([1, 2])))"),
        ("use(n=…)", "one int", "use gives a list", "map over it"),
    ),
    "a list of lists of results": (
        _body("a = use.map(n=each([1])); return each_of([a, a])"),
        ("each_of(numbers=…)", "list of lists", "argument of its own"),
    ),
    "a list of results for one": (
        _body("return use([one(), one()])"),
        ("use(n=…)", "has to be int"),
    ),
    "a file where a number is wanted": (
        _body("return use(Path('p.py'))"),
        ("use(n=…)", "has to be int"),
    ),
    "a result where a file is wanted": (
        _body("return file(one())"),
        ("file(path=…)", "a path of a file of the project"),
    ),
    "a number where a file is wanted": (
        _body("return file(3)"),
        ("file(path=…)", "a path of a file"),
    ),
    "an amount that is none": (
        "@step(memory='much')\ndef work() -> int:\n    return 1\n" + MAIN,
        ("'much' is no amount of memory", "4 GiB"),
    ),
    "too little memory": (
        "@step(memory=10)\ndef work() -> int:\n    return 1\n" + MAIN,
        ("step work: memory is 10", "16 MiB"),
    ),
    "no time": (
        "@step(timeout=0)\ndef work() -> int:\n    return 1\n" + MAIN,
        ("step work: timeout is 0", "7 days"),
    ),
    "a port that is none": (
        "@step(network=[70000])\ndef work() -> int:\n    return 1\n" + MAIN,
        ("step work: ports", "65535"),
    ),
    "a variable that changes how programs start": (
        "@step(environment=['LD_PRELOAD'])\ndef work() -> int:\n    return 1\n" + MAIN,
        ("step work", "LD_PRELOAD"),
    ),
    "an error of the pipeline's own": (
        _body("raise RuntimeError('own mistake')"),
        ("pipeline main failed", "RuntimeError: own mistake", "p.py, line"),
    ),
    "an error on import": (
        "1 / 0\n",
        ("p cannot be imported", "ZeroDivisionError", "p.py, line 2"),
    ),
    "an error in a helper on import": (
        "import helper\n" + _body("return one()"),
        ("cannot be imported", "helper.py, line 1", "no files"),
    ),
    "a missing module": (
        "import no_such_module\n" + _body("return one()"),
        ("ModuleNotFoundError", "no_such_module", "p.py, line 2"),
    ),
    "a file read on import": (
        "TEXT = open('rows.csv').read()\n" + _body("return one()"),
        ("p cannot be imported", "rows.csv", "reads no files", "in a step"),
    ),
    "a socket on import": (
        "import socket\nsocket.create_connection(('127.0.0.1', 9))\n" + _body("return one()"),
        ("p cannot be imported", "PermissionError", "opens no network"),
    ),
    "a process on import": (
        "import subprocess\nsubprocess.run(['true'])\n" + _body("return one()"),
        ("p cannot be imported", "PermissionError", "starts nothing"),
    ),
    "an exit on import": ("raise SystemExit(3)\n", ("p cannot be imported", "SystemExit")),
    "not Python": ("def (:\n", ("p.py, line 2", "not valid Python")),
    "a name of the standard library": (
        "import json\n" + _body("return one()"),
        ("json.py", "standard library", "rename it"),
    ),
}


@pytest.mark.parametrize("what", BEFORE)
def test_a_mistake_is_found_before_anything_runs(place: Place, what: str) -> None:
    code, expected = BEFORE[what]
    place.code(code)
    place.write("helper.py", "raise OSError('no luck')\n")
    if what == "a name of the standard library":
        place.write("json.py", "")
    place.write("rows.csv", "a\n1\n")
    with pytest.raises(AssayError) as caught:
        place.plan("p.py:main" if what == "a cycle of pipelines" else "p.py")
    _says(caught.value, expected, status=2)
    assert place.left() == []


def _says(error: AssayError, expected: tuple[str, ...], *, status: int) -> None:
    line = f"{error.message} → {error.remedy}"
    assert error.remedy, line
    assert "\n" not in line
    for part in expected:
        assert part in line, line
    assert error.exit_status == status, error.code


PARAMETERS: list[tuple[dict[str, Any], tuple[str, ...]]] = [
    ({"m": "1"}, ("pipeline main has no parameter m", "it has: n, rate, tags")),
    ({}, ("parameter n of pipeline main has no value", "--set n=VALUE")),
    ({"n": "a"}, ("parameter n of pipeline main", "`int`", "it is int")),
    ({"n": "1.5"}, ("parameter n of pipeline main", "`int`")),
    ({"n": "1", "rate": "fast"}, ("parameter rate of pipeline main", "it is float")),
    ({"n": "1", "rate": "nan"}, ("parameter rate", "finite")),
    ({"n": "1", "tags": "a,b"}, ("parameter tags of pipeline main", "it is list[str]")),
    ({"n": "1", "tags": "[1]"}, ("parameter tags of pipeline main", "it is list[str]")),
    ({"n": str(2**70)}, ("parameter n", "64 bits")),
]


@pytest.mark.parametrize(("given", "expected"), PARAMETERS)
def test_a_wrong_parameter_is_named(
    place: Place, given: dict[str, Any], expected: tuple[str, ...]
) -> None:
    place.code(
        HELPERS + "@pipeline\ndef main(n: int, rate: float = 1.0, tags: list[str] = []):\n"
        "    return use(n)\n"
    )
    with pytest.raises(Usage) as caught:
        place.plan(given=given)
    _says(caught.value, expected, status=2)


@pytest.mark.parametrize(
    ("target", "kind", "expected"),
    [
        ("none.py", NotFound, ("there is no file none.py", "check the path")),
        ("no_module", NotFound, ("no_module", "name a file")),
        ("p.py:other", NotFound, ("p has no pipeline other", "its pipelines: main")),
        ("p.py:use", NotFound, ("p has no pipeline use", "its pipelines: main")),
        ("p.ipynb", Usage, ("is a notebook", "writefile")),
        ("data", NotFound, ("data", "name a file")),
        ("./data", NotFound, ("data", "name a file")),
        ("rows.csv", NotFound, ("rows.csv", "")),
        ("a-b.py", Usage, ("a-b", "rename it")),
        ("p.py:", None, ()),
    ],
)
def test_a_wrong_target_is_named(
    place: Place, target: str, kind: type[AssayError] | None, expected: tuple[str, ...]
) -> None:
    place.code(_body("return one()"))
    for name in ("p.ipynb", "rows.csv", "a-b.py", "data/rows.csv"):
        place.write(name, "{}")
    if kind is None:
        assert place.plan(target).pipeline == "p:main"
        return
    with pytest.raises(kind) as caught:
        place.plan(target)
    _says(caught.value, expected, status=kind.exit_status)


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
    _says(failed.ended.error, expected, status=1)
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
    _says(failed.ended.error, expected, status=2)


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
    place.code(_body("return each_of([])"))
    assert place.ok().value("each_of") == 0


def test_a_list_that_is_too_long_is_told(place: Place) -> None:
    place.code(_body(f"return each_of(list(range({MOST_ITEMS + 1})))"))
    with pytest.raises(Usage) as caught:
        place.plan()
    _says(caught.value, ("each_of(numbers=…)", f"more than {MOST_ITEMS:,} items"), status=2)


def test_too_many_steps_are_told(place: Place) -> None:
    place.code(_body("return [one() for _ in range(10_001)]"))
    with pytest.raises(Usage) as caught:
        place.plan()
    _says(caught.value, ("main has 10,001 steps", "map over a list"), status=2)


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
    place.code(_body("return one()"))
    with pytest.raises(Usage, match="negative"):
        place.plan(seed=-1)


def test_an_executor_that_is_not_installed_is_told(place: Place) -> None:
    place.settings(executors=["local", "cloud"])
    place.code(_body("return one()"))
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
