"""What the digest of code depends on: everything that can change what runs, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from assay.errors import NotFound, Usage
from assay.pipeline.code import Closure, Codebase

PROJECT = {
    "pipelines/credit.py": """\
'''The pipeline.'''
import numpy as np
from shop import features
from shop.deep.model import *
import importlib

LIMIT = 10


def bounded(value, most=LIMIT):
    def inner():
        return value if value < most else most
    return inner


class Options:
    depth = 3


@features.counted
def train(rows):
    '''Train.'''
    plug = importlib.import_module("shop.plugged")
    return plug.fit(features.clean(rows), Options.depth)
""",
    "shop/__init__.py": "SCALE = 1.0\n",
    "shop/features.py": """\
from . import helpers
from .constants import RATE


def counted(function):
    return function


def clean(rows):
    return helpers.twice(rows, RATE)
""",
    "shop/helpers.py": """\
from .far import away


def twice(rows, by):
    return away(rows) * by
""",
    "shop/far.py": "def away(rows):\n    return rows\n",
    "shop/constants.py": "RATE = 2\n",
    "shop/deep/__init__.py": "",
    "shop/deep/model.py": "from ..constants import RATE as SPEED\nDEPTH = 4\n",
    "shop/plugged.py": "def fit(rows, depth):\n    return (rows, depth)\n",
    "shop/unrelated.py": "X = 1\n",
    "shop/data/weights.json": '{"a": 1}',
    "shop/other/__init__.py": "",
    "shop/other/table.csv": "a,b\n",
    "notes.txt": "nothing",
    "elsewhere.py": "Y = 1\n",
}


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    write(tmp_path, PROJECT)
    return tmp_path


def read(folder: Path, target: str = "pipelines/credit.py") -> Codebase:
    return Codebase.read(target, folder=folder, path=())


def closed(folder: Path, target: str = "pipelines/credit.py") -> Closure:
    code = read(folder, target)
    return code.closure(code.module)


def test_a_closure_names_every_module_that_the_text_can_reach(project: Path) -> None:
    closure = closed(project)
    assert set(closure.modules) == {
        *("credit", "shop", "shop.features", "shop.helpers", "shop.far", "shop.constants"),
        *("shop.deep", "shop.deep.model", "shop.plugged"),
    }
    assert set(closure.data) == {"shop/data/weights.json"}
    assert closure.third_party == ("numpy",)
    assert closure.precision == "syntax"
    assert "1/shop/data/weights.json" in closure.paths
    assert "1/shop/unrelated.py" not in closure.paths
    assert "1/shop/other/table.csv" not in closure.paths


def test_the_files_of_a_closure_are_the_files_that_are_staged(project: Path) -> None:
    code = read(project)
    staged = code.files()
    assert code.closure("credit").paths < staged.keys()
    assert code.roots == ("0", "1")
    assert staged["0/credit.py"] == (project / "pipelines/credit.py").read_bytes()
    assert {path.partition("/")[2] for path in staged} == {
        "credit.py",
        *(name for name in PROJECT if name.startswith("shop/")),
    }
    assert set(code.data) == {"shop/data/weights.json", "shop/other/table.csv"}


def edited(path: str, old: str, new: str) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        text = (folder / path).read_text()
        assert old in text
        (folder / path).write_text(text.replace(old, new))

    return edit


def added(path: str, text: str) -> Callable[[Path], None]:
    def add(folder: Path) -> None:
        write(folder, {path: text})

    return add


CREDIT = "pipelines/credit.py"
COUNTS = {
    "a function body": edited(CREDIT, "features.clean(rows)", "features.clean(rows + 1)"),
    "a helper in another module": edited("shop/helpers.py", "* by", "/ by"),
    "a helper two imports away": edited("shop/far.py", "return rows", "return rows + 1"),
    "a module constant": edited("shop/constants.py", "2", "3"),
    "the type of a constant": edited("shop/constants.py", "2", "2.0"),
    "a class attribute": edited(CREDIT, "depth = 3", "depth = 4"),
    "a decorator": edited(CREDIT, "@features.counted\n", ""),
    "what a decorator does": edited("shop/features.py", "return function", "return lambda r: r"),
    "a default argument": edited(CREDIT, "most=LIMIT", "most=LIMIT + 1"),
    "a closure": edited(CREDIT, "value < most", "value <= most"),
    "a module constant of the target": edited(CREDIT, "LIMIT = 10", "LIMIT = 11"),
    "a relative import": edited("shop/features.py", ".constants import RATE", ".far import RATE"),
    "a parent package": edited("shop/__init__.py", "1.0", "1.5"),
    "a parent package that was empty": edited("shop/deep/__init__.py", "", "import os\n"),
    "what a star import brings": edited("shop/deep/model.py", "DEPTH = 4", "DEPTH = 5"),
    "a module imported by its name in text": edited("shop/plugged.py", "depth)\n", "0)\n"),
    "package data": edited("shop/data/weights.json", "1", "2"),
    "package data that is new": added("shop/data/more.bin", "x"),
    "a new module that takes the place of a library": added("numpy.py", "x = 1\n"),
    "a package that takes the place of a module": added("shop/far/__init__.py", "away = 1\n"),
    "a type annotation": edited("shop/far.py", "(rows)", "(rows: int)"),
    "an assertion": edited("shop/far.py", "return rows", "assert rows\n    return rows"),
    "the order of statements": edited(
        CREDIT,
        "import numpy as np\nfrom shop import features\n",
        "from shop import features\nimport numpy as np\n",
    ),
}
COUNTS_NOT = {
    "a comment": edited(CREDIT, "LIMIT = 10", "LIMIT = 10  # At most."),
    "formatting": edited(CREDIT, "value < most", "(value\n         < most)"),
    "quotes": edited(CREDIT, '"shop.plugged"', "'shop.plugged'"),
    "a docstring": edited(CREDIT, "'''Train.'''", "'''Train a model.'''"),
    "line ends": edited("shop/far.py", "\n", "\r\n"),
    "an unrelated module": edited("shop/unrelated.py", "1", "2"),
    "an unrelated file": edited("notes.txt", "nothing", "something"),
    "an unrelated plain module": edited("elsewhere.py", "1", "2"),
    "data of a package that is not imported": edited("shop/other/table.csv", "a", "c"),
    "compiled files": added("shop/__pycache__/far.cpython-311.pyc", "x"),
    "a compiled file without its source": added("shop/ghost.pyc", "x"),
    "types for checkers": added("shop/far.pyi", "x: int"),
    "a hidden file": added("shop/.far.py.swp", "x"),
    "a hidden folder": added("shop/.git/config", "x"),
    "a virtual environment in the package": lambda folder: write(
        folder, {"shop/venv/pyvenv.cfg": "", "shop/venv/lib/x.py": "x"}
    ),
    "a folder of another tool": added("shop/node_modules/x/y.js", "x"),
    "a virtual environment in the project": lambda folder: write(
        folder, {"numpy/pyvenv.cfg": "", "numpy/__init__.py": ""}
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", COUNTS)
def test_what_can_change_the_result_changes_the_digest(project: Path, what: str) -> None:
    before = closed(project)
    COUNTS[what](project)
    after = closed(project)
    assert after.digest != before.digest
    assert (after.modules, after.data) != (before.modules, before.data)


@pytest.mark.parametrize("what", COUNTS_NOT)
def test_what_cannot_change_the_result_keeps_the_digest(project: Path, what: str) -> None:
    before = closed(project)
    COUNTS_NOT[what](project)
    assert closed(project) == before


SEEING = {
    "inspect": "import inspect\n",
    "a frame's line": "import sys\nx = lambda f: f.f_lineno\n",
    "its own file": "from pathlib import Path\nHERE = Path(__file__).parent\n",
    "a traceback": "from traceback import format_exc\n",
    "resources": "from importlib import resources\n",
    "a name in text": "x = lambda f: getattr(f, '__code__')\n",
    "the format of a log": "FORMAT = '%(lineno)d %(message)s'\n",
    "a library nobody knows": "import quite_unknown_library\n",
    "a module by its name in text": "x = __import__('inspect')\n",
    "the syntax of text": "import ast\nx = lambda t: ast.parse(t)\n",
    "warnings as they were issued": "import warnings\nx = warnings.catch_warnings\n",
    "where code lies": "import sys\nx = sys.path\n",
}


@pytest.mark.parametrize("what", SEEING)
def test_comments_count_where_code_can_see_them(project: Path, what: str) -> None:
    write(project, {"shop/far.py": SEEING[what] + PROJECT["shop/far.py"]})
    before = closed(project)
    assert before.precision == "every byte"
    # In any module: line numbers are seen across them.
    COUNTS_NOT["a comment"](project)
    assert closed(project).digest != before.digest


@pytest.mark.parametrize(
    "text", ["x = lambda f: f.__doc__\n", "import typer\n", "x = vars\n", "import pydoc\n"]
)
def test_docstrings_count_where_code_can_read_them(project: Path, text: str) -> None:
    write(project, {"shop/far.py": text + PROJECT["shop/far.py"]})
    before = closed(project)
    assert before.precision == "syntax and docstrings"
    COUNTS_NOT["a comment"](project)
    assert closed(project) == before
    COUNTS_NOT["a docstring"](project)
    assert closed(project).digest != before.digest


def test_reading_literals_is_not_looking_at_source(project: Path) -> None:
    text = "import ast\nx = ast.literal_eval('1')\ncolumns = ['code', 'profile', 'lines']\n"
    write(project, {"shop/far.py": text + PROJECT["shop/far.py"]})
    assert closed(project).precision == "syntax"


@pytest.mark.parametrize(
    ("text", "module"),
    [
        ("def f():\n    import helper\n", "helper"),
        ("try:\n    import helper\nexcept ImportError:\n    pass\n", "helper"),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import helper\n", "helper"),
        ("import pkg.sub.leaf as leaf\n", "pkg.sub.leaf"),
        ("from pkg import sub\n", "pkg.sub"),
        ("from pkg.sub import leaf\n", "pkg.sub.leaf"),
        ("from pkg import *\n", "pkg.listed"),
        ("from computed import *\n", "computed.any"),
        ("import importlib as i\ni.import_module('.sub', 'pkg')\n", "pkg.sub"),
        ("from importlib import import_module as load\nload('pkg.sub')\n", "pkg.sub"),
        ("x = __import__('pkg', fromlist=['sub'])\n", "pkg.sub"),
        ("from importlib.resources import files\nfiles('pkg.sub')\n", "pkg.sub"),
        ("import pkgutil\npkgutil.get_data('pkg.sub', 'x.txt')\n", "pkg.sub"),
        ("import spaces.inner.leaf\n", "spaces.inner.leaf"),
        ("from spaces.inner import leaf\n", "spaces.inner.leaf"),
        ("import cycle_a\n", "cycle_b"),
        ("async def f():\n    async with x() as y:\n        import helper\n", "helper"),
        ("match 1:\n    case 1:\n        import helper\n", "helper"),
        ("class A:\n    import helper\n", "helper"),
        ("x = lambda: __import__('helper')\n", "helper"),
    ],
)  # fmt: skip
def test_imports_are_followed_wherever_they_stand(tmp_path: Path, text: str, module: str) -> None:
    write(
        tmp_path,
        {
            "main.py": text,
            "helper.py": "",
            "pkg/__init__.py": "__all__ = ['listed']\n",
            "pkg/listed.py": "",
            "pkg/sub/__init__.py": "",
            "pkg/sub/leaf.py": "",
            "computed/__init__.py": "__all__ = [n for n in ('any',)]\n",
            "computed/any.py": "",
            "spaces/inner/leaf.py": "",
            "cycle_a.py": "import cycle_b\n",
            "cycle_b.py": "import cycle_a\n",
        },
    )
    before = closed(tmp_path, "main.py")
    assert module in before.modules
    code = read(tmp_path, "main.py")
    path = next(p for p in code.closure("main").paths if p in _paths_of(module))
    write(tmp_path, {path.partition("/")[2]: "changed = 1\n"})
    assert closed(tmp_path, "main.py").digest != before.digest


def _paths_of(module: str) -> set[str]:
    base = "0/" + module.replace(".", "/")
    return {f"{base}.py", f"{base}/__init__.py"}


def test_a_file_that_becomes_a_package_is_other_code(tmp_path: Path) -> None:
    write(tmp_path, {"main.py": "import part\n", "part.py": "x = 1\n"})
    before = closed(tmp_path, "main.py")
    (tmp_path / "part.py").unlink()
    write(tmp_path, {"part/__init__.py": "x = 1\n"})
    assert closed(tmp_path, "main.py").modules["part"] != before.modules["part"]


def test_a_compiled_module_counts_with_all_its_bytes(tmp_path: Path) -> None:
    write(
        tmp_path, {"main.py": "from pkg import fast\n", "pkg/__init__.py": "", "pkg/fast.so": "1"}
    )
    before = closed(tmp_path, "main.py")
    assert "pkg.fast" in before.modules
    assert before.precision == "every byte"
    write(tmp_path, {"pkg/fast.so": "2"})
    assert closed(tmp_path, "main.py").modules["pkg.fast"] != before.modules["pkg.fast"]


def test_the_closure_of_each_step_is_its_own(tmp_path: Path) -> None:
    files = {
        "main.py": "import a, b\n",
        "a.py": "import shared\n",
        "b.py": "",
        "shared.py": "x = 1\n",
    }
    write(tmp_path, files)
    before = read(tmp_path, "main.py")
    write(tmp_path, {"shared.py": "x = 2\n"})
    after = read(tmp_path, "main.py")
    assert after.closure("a").digest != before.closure("a").digest
    assert after.closure("b") == before.closure("b")
    with pytest.raises(NotFound, match="not part of the code of main"):
        after.closure("c")


def test_a_target_is_a_file_or_a_module(project: Path) -> None:
    assert read(project, "pipelines/credit.py").module == "credit"
    assert read(project, "shop/deep/model.py").module == "shop.deep.model"
    assert read(project, "shop/deep/__init__.py").module == "shop.deep"
    assert read(project, "shop.deep.model").module == "shop.deep.model"
    assert read(project, "pipelines.credit").module == "pipelines.credit"
    assert read(project, str(project / "shop/far.py")).module == "shop.far"


def test_modules_in_the_source_folder_are_found(tmp_path: Path) -> None:
    write(tmp_path, {"src/lib/__init__.py": "import extra\n", "run.py": "import lib\n"})
    write(tmp_path, {"more/extra.py": ""})
    code = Codebase.read("run.py", folder=tmp_path, path=[str(tmp_path / "more")])
    assert set(code.closure("run").modules) == {"run", "lib", "extra"}
    assert code.roots == ("0", "1", "2")
    assert closed(tmp_path, "run.py").third_party == ("extra",)


@pytest.mark.parametrize(
    ("target", "error", "words"),
    [
        ("book.ipynb", Usage, "notebook"),
        ("missing.py", NotFound, "no file"),
        ("shop", Usage, "__none__"),
        ("shop/", Usage, "folder"),
        ("no.such.module", NotFound, "names no module"),
        ("shop.nothing", NotFound, "names no module"),
        ("my-steps.py", Usage, "no Python name"),
        ("class.py", Usage, "no Python name"),
        ("notes/readme.txt", Usage, "not a Python file"),
        ("assay.pipeline.code", Usage, "part of assay"),
        ("../../x..y", Usage, "__any__"),
        ("statistics.py", Usage, "standard library"),
        ("numpy", NotFound, "names no module"),
    ],
)
def test_a_target_that_cannot_run_is_refused_with_a_remedy(
    project: Path, target: str, error: type[Usage], words: str
) -> None:
    write(project, dict.fromkeys(["book.ipynb", "my-steps.py", "class.py", "notes/readme.txt"], ""))
    write(project, {"statistics.py": ""})
    if words == "__none__":
        assert read(project, target).module == "shop"
        return
    with pytest.raises((error, NotFound) if words == "__any__" else error) as caught:
        read(project, target)
    assert caught.value.remedy
    assert words == "__any__" or words in caught.value.message


@pytest.mark.parametrize("name", ["json.py", "random/__init__.py", "types.py"])
def test_a_module_that_hides_the_standard_library_is_refused(project: Path, name: str) -> None:
    write(
        project, {name: "", "shop/far.py": f"import {name.partition('/')[0].removesuffix('.py')}\n"}
    )
    with pytest.raises(Usage, match="standard library's module") as caught:
        closed(project)
    assert caught.value.remedy == "rename it"


def test_a_neighbour_that_would_hide_a_library_is_not_staged(project: Path) -> None:
    write(project, {"pipelines/json.py": "", "pipelines/polars.py": "", "pipelines/mine.py": ""})
    staged = read(project).files()
    assert "0/mine.py" in staged
    assert not {"0/json.py", "0/polars.py"} & staged.keys()


def test_a_bare_folder_does_not_hide_an_installed_library(project: Path) -> None:
    write(project, {"numpy/data.py": "", "msgspec/x.py": ""})
    assert closed(project).third_party == ("numpy",)


def test_assay_itself_is_never_first_party(project: Path) -> None:
    write(project, {"assay/__init__.py": "", "shop/far.py": "import assay.pipeline\n"})
    assert closed(project).third_party == ("assay", "numpy")
