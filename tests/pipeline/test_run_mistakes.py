"""What an author gets wrong: one line that names the step, the input and the remedy, and the exit
status that goes with it.  Found before anything runs, wherever that is possible."""

from __future__ import annotations

from typing import Any

import pytest

from assay.errors import AssayError, NotFound, Usage

from .running import HELPERS, MAIN, Place, body, says

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
        body("a = one(); b = use(a); a.after(b); return b"),
        ("circle", "one", "use", ".after"),
    ),
    "waiting for oneself": (body("a = one(); a.after(a); return a"), ("circle", "one")),
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
        body("return one()") + "@pipeline\ndef other():\n    return one()\n",
        ("p has 2 pipelines", "FILE:NAME", "main, other"),
    ),
    "no step": (body("return 1"), ("main has 0 steps", "call at least one step")),
    "a step outside of a pipeline's own function": (
        "from assay.pipeline import read\nrows = read('loans')\n" + body("return one()"),
        ("@pipeline only", "assay run FILE"),
    ),
    "too many arguments": (
        body("return use(1, 2)"),
        ("step use", "too many", "it takes (n: int)"),
    ),
    "a missing argument": (body("return use()"), ("step use", "'n'", "it takes")),
    "an unknown argument": (body("return use(m=1)"), ("step use", "'n'", "it takes")),
    "the wrong type": (body("return use('a')"), ("use(n=…)", "`int`", "`str`", "annotated int")),
    "a fraction for a whole number": (body("return use(1.5)"), ("use(n=…)", "`int`", "annotated")),
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
    "a number that is too long": (body("return use(2 ** 64)"), ("use(n=…)", "64 bits")),
    "an object": (body("return use(object())"), ("use(n=…)", "object", "in a step")),
    "a function as an argument": (body("return use(len)"), ("use(n=…)", "in a step")),
    "another step's wrong type": (
        body("return use(raw())"),
        ("use(n=…)", "has to be int", "raw gives another type"),
    ),
    "a plain value for a frame": (
        "import polars as pl\n@step\ndef work(rows: pl.DataFrame) -> int:\n    return 1\n"
        "@pipeline\ndef main():\n    return work({'a': [1]})\n",
        ("work(rows=…)", "DataFrame", "another step returned"),
    ),
    "two results for one": (
        body("return use(two())"),
        ("use(n=…)", "several results", "unpack it"),
    ),
    "the wrong one of two": (body("a, b = two(); return raw(b)"), ("step raw",)),
    "too few names for two results": (
        body("a, b, c = two()"),
        ("main failed", "ValueError", "p.py"),
    ),
    "a single result unpacked": (body("a, b = one(); return a"), ("one returns", "unpacked")),
    "a result in an if": (
        body("return use(1) if one() else use(2)"),
        ("one returns", "as a value"),
    ),
    "a result compared": (
        body("return use(1) if one() == 1 else use(2)"),
        ("one returns", "value"),
    ),
    "a result in a sum": (body("return use(one() + 1)"), ("what one returns", "inside a step")),
    "a result in text": (body("return use(len(f'{one()}'))"), ("what one returns", "as a value")),
    "a result as text": (body("return use(len(str(one())))"), ("what one returns", "as a value")),
    "a result printed into text": (body("return use(len('%s' % one()))"), ("what one returns",)),
    "a result as a key": (body("return use({one(): 1})"), ("what one returns", "as a value")),
    "a result in a dict": (body("return use({'a': one()})"), ("use(n=…)", "dict", "in a step")),
    "a loop over a result": (
        body("return [use(n) for n in some()]"),
        ("some returns", "unpacked"),
    ),
    "a result indexed": (body("return use(some()[0])"), ("some returns", "indexed")),
    "a slice of results": (body("return use(two()[:1])"), ("two returns", "indexed")),
    "the length of a result": (
        body("return use(len(some()))"),
        ("what some returns", "as a value"),
    ),
    "an attribute of a result": (body("return use(one().columns)"), ("main failed", "columns")),
    "a result called": (body("return one()()"), ("what one returns", "as a value")),
    "a map without each": (body("return use.map(n=[1, 2])"), ("use.map", "each([")),
    "each outside of a map": (body("return use(each([1, 2]))"), ("use(n=…)", "STEP.map")),
    "a map over one value": (
        body("return use.map(n=each(some()))"),
        ("use(n=…)", "takes a list of results", "some gives one"),
    ),
    "a map over the wrong items": (
        body("return use.map(n=each([1, 'a']))"),
        ("use(n=…)", "`int`", "`str`"),
    ),
    "a map over what is no list": (
        body("return use.map(n=each(3))"),
        ("main failed", "not iterable"),
    ),
    "a list where one is wanted": (
        body("return use(use.map(n=each([1, 2])))"),
        ("use(n=…)", "one int", "use gives a list", "map over it"),
    ),
    "a list of lists of results": (
        body("a = use.map(n=each([1])); return each_of([a, a])"),
        ("each_of(numbers=…)", "list of lists", "argument of its own"),
    ),
    "a list of results for one": (
        body("return use([one(), one()])"),
        ("use(n=…)", "has to be int"),
    ),
    "a file where a number is wanted": (
        body("return use(Path('p.py'))"),
        ("use(n=…)", "has to be int"),
    ),
    "a result where a file is wanted": (
        body("return file(one())"),
        ("file(path=…)", "a path of a file of the project"),
    ),
    "a number where a file is wanted": (
        body("return file(3)"),
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
        body("raise RuntimeError('own mistake')"),
        ("pipeline main failed", "RuntimeError: own mistake", "p.py, line"),
    ),
    "an error on import": (
        "1 / 0\n",
        ("p cannot be imported", "ZeroDivisionError", "p.py, line 2"),
    ),
    "an error in a helper on import": (
        "import helper\n" + body("return one()"),
        ("cannot be imported", "helper.py, line 1", "no files"),
    ),
    "a missing module": (
        "import no_such_module\n" + body("return one()"),
        ("ModuleNotFoundError", "no_such_module", "p.py, line 2"),
    ),
    "a file read on import": (
        "TEXT = open('rows.csv').read()\n" + body("return one()"),
        ("p cannot be imported", "rows.csv", "reads no files", "in a step"),
    ),
    "a socket on import": (
        "import socket\nsocket.create_connection(('127.0.0.1', 9))\n" + body("return one()"),
        ("p cannot be imported", "PermissionError", "opens no network"),
    ),
    "a process on import": (
        "import subprocess\nsubprocess.run(['true'])\n" + body("return one()"),
        ("p cannot be imported", "PermissionError", "starts nothing"),
    ),
    "an exit on import": ("raise SystemExit(3)\n", ("p cannot be imported", "SystemExit")),
    "not Python": ("def (:\n", ("p.py, line 2", "not valid Python")),
    "a name of the standard library": (
        "import json\n" + body("return one()"),
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
    says(caught.value, expected, status=2)
    assert place.left() == []


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
    says(caught.value, expected, status=2)


@pytest.mark.parametrize(
    ("target", "kind", "expected"),
    [
        ("none.py", NotFound, ("there is no file none.py", "check the path")),
        ("no_module", NotFound, ("no_module", "name a file")),
        ("p.py:other", NotFound, ("p has no pipeline other", "its pipelines: main")),
        ("p.py:use", NotFound, ("p has no pipeline use", "its pipelines: main")),
        ("p.ipynb", Usage, ("is a notebook", "writefile")),
        ("heap", NotFound, ("heap", "name a file")),
        ("./heap", NotFound, ("heap", "name a file")),
        ("rows.csv", NotFound, ("rows.csv", "")),
        ("a-b.py", Usage, ("a-b", "rename it")),
        ("p.py:", None, ()),
    ],
)
def test_a_wrong_target_is_named(
    place: Place, target: str, kind: type[AssayError] | None, expected: tuple[str, ...]
) -> None:
    place.code(body("return one()"))
    for name in ("p.ipynb", "rows.csv", "a-b.py", "heap/rows.csv"):
        place.write(name, "{}")
    if kind is None:
        assert place.plan(target).pipeline == "p:main"
        return
    with pytest.raises(kind) as caught:
        place.plan(target)
    says(caught.value, expected, status=kind.exit_status)
